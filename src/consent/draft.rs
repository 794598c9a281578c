//! What a caller hands in, and what it gets back.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SpanFieldwise, Timestamp};

use crate::model::{ActivityKey, Author, Channel, Client, EventId, PartyNo, Purpose, Revision};

use super::event::{Delegation, Method, Notice, PartyRef, Scope, State, StopKind};
use super::once::IdempotencyKey;

/// Who hands an event in. The author is derived from it and never believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capturer {
    /// A registered app; its `[[capture]]` registration says what it may claim.
    Client(Client),
    /// An employee at the consent desk, by pseudonym; may record what a customer said, with evidence.
    Staff { pseudonym: String },
    /// The person who followed a signed withdrawal link; it proves for whom and for what, and can only close.
    Link,
}

/// A consent event to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventDraft {
    pub subject: PartyRef,
    pub purposes: Vec<Purpose>,
    pub activity: Option<ActivityKey>,
    pub state: State,
    pub event_time: Option<Timestamp>,
    pub channel: Channel,
    pub method: Method,
    /// Whose statement the caller says it is; kept only if its registration allows.
    pub claims: Author,
    pub notice: Option<Notice>,
    pub evidence: BTreeMap<String, String>,
    /// The system the statement comes from; the caller itself when absent.
    pub source_system: Option<String>,
    pub scope: Scope,
    pub expires: Option<Timestamp>,
    /// How long a grant lasts from the time when the person acted; the earlier of this and `expires` holds.
    pub lasts: Option<SpanFieldwise>,
    pub until: Option<String>,
    pub uses: Option<u32>,
    pub about: Option<EventId>,
    pub idempotency_key: Option<IdempotencyKey>,
}

impl EventDraft {
    /// A bare statement by the customer: no time, notice, evidence or scope yet.
    #[must_use]
    pub fn new(subject: impl Into<PartyRef>, purpose: Purpose, state: State) -> Self {
        Self {
            subject: subject.into(),
            purposes: vec![purpose],
            activity: None,
            state,
            event_time: None,
            channel: Channel::System,
            method: Method::Expressed,
            claims: Author::Customer,
            notice: None,
            evidence: BTreeMap::new(),
            source_system: None,
            scope: Scope::default(),
            expires: None,
            lasts: None,
            until: None,
            uses: None,
            about: None,
            idempotency_key: None,
        }
    }
}

/// A hard stop to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopDraft {
    pub subject: PartyRef,
    pub kind: StopKind,
    /// Only for objections, opt-outs and suppressions; with `scope`, empty covers everything.
    pub purposes: Vec<Purpose>,
    pub scope: Scope,
    pub event_time: Option<Timestamp>,
    pub channel: Channel,
    pub claims: Author,
    pub evidence: BTreeMap<String, String>,
    pub source_system: Option<String>,
    pub reason: Option<String>,
    pub idempotency_key: Option<IdempotencyKey>,
}

impl StopDraft {
    #[must_use]
    pub fn new(subject: impl Into<PartyRef>, kind: StopKind) -> Self {
        Self {
            subject: subject.into(),
            kind,
            purposes: Vec::new(),
            scope: Scope::default(),
            event_time: None,
            channel: Channel::System,
            claims: Author::Customer,
            evidence: BTreeMap::new(),
            source_system: None,
            reason: None,
            idempotency_key: None,
        }
    }
}

/// One of many statements that are recorded together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    Consent(Box<EventDraft>),
    Stop(Box<StopDraft>),
    Note(Box<NoteDraft>),
}

/// A delegation or an occurrence to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteDraft {
    pub subject: PartyRef,
    pub note: Note,
    pub event_time: Option<Timestamp>,
    pub claims: Author,
    pub evidence: BTreeMap<String, String>,
    pub source_system: Option<String>,
    pub idempotency_key: Option<IdempotencyKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Somebody may speak for the customer.
    Delegation(Delegation),
    /// Something on which grants may depend has come to pass.
    Occurrence(String),
}

/// The end of a restriction, or the correction of a deceased or legal flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiftDraft {
    pub stop: EventId,
    pub reason: String,
    pub evidence: BTreeMap<String, String>,
    pub idempotency_key: Option<IdempotencyKey>,
}

/// The event is stored and binds every later release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub event: EventId,
    /// `None`: the id is not in the crosswalk; the event binds when it is linked.
    pub party: Option<PartyNo>,
    pub revision: Revision,
    /// From the call to the moment it was in force; `None` when a repeated request got its first answer again.
    pub in_force_after: Option<Duration>,
    pub author: Author,
    /// The same was recorded before; nothing was changed.
    pub known_before: bool,
}
