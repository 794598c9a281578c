//! **Forwarded**: the request as it is re-serialised for the upstream. Takes a [`Permitted`] or a [`Lookup`]: without one
//! of them nothing can be sent. What comes back is [`Unfiltered`] and can only be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;

use super::decode;
use super::permit::{Lookup, Permitted};
use crate::model::UpstreamName;

/// How the gateway identifies itself to an upstream, beside a client certificate.
#[derive(Clone)]
pub enum Credentials {
    None,
    /// The caller's own `Authorization` header goes on.
    Forward,
    /// A fixed header, e.g. an API key.
    Header(HeaderName, HeaderValue),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Forward => f.write_str("Forward"),
            Self::Header(name, _) => write!(f, "Header({name}, …)"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    pub name: UpstreamName,
    /// `scheme://host[:port]`, at least one; used in turn.
    pub targets: Vec<Uri>,
    /// Empty, or a canonical path without a slash at its end.
    pub base_path: String,
    pub tls: rustls::ClientConfig,
    pub credentials: Credentials,
    pub connect_timeout: Duration,
    pub first_byte_timeout: Duration,
    pub total_timeout: Duration,
    /// Requests under way at once; more wait for `connect_timeout` and are then refused.
    pub in_flight_max: usize,
    /// Largest answer that is read, bytes; also once it is decoded.
    pub answer_bytes_max: usize,
    /// The content codings that are asked for.
    pub accept_encoding: HeaderValue,
    /// Decoded bytes for each encoded one, once there are some.
    pub decode_ratio_max: u32,
}

/// One upstream with its pool of kept-alive connections.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    room: Semaphore,
    turn: AtomicUsize,
}

/// Why no answer can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    #[error("the upstream cannot be reached")]
    Unavailable,
    #[error("the upstream did not answer in time")]
    Timeout,
    #[error("the upstream's answer is over the size limit")]
    TooLarge,
    #[error("the upstream's answer broke off")]
    Broken,
}

/// An upstream's whole answer, not yet cut: only this room can look inside.
pub struct Unfiltered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl std::fmt::Debug for Unfiltered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unfiltered({}, {} bytes)", self.status, self.body.len())
    }
}

impl Unfiltered {
    /// Whether the body is JSON that the cutter may read: one JSON content type and no encoding.
    pub(super) fn is_plain_json(&self) -> bool {
        !self.is_encoded() && super::accept::is_json(&self.headers)
    }

    pub(super) fn is_encoded(&self) -> bool {
        decode::is_encoded(&self.headers)
    }
}

/// What is sent: everything is taken from what was judged, nothing from the client's bytes.
pub struct Outgoing {
    pub method: Method,
    /// Path and query, canonical, beginning with the upstream's base path.
    pub path: String,
    /// Headers that the API lets through, and `authorization` if its credentials are forwarded.
    pub headers: HeaderMap,
    pub body: Bytes,
    pub traceparent: String,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Path, headers and body carry ids, tokens and personal data.
        f.debug_struct("Outgoing").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Upstream {
    #[must_use]
    pub fn new(settings: UpstreamSettings) -> Arc<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(settings.connect_timeout));
        let connector =
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(settings.tls.clone()).https_or_http().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(settings.in_flight_max)
            .build(connector);
        Arc::new(Self { room: Semaphore::new(settings.in_flight_max), turn: AtomicUsize::new(0), client, settings })
    }

    #[must_use]
    pub fn base_path(&self) -> &str {
        &self.settings.base_path
    }

    #[must_use]
    pub fn targets(&self) -> &[Uri] {
        &self.settings.targets
    }

    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.settings.credentials
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Unfiltered, ForwardError> {
        let admitted = tokio::time::timeout(self.settings.connect_timeout, self.room.acquire()).await;
        let Ok(Ok(_place)) = admitted else { return Err(ForwardError::Unavailable) };
        match tokio::time::timeout(self.settings.total_timeout, self.exchange(outgoing)).await {
            Ok(result) => result,
            Err(_) => Err(ForwardError::Timeout),
        }
    }

    async fn exchange(&self, outgoing: &Outgoing) -> Result<Unfiltered, ForwardError> {
        let mut last = ForwardError::Unavailable;
        for _ in 0..self.settings.targets.len() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.settings.targets.len().max(1);
            let Some(target) = self.settings.targets.get(turn) else { break };
            let request = self.request(target, outgoing).ok_or(ForwardError::Unavailable)?;
            match tokio::time::timeout(self.settings.first_byte_timeout, self.client.request(request)).await {
                Err(_) => return Err(ForwardError::Timeout),
                // Another target is tried only when no byte can have been sent.
                Ok(Err(error)) if error.is_connect() => {
                    tracing::warn!(upstream = %self.settings.name, %error, "upstream connection failed");
                    last = ForwardError::Unavailable;
                }
                Ok(Err(error)) => {
                    tracing::warn!(upstream = %self.settings.name, %error, "upstream request failed");
                    return Err(ForwardError::Broken);
                }
                Ok(Ok(response)) => return self.read(response).await,
            }
        }
        Err(last)
    }

    async fn read(&self, response: http::Response<hyper::body::Incoming>) -> Result<Unfiltered, ForwardError> {
        let (head, body) = response.into_parts();
        match Limited::new(body, self.settings.answer_bytes_max).collect().await {
            Ok(whole) => Ok(self.plain(head.status, head.headers, whole.to_bytes())),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(ForwardError::TooLarge),
            Err(error) => {
                tracing::warn!(upstream = %self.settings.name, %error, "upstream answer broke off");
                Err(ForwardError::Broken)
            }
        }
    }

    /// An answer whose coding cannot be undone stays encoded, so that nobody reads it.
    fn plain(&self, status: StatusCode, mut headers: HeaderMap, body: Bytes) -> Unfiltered {
        let bytes_max = u64::try_from(self.settings.answer_bytes_max).unwrap_or(u64::MAX);
        let limits = decode::Limits { bytes_max, ratio_max: self.settings.decode_ratio_max };
        let body = decode::whole(&mut headers, body.clone(), limits).unwrap_or_else(|error| {
            tracing::warn!(upstream = %self.settings.name, %error, "an upstream answer cannot be decoded");
            body
        });
        Unfiltered { status, headers, body }
    }

    fn request(&self, target: &Uri, outgoing: &Outgoing) -> Option<Request<Full<Bytes>>> {
        let authority = target.authority()?.clone();
        let uri = Uri::builder().scheme(target.scheme()?.clone()).authority(authority.clone()).path_and_query(outgoing.path.as_str()).build().ok()?;
        let mut request = Request::builder().method(outgoing.method.clone()).uri(uri).body(Full::new(outgoing.body.clone())).ok()?;
        let headers = request.headers_mut();
        headers.clone_from(&outgoing.headers);
        headers.insert(HOST, HeaderValue::from_str(authority.as_str()).ok()?);
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        headers.insert("accept-encoding", self.settings.accept_encoding.clone());
        headers.insert("traceparent", HeaderValue::from_str(&outgoing.traceparent).ok()?);
        headers.insert("forwarded", HeaderValue::from_static("by=consentry"));
        if !outgoing.body.is_empty() {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        if let Credentials::Header(name, value) = &self.settings.credentials {
            headers.insert(name.clone(), value.clone());
        }
        Some(request)
    }
}

/// Sends a permitted request.
///
/// # Errors
/// When no whole answer was to be had; nothing of it goes out then.
pub async fn forward(permitted: &Permitted, upstream: &Upstream, outgoing: &Outgoing) -> Result<Unfiltered, ForwardError> {
    tracing::trace!(action = %permitted.action(), "forwarding");
    upstream.send(outgoing).await
}

/// Reads the record that a write is about, to learn whose it is; the answer is never released.
pub(super) async fn look_up(_allowed: &Lookup, upstream: &Upstream, outgoing: &Outgoing) -> Result<Unfiltered, ForwardError> {
    upstream.send(outgoing).await
}
