//! The ledger in memory: ids to customers, customers to profiles; no event, no fact's source, no public id. Every customer
//! gets here through [`derive`], whether at start or after a change; both ways give the same (test).

use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::sync::Arc;

use aws_lc_rs::hmac;

use crate::model::{Identifier, PartyId, PartyNo, Revision};

use super::crosswalk::Crosswalk;
use super::dossier::{Settings, View, derive, stands};
use super::event::{Assurance, PartyKind};
use super::intern::Interner;
use super::notices::NoticeVersion;
use super::profile::Profile;
use super::rows::{About, EventList, Facts, Row, Rows};
use super::seal::{Seal, derived, first};
use super::store::{Dossier, LinkRow, Registers, Tombstone};

#[derive(Debug)]
pub(super) struct Projection {
    pub(super) crosswalk: Crosswalk,
    pub(super) rows: Rows,
    pub(super) profiles: Interner,
    /// Customers to whom a matched id carries its stops.
    matched: HashMap<Identifier, Vec<PartyNo>>,
    /// Customers whose record another has taken in.
    merged: HashMap<PartyNo, PartyNo>,
    tombstones: HashMap<[u8; 32], Option<PartyNo>>,
    tombstone_key: hmac::Key,
    seal: Seal,
    pub(super) settings: Settings,
    /// Versions of notices.
    pub(super) register: Arc<[NoticeVersion]>,
    /// When a notice last lost its force: it may concern anybody.
    pub(super) notices: Revision,
    pub(super) revision: Revision,
}

/// One customer as the request path sees them.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) revision: Revision,
    pub(super) profile: &'a Arc<Profile>,
    pub(super) about: About,
    row: &'a Row,
    no: PartyNo,
    rows: &'a Rows,
}

impl Seen<'_> {
    pub(super) fn events(&self) -> EventList {
        self.rows.events(self.no, self.row)
    }
}

impl Projection {
    pub(super) fn new(key: &[u8; 32], settings: Settings) -> Self {
        Self::with(Crosswalk::new(crosswalk_key(key)), Rows::default(), Interner::default(), key, settings)
    }

    pub(super) fn with(crosswalk: Crosswalk, rows: Rows, profiles: Interner, key: &[u8; 32], settings: Settings) -> Self {
        Self {
            crosswalk,
            rows,
            profiles,
            matched: HashMap::new(),
            merged: HashMap::new(),
            tombstones: HashMap::new(),
            tombstone_key: derived(key, b"tombstones"),
            seal: Seal::new(key),
            settings,
            register: Arc::new([]),
            notices: Revision(0),
            revision: Revision(0),
        }
    }

    /// Takes in a customer as stored, new or changed.
    pub(super) fn put(&mut self, dossier: &Dossier) {
        let no = dossier.party.no;
        let found = derive(dossier, View::NOW, &self.settings);
        let profile = self.profiles.hold(found.profile);
        while self.rows.len() < no.0 {
            let blank = self.profiles.hold(Profile::default());
            self.rows.push(Revision(0), blank, About::new(PartyKind::Person, Facts::default()));
        }
        if let Some(row) = self.rows.get_mut(no) {
            let before = std::mem::replace(&mut row.profile, profile);
            row.revision = dossier.party.revision;
            row.about = found.about;
            self.profiles.release(before);
        }
        self.rows.set_events(no, &found.events);
        self.put_links(dossier);
        match dossier.party.merged_into {
            Some(into) => self.merged.insert(no, into),
            None => self.merged.remove(&no),
        };
        self.revision = self.revision.max(dossier.party.revision);
    }

    /// Who took in that customer's record.
    pub(super) fn merged_into(&self, no: PartyNo) -> Option<PartyNo> {
        self.merged.get(&no).copied()
    }

    fn put_links(&mut self, dossier: &Dossier) {
        let no = dossier.party.no;
        let current = |link: &LinkRow| stands(link, View::NOW.known) && !link.identifier.value.is_empty();
        for (_, link) in &dossier.links {
            if let Some(carried_to) = self.matched.get_mut(&link.identifier) {
                carried_to.retain(|to| *to != no);
            }
            let ended = !dossier.links.iter().any(|(_, other)| other.identifier == link.identifier && current(other));
            if ended && self.crosswalk.get(&link.identifier) == Some(no) {
                self.crosswalk.remove(&link.identifier);
            }
        }
        for (_, link) in dossier.links.iter().filter(|(_, link)| current(link)) {
            match link.assurance {
                Assurance::Matched => self.matched.entry(link.identifier.clone()).or_default().push(no),
                // Its own id is not kept: it can be read.
                Assurance::Asserted | Assurance::Verified if link.identifier.space == super::party_space() => {}
                Assurance::Asserted | Assurance::Verified => self.crosswalk.insert(&link.identifier, no),
            }
        }
    }

    pub(super) fn set_registers(&mut self, registers: Registers) {
        self.merged = registers.merged.into_iter().collect();
        self.tombstones = registers.tombstones.into_iter().map(|tombstone| (tombstone.hash, tombstone.party)).collect();
        self.matched.clear();
        for (identifier, party) in registers.matched {
            self.matched.entry(identifier).or_default().push(party);
        }
    }

    pub(super) fn bury(&mut self, forgotten: &[(Identifier, Option<PartyNo>)], tombstones: &[Tombstone]) {
        for (identifier, _) in forgotten {
            self.crosswalk.remove(identifier);
            self.matched.remove(identifier);
        }
        self.tombstones.extend(tombstones.iter().map(|tombstone| (tombstone.hash, tombstone.party)));
    }

    /// Notices lost their force: profiles that rest on them are changed in place, for everybody who has them.
    pub(super) fn supersede(&mut self, notices: HashSet<(String, String)>, since: Revision) {
        if self.settings.superseded == notices {
            return;
        }
        self.settings.superseded = notices;
        self.notices = self.notices.max(since);
        self.revision = self.revision.max(since);
        let lost = &self.settings.superseded;
        let changed: Vec<(u32, Profile)> = self.profiles.iter().filter_map(|(number, profile)| Some((number, profile.superseded(lost)?))).collect();
        let mut moved = HashMap::new();
        for (number, profile) in changed {
            moved.insert(number, self.profiles.hold(profile));
        }
        if moved.is_empty() {
            return;
        }
        let mut left: HashMap<u32, u64> = HashMap::new();
        for row in self.rows.iter_mut() {
            if let Some(to) = moved.get(&row.profile) {
                *left.entry(row.profile).or_default() += 1;
                row.profile = *to;
            }
        }
        for (from, customers) in left {
            if let Some(to) = moved.get(&from) {
                self.profiles.shift(from, *to, customers);
            }
        }
        // The one hold by which each was kept until its customers had moved.
        moved.values().for_each(|to| self.profiles.release(*to));
    }

    pub(super) fn party_count(&self) -> u64 {
        self.rows.len()
    }

    pub(super) fn seen(&self, no: PartyNo) -> Option<Seen<'_>> {
        let row = self.rows.get(no)?;
        let profile = self.profiles.get(row.profile)?;
        Some(Seen { revision: row.revision.max(self.notices), profile, about: row.about, row, no, rows: &self.rows })
    }

    /// Whose id it is. A matched id is nobody's.
    pub(super) fn resolve(&self, identifier: &Identifier) -> Option<PartyNo> {
        if identifier.space == super::party_space() {
            return self.own_number(identifier).map(|no| self.survivor(no));
        }
        // Both the key and the row are rarely in the cache: they are waited for at once.
        let ahead = |no| _ = black_box(self.rows.get(no).map(|row| row.revision));
        self.crosswalk.get_ahead(identifier, ahead).or_else(|| self.erased(identifier))
    }

    /// Whether a keyed hash of the id is kept.
    pub(super) fn is_buried(&self, identifier: &Identifier) -> bool {
        self.tombstones.contains_key(&self.hash(identifier))
    }

    /// The erased customer whose id it was.
    pub(super) fn erased(&self, identifier: &Identifier) -> Option<PartyNo> {
        if self.tombstones.is_empty() { None } else { *self.tombstones.get(&self.hash(identifier))? }
    }

    /// The id under which what is said about an erased person is kept: theirs is not written down again. Of somebody who was no
    /// customer nothing but the keyed hash is left.
    pub(super) fn kept_under(&self, identifier: &Identifier) -> Option<Identifier> {
        if self.tombstones.is_empty() {
            return None;
        }
        let hash = self.hash(identifier);
        let value = match self.tombstones.get(&hash)? {
            Some(no) => self.party_id(*no).0,
            None => hash.iter().fold(NOBODY.to_owned(), |text, byte| format!("{text}{byte:02x}")),
        };
        Some(Identifier { space: super::party_space(), value })
    }

    /// Whether it stands for an id that was erased and nobody's.
    fn is_erased_nobody(&self, identifier: &Identifier) -> bool {
        let Some(text) = identifier.value.strip_prefix(NOBODY).filter(|_| identifier.space == super::party_space()) else { return false };
        let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
        let hash: Option<Vec<u8>> = if text.len() == 64 { (0..32).map(byte).collect() } else { None };
        hash.and_then(|hash| <[u8; 32]>::try_from(hash).ok()).is_some_and(|hash| self.tombstones.get(&hash) == Some(&None))
    }

    /// The customer to whom `party:<id>` was given, merged or not.
    pub(super) fn own_number(&self, identifier: &Identifier) -> Option<PartyNo> {
        self.seal.number(&identifier.value).filter(|no| no.0 <= self.rows.len())
    }

    /// The customer into whose record this one was merged.
    fn survivor(&self, mut no: PartyNo) -> PartyNo {
        while let Some(into) = self.merged.get(&no) {
            no = *into;
        }
        no
    }

    pub(super) fn party_id(&self, no: PartyNo) -> PartyId {
        self.seal.id(no)
    }

    /// The customers whose standing an event under this id changes.
    pub(super) fn reached_by(&self, identifier: &Identifier) -> Vec<PartyNo> {
        let matched = self.matched.get(identifier).into_iter().flatten().copied();
        let mut reached: Vec<PartyNo> = self.resolve(identifier).into_iter().chain(matched).collect();
        reached.sort_unstable();
        reached.dedup();
        reached
    }

    pub(super) fn tombstone(&self, identifier: &Identifier, party: Option<PartyNo>) -> Tombstone {
        Tombstone { hash: self.hash(identifier), party }
    }

    fn hash(&self, identifier: &Identifier) -> [u8; 32] {
        first(hmac::sign(&self.tombstone_key, identifier.to_string().as_bytes()).as_ref())
    }

    /// Whether the id is one of an erased person.
    pub(super) fn is_erased(&self, identifier: &Identifier) -> bool {
        let by_party = self.resolve(identifier).and_then(|no| self.seen(no)).is_some_and(|seen| seen.profile.is_erased());
        by_party || (!self.tombstones.is_empty() && (self.is_buried(identifier) || self.is_erased_nobody(identifier)))
    }
}

/// No public id of a customer begins like this.
const NOBODY: &str = "erased_";

pub(super) fn crosswalk_key(key: &[u8; 32]) -> [u8; 16] {
    first(hmac::sign(&derived(key, b"crosswalk"), b"").as_ref())
}
