//! A clock for `exp` that never goes back: a token that was seen expired stays so when somebody sets the clock back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

pub(super) use super::token::Times;
use crate::clock::Clock;

/// The latest time that was ever shown, carried on by the monotonic clock.
///
/// A clock that ran ahead and is set right makes tokens look expired until the wall clock has caught up or the
/// configuration is loaded again: refused rather than revived.
#[derive(Debug)]
pub(super) struct Guard {
    clock: Arc<dyn Clock>,
    latest: Mutex<(Timestamp, Duration)>,
}

impl Guard {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let latest = Mutex::new((clock.now(), clock.monotonic()));
        Self { clock, latest }
    }

    pub(super) fn times(&self) -> Times {
        let mut seen = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        // Both clocks are read under the lock, so that no thread brings an older pair.
        let (wall, monotonic) = (self.clock.now(), self.clock.monotonic());
        let carried = seen.0.checked_add(monotonic.saturating_sub(seen.1)).unwrap_or(Timestamp::MAX);
        if wall >= carried {
            *seen = (wall, monotonic);
        }
        Times { latest: wall.max(carried), wall }
    }

    /// How far the wall clock is behind; less than a second is how clocks are kept.
    pub(super) fn behind(&self) -> Option<Duration> {
        let times = self.times();
        let behind = Duration::try_from(times.latest.duration_since(times.wall)).ok()?;
        (behind >= Duration::from_secs(1)).then_some(behind)
    }
}
