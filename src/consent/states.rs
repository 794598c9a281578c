//! The life of a consent: what each event makes of each state. Pure, and total: every pair is answered, with the reason where
//! nothing changes. [`super::status()`] decides who is heard, and reports the state that this gives.
//!
//! ```text
//! unknown ── request, defer, await confirmation ──> requested, deferred, pending ── expire ──> unknown
//!    any ── give, or confirm while pending ──> given ── renew ──> renewed     (also from expired and superseded)
//!    given, renewed ── refuse or withdraw ──> withdrawn    revoke ──> revoked     expire ──> expired
//!                      supersede ──> superseded            invalidate ──> invalidated      coming of age ──> requested
//! ```
//! What closes is taken in even where nothing was given: a stop for something never granted binds.

use super::event::State;

crate::model::closed! {
    /// What can befall a consent.
    StateEvent {
        Request = "request",
        Defer = "defer",
        /// Double opt-in: asked for, the link not followed yet.
        AwaitConfirmation = "await-confirmation",
        Confirm = "confirm",
        Give = "give",
        Renew = "renew",
        Refuse = "refuse",
        /// Taken back by the person.
        Withdraw = "withdraw",
        /// Taken back by someone else.
        Revoke = "revoke",
        Expire = "expire",
        /// A new notice takes the place of the one it was given on.
        Supersede = "supersede",
        /// It never was valid.
        Invalidate = "invalidate",
        /// Whoever spoke for the person no longer does: the person is asked.
        ComeOfAge = "come-of-age",
    }
}

impl StateEvent {
    /// What a statement with this state says; `unknown` says nothing.
    pub(super) const fn said(state: State) -> Option<Self> {
        match state {
            State::Unknown => None,
            State::Requested => Some(Self::Request),
            State::Deferred => Some(Self::Defer),
            State::PendingConfirmation => Some(Self::AwaitConfirmation),
            State::Given => Some(Self::Give),
            State::Renewed => Some(Self::Renew),
            State::Refused => Some(Self::Refuse),
            State::Withdrawn => Some(Self::Withdraw),
            State::Revoked => Some(Self::Revoke),
            State::Expired => Some(Self::Expire),
            State::Superseded => Some(Self::Supersede),
            State::Invalidated => Some(Self::Invalidate),
        }
    }
}

/// What an event makes of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    To(State),
    /// Nothing, and why.
    Stays(&'static str),
}

impl Transition {
    #[must_use]
    pub const fn from(self, current: State) -> State {
        match self {
            Self::To(state) => state,
            Self::Stays(_) => current,
        }
    }
}

/// What becomes of a consent by an event.
#[must_use]
pub const fn next(current: State, event: StateEvent) -> Transition {
    use State as S;
    use StateEvent as E;
    use Transition::{Stays, To};
    match (event, current) {
        (E::Give, _) => To(S::Given),
        (E::Invalidate, S::Refused) => Stays("a refusal rests on no consent that could be invalid"),
        (E::Invalidate, _) => To(S::Invalidated),

        (E::Request | E::Defer | E::AwaitConfirmation, S::Given | S::Renewed) => Stays("asking again does not end a consent"),
        (E::Request | E::Defer | E::AwaitConfirmation, S::Refused | S::Withdrawn | S::Revoked | S::Invalidated) => {
            Stays("asking again does not undo a refusal")
        }
        (E::Request, S::PendingConfirmation) => Stays("it waits for confirmation already"),
        (E::Request, S::Unknown | S::Requested | S::Deferred | S::Expired | S::Superseded) => To(S::Requested),
        (E::Defer, S::Unknown | S::Requested | S::Deferred | S::PendingConfirmation | S::Expired | S::Superseded) => To(S::Deferred),
        (E::AwaitConfirmation, S::Unknown | S::Requested | S::Deferred | S::PendingConfirmation | S::Expired | S::Superseded) => {
            To(S::PendingConfirmation)
        }

        (E::Confirm, S::PendingConfirmation) => To(S::Given),
        (
            E::Confirm,
            S::Unknown
            | S::Requested
            | S::Deferred
            | S::Given
            | S::Renewed
            | S::Refused
            | S::Withdrawn
            | S::Revoked
            | S::Expired
            | S::Superseded
            | S::Invalidated,
        ) => Stays("nothing waits for confirmation"),

        (E::Renew, S::Given | S::Renewed | S::Expired | S::Superseded) => To(S::Renewed),
        (E::Renew, S::Unknown | S::Requested | S::Deferred | S::PendingConfirmation) => Stays("there is no consent to renew"),
        (E::Renew, S::Refused | S::Withdrawn | S::Revoked | S::Invalidated) => Stays("what was taken back is given anew, not renewed"),

        (E::Refuse, S::Given | S::Renewed | S::Withdrawn) => To(S::Withdrawn),
        (
            E::Refuse,
            S::Unknown | S::Requested | S::Deferred | S::PendingConfirmation | S::Refused | S::Revoked | S::Expired | S::Superseded | S::Invalidated,
        ) => To(S::Refused),
        (E::Withdraw, S::Invalidated) => Stays("it never was valid"),
        (
            E::Withdraw,
            S::Unknown
            | S::Requested
            | S::Deferred
            | S::PendingConfirmation
            | S::Given
            | S::Renewed
            | S::Refused
            | S::Withdrawn
            | S::Revoked
            | S::Expired
            | S::Superseded,
        ) => To(S::Withdrawn),
        (E::Revoke, S::Refused | S::Withdrawn) => Stays("the person's own refusal stands"),
        (E::Revoke, S::Invalidated) => Stays("it never was valid"),
        (
            E::Revoke,
            S::Unknown | S::Requested | S::Deferred | S::PendingConfirmation | S::Given | S::Renewed | S::Revoked | S::Expired | S::Superseded,
        ) => To(S::Revoked),

        (E::Expire | E::Supersede, S::Refused | S::Withdrawn | S::Revoked | S::Invalidated) => {
            Stays("what was refused or taken back does not run out")
        }
        (E::Expire, S::Requested | S::Deferred | S::PendingConfirmation) => To(S::Unknown),
        (E::Expire, S::Unknown | S::Given | S::Renewed | S::Expired | S::Superseded) => To(S::Expired),
        (E::Supersede, S::Requested | S::Deferred | S::PendingConfirmation) => Stays("a request holds on the new notice, too"),
        (E::Supersede, S::Unknown | S::Given | S::Renewed | S::Expired | S::Superseded) => To(S::Superseded),

        (E::ComeOfAge, S::Given | S::Renewed) => To(S::Requested),
        (
            E::ComeOfAge,
            S::Unknown
            | S::Requested
            | S::Deferred
            | S::PendingConfirmation
            | S::Refused
            | S::Withdrawn
            | S::Revoked
            | S::Expired
            | S::Superseded
            | S::Invalidated,
        ) => Stays("no consent rests on who spoke for the person"),
    }
}
