//! One customer across ids: merge, split, hold. Events keep the id under which they were given; a merge or split moves lines of
//! the crosswalk only, so that replay before and after gives the right answer.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::{Identifier, PartyNo, Revision};

use super::author::captured_by;
use super::check::{NAME_CHARS_MAX, REASON_CHARS_MAX, check_text, invalid};
use super::commit::Binding;
use super::dossier::{View, adult_since, facts, kind, stands};
use super::error::{ConsentError, Unavailable};
use super::event::{Assurance, PartyKind, PartyRef};
use super::gaps::Gap;
use super::ledger::Ledger;
use super::once::By;
use super::parties::{Fact, FactValue, FactsDraft, fact_row, touch};
use super::store::{Batch, ChangeKind, Document, Done, Dossier, FactName, FactRow, LinkRow, MergeRow, PartyRow, Unlink};
use super::write::cut;

/// Two customers turned out to be one.
#[derive(Clone, Debug)]
pub struct MergeDraft {
    /// Whose record stays.
    pub into: PartyRef,
    pub from: PartyRef,
    /// Since when it is known; statements of the customer after it speak for both sides. Now, without it.
    pub time: Option<Timestamp>,
    pub reason: String,
}

/// What is taken out of a customer's record.
#[derive(Clone, Debug)]
pub enum SplitOff {
    /// A customer who was merged into it, with the ids that came along.
    Merged(PartyRef),
    /// Ids, which become a new customer's.
    Identifiers(Vec<Identifier>),
}

/// Two customers who were one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    pub stays: PartyNo,
    pub leaves: PartyNo,
    pub revision: Revision,
    /// Since when they were one record: what was disclosed from then on may have crossed the wrong link.
    pub since: Timestamp,
}

impl Split {
    fn done(&self, at: Timestamp) -> Done {
        let detail = serde_json::json!({ "leaves": self.leaves.0, "since": self.since.to_string() });
        Done { detail: Some(detail.to_string()), ..Done::to(self.stays, self.revision, at) }
    }

    /// A split that was done under a key.
    #[must_use]
    pub fn read(done: &Done) -> Option<Self> {
        let detail: serde_json::Value = serde_json::from_str(done.detail.as_deref()?).ok()?;
        let (leaves, since) = (detail.get("leaves")?.as_u64()?, detail.get("since")?.as_str()?.parse().ok()?);
        Some(Self { stays: done.party?, leaves: PartyNo(leaves), revision: done.revision, since })
    }
}

/// What is kept of a merge that changed nothing.
pub const KNOWN_BEFORE: &str = "known before";

impl Ledger {
    /// Makes two customers one. Hard stops and refusals bind the whole customer at once; where the sides differ, the more
    /// restrictive holds until the customer names the purpose again. Merging what is merged changes nothing.
    ///
    /// # Errors
    /// When one of them is unknown, erased or the other, one only is an organisation, or the store is away.
    pub fn merge<'a>(&self, draft: &MergeDraft, by: impl Into<By<'a>>) -> Result<(PartyNo, Revision), ConsentError> {
        let By { caller, key } = by.into();
        check_reason(&draft.reason)?;
        let at = self.record_time();
        if draft.time.is_some_and(|time| time > at) {
            return Err(invalid("`time` lies in the future: say since when it is known"));
        }
        let mut writer = self.begin();
        self.unless_done(&writer, key)?;
        let (into, from) = (self.find(&draft.into)?, self.find(&draft.from)?);
        if into == from {
            let revision = self.party_revision(into).unwrap_or_default();
            self.keep_done(&mut writer, key, Done { detail: Some(KNOWN_BEFORE.to_owned()), ..Done::to(into, revision, at) })?;
            return Ok((into, revision));
        }
        let (staying, leaving) = (self.dossier_of(into)?, self.dossier_of(from)?);
        if staying.party.is_erased || leaving.party.is_erased {
            return Err(ConsentError::Erased);
        }
        let is = |sought: PartyKind| move |dossier: &Dossier| kind(dossier, View::NOW) == sought;
        let (is_organisation, is_device) = (is(PartyKind::Organisation), is(PartyKind::Device));
        if is_organisation(&staying) != is_organisation(&leaving) {
            return Err(invalid("an organisation is merged with organisations only; if one's kind is wrong, correct it with `consentry party kind`"));
        }
        if is_device(&staying) && !is_device(&leaving) {
            return Err(invalid("a person is not merged into a device; merge the device into the person"));
        }
        let revision = writer.next_revision();
        let mut batch = Batch::default();
        for (ident, link) in current(&leaving) {
            let known = current(&staying).find(|(other, _)| other == ident);
            end(&mut batch, *ident, link, revision, at);
            match known {
                // A matched id of the one that is the other's own, or both are only matched.
                Some((_, other)) if other.assurance != Assurance::Matched || link.assurance == Assurance::Matched => continue,
                Some((_, other)) => end(&mut batch, *ident, other, revision, at),
                None => {}
            }
            // What was granted on a device before anybody was known there is not this person's grant.
            let grants_after = if is_device(&leaving) && !is_device(&staying) { revision } else { link.grants_after };
            batch.moved.push((*ident, LinkRow { party: into, grants_after, ..moved(link, revision, at) }));
        }
        carry_facts(&mut batch, &staying, &leaving, revision, "merge");
        let source = captured_by(caller);
        // What was said before does not come after it, though a clock that was set back may say so.
        let said = [&staying, &leaving].into_iter().flat_map(|side| &side.records).map(|(_, record)| record.time());
        let time = draft.time.map_or_else(|| said.fold(at, Timestamp::max), cut);
        batch.merges.push(MergeRow { revision, into, from, time, reason: draft.reason.clone(), source, undone: None });
        touch(&mut batch, into, revision, at, ChangeKind::Merge);
        batch.touched.push((from, revision));
        batch.answered.extend(key.map(|key| key.answered(Done::to(into, revision, at))));
        self.commit(&mut writer, batch, Binding::OnlyIfStored)?;
        Ok((into, revision))
    }

    /// Takes a merge back, or makes ids a customer of their own. Each side is what its own ids say.
    ///
    /// # Errors
    /// When there was no such merge, an id is not this customer's, none would stay, or the store is away.
    pub fn split<'a>(&self, party: &PartyRef, off: &SplitOff, reason: &str, by: impl Into<By<'a>>) -> Result<Split, ConsentError> {
        let By { caller, key } = by.into();
        check_reason(reason)?;
        let at = self.record_time();
        let mut writer = self.begin();
        self.unless_done(&writer, key)?;
        let stays = self.find(party)?;
        let dossier = self.dossier_of(stays)?;
        if dossier.party.is_erased {
            return Err(ConsentError::Erased);
        }
        let mut batch = Batch::default();
        let (leaves, leaving, since, undone): (PartyNo, Vec<&(u64, LinkRow)>, Timestamp, Option<Revision>) = match off {
            SplitOff::Merged(merged) => {
                let from = self.reading().own_number(&merged.identifier()).or_else(|| self.group_of(&dossier, merged));
                let merge = dossier.merges.iter().rev().find(|merge| Some(merge.from) == from && merge.into == stays && merge.undone.is_none());
                let merge = merge.ok_or_else(|| invalid("this customer was not merged into that one; `consentry party show` lists its merges"))?;
                let came = came_with(&dossier, merge.from, merge.revision);
                let since = self.merged_at(merge)?;
                (merge.from, current(&dossier).filter(|(_, link)| came.contains(&link.group)).collect(), since, Some(merge.revision))
            }
            SplitOff::Identifiers(identifiers) => {
                let of = |identifier: &Identifier| {
                    let mut links = current(&dossier).filter(|(_, link)| link.assurance != Assurance::Matched);
                    links.find(|(_, link)| link.identifier == *identifier)
                };
                let found: Option<Vec<&(u64, LinkRow)>> = identifiers.iter().map(of).collect();
                let found = found.ok_or_else(|| invalid("one of the ids is not this customer's; nothing was changed"))?;
                let since = found.iter().map(|(_, link)| link.from_time).min().ok_or_else(|| invalid("name the ids that are split off"))?;
                (PartyNo(self.party_count() + 1), found, since, None)
            }
        };
        let revision = if undone.is_some() {
            writer.next_revision()
        } else {
            let anybody_stays = current(&dossier).any(|link| link.1.assurance != Assurance::Matched && !leaving.contains(&link));
            if !anybody_stays {
                return Err(invalid("no id would stay with this customer"));
            }
            self.new_party(&mut writer, &mut batch, leaves, kind(&dossier, View::NOW), at)
        };
        for (ident, link) in leaving {
            end(&mut batch, *ident, link, revision, at);
            let group = if undone.is_some() { link.group } else { leaves };
            batch.moved.push((*ident, LinkRow { party: leaves, group, ..moved(link, revision, at) }));
        }
        match undone {
            Some(merge) => {
                batch.splits.push((merge, revision));
                let left = self.dossier_of(leaves)?;
                // As it was before the merge, so that a device's grants are the device's again.
                for (ident, link) in &mut batch.moved {
                    let ended = |(of, old): &&(u64, LinkRow)| of == ident && old.to.is_some_and(|(to, _)| to == merge);
                    link.grants_after = left.links.iter().find(ended).map_or(link.grants_after, |(_, old)| old.grants_after);
                }
                let (was, stayed) = (kind(&left, View::NOW), kind(&dossier, View::NOW));
                if was == PartyKind::Organisation && stayed != was {
                    // They were taken for a person since, and may have spoken as one.
                    let fact = Fact { value: FactValue::Kind(stayed), source: "split".to_owned(), time: at };
                    batch.facts.push(fact_row(leaves, &fact, revision));
                }
                for of in [&left, &dossier] {
                    matched_again(&mut batch, of, merge, revision, at);
                }
                // Whose a fact is that was learnt while they were one is not known.
                let learnt = Dossier { facts: dossier.facts.iter().filter(|row| row.revision > merge).cloned().collect(), ..dossier };
                carry_facts(&mut batch, &left, &learnt, revision, "split");
            }
            None => {
                // Nor by which of the ids somebody was matched.
                let matched = current(&dossier).filter(|(_, link)| link.assurance == Assurance::Matched);
                batch.moved.extend(matched.map(|(ident, link)| (*ident, LinkRow { party: leaves, group: leaves, ..moved(link, revision, at) })));
                let nobody = Dossier::new(PartyRow { no: leaves, ..dossier.party }, Vec::new(), Vec::new(), &[]);
                carry_facts(&mut batch, &nobody, &dossier, revision, "split");
            }
        }
        let source = captured_by(caller);
        let note = serde_json::json!({ "reason": reason, "by": source, "stays": stays.0, "leaves": leaves.0 });
        batch.documents.push(Document { kind: "split", key: revision.to_string(), body: Some(note.to_string()) });
        batch.changes.clear();
        touch(&mut batch, stays, revision, at, ChangeKind::Split);
        batch.touched.push((leaves, revision));
        let split = Split { stays, leaves, revision, since };
        batch.answered.extend(key.map(|key| key.answered(split.done(at))));
        self.commit(&mut writer, batch, Binding::OnlyIfStored)?;
        Ok(split)
    }

    /// Puts or releases a hold: data that is needed for a legal claim is not erased (Art. 17(3)(e)).
    ///
    /// # Errors
    /// When the customer is unknown, no reason is given, or the store is away.
    pub fn hold<'a>(&self, party: &PartyRef, is_held: bool, reason: &str, by: impl Into<By<'a>>) -> Result<Revision, ConsentError> {
        let By { caller, key } = by.into();
        check_reason(reason)?;
        let source: String = format!("{}: {reason}", captured_by(caller)).chars().take(NAME_CHARS_MAX).collect();
        self.put_facts(party, &FactsDraft { legal_hold: Some(is_held), source, idempotency_key: key.cloned(), ..FactsDraft::default() })
    }

    /// Ids that requests or statements named and that nobody is known by.
    ///
    /// # Errors
    /// When the store is away.
    pub fn gaps(&self) -> Result<Vec<Gap>, Unavailable> {
        Ok(self.gaps.list(&self.store.unlinked()?))
    }

    pub(super) fn dossier_of(&self, no: PartyNo) -> Result<Dossier, ConsentError> {
        self.store.dossier(no)?.ok_or(ConsentError::NotFound)
    }

    /// The merged customer whose an id was.
    fn group_of(&self, dossier: &Dossier, merged: &PartyRef) -> Option<PartyNo> {
        let identifier = merged.identifier();
        current(dossier).find(|(_, link)| link.identifier == identifier).map(|(_, link)| link.group)
    }

    /// When a merge was recorded: until then nothing went across it, however long they are said to have been one.
    fn merged_at(&self, merge: &MergeRow) -> Result<Timestamp, ConsentError> {
        let before = self.dossier_of(merge.from)?.links;
        let ended = before.into_iter().find_map(|(_, link)| link.to.filter(|(revision, _)| *revision == merge.revision));
        Ok(ended.map_or(merge.time, |(_, at)| at))
    }
}

/// What protects one protects the other: a hold, minority, and that what was granted before coming of age counts no more. After a
/// split it stays, which is the cautious side.
fn carry_facts(batch: &mut Batch, to: &Dossier, of: &Dossier, revision: Revision, source: &str) {
    let (here, there) = (facts(to, View::NOW), facts(of, View::NOW));
    let held = of.facts.iter().rev().find(|row| row.name == FactName::LegalHold).filter(|_| there.legal_hold && !here.legal_hold);
    // All that is known of an age, so that the same follows from it: of two days of coming of age the later counts.
    let is_younger = adult_since(of, View::NOW) > adult_since(to, View::NOW);
    let ages = of.facts.iter().filter(|row| is_younger && matches!(row.name, FactName::Age | FactName::AdultFrom));
    let carried = |row: &FactRow| FactRow { party: to.party.no, revision, source: source.to_owned(), ..row.clone() };
    batch.facts.extend(held.into_iter().chain(ages).map(carried));
}

/// Matched ids that a merge had ended, since they became the customer's own: when it is taken back they carry their stops again.
fn matched_again(batch: &mut Batch, of: &Dossier, merge: Revision, revision: Revision, at: Timestamp) {
    let ended = |(_, link): &&(u64, LinkRow)| link.assurance == Assurance::Matched && link.to.is_some_and(|(to, _)| to == merge);
    let goes = |ident: u64| batch.unlinks.iter().any(|unlink| unlink.ident == ident && unlink.party == of.party.no);
    let is_back = |ident: u64| batch.moved.iter().any(|(other, link)| *other == ident && link.party == of.party.no);
    let stands = |ident: u64| is_back(ident) || (!goes(ident) && current(of).any(|(other, _)| *other == ident));
    let links = of.links.iter().filter(ended).filter(|(ident, _)| !stands(*ident));
    let again: Vec<(u64, LinkRow)> = links.map(|(ident, link)| (*ident, moved(link, revision, at))).collect();
    batch.moved.extend(again);
}

/// The customer who was merged and those who had been merged into it before.
fn came_with(dossier: &Dossier, from: PartyNo, by: Revision) -> BTreeSet<PartyNo> {
    let mut came = BTreeSet::from([from]);
    // A merge into somebody who is in the set, from the newest to the oldest.
    for merge in dossier.merges.iter().rev().filter(|merge| merge.revision < by && merge.undone.is_none()) {
        if came.contains(&merge.into) {
            came.insert(merge.from);
        }
    }
    came
}

fn current(dossier: &Dossier) -> impl Iterator<Item = &(u64, LinkRow)> {
    dossier.links.iter().filter(|(_, link)| stands(link, View::NOW.known))
}

fn end(batch: &mut Batch, ident: u64, link: &LinkRow, revision: Revision, time: Timestamp) {
    batch.unlinks.push(Unlink { ident, party: link.party, revision, time });
}

fn moved(link: &LinkRow, from: Revision, from_time: Timestamp) -> LinkRow {
    LinkRow { from, from_time, to: None, ..link.clone() }
}

pub(super) fn check_reason(reason: &str) -> Result<(), ConsentError> {
    check_text("reason", reason, REASON_CHARS_MAX)?;
    if reason.trim().is_empty() {
        return Err(invalid("`reason` is missing: say why"));
    }
    Ok(())
}
