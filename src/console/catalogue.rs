//! `/v1/purposes`, `/v1/categories`, `/v1/activities`, `/v1/policies`: what the active policy set declares. No customers.

use serde_json::{Value, json};

use super::dispatch::{Access, Call, Reply, Route};
use super::problem::Problem;
use super::role::AdminRole;
use crate::model::{Activity, Art9Basis, Category, Channel, Purpose};

const STAFF: Access = Access::Roles(&AdminRole::ALL);
const POLICY: Access = Access::Roles(&[AdminRole::PolicyAuthor, AdminRole::PolicyApprover]);

pub(super) const ROUTES: &[Route] = &[
    Route::get("/v1/purposes", "purposes.list", STAFF, "What data is used for, with the terms of the Data Privacy Vocabulary", purposes),
    Route::get("/v1/categories", "categories.list", STAFF, "Categories of data with their owners and terms", categories),
    Route::get("/v1/activities", "activities.list", STAFF, "Processing activities with their lawful basis (GDPR Art. 30)", activities),
    Route::get("/v1/policies", "policies.list", POLICY, "The policies that decide now", policies),
];

fn purposes(call: &Call) -> Result<Reply, Problem> {
    let vocabulary = call.state.instance.vocabulary();
    let list: Vec<Value> = vocabulary
        .purposes
        .iter()
        .map(|(purpose, info)| {
            let parents: Vec<&str> = info.parents.iter().map(|parent| parent.as_str()).collect();
            let incompatible: Vec<&str> = info.incompatible_with.iter().map(|other| other.as_str()).collect();
            json!({
                "purpose": purpose.as_str(), "label": info.term.label, "dpv": info.term.dpv, "channel": info.channel.map(Channel::as_str),
                "parents": parents, "incompatible_with": incompatible, "prohibited": vocabulary.prohibition(*purpose).is_some(),
            })
        })
        .collect();
    Ok(Reply::ok(&json!({ "purposes": list })))
}

fn categories(call: &Call) -> Result<Reply, Problem> {
    let vocabulary = call.state.instance.vocabulary();
    let list: Vec<Value> = vocabulary
        .categories
        .iter()
        .map(|(category, info)| {
            let contributors: Vec<&str> = info.contributors.iter().map(|c| c.as_str()).collect();
            let part_of: Vec<&str> = info.parents.iter().map(|c| c.as_str()).collect();
            json!({
                "category": category.as_str(), "label": info.term.label, "dpv": info.term.dpv, "owner": info.owner.as_str(), "contributors": contributors,
                "sensitivity": info.sensitivity.as_str(), "part_of": part_of,
            })
        })
        .collect();
    Ok(Reply::ok(&json!({ "categories": list })))
}

fn activities(call: &Call) -> Result<Reply, Problem> {
    let list: Vec<Value> = call.state.instance.activities().iter().map(activity_json).collect();
    Ok(Reply::ok(&json!({ "activities": list })))
}

fn activity_json(activity: &Activity) -> Value {
    json!({
        "activity": activity.id.as_str(), "version": activity.version, "department": activity.department.as_str(),
        "purposes": activity.purposes.iter().map(|p| Purpose::as_str(*p)).collect::<Vec<_>>(),
        "categories": activity.categories.iter().map(|c| Category::as_str(*c)).collect::<Vec<_>>(),
        "basis": activity.basis.as_str(), "basis_dpv": activity.basis.iri(), "basis_gdpr": activity.basis.gdpr_iri(),
        "art9": activity.art9.map(Art9Basis::as_str), "art9_gdpr": activity.art9.map(Art9Basis::iri),
        "recipients": activity.recipients, "retention": activity.retention, "jurisdiction": activity.jurisdiction, "dpia": activity.dpia,
        "confidentiality": activity.confidentiality,
    })
}

fn policies(call: &Call) -> Result<Reply, Problem> {
    let active = call.state.instance.policies();
    let list: Vec<Value> = active.policies.iter().map(|p| json!({ "policy": p.name, "effect": p.effect, "at": p.at })).collect();
    let generation = call.state.instance.generation();
    Ok(Reply::ok(&json!({ "id": active.id, "loaded_at": active.loaded_at.to_string(), "generation": generation, "policies": list })))
}
