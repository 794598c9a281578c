//! What Cedar leaves open, and what is done about it. Each hazard is first shown on Cedar alone, so that a version without it is
//! noticed, and then shown to be closed, in the compiled form and by plain Cedar.

use cedar_policy::{Context, Policy, Request, RestrictedExpression, ValidationMode, Validator};

use super::request::all_facts;
use super::tests::{SHIPPED, caller, policies, question, rule, whole, with};
use super::*;
use crate::model::{ConsentStatus, Employee, LawfulBasis, Role};

const ALL: &str = "(principal, action, resource)";

/// Compiled, and switched off.
fn both(policies: impl Fn() -> Policies) -> [Policies; 2] {
    [policies(), policies().compiled(false)]
}

fn valid(text: &str) -> bool {
    let set = PolicySet::from_policies([Policy::parse(None, text).unwrap()]).unwrap();
    Validator::new(SHIPPED.schema.clone()).validate(&set, ValidationMode::Strict).validation_passed_without_warnings()
}

#[test]
fn a_prohibition_that_errs_would_vanish() {
    let forbid = "forbid (principal, action == Action::\"export\", resource) when { context.records * 9223372036854775807 < 0 };";
    assert!(valid(forbid));
    let crm = caller(&SHIPPED, "crm");
    let asked = |records| Question { records: Some(records), ..question(&crm, Action::Export, "order", "sales.outreach") };
    for policies in both(|| with(vec![rule("opens", &format!("permit {ALL};")), rule("overflows", forbid)])) {
        let request = policies.requests.build(&asked(2)).unwrap();
        let cedar = Authorizer::new().is_authorized(&request, &policies.whole_set(), &policies.entities);
        assert_eq!(cedar.decision(), Decision::Allow, "the hazard is gone; is this still needed?");
        // Nothing is remembered of it, one way or the other.
        for (records, allow) in [(1, true), (2, false), (1, true), (2, false)] {
            let decided = policies.decide(&asked(records));
            let errors: Vec<_> = decided.errors().iter().map(|name| name.as_str()).collect();
            assert_eq!((decided.allow(), errors), (allow, if allow { vec![] } else { vec!["overflows"] }), "{records}");
        }
        assert!(!policies.could_permit(&Use::of(&asked(2))) && policies.could_permit(&Use::of(&asked(1))));
    }
}

#[test]
fn a_prohibition_about_a_purpose_that_nobody_knows_would_not_strike() {
    let forbid = format!("forbid {ALL} when {{ context.purpose in Purpose::\"marketing\" && context.consent.status != ConsentStatus::\"given\" }};");
    let crm = caller(&SHIPPED, "crm");
    for policies in both(|| with(vec![rule("opens", &format!("permit {ALL};")), rule("marketing", &forbid)])) {
        let known = Question { status: ConsentStatus::Withdrawn, ..question(&crm, Action::Read, "order", "marketing.email") };
        assert!(!policies.decide(&known).allow());
        let mistyped = Purpose::intern("marketing.emial");
        let entity = RestrictedExpression::new_entity_uid("Purpose::\"marketing.emial\"".parse().unwrap());
        let request = policies.requests.build(&known).unwrap();
        let context = request.context().unwrap().clone();
        let others = ["consent", "basis", "customer", "gpc", "now"].map(|key| {
            let value: RestrictedExpression = context.get(key).unwrap().to_string().parse().unwrap();
            (key.to_owned(), value)
        });
        let context = Context::from_pairs(others.into_iter().chain([("purpose".to_owned(), entity)])).unwrap();
        let (principal, action, resource) = (request.principal(), request.action(), request.resource());
        let request = Request::new(principal.unwrap().clone(), action.unwrap().clone(), resource.unwrap().clone(), context, None).unwrap();
        let cedar = Authorizer::new().is_authorized(&request, &policies.whole_set(), &policies.entities);
        assert_eq!((cedar.decision(), cedar.diagnostics().errors().count()), (Decision::Allow, 0), "the hazard is gone; is this still needed?");
        let decided = policies.decide(&Question { purpose: mistyped, ..known });
        assert_eq!((decided.allow(), decided.errors()), (false, [PolicyName::intern(UNKNOWN_NAME)].as_slice()));
    }
}

#[test]
fn strict_validation_takes_misspelt_names_of_open_types_and_dangling_owners() {
    // That `load` does not is shown in `mistakes`: `a_misspelt_entity_of_an_open_type`, `references_of_the_catalogue_into_nothing`.
    assert!(valid(&format!("forbid {ALL} when {{ context.purpose in Purpose::\"marketting\" }};")), "the hazard is gone; is this still needed?");
    let text = std::fs::read_to_string(tests::shipped().join("catalogue.cedarentities.json")).unwrap();
    let dangling = text.replace("\"owner\":{\"type\":\"Department\",\"id\":\"it\"}", "\"owner\":{\"type\":\"Department\",\"id\":\"ti\"}");
    assert_ne!(text, dangling);
    assert!(Entities::from_json_str(&dangling, Some(&SHIPPED.schema)).is_ok(), "the hazard is gone; is this still needed?");
}

#[test]
fn what_never_errs_with_all_entities_errs_without_one() {
    let forbid = format!("forbid {ALL} when {{ resource.sensitivity == Sensitivity::\"ordinary\" }};");
    assert!(valid(&forbid), "an analyser proves that it never errs");
    let crm = caller(&SHIPPED, "crm");
    let asked = question(&crm, Action::Read, "contact", "sales.outreach");
    let rules = || vec![rule("opens", &format!("permit {ALL};")), rule("ordinary", &forbid)];
    for policies in both(|| with(rules())) {
        let request = policies.requests.build(&asked).unwrap();
        let cedar = Authorizer::new().is_authorized(&request, &policies.whole_set(), &Entities::empty());
        assert_eq!(cedar.decision(), Decision::Allow, "the hazard is gone; is this still needed?");
        assert!(!policies.decide(&asked).allow());
        assert!(!Decided::of(&cedar).allow());
    }
}

#[test]
fn the_owner_too_needs_a_registered_purpose_a_basis_and_consent_where_it_is_the_basis() {
    for policies in both(policies) {
        let vocabulary = policies.vocabulary();
        for (client, info) in &vocabulary.clients {
            let owner = caller(&policies, client.as_str());
            let own = vocabulary.categories.iter().filter(|(_, category)| category.owner == info.department).map(|(category, _)| category);
            for (category, purpose) in own.flat_map(|category| vocabulary.purposes.keys().map(move |purpose| (category, purpose))) {
                let base = Question { explicit: true, records: Some(1), ..question(&owner, Action::Read, category.as_str(), purpose.as_str()) };
                let is_registered = info.registered.iter().any(|above| vocabulary.is_within(*purpose, *above));
                for basis in LawfulBasis::ALL {
                    for status in ConsentStatus::ALL {
                        let asked = Question { basis: *basis, status: *status, ..base.clone() };
                        let has_consent = matches!(status, ConsentStatus::Given | ConsentStatus::NotNeeded);
                        let lacks_consent = *basis == LawfulBasis::Consent && !has_consent;
                        let must_not = !is_registered || *basis == LawfulBasis::None || lacks_consent;
                        assert!(!(must_not && policies.decide(&asked).allow()), "{asked:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn there_is_no_emergency_without_a_grant() {
    let on_call = Employee { pseudonym: String::new(), roles: vec![Role::intern("on-call")] };
    for policies in both(policies) {
        let crm = Caller { employee: Some(on_call.clone()), ..caller(&policies, "crm") };
        for category in ["health", "billing", "order"] {
            for party in all_facts() {
                let asked = Question { party, ..question(&crm, Action::Read, category, "sales.outreach") };
                let request = policies.requests.build(&asked).unwrap();
                assert_eq!(request.context().unwrap().get("emergency"), None);
                assert!(!policies.decide(&asked).policies().contains(&PolicyName::intern("break-glass")), "{asked:?}");
            }
        }
    }
    // Nor does a policy open that asks for no more than that there is one.
    for policies in both(|| with(vec![rule("careless", &format!("permit {ALL} when {{ context has emergency }};"))])) {
        let crm = caller(&policies, "crm");
        let asked = question(&crm, Action::Read, "order", "sales.outreach");
        assert_eq!(policies.decide(&asked), whole(&policies, &policies.whole_set(), &asked));
        assert!(!policies.decide(&asked).allow() && !policies.could_permit(&Use::of(&asked)));
    }
}
