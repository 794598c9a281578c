//! The handle by which the gateway writes the log.

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;

use super::disk::{Disk, RealDisk};
use super::encode;
use super::entry::Entry;
use super::error::AuditError;
use super::key::{SigningKey, SigningKeySource, Vkey, is_name};
use super::lag::{self, Lag};
use super::lock::DirLock;
use super::memo::Memo;
use super::note::{self, Checkpoint};
use super::prune::RetentionClass;
use super::queue::{DecisionId, Job, Queue, Slot, lock};
use super::recover;
use super::roots::RootsFile;
use super::rotation::Rotation;
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
    /// An entry of a decision counts after the kernel has it; a second thread syncs. A crash of the process loses nothing, a power
    /// cut at most what the bounds allow. All other entries count as with `Strict`.
    Bounded(Bounds),
}

/// What a power cut may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Entries that were acknowledged within so many milliseconds.
    pub max_ms: u32,
    /// And at most so many of them.
    pub max_records: u32,
}

impl Bounds {
    pub(super) fn max_age(self) -> Duration {
        Duration::from_millis(u64::from(self.max_ms))
    }
}

#[derive(Clone, Debug)]
pub struct LogSettings {
    pub dir: PathBuf,
    /// Takes over when a write or sync in `dir` fails; without it the log refuses from then on.
    pub spare_dir: Option<PathBuf>,
    /// The log's name; decision ids are `<origin>#<index>`.
    pub origin: String,
    pub signing_key: SigningKeySource,
    /// The key that `signing_key` takes the place of; while it is given, it signs, too.
    pub previous_key: Option<SigningKeySource>,
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
    /// The one whose place it took at this start.
    pub replaced: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogMetrics {
    /// Durable entries.
    pub entries: u64,
    pub batches: u64,
    /// That batches took, with what they wait for.
    pub commit_time: Duration,
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
    /// Opens or creates the log, repairs a torn end, writes `start` and signs a checkpoint. Goes over to another key if the log was signed
    /// with `previous_key` so far.
    ///
    /// # Errors
    /// When the directory is in use, can not be written or holds a damaged log, or the log has another key.
    pub fn open(settings: LogSettings, clock: Arc<dyn Clock>) -> Result<(Self, Recovery), AuditError> {
        Self::open_on(Arc::new(RealDisk), settings, clock, Before::Known)
    }

    /// Goes over to `signing_key` though nobody has the key before any more, which the log says from then on. Blocks.
    ///
    /// # Errors
    /// As [`Log::open`]; when there is no log, or it has this key already.
    pub fn replace_lost_key(settings: LogSettings, clock: Arc<dyn Clock>) -> Result<Recovery, AuditError> {
        let (log, recovery) = Self::open_on(Arc::new(RealDisk), settings, clock, Before::Lost)?;
        log.close();
        Ok(recovery)
    }

    pub(super) fn open_on(disk: Arc<dyn Disk>, settings: LogSettings, clock: Arc<dyn Clock>, before: Before) -> Result<(Self, Recovery), AuditError> {
        let LogSettings { dir, spare_dir, origin, signing_key, previous_key, queue_max, segment_bytes, mode, seal } = settings;
        if !is_name(&origin) {
            return Err(AuditError::Origin { origin });
        }
        if segment_bytes < SEGMENT_BYTES_MIN {
            return Err(AuditError::SegmentTooSmall { bytes: segment_bytes, min: SEGMENT_BYTES_MIN });
        }
        let key = SigningKey::load(&signing_key, &origin)?;
        let previous = previous_key.map(|source| SigningKey::load(&source, &origin)).transpose()?;
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
        let vkey_file = dir.join(VKEY_FILE);
        let standing = Standing::of(&dir, &key, previous.as_ref(), before)?;
        for dir in &dirs {
            remove_temporary(dir);
        }
        remove_temporary(&dir.join(KEYS_FOLDER));
        let texts = TextKeys::open(&disk, &dir);
        let found = recover::recover(&disk, &dirs, segment_bytes, mode, &standing.signers(key.vkey()))?;
        standing.is_borne_out(&found, key.vkey(), previous.as_ref())?;
        if let Standing::New = standing {
            put_key(&*disk, &vkey_file, key.vkey())?;
        }
        let mut tape = found.tape;
        let vkey = key.vkey().clone();
        let replaced = standing.replaced().map(Vkey::to_string);
        let recovery =
            Recovery { entries: tape.size(), torn_bytes: found.torn_bytes, clean: found.clean, last: found.last, vkey: vkey.to_string(), replaced };

        let origin: Arc<str> = origin.into();
        let now = clock.now();
        let poisoned = |failure: tape::Failure| AuditError::Poisoned { reason: failure.detail };
        let mut own = vec![writer::start_entry(origin.clone(), found.torn_bytes, found.clean, mode, now)];
        let bounds = recall_bounds(&dir)?.filter(|_| !found.clean);
        own.extend(bounds.map(|bounds| tape::own(Entry::Gap { from: recovery.entries, bounds }, now)));
        own.iter().try_for_each(|entry| tape.put(entry, now).map(|_| ())).map_err(poisoned)?;
        if let Some(before) = standing.replaced() {
            // Of its dictionary entries, which come first, it has none.
            let rotation = match &previous {
                Some(previous) => Rotation::signed(previous, key.vkey(), tape.size()),
                None => Rotation::without_the_key(before, key.vkey(), tape.size()),
            };
            tape.put(&tape::own(rotation.entry(), now), now).map_err(poisoned)?;
        }
        tape.sync().map_err(poisoned)?;
        remember_bounds(&*disk, &dir, mode)?;
        let lag = match mode {
            Mode::Strict => None,
            Mode::Bounded(bounds) => Some(Lag::new(bounds, clock.clone(), tape.synced().clone())),
        };
        let progress =
            Progress { tree: tape.synced().clone(), dir: tape.dir(), growing: tape.growing(), syncs: tape.take_syncs(), ..Progress::default() };
        let shared = Arc::new(Shared {
            queue: Queue::new(queue_max),
            clock,
            origin,
            disk,
            dirs,
            segment_bytes,
            mode,
            lag: lag.clone(),
            keys: [Some(key), previous].into_iter().flatten().collect(),
            progress: Mutex::new(progress),
            progressed: Condvar::new(),
            signed: Mutex::new(Signed { size: found.signed, root: String::new() }),
            unsigned: AtomicBool::new(false),
            locks: Mutex::new(locks),
            rewriting: Mutex::default(),
            texts,
            memo: Memo::default(),
        });
        if standing.replaced().is_some() {
            // In this order: the key beside the log is the newest one only where its checkpoints are signed by it. A start after a kill
            // in between finds the old key there, and says all of it again.
            writer::checkpoint_everywhere(&shared, tape.synced())?;
            put_key(&*shared.disk, &vkey_file, &vkey)?;
        } else {
            writer::checkpoint(&shared, tape.synced(), tape.dir())?;
        }
        for path in &shared.dirs {
            // The reserve, before anything else can take the space.
            tape::prepare(&*shared.disk, path, segment_bytes, false).map_err(|e| AuditError::io(path, &e))?;
        }
        let roots = RootsFile::open(&shared.disk, &shared.dirs, tape.synced())?;
        if let Some(lag) = lag {
            tape.leave_syncs_to(lag);
        }
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
        let (now, durable) = (shared.clock.now(), !entry.is_of_decision());
        let (draft, of) = encode::draft_with(entry, now, &shared.memo, |text| {
            shared.holds_locks()?;
            shared.texts.encrypt(text, now)
        })?;
        shared.queue.push(Job { draft, of, durable, slot })
    }

    /// Waits until what was acknowledged is durable, in `bounded` mode, but not for a disk that does not answer: what is asked of the
    /// log then is told about all of it.
    pub fn settle(&self) {
        if let Some(lag) = &self.handle.shared.lag {
            lag.settle();
        }
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

    /// Whether most of the queue is free: what may come a little later leaves the rest to decisions.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.handle.shared.queue.has_room()
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
        LogMetrics {
            entries: progress.tree.size(),
            batches: progress.batches,
            commit_time: progress.commit_time,
            syncs: progress.syncs,
            queue_depth,
            checkpoint_size,
            checkpoint_root,
        }
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
        if let Some(lag) = self.shared.lag.clone() {
            self.spawn("audit-sync", move |shared| lag::follow(shared, &lag))?;
        }
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

/// Proof that an entry is recorded as the log's [`Mode`] wants; only the writer makes it.
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

/// What became of the key before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// If there is one, it is configured.
    Known,
    /// Somebody says so.
    Lost,
}

/// How the configured key stands to the one beside the log.
#[derive(Debug)]
enum Standing {
    /// There is none yet.
    New,
    Same,
    /// It is to take the place of that one.
    Replaces {
        key: Vkey,
        before: Before,
    },
}

impl Standing {
    fn of(dir: &Path, key: &SigningKey, previous: Option<&SigningKey>, before: Before) -> Result<Self, AuditError> {
        let path = dir.join(VKEY_FILE);
        let refused = |why| Err(AuditError::PreviousKey { why });
        if previous.is_some_and(|previous| previous.vkey() == key.vkey()) {
            return refused("is the same key as `signing_key`; leave it out");
        }
        if previous.is_some() && before == Before::Lost {
            return refused("is configured, so that it is not lost: restart the gateway, and the log goes over to `signing_key`");
        }
        let Some(text) = recover::read_if_there(&path)? else {
            return match (previous, before) {
                (Some(_), _) => refused("is for a log that it has signed, and there is none; leave it out"),
                (None, Before::Lost) => Err(AuditError::NoLog { dir: dir.to_owned() }),
                (None, Before::Known) => Ok(Self::New),
            };
        };
        let there = Vkey::parse(&text).filter(|there| there.name == key.vkey().name).ok_or_else(|| AuditError::OtherKey { path: path.clone() })?;
        match (there == *key.vkey(), before) {
            (true, Before::Known) => Ok(Self::Same),
            (true, Before::Lost) => Err(AuditError::KeyIsThere { dir: dir.to_owned() }),
            (false, Before::Known) if previous.is_none_or(|previous| *previous.vkey() != there) => Err(AuditError::OtherKey { path }),
            (false, before) => Ok(Self::Replaces { key: there, before }),
        }
    }

    fn replaced(&self) -> Option<&Vkey> {
        match self {
            Self::New | Self::Same => None,
            Self::Replaces { key, .. } => Some(key),
        }
    }

    /// Who may have signed the newest checkpoint.
    fn signers<'a>(&'a self, key: &'a Vkey) -> Vec<&'a Vkey> {
        match self {
            Self::New | Self::Same => vec![key],
            // Once both sign, the old one still does.
            Self::Replaces { key: before, before: Before::Known } => vec![before],
            // Interrupted, the new one may have signed alone.
            Self::Replaces { key: before, before: Before::Lost } => vec![before, key],
        }
    }

    /// A key that was replaced signs nothing more, also when its configuration and its file beside the log are put back.
    fn is_borne_out(&self, found: &recover::Recovered, key: &Vkey, previous: Option<&SigningKey>) -> Result<(), AuditError> {
        for (index, rotation) in &found.rotations {
            match (rotation, self) {
                // What this start is about to say, of one that was interrupted.
                (Some(said), Self::Replaces { key: before, before: known })
                    if said.from == *before && said.to == *key && (said.is_signed() || *known == Before::Lost) => {}
                (Some(said), _) if said.from == *key => return Err(AuditError::KeyIsOut { key: said.to.to_string() }),
                (Some(_) | None, _) => {
                    let what = format!("entry {index}, which is not signed, says that the log's key was replaced, and nothing bears that out");
                    return Err(AuditError::Damaged { what });
                }
            }
        }
        let note = found.note.as_deref();
        if let Some(note) = note
            && ![self.signers(key), vec![key]].concat().iter().any(|vkey| note::is_first_signed_by(note, vkey))
        {
            return Err(AuditError::KeyIsOut { key: "its newest checkpoint names it first".to_owned() });
        }
        // Or it would sign as this log's what never was.
        if let Some(previous) = previous
            && note.is_none_or(|note| Checkpoint::verified(note, previous.vkey()).is_err())
        {
            let why = "has not signed the log's newest checkpoint: it is not the key before, or the change is over; leave it out";
            return Err(AuditError::PreviousKey { why });
        }
        Ok(())
    }
}

fn put_key(disk: &dyn Disk, path: &Path, vkey: &Vkey) -> Result<(), AuditError> {
    disk.replace(path, &format!("{vkey}\n")).map_err(|e| AuditError::io(path, &e))
}

/// What the run before might have lost, if it was in `bounded` mode.
fn recall_bounds(dir: &Path) -> Result<Option<Bounds>, AuditError> {
    let path = dir.join(BOUNDS_FILE);
    let Some(text) = recover::read_if_there(&path)? else { return Ok(None) };
    let read = || {
        let (max_ms, max_records) = text.trim_end().split_once(' ')?;
        Some(Bounds { max_ms: max_ms.parse().ok()?, max_records: max_records.parse().ok()? })
    };
    read().map(Some).ok_or_else(|| AuditError::Io { path, cause: "is not `<ms> <records>`".to_owned() })
}

/// For the next start, which writes a `gap` if this run has no end. Durable before anything is acknowledged.
fn remember_bounds(disk: &dyn Disk, dir: &Path, mode: Mode) -> Result<(), AuditError> {
    let path = dir.join(BOUNDS_FILE);
    match mode {
        Mode::Bounded(Bounds { max_ms, max_records }) => disk.replace(&path, &format!("{max_ms} {max_records}\n")),
        Mode::Strict if path.exists() => fs::remove_file(&path).and_then(|()| fs::File::open(dir)?.sync_all()),
        Mode::Strict => Ok(()),
    }
    .map_err(|e| AuditError::io(&path, &e))
}

const BOUNDS_FILE: &str = "bounded";
pub(super) const VKEY_FILE: &str = "log.vkey";

/// Files that were being made when the process was killed.
fn remove_temporary(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|e| e == "new" || e == "tmp") {
            fs::remove_file(entry.path()).unwrap_or_default();
        }
    }
}
