//! Merge patches and JSON patches through the gateway, and what the API answers to a write.

use http::Method;
use serde_json::json;

use crate::harness::people::{ada, ada_for_outreach, card, customer};
use crate::harness::{Answer, Plan, World, gateway};

const OUTREACH: &str = "sales.outreach";
const SUPPORT: &str = "service-provision.support";
const PROVISION: &str = "service-provision";
const PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";

const APIS: &str = concat!(
    include_str!("harness/apis.toml"),
    r#"
[[api]]
name = "patches"
owner = "marketing"
at = "/patches"
upstream = "house"
[[api.route]]
match = "PATCH /customers/{id}"
customer = "path:id"
request = { shape = "customer", types = ["application/merge-patch+json", "application/json-patch+json"], masked = "drop" }
response = { shape = "customer" }
[[api.route]]
match = "PATCH /cards/{id}"
customer = "path:id"
request = { shape = "card", types = ["application/merge-patch+json", "application/json-patch+json"] }
response = "empty"
"#
);

async fn world() -> World {
    gateway().apis(APIS).start().await
}

async fn patch(world: &World, app: &str, target: &str, content_type: &str, body: &str, purpose: &str) -> Answer {
    world.client(app).ask(Method::PATCH, target).header("content-type", content_type).purpose(purpose).body(body.as_bytes()).await
}

#[track_caller]
fn nothing_sent(world: &World, what: &str) {
    assert!(world.upstream.asked().is_empty(), "{what}: something was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_patch_deletes_only_what_may_be_written() {
    let world = world().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.upstream.json("PATCH /customers/0031", &ada());
    let send = async |body: &str| patch(&world, "crm", "/patches/customers/0031", MERGE, body, OUTREACH).await;
    for body in [r#"{"phone":null}"#, r#"{"address":null,"name":{"given":null}}"#] {
        send(body).await.released(200, &ada_for_outreach());
        let sent = world.upstream.take();
        assert_eq!((body.as_bytes(), MERGE), (&sent[0].body[..], sent[0].headers["content-type"].to_str().unwrap()));
    }
    for (body, status, code) in [
        (r#"{"leadScore":1}"#, 403, "field-not-permitted"),
        (r#"{"phone":null,"dietaryNote":null}"#, 403, "field-not-permitted"),
        (r#"{"other":null}"#, 403, "field-not-permitted"),
        (r#"{"id":null}"#, 400, "ambiguous-request"),
        ("null", 400, "ambiguous-request"),
        (r#"[{"op":"remove","path":"/phone"}]"#, 400, "ambiguous-request"),
    ] {
        send(body).await.refused(status, code);
        nothing_sent(&world, body);
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_patch_asks_carries_and_wipes_nothing_that_is_withheld() {
    let world = world().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.upstream.json("PATCH /customers/0031", &ada());
    let send = async |body: &str| patch(&world, "crm", "/patches/customers/0031", PATCH, body, OUTREACH).await;
    let body = r#"[ {"path":"/email","op":"test","value":"ada.brandt@example.net"}, {"op":"replace","value":"x","path":"\/email"} ]"#;
    send(body).await.released(200, &ada_for_outreach());
    let sent = world.upstream.take();
    let anew = r#"[{"op":"test","path":"/email","value":"ada.brandt@example.net"},{"op":"replace","path":"/email","value":"x"}]"#;
    assert_eq!((anew.as_bytes(), PATCH), (&sent[0].body[..], sent[0].headers["content-type"].to_str().unwrap()));
    for (body, fields) in [
        (r#"[{"op":"test","path":"/leadScore","value":71.5}]"#, json!(["leadScore"])),
        (r#"[{"op":"replace","path":"/email","value":"x"},{"op":"test","path":"/dietaryNote","value":"vegan"}]"#, json!(["dietaryNote"])),
        (r#"[{"op":"test","path":"/internalFlag","value":true}]"#, json!(["internalFlag"])),
        (r#"[{"op":"copy","from":"/dietaryNote","path":"/address/note"}]"#, json!(["address.**", "dietaryNote"])),
        (r#"[{"op":"copy","from":"/internalFlag","path":"/address/note"}]"#, json!(["address.**", "internalFlag"])),
        (r#"[{"op":"move","from":"/name/given","path":"/email"}]"#, json!(["email", "name.given"])),
        (r#"[{"op":"remove","path":"/lastVisit"}]"#, json!(["lastVisit"])),
        (r#"[{"op":"remove","path":"/id"}]"#, json!(["id"])),
        (r#"[{"op":"copy","from":"/id","path":"/address/id"}]"#, json!(["address.**"])),
        (r#"[{"op":"add","path":"/address/__proto__/x","value":1}]"#, json!(["address.__proto__.x"])),
    ] {
        let answer = send(body).await;
        answer.refused(403, "field-not-permitted");
        assert_eq!(fields, answer.json()["fields"], "{body}");
        nothing_sent(&world, body);
    }
    for body in [
        r#"[{"op":"replace","path":"","value":{}}]"#,
        r#"[{"op":"remove","path":"email"}]"#,
        r#"[{"op":"remove","path":"/a~2b"}]"#,
        r#"[{"op":"remove","path":"/email","x":1}]"#,
        r#"[{"op":"replace","path":"/id","value":null}]"#,
        r#"{"email":"x"}"#,
    ] {
        send(body).await.refused(400, "ambiguous-request");
        nothing_sent(&world, body);
    }
    // To another customer: with fields that this app may not write, or to one who has not agreed.
    send(r#"[{"op":"replace","path":"/id","value":"0058"}]"#).await.refused(403, "field-not-permitted");
    let card = r#"[{"op":"replace","path":"/id","value":"0058"}]"#;
    patch(&world, "crm", "/patches/cards/0031", PATCH, card, OUTREACH).await.refused(403, "denied");
    nothing_sent(&world, "moved");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masked_value_in_a_patch_is_refused_or_left_out() {
    let world = world().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.upstream.json("PATCH /customers/0031", &ada());
    world.upstream.on("PATCH /cards/0031", Plan::empty(204));
    for (content_type, body) in [(MERGE, r#"{"phone":"****4567","email":"x"}"#), (PATCH, r#"[{"op":"replace","path":"/phone","value":"****4567"}]"#)]
    {
        let answer = patch(&world, "helpdesk", "/patches/cards/0031", content_type, body, SUPPORT).await;
        answer.refused(409, "masked-write");
        assert_eq!(json!(["phone"]), answer.json()["fields"]);
        nothing_sent(&world, body);
    }
    let customer = "/patches/customers/0031";
    for (content_type, body, left) in [
        (MERGE, r#"{"taxId":"****6789","email":"x"}"#, r#"{"email":"x"}"#),
        (
            PATCH,
            r#"[{"op":"replace","path":"/taxId","value":"****6789"},{"op":"replace","path":"/email","value":"x"}]"#,
            r#"[{"op":"replace","path":"/email","value":"x"}]"#,
        ),
    ] {
        patch(&world, "crm", customer, content_type, body, OUTREACH).await.released(200, &ada_for_outreach());
        assert_eq!(left.as_bytes(), world.upstream.take()[0].body);
    }
    let related = r#"[{"op":"remove","path":"/taxId"},{"op":"add","path":"/taxId","value":"****6789"},{"op":"replace","path":"/email","value":"x"}]"#;
    patch(&world, "crm", customer, PATCH, related, OUTREACH).await.refused(409, "masked-write");
    nothing_sent(&world, "a removal alone");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_answers_to_a_write_is_cut_like_a_read() {
    let world = world().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    let body = r#"{"email":"x@example.net"}"#;
    let crm = world.client("crm");
    let json_write = async || crm.patch("/crm/customers/0031", body).purpose(OUTREACH).await;
    for status in [200, 201, 202] {
        world.upstream.on("PATCH /customers/0031", Plan::json(&ada()).status(status));
        let answer = json_write().await;
        answer.released(status, &ada_for_outreach());
        assert_eq!(Some(3), answer.withheld());
        patch(&world, "crm", "/patches/customers/0031", MERGE, body, OUTREACH).await.released(status, &ada_for_outreach());
    }
    for status in [200, 202, 204] {
        world.upstream.on("PATCH /customers/0031", Plan::empty(status));
        json_write().await.released(status, "");
    }
    // What is not declared to answer anything answers nothing, whatever comes.
    for status in [200, 201, 202] {
        world.upstream.on("PATCH /cards/0031", Plan::json(&card("0031", "secret.person@example.net")).status(status));
        let answer = patch(&world, "helpdesk", "/patches/cards/0031", MERGE, body, SUPPORT).await;
        answer.released(status, "");
    }
    // Somebody else's record, several, another type: nothing of it, although the write is done.
    for plan in [
        Plan::json(&customer("0058", "Pavel", "secret", "secret.person@example.net")),
        Plan::json(&format!("[{}]", ada())),
        Plan::json(r#"{"email":"secret.person@example.net"}"#),
        Plan::text("text/html", "secret.person@example.net"),
        Plan::text("application/x-www-form-urlencoded", "id=0031&email=secret.person%40example.net"),
        Plan::json(&ada()).status(206),
    ] {
        world.upstream.on("PATCH /customers/0031", plan);
        let answer = json_write().await;
        answer.refused(502, "upstream-unreadable");
        assert!(!answer.text().contains("secret"), "{answer:?}");
    }
    // A conflict that names whom it conflicts with.
    for status in [409, 422, 400] {
        let other =
            Plan::json(r#"{"error":"duplicate of secret.person@example.net","id":"0058"}"#).status(status).header("location", "/customers/0058");
        world.upstream.on("PATCH /customers/0031", other);
        let answer = json_write().await;
        answer.refused(status, "upstream-refused");
        assert!(!answer.text().contains("0058") && answer.header("location").is_none(), "{answer:?}");
    }
    // Who may write and not read gets the write and no word of the record.
    world
        .upstream
        .on("POST /customers", Plan::json(r#"{"id":"0102","name":"secret","success":true}"#).status(201).header("location", "/customers/0102"));
    let created = crm.post("/crm/customers", r#"{"name":"N"}"#).purpose(PROVISION).await;
    created.released(201, r#"{"id":"0102","success":true}"#);
    assert_eq!(None, created.header("location"));
    world.finish().await;
}
