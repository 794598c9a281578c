//! Serves HTTP/1.1 or HTTP/2 on one connection, with every limit written out: hyper's and h2's own are for whoever has trust in the
//! other end, and change from version to version.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::activity::{Activity, LOOKS, Streams, noted};
use super::listener::{Barred, Gate, Limits};
use super::running::stopping;
use super::wire::Wire;

/// HTTP/2 as TLS names it.
pub(super) const H2: &[u8] = b"h2";

/// HTTP/2 flow-control windows of a stream and of a connection, bytes.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;
/// Largest frame, and what is held of an answer that the client's window has no room for, bytes.
const FRAME_BYTES_MAX: u32 = 16 * 1024;
const SEND_BYTES_MAX: usize = 64 * 1024;
/// What a client may have us remember of its headers, bytes: the table of HPACK.
const HEADER_TABLE_BYTES_MAX: u32 = 4 * 1024;
/// Streams that a client has reset and nobody has looked at yet; beyond, the connection ends (rapid reset, CVE-2023-44487).
const RESETS_PENDING_MAX: usize = 20;
/// Streams of one connection that had to be reset for what the client sent; beyond, it ends (MadeYouReset, CVE-2025-8671).
const RESETS_OWN_MAX: usize = 100;
/// Silence after which a client of HTTP/2 is asked whether it is there, and for its answer.
const PING_AFTER: Duration = Duration::from_secs(20);

/// How much of the drain is left to connections on which no request has come yet, and how often they are looked at.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(2);
const FIRST_REQUEST_LOOK: Duration = Duration::from_millis(20);

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// How HTTP is spoken on a listener.
#[derive(Debug)]
pub(super) struct Http {
    limits: Limits,
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
}

impl Http {
    pub(super) fn new(limits: Limits) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            // A limit for the whole head, which includes the time between two requests. `wire.rs` has one for each.
            .header_read_timeout(None)
            .max_buf_size(limits.headers_bytes_max.max(8192))
            .max_header_size(limits.headers_bytes_max)
            .max_headers(limits.headers_max)
            .half_close(false)
            .pipeline_flush(false);
        let mut http2 = http2::Builder::new(Streams { patience: limits.send_timeout });
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size(u32::try_from(limits.headers_bytes_max).unwrap_or(u32::MAX))
            .header_table_size(HEADER_TABLE_BYTES_MAX)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_send_buf_size(SEND_BYTES_MAX)
            .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
            .max_local_error_reset_streams(RESETS_OWN_MAX)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_AFTER);
        Self { limits, http1, http2 }
    }

    pub(super) async fn http1<T, S, B>(&self, stream: T, service: S, gate: &Gate, stop: watch::Receiver<bool>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<AnyError>,
    {
        let activity = Arc::new(Activity::default());
        let wire = Wire::http1(stream, self.limits.header_timeout, self.limits.send_timeout);
        let connection = self.http1.serve_connection(TokioIo::new(wire), noted(service, Arc::clone(&activity)));
        while_used(connection, &activity, self.limits.idle_timeout, stop).await.tell(gate);
    }

    pub(super) async fn http2<T, S, B>(&self, stream: T, service: S, gate: &Gate, stop: watch::Receiver<bool>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<AnyError>,
    {
        let activity = Arc::new(Activity::default());
        let wire = Wire::http2(stream, self.limits.send_timeout);
        let connection = self.http2.serve_connection(TokioIo::new(wire), noted(service, Arc::clone(&activity)));
        let used = while_used(connection, &activity, self.limits.idle_timeout, stop);
        unless_silent(used, &activity, self.limits.header_timeout).await.tell(gate);
    }
}

/// How a connection ended.
enum Ended {
    Http(hyper::Result<()>),
    /// Nothing was asked for so long.
    Unused,
    /// Requests were taken back as soon as they were made.
    TakenBack,
}

impl Ended {
    /// Counts what ended for what the client sent.
    fn tell(self, gate: &Gate) {
        match self {
            Self::Http(Ok(())) => {}
            Self::Http(Err(error)) => {
                if error.is_parse() {
                    gate.bar(Barred::Http);
                } else if is_flood(&error) {
                    gate.bar(Barred::Flood);
                }
                tracing::debug!(%error, "a connection ended with an error");
            }
            Self::Unused => tracing::debug!("a connection that nobody uses was closed"),
            Self::TakenBack => gate.bar(Barred::Flood),
        }
    }
}

/// Whether h2 had enough.
fn is_flood(error: &hyper::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|cause| cause.downcast_ref::<h2::Error>())
        .is_some_and(|cause| cause.is_go_away() && cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

/// Lets a connection finish what is open when the gateway stops or no request has come for so long.
async fn while_used<C>(connection: C, activity: &Activity, idle: Duration, mut stop: watch::Receiver<bool>) -> Ended
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut connection: Pin<&mut C> = pin!(connection);
    let (mut before, mut looks, mut is_closing) = (None, 0, false);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return Ended::Http(ended),
            () = activity.enough() => return Ended::TakenBack,
            () = stopping(&mut stop), if !is_closing => {
                is_closing = true;
                if let Some(ended) = first_request(connection.as_mut(), activity).await {
                    return ended;
                }
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(idle / LOOKS) => {
                let now = activity.quiet();
                looks = if now.is_some() && now == before { looks + 1 } else { 0 };
                before = now;
                if looks < LOOKS {
                    continue;
                }
                // Whoever does not go when asked has nothing open but streams whose end it does not take.
                if is_closing {
                    return Ended::Unused;
                }
                (is_closing, looks) = (true, 0);
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Waits for the first request of a connection, or for its end. hyper ends a connection at once on which it has seen none, though its
/// client may have sent one by now: what was accepted is also answered.
async fn first_request<C>(mut connection: Pin<&mut C>, activity: &Activity) -> Option<Ended>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    for _ in 0..FIRST_REQUEST_MAX.as_millis() / FIRST_REQUEST_LOOK.as_millis() {
        if activity.has_begun() {
            break;
        }
        if let Ok(ended) = tokio::time::timeout(FIRST_REQUEST_LOOK, connection.as_mut()).await {
            return Some(Ended::Http(ended));
        }
    }
    None
}

/// Ends a connection on which no request comes in time.
async fn unless_silent(connection: impl Future<Output = Ended>, activity: &Activity, patience: Duration) -> Ended {
    let mut connection = pin!(connection);
    match tokio::time::timeout(patience, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) if activity.has_begun() => connection.await,
        Err(_) => Ended::Unused,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::service::service_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::super::listener::{Served, serve};
    use super::super::tls::Secured;
    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    /// Answers with so many bytes.
    async fn listening(limits: Limits, bytes: usize) -> (SocketAddr, watch::Sender<bool>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let make = move |_| service_fn(move |_| async move { Ok(Response::new(Full::new(Bytes::from(vec![b'y'; bytes])))) });
        tokio::spawn(serve(listener, Served::plain(limits), stopped, make));
        (address, stop)
    }

    async fn closed(client: &mut TcpStream) -> Vec<u8> {
        let mut answer = Vec::new();
        drop(tokio::time::timeout(Duration::from_secs(10), client.read_to_end(&mut answer)).await.unwrap());
        answer
    }

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    #[tokio::test]
    async fn what_was_accepted_before_a_stop_is_answered() {
        let (address, stop) = listening(Limits::default(), 2).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        // A second one that is answered shows that the first was accepted.
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(ASK).await.unwrap();
        let mut some = [0; 15];
        other.read_exact(&mut some).await.unwrap();
        stop.send_replace(true);
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.write_all(ASK).await.unwrap();
        let answer = closed(&mut client).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    }

    #[tokio::test]
    async fn a_head_has_to_come_in_its_time_however_it_drips() {
        let (address, _stop) = listening(Limits { header_timeout: SOON, ..Limits::default() }, 2).await;
        for silence in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r"] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(silence.as_bytes()).await.unwrap();
            assert!(!closed(&mut client).await.starts_with(b"HTTP/1.1 200"), "{silence:?}");
        }
        // Also behind a request that was answered, and byte by byte.
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&[ASK, b"GET"].concat()).await.unwrap();
        let dripping = async {
            while client.write_all(b" ").await.is_ok() {
                tokio::time::sleep(SOON / 10).await;
            }
        };
        tokio::time::timeout(SOON * 20, dripping).await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_may_be_idle_longer_than_a_head_may_take_and_then_ends() {
        let limits = Limits { header_timeout: SOON / 2, idle_timeout: SOON * 4, ..Limits::default() };
        let (address, _stop) = listening(limits, 2).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            client.write_all(ASK).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"yy") {
                assert!(client.read_buf(&mut answer).await.unwrap() > 0);
            }
            tokio::time::sleep(SOON).await;
        }
        assert!(closed(&mut client).await.is_empty());
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_its_answer_is_cut() {
        let (address, _stop) = listening(Limits { send_timeout: SOON, ..Limits::default() }, 32 << 20).await;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let mut client = socket.connect(address).await.unwrap();
        client.write_all(ASK).await.unwrap();
        // Whoever takes a little now and then may go on for as long as it likes.
        let mut taken = vec![0; 64 << 10];
        for _ in 0..20 {
            client.read_exact(&mut taken).await.unwrap();
            tokio::time::sleep(SOON / 4).await;
        }
        tokio::time::sleep(SOON * 4).await;
        let rest = closed(&mut client).await.len();
        assert!(rest + 20 * taken.len() < 32 << 20, "{rest}");
    }

    #[tokio::test]
    async fn a_handshake_has_to_end_in_its_time() {
        #[derive(Debug)]
        struct Nothing;
        impl rustls::server::ResolvesServerCert for Nothing {
            fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
                None
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_cert_resolver(Arc::new(Nothing));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stop, stopped) = watch::channel(false);
        let limits = Limits { handshake_timeout: SOON, connections_max: 2, connections_per_ip_max: 1, ..Limits::default() };
        let served = Served { tls: Some(Arc::new(arc_swap::ArcSwap::from_pointee(Secured::from(config)))), ..Served::plain(limits) };
        let make = |_| service_fn(|_| async { Ok(Response::new(Full::new(Bytes::new()))) });
        tokio::spawn(serve(listener, served, stopped, make));
        for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(begun).await.unwrap();
            // A second one of the same client finds no place meanwhile.
            let mut second = TcpStream::connect(address).await.unwrap();
            tokio::time::timeout(SOON / 2, second.read_to_end(&mut Vec::new())).await.unwrap().unwrap_or_default();
            closed(&mut client).await;
        }
    }
}
