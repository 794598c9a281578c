//! `/v1/delegations` and `/v1/occurrences`, for the consent desk and for registered apps: who may speak for a customer, and
//! that something has come to pass on which grants depend. The author is derived like that of any other event.

use http::StatusCode;

use super::consents::{self, EvidenceBody};
use super::dispatch::{Access, Call, Caller, Reply, Route, Takes};
use super::parties::{DESK, capturer, reference, word};
use super::problem::Problem;
use super::record::{Weight, consent_problem};
use super::schema::body;
use crate::consent::{Delegation, Holder, Note, NoteDraft};
use crate::model::Author;

pub(super) const ROUTES: &[Route] = &[delegations(DESK), occurrences(DESK)];
pub(super) const CAPTURE_ROUTES: &[Route] = &[delegations(Access::Capture), occurrences(Access::Capture)];

const fn delegations(access: Access) -> Route {
    Route::post("/v1/delegations", "delegations.add", access, "Record that somebody may speak for a customer", delegate)
        .takes(Takes::Json(&DelegationBody::SCHEMA))
}

const fn occurrences(access: Access) -> Route {
    Route::post("/v1/occurrences", "occurrences.add", access, "Record that something came to pass: grants `until` it end", occur)
        .takes(Takes::Json(&OccurrenceBody::SCHEMA))
}

body! {
    /// Somebody who may speak for a customer.
    DelegationBody {
        /// The customer: `party:<id>` or `<space>:<value>`.
        party: String = "string" required,
        /// guardian or representative.
        holder: String = "string" required,
        /// Only for these purposes and what is below them.
        purposes: Option<Vec<String>> = "string[]" optional,
        /// When it ends.
        until: Option<String> = "timestamp" optional,
        /// Since when it holds; now without it.
        event_time: Option<String> = "timestamp" optional,
        /// Whose statement it is: customer (default of apps), guardian, staff (default of the desk) or system; kept only if registered.
        author: Option<String> = "string" optional,
        /// What shows it, e.g. a court's order.
        evidence: Vec<EvidenceBody> = "EvidenceBody[]" required,
        /// The system the statement comes from; the caller itself without it.
        source_system: Option<String> = "string" optional,
    }
}

body! {
    /// Something that came to pass.
    OccurrenceBody {
        /// The customer: `party:<id>` or `<space>:<value>`.
        party: String = "string" required,
        /// As grants name it in `until`, e.g. `contract-ended`.
        name: String = "string" required,
        /// When it came to pass; now without it.
        event_time: Option<String> = "timestamp" optional,
        /// Whose statement it is: customer (default of apps), guardian, staff (default of the desk) or system; kept only if registered.
        author: Option<String> = "string" optional,
        evidence: Option<Vec<EvidenceBody>> = "EvidenceBody[]" optional,
        /// The system the statement comes from; the caller itself without it.
        source_system: Option<String> = "string" optional,
    }
}

fn delegate(call: &Call) -> Result<Reply, Problem> {
    let body: DelegationBody = call.json()?;
    let vocabulary = call.state.instance.vocabulary();
    let holder = word("holder", Some(&body.holder), Holder::parse, &consents::words(Holder::ALL, Holder::as_str))?
        .ok_or_else(|| Problem::value("`holder` is missing", "use guardian or representative"))?;
    let draft = NoteDraft {
        subject: reference(call, &body.party)?,
        note: Note::Delegation(Delegation {
            holder,
            purposes: consents::purposes(&vocabulary, body.purposes)?,
            until: consents::time("until", body.until.as_deref())?,
        }),
        event_time: consents::time("event_time", body.event_time.as_deref())?,
        claims: author(call, body.author.as_deref())?,
        evidence: consents::evidence(Some(body.evidence))?,
        source_system: body.source_system,
        idempotency_key: call.idempotency_key.clone(),
    };
    note(call, draft, Weight::Opens)
}

fn occur(call: &Call) -> Result<Reply, Problem> {
    let body: OccurrenceBody = call.json()?;
    let draft = NoteDraft {
        subject: reference(call, &body.party)?,
        note: Note::Occurrence(body.name),
        event_time: consents::time("event_time", body.event_time.as_deref())?,
        claims: author(call, body.author.as_deref())?,
        evidence: consents::evidence(body.evidence)?,
        source_system: body.source_system,
        idempotency_key: call.idempotency_key.clone(),
    };
    // It ends grants and gives none.
    note(call, draft, Weight::Stops)
}

fn note(call: &Call, draft: NoteDraft, weight: Weight) -> Result<Reply, Problem> {
    call.may_write(weight)?;
    let acknowledged = call.state.ledger.note(draft, &capturer(call)).map_err(|error| consent_problem(&error))?;
    call.record_write(weight, acknowledged.party, Some(acknowledged.revision), StatusCode::CREATED)?;
    Ok(consents::acknowledgement(call, &acknowledged, None))
}

/// The desk notes what it has seen itself; an app hands in what a customer said.
fn author(call: &Call, text: Option<&str>) -> Result<Author, Problem> {
    match (&call.caller, text) {
        (Caller::Staff(_), None) => Ok(Author::Staff),
        (Caller::Staff(_) | Caller::App(_) | Caller::Anybody, text) => consents::author(text),
    }
}
