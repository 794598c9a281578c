//! Evidence of the decision log that holds without this gateway: the signed checkpoint, the log as C2SP tlog-tiles
//! (<https://c2sp.org/tlog-tiles>), and a tlog-proof of each entry. An app gets one of its own decisions, with the hash of the entry.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::decisions::{is_own_log, no_such_decision, unreadable};
use super::dispatch::{Access, Call, Caller, Reply, Route};
use super::problem::{Code, Problem};
use super::role::AdminRole;
use crate::audit::Proved;

const AUDITORS: Access = Access::Roles(&[AdminRole::Auditor]);
const PROOF: &str = "/v1/decisions/{origin}/{index}/proof";

pub(super) const ROUTES: &[Route] = &[
    Route::get("/log/checkpoint", "log.checkpoint", AUDITORS, "The newest checkpoint of the decision log, a C2SP signed note", checkpoint),
    Route::get("/log/tile/{path+}", "log.tile", AUDITORS, "The decision log as C2SP tlog-tiles: hashes, and entries", tile),
    Route::get(PROOF, "decisions.proof", AUDITORS, "A C2SP tlog-proof of an entry of the decision log, with the entry", proof),
];
pub(super) const CAPTURE_ROUTES: &[Route] =
    &[Route::get(PROOF, "decisions.proof", Access::Capture, "A C2SP tlog-proof of one of the app's decisions, with the hash of its entry", proof)];

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// What is durable is signed within a second.
const SIGNED_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn checkpoint(call: &Call) -> Result<Reply, Problem> {
    call.state.tiles.checkpoint().map(|note| Reply::text(TEXT, note)).map_err(|error| unreadable(&error))
}

fn tile(call: &Call) -> Result<Reply, Problem> {
    let wanted = Tile::parse(call.param(0)?).ok_or_else(no_such_tile)?;
    let found = match wanted.level {
        Some(level) => call.state.tiles.tile(level, wanted.number, wanted.width),
        None => call.state.tiles.bundle(wanted.number, wanted.width),
    };
    let bytes = found.map_err(|error| unreadable(&error))?.ok_or_else(no_such_tile)?;
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
            call.record_query(None, 1)?;
            Ok(Reply::text(TEXT, proved.evidence()))
        }
    }
}

/// The proof of an entry, which may have to wait for the checkpoint that covers it.
fn signed(call: &Call, index: u64) -> Result<Proved, Problem> {
    let state = &call.state;
    let began = state.clock.monotonic();
    loop {
        if let Some(proved) = state.tiles.prove(index).map_err(|error| unreadable(&error))? {
            return Ok(proved);
        }
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

fn no_such_tile() -> Problem {
    Problem::new(Code::NotFound, "ask for the tiles that belong to the size in `/log/checkpoint`").detail("the signed tree has no such tile")
}

/// A tile as its path names it.
#[derive(Debug, PartialEq, Eq)]
struct Tile {
    /// `None`: the entries.
    level: Option<u32>,
    number: u64,
    width: u64,
}

impl Tile {
    /// `<L>/<N>[.p/<W>]`: the level or `entries`; the number in groups of three digits, all but the last behind an `x`; the width of a
    /// tile that is not full.
    fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.split_once('/')?;
        let level = if level == "entries" { None } else { Some(plain(level)?).filter(|level| *level < 64).map(Some)? };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, u64::from(plain(width).filter(|width| (1..256).contains(width))?)),
            None => (rest, 256),
        };
        let mut groups = number.split('/').rev();
        let mut digits = vec![groups.next()?];
        for group in groups {
            digits.push(group.strip_prefix('x')?);
        }
        let is_group = |group: &&str| group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit());
        // A number has one name only.
        let is_shortest = digits.len() == 1 || digits.last() != Some(&"000");
        let number: String = digits.iter().rev().copied().collect();
        (digits.iter().all(is_group) && is_shortest).then_some(Self { level, number: number.parse().ok()?, width })
    }
}

/// A decimal number without needless zeros.
fn plain(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_named_in_one_way_only() {
        let tile = |level, number, width| Some(Tile { level, number, width });
        for (path, expected) in [
            ("0/000", tile(Some(0), 0, 256)),
            ("63/999", tile(Some(63), 999, 256)),
            ("1/x001/x234/067", tile(Some(1), 1_234_067, 256)),
            ("entries/x001/000.p/7", tile(None, 1_000, 7)),
            ("2/005.p/255", tile(Some(2), 5, 255)),
        ] {
            assert_eq!(Tile::parse(path), expected, "{path}");
        }
        for bad in [
            "",
            "0",
            "0/",
            "0/0",
            "0/0000",
            "0/01",
            "64/000",
            "00/000",
            "-1/000",
            "0/x000/001",
            "0/001/002",
            "0/x001",
            "0/x001/",
            "0/001.p/0",
            "0/001.p/256",
            "0/001.p/01",
            "0/001.p/",
            "0/001.p",
            "0/+01",
            "Entries/000",
            "entries/000/",
            "0/x1/000",
        ] {
            assert_eq!(Tile::parse(bad), None, "{bad}");
        }
    }
}
