//! Rows 33 to 40: a body is one strict reading of what its route declares, or is refused whole; nothing of it is sent on in part.

use http::Method;

use super::heard::Due::{Denied, Sent};
use super::heard::{Due, Witness, say};
use crate::harness::coding::{brotli, deflate, gzip, zstd};
use crate::harness::people::ada;
use crate::harness::{Plan, World, gateway};

const SUPPORT: &str = "service-provision.support";
const OUTREACH: &str = "sales.outreach";
const JSON: &str = "content-type: application/json\r\n";

async fn world() -> World {
    let world = gateway().start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.upstream.on("PATCH /cards/0031", Plan::empty(204));
    world.upstream.json("PATCH /customers/0031", &ada());
    world
}

const UNREADABLE: Due = Denied(400, "ambiguous-request");
const TYPE: Due = Denied(415, "media-type");
const FIELD: Due = Denied(403, "field-not-permitted");
const GOOD: Due = Sent("PATCH /cards/0031");

/// UTF-16 and UTF-32, either byte first.
fn wide(text: &str, width: usize, big: bool, marked: bool) -> Vec<u8> {
    let units: Vec<u32> = marked.then_some(0xfeff).into_iter().chain(text.chars().map(u32::from)).collect();
    let bytes = |unit: &u32| if big { unit.to_be_bytes()[4 - width..].to_vec() } else { unit.to_le_bytes()[..width].to_vec() };
    units.iter().flat_map(bytes).collect()
}

fn patch(target: &str, purpose: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let lines = format!("host: localhost\r\ndata-purpose: {purpose}\r\nconnection: close\r\ncontent-length: {}\r\n{head}", body.len());
    [format!("PATCH {target} HTTP/1.1\r\n{lines}\r\n").as_bytes(), body].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_strict_json_in_utf8_is_refused_whole() {
    let world = world().await;
    let client = world.client("helpdesk");
    let mut witness = Witness::of(&world);
    let good = r#"{"email":"a@example.net"}"#;
    let cases: &[(u8, &[u8], Due)] = &[
        (0, good.as_bytes(), GOOD),
        (33, br#"{"email":"a@example.net","email":"a@example.net"}"#, UNREADABLE),
        (33, br#"{"email":"a@example.net","e\u006dail":"b@example.net"}"#, UNREADABLE),
        (33, br#"{"email":"a@example.net","EMAIL":"b@example.net"}"#, UNREADABLE),
        (33, br#"{"email":"a@example.net","\u0045mail":"b@example.net"}"#, UNREADABLE),
        (33, br#"{"email":{"x":1,"x":2}}"#, UNREADABLE),
        (33, br#"{"email":[{"x":1,"\u0078":2}]}"#, UNREADABLE),
        (33, br#"{"email":[[{"x":1,"X":2}]]}"#, UNREADABLE),
        (33, br#"{"__proto__":1,"__proto__":2,"email":"a"}"#, UNREADABLE),
        (34, br#"{"email":"a@example.net"}{}"#, UNREADABLE),
        (34, br#"{"email":"a@example.net"} x"#, UNREADABLE),
        (34, b"{\"email\":\"a@example.net\"}\n{\"email\":\"b@example.net\"}", UNREADABLE),
        (34, b"{\"email\":\"a@example.net\"}\0", UNREADABLE),
        (34, br#"{"email":"a@example.net"}]"#, UNREADABLE),
        (34, br#"{"email":"a@example.net",}"#, UNREADABLE),
        (34, br#"{,"email":"a@example.net"}"#, UNREADABLE),
        (34, br#"{"email":["a@example.net",]}"#, UNREADABLE),
        (34, br#"{"email":"a@example.net"/* c */}"#, UNREADABLE),
        (34, b"{\"email\":\"a@example.net\"} // c", UNREADABLE),
        (34, b"# c\n{\"email\":\"a@example.net\"}", UNREADABLE),
        (34, br#"{'email':'a@example.net'}"#, UNREADABLE),
        (34, br#"{email:"a@example.net"}"#, UNREADABLE),
        (34, br#"{"email":NaN}"#, UNREADABLE),
        (34, br#"{"email":Infinity}"#, UNREADABLE),
        (34, br#"{"email":-Infinity}"#, UNREADABLE),
        (34, br#"{"email":undefined}"#, UNREADABLE),
        (34, br#"{"email":True}"#, UNREADABLE),
        (34, br#"{"email":+1}"#, UNREADABLE),
        (34, br#"{"email":01}"#, UNREADABLE),
        (34, br#"{"email":.5}"#, UNREADABLE),
        (34, br#"{"email":5.}"#, UNREADABLE),
        (34, br#"{"email":0x1f}"#, UNREADABLE),
        (34, br#"{"email":1e}"#, UNREADABLE),
        (34, b"{\"email\":\"a\nb\"}", UNREADABLE),
        (34, b"{\"email\":\"a\tb\"}", UNREADABLE),
        (34, br#"{"email":"\x41"}"#, UNREADABLE),
        (34, br#"{"email":"\u00e"}"#, UNREADABLE),
        (34, b"{\"email\":\x0c\"a\"}", UNREADABLE),
        (34, b"{\"email\":\x0b\"a\"}", UNREADABLE),
        (34, b"{\"email\":\xc2\xa0\"a\"}", UNREADABLE),
        (34, br#"{"email" "a@example.net"}"#, UNREADABLE),
        (34, br#"{"email":"a@example.net""#, UNREADABLE),
        (34, b"", UNREADABLE),
        (34, b" ", UNREADABLE),
        (34, b"null", UNREADABLE),
        (34, br#""email""#, UNREADABLE),
        (34, br#"[{"email":"a@example.net"}]"#, UNREADABLE),
        (35, b"\xef\xbb\xbf{\"email\":\"a@example.net\"}", UNREADABLE),
        (35, b"+AHs-\"email\":\"a@example.net\"+AH0-", UNREADABLE),
        (35, &wide(good, 2, false, true), UNREADABLE),
        (35, &wide(good, 2, true, true), UNREADABLE),
        (35, &wide(good, 2, false, false), UNREADABLE),
        (35, &wide(good, 2, true, false), UNREADABLE),
        (35, &wide(good, 4, false, true), UNREADABLE),
        (35, &wide(good, 4, true, false), UNREADABLE),
        (35, b"{\"email\":\"\xc0\xa2\"}", UNREADABLE),
        (35, b"{\"email\":\"\xed\xa0\x80\"}", UNREADABLE),
        (35, b"{\"email\":\"\xf4\x90\x80\x80\"}", UNREADABLE),
        (35, b"{\"email\":\"\xe4\"}", UNREADABLE),
        (36, br#"{"email":"\ud800"}"#, UNREADABLE),
        (36, br#"{"email":"\udc00\ud800"}"#, UNREADABLE),
        (36, br#"{"email":"\ud800\u0041"}"#, UNREADABLE),
        (36, br#"{"em\ud800ail":"a"}"#, UNREADABLE),
        (36, br#"{"email\u0000":"a@example.net"}"#, UNREADABLE),
        (36, br#"{"id":"0031\u0000","email":"a@example.net"}"#, UNREADABLE),
        (36, br#"{"id":"00\ud83131","email":"a@example.net"}"#, UNREADABLE),
        (38, &gzip(good), UNREADABLE),
        (38, &deflate(good, true), UNREADABLE),
        (38, &brotli(good), UNREADABLE),
        (38, &zstd(good), UNREADABLE),
        (39, br#"{"id":{"$ne":"0058"},"email":"a"}"#, UNREADABLE),
        (39, br#"{"id":{"$in":["0031","0058"]},"email":"a"}"#, UNREADABLE),
        (39, br#"{"id":["0031","0058"],"email":"a"}"#, UNREADABLE),
        (39, br#"{"id":{"0":"0031"},"email":"a"}"#, UNREADABLE),
        (39, br#"{"$set":{"email":"a@example.net"}}"#, FIELD),
        (39, br#"{"email":"a@example.net","$where":"1"}"#, FIELD),
        (39, br#"{"query":"mutation { a }"}"#, FIELD),
        (39, br#"{"jsonrpc":"2.0","method":"card.set","params":{"email":"a"},"id":1}"#, FIELD),
        (39, br#"{"requests":[{"method":"PATCH","url":"/cards/0058"}]}"#, FIELD),
        (39, br#"{"op":"replace","path":"/email","value":"a"}"#, FIELD),
        (39, br#"[{"op":"replace","path":"/email","value":"a"}]"#, UNREADABLE),
    ];
    for (row, body, due) in cases {
        let heard = say(&client, patch("/crm/cards/0031", SUPPORT, JSON, body)).await;
        witness.sees(&format!("row {row}: {}", body.escape_ascii()), &heard, *due);
    }
    // Below members of a shape, too.
    let crm = world.client("crm");
    for body in [r#"{"name":{"given":"A","given":"B"}}"#, r#"{"name":{"given":"A","giv\u0065n":"B"}}"#, r#"{"address":{"x":[{"a":1,"A":2}]}}"#] {
        let heard = say(&crm, patch("/crm/customers/0031", OUTREACH, JSON, body.as_bytes())).await;
        witness.sees(&format!("row 33: {body}"), &heard, UNREADABLE);
    }
    witness.leaves().await;
    // What is good goes on as it stands there.
    let odd = "{ \"email\" :\t\"\\u0061\\ud83d\\ude00\\/@example.net\" }\r\n";
    client.ask(Method::PATCH, "/crm/cards/0031").purpose(SUPPORT).json(odd).await.released(204, "");
    assert_eq!(odd.as_bytes(), &world.upstream.take()[0].body[..]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_another_type_charset_or_coding_is_not_read() {
    let world = world().await;
    let client = world.client("helpdesk");
    let mut witness = Witness::of(&world);
    let good = br#"{"email":"a@example.net"}"#;
    let xml = b"<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><email>&x;</email>";
    let part = b"--b\r\nContent-Disposition: form-data; name=email\r\n\r\na@example.net\r\n--b--\r\n";
    let packed = gzip(good);
    let twice = gzip(&packed);
    let cases: &[(u8, &str, &[u8], Due)] = &[
        (35, "content-type: application/json; charset=utf-8\r\n", good, GOOD),
        (35, "content-type: application/json; charset=\"UTF-8\"\r\n", good, GOOD),
        (35, "content-type: application/json; charset=utf-16\r\n", good, TYPE),
        (35, "content-type: application/json; charset=utf-32\r\n", good, TYPE),
        (35, "content-type: application/json; charset=utf-7\r\n", good, TYPE),
        (35, "content-type: application/json; charset=iso-8859-1\r\n", good, TYPE),
        (35, "content-type: application/json; charset=utf-8; charset=utf-16\r\n", good, TYPE),
        (35, "content-type: application/json; charset=utf-8; Charset=utf-8\r\n", good, TYPE),
        (35, "content-type: application/json; charset=\r\n", good, TYPE),
        (35, "content-type: application/json; charset\r\n", good, TYPE),
        (37, "", good, TYPE),
        (37, "content-type:\r\n", good, TYPE),
        (37, "content-type: application/json\r\ncontent-type: application/json\r\n", good, TYPE),
        (37, "content-type: application/json\r\ncontent-type: text/plain\r\n", good, TYPE),
        (37, "content-type: application/json, text/plain\r\n", good, TYPE),
        (37, "content-type: text/plain\r\n", good, TYPE),
        (37, "content-type: text/json\r\n", good, TYPE),
        (37, "content-type: application/x-json\r\n", good, TYPE),
        (37, "content-type: application/jsonp\r\n", good, TYPE),
        (37, "content-type: application/json-patch+json\r\n", good, TYPE),
        (37, "content-type: application/vnd.api+json\r\n", good, TYPE),
        (37, "content-type: application/octet-stream\r\n", good, TYPE),
        (37, "content-type: */*\r\n", good, TYPE),
        (37, "content-type: application\\json\r\n", good, TYPE),
        (37, "content-type: application/x-www-form-urlencoded\r\n", b"email=a%40example.net", TYPE),
        (37, "content-type: multipart/form-data; boundary=b\r\n", part, TYPE),
        (37, "content-type: application/xml\r\n", xml, TYPE),
        (37, "content-type: text/xml\r\n", xml, TYPE),
        (37, "content-type: application/json\r\n", xml, UNREADABLE),
        (37, "content-type: application/json\r\n", b"email=a%40example.net", UNREADABLE),
        (37, "content-type: application/json\r\n", part, UNREADABLE),
        (38, "content-type: application/json\r\ncontent-encoding: gzip\r\n", &packed, TYPE),
        (38, "content-type: application/json\r\ncontent-encoding: x-gzip\r\n", &packed, TYPE),
        (38, "content-type: application/json\r\ncontent-encoding: gzip, gzip\r\n", &twice, TYPE),
        (38, "content-type: application/json\r\ncontent-encoding: gzip\r\ncontent-encoding: gzip\r\n", &twice, TYPE),
        (38, "content-type: application/json\r\ncontent-encoding: deflate\r\n", &deflate(good, false), TYPE),
        (38, "content-type: application/json\r\ncontent-encoding: br\r\n", &brotli(good), TYPE),
        (38, "content-type: application/json\r\ncontent-encoding: zstd\r\n", &zstd(good), TYPE),
        (38, "content-type: application/json\r\ncontent-encoding: identity\r\n", good, TYPE),
        (38, "content-type: application/json\r\ncontent-encoding:\r\n", good, TYPE),
    ];
    for (row, head, body, due) in cases {
        let heard = say(&client, patch("/crm/cards/0031", SUPPORT, head, body)).await;
        witness.sees(&format!("row {row}: {head:?}"), &heard, *due);
        assert!(!heard.text.contains("root:"), "{heard:?}");
    }
    witness.leaves().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_deep_or_too_long_is_given_up() {
    let world = world().await;
    let crm = world.client("crm");
    let mut witness = Witness::of(&world);
    let target = "/crm/customers/0031";
    let nested = |levels: usize| format!("{{\"address\":{}1{}}}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let lists = |levels: usize| format!("{{\"address\":{{\"a\":{}{}}}}}", "[".repeat(levels), "]".repeat(levels));
    let fitting = format!("{{\"address\":{{\"a\":\"{}\"}}}}", "x".repeat(16 * 1024 - 21));
    assert_eq!(16 * 1024 - 1, fitting.len());
    let whole = Sent("PATCH /customers/0031");
    let too_long = Denied(413, "payload-too-large");
    for (what, body, due) in [
        ("127 levels below", nested(127), whole),
        ("128 levels below", nested(128), UNREADABLE),
        ("2,000 levels", nested(2_000), UNREADABLE),
        ("8,000 lists", lists(8_000), UNREADABLE),
        ("lists without an end", "[".repeat(16_000), UNREADABLE),
        ("as long as may be", fitting.clone(), whole),
        ("longer", format!("{fitting}  "), too_long),
        ("much longer", format!("{}{}", fitting, " ".repeat(100_000)), too_long),
        ("a number of 10,000 digits", format!("{{\"address\":{{\"a\":{}}}}}", "9".repeat(10_000)), whole),
        ("a power of ten", r#"{"address":{"a":1e999999999}}"#.to_owned(), whole),
    ] {
        let heard = say(&crm, patch(target, OUTREACH, JSON, body.as_bytes())).await;
        witness.sees(&format!("row 40: {what}"), &heard, due);
    }
    // Of no announced length, in small chunks.
    let lines = format!("host: localhost\r\ndata-purpose: {OUTREACH}\r\nconnection: close\r\n{JSON}transfer-encoding: chunked\r\n");
    let chunks = format!("100\r\n{}\r\n", " ".repeat(256)).repeat(65);
    let heard = say(&crm, format!("PATCH {target} HTTP/1.1\r\n{lines}\r\n{chunks}0\r\n\r\n")).await;
    witness.sees("row 40: chunks", &heard, too_long);
    witness.leaves().await;
    world.finish().await;
}
