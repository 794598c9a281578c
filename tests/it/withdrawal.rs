//! A withdrawal that was acknowledged binds every later release: on connections that are open, and in requests that are
//! under way at that moment.

use std::sync::Arc;

use serde_json::json;

use crate::harness::people::{ada, ada_for_outreach, card, card_whole, pavel, pavel_for_outreach};
use crate::harness::{Gate, Plan, gateway};

const OUTREACH: &str = "sales.outreach";

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_is_obeyed_on_connections_that_are_open() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    let one = world.client("crm");
    let two = world.client("crm").http2();
    for round in 0..3 {
        world.consent("crm:0031", OUTREACH, "given").await;
        for client in [&one, &two] {
            let permitted = client.get("/crm/customers/0031").purpose(OUTREACH).await;
            permitted.released(200, &ada_for_outreach());
        }
        world.consent("crm:0031", OUTREACH, "withdrawn").await;
        world.upstream.take();
        for client in [&one, &two] {
            client.get("/crm/customers/0031").purpose(OUTREACH).await.refused(403, "denied");
            assert_eq!(1, client.opened(), "round {round}: the connection stayed open");
        }
        assert!(world.upstream.asked().is_empty());
    }
    world.finish().await;
}

/// What happens while a permitted request waits for a slow API.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Nothing,
    Withdrawn,
    OtherCustomerWithdrawn,
    Objection,
    WithdrawnAndGivenAgain,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_obeys_what_is_said_meanwhile() {
    let cases = [
        (Meanwhile::Nothing, 200),
        (Meanwhile::Withdrawn, 403),
        (Meanwhile::OtherCustomerWithdrawn, 200),
        (Meanwhile::Objection, 403),
        (Meanwhile::WithdrawnAndGivenAgain, 200),
    ];
    let world = Arc::new(gateway().start().await);
    for http2 in [false, true] {
        for (n, (meanwhile, status)) in cases.into_iter().enumerate() {
            // Each case has a customer of its own: an objection is not taken back so easily.
            let id = format!("{}", 1000 + n + if http2 { 10 } else { 0 });
            world
                .desk(
                    http::Method::POST,
                    "/v1/parties",
                    json!({ "identifiers": [format!("crm:{id}")], "kind": "person", "stage": "customer", "segment": "standard", "age": "adult" }),
                )
                .await;
            let party = format!("crm:{id}");
            world.consent(&party, OUTREACH, "given").await;
            world.consent("crm:0044", OUTREACH, "given").await;
            let gate = Gate::closed();
            let body = ada().replace("0031", &id);
            world.upstream.on(&format!("GET /customers/{id}"), Plan::json(&body).behind(&gate));
            let asking = {
                let (world, id) = (Arc::clone(&world), id.clone());
                tokio::spawn(async move {
                    let client = world.client("crm");
                    let client = if http2 { client.http2() } else { client };
                    client.get(&format!("/crm/customers/{id}")).purpose(OUTREACH).await
                })
            };
            gate.arrived().await;
            match meanwhile {
                Meanwhile::Nothing => {}
                Meanwhile::Withdrawn => world.consent(&party, OUTREACH, "withdrawn").await,
                Meanwhile::OtherCustomerWithdrawn => world.consent("crm:0044", OUTREACH, "withdrawn").await,
                Meanwhile::Objection => {
                    let restriction = json!({ "party": party, "evidence": [{ "kind": "letter", "reference": "l" }] });
                    world.desk(http::Method::POST, "/v1/restrictions", restriction).await;
                }
                Meanwhile::WithdrawnAndGivenAgain => {
                    world.consent(&party, OUTREACH, "withdrawn").await;
                    world.consent(&party, OUTREACH, "given").await;
                }
            }
            gate.release();
            let answer = asking.await.unwrap();
            assert_eq!(status, answer.status.as_u16(), "{meanwhile:?} http2={http2} {answer:?}");
            if status == 200 {
                answer.released(200, &ada_for_outreach().replace("0031", &id));
            } else {
                answer.refused(403, "denied");
                assert!(!answer.text().contains("Brandt"));
            }
        }
    }
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_dropped_when_its_customer_withdraws_while_the_list_is_fetched() {
    let world = Arc::new(gateway().start().await);
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0058", OUTREACH, "given").await;
    let gate = Gate::closed();
    let list = format!(r#"{{"customers":[{},{}],"total":2}}"#, ada(), pavel());
    world.upstream.on("GET /customers", Plan::json(&list).behind(&gate));
    let asking = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.client("crm").get("/crm/customers").purpose(OUTREACH).await })
    };
    gate.arrived().await;
    world.consent("crm:0031", OUTREACH, "withdrawn").await;
    gate.release();
    asking.await.unwrap().released(200, &format!(r#"{{"customers":[{}],"total":1}}"#, pavel_for_outreach()));
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_loaded_while_a_request_waits_decides_it() {
    let forbid = r#"
@id("test-no-outreach")
@description("Outreach has ended.")
forbid (principal, action, resource)
when { context.purpose in Purpose::"sales" };
"#;
    let world = Arc::new(gateway().start().await);
    world.consent("crm:0031", OUTREACH, "given").await;
    let ask = |app: &'static str, target: &'static str, purpose: &'static str| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.client(app).get(target).purpose(purpose).await })
    };
    let (first, second) = (Gate::closed(), Gate::closed());
    world.upstream.on("GET /customers/0031", Plan::json(&ada()).behind(&first));
    world.upstream.on("GET /cards/0031", Plan::json(&card("0031", "a@example.net")).behind(&second));
    let ended = ask("crm", "/crm/customers/0031", OUTREACH);
    let untouched = ask("helpdesk", "/crm/cards/0031", "service-provision.support");
    first.arrived().await;
    second.arrived().await;
    world.add_policy(forbid).await;
    assert_eq!(2, world.running().shared().generation());
    first.release();
    second.release();
    ended.await.unwrap().refused(403, "denied");
    untouched.await.unwrap().released(200, &card_whole("0031", "a@example.net"));
    // From now on no consent helps, so that the refusal may say why.
    world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await.refused(403, "not-entitled");
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_write_is_held_back_when_the_right_to_read_it_has_gone() {
    let world = Arc::new(gateway().start().await);
    world.consent("crm:0031", OUTREACH, "given").await;
    let gate = Gate::closed();
    world.upstream.on("PATCH /customers/0031", Plan::json(&ada()).behind(&gate));
    let asking = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.client("crm").patch("/crm/customers/0031", r#"{"email":"x@example.net"}"#).purpose(OUTREACH).await })
    };
    gate.arrived().await;
    world.consent("crm:0031", OUTREACH, "withdrawn").await;
    gate.release();
    // The write is done; nothing of the record is shown.
    asking.await.unwrap().released(200, "");
    Arc::into_inner(world).unwrap().finish().await;
}
