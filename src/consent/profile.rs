//! What the ledger knows of one customer, reduced to what a decision needs: no timestamps, no ids. So customers in the
//! same situation share one profile. Order in time survives as positions: everything a customer said and every stop is
//! numbered by the time at which it counts, and each grant carries how far back it reaches.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::model::{EventId, Purpose};

use super::event::{Method, Scope, State, StopKind};
use super::record::{Matter, Record, Terms};

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
    pub(super) terms: Arc<Terms>,
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

/// A record as it reaches one customer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaching<'a> {
    pub(super) record: &'a Record,
    /// Whether the link may carry a grant.
    pub(super) carries_grants: bool,
}

/// Builds a profile and the ids that its positions stand for. Pure: the same records give the same profile in any order.
pub(super) fn build(mut reaching: Vec<Reaching<'_>>, skew: SignedDuration) -> (Profile, Vec<EventId>) {
    let is_lift = |r: &Reaching<'_>| matches!(r.record.form.matter, Matter::Lift);
    let lifted: HashSet<EventId> = reaching.iter().filter(|r| is_lift(r)).filter_map(|r| r.record.about).collect();
    reaching.retain(|r| !is_lift(r) && !lifted.contains(&r.record.id));
    reaching.sort_by(|a, b| in_time(a.record, b.record));
    reaching.dedup_by(|a, b| a.record.id == b.record.id);

    let times: Vec<Timestamp> = reaching.iter().map(|r| r.record.time()).collect();
    let mut sources: Vec<&str> = Vec::new();
    let mut said = Vec::new();
    let mut stops = Vec::new();
    for (index, Reaching { record, carries_grants }) in reaching.iter().enumerate() {
        let source = sources.iter().position(|s| *s == record.form.source).unwrap_or_else(|| {
            sources.push(&record.form.source);
            sources.len() - 1
        });
        let clear = record.time().checked_sub(skew).unwrap_or(Timestamp::MIN);
        let origin = Origin {
            source: small(source),
            after_own: small(times.partition_point(|t| *t < record.time())),
            after_other: small(times.partition_point(|t| *t < clear)),
        };
        let at = Position(small(index));
        match &record.form.matter {
            Matter::Said { state, terms, until: _ } => said.push(Said {
                at,
                state: *state,
                terms: Arc::clone(terms),
                explicit: record.form.method == Method::Explicit,
                lapsed: record.fired,
                raises: record.may_raise() && *carries_grants && state.opens(),
                origin,
            }),
            Matter::Stop { kind, purposes, scope } => {
                stops.push(HardStop { at, kind: *kind, purposes: purposes.clone(), scope: scope.clone(), origin });
            }
            Matter::Lift | Matter::Delegation { .. } | Matter::Occurrence(_) => {}
        }
    }
    let events = reaching.iter().map(|r| r.record.id).collect();
    (Profile { said: said.into(), stops: stops.into() }, events)
}

fn in_time(a: &Record, b: &Record) -> Ordering {
    (a.time(), a.id).cmp(&(b.time(), b.id))
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
