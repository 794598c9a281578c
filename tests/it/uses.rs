//! Consent for a number of uses: each answered request that relies on it takes one, durably and before its first byte.

use std::sync::Arc;
use std::time::Duration;

use consentry::clock::{Clock, ManualClock, SystemClock};
use jiff::SignedDuration;

use serde_json::json;

use crate::harness::people::{ada, ada_for_outreach, mina, mina_for_outreach};
use crate::harness::{Gate, Plan, World, entries, gateway, soon};

const OUTREACH: &str = "sales.outreach";
const ADA: &str = "/crm/customers/0031";
const LIST: &str = "/crm/customers";

/// Ada and Mina at the API; Ada agrees to so many uses.
async fn world(uses: u32) -> World {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.say("crm:0031", OUTREACH, "given", json!({ "uses": uses })).await;
    world
}

fn used_up(world: &World) -> usize {
    world.running().shared().ledger.changes(consentry::model::Revision(0), 1_000).unwrap().iter().filter(|c| c.kind.as_str() == "used-up").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_uses_permit_two_answers_and_no_third_and_a_list_drops_the_row() {
    let world = world(2).await;
    world.consent("crm:0044", OUTREACH, "given").await;
    let crm = world.client("crm");
    for _ in 0..2 {
        crm.get(ADA).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    }
    assert_eq!(1, used_up(&world));
    let refused = crm.get(ADA).purpose(OUTREACH).await;
    refused.refused(403, "denied");
    let found = world.found(&refused);
    assert!(
        found.relied.iter().any(|r| r.status == "expired" && r.event.is_some() && r.rule.as_deref() == Some("customer-last-word/v1")),
        "{found:?}"
    );
    world.upstream.json("GET /customers", &format!(r#"{{"customers":[{},{}],"total":2}}"#, ada(), mina()));
    crm.get(LIST).purpose(OUTREACH).await.released(200, &format!(r#"{{"customers":[{}],"total":1}}"#, mina_for_outreach()));
    // A new grant opens again.
    world.say("crm:0031", OUTREACH, "given", json!({ "uses": 1 })).await;
    crm.get(ADA).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    crm.get(ADA).purpose(OUTREACH).await.refused(403, "denied");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_takes_one_use_however_many_rows_and_categories_it_has() {
    let world = world(2).await;
    let crm = world.client("crm");
    world.upstream.json("GET /customers", &format!(r#"{{"customers":[{},{},{}],"total":3}}"#, ada(), ada(), mina()));
    let twice = format!(r#"{{"customers":[{0},{0}],"total":2}}"#, ada_for_outreach());
    crm.get(LIST).purpose(OUTREACH).await.released(200, &twice);
    crm.get(LIST).purpose(OUTREACH).await.released(200, &twice);
    assert_eq!(1, used_up(&world));
    crm.get(LIST).purpose(OUTREACH).await.released(200, r#"{"customers":[],"total":0}"#);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_releases_nothing_on_the_grant_takes_no_use() {
    let world = world(1).await;
    let crm = world.client("crm");
    // Another purpose, a list check, an upstream that fails, an answer about another customer.
    world.client("campaign-manager").get(ADA).purpose("marketing.email").await.refused(403, "denied");
    let check = json!({ "purpose": OUTREACH, "category": "contact", "ids": ["crm:0031"] });
    assert_eq!(world.capture("crm").post("/v1/check", &check.to_string()).await.json()["results"][0]["allowed"], json!(true));
    world.upstream.on("GET /customers/0031", Plan::json("{}").status(500));
    crm.get(ADA).purpose(OUTREACH).await.refused(502, "upstream-unavailable");
    world.upstream.json("GET /customers/0031", &mina());
    crm.get(ADA).purpose(OUTREACH).await.refused(502, "upstream-unreadable");
    assert_eq!(0, used_up(&world));
    world.upstream.json("GET /customers/0031", &ada());
    crm.get(ADA).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    assert_eq!(1, used_up(&world));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_requests_that_race_for_the_last_use_one_is_answered() {
    let world = Arc::new(world(1).await);
    let gate = Gate::closed();
    world.upstream.on("GET /customers/0031", Plan::json(&ada()).behind(&gate));
    let racers: Vec<_> = (0..4)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.client("crm").get(ADA).purpose(OUTREACH).await })
        })
        .collect();
    // All have passed the judgement that comes before the upstream.
    for _ in &racers {
        gate.arrived().await;
    }
    racers.iter().for_each(|_| gate.release());
    let mut statuses = Vec::new();
    for racer in racers {
        statuses.push(soon("an answer", racer).await.unwrap().status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!([200, 403, 403, 403].as_slice(), statuses);
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_that_cannot_be_counted_releases_nothing() {
    let world = world(2).await;
    let gate = Gate::closed();
    world.upstream.on("GET /customers/0031", Plan::json(&ada()).behind(&gate));
    let crm = world.client("crm");
    let asked = tokio::spawn(async move { crm.get(ADA).purpose(OUTREACH).await });
    gate.arrived().await;
    world.move_store(true);
    gate.release();
    soon("the refusal", asked).await.unwrap().refused(503, "consent-unavailable");
    world.move_store(false);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_taken_for_an_answer_that_never_went_out_stays_taken() {
    let world = world(2).await;
    let event = world.running().shared().ledger.changes(consentry::model::Revision(0), 1_000).unwrap().iter().rev().find_map(|c| c.event).unwrap();
    // As a process does that ends before its first byte.
    world.running().shared().ledger.reserve_uses(&[event]).unwrap();
    let world = world.restarted().await;
    let crm = world.client("crm");
    crm.get(ADA).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    crm.get(ADA).purpose(OUTREACH).await.refused(403, "denied");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_decision_names_the_rule_and_the_events_that_lost() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.consent("crm:0031", OUTREACH, "withdrawn").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    world.consent("crm:0031", OUTREACH, "given").await;
    let answer = world.client("crm").get(ADA).purpose(OUTREACH).await;
    answer.released(200, &ada_for_outreach());
    let found = world.found(&answer);
    let contact = found.relied.iter().find(|r| r.category == "contact").unwrap();
    assert_eq!(("given", Some("customer-last-word/v1"), false), (contact.status.as_str(), contact.rule.as_deref(), contact.conflict));
    let [event, lost] = [contact.event.clone().unwrap(), contact.overridden[0].clone()];
    let number = |event: &str| event.strip_prefix("ev_").unwrap().parse::<u64>().unwrap();
    assert!(number(&event) > number(&lost), "{event} {lost}");
    let auditor = world.staff("auditor");
    // The same from the API, and in the explanations.
    let index = answer.decision().unwrap().rsplit_once('#').unwrap().1.to_owned();
    let shown = auditor.get(&format!("/v1/decisions/gw-test/{index}")).await.json();
    let relied = shown["decision"]["relied"].as_array().unwrap().iter().find(|r| r["category"] == "contact").unwrap().clone();
    assert_eq!(
        (relied["rule"].clone(), relied["event"].clone(), relied["overridden"].clone(), relied["conflict"].clone()),
        (json!("customer-last-word/v1"), json!(event), json!([lost]), json!(false))
    );
    let told = auditor.get(&format!("/v1/decisions/gw-test/{index}/explanation")).await.json();
    for part in ["customer-last-word/v1", &event, &lost] {
        assert!(told["text"].as_str().unwrap().contains(part), "{part}: {told}");
    }
    assert!(entries(&world.log_dir()).iter().any(|entry| entry.resolved.to_string().contains("\"rule\":\"customer-last-word/v1\"")));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_out_stays_run_out_when_the_clock_is_set_back_or_the_gateway_starts_anew() {
    let noon = SystemClock::shared().now();
    let hours = |n: i64| noon + SignedDuration::from_hours(n);
    // However the hour comes: by waiting or by a clock that is set forward.
    for steps in [false, true] {
        let clock = ManualClock::at(noon);
        let world = gateway().clock(Arc::clone(&clock) as Arc<dyn Clock>).start().await;
        world.upstream.json("GET /customers/0031", &ada());
        world.say("crm:0031", OUTREACH, "given", json!({ "expires": hours(1).to_string() })).await;
        world.client("crm").get(ADA).purpose(OUTREACH).await.released(200, &ada_for_outreach());
        if steps {
            clock.step_to(hours(2));
        } else {
            world.pass(&clock, Duration::from_secs(2 * 3_600)).await;
        }
        let expired = async {
            while world.client("crm").get(ADA).purpose(OUTREACH).await.status == 200 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon("the end of the grant", expired).await;
        clock.step_to(hours(-3));
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let refused = world.client("crm").get(ADA).purpose(OUTREACH).await;
        refused.refused(403, "denied");
        assert!(world.found(&refused).relied.iter().any(|r| r.status == "expired"));
        let world = world.restarted().await;
        world.client("crm").get(ADA).purpose(OUTREACH).await.refused(403, "denied");
        world.finish().await;
    }
}
