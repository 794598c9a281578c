//! `/v1/parties`: customers, their ids in the departments' systems, facts, the effective consent state, erasure.
//! Identifiers are shown in full to the consent desk only; everybody else sees that there is one, and in which system.

use http::StatusCode;
use serde_json::{Value, json};

use super::again;
use super::consents::{self, effective_json};
use super::dispatch::{Access, Call, Caller, Param, Reply, Route, Takes, parse_json};
use super::problem::Problem;
use super::record::{Weight, consent_problem};
use super::role::AdminRole;
use super::schema::body;
use super::stops;
use crate::consent::{AsOf, Asked, Assurance, Capturer, Done, FactsDraft, ImportReport, PartyKind, PartyRef, PartyView, StopDraft, StopKind};
use crate::model::{Age, PartyNo, Revision, Segment, Stage};

pub(super) const DESK: Access = Access::Roles(&[AdminRole::ConsentDesk]);
pub(super) const DESK_AND_AUDITOR: Access = Access::Roles(&[AdminRole::ConsentDesk, AdminRole::Auditor]);

pub(super) const PAGING: [Param; 2] =
    [Param { name: "limit", about: "1 to 1000, 100 without it" }, Param { name: "cursor", about: "`next` of the page before" }];

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/parties", "parties.import", DESK, "Create one customer (JSON) or import many (NDJSON, CSV); known ones are completed", import)
        .query(&[Param { name: "dry_run", about: "`true`: say what would be done and do nothing" }])
        .takes(Takes::Bulk(&PartyBody::SCHEMA))
        .again(imported_again),
    Route::get("/v1/parties/{id}", "parties.show", DESK_AND_AUDITOR, "One customer: ids, facts, stops, merges", show),
    Route::get(
        "/v1/parties/{id}/identifiers",
        "identifiers.list",
        DESK_AND_AUDITOR,
        "The ids of a customer in the departments' systems",
        identifiers,
    ),
    Route::post(
        "/v1/parties/{id}/identifiers",
        "identifiers.link",
        DESK,
        "Link an id to a customer; stops kept under it attach, grants do not",
        link,
    )
    .takes(Takes::Json(&LinkBody::SCHEMA))
    .again(linked_again),
    Route::put("/v1/parties/{id}/facts", "facts.put", DESK, "Put facts about a customer; what is left out stays", put_facts)
        .takes(Takes::Json(&FactsBody::SCHEMA))
        .again(facts_again),
    Route::get("/v1/parties/{id}/effective", "effective", DESK_AND_AUDITOR, "What the customer allows now, use by use", effective).query(&[
        Param { name: "purpose", about: "only this purpose, whether or not anything was said about it" },
        Param { name: "category", about: "only this category" },
        Param { name: "recipient", about: "only this department" },
        Param { name: "at", about: "what was the case then, e.g. `2026-07-24T10:00:00+02:00`; now without it" },
        Param { name: "known_at", about: "as far as was known then; now without it" },
    ]),
    Route::post(
        "/v1/parties/{id}:kind",
        "parties.kind",
        DESK,
        "Correct what a customer is; who ever spoke as a person becomes no organisation",
        kind,
    )
    .takes(Takes::Json(&KindBody::SCHEMA))
    .again(kind_again),
    Route::post("/v1/parties/{id}:erase", "parties.erase", DESK, "Erase a customer (GDPR Art. 17): never lifted, never taken in again", erase)
        .takes(Takes::Json(&EraseBody::SCHEMA))
        .again(again::event),
];

body! {
    /// A customer to create or to complete.
    PartyBody {
        /// `<space>:<value>`, at least one.
        identifiers: Vec<String> = "string[]" required,
        /// person (without it), business-contact, prospect, device or organisation, which is no data subject and needs no consent.
        kind: Option<String> = "string" optional,
        /// anonymous, lead, opportunity, customer or churned.
        stage: Option<String> = "string" optional,
        /// standard, key-account, vip or vulnerable.
        segment: Option<String> = "string" optional,
        /// adult, minor or unknown.
        age: Option<String> = "string" optional,
        /// Data is needed for a legal claim.
        legal_hold: Option<bool> = "boolean" optional,
    }
}

body! {
    /// An id of a customer in one system.
    LinkBody {
        /// `<space>:<value>`.
        identifier: String = "string" required,
        /// asserted (default), matched (carries stops, never grants) or verified.
        assurance: Option<String> = "string" optional,
    }
}

body! {
    /// Facts that policies look at.
    FactsBody {
        /// The system or person that says so.
        source: String = "string" required,
        /// anonymous, lead, opportunity, customer or churned.
        stage: Option<String> = "string" optional,
        /// standard, key-account, vip or vulnerable.
        segment: Option<String> = "string" optional,
        /// adult, minor or unknown.
        age: Option<String> = "string" optional,
        /// When a minor comes of age; until then they count as a minor.
        adult_from: Option<String> = "timestamp" optional,
        /// Data is needed for a legal claim.
        legal_hold: Option<bool> = "boolean" optional,
        /// Since when it is so; now without it.
        time: Option<String> = "timestamp" optional,
    }
}

body! {
    /// What a customer is.
    KindBody {
        /// person, business-contact, prospect or organisation.
        kind: String = "string" required,
        /// Why it is corrected.
        reason: String = "string" required,
    }
}

body! {
    /// Why a customer is erased.
    EraseBody {
        /// The customer's request or the reason.
        reason: String = "string" required,
    }
}

/// Reads `party:<id>` or `<space>:<value>`; the refusal does not repeat the value.
pub(super) fn reference(call: &Call, text: &str) -> Result<PartyRef, Problem> {
    PartyRef::parse(text, &|space, value| call.state.instance.identifier(space, value))
        .map_err(|what| Problem::value(what, "write `party:<id>` or `<space>:<value>` with a declared id space"))
}

pub(super) fn find(call: &Call, text: &str) -> Result<PartyView, Problem> {
    call.state.ledger.show_party(&reference(call, text)?).map_err(|error| consent_problem(&error))
}

/// Whom a change was about that was made before.
pub(super) fn subject(call: &Call, done: &Done) -> Result<PartyRef, Problem> {
    done.party.map(|no| PartyRef::Party(call.state.ledger.party_id(no))).ok_or_else(again::unreadable)
}

/// Staff as the ledger knows them.
pub(super) fn capturer(call: &Call) -> Capturer {
    match &call.caller {
        Caller::App(app) => Capturer::Client(app.client),
        Caller::Staff(_) | Caller::Anybody => Capturer::Staff { pseudonym: call.actor().to_owned() },
    }
}

/// A word of a closed vocabulary.
pub(super) fn word<T>(field: &str, text: Option<&str>, parse: impl Fn(&str) -> Option<T>, words: &[&str]) -> Result<Option<T>, Problem> {
    text.map(|text| parse(text).ok_or_else(|| Problem::value(format!("`{field}` is not a declared word"), format!("use {}", words.join(", ")))))
        .transpose()
}

fn import(call: &Call) -> Result<Reply, Problem> {
    let dry_run = call.query.parsed::<bool>("dry_run", "`true` or `false`")?.unwrap_or(false);
    call.may_write(Weight::Opens)?;
    let single = call.content_type == "application/json";
    let (rows, first) = if single { single_row(&call.body)? } else { (call.body.to_vec(), String::new()) };
    let normalise = |space: &str, value: &str| call.state.instance.identifier(space, value);
    let imported = call.state.ledger.import_parties(rows.as_slice(), dry_run, &normalise, &mut |_rows| {}, call.idempotency_key.as_ref());
    // An import that stops half way has stored its first rows: those are recorded even so.
    let status = if imported.is_ok() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let revision = call.state.ledger.revision();
    call.record_write(Weight::Opens, None, Some(revision), status)?;
    let report = imported.map_err(|error| consent_problem(&error))?;
    imported_reply(call, &report, single.then_some(first.as_str()), dry_run, revision)
}

fn imported_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    let report = ImportReport::read(done).ok_or_else(again::unreadable)?;
    let first = if call.content_type == "application/json" { Some(single_row(&call.body)?.1) } else { None };
    call.record_write(Weight::Opens, None, Some(done.revision), StatusCode::OK)?;
    imported_reply(call, &report, first.as_deref(), false, done.revision)
}

/// `single` is the first id of a customer who was sent alone.
fn imported_reply(call: &Call, report: &ImportReport, single: Option<&str>, dry_run: bool, revision: Revision) -> Result<Reply, Problem> {
    if let Some(first) = single {
        if let Some(error) = report.errors.first() {
            return Err(Problem::value(error.message.clone(), "correct the member and repeat"));
        }
        if !dry_run {
            let view = find(call, first)?;
            let status = if report.created > 0 { StatusCode::CREATED } else { StatusCode::OK };
            return Ok(Reply::json(status, &view_json(&view, call.sees_identifiers())).revision(revision.0));
        }
    }
    let errors: Vec<Value> = report.errors.iter().map(|error| json!({ "line": error.line, "message": error.message })).collect();
    let document = json!({
        "dry_run": dry_run, "created": report.created, "linked": report.linked, "unchanged": report.unchanged, "facts": report.facts,
        "errors": errors, "errors_left_out": report.errors_left_out, "revision": revision.0,
    });
    Ok(Reply::ok(&document).revision(revision.0))
}

/// One customer as the row of an import, with its first id.
fn single_row(bytes: &[u8]) -> Result<(Vec<u8>, String), Problem> {
    let body: PartyBody = parse_json(bytes)?;
    let first = body.identifiers.first().cloned().ok_or_else(|| Problem::value("`identifiers` is empty", "name at least one `<space>:<value>`"))?;
    let given = [
        ("identifiers", Some(json!(body.identifiers))),
        ("kind", body.kind.map(Value::from)),
        ("stage", body.stage.map(Value::from)),
        ("segment", body.segment.map(Value::from)),
        ("age", body.age.map(Value::from)),
        ("legal_hold", body.legal_hold.map(Value::from)),
    ];
    let row: serde_json::Map<String, Value> = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Ok((Value::Object(row).to_string().into_bytes(), first))
}

fn show(call: &Call) -> Result<Reply, Problem> {
    let view = find(call, call.param(0)?)?;
    call.record_query(Some(view.no), 1)?;
    Ok(Reply::ok(&view_json(&view, call.sees_identifiers())).revision(call.state.ledger.revision().0))
}

fn identifiers(call: &Call) -> Result<Reply, Problem> {
    let view = find(call, call.param(0)?)?;
    call.record_query(Some(view.no), view.links.len())?;
    Ok(Reply::ok(&json!({ "party": view.id.0, "identifiers": links_json(&view, call.sees_identifiers()) })))
}

fn link(call: &Call) -> Result<Reply, Problem> {
    let body: LinkBody = call.json()?;
    let party = reference(call, call.param(0)?)?;
    let PartyRef::Identifier(identifier) = reference(call, &body.identifier)? else {
        return Err(Problem::value("`identifier` must be `<space>:<value>`", "name the id in its system, not `party:<id>`"));
    };
    let assurance = word("assurance", body.assurance.as_deref(), Assurance::parse, &["asserted", "matched", "verified"])?;
    call.may_write(Weight::Opens)?;
    let linked = call.state.ledger.link(&party, &identifier, assurance.unwrap_or(Assurance::Asserted), call.by(&capturer(call)));
    let revision = linked.map_err(|error| consent_problem(&error))?;
    with_links(call, &party, revision)
}

fn linked_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    with_links(call, &subject(call, done)?, done.revision)
}

fn with_links(call: &Call, party: &PartyRef, revision: Revision) -> Result<Reply, Problem> {
    let view = call.state.ledger.show_party(party).map_err(|error| consent_problem(&error))?;
    call.record_write(Weight::Opens, Some(view.no), Some(revision), StatusCode::CREATED)?;
    Ok(Reply::created(&json!({ "party": view.id.0, "identifiers": links_json(&view, true), "revision": revision.0 })).revision(revision.0))
}

fn put_facts(call: &Call) -> Result<Reply, Problem> {
    let body: FactsBody = call.json()?;
    let party = reference(call, call.param(0)?)?;
    let facts = FactsDraft {
        stage: word("stage", body.stage.as_deref(), Stage::parse, &["anonymous", "lead", "opportunity", "customer", "churned"])?,
        segment: word("segment", body.segment.as_deref(), Segment::parse, &["standard", "key-account", "vip", "vulnerable"])?,
        age: word("age", body.age.as_deref(), Age::parse, &["adult", "minor", "unknown"])?,
        adult_from: consents::time("adult_from", body.adult_from.as_deref())?,
        legal_hold: body.legal_hold,
        source: body.source,
        time: consents::time("time", body.time.as_deref())?,
        idempotency_key: call.idempotency_key.clone(),
    };
    call.may_write(Weight::Opens)?;
    let revision = call.state.ledger.put_facts(&party, &facts).map_err(|error| consent_problem(&error))?;
    with_facts(call, &party, revision)
}

fn facts_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    with_facts(call, &subject(call, done)?, done.revision)
}

fn with_facts(call: &Call, party: &PartyRef, revision: Revision) -> Result<Reply, Problem> {
    let view = call.state.ledger.show_party(party).map_err(|error| consent_problem(&error))?;
    call.record_write(Weight::Opens, Some(view.no), Some(revision), StatusCode::OK)?;
    Ok(Reply::ok(&view_json(&view, true)).revision(revision.0))
}

fn effective(call: &Call) -> Result<Reply, Problem> {
    let party = reference(call, call.param(0)?)?;
    let vocabulary = call.state.instance.vocabulary();
    let unknown = |what: &str| Problem::value(format!("`{what}` is not in the catalogue"), "see `/v1/purposes` and `/v1/categories`");
    let category = call.query.get("category").map(|c| vocabulary.category(c).ok_or_else(|| unknown("category"))).transpose()?;
    let recipient = call.query.get("recipient").map(|r| vocabulary.department(r).ok_or_else(|| unknown("recipient"))).transpose()?;
    let purpose = call.query.get("purpose").map(|p| vocabulary.purpose(p).ok_or_else(|| unknown("purpose"))).transpose()?;
    let as_of = AsOf { at: consents::time("at", call.query.get("at"))?, known_at: consents::time("known_at", call.query.get("known_at"))? };
    let asked = Asked { purpose, category, recipient };
    let found = call.state.ledger.effective(&party, asked, as_of).map_err(|error| consent_problem(&error))?;
    call.record_query(Some(found.party), found.rows.len())?;
    let uses: Vec<Value> = found.rows.iter().map(effective_json).collect();
    let id = call.state.ledger.party_id(found.party);
    let document = json!({
        "party": id.0, "stops": found.stops, "revision": found.revision.0, "uses": uses,
        "at": as_of.at.map(|t| t.to_string()), "known_at": as_of.known_at.map(|t| t.to_string()),
    });
    Ok(Reply::ok(&document).revision(found.revision.0))
}

fn kind(call: &Call) -> Result<Reply, Problem> {
    let body: KindBody = call.json()?;
    let party = reference(call, call.param(0)?)?;
    let words: Vec<&str> = PartyKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let kind = PartyKind::parse(&body.kind).ok_or_else(|| Problem::value("`kind` is not a declared word", format!("use {}", words.join(", "))))?;
    call.may_write(Weight::Opens)?;
    let changed = call.state.ledger.change_kind(&party, kind, &body.reason, call.by(&capturer(call)));
    let (no, revision) = changed.map_err(|error| consent_problem(&error))?;
    kind_reply(call, no, kind, revision)
}

fn kind_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    let body: KindBody = call.json()?;
    let kind = PartyKind::parse(&body.kind).ok_or_else(again::unreadable)?;
    kind_reply(call, done.party.ok_or_else(again::unreadable)?, kind, done.revision)
}

fn kind_reply(call: &Call, no: PartyNo, kind: PartyKind, revision: Revision) -> Result<Reply, Problem> {
    call.record_write(Weight::Opens, Some(no), Some(revision), StatusCode::OK)?;
    let id = call.state.ledger.party_id(no);
    Ok(Reply::ok(&json!({ "party": id.0, "kind": kind.as_str(), "revision": revision.0 })).revision(revision.0))
}

fn erase(call: &Call) -> Result<Reply, Problem> {
    let body: EraseBody = call.json()?;
    let mut draft = StopDraft::new(reference(call, call.param(0)?)?, StopKind::Erasure);
    draft.reason = Some(body.reason);
    stops::add(call, draft)
}

/// A customer without values of identifiers unless `full`.
pub(super) fn view_json(view: &PartyView, full: bool) -> Value {
    let facts: Vec<Value> = view
        .facts
        .iter()
        .map(|fact| {
            let (name, value) = (fact.value.name().as_str(), fact.value.text());
            json!({ "name": name, "value": value, "source": fact.source, "time": fact.time.to_string() })
        })
        .collect();
    let merges: Vec<Value> = view
        .merges
        .iter()
        .map(|merge| {
            json!({
                "from": merge.from.0, "into": merge.into.0, "time": merge.time.to_string(), "reason": merge.reason, "source": merge.source,
                "revision": merge.revision.0, "undone": merge.undone.map(|split| split.0),
            })
        })
        .collect();
    json!({
        "party": view.id.0, "kind": view.kind.as_str(), "revision": view.revision.0, "facts": facts, "stops": view.stops,
        "is_erased": view.is_erased, "identifiers": links_json(view, full), "merges": merges,
    })
}

fn links_json(view: &PartyView, full: bool) -> Vec<Value> {
    let link = |link: &crate::consent::LinkView| {
        json!({
            "space": link.identifier.space.as_str(), "identifier": consents::shown(&link.identifier, full), "assurance": link.assurance.as_str(),
            "valid_from": link.valid_from.to_string(), "source": link.source, "merged_from": link.merged_from.as_ref().map(|id| id.0.as_str()),
        })
    };
    view.links.iter().map(link).collect()
}
