//! Signed policy bundles: which one a gateway takes, how it keeps it, and what it never forgets.
//!
//! ```text
//! open, test -> newer? in time? replaces the active set? routes its own? -> difference -> enough signatures?
//!            -> remembered in the ledger, under way -> policy_activated, durable -> files renamed -> swapped -> remembered as active
//! ```
//!
//! INVARIANT: nothing that a bundle or a caller says replaces a check here: the difference is computed from what decides now.
//! INVARIANT: the highest version that was ever activated stands in the consent store and in the decision log; losing one of
//! them, putting an older store back, or losing the bundle's files does not lower it. After a kill between two steps either the
//! old bundle or the new one is whole. What failed on its way is remembered as taken back: it was never active.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::audit::{self, Entry, Log};
use crate::config::BundleSettings;
use crate::consent::{Document, IdempotencyKey, Ledger};
use crate::model::{Department, Finding, Findings, Name};
use crate::policy::Difference;
use crate::policy::Policies;
use crate::policy::bundle::{Approvals, Bundle, BundleError, Manifest, Missing, Need, Signers};

/// The documents of the ledger in which activations are remembered, by version.
const KIND: &str = "policy-bundle";

/// Why a bundle is not taken. The active one stays.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("this gateway takes its policies from an unsigned folder; name a `bundle` in `[policy]`, and restart it")]
    Unsigned,
    #[error(transparent)]
    Broken(#[from] BundleError),
    #[error("configuration and bundle do not fit:\n\n{0}")]
    Config(Findings),
    #[error("the bundle ran out at {0}; bundle it anew with a later `--expires`")]
    Expired(Timestamp),
    #[error("version {version} is not above {highest}, the highest that was ever active; bundle what you want back as a new version")]
    Rollback { version: u64, highest: u64 },
    #[error("the bundle replaces the set {said}, and {active} is active; compare with that one and bundle anew")]
    Replaces { said: String, active: String },
    #[error("the bundle was made for other APIs, shapes or id spaces than this gateway's; bundle it with this gateway's `--config`")]
    Routes,
    #[error("signatures are missing: {0}")]
    Signatures(Missing),
    #[error("the file is not the bundle that was activated last (version {0}); put that one back, or activate another on a running gateway")]
    Foreign(u64),
    #[error("it cannot be kept: {0}; the active bundle stays")]
    Store(String),
    #[error("{0}")]
    Running(String),
}

impl Refusal {
    /// A word for the log.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Broken(_) => "broken",
            Self::Config(_) | Self::Running(_) => "configuration",
            Self::Expired(_) => "expired",
            Self::Rollback { .. } => "rollback",
            Self::Replaces { .. } => "other-base",
            Self::Routes => "other-routes",
            Self::Signatures(_) => "signatures",
            Self::Foreign(_) => "foreign",
            Self::Store(_) => "store",
        }
    }
}

/// A bundle with its signatures, and by whose keys they are judged.
#[derive(Debug)]
pub struct Candidate {
    pub(super) bundle: Bundle,
    signatures: String,
    signers: Signers,
    settings: BundleSettings,
}

impl Candidate {
    pub(super) fn new(settings: &BundleSettings, bundle: Bundle, signatures: String) -> Result<Self, Findings> {
        let signers = Signers::load(&settings.allowed_signers)?;
        Ok(Self { bundle, signatures, signers, settings: settings.clone() })
    }

    /// The gateway's own copy.
    pub(super) fn kept(settings: &BundleSettings) -> Result<Self, Findings> {
        let wrong = |file: &Path, message: String| Findings(vec![Finding::of_file(file, message)]);
        let bytes = fs::read(&settings.file).map_err(|error| wrong(&settings.file, format!("cannot be read: {error}")))?;
        let bundle = Bundle::open(&bytes).map_err(|error| wrong(&settings.file, error.to_string()))?;
        let beside = signatures_of(&settings.file);
        let signatures = fs::read_to_string(&beside).map_err(|error| wrong(&beside, format!("cannot be read: {error}")))?;
        Self::new(settings, bundle, signatures)
    }

    /// `next`: the bundle's own policies.
    fn approved(&self, need: Need, now: Timestamp, next: &Policies) -> Result<ActiveBundle, Refusal> {
        let approvals = Approvals::of(&self.bundle, &self.signatures, &self.signers, now, next.vocabulary(), &need)?;
        let missing = approvals.missing(&need, usize::try_from(self.settings.departments_min).unwrap_or(usize::MAX));
        if !missing.is_nothing() {
            return Err(Refusal::Signatures(missing));
        }
        let (manifest, digest) = (self.bundle.manifest.clone(), self.bundle.digest());
        Ok(ActiveBundle { manifest, digest, need, approvals, ran_out: AtomicBool::new(false) })
    }

    /// Judges what is to take the active bundle's place. `governed`: the hash of the configuration on disk.
    pub(super) fn judge(
        &self,
        governed: &str,
        next: &Policies,
        active: (&ActiveBundle, &Policies),
        highest: u64,
        now: Timestamp,
    ) -> Result<ActiveBundle, Refusal> {
        let manifest = &self.bundle.manifest;
        if manifest.version <= highest {
            return Err(Refusal::Rollback { version: manifest.version, highest });
        }
        if now >= manifest.expires {
            return Err(Refusal::Expired(manifest.expires));
        }
        let (before, policies) = active;
        if manifest.replaces.as_deref() != Some(policies.id()) {
            let said = manifest.replaces.clone().unwrap_or_else(|| "of nobody".to_owned());
            return Err(Refusal::Replaces { said, active: policies.id().to_owned() });
        }
        if manifest.governed != governed {
            return Err(Refusal::Routes);
        }
        let mut difference = Difference::between(Some(policies), next);
        if manifest.governed != before.manifest.governed {
            difference.with_other_routes();
        }
        self.approved(difference.need(), now, next)
    }

    /// Judges the gateway's own copy at a start or a reload: it must be what was activated last. A gateway that never had one
    /// takes its first from the operator, signed by the owners of all there is.
    pub(super) fn confirm(&self, governed: &str, policies: &Policies, memory: &Memory, now: Timestamp) -> Result<(ActiveBundle, bool), Refusal> {
        let manifest = &self.bundle.manifest;
        if manifest.governed != governed {
            return Err(Refusal::Routes);
        }
        let digest = self.bundle.digest();
        match memory.last(&digest)? {
            Some(known) if known.digest == digest => {
                let active = self.approved(known.need, now, policies)?;
                active.ran_out.store(known.state == State::RanOut, Ordering::Relaxed);
                Ok((active, false))
            }
            Some(known) => Err(Refusal::Foreign(known.version)),
            None if now >= manifest.expires => Err(Refusal::Expired(manifest.expires)),
            None => Ok((self.approved(Difference::need_of_first(policies), now, policies)?, true)),
        }
    }

    /// Durable on return. The signatures come first, with the old ones, so that whichever bundle a kill leaves has its own.
    pub(super) fn keep(&self) -> io::Result<()> {
        let beside = signatures_of(&self.settings.file);
        let old = fs::read_to_string(&beside).unwrap_or_default();
        replace(&beside, format!("{old}{}", self.signatures).as_bytes())?;
        replace(&self.settings.file, self.bundle.bytes())?;
        replace(&beside, self.signatures.as_bytes())
    }
}

/// The bundle that decides.
#[derive(Debug)]
pub struct ActiveBundle {
    manifest: Manifest,
    digest: String,
    need: Need,
    approvals: Approvals,
    ran_out: AtomicBool,
}

impl ActiveBundle {
    /// Once it has run out it stays so, whatever the clock says later.
    pub(super) fn has_run_out(&self, now: Timestamp) -> bool {
        if now >= self.manifest.expires {
            self.ran_out.store(true, Ordering::Relaxed);
        }
        self.ran_out.load(Ordering::Relaxed)
    }

    pub(super) const fn expires(&self) -> Timestamp {
        self.manifest.expires
    }

    pub(super) const fn version(&self) -> u64 {
        self.manifest.version
    }

    /// For those who look after policies.
    pub(super) fn document(&self, now: Timestamp) -> Value {
        let names = |departments: &mut dyn Iterator<Item = &Department>| departments.map(|department| department.as_str()).collect::<Vec<_>>();
        json!({
            "version": self.manifest.version, "bundle": self.digest, "set": self.manifest.set, "expires": self.manifest.expires.to_string(),
            "stale": self.has_run_out(now), "author": self.manifest.author, "replaces": self.manifest.replaces,
            "needed": names(&mut self.need.departments.iter()), "only_narrows": self.need.only_narrows,
            "approved_by": self.approvals.by.values().flatten().collect::<Vec<_>>(),
            "ignored": self.approvals.ignored.iter().map(|one| json!({ "key": one.fingerprint, "why": one.why })).collect::<Vec<_>>(),
        })
    }

    /// What the log says of it: departments, never people.
    pub(super) fn entry(&self) -> Entry {
        Entry::PolicyActivated {
            version: self.manifest.version,
            bundle: self.digest.clone(),
            set: self.manifest.set.clone(),
            needed: self.need.departments.iter().copied().collect(),
            only_narrows: self.need.only_narrows,
            approved: self.approvals.by.keys().copied().collect(),
        }
    }

    fn known(&self, state: State) -> Known {
        Known { version: self.manifest.version, digest: self.digest.clone(), need: self.need.clone(), state }
    }
}

/// How far an activation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Whether it took effect is said by the bundle's file.
    UnderWay,
    Active,
    /// It was active until it ran out; a clock that is set back does not change that.
    RanOut,
    /// It took no effect.
    TakenBack,
}

impl State {
    const ALL: [Self; 4] = [Self::UnderWay, Self::Active, Self::RanOut, Self::TakenBack];

    const fn as_str(self) -> &'static str {
        match self {
            Self::UnderWay => "under-way",
            Self::Active => "active",
            Self::RanOut => "ran-out",
            Self::TakenBack => "taken-back",
        }
    }
}

/// An activation as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    version: u64,
    digest: String,
    need: Need,
    state: State,
}

impl Known {
    fn of(version: u64, value: &Value) -> Option<Self> {
        let needed = value.get("needed").map_or(Some(&[][..]), |list| list.as_array().map(Vec::as_slice))?;
        let departments = needed.iter().map(|name| name.as_str().map(|name| Department(Name::intern(name)))).collect::<Option<_>>()?;
        let need = Need { departments, only_narrows: value.get("only_narrows")?.as_bool()? };
        // The log names what was about to be activated; that it failed stands in the store only.
        let state = match value.get("state") {
            None => State::Active,
            Some(word) => State::ALL.into_iter().find(|state| word == state.as_str())?,
        };
        Some(Self { version, digest: value.get("bundle")?.as_str()?.to_owned(), need, state })
    }

    fn document(&self) -> Document {
        let needed: Vec<&str> = self.need.departments.iter().map(|department| department.as_str()).collect();
        let body = json!({ "bundle": self.digest, "needed": needed, "only_narrows": self.need.only_narrows, "state": self.state.as_str() });
        // Sorted as the numbers are.
        Document { kind: KIND, key: format!("{:020}", self.version), body: Some(body.to_string()) }
    }
}

/// The activations of a gateway, by version.
#[derive(Debug)]
pub(super) struct Memory {
    ledger: Arc<Ledger>,
    known: Mutex<BTreeMap<u64, Known>>,
}

impl Memory {
    /// Of the store, and the log's newest, which an older store than before does not know. What the store says of a version counts:
    /// it is told of it before the log and after it.
    pub(super) fn open(ledger: Arc<Ledger>, log_dir: &Path) -> Result<Self, Refusal> {
        let damaged = || Refusal::Store("what is remembered of activations cannot be read".to_owned());
        let documents = ledger.documents(KIND).map_err(|error| Refusal::Store(error.to_string()))?;
        let read = |(key, body): &(String, String)| Known::of(key.parse().ok()?, &serde_json::from_str(body).ok()?);
        let stored = documents.iter().map(|document| read(document).map(|known| (known.version, known)).ok_or_else(damaged));
        let memory = Self { ledger, known: Mutex::new(stored.collect::<Result<_, _>>()?) };
        if let Some(entry) = audit::newest(log_dir, "policy_activated").map_err(|error| Refusal::Store(error.to_string()))? {
            let version = entry.value.get("version").and_then(Value::as_u64).ok_or_else(damaged)?;
            let logged = Known::of(version, &entry.value).ok_or_else(damaged)?;
            let is_known = memory.all().get(&version).is_some_and(|known| known.digest == logged.digest);
            if !is_known {
                memory.put(logged, None)?;
            }
        }
        Ok(memory)
    }

    /// The highest version that was ever activated, or may have been.
    pub(super) fn highest(&self) -> u64 {
        self.all().values().rfind(|known| known.state != State::TakenBack).map_or(0, |known| known.version)
    }

    /// The last activation, as far as it took effect: one that a kill kept from its files is taken back, one that has them is
    /// under way no longer.
    fn last(&self, found: &str) -> Result<Option<Known>, Refusal> {
        let (last, before) = {
            let all = self.all();
            let mut effective = all.values().rev().filter(|known| known.state != State::TakenBack).cloned();
            (effective.next(), effective.next().filter(|before| before.digest == found))
        };
        match (last, before) {
            (Some(last), Some(before)) if last.state == State::UnderWay && last.digest != found => {
                self.put(Known { state: State::TakenBack, ..last }, None)?;
                Ok(Some(before))
            }
            (Some(last), _) if last.state == State::UnderWay && last.digest == found => {
                let last = Known { state: State::Active, ..last };
                self.put(last.clone(), None)?;
                Ok(Some(last))
            }
            (last, _) => Ok(last),
        }
    }

    /// `key`: under which whoever repeats the request is told that it was done.
    pub(super) fn remember(&self, active: &ActiveBundle, state: State, key: Option<&IdempotencyKey>) -> Result<(), Refusal> {
        self.put(active.known(state), key)
    }

    /// Once it has run out that is kept, so that neither a reload nor a restart forgets it.
    pub(super) fn remember_end(&self, active: &ActiveBundle, now: Timestamp) -> Result<(), Refusal> {
        let ended = active.known(State::RanOut);
        let is_kept = || self.all().get(&ended.version) == Some(&ended);
        if !active.has_run_out(now) || is_kept() { Ok(()) } else { self.put(ended, None) }
    }

    fn put(&self, known: Known, key: Option<&IdempotencyKey>) -> Result<(), Refusal> {
        let detail = key.map(|_| known.version.to_string());
        let mut all = self.all();
        self.ledger.put_documents(vec![known.document()], key, detail).map_err(|error| Refusal::Store(error.to_string()))?;
        all.insert(known.version, known);
        Ok(())
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries and memory of the first bundle, which no activation brought.
pub(super) fn take_first(active: &ActiveBundle, log: &Log, memory: &Memory) -> Result<(), Refusal> {
    let written = log.append(active.entry()).and_then(audit::Pending::wait);
    written.map_err(|error| Refusal::Store(error.to_string()))?;
    memory.remember(active, State::Active, None)
}

/// `FILE.sigs`
fn signatures_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sigs");
    name.into()
}

/// Replaces a file as a whole; durable on return.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut next = path.as_os_str().to_owned();
    next.push(".next");
    let next = PathBuf::from(next);
    let mut file = File::create(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => File::open(above)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
