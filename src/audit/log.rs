//! The handle by which the gateway writes the log.

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use jiff::Timestamp;

use super::disk::{Disk, RealDisk};
use super::encode;
use super::entry::Entry;
use super::error::AuditError;
use super::key::{SigningKey, SigningKeySource, is_name};
use super::lock::DirLock;
use super::prune::RetentionClass;
use super::queue::{DecisionId, Job, Queue, Slot, lock};
use super::recover;
use super::roots::RootsFile;
use super::sealer;
use super::segment::{self, SEGMENT_BYTES_MIN, SPARE_FILE};
use super::tape;
use super::text_keys::{KEYS_FOLDER, TextKeys, Texts};
use super::writer::{self, Progress, Shared, Signed};
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
    /// Size of a segment file; at least 262,144.
    pub segment_bytes: u64,
    pub mode: Mode,
    /// Finished segments are compressed.
    pub seal: bool,
}

/// What was found when the log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Entries before this start.
    pub entries: u64,
    /// Bytes of an unfinished write that were removed from the end.
    pub torn_bytes: u64,
    /// Whether the run before ended with a `stop` (or there was none).
    pub clean: bool,
    /// Time of the last entry before this start.
    pub last: Option<Timestamp>,
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

/// The decision log of this process. Clones are handles of the same log; the last one that goes closes it.
#[derive(Clone, Debug)]
pub struct Log {
    handle: Arc<Handle>,
}

impl Log {
    /// Opens or creates the log, repairs a torn end, writes `start` and signs a checkpoint.
    ///
    /// # Errors
    /// When the directory is in use, can not be written or holds a damaged log.
    pub fn open(settings: LogSettings, clock: Arc<dyn Clock>) -> Result<(Self, Recovery), AuditError> {
        Self::open_on(Arc::new(RealDisk), settings, clock)
    }

    pub(super) fn open_on(disk: Arc<dyn Disk>, settings: LogSettings, clock: Arc<dyn Clock>) -> Result<(Self, Recovery), AuditError> {
        let LogSettings { dir, spare_dir, origin, signing_key, queue_max, segment_bytes, mode: Mode::Strict, seal } = settings;
        if !is_name(&origin) {
            return Err(AuditError::Origin { origin });
        }
        if segment_bytes < SEGMENT_BYTES_MIN {
            return Err(AuditError::SegmentTooSmall { bytes: segment_bytes, min: SEGMENT_BYTES_MIN });
        }
        let key = SigningKey::load(&signing_key, &origin)?;
        let mut locks = vec![DirLock::take(&dir)?];
        if let Some(spare) = &spare_dir {
            locks.push(DirLock::take(spare)?);
            remember_spare(&*disk, &dir, spare)?;
        }
        let dirs = segment::directories(&dir);
        if spare_dir.is_none()
            && let Some(spare) = dirs.get(1)
        {
            locks.push(DirLock::take(spare)?);
        }
        remember_key(&*disk, &dir, &key)?;
        let vkey = key.vkey().to_string();
        for dir in &dirs {
            remove_temporary(dir);
        }
        remove_temporary(&dir.join(KEYS_FOLDER));
        let texts = TextKeys::open(&disk, &dir);
        let found = recover::recover(&disk, &dirs, segment_bytes, key.vkey())?;
        let mut tape = found.tape;
        let recovery = Recovery { entries: tape.size(), torn_bytes: found.torn_bytes, clean: found.clean, last: found.last, vkey };

        let origin: Arc<str> = origin.into();
        let now = clock.now();
        let start = writer::start_entry(origin.clone(), found.torn_bytes, found.clean, now);
        tape.put(&start, now).and_then(|_| tape.sync()).map_err(|f| AuditError::Poisoned { reason: f.detail })?;
        let progress = Progress { tree: tape.synced().clone(), dir: tape.dir(), growing: tape.growing(), syncs: tape.syncs(), ..Progress::default() };
        let shared = Arc::new(Shared {
            queue: Queue::new(queue_max),
            clock,
            origin,
            disk,
            dirs,
            segment_bytes,
            key,
            progress: Mutex::new(progress),
            progressed: Condvar::new(),
            signed: Mutex::new(Signed { size: found.signed, root: String::new() }),
            unsigned: AtomicBool::new(false),
            locks: Mutex::new(locks),
            rewriting: Mutex::default(),
            texts,
        });
        writer::checkpoint(&shared, tape.synced(), tape.dir())?;
        for path in &shared.dirs {
            // The reserve, before anything else can take the space.
            tape::prepare(&*shared.disk, path, segment_bytes, false).map_err(|e| AuditError::io(path, &e))?;
        }
        let roots = RootsFile::open(&shared.disk, &shared.dirs, tape.synced())?;
        let handle = Handle { shared, threads: Mutex::default() };
        handle.start(tape, roots)?;
        if seal {
            handle.spawn("audit-sealer", sealer::run)?;
        }
        Ok((Self { handle: Arc::new(handle) }, recovery))
    }

    /// Queues an entry. Only what [`Pending`] yields proves that it is durable. The first free text of a month waits for its key.
    ///
    /// # Errors
    /// At once when the queue is full, the disk hangs or the log is poisoned or closed: refuse the request.
    pub fn append(&self, entry: Entry) -> Result<Pending, AuditError> {
        let slot = Arc::new(Slot::default());
        self.push(entry, Some(slot.clone()))?;
        Ok(Pending { slot })
    }

    /// Queues an entry on which nothing waits: `end` entries.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_unwaited(&self, entry: Entry) -> Result<(), AuditError> {
        self.push(entry, None)
    }

    fn push(&self, entry: Entry, slot: Option<Arc<Slot>>) -> Result<(), AuditError> {
        let shared = &self.handle.shared;
        if shared.unsigned.load(Ordering::Relaxed) {
            return Err(AuditError::Unsigned);
        }
        let now = shared.clock.now();
        let (draft, of) = encode::draft_with(entry, now, |text| {
            shared.holds_locks()?;
            shared.texts.encrypt(text, now)
        })?;
        shared.queue.push(Job { draft, of, slot })
    }

    /// Whether free text of a break-glass grant can be written now; makes the month's key if there is none. Blocks.
    ///
    /// # Errors
    /// When the key is lost or damaged, or cannot be made.
    pub fn takes_text(&self) -> Result<(), AuditError> {
        let shared = &self.handle.shared;
        shared.holds_locks()?;
        shared.texts.ready(RetentionClass::BreakGlass, shared.clock.now())
    }

    /// Why the last free text was refused, until one is taken.
    #[must_use]
    pub fn text_trouble(&self) -> Option<String> {
        self.handle.shared.texts.trouble()
    }

    /// The keys by which free text is read.
    #[must_use]
    pub fn texts(&self) -> Texts {
        Texts::of(self.handle.shared.dirs.first().map(PathBuf::as_path).unwrap_or(Path::new("")))
    }

    /// Whether entries can be written now.
    ///
    /// # Errors
    /// The reason why not, for readiness.
    pub fn healthy(&self) -> Result<(), AuditError> {
        let shared = &self.handle.shared;
        shared.queue.healthy()?;
        if shared.unsigned.load(Ordering::Relaxed) { Err(AuditError::Unsigned) } else { Ok(()) }
    }

    #[must_use]
    pub fn metrics(&self) -> LogMetrics {
        let shared = &self.handle.shared;
        let queue_depth = shared.queue.depth();
        let (checkpoint_size, checkpoint_root) = {
            let signed = lock(&shared.signed);
            (signed.size, signed.root.clone())
        };
        let progress = lock(&shared.progress);
        LogMetrics { entries: progress.tree.size(), batches: progress.batches, syncs: progress.syncs, queue_depth, checkpoint_size, checkpoint_root }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// Takes no entry any more: what was found out about the log speaks against it.
    pub fn end(&self, reason: String) {
        self.handle.shared.queue.end(AuditError::Contradicted { reason });
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.handle.shared.origin
    }

    /// Writes what is queued, then `stop`, then a last checkpoint. Later appends on any clone are refused. Blocks.
    pub fn close(self) {
        self.handle.close();
    }
}

/// The threads of an open log.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Handle {
    fn start(&self, tape: tape::Tape, roots: RootsFile) -> Result<(), AuditError> {
        self.spawn("audit-writer", move |shared| writer::write(shared, tape))?;
        self.spawn("audit-signer", move |shared| writer::sign(shared, Some(roots)))?;
        self.spawn("audit-watch", writer::watch)
    }

    fn spawn(&self, name: &str, run: impl FnOnce(&Shared) + Send + 'static) -> Result<(), AuditError> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&shared));
        lock(&self.threads).push(thread.map_err(|e| AuditError::io(name, &e))?);
        Ok(())
    }

    fn close(&self) {
        self.shared.queue.close();
        let threads: Vec<_> = lock(&self.threads).drain(..).collect();
        for (i, thread) in threads.into_iter().enumerate() {
            // A thread that panicked has already ended the log.
            thread.join().unwrap_or_default();
            if i == 0 {
                // The writer is done: what it wrote last is signed.
                lock(&self.shared.progress).closed = true;
                self.shared.progressed.notify_all();
            }
        }
        lock(&self.shared.locks).clear();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// An entry on its way to the disk. A future; in a thread without a runtime use [`Pending::wait`]. Answers within some two
/// seconds, whatever the disk does.
#[derive(Debug)]
#[must_use = "the entry is not durable before this says so"]
pub struct Pending {
    slot: Arc<Slot>,
}

impl Pending {
    /// Blocks until the entry is durable.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub fn wait(self) -> Result<Recorded, AuditError> {
        self.slot.wait().map(|id| Recorded { id })
    }
}

impl Future for Pending {
    type Output = Result<Recorded, AuditError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.slot.poll(context.waker()).map_ok(|id| Recorded { id })
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

/// Readers of `dir` find the segments in the spare directory by this file.
fn remember_spare(disk: &dyn Disk, dir: &Path, spare: &Path) -> Result<(), AuditError> {
    let spare = spare.canonicalize().map_err(|e| AuditError::io(spare, &e))?;
    let path = dir.join(SPARE_FILE);
    if let Some(before) = segment::directories(dir).get(1).filter(|before| **before != spare)
        && !segment::list(std::slice::from_ref(before))?.is_empty()
    {
        return Err(AuditError::Damaged { what: format!("a part of it is in `{}`, which must stay its spare directory", before.display()) });
    }
    disk.replace(&path, &format!("{}\n", spare.display())).map_err(|e| AuditError::io(&path, &e))
}

fn remember_key(disk: &dyn Disk, dir: &Path, key: &SigningKey) -> Result<(), AuditError> {
    let path = dir.join(VKEY_FILE);
    let vkey = format!("{}\n", key.vkey());
    match recover::read_if_there(&path)? {
        Some(before) if before == vkey => Ok(()),
        Some(_) => Err(AuditError::OtherKey { path }),
        None => disk.replace(&path, &vkey).map_err(|e| AuditError::io(&path, &e)),
    }
}

pub(super) const VKEY_FILE: &str = "log.vkey";

/// Files that were being made when the process was killed.
fn remove_temporary(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|e| e == "new" || e == "tmp") {
            fs::remove_file(entry.path()).unwrap_or_default();
        }
    }
}
