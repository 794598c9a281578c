//! The shipped folder, the hazards of "fail closed", and folders with planted mistakes.

use std::path::{Path, PathBuf};

use std::sync::LazyLock;

use cedar_policy::Policy;
use proptest::prelude::*;

use super::rules::Written;
use super::*;
use crate::model::{Age, Channel, Client, ClientKind, ConsentStatus, Employee, PartyFacts, Role, Segment, Stage};

pub(super) fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")
}

#[test]
fn the_shipped_folder_is_without_a_mistake_and_its_cases_pass() {
    let policies = Policies::load(&shipped()).map_err(|findings| findings.to_string()).unwrap();
    let report = cases::run_with(&policies, &shipped()).map_err(|findings| findings.to_string()).unwrap();
    let failed: Vec<String> =
        report.cases.iter().filter_map(|c| Some(format!("{}:{} {}: {}", c.file.display(), c.line, c.name, c.failure.as_ref()?))).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(report.passed() >= 10, "{}", report.passed());
}

// ------------------------------------------------------------------ questions

pub(super) static SHIPPED: LazyLock<Policies> = LazyLock::new(policies);

pub(super) fn policies() -> Policies {
    Policies::load(&shipped()).unwrap()
}

pub(super) fn caller(policies: &Policies, client: &str) -> Caller {
    let (client, info) = policies.vocabulary.clients.get_key_value(&Client::intern(client)).unwrap();
    Caller { client: *client, kind: info.kind, department: info.department, employee: None }
}

pub(super) fn question<'a>(caller: &'a Caller, action: Action, category: &str, purpose: &str) -> Question<'a> {
    Question {
        caller,
        action,
        category: Category::intern(category),
        purpose: Purpose::intern(purpose),
        basis: LawfulBasis::Consent,
        status: ConsentStatus::Given,
        explicit: false,
        party: PartyFacts { stage: Stage::Customer, segment: Segment::Standard, age: Age::Adult, legal_hold: false },
        channel: Channel::Email,
        environment: Environment::Production,
        gpc: false,
        records: None,
        now: "2026-03-01T10:00:00Z".parse().unwrap(),
        particulars: Particulars::default(),
    }
}

pub(super) fn names(names: &[PolicyName]) -> Vec<&'static str> {
    names.iter().map(|name| name.as_str()).collect()
}

/// The shipped catalogue with other policies, which need not be valid.
pub(super) fn with(rules: Vec<Rule>) -> Policies {
    let vocabulary = Arc::clone(SHIPPED.vocabulary());
    let (requests, entities) = (Requests::new(&vocabulary).unwrap(), SHIPPED.entities.clone());
    let slices = Slices::new(slices::Source { rules: &rules, requests: &requests, entities: &entities, vocabulary: &vocabulary });
    Policies {
        id: String::new(),
        files: 0,
        readings: Readings::new(&vocabulary, &SHIPPED.consent_rules),
        vocabulary,
        activities: Activities::default(),
        captures: Vec::new(),
        consent_rules: SHIPPED.consent_rules.clone(),
        infos: Vec::new(),
        schema: SHIPPED.schema.clone(),
        entities,
        authorizer: Authorizer::new(),
        rules,
        requests,
        slices,
        is_compiled: true,
    }
}

pub(super) fn rule(name: &str, text: &str) -> Rule {
    let policy = Policy::parse(Some(PolicyId::new(name)), text).unwrap_or_else(|error| panic!("{text}: {error}"));
    Rule::new(name, &policy, Written::alone(text)).unwrap()
}

/// By Cedar alone, all policies in one set.
pub(super) fn whole(policies: &Policies, set: &PolicySet, question: &Question<'_>) -> Decided<'static> {
    let request = policies.requests.build(question).unwrap();
    Decided::of(&Authorizer::new().is_authorized(&request, set, &policies.entities))
}

#[test]
fn a_name_that_the_snapshot_lacks_denies_before_anything_is_evaluated() {
    let policies = policies();
    let crm = caller(&policies, "crm");
    let fine = question(&crm, Action::Read, "order", "sales.outreach");
    assert!(policies.decide(&fine).allow());

    let employee = |role: &str| Some(Employee { pseudonym: String::new(), roles: vec![Role::intern(role)] });
    let callers = [
        Caller { client: Client::intern("crm-of-another-snapshot"), ..crm.clone() },
        Caller { kind: ClientKind::Agent, ..crm.clone() },
        Caller { department: Department::intern("finance"), ..crm.clone() },
        Caller { department: Department::intern("nowhere"), ..crm.clone() },
        Caller { employee: employee("key-account-carer"), ..crm.clone() },
    ];
    let mut questions: Vec<Question<'_>> = callers.iter().map(|caller| Question { caller, ..fine.clone() }).collect();
    questions.push(Question { purpose: Purpose::intern("marketing.emial"), ..fine.clone() });
    questions.push(Question { category: Category::intern("contacts"), ..fine.clone() });
    for question in &questions {
        let decided = policies.decide(question);
        assert_eq!((decided.allow(), names(decided.errors())), (false, vec![UNKNOWN_NAME]), "{question:?}");
        assert!(!policies.could_permit(&Use::of(question)), "{question:?}");
        let explanation = policies.explain(question);
        assert!(explanation.permits.is_empty() && explanation.changes.is_empty());
    }
}

#[test]
fn facts_that_cedar_does_not_take_deny() {
    let policies = policies();
    let crm = caller(&policies, "crm");
    let export = question(&crm, Action::Export, "order", "sales.outreach");
    let without_ceiling = policies.decide(&export);
    assert_eq!((without_ceiling.allow(), names(without_ceiling.errors())), (false, vec![NO_REQUEST]));
    assert!(!policies.could_permit(&Use::of(&export)));
    let export = Question { records: Some(1), ..export };
    assert!(policies.decide(&export).allow());
    assert_eq!(names(policies.decide(&Question { now: Timestamp::MIN, ..export }).errors()), [NO_REQUEST]);
}

#[test]
fn a_decision_about_time_is_made_anew_each_time() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(shipped()).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let night = "@id(\"until-april\")\n@description(\"Ends.\")\nforbid (principal, action, resource == Category::\"order\")\n\
                 when { context.now >= datetime(\"2026-04-01T00:00:00Z\") };\n";
    std::fs::write(folder.path().join("90-time.cedar"), night).unwrap();
    let policies = Policies::load(folder.path()).map_err(|findings| findings.to_string()).unwrap();
    let crm = caller(&policies, "crm");
    let march = question(&crm, Action::Read, "order", "sales.outreach");
    let april = Question { now: "2026-04-01T00:00:00Z".parse().unwrap(), ..march.clone() };
    assert_eq!((true, false, true), (policies.decide(&march).allow(), policies.decide(&april).allow(), policies.decide(&march).allow()));
}

#[test]
fn an_explanation_names_what_failed_and_what_would_open_it() {
    let policies = policies();
    let crm = caller(&policies, "crm");
    let mut asked = question(&crm, Action::Read, "identity", "sales.outreach");
    asked.status = ConsentStatus::Withdrawn;
    asked.party.stage = Stage::Lead;
    let explanation = policies.explain(&asked);
    let failed: Vec<String> = explanation.permits.iter().map(|p| format!("{}: {}", p.name, p.failed.as_deref().unwrap_or("permits"))).collect();
    assert_eq!(
        failed,
        [
            "owner-access: sales does not own it",
            "share-with-consent: consent status is `withdrawn`, needs one of `given`, `not-needed`",
            "share-for-contract: basis is `consent`, needs `contract`",
            "break-glass: no employee",
        ]
    );
    let forbids: Vec<String> = explanation.forbids.iter().map(|f| format!("{}: {}", f.name, f.missing.as_deref().unwrap_or("-"))).collect();
    assert_eq!(forbids, ["consent-basis-needs-consent: consent status is `withdrawn`, needs one of `given`, `not-needed`"]);
    assert_eq!(explanation.changes, [Change::Consent { status: ConsentStatus::Given, explicit: false }]);

    let mut vip = question(&crm, Action::Read, "order", "sales.outreach");
    vip.party.segment = Segment::Vip;
    let explanation = policies.explain(&vip);
    assert_eq!(explanation.forbids.first().unwrap().missing.as_deref(), Some("no employee"));
    assert_eq!(explanation.changes.first(), Some(&Change::EmployeeRole(Role::intern("key-account-care"))));

    let open = policies.explain(&question(&crm, Action::Read, "order", "sales.outreach"));
    assert!(open.decided.allow() && open.changes.is_empty() && open.forbids.is_empty());
    assert_eq!(open.permits.iter().filter(|permit| permit.failed.is_none()).count(), 1);
}

#[test]
fn every_policy_has_a_place_and_a_link_has_its_own() {
    let policies = policies();
    for info in policies.policies() {
        let (file, line) = policies.place(info.name).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.lines().skip(line - 1).take(2).any(|text| text.contains(&format!("\"{}\"", info.name))), "{info:?}");
        assert!(!info.description.is_empty(), "{info:?}");
    }
    assert!(policies.place(PolicyName::intern("agreement-service-reads-orders")).unwrap().0.ends_with("agreements.cedartemplatelinks.json"));
    assert_eq!(policies.place(PolicyName::intern("sharing-agreement")), None);
}

// ------------------------------------------------------------------ against plain Cedar

fn any_of<T: Copy + fmt::Debug>(all: &'static [T]) -> impl Strategy<Value = T> {
    (0..all.len()).prop_map(move |at| all[at])
}

type Facts = ((ConsentStatus, bool, LawfulBasis, Stage, Segment, Age), (bool, Channel, Environment, bool, u32, Option<Vec<usize>>));

fn any_facts() -> impl Strategy<Value = Facts> {
    (
        (any_of(ConsentStatus::ALL), any::<bool>(), any_of(LawfulBasis::ALL), any_of(Stage::ALL), any_of(Segment::ALL), any_of(Age::ALL)),
        (
            any::<bool>(),
            any_of(Channel::ALL),
            any_of(Environment::ALL),
            any::<bool>(),
            prop_oneof![Just(1), Just(1000), Just(1001), Just(10_001)],
            prop::option::of(prop::collection::vec(0..4_usize, 0..3)),
        ),
    )
}

/// The whole set, by Cedar alone, with the request validated against the schema.
fn plain(policies: &Policies, question: &Question<'_>) -> Decided<'static> {
    let request = policies.requests.request(question, Some(&policies.schema)).unwrap();
    Decided::of(&Authorizer::new().is_authorized(&request, &policies.whole_set(), &policies.entities))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(250) })]

    #[test]
    fn a_slice_answers_as_the_whole_set_does(
        facts in any_facts(), client in 0..7_usize, action in any_of(Action::ALL), category in 0..11_usize, purpose in 0..13_usize,
    ) {
        static POLICIES: LazyLock<Policies> = LazyLock::new(policies);
        let vocabulary = POLICIES.vocabulary();
        let (&client, info) = vocabulary.clients.iter().nth(client).unwrap();
        let ((status, explicit, basis, stage, segment, age), (legal_hold, channel, environment, gpc, records, roles)) = facts;
        let roles = roles.map(|roles| roles.into_iter().map(|at| *vocabulary.roles.iter().nth(at).unwrap()).collect());
        let employee = roles.map(|roles| Employee { pseudonym: String::new(), roles });
        let caller = Caller { client, kind: info.kind, department: info.department, employee };
        let question = Question {
            caller: &caller, action,
            category: *vocabulary.categories.keys().nth(category).unwrap(),
            purpose: *vocabulary.purposes.keys().nth(purpose).unwrap(),
            basis, status, explicit, party: PartyFacts { stage, segment, age, legal_hold },
            channel, environment, gpc, records: Some(records), now: "2026-03-01T10:00:00Z".parse().unwrap(),
            particulars: Particulars::default(),
        };
        let decided = POLICIES.decide(&question);
        prop_assert_eq!(&decided, &plain(&POLICIES, &question));
        // The request level never closes what a customer's facts open.
        prop_assert!(!decided.allow() || POLICIES.could_permit(&Use::of(&question)));
        // An explanation agrees with the decision about every policy it names.
        let explanation = POLICIES.explain(&question);
        let permits = explanation.permits.iter().any(|permit| permit.failed.is_none());
        prop_assert_eq!(decided.allow(), permits && explanation.forbids.is_empty());
        for change in explanation.changes {
            prop_assert!(!decided.allow(), "{}", change);
        }
    }
}

#[test]
fn the_request_level_says_yes_exactly_when_some_customer_would() {
    let (policies, by_cedar) = (policies(), policies().compiled(false));
    for (client, purpose, basis) in [
        ("crm", "sales.outreach", LawfulBasis::Consent),
        ("helpdesk", "service-provision.support", LawfulBasis::Contract),
        ("campaign-manager", "marketing.email", LawfulBasis::Consent),
    ] {
        let caller = caller(&policies, client);
        for category in ["identity", "behaviour"] {
            let asked = Question { basis, ..question(&caller, Action::Read, category, purpose) };
            let mut found = false;
            for facts in request::all_facts() {
                for status in ConsentStatus::ALL {
                    for explicit in [false, true] {
                        let asked = Question { party: facts, status: *status, explicit, ..asked.clone() };
                        found = found || policies.decide(&asked).allow();
                    }
                }
            }
            assert_eq!(policies.could_permit(&Use::of(&asked)), found, "{client} {category}");
            assert_eq!(by_cedar.could_permit(&Use::of(&asked)), found, "by plain Cedar: {client} {category}");
        }
    }
}
