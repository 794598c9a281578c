//! Department apps that call the gateway: HTTP/1.1 or HTTP/2 over one connection that stays open, each with its own
//! certificate; and raw bytes for what no proper client would send.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use consentry::cli::certs::PemPair;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::answer::Answer;

/// Answers of the data plane, to be compared with the log at the end: decision, status, code.
pub(super) type Seen = Arc<Mutex<Vec<(String, u16, Option<String>)>>>;

pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(super) tls: ClientConfig,
    pub(super) token: Option<String>,
    /// As the gateway is called.
    pub(super) host: String,
    pub(super) http2: bool,
    /// `None` for listeners beside the data plane, whose answers have other headers.
    pub(super) seen: Option<Seen>,
    pub(super) link: tokio::sync::Mutex<Option<Link>>,
    pub(super) opened: AtomicUsize,
}

pub(super) enum Link {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

pub(crate) fn tls(ca: &Path, pair: &PemPair) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_file(&pair.chain).unwrap()];
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&pair.key).unwrap())
        .unwrap()
}

/// Anybody: without a certificate.
pub(crate) fn anonymous(ca: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

impl Client {
    pub(crate) fn new(address: SocketAddr, tls: ClientConfig, seen: Option<Seen>) -> Self {
        Self {
            address,
            tls,
            token: None,
            host: "localhost".to_owned(),
            http2: false,
            seen,
            link: tokio::sync::Mutex::default(),
            opened: AtomicUsize::new(0),
        }
    }

    /// Speaks HTTP/2.
    pub(crate) fn http2(self) -> Self {
        Self { http2: true, ..self }
    }

    /// Calls the gateway by another name.
    pub(crate) fn host(self, host: String) -> Self {
        Self { host, ..self }
    }

    /// Sends this token with every request.
    pub(crate) fn token(self, token: String) -> Self {
        Self { token: Some(token), ..self }
    }

    pub(crate) fn ask(&self, method: Method, target: &str) -> Ask<'_> {
        Ask { client: self, method, target: target.to_owned(), headers: Vec::new(), body: None }
    }

    pub(crate) fn get(&self, target: &str) -> Ask<'_> {
        self.ask(Method::GET, target)
    }

    pub(crate) fn patch(&self, target: &str, body: &str) -> Ask<'_> {
        self.ask(Method::PATCH, target).json(body)
    }

    pub(crate) fn put(&self, target: &str, body: &str) -> Ask<'_> {
        self.ask(Method::PUT, target).json(body)
    }

    pub(crate) fn post(&self, target: &str, body: &str) -> Ask<'_> {
        self.ask(Method::POST, target).json(body)
    }

    /// How many connections it took so far.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// A connection on which these protocols are offered. The name by which the gateway is called is told in the handshake, too, if
    /// its certificate has it.
    pub(crate) async fn connect(&self, protocols: &[&str]) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.begin_tls(stream, protocols).await.unwrap()
    }

    /// The same on a TCP connection that is there.
    pub(crate) async fn begin_tls(&self, stream: TcpStream, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        stream.set_nodelay(true).unwrap();
        // An address is not told.
        let name = if self.host == "localhost" { "localhost" } else { "127.0.0.1" };
        tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from(name).unwrap(), stream).await
    }

    async fn open(&self) -> Link {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if self.http2 {
            let stream = self.connect(&["h2"]).await;
            assert_eq!(Some(&b"h2"[..]), stream.get_ref().1.alpn_protocol());
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(async move { drop(connection.await) });
            Link::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(TokioIo::new(self.connect(&["http/1.1"]).await)).await.unwrap();
            tokio::spawn(async move { drop(connection.await) });
            Link::Http1(sender)
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        let to_head = request.method() == Method::HEAD;
        let mut link = self.link.lock().await;
        let usable = match &mut *link {
            Some(Link::Http1(sender)) => sender.ready().await.is_ok(),
            Some(Link::Http2(sender)) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            *link = Some(self.open().await);
        }
        let response = match link.as_mut().unwrap() {
            Link::Http1(sender) => sender.send_request(request).await?,
            // Streams beside each other: the connection is free while this one waits.
            Link::Http2(sender) => {
                let mut sender = sender.clone();
                drop(link);
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let answer = Answer { status: head.status, headers: head.headers, body: body.collect().await?.to_bytes() };
        let Some(seen) = &self.seen else { return Ok(answer) };
        let answer = answer.checked(to_head);
        if let Some(decision) = answer.decision() {
            let code = (answer.is_problem() && !to_head).then(|| answer.code());
            seen.lock().unwrap().push((decision.to_owned(), answer.status.as_u16(), code));
        }
        Ok(answer)
    }

    /// Sends bytes as they are on a connection of their own and returns what comes until the gateway closes it.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect(&[]).await;
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        // How the end comes (with or without close_notify) is no matter here.
        drop(super::soon("the end of a raw answer", stream.read_to_end(&mut answer)).await);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// What a client takes ahead of its reader, the least that HTTP/2 begins with.
const WINDOW: u32 = 65_535;

/// A request on its way; `.await` sends it.
pub(crate) struct Ask<'c> {
    client: &'c Client,
    method: Method,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

impl Ask<'_> {
    pub(crate) fn purpose(self, purpose: &str) -> Self {
        self.header("data-purpose", purpose)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn json(self, body: &str) -> Self {
        self.header("content-type", "application/json").body(body.as_bytes())
    }

    pub(crate) fn body(self, body: &[u8]) -> Self {
        Self { body: Some(Bytes::copy_from_slice(body)), ..self }
    }

    /// The answer while its body still comes, on a connection of its own: no more is sent ahead of the reader than the 64 KiB
    /// of HTTP/2's window.
    pub(crate) async fn begin(self) -> Response<Incoming> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (mut sender, connection) = builder.handshake(TokioIo::new(self.client.connect(&["h2"]).await)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        super::soon(&self.target.clone(), sender.send_request(self.request(true))).await.unwrap()
    }

    /// The same over HTTP/1.1. The connection ends with the answer, also when that is dropped.
    pub(crate) async fn begin_http1(self) -> Response<Incoming> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.client.connect(&["http/1.1"]).await)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        super::soon(&self.target.clone(), sender.send_request(self.request(false))).await.unwrap()
    }

    /// The answer, or why there was none: a connection that was cut.
    pub(crate) async fn attempt(self) -> Result<Answer, hyper::Error> {
        let request = self.request(self.client.http2);
        super::soon(&self.target, Box::pin(self.client.send(request))).await
    }

    fn request(&self, http2: bool) -> Request<Full<Bytes>> {
        let uri = if http2 { format!("https://{}{}", self.client.host, self.target) } else { self.target.clone() };
        let mut request = Request::builder().method(self.method.clone()).uri(uri);
        if !http2 {
            request = request.header("host", &self.client.host);
        }
        if let Some(token) = &self.client.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(self.body.clone().unwrap_or_default())).unwrap()
    }
}

impl<'c> IntoFuture for Ask<'c> {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        let what = format!("{} {}", self.method, self.target);
        Box::pin(async move { self.attempt().await.unwrap_or_else(|error| panic!("{what} was not answered: {error:?}")) })
    }
}
