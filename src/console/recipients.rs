//! `/v1/parties/{id}/recipients`: to whom data of a customer was disclosed, from the decision log. Whoever received data must
//! be told of its rectification, erasure or restriction (GDPR Art. 19), and the customer may ask who that was (Art. 15(1)(c)).
//! Denials disclose nothing and are not listed. What may have left counts as left: an answer that was cut is listed whole.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::decisions::searched;
use super::dispatch::{Call, Param, Reply, Route};
use super::parties::{DESK_AND_AUDITOR, find};
use super::problem::Problem;
use crate::audit::{Index, IndexError, Query};
use crate::model::PartyNo;

pub(super) const ROUTES: &[Route] = &[Route::get(
    "/v1/parties/{id}/recipients",
    "recipients.list",
    DESK_AND_AUDITOR,
    "To which departments and apps which data of a customer was disclosed (GDPR Art. 19)",
    list,
)
.query(&[Param { name: "since", about: "RFC 3339 time; the whole log without it" }])];

/// An app that received data of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disclosure {
    pub department: String,
    pub app: String,
    pub total: Disclosed,
    /// Activities on which it was disclosed, with their versions.
    pub activities: BTreeSet<(String, u64)>,
    pub categories: BTreeMap<String, Disclosed>,
}

/// How often, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disclosed {
    /// Decisions that disclosed something.
    pub decisions: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

impl Disclosed {
    const fn at(time: Timestamp) -> Self {
        Self { decisions: 0, first: time, last: time }
    }

    fn count(&mut self, time: Timestamp) {
        self.decisions += 1;
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }
}

/// What was disclosed about a customer, who may have several numbers, from `since` until before `until`, by department and app.
///
/// # Errors
/// When the log cannot be searched.
pub fn disclosed(index: &Index, customers: &[PartyNo], since: Option<Timestamp>, until: Option<Timestamp>) -> Result<Vec<Disclosure>, IndexError> {
    let query = Query { customers: customers.to_vec(), since, until, ..Query::default() };
    let found = index.search(&query)?.decisions;
    let mut recipients: BTreeMap<(String, String), Disclosure> = BTreeMap::new();
    for decision in found.into_iter().filter(|decision| !decision.disclosed.is_empty()) {
        let at = decision.at;
        let row = recipients.entry((decision.department.clone(), decision.app.clone())).or_insert_with(|| Disclosure {
            department: decision.department,
            app: decision.app,
            total: Disclosed::at(at),
            activities: BTreeSet::new(),
            categories: BTreeMap::new(),
        });
        row.total.count(at);
        for category in decision.disclosed {
            let relied = decision.relied.iter().filter(|relied| relied.category == category && relied.release != "withheld");
            row.activities.extend(relied.filter_map(|relied| relied.activity.clone()));
            row.categories.entry(category).or_insert(Disclosed::at(at)).count(at);
        }
    }
    Ok(recipients.into_values().collect())
}

fn list(call: &Call) -> Result<Reply, Problem> {
    let view = find(call, call.param(0)?)?;
    let since = call.query.parsed::<Timestamp>("since", "a time like 2026-07-24T10:00:00Z")?;
    let rows = searched(call, |index| disclosed(index, &view.numbers, since, None))?;
    let entry = call.record_query(Some(view.no), rows.len())?;
    let recipients: Vec<Value> = rows.iter().map(|row| disclosure_json(call, row)).collect();
    Ok(Reply::ok(&json!({ "party": view.id.0, "since": since.map(|t| t.to_string()), "recipients": recipients, "entry": entry })))
}

pub(super) fn disclosure_json(call: &Call, row: &Disclosure) -> Value {
    let declared = call.state.instance.activities();
    let external: BTreeSet<&str> = declared
        .iter()
        .filter(|activity| row.activities.iter().any(|(id, _)| id == activity.id.as_str()))
        .flat_map(|activity| activity.recipients.iter().map(String::as_str))
        .collect();
    let categories: Vec<Value> = row
        .categories
        .iter()
        .map(|(category, seen)| {
            json!({ "category": category, "decisions": seen.decisions, "first": seen.first.to_string(), "last": seen.last.to_string() })
        })
        .collect();
    let activities: Vec<Value> = row.activities.iter().map(|(id, version)| json!({ "id": id, "version": version })).collect();
    json!({
        "department": row.department, "app": row.app,
        "decisions": row.total.decisions, "first": row.total.first.to_string(), "last": row.total.last.to_string(),
        "categories": categories, "activities": activities,
        // Whom the department's activities name; what it passes on, this log cannot see.
        "declared_recipients": external,
    })
}
