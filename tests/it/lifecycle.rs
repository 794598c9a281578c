//! Reload and drain: what changes while the gateway runs, what cannot, and how it ends.

use std::fs;
use std::thread;
use std::time::Duration;

use consentry::audit;
use serde_json::{Value, json};

use crate::process::{MINAS, OUTREACH, QUOTE, Site, UNKNOWN, code, read, text};

const ABOUT: &str = "match = \"GET /about\"";

fn config_check(document: &Value) -> Value {
    document["checks"].as_array().unwrap().iter().find(|check| check["name"] == "config").unwrap().clone()
}

#[test]
fn hangup_takes_a_new_route_and_a_new_policy() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    assert_eq!(site.read(QUOTE).status, 200);
    assert_eq!(code(&site.read("/crm/imprint")), "route-not-declared");

    // `/imprint` is asked now, and answered by the upstream with its 404; `/about` is gone.
    site.edit("apis/crm.toml", ABOUT, "match = \"GET /imprint\"");
    fs::write(
        site.path().join("policies/45-test.cedar"),
        "@id(\"nobody-reads-quotes\")\nforbid (principal, action, resource)\nwhen { resource in Category::\"order\" };\n",
    )
    .unwrap();
    gateway.signal("HUP");
    site.ready_until(|_, document| document["generation"] == 2);
    assert_eq!(code(&site.read("/crm/about")), "route-not-declared");
    assert_eq!(site.read(QUOTE).status, 403, "the new policy decides");
    let entries = site.entries();
    let loaded: Vec<&Value> = entries.iter().filter(|entry| entry["kind"] == "policy_loaded").collect();
    assert_eq!(loaded.len(), 2, "{loaded:?}");
    assert_ne!(loaded[0]["policy_set"].as_str().unwrap(), loaded[1]["policy_set"].as_str().unwrap());
}

#[test]
fn policies_decide_alike_with_the_compiled_form_switched_off() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    let answers = || {
        let read = [QUOTE, UNKNOWN, MINAS].map(|target| site.read(target));
        read.map(|answer| (answer.status, answer.json().and_then(|body| body.get("code").cloned())))
    };
    let compiled = answers();
    assert_eq!(compiled.each_ref().map(|(status, _)| *status), [200, 403, 403]);
    site.edit("consentry.toml", "unsigned = true", "unsigned = true\ncompiled = false");
    gateway.signal("HUP");
    site.ready_until(|_, document| document["generation"] == 2);
    assert_eq!(answers(), compiled);
}

#[test]
fn changed_file_is_taken_without_a_signal() {
    let site = Site::new();
    let _gateway = site.start();
    site.edit("apis/crm.toml", ABOUT, "match = \"GET /imprint\"");
    site.ready_until(|status, document| status == 200 && document["generation"] == 2);
    assert_eq!(code(&site.read("/crm/about")), "route-not-declared");
}

#[test]
fn broken_configuration_or_policy_keeps_the_last_good() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    let mistakes: [(&str, &str, &str); 2] = [("apis/crm.toml", ABOUT, "mtach = \"GET /about\""), ("policies/00-floor.cedar", "forbid", "forbidd")];
    for (n, (file, right, wrong)) in mistakes.iter().enumerate() {
        let good = fs::read_to_string(site.path().join(file)).unwrap();
        site.edit(file, right, wrong);
        gateway.signal("HUP");
        let document = site.ready_until(|_, document| config_check(document)["state"] == "degraded");
        assert_eq!(document["ready"], true, "the last good one serves");
        let why = config_check(&document)["why"].as_str().unwrap().to_owned();
        assert!(why.contains("stale since") && why.contains("consentry check"), "{why}");
        assert_eq!(site.read(QUOTE).status, 200);
        assert_eq!(site.read(UNKNOWN).status, 403);
        let (_, metrics) = site.health("/metrics");
        let failed = metrics.lines().find_map(|line| line.strip_prefix("consentry_reloads_failed_total ")).unwrap();
        assert!(failed.parse::<usize>().unwrap() > n, "{failed}");
        let rejected = |entries: &[Value]| entries.iter().filter(|entry| entry["kind"] == "policy_rejected").count();
        site.log_until(|entries| rejected(entries) > n);
        let trace = gateway.trace();
        assert!(trace.contains(file), "the trace names the place: {trace}");

        fs::write(site.path().join(file), good).unwrap();
        gateway.signal("HUP");
        let document = site.ready_until(|_, document| config_check(document)["state"] == "ok");
        assert_eq!(document["generation"], json!(n + 2), "mended files are taken");
    }
}

#[test]
fn address_and_limits_cannot_change_while_the_gateway_runs() {
    let site = Site::new();
    let gateway = site.start();
    let address = site.addresses.capture.to_string();
    let capture = format!("[capture]                                    # the preference centre records consent\naddress = \"{address}\"");
    for (from, to) in [
        (capture.as_str(), "[capture]\naddress = \"127.0.0.1:1\""),
        ("client_certificates", "limits = { send_timeout = \"1s\" }\nclient_certificates"),
        ("client_certificates", "proxy_protocol = { from = [\"127.0.0.1\"] }\nclient_certificates"),
    ] {
        let good = fs::read_to_string(site.path().join("consentry.toml")).unwrap();
        site.edit("consentry.toml", from, to);
        gateway.signal("HUP");
        site.ready_until(|status, document| status == 200 && config_check(document)["state"] == "degraded");
        let trace = gateway.trace();
        let told = "addresses, limits and balancers of listeners, log, witnesses, exports, telemetry, consent store and the place of the policies cannot change \
                    while the gateway runs; restart it, or put them back";
        assert!(trace.contains(told), "{trace}");
        fs::write(site.path().join("consentry.toml"), good).unwrap();
        gateway.signal("HUP");
        site.ready_until(|_, document| config_check(document)["state"] == "ok");
    }
}

#[test]
fn second_gateway_on_the_same_folder_does_not_start() {
    let site = Site::new();
    let _gateway = site.start();
    let taken = site.run(&["run"]);
    assert_eq!(taken.exit, 75, "{taken:?}");
    assert!(taken.stderr.contains("cannot be listened on"), "{taken:?}");
    // On other ports it is the log that is taken.
    for taken in [site.addresses.apps, site.addresses.admin, site.addresses.capture, site.addresses.health] {
        site.copy_config("second.toml", &format!("address = \"{taken}\""), "address = \"127.0.0.1:0\"");
    }
    let locked = site.run(&["run", "--config", "second.toml"]);
    assert_eq!(locked.exit, 75, "{locked:?}");
    assert!(locked.stderr.contains("one process writes one log"), "{locked:?}");
    assert_eq!(site.health("/livez").0, 200, "the first one goes on");
}

#[test]
fn termination_lets_open_requests_finish_and_closes_the_log() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    site.say("0044", "given");
    site.apis.set_slow(Duration::from_millis(1500));
    let (app, at) = (site.app("crm"), site.addresses.apps);
    // An idle connection that is kept alive must not hold the end up.
    let idle = site.app("crm");
    assert_eq!(site.block(read(&idle, at, UNKNOWN, OUTREACH)).unwrap().status, 403);
    let before = site.apis.requests();
    let slow = site.spawn(async move { read(&app, at, "/crm/slow/customers/0044", OUTREACH).await });
    while site.apis.requests() == before {
        thread::sleep(Duration::from_millis(5));
    }
    gateway.signal("TERM");
    let reply = site.block(slow).unwrap().expect("an open request is finished");
    assert_eq!(reply.status, 200, "{}", text(&reply));
    assert_eq!(reply.json().unwrap()["id"], "0044");
    let status = gateway.wait();
    assert_eq!(status.code(), Some(0));

    let entries = site.entries();
    let decision = crate::process::index(&reply).unwrap();
    assert!(entries.iter().any(|entry| entry["kind"] == "end" && entry["of"] == decision && entry["complete"] == true));
    assert_eq!(entries.last().unwrap()["kind"], "stop", "{:?}", entries.last());
    let report = audit::verify(&site.log(), None).unwrap();
    assert_eq!((report.unsigned_tail, report.torn_bytes), (0, 0), "the last checkpoint covers all");
    assert!(site.block(read(&idle, at, UNKNOWN, OUTREACH)).is_err(), "nobody listens any more");
}
