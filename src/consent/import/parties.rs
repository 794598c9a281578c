//! `party import`: customers, their ids and facts, in bulk, from CSV (RFC 4180, with a header) or NDJSON; which of the two
//! is seen from the first character. Columns: `party` (rows with the same key are one customer), `identifiers`
//! (`<space>:<value>`, several separated by white space; in NDJSON a list), `kind`, `stage`, `segment`, `age`,
//! `legal_hold`. Nothing is ignored: an unknown column ends the import, a mistake in a row is reported with its line.
//!
//! A customer that is known by one of the ids is completed, never replaced; importing a file twice changes nothing.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::events::identify;
use super::reader::{Record, Records, Shape, cells, header, json_error, without_mark};
use super::{ImportError, kept, read_kept};
use crate::consent::check::invalid;
use crate::consent::commit::Binding;
use crate::consent::error::ConsentError;
use crate::consent::event::{Assurance, Normalise, PartyKind};
use crate::consent::kind::A_PERSON_SPOKE;
use crate::consent::ledger::Ledger;
use crate::consent::once::IdempotencyKey;
use crate::consent::parties::{Fact, FactValue, NO_AGE, fact_row, link_row, touch};
use crate::consent::store::{Batch, ChangeKind, Done, FactName};
use crate::model::{Identifier, PartyNo, Revision};

/// What an import did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    /// New customers.
    pub created: u64,
    /// Ids newly linked to a customer, those of new customers included.
    pub linked: u64,
    /// Rows that changed nothing.
    pub unchanged: u64,
    /// Facts put.
    pub facts: u64,
    #[serde(skip)]
    pub errors: Vec<ImportError>,
    /// Errors that are not told again to whoever repeats the request.
    #[serde(skip)]
    pub errors_left_out: u64,
}

impl ImportReport {
    fn done(&self, revision: Revision, at: Timestamp) -> Done {
        kept(self, &self.errors, revision, at)
    }

    /// What an import that was done under a key reported.
    #[must_use]
    pub fn read(done: &Done) -> Option<Self> {
        let kept = read_kept::<Self>(done)?;
        Some(Self { errors: kept.errors, errors_left_out: kept.left_out, ..kept.report })
    }
}

impl Ledger {
    /// Imports customers. `progress` is told the number of rows read, now and then. With `dry_run` nothing is changed and the
    /// report is the same.
    ///
    /// # Errors
    /// When the header cannot be read, or the store is away; rows that were stored before stay, and
    /// the import can be repeated.
    pub fn import_parties(
        &self,
        bytes: &[u8],
        dry_run: bool,
        normalise: &Normalise<'_>,
        progress: &mut dyn FnMut(u64),
        key: Option<&IdempotencyKey>,
    ) -> Result<ImportReport, ConsentError> {
        let (mut records, columns) = open(bytes)?;
        let mut report = ImportReport::default();
        let mut groups = HashMap::new();
        let mut planned = Planned::default();
        let mut read = 0;
        loop {
            let mut chunk = Vec::new();
            while chunk.len() < ROWS_PER_COMMIT {
                let Some(Record { line, text }) = records.next() else { break };
                let row = text.map_err(Cow::into_owned).and_then(|text| raw_of(text, columns.as_deref()));
                match row.and_then(|row| Entry::of(row, normalise)) {
                    Ok(entry) => chunk.push((line, entry)),
                    Err(message) => report.errors.push(ImportError { line, message }),
                }
                read += 1;
            }
            let is_last = chunk.len() < ROWS_PER_COMMIT;
            let once = key.filter(|_| is_last && !dry_run);
            if !chunk.is_empty() || once.is_some() {
                self.import_chunk(chunk, dry_run, &mut groups, &mut planned, &mut report, once)?;
                progress(read);
            }
            if is_last {
                break;
            }
        }
        report.errors.sort_by_key(|error| error.line);
        Ok(report)
    }

    fn import_chunk(
        &self,
        chunk: Vec<(u64, Entry)>,
        dry_run: bool,
        groups: &mut HashMap<String, PartyNo>,
        planned: &mut Planned,
        report: &mut ImportReport,
        once: Option<&IdempotencyKey>,
    ) -> Result<(), ConsentError> {
        let at = self.record_time();
        let mut writer = self.begin();
        self.unless_done(&writer, once)?;
        let mut batch = Batch::default();
        for (line, entry) in chunk {
            let place = match self.place(&entry, groups, planned) {
                Ok(place) => place,
                Err(message) => {
                    report.errors.push(ImportError { line, message });
                    continue;
                }
            };
            let known = place.party.unwrap_or_else(|| PartyNo(self.party_count().max(planned.last) + 1));
            let kind = place.kind.or(entry.kind).unwrap_or(PartyKind::Person);
            if kind == PartyKind::Organisation {
                let is_age = |fact: &FactValue| fact.name() == FactName::Age;
                let refused =
                    if self.has_a_person_spoken(&place.new)? { Some(A_PERSON_SPOKE) } else { entry.facts.iter().any(is_age).then_some(NO_AGE) };
                if let Some(message) = refused {
                    report.errors.push(ImportError { line, message: message.to_owned() });
                    continue;
                }
            }
            let facts: Vec<Fact> = entry.facts.iter().map(|value| Fact { value: *value, source: "import".to_owned(), time: at }).collect();
            let facts: Vec<Fact> = facts.into_iter().filter(|fact| !self.has_fact(known, fact, planned)).collect();
            if let Some(group) = entry.group {
                groups.insert(group, known);
            }
            if place.party.is_some() && place.new.is_empty() && facts.is_empty() {
                report.unchanged += 1;
                continue;
            }
            let revision = match place.party {
                Some(_) if dry_run => Revision(0),
                Some(no) => {
                    let revision = writer.next_revision();
                    touch(&mut batch, no, revision, at, if place.new.is_empty() { ChangeKind::Facts } else { ChangeKind::Link });
                    revision
                }
                None => {
                    report.created += 1;
                    planned.last = known.0;
                    planned.kinds.insert(known, kind);
                    if dry_run { Revision(0) } else { self.new_party(&mut writer, &mut batch, known, kind, at) }
                }
            };
            report.linked += u64::try_from(place.new.len()).unwrap_or(u64::MAX);
            report.facts += u64::try_from(facts.len()).unwrap_or(u64::MAX);
            for fact in facts {
                batch.facts.push(fact_row(known, &fact, revision));
                planned.facts.insert((known, fact.value.name()), fact.value);
            }
            for identifier in place.new {
                planned.ids.insert(identifier.clone(), known);
                batch.links.push(link_row(identifier, known, Assurance::Asserted, at, "import", revision));
            }
        }
        if dry_run {
            return Ok(());
        }
        // What was refused as a whole may be sent again, corrected, under the same key.
        let once = once.filter(|_| report.errors.is_empty() || report.created + report.linked + report.facts > 0);
        let revision = batch.changes.last().map_or(self.revision(), |change| change.revision);
        batch.answered.extend(once.map(|key| key.answered(report.done(revision, at))));
        if !batch.changes.is_empty() || once.is_some() {
            self.commit(&mut writer, batch, Binding::OnlyIfStored)?;
        }
        // From here on the projection knows them.
        *planned = Planned::default();
        Ok(())
    }

    /// Which customer a row is about, and which of its ids are new.
    fn place(&self, entry: &Entry, groups: &HashMap<String, PartyNo>, planned: &Planned) -> Result<Place, String> {
        let projection = self.reading();
        let mut party = entry.group.as_ref().and_then(|group| groups.get(group)).copied();
        let mut new = Vec::new();
        for identifier in &entry.identifiers {
            if projection.is_erased(identifier) {
                return Err("an id belongs to an erased person and is not taken in again".to_owned());
            }
            let owner = projection.resolve(identifier).or_else(|| planned.ids.get(identifier).copied());
            match (owner, party) {
                (Some(owner), Some(party)) if owner != party => {
                    return Err("its ids belong to different customers; nothing of this row was taken".to_owned());
                }
                (Some(owner), _) => party = Some(owner),
                (None, _) => new.push(identifier.clone()),
            }
        }
        let stored = |no: PartyNo| projection.seen(no).map(|seen| seen.about.kind());
        let known = party.and_then(|no| planned.kinds.get(&no).copied().or_else(|| stored(no)));
        if let (Some(known), Some(kind)) = (known, entry.kind)
            && known != kind
        {
            return Err(format!("the customer is known as `{known}`; the kind does not change by import, `consentry party kind` corrects it"));
        }
        Ok(Place { party, kind: known, new })
    }

    fn has_fact(&self, party: PartyNo, fact: &Fact, planned: &Planned) -> bool {
        let planned = planned.facts.get(&(party, fact.value.name())).copied();
        let current = || self.reading().seen(party).is_some_and(|seen| seen.about.facts().has(fact.value));
        planned.map_or_else(current, |value| value == fact.value)
    }
}

/// What rows before this one will have changed, as long as it is not committed.
#[derive(Default)]
struct Planned {
    ids: HashMap<Identifier, PartyNo>,
    facts: HashMap<(PartyNo, FactName), FactValue>,
    kinds: HashMap<PartyNo, PartyKind>,
    last: u64,
}

struct Place {
    party: Option<PartyNo>,
    /// Of a customer who is known.
    kind: Option<PartyKind>,
    /// Ids that are not linked yet.
    new: Vec<Identifier>,
}

/// A row that was understood.
struct Entry {
    group: Option<String>,
    identifiers: BTreeSet<Identifier>,
    kind: Option<PartyKind>,
    facts: Vec<FactValue>,
}

/// A row as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    party: Option<String>,
    #[serde(default)]
    identifiers: Vec<String>,
    kind: Option<String>,
    stage: Option<String>,
    segment: Option<String>,
    age: Option<String>,
    legal_hold: Option<Hold>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Hold {
    Is(bool),
    Text(String),
}

impl Entry {
    fn of(raw: Raw, normalise: &Normalise<'_>) -> Result<Self, String> {
        let mut identifiers = BTreeSet::new();
        for text in &raw.identifiers {
            let (space, value) = text.split_once(':').ok_or("an id is written `<space>:<value>`")?;
            if space == "party" {
                return Err("`party:` ids are given by the ledger; use another id of the customer".to_owned());
            }
            identifiers.insert(identify(normalise, space, value)?);
        }
        if identifiers.is_empty() {
            return Err("the row has no id; fill `identifiers`".to_owned());
        }
        let kind = raw.kind.as_deref().map(|text| PartyKind::parse(text).ok_or_else(|| unknown("kind", text))).transpose()?;
        let hold = raw.legal_hold.map(|hold| match hold {
            Hold::Is(is) => is.to_string(),
            Hold::Text(text) => text,
        });
        let mut facts = Vec::new();
        for (name, text) in [(FactName::Stage, raw.stage), (FactName::Segment, raw.segment), (FactName::Age, raw.age), (FactName::LegalHold, hold)] {
            if let Some(text) = text {
                facts.push(FactValue::parse(name, &text).ok_or_else(|| unknown(name.as_str(), &text))?);
            }
        }
        Ok(Self { group: raw.party, identifiers, kind, facts })
    }
}

fn unknown(column: &str, text: &str) -> String {
    // A cell in the wrong column may hold anything; only what looks like a word is repeated.
    let word = text.len() <= 40 && text.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c == '_');
    if word { format!("unknown {column} `{text}`") } else { format!("unknown {column}") }
}

/// The records of a file, and the columns of rows; an array of objects is read as well as one a line.
fn open(bytes: &[u8]) -> Result<(Records<'_>, Option<Vec<&'static str>>), ConsentError> {
    let bytes = without_mark(bytes);
    match bytes.trim_ascii_start().first() {
        Some(b'{') => return Ok((Records::new(bytes, 1, Shape::Lines), None)),
        Some(b'[') => return Ok((Records::new(bytes, 1, Shape::Objects), None)),
        Some(_) | None => {}
    }
    let mut records = Records::new(bytes, 1, Shape::Rows { cells: None });
    let first = records.next().ok_or_else(|| invalid("the file is empty; begin with a header line"))?;
    let columns = header(first.text.map_err(|what| ConsentError::Invalid(what.into_owned()))?, COLUMNS).map_err(ConsentError::Invalid)?;
    records.shape = Shape::Rows { cells: Some(columns.len()) };
    Ok((records, Some(columns)))
}

fn raw_of(text: &str, columns: Option<&[&str]>) -> Result<Raw, String> {
    let Some(columns) = columns else { return serde_json::from_str(text).map_err(|error| json_error(&error)) };
    let mut found = Vec::new();
    cells(text, &mut found);
    let mut raw = Raw::default();
    for (column, cell) in columns.iter().zip(found) {
        let cell = Some(cell.into_owned()).filter(|cell| !cell.is_empty());
        match *column {
            "party" => raw.party = cell,
            "kind" => raw.kind = cell,
            "stage" => raw.stage = cell,
            "segment" => raw.segment = cell,
            "age" => raw.age = cell,
            "legal_hold" => raw.legal_hold = cell.map(Hold::Text),
            _ => raw.identifiers = cell.unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        }
    }
    Ok(raw)
}

const COLUMNS: &[&str] = &["party", "identifiers", "kind", "stage", "segment", "age", "legal_hold"];
/// One transaction.
const ROWS_PER_COMMIT: usize = 1000;
