//! The room's tests, on a small catalogue and a ledger in a temporary folder. All persons are made up.

mod conflicts;
mod contested;
mod deciding;
mod floor;
mod import;
mod judging;
mod merge;
mod notices;
mod once;
mod organisations;
mod ranks;
mod reference;
mod replay;
mod snapshots;
mod states;
mod storage;
mod suspicions;
mod tale;
mod times;
mod traps;
mod uses;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::clock::{Clock, ManualClock};
use crate::model::{
    Author, Capture, Category, CategoryInfo, Channel, Client, ConflictRule, ConsentRules, ConsentStatus, Department, DepartmentInfo, Identifier,
    LawfulBasis, Purpose, PurposeInfo, Segment, Sensitivity, Space, Term, Vocabulary,
};

use super::preview::Effect;
use super::store::failing::{FailingStore, Switch};
use super::*;

/// What makes a draft or a file unfit, with its reason.
pub(super) type Spoil<T> = (&'static str, fn(&mut T));
type Node = (&'static str, &'static [&'static str], &'static [&'static str], Option<Channel>);

pub(super) const CENTRE: &str = "preference-centre";

pub(super) fn purpose(text: &str) -> Purpose {
    Purpose::intern(text)
}

pub(super) fn category(text: &str) -> Category {
    Category::intern(text)
}

pub(super) fn department(text: &str) -> Department {
    Department::intern(text)
}

pub(super) fn id(text: &str) -> Identifier {
    let (space, value) = text.split_once(':').unwrap();
    Identifier { space: Space::intern(space), value: value.to_owned() }
}

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn vocabulary() -> Arc<Vocabulary> {
    let mut vocabulary = Vocabulary::default();
    let tree: [Node; 10] = [
        ("marketing", &[], &[], None),
        ("marketing.email", &["marketing"], &["marketing"], Some(Channel::Email)),
        ("marketing.phone", &["marketing"], &["marketing"], Some(Channel::Phone)),
        ("profiling", &[], &[], None),
        ("marketing.personalised", &["marketing", "profiling"], &["marketing", "profiling"], None),
        ("sales", &[], &[], None),
        ("sales.outreach", &["sales"], &["sales"], None),
        ("service-provision", &[], &[], None),
        ("legal-compliance", &[], &[], None),
        ("third-party-sharing", &[], &[], None),
    ];
    for (name, parents, above, channel) in tree {
        let parents = parents.iter().map(|p| purpose(p)).collect();
        let ancestors = above.iter().chain([&name]).map(|p| purpose(p)).collect();
        vocabulary.purposes.insert(purpose(name), PurposeInfo { channel, parents, ancestors, ..PurposeInfo::default() });
    }
    let parts: [(&str, &[&str]); 5] =
        [("contact", &["profile", "all-data"]), ("profile", &["all-data"]), ("all-data", &[]), ("behaviour", &[]), ("order", &[])];
    for (name, above) in parts {
        let info = CategoryInfo {
            owner: department("marketing"),
            contributors: vec![],
            sensitivity: Sensitivity::Ordinary,
            parents: above.first().map(|whole| category(whole)).into_iter().collect(),
            ancestors: above.iter().chain([&name]).map(|c| category(c)).collect(),
            term: Term::default(),
        };
        vocabulary.categories.insert(category(name), info);
    }
    for name in ["marketing", "sales", "finance"] {
        vocabulary.departments.insert(department(name), DepartmentInfo { active: true });
    }
    Arc::new(vocabulary)
}

pub(super) fn rules() -> ConsentRules {
    ConsentRules {
        rule: ConflictRule::CustomerLastWord,
        rules: BTreeMap::from([(purpose("third-party-sharing"), ConflictRule::MostRestrictive)]),
        clock_skew_s: 60,
        sources: vec![],
        double_opt_in: vec![],
        default_segment: Segment::Standard,
    }
}

fn captures() -> Vec<Capture> {
    vec![Capture {
        client: Client::intern(CENTRE),
        channels: vec![Channel::Email, Channel::System],
        purposes: ["marketing", "sales", "third-party-sharing"].map(purpose).to_vec(),
        authors: vec![Author::Customer, Author::Guardian],
        evidence: vec!["form-hash".to_owned(), "notice".to_owned()],
    }]
}

/// A ledger with customer `crm:1` = `email:ann@example.org`, at noon.
pub(super) struct Bench {
    pub(super) dir: TempDir,
    pub(super) clock: Arc<ManualClock>,
    pub(super) switch: Switch,
    pub(super) ledger: Ledger,
    pub(super) vocabulary: Arc<Vocabulary>,
}

pub(super) fn bench() -> Bench {
    let bench = empty_bench();
    let report = bench.import("identifiers,stage\ncrm:1 email:ann@example.org,lead\n");
    assert_eq!(report.errors, []);
    bench
}

pub(super) fn empty_bench() -> Bench {
    // Durability is tested by reopening, not by pulling the plug: memory is good enough for a disk and much faster.
    let dir = if Path::new("/dev/shm").is_dir() { TempDir::new_in("/dev/shm") } else { TempDir::new() }.unwrap();
    let clock = ManualClock::at(time("2026-03-01T12:00:00Z"));
    let switch = Switch::default();
    let ledger = open(dir.path(), &clock, &switch);
    Bench { dir, clock, switch, ledger, vocabulary: vocabulary() }
}

fn open(dir: &Path, clock: &Arc<ManualClock>, switch: &Switch) -> Ledger {
    let store = FailingStore { inner: SqliteStore::open(&dir.join("consent.db")).unwrap(), switch: switch.clone() };
    let ledger = Ledger::open_with(Box::new(store), Arc::clone(clock) as Arc<dyn Clock>, None).unwrap();
    ledger.adopt(vocabulary(), rules(), captures()).unwrap();
    ledger
}

impl Bench {
    /// A second ledger over the same file, as after a restart.
    pub(super) fn reopened(&self) -> Ledger {
        open(self.dir.path(), &self.clock, &Switch::default())
    }

    pub(super) fn import(&self, text: &str) -> ImportReport {
        self.ledger.import_parties(text.as_bytes(), false, &normalise, &mut |_| {}, None).unwrap()
    }

    pub(super) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A customer's statement as the preference centre hands it in, made now, with evidence, for all categories and recipients.
    pub(super) fn draft(&self, who: &str, about: &str, state: State) -> EventDraft {
        let mut draft = EventDraft::new(id(who), purpose(about), state);
        draft.event_time = Some(self.now());
        draft.evidence = evidence();
        if state.opens() {
            draft.scope.categories = self.vocabulary.categories.keys().copied().collect();
            draft.scope.recipients = self.vocabulary.departments.keys().copied().collect();
        }
        draft
    }

    pub(super) fn say(&self, who: &str, about: &str, state: State) -> Acknowledged {
        self.record(self.draft(who, about, state)).unwrap()
    }

    pub(super) fn record(&self, draft: EventDraft) -> Result<Acknowledged, ConsentError> {
        self.ledger.record(draft, &centre())
    }

    /// What an event would do to the gate.
    pub(super) fn preview(&self, draft: EventDraft, caller: &Capturer) -> Result<Effect, ConsentError> {
        let (adopted, at) = (self.ledger.adopted()?, self.ledger.record_time());
        Ok(self.ledger.preview(Statement::Consent(Box::new(draft)), caller, &adopted, at)?.1.effect)
    }

    pub(super) fn stop(&self, who: &str, kind: StopKind) -> Acknowledged {
        let mut draft = StopDraft::new(id(who), kind);
        draft.event_time = Some(self.now());
        draft.evidence = evidence();
        self.ledger.add_stop(draft, &centre()).unwrap()
    }

    /// The state for marketing's use of the contact data.
    pub(super) fn state(&self, who: &str, about: &str) -> State {
        self.effective(who, about).state
    }

    pub(super) fn status(&self, who: &str, about: &str) -> ConsentStatus {
        self.effective(who, about).status
    }

    pub(super) fn effective(&self, who: &str, about: &str) -> Effective {
        let standing = self.ledger.standing(&id(who)).unwrap().expect("a known customer");
        let channel = self.vocabulary.channel(purpose(about));
        standing.status(&self.vocabulary, &rules(), purpose(about), category("contact"), department("marketing"), channel)
    }

    pub(super) fn floor(&self, who: &str, about: &str, basis: LawfulBasis) -> Result<(), &'static str> {
        let standing = self.ledger.standing(&id(who)).unwrap().expect("a known customer");
        let channel = self.vocabulary.channel(purpose(about));
        floor(&standing.profile, &self.vocabulary, &rules(), purpose(about), basis, category("contact"), channel)
    }
}

pub(super) fn centre() -> Capturer {
    Capturer::Client(Client::intern(CENTRE))
}

pub(super) fn staff() -> Capturer {
    Capturer::Staff { pseudonym: "e-17".to_owned() }
}

pub(super) fn evidence() -> BTreeMap<String, String> {
    BTreeMap::from([("form-hash".to_owned(), "sha256:77aa".to_owned()), ("notice".to_owned(), "n-4".to_owned())])
}

pub(super) fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

/// The grammar of the tests' id spaces: lower case, digits for `crm`.
pub(super) fn normalise(space: &str, value: &str) -> Result<Identifier, String> {
    match space {
        "crm" if !value.is_empty() && value.chars().all(|c| c.is_ascii_digit()) => Ok(id(&format!("crm:{value}"))),
        "email" if value.contains('@') => Ok(id(&format!("email:{}", value.to_lowercase()))),
        "crm" | "email" => Err(format!("the value does not match the grammar of `{space}`")),
        _ => Err(format!("unknown id space `{space}`")),
    }
}
