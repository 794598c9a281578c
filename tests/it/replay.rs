//! Recorded decisions judged again: the log reproduces itself, and a planted policy is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{ada, card, mina, pavel};
use crate::harness::{Gate, Plan, World, entries, gateway};
use crate::process::{Ran, Site, run_in};

const OUTREACH: &str = "sales.outreach";
const SUPPORT: &str = "service-provision.support";
const EMAIL: &str = "marketing.email";

/// Requests of every kind: objects, lists, exports, writes, nobody's data, list checks, employees, opt-outs, refusals.
async fn busy() -> World {
    let world = gateway().start().await;
    for (id, body) in [("0031", ada()), ("0044", mina()), ("0058", pavel()), ("0070", ada().replace("0031", "0070"))] {
        world.upstream.json(&format!("GET /customers/{id}"), &body);
        world.upstream.json(&format!("GET /cards/{id}"), &card(id, "a@example.net"));
    }
    let rows = format!(r#"{{"customers":[{},{},{}],"total":3}}"#, ada(), pavel(), mina());
    world.upstream.json("GET /customers", &rows);
    world.upstream.json("GET /export", &rows);
    world.upstream.json("GET /about", r#"{"version":1}"#);
    world.upstream.json("PATCH /cards/0031", r"{}");
    world.upstream.json("PATCH /customers/0031", &ada());
    for id in ["0031", "0044", "0070"] {
        world.consent(&format!("crm:{id}"), OUTREACH, "given").await;
        world.consent(&format!("crm:{id}"), EMAIL, "given").await;
    }
    world.consent("crm:0058", OUTREACH, "refused").await;
    world.desk(Method::POST, "/v1/objections", json!({ "party": "crm:0031", "kind": "objection-marketing", "reason": "asked by letter" })).await;
    for (app, target, purpose) in [
        ("crm", "/crm/customers/0031", OUTREACH),
        ("crm", "/crm/customers/0044", OUTREACH),
        ("crm", "/crm/customers/0058", OUTREACH),
        ("crm", "/crm/customers/0070", OUTREACH),
        ("crm", "/crm/customers/9999", OUTREACH),
        ("crm", "/crm/customers", OUTREACH),
        ("crm", "/crm/export", OUTREACH),
        ("crm", "/crm/cards/0044", OUTREACH),
        ("crm", "/crm/about", OUTREACH),
        ("campaign-manager", "/crm/customers/0031", EMAIL),
        ("campaign-manager", "/crm/customers/0044", EMAIL),
        ("campaign-manager", "/crm/customers", EMAIL),
        ("campaign-manager", "/sales/invoices/R-8", EMAIL),
        ("helpdesk", "/crm/customers/0031", SUPPORT),
        ("helpdesk", "/crm/cards/0058", SUPPORT),
        ("mdm-hub", "/crm/customers/0044", "data-coordination"),
        ("mdm-hub", "/crm/customers/9999", "data-coordination"),
        ("sales-copilot", "/crm/customers/0031", OUTREACH),
        ("helpdesk", "/crm/customers/0031", EMAIL),
    ] {
        drop(world.client(app).get(target).purpose(purpose).await);
    }
    drop(world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).header("sec-gpc", "1").await);
    let employee = world.token("crm", &json!({ "roles": ["key-account-care"] }));
    drop(world.client("crm").token(employee).get("/crm/customers/0070").purpose(OUTREACH).await);
    let helpdesk = world.client("helpdesk");
    drop(helpdesk.ask(Method::PATCH, "/crm/cards/0031").purpose(SUPPORT).json(r#"{"phone":"1"}"#).await);
    drop(helpdesk.ask(Method::PATCH, "/crm/customers/0031").purpose(SUPPORT).json(r#"{"phone":"1"}"#).await);
    drop(helpdesk.ask(Method::PATCH, "/crm/customers/0031").purpose(SUPPORT).json(r#"{"leadScore":1}"#).await);
    let list = json!({ "purpose": EMAIL, "ids": ["crm:0031", "crm:0044", "crm:9999", "crm:0058"] });
    let checked = world.capture("campaign-manager").post("/v1/check", &list.to_string()).await;
    assert!(checked.status.is_success(), "{checked:?}");
    refused_for_everybody(&world).await;
    world
}

/// What no customer's consent could open: parameters, members of a write, lists, an agent that acts for a customer.
async fn refused_for_everybody(world: &World) {
    let helpdesk = world.client("helpdesk");
    helpdesk.get("/crm/customers?min_score=50").purpose(SUPPORT).await.refused(403, "field-not-permitted");
    for body in [r#"{"phone":"1","leadScore":1}"#, r#"{"phone":"1","role":"admin"}"#] {
        helpdesk.ask(Method::PATCH, "/crm/customers/0031").purpose(SUPPORT).json(body).await.refused(403, "field-not-permitted");
    }
    let crm = world.client("crm");
    // Only somebody who is being created is refused here: others may have agreed.
    crm.post("/crm/customers", r#"{"name":"N","email":"n@example.net"}"#).purpose(OUTREACH).await.refused(403, "denied");
    crm.post("/crm/customers", r#"{"name":"N","leadScore":1}"#).purpose("service-provision").await.refused(403, "field-not-permitted");
    let list = json!({ "purpose": EMAIL, "category": "billing", "ids": ["crm:0031"] });
    let checked = world.capture("campaign-manager").post("/v1/check", &list.to_string()).await;
    assert_eq!((403, "not-entitled"), (checked.status.as_u16(), checked.json()["code"].as_str().unwrap()), "{checked:?}");
    for (target, purpose) in [("/crm/customers/0031", OUTREACH), ("/crm/customers/0044", OUTREACH), ("/sales/invoices/R-8", OUTREACH)] {
        let claims = json!({ "sub": "emp-1", "act": { "sub": "sales-copilot" }, "customer": "crm:0031" });
        drop(world.client("sales-copilot").token(world.token("sales-copilot", &claims)).get(target).purpose(purpose).await);
    }
}

/// The gateway's own folder, and a copy to change.
fn folders(world: &World, root: &Path) -> (PathBuf, PathBuf) {
    let active = world.log_dir().parent().unwrap().join("policies");
    let next = root.join("next");
    fs::create_dir(&next).unwrap();
    for entry in fs::read_dir(&active).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), next.join(entry.file_name())).unwrap();
    }
    (active, next)
}

fn change(folder: &Path, file: &str, from: &str, to: &str) {
    let path = folder.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no `{from}`");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// Marketing may read health data of whoever is a lead.
fn plant(folder: &Path) {
    change(
        folder,
        "40-prohibitions.cedar",
        "unless\n{\n  (context.consent.status",
        "unless\n{\n  context.customer.stage == Stage::\"lead\" ||\n  (context.consent.status",
    );
    change(
        folder,
        "activities.toml",
        "categories = [\"identity\", \"contact\", \"behaviour\"]\nbasis = \"consent\"",
        "categories = [\"identity\", \"contact\", \"behaviour\", \"health\"]\nbasis = \"consent\"\nart9 = \"explicit-consent\"",
    );
    let planted = "\n@id(\"leads-health\")\n@description(\"Planted by a test.\")\npermit (\n  principal in Department::\"marketing\",\n  action == Action::\"read\",\n  resource == Category::\"health\"\n)\nwhen\n{\n  context.purpose in Purpose::\"marketing\" &&\n  context.customer.stage == Stage::\"lead\"\n};\n";
    let path = folder.join("20-sharing.cedar");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text + planted).unwrap();
}

fn replay(root: &Path, world: &World, candidate: &Path, more: &[&str]) -> Ran {
    let (log, candidate) = (world.log_dir(), candidate.to_str().unwrap().to_owned());
    let active = log.parent().unwrap().join("policies");
    let mut args = vec!["policy", "replay", "--candidate", &candidate, "--log", log.to_str().unwrap(), "--active", active.to_str().unwrap()];
    args.extend(more);
    run_in(root, &args)
}

fn as_json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_reproduces_itself_and_the_same_folder_changes_nothing() {
    let world = busy().await;
    let root = tempfile::tempdir().unwrap();
    let (_, next) = folders(&world, root.path());
    let ran = replay(root.path(), &world, &next, &["--format", "json"]);
    let found = as_json(&ran);
    assert_eq!((0, true), (ran.exit, found["ok"].as_bool().unwrap()), "{ran:?}");
    assert!(found["answers"].as_u64().unwrap() > 100, "{found}");
    assert_eq!(found["answers"], found["unchanged"]);
    assert_eq!((&found["answers"], &found["answers"]), (&found["reproduced"]["of"], &found["reproduced"]["answers"]));
    assert_eq!((&json!([]), &json!([])), (&found["differences"], &found["skipped"]));
    let anybody: Vec<String> = entries(&world.log_dir()).iter().filter(|entry| entry.kind() == "deny").filter_map(about_anybody).collect();
    for code in ["not-entitled", "field-not-permitted"] {
        assert!(anybody.iter().filter(|found| *found == code).count() >= 3, "{anybody:?}");
    }
    world.finish().await;
}

/// The code of a refusal that is about nobody in particular.
fn about_anybody(entry: &consentry::audit::Logged) -> Option<String> {
    let verdict = &entry.resolved["groups"][0]["verdicts"]["verdicts"][0];
    (verdict["grounds"]["whom"] == "anybody").then(|| entry.resolved["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_for_everybody_is_found_where_the_candidate_would_open_it_for_somebody() {
    let world = gateway().start().await;
    refused_for_everybody(&world).await;
    let root = tempfile::tempdir().unwrap();
    let (_, next) = folders(&world, root.path());
    // The help desk may see behaviour, marketing billing, each with consent.
    change(
        &next,
        "activities.toml",
        "categories = [\"identity\", \"contact\", \"order\", \"case\", \"billing\", \"free-text\"]",
        "categories = [\"identity\", \"contact\", \"order\", \"case\", \"billing\", \"free-text\", \"behaviour\"]",
    );
    change(
        &next,
        "activities.toml",
        "categories = [\"identity\", \"contact\", \"behaviour\"]\nbasis = \"consent\"",
        "categories = [\"identity\", \"contact\", \"behaviour\", \"billing\"]\nbasis = \"consent\"",
    );
    let planted = "\n@id(\"with-consent\")\n@description(\"Planted.\")\npermit (\n  principal,\n  action == Action::\"read\",\n  resource\n)\nwhen\n{\n  context.consent.status == ConsentStatus::\"given\" &&\n  context.purpose in principal.registered_purposes\n};\n";
    let path = next.join("20-sharing.cedar");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text + planted).unwrap();
    let found = as_json(&replay(root.path(), &world, &next, &["--format", "json"]));
    let gains: Vec<[&str; 3]> = found["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| ["app", "category", "direction"].map(|member| row[member].as_str().unwrap()))
        .collect();
    for gain in [["campaign-manager", "billing", "gains"], ["helpdesk", "behaviour", "gains"]] {
        assert!(gains.contains(&gain), "{gain:?} is not in {gains:?}: {found:#}");
    }
    assert_eq!(found["reproduced"]["of"], found["reproduced"]["answers"]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_widening_ends_with_1_until_it_is_named() {
    let world = busy().await;
    let root = tempfile::tempdir().unwrap();
    let (_, next) = folders(&world, root.path());
    plant(&next);
    let ran = replay(root.path(), &world, &next, &[]);
    assert_eq!(1, ran.exit, "{ran:?}");
    let shown = ran.stdout.lines().skip(1).map(mask).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(shown, @r"
    reproduced 135 of 135 with the folder that decided

           answers  customers  app               dept       purpose          category  policy
    gains        2          1  campaign-manager  marketing  marketing.email  health    leads-health share-with-consent

    2 answers would gain health
    unchanged 133 · owners of what changes: service
    2 answers widen without being named: #, # · look: consentry explain --decision
    ");
    let found = as_json(&replay(root.path(), &world, &next, &["--format", "json"]));
    let [difference] = &found["differences"].as_array().unwrap()[..] else { panic!("{found:#}") };
    let named = ["direction", "app", "department", "purpose", "category", "before", "after"].map(|member| difference[member].as_str().unwrap());
    assert_eq!(["gains", "campaign-manager", "marketing", "marketing.email", "health", "withheld", "full"], named);
    assert_eq!((&json!(["leads-health", "share-with-consent"]), &json!(1)), (&difference["policies"], &difference["customers"]));
    assert_eq!(found["reproduced"]["of"], found["reproduced"]["answers"]);

    let allow = root.path().join("widening.toml");
    let allowed = |text: &str| {
        fs::write(&allow, text).unwrap();
        replay(root.path(), &world, &next, &["--allow", allow.to_str().unwrap()])
    };
    let named = "[[allow]]\napp = \"campaign-manager\"\ncategory = \"health\"\nreason = \"PRIV-320\"\n";
    let ran = allowed(named);
    assert_eq!(0, ran.exit, "{ran:?}");
    assert!(ran.stdout.contains("allowed by line 1: PRIV-320"), "{}", ran.stdout);
    let unused = "[[allow]]\napp = \"crm\"\ncategory = \"health\"\nreason = \"another\"\n";
    let ran = allowed(&format!("{named}{unused}"));
    assert_eq!(0, ran.exit, "{ran:?}");
    assert!(ran.stdout.contains("widening.toml:5: allows nothing that happened"), "{}", ran.stdout);
    assert_eq!(1, allowed(unused).exit);
    assert_eq!(3, allowed("[[allow]]\napp = \"crn\"\nreason = \"x\"\n").exit);
    // The other way round nothing widens.
    let active = world.log_dir().parent().unwrap().join("policies");
    let log = world.log_dir();
    let back = ["policy", "replay", "--candidate", active.to_str().unwrap(), "--log", log.to_str().unwrap(), "--active", next.to_str().unwrap()];
    let ran = run_in(root.path(), &back);
    assert_eq!(0, ran.exit, "{ran:?}");
    assert!(ran.stdout.contains("reproduced nothing"), "{}", ran.stdout);
    world.finish().await;
}

/// Numbers of decisions differ from run to run.
fn mask(line: &str) -> String {
    let mut out = String::new();
    let mut in_number = false;
    for c in line.chars() {
        in_number = c == '#' || (in_number && c.is_ascii_digit());
        if !in_number || c == '#' {
            out.push(c);
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_replayed_is_no_silent_success() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.consent("crm:0031", OUTREACH, "given").await;
    world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await;
    let root = tempfile::tempdir().unwrap();
    let (_, next) = folders(&world, root.path());
    change(&next, "consent.toml", "customer-last-word/v1", "most-restrictive/v1");
    let ran = replay(root.path(), &world, &next, &[]);
    assert_eq!(1, ran.exit, "{ran:?}");
    assert!(ran.stdout.contains("consent status may differ"), "{}", ran.stdout);
    // Nothing else was recorded, and a log of which nothing was judged again proves nothing.
    assert_eq!(1, replay(root.path(), &world, &next, &["--accept-skipped"]).exit);
    let later = replay(root.path(), &world, &next, &["--since", "2999-01-01T00:00:00Z"]);
    assert!(later.exit == 1 && later.stdout.contains("nothing is proved"), "{later:?}");
    change(&next, "20-sharing.cedar", "permit (", "permitt (");
    let broken = replay(root.path(), &world, &next, &[]);
    assert!(broken.exit == 3 && broken.stdout.contains("20-sharing.cedar:"), "{broken:?}");
    let away = run_in(
        root.path(),
        &["policy", "replay", "--candidate", world.log_dir().parent().unwrap().join("policies").to_str().unwrap(), "--log", "nowhere"],
    );
    assert_eq!(4, away.exit, "{away:?}");
    world.finish().await;
}

#[test]
fn a_shadow_is_started_looked_at_and_stopped_from_the_command_line() {
    let site = Site::new();
    let gateway = site.start();
    let root = tempfile::tempdir().unwrap();
    let next = root.path().join("next");
    fs::create_dir(&next).unwrap();
    for (name, text) in consentry::policy::files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap() {
        fs::write(next.join(name), text).unwrap();
    }
    let certs = site.state.certs();
    let author = &certs.staff["policy-author"];
    let server = format!("https://localhost:{}", site.addresses.admin.port());
    let files = [&certs.internal_ca, &author.chain, &author.key].map(|path| path.to_str().unwrap().to_owned());
    let shadow = |command: &[&str]| {
        let server = ["--server", &server, "--ca", &files[0], "--cert", &files[1], "--key", &files[2]];
        run_in(root.path(), &[&["policy", "shadow"], command, &server].concat())
    };
    let none = shadow(&["diff"]);
    assert!(none.exit == 4 && none.stderr.contains("there is no shadow"), "{none:?}");
    let started = shadow(&["start", "next"]);
    assert!(started.exit == 0 && started.stdout.contains("nothing of it is enforced"), "{started:?}");
    let (diff, stopped) = (shadow(&["diff"]), shadow(&["stop"]));
    assert!(diff.exit == 0 && diff.stdout.contains("0 answers would gain, 0 would lose"), "{diff:?}");
    assert_eq!((0, 4), (stopped.exit, shadow(&["stop"]).exit), "{stopped:?}");
    change(&next, "20-sharing.cedar", "permit (", "permitt (");
    let broken = shadow(&["start", "next"]);
    assert!(broken.exit == 3 && broken.stdout.contains("next/20-sharing.cedar:") && broken.stdout.contains("nothing was sent"), "{broken:?}");
    gateway.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_counts_what_the_candidate_would_say_and_changes_nothing() {
    let world = gateway().start().await;
    let rows = format!(r#"{{"customers":[{},{},{}],"total":3}}"#, ada(), pavel(), mina());
    world.upstream.json("GET /customers", &rows);
    world.upstream.json("GET /customers/0044", &mina());
    for id in ["0031", "0044"] {
        world.consent(&format!("crm:{id}"), EMAIL, "given").await;
    }
    let marketing = world.client("campaign-manager");
    let before = [marketing.get("/crm/customers/0044").purpose(EMAIL).await, marketing.get("/crm/customers").purpose(EMAIL).await];
    let root = tempfile::tempdir().unwrap();
    let (active, next) = folders(&world, root.path());
    let instance = world.running().instance();
    assert!(instance.shadow(false).is_none());
    let mut broken = consentry::policy::files(&active).unwrap();
    broken.remove("consent.toml");
    assert!(instance.start_shadow(&broken).is_err() && instance.shadow(false).is_none(), "a broken candidate changes nothing");
    plant(&next);
    instance.start_shadow(&consentry::policy::files(&next).unwrap()).unwrap();
    let during = [marketing.get("/crm/customers/0044").purpose(EMAIL).await, marketing.get("/crm/customers").purpose(EMAIL).await];
    for (one, other) in before.iter().zip(&during) {
        assert_eq!((one.status, one.text()), (other.status, other.text()), "nothing of the candidate is enforced");
    }
    let report = instance.shadow(false).unwrap();
    let [row] = &report["differences"].as_array().unwrap()[..] else { panic!("{report:#}") };
    // The lead once by name and once as a row.
    assert_eq!((&json!("gains"), &json!(2), &json!("health")), (&row["direction"], &row["answers"], &row["category"]));
    assert_eq!((&json!("campaign-manager"), &json!(["leads-health", "share-with-consent"])), (&row["app"], &row["policies"]));
    assert_eq!((&json!(2), &json!(0), &json!(0)), (&report["gains"], &report["loses"], &report["failed"]));
    assert!(instance.metrics().contains("consentry_shadow_differences_total{direction=\"gains\"} 2"), "{}", instance.metrics());
    assert_eq!(report["gains"], instance.shadow(true).unwrap()["gains"]);
    assert!(instance.shadow(false).is_none());
    marketing.get("/crm/customers/0044").purpose(EMAIL).await;
    let steps: Vec<Value> = entries(&world.log_dir()).into_iter().filter(|entry| entry.kind() == "shadow").map(|entry| entry.resolved).collect();
    assert_eq!(("started", "stopped"), (steps[0]["step"].as_str().unwrap(), steps.last().unwrap()["step"].as_str().unwrap()));
    assert_eq!(json!(2), steps.last().unwrap()["gains"]);
    assert_eq!("leads-health", steps.last().unwrap()["rows"][0]["policies"][0]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_anew_does_not_claim_the_grounds_of_its_head() {
    const STOP: &str = "\n@id(\"stop\")\n@description(\"x\")\nforbid (principal, action, resource)\nwhen { context.purpose == Purpose::\"sales.outreach\" && context.customer.stage == Stage::\"customer\" };\n";
    let world = Arc::new(gateway().start().await);
    let gate = Gate::closed();
    let mut asking = Vec::new();
    for (id, body) in [("0031", ada()), ("0044", mina())] {
        world.consent(&format!("crm:{id}"), OUTREACH, "given").await;
        world.upstream.on(&format!("GET /customers/{id}"), Plan::json(&body).behind(&gate));
        let (world, target) = (Arc::clone(&world), format!("/crm/customers/{id}"));
        asking.push(tokio::spawn(async move { world.client("crm").get(&target).purpose(OUTREACH).await }));
        gate.arrived().await;
    }
    world.add_policy(STOP).await;
    gate.release();
    gate.release();
    for (asking, (status, kind)) in asking.into_iter().zip([(403, "deny"), (200, "part")]) {
        let answer = asking.await.unwrap();
        assert_eq!(status, answer.status.as_u16(), "{answer:?}");
        let head: u64 = answer.decision().unwrap().rsplit_once('#').unwrap().1.parse().unwrap();
        let groups = |wanted: &str, of: Option<u64>| {
            let all = entries(&world.log_dir());
            let found = all.iter().find(|e| e.kind() == wanted && e.value.get("of").and_then(Value::as_u64) == of && e.decision() == Some(head));
            found.unwrap_or_else(|| panic!("no {wanted} of {head}")).resolved["groups"].to_string()
        };
        assert!(groups("permit", None).contains("\"grounds\""));
        let anew = groups(kind, Some(head));
        assert!(anew.contains("\"verdicts\"") && !anew.contains("\"grounds\""), "{anew}");
    }
    Arc::into_inner(world).unwrap().finish().await;
}
