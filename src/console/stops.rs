//! Hard stops: objections (GDPR Art. 21), restrictions (Art. 18) with deceased and legal flags, opt-outs and suppressions.
//! A stop needs no grant and no known id, and is taken whatever else is down.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};

use super::consents::{self, EvidenceBody};
use super::dispatch::{Call, Param, Reply, Route, Takes};
use super::parties::{DESK, DESK_AND_AUDITOR, PAGING, capturer, reference, word};
use super::problem::Problem;
use super::record::{Weight, consent_problem};
use super::schema::body;
use crate::consent::{HistoryRow, LiftDraft, Scope, StopDraft, StopKind, What};
use crate::model::EventId;

/// A path and the kinds of stops that live there; without `kind` in the body the first is meant, if it is the only reading.
struct Group {
    kinds: &'static [StopKind],
    default: Option<StopKind>,
}

const OBJECTIONS: Group = Group { kinds: &[StopKind::ObjectionMarketing, StopKind::Objection], default: None };
const RESTRICTIONS: Group = Group { kinds: &[StopKind::Restriction, StopKind::Deceased, StopKind::Legal], default: Some(StopKind::Restriction) };
const OPT_OUTS: Group = Group { kinds: &[StopKind::OptOutSale, StopKind::OptOutSensitive, StopKind::OptOutGpc], default: None };
const SUPPRESSIONS: Group = Group { kinds: &[StopKind::Suppression], default: Some(StopKind::Suppression) };

const OF_PARTY: &[Param] = &[Param { name: "party", about: "`party:<id>` or `<space>:<value>`; required" }, PAGING[0], PAGING[1]];
const STOP: Takes = Takes::Json(&StopBody::SCHEMA);
const LIFT: Takes = Takes::Json(&LiftBody::SCHEMA);

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/objections", "objections.add", DESK, "Record an objection: objection-marketing or objection", object).takes(STOP),
    Route::get("/v1/objections", "objections.list", DESK_AND_AUDITOR, "A customer's objections", objections).query(OF_PARTY),
    Route::post("/v1/objections/{id}:lift", "objections.lift", DESK, "Lift an objection: refused, only the customer's own later grant does", lift)
        .takes(LIFT),
    Route::post("/v1/restrictions", "restrictions.add", DESK, "Restrict processing: restriction (default), deceased or legal", restrict).takes(STOP),
    Route::get("/v1/restrictions", "restrictions.list", DESK_AND_AUDITOR, "A customer's restrictions", restrictions).query(OF_PARTY),
    Route::post("/v1/restrictions/{id}:lift", "restrictions.lift", DESK, "Lift a restriction or correct a flag, with a reason", lift).takes(LIFT),
    Route::post("/v1/opt-outs", "opt-outs.add", DESK, "Record an opt-out: opt-out-sale, opt-out-sensitive or opt-out-gpc", opt_out).takes(STOP),
    Route::get("/v1/opt-outs", "opt-outs.list", DESK_AND_AUDITOR, "A customer's opt-outs", opt_outs).query(OF_PARTY),
    Route::post("/v1/opt-outs/{id}:lift", "opt-outs.lift", DESK, "Lift an opt-out: refused, only the customer's own later grant does", lift)
        .takes(LIFT),
    Route::post("/v1/suppressions", "suppressions.add", DESK, "Suppress purposes, channels or categories", suppress).takes(STOP),
    Route::get("/v1/suppressions", "suppressions.list", DESK_AND_AUDITOR, "A customer's suppressions", suppressions).query(OF_PARTY),
    Route::post(
        "/v1/suppressions/{id}:lift",
        "suppressions.lift",
        DESK,
        "Lift a suppression: refused, only the customer's own later grant does",
        lift,
    )
    .takes(LIFT),
];

body! {
    /// A hard stop.
    StopBody {
        /// `party:<id>` or `<space>:<value>`; need not be known.
        party: String = "string" required,
        /// The kind, where the path has several. An opt-out that comes with `Sec-GPC: 1` is opt-out-gpc without it.
        kind: Option<String> = "string" optional,
        /// Limits an objection, opt-out or suppression to these purposes and what is below them.
        purposes: Option<Vec<String>> = "string[]" optional,
        /// Limits it to these categories.
        categories: Option<Vec<String>> = "string[]" optional,
        /// Limits it to these channels.
        channels: Option<Vec<String>> = "string[]" optional,
        /// When the person acted.
        event_time: Option<String> = "timestamp" optional,
        /// Where it was said.
        channel: Option<String> = "string" optional,
        /// customer (default), guardian, staff or system.
        author: Option<String> = "string" optional,
        evidence: Option<Vec<EvidenceBody>> = "EvidenceBody[]" optional,
        /// The system the statement comes from.
        source_system: Option<String> = "string" optional,
        reason: Option<String> = "string" optional,
    }
}

body! {
    /// Why a stop ends.
    LiftBody {
        reason: String = "string" required,
        evidence: Option<Vec<EvidenceBody>> = "EvidenceBody[]" optional,
    }
}

pub(super) fn object(call: &Call) -> Result<Reply, Problem> {
    record(call, &OBJECTIONS)
}

pub(super) fn restrict(call: &Call) -> Result<Reply, Problem> {
    record(call, &RESTRICTIONS)
}

pub(super) fn opt_out(call: &Call) -> Result<Reply, Problem> {
    record(call, &OPT_OUTS)
}

pub(super) fn suppress(call: &Call) -> Result<Reply, Problem> {
    record(call, &SUPPRESSIONS)
}

fn objections(call: &Call) -> Result<Reply, Problem> {
    list(call, &OBJECTIONS)
}

fn restrictions(call: &Call) -> Result<Reply, Problem> {
    list(call, &RESTRICTIONS)
}

fn opt_outs(call: &Call) -> Result<Reply, Problem> {
    list(call, &OPT_OUTS)
}

fn suppressions(call: &Call) -> Result<Reply, Problem> {
    list(call, &SUPPRESSIONS)
}

fn record(call: &Call, group: &Group) -> Result<Reply, Problem> {
    let body: StopBody = call.json()?;
    let vocabulary = call.state.instance.vocabulary();
    let words: Vec<&str> = group.kinds.iter().map(|kind| kind.as_str()).collect();
    let here = |text: &str| StopKind::parse(text).filter(|kind| group.kinds.contains(kind));
    let kind = word("kind", body.kind.as_deref(), here, &words)?
        .or(group.default)
        .or((call.gpc && group.kinds.contains(&StopKind::OptOutGpc)).then_some(StopKind::OptOutGpc))
        .ok_or_else(|| Problem::value("`kind` is missing", format!("use {}", words.join(" or "))))?;
    let draft = StopDraft {
        subject: reference(call, &body.party)?,
        kind,
        purposes: consents::purposes(&vocabulary, body.purposes)?,
        scope: Scope {
            categories: consents::categories(&vocabulary, body.categories)?,
            recipients: Vec::new(),
            channels: consents::channels(body.channels)?,
        },
        event_time: consents::time("event_time", body.event_time.as_deref())?,
        channel: consents::channel(body.channel.as_deref())?,
        claims: consents::author(body.author.as_deref())?,
        evidence: consents::evidence(body.evidence)?,
        source_system: body.source_system,
        reason: body.reason,
        idempotency_key: call.idempotency_key.clone(),
    };
    add(call, draft)
}

/// Stores a stop and acknowledges it.
pub(super) fn add(call: &Call, mut draft: StopDraft) -> Result<Reply, Problem> {
    draft.idempotency_key.clone_from(&call.idempotency_key);
    let acknowledged = call.state.ledger.add_stop(draft, &capturer(call)).map_err(|error| consent_problem(&error))?;
    call.record_write(Weight::Stops, acknowledged.party, Some(acknowledged.revision), StatusCode::CREATED)?;
    Ok(consents::acknowledgement(call, &acknowledged, None))
}

fn list(call: &Call, group: &Group) -> Result<Reply, Problem> {
    let text = call.query.get("party").ok_or_else(|| Problem::invalid("`party` is missing"))?;
    let party = reference(call, text)?;
    let history = call.state.ledger.history(&party).map_err(|error| consent_problem(&error))?;
    let lifted: BTreeSet<EventId> = history
        .iter()
        .filter_map(|row| match &row.event.what {
            What::Lift { stop, .. } => Some(*stop),
            What::Consent(_) | What::Stop(_) | What::Delegation(_) | What::Occurrence(_) => None,
        })
        .collect();
    let of_group: Vec<&HistoryRow> =
        history.iter().filter(|row| matches!(&row.event.what, What::Stop(stop) if group.kinds.contains(&stop.kind))).collect();
    let full = call.sees_identifiers();
    let (page, next) = consents::page(call, &of_group, |row| stop_json(row, lifted.contains(&row.event.id), full))?;
    let view = call.state.ledger.show_party(&party).ok();
    call.record_query(view.as_ref().map(|view| view.no), page.len())?;
    Ok(Reply::ok(&json!({ "party": view.map(|view| view.id.0), "stops": page, "next": next })))
}

fn stop_json(row: &HistoryRow, is_lifted: bool, full: bool) -> Value {
    let mut document = consents::history_json(row, full);
    if let Some(members) = document.as_object_mut() {
        members.insert("lifted".to_owned(), json!(is_lifted));
    }
    document
}

fn lift(call: &Call) -> Result<Reply, Problem> {
    let body: LiftBody = call.json()?;
    call.may_write(Weight::Opens)?;
    let draft = LiftDraft {
        stop: EventId::parse(call.param(0)?).ok_or_else(|| Problem::not_found("stop"))?,
        reason: body.reason,
        evidence: consents::evidence(body.evidence)?,
        idempotency_key: call.idempotency_key.clone(),
    };
    let acknowledged = call.state.ledger.lift_stop(draft, &capturer(call)).map_err(|error| consent_problem(&error))?;
    call.record_write(Weight::Opens, acknowledged.party, Some(acknowledged.revision), StatusCode::CREATED)?;
    Ok(consents::acknowledgement(call, &acknowledged, None))
}
