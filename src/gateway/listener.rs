//! Accepts connections, ends TLS, and serves HTTP/1.1 and HTTP/2 with explicit limits, for every listener alike.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
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

/// How long open requests may take to finish after a stop was asked for.
const DRAIN_MAX: Duration = Duration::from_secs(30);
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

/// Serves until `stop` turns true, then drains. Returns when all connections are closed or the drain time is over.
pub async fn serve<S, B, M>(
    listener: TcpListener,
    tls: Option<Arc<ArcSwap<ServerConfig>>>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
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
            tracing::warn!("connection refused: the listener is at its limit");
            continue;
        };
        let (tls, builder, make_service, watcher) = (tls.clone(), Arc::clone(&builder), Arc::clone(&make_service), graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY could not be set");
            }
            match tls {
                None => {
                    let service = make_service(Connection { peer, certificate: None, tls: false });
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    end(watcher.watch(connection).await);
                }
                Some(settings) => {
                    // As they are now: a reload may have replaced the certificate since the last connection.
                    let acceptor = TlsAcceptor::from(settings.load_full());
                    let Some((stream, certificate)) = handshake(&acceptor, stream, limits.handshake_timeout).await else { return };
                    let service = make_service(Connection { peer, certificate, tls: true });
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    end(watcher.watch(connection).await);
                }
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were cut after the drain time");
    }
}

fn end(result: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream, limit: Duration) -> Option<(TlsStream, Option<Arc<PeerCertificate>>)> {
    let stream = match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            return None;
        }
        Err(_) => {
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
