//! The crosswalk and the consent projection.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use consentry::clock::SystemClock;
use consentry::consent::{Capturer, EventDraft, Ledger, State};
use consentry::model::{Client, Identifier, Purpose, Space};
use consentry::policy::Policies;
use criterion::Criterion;

pub fn bench(c: &mut Criterion) {
    c.bench_function("consent/lookup/1m", |b| {
        let (folder, customers) = (tempfile::tempdir().unwrap(), if crate::is_smoke() { 100_000 } else { 1_000_000 });
        let (ledger, _) = ledger(folder.path(), customers);
        let ids: Vec<Identifier> = (0..customers).step_by(997).map(id).collect();
        let mut at = ids.iter().cycle();
        b.iter(|| assert!(ledger.standing(black_box(at.next().unwrap())).unwrap().is_some()));
    });
    c.bench_function("consent/apply_event", |b| {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, policies) = ledger(folder.path(), 1000);
        let vocabulary = policies.vocabulary();
        let centre = Capturer::Client(Client::intern("preference-centre"));
        let mut at = (0..1000).cycle();
        b.iter(|| {
            let mut draft = EventDraft::new(id(at.next().unwrap()), Purpose::intern("sales.outreach"), State::Given);
            draft.evidence = [("form-hash", "sha256:bench"), ("notice", "bench-1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            draft.scope.categories = vocabulary.categories.keys().copied().collect();
            draft.scope.recipients = vocabulary.departments.keys().copied().collect();
            ledger.record(draft, &centre).unwrap()
        });
    });
}

fn id(n: u32) -> Identifier {
    Identifier { space: Space::intern("crm"), value: format!("{n:07}") }
}

/// A ledger that knows so many customers.
fn ledger(folder: &Path, customers: u32) -> (Ledger, Policies) {
    let policies = Policies::load(crate::policies()).unwrap();
    let ledger = Ledger::open(&folder.join("consent.db"), SystemClock::shared()).unwrap();
    ledger.adopt(Arc::clone(policies.vocabulary()), policies.consent_rules().clone(), policies.captures().to_vec());
    let mut rows = "identifiers,stage\n".to_owned();
    for n in 0..customers {
        writeln!(rows, "crm:{n:07},customer").unwrap();
    }
    let identify = |space: &str, value: &str| Ok(Identifier { space: Space::intern(space), value: value.to_owned() });
    let report = ledger.import_parties(rows.as_bytes(), false, &identify, &mut |_| {}).unwrap();
    assert_eq!(u64::from(customers), report.created);
    (ledger, policies)
}
