//! Where systems disagree about one customer: who says what about a purpose, what holds and why. Feeds the conflict ledger.

use std::sync::Arc;

use crate::model::{Category, Channel, ConsentRules, Department, EventId, LawfulBasis, Purpose, Vocabulary};

use super::event::{State, StopKind};
use super::floor::{closes, closing_stop, yields};
use super::hearing::Hearing;
use super::profile::{HardStop, Origin, Position, Profile, Said};
use super::states::next;
use super::status::{Effective, Use, decide, rule_for};

/// Systems that disagree about a purpose. Events are positions, or ids once a `Standing` resolved them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement<E = EventId> {
    pub purpose: Purpose,
    /// The first use about which they disagree: one that the merge closes, else a closed one, if there is any.
    pub category: Category,
    pub recipient: Department,
    pub channel: Channel,
    /// The last word of each system, in the order of time; about what a merge closes they may all be alike.
    pub voices: Vec<Voice<E>>,
    /// The hard stop that closes the use whatever was consented to, if one does.
    pub stop: Option<&'static str>,
    /// What holds for consent, by which rule, relying on which event.
    pub holds: Effective<E>,
    /// What decided is the customer's own word, surely later than all that speaks against it.
    pub settled: bool,
    /// The customer was asked and has not said anything since.
    pub asked: Option<E>,
}

/// What one system says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice<E = EventId> {
    pub system: Arc<str>,
    pub word: Word,
    pub event: E,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    State(State),
    Stop(StopKind),
}

impl Word {
    #[must_use]
    pub const fn opens(self) -> bool {
        match self {
            Self::State(state) => state.opens(),
            Self::Stop(_) => false,
        }
    }
}

impl Disagreement<Position> {
    /// The same with each event named in another way; one without a name is left out.
    pub(super) fn resolve<E>(self, name: impl Fn(Position) -> Option<E>) -> Disagreement<E> {
        let Self { purpose, category, recipient, channel, voices, stop, holds, settled, asked } = self;
        let named = |voice: Voice<Position>| Some(Voice { event: name(voice.event)?, system: voice.system, word: voice.word });
        let voices = voices.into_iter().filter_map(named).collect();
        let asked = asked.and_then(&name);
        Disagreement { purpose, category, recipient, channel, voices, stop, holds: holds.resolve(&name), settled, asked }
    }
}

/// Where systems disagree about a customer with this profile, one entry a purpose. Cheap for the many about whom they agree.
pub(super) fn disagreements(profile: &Profile, vocabulary: &Vocabulary, rules: &ConsentRules) -> Vec<Disagreement<Position>> {
    if !may_disagree(profile) {
        return Vec::new();
    }
    vocabulary.purposes.keys().filter_map(|purpose| disagreement(profile, vocabulary, rules, *purpose)).collect()
}

/// Without several systems, or customers who were merged, there is nobody to disagree with.
pub(super) fn may_disagree(profile: &Profile) -> bool {
    let said = profile.said.iter().map(|said| (said.group, &said.system));
    let mut speakers = said.chain(profile.stops.iter().map(|stop| (stop.group, &stop.system)));
    let first = speakers.next();
    speakers.any(|speaker| Some(speaker) != first)
}

fn disagreement(profile: &Profile, vocabulary: &Vocabulary, rules: &ConsentRules, purpose: Purpose) -> Option<Disagreement<Position>> {
    // Without a grant nobody disagrees; most purposes end here.
    let is_granted = |said: &&Said| said.state.opens() && said.terms.purposes.iter().any(|above| vocabulary.is_within(purpose, *above));
    profile.said.iter().find(is_granted)?;
    let rule = rule_for(vocabulary, rules, purpose);
    let channel = vocabulary.channel(purpose);
    let may_conflict = is_merged(profile);
    let mut found: Option<Disagreement<Position>> = None;
    for category in vocabulary.categories.keys().copied() {
        for recipient in vocabulary.departments.keys().copied() {
            let usage = Use { vocabulary, rules, purpose, category, recipient: Some(recipient), channel };
            let hearing = Hearing::of(profile, usage, rule);
            let yielding = |stop: &&HardStop| yields(stop, &usage) && closes(stop, &usage, LawfulBasis::Consent);
            let stops: Vec<&HardStop> = profile.stops.iter().filter(yielding).collect();
            let voices = voices(&hearing, &stops);
            let opening = voices.iter().filter(|voice| voice.word.opens()).count();
            let is_agreed = opening == 0 || opening == voices.len();
            if is_agreed && !may_conflict {
                continue;
            }
            let holds = decide(&hearing);
            // A decision that names the merge stands in the list whatever the last words are.
            if is_agreed && !holds.conflict {
                continue;
            }
            let stop = closing_stop(profile, &usage, LawfulBasis::Consent);
            let one = Disagreement {
                purpose,
                category,
                recipient,
                channel,
                settled: is_settled(&hearing, stop, &holds),
                asked: asked(&hearing, &stops),
                voices,
                stop: stop.map(|stop| stop.kind.stop_name()),
                holds,
            };
            if one.holds.conflict {
                return Some(one);
            }
            let is_closed = |one: &Disagreement<Position>| one.stop.is_some() || !one.holds.state.opens();
            if found.as_ref().is_none_or(|found| is_closed(&one) && !is_closed(found)) {
                found = Some(one);
            }
            if !may_conflict && found.as_ref().is_some_and(is_closed) {
                return found;
            }
        }
    }
    found
}

/// Whether formerly separate customers have a say: only they can be in conflict by a merge.
fn is_merged(profile: &Profile) -> bool {
    let mut groups = profile.said.iter().map(|said| said.group);
    let first = groups.next();
    groups.any(|group| Some(group) != first)
}

/// The last word of each system about a use; of one that took a merged customer for several, about each of them. Requests are
/// none, nor are stops that no grant speaks against, e.g. an erasure.
fn voices(hearing: &Hearing<'_>, stops: &[&HardStop]) -> Vec<Voice<Position>> {
    let usage = &hearing.usage;
    let said = hearing.grants.iter().chain(&hearing.refusals).map(|said| {
        let state = usage.lapse(said).filter(|_| said.state.opens()).map_or(said.state, |lapse| next(said.state, lapse.event()).from(said.state));
        (said.group, Voice { system: Arc::clone(&said.system), word: Word::State(state), event: said.at })
    });
    let stops = stops.iter().map(|stop| (stop.group, Voice { system: Arc::clone(&stop.system), word: Word::Stop(stop.kind), event: stop.at }));
    let mut all: Vec<(u16, Voice<Position>)> = said.chain(stops).collect();
    all.sort_by_key(|(_, voice)| voice.event);
    let mut last: Vec<(u16, Voice<Position>)> = Vec::new();
    for (group, voice) in all {
        last.retain(|(of, earlier)| (*of, &earlier.system) != (group, &voice.system));
        last.push((group, voice));
    }
    last.into_iter().map(|(_, voice)| voice).collect()
}

/// The request to the customer that came after a yes and a no, if no word of theirs came after it.
fn asked(hearing: &Hearing<'_>, stops: &[&HardStop]) -> Option<Position> {
    let request = hearing.requests.iter().rev().find(|said| said.state == State::Requested)?.at;
    let words = || hearing.grants.iter().chain(&hearing.refusals);
    let is_answered = words().any(|said| said.by_customer && said.at > request) || stops.iter().any(|stop| stop.by_customer && stop.at > request);
    let after_yes = hearing.grants.iter().any(|said| said.at < request);
    let after_no = hearing.refusals.iter().any(|said| said.at < request) || stops.iter().any(|stop| stop.at < request);
    (after_yes && after_no && !is_answered).then_some(request)
}

fn is_settled(hearing: &Hearing<'_>, stop: Option<&HardStop>, holds: &Effective<Position>) -> bool {
    let Hearing { grants, refusals, .. } = hearing;
    let later_than_all = |word: Origin, others: &[&Said]| others.iter().all(|other| word.later_than(other.at, other.origin));
    if let Some(stop) = stop {
        return stop.by_customer && later_than_all(stop.origin, grants);
    }
    let decided = grants.iter().chain(refusals).find(|said| Some(said.at) == holds.event);
    let against = if holds.state.opens() { refusals } else { grants };
    !holds.conflict && decided.is_some_and(|said| said.by_customer && later_than_all(said.origin, against))
}
