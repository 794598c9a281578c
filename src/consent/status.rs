//! The consent status of one use, by the governed conflict rule. Pure: no clock, no store.
//!
//! Matching is three-valued: a statement allows, refuses or is silent about a use. A refusal of a parent purpose covers all
//! below it; a grant covers a child only if it names the child, or if its notice named the parent. So with categories.
//!
//! An organisation is no data subject: unless something closes the use, no consent is needed.

use crate::model::{Category, Channel, ConflictRule, ConsentRules, ConsentStatus, Department, EventId, Purpose, Vocabulary};

use super::event::{Scope, State};
use super::hearing::Hearing;
use super::profile::{Lapse, Mandate, Position, Profile, Said};
use super::record::Terms;
use super::states::{StateEvent, Transition, next};

/// The answer for one use, with what an auditor asks for. Events are positions, or ids once a `Standing` resolved them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective<E = EventId> {
    /// What policies see.
    pub status: ConsentStatus,
    pub state: State,
    /// Explicitly expressed, on a notice that names the category.
    pub explicit: bool,
    /// The event relied on, or the one that closed.
    pub event: Option<E>,
    /// Events of the opposite effect that lost against it.
    pub overridden: Vec<E>,
    pub rule: ConflictRule,
    /// Closed because formerly separate customers said differently, and the customer has not settled it since they became one.
    pub conflict: bool,
    /// The grants of limited uses that it relies on.
    pub limited: Vec<E>,
}

impl<E> Effective<E> {
    /// Nobody ever said anything: closed for what rests on consent, and recorded as unknown, never as refused.
    #[must_use]
    pub const fn unknown(rule: ConflictRule) -> Self {
        Self {
            status: ConsentStatus::Unknown,
            state: State::Unknown,
            explicit: false,
            event: None,
            overridden: Vec::new(),
            rule,
            conflict: false,
            limited: Vec::new(),
        }
    }

    /// The same with each event named in another way.
    pub(super) fn resolve<F>(self, name: impl Fn(E) -> Option<F>) -> Effective<F> {
        let Self { status, state, explicit, event, overridden, rule, conflict, limited } = self;
        let overridden = overridden.into_iter().filter_map(&name).collect();
        let limited = limited.into_iter().filter_map(&name).collect();
        Effective { status, state, explicit, event: event.and_then(name), overridden, rule, conflict, limited }
    }
}

/// The rule for a purpose: its own, else the one of the nearest declared parent, else the general one. Where several
/// parents declare rules, the more restrictive holds.
#[must_use]
pub fn rule_for(vocabulary: &Vocabulary, rules: &ConsentRules, purpose: Purpose) -> ConflictRule {
    if let Some(rule) = rules.rules.get(&purpose) {
        return *rule;
    }
    let inherited = rules.rules.iter().filter(|(above, _)| vocabulary.is_within(purpose, **above)).map(|(_, rule)| *rule);
    inherited.reduce(stricter).unwrap_or(rules.rule)
}

const fn stricter(a: ConflictRule, b: ConflictRule) -> ConflictRule {
    match (a, b) {
        (ConflictRule::MostRestrictive, _) | (_, ConflictRule::MostRestrictive) => ConflictRule::MostRestrictive,
        (ConflictRule::CustomerLastWord, _) | (_, ConflictRule::CustomerLastWord) => ConflictRule::CustomerLastWord,
        (ConflictRule::SourcePriority, ConflictRule::SourcePriority) => ConflictRule::SourcePriority,
    }
}

/// The consent status of one use. The profile was built with the skew of the adopted rules.
#[must_use]
pub fn status(
    profile: &Profile,
    vocabulary: &Vocabulary,
    rules: &ConsentRules,
    purpose: Purpose,
    category: Category,
    recipient: Department,
    channel: Channel,
) -> Effective<Position> {
    let rule = rule_for(vocabulary, rules, purpose);
    let usage = Use { vocabulary, rules, purpose, category, recipient: Some(recipient), channel };
    decide(&Hearing::of(profile, usage, rule))
}

/// What holds. Of an organisation, what closes holds as it would of a person; what nothing closes, or closes no longer, needs no
/// consent, and a grant adds nothing to that.
pub(super) fn decide(hearing: &Hearing<'_>) -> Effective<Position> {
    let consent = decide_of_person(hearing);
    let is_closed = !hearing.refusals.is_empty() && !consent.state.opens();
    if !hearing.is_organisation || is_closed {
        return consent;
    }
    // Where a refusal was taken back by a grant of limited uses, its uses count.
    let limited = if hearing.refusals.is_empty() { Vec::new() } else { consent.limited };
    Effective { status: ConsentStatus::NotNeeded, explicit: false, conflict: false, limited, ..consent }
}

fn decide_of_person(hearing: &Hearing<'_>) -> Effective<Position> {
    let Hearing { usage, rule, grants, refusals, .. } = hearing;
    let positions = |list: &[&Said], but: Option<Position>| list.iter().map(|said| said.at).filter(|at| Some(*at) != but).collect::<Vec<_>>();
    // The latest grant that can raise sets the terms: if it has lapsed, an older one does not come back to life.
    let last_word = hearing.last_word();
    let prevails = last_word.filter(|grant| hearing.prevails(grant));
    let lapse = prevails.and_then(|grant| usage.lapse(grant));
    let (state, event) = match (prevails, lapse) {
        (Some(grant), None) => {
            let state = opening(grant);
            return Effective {
                status: state.status(),
                state,
                explicit: grant.explicit && grant.terms.named_categories.contains(&usage.category),
                event: Some(grant.at),
                overridden: positions(refusals, None),
                rule: *rule,
                conflict: false,
                limited: hearing.limited(grant),
            };
        }
        (Some(grant), Some(lapse)) => (next(opening(grant), lapse.event()).from(State::Given), Some(grant.at)),
        (None, _) => closing(hearing, last_word),
    };
    Effective {
        status: state.status(),
        state,
        explicit: false,
        event,
        overridden: positions(grants, event),
        rule: *rule,
        conflict: hearing.is_merge_conflict(),
        limited: Vec::new(),
    }
}

/// The state that a grant which prevails makes.
fn opening(grant: &Said) -> State {
    let (before, event) = if grant.state == State::Renewed {
        (State::Given, StateEvent::Renew)
    } else if grant.confirmed {
        (State::PendingConfirmation, StateEvent::Confirm)
    } else {
        (State::Unknown, StateEvent::Give)
    };
    next(before, event).from(before)
}

/// The state where no grant prevails, and the statement that made it: what was said up to the last refusal that no grant
/// overcame; without refusals, what was asked.
fn closing(hearing: &Hearing<'_>, last_word: Option<&Said>) -> (State, Option<Position>) {
    let standing: Vec<&Said> = hearing.refusals.iter().filter(|r| last_word.is_none_or(|grant| !hearing.beats(grant, r))).copied().collect();
    let refusals = if standing.is_empty() { &hearing.refusals } else { &standing };
    let mut heard = hearing.asked();
    if let Some(end) = refusals.last().map(|refusal| refusal.at) {
        heard.extend(hearing.grants.iter().filter(|grant| hearing.usage.raises(grant)));
        heard.extend(refusals);
        heard.retain(|said| said.at <= end);
    }
    heard.sort_by_key(|said| said.at);
    let (mut state, mut event) = (State::Unknown, None);
    for said in heard {
        let awaits = said.state.opens() && !hearing.usage.raises(said);
        let befell = if awaits { Some(StateEvent::AwaitConfirmation) } else { StateEvent::said(said.state) };
        let run_out = said.state == State::PendingConfirmation && said.lapsed.is_some();
        for befell in befell.into_iter().chain(run_out.then_some(StateEvent::Expire)) {
            if let Transition::To(to) = next(state, befell) {
                (state, event) = (to, Some(said.at));
            }
        }
    }
    (state, event)
}

/// One use of data, as a statement is asked about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use<'a> {
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) rules: &'a ConsentRules,
    pub(super) purpose: Purpose,
    pub(super) category: Category,
    /// `None`: whoever it is.
    pub(super) recipient: Option<Department>,
    pub(super) channel: Channel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Allows,
    Refuses,
    Silent,
}

impl Use<'_> {
    pub(super) fn ask(&self, said: &Said) -> Answer {
        if said.state.opens() && self.granted_by(&said.terms) {
            Answer::Allows
        } else if said.state.closes() && self.stopped_by(&said.terms.purposes, &said.terms.scope) {
            Answer::Refuses
        } else {
            Answer::Silent
        }
    }

    /// Asked for, deferred, waiting for confirmation: says nothing either way but tells the state.
    pub(super) fn mentions(&self, said: &Said) -> bool {
        !said.state.opens() && !said.state.closes() && self.stopped_by(&said.terms.purposes, &said.terms.scope)
    }

    /// Whether a grant can raise permission here: confirmed where the rules ask for it, and within what its speaker may say.
    pub(super) fn raises(&self, grant: &Said) -> bool {
        grant.raises && !self.awaits_confirmation(grant) && self.is_mandated(grant, |_| true)
    }

    pub(super) fn awaits_confirmation(&self, grant: &Said) -> bool {
        grant.raises && !grant.confirmed && self.rules.double_opt_in.iter().any(|above| self.is_below(self.purpose, *above))
    }

    pub(super) fn lapse(&self, grant: &Said) -> Option<Lapse> {
        let unspoken = || (!self.is_mandated(grant, |mandate| !mandate.ended)).then_some(Lapse::Requested);
        grant.lapsed.or_else(unspoken)
    }

    /// Whether mandates cover every purpose of what a guardian or representative said; others need none.
    fn is_mandated(&self, grant: &Said, counts: impl Fn(&Mandate) -> bool) -> bool {
        let Some(mandates) = &grant.mandates else { return true };
        let covers =
            |purpose: Purpose, mandate: &Mandate| mandate.purposes.is_empty() || mandate.purposes.iter().any(|above| self.is_below(purpose, *above));
        grant.terms.purposes.iter().all(|purpose| mandates.iter().any(|mandate| counts(mandate) && covers(*purpose, mandate)))
    }

    fn is_below(&self, purpose: Purpose, above: Purpose) -> bool {
        purpose == above || self.vocabulary.is_within(purpose, above)
    }

    /// Whether a refusal or stop with this scope covers the use: what it leaves open it covers whole.
    pub(super) fn stopped_by(&self, purposes: &[Purpose], scope: &Scope) -> bool {
        (purposes.is_empty() || purposes.iter().any(|above| self.is_below(self.purpose, *above)))
            && (scope.categories.is_empty() || scope.categories.iter().any(|above| self.is_part_of(*above)))
            && (scope.recipients.is_empty() || self.recipient.is_none_or(|r| scope.recipients.contains(&r)))
            && (scope.channels.is_empty() || scope.channels.contains(&self.channel))
    }

    /// Whether a grant covers the use: what it leaves open its notice must name. A notice that names a purpose names
    /// its channel, too.
    fn granted_by(&self, terms: &Terms) -> bool {
        let within_named_parent = |parent: &Purpose| terms.named_purposes.contains(parent) && self.vocabulary.is_within(self.purpose, *parent);
        (terms.purposes.contains(&self.purpose) || terms.purposes.iter().any(within_named_parent))
            && self.covers_category(terms)
            && self.recipient.is_none_or(|r| named(&terms.scope.recipients, &terms.named_recipients, r))
            && (terms.scope.channels.is_empty() || terms.scope.channels.contains(&self.channel))
    }

    fn is_part_of(&self, above: Category) -> bool {
        self.category == above || self.vocabulary.is_part_of(self.category, above)
    }

    /// A grant covers the parts of a category only if its notice named the whole.
    fn covers_category(&self, terms: &Terms) -> bool {
        let Terms { scope: Scope { categories, .. }, named_categories, .. } = terms;
        let in_named_whole = |above: &Category| named(categories, named_categories, *above) && self.is_part_of(*above);
        named(categories, named_categories, self.category) || named_categories.iter().any(in_named_whole)
    }
}

fn named<T: PartialEq + Copy>(scope: &[T], notice: &[T], asked: T) -> bool {
    if scope.is_empty() { notice.contains(&asked) } else { scope.contains(&asked) }
}
