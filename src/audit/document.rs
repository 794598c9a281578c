//! A decision as a JSON document: the same wherever it is shown.

use serde_json::{Value, json};

use super::gathered::Found;

/// A decision as API, command line and exports show it.
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
