//! Which policies a question can meet at all: those whose scope holds (principal, action, category). The catalogue is
//! closed, so each slice is made once, when it is first needed; slices with the same policies are one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cedar_policy::{ActionConstraint, Entities, EntityUid, Policy, PolicySet, PrincipalConstraint, ResourceConstraint};

use crate::model::{Action, Category, Client, Vocabulary};

use super::request::Requests;
use super::rules::Rule;

#[derive(Debug)]
pub(super) struct Slice {
    pub(super) set: PolicySet,
    /// Positions in the list of rules.
    pub(super) members: Vec<usize>,
    /// No policy in it reads the time.
    pub(super) is_timeless: bool,
}

type Cell = OnceLock<Option<Arc<Slice>>>;

#[derive(Debug)]
pub(super) struct Slices {
    cells: HashMap<(Client, Action, Category), Cell>,
    shared: Mutex<HashMap<Vec<usize>, Arc<Slice>>>,
}

impl Slices {
    pub(super) fn new(vocabulary: &Vocabulary) -> Self {
        let mut cells = HashMap::new();
        for &client in vocabulary.clients.keys() {
            for &action in Action::ALL {
                cells.extend(vocabulary.categories.keys().map(|category| ((client, action, *category), Cell::new())));
            }
        }
        Self { cells, shared: Mutex::default() }
    }

    /// `None` for a client or category that is not in the catalogue.
    pub(super) fn find(&self, key: (Client, Action, Category), rules: &[Rule], requests: &Requests, entities: &Entities) -> Option<&Arc<Slice>> {
        self.cells.get(&key)?.get_or_init(|| self.make(key, rules, requests, entities)).as_ref()
    }

    fn make(
        &self,
        (client, action, category): (Client, Action, Category),
        rules: &[Rule],
        requests: &Requests,
        entities: &Entities,
    ) -> Option<Arc<Slice>> {
        let (principal, action, resource) = (requests.principal(client)?, requests.action(action)?, requests.category(category)?);
        let is_met = |rule: &Rule| matches(&rule.policy, principal, action, resource, entities);
        let members: Vec<usize> = rules.iter().enumerate().filter(|(_, rule)| is_met(rule)).map(|(at, _)| at).collect();
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slice) = shared.get(&members) {
            return Some(Arc::clone(slice));
        }
        let in_scope = || members.iter().filter_map(|at| rules.get(*at));
        let is_timeless = !in_scope().any(|rule| rule.reads.reads("context.now"));
        let set = PolicySet::from_policies(in_scope().map(|rule| rule.policy.clone())).ok()?;
        let slice = Arc::new(Slice { set, members: members.clone(), is_timeless });
        shared.insert(members, Arc::clone(&slice));
        Some(slice)
    }
}

fn matches(policy: &Policy, principal: &EntityUid, action: &EntityUid, resource: &EntityUid, entities: &Entities) -> bool {
    let principal_matches = match policy.principal_constraint() {
        PrincipalConstraint::Any => true,
        PrincipalConstraint::Eq(uid) => *principal == uid,
        PrincipalConstraint::In(uid) => is_in(principal, &uid, entities),
        PrincipalConstraint::Is(kind) => *principal.type_name() == kind,
        PrincipalConstraint::IsIn(kind, uid) => *principal.type_name() == kind && is_in(principal, &uid, entities),
    };
    let resource_matches = || match policy.resource_constraint() {
        ResourceConstraint::Any => true,
        ResourceConstraint::Eq(uid) => *resource == uid,
        ResourceConstraint::In(uid) => is_in(resource, &uid, entities),
        ResourceConstraint::Is(kind) => *resource.type_name() == kind,
        ResourceConstraint::IsIn(kind, uid) => *resource.type_name() == kind && is_in(resource, &uid, entities),
    };
    principal_matches && action_matches(policy, action, entities) && resource_matches()
}

pub(super) fn action_matches(policy: &Policy, action: &EntityUid, entities: &Entities) -> bool {
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => *action == uid,
        ActionConstraint::In(uids) => uids.iter().any(|uid| is_in(action, uid, entities)),
    }
}

fn is_in(what: &EntityUid, group: &EntityUid, entities: &Entities) -> bool {
    what == group || entities.is_ancestor_of(group, what)
}
