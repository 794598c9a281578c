//! The decision log: one entry made durable, and a whole log verified.

use std::path::Path;
use std::sync::Arc;

use consentry::audit::{self, DecisionFacts, Entry, Group, Log, LogSettings, Mode, Outcome, SigningKeySource};
use consentry::clock::SystemClock;
use consentry::model::{
    Action, ApiName, Category, CategoryVerdict, Channel, Client, ConflictRule, ConsentStatus, Department, Environment, LawfulBasis, PartyNo,
    PolicyName, Purpose, Release, Revision, RouteKey, Verdicts, Why,
};
use criterion::{Criterion, Throughput};

const VERIFIED: u64 = 10_000;

pub fn bench(c: &mut Criterion) {
    c.bench_function("audit/append/strict", |b| {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        let mut rid = 0;
        b.iter(|| {
            rid += 1;
            log.append(permit(rid)).unwrap().wait().unwrap()
        });
    });
    let mut group = c.benchmark_group("audit");
    group.throughput(Throughput::Elements(VERIFIED)).sample_size(10);
    group.bench_function("verify", |b| {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        for rid in 1..VERIFIED {
            log.append_unwaited(permit(rid)).unwrap();
        }
        log.append(permit(VERIFIED)).unwrap().wait().unwrap();
        log.close();
        b.iter(|| audit::verify(&folder.path().join("log"), None).unwrap());
    });
    group.finish();
}

fn open(folder: &Path) -> Log {
    let key = folder.join("log.pem");
    audit::generate_signing_key(&key).unwrap();
    let settings = LogSettings {
        dir: folder.join("log"),
        spare_dir: None,
        origin: "bench.consentry.example.com".to_owned(),
        signing_key: SigningKeySource::File(key),
        previous_key: None,
        queue_max: 16_384,
        segment_bytes: 16 << 20,
        mode: Mode::Strict,
        seal: true,
    };
    Log::open(settings, SystemClock::shared()).unwrap().0
}

fn permit(rid: u64) -> Entry {
    let verdict = |name: &str| CategoryVerdict {
        category: Category::intern(name),
        release: Release::Full,
        why: Why::Permitted,
        policies: vec![PolicyName::intern("share-with-consent")],
        basis: LawfulBasis::Consent,
        activity: None,
        status: ConsentStatus::Given,
        event: None,
        overridden: Vec::new(),
        rule: ConflictRule::CustomerLastWord,
        conflict: false,
        grounds: None,
    };
    let facts = DecisionFacts {
        rid,
        traceparent: Some([7; 16]),
        app: Client::intern("crm"),
        department: Department::intern("sales"),
        actor: None,
        agent: None,
        action: Action::Read,
        api: ApiName::intern("crm"),
        route: RouteKey::intern("GET /customers/{id}"),
        purpose: Some(Purpose::intern("sales.outreach")),
        policy_set: "3f9a21".into(),
        policies: "81c07d".into(),
        now: jiff::Timestamp::UNIX_EPOCH,
        generation: 1,
        consent_revision: Revision(9),
        environment: Environment::Production,
        channel: Channel::System,
        gpc: false,
        roles: Vec::new(),
        mandate: None,
        grant: None,
        justification: None,
    };
    let verdicts = Arc::new(Verdicts::new(["identity", "contact", "order"].map(verdict).to_vec()));
    let group = Group { parties: vec![PartyNo(rid % 1000)], unknown: 0, outcome: Outcome::Permit, verdicts, facts: None };
    Entry::Permit { facts: Arc::new(facts), groups: vec![group] }
}
