//! Customers: facts about them, the ids that are theirs, and what is found before a new one is created.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::{Age, Identifier, PartyId, PartyNo, Revision, Segment, Stage};

use super::author::captured_by;
use super::check::{NAME_CHARS_MAX, check_text, invalid};
use super::commit::{Binding, Writer};
use super::dossier::{View, stands};
use super::error::ConsentError;
use super::event::{Assurance, PartyKind, PartyRef, What};
use super::kind::A_PERSON_SPOKE;
use super::ledger::Ledger;
use super::once::{By, IdempotencyKey};
use super::store::{Batch, Change, ChangeKind, Done, FactName, FactRow, LinkRow, PartyRow, StoreError, Unlink};
use super::write::cut;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactValue {
    Stage(Stage),
    Segment(Segment),
    Age(Age),
    /// The day on which a minor comes of age; until then they count as a minor.
    AdultFrom(Timestamp),
    LegalHold(bool),
    /// Changed by [`Ledger::change_kind`] only.
    Kind(PartyKind),
}

impl FactValue {
    #[must_use]
    pub const fn name(self) -> FactName {
        match self {
            Self::Stage(_) => FactName::Stage,
            Self::Segment(_) => FactName::Segment,
            Self::Age(_) => FactName::Age,
            Self::AdultFrom(_) => FactName::AdultFrom,
            Self::LegalHold(_) => FactName::LegalHold,
            Self::Kind(_) => FactName::Kind,
        }
    }

    /// As it is stored and shown.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Stage(stage) => stage.as_str().to_owned(),
            Self::Segment(segment) => segment.as_str().to_owned(),
            Self::Age(age) => age.as_str().to_owned(),
            Self::AdultFrom(day) => day.to_string(),
            Self::LegalHold(hold) => hold.to_string(),
            Self::Kind(kind) => kind.as_str().to_owned(),
        }
    }

    #[must_use]
    pub fn parse(name: FactName, text: &str) -> Option<Self> {
        match name {
            FactName::Stage => Stage::parse(text).map(Self::Stage),
            FactName::Segment => Segment::parse(text).map(Self::Segment),
            FactName::Age => Age::parse(text).map(Self::Age),
            FactName::AdultFrom => text.parse().ok().map(Self::AdultFrom),
            FactName::LegalHold => text.parse().ok().map(Self::LegalHold),
            FactName::Kind => PartyKind::parse(text).map(Self::Kind),
        }
    }
}

/// What is known of a customer besides consent, with where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub value: FactValue,
    pub source: String,
    pub time: Timestamp,
}

impl Fact {
    pub(super) fn read(row: &FactRow) -> Option<Self> {
        Some(Self { value: FactValue::parse(row.name, &row.value)?, source: row.source.clone(), time: row.time })
    }
}

/// Facts to put; what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactsDraft {
    pub stage: Option<Stage>,
    pub segment: Option<Segment>,
    pub age: Option<Age>,
    pub adult_from: Option<Timestamp>,
    pub legal_hold: Option<bool>,
    /// The system or person that says so.
    pub source: String,
    /// Since when it is so; the time of recording when absent.
    pub time: Option<Timestamp>,
    pub idempotency_key: Option<IdempotencyKey>,
}

impl FactsDraft {
    pub(super) fn values(&self) -> impl Iterator<Item = FactValue> {
        let values = [
            self.stage.map(FactValue::Stage),
            self.segment.map(FactValue::Segment),
            self.age.map(FactValue::Age),
            self.adult_from.map(FactValue::AdultFrom),
            self.legal_hold.map(FactValue::LegalHold),
        ];
        values.into_iter().flatten()
    }
}

/// A customer as an administrator sees one.
#[derive(Clone, Debug)]
pub struct PartyView {
    pub no: PartyNo,
    /// Under which numbers there are records of the customer: its own, and those of the ones who were merged into it.
    pub numbers: Vec<PartyNo>,
    pub id: PartyId,
    pub kind: PartyKind,
    pub revision: Revision,
    pub facts: Vec<Fact>,
    pub links: Vec<LinkView>,
    /// Names of the hard stops that stand.
    pub stops: Vec<&'static str>,
    pub is_erased: bool,
    /// Merges into this customer and into those who came along, undone ones included, in order.
    pub merges: Vec<MergeView>,
}

#[derive(Clone, Debug)]
pub struct MergeView {
    pub into: PartyId,
    pub from: PartyId,
    /// Since when it is known.
    pub time: Timestamp,
    pub reason: String,
    /// Who said so.
    pub source: String,
    pub revision: Revision,
    /// The split that took it back.
    pub undone: Option<Revision>,
}

#[derive(Clone, Debug)]
pub struct LinkView {
    pub identifier: Identifier,
    pub assurance: Assurance,
    pub valid_from: Timestamp,
    pub source: String,
    /// The customer whose it was before a merge.
    pub merged_from: Option<PartyId>,
}

/// What is known about the ids of somebody who is about to be created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// One of the ids belongs to an erased person: the create must be refused.
    pub erased: bool,
    /// Names of hard stops that will attach, each once.
    pub stops: Vec<&'static str>,
    /// Refusals that will attach.
    pub refusals: bool,
}

impl Ledger {
    /// # Errors
    /// [`ConsentError::NotFound`]; when the store is away.
    pub fn show_party(&self, party: &PartyRef) -> Result<PartyView, ConsentError> {
        let no = self.find(party)?;
        let dossier = self.store.dossier(no)?.ok_or(ConsentError::NotFound)?;
        let mut facts: BTreeMap<FactName, Fact> = BTreeMap::new();
        for row in &dossier.facts {
            let unreadable = || StoreError::Damaged("a fact has an unknown value".to_owned());
            facts.insert(row.name, Fact::read(row).ok_or_else(unreadable)?);
        }
        let shown =
            |link: &LinkRow| stands(link, View::NOW.known) && link.identifier.space != super::party_space() && !link.identifier.value.is_empty();
        let links = dossier.links.into_iter().map(|(_, link)| link).filter(shown).map(|link| LinkView {
            identifier: link.identifier,
            assurance: link.assurance,
            valid_from: link.from_time,
            source: link.source,
            merged_from: (link.group != no).then(|| self.party_id(link.group)),
        });
        let mut links: Vec<LinkView> = links.collect();
        links.sort_by(|a, b| (a.valid_from, &a.identifier).cmp(&(b.valid_from, &b.identifier)));
        let joined = dossier.merges.iter().filter(|merge| merge.undone.is_none()).map(|merge| merge.from);
        let numbers = std::iter::once(no).chain(joined).collect::<BTreeSet<_>>().into_iter().collect();
        let merges = dossier.merges.into_iter().map(|merge| MergeView {
            into: self.party_id(merge.into),
            from: self.party_id(merge.from),
            time: merge.time,
            reason: merge.reason,
            source: merge.source,
            revision: merge.revision,
            undone: merge.undone,
        });
        let merges = merges.collect();
        let projection = self.reading();
        let seen = projection.seen(no).ok_or(ConsentError::NotFound)?;
        Ok(PartyView {
            no,
            numbers,
            id: projection.party_id(no),
            kind: seen.about.kind(),
            revision: seen.revision,
            facts: facts.into_values().collect(),
            links,
            stops: seen.profile.stop_names(),
            is_erased: dossier.party.is_erased,
            merges,
        })
    }

    /// Puts facts about a customer.
    ///
    /// # Errors
    /// When the customer is unknown, the source is missing, an organisation is given an age, or the store is away.
    pub fn put_facts(&self, party: &PartyRef, facts: &FactsDraft) -> Result<Revision, ConsentError> {
        check_text("source", &facts.source, NAME_CHARS_MAX)?;
        if facts.source.trim().is_empty() {
            return Err(invalid("`source` is missing: say which system or person says so"));
        }
        if facts.values().next().is_none() {
            return Err(invalid("no fact given: `stage`, `segment`, `age`, `adult_from` or `legal_hold`"));
        }
        let at = self.record_time();
        let mut writer = self.begin();
        self.unless_done(&writer, facts.idempotency_key.as_ref())?;
        let no = self.find(party)?;
        if (facts.age.is_some() || facts.adult_from.is_some()) && self.is_organisation(no) {
            return Err(invalid(NO_AGE));
        }
        let revision = writer.next_revision();
        let mut batch = Batch::default();
        for value in facts.values() {
            let fact = Fact { value, source: facts.source.clone(), time: cut(facts.time.unwrap_or(at)) };
            batch.facts.push(fact_row(no, &fact, revision));
        }
        touch(&mut batch, no, revision, at, ChangeKind::Facts);
        batch.answered.extend(facts.idempotency_key.as_ref().map(|key| key.answered(Done::to(no, revision, at))));
        self.commit(&mut writer, batch, Binding::OnlyIfStored)?;
        Ok(revision)
    }

    /// Links an id to a customer. Stops that wait under the id attach; grants do not. Linking again what is linked changes
    /// nothing.
    ///
    /// # Errors
    /// When the customer is unknown, the id is another's or an erased person's, a person's statements stand under it and the
    /// customer is an organisation, or the store is away.
    pub fn link<'a>(&self, party: &PartyRef, identifier: &Identifier, assurance: Assurance, by: impl Into<By<'a>>) -> Result<Revision, ConsentError> {
        let By { caller, key } = by.into();
        let at = self.record_time();
        let mut writer = self.begin();
        self.unless_done(&writer, key)?;
        let no = self.find(party)?;
        let links = self.store.links_of(identifier)?;
        let standing = links.iter().find(|(_, link)| link.party == no && stands(link, View::NOW.known));
        self.check_linkable(identifier, no, assurance)?;
        let mut batch = Batch::default();
        if let Some((_, link)) = standing {
            if link.assurance == assurance {
                let revision = self.party_revision(no).ok_or(ConsentError::NotFound)?;
                self.keep_done(&mut writer, key, Done::to(no, revision, at))?;
                return Ok(revision);
            }
            if assurance == Assurance::Matched {
                return Err(invalid("the id is this customer's already; split it off to take that back"));
            }
        }
        let is_new = standing.is_none_or(|(_, link)| link.assurance == Assurance::Matched) && assurance != Assurance::Matched;
        if is_new && self.is_organisation(no) && self.has_a_person_spoken(std::slice::from_ref(identifier))? {
            return Err(ConsentError::NotPermitted(A_PERSON_SPOKE));
        }
        let revision = writer.next_revision();
        // A matched id that is verified now carries grants that are recorded from now on; a surer link of the same id changes none.
        let keeps = standing.filter(|(_, link)| link.assurance != Assurance::Matched).map(|(_, link)| (link.grants_after, link.group));
        if let Some((ident, _)) = standing {
            batch.unlinks.push(Unlink { ident: *ident, party: no, revision, time: at });
        }
        let (grants_after, group) = keeps.unwrap_or((revision, no));
        let link = link_row(identifier.clone(), no, assurance, at, &captured_by(caller), revision);
        batch.links.push(LinkRow { grants_after, group, ..link });
        touch(&mut batch, no, revision, at, ChangeKind::Link);
        batch.answered.extend(key.map(|key| key.answered(Done::to(no, revision, at))));
        self.commit(&mut writer, batch, Binding::OnlyIfStored)?;
        Ok(revision)
    }

    /// What stands against the ids of somebody who is about to be created; asked before the upstream is.
    ///
    /// # Errors
    /// When the store is away.
    pub fn match_stops(&self, identifiers: &[Identifier]) -> Result<Matched, ConsentError> {
        self.healthy()?;
        let mut found = Matched::default();
        let mut stops = BTreeSet::new();
        {
            let projection = self.reading();
            for identifier in identifiers {
                found.erased |= projection.is_erased(identifier);
                if let Some(seen) = projection.resolve(identifier).and_then(|no| projection.seen(no)) {
                    stops.extend(seen.profile.stop_names());
                    found.refusals |= seen.profile.said.iter().any(|said| said.state.closes());
                }
            }
        }
        for event in self.store.events(identifiers)? {
            match event.what {
                What::Stop(stop) => {
                    stops.insert(stop.kind.stop_name());
                }
                What::Consent(consent) => found.refusals |= consent.state.closes(),
                What::Lift { .. } | What::Delegation(_) | What::Occurrence(_) => {}
            }
        }
        found.stops = stops.into_iter().collect();
        Ok(found)
    }

    /// Links the id that an upstream gave to a newly created customer; durable on return. Stops and refusals kept under the id
    /// attach, as do those of `matches` (other ids of the person, e.g. the e-mail address written); grants never do. An id that
    /// is linked already gives its customer again.
    ///
    /// # Errors
    /// [`ConsentError::Erased`] when one of the ids belongs to an erased person; when the store is away.
    pub fn link_created(&self, created: &Identifier, matches: &[Identifier]) -> Result<PartyNo, ConsentError> {
        let at = self.record_time();
        let mut writer = self.begin();
        let (known, found): (Option<PartyNo>, Vec<PartyNo>) = {
            let projection = self.reading();
            if projection.is_erased(created) || matches.iter().any(|m| projection.is_erased(m)) {
                return Err(ConsentError::Erased);
            }
            (projection.resolve(created), matches.iter().filter_map(|m| projection.resolve(m)).collect())
        };
        let mut matched: BTreeSet<Identifier> = matches.iter().cloned().collect();
        // Those of erased people by number.
        let mut nameless: BTreeMap<u64, Identifier> = BTreeMap::new();
        // Stops may stand under any id of the person who was found.
        for no in found.into_iter().filter(|no| Some(*no) != known) {
            let links = self.store.dossier(no)?.map(|dossier| dossier.links).unwrap_or_default();
            for (ident, LinkRow { identifier, .. }) in links.into_iter().filter(|(_, link)| stands(link, View::NOW.known)) {
                if identifier.value.is_empty() {
                    nameless.insert(ident, identifier);
                } else {
                    matched.insert(identifier);
                }
            }
            matched.insert(PartyRef::Party(self.party_id(no)).identifier());
        }
        // The id itself is the new customer's own, even if it was matched to another before.
        matched.remove(created);
        if let Some(no) = known {
            return self.match_to(&mut writer, no, matched, nameless, at);
        }
        let no = PartyNo(self.party_count() + 1);
        let mut batch = Batch::default();
        let revision = self.new_party(&mut writer, &mut batch, no, PartyKind::Person, at);
        batch.links.push(link_row(created.clone(), no, Assurance::Asserted, at, "upstream", revision));
        let link = |identifier| link_row(identifier, no, Assurance::Matched, at, "match", revision);
        batch.links.extend(matched.into_iter().map(link));
        batch.moved.extend(nameless.into_iter().map(|(ident, identifier)| (ident, link(identifier))));
        self.commit(&mut writer, batch, Binding::OnlyIfStored)?;
        Ok(no)
    }

    /// What stands under the ids of the person who was found reaches a customer who was known already, too.
    fn match_to(
        &self,
        writer: &mut Writer,
        no: PartyNo,
        mut matched: BTreeSet<Identifier>,
        mut nameless: BTreeMap<u64, Identifier>,
        at: Timestamp,
    ) -> Result<PartyNo, ConsentError> {
        let links = self.dossier_of(no)?.links;
        for (ident, link) in links.iter().filter(|(_, link)| stands(link, View::NOW.known)) {
            matched.remove(&link.identifier);
            nameless.remove(ident);
        }
        if matched.is_empty() && nameless.is_empty() {
            return Ok(no);
        }
        let mut batch = Batch::default();
        let revision = writer.next_revision();
        let link = |identifier| link_row(identifier, no, Assurance::Matched, at, "match", revision);
        batch.links.extend(matched.into_iter().map(link));
        batch.moved.extend(nameless.into_iter().map(|(ident, identifier)| (ident, link(identifier))));
        touch(&mut batch, no, revision, at, ChangeKind::Link);
        self.commit(writer, batch, Binding::OnlyIfStored)?;
        Ok(no)
    }

    pub(super) fn new_party(&self, writer: &mut Writer, batch: &mut Batch, no: PartyNo, kind: PartyKind, at: Timestamp) -> Revision {
        let revision = writer.next_revision();
        batch.parties.push(PartyRow { no, kind, revision, merged_into: None, is_erased: false });
        touch(batch, no, revision, at, ChangeKind::Party);
        if let Some(change) = batch.changes.last_mut().filter(|_| kind == PartyKind::Organisation) {
            // Whose records need no consent is told to ledger and log.
            kind.as_str().clone_into(&mut change.state);
        }
        revision
    }

    pub(super) fn find(&self, party: &PartyRef) -> Result<PartyNo, ConsentError> {
        self.reading().resolve(&party.identifier()).ok_or(ConsentError::NotFound)
    }

    /// Whether records that name this number are needed for a legal claim: the customer's, or those of whoever took the record in.
    #[must_use]
    pub fn is_on_hold(&self, party: PartyNo) -> bool {
        let projection = self.reading();
        let mut next = Some(party);
        while let Some(no) = next {
            if projection.seen(no).is_some_and(|seen| seen.about.facts().legal_hold) {
                return true;
            }
            next = projection.merged_into(no);
        }
        false
    }

    /// Whether the customer's data is needed for a legal claim.
    pub(super) fn is_held(&self, no: PartyNo) -> bool {
        self.reading().seen(no).is_some_and(|seen| seen.about.facts().legal_hold)
    }

    pub(super) fn check_linkable(&self, identifier: &Identifier, to: PartyNo, assurance: Assurance) -> Result<(), ConsentError> {
        let projection = self.reading();
        if projection.is_erased(identifier) {
            return Err(ConsentError::Erased);
        }
        let elsewhere = projection.resolve(identifier).is_some_and(|no| no != to);
        if elsewhere && assurance != Assurance::Matched { Err(ConsentError::LinkedElsewhere) } else { Ok(()) }
    }
}

pub(super) const NO_AGE: &str = "an organisation has no age; leave it out, or correct the kind with `consentry party kind`";

pub(super) fn link_row(identifier: Identifier, party: PartyNo, assurance: Assurance, at: Timestamp, source: &str, revision: Revision) -> LinkRow {
    let source = source.to_owned();
    LinkRow { identifier, party, group: party, assurance, grants_after: revision, source, from: revision, from_time: at, to: None }
}

pub(super) fn fact_row(party: PartyNo, fact: &Fact, revision: Revision) -> FactRow {
    FactRow { party, name: fact.value.name(), value: fact.value.text(), source: fact.source.clone(), time: fact.time, revision }
}

pub(super) fn touch(batch: &mut Batch, no: PartyNo, revision: Revision, at: Timestamp, kind: ChangeKind) {
    batch.touched.push((no, revision));
    batch.changes.push(Change { revision, at, kind, party: Some(no), event: None, purposes: Vec::new(), state: String::new(), author: None });
}
