//! The hard stops that no policy can loosen (GDPR Art. 17, 18, 21; opt-outs; suppression). Built in and pure.
//!
//! | stop | still open | lifted by |
//! |---|---|---|
//! | erasure | legal-obligation | never |
//! | restriction | legal-obligation, vital-interest | explicit lift with a reason |
//! | deceased, legal | legal-obligation | correction |
//! | objection to direct marketing | everything outside `marketing` and its profiling | a grant, below |
//! | other objection | all bases but legitimate-interest and public-task within its scope | a grant, below |
//! | opt-out, suppression | everything outside its purposes, categories and channels | a grant, below |
//!
//! A later, evidenced grant by the customer that names a purpose lifts the last three for that purpose only, for as long as
//! the grant itself holds. No conflict rule changes that: how systems are ranked never lifts a stop.

use std::sync::Arc;

use crate::model::{Category, Channel, ConflictRule, ConsentRules, LawfulBasis, Purpose, Vocabulary};

use super::event::{Scope, StopKind};
use super::hearing::Hearing;
use super::profile::{HardStop, Origin, Position, Profile};
use super::status::Use;

/// Whether the floor is open for a use.
///
/// # Errors
/// The name of the stop that closes it.
pub fn floor(
    profile: &Profile,
    vocabulary: &Vocabulary,
    rules: &ConsentRules,
    purpose: Purpose,
    basis: LawfulBasis,
    category: Category,
    channel: Channel,
) -> Result<(), &'static str> {
    let usage = Use { vocabulary, rules, purpose, category, recipient: None, channel };
    closing_stop(profile, &usage, basis).map_or(Ok(()), |stop| Err(stop.kind.stop_name()))
}

/// The lawful bases for which the floor is closed, in their order, each with the name of the stop that [`floor`] gives.
#[must_use]
pub fn closed_for(
    profile: &Profile,
    vocabulary: &Vocabulary,
    rules: &ConsentRules,
    purpose: Purpose,
    category: Category,
    channel: Channel,
) -> Vec<(LawfulBasis, &'static str)> {
    let usage = Use { vocabulary, rules, purpose, category, recipient: None, channel };
    // Most profiles have no stops: then nothing is allocated.
    let mut closed: Vec<(LawfulBasis, &'static str)> = Vec::new();
    for stop in &profile.stops {
        let is_open = |basis: &LawfulBasis| closed.iter().all(|(other, _)| other != basis);
        let more: Vec<LawfulBasis> = LawfulBasis::ALL.iter().copied().filter(|basis| is_open(basis) && closes(stop, &usage, *basis)).collect();
        // Whether a grant lifts it does not depend on the basis.
        if !more.is_empty() && lifted_by(stop, &usage, profile).is_none() {
            closed.extend(more.into_iter().map(|basis| (basis, stop.kind.stop_name())));
        }
    }
    closed.sort_unstable_by_key(|(basis, _)| *basis);
    closed
}

/// The grants of limited uses without which a stop would close a use that is open.
#[must_use]
pub fn limited_lifts(
    profile: &Profile,
    vocabulary: &Vocabulary,
    rules: &ConsentRules,
    purpose: Purpose,
    basis: LawfulBasis,
    category: Category,
    channel: Channel,
) -> Vec<Position> {
    // Most profiles have none.
    if !profile.said.iter().any(|said| said.limited) {
        return Vec::new();
    }
    let usage = Use { vocabulary, rules, purpose, category, recipient: None, channel };
    let hearing = Hearing::of(profile, usage, ConflictRule::CustomerLastWord);
    profile.stops.iter().filter(|stop| closes(stop, &usage, basis)).flat_map(|stop| hearing.limited_lift(stop)).collect()
}

/// The first stop that closes a use, for whichever recipient.
pub(super) fn closing_stop<'p>(profile: &'p Profile, usage: &Use<'_>, basis: LawfulBasis) -> Option<&'p HardStop> {
    let usage = Use { recipient: None, ..*usage };
    profile.stops.iter().find(|stop| closes(stop, &usage, basis) && lifted_by(stop, &usage, profile).is_none())
}

/// A use that a stop, alone and without bounds, does not close for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub purpose: Purpose,
    pub category: Category,
    pub channel: Channel,
    pub basis: LawfulBasis,
    /// Closed, but a later grant of the customer opens it.
    pub by_grant: bool,
}

/// Tries a stop of this kind against every use that the vocabulary has words for: how many there were, and the first that
/// stays open although its basis is none of those that the stop may leave open.
#[must_use]
pub fn gap(kind: StopKind, vocabulary: &Vocabulary, rules: &ConsentRules, leaves: &[LawfulBasis]) -> (usize, Option<Gap>) {
    let everything = Scope::default();
    let stop = HardStop {
        at: Position(0),
        kind,
        purposes: Box::default(),
        scope: everything,
        by_customer: true,
        system: Arc::from(""),
        origin: Origin::from_numbers([0, 0, 0]),
        group: 0,
    };
    let profile = Profile { stops: Box::new([stop.clone()]), ..Profile::default() };
    let mut tried = 0;
    for &purpose in vocabulary.purposes.keys() {
        for &category in vocabulary.categories.keys() {
            for &channel in Channel::ALL {
                for &basis in LawfulBasis::ALL.iter().filter(|basis| !leaves.contains(basis)) {
                    tried += 1;
                    let usage = Use { vocabulary, rules, purpose, category, recipient: None, channel };
                    let is_closed = closing_stop(&profile, &usage, basis).is_some();
                    if !is_closed || yields(&stop, &usage) {
                        return (tried, Some(Gap { purpose, category, channel, basis, by_grant: is_closed }));
                    }
                }
            }
        }
    }
    (tried, None)
}

pub(super) fn closes(stop: &HardStop, usage: &Use<'_>, basis: LawfulBasis) -> bool {
    match stop.kind {
        StopKind::Erasure | StopKind::Deceased | StopKind::Legal => basis != LawfulBasis::LegalObligation,
        StopKind::Restriction => !matches!(basis, LawfulBasis::LegalObligation | LawfulBasis::VitalInterest),
        StopKind::ObjectionMarketing => is_direct_marketing(usage.vocabulary, usage.purpose),
        StopKind::Objection => {
            matches!(basis, LawfulBasis::LegitimateInterest | LawfulBasis::PublicTask) && usage.stopped_by(&stop.purposes, &stop.scope)
        }
        StopKind::OptOutSale | StopKind::OptOutSensitive | StopKind::OptOutGpc | StopKind::Suppression => {
            usage.stopped_by(&stop.purposes, &stop.scope)
        }
    }
}

/// The grant that lifts a stop for this use, if the stop concerns it and is of a kind that yields.
pub(super) fn lifted_by(stop: &HardStop, usage: &Use<'_>, profile: &Profile) -> Option<Position> {
    if !yields(stop, usage) {
        return None;
    }
    Hearing::of(profile, *usage, ConflictRule::CustomerLastWord).lifts(stop)
}

/// Whether a stop concerns a use and is of a kind that yields to the customer's grant.
pub(super) fn yields(stop: &HardStop, usage: &Use<'_>) -> bool {
    match stop.kind {
        StopKind::Erasure | StopKind::Restriction | StopKind::Deceased | StopKind::Legal => false,
        StopKind::ObjectionMarketing => is_direct_marketing(usage.vocabulary, usage.purpose),
        StopKind::Objection | StopKind::OptOutSale | StopKind::OptOutSensitive | StopKind::OptOutGpc | StopKind::Suppression => {
            usage.stopped_by(&stop.purposes, &stop.scope)
        }
    }
}

/// Direct marketing is `marketing` with all below it, and its profiling: a wider purpose under which the catalogue places
/// a marketing purpose (`profiling` over `marketing.personalised`) would otherwise be the way around an objection.
fn is_direct_marketing(vocabulary: &Vocabulary, purpose: Purpose) -> bool {
    let root = super::marketing();
    purpose == root
        || vocabulary.is_within(purpose, root)
        || vocabulary.purposes.values().any(|info| info.ancestors.contains(&root) && info.ancestors.contains(&purpose))
}
