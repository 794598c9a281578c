//! `/v1/webhooks`: the consent desk says who is told of changes. A secret is shown in the answer that made it and never again.

use std::sync::Arc;

use aws_lc_rs::rand;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::changes::refuse_future;
use super::super::consents;
use super::super::dispatch::{Call, Reply, Route, Takes};
use super::super::parties::DESK;
use super::super::problem::{Code, Problem};
use super::super::record::{Weight, consent_problem};
use super::super::schema::body;
use super::hook::{Hook, Progress, Target};
use super::message::Secret;
use super::{Slot, behind, lock};
use crate::consent::{ChangeKind, Done};
use crate::model::Revision;

const HOOKS_MAX: usize = 64;

pub(in crate::console) const ROUTES: &[Route] = &[
    Route::get("/v1/webhooks", "webhooks.list", DESK, "Who is told of changes, and how far each has come", list),
    Route::post("/v1/webhooks", "webhooks.add", DESK, "Tell a receiver of every change; the answer alone shows the secret", add)
        .takes(Takes::Json(&WebhookBody::SCHEMA))
        .again(added_again),
    Route::delete("/v1/webhooks/{id}", "webhooks.remove", DESK, "Tell a receiver no longer", remove).again(removed_again),
    Route::post("/v1/webhooks/{id}:replay", "webhooks.replay", DESK, "Send everything after a revision again, or skip to one", replay)
        .takes(Takes::Json(&ReplayBody::SCHEMA))
        .again(replayed_again),
];

body! {
    /// A receiver of changes.
    WebhookBody {
        /// `https://host/path`; the host must stand in `[webhooks] hosts`.
        url: String = "string" required,
        /// consent, stop, lift, expiry, party, link, facts, kind, delegation, occurrence, merge, split; all without it.
        kinds: Option<Vec<String>> = "string[]" optional,
        /// Only changes about these purposes, those above and below them, and those that cover or name none; all without it.
        purposes: Option<Vec<String>> = "string[]" optional,
        /// A revision, after which everything is sent (0: from the beginning), or `now`, which it is without it.
        from: Option<From> = "revision" optional,
    }
}

body! {
    /// From where a webhook goes on.
    ReplayBody {
        /// A revision, after which everything is sent (0: from the beginning), or `now`.
        from: From = "revision" required,
    }
}

#[derive(Clone, serde::Deserialize)]
#[serde(untagged)]
pub(in crate::console) enum From {
    Revision(u64),
    Word(String),
}

impl From {
    fn revision(&self, call: &Call) -> Result<Revision, Problem> {
        let now = call.state.ledger.revision();
        match self {
            Self::Revision(revision) => refuse_future(&call.state.ledger, Revision(*revision)).map(|()| Revision(*revision)),
            Self::Word(word) if word == "now" => Ok(now),
            Self::Word(_) => Err(Problem::value("`from` is neither a revision nor `now`", "write a number, or `now`")),
        }
    }
}

fn list(call: &Call) -> Result<Reply, Problem> {
    let revision = call.state.ledger.revision();
    let hooks: Vec<Value> = call.state.webhooks.all().iter().map(|slot| slot_json(slot, revision)).collect();
    Ok(Reply::ok(&json!({ "webhooks": hooks, "revision": revision.0 })).revision(revision.0))
}

fn add(call: &Call) -> Result<Reply, Problem> {
    let body: WebhookBody = call.json()?;
    let hook = wanted(call, &body)?;
    let from = body.from.as_ref().map_or(Ok(call.state.ledger.revision()), |from| from.revision(call))?;
    call.may_write(Weight::Opens)?;
    let webhooks = &call.state.webhooks;
    let one = lock(&webhooks.editing);
    if webhooks.all().len() >= HOOKS_MAX {
        return Err(Problem::new(Code::Conflict, "remove one first").detail(format!("there are {HOOKS_MAX} webhooks, more cannot be")));
    }
    let progress = Progress { after: from, ..Progress::default() };
    webhooks.add(hook.clone(), progress, call.idempotency_key.as_ref()).map_err(|error| consent_problem(&error))?;
    drop(one);
    added(call, &hook, from)
}

/// The answer to the first try was lost: the secret is shown once more, to whoever holds the key.
fn added_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    let slot = done.detail.as_deref().and_then(|id| call.state.webhooks.slot(id)).ok_or_else(not_found)?;
    let cursor = lock(&slot.state).progress.after;
    added(call, &slot.hook, cursor)
}

fn added(call: &Call, hook: &Hook, cursor: Revision) -> Result<Reply, Problem> {
    call.record_write(Weight::Opens, None, None, StatusCode::CREATED)?;
    Ok(Reply::created(&json!({ "id": hook.id, "url": hook.url, "cursor": cursor.0, "secret": hook.secret.reveal() })))
}

fn remove(call: &Call) -> Result<Reply, Problem> {
    let webhooks = &call.state.webhooks;
    let one = lock(&webhooks.editing);
    let slot = find(call)?;
    webhooks.remove(&slot, call.idempotency_key.as_ref()).map_err(|error| consent_problem(&error))?;
    drop(one);
    removed(call)
}

fn removed_again(call: &Call, _done: &Done) -> Result<Reply, Problem> {
    removed(call)
}

fn removed(call: &Call) -> Result<Reply, Problem> {
    // Less goes out from now on: this is not undone because the log is away.
    call.record_write(Weight::Stops, None, None, StatusCode::OK)?;
    Ok(Reply::ok(&json!({ "removed": call.param(0)? })))
}

fn replay(call: &Call) -> Result<Reply, Problem> {
    let body: ReplayBody = call.json()?;
    let slot = find(call)?;
    let from = body.from.revision(call)?;
    call.may_write(Weight::Opens)?;
    let one = lock(&call.state.webhooks.editing);
    // It may have been removed since.
    let slot = call.state.webhooks.slot(&slot.hook.id).ok_or_else(not_found)?;
    call.state.webhooks.replay(&slot, from, call.idempotency_key.as_ref()).map_err(|error| consent_problem(&error))?;
    drop(one);
    replayed(call, &slot)
}

fn replayed_again(call: &Call, _done: &Done) -> Result<Reply, Problem> {
    replayed(call, &*find(call)?)
}

fn replayed(call: &Call, slot: &Slot) -> Result<Reply, Problem> {
    call.record_write(Weight::Opens, None, None, StatusCode::OK)?;
    Ok(Reply::ok(&slot_json(slot, call.state.ledger.revision())))
}

fn wanted(call: &Call, body: &WebhookBody) -> Result<Hook, Problem> {
    let settings = call.state.webhooks.settings.load();
    if settings.hosts.is_empty() {
        return Err(Problem::new(Code::Conflict, "ask the operator to name the hosts in `[webhooks] hosts`").detail("webhooks are not configured"));
    }
    let target = Target::parse(&body.url)
        .ok_or_else(|| Problem::value("`url` cannot be used", "write `https://host/path`, with a port if need be, without user and fragment"))?;
    if !settings.permits(&target) {
        return Err(Problem::value("`url` leads to a host that is not listed", "ask the operator to add host and port to `[webhooks] hosts`"));
    }
    let kind = |text: &String| {
        // Emergencies are no receiver's.
        let told = |kind: &ChangeKind| *kind != ChangeKind::BreakGlass;
        let known: Vec<&str> = ChangeKind::ALL.iter().filter(|kind| told(kind)).map(|kind| kind.as_str()).collect();
        let found = ChangeKind::parse(text).filter(told);
        found.ok_or_else(|| Problem::value("`kinds` holds an unknown word", format!("use {}", known.join(", "))))
    };
    let purposes = consents::purposes(&call.state.instance.vocabulary(), body.purposes.clone())?;
    let randomness = || Problem::new(Code::Unavailable, "repeat").detail("the machine gives no randomness");
    Ok(Hook {
        id: fresh_id().ok_or_else(randomness)?,
        url: body.url.clone(),
        target,
        kinds: body.kinds.iter().flatten().map(kind).collect::<Result<_, _>>()?,
        purposes: purposes.iter().map(|purpose| purpose.as_str().to_owned()).collect(),
        secret: Secret::fresh().ok_or_else(randomness)?,
        created: now_stored(call),
        by: call.actor().to_owned(),
    })
}

fn fresh_id() -> Option<String> {
    let mut bytes = [0_u8; 10];
    rand::fill(&mut bytes).ok()?;
    Some(bytes.iter().fold("wh_".to_owned(), |id, byte| format!("{id}{byte:02x}")))
}

fn now_stored(call: &Call) -> Timestamp {
    let now = call.state.clock.now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

fn find(call: &Call) -> Result<Arc<Slot>, Problem> {
    call.state.webhooks.slot(call.param(0)?).ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::new(Code::NotFound, "see `/v1/webhooks` for those that are there").detail("no such webhook")
}

/// Everything but the secret.
fn slot_json(slot: &Slot, revision: Revision) -> Value {
    let progress = lock(&slot.state).progress.clone();
    let kinds: Vec<&str> = slot.hook.kinds.iter().map(|kind| kind.as_str()).collect();
    json!({
        "id": slot.hook.id, "url": slot.hook.url, "kinds": kinds, "purposes": slot.hook.purposes,
        "created": slot.hook.created.to_string(), "cursor": progress.after.0, "behind": behind(revision, &progress),
        "last_success": progress.last_success.map(|t| t.to_string()), "last_error": progress.last_error,
        "failing_since": progress.failing_since.map(|t| t.to_string()), "gone": progress.gone,
    })
}
