//! What the ledger knows of one customer, reduced to what a decision needs: no timestamps, no ids. So customers in the
//! same situation share one profile. Order in time survives as positions: everything a customer said and every stop is
//! numbered by the time at which it counts, and each grant carries how far back it reaches.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Author, Category, Department, EventId, Purpose, Revision};

use super::event::{Consent, Event, Method, Notice, Scope, State, Stop, StopKind, What};

/// The place of an event in a customer's time order; `Standing::event_id` gives its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(pub(super) u32);

/// A customer's consent state. Equal states are one allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Profile {
    /// By position.
    pub(super) said: Box<[Said]>,
    /// By position; lifted ones are gone.
    pub(super) stops: Box<[HardStop]>,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Said {
    pub(super) at: Position,
    pub(super) state: State,
    pub(super) terms: Terms,
    pub(super) explicit: bool,
    /// Its expiry has fired.
    pub(super) lapsed: bool,
    /// By the customer, evidenced, timed, on a link that may carry a grant: what this says can raise permission.
    pub(super) raises: bool,
    pub(super) origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HardStop {
    pub(super) at: Position,
    pub(super) kind: StopKind,
    pub(super) purposes: Box<[Purpose]>,
    pub(super) scope: Scope,
    pub(super) origin: Origin,
}

/// Where an entry came from and which earlier entries it is surely later than.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    /// Sources numbered by first appearance in this profile.
    source: u32,
    /// Entries before this position are strictly earlier.
    after_own: u32,
    /// Entries before this position are earlier by more than the skew.
    after_other: u32,
}

impl Origin {
    pub(super) const fn same_source(self, other: Self) -> bool {
        self.source == other.source
    }

    /// Whether this is later than the entry: strictly for one source, by more than the skew for two.
    pub(super) const fn later_than(self, at: Position, from: Self) -> bool {
        at.0 < if self.same_source(from) { self.after_own } else { self.after_other }
    }
}

/// What a statement is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    pub(super) purposes: Box<[Purpose]>,
    pub(super) scope: Scope,
    /// What the notice named.
    pub(super) named_purposes: Box<[Purpose]>,
    pub(super) named_categories: Box<[Category]>,
    pub(super) named_recipients: Box<[Department]>,
}

impl Profile {
    /// Whether nothing was ever said and nothing stands against this customer.
    #[must_use]
    pub const fn is_blank(&self) -> bool {
        self.said.is_empty() && self.stops.is_empty()
    }

    /// The names of the hard stops that stand, each once, regardless of purpose and scope.
    #[must_use]
    pub fn stop_names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.stops.iter().map(|stop| stop.kind.stop_name()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether a standing opt-out or objection against sale and sharing stands (`Sec-GPC`).
    #[must_use]
    pub fn has_gpc(&self) -> bool {
        self.stops.iter().any(|stop| stop.kind == StopKind::OptOutGpc)
    }

    pub(super) fn is_erased(&self) -> bool {
        self.stops.iter().any(|stop| stop.kind == StopKind::Erasure)
    }
}

/// An event as the projection keeps it in memory: what a profile is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: EventId,
    pub(super) revision: Revision,
    /// When it counts: event time, else record time.
    time: Timestamp,
    source: String,
    pub(super) expires: Option<Timestamp>,
    matter: Matter,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Matter {
    Said { state: State, terms: Terms, explicit: bool, may_raise: bool },
    Stop { kind: StopKind, purposes: Box<[Purpose]>, scope: Scope },
    Lift(EventId),
}

impl Record {
    pub(super) fn of(event: &Event) -> Self {
        let matter = match &event.what {
            What::Consent(consent) => Matter::Said {
                state: consent.state,
                terms: terms_of(consent),
                explicit: event.method == Method::Explicit,
                may_raise: may_raise(event),
            },
            What::Stop(Stop { kind, purposes, scope, reason: _ }) => {
                Matter::Stop { kind: *kind, purposes: purposes.clone().into(), scope: scope.clone() }
            }
            What::Lift { stop, reason: _ } => Matter::Lift(stop.clone()),
        };
        let expires = match &event.what {
            What::Consent(consent) if consent.state.opens() => consent.expires,
            What::Consent(_) | What::Stop(_) | What::Lift { .. } => None,
        };
        Self {
            id: event.id.clone(),
            revision: event.revision,
            time: event.event_time.unwrap_or(event.record_time),
            // An app cannot pass as another source by naming it.
            source: format!("{}\n{}", event.captured_by, event.source_system),
            expires,
            matter,
        }
    }

    /// Whether it binds although the id was not linked yet when it was recorded, or is only matched: stops and refusals do.
    pub(super) const fn binds_across(&self) -> bool {
        match &self.matter {
            Matter::Said { state, .. } => state.closes(),
            Matter::Stop { .. } | Matter::Lift(_) => true,
        }
    }

    pub(super) fn stop_kind(&self) -> Option<StopKind> {
        match &self.matter {
            Matter::Stop { kind, .. } => Some(*kind),
            Matter::Said { .. } | Matter::Lift(_) => None,
        }
    }

    /// Whether this is a hard stop or a closing statement.
    pub(super) const fn closes(&self) -> bool {
        match &self.matter {
            Matter::Said { state, .. } => state.closes(),
            Matter::Stop { .. } => true,
            Matter::Lift(_) => false,
        }
    }
}

/// What has no time, author or evidence, or was only implied, can lower permission, never raise it.
fn may_raise(event: &Event) -> bool {
    let by_the_person = match event.author {
        Author::Customer | Author::Guardian => true,
        Author::Staff | Author::System => false,
    };
    by_the_person && !event.evidence.is_empty() && event.event_time.is_some() && event.method != Method::Implied
}

fn terms_of(consent: &Consent) -> Terms {
    let notice = consent.notice.clone().unwrap_or_default();
    let Notice { id: _, version: _, purposes, categories, recipients } = notice;
    Terms {
        purposes: consent.purposes.clone().into(),
        scope: consent.scope.clone(),
        named_purposes: purposes.into(),
        named_categories: categories.into(),
        named_recipients: recipients.into(),
    }
}

/// A record as it reaches one customer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaching<'a> {
    pub(super) record: &'a Record,
    /// Whether the link may carry a grant.
    pub(super) carries_grants: bool,
    pub(super) lapsed: bool,
}

/// Builds a profile and the ids that its positions stand for. Pure: the same records give the same profile in any order.
pub(super) fn build(mut reaching: Vec<Reaching<'_>>, skew: SignedDuration) -> (Profile, Vec<EventId>) {
    let lifted: HashSet<&EventId> = reaching
        .iter()
        .filter_map(|r| match &r.record.matter {
            Matter::Lift(stop) => Some(stop),
            Matter::Said { .. } | Matter::Stop { .. } => None,
        })
        .collect();
    reaching.retain(|r| !matches!(r.record.matter, Matter::Lift(_)) && !lifted.contains(&r.record.id));
    reaching.sort_by(|a, b| in_time(a.record, b.record));
    reaching.dedup_by(|a, b| a.record.id == b.record.id);

    let times: Vec<Timestamp> = reaching.iter().map(|r| r.record.time).collect();
    let mut sources: Vec<&str> = Vec::new();
    let mut said = Vec::new();
    let mut stops = Vec::new();
    for (index, Reaching { record, carries_grants, lapsed }) in reaching.iter().enumerate() {
        let source = sources.iter().position(|s| *s == record.source).unwrap_or_else(|| {
            sources.push(&record.source);
            sources.len() - 1
        });
        let clear = record.time.checked_sub(skew).unwrap_or(Timestamp::MIN);
        let origin = Origin {
            source: small(source),
            after_own: small(times.partition_point(|t| *t < record.time)),
            after_other: small(times.partition_point(|t| *t < clear)),
        };
        let at = Position(small(index));
        match &record.matter {
            Matter::Said { state, terms, explicit, may_raise } => said.push(Said {
                at,
                state: *state,
                terms: terms.clone(),
                explicit: *explicit,
                lapsed: *lapsed,
                raises: *may_raise && *carries_grants && state.opens(),
                origin,
            }),
            Matter::Stop { kind, purposes, scope } => {
                stops.push(HardStop { at, kind: *kind, purposes: purposes.clone(), scope: scope.clone(), origin });
            }
            Matter::Lift(_) => {}
        }
    }
    let events = reaching.iter().map(|r| r.record.id.clone()).collect();
    (Profile { said: said.into(), stops: stops.into() }, events)
}

fn in_time(a: &Record, b: &Record) -> Ordering {
    (a.time, a.revision, &a.id).cmp(&(b.time, b.revision, &b.id))
}

fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Equal profiles are one allocation.
#[derive(Debug, Default)]
pub(super) struct Interner {
    profiles: HashSet<Arc<Profile>>,
    sweep_at: usize,
}

impl Interner {
    pub(super) fn intern(&mut self, profile: Profile) -> Arc<Profile> {
        if let Some(found) = self.profiles.get(&profile) {
            return Arc::clone(found);
        }
        if self.profiles.len() >= self.sweep_at {
            self.profiles.retain(|p| Arc::strong_count(p) > 1);
            self.sweep_at = (self.profiles.len() * 2).max(SWEEP_MIN);
        }
        let profile = Arc::new(profile);
        self.profiles.insert(Arc::clone(&profile));
        profile
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.profiles.len()
    }
}

/// Profiles nobody holds any more are dropped when the set has doubled, from this size on.
const SWEEP_MIN: usize = 1024;
