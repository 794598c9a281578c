//! Rows 26 to 32: one request is about one customer, whom its route reads at one place; nothing else in it names another.

use std::collections::BTreeSet;

use http::Method;

use super::heard::Due::{Denied, Rejected, Sent};
use super::heard::{Due, Witness, say};
use crate::harness::people::card;
use crate::harness::{World, gateway};

const SUPPORT: &str = "service-provision.support";

/// Beside the house's: ids in the query, in a header and in a body, and what hangs below a customer.
const APIS: &str = concat!(
    include_str!("../harness/apis.toml"),
    r#"
[shape.note]
ids = "crm"
customer = "of"
open = ["of", "no"]
[shape.note.fields]
"text" = "identity"

[[api]]
name = "one"
owner = "marketing"
at = "/one"
upstream = "house"
request_headers = ["x-customer", "accept-language"]
[[api.route]]
match = "GET /card"
customer = "query:id"
ids = "crm"
query = { lang = { one_of = ["de", "en"] } }
response = { shape = "card" }
[[api.route]]
match = "GET /mine"
customer = "header:x-customer"
ids = "crm"
response = { shape = "card" }
[[api.route]]
match = "POST /find"
action = "read"
customer = "request:id"
ids = "crm"
request = { params = { id = "free", lang = "free" } }
response = { shape = "card" }
[[api.route]]
match = "GET /cards/{id}/notes"
customer = "path:id"
ids = "crm"
response = { rows = "notes[]", shape = "note" }
[[api.route]]
match = "GET /cards/{id}/notes/{note}"
customer = "path:id"
ids = "crm"
response = { shape = "note" }
"#
);

async fn world() -> World {
    let world = gateway().apis(APIS).start().await;
    let ada = card("0031", "a@example.net");
    for what in ["GET /cards/0031", "GET /card?id=0031", "GET /card?id=0031&lang=de", "GET /card?lang=de&id=0031", "GET /mine", "POST /find"] {
        world.upstream.json(what, &ada);
    }
    world
}

const REPEATED: Due = Denied(400, "ambiguous-request");
const UNDECLARED: Due = Denied(400, "parameter-not-declared");

#[tokio::test(flavor = "multi_thread")]
async fn a_query_names_one_customer_once_and_nothing_that_is_not_declared() {
    let world = world().await;
    let client = world.client("helpdesk");
    let mut witness = Witness::of(&world);
    let card = Sent("GET /card?id=0031");
    let by_path = Sent("GET /cards/0031");
    let cases: &[(u8, &str, Due)] = &[
        (26, "/one/card?id=0031", card),
        (26, "/one/card?%69d=%30031", card),
        (26, "/one/card?&id=0031&&", card),
        (26, "/one/card?lang=de&id=0031", Sent("GET /card?lang=de&id=0031")),
        (26, "/one/card?id=0031&id=0058", REPEATED),
        (26, "/one/card?id=0031&id=0031", REPEATED),
        (26, "/one/card?id=0031&%69d=0058", REPEATED),
        (26, "/one/card?id=0031&i%64=", REPEATED),
        (26, "/one/card?id[]=0031", UNDECLARED),
        (26, "/one/card?id=0031&id[]=0058", UNDECLARED),
        (26, "/one/card?id%5B%5D=0031", UNDECLARED),
        (26, "/one/card?id[0]=0031", UNDECLARED),
        (26, "/one/card?id=0031,0058", REPEATED),
        (26, "/one/card?id=0031%2C0058", REPEATED),
        (26, "/one/card?id=0031%26id%3D0058", REPEATED),
        (26, "/one/card?id=0031+0058", REPEATED),
        (26, "/one/card?ID=0031", UNDECLARED),
        (26, "/one/card?id=0031&Id=0058", UNDECLARED),
        (26, "/one/card?id%20=0031", UNDECLARED),
        (26, "/one/card?+id=0031", UNDECLARED),
        (26, "/one/card?id=0031;id=0058", Rejected(400, "ambiguous-request")),
        (26, "/one/card?id=0031%00", Rejected(400, "ambiguous-request")),
        (26, "/one/card?id", REPEATED),
        (26, "/one/card?id=", REPEATED),
        (26, "/one/card", REPEATED),
        (26, "/one/card?id=0031&lang=fr", UNDECLARED),
        (26, "/one/card?id=0031&debug=1", UNDECLARED),
        (26, "/one/card?id=0031&utm_source=x", UNDECLARED),
        (27, "/one/card?customer_id=0031", UNDECLARED),
        (27, "/one/card?id=0031&customer_id=0058", UNDECLARED),
        (27, "/one/card?id=0031&filter=id%20eq%20%270058%27", UNDECLARED),
        (27, "/one/card?id=0031&$filter=id%20eq%20%270058%27", UNDECLARED),
        (27, "/one/card?id=0031&where=1%3D1", UNDECLARED),
        (27, "/one/card?id=0031&q=0058", UNDECLARED),
        (27, "/crm/cards/0031?id=0058", UNDECLARED),
        (27, "/crm/cards/0031?customer=0058", UNDECLARED),
        (27, "/crm/cards/0031", by_path),
        (30, "/crm/cards/0031?fields=*", UNDECLARED),
        (30, "/crm/cards/0031?fields=name,taxId", UNDECLARED),
        (30, "/crm/cards/0031?$select=*", UNDECLARED),
        (30, "/crm/cards/0031?$expand=orders", UNDECLARED),
        (30, "/crm/cards/0031?%24expand=orders", UNDECLARED),
        (30, "/crm/cards/0031?include=owner", UNDECLARED),
        (30, "/crm/cards/0031?expand[]=owner", UNDECLARED),
        (30, "/crm/cards/0031?embed=1", UNDECLARED),
        (30, "/crm/cards/0031?_embed", UNDECLARED),
        (30, "/crm/cards/0031?view=full", UNDECLARED),
        (30, "/crm/cards/0031?format=xml", UNDECLARED),
        (30, "/crm/cards/0031?callback=steal", UNDECLARED),
        (30, "/crm/cards/0031?jsonp=steal", UNDECLARED),
        (31, "/crm/cards/31", REPEATED),
        (31, "/crm/cards/00031", REPEATED),
        (31, "/crm/cards/1e3", REPEATED),
        (31, "/crm/cards/31e0", REPEATED),
        (31, "/crm/cards/31.0", REPEATED),
        (31, "/crm/cards/0x1f", REPEATED),
        (31, "/crm/cards/+031", REPEATED),
        (31, "/crm/cards/-031", REPEATED),
        (31, "/crm/cards/true", REPEATED),
        (31, "/crm/cards/null", REPEATED),
        (31, "/crm/cards/%220031%22", REPEATED),
        (31, "/crm/cards/'0031'", REPEATED),
        (31, "/crm/cards/%5B%220031%22%5D", REPEATED),
        (31, "/one/card?id=31", REPEATED),
        (31, "/one/card?id=%220031%22", REPEATED),
        (31, "/one/card?id[$ne]=0058", UNDECLARED),
        (31, "/one/card?id={}", REPEATED),
    ];
    for (row, target, due) in cases {
        // Some of these characters are no part of a target until they are encoded.
        let target = target.replace('{', "%7B").replace('}', "%7D");
        let head = "host: localhost\r\ndata-purpose: service-provision.support\r\nconnection: close\r\n";
        let heard = say(&client, format!("GET {target} HTTP/1.1\r\n{head}\r\n")).await;
        witness.sees(&format!("row {row}: {target}"), &heard, *due);
    }
    witness.leaves().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_else_a_request_names_is_not_heard_of() {
    let world = world().await;
    let client = world.client("helpdesk");
    client.get("/crm/cards/0031").purpose(SUPPORT).await.released(200, &card("0031", "a@example.net"));
    let usual: BTreeSet<String> = world.upstream.take()[0].headers.keys().map(|name| name.as_str().to_owned()).collect();
    // Rows 28 and 29: neither another customer nor another target.
    let elsewhere = [
        ("x-customer", "0058"),
        ("x-customer-id", "0058"),
        ("cookie", "customer=0058"),
        ("x-original-url", "/cards/0058"),
        ("x-original-uri", "/cards/0058"),
        ("x-rewrite-url", "/cards/0058"),
        ("x-override-url", "/cards/0058"),
        ("x-forwarded-uri", "/cards/0058"),
        ("x-forwarded-path", "/cards/0058"),
        ("x-forwarded-prefix", "/cards/0058?"),
        ("x-forwarded-host", "example.net"),
        ("x-host", "example.net"),
        ("x-envoy-original-path", "/cards/0058"),
        ("x-accel-redirect", "/cards/0058"),
        ("x-sendfile", "/cards/0058"),
        ("content-location", "/cards/0058"),
        ("destination", "/cards/0058"),
    ];
    for (name, value) in elsewhere {
        let answer = client.get("/crm/cards/0031").purpose(SUPPORT).header(name, value).await;
        answer.released(200, &card("0031", "a@example.net"));
        let received = world.upstream.take();
        assert_eq!(["GET /cards/0031"], received.iter().map(|r| r.what.as_str()).collect::<Vec<_>>()[..], "{name}");
        assert_eq!(usual, received[0].headers.keys().map(|n| n.as_str().to_owned()).collect(), "{name} was sent on");
        assert_eq!(1, world.found(&answer).parties, "{name}");
    }
    // Where the header is the place, it is the only one, and goes on as it was judged.
    let mine = || client.get("/one/mine").purpose(SUPPORT).header("x-customer", "0031");
    for (name, value) in [("x_customer", "0058"), ("cookie", "x-customer=0058"), ("x-customer-id", "0058")] {
        mine().header(name, value).await.released(200, &card("0031", "a@example.net"));
        let received = world.upstream.take().remove(0);
        let customers: Vec<_> = received.headers.iter().filter(|(n, _)| n.as_str().contains("customer")).collect();
        assert_eq!(("GET /mine", 1, "0031"), (received.what.as_str(), customers.len(), customers[0].1.to_str().unwrap()), "{name}");
    }
    mine().header("x-customer", "0058").await.refused(400, "ambiguous-request");
    mine().header("X-Customer", "0031").await.refused(400, "ambiguous-request");
    for value in ["0031, 0058", "0031,", "31", "\"0031\"", ""] {
        client.get("/one/mine").purpose(SUPPORT).header("x-customer", value).await.refused(400, "ambiguous-request");
    }
    client.get("/one/mine?id=0058").purpose(SUPPORT).header("x-customer", "0031").await.refused(400, "parameter-not-declared");
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_in_a_body_is_one_text_or_whole_number_at_its_place() {
    let world = world().await;
    let client = world.client("helpdesk");
    let find = async |body: &str| client.post("/one/find", body).purpose(SUPPORT).await;
    find(r#"{"id":"0031"}"#).await.released(200, &card("0031", "a@example.net"));
    assert_eq!(br#"{"id":"0031"}"#, &world.upstream.take()[0].body[..]);
    for (body, status, code) in [
        (r#"{"id":31}"#, 400, "ambiguous-request"),
        (r#"{"id":0031}"#, 400, "ambiguous-request"),
        (r#"{"id":1e3}"#, 400, "ambiguous-request"),
        (r#"{"id":31.0}"#, 400, "ambiguous-request"),
        (r#"{"id":true}"#, 400, "ambiguous-request"),
        (r#"{"id":null}"#, 400, "ambiguous-request"),
        (r#"{"id":""}"#, 400, "ambiguous-request"),
        (r#"{"id":["0031"]}"#, 400, "ambiguous-request"),
        (r#"{"id":["0031","0058"]}"#, 400, "ambiguous-request"),
        (r#"{"id":{"$eq":"0031"}}"#, 400, "ambiguous-request"),
        (r#"{"id":{"$in":["0031"]}}"#, 400, "ambiguous-request"),
        (r#"{"id":"0031","id":"0058"}"#, 400, "ambiguous-request"),
        (r#"{"id":"0031","\u0069d":"0058"}"#, 400, "ambiguous-request"),
        (r#"{"id":"0031\u0000"}"#, 400, "ambiguous-request"),
        (r#"{"id":"\ud800"}"#, 400, "ambiguous-request"),
        (r#"{"id":" 0031"}"#, 400, "ambiguous-request"),
        (r#"{"id":"0031,0058"}"#, 400, "ambiguous-request"),
        (r#"{}"#, 400, "ambiguous-request"),
        (r#"{"customer_id":"0031"}"#, 400, "parameter-not-declared"),
        (r#"{"id":"0031","customer_id":"0058"}"#, 400, "parameter-not-declared"),
        (r#"["0031"]"#, 400, "ambiguous-request"),
    ] {
        let answer = find(body).await;
        assert_eq!((status, code), (answer.status.as_u16(), answer.code().as_str()), "{body}");
        assert_eq!("deny", world.found(&answer).outcome, "{body}");
        assert!(world.upstream.asked().is_empty(), "{body}");
    }
    // A name in other letter case may be the same name to the API.
    let twice = find(r#"{"id":"0031","ID":"0058"}"#).await;
    assert_eq!((400, "deny"), (twice.status.as_u16(), world.found(&twice).outcome.as_str()), "{twice:?}");
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_below_a_customer_is_refused_with_the_customer() {
    let world = world().await;
    let client = world.client("helpdesk");
    let note = |of: &str| format!(r#"{{"of":"{of}","no":1,"text":"x"}}"#);
    for id in ["0031", "0044", "9999"] {
        world.upstream.json(&format!("GET /cards/{id}/notes"), &format!(r#"{{"notes":[{}]}}"#, note(id)));
        world.upstream.json(&format!("GET /cards/{id}/notes/1"), &note(id));
    }
    for below in ["notes", "notes/1"] {
        let of = async |id: &str| client.get(&format!("/one/cards/{id}/{below}")).purpose(SUPPORT).await;
        assert_eq!(200, of("0031").await.status.as_u16());
        assert_eq!([format!("GET /cards/0031/{below}")], world.upstream.asked()[..]);
        let lead = of("0044").await;
        lead.refused(403, "denied");
        assert_eq!(lead.anonymous(), of("9999").await.anonymous());
        assert_eq!("deny", world.found(&lead).outcome);
        // What is declared of one thing below says nothing of another, or of another method.
        client.get(&format!("/one/cards/0031/{below}/more/x")).purpose(SUPPORT).await.refused(404, "route-not-declared");
        client.ask(Method::DELETE, &format!("/one/cards/0031/{below}")).purpose(SUPPORT).await.refused(405, "method-not-allowed");
        assert!(world.upstream.asked().is_empty(), "{below}");
    }
    // Another customer's below this one's: not this one's.
    world.upstream.json("GET /cards/0031/notes/2", &note("0058"));
    client.get("/one/cards/0031/notes/2").purpose(SUPPORT).await.refused(502, "upstream-unreadable");
    world.upstream.json("GET /cards/0031/notes", &format!(r#"{{"notes":[{},{}]}}"#, note("0058"), note("0031")));
    client.get("/one/cards/0031/notes").purpose(SUPPORT).await.released(200, &format!(r#"{{"notes":[{}]}}"#, note("0031")));
    world.finish().await;
}
