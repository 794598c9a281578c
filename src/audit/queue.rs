//! Between the gateway's threads and the writer: a bounded queue, and one answer slot for each entry that is waited for.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::error::AuditError;
use super::json::Draft;

/// `<origin>#<index>` of a head entry: what the caller of the gateway gets to see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DecisionId {
    origin: Arc<str>,
    index: u64,
}

impl DecisionId {
    pub(super) fn new(origin: Arc<str>, index: u64) -> Self {
        Self { origin, index }
    }

    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.origin, self.index)
    }
}

/// An entry on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) draft: Draft,
    /// The decision it belongs to.
    pub(super) of: Option<u64>,
    /// On the disk before it counts, in whatever mode.
    pub(super) durable: bool,
    pub(super) slot: Option<Arc<Slot>>,
}

pub(super) type Answer = Result<DecisionId, AuditError>;

/// Where one answer is put and waited for. The first answer stays.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<SlotState>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct SlotState {
    answer: Option<Answer>,
    waker: Option<Waker>,
    /// A thread sleeps until there is an answer. To wake one costs a system call, also when there is none.
    thread_sleeps: bool,
}

impl Slot {
    pub(super) fn put(&self, answer: Answer) {
        let (waker, thread_sleeps) = {
            let mut state = lock(&self.state);
            if state.answer.is_some() {
                return;
            }
            state.answer = Some(answer);
            (state.waker.take(), state.thread_sleeps)
        };
        if thread_sleeps {
            self.answered.notify_all();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn wait(&self) -> Answer {
        let mut state = lock(&self.state);
        loop {
            if let Some(answer) = &state.answer {
                return answer.clone();
            }
            state.thread_sleeps = true;
            state = self.answered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn poll(&self, waker: &Waker) -> Poll<Answer> {
        let mut state = lock(&self.state);
        if let Some(answer) = &state.answer {
            return Poll::Ready(answer.clone());
        }
        state.waker = Some(waker.clone());
        Poll::Pending
    }
}

/// The queue itself. Whoever is refused or failed here was not recorded.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    jobs_max: usize,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// How many of them are waited for.
    waited: usize,
    /// The writer sleeps until it is woken.
    writer_sleeps: bool,
    /// Who waits for the batch that is being written.
    in_flight: Vec<Arc<Slot>>,
    /// Monotonic time at which the batch was taken.
    busy_since: Option<Duration>,
    /// The batch takes longer than [`SYNC_MAX`].
    is_slow: bool,
    closing: bool,
    /// The writer is to look at the disk, also without entries.
    nudged: bool,
    /// Nothing is taken any more.
    ended: Option<AuditError>,
}

/// The disk must confirm a batch within this time, else whoever waits is refused.
pub(super) const SYNC_MAX: Duration = Duration::from_secs(2);
/// How long entries on which nobody waits are held back at most.
const LINGER: Duration = Duration::from_millis(5);
/// Entries of one batch at most: keeps the buffer at a few MiB for entries of usual size.
const BATCH_JOBS_MAX: usize = 4_096;

impl Queue {
    pub(super) fn new(jobs_max: usize) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), jobs_max }
    }

    pub(super) fn push(&self, job: Job) -> Result<(), AuditError> {
        let mut state = lock(&self.state);
        state.refusal()?;
        if state.jobs.len() >= self.jobs_max {
            return Err(AuditError::QueueFull);
        }
        let wakes = state.writer_sleeps && (job.slot.is_some() || state.jobs.is_empty());
        state.waited += usize::from(job.slot.is_some());
        state.jobs.push_back(job);
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
        Ok(())
    }

    pub(super) fn healthy(&self) -> Result<(), AuditError> {
        let state = lock(&self.state);
        state.refusal()?;
        if state.jobs.len() >= self.jobs_max { Err(AuditError::QueueFull) } else { Ok(()) }
    }

    /// Whether it takes entries and less than half of it is used.
    pub(super) fn has_room(&self) -> bool {
        let state = lock(&self.state);
        state.refusal().is_ok() && state.jobs.len() < self.jobs_max / 2
    }

    pub(super) fn depth(&self) -> usize {
        lock(&self.state).jobs.len()
    }

    /// The next batch, empty after a [`Self::nudge`]; waits for one. `None` when the log closes and nothing is left, or it has ended.
    pub(super) fn take(&self, monotonic: impl Fn() -> Duration) -> Option<Vec<Job>> {
        let mut state = lock(&self.state);
        state.writer_sleeps = true;
        while state.jobs.is_empty() && !state.closing && !state.nudged && state.ended.is_none() {
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // What nobody waits for goes along with the next entry that somebody waits for, else it costs a flush of its own.
        let idle = |s: &mut State| s.waited == 0 && s.jobs.len() < BATCH_JOBS_MAX && !s.closing && !s.nudged && s.ended.is_none();
        (state, _) = self.filled.wait_timeout_while(state, LINGER, idle).unwrap_or_else(PoisonError::into_inner);
        state.writer_sleeps = false;
        let nudged = std::mem::take(&mut state.nudged);
        if (state.jobs.is_empty() && !nudged) || state.ended.is_some() {
            return None;
        }
        let n = state.jobs.len().min(BATCH_JOBS_MAX);
        let batch: Vec<Job> = state.jobs.drain(..n).collect();
        state.waited = state.jobs.iter().filter(|job| job.slot.is_some()).count();
        state.in_flight = batch.iter().filter_map(|job| job.slot.clone()).collect();
        state.busy_since = Some(monotonic());
        Some(batch)
    }

    /// The batch is done; its answers were put.
    pub(super) fn done(&self) {
        let mut state = lock(&self.state);
        state.in_flight.clear();
        state.busy_since = None;
        state.is_slow = false;
    }

    /// Has the writer look at the disk.
    pub(super) fn nudge(&self) {
        lock(&self.state).nudged = true;
        self.filled.notify_all();
    }

    /// The disk answers again, beside the batches.
    pub(super) fn caught_up(&self) {
        let mut state = lock(&self.state);
        if state.busy_since.is_none() {
            state.is_slow = false;
        }
    }

    /// Called from time to time: when the batch in flight is overdue, or a sync beside it, it and all that wait behind it are
    /// refused.
    pub(super) fn watch(&self, now: Duration, is_behind: bool) {
        let mut state = lock(&self.state);
        if is_behind || state.busy_since.is_some_and(|since| now.saturating_sub(since) >= SYNC_MAX) {
            state.is_slow = true;
            // Entries on which nobody waits stay: what they tell has happened.
            let (unwaited, waited) = std::mem::take(&mut state.jobs).into_iter().partition(|job| job.slot.is_none());
            state.jobs = waited;
            state.fail(&AuditError::Slow);
            state.jobs = unwaited;
        }
    }

    /// Takes nothing more; what is queued is still written.
    pub(super) fn close(&self) {
        lock(&self.state).closing = true;
        self.filled.notify_all();
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.state).ended.is_some()
    }

    /// Nothing is written any more; whoever waits is refused.
    pub(super) fn end(&self, why: AuditError) {
        let mut state = lock(&self.state);
        state.fail(&why);
        state.busy_since = None;
        state.ended.get_or_insert(why);
        drop(state);
        self.filled.notify_all();
    }
}

impl State {
    fn refusal(&self) -> Result<(), AuditError> {
        match &self.ended {
            Some(why) => Err(why.clone()),
            None if self.closing => Err(AuditError::Closed),
            None if self.is_slow => Err(AuditError::Slow),
            None => Ok(()),
        }
    }

    fn fail(&mut self, why: &AuditError) {
        self.waited = 0;
        let queued = self.jobs.drain(..).filter_map(|job| job.slot);
        for slot in self.in_flight.drain(..).chain(queued) {
            slot.put(Err(why.clone()));
        }
    }
}

/// A poisoned lock only says that another thread panicked; the data are whole after every statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(slot: Option<&Arc<Slot>>) -> Job {
        Job { draft: Draft::default(), of: None, durable: false, slot: slot.cloned() }
    }

    #[test]
    fn queue_full_refuses_at_once() {
        let queue = Queue::new(2);
        assert!(queue.has_room());
        queue.push(job(None)).unwrap();
        queue.healthy().unwrap();
        assert!(!queue.has_room(), "half of it is for what cannot wait");
        queue.push(job(None)).unwrap();
        assert!(matches!(queue.push(job(None)), Err(AuditError::QueueFull)));
        assert!(matches!(queue.healthy(), Err(AuditError::QueueFull)));
        assert_eq!(2, queue.take(|| Duration::ZERO).unwrap().len());
        queue.push(job(None)).unwrap();
    }

    #[test]
    fn slow_disk_refuses_those_who_wait_and_those_who_come_until_it_answers() {
        let queue = Queue::new(9);
        let (first, second) = (Arc::new(Slot::default()), Arc::new(Slot::default()));
        queue.push(job(Some(&first))).unwrap();
        let batch = queue.take(|| Duration::from_secs(100)).unwrap();
        queue.push(job(Some(&second))).unwrap();
        queue.watch(Duration::from_millis(101_999), false);
        queue.healthy().unwrap();
        queue.watch(Duration::from_secs(102), false);
        assert!(matches!((first.wait(), second.wait()), (Err(AuditError::Slow), Err(AuditError::Slow))));
        assert!(matches!(queue.push(job(None)), Err(AuditError::Slow)));
        // The disk answers after all: too late for the first.
        batch[0].slot.as_ref().unwrap().put(Ok(DecisionId::new("a".into(), 0)));
        queue.done();
        assert!(matches!(first.wait(), Err(AuditError::Slow)));
        queue.push(job(None)).unwrap();
    }

    #[test]
    fn what_nobody_waits_for_goes_along_with_the_next_that_somebody_does() {
        let queue = Queue::new(9);
        queue.push(job(None)).unwrap();
        let batch = std::thread::scope(|scope| {
            let writer = scope.spawn(|| queue.take(|| Duration::ZERO).unwrap().len());
            queue.push(job(Some(&Arc::default()))).unwrap();
            writer.join().unwrap()
        });
        assert_eq!(2, batch);
        queue.push(job(None)).unwrap();
        assert_eq!(1, queue.take(|| Duration::ZERO).unwrap().len(), "alone after a moment");
    }

    #[test]
    fn a_sync_beside_the_batches_that_hangs_refuses_too_until_it_is_through() {
        let queue = Queue::new(9);
        queue.watch(Duration::ZERO, true);
        assert!(matches!(queue.push(job(None)), Err(AuditError::Slow)));
        queue.caught_up();
        queue.push(job(None)).unwrap();
        assert_eq!(1, queue.take(|| Duration::ZERO).unwrap().len());
        queue.watch(Duration::ZERO, true);
        queue.caught_up();
        assert!(matches!(queue.healthy(), Err(AuditError::Slow)), "the batch under way is not through");
        queue.done();
        queue.nudge();
        assert_eq!(0, queue.take(|| Duration::ZERO).unwrap().len(), "woken without entries");
    }

    #[test]
    fn closing_writes_what_is_queued_and_takes_nothing_more() {
        let queue = Queue::new(9);
        queue.push(job(None)).unwrap();
        queue.close();
        assert!(matches!(queue.push(job(None)), Err(AuditError::Closed)));
        assert_eq!(1, queue.take(|| Duration::ZERO).unwrap().len());
        assert!(queue.take(|| Duration::ZERO).is_none());
    }
}
