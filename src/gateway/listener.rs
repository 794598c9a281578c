//! Accepts connections, ends TLS, and serves HTTP/1.1 and HTTP/2 with explicit limits, for every listener alike.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::rejects::ListenerRejects;
use crate::identity::PeerCertificate;

/// What one listener allows. Memory for connections is bounded by `connections_max × (headers_bytes_max + streams_max × 64 KiB)`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections_max: usize,
    pub headers_bytes_max: usize,
    pub headers_max: usize,
    pub header_timeout: Duration,
    pub streams_max: u32,
    pub handshake_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            headers_bytes_max: 64 * 1024,
            headers_max: 100,
            header_timeout: Duration::from_secs(10),
            streams_max: 100,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// For a listener that anybody may use: small requests, few at a time on one connection.
    pub fn for_strangers() -> Self {
        Self { headers_bytes_max: 16 * 1024, streams_max: 8, ..Self::default() }
    }
}

/// How long open requests may take to finish after a stop was asked for.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How much of it is left to connections on which no request has come yet: what was accepted is also answered.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(2);
/// HTTP/2 flow-control window of a stream, bytes.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Pause after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is known of a connection before its first request.
#[derive(Clone, Debug)]
pub struct Connection {
    pub peer: SocketAddr,
    pub certificate: Option<Arc<PeerCertificate>>,
    pub tls: bool,
}

/// Why a connection ends before anybody is known on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Barred {
    /// The listener has as many connections as it may.
    Limit,
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
}

impl Barred {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "connection-limit",
            Self::NoCertificate => "certificate-missing",
            Self::Certificate => "certificate-invalid",
            Self::Tls => "tls-failed",
            Self::Slow => "tls-timeout",
            Self::Http => "http-malformed",
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
#[derive(Clone, Copy)]
struct Gate<'a> {
    rejects: Option<&'a ListenerRejects>,
    peer: SocketAddr,
}

impl Gate<'_> {
    fn bar(self, why: Barred) {
        if let Some(rejects) = self.rejects {
            rejects.stranger(why.as_str(), self.peer.ip());
        }
    }

    fn end(self, result: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
        let Err(error) = result else { return };
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            self.bar(Barred::Http);
        }
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// Serves until `stop` turns true, then drains. Returns when all connections are closed or the drain time is over. What ends
/// before a request is there is counted in `rejects`.
pub async fn serve<S, B, M>(
    listener: TcpListener,
    tls: Option<Arc<ArcSwap<ServerConfig>>>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
    rejects: Option<ListenerRejects>,
    make_service: M,
) where
    M: Fn(Connection) -> S + Send + Sync + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let unheard = watch::Sender::new(0);
    let builder = Arc::new(http_builder(limits));
    let make_service = Arc::new(make_service);
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
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            Gate { rejects: rejects.as_ref(), peer }.bar(Barred::Limit);
            tracing::warn!("connection refused: the listener is at its limit");
            continue;
        };
        let (tls, builder, make_service, watcher) = (tls.clone(), Arc::clone(&builder), Arc::clone(&make_service), graceful.watcher());
        let (rejects, begun) = (rejects.clone(), Begun::new(&unheard));
        tokio::spawn(async move {
            let _permit = permit;
            let _open = rejects.as_ref().map(ListenerRejects::connection);
            let gate = Gate { rejects: rejects.as_ref(), peer };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY could not be set");
            }
            match tls {
                None => {
                    let service = Noting { service: make_service(Connection { peer, certificate: None, tls: false }), begun: Arc::clone(&begun) };
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    gate.end(unless_silent(watcher.watch(connection), &begun, limits.header_timeout).await);
                }
                Some(settings) => {
                    // As they are now: a reload may have replaced the certificate since the last connection.
                    let acceptor = TlsAcceptor::from(settings.load_full());
                    let Some((stream, certificate)) = handshake(&acceptor, stream, limits.handshake_timeout, gate).await else { return };
                    let service = Noting { service: make_service(Connection { peer, certificate, tls: true }), begun: Arc::clone(&begun) };
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    gate.end(unless_silent(watcher.watch(connection), &begun, limits.header_timeout).await);
                }
            }
        });
    }
    drop(listener);
    // hyper ends a connection at once on which it has not seen a request; its client may have sent one by now.
    let all_heard = tokio::time::timeout(FIRST_REQUEST_MAX, unheard.subscribe().wait_for(|connections| *connections == 0)).await.is_ok();
    tracing::debug!(all_heard, "draining");
    if tokio::time::timeout(DRAIN_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were cut after the drain time");
    }
}

/// Whether a first request has come on a connection. Until then, or until it ends, the connection is counted.
struct Begun {
    unheard: watch::Sender<usize>,
    has: AtomicBool,
}

impl Begun {
    fn new(unheard: &watch::Sender<usize>) -> Arc<Self> {
        unheard.send_modify(|connections| *connections += 1);
        Arc::new(Self { unheard: unheard.clone(), has: AtomicBool::new(false) })
    }

    fn note(&self) {
        // Looked at first: it is true for every request but one.
        if !self.has() && !self.has.swap(true, Ordering::Relaxed) {
            self.unheard.send_modify(|connections| *connections = connections.saturating_sub(1));
        }
    }

    fn has(&self) -> bool {
        self.has.load(Ordering::Relaxed)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.note();
    }
}

/// A service that notes its first request.
struct Noting<S> {
    service: S,
    begun: Arc<Begun>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.begun.note();
        self.service.call(request)
    }
}

/// Ends a connection on which no request comes in time: hyper's own limit begins only when it knows which HTTP is spoken.
async fn unless_silent<C: Future<Output = Result<(), E>>, E>(connection: C, begun: &Begun, patience: Duration) -> Result<(), E> {
    let mut connection = std::pin::pin!(connection);
    match tokio::time::timeout(patience, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) if begun.has() => connection.await,
        Err(_) => {
            tracing::debug!("a connection without a request was closed");
            Ok(())
        }
    }
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream, limit: Duration, gate: Gate<'_>) -> Option<(TlsStream, Option<Arc<PeerCertificate>>)> {
    let stream = match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            Barred::of_handshake(&error).into_iter().for_each(|why| gate.bar(why));
            tracing::debug!(%error, "TLS handshake failed");
            return None;
        }
        Err(_) => {
            gate.bar(Barred::Slow);
            tracing::debug!("TLS handshake took too long");
            return None;
        }
    };
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = match leaf.map(|der| PeerCertificate::from_der(der)) {
        None => None,
        Some(Ok(certificate)) => Some(Arc::new(certificate)),
        Some(Err(error)) => {
            // rustls has verified the chain; a leaf that we cannot read gives no identity and closes the connection.
            gate.bar(Barred::Certificate);
            tracing::debug!(%error, "a client certificate cannot be read");
            return None;
        }
    };
    Some((stream, certificate))
}

fn http_builder(limits: Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.headers_bytes_max.max(8192))
        .max_headers(limits.headers_max)
        .half_close(false)
        .pipeline_flush(false)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(limits.headers_bytes_max).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * 4)
        .max_frame_size(16 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use hyper::service::service_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What a client gets that sends `request` and then waits to be hung up on.
    async fn answer_to(request: &[u8]) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let limits = Limits { header_timeout: Duration::from_millis(200), ..Limits::default() };
        let make = |_| service_fn(|_| async { Ok(Response::new(Empty::<bytes::Bytes>::new())) });
        let serving = tokio::spawn(serve(listener, None, limits, stopped, None, make));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), client.read_to_end(&mut answer)).await.unwrap().unwrap_or_default();
        stop.send_replace(true);
        serving.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn what_was_accepted_before_a_stop_is_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let make = |_| service_fn(|_| async { Ok(Response::new(Empty::<bytes::Bytes>::new())) });
        let serving = tokio::spawn(serve(listener, None, Limits::default(), stopped, None, make));
        let mut client = TcpStream::connect(address).await.unwrap();
        // A second one that is answered shows that the first was accepted.
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut some = [0; 15];
        other.read_exact(&mut some).await.unwrap();
        stop.send_replace(true);
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
        tokio::time::timeout(Duration::from_secs(10), serving).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_connection_without_a_request_is_closed() {
        for silence in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\n"] {
            let answer = answer_to(silence.as_bytes()).await;
            assert!(!answer.starts_with(b"HTTP/1.1 200"), "{silence:?}");
        }
        let answer = answer_to(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
}
