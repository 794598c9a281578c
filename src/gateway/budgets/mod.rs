//! Budgets: how many requests, rows and different customers callers may have in a time. A request is counted when it is admitted,
//! whatever becomes of it then; rows and customers before the entry that releases them is written. What would be over is refused
//! as a whole, or breaks the answer off, and counts nothing.
//!
//! Counts are kept by the name of the budget and outlive reloads. Time is the monotonic clock's: setting the other one gives nobody
//! anything. One lock for all, held for as long as it takes to look up the customers of one part.

mod past;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::problem::{Code, Details, Problem};
use super::route::Routed;
use crate::audit::DecisionFacts;
use crate::clock::Clock;
use crate::config::{Allowance, Budget};
use crate::filter::Report;
use crate::model::{ApiName, Client, Department, PartyNo, Purpose, Vocabulary};
use window::{Customers, Window};

/// More than the longest time over which is counted.
const BEFORE_START: Duration = Duration::from_secs(40 * 24 * 60 * 60);

/// What was counted of all budgets.
#[derive(Debug)]
pub(super) struct Budgets {
    clock: Arc<dyn Clock>,
    counters: Mutex<HashMap<Key, Counter>>,
    /// Why what was counted before the start is not known.
    trouble: Mutex<Option<String>>,
}

/// A budget, and the client where each has its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    budget: String,
    client: Option<Client>,
}

#[derive(Debug, Default)]
struct Counter {
    requests: Option<Window>,
    rows: Option<Window>,
    customers: Option<Customers>,
}

/// Who asks, for what, of which API.
#[derive(Clone, Copy, Debug)]
struct Asker {
    client: Client,
    department: Department,
    purpose: Purpose,
    api: ApiName,
}

/// What is to be counted.
#[derive(Clone, Debug, Default)]
struct Amount {
    requests: u64,
    rows: u64,
    /// Each once.
    parties: Vec<PartyNo>,
    unknown: u64,
}

/// What one answer was counted for, so that what is cut anew is not counted twice.
#[derive(Debug, Default)]
pub(super) struct Charged {
    rows: u64,
    unknown: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Over {
    budget: String,
    what: &'static str,
    relief: Duration,
}

impl Budgets {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, counters: Mutex::default(), trouble: Mutex::default() }
    }

    /// Admits a request, or says what it would be over.
    pub(super) fn admit(&self, routed: &Routed) -> Result<(), Problem> {
        self.spend(routed, || Amount { requests: 1, ..Amount::default() })
    }

    /// Counts what an answer, or a part of one, releases. `charged` is what was counted when it was cut before.
    pub(super) fn release(&self, routed: &Routed, report: &Report, charged: &mut Charged) -> Result<(), Problem> {
        let (rows, unknown) = (u64::from(report.rows), unknown(report));
        self.spend(routed, || Amount {
            requests: 0,
            rows: rows.saturating_sub(charged.rows),
            parties: parties(report),
            unknown: unknown.saturating_sub(charged.unknown),
        })?;
        (charged.rows, charged.unknown) = (charged.rows.max(rows), charged.unknown.max(unknown));
        Ok(())
    }

    /// Counts the customers about whom something is to be written; `None` is one whom nobody knows.
    pub(super) fn write(&self, routed: &Routed, about: impl Iterator<Item = Option<PartyNo>>) -> Result<(), Problem> {
        self.spend(routed, || {
            let about: BTreeSet<Option<PartyNo>> = about.collect();
            let parties: Vec<PartyNo> = about.iter().copied().flatten().collect();
            Amount { unknown: u64::from(about.contains(&None)), parties, ..Amount::default() }
        })
    }

    fn spend(&self, routed: &Routed, amount: impl FnOnce() -> Amount) -> Result<(), Problem> {
        let budgets = &routed.snapshot.budgets;
        if budgets.is_empty() {
            return Ok(());
        }
        let Some(asker) = Asker::of(&routed.facts) else { return Ok(()) };
        let vocabulary = routed.snapshot.policies.vocabulary();
        self.count(budgets.iter().filter(|budget| asker.is_of(budget, vocabulary)), asker.client, &amount()).map_err(Over::into_problem)
    }

    /// Counts with all of these budgets, or with none.
    fn count<'b>(&self, budgets: impl Iterator<Item = &'b Budget> + Clone, client: Client, amount: &Amount) -> Result<(), Over> {
        let now = self.now();
        let mut counters = self.counters();
        for budget in budgets.clone() {
            counters.entry(Key::of(budget, client)).or_default().allows(budget, amount, now)?;
        }
        for budget in budgets {
            counters.entry(Key::of(budget, client)).or_default().add(amount, now);
        }
        Ok(())
    }

    /// Forgets what was counted of budgets that are no more.
    pub(super) fn adopt(&self, budgets: &[Budget]) {
        self.counters().retain(|key, _| budgets.iter().any(|budget| budget.name == key.budget && budget.each_client == key.client.is_some()));
    }

    pub(super) fn begins_anew(&self, why: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// For readiness.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Since a time before any that is counted: of what the log says of the time before the start.
    fn now(&self) -> Duration {
        self.clock.monotonic().saturating_add(BEFORE_START)
    }

    fn counters(&self) -> MutexGuard<'_, HashMap<Key, Counter>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parties(report: &Report) -> Vec<PartyNo> {
    let all: BTreeSet<PartyNo> = report.groups.iter().filter(|group| group.released).flat_map(|group| group.parties.iter().copied()).collect();
    all.into_iter().collect()
}

fn unknown(report: &Report) -> u64 {
    report.groups.iter().filter(|group| group.released).map(|group| u64::from(group.unknown)).sum()
}

impl Key {
    fn of(budget: &Budget, client: Client) -> Self {
        Self { budget: budget.name.clone(), client: budget.each_client.then_some(client) }
    }
}

impl Asker {
    fn of(facts: &DecisionFacts) -> Option<Self> {
        Some(Self { client: facts.app, department: facts.department, purpose: facts.purpose?, api: facts.api })
    }

    /// Whether what is asked comes out of this budget.
    fn is_of(&self, budget: &Budget, vocabulary: &Vocabulary) -> bool {
        budget.client.is_none_or(|client| client == self.client)
            && budget.department.is_none_or(|department| department == self.department)
            && budget.purpose.is_none_or(|above| vocabulary.is_within(self.purpose, above))
            && budget.api.is_none_or(|api| api == self.api)
    }
}

impl Counter {
    /// Whether there is room. What is counted over another time than before is counted anew.
    fn allows(&mut self, budget: &Budget, amount: &Amount, now: Duration) -> Result<(), Over> {
        let over = |what, relief| Err(Over { budget: budget.name.clone(), what, relief });
        let fits = |window: &mut Window, more: u64, most: u64| more == 0 || window.total(now).saturating_add(more) <= most;
        if let Some(Allowance { most, .. }) = kept(budget.requests, &mut self.requests, Window::time, Window::new)
            && let Some(window) = &mut self.requests
            && !fits(window, amount.requests, most)
        {
            return over("requests", window.relief(now));
        }
        if let Some(Allowance { most, .. }) = kept(budget.rows, &mut self.rows, Window::time, Window::new)
            && let Some(window) = &mut self.rows
            && !fits(window, amount.rows, most)
        {
            return over("rows", window.relief(now));
        }
        if let Some(Allowance { most, .. }) = kept(budget.customers, &mut self.customers, |c| c.window().time(), Customers::new)
            && let Some(customers) = &mut self.customers
            && customers.total_with(now, &amount.parties, amount.unknown) > most.max(customers.total_with(now, &[], 0))
        {
            return over("customers", customers.window().relief(now));
        }
        Ok(())
    }

    fn add(&mut self, amount: &Amount, now: Duration) {
        if let Some(window) = self.requests.as_mut().filter(|_| amount.requests > 0) {
            window.add(now, amount.requests);
        }
        if let Some(window) = self.rows.as_mut().filter(|_| amount.rows > 0) {
            window.add(now, amount.rows);
        }
        if let Some(customers) = &mut self.customers {
            customers.add(now, &amount.parties, amount.unknown);
        }
    }
}

/// The allowance, with a count over its time in `counted`; without one, nothing is counted.
fn kept<C>(allowance: Option<Allowance>, counted: &mut Option<C>, time: impl Fn(&C) -> Duration, new: impl Fn(Duration) -> C) -> Option<Allowance> {
    match allowance {
        Some(Allowance { within, .. }) if counted.as_ref().is_none_or(|counted| time(counted) != within) => *counted = Some(new(within)),
        Some(_) => {}
        None => *counted = None,
    }
    allowance
}

impl Over {
    fn into_problem(self) -> Problem {
        let Self { budget, what, relief } = self;
        let seconds = relief.as_secs().saturating_add(u64::from(relief.subsec_nanos() > 0)).max(1);
        let details = Details {
            remedy: Some(format!("ask for fewer {what}, or later, or have the budget raised")),
            budget: Some(budget),
            retry_after: Some(seconds),
            ..Details::default()
        };
        Problem::with(Code::OverBudget, details)
    }
}
