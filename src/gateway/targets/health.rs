//! Health checks: a plain GET to each target, over a connection of its own and under the upstream's TLS identity. It carries nothing
//! of a caller or customer and no credential; what counts is a 2xx in time, and no body is read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderValue};
use http::uri::Authority;
use http::{Request, Uri};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::super::running::stopping;
use super::super::state::Shared;
use super::Targets;
use crate::config::HealthCheck;

/// How often it is looked whether a check is due: also how soon a reload's checks begin.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Largest head of an answer to a check.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What is asked, and as whom.
#[derive(Debug)]
pub struct Check {
    settings: HealthCheck,
    tls: Arc<ClientConfig>,
}

impl Check {
    #[must_use]
    pub fn new(settings: HealthCheck, mut tls: ClientConfig) -> Self {
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { settings, tls: Arc::new(tls) }
    }
}

/// Checks the targets of all upstreams of the active configuration.
pub(in super::super) async fn keep_checking(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    // Dropped at the end, and with it whatever is under way.
    let mut under_way = JoinSet::new();
    loop {
        for upstream in shared.snapshot().upstreams.values() {
            let targets = upstream.targets();
            for at in targets.due() {
                let targets = Arc::clone(targets);
                under_way.spawn(async move { targets.check(at).await });
            }
        }
        while under_way.try_join_next().is_some() {}
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stopping(&mut stopped) => return,
        }
    }
}

impl Targets {
    /// Targets to be checked now; each is then being checked.
    fn due(&self) -> Vec<usize> {
        let Some(check) = &self.check else { return Vec::new() };
        let now = self.clock.monotonic();
        let mut due = Vec::new();
        for (at, target) in self.each.iter().enumerate() {
            let mut state = target.state();
            if !state.is_being_checked && state.next_check <= now {
                (state.is_being_checked, state.next_check) = (true, now.saturating_add(check.settings.every));
                due.push(at);
            }
        }
        due
    }

    async fn check(&self, at: usize) {
        let (Some(check), Some(target)) = (&self.check, self.each.get(at)) else { return };
        let asked = tokio::time::timeout(check.settings.timeout, ask(&target.uri, check)).await;
        self.checked(at, asked.unwrap_or_else(|_late| Err("no answer in time".to_owned())).err().as_deref());
    }

    /// Counts a check; `why` it failed, if it did.
    pub(super) fn checked(&self, at: usize, why: Option<&str>) {
        let (Some(check), Some(target)) = (&self.check, self.each.get(at)) else { return };
        let mut state = target.state();
        state.is_being_checked = false;
        if why.is_some() {
            (state.checks_failed, state.checks_passed) = (state.checks_failed.saturating_add(1), 0);
        } else {
            (state.checks_failed, state.checks_passed) = (0, state.checks_passed.saturating_add(1));
        }
        let is_news = if state.is_down { state.checks_passed >= check.settings.successes } else { state.checks_failed >= check.settings.failures };
        if !is_news {
            return;
        }
        state.is_down = !state.is_down;
        state.out_since = self.clock.monotonic();
        if !state.is_down {
            // Whoever passes its checks need not wait for its time.
            (state.out_until, state.failures) = (None, 0);
        }
        drop(state);
        match why {
            Some(why) => tracing::warn!(upstream = %self.upstream, target = %target.uri, why, "a target does not pass its health checks"),
            None => tracing::info!(upstream = %self.upstream, target = %target.uri, "a target passes its health checks again"),
        }
    }
}

async fn ask(target: &Uri, check: &Check) -> Result<(), String> {
    let authority = target.authority().ok_or("no host")?;
    let is_tls = target.scheme_str() == Some("https");
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    if !is_tls {
        return get(stream, authority, &check.settings.path).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::clone(&check.tls)).connect(name, stream).await.map_err(|error| error.to_string())?;
    get(stream, authority, &check.settings.path).await
}

async fn get<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S, authority: &Authority, path: &str) -> Result<(), String> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends with this function, also when nobody waits for it any more.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mut request = Request::get(path).body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?;
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    if status.is_success() { Ok(()) } else { Err(format!("status {}", status.as_u16())) }
}
