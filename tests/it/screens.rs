//! What the commands of the policy workbench show, whole, as files beside this one to be looked at. Those of bundles and of the
//! shadow stand in the story of `governance`, those of failures with what fails.

use std::fs;

use crate::process::{MINAS, QUOTE, Site, index, policies_to_change, run_in, screen};

#[test]
fn models_differences_and_coverage() {
    let dir = policies_to_change();
    let shown = |name: &str, args: &[&str], exit: i32| {
        let ran = run_in(dir.path(), args);
        assert_eq!(exit, ran.exit, "{ran:?}");
        screen(name, &ran.stdout);
    };
    shown("policy_model", &["policy", "model"], 0);
    shown("policy_test_coverage", &["policy", "test", "--coverage"], 0);
    let prohibitions = dir.path().join("policies/40-prohibitions.cedar");
    let text = fs::read_to_string(&prohibitions).unwrap();
    fs::write(&prohibitions, text.replace("context.customer.legal_hold", "context.customer.legal_hold && context.gpc")).unwrap();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
    shown("policy_diff", &["policy", "diff", shipped, "policies"], 0);
}

#[test]
fn explanations_of_a_route_and_of_decisions() {
    let site = Site::new();
    let _gateway = site.start();
    site.prepare();
    let explain = |name: &str, args: &[&str], exit: i32| {
        let ran = site.run_as("policy-author", &[&["explain"], args].concat());
        assert_eq!(exit, ran.exit, "{ran:?}");
        screen(name, &ran.stdout);
    };
    explain("explain_route", &["GET", QUOTE, "--as", "crm", "--purpose", "sales.outreach"], 2);
    explain("explain_route_refused", &["GET", MINAS, "--as", "crm", "--purpose", "sales.outreach"], 2);
    let [answered, refused] = [QUOTE, MINAS].map(|target| index(&site.read(target)).unwrap().to_string());
    explain("explain_decision", &["--decision", &answered], 0);
    explain("explain_decision_refused", &["--decision", &refused], 2);
}
