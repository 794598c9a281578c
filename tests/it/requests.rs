//! What is refused before anybody's data is thought of: requests that two parsers may read differently, and callers who do
//! not say who they are.

use serde_json::json;

use crate::harness::people::{card, card_whole};
use crate::harness::{Client, gateway};

const SUPPORT: &str = "service-provision.support";

/// Status and problem code of a raw answer.
async fn status(client: &Client, request: &str) -> (u16, String) {
    let answer = client.raw(request.as_bytes()).await;
    let code = answer.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    (answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default(), code.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_parsers_may_read_differently_is_refused() {
    let world = gateway().start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    let client = world.client("helpdesk");
    let good = "host: localhost\r\ndata-purpose: service-provision.support\r\nconnection: close\r\n";
    let plain = format!("GET /crm/cards/0031 HTTP/1.1\r\n{good}\r\n");
    assert_eq!((200, String::new()), status(&client, &plain).await);
    assert_eq!(1, world.upstream.asked().len());
    let ambiguous = [
        "/crm/../crm/cards/0031",
        "/crm/cards/./0031",
        "/crm/cards/%2e%2e/cards/0031",
        "/crm//cards/0031",
        "/crm/cards/0031/..;/0058",
        "/crm/cards%2f0031",
        "/crm/cards/00%3331%00",
        "/crm/cards/0031;v=1",
        "/crm/cards\\0031",
        "/crm/cards/%zz31",
        "/crm/cards/0031?a=%ff",
    ];
    for target in ambiguous {
        let got = status(&client, &format!("GET {target} HTTP/1.1\r\n{good}\r\n")).await;
        assert!(got.0 == 400 || got.0 == 404 && target.contains(".."), "{target}: {got:?}");
    }
    let cases = [
        ("two hosts", format!("GET /crm/cards/0031 HTTP/1.1\r\nhost: localhost\r\n{good}\r\n"), 400),
        ("no host", "GET /crm/cards/0031 HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(), 400),
        ("another host", "GET /crm/cards/0031 HTTP/1.1\r\nhost: example.net\r\nconnection: close\r\n\r\n".to_owned(), 421),
        ("two hosts in two places", format!("GET https://example.net/crm/cards/0031 HTTP/1.1\r\n{good}\r\n"), 400),
        ("credentials in the target", format!("GET https://a@localhost/crm/cards/0031 HTTP/1.1\r\n{good}\r\n"), 400),
        ("HTTP/1.0", format!("GET /crm/cards/0031 HTTP/1.0\r\n{good}\r\n"), 505),
        ("a tunnel", format!("CONNECT localhost:443 HTTP/1.1\r\n{good}\r\n"), 405),
        ("an echo", format!("TRACE /crm/cards/0031 HTTP/1.1\r\n{good}\r\n"), 405),
        ("an unknown method", format!("PURGE /crm/cards/0031 HTTP/1.1\r\n{good}\r\n"), 501),
        ("a method in lower case", format!("get /crm/cards/0031 HTTP/1.1\r\n{good}\r\n"), 501),
        ("a body of a GET", format!("GET /crm/cards/0031 HTTP/1.1\r\n{good}content-length: 2\r\n\r\n{{}}"), 400),
        ("two lengths", format!("PATCH /crm/cards/0031 HTTP/1.1\r\n{good}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"), 400),
        ("an unknown framing", format!("PATCH /crm/cards/0031 HTTP/1.1\r\n{good}transfer-encoding: gzip\r\n\r\n"), 400),
        ("an unknown expectation", format!("GET /crm/cards/0031 HTTP/1.1\r\n{good}expect: miracles\r\n\r\n"), 417),
        ("a folded header", format!("GET /crm/cards/0031 HTTP/1.1\r\nx-a: b\r\n c\r\n{good}\r\n"), 400),
        ("a name with a blank", format!("GET /crm/cards/0031 HTTP/1.1\r\nx-a : b\r\n{good}\r\n"), 400),
        ("too long", format!("GET /crm/cards/{} HTTP/1.1\r\n{good}\r\n", "0".repeat(9000)), 414),
    ];
    for (what, request, expected) in cases {
        assert_eq!(expected, status(&client, &request).await.0, "{what}");
    }
    assert!(world.upstream.asked().is_empty(), "nothing of this was sent on");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_who_its_certificate_and_its_token_both_say() {
    let world = gateway().start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    let ask = async |client: Client| client.get("/crm/cards/0031").purpose("service-provision").await;
    let whole = card_whole("0031", "a@example.net");
    ask(world.client("crm")).await.released(200, &whole);
    ask(world.client("crm").token(world.token("crm", &json!({})))).await.released(200, &whole);
    let cases = [
        ("of another issuer", json!({ "iss": "https://login.example.net/" })),
        ("for another audience", json!({ "aud": "https://elsewhere" })),
        ("for two audiences", json!({ "aud": ["https://localhost", "https://elsewhere"] })),
        ("run out", json!({ "exp": 1_700_000_000 })),
        ("without an end", json!({ "exp": null })),
        ("not bound", json!({ "cnf": {} })),
        ("of another app", json!({ "azp": "helpdesk" })),
        ("of nobody", json!({ "azp": "unregistered" })),
    ];
    for (what, claims) in cases {
        let answer = ask(world.client("crm").token(world.token("crm", &claims))).await;
        assert_eq!((401, "token-invalid"), (answer.status.as_u16(), answer.code().as_str()), "{what}");
        assert_eq!(None, answer.decision(), "{what}");
    }
    ask(world.client("crm").token("not.a.token".to_owned())).await.refused(401, "token-invalid");
    // Bound to another certificate than the one of this connection.
    let stolen = world.token("sales-copilot", &json!({ "azp": "crm" }));
    ask(world.client("crm").token(stolen)).await.refused(401, "token-invalid");
    // An app that only records consent has no purposes here.
    world.client("preference-centre").get("/crm/cards/0031").purpose(SUPPORT).await.refused(403, "purpose-not-registered");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_connection_are_answered_beside_each_other() {
    let world = gateway().start().await;
    let client = world.client("helpdesk").http2();
    for id in ["0031", "0058", "0012"] {
        world.upstream.json(&format!("GET /cards/{id}"), &card(id, "a@example.net"));
    }
    let ask = async |id: &str| client.get(&format!("/crm/cards/{id}")).purpose(SUPPORT).await;
    ask("0031").await.released(200, &card_whole("0031", "a@example.net"));
    for _ in 0..10 {
        let (ada, lead, jonas, unknown) = tokio::join!(ask("0031"), ask("0044"), ask("0012"), ask("9999"));
        ada.released(200, &card_whole("0031", "a@example.net"));
        jonas.released(200, &card_whole("0012", "a@example.net"));
        assert_eq!(lead.anonymous(), unknown.anonymous());
    }
    assert_eq!(1, client.opened());
    world.finish().await;
}
