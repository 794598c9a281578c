//! The consent status of one use, by the governed conflict rule. Pure: no clock, no store.
//!
//! Matching is three-valued: a statement allows, refuses or is silent about a use. A refusal of a parent purpose covers all
//! below it; a grant covers a child only if it names the child, or if its notice named the parent.

use crate::model::{Category, Channel, ConflictRule, ConsentRules, ConsentStatus, Department, EventId, Purpose, Vocabulary};

use super::event::{Scope, State};
use super::profile::{Position, Profile, Said};
use super::record::Terms;

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
}

impl<E> Effective<E> {
    /// Nobody ever said anything: closed for what rests on consent, and recorded as unknown, never as refused.
    #[must_use]
    pub const fn unknown(rule: ConflictRule) -> Self {
        Self { status: ConsentStatus::Unknown, state: State::Unknown, explicit: false, event: None, overridden: Vec::new(), rule }
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
        (ConflictRule::CustomerLastWord, ConflictRule::CustomerLastWord) => ConflictRule::CustomerLastWord,
        (ConflictRule::MostRestrictive, _) | (_, ConflictRule::MostRestrictive) => ConflictRule::MostRestrictive,
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
    let usage = Use { vocabulary, purpose, category, recipient: Some(recipient), channel };
    let (mut grants, mut refusals, mut neutral) = (Vec::new(), Vec::new(), None);
    for said in &profile.said {
        match usage.ask(said) {
            Answer::Allows => grants.push(said),
            Answer::Refuses => refusals.push(said),
            Answer::Silent if usage.mentions(said) => neutral = Some(said),
            Answer::Silent => {}
        }
    }
    let positions = |list: &[&Said]| list.iter().map(|said| said.at).collect::<Vec<_>>();
    // The latest grant that can raise sets the terms: if it has lapsed, an older one does not come back to life.
    let last_word = grants.iter().rev().find(|said| said.raises).copied();
    if let Some(grant) = last_word
        && !grant.lapsed
        && holds(grant, &grants, &refusals, rule)
    {
        let explicit = grant.explicit && grant.terms.named_categories.contains(&category);
        return Effective {
            status: grant.state.status(),
            state: grant.state,
            explicit,
            event: Some(grant.at),
            overridden: positions(&refusals),
            rule,
        };
    }
    let lapsed = last_word.filter(|grant| grant.lapsed && holds(grant, &grants, &refusals, rule));
    let (state, event) = match (refusals.last(), lapsed, neutral) {
        (_, Some(grant), _) => (State::Expired, Some(grant.at)),
        (Some(refusal), None, _) => (withdrawal(refusal, &grants), Some(refusal.at)),
        (None, None, Some(said)) => (said.state, Some(said.at)),
        (None, None, None) => (State::Unknown, None),
    };
    grants.retain(|grant| Some(grant.at) != event);
    Effective { status: state.status(), state, explicit: false, event, overridden: positions(&grants), rule }
}

/// A refusal of what had been given is a withdrawal.
fn withdrawal(refusal: &Said, grants: &[&Said]) -> State {
    let was_given = grants.iter().any(|grant| grant.raises && grant.at < refusal.at);
    if refusal.state == State::Refused && was_given { State::Withdrawn } else { refusal.state }
}

/// Whether a grant is later than every refusal in scope. A renewal continues a consent and cannot begin one: it needs an
/// earlier grant that was not taken back since.
fn holds(grant: &Said, grants: &[&Said], refusals: &[&Said], rule: ConflictRule) -> bool {
    let beats = |grant: &Said, refusal: &Said| {
        grant.origin.later_than(refusal.at, refusal.origin)
            && match rule {
                ConflictRule::CustomerLastWord => true,
                // Another source's no stays: each source takes back only its own.
                ConflictRule::MostRestrictive => grant.origin.same_source(refusal.origin),
            }
    };
    let renews_something = || {
        grants.iter().filter(|first| first.raises && first.state == State::Given && first.at < grant.at).any(|first| {
            let taken_back = |refusal: &&&Said| !matches!(refusal.state, State::Expired | State::Superseded);
            refusals.iter().filter(taken_back).all(|refusal| beats(first, refusal))
        })
    };
    refusals.iter().all(|refusal| beats(grant, refusal)) && (grant.state != State::Renewed || renews_something())
}

/// One use of data, as a statement is asked about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use<'a> {
    pub(super) vocabulary: &'a Vocabulary,
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
    fn mentions(&self, said: &Said) -> bool {
        !said.state.opens() && !said.state.closes() && self.stopped_by(&said.terms.purposes, &said.terms.scope)
    }

    /// Whether a refusal or stop with this scope covers the use: what it leaves open it covers whole.
    pub(super) fn stopped_by(&self, purposes: &[Purpose], scope: &Scope) -> bool {
        (purposes.is_empty() || purposes.iter().any(|above| *above == self.purpose || self.vocabulary.is_within(self.purpose, *above)))
            && (scope.categories.is_empty() || scope.categories.contains(&self.category))
            && (scope.recipients.is_empty() || self.recipient.is_none_or(|r| scope.recipients.contains(&r)))
            && (scope.channels.is_empty() || scope.channels.contains(&self.channel))
    }

    /// Whether a grant covers the use: what it leaves open its notice must name. A notice that names a purpose names
    /// its channel, too.
    fn granted_by(&self, terms: &Terms) -> bool {
        let within_named_parent = |parent: &Purpose| terms.named_purposes.contains(parent) && self.vocabulary.is_within(self.purpose, *parent);
        (terms.purposes.contains(&self.purpose) || terms.purposes.iter().any(within_named_parent))
            && named(&terms.scope.categories, &terms.named_categories, self.category)
            && self.recipient.is_none_or(|r| named(&terms.scope.recipients, &terms.named_recipients, r))
            && (terms.scope.channels.is_empty() || terms.scope.channels.contains(&self.channel))
    }

    /// Whether the customer, by a grant that still holds, named exactly this purpose after the stop.
    pub(super) fn reopened_after(&self, stop_at: Position, lifts: impl Fn(&Said) -> bool, profile: &Profile) -> Option<Position> {
        let grants: Vec<&Said> = profile.said.iter().filter(|said| self.ask(said) == Answer::Allows).collect();
        let refusals: Vec<&Said> = profile.said.iter().filter(|said| self.ask(said) == Answer::Refuses).collect();
        let grant = grants.iter().rev().find(|said| said.raises)?;
        let reopens = grant.at > stop_at
            && !grant.lapsed
            && grant.terms.purposes.contains(&self.purpose)
            && lifts(grant)
            && holds(grant, &grants, &refusals, ConflictRule::CustomerLastWord);
        reopens.then_some(grant.at)
    }
}

fn named<T: PartialEq + Copy>(scope: &[T], notice: &[T], asked: T) -> bool {
    if scope.is_empty() { notice.contains(&asked) } else { scope.contains(&asked) }
}
