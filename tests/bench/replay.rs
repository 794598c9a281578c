//! Recorded decisions judged again by another folder: reads of one customer each, as an app with ten thousand customers makes them.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use consentry::audit::{DecisionFacts, Entry, Group, Log, LogSettings, Mode, Outcome, SigningKeySource};
use consentry::clock::SystemClock;
use consentry::gateway::replay::replay;
use consentry::model::{
    Action, Age, ApiName, Caller, Category, CategoryVerdict, Client, ClientKind, ConflictRule, ConsentStatus, Department, Environment, Grounds,
    LawfulBasis, Particulars, PartyFacts, PartyNo, Purpose, Question, Release, Revision, RouteKey, Segment, Stage, Verdicts, Whom, Why,
};
use consentry::policy::Policies;
use criterion::{Criterion, Throughput};

/// Customers, each in one of as many states of mind as there are stages, statuses and segments.
const CUSTOMERS: u64 = 10_000;

pub fn bench(c: &mut Criterion) {
    let decisions: u64 = if crate::is_smoke() { 500 } else { 100_000 };
    let policies = Policies::load(crate::policies()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &policies, decisions);
    let replayed = replay(dir.path(), None, &policies, Some(&policies), |_, _| {}).unwrap();
    assert_eq!((decisions, decisions * 3), (replayed.decisions, replayed.own));
    assert!(replayed.skipped.is_empty() && replayed.own == replayed.reproduced, "{replayed:?}");
    let mut group = c.benchmark_group("policy");
    group.sample_size(10).throughput(Throughput::Elements(decisions));
    group.bench_function("replay", |b| b.iter(|| replay(black_box(dir.path()), None, &policies, None, |_, _| {}).unwrap().answers));
    group.finish();
}

fn record(dir: &Path, policies: &Policies, decisions: u64) {
    let settings = LogSettings {
        dir: dir.to_owned(),
        spare_dir: None,
        origin: "gw-bench.example.com".to_owned(),
        signing_key: SigningKeySource::Bytes(vec![7; 32]),
        previous_key: None,
        queue_max: 65_536,
        segment_bytes: 16 << 20,
        mode: Mode::Strict,
        seal: true,
    };
    let (log, _) = Log::open(settings, SystemClock::shared()).unwrap();
    let mut heads = Vec::new();
    for rid in 0..decisions {
        heads.push(log.append(Entry::Permit { facts: facts(policies, rid), groups: vec![group(policies, rid)] }).unwrap());
        // So that the queue is never full.
        if heads.len() == 1_000 || rid + 1 == decisions {
            for head in heads.drain(..) {
                let of = head.wait().unwrap().index();
                log.append_unwaited(Entry::End { of, status: 200, bytes: 512, rows: 1, complete: true, latency_us: 900 }).unwrap();
            }
        }
    }
    log.close();
}

fn facts(policies: &Policies, rid: u64) -> Arc<DecisionFacts> {
    let purpose = Purpose::intern("sales.outreach");
    Arc::new(DecisionFacts {
        rid,
        traceparent: Some([7; 16]),
        app: Client::intern("crm"),
        department: Department::intern("sales"),
        actor: None,
        agent: None,
        action: Action::Read,
        api: ApiName::intern("crm"),
        route: RouteKey::intern("GET /customers/{id}"),
        purpose: Some(purpose),
        policy_set: "3f9a21".into(),
        policies: policies.id().into(),
        now: SystemClock::shared().now(),
        generation: 1,
        consent_revision: Revision(9),
        environment: Environment::Production,
        channel: policies.vocabulary().channel(purpose),
        gpc: false,
        roles: Vec::new(),
        mandate: None,
        grant: None,
        justification: None,
    })
}

/// What the folder itself says of the customer, so that a replay finds nothing new.
fn group(policies: &Policies, rid: u64) -> Group {
    let state = usize::try_from(rid % CUSTOMERS).unwrap();
    let status = *[ConsentStatus::Given, ConsentStatus::Withdrawn, ConsentStatus::Unknown].iter().cycle().nth(state % 3).unwrap();
    let stage = *Stage::ALL.iter().cycle().nth(state / 3 % Stage::ALL.len()).unwrap();
    let party = PartyFacts { stage, segment: Segment::Standard, age: Age::Adult, legal_hold: false };
    let verdicts: Vec<CategoryVerdict> = ["identity", "contact", "order"].map(|name| verdict(policies, name, status, party)).into();
    let outcome = if verdicts.iter().any(|v| v.release == Release::Full) { Outcome::Permit } else { Outcome::Deny };
    Group { parties: vec![PartyNo(rid % CUSTOMERS)], unknown: 0, outcome, verdicts: Arc::new(Verdicts::new(verdicts)), facts: Some(party) }
}

fn verdict(policies: &Policies, name: &str, status: ConsentStatus, party: PartyFacts) -> CategoryVerdict {
    let (category, purpose) = (Category::intern(name), Purpose::intern("sales.outreach"));
    let caller = Caller { client: Client::intern("crm"), kind: ClientKind::Application, department: Department::intern("sales"), employee: None };
    let decided = policies.decide(&Question {
        caller: &caller,
        action: Action::Read,
        category,
        purpose,
        basis: LawfulBasis::Consent,
        status,
        explicit: false,
        party,
        channel: policies.vocabulary().channel(purpose),
        environment: Environment::Production,
        gpc: false,
        records: None,
        now: SystemClock::shared().now(),
        particulars: Particulars { customers: Some(1), ..Particulars::default() },
    });
    let grounds = Grounds {
        whom: Whom::Known,
        action: Action::Read,
        explicit: false,
        gpc: false,
        records: None,
        masked: false,
        closed_for: Vec::new(),
        reading: policies.reading(purpose, category),
        task: None,
        for_customer: None,
        customers: Some(1),
        emergency: false,
    };
    CategoryVerdict {
        category,
        release: if decided.allow() { Release::Full } else { Release::Withheld },
        why: if decided.allow() { Why::Permitted } else { Why::Forbidden },
        policies: decided.policies(),
        basis: LawfulBasis::Consent,
        activity: None,
        status,
        event: None,
        overridden: Vec::new(),
        rule: ConflictRule::CustomerLastWord,
        conflict: false,
        grounds: Some(grounds),
    }
}
