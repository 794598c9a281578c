//! A notice that takes the place of another, from the register to the refusal at the gateway: on connections that are open, for
//! answers that are under way, and on the day on which it takes force.

use std::sync::Arc;
use std::time::Duration;

use consentry::clock::SystemClock;
use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{ada, ada_for_outreach};
use crate::harness::{Gate, Plan, World, gateway};

const OUTREACH: &str = "sales.outreach";

async fn register(world: &World, version: &str, more: Value) {
    let mut body = json!({
        "id": "outreach", "version": version, "language": "en", "text": format!("We call you, version {version}."), "purposes": [OUTREACH],
        "categories": ["identity", "contact", "behaviour", "opportunity", "order", "case", "health"], "recipients": ["marketing", "sales", "service"],
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    world.desk(Method::POST, "/v1/notices", body).await;
}

async fn given_on(world: &World, party: &str, version: &str) {
    let notice = json!({ "notice": { "id": "outreach", "version": version }, "categories": [], "recipients": [] });
    world.say(party, OUTREACH, "given", notice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_ends_with_its_notice_and_is_given_anew_on_the_next() {
    let world = Arc::new(gateway().start().await);
    world.upstream.json("GET /customers/0031", &ada());
    register(&world, "1", json!({})).await;
    given_on(&world, "crm:0031", "1").await;
    let open = world.client("crm");
    open.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    register(&world, "2", json!({})).await;
    open.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());

    // An answer that is under way when the next version takes force.
    let gate = Gate::closed();
    world.upstream.on("GET /customers/0031", Plan::json(&ada()).behind(&gate));
    let asking = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await })
    };
    gate.arrived().await;
    register(&world, "3", json!({ "supersedes": true })).await;
    gate.release();
    asking.await.unwrap().refused(403, "denied");
    world.upstream.json("GET /customers/0031", &ada());
    open.get("/crm/customers/0031").purpose(OUTREACH).await.refused(403, "denied");
    assert_eq!(1, open.opened(), "the connection stayed open");

    for old in ["1", "2"] {
        given_on(&world, "crm:0031", old).await;
        open.get("/crm/customers/0031").purpose(OUTREACH).await.refused(403, "denied");
    }
    given_on(&world, "crm:0031", "3").await;
    open.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_was_registered_before_its_day_takes_force_by_itself() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    register(&world, "1", json!({})).await;
    given_on(&world, "crm:0031", "1").await;
    let begin = SystemClock::shared().now() + Duration::from_secs(4);
    register(&world, "2", json!({ "supersedes": true, "valid_from": begin.to_string() })).await;
    let open = world.client("crm");
    open.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    let left = begin.duration_since(SystemClock::shared().now()).unsigned_abs();
    // The clock is looked at each second.
    tokio::time::sleep(left + Duration::from_millis(2_500)).await;
    open.get("/crm/customers/0031").purpose(OUTREACH).await.refused(403, "denied");
    world.finish().await;
}
