//! Bodies that say which route is meant: one URL for everything, with the method in the body. Such a body is read once, before
//! the route is known; what is judged and sent is taken from that reading.
//!
//! Refusals are the HTTP problems of every other route, never JSON-RPC errors in a 200: an app, a proxy and a monitor must be able to
//! tell a refusal without knowing what protocol is spoken inside. An upstream's own error does come back as one, without its
//! text, which may name anybody.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;

use super::accept::{read_json, read_whole};
use super::answer::{compressed, contact, cut_problem, denied, error_plan, json, limits, limits_of};
use super::forward::Unfiltered;
use super::passed::response_headers;
use super::pipeline::{Ending, Footing, Halt};
use super::problem::{Code, Details, Problem};
use super::respond::{Head, Part, Reply, answer};
use super::route::{Authenticated, Routed};
use super::state::{Shared, Snapshot};
use crate::audit::Recorded;
use crate::catalog::{ByBody, Dialect, Target};
use crate::filter::{self, Filtered, Limits, NoCall};
use crate::model::{PathPattern, ResponsePlan, Step};

/// A body that was read before its route was known.
#[derive(Clone)]
pub(super) struct Said {
    /// By which routes are told apart.
    pub(super) told: Option<String>,
    /// What the route judges: the whole body, or the parameters of a call.
    pub(super) body: Bytes,
    /// Of a call.
    id: Option<Box<str>>,
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Said").finish_non_exhaustive()
    }
}

/// Reads the body if the route cannot be found without it; else gives it back.
pub(super) async fn listen(snapshot: &Snapshot, call: &mut Authenticated, body: Incoming) -> Option<Incoming> {
    let Some(wanted) = snapshot.catalog.by_body(&call.method, &call.target) else { return Some(body) };
    let limits = snapshot.limits;
    let read = read_json(&call.headers, body, call.body_max, limits.request_body_timeout).await;
    let limits = Limits { body_bytes_max: call.body_max, depth_max: limits.json_depth_max };
    call.said = Some(read.and_then(|body| said(&wanted, &body, &limits)));
    None
}

/// The same of a body that is only described.
pub(super) fn overheard(snapshot: &Snapshot, method: &Method, target: &Target, body: Bytes) -> Result<Said, Problem> {
    match snapshot.catalog.by_body(method, target) {
        Some(wanted) => said(&wanted, &body, &limits_of(snapshot)),
        None => Ok(Said { told: None, body, id: None }),
    }
}

fn said(wanted: &ByBody, body: &Bytes, limits: &Limits) -> Result<Said, Problem> {
    match wanted.dialect {
        Dialect::JsonRpc => {
            let call = filter::read_call(body, limits).map_err(|error| no_call(&error))?;
            Ok(Said { told: Some(call.method), body: call.params, id: Some(call.id) })
        }
        Dialect::Plain | Dialect::OData | Dialect::JsonApi => {
            let told = filter::read_member(body, &wanted.member, limits).map_err(|error| no_call(&error.into()))?;
            Ok(Said { told, body: body.clone(), id: None })
        }
    }
}

/// What is wrong with it is the same whoever it is about, and says nothing of its values.
fn no_call(error: &NoCall) -> Problem {
    tracing::debug!(%error, "a body that says its route cannot be read");
    let remedy = match error {
        NoCall::Batch | NoCall::Notification | NoCall::Call | NoCall::Reference => Some(error.to_string()),
        NoCall::Unreadable(_) | NoCall::Reply => None,
    };
    Problem::with(Code::AmbiguousRequest, Details { remedy, ..Details::default() })
}

/// The body that the route judges.
pub(super) async fn body(call: &Authenticated, coming: Option<Incoming>, patience: Duration) -> Result<Bytes, Problem> {
    match (&call.said, coming) {
        (Some(said), _) => said.as_ref().map(|said| said.body.clone()).map_err(Clone::clone),
        (None, Some(coming)) => read_json(&call.headers, coming, call.body_max, patience).await,
        (None, None) => Err(Code::AmbiguousRequest.into()),
    }
}

/// The same of a body whose content type was looked at.
pub(super) async fn typed_body(call: &Authenticated, coming: Option<Incoming>, patience: Duration) -> Result<Bytes, Problem> {
    match coming.filter(|_| call.said.is_none()) {
        Some(coming) => read_whole(coming, call.body_max, patience).await,
        None => body(call, None, patience).await,
    }
}

impl Authenticated {
    /// The id of a call, and its method.
    fn called(&self) -> Option<(&str, &str)> {
        let said = self.said.as_ref()?.as_ref().ok()?;
        Some((said.id.as_deref()?, said.told.as_deref()?))
    }

    /// What was judged, in the envelope of its call if it is one.
    pub(super) fn in_envelope(&self, judged: Bytes) -> Bytes {
        match self.called() {
            Some((id, method)) => filter::write_call(method, &judged, id),
            None => judged,
        }
    }

    /// What a call is told that was carried out and of which nothing may be read back; others are told nothing.
    pub(super) fn done(&self, status: StatusCode, filtered: Filtered) -> Filtered {
        match self.called() {
            Some((id, _)) if filtered.is_empty() && status.is_success() => Filtered::call_done(id),
            Some(_) | None => filtered,
        }
    }
}

/// The call by which a record is looked up. Its id is nobody's.
pub(super) fn lookup_body(method: &str, params: &[String], raw: &Bytes, limits: &Limits) -> Result<Bytes, Problem> {
    let picked = filter::pick(raw, params, limits).map_err(|error| no_call(&error))?;
    Ok(filter::write_call(method, &picked, LOOKUP_ID))
}

const LOOKUP_ID: &str = "1";

/// Whether a looked-up record is there; an upstream's error is none.
pub(super) fn is_record(found: &Unfiltered, limits: &Limits) -> bool {
    matches!(filter::read_reply(&found.body, LOOKUP_ID, limits), Ok(filter::Reply::Result))
}

/// An upstream's answer to a call, looked at before it is cut.
pub(super) enum Answered {
    /// To be cut; for what is no call, always.
    Result(Recorded),
    /// The upstream refused the call, in a 200.
    Error(Box<Response<Reply>>),
}

/// `named`: the request names the customer. If it does not, an error must look like a denial, or it would tell which records exist.
pub(super) fn look_at(
    shared: &Arc<Shared>,
    call: &Authenticated,
    routed: &Routed,
    head: Recorded,
    unfiltered: &Unfiltered,
    named: bool,
) -> Result<Answered, Halt> {
    // The body of a 4xx is cut as the route declares it.
    let Some((id, _)) = call.called().filter(|_| error_plan(routed, unfiltered.status).is_none()) else { return Ok(Answered::Result(head)) };
    let of = |problem: Problem| Halt::refuse_of(&routed.facts, &head, problem, Vec::new());
    let unreadable = || of(Code::UpstreamUnreadable.into());
    if !unfiltered.is_plain_json() {
        return Err(unreadable());
    }
    let reply = filter::read_reply(&unfiltered.body, id, &limits(routed)).map_err(|error| {
        tracing::warn!(%error, "an upstream answer cannot be read");
        unreadable()
    })?;
    if reply == filter::Reply::Result {
        return Ok(Answered::Result(head));
    }
    if !named {
        return Err(of(denied(contact(routed))));
    }
    let filtered = match open_of_error(&routed.found.route.response) {
        Some(open) => filter::cut_open(&unfiltered.body, &open, &limits(routed)).map_err(|e| of(cut_problem(&e, None)))?,
        None => Filtered::call_refused(id),
    };
    if !shared.still_decides(routed.snapshot.generation) || !routed.asked.premises.still_hold(&shared.ledger) {
        return Err(of(denied(contact(routed))));
    }
    let ending = Ending {
        shared: Arc::clone(shared),
        of: head.index(),
        status: unfiltered.status.as_u16(),
        rows: AtomicU64::new(0),
        started: call.started,
        outcome: "permit",
        trace: call.trace,
        facts: Arc::clone(&routed.facts),
    };
    let premises = routed.asked.premises.clone();
    let footing = Footing { shared: Arc::clone(shared), generation: routed.snapshot.generation, decided_on: Vec::new(), premises };
    shared.metrics.decided(ending.outcome);
    let answer_head = Head {
        status: unfiltered.status,
        headers: response_headers(shared, routed, unfiltered, None),
        content_type: Some(json()),
        decision: head.decision_id().to_string(),
        withheld: None,
        revision: shared.ledger.revision().0,
        bodiless: false,
        own: compressed(routed, call),
    };
    Ok(Answered::Error(Box::new(answer(answer_head, Part::new(filtered, head, Arc::new(footing)), Arc::new(ending)))))
}

/// Members of an error that the route declares free of customer data, with the envelope around them.
fn open_of_error(plan: &ResponsePlan) -> Option<Vec<PathPattern>> {
    let open = match plan {
        ResponsePlan::Object { open, .. } | ResponsePlan::Rows { open, .. } | ResponsePlan::Open { open } => open,
        ResponsePlan::Empty | ResponsePlan::Free { .. } | ResponsePlan::Stream { .. } => return None,
    };
    let begins = |path: &&PathPattern, names: &[&str]| matches!(path.0.first(), Some(Step::Member(name)) if names.contains(&name.as_str()));
    open.iter().any(|path| begins(&path, &["error"])).then(|| open.iter().filter(|p| begins(p, &["error", "id", "jsonrpc"])).cloned().collect())
}
