//! Guessing is slowed down: who is refused too often within a minute waits for the next one. Answers that succeed are not
//! counted, so that an honest import or a flood of withdrawals is never slowed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::problem::{Code, Problem};

const REFUSALS_PER_MINUTE_MAX: u32 = 120;
/// Callers remembered at a time; authenticated, so their number is that of staff and apps.
const CALLERS_MAX: usize = 4096;

/// Refusals of each caller in the current minute.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    minute: Mutex<(u64, HashMap<String, u32>)>,
}

impl Throttle {
    pub(super) fn admit(&self, caller: &str, now: Duration) -> Result<(), Problem> {
        let refused = self.with_minute(now, |counts| counts.get(caller).copied().unwrap_or(0));
        if refused >= REFUSALS_PER_MINUTE_MAX {
            return Err(Problem::new(Code::OverBudget, "wait a minute; too many of your requests were refused"));
        }
        Ok(())
    }

    pub(super) fn count_refusal(&self, caller: &str, now: Duration) {
        self.with_minute(now, |counts| {
            if counts.len() < CALLERS_MAX || counts.contains_key(caller) {
                let count = counts.entry(caller.to_owned()).or_insert(0);
                *count = count.saturating_add(1);
            }
        });
    }

    fn with_minute<T>(&self, now: Duration, work: impl FnOnce(&mut HashMap<String, u32>) -> T) -> T {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let current = now.as_secs() / 60;
        if minute.0 != current {
            *minute = (current, HashMap::new());
        }
        work(&mut minute.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_stopped_for_the_guesser_and_the_minute_only() {
        let throttle = Throttle::default();
        let now = Duration::from_secs(61);
        for _ in 0..REFUSALS_PER_MINUTE_MAX {
            throttle.admit("staff a", now).unwrap();
            throttle.count_refusal("staff a", now);
        }
        assert_eq!(throttle.admit("staff a", now).unwrap_err().code, Code::OverBudget);
        throttle.admit("staff b", now).unwrap();
        throttle.admit("staff a", Duration::from_secs(121)).unwrap();
    }
}
