//! The request level: could any customer's consent and facts open this use? Decides `not-entitled` before any customer is
//! looked at.
//!
//! The compiled form answers from its rows: the customer's six facts have 1,440 values, of which those with equal rows count
//! once. Where plain Cedar must say, each policy is evaluated once for every combination of those facts that it reads (most
//! read one or none), and the answers are put together: open iff for some customer a permit holds, no forbid holds and nothing errs.

use std::collections::HashMap;

use crate::model::{ConsentStatus, PartyFacts, Question};

use super::request::all_facts;
use super::rules::Rule;
use super::{Effect, Policies, Use};

/// One customer as policies see them.
type Customer = (ConsentStatus, bool, PartyFacts);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Holds,
    DoesNot,
    Errs,
}

impl Policies {
    /// Whether any consent, stage, segment, age and hold of any customer could open this category for this use. Looks at
    /// no customer, so that the answer may be told to the caller.
    #[must_use]
    pub fn could_permit(&self, wanted: &Use<'_>) -> bool {
        let question = wanted.question((ConsentStatus::Unknown, false, PartyFacts::unknown(self.consent_rules.default_segment)));
        let Some(seen) = self.slices.index.see(&question) else { return false };
        let answer = self.code(&seen).and_then(|code| code.any_customer(&seen));
        answer.unwrap_or_else(|| self.any_customer(wanted, self.in_scope(&seen)))
    }

    fn any_customer<'r>(&self, wanted: &Use<'_>, rules: impl Iterator<Item = &'r Rule>) -> bool {
        let consents = || ConsentStatus::ALL.iter().flat_map(|status| [(*status, false), (*status, true)]);
        let customers: Vec<Customer> = consents().flat_map(|(status, explicit)| all_facts().map(move |facts| (status, explicit, facts))).collect();
        let mut permitted = vec![false; customers.len()];
        let mut closed = vec![false; customers.len()];
        for rule in rules {
            let mut seen: HashMap<Customer, Outcome> = HashMap::new();
            for (at, customer) in customers.iter().enumerate() {
                let outcome = *seen.entry(as_read(&rule.reads, *customer)).or_insert_with(|| {
                    let question = wanted.question(*customer);
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
    fn question(&self, (status, explicit, party): Customer) -> Question<'a> {
        Question {
            caller: self.caller,
            action: self.action,
            category: self.category,
            purpose: self.purpose,
            basis: self.basis,
            status,
            explicit,
            party,
            channel: self.channel,
            environment: self.environment,
            gpc: self.gpc,
            records: self.records,
            now: self.now,
            particulars: self.particulars,
        }
    }
}
