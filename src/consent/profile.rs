//! What the ledger knows of one customer, reduced to what a decision needs: no timestamps, no ids. So customers in the
//! same situation share one profile. Order in time survives as positions: everything a customer said and every stop is
//! numbered by the time at which it counts, and each grant carries how far back it reaches.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Age, Author, EventId, Purpose};

use super::event::{Holder, Method, Scope, State, StopKind};
use super::record::{Matter, Record, Terms};
use super::states::StateEvent;
use super::write::FUTURE_MAX;

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
    /// No data subject.
    pub(super) is_organisation: bool,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Said {
    pub(super) at: Position,
    pub(super) state: State,
    pub(super) terms: Arc<Terms>,
    pub(super) explicit: bool,
    /// Why a grant or a request for confirmation has run out, if it has.
    pub(super) lapsed: Option<Lapse>,
    /// Only so many answers may rely on it.
    pub(super) limited: bool,
    /// By somebody who may say so, evidenced, timed, on a link that may carry a grant: what this says can raise permission.
    pub(super) raises: bool,
    /// It answers a request for confirmation that covers it and had not run out.
    pub(super) confirmed: bool,
    /// By the customer, or by whoever speaks for them.
    pub(super) by_customer: bool,
    /// Of what a guardian or representative says: what they could speak for when they said it.
    pub(super) mandates: Option<Box<[Mandate]>>,
    pub(super) system: Arc<str>,
    pub(super) app: Arc<str>,
    pub(super) origin: Origin,
    /// The formerly separate customers, numbered by first appearance.
    pub(super) group: u16,
    /// The other groups that had become one customer with its own before it was said.
    pub(super) over: Box<[u16]>,
}

/// Why a grant no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lapse {
    /// Its time or its uses are over, or what it was to last until has come to pass.
    Expired,
    /// A new notice took the place of the one it was given on.
    Superseded,
    /// Whoever spoke for the person no longer does.
    Requested,
}

impl Lapse {
    pub(super) const fn event(self) -> StateEvent {
        match self {
            Self::Expired => StateEvent::Expire,
            Self::Superseded => StateEvent::Supersede,
            Self::Requested => StateEvent::ComeOfAge,
        }
    }
}

/// A delegation as it bears on one statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mandate {
    /// Empty covers everything.
    pub(super) purposes: Box<[Purpose]>,
    /// Since then.
    pub(super) ended: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HardStop {
    pub(super) at: Position,
    pub(super) kind: StopKind,
    pub(super) purposes: Box<[Purpose]>,
    pub(super) scope: Scope,
    pub(super) by_customer: bool,
    pub(super) system: Arc<str>,
    pub(super) origin: Origin,
    pub(super) group: u16,
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
    pub(super) const fn numbers(self) -> [u32; 3] {
        [self.source, self.after_own, self.after_other]
    }

    pub(super) const fn from_numbers([source, after_own, after_other]: [u32; 3]) -> Self {
        Self { source, after_own, after_other }
    }

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

    /// The same after notices lost their force; `None` where nothing rests on them.
    pub(super) fn superseded(&self, notices: &HashSet<(String, String)>) -> Option<Self> {
        let rests =
            |said: &Said| said.lapsed.is_none() && said.state.opens() && said.terms.notice.as_ref().is_some_and(|notice| notices.contains(notice));
        if !self.said.iter().any(rests) {
            return None;
        }
        let mut changed = self.clone();
        for said in changed.said.iter_mut().filter(|said| rests(said)) {
            said.lapsed = Some(Lapse::Superseded);
        }
        Some(changed)
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
    /// Which formerly separate customer the id belonged to; 0 when there was no merge.
    pub(super) group: u16,
}

/// When two groups became one customer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    pub(super) a: u16,
    pub(super) b: u16,
    pub(super) at: Timestamp,
}

/// What else a profile depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    pub(super) skew: SignedDuration,
    /// What is due by then has run out.
    pub(super) at: Timestamp,
    /// Notices in whose place another stands: id and version.
    pub(super) superseded: &'a HashSet<(String, String)>,
    pub(super) age: Age,
    /// When somebody who was known as a minor came of age; `None`: never known as one.
    pub(super) adult_since: Option<Timestamp>,
    pub(super) joined: &'a [Joined],
    pub(super) is_organisation: bool,
}

impl Circumstances<'_> {
    /// Whether a customer was of age for what they said: a minor refuses but does not grant, and coming of age changes nothing
    /// about what was said before.
    fn may_speak(&self, record: &Record) -> bool {
        record.form.author != Author::Customer || (self.age != Age::Minor && self.adult_since.is_none_or(|since| record.time() >= since))
    }
}

/// Builds a profile and the ids that its positions stand for. Pure: the same records give the same profile in any order.
pub(super) fn build(mut reaching: Vec<Reaching<'_>>, circumstances: &Circumstances<'_>) -> (Profile, Vec<EventId>) {
    let is_lift = |r: &Reaching<'_>| matches!(r.record.form.matter, Matter::Lift);
    let lifted: HashSet<EventId> = reaching.iter().filter(|r| is_lift(r)).filter_map(|r| r.record.about).collect();
    // A lift ends a stop and nothing else.
    reaching.retain(|r| !is_lift(r) && (r.record.stop_kind().is_none() || !lifted.contains(&r.record.id)));
    reaching.sort_by_key(|r| (r.record.time(), r.record.id, !r.carries_grants, r.group));
    reaching.dedup_by_key(|r| r.record.id);

    let around = Around::new(&reaching, circumstances);
    let mut sources: Vec<&str> = Vec::new();
    let mut said = Vec::new();
    let mut stops = Vec::new();
    for (index, reached) in reaching.iter().enumerate() {
        let Reaching { record, carries_grants, group } = *reached;
        let form = &record.form;
        let at = Position(small(index));
        let source = numbered(&mut sources, form.source.as_str());
        let origin = around.origin(record, source);
        let by_customer = matches!(form.author, Author::Customer | Author::Guardian);
        match &form.matter {
            Matter::Said { state, terms, until } => {
                if around.is_carried_out(record, *state) {
                    continue;
                }
                // What never was valid stands as that from the time at which it was said.
                let state = if around.invalid.contains(&record.id) { State::Invalidated } else { *state };
                said.push(Said {
                    at,
                    state,
                    terms: Arc::clone(terms),
                    explicit: form.method == Method::Explicit,
                    lapsed: around.lapse(record, state, until.as_deref()),
                    limited: record.uses_left.is_some(),
                    raises: state.opens()
                        && record.may_raise()
                        && carries_grants
                        && circumstances.may_speak(record)
                        && !around.comes_after_erasure(record),
                    confirmed: state.opens() && around.confirms(reached, terms),
                    by_customer,
                    mandates: (state.opens() && form.author == Author::Guardian).then(|| around.mandates(reached)),
                    system: Arc::clone(&form.system),
                    app: Arc::clone(&form.app),
                    origin,
                    group: around.number(group),
                    over: around.over(reached),
                });
            }
            Matter::Stop { kind, purposes, scope } => stops.push(HardStop {
                at,
                kind: *kind,
                purposes: purposes.clone(),
                scope: scope.clone(),
                by_customer,
                system: Arc::clone(&form.system),
                origin,
                group: around.number(group),
            }),
            Matter::Lift | Matter::Delegation { .. } | Matter::Occurrence(_) => {}
        }
    }
    let events = reaching.iter().map(|r| r.record.id).collect();
    (Profile { said: said.into(), stops: stops.into(), is_organisation: circumstances.is_organisation }, events)
}

/// What one record must know of the others.
struct Around<'a> {
    reaching: &'a [Reaching<'a>],
    circumstances: &'a Circumstances<'a>,
    times: Vec<Timestamp>,
    /// What closes, by id: the earliest time at which it or a later one was recorded.
    closed_from: Vec<(EventId, Timestamp)>,
    /// Grants of which another record says that they never were valid.
    invalid: HashSet<EventId>,
    /// When the person was erased.
    erased: Option<EventId>,
    /// In the order of first appearance.
    groups: Vec<u16>,
    /// When two groups became one customer.
    joined: HashMap<(u16, u16), Timestamp>,
}

impl<'a> Around<'a> {
    fn new(reaching: &'a [Reaching<'a>], circumstances: &'a Circumstances<'a>) -> Self {
        let mut groups = Vec::new();
        for reached in reaching {
            numbered(&mut groups, reached.group);
        }
        let joined = if groups.len() > 1 { joined_at(circumstances.joined) } else { HashMap::new() };
        let times = reaching.iter().map(|r| r.record.time()).collect();
        let closed_from = earliest_from(reaching.iter().map(|r| r.record).filter(|record| record.closes()));
        let erased = reaching.iter().filter(|r| r.record.stop_kind() == Some(StopKind::Erasure)).map(|r| r.record.id).min();
        let mut around = Self { reaching, circumstances, times, closed_from, invalid: HashSet::new(), erased, groups, joined };
        let is_grant = |id: &EventId| around.find(*id).is_some_and(|r| matches!(r.record.form.matter, Matter::Said { state, .. } if state.opens()));
        let invalid = reaching.iter().filter_map(|r| invalidated_by(r.record)).filter(is_grant).collect();
        around.invalid = invalid;
        around
    }

    fn find(&self, id: EventId) -> Option<&Reaching<'a>> {
        self.reaching.iter().find(|r| r.record.id == id)
    }

    /// What comes in about an erased person is kept, and opens nothing, on whatever basis.
    fn comes_after_erasure(&self, record: &Record) -> bool {
        self.erased.is_some_and(|erased| record.id > erased)
    }

    /// Whether it says of another record that it never was valid, and that is all it says.
    fn is_carried_out(&self, record: &Record, state: State) -> bool {
        state == State::Invalidated && record.about.is_some_and(|about| self.invalid.contains(&about))
    }

    fn origin(&self, record: &Record, source: usize) -> Origin {
        let clear = record.time().checked_sub(self.circumstances.skew).unwrap_or(Timestamp::MIN);
        let after_other = self.times.partition_point(|t| *t < clear);
        let earlier = self.times.partition_point(|t| *t < record.time());
        // Within the skew one source's clocks say less than the order in which it spoke: a no that was recorded later is later.
        let spoken_later = |r: &Reaching<'_>| r.record.id > record.id && r.record.closes() && r.record.form.source == record.form.source;
        let within_skew = self.reaching.iter().take(earlier).skip(after_other);
        let after_own = within_skew.take_while(|r| !spoken_later(r)).count().saturating_add(after_other);
        let before = self.set_back_at(record);
        Origin { source: small(source), after_own: small(after_own.min(before)), after_other: small(after_other.min(before)) }
    }

    /// The first no that was recorded after this, by a clock that was set back to before it: then times say nothing, and what was
    /// recorded later is later. As long as our clock goes forward there is none, since no event is taken that lies farther ahead.
    fn set_back_at(&self, record: &Record) -> usize {
        let is_ahead_of = |recorded: Timestamp| recorded.checked_add(FUTURE_MAX).is_ok_and(|latest| latest < record.time());
        let later = self.closed_from.partition_point(|(id, _)| *id <= record.id);
        if self.closed_from.get(later).is_none_or(|(_, earliest)| !is_ahead_of(*earliest)) {
            return usize::MAX;
        }
        let is_later = |r: &Reaching<'_>| r.record.id > record.id && r.record.closes() && is_ahead_of(r.record.record_time);
        self.reaching.iter().position(is_later).unwrap_or(usize::MAX)
    }

    fn lapse(&self, record: &Record, state: State, until: Option<&str>) -> Option<Lapse> {
        if !state.opens() && state != State::PendingConfirmation {
            return None;
        }
        let occurred = |name: &str| {
            let is_it = |r: &Reaching<'_>| matches!(&r.record.form.matter, Matter::Occurrence(occurred) if occurred == name);
            self.reaching.iter().any(|r| is_it(r) && r.record.time() >= record.time())
        };
        if record.has_run_out(self.circumstances.at) || record.uses_left == Some(0) || until.is_some_and(occurred) {
            return Some(Lapse::Expired);
        }
        let Matter::Said { terms, .. } = &record.form.matter else { return None };
        let superseded = state.opens() && terms.notice.as_ref().is_some_and(|notice| self.circumstances.superseded.contains(notice));
        superseded.then_some(Lapse::Superseded)
    }

    /// Double opt-in: it answers a request for confirmation that covers it and still waited.
    fn confirms(&self, grant: &Reaching<'_>, terms: &Terms) -> bool {
        let Some(asked) = grant.record.about.and_then(|about| self.find(about)) else { return false };
        let Matter::Said { state: State::PendingConfirmation, terms: asked_for, .. } = &asked.record.form.matter else { return false };
        self.supports(asked, grant) && asked.record.form.app == grant.record.form.app && terms.is_within(asked_for)
    }

    /// What the one who speaks for the person could speak for at that time.
    fn mandates(&self, grant: &Reaching<'_>) -> Box<[Mandate]> {
        let Circumstances { at, age, .. } = *self.circumstances;
        let mandate = |r: &Reaching<'_>| {
            let Matter::Delegation { holder, purposes } = &r.record.form.matter else { return None };
            let may_speak = self.circumstances.may_speak(r.record) && !self.comes_after_erasure(r.record);
            let is_proven = r.record.form.is_evidenced && r.record.form.author != Author::System && may_speak;
            let of_age = *holder == Holder::Guardian && age == Age::Adult;
            (is_proven && self.supports(r, grant)).then(|| Mandate { purposes: purposes.clone(), ended: of_age || r.record.has_run_out(at) })
        };
        let mut mandates: Vec<Mandate> = Vec::new();
        for mandate in self.reaching.iter().filter_map(mandate) {
            if !mandates.contains(&mandate) {
                mandates.push(mandate);
            }
        }
        mandates.into()
    }

    /// Whether a grant can rest on another record: not later, not run out when the grant was given, and of the same customer then.
    fn supports(&self, base: &Reaching<'_>, grant: &Reaching<'_>) -> bool {
        let time = grant.record.time();
        base.carries_grants
            && base.record.time() <= time
            && !base.record.due_by(time)
            && (base.group == grant.group || self.were_joined(base.group, grant.group, time))
    }

    fn were_joined(&self, a: u16, b: u16, before: Timestamp) -> bool {
        self.joined.get(&(a, b)).is_some_and(|joined| *joined < before)
    }

    /// The other groups that had become one customer with this one's before it was said. When something without a time was said is
    /// not known, however late it was recorded.
    fn over(&self, reached: &Reaching<'_>) -> Box<[u16]> {
        if reached.record.event_time.is_none() {
            return [].into();
        }
        let others = self.groups.iter().filter(|other| self.were_joined(reached.group, **other, reached.record.time()));
        others.map(|other| self.number(*other)).collect()
    }

    fn number(&self, group: u16) -> u16 {
        self.groups.iter().position(|g| *g == group).and_then(|n| u16::try_from(n).ok()).unwrap_or(u16::MAX)
    }
}

/// The grant of which this says that it never was valid.
pub(super) fn invalidated_by(record: &Record) -> Option<EventId> {
    match record.form.matter {
        Matter::Said { state: State::Invalidated, .. } => record.about,
        Matter::Said { .. } | Matter::Stop { .. } | Matter::Lift | Matter::Delegation { .. } | Matter::Occurrence(_) => None,
    }
}

/// By id, with the earliest time at which one was recorded from there on.
fn earliest_from<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<(EventId, Timestamp)> {
    let mut found: Vec<(EventId, Timestamp)> = records.map(|record| (record.id, record.record_time)).collect();
    found.sort_unstable_by_key(|(id, _)| *id);
    let mut earliest = Timestamp::MAX;
    for (_, time) in found.iter_mut().rev() {
        earliest = earliest.min(*time);
        *time = earliest;
    }
    found
}

/// When any two groups became one customer, each pair in both directions. Through others: when the last step of the earliest
/// way was made.
fn joined_at(joined: &[Joined]) -> HashMap<(u16, u16), Timestamp> {
    let mut steps = joined.to_vec();
    steps.sort_by_key(|step| step.at);
    let mut found = HashMap::new();
    let mut customers: Vec<Vec<u16>> = Vec::new();
    let take = |customers: &mut Vec<Vec<u16>>, group: u16| {
        let at = customers.iter().position(|groups| groups.contains(&group));
        at.map_or_else(|| vec![group], |at| customers.swap_remove(at))
    };
    for step in steps {
        let mut one = take(&mut customers, step.a);
        if !one.contains(&step.b) {
            let other = take(&mut customers, step.b);
            for (a, b) in one.iter().flat_map(|a| other.iter().map(|b| (*a, *b))) {
                found.insert((a, b), step.at);
                found.insert((b, a), step.at);
            }
            one.extend(other);
        }
        customers.push(one);
    }
    found
}

/// The number of a value by first appearance.
fn numbered<T: PartialEq>(seen: &mut Vec<T>, value: T) -> usize {
    seen.iter().position(|s| *s == value).unwrap_or_else(|| {
        seen.push(value);
        seen.len() - 1
    })
}

fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
