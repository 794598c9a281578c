//! Rows 118 to 123: what belongs to operators is not where apps are, and opens to nobody but staff, who are slowed when they guess.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::heard::Due::Denied;
use super::heard::{Witness, say};
use crate::harness::{World, entries, gateway};

/// Refusals of an operation in the log, once there are so many: nobody waits until they are written.
async fn refusals(world: &World, operation: &str, wanted: usize) -> usize {
    let told = || entries(&world.log_dir()).iter().filter(|e| e.kind() == "admin" && e.resolved["operation"] == operation).count();
    for _ in 0..200 {
        if told() >= wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    told()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_declared_apis_is_on_the_data_listener() {
    let world = gateway().start().await;
    let client = world.client("helpdesk");
    let mut witness = Witness::of(&world);
    for target in [
        "/metrics",
        "/livez",
        "/readyz",
        "/healthz",
        "/health",
        "/status",
        "/server-status",
        "/debug",
        "/debug/pprof/",
        "/debug/vars",
        "/actuator/env",
        "/actuator/heapdump",
        "/trace",
        "/config",
        "/env",
        "/admin",
        "/admin/",
        "/console",
        "/v1/parties/crm:0031",
        "/v1/consents",
        "/v1/decisions",
        "/v1/policies",
        "/v1/restrictions",
        "/v1/withdrawal-links",
        "/v1/check/",
        "/openapi.json",
        "/log/checkpoint",
        "/withdraw/x",
        "/.well-known/openid-configuration",
        "/.git/config",
        "/robots.txt",
        "/crm/metrics",
        "/crm/v1/decisions",
    ] {
        let head = "host: localhost\r\ndata-purpose: service-provision.support\r\nconnection: close\r\n";
        let heard = say(&client, format!("GET {target} HTTP/1.1\r\n{head}\r\n")).await;
        witness.sees(target, &heard, Denied(404, "route-not-declared"));
    }
    witness.leaves().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_opens_to_no_token_of_the_data_plane_and_to_no_foreign_page() {
    let world = gateway().start().await;
    // Shown with a certificate of staff that holds no role by itself: a token of an app's, bound to that app.
    let read = async |client: crate::harness::Client| client.get("/v1/decisions?app=crm").await.status.as_u16();
    assert_eq!(200, read(world.staff("auditor")).await);
    assert_eq!(200, read(world.person("anna", "auditors")).await);
    for claims in [json!({}), json!({ "roles": ["auditors"] }), json!({ "roles": ["auditors"], "azp": "console" })] {
        assert_eq!(401, read(world.staff("app-developer").token(world.token("crm", &claims))).await, "{claims}");
        // Nor does it take a role away from a certificate without being refused itself.
        assert_eq!(401, read(world.staff("auditor").token(world.token("crm", &claims))).await, "{claims}");
    }
    assert_eq!(401, read(world.staff("auditor").token("not.a.token".to_owned())).await);
    assert_eq!(403, read(world.person("anna", "somebody")).await);
    assert_eq!(403, read(world.staff("app-developer")).await);

    let desk = world.staff("consent-desk");
    let body = json!({ "party": "crm:0058", "evidence": [{ "kind": "letter", "reference": "l" }] }).to_string();
    let send = || desk.ask(Method::POST, "/v1/restrictions").body(body.as_bytes());
    let changes = || entries(&world.log_dir()).iter().filter(|entry| entry.resolved["state"] == "restriction").count();
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost"),
        ("origin", "https://localhost.evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = send().header("content-type", "application/json").header(name, value).await;
        assert_eq!((403, "cross-site"), (answer.status.as_u16(), answer.code().as_str()), "{name}: {value}");
        assert_eq!(None, answer.header("access-control-allow-origin"));
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "application/json; charset=utf-7"] {
        assert_eq!(415, send().header("content-type", content_type).await.status.as_u16(), "{content_type}");
    }
    assert_eq!(405, desk.ask(Method::OPTIONS, "/v1/restrictions").header("origin", "https://evil.example").await.status.as_u16());
    assert_eq!(0, changes(), "nothing of this was done");
    assert_eq!(10, refusals(&world, "restrictions.add", 10).await, "each refusal is an entry");
    assert!(send().header("content-type", "application/json").header("origin", "https://localhost").await.status.is_success());
    assert_eq!(1, changes());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_is_slowed_and_nobody_else() {
    let world = gateway().start().await;
    let auditor = world.staff("auditor");
    let mut statuses = Vec::new();
    for guess in 0..130 {
        statuses.push(auditor.get(&format!("/v1/parties/crm:{guess:04}x")).await.status.as_u16());
    }
    // A minute may end in between.
    assert!(statuses.contains(&429) && statuses.iter().filter(|status| **status != 429).count() >= 120, "{statuses:?}");
    assert!(statuses.iter().all(|status| (400..500).contains(status)), "{statuses:?}");
    assert_eq!(200, world.staff("consent-desk").get("/v1/parties/crm:0031").await.status.as_u16());
    let guessed = statuses.iter().filter(|status| **status != 429).count();
    assert_eq!(guessed, refusals(&world, "parties.show", guessed).await, "each guess is an entry");
    world.finish().await;
}
