//! The compiled form against plain Cedar: construct by construct, on generated policies, and in every class of questions that a
//! shipped policy tells apart.

use cedar_policy::{PolicyId, PolicySet, SlotId, Template};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::request::all_facts;
use super::super::rules::Written;
use super::super::tests::{SHIPPED, rule, whole, with};
use super::super::{Policies, Use, tests};
use super::*;
use crate::model::{
    Action, Age, Caller, Category, Channel, Client, ConsentStatus, Emergency, Employee, Environment, LawfulBasis, Particulars, PartyFacts,
    PolicyName, Question, Role, Segment, Stage, Task,
};

/// A template's link, its slots filled in.
fn linked(name: &str, text: &str, principal: &str, resource: &str) -> Rule {
    let mut set = PolicySet::new();
    set.add_template(Template::parse(Some(PolicyId::new("template")), text).unwrap()).unwrap();
    let slots = [(SlotId::principal(), principal.parse().unwrap()), (SlotId::resource(), resource.parse().unwrap())].into();
    set.link(PolicyId::new("template"), PolicyId::new(name), slots).unwrap();
    Rule::new(name, set.policy(&PolicyId::new(name)).unwrap(), Written::alone(text)).unwrap()
}

fn is_compiled(policies: &Policies, question: &Question<'_>) -> bool {
    let seen = policies.slices.index.see(question).unwrap();
    policies.code(&seen).is_some_and(|code| code.decide(&seen).is_some())
}

fn caller(client: &str, roles: Option<&[&str]>) -> Caller {
    let employee = |roles: &[&str]| Employee { pseudonym: String::new(), roles: roles.iter().map(|role| Role::intern(role)).collect() };
    Caller { employee: roles.map(employee), ..tests::caller(&SHIPPED, client) }
}

fn question(caller: &Caller, action: Action) -> Question<'_> {
    Question { records: (action == Action::Export).then_some(10), ..tests::question(caller, action, "contact", "marketing.email") }
}

// ------------------------------------------------------------------ construct by construct

/// Whether a condition is compiled for a read without an employee, a read with one, and an export.
const CONSTRUCTS: [(&str, [bool; 3]); 43] = [
    ("true", [true, true, true]),
    ("context.gpc", [true, true, true]),
    ("!context.gpc || context.consent.explicit", [true, true, true]),
    ("if context.gpc then context.consent.explicit else context.customer.legal_hold", [true, true, true]),
    ("context.purpose == Purpose::\"marketing.email\"", [true, true, true]),
    ("context.purpose in Purpose::\"marketing\"", [true, true, true]),
    ("context.purpose in [Purpose::\"sales\", Purpose::\"profiling\"]", [true, true, true]),
    ("context.purpose in principal.registered_purposes", [true, true, true]),
    ("context.purpose has channel && context.purpose.channel == context.channel", [true, true, true]),
    ("context.purpose has channel && context.purpose.channel == Channel::\"email\"", [true, true, true]),
    ("[ConsentStatus::\"given\", ConsentStatus::\"unknown\"].contains(context.consent.status)", [true, true, true]),
    ("context.customer.stage != Stage::\"churned\"", [true, true, true]),
    ("principal in resource.owner || principal in resource.contributors", [true, true, true]),
    ("principal is Application && resource.sensitivity == Sensitivity::\"ordinary\"", [true, true, true]),
    ("principal is Application in Department::\"marketing\"", [true, true, true]),
    ("resource.label like \"Cont*\"", [true, true, true]),
    ("context has employee", [true, true, true]),
    ("context has employee && context.employee.roles.contains(Role::\"on-call\")", [true, true, true]),
    ("context has employee && context.employee.roles.containsAny([Role::\"on-call\", Role::\"key-account-care\"])", [true, true, true]),
    ("context has employee && context.employee.roles.containsAll([Role::\"on-call\", Role::\"key-account-care\"])", [true, true, true]),
    ("context has employee && !context.employee.roles.isEmpty()", [true, false, true]),
    ("context has employee && context.employee.roles == [Role::\"on-call\"]", [true, false, true]),
    ("context.employee.roles.contains(Role::\"on-call\")", [false, true, false]),
    ("context has emergency && context.emergency.approved", [true, true, true]),
    ("context.emergency.approved", [false, false, false]),
    ("context has records && context.records <= 10", [true, true, true]),
    ("context.records < 10", [false, false, true]),
    ("9 < context.records", [false, false, true]),
    ("context.records + 1 == 11", [false, false, false]),
    ("context.now >= datetime(\"2026-03-01T10:00:00Z\")", [true, true, true]),
    ("context.now.toTime() < duration(\"18h\") && context.now.toTime() >= duration(\"8h\")", [true, true, true]),
    ("context.now.toDate() == datetime(\"2026-03-01\")", [true, true, true]),
    ("context.now.offset(duration(\"1h\")) > datetime(\"2026-03-01\")", [false, false, false]),
    ("context.gpc && context.now.offset(duration(\"1h\")) > datetime(\"2026-03-01\")", [true, true, true]),
    ("context.consent == {\"status\": ConsentStatus::\"given\", \"explicit\": false}", [true, true, true]),
    ("context.gpc == context.consent.explicit", [true, true, true]),
    ("(context.purpose in principal.registered_purposes) == context.gpc && context.basis != LawfulBasis::\"none\"", [true, true, true]),
    ("[context].contains(context)", [false, false, false]),
    ("context.customer == context.customer && context.channel == context.purpose.channel", [true, true, true]),
    ("[context.purpose, context.basis, context.channel, context.customer].contains(1)", [false, false, false]),
    ("principal in context.employee.roles", [false, false, false]),
    ("9223372036854775807 + 1 > 0", [false, false, false]),
    ("context.basis", [false, false, false]),
];

#[test]
fn each_construct_is_compiled_or_left_to_cedar_and_answers_as_cedar_does() {
    let (nobody, somebody) = (caller("campaign-manager", None), caller("campaign-manager", Some(&["on-call"])));
    for (condition, expected) in CONSTRUCTS {
        for keyword in ["when", "unless"] {
            let text = format!("permit (principal, action, resource) {keyword} {{ {condition} }};");
            let policies = with(vec![rule("one", &text)]);
            let set = policies.whole_set();
            let asked = [question(&nobody, Action::Read), question(&somebody, Action::Read), question(&nobody, Action::Export)];
            assert_eq!(asked.each_ref().map(|asked| is_compiled(&policies, asked)), expected, "{text}");
            for asked in asked {
                assert_eq!(policies.decide(&asked), whole(&policies, &set, &asked), "{text} {asked:?}");
            }
        }
    }
}

#[test]
fn numbers_and_times_are_cut_at_the_constants() {
    let nobody = caller("crm", None);
    let conditions = [
        "context.records <= 1000",
        "context.records == 1000",
        "1000 < context.records",
        "context.now < datetime(\"2026-04-01T00:00:00Z\")",
        "context.now == datetime(\"2026-04-01\")",
        "context.now.toDate() > datetime(\"2026-04-01T05:00:00Z\")",
        "context.now.toDate() <= datetime(\"2026-04-01\")",
        "context.now.toTime() >= duration(\"8h\") && context.now.toTime() < duration(\"18h30m\")",
        "context.now >= datetime(\"1960-01-01\")",
    ];
    let times = ["2026-03-31T23:59:59.999Z", "2026-04-01T00:00:00Z", "2026-04-01T00:00:00.001Z", "2026-04-01T07:59:59.999Z"];
    let more = ["2026-04-01T08:00:00Z", "2026-04-01T18:29:59.999Z", "2026-04-01T18:30:00Z", "2026-04-02T00:00:00Z", "1970-01-01T00:00:00Z"];
    for condition in conditions {
        let policies = with(vec![rule("one", &format!("permit (principal, action, resource) when {{ {condition} }};"))]);
        let set = policies.whole_set();
        for now in times.iter().chain(&more) {
            for records in [0, 999, 1000, 1001, u32::MAX] {
                let asked = Question { records: Some(records), now: now.parse().unwrap(), ..question(&nobody, Action::Export) };
                assert!(is_compiled(&policies, &asked), "{condition}");
                assert_eq!(policies.decide(&asked), whole(&policies, &set, &asked), "{condition} {now} {records}");
            }
        }
        let before = Question { now: Timestamp::from_millisecond(-1).unwrap(), ..question(&nobody, Action::Export) };
        assert!(!is_compiled(&policies, &before));
        assert_eq!(policies.decide(&before), whole(&policies, &set, &before), "{condition}");
    }
}

#[test]
fn apps_that_no_policy_tells_apart_share_slices_and_a_name_sets_one_apart() {
    let everybody = with(vec![rule("one", "permit (principal, action, resource) when { context.gpc };")]);
    let by_name = with(vec![rule("one", "permit (principal == Application::\"mdm-hub\", action, resource) when { context.gpc };")]);
    let by_purpose = with(vec![rule("one", "permit (principal, action, resource) when { context.purpose in principal.registered_purposes };")]);
    let cell = |policies: &Policies, client: &str, category: &str| {
        let caller = caller(client, None);
        policies.slices.index.see(&Question { category: Category::intern(category), ..question(&caller, Action::Read) }).unwrap().cell
    };
    // Both belong to the same department and differ in what they are registered for.
    let is_one = |policies: &Policies| cell(policies, "mdm-hub", "contact") == cell(policies, "preference-centre", "contact");
    assert_eq!((is_one(&everybody), is_one(&by_name), is_one(&by_purpose)), (true, false, false));
    assert_eq!(cell(&everybody, "crm", "staff"), cell(&everybody, "crm", "no-customer-data"));
    assert_ne!(cell(&everybody, "crm", "staff"), cell(&everybody, "helpdesk", "staff"), "another department");
    // Slices that are different places, but have equal tables.
    let code = |client: &str| {
        let caller = caller(client, None);
        let seen = everybody.slices.index.see(&question(&caller, Action::Read)).unwrap();
        std::ptr::from_ref(everybody.code(&seen).unwrap())
    };
    assert_eq!(code("crm"), code("helpdesk"));
}

#[test]
fn a_policy_with_many_ways_to_hold_names_itself_once_and_one_with_too_many_is_left_to_cedar() {
    let nobody = caller("crm", None);
    let facts = ["context.gpc", "context.consent.explicit", "context.customer.legal_hold", "context.environment == Environment::\"test\""];
    let policies = with(vec![rule("any", &format!("permit (principal, action, resource) when {{ {} }};", facts.join(" || ")))]);
    let asked = Question { gpc: true, explicit: true, environment: Environment::Test, ..question(&nobody, Action::Read) };
    assert!(is_compiled(&policies, &asked));
    assert_eq!(policies.decide(&asked).policies(), [PolicyName::intern("any")]);

    let xor = |a: String, b: &str| format!("(if {a} then !({b}) else {b})");
    let far = facts
        .into_iter()
        .chain(["context.channel == Channel::\"sms\"", "context.basis == LawfulBasis::\"none\"", "context.customer.stage == Stage::\"lead\""])
        .chain(["context.customer.age == Age::\"adult\"", "context.customer.segment == Segment::\"vip\""])
        .fold("context.consent.status == ConsentStatus::\"given\"".to_owned(), xor);
    let policies = with(vec![rule("odd", &format!("permit (principal, action, resource) when {{ {far} }};"))]);
    assert!(!is_compiled(&policies, &asked), "512 ways");
    assert_eq!(policies.decide(&asked), whole(&policies, &policies.whole_set(), &asked));
}

#[test]
fn policies_by_the_thousand_have_their_names_in_order() {
    let nobody = caller("crm", None);
    let rules = (0..1000).map(|n| {
        let status = if n % 3 == 0 { "given" } else { "refused" };
        let condition = format!("context.consent.status == ConsentStatus::\"{status}\"");
        rule(&format!("p{n:04}"), &format!("permit (principal, action, resource) when {{ {condition} }};"))
    });
    let policies = with(rules.collect());
    let asked = question(&nobody, Action::Read);
    assert!(is_compiled(&policies, &asked));
    let decided = policies.decide(&asked);
    assert_eq!((decided.policies().len(), &decided), (334, &whole(&policies, &policies.whole_set(), &asked)));
}

// ------------------------------------------------------------------ generated policies

fn leaf() -> impl Strategy<Value = String> {
    let own = CONSTRUCTS.iter().map(|(text, _)| (*text).to_owned());
    let more = [
        "false",
        "context.customer.legal_hold",
        "context.basis == LawfulBasis::\"contract\"",
        "context.customer.age == Age::\"minor\"",
        "[Segment::\"vip\", Segment::\"vulnerable\"].contains(context.customer.segment)",
        "[ConsentStatus::\"refused\"].containsAny([context.consent.status])",
        "context.environment == Environment::\"test\"",
        "context.purpose.channel == Channel::\"email\"",
        "context.records > 1000",
        "context.records * 9223372036854775807 > 0",
        "context.now < datetime(\"2026-03-01T12:00:00Z\")",
        "context.now.toTime() >= duration(\"12h\")",
        "principal in Role::\"neutral-steward\"",
        "principal == Application::\"crm\"",
        "principal.nothing == 1",
        "resource in CategoryGroup::\"shareable\"",
        "resource.contributors.containsAny([Department::\"sales\"])",
        "action in Action::\"view\"",
        "action == Action::\"export\"",
        "principal.registered_purposes.contains(context.purpose)",
        "context.customer == {\"stage\": Stage::\"lead\"}",
        "context has customers && context.customers <= 50",
        "51 > context.customers",
        "context has customers",
        "context has behalf",
        "context has behalf && context.behalf == Behalf::\"customer\"",
        "[Behalf::\"nobody\", Behalf::\"employee\"].contains(context.behalf)",
        "context has task && context.purpose in context.task.purposes",
        "context.task == Task::\"prepare-call\"",
        "principal has tasks && context has task && principal.tasks.contains(context.task)",
        "principal has budget && context.customers > principal.budget.customers",
        "context has emergency && context.emergency.ticket like \"INC-*\"",
    ];
    prop::sample::select(own.chain(more.map(str::to_owned)).collect::<Vec<_>>()).prop_map(|text| format!("({text})"))
}

fn condition() -> impl Strategy<Value = String> {
    leaf().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            3 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            3 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            1 => inner.clone().prop_map(|a| format!("(!{a})")),
            1 => (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("(if {a} then {b} else {c})")),
        ]
    })
}

fn policy() -> impl Strategy<Value = String> {
    let any = |texts: &[&'static str]| prop::sample::select(texts.to_vec());
    let principal = any(&[
        "principal",
        "principal",
        "principal == Application::\"crm\"",
        "principal in Department::\"sales\"",
        "principal in Role::\"neutral-steward\"",
        "principal is Agent",
        "principal is Application",
        "principal is Application in Department::\"sales\"",
        "principal in ?principal",
    ]);
    let action =
        any(&["action", "action", "action == Action::\"read\"", "action in Action::\"view\"", "action in [Action::\"modify\", Action::\"export\"]"]);
    let resource = any(&[
        "resource",
        "resource",
        "resource == Category::\"contact\"",
        "resource in CategoryGroup::\"shareable\"",
        "resource is Category",
        "resource is Category in CategoryGroup::\"contractual\"",
    ]);
    let clauses = prop::collection::vec((any(&["when", "when", "unless"]), condition()), 0..3);
    (any(&["permit", "permit", "forbid"]), principal, action, resource, clauses).prop_map(|(effect, principal, action, resource, clauses)| {
        let resource = if principal.contains('?') { "resource in ?resource" } else { resource };
        let clauses: Vec<String> = clauses.iter().map(|(keyword, condition)| format!("{keyword} {{ {condition} }}")).collect();
        format!("{effect} ({principal}, {action}, {resource}) {};", clauses.join(" "))
    })
}

fn rules_of(texts: &[String]) -> Vec<Rule> {
    let one = |(at, text): (usize, &String)| {
        let name = format!("p{at}");
        if text.contains('?') { linked(&name, text, "Department::\"sales\"", "CategoryGroup::\"shareable\"") } else { rule(&name, text) }
    };
    texts.iter().enumerate().map(one).collect()
}

type Drawn = ([prop::sample::Index; 12], [bool; 3], Option<Vec<prop::sample::Index>>);

fn facts() -> impl Strategy<Value = Drawn> {
    let roles = prop::option::of(prop::collection::vec(any::<prop::sample::Index>(), 0..3));
    (any::<[prop::sample::Index; 12]>(), any::<[bool; 3]>(), roles)
}

/// Puts a drawn question; every list is the vocabulary's or the model's own.
fn ask(drawn: &Drawn, check: impl FnOnce(&Question<'_>)) {
    let ([client, action, category, purpose, status, basis, stage, segment, age, channel, environment, number], [explicit, gpc, legal_hold], roles) =
        drawn;
    let vocabulary = SHIPPED.vocabulary();
    let (clients, all_roles): (Vec<&Client>, Vec<Role>) = (vocabulary.clients.keys().collect(), vocabulary.roles.iter().copied().collect());
    let mut caller = caller(client.get(&clients).as_str(), None);
    caller.employee =
        roles.as_ref().map(|roles| Employee { pseudonym: String::new(), roles: roles.iter().map(|role| *role.get(&all_roles)).collect() });
    let action = *action.get(Action::ALL);
    let times = ["2026-03-01T07:59:59.999Z", "2026-03-01T10:00:00Z", "2026-03-01T12:00:00Z", "2026-02-28T23:59:59Z", "2026-03-02T18:00:00Z"];
    let tasks: Vec<Task> = vocabulary.clients[&caller.client].agent.iter().flat_map(|agent| agent.tasks.clone()).collect();
    let emergency = Emergency { ticket: "INC-1".to_owned(), justification: "a test".to_owned() };
    let particulars = Particulars {
        task: (*gpc && !tasks.is_empty()).then(|| *number.get(&tasks)),
        for_customer: *number.get(&[None, Some(true), Some(false)]),
        customers: *stage.get(&[None, Some(1), Some(50), Some(51)]),
        emergency: (*legal_hold && *explicit).then_some(&emergency),
    };
    check(&Question {
        caller: &caller,
        action,
        category: *category.get(&vocabulary.categories.keys().copied().collect::<Vec<_>>()),
        purpose: *purpose.get(&vocabulary.purposes.keys().copied().collect::<Vec<_>>()),
        basis: *basis.get(LawfulBasis::ALL),
        status: *status.get(ConsentStatus::ALL),
        explicit: *explicit,
        party: PartyFacts { stage: *stage.get(Stage::ALL), segment: *segment.get(Segment::ALL), age: *age.get(Age::ALL), legal_hold: *legal_hold },
        channel: *channel.get(Channel::ALL),
        environment: *environment.get(Environment::ALL),
        gpc: *gpc,
        records: (action == Action::Export).then_some(*number.get(&[0, 9, 10, 11, 1000, 1001])),
        now: number.get(&times).parse().unwrap(),
        particulars,
    });
}

/// Decision, reasons and errors of generated policies are Cedar's; so is the request level, for which every customer is asked about.
fn generated(cases: u32) {
    let (mut compiled, mut erred, mut allowed, mut all) = (0, 0, 0, 0);
    let strategy = (prop::collection::vec(policy(), 1..7), prop::collection::vec(facts(), 24));
    let counts = std::cell::RefCell::new((&mut compiled, &mut erred, &mut allowed, &mut all));
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
        .run(&strategy, |(texts, questions)| {
            let policies = with(rules_of(&texts));
            let set = policies.whole_set();
            for (at, drawn) in questions.iter().enumerate() {
                ask(drawn, |question| {
                    let decided = policies.decide(question);
                    assert_eq!(decided, whole(&policies, &set, question), "{texts:#?} {question:?}");
                    assert_eq!(decided, policies.evaluate(question), "{texts:#?} {question:?}");
                    let mut counts = counts.borrow_mut();
                    *counts.0 += usize::from(is_compiled(&policies, question));
                    *counts.1 += usize::from(!decided.errors().is_empty());
                    *counts.2 += usize::from(decided.allow());
                    *counts.3 += 1;
                    if at == 0 {
                        let consents = || ConsentStatus::ALL.iter().flat_map(|status| [(*status, false), (*status, true)]);
                        let mut customers = consents().flat_map(|(status, explicit)| all_facts().map(move |party| (status, explicit, party)));
                        let some = customers
                            .any(|(status, explicit, party)| policies.decide(&Question { status, explicit, party, ..question.clone() }).allow());
                        assert_eq!(policies.could_permit(&Use::of(question)), some, "{texts:#?} {question:?}");
                    }
                });
            }
            Ok(())
        })
        .unwrap();
    assert!(
        compiled * 2 > all && compiled < all && erred * 50 > all && allowed * 20 > all,
        "{compiled} compiled, {erred} erred, {allowed} allowed of {all}"
    );
}

#[test]
fn generated_policies_decide_as_cedar_does() {
    generated(40);
}

#[test]
#[ignore = "minutes in debug"]
fn many_generated_policies_decide_as_cedar_does() {
    generated(1000);
}

// ------------------------------------------------------------------ every class of the shipped policies

/// Each slice, with each combination of values that its rows tell apart: every `step`th of them. How many were asked.
fn every_class(policies: &Policies, step: usize) -> usize {
    let (mut at, mut asked) = (0_usize, 0);
    let vocabulary = policies.vocabulary();
    let slices = vocabulary.clients.keys().flat_map(|client| Action::ALL.iter().map(move |action| (client, *action)));
    for ((client, action), category) in slices.flat_map(|slice| vocabulary.categories.keys().map(move |category| (slice, category))) {
        let start = Example::new(&policies.slices.index, caller(client.as_str(), None), action, *category).unwrap();
        let seen = policies.slices.index.see(&start.question()).unwrap();
        let columns = &policies.code(&seen).unwrap().columns;
        let combinations: usize = columns.iter().map(|column| column.samples.len()).product();
        // Those of this slice whose turn it is, counted over all slices.
        for n in (0..combinations).skip((step - at % step) % step).step_by(step) {
            let (mut example, mut left) = (start.clone(), n);
            for column in columns {
                example.set(&policies.slices.index, column.field, column.samples[left % column.samples.len()]).unwrap();
                left /= column.samples.len();
            }
            let question = example.question();
            // Another agent's task, or any task of an app.
            if policies.slices.index.see(&question).is_none() {
                continue;
            }
            assert!(is_compiled(policies, &question), "{question:?}");
            assert_eq!(policies.decide(&question), policies.evaluate(&question), "{question:?}");
            asked += 1;
        }
        at += combinations;
    }
    asked
}

/// Cedar evaluates each policy by itself, so that what holds of each holds of all.
fn every_class_of_each(step: usize) -> usize {
    let alone = |known: &Rule| Rule::new(known.name.as_str(), &known.policy, known.written.clone()).unwrap();
    SHIPPED.rules.iter().map(|known| every_class(&with(vec![alone(known)]), step)).sum()
}

#[test]
fn the_shipped_policies_decide_as_cedar_does_in_a_sample_of_all_classes() {
    assert!(every_class(&SHIPPED, 9973) > 500, "of some nine million");
    assert!(every_class_of_each(11) > 2000, "of some thirty thousand");
}

#[test]
#[ignore = "minutes in debug"]
fn each_shipped_policy_decides_as_cedar_does_in_every_class() {
    assert!(every_class_of_each(1) > 30_000);
    assert!(every_class(&SHIPPED, 101) > 90_000);
}
