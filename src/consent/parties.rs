//! Customers: facts about them, the ids that are theirs, and what is found before a new one is created.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::{Age, Identifier, PartyFacts, PartyId, PartyNo, Revision, Segment, Stage};

use super::author::captured_by;
use super::check::{NAME_CHARS_MAX, check_text, invalid};
use super::draft::Capturer;
use super::error::ConsentError;
use super::event::{Assurance, PartyKind, PartyRef};
use super::ledger::Ledger;
use super::projection::{Party, Projection};
use super::store::{Batch, Change, ChangeKind, FactName, FactRow, LinkRow, PartyRow};
use super::write::{Binding, Writer, fresh_id};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactValue {
    Stage(Stage),
    Segment(Segment),
    Age(Age),
    LegalHold(bool),
}

impl FactValue {
    #[must_use]
    pub const fn name(self) -> FactName {
        match self {
            Self::Stage(_) => FactName::Stage,
            Self::Segment(_) => FactName::Segment,
            Self::Age(_) => FactName::Age,
            Self::LegalHold(_) => FactName::LegalHold,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stage(stage) => stage.as_str(),
            Self::Segment(segment) => segment.as_str(),
            Self::Age(age) => age.as_str(),
            Self::LegalHold(true) => "true",
            Self::LegalHold(false) => "false",
        }
    }

    #[must_use]
    pub fn parse(name: FactName, text: &str) -> Option<Self> {
        match name {
            FactName::Stage => Stage::parse(text).map(Self::Stage),
            FactName::Segment => Segment::parse(text).map(Self::Segment),
            FactName::Age => Age::parse(text).map(Self::Age),
            FactName::LegalHold => text.parse().ok().map(Self::LegalHold),
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

    /// The facts as policies see them; what was never said has its cautious default.
    pub(super) fn resolve(facts: &[Self], default_segment: Segment) -> PartyFacts {
        let mut resolved = PartyFacts::unknown(default_segment);
        for fact in facts {
            match fact.value {
                FactValue::Stage(stage) => resolved.stage = stage,
                FactValue::Segment(segment) => resolved.segment = segment,
                FactValue::Age(age) => resolved.age = age,
                FactValue::LegalHold(hold) => resolved.legal_hold = hold,
            }
        }
        resolved
    }
}

/// Facts to put; what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactsDraft {
    pub stage: Option<Stage>,
    pub segment: Option<Segment>,
    pub age: Option<Age>,
    pub legal_hold: Option<bool>,
    /// The system or person that says so.
    pub source: String,
    /// Since when it is so; the time of recording when absent.
    pub time: Option<Timestamp>,
}

impl FactsDraft {
    pub(super) fn values(&self) -> impl Iterator<Item = FactValue> {
        let values = [
            self.stage.map(FactValue::Stage),
            self.segment.map(FactValue::Segment),
            self.age.map(FactValue::Age),
            self.legal_hold.map(FactValue::LegalHold),
        ];
        values.into_iter().flatten()
    }
}

/// A customer as an administrator sees one.
#[derive(Clone, Debug)]
pub struct PartyView {
    pub no: PartyNo,
    pub id: PartyId,
    pub kind: PartyKind,
    pub revision: Revision,
    pub facts: Vec<Fact>,
    pub links: Vec<LinkView>,
    /// Names of the hard stops that stand.
    pub stops: Vec<&'static str>,
}

#[derive(Clone, Debug)]
pub struct LinkView {
    pub identifier: Identifier,
    pub assurance: Assurance,
    pub valid_from: Timestamp,
    pub source: String,
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
    /// [`ConsentError::NotFound`].
    pub fn show_party(&self, party: &PartyRef) -> Result<PartyView, ConsentError> {
        let projection = self.reading();
        let Party { no, id, kind, revision, profile, facts, links, .. } = find(&projection, party)?;
        let mut facts = facts.clone();
        facts.sort_by_key(|fact| fact.value.name());
        let links = links.iter().map(|link| LinkView {
            identifier: (*link.identifier).clone(),
            assurance: link.assurance,
            valid_from: link.valid_from,
            source: link.source.clone(),
        });
        Ok(PartyView { no: *no, id: id.clone(), kind: *kind, revision: *revision, facts, links: links.collect(), stops: profile.stop_names() })
    }

    /// Puts facts about a customer.
    ///
    /// # Errors
    /// When the customer is unknown, the source is missing or the store is away.
    pub fn put_facts(&self, party: &PartyRef, facts: &FactsDraft) -> Result<Revision, ConsentError> {
        check_text("source", &facts.source, NAME_CHARS_MAX)?;
        if facts.source.trim().is_empty() {
            return Err(invalid("`source` is missing: say which system or person says so"));
        }
        if facts.values().next().is_none() {
            return Err(invalid("no fact given: `stage`, `segment`, `age` or `legal_hold`"));
        }
        let at = self.record_time();
        let mut writer = self.begin();
        let no = find(&self.reading(), party)?.no;
        let revision = writer.next_revision();
        let mut batch = Batch::default();
        for value in facts.values() {
            let fact = Fact { value, source: facts.source.clone(), time: facts.time.unwrap_or(at) };
            batch.facts.push(fact_row(no, &fact, revision));
        }
        touch(&mut batch, no, revision, at, ChangeKind::Facts);
        self.commit(&mut writer, batch, Binding::OnlyIfStored)?;
        Ok(revision)
    }

    /// Links an id to a customer. Stops that wait under the id attach; grants do not. Linking again what is linked changes
    /// nothing.
    ///
    /// # Errors
    /// When the customer is unknown, the id is another's or an erased person's, or the store is away.
    pub fn link(&self, party: &PartyRef, identifier: &Identifier, assurance: Assurance, caller: &Capturer) -> Result<Revision, ConsentError> {
        let at = self.record_time();
        let mut writer = self.begin();
        let (no, revision, known) = {
            let projection = self.reading();
            let found = find(&projection, party)?;
            (found.no, found.revision, found.links.iter().any(|l| *l.identifier == *identifier && l.assurance == assurance))
        };
        self.check_linkable(identifier, no, assurance)?;
        if known {
            return Ok(revision);
        }
        if self.reading().resolve(identifier) == Some(no) {
            return Err(invalid("the id is linked to this customer already, with another assurance"));
        }
        let source = captured_by(caller);
        let revision = writer.next_revision();
        let mut batch = Batch::default();
        batch.links.push(link_row(identifier.clone(), no, assurance, at, &source, revision));
        touch(&mut batch, no, revision, at, ChangeKind::Link);
        self.commit(&mut writer, batch, Binding::OnlyIfStored)?;
        Ok(revision)
    }

    /// What stands against the ids of somebody who is about to be created; asked before the upstream is.
    ///
    /// # Errors
    /// When the store is away.
    pub fn match_stops(&self, identifiers: &[Identifier]) -> Result<Matched, ConsentError> {
        self.healthy()?;
        let projection = self.reading();
        let mut found = Matched::default();
        let mut stops = BTreeSet::new();
        for identifier in identifiers {
            found.erased |= projection.is_erased(identifier);
            if let Some(party) = projection.resolve(identifier).and_then(|no| projection.party(no)) {
                stops.extend(party.profile.stop_names());
                found.refusals |= party.profile.said.iter().any(|said| said.state.closes());
            }
            for record in projection.records(identifier) {
                stops.extend(record.stop_kind().map(super::event::StopKind::stop_name));
                found.refusals |= record.stop_kind().is_none() && record.closes();
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
        let (no, matched) = {
            let projection = self.reading();
            if projection.is_erased(created) || matches.iter().any(|m| projection.is_erased(m)) {
                return Err(ConsentError::Erased);
            }
            if let Some(no) = projection.resolve(created) {
                return Ok(no);
            }
            let mut matched: BTreeSet<Identifier> = matches.iter().cloned().collect();
            // Stops may stand under any id of the person who was found.
            for party in matches.iter().filter_map(|m| projection.resolve(m)).filter_map(|no| projection.party(no)) {
                matched.extend(party.links.iter().map(|link| (*link.identifier).clone()));
                matched.insert(PartyRef::Party(party.id.clone()).identifier());
            }
            // The id itself is the new customer's own, even if it was matched to another before.
            matched.remove(created);
            (PartyNo(projection.party_count() + 1), matched)
        };
        let mut batch = Batch::default();
        let revision = self.new_party(&mut writer, &mut batch, no, PartyKind::Person, at)?;
        batch.links.push(link_row(created.clone(), no, Assurance::Asserted, at, "upstream", revision));
        for identifier in matched {
            batch.links.push(link_row(identifier, no, Assurance::Matched, at, "match", revision));
        }
        self.commit(&mut writer, batch, Binding::OnlyIfStored)?;
        Ok(no)
    }

    pub(super) fn new_party(
        &self,
        writer: &mut Writer,
        batch: &mut Batch,
        no: PartyNo,
        kind: PartyKind,
        at: Timestamp,
    ) -> Result<Revision, ConsentError> {
        // The public id tells nothing, not even when the customer came.
        let id = fresh_id(Timestamp::UNIX_EPOCH)?;
        let revision = writer.next_revision();
        let opaque = id.get(10..).unwrap_or(&id);
        batch.parties.push(PartyRow { no, id: PartyId(format!("p_{opaque}")), kind, revision });
        touch(batch, no, revision, at, ChangeKind::Party);
        Ok(revision)
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

pub(super) fn find<'a>(projection: &'a Projection, party: &PartyRef) -> Result<&'a Party, ConsentError> {
    projection.resolve(&party.identifier()).and_then(|no| projection.party(no)).ok_or(ConsentError::NotFound)
}

pub(super) fn link_row(identifier: Identifier, party: PartyNo, assurance: Assurance, at: Timestamp, source: &str, revision: Revision) -> LinkRow {
    LinkRow { identifier, party, assurance, valid_from: at, valid_to: None, source: source.to_owned(), revision }
}

pub(super) fn fact_row(party: PartyNo, fact: &Fact, revision: Revision) -> FactRow {
    FactRow { party, name: fact.value.name(), value: fact.value.as_str().to_owned(), source: fact.source.clone(), time: fact.time, revision }
}

pub(super) fn touch(batch: &mut Batch, no: PartyNo, revision: Revision, at: Timestamp, kind: ChangeKind) {
    batch.touched.push((no, revision));
    batch.changes.push(Change { revision, at, kind, party: Some(no), event: None, purposes: Vec::new(), state: String::new(), author: None });
}
