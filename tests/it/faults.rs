//! When something breaks: what the caller sees, what readiness says, and that a stop is taken all the same. The accidents
//! are real ones: files that go away, writes that fail, an API that answers badly.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use consentry::audit;
use consentry::cli::demo::Reply;
use serde_json::{Value, json};

use crate::process::{MINA, MINAS, OUTREACH, QUOTE, Script, Site, UNKNOWN, Upstream, code, import_many, index, read, text};

/// The state and reason of one part in `/readyz`.
fn check(document: &Value, name: &str) -> (String, String) {
    let checks = document["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("`{name}` is not in {document}"));
    (found["state"].as_str().unwrap().to_owned(), found["why"].as_str().unwrap_or_default().to_owned())
}

/// Refused since nothing can be recorded: no decision was made, so none is named.
fn assert_not_recorded(reply: &Reply) {
    assert_eq!((reply.status.as_u16(), code(reply).as_str()), (503, "audit-unavailable"), "{}", text(reply));
    assert_eq!(reply.header("consentry-decision"), None);
    assert!(reply.json().unwrap().get("decision").is_none());
}

#[test]
fn log_moved_away_denies_and_a_stop_is_still_taken() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    site.say(MINA, "given");
    assert_eq!(site.read(MINAS).status, 200);

    fs::rename(site.log(), site.path().join("elsewhere")).unwrap();
    let document = site.ready_until(|status, _| status == 503);
    let (state, why) = check(&document, "audit");
    assert_eq!((document["ready"].clone(), state.as_str()), (json!(false), "failed"));
    assert!(why.contains("moved") && why.contains("restart"), "{why}");
    for target in [QUOTE, UNKNOWN, MINAS] {
        assert_not_recorded(&site.read(target));
    }
    // What raises permission is refused, what lowers it is taken.
    assert_eq!(site.block(site.try_say("0058", "given")).status, 503);
    let stopped = site.say(MINA, "withdrawn");
    assert_eq!(site.restrict("0012").status, 201);
    drop(gateway);

    // With the log back, the stops are in force and their entries follow.
    fs::rename(site.path().join("elsewhere"), site.log()).unwrap();
    let gateway = site.start();
    assert_eq!(site.read(MINAS).status, 403);
    assert_eq!(site.read(QUOTE).status, 403);
    let revision = stopped.json().unwrap()["revision"].clone();
    site.log_until(|entries| entries.iter().any(|e| e["kind"] == "consent_changed" && e["revision"] == revision && e["state"] == "withdrawn"));
    drop(gateway);
    audit::verify(&site.log(), None).unwrap();
}

#[test]
fn disk_full_denies_and_a_stop_is_still_taken() {
    let site = Site::new();
    let gateway = site.start_with_failing_writes();
    site.prepare();
    assert_eq!(site.read(QUOTE).status, 200);
    // Room for the consent store, which is small, and a little for the log, which grows.
    let store: u64 =
        ["consent.db", "consent.db-wal"].iter().filter_map(|name| fs::metadata(site.path().join(name)).ok()).map(|file| file.len()).max().unwrap();
    gateway.limit_files(store + 48 * 1024);

    let last = site.read_until(UNKNOWN, |reply| reply.status == 503);
    assert_not_recorded(&last);
    let (status, body) = site.health("/readyz");
    let (state, why) = check(&serde_json::from_str(&body).unwrap(), "audit");
    assert_eq!((status, state.as_str()), (503, "failed"));
    assert!(why.contains("mend the disk"), "{why}");
    assert_not_recorded(&site.read(QUOTE));
    assert_eq!(site.restrict("0012").status, 201, "a stop is taken while nothing can be recorded");
    let answered: Vec<usize> = audit::Reader::open(&site.log()).unwrap().map(|entry| usize::try_from(entry.unwrap().index).unwrap()).collect();
    drop(gateway);

    audit::verify(&site.log(), None).unwrap();
    let gateway = site.start();
    assert_eq!(site.read(QUOTE).status, 403, "the stop outlives the restart");
    site.log_until(|entries| entries.iter().skip(answered.len()).any(|e| e["kind"] == "consent_changed" && e["state"] == "restriction"));
    drop(gateway);
    audit::verify(&site.log(), None).unwrap();
}

#[test]
fn consent_store_taken_away_denies_what_rests_on_consent() {
    for how in ["removed", "replaced", "overwritten"] {
        let site = Site::new();
        let _gateway = site.start();
        site.prepare();
        let (store, elsewhere) = (site.path().join("consent.db"), site.path().join("elsewhere.db"));
        if how == "overwritten" {
            fs::OpenOptions::new().write(true).open(&store).unwrap().write_all(&[0x5a; 4_096]).unwrap();
        } else {
            fs::rename(&store, &elsewhere).unwrap();
        }
        if how == "replaced" {
            fs::write(&store, "").unwrap();
        }
        let reply = site.read_until(QUOTE, |reply| reply.status == 503);
        assert_eq!(code(&reply), "consent-unavailable");
        // A decision that was made and recorded, unlike one that could not be.
        // The store may be missed only when the head is already written; the denial then names it.
        let (head, entries) = (index(&reply).unwrap(), site.entries());
        let is_denial = |(at, entry): (usize, &Value)| entry["kind"] == "deny" && entry["status"] == 503 && (at == head || entry["of"] == head);
        assert!(entries.iter().enumerate().any(is_denial), "decision {head} is not denied in {entries:#?}");
        let (status, body) = site.health("/readyz");
        assert_eq!((status, check(&serde_json::from_str(&body).unwrap(), "consent").0.as_str()), (503, "failed"), "{how}: {body}");
        if how != "overwritten" {
            // The same file again is the same store: no restart is needed.
            fs::rename(&elsewhere, &store).unwrap();
            assert_eq!(site.read_until(QUOTE, |reply| reply.status != 503).status, 200, "{how}");
            site.ready_until(|status, _| status == 200);
        }
    }
}

#[test]
fn consent_store_locked_by_another_process_denies_until_it_is_free() {
    let site = Site::new();
    let _gateway = site.start();
    site.prepare();
    let other = rusqlite::Connection::open(site.path().join("consent.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let document = site.ready_until(|status, _| status == 503);
    let (state, why) = check(&document, "consent");
    assert!(state == "failed" && why.contains("another process holds its lock"), "{document}");
    assert_eq!(code(&site.read(QUOTE)), "consent-unavailable");
    assert_eq!(site.block(site.try_say("0058", "given")).status, 503);
    // A stop binds although it cannot be stored.
    let stop = site.restrict("0012");
    assert!(stop.status == 503 && text(&stop).contains("in force"), "{}", text(&stop));
    other.execute_batch("ROLLBACK").unwrap();
    site.ready_until(|status, _| status == 200);
    assert_eq!(site.read_until(QUOTE, |reply| reply.status != 503).status, 403, "the stop was stored");
    site.say("0058", "given");
}

#[test]
fn full_disk_under_the_consent_store_denies_until_there_is_room() {
    let site = Site::new();
    let gateway = site.start_with_failing_writes();
    site.prepare();
    import_many(&site);
    assert_eq!(site.read(QUOTE).status, 200);
    // Its write-ahead log is longer than what was written into the decision log: no room for the one, room for the other.
    let length = |name: &str| fs::metadata(site.path().join(name)).unwrap().len();
    let room = length("consent.db-wal") - 8 * 1024;
    assert!(room > 512 * 1024, "{room} is no room for the decision log");
    gateway.limit_files(room);
    assert_eq!(site.block(site.try_say("0058", "given")).status, 503);
    let stop = site.restrict("0012");
    assert!(stop.status == 503 && text(&stop).contains("in force"), "{}", text(&stop));
    let reply = site.read(QUOTE);
    assert_eq!((reply.status.as_u16(), code(&reply).as_str()), (503, "consent-unavailable"));
    let document = site.ready_until(|status, _| status == 503);
    assert_eq!((check(&document, "consent").0.as_str(), check(&document, "audit").0.as_str()), ("failed", "ok"));
    gateway.limit_files(1 << 40);
    site.ready_until(|status, _| status == 200);
    assert_eq!(site.read(QUOTE).status, 403, "the stop was stored");
    site.say("0058", "given");
}

const RECORD: &str =
    r#"{"id":"Q-77","customer":{"number":"7712","name":"Jonas Lindqvist","email":"jonas.lindqvist@example.net"},"lines":[],"total":"4884.00"}"#;
const JSON: &str = "content-type: application/json";

#[test]
fn upstream_answers_that_are_no_whole_plain_success_are_never_passed_on() {
    let upstream = Upstream::start(Script::answer("200 OK", &[JSON], RECORD));
    let site = site_before(&upstream.address.to_string());
    let _gateway = site.start();
    site.prepare();
    let whole = site.read(QUOTE);
    assert_eq!(whole.status, 200, "the upstream of this test can be read: {}", text(&whole));

    let long = RECORD.len() + 20;
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let cases = [
        ("slower than its time-out", Script::answer("200 OK", &[JSON], RECORD).after(Duration::from_millis(1500)), 504, "upstream-timeout"),
        ("cut in the middle", Script::promising("200 OK", &[JSON], RECORD.get(..40).unwrap(), RECORD.len()), 502, "upstream-unreadable"),
        ("whole JSON, cut before its end", Script::promising("200 OK", &[JSON], RECORD, long), 502, "upstream-unreadable"),
        ("closed without an answer", Script::silent(), 502, "upstream-unreadable"),
        ("not HTTP", Script { wait: Duration::ZERO, bytes: b"jonas.lindqvist@example.net\r\n\r\n".to_vec() }, 502, "upstream-unreadable"),
        ("HTML", Script::answer("200 OK", &["content-type: text/html"], "<p>Jonas Lindqvist</p>"), 502, "upstream-unreadable"),
        ("no type", Script::answer("200 OK", &[], RECORD), 502, "upstream-unreadable"),
        ("not JSON", Script::answer("200 OK", &[JSON], "Jonas Lindqvist"), 502, "upstream-unreadable"),
        ("too deep", Script::answer("200 OK", &[JSON], &deep), 502, "upstream-unreadable"),
        ("encoded", Script::answer("200 OK", &[JSON, "content-encoding: gzip"], RECORD), 502, "upstream-unreadable"),
        ("a redirect", Script::answer("302 Found", &[JSON, "location: https://example.net/"], RECORD), 502, "upstream-unreadable"),
        ("a part", Script::answer("206 Partial Content", &[JSON, "content-range: bytes 0-9/10"], RECORD), 502, "upstream-unreadable"),
        ("its own error", Script::answer("500 Internal Server Error", &[JSON], RECORD), 502, "upstream-unavailable"),
        ("out of service", Script::answer("503 Service Unavailable", &[JSON], RECORD), 502, "upstream-unavailable"),
        ("the gateway refused", Script::answer("401 Unauthorized", &[JSON], RECORD), 502, "upstream-unavailable"),
    ];
    for (name, script, status, problem) in cases {
        upstream.play(script);
        assert_problem(&site, name, status, problem);
    }
    upstream.play(Script::answer("200 OK", &[JSON], RECORD));
    assert_eq!(site.read(QUOTE).status, 200, "it is asked again when it answers well");
    assert_eq!(site.health("/readyz").0, 200, "an upstream's trouble is not the gateway's");
}

#[test]
fn upstream_down_is_a_502() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = port.local_addr().unwrap().to_string();
    drop(port);
    let site = site_before(&nobody);
    let _gateway = site.start();
    site.prepare();
    assert_problem(&site, "down", 502, "upstream-unavailable");
}

/// A site whose quotes come from this address, in the clear.
fn site_before(address: &str) -> Site {
    let site = Site::new();
    let real = format!("targets = [\"https://{}\"]\ntls = {{ ca = \"certs/internal-ca.pem\", client", site.apis.sales);
    let ours = format!("targets = [\"http://{address}\"]\ntimeouts = {{ connect = \"1s\", first_byte = \"1s\", total = \"2s\" }}\n# tls = {{ client");
    site.edit("consentry.toml", &real, &ours);
    site
}

fn assert_problem(site: &Site, name: &str, status: u16, problem: &str) {
    let reply = site.read(QUOTE);
    assert_eq!((reply.status.as_u16(), code(&reply).as_str()), (status, problem), "{name}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{name}");
    let shown = format!("{}{:?}", text(&reply), reply.headers);
    for secret in ["Jonas", "Lindqvist", "7712", "4884"] {
        assert!(!shown.contains(secret), "{name}: {shown}");
    }
    let head = &site.entries()[index(&reply).unwrap_or_else(|| panic!("{name}: no decision"))];
    assert_eq!(head["kind"], "intent", "{name}: {head}");
}

#[test]
fn who_comes_together_after_a_silence_is_answered() {
    let site = Site::new();
    let _gateway = site.start();
    site.prepare();
    site.say(MINA, "given");
    let app = Arc::new(site.app("crm"));
    let ask_all = || {
        let ask = || {
            let (app, at) = (Arc::clone(&app), site.addresses.apps);
            site.spawn(async move { read(&app, at, MINAS, OUTREACH).await.unwrap().status.as_u16() })
        };
        let asked: Vec<_> = (0..32).map(|_| ask()).collect();
        asked.into_iter().map(|answer| site.block(answer).unwrap()).collect::<Vec<u16>>()
    };
    assert_eq!(vec![200; 32], ask_all(), "connections are open");
    // An answer about the store's health counts for three seconds.
    std::thread::sleep(Duration::from_millis(3_300));
    assert_eq!(vec![200; 32], ask_all());
}
