//! An account in CPQ is no data subject: ownership and basis decide about it. The person whom its record names is one, and what
//! closed the account once stays closed. Who decides which of the two somebody is, is checked and recorded.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Gate, Plan, World, entries, gateway};

const OUTREACH: &str = "sales.outreach";
const ACCOUNTS: &str = "sales:9001,organisation,customer,standard,\nsales:9002,organisation,customer,standard,\n";

const APIS: &str = r#"
[shape.contact]
ids = "crm"
customer = "id"
open = ["id"]
fields = { name = "identity", email = "contact" }
[shape.account]
ids = "sales"
customer = "number"
open = ["number"]
fields = { name = "identity", total = "order", health = "health", contact = { embed = "contact" } }

[[api]]
name = "cpq"
owner = "sales"
at = "/cpq"
upstream = "house"
purpose = { allow = ["sales.outreach"] }
[[api.route]]
match = "GET /accounts"
response = { rows = "accounts[]", shape = "account", counts = { total = "rows" } }
[[api.route]]
match = "GET /accounts/{number}"
customer = "path:number"
response = { shape = "account" }
"#;

/// An account as CPQ keeps it: with the person to talk to.
fn account(number: &str, contact: &str) -> Value {
    let contact = json!({ "id": contact, "name": "Mina Okafor", "email": "mina.okafor@example.net" });
    json!({ "number": number, "name": "Nordwind GmbH", "total": 4711, "health": "-", "contact": contact })
}

/// What is left of it while the person is silent.
fn alone(number: &str) -> Value {
    json!({ "number": number, "name": "Nordwind GmbH", "total": 4711 })
}

async fn house() -> World {
    let world = gateway().apis(APIS).parties(ACCOUNTS).start().await;
    world.upstream.json("GET /accounts/9001", &account("9001", "0044").to_string());
    let list = json!({ "accounts": [account("9001", "0044"), account("9002", "0044"), account("9003", "0044")], "total": 3 });
    world.upstream.json("GET /accounts", &list.to_string());
    world
}

async fn read(world: &World, target: &str) -> Answer {
    world.client("crm").get(&format!("/cpq/{target}")).purpose(OUTREACH).await
}

async fn kind(world: &World, id: &str, kind: &str) -> Answer {
    world.staff("consent-desk").post(&format!("/v1/parties/{id}:kind"), &json!({ "kind": kind, "reason": "ticket 88" }).to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_goes_out_without_consent_and_the_person_in_it_does_not() {
    let world = house().await;
    let answer = read(&world, "accounts/9001").await;
    answer.released(200, &alone("9001").to_string());
    let found = world.found(&answer);
    let relied = |category: &str| found.relied.iter().find(|r| r.category == category).map(|r| (r.status.as_str(), r.release.as_str()));
    assert_eq!(relied("identity"), Some(("not-needed", "full")), "{found:?}");
    assert_eq!(relied("order"), Some(("not-needed", "full")), "{found:?}");
    assert_eq!(relied("health"), Some(("not-needed", "withheld")), "{found:?}");

    // The person says yes: the account is as it was, and she is in it.
    world.consent("crm:0044", OUTREACH, "given").await;
    let mut whole = alone("9001");
    whole["contact"] = account("9001", "0044")["contact"].clone();
    assert_eq!(read(&world, "accounts/9001").await.json(), whole);
    world.consent("crm:0044", OUTREACH, "withdrawn").await;
    assert_eq!(read(&world, "accounts/9001").await.json(), alone("9001"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_refused_stays_refused_and_the_others_do_not() {
    let world = house().await;
    // One that nobody is known by is no organisation.
    assert_eq!(read(&world, "accounts").await.json(), json!({ "accounts": [alone("9001"), alone("9002")], "total": 2 }));
    world.consent("sales:9001", OUTREACH, "refused").await;
    read(&world, "accounts/9001").await.refused(403, "denied");
    assert_eq!(read(&world, "accounts").await.json(), json!({ "accounts": [alone("9002")], "total": 1 }));
    world.desk(Method::POST, "/v1/restrictions", json!({ "party": "sales:9002", "reason": "letter" })).await;
    assert_eq!(read(&world, "accounts").await.json(), json!({ "accounts": [], "total": 0 }));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_turns_out_to_be_a_person_while_the_answer_is_under_way_is_decided_anew() {
    let world = Arc::new(house().await);
    let gate = Gate::closed();
    world.upstream.on("GET /accounts/9001", Plan::json(&account("9001", "0044").to_string()).behind(&gate));
    let asking = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { read(&world, "accounts/9001").await })
    };
    gate.arrived().await;
    assert_eq!(kind(&world, "sales:9001", "person").await.status, 200);
    gate.release();
    asking.await.unwrap().refused(403, "denied");
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_and_a_person_are_not_merged() {
    let world = house().await;
    for (into, from) in [("sales:9001", "crm:0044"), ("crm:0044", "sales:9001")] {
        let body = json!({ "from": from, "reason": "the same name" });
        let answer = world.staff("consent-desk").post(&format!("/v1/parties/{into}:merge"), &body.to_string()).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.text().contains("an organisation is merged with organisations only"), "{answer:?}");
    }
    read(&world, "accounts/9001").await.released(200, &alone("9001").to_string());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_is_changed_by_the_desk_alone_and_the_change_is_in_the_log() {
    let world = house().await;
    assert_eq!(world.staff("auditor").post("/v1/parties/sales:9001:kind", r#"{"kind":"person","reason":"r"}"#).await.status, 403);
    assert_eq!(kind(&world, "sales:9001", "company").await.status, 422);
    // Taken in as an account and in truth a sole trader: at once a person, of whom nothing is known.
    assert_eq!(kind(&world, "sales:9001", "person").await.json()["kind"], json!("person"));
    read(&world, "accounts/9001").await.refused(403, "denied");
    // Whose age is known, and who ever said something, does not become an account.
    let answer = kind(&world, "crm:0044", "organisation").await;
    assert!(answer.status.is_client_error() && answer.text().contains("an age is known of this customer"), "{answer:?}");
    assert_eq!(kind(&world, "sales:9001", "organisation").await.status, 200);
    read(&world, "accounts/9001").await.released(200, &alone("9001").to_string());
    world.consent("sales:9002", OUTREACH, "refused").await;
    assert_eq!(kind(&world, "sales:9002", "business-contact").await.status, 200);
    let answer = kind(&world, "sales:9002", "organisation").await;
    assert!(answer.status.is_client_error() && answer.text().contains("a person has made statements"), "{answer:?}");

    let written: Vec<Value> = entries(&world.log_dir()).into_iter().map(|entry| entry.resolved).collect();
    let changes = |state: &str| written.iter().filter(|e| e["kind"] == json!("consent_changed") && e["state"] == json!(state)).count();
    // Two taken in as accounts, one made one again.
    assert_eq!((changes("organisation"), changes("person"), changes("business-contact")), (3, 1, 1), "{written:?}");
    let by_desk = written.iter().filter(|e| e["kind"] == json!("admin") && e["operation"] == json!("parties.kind") && e["status"] == json!(200));
    assert_eq!(by_desk.count(), 3);
    world.finish().await;
}
