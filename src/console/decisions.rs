//! `/v1/decisions`: who accessed whose data, why, on which consent. Every search is itself an entry of the log, written
//! before the answer. Customers appear as numbers only where they must; the log knows no identifiers.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::dispatch::{Access, Call, Param, Reply, Route, Takes};
use super::problem::{Code, Problem};
use super::record::consent_problem;
use super::role::AdminRole;
use super::schema::body;
use super::{ExplainQuestion, parties};
pub use crate::audit::found_json;
use crate::audit::{
    Answer, Found, Index, IndexError, KindAnswer, KindQuery, OTHER_KINDS, Outcome, Query, Shown, Texts, Window, entry_json, found_json_with,
};
use crate::consent::{ConsentError, PartyView};
use crate::model::EventId;

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
        Param { name: "department", about: "the caller's department" },
        Param { name: "actor", about: "an employee's pseudonym" },
        Param { name: "agent", about: "an AI agent" },
        Param { name: "api", about: "an API's name" },
        Param { name: "action", about: "read, create, update, delete, export" },
        Param { name: "purpose", about: "a purpose's key" },
        Param { name: "outcome", about: "permit, redact, filter, deny, error or unenforced" },
        Param { name: "category", about: "a category of which something was released" },
        Param { name: "policy", about: "a policy that determined" },
        Param { name: "event", about: "a consent event that decided or lost" },
        Param { name: "decision", about: "a decision's index" },
        Param { name: "grant", about: "a break-glass grant: what it was used for" },
        Param { name: "since", about: "RFC 3339 time" },
        Param { name: "until", about: "RFC 3339 time" },
        Param { name: "limit", about: "1 to 1000, 100 without it" },
        Param { name: "cursor", about: "`next` of the page before" },
    ]),
    Route::get("/v1/entries", "entries.search", AUDITORS, "Entries that belong to no decision, newest first; the search itself is logged", entries)
        .query(&[
            Param { name: "kind", about: "rejects, start, stop, gap, clock, admin, query, … (required)" },
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
    let subject = call.query.get("customer").map(|text| subject(call, text)).transpose()?;
    let limit = limit(call)?;
    let text = |name: &str| call.query.get(name).map(str::to_owned);
    if let Some(outcome) = call.query.get("outcome").filter(|outcome| Outcome::parse(outcome).is_none()) {
        return Err(Problem::value(format!("`{outcome}` is no outcome"), "use permit, redact, filter, deny, error or unenforced"));
    }
    let event =
        call.query.get("event").map(|id| EventId::parse(id).ok_or_else(|| Problem::value("`event` is no event's id", "ids are like `ev_42`")));
    let query = Query {
        customers: subject.as_ref().map(|view| view.numbers.clone()).unwrap_or_default(),
        app: text("app"),
        department: text("department"),
        actor: text("actor"),
        agent: text("agent"),
        api: text("api"),
        action: text("action"),
        purpose: text("purpose"),
        outcome: text("outcome"),
        category: text("category"),
        policy: text("policy"),
        event: event.transpose()?,
        decision: call.query.parsed("decision", "an index")?,
        grant: text("grant"),
        since: time(call, "since")?,
        until: time(call, "until")?,
        before: before(call)?,
        limit: Some(limit),
    };
    let answer = searched(call, |index| index.search(&query))?;
    let entry = call.record_query(subject.as_ref().map(|view| view.no), answer.decisions.len())?;
    let mut document = answered_json(&answer, &call.state.log.texts());
    if let Some(members) = document.as_object_mut() {
        members.insert("entry".to_owned(), json!(entry));
        members.insert("customer".to_owned(), json!(subject.map(|view| customer_json(&view))));
    }
    Ok(Reply::ok(&document))
}

fn limit(call: &Call) -> Result<usize, Problem> {
    let limit = call.query.parsed::<usize>("limit", "a number")?.unwrap_or(PAGE_DEFAULT);
    if limit == 0 || limit > PAGE_MAX {
        return Err(Problem::invalid(format!("`limit` must be 1 to {PAGE_MAX}")));
    }
    Ok(limit)
}

fn time(call: &Call, name: &str) -> Result<Option<Timestamp>, Problem> {
    call.query.parsed::<Timestamp>(name, "a time like 2026-07-24T10:00:00Z")
}

fn before(call: &Call) -> Result<Option<u64>, Problem> {
    call.query.parsed::<u64>("cursor", "the `next` of a page")
}

fn entries(call: &Call) -> Result<Reply, Problem> {
    let one_of = || format!("use one of {}", OTHER_KINDS.join(", "));
    let kind = call.query.get("kind").ok_or_else(|| Problem::value("`kind` is missing", one_of()))?;
    if !OTHER_KINDS.contains(&kind) {
        return Err(Problem::value(format!("`{kind}` is no kind of entry beside decisions"), one_of()));
    }
    let window = Window { since: time(call, "since")?, until: time(call, "until")? };
    let query = KindQuery { kind: kind.to_owned(), window, before: before(call)?, limit: limit(call)? };
    let answer = searched(call, |index| index.of_kind(&query))?;
    let entry = call.record_query(None, answer.entries.len())?;
    let mut document = kind_json(&answer);
    if let Some(members) = document.as_object_mut() {
        members.insert("entry".to_owned(), json!(entry));
    }
    Ok(Reply::ok(&document))
}

/// What a search for entries of one kind answers.
pub fn kind_json(answer: &KindAnswer) -> Value {
    let entries: Vec<Value> = answer.entries.iter().map(|logged| json!({ "index": logged.index, "entry": logged.resolved })).collect();
    json!({ "entries": entries, "next": answer.next.map(|index| index.to_string()), "searched": answer.searched })
}

/// Whom a question is about. An erased person is nobody, although the ledger still knows the id again where the law obliges to.
pub(super) fn subject(call: &Call, text: &str) -> Result<PartyView, Problem> {
    let view = parties::find(call, text)?;
    if view.is_erased { Err(consent_problem(&ConsentError::NotFound)) } else { Ok(view) }
}

/// With the numbers under which the log names the customer, so that whoever checks its entries finds them there.
fn customer_json(view: &PartyView) -> Value {
    let mut customer = parties::view_json(view, false);
    if let Some(members) = customer.as_object_mut() {
        members.insert("numbers".to_owned(), view.numbers.iter().map(|number| number.0).collect());
    }
    customer
}

/// What a search answers an auditor.
pub fn answered_json(answer: &Answer, texts: &Texts) -> Value {
    let decisions: Vec<Value> = answer.decisions.iter().map(|found| found_json_with(found, texts)).collect();
    json!({
        "decisions": decisions, "next": answer.next.map(|index| index.to_string()), "searched": answer.entries, "unread": answer.unread,
    })
}

fn show(call: &Call) -> Result<Reply, Problem> {
    let (index, shown) = lookup(call)?;
    let entry = call.record_query(None, 1)?;
    if sees_all(call) {
        // What people wrote about an emergency is for auditors.
        let texts = call.holds_one_of(&[AdminRole::Auditor]).then(|| call.state.log.texts());
        let entries: Vec<Value> = shown.entries.iter().map(|logged| entry_json(logged, texts.as_ref())).collect();
        let decision = shown.decision.as_ref().map(|found| texts.as_ref().map_or_else(|| found_json(found), |texts| found_json_with(found, texts)));
        return Ok(Reply::ok(&json!({ "index": index, "decision": decision, "entries": entries, "entry": entry })));
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
    let shown = searched(call, |search| search.show(index))?.filter(|_| is_own).ok_or_else(no_such_decision)?;
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

/// Asks the index once everything durable is in it.
pub(super) fn searched<T>(call: &Call, ask: impl FnOnce(&Index) -> Result<T, IndexError>) -> Result<T, Problem> {
    call.state.index.fresh().and_then(ask).map_err(|error| unreadable(&error))
}

pub(super) fn unreadable(error: &IndexError) -> Problem {
    if let IndexError::Behind { .. } = error {
        return Problem::new(Code::AuditUnavailable, "ask again in a moment").detail(format!("the decision log is being indexed: {error}"));
    }
    tracing::error!(error = %error, "the decision log cannot be searched");
    let remedy = "run `consentry audit verify` on the log's folder and, if that is well, `consentry audit index --rebuild` with the gateway stopped";
    Problem::new(Code::AuditUnavailable, remedy).detail("the decision log cannot be searched")
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
