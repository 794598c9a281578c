//! A GraphQL query on its way through a read: its plan takes the place of the route's, and from there on it is a read like any other.
//! Plans are kept, since apps send the same few queries with other variables; what is kept is bounded and ends with the snapshot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::body::Incoming;
use serde_json::{Map, Value as Json};

use super::answer::{limits, limits_of};
use super::forward::Unfiltered;
use super::pipeline::Halt;
use super::premises::customers_max;
use super::problem::{Code, Details, Problem};
use super::route::{Authenticated, Routed};
use super::state::Snapshot;
use crate::catalog::graphql::{Bound, Graphql, Planned, Query, QueryError};
use crate::catalog::{Customer, Found, Route};
use crate::filter::{self, Cut, Cutters, GraphqlAnswer, GraphqlCallError, Limits};
use crate::model::{ApiName, Category, ResponsePlan, RouteKey, Shapes};

/// Plans of a snapshot: two generations of these, the older is dropped when the younger is full.
const GENERATION_MAX: usize = 256;
/// A longer query is planned each time.
const KEPT_BYTES_MAX: usize = 16 << 10;

/// A request's body: not looked at yet, or what goes upstream and by which categories it selects.
pub(super) enum Body {
    Unread(Option<Incoming>),
    Judged(Bytes, Vec<Category>),
}

/// A query whose plan is the route's.
pub(super) struct Asked {
    plan: Arc<Plan>,
    query: Query,
    sent: Bytes,
}

/// What a query comes to, whatever its arguments.
#[derive(Debug)]
struct Plan {
    planned: Planned,
    cutters: Cutters,
}

/// Reads and plans the query of a GraphQL route; any other request goes by unread.
///
/// # Errors
/// A refusal that is the same for every customer.
pub(super) async fn read(call: &Authenticated, routed: Routed, body: Option<Incoming>) -> Result<(Routed, Body), Halt> {
    let Some(graphql) = routed.found.route.graphql.clone() else { return Ok((routed, Body::Unread(body))) };
    let refuse = |problem: Problem| Halt::refuse(Arc::clone(&routed.facts), problem);
    let timeout = routed.snapshot.limits.request_body_timeout;
    let raw = super::call::body(call, body, timeout).await.map_err(refuse)?;
    let query = query(&raw, &limits(&routed)).map_err(refuse)?;
    let facts = Arc::clone(&routed.facts);
    let (routed, sent, selected) = planned(routed, &graphql, query).map_err(|problem| Halt::refuse(facts, problem))?;
    Ok((routed, Body::Judged(sent, selected)))
}

/// The same query under the configuration that is active now: what was sent is what would be sent.
///
/// # Errors
/// When it is refused now, or comes to something else.
pub(super) fn again(now: Routed, before: &Routed) -> Result<Routed, Problem> {
    let Some(asked) = &before.graphql else { return Ok(now) };
    let graphql = now.found.route.graphql.clone().ok_or(Code::RouteNotDeclared)?;
    let (mut now, sent, selected) = planned(now, &graphql, asked.query.clone())?;
    if sent != asked.sent {
        return Err(Code::RouteNotDeclared.into());
    }
    now.selected_by.extend(selected);
    Ok(now)
}

/// Whether the answer has data to be cut, and errors beside them.
///
/// # Errors
/// The problem that stands in place of an answer without data.
pub(super) fn settled(routed: &Routed, answer: &Unfiltered) -> Result<GraphqlAnswer, Problem> {
    let at = match &routed.found.route.response {
        ResponsePlan::Object { at, .. } if routed.graphql.is_some() => at,
        ResponsePlan::Rows { rows, .. } if routed.graphql.is_some() => rows,
        ResponsePlan::Object { .. }
        | ResponsePlan::Rows { .. }
        | ResponsePlan::Empty
        | ResponsePlan::Free { .. }
        | ResponsePlan::Open { .. }
        | ResponsePlan::Stream { .. } => {
            return Ok(GraphqlAnswer::Whole);
        }
    };
    let found = filter::read_graphql_answer(&answer.body, &at.0, &limits(routed)).map_err(|_unreadable| Code::UpstreamUnreadable)?;
    let GraphqlAnswer::Nothing { errors } = found else { return Ok(found) };
    tracing::info!(api = %routed.found.api.name, route = %routed.found.route.key, errors, "the API answered a query without data");
    let names_customer = matches!(routed.found.route.customer, Customer::Request { .. });
    match (&routed.found.route.response, errors) {
        // A record that is not there must look like one that is denied, unless the request says whose it is.
        (ResponsePlan::Object { .. }, _) if !names_customer => Err(Code::Denied.into()),
        (ResponsePlan::Object { .. }, false) => Err(Code::RouteNotDeclared.into()),
        (_, true) => Err(Code::UpstreamRefused(400).into()),
        (_, false) => Err(Code::UpstreamUnreadable.into()),
    }
}

/// Names what was decided by the declared paths, since aliases are the caller's words; and says that there were errors.
pub(super) fn told(routed: &Routed, answer: GraphqlAnswer, cut: Cut) -> Cut {
    let Some(asked) = &routed.graphql else { return cut };
    let planned = &asked.plan.planned;
    let Cut { mut filtered, mut report } = cut;
    report.withheld = report.withheld.iter().map(|path| planned.declared(path).to_owned()).collect();
    report.withheld.sort();
    report.withheld.dedup();
    report.drift = report.drift.iter().map(|_path| "*".to_owned()).chain(planned.unmapped.iter().cloned()).collect();
    if answer == GraphqlAnswer::Partial {
        filtered = filtered.with_graphql_errors();
    }
    Cut { filtered, report }
}

impl Routed {
    /// Shapes that embedding paths name.
    pub(super) fn shapes(&self) -> &Shapes {
        self.graphql.as_ref().map_or(&self.snapshot.catalog.shapes, |asked| &asked.plan.planned.shapes)
    }

    pub(super) fn cutters(&self) -> &Cutters {
        self.graphql.as_ref().map_or(&self.snapshot.cutters, |asked| &asked.plan.cutters)
    }
}

/// A query that is only described: its plan takes the place of the route's. What would be sent, and the shapes that its paths name.
///
/// # Errors
/// As [`read`].
pub(super) fn described(snapshot: &Snapshot, found: &mut Found, graphql: &Graphql, raw: &Bytes) -> Result<(Bytes, Shapes), Problem> {
    let query = query(raw, &limits_of(snapshot))?;
    let (plan, bound) = take_place(snapshot, found, graphql, &query)?;
    Ok((Bytes::from(bound.body), plan.planned.shapes.clone()))
}

fn query(raw: &Bytes, limits: &Limits) -> Result<Query, Problem> {
    let call = filter::read_graphql_call(raw, limits).map_err(|error| {
        let remedy = error.to_string();
        let code = match error {
            GraphqlCallError::Unreadable(_) => Code::AmbiguousRequest,
            GraphqlCallError::Batch | GraphqlCallError::NoQuery | GraphqlCallError::Member(_) => Code::QueryRefused,
        };
        Problem::with(code, Details { remedy: Some(remedy), ..Details::default() })
    })?;
    // Read strictly a moment ago.
    let variables: Map<String, Json> = serde_json::from_str(&call.variables).map_err(|_never| Code::AmbiguousRequest)?;
    Ok(Query { text: call.query, operation: call.operation, variables })
}

fn planned(mut routed: Routed, graphql: &Graphql, query: Query) -> Result<(Routed, Bytes, Vec<Category>), Problem> {
    let snapshot = Arc::clone(&routed.snapshot);
    let (plan, bound) = take_place(&snapshot, &mut routed.found, graphql, &query)?;
    routed.asked.records = routed.found.route.records_max;
    routed.asked.premises.customers = customers_max(&routed.found);
    let sent = Bytes::from(bound.body);
    routed.graphql = Some(Arc::new(Asked { plan, query, sent: sent.clone() }));
    Ok((routed, sent, bound.selected_by))
}

fn take_place(snapshot: &Snapshot, found: &mut Found, graphql: &Graphql, query: &Query) -> Result<(Arc<Plan>, Bound), Problem> {
    let plan = snapshot.plans.plan(found, graphql, query).map_err(|error| query_problem(&error))?;
    let bound = plan.planned.bind(graphql, &query.variables).map_err(|error| query_problem(&error))?;
    let (response, customer) = (plan.planned.response.clone(), plan.planned.customer.clone());
    let records_max = if let ResponsePlan::Rows { rows_max, .. } = &response { *rows_max } else { None };
    found.route = Arc::new(Route { response, customer, records_max, ..Route::clone(&found.route) });
    Ok((plan, bound))
}

/// All of these are the same for every customer.
fn query_problem(error: &QueryError) -> Problem {
    let (code, fields) = match error {
        QueryError::NotDeclared { name } => (Code::ParameterNotDeclared, vec![name.clone()]),
        QueryError::Syntax(_)
        | QueryError::TooMuch { .. }
        | QueryError::Operation(_)
        | QueryError::Introspection
        | QueryError::Directive(_)
        | QueryError::Fragment { .. }
        | QueryError::Field { .. }
        | QueryError::Variable { .. }
        | QueryError::Argument { .. }
        | QueryError::Nothing => (Code::QueryRefused, Vec::new()),
    };
    let remedy = Some(error.to_string());
    Problem::with(code, Details { fields, remedy, ..Details::default() })
}

/// The plans of a snapshot.
#[derive(Default)]
pub struct Plans(Mutex<[HashMap<Key, Arc<Plan>>; 2]>);

/// All that a plan depends on: `@include` and `@skip` read variables, others do not change what is asked.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    api: ApiName,
    route: RouteKey,
    text: String,
    operation: Option<String>,
    switches: Vec<(String, Option<bool>)>,
}

impl std::fmt::Debug for Plans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plans")
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("plan", &self.plan).field("sent", &self.sent.len()).finish_non_exhaustive()
    }
}

impl Plans {
    fn plan(&self, found: &Found, graphql: &Graphql, query: &Query) -> Result<Arc<Plan>, QueryError> {
        let switches = query.variables.iter().map(|(name, value)| (name.clone(), value.as_bool())).collect();
        let Query { text, operation, .. } = query.clone();
        let key = Key { api: found.api.name, route: found.route.key, text, operation, switches };
        if let Some(found) = self.kept(&key) {
            return Ok(found);
        }
        let planned = graphql.plan(query)?;
        let cutters = Cutters::new(&planned.shapes);
        let plan = Arc::new(Plan { planned, cutters });
        if query.text.len() <= KEPT_BYTES_MAX {
            self.keep(key, &plan);
        }
        Ok(plan)
    }

    fn kept(&self, key: &Key) -> Option<Arc<Plan>> {
        let generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &*generations;
        young.get(key).or_else(|| old.get(key)).cloned()
    }

    fn keep(&self, key: Key, plan: &Arc<Plan>) {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *generations;
        if young.len() >= GENERATION_MAX {
            *old = std::mem::take(young);
        }
        young.insert(key, Arc::clone(plan));
    }
}

#[cfg(test)]
mod tests;
