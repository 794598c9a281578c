//! Rows 101 to 108, as far as they show from outside: what a customer has said, or whether there is such a customer, cannot be told
//! from a refusal; what ends while a request waits is not released; a policy that errs opens nothing.

use std::sync::Arc;
use std::time::Duration;

use consentry::clock::ManualClock;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::harness::people::{ada, ada_for_outreach, card};
use crate::harness::{Client, Gate, Plan, entries, gateway, soon};

const OUTREACH: &str = "sales.outreach";

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_tell_why_a_customer_is_refused_or_whether_there_is_one() {
    let world = gateway().parties("crm:0081,person,customer,standard,adult\ncrm:0082,person,customer,standard,adult\n").start().await;
    let evidence = json!([{ "kind": "letter", "reference": "l" }]);
    world.consent("crm:0012", OUTREACH, "refused").await;
    for id in ["0070", "0044", "0081"] {
        world.consent(&format!("crm:{id}"), OUTREACH, "given").await;
    }
    world.consent("crm:0070", OUTREACH, "withdrawn").await;
    world.desk(Method::POST, "/v1/restrictions", json!({ "party": "crm:0044", "evidence": evidence })).await;
    world.desk(Method::POST, "/v1/parties/crm:0081:erase", json!({ "reason": "asked for" })).await;
    world.consent("crm:0082", "marketing.email", "given").await;
    let email = r#"{"email":"x@example.net"}"#;
    for http2 in [false, true] {
        let client = if http2 { world.client("crm").http2() } else { world.client("crm") };
        for (method, body) in [(Method::GET, None), (Method::HEAD, None), (Method::PATCH, Some(email))] {
            let ask = async |id: &str| {
                let asked = client.ask(method.clone(), &format!("/crm/customers/{id}")).purpose(OUTREACH);
                match body {
                    Some(body) => asked.json(body).await,
                    None => asked.await,
                }
            };
            let unknown = ask("9999").await;
            assert_eq!(403, unknown.status.as_u16());
            for (id, why) in
                [("0058", "never asked"), ("0012", "refused"), ("0070", "withdrew"), ("0044", "restricted"), ("0081", "erased"), ("0082", "else")]
            {
                let before = entries(&world.log_dir()).len();
                let refused = ask(id).await;
                assert_eq!(unknown.anonymous(), refused.anonymous(), "{method} http2={http2}: {why}");
                let found = world.found(&refused);
                assert_eq!(("deny", Some("denied")), (found.outcome.as_str(), found.code.as_deref()), "{why}");
                // What stands for classes and dictionaries of it aside: one entry, and nothing that tells of an upstream.
                let new = entries(&world.log_dir()).split_off(before);
                assert_eq!(1, new.iter().filter(|entry| entry.kind() == "deny").count(), "{why}");
                assert!(!new.iter().any(|entry| ["permit", "intent", "end"].contains(&entry.kind())), "{why}");
            }
        }
    }
    assert!(world.upstream.asked().is_empty(), "the API could tell whom it was asked for, and how long it took");
    world.finish().await;
}

/// Asks until the answer has this status.
async fn until(client: &Client, target: &str, status: u16) {
    soon(target, async {
        while client.get(target).purpose(OUTREACH).await.status.as_u16() != status {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_that_runs_out_or_is_narrowed_while_a_request_waits_releases_nothing_of_it() {
    let clock = ManualClock::at("2026-11-02T10:00:00Z".parse::<Timestamp>().unwrap());
    let world = Arc::new(gateway().clock(Arc::clone(&clock) as Arc<dyn consentry::clock::Clock>).start().await);
    let client = world.client("crm");
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    let ends = world.clock_now() + SignedDuration::from_secs(600);
    world.say("crm:0031", OUTREACH, "given", json!({ "expires": ends.to_string() })).await;
    let waiting = |gate: &Gate| {
        world.upstream.on("GET /customers/0031", Plan::json(&ada()).behind(gate));
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await })
    };
    // Nothing happens: it is released.
    let gate = Gate::closed();
    let asked = waiting(&gate);
    gate.arrived().await;
    gate.release();
    asked.await.unwrap().released(200, &ada_for_outreach());
    until(&client, "/crm/cards/0031", 200).await;
    // It runs out.
    let gate = Gate::closed();
    let asked = waiting(&gate);
    gate.arrived().await;
    world.pass(&clock, Duration::from_secs(601)).await;
    until(&client, "/crm/cards/0031", 403).await;
    gate.release();
    let late = asked.await.unwrap();
    late.refused(403, "denied");
    assert!(!late.text().contains("Brandt"), "{late:?}");
    // It is given anew, and then for one category alone.
    world.consent("crm:0031", OUTREACH, "given").await;
    let gate = Gate::closed();
    let asked = waiting(&gate);
    gate.arrived().await;
    world.consent("crm:0031", OUTREACH, "withdrawn").await;
    world.pass(&clock, Duration::from_secs(1)).await;
    world.say("crm:0031", OUTREACH, "given", json!({ "categories": ["contact"] })).await;
    gate.release();
    let narrowed = asked.await.unwrap();
    assert!(narrowed.text().contains("ada.brandt@example.net") && !narrowed.text().contains("Brandt\""), "{narrowed:?}");
    drop(client);
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_errs_opens_nothing_and_the_log_says_so() {
    let world = gateway().start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.upstream.json("GET /customers/0031", &ada());
    let crm = world.client("crm");
    crm.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    // A prohibition that is more than a number can hold: Cedar alone would pass it over. For leads it never gets so far.
    world
        .add_policy(
            "@id(\"test-errs\")\n@description(\"x\")\nforbid (principal, action, resource) when { context.customer.stage == Stage::\"customer\" && \
             context has customers && context.customers * 9223372036854775807 + 1 < 0 };",
        )
        .await;
    world.upstream.take();
    let refused = crm.get("/crm/customers/0031").purpose(OUTREACH).await;
    refused.refused(403, "denied");
    assert!(world.upstream.asked().is_empty());
    let found = world.found(&refused);
    assert!(found.policies.iter().any(|policy| policy == "test-errs"), "{found:?}");
    let written = entries(&world.log_dir());
    assert!(written.iter().any(|entry| entry.kind() == "deny" && entry.resolved.to_string().contains("policy-error")), "the reason is in the log");
    world.finish().await;
}
