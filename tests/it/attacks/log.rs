//! Row 114: whatever somebody writes where the log keeps it, an entry stays one line of visible characters, and one entry.

use http::Method;
use serde_json::json;

use super::heard::Due::{Denied, Malformed, Rejected};
use super::heard::{Witness, say};
use crate::harness::people::card;
use crate::harness::{entries, gateway};

/// What ends a line, acts on a terminal, or ends a text in somebody's reader.
const HOSTILE: &[&str] = &[
    "a\nb",
    "a\r\n{\"kind\":\"permit\",\"v\":1}",
    "\u{1b}[2J\u{1b}[31mred",
    "\u{9b}31m",
    "nul\0nul",
    "a\u{2028}b\u{2029}c",
    "\u{202e}txet\u{2066}",
    "\u{feff}bom",
    "quote\" , \"outcome\":\"permit",
    "back\\slash\\u000a",
    "</script><script>alert(1)</script>",
    "=cmd|' /C calc'!A1",
    "${jndi:ldap://example.net/a}",
    "%0a%1b[31m",
    "\u{fffd}\u{1f600}",
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_somebody_writes_ends_an_entry_or_acts_on_its_reader() {
    let world = gateway().start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    let desk = world.staff("consent-desk");
    let mut taken = 0;
    for hostile in HOSTILE {
        let before = entries(&world.log_dir()).len();
        let body = json!({ "party": "crm:0058", "reason": hostile, "evidence": [{ "kind": hostile, "reference": hostile }] });
        let answer = desk.ask(Method::POST, "/v1/restrictions").json(&body.to_string()).await;
        let new: Vec<_> = entries(&world.log_dir()).split_off(before).into_iter().filter(|entry| entry.kind() != "dict").collect();
        let changes = new.iter().filter(|entry| entry.resolved["state"] == "restriction").count();
        assert_eq!(usize::from(answer.status.is_success()), changes, "{hostile:?}: {answer:?}");
        assert!(answer.status.is_success() || answer.status.is_client_error(), "{hostile:?}: {answer:?}");
        taken += changes;
    }
    assert!(taken > 4, "most of it is text like any other: {taken}");
    // Callers write nothing there that is not a word of the configuration.
    let helpdesk = world.client("helpdesk");
    for hostile in HOSTILE.iter().filter(|text| text.bytes().all(|b| (b' '..=b'~').contains(&b))) {
        let ask = || helpdesk.get("/crm/cards/0031").header("user-agent", hostile).header("traceparent", hostile).header("x-request-id", hostile);
        let answer = ask().purpose("service-provision.support").await;
        assert_eq!(200, answer.status.as_u16(), "{hostile:?}");
        ask().purpose(hostile).await.refused(403, "purpose-not-registered");
    }
    world.upstream.take();
    let mut witness = Witness::of(&world);
    let head = "GET /crm/cards/0031 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    let heard = say(&helpdesk, format!("{head}data-purpose: a\x1b[31m\r\n\r\n")).await;
    witness.sees("an escape in a header", &heard, Malformed(400));
    let heard = say(&helpdesk, format!("{head}data-purpose: \u{2028}\r\n\r\n")).await;
    witness.sees("a separator in a header", &heard, Denied(403, "purpose-not-registered"));
    let heard = say(&helpdesk, format!("{head}authorization: Bearer \u{2028}\"\r\n\r\n")).await;
    witness.sees("a separator in a token", &heard, Rejected(401, "token-invalid"));
    witness.leaves().await;
    // As text it is whole again, and what shows it on a terminal shows no control character.
    let root = world.root().to_owned();
    let (exit, shown) = world.consentry_as("auditor", &["audit", "search", "--kind", "consent_changed"]);
    assert!(exit == 0 && shown.contains("restriction"), "{shown}");
    let shown = format!("{shown}{}", world.consentry_as("auditor", &["audit", "verify", root.join("log").to_str().unwrap()]).1);
    let acts = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
    assert!(!shown.chars().any(acts), "{shown:?}");
    world.finish().await;
}
