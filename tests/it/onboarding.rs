//! Taking an API on: a draft from its document, the comparison with it, report mode with an end, and drafts from what was seen.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use consentry::clock::{ManualClock, SystemClock};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::people::{ada, ada_for_outreach};
use crate::harness::{World, gateway};
use crate::process::{Ran, Site, run_in};

const OUTREACH: &str = "sales.outreach";
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/openapi/northwind-crm.yaml");

// ------------------------------------------------------------------ from a document

/// A gateway's folder in which all APIs are those of the draft.
fn site_with_draft() -> (Site, Ran) {
    let site = Site::new();
    for name in ["ids", "crm", "sales", "desk"] {
        fs::remove_file(site.path().join(format!("apis/{name}.toml"))).unwrap();
    }
    let imported =
        site.run(&["import", "openapi", DOCUMENT, "--owner", "marketing", "--api", "crm", "--map", "health=health", "--out", "apis/crm.toml"]);
    assert_eq!(imported.exit, 0, "{imported:?}");
    (site, imported)
}

/// What a person does with the draft.
fn finish(site: &Site) {
    let path = site.path().join("apis/crm.toml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text
        .replace(", fields = [\"?\"]", "")
        .replace("\"cursor\" = \"?\"", "\"cursor\" = \"free\"")
        .replace("\"ids\" = \"?\"", "\"ids\" = [\"firstName\"]");
    let search = "request = { shape = \"search-cases-request\" }";
    assert!(text.contains(search));
    let text = text.replace(search, "action = \"read\"\nrequest = { params = { text = [\"title\"], openOnly = \"free\" } }");
    let lines = text.lines().filter(|line| !line.starts_with("customer = \"?\""));
    let text: Vec<String> = lines.map(|line| line.replacen(" = \"?\"", " = \"identity\"", 1)).collect();
    fs::write(&path, text.join("\n") + "\n").unwrap();
}

#[test]
fn a_draft_is_refused_until_somebody_has_filled_it_in_and_accepted_then() {
    let (site, imported) = site_with_draft();
    assert_eq!(imported.stdout, "");
    assert!(
        imported.stderr.contains("not taken over: #/webhooks") && imported.stderr.contains("7 routes, 5 shapes, 21 open places"),
        "{}",
        imported.stderr
    );
    let open = site.run(&["check"]);
    assert_eq!(open.exit, 3, "{open:?}");
    for said in [
        "the category is still open",
        "the customer is still open",
        "how this parameter is judged is still open",
        "`?` is what a draft does not know",
    ] {
        assert!(open.stdout.contains(said), "`{said}` is not in {}", open.stdout);
    }
    assert!(open.stdout.lines().filter(|line| line.contains(": error: ")).all(|line| line.contains("is still open")), "{}", open.stdout);
    // What somebody has begun to finish is not written over.
    let again = site.run(&["import", "openapi", DOCUMENT, "--owner", "marketing", "--out", "apis/crm.toml"]);
    assert_eq!((again.exit, again.stderr.contains("remove it, or name another file")), (64, true), "{again:?}");
    finish(&site);
    let checked = site.run(&["check"]);
    assert_eq!(checked.exit, 0, "{checked:?}");
    assert!(checked.stdout.contains("7 routes of 1 API"), "{}", checked.stdout);
}

#[test]
fn an_api_is_compared_with_its_document() {
    let (site, _) = site_with_draft();
    finish(&site);
    fs::copy(DOCUMENT, site.path().join("apis/northwind-crm.yaml")).unwrap();
    site.edit("apis/crm.toml", "# openapi = {", "openapi = {");
    let same = site.run(&["check"]);
    assert_eq!(same.exit, 0, "{same:?}");
    let warnings: Vec<&str> = same.stdout.lines().filter(|line| line.contains(": warning: ")).collect();
    assert_eq!(warnings.len(), 1, "{}", same.stdout);
    assert!(warnings[0].contains("operations without a route here: `GET /customers/{customerId}/portrait`"), "{}", same.stdout);
    // The document moves on.
    site.edit("apis/northwind-crm.yaml", "leadScore: {type: number}", "engagement: {type: number}");
    site.edit("apis/northwind-crm.yaml", "postcode: {type: string}", "postcode: {type: string}\n        floor: {type: string}");
    site.edit("apis/northwind-crm.yaml", "  /cases/{caseId}:", "  /incidents/{caseId}:");
    let moved = site.run(&["check"]);
    assert_eq!(moved.exit, 0, "what decides has not changed: {moved:?}");
    crate::process::screen("check_drift", &moved.stdout);
    assert_eq!(site.run(&["check", "--deny-warnings"]).exit, 1);
    let hash = |ran: &Ran| ran.json()["governed"].clone();
    let before = hash(&site.run(&["check", "--format", "json"]));
    site.edit("apis/northwind-crm.yaml", "engagement", "involvement");
    assert_eq!(before, hash(&site.run(&["check", "--format", "json"])), "the document is no part of what is governed");
    // A document that cannot be read is a mistake like any missing file.
    site.edit("apis/northwind-crm.yaml", "'#/components/schemas/Case'", "'cases.yaml#/Case'");
    let broken = site.run(&["check"]);
    assert_eq!(broken.exit, 3, "{broken:?}");
    assert!(broken.stdout.contains("`cases.yaml#/Case` lies outside this document, and nothing is fetched"), "{}", broken.stdout);
}

#[test]
fn documents_that_cannot_be_used_end_the_import_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let bomb = (1..10).fold("openapi: 3.0.0\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        text + &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "))
    });
    for (name, bytes, exit, said) in [
        ("bomb.yaml", bomb.as_bytes(), 3, "stands for more than"),
        ("latin.yaml", b"openapi: 3.0.0\nx: \xe9\n", 3, "not UTF-8"),
        ("swagger.json", b"{\"swagger\":\"2.0\"}", 3, "convert it to OpenAPI 3 first"),
        ("twice.json", b"{\"openapi\":\"3.0.0\",\"paths\":{\"/a\":{},\"/a\":{}}}", 3, "stands there twice"),
        ("cut.json", b"{\"openapi\":\"3.0.0\",", 3, "this is not JSON"),
    ] {
        fs::write(dir.path().join(name), bytes).unwrap();
        let ran = run_in(dir.path(), &["import", "openapi", name, "--owner", "marketing"]);
        assert_eq!((ran.exit, ran.stdout.as_str()), (exit, ""), "{name}: {ran:?}");
        assert!(ran.stderr.contains(said) && ran.stderr.contains(name), "{name}: {ran:?}");
    }
    for (args, exit) in [
        (vec!["import", "openapi", "none.yaml", "--owner", "marketing"], 4),
        (vec!["import", "openapi", "cut.json"], 64),
        (vec!["import", "openapi", "cut.json", "--owner", "marketing", "--map", "PII"], 64),
        (vec!["import", "consents", "cut.json"], 64),
        (vec!["learn", "--api", "crm", "--from", "none"], 4),
        (vec!["learn", "--api", "crm", "--from", "."], 0),
        (vec!["learn", "--api", "crm", "--whole"], 64),
        (vec!["learn", "--from", "."], 64),
    ] {
        assert_eq!(run_in(dir.path(), &args).exit, exit, "{args:?}");
    }
}

#[test]
fn saved_answers_become_drafts_and_no_value_of_them_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, body: &Value| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, body.to_string()).unwrap();
    };
    put(
        "saved/customers/1.json",
        &json!({ "customers": [{ "id": "0031", "email": "canary@example.net", "prefs": { "canary@example.net": "canary" } }], "total": 1 }),
    );
    put("saved/customers/2.json", &json!({ "customers": [{ "id": "0044", "email": null, "score": 12345 }], "total": 1 }));
    put("saved/quote/1.json", &json!({ "id": "Q-canary", "lines": [{ "price": "canary" }], "customer": { "number": "canary" } }));
    fs::write(dir.path().join("saved/customers/3.json"), "{\"email\":\"canary").unwrap();
    fs::write(dir.path().join("saved/customers/notes.txt"), "canary").unwrap();
    let ran = run_in(dir.path(), &["learn", "--api", "crm", "--from", "saved"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(!ran.stdout.contains("canary") && !ran.stderr.contains("canary") && !ran.stdout.contains("12345"), "{ran:?}");
    assert!(ran.stderr.contains("3.json: no JSON, line 1"), "{ran:?}");
    crate::process::screen("learn_saved", &ran.stdout);
}

// ------------------------------------------------------------------ report mode

/// The house's APIs with the CRM in report mode until then.
fn in_report_mode(until: &str) -> String {
    let apis = include_str!("harness/apis.toml");
    let contact = "contact = \"crm-owners@example.com\"";
    assert!(apis.contains(contact));
    apis.replacen(
        contact,
        &format!("{contact}\nmode = \"report\"\nreport = {{ until = {until}, reason = \"onboarding\", approved = \"PRIV-311\" }}"),
        1,
    )
}

fn days_from(now: Timestamp, days: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_hours(24 * days)).unwrap()
}

const ADAS_CARD: &str = r#"{"id":"0031","name":"A","email":"a@example.net","phone":"+49 170 1234567","loyalty":{"tier":"gold","ann@example.net":1}}"#;
const ADAS_CARD_CUT: &str = r#"{"id":"0031","name":"A","email":"a@example.net","phone":"+49 170 1234567"}"#;

async fn metric(world: &World, line: &str, stands: bool) {
    for _ in 0..400 {
        if world.running().shared().metrics.render().lines().any(|l| l == line) == stands {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("`{line}`: {}", world.running().shared().metrics.render());
}

fn readiness(world: &World) -> Vec<String> {
    let checks = world.running().instance().readiness().checks;
    checks.into_iter().filter(|check| check.name == "report-mode").map(|check| check.why.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn report_mode_passes_what_nobody_has_mapped_and_enforces_all_else() {
    let clock = ManualClock::at(SystemClock::shared().now());
    let until = days_from(SystemClock::shared().now(), 6);
    let clock_of_world: Arc<ManualClock> = Arc::clone(&clock);
    let world = gateway().apis(&in_report_mode(&until.to_string())).clock(clock_of_world).start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0058", OUTREACH, "refused").await;
    world.upstream.json("GET /cards/0031", ADAS_CARD);
    world.upstream.json("GET /cards/0058", &ADAS_CARD.replace("0031", "0058"));
    world.upstream.json("GET /customers/0031", &ada());
    world.upstream.json("PUT /cards/0031", ADAS_CARD);
    let crm = world.client("crm");
    let card = "/crm/cards/0031";

    // Everything mapped is permitted: the body passes, and the log says that this was not decided.
    let passed = crm.get(card).purpose(OUTREACH).await;
    passed.released(200, ADAS_CARD);
    let found = world.found(&passed);
    assert_eq!(("unenforced", 1), (found.outcome.as_str(), found.parties), "{found:?}");
    let (exit, shown) = world.consentry_as("auditor", &["audit", "show", passed.decision().unwrap()]);
    assert!(exit == 0 && shown.contains("unenforced"), "{shown}");

    // A category that is refused, a customer who refused, somebody unknown: as ever.
    let cut = crm.get("/crm/customers/0031").purpose(OUTREACH).await;
    cut.released(200, &ada_for_outreach());
    assert_eq!("redact", world.found(&cut).outcome);
    crm.get("/crm/cards/0058").purpose(OUTREACH).await.refused(403, "denied");
    crm.get("/crm/cards/9999").purpose(OUTREACH).await.refused(403, "denied");
    // What is written is judged as ever: a member that no shape maps refuses the write.
    crm.put(card, ADAS_CARD).purpose(OUTREACH).await.refused(403, "field-not-permitted");
    // An agent's customers are counted, and what is not mapped may be anybody's.
    let agent =
        world.client("sales-copilot").token(world.token("sales-copilot", &json!({ "act": { "sub": "sales-copilot" }, "task": "prepare-call" })));
    let to_agent = agent.get(card).purpose(OUTREACH).await;
    assert!(to_agent.status == 200 && !to_agent.text().contains("loyalty"), "{to_agent:?}");

    // Nobody can overlook it.
    metric(&world, "consentry_report_mode{api=\"crm\"} 1", true).await;
    metric(&world, "consentry_decisions_total{outcome=\"unenforced\"} 1", true).await;
    let [why] = &readiness(&world)[..] else { panic!("{:?}", readiness(&world)) };
    assert!(why.contains("`crm` is in report mode until") && why.contains("onboarding, PRIV-311"), "{why}");
    assert!(world.running().instance().readiness().is_ready());
    let policies = world.staff("policy-approver").get("/v1/policies").await;
    assert_eq!(policies.header("consentry-report-mode"), Some(format!("crm until {until}").as_str()));
    let (_, shown) = world.consentry(&["learn", "--api", "crm"]);
    assert!(shown.contains("REPORT MODE: crm until"), "{shown}");

    let question = json!({ "method": "GET", "url": card, "app": "crm", "purpose": OUTREACH });
    let explained = world.staff("policy-approver").post("/v1/explain", &question.to_string()).await.json();
    assert!(explained["text"].as_str().unwrap().contains("\nreport    mode until "), "{explained}");

    // A stop binds at once.
    world.desk(Method::POST, "/v1/restrictions", json!({ "party": "crm:0031", "reason": "said on the phone" })).await;
    crm.get(card).purpose(OUTREACH).await.refused(403, "denied");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_adds_does_not_pass_from_the_upstream_in_report_mode() {
    let until = days_from(SystemClock::shared().now(), 6);
    let card = r#"response = { shape = "card" }"#;
    let apis = in_report_mode(&until.to_string());
    assert!(apis.contains(card));
    let world = gateway().apis(&apis.replace(card, r#"response = { shape = "card", withheld_as = "_withheld" }"#)).start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    let (begin, _) = ADAS_CARD.rsplit_once('}').unwrap();
    world.upstream.json("GET /cards/0031", &format!(r#"{begin},"_withheld":"the upstream's"}}"#));
    world.client("crm").get("/crm/cards/0031").purpose(OUTREACH).await.released(200, &format!(r#"{begin},"_withheld":[]}}"#));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn report_mode_ends_by_itself() {
    let clock = ManualClock::at(SystemClock::shared().now());
    let until = days_from(SystemClock::shared().now(), 2);
    let clock_of_world: Arc<ManualClock> = Arc::clone(&clock);
    let world = gateway().apis(&in_report_mode(&until.to_string())).clock(clock_of_world).start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.upstream.json("GET /cards/0031", ADAS_CARD);
    let ask = || async { world.client("crm").get("/crm/cards/0031").purpose(OUTREACH).await };
    ask().await.released(200, ADAS_CARD);
    metric(&world, "consentry_report_mode{api=\"crm\"} 1", true).await;
    world.pass(&clock, Duration::from_secs(2 * 24 * 3_600 + 60)).await;
    let after = ask().await;
    after.released(200, ADAS_CARD_CUT);
    assert_eq!("permit", world.found(&after).outcome);
    metric(&world, "consentry_report_mode{api=\"crm\"} 1", false).await;
    assert!(readiness(&world).is_empty());
    assert!(world.staff("policy-approver").get("/v1/policies").await.header("consentry-report-mode").is_none());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn report_mode_without_a_near_end_does_not_load() {
    let world = gateway().start().await;
    let config = world.root().join("consentry.toml");
    let runtime = fs::read_to_string(&config).unwrap();
    let plain = include_str!("harness/apis.toml");
    let now = world.clock_now();
    let write = |until: &str| fs::write(&config, runtime.replace(plain, &in_report_mode(until))).unwrap();
    write(&days_from(now, 31).to_string());
    let refused = world.running().reload().await.unwrap_err();
    assert!(
        refused.contains("consentry.toml:") && refused.contains("report mode of api `crm` lasts until") && refused.contains("30 days"),
        "{refused}"
    );
    let (exit, said) = world.consentry(&["check"]);
    assert!(exit == 3 && said.contains("30 days"), "{said}");
    assert!(readiness(&world).is_empty());
    write(&days_from(now, 29).to_string());
    world.running().reload().await.unwrap();
    assert_eq!(readiness(&world).len(), 1);
    // A day counts to its end; one that has gone by is enforced.
    let yesterday = days_from(now, -1).to_zoned(jiff::tz::TimeZone::UTC).date();
    write(&yesterday.to_string());
    world.running().reload().await.unwrap();
    assert!(readiness(&world).is_empty());
    world.finish().await;
}

// ------------------------------------------------------------------ what the gateway saw

#[tokio::test(flavor = "multi_thread")]
async fn members_that_no_shape_maps_can_be_learnt_from_the_running_gateway() {
    let world = gateway().start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.upstream.json("GET /cards/0031", ADAS_CARD);
    world.upstream.json("GET /customers", &format!(r#"{{"customers":[{}],"total":1,"page":{{"no":1}}}}"#, ada()));
    let crm = world.client("crm");
    crm.get("/crm/cards/0031").purpose(OUTREACH).await.released(200, ADAS_CARD_CUT);
    crm.get("/crm/cards/0031").purpose(OUTREACH).await.released(200, ADAS_CARD_CUT);
    crm.get("/crm/customers").purpose(OUTREACH).await;
    let seen = world.staff("operator").get("/v1/drift?api=crm").await.json();
    let routes = seen["routes"].as_array().unwrap();
    assert_eq!(routes.len(), 2, "{seen}");
    let card = routes.iter().find(|route| route["shape"] == "card").unwrap();
    assert_eq!((card["answers"].as_u64(), &card["members"]), (Some(2), &json!([{ "path": "loyalty", "answers": 2 }])), "{seen}");
    let (exit, draft) = world.consentry(&["learn", "--api", "crm"]);
    assert_eq!(exit, 0, "{draft}");
    assert!(
        draft.contains("[shape.customer.fields]\n\"internalFlag\" = \"?\"") && draft.contains("[shape.card.fields]\n\"loyalty\" = \"?\""),
        "{draft}"
    );
    assert!(draft.contains("beside the rows, for `counts` or `open` of the route: page"), "{draft}");
    for value in ["gold", "ann@", "Brandt"] {
        assert!(!draft.contains(value) && !seen.to_string().contains(value), "{value}");
    }
    let nothing = world.consentry(&["learn", "--api", "sales"]);
    assert!(nothing.0 == 0 && nothing.1.contains("no member without a shape was seen"), "{nothing:?}");
    assert_eq!(4, world.consentry(&["learn", "--api", "none"]).0);
    // Who may not.
    for (client, status) in [(world.staff("auditor"), 403), (world.staff("consent-desk"), 403)] {
        assert_eq!(status, client.get("/v1/drift?api=crm").await.status.as_u16());
    }
    assert_eq!(422, world.staff("operator").get("/v1/drift").await.status.as_u16());
    // Other shapes: what was seen by the old ones is not told.
    world.add_policy("// another generation\n").await;
    assert_eq!(json!([]), world.staff("operator").get("/v1/drift?api=crm").await.json()["routes"]);
    world.finish().await;
}
