//! One customer across systems, at the gateway: merged, split, held, erased. And the same by the built binary.

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{ada, ada_for_outreach, mina, mina_for_outreach};
use crate::harness::{Answer, World, gateway};
use crate::process::{MINA, MINAS, Site};

const OUTREACH: &str = "sales.outreach";

async fn act(world: &World, id: &str, verb: &str, more: Value) -> Value {
    let mut body = json!({ "reason": "ticket 4471" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.desk(Method::POST, &format!("/v1/parties/{id}:{verb}"), body).await.json()
}

async fn erase(world: &World, id: &str) -> Answer {
    world.staff("consent-desk").post(&format!("/v1/parties/{id}:erase"), r#"{"reason":"letter 31"}"#).await
}

async fn serve_both(world: &World) {
    world.upstream.json("GET /customers/0031", &ada());
    world.upstream.json("GET /customers/0044", &mina());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_closes_what_either_side_refused_on_connections_that_are_open() {
    let world = gateway().start().await;
    serve_both(&world).await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0044", OUTREACH, "refused").await;
    let crm = world.client("crm");
    let outreach = async |id: &str| crm.get(&format!("/crm/customers/{id}")).purpose(OUTREACH).await;
    outreach("0031").await.released(200, &ada_for_outreach());
    let merged = act(&world, "crm:0031", "merge", json!({ "from": "crm:0044" })).await;
    assert_eq!(merged["conflicts"], json!([OUTREACH]));
    world.upstream.take();
    for id in ["0031", "0044"] {
        outreach(id).await.refused(403, "denied");
    }
    assert!(world.upstream.asked().is_empty(), "nothing was forwarded");
    // The customer says it again, under either id, and it holds for both.
    world.consent("crm:0044", OUTREACH, "given").await;
    outreach("0031").await.released(200, &ada_for_outreach());
    assert_eq!((outreach("0044").await.status.as_u16(), crm.opened()), (200, 1));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_makes_each_side_right_again_and_names_who_received_what_meanwhile() {
    let world = gateway().start().await;
    serve_both(&world).await;
    world.consent("crm:0031", OUTREACH, "given").await;
    let crm = world.client("crm");
    let outreach = async |id: &str| crm.get(&format!("/crm/customers/{id}")).purpose(OUTREACH).await;
    outreach("0031").await.released(200, &ada_for_outreach());
    outreach("0044").await.refused(403, "denied");
    let long_known = consentry::clock::SystemClock::shared().now() - std::time::Duration::from_secs(86_400);
    let merged = act(&world, "crm:0031", "merge", json!({ "from": "crm:0044", "time": long_known.to_string() })).await;
    assert_eq!(outreach("0044").await.status, 200, "one said nothing, the other agreed");

    let split = act(&world, "crm:0031", "split", json!({ "merged": "crm:0044" })).await;
    let [row] = split["disclosed"].as_array().unwrap().as_slice() else { panic!("{split}") };
    assert_eq!((&row["app"], &row["department"], &row["party"]), (&json!("crm"), &json!("sales"), &merged["party"]));
    assert_eq!(row["decisions"], json!(1), "what went out before the merge crossed no wrong link: {split}");
    let categories: Vec<&str> = row["categories"].as_array().unwrap().iter().map(|c| c["category"].as_str().unwrap()).collect();
    assert!(categories.contains(&"identity") && categories.contains(&"contact") && !categories.contains(&"health"), "{categories:?}");
    outreach("0044").await.refused(403, "denied");
    outreach("0031").await.released(200, &ada_for_outreach());
    world.consent("crm:0031", OUTREACH, "withdrawn").await;
    world.consent("crm:0044", OUTREACH, "given").await;
    outreach("0031").await.refused(403, "denied");
    outreach("0044").await.released(200, &mina_for_outreach());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_erased_are_refused_at_the_gateway_and_not_taken_in_again_from_an_old_spreadsheet() {
    let world = gateway().start().await;
    serve_both(&world).await;
    world.consent("crm:0031", OUTREACH, "given").await;
    let crm = world.client("crm");
    let unknown = crm.get("/crm/customers/9999").purpose(OUTREACH).await;
    assert_eq!(erase(&world, "crm:0031").await.status, 201);
    let refused = crm.get("/crm/customers/0031").purpose(OUTREACH).await;
    assert_eq!(refused.anonymous(), unknown.anonymous(), "an erased customer is one whom nobody knows");
    let old = "identifiers,kind,stage\ncrm:0031 sales:7731,person,customer\nsales:7731 shop:5,person,lead\ncrm:0099 sales:7799,person,lead\n";
    let desk = world.staff("consent-desk");
    for created in [1, 0] {
        let imported = desk.ask(Method::POST, "/v1/parties").header("content-type", "text/csv").body(old.as_bytes()).await;
        let report = imported.json();
        let lines: Vec<&Value> = report["errors"].as_array().unwrap().iter().map(|error| &error["line"]).collect();
        assert_eq!((&report["created"], lines), (&json!(created), vec![&json!(2), &json!(3)]), "{report}");
    }
    assert_eq!(desk.get("/v1/parties/crm:0099").await.status, 200);
    assert_eq!(desk.get("/v1/parties/shop:5").await.status, 404, "an id beside an erased one is not taken either");
    let linked = desk.post("/v1/parties/crm:0044/identifiers", r#"{"identifier":"crm:0031"}"#).await;
    assert_eq!(linked.status, 409, "{linked:?}");
    assert_eq!(crm.get("/crm/customers/0031").purpose(OUTREACH).await.anonymous(), unknown.anonymous());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_keeps_a_customer_from_being_erased_until_its_release() {
    let world = gateway().start().await;
    serve_both(&world).await;
    world.consent("crm:0031", OUTREACH, "given").await;
    let crm = world.client("crm");
    let outreach = async || crm.get("/crm/customers/0031").purpose(OUTREACH).await.status.as_u16();
    assert_eq!(outreach().await, 200);
    act(&world, "crm:0031", "hold", json!({})).await;
    for id in ["crm:0031", "sales:7731"] {
        let refused = erase(&world, id).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "conflict"), "{id}");
    }
    assert_eq!(world.staff("consent-desk").get("/v1/parties/crm:0031").await.json()["is_erased"], json!(false));
    act(&world, "crm:0031", "release", json!({})).await;
    assert_eq!(outreach().await, 200);
    assert_eq!(erase(&world, "crm:0031").await.status, 201);
    assert_eq!(outreach().await, 403);
    world.finish().await;
}

const MOREAU: &str = "email:k.moreau@example.net";
const WHY: [&str; 2] = ["--reason", "ticket 4471"];

#[test]
fn the_commands_do_it_and_exit_as_they_promise() {
    let site = Site::new();
    let _gateway = site.start();
    site.prepare();
    site.say(MINA, "given");
    assert_eq!(site.read(MINAS).status, 200);
    let mina = format!("crm:{MINA}");
    let party = |role: &str, args: &[&str], more: &[&str]| site.run_as(role, &[&["party"], args, more].concat());
    let desk = |args: &[&str]| party("consent-desk", args, &WHY);

    for (exit, what, ran) in [
        (64, "no reason", party("consent-desk", &["merge", &mina, MOREAU], &[])),
        (64, "not its role", party("auditor", &["merge", &mina, MOREAU], &WHY)),
        (64, "itself", desk(&["merge", &mina, &mina])),
        (64, "no time", desk(&["merge", &mina, MOREAU, "--since", "yesterday"])),
        (4, "nobody", desk(&["merge", &mina, "crm:9998"])),
        (64, "neither a merge nor ids", desk(&["split", &mina])),
        (64, "both", desk(&["split", &mina, "--merged", MOREAU, "--id", MOREAU])),
        (64, "never merged", desk(&["split", &mina, "--merged", MOREAU])),
        (64, "nobody to ask", desk(&["erase", &mina])),
        (4, "nobody", desk(&["hold", "crm:9998"])),
        (64, "not its role", party("auditor", &["gaps"], &[])),
        (64, "no reason", party("consent-desk", &["kind", "sales:9001", "person"], &[])),
        (64, "not its role", party("auditor", &["kind", "sales:9001", "person"], &WHY)),
        (64, "no kind", desk(&["kind", &mina, "company"])),
        (64, "who spoke as a person", desk(&["kind", &mina, "organisation"])),
        (4, "nobody", desk(&["kind", "crm:9998", "organisation"])),
        (64, "no fact", party("consent-desk", &["facts", &mina, "--source", "crm"], &[])),
        (64, "no word", party("consent-desk", &["facts", &mina, "--source", "crm", "--stage", "customre"], &[])),
        (64, "no time", party("consent-desk", &["facts", &mina, "--source", "crm", "--adult-from", "2031"], &[])),
        (4, "nobody", party("consent-desk", &["facts", "crm:9998", "--source", "crm", "--age", "adult"], &[])),
    ] {
        assert_eq!(ran.exit, exit, "{what}: {ran:?}");
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{what}: {ran:?}");
    }

    let account = site.path().join("account.csv");
    std::fs::write(&account, "identifiers,kind\nsales:9001,organisation\n").unwrap();
    assert_eq!(party("consent-desk", &["import", account.to_str().unwrap()], &[]).exit, 0);
    let ran = desk(&["merge", &mina, "sales:9001"]);
    assert!(ran.exit == 64 && ran.stderr.contains("an organisation is merged with organisations only"), "{ran:?}");
    let ran = desk(&["kind", "sales:9001", "business-contact"]);
    assert!(ran.exit == 0 && ran.stdout.contains("is known as `business-contact` · revision"), "{ran:?}");

    let facts = party("consent-desk", &["facts", &mina, "--source", "erp", "--stage", "churned", "--segment", "vip", "--since", "30d"], &[]);
    assert!(facts.exit == 0 && facts.stdout.contains("churned") && facts.stdout.contains("vip") && facts.stdout.contains("erp"), "{facts:?}");
    assert_eq!(site.read(MINAS).status, 403, "policies look at it");
    let minor = ["facts", "crm:0012", "--source", "erp", "--adult-from", "2099-05-04T00:00:00+02:00", "--format", "json"];
    let facts = party("consent-desk", &minor, &[]).json();
    assert!(facts["facts"].as_array().unwrap().iter().any(|fact| fact["name"] == json!("adult_from")), "{facts}");
    assert_eq!(party("consent-desk", &["facts", &mina, "--source", "erp", "--stage", "lead", "--segment", "standard"], &[]).exit, 0);
    assert_eq!(site.read(MINAS).status, 200);
    let ran = desk(&["merge", &mina, MOREAU]);
    assert!(ran.exit == 0 && ran.stdout.contains("merged; they said nothing different"), "{ran:?}");
    let shown = party("consent-desk", &["show", MOREAU], &[]);
    assert!(shown.stdout.contains("merged from") && shown.stdout.contains("ticket 4471") && shown.stdout.contains(&mina), "{shown:?}");
    assert_eq!(site.read(MINAS).status, 200);
    let ran = desk(&["split", &mina, "--merged", MOREAU]);
    assert!(ran.exit == 0 && ran.stdout.contains("disclosed while they were one record") && ran.stdout.contains("contact"), "{ran:?}");
    let ran = party("consent-desk", &["split", &mina, "--id", "sales:7744", "--format", "json"], &WHY);
    assert!(ran.exit == 0 && ran.json()["leaves"].is_string(), "{ran:?}");

    assert_eq!(desk(&["hold", &mina]).exit, 0);
    let held = party("consent-desk", &["show", &mina], &[]);
    assert!(held.stdout.contains("held since") && held.stdout.contains("ticket 4471"), "{held:?}");
    let ran = desk(&["erase", &mina, "--yes"]);
    assert!(ran.exit == 64 && ran.stderr.contains("consentry party release"), "{ran:?}");
    assert_eq!(site.read(MINAS).status, 200);
    assert_eq!(desk(&["release", &mina]).exit, 0);
    assert_eq!(desk(&["erase", &mina, "--yes"]).exit, 0);
    assert_eq!(site.read(MINAS).status, 403);
    let again = party("consent-desk", &["import", site.state.parties().to_str().unwrap()], &[]);
    assert!(again.exit == 1 && again.stdout.contains("1 refused"), "{again:?}");
    assert_eq!(site.read(MINAS).status, 403);

    let gaps = party("consent-desk", &["gaps", "--format", "json"], &[]);
    assert!(gaps.json()["gaps"].is_array() && !gaps.stdout.contains(MINA), "{gaps:?}");
    let consent = |args: &[&str]| site.run_as("consent-desk", &[&["consent"], args].concat());
    assert_eq!(consent(&["delegate", "crm:0012", "--holder", "guardian"]).exit, 64, "without evidence");
    assert_eq!(consent(&["delegate", "crm:0012", "--holder", "neighbour", "--evidence", "court=7"]).exit, 64);
    assert_eq!(consent(&["delegate", "crm:0012", "--holder", "guardian", "--evidence", "court=7"]).exit, 0);
    assert_eq!(consent(&["occurred", "crm:0012", " "]).exit, 64);
    assert_eq!(consent(&["occurred", "crm:0012", "contract-ended", "--evidence", "letter=8"]).exit, 0);
    let history = consent(&["history", "crm:0012"]);
    assert!(history.stdout.contains("guardian may speak") && history.stdout.contains("contract-ended"), "{history:?}");
}
