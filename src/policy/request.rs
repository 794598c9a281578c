//! From a [`Question`] to a Cedar request, with every value prepared at load.
//!
//! Requests are not validated against the schema one by one: all facts come from closed types, and [`Requests::check`]
//! validates a request with every such value once, at load. A name that is not in the vocabulary makes no request at all.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Context, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema, SchemaFragment};
use jiff::Timestamp;

use crate::model::{
    Action, Age, Behalf, Caller, Category, Channel, Client, ClientKind, ConsentStatus, Emergency, Environment, Findings, LawfulBasis, Particulars,
    PartyFacts, Purpose, Question, Role, Segment, Sensitivity, Stage, Task, Vocabulary,
};

use super::source::{Source, ticked};

#[derive(Debug)]
pub(super) struct Requests {
    principals: BTreeMap<Client, EntityUid>,
    actions: BTreeMap<Action, EntityUid>,
    categories: BTreeMap<Category, EntityUid>,
    purposes: HashMap<Purpose, RestrictedExpression>,
    roles: HashMap<Role, RestrictedExpression>,
    consents: HashMap<(ConsentStatus, bool), RestrictedExpression>,
    customers: HashMap<PartyFacts, RestrictedExpression>,
    bases: HashMap<LawfulBasis, RestrictedExpression>,
    channels: HashMap<Channel, RestrictedExpression>,
    environments: HashMap<Environment, RestrictedExpression>,
    behalves: HashMap<Behalf, RestrictedExpression>,
    tasks: HashMap<Task, RestrictedExpression>,
}

impl Requests {
    pub(super) fn new(vocabulary: &Vocabulary) -> Option<Self> {
        let words = |kind| move |text: &str| uid(kind, text).map(RestrictedExpression::new_entity_uid);
        let statuses = table(ConsentStatus::ALL, |s| words("ConsentStatus")(s.as_str()))?;
        let mut consents = HashMap::new();
        for (&status, word) in &statuses {
            for explicit in [false, true] {
                consents.insert((status, explicit), record([("status", word.clone()), ("explicit", RestrictedExpression::new_bool(explicit))])?);
            }
        }
        let mut customers = HashMap::new();
        for facts in all_facts() {
            let fields = [
                ("stage", words("Stage")(facts.stage.as_str())?),
                ("segment", words("Segment")(facts.segment.as_str())?),
                ("age", words("Age")(facts.age.as_str())?),
                ("legal_hold", RestrictedExpression::new_bool(facts.legal_hold)),
            ];
            customers.insert(facts, record(fields)?);
        }
        let principal = |(client, info): (&Client, &crate::model::ClientInfo)| Some((*client, uid(kind_name(info.kind), client.as_str())?));
        Some(Self {
            principals: vocabulary.clients.iter().map(principal).collect::<Option<_>>()?,
            actions: Action::ALL.iter().map(|a| Some((*a, uid("Action", a.as_str())?))).collect::<Option<_>>()?,
            categories: vocabulary.categories.keys().map(|c| Some((*c, uid("Category", c.as_str())?))).collect::<Option<_>>()?,
            purposes: table(vocabulary.purposes.keys(), |p| words("Purpose")(p.as_str()))?,
            roles: table(&vocabulary.roles, |r| words("Role")(r.as_str()))?,
            consents,
            customers,
            bases: table(LawfulBasis::ALL, |b| words("LawfulBasis")(b.as_str()))?,
            channels: table(Channel::ALL, |c| words("Channel")(c.as_str()))?,
            environments: table(Environment::ALL, |e| words("Environment")(e.as_str()))?,
            behalves: table(Behalf::ALL, |b| words("Behalf")(b.as_str()))?,
            tasks: table(vocabulary.tasks.keys(), |t| words("Task")(t.as_str()))?,
        })
    }

    pub(super) fn principal(&self, client: Client) -> Option<&EntityUid> {
        self.principals.get(&client)
    }

    pub(super) fn action(&self, action: Action) -> Option<&EntityUid> {
        self.actions.get(&action)
    }

    pub(super) fn category(&self, category: Category) -> Option<&EntityUid> {
        self.categories.get(&category)
    }

    /// `None` when Cedar does not accept the facts, e.g. a time before the year 0.
    pub(super) fn build(&self, question: &Question<'_>) -> Option<Request> {
        self.request(question, None)
    }

    /// With a schema, validated against it.
    pub(super) fn request(&self, q: &Question<'_>, schema: Option<&Schema>) -> Option<Request> {
        let mut facts = vec![
            ("purpose", self.purposes.get(&q.purpose)?.clone()),
            ("consent", self.consents.get(&(q.status, q.explicit))?.clone()),
            ("basis", self.bases.get(&q.basis)?.clone()),
            ("customer", self.customers.get(&q.party)?.clone()),
            ("channel", self.channels.get(&q.channel)?.clone()),
            ("environment", self.environments.get(&q.environment)?.clone()),
            ("gpc", RestrictedExpression::new_bool(q.gpc)),
            ("now", RestrictedExpression::new_datetime(datetime(q.now))),
        ];
        if q.action == Action::Export {
            facts.push(("records", RestrictedExpression::new_long(i64::from(q.records?))));
        }
        if let Some(employee) = &q.caller.employee {
            let roles: Option<Vec<_>> = employee.roles.iter().map(|role| self.roles.get(role).cloned()).collect();
            facts.push(("employee", record([("roles", RestrictedExpression::new_set(roles?))])?));
        }
        if q.caller.kind == ClientKind::Agent {
            facts.push(("behalf", self.behalves.get(&q.behalf())?.clone()));
        }
        let Particulars { task, customers, emergency, .. } = q.particulars;
        if let Some(task) = task {
            facts.push(("task", self.tasks.get(&task)?.clone()));
        }
        if let Some(customers) = customers {
            facts.push(("customers", RestrictedExpression::new_long(i64::from(customers))));
        }
        if let Some(Emergency { ticket, justification }) = emergency {
            let text = |text: &String| RestrictedExpression::new_string(text.clone());
            // INVARIANT: there is none before others have approved it.
            let fields = [("ticket", text(ticket)), ("justification", text(justification)), ("approved", RestrictedExpression::new_bool(true))];
            facts.push(("emergency", record(fields)?));
        }
        let context = Context::from_pairs(facts.into_iter().map(|(key, value)| (key.to_owned(), value))).ok()?;
        let (principal, action, resource) = (self.principal(q.caller.client)?, self.action(q.action)?, self.category(q.category)?);
        Request::new(principal.clone(), action.clone(), resource.clone(), context, schema).ok()
    }

    /// Validates one request for every value of every fact, for every action and kind of principal.
    pub(super) fn check(&self, schema: &Schema, vocabulary: &Vocabulary, source: &Source, findings: &mut Findings) {
        let (Some(&category), Some(&purpose)) = (self.categories.keys().next(), self.purposes.keys().next()) else { return };
        for kind in [ClientKind::Application, ClientKind::Agent] {
            let Some((client, info)) = vocabulary.clients.iter().find(|(_, info)| info.kind == kind) else { continue };
            let roles = vocabulary.roles.iter().copied().collect();
            let employee = crate::model::Employee { pseudonym: String::new(), roles };
            let caller = Caller { client: *client, kind, department: info.department, employee: Some(employee) };
            for &action in Action::ALL {
                let base = Question {
                    caller: &caller,
                    action,
                    category,
                    purpose,
                    basis: LawfulBasis::None,
                    status: ConsentStatus::Unknown,
                    explicit: false,
                    party: PartyFacts::unknown(Segment::Standard),
                    channel: Channel::System,
                    environment: Environment::Test,
                    gpc: false,
                    records: Some(1),
                    now: Timestamp::UNIX_EPOCH,
                    particulars: Particulars {
                        task: self.tasks.keys().next().copied(),
                        for_customer: None,
                        customers: Some(1),
                        emergency: Some(&Emergency { ticket: String::new(), justification: String::new() }),
                    },
                };
                if self.request(&base, Some(schema)).is_none() {
                    let message =
                        format!("the schema does not accept the facts that the gateway gives for {} and the action `{action}`", kind_name(kind));
                    let finding = source.finding(0..1, message);
                    findings.push(finding.help("policies may not rely on other facts: restore `RequestContext`, `BulkContext` and the actions"));
                }
            }
        }
        check_words(source, findings);
    }
}

/// The closed vocabularies of the schema are exactly those of the gateway.
fn check_words(source: &Source, findings: &mut Findings) {
    fn texts<T: Copy>(all: &[T], text: impl Fn(T) -> &'static str) -> Vec<&'static str> {
        all.iter().map(|value| text(*value)).collect()
    }
    let closed = [
        ("ConsentStatus", texts(ConsentStatus::ALL, ConsentStatus::as_str)),
        ("LawfulBasis", texts(LawfulBasis::ALL, LawfulBasis::as_str)),
        ("Sensitivity", texts(Sensitivity::ALL, Sensitivity::as_str)),
        ("Channel", texts(Channel::ALL, Channel::as_str)),
        ("Environment", texts(Environment::ALL, Environment::as_str)),
        ("Age", texts(Age::ALL, Age::as_str)),
        ("Stage", texts(Stage::ALL, Stage::as_str)),
        ("Segment", texts(Segment::ALL, Segment::as_str)),
        ("Behalf", texts(Behalf::ALL, Behalf::as_str)),
    ];
    let fragment = SchemaFragment::from_cedarschema_str(&source.text).ok().and_then(|(fragment, _)| fragment.to_json_value().ok());
    for (kind, mut wanted) in closed {
        let found = fragment.as_ref().and_then(|json| {
            json.pointer(&format!("/~1entityTypes/{kind}/enum")).or_else(|| json.get("")?.get("entityTypes")?.get(kind)?.get("enum"))
        });
        let mut found: Vec<&str> = found.and_then(|words| words.as_array()).into_iter().flatten().filter_map(|word| word.as_str()).collect();
        found.sort_unstable();
        let shown = ticked(&wanted);
        wanted.sort_unstable();
        if found != wanted {
            let mark = source.span_of(&(0..source.text.len()), &format!("entity {kind}"));
            let mark = if mark.len() == source.text.len() { 0..1 } else { mark };
            findings.push(source.finding(mark, format!("`{kind}` is a closed vocabulary with other words")).help(format!("it is {shown}")));
        }
    }
}

/// Reads the schema; its warnings are mistakes, too.
pub(super) fn schema(source: &Source, findings: &mut Findings) -> Option<Schema> {
    match Schema::from_cedarschema_str(&source.text) {
        Ok((schema, warnings)) => {
            for warning in warnings {
                source.cedar(&DetailedError::from(&warning), &(0..1), findings);
            }
            Some(schema)
        }
        Err(error) => {
            source.cedar(&DetailedError::from(&error), &(0..1), findings);
            None
        }
    }
}

/// Every combination of facts about a customer; the likeliest to be permitted come first.
pub(super) fn all_facts() -> impl Iterator<Item = PartyFacts> {
    let combine = |stage: Stage, segment: Segment, age: Age| [false, true].map(move |legal_hold| PartyFacts { stage, segment, age, legal_hold });
    Stage::ALL
        .iter()
        .flat_map(move |stage| Segment::ALL.iter().flat_map(move |segment| Age::ALL.iter().flat_map(move |age| combine(*stage, *segment, *age))))
}

pub(super) fn uid(kind: &'static str, id: &str) -> Option<EntityUid> {
    let kind: EntityTypeName = kind.parse().ok()?;
    Some(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

const fn kind_name(kind: ClientKind) -> &'static str {
    match kind {
        ClientKind::Application => "Application",
        ClientKind::Agent => "Agent",
    }
}

fn table<'k, K: Copy + Eq + Hash + 'k>(
    keys: impl IntoIterator<Item = &'k K>,
    value: impl Fn(K) -> Option<RestrictedExpression>,
) -> Option<HashMap<K, RestrictedExpression>> {
    keys.into_iter().map(|key| Some((*key, value(*key)?))).collect()
}

fn record<const N: usize>(fields: [(&str, RestrictedExpression); N]) -> Option<RestrictedExpression> {
    RestrictedExpression::new_record(fields.map(|(key, value)| (key.to_owned(), value))).ok()
}

/// Cedar's spelling, milliseconds.
fn datetime(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_spelled_as_cedar_reads_it() {
        assert_eq!(datetime("2026-03-01T10:00:00.0129Z".parse().unwrap()), "2026-03-01T10:00:00.012Z");
        assert_eq!(datetime("2026-03-01T10:00:00Z".parse().unwrap()), "2026-03-01T10:00:00.000Z");
    }
}
