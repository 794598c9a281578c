//! The request level: could any customer's consent and facts open this use? Decides `not-entitled` before any customer is
//! looked at.
//!
//! A decision depends on the customer through six facts, which together have 1,440 values. Each policy is evaluated once
//! for every combination of those facts that it reads (most read one or none), and the answers are put together: open
//! iff for some customer a permit holds, no forbid holds and nothing errs. Equal uses are remembered ([`super::memory`]).

use std::collections::HashMap;

use crate::model::{Action, Channel, ConsentStatus, PartyFacts, Question};

use super::memory::Key;
use super::request::all_facts;
use super::rules::Rule;
use super::{Effect, Policies, Use};

/// One customer as policies see them.
pub(super) type Customer = (ConsentStatus, bool, PartyFacts);

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
        let Some(slice) = self.slice(&question) else { return false };
        let anew = || self.any_customer(wanted, channel, &self.rules_of(slice));
        if slice.is_timeless && wanted.particulars.emergency.is_none() { self.entitled.get_or(wanted.key(channel), anew) } else { anew() }
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
            particulars: self.particulars,
        }
    }

    pub(super) fn key(&self, channel: Channel) -> Key {
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
            task: self.particulars.task,
            for_customer: self.particulars.for_customer,
            customers: self.particulars.customers,
        }
    }
}
