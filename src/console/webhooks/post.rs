//! One connection to one receiver: HTTPS by hand, so that the address is looked at before anything is sent. No redirect is
//! followed, since there is nothing here that could follow one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::Settings;
use super::hook::Target;

/// Name, address, TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// From the first packet to the head of the answer.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Whatever an answer's body says counts for nothing: it is read so that the connection can be used again.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
const BODY_BYTES_MAX: usize = 4 * 1024;
/// Head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Why a message is not known to have arrived. Names nothing but what the administrator configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PostError {
    #[error("its host is not in `[webhooks] hosts`; add it, or remove the webhook")]
    NotListed,
    #[error("its name has no address")]
    NoAddress,
    #[error("its name leads to an address of this machine's own network services, where nothing is sent")]
    Forbidden,
    #[error("it cannot be reached: {0}")]
    Unreachable(std::io::ErrorKind),
    #[error("it did not answer within {} s", WHOLE_TIMEOUT.as_secs())]
    Late,
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("the connection broke before the answer")]
    Broken,
    #[error("it answered {0}; only 2xx is taken for received, and redirects are not followed")]
    Answered(u16),
}

/// What one request carries besides its target.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) id: String,
    pub(super) timestamp: String,
    pub(super) signature: String,
    pub(super) body: Bytes,
}

/// The connection that is kept between two messages.
#[derive(Default)]
pub(super) struct Line(Option<Open>);

struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    /// Under which settings it was opened: others may not trust the other end any more.
    tls: Arc<ClientConfig>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("open", &self.0.is_some()).finish()
    }
}

impl Line {
    /// Delivers one message: `Ok` is a 2xx answer.
    pub(super) async fn post(&mut self, settings: &Settings, target: &Target, signed: &Signed) -> Result<(), PostError> {
        if !settings.permits(target) {
            self.0 = None;
            return Err(PostError::NotListed);
        }
        let open = self.0.take().filter(|open| Arc::ptr_eq(&open.tls, &settings.tls));
        let answered = tokio::time::timeout(WHOLE_TIMEOUT, exchange(open, settings, target, signed)).await;
        let (answer, open) = answered.map_err(|_elapsed| PostError::Late)??;
        let status = answer.status();
        let rest = tokio::time::timeout(BODY_TIMEOUT, Limited::new(answer.into_body(), BODY_BYTES_MAX).collect()).await;
        self.0 = rest.is_ok_and(|read| read.is_ok()).then_some(open);
        if status.is_success() { Ok(()) } else { Err(PostError::Answered(status.as_u16())) }
    }
}

/// Sends on the open connection; when that one has ended meanwhile, on a new one.
async fn exchange(open: Option<Open>, settings: &Settings, target: &Target, signed: &Signed) -> Result<(http::Response<Incoming>, Open), PostError> {
    if let Some(mut open) = open
        && let Some(answer) = send(&mut open, target, signed).await
    {
        return Ok((answer, open));
    }
    let mut open = match tokio::time::timeout(CONNECT_TIMEOUT, connect(settings, target)).await {
        Ok(opened) => opened?,
        Err(_elapsed) => return Err(PostError::Unreachable(std::io::ErrorKind::TimedOut)),
    };
    let answer = send(&mut open, target, signed).await.ok_or(PostError::Broken)?;
    Ok((answer, open))
}

async fn send(open: &mut Open, target: &Target, signed: &Signed) -> Option<http::Response<Incoming>> {
    let request = Request::post(&target.path)
        .header(header::HOST, target.authority())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("consentry/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", &signed.id)
        .header("webhook-timestamp", &signed.timestamp)
        .header("webhook-signature", &signed.signature)
        .body(Full::new(signed.body.clone()))
        .ok()?;
    open.sender.ready().await.ok()?;
    let answer = open.sender.send_request(request).await.ok()?;
    // 1xx never comes here, and an upgrade is not asked for.
    (answer.status() != StatusCode::SWITCHING_PROTOCOLS).then_some(answer)
}

async fn connect(settings: &Settings, target: &Target) -> Result<Open, PostError> {
    let bare = target.host.trim_start_matches('[').trim_end_matches(']');
    let found: Vec<SocketAddr> = tokio::net::lookup_host((bare, target.port)).await.map_err(|_unknown| PostError::NoAddress)?.collect();
    let permitted = |address: &&SocketAddr| !is_forbidden(address.ip()) && (target.tls || address.ip().is_loopback());
    let mut last = if found.is_empty() { PostError::NoAddress } else { PostError::Forbidden };
    for address in found.iter().filter(permitted) {
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => {
                last = PostError::Unreachable(error.kind());
                continue;
            }
        };
        if !target.tls {
            return handshake(TokioIo::new(stream), settings).await;
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(|_no_name| PostError::NoAddress)?;
        let stream = TlsConnector::from(Arc::clone(&settings.tls)).connect(name, stream).await.map_err(|error| PostError::Tls(error.to_string()))?;
        return handshake(TokioIo::new(stream), settings).await;
    }
    Err(last)
}

async fn handshake<T: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static>(io: T, settings: &Settings) -> Result<Open, PostError> {
    let connected = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(io).await;
    let (sender, connection) = connected.map_err(|_broken| PostError::Broken)?;
    let driver = tokio::spawn(async move {
        // How it ended is told by the request that was under way.
        drop(connection.await);
    });
    Ok(Open { sender, driver, tls: Arc::clone(&settings.tls) })
}

/// Addresses at which clouds hand credentials to whoever runs on the machine, and those that are nobody's: never connected to,
/// whatever the name of a listed host leads to.
fn is_forbidden(address: IpAddr) -> bool {
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast() || v4.octets() == [100, 100, 100, 200],
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast() || v6 == METADATA,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_metadata_services_are_never_connected_to() {
        for address in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254", "0.0.0.0", "::", "224.0.0.1", "100.100.100.200"] {
            assert!(is_forbidden(address.parse().unwrap()), "{address}");
        }
        for address in ["10.0.0.7", "192.0.2.1", "127.0.0.1", "2001:db8::1", "fd12::1"] {
            assert!(!is_forbidden(address.parse().unwrap()), "{address}");
        }
    }
}
