//! Accepts connections and ends TLS, for every listener alike; `connection.rs` serves HTTP on them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::accept::HEADERS_MAX;
use super::connection::{self, Http};
use super::peers::{Counted, Peers};
use super::proxied::{self, Balancers, HeaderError};
use super::rejects::ListenerRejects;
use super::shown::{Distrusted, Shown};
use super::tls::Secured;
use crate::config;
use crate::identity::PeerCertificate;

/// What one listener allows. Memory for connections is bounded by `connections_max × (headers_bytes_max + streams_max × 64 KiB)`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections_max: usize,
    /// Of one IPv4 address or IPv6 /64.
    pub connections_per_ip_max: usize,
    pub headers_bytes_max: usize,
    pub headers_max: usize,
    pub header_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// For a client that takes nothing of its answer.
    pub send_timeout: Duration,
    pub streams_max: u32,
    /// TLS, and what a balancer says before it.
    pub handshake_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_ip_max: 256,
            headers_bytes_max: 64 * 1024,
            headers_max: HEADERS_MAX,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(60),
            streams_max: 100,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl Limits {
    pub(super) fn of(configured: &config::Limits) -> Self {
        Self {
            connections_max: configured.connections_max,
            connections_per_ip_max: configured.connections_per_ip_max,
            headers_bytes_max: configured.headers_bytes_max,
            header_timeout: configured.header_timeout,
            idle_timeout: configured.idle_timeout,
            send_timeout: configured.send_timeout,
            streams_max: configured.streams_max,
            ..Self::default()
        }
    }

    /// For one client, who is all there is.
    #[must_use]
    pub fn for_one() -> Self {
        let all = Self::default();
        Self { connections_per_ip_max: all.connections_max, ..all }
    }

    /// For a listener that anybody may use: small requests, few at a time on one connection.
    pub fn for_strangers() -> Self {
        Self { headers_bytes_max: 16 * 1024, streams_max: 8, ..Self::default() }
    }
}

/// How long open requests may take to finish after a stop was asked for.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Pause after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is known of a connection before its first request.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Whose connection it is, as far as a balancer says that. For counting; nobody may anything by it.
    pub peer: SocketAddr,
    shown: Option<Arc<Shown>>,
    /// The name asked for in the handshake.
    pub server_name: Option<Arc<str>>,
    pub tls: bool,
}

impl Connection {
    /// The certificate of the other end.
    ///
    /// # Errors
    /// [`Distrusted`]: it has shown one, which counts no longer.
    pub(super) fn certificate(&self) -> Result<Option<Arc<PeerCertificate>>, Distrusted> {
        self.shown.as_ref().map(|shown| shown.certificate()).transpose()
    }
}

/// Why a connection ends before anybody is known on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Barred {
    /// The listener has as many connections as it may.
    Limit,
    /// The client has.
    ClientLimit,
    /// It comes from elsewhere than from a balancer, or does not say for whom.
    Proxy,
    /// A client certificate is required.
    NoCertificate,
    /// It is of nobody who is trusted, has run out, or cannot be read.
    Certificate,
    /// No TLS, or none that both sides speak.
    Tls,
    /// The handshake took too long.
    Slow,
    /// What came is no HTTP, or over the limits for headers.
    Http,
    /// It opens and resets streams, or sends frames, as no client would that wants an answer.
    Flood,
}

impl Barred {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "connection-limit",
            Self::ClientLimit => "client-connection-limit",
            Self::Proxy => "proxy-header",
            Self::NoCertificate => "certificate-missing",
            Self::Certificate => "certificate-invalid",
            Self::Tls => "tls-failed",
            Self::Slow => "tls-timeout",
            Self::Http => "http-malformed",
            Self::Flood => "http-flood",
        }
    }

    /// `None`: the client hung up, which refuses nothing.
    fn of_handshake(error: &std::io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        Some(if matches!(error, rustls::Error::NoCertificatesPresented) {
            Self::NoCertificate
        } else if matches!(error, rustls::Error::InvalidCertificate(_)) {
            Self::Certificate
        } else {
            Self::Tls
        })
    }
}

/// Counts what one listener refuses; a listener without evidence counts nothing.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    rejects: Option<ListenerRejects>,
    peer: SocketAddr,
}

impl Gate {
    pub(super) fn bar(&self, why: Barred) {
        if let Some(rejects) = &self.rejects {
            rejects.stranger(why.as_str(), self.peer.ip());
        }
        tracing::debug!(reason = why.as_str(), "a connection was refused");
    }
}

/// A listener as it is served.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) tls: Option<Arc<ArcSwap<Secured>>>,
    pub(crate) limits: Limits,
    /// Connections come from these, and say for whom.
    pub(crate) balancers: Option<Arc<Balancers>>,
    /// What ends before a request is there is counted here.
    pub(crate) rejects: Option<ListenerRejects>,
}

impl Served {
    /// Without TLS and without evidence.
    #[must_use]
    pub(crate) fn plain(limits: Limits) -> Self {
        Self { tls: None, limits, balancers: None, rejects: None }
    }
}

/// Serves until `stop` turns true, then drains. Returns when all connections are closed or the drain time is over.
pub(crate) async fn serve<S, B, M>(listener: TcpListener, served: Served, mut stop: watch::Receiver<bool>, make_service: M)
where
    M: Fn(Connection) -> S + Send + Sync + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let room = Arc::new(Semaphore::new(served.limits.connections_max));
    let (peers, http) = (Peers::new(served.limits.connections_per_ip_max), Arc::new(Http::new(served.limits)));
    let (served, make_service) = (Arc::new(served), Arc::new(make_service));
    // Closed once every connection has let go of it.
    let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let gate = Gate { rejects: served.rejects.clone(), peer };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            gate.bar(Barred::Limit);
            continue;
        };
        let (served, http, make_service) = (Arc::clone(&served), Arc::clone(&http), Arc::clone(&make_service));
        let (peers, stop, open) = (peers.clone(), stop.clone(), open.clone());
        tokio::spawn(async move {
            let (_open, _counted) = (open, served.rejects.as_ref().map(ListenerRejects::connection));
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY could not be set");
            }
            let Some((arrived, stream)) = arrive(stream, &served, &peers, gate, place).await else { return };
            match stream {
                Stream::Plain(stream) => http.http1(stream, make_service(arrived.connection), &arrived.gate, stop).await,
                // What was agreed upon is spoken, and nothing else: RFC 9113, 3.2.
                Stream::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(connection::H2) => {
                    http.http2(*stream, make_service(arrived.connection), &arrived.gate, stop).await;
                }
                Stream::Tls(stream) => http.http1(*stream, make_service(arrived.connection), &arrived.gate, stop).await,
            }
        });
    }
    drop((listener, open));
    if tokio::time::timeout(DRAIN_MAX, all_closed.recv()).await.is_err() {
        tracing::warn!("connections were cut after the drain time");
    }
}

/// A connection with its places.
struct Arrived {
    connection: Connection,
    gate: Gate,
    _place: OwnedSemaphorePermit,
    _counted: Counted,
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// All that comes before HTTP, within its time.
async fn arrive(stream: TcpStream, served: &Served, peers: &Peers, mut gate: Gate, place: OwnedSemaphorePermit) -> Option<(Arrived, Stream)> {
    let mut stream = stream;
    if let Some(balancers) = &served.balancers {
        gate.peer = passed_on(&mut stream, balancers, served.limits.handshake_timeout, &gate).await?;
    }
    let Some(counted) = peers.admit(gate.peer.ip()) else {
        gate.bar(Barred::ClientLimit);
        return None;
    };
    let connection = Connection { peer: gate.peer, shown: None, server_name: None, tls: false };
    let arrived = Arrived { connection, gate, _place: place, _counted: counted };
    let Some(settings) = &served.tls else { return Some((arrived, Stream::Plain(stream))) };
    // As they are now: a reload may have replaced the certificate since the last connection.
    let (stream, shown) = handshake(settings, stream, served.limits.handshake_timeout, &arrived.gate).await?;
    let server_name = stream.get_ref().1.server_name().map(Arc::from);
    let connection = Connection { shown, server_name, tls: true, ..arrived.connection };
    Some((Arrived { connection, ..arrived }, Stream::Tls(Box::new(stream))))
}

/// Whom the balancer connects for.
async fn passed_on(stream: &mut TcpStream, balancers: &Balancers, limit: Duration, gate: &Gate) -> Option<SocketAddr> {
    if !balancers.contains(gate.peer.ip()) {
        gate.bar(Barred::Proxy);
        return None;
    }
    match tokio::time::timeout(limit, proxied::client_of(stream)).await {
        Ok(Ok(client)) => Some(client.unwrap_or(gate.peer)),
        Ok(Err(error)) => {
            // Balancers look whether anybody is there, and go.
            if !matches!(error, HeaderError::Read(_)) {
                gate.bar(Barred::Proxy);
            }
            tracing::debug!(%error, "no client is known");
            None
        }
        Err(_) => {
            gate.bar(Barred::Slow);
            None
        }
    }
}

async fn handshake(settings: &Arc<ArcSwap<Secured>>, stream: TcpStream, limit: Duration, gate: &Gate) -> Option<(TlsStream, Option<Arc<Shown>>)> {
    let secured = settings.load_full();
    let acceptor = TlsAcceptor::from(Arc::clone(&secured.config));
    let stream = match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            Barred::of_handshake(&error).into_iter().for_each(|why| gate.bar(why));
            tracing::debug!(%error, "TLS handshake failed");
            return None;
        }
        Err(_) => {
            gate.bar(Barred::Slow);
            return None;
        }
    };
    let chain = stream.get_ref().1.peer_certificates().map(|chain| chain.iter().map(|der| der.clone().into_owned()).collect());
    let shown = match chain.map(|chain| Shown::new(chain, secured, Arc::clone(settings))) {
        None => None,
        Some(Ok(shown)) => Some(Arc::new(shown)),
        Some(Err(error)) => {
            // rustls has verified the chain; a leaf that we cannot read gives no identity and closes the connection.
            gate.bar(Barred::Certificate);
            tracing::debug!(%error, "a client certificate cannot be read");
            return None;
        }
    };
    Some((stream, shown))
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use hyper::service::service_fn;
    use tokio::io::AsyncWriteExt as _;

    use super::super::accept::{TraceContext, accept};
    use super::*;

    /// What `Debug` shows of a request whose head was taken.
    #[tokio::test]
    async fn an_accepted_request_prints_neither_ids_nor_credentials() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let (shown, mut showing) = mpsc::unbounded_channel();
        let make = move |connection: Connection| {
            let shown = shown.clone();
            service_fn(move |request: Request<Incoming>| {
                let trace = TraceContext::from_headers(request.headers(), |_| false);
                let accepted = accept(request, &connection, &["gw.example.com".to_owned()], trace);
                shown.send(format!("{accepted:?} {accepted:#?} {connection:?}")).unwrap();
                async { Ok(Response::new(Empty::<bytes::Bytes>::new())) }
            })
        };
        let serving = tokio::spawn(serve(listener, Served::plain(Limits::default()), stopped, make));
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = "POST /customers/id-7?q=query-7 HTTP/1.1\r\nhost: gw.example.com\r\nauthorization: Bearer token-7\r\n\
                       dpop: proof-7\r\nx-customer: header-7\r\ncontent-length: 6\r\n\r\nbody-7";
        client.write_all(request.as_bytes()).await.unwrap();
        let shown = tokio::time::timeout(Duration::from_secs(10), showing.recv()).await.unwrap().unwrap();
        assert!(shown.contains("POST") && shown.contains("gw.example.com"), "{shown}");
        assert!(!shown.contains("-7"), "{shown}");
        drop(client);
        stop.send_replace(true);
        serving.await.unwrap();
    }
}
