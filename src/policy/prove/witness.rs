//! A request that breaks something, as plain as it can be: every fact that does not matter is what a case of
//! `policies/tests` takes for granted, so that the facts that are named are those that matter.

use std::fmt;

use cedar_policy::{Authorizer, Context, EntityUid, EvalResult, PolicySet, Request, RestrictedExpression};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::{
    Action, Age, Behalf, Caller, Category, Channel, ClientKind, ConsentStatus, Employee, Environment, LawfulBasis, Particulars, PartyFacts, Purpose,
    Question, Segment, Stage, Task,
};

use super::super::invariants::Condition;
use super::super::source::CATALOGUE;
use super::super::{Decided, Policies};

/// What a request must show to be a witness.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sought<'a> {
    /// It meets the condition and is answered otherwise.
    Breaking(&'a Condition),
    /// These policies answer it otherwise.
    Differing(&'a PolicySet),
}

/// A request of the loaded catalogue, and how plain Cedar answers it.
#[derive(Clone, Debug)]
pub struct Witness {
    facts: Facts,
    /// That of the activity that covers the use.
    active_basis: LawfulBasis,
    default_segment: Segment,
    purpose_channel: Channel,
    decided: Decided<'static>,
    expects_allow: bool,
    request: Request,
}

#[derive(Clone, Debug)]
struct Facts {
    caller: Caller,
    /// Everything else; its caller is replaced by the one above.
    rest: Rest,
    emergency: Option<Emergency>,
}

/// A [`Question`] without its caller, which it would borrow.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rest {
    action: Action,
    category: Category,
    purpose: Purpose,
    basis: LawfulBasis,
    status: ConsentStatus,
    explicit: bool,
    party: PartyFacts,
    channel: Channel,
    environment: Environment,
    gpc: bool,
    records: Option<u32>,
    now: Timestamp,
    task: Option<Task>,
    for_customer: Option<bool>,
    customers: Option<u32>,
}

/// Approved or not: a policy that does not look has to be found, though the gateway never tells of one that is not.
#[derive(Clone, Debug)]
struct Emergency {
    approved: bool,
    ticket: String,
    justification: String,
}

impl Facts {
    fn question(&self) -> Question<'_> {
        let Rest { action, category, purpose, basis, status, explicit, party, channel, environment, gpc, records, now, .. } = self.rest;
        let Rest { task, for_customer, customers, .. } = self.rest;
        // That of the solver may be one that nobody approved: it is added below.
        let particulars = Particulars { task, for_customer, customers, emergency: None };
        let caller = &self.caller;
        Question { caller, action, category, purpose, basis, status, explicit, party, channel, environment, gpc, records, now, particulars }
    }

    fn request(&self, policies: &Policies) -> Option<Request> {
        let request = policies.requests.request(&self.question(), None)?;
        let Some(emergency) = &self.emergency else { return Some(request) };
        let record = RestrictedExpression::new_record([
            ("approved".to_owned(), RestrictedExpression::new_bool(emergency.approved)),
            ("ticket".to_owned(), RestrictedExpression::new_string(emergency.ticket.clone())),
            ("justification".to_owned(), RestrictedExpression::new_string(emergency.justification.clone())),
        ]);
        let context = request.context()?.clone().merge(Context::from_pairs([("emergency".to_owned(), record.ok()?)]).ok()?).ok()?;
        Request::new(request.principal()?.clone(), request.action()?.clone(), request.resource()?.clone(), context, None).ok()
    }

    /// The solver's request, read back; `None` when it names what the catalogue lacks.
    fn read(policies: &Policies, found: &Request) -> Option<Self> {
        let vocabulary = &policies.vocabulary;
        let id = |uid: Option<&EntityUid>| uid.map(|uid| uid.id().unescaped().to_owned());
        let client = vocabulary.client(&id(found.principal())?)?;
        let info = vocabulary.clients.get(&client)?;
        let context = found.context()?;
        let fact = |name: &str| context.get(name);
        let word = |value: Option<EvalResult>| match value {
            Some(EvalResult::EntityUid(uid)) => Some(uid.id().unescaped().to_owned()),
            _ => None,
        };
        let member = |record: &str, name: &str| match fact(record) {
            Some(EvalResult::Record(record)) => record.get(name).cloned(),
            _ => None,
        };
        let is_true = |value: Option<EvalResult>| value == Some(EvalResult::Bool(true));
        let text = |value: Option<EvalResult>| match value {
            Some(EvalResult::String(text)) => text,
            _ => String::new(),
        };
        let roles = match member("employee", "roles") {
            Some(EvalResult::Set(roles)) => Some(roles.iter().map(|role| vocabulary.role(&word(Some(role.clone()))?)).collect::<Option<Vec<_>>>()?),
            _ => None,
        };
        let count = |name: &str| match fact(name) {
            Some(EvalResult::Long(count)) => u32::try_from(count).map(Some),
            _ => Ok(None),
        };
        let task = match fact("task") {
            Some(task) => Some(vocabulary.task(&word(Some(task))?)?),
            None => None,
        };
        let for_customer = match word(fact("behalf")).map(|behalf| Behalf::parse(&behalf)) {
            Some(Some(Behalf::Customer)) => Some(true),
            Some(Some(Behalf::OtherCustomer)) => Some(false),
            Some(Some(Behalf::Employee | Behalf::Nobody)) | None => None,
            Some(None) => return None,
        };
        let rest = Rest {
            action: Action::parse(&id(found.action())?)?,
            category: vocabulary.category(&id(found.resource())?)?,
            purpose: vocabulary.purpose(&word(fact("purpose"))?)?,
            basis: LawfulBasis::parse(&word(fact("basis"))?)?,
            status: ConsentStatus::parse(&word(member("consent", "status"))?)?,
            explicit: is_true(member("consent", "explicit")),
            party: PartyFacts {
                stage: Stage::parse(&word(member("customer", "stage"))?)?,
                segment: Segment::parse(&word(member("customer", "segment"))?)?,
                age: Age::parse(&word(member("customer", "age"))?)?,
                legal_hold: is_true(member("customer", "legal_hold")),
            },
            channel: Channel::parse(&word(fact("channel"))?)?,
            environment: Environment::parse(&word(fact("environment"))?)?,
            gpc: is_true(fact("gpc")),
            records: count("records").ok()?,
            now: time(fact("now")),
            task,
            for_customer,
            customers: count("customers").ok()?,
        };
        let employee = roles.map(|roles| Employee { pseudonym: String::new(), roles });
        let emergency = member("emergency", "approved").map(|approved| Emergency {
            approved: is_true(Some(approved)),
            ticket: text(member("emergency", "ticket")),
            justification: text(member("emergency", "justification")),
        });
        Some(Self { caller: Caller { client, kind: info.kind, department: info.department, employee }, rest, emergency })
    }

    /// The same with one thing more as a case takes it for granted, for each thing.
    fn plainer(&self, policies: &Policies) -> Vec<Self> {
        let with = |change: &dyn Fn(&mut Self)| {
            let mut plainer = self.clone();
            change(&mut plainer);
            plainer
        };
        let basis = active_basis(policies, &self.caller, self.rest);
        let segment = policies.consent_rules.default_segment;
        let channel = policies.vocabulary.channel(self.rest.purpose);
        let mut all = vec![
            with(&|f| f.emergency = None),
            with(&|f| f.caller.employee = None),
            with(&|f| f.rest.now = Timestamp::UNIX_EPOCH),
            with(&|f| f.rest.environment = Environment::Production),
            with(&|f| f.rest.channel = channel),
            with(&|f| f.rest.gpc = false),
            with(&|f| f.rest.party.legal_hold = false),
            with(&|f| f.rest.party.age = Age::Unknown),
            with(&|f| f.rest.party.segment = segment),
            with(&|f| f.rest.party.stage = Stage::Anonymous),
            with(&|f| f.rest.explicit = false),
            with(&|f| f.rest.status = ConsentStatus::Unknown),
            with(&|f| f.rest.basis = basis),
            with(&|f| f.rest.records = f.rest.records.map(|_| 1)),
            with(&|f| f.rest.task = None),
            with(&|f| f.rest.for_customer = None),
            with(&|f| f.rest.customers = Some(1)),
        ];
        for at in 0..self.caller.employee.as_ref().map_or(0, |employee| employee.roles.len()) {
            all.push(with(&|f| {
                f.caller.employee.iter_mut().for_each(|employee| {
                    employee.roles.remove(at);
                });
            }));
        }
        all
    }

    /// Whether nothing is left to take away between the two.
    fn is_as(&self, other: &Self) -> bool {
        self.rest == other.rest && self.caller == other.caller && self.emergency.is_some() == other.emergency.is_some()
    }
}

impl Witness {
    /// `None` when plain Cedar does not answer the solver's request as the solver says.
    pub(super) fn of(policies: &Policies, set: &PolicySet, found: &Request, sought: &Sought<'_>) -> Option<Self> {
        let judge = Judge { policies, set, sought };
        let mut facts = Facts::read(policies, found)?;
        judge.shows(&facts)?;
        while let Some(plainer) = facts.plainer(policies).into_iter().find(|plainer| !plainer.is_as(&facts) && judge.shows(plainer).is_some()) {
            facts = plainer;
        }
        let (request, decided, expects_allow) = judge.shows(&facts)?;
        let active_basis = active_basis(policies, &facts.caller, facts.rest);
        let default_segment = policies.consent_rules.default_segment;
        let purpose_channel = policies.vocabulary.channel(facts.rest.purpose);
        Some(Self { facts, active_basis, default_segment, purpose_channel, decided, expects_allow, request })
    }

    /// How plain Cedar answers it, with the policies that decide.
    #[must_use]
    pub fn decided(&self) -> &Decided<'static> {
        &self.decided
    }

    /// Facts that matter, as people say them.
    #[must_use]
    pub fn facts(&self) -> Vec<String> {
        let Rest { basis, status, explicit, party, .. } = self.facts.rest;
        let plain = |(name, value): (&'static str, String)| match name {
            "basis" => format!("basis {basis}"),
            "consent" => format!("consent {status}{}", if explicit { ", explicitly" } else { "" }),
            "segment" => format!("segment {}", party.segment),
            "legal_hold" => "legal hold".to_owned(),
            "gpc" => "Global Privacy Control signal".to_owned(),
            "roles" => format!("for an employee with the roles {value}"),
            "behalf" => format!("on behalf of {}", value.trim_matches('"')),
            "customers" => format!("at most {value} customers"),
            other => format!("{other} {}", value.trim_matches('"')),
        };
        let named = self.named().into_iter().filter(|(name, _)| *name != "explicit").map(plain);
        let unbounded = self.facts.rest.customers.is_none().then(|| "any number of customers".to_owned());
        let emergency = self.facts.emergency.as_ref().map(|e| format!("emergency, {}", if e.approved { "approved" } else { "not approved" }));
        named.chain(unbounded).chain(emergency).collect()
    }

    /// A lawful basis that no activity gives to this use today.
    #[must_use]
    pub fn needs_activity(&self) -> bool {
        self.facts.rest.basis != self.active_basis
    }

    /// A case for `policies/tests/*.toml` that fails as long as the request is answered so. `None` when cases have no word
    /// for a fact of it; [`Witness::json_case`] has.
    #[must_use]
    pub fn case(&self, name: &str) -> Option<String> {
        let Facts { caller, rest, emergency } = &self.facts;
        if emergency.is_some() || rest.customers.is_none() || (rest.for_customer.is_some() && caller.employee.is_some()) {
            return None;
        }
        let Rest { action, category, purpose, basis, .. } = self.facts.rest;
        let kind = kind(&self.facts.caller);
        let mut lines = vec![
            "[[case]]".to_owned(),
            format!("name = {}", Value::from(name)),
            format!("{kind} = \"{}\"", self.facts.caller.client),
            format!("action = \"{action}\""),
            format!("category = \"{category}\""),
            format!("purpose = \"{purpose}\""),
        ];
        if self.needs_activity() {
            lines.push(format!("basis = \"{basis}\"  # activities.toml gives this use \"{}\" today", self.active_basis));
        }
        lines.extend(self.named().into_iter().filter(|(name, _)| *name != "basis").map(|(name, value)| format!("{name} = {value}")));
        lines.push(format!("expect = \"{}\"", if self.expects_allow { "allow" } else { "deny" }));
        Some(lines.join("\n"))
    }

    /// The same in the form of the Cedar command line (`cedar run-tests`), for `policies/tests/*.json`.
    #[must_use]
    pub fn json_case(&self, name: &str) -> Value {
        let shown = |uid: Option<&EntityUid>| uid.map(ToString::to_string);
        let context = self.request.context().and_then(|context| context.to_json_value().ok());
        json!({
            "name": name,
            "request": {
                "principal": shown(self.request.principal()), "action": shown(self.request.action()),
                "resource": shown(self.request.resource()), "context": context,
            },
            "entities": CATALOGUE,
            "decision": if self.expects_allow { "allow" } else { "deny" },
            "reason": [],
            "num_errors": 0,
        })
    }

    /// Names and TOML values of what is not as a case takes it for granted.
    fn named(&self) -> Vec<(&'static str, String)> {
        let Rest { basis, status, explicit, party, channel, environment, gpc, records, now, task, customers, .. } = self.facts.rest;
        let quoted = |word: &str| format!("\"{word}\"");
        let mut named = vec![("basis", quoted(basis.as_str())), ("consent", quoted(status.as_str()))];
        let mut name = |is_named: bool, key, value: String| named.extend(is_named.then_some((key, value)));
        name(explicit, "explicit", "true".to_owned());
        name(party.stage != Stage::Anonymous, "stage", quoted(party.stage.as_str()));
        name(party.segment != self.default_segment, "segment", quoted(party.segment.as_str()));
        name(party.age != Age::Unknown, "age", quoted(party.age.as_str()));
        name(party.legal_hold, "legal_hold", "true".to_owned());
        name(gpc, "gpc", "true".to_owned());
        name(environment != Environment::Production, "environment", quoted(environment.as_str()));
        name(now != Timestamp::UNIX_EPOCH, "now", quoted(&now.to_string()));
        if let Some(records) = records {
            name(true, "records", records.to_string());
        }
        if let Some(task) = task {
            name(true, "task", quoted(task.as_str()));
        }
        if self.facts.rest.for_customer.is_some() {
            name(true, "behalf", quoted(self.facts.question().behalf().as_str()));
        }
        if let Some(customers) = customers.filter(|customers| *customers != 1) {
            name(true, "customers", customers.to_string());
        }
        if let Some(employee) = &self.facts.caller.employee {
            let roles: Vec<String> = employee.roles.iter().map(|role| quoted(role.as_str())).collect();
            name(true, "roles", format!("[{}]", roles.join(", ")));
        }
        // Of the purpose, unless a policy looks at it.
        name(channel != self.purpose_channel, "channel", quoted(channel.as_str()));
        named
    }
}

/// `app crm of sales: read health for sales.outreach`.
impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rest { action, category, purpose, .. } = self.facts.rest;
        let Caller { client, department, .. } = self.facts.caller;
        write!(f, "{} {client} of {department}: {action} {category} for {purpose}", kind(&self.facts.caller))
    }
}

struct Judge<'a> {
    policies: &'a Policies,
    set: &'a PolicySet,
    sought: &'a Sought<'a>,
}

impl Judge<'_> {
    /// The request, its answer and the one it ought to have, when they differ as is sought.
    fn shows(&self, facts: &Facts) -> Option<(Request, Decided<'static>, bool)> {
        let request = facts.request(self.policies)?;
        let ask = |set: &PolicySet| Decided::of(&Authorizer::new().is_authorized(&request, set, &self.policies.entities));
        let decided = ask(self.set);
        let expects_allow = match self.sought {
            Sought::Breaking(condition) if ask(&condition.permit).allow() => condition.expects_allow,
            Sought::Breaking(_) => return None,
            Sought::Differing(other) => ask(other).allow(),
        };
        (decided.allow() != expects_allow).then_some((request, decided, expects_allow))
    }
}

/// Some request of the loaded catalogue.
pub(super) fn sample(policies: &Policies) -> Option<Request> {
    let (client, info) = policies.vocabulary.clients.iter().next()?;
    let facts = Facts {
        caller: Caller { client: *client, kind: info.kind, department: info.department, employee: None },
        rest: Rest {
            action: Action::Read,
            category: *policies.vocabulary.categories.keys().next()?,
            purpose: *policies.vocabulary.purposes.keys().next()?,
            basis: LawfulBasis::None,
            status: ConsentStatus::Unknown,
            explicit: false,
            party: PartyFacts::unknown(policies.consent_rules.default_segment),
            channel: Channel::System,
            environment: Environment::Production,
            gpc: false,
            records: None,
            now: Timestamp::UNIX_EPOCH,
            task: None,
            for_customer: None,
            customers: Some(1),
        },
        emergency: None,
    };
    facts.request(policies)
}

fn active_basis(policies: &Policies, caller: &Caller, rest: Rest) -> LawfulBasis {
    policies.activity(caller.department, rest.purpose, rest.category).map_or(LawfulBasis::None, |activity| activity.basis)
}

const fn kind(caller: &Caller) -> &'static str {
    match caller.kind {
        ClientKind::Application => "app",
        ClientKind::Agent => "agent",
    }
}

/// The start of time when the solver's cannot be read: whether it matters, plain Cedar says.
fn time(value: Option<EvalResult>) -> Timestamp {
    let Some(EvalResult::ExtensionValue(text)) = value else { return Timestamp::UNIX_EPOCH };
    text.split('"').nth(1).and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}
