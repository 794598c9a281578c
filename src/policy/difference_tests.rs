//! The difference between two sets: what is told, who must approve, and that no question whose answer changes is left out.

use super::mistakes::folder;
use super::tests::{SHIPPED, caller, policies};
use super::*;
use crate::model::{Age, ConsentStatus, Employee, PartyFacts, Role, Segment, Stage};

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

#[test]
#[ignore = "minutes in a debug build"]
fn no_question_whose_answer_changes_is_left_out() {
    let permits = |condition: &str| {
        format!(
            "@id(\"more\")\n@description(\"x\")\npermit (principal, action, resource) when {{ context.purpose in principal.registered_purposes && {condition} }};\n"
        )
    };
    let times = permits("context.now.toTime() >= duration(\"18h\") && context.now < datetime(\"2026-06-01\")");
    let roles = permits("context has employee && context.employee.roles.contains(Role::\"on-call\") && context.gpc");
    let explicit = permits("context.consent.explicit");
    let errs = permits("context.now.offset(duration(\"1h\")) > datetime(\"2026-03-01\")");
    let edits: [&[Edit]; 5] = [
        &[STOP],
        &[("20-sharing.cedar", "", explicit.leak())],
        &[("20-sharing.cedar", "", times.leak())],
        &[("20-sharing.cedar", "", roles.leak())],
        &[("20-sharing.cedar", "", errs.leak())],
    ];
    let (mut seed, mut vacuous) = (7, Vec::new());
    for edit in edits {
        let other = edited(edit);
        let difference = Difference::between(Some(&SHIPPED), &other);
        let (mut asked, mut changed) = (0, 0);
        for client in SHIPPED.vocabulary().clients.keys() {
            for category in SHIPPED.vocabulary().categories.keys() {
                for purpose in SHIPPED.vocabulary().purposes.keys() {
                    for _ in 0..4 {
                        let action = pick(&mut seed, Action::ALL);
                        let mut who = caller(&SHIPPED, client.as_str());
                        if next(&mut seed).is_multiple_of(2) {
                            who.employee = Some(Employee { pseudonym: String::new(), roles: vec![Role::intern("on-call")] });
                        }
                        let moments = ["2026-03-01T19:00:00Z", "2026-03-01T10:00:00Z", "2026-07-01T23:59:59Z", "1970-01-01T18:00:00Z"];
                        let base = tests::question(&who, action, category.as_str(), purpose.as_str());
                        let question = |set: &Policies| Question {
                            basis: set.activity(who.department, *purpose, *category).map_or(LawfulBasis::None, |activity| activity.basis),
                            channel: set.vocabulary().channel(*purpose),
                            records: (action == Action::Export).then_some(10),
                            ..base.clone()
                        };
                        let status = pick(&mut seed, ConsentStatus::ALL);
                        let party = PartyFacts {
                            stage: pick(&mut seed, Stage::ALL),
                            segment: pick(&mut seed, Segment::ALL),
                            age: pick(&mut seed, Age::ALL),
                            legal_hold: next(&mut seed).is_multiple_of(2),
                        };
                        let (explicit, gpc) = (next(&mut seed).is_multiple_of(2), next(&mut seed).is_multiple_of(2));
                        let environment = pick(&mut seed, Environment::ALL);
                        let now: Timestamp = pick(&mut seed, &moments).parse().unwrap();
                        let ask = |set: &Policies| set.decide(&Question { status, party, explicit, gpc, environment, now, ..question(set) }).allow();
                        asked += 1;
                        let (before, after) = (ask(&SHIPPED), ask(&other));
                        if before == after {
                            continue;
                        }
                        changed += 1;
                        let place = Place { category: *category, action, department: who.department, purpose: *purpose };
                        let told = difference.places.get(&place).copied().unwrap_or_default();
                        let is_told = if after { told.opens } else { told.closes } + told.unclear;
                        assert!(is_told > 0, "{edit:?} {place:?} {told:?}");
                    }
                }
            }
        }
        if changed == 0 {
            vacuous.push((edit, asked));
        }
    }
    assert!(vacuous.is_empty(), "no question changed: {vacuous:#?}");
}
