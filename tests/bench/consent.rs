//! The crosswalk and the consent projection, up to ten million customers with three ids and six purposes each, and taking
//! events in. At that size the store is one that makes its customers up when asked: what is measured is what is read from it.

#![expect(clippy::print_stdout, reason = "figures that criterion has no measure for")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use consentry::clock::{Clock, SystemClock};
use consentry::consent::{
    Answered, Assurance, Batch, Capturer, Change, ConflictFilter, Consent, Dossier, Event, EventDraft, Head, ImportFormat, ImportOptions,
    ImportPiece, Ledger, LinkRow, Method, PartyKind, PartyRow, Registers, Scope, State, Store, StoreError, Surroundings, What, Written,
};
use consentry::model::{Author, Channel, Client, EventId, Identifier, PartyNo, Purpose, Revision, Space, Vocabulary};
use consentry::policy::Policies;
use criterion::Criterion;
use jiff::Timestamp;

pub fn bench(c: &mut Criterion) {
    lookup(c, "consent/lookup/1m", 1_000_000);
    // Some two minutes until it is made up, and 1.5 GB.
    lookup(c, "consent/lookup/10m", 10_000_000);
    c.bench_function("consent/apply_event", |b| {
        let folder = tempfile::tempdir_in("target").unwrap();
        let (ledger, policies) = small(folder.path(), 1000);
        let vocabulary = policies.vocabulary();
        let mut at = (0..1000).cycle();
        b.iter(|| {
            let mut draft = EventDraft::new(crm(at.next().unwrap()), Purpose::intern("sales.outreach"), State::Given);
            draft.evidence = [("form-hash", "sha256:bench"), ("notice", "bench-1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            draft.scope.categories = vocabulary.categories.keys().copied().collect();
            draft.scope.recipients = vocabulary.departments.keys().copied().collect();
            ledger.record(draft, &centre()).unwrap()
        });
    });
    c.bench_function("consent/import/60k", |b| b.iter_custom(|rounds| (0..rounds).map(|_| import()).sum()));
}

fn lookup(c: &mut Criterion, name: &str, customers: u64) {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if wanted.is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let customers = if crate::is_smoke() { customers / 100 } else { customers };
    let folder = tempfile::tempdir_in("target").unwrap();
    let policies = Policies::load(crate::policies()).unwrap();
    let kept = folder.path().join("snapshot");
    let open = || {
        let made_up = MadeUp { customers, vocabulary: Arc::clone(policies.vocabulary()) };
        let ledger = Ledger::open_with(Box::new(made_up), SystemClock::shared(), Some(kept.clone())).unwrap();
        ledger.adopt(Arc::clone(policies.vocabulary()), policies.consent_rules().clone(), policies.captures().to_vec()).unwrap();
        ledger
    };
    let (before, start) = (resident(), now());
    let ledger = open();
    println!("{name}: {customers} customers read one by one in {:.1} s", (now() - start).as_secs_f64());
    println!("{name}: {} bytes a customer resident", resident().saturating_sub(before) / customers);
    let start = now();
    ledger.write_snapshot().unwrap();
    println!("{name}: snapshot of {} MiB written in {:.1} s", kept.metadata().unwrap().len() >> 20, (now() - start).as_secs_f64());
    drop(ledger);
    let start = now();
    let ledger = open();
    let took = (now() - start).as_secs_f64();
    println!("{name}: started from the snapshot in {took:.1} s, {} bytes a customer resident", resident().saturating_sub(before) / customers);
    let ns = random_read(resident().saturating_sub(before)).as_secs_f64() * 1e9;
    println!("{name}: one read of memory somewhere among as much takes {ns:.0} ns; a look-up waits for two, one after the other");
    let start = now();
    let (mut found, mut after) = (0, Some(PartyNo(0)));
    while let Some(from) = after {
        let page = ledger.conflicts(&ConflictFilter::default(), Some(from), 10_000).unwrap();
        (found, after) = (found + page.conflicts.len(), page.next);
    }
    println!("{name}: {found} conflicts found among all in {:.2} s", (now() - start).as_secs_f64());
    // A prime stride, so that neither keys nor rows are found in the cache; the ids asked for are, as they are when a request was
    // just read.
    let mut at = (0..).map(|n: u64| id(n * 7_368_787 % customers + 1, n % 3));
    c.bench_function(name, |b| {
        b.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            let mut left = usize::try_from(rounds).unwrap();
            while left > 0 {
                let asked: Vec<Identifier> = at.by_ref().take(left.min(256)).collect();
                left -= asked.len();
                let start = now();
                for id in &asked {
                    assert!(ledger.standing(black_box(id)).unwrap().is_some());
                }
                took += now() - start;
            }
            took
        });
    });
}

/// Taking in ten thousand customers with six events each, durably: from the first byte of NDJSON to the last acknowledgement.
fn import() -> Duration {
    let customers = if crate::is_smoke() { 100 } else { 10_000 };
    let folder = tempfile::tempdir_in("target").unwrap();
    let (ledger, policies) = small(folder.path(), customers);
    let purposes = ["marketing.email", "sales.outreach", "service-provision.support", "marketing", "sales", "third-party-sharing"];
    let mut lines = String::new();
    for n in 0..customers {
        for (p, purpose) in purposes.iter().enumerate() {
            writeln!(
                lines,
                r#"{{"party":"crm:{n:07}","state":"{}","purposes":["{purpose}"],"event_time":"2026-0{}-11T10:00:00Z","channel":"email","evidence":[{{"kind":"form-hash","reference":"sha256:{n:x}"}},{{"kind":"notice","reference":"n-4"}}],"categories":["contact","identity"],"recipients":["marketing","sales"]}}"#,
                if (n + u32::try_from(p).unwrap()) % 3 == 0 { "withdrawn" } else { "given" },
                p + 1
            )
            .unwrap();
        }
    }
    let identify = |space: &str, value: &str| Ok(Identifier { space: Space::intern(space), value: value.to_owned() });
    let around = Surroundings { normalise: &identify, activities: &[] };
    let options = ImportOptions::new(ImportFormat::Ndjson);
    let caller = Capturer::Staff { pseudonym: "e_bench".to_owned() };
    let (start, mut done) = (now(), 0);
    let records: Vec<&str> = lines.split_inclusive('\n').collect();
    for (n, piece) in records.chunks(5000).enumerate() {
        let bytes = piece.concat();
        let length = u64::try_from(bytes.len()).unwrap();
        let piece =
            ImportPiece { bytes: bytes.as_bytes(), line: u64::try_from(n).unwrap() * 5000 + 1, offset: done, length, key: "bench", is_array: false };
        let report = ledger.import_consents(&piece, &options, &around, &caller, false).unwrap();
        assert!(report.errors.is_empty(), "{:?}", report.errors.first());
        done += length;
    }
    let took = now() - start;
    println!("consent/import: {} events, {:.0} a second", records.len(), f64::from(customers) * 6.0 / took.as_secs_f64());
    drop(policies);
    took
}

fn centre() -> Capturer {
    Capturer::Client(Client::intern("preference-centre"))
}

fn crm(n: u32) -> Identifier {
    Identifier { space: Space::intern("crm"), value: format!("{n:07}") }
}

/// A ledger on disk that knows so many customers.
fn small(folder: &Path, customers: u32) -> (Ledger, Policies) {
    let policies = Policies::load(crate::policies()).unwrap();
    let ledger = Ledger::open(&folder.join("consent.db"), SystemClock::shared()).unwrap();
    ledger.adopt(Arc::clone(policies.vocabulary()), policies.consent_rules().clone(), policies.captures().to_vec()).unwrap();
    let mut rows = "identifiers,stage\n".to_owned();
    for n in 0..customers {
        writeln!(rows, "crm:{n:07},customer").unwrap();
    }
    let identify = |space: &str, value: &str| Ok(Identifier { space: Space::intern(space), value: value.to_owned() });
    let report = ledger.import_parties(rows.as_bytes(), false, &identify, &mut |_| {}, None).unwrap();
    assert_eq!(u64::from(customers), report.created);
    (ledger, policies)
}

/// One of the three ids of a customer: a number in the CRM, a number in sales, an e-mail address.
pub fn id(customer: u64, which: u64) -> Identifier {
    let (space, value) = match which {
        0 => ("crm", format!("{customer:08}")),
        1 => ("cpq", format!("Q-{customer:08}")),
        _ => ("email", format!("person{customer:08}@example.org")),
    };
    Identifier { space: Space::intern(space), value }
}

/// On a clock that is not set.
fn now() -> Duration {
    static CLOCK: LazyLock<Arc<dyn Clock>> = LazyLock::new(SystemClock::shared);
    CLOCK.monotonic()
}

/// Resident memory of this process, bytes (proc(5)).
pub(super) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|rest| rest.trim().split(' ').next());
    line.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// How long a read takes whose place is known from the read before, anywhere in so many bytes.
fn random_read(bytes: u64) -> Duration {
    const READS: u32 = 1_000_000;
    let lines = u32::try_from(bytes / 64).unwrap().max(64);
    let mut next: Vec<[u32; 16]> = (0..lines).map(|n| [n; 16]).collect();
    // One cycle through all of them (Sattolo).
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for n in (1..lines).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let other = u32::try_from((seed >> 33) % u64::from(n)).unwrap();
        next.swap(usize::try_from(n).unwrap(), usize::try_from(other).unwrap());
    }
    let mut at = 0;
    let start = now();
    for _ in 0..READS {
        at = next.get(usize::try_from(at).unwrap()).unwrap()[0];
    }
    black_box(at);
    (now() - start) / READS
}

/// A store whose customers are made up when they are asked for; nothing is written.
#[derive(Debug)]
pub struct MadeUp {
    pub customers: u64,
    pub vocabulary: Arc<Vocabulary>,
}

impl MadeUp {
    fn event(&self, customer: u64, which: u64, purpose: &str) -> Event {
        let revision = self.customers + customer * 6 + which;
        // Who said what when differs from customer to customer.
        let mixed = customer.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let state = match mixed >> (2 * which) & 3 {
            0 => State::Withdrawn,
            1 => State::Refused,
            _ => State::Given,
        };
        let event_time =
            Timestamp::from_second(1_770_000_000 + i64::try_from((mixed.wrapping_mul(which + 7)) % 5 * 86_400 + which).unwrap()).unwrap();
        Event {
            id: EventId(revision),
            revision: Revision(revision),
            identifier: id(customer, which % 3),
            event_time: Some(event_time),
            record_time: event_time,
            channel: Channel::Email,
            captured_by: "client:preference-centre".to_owned(),
            method: Method::Expressed,
            author: Author::Customer,
            evidence: [("form-hash".to_owned(), "sha256:bench".to_owned())].into(),
            // Of one customer in a thousand two systems have a say.
            source_system: if mixed.is_multiple_of(997) && which == 3 { "crm" } else { "preference-centre" }.to_owned(),
            what: What::Consent(Consent {
                purposes: vec![Purpose::intern(purpose)],
                activity: None,
                notice: None,
                state,
                scope: Scope {
                    categories: self.vocabulary.categories.keys().copied().take(3).collect(),
                    recipients: self.vocabulary.departments.keys().copied().take(2).collect(),
                    channels: vec![],
                },
                expires: None,
                until: None,
                uses: None,
                about: None,
            }),
        }
    }

    fn make_up(&self, customer: u64) -> Dossier {
        let no = PartyNo(customer);
        let link = |which: u64| LinkRow {
            identifier: id(customer, which),
            party: no,
            group: no,
            assurance: Assurance::Asserted,
            grants_after: Revision(0),
            source: "import".to_owned(),
            from: Revision(customer),
            from_time: Timestamp::UNIX_EPOCH,
            to: None,
        };
        let purposes = ["marketing.email", "sales.outreach", "service-provision", "marketing", "sales", "third-party-sharing"];
        let events: Vec<(u64, Event)> = (0..6).zip(purposes).map(|(which, purpose)| (which % 3, self.event(customer, which, purpose))).collect();
        let revision = Revision(self.customers + customer * 6 + 5);
        let party = PartyRow { no, kind: PartyKind::Person, revision, merged_into: None, is_erased: false };
        Dossier::new(party, (0..3).map(|which| (which, link(which))).collect(), vec![], &events)
    }

    fn revision(&self) -> Revision {
        Revision(self.customers * 7 + 5)
    }
}

fn read_only<T>() -> Result<T, StoreError> {
    Err(StoreError::Database("made up".to_owned()))
}

impl Store for MadeUp {
    fn head(&self) -> Result<Head, StoreError> {
        Ok(Head { id: "made-up".to_owned(), revision: self.revision(), key: [7; 32] })
    }

    fn dossiers(&self, after: Revision, sink: &mut dyn FnMut(Dossier) -> Result<(), StoreError>) -> Result<(), StoreError> {
        if after >= self.revision() {
            return Ok(());
        }
        (1..=self.customers).try_for_each(|customer| sink(self.make_up(customer)))
    }

    fn registers(&self, _erased_after: Revision) -> Result<Registers, StoreError> {
        Ok(Registers::default())
    }

    fn dossiers_of(&self, parties: &[PartyNo], sink: &mut dyn FnMut(Dossier) -> Result<(), StoreError>) -> Result<(), StoreError> {
        parties.iter().try_for_each(|party| sink(self.make_up(party.0)))
    }

    fn links_of(&self, _identifier: &Identifier) -> Result<Vec<(u64, LinkRow)>, StoreError> {
        read_only()
    }

    fn merged_into(&self, _party: PartyNo, _known: Revision) -> Result<Option<PartyNo>, StoreError> {
        read_only()
    }

    fn commit(&self, _batch: &Batch) -> Result<(), StoreError> {
        read_only()
    }

    fn answered(&self, _caller: &str, _key: &str, _not_before: Timestamp) -> Result<Option<Answered>, StoreError> {
        read_only()
    }

    fn events(&self, _identifiers: &[Identifier]) -> Result<Vec<Event>, StoreError> {
        read_only()
    }

    fn event(&self, _id: EventId) -> Result<Option<Event>, StoreError> {
        read_only()
    }

    fn known(&self, _events: &[&Written]) -> Result<Vec<Option<EventId>>, StoreError> {
        read_only()
    }

    fn due(&self, _by: Timestamp, _limit: usize) -> Result<Vec<(EventId, Identifier)>, StoreError> {
        Ok(vec![])
    }

    fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    fn of_age(&self, _by: Timestamp, _limit: usize) -> Result<Vec<PartyNo>, StoreError> {
        Ok(vec![])
    }

    fn revision_at(&self, _time: Timestamp) -> Result<Revision, StoreError> {
        read_only()
    }

    fn unlinked(&self) -> Result<Vec<(Space, u64)>, StoreError> {
        Ok(vec![])
    }

    fn holds(&self, _revision: Revision) -> Result<bool, StoreError> {
        read_only()
    }

    fn changes(&self, _after: Revision, _limit: usize) -> Result<Vec<Change>, StoreError> {
        Ok(vec![])
    }

    fn pending_changes(&self, _after: Revision, _limit: usize) -> Result<Vec<Change>, StoreError> {
        Ok(vec![])
    }

    fn logged(&self) -> Result<Revision, StoreError> {
        Ok(self.revision())
    }

    fn mark_logged(&self, _up_to: Revision) -> Result<(), StoreError> {
        read_only()
    }

    fn documents(&self, _kind: &str) -> Result<Vec<(String, String)>, StoreError> {
        Ok(vec![])
    }

    fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
