//! Agents: who answers for them, what they were sent to do, for whom, for how many.

use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::people::{ada, mina, pavel};
use crate::harness::{Client, Gate, Plan, World, gateway};

const OUTREACH: &str = "sales.outreach";
const ADA: &str = "/crm/customers/0031";

impl World {
    fn copilot(&self, more: &Value) -> Client {
        let mut claims = json!({ "sub": "emp-1", "act": { "sub": "sales-copilot" } });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.client("sales-copilot").token(self.token("sales-copilot", &claims))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reads_what_its_mandate_lets_it_and_the_log_says_so() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.consent("crm:0031", OUTREACH, "given").await;
    let alone = world.client("sales-copilot").get(ADA).purpose(OUTREACH).await;
    assert!(alone.status == 200 && alone.text().contains("ada.brandt") && !alone.text().contains("Brandt\""), "no name without a human: {alone:?}");
    let found = world.found(&alone);
    let told = |found: &consentry::audit::Found| {
        [&found.agent, &found.operator, &found.model, &found.task, &found.behalf].map(|text| text.clone().unwrap_or_default())
    };
    assert_eq!(["sales-copilot", "it", "house-llm-3", "", "nobody"], told(&found));
    let sent = world.copilot(&json!({ "task": "prepare-call" })).get(ADA).purpose(OUTREACH).await;
    assert!(sent.status == 200 && sent.text().contains("Brandt"), "{sent:?}");
    assert_eq!(["sales-copilot", "it", "house-llm-3", "prepare-call", "employee"], told(&world.found(&sent)));
    // Neither a task that nobody knows nor another agent's, nor a purpose beyond the task's.
    for task in ["write-poems", "answer-case"] {
        let refused = world.copilot(&json!({ "task": task })).get(ADA).purpose(OUTREACH).await;
        refused.refused(403, "task-not-registered");
    }
    // A purpose of the agent's, but not of the task's.
    let beyond = async |task: &str| world.copilot(&json!({ "task": task })).get("/sales/orders/o1").purpose("sales").await.code();
    assert_eq!("purpose-not-registered", beyond("prepare-call").await);
    assert_ne!("purpose-not-registered", beyond("tidy-opportunities").await);
    world.copilot(&json!({ "task": ["prepare-call"] })).get(ADA).purpose(OUTREACH).await.refused(401, "token-invalid");
    world.copilot(&json!({})).get("/crm/export").purpose(OUTREACH).await.refused(403, "not-entitled");
    let question = json!({ "method": "GET", "url": ADA, "app": "sales-copilot", "purpose": OUTREACH });
    let explained = world.staff("policy-author").post("/v1/explain", &question.to_string()).await.json();
    assert_eq!(explained["permitted"], true, "as above, alone: {explained}");
    // Nothing bounds the list, and the agent has a budget.
    world.upstream.json("GET /customers", &format!(r#"{{"customers":[{}],"total":1}}"#, ada()));
    world.copilot(&json!({})).get("/crm/customers").purpose(OUTREACH).await.refused(403, "not-entitled");
    assert_eq!(200, world.client("crm").get("/crm/customers").purpose(OUTREACH).await.status.as_u16());
    // What the token of an app says of tasks and customers is nobody's mandate.
    let app = world.client("crm").token(world.token("crm", &json!({ "task": "write-poems", "customer": "crm:0044" })));
    assert_eq!(200, app.get(ADA).purpose(OUTREACH).await.status.as_u16());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_for_a_customer_sees_that_customer_and_nobody_else() {
    let world = gateway().start().await;
    for (id, body) in [("0031", ada()), ("0044", mina())] {
        world.upstream.json(&format!("GET /customers/{id}"), &body);
        world.consent(&format!("crm:{id}"), OUTREACH, "given").await;
    }
    // By any of the customer's ids.
    for id in ["crm:0031", "email:ada.brandt@example.net"] {
        let own = world.copilot(&json!({ "customer": id }));
        let answer = own.get(ADA).purpose(OUTREACH).await;
        assert!(answer.status == 200 && answer.text().contains("Brandt"), "{answer:?}");
        let found = world.found(&answer);
        assert_eq!((None, Some("customer")), (found.actor.as_deref(), found.behalf.as_deref()), "the subject is no employee");
        own.get("/crm/customers/0044").purpose(OUTREACH).await.refused(403, "denied");
    }
    world.copilot(&json!({ "customer": "crm:9999" })).get(ADA).purpose(OUTREACH).await.refused(403, "denied");
    world.copilot(&json!({ "customer": "0031" })).get(ADA).purpose(OUTREACH).await.refused(401, "token-invalid");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_list_an_agent_for_a_customer_sees_that_customers_row_alone() {
    let counts = r#"shape = "customer", counts = { total = "rows", next = "remove" } }"#;
    let apis = include_str!("harness/apis.toml");
    let bounded = apis.replacen(counts, &counts.replace("\"remove\" } }", "\"remove\" }, rows_max = 3 }"), 1);
    assert_ne!(apis, bounded);
    let world = gateway().apis(&bounded).start().await;
    // Who are equal to the policies but for whom the agent acts.
    for rows in [[ada(), pavel()], [pavel(), ada()]] {
        world.upstream.json("GET /customers", &format!(r#"{{"customers":[{},{}],"total":2}}"#, rows[0], rows[1]));
        for id in ["crm:0031", "crm:0058"] {
            world.consent(id, OUTREACH, "given").await;
        }
        let answer = world.copilot(&json!({ "customer": "crm:0031" })).get("/crm/customers").purpose(OUTREACH).await;
        assert!(answer.status == 200 && answer.text().contains("Brandt") && !answer.text().contains("Hor"), "{answer:?}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_taken_away_or_declared_anew_on_the_way_releases_nothing() {
    for (declared, anew) in [
        (r#""tasks":[{"type":"Task","id":"prepare-call"},"#, r#""tasks":["#),
        (
            r#""id":"prepare-call"},"attrs":{"purposes":[{"type":"Purpose","id":"sales.outreach"}"#,
            r#""id":"prepare-call"},"attrs":{"purposes":[{"type":"Purpose","id":"model-training"}"#,
        ),
    ] {
        let world = Arc::new(gateway().start().await);
        world.consent("crm:0031", OUTREACH, "given").await;
        let gate = Gate::closed();
        world.upstream.on("GET /customers/0031", Plan::json(&ada()).behind(&gate));
        let asking = {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.copilot(&json!({ "task": "prepare-call" })).get(ADA).purpose(OUTREACH).await })
        };
        gate.arrived().await;
        let catalogue = world.root().join("policies/catalogue.cedarentities.json");
        let text = fs::read_to_string(&catalogue).unwrap();
        assert!(text.contains(declared));
        fs::write(&catalogue, text.replace(declared, anew)).unwrap();
        world.running().reload().await.unwrap();
        gate.release();
        asking.await.unwrap().refused(403, "task-not-registered");
        Arc::into_inner(world).unwrap().finish().await;
    }
}
