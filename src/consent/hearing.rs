//! What was said about one use, and which word prevails: the conflict rules, and what a merge of two customers changes.

use crate::model::ConflictRule;

use super::event::State;
use super::profile::{HardStop, Position, Profile, Said};
use super::states::{StateEvent, Transition, next};
use super::status::{Answer, Use};

#[derive(Debug)]
pub(super) struct Hearing<'a> {
    pub(super) usage: Use<'a>,
    pub(super) rule: ConflictRule,
    /// Of no data subject.
    pub(super) is_organisation: bool,
    /// All in the order of time. Grants that cannot raise are among them.
    pub(super) grants: Vec<&'a Said>,
    pub(super) refusals: Vec<&'a Said>,
    /// Asked for, deferred, waiting for confirmation.
    pub(super) requests: Vec<&'a Said>,
}

impl<'a> Hearing<'a> {
    pub(super) fn of(profile: &'a Profile, usage: Use<'a>, rule: ConflictRule) -> Self {
        let is_organisation = profile.is_organisation;
        let mut hearing = Self { usage, rule, is_organisation, grants: Vec::new(), refusals: Vec::new(), requests: Vec::new() };
        for said in &profile.said {
            match usage.ask(said) {
                Answer::Allows => hearing.grants.push(said),
                Answer::Refuses => hearing.refusals.push(said),
                Answer::Silent if usage.mentions(said) => hearing.requests.push(said),
                Answer::Silent => {}
            }
        }
        hearing
    }

    /// The latest grant that can raise. A renewal that continues nothing says nothing.
    pub(super) fn last_word(&self) -> Option<&'a Said> {
        self.grants.iter().rev().find(|grant| self.usage.raises(grant) && (grant.state != State::Renewed || self.continues(grant))).copied()
    }

    /// Whether a grant overcomes every refusal.
    pub(super) fn prevails(&self, grant: &Said) -> bool {
        self.refusals.iter().all(|refusal| self.beats(grant, refusal))
    }

    /// Whether a refusal does not hold against a grant: the grant overcomes it, or the formerly separate customer who refused
    /// took that back before, so that the two do not differ.
    pub(super) fn beats(&self, grant: &Said, refusal: &Said) -> bool {
        self.beats_itself(grant, refusal) || self.taken_back(grant, refusal).next().is_some()
    }

    fn beats_itself(&self, grant: &Said, refusal: &Said) -> bool {
        self.overcomes(grant, refusal) && self.reaches(grant, refusal.group)
    }

    /// By which the formerly separate customer who refused, another than the one who grants, took that back.
    fn taken_back(&self, grant: &Said, refusal: &Said) -> impl Iterator<Item = &'a Said> {
        let other = grant.group != refusal.group;
        self.grants.iter().copied().filter(move |own| other && own.group == refusal.group && self.is_whole(own) && self.overcomes(own, refusal))
    }

    /// The grants of limited uses on which it rests that this one prevails: itself, and what alone took back another's refusal.
    pub(super) fn limited(&self, grant: &'a Said) -> Vec<Position> {
        let beaten_by_others = self.refusals.iter().filter(|refusal| !self.beats_itself(grant, refusal));
        let others = beaten_by_others.filter_map(|refusal| self.taken_back(grant, refusal).min_by_key(|own| own.limited));
        limited(others.chain([grant]))
    }

    /// By the conflict rule alone.
    fn overcomes(&self, grant: &Said, refusal: &Said) -> bool {
        let later = grant.origin.later_than(refusal.at, refusal.origin);
        match self.rule {
            ConflictRule::CustomerLastWord => later,
            // Another source's no stays: each source takes back only its own.
            ConflictRule::MostRestrictive => later && grant.origin.same_source(refusal.origin),
            ConflictRule::SourcePriority => later || self.outranks(grant, refusal),
        }
    }

    /// Whether a refusal that others noted yields to the customer's grant whatever the order. What ran out or never was valid
    /// is no opinion that could be outranked.
    fn outranks(&self, grant: &Said, refusal: &Said) -> bool {
        let sources = &self.usage.rules.sources;
        let rank = |system: &str| sources.iter().position(|source| source == system).unwrap_or(sources.len());
        // An app does not rise by naming another system.
        let rank_of_grant = rank(&grant.system).max(rank(&grant.app));
        let rank_of_refusal = rank(&refusal.system).min(rank(&refusal.app));
        grant.by_customer
            && !refusal.by_customer
            && matches!(refusal.state, State::Refused | State::Withdrawn | State::Revoked)
            && rank_of_grant < rank_of_refusal
    }

    /// Whether a grant speaks for a group: its own, and others once they had become one customer, if it names exactly this purpose.
    fn reaches(&self, grant: &Said, group: u16) -> bool {
        grant.group == group || (grant.over.contains(&group) && grant.terms.purposes.contains(&self.usage.purpose))
    }

    /// A grant, not a renewal, that can raise and has not run out.
    fn is_whole(&self, grant: &Said) -> bool {
        grant.state == State::Given && self.usage.raises(grant) && self.usage.lapse(grant).is_none()
    }

    /// A renewal continues a consent and cannot begin one: it needs an earlier grant that was not taken back since.
    fn continues(&self, renewal: &Said) -> bool {
        let is_renewable = |state: State| matches!(next(state, StateEvent::Renew), Transition::To(_));
        let continued = |first: &&&Said| {
            first.state == State::Given
                && first.at < renewal.at
                && (first.group == renewal.group || renewal.over.contains(&first.group))
                && self.usage.raises(first)
                && is_renewable(self.usage.lapse(first).map_or(first.state, |lapse| next(first.state, lapse.event()).from(first.state)))
        };
        let taken_back = |refusal: &&&Said| !is_renewable(refusal.state);
        self.grants.iter().filter(continued).any(|first| self.refusals.iter().filter(taken_back).all(|refusal| self.beats(first, refusal)))
    }

    /// Requests, and grants that still wait for confirmation.
    pub(super) fn asked(&self) -> Vec<&'a Said> {
        let waiting = self.grants.iter().filter(|grant| self.usage.awaits_confirmation(grant));
        self.requests.iter().chain(waiting).copied().collect()
    }

    /// Whether formerly separate customers say differently and the customer has not settled it since they became one.
    pub(super) fn is_merge_conflict(&self) -> bool {
        let raising = || self.grants.iter().filter(|grant| self.usage.raises(grant));
        let mut groups: Vec<u16> = raising().chain(&self.refusals).map(|said| said.group).collect();
        groups.sort_unstable();
        groups.dedup();
        if groups.len() < 2 {
            return false;
        }
        let is_after_all = |said: &&Said| groups.iter().all(|group| *group == said.group || said.over.contains(group));
        let by_grant = raising().any(|said| is_after_all(said) && said.terms.purposes.contains(&self.usage.purpose));
        let by_refusal = self.refusals.iter().any(|said| said.by_customer && is_after_all(said));
        let is_open = |group: &u16| {
            let own = self.group(*group);
            own.last_word().is_some_and(|grant| own.prevails(grant) && self.usage.lapse(grant).is_none())
        };
        !by_grant && !by_refusal && groups.iter().any(is_open)
    }

    /// What one of the formerly separate customers said.
    fn group(&self, group: u16) -> Self {
        let only = |list: &[&'a Said]| list.iter().filter(|said| said.group == group).copied().collect();
        let Self { usage, rule, is_organisation, grants, refusals, requests } = self;
        Self {
            usage: *usage,
            rule: *rule,
            is_organisation: *is_organisation,
            grants: only(grants),
            refusals: only(refusals),
            requests: only(requests),
        }
    }

    /// The grant that lifts a stop: the customer, by the last word that still holds, named exactly this purpose after the stop;
    /// or had done so while still separate.
    pub(super) fn lifts(&self, stop: &HardStop) -> Option<Position> {
        let grant = self.holding()?;
        if self.speaks_against(grant, stop) { Some(grant.at) } else { self.lifted_before(grant, stop).next_back().map(|own| own.at) }
    }

    /// The grants of limited uses without which a stop that is lifted would close.
    pub(super) fn limited_lift(&self, stop: &HardStop) -> Vec<Position> {
        let Some(grant) = self.holding() else { return Vec::new() };
        let mut found = self.limited(grant);
        if !self.speaks_against(grant, stop) {
            found.extend(limited(self.lifted_before(grant, stop).min_by_key(|own| own.limited)));
        }
        found
    }

    /// The last word, if it still holds and overcomes every refusal.
    fn holding(&self) -> Option<&'a Said> {
        self.last_word().filter(|grant| self.usage.lapse(grant).is_none() && self.prevails(grant))
    }

    fn speaks_against(&self, grant: &Said, stop: &HardStop) -> bool {
        grant.origin.later_than(stop.at, stop.origin) && grant.terms.purposes.contains(&self.usage.purpose) && self.reaches(grant, stop.group)
    }

    /// By which the customer whose stop it is, while separate from the one who grants, lifted it.
    fn lifted_before(&self, grant: &Said, stop: &HardStop) -> impl DoubleEndedIterator<Item = &'a Said> {
        let other = grant.group != stop.group;
        self.grants.iter().copied().filter(move |own| other && own.group == stop.group && self.is_whole(own) && self.speaks_against(own, stop))
    }
}

fn limited<'a>(grants: impl IntoIterator<Item = &'a Said>) -> Vec<Position> {
    grants.into_iter().filter(|grant| grant.limited).map(|grant| grant.at).collect()
}
