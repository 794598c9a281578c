//! The commands as a shell sees them: exit codes, help, and what is read from the log's files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use consentry::audit;
use serde_json::Value;

use crate::process::{MINA, MINAS, QUOTE, Site, UNKNOWN, index, run_in};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn exit_codes_tell_the_kind_of_ending() {
    let dir = tempfile::tempdir().unwrap();
    let certs = run_in(root(), &["certs", "dev", "--dir", dir.path().join("certs").to_str().unwrap()]);
    assert_eq!(certs.exit, 0, "{certs:?}");
    let at = |name: &str| dir.path().join("certs").join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (at("internal-ca.pem"), at("staff-auditor.pem"), at("staff-auditor.key"));
    let unreachable = ["--server", "https://127.0.0.1:1", "--ca", &ca, "--cert", &cert, "--key", &key];
    let ask = |command: &[&'static str]| [command, &unreachable].concat();
    let cases: [(Vec<&str>, i32, &str); 12] = [
        (vec![], 64, "Usage"),
        (vec!["nonsense"], 64, "nonsense"),
        (vec!["check", "--nonsense"], 64, "--nonsense"),
        (vec!["audit", "show"], 64, "required"),
        (vec!["audit", "search"], 64, "--server"),
        (vec!["check"], 3, "consentry.toml"),
        (vec!["run"], 3, "consentry.toml"),
        (vec!["policy", "check", "--dir", "certs"], 3, ""),
        (vec!["audit", "verify", "no-such-folder"], 4, "no-such-folder"),
        (vec!["audit", "search", "--offline", "no-such-folder"], 4, "no-such-folder"),
        (ask(&["audit", "search"]), 75, "https://127.0.0.1:1"),
        (ask(&["party", "show", "crm:0044"]), 75, "https://127.0.0.1:1"),
    ];
    for (args, exit, named) in cases {
        let ran = run_in(dir.path(), &args);
        assert_eq!(ran.exit, exit, "{args:?}: {ran:?}");
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(named), "{args:?} does not name `{named}`: {ran:?}");
    }
    // A certificate is not replaced unasked.
    let again = run_in(root(), &["certs", "dev", "--dir", dir.path().join("certs").to_str().unwrap()]);
    assert_ne!(again.exit, 0);
    assert!(again.stderr.contains("--force"), "{again:?}");
}

/// Commands below one, from its help.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.split("Commands:\n").nth(1).unwrap_or_default().lines().take_while(|line| !line.is_empty());
    let named = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    named.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_help_with_an_example_of_itself() {
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = BTreeSet::new();
    while let Some(path) = open.pop() {
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let help = run_in(root(), &args);
        assert_eq!(help.exit, 0, "{args:?}");
        let below = subcommands(&help.stdout);
        if below.is_empty() || path.is_empty() {
            assert!(help.stdout.contains(format!("Example: consentry {}", path.join(" ")).trim()), "{args:?}: {}", help.stdout);
        }
        seen.insert(path.join(" "));
        open.extend(below.into_iter().map(|name| path.iter().cloned().chain([name]).collect()));
    }
    for expected in [
        "run",
        "check",
        "explain",
        "audit verify",
        "audit search",
        "audit show",
        "policy check",
        "policy fmt",
        "policy test",
        "certs dev",
        "party import",
    ] {
        assert!(seen.contains(expected), "`{expected}` is not in {seen:?}");
    }
}

#[test]
fn shipped_policies_check_and_their_cases_pass() {
    let checked = run_in(root(), &["policy", "check"]);
    assert_eq!(checked.exit, 0, "{checked:?}");
    assert!(checked.stdout.starts_with("no errors in "), "{checked:?}");
    let laid_out = run_in(root(), &["policy", "fmt", "--check"]);
    assert_eq!(laid_out.exit, 0, "{laid_out:?}");
    let tested = run_in(root(), &["policy", "test"]);
    assert_eq!(tested.exit, 0, "{tested:?}");
    let last = tested.stdout.lines().last().unwrap();
    assert!(last.contains(" · 0 failed · ") && !last.starts_with("0 cases"), "{last}");
}

#[test]
fn case_that_fails_is_exit_1_and_named() {
    let site = Site::new();
    site.edit("policies/00-floor.cedar", "[ConsentStatus::\"given\"", "[ConsentStatus::\"unknown\"");
    let ran = site.run(&["policy", "test"]);
    assert_eq!(ran.exit, 1, "{ran:?}");
    assert!(ran.stdout.contains("FAIL  "), "{ran:?}");
}

#[test]
fn log_is_searched_shown_and_verified_offline() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    site.say(MINA, "given");
    let read = index(&site.read(MINAS)).unwrap();
    let refused = index(&site.read(UNKNOWN)).unwrap();
    let other = index(&site.read(QUOTE)).unwrap();
    gateway.signal("TERM");
    assert!(gateway.wait().success());

    let found = site.run(&["audit", "search", "--offline", "log", "--app", "crm", "--format", "json"]);
    assert_eq!(found.exit, 0, "{found:?}");
    let newest_first: Vec<u64> = found.json()["decisions"].as_array().unwrap().iter().map(|decision| decision["index"].as_u64().unwrap()).collect();
    assert_eq!(newest_first, [other, refused, read].map(|index| u64::try_from(index).unwrap()));
    let none = site.run(&["audit", "search", "--offline", "log", "--app", "helpdesk", "--format", "json"]);
    assert_eq!((none.exit, none.json()["decisions"].as_array().unwrap().len()), (0, 0));

    let shown = site.run(&["audit", "show", &read.to_string(), "--offline", "log", "--format", "json"]);
    assert_eq!(shown.exit, 0, "{shown:?}");
    let decision = &shown.json()["decision"];
    assert_eq!(
        (decision["app"].as_str(), decision["purpose"].as_str(), decision["outcome"].as_str()),
        (Some("crm"), Some("sales.outreach"), Some("redact")),
        "{decision}"
    );
    let human = site.run(&["audit", "show", &refused.to_string(), "--offline", "log"]);
    assert!(human.exit == 0 && human.stdout.contains("deny 403 denied"), "{human:?}");
    assert_eq!(site.run(&["audit", "show", "999999", "--offline", "log"]).exit, 4);
    // Personal data stands in the consent store and at the upstreams, never in the log or the trace.
    let written = format!("{:?}{}", site.entries(), fs::read_to_string(site.path().join("trace.log")).unwrap());
    // Short numbers stand in times and hashes by chance, so ids are looked for as they would be written.
    for personal in ["Okafor", "Mina", "mina.okafor", "/0044", "/9999", ":0044", ":9999", "\"0044\"", "\"9999\"", "Lindqvist", "+44 20"] {
        assert!(!written.contains(personal), "`{personal}` was written down");
    }

    let verified = site.run(&["audit", "verify", "log", "--format", "json"]);
    let (document, entries) = (verified.json(), site.entries().len());
    assert_eq!((verified.exit, document["ok"].clone(), document["entries"].as_u64()), (0, Value::Bool(true), u64::try_from(entries).ok()));
    let segment =
        fs::read_dir(site.log()).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.to_str().unwrap().contains("segment-")).unwrap();
    let original = fs::read(&segment).unwrap();
    let used = original.iter().rposition(|byte| *byte != 0).unwrap();
    let file = fs::File::options().write(true).open(&segment).unwrap();
    // The head, the middle and the end of what was written: one byte is enough.
    for at in [10, used / 2, used] {
        file.write_all_at(&[original[at] ^ 1], u64::try_from(at).unwrap()).unwrap();
        let ran = site.run(&["audit", "verify", "log"]);
        assert_eq!(ran.exit, 1, "byte {at}: {ran:?}");
        assert!(ran.stdout.contains("damaged"), "{ran:?}");
        file.write_all_at(&original[at..=at], u64::try_from(at).unwrap()).unwrap();
    }
    assert_eq!(site.run(&["audit", "verify", "log"]).exit, 0, "the bytes are back");
    audit::verify(&site.log(), None).unwrap();
}

#[test]
fn commands_ask_a_running_gateway_under_their_callers_role() {
    let site = Site::new();
    let _gateway = site.start();
    site.prepare();
    let refused = index(&site.read(MINAS)).unwrap().to_string();

    let explained = site.run_as("app-developer", &["explain", "--decision", &refused]);
    assert_eq!(explained.exit, 2, "a deny is exit 2: {explained:?}");
    assert!(explained.stdout.contains("consent-basis-needs-consent"), "{explained:?}");
    let party = site.run_as("consent-desk", &["party", "show", "crm:0044"]);
    assert_eq!(party.exit, 0, "{party:?}");
    assert_eq!(site.run_as("consent-desk", &["party", "show", "crm:9999"]).exit, 4);
    let found = site.run_as("auditor", &["audit", "search", "--app", "crm", "--format", "json"]);
    assert_eq!(found.exit, 0, "{found:?}");
    assert_eq!(found.json()["decisions"][0]["index"].to_string(), refused);
    // Another role may not ask that.
    let forbidden = site.run_as("consent-desk", &["audit", "search", "--app", "crm"]);
    assert_eq!(forbidden.exit, 64, "{forbidden:?}");
    assert!(forbidden.stderr.contains("auditor"), "it says who may: {forbidden:?}");
}
