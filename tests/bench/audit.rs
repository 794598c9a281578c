//! The decision log: entries made durable, and a whole log verified.

#![expect(clippy::print_stdout, reason = "figures that criterion has no measure for")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use consentry::audit::{self, Bounds, DecisionFacts, Entry, Group, Log, LogSettings, Mode, Outcome, Pending, SigningKeySource};
use consentry::clock::SystemClock;
use consentry::model::{
    Action, ApiName, Category, CategoryVerdict, Channel, Client, ConflictRule, ConsentStatus, Department, Environment, LawfulBasis, PartyNo,
    PolicyName, Purpose, Release, Revision, RouteKey, Verdicts, Why,
};
use criterion::{Criterion, Throughput};

const VERIFIED: u64 = 10_000;
const A_SECOND: u64 = 10_000;
const DURABLE: &str = "audit/durable";

pub fn bench(c: &mut Criterion) {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if wanted.is_none_or(|wanted| DURABLE.contains(&wanted)) {
        durable();
    }
    c.bench_function("audit/append/strict", |b| {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path(), Mode::Strict);
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
        let log = open(folder.path(), Mode::Strict);
        for rid in 1..VERIFIED {
            log.append_unwaited(permit(rid)).unwrap();
        }
        log.append(permit(VERIFIED)).unwrap().wait().unwrap();
        log.close();
        b.iter(|| audit::verify(&folder.path().join("log"), None).unwrap());
    });
    group.finish();
}

/// How many entries a second the disk takes when more come, and how long one waits when 10,000 a second come: beside the time of a
/// flush of the same disk, which decides.
fn durable() {
    let seconds = if crate::is_smoke() { 1 } else { 5 };
    let bounded = Mode::Bounded(Bounds { max_ms: 50, max_records: 1_000 });
    for (name, mode) in [("strict", Mode::Strict), ("bounded (50 ms, 1,000 entries)", bounded)] {
        let folder = tempfile::tempdir_in("target").unwrap();
        let flush = flush(folder.path()).as_secs_f64() * 1e3;
        let log = open(folder.path(), mode);
        let rate = saturated(&log, Duration::from_secs(seconds));
        let waited = paced(&log, seconds);
        let after = |hundredths: usize| waited.get(waited.len() * hundredths / 100).unwrap().as_secs_f64() * 1e3;
        println!(
            "{DURABLE}: {name}: {rate:.0} entries a second saturated; at {A_SECOND} a second p50 {:.1} ms, p99 {:.1} ms; a flush takes {flush:.1} ms",
            after(50),
            after(99)
        );
        log.close();
    }
}

/// Median of a hundred.
fn flush(folder: &Path) -> Duration {
    let clock = SystemClock::shared();
    let file = File::create(folder.join("flush")).unwrap();
    file.write_all_at(&vec![0; 100 * 4_096], 0).unwrap();
    file.sync_all().unwrap();
    let mut all: Vec<Duration> = (0..100)
        .map(|n| {
            file.write_all_at(&[7; 4_096], n * 4_096).unwrap();
            let start = clock.monotonic();
            file.sync_data().unwrap();
            clock.monotonic() - start
        })
        .collect();
    all.sort_unstable();
    *all.get(50).unwrap()
}

fn saturated(log: &Log, time: Duration) -> f64 {
    let (clock, entry) = (SystemClock::shared(), permit(7));
    let (start, before) = (clock.monotonic(), log.metrics().entries);
    while clock.monotonic() - start < time {
        // Looking at the clock takes time, too.
        for _ in 0..64 {
            while log.append_unwaited(entry.clone()).is_err() {
                std::thread::yield_now();
            }
        }
    }
    let last = std::iter::repeat_with(|| log.append(entry.clone())).find_map(Result::ok).unwrap();
    last.wait().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let entries = (log.metrics().entries - before) as f64;
    entries / (clock.monotonic() - start).as_secs_f64()
}

/// How long each entry waited, shortest first.
fn paced(log: &Log, seconds: u64) -> Vec<Duration> {
    let (clock, entry) = (SystemClock::shared(), permit(7));
    let (send, receive) = mpsc::channel::<(Duration, Pending)>();
    std::thread::scope(|scope| {
        // One clock: each counts from its own beginning.
        let waiting = Arc::clone(&clock);
        let waiter = scope.spawn(move || {
            let wait = |(start, pending): (Duration, Pending)| {
                pending.wait().unwrap();
                waiting.monotonic() - start
            };
            let mut all: Vec<Duration> = receive.into_iter().map(wait).collect();
            all.sort_unstable();
            all
        });
        let start = clock.monotonic();
        for n in 1..=seconds * A_SECOND {
            let asked = clock.monotonic();
            send.send((asked, log.append(entry.clone()).unwrap())).unwrap();
            if n.is_multiple_of(10) {
                let due = start + Duration::from_micros(n * 1_000_000 / A_SECOND);
                std::thread::sleep(due.saturating_sub(clock.monotonic()));
            }
        }
        drop(send);
        waiter.join().unwrap()
    })
}

fn open(folder: &Path, mode: Mode) -> Log {
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
        mode,
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
