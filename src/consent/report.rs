//! What administrators and `explain` ask: the effective state, now or as known at another time, all that was said, and what
//! lost against what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{Category, Channel, ConsentRules, Department, EventId, LawfulBasis, PartyNo, Purpose, Revision, Vocabulary};

use super::check::invalid;
use super::dossier::{View, derive, stands};
use super::error::ConsentError;
use super::event::{Event, PartyRef, State};
use super::floor::{floor, lifted_by};
use super::ledger::{Ledger, Standing, standing_of};
use super::rows::EventList;
use super::status::{Effective, Use};
use super::write::FUTURE_MAX;

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

/// Two times (valid time and transaction time, as SQL:2011 calls them): what was the case *at* one, as far as was *known at* the
/// other. Without them: now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsOf {
    pub at: Option<Timestamp>,
    pub known_at: Option<Timestamp>,
}

/// Which uses are asked about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Only this purpose, whether or not anything was said about it; without it, every use about which something was said.
    pub purpose: Option<Purpose>,
    pub category: Option<Category>,
    pub recipient: Option<Department>,
}

/// The answer to a question about one customer.
#[derive(Clone, Debug)]
pub struct Effectives {
    /// Whose id it was then.
    pub party: PartyNo,
    /// What was known.
    pub revision: Revision,
    /// Names of the hard stops that stood.
    pub stops: Vec<&'static str>,
    pub rows: Vec<EffectiveRow>,
}

impl Ledger {
    /// What a customer allows, now or as of other times. Judged by the catalogue and the rules that are loaded now; what was
    /// decided then stands in the decision log.
    ///
    /// # Errors
    /// When the customer or a name is unknown, was unknown then, or the store is away.
    pub fn effective(&self, party: &PartyRef, asked: Asked, as_of: AsOf) -> Result<Effectives, ConsentError> {
        let adopted = self.adopted()?;
        let (vocabulary, rules) = (&adopted.vocabulary, &adopted.rules);
        if let Some(unknown) = asked.purpose.filter(|purpose| !vocabulary.purposes.contains_key(purpose)) {
            return Err(ConsentError::Invalid(format!("unknown purpose `{unknown}`; the catalogue lists them")));
        }
        let (standing, revision) = match as_of {
            AsOf { at: None, known_at: None } => (self.standing_for(party)?, self.revision()),
            AsOf { at, known_at } => self.standing_as_of(party, at, known_at)?,
        };
        let purposes: Vec<Purpose> = asked.purpose.map_or_else(|| vocabulary.purposes.keys().copied().collect(), |purpose| vec![purpose]);
        let mut rows: Vec<EffectiveRow> = purposes.into_iter().flat_map(|purpose| rows(&standing, vocabulary, rules, purpose)).collect();
        rows.retain(|row| {
            asked.category.is_none_or(|c| c == row.category)
                && asked.recipient.is_none_or(|r| r == row.recipient)
                && (asked.purpose.is_some() || row.consent.state != State::Unknown || row.consent.event.is_some())
        });
        Ok(Effectives { party: standing.party, revision, stops: standing.profile.stop_names(), rows })
    }

    /// All events of a customer, or of an id that nobody is known by yet, in the order in which they were recorded.
    ///
    /// # Errors
    /// When nothing is known under the id, or the store is away.
    pub fn history(&self, party: &PartyRef) -> Result<Vec<HistoryRow>, ConsentError> {
        let adopted = self.adopted()?;
        let identifier = party.identifier();
        let Ok(no) = self.find(party) else {
            let kept_under = self.reading().kept_under(&identifier);
            let events = self.store.events(&[kept_under.unwrap_or(identifier)])?;
            if events.is_empty() {
                return Err(ConsentError::NotFound);
            }
            return Ok(events.into_iter().map(|event| HistoryRow { event, overridden_by: Vec::new(), lifted_by: Vec::new() }).collect());
        };
        let dossier = self.dossier_of(no)?;
        let standing = {
            let projection = self.reading();
            let seen = projection.seen(no).ok_or(ConsentError::NotFound)?;
            standing_of(no, &seen, adopted.rules.default_segment)
        };
        let counted: BTreeSet<EventId> = standing.events.iter().collect();
        // Under an id that is only matched, grants are somebody else's.
        let own = |ident: u64| {
            dossier.links.iter().any(|(of, link)| *of == ident && stands(link, View::NOW.known) && link.assurance != super::Assurance::Matched)
        };
        let mut ids: Vec<EventId> =
            dossier.records.iter().filter(|(ident, record)| own(*ident) || counted.contains(&record.id)).map(|(_, record)| record.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let fates = fates(&standing, &adopted.vocabulary, &adopted.rules);
        let mut history = Vec::with_capacity(ids.len());
        for id in ids {
            let event = self.store.event(id)?.ok_or(ConsentError::NotFound)?;
            let (overridden_by, lifted_by) = fates.get(&id).cloned().unwrap_or_default();
            history.push(HistoryRow { event, overridden_by: overridden_by.into_iter().collect(), lifted_by: lifted_by.into_iter().collect() });
        }
        Ok(history)
    }

    fn standing_for(&self, party: &PartyRef) -> Result<Standing, ConsentError> {
        self.standing(&party.identifier())?.ok_or(ConsentError::NotFound)
    }

    fn standing_as_of(&self, party: &PartyRef, at: Option<Timestamp>, known_at: Option<Timestamp>) -> Result<(Standing, Revision), ConsentError> {
        self.healthy()?;
        let adopted = self.adopted()?;
        let now = self.clock.now();
        let latest = now.checked_add(FUTURE_MAX).unwrap_or(Timestamp::MAX);
        if known_at.is_some_and(|time| time > latest) {
            return Err(invalid("`known_at` lies in the future: what will be known then cannot be told"));
        }
        let known = known_at.map_or_else(|| Ok(self.revision()), |time| self.store.revision_at(time))?;
        let no = self.owner_at(&party.identifier(), known)?;
        let dossier = self.dossier_of(no)?;
        if !dossier.links.iter().any(|(_, link)| link.from <= known) {
            // Nobody was known by then, whatever the number is now.
            return Err(ConsentError::NotFound);
        }
        let settings = {
            let projection = self.reading();
            let mut settings = projection.settings.clone();
            let register: Vec<_> = projection.register.iter().filter(|notice| notice.revision <= known).cloned().collect();
            settings.superseded = super::notices::superseded(&register, at.unwrap_or(now)).0;
            settings
        };
        let view = View { known, at: Some(at.unwrap_or(now)) };
        let derived = derive(&dossier, view, &settings);
        let standing = Standing {
            party: no,
            revision: known,
            profile: Arc::new(derived.profile),
            facts: derived.about.facts().resolve(adopted.rules.default_segment),
            events: EventList::of(&derived.events),
        };
        Ok((standing, known))
    }

    /// Whose an id was when this was the last revision.
    fn owner_at(&self, identifier: &crate::model::Identifier, known: Revision) -> Result<PartyNo, ConsentError> {
        let own = self.reading().own_number(identifier).filter(|_| identifier.space == super::party_space());
        let Some(mut no) = own else {
            let links = self.store.links_of(identifier)?;
            let link = links.iter().find(|(_, link)| stands(link, known) && link.assurance != super::Assurance::Matched);
            return link.map(|(_, link)| link.party).ok_or(ConsentError::NotFound);
        };
        // Into whom it had been merged by then.
        loop {
            let into = self.store.merged_into(no, known)?;
            match into {
                Some(into) => no = into,
                None => return Ok(no),
            }
        }
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
                overridden_by.extend(row.consent.event);
            }
        }
        let channel = vocabulary.channel(purpose);
        for category in vocabulary.categories.keys().copied() {
            let usage = Use { vocabulary, rules, purpose, category, recipient: None, channel };
            for stop in &standing.profile.stops {
                let lifting = lifted_by(stop, &usage, &standing.profile).and_then(|at| standing.event_id(at));
                if let (Some(grant), Some(stop)) = (lifting, standing.event_id(stop.at)) {
                    fates.entry(stop).or_default().1.insert(grant);
                }
            }
        }
    }
    fates
}
