//! What a statement would do, before it is recorded: the same checks, author and rule as when it is.

use jiff::Timestamp;

use super::author::{Claimed, author};
use super::check::{NAME_CHARS_MAX, check_event, check_evidence, check_note, check_stop, check_text, invalid};
use super::draft::{Capturer, EventDraft, Statement};
use super::error::ConsentError;
use super::event::{Method, PartyRef, StopKind};
use super::ledger::Ledger;
use super::write::FUTURE_MAX;
use crate::model::Author;

/// What a consent event would do to the gate by itself; a hard stop or a later refusal may keep it shut even so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    Yes,
    /// It is a grant and stays without effect.
    No(Lacks),
    /// It is no grant.
    NotAGrant,
}

crate::model::closed! {
    /// Why a grant opens nothing.
    Lacks {
        EventTime = "no event time",
        Evidence = "no evidence",
        Explicitness = "only implied",
        /// Staff's or the system's own statement.
        Person = "not the person's own statement",
        /// A grant does not attach later, when somebody is linked with the id.
        Customer = "nobody is known by the id",
        /// An organisation is no data subject.
        Subject = "an organisation gives no consent",
        Time = "it has run out",
    }
}

/// What a statement would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Preview {
    pub(super) effect: Effect,
    /// Whether a customer is known by the id.
    pub(super) is_known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Opens,
    OpensNot(Lacks),
    Closes,
    Stops(StopKind),
    /// Requested, deferred, unknown, waiting for confirmation.
    Neither,
}

impl Ledger {
    /// What an event would do to the gate.
    ///
    /// # Errors
    /// What [`Ledger::record`] would refuse it for, but for what the store alone knows.
    pub fn would_open(&self, draft: &EventDraft, caller: &Capturer) -> Result<Opens, ConsentError> {
        let adopted = self.adopted()?;
        check_event(draft, &adopted.vocabulary)?;
        self.check_given(draft.event_time, &draft.evidence, draft.source_system.as_deref())?;
        let is_known = self.check_subject(&draft.subject, !draft.state.closes())?;
        if !draft.state.opens() {
            return Ok(Opens::NotAGrant);
        }
        let claimed = Claimed { purposes: &draft.purposes, channel: draft.channel, claims: draft.claims, evidence: &draft.evidence, closes: false };
        let by_the_person = matches!(author(&adopted, caller, &claimed), Author::Customer | Author::Guardian);
        let lacks = if draft.event_time.is_none() {
            Lacks::EventTime
        } else if draft.evidence.is_empty() {
            Lacks::Evidence
        } else if draft.method == Method::Implied {
            Lacks::Explicitness
        } else if !by_the_person {
            Lacks::Person
        } else if !is_known {
            Lacks::Customer
        } else if self.find(&draft.subject).is_ok_and(|no| self.is_organisation(no)) {
            Lacks::Subject
        } else if draft.expires.is_some_and(|end| end <= self.record_time()) {
            Lacks::Time
        } else {
            return Ok(Opens::Yes);
        };
        Ok(Opens::No(lacks))
    }

    pub(super) fn preview(&self, statement: &Statement, caller: &Capturer) -> Result<Preview, ConsentError> {
        let (effect, subject) = match statement {
            Statement::Consent(draft) => {
                let effect = match self.would_open(draft, caller)? {
                    Opens::Yes => Effect::Opens,
                    Opens::No(lacks) => Effect::OpensNot(lacks),
                    Opens::NotAGrant if draft.state.closes() => Effect::Closes,
                    Opens::NotAGrant => Effect::Neither,
                };
                (effect, &draft.subject)
            }
            Statement::Stop(draft) => {
                check_stop(draft, &self.adopted()?.vocabulary)?;
                self.check_given(draft.event_time, &draft.evidence, draft.source_system.as_deref())?;
                (Effect::Stops(draft.kind), &draft.subject)
            }
            Statement::Note(draft) => {
                check_note(draft, &self.adopted()?.vocabulary)?;
                self.check_given(draft.event_time, &draft.evidence, draft.source_system.as_deref())?;
                (Effect::Neither, &draft.subject)
            }
        };
        Ok(Preview { effect, is_known: self.check_subject(subject, false)? })
    }

    fn check_given(
        &self,
        event_time: Option<Timestamp>,
        evidence: &std::collections::BTreeMap<String, String>,
        source_system: Option<&str>,
    ) -> Result<(), ConsentError> {
        let latest = self.record_time().checked_add(FUTURE_MAX).unwrap_or(Timestamp::MAX);
        if event_time.is_some_and(|time| time > latest) {
            return Err(invalid("`event_time` lies in the future: say when the person acted"));
        }
        check_evidence(evidence)?;
        source_system.map_or(Ok(()), |source| check_text("source_system", source, NAME_CHARS_MAX))
    }

    /// Whether a customer is known by the id.
    fn check_subject(&self, subject: &PartyRef, refuse_erased: bool) -> Result<bool, ConsentError> {
        let identifier = subject.identifier();
        let projection = self.reading();
        let is_known = projection.resolve(&identifier).is_some();
        if !is_known && identifier.space == super::party_space() {
            return Err(ConsentError::NotFound);
        }
        if refuse_erased && projection.is_erased(&identifier) {
            return Err(ConsentError::Erased);
        }
        Ok(is_known)
    }
}
