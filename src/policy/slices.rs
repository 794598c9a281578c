//! Which policies a question can meet at all: those whose scope holds (principal, action, category). The catalogue is
//! closed, so each slice is made once, when it is first needed; principals and categories that no policy can tell apart
//! share theirs, and slices with the same policies share the set that plain Cedar is given.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cedar_policy::{ActionConstraint, Entities, EntityUid, Policy, PolicySet, PrincipalConstraint, ResourceConstraint};

use crate::model::{Action, Caller, Category, Client, Vocabulary};

use super::compiled::{Code, Compiler, Example, Index, Named, Setting};
use super::request::Requests;
use super::rules::Rule;

/// The policies of a scope.
#[derive(Debug)]
pub(super) struct Members {
    /// Positions in the list of rules.
    pub(super) rules: Vec<usize>,
    set: OnceLock<Option<PolicySet>>,
}

#[derive(Debug)]
pub(super) struct Slice {
    pub(super) members: Arc<Members>,
    code: OnceLock<Option<Arc<Code>>>,
    /// Classes of principal and category, and the action.
    at: (usize, Action, usize),
}

#[derive(Debug)]
pub(super) struct Slices {
    pub(super) index: Index,
    cells: Vec<OnceLock<Option<Slice>>>,
    /// The first of each class.
    clients: Vec<Client>,
    categories: Vec<Category>,
    shared: Mutex<Shared>,
    compiler: Compiler,
}

#[derive(Debug, Default)]
struct Shared {
    /// By which principals, actions and categories each policy's scope holds.
    principals: HashMap<usize, Vec<bool>>,
    actions: HashMap<Action, Vec<bool>>,
    resources: HashMap<usize, Vec<bool>>,
    members: HashMap<Vec<usize>, Arc<Members>>,
}

/// What slices are made from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) rules: &'a [Rule],
    pub(super) requests: &'a Requests,
    pub(super) entities: &'a Entities,
    pub(super) vocabulary: &'a Vocabulary,
}

impl Slices {
    pub(super) fn new(source: Source<'_>) -> Self {
        let Source { rules, requests, entities, vocabulary } = source;
        let named = Named::of(rules, entities);
        let uids = |client: &Client| Some((*client, requests.principal(*client)?.clone()));
        let (client_class, clients) = named.classes(vocabulary.clients.keys().filter_map(uids), entities);
        let uids = |category: &Category| Some((*category, requests.category(*category)?.clone()));
        let (category_class, categories) = named.classes(vocabulary.categories.keys().filter_map(uids), entities);
        let index = Index::new(vocabulary, &client_class, &category_class, categories.len());
        let count = clients.len() * Action::ALL.len() * categories.len();
        let cells = std::iter::repeat_with(OnceLock::new).take(count).collect();
        Self { index, cells, clients, categories, shared: Mutex::default(), compiler: Compiler::default() }
    }

    /// The slice of a question that was seen in the index.
    pub(super) fn find(&self, cell: usize, source: Source<'_>) -> Option<&Slice> {
        self.cells.get(cell)?.get_or_init(|| self.make(cell, source)).as_ref()
    }

    fn make(&self, cell: usize, source: Source<'_>) -> Option<Slice> {
        let category_class = cell.checked_rem(self.categories.len())?;
        let rest = cell.checked_div(self.categories.len())?;
        let action = *Action::ALL.get(rest % Action::ALL.len())?;
        let client_class = rest / Action::ALL.len();
        let Source { rules, requests, entities, .. } = source;
        let principal = requests.principal(*self.clients.get(client_class)?)?;
        let action_uid = requests.action(action)?;
        let resource = requests.category(*self.categories.get(category_class)?)?;
        let of_all = |holds: &dyn Fn(&Policy) -> bool| rules.iter().map(|rule| holds(&rule.policy)).collect::<Vec<bool>>();
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let Shared { principals, actions, resources, members } = &mut *shared;
        let by_principal = principals.entry(client_class).or_insert_with(|| of_all(&|policy| principal_matches(policy, principal, entities)));
        let by_action = actions.entry(action).or_insert_with(|| of_all(&|policy| action_matches(policy, action_uid, entities)));
        let by_resource = resources.entry(category_class).or_insert_with(|| of_all(&|policy| resource_matches(policy, resource, entities)));
        let met = by_principal
            .iter()
            .zip(by_action.iter())
            .zip(by_resource.iter())
            .map(|((principal, action), resource)| *principal && *action && *resource);
        let met: Vec<usize> = met.enumerate().filter(|(_, is_met)| *is_met).map(|(at, _)| at).collect();
        let shared_members = members.entry(met).or_insert_with_key(|rules| Arc::new(Members { rules: rules.clone(), set: OnceLock::new() }));
        Some(Slice { members: Arc::clone(shared_members), code: OnceLock::new(), at: (client_class, action, category_class) })
    }

    /// What the slice was compiled to; compiles it when it is first asked for.
    pub(super) fn code<'s>(&self, slice: &'s Slice, source: Source<'_>) -> Option<&'s Code> {
        slice.code.get_or_init(|| self.compile(slice, source, |_| true)).as_deref()
    }

    /// Of those of the slice's policies that are wanted.
    pub(super) fn compile(&self, slice: &Slice, source: Source<'_>, is_wanted: impl Fn(&Rule) -> bool) -> Option<Arc<Code>> {
        let (client_class, action, category_class) = slice.at;
        let Source { rules, requests, entities, vocabulary } = source;
        let (client, info) = vocabulary.clients.get_key_value(self.clients.get(client_class)?)?;
        let caller = Caller { client: *client, kind: info.kind, department: info.department, employee: None };
        let example = Example::new(&self.index, caller, action, *self.categories.get(category_class)?)?;
        let setting = Setting { index: &self.index, requests, entities, example, client_class, action, category_class };
        let members = slice.members.rules.iter().filter_map(|at| Some((*at, rules.get(*at)?))).filter(|(_, rule)| is_wanted(rule));
        Some(self.compiler.compile(&setting, members))
    }
}

impl Members {
    /// For plain Cedar.
    pub(super) fn set(&self, rules: &[Rule]) -> Option<&PolicySet> {
        let in_scope = || self.rules.iter().filter_map(|at| rules.get(*at));
        self.set.get_or_init(|| PolicySet::from_policies(in_scope().map(|rule| rule.policy.clone())).ok()).as_ref()
    }
}

fn principal_matches(policy: &Policy, principal: &EntityUid, entities: &Entities) -> bool {
    match policy.principal_constraint() {
        PrincipalConstraint::Any => true,
        PrincipalConstraint::Eq(uid) => *principal == uid,
        PrincipalConstraint::In(uid) => is_in(principal, &uid, entities),
        PrincipalConstraint::Is(kind) => *principal.type_name() == kind,
        PrincipalConstraint::IsIn(kind, uid) => *principal.type_name() == kind && is_in(principal, &uid, entities),
    }
}

fn resource_matches(policy: &Policy, resource: &EntityUid, entities: &Entities) -> bool {
    match policy.resource_constraint() {
        ResourceConstraint::Any => true,
        ResourceConstraint::Eq(uid) => *resource == uid,
        ResourceConstraint::In(uid) => is_in(resource, &uid, entities),
        ResourceConstraint::Is(kind) => *resource.type_name() == kind,
        ResourceConstraint::IsIn(kind, uid) => *resource.type_name() == kind && is_in(resource, &uid, entities),
    }
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
