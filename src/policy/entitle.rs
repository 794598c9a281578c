//! The request level: could any customer's consent and facts open this use? Decides `not-entitled` before any customer is
//! looked at.
//!
//! A decision depends on the customer through six facts, which together have 1,200 values. Each policy is evaluated once
//! for every combination of those facts that it reads (most read one or none), and the answers are put together: open
//! iff for some customer a permit holds, no forbid holds and nothing errs. Equal uses are remembered.

use std::collections::{HashMap, VecDeque};
use std::sync::{PoisonError, RwLock};

use crate::model::{Action, Category, Channel, Client, ConsentStatus, Environment, LawfulBasis, PartyFacts, Purpose, Question, Role};

use super::request::all_facts;
use super::rules::Rule;
use super::{Effect, Policies, Use};

/// Answers kept per snapshot; a caller who varies the row ceiling cannot make it grow.
const REMEMBERED_MAX: usize = 16_384;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: Client,
    action: Action,
    category: Category,
    purpose: Purpose,
    basis: LawfulBasis,
    channel: Channel,
    environment: Environment,
    gpc: bool,
    records: Option<u32>,
    employee: Option<Vec<Role>>,
}

#[derive(Debug, Default)]
pub(super) struct Remembered(RwLock<(HashMap<Key, bool>, VecDeque<Key>)>);

/// One customer as policies see them.
type Customer = (ConsentStatus, bool, PartyFacts);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Holds,
    DoesNot,
    Errs,
}

impl Policies {
    pub(super) fn entitled(&self, wanted: &Use<'_>, channel: Channel) -> bool {
        let question = wanted.question(channel, (ConsentStatus::Unknown, false, PartyFacts::unknown(self.consent_rules.default_segment)));
        if !self.knows(&question) {
            return false;
        }
        let Some(rules) = self.in_scope(&question) else { return false };
        // Time passes, so what reads it is not remembered.
        let is_timeless = !rules.iter().any(|rule| rule.reads.reads("context.now"));
        let key = wanted.key(channel);
        if is_timeless {
            let memory = self.remembered.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = memory.0.get(&key) {
                return *known;
            }
        }
        let answer = self.any_customer(wanted, channel, &rules);
        if is_timeless {
            let mut memory = self.remembered.0.write().unwrap_or_else(PoisonError::into_inner);
            if memory.0.insert(key.clone(), answer).is_none() {
                memory.1.push_back(key);
            }
            while memory.1.len() > REMEMBERED_MAX
                && let Some(oldest) = memory.1.pop_front()
            {
                memory.0.remove(&oldest);
            }
        }
        answer
    }

    fn any_customer(&self, wanted: &Use<'_>, channel: Channel, rules: &[&Rule]) -> bool {
        let consents = || ConsentStatus::ALL.iter().flat_map(|status| [(*status, false), (*status, true)]);
        let customers: Vec<Customer> = consents().flat_map(|(status, explicit)| all_facts().map(move |facts| (status, explicit, facts))).collect();
        let mut permitted = vec![false; customers.len()];
        let mut closed = vec![false; customers.len()];
        for rule in rules {
            let mut seen: HashMap<Customer, Outcome> = HashMap::new();
            for (at, customer) in customers.iter().enumerate() {
                let outcome = *seen.entry(as_read(&rule.reads, *customer)).or_insert_with(|| {
                    let question = wanted.question(channel, *customer);
                    self.requests.build(&question).map_or(Outcome::Errs, |request| self.outcome(rule, &request))
                });
                let marks = match (outcome, rule.effect) {
                    (Outcome::DoesNot, _) => continue,
                    (Outcome::Holds, Effect::Permit) => &mut permitted,
                    (Outcome::Holds, Effect::Forbid) | (Outcome::Errs, _) => &mut closed,
                };
                marks.iter_mut().skip(at).take(1).for_each(|mark| *mark = true);
            }
        }
        permitted.iter().zip(&closed).any(|(permitted, closed)| *permitted && !closed)
    }

    fn outcome(&self, rule: &Rule, request: &cedar_policy::Request) -> Outcome {
        let response = self.authorizer.is_authorized(request, &rule.alone, &self.entities);
        if response.diagnostics().errors().next().is_some() {
            Outcome::Errs
        } else if response.diagnostics().reason().next().is_some() {
            Outcome::Holds
        } else {
            Outcome::DoesNot
        }
    }
}

/// The customer with every fact that the policy does not read set to the same value.
fn as_read(reads: &super::reads::Reads, (status, explicit, facts): Customer) -> Customer {
    let base = PartyFacts::unknown(crate::model::Segment::Standard);
    let status = if reads.reads("context.consent.status") { status } else { ConsentStatus::Unknown };
    let facts = PartyFacts {
        stage: if reads.reads("context.customer.stage") { facts.stage } else { base.stage },
        segment: if reads.reads("context.customer.segment") { facts.segment } else { base.segment },
        age: if reads.reads("context.customer.age") { facts.age } else { base.age },
        legal_hold: facts.legal_hold && reads.reads("context.customer.legal_hold"),
    };
    (status, explicit && reads.reads("context.consent.explicit"), facts)
}

impl<'a> Use<'a> {
    fn question(&self, channel: Channel, (status, explicit, party): Customer) -> Question<'a> {
        Question {
            caller: self.caller,
            action: self.action,
            category: self.category,
            purpose: self.purpose,
            basis: self.basis,
            status,
            explicit,
            party,
            channel,
            environment: self.environment,
            gpc: self.gpc,
            records: self.records,
            now: self.now,
        }
    }

    fn key(&self, channel: Channel) -> Key {
        let roles = |employee: &crate::model::Employee| {
            let mut roles = employee.roles.clone();
            roles.sort();
            roles.dedup();
            roles
        };
        Key {
            client: self.caller.client,
            action: self.action,
            category: self.category,
            purpose: self.purpose,
            basis: self.basis,
            channel,
            environment: self.environment,
            gpc: self.gpc,
            records: self.records.filter(|_| self.action == Action::Export),
            employee: self.caller.employee.as_ref().map(roles),
        }
    }
}
