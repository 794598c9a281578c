//! `party import`: customers, their ids and facts, in bulk, from CSV (RFC 4180, with a header) or NDJSON; which of the two
//! is seen from the first character. Columns: `party` (rows with the same key are one customer), `identifiers`
//! (`<space>:<value>`, several separated by white space; in NDJSON a list), `kind`, `stage`, `segment`, `age`,
//! `legal_hold`. Nothing is ignored: an unknown column ends the import, a mistake in a row is reported with its line.
//!
//! A customer that is known by one of the ids is completed, never replaced; importing a file twice changes nothing.

use std::collections::{BTreeSet, HashMap};
use std::io::BufRead;

use serde::Deserialize;

use crate::model::{Identifier, PartyNo, Revision};

use super::check::invalid;
use super::error::ConsentError;
use super::event::{Assurance, Normalise, PartyKind};
use super::ledger::Ledger;
use super::parties::{Fact, FactValue, fact_row, link_row, touch};
use super::store::{Batch, ChangeKind, FactName};
use super::write::Binding;

/// What an import did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// New customers.
    pub created: u64,
    /// Ids newly linked to a customer, those of new customers included.
    pub linked: u64,
    /// Rows that changed nothing.
    pub unchanged: u64,
    /// Facts put.
    pub facts: u64,
    pub errors: Vec<ImportError>,
}

/// A row that was not taken, by the line on which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError {
    pub line: u64,
    pub message: String,
}

impl Ledger {
    /// Imports customers. `progress` is told the number of rows read, now and then. With `dry_run` nothing is changed and the
    /// report is the same.
    ///
    /// # Errors
    /// When the header or the file as a whole cannot be read, or the store is away; rows that were stored before stay, and
    /// the import can be repeated.
    pub fn import_parties(
        &self,
        mut reader: impl BufRead,
        dry_run: bool,
        normalise: &Normalise<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<ImportReport, ConsentError> {
        let mut rows = Rows::begin(&mut reader)?;
        let mut report = ImportReport::default();
        let mut groups = HashMap::new();
        let mut planned = Planned::default();
        let mut read = 0;
        loop {
            let mut chunk = Vec::new();
            while chunk.len() < ROWS_PER_COMMIT {
                let Some((line, row)) = rows.next_row()? else { break };
                match row.and_then(|row| Entry::of(row, normalise)) {
                    Ok(entry) => chunk.push((line, entry)),
                    Err(message) => report.errors.push(ImportError { line, message }),
                }
                read += 1;
            }
            if chunk.is_empty() {
                break;
            }
            self.import_chunk(chunk, dry_run, &mut groups, &mut planned, &mut report)?;
            progress(read);
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
    ) -> Result<(), ConsentError> {
        let at = self.record_time();
        let mut writer = self.begin();
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
                    if dry_run { Revision(0) } else { self.new_party(&mut writer, &mut batch, known, entry.kind.unwrap_or(PartyKind::Person), at) }
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
        if !batch.changes.is_empty() {
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
        let known = party.and_then(|no| projection.seen(no)).map(|seen| seen.about.kind());
        if let (Some(known), Some(kind)) = (known, entry.kind)
            && known != kind
        {
            return Err(format!("the customer is known as `{}`; the kind does not change by import", known));
        }
        Ok(Place { party, new })
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
    last: u64,
}

struct Place {
    party: Option<PartyNo>,
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
            identifiers.insert(normalise(space, value)?);
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

/// The rows of a file, one at a time.
struct Rows<'a> {
    reader: &'a mut dyn BufRead,
    line: u64,
    /// `None`: NDJSON.
    columns: Option<Vec<String>>,
}

type Numbered<T> = (u64, Result<T, String>);

impl<'a> Rows<'a> {
    fn begin(reader: &'a mut dyn BufRead) -> Result<Self, ConsentError> {
        let mut rows = Rows { reader, line: 0, columns: None };
        let start = rows.reader.fill_buf().map_err(|error| invalid(&format!("the file cannot be read: {}", error.kind())))?;
        if start.trim_ascii_start().first() == Some(&b'{') {
            return Ok(rows);
        }
        let Some((_, header)) = rows.cells()? else { return Err(invalid("the file is empty; begin with a header line")) };
        let header = header.map_err(ConsentError::Invalid)?;
        let columns: Vec<String> = header.iter().map(|name| name.trim().trim_start_matches('\u{feff}').to_owned()).collect();
        for (i, name) in columns.iter().enumerate() {
            if !COLUMNS.contains(&name.as_str()) {
                let near = crate::model::suggest(name, COLUMNS).map(|c| format!("did you mean `{c}`?"));
                let help = near.unwrap_or_else(|| format!("known are {}", COLUMNS.join(", ")));
                return Err(ConsentError::Invalid(format!("unknown column `{name}`; {help}")));
            }
            if columns.iter().take(i).any(|earlier| earlier == name) {
                return Err(ConsentError::Invalid(format!("column `{name}` stands twice")));
            }
        }
        rows.columns = Some(columns);
        Ok(rows)
    }

    fn next_row(&mut self) -> Result<Option<Numbered<Raw>>, ConsentError> {
        if self.columns.is_none() {
            return self.next_object();
        }
        let Some((line, cells)) = self.cells()? else { return Ok(None) };
        let columns = self.columns.as_deref().unwrap_or_default();
        Ok(Some((line, cells.and_then(|cells| raw_of(columns, cells)))))
    }

    fn next_object(&mut self) -> Result<Option<Numbered<Raw>>, ConsentError> {
        loop {
            let Some(text) = self.read_line()? else { return Ok(None) };
            if text.trim().is_empty() {
                continue;
            }
            let parsed = serde_json::from_str(&text).map_err(|error| json_error(&error));
            return Ok(Some((self.line, parsed)));
        }
    }

    /// One CSV record; quoted cells may run over several lines.
    fn cells(&mut self) -> Result<Option<Numbered<Vec<String>>>, ConsentError> {
        loop {
            let Some(mut text) = self.read_line()? else { return Ok(None) };
            let line = self.line;
            while text.matches('"').count() % 2 == 1 {
                let Some(more) = self.read_line()? else { return Ok(Some((line, Err("a quoted cell is not closed".to_owned())))) };
                text.push_str(&more);
                if text.len() > RECORD_BYTES_MAX {
                    return Ok(Some((line, Err("the row is too long, or a quoted cell is not closed".to_owned()))));
                }
            }
            let text = text.trim_end_matches(['\r', '\n']);
            if !text.trim().is_empty() {
                return Ok(Some((line, split(text))));
            }
        }
    }

    fn read_line(&mut self) -> Result<Option<String>, ConsentError> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(RECORD_BYTES_MAX).unwrap_or(u64::MAX);
        let read = std::io::Read::take(&mut *self.reader, limit)
            .read_until(b'\n', &mut bytes)
            .map_err(|error| invalid(&format!("the file cannot be read: {}", error.kind())))?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        if read == RECORD_BYTES_MAX && !bytes.ends_with(b"\n") {
            return Err(ConsentError::Invalid(format!("line {} is longer than {RECORD_BYTES_MAX} bytes", self.line)));
        }
        let text = String::from_utf8(bytes).map_err(|_not_utf8| ConsentError::Invalid(format!("line {} is not UTF-8", self.line)))?;
        Ok(Some(text))
    }
}

fn raw_of(columns: &[String], cells: Vec<String>) -> Result<Raw, String> {
    if cells.len() != columns.len() {
        return Err(format!("{} cells where the header has {}", cells.len(), columns.len()));
    }
    let mut raw = Raw::default();
    for (column, cell) in columns.iter().zip(cells) {
        let cell = Some(cell.trim().to_owned()).filter(|cell| !cell.is_empty());
        match column.as_str() {
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

/// The cells of one record without its line break.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut cells = Vec::new();
    let mut rest = text;
    loop {
        let cell = if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut cell = String::new();
            loop {
                let (before, after) = quoted.split_once('"').ok_or("a quoted cell is not closed")?;
                cell.push_str(before);
                let Some(doubled) = after.strip_prefix('"') else {
                    rest = after;
                    break cell;
                };
                cell.push('"');
                quoted = doubled;
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (cell, after) = rest.split_at(end);
            if cell.contains('"') {
                return Err("a quote inside an unquoted cell".to_owned());
            }
            rest = after;
            cell.to_owned()
        };
        cells.push(cell);
        if rest.is_empty() {
            return Ok(cells);
        }
        rest = rest.strip_prefix(',').ok_or("text after a quoted cell")?;
    }
}

/// What serde says without values: its text may repeat what the row holds.
fn json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("unknown field") || text.starts_with("duplicate field") {
        // Names the member and the known ones, no value.
        return text.split(" at line").next().unwrap_or_default().to_owned();
    }
    format!("not an object of the known form (column {})", error.column())
}

const COLUMNS: [&str; 7] = ["party", "identifiers", "kind", "stage", "segment", "age", "legal_hold"];
/// One transaction.
const ROWS_PER_COMMIT: usize = 1000;
const RECORD_BYTES_MAX: usize = 64 * 1024;
