//! `POST /v1/check`: a list is judged as the data plane would judge each of its customers, is recorded before it is answered,
//! and tells no more than yes or no. And the privacy signal of browsers, wherever it arrives.

use consentry::clock::SystemClock;
use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{card, customer};
use crate::harness::{Answer, World, entries, gateway};

const OUTREACH: &str = "sales.outreach";

async fn check(world: &World, app: &str, body: Value) -> Answer {
    world.capture(app).post("/v1/check", &body.to_string()).await
}

fn allowed(answer: &Answer) -> Vec<Value> {
    let document = answer.json();
    document["results"].as_array().unwrap_or_else(|| panic!("{answer:?}")).iter().map(|one| one["allowed"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_answered_as_the_data_plane_would() {
    let world = gateway().start().await;
    for (id, given) in [("0031", "Ada"), ("0044", "Mina"), ("0012", "Jonas"), ("0058", "Pavel"), ("0070", "Lucia")] {
        world.upstream.json(&format!("GET /customers/{id}"), &customer(id, given, "Norman", "x@example.net"));
    }
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0044", OUTREACH, "given").await;
    world.consent("crm:0012", OUTREACH, "given").await;
    world.say("crm:0058", OUTREACH, "given", json!({ "categories": ["identity"] })).await;
    world.consent("crm:0012", OUTREACH, "withdrawn").await;
    world.desk(Method::POST, "/v1/restrictions", json!({ "party": "crm:0044", "reason": "disputed" })).await;
    let ids = ["crm:0031", "crm:0044", "crm:0012", "crm:0058", "crm:0070", "crm:9999"];
    for category in ["identity", "contact", "behaviour"] {
        let answer = check(&world, "crm", json!({ "purpose": OUTREACH, "category": category, "ids": ids })).await;
        let member = match category {
            "identity" => "name",
            "contact" => "email",
            _ => "lastVisit",
        };
        let mut seen = Vec::new();
        for id in ids {
            let target = format!("/crm/customers/{}", id.trim_start_matches("crm:"));
            let read = world.client("crm").get(&target).purpose(OUTREACH).await;
            seen.push(json!(read.status == 200 && read.json().get(member).is_some()));
        }
        assert_eq!(seen, allowed(&answer), "{category}");
    }
    let contact = json!({ "purpose": OUTREACH, "category": "contact", "ids": ids });
    assert_eq!(json!([true, false, false, false, false, false]), Value::from(allowed(&check(&world, "crm", contact).await)));
    // Without a category all that the app could get must be open: of a customer who is no lead `behaviour` is not.
    let all = json!({ "purpose": OUTREACH, "ids": ids });
    assert_eq!(json!([false, false, false, false, false, false]), Value::from(allowed(&check(&world, "crm", all).await)));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_customer_looks_like_a_refused_one_and_no_id_is_an_error_of_its_own() {
    let world = gateway().start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0044", OUTREACH, "refused").await;
    let ids = [
        "crm:0044",
        "crm:9999",
        "crm:31",
        "nowhere:1",
        "0031",
        "",
        "email:ADA.BRANDT@example.net",
        "sales:0007731",
        "crm:0031",
        "crm:0031",
        "party:nobody",
    ];
    let answer = check(&world, "crm", json!({ "purpose": OUTREACH, "category": "contact", "ids": ids })).await;
    let expected = [
        json!({ "id": "crm:0044", "allowed": false }),
        json!({ "id": "crm:9999", "allowed": false }),
        json!({ "id": "crm:31", "error": "invalid" }),
        json!({ "id": "nowhere:1", "error": "invalid" }),
        json!({ "id": "0031", "error": "invalid" }),
        json!({ "id": "", "error": "invalid" }),
        json!({ "id": "email:ADA.BRANDT@example.net", "allowed": true }),
        json!({ "id": "sales:0007731", "allowed": true }),
        json!({ "id": "crm:0031", "allowed": true }),
        json!({ "id": "crm:0031", "allowed": true }),
        json!({ "id": "party:nobody", "allowed": false }),
    ];
    assert_eq!((200, json!(expected)), (answer.status.as_u16(), answer.json()["results"].clone()), "{answer:?}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_in_the_log_before_its_answer() {
    let world = gateway().start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    let ids = ["crm:0031", "email:ada.brandt@example.net", "crm:0044", "crm:9999", "crm:9998", "crm:9999", "bad"];
    let answer = check(&world, "crm", json!({ "purpose": OUTREACH, "category": "contact", "ids": ids })).await;
    let decision = answer.json()["decision"].as_str().unwrap().to_owned();
    let index: u64 = decision.rsplit_once('#').unwrap().1.parse().unwrap();
    let written = entries(&world.log_dir());
    let part = written.iter().find(|entry| entry.resolved["kind"] == "part" && entry.resolved["of"] == index).unwrap();
    assert_eq!((json!(2), json!(4)), (part.resolved["rows"].clone(), part.resolved["dropped"].clone()), "{}", part.resolved);
    let shown = consentry::audit::show(&world.log_dir(), index).unwrap().unwrap().decision.unwrap();
    assert_eq!(("crm", "POST /v1/check", 2, 2), (shown.app.as_str(), shown.route.as_str(), shown.parties, shown.unknown), "{shown:?}");
    // Nothing is told when nothing can be recorded or looked up.
    world.move_store(true);
    // The store is asked once a second.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let body = json!({ "purpose": OUTREACH, "category": "contact", "ids": ids });
    let refused = check(&world, "crm", body).await;
    assert_eq!((503, "consent-unavailable"), (refused.status.as_u16(), refused.code().as_str()));
    assert!(refused.json()["decision"].is_string(), "{refused:?}");
    world.move_store(false);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_are_refused_whoever_they_are_about() {
    let world = gateway().start().await;
    let many: Vec<String> = (0..10_001).map(|n| format!("shop:{}", n + 1)).collect();
    for (app, body, status, code) in [
        ("crm", json!({ "purpose": "marketing.email", "ids": ["crm:0031"] }), 403, "purpose-not-registered"),
        ("preference-centre", json!({ "purpose": OUTREACH, "ids": ["crm:0031"] }), 403, "purpose-not-registered"),
        ("crm", json!({ "purpose": OUTREACH, "category": "billing", "ids": ["crm:0031"] }), 403, "not-entitled"),
        ("crm", json!({ "purpose": "no-such", "ids": [] }), 422, "invalid-value"),
        ("crm", json!({ "purpose": OUTREACH, "category": "no-such", "ids": [] }), 422, "invalid-value"),
        ("crm", json!({ "purpose": OUTREACH, "channel": "pigeon", "ids": [] }), 422, "invalid-value"),
        ("campaign-manager", json!({ "purpose": "marketing.email", "channel": "post", "ids": [] }), 422, "invalid-value"),
        ("crm", json!({ "purpose": OUTREACH, "ids": many }), 413, "payload-too-large"),
        ("crm", json!({ "purpose": OUTREACH }), 400, "invalid-request"),
    ] {
        let answer = check(&world, app, body).await;
        assert_eq!((status, code), (answer.status.as_u16(), answer.code().as_str()), "{answer:?}");
    }
    // No certificate, no question; and the consent desk is no app.
    let body = json!({ "purpose": OUTREACH, "ids": ["crm:0031"] }).to_string();
    assert_eq!(404, world.staff("consent-desk").post("/v1/check", &body).await.status.as_u16());
    assert_eq!(0, allowed(&check(&world, "crm", json!({ "purpose": OUTREACH, "ids": [] })).await).len());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_ids_are_one_answer() {
    let lines: String = (1..=3_000).map(|n| format!("shop:{n},person,customer,standard,adult\n")).collect();
    let world = gateway().parties(&lines).start().await;
    world.consent("shop:7", OUTREACH, "given").await;
    let ids: Vec<String> = (1..=10_000).map(|n| format!("shop:{n}")).collect();
    let clock = SystemClock::shared();
    let started = clock.monotonic();
    let answer = check(&world, "crm", json!({ "purpose": OUTREACH, "category": "contact", "ids": ids })).await;
    #[expect(clippy::print_stdout, reason = "a figure for whoever looks")]
    let () = println!("10,000 ids: {:?}", clock.monotonic().saturating_sub(started));
    let yes: Vec<usize> = allowed(&answer).iter().enumerate().filter(|(_, allowed)| **allowed == json!(true)).map(|(n, _)| n).collect();
    assert_eq!(vec![6], yes);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_privacy_signal_closes_marketing_wherever_it_arrives() {
    let world = gateway().start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    let (purpose, ids) = ("marketing.email", json!(["crm:0031"]));
    world.consent("crm:0031", purpose, "given").await;
    let body = json!({ "purpose": purpose, "category": "contact", "ids": ids }).to_string();
    let campaign = world.client("campaign-manager");
    let read = || async { campaign.get("/crm/cards/0031").purpose(purpose).await.status.as_u16() };
    let listed = || async { allowed(&world.capture("campaign-manager").post("/v1/check", &body).await) };
    assert_eq!((200, vec![json!(true)]), (read().await, listed().await));
    // On the request itself it closes that request.
    campaign.get("/crm/cards/0031").purpose(purpose).header("sec-gpc", "1").await.refused(403, "denied");
    let signalled = world.capture("campaign-manager").post("/v1/check", &body).header("sec-gpc", "1").await;
    assert_eq!(vec![json!(false)], allowed(&signalled));
    // Posted for a customer it is an opt-out: without it, or with a kind, the body decides.
    let centre = world.capture("preference-centre");
    let opt_out = json!({ "party": "crm:0031" }).to_string();
    assert_eq!(422, centre.post("/v1/opt-outs", &opt_out).await.status.as_u16());
    assert_eq!(422, centre.post("/v1/opt-outs", &opt_out).header("sec-gpc", "0").await.status.as_u16());
    assert_eq!(422, centre.post("/v1/objections", &opt_out).header("sec-gpc", "1").await.status.as_u16());
    assert_eq!((200, vec![json!(true)]), (read().await, listed().await));
    assert_eq!(201, centre.post("/v1/opt-outs", &opt_out).header("sec-gpc", "1").await.status.as_u16());
    assert_eq!((403, vec![json!(false)]), (read().await, listed().await));
    let stops = world.staff("consent-desk").get("/v1/opt-outs?party=crm:0031").await;
    assert!(stops.text().contains("opt-out-gpc"), "{stops:?}");
    world.finish().await;
}
