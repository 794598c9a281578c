//! `/v1/conflicts`: where systems say different things about a customer, who says what, what holds and by which rule; and the way
//! to have the customer asked. Customers appear by their public id only.

use http::StatusCode;
use serde_json::{Value, json};

use super::again;
use super::consents;
use super::dispatch::{Call, Param, Reply, Route, Takes};
use super::parties::{DESK, DESK_AND_AUDITOR, PAGING, capturer, reference, word};
use super::problem::{Code, Problem};
use super::record::{Weight, consent_problem};
use super::reports::csv_cell;
use super::schema::body;
use crate::consent::{ConflictFilter, Contested, Disagreement, EventDraft, State, Voice, Word};
use crate::model::{Author, EventId, PartyNo, Purpose, Revision};

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/v1/conflicts", "conflicts.list", DESK_AND_AUDITOR, "Where systems disagree about customers, by customer", list).query(&[
        Param { name: "purpose", about: "only this purpose and what is below it" },
        Param { name: "system", about: "only where this system has a say" },
        Param { name: "unsettled", about: "`true`: only what the customer has not settled" },
        Param { name: "merged", about: "`true`: only what is closed because merged customers said differently" },
        Param { name: "since", about: "only customers who changed after this revision" },
        Param { name: "format", about: "json, ndjson or csv (a line for each system); where to go on stands in `consentry-next`" },
        PAGING[0],
        Param { name: "cursor", about: "`next` of the page before; a page may be empty and still have one" },
    ]),
    Route::post(
        "/v1/conflicts/{id}:ask",
        "conflicts.ask",
        DESK,
        "Have the customer asked about a purpose: recorded as `requested`, and told to whoever follows the changes",
        ask,
    )
    .takes(Takes::Json(&AskBody::SCHEMA))
    .again(again::event),
];

body! {
    /// What a customer is to be asked.
    AskBody {
        /// The purpose about which systems disagree.
        purpose: String = "string" required,
        /// How they are to be asked: email, sms, post, phone, push, in-person or system (default).
        channel: Option<String> = "string" optional,
        /// Why; kept as evidence.
        reason: Option<String> = "string" optional,
    }
}

#[derive(Clone, Copy)]
enum Format {
    Json,
    Ndjson,
    Csv,
}

impl Format {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "json" => Some(Self::Json),
            "ndjson" => Some(Self::Ndjson),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

fn list(call: &Call) -> Result<Reply, Problem> {
    let ledger = &call.state.ledger;
    let format = word("format", call.query.get("format"), Format::parse, &["json", "ndjson", "csv"])?.unwrap_or(Format::Json);
    let limit = call.query.parsed::<usize>("limit", "a number")?.unwrap_or(PAGE_DEFAULT);
    if limit == 0 || limit > PAGE_MAX {
        return Err(Problem::invalid(format!("`limit` must be 1 to {PAGE_MAX}")));
    }
    let after = call.query.parsed::<u64>("cursor", "the `next` of a page")?.map(PartyNo);
    let page = ledger.conflicts(&filter(call)?, after, limit).map_err(|error| consent_problem(&error))?;
    let found = page.conflicts.iter().map(|contested| conflict_json(call, contested)).collect::<Result<Vec<_>, _>>()?;
    call.record_query(None, found.len())?;
    let next = page.next.map(|no| no.0.to_string());
    let reply = match format {
        Format::Json => Reply::ok(&json!({ "conflicts": found, "next": next })),
        Format::Ndjson => Reply::text("application/x-ndjson", found.iter().map(|line| format!("{line}\n")).collect()),
        Format::Csv => {
            // The head stands above the first page only, so that pages can be put together.
            let head = after.is_none().then(|| CONFLICTS_CSV_HEAD.to_owned());
            Reply::text("text/csv; charset=utf-8", head.into_iter().chain(found.iter().map(conflict_csv)).collect())
        }
    };
    Ok(reply.next(next).revision(ledger.revision().0))
}

fn filter(call: &Call) -> Result<ConflictFilter, Problem> {
    let flag = |name: &str| Ok::<_, Problem>(call.query.parsed::<bool>(name, "`true` or `false`")?.unwrap_or(false));
    Ok(ConflictFilter {
        purpose: call.query.get("purpose").map(|text| purpose(call, text)).transpose()?,
        system: call.query.get("system").map(str::to_owned),
        unsettled: flag("unsettled")?,
        merged: flag("merged")?,
        since: call.query.parsed::<u64>("since", "a revision")?.map(Revision),
    })
}

fn purpose(call: &Call, text: &str) -> Result<Purpose, Problem> {
    let known = call.state.instance.vocabulary().purpose(text);
    known.ok_or_else(|| Problem::value("`purpose` is not in the catalogue", "see `/v1/purposes`"))
}

fn conflict_json(call: &Call, contested: &Contested) -> Result<Value, Problem> {
    let Disagreement { purpose, category, recipient, channel, voices, stop, holds, settled, asked } = &contested.disagreement;
    let says = voices.iter().map(|voice| voice_json(call, voice)).collect::<Result<Vec<_>, _>>()?;
    let overridden: Vec<String> = holds.overridden.iter().map(ToString::to_string).collect();
    Ok(json!({
        "party": call.state.ledger.party_id(contested.party).0, "purpose": purpose.as_str(), "category": category.as_str(),
        "recipient": recipient.as_str(), "channel": channel.as_str(), "says": says, "stop": stop, "holds": holds.state.as_str(),
        "status": holds.status.as_str(), "rule": holds.rule.as_str(), "event": holds.event.map(|event| event.to_string()),
        "overridden": overridden, "merged": holds.conflict, "settled": settled, "asked": asked.map(|event| event.to_string()),
    }))
}

fn voice_json(call: &Call, voice: &Voice<EventId>) -> Result<Value, Problem> {
    let (event, _) = call.state.ledger.event(voice.event).map_err(|error| consent_problem(&error))?;
    let says = match voice.word {
        Word::State(state) => state.as_str(),
        Word::Stop(kind) => kind.as_str(),
    };
    Ok(json!({
        "system": &*voice.system, "says": says, "event": voice.event.to_string(), "author": event.author.as_str(),
        "event_time": event.event_time.map(|t| t.to_string()), "record_time": event.record_time.to_string(),
    }))
}

fn ask(call: &Call) -> Result<Reply, Problem> {
    let body: AskBody = call.json()?;
    let party = reference(call, call.param(0)?)?;
    let purpose = purpose(call, &body.purpose)?;
    let mut draft = EventDraft::new(party.clone(), purpose, State::Requested);
    draft.claims = Author::Staff;
    draft.channel = consents::channel(body.channel.as_deref())?;
    draft.evidence.extend(body.reason.map(|reason| ("reason".to_owned(), reason)));
    draft.idempotency_key.clone_from(&call.idempotency_key);
    let found = call.state.ledger.conflicts_of(&party).map_err(|error| consent_problem(&error))?;
    if !found.iter().any(|found| found.purpose == purpose && !found.settled) {
        let refused = Problem::new(Code::Conflict, "`/v1/conflicts?unsettled=true` lists what is open");
        return Err(refused.detail("there is nothing to ask: systems agree about this purpose, or the customer has settled it"));
    }
    call.may_write(Weight::Opens)?;
    let acknowledged = call.state.ledger.record(draft, &capturer(call)).map_err(|error| consent_problem(&error))?;
    call.record_write(Weight::Opens, acknowledged.party, Some(acknowledged.revision), StatusCode::CREATED)?;
    Ok(consents::acknowledgement(call, &acknowledged, None))
}

/// The head of [`conflict_csv`]'s columns (RFC 4180).
pub const CONFLICTS_CSV_HEAD: &str = "party,purpose,category,recipient,system,says,event,event_time,record_time,author,holds,rule,holds_event,stop,overridden,merged,settled,asked\r\n";

/// A conflict of the JSON answer as lines of CSV, one for each system that has a say.
#[must_use]
pub fn conflict_csv(conflict: &Value) -> String {
    let text = |value: &Value, member: &str| match value.get(member) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        Some(Value::Null | Value::Number(_) | Value::Object(_)) | None => String::new(),
    };
    let voices = conflict.get("says").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let line = |voice: &Value| {
        let about = ["party", "purpose", "category", "recipient"].map(|member| text(conflict, member));
        let says = ["system", "says", "event", "event_time", "record_time", "author"].map(|member| text(voice, member));
        let holds = ["holds", "rule", "event", "stop", "overridden", "merged", "settled", "asked"].map(|member| text(conflict, member));
        let cells: Vec<String> = about.iter().chain(&says).chain(&holds).map(|cell| csv_cell(cell)).collect();
        format!("{}\r\n", cells.join(","))
    };
    voices.iter().map(line).collect()
}
