//! `/v1/break-glass`: who asks for sight of what in an emergency, who approves, ends and reviews it. Everybody but who ends
//! one shows a token of an issuer: by it people are told apart, and from the employee whom a grant is for.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::consents::{self, time};
use super::dispatch::{Access, Call, Caller, Param, Reply, Route, Takes};
use super::parties::{self, PAGING, word};
use super::problem::{Code, Problem};
use super::record::{Weight, consent_problem};
use super::role::AdminRole;
use super::schema::body;
use crate::consent::{Done, Finding, Grant, GrantDraft, GrantState, Person, Signed, Target};

const REQUESTERS: Access = Access::Roles(&[AdminRole::ConsentDesk, AdminRole::Operator]);
const APPROVERS: Access = Access::Roles(&[AdminRole::PolicyApprover]);
const ENDERS: Access =
    Access::Roles(&[AdminRole::ConsentDesk, AdminRole::Operator, AdminRole::PolicyApprover, AdminRole::PolicyAuthor, AdminRole::Auditor]);
const REVIEWERS: Access = Access::Roles(&[AdminRole::Auditor]);
const READERS: Access = Access::Roles(&[AdminRole::ConsentDesk, AdminRole::Operator, AdminRole::PolicyApprover, AdminRole::Auditor]);

pub(super) const ROUTES: &[Route] = &[
    Route::post(
        "/v1/break-glass",
        "break-glass.request",
        REQUESTERS,
        "Ask that an employee may read, by an app and for a purpose, a customer's data or a route's answers until a time",
        request,
    )
    .takes(Takes::Json(&GrantBody::SCHEMA))
    .again(requested_again),
    Route::get("/v1/break-glass", "break-glass.list", READERS, "Grants, newest first: who asked, approved, ended, reviewed", list).query(&[
        Param { name: "state", about: "requested, active, lapsed, review-due, review-overdue or reviewed; all without it" },
        PAGING[0],
        PAGING[1],
    ]),
    Route::post(
        "/v1/break-glass/{id}:approve",
        "break-glass.approve",
        APPROVERS,
        "Approve a grant; the second approval, by another person than the first, who asked and whom it is for, puts it in force",
        approve,
    )
    .again(changed_again),
    Route::post("/v1/break-glass/{id}:revoke", "break-glass.revoke", ENDERS, "End a grant at once; what is under way on it is cut", revoke)
        .takes(Takes::Json(&EndBody::SCHEMA))
        .again(revoked_again),
    Route::post(
        "/v1/break-glass/{id}:review",
        "break-glass.review",
        REVIEWERS,
        "Close a grant that is over with what its uses show; by somebody who had no part in it",
        review,
    )
    .takes(Takes::Json(&ReviewBody::SCHEMA))
    .again(changed_again),
];

body! {
    /// What is to be opened, for whom, and why.
    GrantBody {
        /// The app by which it is read.
        app: String = "string" required,
        /// `<issuer>:<subject>` as their token names them; whoever asks, without it.
        employee: Option<String> = "string" optional,
        /// Whose data: `party:<id>` or `<space>:<value>`; this or `api` and `route`.
        party: Option<String> = "string" optional,
        api: Option<String> = "string" optional,
        /// `METHOD /template`, as the API declares it.
        route: Option<String> = "string" optional,
        purpose: String = "string" required,
        /// As the ticket system writes it, e.g. `INC-4471`; policies compare it.
        ticket: String = "string" required,
        /// Why it cannot wait; shown to approvers and reviewers; in the decision log under a key of its month. Names no customer.
        justification: String = "string" required,
        /// At most `[admin] break_glass_max` from now.
        until: String = "timestamp" required,
    }
}

body! {
    /// Why a grant ends.
    EndBody {
        reason: String = "string" required,
    }
}

body! {
    /// What a look at the uses came to.
    ReviewBody {
        /// justified or unjustified.
        finding: String = "string" required,
        note: String = "string" required,
    }
}

fn request(call: &Call) -> Result<Reply, Problem> {
    let body: GrantBody = call.json()?;
    let by = person(call)?;
    let vocabulary = call.state.instance.vocabulary();
    let unknown = |what: &str, text: &str| Problem::value(format!("there is no {what} `{text}`"), "see the policy folder's catalogue");
    let app = vocabulary.client(&body.app).ok_or_else(|| unknown("app", &body.app))?;
    let purpose = vocabulary.purpose(&body.purpose).ok_or_else(|| unknown("purpose", &body.purpose))?;
    let employee = match body.employee.as_deref() {
        None => by.clone(),
        Some(text) => employee(call, text)?,
    };
    let until = time("until", Some(&body.until))?.ok_or_else(|| Problem::invalid("`until` is missing"))?;
    let longest = call.state.instance.break_glass_max();
    if call.state.clock.now().checked_add(longest).is_ok_and(|latest| until > latest) {
        let remedy = format!("name a time within {} minutes, or have `[admin] break_glass_max` raised", longest.as_secs() / 60);
        return Err(Problem::value("`until` is too far away", remedy));
    }
    let target = target(call, &body)?;
    call.may_write(Weight::Opens)?;
    call.may_write_text()?;
    let draft = GrantDraft {
        app: app.to_string(),
        employee,
        target,
        purpose: purpose.to_string(),
        ticket: body.ticket,
        justification: body.justification,
        until,
        by,
    };
    let grant = call.state.ledger.request_grant(draft, call.idempotency_key.as_ref()).map_err(|error| consent_problem(&error))?;
    told(call, &grant, Weight::Opens, StatusCode::CREATED)
}

fn requested_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    told(call, &*stored(call, done)?, Weight::Opens, StatusCode::CREATED)
}

fn changed_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    told(call, &*stored(call, done)?, Weight::Opens, StatusCode::OK)
}

fn revoked_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    told(call, &*stored(call, done)?, Weight::Stops, StatusCode::OK)
}

fn approve(call: &Call) -> Result<Reply, Problem> {
    let by = person(call)?;
    call.may_write(Weight::Opens)?;
    let grant = call.state.ledger.approve_grant(call.param(0)?, by, call.idempotency_key.as_ref()).map_err(|error| consent_problem(&error))?;
    told(call, &grant, Weight::Opens, StatusCode::OK)
}

fn revoke(call: &Call) -> Result<Reply, Problem> {
    let body: EndBody = call.json()?;
    let ended = call.state.ledger.revoke_grant(call.param(0)?, call.actor(), &body.reason, call.idempotency_key.as_ref());
    let grant = ended.map_err(|error| consent_problem(&error))?;
    told(call, &grant, Weight::Stops, StatusCode::OK)
}

fn review(call: &Call) -> Result<Reply, Problem> {
    let body: ReviewBody = call.json()?;
    let by = person(call)?;
    let words: Vec<&str> = Finding::ALL.iter().map(|finding| finding.as_str()).collect();
    let finding = word("finding", Some(&body.finding), Finding::parse, &words)?.ok_or_else(|| Problem::invalid("`finding` is missing"))?;
    call.may_write(Weight::Opens)?;
    let reviewed = call.state.ledger.review_grant(call.param(0)?, by, finding, &body.note, call.idempotency_key.as_ref());
    let grant = reviewed.map_err(|error| consent_problem(&error))?;
    told(call, &grant, Weight::Opens, StatusCode::OK)
}

fn list(call: &Call) -> Result<Reply, Problem> {
    let words: Vec<&str> = GrantState::ALL.iter().map(|state| state.as_str()).collect();
    let wanted = word("state", call.query.get("state"), GrantState::parse, &words)?;
    let mut grants = call.state.ledger.grants().map_err(|error| consent_problem(&error))?;
    let now = call.state.ledger.emergency_time();
    grants.retain(|grant| wanted.is_none_or(|wanted| grant.state(now) == wanted));
    grants.sort_by(|a, b| b.requested.at.cmp(&a.requested.at).then_with(|| a.id.cmp(&b.id)));
    let (page, next) = consents::page(call, &grants, |grant| grant_json(call, grant, now))?;
    call.record_query(None, page.len())?;
    let counts = call.state.ledger.grant_counts();
    Ok(Reply::ok(&json!({ "grants": page, "active": counts.active, "overdue": counts.overdue, "next": next })))
}

/// Who asks, approves or reviews: a person, not a machine's certificate.
fn person(call: &Call) -> Result<Person, Problem> {
    let person = match &call.caller {
        Caller::Staff(staff) => staff.person.clone(),
        Caller::App(_) | Caller::Anybody => None,
    };
    person.ok_or_else(|| {
        let remedy = "add a token of an issuer, bound to the certificate: `--token-file` on the command line";
        Problem::new(Code::Unauthenticated, remedy).detail("break-glass is between people, and a certificate alone does not say who you are")
    })
}

fn employee(call: &Call, text: &str) -> Result<Person, Problem> {
    let named = text.split_once(':').filter(|(_, subject)| !subject.is_empty());
    let found = named.and_then(|(issuer, subject)| call.state.instance.employee(issuer, subject));
    found.ok_or_else(|| Problem::value("`employee` names nobody of a configured issuer", "write `<issuer>:<subject>`, or leave it out for yourself"))
}

fn target(call: &Call, body: &GrantBody) -> Result<Target, Problem> {
    match (&body.party, &body.api, &body.route) {
        (Some(_), None, None) if !call.holds_one_of(&[AdminRole::ConsentDesk]) => {
            Err(Problem::new(Code::RoleMissing, "ask somebody who is consent-desk, or name `api` and `route`")
                .detail("customers are the desk's to name"))
        }
        (Some(party), None, None) => parties::find(call, party).map(|view| Target::Party(view.no)),
        (None, Some(api), Some(route)) if call.state.instance.declares(api, route) => Ok(Target::Route { api: api.clone(), route: route.clone() }),
        (None, Some(_), Some(_)) => Err(Problem::value("no API declares this route", "write `METHOD /template` as the API's file has it")),
        _ => Err(Problem::value("a grant is for a customer or for a route", "name `party`, or `api` and `route`")),
    }
}

fn stored(call: &Call, done: &Done) -> Result<std::sync::Arc<Grant>, Problem> {
    let id = done.detail.as_deref().ok_or_else(super::again::unreadable)?;
    call.state.ledger.grant(id).map_err(|error| consent_problem(&error))
}

fn told(call: &Call, grant: &Grant, weight: Weight, status: StatusCode) -> Result<Reply, Problem> {
    let party = match grant.target {
        Target::Party(number) => Some(number),
        Target::Route { .. } => None,
    };
    call.record_write(weight, party, Some(grant.revision), status)?;
    Ok(Reply::json(status, &grant_json(call, grant, call.state.ledger.emergency_time())))
}

fn grant_json(call: &Call, grant: &Grant, now: Timestamp) -> Value {
    let signed = |signed: &Signed| json!({ "by": signed.by.pseudonym, "issuer": signed.by.issuer, "at": signed.at.to_string() });
    let (party, api, route) = match &grant.target {
        Target::Party(number) => (Some(call.state.ledger.party_id(*number).0), None, None),
        Target::Route { api, route } => (None, Some(api), Some(route)),
    };
    // Operators see no parties.
    let sees = call.holds_one_of(&[AdminRole::ConsentDesk, AdminRole::PolicyApprover, AdminRole::Auditor]);
    json!({
        "id": grant.id, "version": grant.version, "state": grant.state(now).as_str(), "app": grant.app, "purpose": grant.purpose,
        "employee": grant.employee.pseudonym, "issuer": grant.employee.issuer,
        "party": party.filter(|_| sees).map(|id| format!("party:{id}")), "api": api, "route": route,
        "ticket": grant.emergency.ticket, "justification": grant.emergency.justification, "until": grant.until.to_string(),
        "requested": signed(&grant.requested), "approvals": grant.approvals.iter().map(signed).collect::<Vec<_>>(),
        "revoked": grant.revoked.as_ref().map(|end| json!({ "by": end.by, "at": end.at.to_string(), "reason": end.reason })),
        "review_due": grant.review_due(now).map(|due| due.to_string()),
        "review": grant.review.as_ref().map(|review| {
            json!({ "by": review.signed.by.pseudonym, "at": review.signed.at.to_string(), "finding": review.finding.as_str(), "note": review.note })
        }),
    })
}
