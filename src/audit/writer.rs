//! The threads of the log: the writer, which alone touches the segments; the signer of checkpoints, which also keeps
//! zeroed files in waiting; and the watch over a disk that hangs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::disk::Disk;
use super::entry::Entry;
use super::error::AuditError;
use super::json::Draft;
use super::key::SigningKey;
use super::lag::{Lag, Until};
use super::lock::DirLock;
use super::log::Mode;
use super::memo::Memo;
use super::note::Checkpoint;
use super::queue::{DecisionId, Job, Queue, lock};
use super::roots::RootsFile;
use super::tape::{self, Failure, Tape};
use super::text_keys::TextKeys;
use super::tree::{Hash, Tree, hex};
use crate::clock::Clock;

/// What the threads and the handles share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) origin: Arc<str>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dirs: Vec<PathBuf>,
    pub(super) segment_bytes: u64,
    pub(super) mode: Mode,
    /// In `bounded` mode.
    pub(super) lag: Option<Arc<Lag>>,
    /// Of which each signs, the newest first.
    pub(super) keys: Vec<SigningKey>,
    pub(super) progress: Mutex<Progress>,
    pub(super) progressed: Condvar,
    pub(super) signed: Mutex<Signed>,
    /// The last checkpoint could not be written.
    pub(super) unsigned: AtomicBool,
    pub(super) locks: Mutex<Vec<DirLock>>,
    /// Held by whoever writes a finished segment anew.
    pub(super) rewriting: Mutex<()>,
    pub(super) texts: TextKeys,
    pub(super) memo: Memo,
}

impl Shared {
    /// Whether the log's folders are still this process's.
    pub(super) fn holds_locks(&self) -> Result<(), AuditError> {
        match lock(&self.locks).iter().find_map(|held| held.check().err()) {
            Some(reason) => Err(AuditError::Poisoned { reason }),
            None => Ok(()),
        }
    }
}

/// How far the writer is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// What is durable.
    pub(super) tree: Tree,
    pub(super) dir: usize,
    /// First entry of the segment that grows.
    pub(super) growing: u64,
    /// Roots of full tiles that are not in their file yet.
    pub(super) roots: Vec<Hash>,
    pub(super) batches: u64,
    /// Of all batches.
    pub(super) commit_time: Duration,
    pub(super) syncs: u64,
    /// Somebody waits for a checkpoint.
    pub(super) wanted: bool,
    /// The writer is gone.
    pub(super) finished: bool,
    /// The other threads shall go.
    pub(super) closed: bool,
}

/// The newest checkpoint on the disk.
#[derive(Debug, Default)]
pub(super) struct Signed {
    pub(super) size: u64,
    /// Hex.
    pub(super) root: String,
}

const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
const CHECKPOINT_ENTRIES_MAX: u64 = 65_536;
const WATCH_EVERY: Duration = Duration::from_millis(100);
pub(super) const CHECKPOINT_FILE: &str = "checkpoint";

/// The writer thread.
pub(super) fn write(shared: &Shared, mut tape: Tape) {
    let _at_exit = Finish(shared);
    while let Some(jobs) = shared.queue.take(|| shared.clock.monotonic()) {
        let began = shared.clock.monotonic();
        match commit(&mut tape, &jobs, shared, || shared.clock.now()) {
            Ok(placed) => {
                let took = shared.clock.monotonic().saturating_sub(began);
                publish(shared, &mut tape, Some(took));
                for (job, answer) in jobs.iter().zip(placed) {
                    if let Some(slot) = &job.slot {
                        slot.put(answer.map(|index| DecisionId::new(shared.origin.clone(), index)));
                    }
                }
                shared.queue.done();
            }
            Err(failure) => return poison(shared, &mut tape, &failure),
        }
    }
    if shared.queue.has_ended() {
        // Ended from outside: the files may be another process's by now.
        return;
    }
    let now = shared.clock.now();
    // First what a sync that failed meanwhile may have left.
    let last = commit(&mut tape, &[], shared, || shared.clock.now());
    let last = last.and_then(|_| tape.put(&tape::stop("shutdown", now), now)).and_then(|_| tape.sync());
    match last {
        Ok(()) => publish(shared, &mut tape, Some(Duration::ZERO)),
        Err(failure) => poison(shared, &mut tape, &failure),
    }
}

type Placed = Vec<Result<u64, AuditError>>;

/// Writes a batch and makes it durable, in another directory if it must. `Err`: nothing can be written any more.
fn commit(tape: &mut Tape, jobs: &[Job], shared: &Shared, now: impl Fn() -> Timestamp) -> Result<Placed, Failure> {
    let mut placed = Placed::with_capacity(jobs.len());
    loop {
        let Err(failure) = place(tape, jobs, &mut placed, now()) else { return Ok(placed) };
        tracing::error!(cause = %failure.detail, "the decision log lost its disk");
        let written = tape.written();
        placed.truncate(placed.iter().position(|p| p.as_ref().is_ok_and(|&index| index >= written)).unwrap_or(placed.len()));
        let start = start_entry(shared.origin.clone(), 0, false, shared.mode, now());
        tape.take_over(&failure, &start, now())?;
    }
}

fn place(tape: &mut Tape, jobs: &[Job], placed: &mut Placed, now: Timestamp) -> Result<(), Failure> {
    for job in jobs.iter().skip(placed.len()) {
        placed.push(match job.of {
            Some(of) if of >= tape.size() => Err(AuditError::NoSuchDecision { of }),
            _ => Ok(tape.put(&job.draft, now)?),
        });
    }
    // Nobody acts on the rest before it is on the disk.
    let until = if jobs.iter().any(|job| job.durable && job.slot.is_some()) { Until::Synced } else { Until::Within };
    tape.commit(until)
}

/// Callers are refused first; then the end itself is logged.
fn poison(shared: &Shared, tape: &mut Tape, failure: &Failure) {
    shared.queue.end(AuditError::Poisoned { reason: failure.detail.clone() });
    match tape.stop_in_reserve(failure, shared.clock.now()) {
        Ok(()) => publish(shared, tape, None),
        Err(second) => tracing::error!(cause = %second.detail, "the end of the decision log could not be logged"),
    }
}

/// `took`: how long a batch was committed, if it was one.
fn publish(shared: &Shared, tape: &mut Tape, took: Option<Duration>) {
    let mut progress = lock(&shared.progress);
    if tape.synced().size() > progress.tree.size() {
        progress.tree = tape.synced().clone();
    }
    progress.dir = tape.dir();
    progress.growing = tape.growing();
    progress.roots.append(&mut tape.take_roots());
    if let Some(took) = took {
        progress.batches += 1;
        progress.commit_time = progress.commit_time.saturating_add(took);
    }
    progress.syncs += tape.take_syncs();
    let size = progress.tree.size();
    drop(progress);
    want_checkpoint(shared, size);
}

/// What was synced beside the writer.
pub(super) fn publish_synced(shared: &Shared, tree: &Tree) {
    let mut progress = lock(&shared.progress);
    if tree.size() > progress.tree.size() {
        progress.tree = tree.clone();
    }
    progress.syncs += 1;
    let size = progress.tree.size();
    drop(progress);
    want_checkpoint(shared, size);
}

fn want_checkpoint(shared: &Shared, size: u64) {
    if size.saturating_sub(lock(&shared.signed).size) >= CHECKPOINT_ENTRIES_MAX {
        shared.progressed.notify_all();
    }
}

/// Whatever ends the writer, a panic too: nobody waits for it in vain.
struct Finish<'a>(&'a Shared);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let why = if std::thread::panicking() { AuditError::Poisoned { reason: "the writer failed".to_owned() } } else { AuditError::Closed };
        self.0.queue.end(why);
        if let Some(lag) = &self.0.lag {
            lag.close();
        }
        lock(&self.0.progress).finished = true;
        self.0.progressed.notify_all();
    }
}

/// The signer's thread. It outlives a poisoned writer, so that a full disk that is freed still gets its checkpoint.
pub(super) fn sign(shared: &Shared, mut roots: Option<RootsFile>) {
    loop {
        let (tree, dir, closed, full) = {
            let signed = lock(&shared.signed).size;
            let failing = shared.unsigned.load(Ordering::Relaxed);
            let idle = |p: &mut Progress| !p.closed && !p.wanted && (failing || p.tree.size().saturating_sub(signed) < CHECKPOINT_ENTRIES_MAX);
            let progress = lock(&shared.progress);
            let (mut progress, _) = shared.progressed.wait_timeout_while(progress, CHECKPOINT_EVERY, idle).unwrap_or_else(PoisonError::into_inner);
            progress.wanted = false;
            (progress.tree.clone(), progress.dir, progress.closed, std::mem::take(&mut progress.roots))
        };
        // Worked out anew at the next start; until then proofs are slower.
        if let Some(Err(cause)) = roots.as_mut().map(|file| file.add(&full)) {
            tracing::warn!(%cause, "the roots of the decision log's tiles could not be written");
            roots = None;
        }
        let signed = checkpoint(shared, &tree, dir);
        shared.unsigned.store(signed.is_err(), Ordering::Relaxed);
        if closed {
            return;
        }
        // Without its lock another process may write the same files: better none than two.
        if let Some(reason) = lock(&shared.locks).iter().find_map(|l| l.check().err()) {
            shared.queue.end(AuditError::Poisoned { reason });
        }
        for (at, path) in shared.dirs.iter().enumerate() {
            // A failure here shows, with its reason, when the file is needed.
            tape::prepare(&*shared.disk, path, shared.segment_bytes, at == dir).unwrap_or_default();
        }
    }
}

/// Signs what is durable, if it is more than before.
pub(super) fn checkpoint(shared: &Shared, tree: &Tree, dir: usize) -> Result<(), AuditError> {
    if tree.size() <= lock(&shared.signed).size {
        return Ok(());
    }
    let (note, root) = signed(shared, tree);
    let write = |dir: &Path| put(shared, dir, &note);
    // Where the entries are, else wherever it can be written: readers take the largest.
    let others = shared.dirs.iter().enumerate().filter(|(at, _)| *at != dir).map(|(_, path)| path);
    let mut result = Err(AuditError::Closed);
    for path in shared.dirs.get(dir).into_iter().chain(others) {
        result = write(path);
        match &result {
            Ok(()) => break,
            Err(cause) => tracing::error!(%cause, "the decision log's checkpoint could not be written"),
        }
    }
    result?;
    *lock(&shared.signed) = Signed { size: tree.size(), root: hex(&root) };
    Ok(())
}

/// The same in every directory: none shall keep one that the newest key has not signed.
pub(super) fn checkpoint_everywhere(shared: &Shared, tree: &Tree) -> Result<(), AuditError> {
    let (note, root) = signed(shared, tree);
    shared.dirs.iter().try_for_each(|dir| put(shared, dir, &note))?;
    *lock(&shared.signed) = Signed { size: tree.size(), root: hex(&root) };
    Ok(())
}

fn signed(shared: &Shared, tree: &Tree) -> (String, Hash) {
    let root = tree.root();
    (Checkpoint { origin: shared.origin.to_string(), size: tree.size(), root }.sign(&shared.keys), root)
}

fn put(shared: &Shared, dir: &Path, note: &str) -> Result<(), AuditError> {
    let path = dir.join(CHECKPOINT_FILE);
    shared.disk.replace(&path, note).map_err(|e| AuditError::io(&path, &e))
}

/// The watch's thread: never touches the disk.
pub(super) fn watch(shared: &Shared) {
    loop {
        let progress = lock(&shared.progress);
        let (progress, _) = shared.progressed.wait_timeout_while(progress, WATCH_EVERY, |p| !p.finished).unwrap_or_else(PoisonError::into_inner);
        let finished = progress.finished;
        drop(progress);
        if finished {
            return;
        }
        let now = shared.clock.monotonic();
        shared.queue.watch(now, shared.lag.as_ref().is_some_and(|lag| lag.is_overdue(now)));
    }
}

pub(super) fn start_entry(origin: Arc<str>, torn_bytes: u64, clean: bool, mode: Mode, now: Timestamp) -> Draft {
    let bounded = match mode {
        Mode::Strict => None,
        Mode::Bounded(bounds) => Some(bounds),
    };
    tape::own(Entry::Start { torn_bytes, clean, origin, bounded }, now)
}
