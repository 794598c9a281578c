//! Whether the store is there, asked at most once a second. An answer that could not be renewed for three seconds (a disk
//! that hangs) no longer counts, and while it is in doubt what the store holds there is none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::error::Unavailable;
use super::store::StoreError;

#[derive(Debug)]
pub(super) struct Health {
    last: RwLock<(Duration, Result<(), Unavailable>)>,
    probing: AtomicBool,
    doubt: RwLock<Option<Unavailable>>,
}

impl Health {
    pub(super) const fn good_at(now: Duration) -> Self {
        Self { last: RwLock::new((now, Ok(()))), probing: AtomicBool::new(false), doubt: RwLock::new(None) }
    }

    /// The cached answer; the first caller after a second asks anew, the others go on with the old answer meanwhile.
    pub(super) fn check(&self, now: Duration, probe: impl FnOnce() -> Result<(), StoreError>) -> Result<(), Unavailable> {
        if let Some(why) = &*self.doubt.read().unwrap_or_else(PoisonError::into_inner) {
            return Err(why.clone());
        }
        let (asked, answer) = self.last.read().unwrap_or_else(PoisonError::into_inner).clone();
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
        *self.doubt.write().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
    }

    pub(super) fn settled(&self, now: Duration) {
        *self.doubt.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.set(now, Ok(()));
    }

    pub(super) fn set(&self, now: Duration, answer: Result<(), Unavailable>) {
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = (now, answer);
    }
}

const FRESH: Duration = Duration::from_secs(1);
const STALE: Duration = Duration::from_secs(3);

/// Poisoning is no reason to stop: every guarded value is valid between any two statements that change it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
