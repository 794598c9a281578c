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
        end(while_used(connection, &activity, self.limits.idle_timeout, stop).await, gate);
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
        match unless_silent(used, &activity, self.limits.header_timeout).await {
            Some(ended) => end(ended, gate),
            None => tracing::debug!("a connection without a request was closed"),
        }
    }
}

/// Counts what ended for what the client sent.
fn end(result: Result<(), hyper::Error>, gate: &Gate) {
    let Err(error) = result else { return };
    if error.is_parse() {
        gate.bar(Barred::Http);
    } else if is_flood(&error) {
        gate.bar(Barred::Flood);
    }
    tracing::debug!(%error, "a connection ended with an error");
}

/// Whether h2 had enough.
fn is_flood(error: &hyper::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|cause| cause.downcast_ref::<h2::Error>())
        .is_some_and(|cause| cause.is_go_away() && cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

/// Lets a connection finish what is open when the gateway stops or no request has come for so long.
async fn while_used<C: GracefulConnection>(
    connection: C,
    activity: &Activity,
    idle: Duration,
    mut stop: watch::Receiver<bool>,
) -> Result<(), C::Error> {
    let mut connection: Pin<&mut C> = pin!(connection);
    let (mut before, mut looks, mut is_closing) = (None, 0, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            _ = stop.wait_for(|stop| *stop), if !is_closing => {
                is_closing = true;
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
                    return Ok(());
                }
                (is_closing, looks) = (true, 0);
                tracing::debug!("an idle connection is closed");
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// `None` when no request has come in time.
async fn unless_silent<F: Future>(connection: F, activity: &Arc<Activity>, patience: Duration) -> Option<F::Output> {
    let mut connection = pin!(connection);
    match tokio::time::timeout(patience, connection.as_mut()).await {
        Ok(ended) => Some(ended),
        Err(_) if activity.has_begun() => Some(connection.await),
        Err(_) => None,
    }
}
