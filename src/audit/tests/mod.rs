//! The log as a whole, on a real directory.

mod bounded;
mod double;
mod entries;
mod export;
mod faults;
mod index;
mod past;
mod prune;
mod recovery;
mod rotation;
mod sealing;
mod tamper;
mod texts;
mod tiles;
mod witness;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::model::{
    Action, ActivityKey, Age, ApiName, Category, CategoryVerdict, Channel, Client, ConflictRule, ConsentStatus, Department, Environment, EventId,
    Grounds, LawfulBasis, PartyFacts, PartyNo, PolicyName, Purpose, Release, Revision, Role, RouteKey, Segment, Stage, Verdicts, Whom, Why,
};
use double::FaultyDisk;

const ORIGIN: &str = "gw-test.example.com";
const START: i64 = 1_780_000_000;

fn clock() -> Arc<ManualClock> {
    ManualClock::at(Timestamp::from_second(START).unwrap())
}

fn settings(dir: &Path) -> LogSettings {
    LogSettings {
        dir: dir.to_owned(),
        spare_dir: None,
        origin: ORIGIN.to_owned(),
        signing_key: SigningKeySource::Bytes(vec![7; 32]),
        previous_key: None,
        queue_max: 1_000,
        segment_bytes: segment::SEGMENT_BYTES_MIN,
        mode: Mode::Strict,
        // Tests that are about it do it themselves.
        seal: false,
    }
}

/// A log in a directory of its own.
struct Setup {
    root: TempDir,
    clock: Arc<ManualClock>,
    disk: Arc<FaultyDisk>,
    settings: LogSettings,
}

impl Setup {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let settings = settings(&root.path().join("log"));
        Self { root, clock: clock(), disk: Arc::new(FaultyDisk::default()), settings }
    }

    /// In memory, where there is such a folder: for logs of which much is written and nothing is timed.
    fn quick() -> Self {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let settings = settings(&root.path().join("log"));
        Self { root, clock: clock(), disk: Arc::new(FaultyDisk::default()), settings }
    }

    fn bounded(max_ms: u32, max_records: u32) -> Self {
        let mut setup = Self::new();
        setup.settings.mode = Mode::Bounded(Bounds { max_ms, max_records });
        setup
    }

    fn with_spare() -> Self {
        let mut setup = Self::new();
        setup.settings.spare_dir = Some(setup.root.path().join("spare"));
        setup
    }

    fn dir(&self) -> PathBuf {
        self.settings.dir.clone()
    }

    fn try_open(&self) -> Result<(Log, Recovery), AuditError> {
        let clock: Arc<dyn Clock> = self.clock.clone();
        Log::open_on(self.disk.clone(), self.settings.clone(), clock, log::Before::Known)
    }

    fn open(&self) -> Log {
        self.try_open().unwrap().0
    }

    fn verify(&self) -> VerifyReport {
        verify(&self.dir(), None).unwrap_or_else(|e| panic!("{e}"))
    }

    /// What a power cut or kill would leave: the files as they are now, elsewhere.
    fn image(&self) -> Self {
        let mut image = Self { clock: self.clock.clone(), ..Self::quick() };
        image.settings.segment_bytes = self.settings.segment_bytes;
        copy(&self.dir(), &image.dir());
        image
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match std::fs::copy(entry.path(), to.join(entry.file_name())) {
            // A file in waiting that got its name meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied.unwrap()),
        }
    }
}

/// Whether something of a segment that could not be written anew is still there. The log makes its next files at any time.
fn has_left_over(dir: &Path) -> bool {
    let names = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    names.into_iter().any(|name| name.starts_with("segment-") && name.ends_with(".new"))
}

fn wait_until_signed(log: &Log) {
    while log.metrics().checkpoint_size < log.metrics().entries {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The newest segment.
fn last_segment(dir: &Path) -> PathBuf {
    segment::list(&[dir.to_owned()]).unwrap().pop().unwrap().path
}

fn facts() -> Arc<DecisionFacts> {
    Arc::new(DecisionFacts {
        rid: 17,
        traceparent: Some([0xab; 16]),
        app: Client::intern("crm"),
        department: Department::intern("sales"),
        actor: Some("e_5b21".to_owned()),
        agent: None,
        action: Action::Read,
        api: ApiName::intern("crm"),
        route: RouteKey::intern("GET /customers/{id}"),
        purpose: Some(Purpose::intern("sales.outreach")),
        policy_set: "3f9a21".into(),
        policies: "81c07d".into(),
        now: Timestamp::from_second(START).unwrap(),
        generation: 7,
        consent_revision: Revision(19),
        environment: Environment::Production,
        channel: Channel::Email,
        gpc: false,
        roles: vec![Role::intern("sales-rep")],
        mandate: None,
        grant: None,
        justification: None,
    })
}

fn verdict(category: &str, release: Release, event: Option<u64>) -> CategoryVerdict {
    CategoryVerdict {
        category: Category::intern(category),
        release,
        why: if release == Release::Withheld { Why::Forbidden } else { Why::Permitted },
        policies: vec![PolicyName::intern("share-with-consent")],
        basis: LawfulBasis::Consent,
        activity: Some((ActivityKey::intern("sales-outreach"), 3)),
        status: if release == Release::Withheld { ConsentStatus::Withdrawn } else { ConsentStatus::Given },
        event: event.map(EventId),
        overridden: Vec::new(),
        rule: ConflictRule::CustomerLastWord,
        conflict: false,
        grounds: None,
    }
}

/// A verdict as the gateway makes it, with all that it was judged on.
pub(super) fn judged(category: &str, release: Release) -> CategoryVerdict {
    let grounds = Grounds {
        whom: Whom::Known,
        action: Action::Read,
        explicit: true,
        gpc: true,
        records: Some(500),
        masked: true,
        closed_for: vec![LawfulBasis::LegitimateInterest, LawfulBasis::PublicTask],
        reading: 0x0123_4567_89ab_cdef,
        task: None,
        for_customer: None,
        customers: Some(1),
        emergency: false,
    };
    CategoryVerdict { grounds: Some(grounds), ..verdict(category, release, None) }
}

fn group(parties: &[u64], outcome: Outcome, verdicts: Vec<CategoryVerdict>) -> Group {
    Group {
        parties: parties.iter().copied().map(PartyNo).collect(),
        unknown: 0,
        outcome,
        verdicts: Arc::new(Verdicts::new(verdicts)),
        facts: Some(PartyFacts { stage: Stage::Lead, segment: Segment::Standard, age: Age::Adult, legal_hold: false }),
    }
}

fn permit(party: u64) -> Entry {
    Entry::Permit { facts: facts(), groups: vec![group(&[party], Outcome::Permit, vec![verdict("contact", Release::Full, Some(1))])] }
}

fn deny(party: u64) -> Entry {
    let groups = vec![group(&[party], Outcome::Deny, vec![verdict("contact", Release::Withheld, Some(2))])];
    Entry::Deny { facts: facts(), of: None, status: 403, code: "denied", groups, paths: Vec::new() }
}

fn end(of: u64) -> Entry {
    Entry::End { of, status: 200, bytes: 512, rows: 1, complete: true, latency_us: 900 }
}

/// The clock of a test may go on while the writer is about to say that it is done, which looks like a slow disk.
#[expect(clippy::needless_pass_by_value, reason = "whoever calls it makes the entry on the spot")]
fn record(log: &Log, entry: Entry) -> u64 {
    loop {
        match log.append(entry.clone()).and_then(Pending::wait) {
            Err(AuditError::Slow) => std::thread::sleep(Duration::from_millis(1)),
            other => return other.unwrap().index(),
        }
    }
}

/// One of each, however slow the writer is.
fn record_all(log: &Log, parties: Range<u64>) {
    for party in parties {
        while let Err(error) = log.append_unwaited(permit(party)) {
            assert!(matches!(error, AuditError::QueueFull), "{error}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// By an index that is built for it.
fn search(dir: &Path, query: &Query) -> Result<Vec<Found>, IndexError> {
    let elsewhere = tempfile::tempdir().unwrap();
    let index = Index::open(dir, elsewhere.path())?;
    index.catch_up(u64::MAX, |_| ())?;
    Ok(index.search(query)?.decisions)
}

fn read(dir: &Path) -> Vec<Logged> {
    Reader::open(dir).unwrap().map(Result::unwrap).collect()
}

fn kinds(dir: &Path) -> Vec<String> {
    read(dir).iter().map(|l| l.kind().to_owned()).collect()
}
