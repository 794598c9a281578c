//! Agents: who answers for them, what they were sent to do, for whom, for how many.

use serde_json::{Value, json};

use crate::harness::people::{ada, mina};
use crate::harness::{Client, World, gateway};

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
    world.copilot(&json!({ "task": ["prepare-call"] })).get(ADA).purpose(OUTREACH).await.refused(401, "token-invalid");
    world.copilot(&json!({})).get("/crm/export").purpose(OUTREACH).await.refused(403, "not-entitled");
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
