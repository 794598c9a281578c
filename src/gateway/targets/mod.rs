//! Which of an upstream's targets takes a request. Of two that are picked at random the one with fewer requests under way: nearly as
//! even as looking at all of them, and no request waits for a count that another one holds.
//!
//! A target that fails several times in a row is left out for a time, longer each time that it goes on failing; `health` asks it
//! beside the requests. What is left out is left out only while there is another: when all are, the one that has been out for
//! longest is asked, so that requests find out by themselves that an upstream is back, and a mistaken health check closes nothing.

pub(super) mod health;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{StatusCode, Uri};

use crate::clock::Clock;
use crate::config::Ejection;
use crate::model::UpstreamName;
use crate::telemetry::TargetState;
use health::Check;

/// The targets of one upstream, and how each of them does.
#[derive(Debug)]
pub struct Targets {
    upstream: UpstreamName,
    uris: Vec<Uri>,
    each: Vec<Target>,
    ejection: Ejection,
    check: Option<Check>,
    clock: Arc<dyn Clock>,
    /// Where the random choice stands.
    drawn: AtomicU64,
}

#[derive(Debug)]
struct Target {
    uri: Uri,
    in_flight: AtomicUsize,
    state: Mutex<State>,
}

/// What is known of a target. Times are of the monotonic clock.
#[derive(Debug, Default)]
struct State {
    /// Requests that failed in a row.
    failures: u32,
    /// How often it was left out, less one for each success since.
    ejections: u32,
    /// Until when it is left out, while it is.
    out_until: Option<Duration>,
    /// When it was last left out, or asked in vain meanwhile.
    out_since: Duration,
    /// By the health checks.
    is_down: bool,
    checks_failed: u32,
    checks_passed: u32,
    next_check: Duration,
    is_being_checked: bool,
}

impl State {
    fn is_ejected(&self, now: Duration) -> bool {
        self.out_until.is_some_and(|until| now < until)
    }

    fn is_out(&self, now: Duration) -> bool {
        self.is_down || self.is_ejected(now)
    }
}

impl Targets {
    #[must_use]
    pub fn new(upstream: UpstreamName, uris: Vec<Uri>, ejection: Ejection, check: Option<Check>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let each = uris.iter().cloned().map(|uri| Target { uri, in_flight: AtomicUsize::new(0), state: Mutex::default() }).collect();
        let drawn = AtomicU64::new(RandomState::new().hash_one(upstream.as_str()));
        Arc::new(Self { upstream, uris, each, ejection, check, clock, drawn })
    }

    pub(super) fn uris(&self) -> &[Uri] {
        &self.uris
    }

    /// A target for a request that was `tried` at these; `None` when there is no other.
    #[must_use]
    pub fn pick(self: &Arc<Self>, tried: &[usize]) -> Option<Picked> {
        if let ([only], []) = (self.each.as_slice(), tried) {
            only.in_flight.fetch_add(1, Ordering::Relaxed);
            return Some(Picked { targets: Arc::clone(self), at: 0 });
        }
        let now = self.clock.monotonic();
        let left: Vec<(usize, &Target)> = self.each.iter().enumerate().filter(|(at, _)| !tried.contains(at)).collect();
        let fit: Vec<(usize, &Target)> = left.iter().copied().filter(|(_, target)| !target.state().is_out(now)).collect();
        let at = match self.two_of(&fit) {
            Some(two) => two.into_iter().min_by_key(|(_, target)| target.in_flight.load(Ordering::Relaxed))?.0,
            None => left.into_iter().min_by_key(|(_, target)| target.state().out_since)?.0,
        };
        self.each.get(at)?.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Picked { targets: Arc::clone(self), at })
    }

    /// Two different ones at random, or the only one twice.
    fn two_of<'t>(&self, fit: &[(usize, &'t Target)]) -> Option<[(usize, &'t Target); 2]> {
        let count = u64::try_from(fit.len()).ok().filter(|count| *count > 0)?;
        let drawn = self.draw();
        let first = drawn % count;
        let second = if count == 1 { first } else { (first + 1 + (drawn >> 32) % (count - 1)) % count };
        let nth = |n: u64| usize::try_from(n).ok().and_then(|n| fit.get(n).copied());
        Some([nth(first)?, nth(second)?])
    }

    /// SplitMix64: evenly spread, and nobody gains by guessing it.
    fn draw(&self) -> u64 {
        let mut z = self.drawn.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn succeeded(&self, target: &Target) {
        let mut state = target.state();
        let was_out = state.out_until.take().is_some();
        state.failures = 0;
        state.ejections = state.ejections.saturating_sub(1);
        drop(state);
        if was_out {
            tracing::info!(upstream = %self.upstream, target = %target.uri, "a target is back");
        }
    }

    fn failed(&self, target: &Target) {
        let now = self.clock.monotonic();
        let mut state = target.state();
        if state.is_out(now) {
            // It was asked because all are out: the next request asks another one.
            state.out_since = now;
        }
        if state.is_ejected(now) {
            return;
        }
        state.failures = state.failures.saturating_add(1);
        // Without another one to ask there is nothing to be gained.
        if state.failures < self.ejection.failures || self.each.len() < 2 {
            return;
        }
        let time = self.ejection.first.saturating_mul(2_u32.saturating_pow(state.ejections)).min(self.ejection.longest);
        state.ejections = state.ejections.saturating_add(1);
        (state.out_since, state.out_until) = (now, Some(now.saturating_add(time)));
        // When it is back, one more failure is enough.
        state.failures = self.ejection.failures.saturating_sub(1);
        drop(state);
        tracing::warn!(upstream = %self.upstream, target = %target.uri, for_s = time.as_secs_f64(), "a target fails and is left out");
    }

    /// All targets as they are now.
    pub(super) fn states(&self) -> impl Iterator<Item = TargetState> {
        let now = self.clock.monotonic();
        self.each.iter().map(move |target| {
            let state = target.state();
            TargetState {
                upstream: self.upstream.as_str(),
                target: target.uri.to_string().trim_end_matches('/').to_owned(),
                in_flight: target.in_flight.load(Ordering::Relaxed),
                is_up: !state.is_out(now),
                is_ejected: state.is_ejected(now),
            }
        })
    }

    /// A sentence about the targets that are out; `None` when none is.
    pub(super) fn trouble(&self) -> Option<String> {
        let why = |seen: &TargetState| if seen.is_ejected { "has failed and is left out for a time" } else { "does not pass its health checks" };
        let out: Vec<String> = self.states().filter(|seen| !seen.is_up).map(|seen| format!("{} {}", seen.target, why(&seen))).collect();
        (!out.is_empty()).then(|| format!("{} of {} targets of upstream `{}` are out: {}", out.len(), self.each.len(), self.upstream, out.join("; ")))
    }
}

impl Target {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A target for as long as a request is under way to it, its answer included.
#[derive(Debug)]
pub struct Picked {
    targets: Arc<Targets>,
    at: usize,
}

impl Picked {
    /// For [`Targets::pick`].
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }

    #[must_use]
    pub fn uri(&self) -> Option<&Uri> {
        self.target().map(|target| &target.uri)
    }

    /// The head of an answer came.
    pub fn answered(&self, status: StatusCode) {
        // What says nothing about the target: a method or version that it does not know.
        let is_ours = matches!(status, StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED);
        match self.target() {
            Some(target) if status.is_server_error() && !is_ours => self.targets.failed(target),
            Some(target) => self.targets.succeeded(target),
            None => {}
        }
    }

    /// No answer came: no connection, a broken one, or none in time.
    pub fn failed(&self) {
        if let Some(target) = self.target() {
            self.targets.failed(target);
        }
    }

    fn target(&self) -> Option<&Target> {
        self.targets.each.get(self.at)
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        if let Some(target) = self.target() {
            target.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
