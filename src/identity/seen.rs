//! Which proofs of possession were used. One that was used once is worth nothing a second time, for as long as its `iat` could
//! still count; after that nothing of it needs to be known.
//!
//! The memory outlives reloads, else each would let every proof count once more. It does not outlive the process: so nothing
//! counts that was made before its start.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::Timestamp;

use super::ProofFault;
use super::time::Times;

/// How old a proof may be.
const PROOF_AGE_MAX: Duration = Duration::from_secs(30);
/// How far the clock of who made it may be ahead.
const PROOF_AHEAD_MAX: Duration = Duration::from_secs(10);
/// Proofs that are remembered at a time: 25,000 a second. One more is refused, since forgetting one would let it count again.
const PROOFS_MAX: usize = 1 << 20;

/// A proof on its first use, or said to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use<'p> {
    pub(super) thumbprint: &'p str,
    pub(super) jti: &'p str,
    /// Seconds.
    pub(super) made_at: i64,
}

pub(super) struct SeenProofs {
    max: usize,
    seen: Mutex<Seen>,
}

struct Seen {
    /// By `iat`. Half a SHA-256 over key and id each: that two are alike by chance refuses one proof.
    by_second: BTreeMap<i64, HashSet<[u8; 16]>>,
    count: usize,
    /// Nothing older counts, whatever the clock says. Never goes back.
    since: i64,
}

impl SeenProofs {
    pub(super) fn new(now: Timestamp) -> Self {
        Self::holding(PROOFS_MAX, now)
    }

    fn holding(max: usize, now: Timestamp) -> Self {
        Self { max, seen: Mutex::new(Seen { by_second: BTreeMap::new(), count: 0, since: now.as_second() }) }
    }

    /// Whether a proof of that time counts now.
    pub(super) fn in_time(&self, made_at: i64, times: Times) -> Result<(), ProofFault> {
        self.lock().in_time(made_at, times)
    }

    /// Remembers a proof whose signature was found good.
    pub(super) fn first_use(&self, proof: Use<'_>, times: Times) -> Result<(), ProofFault> {
        let name = name(proof);
        let mut seen = self.lock();
        // Again, under the same lock: what was forgotten meanwhile must not count.
        seen.in_time(proof.made_at, times)?;
        if seen.by_second.values().any(|second| second.contains(&name)) {
            return Err(ProofFault::Replayed);
        }
        if seen.count >= self.max {
            return Err(ProofFault::Full);
        }
        seen.by_second.entry(proof.made_at).or_default().insert(name);
        seen.count += 1;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// By the stricter clock for each end, as for tokens.
    fn in_time(&mut self, made_at: i64, times: Times) -> Result<(), ProofFault> {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(0);
        self.since = self.since.max(times.latest.as_second().saturating_sub(seconds(PROOF_AGE_MAX)));
        while let Some(oldest) = self.by_second.first_entry().filter(|oldest| *oldest.key() < self.since) {
            self.count = self.count.saturating_sub(oldest.remove().len());
        }
        let ahead = times.wall.as_second().saturating_add(seconds(PROOF_AHEAD_MAX));
        if (self.since..=ahead).contains(&made_at) { Ok(()) } else { Err(ProofFault::Time) }
    }
}

fn name(proof: Use<'_>) -> [u8; 16] {
    // A thumbprint has one length, so that nothing else comes to the same text.
    let hash = digest::digest(&digest::SHA256, format!("{}{}", proof.thumbprint, proof.jti).as_bytes());
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    name
}

impl fmt::Debug for SeenProofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeenProofs").field("count", &self.lock().count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Times {
        let now = Timestamp::from_second(second).unwrap();
        Times { latest: now, wall: now }
    }

    fn used(seen: &SeenProofs, jti: &str, made_at: i64, now: i64) -> Result<(), ProofFault> {
        seen.first_use(Use { thumbprint: "key", jti, made_at }, at(now))
    }

    #[test]
    fn a_proof_counts_once_for_as_long_as_it_could() {
        let seen = SeenProofs::new(Timestamp::from_second(1_000).unwrap());
        for (jti, made_at, now, expected) in [
            ("a", 1_000, 1_000, Ok(())),
            ("a", 1_000, 1_000, Err(ProofFault::Replayed)),
            ("a", 1_001, 1_001, Err(ProofFault::Replayed)),
            ("before the start", 999, 1_000, Err(ProofFault::Time)),
            ("ahead", 1_011, 1_000, Err(ProofFault::Time)),
            ("b", 1_010, 1_000, Ok(())),
            ("a", 1_000, 1_030, Err(ProofFault::Replayed)),
            ("a", 1_000, 1_031, Err(ProofFault::Time)),
            ("b", 1_010, 1_040, Err(ProofFault::Replayed)),
            ("late", 1_010, 1_041, Err(ProofFault::Time)),
            // What was forgotten does not come back when the clock does.
            ("a", 1_000, 1_000, Err(ProofFault::Time)),
            ("b", 1_010, 1_010, Err(ProofFault::Time)),
            ("c", 1_050, 1_050, Ok(())),
        ] {
            assert_eq!(expected, used(&seen, jti, made_at, now), "{jti} made at {made_at}, shown at {now}");
        }
        assert_eq!(Ok(()), seen.first_use(Use { thumbprint: "kez", jti: "c", made_at: 1_050 }, at(1_050)), "ids are each key's own");
        assert_eq!(2, seen.lock().count);
    }

    #[test]
    fn a_full_memory_forgets_nothing_and_takes_nothing() {
        let seen = SeenProofs::holding(100, Timestamp::from_second(1_000).unwrap());
        for n in 0..100 {
            assert_eq!(Ok(()), used(&seen, &n.to_string(), 1_000 + n % 7, 1_000));
        }
        for n in 100..10_000 {
            assert_eq!(Err(ProofFault::Full), used(&seen, &n.to_string(), 1_000 + n % 7, 1_000));
        }
        for n in 0..100 {
            assert_eq!(Err(ProofFault::Replayed), used(&seen, &n.to_string(), 1_000 + n % 7, 1_000));
        }
        assert_eq!(Ok(()), used(&seen, "room again", 1_031, 1_031), "the first second is over");
        assert_eq!(100 - 15 + 1, seen.lock().count);
    }
}
