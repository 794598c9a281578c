//! An answer that comes as the test tells it: piece by piece, with waits between, without an end, or broken off.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

/// What writes an answer.
pub(super) type Writer = Arc<dyn Fn(Out) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;
pub(super) type Pieces = mpsc::Receiver<std::io::Result<Bytes>>;

/// Where a writer puts its pieces; the answer ends when it is dropped.
pub(crate) struct Out {
    to: mpsc::Sender<std::io::Result<Bytes>>,
    sent: Arc<AtomicUsize>,
}

impl Out {
    pub(super) fn new(sent: Arc<AtomicUsize>) -> (Self, Pieces) {
        let (to, pieces) = mpsc::channel(1);
        (Self { to, sent }, pieces)
    }

    /// Sends a piece; `false` once the gateway is gone.
    pub(crate) async fn say(&self, piece: impl Into<Bytes>) -> bool {
        let piece = piece.into();
        let bytes = piece.len();
        let taken = self.to.send(Ok(piece)).await.is_ok();
        if taken {
            self.sent.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }

    /// Breaks the connection off.
    pub(crate) async fn die(self) {
        drop(self.to.send(Err(std::io::Error::other("planned to break off"))).await);
    }

    /// Returns when the gateway has let the connection go.
    pub(crate) async fn gone(&self) {
        self.to.closed().await;
    }
}
