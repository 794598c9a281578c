//! Reads. A customer named by the request is judged before anything is sent; customers named by the answer are judged row
//! by row before anything is released. Either way the answer is cut, recorded, compared once more, and only then let go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::header::{ACCEPT, HeaderValue};
use http::{Method, Response};
use hyper::body::Incoming;

use super::answer::{
    contact, content_type, denied, error_groups, error_plan, limits, note_drift, own, plan, record_part, single_group, success, uncut,
    upstream_method, without_grounds,
};
use super::budgets::Charged;
use super::call::{self, Answered};
use super::forward::{Reading, Unfiltered, forward};
use super::graphql::{self, Body};
use super::judge::{Basis, Covered, DecidedOn, Judging, log_groups, still_hold};
use super::list;
use super::passed::response_headers;
use super::permit::{Entitled, Permitted, categories_with_embedded, entitle, not_selectable, selectable};
use super::pipeline::{Ending, Footing, Halt, consent_available, has_body};
use super::problem::{Code, Problem};
use super::report;
use super::respond::{Head, Part, Reply, answer};
use super::route::{Authenticated, Routed, parameter_problem, route};
use super::search::{SearchBody, judged_search};
use super::state::Shared;
use super::stream;
use crate::audit::{Entry, Group, Recorded};
use crate::catalog::Customer;
use crate::consent::{ConsentError, Moved, Standing};
use crate::filter::{self, Report};
use crate::model::{Category, EventId, Identifier, Release, ResponsePlan, Shape, Subject, Verdicts};

/// How often an answer is decided anew when the ledger or the policies change between decision and release.
pub(super) const ATTEMPTS_MAX: usize = 8;

pub(super) type Requested = (Identifier, Option<Standing>);

pub(super) async fn serve(shared: &Arc<Shared>, call: &Authenticated, routed: Routed, body: Option<Incoming>) -> Result<Response<Reply>, Halt> {
    let (mut routed, body) = graphql::read(call, routed, body).await?;
    let refuse = |problem: Problem| Halt::refuse(Arc::clone(&routed.facts), problem);
    let Some(shape) = routed.found.route.response.shape().cloned() else {
        return Err(refuse(denied(contact(&routed))));
    };
    let entitled = entitle(&routed, &shape)?;
    let SearchBody { sent, selected_by, bare } = request_body(call, &routed, body).await.map_err(refuse)?;
    routed.selected_by.extend(selected_by);
    routed.bare |= bare;
    selectable(&routed, &shape)?;
    consent_available(shared, call, &routed)?;
    let refuse = |problem: Problem| Halt::refuse(Arc::clone(&routed.facts), problem);
    let customer = routed.customer(call, &sent).map_err(refuse)?;
    let requested = look_up(shared, &routed, customer)?;

    let (permitted, entry, covered) = head(&routed, &entitled, &shape, requested.as_ref())?;
    let pending = shared.log.append(entry)?;
    let base_path = routed.upstream.base_path();
    let mut outgoing = routed.outgoing(call, routed.found.upstream_target(base_path), upstream_method(&call.method), sent);
    outgoing.reading = list::reading(&routed.found.route);
    if let ResponsePlan::Stream { framing, .. } = &routed.found.route.response {
        let accept = framing.content_types().first().copied().unwrap_or_default();
        outgoing.headers.insert(ACCEPT, HeaderValue::from_static(accept));
    }
    let (recorded, result) = tokio::join!(pending, forward(&permitted, shared, &routed.upstream, &outgoing));
    let recorded = recorded?;

    let hide_404 = requested.is_none();
    let unfiltered = success(result, hide_404, routed.found.route.error.as_ref())
        .map_err(|p| Halt::refuse_of(&routed.facts, &recorded, with_contact(p, &routed), Vec::new()))?;
    let recorded = match call::look_at(shared, call, &routed, recorded, &unfiltered, requested.is_some())? {
        Answered::Result(recorded) => recorded,
        Answered::Error(told) => return Ok(*told),
    };
    let customer = requested.map(|(id, _)| id);
    match (&unfiltered.rest, outgoing.reading) {
        (None, _) => release(shared, call, routed, recorded, unfiltered, customer, covered).await,
        (Some(_), Reading::Stream) => stream::release(shared, call, routed, recorded, unfiltered, customer),
        (Some(_), Reading::List | Reading::Whole) => list::release(shared, call, routed, recorded, unfiltered, customer).await,
    }
}

/// The body of a read that searches, judged like parameters; other reads have none.
async fn request_body(call: &Authenticated, routed: &Routed, body: Body) -> Result<SearchBody, Problem> {
    let body = match body {
        Body::Judged(sent, selected_by) => return Ok(SearchBody { sent, selected_by, bare: false }),
        Body::Unread(body) => body,
    };
    if !has_body(&call.method) {
        return Ok(SearchBody::default());
    }
    let limits = routed.snapshot.limits;
    let raw = call::body(call, body, limits.request_body_timeout).await?;
    let declared = routed.found.route.search.as_deref().unwrap_or_default();
    judged_search(&raw, declared, routed.found.route.dialect)?.map_err(|error| parameter_problem(&error))
}

pub(super) fn look_up(shared: &Shared, routed: &Routed, customer: Option<Identifier>) -> Result<Option<Requested>, Halt> {
    let Some(id) = customer else { return Ok(None) };
    match shared.ledger.standing(&id) {
        Ok(standing) => Ok(Some((id, standing))),
        Err(error) => {
            tracing::error!(%error, "a customer cannot be looked up");
            Err(Halt::refuse(Arc::clone(&routed.facts), Code::ConsentUnavailable))
        }
    }
}

/// The permit and the head entry of a read.
pub(super) fn head(
    routed: &Routed,
    entitled: &Entitled,
    shape: &Arc<Shape>,
    requested: Option<&Requested>,
) -> Result<(Permitted, Entry, Option<Covered>), Halt> {
    let Some((_, standing)) = requested else {
        return Ok((Permitted::of_answer(entitled, &routed.asked), Entry::Intent { facts: Arc::clone(&routed.facts), groups: Vec::new() }, None));
    };
    let categories = categories_with_embedded(shape, routed.shapes());
    let covered = Covered::judge(&routed.snapshot.policies, &routed.asked, standing.as_ref(), categories);
    let judged = Arc::clone(&covered.verdicts);
    match Permitted::of_party(entitled, &routed.asked, shape, &judged) {
        None => {
            let group = single_group(standing.as_ref(), &judged, false);
            Err(Halt::refuse_groups(&routed.facts, denied(contact(routed)), vec![group]))
        }
        Some(permitted) => {
            selection_is_permitted(routed, shape, &judged)?;
            let group = single_group(standing.as_ref(), &judged, true);
            Ok((permitted, Entry::Permit { facts: Arc::clone(&routed.facts), groups: vec![group] }, Some(covered)))
        }
    }
}

/// Who is found by a category must permit it: of a customer whom the request names that is known before anything is sent. It tells no
/// more than a read without the parameter, which would leave the field out.
fn selection_is_permitted(routed: &Routed, shape: &Arc<Shape>, judged: &Arc<Verdicts>) -> Result<(), Halt> {
    let refused: Vec<Category> = routed.selected_by.iter().copied().filter(|c| judged.release(*c) != Release::Full).collect();
    if refused.is_empty() { Ok(()) } else { Err(Halt::refuse_groups(&routed.facts, not_selectable(shape, &refused), Vec::new())) }
}

/// Cuts, records, compares; decides anew when something changed in between.
async fn release(
    shared: &Arc<Shared>,
    call: &Authenticated,
    mut routed: Routed,
    head: Recorded,
    unfiltered: Unfiltered,
    customer: Option<Identifier>,
    covered: Option<Covered>,
) -> Result<Response<Reply>, Halt> {
    let mut covered = covered;
    let mut reserved = BTreeSet::new();
    let mut is_anew = false;
    let mut charged = Charged::default();
    for _ in 0..ATTEMPTS_MAX {
        let (cut, mut basis, groups) = cut(shared, &routed, &head, &unfiltered, customer.clone(), covered.as_ref(), is_anew)?;
        let over = |problem| Halt::refuse_of(&routed.facts, &head, problem, Vec::new());
        shared.budgets.release(&routed, &cut.report, &mut charged).map_err(over)?;
        // The head's own proof serves for an answer of which it says everything.
        let part = match &covered {
            Some(known) if head_says_all(known, &cut.report) => None,
            Some(_) | None => Some(record_part(shared, head.index(), &cut.report, groups).await?),
        };
        let generation = routed.snapshot.generation;
        let premises = routed.asked.premises.clone();
        let holds = |basis: &Basis| {
            let ledger = &shared.ledger;
            shared.still_decides(generation) && premises.still_hold(ledger) && still_hold(&basis.decided_on, ledger)
        };
        let uses = &basis.uses(&cut.report.groups) - &reserved;
        // What no longer holds takes no use.
        let is_reserved = uses.is_empty() || (holds(&basis) && reserve(shared, &routed, &head, &mut basis, &uses).await?.is_some());
        if is_reserved {
            reserved.extend(uses);
            if holds(&basis) {
                note_drift(&routed, shared, &cut.report);
                return Ok(let_go(shared, call, &routed, head, part, &unfiltered, cut, basis.decided_on));
            }
        }
        // Something changed: the head's verdicts are no longer those that hold.
        covered = None;
        if !shared.still_decides(generation) || !premises.still_hold(&shared.ledger) {
            routed = route_anew(shared, call, &routed, &head)?;
            is_anew = true;
        }
    }
    tracing::warn!("an answer was decided anew too often");
    Err(Halt::refuse_of(&routed.facts, &head, Code::ConsentUnavailable, Vec::new()))
}

/// Takes one use of each grant, durably, and says whose revision moved by that; `None` when one has none left or is gone, so that
/// there is to be decided anew. What was taken stays taken, whether or not the answer then goes out.
pub(super) async fn reserve(
    shared: &Arc<Shared>,
    routed: &Routed,
    head: &Recorded,
    basis: &mut Basis,
    uses: &BTreeSet<EventId>,
) -> Result<Option<Vec<Moved>>, Halt> {
    let (ledger, events) = (Arc::clone(&shared.ledger), uses.iter().copied().collect::<Vec<_>>());
    let unavailable = || Halt::refuse_of(&routed.facts, head, Code::ConsentUnavailable, Vec::new());
    match tokio::task::spawn_blocking(move || ledger.reserve_uses(&events)).await {
        Ok(Ok(moved)) => {
            basis.follow(&moved);
            Ok(Some(moved))
        }
        Ok(Err(ConsentError::UsedUp | ConsentError::NotFound)) => Ok(None),
        Ok(Err(error)) => {
            tracing::error!(%error, "a use cannot be counted");
            Err(unavailable())
        }
        Err(_panicked) => Err(unavailable()),
    }
}

/// The same request under the configuration and policies that are active now.
pub(super) fn route_anew(shared: &Shared, call: &Authenticated, before: &Routed, head: &Recorded) -> Result<Routed, Halt> {
    let now = route(shared, &shared.snapshot(), call).map_err(|halt| match halt {
        Halt::Refused(mut refusal) => {
            refusal.head = Some((head.index(), head.decision_id().to_string()));
            Halt::Refused(refusal)
        }
        other @ (Halt::Rejected(_) | Halt::AuditUnavailable(_)) => other,
    })?;
    if !now.snapshot.authenticator.still_knows(&call.principal) {
        return Err(Halt::refuse_of(&before.facts, head, denied(contact(before)), Vec::new()));
    }
    // The head names the grant that was called upon; nothing goes out under another one.
    let grant = |routed: &Routed| routed.asked.premises.grant.as_ref().map(|grant| grant.id.clone());
    if grant(&now) != grant(before) {
        return Err(Halt::refuse_of(&before.facts, head, Code::EmergencyNotGranted, Vec::new()));
    }
    // A search body was judged by the parameters declared then; what is declared now may name other categories.
    let searches = before.found.route.search.is_some();
    if searches || now.found.api.name != before.found.api.name || now.found.route.key != before.found.route.key {
        return Err(Halt::refuse_of(&before.facts, head, Code::RouteNotDeclared, Vec::new()));
    }
    let mut now = graphql::again(now, before).map_err(|problem| Halt::refuse_of(&before.facts, head, problem, Vec::new()))?;
    if now.found.route.customer != before.found.route.customer {
        return Err(Halt::refuse_of(&before.facts, head, Code::RouteNotDeclared, Vec::new()));
    }
    now.selected_by.extend(before.selected_by.iter().copied());
    Ok(now)
}

/// Cuts the answer, with the groups for the log. `is_anew`: not by the question that the head tells.
pub(super) fn cut(
    shared: &Shared,
    routed: &Routed,
    head: &Recorded,
    unfiltered: &Unfiltered,
    customer: Option<Identifier>,
    covered: Option<&Covered>,
    is_anew: bool,
) -> Result<(filter::Cut, Basis, Vec<Group>), Halt> {
    let snapshot = &routed.snapshot;
    let refuse = |problem: Problem, groups| Halt::refuse_of(&routed.facts, head, problem, groups);
    let unreadable = || refuse(Code::UpstreamUnreadable.into(), Vec::new());
    if !unfiltered.is_plain_json() {
        return Err(unreadable());
    }
    let answered = graphql::settled(routed, unfiltered).map_err(|problem| refuse(with_contact(problem, routed), Vec::new()))?;
    let limits = limits(routed);
    let (plan, customer) = match &routed.found.route.customer {
        _ if error_plan(routed, unfiltered.status).is_some() => (plan(shared, routed, unfiltered.status).clone(), customer),
        Customer::Response { path, space } => {
            let raw = filter::find_id(&unfiltered.body, path, &limits, filter::Sender::Upstream)
                .map_err(|_unreadable| unreadable())?
                .ok_or_else(unreadable)?;
            let id = routed.identify(*space, &raw).ok_or_else(unreadable)?;
            (subject_of_request(routed.plan(shared)), Some(id))
        }
        Customer::Path { .. }
        | Customer::Query { .. }
        | Customer::Header { .. }
        | Customer::Claim { .. }
        | Customer::Request { .. }
        | Customer::Answer
        | Customer::Lookup { .. }
        | Customer::New { .. }
        | Customer::None => (routed.plan(shared).clone(), customer),
    };
    let requested = match customer {
        None => None,
        Some(id) => {
            let standing = shared.ledger.standing(&id).map_err(|_away| refuse(Code::ConsentUnavailable.into(), Vec::new()))?;
            Some((id, standing))
        }
    };
    let categories = plan.shape().map(|shape| categories_with_embedded(shape, routed.shapes())).unwrap_or_default();
    let mut judging =
        Judging::new(&snapshot.policies, &snapshot.catalog, &shared.ledger, &routed.asked, &categories, requested, &shared.pseudonym_key);
    judging.links = Some((shared, routed));
    judging.covered = covered;
    let result = filter::cut(&unfiltered.body, &plan, routed.cutters(), &limits, &routed.selected_by, &mut judging);
    let basis = judging.finish().map_err(|_away| refuse(Code::ConsentUnavailable.into(), Vec::new()))?;
    let mut groups = match &result {
        Ok(cut) => log_groups(&cut.report.groups, &basis.facts),
        Err(error) => error_groups(error, &basis.facts),
    };
    if is_anew {
        groups.iter_mut().for_each(without_grounds);
    }
    if result.as_ref().is_ok_and(|cut| cut.report.unenforced) {
        report::mark(&mut groups);
    }
    match result {
        Ok(cut) => Ok((graphql::told(routed, answered, cut), basis, groups)),
        Err(error) => Err(refuse(uncut(routed, unfiltered.status, &error), groups)),
    }
}

fn subject_of_request(plan: &ResponsePlan) -> ResponsePlan {
    match plan {
        ResponsePlan::Object { at, shape, open, withheld_as, .. } => ResponsePlan::Object {
            at: at.clone(),
            shape: Arc::clone(shape),
            subject: Subject::Request,
            open: open.clone(),
            withheld_as: withheld_as.clone(),
        },
        other @ (ResponsePlan::Empty
        | ResponsePlan::Free { .. }
        | ResponsePlan::Open { .. }
        | ResponsePlan::Rows { .. }
        | ResponsePlan::Stream { .. }) => other.clone(),
    }
}

/// Whether the cut found only the customer of the head, released on the head's verdicts, and dropped nothing.
fn head_says_all(head: &Covered, report: &Report) -> bool {
    let same = |group: &filter::Group| {
        group.released && group.unknown == 0 && group.parties.iter().all(|p| Some(*p) == head.party()) && group.verdicts == head.verdicts
    };
    !report.unenforced && report.dropped == 0 && !report.groups.is_empty() && report.groups.iter().all(same)
}

#[expect(clippy::too_many_arguments, reason = "the one place where all that was proved comes together")]
fn let_go(
    shared: &Arc<Shared>,
    call: &Authenticated,
    routed: &Routed,
    head: Recorded,
    part: Option<Recorded>,
    unfiltered: &Unfiltered,
    cut: filter::Cut,
    decided_on: Vec<DecidedOn>,
) -> Response<Reply> {
    let decision = head.decision_id().to_string();
    let own = own(routed, call, unfiltered, &cut.filtered);
    let ending = Ending {
        shared: Arc::clone(shared),
        of: head.index(),
        status: own.status(unfiltered.status).as_u16(),
        rows: AtomicU64::new(cut.report.rows.into()),
        started: call.started,
        outcome: released(&cut.report),
        trace: call.trace,
        facts: Arc::clone(&routed.facts),
    };
    shared.metrics.decided(ending.outcome);
    let footing = Footing { shared: Arc::clone(shared), generation: routed.snapshot.generation, decided_on, premises: routed.asked.premises.clone() };
    let filtered = cut.report.withheld.len();
    tracing::debug!(decision, app = %routed.facts.app, route = %routed.facts.route, withheld = filtered, dropped = cut.report.dropped, "released");
    let head_of_answer = Head {
        status: unfiltered.status,
        headers: response_headers(shared, routed, unfiltered, None),
        content_type: routed.typed(content_type(plan(shared, routed, unfiltered.status), unfiltered)),
        decision,
        withheld: Some(filtered),
        revision: shared.ledger.revision().0,
        bodiless: call.method == Method::HEAD,
        own,
    };
    answer(head_of_answer, Part::new(cut.filtered, part.unwrap_or(head), Arc::new(footing)), Arc::new(ending))
}

fn with_contact(problem: Problem, routed: &Routed) -> Problem {
    if problem.code == Code::Denied { denied(contact(routed)) } else { problem }
}

/// How an answer that goes out is counted.
fn released(report: &Report) -> &'static str {
    if report.unenforced {
        "unenforced"
    } else if !report.withheld.is_empty() || report.dropped > 0 {
        "redact"
    } else {
        "permit"
    }
}
