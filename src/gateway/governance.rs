//! Signed policy bundles: which one a gateway takes, how it keeps it, and what it never forgets.
//!
//! ```text
//! open, test -> newer? in time? replaces the active set? routes its own? -> difference -> enough signatures?
//!            -> policy_activated, durable -> remembered in the ledger, pending -> files renamed -> swapped -> no longer pending
//! ```
//!
//! INVARIANT: nothing that a bundle or a caller says replaces a check here: the difference is computed from what decides now.
//! INVARIANT: the highest version that was ever activated stands in the consent store and in the decision log; losing one of
//! them, or the bundle's files, does not lower it. After a kill between two steps either the old bundle or the new one is whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::audit::{Entry, Log, Reader};
use crate::config::{BundleSettings, Config};
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

    fn approved(&self, need: Need, now: Timestamp, known: &[&Policies]) -> Result<ActiveBundle, Refusal> {
        let vocabularies: Vec<_> = known.iter().map(|policies| &**policies.vocabulary()).collect();
        let approvals = Approvals::of(&self.bundle, &self.signatures, &self.signers, now, &vocabularies)?;
        let missing = approvals.missing(&need, usize::try_from(self.settings.departments_min).unwrap_or(usize::MAX));
        if !missing.is_nothing() {
            return Err(Refusal::Signatures(missing));
        }
        let (manifest, digest) = (self.bundle.manifest.clone(), self.bundle.digest());
        Ok(ActiveBundle { manifest, digest, need, approvals, ran_out: AtomicBool::new(false) })
    }

    /// Judges what is to take the active bundle's place. `config` is the one on disk, with the bundle's catalogue.
    pub(super) fn judge(
        &self,
        config: &Config,
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
        if manifest.governed != config.governed_hash {
            return Err(Refusal::Routes);
        }
        let mut difference = Difference::between(Some(policies), next);
        if manifest.governed != before.manifest.governed {
            difference.with_other_routes();
        }
        self.approved(difference.need(), now, &[policies, next])
    }

    /// Judges the gateway's own copy at a start or a reload: it must be what was activated last. A gateway that never had one
    /// takes its first from the operator, signed by the owners of all there is.
    pub(super) fn confirm(&self, config: &Config, policies: &Policies, memory: &Memory<'_>, now: Timestamp) -> Result<(ActiveBundle, bool), Refusal> {
        let manifest = &self.bundle.manifest;
        if manifest.governed != config.governed_hash {
            return Err(Refusal::Routes);
        }
        let digest = self.bundle.digest();
        match memory.last(&digest)? {
            Some(known) if known.digest == digest => Ok((self.approved(known.need, now, &[policies])?, false)),
            Some(known) => Err(Refusal::Foreign(known.version)),
            None if now >= manifest.expires => Err(Refusal::Expired(manifest.expires)),
            None => Ok((self.approved(Difference::need_of_first(policies), now, &[policies])?, true)),
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

    fn note(&self, pending: bool) -> Document {
        note(self.manifest.version, &self.digest, &self.need, pending)
    }
}

/// An activation as it is remembered.
struct Known {
    version: u64,
    digest: String,
    need: Need,
    pending: bool,
}

impl Known {
    fn of(version: u64, value: &Value) -> Option<Self> {
        let needed = value.get("needed").map_or(Some(&[][..]), |list| list.as_array().map(Vec::as_slice))?;
        let departments = needed.iter().map(|name| name.as_str().map(|name| Department(Name::intern(name)))).collect::<Option<_>>()?;
        let need = Need { departments, only_narrows: value.get("only_narrows")?.as_bool()? };
        let pending = value.get("pending").and_then(Value::as_bool).unwrap_or(false);
        Some(Self { version, digest: value.get("bundle")?.as_str()?.to_owned(), need, pending })
    }
}

/// Where activations are remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) log_dir: &'a Path,
}

impl Memory<'_> {
    /// The highest version that was ever activated.
    pub(super) fn highest(&self) -> Result<u64, Refusal> {
        Ok(self.all()?.last().map_or(0, |known| known.version))
    }

    /// The last activation, as far as it took effect: one that a kill kept from its files is taken back, one that has them is
    /// under way no longer.
    fn last(&self, found: &str) -> Result<Option<Known>, Refusal> {
        let mut all = self.all()?;
        let last = all.pop();
        let before = all.pop().filter(|before| before.digest == found);
        match (last, before) {
            (Some(last), Some(before)) if last.pending && last.digest != found => {
                self.put(Document { body: None, ..note(last.version, &last.digest, &last.need, true) }, None, None)?;
                Ok(Some(before))
            }
            (Some(last), _) if last.pending && last.digest == found => {
                self.put(note(last.version, &last.digest, &last.need, false), None, None)?;
                Ok(Some(last))
            }
            (last, _) => Ok(last),
        }
    }

    /// Of the store, and of the log when the store knows of none: it may be another store than before.
    fn all(&self) -> Result<Vec<Known>, Refusal> {
        let damaged = || Refusal::Store("what the store remembers of activations cannot be read".to_owned());
        let documents = self.ledger.documents(KIND).map_err(|error| Refusal::Store(error.to_string()))?;
        let read = |(key, body): &(String, String)| Known::of(key.parse().ok()?, &serde_json::from_str(body).ok()?);
        let mut all: Vec<Known> = documents.iter().map(|document| read(document).ok_or_else(damaged)).collect::<Result<_, _>>()?;
        if all.is_empty() {
            for entry in Reader::open(self.log_dir).map_err(|error| Refusal::Store(error.to_string()))? {
                let entry = entry.map_err(|error| Refusal::Store(error.to_string()))?;
                if entry.kind() == "policy_activated" {
                    let version = entry.value.get("version").and_then(Value::as_u64).ok_or_else(damaged)?;
                    all.push(Known::of(version, &entry.value).ok_or_else(damaged)?);
                }
            }
            all.sort_by_key(|known| known.version);
        }
        Ok(all)
    }

    pub(super) fn remember(&self, active: &ActiveBundle, pending: bool, key: Option<&IdempotencyKey>) -> Result<(), Refusal> {
        self.put(active.note(pending), key, key.map(|_| active.version().to_string()))
    }

    pub(super) fn forget(&self, active: &ActiveBundle) -> Result<(), Refusal> {
        self.put(Document { body: None, ..active.note(true) }, None, None)
    }

    fn put(&self, document: Document, key: Option<&IdempotencyKey>, detail: Option<String>) -> Result<(), Refusal> {
        self.ledger.put_documents(vec![document], key, detail).map_err(|error| Refusal::Store(error.to_string()))
    }
}

/// Entries and memory of the first bundle, which no activation brought.
pub(super) fn take_first(active: &ActiveBundle, log: &Log, memory: &Memory<'_>) -> Result<(), Refusal> {
    let written = log.append(active.entry()).and_then(crate::audit::Pending::wait);
    written.map_err(|error| Refusal::Store(error.to_string()))?;
    memory.remember(active, false, None)
}

fn note(version: u64, digest: &str, need: &Need, pending: bool) -> Document {
    let needed: Vec<&str> = need.departments.iter().map(|department| department.as_str()).collect();
    let body = json!({ "bundle": digest, "needed": needed, "only_narrows": need.only_narrows, "pending": pending });
    Document { kind: KIND, key: key(version), body: Some(body.to_string()) }
}

/// Sorted as the numbers are.
fn key(version: u64) -> String {
    format!("{version:020}")
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
mod tests {
    use super::*;
    use crate::audit::{LogSettings, Mode, SigningKeySource};
    use crate::clock::SystemClock;

    struct Room {
        dir: tempfile::TempDir,
        ledger: Ledger,
    }

    impl Room {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let ledger = Ledger::open(&dir.path().join("consent.db"), SystemClock::shared()).unwrap();
            crate::audit::generate_signing_key(&dir.path().join("key.pem")).unwrap();
            let settings = LogSettings {
                dir: dir.path().join("log"),
                spare_dir: None,
                origin: "gw".to_owned(),
                signing_key: SigningKeySource::Bytes(fs::read(dir.path().join("key.pem")).unwrap()),
                queue_max: 16,
                segment_bytes: 1 << 20,
                mode: Mode::Strict,
            };
            let (log, _) = Log::open(settings, SystemClock::shared()).unwrap();
            let departments = vec![Department(Name::intern("sales"))];
            let activated = Entry::PolicyActivated {
                version: 4,
                bundle: "d4".to_owned(),
                set: "s4".to_owned(),
                needed: departments.clone(),
                only_narrows: false,
                approved: departments,
            };
            log.append(activated).unwrap().wait().unwrap();
            log.close();
            Self { dir, ledger }
        }

        fn last(&self, found: &str) -> (u64, String, bool) {
            let log_dir = self.dir.path().join("log");
            let memory = Memory { ledger: &self.ledger, log_dir: &log_dir };
            let known = memory.last(found).unwrap().unwrap();
            (memory.highest().unwrap(), known.digest, known.pending)
        }

        fn put(&self, version: u64, digest: &str, pending: bool) {
            let need = Need { departments: [Department(Name::intern("sales"))].into(), only_narrows: false };
            self.ledger.put_documents(vec![note(version, digest, &need, pending)], None, None).unwrap();
        }
    }

    #[test]
    fn a_lost_store_does_not_lower_the_highest_version() {
        assert_eq!(Room::new().last("d1"), (4, "d4".to_owned(), false), "the log knows");
    }

    #[test]
    fn a_kill_during_an_activation_leaves_the_old_bundle_or_the_new_one() {
        let room = Room::new();
        room.put(9, "d9", false);
        room.put(10, "d10", true);
        assert_eq!(room.last("other"), (10, "d10".to_owned(), true), "neither of them: to be refused");
        assert_eq!(room.last("d9"), (9, "d9".to_owned(), false), "killed before its files");
        room.put(10, "d10", true);
        assert_eq!(room.last("d10").1, "d10", "killed after its files");
        assert_eq!(room.last("d9"), (10, "d10".to_owned(), false), "from then on the old one is refused");
    }
}
