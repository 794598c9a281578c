//! `policy prove` and `policy model` as a shell sees them: with Debian's cvc5 where it is installed, and with solvers that
//! fail in every way a program can.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Ran, policies_to_change, run_in};

fn append(dir: &TempDir, file: &str, text: &str) {
    let path = dir.path().join("policies").join(file);
    let before = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{before}\n{text}")).unwrap();
}

/// `false`, said aloud, where there is no solver to ask.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn has_solver() -> bool {
    let found = Command::new("cvc5").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: cvc5 is not installed (apt-get install cvc5)");
    }
    found
}

/// The verdicts by title, and the last line.
fn proved(dir: &TempDir, more: &[&str]) -> (Ran, Vec<Value>, Value) {
    let ran = run_in(dir.path(), &[&["policy", "prove", "--format", "json"], more].concat());
    let mut lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.pop().unwrap_or_else(|| panic!("{ran:?}"));
    (ran, lines, last)
}

const LEADS: &str = r#"
@id("leads-health")
@description("Planted.")
permit (
  principal in Department::"marketing",
  action == Action::"read",
  resource == Category::"health"
)
when
{
  context.customer.stage == Stage::"lead" &&
  context.purpose in Purpose::"marketing"
};
"#;

#[test]
fn every_shipped_invariant_is_proved_and_no_policy_is_dead_or_errs() {
    if !has_solver() {
        return;
    }
    let dir = policies_to_change();
    let (ran, rows, last) = proved(&dir, &[]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(rows.len() >= 20 && rows.iter().all(|row| row["verdict"] == "proved"), "{rows:#?}");
    let open: Vec<_> = rows.iter().filter(|row| row["holds_for"] == "this catalogue").map(|row| row["title"].as_str().unwrap()).collect();
    assert!(open.len() <= 3, "these need the catalogue: {open:#?}");
    assert_eq!((&last["dead"], &last["may_err"], &last["unknown"]), (&Value::from(Vec::<Value>::new()), &last["dead"], &last["dead"]));
}

#[test]
fn a_planted_permit_is_refuted_by_a_request_that_reads_well_and_fails_as_a_case() {
    if !has_solver() {
        return;
    }
    let dir = policies_to_change();
    append(&dir, "20-sharing.cedar", LEADS);
    let ran = run_in(dir.path(), &["policy", "prove"]);
    assert_eq!(ran.exit, 1, "{ran:?}");
    let shown = ran.stdout.split("\n\n").find(|part| part.starts_with("another department sees special categories")).unwrap();
    for said in [
        "policies/invariants/data.toml:",
        "\n  request  app campaign-manager of marketing: read health for marketing",
        "consent given, explicitly · stage lead\n",
        "\n  answer   allow by leads-health (policies/20-sharing.cedar:",
        "\n    stage = \"lead\"\n    expect = \"deny\"",
    ] {
        assert!(shown.contains(said), "`{said}` is not in\n{shown}");
    }
    let line = ran.stdout.lines().find(|line| line.starts_with("REFUTED")).unwrap();
    assert!(line.starts_with("REFUTED  this catalogue   another department sees special categories"), "{line}");
    let table = ran.stdout.lines().take_while(|line| !line.is_empty());
    assert!(table.filter(|line| line.chars().count() > 120).count() == 0, "{}", ran.stdout);

    // No case has ever looked at it.
    let covered = run_in(dir.path(), &["policy", "test", "--coverage"]);
    let line = covered.stdout.lines().find(|line| line.starts_with("leads-health")).unwrap();
    assert!(line.ends_with("in scope of no case"), "{line}");

    // The case that it gives fails as long as the permit stands.
    let case = shown.split_once("    [[case]]").unwrap().1;
    fs::write(dir.path().join("policies/tests/found.toml"), format!("[[case]]{case}")).unwrap();
    let failed = run_in(dir.path(), &["policy", "test"]);
    assert_eq!(failed.exit, 1, "{failed:?}");
    assert!(failed.stdout.contains("1 failed") && failed.stdout.contains("found by prove: another department"), "{failed:?}");
}

#[test]
fn dead_erring_and_redundant_policies_are_named_and_an_empty_invariant_proves_nothing() {
    if !has_solver() {
        return;
    }
    let dir = policies_to_change();
    let planted = r#"
@id("never-met")
@description("Planted.")
forbid (principal, action, resource)
when { context.customer.stage == Stage::"lead" && context.customer.stage == Stage::"churned" };

@id("overflows")
@description("Planted.")
forbid (principal, action == Action::"export", resource)
when { context.records * 4611686018427387904 > 100 };

@id("said-again")
@description("Planted.")
permit (principal, action == Action::"read", resource == Category::"no-customer-data")
when { context.purpose in principal.registered_purposes };
"#;
    append(&dir, "20-sharing.cedar", planted);
    let empty =
        "[[invariant]]\ntitle = \"empty\"\nexpect = \"deny\"\nwhen = 'context.gpc && context.purpose in Purpose::\"sales\" && !context.gpc'\n";
    let invariants = dir.path().join("policies/invariants");
    fs::remove_dir_all(&invariants).unwrap();
    fs::create_dir(&invariants).unwrap();
    fs::write(invariants.join("own.toml"), empty).unwrap();
    let (ran, rows, last) = proved(&dir, &[]);
    assert_eq!(ran.exit, 1, "{ran:?}");
    assert_eq!(rows[0]["verdict"], "empty", "{rows:#?}");
    assert_eq!((last["dead"].to_string(), last["may_err"].to_string()), (r#"["never-met"]"#.to_owned(), r#"["overflows"]"#.to_owned()));
    assert!(last["redundant"].as_array().unwrap().contains(&Value::from("said-again")), "{last}");
}

#[test]
fn two_folders_are_equal_or_differ_by_a_request() {
    if !has_solver() {
        return;
    }
    let (dir, other) = (policies_to_change(), policies_to_change());
    let one = r#"[[invariant]]
title = "no agent exports"
scope = 'principal is Agent, action == Action::"export", resource'
when = 'true'
expect = "deny"
"#;
    let invariants = dir.path().join("policies/invariants");
    fs::remove_dir_all(&invariants).unwrap();
    fs::create_dir(&invariants).unwrap();
    fs::write(invariants.join("own.toml"), one).unwrap();
    let theirs = other.path().join("policies");
    let equivalent = ["--equivalent", theirs.to_str().unwrap()];
    // One prohibition said as two.
    let churned = fs::read_to_string(theirs.join("40-prohibitions.cedar")).unwrap();
    let text = r#"  context.customer.stage == Stage::"churned" &&
  (context.purpose in Purpose::"marketing" ||
   context.purpose in Purpose::"sales")
};"#;
    let two = r#"  context.customer.stage == Stage::"churned" &&
  context.purpose in Purpose::"marketing"
};

@id("churned-no-sales")
@description("Planted.")
forbid (principal, action, resource)
when
{
  context.customer.stage == Stage::"churned" &&
  context.purpose in Purpose::"sales"
};"#;
    assert!(churned.contains(text));
    fs::write(theirs.join("40-prohibitions.cedar"), churned.replace(text, two)).unwrap();
    let (ran, rows, _) = proved(&dir, &equivalent);
    assert_eq!((ran.exit, &rows[1]["verdict"], &rows[1]["holds_for"]), (0, &Value::from("proved"), &Value::from("every catalogue")), "{rows:#?}");

    let beside = |rows: &[Value]| rows[2..].iter().map(|row| (row["verdict"].as_str() == Some("proved"), row["why"].clone())).collect::<Vec<_>>();
    assert_eq!(beside(&rows), vec![(true, Value::Null); 3]);

    // The same policies, with another owner, basis and rule.
    let mut before = Vec::new();
    for (file, from, to) in [
        ("catalogue.cedarentities.json", "\"label\":\"Billing\"", "\"label\":\"Bills\""),
        ("activities.toml", "basis = \"contract\"", "basis = \"legitimate-interest\""),
        ("consent.toml", "clock_skew_s = 60", "clock_skew_s = 61"),
    ] {
        let text = fs::read_to_string(theirs.join(file)).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        fs::write(theirs.join(file), text.replacen(from, to, 1)).unwrap();
        before.push((file, text));
    }
    let (ran, rows, last) = proved(&dir, &equivalent);
    assert_eq!((ran.exit, &rows[1]["verdict"], &last["ok"]), (1, &Value::from("proved"), &Value::from(false)), "{rows:#?}");
    let told = beside(&rows);
    assert_eq!(told[0], (false, Value::from("different: Category::\"billing\"")));
    assert!(told[1].1.as_str().unwrap().starts_with("different: billing for service-provision.support by service, "), "{told:?}");
    assert_eq!(told[2], (false, Value::from("different: consent.toml")));
    for (file, text) in before {
        fs::write(theirs.join(file), text).unwrap();
    }

    append(&other, "20-sharing.cedar", LEADS);
    let (ran, rows, _) = proved(&dir, &equivalent);
    assert_eq!((ran.exit, &rows[1]["verdict"]), (1, &Value::from("refuted")), "{rows:#?}");
    let found = &rows[1]["counterexample"];
    assert!(found["says"].as_str().unwrap().starts_with("app campaign-manager of marketing: read health"), "{found:#}");
    assert_eq!((&found["answer"], &found["cedar"]["decision"]), (&Value::from("deny"), &Value::from("allow")));

    fs::write(theirs.join("consentry.cedarschema"), fs::read_to_string(theirs.join("consentry.cedarschema")).unwrap() + "\n// other\n").unwrap();
    let ran = run_in(dir.path(), &[&["policy", "prove"], &equivalent[..]].concat());
    assert_eq!(ran.exit, 64, "{ran:?}");
}

/// What only agents can say is part of the catalogue's condition: the solver names a request that can really come.
#[test]
fn holes_in_the_limits_of_agents_are_refuted() {
    if !has_solver() {
        return;
    }
    let dir = policies_to_change();
    let path = dir.path().join("policies/50-agents.cedar");
    let text = fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\n   Behalf::\"customer\"].contains(", "\n   Behalf::\"customer\",\n   Behalf::\"other-customer\"].contains("),
        ("principal.tasks.contains(context.task) &&\n  context.purpose in context.task.purposes", "principal.tasks.contains(context.task)"),
    ] {
        assert!(text.contains(from), "`{from}`");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let (ran, rows, _) = proved(&dir, &[]);
        assert_eq!(ran.exit, 1, "{ran:?}");
        let open: Vec<&Value> = rows.iter().filter(|row| row["verdict"] != "proved").collect();
        assert!(open.len() == 1 && open[0]["verdict"] == "refuted", "{open:#?}");
        let facts = open[0]["counterexample"]["facts"].to_string();
        assert!(facts.contains("on behalf of other-customer") || facts.contains("task "), "{facts}");
    }
}

// ------------------------------------------------------------------ solvers that fail

fn solver(dir: &Path, script: &str) -> PathBuf {
    let path = dir.join("solver");
    fs::write(&path, format!("#!/bin/sh\n[ \"$1\" = --version ] && echo 'This is a double, version 0.1' && exit 0\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// INVARIANT: no failure of a solver proves anything.
#[test]
fn a_solver_that_fails_proves_nothing() {
    let unknown = "while read -r line; do [ \"$line\" = '(check-sat)' ] && echo unknown; done";
    let sat = "while read -r line; do [ \"$line\" = '(check-sat)' ] && echo sat; [ \"$line\" = '(get-model)' ] && printf '(\\n)\\n'; done";
    for script in ["exit 1", "echo garbage; cat > /dev/null", "head -n 1 > /dev/null; kill -9 $$", unknown, sat] {
        let dir = policies_to_change();
        let program = solver(dir.path(), script);
        let (ran, rows, last) = proved(&dir, &["--solver", program.to_str().unwrap()]);
        assert_eq!(ran.exit, 1, "{script}: {ran:?}");
        let asked: Vec<_> =
            rows.iter().filter(|row| !row["title"].as_str().unwrap().contains("customer only what") && row["verdict"] == "proved").collect();
        // The floor needs no solver, and some questions are answered by the analyser alone.
        assert!(asked.len() <= 3, "{script}: {asked:#?}");
        assert_ne!(last["ok"], true);
    }
}

#[test]
fn without_a_solver_it_says_so_and_how_to_get_one() {
    let dir = policies_to_change();
    let ran = run_in(dir.path(), &["policy", "prove", "--solver", "no-such-program"]);
    assert_eq!(ran.exit, 75, "{ran:?}");
    assert!(ran.stderr.contains("apt-get install cvc5") && ran.stdout.is_empty(), "{ran:?}");
    // What is wrong with the files comes first.
    append(&dir, "invariants/data.toml", "[[invariant]]\ntitle = \"t\"\nwhen = 'context.gcp'\nexpect = \"deny\"\n");
    let ran = run_in(dir.path(), &["policy", "prove", "--solver", "no-such-program"]);
    assert_eq!(ran.exit, 3, "{ran:?}");
    assert!(ran.stdout.contains("did you mean `gpc`?") && ran.stdout.contains("nothing was proved"), "{ran:?}");
}

#[test]
fn an_interrupted_proof_leaves_no_solver_behind() {
    let dir = policies_to_change();
    let pids = dir.path().join("pids");
    let program = solver(dir.path(), &format!("echo $$ >> {}; exec sleep 60", pids.display()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentry"));
    command.args(["policy", "prove", "--solver"]).arg(&program).current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let running = || fs::read_to_string(&pids).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    for _ in 0..1_000 {
        if !running().is_empty() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(!running().is_empty(), "no solver was started");
    assert!(Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(75), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("interrupted"), "{ended:?}");
    let is_alive = |pid: &String| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    for _ in 0..100 {
        if !running().iter().any(is_alive) {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("still there: {:?}", running());
}

// ------------------------------------------------------------------ models

#[test]
fn a_model_is_put_into_force_by_rewriting_the_catalogue_alone() {
    let dir = policies_to_change();
    let files = |dir: &TempDir| {
        let mut open = vec![dir.path().join("policies")];
        let mut found = Vec::new();
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                found.push((path.strip_prefix(dir.path()).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
        found.sort();
        found
    };
    let before = files(&dir);
    let models = ["chief-commercial-officer", "chief-customer-officer", "marketing-led"];
    for model in models {
        let ran = run_in(dir.path(), &["policy", "model", model]);
        assert_eq!(ran.exit, 0, "{ran:?}");
        let changed: Vec<_> = files(&dir).into_iter().filter(|file| !before.contains(file)).map(|(name, _)| name).collect();
        assert_eq!(changed, [Path::new("policies/catalogue.cedarentities.json")], "{model}");
        assert_eq!(run_in(dir.path(), &["policy", "check"]).exit, 0);
        let tested = run_in(dir.path(), &["policy", "test"]);
        assert_eq!(tested.exit, 0, "{model}: {tested:?}");
        let listed = run_in(dir.path(), &["policy", "model"]).stdout;
        assert!(listed.lines().any(|line| line.starts_with(model) && line.ends_with("in force")), "{listed}");
    }
    // And back: byte for byte what was shipped.
    assert_eq!(run_in(dir.path(), &["policy", "model", "it-steward"]).exit, 0);
    assert_eq!(files(&dir), before);
    let unknown = run_in(dir.path(), &["policy", "model", "it-stewart"]);
    assert!(unknown.exit == 3 && unknown.stdout.contains("did you mean `it-steward`?"), "{unknown:?}");
}
