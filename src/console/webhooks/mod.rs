//! Webhooks: each change of the ledger is posted to whoever the consent desk has registered, signed ([`message`]), in order, at
//! least once. A webhook has a cursor, the ledger's revision, which moves on only after a 2xx answer and is kept beside the
//! events; so nothing is lost by a kill, and what is sent again carries the same `webhook-id`.
//!
//! Each webhook has a task of its own with one message under way ([`worker`]): one that hangs holds up neither another nor a
//! request. Only hosts of `[webhooks] hosts` are ever connected to ([`post`]). The secret that signs stands in the ledger's
//! database, since both sides need it; it is shown once.

mod hook;
mod message;
mod post;
mod routes;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::changes::ChangeSignal;
use crate::clock::Clock;
use crate::consent::{ConsentError, IdempotencyKey, Ledger, Unavailable};
use crate::model::{Revision, Vocabulary};
use crate::telemetry::Metrics;

use hook::{Hook, Progress, Target};

pub(super) use routes::ROUTES;

/// What the configuration says about webhooks; replaced at a reload.
#[derive(Clone)]
pub struct WebhookSettings {
    /// Host in lower case (an IPv6 address in brackets) and port. Empty: there are no webhooks.
    pub hosts: Vec<(String, u16)>,
    /// Whether `http://` to a loopback address may be used: in tests only.
    pub clear_loopback: bool,
    pub tls: Arc<ClientConfig>,
    pub vocabulary: Arc<Vocabulary>,
}

type Settings = WebhookSettings;

impl fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSettings").field("hosts", &self.hosts).field("clear_loopback", &self.clear_loopback).finish_non_exhaustive()
    }
}

impl WebhookSettings {
    fn permits(&self, target: &Target) -> bool {
        (target.tls || self.clear_loopback) && self.hosts.iter().any(|(host, port)| *host == target.host && *port == target.port)
    }
}

/// All webhooks of a gateway.
pub struct Webhooks {
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    signal: Arc<ChangeSignal>,
    settings: ArcSwap<Settings>,
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
    /// Held by whoever adds or removes one.
    editing: Mutex<()>,
    /// A webhook waits for its task.
    added: Notify,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("count", &lock(&self.slots).len()).finish_non_exhaustive()
    }
}

/// One webhook at work.
#[derive(Debug)]
struct Slot {
    hook: Hook,
    state: Mutex<State>,
    /// Something was changed from outside: look at once.
    nudge: Notify,
}

#[derive(Debug)]
struct State {
    progress: Progress,
    /// As it stands in the database.
    saved: Progress,
    /// Counts replays: what was sent before one does not move the cursor after it.
    epoch: u64,
    served: bool,
    removed: bool,
}

impl Slot {
    fn new(hook: Hook, progress: Progress) -> Arc<Self> {
        let state = State { saved: progress.clone(), progress, epoch: 0, served: false, removed: false };
        Arc::new(Self { hook, state: Mutex::new(state), nudge: Notify::new() })
    }

    /// Stores the progress if it has changed. Blocks on the disk.
    fn save(&self, ledger: &Ledger) -> Result<(), ConsentError> {
        let mut state = lock(&self.state);
        if state.removed || state.progress == state.saved {
            return Ok(());
        }
        ledger.put_documents(vec![hook::stored_progress(&self.hook.id, &state.progress)], None, None)?;
        state.saved = state.progress.clone();
        Ok(())
    }
}

/// How the webhooks fare, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookHealth {
    /// Webhooks whose receiver takes nothing at present.
    pub failing: u64,
    /// Revisions that the slowest one is behind the ledger.
    pub behind: u64,
}

impl Webhooks {
    /// Reads the webhooks from the ledger's database; [`Self::deliver`] serves them.
    ///
    /// # Errors
    /// When the store is away.
    pub fn open(
        ledger: &Arc<Ledger>,
        signal: &Arc<ChangeSignal>,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
        settings: WebhookSettings,
    ) -> Result<Arc<Self>, Unavailable> {
        let slots = hook::load(ledger)?.into_iter().map(|(hook, progress)| (hook.id.clone(), Slot::new(hook, progress))).collect();
        Ok(Arc::new(Self {
            ledger: Arc::clone(ledger),
            clock: Arc::clone(clock),
            metrics: metrics.clone(),
            signal: Arc::clone(signal),
            settings: ArcSwap::from_pointee(settings),
            slots: Mutex::new(slots),
            editing: Mutex::new(()),
            added: Notify::new(),
        }))
    }

    /// Takes over what a reload has changed; what is listed no longer gets nothing from the next message on.
    pub fn adopt(&self, settings: WebhookSettings) {
        self.settings.store(Arc::new(settings));
        self.all().iter().for_each(|slot| slot.nudge.notify_one());
    }

    /// Delivers until told to stop; what is under way then is sent again after the next start.
    pub async fn deliver(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        loop {
            for slot in self.all().into_iter().filter(|slot| !std::mem::replace(&mut lock(&slot.state).served, true)) {
                tasks.spawn(worker::serve(Arc::clone(&self), slot, stopped.clone()));
            }
            tokio::select! {
                () = self.added.notified() => {}
                Some(ended) = tasks.join_next() => ended.unwrap_or_else(|error| tracing::error!(%error, "the task of a webhook ended badly")),
                () = worker::stopping(&mut stopped) => break,
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    #[must_use]
    pub fn health(&self) -> WebhookHealth {
        let revision = self.ledger.revision();
        self.all().iter().fold(WebhookHealth::default(), |health, slot| {
            let state = lock(&slot.state);
            WebhookHealth {
                failing: health.failing + u64::from(state.progress.failing_since.is_some()),
                behind: health.behind.max(behind(revision, &state.progress)),
            }
        })
    }

    fn all(&self) -> Vec<Arc<Slot>> {
        lock(&self.slots).values().cloned().collect()
    }

    fn slot(&self, id: &str) -> Option<Arc<Slot>> {
        lock(&self.slots).get(id).cloned()
    }

    /// Stores a webhook and begins to serve it.
    fn add(&self, hook: Hook, progress: Progress, key: Option<&IdempotencyKey>) -> Result<(), ConsentError> {
        self.ledger.put_documents(hook::stored(&hook, &progress), key, Some(hook.id.clone()))?;
        lock(&self.slots).insert(hook.id.clone(), Slot::new(hook, progress));
        self.added.notify_one();
        Ok(())
    }

    /// Ends a webhook; a message that is under way may still arrive.
    fn remove(&self, slot: &Slot, key: Option<&IdempotencyKey>) -> Result<(), ConsentError> {
        let mut state = lock(&slot.state);
        self.ledger.put_documents(hook::gone(&slot.hook.id), key, None)?;
        state.removed = true;
        drop(state);
        lock(&self.slots).remove(&slot.hook.id);
        slot.nudge.notify_one();
        Ok(())
    }

    /// Sets the cursor; everything after it is sent, whether or not it was sent before.
    fn replay(&self, slot: &Slot, from: Revision, key: Option<&IdempotencyKey>) -> Result<(), ConsentError> {
        let mut state = lock(&slot.state);
        let progress = Progress { after: from, gone: false, ..state.progress.clone() };
        self.ledger.put_documents(vec![hook::stored_progress(&slot.hook.id, &progress)], key, None)?;
        state.saved = progress.clone();
        state.progress = progress;
        state.epoch += 1;
        drop(state);
        slot.nudge.notify_one();
        Ok(())
    }
}

fn behind(revision: Revision, progress: &Progress) -> u64 {
    revision.0.saturating_sub(progress.after.0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
