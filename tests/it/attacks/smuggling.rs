//! Requests within requests: framings that two readers may see differently, upgrades, and HTTP/2 that would become two requests of
//! HTTP/1.1. Behind each stands a second request that somebody else could take for one of its own.

use std::time::Duration;

use http_body_util::BodyExt as _;

use super::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Outcome, PROTOCOL_ERROR, block, read};
use super::{Line, answers, told};
use crate::harness::people::card;
use crate::harness::{Client, Plan, World, gateway};

const SUPPORT: &str = "service-provision.support";
const CARD: &str = "/crm/cards/0031";
/// What would be a request of its own.
const HIDDEN: &str = "GET /crm/cards/0058 HTTP/1.1\r\nhost: localhost\r\ndata-purpose: service-provision\r\n\r\n";

async fn world() -> World {
    let world = gateway().start().await;
    for id in ["0031", "0058", "0012"] {
        world.upstream.json(&format!("GET /cards/{id}"), &card(id, "a@example.net"));
    }
    world.upstream.on("PATCH /cards/0031", Plan::empty(204));
    world
}

/// A write with these lines in its head, and what stands behind it.
fn write(lines: &str, rest: &str) -> String {
    format!("PATCH {CARD} HTTP/1.1\r\nhost: localhost\r\ndata-purpose: service-provision\r\ncontent-type: application/json\r\n{lines}\r\n{rest}")
}

type Field = (&'static [u8], &'static [u8]);

/// These bytes are one request, which is refused, and the connection ends with it.
async fn refused(world: &World, client: &Client, what: &str, bytes: impl AsRef<[u8]>) {
    let answered = answers(client, bytes).await;
    assert_eq!(1, answered.len(), "{what}: {answered:?}");
    assert_eq!(400, answered[0].0, "{what}: {answered:?}");
    assert!(world.upstream.asked().is_empty(), "{what}: nothing is sent on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_one_framing_in_one_form() {
    let world = world().await;
    let client = world.client("crm");
    let good = write("content-length: 14\r\nconnection: close\r\n", "{\"name\":\"Ada\"}");
    assert_eq!([(204, String::new())], answers(&client, good).await[..]);
    world.upstream.take();
    let length = HIDDEN.len();
    for lines in [
        format!("content-length: {length}\r\ntransfer-encoding: chunked"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}"),
        format!("content-length: 0\r\ncontent-length: {length}"),
        format!("content-length: {length}\r\ncontent-length: {length}"),
        format!("content-length: {length}, {length}"),
        format!("content-length: 0, {length}"),
        format!("content-length: +{length}"),
        format!("content-length: -{length}"),
        format!("content-length: 0x{length:x}"),
        format!("content-length: {length}.0"),
        format!("content-length: {length} 0"),
        "content-length: 1e2".to_owned(),
        "content-length:".to_owned(),
        "content-length: \u{b2}".to_owned(),
        "content-length: 18446744073709551616".to_owned(),
        "content-length: 99999999999999999999999999".to_owned(),
        format!("content-length : {length}"),
        format!("content-length\t: {length}"),
        format!(" content-length: {length}"),
        format!("content-length:\r\n {length}"),
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: x".to_owned(),
        "transfer-encoding: chunked, chunked".to_owned(),
        "transfer-encoding: gzip, chunked".to_owned(),
        "transfer-encoding: identity, chunked".to_owned(),
        "transfer-encoding: chunked, identity".to_owned(),
        "transfer-encoding: identity".to_owned(),
        "transfer-encoding: xchunked".to_owned(),
        "transfer-encoding: \"chunked\"".to_owned(),
        "transfer-encoding: chunked;q=1".to_owned(),
        "transfer-encoding: \u{b}chunked".to_owned(),
        "transfer-encoding:\r\n chunked".to_owned(),
        "transfer-encoding : chunked".to_owned(),
        "transfer-encoding:".to_owned(),
        "x: y\rtransfer-encoding: chunked".to_owned(),
        "x: y\ntransfer-encoding: chunked".to_owned(),
    ] {
        refused(&world, &client, &lines, write(&format!("{lines}\r\n"), &format!("0\r\n\r\n{HIDDEN}"))).await;
    }
    // Names that only look so are no framing: what follows the head is the next request, judged as such.
    for line in ["content_length: 3", "transfer_encoding: chunked", "x-content-length: 3"] {
        let first = format!("GET {CARD} HTTP/1.1\r\nhost: localhost\r\ndata-purpose: service-provision\r\n{line}\r\n\r\n");
        let second = "GET /crm/cards/0012 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let answered = answers(&client, format!("{first}{second}")).await;
        assert_eq!([(200, String::new()), (403, "purpose-missing".to_owned())], answered[..], "{line}");
        assert_eq!(["GET /cards/0031"], world.upstream.asked()[..]);
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_end_with_cr_and_lf() {
    let world = world().await;
    let client = world.client("crm");
    let head = format!("GET {CARD} HTTP/1.1\r\nhost: localhost\r\ndata-purpose: service-provision\r\nconnection: close\r\n\r\n");
    assert_eq!([(200, String::new())], answers(&client, format!("\r\n{head}")).await[..], "one empty line may stand before a request");
    world.upstream.take();
    for (what, bytes) in [
        ("LF alone, everywhere", head.replace("\r\n", "\n")),
        ("after the request line", head.replacen("\r\n", "\n", 1)),
        ("after a header", head.replace("localhost\r\n", "localhost\n")),
        ("after the last header", head.replace("close\r\n", "close\n")),
        ("as the end of the head", head.replace("close\r\n\r\n", "close\r\n\n")),
        ("as an empty line before a request", format!("\n{head}")),
        ("two empty lines before a request", format!("\r\n\r\n{head}")),
        ("CR alone, after the request line", head.replacen("\r\n", "\r", 1)),
        ("CR alone, after a header", head.replace("localhost\r\n", "localhost\r")),
        ("CR alone, in a value", head.replace("localhost\r\n", "localhost\r\nx: a\rb\r\n")),
        ("CR alone, in the target", head.replace("0031 ", "0031\r ")),
        ("two CR", head.replace("localhost\r\n", "localhost\r\r\n")),
        ("a fragment", head.replace("0031 ", "0031#x ")),
        ("a header behind LF", head.replace("localhost\r\n", "localhost\r\nx: a\ncontent-length: 5\r\n")),
        ("a folded header", head.replace("localhost\r\n", "localhost\r\nx: a\r\n b\r\n")),
        ("a header folded by a tab", head.replace("localhost\r\n", "localhost\r\nx: a\r\n\tb\r\n")),
        ("a folded first header", head.replace("host: localhost", " host: localhost")),
        ("a space before the colon", head.replace("host:", "host :")),
        ("a line without a colon", head.replace("localhost\r\n", "localhost\r\nx\r\n")),
    ] {
        refused(&world, &client, what, format!("{bytes}{HIDDEN}")).await;
    }
    // The same when the bytes come one by one.
    let mut line = Line::open(&client).await;
    for byte in format!("GET {CARD} HTTP/1.1\r\nhost: localhost\n").bytes() {
        line.send([byte]).await;
    }
    assert_eq!([(400, String::new())], told(&line.rest().await)[..]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_have_a_size_and_trailers_go_nowhere() {
    let world = world().await;
    let client = world.client("crm");
    let chunked = |body: &str| write("transfer-encoding: chunked\r\nconnection: close\r\n", body);
    for body in [
        "e\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        "E;ext=1;a=\"b\"\r\n{\"name\":\"Ada\"}\r\n0;x\r\n\r\n",
        "000000e\r\n{\"name\":\"Ada\"}\r\n00\r\n\r\n",
        "7\r\n{\"name\"\r\n7\r\n:\"Ada\"}\r\n0\r\nx-api-key: mine\r\ncontent-length: 9\r\n\r\n",
    ] {
        assert_eq!([(204, String::new())], answers(&client, chunked(body)).await[..], "{body:?}");
        let received = world.upstream.take().remove(0);
        assert_eq!("{\"name\":\"Ada\"}", received.body, "{body:?}");
        assert_eq!(("14", false), (received.headers["content-length"].to_str().unwrap(), received.headers.contains_key("transfer-encoding")));
        assert_eq!(crate::harness::UPSTREAM_KEY, received.headers["x-api-key"]);
    }
    for body in [
        "0xe\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        "+e\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        "-1\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        " e\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        "e \r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        "e\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        "e\r{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        "\r\ne\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        ";x\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        "g\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        "1000000000000000e\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        "10000000000000000e\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        "e;a\nb\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        "e\r\n{\"name\":\"Ada\"}\n0\r\n\r\n",
        "e\r\n{\"name\":\"Ada\"}0\r\n\r\n",
        "d\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n",
        "e\r\n{\"name\":\"Ada\"}\r\n0\n\r\n",
        "e\r\n{\"name\":\"Ada\"}\r\n0\r\nx: y\n\r\n",
        "e\r\n{\"name\":\"Ada\"}\r\n0\r\nx : y\r\n\r\n",
    ] {
        let answered = answers(&client, chunked(&format!("{body}{HIDDEN}"))).await;
        assert_eq!(vec![400], answered.iter().map(|(status, _)| *status).collect::<Vec<_>>(), "{body:?}");
        assert!(world.upstream.asked().is_empty(), "{body:?}");
    }
    // Extensions and trailers are bounded, too.
    for body in [
        format!("e;{}\r\n{{\"name\":\"Ada\"}}\r\n0\r\n\r\n", "x".repeat(20_000)),
        format!("e\r\n{{\"name\":\"Ada\"}}\r\n0\r\nx: {}\r\n\r\n", "y".repeat(70_000)),
    ] {
        assert_eq!(400, answers(&client, chunked(&body)).await[0].0);
    }
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_of_a_refused_request_is_no_request() {
    let world = world().await;
    let client = world.client("crm");
    // Refused by its head, by who asks, by its route: the body that is not read is the next request for somebody who does not look.
    let body = HIDDEN.repeat(20_000);
    let head = |line: &str, lines: &str| format!("{line} HTTP/1.1\r\nhost: localhost\r\n{lines}content-length: {}\r\n\r\n", body.len());
    for (what, head, status) in [
        ("by its method", head("PURGE /crm/cards/0031", ""), 501),
        ("by its host", head("PATCH /crm/cards/0031", "").replace("localhost", "example.net"), 421),
        ("by its token", head("PATCH /crm/cards/0031", "authorization: Bearer x\r\n"), 401),
        ("by its route", head("POST /crm/nothing", "data-purpose: service-provision\r\ncontent-type: application/json\r\n"), 404),
        ("by its size", head("PATCH /crm/cards/0031", "data-purpose: service-provision\r\ncontent-type: application/json\r\n"), 413),
        ("by a body of a GET", head("GET /crm/cards/0031", "data-purpose: service-provision\r\n"), 400),
    ] {
        let mut line = Line::open(&client).await;
        line.send(&head).await;
        line.send(&body.as_bytes()[..64 << 10]).await;
        // The answer arrives although the client goes on sending, and it is the last one.
        let text = line.rest().await;
        let answered = told(&text);
        assert_eq!(vec![status], answered.iter().map(|(status, _)| *status).collect::<Vec<_>>(), "{what}: {text}");
        assert!(text.ends_with('}'), "{what}: the whole answer comes: {text}");
        // A connection that was closed over what still comes would be reset, and the answer be lost with some clients.
        for piece in body.as_bytes()[64 << 10..].chunks(16 << 10).take(4) {
            line.send(piece).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // A body that came whole is taken in, and what follows is a request.
    let mut line = Line::open(&client).await;
    line.send(format!("POST /crm/nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{HIDDEN}", HIDDEN.len())).await;
    let first = line.until("\"remedy\"").await;
    assert!(first.starts_with("HTTP/1.1 403 ") || first.starts_with("HTTP/1.1 404 "), "{first}");
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_a_connection_is_judged_alone() {
    let world = world().await;
    let client = world.client("crm");
    let token = world.token("crm", &serde_json::json!({}));
    let ask = |id: &str, lines: &str| format!("GET /crm/cards/{id} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n");
    let purpose = "data-purpose: service-provision\r\n";
    // All at once, on one connection: no purpose, token, host or refusal is carried over.
    let all = [
        ask("0031", &format!("{purpose}authorization: Bearer {token}\r\n")),
        ask("0012", ""),
        ask("0012", "authorization: Bearer not.a.token\r\n"),
        ask("0058", purpose),
        ask("0044", purpose),
        ask("0012", purpose).replace("localhost", "example.net"),
        ask("0012", &format!("{purpose}connection: close\r\n")),
        ask("0031", purpose),
    ]
    .concat();
    let text = client.raw(all.as_bytes()).await;
    let expected = [(200, ""), (403, "purpose-missing"), (401, "token-invalid"), (200, ""), (403, "denied"), (421, "misdirected"), (200, "")];
    assert_eq!(expected.map(|(status, code)| (status, code.to_owned())), told(&text)[..], "none after `close`");
    let ids: Vec<&str> = text.split("{\"id\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(["0031", "0058", "0012"], ids[..], "in the order in which they were asked");
    assert_eq!(["GET /cards/0031", "GET /cards/0058", "GET /cards/0012"], world.upstream.asked()[..]);
    // One that is refused for what it is ends the connection: nobody could say where the next one begins.
    let wrong = format!("{}{}{}", ask("0031", purpose), ask("0012", purpose).replace("localhost\r\n", "localhost\n"), ask("0058", purpose));
    assert_eq!([(200, String::new()), (400, String::new())], answers(&client, wrong).await[..]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expectation_is_met_here_or_refused() {
    let world = world().await;
    let client = world.client("crm");
    let head = |lines: &str| write(&format!("content-length: 14\r\n{lines}"), "");
    // The body is asked for once it is wanted.
    let mut line = Line::open(&client).await;
    line.send(head("expect: 100-continue\r\nconnection: close\r\n")).await;
    assert_eq!("HTTP/1.1 100 Continue\r\n\r\n", line.until("\r\n\r\n").await);
    line.send("{\"name\":\"Ada\"}").await;
    assert_eq!([(204, String::new())], told(&line.rest().await)[..]);
    let received = world.upstream.take().remove(0);
    assert!(!received.headers.contains_key("expect") && received.body == "{\"name\":\"Ada\"}");
    // What is refused by its head is refused without asking for it.
    let mut line = Line::open(&client).await;
    line.send(head("expect: 100-continue\r\n").replace("application/json", "text/html")).await;
    let text = line.until("\"remedy\"").await;
    assert!(text.starts_with("HTTP/1.1 415 "), "{text}");
    for expectation in ["100-continue, miracles", "miracles", "200-ok", "100-continue\r\nexpect: miracles", ""] {
        let answered = answers(&client, head(&format!("expect: {expectation}\r\nconnection: close\r\n"))).await;
        assert_eq!(vec![417], answered.iter().map(|(status, _)| *status).collect::<Vec<_>>(), "{expectation}");
    }
    // Where there is no body, there is nothing to ask for.
    let ask =
        format!("GET {CARD} HTTP/1.1\r\nhost: localhost\r\ndata-purpose: service-provision\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n");
    assert_eq!([(200, String::new())], answers(&client, ask).await[..]);
    assert_eq!(["GET /cards/0031"], world.upstream.asked()[..]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tunnel_and_no_other_protocol() {
    let world = world().await;
    let client = world.client("helpdesk");
    let head = |line: &str, lines: &str| format!("{line} HTTP/1.1\r\nhost: localhost\r\ndata-purpose: {SUPPORT}\r\n{lines}\r\n");
    let socket = "upgrade: websocket\r\nconnection: upgrade, close\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";
    let h2c = "upgrade: h2c\r\nconnection: upgrade, http2-settings, close\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n";
    for lines in [socket, h2c, "upgrade: TLS/1.2\r\nconnection: upgrade, close\r\n"] {
        // A server may overlook it: RFC 9110, 7.8. Nothing of it goes on.
        assert_eq!([(200, String::new())], answers(&client, head(&format!("GET {CARD}"), lines)).await[..], "{lines}");
        let received = world.upstream.take().remove(0);
        for name in ["upgrade", "connection", "http2-settings", "sec-websocket-key", "sec-websocket-version"] {
            assert!(!received.headers.contains_key(name), "{received:?}");
        }
    }
    for target in ["localhost:443", "example.net:443", CARD, "https://example.net/"] {
        let answered = answers(&client, format!("{}{HIDDEN}", head(&format!("CONNECT {target}"), "connection: close\r\n"))).await;
        assert!(matches!(answered[..], [(400 | 405, _)]), "{target}: {answered:?}");
    }
    for target in ["http://example.net/", "https://example.net/crm/cards/0031", "https://localhost@example.net/", "//example.net/crm/cards/0031"] {
        let answered = answers(&client, head(&format!("GET {target}"), "connection: close\r\n")).await;
        assert!(matches!(answered[..], [(400 | 421, _)]), "{target}: {answered:?}");
    }
    // HTTP/2 that was not agreed upon, and what a balancer would say where none is configured.
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..],
        b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET /crm/cards/0031 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ] {
        let answered = answers(&client, bytes).await;
        assert!(matches!(answered[..], [] | [(400, _)]), "{}: {answered:?}", bytes.escape_ascii());
    }
    // Before TLS it is none.
    for bytes in [&b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"[..], b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(world.running().addresses.apps[0].1).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        drop(crate::harness::soon("the end of a connection", stream.read_to_end(&mut answer)).await);
        assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());
    }
    assert!(world.upstream.asked().is_empty());
    // Over HTTP/2.
    let mut frames = Frames::open(&client, &[]).await;
    let connect: &[(&[u8], &[u8])] = &[(b":method", b"CONNECT"), (b":authority", b"localhost:443")];
    frames.send(HEADERS, END_HEADERS, 1, &block(connect)).await;
    assert_eq!(Outcome::Status(405), frames.outcome(1).await);
    let extended: &[(&[u8], &[u8])] =
        &[(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https"), (b":path", CARD.as_bytes()), (b":authority", b"localhost")];
    frames.send(HEADERS, END_HEADERS, 3, &block(extended)).await;
    let outcome = frames.outcome(3).await;
    assert!(matches!(outcome, Outcome::Reset(_) | Outcome::Status(405)), "{outcome:?}");
    assert!(frames.settings.iter().all(|(id, _)| *id != 8), "extended CONNECT is not offered");
    drop(frames);
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_becomes_no_second_request() {
    let world = world().await;
    let client = world.client("helpdesk");
    let with = |changes: &[(&'static [u8], Option<&'static [u8]>)]| {
        let mut fields = read(CARD);
        for (name, value) in changes {
            fields.retain(|(n, _)| n != name);
            fields.extend(value.map(|value| (*name, value)));
        }
        // Pseudo-headers stand first.
        fields.sort_by_key(|(name, _)| !name.starts_with(b":"));
        block(&fields)
    };
    let outcome = async |head: &[u8]| {
        let mut frames = Frames::open(&client, &[]).await;
        frames.send_block(1, head).await;
        frames.outcome(1).await
    };
    assert_eq!(Outcome::Status(200), outcome(&with(&[])).await);
    // A fragment is cut off before anybody sees it, here and for the API.
    assert_eq!(Outcome::Status(200), outcome(&with(&[(b":path", Some(b"/crm/cards/0031#/../0058"))])).await);
    assert_eq!(["GET /cards/0031", "GET /cards/0031"], world.upstream.asked()[..]);
    let order = |fields: &[(&[u8], &[u8])]| block(fields);
    let rest: [(&[u8], &[u8]); 3] = [(b":scheme", b"https"), (b":authority", b"localhost"), (b":path", CARD.as_bytes())];
    let cases: Vec<(&str, Vec<u8>, bool)> = vec![
        ("a request line in the method", with(&[(b":method", Some(b"GET /admin HTTP/1.1\r\nx: y"))]), false),
        ("a space in the method", with(&[(b":method", Some(b"GET /admin"))]), false),
        ("no method", with(&[(b":method", None)]), false),
        ("an empty method", with(&[(b":method", Some(b""))]), false),
        ("a request line in the path", with(&[(b":path", Some(b"/crm/cards/0031 HTTP/1.1\r\nhost: localhost\r\n\r\nGET /x"))]), false),
        ("a space in the path", with(&[(b":path", Some(b"/crm/cards/0031 HTTP/1.1"))]), false),
        ("no path", with(&[(b":path", None)]), false),
        ("an empty path", with(&[(b":path", Some(b""))]), false),
        ("a path without a slash", with(&[(b":path", Some(b"crm/cards/0031"))]), true),
        ("a whole URL as the path", with(&[(b":path", Some(b"https://example.net/crm/cards/0031"))]), true),
        ("lines in the authority", with(&[(b":authority", Some(b"localhost\r\nx-api-key: mine"))]), false),
        ("lines in the scheme", with(&[(b":scheme", Some(b"https\r\nx: y"))]), false),
        ("a URL in the scheme", with(&[(b":scheme", Some(b"https://example.net/x?"))]), false),
        ("no scheme", with(&[(b":scheme", None)]), false),
        ("an unknown pseudo-header", with(&[(b":customer", Some(b"0058"))]), false),
        ("a pseudo-header of answers", with(&[(b":status", Some(b"200"))]), false),
        ("two methods", order(&[&[(&b":method"[..], &b"GET"[..]), (b":method", b"DELETE")], &rest[..]].concat()), false),
        ("two paths", order(&[&[(&b":method"[..], &b"GET"[..])], &rest[..], &[(b":path", b"/crm/cards/0058")]].concat()), false),
        ("two authorities", order(&[&[(&b":method"[..], &b"GET"[..])], &rest[..], &[(b":authority", b"example.net")]].concat()), false),
        ("a pseudo-header behind a header", order(&[&[(&b"x"[..], &b"y"[..]), (b":method", b"GET")], &rest[..]].concat()), false),
    ];
    for (what, head, may_be_answered) in cases {
        // Of the stream, or of the connection where bytes are none that a head can have.
        let outcome = outcome(&head).await;
        let is_refused = matches!(outcome, Outcome::Reset(PROTOCOL_ERROR) | Outcome::GoAway(PROTOCOL_ERROR));
        assert!(is_refused || may_be_answered && outcome == Outcome::Status(400), "{what}: {outcome:?}");
    }
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_over_http2_is_the_bodys() {
    let world = world().await;
    let client = world.client("crm");
    let head = |more: &[(&'static [u8], &'static [u8])]| {
        let mut fields: Vec<(&[u8], &[u8])> = vec![
            (b":method", b"PATCH"),
            (b":scheme", b"https"),
            (b":authority", b"localhost"),
            (b":path", CARD.as_bytes()),
            (b"data-purpose", b"service-provision"),
            (b"content-type", b"application/json"),
        ];
        fields.extend_from_slice(more);
        block(&fields)
    };
    let body = b"{\"name\":\"Ada\"}";
    let mut frames = Frames::open(&client, &[]).await;
    let mut stream = 1;
    for length in [None, Some(&b"14"[..])] {
        let length = length.map(|length| (&b"content-length"[..], length));
        frames.send(HEADERS, END_HEADERS, stream, &head(length.as_slice())).await;
        frames.send(DATA, END_STREAM, stream, body).await;
        assert_eq!(Outcome::Status(204), frames.outcome(stream).await);
        stream += 2;
    }
    let received = world.upstream.take();
    assert!(received.len() == 2 && received.iter().all(|r| r.body == body[..] && r.headers["content-length"] == "14"), "{received:?}");
    let cases: [(&str, &[Field]); 8] = [
        ("shorter than the body", &[(b"content-length", b"5")]),
        ("longer than the body", &[(b"content-length", b"99")]),
        ("none at all", &[(b"content-length", b"0")]),
        ("signed", &[(b"content-length", b"+14")]),
        ("a list", &[(b"content-length", b"14, 14")]),
        ("two", &[(b"content-length", b"14"), (b"content-length", b"0")]),
        ("chunks", &[(b"transfer-encoding", b"chunked")]),
        ("chunks beside a length", &[(b"content-length", b"14"), (b"transfer-encoding", b"chunked")]),
    ];
    for (what, more) in cases {
        frames.send(HEADERS, END_HEADERS, stream, &head(more)).await;
        frames.try_send(&super::frames::frame(DATA, END_STREAM, stream, body)).await;
        let outcome = frames.outcome(stream).await;
        assert!(matches!(outcome, Outcome::Reset(_) | Outcome::Status(400)), "{what}: {outcome:?}");
        stream += 2;
    }
    assert!(world.upstream.asked().is_empty(), "nothing of it is sent on");
    drop(frames);
    // And what a library sends is understood as before.
    let answer = world.client("helpdesk").get(CARD).purpose(SUPPORT).begin().await;
    assert_eq!(200, answer.status());
    drop(tokio::time::timeout(Duration::from_secs(5), answer.into_body().collect()).await.unwrap().unwrap());
    world.finish().await;
}
