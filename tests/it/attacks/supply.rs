//! Rows 125 to 127: what is built in is checked, a defect costs one request, and no secret shows where the gateway shows itself.

use std::backtrace::Backtrace;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use consentry::clock::{Clock, SystemClock};
use http::Method;
use jiff::Timestamp;

use crate::harness::people::{card, card_whole};
use crate::harness::{Plan, UPSTREAM_KEY, entries, gateway};

const SUPPORT: &str = "service-provision.support";

#[test]
fn advisories_yanked_and_doubled_crates_end_the_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let deny: toml::Table = fs::read_to_string(root.join(".deny.toml")).unwrap().parse().unwrap();
    let says = |table: &str, key: &str| deny[table][key].as_str().unwrap().to_owned();
    assert_eq!("deny", says("advisories", "yanked"));
    assert!(deny["advisories"].get("ignore").is_none(), "each exception has a date and a reason, and is seen here");
    assert_eq!(("deny", "deny"), (says("bans", "multiple-versions").as_str(), says("bans", "wildcards").as_str()));
    assert_eq!(("deny", "deny"), (says("sources", "unknown-registry").as_str(), says("sources", "unknown-git").as_str()));
    let run = fs::read_to_string(root.join("tests/run")).unwrap();
    let checks: Vec<&str> = run.lines().filter(|line| line.trim_start().starts_with("cargo deny") && line.contains(" check")).collect();
    for what in ["advisories", "bans", "licenses", "sources"] {
        assert!(checks.iter().any(|line| line.contains(what) && !line.contains("||")), "`{what}` is not checked, or its failure is passed over");
    }
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    assert_eq!(Some("forbid"), manifest["lints"]["rust"]["unsafe_code"].as_str());
    assert_eq!(None, manifest["profile"]["release"].get("panic"), "a panic must unwind, or it ends the process");
}

/// A clock that fails whoever asks it from a place of the source.
#[derive(Debug)]
struct Brittle {
    clock: Arc<dyn Clock>,
    place: Mutex<Option<&'static str>>,
}

impl Clock for Brittle {
    fn now(&self) -> Timestamp {
        let place = *self.place.lock().unwrap();
        if let Some(place) = place {
            let frames = Backtrace::force_capture().to_string();
            assert!(!frames.contains(place), "broken on purpose; secret.person@example.net");
        }
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defect_costs_one_request_which_is_refused_and_recorded() {
    let brittle = Arc::new(Brittle { clock: SystemClock::shared(), place: Mutex::default() });
    let world = gateway().clock(Arc::clone(&brittle) as Arc<dyn Clock>).start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    world.upstream.on("PATCH /cards/0031", Plan::empty(204));
    world.upstream.json("GET /about", "{}");
    for http2 in [false, true] {
        let client = if http2 { world.client("helpdesk").http2() } else { world.client("helpdesk") };
        let other = world.client("helpdesk").http2();
        let read = || client.get("/crm/cards/0031").purpose(SUPPORT);
        read().await.released(200, &card_whole("0031", "a@example.net"));
        // (where, method, whether it is known by then what the request is about)
        for (place, method, is_known) in [
            ("gateway::route::route", Method::GET, false),
            ("Shared::still_decides", Method::GET, true),
            ("Shared::still_decides", Method::PATCH, true),
        ] {
            *brittle.place.lock().unwrap() = Some(place);
            let broken = if method == Method::GET {
                read().await
            } else {
                client.patch("/crm/cards/0031", r#"{"email":"b@example.net"}"#).purpose(SUPPORT).await
            };
            *brittle.place.lock().unwrap() = None;
            broken.refused(500, "internal-error");
            assert!(!broken.text().contains("purpose") && !broken.text().contains("card"), "{broken:?}");
            if is_known {
                let found = world.found(&broken);
                assert_eq!(("deny", Some("internal-error")), (found.outcome.as_str(), found.code.as_deref()), "{place}");
                assert_eq!(("helpdesk", "crm"), (found.app.as_str(), found.api.as_str()), "{place}");
            } else {
                assert_eq!(None, broken.decision(), "{place}");
            }
            // On the same connection, and on another one, as if nothing had been.
            read().await.released(200, &card_whole("0031", "a@example.net"));
            other.get("/crm/cards/0031").purpose(SUPPORT).await.released(200, &card_whole("0031", "a@example.net"));
        }
        assert_eq!((1, 1), (client.opened(), other.opened()));
    }
    let counted = || {
        let rejects = entries(&world.log_dir()).into_iter().filter(|e| e.kind() == "rejects" && e.resolved["code"] == "internal-error");
        rejects.map(|entry| entry.resolved["count"].as_u64().unwrap()).sum::<u64>()
    };
    for _ in 0..200 {
        if counted() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(2, counted(), "what broke before anything was known is counted");
    world.finish().await;
}

/// What the private keys below a folder are spelled with.
fn keys(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            keys(&path, found);
        } else if let Some((_, rest)) = fs::read_to_string(&path).ok().as_deref().and_then(|text| text.split_once("PRIVATE KEY-----\n")) {
            // All but the last line, which may be short, and the first, which says the algorithm.
            let lines: Vec<&str> = rest.lines().take_while(|line| !line.starts_with("---")).collect();
            found.extend(lines.iter().filter_map(|line| line.get(line.len().checked_sub(20)?..)).map(str::to_owned));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_shows_where_the_gateway_shows_itself() {
    let world = gateway().start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    let token = world.token("crm", &serde_json::json!({}));
    assert_eq!(200, world.client("crm").token(token.clone()).get("/crm/cards/0031").purpose("service-provision").await.status.as_u16());
    let mut secrets = vec![UPSTREAM_KEY.to_owned(), token.rsplit('.').next().unwrap().to_owned()];
    keys(world.root(), &mut secrets);
    assert!(secrets.len() > 15, "{} secrets", secrets.len());
    let running = world.running();
    let mut shown = vec![
        ("debug", format!("{running:?}\n{running:#?}")),
        ("debug of what is shared", format!("{:?}", running.shared())),
        ("debug of a snapshot", format!("{:?}", running.shared().snapshot())),
    ];
    assert!(shown.iter().all(|(_, text)| text.len() > 500), "{shown:?}");
    for args in [&["check"][..], &["--format", "json", "check"], &["policy", "status"]] {
        shown.push(("a command", world.consentry_as("operator", args).1));
    }
    for path in ["/readyz", "/metrics", "/v1/policies", "/openapi.json"] {
        shown.push(("admin", world.staff("operator").get(path).await.text().to_owned()));
    }
    let written = entries(&world.log_dir()).iter().map(|entry| entry.resolved.to_string()).collect();
    shown.push(("the log", written));
    for (what, text) in &shown {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{what} shows {secret}");
        }
        // Bytes as Debug prints them.
        let bytes = format!("{:?}", UPSTREAM_KEY.as_bytes());
        assert!(!text.contains(bytes.trim_matches(['[', ']'])), "{what} shows the bytes of a key");
    }
    world.finish().await;
}
