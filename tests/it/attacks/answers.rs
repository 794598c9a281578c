//! Answers of an upstream that is careless or taken over: what is not declared, not JSON, not strictly read or somebody else's is
//! passed on to nobody. What is encoded, framed or cut otherwise than it says is in `answers.rs`, lists in parts in `parts.rs`.

use crate::answers::world;
use crate::harness::people::{card, card_whole};
use crate::harness::raw::{json, response};

const SUPPORT: &str = "service-provision.support";
const CARD: &str = "GET /cards/0031";

fn ada() -> String {
    card("0031", "mallory@example.net")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_called_json_or_is_none_goes_to_nobody() {
    let (world, raw) = world().await;
    let helpdesk = world.client("helpdesk");
    let types = [
        "content-type: text/plain",
        "content-type: text/html; charset=utf-8",
        "content-type: application/xml",
        "content-type: text/csv",
        "content-type: application/pdf",
        "content-type: application/x-ndjson",
        "content-type: application/javascript",
        "content-type: text/event-stream",
        "content-type: multipart/mixed; boundary=x",
        "content-type: application/octet-stream",
        "content-type: application/json, text/html",
        "content-type: application/json\r\ncontent-type: text/html",
        "content-type: application/json; charset=utf-16",
        "x-content-type: application/json",
    ];
    let utf16: Vec<u8> = ada().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin1 = ada().replace("A \\u00c4", "A \u{1}").into_bytes().into_iter().map(|byte| if byte == 1 { 0xc4 } else { byte }).collect();
    let text = |text: String| text.into_bytes();
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("UTF-16", utf16.clone()),
        ("UTF-16 with its mark", [vec![0xff, 0xfe], utf16].concat()),
        ("UTF-8 with a mark", [b"\xef\xbb\xbf".to_vec(), text(ada())].concat()),
        ("Latin-1", latin1),
        ("two documents", text(format!("{}{}", ada(), ada()))),
        ("two lines", text(format!("{}\n{}", ada(), ada()))),
        ("JSONP", text(format!("callback({})", ada()))),
        ("a guard against scripts", text(format!(")]}}',\n{}", ada()))),
        ("an event", text(format!("data: {}\n\n", ada()))),
        ("half of it", text(ada().strip_suffix('}').unwrap().to_owned())),
        ("single quotes", text(ada().replace('"', "'"))),
        ("a comma too many", text(ada().replace('}', ",}"))),
        ("a raw line feed in a text", text(ada().replace("A \\u00c4", "A\nB"))),
        ("half a pair", text(ada().replace("\\u00c4", "\\ud800"))),
        ("nothing", Vec::new()),
        ("a text", b"\"mallory@example.net\"".to_vec()),
        ("a number", b"31".to_vec()),
        ("null", b"null".to_vec()),
        ("an empty list", b"[]".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("a list with it", text(format!("[{}]", ada()))),
        ("it under another name", text(format!("{{\"data\":{}}}", ada()))),
    ];
    for name in types {
        raw.on(CARD, response("200 OK", &[name], ada()));
        let answer = helpdesk.get("/plain/cards/0031").purpose(SUPPORT).await;
        assert_eq!((502, "upstream-unreadable"), (answer.status.as_u16(), answer.code().as_str()), "{name}");
    }
    for (what, body) in bodies {
        raw.on(CARD, json(&[], body));
        let answer = helpdesk.get("/plain/cards/0031").purpose(SUPPORT).await;
        assert_eq!((502, "upstream-unreadable"), (answer.status.as_u16(), answer.code().as_str()), "{what}");
    }
    raw.on(CARD, json(&[], ada()));
    helpdesk.get("/plain/cards/0031").purpose(SUPPORT).await.released(200, &card_whole("0031", "mallory@example.net"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_by_other_names_and_in_other_forms_stay_behind() {
    let (world, raw) = world().await;
    let helpdesk = world.client("helpdesk");
    // Only what the shape names, exactly; what a text says is a text.
    for (body, released) in [
        (r#"{"id":"0031","Email":"mallory","EMAIL":"mallory","email":"a@example.net"}"#, r#"{"id":"0031","email":"a@example.net"}"#),
        (r#"{"id":"0031","ID":"0044","email":"a@example.net","email ":"mallory"}"#, r#"{"id":"0031","email":"a@example.net"}"#),
        (r#"{"id":"0031","em\u0061il":"a@example.net","leadScor\u0065":"mallory"}"#, r#"{"id":"0031","em\u0061il":"a@example.net"}"#),
        (r#"{"id":"0031","phone":"1","_embedded":{"email":"mallory"},"all":"{\"email\":\"mallory\"}"}"#, r#"{"id":"0031","phone":"1"}"#),
        (r#"{"id":"0031","email":"a@example.net","__proto__":{"leadScore":"mallory"},"":"mallory"}"#, r#"{"id":"0031","email":"a@example.net"}"#),
    ] {
        raw.on(CARD, json(&[], body));
        helpdesk.get("/plain/cards/0031").purpose(SUPPORT).await.released(200, released);
    }
    // What is not mapped does not become so by standing where something mapped is expected.
    for body in [
        r#"{"id":"0031","phone":"1","email":{"leadScore":"mallory"}}"#,
        r#"{"id":"0031","phone":"1","email":[{"leadScore":"mallory"}]}"#,
        r#"{"id":"0031","phone":"1","leadScore":{"email":"mallory"}}"#,
    ] {
        raw.on(CARD, json(&[], body));
        let answer = helpdesk.get("/plain/cards/0031").purpose(SUPPORT).await;
        assert!(answer.status == 200 && answer.text().contains("\"phone\":\"1\"") && !answer.text().contains("mallory"), "{body}: {answer:?}");
    }
    // Which of two would be meant is a matter of the reader's.
    for body in [
        r#"{"id":"0031","id":"0044","email":"mallory"}"#,
        r#"{"id":"0031","email":"a","em\u0061il":"mallory"}"#,
        r#"{"id":"0031","email":"a","other":{"a":1,"a":2}}"#,
    ] {
        raw.on(CARD, json(&[], body));
        helpdesk.get("/plain/cards/0031").purpose(SUPPORT).await.refused(502, "upstream-unreadable");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_caller_got_is_kept_for_nobody() {
    let (world, raw) = world().await;
    raw.on(CARD, json(&["cache-control: public, max-age=3600", "vary: accept", "etag: \"1\"", "expires: Thu, 01 Jan 2032 00:00:00 GMT"], ada()));
    let (helpdesk, crm) = (world.client("helpdesk"), world.client("crm"));
    for _ in 0..2 {
        let answer = helpdesk.get("/plain/cards/0031").purpose(SUPPORT).await;
        answer.released(200, &card_whole("0031", "mallory@example.net"));
        assert_eq!(Some("private, no-store"), answer.header("cache-control"));
        // The same URL for somebody else is somebody else's question.
        crm.get("/plain/cards/0031").purpose("sales.outreach").await.refused(403, "denied");
    }
    assert_eq!(2, raw.take().len(), "each answer is the upstream's own, and the refused are not asked for");
    world.finish().await;
}
