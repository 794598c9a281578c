//! `/v1/parties/{id}:merge`, `:split`, `:hold`, `:release` and `/v1/gaps`: one customer across systems. A merge binds what
//! either side refused to both at once; a split gives each side what its own ids said, and says what went out across the
//! wrong link meanwhile.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::again;
use super::consents;
use super::decisions::searched;
use super::dispatch::{Access, Call, Reply, Route, Takes};
use super::parties::{DESK, capturer, find, reference};
use super::problem::Problem;
use super::recipients::{disclosed, disclosure_json};
use super::record::{Weight, consent_problem};
use super::role::AdminRole;
use super::schema::body;
use crate::consent::{AsOf, Asked, Done, KNOWN_BEFORE, MergeDraft, PartyRef, Split, SplitOff};
use crate::model::{PartyNo, Purpose, Revision};

const DESK_AND_OPERATOR: Access = Access::Roles(&[AdminRole::ConsentDesk, AdminRole::Operator]);

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/parties/{id}:merge", "parties.merge", DESK, "Make two customers one: stops and refusals of either bind both at once", merge)
        .takes(Takes::Json(&MergeBody::SCHEMA))
        .again(merged_again),
    Route::post(
        "/v1/parties/{id}:split",
        "parties.split",
        DESK,
        "Take a merge back, or make ids a customer of their own; lists what was disclosed meanwhile",
        split,
    )
    .takes(Takes::Json(&SplitBody::SCHEMA))
    .again(split_again),
    Route::post("/v1/parties/{id}:hold", "parties.hold", DESK, "Hold data that a legal claim needs: no erasure until the release", hold)
        .takes(Takes::Json(&HoldBody::SCHEMA))
        .again(held_again),
    Route::post("/v1/parties/{id}:release", "parties.release", DESK, "Release a hold", release)
        .takes(Takes::Json(&HoldBody::SCHEMA))
        .again(released_again),
    Route::get("/v1/gaps", "gaps.list", DESK_AND_OPERATOR, "Ids that were named and that nobody is known by: counts by id space", gaps),
];

body! {
    /// Who is the same customer.
    MergeBody {
        /// Whose record goes into this one: `party:<id>` or `<space>:<value>`.
        from: String = "string" required,
        /// Since when it is known that they are one; what the customer says after it speaks for both sides. Now without it.
        time: Option<String> = "timestamp" optional,
        reason: String = "string" required,
    }
}

body! {
    /// What is taken out of a customer's record: `merged` or `identifiers`, not both.
    SplitBody {
        /// A customer who was merged into it: `party:<id>`, or one of the ids that came along.
        merged: Option<String> = "string" optional,
        /// Ids that become a new customer's, `<space>:<value>`.
        identifiers: Option<Vec<String>> = "string[]" optional,
        reason: String = "string" required,
    }
}

body! {
    /// Why data is held, or no longer.
    HoldBody {
        reason: String = "string" required,
    }
}

fn merge(call: &Call) -> Result<Reply, Problem> {
    let body: MergeBody = call.json()?;
    let (into, from) = (reference(call, call.param(0)?)?, reference(call, &body.from)?);
    if into == from {
        return Err(Problem::value("a customer cannot be merged with itself", "name the other one in `from`"));
    }
    let time = consents::time("time", body.time.as_deref())?;
    call.may_write(Weight::Opens)?;
    let known_before = find(call, call.param(0)?)?.no == find(call, &body.from)?.no;
    let merged = call.state.ledger.merge(&MergeDraft { into, from, time, reason: body.reason }, call.by(&capturer(call)));
    let (no, revision) = merged.map_err(|error| consent_problem(&error))?;
    merged_reply(call, no, revision, known_before, AsOf::default())
}

fn merged_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    let no = done.party.ok_or_else(again::unreadable)?;
    // As it was then: the customer may have said more since.
    let then = AsOf { at: Some(done.at), known_at: Some(done.at) };
    merged_reply(call, no, done.revision, done.detail.as_deref() == Some(KNOWN_BEFORE), then)
}

fn merged_reply(call: &Call, no: PartyNo, revision: Revision, known_before: bool, as_of: AsOf) -> Result<Reply, Problem> {
    call.record_write(Weight::Opens, Some(no), Some(revision), StatusCode::OK)?;
    let party = PartyRef::Party(call.state.ledger.party_id(no));
    let found = call.state.ledger.effective(&party, Asked::default(), as_of).map_err(|error| consent_problem(&error))?;
    let mut conflicts: Vec<Purpose> = found.rows.iter().filter(|row| row.consent.conflict).map(|row| row.purpose).collect();
    conflicts.sort_by_key(|purpose| purpose.as_str());
    conflicts.dedup();
    let conflicts: Vec<&str> = conflicts.into_iter().map(|purpose| purpose.as_str()).collect();
    let document = json!({
        "party": call.state.ledger.party_id(no).0, "revision": revision.0, "known_before": known_before, "stops": found.stops, "conflicts": conflicts,
    });
    Ok(Reply::ok(&document).revision(revision.0))
}

fn split(call: &Call) -> Result<Reply, Problem> {
    let body: SplitBody = call.json()?;
    let party = reference(call, call.param(0)?)?;
    let off = split_off(call, body.merged, body.identifiers)?;
    call.may_write(Weight::Opens)?;
    let split = call.state.ledger.split(&party, &off, &body.reason, call.by(&capturer(call))).map_err(|error| consent_problem(&error))?;
    split_reply(call, &split, None)
}

fn split_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    split_reply(call, &Split::read(done).ok_or_else(again::unreadable)?, Some(done.at))
}

/// With what was disclosed across the wrong link until it was split.
fn split_reply(call: &Call, split: &Split, until: Option<Timestamp>) -> Result<Reply, Problem> {
    call.record_write(Weight::Opens, Some(split.stays), Some(split.revision), StatusCode::OK)?;
    let mut document = json!({
        "stays": call.state.ledger.party_id(split.stays).0, "leaves": call.state.ledger.party_id(split.leaves).0,
        "revision": split.revision.0, "since": split.since.to_string(),
    });
    // The split stands, whether or not the log can be read.
    let more = match across(call, split, until) {
        Ok((disclosed, entry)) => [("disclosed", json!(disclosed)), ("entry", json!(entry))],
        Err(_unreadable) => {
            let note = "split, but the decision log cannot be searched; ask `/v1/parties/{id}/recipients` of both sides for what was disclosed";
            [("disclosed", Value::Null), ("note", json!(note))]
        }
    };
    if let Some(members) = document.as_object_mut() {
        members.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    Ok(Reply::ok(&document).revision(split.revision.0))
}

fn split_off(call: &Call, merged: Option<String>, identifiers: Option<Vec<String>>) -> Result<SplitOff, Problem> {
    match (merged, identifiers) {
        (Some(merged), None) => Ok(SplitOff::Merged(reference(call, &merged)?)),
        (None, Some(texts)) => {
            let identifier = |text: &String| match reference(call, text)? {
                PartyRef::Identifier(identifier) => Ok(identifier),
                PartyRef::Party(_) => Err(Problem::value("`identifiers` holds a `party:<id>`", "use `merged` to take a merge back")),
            };
            Ok(SplitOff::Identifiers(texts.iter().map(identifier).collect::<Result<_, _>>()?))
        }
        (Some(_), Some(_)) | (None, None) => {
            Err(Problem::value("`merged` or `identifiers` is needed, not both", "name the merged customer, or the ids that are split off"))
        }
    }
}

/// What was disclosed about either side since they were one record, with the entry of this search.
fn across(call: &Call, split: &Split, until: Option<Timestamp>) -> Result<(Vec<Value>, String), Problem> {
    let mut rows = Vec::new();
    for side in [split.stays, split.leaves] {
        let found = searched(call, |index| disclosed(index, &[side], Some(split.since), until))?;
        rows.extend(found.iter().map(|row| {
            let mut row = disclosure_json(call, row);
            if let Some(members) = row.as_object_mut() {
                members.insert("party".to_owned(), json!(call.state.ledger.party_id(side).0));
            }
            row
        }));
    }
    let entry = call.record_query(Some(split.stays), rows.len())?;
    Ok((rows, entry))
}

fn hold(call: &Call) -> Result<Reply, Problem> {
    put_hold(call, true)
}

fn release(call: &Call) -> Result<Reply, Problem> {
    put_hold(call, false)
}

fn put_hold(call: &Call, is_held: bool) -> Result<Reply, Problem> {
    let body: HoldBody = call.json()?;
    call.may_write(Weight::Opens)?;
    let view = find(call, call.param(0)?)?;
    let party = PartyRef::Party(view.id);
    let held = call.state.ledger.hold(&party, is_held, &body.reason, call.by(&capturer(call)));
    hold_reply(call, view.no, is_held, held.map_err(|error| consent_problem(&error))?)
}

fn held_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    hold_reply(call, done.party.ok_or_else(again::unreadable)?, true, done.revision)
}

fn released_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    hold_reply(call, done.party.ok_or_else(again::unreadable)?, false, done.revision)
}

fn hold_reply(call: &Call, no: PartyNo, is_held: bool, revision: Revision) -> Result<Reply, Problem> {
    call.record_write(Weight::Opens, Some(no), Some(revision), StatusCode::OK)?;
    Ok(Reply::ok(&json!({ "party": call.state.ledger.party_id(no).0, "is_held": is_held, "revision": revision.0 })).revision(revision.0))
}

fn gaps(call: &Call) -> Result<Reply, Problem> {
    let found = call.state.ledger.gaps().map_err(|error| consent_problem(&error.into()))?;
    call.record_query(None, found.len())?;
    let gaps: Vec<Value> =
        found.iter().map(|gap| json!({ "space": gap.space.as_str(), "requests": gap.requests, "ids": gap.ids, "waiting": gap.waiting })).collect();
    Ok(Reply::ok(&json!({ "gaps": gaps })))
}
