//! Reload: parse, check, build, and only then swap, all at once. On any mistake the last good configuration stays, which is
//! logged, counted, recorded and shown by readiness until it is mended.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use super::build;
use super::governance::{ActiveBundle, Candidate, Memory, Refusal, State};
use super::report;
use super::running::{TlsSlots, note, stopping, tls_configs};
use super::service;
use super::staff::Staff;
use super::state::{Shared, Snapshot};
use super::tls::Secured;
use crate::audit::Entry;
use crate::config::{AuditMode, Config, ExportSettings, Limits, PolicySource, TelemetrySettings, WitnessSettings};
use crate::consent::IdempotencyKey;
use crate::console::{WebhookSettings, Webhooks};
use crate::model::ConsentRules;
use crate::policy::Policies;
use crate::policy::bundle::Bundle;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Name, address, limits and balancers.
type FixedListener = (String, SocketAddr, Limits, Option<Vec<(IpAddr, u8)>>);

/// What cannot change while the gateway runs: it would take new sockets or another log.
#[derive(Clone, PartialEq, Eq)]
struct Fixed {
    listeners: Vec<FixedListener>,
    admin: Option<SocketAddr>,
    capture: Option<SocketAddr>,
    public: Option<SocketAddr>,
    health: Option<SocketAddr>,
    audit: (PathBuf, Option<PathBuf>, String, AuditMode),
    /// The log's key, the one before, and the one for secrets.
    keys: [Option<Vec<u8>>; 3],
    witnesses: Vec<WitnessSettings>,
    exports: Vec<ExportSettings>,
    telemetry: Option<TelemetrySettings>,
    consent: PathBuf,
    /// Folder or bundle, and where the latter is kept.
    bundle: Option<PathBuf>,
}

impl std::fmt::Debug for Fixed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the keys.
        f.debug_struct("Fixed").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl Fixed {
    fn of(config: &Config) -> Self {
        let audit = &config.audit;
        Self {
            listeners: config.listeners.iter().map(|l| (l.name.clone(), l.address, l.limits, l.proxy_protocol.clone())).collect(),
            admin: config.admin.as_ref().map(|a| a.address),
            capture: config.capture.as_ref().map(|c| c.address),
            public: config.public.as_ref().map(|p| p.address),
            health: config.health.as_ref().map(|h| h.address),
            audit: (audit.dir.clone(), audit.spare_dir.clone(), audit.origin.clone(), audit.mode),
            keys: [Some(&audit.signing_key), audit.previous_key.as_ref(), audit.secrets_key.as_ref()].map(|key| Some(key?.expose().to_vec())),
            witnesses: audit.witnesses.clone(),
            exports: audit.exports.clone(),
            telemetry: config.telemetry.clone(),
            consent: config.consent.sqlite.clone(),
            bundle: match &config.policy {
                PolicySource::Folder(_) => None,
                PolicySource::Bundle(bundle) => Some(bundle.file.clone()),
            },
        }
    }
}

/// Since when, and why, the active configuration is not the one on disk.
#[derive(Clone, Debug)]
pub(super) struct Stale {
    pub(super) since: Timestamp,
    pub(super) findings: usize,
}

/// What takes the place of what is.
pub(super) struct Next {
    snapshot: Snapshot,
    rules: ConsentRules,
    staff: Staff,
    tls: Vec<(String, Arc<Secured>)>,
    webhooks: WebhookSettings,
    governed_hash: String,
}

/// Replaces the configuration of a running gateway.
pub(super) struct Reloader {
    path: PathBuf,
    fixed: Fixed,
    shared: Arc<Shared>,
    staff: Arc<ArcSwap<Staff>>,
    slots: TlsSlots,
    webhooks: Arc<Webhooks>,
    /// Of activations; `None` when the policies come from an unsigned folder.
    memory: Option<Memory>,
    watched: Mutex<Vec<PathBuf>>,
    stale: Mutex<Option<Stale>>,
    pub(super) loaded_at: Mutex<Timestamp>,
    /// One reload at a time.
    busy: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Reloader {
    pub(super) fn new(
        path: &Path,
        config: &Config,
        shared: Arc<Shared>,
        staff: Arc<ArcSwap<Staff>>,
        slots: TlsSlots,
        webhooks: Arc<Webhooks>,
        memory: Option<Memory>,
    ) -> Self {
        let loaded_at = Mutex::new(shared.clock.now());
        let watched = Mutex::new(watched(config));
        Self {
            path: path.to_owned(),
            fixed: Fixed::of(config),
            shared,
            staff,
            slots,
            webhooks,
            memory,
            watched,
            stale: Mutex::new(None),
            loaded_at,
            busy: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) fn stale(&self) -> Option<Stale> {
        lock(&self.stale).clone()
    }

    /// Takes the files anew and returns the generation that is active then.
    pub(super) async fn reload(self: &Arc<Self>) -> Result<u64, String> {
        let _one = self.busy.lock().await;
        service::reloading();
        let this = Arc::clone(self);
        let built = tokio::task::spawn_blocking(move || this.build()).await;
        let taken = self.settle(built.unwrap_or_else(|panicked| Err((1, panicked.to_string()))));
        // The manager waits for the end of every reload, also of one that came to nothing.
        service::reloaded(self.shared.generation(), self.stale().map(|stale| stale.findings));
        taken
    }

    /// Tells what has become of a reload.
    fn settle(&self, built: Result<u64, (usize, String)>) -> Result<u64, String> {
        match built {
            Ok(generation) => {
                *lock(&self.stale) = None;
                *lock(&self.loaded_at) = self.shared.clock.now();
                tracing::info!(generation, "configuration and policies loaded");
                report::announce(&self.shared.snapshot(), self.shared.clock.now());
                Ok(generation)
            }
            Err((findings, text)) => {
                let now = self.shared.clock.now();
                let mut stale = lock(&self.stale);
                let since = stale.as_ref().map_or(now, |s| s.since);
                *stale = Some(Stale { since, findings });
                drop(stale);
                self.shared.metrics.reload_failed();
                tracing::error!("the new configuration was refused, the last good one stays:\n{text}");
                note(&self.shared, Entry::PolicyRejected { findings: u32::try_from(findings).unwrap_or(u32::MAX), reason: "reload", version: None });
                Err(text)
            }
        }
    }

    fn build(&self) -> Result<u64, (usize, String)> {
        let one = |text: String| (1, text);
        let loaded = build::load_signed(&self.path, None).map_err(|findings| (findings.0.len(), findings.to_string()))?;
        let (config, policies, candidate) = loaded;
        // Also after a failure of what follows: the mended file is what counts.
        *lock(&self.watched) = watched(&config);
        let active = candidate.map(|candidate| self.confirmed(&candidate, &config, &policies)).transpose().map_err(|e| one(e.to_string()))?;
        let next = self.prepare(config, &policies, active).map_err(one)?;
        self.take(next, || Ok(())).map_err(one)
    }

    fn confirmed(&self, candidate: &Candidate, config: &Config, policies: &Policies) -> Result<ActiveBundle, Refusal> {
        self.remember_end()?;
        candidate.confirm(&config.governed_hash, policies, self.memory()?, self.shared.clock.now()).map(|(active, _)| active)
    }

    fn memory(&self) -> Result<&Memory, Refusal> {
        self.memory.as_ref().ok_or(Refusal::Unsigned)
    }

    /// Keeps that the active bundle has run out, once it has.
    pub(super) fn remember_end(&self) -> Result<(), Refusal> {
        match (&self.memory, &self.shared.snapshot().bundle) {
            (Some(memory), Some(bundle)) => memory.remember_end(bundle, self.shared.clock.now()),
            (None, _) | (_, None) => Ok(()),
        }
    }

    /// Judges a bundle as if it were to be activated; changes nothing.
    pub(super) fn judge(&self, bytes: &[u8], signatures: &str) -> Result<(Candidate, ActiveBundle, Next), Refusal> {
        let snapshot = self.shared.snapshot();
        let before = snapshot.bundle.as_ref().ok_or(Refusal::Unsigned)?;
        let bundle = Bundle::open(bytes)?;
        // Its own mistakes before those of a configuration that names what it lacks.
        drop(bundle.tested()?);
        let (config, policies, candidate) = build::load_signed(&self.path, Some((bundle, signatures.to_owned()))).map_err(Refusal::Config)?;
        let candidate = candidate.ok_or(Refusal::Unsigned)?;
        let (highest, now) = (self.memory()?.highest(), self.shared.clock.now());
        let active = candidate.judge(&config.governed_hash, &policies, (before, &snapshot.policies), highest, now)?;
        let next = self.prepare(config, &policies, None).map_err(Refusal::Running)?;
        Ok((candidate, active, next))
    }

    /// Puts a bundle in the place of the active one. Blocks on the disk.
    pub(super) fn activate(&self, bytes: &[u8], signatures: &str, key: Option<&IdempotencyKey>) -> Result<Arc<ActiveBundle>, Refusal> {
        let _one = self.busy.blocking_lock();
        let activated = self.judge(bytes, signatures).and_then(|(candidate, active, next)| self.install(&candidate, active, next, key));
        match &activated {
            Ok(active) => {
                *lock(&self.stale) = None;
                *lock(&self.loaded_at) = self.shared.clock.now();
                tracing::info!(version = active.version(), "a policy bundle was activated");
            }
            Err(refusal) => {
                let version = Bundle::open(bytes).ok().map(|bundle| bundle.manifest.version);
                tracing::error!(reason = refusal.reason(), version, "a policy bundle was refused, the active one stays");
                // Whoever is answered finds it in the log.
                let rejected = Entry::PolicyRejected { findings: 1, reason: refusal.reason(), version };
                if let Err(error) = self.shared.log.append(rejected).and_then(crate::audit::Pending::wait) {
                    tracing::error!(%error, "the refusal could not be recorded");
                }
            }
        }
        activated
    }

    fn install(
        &self,
        candidate: &Candidate,
        active: ActiveBundle,
        mut next: Next,
        key: Option<&IdempotencyKey>,
    ) -> Result<Arc<ActiveBundle>, Refusal> {
        let active = Arc::new(active);
        next.snapshot.bundle = Some(Arc::clone(&active));
        let memory = self.memory()?;
        memory.remember(&active, State::UnderWay, None)?;
        let written = self.shared.log.append(active.entry()).and_then(crate::audit::Pending::wait).map_err(|error| error.to_string());
        let keep = || candidate.keep().map_err(|error| format!("the bundle cannot be written: {error}"));
        if let Err(text) = written.and_then(|_recorded| self.take(next, keep)) {
            if let Err(error) = memory.remember(&active, State::TakenBack, None) {
                tracing::error!(%error, "an activation that did not take place is remembered as under way; the next start looks at its file");
            }
            return Err(Refusal::Store(text));
        }
        // Only now: whoever repeats the request is told that it was done.
        if let Err(error) = memory.remember(&active, State::Active, key) {
            tracing::error!(%error, "an activation is remembered as under way; the next start mends it");
        }
        Ok(active)
    }

    /// Does whatever can fail before anything changes.
    fn prepare(&self, config: Config, policies: &Arc<Policies>, active: Option<ActiveBundle>) -> Result<Next, String> {
        if Fixed::of(&config) != self.fixed {
            return Err(
                "addresses, limits and balancers of listeners, log, witnesses, exports, telemetry, consent store and the place of the policies cannot change while the gateway runs; restart it, or put them back"
                    .to_owned(),
            );
        }
        let rules = policies.consent_rules().clone();
        if self.shared.ledger.rules().is_ok_and(|current| current.clock_skew_s != rules.clock_skew_s) {
            return Err("`clock_skew_s` changes what every customer's statements come to; restart the gateway, or put it back".to_owned());
        }
        let generation = self.shared.generation() + 1;
        let mut snapshot = build::snapshot(&config, policies, generation, &self.shared.clock).map_err(|e| e.to_string())?;
        snapshot.authenticator = snapshot.authenticator.remembering(&self.shared.snapshot().authenticator);
        snapshot.bundle = active.map(Arc::new);
        let staff = Staff::new(&config, &self.shared.clock).map_err(|e| e.to_string())?;
        let tls = tls_configs(&config).map_err(|e| e.to_string())?;
        let webhooks = build::webhooks(&config, policies).map_err(|e| e.to_string())?;
        Ok(Next { snapshot, rules, staff, tls, webhooks, governed_hash: config.governed_hash })
    }

    /// Records the change and makes it. `keep` is the last thing that may fail.
    fn take(&self, next: Next, keep: impl FnOnce() -> Result<(), String>) -> Result<u64, String> {
        let Next { snapshot, rules, staff, tls, webhooks, governed_hash } = next;
        let (policies, generation) = (Arc::clone(&snapshot.policies), snapshot.generation);
        let loaded = Entry::PolicyLoaded { id: Arc::clone(&snapshot.set_id), generation };
        let written = self.shared.log.append(loaded).and_then(crate::audit::Pending::wait);
        written.map_err(|e| format!("the change cannot be recorded: {e}"))?;
        note(&self.shared, Entry::ConfigLoaded { hash: governed_hash, generation });
        keep()?;
        // Nothing can fail from here on.
        let adopted = self.shared.ledger.adopt(Arc::clone(policies.vocabulary()), rules, policies.captures().to_vec());
        adopted.map_err(|e| e.to_string())?;
        self.shared.swap(snapshot);
        self.staff.store(Arc::new(staff));
        self.webhooks.adopt(webhooks);
        for (name, slot) in &self.slots {
            if let Some((_, config)) = tls.iter().find(|(n, _)| n == name) {
                slot.store(Arc::clone(config));
            }
        }
        Ok(generation)
    }

    /// Sizes and times of everything watched; a difference is a change.
    fn seen(&self) -> Seen {
        let mut seen = BTreeMap::new();
        let mut open: Vec<PathBuf> = lock(&self.watched).clone();
        while let Some(path) = open.pop() {
            if let Ok(entries) = std::fs::read_dir(&path) {
                open.extend(entries.flatten().map(|e| e.path()));
            } else {
                let stamp = std::fs::metadata(&path).ok().and_then(|m| Some((m.modified().ok()?, m.len())));
                seen.insert(path, stamp);
            }
        }
        seen
    }
}

/// Sizes and times of files.
type Seen = BTreeMap<PathBuf, Option<(SystemTime, u64)>>;

fn watched(config: &Config) -> Vec<PathBuf> {
    let mut paths = config.files.clone();
    paths.push(config.policy.watched().to_owned());
    paths
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reloads on SIGHUP and when a file changes.
pub(super) fn keep_current(reloader: Arc<Reloader>, stopped: watch::Receiver<bool>) -> impl Future<Output = ()> {
    // Seen before anybody is told that it is ready: what changes from then on is a change.
    let taken = reloader.seen();
    let hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    watch_from(reloader, taken, hangup, stopped)
}

async fn watch_from(reloader: Arc<Reloader>, mut taken: Seen, hangup: std::io::Result<Signal>, mut stopped: watch::Receiver<bool>) {
    let mut hangup = match hangup {
        Ok(signal) => signal,
        Err(error) => {
            tracing::error!(%error, "SIGHUP cannot be waited for; files are not watched");
            return;
        }
    };
    let mut last = taken.clone();
    loop {
        tokio::select! {
            () = stopping(&mut stopped) => return,
            _ = hangup.recv() => {
                taken = reloader.seen();
                drop(reloader.reload().await);
            }
            () = tokio::time::sleep(LOOK_EVERY) => {
                let now = reloader.seen();
                // Two equal looks: an editor that is still writing is left alone.
                if now != taken && now == last {
                    drop(reloader.reload().await);
                    taken = reloader.seen();
                }
                last = now;
            }
        }
    }
}
