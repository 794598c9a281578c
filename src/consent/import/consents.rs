//! `consent import`: one piece of a file of statements, read, previewed and recorded.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::events::{Context, Raw, statement};
use super::options::{ImportFormat, ImportOptions};
use super::reader::{Record, Records, Shape, cells, header, json_error};
use super::tally::{Progress, Tally};
use super::{ImportError, kept, read_kept};
use super::{csv, jsonld, kantara, opt_outs, salesforce};
use crate::consent::commit::Writer;
use crate::consent::draft::{Acknowledged, Statement};
use crate::consent::error::ConsentError;
use crate::consent::event::Normalise;
use crate::consent::ledger::Ledger;
use crate::consent::once::By;
use crate::consent::store::Done;
use crate::model::ActivityKey;

/// A part of a file, as a [`super::Cutter`] makes it.
#[derive(Clone, Copy)]
pub struct ImportPiece<'a> {
    /// What the whole file is known by: its hash with that of the options.
    pub key: &'a str,
    /// The line of the file on which `bytes` begins; of rows, on which what follows the header begins.
    pub line: u64,
    /// Where it begins in the file, and how many bytes of the file it is made of.
    pub offset: u64,
    pub length: u64,
    pub bytes: &'a [u8],
    /// JSON objects with brackets and commas between them, instead of one a line.
    pub is_array: bool,
}

impl fmt::Debug for ImportPiece<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportPiece").field("line", &self.line).finish_non_exhaustive()
    }
}

/// What a record's names are looked up in, beside the vocabulary.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    pub activities: &'a [ActivityKey],
    pub normalise: &'a Normalise<'a>,
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("activities", &self.activities.len()).finish_non_exhaustive()
    }
}

/// What became of a piece, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceReport {
    pub piece: Tally,
    /// With the pieces before it; of a dry run the piece alone.
    pub progress: Progress,
    #[serde(skip)]
    pub errors: Vec<ImportError>,
    /// Errors that are not told again to whoever repeats the request.
    #[serde(skip)]
    pub errors_left_out: u64,
}

impl PieceReport {
    /// What a piece that was taken under a key reported.
    #[must_use]
    pub fn read(done: &Done) -> Option<Self> {
        let kept = read_kept::<Self>(done)?;
        Some(Self { errors: kept.errors, errors_left_out: kept.left_out, ..kept.report })
    }
}

impl Ledger {
    /// Takes one piece of a file. With `dry_run` nothing is recorded and the report is what it would be, but for statements that
    /// the ledger has already.
    ///
    /// # Errors
    /// When the header cannot be read, when the piece is not the next one of its import, or when the store is away; a piece
    /// that was taken in part is taken whole by sending it again.
    pub fn import_consents<'a>(
        &self,
        piece: &ImportPiece<'_>,
        options: &ImportOptions,
        around: &Surroundings<'_>,
        by: impl Into<By<'a>>,
        dry_run: bool,
    ) -> Result<PieceReport, ConsentError> {
        let By { caller, key } = by.into();
        let before = self.import_progress(piece.key)?.filter(|_| !dry_run);
        if before.as_ref().is_some_and(|before| before.offset != piece.offset) {
            return Err(NOT_THE_NEXT);
        }
        let adopted = self.adopted()?;
        let context = Context {
            vocabulary: &adopted.vocabulary,
            activities: around.activities,
            normalise: around.normalise,
            zone: options.time_zone.as_ref(),
            now: self.record_time(),
        };
        let mut read = read_piece(piece, options, &context).map_err(ConsentError::Invalid)?;
        let mut tally = Tally { records: read.count, ..Tally::default() };
        let (mut drawn, mut previews) = (Vec::with_capacity(read.records.len()), Vec::with_capacity(read.records.len()));
        for (line, record) in read.records {
            // A record with several statements is taken whole or not at all.
            match record.into_iter().map(|statement| self.preview(statement, caller, &adopted, context.now)).collect::<Result<Vec<_>, _>>() {
                Ok(found) => found.into_iter().for_each(|(event, preview)| {
                    drawn.push(event);
                    previews.push((line, preview));
                }),
                Err(ConsentError::Unavailable(away)) => return Err(away.into()),
                Err(error) => read.errors.push(ImportError { line, message: error.to_string() }),
            }
        }
        let mut done = before.as_ref().map(|before| before.done.clone()).unwrap_or_default();
        let mut errors = read.errors;
        let finish = move |answers: &[Result<Acknowledged, ConsentError>]| {
            let mut answers = answers.iter();
            for (line, preview) in previews {
                match answers.next() {
                    Some(Ok(acknowledged)) if acknowledged.known_before => tally.known_before += 1,
                    Some(Err(error)) => errors.push(ImportError { line, message: error.to_string() }),
                    Some(Ok(_)) | None => tally.count(preview),
                }
            }
            errors.sort_by_key(|error| error.line);
            tally.refused = u64::try_from(errors.len()).unwrap_or(u64::MAX);
            done.add(&tally);
            let progress = Progress { offset: piece.offset.saturating_add(piece.length), done };
            PieceReport { piece: tally, progress, errors, errors_left_out: 0 }
        };
        if dry_run {
            return Ok(finish(&[]));
        }
        // What is done and how far that is are one transaction: an import that was interrupted goes on without loss or doubling.
        let mut report = Err(ConsentError::NotPermitted("the piece was not recorded"));
        let is_next = |writer: &Writer| {
            self.unless_done(writer, key)?;
            // Another one with the same piece may have come first since.
            if self.import_progress(piece.key)? == before { Ok(()) } else { Err(NOT_THE_NEXT) }
        };
        self.record_many(drawn, is_next, |answers| {
            let done = finish(answers);
            let document = done.progress.document(piece.key);
            let revision = answers.iter().flatten().map(|acknowledged| acknowledged.revision).max().unwrap_or(self.revision());
            let answered = key.filter(|_| document.is_ok()).map(|key| key.answered(kept(&done, &done.errors, revision, context.now)));
            report = document.as_ref().map(|_| done).map_err(Clone::clone);
            (document.ok().into_iter().collect(), answered)
        })?;
        report
    }
}

const NOT_THE_NEXT: ConsentError = ConsentError::NotPermitted("the piece is not the next one of this import; ask `/v1/imports/{key}` where to go on");

struct ReadPiece {
    /// Records that were understood, with their statements.
    records: Vec<(u64, Vec<Statement>)>,
    errors: Vec<ImportError>,
    /// All records, those with errors included.
    count: u64,
}

/// Reads a piece; what cannot be understood as a whole is the error.
fn read_piece(piece: &ImportPiece<'_>, options: &ImportOptions, context: &Context<'_>) -> Result<ReadPiece, String> {
    let (records, columns) = open(piece, options.format)?;
    let mut read = ReadPiece { records: Vec::new(), errors: Vec::new(), count: 0 };
    let mut row = Vec::new();
    for Record { line, text } in records {
        read.count += 1;
        let raws = text.map_err(Cow::into_owned).and_then(|text| {
            if options.format.is_rows() {
                cells(text, &mut row);
            }
            match options.format {
                ImportFormat::Csv => csv::raw(&columns, &row).map(|raw| vec![raw]),
                ImportFormat::Salesforce => salesforce::raw(&columns, &row, options, context.now).map(|raw| vec![raw]),
                ImportFormat::Ndjson => serde_json::from_str(text).map(|raw| vec![raw]).map_err(|error| json_error(&error)),
                ImportFormat::Jsonld => jsonld::raws(text, options),
                ImportFormat::Kantara => kantara::raws(text, options),
            }
        });
        let each = raws.and_then(|raws| raws.into_iter().map(opt_outs::each).collect::<Result<Vec<_>, _>>());
        match each.and_then(|raws| raws.into_iter().flatten().map(|raw| statement(covered(raw, options)?, context)).collect()) {
            Ok(statements) => read.records.push((line, statements)),
            Err(message) => read.errors.push(ImportError { line, message }),
        }
    }
    Ok(read)
}

/// The records of a piece, behind the header of rows.
fn open<'a>(piece: &ImportPiece<'a>, format: ImportFormat) -> Result<(Records<'a>, Vec<&'static str>), String> {
    let known = match format {
        ImportFormat::Csv => csv::COLUMNS,
        ImportFormat::Salesforce => salesforce::COLUMNS,
        ImportFormat::Ndjson | ImportFormat::Jsonld | ImportFormat::Kantara => {
            let shape = if piece.is_array { Shape::Objects } else { Shape::Lines };
            return Ok((Records::new(piece.bytes, piece.line, shape), Vec::new()));
        }
    };
    let mut records = Records::new(piece.bytes, 1, Shape::Rows { cells: None });
    let first = records.next().ok_or("the file is empty; begin with a header line")?;
    let columns = header(first.text.map_err(Cow::into_owned)?, known)?;
    let wanted: &[&str] = if format == ImportFormat::Salesforce { &["PartyId", salesforce::MARK] } else { &["id"] };
    if let Some(missing) = wanted.iter().find(|column| !columns.contains(column)) {
        return Err(format!("column `{missing}` is missing"));
    }
    records.shape = Shape::Rows { cells: Some(columns.len()) };
    records.line = piece.line;
    Ok((records, columns))
}

/// A grant that does not say what it covers covers what the importer says; a refusal is never narrowed by it.
fn covered<'a>(mut raw: Raw<'a>, options: &'a ImportOptions) -> Result<Raw<'a>, String> {
    if !matches!(raw.state.as_deref(), Some("given" | "renewed")) {
        return Ok(raw);
    }
    for (column, cell) in &options.covers {
        let given = match column.as_str() {
            "categories" => raw.categories.is_some(),
            "recipients" => raw.recipients.is_some(),
            "author" => raw.author.is_some(),
            _ => raw.notice.is_some(),
        };
        if !given {
            csv::put(&mut raw, column, Cow::Borrowed(cell))?;
        }
    }
    Ok(raw)
}
