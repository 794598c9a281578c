//! One question put to plain Cedar over the scope slice.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::Path;

use consentry::model::{Action, Age, Caller, Category, Environment, LawfulBasis, Particulars, PartyFacts, Purpose, Question, Segment, Stage};
use consentry::model::{Client, ClientKind, ConsentStatus, Department};
use consentry::policy::Policies;
use criterion::Criterion;
use jiff::Timestamp;

pub fn bench(c: &mut Criterion) {
    c.bench_function("decision/plain/shipped", |b| {
        let policies = Policies::load(crate::policies()).unwrap();
        b.iter(|| decide(&policies));
    });
    c.bench_function("decision/plain/1000", |b| {
        let folder = tempfile::tempdir().unwrap();
        with_agreements(folder.path(), 1000);
        let policies = Policies::load(folder.path()).unwrap();
        assert!(policies.policies().len() >= 1000);
        b.iter(|| decide(&policies));
    });
}

/// A department reads another's data with consent.
fn decide(policies: &Policies) {
    let caller = Caller { client: Client::intern("crm"), kind: ClientKind::Application, department: Department::intern("sales"), employee: None };
    let purpose = Purpose::intern("sales.outreach");
    let decided = policies.evaluate(&Question {
        caller: black_box(&caller),
        action: Action::Read,
        category: Category::intern("contact"),
        purpose,
        basis: LawfulBasis::Consent,
        status: ConsentStatus::Given,
        explicit: false,
        party: PartyFacts { stage: Stage::Opportunity, segment: Segment::Standard, age: Age::Adult, legal_hold: false },
        channel: policies.vocabulary().channel(purpose),
        environment: Environment::Production,
        gpc: false,
        records: None,
        now: Timestamp::UNIX_EPOCH,
        particulars: Particulars::default(),
    });
    assert!(decided.allow());
}

/// The shipped policies, and agreements until there are so many: each between one department and one category.
fn with_agreements(folder: &Path, total: usize) {
    for entry in fs::read_dir(crate::policies()).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let departments = ["marketing", "sales", "service", "finance", "product", "distribution"];
    let categories = ["identity", "contact", "behaviour", "opportunity", "order", "case", "billing"];
    let mut text = String::new();
    let pairs = departments.iter().flat_map(|d| categories.iter().map(move |c| (d, c)));
    for (n, (department, category)) in pairs.cycle().take(total).enumerate() {
        writeln!(
            text,
            "@id(\"agreement-{n:04}\")\n@description(\"Made up.\")\npermit (principal in Department::\"{department}\", action == Action::\"read\", \
             resource == Category::\"{category}\")\nwhen {{ context.consent.status == ConsentStatus::\"given\" && context.purpose in \
             Purpose::\"service-provision\" }};"
        )
        .unwrap();
    }
    fs::write(folder.join("90-agreements.cedar"), text).unwrap();
}
