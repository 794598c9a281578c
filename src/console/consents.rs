//! `/v1/consents`: events that say what a customer allows, the current state, and the history. The author of an event is
//! derived by the ledger from who hands it in, never believed from the body.

use std::collections::BTreeMap;

use http::StatusCode;
use jiff::{Span, SpanFieldwise, Timestamp};
use serde_json::{Value, json};

use super::again;
use super::confirm;
use super::dispatch::{Call, Caller, Param, Reply, Route, Takes};
use super::parties::{DESK, DESK_AND_AUDITOR, PAGING, capturer, find, reference, word};
use super::problem::Problem;
use super::record::{Weight, consent_problem};
use super::schema::body;
use crate::consent::{Acknowledged, AsOf, Asked, EffectiveRow, EventDraft, HistoryRow, Method, Notice, Scope, State, What};
use crate::model::{ActivityKey, Author, Category, Channel, Department, EventId, Identifier, Name, Purpose, Vocabulary};

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/consents", "consents.record", DESK, "Record a consent event; a withdrawal binds every later release once acknowledged", record)
        .takes(Takes::Json(&EventBody::SCHEMA))
        .again(again::event),
    Route::get("/v1/consents", "consents.current", DESK_AND_AUDITOR, "Every use about which the customer has said something", current).query(&[
        Param { name: "party", about: "`party:<id>` or `<space>:<value>`; required" },
        PAGING[0],
        PAGING[1],
    ]),
    Route::get("/v1/consents/{id}/history", "consents.history", DESK_AND_AUDITOR, "Every event of a customer in the order of recording", history)
        .query(&PAGING),
];

body! {
    /// A consent event.
    EventBody {
        /// `party:<id>` or `<space>:<value>`.
        party: String = "string" required,
        /// given, renewed, refused, withdrawn, revoked, requested, deferred, pending_confirmation, …
        state: String = "string" required,
        /// May be left out only for what closes; it then covers every purpose.
        purposes: Option<Vec<String>> = "string[]" optional,
        /// The processing activity that the person saw.
        activity: Option<String> = "string" optional,
        /// When the person acted.
        event_time: Option<String> = "timestamp" optional,
        /// Where it was said: email, sms, post, phone, push, in-person or system (default).
        channel: Option<String> = "string" optional,
        /// explicit, expressed (default) or implied.
        method: Option<String> = "string" optional,
        /// Whose statement it is: customer (default), guardian, staff or system; kept only if the registration allows it.
        author: Option<String> = "string" optional,
        /// The notice on which it was given.
        notice: Option<NoticeBody> = "NoticeBody" optional,
        /// What proves it.
        evidence: Option<Vec<EvidenceBody>> = "EvidenceBody[]" optional,
        /// The system the statement comes from; the caller itself without it.
        source_system: Option<String> = "string" optional,
        /// Limits it to these categories.
        categories: Option<Vec<String>> = "string[]" optional,
        /// Limits it to these departments.
        recipients: Option<Vec<String>> = "string[]" optional,
        /// Limits it to these channels.
        channels: Option<Vec<String>> = "string[]" optional,
        /// When a grant runs out; with pending_confirmation, until when it can be confirmed (7 days without it).
        expires: Option<String> = "timestamp" optional,
        /// How long a grant lasts from `event_time` on, ISO 8601, e.g. `P24M`; the earlier of this and `expires` holds.
        lasts: Option<String> = "string" optional,
        /// The grant ends when this occurs, e.g. `contract-ended`.
        until: Option<String> = "string" optional,
        /// The grant ends after this many answered requests.
        uses: Option<u32> = "integer" optional,
        /// With `invalidated`: the grant that never was valid.
        about: Option<String> = "string" optional,
    }
}

body! {
    /// A notice version and what it named.
    NoticeBody {
        id: String = "string" required,
        version: String = "string" required,
        /// Consent to a parent purpose covers what is below it only if the parent is named here.
        purposes: Option<Vec<String>> = "string[]" optional,
        categories: Option<Vec<String>> = "string[]" optional,
        recipients: Option<Vec<String>> = "string[]" optional,
    }
}

body! {
    /// A piece of evidence.
    EvidenceBody {
        /// E.g. `form-hash`, `notice`.
        kind: String = "string" required,
        /// A reference or hash, never the document.
        reference: String = "string" required,
    }
}

/// `POST /v1/consents`, for the desk and for registered apps.
pub(super) fn record(call: &Call) -> Result<Reply, Problem> {
    let mut draft = draft(call, call.json()?)?;
    confirms_by_token(matches!(call.caller, Caller::App(_)), &draft)?;
    let confirmable = confirm::prepare(call, &mut draft)?;
    let weight = if draft.state.closes() { Weight::Stops } else { Weight::Opens };
    call.may_write(weight)?;
    let lacks = lacks_to_open(draft.state, draft.event_time, draft.method, &draft.evidence);
    let acknowledged = call.state.ledger.record(draft, &capturer(call)).map_err(|error| consent_problem(&error))?;
    call.record_write(weight, acknowledged.party, Some(acknowledged.revision), StatusCode::CREATED)?;
    answer(call, &acknowledged, lacks, confirmable)
}

/// What a recorded event is answered with; an app that is to have it confirmed gets the token for that.
pub(super) fn answer(
    call: &Call,
    acknowledged: &Acknowledged,
    lacks: Option<&'static str>,
    confirmable: Option<Timestamp>,
) -> Result<Reply, Problem> {
    let Some(until) = confirmable else { return Ok(acknowledgement(call, acknowledged, lacks)) };
    let mut document = acknowledgement_json(call, acknowledged, lacks);
    if let Some(members) = document.as_object_mut() {
        members.insert("confirm".to_owned(), confirm::token(call, acknowledged.event, until)?);
        members.insert("confirm_until".to_owned(), json!(until.to_string()));
    }
    Ok(Reply::created(&document).revision(acknowledged.revision.0))
}

/// An app confirms with the token that only the person was sent, never by naming the request.
fn confirms_by_token(is_app: bool, draft: &EventDraft) -> Result<(), Problem> {
    if is_app && draft.state.opens() && draft.about.is_some() {
        let remedy = "confirm a pending consent with its token at `/v1/consents/{id}:confirm`";
        return Err(Problem::value("`about` belongs to `invalidated`", remedy));
    }
    Ok(())
}

/// Why a grant will open nothing, whoever's statement it is. The ledger decides; this only tells.
pub(super) fn lacks_to_open(
    state: State,
    event_time: Option<Timestamp>,
    method: Method,
    evidence: &BTreeMap<String, String>,
) -> Option<&'static str> {
    match (event_time, method) {
        _ if !state.opens() => None,
        (None, _) => Some("recorded, but opens nothing: `event_time`, when the person acted, is missing"),
        (Some(_), Method::Implied) => Some("recorded, but opens nothing: consent that is only implied can not raise permission"),
        _ if evidence.is_empty() => Some("recorded, but opens nothing: `evidence` is missing"),
        _ => None,
    }
}

/// What a recorded event is answered with: it is in force.
pub(super) fn acknowledgement(call: &Call, acknowledged: &Acknowledged, lacks: Option<&'static str>) -> Reply {
    Reply::created(&acknowledgement_json(call, acknowledged, lacks)).revision(acknowledged.revision.0)
}

/// INVARIANT: an app reads nothing here that depends on whose id it is, nor on whether it is anybody's.
pub(super) fn acknowledgement_json(call: &Call, acknowledged: &Acknowledged, lacks: Option<&'static str>) -> Value {
    let mut document =
        json!({ "event": acknowledged.event.to_string(), "revision": acknowledged.revision.0, "author": acknowledged.author.as_str() });
    if let Some(members) = document.as_object_mut() {
        if !matches!(call.caller, Caller::App(_)) {
            members.insert("party".to_owned(), json!(acknowledged.party.map(|no| call.state.ledger.party_id(no).0)));
            if let Some(after) = acknowledged.in_force_after {
                members.insert("in_force_after_us".to_owned(), json!(u64::try_from(after.as_micros()).unwrap_or(u64::MAX)));
            }
        }
        if let Some(note) = lacks {
            members.insert("note".to_owned(), json!(note));
        } else if acknowledged.author == Author::System {
            let note = "recorded as the system's: it can lower permission, never raise it; see the capture registration and its evidence";
            members.insert("note".to_owned(), json!(note));
        }
    }
    document
}

fn draft(call: &Call, body: EventBody) -> Result<EventDraft, Problem> {
    let vocabulary = call.state.instance.vocabulary();
    let state = word("state", Some(&body.state), State::parse, &words(State::ALL, State::as_str))?
        .ok_or_else(|| Problem::value("`state` is missing", "say what the person decided"))?;
    Ok(EventDraft {
        subject: reference(call, &body.party)?,
        purposes: purposes(&vocabulary, body.purposes)?,
        activity: body.activity.as_deref().map(|id| activity(call, id)).transpose()?,
        state,
        event_time: time("event_time", body.event_time.as_deref())?,
        channel: channel(body.channel.as_deref())?,
        method: word("method", body.method.as_deref(), Method::parse, &words(Method::ALL, Method::as_str))?.unwrap_or(Method::Expressed),
        claims: author(body.author.as_deref())?,
        notice: body.notice.map(|notice| read_notice(&vocabulary, notice)).transpose()?,
        evidence: evidence(body.evidence)?,
        source_system: body.source_system,
        scope: Scope {
            categories: categories(&vocabulary, body.categories)?,
            recipients: recipients(&vocabulary, body.recipients)?,
            channels: channels(body.channels)?,
        },
        expires: time("expires", body.expires.as_deref())?,
        lasts: period("lasts", body.lasts.as_deref())?,
        until: body.until,
        uses: body.uses,
        about: body
            .about
            .as_deref()
            .map(|text| EventId::parse(text).ok_or_else(|| Problem::value("`about` is not an event id", "write it as it was answered, `ev_42`")))
            .transpose()?,
        idempotency_key: call.idempotency_key.clone(),
    })
}

fn read_notice(vocabulary: &Vocabulary, notice: NoticeBody) -> Result<Notice, Problem> {
    Ok(Notice {
        id: notice.id,
        version: notice.version,
        purposes: purposes(vocabulary, notice.purposes)?,
        categories: categories(vocabulary, notice.categories)?,
        recipients: recipients(vocabulary, notice.recipients)?,
    })
}

fn activity(call: &Call, id: &str) -> Result<ActivityKey, Problem> {
    let known = call.state.instance.activities().iter().map(|activity| activity.id).find(|key| key.as_str() == id);
    known.ok_or_else(|| Problem::value("`activity` is not declared", "see `/v1/activities`"))
}

/// Names of the catalogue; a word from outside is looked up, never added.
fn names<T>(field: &str, list: Option<Vec<String>>, known: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Problem> {
    let unknown = || Problem::value(format!("`{field}` holds a name that is not in the catalogue"), "see `/v1/purposes` and `/v1/categories`");
    list.unwrap_or_default().iter().map(|text| known(text).ok_or_else(unknown)).collect()
}

pub(super) fn purposes(vocabulary: &Vocabulary, list: Option<Vec<String>>) -> Result<Vec<Purpose>, Problem> {
    names("purposes", list, |text| vocabulary.purpose(text))
}

pub(super) fn categories(vocabulary: &Vocabulary, list: Option<Vec<String>>) -> Result<Vec<Category>, Problem> {
    names("categories", list, |text| vocabulary.category(text))
}

pub(super) fn recipients(vocabulary: &Vocabulary, list: Option<Vec<String>>) -> Result<Vec<Department>, Problem> {
    names("recipients", list, |text| vocabulary.department(text))
}

pub(super) fn channels(list: Option<Vec<String>>) -> Result<Vec<Channel>, Problem> {
    names("channels", list, Channel::parse)
}

pub(super) fn channel(text: Option<&str>) -> Result<Channel, Problem> {
    Ok(word("channel", text, Channel::parse, &words(Channel::ALL, Channel::as_str))?.unwrap_or(Channel::System))
}

pub(super) fn author(text: Option<&str>) -> Result<Author, Problem> {
    Ok(word("author", text, Author::parse, &["customer", "guardian", "staff", "system"])?.unwrap_or(Author::Customer))
}

pub(super) fn evidence(list: Option<Vec<EvidenceBody>>) -> Result<BTreeMap<String, String>, Problem> {
    let mut found = BTreeMap::new();
    for piece in list.unwrap_or_default() {
        if piece.kind.trim().is_empty() || found.insert(piece.kind, piece.reference).is_some() {
            return Err(Problem::value("`evidence` names a kind twice or not at all", "name each kind once"));
        }
    }
    Ok(found)
}

pub(super) fn time(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let parse = |text: &str| {
        text.parse::<Timestamp>().map_err(|_other| Problem::value(format!("`{field}` is not a time"), "write `2026-07-24T10:00:00+02:00`"))
    };
    text.map(parse).transpose()
}

pub(super) fn period(field: &str, text: Option<&str>) -> Result<Option<SpanFieldwise>, Problem> {
    let parse = |text: &str| {
        let span = text.parse::<Span>().ok().filter(|span| span.is_positive());
        span.map(Span::fieldwise).ok_or_else(|| Problem::value(format!("`{field}` is not a period"), "write an ISO 8601 duration, e.g. `P24M`"))
    };
    text.map(parse).transpose()
}

pub(super) fn words<T: Copy>(all: &[T], text: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|word| text(*word)).collect()
}

fn current(call: &Call) -> Result<Reply, Problem> {
    let text = call.query.get("party").ok_or_else(|| Problem::invalid("`party` is missing"))?;
    let view = find(call, text)?;
    let found = call.state.ledger.effective(&reference(call, text)?, Asked::default(), AsOf::default()).map_err(|error| consent_problem(&error))?;
    let (page, next) = page(call, &found.rows, effective_json)?;
    call.record_query(Some(view.no), page.len())?;
    Ok(Reply::ok(&json!({ "party": view.id.0, "stops": view.stops, "consents": page, "next": next })).revision(found.revision.0))
}

fn history(call: &Call) -> Result<Reply, Problem> {
    let party = reference(call, call.param(0)?)?;
    let rows = call.state.ledger.history(&party).map_err(|error| consent_problem(&error))?;
    // An id may have a history before it has a customer.
    let view = call.state.ledger.show_party(&party).ok();
    let full = call.sees_identifiers();
    let (page, next) = page(call, &rows, |row| history_json(row, full))?;
    call.record_query(view.as_ref().map(|view| view.no), page.len())?;
    Ok(Reply::ok(&json!({ "party": view.map(|view| view.id.0), "events": page, "next": next })))
}

/// One page of a list; the cursor is where the page before ended.
pub(super) fn page<T>(call: &Call, rows: &[T], render: impl Fn(&T) -> Value) -> Result<(Vec<Value>, Option<String>), Problem> {
    let limit = call.query.parsed::<usize>("limit", "a number")?.unwrap_or(PAGE_DEFAULT);
    if limit == 0 || limit > PAGE_MAX {
        return Err(Problem::invalid(format!("`limit` must be 1 to {PAGE_MAX}")));
    }
    let start = call.query.parsed::<usize>("cursor", "the `next` of a page")?.unwrap_or(0);
    let page: Vec<Value> = rows.iter().skip(start).take(limit).map(render).collect();
    let end = start.saturating_add(page.len());
    Ok((page, (end < rows.len()).then(|| end.to_string())))
}

/// One use and its state.
pub(super) fn effective_json(row: &EffectiveRow) -> Value {
    let overridden: Vec<String> = row.consent.overridden.iter().map(ToString::to_string).collect();
    json!({
        "purpose": row.purpose.as_str(), "category": row.category.as_str(), "recipient": row.recipient.as_str(), "channel": row.channel.as_str(),
        "stop": row.stop, "status": row.consent.status.as_str(), "state": row.consent.state.as_str(), "explicit": row.consent.explicit,
        "event": row.consent.event.map(|event| event.to_string()), "overridden": overridden, "rule": row.consent.rule.as_str(), "conflict": row.consent.conflict,
    })
}

/// One event; the identifier as given is masked unless `full`.
pub(super) fn history_json(row: &HistoryRow, full: bool) -> Value {
    let event = &row.event;
    let texts = |list: &[EventId]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (kind, what) = what_json(&event.what);
    json!({
        "event": event.id.to_string(), "revision": event.revision.0, "identifier": shown(&event.identifier, full), "kind": kind, "what": what,
        "event_time": event.event_time.map(|t| t.to_string()), "record_time": event.record_time.to_string(),
        "channel": event.channel.as_str(), "captured_by": event.captured_by, "method": event.method.as_str(), "author": event.author.as_str(),
        "evidence": event.evidence, "source_system": event.source_system,
        "overridden_by": texts(&row.overridden_by), "lifted_by": texts(&row.lifted_by),
    })
}

fn what_json(what: &What) -> (&'static str, Value) {
    match what {
        What::Consent(consent) => (
            "consent",
            json!({
                "state": consent.state.as_str(), "purposes": texts(&consent.purposes, |p| p.0),
                "activity": consent.activity.map(ActivityKey::as_str),
                "notice": consent.notice.as_ref().map(|n| json!({ "id": n.id, "version": n.version })),
                "scope": scope_json(&consent.scope), "expires": consent.expires.map(|t| t.to_string()),
                "until": consent.until, "uses": consent.uses, "about": consent.about.map(|e| e.to_string()),
            }),
        ),
        What::Stop(stop) => (
            "stop",
            json!({
                "kind": stop.kind.as_str(), "purposes": texts(&stop.purposes, |p| p.0), "scope": scope_json(&stop.scope), "reason": stop.reason,
            }),
        ),
        What::Lift { stop, reason } => ("lift", json!({ "stop": stop.to_string(), "reason": reason })),
        What::Delegation(delegation) => (
            "delegation",
            json!({
                "holder": delegation.holder.as_str(), "purposes": texts(&delegation.purposes, |p| p.0),
                "until": delegation.until.map(|t| t.to_string()),
            }),
        ),
        What::Occurrence(name) => ("occurrence", json!({ "name": name })),
    }
}

fn scope_json(scope: &Scope) -> Value {
    json!({
        "categories": texts(&scope.categories, |c| c.0),
        "recipients": texts(&scope.recipients, |r| r.0),
        "channels": scope.channels.iter().map(|c| c.as_str()).collect::<Vec<_>>(),
    })
}

pub(super) fn texts<T: Copy>(list: &[T], name: impl Fn(T) -> Name) -> Vec<&'static str> {
    list.iter().map(|item| name(*item).as_str()).collect()
}

/// An identifier for those who may see it; for others only its system.
pub(super) fn shown(identifier: &Identifier, full: bool) -> String {
    if full { identifier.to_string() } else { format!("{}:…", identifier.space) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_confirms_nothing_without_the_token() {
        let id = Identifier { space: crate::model::Space::intern("crm"), value: "1".to_owned() };
        let mut draft = EventDraft::new(id, Purpose::intern("marketing.email"), State::Given);
        assert!(confirms_by_token(true, &draft).is_ok());
        draft.about = Some(EventId(7));
        assert!(confirms_by_token(true, &draft).is_err());
        assert!(confirms_by_token(false, &draft).is_ok(), "the desk");
        draft.state = State::Invalidated;
        assert!(confirms_by_token(true, &draft).is_ok());
    }
}
