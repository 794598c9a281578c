//! What administrators do is evidence too: every write and every search is an entry of the decision log, durable before the
//! answer. With the log down grants and searches are refused; a stop is taken even so, and its entry follows from the
//! ledger's outbox.

use std::sync::{Mutex, PoisonError};

use http::StatusCode;

use super::AdminState;
use super::dispatch::Call;
use super::problem::{Code, Problem};
use crate::audit::{AuditError, Entry, FreeText, Log, Pending, StepText};
use crate::consent::{Change, ChangeKind, ConsentError, Grant, GrantStep, Ledger, PartyKind, State, Stepped, StopKind};
use crate::model::{PartyNo, Revision};

/// Changes taken from the outbox at a time.
const DRAIN_MAX: usize = 512;

/// Brings the ledger's changes into the decision log, each once and in order.
#[derive(Debug, Default)]
pub struct Outbox {
    one_at_a_time: Mutex<()>,
}

/// Why the outbox could not be emptied; what is left is taken the next time.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutboxError {
    #[error(transparent)]
    Log(#[from] AuditError),
    #[error(transparent)]
    Store(#[from] crate::consent::Unavailable),
    #[error("what was written about a break-glass grant is not at hand: {0}")]
    Grant(String),
}

impl Outbox {
    /// Writes what is waiting and returns how many changes that were. Blocks on the disk. After a crash between writing and
    /// noting it, a change may stand in the log twice, with the same revision; never not at all.
    ///
    /// # Errors
    /// When log or store is away.
    pub fn drain(&self, ledger: &Ledger, log: &Log) -> Result<u64, OutboxError> {
        let _one = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let mut drained = 0;
        let mut after = Revision::default();
        loop {
            let changes = ledger.pending_changes(after, DRAIN_MAX)?;
            let Some(last) = changes.last().map(|change| change.revision) else { return Ok(drained) };
            let pending = changes.iter().map(|change| append(ledger, log, change)).collect::<Result<Vec<_>, _>>()?;
            for written in pending {
                written.wait()?;
                drained += 1;
            }
            ledger.mark_logged(last)?;
            after = last;
        }
    }
}

/// A key of free text that is lost must not keep all else from the log: then the entry says that the text is not in it. Grants are not
/// even stored while that is so; what is meant here are steps that were.
fn append(ledger: &Ledger, log: &Log, change: &Change) -> Result<Pending, OutboxError> {
    let Some(stepped) = Stepped::read(change) else { return Ok(log.append(entry_of(change))?) };
    let text = written_about(ledger, &stepped)?;
    match log.append(step_entry(change, &stepped, text)) {
        Err(error @ (AuditError::TextKey { .. } | AuditError::TextTooLong { .. })) => {
            tracing::error!(%error, grant = stepped.grant, "what was written about a break-glass grant is not in the decision log");
            Ok(log.append(step_entry(change, &stepped, StepText::NotKept))?)
        }
        appended => Ok(appended?),
    }
}

/// Why a grant was asked for, or ended.
fn written_about(ledger: &Ledger, stepped: &Stepped<'_>) -> Result<StepText, OutboxError> {
    let said: fn(&Grant) -> Option<&str> = match stepped.step {
        GrantStep::Requested => |grant| Some(&grant.emergency.justification),
        GrantStep::Revoked => |grant| grant.revoked.as_ref().map(|ended| &*ended.reason),
        GrantStep::Approved | GrantStep::Expired | GrantStep::Reviewed => return Ok(StepText::None),
    };
    match ledger.grant(stepped.grant) {
        Ok(grant) => Ok(said(&grant).map_or(StepText::None, |text| StepText::Said(FreeText::new(text)))),
        Err(error @ ConsentError::NoSuchGrant) => {
            tracing::error!(%error, grant = stepped.grant, "what was written about a break-glass grant cannot be read");
            Ok(StepText::NotKept)
        }
        Err(error) => Err(OutboxError::Grant(error.to_string())),
    }
}

fn step_entry(change: &Change, stepped: &Stepped<'_>, text: StepText) -> Entry {
    let (grant, step, actor) = (stepped.grant.to_owned(), stepped.step.as_str(), stepped.by.map(str::to_owned));
    Entry::BreakGlass { grant, step, actor, party: change.party, revision: change.revision, text }
}

fn entry_of(change: &Change) -> Entry {
    Entry::ConsentChanged {
        event: change.event,
        party: change.party,
        revision: change.revision,
        state: state_word(change),
        purpose: change.purposes.first().copied(),
    }
}

/// A word of the closed vocabularies; other text never reaches the log.
pub(super) fn state_word(change: &Change) -> &'static str {
    match change.kind {
        ChangeKind::Consent | ChangeKind::Expiry => State::parse(&change.state).map_or(change.kind.as_str(), State::as_str),
        ChangeKind::Stop => StopKind::parse(&change.state).map_or(change.kind.as_str(), StopKind::as_str),
        ChangeKind::Party | ChangeKind::Kind => PartyKind::parse(&change.state).map_or(change.kind.as_str(), PartyKind::as_str),
        ChangeKind::Lift
        | ChangeKind::Link
        | ChangeKind::Facts
        | ChangeKind::Delegation
        | ChangeKind::Occurrence
        | ChangeKind::Merge
        | ChangeKind::Split
        | ChangeKind::UsedUp
        | ChangeKind::Erasure
        | ChangeKind::Notice
        | ChangeKind::BreakGlass => change.kind.as_str(),
    }
}

/// Whether a write may wait for the log or must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Raises permission or changes the crosswalk: refused while the log is down.
    Opens,
    /// Lowers permission: taken whatever else is down.
    Stops,
}

impl Call {
    /// Asked before a write: what raises permission is not even stored while the log cannot record it.
    pub(super) fn may_write(&self, weight: Weight) -> Result<(), Problem> {
        match weight {
            Weight::Stops => Ok(()),
            Weight::Opens => self.state.log.healthy().map_err(|error| log_away(&error)),
        }
    }

    /// Asked before a break-glass grant: why it is asked for stands in the log, or it is not asked for.
    pub(super) fn may_write_text(&self) -> Result<(), Problem> {
        self.state.log.takes_text().map_err(|error| log_away(&error))
    }

    /// After a write, before the answer: the change and who did it are durable in the log.
    pub(super) fn record_write(&self, weight: Weight, party: Option<PartyNo>, revision: Option<Revision>, status: StatusCode) -> Result<(), Problem> {
        let entry = Entry::Admin {
            actor: self.actor().to_owned(),
            role: self.role(),
            operation: self.route.operation,
            party,
            revision,
            status: status.as_u16(),
        };
        match (written(&self.state, entry), weight) {
            (Ok(()), _) => Ok(()),
            (Err(error), Weight::Stops) => {
                stop_follows(&error);
                Ok(())
            }
            (Err(error), Weight::Opens) => Err(log_away(&error)),
        }
    }

    /// After a search, before its answer. Returns the entry's `<origin>#<index>`.
    pub(super) fn record_query(&self, party: Option<PartyNo>, found: usize) -> Result<String, Problem> {
        let entry = Entry::Query {
            actor: self.actor().to_owned(),
            role: self.role(),
            operation: self.route.operation,
            party,
            found: u64::try_from(found).unwrap_or(u64::MAX),
        };
        let recorded = self.state.log.append(entry).and_then(Pending::wait).map_err(|error| log_away(&error))?;
        Ok(recorded.decision_id().to_string())
    }
}

/// After a withdrawal by link, before its answer: in the log like any other write, under nobody's name.
pub(super) fn followed(state: &AdminState, party: Option<PartyNo>, revision: Revision) {
    let (actor, status) = ("link".to_owned(), StatusCode::OK.as_u16());
    let entry = Entry::Admin { actor, role: "public", operation: "withdraw", party, revision: Some(revision), status };
    if let Err(error) = written(state, entry) {
        stop_follows(&error);
    }
}

fn written(state: &AdminState, entry: Entry) -> Result<(), OutboxError> {
    state.log.append(entry)?.wait()?;
    state.outbox.drain(&state.ledger, &state.log).map(|_drained| ())
}

fn stop_follows(error: &OutboxError) {
    tracing::error!(%error, "a stop is in force before its entry in the decision log; it follows from the outbox");
}

/// A refused request of somebody who is known. Nothing waits for it: nothing was done.
pub(super) fn refused(log: &Log, actor: String, role: &'static str, operation: &'static str, status: StatusCode) {
    let entry = Entry::Admin { actor, role, operation, party: None, revision: None, status: status.as_u16() };
    if let Err(error) = log.append_unwaited(entry) {
        tracing::error!(error = %error, operation, "a refused request could not be logged");
    }
}

fn log_away(error: &dyn std::error::Error) -> Problem {
    tracing::error!(error = %error, "the decision log cannot be written");
    Problem::new(Code::AuditUnavailable, "repeat with the same idempotency key once `/readyz` says ready")
}

/// The ledger's refusals as problems. Their sentences name kinds and fields, never a customer.
pub(super) fn consent_problem(error: &ConsentError) -> Problem {
    let text = error.to_string();
    let (detail, remedy) = text.split_once("; ").map_or((text.as_str(), None), |(detail, remedy)| (detail, Some(remedy)));
    let remedy = remedy.unwrap_or("see `/openapi.json` for what this path takes");
    let code = match error {
        ConsentError::Unavailable(_) | ConsentError::AppliedNotStored { .. } | ConsentError::RevokedNotStored => Code::ConsentUnavailable,
        ConsentError::Invalid(_) => Code::InvalidValue,
        ConsentError::NotFound | ConsentError::NoSuchStop | ConsentError::NoSuchGrant => Code::NotFound,
        ConsentError::DoneBefore
        | ConsentError::Erased
        | ConsentError::LinkedElsewhere
        | ConsentError::Held
        | ConsentError::UsedUp
        | ConsentError::NotPermitted(_) => Code::Conflict,
        ConsentError::IdempotencyMismatch => Code::IdempotencyMismatch,
    };
    Problem::new(code, remedy).detail(detail)
}
