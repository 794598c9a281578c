//! The facts of a question as numbers: what is looked up once for each question, and what a condition is taken apart by.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use jiff::Timestamp;

use crate::model::{
    Action, Age, Behalf, Caller, Category, Channel, Client, ClientInfo, ClientKind, ConsentStatus, Department, Employee, Environment, LawfulBasis,
    Particulars, PartyFacts, Purpose, Question, Role, Segment, Stage, Task, Vocabulary,
};

/// A fact of a request with few values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::policy) enum Fact {
    Purpose,
    Status,
    Explicit,
    Basis,
    Stage,
    Segment,
    Age,
    LegalHold,
    Channel,
    Environment,
    Gpc,
    /// Whether the call is made for an employee.
    Employee,
    /// Of an agent.
    Behalf,
    /// 0 without one.
    Task,
}

/// Every fact, in their order, with the path under which policies read it.
pub(super) const FACTS: [(Fact, &str); 14] = [
    (Fact::Purpose, "context.purpose"),
    (Fact::Status, "context.consent.status"),
    (Fact::Explicit, "context.consent.explicit"),
    (Fact::Basis, "context.basis"),
    (Fact::Stage, "context.customer.stage"),
    (Fact::Segment, "context.customer.segment"),
    (Fact::Age, "context.customer.age"),
    (Fact::LegalHold, "context.customer.legal_hold"),
    (Fact::Channel, "context.channel"),
    (Fact::Environment, "context.environment"),
    (Fact::Gpc, "context.gpc"),
    (Fact::Employee, "context.employee"),
    (Fact::Behalf, BEHALF),
    (Fact::Task, "context.task"),
];

/// Paths of the facts that are numbers.
pub(super) const RECORDS: &str = "context.records";
pub(super) const CUSTOMERS: &str = "context.customers";
pub(super) const NOW: &str = "context.now";
/// A question that carries one is left to plain Cedar.
pub(in crate::policy) const EMERGENCY: &str = "context.emergency";
/// Told of agents only.
pub(super) const BEHALF: &str = "context.behalf";
pub(super) const ROLES: &str = "context.employee.roles";

pub(super) const DAY_MS: i64 = 86_400_000;

/// Roles that a set of roles is compared by; a condition about a further one is left to plain Cedar.
const ROLES_MAX: usize = 128;

/// What a condition can depend on. All values are numbers from 0 to [`Index::end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::policy) enum Field {
    Fact(Fact),
    /// Whether the employee has a role: 0 without an employee, 1 no, 2 yes.
    Role(u8),
    Records,
    /// 0 when nothing bounds them, else one more than their number.
    Customers,
    /// Milliseconds since 1970.
    Now,
    /// Milliseconds since midnight.
    TimeOfDay,
}

/// What is known of a customer.
pub(super) const CUSTOMER: [Field; 6] = [
    Field::Fact(Fact::Status),
    Field::Fact(Fact::Explicit),
    Field::Fact(Fact::Stage),
    Field::Fact(Fact::Segment),
    Field::Fact(Fact::Age),
    Field::Fact(Fact::LegalHold),
];

/// Names are interned: equal texts are the same address, and nothing that comes with a request makes a new one.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::policy) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_usize(usize::from(*byte)));
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0 ^ address as u64).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }
}

/// A table by interned names.
pub(in crate::policy) type ByName<K, V> = HashMap<K, V, BuildHasherDefault<AddressHasher>>;

#[derive(Clone, Copy, Debug)]
struct Registered {
    kind: ClientKind,
    department: Department,
    class: usize,
}

/// Every name of the snapshot, with its number.
#[derive(Debug)]
pub(in crate::policy) struct Index {
    clients: ByName<Client, Registered>,
    categories: ByName<Category, usize>,
    purposes: ByName<Purpose, u32>,
    roles: ByName<Role, u8>,
    /// Which agent may be sent to do what.
    tasks: HashSet<(Client, Task)>,
    purpose_list: Vec<Purpose>,
    role_list: Vec<Role>,
    task_list: Vec<Task>,
    category_classes: usize,
}

/// A question whose names are all of the snapshot.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) struct Seen {
    /// Which slice it falls into.
    pub(in crate::policy) cell: usize,
    facts: [u32; FACTS.len()],
    /// Of the employee.
    roles: u128,
    records: i64,
    customers: i64,
    now: Timestamp,
    /// The time is not before 1970, an export says how many, and it is no emergency.
    is_countable: bool,
}

impl Index {
    /// With the classes of clients and categories, and how many of the latter there are.
    pub(in crate::policy) fn new(
        vocabulary: &Vocabulary,
        client_class: &HashMap<Client, usize>,
        category_class: &HashMap<Category, usize>,
        category_classes: usize,
    ) -> Self {
        let registered = vocabulary.clients.iter().filter(|(_, info)| vocabulary.departments.contains_key(&info.department));
        let clients = registered.filter_map(|(client, info)| {
            let class = *client_class.get(client)?;
            Some((*client, Registered { kind: info.kind, department: info.department, class }))
        });
        let categories = vocabulary.categories.keys().filter_map(|category| Some((*category, *category_class.get(category)?)));
        let sent = |(client, info): (&Client, &ClientInfo)| {
            let tasks = info.agent.iter().flat_map(|agent| &agent.tasks).filter(|task| vocabulary.tasks.contains_key(task));
            tasks.map(|task| (*client, *task)).collect::<Vec<_>>()
        };
        let purpose_list: Vec<Purpose> = vocabulary.purposes.keys().copied().collect();
        let role_list: Vec<Role> = vocabulary.roles.iter().copied().collect();
        Self {
            clients: clients.collect(),
            categories: categories.collect(),
            tasks: vocabulary.clients.iter().flat_map(sent).collect(),
            purposes: purpose_list.iter().copied().zip(0..).collect(),
            roles: role_list.iter().enumerate().map(|(at, role)| (*role, u8::try_from(at).unwrap_or(u8::MAX))).collect(),
            purpose_list,
            role_list,
            task_list: vocabulary.tasks.keys().copied().collect(),
            category_classes,
        }
    }

    /// Looks up every name of a question. `None` when one is not of this snapshot: `in` would be false for it, and a
    /// prohibition that ought to strike would not.
    pub(in crate::policy) fn see(&self, question: &Question<'_>) -> Option<Seen> {
        let Caller { client, kind, department, employee } = question.caller;
        let registered = self.clients.get(client).filter(|known| known.kind == *kind && known.department == *department)?;
        let task = match question.particulars.task {
            None => 0,
            Some(task) if self.tasks.contains(&(*client, task)) => u32::try_from(self.task_list.binary_search(&task).ok()? + 1).ok()?,
            Some(_) => return None,
        };
        let category = *self.categories.get(&question.category)?;
        let purpose = *self.purposes.get(&question.purpose)?;
        let mut roles = 0;
        for role in employee.iter().flat_map(|employee| &employee.roles) {
            roles |= 1_u128.checked_shl(u32::from(*self.roles.get(role)?)).unwrap_or(0);
        }
        let party = question.party;
        Some(Seen {
            cell: self.cell(registered.class, question.action, category),
            facts: [
                purpose,
                question.status as u32,
                u32::from(question.explicit),
                question.basis as u32,
                party.stage as u32,
                party.segment as u32,
                party.age as u32,
                u32::from(party.legal_hold),
                question.channel as u32,
                question.environment as u32,
                u32::from(question.gpc),
                u32::from(employee.is_some()),
                question.behalf() as u32,
                task,
            ],
            roles,
            records: question.records.map_or(0, i64::from),
            customers: question.particulars.customers.map_or(0, |customers| i64::from(customers) + 1),
            now: question.now,
            is_countable: question.now >= Timestamp::UNIX_EPOCH
                && question.particulars.emergency.is_none()
                && (question.action != Action::Export || question.records.is_some()),
        })
    }

    pub(super) fn cell(&self, client_class: usize, action: Action, category_class: usize) -> usize {
        (client_class * Action::ALL.len() + action as usize) * self.category_classes + category_class
    }

    pub(super) fn role(&self, text: &str) -> Option<Field> {
        let at = self.role_list.iter().position(|role| role.as_str() == text).filter(|at| *at < ROLES_MAX)?;
        u8::try_from(at).ok().map(Field::Role)
    }

    /// The role that a field is about.
    pub(super) fn role_of(&self, field: Field) -> Option<Role> {
        let Field::Role(at) = field else { return None };
        self.role_list.get(usize::from(at)).copied()
    }

    /// Whether names have the same numbers in both, so that equal tables mean the same.
    pub(in crate::policy) fn numbers_as(&self, other: &Self) -> bool {
        self.purpose_list == other.purpose_list && self.role_list == other.role_list && self.task_list == other.task_list
    }

    /// One more than the highest value.
    pub(super) fn end(&self, field: Field) -> i64 {
        let count = match field {
            Field::Fact(fact) => match fact {
                Fact::Purpose => self.purpose_list.len(),
                Fact::Status => ConsentStatus::ALL.len(),
                Fact::Basis => LawfulBasis::ALL.len(),
                Fact::Stage => Stage::ALL.len(),
                Fact::Segment => Segment::ALL.len(),
                Fact::Age => Age::ALL.len(),
                Fact::Channel => Channel::ALL.len(),
                Fact::Environment => Environment::ALL.len(),
                Fact::Behalf => Behalf::ALL.len(),
                Fact::Task => self.task_list.len() + 1,
                Fact::Explicit | Fact::LegalHold | Fact::Gpc | Fact::Employee => 2,
            },
            Field::Role(_) => 3,
            Field::Records => return i64::from(u32::MAX) + 1,
            Field::Customers => return i64::from(u32::MAX) + 2,
            Field::Now => return Timestamp::MAX.as_millisecond(),
            Field::TimeOfDay => return DAY_MS,
        };
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// Whether a field's values are told apart one by one; else by intervals.
    pub(super) const fn is_counted_out(field: Field) -> bool {
        matches!(field, Field::Fact(_) | Field::Role(_))
    }
}

impl Seen {
    pub(in crate::policy) const fn is_countable(&self) -> bool {
        self.is_countable
    }

    #[inline]
    pub(super) fn value(&self, field: Field) -> Option<i64> {
        match field {
            Field::Fact(fact) => self.facts.get(fact as usize).map(|value| i64::from(*value)),
            Field::Role(_) if self.value(Field::Fact(Fact::Employee)) == Some(0) => Some(0),
            Field::Role(role) => Some(1 + i64::from(self.roles.checked_shr(u32::from(role)).unwrap_or(0) & 1 == 1)),
            Field::Records => Some(self.records),
            Field::Customers => Some(self.customers),
            Field::Now => Some(self.now.as_millisecond()),
            Field::TimeOfDay => Some(self.now.as_millisecond().rem_euclid(DAY_MS)),
        }
    }
}

/// A question of which any fact can be set.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Example {
    caller: Caller,
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
    records: u32,
    now: Timestamp,
    task: Option<Task>,
    for_customer: Option<bool>,
    customers: Option<u32>,
}

impl Example {
    /// `None` without any purpose.
    pub(in crate::policy) fn new(index: &Index, caller: Caller, action: Action, category: Category) -> Option<Self> {
        Some(Self {
            caller,
            action,
            category,
            purpose: *index.purpose_list.first()?,
            basis: LawfulBasis::None,
            status: ConsentStatus::Unknown,
            explicit: false,
            party: PartyFacts::unknown(Segment::Standard),
            channel: Channel::System,
            environment: Environment::Test,
            gpc: false,
            records: 0,
            now: Timestamp::UNIX_EPOCH,
            task: None,
            for_customer: None,
            customers: None,
        })
    }

    /// `None` when the field has no such value.
    pub(super) fn set(&mut self, index: &Index, field: Field, value: i64) -> Option<()> {
        let at = usize::try_from(value).ok()?;
        let employee = |roles| Employee { pseudonym: String::new(), roles };
        match field {
            Field::Fact(fact) => match fact {
                Fact::Purpose => self.purpose = *index.purpose_list.get(at)?,
                Fact::Status => self.status = *ConsentStatus::ALL.get(at)?,
                Fact::Explicit => self.explicit = at == 1,
                Fact::Basis => self.basis = *LawfulBasis::ALL.get(at)?,
                Fact::Stage => self.party.stage = *Stage::ALL.get(at)?,
                Fact::Segment => self.party.segment = *Segment::ALL.get(at)?,
                Fact::Age => self.party.age = *Age::ALL.get(at)?,
                Fact::LegalHold => self.party.legal_hold = at == 1,
                Fact::Channel => self.channel = *Channel::ALL.get(at)?,
                Fact::Environment => self.environment = *Environment::ALL.get(at)?,
                Fact::Gpc => self.gpc = at == 1,
                Fact::Employee => self.caller.employee = (at == 1).then(|| employee(Vec::new())),
                Fact::Behalf => match Behalf::ALL.get(at)? {
                    Behalf::Nobody => (self.for_customer, self.caller.employee) = (None, None),
                    Behalf::Employee => {
                        self.for_customer = None;
                        self.caller.employee.get_or_insert_with(|| employee(Vec::new()));
                    }
                    Behalf::Customer => self.for_customer = Some(true),
                    Behalf::OtherCustomer => self.for_customer = Some(false),
                },
                Fact::Task => self.task = at.checked_sub(1).map(|at| index.task_list.get(at).copied().ok_or(())).transpose().ok()?,
            },
            Field::Role(_) if at == 0 => self.caller.employee = None,
            Field::Role(role) => {
                let known = self.caller.employee.get_or_insert_with(|| employee(Vec::new()));
                if at == 2 {
                    known.roles.push(*index.role_list.get(usize::from(role))?);
                }
            }
            Field::Records => self.records = u32::try_from(value).ok()?,
            Field::Customers => self.customers = if at == 0 { None } else { Some(u32::try_from(at - 1).ok()?) },
            Field::Now | Field::TimeOfDay => self.now = Timestamp::from_millisecond(value).ok()?,
        }
        Some(())
    }

    pub(super) fn question(&self) -> Question<'_> {
        Question {
            caller: &self.caller,
            action: self.action,
            category: self.category,
            purpose: self.purpose,
            basis: self.basis,
            status: self.status,
            explicit: self.explicit,
            party: self.party,
            channel: self.channel,
            environment: self.environment,
            gpc: self.gpc,
            records: (self.action == Action::Export).then_some(self.records),
            now: self.now,
            particulars: Particulars { task: self.task, for_customer: self.for_customer, customers: self.customers, emergency: None },
        }
    }
}
