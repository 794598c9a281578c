//! Signed policy bundles, as authors and approvers handle them with the command line, their SSH keys and a running gateway.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use consentry::clock::{ManualClock, SystemClock};
use consentry::consent::{Capturer, IdempotencyKey};
use consentry::console::Code;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::harness::people::ada;
use crate::harness::{Gate, Plan, World, entries, gateway, soon};
use crate::process::screen;

const OUTREACH: &str = "sales.outreach";
const SUPPORT: &str = "service-provision.support";
const PEOPLE: [&str; 6] = ["kim@marketing", "ada@marketing", "lee@sales", "max@finance", "ivo@it", "sam@service"];
/// Takes contact (marketing's) and orders (sales') from everybody's reads for outreach.
const STOP: &str = "\n@id(\"stop\")\n@description(\"x\")\nforbid (principal, action == Action::\"read\", resource)\nwhen { [Category::\"contact\", Category::\"order\"].contains(resource) && context.purpose == Purpose::\"sales.outreach\" };\n";
const CASE: &str = "[[case]]\nname = \"withdrawn\"\napp = \"campaign-manager\"\naction = \"read\"\ncategory = \"contact\"\npurpose = \"marketing.email\"\nconsent = \"withdrawn\"\nexpect = \"deny\"\n";
const FAR: &str = "2099-01-01T00:00:00Z";

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn has_ssh_keygen() -> bool {
    let found = Command::new("ssh-keygen").arg("-?").output().is_ok();
    if !found {
        eprintln!("skipped: ssh-keygen is not installed");
    }
    found
}

fn run(root: &Path, program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).current_dir(root).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
}

fn name(who: &str) -> &str {
    who.split_once('@').unwrap().0
}

/// Keys, allowed signers, and a first bundle that everybody signed.
fn govern(root: &Path, expires: &str) {
    fs::create_dir(root.join("policies/tests")).unwrap();
    fs::write(root.join("policies/tests/house.toml"), CASE).unwrap();
    fs::create_dir(root.join("policies/invariants")).unwrap();
    let invariants = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/invariants/callers.toml");
    fs::copy(invariants, root.join("policies/invariants/callers.toml")).unwrap();
    let mut signers = String::new();
    for who in PEOPLE {
        run(root, "ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", name(who)]);
        let key = fs::read_to_string(root.join(format!("{}.pub", name(who)))).unwrap();
        signers.extend([who, " ", &key]);
    }
    fs::write(root.join("approvers"), signers).unwrap();
    let config = root.join("consentry.toml");
    let text = fs::read_to_string(&config).unwrap();
    let signed = text.replace("folder = \"policies\"\nunsigned = true", "bundle = \"active.bundle\"\nallowed_signers = \"approvers\"");
    assert_ne!(text, signed);
    fs::write(&config, signed).unwrap();
    let consentry = env!("CARGO_BIN_EXE_consentry");
    run(root, consentry, &["policy", "bundle", "--version", "1", "--expires", expires, "--author", "kim@marketing", "-o", "active.bundle"]);
    for who in PEOPLE {
        run(root, consentry, &["policy", "sign", "active.bundle", "--key", name(who)]);
    }
    for file in ["active.bundle", "active.bundle.sigs"] {
        fs::copy(root.join(file), root.join(file.replace("active", "first"))).unwrap();
    }
}

/// A bundle of the folder as it is, signed by its author.
fn bundled(world: &World, version: &str, author: &str, more: &[&str]) -> String {
    let file = format!("v{version}.bundle");
    let mut args = vec!["policy", "bundle", "--version", version, "--author", author, "-o", &file];
    args.extend(more);
    for (option, value) in [("--expires", FAR), ("--replaces", "active.bundle")] {
        if !more.contains(&option) {
            args.extend([option, value]);
        }
    }
    let (exit, text) = world.consentry(&args);
    assert!(exit == 0 && world.root().join(&file).exists(), "{exit} {text}");
    let (exit, signed) = world.consentry(&["policy", "sign", &file, "--key", name(author)]);
    assert_eq!(0, exit, "{signed}");
    if version == "2" {
        screen("policy_bundle_and_sign", &format!("{text}{signed}"));
    }
    file
}

fn approve(world: &World, file: &str, who: &str) -> String {
    let (exit, text) = world.consentry(&["policy", "approve", file, "--as", name(who), "--against", "active.bundle", "--yes"]);
    assert_eq!(exit, 0, "{text}");
    text
}

fn status(world: &World, file: &str) -> (i32, String) {
    world.consentry(&["policy", "status", file, "--against", "active.bundle", "--allowed-signers", "approvers"])
}

fn of_kind(world: &World, kind: &str) -> Vec<Value> {
    entries(&world.log_dir()).into_iter().filter(|entry| entry.kind() == kind).map(|entry| entry.value).collect()
}

fn edit(world: &World, stop: bool) {
    let path = world.root().join("policies/40-prohibitions.cedar");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, if stop { format!("{text}{STOP}") } else { text.replace(STOP, "") }).unwrap();
}

/// What an author does before a bundle is made of the folder, which would open contact and orders for outreach.
async fn try_out(world: &World) {
    let said = |args: &[&str], code: i32, part: &str| {
        let (exit, text) = world.consentry(args);
        assert!(exit == code && text.contains(part), "{args:?}: {exit} {text}");
        text
    };
    let case = "\n[[case]]\nname = \"sales reaches out\"\napp = \"crm\"\naction = \"read\"\ncategory = \"contact\"\npurpose = \"sales.outreach\"\nconsent = \"given\"\nexpect = \"allow\"\n";
    let cases = world.root().join("policies/tests/house.toml");
    fs::write(&cases, format!("{CASE}{case}")).unwrap();
    said(&["policy", "fmt", "--check"], 0, "");
    screen("policy_check", &said(&["policy", "check"], 0, "no errors"));
    said(&["policy", "test"], 0, "2 passed");
    edit(world, true);
    said(&["policy", "test"], 1, "1 failed");
    edit(world, false);

    // In the shadow of what apps ask meanwhile: it counts, and enforces nothing.
    screen("policy_shadow_start", &said(&["policy", "shadow", "start", "policies"], 0, "nothing of it is enforced"));
    let first = world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await;
    let load = async || {
        let crm = world.client("crm");
        for _ in 0..50 {
            let answer = crm.get("/crm/customers/0031").purpose(OUTREACH).await;
            assert_eq!((answer.status, answer.text()), (first.status, first.text()));
        }
    };
    tokio::join!(load(), load(), load(), load());
    let (exit, text) = world.consentry(&["policy", "shadow", "diff", "--format", "json"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    let counted = ["gains", "loses", "failed"].map(|count| report[count].as_u64().unwrap());
    assert!(exit == 1 && counted == [201, 0, 0], "{text}");
    screen("policy_shadow_stop", &said(&["policy", "shadow", "stop"], 0, "201 answers would gain"));

    // The log says the same, and a line for each widening that is meant lets it through.
    let replay = ["policy", "replay", "--candidate", "policies", "--format", "json"];
    said(&replay, 1, "\"gains\"");
    let meant = "[[allow]]\napp = \"crm\"\ncategory = \"contact\"\nreason = \"campaign for outreach\"\n";
    fs::write(world.root().join("meant.toml"), meant).unwrap();
    let report = said(&[&replay[..], &["--allow", "meant.toml"]].concat(), 0, "campaign for outreach");
    fs::write(world.root().join("replay.json"), report).unwrap();

    if Command::new("cvc5").arg("--version").output().is_ok() {
        said(&["policy", "prove"], 0, "proved");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_bundled_signed_and_activated_and_nothing_else_is_taken() {
    if !has_ssh_keygen() {
        return;
    }
    let world = gateway().prepared(|root| govern(root, FAR)).start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.consent("crm:0031", OUTREACH, "given").await;
    let withheld = async || world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await.withheld().unwrap();
    let before = withheld().await;
    assert_eq!(of_kind(&world, "policy_activated")[0]["version"], 1, "the first bundle is recorded, too");

    // Narrowing: one approver of any department, who is not the author.
    edit(&world, true);
    let v2 = bundled(&world, "2", "kim@marketing", &[]);
    let (exit, text) = status(&world, &v2);
    assert!(exit == 1 && text.contains("nothing opens") && text.contains("missing: one more department"), "{exit} {text}");
    screen("policy_status_of_a_bundle", &text);
    let (exit, text) = world.consentry(&["policy", "activate", &v2]);
    assert!(exit == 1 && text.contains("one more department"), "{exit} {text}");
    screen("policy_activate_refused", &text);
    assert_eq!(withheld().await, before, "a refused bundle changes nothing");
    assert!(approve(&world, &v2, "max@finance").contains("nothing opens"));
    let (exit, text) = world.consentry(&["policy", "activate", &v2]);
    assert!(exit == 0 && text.contains("version 2"), "{exit} {text}");
    screen("policy_activate", &text);
    assert!(withheld().await > before, "the new policy decides");
    let activated = of_kind(&world, "policy_activated").pop().unwrap();
    assert_eq!((&activated["version"], &activated["only_narrows"], &activated["approved"][0]), (&2.into(), &true.into(), &"finance".into()));

    // Opening it again: the owners of both categories.
    edit(&world, false);
    try_out(&world).await;
    let v3 = bundled(&world, "3", "max@finance", &[]);
    let args = ["policy", "approve", &v3, "--as", "ada", "--against", "active.bundle", "--replay", "replay.json", "--yes"];
    let (exit, text) = world.consentry(&args);
    assert!(exit == 0 && text.contains("must approve: marketing, sales") && text.contains("campaign for outreach"), "{exit} {text}");
    screen("policy_approve", &text);
    let (exit, text) = world.consentry(&["policy", "activate", &v3]);
    assert!(exit == 1 && text.contains("somebody of sales") && !text.contains("marketing"), "{exit} {text}");
    approve(&world, &v3, "lee@sales");
    assert_eq!(status(&world, &v3).0, 0);
    assert_eq!(world.consentry(&["policy", "activate", &v3]).0, 0);
    assert_eq!(withheld().await, before);
    let (exit, text) = world.consentry(&["policy", "status"]);
    assert!(exit == 0 && text.contains("version 3") && text.contains("ada@marketing, lee@sales"), "{text}");
    screen("policy_status", &text);

    // An author's own signature does not count, of whatever department.
    edit(&world, true);
    fs::write(world.root().join("policies/tests/house.toml"), CASE).unwrap();
    let own = bundled(&world, "4", "lee@sales", &[]);
    approve(&world, &own, "lee@sales");
    assert_eq!(world.consentry(&["policy", "activate", &own]).0, 1);
    approve(&world, &own, "ada@marketing");
    let good = fs::read(world.root().join(&own)).unwrap();

    // Whatever is wrong with it, and the word for it in the log.
    let refused = |file: &str, reason: &str| {
        let (exit, text) = world.consentry(&["policy", "activate", file]);
        assert_eq!(exit, 3, "{reason}: {text}");
        if reason != "broken here" {
            assert_eq!(of_kind(&world, "policy_rejected").pop().unwrap()["reason"], reason, "{text}");
        }
    };
    refused("first.bundle", "rollback");
    let late = bundled(&world, "5", "kim@marketing", &["--expires", "2020-01-01T00:00:00Z"]);
    approve(&world, &late, "max@finance");
    refused(&late, "expired");
    let beside = bundled(&world, "6", "kim@marketing", &["--replaces", &v2]);
    refused(&beside, "other-base");
    let apis = world.root().join("other.toml");
    let text = fs::read_to_string(world.root().join("consentry.toml")).unwrap();
    fs::write(&apis, text.replacen("[[api]]", "[ids.other]\ngrammar = \"[0-9]+\"\n\n[[api]]", 1)).unwrap();
    let routes = bundled(&world, "7", "kim@marketing", &["--config", "other.toml"]);
    refused(&routes, "other-routes");
    for at in [0, 600, good.len() / 2, good.len() - 1] {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        fs::write(world.root().join("flipped.bundle"), &flipped).unwrap();
        fs::copy(world.root().join(format!("{own}.sigs")), world.root().join("flipped.bundle.sigs")).unwrap();
        refused("flipped.bundle", "broken here");
    }
    assert_eq!(withheld().await, before, "nothing of all that was taken");

    // The gateway's own copy is what was activated, or nothing.
    let world = world.restarted().await;
    for file in ["active.bundle", "active.bundle.sigs"] {
        fs::copy(world.root().join(file), world.root().join(file.replace("active", "third"))).unwrap();
        fs::copy(world.root().join(file.replace("active", "first")), world.root().join(file)).unwrap();
    }
    let error = world.running().reload().await.unwrap_err();
    assert!(error.contains("not the bundle that was activated last (version 3)"), "{error}");
    for file in ["active.bundle", "active.bundle.sigs"] {
        fs::copy(world.root().join(file.replace("active", "third")), world.root().join(file)).unwrap();
    }
    world.running().reload().await.unwrap();
    // Somebody who left: what only that person approved does not hold any more.
    let approvers = fs::read_to_string(world.root().join("approvers")).unwrap();
    let without: String = approvers.lines().filter(|line| !line.starts_with("lee@")).flat_map(|line| [line, "\n"]).collect();
    fs::write(world.root().join("approvers"), without).unwrap();
    let error = world.running().reload().await.unwrap_err();
    assert!(error.contains("somebody of sales"), "{error}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_has_run_out_decides_nothing() {
    if !has_ssh_keygen() {
        return;
    }
    let now = SystemClock::shared().now();
    let clock = ManualClock::at(now);
    let expires = (now + Duration::from_secs(3_600)).to_string();
    let world = gateway().clock(Arc::<ManualClock>::clone(&clock)).prepared(move |root| govern(root, &expires)).start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.consent("crm:0031", OUTREACH, "given").await;
    let crm = world.client("crm");
    assert_eq!(crm.get("/crm/customers/0031").purpose(OUTREACH).await.status, 200);
    world.pass(&clock, Duration::from_secs(3_601)).await;
    crm.get("/crm/customers/0031").purpose(OUTREACH).await.refused(503, "policy-stale");
    let ready = world.running().instance().readiness();
    assert!(
        !ready.is_ready()
            && ready.checks.iter().any(|check| check.name == "policies" && check.why.as_ref().is_some_and(|why| why.contains("policy-stale")))
    );
    // It starts even so, since a later bundle must be able to come; a clock that was set back changes nothing.
    clock.step_to(now);
    let world = world.restarted().await;
    world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await.refused(503, "policy-stale");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_released_or_sent_once_the_bundle_has_run_out_on_the_way() {
    const BIG: usize = 1_000_000;
    if !has_ssh_keygen() {
        return;
    }
    let now = SystemClock::shared().now();
    let clock = ManualClock::at(now);
    let expires = (now + Duration::from_secs(3_600)).to_string();
    let world = Arc::new(gateway().clock(Arc::<ManualClock>::clone(&clock)).prepared(move |root| govern(root, &expires)).start().await);
    for id in ["crm:0031", "crm:0058"] {
        world.consent(id, OUTREACH, "given").await;
    }
    let ticket = r#"{"id":"t1","state":"open","subject":"Broken","requester":{"email":"ada.brandt@example.net"},"cc":[]}"#;
    world.upstream.json("PATCH /customers/0031", &ada());
    let written = world.client("helpdesk").patch("/crm/customers/0031", r#"{"phone":"1"}"#).purpose(SUPPORT).await;
    assert!(written.status == 200 && !written.text().is_empty(), "{written:?}");
    let explained = async || {
        let question = json!({ "method": "GET", "url": "/crm/customers/0031", "app": "crm", "purpose": OUTREACH });
        world.staff("policy-author").post("/v1/explain", &question.to_string()).await.json()
    };
    assert_eq!(explained().await["permitted"], true);
    drop(world.upstream.asked());

    let gate = Gate::closed();
    for (what, body) in [
        ("GET /customers/0031", ada()),
        ("GET /about", r#"{"version":1}"#.to_owned()),
        ("GET /tickets/t1", ticket.to_owned()),
        ("PATCH /customers/0031", ada()),
    ] {
        world.upstream.on(what, Plan::json(&body).behind(&gate));
    }
    world.upstream.json("GET /customers/0058", &ada().replace("0031", "0058").replace("Ada", &"A".repeat(BIG)));
    let asking = |app: &'static str, target: &'static str, purpose: &'static str, body: Option<&'static str>| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let client = world.client(app);
            let asked = body.map_or_else(|| client.get(target), |body| client.patch(target, body));
            asked.purpose(purpose).await
        })
    };
    let read = asking("crm", "/crm/customers/0031", OUTREACH, None);
    let free = asking("crm", "/crm/about", OUTREACH, None);
    let unsent = asking("helpdesk", "/desk/tickets/t1", SUPPORT, Some(r#"{"subject":"x"}"#));
    let sent = asking("helpdesk", "/crm/customers/0031", SUPPORT, Some(r#"{"phone":"1"}"#));
    for _ in 0..4 {
        gate.arrived().await;
    }
    let slow = world.client("crm").http2();
    let mut stream = slow.get("/crm/customers/0058").purpose(OUTREACH).begin().await;
    let mut came = soon("the first piece", stream.frame()).await.unwrap().unwrap().into_data().unwrap().len();
    world.pass(&clock, Duration::from_secs(3_600)).await;
    for _ in 0..4 {
        gate.release();
    }
    for answer in [read.await.unwrap(), free.await.unwrap(), unsent.await.unwrap()] {
        answer.refused(503, "policy-stale");
    }
    let answer = sent.await.unwrap();
    answer.released(200, "");
    assert!(!world.upstream.asked().contains(&"PATCH /tickets/t1".to_owned()));
    let is_cut = loop {
        match soon("the next piece", stream.frame()).await {
            Some(Ok(frame)) => came += frame.into_data().map_or(0, |data| data.len()),
            Some(Err(_cut)) => break true,
            None => break false,
        }
    };
    assert!(is_cut && came < BIG / 2, "{came} bytes came");

    // Nor is anything decided without an API, or said to be permitted.
    let list = json!({ "purpose": OUTREACH, "ids": ["crm:0031"] });
    let checked = world.capture("crm").post("/v1/check", &list.to_string()).await;
    assert_eq!((503, "policy-stale"), (checked.status.as_u16(), checked.code().as_str()), "{checked:?}");
    let explained = explained().await;
    assert!(explained["permitted"] == false && explained["text"].as_str().unwrap().contains("policy-stale"), "{explained}");

    // A clock that is set back does not bring it back, and a reload does not either.
    clock.step_to(now);
    let ask = async || world.client("crm").get("/crm/customers/0058").purpose(OUTREACH).await;
    ask().await.refused(503, "policy-stale");
    world.running().reload().await.unwrap();
    ask().await.refused(503, "policy-stale");
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_policies_come_from_cannot_change_while_the_gateway_runs() {
    if !has_ssh_keygen() {
        return;
    }
    let world = gateway().prepared(|root| govern(root, FAR)).start().await;
    let config = world.root().join("consentry.toml");
    let text = fs::read_to_string(&config).unwrap();
    for end in ["", ".sigs"] {
        fs::copy(world.root().join(format!("active.bundle{end}")), world.root().join(format!("other.bundle{end}"))).unwrap();
    }
    let unsigned = text.replace("bundle = \"active.bundle\"\nallowed_signers = \"approvers\"", "folder = \"policies\"\nunsigned = true");
    for other in [unsigned, text.replace("active.bundle", "other.bundle")] {
        assert_ne!(other, text);
        fs::write(&config, other).unwrap();
        let error = world.running().reload().await.unwrap_err();
        assert!(error.contains("the place of the policies cannot change while the gateway runs"), "{error}");
        assert!(world.running().instance().bundle().is_some(), "the bundle decides");
    }
    fs::write(&config, text).unwrap();
    world.running().reload().await.unwrap();
    world.finish().await;

    let world = gateway().start().await;
    govern(world.root(), FAR);
    let error = world.running().reload().await.unwrap_err();
    assert!(error.contains("takes its policies from an unsigned folder"), "{error}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_that_cannot_be_kept_changes_nothing_and_may_be_asked_for_again() {
    if !has_ssh_keygen() {
        return;
    }
    let world = gateway().prepared(|root| govern(root, FAR)).start().await;
    edit(&world, true);
    let next = bundled(&world, "2", "kim@marketing", &[]);
    assert_eq!(0, world.consentry(&["policy", "sign", &next, "--key", "max"]).0);
    let read = |end: &str| fs::read(world.root().join(format!("{next}{end}"))).unwrap();
    let (bundle, signatures) = (read(""), String::from_utf8(read(".sigs")).unwrap());
    // As a request would; directly, since comparing two sets takes longer here than a request may.
    let activate = async |world: &World| {
        let (instance, bundle, signatures, key) = (world.running().instance(), bundle.clone(), signatures.clone(), key());
        tokio::task::spawn_blocking(move || instance.activate_bundle(&bundle, &signatures, Some(&key)).map_err(|problem| problem.code)).await.unwrap()
    };
    let done = |world: &World| world.running().shared().ledger.done(&key()).unwrap().map(|done| done.detail.unwrap());
    let version = |world: &World| world.running().instance().bundle().unwrap()["version"].clone();
    // What cannot be written stands in the way of the new file.
    let in_the_way = world.root().join("active.bundle.sigs.next");
    fs::create_dir(&in_the_way).unwrap();
    assert_eq!(activate(&world).await.unwrap_err(), Code::Unavailable);
    assert_eq!((json!(1), None), (version(&world), done(&world)), "a repeat is not told that it was done");
    // What the log says of it does not make the active one another's.
    assert_eq!(of_kind(&world, "policy_activated").pop().unwrap()["version"], 2);
    world.running().reload().await.unwrap();
    let world = world.restarted().await;
    assert_eq!(json!(1), version(&world));
    fs::remove_dir(in_the_way).unwrap();
    assert_eq!(activate(&world).await.unwrap()["version"], 2);
    assert_eq!((json!(2), Some("2".to_owned())), (version(&world), done(&world)));
    let world = world.restarted().await;
    assert_eq!(json!(2), version(&world));
    world.finish().await;
}

fn key() -> IdempotencyKey {
    IdempotencyKey::new(&Capturer::Staff { pseudonym: "e_1".to_owned() }, "k-activate", [1; 32])
}
