//! The conflict rules read off the records themselves: no positions, no profile, every question asked of all records anew. Slow
//! and plain; what profiles answer is compared with it.

use crate::consent::event::Holder;
use crate::consent::record::{Matter, Record, Terms};
use crate::model::{Age, Author, ConflictRule, EventId, LawfulBasis};

use super::tale::{Tale, Told};
use super::*;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) open: bool,
    /// The grant that holds, or that would if it had not lapsed.
    pub(super) grant: Option<EventId>,
    pub(super) lapsed: Option<State>,
    pub(super) conflict: bool,
    /// Something was said that closes the use, whether or not it was taken back.
    pub(super) refused: bool,
}

/// One use of the contact data by marketing, asked of a tale.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) tale: &'a Tale,
    pub(super) purpose: Purpose,
    pub(super) rule: ConflictRule,
    /// Only what this group said.
    pub(super) group: Option<u16>,
}

impl<'a> Reading<'a> {
    pub(super) fn answer(&self) -> Answer {
        let winner = self.winner();
        let lapsed = winner.and_then(|grant| self.lapse(grant));
        let open = winner.is_some() && lapsed.is_none();
        let refused = !self.refusals().is_empty();
        Answer { open, grant: winner.map(Told::id), lapsed, conflict: !open && self.differs_unsettled(), refused }
    }

    pub(super) fn floor(&self, basis: LawfulBasis) -> Option<&'static str> {
        let reading = Self { rule: ConflictRule::CustomerLastWord, ..*self };
        let stops = self.sorted().into_iter().filter(|told| !self.is_lifted(told));
        stops.filter_map(|told| if let Matter::Stop { kind, .. } = told.record.form.matter { Some((told, kind)) } else { None }).find_map(
            |(told, kind)| {
                let name = self.purpose.as_str();
                let closes = if kind == StopKind::Restriction {
                    !matches!(basis, LawfulBasis::LegalObligation | LawfulBasis::VitalInterest)
                } else if kind == StopKind::ObjectionMarketing {
                    name.starts_with("marketing") || name == "profiling"
                } else {
                    self.covers_as_refusal(told)
                };
                (closes && (kind == StopKind::Restriction || !reading.reopened(told))).then(|| kind.stop_name())
            },
        )
    }

    fn reopened(&self, stop: &Told) -> bool {
        let Some(winner) = self.winner().filter(|grant| self.lapse(grant).is_none()) else { return false };
        let lifts = |grant: &Told| self.later(grant, stop) && self.names_exactly(grant) && self.speaks_for(grant, stop.group);
        lifts(winner) || winner.group != stop.group && self.grants().into_iter().any(|g| g.group == stop.group && self.is_plain(g) && lifts(g))
    }

    /// The last grant, if it wins against every refusal.
    fn winner(&self) -> Option<&'a Told> {
        let grants = self.grants();
        let last = grants.into_iter().rfind(|grant| state(grant) == State::Given || self.continues_something(grant))?;
        self.refusals().into_iter().all(|refusal| self.wins(last, refusal)).then_some(last)
    }

    fn wins(&self, grant: &Told, refusal: &Told) -> bool {
        let directly = self.speaks_for(grant, refusal.group) && self.rule_lets(grant, refusal);
        // Or the other customer had changed her mind herself.
        directly
            || grant.group != refusal.group
                && self.grants().into_iter().any(|own| own.group == refusal.group && self.is_plain(own) && self.rule_lets(own, refusal))
    }

    fn rule_lets(&self, grant: &Told, refusal: &Told) -> bool {
        let later = self.later(grant, refusal);
        match self.rule {
            ConflictRule::CustomerLastWord => later,
            ConflictRule::MostRestrictive => later && grant.record.form.source == refusal.record.form.source,
            ConflictRule::SourcePriority => {
                let rank = |system: &str| self.tale.rules.sources.iter().take_while(|s| *s != system).count();
                let foreign = matches!(refusal.record.form.author, Author::Staff | Author::System);
                let opinion = [State::Refused, State::Withdrawn, State::Revoked].contains(&self.word(refusal));
                later || foreign && opinion && rank(&grant.record.form.system) < rank(&refusal.record.form.system)
            }
        }
    }

    fn continues_something(&self, renewal: &Told) -> bool {
        let ended = |r: &&Told| !matches!(self.word(r), State::Expired | State::Superseded);
        let refusals = self.refusals();
        self.grants().into_iter().take_while(|g| g.id() != renewal.id()).any(|first| {
            state(first) == State::Given
                && self.lapse(first) != Some(State::Requested)
                && (first.group == renewal.group || self.joined_before(first.group, renewal.group, renewal))
                && refusals.iter().filter(|r| ended(r)).all(|refusal| self.wins(first, refusal))
        })
    }

    fn differs_unsettled(&self) -> bool {
        let (grants, refusals) = (self.grants(), self.refusals());
        let groups: Vec<u16> = grants.iter().chain(&refusals).map(|told| told.group).collect();
        if groups.iter().all(|group| Some(group) == groups.first()) {
            return false;
        }
        let after_all = |told: &Told| groups.iter().all(|group| *group == told.group || self.joined_before(told.group, *group, told));
        let timed = |told: &Told| told.record.event_time.is_some();
        let settled =
            grants.iter().any(|g| after_all(g) && self.names_exactly(g)) || refusals.iter().any(|r| by_customer(r) && timed(r) && after_all(r));
        !settled && groups.iter().any(|group| Self { group: Some(*group), ..*self }.answer().open)
    }

    /// In time; of equal times, as recorded.
    fn sorted(&self) -> Vec<&'a Told> {
        let mut all: Vec<&Told> = self.tale.told.iter().collect();
        all.sort_by_key(|told| (told.record.time(), told.id()));
        all
    }

    fn of_use(&self) -> impl Iterator<Item = &'a Told> {
        self.sorted().into_iter().filter(|told| self.group.is_none_or(|group| group == told.group))
    }

    /// Grants that may raise permission for this use.
    fn grants(&self) -> Vec<&'a Told> {
        self.of_use().filter(|told| state(told).opens() && !self.is_invalid(told) && self.covers_as_grant(told) && self.may_raise(told)).collect()
    }

    /// What closes: refusals, and grants that never were valid.
    fn refusals(&self) -> Vec<&'a Told> {
        self.of_use().filter(|told| self.word(told).closes() && !self.only_invalidates(told) && self.covers_as_refusal(told)).collect()
    }

    fn word(&self, told: &Told) -> State {
        if self.is_invalid(told) { State::Invalidated } else { state(told) }
    }

    fn is_invalid(&self, grant: &Told) -> bool {
        let says_so = |told: &Told| state(told) == State::Invalidated && told.record.about == Some(grant.id());
        state(grant).opens() && self.tale.told.iter().any(says_so)
    }

    fn only_invalidates(&self, told: &Told) -> bool {
        state(told) == State::Invalidated && told.record.about.is_some_and(|id| self.by_id(id).is_some_and(|grant| state(grant).opens()))
    }

    fn may_raise(&self, told: &Told) -> bool {
        let form = &told.record.form;
        let may_speak = match form.author {
            Author::Customer => !self.was_minor(told),
            Author::Guardian => self.mandated(told, false),
            Author::Staff | Author::System => false,
        };
        let proven = form.is_evidenced && told.record.event_time.is_some() && form.method != Method::Implied && told.carries_grants;
        may_speak && proven && (!self.in_any(self.purpose, &self.tale.rules.double_opt_in) || self.is_confirmed(told))
    }

    /// Whether the customer is a minor, or was one at that time.
    fn was_minor(&self, told: &Told) -> bool {
        self.tale.age == Age::Minor || self.tale.adult_since.is_some_and(|day| told.record.time() < day)
    }

    fn is_confirmed(&self, grant: &Told) -> bool {
        let Some(pending) = grant.record.about.and_then(|id| self.by_id(id)) else { return false };
        let asked = |purpose: &Purpose| terms(pending).purposes.contains(purpose);
        let (given, wanted) = (terms(grant), terms(pending));
        let wider = covered(&given).iter().any(|c| !covered(&wanted).contains(c))
            || given.scope.recipients.iter().any(|r| !wanted.scope.recipients.contains(r));
        let same_app = grant.record.form.app == pending.record.form.app;
        state(pending) == State::PendingConfirmation && same_app && !wider && self.rests_on(grant, pending) && terms(grant).purposes.iter().all(asked)
    }

    /// Whether for each of its purposes there was a delegation; and still is, if asked.
    fn mandated(&self, grant: &Told, still: bool) -> bool {
        terms(grant).purposes.iter().all(|purpose| {
            self.tale.told.iter().any(|told| {
                let Matter::Delegation { holder, purposes } = &told.record.form.matter else { return false };
                let of_age = *holder == Holder::Guardian && self.tale.age == Age::Adult;
                let proven = told.record.form.is_evidenced && told.record.form.author != Author::System;
                let covers = purposes.is_empty() || self.in_any(*purpose, purposes);
                let minors = told.record.form.author == Author::Customer && self.was_minor(told);
                proven && !minors && covers && self.rests_on(grant, told) && !(still && (of_age || self.has_run_out(&told.record)))
            })
        })
    }

    /// Whether the other record was there, in force and the same customer's when the grant was given.
    fn rests_on(&self, grant: &Told, other: &Told) -> bool {
        let given = grant.record.time();
        other.carries_grants
            && other.record.time() <= given
            && other.record.due.is_none_or(|due| due > given)
            && (other.group == grant.group || self.joined_before(other.group, grant.group, grant))
    }

    fn lapse(&self, grant: &Told) -> Option<State> {
        let Matter::Said { until, .. } = &grant.record.form.matter else { return None };
        let occurred = self.tale.told.iter().any(|told| {
            matches!(&told.record.form.matter, Matter::Occurrence(name) if Some(name) == until.as_ref()) && told.record.time() >= grant.record.time()
        });
        if self.has_run_out(&grant.record) || grant.record.uses_left == Some(0) || occurred {
            Some(State::Expired)
        } else if terms(grant).notice.as_ref().is_some_and(|notice| self.tale.superseded.contains(notice)) {
            Some(State::Superseded)
        } else if grant.record.form.author == Author::Guardian && !self.mandated(grant, true) {
            Some(State::Requested)
        } else {
            None
        }
    }

    fn is_plain(&self, grant: &Told) -> bool {
        state(grant) == State::Given && self.lapse(grant).is_none()
    }

    fn has_run_out(&self, record: &Record) -> bool {
        record.fired || record.due.is_some_and(|due| due <= self.tale.at)
    }

    fn later(&self, a: &Told, b: &Told) -> bool {
        let own = a.record.form.source == b.record.form.source;
        let margin = if own { seconds(0) } else { seconds(60) };
        a.record.time() - margin > b.record.time() && !(own && self.said_no_since(a, b)) && !self.clock_was_set_back(a, b)
    }

    /// Whether up to the second there is a no that was recorded after the first, when our clock said that the first was still to come.
    fn clock_was_set_back(&self, a: &Told, b: &Told) -> bool {
        let place = |told: &Told| (told.record.time(), told.id());
        let before_it = |told: &&Told| told.id() > a.id() && told.record.record_time + seconds(60) < a.record.time();
        self.tale.told.iter().filter(before_it).any(|no| self.is_no(no) && place(no) <= place(b))
    }

    fn is_no(&self, told: &Told) -> bool {
        state(told).closes() || matches!(told.record.form.matter, Matter::Stop { .. }) && !self.is_lifted(told)
    }

    /// Whether up to the second the first's source said a no that was recorded later than the first and lies within the skew before it.
    fn said_no_since(&self, a: &Told, b: &Told) -> bool {
        let place = |told: &Told| (told.record.time(), told.id());
        let own = self.tale.told.iter().filter(|told| told.record.form.source == a.record.form.source && told.id() > a.id() && self.is_no(told));
        own.into_iter().any(|no| no.record.time() >= a.record.time() - seconds(60) && place(no) <= place(b))
    }

    fn speaks_for(&self, grant: &Told, group: u16) -> bool {
        grant.group == group || self.joined_before(grant.group, group, grant) && self.names_exactly(grant)
    }

    /// Whether there is a chain of joins between the groups, all before the record's time.
    fn joined_before(&self, a: u16, b: u16, told: &Told) -> bool {
        let mut reached = vec![a];
        let joins: Vec<_> = self.tale.joined.iter().filter(|join| join.at < told.record.time()).collect();
        for _ in 0..=joins.len() {
            for join in &joins {
                if reached.contains(&join.a) || reached.contains(&join.b) {
                    reached.extend([join.a, join.b]);
                }
            }
        }
        reached.contains(&b)
    }

    fn is_lifted(&self, stop: &Told) -> bool {
        self.tale.told.iter().any(|told| matches!(told.record.form.matter, Matter::Lift) && told.record.about == Some(stop.id()))
    }

    fn names_exactly(&self, grant: &Told) -> bool {
        terms(grant).purposes.contains(&self.purpose)
    }

    /// By itself, or below a purpose that the notice named, too.
    fn covers_as_grant(&self, told: &Told) -> bool {
        let terms = terms(told);
        let by_notice = terms.purposes.iter().any(|p| terms.named_purposes.contains(p) && self.in_any(self.purpose, &[*p]));
        (terms.purposes.contains(&self.purpose) || by_notice)
            && covered(&terms).iter().any(|c| *c == category("contact") || above_contact(*c) && terms.named_categories.contains(c))
            && terms.scope.recipients.contains(&department("marketing"))
    }

    fn covers_as_refusal(&self, told: &Told) -> bool {
        let (purposes, scope) = match &told.record.form.matter {
            Matter::Said { terms, .. } => (&terms.purposes, &terms.scope),
            Matter::Stop { purposes, scope, .. } => (purposes, scope),
            Matter::Lift | Matter::Delegation { .. } | Matter::Occurrence(_) => return false,
        };
        (purposes.is_empty() || self.in_any(self.purpose, purposes))
            && (scope.categories.is_empty() || scope.categories.iter().any(|c| *c == category("contact") || above_contact(*c)))
            && (scope.channels.is_empty() || scope.channels.contains(&self.tale.vocabulary.channel(self.purpose)))
    }

    fn in_any(&self, purpose: Purpose, above: &[Purpose]) -> bool {
        above.iter().any(|above| self.tale.vocabulary.is_within(purpose, *above))
    }

    fn by_id(&self, id: EventId) -> Option<&'a Told> {
        self.tale.told.iter().find(|told| told.id() == id)
    }
}

fn state(told: &Told) -> State {
    if let Matter::Said { state, .. } = told.record.form.matter { state } else { State::Unknown }
}

fn terms(told: &Told) -> Terms {
    if let Matter::Said { terms, .. } = &told.record.form.matter { (**terms).clone() } else { Terms::default() }
}

/// What a grant names: itself, else by its notice.
fn covered(terms: &Terms) -> Vec<Category> {
    if terms.scope.categories.is_empty() { terms.named_categories.to_vec() } else { terms.scope.categories.clone() }
}

fn above_contact(whole: Category) -> bool {
    ["profile", "all-data"].contains(&whole.as_str())
}

fn by_customer(told: &Told) -> bool {
    matches!(told.record.form.author, Author::Customer | Author::Guardian)
}
