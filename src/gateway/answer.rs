//! What came back from the upstream, read as HTTP before it is read as data: only a whole, plain success goes on to the
//! cutter. Bodies of refusals and errors are never passed on.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use super::forward::{ForwardError, Unfiltered};
use super::pipeline::{Halt, record};
use super::problem::{Code, Problem};
use super::route::Routed;
use super::state::Shared;
use crate::audit::{Entry, GROUP_PARTIES_MAX, Group, Recorded};
use crate::filter::{CutError, Limits, Report};
use crate::model::{PartyFacts, PartyNo, ResponsePlan};

/// A success whose body may be cut.
///
/// # Errors
/// The problem that stands in place of the answer. `hide_404`: a missing record must look like a denial, because the
/// request does not name its customer.
pub(super) fn success(result: Result<Unfiltered, ForwardError>, hide_404: bool) -> Result<Unfiltered, Problem> {
    let answer = result.map_err(|error| match error {
        ForwardError::Timeout => Code::UpstreamTimeout,
        ForwardError::Unavailable => Code::UpstreamUnavailable,
        ForwardError::Broken | ForwardError::TooLarge => Code::UpstreamUnreadable,
    })?;
    let status = answer.status;
    if status == StatusCode::PARTIAL_CONTENT || status.is_redirection() || status.is_informational() {
        return Err(Code::UpstreamUnreadable.into());
    }
    if status.is_success() {
        return Ok(answer);
    }
    if status == StatusCode::NOT_FOUND {
        return Err(if hide_404 { Code::Denied } else { Code::RouteNotDeclared }.into());
    }
    if status.is_client_error() && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED) {
        return Err(Code::UpstreamRefused(status.as_u16()).into());
    }
    // 401 and 403 mean that the gateway itself is refused: the caller can do nothing about that.
    Err(Code::UpstreamUnavailable.into())
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

/// Response headers of the upstream that the API lets through.
pub(super) fn response_headers(routed: &Routed, answer: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for name in &routed.found.api.response_headers {
        if NEVER_PASSED.iter().any(|never| name.as_str().eq_ignore_ascii_case(never)) {
            continue;
        }
        for value in answer.get_all(name) {
            out.append(name.clone(), value.clone());
        }
    }
    out
}

/// What the gateway owns once it filters, and what speaks for one connection only.
const NEVER_PASSED: &[&str] = &[
    "accept-ranges",
    "age",
    "cache-control",
    "connection",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "digest",
    "etag",
    "expires",
    "keep-alive",
    "last-modified",
    "link",
    "location",
    "proxy-authenticate",
    "repr-digest",
    "server",
    "set-cookie",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "www-authenticate",
];

pub(super) fn content_type(plan: &ResponsePlan, answer: &Unfiltered) -> Option<HeaderValue> {
    match plan {
        ResponsePlan::Free { .. } => answer.headers.get(CONTENT_TYPE).cloned(),
        ResponsePlan::Empty => None,
        ResponsePlan::Open { .. } | ResponsePlan::Object { .. } | ResponsePlan::Rows { .. } => Some(HeaderValue::from_static("application/json")),
    }
}

pub(super) fn limits(routed: &Routed) -> Limits {
    let limits = routed.snapshot.limits;
    Limits { body_bytes_max: limits.answer_body_max, depth_max: limits.json_depth_max }
}

/// HEAD is judged and forwarded as GET; its body is dropped after the cut.
pub(super) fn upstream_method(method: &Method) -> Method {
    if *method == Method::HEAD { Method::GET } else { method.clone() }
}

/// Writes the entries of a part: more than one when it is about more customers than one entry holds.
pub(super) async fn record_part(shared: &Shared, head: &Recorded, report: &Report, groups: Vec<Group>) -> Result<Recorded, Halt> {
    let mut entries = Vec::new();
    let mut current: Vec<Group> = Vec::new();
    let mut room = GROUP_PARTIES_MAX;
    for group in groups {
        let mut rest: &[PartyNo] = &group.parties;
        loop {
            let (now, later) = rest.split_at(rest.len().min(room));
            current.push(Group { parties: now.to_vec(), ..group.clone() });
            room -= now.len();
            rest = later;
            if room == 0 {
                entries.push(std::mem::take(&mut current));
                room = GROUP_PARTIES_MAX;
            }
            if rest.is_empty() {
                break;
            }
        }
    }
    let last = part(head, report, current);
    let mut waiting = Vec::new();
    for groups in entries {
        waiting.push(shared.log.append(Entry::Part { of: head.index(), rows: 0, dropped: 0, groups, withheld: Vec::new() })?);
    }
    let recorded = record(shared, last).await?;
    for pending in waiting {
        pending.await?;
    }
    Ok(recorded)
}

fn part(head: &Recorded, report: &Report, groups: Vec<Group>) -> Entry {
    Entry::Part { of: head.index(), rows: report.rows.into(), dropped: report.dropped.into(), groups, withheld: report.withheld.clone() }
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

pub(super) fn note_drift(routed: &Routed, shared: &Shared, report: &Report) {
    if !report.drift.is_empty() {
        shared.metrics.drift(routed.found.api.name.as_str(), report.drift.len());
        tracing::debug!(api = %routed.found.api.name, route = %routed.found.route.key, paths = ?report.drift, "members that no shape maps were withheld");
    }
}

/// Who answers for an API, for the remedy of a denial.
pub(super) fn contact(routed: &Routed) -> Option<&str> {
    routed.found.api.contact.as_deref()
}

/// The group of one known (or unknown) customer for a head or denial entry.
pub(super) fn single_group(standing: Option<&crate::consent::Standing>, verdicts: &Arc<crate::model::Verdicts>, released: bool) -> Group {
    Group {
        parties: standing.map(|s| vec![s.party]).unwrap_or_default(),
        unknown: u32::from(standing.is_none()),
        outcome: super::judge::outcome(verdicts, released),
        verdicts: Arc::clone(verdicts),
        facts: standing.map(|s| s.facts),
    }
}
