//! `consentry policy …` as a shell sees it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Ran, policies_to_change, run_in};

fn edit(dir: &TempDir, file: &str, from: &str, to: &str) {
    let path = dir.path().join("policies").join(file);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let changed = if from.is_empty() { format!("{text}{to}") } else { text.replacen(from, to, 1) };
    assert_ne!(text, changed, "nothing to replace in {file}: {from}");
    fs::write(path, changed).unwrap();
}

/// The answer without what differs from run to run.
fn shown(ran: &Ran) -> String {
    let text = regex::Regex::new(r"[0-9]+\.[0-9]{2} s").unwrap().replace_all(&ran.stdout, "[time]");
    format!("{text}(exit {})", ran.exit)
}

const UNTIDY: &str = "// why\n@id(\"more\")   forbid(principal,action,resource) when{context.gpc&&context.customer.legal_hold};\n";

#[test]
fn check_reports_what_is_probably_not_meant() {
    let dir = policies_to_change();
    edit(&dir, "10-ownership.cedar", "@no_purpose(\"as owner-access\")\n", "");
    edit(
        &dir,
        "30-steward.cedar",
        "context.purpose in Purpose::\"data-coordination\"",
        "context.purpose in Purpose::\"data-coordination\" && context.purpose in Purpose::\"sales\"",
    );
    edit(&dir, "99-more.cedar", "", "@id(\"nobody\")\nforbid (principal in Role::\"on-call\", action, resource);\n");
    insta::assert_snapshot!(shown(&run_in(dir.path(), &["policy", "check"])), @r#"
    policies/10-ownership.cedar:13:1: error: permit `owner-export` does not look at the purpose
       13 | @id("owner-export")
          | ^^^^^^^^^^^^^^^^^^^ compare `context.purpose`, or say why not: `@no_purpose("…")`

    policies/30-steward.cedar:1:1: error: policy `steward-coordinates` can never apply: no value of the facts makes its conditions true
        1 | @id("steward-coordinates")
          | ^^^^^^^^^^^^^^^^^^^^^^^^^^ correct or remove it; one that waits for the catalogue says so: `@dormant("…")`

    policies/99-more.cedar:1:1: error: policy `nobody` can never apply: no principal, action and category of the catalogue are in its scope
        1 | @id("nobody")
          | ^^^^^^^^^^^^^ correct or remove it; one that waits for the catalogue says so: `@dormant("…")`

    3 errors in 3 files · the active policies are unchanged
    (exit 3)
    "#);
    let json = run_in(dir.path(), &["policy", "check", "--format", "json"]);
    let errors = json.json()["errors"].as_array().unwrap().len();
    assert_eq!((json.exit, errors), (3, 3), "{json:?}");
}

#[test]
fn fmt_checks_writes_and_then_has_nothing_to_do() {
    let dir = policies_to_change();
    edit(&dir, "99-more.cedar", "", UNTIDY);
    let fmt = |args: &[&str]| run_in(dir.path(), &[&["policy", "fmt"], args].concat());
    let read = || fs::read_to_string(dir.path().join("policies/99-more.cedar")).unwrap();
    insta::assert_snapshot!(shown(&fmt(&["--check"])), @r#"
    would change  policies/99-more.cedar
    9 files · 1 not laid out · nothing was written; run `consentry policy fmt`
    (exit 1)
    "#);
    assert_eq!(read(), UNTIDY, "--check writes nothing");
    let before = run_in(dir.path(), &["policy", "check"]);
    insta::assert_snapshot!(shown(&fmt(&[])), @r#"
    formatted  policies/99-more.cedar
    9 files · 1 written
    (exit 0)
    "#);
    insta::assert_snapshot!(read(), @r#"
    // why
    @id("more")
    forbid (principal, action, resource)
    when { context.gpc && context.customer.legal_hold };
    "#);
    insta::assert_snapshot!(shown(&fmt(&["--check"])), @r#"
    9 files · all laid out
    (exit 0)
    "#);
    let after = run_in(dir.path(), &["policy", "check"]);
    assert_eq!((before.exit, after.exit), (0, 0), "{before:?} {after:?}");

    edit(&dir, "99-more.cedar", "action", "action resource");
    edit(&dir, "00-floor.cedar", "@id(\"no-basis-no-use\")", "@id(\"no-basis-no-use\")  ");
    let refused = fmt(&[]);
    assert_eq!(refused.exit, 3, "{refused:?}");
    assert!(refused.stdout.contains("policies/99-more.cedar:") && refused.stdout.ends_with("no file was changed\n"), "{refused:?}");
    assert_eq!(fmt(&["--dir", "nowhere"]).exit, 3);
}

#[test]
fn a_failing_case_says_what_came_and_by_which_policies() {
    let dir = policies_to_change();
    edit(&dir, "consent.toml", "60", "61");
    fs::remove_dir_all(dir.path().join("policies/tests")).unwrap();
    fs::create_dir(dir.path().join("policies/tests")).unwrap();
    let case = |name: &str, expect: &str| {
        format!("[[case]]\nname = \"{name}\"\napp = \"crm\"\naction = \"read\"\ncategory = \"identity\"\npurpose = \"sales.outreach\"\n{expect}\n")
    };
    let cases = [
        case("passes", "expect = \"deny\""),
        case("should open", "expect = \"allow\"\nbecause = [\"share-with-consent\"]"),
        case("another policy should forbid", "expect = \"deny\"\nbecause = [\"marketing-refused\", \"steward-stays-neutral\"]"),
        case("should not open", "consent = \"given\"\ngpc = true\nroles = [\"on-call\"]\nexpect = \"deny\""),
    ];
    fs::write(dir.path().join("policies/tests/x.toml"), cases.concat()).unwrap();
    let json = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/tests/basic.json")).unwrap();
    fs::write(dir.path().join("policies/tests/y.json"), json.replacen("\"decision\": \"allow\"", "\"decision\": \"deny\"", 1)).unwrap();
    insta::assert_snapshot!(shown(&run_in(dir.path(), &["policy", "test"])), @r#"
    FAIL  policies/tests/x.toml:8  "should open"
          expected allow by `share-with-consent`, got deny by `consent-basis-needs-consent`
          crm, read identity, sales.outreach, basis consent, consent unknown; anonymous, standard, unknown
          consent-basis-needs-consent stands in policies/00-floor.cedar:13
          share-with-consent: consent status is `unknown`, needs one of `given`, `not-needed`

    FAIL  policies/tests/x.toml:16  "another policy should forbid"
          expected deny by `marketing-refused`, `steward-stays-neutral`, got deny by `consent-basis-needs-consent`
          crm, read identity, sales.outreach, basis consent, consent unknown; anonymous, standard, unknown
          consent-basis-needs-consent stands in policies/00-floor.cedar:13
          marketing-refused: purpose is `sales.outreach`, needs to be within `marketing`
          steward-stays-neutral: is not about this app, action and category

    FAIL  policies/tests/x.toml:24  "should not open"
          expected deny, got allow by `share-with-consent`
          crm, read identity, sales.outreach, basis consent, consent given; anonymous, standard, unknown, Global Privacy Control, for an employee with `on-call`
          share-with-consent stands in policies/20-sharing.cedar:1

    FAIL  policies/tests/y.json:2  "crm reads an order it owns"
          expected deny by `owner-access` with 0 errors, got allow by `owner-access` with 0 errors
          Application::"crm", Action::"read", Category::"order"
          owner-access stands in policies/10-ownership.cedar:1

    6 cases · 2 passed · 4 failed · [time]
    (exit 1)
    "#);
    let json = run_in(dir.path(), &["policy", "test", "--format", "json"]);
    assert_eq!((json.exit, json.stdout.lines().count()), (1, 6), "a line a case: {json:?}");

    // Whatever could have permitted it is named when no policy is.
    fs::write(dir.path().join("policies/tests/x.toml"), case("should open", "expect = \"allow\"")).unwrap();
    let ran = run_in(dir.path(), &["policy", "test"]);
    for said in ["owner-access: sales does not own it\n", "share-for-contract: basis is `consent`, needs `contract`\n"] {
        assert!(ran.stdout.contains(said), "{ran:?}");
    }
    fs::remove_dir_all(dir.path().join("policies/tests")).unwrap();
    assert_eq!(run_in(dir.path(), &["policy", "test"]).exit, 1, "no case has proved nothing");
}

#[test]
fn coverage_as_table_json_and_lcov() {
    let dir = policies_to_change();
    for name in ["conditions.toml", "emergency.json", "tour.toml", "organisations.toml"] {
        fs::remove_file(dir.path().join("policies/tests").join(name)).unwrap();
    }
    let table = shown(&run_in(dir.path(), &["policy", "test", "--coverage"]));
    for said in [
        "\nlegal-hold                      forbid  1         1          0 of 1\n",
        "\nsales-lead-behaviour            permit  0         0          in scope of no case\n",
        "\n\nnever true\n  owner-export\n    policies/10-ownership.cedar:",
        "  context has emergency && context.emergency.approved\n",
        "\n\nnever false\n",
        "\n\nnever reached\n",
        "seen both ways\n(exit 0)",
    ] {
        assert!(table.contains(said), "{said}: {table}");
    }

    let ran = run_in(dir.path(), &["policy", "test", "--lcov", "x.lcov", "--coverage", "--format", "json"]);
    let last: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    let hold = last["coverage"]["policies"].as_array().unwrap().iter().find(|policy| policy["policy"] == "legal-hold").unwrap();
    assert_eq!((hold["met"].as_u64(), hold["satisfied"].as_u64()), (Some(1), Some(1)), "{hold}");
    assert_eq!((hold["conditions"][0]["true"].as_u64(), hold["conditions"][0]["false"].as_u64()), (Some(1), Some(0)), "{hold}");
    let lcov = fs::read_to_string(dir.path().join("x.lcov")).unwrap();
    let records: Vec<&str> = lcov.split("end_of_record\n").filter(|record| !record.is_empty()).collect();
    assert_eq!(records.len(), 8, "one a file");
    assert!(
        records[3].starts_with("TN:\nSF:policies/30-steward.cedar\nFN:1,steward-coordinates\n") && records[3].contains("\nBRDA:19,3,0,0\n"),
        "{lcov}"
    );
    let refused = run_in(dir.path(), &["policy", "test", "--lcov", "no/such/folder"]);
    assert_eq!(refused.exit, 64, "{refused:?}");
}

#[test]
fn watch_runs_again_when_a_file_changes_also_after_a_mistake() {
    let dir = policies_to_change();
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentry"));
    let child = command.args(["policy", "test", "--watch", "--runs", "3"]).current_dir(dir.path()).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut until = |end: &str| lines.by_ref().map(Result::unwrap).find(|line| line.contains(end)).unwrap_or_else(|| panic!("it never said `{end}`"));
    assert!(until(" failed").contains(" · 0 failed"));
    until("watching");
    // Longer than the resolution of a file's time.
    thread::sleep(Duration::from_millis(50));
    edit(&dir, "40-prohibitions.cedar", "context.customer.legal_hold }", "context.customer.legal_hole }");
    until("no case was run");
    until("watching");
    thread::sleep(Duration::from_millis(50));
    edit(&dir, "40-prohibitions.cedar", "context.customer.legal_hole }", "context.gpc }");
    assert!(until(" failed").contains(" · 1 failed"));
    assert_eq!(child.wait().unwrap().code(), Some(1), "the last run's exit code");
}
