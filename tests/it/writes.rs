//! Writes: judged member by member before anything is sent, for the customer on record and for whom the body names.

use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::json;

use crate::harness::people::{ada, ada_for_outreach, card, card_whole};
use crate::harness::{Plan, World, entries, gateway};

const OUTREACH: &str = "sales.outreach";
const SUPPORT: &str = "service-provision.support";
const PROVISION: &str = "service-provision";
const EMAIL: &str = "marketing.email";

/// The refusal names exactly these fields, and nothing was sent.
#[track_caller]
fn nothing_sent(world: &World, what: &str) {
    assert!(world.upstream.asked().is_empty(), "{what}: something was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_is_judged_member_by_member_and_sent_whole_or_not_at_all() {
    let world = gateway().start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.upstream.json("PATCH /customers/0031", &ada());
    let crm = world.client("crm");
    for body in [r#"{ "email" : "ada.new@example.net" }"#, r#"{"name":{"family":"Brandt-Ohm"},"updatedAt":"2026-07-02"}"#, r#"{"address":null}"#] {
        let answer = crm.patch("/crm/customers/0031", body).purpose(OUTREACH).await;
        // What the API answers to a write is a read, and cut like one.
        answer.released(200, &ada_for_outreach());
        assert_eq!(Some(3), answer.withheld());
        let sent = world.upstream.take();
        assert_eq!(["PATCH /customers/0031"], sent.iter().map(|r| r.what.as_str()).collect::<Vec<_>>()[..]);
        assert_eq!((body.as_bytes(), "application/json"), (&sent[0].body[..], sent[0].headers["content-type"].to_str().unwrap()));
    }
    let refused = [
        (r#"{"leadScore":99}"#, vec!["leadScore"]),
        (r#"{"email":"x@example.net","leadScore":99,"dietaryNote":"none"}"#, vec!["dietaryNote", "leadScore"]),
        (r#"{"email":"x@example.net","role":"admin"}"#, vec!["role"]),
        (r#"{"address":{"city":"Ulm"},"name":{"given":"A","nick":"B"}}"#, vec!["name.nick"]),
        (r#"{"lastVisit":null}"#, vec!["lastVisit"]),
        (r#"{"updatedAt":"2026-07-02"}"#, vec!["updatedAt"]),
    ];
    for (body, fields) in refused {
        let answer = crm.patch("/crm/customers/0031", body).purpose(OUTREACH).await;
        answer.refused(403, "field-not-permitted");
        assert_eq!(json!(fields), answer.json()["fields"], "{body}");
        nothing_sent(&world, body);
    }
    // That a field is never permitted says nothing of the customer, so it is the same for everybody.
    let of_stranger = crm.patch("/crm/customers/9999", r#"{"leadScore":99}"#).purpose(OUTREACH).await;
    let of_ada = crm.patch("/crm/customers/0031", r#"{"leadScore":99}"#).purpose(OUTREACH).await;
    assert_eq!(of_ada.anonymous(), of_stranger.anonymous());
    // Names that came with the request do not reach the log.
    assert_eq!(["leadScore"], world.found(&of_ada).withheld[..]);
    let answer = crm.patch("/crm/customers/0031", r#"{"secret.person@example.net":1}"#).purpose(OUTREACH).await;
    assert!(world.found(&answer).withheld.is_empty());
    // Without consent, and unknown: the constant denial.
    let unasked = crm.patch("/crm/customers/0058", r#"{"email":"x@example.net"}"#).purpose(OUTREACH).await;
    unasked.refused(403, "denied");
    let stranger = crm.patch("/crm/customers/9999", r#"{"email":"x@example.net"}"#).purpose(OUTREACH).await;
    assert_eq!(unasked.anonymous(), stranger.anonymous());
    nothing_sent(&world, "denied");
    // The body names somebody else: the record would go there with fields that this app may not write.
    let answer = crm.patch("/crm/customers/0031", r#"{"id":"0058","email":"x@example.net"}"#).purpose(OUTREACH).await;
    answer.refused(403, "field-not-permitted");
    assert_eq!(json!(["dietaryNote", "lastVisit", "leadScore"]), answer.json()["fields"]);
    assert!(answer.json()["remedy"].as_str().unwrap().contains("another customer"), "{answer:?}");
    // Where it may write them all, whoever gets the record has to agree, also if nothing else is written.
    for body in [r#"{"id":"0058","email":"x@example.net"}"#, r#"{"id":"0058"}"#, r#"{"id":"9999"}"#] {
        crm.patch("/crm/cards/0031", body).purpose(OUTREACH).await.refused(403, "denied");
        nothing_sent(&world, body);
    }
    world.consent("crm:0058", OUTREACH, "given").await;
    world.upstream.on("PATCH /cards/0031", Plan::empty(204));
    crm.patch("/crm/cards/0031", r#"{"id":"0058"}"#).purpose(OUTREACH).await.released(204, "");
    assert_eq!(["PATCH /cards/0031"], world.upstream.asked()[..]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_goes_to_another_customer_only_with_all_that_is_in_it() {
    let world = gateway().start().await;
    let crm = world.client("crm");
    let give = async |body: &str| crm.patch("/crm/cards/0031", body).purpose(OUTREACH).await;
    world.say("crm:0031", OUTREACH, "given", json!({ "categories": ["contact"] })).await;
    world.consent("crm:0058", OUTREACH, "given").await;
    world.upstream.on("PATCH /cards/0031", Plan::empty(204));
    give(r#"{"email":"x@example.net"}"#).await.released(204, "");
    world.upstream.take();
    // The name is in the record, too, and Ada has not agreed that it is used.
    for body in [r#"{"id":"0058"}"#, r#"{"id":"0058","email":"x@example.net"}"#] {
        let answer = give(body).await;
        answer.refused(403, "field-not-permitted");
        assert_eq!(json!(["name"]), answer.json()["fields"]);
    }
    nothing_sent(&world, "given away in part");
    // Nor may Pavel get a name that he has not agreed to.
    world.consent("crm:0031", OUTREACH, "given").await;
    give(r#"{"id":"0058"}"#).await.released(204, "");
    world.consent("crm:0058", OUTREACH, "withdrawn").await;
    world.say("crm:0058", OUTREACH, "given", json!({ "categories": ["contact"] })).await;
    world.upstream.take();
    give(r#"{"id":"0058"}"#).await.refused(403, "denied");
    nothing_sent(&world, "taken in part");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_must_be_able_to_write_all_that_it_replaces() {
    let world = gateway().start().await;
    let body = card("0031", "ada.new@example.net");
    world.upstream.json("PUT /cards/0031", &body);
    let helpdesk = world.client("helpdesk");
    // What a GET showed, sent back: what was withheld would be wiped.
    let cut = ada_for_outreach();
    let crm = world.client("crm");
    world.consent("crm:0031", OUTREACH, "given").await;
    let answer = crm.put("/crm/customers/0031", &cut).purpose(OUTREACH).await;
    answer.refused(409, "masked-write");
    assert_eq!(json!(["dietaryNote", "lastVisit", "leadScore"]), answer.json()["fields"]);
    assert!(answer.json()["remedy"].as_str().unwrap().contains("PATCH"));
    nothing_sent(&world, "PUT with withheld categories");
    let answer = helpdesk.put("/crm/cards/0031", &body).purpose(SUPPORT).await;
    answer.released(200, &card_whole("0031", "ada.new@example.net"));
    assert_eq!(body.as_bytes(), world.upstream.take()[0].body);
    crm.put("/crm/cards/0058", &card("0058", "x@example.net")).purpose(OUTREACH).await.refused(403, "denied");
    // A masked form that comes back must never be stored.
    world.upstream.on("PATCH /cards/0031", Plan::empty(204));
    let answer = helpdesk.patch("/crm/cards/0031", r#"{"email":"x@example.net","phone":"****4567"}"#).purpose(SUPPORT).await;
    answer.refused(409, "masked-write");
    assert_eq!(json!(["phone"]), answer.json()["fields"]);
    nothing_sent(&world, "masked form");
    let answer = helpdesk.patch("/crm/cards/0031", r#"{"phone":"+49 1"}"#).purpose(SUPPORT).await;
    answer.released(204, "");
    assert_eq!((None, None), (answer.header("content-type"), answer.header("content-length")));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_customer_is_linked_before_the_answer_and_has_agreed_to_nothing() {
    let world = gateway().start().await;
    let crm = world.client("crm");
    let body = r#"{"name":"N","email":"New.Person@example.net","phone":"+49 1"}"#;
    let create = || crm.post("/crm/customers", body).purpose(PROVISION);
    // Nobody is called 0101 yet.
    world.upstream.json("GET /cards/0101", &card("0101", "new.person@example.net"));
    crm.get("/crm/cards/0101").purpose(OUTREACH).await.refused(403, "denied");
    world.upstream.on("POST /customers", Plan::json(r#"{"id":"0101","success":true,"owner":"secret.person@example.net"}"#).status(201));
    create().await.released(201, r#"{"id":"0101","success":true}"#);
    assert_eq!(body.as_bytes(), world.upstream.take()[0].body);
    crm.get("/crm/cards/0101").purpose(OUTREACH).await.refused(403, "denied");
    nothing_sent(&world, "a new customer has not agreed");
    world.consent("crm:0101", OUTREACH, "given").await;
    crm.get("/crm/cards/0101").purpose(OUTREACH).await.released(200, &card_whole("0101", "new.person@example.net"));
    world.upstream.take();

    // Consent is needed where the basis is consent, and a new customer has none.
    crm.post("/crm/customers", body).purpose(OUTREACH).await.refused(403, "denied");
    let answer = crm.post("/crm/customers", r#"{"name":"N","leadScore":1}"#).purpose(PROVISION).await;
    answer.refused(403, "field-not-permitted");
    assert_eq!(json!(["leadScore"]), answer.json()["fields"]);
    nothing_sent(&world, "refused creates");

    // Somebody who was erased is never taken in again.
    world.desk(Method::POST, "/v1/parties/email:jonas.lindqvist@example.net:erase", json!({ "reason": "asked for it" })).await;
    let again = r#"{"name":"J","email":"Jonas.Lindqvist@example.net"}"#;
    crm.post("/crm/customers", again).purpose(PROVISION).await.refused(403, "denied");
    nothing_sent(&world, "an erased customer");

    // A stop that was said under the id attaches to whom it becomes.
    let objection =
        json!({ "party": "email:later@example.net", "kind": "objection-marketing", "evidence": [{ "kind": "letter", "reference": "l" }] });
    world.desk(Method::POST, "/v1/objections", objection).await;
    world.upstream.on("POST /customers", Plan::json(r#"{"id":"0102"}"#).status(201));
    crm.post("/crm/customers", r#"{"name":"L","email":"later@example.net"}"#).purpose(PROVISION).await.released(201, r#"{"id":"0102"}"#);
    world.upstream.json("GET /cards/0102", &card("0102", "later@example.net"));
    let party = world.staff("consent-desk").get("/v1/parties/crm:0102").await.json();
    assert_eq!(1, party["stops"].as_array().unwrap().len(), "{party}");

    // Answers without a usable id: the record is there, nobody is linked, nothing goes out.
    for plan in [
        Plan::json(r#"{"success":true}"#).status(201),
        Plan::json(r#"{"id":"00-1"}"#).status(201),
        Plan::json(r#"{"id":["0103"]}"#).status(201),
        Plan::json(r#"{"id":"0103","id":"0104"}"#).status(201),
        Plan::text("text/html", "0103").status(201),
        Plan::empty(201),
    ] {
        world.upstream.on("POST /customers", plan);
        create().await.refused(502, "upstream-unreadable");
    }
    let metrics = world.running().instance().metrics();
    assert!(metrics.lines().any(|l| l.starts_with("unlinked_creates") || l.contains("unlinked_creates") && l.ends_with(" 6")), "{metrics}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_customer_must_be_looked_up_reads_first_and_shows_nothing_of_it() {
    let world = gateway().start().await;
    let ticket =
        |requester: &str| format!(r#"{{"id":"t1","state":"open","subject":"Broken","requester":{{"email":"{requester}","name":"R"}},"cc":[]}}"#);
    let helpdesk = world.client("helpdesk");
    let patch = |body: &'static str| helpdesk.patch("/desk/tickets/t1", body);
    world.upstream.json("GET /tickets/t1", &ticket("ada.brandt@example.net"));
    world.upstream.json("PATCH /tickets/t1", &ticket("ada.brandt@example.net"));
    let both = ["GET /tickets/t1", "PATCH /tickets/t1"];
    patch(r#"{"subject":"Still broken"}"#).await.released(200, &ticket("ada.brandt@example.net"));
    assert_eq!(both, world.upstream.asked()[..]);
    // To another customer whose contract allows it, too.
    patch(r#"{"requester":{"email":"jonas.lindqvist@example.net"}}"#).await.released(200, &ticket("ada.brandt@example.net"));
    assert_eq!(both, world.upstream.asked()[..]);
    // Fields that are never permitted are refused before anybody is looked up.
    patch(r#"{"subject":"x","internal":true}"#).await.refused(403, "field-not-permitted");
    nothing_sent(&world, "never permitted");
    // To somebody whose processing is restricted, or unknown.
    world.desk(Method::POST, "/v1/restrictions", json!({ "party": "crm:0058", "evidence": [{ "kind": "letter", "reference": "l" }] })).await;
    for body in [r#"{"requester":{"email":"pavel.horak@example.net"}}"#, r#"{"subject":"x","requester":{"email":"nobody@example.net"}}"#] {
        patch(body).await.refused(403, "denied");
        assert_eq!(["GET /tickets/t1"], world.upstream.asked()[..], "{body}");
    }
    // A ticket of somebody unknown or restricted, and one that is not there, look the same.
    world.upstream.json("GET /tickets/t1", &ticket("nobody@example.net"));
    let denied = patch(r#"{"subject":"x"}"#).await;
    denied.refused(403, "denied");
    for plan in [Plan::json(&ticket("pavel.horak@example.net")), Plan::json("{}").status(404)] {
        world.upstream.on("GET /tickets/t1", plan);
        assert_eq!(denied.anonymous(), patch(r#"{"subject":"x"}"#).await.anonymous());
    }
    for plan in [Plan::json(r#"{"id":"t1"}"#), Plan::text("text/html", "t1"), Plan::json(&ticket("ada.brandt@example.net")).cut_in_the_middle()] {
        world.upstream.on("GET /tickets/t1", plan);
        patch(r#"{"subject":"x"}"#).await.refused(502, "upstream-unreadable");
    }
    assert!(world.upstream.asked().iter().all(|what| what.starts_with("GET ")));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_can_be_read_in_two_ways_is_not_read() {
    let world = gateway().start().await;
    let helpdesk = world.client("helpdesk");
    let patch = |body: &[u8]| helpdesk.ask(Method::PATCH, "/crm/cards/0031").purpose(SUPPORT).body(body);
    let json = "application/json";
    let large = format!(r#"{{"email":"{}@example.net"}}"#, "x".repeat(17 * 1024));
    let cases: &[(&str, &str, &[u8], u16, &str)] = &[
        ("two members of one name", json, br#"{"email":"a@example.net","email":"b@example.net"}"#, 400, "ambiguous-request"),
        ("one name by an escape", json, br#"{"email":"a@example.net","\u0065mail":"b@example.net"}"#, 400, "ambiguous-request"),
        ("one name in two cases", json, br#"{"email":"a@example.net","Email":"b@example.net"}"#, 400, "ambiguous-request"),
        ("trailing garbage", json, br#"{"email":"a@example.net"}{}"#, 400, "ambiguous-request"),
        ("no JSON", json, b"email=a", 400, "ambiguous-request"),
        ("a list", json, br#"[{"email":"a@example.net"}]"#, 400, "ambiguous-request"),
        ("nothing", json, b"", 400, "ambiguous-request"),
        ("no UTF-8", json, b"{\"email\":\"\xff\"}", 400, "ambiguous-request"),
        ("an id that is none", json, br#"{"id":{"a":1},"email":"a@example.net"}"#, 400, "ambiguous-request"),
        ("a form", "application/x-www-form-urlencoded", b"email=a", 415, "media-type"),
        ("text", "text/plain", br#"{"email":"a@example.net"}"#, 415, "media-type"),
        ("another charset", "application/json; charset=latin1", br#"{"email":"a@example.net"}"#, 415, "media-type"),
        ("too large", json, large.as_bytes(), 413, "payload-too-large"),
    ];
    for (what, content_type, body, status, code) in cases {
        let answer = patch(body).header("content-type", content_type).await;
        assert_eq!((*status, *code), (answer.status.as_u16(), answer.code().as_str()), "{what}");
        nothing_sent(&world, what);
    }
    patch(br#"{"email":"a@example.net"}"#).await.refused(415, "media-type");
    patch(br#"{"email":"a@example.net"}"#).header("content-type", json).header("content-type", json).await.refused(415, "media-type");
    patch(br#"{"email":"a@example.net"}"#).header("content-type", json).header("content-encoding", "gzip").await.refused(415, "media-type");
    helpdesk.get("/crm/cards/0031").purpose(SUPPORT).json("{}").await.refused(400, "ambiguous-request");
    nothing_sent(&world, "bodies that are not taken");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_needs_the_owner_consent_and_no_legal_hold() {
    let world = gateway().start().await;
    for id in ["0031", "0044"] {
        world.upstream.on(&format!("DELETE /subscriptions/{id}"), Plan::empty(204));
        world.consent(&format!("crm:{id}"), EMAIL, "given").await;
    }
    world.desk(Method::PUT, "/v1/parties/crm:0044/facts", json!({ "source": "legal", "legal_hold": true })).await;
    let campaign = world.client("campaign-manager");
    let delete = |id: &str| campaign.ask(Method::DELETE, &format!("/crm/subscriptions/{id}")).purpose(EMAIL);
    let denied = delete("0044").await;
    denied.refused(403, "denied");
    assert!(world.found(&denied).policies.iter().any(|p| p == "legal-hold"), "{:?}", world.found(&denied));
    delete("0058").await.refused(403, "denied");
    delete("9999").await.refused(403, "denied");
    world.client("crm").ask(Method::DELETE, "/crm/subscriptions/0031").purpose(OUTREACH).await.refused(403, "not-entitled");
    nothing_sent(&world, "deletions that are not permitted");
    delete("0031").await.released(204, "");
    assert_eq!(["DELETE /subscriptions/0031"], world.upstream.asked()[..]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_intent_is_in_the_log_before_the_api_hears_of_a_write() {
    let world = gateway().start().await;
    let helpdesk = world.client("helpdesk");
    let dir = world.log_dir();
    let before: Arc<Mutex<Vec<u64>>> = Arc::default();
    let noted = Arc::clone(&before);
    let look = move || {
        let intents = entries(&dir).into_iter().filter(|e| e.kind() == "intent").map(|e| e.index);
        *noted.lock().unwrap() = intents.collect();
    };
    world.upstream.on("PATCH /cards/0031", Plan::empty(204).then(look.clone()));
    let answer = helpdesk.patch("/crm/cards/0031", r#"{"email":"x@example.net"}"#).purpose(SUPPORT).await;
    answer.released(204, "");
    assert_eq!(vec![world.found(&answer).index], *before.lock().unwrap());
    // Also when the API then fails: the write may have happened, and the log knows that it was tried.
    let failures = [
        (Plan::json("{\"id\"").cut_in_the_middle(), 502, "upstream-unreadable"),
        (Plan::json(r#"{"error":"secret.person@example.net"}"#).status(409), 409, "upstream-refused"),
        (Plan::json("{}").status(404), 404, "route-not-declared"),
        (Plan::json("{}").status(503), 502, "upstream-unavailable"),
    ];
    for (plan, status, code) in failures {
        world.upstream.on("PATCH /cards/0031", plan.then(look.clone()));
        let answer = helpdesk.patch("/crm/cards/0031", r#"{"email":"x@example.net"}"#).purpose(SUPPORT).await;
        answer.refused(status, code);
        assert!(before.lock().unwrap().contains(&world.found(&answer).index), "{code}");
    }
    world.finish().await;
}
