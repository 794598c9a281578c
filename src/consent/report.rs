//! What administrators and `explain` ask: the effective state, all that was said, and what lost against what.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Category, Channel, ConsentRules, Department, EventId, LawfulBasis, Purpose, Vocabulary};

use super::error::ConsentError;
use super::event::{Event, PartyRef, State};
use super::floor::{floor, lifted_by};
use super::ledger::{Ledger, Standing, standing_of};
use super::parties::find;
use super::status::{Effective, Use};

/// The state of one use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveRow {
    pub purpose: Purpose,
    pub category: Category,
    pub recipient: Department,
    pub channel: Channel,
    /// The hard stop that closes a use on consent, if one does.
    pub stop: Option<&'static str>,
    pub consent: Effective,
}

/// One event of a customer's history, with what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    pub event: Event,
    /// Events that won against it for at least one use.
    pub overridden_by: Vec<EventId>,
    /// Grants that lift it (a hard stop) for the purposes that they name.
    pub lifted_by: Vec<EventId>,
}

impl Ledger {
    /// The effective state for a purpose; without category or recipient, for each of the catalogue's.
    ///
    /// # Errors
    /// When the customer or a name is unknown, or the store is away.
    pub fn effective(
        &self,
        party: &PartyRef,
        purpose: Purpose,
        category: Option<Category>,
        recipient: Option<Department>,
    ) -> Result<Vec<EffectiveRow>, ConsentError> {
        let adopted = self.adopted()?;
        let (vocabulary, rules) = (&adopted.vocabulary, &adopted.rules);
        if !vocabulary.purposes.contains_key(&purpose) {
            return Err(ConsentError::Invalid(format!("unknown purpose `{purpose}`; the catalogue lists them")));
        }
        let standing = self.standing_for(party)?;
        let mut rows = rows(&standing, vocabulary, rules, purpose);
        rows.retain(|row| category.is_none_or(|c| c == row.category) && recipient.is_none_or(|r| r == row.recipient));
        Ok(rows)
    }

    /// Everything about which the customer has said something.
    ///
    /// # Errors
    /// When the customer is unknown or the store is away.
    pub fn current(&self, party: &PartyRef) -> Result<Vec<EffectiveRow>, ConsentError> {
        let adopted = self.adopted()?;
        let standing = self.standing_for(party)?;
        let all = adopted.vocabulary.purposes.keys().flat_map(|purpose| rows(&standing, &adopted.vocabulary, &adopted.rules, *purpose));
        Ok(all.filter(|row| row.consent.state != State::Unknown || row.consent.event.is_some()).collect())
    }

    /// All events of a customer, or of an id that nobody is known by yet, in the order in which they were recorded.
    ///
    /// # Errors
    /// When nothing is known under the id, or the store is away.
    pub fn history(&self, party: &PartyRef) -> Result<Vec<HistoryRow>, ConsentError> {
        let adopted = self.adopted()?;
        let identifier = party.identifier();
        let (standing, identifiers) = {
            let projection = self.reading();
            let found = find(&projection, party).ok();
            let own = found.map(|p| PartyRef::Party(p.id.clone()).identifier());
            let linked = found.into_iter().flat_map(|p| &p.links).map(|link| (*link.identifier).clone());
            let identifiers: BTreeSet<_> = linked.chain(own).chain([identifier]).collect();
            (found.map(|p| standing_of(p, adopted.rules.default_segment)), identifiers.into_iter().collect::<Vec<_>>())
        };
        let resolving = |event: &Event| {
            let projection = self.reading();
            standing.as_ref().is_none_or(|s| projection.resolve(&event.identifier) == Some(s.party) || s.events.contains(&event.id))
        };
        let mut events = self.store.events(&identifiers)?;
        // Under an id that is only matched, grants are somebody else's.
        events.retain(resolving);
        if standing.is_none() && events.is_empty() {
            return Err(ConsentError::NotFound);
        }
        let fates = standing.map(|s| fates(&s, &adopted.vocabulary, &adopted.rules)).unwrap_or_default();
        let row = |event: Event| {
            let (overridden_by, lifted_by) = fates.get(&event.id).cloned().unwrap_or_default();
            HistoryRow { overridden_by: overridden_by.into_iter().collect(), lifted_by: lifted_by.into_iter().collect(), event }
        };
        Ok(events.into_iter().map(row).collect())
    }

    fn standing_for(&self, party: &PartyRef) -> Result<Standing, ConsentError> {
        self.standing(&party.identifier())?.ok_or(ConsentError::NotFound)
    }
}

fn rows(standing: &Standing, vocabulary: &Vocabulary, rules: &ConsentRules, purpose: Purpose) -> Vec<EffectiveRow> {
    let channel = vocabulary.channel(purpose);
    let mut rows = Vec::new();
    for category in vocabulary.categories.keys().copied() {
        let stop = floor(&standing.profile, vocabulary, rules, purpose, LawfulBasis::Consent, category, channel).err();
        for recipient in vocabulary.departments.keys().copied() {
            let consent = standing.status(vocabulary, rules, purpose, category, recipient, channel);
            rows.push(EffectiveRow { purpose, category, recipient, channel, stop, consent });
        }
    }
    rows
}

type Fates = BTreeMap<EventId, (BTreeSet<EventId>, BTreeSet<EventId>)>;

/// Who overrode and who lifted whom, over all uses that the catalogue knows.
fn fates(standing: &Standing, vocabulary: &Vocabulary, rules: &ConsentRules) -> Fates {
    let mut fates = Fates::new();
    for purpose in vocabulary.purposes.keys().copied() {
        for row in rows(standing, vocabulary, rules, purpose) {
            for loser in row.consent.overridden {
                let (overridden_by, _) = fates.entry(loser).or_default();
                overridden_by.extend(row.consent.event.clone());
            }
        }
        let channel = vocabulary.channel(purpose);
        for category in vocabulary.categories.keys().copied() {
            let usage = Use { vocabulary, rules, purpose, category, recipient: None, channel };
            for stop in &standing.profile.stops {
                let lifting = lifted_by(stop, &usage, &standing.profile).and_then(|at| standing.event_id(at));
                if let (Some(grant), Some(stop)) = (lifting, standing.event_id(stop.at)) {
                    fates.entry(stop.clone()).or_default().1.insert(grant.clone());
                }
            }
        }
    }
    fates
}
