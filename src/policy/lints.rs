//! What `policy check` reports beyond what a gateway refuses: policies that are valid and safe, and probably not meant.
//!
//! - A policy that can never apply: no principal, action and category of the catalogue are in its scope, or no value of the facts
//!   makes its conditions true. Conditions that share no fact are looked at one by one, each for every value of the facts it
//!   reads; Cedar evaluates them. What reads other facts (the time, an emergency) or too many at once counts as possible.
//!   One that waits for what the catalogue is to hold says so: `@dormant("…")`.
//! - A permit that does not look at the purpose and does not say why: `@no_purpose("…")`.
//!
//! An excuse that excuses nothing is reported, too.

use std::collections::{BTreeSet, HashMap};

use cedar_policy::pst::{BinaryOp, Clause, Expr, UnaryOp};
use cedar_policy::{Context, EvalResult, Expression, Request, eval_expression};
use jiff::Timestamp;

use crate::model::{
    Action, Age, Caller, Category, Channel, Client, ConsentStatus, Employee, Environment, Findings, LawfulBasis, Particulars, PartyFacts, PolicyName,
    Purpose, Question, Role, Segment, Stage, Task,
};

use super::reads::Reads;
use super::rules::Rule;
use super::scopes::Scopes;
use super::tokens::{Kind, tokens};
use super::{Effect, Policies};

/// The annotation by which a permit says why it holds whatever the purpose is.
const NO_PURPOSE: &str = "no_purpose";
/// The annotation by which a policy says why it cannot apply yet.
const DORMANT: &str = "dormant";
/// Evaluations spent on one policy.
const TRIED_MAX: usize = 20_000;
/// Roles of employees that one policy may tell apart.
const ROLES_MAX: usize = 6;

pub(super) fn lint(policies: &Policies) -> Findings {
    let mut findings = Findings::default();
    for rule in &policies.rules {
        without_purpose(rule, &mut findings);
    }
    without_effect(policies, &mut findings);
    findings
}

fn without_purpose(rule: &Rule, findings: &mut Findings) {
    let reads_purpose = rule.reads.reads("context.purpose");
    let excuse = rule.policy.annotation(NO_PURPOSE);
    let (message, help) = match (rule.effect, reads_purpose, excuse.map(str::trim)) {
        (Effect::Permit, false, None | Some("")) => {
            (format!("permit `{}` does not look at the purpose", rule.name), "compare `context.purpose`, or say why not: `@no_purpose(\"…\")`")
        }
        (Effect::Permit, true, Some(_)) | (Effect::Forbid, _, Some(_)) => {
            (format!("`@{NO_PURPOSE}` on `{}` excuses nothing", rule.name), "take it out: it is for permits that do not look at the purpose")
        }
        (Effect::Permit, false, Some(_)) | (Effect::Permit, true, None) | (Effect::Forbid, _, None) => return,
    };
    findings.push(rule.written.finding(rule.written.head(), message).help(help));
}

type Place = (Client, Action, Category);

fn without_effect(policies: &Policies, findings: &mut Findings) {
    let Some(places) = places(policies) else { return };
    let mut once = BTreeSet::new();
    for rule in &policies.rules {
        let why = match places.get(&rule.name) {
            None => Some("no principal, action and category of the catalogue are in its scope"),
            Some(places) if (Search { policies, tried: 0, known: HashMap::new() }).holds_somewhere(rule, places) => None,
            Some(_) => Some("no value of the facts makes its conditions true"),
        };
        let excuse = rule.policy.annotation(DORMANT).map(str::trim);
        let (message, help) = match (why, excuse) {
            (Some(why), None | Some("")) => (
                format!("policy `{}` can never apply: {why}", rule.name),
                "correct or remove it; one that waits for the catalogue says so: `@dormant(\"…\")`",
            ),
            (None, Some(_)) => (format!("`@{DORMANT}` on `{}` excuses nothing", rule.name), "take it out: the policy can apply"),
            (Some(_), Some(_)) | (None, None) => continue,
        };
        let finding = rule.written.finding(rule.written.head(), message);
        // Links of one template fail at one place.
        if once.insert((rule.written.file.clone(), finding.line, finding.message.clone())) {
            findings.push(finding.help(help));
        }
    }
}

/// Where each policy's scope holds.
fn places(policies: &Policies) -> Option<HashMap<PolicyName, Vec<Place>>> {
    let scopes = Scopes::new(&policies.rules)?;
    let mut places: HashMap<PolicyName, Vec<Place>> = HashMap::new();
    for &client in policies.vocabulary.clients.keys() {
        for &action in Action::ALL {
            for &category in policies.vocabulary.categories.keys() {
                let uids = (policies.requests.principal(client)?, policies.requests.action(action)?, policies.requests.category(category)?);
                let request = Request::new(uids.0.clone(), uids.1.clone(), uids.2.clone(), Context::empty(), None).ok()?;
                for name in scopes.met(&request, &policies.entities) {
                    places.entry(name).or_default().push((client, action, category));
                }
            }
        }
    }
    Some(places)
}

/// One value of one fact.
#[derive(Clone, Debug)]
enum Value {
    Purpose(Purpose),
    Basis(LawfulBasis),
    Status(ConsentStatus),
    Explicit(bool),
    Stage(Stage),
    Segment(Segment),
    Age(Age),
    LegalHold(bool),
    Channel(Channel),
    Environment(Environment),
    Gpc(bool),
    Employee(Option<Vec<Role>>),
    ForCustomer(Option<bool>),
    Task(Option<Task>),
    Records(u32),
    Customers(Option<u32>),
}

/// Conditions that have facts in common, and every value of those facts.
struct Group {
    wanted: Vec<(Expression, bool)>,
    reads: Vec<Reads>,
    facts: Vec<(&'static str, Vec<Value>)>,
}

impl Group {
    fn reads(&self, path: &str) -> bool {
        self.reads.iter().any(|reads| reads.reads(path))
    }
}

/// What the answer for a group may depend on besides the facts.
type Key = (usize, Option<Client>, Option<Action>, Option<Category>);

struct Search<'p> {
    policies: &'p Policies,
    tried: usize,
    known: HashMap<Key, bool>,
}

/// There is too much to try.
struct TooMuch;

impl Search<'_> {
    fn holds_somewhere(&mut self, rule: &Rule, places: &[Place]) -> bool {
        let groups = self.groups(rule);
        places.iter().any(|place| groups.iter().enumerate().all(|(at, group)| self.can_hold(at, group, *place)))
    }

    fn can_hold(&mut self, at: usize, group: &Group, (client, action, category): Place) -> bool {
        let by_action = group.reads("action") || group.reads(RECORDS);
        // Apps are told neither.
        let by_client = group.reads("principal") || group.reads(BEHALF) || group.reads(TASK);
        let key = (at, by_client.then_some(client), by_action.then_some(action), group.reads("resource").then_some(category));
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let Some(info) = self.policies.vocabulary.clients.get(&client) else { return true };
        let caller = Caller { client, kind: info.kind, department: info.department, employee: None };
        let Some(&purpose) = self.policies.vocabulary.purposes.keys().next() else { return true };
        let first = Question {
            caller: &caller,
            action,
            category,
            purpose,
            basis: LawfulBasis::Consent,
            status: ConsentStatus::Given,
            explicit: false,
            party: PartyFacts::unknown(Segment::Standard),
            channel: Channel::System,
            environment: Environment::Production,
            gpc: false,
            records: Some(1),
            now: Timestamp::UNIX_EPOCH,
            particulars: Particulars::default(),
        };
        let can = self.tries(group, &group.facts, &first).unwrap_or(true);
        self.known.insert(key, can);
        can
    }

    fn tries(&mut self, group: &Group, facts: &[(&'static str, Vec<Value>)], question: &Question<'_>) -> Result<bool, TooMuch> {
        let Some(((_, values), rest)) = facts.split_first() else { return self.holds(group, question) };
        for value in values {
            let mut caller = question.caller.clone();
            let mut next = question.clone();
            put(value, &mut next, &mut caller);
            if self.tries(group, rest, &Question { caller: &caller, ..next })? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn holds(&mut self, group: &Group, question: &Question<'_>) -> Result<bool, TooMuch> {
        self.tried += group.wanted.len();
        if self.tried > TRIED_MAX {
            return Err(TooMuch);
        }
        let Some(request) = self.policies.requests.build(question) else { return Ok(false) };
        let is = |expression: &Expression| eval_expression(&request, &self.policies.entities, expression).ok();
        Ok(group.wanted.iter().all(|(expression, wanted)| is(expression) == Some(EvalResult::Bool(*wanted))))
    }

    fn groups(&self, rule: &Rule) -> Vec<Group> {
        let mut needs = Vec::new();
        for clause in &rule.clauses {
            match clause {
                Clause::When(expr) => need(expr, true, &mut needs),
                Clause::Unless(expr) => need(expr, false, &mut needs),
            }
        }
        let mut groups: Vec<Group> = Vec::new();
        for (expr, wanted) in needs {
            let reads = Reads::of_expr(expr);
            let Some((facts, expression)) = self.facts(&rule.written.text, &reads).zip(expr.to_string().parse().ok()) else { continue };
            let mut joined = Group { wanted: vec![(expression, wanted)], reads: vec![reads], facts };
            let shares = |group: &Group| group.facts.iter().any(|(path, _)| joined.facts.iter().any(|(other, _)| other == path));
            let (with, apart): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(shares);
            groups = apart;
            for group in with {
                let more: Vec<_> = group.facts.into_iter().filter(|(path, _)| joined.facts.iter().all(|(other, _)| other != path)).collect();
                joined.facts.extend(more);
                joined.wanted.extend(group.wanted);
                joined.reads.extend(group.reads);
            }
            groups.push(joined);
        }
        groups
    }

    /// Every value of the facts that are read; `None` when something else is.
    fn facts(&self, text: &str, reads: &Reads) -> Option<Vec<(&'static str, Vec<Value>)>> {
        let all = self.all(text);
        for read in reads.paths()?.filter(|read| *read == "context" || read.starts_with("context.")) {
            let is_within = |path: &str| read.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            // `context.consent` is all that stands below it.
            let is_above = |path: &str| read != "context" && path.strip_prefix(read).is_some_and(|rest| rest.starts_with('.'));
            if !all.iter().any(|(path, _)| is_within(path) || is_above(path)) {
                return None;
            }
        }
        // For whom an agent calls is said by the employee, too.
        let is_read = |path: &str| reads.reads(path) || (path == EMPLOYEE && reads.reads(BEHALF));
        let read: Vec<_> = all.into_iter().filter(|(path, _)| is_read(path)).collect();
        read.iter().all(|(_, values)| !values.is_empty()).then_some(read)
    }

    fn all(&self, text: &str) -> [(&'static str, Vec<Value>); 16] {
        fn each<T: Copy>(all: &[T], value: fn(T) -> Value) -> Vec<Value> {
            all.iter().map(|one| value(*one)).collect()
        }
        const BOTH: [bool; 2] = [false, true];
        [
            ("context.purpose", self.policies.vocabulary.purposes.keys().copied().map(Value::Purpose).collect()),
            ("context.basis", each(LawfulBasis::ALL, Value::Basis)),
            ("context.consent.status", each(ConsentStatus::ALL, Value::Status)),
            ("context.consent.explicit", each(&BOTH, Value::Explicit)),
            ("context.customer.stage", each(Stage::ALL, Value::Stage)),
            ("context.customer.segment", each(Segment::ALL, Value::Segment)),
            ("context.customer.age", each(Age::ALL, Value::Age)),
            ("context.customer.legal_hold", each(&BOTH, Value::LegalHold)),
            ("context.channel", each(Channel::ALL, Value::Channel)),
            ("context.environment", each(Environment::ALL, Value::Environment)),
            ("context.gpc", each(&BOTH, Value::Gpc)),
            (EMPLOYEE, self.employees(text)),
            (BEHALF, each(&[None, Some(true), Some(false)], Value::ForCustomer)),
            (TASK, std::iter::once(None).chain(self.policies.vocabulary.tasks.keys().copied().map(Some)).map(Value::Task).collect()),
            (RECORDS, numbers(text).into_iter().map(Value::Records).collect()),
            (CUSTOMERS, customers(text)),
        ]
    }

    /// None, and one for each combination of the roles that the policy names; nothing when those are too many.
    fn employees(&self, text: &str) -> Vec<Value> {
        let named: Vec<Role> = self.policies.vocabulary.roles.iter().copied().filter(|role| text.contains(&format!("Role::\"{role}\""))).collect();
        if named.len() > ROLES_MAX {
            return Vec::new();
        }
        let combinations = (0..1_u32 << named.len())
            .map(|bits| named.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0).map(|(_, role)| *role).collect::<Vec<_>>());
        std::iter::once(None).chain(combinations.map(Some)).map(Value::Employee).collect()
    }
}

const RECORDS: &str = "context.records";
const CUSTOMERS: &str = "context.customers";
const EMPLOYEE: &str = "context.employee";
const BEHALF: &str = "context.behalf";
const TASK: &str = "context.task";

/// None, and the numbers that the policy names; nothing when it looks at budgets, whose numbers stand elsewhere.
fn customers(text: &str) -> Vec<Value> {
    if text.contains("budget") {
        return Vec::new();
    }
    std::iter::once(None).chain(numbers(text).into_iter().map(Some)).map(Value::Customers).collect()
}

/// The numbers that the policy names, and those beside them.
fn numbers(text: &str) -> BTreeSet<u32> {
    let named = tokens(text).into_iter().filter(|token| token.kind == Kind::Word).filter_map(|token| token.text.parse::<u32>().ok());
    let near = named.flat_map(|n| [n.saturating_sub(1), n, n.saturating_add(1)]);
    near.chain([0, 1, u32::MAX]).collect()
}

fn put(value: &Value, question: &mut Question<'_>, caller: &mut Caller) {
    match value {
        Value::Purpose(purpose) => question.purpose = *purpose,
        Value::Basis(basis) => question.basis = *basis,
        Value::Status(status) => question.status = *status,
        Value::Explicit(explicit) => question.explicit = *explicit,
        Value::Stage(stage) => question.party.stage = *stage,
        Value::Segment(segment) => question.party.segment = *segment,
        Value::Age(age) => question.party.age = *age,
        Value::LegalHold(hold) => question.party.legal_hold = *hold,
        Value::Channel(channel) => question.channel = *channel,
        Value::Environment(environment) => question.environment = *environment,
        Value::Gpc(gpc) => question.gpc = *gpc,
        Value::Employee(roles) => caller.employee = roles.clone().map(|roles| Employee { pseudonym: String::new(), roles }),
        Value::ForCustomer(for_customer) => question.particulars.for_customer = *for_customer,
        Value::Task(task) => question.particulars.task = *task,
        Value::Records(records) => question.records = Some(*records),
        Value::Customers(customers) => question.particulars.customers = *customers,
    }
}

/// What must all be so for an expression to be `wanted`.
fn need<'e>(expr: &'e Expr, wanted: bool, needs: &mut Vec<(&'e Expr, bool)>) {
    match (expr, wanted) {
        (Expr::UnaryOp { op: UnaryOp::Not, expr }, _) => need(expr, !wanted, needs),
        (Expr::BinaryOp { op: BinaryOp::And, left, right }, true) | (Expr::BinaryOp { op: BinaryOp::Or, left, right }, false) => {
            need(left, wanted, needs);
            need(right, wanted, needs);
        }
        _ => needs.push((expr, wanted)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::mistakes::{findings, folder};

    fn reported(change: (&str, &str, &str)) -> Vec<String> {
        assert_eq!(findings(&[change]), Vec::<String>::new(), "a gateway loads it");
        let found = super::super::check(folder(&[change]).path()).err().unwrap_or_default();
        found.0.iter().map(|f| format!("{}:{}: {}", f.file.file_name().unwrap().display(), f.line, f.message)).collect()
    }

    fn of(policy: &str) -> Vec<String> {
        reported(("99-more.cedar", "", &format!("\n{policy}\n")))
    }

    const ALL: &str = "(principal, action, resource)";

    #[test]
    fn permits_without_a_purpose_say_why() {
        let permit = |annotation: &str, when: &str| of(&format!("@id(\"x\"){annotation}\npermit {ALL} when {{ {when} }};"));
        let wrong = ["99-more.cedar:2: permit `x` does not look at the purpose"];
        assert_eq!(permit("", "context.gpc"), wrong);
        assert_eq!(permit(" @no_purpose(\" \")", "context.gpc"), wrong, "a blank is no reason");
        assert_eq!(permit(" @no_purpose(\"x\")", "context.gpc"), Vec::<String>::new());
        assert_eq!(permit("", "context.purpose in Purpose::\"sales\""), Vec::<String>::new());
        let idle = ["99-more.cedar:2: `@no_purpose` on `x` excuses nothing"];
        assert_eq!(permit(" @no_purpose(\"x\")", "context.purpose in Purpose::\"sales\""), idle);
        assert_eq!(of(&format!("@id(\"x\") @no_purpose(\"x\")\nforbid {ALL} when {{ context.gpc }};")), idle);
    }

    #[test]
    fn policies_that_can_never_apply() {
        let scope = "99-more.cedar:2: policy `x` can never apply: no principal, action and category of the catalogue are in its scope";
        for within in ["principal in Role::\"on-call\", action, resource", "principal in Department::\"product\", action, resource"] {
            assert_eq!(of(&format!("@id(\"x\")\nforbid ({within});")), [scope], "{within}");
            assert_eq!(of(&format!("@id(\"x\") @dormant(\"x\")\nforbid ({within});")), Vec::<String>::new(), "{within}");
        }
        let facts = "99-more.cedar:2: policy `x` can never apply: no value of the facts makes its conditions true";
        let forbid = |when: &str| of(&format!("@id(\"x\")\nforbid {ALL}\n{when};"));
        for never in [
            "when { context.customer.stage == Stage::\"lead\" } unless { context.gpc || context.customer.stage == Stage::\"lead\" }",
            "when { context.consent.status == ConsentStatus::\"given\" && !(context.purpose in Purpose::\"sales\") && context.consent.status == ConsentStatus::\"refused\" }",
            "when { context.purpose in Purpose::\"sales\" && context.purpose in Purpose::\"marketing\" }",
            "when { resource.sensitivity == Sensitivity::\"criminal\" }",
            "when { principal in Department::\"finance\" && principal.registered_purposes.contains(context.purpose) && context.purpose in Purpose::\"sales\" }",
            "when { context has employee } unless { context has employee && !context.employee.roles.contains(Role::\"on-call\") || context.employee.roles.contains(Role::\"on-call\") }",
        ] {
            assert_eq!(forbid(never), [facts], "{never}");
        }
        let export = |when: &str| of(&format!("@id(\"x\")\nforbid (principal, action == Action::\"export\", resource)\nwhen {{ {when} }};"));
        assert_eq!(export("context.records > 100 && context.records < 101"), [facts]);
        assert_eq!(export("context.records > 100 && context.records < 102"), Vec::<String>::new());
        let agents = |when: &str| of(&format!("@id(\"x\")\nforbid (principal is Agent, action, resource)\nwhen {{ {when} }};"));
        for never in [
            "context has behalf && context.behalf == Behalf::\"customer\" && context.behalf == Behalf::\"nobody\"",
            "context has behalf && context.behalf == Behalf::\"nobody\" && context has employee && context.employee.roles.contains(Role::\"on-call\")",
            "context has task && context.task == Task::\"prepare-call\" && context.task == Task::\"answer-case\"",
            "context has customers && context.customers > 10 && context.customers < 11",
            "!(context has behalf)",
        ] {
            assert_eq!(agents(never), [facts], "{never}");
        }
        for possible in [
            "context has behalf && context.behalf == Behalf::\"employee\" && context has employee && context.employee.roles.contains(Role::\"on-call\")",
            "context has task && context.purpose in context.task.purposes",
            "!(context has customers) && !(context has task)",
            "context has customers && context.customers > 10 && context.customers < 12",
            "context has customers && principal has budget && context.customers > principal.budget.customers && context.customers < 52",
        ] {
            assert_eq!(agents(possible), Vec::<String>::new(), "{possible}");
        }
        assert_eq!(forbid("when { principal is Application && context has behalf }"), [facts], "apps act for nobody");
        for possible in [
            "when { context.purpose in Purpose::\"marketing\" && context.purpose in Purpose::\"profiling\" }",
            "when { context has emergency && context.emergency.ticket == \"x\" }",
            "when { context.now < datetime(\"2020-01-01\") && context.now > datetime(\"2021-01-01\") }",
            "when { context has employee && context.employee.roles.contains(Role::\"on-call\") && !context.employee.roles.contains(Role::\"key-account-care\") }",
        ] {
            assert_eq!(forbid(possible), Vec::<String>::new(), "{possible}");
        }
    }

    #[test]
    fn an_excuse_that_is_no_longer_needed() {
        let idle = of(&format!("@id(\"x\") @dormant(\"x\")\nforbid {ALL} when {{ context.gpc && context.customer.legal_hold }};"));
        assert_eq!(idle, ["99-more.cedar:2: `@dormant` on `x` excuses nothing"]);
        let criminal = ("catalogue.cedarentities.json", "\"id\":\"special\"", "\"id\":\"criminal\"");
        let found = reported(criminal);
        assert!(found.iter().any(|f| f.contains("`@dormant` on `criminal-needs-law` excuses nothing")), "{found:#?}");
    }
}
