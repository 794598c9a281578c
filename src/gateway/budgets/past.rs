//! What was counted before a start: read from the log's index, so that a restart hands no budget out anew.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::window::{Customers, Window};
use super::{Asker, Budgets, Key};
use crate::audit::{Found, LiveIndex, Logged, Query};
use crate::config::{Allowance, Budget};
use crate::model::{ApiName, PartyNo, Vocabulary};

/// Decisions read for one budget, the newest first.
const PAST_DECISIONS_MAX: usize = 200_000;

impl Budgets {
    /// Counts what the log holds of these budgets' time. Blocks on files.
    ///
    /// # Errors
    /// A sentence on what could not be read; what could is counted.
    pub(in super::super) fn recount(&self, index: &LiveIndex, budgets: &[Budget], vocabulary: &Vocabulary, now: Timestamp) -> Result<(), String> {
        if budgets.is_empty() {
            return Ok(());
        }
        while !index.follow().map_err(|error| error.to_string())? {}
        let index = index.fresh().map_err(|error| error.to_string())?;
        let steady = self.now();
        for budget in budgets {
            let time = [budget.requests, budget.rows, budget.customers].into_iter().flatten().map(|allowance| allowance.within).max();
            let Some(since) = time.and_then(|time| now.checked_sub(time).ok()) else { continue };
            let query = Query {
                app: budget.client.map(|client| client.to_string()),
                department: budget.department.map(|department| department.to_string()),
                api: budget.api.map(|api| api.to_string()),
                since: Some(since),
                ..Query::default()
            };
            let mut read = 0;
            let each = |found: Found, entries: &[Logged]| {
                let age = Duration::try_from(now.duration_since(found.at)).unwrap_or_default();
                self.add_past(budget, vocabulary, &found, entries, steady.saturating_sub(age));
                read += 1;
                read < PAST_DECISIONS_MAX
            };
            index.each(&query, each).map_err(|error| error.to_string())?;
            if read >= PAST_DECISIONS_MAX {
                return Err(format!(
                    "of budget `{}` the log holds more than {PAST_DECISIONS_MAX} decisions; older ones are not counted",
                    budget.name
                ));
            }
        }
        Ok(())
    }

    fn add_past(&self, budget: &Budget, vocabulary: &Vocabulary, found: &Found, entries: &[Logged], at: Duration) {
        let is_first_refused = entries.first().is_some_and(|head| head.kind() == "deny");
        if is_first_refused && found.code.as_deref() == Some("over-budget") {
            return;
        }
        let purpose = found.purpose.as_deref().and_then(|purpose| vocabulary.purpose(purpose));
        let (Some(client), Some(department), Some(purpose)) = (vocabulary.client(&found.app), vocabulary.department(&found.department), purpose)
        else {
            return;
        };
        let asker = Asker { client, department, purpose, api: ApiName::intern(&found.api) };
        if !asker.is_of(budget, vocabulary) {
            return;
        }
        let mut counters = self.counters();
        let counter = counters.entry(Key::of(budget, client)).or_default();
        if let Some(Allowance { within, .. }) = budget.requests {
            counter.requests.get_or_insert_with(|| Window::new(within)).add(at, 1);
        }
        // Of a read that was refused nothing went out; a write may have been done all the same.
        let is_read = matches!(found.action.as_str(), "read" | "export");
        if found.code.as_deref().is_some_and(|code| is_read || code == "over-budget") {
            return;
        }
        let rows = rows(entries);
        if let Some(Allowance { within, .. }) = budget.rows.filter(|_| rows > 0) {
            counter.rows.get_or_insert_with(|| Window::new(within)).add(at, rows);
        }
        if let Some(Allowance { within, .. }) = budget.customers {
            let customers = counter.customers.get_or_insert_with(|| Customers::new(within));
            for (parties, unknown) in entries.iter().flat_map(groups) {
                customers.add(at, &parties, unknown);
            }
        }
    }
}

/// Rows that may have gone out.
fn rows(entries: &[Logged]) -> u64 {
    let number = |entry: &Logged| entry.value.get("rows").and_then(Value::as_u64).unwrap_or_default();
    let of = |kind: &'static str| entries.iter().filter(move |entry| entry.kind() == kind);
    if of("part").next().is_some() { of("part").map(number).sum() } else { of("end").map(number).sum() }
}

/// Customers of groups of which something may have gone out, or been written.
fn groups(entry: &Logged) -> Vec<(Vec<PartyNo>, u64)> {
    let groups = entry.resolved.get("groups").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let goes_out = |group: &&Value| group.get("outcome").and_then(Value::as_str).is_some_and(|outcome| outcome != "deny" && outcome != "error");
    let read = |group: &Value| {
        let parties = group.get("parties").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let unknown = group.get("unknown").and_then(Value::as_u64).unwrap_or_default();
        (parties.iter().filter_map(Value::as_u64).map(PartyNo).collect(), unknown)
    };
    groups.iter().filter(goes_out).map(read).collect()
}
