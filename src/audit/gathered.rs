//! A decision as officers see it: its head joined with its parts and its end.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use super::error::AuditError;
use super::free_text::LockedText;
use super::read::{Logged, Reader};
use crate::model::PartyNo;

/// On what a category was decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Relied {
    pub category: String,
    /// `withheld`, `reduced`, `full`.
    pub release: String,
    /// `permitted`, `forbidden`, `no-permit`, `unknown-party`, `policy-error`, `stop:<name>`.
    pub why: String,
    pub basis: String,
    pub activity: Option<(String, u64)>,
    /// Consent status.
    pub status: String,
    /// The conflict rule by which the status was found; `None` in entries of earlier versions.
    pub rule: Option<String>,
    /// Closed because formerly separate customers said differently.
    pub conflict: bool,
    pub policies: Vec<String>,
    /// Only for decisions about a single customer.
    pub event: Option<String>,
    pub overridden: Vec<String>,
}

/// A decision: its head joined with its parts and its end. When a customer was asked for, `outcome`, `released`,
/// `reduced`, `relied`, `parties` are about that customer alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub index: u64,
    /// `<origin>#<index>`.
    pub decision: String,
    pub at: Timestamp,
    pub app: String,
    pub department: String,
    pub actor: Option<String>,
    pub agent: Option<String>,
    /// Who answers for the agent, what it runs on, what it was sent to do, for whom.
    pub operator: Option<String>,
    pub model: Option<String>,
    pub task: Option<String>,
    pub behalf: Option<String>,
    /// The break-glass grant that was called upon.
    pub grant: Option<String>,
    /// What the caller wrote about that.
    pub justification: Option<LockedText>,
    pub action: String,
    pub api: String,
    pub route: String,
    pub purpose: Option<String>,
    pub policy_set: String,
    pub generation: u64,
    pub consent_revision: u64,
    /// `permit`, `redact`, `filter`, `deny`, `error`, `unenforced`.
    pub outcome: String,
    pub status: Option<u64>,
    pub code: Option<String>,
    /// Categories that went out in full, sorted.
    pub released: Vec<String>,
    /// Categories of which masked forms went out, sorted.
    pub reduced: Vec<String>,
    /// Categories of which something, masked or not, may have reached the app, sorted; not what a write brought in.
    pub disclosed: Vec<String>,
    pub relied: Vec<Relied>,
    /// Determining policies, sorted.
    pub policies: Vec<String>,
    /// Paths of the shape.
    pub withheld: Vec<String>,
    /// Customers named, also in parts that were recorded and did not go out: what may have been disclosed.
    pub parties: u64,
    pub unknown: u64,
    /// Rows that went out; without an `end`, that may have gone out.
    pub rows: u64,
    pub dropped: u64,
    pub bytes: Option<u64>,
    /// No `end` was written: treat as released.
    pub unresolved: bool,
    /// False when the answer was cut.
    pub complete: Option<bool>,
    /// Indexes of all its entries.
    pub entries: Vec<u64>,
}

/// One entry of the log with everything that belongs to its decision.
#[derive(Clone, Debug)]
pub struct Shown {
    /// `None` for entries that are no decision (admin, consent_changed, start, …).
    pub decision: Option<Found>,
    pub entries: Vec<Logged>,
}

/// The decision to which entry `index` belongs, or that entry alone; `None` when the log has no such entry, or it is pruned. Reads the whole log, and
/// needs no index.
///
/// # Errors
/// When the log can not be read.
pub fn show(dir: &Path, index: u64) -> Result<Option<Shown>, AuditError> {
    let mut read = Reader::open(dir)?;
    let Some(entry) = read.find(|item| item.as_ref().map_or(true, |logged| logged.index == index)).transpose()? else {
        return Ok(None);
    };
    let Some(head) = entry.decision() else { return Ok(Some(Shown { decision: None, entries: vec![entry] })) };
    let (mut entries, mut origin) = (Vec::new(), String::new());
    for logged in Reader::open(dir)? {
        let logged = logged?;
        if logged.kind() == "start" {
            origin = text(&logged.value, "origin").unwrap_or(origin);
        }
        if logged.decision() == Some(head) {
            entries.push(logged);
        }
    }
    if entries.first().is_none_or(|first| first.index != head) {
        // Its head is pruned.
        return Ok(Some(Shown { decision: None, entries: vec![entry] }));
    }
    Ok(Some(Shown { decision: Decision::join(&entries, &origin, &[]), entries }))
}

/// A decision from entries that somebody has proved, head first, all of them of that decision (else `None`); `dictionary` says what their dictionary entries stand for.
#[must_use]
pub fn rejoin(origin: &str, customers: &[PartyNo], entries: Vec<(u64, Vec<u8>)>, mut dictionary: impl FnMut(u64) -> Option<Value>) -> Option<Found> {
    let entries: Vec<Logged> = entries.into_iter().map(|(index, raw)| Logged::read(index, raw, &mut dictionary)).collect();
    let head = entries.first()?.index;
    // Each once and in order, and none of another decision: together they would say what no decision was.
    let is_one = entries.iter().all(|entry| entry.decision() == Some(head)) && entries.is_sorted_by(|a, b| a.index < b.index);
    if !is_one {
        return None;
    }
    Decision::join(&entries, origin, customers)
}

/// The numbers of the customers whom an entry names, or `None` when this version cannot tell.
#[must_use]
pub fn named_customers(index: u64, entry: &[u8], dictionary: impl FnMut(u64) -> Option<Value>) -> Option<BTreeSet<u64>> {
    let logged = Logged::read(index, entry.to_vec(), dictionary);
    let is_known = logged.value.get("v") == Some(&Value::from(1)) && !logged.kind().is_empty();
    let mut named = BTreeSet::new();
    (is_known && names_only_numbers(&logged.resolved, &mut named)).then_some(named)
}

/// Whether everything that names customers does so by numbers that can be read.
fn names_only_numbers(value: &Value, named: &mut BTreeSet<u64>) -> bool {
    match value {
        Value::Object(members) => members.iter().all(|(name, member)| match name.as_str() {
            "party" | "parties" => {
                let numbers = member.as_array().map_or(std::slice::from_ref(member), Vec::as_slice);
                numbers.iter().all(|number| number.as_u64().map(|number| named.insert(number)).is_some())
            }
            _ => names_only_numbers(member, named),
        }),
        Value::Array(items) => items.iter().all(|item| names_only_numbers(item, named)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// A decision while its entries are gathered.
pub(super) struct Decision {
    pub(super) found: Found,
    names_customer: bool,
    /// Its `end` or its denial was seen.
    pub(super) is_over: bool,
    denied: bool,
    parts: u64,
    outcomes: BTreeSet<String>,
    /// The one customer of a head that permits.
    head_party: Option<u64>,
    released: BTreeSet<String>,
    reduced: BTreeSet<String>,
    /// By a head that serves for the answer, and by parts.
    disclosed: (BTreeSet<String>, BTreeSet<String>),
    relied: BTreeSet<Relied>,
    policies: BTreeSet<String>,
    withheld: BTreeSet<String>,
}

impl Decision {
    /// All of its entries, head first. `None` when the head says no time, or names other customers than the one asked for (who may have several numbers).
    pub(super) fn join(entries: &[Logged], origin: &str, customers: &[PartyNo]) -> Option<Found> {
        let mut decision = Self::begin(entries.first()?, origin)?;
        for entry in entries {
            decision.add(entry, customers);
        }
        (customers.is_empty() || decision.names_customer).then(|| decision.finish())
    }

    /// From its head.
    pub(super) fn begin(head: &Logged, origin: &str) -> Option<Self> {
        let at = head.resolved.get("t").and_then(Value::as_i64).and_then(|t| Timestamp::from_microsecond(t).ok())?;
        Some(Self::new(head.index, origin, at, &head.resolved))
    }

    pub(super) fn new(index: u64, origin: &str, at: Timestamp, head: &Value) -> Self {
        let facts = head.get("facts").cloned().unwrap_or_default();
        let found = Found {
            index,
            decision: format!("{origin}#{index}"),
            at,
            app: text(head, "app").unwrap_or_default(),
            department: text(head, "department").unwrap_or_default(),
            actor: text(head, "actor"),
            agent: text(head, "agent"),
            operator: text(head, "operator"),
            model: text(head, "model"),
            task: text(head, "task"),
            behalf: text(head, "behalf"),
            grant: text(head, "grant"),
            justification: LockedText::of(head),
            action: text(head, "action").unwrap_or_default(),
            api: text(head, "api").unwrap_or_default(),
            route: text(head, "route").unwrap_or_default(),
            purpose: text(&facts, "purpose"),
            policy_set: text(&facts, "policy_set").unwrap_or_default(),
            generation: number(head, "generation"),
            consent_revision: number(head, "revision"),
            outcome: String::new(),
            status: None,
            code: None,
            released: Vec::new(),
            reduced: Vec::new(),
            disclosed: Vec::new(),
            relied: Vec::new(),
            policies: Vec::new(),
            withheld: Vec::new(),
            parties: 0,
            unknown: 0,
            rows: 0,
            dropped: 0,
            bytes: None,
            unresolved: false,
            complete: None,
            entries: Vec::new(),
        };
        Self {
            found,
            names_customer: false,
            is_over: false,
            denied: false,
            parts: 0,
            outcomes: BTreeSet::new(),
            head_party: None,
            released: BTreeSet::new(),
            reduced: BTreeSet::new(),
            disclosed: Default::default(),
            relied: BTreeSet::new(),
            policies: BTreeSet::new(),
            withheld: BTreeSet::new(),
        }
    }

    pub(super) fn add(&mut self, logged: &Logged, customers: &[PartyNo]) {
        let entry = &logged.resolved;
        self.found.entries.push(logged.index);
        match logged.kind() {
            "deny" => {
                self.denied = true;
                self.is_over = true;
                self.found.code = text(entry, "code");
                self.found.status = entry.get("status").and_then(Value::as_u64);
            }
            "part" => {
                self.parts += 1;
                self.found.rows += number(entry, "rows");
                self.found.dropped += number(entry, "dropped");
            }
            "end" => {
                self.is_over = true;
                self.found.status = entry.get("status").and_then(Value::as_u64);
                self.found.bytes = entry.get("bytes").and_then(Value::as_u64);
                self.found.complete = entry.get("complete").and_then(Value::as_bool);
                if self.parts > 0 {
                    // Not every part that was recorded went out: one may have been decided anew, or broken off.
                    self.found.rows = number(entry, "rows");
                }
            }
            _ => {}
        }
        self.withheld.extend(texts(entry, "withheld").chain(texts(entry, "paths")));
        for group in list(entry, "groups") {
            self.group(group, logged, customers);
        }
    }

    fn group(&mut self, group: &Value, logged: &Logged, customers: &[PartyNo]) {
        let entry = &logged.resolved;
        let parties = list(group, "parties");
        if !customers.is_empty() {
            if !parties.iter().any(|p| p.as_u64().is_some_and(|number| customers.contains(&PartyNo(number)))) {
                return;
            }
            self.names_customer = true;
            self.found.parties = 1;
        } else {
            // Of the customer whom the head is about a part may say once more how it ended.
            let others = parties.iter().filter(|p| self.head_party.is_none() || p.as_u64() != self.head_party).count();
            self.found.parties += u64::try_from(others).unwrap_or(u64::MAX);
            if let ("permit", [one]) = (logged.kind(), parties) {
                self.head_party = one.as_u64();
            }
            self.found.unknown += number(group, "unknown");
        }
        let outcome = text(group, "outcome").unwrap_or_default();
        let goes_out = outcome != "deny" && outcome != "error";
        self.outcomes.insert(outcome);
        for verdict in group.get("verdicts").map(|class| list(class, "verdicts")).unwrap_or_default() {
            let relied = relied(verdict, list(entry, "events"));
            match relied.release.as_str() {
                "full" if goes_out => self.released.insert(relied.category.clone()),
                "reduced" if goes_out => self.reduced.insert(relied.category.clone()),
                _ => false,
            };
            if goes_out && relied.release != "withheld" {
                match logged.kind() {
                    "permit" => self.disclosed.0.insert(relied.category.clone()),
                    "part" => self.disclosed.1.insert(relied.category.clone()),
                    _ => false,
                };
            }
            self.policies.extend(relied.policies.iter().cloned());
            self.relied.insert(relied);
        }
    }

    pub(super) fn finish(mut self) -> Found {
        let mut found = self.found;
        found.outcome = outcome(&self.outcomes, self.denied).to_owned();
        found.unresolved = !self.is_over;
        if self.denied && self.parts == 0 {
            // What was permitted at first did not go out.
            self.released.clear();
            self.reduced.clear();
            self.disclosed.0.clear();
        }
        // A part says more exactly than its head what the answer holds.
        let (by_head, by_parts) = self.disclosed;
        found.disclosed = if self.parts > 0 { by_parts } else { by_head }.into_iter().collect();
        found.released = self.released.into_iter().collect();
        found.reduced = self.reduced.into_iter().collect();
        found.relied = self.relied.into_iter().collect();
        found.policies = self.policies.into_iter().collect();
        found.withheld = self.withheld.into_iter().collect();
        found
    }
}

/// One word for all groups of a decision.
fn outcome(outcomes: &BTreeSet<String>, denied: bool) -> &'static str {
    let has = |word: &str| outcomes.contains(word);
    let goes_out = has("permit") || has("redact") || has("filter");
    if denied {
        "deny"
    } else if has("error") {
        "error"
    } else if has("unenforced") {
        "unenforced"
    } else if has("filter") || (has("deny") && goes_out) {
        "filter"
    } else if has("redact") {
        "redact"
    } else if has("deny") {
        "deny"
    } else {
        "permit"
    }
}

fn relied(verdict: &Value, events: &[Value]) -> Relied {
    let category = text(verdict, "category").unwrap_or_default();
    let event = events.iter().find(|e| text(e, "category").as_ref() == Some(&category));
    let why = text(verdict, "why").unwrap_or_default();
    Relied {
        release: text(verdict, "release").unwrap_or_default(),
        why: text(verdict, "stop").map_or(why, |stop| format!("stop:{stop}")),
        basis: text(verdict, "basis").unwrap_or_default(),
        activity: text(verdict, "activity").map(|key| (key, number(verdict, "activity_version"))),
        status: text(verdict, "status").unwrap_or_default(),
        rule: text(verdict, "rule"),
        conflict: verdict.get("conflict").and_then(Value::as_bool).unwrap_or_default(),
        policies: texts(verdict, "policies").collect(),
        event: event.and_then(|e| text(e, "event")),
        overridden: event.into_iter().flat_map(|e| texts(e, "overridden")).collect(),
        category,
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn texts<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = String> + use<'a> {
    list(value, key).iter().filter_map(|v| v.as_str().map(str::to_owned))
}
