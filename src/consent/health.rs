//! Whether the store is there, asked at most once a second. An answer that could not be renewed for three seconds (a disk
//! that hangs) no longer counts, and while it is in doubt what the store holds there is none.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::error::Unavailable;
use super::store::StoreError;

#[derive(Debug)]
pub(super) struct Health {
    /// Until when all is well without asking anybody, in microseconds of the monotonic clock: all that most requests look at.
    good_until: AtomicU64,
    state: Mutex<State>,
    probing: AtomicBool,
}

#[derive(Debug)]
struct State {
    asked: Duration,
    answer: Result<(), Unavailable>,
    doubt: Option<Unavailable>,
}

impl Health {
    pub(super) fn good_at(now: Duration) -> Self {
        let state = State { asked: now, answer: Ok(()), doubt: None };
        Self { good_until: AtomicU64::new(micros(now + FRESH)), state: Mutex::new(state), probing: AtomicBool::new(false) }
    }

    /// The cached answer; the first caller after a second asks anew, the others go on with the old answer meanwhile.
    pub(super) fn check(&self, now: Duration, probe: impl FnOnce() -> Result<(), StoreError>) -> Result<(), Unavailable> {
        if micros(now) < self.good_until.load(Ordering::Acquire) {
            return Ok(());
        }
        let (asked, answer) = {
            let state = lock(&self.state);
            match &state.doubt {
                Some(why) => return Err(why.clone()),
                None => (state.asked, state.answer.clone()),
            }
        };
        let age = now.saturating_sub(asked);
        if age < FRESH {
            return answer;
        }
        if !self.probing.swap(true, Ordering::AcqRel) {
            let answer = probe().map_err(Unavailable::from);
            self.set(now, answer.clone());
            self.probing.store(false, Ordering::Release);
            return answer;
        }
        if age < STALE { answer } else { Err(Unavailable("it does not answer".to_owned())) }
    }

    /// The store may hold more or less than this process knows: nothing is answered until [`Self::settled`].
    pub(super) fn doubt(&self, why: &Unavailable) {
        self.change(|state| state.doubt = Some(why.clone()));
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        lock(&self.state).doubt.is_some()
    }

    pub(super) fn settled(&self, now: Duration) {
        self.change(|state| *state = State { asked: now, answer: Ok(()), doubt: None });
    }

    pub(super) fn set(&self, now: Duration, answer: Result<(), Unavailable>) {
        self.change(|state| (state.asked, state.answer) = (now, answer));
    }

    /// INVARIANT: `good_until` changes under the lock of what it follows from, so that no late answer of a probe hides a doubt.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        let is_good = state.answer.is_ok() && state.doubt.is_none();
        self.good_until.store(if is_good { micros(state.asked + FRESH) } else { 0 }, Ordering::Release);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

const FRESH: Duration = Duration::from_secs(1);
const STALE: Duration = Duration::from_secs(3);

/// Poisoning is no reason to stop: every guarded value is valid between any two statements that change it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
