//! `/v1/changes`: every change of the ledger, as lines of JSON in the order in which they were made. The cursor is the
//! ledger's revision: what was read once reads the same again, from 0 or from anywhere. A line names customers by their public
//! id, never by an identifier.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::dispatch::{Call, Param, Reply, Route};
use super::parties::DESK_AND_AUDITOR;
use super::problem::{Code, Problem};
use super::record::{consent_problem, state_word};
use crate::consent::{Change, ChangeKind, Ledger};
use crate::model::Revision;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;
/// How long a caller may wait for the next change, seconds.
const WAIT_SECONDS_MAX: u64 = 30;
/// Callers that wait at the same time; more are answered at once. Each holds one of the listener's places.
const WAITING_MAX: usize = 16;

pub(super) const ROUTES: &[Route] = &[Route::get(
    "/v1/changes",
    "changes.list",
    DESK_AND_AUDITOR,
    "Changes of the ledger, oldest first (NDJSON); the last line says where to go on",
    list,
)
.query(&[
    Param { name: "after", about: "`next` of the answer before; 0, or without it, from the beginning" },
    Param { name: "limit", about: "1 to 1000, 100 without it" },
    Param { name: "wait", about: "so many seconds for the next change when there is none yet, at most 30" },
])];

/// Tells whoever waits that the ledger has changed.
#[derive(Debug)]
pub struct ChangeSignal {
    revision: watch::Sender<u64>,
    waiting: Semaphore,
}

impl ChangeSignal {
    /// Follows the ledger from now on.
    #[must_use]
    pub fn of(ledger: &Ledger) -> Arc<Self> {
        let this = Arc::new(Self { revision: watch::Sender::new(ledger.revision().0), waiting: Semaphore::new(WAITING_MAX) });
        let told = Arc::clone(&this);
        ledger.set_change_listener(Box::new(move |change| {
            told.revision.send_if_modified(|known| std::mem::replace(known, change.revision.0.max(*known)) < change.revision.0);
        }));
        this
    }

    /// Nobody waits any more.
    pub fn close(&self) {
        self.revision.send_replace(u64::MAX);
    }

    /// Returns when there is a change after this revision.
    pub async fn after(&self, revision: Revision) {
        // An error would mean that the sender is gone, and it is `self`.
        drop(self.revision.subscribe().wait_for(|known| *known > revision.0).await);
    }

    /// The same on a thread that may block; gives up when too many wait already.
    fn wait(&self, revision: Revision, patience: Duration) {
        let Ok(_place) = self.waiting.try_acquire() else { return };
        // Whether a change came or the time is up, the ledger is asked next.
        drop(tokio::runtime::Handle::current().block_on(async { tokio::time::timeout(patience, self.after(revision)).await }));
    }
}

fn list(call: &Call) -> Result<Reply, Problem> {
    let ledger = &call.state.ledger;
    let after = Revision(call.query.parsed::<u64>("after", "a revision")?.unwrap_or(0));
    let limit = call.query.parsed::<usize>("limit", "a number")?.unwrap_or(PAGE_DEFAULT);
    if limit == 0 || limit > PAGE_MAX {
        return Err(Problem::invalid(format!("`limit` must be 1 to {PAGE_MAX}")));
    }
    let wait = call.query.parsed::<u64>("wait", "a number of seconds")?.unwrap_or(0);
    if wait > WAIT_SECONDS_MAX {
        return Err(Problem::invalid(format!("`wait` must be 0 to {WAIT_SECONDS_MAX}")));
    }
    refuse_future(ledger, after)?;
    if wait > 0 {
        call.state.signal.wait(after, Duration::from_secs(wait));
    }
    let mut changes = ledger.changes(after, limit.saturating_add(1)).map_err(|away| consent_problem(&away.into()))?;
    let more = changes.len() > limit;
    changes.truncate(limit);
    call.record_query(None, changes.len())?;
    let next = changes.last().map_or(after, |change| change.revision);
    let lines = changes.iter().map(|change| change_json(ledger, change)).chain([json!({ "next": next.0, "more": more })]);
    let text = lines.map(|line| format!("{line}\n")).collect();
    Ok(Reply::text("application/x-ndjson", text).revision(ledger.revision().0))
}

/// A cursor ahead of the ledger was made by another one, or by a later state of this one: going on from it would skip changes.
pub(super) fn refuse_future(ledger: &Ledger, cursor: Revision) -> Result<(), Problem> {
    if cursor <= ledger.revision() {
        return Ok(());
    }
    Err(Problem::new(Code::Conflict, "begin anew from 0").detail("the cursor is ahead of this ledger, which was replaced or set back"))
}

/// A change as it goes out, in the feed and to webhooks.
pub(super) fn change_json(ledger: &Ledger, change: &Change) -> Value {
    let purposes: Vec<&str> = change.purposes.iter().map(|purpose| purpose.as_str()).collect();
    json!({
        "revision": change.revision.0,
        "time": change.at.to_string(),
        "kind": change.kind.as_str(),
        "party": change.party.map(|no| ledger.party_id(no).0),
        "event": change.event.map(|event| event.to_string()),
        "purposes": purposes,
        "state": matches!(change.kind, ChangeKind::Consent | ChangeKind::Expiry | ChangeKind::Stop | ChangeKind::Kind).then(|| state_word(change)),
        "author": change.author.map(|author| author.as_str()),
    })
}
