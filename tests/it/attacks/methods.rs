//! Rows 18 to 25: the method that is judged is the one that is sent, nothing speaks through another, and no method brings more
//! than GET.

use http::Method;

use super::heard::Due::{Denied, Malformed, Rejected, Sent};
use super::heard::{Due, Witness, say};
use crate::harness::people::{ada, card, card_whole};
use crate::harness::{Plan, World, gateway};

const SUPPORT: &str = "service-provision.support";
const OUTREACH: &str = "sales.outreach";
const GOOD: &str = "host: localhost\r\ndata-purpose: service-provision.support\r\nconnection: close\r\n";

async fn world() -> World {
    let world = gateway().start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    world
}

const CARD: Due = Sent("GET /cards/0031");
const UNKNOWN: Due = Rejected(501, "not-implemented");
const NEVER: Due = Rejected(405, "method-not-allowed");
const NOT_HERE: Due = Denied(405, "method-not-allowed");
const TWO_WAYS: Due = Rejected(400, "ambiguous-request");

#[tokio::test(flavor = "multi_thread")]
async fn a_method_is_what_the_request_line_says_and_one_that_is_declared() {
    let world = world().await;
    let client = world.client("helpdesk");
    let mut witness = Witness::of(&world);
    // (row, method, target, more head lines, body, what becomes of it)
    let cases: &[(u8, &str, &str, &str, &str, Due)] = &[
        (18, "POST", "/crm/cards/0031", "x-http-method-override: GET\r\ncontent-length: 0\r\n", "", NOT_HERE),
        (18, "DELETE", "/crm/cards/0031", "x-http-method-override: GET\r\n", "", NOT_HERE),
        (18, "GET", "/crm/cards/0031?_method=DELETE", "", "", Denied(400, "parameter-not-declared")),
        (18, "GET", "/crm/cards/0031?X-HTTP-Method-Override=PUT", "", "", Denied(400, "parameter-not-declared")),
        (
            18,
            "PATCH",
            "/crm/cards/0031",
            "content-type: application/json\r\ncontent-length: 42\r\n",
            r#"{"email":"a@b.example","_method":"DELETE"}"#,
            Denied(403, "field-not-permitted"),
        ),
        (19, "get", "/crm/cards/0031", "", "", UNKNOWN),
        (19, "Get", "/crm/cards/0031", "", "", UNKNOWN),
        (19, "GETT", "/crm/cards/0031", "", "", UNKNOWN),
        (19, "PURGE", "/crm/cards/0031", "", "", UNKNOWN),
        (19, "LINK", "/crm/cards/0031", "", "", UNKNOWN),
        (19, "QUERY", "/crm/cards/0031", "", "", UNKNOWN),
        (19, "PROPFIND", "/crm/cards/0031", "", "", UNKNOWN),
        (19, "PROPPATCH", "/crm/cards/0031", "", "", UNKNOWN),
        (19, "MKCOL", "/crm/cards/0031", "", "", UNKNOWN),
        (19, "COPY", "/crm/cards/0031", "destination: /crm/cards/0058\r\n", "", UNKNOWN),
        (19, "MOVE", "/crm/cards/0031", "destination: /crm/cards/0058\r\n", "", UNKNOWN),
        (19, "LOCK", "/crm/cards/0031", "", "", UNKNOWN),
        (19, "SEARCH", "/crm/cards/0031", "", "", UNKNOWN),
        (19, "REPORT", "/crm/cards/0031", "", "", UNKNOWN),
        (19, "G@T", "/crm/cards/0031", "", "", Malformed(400)),
        (19, "GET\t", "/crm/cards/0031", "", "", Malformed(400)),
        (20, "POST", "/crm/about", "content-length: 0\r\n", "", NOT_HERE),
        (20, "PUT", "/crm/about", "content-length: 0\r\n", "", NOT_HERE),
        (20, "PATCH", "/crm/about", "content-length: 0\r\n", "", NOT_HERE),
        (20, "DELETE", "/crm/about", "", "", NOT_HERE),
        (20, "DELETE", "/crm/cards/0031", "", "", NOT_HERE),
        (20, "GET", "/crm/subscriptions/0031", "", "", NOT_HERE),
        (20, "HEAD", "/crm/subscriptions/0031", "", "", Denied(405, "")),
        (22, "OPTIONS", "/crm/cards/0031", "origin: https://evil.example\r\naccess-control-request-method: GET\r\n", "", NEVER),
        (22, "OPTIONS", "*", "", "", NEVER),
        (23, "TRACE", "/crm/cards/0031", "x-mine: told-back\r\n", "", NEVER),
        (23, "TRACK", "/crm/cards/0031", "x-mine: told-back\r\n", "", UNKNOWN),
        (24, "CONNECT", "localhost:443", "", "", NEVER),
        (24, "CONNECT", "127.0.0.1:80", "", "", NEVER),
        (25, "GET", "/crm/cards/0031", "content-length: 2\r\n", "{}", TWO_WAYS),
        (25, "GET", "/crm/cards/0031", "transfer-encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n", TWO_WAYS),
        (25, "HEAD", "/crm/cards/0031", "content-length: 2\r\n", "{}", Rejected(400, "")),
        (25, "DELETE", "/crm/subscriptions/0031", "content-length: 2\r\n", "{}", TWO_WAYS),
        (25, "GET", "/crm/cards/0031", "content-length: 0\r\n", "", CARD),
    ];
    for (row, method, target, head, body, due) in cases {
        let what = format!("row {row}: {method} {target} {head}");
        let heard = say(&client, format!("{method} {target} HTTP/1.1\r\n{GOOD}{head}\r\n{body}")).await;
        match *due {
            // A refusal of HEAD has no body that says why.
            Denied(status, "") => {
                let index = heard.decision.unwrap();
                let found = consentry::audit::show(&world.log_dir(), index).unwrap().unwrap().decision.unwrap();
                assert_eq!((status, "deny"), (heard.status, found.outcome.as_str()), "{what}: {heard:?}");
                assert_eq!(("", 0), (heard.body(), world.upstream.asked().len()), "{what}");
            }
            Rejected(status, "") => {
                assert_eq!((status, "", None), (heard.status, heard.body(), heard.decision), "{what}: {heard:?}");
                witness.sees(&what, &super::heard::Heard { code: "ambiguous-request".to_owned(), ..heard }, TWO_WAYS);
                continue;
            }
            due @ (Sent(_) | Denied(..) | Rejected(..) | Malformed(_)) => witness.sees(&what, &heard, due),
        }
        assert!(!heard.text.contains("told-back") && !heard.text.to_ascii_lowercase().contains("access-control"), "{what}: {heard:?}");
        if heard.status == 405 {
            let allowed = heard.header("allow").unwrap();
            assert!(!allowed.split(", ").any(|allowed| allowed == *method), "{what}: {allowed}");
        }
    }
    witness.leaves().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_name_another_method_or_origin_change_nothing() {
    let world = world().await;
    let client = world.client("helpdesk");
    let plain = client.get("/crm/cards/0031").purpose(SUPPORT).await;
    let usual = world.upstream.take().remove(0);
    for (name, value) in [
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
        ("x-method", "DELETE"),
        ("_method", "DELETE"),
        ("http-method", "DELETE"),
        ("x-original-method", "DELETE"),
        ("x-forwarded-method", "DELETE"),
        ("origin", "https://evil.example"),
        ("referer", "https://evil.example/"),
    ] {
        let answer = client.get("/crm/cards/0031").purpose(SUPPORT).header(name, value).await;
        answer.released(200, &card_whole("0031", "a@example.net"));
        assert_eq!(plain.anonymous(), answer.anonymous(), "{name}");
        let received = world.upstream.take();
        assert_eq!(("GET /cards/0031", 1), (received[0].what.as_str(), received.len()), "{name}");
        // Of its trace alone nothing is the same.
        let names = |headers: &http::HeaderMap| headers.keys().map(|n| n.as_str().to_owned()).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(names(&usual.headers), names(&received[0].headers), "{name} was sent on");
    }
    // Over HTTP/2 a tunnel is refused as it is over HTTP/1.1.
    let tunnel = world.client("helpdesk").http2().ask(Method::CONNECT, "").await;
    tunnel.refused(405, "method-not-allowed");
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_tells_of_nobody_more_than_get() {
    let world = gateway().start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0058", OUTREACH, "refused").await;
    for id in ["0031", "0058", "9999"] {
        let whole = ada().replace("0031", id);
        world.upstream.on(&format!("GET /customers/{id}"), Plan::json(&whole).header("etag", "\"of-the-whole\"").header("last-modified", "x"));
        world.upstream.on(&format!("HEAD /customers/{id}"), Plan::empty(200).header("content-length", "4711"));
    }
    for http2 in [false, true] {
        let client = if http2 { world.client("crm").http2() } else { world.client("crm") };
        let ask = async |method: Method, id: &str| client.ask(method, &format!("/crm/customers/{id}")).purpose(OUTREACH).await;
        let named = |answer: &crate::harness::Answer| {
            let decision = answer.decision().unwrap().to_owned();
            let told = answer.headers.iter().filter(|(name, _)| *name != "date" && *name != "content-length");
            let mut told: Vec<_> = told.map(|(n, v)| (n.to_string(), v.to_str().unwrap().replace(&decision, "#"))).collect();
            told.sort();
            (answer.status.as_u16(), told)
        };
        let (get, head) = (ask(Method::GET, "0031").await, ask(Method::HEAD, "0031").await);
        assert_eq!((named(&get), 0), (named(&head), head.body.len()));
        assert_eq!(Some(get.body.len().to_string().as_str()), head.header("content-length"), "the length of what may be seen");
        assert_eq!((None, None), (head.header("etag"), head.header("last-modified")));
        assert_eq!(["GET /customers/0031", "GET /customers/0031"], world.upstream.asked()[..]);
        // Whoever is refused and whoever is nobody are the same to both methods, and the API hears of neither.
        let refused = ask(Method::GET, "0058").await;
        refused.refused(403, "denied");
        for id in ["0058", "9999"] {
            let head = ask(Method::HEAD, id).await;
            assert_eq!((named(&refused), 0), (named(&head), head.body.len()), "{id}");
            assert_eq!("deny", world.found(&head).outcome, "{id}");
        }
        assert!(world.upstream.asked().is_empty());
    }
    world.finish().await;
}
