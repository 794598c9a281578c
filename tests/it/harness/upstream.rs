//! The API behind the gateway: answers what a test has planned, and keeps what it received. TLS with a required client
//! certificate, so that a gateway that does not show its own gets nowhere.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// A planned answer.
#[derive(Clone)]
pub(crate) struct Plan {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    cut: bool,
    gate: Option<Gate>,
    hook: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// JSON without the white space between its parts; anything else as it is.
fn compact(body: &str) -> String {
    if serde_json::from_str::<serde::de::IgnoredAny>(body).is_err() {
        return body.to_owned();
    }
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        let kept = in_string || !c.is_ascii_whitespace();
        in_string ^= *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        kept
    };
    body.chars().filter(keep).collect()
}

impl Plan {
    /// 200 with a JSON body, written as servers write it: without white space, which would be kept.
    pub(crate) fn json(body: &str) -> Self {
        Self::text("application/json", &compact(body))
    }

    pub(crate) fn text(content_type: &str, body: &str) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status: 200, headers, body: Bytes::copy_from_slice(body.as_bytes()), cut: false, gate: None, hook: None }
    }

    /// Without body and content type.
    pub(crate) fn empty(status: u16) -> Self {
        Self { headers: Vec::new(), ..Self::json("") }.status(status)
    }

    pub(crate) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The connection ends after half of the body.
    pub(crate) fn cut_in_the_middle(self) -> Self {
        Self { cut: true, ..self }
    }

    /// Waits until the test lets it go.
    pub(crate) fn behind(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }

    /// Something to look at when the request has arrived.
    pub(crate) fn then(self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self { hook: Some(Arc::new(hook)), ..self }
    }
}

/// Holds answers back.
#[derive(Clone)]
pub(crate) struct Gate {
    arrived: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self { arrived: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }

    /// Returns when a request waits at the gate.
    pub(crate) async fn arrived(&self) {
        super::soon("a request at the gate", self.arrived.acquire()).await.unwrap().forget();
    }

    pub(crate) fn release(&self) {
        self.open.add_permits(1);
    }
}

/// What came in.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// `GET /customers/0031?limit=1`, without the base path.
    pub(crate) what: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    plans: HashMap<String, Plan>,
    received: Vec<Received>,
}

/// What unplanned requests are told; it must never reach a caller.
const LOST: &str = r#"{"error":"no record of secret.person@example.net"}"#;

impl Upstream {
    pub(crate) async fn start(tls: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let (acceptor, serving) = (TlsAcceptor::from(Arc::new(tls)), this.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, this) = (acceptor.clone(), serving.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        let this = this.clone();
                        async move { Ok::<_, Infallible>(this.answer(request).await) }
                    });
                    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        this
    }

    /// Plans the answer to `GET /customers/0031`, from now on.
    pub(crate) fn on(&self, what: &str, plan: Plan) {
        self.state.lock().unwrap().plans.insert(what.to_owned(), plan);
    }

    /// Plans a whole JSON answer.
    pub(crate) fn json(&self, what: &str, body: &str) {
        self.on(what, Plan::json(body));
    }

    /// Everything received since the last call.
    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.state.lock().unwrap().received)
    }

    /// Method and path of everything received since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.take().into_iter().map(|r| r.what).collect()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Planned> {
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().unwrap().as_str();
        let what = format!("{} {}", head.method, target.strip_prefix("/v7").unwrap_or(target));
        let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let plan = {
            let mut state = self.state.lock().unwrap();
            state.received.push(Received { what: what.clone(), headers: head.headers, body });
            state.plans.get(&what).cloned().unwrap_or_else(|| Plan::json(LOST).status(404))
        };
        if let Some(hook) = &plan.hook {
            hook();
        }
        if let Some(gate) = &plan.gate {
            gate.arrived.add_permits(1);
            gate.open.acquire().await.unwrap().forget();
        }
        let mut response = Response::builder().status(plan.status);
        for (name, value) in &plan.headers {
            response = response.header(name, value);
        }
        if !plan.body.is_empty() {
            response = response.header("content-length", plan.body.len());
        }
        let cut = plan.cut;
        let body = if cut { plan.body.slice(..plan.body.len() / 2) } else { plan.body };
        response.body(Planned { rest: Some(body).filter(|b| !b.is_empty()), cut }).unwrap()
    }
}

/// A body that may break off.
struct Planned {
    rest: Option<Bytes>,
    cut: bool,
}

impl Body for Planned {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match (self.rest.take(), self.cut) {
            (Some(rest), _) => Poll::Ready(Some(Ok(Frame::data(rest)))),
            (None, true) => Poll::Ready(Some(Err(std::io::Error::other("planned to break off")))),
            (None, false) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && !self.cut
    }
}
