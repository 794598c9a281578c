//! Double opt-in: a request for confirmation, the token it is answered with, and what that token can and cannot do.

use consentry::clock::SystemClock;
use serde_json::{Value, json};

use crate::harness::people::{ada, ada_for_outreach};
use crate::harness::{Answer, World, gateway};

const OUTREACH: &str = "sales.outreach";

fn request(id: &str) -> Value {
    json!({
        "party": id, "purposes": [OUTREACH], "state": "pending_confirmation", "event_time": SystemClock::shared().now().to_string(),
        "categories": ["identity", "contact", "behaviour", "opportunity", "order", "case", "health"], "recipients": ["sales"],
        "evidence": [{ "kind": "form-hash", "reference": "sha256:00" }, { "kind": "notice", "reference": "n-1" }],
    })
}

async fn post(world: &World, path: &str, body: &Value) -> Answer {
    world.capture("preference-centre").post(path, &body.to_string()).await
}

/// The event and its token.
async fn ask(world: &World, id: &str) -> (String, String) {
    let answer = post(world, "/v1/consents", &request(id)).await;
    assert_eq!(201, answer.status.as_u16(), "{answer:?}");
    let text = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
    (text("event"), text("confirm"))
}

async fn confirm(world: &World, event: &str, token: &str) -> Answer {
    post(world, &format!("/v1/consents/{event}:confirm"), &json!({ "token": token })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_request_is_recorded_as_a_grant_on_the_same_terms() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    let client = world.client("crm");
    let asked = post(&world, "/v1/consents", &request("crm:0031")).await.json();
    let until: jiff::Timestamp = asked["confirm_until"].as_str().unwrap().parse().unwrap();
    let hours = until.duration_since(SystemClock::shared().now()).as_hours();
    assert!((24 * 7 - 1..=24 * 7).contains(&hours), "{hours}");
    client.get("/crm/customers/0031").purpose(OUTREACH).await.refused(403, "denied");
    let (event, token) = (asked["event"].as_str().unwrap(), asked["confirm"].as_str().unwrap());
    let confirmed = confirm(&world, event, token).await;
    assert_eq!((201, "customer"), (confirmed.status.as_u16(), confirmed.json()["author"].as_str().unwrap()), "{confirmed:?}");
    client.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());

    let history = world.staff("consent-desk").get("/v1/consents/crm:0031/history").await.json();
    let grant = history["events"].as_array().unwrap().iter().find(|e| e["event"] == confirmed.json()["event"]).unwrap().to_string();
    for part in ["\"given\"", "form-hash", "confirmation", event] {
        assert!(grant.contains(part), "`{part}` is not in {grant}");
    }
    assert!(!history.to_string().contains(token));
    // Used.
    let again = confirm(&world, event, token).await;
    assert_eq!((409, "conflict"), (again.status.as_u16(), again.code().as_str()));
    assert!(again.text().contains("confirmed already"), "{again:?}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_confirms_its_own_event_for_its_own_app_in_time() {
    let world = gateway().start().await;
    let (event, token) = ask(&world, "crm:0031").await;
    let (other, others) = ask(&world, "crm:0044").await;
    let link = world.link("crm:0031", OUTREACH).await;
    let mut soon = request("crm:0012");
    soon["expires"] = json!((SystemClock::shared().now() + std::time::Duration::from_secs(4)).to_string());
    let late = post(&world, "/v1/consents", &soon).await.json();
    tokio::time::sleep(std::time::Duration::from_millis(4_100)).await;
    let revision = world.running().shared().ledger.revision();
    let cut = token.split_at(token.len() - 2).0;
    let changed = format!("{cut}{}", if token.ends_with("AA") { "BB" } else { "AA" });
    for (case, event, token) in [
        ("of another event", event.as_str(), others.as_str()),
        ("for another event", &other, &token),
        ("changed", &event, &changed),
        ("cut", &event, cut),
        ("empty", &event, ""),
        ("a withdrawal link", &event, link.strip_prefix("/withdraw/").unwrap()),
        ("run out", late["event"].as_str().unwrap(), late["confirm"].as_str().unwrap()),
        ("no event", "ev_999999", &token),
        ("no event id", "42", &token),
    ] {
        let answer = confirm(&world, event, token).await;
        assert_eq!((409, "conflict"), (answer.status.as_u16(), answer.code().as_str()), "{case} {answer:?}");
        assert!(answer.text().contains("ask the person for consent again"), "{case} {answer:?}");
    }
    // Another app that found the token.
    let body = json!({ "token": token }).to_string();
    let foreign = world.capture("crm").post(&format!("/v1/consents/{event}:confirm"), &body).await;
    assert_eq!(409, foreign.status.as_u16(), "{foreign:?}");
    assert_eq!(revision, world.running().shared().ledger.revision());
    // The admin listener confirms nothing.
    let admin = world.staff("consent-desk").post(&format!("/v1/consents/{event}:confirm"), &body).await;
    assert_eq!(404, admin.status.as_u16(), "{admin:?}");
    assert_eq!(201, confirm(&world, &event, &token).await.status.as_u16());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_confirmation_takes_no_later_no_back() {
    let world = gateway().start().await;
    for (n, id) in ["crm:0031", "crm:0044", "crm:0012"].into_iter().enumerate() {
        let (event, token) = ask(&world, id).await;
        match n {
            0 => world.consent(id, "sales", "withdrawn").await,
            1 => drop(world.desk(http::Method::POST, "/v1/objections", json!({ "party": id, "kind": "objection-marketing" })).await),
            _ => {
                let path = world.link(id, OUTREACH).await;
                assert_eq!(200, world.visitor().ask(http::Method::POST, &path).await.status.as_u16());
            }
        }
        let answer = confirm(&world, &event, &token).await;
        assert_eq!(409, answer.status.as_u16(), "{id} {answer:?}");
    }
    // What was said about something else stands against nothing.
    let (event, token) = ask(&world, "crm:0058").await;
    world.consent("crm:0058", "marketing.email", "withdrawn").await;
    assert_eq!(201, confirm(&world, &event, &token).await.status.as_u16());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_could_never_be_confirmed_is_refused_at_once() {
    let world = gateway().start().await;
    for (member, value) in [
        ("categories", json!([])),
        ("recipients", json!([])),
        ("event_time", Value::Null),
        ("event_time", json!("2026-01-05T10:00:00Z")),
        ("expires", json!("2026-01-05T10:00:00Z")),
        ("lasts", json!("P24M")),
    ] {
        let mut body = request("crm:0031");
        body[member] = value.clone();
        let answer = post(&world, "/v1/consents", &body).await;
        assert_eq!((422, "invalid-value"), (answer.status.as_u16(), answer.code().as_str()), "{member} {value}: {answer:?}");
    }
    // The same request under the same key is the same event.
    let (capture, body) = (world.capture("preference-centre"), request("crm:0031").to_string());
    let first = capture.post("/v1/consents", &body).header("idempotency-key", "k").await.json();
    let second = capture.post("/v1/consents", &body).header("idempotency-key", "k").await.json();
    assert_eq!(first["event"], second["event"]);
    world.finish().await;
}
