//! What is written and not yet synced, in `bounded` mode: a second thread syncs it, and the writer acknowledges only while what
//! a power cut could take stays within the bounds.
//!
//! INVARIANT: of the segment that is written to, this thread alone calls `fsync`. The kernel tells of a failure once, so that a
//! second caller could take a lost page for a synced one.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::disk::DiskFile;
use super::log::Bounds;
use super::queue::{SYNC_MAX, lock};
use super::tape::Failure;
use super::tree::Tree;
use super::writer::Shared;
use crate::clock::Clock;

/// The newest that is written.
#[derive(Clone, Debug)]
pub(super) struct Ahead {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: PathBuf,
    /// With all that is written.
    pub(super) tree: Tree,
}

impl Ahead {
    fn sync(&self) -> Result<(), Failure> {
        super::tape::sync_file(&*self.file, &self.path)
    }
}

/// How far a wait goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// What is not synced is within the bounds.
    Within,
    /// All of it is synced.
    Synced,
}

#[derive(Debug)]
pub(super) struct Lag {
    bounds: Bounds,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    synced: Tree,
    /// Entries that are written.
    written: u64,
    /// What the next sync is of.
    ahead: Option<Ahead>,
    /// When the oldest of what is not synced was written, and of that the oldest since the sync under way began.
    oldest: Option<Duration>,
    oldest_since: Option<Duration>,
    /// Since when a sync is under way.
    busy_since: Option<Duration>,
    /// Somebody waits.
    is_urgent: bool,
    /// Nothing is acknowledged any more before the log goes on elsewhere.
    failure: Option<Failure>,
    /// Counts up when it does: what comes of an older sync is of no interest.
    epoch: u64,
    closed: bool,
}

impl Lag {
    pub(super) fn new(bounds: Bounds, clock: Arc<dyn Clock>, synced: Tree) -> Arc<Self> {
        let state = State { written: synced.size(), synced, ..State::default() };
        Arc::new(Self { bounds, clock, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// More is written.
    pub(super) fn wrote(&self, ahead: Ahead) {
        let now = self.clock.monotonic();
        let mut state = lock(&self.state);
        state.written = ahead.tree.size();
        state.ahead = Some(ahead);
        state.oldest.get_or_insert(now);
        state.oldest_since.get_or_insert(now);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for the disk as far as needed; what is synced then.
    ///
    /// # Errors
    /// When a sync failed; the same until [`Self::reset`].
    pub(super) fn wait(&self, until: Until) -> Result<Tree, Failure> {
        let mut state = lock(&self.state);
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if self.is_reached(&state, until) {
                return Ok(state.synced.clone());
            }
            state.is_urgent = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As [`Until::Synced`], for readers: gives up when the disk does not answer in time.
    pub(super) fn settle(&self) {
        let mut state = lock(&self.state);
        state.is_urgent = state.ahead.is_some();
        let target = state.written;
        self.changed.notify_all();
        let waits = |state: &mut State| state.synced.size() < target && state.failure.is_none() && !state.closed;
        drop(self.changed.wait_timeout_while(state, SYNC_MAX, waits));
    }

    fn is_reached(&self, state: &State, until: Until) -> bool {
        let entries = state.written.saturating_sub(state.synced.size());
        let age = state.oldest.map_or(Duration::ZERO, |oldest| self.clock.monotonic().saturating_sub(oldest));
        let is_within = entries <= u64::from(self.bounds.max_records) && age <= self.bounds.max_age();
        entries == 0 || (until == Until::Within && is_within)
    }

    /// The log goes on in another file, in which all of this is synced.
    pub(super) fn reset(&self, synced: Tree) {
        let mut state = lock(&self.state);
        let (epoch, busy_since, closed) = (state.epoch + 1, state.busy_since, state.closed);
        *state = State { written: synced.size(), synced, epoch, busy_since, closed, ..State::default() };
    }

    /// No sync any more.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// Whether the sync under way takes too long.
    pub(super) fn is_overdue(&self, now: Duration) -> bool {
        lock(&self.state).busy_since.is_some_and(|since| now.saturating_sub(since) >= SYNC_MAX)
    }

    /// Waits until something is to be synced: half of what the bounds allow, so that the disk has the other half of the time.
    fn next(&self) -> Option<(Ahead, u64)> {
        let mut state = lock(&self.state);
        while state.ahead.is_none() && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let records = u64::from(self.bounds.max_records / 2);
        let idle = |state: &mut State| !state.is_urgent && !state.closed && state.written.saturating_sub(state.synced.size()) <= records;
        (state, _) = self.changed.wait_timeout_while(state, self.bounds.max_age() / 2, idle).unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        state.is_urgent = false;
        state.oldest_since = None;
        state.busy_since = Some(self.clock.monotonic());
        let epoch = state.epoch;
        // Gone when the log went on elsewhere meanwhile: then there is nothing to do, and the caller asks again.
        state.ahead.take().map(|ahead| (ahead, epoch)).or_else(|| {
            state.busy_since = None;
            drop(state);
            self.next()
        })
    }

    /// What came of a sync: true when it counts.
    fn done(&self, tree: &Tree, epoch: u64, result: &Result<(), Failure>) -> bool {
        let mut state = lock(&self.state);
        state.busy_since = None;
        let counts = state.epoch == epoch;
        if counts {
            match result {
                Ok(()) => {
                    state.synced = tree.clone();
                    state.oldest = state.oldest_since;
                }
                Err(failure) => state.failure = Some(failure.clone()),
            }
        }
        drop(state);
        self.changed.notify_all();
        counts
    }
}

/// The thread that syncs.
pub(super) fn follow(shared: &Shared, lag: &Lag) {
    while let Some((ahead, epoch)) = lag.next() {
        let result = ahead.sync();
        if result.is_ok() {
            // Before anybody who waits for it is told, also when the log has gone on elsewhere: there it stands, too.
            super::writer::publish_synced(shared, &ahead.tree);
        }
        if lag.done(&ahead.tree, epoch, &result) && result.is_err() {
            // The writer may sleep.
            shared.queue.nudge();
        }
        shared.queue.caught_up();
    }
}
