//! Which policies a request meets and which of them hold, asked of Cedar in one question each: every policy is written once more
//! as a permit, so that Cedar names all of them and not only those that settle the answer.

use std::collections::BTreeSet;

use cedar_policy::{Authorizer, Entities, Policy, PolicyId, PolicySet, Request, pst};

use crate::model::PolicyName;

use super::rules::Rule;

#[derive(Debug)]
pub(super) struct Scopes {
    /// Without conditions.
    scopes: PolicySet,
    whole: PolicySet,
}

impl Scopes {
    /// `None` when a policy cannot be written once more.
    pub(super) fn new(rules: &[Rule]) -> Option<Self> {
        let set = |clauses: bool| PolicySet::from_policies(rules.iter().map(|rule| as_permit(rule, clauses)).collect::<Option<Vec<_>>>()?).ok();
        Some(Self { scopes: set(false)?, whole: set(true)? })
    }

    /// The policies whose scope holds the request.
    pub(super) fn met(&self, request: &Request, entities: &Entities) -> BTreeSet<PolicyName> {
        named(&self.scopes, request, entities)
    }

    /// The policies that hold.
    pub(super) fn satisfied(&self, request: &Request, entities: &Entities) -> BTreeSet<PolicyName> {
        named(&self.whole, request, entities)
    }
}

fn named(set: &PolicySet, request: &Request, entities: &Entities) -> BTreeSet<PolicyName> {
    let response = Authorizer::new().is_authorized(request, set, entities);
    response.diagnostics().reason().map(|id| PolicyName::intern(id.as_ref())).collect()
}

fn as_permit(rule: &Rule, with_clauses: bool) -> Option<Policy> {
    let mut body = rule.policy.to_pst().ok()?.body().clone();
    body.effect = pst::Effect::Permit;
    if !with_clauses {
        body = body.try_with_clauses([]).ok()?;
    }
    Policy::parse(Some(PolicyId::new(rule.name.as_str())), pst::StaticPolicy::try_from(body).ok()?.to_string()).ok()
}
