//! From all that is stored about one customer to what a decision needs of them, now or as it was known at another time.
//! Pure: the projection, the bitemporal answers and the tests go through here, so that they cannot differ.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Age, EventId, PartyNo, Revision};

use super::event::{Assurance, PartyKind};
use super::parties::FactValue;
use super::profile::{Circumstances, Joined, Profile, Reaching, build, invalidated_by};
use super::record::Record;
use super::rows::{About, Facts};
use super::store::{Dossier, FactName, FactRow, LinkRow};

/// Which of what is stored counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// What was recorded up to here.
    pub(super) known: Revision,
    /// What was the case at this time; `None`: what is the case now, as far as timers have fired.
    pub(super) at: Option<Timestamp>,
}

impl View {
    /// What the request path reads.
    pub(super) const NOW: Self = Self { known: Revision(u64::MAX), at: None };
}

/// What holds for all customers.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) skew: SignedDuration,
    /// Notices (id, version) that a new one has taken the place of.
    pub(super) superseded: HashSet<(String, String)>,
}

/// What a dossier comes to.
#[derive(Debug)]
pub(super) struct Derived {
    pub(super) profile: Profile,
    /// By position.
    pub(super) events: Vec<EventId>,
    pub(super) about: About,
}

pub(super) fn derive(dossier: &Dossier, view: View, settings: &Settings) -> Derived {
    let (facts, kind) = (facts(dossier, view), kind(dossier, view));
    let mut groups = vec![dossier.party.no];
    let mut group = |no: PartyNo| {
        let known = groups.iter().position(|g| *g == no).unwrap_or_else(|| {
            groups.push(no);
            groups.len() - 1
        });
        u16::try_from(known).unwrap_or(u16::MAX)
    };
    let merges = dossier.merges.iter().filter(|m| m.revision <= view.known && m.undone.is_none_or(|split| split > view.known));
    let joined: Vec<Joined> = merges.map(|merge| Joined { a: group(merge.into), b: group(merge.from), at: merge.time }).collect();
    let then: Vec<Record>;
    let records: Vec<(u64, &Record)> = match view.at {
        None => dossier.records.iter().map(|(ident, record)| (*ident, record)).collect(),
        Some(at) => {
            let had_come = |record: &Record| record.time() <= at && record.id.0 <= view.known.0;
            // What never was valid was not so then either, though nobody said it yet.
            let had_been_given = |id: EventId| dossier.records.iter().any(|(_, grant)| grant.id == id && had_come(grant));
            let counts = |record: &Record| had_come(record) || (record.id.0 <= view.known.0 && invalidated_by(record).is_some_and(had_been_given));
            then = dossier.records.iter().map(|(_, record)| record.as_of(at, view.known)).collect();
            dossier.records.iter().map(|(ident, _)| *ident).zip(&then).filter(|(_, record)| counts(record)).collect()
        }
    };
    let mut reaching = Vec::with_capacity(records.len());
    for (ident, record) in records {
        for (_, link) in dossier.links.iter().filter(|(of, link)| *of == ident && stands(link, view.known)) {
            let carries_grants = link.assurance != Assurance::Matched && record.id.0 > link.grants_after.0;
            if record.id.0 <= view.known.0 && (carries_grants || record.binds_across()) {
                reaching.push(Reaching { record, carries_grants, group: group(link.group) });
            }
        }
    }
    let circumstances = Circumstances {
        skew: settings.skew,
        at: view.at.unwrap_or(Timestamp::MIN),
        superseded: &settings.superseded,
        age: facts.age.unwrap_or(Age::Unknown),
        adult_since: adult_since(dossier, view),
        joined: &joined,
        // Who is erased is protected as a person, whatever else was known.
        is_organisation: kind == PartyKind::Organisation && !dossier.party.is_erased,
    };
    let (profile, events) = build(reaching, &circumstances);
    Derived { profile, events, about: About::new(kind, facts) }
}

/// The kind under which a customer was taken in, or the one to which it was changed since.
pub(super) fn kind(dossier: &Dossier, view: View) -> PartyKind {
    let changed = facts_within(dossier, view).filter_map(|row| match FactValue::parse(row.name, &row.value) {
        Some(FactValue::Kind(kind)) => Some(kind),
        _ => None,
    });
    changed.last().unwrap_or(dossier.party.kind)
}

/// Whether a link stood when this was the last revision.
pub(super) fn stands(link: &LinkRow, known: Revision) -> bool {
    link.from <= known && link.to.is_none_or(|(to, _)| to > known)
}

fn facts_within(dossier: &Dossier, view: View) -> impl Iterator<Item = &FactRow> {
    dossier.facts.iter().filter(move |row| row.revision <= view.known && view.at.is_none_or(|at| row.time <= at))
}

/// When somebody who was known as a minor came of age; `None`: never known as one.
pub(super) fn adult_since(dossier: &Dossier, view: View) -> Option<Timestamp> {
    facts_within(dossier, view).fold(None, |since, row| match FactValue::parse(row.name, &row.value) {
        Some(FactValue::AdultFrom(day)) => Some(day),
        Some(FactValue::Age(Age::Minor)) => Some(Timestamp::MAX),
        // A day that has come stays the day, whenever it is noticed.
        Some(FactValue::Age(Age::Adult)) => since.map(|day: Timestamp| day.min(row.time)),
        Some(FactValue::Age(Age::Unknown)) => None,
        Some(FactValue::Stage(_) | FactValue::Segment(_) | FactValue::LegalHold(_) | FactValue::Kind(_)) | None => since,
    })
}

pub(super) fn facts(dossier: &Dossier, view: View) -> Facts {
    let mut facts = Facts::default();
    for row in facts_within(dossier, view) {
        match FactValue::parse(row.name, &row.value) {
            Some(FactValue::Stage(stage)) => facts.stage = Some(stage),
            Some(FactValue::Segment(segment)) => facts.segment = Some(segment),
            Some(FactValue::Age(age)) => facts.age = Some(age),
            Some(FactValue::LegalHold(hold)) => facts.legal_hold = hold,
            Some(FactValue::AdultFrom(day)) if view.at.is_some_and(|at| at >= day) => facts.age = Some(Age::Adult),
            // Until then, somebody with a day of coming of age is a minor.
            Some(FactValue::AdultFrom(_)) => facts.age = Some(Age::Minor),
            // No fact for policies: consent is not asked of every kind.
            Some(FactValue::Kind(_)) => {}
            None => debug_assert!(row.name != FactName::LegalHold, "facts are checked when they are put"),
        }
    }
    facts
}
