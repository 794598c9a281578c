//! What came back from the upstream, read as HTTP before it is read as data: only a whole, plain success goes on to the
//! cutter, and the body of a refusal where the route declares it. All other bodies of refusals and errors are replaced.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};

use super::encode::Choice;
use super::forward::{ForwardError, Unfiltered};
use super::pipeline::Halt;
use super::problem::{Code, Problem};
use super::respond::Own;
use super::route::{Authenticated, Routed};
use super::state::{Shared, Snapshot};
use super::validator::{is_read, is_written};
use crate::audit::{AuditError, Entry, GROUP_PARTIES_MAX, Group, Pending, Recorded};
use crate::filter::{CutError, Filtered, Limits, Report};
use crate::model::{CategoryVerdict, PartyFacts, PartyNo, ResponsePlan, Verdicts};

/// An answer whose body may be cut: a success, or a refusal whose body the route declares (`error`).
///
/// # Errors
/// The problem that stands in place of the answer. `hide_404`: a missing or deleted record must look like a denial, because
/// the request does not name its customer.
pub(super) fn success(result: Result<Unfiltered, ForwardError>, hide_404: bool, error: Option<&ResponsePlan>) -> Result<Unfiltered, Problem> {
    let answer = result.map_err(forward_problem)?;
    let status = answer.status;
    // 206 and 226 are pieces of something that nobody has seen whole.
    if matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::IM_USED) || status.is_redirection() || status.is_informational() {
        return Err(Code::UpstreamUnreadable.into());
    }
    if status.is_success() {
        return Ok(answer);
    }
    if hide_404 && matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        return Err(Code::Denied.into());
    }
    let is_ours = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    if error.is_some() && status.is_client_error() && !is_ours && answer.is_plain_json() && !answer.body.is_empty() {
        return Ok(answer);
    }
    if status == StatusCode::NOT_FOUND {
        return Err(Code::RouteNotDeclared.into());
    }
    if status.is_client_error() && !is_ours {
        return Err(Code::UpstreamRefused(status.as_u16()).into());
    }
    // 401 and 403 mean that the gateway itself is refused: the caller can do nothing about that.
    Err(Code::UpstreamUnavailable.into())
}

/// The code for an answer that did not come.
pub(super) const fn forward_problem(error: ForwardError) -> Code {
    match error {
        ForwardError::Timeout => Code::UpstreamTimeout,
        ForwardError::Unavailable => Code::UpstreamUnavailable,
        ForwardError::Broken | ForwardError::TooLarge => Code::UpstreamUnreadable,
    }
}

/// The problem for a body that cannot be released.
pub(super) fn cut_problem(error: &CutError, contact: Option<&str>) -> Problem {
    match error {
        CutError::Unreadable(_) | CutError::SubjectAbsent | CutError::SubjectMismatch => {
            tracing::warn!(%error, "an upstream answer cannot be filtered");
            Code::UpstreamUnreadable.into()
        }
        CutError::Denied(_) | CutError::OnDenyError(_) => denied(contact),
    }
}

/// The constant denial: the same for every customer but for the decision.
pub(super) fn denied(contact: Option<&str>) -> Problem {
    let mut problem = Problem::from(Code::Denied);
    problem.details.remedy = contact.map(|c| format!("do not retry; give this decision to {c}, who can see the reason"));
    problem
}

/// How an answer with this status is cut: an error body as the route declares it.
pub(super) fn plan<'r>(shared: &Shared, routed: &'r Routed, status: StatusCode) -> &'r ResponsePlan {
    error_plan(routed, status).unwrap_or_else(|| routed.plan(shared))
}

pub(super) fn error_plan(routed: &Routed, status: StatusCode) -> Option<&ResponsePlan> {
    routed.found.route.error.as_ref().filter(|_| status.is_client_error())
}

/// The problem for an answer that the cutter would not let through; an error body is then replaced, as one that is not declared.
pub(super) fn uncut(routed: &Routed, status: StatusCode, error: &CutError) -> Problem {
    if error_plan(routed, status).is_some() { Code::UpstreamRefused(status.as_u16()).into() } else { cut_problem(error, contact(routed)) }
}

/// What the answer's own headers say beside what was cut.
pub(super) fn own(routed: &Routed, call: &Authenticated, answer: &Unfiltered, filtered: &Filtered) -> Own {
    let mut own = Own {
        compress: Choice::of(routed.found.api.compress, &call.headers),
        cache: routed.found.route.cache.filter(|_| answer.status == StatusCode::OK),
        ..Own::default()
    };
    let is_read = is_read(&call.method, answer.status);
    if routed.found.api.sealed_etag && (is_read || is_written(&call.method, answer.status, &answer.headers)) {
        let (validators, of, bytes) = (&routed.snapshot.validators, validator_of(routed), filtered.clone().into_bytes());
        own.etag = validators.seal(&of, &bytes, &answer.headers);
        own.is_known = is_read && validators.is_known(&of, &call.headers, &bytes);
    }
    own
}

/// The same of an answer in parts, of which nobody knows the whole.
pub(super) fn compressed(routed: &Routed, call: &Authenticated) -> Own {
    Own { compress: Choice::of(routed.found.api.compress, &call.headers), ..Own::default() }
}

/// What a validator is sealed for: the record as the API knows it, whatever was asked of it.
pub(super) fn validator_of(routed: &Routed) -> String {
    format!("{} {}", routed.found.api.name, routed.found.own_path(""))
}

pub(super) fn content_type(plan: &ResponsePlan, answer: &Unfiltered) -> Option<HeaderValue> {
    match plan {
        ResponsePlan::Free { .. } => answer.headers.get(CONTENT_TYPE).cloned(),
        ResponsePlan::Empty => None,
        ResponsePlan::Stream { framing, .. } => framing.content_types().first().copied().map(HeaderValue::from_static),
        ResponsePlan::Open { .. } | ResponsePlan::Object { .. } | ResponsePlan::Rows { .. } => Some(json()),
    }
}

pub(super) const fn json() -> HeaderValue {
    HeaderValue::from_static("application/json")
}

pub(super) fn limits(routed: &Routed) -> Limits {
    limits_of(&routed.snapshot)
}

pub(super) fn limits_of(snapshot: &Snapshot) -> Limits {
    let limits = snapshot.limits;
    Limits { body_bytes_max: limits.answer_body_max, depth_max: limits.json_depth_max }
}

/// HEAD is judged and forwarded as GET; its body is dropped after the cut.
pub(super) fn upstream_method(method: &Method) -> Method {
    if *method == Method::HEAD { Method::GET } else { method.clone() }
}

/// Writes the entries of a part, and waits until they are durable.
pub(super) async fn record_part(shared: &Shared, head: u64, report: &Report, groups: Vec<Group>) -> Result<Recorded, Halt> {
    append_part(shared, head, report, groups)?.durable().await
}

/// Entries of a part on their way to the disk.
pub(super) struct Recording(Vec<Pending>);

impl Recording {
    /// The proof of the last one, once all are durable.
    pub(super) async fn durable(self) -> Result<Recorded, Halt> {
        let mut last = None;
        for pending in self.0 {
            last = Some(pending.await?);
        }
        last.ok_or(Halt::AuditUnavailable(AuditError::Closed))
    }
}

/// Appends the entries of a part: more than one when it is about more than one entry holds.
pub(super) fn append_part(shared: &Shared, of: u64, report: &Report, groups: Vec<Group>) -> Result<Recording, Halt> {
    let mut entries = portions(groups);
    let groups = entries.pop().unwrap_or_default();
    let mut lists = path_lists(&report.withheld);
    let withheld = lists.pop().unwrap_or_default();
    let more = entries.into_iter().map(|groups| (groups, Vec::new())).chain(lists.into_iter().map(|paths| (Vec::new(), paths)));
    let mut entries: Vec<Entry> = more.map(|(groups, withheld)| Entry::Part { of, rows: 0, dropped: 0, groups, withheld }).collect();
    entries.push(Entry::Part { of, rows: report.rows.into(), dropped: report.dropped.into(), groups, withheld });
    Ok(Recording(entries.into_iter().map(|entry| shared.log.append(entry)).collect::<Result<_, _>>()?))
}

/// Different verdicts in one entry at most: with 8,192 customers they stay below the log's 65,535 bytes.
const ENTRY_GROUPS_MAX: usize = 100;
/// Bytes of verdicts beside one entry at most: the log takes 200,000 for an entry and all that it refers to.
const ENTRY_VERDICT_BYTES_MAX: usize = 80_000;
/// Bytes of paths beside one entry at most.
const ENTRY_PATH_BYTES_MAX: usize = 40_000;

/// Groups as entries can hold them. A long list knows many customers in many states; the log refuses an entry that is too
/// large, and without its record nothing goes out.
pub(super) fn portions(groups: Vec<Group>) -> Vec<Vec<Group>> {
    let mut full = Vec::new();
    let mut current: Vec<Group> = Vec::new();
    let (mut parties, mut bytes) = (0, 0);
    for group in groups {
        let cost = verdict_bytes(&group);
        let mut rest: &[PartyNo] = &group.parties;
        loop {
            if current.len() == ENTRY_GROUPS_MAX || parties == GROUP_PARTIES_MAX || (bytes > 0 && bytes + cost > ENTRY_VERDICT_BYTES_MAX) {
                full.push(std::mem::take(&mut current));
                (parties, bytes) = (0, 0);
            }
            let (now, later) = rest.split_at(rest.len().min(GROUP_PARTIES_MAX - parties));
            // Those who are not in the crosswalk are counted once.
            let unknown = if rest.len() == group.parties.len() { group.unknown } else { 0 };
            current.push(Group { parties: now.to_vec(), unknown, ..group.clone() });
            parties += now.len();
            bytes += cost;
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
    }
    full.push(current);
    full
}

/// At most what the verdicts of a group take in the log: fixed words, and the names that files declare.
fn verdict_bytes(group: &Group) -> usize {
    let names = |v: &CategoryVerdict| -> usize {
        let policies: usize = v.policies.iter().map(|p| p.as_str().len() + 3).sum();
        v.category.as_str().len() + policies + v.activity.map_or(0, |(key, _)| key.as_str().len())
    };
    group.verdicts.iter().map(|v| 640 + names(v)).sum::<usize>() + 256
}

fn path_lists(paths: &[String]) -> Vec<Vec<String>> {
    let mut lists: Vec<Vec<String>> = vec![Vec::new()];
    let mut bytes = 0;
    for path in paths {
        if bytes > 0 && bytes + path.len() > ENTRY_PATH_BYTES_MAX {
            lists.push(Vec::new());
            bytes = 0;
        }
        bytes += path.len() + 3;
        if let Some(list) = lists.last_mut() {
            list.push(path.clone());
        }
    }
    lists
}

/// Facts of customers by number, for the log.
pub(super) type Facts = HashMap<PartyNo, PartyFacts>;

/// Groups of a report inside an error.
pub(super) fn error_groups(error: &CutError, facts: &Facts) -> Vec<Group> {
    match error {
        CutError::Denied(report) | CutError::OnDenyError(report) => super::judge::log_groups(&report.groups, facts),
        CutError::Unreadable(_) | CutError::SubjectAbsent | CutError::SubjectMismatch => Vec::new(),
    }
}

/// What was decided anew, at another time or by other policies than its head names, cannot be judged again by what the head says.
pub(super) fn without_grounds(group: &mut Group) {
    let verdicts = group.verdicts.iter().map(|v| CategoryVerdict { grounds: None, ..v.clone() });
    group.verdicts = Arc::new(Verdicts::new(verdicts.collect()));
}

pub(super) fn note_drift(routed: &Routed, shared: &Shared, report: &Report) {
    if !report.drift.is_empty() {
        shared.metrics.drift(routed.found.api.name.as_str(), report.drift.len());
        let (api, route) = (&routed.found.api, &routed.found.route);
        shared.drift.note(routed.snapshot.generation, shared.clock.now(), api, route, &report.drift);
        tracing::debug!(api = %api.name, route = %route.key, paths = ?report.drift, went_out = report.unenforced, "members that no shape maps");
    }
}

/// Who answers for an API, for the remedy of a denial.
pub(super) fn contact(routed: &Routed) -> Option<&str> {
    routed.found.api.contact.as_deref()
}

/// The group of one known (or unknown) customer for a head or denial entry.
pub(super) fn single_group(standing: Option<&crate::consent::Standing>, verdicts: &Arc<Verdicts>, released: bool) -> Group {
    Group {
        parties: standing.map(|s| vec![s.party]).unwrap_or_default(),
        unknown: u32::from(standing.is_none()),
        outcome: super::judge::outcome(verdicts, released),
        verdicts: Arc::clone(verdicts),
        facts: standing.map(|s| s.facts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Outcome;
    use crate::model::{ActivityKey, Category, CategoryVerdict, ConflictRule, ConsentStatus, LawfulBasis, PolicyName, Release, Verdicts, Why};
    use bytes::Bytes;
    use http::HeaderMap;

    fn group(parties: std::ops::Range<u64>, categories: usize) -> Group {
        let verdict = |n: usize| CategoryVerdict {
            category: Category::intern(&format!("category-{n}")),
            release: Release::Full,
            why: Why::Permitted,
            policies: vec![PolicyName::intern("owner-and-contract-may-read")],
            basis: LawfulBasis::LegitimateInterest,
            activity: Some((ActivityKey::intern("order-handling"), 1)),
            status: ConsentStatus::Unknown,
            event: None,
            overridden: Vec::new(),
            rule: ConflictRule::CustomerLastWord,
            conflict: false,
            grounds: None,
        };
        let verdicts = Arc::new(Verdicts::new((0..categories).map(verdict).collect()));
        Group { parties: parties.map(PartyNo).collect(), unknown: 1, outcome: Outcome::Permit, verdicts, facts: None }
    }

    #[test]
    fn what_one_entry_cannot_hold_stands_in_several() {
        assert_eq!(portions(Vec::new()), [Vec::new()], "an answer about nobody still has its entry");
        assert_eq!(portions(vec![group(1..9, 2)]).len(), 1);
        // Many customers, each in another state.
        let states: Vec<Group> = (1..1_000).map(|n| group(n..n + 1, 12)).collect();
        let entries = portions(states.clone());
        assert_eq!(entries.concat(), states, "nobody is lost or told twice");
        assert!(entries.iter().all(|entry| entry.len() <= ENTRY_GROUPS_MAX));
        assert!(entries.iter().all(|entry| entry.iter().map(verdict_bytes).sum::<usize>() <= ENTRY_VERDICT_BYTES_MAX));
        // Many customers in one state.
        let crowd = portions(vec![group(1..20_001, 2)]);
        assert_eq!(crowd.iter().flatten().map(|g| g.parties.len()).collect::<Vec<_>>(), [8_192, 8_192, 3_616]);
        assert_eq!(crowd.iter().flatten().map(|g| g.unknown).sum::<u32>(), 1);
    }

    #[test]
    fn only_a_whole_plain_success_goes_on() {
        let code = |status: u16, hide_404| {
            let status = StatusCode::from_u16(status).unwrap();
            success(Ok(Unfiltered { status, headers: HeaderMap::new(), body: Bytes::new(), rest: None }), hide_404, None)
                .map(|_| ())
                .map_err(|p| p.code)
        };
        for status in [200, 201, 204] {
            assert_eq!(code(status, true), Ok(()));
        }
        for (status, hidden, open) in [
            (404, Code::Denied, Code::RouteNotDeclared),
            (410, Code::Denied, Code::UpstreamRefused(410)),
            (400, Code::UpstreamRefused(400), Code::UpstreamRefused(400)),
            (401, Code::UpstreamUnavailable, Code::UpstreamUnavailable),
            (403, Code::UpstreamUnavailable, Code::UpstreamUnavailable),
            (206, Code::UpstreamUnreadable, Code::UpstreamUnreadable),
            (226, Code::UpstreamUnreadable, Code::UpstreamUnreadable),
            (101, Code::UpstreamUnreadable, Code::UpstreamUnreadable),
            (302, Code::UpstreamUnreadable, Code::UpstreamUnreadable),
            (304, Code::UpstreamUnreadable, Code::UpstreamUnreadable),
            (500, Code::UpstreamUnavailable, Code::UpstreamUnavailable),
            (999, Code::UpstreamUnavailable, Code::UpstreamUnavailable),
        ] {
            assert_eq!((code(status, true), code(status, false)), (Err(hidden), Err(open)), "{status}");
        }
    }

    #[test]
    fn a_refusals_body_goes_on_where_it_is_declared_and_can_be_read() {
        let error = ResponsePlan::Open { open: Vec::new() };
        let answer = |status: u16, content_type: &'static str, body: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            Unfiltered { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from_static(body.as_bytes()), rest: None }
        };
        let code = |answer: Unfiltered, hide_404| success(Ok(answer), hide_404, Some(&error)).map(|a| a.status.as_u16()).map_err(|p| p.code);
        for status in [400, 404, 409, 412, 422, 429] {
            assert_eq!(code(answer(status, "application/problem+json", "{}"), false), Ok(status));
        }
        for (refused, hide_404, expected) in [
            (answer(404, "application/json", "{}"), true, Code::Denied),
            (answer(410, "application/json", "{}"), true, Code::Denied),
            (answer(404, "text/html", "{}"), false, Code::RouteNotDeclared),
            (answer(400, "text/html", "{}"), false, Code::UpstreamRefused(400)),
            (answer(400, "application/json", ""), false, Code::UpstreamRefused(400)),
            (answer(401, "application/json", "{}"), false, Code::UpstreamUnavailable),
            (answer(403, "application/json", "{}"), false, Code::UpstreamUnavailable),
            (answer(407, "application/json", "{}"), false, Code::UpstreamUnavailable),
            (answer(500, "application/json", "{}"), false, Code::UpstreamUnavailable),
            (answer(304, "application/json", "{}"), false, Code::UpstreamUnreadable),
        ] {
            let status = refused.status;
            assert_eq!(code(refused, hide_404), Err(expected), "{status}");
        }
    }

    #[test]
    fn long_lists_of_paths_are_told_in_several_entries() {
        let paths: Vec<String> = (0..2_000).map(|n| format!("a.rather.long.path.to.a.member.{n}")).collect();
        let lists = path_lists(&paths);
        assert!(lists.len() > 1 && lists.iter().all(|l| l.iter().map(|p| p.len() + 3).sum::<usize>() <= ENTRY_PATH_BYTES_MAX + 64));
        assert_eq!(lists.concat(), paths);
        assert_eq!(path_lists(&[]), [Vec::<String>::new()]);
    }
}
