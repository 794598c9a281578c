//! Refusals that nothing else meets: who shows nothing, hosts, revisions, ids in bodies, and what changes or goes away while an
//! API is slow.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::harness::people::{ada, card};
use crate::harness::{Gate, Plan, World, gateway, replace};
use crate::parts::{LIST, MANY, OUTREACH, rows, said};

const SUPPORT: &str = "service-provision.support";
const PROVISION: &str = "service-provision";

const APIS: &str = concat!(
    include_str!("harness/apis.toml"),
    r#"
[[api]]
name = "elsewhere"
owner = "marketing"
at = "https://elsewhere.example.com/elsewhere"
upstream = "house"
[[api.route]]
match = "GET /cards/{id}"
customer = "path:id"
response = { shape = "card" }

[[api]]
name = "more"
owner = "marketing"
at = "/more"
upstream = "house"
[[api.route]]
match = "GET /card"
customer = "header:x-customer"
ids = "crm"
response = { shape = "card" }
[[api.route]]
match = "POST /search"
action = "read"
request = { params = { text = ["name"] } }
response = { rows = "cards[]", shape = "card" }
"#
);

async fn world() -> World {
    gateway().apis(APIS).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_neither_certificate_nor_token_is_nobody() {
    let world = gateway().with("mode = \"require\"", "mode = \"accept\"").start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    let target = "/crm/cards/0031";
    let nobody = world.stranger().get(target).purpose(SUPPORT).await;
    nobody.refused(401, "unauthenticated");
    assert_eq!((Some("Bearer"), None), (nobody.header("www-authenticate"), nobody.decision()));
    // A token that is bound to a certificate is nothing without it.
    let token = world.token("crm", &json!({}));
    let stolen = world.stranger().token(token).get(target).purpose(SUPPORT).await;
    stolen.refused(401, "token-invalid");
    assert_eq!(Some("Bearer error=\"invalid_token\""), stolen.header("www-authenticate"));
    assert!(world.upstream.asked().is_empty());
    assert_eq!(200, world.client("helpdesk").get(target).purpose(SUPPORT).await.status.as_u16());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_served_under_the_host_of_its_api_only() {
    let world = world().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    let ask = async |host: &str, target: &str| world.client("helpdesk").host(host.to_owned()).get(target).purpose(SUPPORT).await;
    ask("localhost", "/elsewhere/cards/0031").await.refused(421, "misdirected");
    ask("another.example.com", "/crm/cards/0031").await.refused(421, "misdirected");
    assert!(world.upstream.asked().is_empty());
    assert_eq!(200, ask("elsewhere.example.com", "/elsewhere/cards/0031").await.status.as_u16());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_ask_for_consent_as_new_as_it_knows() {
    let world = world().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    let helpdesk = world.client("helpdesk");
    let ask = || helpdesk.get("/crm/cards/0031").purpose(SUPPORT);
    let now: u64 = ask().await.header("consentry-revision").unwrap().parse().unwrap();
    assert_eq!(200, ask().header("consentry-min-revision", &now.to_string()).await.status.as_u16());
    world.upstream.take();
    let newer = ask().header("consentry-min-revision", &(now + 1).to_string()).await;
    newer.refused(503, "consent-unavailable");
    assert!(newer.header("retry-after").is_some());
    for value in ["", "x", "-1", "1.5"] {
        ask().header("consentry-min-revision", value).await.refused(400, "ambiguous-request");
    }
    ask().header("consentry-min-revision", "1").header("consentry-min-revision", "1").await.refused(400, "ambiguous-request");
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_cannot_be_read_name_nobody() {
    let world = world().await;
    world.upstream.json("GET /card", &card("0031", "a@example.net"));
    let helpdesk = world.client("helpdesk");
    let by_header = |ids: &[&str]| {
        let asked = helpdesk.get("/more/card").purpose(SUPPORT);
        ids.iter().fold(asked, |asked, id| asked.header("x-customer", id))
    };
    assert_eq!(200, by_header(&["0031"]).await.status.as_u16());
    world.upstream.take();
    for ids in [&[][..], &["0031", "0031"], &["0031", "0058"], &["0031, 0058"], &["x"]] {
        by_header(ids).await.refused(400, "ambiguous-request");
    }
    let crm = world.client("crm");
    for (body, status, code) in [
        (r#"{"name":"N","email":{"$ne":"x"}}"#, 403, "field-not-permitted"),
        (r#"{"name":"N","email":["a@example.net"]}"#, 403, "field-not-permitted"),
        (r#"{"name":"N","email":"nobody"}"#, 400, "ambiguous-request"),
    ] {
        let answer = crm.post("/crm/customers", body).purpose(PROVISION).await;
        assert_eq!((status, code), (answer.status.as_u16(), answer.code().as_str()), "{body}");
    }
    assert!(world.upstream.asked().is_empty());
    // Whom a record would be given to.
    let ticket = r#"{"id":"t1","state":"open","subject":"x","requester":{"email":"ada.brandt@example.net"},"cc":[]}"#;
    world.upstream.json("GET /tickets/t1", ticket);
    helpdesk.patch("/desk/tickets/t1", r#"{"requester":{"email":"nobody"}}"#).purpose(SUPPORT).await.refused(400, "ambiguous-request");
    assert_eq!(["GET /tickets/t1"], world.upstream.asked()[..]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_that_calls_itself_something_else_is_refused() {
    let world = gateway().start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    let list = format!("{{\"customers\":[{}]}}", rows(0..MANY));
    for content_type in ["text/html", "application/json-seq", "application/x-ndjson", "text/csv"] {
        world.upstream.on("GET /customers", said(list.clone(), false).typed(content_type));
        world.client("crm").get(LIST).purpose(OUTREACH).await.refused(502, "upstream-unreadable");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_about_nobody_is_refused_where_no_policy_permits_it() {
    let world = world().await;
    world.upstream.json("GET /about", "{}");
    let crm = world.client("crm");
    assert_eq!(200, crm.get("/crm/about").purpose(OUTREACH).await.status.as_u16());
    world
        .add_policy("@id(\"test-none\")\n@description(\"x\")\nforbid (principal, action, resource) when { context.purpose in Purpose::\"sales\" };")
        .await;
    world.upstream.take();
    crm.get("/crm/about").purpose(OUTREACH).await.refused(403, "not-entitled");
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

/// Asks, and does something while the API is slow; what came then.
async fn meanwhile(
    world: &World,
    what: &str,
    plan: Plan,
    (method, target, body, purpose): (Method, &str, Option<&str>, &str),
    then: impl AsyncFnOnce(),
) -> crate::harness::Answer {
    let gate = Gate::closed();
    world.upstream.on(what, plan.behind(&gate));
    let crm = world.client("crm");
    let ask = async {
        let asked = crm.ask(method, target).purpose(purpose);
        match body {
            Some(body) => asked.json(body).await,
            None => asked.await,
        }
    };
    let change = async {
        gate.arrived().await;
        then().await;
        gate.release();
    };
    tokio::join!(ask, change).0
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_otherwise_while_the_api_is_slow_is_not_released() {
    // What is a list becomes an object.
    let world = world().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    let long = said(format!("{{\"customers\":[{}]}}", rows(0..MANY)), false);
    let (from, to) = (
        "response = { rows = \"customers[]\", shape = \"customer\", counts = { total = \"rows\", next = \"remove\" } }",
        "response = { shape = \"customer\" }",
    );
    let answer = meanwhile(&world, "GET /customers", long, (Method::GET, LIST, None, OUTREACH), async || {
        replace(world.root(), from, to);
        world.running().reload().await.unwrap();
    })
    .await;
    answer.refused(404, "route-not-declared");
    // What a search was judged by may mean something else now.
    let found = Plan::json(&format!("{{\"cards\":[{}]}}", card("0031", "a@example.net")));
    let search = (Method::POST, "/more/search", Some(r#"{"text":"x"}"#), OUTREACH);
    let answer = meanwhile(&world, "POST /search", found, search, async || {
        replace(world.root(), "text = [\"name\"]", "text = [\"email\"]");
        world.running().reload().await.unwrap();
    })
    .await;
    answer.refused(404, "route-not-declared");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_away_while_the_api_is_slow_lets_nothing_out() {
    let world = Arc::new(world().await);
    world.consent("crm:0031", OUTREACH, "given").await;
    let long = said(format!("{{\"customers\":[{}]}}", rows(0..MANY)), false);
    let list = Plan::json(&format!("{{\"customers\":[{}]}}", rows(0..3)));
    let email = r#"{"email":"x@example.net"}"#;
    for (what, plan, asked) in [
        ("GET /customers/0031", Plan::json(&ada()), (Method::GET, "/crm/customers/0031", None, OUTREACH)),
        ("GET /customers", list, (Method::GET, LIST, None, OUTREACH)),
        ("GET /customers", long, (Method::GET, LIST, None, OUTREACH)),
        ("PATCH /customers/0031", Plan::json(&ada()), (Method::PATCH, "/crm/customers/0031", Some(email), OUTREACH)),
    ] {
        let answer = meanwhile(&world, what, plan, asked, async || {
            world.move_store(true);
            // The store is asked once a second.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        })
        .await;
        answer.refused(503, "consent-unavailable");
        assert!(!answer.text().contains("Brandt") && answer.decision().is_some(), "{what}: {answer:?}");
        world.move_store(false);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    Arc::into_inner(world).unwrap().finish().await;
}
