//! An event as a profile is built from it: what many events share ([`Form`]) and what is its own ([`Record`]).

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{Author, Category, Department, EventId, Purpose, Revision};

use super::event::{Consent, Delegation, Event, Holder, Method, Notice, Scope, State, Stop, StopKind, What};

/// What an event says, by whom and through whom: equal for very many events, so kept once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Form {
    pub(super) matter: Matter,
    pub(super) author: Author,
    /// Who captured it and the system it comes from: an app cannot pass as another source by naming it.
    pub(super) source: String,
    /// The system that the statement comes from, as `source-priority/v1` ranks it and the conflict ledger names it.
    pub(super) system: Arc<str>,
    /// The app that captured it: what an app says ranks no higher than the app itself.
    pub(super) app: Arc<str>,
    pub(super) method: Method,
    pub(super) is_evidenced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Matter {
    Said {
        state: State,
        terms: Arc<Terms>,
        /// A grant ends when this occurs.
        until: Option<String>,
    },
    Stop {
        kind: StopKind,
        purposes: Box<[Purpose]>,
        scope: Scope,
    },
    /// Ends the stop that the record is about.
    Lift,
    Delegation {
        holder: Holder,
        purposes: Box<[Purpose]>,
    },
    Occurrence(String),
}

/// What a statement is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    pub(super) purposes: Box<[Purpose]>,
    pub(super) scope: Scope,
    /// Id and version.
    pub(super) notice: Option<(String, String)>,
    /// What the notice named.
    pub(super) named_purposes: Box<[Purpose]>,
    pub(super) named_categories: Box<[Category]>,
    pub(super) named_recipients: Box<[Department]>,
}

/// One stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Its revision orders records of equal time.
    pub(super) id: EventId,
    pub(super) form: Arc<Form>,
    /// When the person acted, if that is known.
    pub(super) event_time: Option<Timestamp>,
    pub(super) record_time: Timestamp,
    /// The stop that is lifted, the grant that was never valid, the request that is confirmed.
    pub(super) about: Option<EventId>,
    /// When a grant, a request for confirmation or a delegation runs out.
    pub(super) due: Option<Timestamp>,
    /// The timer has fired: what ran out stays run out when a clock is set back.
    pub(super) fired: bool,
    /// Answered requests that may still rely on a grant; `None` where their number is not limited.
    pub(super) uses_left: Option<u32>,
    /// When its last use was taken.
    pub(super) used_up: Option<(Revision, Timestamp)>,
}

impl Record {
    pub(super) fn of(event: &Event, fired: bool, used: u32) -> Self {
        let (about, due, uses) = match &event.what {
            What::Consent(consent) => {
                let runs_out = consent.state.opens() || consent.state == State::PendingConfirmation;
                (consent.about, consent.expires.filter(|_| runs_out), consent.uses)
            }
            What::Delegation(delegation) => (None, delegation.until, None),
            What::Lift { stop, reason: _ } => (Some(*stop), None, None),
            What::Stop(_) | What::Occurrence(_) => (None, None, None),
        };
        Self {
            id: event.id,
            form: Arc::new(Form::of(event)),
            event_time: event.event_time,
            record_time: event.record_time,
            about,
            due,
            fired,
            uses_left: uses.map(|uses| uses.saturating_sub(used)),
            used_up: None,
        }
    }

    /// When it counts: an event without event time counts when it was recorded.
    pub(super) fn time(&self) -> Timestamp {
        self.event_time.unwrap_or(self.record_time)
    }

    /// As it was at a time, as far as was known by a revision: no timer had fired of itself, and a use that was taken later, or of
    /// which nobody knew, was still left.
    pub(super) fn as_of(&self, at: Timestamp, known: Revision) -> Self {
        let was_left = self.used_up.is_some_and(|(revision, time)| revision > known || time > at);
        Self { fired: false, uses_left: if was_left { Some(1) } else { self.uses_left }, ..self.clone() }
    }

    /// Whether it has run out by then; what the timer once fired stays so.
    pub(super) fn has_run_out(&self, at: Timestamp) -> bool {
        self.fired || self.due_by(at)
    }

    pub(super) fn due_by(&self, at: Timestamp) -> bool {
        self.due.is_some_and(|due| due <= at)
    }

    /// What has no time, author or evidence, or was only implied, can lower permission, never raise it.
    pub(super) fn may_raise(&self) -> bool {
        let by_the_person = match self.form.author {
            Author::Customer | Author::Guardian => true,
            Author::Staff | Author::System => false,
        };
        by_the_person && self.form.is_evidenced && self.event_time.is_some() && self.form.method != Method::Implied
    }

    /// Whether it binds although the id was not linked yet when it was recorded, or is only matched: stops and refusals do.
    pub(super) fn binds_across(&self) -> bool {
        match &self.form.matter {
            Matter::Said { state, .. } => state.closes(),
            Matter::Stop { .. } | Matter::Lift | Matter::Occurrence(_) => true,
            Matter::Delegation { .. } => false,
        }
    }

    /// Whether it is a refusal or a stop.
    pub(super) fn closes(&self) -> bool {
        match &self.form.matter {
            Matter::Said { state, .. } => state.closes(),
            Matter::Stop { .. } => true,
            Matter::Lift | Matter::Delegation { .. } | Matter::Occurrence(_) => false,
        }
    }

    pub(super) fn stop_kind(&self) -> Option<StopKind> {
        match &self.form.matter {
            Matter::Stop { kind, .. } => Some(*kind),
            Matter::Said { .. } | Matter::Lift | Matter::Delegation { .. } | Matter::Occurrence(_) => None,
        }
    }
}

impl Form {
    /// Whether a date ends it.
    pub(super) fn may_run_out(&self) -> bool {
        match &self.matter {
            Matter::Said { state, .. } => state.opens() || *state == State::PendingConfirmation,
            Matter::Delegation { .. } => true,
            Matter::Stop { .. } | Matter::Lift | Matter::Occurrence(_) => false,
        }
    }

    pub(super) fn of(event: &Event) -> Self {
        let matter = match &event.what {
            What::Consent(consent) => Matter::Said { state: consent.state, terms: Arc::new(Terms::of(consent)), until: consent.until.clone() },
            What::Stop(Stop { kind, purposes, scope, reason: _ }) => {
                Matter::Stop { kind: *kind, purposes: purposes.clone().into(), scope: scope.clone() }
            }
            What::Lift { .. } => Matter::Lift,
            What::Delegation(Delegation { holder, purposes, until: _ }) => Matter::Delegation { holder: *holder, purposes: purposes.clone().into() },
            What::Occurrence(name) => Matter::Occurrence(name.clone()),
        };
        Self {
            matter,
            author: event.author,
            source: format!("{}\n{}", event.captured_by, event.source_system),
            system: system_name(&event.source_system).into(),
            app: system_name(&event.captured_by).into(),
            method: event.method,
            is_evidenced: event.is_evidenced(),
        }
    }
}

/// What stands for a capturer where systems are named: an app by its name, an employee by the desk.
fn system_name(text: &str) -> &str {
    match text.split_once(':') {
        Some(("client", app)) => app,
        Some(("staff", _)) => "staff",
        Some(_) | None => text,
    }
}

impl Terms {
    /// Whether a grant of these terms allows nothing beyond what was asked for.
    pub(super) fn is_within(&self, asked: &Self) -> bool {
        self.purposes.iter().all(|purpose| asked.purposes.contains(purpose))
            && self.categories().iter().all(|category| asked.categories().contains(category))
            && self.recipients().iter().all(|recipient| asked.recipients().contains(recipient))
    }

    /// What a grant covers: what its scope leaves open its notice must name.
    fn categories(&self) -> &[Category] {
        if self.scope.categories.is_empty() { &self.named_categories } else { &self.scope.categories }
    }

    fn recipients(&self) -> &[Department] {
        if self.scope.recipients.is_empty() { &self.named_recipients } else { &self.scope.recipients }
    }

    fn of(consent: &Consent) -> Self {
        let named = consent.notice.clone();
        let notice = named.as_ref().map(|notice| (notice.id.clone(), notice.version.clone()));
        let Notice { id: _, version: _, purposes, categories, recipients } = named.unwrap_or_default();
        Self {
            purposes: consent.purposes.clone().into(),
            scope: consent.scope.clone(),
            notice,
            named_purposes: purposes.into(),
            named_categories: categories.into(),
            named_recipients: recipients.into(),
        }
    }
}
