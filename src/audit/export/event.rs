//! What other systems are told: one event for each decision, and one for each entry that belongs to none.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::audit::gathered::Found;

/// Tells only what stands in the log: names that files declare, numbers, pseudonyms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The log's name.
    pub origin: Arc<str>,
    /// Of the head, or of the entry. `<origin>#<index>` is the event's id: who gets it twice drops one.
    pub index: u64,
    pub at: Timestamp,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Decision(Box<Decided>),
    Entry(Other),
}

/// A decision that is over, or that will get no end any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// `entries` are the first ones and the last one.
    pub found: Found,
    /// How many entries there are.
    pub entries_total: u64,
    /// The lowest numbers of customers, of `found.parties` that were named.
    pub parties: Vec<u64>,
    /// The gateway's own number of the request.
    pub rid: Option<u64>,
    pub trace_id: Option<String>,
    pub latency_us: Option<u64>,
    /// Consent events are told for the first parts of the answer only.
    pub is_abridged: bool,
}

/// An entry that belongs to no decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// `unknown` for entries of versions to come.
    pub kind: String,
    /// As in the log, with dictionary references resolved; a text where the entry is no JSON.
    pub entry: Value,
}

/// How much it asks for a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Informational,
    Low,
    Medium,
}

impl Event {
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}#{}", self.origin, self.index)
    }

    /// `decision`, or the entry's kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        match &self.what {
            What::Decision(_) => "decision",
            What::Entry(other) => &other.kind,
        }
    }

    /// `decision.<outcome>`, or the entry's kind: a short closed vocabulary to write rules for.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.what {
            What::Decision(decided) => format!("decision.{}", decided.outcome()),
            What::Entry(other) => other.kind.clone(),
        }
    }

    #[must_use]
    pub fn severity(&self) -> Severity {
        match &self.what {
            What::Decision(decided) => match decided.outcome() {
                "unresolved" | "error" => Severity::Medium,
                _ if decided.found.grant.is_some() => Severity::Medium,
                "deny" | "unenforced" => Severity::Low,
                _ => Severity::Informational,
            },
            What::Entry(other) => match other.kind.as_str() {
                "break_glass" | "gap" | "key_rotated" => Severity::Medium,
                "policy_rejected" | "config_rejected" | "rejects" | "clock" | UNKNOWN => Severity::Low,
                "stop" if other.entry.get("reason").and_then(Value::as_str) != Some(IN_ORDER) => Severity::Medium,
                "start" if other.entry.get("clean") == Some(&Value::Bool(false)) => Severity::Low,
                _ => Severity::Informational,
            },
        }
    }

    /// One sentence for people.
    #[must_use]
    pub fn message(&self) -> String {
        match &self.what {
            What::Decision(decided) => {
                let found = &decided.found;
                let purpose = found.purpose.as_deref().map(|purpose| format!(" for {purpose}")).unwrap_or_default();
                let code = found.code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
                format!("{} of {}: {} {} {}{purpose}: {}{code}", found.app, found.department, found.action, found.api, found.route, decided.outcome())
            }
            What::Entry(other) => {
                let word = ["operation", "step", "code", "state", "reason"].into_iter().find_map(|key| other.entry.get(key)?.as_str());
                let count = other.entry.get("count").and_then(Value::as_u64).map(|count| format!(" ({count} times)")).unwrap_or_default();
                word.map_or_else(|| other.kind.clone(), |word| format!("{}: {word}{count}", other.kind))
            }
        }
    }
}

impl Decided {
    /// The decision's outcome, or `unresolved`: count it as released.
    #[must_use]
    pub fn outcome(&self) -> &str {
        if self.found.unresolved { "unresolved" } else { &self.found.outcome }
    }
}

pub(super) const UNKNOWN: &str = "unknown";

/// Why a log ends whose gateway was told to stop.
pub(super) const IN_ORDER: &str = "shutdown";
