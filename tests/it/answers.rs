//! What the gateway owns of an answer: codings, framing, validators, ranges, links, errors. The upstream sends its bytes raw, so
//! that each awkward thing arrives as it would.

use http::Method;

use crate::harness::coding::{brotli, deflate, gunzip, gzip, zstd};
use crate::harness::people::{card, card_whole};
use crate::harness::raw::{RawUpstream, json, response};
use crate::harness::{World, gateway};

const SUPPORT: &str = "service-provision.support";
const PROVISION: &str = "service-provision";
const CARD: &str = "GET /cards/0031";

const APIS: &str = r#"
[upstream.raw]
targets = ["http://127.0.0.1:{raw}"]
base_path = "/v7"
timeouts = { connect = "2s", first_byte = "3s", total = "6s" }
[upstream.packed]
targets = ["http://127.0.0.1:{raw}"]
base_path = "/v7"
accept_encoding = "gzip"
decode_ratio_max = 20

[shape.card]
ids = "crm"
customer = "id"
open = ["id"]
[shape.card.fields]
"name" = "identity"
"email" = "contact"
"phone" = "contact"
"leadScore" = "behaviour"

[[api]]
name = "plain"
owner = "marketing"
at = "/plain"
upstream = "raw"
response_headers = ["content-language", "location", "link", "retry-after"]
[[api.route]]
match = "GET /cards/{id}"
customer = "path:id"
response = { shape = "card", error = { open = ["code", "fields[]"] } }
[[api.route]]
match = "GET /cards"
query = { page = { grammar = "[0-9]{1,4}" }, email = ["email"] }
response = { rows = "cards[]", shape = "card", counts = { next = "remove" }, error = { open = ["code"] } }
[[api.route]]
match = "PATCH /cards/{id}"
customer = "path:id"
request = { shape = "card" }
response = { empty = true, error = { shape = "card", at = "current" } }
[[api.route]]
match = "PUT /cards/{id}"
customer = "path:id"
request = { shape = "card" }
response = "empty"
[[api.route]]
match = "POST /cards"
customer = { new = "response:id", match = { email = "email" } }
ids = "crm"
request = { shape = "card" }
response = { open = ["id"], error = { open = ["code"] } }
[[api.route]]
match = "GET /owners/{id}"
response = { shape = "card", error = { open = ["code"] } }
[[api.route]]
match = "GET /about"
customer = "none"
departments = ["service"]
response = { content_types = ["application/json", "text/csv"] }
cache = "10m"

[[api]]
name = "packed"
owner = "marketing"
at = "/packed"
upstream = "packed"
compress = true
etag = "sealed"
[[api.route]]
match = "GET /cards/{id}"
customer = "path:id"
response = { shape = "card" }
[[api.route]]
match = "GET /cards"
response = { rows = "cards[]", shape = "card" }
[[api.route]]
match = "PATCH /cards/{id}"
customer = "path:id"
request = { shape = "card" }
response = "empty"
[[api.route]]
match = "GET /about"
customer = "none"
departments = ["service"]
response = { content_types = ["application/json", "image/png"] }
[[api.route]]
match = "GET /words"
customer = "none"
departments = ["service"]
response = { content_types = ["application/json"] }
cache = "1h"
"#;

pub(crate) async fn world() -> (World, RawUpstream) {
    let raw = RawUpstream::start().await;
    let world = gateway().apis(&APIS.replace("{raw}", &raw.address.port().to_string())).start().await;
    (world, raw)
}

fn ada() -> String {
    card("0031", "ada@example.net")
}

fn ada_whole() -> String {
    card_whole("0031", "ada@example.net")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_encoded_is_decoded_and_cut_or_refused_whole() {
    let (world, raw) = world().await;
    let helpdesk = world.client("helpdesk");
    let ask = || helpdesk.get("/plain/cards/0031").purpose(SUPPORT);
    let text = ada();
    let (first, second) = text.split_at(10);
    for (coding, body) in [
        ("gzip", gzip(&text)),
        ("x-gzip", gzip(&text)),
        ("GZIP", gzip(&text)),
        ("deflate", deflate(&text, true)),
        ("deflate", deflate(&text, false)),
        ("br", brotli(&text)),
        ("zstd", zstd(&text)),
        ("identity", text.clone().into_bytes()),
        ("gzip", [gzip(first), gzip(second)].concat()),
    ] {
        raw.on(CARD, json(&[&format!("content-encoding: {coding}")], &body));
        let answer = ask().await;
        answer.released(200, &ada_whole());
        assert_eq!((None, None), (answer.header("content-encoding"), answer.header("vary")), "{coding}");
    }
    let bomb = || gzip(format!("{{\"id\":\"0031\",\"name\":\"{}\"}}", "a".repeat(7 << 20)));
    for (what, body) in [
        ("content-encoding: gzip, gzip", gzip(gzip(&text))),
        ("content-encoding: gzip\r\ncontent-encoding: gzip", gzip(&text)),
        ("content-encoding: br, gzip", gzip(brotli(&text))),
        ("content-encoding: compress", gzip(&text)),
        ("content-encoding: aes128gcm", gzip(&text)),
        ("content-encoding: gzip", text.clone().into_bytes()),
        ("content-encoding: gzip", brotli(&text)),
        ("content-encoding: br", gzip(&text)),
        ("content-encoding: gzip", gzip(&text)[..40].to_vec()),
        ("content-encoding: gzip", [gzip(&text), b"{\"id\":\"0031\"}".to_vec()].concat()),
        ("content-encoding: gzip", [gzip(&text), gzip("{}")].concat()),
        ("content-encoding: gzip", bomb()),
        // Without a label it is no JSON.
        ("x-nothing: 1", gzip(&text)),
    ] {
        raw.on(CARD, json(&[what], &body));
        ask().await.refused(502, "upstream-unreadable");
    }
    let (chunk, chunked) = (gzip(&text), |coding: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: {coding}\r\n\r\n{:x}\r\n", body.len());
        [head.as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
    });
    raw.on(CARD, chunked("chunked", text.as_bytes()));
    ask().await.released(200, &ada_whole());
    for coding in ["gzip, chunked", "chunked, gzip", "deflate", "identity, chunked", "chunked, chunked", "chunked\r\ntransfer-encoding: gzip"] {
        for body in [chunk.as_slice(), text.as_bytes()] {
            raw.once(CARD, chunked(coding, body));
            ask().await.refused(502, "upstream-unreadable");
        }
    }
    assert!(raw.take().iter().all(|asked| asked.header("accept-encoding") == Some("identity")));
    raw.on(CARD, json(&["content-encoding: gzip"], gzip(&text)));
    helpdesk.get("/packed/cards/0031").purpose(SUPPORT).header("accept-encoding", "br").await.released(200, &ada_whole());
    assert_eq!(Some("gzip"), raw.take()[0].header("accept-encoding"), "what the upstream is asked for is the gateway's to say");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_one_framing_and_nothing_after_it() {
    let (world, raw) = world().await;
    let helpdesk = world.client("helpdesk");
    let ask = || helpdesk.get("/plain/cards/0031").purpose(SUPPORT);
    let good = json(&[], ada());
    let forged = json(&[], card("0031", "mallory@example.net"));
    // What the upstream calls a status is not what the gateway calls it.
    raw.on(CARD, String::from_utf8(good.clone()).unwrap().replacen("200 OK", "200 secret.person", 1));
    let head = "GET /plain/cards/0031 HTTP/1.1\r\nhost: localhost\r\ndata-purpose: service-provision.support\r\nconnection: close\r\n\r\n";
    let text = helpdesk.raw(head.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with(&ada_whole()), "{text}");
    raw.take();
    // What is left over is read by nobody: the connection ends with the answer.
    raw.on(CARD, [good.clone(), forged.clone()].concat());
    for _ in 0..3 {
        let answer = ask().await;
        assert!(!answer.text().contains("mallory"), "{answer:?}");
        raw.on(CARD, good.clone());
    }
    let used: Vec<usize> = raw.take().iter().map(|asked| asked.connection).collect();
    assert_ne!(used[0], used[1], "and is not used again");
    raw.on(CARD, [b"HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n".as_slice(), &good].concat());
    let answer = ask().await;
    answer.released(200, &ada_whole());
    assert_eq!(None, answer.header("link"), "early hints are nobody's");
    let trailers = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ntrailer: x-who\r\n\r\n";
    raw.on(CARD, format!("{trailers}{:x}\r\n{}\r\n0\r\nx-who: ada@example.net\r\n\r\n", ada().len(), ada()));
    let answer = ask().await;
    answer.released(200, &ada_whole());
    assert_eq!((None, None), (answer.header("trailer"), answer.header("x-who")));
    let length = ada().len();
    let head = |lines: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{lines}\r\n\r\n{}", ada());
    for (what, bytes) in [
        ("longer than it is", head(&format!("content-length: {}", length + 5))),
        ("two lengths", head(&format!("content-length: {length}\r\ncontent-length: {}", length - 1))),
        ("no length at all", head("content-length: many")),
        ("a signed length", head(&format!("content-length: +{length}"))),
        (
            "a length and chunks",
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{}\r\n0\r\n\r\n",
                ada()
            ),
        ),
        ("a chunk without a size", head("transfer-encoding: chunked")),
        ("a space before the colon", head(&format!("content-length : {length}"))),
        ("another protocol", format!("HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n{}", ada())),
        ("no HTTP", ada()),
        (
            "a part",
            String::from_utf8(response("206 Partial Content", &["content-type: application/json", "content-range: bytes 0-9/10"], ada())).unwrap(),
        ),
        ("a difference", String::from_utf8(response("226 IM Used", &["content-type: application/json"], ada())).unwrap()),
        ("a redirect", String::from_utf8(response("302 Found", &["content-type: application/json", "location: /v7/cards/0044"], ada())).unwrap()),
        ("unchanged", "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n".to_owned()),
    ] {
        raw.once(CARD, bytes);
        let answer = ask().await;
        assert_eq!((502, "upstream-unreadable"), (answer.status.as_u16(), answer.code().as_str()), "{what}");
        raw.on(CARD, good.clone());
        ask().await.released(200, &ada_whole());
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_a_request_reach_nobody() {
    let (world, raw) = world().await;
    raw.on("PATCH /cards/0031", "HTTP/1.1 204 No Content\r\n\r\n");
    let head = "PATCH /plain/cards/0031 HTTP/1.1\r\nhost: localhost\r\ndata-purpose: service-provision\r\ncontent-type: application/json\r\n";
    let framing = "te: trailers\r\ntrailer: x-who\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let text = world.client("crm").raw(format!("{head}{framing}e\r\n{{\"name\":\"Ada\"}}\r\n0\r\nx-who: mallory\r\n\r\n").as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 204 "), "{text}");
    let sent = raw.take().remove(0).head;
    assert!(!sent.contains("x-who") && !sent.contains("\nte:") && !sent.contains("transfer-encoding"), "{sent}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_ranges_of_reads_are_the_gateways_own() {
    let (world, raw) = world().await;
    let helpdesk = world.client("helpdesk");
    let theirs =
        ["etag: \"len-2a-ada@example.net\"", "last-modified: Wed, 01 Jul 2026 00:00:00 GMT", "accept-ranges: bytes", "digest: sha-256=x", "age: 5"];
    raw.on(CARD, json(&theirs, ada()));
    let mut ask = helpdesk.get("/plain/cards/0031").purpose(SUPPORT);
    for (name, value) in [
        ("range", "bytes=0-3"),
        ("if-range", "\"1\""),
        ("if-none-match", "*"),
        ("if-modified-since", "Wed, 01 Jul 2030 00:00:00 GMT"),
        ("if-match", "\"1\""),
        ("a-im", "feed"),
    ] {
        ask = ask.header(name, value);
    }
    let answer = ask.await;
    answer.released(200, &ada_whole());
    for name in ["etag", "last-modified", "accept-ranges", "digest", "age", "vary"] {
        assert_eq!(None, answer.header(name), "{name}");
    }
    let head = &raw.take()[0].head;
    for name in ["range", "if-", "a-im"] {
        assert!(!head.contains(&format!("\n{name}")), "{head}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_validator_tells_only_that_the_caller_has_the_same_bytes() {
    let (world, raw) = world().await;
    let helpdesk = world.client("helpdesk");
    let ask = |tag: &str| helpdesk.get("/packed/cards/0031").purpose(SUPPORT).header("if-none-match", tag);
    let record = |score: u32| ada().replacen('{', &format!("{{\"leadScore\":{score},"), 1);
    raw.on(CARD, json(&["etag: \"v1\""], record(1)));
    let first = ask("\"none\"").await;
    first.released(200, &ada_whole());
    let tag = first.header("etag").unwrap().to_owned();
    let again = ask(&tag).await;
    assert_eq!((304, ""), (again.status.as_u16(), again.text()), "{again:?}");
    assert_ne!(Some(tag.as_str()), again.header("etag"), "each answer has its own");
    assert_eq!(1, world.found(&again).parties, "it was decided and recorded as any other");
    let head = helpdesk.ask(Method::HEAD, "/packed/cards/0031").purpose(SUPPORT).header("if-none-match", &tag).await;
    assert_eq!(304, head.status.as_u16());
    // A member that is withheld changed, and the upstream's own tag with it: nothing to be told.
    raw.on(CARD, json(&["etag: \"v2\""], record(2)));
    assert_eq!(304, ask(&tag).await.status.as_u16());
    raw.on(CARD, json(&["etag: \"v2\""], record(2).replace("ada@", "ada.b@")));
    ask(&tag).await.released(200, &card_whole("0031", "ada.b@example.net"));
    // The upstream is never asked, and its own 304 is none.
    assert!(raw.take().iter().all(|asked| asked.header("if-none-match").is_none()));
    raw.on(CARD, "HTTP/1.1 304 Not Modified\r\netag: \"v1\"\r\n\r\n");
    ask(&tag).await.refused(502, "upstream-unreadable");
    // A refusal has no validator, and a tag does not get around it.
    raw.on(CARD, json(&["etag: \"v1\""], record(1)));
    let restriction = serde_json::json!({ "party": "crm:0031", "evidence": [{ "kind": "letter", "reference": "l" }] });
    world.desk(Method::POST, "/v1/restrictions", restriction).await;
    ask(&tag).await.refused(403, "denied");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_of_a_write_is_kept_or_the_write_is_refused() {
    let (world, raw) = world().await;
    let helpdesk = world.client("helpdesk");
    let crm = world.client("crm");
    raw.on(CARD, json(&["etag: W/\"v1\""], ada()));
    raw.on("PATCH /cards/0031", "HTTP/1.1 204 No Content\r\netag: \"v2\"\r\n\r\n");
    raw.on("PUT /cards/0031", "HTTP/1.1 204 No Content\r\n\r\n");
    let seen = crm.get("/packed/cards/0031").purpose(PROVISION).await;
    assert_eq!(200, seen.status.as_u16(), "{seen:?}");
    let tag = seen.header("etag").unwrap().to_owned();
    raw.take();
    let write = |api: &str| crm.patch(&format!("/{api}/cards/0031"), r#"{"name":"Ada"}"#).purpose(PROVISION);
    let written = write("packed").header("if-match", &tag).await;
    assert_eq!((204, Some("w/\"v1\"")), (written.status.as_u16(), raw.take()[0].header("if-match")));
    // The next write goes on from there.
    assert_eq!(204, write("packed").header("if-match", written.header("etag").unwrap()).await.status.as_u16());
    assert_eq!(Some("\"v2\""), raw.take()[0].header("if-match"));
    assert_eq!(204, write("plain").header("if-match", "*").await.status.as_u16());
    assert_eq!(Some("*"), raw.take()[0].header("if-match"));
    for (api, name, value) in [
        ("plain", "if-match", tag.as_str()),
        ("packed", "if-match", "\"v1\""),
        ("packed", "if-match", "W/\"v1\""),
        ("packed", "if-none-match", &tag),
        ("packed", "if-unmodified-since", "Wed, 01 Jul 2026 00:00:00 GMT"),
    ] {
        write(api).header(name, value).await.refused(412, "precondition-failed");
    }
    let of_another = helpdesk.get("/packed/cards/0031").purpose(SUPPORT).await;
    crm.patch("/packed/cards/0044", r#"{"name":"M"}"#)
        .purpose(PROVISION)
        .header("if-match", of_another.header("etag").unwrap())
        .await
        .refused(412, "precondition-failed");
    assert!(raw.take().iter().all(|asked| asked.what == CARD), "nothing was sent");
    raw.on("PATCH /cards/0031", response("412 Precondition Failed", &["content-type: application/json"], r#"{"by":"secret.person@example.net"}"#));
    write("packed").header("if-match", &tag).await.refused(412, "upstream-refused");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filtered_answers_are_compressed_where_both_sides_want_it() {
    let (world, raw) = world().await;
    let helpdesk = world.client("helpdesk");
    let rows: Vec<String> = (0..60).map(|_| ada().replacen('{', "{\"leadScore\":7,", 1)).collect();
    let whole = format!("{{\"cards\":[{}]}}", vec![ada_whole(); 60].join(","));
    raw.on("GET /cards", json(&[], format!("{{\"cards\":[{}]}}", rows.join(","))));
    raw.on(CARD, json(&[], ada()));
    raw.on("GET /about", response("200 OK", &["content-type: image/png"], vec![7; 4_000]));
    let ask = |target: &'static str, coding: &'static str| helpdesk.get(target).purpose(SUPPORT).header("accept-encoding", coding);
    let packed = ask("/packed/cards", "br, gzip;q=0.5").await;
    assert_eq!((200, Some("gzip")), (packed.status.as_u16(), packed.header("content-encoding")), "{packed:?}");
    assert_eq!((whole.as_str(), Some("accept-encoding")), (gunzip(&packed.body).as_str(), packed.header("vary")));
    assert_eq!(
        (packed.body.len().to_string().as_str(), Some("application/json")),
        (packed.header("content-length").unwrap(), packed.header("content-type"))
    );
    assert!(packed.body.len() < whole.len() / 4);
    let head = helpdesk.ask(Method::HEAD, "/packed/cards").purpose(SUPPORT).header("accept-encoding", "gzip").await;
    for name in ["content-length", "content-encoding", "content-type", "vary"] {
        assert_eq!(packed.header(name), head.header(name), "{name}");
    }
    for (target, coding, vary) in [
        ("/packed/cards", "identity", Some("accept-encoding")),
        ("/packed/cards", "gzip;q=0", Some("accept-encoding")),
        ("/packed/cards/0031", "gzip", Some("accept-encoding")),
        ("/packed/about", "gzip", Some("accept-encoding")),
        ("/plain/cards", "gzip", None),
        ("/plain/cards", "gzip, identity;q=0", None),
    ] {
        let answer = ask(target, coding).await;
        assert_eq!((200, None, vary), (answer.status.as_u16(), answer.header("content-encoding"), answer.header("vary")), "{target} {coding}");
    }
    ask("/plain/cards", "gzip").await.released(200, &whole);
    let refused = ask("/packed/nothing", "gzip").await;
    refused.refused(404, "route-not-declared");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_body_goes_on_as_far_as_it_is_declared() {
    let (world, raw) = world().await;
    let helpdesk = world.client("helpdesk");
    let ask = || helpdesk.get("/plain/cards/0031").purpose(SUPPORT);
    let body = r#"{"code":"E7","message":"ada@example.net is a duplicate of mina@example.net","fields":["phone"],"trace":"x"}"#;
    for (status, reason) in [(400, "Bad Request"), (404, "Not Found"), (409, "Conflict"), (422, "Unprocessable Content"), (429, "Too Many Requests")]
    {
        raw.on(CARD, response(&format!("{status} {reason}"), &["content-type: application/problem+json", "retry-after: 7", "x-internal: ada"], body));
        let answer = ask().await;
        answer.released(status, r#"{"code":"E7","fields":["phone"]}"#);
        assert_eq!((Some("application/json"), Some("7")), (answer.header("content-type"), answer.header("retry-after")));
        // With which status it ended is compared for every decision when the gateway has stopped.
        assert_eq!(None, world.found(&answer).code);
    }
    raw.on(CARD, response("409 Conflict", &["content-type: application/json", "content-encoding: gzip"], gzip(body)));
    ask().await.released(409, r#"{"code":"E7","fields":["phone"]}"#);
    let head = helpdesk.ask(Method::HEAD, "/plain/cards/0031").purpose(SUPPORT).await;
    assert_eq!((409, Some("32")), (head.status.as_u16(), head.header("content-length")));
    for (status, headers, body, code) in [
        ("400 Bad Request", &["content-type: text/html"][..], body, (400, "upstream-refused")),
        ("400 Bad Request", &["content-type: application/json"], "{\"code\":", (400, "upstream-refused")),
        ("400 Bad Request", &["content-type: application/json"], "\"ada@example.net\"", (400, "upstream-refused")),
        ("400 Bad Request", &["content-type: application/json", "content-encoding: gzip"], body, (400, "upstream-refused")),
        ("400 Bad Request", &["content-type: application/json"], "", (400, "upstream-refused")),
        ("404 Not Found", &[], "", (404, "route-not-declared")),
        ("401 Unauthorized", &["content-type: application/json"], body, (502, "upstream-unavailable")),
        ("403 Forbidden", &["content-type: application/json"], body, (502, "upstream-unavailable")),
        ("500 Internal Server Error", &["content-type: application/json"], body, (502, "upstream-unavailable")),
        ("503 Service Unavailable", &["content-type: application/json"], body, (502, "upstream-unavailable")),
    ] {
        raw.on(CARD, response(status, headers, body));
        ask().await.refused(code.0, code.1);
    }
    // Where the customer is known only from the answer, a record that is not there looks like one that is refused.
    for status in ["404 Not Found", "410 Gone"] {
        raw.on("GET /owners/7", response(status, &["content-type: application/json"], body));
        helpdesk.get("/plain/owners/7").purpose(SUPPORT).await.refused(403, "denied");
    }
    raw.on("GET /owners/7", response("400 Bad Request", &["content-type: application/json"], body));
    helpdesk.get("/plain/owners/7").purpose(SUPPORT).await.released(400, r#"{"code":"E7"}"#);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_body_about_a_customer_is_cut_like_a_record() {
    let (world, raw) = world().await;
    let crm = world.client("crm");
    let write = || crm.patch("/plain/cards/0031", r#"{"name":"Ada"}"#).purpose(PROVISION);
    let current = |id: &str| {
        format!(
            r#"{{"error":"changed by secret.person@example.net","current":{}}}"#,
            card(id, "ada@example.net").replacen('{', "{\"leadScore\":1,", 1)
        )
    };
    let conflict = |body: &str| response("409 Conflict", &["content-type: application/json"], body);
    raw.on("PATCH /cards/0031", conflict(&current("0031")));
    let answer = write().await;
    answer.released(409, &format!(r#"{{"current":{}}}"#, ada_whole()));
    assert_eq!(Some(1), answer.withheld());
    // Another's record, nobody's, none: the problem document in its place.
    for body in [current("0044"), current("0031").replace("\"id\"", "\"no\""), r#"{"error":"x"}"#.to_owned(), "[]".to_owned()] {
        raw.on("PATCH /cards/0031", conflict(&body));
        write().await.refused(409, "upstream-refused");
    }
    // A create that is refused links nobody.
    raw.on(
        "POST /cards",
        response("409 Conflict", &["content-type: application/json"], r#"{"id":"0901","code":"duplicate","of":"ada@example.net"}"#),
    );
    let create = || crm.post("/plain/cards", r#"{"name":"N","email":"new.person@example.net"}"#).purpose(PROVISION);
    create().await.released(409, r#"{"code":"duplicate"}"#);
    let metrics = world.running().instance().metrics();
    assert!(metrics.lines().any(|l| l.contains("unlinked_creates") && l.ends_with(" 0")), "{metrics}");
    assert_eq!(404, world.staff("consent-desk").get("/v1/parties/crm:0901").await.status.as_u16());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_lead_to_the_gateway_or_nowhere() {
    let (world, raw) = world().await;
    let crm = world.client("crm");
    let helpdesk = world.client("helpdesk");
    let home = format!("http://127.0.0.1:{}", raw.address.port());
    let create = || crm.post("/plain/cards", r#"{"name":"N","email":"new.person@example.net"}"#).purpose(PROVISION);
    let created = |id: &str, location: &str| {
        let headers = ["content-type: application/json".to_owned(), format!("location: {location}")];
        response("201 Created", &headers.each_ref().map(String::as_str), format!("{{\"id\":\"{id}\"}}"))
    };
    raw.on("POST /cards", created("0201", &format!("{home}/v7/cards/0201")));
    let answer = create().await;
    answer.released(201, r#"{"id":"0201"}"#);
    assert_eq!(Some("https://localhost/plain/cards/0201"), answer.header("location"));
    raw.on("POST /cards", created("0201", "/v7/cards/0201"));
    assert_eq!(Some("/plain/cards/0201"), create().await.header("location"));
    for location in [
        "https://crm.example.net/v7/cards/0201".to_owned(),
        format!("{home}/cards/0201"),
        format!("{home}/v7/cards/0031"),
        format!("{home}/v7/cards/0201?token=secret"),
        format!("{home}/v7/cards/0201#ada@example.net"),
        format!("{home}/v7/secret/0201"),
        "0201".to_owned(),
        "//crm.example.net/v7/cards/0201".to_owned(),
    ] {
        raw.on("POST /cards", created("0201", &location));
        let answer = create().await;
        assert_eq!((201, None), (answer.status.as_u16(), answer.header("location")), "{location}");
    }
    // Pages of a list.
    let list = format!("{{\"cards\":[{}],\"next\":\"{home}/v7/cards?page=3\"}}", ada());
    let page = |links: &str| json(&[&format!("link: {links}")], &list);
    let listed = format!("{{\"cards\":[{}]}}", ada_whole());
    let links = format!("<{home}/v7/cards?page=3>; rel=\"next\", </v7/cards?page=1>; rel=first, <{home}/v7/cards?page=99>; rel=\"last\"");
    raw.on("GET /cards?page=2", page(&links));
    let answer = helpdesk.get("/plain/cards?page=2").purpose(SUPPORT).await;
    answer.released(200, &listed);
    assert_eq!(Some("<https://localhost/plain/cards?page=3>; rel=\"next\", </plain/cards?page=1>; rel=\"first\""), answer.header("link"));
    for links in [
        "<https://crm.example.net/v7/cards?page=3>; rel=next".to_owned(),
        format!("<{home}/v7/cards?page=3&email=ada@example.net>; rel=next"),
        format!("<{home}/v7/cards/0044>; rel=next"),
        format!("<{home}/v7/cards?page=3&seen=0044>; rel=next"),
        format!("<{home}/v7/cards?page=99>; rel=last"),
        format!("<{home}/v7/cards?page=3>; rel=describedby"),
    ] {
        raw.on("GET /cards?page=2", page(&links));
        let answer = helpdesk.get("/plain/cards?page=2").purpose(SUPPORT).await;
        answer.released(200, &listed);
        assert_eq!(None, answer.header("link"), "{links}");
    }
    // An API that does not list them passes none.
    raw.on("GET /cards", page(&format!("<{home}/v7/cards>; rel=first")));
    let answer = helpdesk.get("/packed/cards").purpose(SUPPORT).await;
    assert_eq!((200, None), (answer.status.as_u16(), answer.header("link")));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_nobodys_may_be_kept() {
    let (world, raw) = world().await;
    let helpdesk = world.client("helpdesk");
    let theirs = [
        "cache-control: public, max-age=86400",
        "expires: Wed, 01 Jul 2030 00:00:00 GMT",
        "vary: cookie",
        "content-disposition: attachment; filename=ada.json",
    ];
    raw.on("GET /about", json(&theirs, "{}"));
    raw.on(CARD, json(&theirs, ada()));
    let about = helpdesk.get("/plain/about").purpose(SUPPORT).await;
    about.released(200, "{}");
    assert_eq!((Some("private, max-age=600"), Some("data-purpose")), (about.header("cache-control"), about.header("vary")));
    let card = helpdesk.get("/plain/cards/0031").purpose(SUPPORT).await;
    card.released(200, &ada_whole());
    raw.on("GET /words", json(&theirs, "{}"));
    let words = helpdesk.get("/packed/words").purpose(SUPPORT).await;
    assert_eq!((Some("private, max-age=3600"), Some("data-purpose, accept-encoding")), (words.header("cache-control"), words.header("vary")));
    let other = helpdesk.get("/packed/about").purpose(SUPPORT).await;
    for (what, answer) in [("a card", &card), ("not declared", &other)] {
        assert_eq!(Some("private, no-store"), answer.header("cache-control"), "{what}");
        assert_eq!((None, None), (answer.header("expires"), answer.header("content-disposition")), "{what}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_its_bytes_whatever_is_asked() {
    let (world, raw) = world().await;
    let helpdesk = world.client("helpdesk");
    raw.on(CARD, json(&["content-encoding: gzip", "etag: \"v1\"", "content-language: de"], gzip(ada())));
    raw.on("GET /about", response("200 OK", &["content-type: text/csv"], "a,b\n"));
    for (target, differ) in [("/plain/cards/0031", &[][..]), ("/packed/cards/0031", &["etag"]), ("/plain/about", &[])] {
        let get = helpdesk.get(target).purpose(SUPPORT).await;
        let head = helpdesk.ask(Method::HEAD, target).purpose(SUPPORT).await;
        assert_eq!((200, 200, 0), (get.status.as_u16(), head.status.as_u16(), head.body.len()), "{target}");
        assert_eq!(Some(get.body.len().to_string().as_str()), head.header("content-length"), "{target}");
        for name in get.headers.keys().filter(|n| !["date", "consentry-decision"].contains(&n.as_str()) && !differ.contains(&n.as_str())) {
            assert_eq!(get.headers.get(name), head.headers.get(name), "{target} {name}");
        }
        assert_eq!(get.headers.len(), head.headers.len(), "{target}");
    }
    assert!(raw.take().iter().all(|asked| asked.what.starts_with("GET ")), "the length of the whole body is asked of nobody");
    world.finish().await;
}
