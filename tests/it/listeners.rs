//! The listeners beside each other over real TLS: what is served where, to whom, and what never shows.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use consentry::cli::demo::{AppClient, Reply};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use crate::process::{MINA, MINAS, QUOTE, Site, UNKNOWN, code, index, post, text};

const ROLES: [&str; 5] = ["auditor", "consent-desk", "policy-author", "app-developer", "operator"];

impl Site {
    fn get(&self, client: &AppClient, at: std::net::SocketAddr, path: &str) -> anyhow::Result<Reply> {
        self.block(client.send(Method::GET, &format!("https://{at}{path}"), HeaderMap::new(), ""))
    }
}

#[test]
fn admin_paths_are_on_the_admin_listener_only() {
    let site = Site::new();
    let _gateway = site.start();
    let (app, at) = (site.app("crm"), site.addresses);
    for path in ["/v1/parties/crm:0044", "/v1/consents", "/v1/decisions", "/v1/policies", "/openapi.json", "/readyz", "/livez", "/metrics"] {
        let reply = site.get(&app, at.apps, path).unwrap();
        assert_eq!((reply.status.as_u16(), code(&reply).as_str()), (404, "route-not-declared"), "{path}");
    }
    // The capture listener records consent and shows nothing.
    for path in ["/v1/parties/crm:0044", "/v1/decisions", "/v1/policies", "/readyz", "/metrics"] {
        assert_eq!(site.get(&app, at.capture, path).unwrap().status, 404, "{path}");
    }
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/metrics", 200), ("/v1/decisions", 404), ("/openapi.json", 404), ("/", 404)] {
        assert_eq!(site.health(path).0, status, "{path}");
    }
}

#[test]
fn certificates_of_one_listener_open_no_other() {
    let site = Site::new();
    let _gateway = site.start();
    let at = site.addresses;
    for app in ["crm", "preference-centre", "sales-copilot"] {
        assert!(site.get(&site.app(app), at.admin, "/livez").is_err(), "`{app}` must not get through the handshake of admin");
    }
    for role in ROLES {
        let staff = site.staff(role);
        for listener in [at.apps, at.capture] {
            assert!(site.get(&staff, listener, "/crm/about").is_err(), "`{role}` must not get through the handshake of apps and capture");
        }
        assert_eq!(site.get(&staff, at.admin, "/livez").unwrap().status, 200, "{role}");
    }
}

#[test]
fn each_role_may_do_its_own_and_nothing_else() {
    let site = Site::new();
    let _gateway = site.start();
    site.prepare();
    let decision = format!("/v1/decisions/-/{}", index(&site.read(MINAS)).unwrap());
    let of_agent = {
        let copilot = site.app("sales-copilot");
        let refused = site.block(crate::process::read(&copilot, site.addresses.apps, QUOTE, "sales.outreach")).unwrap();
        index(&refused).map(|index| format!("/v1/decisions/-/{index}"))
    };
    let question = json!({ "method": "GET", "url": MINAS, "app": "crm", "purpose": "sales.outreach" });
    let stop = json!({ "party": "crm:0058", "kind": "objection" });
    // (what, body, who may)
    let matrix: [(&str, Option<&Value>, &[&str]); 9] = [
        ("/v1/parties/crm:0044", None, &["consent-desk", "auditor"]),
        ("/v1/consents?party=crm:0044", None, &["consent-desk", "auditor"]),
        ("/v1/objections", Some(&stop), &["consent-desk"]),
        ("/v1/decisions?app=crm", None, &["auditor"]),
        (&decision, None, &["auditor", "app-developer"]),
        ("/v1/explain", Some(&question), &["policy-author"]),
        ("/v1/policies", None, &["policy-author"]),
        ("/v1/purposes", None, &ROLES),
        ("/v1/activities", None, &ROLES),
    ];
    for role in ROLES {
        let staff = site.staff(role);
        for (path, body, allowed) in matrix {
            let reply = match body {
                Some(body) => site.block(post(&staff, site.addresses.admin, path, body)),
                None => site.get(&staff, site.addresses.admin, path).unwrap(),
            };
            if allowed.contains(&role) {
                assert!(reply.status.is_success(), "`{role}` may `{path}`: {} {}", reply.status, text(&reply));
            } else {
                assert_eq!((reply.status.as_u16(), code(&reply).as_str()), (403, "role-missing"), "`{role}` may not `{path}`");
            }
        }
    }
    // A developer sees the decisions of the one app that the configuration names.
    if let Some(path) = of_agent {
        let reply = site.get(&site.staff("app-developer"), site.addresses.admin, &path).unwrap();
        assert!(reply.status.is_client_error(), "{}", text(&reply));
    }
    // Identifiers are shown in full to the consent desk only.
    let shown = |role| text(&site.get(&site.staff(role), site.addresses.admin, "/v1/parties/crm:0044").unwrap());
    assert!(shown("consent-desk").contains("mina.okafor@example.net"));
    assert!(!shown("auditor").contains("mina.okafor@example.net"), "{}", shown("auditor"));
    // Refusals and searches are evidence, too.
    site.log_until(|entries| {
        let refused = entries.iter().filter(|entry| entry["kind"] == "admin" && entry["status"] == 403).count();
        refused >= 20 && entries.iter().any(|entry| entry["kind"] == "query" && entry["role"] == "auditor")
    });
}

#[test]
fn openapi_documents_describe_what_is_served() {
    let site = Site::new();
    let _gateway = site.start();
    let at = site.addresses;
    let admin: Value = site.get(&site.staff("operator"), at.admin, "/openapi.json").unwrap().json().unwrap();
    let capture: Value = site.get(&site.app("preference-centre"), at.capture, "/openapi.json").unwrap().json().unwrap();
    let paths = |document: &Value| document["paths"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    for document in [&admin, &capture] {
        assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{document}");
        // No reference leads nowhere.
        let whole = document.to_string();
        for reference in whole.split("\"$ref\":\"#/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(&format!("/{reference}")).is_some(), "`{reference}`");
        }
    }
    for path in ["/v1/consents", "/v1/parties/{id}", "/v1/decisions", "/v1/objections", "/v1/explain", "/readyz"] {
        assert!(paths(&admin).contains(path), "`{path}` is not in {:?}", paths(&admin));
    }
    assert!(paths(&capture).contains("/v1/consents") && !paths(&capture).contains("/v1/decisions"), "{:?}", paths(&capture));
    // Every read that needs nothing but a role is really there.
    let auditor = site.staff("auditor");
    for (path, methods) in admin["paths"].as_object().unwrap() {
        // There is no bundle where the folder is unsigned.
        if methods.get("get").is_some() && !path.contains('{') && path != "/v1/policy-bundle" {
            assert_ne!(site.get(&auditor, at.admin, path).unwrap().status, 404, "{path}");
        }
    }
}

#[test]
fn metrics_count_without_identities() {
    let site = Site::new();
    let _gateway = site.start();
    site.prepare();
    site.say(MINA, "given");
    assert_eq!(site.read(MINAS).status, 200);
    assert_eq!(site.read(UNKNOWN).status, 403);
    let stranger = HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer mina.okafor@example.net"))]);
    let url = format!("https://{}{MINAS}", site.addresses.apps);
    assert_eq!(site.block(site.app("crm").send(Method::GET, &url, stranger, "")).unwrap().status, 401);

    let (status, metrics) = site.health("/metrics");
    assert_eq!(status, 200);
    for line in [
        "consentry_decisions_total{outcome=\"redact\"} 1",
        "consentry_decisions_total{outcome=\"deny\"} 1",
        "consentry_rejects_total{code=\"token-invalid\"} 1",
        "consentry_request_duration_seconds_count{outcome=\"redact\"} 1",
        "consentry_request_duration_seconds_count{outcome=\"deny\"} 1",
        "consentry_upstream_requests_total{upstream=\"crm\",result=\"2xx\"} 1",
        "consentry_upstream_duration_seconds_count{upstream=\"crm\"} 1",
        "consentry_requests_in_flight 0",
        "consentry_ready 1",
        "consentry_check_state{check=\"audit\"} 0",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "`{line}` is not in\n{metrics}");
    }
    conforms(&metrics);
    for secret in ["0044", "9999", "okafor", "Okafor", "spiffe", "Bearer", "party", "127.0.0.1"] {
        assert!(!metrics.contains(secret), "`{secret}` is in\n{metrics}");
    }
    let (_, ready) = site.health("/readyz");
    for secret in ["0044", "okafor", "spiffe", site.path().to_str().unwrap()] {
        assert!(!ready.contains(secret), "`{secret}` is in {ready}");
    }
}

/// Prometheus' own linter reads the older text form, where a counter's family is named like its samples.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn conforms(metrics: &str) {
    let counters: Vec<&str> = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let older: String = metrics
        .lines()
        .filter(|line| {
            !line.starts_with("# UNIT")
                && *line != "# EOF"
                && !line.contains("_info")
                && !line.ends_with(" info")
                && !line.contains("# HELP consentry_build ")
        })
        .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            ["#", word, name, ..] if counters.contains(&name) => {
                line.replacen(&format!("# {word} {name}"), &format!("# {word} {name}_total"), 1) + "\n"
            }
            _ => line.to_owned() + "\n",
        })
        .collect();
    let linter = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut linter) = linter else {
        eprintln!("skipped: promtool is not installed");
        return;
    };
    linter.stdin.take().unwrap().write_all(older.as_bytes()).unwrap();
    let said = linter.wait_with_output().unwrap();
    assert!(said.status.success(), "{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
}
