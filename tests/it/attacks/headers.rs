//! Heads of requests: what a caller writes there that is the gateway's to say, and heads that cannot be read in one way.

use http_body_util::BodyExt as _;
use serde_json::json;

use super::frames::{Frames, Outcome, PROTOCOL_ERROR, block, read};
use super::{answers, told};
use crate::harness::people::{card, card_whole};
use crate::harness::{Client, UPSTREAM_KEY, World, gateway};

const SUPPORT: &str = "service-provision.support";
const CARD: &str = "/crm/cards/0031";

async fn world() -> World {
    let world = gateway().start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    world
}

/// A read with these lines in its head, sent as bytes.
fn raw(lines: &str) -> String {
    format!("GET {CARD} HTTP/1.1\r\nhost: localhost\r\ndata-purpose: {SUPPORT}\r\nconnection: close\r\n{lines}\r\n")
}

/// Whatever a caller says about whence it comes, who it is and what was decided.
const CLAIMED: &[(&str, &str)] = &[
    ("forwarded", "for=192.0.2.1;host=admin.example.com;proto=http"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-host", "admin.example.com"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-prefix", "/admin"),
    ("x-forwarded-client-cert", "URI=spiffe://example.com/app/mdm-hub"),
    ("x-real-ip", "127.0.0.1"),
    ("x-client-ip", "127.0.0.1"),
    ("true-client-ip", "127.0.0.1"),
    ("via", "1.1 elsewhere"),
    ("consentry-decision", "forged"),
    ("consentry-revision", "99999999"),
    ("consentry-withheld", "0"),
    ("x-consentry-decision", "permit"),
    ("x-ssl-client-verify", "SUCCESS"),
    ("x-user", "mdm-hub"),
    ("x-api-key", "mine"),
    ("x_api_key", "mine"),
    ("consentry_decision", "forged"),
    ("data_purpose", "legal-compliance"),
    ("cookie", "session=1"),
    ("proxy-authorization", "Basic bWU6bWU="),
    ("baggage", "customer=0031"),
    ("tracestate", "a=b"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_the_gateways_to_say_is_never_taken_from_a_caller() {
    let world = world().await;
    let token = world.token("crm", &json!({}));
    for http2 in [false, true] {
        let helpdesk = world.client("helpdesk");
        let (app, purpose) = if http2 { (helpdesk.http2(), SUPPORT) } else { (world.client("crm").token(token.clone()), "service-provision") };
        let mut ask = app.get(CARD).purpose(purpose);
        for (name, value) in CLAIMED {
            ask = ask.header(name, value);
        }
        ask.await.released(200, &card_whole("0031", "a@example.net"));
        let received = world.upstream.take().remove(0);
        let mut sent: Vec<(&str, &str)> = received.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        sent.retain(|(name, _)| *name != "traceparent");
        sent.sort_unstable();
        let host = format!("localhost:{}", world.upstream.address.port());
        let expected = [
            ("accept", "application/json"),
            ("accept-encoding", "identity"),
            ("forwarded", "by=consentry"),
            ("host", host.as_str()),
            ("x-api-key", UPSTREAM_KEY),
        ];
        assert_eq!(expected, sent[..], "a token and a purpose stay here, too");
    }
    // Nor does any of it open anything: the customer is unknown, whoever asks under whatever name.
    let helpdesk = world.client("helpdesk");
    let mut ask = helpdesk.get("/crm/cards/9999").purpose(SUPPORT);
    for (name, value) in CLAIMED {
        ask = ask.header(name, value);
    }
    ask.await.refused(403, "denied");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_header_takes_nothing_away() {
    let world = world().await;
    let app = world.client("crm");
    let token = world.token("crm", &json!({ "exp": 1_700_000_000 }));
    let listed = "connection: close, data-purpose, authorization, x-api-key, traceparent, forwarded, host, accept-encoding\r\n";
    let head = |lines: &str| format!("GET {CARD} HTTP/1.1\r\nhost: localhost\r\n{listed}{lines}\r\n");
    assert_eq!(200, answers(&app, head("data-purpose: service-provision\r\n")).await[0].0, "the purpose is read");
    let received = world.upstream.take().remove(0).headers;
    for name in ["x-api-key", "traceparent", "forwarded", "host", "accept-encoding"] {
        assert!(received.contains_key(name), "`{name}` is not sent: {received:?}");
    }
    assert!(!received.contains_key("connection") && !received.contains_key("data-purpose"), "{received:?}");
    // Credentials that are no good are not overlooked either.
    let expired = head(&format!("data-purpose: service-provision\r\nauthorization: Bearer {token}\r\n"));
    assert_eq!([(401, "token-invalid".to_owned())], answers(&app, expired).await[..]);
    let several = head("data-purpose: sales.outreach\r\ndata-purpose: service-provision\r\n");
    assert_eq!([(400, "ambiguous-request".to_owned())], answers(&app, several).await[..]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_values_that_are_none_are_refused() {
    let world = world().await;
    let client = world.client("helpdesk");
    assert_eq!(200, answers(&client, raw("x-a: b\tc \u{e4}\r\n")).await[0].0, "that is a value");
    world.upstream.take();
    for line in [
        "x a: b",
        "x-a : b",
        "x-a\t: b",
        ": b",
        "x-a",
        "(x): b",
        "x-a;b: c",
        "x\u{0}a: b",
        "x\u{7f}: b",
        "x-\u{e4}: b",
        "x-a: b\u{0}c",
        "x-a: b\rc",
        "x-a: b\u{7f}c",
        "x-a: \u{1b}[2J",
        "x-a: b\r\n c",
        "x-a: b\r\n\tc",
        " x-a: b",
    ] {
        let answered = answers(&client, raw(&format!("{line}\r\n"))).await;
        assert_eq!([(400, String::new())], answered[..], "{line:?}");
    }
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

/// So many lines beside those that stand there anyway.
fn lines(count: usize) -> String {
    (0..count).map(|n| format!("x-{n}: y\r\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_bounded_in_lines_and_bytes() {
    let world = world().await;
    let client = world.client("helpdesk");
    // With `host`, `data-purpose` and `connection`.
    assert_eq!(200, answers(&client, raw(&lines(97))).await[0].0);
    assert_eq!(431, answers(&client, raw(&lines(98))).await[0].0);
    let large = |bytes: usize| raw(&format!("x-a: {}\r\n", "y".repeat(bytes)));
    assert_eq!(200, answers(&client, large(63 << 10)).await[0].0);
    assert_eq!(431, answers(&client, large(65 << 10)).await[0].0);
    // HTTP/2: what counts is decoded, with 32 bytes a field.
    let fields = |count: usize, bytes: usize| {
        let value = vec![b'y'; bytes];
        let names: Vec<String> = (0..count).map(|n| format!("x-{n}")).collect();
        (names, value)
    };
    for (count, bytes, status) in [(99, 8, 200), (100, 8, 431), (40, 1_400, 200), (40, 1_700, 431)] {
        let (names, value) = fields(count, bytes);
        let mut all = read(CARD);
        all.extend(names.iter().map(|name| (name.as_bytes(), &*value)));
        let mut frames = Frames::open(&client, &[]).await;
        frames.send_block(1, &block(&all)).await;
        assert_eq!(Outcome::Status(status), frames.outcome(1).await, "{count} × {bytes}");
    }
    assert_eq!(4, world.upstream.asked().len());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_host_is_named_and_it_is_ours() {
    let world = gateway().apis(&format!("{}{ELSEWHERE}", include_str!("../harness/apis.toml"))).start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    let client = world.client("helpdesk");
    let h1 = async |target: &str, host: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\ndata-purpose: {SUPPORT}\r\nconnection: close\r\n\r\n");
        answers(&client, request).await[0].0
    };
    assert_eq!(200, h1(CARD, "LOCALHOST:8443").await);
    assert_eq!(200, h1(&format!("https://localhost{CARD}"), "localhost").await, "that is us, too");
    for (target, host, status) in [
        (CARD, "example.net", 421),
        (CARD, "localhost.example.net", 421),
        (CARD, "localhost:8443:8443", 421),
        (CARD, "localhost, localhost", 421),
        (CARD, "", 421),
        (CARD, "me@localhost", 400),
        ("https://example.net/crm/cards/0031", "example.net", 421),
        ("https://example.net/crm/cards/0031", "localhost", 400),
        ("https://localhost/crm/cards/0031", "example.net", 400),
        ("http://localhost/crm/cards/0031", "localhost", 400),
        ("ftp://localhost/crm/cards/0031", "localhost", 400),
        ("localhost:443", "localhost", 400),
        ("*", "localhost", 400),
        // Ours, but asked for under another name of ours in the handshake.
        ("/elsewhere/cards/0031", "elsewhere.example.com", 421),
    ] {
        assert_eq!(status, h1(target, host).await, "{target} of {host}");
    }
    let without_sni = world.client("helpdesk").host("elsewhere.example.com".to_owned());
    assert_eq!(200, without_sni.get("/elsewhere/cards/0031").purpose(SUPPORT).await.status.as_u16());

    let of = |authority: &'static [u8], host: Option<&'static [u8]>, scheme: &'static [u8]| {
        let mut fields: Vec<(&[u8], &[u8])> = vec![(b":method", b"GET"), (b":scheme", scheme), (b":path", CARD.as_bytes())];
        if !authority.is_empty() {
            fields.push((b":authority", authority));
        }
        fields.push((b"data-purpose", SUPPORT.as_bytes()));
        fields.extend(host.map(|host| (&b"host"[..], host)));
        block(&fields)
    };
    for (head, outcome) in [
        (of(b"localhost", None, b"https"), Outcome::Status(200)),
        (of(b"localhost", Some(b"LOCALHOST"), b"https"), Outcome::Status(200)),
        (of(b"", Some(b"localhost"), b"https"), Outcome::Status(200)),
        (of(b"localhost", Some(b"example.net"), b"https"), Outcome::Status(400)),
        (of(b"example.net", Some(b"localhost"), b"https"), Outcome::Status(400)),
        (of(b"example.net", None, b"https"), Outcome::Status(421)),
        (of(b"elsewhere.example.com", None, b"https"), Outcome::Status(421)),
        (of(b"me@localhost", None, b"https"), Outcome::Status(400)),
        (of(b"", None, b"https"), Outcome::Status(400)),
        (of(b"localhost", None, b"http"), Outcome::Status(400)),
        (of(b"localhost/crm", None, b"https"), Outcome::Reset(PROTOCOL_ERROR)),
        (of(b"local host", None, b"https"), Outcome::Reset(PROTOCOL_ERROR)),
    ] {
        let mut frames = Frames::open(&client, &[]).await;
        frames.send_block(1, &head).await;
        assert_eq!(outcome, frames.outcome(1).await, "{}", head.escape_ascii());
    }
    // What goes up is said by the configuration.
    let host = format!("localhost:{}", world.upstream.address.port());
    let received = world.upstream.take();
    assert_eq!(6, received.len());
    assert!(received.iter().all(|r| r.headers["host"] == host.as_str() && r.headers.get_all("host").iter().count() == 1));
    world.finish().await;
}

const ELSEWHERE: &str = r#"
[[api]]
name = "elsewhere"
owner = "marketing"
at = "https://elsewhere.example.com/elsewhere"
upstream = "house"
[[api.route]]
match = "GET /cards/{id}"
customer = "path:id"
response = { shape = "card" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn other_versions_of_http_are_not_spoken() {
    let world = world().await;
    let client = world.client("helpdesk");
    let head = |line: &str| format!("{line}\r\nhost: localhost\r\ndata-purpose: {SUPPORT}\r\nconnection: close\r\n\r\n");
    for (line, statuses) in [
        (format!("GET {CARD}"), &[400][..]),
        (format!("GET {CARD} HTTP/0.9"), &[400]),
        (format!("GET {CARD} HTTP/1.0"), &[505]),
        (format!("GET {CARD} HTTP/1.2"), &[400]),
        (format!("GET {CARD} HTTP/1.10"), &[400]),
        (format!("GET {CARD} HTTP/01.1"), &[400]),
        (format!("GET {CARD} HTTP/3.0"), &[400]),
        (format!("GET {CARD} http/1.1"), &[400]),
        (format!("GET {CARD} HTTPS/1.1"), &[400]),
        (format!("GET {CARD} ICAP/1.0"), &[400]),
        (format!("GET  {CARD} HTTP/1.1"), &[400]),
        (format!("GET {CARD}  HTTP/1.1"), &[400]),
        (format!("GET {CARD} HTTP/1.1 "), &[400]),
        (format!("GET\t{CARD}\tHTTP/1.1"), &[400]),
        (format!(" GET {CARD} HTTP/1.1"), &[400]),
        (format!("GET {CARD} HTTP/1.1 HTTP/1.1"), &[400]),
    ] {
        let answered: Vec<u16> = answers(&client, head(&line)).await.into_iter().map(|(status, _)| status).collect();
        assert_eq!(statuses, answered, "{line:?}");
    }
    // Version 0.9 has no head at all.
    assert_eq!([(400, String::new())], answers(&client, format!("GET {CARD}\r\n")).await[..]);
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

/// Status and code of a read by an app whose purposes are many.
async fn purposes(client: &Client, target: &str, lines: &str) -> (u16, String) {
    answers(client, format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{lines}\r\n")).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purpose_is_named_exactly_once_and_exactly_so() {
    let world = world().await;
    let client = world.client("crm");
    let missing = || (403, "purpose-missing".to_owned());
    let unregistered = || (403, "purpose-not-registered".to_owned());
    let ambiguous = || (400, "ambiguous-request".to_owned());
    assert_eq!(200, purposes(&client, CARD, "data-purpose: service-provision\r\n").await.0);
    for (lines, expected) in [
        ("", missing()),
        ("data_purpose: service-provision\r\n", missing()),
        ("x-data-purpose: service-provision\r\n", missing()),
        ("purpose: service-provision\r\n", missing()),
        ("cookie: data-purpose=service-provision\r\n", missing()),
        ("data-purpose: Service-Provision\r\n", unregistered()),
        ("data-purpose: SERVICE-PROVISION\r\n", unregistered()),
        ("data-purpose: service-provision.\r\n", unregistered()),
        ("data-purpose: .service-provision\r\n", unregistered()),
        ("data-purpose: service\r\n", unregistered()),
        ("data-purpose: service-provision;q=1\r\n", unregistered()),
        ("data-purpose: \"service-provision\"\r\n", unregistered()),
        ("data-purpose: service-provision, service-provision\r\n", unregistered()),
        ("data-purpose: service-provision,sales.outreach\r\n", unregistered()),
        ("data-purpose: service%2Dprovision\r\n", unregistered()),
        // A Cyrillic `о`, a no-break space, a soft hyphen.
        ("data-purpose: service-pr\u{43e}vision\r\n", unregistered()),
        ("data-purpose: service-provision\u{a0}\r\n", unregistered()),
        ("data-purpose: service\u{ad}-provision\r\n", unregistered()),
        ("data-purpose: service-provision\r\ndata-purpose: service-provision\r\n", ambiguous()),
        ("data-purpose: service-provision\r\nData-Purpose: sales.outreach\r\n", ambiguous()),
        ("data-purpose: \r\n", unregistered()),
    ] {
        assert_eq!(expected, purposes(&client, CARD, lines).await, "{lines:?}");
    }
    for target in ["/crm/cards/0031?data-purpose=service-provision", "/crm/cards/0031?purpose=service-provision"] {
        let (status, _) = purposes(&client, target, "").await;
        assert!(matches!(status, 400 | 403), "{target}: {status}");
    }
    assert_eq!(1, world.upstream.asked().len());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_tells_nothing_of_what_was_sent_or_of_the_inside() {
    let world = world().await;
    let client = world.client("helpdesk");
    let marked = "zq7-marker";
    let head = format!("host: localhost\r\nconnection: close\r\ndata-purpose: {marked}\r\nx-a: {marked}\r\n");
    let requests = [
        format!("GET /{marked} HTTP/1.1\r\n{head}\r\n"),
        format!("GET /crm/cards/{marked} HTTP/1.1\r\n{head}\r\n"),
        format!("GET /crm/cards/0031?{marked}={marked} HTTP/1.1\r\n{head}\r\n"),
        format!("GET /crm/cards/%{marked} HTTP/1.1\r\n{head}\r\n"),
        format!("{marked} /crm/cards/0031 HTTP/1.1\r\n{head}\r\n"),
        format!("GET /crm/cards/0031 HTTP/1.1\r\n{head}authorization: Bearer {marked}\r\n\r\n"),
        format!("GET /crm/cards/0031 HTTP/1.1\r\nhost: {marked}\r\nconnection: close\r\n\r\n"),
        format!("PATCH /crm/cards/0031 HTTP/1.1\r\n{head}content-type: {marked}\r\ncontent-length: 10\r\n\r\n{marked}"),
        format!("GET /crm/cards/0031 HTTP/1.1\r\n{head}expect: {marked}\r\n\r\n"),
        format!("GET /crm/cards/0031 HTTP/1.1\r\n{head}{marked}\r\n\r\n"),
        format!("GET /crm/cards/0031 HTTP/1.0\r\n{head}\r\n"),
    ];
    for request in requests {
        let text = client.raw(request.as_bytes()).await;
        let status = told(&text)[0].0;
        assert!((400..=505).contains(&status), "{text}");
        let secrets = ["zq7", "server:", "hyper", "panicked", ".rs", ".cedar", ".toml", "/v7", "0.1.0", UPSTREAM_KEY, "spiffe", "permit", "forbid"];
        for word in secrets {
            assert!(!text.contains(word), "`{word}` is told: {text}");
        }
    }
    // The same of the same kind, whoever it is about: word for word, but for the decision's number.
    let denied = async |id: &str| {
        let answer = client.get(&format!("/crm/cards/{id}")).purpose(SUPPORT).await;
        answer.anonymous()
    };
    assert_eq!(denied("9999").await, denied("0044").await);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_over_http2_is_read_to_the_letter() {
    let world = world().await;
    let client = world.client("helpdesk");
    let with = |name: &'static [u8], value: &'static [u8]| {
        let mut fields = read(CARD);
        fields.push((name, value));
        block(&fields)
    };
    let outcome = async |head: &[u8]| {
        let mut frames = Frames::open(&client, &[]).await;
        frames.send_block(1, head).await;
        frames.outcome(1).await
    };
    assert_eq!(Outcome::Status(200), outcome(&with(b"x-a", b"b")).await);
    assert_eq!(Outcome::Status(200), outcome(&with(b"te", b"trailers")).await);
    for (name, value) in [
        (&b"X-A"[..], &b"b"[..]),
        (b"x a", b"b"),
        (b"x\r\nx-api-key: mine\r\ny", b"b"),
        (b"x\0", b"b"),
        (b"x:y", b"b"),
        (b"", b"b"),
        (b"x-a", b"b\r\nx-api-key: mine"),
        (b"x-a", b"b\nc"),
        (b"x-a", b"b\rc"),
        (b"x-a", b"b\0c"),
        (b"connection", b"close"),
        (b"keep-alive", b"timeout=5"),
        (b"proxy-connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"websocket"),
        (b"te", b"gzip"),
    ] {
        // Of the stream, or of the connection where bytes are none that a head can have.
        let outcome = outcome(&with(name, value)).await;
        let is_refused = matches!(outcome, Outcome::Reset(PROTOCOL_ERROR) | Outcome::GoAway(PROTOCOL_ERROR));
        assert!(is_refused, "{}: {}: {outcome:?}", name.escape_ascii(), value.escape_ascii());
    }
    let received = world.upstream.take();
    assert_eq!(2, received.len());
    assert!(received.iter().all(|r| r.headers["x-api-key"] == UPSTREAM_KEY && !r.headers.contains_key("te")), "{received:?}");
    let answer = client.get(CARD).purpose(SUPPORT).begin().await;
    assert_eq!(card_whole("0031", "a@example.net"), answer.into_body().collect().await.unwrap().to_bytes());
    world.finish().await;
}
