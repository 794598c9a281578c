//! Writes: judged member by member for the customer on record and, when the body names another, for that one too. The
//! intent is durable before anything is sent, and what the upstream answers is cut like a read.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Response};
use hyper::body::Incoming;

use super::answer::{
    contact, content_type, denied, error_groups, error_plan, json, limits, note_drift, own, plan, record_part, single_group, success, uncut,
    validator_of,
};
use super::budgets::Charged;
use super::call::{self, Answered};
use super::forward::{Outgoing, Unfiltered, forward, look_up as forward_lookup};
use super::judge::{About, DecidedOn, Judging, log_groups, still_hold, verdicts};
use super::media::declared;
use super::passed::response_headers;
use super::permit::{Entitled, Permitted, categories_with_embedded, entitle, nobody};
use super::pipeline::{Ending, Footing, Halt, NO_BODY, consent_available, has_body, record};
use super::problem::{Code, Details, Problem};
use super::read::look_up;
use super::respond::{Head, Part, Reply, answer};
use super::route::{Authenticated, Routed, parameter_problem};
use super::search::judged_search;
use super::state::Shared;
use crate::audit::{Entry, Group, Recorded};
use crate::catalog::{Customer, LookupCall};
use crate::consent::{ConsentError, Standing};
use crate::filter::{self, CutError, Effect, Filtered, Report, Sender, WriteRefused, Written};
use crate::model::{Action, Category, CategoryVerdict, Identifier, Release, RequestPlan, ResponsePlan, Several, Shape, Verdicts};

/// Whom a write is about, as far as the ledger knows.
#[derive(Debug)]
enum Target {
    OnRecord {
        id: Identifier,
        standing: Option<Standing>,
    },
    /// A create; ids written into it that may belong to somebody known.
    New {
        matches: Vec<Identifier>,
    },
}

pub(super) async fn serve(shared: &Arc<Shared>, call: &Authenticated, routed: Routed, body: Option<Incoming>) -> Result<Response<Reply>, Halt> {
    let refuse = |problem: Problem| Halt::refuse(Arc::clone(&routed.facts), problem);
    let Some(plan) = routed.found.route.request.clone() else {
        return Err(refuse(denied(contact(&routed))));
    };
    let entitled = entitle(&routed, &plan.shape)?;
    let conditions = conditions(call, &routed).map_err(refuse)?;
    let (raw, declared) = if has_body(&call.method) {
        let declared = declared(&call.headers, &plan.types).map_err(refuse)?;
        (call::typed_body(call, body, routed.snapshot.limits.request_body_timeout).await.map_err(refuse)?, Some(declared))
    } else {
        (NO_BODY, None)
    };
    let deletion = deletion(call, &routed, &raw)?;
    let written = if let (None, Some(declared)) = (&deletion, declared) {
        let read = filter::read_write(&raw, declared.body_type, declared.boundary.as_deref(), &plan, &limits(&routed));
        Some(read.map_err(|error| {
            tracing::debug!(%error, "a written body cannot be read");
            refuse(Code::AmbiguousRequest.into())
        })?)
    } else {
        None
    };
    let effect = effect(call, &routed, &plan);
    if let Some(written) = &written {
        never_permitted(&routed, &plan, written, effect)?;
    }
    consent_available(shared, call, &routed)?;
    let members = written.as_ref().map_or(raw, |written| written.members().clone());
    let target = target(shared, call, &routed, &entitled, &members).await?;
    let mut judged = judge(shared, &routed, &entitled, &plan, written.as_ref(), &target, effect)?;
    if let Some(sent) = deletion {
        judged.content_type = (!sent.is_empty()).then(json);
        judged.body = sent;
    }
    send(shared, call, &routed, &plan, target, judged, conditions).await
}

type Condition = Option<(HeaderName, HeaderValue)>;

/// `If-Match` and its like are kept or the write is refused.
fn conditions(call: &Authenticated, routed: &Routed) -> Result<Condition, Problem> {
    let kept = routed.snapshot.validators.conditions(&validator_of(routed), routed.found.api.sealed_etag, &call.headers);
    kept.map_err(|_not_kept| Code::PreconditionFailed.into())
}

/// What the write does to the record upstream.
fn effect(call: &Authenticated, routed: &Routed, plan: &RequestPlan) -> Effect {
    match (&call.method, routed.asked.action) {
        (&Method::PUT, _) if !plan.put_merge => Effect::Replace,
        (&Method::POST, Action::Create) => Effect::New,
        _ => Effect::Change,
    }
}

/// What is sent of a deletion, which has no written members: nothing, or by POST the parameters that name the record.
fn deletion(call: &Authenticated, routed: &Routed, raw: &Bytes) -> Result<Option<Bytes>, Halt> {
    let route = &routed.found.route;
    if call.method == Method::DELETE {
        return Ok(Some(NO_BODY));
    }
    let Some(declared) = route.search.as_deref().filter(|_| route.action == Action::Delete) else { return Ok(None) };
    let refuse = |problem: Problem| Halt::refuse(Arc::clone(&routed.facts), problem);
    let body = judged_search(raw, declared, route.dialect).map_err(refuse)?.map_err(|error| refuse(parameter_problem(&error)))?;
    Ok(Some(body.sent))
}

/// Members that no customer's consent could open are named; that tells nothing about anybody.
fn never_permitted(routed: &Routed, plan: &RequestPlan, written: &Written, effect: Effect) -> Result<(), Halt> {
    let possible = possible(routed, plan);
    let readable = assumed(&plan.shape, |_| Release::Full);
    written.judge(&possible, &readable, effect).map(|_| ()).map_err(|refused| write_refused(routed, &plan.shape, &refused, closed(routed, &possible)))
}

/// What some customer's consent could permit.
fn possible(routed: &Routed, plan: &RequestPlan) -> Verdicts {
    let policies = &routed.snapshot.policies;
    assumed(&plan.shape, |category| if routed.asked.could_permit(policies, category, false) { Release::Full } else { Release::Withheld })
}

fn closed(routed: &Routed, possible: &Verdicts) -> Vec<Group> {
    let closed: Vec<(Category, bool)> = possible.iter().filter(|v| v.release == Release::Withheld).map(|v| (v.category, false)).collect();
    nobody(&routed.snapshot.policies, &routed.asked, &closed)
}

/// Verdicts that assume the best, for questions that are not about any one customer.
fn assumed(shape: &Shape, release: impl Fn(Category) -> Release) -> Verdicts {
    let assume = |category: Category| CategoryVerdict {
        category,
        release: release(category),
        why: crate::model::Why::NoPermit,
        policies: Vec::new(),
        basis: crate::model::LawfulBasis::None,
        activity: None,
        status: crate::model::ConsentStatus::Unknown,
        event: None,
        overridden: Vec::new(),
        rule: crate::model::ConflictRule::CustomerLastWord,
        conflict: false,
        grounds: None,
    };
    Verdicts::new(shape.categories().into_iter().map(assume).collect())
}

fn write_refused(routed: &Routed, shape: &Shape, refused: &WriteRefused, groups: Vec<Group>) -> Halt {
    refused_with(routed, shape, refused, groups, None)
}

fn move_refused(routed: &Routed, shape: &Shape, refused: &WriteRefused, groups: Vec<Group>) -> Halt {
    let remedy = "leave the customer's id as it is: handing the record to another customer needs all of these fields";
    refused_with(routed, shape, refused, groups, Some(remedy.to_owned()))
}

fn refused_with(routed: &Routed, shape: &Shape, refused: &WriteRefused, groups: Vec<Group>, remedy: Option<String>) -> Halt {
    let code = if refused.masked { Code::MaskedWrite } else { Code::FieldNotPermitted };
    let problem = Problem::with(code, Details { fields: refused.paths.clone(), remedy, ..Details::default() });
    let mut halt = Halt::refuse_groups(&routed.facts, problem, groups);
    if let Halt::Refused(refusal) = &mut halt {
        // Only paths that the configuration declares are written into the log.
        let declared: Vec<String> = shape.fields.iter().map(|f| f.path.to_string()).chain(shape.open.iter().map(ToString::to_string)).collect();
        refusal.paths = refused.paths.iter().filter(|p| declared.contains(p)).cloned().collect();
    }
    halt
}

/// Finds out whom the write is about.
async fn target(shared: &Shared, call: &Authenticated, routed: &Routed, entitled: &Entitled, raw: &Bytes) -> Result<Target, Halt> {
    let refuse = |problem: Problem| Halt::refuse(Arc::clone(&routed.facts), problem);
    match &routed.found.route.customer {
        Customer::New { matches, .. } => {
            let mut found = Vec::new();
            for (path, space) in matches {
                let value =
                    filter::find_id(raw, path, &limits(routed), Sender::Caller).map_err(|_unreadable| refuse(Code::AmbiguousRequest.into()))?;
                if let Some(value) = value {
                    found.push(routed.identify(*space, &value).ok_or_else(|| refuse(Code::AmbiguousRequest.into()))?);
                }
            }
            let matched = shared.ledger.match_stops(&found).map_err(|_away| refuse(Code::ConsentUnavailable.into()))?;
            if matched.erased {
                return Err(refuse(denied(contact(routed))));
            }
            Ok(Target::New { matches: found })
        }
        Customer::Lookup { at, shape, call: by, .. } => {
            let id = looked_up(shared, call, routed, entitled, (at, shape), by.as_ref(), raw).await?;
            let standing = look_up(shared, routed, Some(id))?;
            standing.map(|(id, standing)| Target::OnRecord { id, standing }).ok_or_else(|| refuse(denied(contact(routed))))
        }
        Customer::Path { .. }
        | Customer::Query { .. }
        | Customer::Header { .. }
        | Customer::Claim { .. }
        | Customer::Request { .. }
        | Customer::Response { .. }
        | Customer::Answer
        | Customer::None => {
            let id = routed.customer(call, raw).map_err(refuse)?;
            let found = look_up(shared, routed, id)?;
            found.map(|(id, standing)| Target::OnRecord { id, standing }).ok_or_else(|| refuse(denied(contact(routed))))
        }
    }
}

/// Reads the record that is about to change, unreleased, and takes the customer from it.
async fn looked_up(
    shared: &Shared,
    call: &Authenticated,
    routed: &Routed,
    entitled: &Entitled,
    (at, shape): (&crate::model::PathPattern, &Shape),
    by: Option<&LookupCall>,
    raw: &Bytes,
) -> Result<Identifier, Halt> {
    let refuse = |problem: Problem| Halt::refuse(Arc::clone(&routed.facts), problem);
    let path = routed.found.lookup_target(routed.upstream.base_path()).ok_or_else(|| refuse(Code::AmbiguousRequest.into()))?;
    let mut outgoing = match by {
        None => Outgoing { body: NO_BODY, ..routed.outgoing(call, path, Method::GET, NO_BODY) },
        Some(by) => {
            let body = call::lookup_body(&by.method, &by.params, raw, &limits(routed)).map_err(refuse)?;
            Outgoing { body, ..routed.outgoing(call, path, Method::POST, NO_BODY) }
        }
    };
    // It speaks of the body that is written.
    drop(outgoing.headers.remove(CONTENT_TYPE));
    let result = forward_lookup(&entitled.look_up(), shared, &routed.upstream, &outgoing).await;
    let answer = success(result, true, None).map_err(|p| refuse(if p.code == Code::Denied { denied(contact(routed)) } else { p }))?;
    if by.is_some() && !call::is_record(&answer, &limits(routed)) {
        return Err(refuse(denied(contact(routed))));
    }
    let unreadable = || refuse(Code::UpstreamUnreadable.into());
    // Of several persons the first speaks for the object as a whole, if each speaks for what is theirs.
    let main = match (shape.customer.as_slice(), shape.several) {
        ([one], _) | ([one, ..], Several::Each) => Some(one),
        (_, Several::Each | Several::All) => None,
    };
    let (true, Some(space), Some(path)) = (answer.is_plain_json(), shape.ids, main) else { return Err(unreadable()) };
    let path = crate::model::PathPattern(at.0.iter().chain(&path.0).cloned().collect());
    let raw = filter::find_id(&answer.body, &path, &limits(routed), Sender::Upstream).map_err(|_unreadable| unreadable())?.ok_or_else(unreadable)?;
    routed.identify(space, &raw).ok_or_else(unreadable)
}

/// A write that may be sent.
#[derive(Debug)]
struct Judgement {
    permitted: Permitted,
    body: Bytes,
    /// That of the body, whatever the caller's headers say.
    content_type: Option<HeaderValue>,
    groups: Vec<Group>,
    decided_on: Vec<DecidedOn>,
}

fn judge(
    shared: &Shared,
    routed: &Routed,
    entitled: &Entitled,
    plan: &RequestPlan,
    written: Option<&Written>,
    target: &Target,
    effect: Effect,
) -> Result<Judgement, Halt> {
    let mut decided_on = Vec::new();
    let mut groups = Vec::new();
    let (about, standing) = match target {
        Target::OnRecord { id, standing } => {
            decided_on.push(DecidedOn::new(id, standing.as_ref()));
            (standing.as_ref().map_or(About::Unknown, About::Known), standing.as_ref())
        }
        Target::New { .. } => (About::New, None),
    };
    let judged = Arc::new(judge_one(routed, plan, about, routed.asked.action));
    let opens = judged.iter().any(|v| v.release == Release::Full);
    groups.push(single_group(standing, &judged, opens));
    if !opens {
        return Err(Halt::refuse_groups(&routed.facts, denied(contact(routed)), groups));
    }
    let Some(written) = written else {
        let permitted = Permitted::of_deletion(entitled, &routed.asked, &plan.shape, &judged);
        let permitted = permitted.ok_or_else(|| Halt::refuse_groups(&routed.facts, denied(contact(routed)), groups.clone()))?;
        return Ok(Judgement { permitted, body: NO_BODY, content_type: None, groups, decided_on });
    };
    let readable = judge_one(routed, plan, about, Action::Read);
    let writable = written.judge(&judged, &readable, effect).map_err(|refused| write_refused(routed, &plan.shape, &refused, groups.clone()))?;
    // A body that moves the record to another customer is a write about that one, too.
    for reference in written.references() {
        let refuse = |problem: Problem| Halt::refuse_groups(&routed.facts, problem, groups.clone());
        let id = routed.identify(reference.space, &reference.id).ok_or_else(|| refuse(Code::AmbiguousRequest.into()))?;
        let other = shared.ledger.standing(&id).map_err(|_away| refuse(Code::ConsentUnavailable.into()))?;
        let same = match target {
            Target::OnRecord { id: first, standing } => match (standing, &other) {
                (Some(a), Some(b)) => a.party == b.party,
                (None, None) => *first == id,
                (Some(_), None) | (None, Some(_)) => false,
            },
            // A create names its own customer only as what it will be called.
            Target::New { .. } => other.is_none(),
        };
        if same {
            continue;
        }
        // A record that is there goes to another customer with all that is in it.
        let moves = reference.moves && effect != Effect::New;
        if moves {
            let possible = possible(routed, plan);
            written.judge_move(&possible).map_err(|refused| move_refused(routed, &plan.shape, &refused, closed(routed, &possible)))?;
        }
        let about = other.as_ref().map_or(About::Unknown, About::Known);
        let theirs = Arc::new(judge_one(routed, plan, about, routed.asked.action));
        let group = single_group(other.as_ref(), &theirs, true);
        let permits = theirs.iter().any(|v| v.release == Release::Full) && (!moves || written.judge_move(&theirs).is_ok());
        if !permits || written.judge(&theirs, &judge_one(routed, plan, about, Action::Read), effect).is_err() {
            groups.push(Group { outcome: crate::audit::Outcome::Deny, ..group });
            return Err(Halt::refuse_groups(&routed.facts, denied(contact(routed)), groups));
        }
        if moves {
            written.judge_move(&judged).map_err(|refused| move_refused(routed, &plan.shape, &refused, groups.clone()))?;
        }
        decided_on.push(DecidedOn::new(&id, other.as_ref()));
        groups.push(group);
    }
    let permitted = Permitted::of_write(entitled, &routed.asked, &writable);
    Ok(Judgement { permitted, content_type: HeaderValue::from_str(writable.content_type()).ok(), body: writable.into_bytes(), groups, decided_on })
}

fn judge_one(routed: &Routed, plan: &RequestPlan, about: About<'_>, action: Action) -> Verdicts {
    let categories: Vec<(Category, bool)> = plan.shape.categories().into_iter().map(|c| (c, super::permit::masked(&plan.shape, c))).collect();
    verdicts(&routed.snapshot.policies, &routed.asked.with_action(action), about, &categories)
}

async fn send(
    shared: &Arc<Shared>,
    call: &Authenticated,
    routed: &Routed,
    plan: &RequestPlan,
    target: Target,
    judged: Judgement,
    condition: Condition,
) -> Result<Response<Reply>, Halt> {
    let about =
        judged.groups.iter().flat_map(|group| if group.parties.is_empty() { vec![None] } else { group.parties.iter().copied().map(Some).collect() });
    // Of a create nobody is known yet; the customer counts when the answer is released.
    let about = about.filter(|_| matches!(target, Target::OnRecord { .. }));
    shared.budgets.write(routed, about).map_err(|problem| Halt::refuse(Arc::clone(&routed.facts), problem))?;
    let head = record(shared, Entry::Intent { facts: Arc::clone(&routed.facts), groups: judged.groups.clone() }).await?;
    let of = |problem: Problem| Halt::refuse_of(&routed.facts, &head, problem, judged.groups.clone());
    // The record took a flush; a stop that came meanwhile binds this write.
    let ledger = &shared.ledger;
    let holds = routed.asked.premises.still_hold(ledger) && still_hold(&judged.decided_on, ledger);
    if !shared.still_decides(routed.snapshot.generation) || !holds {
        let has_run_out = routed.snapshot.has_run_out(shared.clock.now());
        return Err(of(if has_run_out { Code::PolicyStale.into() } else { denied(contact(routed)) }));
    }
    if let Target::New { matches } = &target
        && shared.ledger.match_stops(matches).map_err(|_away| of(Code::ConsentUnavailable.into()))?.erased
    {
        return Err(of(denied(contact(routed))));
    }
    let method = if call.method == Method::PUT && plan.put_merge { Method::PATCH } else { call.method.clone() };
    let mut outgoing = routed.outgoing(call, routed.found.upstream_target(routed.upstream.base_path()), method, judged.body);
    outgoing.headers.extend(condition);
    match judged.content_type {
        Some(content_type) => drop(outgoing.headers.insert(CONTENT_TYPE, routed.sent_as(content_type))),
        None => drop(outgoing.headers.remove(CONTENT_TYPE)),
    }
    let result = forward(&judged.permitted, shared, &routed.upstream, &outgoing).await;
    let unfiltered = success(result, false, routed.found.route.error.as_ref()).map_err(of)?;
    let head = match call::look_at(shared, call, routed, head, &unfiltered, true)? {
        Answered::Result(head) => head,
        Answered::Error(told) => return Ok(*told),
    };
    let requested = match target {
        Target::OnRecord { id, .. } => Some(id),
        // Nothing was created, so nobody is to be linked.
        Target::New { .. } if !unfiltered.status.is_success() => None,
        Target::New { matches } => Some(link(shared, routed, &head, &unfiltered, matches).await?),
    };
    release(shared, call, routed, head, unfiltered, requested).await
}

/// The id of a created record becomes a customer, durably, before the answer goes out.
async fn link(shared: &Arc<Shared>, routed: &Routed, head: &Recorded, answer: &Unfiltered, matches: Vec<Identifier>) -> Result<Identifier, Halt> {
    let of = |problem: Problem| Halt::refuse_of(&routed.facts, head, problem, Vec::new());
    let unlinked = || {
        tracing::error!(decision = %head.decision_id(), "a created record could not be linked to a customer; the consent desk must link it");
        shared.metrics.unlinked();
        of(Code::UpstreamUnreadable.into())
    };
    let Customer::New { id, space, .. } = &routed.found.route.customer else { return Err(unlinked()) };
    if !answer.is_plain_json() {
        return Err(unlinked());
    }
    let raw = filter::find_id(&answer.body, id, &limits(routed), Sender::Upstream).map_err(|_unreadable| unlinked())?.ok_or_else(unlinked)?;
    let created = routed.identify(*space, &raw).ok_or_else(unlinked)?;
    let (ledger, linking) = (Arc::clone(&shared.ledger), created.clone());
    let linked = tokio::task::spawn_blocking(move || ledger.link_created(&linking, &matches)).await;
    match linked {
        Ok(Ok(_party)) => Ok(created),
        Ok(Err(ConsentError::Erased)) => Err(of(denied(contact(routed)))),
        Ok(Err(error)) => {
            tracing::error!(%error, "linking failed");
            Err(unlinked())
        }
        Err(_panicked) => Err(unlinked()),
    }
}

/// What a write answers is a read: cut by its plan, for the customer the write was about.
async fn release(
    shared: &Arc<Shared>,
    call: &Authenticated,
    routed: &Routed,
    head: Recorded,
    unfiltered: Unfiltered,
    requested: Option<Identifier>,
) -> Result<Response<Reply>, Halt> {
    let of = |problem: Problem| Halt::refuse_of(&routed.facts, &head, problem, Vec::new());
    let plan = plan(shared, routed, unfiltered.status);
    let judged = requested.clone();
    let (filtered, report, decided_on, part) = match plan {
        ResponsePlan::Empty => (Filtered::empty(), Report::default(), Vec::new(), None),
        ResponsePlan::Free { .. } | ResponsePlan::Stream { .. } => return Err(of(Code::UpstreamUnreadable.into())),
        ResponsePlan::Open { .. } | ResponsePlan::Object { .. } | ResponsePlan::Rows { .. } => {
            if unfiltered.body.is_empty() {
                (Filtered::empty(), Report::default(), Vec::new(), None)
            } else {
                let (filtered, report, decided_on, groups) = cut(shared, routed, &head, &unfiltered, requested)?;
                let part = record_part(shared, head.index(), &report, groups).await?;
                (filtered, report, decided_on, Some(part))
            }
        }
    };
    let (ledger, premises) = (&shared.ledger, &routed.asked.premises);
    let is_within = shared.budgets.release(routed, &report, &mut Charged::default()).is_ok();
    let holds = is_within && shared.still_decides(routed.snapshot.generation) && premises.still_hold(ledger) && still_hold(&decided_on, ledger);
    // The write is done; when the right to read what it answers has just gone, or a budget is used up, only the bytes are kept back.
    let filtered = call.done(unfiltered.status, if holds { filtered } else { Filtered::empty() });
    let own = own(routed, call, &unfiltered, &filtered);
    note_drift(routed, shared, &report);
    let ending = Ending {
        shared: Arc::clone(shared),
        of: head.index(),
        status: unfiltered.status.as_u16(),
        rows: AtomicU64::new(if holds { report.rows.into() } else { 0 }),
        started: call.started,
        outcome: if report.unenforced { "unenforced" } else { "permit" },
        trace: call.trace,
        facts: Arc::clone(&routed.facts),
    };
    shared.metrics.decided(ending.outcome);
    let footing = Footing { shared: Arc::clone(shared), generation: routed.snapshot.generation, decided_on, premises: premises.clone() };
    let answer_head = Head {
        status: unfiltered.status,
        headers: response_headers(shared, routed, &unfiltered, judged.as_ref()),
        content_type: routed.typed(content_type(plan, &unfiltered)),
        decision: head.decision_id().to_string(),
        withheld: Some(report.withheld.len()),
        revision: shared.ledger.revision().0,
        bodiless: false,
        own,
    };
    Ok(answer(answer_head, Part::new(filtered, part.unwrap_or(head), Arc::new(footing)), Arc::new(ending)))
}

type WrittenAnswer = (Filtered, Report, Vec<DecidedOn>, Vec<Group>);

fn cut(shared: &Shared, routed: &Routed, head: &Recorded, unfiltered: &Unfiltered, requested: Option<Identifier>) -> Result<WrittenAnswer, Halt> {
    let of = |problem: Problem| Halt::refuse_of(&routed.facts, head, problem, Vec::new());
    if !unfiltered.is_plain_json() {
        return Err(of(Code::UpstreamUnreadable.into()));
    }
    let snapshot = &routed.snapshot;
    let plan = plan(shared, routed, unfiltered.status);
    let reading = routed.asked.with_action(Action::Read);
    let categories = plan.shape().map(|shape| categories_with_embedded(shape, &snapshot.catalog.shapes)).unwrap_or_default();
    let requested = look_up(shared, routed, requested).map_err(|_away| of(Code::ConsentUnavailable.into()))?;
    let mut judging = Judging::new(&snapshot.policies, &snapshot.catalog, &shared.ledger, &reading, &categories, requested, &shared.pseudonym_key);
    judging.links = Some((shared, routed));
    let result = filter::cut(&unfiltered.body, plan, &snapshot.cutters, &limits(routed), &[], &mut judging);
    let basis = judging.finish().map_err(|_away| of(Code::ConsentUnavailable.into()))?;
    match result {
        Ok(cut) => {
            let mut groups = log_groups(&cut.report.groups, &basis.facts);
            if cut.report.unenforced {
                super::report::mark(&mut groups);
            }
            Ok((cut.filtered, cut.report, basis.decided_on, groups))
        }
        Err(error) if error_plan(routed, unfiltered.status).is_some() => {
            let problem = uncut(routed, unfiltered.status, &error);
            Err(Halt::refuse_of(&routed.facts, head, problem, error_groups(&error, &basis.facts)))
        }
        // The write is done and may not be read back: an answer without a body.
        Err(CutError::Denied(report) | CutError::OnDenyError(report)) => {
            let groups = log_groups(&report.groups, &basis.facts);
            Ok((Filtered::empty(), report, basis.decided_on, groups))
        }
        Err(error @ (CutError::Unreadable(_) | CutError::SubjectAbsent | CutError::SubjectMismatch)) => {
            Err(of(uncut(routed, unfiltered.status, &error)))
        }
    }
}
