//! Retention of the decision log: once a day, what is past its time goes. Nothing of the request path waits for it, and a stop of the
//! gateway ends it after the segment that is being written; the next run finds what is left.

use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::running::stopping;
use super::state::Shared;
use crate::audit::{self, Announced, AuditError, LiveIndex, Prunable, Pruning, RetentionClass, TextKeyId};
use crate::config::{Period, Retention};
use crate::model::PartyNo;

/// The first run after a start, between two runs, and after one that failed.
const FIRST_AFTER: Duration = Duration::from_secs(600);
const EVERY: Duration = Duration::from_secs(24 * 3_600);
const RETRY_AFTER: Duration = Duration::from_secs(3_600);
/// A clock that is further ahead of the log's last entry at a start, or of the monotonic clock since, may be wrong: it would have
/// everything go at once.
const AHEAD_OF_LOG_MAX: SignedDuration = SignedDuration::from_hours(31 * 24);
const AHEAD_OF_STEADY_MAX: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug)]
pub(super) struct Keeping {
    shared: Arc<Shared>,
    index: Arc<LiveIndex>,
    /// Wall and monotonic time at the start, and the last entry before it.
    started: (Timestamp, Duration, Option<Timestamp>),
    /// What was announced and is not done yet; held by whoever works on it.
    work: Mutex<Option<Announced>>,
    trouble: Mutex<Option<String>>,
    wake: Notify,
}

/// Why nothing goes now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Hindered {
    #[error("a run is under way; ask again later")]
    UnderWay,
    #[error("{0}")]
    Log(#[from] AuditError),
    #[error("it is not known who is under legal hold: {0}")]
    Consent(#[from] crate::consent::Unavailable),
    #[error("{0}")]
    Clock(String),
    #[error("the search index still holds what is gone: {0}")]
    Index(String),
}

impl Keeping {
    pub(super) fn new(shared: Arc<Shared>, index: Arc<LiveIndex>, last: Option<Timestamp>) -> Arc<Self> {
        let started = (shared.clock.now(), shared.clock.monotonic(), last);
        Arc::new(Self { shared, index, started, work: Mutex::default(), trouble: Mutex::default(), wake: Notify::new() })
    }

    /// For readiness.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, trouble: Option<String>) {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = trouble.as_ref().filter(|why| known.as_ref() != Some(why)) {
            tracing::error!(why, "the decision log is not pruned");
        }
        *known = trouble;
    }

    /// What would go now; with `run` it is announced in the log and goes, from then on in the background.
    pub(super) fn ask(&self, run: bool) -> Result<Value, Hindered> {
        let mut work = match self.work.try_lock() {
            Ok(work) => work,
            Err(TryLockError::Poisoned(work)) => work.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Hindered::UnderWay),
        };
        if work.is_some() {
            return Err(Hindered::UnderWay);
        }
        let pruning = self.plan(&|| false)?;
        let mut document = told(&pruning, &self.shared.snapshot().retention);
        if run && !pruning.is_empty() {
            let announced = pruning.announce()?;
            if let Some(members) = document.as_object_mut() {
                members.insert("announced".to_owned(), announced.index().into());
            }
            *work = Some(announced);
            drop(work);
            self.wake.notify_one();
        }
        Ok(document)
    }

    pub(super) async fn keep_pruning(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut pause = FIRST_AFTER;
        loop {
            let is_due = tokio::select! {
                () = tokio::time::sleep(pause) => true,
                () = self.wake.notified() => false,
                () = stopping(&mut stopped) => return,
            };
            let (this, stopped) = (Arc::clone(&self), stopped.clone());
            let done = tokio::task::spawn_blocking(move || this.work(is_due, &|| *stopped.borrow()).map_err(|error| error.to_string())).await;
            let done = done.unwrap_or_else(|error| Err(error.to_string()));
            pause = if done.is_ok() { EVERY } else { RETRY_AFTER };
            self.note(done.err());
        }
    }

    /// Finishes what was announced; when it `is_due`, looks for more first.
    fn work(&self, is_due: bool, stop: &dyn Fn() -> bool) -> Result<(), Hindered> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        if is_due && work.is_none() {
            self.check_clock()?;
            match self.plan(stop) {
                Ok(pruning) if !pruning.is_empty() => *work = Some(pruning.announce()?),
                Ok(_) => {}
                Err(Hindered::Log(AuditError::Closed)) if stop() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if let Some(announced) = work.as_mut() {
            let segments = announced.left();
            tracing::info!(segments, entry = announced.index(), "the decision log is being pruned");
            while !stop() {
                self.shared.ledger.healthy()?;
                if !announced.step(&self.is_held())? {
                    *work = None;
                    break;
                }
            }
        }
        // Also what an earlier run left.
        self.index.renew(stop).map(|_| ()).map_err(|error| Hindered::Index(error.to_string()))
    }

    fn plan(&self, stop: &dyn Fn() -> bool) -> Result<Pruning, Hindered> {
        let (retention, now) = (self.shared.snapshot().retention, self.shared.clock.now());
        let before = |period: Period| period.before(now);
        let retention = audit::Retention {
            permit: before(retention.permit),
            deny: before(retention.deny),
            admin: before(retention.admin),
            break_glass: before(retention.break_glass),
        };
        self.shared.ledger.healthy()?;
        let pruning = self.shared.log.plan_pruning(&retention, &self.is_held(), stop)?;
        // Asked again: what memory says of holds counts only while the store is there.
        self.shared.ledger.healthy()?;
        Ok(pruning)
    }

    fn is_held(&self) -> impl Fn(PartyNo) -> bool {
        |party| self.shared.ledger.is_on_hold(party)
    }

    fn check_clock(&self) -> Result<(), Hindered> {
        let (wall, steady, last) = self.started;
        let passed = SignedDuration::try_from(self.shared.clock.monotonic().saturating_sub(steady)).unwrap_or(SignedDuration::MAX);
        let ahead = self.shared.clock.now().duration_since(wall).saturating_sub(passed);
        let days = |ahead: SignedDuration| ahead.as_hours() / 24;
        if ahead > AHEAD_OF_STEADY_MAX {
            let days = days(ahead);
            return Err(Hindered::Clock(format!("the wall clock was set forward by {days} days; if it is right, `consentry audit prune --now`")));
        }
        match last.map(|last| wall.duration_since(last)).filter(|ahead| *ahead > AHEAD_OF_LOG_MAX) {
            Some(ahead) => {
                let days = days(ahead);
                Err(Hindered::Clock(format!(
                    "the wall clock is {days} days ahead of what the log held at the start; if it is right, `consentry audit prune --now`"
                )))
            }
            None => Ok(()),
        }
    }
}

fn told(pruning: &Pruning, retention: &Retention) -> Value {
    let kept = |class| match class {
        RetentionClass::Permit => retention.permit,
        RetentionClass::Deny => retention.deny,
        RetentionClass::Admin => retention.admin,
        RetentionClass::BreakGlass => retention.break_glass,
    };
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let classes: Vec<Value> = pruning
        .classes()
        .into_iter()
        .map(|Prunable { class, before, entries, since }| {
            json!({ "class": class.as_str(), "kept": kept(class).to_string(), "before": time(before), "entries": entries, "since": time(since) })
        })
        .collect();
    let names = |keys: &[TextKeyId]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "classes": classes, "dictionary": pruning.dictionary(), "remains": pruning.remains(), "held": pruning.held(),
        "keys": names(&pruning.keys()), "keys_held": names(pruning.keys_held()), "announced": null,
    })
}
