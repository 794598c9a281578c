//! Without a solver: the catalogue as a condition, what becomes of a solver's request, and what is no proof.

use std::fs;
use std::path::{Path, PathBuf};

use cedar_policy::{Authorizer, Context, Decision, EntityUid, Request};
use serde_json::json;

use super::super::invariants::{self, Claim, Condition, Invariant};
use super::super::mistakes::folder;
use super::super::{cases, models};
use super::witness::Sought;
use super::*;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")
}

const LEADS: &str = r#"
@id("leads-health")
permit (principal in Department::"marketing", action == Action::"read", resource == Category::"health")
when { context.customer.stage == Stage::"lead" && context.purpose in Purpose::"marketing" };
"#;

/// What marketing must not do, in a folder where it may.
fn planted() -> (tempfile::TempDir, Policies, Condition) {
    let in_emergencies = (
        "60-break-glass.cedar",
        "context has emergency && context.purpose in Purpose::\"marketing\"",
        "context has emergency && context.purpose in Purpose::\"sales\"",
    );
    let dir = folder(&[("20-sharing.cedar", "", LEADS), in_emergencies]);
    let policies = Policies::load(dir.path()).map_err(|findings| findings.to_string()).unwrap();
    fs::create_dir(dir.path().join("invariants")).unwrap();
    let text = r#"
[[invariant]]
title = "marketing sees no health data without consent as the basis"
scope = 'principal in Department::"marketing", action in Action::"view", resource == Category::"health"'
when = 'context.basis != LawfulBasis::"consent"'
expect = "deny"
"#;
    fs::write(dir.path().join("invariants/own.toml"), text).unwrap();
    let mut invariants = invariants::read(&policies, dir.path(), &[]).map_err(|findings| findings.to_string()).unwrap();
    let Invariant { claim: Claim::Policies(condition), .. } = invariants.remove(0) else { panic!("it is about policies") };
    (dir, policies, *condition)
}

/// A request as a solver would find it, with much that does not matter.
fn found(policies: &Policies, client: &str, changes: &[(&str, serde_json::Value)]) -> Request {
    found_of(policies, &format!("Application::\"{client}\""), changes)
}

fn found_of(policies: &Policies, principal: &str, changes: &[(&str, serde_json::Value)]) -> Request {
    let entity = |kind: &str, id: &str| json!({ "__entity": { "type": kind, "id": id } });
    let mut context = json!({
        "purpose": entity("Purpose", "marketing.email"),
        "consent": { "status": entity("ConsentStatus", "given"), "explicit": true },
        "basis": entity("LawfulBasis", "public-task"),
        "customer": {
            "stage": entity("Stage", "lead"), "segment": entity("Segment", "vip"), "age": entity("Age", "minor"), "legal_hold": true,
        },
        "channel": entity("Channel", "post"),
        "environment": entity("Environment", "staging"),
        "gpc": true,
        "now": { "__extn": { "fn": "datetime", "arg": "2031-01-01" } },
        "employee": { "roles": [entity("Role", "on-call"), entity("Role", "key-account-care")] },
        "emergency": { "approved": true, "ticket": "INC-1", "justification": "x" },
    });
    for (name, value) in changes {
        context[*name] = value.clone();
    }
    let uid = |text: &str| text.parse::<EntityUid>().unwrap();
    let action = uid("Action::\"read\"");
    let context = Context::from_json_value(context, Some((&policies.schema, &action))).unwrap();
    Request::new(uid(principal), action, uid("Category::\"health\""), context, Some(&policies.schema)).unwrap()
}

#[test]
fn a_witness_names_what_matters_and_nothing_else() {
    let (dir, policies, condition) = planted();
    let set = policies.whole_set();
    let found = found(&policies, "campaign-manager", &[]);
    let witness = Witness::of(&policies, &set, &found, &Sought::Breaking(&condition)).unwrap();
    assert_eq!(witness.to_string(), "app campaign-manager of marketing: read health for marketing.email");
    assert_eq!(witness.facts(), ["basis public-task", "consent given, explicitly", "stage lead"]);
    assert!(witness.needs_activity());
    let case = witness.case("found").unwrap();
    insta::assert_snapshot!(case, @r#"
    [[case]]
    name = "found"
    app = "campaign-manager"
    action = "read"
    category = "health"
    purpose = "marketing.email"
    basis = "public-task"  # activities.toml gives this use "none" today
    consent = "given"
    explicit = true
    stage = "lead"
    expect = "deny"
    "#);

    // The case fails here and passes where nothing was planted; so does the other form.
    fs::create_dir(dir.path().join("tests")).unwrap();
    fs::write(dir.path().join("tests/found.toml"), case).unwrap();
    let report = cases::run_with(&policies, dir.path()).map_err(|findings| findings.to_string()).unwrap();
    assert_eq!((report.cases.len(), report.failed()), (1, 1), "{report:?}");
    let fine = Policies::load(&shipped()).unwrap();
    assert_eq!(cases::run_with(&fine, dir.path()).unwrap().failed(), 0);
    fs::remove_file(dir.path().join("tests/found.toml")).unwrap();
    fs::write(dir.path().join("tests/found.json"), json!([witness.json_case("found")]).to_string()).unwrap();
    let report = cases::run_with(&policies, dir.path()).map_err(|findings| findings.to_string()).unwrap();
    assert!(report.cases[0].failure.as_ref().unwrap().contains("got allow by `leads-health`"), "{report:?}");
}

#[test]
fn an_emergency_that_matters_stays_and_is_told_in_cedars_form() {
    let (_dir, policies, condition) = planted();
    let entity = |kind: &str, id: &str| json!({ "__entity": { "type": kind, "id": id } });
    let refused = json!({ "status": entity("ConsentStatus", "unknown"), "explicit": false });
    let found = found(&policies, "campaign-manager", &[("consent", refused), ("gpc", json!(false))]);
    let witness = Witness::of(&policies, &policies.whole_set(), &found, &Sought::Breaking(&condition)).unwrap();
    assert!(witness.facts().contains(&"emergency, approved".to_owned()), "{:?}", witness.facts());
    assert_eq!(witness.case("found"), None);
    assert_eq!(witness.json_case("found")["request"]["context"]["emergency"]["approved"], json!(true));
}

/// INVARIANT of the room: the solver is not believed.
#[test]
fn a_request_that_plain_cedar_answers_as_expected_refutes_nothing() {
    let (_dir, policies, condition) = planted();
    let entity = |kind: &str, id: &str| json!({ "__entity": { "type": kind, "id": id } });
    let set = policies.whole_set();
    let by_consent = found(&policies, "campaign-manager", &[("basis", entity("LawfulBasis", "consent"))]);
    let none = found(&policies, "campaign-manager", &[("basis", entity("LawfulBasis", "none"))]);
    let foreign = found(&policies, "an-app-of-another-catalogue", &[]);
    for request in [by_consent, none, foreign] {
        assert!(Witness::of(&policies, &set, &request, &Sought::Breaking(&condition)).is_none(), "{request}");
    }
}

#[test]
fn every_models_catalogue_meets_its_condition_and_strangers_do_not() {
    for model in models(&shipped()).unwrap() {
        let policies = Policies::load_as(&shipped(), &model.name).unwrap();
        let prover = Prover::new(&policies, &[]).unwrap();
        let permit = "permit (principal, action, resource);".parse().unwrap();
        let within = prover.world.within(&permit, &"Application".parse().unwrap()).unwrap();
        // How many of the small worlds it is part of.
        let ask = |request: &Request| {
            let allows = |within: &&PolicySet| Authorizer::new().is_authorized(request, within, &policies.entities).decision() == Decision::Allow;
            within.iter().filter(allows).count()
        };
        for client in policies.vocabulary.clients.iter().filter(|(_, info)| info.kind == crate::model::ClientKind::Application) {
            assert_eq!(ask(&found(&policies, client.0.as_str(), &[])), 1, "{}", client.0);
        }
        assert_eq!(ask(&found(&policies, "an-app-of-another-catalogue", &[])), 0);
        let strange = json!({ "__entity": { "type": "Purpose", "id": "marketing.letters" } });
        assert_eq!(ask(&found(&policies, "crm", &[("purpose", strange)])), 0);
        let role = json!({ "roles": [{ "__entity": { "type": "Role", "id": "stranger" } }] });
        assert_eq!(ask(&found(&policies, "crm", &[("employee", role)])), 0);
        let entity = |kind: &str, id: &str| json!({ "__entity": { "type": kind, "id": id } });
        assert_eq!(ask(&found(&policies, "crm", &[("behalf", entity("Behalf", "employee"))])), 0, "not told of apps");
        assert_eq!(ask(&found(&policies, "crm", &[("customers", json!(-1))])), 0);
        assert_eq!(ask(&found(&policies, "crm", &[("customers", json!(7))])), 1);
        let agents = prover.world.within(&"permit (principal, action, resource);".parse().unwrap(), &"Agent".parse().unwrap()).unwrap();
        // An employee is there.
        for (task, behalf, expected) in [
            (None, Some("employee"), 1),
            (Some("prepare-call"), Some("employee"), 1),
            (Some("prepare-call"), Some("other-customer"), 1),
            (Some("answer-case"), Some("employee"), 0),
            (None, Some("nobody"), 0),
            (None, None, 0),
        ] {
            let facts = task.map(|task| ("task", entity("Task", task))).into_iter().chain(behalf.map(|behalf| ("behalf", entity("Behalf", behalf))));
            let request = found_of(&policies, "Agent::\"sales-copilot\"", &facts.collect::<Vec<_>>());
            let allows = |within: &&PolicySet| Authorizer::new().is_authorized(&request, within, &policies.entities).decision() == Decision::Allow;
            assert_eq!(agents.iter().filter(allows).count(), expected, "{task:?} {behalf:?}");
        }
    }
}

/// The condition is of the catalogue that it was made of: who moved does not meet the one made before.
#[test]
fn an_app_in_another_department_is_a_stranger_to_the_condition() {
    let before = Policies::load(&shipped()).unwrap();
    let after = Policies::load_as(&shipped(), "marketing-led").unwrap();
    let permit = "permit (principal, action, resource);".parse().unwrap();
    let within = Prover::new(&before, &[]).unwrap().world.within(&permit, &"Application".parse().unwrap()).unwrap();
    let hub = found(&before, "mdm-hub", &[]);
    let ask = |policies: &Policies| {
        within.iter().any(|within| Authorizer::new().is_authorized(&hub, within, &policies.entities).decision() == Decision::Allow)
    };
    assert_eq!((ask(&before), ask(&after)), (true, false));
}

mod undecided {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use cedar_policy_symcc::solver::WriterSolver;

    use super::*;

    /// None of the futures waits for anything: the solver is a list of bytes.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn what_the_solver_does_not_know_is_no_proof_of_anything() {
        let (_dir, policies, condition) = planted();
        let prover = Prover::new(&policies, &[]).unwrap();
        let mut solver = now(async { CedarSymCompiler::new(WriterSolver { w: Vec::<u8>::new() }) }).unwrap();
        assert!(matches!(now(prover.invariant(&condition, &mut solver)), Err(Trouble::Undecided)));
        let other = Policies::load(&shipped()).unwrap();
        let other = Prover::new(&other, &[]).unwrap();
        assert!(matches!(now(prover.equivalent(&other, &mut solver)), Err(Trouble::Undecided)));
        assert!(matches!(now(prover.health(PolicyName::intern("owner-access"), &mut solver)), Err(Trouble::Undecided)));
    }
}
