//! Whether anything goes on: on a connection, so that one that nobody uses is closed, and on a stream of HTTP/2, so that one whose
//! client opens no window is reset. Of HTTP/1.1 the latter is seen where bytes are written (`wire.rs`); of HTTP/2 it is not, since a
//! stream waits by itself while its connection writes what others send.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::{Service, service_fn};
use tokio::sync::Notify;

/// A time that is waited for is looked at so many times: it ends at most a quarter late.
pub(super) const LOOKS: u32 = 4;

/// Requests of a connection that may be taken back before they are answered; beyond, when it is more than every second one, the
/// connection ends. h2 counts only those that are taken back before we have looked at them (rapid reset, CVE-2023-44487).
const TAKEN_BACK_MAX: u64 = 100;

/// Requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    begun: AtomicU64,
    taken_back: AtomicU64,
    open: AtomicUsize,
    enough: Notify,
}

impl Activity {
    /// How many requests there have been, when none is open.
    pub(super) fn quiet(&self) -> Option<u64> {
        let begun = self.begun.load(Ordering::Acquire);
        (self.open.load(Ordering::Acquire) == 0).then_some(begun)
    }

    /// Returns when too many requests were taken back.
    pub(super) async fn enough(&self) {
        self.enough.notified().await;
    }

    fn take_back(&self) {
        let taken_back = self.taken_back.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if taken_back > TAKEN_BACK_MAX && taken_back.saturating_mul(2) > self.begun.load(Ordering::Acquire) {
            self.enough.notify_one();
        }
    }

    /// Whether there has been a request.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }
}

/// A request that is open until this is dropped.
#[derive(Debug)]
struct Open {
    activity: Arc<Activity>,
    is_answered: bool,
}

impl Open {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Ordering::AcqRel);
        activity.begun.fetch_add(1, Ordering::AcqRel);
        Self { activity: Arc::clone(activity), is_answered: false }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.activity.open.fetch_sub(1, Ordering::AcqRel);
        if !self.is_answered {
            self.activity.take_back();
        }
    }
}

/// A service whose requests are noted.
pub(super) fn noted<S, B>(
    service: S,
    activity: Arc<Activity>,
) -> impl Service<Request<Incoming>, Response = Response<Sent<B>>, Error = Infallible, Future: Send + 'static>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: Body + Send + Unpin + 'static,
{
    service_fn(move |request| {
        let mut open = Open::new(&activity);
        let answered = service.call(request);
        async move {
            let response = answered.await?;
            open.is_answered = true;
            let taken = STREAM.try_with(Arc::clone).ok();
            if let Some(taken) = &taken {
                taken.offer();
            }
            Ok(response.map(|body| Sent { body, taken, _open: open }))
        }
    })
}

/// A body that notes when the client takes of it.
#[derive(Debug)]
pub(super) struct Sent<B> {
    body: B,
    taken: Option<Arc<Taken>>,
    _open: Open,
}

impl<B: Body + Unpin> Body for Sent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(taken) = &self.taken {
            if frame.is_ready() { taken.offer() } else { taken.await_us() }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Who waits for whom on a stream: odd, we for the client, since it was offered something; even, it for us.
#[derive(Debug, Default)]
struct Taken(AtomicU64);

impl Taken {
    fn offer(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(2) | 1, Ordering::Relaxed);
    }

    fn await_us(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) & !1, Ordering::Relaxed);
    }

    /// Which offer is not taken.
    fn offered(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|state| state & 1 == 1)
    }
}

tokio::task_local! {
    static STREAM: Arc<Taken>;
}

/// Runs the streams of HTTP/2 connections, and resets those whose client takes nothing for so long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    pub(super) patience: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::spawn(while_taken(stream, self.patience));
    }
}

/// Dropping a stream before its end resets it.
async fn while_taken(stream: impl Future<Output = ()>, patience: Duration) {
    let taken = Arc::new(Taken::default());
    let mut stream = pin!(STREAM.scope(Arc::clone(&taken), stream));
    let (mut before, mut looks) = (None, 0);
    loop {
        match tokio::time::timeout(patience / LOOKS, poll_fn(|cx| stream.as_mut().poll(cx))).await {
            Ok(()) => return,
            Err(_look) => {
                let now = taken.offered();
                looks = if now.is_some() && now == before { looks + 1 } else { 0 };
                before = now;
                if looks >= LOOKS {
                    tracing::debug!("a stream was reset: its client takes nothing");
                    return;
                }
            }
        }
    }
}
