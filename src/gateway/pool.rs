//! Kept-alive connections to one target of an upstream. Whoever uses a connection drives it, too: there is no task beside it, so that a
//! request and its answer wake nobody on another thread. Each carries one request at a time, HTTP/1.1.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{TrySendError, http1};
use hyper::service::Service as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// How often idle connections are looked at; one that nobody took in between is closed.
const IDLE_LOOK_EVERY: Duration = Duration::from_secs(15);

/// The connections to one target.
pub(super) struct Pool {
    target: Uri,
    connector: TowerToHyperService<HttpsConnector<HttpConnector>>,
    /// For TCP and TLS together.
    connect_timeout: Duration,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// The one used last is taken first, so that the others can be let go.
    wires: Vec<Wire>,
    is_watched: bool,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PoolError {
    /// No byte was sent: somebody else may be asked.
    #[error("no connection: {0}")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request may have arrived.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
}

impl Pool {
    pub(super) fn new(target: Uri, tls: rustls::ClientConfig, connect_timeout: Duration) -> Arc<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        Arc::new(Self { target, connector: TowerToHyperService::new(connector), connect_timeout, idle: Mutex::default() })
    }

    pub(super) const fn target(&self) -> &Uri {
        &self.target
    }

    /// Sends a request in origin form and waits for the head of its answer. A kept connection that turns out to be closed before it
    /// took the request is replaced.
    ///
    /// # Errors
    /// [`PoolError`], which says whether a byte may have been sent.
    pub(super) async fn send(self: &Arc<Self>, mut request: Request<Full<Bytes>>) -> Result<(response::Parts, Answer), PoolError> {
        loop {
            let kept = self.lock().wires.pop();
            let is_new = kept.is_none();
            let mut wire = match kept {
                Some(wire) => wire,
                None => self.connect().await?,
            };
            match wire.send(request).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    return Ok((head, Answer { body, wire: Some(wire), home: Arc::clone(self) }));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !is_new => request = unsent,
                    Some(_unsent) => return Err(PoolError::Connect(error.into_error().into())),
                    None => return Err(error.into_error().into()),
                },
            }
        }
    }

    async fn connect(&self) -> Result<Wire, PoolError> {
        let connected = tokio::time::timeout(self.connect_timeout, self.connector.call(self.target.clone())).await;
        let stream = connected.map_err(|late| PoolError::Connect(late.into()))?.map_err(PoolError::Connect)?;
        let (sender, driver) = http1::handshake(stream).await.map_err(|error| PoolError::Connect(error.into()))?;
        Ok(Wire { sender, driver: Box::new(driver), is_over: false, was_seen_idle: false })
    }

    /// Keeps a connection whose answer was read to its end, if it may carry another request.
    fn keep(self: &Arc<Self>, mut wire: Wire) {
        if !wire.settles() {
            return;
        }
        wire.was_seen_idle = false;
        let mut idle = self.lock();
        idle.wires.push(wire);
        if !idle.is_watched {
            idle.is_watched = true;
            tokio::spawn(watch(Arc::downgrade(self)));
        }
    }

    /// Lets go of those that were idle at the last look, too; `false`: there are no more.
    fn look(&self) -> bool {
        let mut idle = self.lock();
        idle.wires.retain_mut(|wire| !std::mem::replace(&mut wire.was_seen_idle, true) && wire.settles());
        idle.is_watched = !idle.wires.is_empty();
        idle.is_watched
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that nobody uses, until there are none; a pool that a reload has replaced goes by itself.
async fn watch(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(IDLE_LOOK_EVERY).await;
        if !pool.upgrade().is_some_and(|pool| pool.look()) {
            return;
        }
    }
}

/// One connection.
struct Wire {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Box<http1::Connection<Stream, Full<Bytes>>>,
    /// The driver has ended, and with it the connection.
    is_over: bool,
    was_seen_idle: bool,
}

type Sent = Result<http::Response<Incoming>, TrySendError<Request<Full<Bytes>>>>;

impl Wire {
    fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.is_over
            && let Poll::Ready(ended) = Pin::new(&mut *self.driver).poll(cx)
        {
            self.is_over = true;
            // Whoever waits for the answer is told the same.
            if let Err(error) = ended {
                tracing::debug!(%error, "an upstream connection ended");
            }
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Sent {
        let mut answer = pin!(self.sender.try_send_request(request));
        std::future::poll_fn(|cx| {
            self.drive(cx);
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Whether it is open, with nothing left of the exchange before, and without a byte that nobody asked for.
    fn settles(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.is_over && self.sender.is_ready()
    }
}

/// The body of an answer, with the connection on which it comes; dropped before its end it closes the connection.
pub(super) struct Answer {
    body: Incoming,
    wire: Option<Wire>,
    home: Arc<Pool>,
}

impl Answer {
    /// The next bytes; `None` at the end. Trailers are not passed on.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, hyper::Error>> {
        let mut is_driven = false;
        loop {
            match Pin::new(&mut self.body).poll_frame(cx)? {
                Poll::Ready(Some(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Poll::Ready(None) => {
                    if let Some(wire) = self.wire.take() {
                        self.home.keep(wire);
                    }
                    return Poll::Ready(Ok(None));
                }
                Poll::Pending if is_driven => return Poll::Pending,
                Poll::Pending => {
                    is_driven = true;
                    if let Some(wire) = &mut self.wire {
                        wire.drive(cx);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

    /// What a server does with the requests of one connection, one after the other; then it closes.
    type Plan = Vec<&'static [u8]>;

    /// A server that follows a plan for each connection, and tells which connection each request came on.
    async fn serving(plans: Vec<Plan>) -> (Arc<Pool>, mpsc::UnboundedReceiver<Seen>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for (number, plan) in plans.into_iter().enumerate() {
                let (mut stream, _) = listener.accept().await.unwrap();
                let tell = tell.clone();
                tokio::spawn(async move {
                    let mut steps = plan.into_iter();
                    let mut request = Vec::new();
                    let mut byte = [0];
                    while stream.read(&mut byte).await.is_ok_and(|n| n == 1) {
                        request.push(byte[0]);
                        if request.ends_with(b"\r\n\r\n") {
                            request.clear();
                            tell.send(Seen::Request(number)).unwrap();
                            let Some(answer) = steps.next() else { break };
                            stream.write_all(answer).await.unwrap();
                            if steps.len() == 0 {
                                break;
                            }
                        }
                    }
                    drop(stream);
                    drop(tell.send(Seen::Closed(number)));
                });
            }
        });
        (Pool::new(target, crate::gateway::tls::client(None).unwrap(), Duration::from_secs(2)), told)
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Seen {
        Request(usize),
        /// By either side.
        Closed(usize),
    }

    async fn ask(pool: &Arc<Pool>) -> Result<Vec<u8>, PoolError> {
        let request = Request::get("/").header("host", "a").body(Full::default()).unwrap();
        let (_, mut answer) = pool.send(request).await?;
        let mut body = Vec::new();
        while let Some(data) = answer.next().await? {
            body.extend_from_slice(&data);
        }
        Ok(body)
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_replaced_once_it_is_closed() {
        let (pool, mut seen) = serving(vec![vec![ANSWER, ANSWER], vec![ANSWER, ANSWER, ANSWER]]).await;
        for _ in 0..2 {
            assert_eq!(b"{}".to_vec(), ask(&pool).await.unwrap());
        }
        assert_eq!(
            [Seen::Request(0), Seen::Request(0), Seen::Closed(0)],
            [seen.recv().await.unwrap(), seen.recv().await.unwrap(), seen.recv().await.unwrap()]
        );
        assert_eq!(b"{}".to_vec(), ask(&pool).await.unwrap());
        assert_eq!(Seen::Request(1), seen.recv().await.unwrap());
    }

    #[tokio::test]
    async fn a_request_that_may_have_arrived_is_not_sent_again() {
        let (pool, mut seen) = serving(vec![vec![ANSWER, b""], vec![ANSWER]]).await;
        ask(&pool).await.unwrap();
        let error = ask(&pool).await.unwrap_err();
        assert!(matches!(error, PoolError::Broken(_)), "{error:?}");
        let seen = [seen.recv().await.unwrap(), seen.recv().await.unwrap(), seen.recv().await.unwrap()];
        assert_eq!([Seen::Request(0), Seen::Request(0), Seen::Closed(0)], seen);
    }

    #[tokio::test]
    async fn bytes_that_nobody_asked_for_end_a_connection() {
        let two = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]";
        let (pool, mut seen) = serving(vec![vec![two, ANSWER, ANSWER], vec![ANSWER, ANSWER]]).await;
        for _ in 0..2 {
            assert_eq!(b"{}".to_vec(), ask(&pool).await.unwrap());
        }
        assert_eq!(Seen::Request(0), seen.recv().await.unwrap());
        assert!(matches!(
            (seen.recv().await, seen.recv().await),
            (Some(Seen::Closed(0)), Some(Seen::Request(1))) | (Some(Seen::Request(1)), Some(Seen::Closed(0)))
        ));
    }

    #[tokio::test]
    async fn an_answer_that_is_dropped_takes_its_connection_along() {
        let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}";
        let (pool, mut seen) = serving(vec![vec![begun, ANSWER]]).await;
        let (_, mut answer) = pool.send(Request::get("/").body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(Some(Bytes::from_static(b"{}")), answer.next().await.unwrap());
        drop(answer);
        assert_eq!([Seen::Request(0), Seen::Closed(0)], [seen.recv().await.unwrap(), seen.recv().await.unwrap()]);
        assert!(pool.lock().wires.is_empty());
    }

    #[tokio::test]
    async fn idle_connections_are_closed_and_nobody_looks_any_more() {
        let (pool, mut seen) = serving(vec![vec![ANSWER, ANSWER]]).await;
        ask(&pool).await.unwrap();
        assert_eq!(Seen::Request(0), seen.recv().await.unwrap());
        assert!(pool.look(), "it was used since the last look");
        assert!(!pool.look());
        assert_eq!(Seen::Closed(0), seen.recv().await.unwrap());
    }

    #[tokio::test]
    async fn where_nobody_listens_no_byte_was_sent() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let pool = Pool::new(format!("http://{closed}").parse().unwrap(), crate::gateway::tls::client(None).unwrap(), Duration::from_secs(2));
        assert!(matches!(ask(&pool).await.unwrap_err(), PoolError::Connect(_)));
    }
}
