//! What a statement would do, before it is recorded: the same checks, author and rule as when it is.

use jiff::Timestamp;

use super::draft::{Capturer, Statement};
use super::error::ConsentError;
use super::event::{Event, Method, StopKind, What};
use super::ledger::{Adopted, Ledger};
use super::write::Drawn;
use crate::model::{Author, Identifier, PartyNo};

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

/// What a statement would do by itself; a hard stop or a later refusal may keep the gate shut even so.
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
    /// The event that a statement makes, and what it would do.
    ///
    /// # Errors
    /// What [`Ledger::record`] would refuse it for, but for what the store alone knows.
    pub(super) fn preview(
        &self,
        statement: Statement,
        caller: &Capturer,
        adopted: &Adopted,
        at: Timestamp,
    ) -> Result<(Drawn, Preview), ConsentError> {
        let drawn = self.draw_up(statement, caller, adopted, at)?;
        let raises = matches!(&drawn.event.what, What::Consent(consent) if !consent.state.closes());
        let party = self.check_subject(&drawn.event.identifier, raises)?;
        let preview = Preview { effect: effect(&drawn.event, party.map(|no| self.is_organisation(no))), is_known: party.is_some() };
        Ok((drawn, preview))
    }

    /// Who is known by the id.
    fn check_subject(&self, identifier: &Identifier, refuse_erased: bool) -> Result<Option<PartyNo>, ConsentError> {
        let projection = self.reading();
        let party = projection.resolve(identifier);
        if party.is_none() && identifier.space == super::party_space() {
            return Err(ConsentError::NotFound);
        }
        if refuse_erased && projection.is_erased(identifier) {
            return Err(ConsentError::Erased);
        }
        Ok(party)
    }
}

/// Of a customer, whether it is an organisation; `None`: nobody is known by the id.
fn effect(event: &Event, is_organisation: Option<bool>) -> Effect {
    let consent = match &event.what {
        What::Consent(consent) => consent,
        What::Stop(stop) => return Effect::Stops(stop.kind),
        What::Lift { .. } | What::Delegation(_) | What::Occurrence(_) => return Effect::Neither,
    };
    if !consent.state.opens() {
        return if consent.state.closes() { Effect::Closes } else { Effect::Neither };
    }
    if event.event_time.is_none() {
        Effect::OpensNot(Lacks::EventTime)
    } else if !event.is_evidenced() {
        Effect::OpensNot(Lacks::Evidence)
    } else if event.method == Method::Implied {
        Effect::OpensNot(Lacks::Explicitness)
    } else if !matches!(event.author, Author::Customer | Author::Guardian) {
        Effect::OpensNot(Lacks::Person)
    } else if is_organisation.is_none() {
        Effect::OpensNot(Lacks::Customer)
    } else if is_organisation == Some(true) {
        Effect::OpensNot(Lacks::Subject)
    } else if consent.expires.is_some_and(|end| end <= event.record_time) {
        Effect::OpensNot(Lacks::Time)
    } else {
        Effect::Opens
    }
}
