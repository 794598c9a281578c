//! The handle by which the gateway writes the log.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::entry::Entry;
use super::error::AuditError;
use super::key::SigningKeySource;
use super::queue::DecisionId;
use crate::clock::Clock;

/// When an entry counts as recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// After the disk has confirmed it.
    #[default]
    Strict,
}

#[derive(Clone, Debug)]
pub struct LogSettings {
    pub dir: PathBuf,
    /// Takes over when a write or sync in `dir` fails; without it the log refuses from then on.
    pub spare_dir: Option<PathBuf>,
    /// The log's name; decision ids are `<origin>#<index>`.
    pub origin: String,
    pub signing_key: SigningKeySource,
    /// Entries waiting at most; more are refused.
    pub queue_max: usize,
    /// Size of a segment file.
    pub segment_bytes: u64,
    pub mode: Mode,
}

/// What was found when the log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Entries before this start.
    pub entries: u64,
    pub torn_bytes: u64,
    /// Whether the run before ended with a `stop` (or there was none).
    pub clean: bool,
    /// The verifier key, for whoever verifies the log elsewhere.
    pub vkey: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogMetrics {
    /// Durable entries.
    pub entries: u64,
    pub batches: u64,
    pub syncs: u64,
    pub queue_depth: usize,
    pub checkpoint_size: u64,
    /// Hex.
    pub checkpoint_root: String,
}

/// The decision log of this process.
#[derive(Clone, Debug)]
pub struct Log {}

impl Log {
    /// Opens or creates the log, repairs a torn end, writes `start` and signs a checkpoint.
    ///
    /// # Errors
    /// When the directory is in use, can not be written or holds a damaged log.
    pub fn open(settings: LogSettings, clock: Arc<dyn Clock>) -> Result<(Self, Recovery), AuditError> {
        let _ = (settings, clock);
        Err(AuditError::Closed)
    }

    /// Queues an entry. Only what [`Pending`] yields proves that it is durable.
    ///
    /// # Errors
    /// At once when the queue is full, the disk hangs or the log is poisoned or closed: refuse the request.
    pub fn append(&self, entry: Entry) -> Result<Pending, AuditError> {
        let _ = entry;
        Err(AuditError::Closed)
    }

    /// Queues an entry on which nothing waits: `end` entries.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_unwaited(&self, entry: Entry) -> Result<(), AuditError> {
        let _ = entry;
        Err(AuditError::Closed)
    }

    /// Whether entries can be written now.
    ///
    /// # Errors
    /// The reason why not, for readiness.
    pub fn healthy(&self) -> Result<(), AuditError> {
        Err(AuditError::Closed)
    }

    #[must_use]
    pub fn metrics(&self) -> LogMetrics {
        LogMetrics::default()
    }

    /// Writes what is queued, then `stop`, then a last checkpoint. Later appends on any clone are refused. Blocks.
    pub fn close(self) {}
}

/// An entry on its way to the disk. A future; in a thread without a runtime use [`Pending::wait`].
#[derive(Debug)]
pub struct Pending {}

impl Pending {
    /// Blocks until the entry is durable.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub fn wait(self) -> Result<Recorded, AuditError> {
        Err(AuditError::Closed)
    }
}

impl Future for Pending {
    type Output = Result<Recorded, AuditError>;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Err(AuditError::Closed))
    }
}

/// Proof that an entry is durable; only the writer makes it.
#[derive(Clone, Debug)]
pub struct Recorded {
    id: DecisionId,
}

impl Recorded {
    /// The entry's index. Of a head entry it is the decision's number, the `of` of what follows.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.id.index()
    }

    #[must_use]
    pub fn decision_id(&self) -> DecisionId {
        self.id.clone()
    }
}
