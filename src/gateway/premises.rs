//! What a request is decided on beside the customer and the policies: the task that an agent was sent to do and for whom, how many
//! customers it can reach, the break-glass grant that it calls upon. Compared again before anything is released.

use std::sync::Arc;

use http::HeaderMap;

use super::check::identify;
use super::problem::{Code, Problem};
use super::state::{Shared, Snapshot};
use crate::audit::FreeText;
use crate::catalog::{Customer, Found};
use crate::consent::{Grant, Ledger, Wanted};
use crate::identity::Principal;
use crate::model::{Action, Caller, FieldRule, Identifier, Particulars, PartyNo, Purpose, ResponsePlan, Shape, Step, Task};

/// Longest `Data-Justification`, bytes.
const JUSTIFICATION_BYTES_MAX: usize = 1_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Premises {
    pub(super) task: Option<Task>,
    /// The customer for whom an agent calls, and who that was when it was asked.
    pub(super) behalf: Option<(Identifier, Option<PartyNo>)>,
    /// Distinct customers that the answer can be about at most.
    pub(super) customers: Option<u32>,
    pub(super) grant: Option<Arc<Grant>>,
    /// What the caller wrote about it; for the log alone.
    pub(super) justification: Option<FreeText>,
}

impl Premises {
    /// # Errors
    /// A task that is not the agent's, a customer who cannot be read, a justification without a grant. None depends on the
    /// customer whom the request is about.
    pub(super) fn of(
        shared: &Shared,
        snapshot: &Snapshot,
        principal: &Principal,
        headers: &HeaderMap,
        found: &Found,
        purpose: Purpose,
    ) -> Result<Self, Problem> {
        let caller = principal.caller();
        let vocabulary = snapshot.policies.vocabulary();
        let task = principal.task().map_err(|_unknown| Code::TaskNotRegistered)?;
        // Those who declare tasks may have done so anew since the token was read.
        if task.is_some_and(|task| !vocabulary.may_do(caller.client, task) || !vocabulary.serves(task, purpose)) {
            return Err(Code::TaskNotRegistered.into());
        }
        let behalf = match principal.for_customer() {
            None => None,
            Some(text) => {
                let id = identify(&snapshot.catalog, text).ok_or(Code::TokenInvalid)?;
                let standing = shared.ledger.standing(&id).map_err(|_away| Code::ConsentUnavailable)?;
                Some((id, standing.map(|standing| standing.party)))
            }
        };
        let (grant, justification) = granted(shared, headers, caller, found, purpose)?.unzip();
        Ok(Self { task, behalf, customers: customers_max(found), grant, justification })
    }

    /// As policies see it when they judge about a customer.
    pub(super) fn about(&self, party: Option<PartyNo>) -> Particulars<'_> {
        Particulars {
            task: self.task,
            for_customer: self.behalf.as_ref().map(|(_, whose)| whose.is_some() && *whose == party),
            customers: self.customers,
            emergency: self.grant.as_ref().map(|grant| &grant.emergency),
        }
    }

    pub(super) fn still_hold(&self, ledger: &Ledger) -> bool {
        let is_same = |(id, whose): &(Identifier, Option<PartyNo>)| ledger.standing(id).is_ok_and(|now| now.map(|s| s.party) == *whose);
        self.behalf.as_ref().is_none_or(is_same) && self.grant.as_ref().is_none_or(|grant| ledger.grant_holds(grant))
    }
}

/// The grant that a request calls upon. The header says only that it does, and which one if there are several: what
/// policies and auditors read is what the approvers have read.
fn granted(
    shared: &Shared,
    headers: &HeaderMap,
    caller: &Caller,
    found: &Found,
    purpose: Purpose,
) -> Result<Option<(Arc<Grant>, FreeText)>, Problem> {
    let mut values = headers.get_all("data-justification").iter();
    let (Some(value), more) = (values.next(), values.next()) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| !text.trim().is_empty() && text.len() <= JUSTIFICATION_BYTES_MAX);
    let (Some(text), None) = (text, more) else { return Err(Code::AmbiguousRequest.into()) };
    let not_granted = || Problem::from(Code::EmergencyNotGranted);
    let reads = matches!(found.route.action, Action::Read | Action::Export) && !matches!(found.route.customer, Customer::None);
    let employee = caller.employee.as_ref().filter(|_| reads).ok_or_else(not_granted)?;
    let wanted = Wanted {
        app: caller.client.as_str(),
        employee: &employee.pseudonym,
        purpose: purpose.as_str(),
        api: found.api.name.as_str(),
        route: found.route.key.as_str(),
    };
    let mut grants = shared.ledger.grants_for(&wanted);
    if grants.len() > 1 {
        let named = text.split_whitespace().next().unwrap_or_default();
        grants.retain(|grant| grant.id == named);
    }
    grants.pop().map(|grant| Some((grant, FreeText::new(text)))).ok_or_else(not_granted)
}

/// Distinct customers of whom the answer can hold anything; `None` when no declaration bounds them.
pub(super) fn customers_max(found: &Found) -> Option<u32> {
    match &found.route.response {
        ResponsePlan::Empty | ResponsePlan::Free { .. } => Some(0),
        ResponsePlan::Open { .. } => Some(1),
        ResponsePlan::Object { shape, .. } => in_one(shape),
        ResponsePlan::Stream { .. } => None,
        ResponsePlan::Rows { shape, rows_max, .. } => in_one(shape)?.checked_mul((*rows_max)?),
    }
}

/// Customers that one object can be about.
fn in_one(shape: &Shape) -> Option<u32> {
    let embeds = shape.fields.iter().any(|field| matches!(field.rule, FieldRule::Embed(_)));
    let repeats = shape.customer.iter().any(|path| path.0.contains(&Step::Items));
    (!embeds && !repeats).then(|| u32::try_from(shape.customer.len().max(1)).unwrap_or(u32::MAX))
}
