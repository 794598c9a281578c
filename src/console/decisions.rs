//! `/v1/decisions`: who accessed whose data, why, on which consent. Every search is itself an entry of the log, written
//! before the answer. Customers appear as numbers only where they must; the log knows no identifiers.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::dispatch::{Access, Call, Param, Reply, Route, Takes};
use super::problem::{Code, Problem};
use super::role::AdminRole;
use super::schema::body;
use super::{ExplainQuestion, parties};
pub use crate::audit::found_json;
use crate::audit::{self, Found, Query, Shown};

const AUDITORS: Access = Access::Roles(&[AdminRole::Auditor]);
const DEVELOPERS: Access = Access::Roles(&[AdminRole::Auditor, AdminRole::AppDeveloper]);
const EXPLAINERS: Access = Access::Roles(&[AdminRole::Auditor, AdminRole::PolicyAuthor, AdminRole::PolicyApprover, AdminRole::AppDeveloper]);
const POLICY: Access = Access::Roles(&[AdminRole::PolicyAuthor, AdminRole::PolicyApprover]);

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/v1/decisions", "decisions.search", AUDITORS, "Search the decision log, newest first; the search itself is logged", search).query(&[
        Param { name: "customer", about: "`party:<id>` or `<space>:<value>`" },
        Param { name: "app", about: "the calling app" },
        Param { name: "decision", about: "a decision's index" },
        Param { name: "grant", about: "a break-glass grant: what it was used for" },
        Param { name: "since", about: "RFC 3339 time" },
        Param { name: "until", about: "RFC 3339 time" },
        Param { name: "limit", about: "1 to 1000, 100 without it" },
        Param { name: "cursor", about: "`next` of the page before" },
    ]),
    Route::get(
        "/v1/decisions/{origin}/{index}",
        "decisions.show",
        DEVELOPERS,
        "One decision with all its entries; an app developer sees those of the own app, without consent state",
        show,
    ),
    Route::get(
        "/v1/decisions/{origin}/{index}/explanation",
        "decisions.explain",
        EXPLAINERS,
        "Why a logged decision came out as it did",
        explain_decision,
    ),
    Route::post("/v1/explain", "explain", POLICY, "Decides a request without sending it and says why", explain)
        .takes(Takes::Json(&ExplainBody::SCHEMA)),
];

body! {
    /// A request to explain.
    ExplainBody {
        /// GET, POST, …
        method: String = "string" required,
        /// Path and query as the app sends them.
        url: String = "string" required,
        /// The calling app.
        app: String = "string" required,
        /// The declared purpose; may be left out when only one is possible.
        purpose: Option<String> = "string" optional,
        /// The body as the app sends it, where that says what is asked for or of whom.
        body: Option<String> = "string" optional,
    }
}

fn search(call: &Call) -> Result<Reply, Problem> {
    let subject = call.query.get("customer").map(|text| parties::find(call, text)).transpose()?;
    let limit = call.query.parsed::<usize>("limit", "a number")?.unwrap_or(PAGE_DEFAULT);
    if limit == 0 || limit > PAGE_MAX {
        return Err(Problem::invalid(format!("`limit` must be 1 to {PAGE_MAX}")));
    }
    let before = call.query.parsed::<u64>("cursor", "the `next` of a page")?;
    let query = Query {
        customer: subject.as_ref().map(|view| view.no),
        app: call.query.get("app").map(str::to_owned),
        decision: call.query.parsed("decision", "an index")?,
        grant: call.query.get("grant").map(str::to_owned),
        since: call.query.parsed::<Timestamp>("since", "a time like 2026-07-24T10:00:00Z")?,
        until: call.query.parsed::<Timestamp>("until", "a time like 2026-07-24T10:00:00Z")?,
        // A page further back needs everything before it: the log has no index yet.
        limit: before.is_none().then_some(limit.saturating_add(1)),
    };
    let mut found = audit::search(&call.state.log_dir, &query).map_err(|error| unreadable(&error))?;
    found.retain(|decision| before.is_none_or(|before| decision.index < before));
    let next = (found.len() > limit).then(|| found.get(limit - 1).map(|last| last.index)).flatten();
    found.truncate(limit);
    let entry = call.record_query(subject.as_ref().map(|view| view.no), found.len())?;
    let decisions: Vec<Value> = found.iter().map(found_json).collect();
    Ok(Reply::ok(&json!({
        "decisions": decisions,
        "next": next.map(|index| index.to_string()),
        "entry": entry,
        "customer": subject.map(|view| parties::view_json(&view, false)),
    })))
}

fn show(call: &Call) -> Result<Reply, Problem> {
    let (index, shown) = lookup(call)?;
    let entry = call.record_query(None, 1)?;
    if sees_all(call) {
        let entries: Vec<Value> = shown.entries.iter().map(|logged| json!({ "index": logged.index, "entry": logged.resolved })).collect();
        return Ok(Reply::ok(&json!({ "index": index, "decision": shown.decision.as_ref().map(found_json), "entries": entries, "entry": entry })));
    }
    let decision = own_decision(call, &shown)?;
    Ok(Reply::ok(&json!({ "index": index, "decision": without_consent(decision), "entry": entry })))
}

fn explain_decision(call: &Call) -> Result<Reply, Problem> {
    let (index, shown) = lookup(call)?;
    let full = sees_all(call);
    if !full {
        own_decision(call, &shown)?;
    }
    let explanation = call.state.instance.explain(&ExplainQuestion::Decision { index, consent_state: full })?;
    call.record_query(None, 1)?;
    Ok(explanation_reply(&explanation))
}

fn explain(call: &Call) -> Result<Reply, Problem> {
    let body: ExplainBody = call.json()?;
    let question = ExplainQuestion::Request { method: body.method, url: body.url, app: body.app, purpose: body.purpose, body: body.body };
    let explanation = call.state.instance.explain(&question)?;
    call.record_query(explanation.party, 1)?;
    Ok(explanation_reply(&explanation))
}

fn explanation_reply(explanation: &super::Explanation) -> Reply {
    Reply::ok(&json!({ "permitted": explanation.permitted, "text": explanation.text, "explanation": explanation.document }))
}

/// All but an app developer see every decision in full.
fn sees_all(call: &Call) -> bool {
    call.holds_one_of(&[AdminRole::Auditor, AdminRole::PolicyAuthor, AdminRole::PolicyApprover])
}

/// An app developer's: of the own app, else it does not exist for them.
fn own_decision<'a>(call: &Call, shown: &'a Shown) -> Result<&'a Found, Problem> {
    shown.decision.as_ref().filter(|found| call.is_own_app(&found.app)).ok_or_else(no_such_decision)
}

fn lookup(call: &Call) -> Result<(u64, Shown), Problem> {
    let is_own = is_own_log(call, call.param(0)?);
    let index: u64 = call.param(1)?.parse().map_err(|_not_a_number| no_such_decision())?;
    let shown = audit::show(&call.state.log_dir, index).map_err(|error| unreadable(&error))?.filter(|_| is_own).ok_or_else(no_such_decision)?;
    Ok((index, shown))
}

/// By its origin, the first label of that, or `-`.
pub(super) fn is_own_log(call: &Call, origin: &str) -> bool {
    let own = &*call.state.origin;
    origin == own || origin == "-" || own.split('.').next() == Some(origin)
}

pub(super) fn no_such_decision() -> Problem {
    Problem::new(Code::NotFound, "a decision is `<origin>#<index>`, as in the header `Consentry-Decision`; ask the gateway whose origin it names")
        .detail("no such decision in this log")
}

pub(super) fn unreadable(error: &audit::AuditError) -> Problem {
    tracing::error!(error = %error, "the decision log cannot be read");
    Problem::new(Code::AuditUnavailable, "run `consentry audit verify` on the log's folder").detail("the decision log cannot be read")
}

/// Categories and policies, but neither consent state nor events nor how many customers.
fn without_consent(found: &Found) -> Value {
    let categories: Vec<Value> =
        found.relied.iter().map(|r| json!({ "category": r.category, "release": r.release, "policies": r.policies, "basis": r.basis })).collect();
    json!({
        "decision": found.decision, "index": found.index, "at": found.at.to_string(), "app": found.app, "department": found.department,
        "action": found.action, "api": found.api, "route": found.route, "purpose": found.purpose, "policy_set": found.policy_set,
        "outcome": found.outcome, "status": found.status, "code": found.code, "categories": categories, "policies": found.policies,
    })
}
