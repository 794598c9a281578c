//! The difference between two sets: what is told, who must approve, and that no question whose answer changes is left out.

use super::mistakes::folder;
use super::tests::{SHIPPED, caller, policies};
use super::*;
use crate::model::{Age, ClientKind, ConsentStatus, Emergency, Employee, Environment, NO_CUSTOMER_DATA, PartyFacts, Role, Segment, Stage, Task};

type Edit = (&'static str, &'static str, &'static str);

fn edited(edits: &[Edit]) -> Policies {
    Policies::load(folder(edits).path()).map_err(|findings| findings.to_string()).unwrap()
}

fn need(old: &[Edit], new: &[Edit]) -> (Vec<&'static str>, bool) {
    let need = Difference::between(Some(&edited(old)), &edited(new)).need();
    (need.departments.iter().map(|department| department.as_str()).collect(), need.only_narrows)
}

const FORBID: Edit = (
    "40-prohibitions.cedar",
    "",
    "@id(\"stop\")\n@description(\"x\")\nforbid (principal, action == Action::\"read\", resource == Category::\"contact\") when { context.customer.stage == Stage::\"lead\" };\n",
);
const STOP: Edit = ("40-prohibitions.cedar", "", "@id(\"stop\")\n@description(\"x\")\nforbid (principal, action, resource) when { context.gpc };\n");
const PERMIT: Edit = (
    "20-sharing.cedar",
    "",
    "@id(\"more\")\n@description(\"x\")\npermit (principal == Application::\"crm\", action == Action::\"read\", resource == Category::\"billing\") when { context.purpose in Purpose::\"sales\" && context.basis != LawfulBasis::\"none\" && context.consent.status == ConsentStatus::\"given\" };\n",
);
const EMERGENCY: Edit = ("60-break-glass.cedar", "\"INC-*\"", "\"*\"");

#[test]
fn the_same_set_has_no_difference_and_needs_nobody_in_particular() {
    let difference = Difference::between(Some(&SHIPPED), &policies());
    assert!(difference.is_nothing(), "{difference:?}");
    assert_eq!(need(&[], &[("00-floor.cedar", "", "// a remark\n")]), (vec![], true));
}

#[test]
fn a_prohibition_only_narrows_and_taking_it_away_opens() {
    assert_eq!(need(&[], &[FORBID]), (vec!["marketing"], true));
    assert_eq!(need(&[FORBID], &[]), (vec!["marketing"], false));
}

#[test]
fn whoever_owns_what_opens_must_approve() {
    let (before, after) =
        (edited(&[]), edited(&[PERMIT, ("activities.toml", "categories = [\"identity\"", "categories = [\"billing\", \"identity\"")]));
    let difference = Difference::between(Some(&before), &after);
    assert!(difference.need().departments.contains(&Department::intern("finance")), "{difference:#?}");
    assert!(!difference.only_narrows());
}

#[test]
fn what_a_policy_says_of_emergencies_is_never_taken_for_unchanged() {
    let difference = Difference::between(Some(&SHIPPED), &edited(&[EMERGENCY]));
    assert!(difference.places.values().any(|changed| changed.unclear > 0) && !difference.only_narrows());
    let owners: std::collections::BTreeSet<_> = SHIPPED.vocabulary().categories.values().map(|info| info.owner).collect();
    assert!(difference.need().departments.is_superset(&owners) || difference.need().departments.len() + 1 >= owners.len(), "{:?}", difference.need());
}

fn place(category: &str, action: Action, department: &str, purpose: &str) -> Place {
    let (category, department) = (Category::intern(category), Department::intern(department));
    Place { category, action, department, purpose: Purpose::intern(purpose) }
}

/// What changes at a place.
fn at(old: &[Edit], new: &[Edit], place: &Place) -> Changed {
    Difference::between(Some(&edited(old)), &edited(new)).places.get(place).copied().unwrap_or_default()
}

const SUPPORT: (&str, &str) = ("service", "service-provision.support");

#[test]
fn what_only_a_grant_would_open_is_told() {
    let billing = place("billing", Action::Update, SUPPORT.0, SUPPORT.1);
    let permit = "@id(\"more\")\n@description(\"x\")\npermit (principal, action == Action::\"update\", resource == Category::\"billing\") when { context.basis == LawfulBasis::\"vital-interest\" && context.purpose in principal.registered_purposes };\n";
    let owners = (
        "40-prohibitions.cedar",
        "",
        "@id(\"hands-off\")\n@description(\"x\")\nforbid (principal, action == Action::\"update\", resource == Category::\"billing\") when { context.basis != LawfulBasis::\"vital-interest\" };\n",
    );
    let writes: Edit = (
        "10-ownership.cedar",
        "principal in resource.contributors ||",
        "principal in Department::\"service\" || principal in resource.contributors ||",
    );
    let changed = at(&[owners, writes], &[owners, writes, ("20-sharing.cedar", "", permit)], &billing);
    assert!(changed.opens > 0 && changed.unclear == 0, "{changed:?}");
    // A prohibition that a grant cannot lift, taken away.
    let stop: Edit = (
        "40-prohibitions.cedar",
        "",
        "@id(\"stop\")\n@description(\"x\")\nforbid (principal, action == Action::\"read\", resource == Category::\"billing\") when { context.basis == LawfulBasis::\"vital-interest\" };\n",
    );
    let changed = at(&[stop], &[], &Place { action: Action::Read, ..billing });
    assert!(changed.opens > 0 && changed.closes == 0 && changed.unclear == 0, "{changed:?}");
    // An app that did not exist may be given a grant.
    let app = "{\"uid\":{\"type\":\"Application\",\"id\":\"helpdesk\"}";
    let pager = "{\"uid\":{\"type\":\"Application\",\"id\":\"pager\"},\"attrs\":{\"registered_purposes\":[{\"type\":\"Purpose\",\"id\":\"service-provision\"}]},\"parents\":[{\"type\":\"Department\",\"id\":\"service\"}]},";
    let more = ("catalogue.cedarentities.json", app, format!("{pager}{app}").leak() as &str);
    let changed = at(&[], &[more], &Place { action: Action::Read, ..billing });
    assert!(changed.opens > 0 && changed.closes == 0, "{changed:?}");
}

#[test]
fn what_policies_about_emergencies_reach_through_others_is_compared() {
    let reaching: Edit = ("60-break-glass.cedar", "context has employee &&", "context has employee && principal in Role::\"key-account-care\" &&");
    let role = "\"id\":\"service\"},\"attrs\":{\"active\":true},\"parents\":[";
    let more: Edit = (
        "catalogue.cedarentities.json",
        role,
        "\"id\":\"service\"},\"attrs\":{\"active\":true},\"parents\":[{\"type\":\"Role\",\"id\":\"key-account-care\"}",
    );
    let changed = at(&[reaching], &[reaching, more], &place("billing", Action::Read, SUPPORT.0, SUPPORT.1));
    assert!(changed.unclear > 0, "{changed:?}");
}

#[test]
fn an_app_that_changes_hands_needs_every_owner() {
    let crm = "\"id\":\"service-provision\"}]},\"parents\":[{\"type\":\"Department\",\"id\":\"sales\"}]}";
    let moved = ("catalogue.cedarentities.json", crm, crm.replace("\"sales\"", "\"marketing\"").leak() as &str);
    let difference = Difference::between(Some(&SHIPPED), &edited(&[moved]));
    assert!(!difference.only_narrows() && difference.beside.iter().any(|beside| beside.what.starts_with("`crm`")), "{:?}", difference.beside);
}

#[test]
fn routes_free_of_customer_data_are_compared_with_their_own_basis() {
    let stop: Edit = (
        "40-prohibitions.cedar",
        "",
        "@id(\"stop\")\n@description(\"x\")\nforbid (principal, action, resource == Category::\"no-customer-data\") when { context.basis == LawfulBasis::\"legitimate-interest\" };\n",
    );
    let changed = at(&[stop], &[], &place(NO_CUSTOMER_DATA, Action::Read, SUPPORT.0, SUPPORT.1));
    assert!(changed.opens > 0 && changed.closes == 0, "{changed:?}");
}

#[test]
fn an_agent_that_acts_for_an_employee_is_asked_about_where_no_policy_looks_at_employees() {
    let unread: Edit =
        ("40-prohibitions.cedar", "context has employee &&\n  context.employee.roles.contains(Role::\"key-account-care\")", "context.gpc");
    let stop: Edit = (
        "50-agents.cedar",
        "",
        "@id(\"stop\")\n@description(\"x\")\nforbid (principal is Agent, action == Action::\"read\", resource == Category::\"contact\") when { context has behalf && context.behalf == Behalf::\"employee\" };\n",
    );
    let changed = at(&[unread, stop], &[unread], &place("contact", Action::Read, "sales", "sales.outreach"));
    assert!(changed.opens > 0 && changed.closes == 0, "{changed:?}");
}

/// With an overflow in it, so that plain Cedar must say.
const ERRS: &str = "context.now.offset(duration(\"1h\")) > datetime(\"2026-03-01\")";

#[test]
fn where_plain_cedar_says_equal_texts_are_the_same_and_others_unclear() {
    let with = |condition: &str| {
        let permit = format!(
            "@id(\"more\")\n@description(\"x\")\npermit (principal, action == Action::\"read\", resource == Category::\"billing\") when {{ context.purpose in principal.registered_purposes && {condition} }};\n"
        );
        ("20-sharing.cedar", "", permit.leak() as &str)
    };
    let billing = place("billing", Action::Read, SUPPORT.0, SUPPORT.1);
    let errs = with(ERRS);
    assert_eq!(at(&[errs], &[errs], &billing), Changed::default());
    assert!(at(&[errs], &[with("context.now.offset(duration(\"2h\")) > datetime(\"2026-03-01\")")], &billing).unclear > 0);
    // The same text, and what stands beside it is another.
    let stop: Edit = (
        "40-prohibitions.cedar",
        "",
        "@id(\"stop\")\n@description(\"x\")\nforbid (principal, action == Action::\"read\", resource == Category::\"billing\");\n",
    );
    let changed = at(&[errs, stop], &[errs], &billing);
    assert!(changed.opens + changed.unclear > 0, "{changed:?}");
    // The same text, asked with another basis.
    let basis: Edit = ("activities.toml", "basis = \"contract\"", "basis = \"legitimate-interest\"");
    let told = Difference::between(Some(&edited(&[errs])), &edited(&[errs, basis])).places;
    assert!(told.values().any(|changed| changed.unclear > 0), "{told:?}");
}

#[test]
fn what_decides_beside_the_questions_needs_every_owner() {
    let all: std::collections::BTreeSet<_> = SHIPPED.vocabulary().categories.values().map(|info| info.owner).collect();
    for edit in [("consent.toml", "clock_skew_s = 60", "clock_skew_s = 5"), ("captures.toml", ", \"guardian\"", "")] {
        let difference = Difference::between(Some(&SHIPPED), &edited(&[edit]));
        assert!(difference.places.is_empty() && !difference.only_narrows());
        assert_eq!(difference.need().departments, all, "{edit:?}");
    }
    let first = Difference::between(None, &SHIPPED);
    assert_eq!(first.need().departments, all);
    assert_eq!(first.need(), Difference::need_of_first(&SHIPPED));
    assert!(first.places.values().all(|changed| changed.closes == 0 && changed.unclear == 0));
    let mut routes = Difference::between(Some(&SHIPPED), &policies());
    routes.with_other_routes();
    assert_eq!((routes.need().departments, routes.only_narrows()), (all, false));
}

#[test]
fn a_category_that_changes_hands_needs_both_owners() {
    let billing = "\"owner\":{\"type\":\"Department\",\"id\":\"finance\"}";
    let difference =
        Difference::between(Some(&SHIPPED), &edited(&[("catalogue.cedarentities.json", billing, billing.replace("finance", "sales").leak())]));
    let departments = difference.need().departments;
    assert!(departments.contains(&Department::intern("finance")) && departments.contains(&Department::intern("sales")), "{departments:?}");
}

#[test]
fn what_an_agent_may_be_sent_to_do_is_part_of_the_difference() {
    let tasks = "\"tasks\":[{\"type\":\"Task\",\"id\":\"prepare-call\"},{\"type\":\"Task\",\"id\":\"tidy-opportunities\"}]";
    let one = "\"tasks\":[{\"type\":\"Task\",\"id\":\"prepare-call\"}]";
    // Also where no policy looks at tasks, so that all tables are the same: the gateway refuses what nobody registered.
    let blind: Edit = (
        "50-agents.cedar",
        "when { context has task }\nunless\n{\n  principal.tasks.contains(context.task) &&\n  context.purpose in context.task.purposes\n}",
        "when { context.gpc && context.basis == LawfulBasis::\"none\" }",
    );
    for with in [&[][..], &[blind][..]] {
        let (few, many) = (edited(&[with, &[("catalogue.cedarentities.json", tasks, one)]].concat()), edited(with));
        let more = Difference::between(Some(&few), &many);
        assert!(!more.only_narrows() && !more.need().departments.is_empty(), "{with:?}");
    }
    let purposes = "\"id\":\"prepare-call\"},\"attrs\":{\"purposes\":[{\"type\":\"Purpose\",\"id\":\"sales.outreach\"}]}";
    let elsewhere = purposes.replace("sales.outreach", "profiling").leak();
    for with in [&[][..], &[blind][..]] {
        let narrow = edited(&[with, &[("catalogue.cedarentities.json", purposes, elsewhere)]].concat());
        assert!(!Difference::between(Some(&narrow), &edited(with)).only_narrows(), "a task for another purpose, {with:?}");
    }
}

#[test]
fn for_whom_an_agent_acts_and_for_how_many_is_part_of_the_difference() {
    let budget = ("catalogue.cedarentities.json", "\"budget\":{\"customers\":50}", "\"budget\":{\"customers\":500}");
    let anybody = ("50-agents.cedar", "Behalf::\"nobody\",", "Behalf::\"nobody\", Behalf::\"other-customer\",");
    for edit in [budget, anybody] {
        let difference = Difference::between(Some(&SHIPPED), &edited(&[edit]));
        assert!(!difference.only_narrows() && !difference.need().departments.is_empty(), "{edit:?}");
    }
}

/// Numbers that look random and are the same each time.
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*seed >> 40).unwrap()
}

fn pick<T: Copy>(seed: &mut u64, from: &[T]) -> T {
    from[next(seed) % from.len()]
}

fn permits(condition: &str) -> Edit {
    let permit = format!(
        "@id(\"more\")\n@description(\"x\")\npermit (principal, action, resource) when {{ context.purpose in principal.registered_purposes && {condition} }};\n"
    );
    ("20-sharing.cedar", "", permit.leak())
}

#[test]
fn no_question_whose_answer_changes_is_left_out() {
    all_changes_are_told(&[permits("context has employee && context.employee.roles.contains(Role::\"on-call\") && context.gpc")], 1);
}

#[test]
#[ignore = "minutes in a debug build"]
fn no_question_of_many_whose_answer_changes_is_left_out() {
    let agents: Edit = ("50-agents.cedar", "Behalf::\"nobody\",", "Behalf::\"other-customer\",");
    let sets: [&[Edit]; 8] = [
        &[STOP],
        &[permits("context.consent.explicit")],
        &[permits("context.now.toTime() >= duration(\"18h\") && context.now < datetime(\"2026-06-01\")")],
        &[permits("context.basis == LawfulBasis::\"vital-interest\" && context.customer.age == Age::\"adult\"")],
        &[permits("context has task && context.task == Task::\"prepare-call\" && context has customers && context.customers < 40")],
        &[permits(ERRS)],
        &[EMERGENCY],
        &[agents],
    ];
    sets.iter().for_each(|edits| all_changes_are_told(edits, 40));
}

/// Asks both sets, the shipped one and one with edits, and looks whether each change of an answer is told.
fn all_changes_are_told(edits: &[Edit], draws: usize) {
    let other = edited(edits);
    let difference = Difference::between(Some(&SHIPPED), &other);
    let vocabulary = SHIPPED.vocabulary();
    let emergencies = ["INC-1", "CHG-1"].map(|ticket| Emergency { ticket: ticket.to_owned(), justification: "a leak".to_owned() });
    let (mut seed, mut changed) = (7, 0);
    for (client, category, purpose) in vocabulary
        .clients
        .keys()
        .flat_map(|client| vocabulary.categories.keys().map(move |category| (client, category)))
        .flat_map(|(client, category)| vocabulary.purposes.keys().map(move |purpose| (client, category, purpose)))
    {
        for _ in 0..draws {
            let action = pick(&mut seed, Action::ALL);
            let mut who = caller(&SHIPPED, client.as_str());
            if next(&mut seed).is_multiple_of(2) {
                who.employee = Some(Employee { pseudonym: String::new(), roles: vec![Role::intern("on-call")] });
            }
            let moments = ["2026-03-01T19:00:00Z", "2026-03-01T10:00:00Z", "2026-07-01T23:59:59Z", "1970-01-01T18:00:00Z"];
            let tasks: Vec<Task> = vocabulary.tasks.keys().filter(|task| vocabulary.may_do(*client, **task)).copied().collect();
            let task = tasks.get(next(&mut seed) % (tasks.len() + 1)).copied();
            if task.is_some_and(|task| !vocabulary.serves(task, *purpose)) {
                continue;
            }
            let particulars = Particulars {
                task,
                for_customer: pick(&mut seed, &[None, Some(true), Some(false)]).filter(|_| who.kind == ClientKind::Agent),
                customers: pick(&mut seed, &[None, Some(1), Some(30), Some(400)]),
                emergency: emergencies.get(next(&mut seed) % 6),
            };
            let base = Question {
                status: pick(&mut seed, ConsentStatus::ALL),
                party: PartyFacts {
                    stage: pick(&mut seed, Stage::ALL),
                    segment: pick(&mut seed, Segment::ALL),
                    age: pick(&mut seed, Age::ALL),
                    legal_hold: next(&mut seed).is_multiple_of(2),
                },
                explicit: next(&mut seed).is_multiple_of(2),
                gpc: next(&mut seed).is_multiple_of(2),
                environment: pick(&mut seed, Environment::ALL),
                now: pick(&mut seed, &moments).parse().unwrap(),
                records: (action == Action::Export).then_some(10),
                particulars,
                ..tests::question(&who, action, category.as_str(), purpose.as_str())
            };
            let ask = |set: &Policies| {
                let activity = set.activity(who.department, *purpose, *category);
                let basis = match particulars.emergency {
                    Some(_) => LawfulBasis::VitalInterest,
                    None => activity.map_or(LawfulBasis::None, |activity| activity.basis),
                };
                set.decide(&Question { basis, channel: set.vocabulary().channel(*purpose), ..base.clone() }).allow()
            };
            let (before, after) = (ask(&SHIPPED), ask(&other));
            if before == after {
                continue;
            }
            changed += 1;
            let place = Place { category: *category, action, department: who.department, purpose: *purpose };
            let told = difference.places.get(&place).copied().unwrap_or_default();
            let is_told = if after { told.opens } else { told.closes } + told.unclear;
            assert!(is_told > 0, "{edits:?} {place:?} {told:?} {base:?}");
        }
    }
    assert!(changed > 0, "no question changed: {edits:?}");
}
