//! The [Open Cybersecurity Schema Framework](https://schema.ocsf.io/1.5.0/classes/api_activity), version 1.5.0.
//!
//! | what | class | profiles |
//! |---|---|---|
//! | a decision | API Activity 6003: 1 create, 2 read (also masked and in bulk), 3 update, 4 delete | `security_control`, `trace` |
//! | `admin`, `query` | API Activity 6003: 2 read for a query, else 99 with the operation's name | |
//! | `start`, `stop` | Application Lifecycle 6002: 3, 4 | |
//! | every other entry | Base Event 0: 99 with the entry's kind | |
//!
//! What the schema has no place for stands in `unmapped`. Customers are numbers of this log; addresses are not in it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::VERSION;
use super::event::{Decided, Event, IN_ORDER, Other, Severity, What};
use crate::audit::gathered::Relied;

const SCHEMA: &str = "1.5.0";
const API_ACTIVITY: u64 = 6003;
const APPLICATION_LIFECYCLE: u64 = 6002;
const BASE_EVENT: u64 = 0;
const OTHER: u64 = 99;

pub(super) fn event(event: &Event) -> Value {
    let (class, own) = match &event.what {
        What::Decision(decided) => (Class::of_decision(decided), decision(decided)),
        What::Entry(other) => (Class::of_entry(other), entry(other)),
    };
    let mut document = common(event, &class);
    if let (Some(all), Value::Object(own)) = (document.as_object_mut(), own) {
        all.extend(own);
    }
    without_nulls(document)
}

/// Class and activity, with their names.
struct Class {
    uid: u64,
    activity: u64,
    activity_name: String,
    profiles: &'static [&'static str],
}

impl Class {
    fn of_decision(decided: &Decided) -> Self {
        let action = decided.found.action.as_str();
        let (activity, activity_name) = match action {
            "create" => (1, "Create"),
            "read" | "read-reduced" | "export" => (2, "Read"),
            "update" => (3, "Update"),
            "delete" => (4, "Delete"),
            other => (OTHER, other),
        };
        Self { uid: API_ACTIVITY, activity, activity_name: activity_name.to_owned(), profiles: &["security_control", "trace"] }
    }

    fn of_entry(other: &Other) -> Self {
        let (uid, activity, name) = match other.kind.as_str() {
            "query" => (API_ACTIVITY, 2, "Read"),
            "admin" => (API_ACTIVITY, OTHER, text(other, "operation").unwrap_or("admin")),
            "start" => (APPLICATION_LIFECYCLE, 3, "Start"),
            "stop" => (APPLICATION_LIFECYCLE, 4, "Stop"),
            kind => (BASE_EVENT, OTHER, kind),
        };
        Self { uid, activity, activity_name: name.to_owned(), profiles: &[] }
    }

    fn names(&self) -> (u64, &'static str, &'static str) {
        match self.uid {
            API_ACTIVITY => (6, "Application Activity", "API Activity"),
            APPLICATION_LIFECYCLE => (6, "Application Activity", "Application Lifecycle"),
            _ => (0, "Uncategorized", "Base Event"),
        }
    }
}

fn common(event: &Event, class: &Class) -> Value {
    let (category_uid, category_name, class_name) = class.names();
    let (severity_id, severity) = match event.severity() {
        Severity::Informational => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
    };
    let type_name = if class.activity == OTHER { "Other" } else { &class.activity_name };
    json!({
        "activity_id": class.activity, "activity_name": class.activity_name,
        "category_uid": category_uid, "category_name": category_name,
        "class_uid": class.uid, "class_name": class_name,
        "type_uid": class.uid * 100 + class.activity, "type_name": format!("{class_name}: {type_name}"),
        "severity_id": severity_id, "severity": severity,
        "time": event.at.as_millisecond(),
        "message": event.message(),
        "metadata": {
            "version": SCHEMA,
            "product": product(),
            "profiles": class.profiles,
            "uid": event.id(),
            "event_code": event.name(),
            "log_name": "decision log",
            "log_provider": &*event.origin,
            "original_time": event.at.to_string(),
        },
    })
}

fn product() -> Value {
    json!({ "name": "consentry", "vendor_name": "consentry", "version": VERSION })
}

fn decision(decided: &Decided) -> Value {
    let found = &decided.found;
    let (status_id, status) = status(decided);
    let (action_id, action, disposition_id, disposition) = control(decided);
    json!({
        "status_id": status_id, "status": status, "status_code": found.status.map(|status| status.to_string()), "status_detail": found.code,
        "action_id": action_id, "action": action, "disposition_id": disposition_id, "disposition": disposition,
        "is_alert": (status_id == 0 || found.grant.is_some()).then_some(true),
        "policy": { "uid": found.policy_set, "version": found.generation.to_string() },
        "authorizations": authorizations(&found.relied),
        "trace": decided.trace_id.as_ref().map(|uid| json!({ "uid": uid })),
        "actor": {
            "app_name": found.app,
            "user": found.actor.as_ref().map(|uid| json!({ "uid": uid, "type_id": 1, "type": "User", "org": { "name": found.department } })),
        },
        "api": {
            "operation": found.route,
            "service": { "name": found.api },
            "request": decided.rid.map(|rid| json!({ "uid": rid.to_string() })),
            "response": (found.status.is_some() || found.code.is_some()).then(|| json!({ "code": found.status, "error": found.code })),
        },
        "src_endpoint": { "name": found.app, "svc_name": found.app },
        "dst_endpoint": { "name": found.api, "svc_name": found.api },
        "resources": resources(decided),
        "unmapped": unmapped(decided),
    })
}

/// What the schema has no place for.
fn unmapped(decided: &Decided) -> Value {
    let found = &decided.found;
    json!({
        "department": found.department, "agent": found.agent, "operator": found.operator, "model": found.model, "task": found.task,
        "behalf": found.behalf, "grant": found.grant, "action": found.action, "purpose": found.purpose,
        "generation": found.generation, "consent_revision": found.consent_revision, "outcome": found.outcome, "unresolved": found.unresolved,
        "released": found.released, "reduced": found.reduced, "disclosed": found.disclosed, "withheld": found.withheld,
        "customers": found.parties, "unknown_customers": found.unknown, "rows": found.rows, "dropped": found.dropped,
        "bytes": found.bytes, "complete": found.complete, "latency_us": decided.latency_us,
        "index": found.index, "entries": found.entries, "entries_total": decided.entries_total, "abridged": decided.is_abridged,
    })
}

fn status(decided: &Decided) -> (u64, &'static str) {
    match decided.outcome() {
        "unresolved" => (0, "Unknown"),
        "deny" | "error" => (2, "Failure"),
        _ => (1, "Success"),
    }
}

/// Action and disposition of the profile `security_control`.
fn control(decided: &Decided) -> (u64, &'static str, u64, &'static str) {
    match decided.outcome() {
        "permit" => (1, "Allowed", 1, "Allowed"),
        "redact" => (4, "Modified", OTHER, "Redacted"),
        "filter" => (4, "Modified", OTHER, "Filtered"),
        // Report mode: what would have been withheld went out.
        "unenforced" => (3, "Observed", 17, "Logged"),
        "deny" => (2, "Denied", 2, "Blocked"),
        "error" => (2, "Denied", 27, "Error"),
        _ => (0, "Unknown", 0, "Unknown"),
    }
}

fn authorizations(relied: &[Relied]) -> Option<Vec<Value>> {
    let decided: BTreeSet<(bool, &String)> =
        relied.iter().flat_map(|relied| relied.policies.iter().map(move |policy| (relied.why == "permitted", policy))).collect();
    let list = decided.into_iter().map(|(is_allowed, name)| {
        let decision = if is_allowed { "Allowed" } else { "Denied" };
        json!({ "decision": decision, "policy": { "name": name } })
    });
    Some(list.collect::<Vec<_>>()).filter(|list| !list.is_empty())
}

/// Categories of data with what was decided on them, and customers.
fn resources(decided: &Decided) -> Option<Vec<Value>> {
    let mut categories: BTreeMap<&str, Vec<&Relied>> = BTreeMap::new();
    for relied in &decided.found.relied {
        categories.entry(&relied.category).or_default().push(relied);
    }
    let categories = categories.into_iter().map(|(name, verdicts)| {
        let labels: BTreeSet<&str> = verdicts.iter().map(|relied| relied.release.as_str()).collect();
        let verdicts: Vec<Value> = verdicts.into_iter().map(verdict).collect();
        json!({ "type": "data category", "name": name, "labels": labels, "data": { "verdicts": verdicts } })
    });
    let list: Vec<Value> = categories.chain(decided.parties.iter().map(|party| customer(*party))).collect();
    Some(list).filter(|list| !list.is_empty())
}

fn verdict(relied: &Relied) -> Value {
    json!({
        "release": relied.release, "why": relied.why, "basis": relied.basis, "status": relied.status, "rule": relied.rule,
        "activity": relied.activity.as_ref().map(|(id, version)| format!("{id}@{version}")), "conflict": relied.conflict.then_some(true),
        "event": relied.event, "overridden": Some(&relied.overridden).filter(|list| !list.is_empty()),
    })
}

fn customer(number: u64) -> Value {
    json!({ "type": "customer", "uid": number.to_string() })
}

fn entry(other: &Other) -> Value {
    let unmapped = json!({ "kind": other.kind, "entry": other.entry });
    match other.kind.as_str() {
        "admin" | "query" => {
            let status = other.entry.get("status").and_then(Value::as_u64);
            let (status_id, status_name) = if status.is_none_or(|status| status < 400) { (1, "Success") } else { (2, "Failure") };
            let role = text(other, "role").unwrap_or("staff");
            json!({
                "status_id": status_id, "status": status_name, "status_code": status.map(|status| status.to_string()),
                "actor": { "user": { "uid": text(other, "actor").unwrap_or("unknown"), "type_id": 1, "type": "User", "groups": [{ "name": role }] } },
                "api": {
                    "operation": text(other, "operation").unwrap_or(&other.kind),
                    "service": { "name": "consentry" },
                    "response": status.map(|code| json!({ "code": code })),
                },
                "src_endpoint": { "name": role },
                "resources": other.entry.get("party").and_then(Value::as_u64).map(|party| [customer(party)]),
                "unmapped": unmapped,
            })
        }
        "start" | "stop" => {
            let failed = other.kind == "stop" && text(other, "reason") != Some(IN_ORDER);
            let (status_id, status) = if failed { (2, "Failure") } else { (1, "Success") };
            json!({ "app": product(), "status_id": status_id, "status": status, "status_detail": text(other, "reason"), "unmapped": unmapped })
        }
        "rejects" => json!({ "count": other.entry.get("count"), "status_code": text(other, "code"), "unmapped": unmapped }),
        _ => json!({ "unmapped": unmapped }),
    }
}

fn text<'a>(other: &'a Other, key: &str) -> Option<&'a str> {
    other.entry.get(key).and_then(Value::as_str)
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}
