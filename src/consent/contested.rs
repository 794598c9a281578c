//! The conflict ledger: about whom systems disagree, over all customers, a page at a time. Rows are looked at in slices, so that
//! nobody waits long for the projection, and equal profiles are judged once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{PartyNo, Purpose, Revision, Vocabulary};

use super::conflicts::{Disagreement, disagreements, may_disagree};
use super::error::ConsentError;
use super::event::PartyRef;
use super::ledger::Ledger;
use super::profile::{Position, Profile};
use super::rows::EventList;

/// Which disagreements are asked for.
#[derive(Clone, Debug, Default)]
pub struct ConflictFilter {
    /// Only about this purpose and what is below it.
    pub purpose: Option<Purpose>,
    /// Only where this system has a say.
    pub system: Option<String>,
    /// Only what the customer has not settled.
    pub unsettled: bool,
    /// Only what is closed because merged customers said differently.
    pub merged: bool,
    /// Only customers who changed after this revision.
    pub since: Option<Revision>,
}

/// A disagreement and whom it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contested {
    pub party: PartyNo,
    pub disagreement: Disagreement,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictPage {
    /// By customer. A customer is never divided between pages.
    pub conflicts: Vec<Contested>,
    /// Where to go on, if not every customer was looked at; a page may hold little or nothing and still have a next.
    pub next: Option<PartyNo>,
}

struct Slice {
    candidates: Vec<(PartyNo, Arc<Profile>, EventList)>,
    /// The last customer of the slice, if there are more.
    next: Option<PartyNo>,
}

impl ConflictFilter {
    fn wants<E>(&self, found: &Disagreement<E>, vocabulary: &Vocabulary) -> bool {
        self.purpose.is_none_or(|wanted| found.purpose == wanted || vocabulary.is_within(found.purpose, wanted))
            && self.system.as_deref().is_none_or(|system| found.voices.iter().any(|voice| *voice.system == *system))
            && !(self.unsettled && found.settled)
            && (!self.merged || found.holds.conflict)
    }
}

impl Ledger {
    /// Where systems disagree, about customers whose number comes after `after`: as many as asked for, fewer when that would take
    /// long.
    ///
    /// # Errors
    /// When the store is away.
    pub fn conflicts(&self, filter: &ConflictFilter, after: Option<PartyNo>, limit: usize) -> Result<ConflictPage, ConsentError> {
        self.healthy()?;
        let adopted = self.adopted()?;
        let mut judged: HashMap<Arc<Profile>, Vec<Disagreement<Position>>> = HashMap::new();
        let mut conflicts = Vec::new();
        let mut next = Some(after.unwrap_or(PartyNo(0)));
        for _ in 0..SLICES_MAX {
            let Some(from) = next else { break };
            let slice = self.slice(from, filter.since);
            for (party, profile, events) in slice.candidates {
                if conflicts.len() >= limit.max(1) || (judged.len() >= PROFILES_MAX && !judged.contains_key(&profile)) {
                    return Ok(ConflictPage { conflicts, next: Some(PartyNo(party.0.saturating_sub(1))) });
                }
                let found = judged.entry(profile).or_insert_with_key(|profile| {
                    let mut found = disagreements(profile, &adopted.vocabulary, &adopted.rules);
                    found.retain(|found| filter.wants(found, &adopted.vocabulary));
                    found
                });
                let resolved = found.iter().map(|found| found.clone().resolve(|at| events.get(at)));
                conflicts.extend(resolved.map(|disagreement| Contested { party, disagreement }));
            }
            next = slice.next;
        }
        Ok(ConflictPage { conflicts, next })
    }

    /// Where systems disagree about one customer.
    ///
    /// # Errors
    /// When the customer is unknown or the store is away.
    pub fn conflicts_of(&self, party: &PartyRef) -> Result<Vec<Disagreement>, ConsentError> {
        let adopted = self.adopted()?;
        let standing = self.standing(&party.identifier())?.ok_or(ConsentError::NotFound)?;
        let found = disagreements(&standing.profile, &adopted.vocabulary, &adopted.rules);
        Ok(found.into_iter().map(|found| found.resolve(|at| standing.event_id(at))).collect())
    }

    fn slice(&self, after: PartyNo, since: Option<Revision>) -> Slice {
        let projection = self.reading();
        let len = projection.rows.len();
        let end = after.0.saturating_add(SLICE_ROWS).min(len);
        let mut candidates = Vec::new();
        for no in (after.0.saturating_add(1)..=end).map(PartyNo) {
            let Some(row) = projection.rows.get(no).filter(|row| since.is_none_or(|since| row.revision.max(projection.notices) > since)) else {
                continue;
            };
            let profile = projection.profiles.get(row.profile).filter(|profile| may_disagree(profile));
            candidates.extend(profile.map(|profile| (no, Arc::clone(profile), projection.rows.events(no, row))));
        }
        Slice { candidates, next: (end < len).then_some(PartyNo(end)) }
    }
}

/// Customers that are looked at under one lock: about a millisecond.
const SLICE_ROWS: u64 = 16_384;
/// Slices of one page: a million customers.
const SLICES_MAX: usize = 64;
/// Different profiles that are judged for one page.
const PROFILES_MAX: usize = 4_096;
