//! Searching a log of ten million entries: a year of a company's decisions about a million made-up customers. With `CONSENTRY_BENCH_LOG=DIR`
//! the log is made there, if it is not there yet, and stays.

#![expect(clippy::print_stdout, reason = "figures that criterion has no measure for")]

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use consentry::audit::{DecisionFacts, Entry, Group, INDEX_FOLDER, Index, LiveIndex, Log, LogSettings, Mode, Outcome, Query, SigningKeySource};
use consentry::clock::{Clock, ManualClock, SystemClock};
use consentry::model::{
    Action, ActivityKey, ApiName, Category, CategoryVerdict, Channel, Client, ConflictRule, ConsentStatus, Department, Environment, EventId,
    LawfulBasis, PartyNo, PolicyName, Purpose, Release, Revision, RouteKey, Verdicts, Why,
};
use criterion::Criterion;
use jiff::Timestamp;

const ENTRIES: u64 = 10_000_000;
const CUSTOMERS: u64 = 1_000_000;
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const NAME: &str = "audit/search/subject_10m";

pub fn bench(c: &mut Criterion) {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if wanted.is_some_and(|wanted| !NAME.contains(&wanted)) {
        return;
    }
    lag();
    let entries = if crate::is_smoke() { ENTRIES / 200 } else { ENTRIES };
    let folder = tempfile::tempdir_in("target").unwrap();
    let kept = std::env::var_os("CONSENTRY_BENCH_LOG").map(PathBuf::from);
    let dir = kept.unwrap_or_else(|| folder.path().join("log"));
    if !dir.exists() {
        let start = now();
        let written = write(&dir, entries);
        let bytes = size(&dir, "segment-");
        let took = (now() - start).as_secs_f64();
        println!("{NAME}: {written} entries written in {took:.1} s, {} bytes each in the log", bytes / written);
    }
    seal(&dir);
    let start = now();
    let index = Index::open(&dir, &dir.join(INDEX_FOLDER)).unwrap();
    let before = index.entries();
    let indexed = index.catch_up(u64::MAX, |_| ()).unwrap();
    let took = (now() - start).as_secs_f64();
    let each = size(&dir.join(INDEX_FOLDER), "partition-") / indexed;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = (indexed - before) as f64 / took;
    println!("{NAME}: {} entries indexed in {took:.1} s, {rate:.0} a second, {each} bytes each in the index", indexed - before);
    let mut at = 0u64;
    let mut next = || {
        at += 1;
        PartyNo(at * 7_368_787 % CUSTOMERS)
    };
    let mut all: Vec<(Duration, usize)> = Vec::new();
    for _ in 0..2_000 {
        let query = Query { customers: vec![next()], limit: Some(100), ..Query::default() };
        let start = now();
        let found = index.search(&query).unwrap().decisions.len();
        all.push((now() - start, found));
    }
    all.sort_unstable();
    let found: usize = all.iter().map(|(_, found)| found).sum();
    for (name, at) in [("p50", 1_000), ("p99", 1_980)] {
        println!("{NAME}: {name} {:.2} ms of 2,000 searches that found {} decisions each", all.get(at).unwrap().0.as_secs_f64() * 1e3, found / 2_000);
    }
    for (what, query) in questions() {
        let start = now();
        let found = index.search(&query).unwrap();
        let more = if found.next.is_some() { "more" } else { "all" };
        println!("{NAME}: {what}: {} decisions ({more}) in {:.1} ms", found.decisions.len(), (now() - start).as_secs_f64() * 1e3);
    }
    c.bench_function(NAME, |b| {
        b.iter(|| index.search(&Query { customers: vec![next()], limit: Some(100), ..Query::default() }).unwrap());
    });
}

/// Waits until every finished segment is compressed.
fn seal(dir: &Path) {
    let plain = || {
        let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
        let is_plain = |path: &PathBuf| {
            let mut magic = [0; 15];
            std::fs::File::open(path).unwrap().read_exact(&mut magic).unwrap();
            magic == *b"consentry-log/1"
        };
        files.filter(|path| path.to_string_lossy().contains("segment-")).filter(is_plain).count()
    };
    let (before, start) = (plain(), now());
    let (log, _) = Log::open(settings(dir), SystemClock::shared()).unwrap();
    while plain() > 1 {
        std::thread::sleep(Duration::from_millis(200));
    }
    let (took, entries) = ((now() - start).as_secs_f64(), log.metrics().entries);
    log.close();
    let bytes = size(dir, "segment-");
    println!(
        "{NAME}: {} segments sealed in {took:.1} s, half of it idle; {} bytes an entry in the log, the last segment's zeros with it",
        before - 1,
        bytes / entries
    );
}

/// How far the index of a log is behind that takes 10,000 entries a second, read in each second as the gateway does.
fn lag() {
    const A_SECOND: u64 = 10_000;
    let folder = tempfile::tempdir_in("target").unwrap();
    let dir = folder.path().join("log");
    let (log, _) = Log::open(settings(&dir), SystemClock::shared()).unwrap();
    let live = LiveIndex::new(log.clone(), &dir);
    let seconds = if crate::is_smoke() { 2 } else { 20 };
    let done = AtomicBool::new(false);
    let worst = std::thread::scope(|scope| {
        let follower = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                while !live.follow().unwrap() {}
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        let (start, mut worst, mut n) = (now(), 0, 0);
        while n < seconds * A_SECOND {
            n += 1;
            log.append_unwaited(head(n)).unwrap();
            if n.is_multiple_of(100) {
                let due = start + Duration::from_micros(n * 1_000_000 / A_SECOND);
                std::thread::sleep(due.saturating_sub(now()));
                worst = live.lag().max(worst);
            }
        }
        done.store(true, Ordering::Relaxed);
        follower.join().unwrap();
        worst
    });
    println!("audit/index: {worst} entries behind at most while {A_SECOND} a second were written for {seconds} s");
    log.close();
}

fn questions() -> Vec<(&'static str, Query)> {
    let text = |text: &str| Some(text.to_owned());
    let base = || Query { limit: Some(100), ..Query::default() };
    let at = |days: u64| Some(start_of_year() + Duration::from_secs(days * 86_400));
    vec![
        ("the newest", base()),
        ("denies of sales in a week of March", Query { department: text("sales"), outcome: text("deny"), since: at(60), until: at(67), ..base() }),
        (
            "all by one app in an hour",
            Query { app: text("helpdesk"), since: at(200), until: Some(at(200).unwrap() + Duration::from_secs(3_600)), ..base() },
        ),
        ("under a policy that seldom determines", Query { policy: text("break-glass"), ..base() }),
        ("of a category that is seldom released", Query { category: text("health"), ..base() }),
        ("on a consent event", Query { event: Some(EventId(77_777)), ..base() }),
        ("of a department without any", Query { department: text("nobody"), ..base() }),
    ]
}

fn start_of_year() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn now() -> Duration {
    static CLOCK: LazyLock<Arc<dyn Clock>> = LazyLock::new(SystemClock::shared);
    CLOCK.monotonic()
}

fn size(dir: &Path, prefix: &str) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    files.filter(|file| file.file_name().to_string_lossy().starts_with(prefix)).map(|file| file.metadata().unwrap().len()).sum()
}

fn settings(dir: &Path) -> LogSettings {
    LogSettings {
        dir: dir.to_owned(),
        spare_dir: None,
        origin: "bench.consentry.example.com".to_owned(),
        signing_key: SigningKeySource::Bytes(vec![7; 32]),
        previous_key: None,
        queue_max: 65_536,
        segment_bytes: 64 << 20,
        mode: Mode::Strict,
        seal: true,
    }
}

/// One customer in four of five decisions, a list of 40 in the fifth; one in twelve is a denial.
#[expect(clippy::cast_precision_loss, reason = "times that are made up")]
fn write(dir: &Path, entries: u64) -> u64 {
    let clock = ManualClock::at(start_of_year());
    let (log, _) = Log::open(settings(dir), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    let mut n = 0u64;
    while log.metrics().entries < entries {
        // As many as one batch takes, so that heads have their index before their ends are written.
        let heads: Vec<_> = (0..4_096)
            .map(|_| {
                n += 1;
                // Only the wall clock: a disk that took so long would be given up.
                clock.step_to(start_of_year() + YEAR.mul_f64(2.0 * n as f64 / entries as f64));
                (n, log.append(head(n)).unwrap())
            })
            .collect();
        for (n, head) in heads {
            let of = head.wait().unwrap().index();
            if is_denied(n) {
                continue;
            }
            if is_list(n) {
                let groups = vec![group((0..40).map(|i| customer(n + i * 91)).collect(), n)];
                log.append_unwaited(Entry::Part { of, rows: 40, dropped: 2, groups, withheld: vec!["customers.notes".to_owned()] }).unwrap();
            }
            log.append_unwaited(Entry::End { of, status: 200, bytes: 1_400, rows: 1, complete: true, latency_us: 2_300 }).unwrap();
        }
    }
    let written = log.metrics().entries;
    log.close();
    written
}

const fn is_denied(n: u64) -> bool {
    n.is_multiple_of(12)
}

const fn is_list(n: u64) -> bool {
    n % 10 == 3
}

const fn customer(n: u64) -> u64 {
    n * 48_271 % CUSTOMERS
}

fn head(n: u64) -> Entry {
    let (app, department, api) = match n % 4 {
        0 => ("crm", "sales", "crm"),
        1 => ("helpdesk", "service", "desk"),
        2 => ("campaign-manager", "marketing", "crm"),
        _ => ("invoicing", "sales", "sales"),
    };
    let purpose = if app == "helpdesk" { "service-provision.support" } else { "sales.outreach" };
    let facts = Arc::new(DecisionFacts {
        rid: n,
        traceparent: Some([7; 16]),
        app: Client::intern(app),
        department: Department::intern(department),
        actor: Some(format!("e_{:04x}", n % 300)),
        agent: None,
        action: Action::Read,
        api: ApiName::intern(api),
        route: RouteKey::intern(if is_list(n) { "GET /customers" } else { "GET /customers/{id}" }),
        purpose: Some(Purpose::intern(purpose)),
        policy_set: "3f9a21".into(),
        policies: "81c07d".into(),
        now: Timestamp::UNIX_EPOCH,
        generation: 1,
        consent_revision: Revision(n),
        environment: Environment::Production,
        channel: Channel::System,
        gpc: false,
        roles: Vec::new(),
        mandate: None,
        grant: None,
        justification: None,
    });
    if is_denied(n) {
        let denied = Group { outcome: Outcome::Deny, ..group(vec![customer(n)], n) };
        return Entry::Deny { facts, of: None, status: 403, code: "denied", groups: vec![denied], paths: Vec::new() };
    }
    if is_list(n) {
        return Entry::Intent { facts, groups: Vec::new() };
    }
    Entry::Permit { facts, groups: vec![group(vec![customer(n)], n)] }
}

fn group(parties: Vec<u64>, n: u64) -> Group {
    let (rare, release) = (n.is_multiple_of(100_003), if is_denied(n) { Release::Withheld } else { Release::Full });
    let verdict = |name: &str| CategoryVerdict {
        category: Category::intern(name),
        release,
        why: if is_denied(n) { Why::NoPermit } else { Why::Permitted },
        policies: vec![PolicyName::intern(if rare { "break-glass" } else { "share-with-consent" })],
        basis: LawfulBasis::Consent,
        activity: Some((ActivityKey::intern("sales-outreach"), 3)),
        status: ConsentStatus::Given,
        event: Some(EventId(n / 2 + 1)),
        overridden: Vec::new(),
        rule: ConflictRule::CustomerLastWord,
        conflict: false,
        grounds: None,
    };
    let names: &[&str] = if rare { &["identity", "contact", "health"] } else { &["identity", "contact", "order"] };
    let verdicts = Arc::new(Verdicts::new(names.iter().map(|name| verdict(name)).collect()));
    Group { parties: parties.into_iter().map(PartyNo).collect(), unknown: 0, outcome: Outcome::Permit, verdicts, facts: None }
}
