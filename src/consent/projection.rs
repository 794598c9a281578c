//! The ledger in memory: ids to customers, customers to profiles. Built from the store's rows at start and kept up by the same
//! batches that are committed; both ways give the same (test).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use aws_lc_rs::hmac;
use jiff::{SignedDuration, Timestamp};

use crate::model::{Age, EventId, Identifier, PartyId, PartyNo, Revision};

use super::event::{Assurance, Event, PartyKind, StopKind};
use super::parties::Fact;
use super::profile::{Circumstances, Interner, Profile, Reaching, build};
use super::record::Record;
use super::store::{Batch, FactRow, LinkRow, Loaded, PartyRow, StoreError, Tombstone};

#[derive(Debug)]
pub(super) struct Projection {
    /// Customer `n` stands at `n - 1`.
    parties: Vec<Party>,
    by_id: HashMap<PartyId, PartyNo>,
    crosswalk: HashMap<Arc<Identifier>, PartyNo>,
    records: HashMap<Identifier, Vec<Record>>,
    /// Where each event is kept.
    kept_under: HashMap<EventId, Identifier>,
    /// Customers to whom a matched id carries its stops.
    matched: HashMap<Identifier, Vec<PartyNo>>,
    tombstones: HashSet<Tombstone>,
    tombstone_key: hmac::Key,
    timers: BTreeSet<(Timestamp, EventId)>,
    interner: Interner,
    blank: Arc<Profile>,
    nothing: Arc<[EventId]>,
    skew: SignedDuration,
    pub(super) revision: Revision,
}

#[derive(Debug)]
pub(super) struct Party {
    pub(super) no: PartyNo,
    pub(super) id: PartyId,
    pub(super) kind: PartyKind,
    pub(super) revision: Revision,
    pub(super) profile: Arc<Profile>,
    pub(super) events: Arc<[EventId]>,
    pub(super) facts: Vec<Fact>,
    pub(super) links: Vec<Link>,
}

#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) identifier: Arc<Identifier>,
    pub(super) assurance: Assurance,
    pub(super) valid_from: Timestamp,
    pub(super) source: String,
    pub(super) revision: Revision,
}

impl Projection {
    pub(super) fn new(tombstone_key: &[u8; 32], skew: SignedDuration) -> Self {
        Self {
            parties: Vec::new(),
            by_id: HashMap::new(),
            crosswalk: HashMap::new(),
            records: HashMap::new(),
            kept_under: HashMap::new(),
            matched: HashMap::new(),
            tombstones: HashSet::new(),
            tombstone_key: hmac::Key::new(hmac::HMAC_SHA256, tombstone_key),
            timers: BTreeSet::new(),
            interner: Interner::default(),
            blank: Arc::default(),
            nothing: Arc::new([]),
            skew,
            revision: Revision(0),
        }
    }

    /// Takes in one stored row; [`Self::reproject_all`] must follow the last.
    pub(super) fn take(&mut self, row: Loaded) -> Result<(), StoreError> {
        match row {
            Loaded::Party(row) => self.take_party(&row)?,
            Loaded::Link(row) => self.take_link(&row)?,
            Loaded::Fact(row) => self.take_fact(&row)?,
            Loaded::Event(event, lapsed) => self.take_event(&event, lapsed),
            Loaded::Tombstone(hash) => {
                self.tombstones.insert(hash);
            }
        }
        Ok(())
    }

    /// Applies what was committed (or, for a stop while the store is away, what will be).
    pub(super) fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut changed: BTreeSet<PartyNo> = BTreeSet::new();
        for party in &batch.parties {
            self.take_party(party)?;
        }
        for link in &batch.links {
            self.take_link(link)?;
            changed.insert(link.party);
        }
        for fact in &batch.facts {
            self.take_fact(fact)?;
        }
        for event in &batch.events {
            self.take_event(event, false);
            changed.extend(self.reached_by(&event.identifier));
        }
        for id in &batch.lapsed {
            if let Some(identifier) = self.lapse(id) {
                changed.extend(self.reached_by(&identifier));
            }
        }
        self.tombstones.extend(&batch.tombstones);
        for no in changed {
            self.reproject(no);
        }
        for (no, revision) in &batch.touched {
            if let Some(party) = self.party_mut(*no) {
                party.revision = *revision;
            }
        }
        self.revision = batch.changes.iter().map(|change| change.revision).fold(self.revision, Revision::max);
        Ok(())
    }

    pub(super) fn reproject_all(&mut self) {
        // Whoever is not reached by any record has the blank profile already.
        let reached: BTreeSet<PartyNo> = self.records.keys().flat_map(|identifier| self.reached_by(identifier)).collect();
        for no in reached {
            self.reproject(no);
        }
    }

    /// Another skew changes which grants reach over which stops.
    pub(super) fn set_skew(&mut self, skew: SignedDuration) {
        if self.skew != skew {
            self.skew = skew;
            self.reproject_all();
        }
    }

    pub(super) const fn skew(&self) -> SignedDuration {
        self.skew
    }

    pub(super) fn party_count(&self) -> u64 {
        u64::try_from(self.parties.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn party(&self, no: PartyNo) -> Option<&Party> {
        self.parties.get(usize::try_from(no.0.checked_sub(1)?).ok()?)
    }

    fn party_mut(&mut self, no: PartyNo) -> Option<&mut Party> {
        self.parties.get_mut(usize::try_from(no.0.checked_sub(1)?).ok()?)
    }

    #[cfg(test)]
    pub(super) fn parties(&self) -> &[Party] {
        &self.parties
    }

    #[cfg(test)]
    pub(super) fn profile_count(&self) -> usize {
        self.interner.len()
    }

    /// Whose id it is. A matched id is nobody's.
    pub(super) fn resolve(&self, identifier: &Identifier) -> Option<PartyNo> {
        if identifier.space == super::party_space() {
            return self.by_id.get(&PartyId(identifier.value.clone())).copied();
        }
        self.crosswalk.get(identifier).copied()
    }

    /// The customers whose standing an event under this id changes.
    pub(super) fn reached_by(&self, identifier: &Identifier) -> Vec<PartyNo> {
        let matched = self.matched.get(identifier).into_iter().flatten().copied();
        let mut reached: Vec<PartyNo> = self.resolve(identifier).into_iter().chain(matched).collect();
        reached.sort_unstable();
        reached.dedup();
        reached
    }

    pub(super) fn tombstone(&self, identifier: &Identifier) -> Tombstone {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.tombstone_key, identifier.to_string().as_bytes()).as_ref());
        hash
    }

    /// Whether the id is one of an erased person.
    pub(super) fn is_erased(&self, identifier: &Identifier) -> bool {
        let by_party = self.resolve(identifier).and_then(|no| self.party(no)).is_some_and(|party| party.profile.is_erased());
        by_party || self.tombstones.contains(&self.tombstone(identifier))
    }

    /// What is kept under an id, linked or not.
    pub(super) fn records(&self, identifier: &Identifier) -> impl Iterator<Item = &Record> {
        self.records.get(identifier).into_iter().flatten()
    }

    pub(super) fn kept_under(&self, event: &EventId) -> Option<&Identifier> {
        self.kept_under.get(event)
    }

    pub(super) fn stop_kind(&self, event: &EventId) -> Option<StopKind> {
        let identifier = self.kept_under(event)?;
        self.records(identifier).find(|record| record.id == *event)?.stop_kind()
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _)| *due)
    }

    pub(super) fn due(&self, now: Timestamp) -> Vec<EventId> {
        self.timers.iter().take_while(|(due, _)| *due <= now).map(|(_, id)| *id).collect()
    }

    fn take_party(&mut self, row: &PartyRow) -> Result<(), StoreError> {
        // INVARIANT: numbers are dense and never reissued.
        if row.no.0 != self.party_count() + 1 {
            return Err(StoreError::Damaged("the customers' numbers have a gap".to_owned()));
        }
        self.by_id.insert(row.id.clone(), row.no);
        self.parties.push(Party {
            no: row.no,
            id: row.id.clone(),
            kind: row.kind,
            revision: row.revision,
            profile: Arc::clone(&self.blank),
            events: Arc::clone(&self.nothing),
            facts: Vec::new(),
            links: Vec::new(),
        });
        Ok(())
    }

    fn take_link(&mut self, row: &LinkRow) -> Result<(), StoreError> {
        let identifier = Arc::new(row.identifier.clone());
        match row.assurance {
            Assurance::Matched => {}
            Assurance::Asserted | Assurance::Verified => {
                self.crosswalk.insert(Arc::clone(&identifier), row.party);
            }
        }
        let link = Link { identifier, assurance: row.assurance, valid_from: row.valid_from, source: row.source.clone(), revision: row.revision };
        let party = self.party_mut(row.party).ok_or_else(|| StoreError::Damaged("a link names no customer".to_owned()))?;
        // A matched id that was verified since.
        let was_matched = party.links.iter().any(|old| *old.identifier == row.identifier && old.assurance == Assurance::Matched);
        party.links.retain(|old| *old.identifier != row.identifier);
        party.links.push(link);
        party.links.sort_by(|a, b| (a.revision, &a.identifier).cmp(&(b.revision, &b.identifier)));
        if was_matched && let Some(carried_to) = self.matched.get_mut(&row.identifier) {
            carried_to.retain(|no| *no != row.party);
        }
        if row.assurance == Assurance::Matched {
            self.matched.entry(row.identifier.clone()).or_default().push(row.party);
        }
        Ok(())
    }

    fn take_fact(&mut self, row: &FactRow) -> Result<(), StoreError> {
        let fact = Fact::read(row).ok_or_else(|| StoreError::Damaged("a fact has an unknown value".to_owned()))?;
        let party = self.party_mut(row.party).ok_or_else(|| StoreError::Damaged("a fact names no customer".to_owned()))?;
        party.facts.retain(|old| old.value.name() != row.name);
        party.facts.push(fact);
        Ok(())
    }

    fn take_event(&mut self, event: &Event, lapsed: bool) {
        let record = Record::of(event, lapsed, 0);
        if let Some(due) = record.due.filter(|_| !lapsed) {
            self.timers.insert((due, record.id));
        }
        self.kept_under.insert(record.id, event.identifier.clone());
        self.records.entry(event.identifier.clone()).or_default().push(record);
    }

    fn lapse(&mut self, id: &EventId) -> Option<Identifier> {
        let identifier = self.kept_under.get(id)?.clone();
        let kept = self.records.get_mut(&identifier)?.iter_mut().find(|kept| kept.id == *id)?;
        kept.fired = true;
        if let Some(due) = kept.due {
            self.timers.remove(&(due, *id));
        }
        Some(identifier)
    }

    fn reproject(&mut self, no: PartyNo) {
        let Some(party) = self.party(no) else { return };
        let own = Identifier { space: super::party_space(), value: party.id.0.clone() };
        let linked = party.links.iter().map(|link| (&*link.identifier, link.assurance, link.revision));
        let mut reaching = Vec::new();
        for (identifier, assurance, since) in linked.chain([(&own, Assurance::Verified, Revision(0))]) {
            for record in self.records.get(identifier).into_iter().flatten() {
                let carries_grants = assurance != Assurance::Matched && Revision(record.id.0) > since;
                if carries_grants || record.binds_across() {
                    reaching.push(Reaching { record, carries_grants, group: 0 });
                }
            }
        }
        let (profile, events): (Arc<Profile>, Arc<[EventId]>) = if reaching.is_empty() {
            (Arc::clone(&self.blank), Arc::clone(&self.nothing))
        } else {
            // What runs out does so by its timer alone.
            let (at, superseded) = (Timestamp::MIN, HashSet::new());
            let circumstances = Circumstances { skew: self.skew, at, superseded: &superseded, age: Age::Unknown, joined: &[] };
            let (profile, events) = build(reaching, &circumstances);
            (self.interner.intern(profile), events.into())
        };
        if let Some(party) = self.party_mut(no) {
            party.profile = profile;
            party.events = events;
        }
    }
}
