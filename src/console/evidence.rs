//! Evidence of the decision log that holds without this gateway: the signed checkpoint, the log as C2SP tlog-tiles
//! (<https://c2sp.org/tlog-tiles>), and a tlog-proof of each entry. An app gets one of its own decisions, with the hash of the entry.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::decisions::{is_own_log, no_such_decision, unreadable};
use super::dispatch::{Access, Call, Caller, Param, Reply, Route};
use super::problem::{Code, Problem};
use super::role::AdminRole;
use crate::audit::{AuditError, Proved, TileName};

const AUDITORS: Access = Access::Roles(&[AdminRole::Auditor]);
const PROOF: &str = "/v1/decisions/{origin}/{index}/proof";

pub(super) const ROUTES: &[Route] = &[
    Route::get("/log/checkpoint", "log.checkpoint", AUDITORS, "The newest checkpoint of the decision log, a C2SP signed note", checkpoint),
    Route::get("/log/tile/{path+}", "log.tile", AUDITORS, "The decision log as C2SP tlog-tiles: hashes, and entries", tile),
    Route::get(PROOF, "decisions.proof", AUDITORS, "A C2SP tlog-proof of an entry of the decision log, with the entry, or with its hash only", proof)
        .query(&[Param { name: "form", about: "`evidence` (default, with the entry) or `receipt` (with its hash)" }]),
];
pub(super) const CAPTURE_ROUTES: &[Route] =
    &[Route::get(PROOF, "decisions.proof", Access::Capture, "A C2SP tlog-proof of one of the app's decisions, with the hash of its entry", proof)];

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// What is durable is signed within a second.
const SIGNED_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn checkpoint(call: &Call) -> Result<Reply, Problem> {
    call.state.tiles.checkpoint().map(|note| Reply::text(TEXT, note)).map_err(|error| unreadable(&error.into()))
}

fn tile(call: &Call) -> Result<Reply, Problem> {
    let wanted = TileName::parse(call.param(0)?).ok_or_else(no_such_tile)?;
    let bytes = call.state.tiles.read(&wanted).map_err(|error| unreadable(&error.into()))?.ok_or_else(no_such_tile)?;
    if wanted.level.is_none() {
        // Hashes tell nothing; whoever reads entries is in the log.
        call.record_query(None, usize::try_from(wanted.width).unwrap_or(usize::MAX))?;
    }
    Ok(Reply::bytes(BYTES, bytes.into()))
}

fn proof(call: &Call) -> Result<Reply, Problem> {
    let index: u64 = call.param(1)?.parse().map_err(|_not_a_number| no_such_decision())?;
    if !is_own_log(call, call.param(0)?) {
        return Err(no_such_decision());
    }
    let proved = signed(call, index)?;
    match &call.caller {
        Caller::App(app) if is_decision_of(&proved.entry, app.client.as_str()) => Ok(Reply::text(TEXT, proved.receipt())),
        Caller::App(_) | Caller::Anybody => Err(no_such_decision()),
        Caller::Staff(_) => {
            let holds_entry = match call.query.get("form") {
                None | Some("evidence") => true,
                Some("receipt") => false,
                Some(_) => return Err(Problem::value("`form` is not a form of proofs", "use evidence or receipt")),
            };
            call.record_query(None, 1)?;
            Ok(Reply::text(TEXT, if holds_entry { proved.evidence() } else { proved.receipt() }))
        }
    }
}

/// The proof of an entry, which may have to wait for the checkpoint that covers it.
pub(super) fn signed(call: &Call, index: u64) -> Result<Proved, Problem> {
    let state = &call.state;
    let began = state.clock.monotonic();
    loop {
        match state.tiles.prove(index) {
            Ok(Some(proved)) => return Ok(proved),
            Ok(None) => {}
            Err(AuditError::Pruned { .. }) if matches!(call.caller, Caller::Staff(_)) => return Err(pruned()),
            // Whose it was is gone with it.
            Err(AuditError::Pruned { .. }) => return Err(no_such_decision()),
            Err(error) => return Err(unreadable(&error.into())),
        }
        state.log.settle();
        if index >= state.log.metrics().entries {
            return Err(no_such_decision());
        }
        if state.clock.monotonic().saturating_sub(began) > SIGNED_WITHIN {
            return Err(
                Problem::new(Code::AuditUnavailable, "repeat in a few seconds").detail("the entry is durable, but no checkpoint covers it yet")
            );
        }
        sleep(LOOK_EVERY);
    }
}

/// Whether an entry is the head of a decision for this app.
fn is_decision_of(entry: &[u8], app: &str) -> bool {
    let entry: Value = serde_json::from_slice(entry).unwrap_or_default();
    let is_head = matches!(entry.get("kind").and_then(Value::as_str), Some("permit" | "deny" | "intent")) && entry.get("of").is_none();
    is_head && entry.get("app").and_then(Value::as_str) == Some(app)
}

fn pruned() -> Problem {
    let remedy = "`[audit] retention` says how long entries are kept; a proof that was fetched before still holds";
    Problem::new(Code::NotFound, remedy).detail("the entry is pruned: its hash is in the log, what it said is not")
}

fn no_such_tile() -> Problem {
    let remedy = "ask for the tiles that belong to the size in `/log/checkpoint`";
    Problem::new(Code::NotFound, remedy).detail("the signed tree has no such tile, or an entry of it is pruned")
}
