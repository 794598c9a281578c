//! A decision as a JSON document: the same wherever it is shown.

use serde_json::{Value, json};

use super::free_text::{LockedText, without_text};
use super::gathered::Found;
use super::read::Logged;
use super::text_keys::{Said, Texts};

/// A decision as API, command line and exports show it: without what the caller wrote.
#[must_use]
pub fn found_json(found: &Found) -> Value {
    let relied: Vec<Value> = found
        .relied
        .iter()
        .map(|relied| {
            json!({
                "category": relied.category, "release": relied.release, "why": relied.why, "basis": relied.basis,
                "activity": relied.activity.as_ref().map(|(id, version)| json!({ "id": id, "version": version })),
                "status": relied.status, "policies": relied.policies, "event": relied.event, "overridden": relied.overridden,
                "rule": relied.rule, "conflict": relied.conflict,
            })
        })
        .collect();
    json!({
        "decision": found.decision, "index": found.index, "at": found.at.to_string(),
        "app": found.app, "department": found.department, "actor": found.actor, "agent": found.agent,
        "operator": found.operator, "model": found.model, "task": found.task, "behalf": found.behalf, "grant": found.grant,
        "action": found.action, "api": found.api, "route": found.route, "purpose": found.purpose,
        "policy_set": found.policy_set, "generation": found.generation, "consent_revision": found.consent_revision,
        "outcome": found.outcome, "status": found.status, "code": found.code,
        "released": found.released, "reduced": found.reduced, "relied": relied, "policies": found.policies,
        "withheld": found.withheld, "parties": found.parties, "unknown": found.unknown,
        "rows": found.rows, "dropped": found.dropped, "bytes": found.bytes,
        "unresolved": found.unresolved, "complete": found.complete, "entries": found.entries,
    })
}

/// With what the caller wrote about an emergency, for those who may read that.
#[must_use]
pub fn found_json_with(found: &Found, texts: &Texts) -> Value {
    let mut document = found_json(found);
    if let (Some(members), Some(text)) = (document.as_object_mut(), &found.justification) {
        members.insert("justification".to_owned(), said_json(text, texts));
    }
    document
}

/// An entry with what was written about an emergency, or without that.
#[must_use]
pub fn entry_json(logged: &Logged, texts: Option<&Texts>) -> Value {
    let Some(texts) = texts else {
        let mut entry = logged.resolved.clone();
        without_text(&mut entry);
        return json!({ "index": logged.index, "entry": entry });
    };
    let mut document = json!({ "index": logged.index, "entry": logged.resolved });
    if let (Some(members), Some(text)) = (document.as_object_mut(), LockedText::of(&logged.resolved)) {
        members.insert("text".to_owned(), said_json(&text, texts));
    }
    document
}

fn said_json(text: &LockedText, texts: &Texts) -> Value {
    let said = texts.open(text);
    let mut document = json!({ "key": text.key(), "state": said.as_str() });
    let more = match &said {
        Said::Text(text) => Some(("text", json!(text))),
        Said::Destroyed { announced } => Some(("announced", json!(announced))),
        Said::NoKey | Said::Unopened => None,
    };
    if let (Some(members), Some((name, value))) = (document.as_object_mut(), more) {
        members.insert(name.to_owned(), value);
    }
    document
}
