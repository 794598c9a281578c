//! Retention of the decision log, by the built binary: a log of years is pruned by class, on demand, and it still verifies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use consentry::audit::{self, DecisionFacts, Entry, FreeText, Group, Log, LogSettings, Mode, Outcome, SigningKeySource};
use consentry::clock::{Clock, ManualClock, SystemClock};
use consentry::model::{Action, ApiName, Channel, Client, Department, Environment, PartyNo, Purpose, Revision, RouteKey, Verdicts};
use serde_json::Value;

use crate::process::{MINA, MINAS, QUOTE, Site, index, patiently};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A gateway's log of the last two years: each day a permit, and a denial, about one of ten customers.
fn two_years(site: &Site) -> Vec<(u64, u64)> {
    let now = SystemClock::shared().now();
    let clock = ManualClock::at(now.checked_sub(DAY * 730).unwrap());
    let log = opened(site, &clock);
    let mut heads = Vec::new();
    for day in 0..730u64 {
        let facts = facts(clock.now());
        let group =
            |outcome| Group { parties: vec![PartyNo(day % 10 + 1)], unknown: 0, outcome, verdicts: Arc::new(Verdicts::default()), facts: None };
        // Wide enough for a segment to hold some weeks.
        let paths = vec![format!("{day:012000}")];
        let record = |entry: Entry| loop {
            match log.append(entry.clone()).and_then(audit::Pending::wait) {
                Ok(recorded) => break recorded.index(),
                // Its clock goes on while the disk is asked.
                Err(audit::AuditError::Slow) => std::thread::sleep(Duration::from_millis(1)),
                Err(other) => panic!("{other}"),
            }
        };
        if day % 2 == 0 {
            let permit = record(Entry::Permit { facts, groups: vec![group(Outcome::Permit)] });
            record(Entry::Part { of: permit, rows: 1, dropped: 0, groups: Vec::new(), withheld: paths });
            record(Entry::End { of: permit, status: 200, bytes: 1, rows: 1, complete: true, latency_us: 1 });
            heads.push((day, permit));
        } else {
            let groups = vec![group(Outcome::Deny)];
            heads.push((day, record(Entry::Deny { facts, of: None, status: 403, code: "denied", groups, paths })));
        }
        clock.advance(DAY);
    }
    log.close();
    heads
}

/// The log of a gateway that is not running yet.
fn opened(site: &Site, clock: &Arc<ManualClock>) -> Log {
    let key = std::fs::read(site.path().join("log-ed25519.pem")).unwrap();
    let settings = LogSettings {
        dir: site.log(),
        spare_dir: None,
        origin: "gw-demo.consentry.example.com".to_owned(),
        signing_key: SigningKeySource::Bytes(key),
        previous_key: None,
        queue_max: 10_000,
        segment_bytes: 262_144,
        mode: Mode::Strict,
        seal: true,
    };
    let shared: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    Log::open(settings, shared).unwrap().0
}

fn facts(now: jiff::Timestamp) -> Arc<DecisionFacts> {
    Arc::new(DecisionFacts {
        rid: 1,
        traceparent: None,
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
        now,
        generation: 1,
        consent_revision: Revision(1),
        environment: Environment::Test,
        channel: Channel::System,
        gpc: false,
        roles: Vec::new(),
        mandate: None,
        grant: None,
        justification: None,
    })
}

fn entries(document: &Value, class: &str) -> u64 {
    document["classes"].as_array().unwrap().iter().find(|counted| counted["class"] == class).unwrap()["entries"].as_u64().unwrap()
}

#[test]
fn a_log_of_two_years_is_pruned_by_class_and_still_verifies() {
    let site = Site::new();
    let heads = two_years(&site);
    site.edit("consentry.toml", "mode = \"strict\"", "mode = \"strict\"\nretention = { deny = \"18 months\" }");
    let gateway = site.start();
    site.prepare();
    let log = site.log();
    let json = |role: &str, args: &[&str]| {
        let ran = site.run_as(role, &[&["--format", "json"], args].concat());
        (ran.exit, if ran.exit == 0 { ran.json() } else { Value::Null })
    };
    let (exit, before) = json("operator", &["audit", "prune", "--dry-run"]);
    assert_eq!((exit, before["held"].as_u64(), &before["announced"]), (0, Some(0), &Value::Null));
    // A permit, its part and its end every second day of the first year; denials of half a year.
    assert!((500..=560).contains(&entries(&before, "permit")), "{before}");
    assert!((75..=100).contains(&entries(&before, "deny")), "{before}");
    assert_eq!((entries(&before, "admin"), entries(&before, "break-glass")), (0, 0));
    assert_eq!(json("auditor", &["audit", "prune", "--now"]).0, 64, "not who reads the log");
    assert_eq!(site.run_as("operator", &["audit", "prune"]).exit, 64, "it must be said which");

    // Whoever has one of the numbers: their decisions stay.
    assert_eq!(site.run_as("consent-desk", &["party", "hold", "crm:0012", "--reason", "claim 2026-118"]).exit, 0);
    let (_, held) = json("operator", &["audit", "prune", "--dry-run"]);
    assert!((30..=60).contains(&held["held"].as_u64().unwrap()), "{held}");
    assert!(entries(&held, "permit") < entries(&before, "permit") || entries(&held, "deny") < entries(&before, "deny"));

    let (exit, run) = json("operator", &["audit", "prune", "--now"]);
    assert_eq!((exit, entries(&run, "permit"), entries(&run, "deny")), (0, entries(&held, "permit"), entries(&held, "deny")));
    let announced = run["announced"].as_u64().unwrap();
    let goes = entries(&run, "permit") + entries(&run, "deny") + run["dictionary"].as_u64().unwrap();
    patiently(|| {
        let (exit, report) = json("auditor", &["audit", "verify", log.to_str().unwrap()]);
        assert_eq!(exit, 0, "at every moment of it");
        if report["pruned"] == goes { Ok(()) } else { Err(format!("{report} of {goes}")) }
    });
    let told = site.log_until(|entries| entries.iter().any(|entry| entry["kind"] == "prune"));
    assert!(told.iter().any(|entry| entry["kind"] == "admin" && entry["operation"] == "decisions.prune" && entry["role"] == "operator"));
    assert_eq!(1, told.iter().filter(|entry| entry["kind"] == "prune").count());

    // The gateway serves on, searches what is left, and says what is gone.
    let fresh = index(&site.read(QUOTE)).unwrap();
    let left: BTreeSet<u64> = audit::Reader::open(&log).unwrap().map(|entry| entry.unwrap().index).collect();
    let first = heads.iter().map(|(_, head)| *head).find(|head| !left.contains(head)).unwrap();
    let kept = heads.iter().filter(|(day, head)| *day < 100 && left.contains(head)).count();
    assert_eq!(10, kept, "those of the customer under hold");
    let gone = patiently(|| {
        let ran = site.run_as("auditor", &["audit", "proof", &first.to_string()]);
        if ran.exit == 4 { Ok(ran) } else { Err(format!("{ran:?}")) }
    });
    assert!(format!("{gone:?}").contains("pruned"), "{gone:?}");
    assert_eq!(site.run_as("auditor", &["audit", "show", &first.to_string()]).exit, 4);
    assert_eq!(site.run_as("auditor", &["audit", "proof", &fresh.to_string()]).exit, 0);
    let (exit, found) = json("auditor", &["audit", "search", "--since", "700d", "--limit", "1000"]);
    assert_eq!(exit, 0, "{found}");
    let (status, ready) = site.health("/readyz");
    assert!(status == 200 && !ready.contains("retention"), "{ready}");
    let (_, after) = json("operator", &["audit", "prune", "--dry-run"]);
    assert_eq!((entries(&after, "permit"), entries(&after, "deny")), (0, 0));

    // Released, the rest goes, whatever happens to the process.
    assert_eq!(site.run_as("consent-desk", &["party", "release", "crm:0012", "--reason", "settled"]).exit, 0);
    let (exit, rest) = json("operator", &["audit", "prune", "--now"]);
    assert!(exit == 0 && rest["announced"].as_u64().unwrap() > announced, "{rest}");
    gateway.kill();
    let verified = site.run(&["--format", "json", "audit", "verify", log.to_str().unwrap()]);
    assert_eq!(verified.exit, 0, "{verified:?}");
    let gateway = site.start();
    let (_, left) = json("operator", &["audit", "prune", "--now"]);
    patiently(|| {
        let (_, after) = json("operator", &["audit", "prune", "--dry-run"]);
        if after["classes"].as_array().is_some_and(|classes| classes.iter().all(|class| class["entries"] == 0)) {
            Ok(())
        } else {
            Err(format!("{left} {after}"))
        }
    });
    patiently(|| if json("auditor", &["audit", "search", "--since", "1d"]).0 == 0 { Ok(()) } else { Err("not indexed".to_owned()) });
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let verified = site.run(&["audit", "verify", log.to_str().unwrap()]);
    assert!(verified.exit == 0 && format!("{verified:?}").contains("entries are pruned"), "{verified:?}");
    let checked = site.run(&["audit", "index", log.to_str().unwrap(), "--check"]);
    assert_eq!(checked.exit, 0, "{checked:?}");
    let tiles = site.run(&["--format", "json", "audit", "tiles", log.to_str().unwrap(), "--out", "tiles"]);
    assert!(tiles.exit == 0 && tiles.json()["pruned"].as_u64().unwrap() > 0, "{tiles:?}");
}

/// The consent store is all that leads from a person to their number in the log.
#[test]
fn nothing_in_log_index_or_search_leads_to_who_was_erased() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    site.say(MINA, "given");
    let read = site.read_until(MINAS, |reply| reply.status == 200);
    let head = index(&read).unwrap();
    let search = |id: &str| site.run_as("auditor", &["--format", "json", "audit", "search", "--customer", id]);
    let found = search("crm:0044");
    assert!(found.exit == 0 && found.stdout.contains(&format!("#{head}\"")), "{found:?}");
    assert_eq!(site.run_as("consent-desk", &["party", "erase", "crm:0044", "--reason", "letter 31", "--yes"]).exit, 0);
    let csv = std::fs::read_to_string(site.state.parties()).unwrap();
    let line = csv.lines().find(|line| line.contains("crm:0044")).unwrap();
    let ids: Vec<&str> = line.split([',', ';', ' ', '"']).filter(|id| id.contains(':') && id.len() > 4).collect();
    assert!(ids.len() > 1, "{line}");
    // Whoever brings an id finds nobody; the ledger knows it again, by a keyed hash, only where the law obliges to.
    for id in &ids {
        let ran = search(id);
        assert!(ran.exit == 4 && !ran.stdout.contains(&format!("#{head}")), "{id}: {ran:?}");
    }
    // The decision stands, about a number.
    let shown = site.run_as("auditor", &["--format", "json", "audit", "show", &head.to_string()]);
    assert!(shown.exit == 0 && !ids.iter().any(|id| shown.stdout.contains(id)), "{shown:?}");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let mut files = vec![site.log()];
    let (mut looked, values) = (0, ids.iter().filter_map(|id| id.split_once(':')).map(|(_, value)| value.as_bytes()).filter(|value| value.len() > 5));
    let values: Vec<&[u8]> = values.collect();
    assert!(!values.is_empty(), "{ids:?}");
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        looked += 1;
        for value in values.iter().copied().chain(ids.iter().map(|id| id.as_bytes())) {
            assert!(!bytes.windows(value.len()).any(|part| part == value), "{} in {}", String::from_utf8_lossy(value), path.display());
        }
    }
    assert!(looked > 3);
}

/// What was written in an emergency goes with the key of its month, also out of the segment that grows.
#[test]
fn a_month_of_what_was_written_is_destroyed_unless_somebody_of_it_is_under_hold() {
    const WHY: &str = "an accident on the motorway";
    let site = Site::new();
    let now = SystemClock::shared().now();
    let clock = ManualClock::at(now.checked_sub(DAY * 730).unwrap());
    let log = opened(&site, &clock);
    let month = format!("break-glass/{}", clock.now().to_string().get(..7).unwrap());
    let mut heads = Vec::new();
    for party in 1..=10 {
        let facts =
            DecisionFacts { grant: Some(format!("bg_{party}").into()), justification: Some(FreeText::new(WHY)), ..(*facts(clock.now())).clone() };
        let group =
            Group { parties: vec![PartyNo(party)], unknown: 0, outcome: Outcome::Permit, verdicts: Arc::new(Verdicts::default()), facts: None };
        let head = log.append(Entry::Permit { facts: Arc::new(facts), groups: vec![group] }).unwrap().wait().unwrap().index();
        log.append(Entry::End { of: head, status: 200, bytes: 1, rows: 1, complete: true, latency_us: 1 }).unwrap().wait().unwrap();
        heads.push(head.to_string());
    }
    log.close();
    site.edit("consentry.toml", "mode = \"strict\"", "mode = \"strict\"\nretention = { break-glass = \"18 months\" }");
    let gateway = site.start();
    site.prepare();
    let prune = |how: &str| site.run_as("operator", &["--format", "json", "audit", "prune", how]).json();
    let show = |index: &str| site.run_as("auditor", &["audit", "show", index]).stdout;
    assert!(show(&heads[0]).contains(WHY), "{}", show(&heads[0]));
    assert_eq!(site.run_as("consent-desk", &["party", "hold", "crm:0012", "--reason", "claim 2026-118"]).exit, 0);
    let held = prune("--now");
    assert_eq!((&Value::Array(Vec::new()), &serde_json::json!([month])), (&held["keys"], &held["keys_held"]), "{held}");
    assert!(show(&heads[0]).contains(WHY));
    assert_eq!(site.run_as("consent-desk", &["party", "release", "crm:0012", "--reason", "settled"]).exit, 0);
    let told = site.run_as("operator", &["audit", "prune", "--dry-run"]);
    assert!(told.exit == 0 && told.stdout.contains(&format!("keys of free text {month}")), "{told:?}");
    let run = prune("--now");
    assert_eq!((&serde_json::json!([month]), true), (&run["keys"], run["announced"].is_u64()), "{run}");
    patiently(|| {
        let shown = show(&heads[0]);
        if shown.contains("destroyed with its key") && !shown.contains(WHY) { Ok(()) } else { Err(shown) }
    });
    let found = site.run_as("auditor", &["audit", "search", "--grant", "bg_1"]);
    assert!(found.exit == 0 && found.stdout.contains("destroyed with its key"), "{found:?}");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let key = site.log().join("text-keys").join(month.replace('/', "-"));
    assert!(!key.exists() && key.parent().unwrap().is_dir());
    let verified = site.run(&["audit", "verify", site.log().to_str().unwrap()]);
    assert_eq!(verified.exit, 0, "{verified:?}");
    let offline = site.run(&["audit", "show", &heads[9], "--offline", site.log().to_str().unwrap()]);
    assert!(offline.exit == 0 && offline.stdout.contains("destroyed with its key") && !offline.stdout.contains(WHY), "{offline:?}");
}
