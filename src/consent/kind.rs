//! What a customer is. A person's data needs what the person allows; an organisation is no data subject and needs none. So
//! whoever could turn the one into the other could open the gate: a kind is given when a customer is taken in, and changes only
//! by [`Ledger::change_kind`], on the consent desk's word, with a reason, as a change of its own in ledger and log. Nobody who
//! ever spoke for themselves, or had an age, becomes an organisation at all.

use crate::model::{Age, Author, Identifier, PartyNo, Revision};

use super::author::captured_by;
use super::check::{NAME_CHARS_MAX, invalid};
use super::commit::Binding;
use super::dossier::{View, kind};
use super::draft::Capturer;
use super::error::ConsentError;
use super::event::{PartyKind, PartyRef};
use super::identity::check_reason;
use super::ledger::Ledger;
use super::once::By;
use super::parties::{Fact, FactValue, fact_row, touch};
use super::record::{Matter, Record};
use super::store::{Batch, ChangeKind, Done, Dossier, StoreError};

impl Ledger {
    /// Corrects what a customer is. Changing it to what it is changes nothing.
    ///
    /// # Errors
    /// When the customer is unknown or erased, somebody else than staff says so, a device is concerned, a person is to become an
    /// organisation, no reason is given, or the store is away.
    pub fn change_kind<'a>(&self, party: &PartyRef, to: PartyKind, reason: &str, by: impl Into<By<'a>>) -> Result<(PartyNo, Revision), ConsentError> {
        let By { caller, key } = by.into();
        check_reason(reason)?;
        match caller {
            Capturer::Staff { .. } => {}
            Capturer::Client(_) | Capturer::Link => {
                return Err(ConsentError::NotPermitted("what a customer is, is changed by the consent desk only"));
            }
        }
        let at = self.record_time();
        let mut writer = self.begin();
        self.unless_done(&writer, key)?;
        let no = self.find(party)?;
        let dossier = self.dossier_of(no)?;
        if dossier.party.is_erased {
            return Err(ConsentError::Erased);
        }
        let from = kind(&dossier, View::NOW);
        if from == to {
            let revision = dossier.party.revision;
            self.keep_done(&mut writer, key, Done::to(no, revision, at))?;
            return Ok((no, revision));
        }
        if [from, to].contains(&PartyKind::Device) {
            return Err(invalid("a device stays one; merge it into the person whose it is"));
        }
        if to == PartyKind::Organisation {
            check_never_a_person(&dossier)?;
        }
        let revision = writer.next_revision();
        let source: String = format!("{}: {reason}", captured_by(caller)).chars().take(NAME_CHARS_MAX).collect();
        let mut batch = Batch::default();
        batch.facts.push(fact_row(no, &Fact { value: FactValue::Kind(to), source, time: at }, revision));
        touch(&mut batch, no, revision, at, ChangeKind::Kind);
        batch.changes.iter_mut().for_each(|change| to.as_str().clone_into(&mut change.state));
        batch.answered.extend(key.map(|key| key.answered(Done::to(no, revision, at))));
        self.commit(&mut writer, batch, Binding::OnlyIfStored)?;
        Ok((no, revision))
    }

    pub(super) fn is_organisation(&self, no: PartyNo) -> bool {
        self.reading().seen(no).is_some_and(|seen| seen.about.kind() == PartyKind::Organisation)
    }

    /// Whether somebody spoke for themselves under one of these ids.
    pub(super) fn has_a_person_spoken(&self, identifiers: &[Identifier]) -> Result<bool, StoreError> {
        Ok(self.store.events(identifiers)?.iter().any(|event| is_a_persons(&Record::of(event, false, 0))))
    }
}

fn check_never_a_person(dossier: &Dossier) -> Result<(), ConsentError> {
    if dossier.records.iter().any(|(_, record)| is_a_persons(record)) {
        return Err(ConsentError::NotPermitted(A_PERSON_SPOKE));
    }
    let is_age = |value| matches!(value, FactValue::Age(Age::Adult | Age::Minor) | FactValue::AdultFrom(_));
    if dossier.facts.iter().filter_map(|row| FactValue::parse(row.name, &row.value)).any(is_age) {
        return Err(ConsentError::NotPermitted(
            "an age is known of this customer, so it is a person; import the organisation under an id of its own",
        ));
    }
    if dossier.merges.iter().any(|merge| merge.undone.is_none()) {
        return Err(invalid("others were merged into this customer; take the merges back first with `consentry party split`"));
    }
    Ok(())
}

/// A statement of a person, or that somebody speaks for one. What staff or systems noted may be about an organisation as well.
fn is_a_persons(record: &Record) -> bool {
    matches!(record.form.author, Author::Customer | Author::Guardian) || matches!(record.form.matter, Matter::Delegation { .. })
}

pub(super) const A_PERSON_SPOKE: &str =
    "a person has made statements under an id of this customer, so it is no organisation; import the organisation under an id of its own";
