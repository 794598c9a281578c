//! Rows 1 to 17: targets that two parsers may read differently are refused, and what has one reading reaches the API in its one
//! spelling, byte for byte.

use super::heard::Due::{Denied, Malformed, Rejected, Sent};
use super::heard::{Due, Witness, say};
use crate::harness::people::card;
use crate::harness::{World, gateway};

/// Beside the house's: ids whose letters count, and ids that may hold what ends a path or a query.
const APIS: &str = concat!(
    include_str!("../harness/apis.toml"),
    r#"
[ids.badge]
grammar = "[A-Za-z]{4}"

[shape.badge]
ids = "badge"
customer = "badge"
open = ["badge"]
[shape.badge.fields]
"name" = "identity"

[shape.person]
ids = "email"
customer = "mail"
open = ["mail"]
[shape.person.fields]
"name" = "identity"

[[api]]
name = "odd"
owner = "marketing"
at = "/odd"
upstream = "house"
[[api.route]]
match = "GET /badges/{badge}"
customer = "path:badge"
response = { shape = "badge" }
[[api.route]]
match = "GET /people/{mail}"
customer = "path:mail"
response = { shape = "person" }
"#
);

async fn world() -> World {
    let world = gateway()
        .apis(APIS)
        .parties("badge:AbCd,person,customer,standard,adult\nemail:odd?#one@example.net,person,customer,standard,adult\n")
        .start()
        .await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    world.upstream.json("GET /badges/AbCd", r#"{"badge":"AbCd","name":"A"}"#);
    world.upstream.json("GET /people/odd%3F%23one@example.net", r#"{"mail":"odd?#one@example.net","name":"A"}"#);
    world
}

const CARD: Due = Sent("GET /cards/0031");
const TWO_WAYS: Due = Rejected(400, "ambiguous-request");
const NO_ID: Due = Denied(400, "ambiguous-request");
const NOWHERE: Due = Denied(404, "route-not-declared");
const NOBODY: Due = Denied(403, "denied");

/// (row, target, what becomes of it)
const TARGETS: &[(u8, &[u8], Due)] = &[
    (0, b"/crm/cards/0031", CARD),
    // Encoded separators.
    (1, b"/crm/cards%2f0031", TWO_WAYS),
    (1, b"/crm/cards%2F0031", TWO_WAYS),
    (1, b"/crm%2fcards/0031", TWO_WAYS),
    (1, b"/crm/cards/0058%2f..%2f0031", TWO_WAYS),
    (1, b"/crm/cards%5c0031", TWO_WAYS),
    (1, b"/crm/cards/0058/..%5C0031", TWO_WAYS),
    // Dot segments.
    (2, b"/crm/../crm/cards/0031", TWO_WAYS),
    (2, b"/crm/cards/0058/../0031", TWO_WAYS),
    (2, b"/crm/cards/./0031", TWO_WAYS),
    (2, b"/crm/cards/0031/.", TWO_WAYS),
    (2, b"/crm/cards/0031/..", TWO_WAYS),
    (2, b"/..", TWO_WAYS),
    // The same, encoded in part or whole.
    (3, b"/crm/cards/0058/%2e%2e/0031", TWO_WAYS),
    (3, b"/crm/cards/0058/.%2e/0031", TWO_WAYS),
    (3, b"/crm/cards/0058/%2E./0031", TWO_WAYS),
    (3, b"/crm/cards/%2e/0031", TWO_WAYS),
    // Encoded twice and three times.
    (4, b"/crm/cards/0058/%252e%252e/0031", TWO_WAYS),
    (4, b"/crm/cards%252f0031", TWO_WAYS),
    (4, b"/crm/cards%25252f0031", TWO_WAYS),
    (4, b"/crm/cards/%2530031", TWO_WAYS),
    (4, b"/crm/cards/0031%25", TWO_WAYS),
    // Empty segments.
    (5, b"//crm/cards/0031", TWO_WAYS),
    (5, b"/crm//cards/0031", TWO_WAYS),
    (5, b"/crm/cards//0031", TWO_WAYS),
    (5, b"/crm/cards/0031//", TWO_WAYS),
    (5, b"//", TWO_WAYS),
    // Parameters of segments.
    (6, b"/crm/cards/0031;v=1", TWO_WAYS),
    (6, b"/crm/cards/0031;", TWO_WAYS),
    (6, b"/crm;a=b/cards/0031", TWO_WAYS),
    (6, b"/crm/cards/0058/..;/0031", TWO_WAYS),
    (6, b"/crm/cards/0031%3b", TWO_WAYS),
    // Backslashes.
    (7, b"/crm\\cards\\0031", TWO_WAYS),
    (7, b"/crm/cards/0031\\", TWO_WAYS),
    (7, b"\\crm\\cards\\0031", Malformed(400)),
    // Letter case.
    (8, b"/CRM/cards/0031", NOWHERE),
    (8, b"/crm/Cards/0031", NOWHERE),
    (8, b"/odd/badges/AbCd", Sent("GET /badges/AbCd")),
    (8, b"/odd/badges/abcd", NOBODY),
    (8, b"/odd/badges/ABCD", NOBODY),
    // What stands behind an id.
    (9, b"/crm/cards/0031.", NO_ID),
    (9, b"/crm/cards/0031.json", NO_ID),
    (9, b"/crm/cards/0031%20", NO_ID),
    (9, b"/crm/cards/%200031", NO_ID),
    (9, b"/crm/cards/0031~", NO_ID),
    (9, b"/crm/cards/0031/", NOWHERE),
    // Ordinary letters in disguise.
    (10, b"/%63rm/c%61rds/%30%30%33%31", CARD),
    (10, b"/crm/cards/003%31", CARD),
    (10, b"/odd/badges/%41bC%64", Sent("GET /badges/AbCd")),
    // Overlong and wide forms.
    (11, b"/crm/cards/%c0%ae%c0%ae/0031", TWO_WAYS),
    (11, b"/crm/cards%c0%af0031", TWO_WAYS),
    (11, b"/crm/cards%e0%80%af0031", TWO_WAYS),
    (11, b"/crm/cards/003%ef%bc%91", TWO_WAYS),
    (11, b"/crm/cards/003%d9%a1", TWO_WAYS),
    (11, b"/crm/cards/%u00300031", TWO_WAYS),
    (11, b"/crm/cards/003\xef\xbc\x91", TWO_WAYS),
    (11, b"/crm/cards/003\xff", Malformed(400)),
    (11, b"/crm/cards/0031?lang=%c0%ae", TWO_WAYS),
    // Control characters.
    (12, b"/crm/cards/0031%00", TWO_WAYS),
    (12, b"/crm/cards/%00/0031", TWO_WAYS),
    (12, b"/crm/cards/0031%09", TWO_WAYS),
    (12, b"/crm/cards/0031%0a", TWO_WAYS),
    (12, b"/crm/cards/0031%0d%0aX-Injected:%201", TWO_WAYS),
    (12, b"/crm/cards/0031%7f", TWO_WAYS),
    (12, b"/crm/cards/0031?lang=%0d%0a", TWO_WAYS),
    (12, b"/crm/cards/0031\x00", Malformed(400)),
    (12, b"/crm/cards/0031\t", Malformed(400)),
    (12, b"/crm/cards/00\r31", Malformed(400)),
    (12, b"/crm/cards/00\n31", Malformed(400)),
    (12, b"/crm/cards/0031\x1b[31m", Malformed(400)),
    // Fragments, which no request has.
    (13, b"/crm/cards/0031#/../0058", Malformed(400)),
    (13, b"/crm/cards/0031#?customer=0058", Malformed(400)),
    (13, b"/crm/cards/#0031", Malformed(400)),
    (13, b"/crm/cards/0031%23", NO_ID),
    (13, b"/crm/cards/0031%3flang=de", NO_ID),
    (13, b"/odd/people/odd%3F%23one@example.net", Sent("GET /people/odd%3F%23one@example.net")),
    (13, b"/odd/people/odd%3f%23one%40example.net", Sent("GET /people/odd%3F%23one@example.net")),
    (13, b"/odd/people/odd%3F", NO_ID),
    // Targets of other forms.
    (14, b"https://localhost/crm/cards/0031", CARD),
    (14, b"https://LOCALHOST/crm/cards/0031", CARD),
    (14, b"https://localhost:443/crm/cards/0031", TWO_WAYS),
    (14, b"https://example.net/crm/cards/0031", TWO_WAYS),
    (14, b"https://localhost@example.net/crm/cards/0031", TWO_WAYS),
    (14, b"https://example.net@localhost/crm/cards/0031", TWO_WAYS),
    (14, b"localhost:443", TWO_WAYS),
    (14, b"localhost", NOWHERE),
    (14, b"*", TWO_WAYS),
    (14, b"crm/cards/0031", Malformed(400)),
    (14, b"?customer=0031", Malformed(400)),
    // Several ids in one place.
    (15, b"/crm/cards/0031,0058", NO_ID),
    (15, b"/crm/cards/0031%2c0058", NO_ID),
    (15, b"/crm/cards/0031+0058", NO_ID),
    (15, b"/crm/cards/0031&0058", NO_ID),
    (15, b"/crm/cards/0031%0058", TWO_WAYS),
    (15, b"/crm/cards/0031|0058", TWO_WAYS),
    (15, b"/crm/cards/0031%7c0058", NO_ID),
    (15, b"/crm/cards/[0031]", TWO_WAYS),
    (15, b"/crm/cards/*", NO_ID),
    (15, b"/crm/cards/%2a", NO_ID),
    (15, b"/crm/cards/003_", NO_ID),
    // Outside all routes.
    (16, b"/", NOWHERE),
    (16, b"/admin", NOWHERE),
    (16, b"/crm", NOWHERE),
    (16, b"/crm/", NOWHERE),
    (16, b"/crmx/cards/0031", NOWHERE),
    (16, b"/cards/0031", NOWHERE),
    (16, b"/v7/cards/0031", NOWHERE),
    (16, b"/crm/v7/cards/0031", NOWHERE),
    (16, b"/crm/secret/0031", NOWHERE),
    (16, b"/crm/cards/0031/secret", NOWHERE),
    (16, b"/crm/cards/../../admin", TWO_WAYS),
    (16, b"/crm/cards/0031/../../../admin", TWO_WAYS),
];

/// Another host than ours, and the same in both places.
const ELSEWHERE: &str = "GET https://example.net/crm/cards/0031 HTTP/1.1\r\nhost: example.net\r\nconnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_target_has_one_reading_or_is_refused() {
    let world = world().await;
    let client = world.client("helpdesk");
    let mut witness = Witness::of(&world);
    let rest = b" HTTP/1.1\r\nhost: localhost\r\ndata-purpose: service-provision.support\r\nconnection: close\r\n\r\n";
    for (row, target, due) in TARGETS {
        let heard = say(&client, [b"GET ", *target, rest].concat()).await;
        witness.sees(&format!("row {row}: {}", target.escape_ascii()), &heard, *due);
        let shown = String::from_utf8_lossy(target);
        assert!(matches!(due, Sent(_)) || target.len() < 6 || !heard.text.contains(&*shown), "row {row}: the target comes back in {heard:?}");
    }
    witness.sees("row 14: another host", &say(&client, ELSEWHERE).await, Rejected(421, "misdirected"));
    for (length, due) in [(8_000, NO_ID), (8_192, Rejected(414, "uri-too-long")), (60_000, Rejected(414, "uri-too-long"))] {
        let target = format!("/crm/cards/{}", "0".repeat(length));
        let heard = say(&client, [b"GET ", target.as_bytes(), rest].concat()).await;
        witness.sees(&format!("row 17: {length} digits"), &heard, due);
    }
    witness.leaves().await;
    world.finish().await;
}
