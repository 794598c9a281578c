//! Questions put to the compiled policies and to plain Cedar over the scope slice: the same hundred in turn, so that no branch
//! and no row is known beforehand.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use consentry::clock::SystemClock;
use consentry::consent::{self, Ledger};
use consentry::model::{Action, Age, Caller, Category, Environment, LawfulBasis, Particulars, PartyFacts, Purpose, Question, Segment, Stage};
use consentry::model::{Client, ClientKind, ConsentStatus, Department, Identifier};
use consentry::policy::Policies;
use criterion::Criterion;
use jiff::Timestamp;

pub fn bench(c: &mut Criterion) {
    let caller = Caller { client: Client::intern("crm"), kind: ClientKind::Application, department: Department::intern("sales"), employee: None };
    for (name, total) in [("shipped", None), ("300", Some(300)), ("1000", Some(1000))] {
        let policies = policies(total);
        let questions = questions(&policies, &caller);
        let mut turn = questions.iter().cycle();
        c.bench_function(&format!("decision/compiled/{name}"), |b| b.iter(|| policies.decide(black_box(turn.next().unwrap())).allow()));
        if total != Some(300) {
            let mut turn = questions.iter().cycle();
            c.bench_function(&format!("decision/plain/{name}"), |b| b.iter(|| policies.evaluate(black_box(turn.next().unwrap())).allow()));
        }
    }
    with_lookups(c, &caller);
}

/// From an id to the decision: crosswalk, consent for this use, hard stops, policies; 100,000 customers with three ids each.
fn with_lookups(c: &mut Criterion, caller: &Caller) {
    let policies = policies(Some(1000));
    let customers = if crate::is_smoke() { 1000 } else { 100_000 };
    let made_up = crate::consent::MadeUp { customers, vocabulary: Arc::clone(policies.vocabulary()) };
    let ledger = Ledger::open_with(Box::new(made_up), SystemClock::shared(), None).unwrap();
    ledger.adopt(Arc::clone(policies.vocabulary()), policies.consent_rules().clone(), policies.captures().to_vec()).unwrap();
    let ids: Vec<Identifier> = (0..40_000).map(|n| crate::consent::id(n * 7_368_787 % customers + 1, n % 3)).collect();
    let questions = questions(&policies, caller);
    let (mut id, mut turn) = (ids.iter().cycle(), questions.iter().cycle());
    c.bench_function("decision/with_lookups/1000", |b| b.iter(|| looked_up(&policies, &ledger, black_box(id.next().unwrap()), turn.next().unwrap())));
}

fn looked_up(policies: &Policies, ledger: &Ledger, id: &Identifier, question: &Question<'_>) -> bool {
    let (vocabulary, rules) = (policies.vocabulary(), policies.consent_rules());
    let Question { caller, category, purpose, channel, .. } = *question;
    let standing = ledger.standing(id).unwrap().unwrap();
    let basis = policies.activity(caller.department, purpose, category).map_or(LawfulBasis::None, |activity| activity.basis);
    let effective = standing.status(vocabulary, rules, purpose, category, caller.department, channel);
    let stop = consent::floor(&standing.profile, vocabulary, rules, purpose, basis, category, channel);
    let (status, explicit, party) = (effective.status, effective.explicit, standing.facts);
    let decided = policies.decide(&Question { basis, status, explicit, party, gpc: standing.profile.has_gpc(), ..question.clone() });
    stop.is_ok() && decided.allow()
}

/// A department reads its own and others' data, with and without consent, of customers of all kinds.
fn questions<'a>(policies: &Policies, caller: &'a Caller) -> Vec<Question<'a>> {
    let (purpose, mut found) = (Purpose::intern("sales.outreach"), Vec::new());
    for category in ["identity", "contact", "behaviour", "order"] {
        for status in [ConsentStatus::Given, ConsentStatus::Withdrawn, ConsentStatus::Unknown] {
            for (at, stage) in Stage::ALL.iter().enumerate() {
                for segment in [Segment::Standard, Segment::Vip] {
                    found.push(Question {
                        caller,
                        action: Action::Read,
                        category: Category::intern(category),
                        purpose,
                        basis: LawfulBasis::Consent,
                        status,
                        explicit: at % 2 == 0,
                        party: PartyFacts { stage: *stage, segment, age: Age::Adult, legal_hold: false },
                        channel: policies.vocabulary().channel(purpose),
                        environment: Environment::Production,
                        gpc: at % 3 == 0,
                        records: None,
                        now: Timestamp::UNIX_EPOCH,
                        particulars: Particulars::default(),
                    });
                }
            }
        }
    }
    let allowed = found.iter().filter(|question| policies.decide(question).allow()).count();
    assert!((1..found.len()).contains(&allowed));
    found
}

/// The shipped policies, and agreements until there are so many: each between one department and one category.
fn policies(total: Option<usize>) -> Policies {
    let Some(total) = total else { return Policies::load(crate::policies()).unwrap() };
    let folder = tempfile::tempdir().unwrap();
    with_agreements(folder.path(), total);
    let policies = Policies::load(folder.path()).unwrap();
    assert_eq!(total, policies.policies().len());
    policies
}

fn with_agreements(folder: &Path, total: usize) {
    for entry in fs::read_dir(crate::policies()).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let shipped = Policies::load(folder).unwrap().policies().len();
    let departments = ["marketing", "sales", "service", "finance", "product", "distribution"];
    let categories = ["identity", "contact", "behaviour", "opportunity", "order", "case", "billing"];
    let mut text = String::new();
    let pairs = departments.iter().flat_map(|d| categories.iter().map(move |c| (d, c)));
    for (n, (department, category)) in pairs.cycle().take(total - shipped).enumerate() {
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
