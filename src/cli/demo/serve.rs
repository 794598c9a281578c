//! A small server for the sample APIs (over TLS) and the issuer's key set: HTTP/1.1 and HTTP/2, whole bodies in memory. Each
//! request is remembered, so that a test can say what an upstream saw, and that it saw nothing.

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// Largest request body that is read.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Requests remembered by each server; later ones are only counted.
const SEEN_MAX: usize = 10_000;

/// A request as a server saw it. `Debug` shows neither headers nor body: they may carry credentials.
#[derive(Clone)]
pub struct Seen {
    pub method: Method,
    /// Path and query as they stood in the request line.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether the peer showed a certificate that the server trusts.
    pub has_certificate: bool,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

impl Seen {
    /// The path without query, split at `/`, without the empty start.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.target.split('?').next().unwrap_or_default().split('/').skip(1).collect()
    }

    /// The first value of a query parameter, undecoded.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let (_path, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.split_once('=').filter(|(n, _)| *n == name).map(|(_, value)| value))
    }
}

/// What a server answers.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    wait: Duration,
    /// Stop in the middle of the body, as a broken upstream does.
    cut: bool,
}

impl Answer {
    pub(super) fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Self { status, headers, body: body.into(), wait: Duration::ZERO, cut: false }
    }

    pub(super) fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    pub(super) fn ok(body: &serde_json::Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new(), wait: Duration::ZERO, cut: false }
    }

    pub(super) fn after(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    pub(super) fn cut(self) -> Self {
        Self { cut: true, ..self }
    }

    pub(super) fn header(mut self, name: header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }
}

/// How one server answers its requests.
pub(super) trait Answers: Send + Sync + 'static {
    fn answer(&self, request: &Seen) -> Answer;
}

/// A server on a free loopback port. It stops, with its connections, when this value is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Log>,
    accepting: AbortHandle,
}

#[derive(Default)]
struct Log {
    requests: Mutex<(usize, Vec<Seen>)>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, (usize, Vec<Seen>)> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).field("requests", &self.requests()).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    /// Binds a free port of 127.0.0.1 and serves `api` on it, over TLS.
    pub(super) async fn start(tls: rustls::ServerConfig, api: Arc<dyn Answers>) -> std::io::Result<Self> {
        Self::bind(Some(TlsAcceptor::from(Arc::new(tls))), api).await
    }

    /// The same in the clear, for what is public anyway.
    pub(super) async fn start_in_the_clear(api: Arc<dyn Answers>) -> std::io::Result<Self> {
        Self::bind(None, api).await
    }

    async fn bind(acceptor: Option<TlsAcceptor>, api: Arc<dyn Answers>) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Log::default());
        let accepting = tokio::spawn(accept(listener, acceptor, api, Arc::clone(&seen))).abort_handle();
        Ok(Self { address, seen, accepting })
    }

    /// How many requests arrived.
    pub(super) fn requests(&self) -> usize {
        self.seen.lock().0
    }

    /// The requests that arrived, in order.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().1.clone()
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, api: Arc<dyn Answers>, seen: Arc<Log>) {
    // Connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _peer)) = listener.accept().await else {
            // Out of file handles or a peer that is gone already: neither ends the server.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        connections.spawn(converse(stream, acceptor.clone(), Arc::clone(&api), Arc::clone(&seen)));
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, acceptor: Option<TlsAcceptor>, api: Arc<dyn Answers>, seen: Arc<Log>) {
    let Some(acceptor) = acceptor else { return speak(stream, false, api, seen).await };
    // A failed handshake is the peer's trouble: it sees the alert.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let has_certificate = stream.get_ref().1.peer_certificates().is_some();
    speak(stream, has_certificate, api, seen).await;
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, has_certificate: bool, api: Arc<dyn Answers>, seen: Arc<Log>) {
    let service = service_fn(move |request| respond(request, has_certificate, Arc::clone(&api), Arc::clone(&seen)));
    // However a connection ends, the next one is served.
    drop(auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
}

async fn respond(request: Request<Incoming>, has_certificate: bool, api: Arc<dyn Answers>, log: Arc<Log>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return Ok(into_response(Answer::empty(StatusCode::PAYLOAD_TOO_LARGE)));
    };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let seen = Seen { method: head.method, target, headers: head.headers, body: body.to_bytes(), has_certificate };
    {
        let mut log = log.lock();
        log.0 = log.0.saturating_add(1);
        if log.1.len() < SEEN_MAX {
            log.1.push(seen.clone());
        }
    }
    let answer = api.answer(&seen);
    tokio::time::sleep(answer.wait).await;
    Ok(into_response(answer))
}

type Body = http_body_util::Either<Full<Bytes>, CutBody>;

fn into_response(answer: Answer) -> Response<Body> {
    let body = if answer.cut { Body::Right(CutBody(Some(answer.body))) } else { Body::Left(Full::new(answer.body)) };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// Sends its bytes and then breaks the connection instead of ending the body.
#[derive(Debug)]
struct CutBody(Option<Bytes>);

impl hyper::body::Body for CutBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Ready(Some(match self.0.take() {
            Some(bytes) => Ok(hyper::body::Frame::data(bytes)),
            None => Err(std::io::Error::other("this answer breaks off on purpose")),
        }))
    }
}
