//! Questions put to the compiled policies and to plain Cedar over the scope slice: the same hundred in turn, so that no branch
//! and no row is known beforehand.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::sync::Arc;

use consentry::clock::SystemClock;
use consentry::consent::{self, Ledger};
use consentry::model::{
    Action, Age, Caller, Category, Client, ConsentStatus, Environment, Identifier, LawfulBasis, Particulars, PartyFacts, Purpose, Question, Segment,
    Stage,
};
use consentry::policy::{self, Policies};
use criterion::Criterion;
use jiff::Timestamp;

use crate::large::{self, Asker, Draw};

pub fn bench(c: &mut Criterion) {
    for (name, total, apps) in [("shipped", 0, 0), ("300", 300, 50), ("1000", 1_000, 500)] {
        let policies = policies(total, apps);
        let caller = caller(&policies, "crm");
        let questions = questions(&policies, &caller);
        let mut turn = questions.iter().cycle();
        c.bench_function(&format!("decision/compiled/{name}"), |b| b.iter(|| policies.decide(black_box(turn.next().unwrap())).allow()));
        if total != 300 {
            let mut turn = questions.iter().cycle();
            c.bench_function(&format!("decision/plain/{name}"), |b| b.iter(|| policies.evaluate(black_box(turn.next().unwrap())).allow()));
        }
    }
    many_apps(c);
    with_lookups(c);
    folders(c);
}

/// Any of 507 apps and agents about anything, of 1,000 policies: what lies in the tables of all slices, and a look-up among them.
#[expect(clippy::print_stderr, reason = "a figure that criterion has no place for")]
fn many_apps(c: &mut Criterion) {
    let (questions, resident) = (if crate::is_smoke() { 2_000 } else { 400_000 }, || crate::consent::resident());
    let before = resident();
    let policies = policies(1_000, 500);
    let (loaded, asker, mut draw) = (resident(), Asker::new(&policies), Draw::new(3));
    let mut compiled = 0;
    for _ in 0..questions {
        compiled += usize::from(asker.ask(&mut draw, &policies, |question| policies.decide(question).is_compiled()));
    }
    let mib = |bytes: u64| bytes >> 20;
    let tables = resident().saturating_sub(loaded);
    eprintln!(
        "decision/apps: {} apps, {} MiB with the policies, {} MiB more for tables after {questions} questions, {compiled} answered by them",
        policies.vocabulary().clients.len(),
        mib(loaded.saturating_sub(before)),
        mib(tables)
    );
    let callers: Vec<Caller> = (0..500).map(|n| caller(&policies, &format!("app-{n:03}"))).collect();
    let purpose = Purpose::intern("service-provision");
    let questions: Vec<_> = callers.iter().map(|caller| question(&policies, caller, "contact", purpose)).collect();
    assert!(questions.iter().all(|question| policies.decide(question).is_compiled()));
    let mut turn = questions.iter().cycle();
    c.bench_function("decision/apps/500", |b| b.iter(|| policies.decide(black_box(turn.next().unwrap())).allow()));
}

/// What an author and a reload wait for.
fn folders(c: &mut Criterion) {
    let smoke = crate::is_smoke();
    let mut group = c.benchmark_group("policy");
    group.sample_size(10);
    for (name, total, apps) in [("1000", 1_000, 500), ("10000", if smoke { 1_500 } else { 10_000 }, 500)] {
        let folder = tempfile::tempdir().unwrap();
        large::folder(folder.path(), total, apps, 0);
        group.bench_function(format!("load/{name}"), |b| b.iter(|| Policies::load(black_box(folder.path())).unwrap()));
    }
    let cases = tempfile::tempdir().unwrap();
    large::folder(cases.path(), 0, 0, 0);
    fs::create_dir(cases.path().join("tests")).unwrap();
    let mut text = String::new();
    let mut draw = Draw::new(2);
    for n in 0..1_000 {
        let app = draw.of(&["campaign-manager", "crm", "helpdesk", "ledger"]);
        let category = draw.of(&["identity", "contact", "order", "billing", "case"]);
        let status = draw.of(ConsentStatus::ALL).as_str();
        writeln!(text, "[[case]]\nname = \"{n}\"\napp = \"{app}\"\naction = \"read\"\ncategory = \"{category}\"").unwrap();
        writeln!(text, "purpose = \"sales.outreach\"\nconsent = \"{status}\"\nexpect = \"deny\"\n").unwrap();
    }
    fs::write(cases.path().join("tests/many.toml"), text).unwrap();
    group.bench_function("test/1000", |b| b.iter(|| policy::cases::run(black_box(cases.path())).unwrap().failed()));
    group.finish();
}

/// From an id to the decision: crosswalk, consent for this use, hard stops, policies; 100,000 customers with three ids each.
fn with_lookups(c: &mut Criterion) {
    let policies = policies(1_000, 500);
    let customers = if crate::is_smoke() { 1000 } else { 100_000 };
    let made_up = crate::consent::MadeUp { customers, vocabulary: Arc::clone(policies.vocabulary()) };
    let ledger = Ledger::open_with(Box::new(made_up), SystemClock::shared(), None).unwrap();
    ledger.adopt(Arc::clone(policies.vocabulary()), policies.consent_rules().clone(), policies.captures().to_vec()).unwrap();
    let ids: Vec<Identifier> = (0..40_000).map(|n| crate::consent::id(n * 7_368_787 % customers + 1, n % 3)).collect();
    let caller = caller(&policies, "crm");
    let questions = questions(&policies, &caller);
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
    let mut found = Vec::new();
    for category in ["identity", "contact", "behaviour", "order"] {
        for status in [ConsentStatus::Given, ConsentStatus::Withdrawn, ConsentStatus::Unknown] {
            for (at, stage) in Stage::ALL.iter().enumerate() {
                for segment in [Segment::Standard, Segment::Vip] {
                    let party = PartyFacts { stage: *stage, segment, age: Age::Adult, legal_hold: false };
                    let question = question(policies, caller, category, Purpose::intern("sales.outreach"));
                    found.push(Question { status, explicit: at % 2 == 0, party, gpc: at % 3 == 0, ..question });
                }
            }
        }
    }
    let allowed = found.iter().filter(|question| policies.decide(question).allow()).count();
    assert!((1..found.len()).contains(&allowed) && found.iter().all(|question| policies.decide(question).is_compiled()));
    found
}

fn question<'a>(policies: &Policies, caller: &'a Caller, category: &str, purpose: Purpose) -> Question<'a> {
    Question {
        caller,
        action: Action::Read,
        category: Category::intern(category),
        purpose,
        basis: LawfulBasis::Consent,
        status: ConsentStatus::Given,
        explicit: true,
        party: PartyFacts { stage: Stage::Customer, segment: Segment::Standard, age: Age::Adult, legal_hold: false },
        channel: policies.vocabulary().channel(purpose),
        environment: Environment::Production,
        gpc: false,
        records: None,
        now: Timestamp::UNIX_EPOCH,
        particulars: Particulars::default(),
    }
}

fn caller(policies: &Policies, client: &str) -> Caller {
    let (client, info) = policies.vocabulary().clients.get_key_value(&Client::intern(client)).unwrap();
    Caller { client: *client, kind: info.kind, department: info.department, employee: None }
}

/// The shipped policies, and made-up ones until there are so many.
fn policies(total: usize, apps: usize) -> Policies {
    let folder = tempfile::tempdir().unwrap();
    large::folder(folder.path(), total, apps, 0);
    Policies::load(folder.path()).unwrap()
}
