//! The log as a Parquet file (<https://parquet.apache.org/docs/file-format/>): one row for each event, one column for each member that
//! NDJSON has, under the same names.
//!
//! ```text
//! "PAR1" | row group: a chunk for each column, dictionary and pages, gzip | … | footer: schema, where chunks lie | its length | "PAR1"
//! ```
//!
//! Memory holds one row group and the footer. A file without its footer is none: whoever writes it lets it appear as a whole.

use std::io::Write;
use std::sync::Arc;

use ::parquet::basic::{Compression, GzipLevel, LogicalType, Repetition, TimeUnit, Type as Physical};
use ::parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use ::parquet::schema::types::{Type, TypePtr};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::event::Event;
use super::{ndjson, text};

pub const PARQUET_TYPE: &str = "application/vnd.apache.parquet";

/// Of one row group, whichever is reached first; bytes as they are held.
pub(super) const GROUP_ROWS_MAX: usize = 65_536;
pub(super) const GROUP_BYTES_MAX: usize = 32 << 20;
/// What a text takes beside its own bytes while it is held.
const TEXT_HELD_BYTES: usize = 64;
const NUMBER_HELD_BYTES: usize = 12;

/// Why a row or a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("cannot write Parquet: {0}")]
    Parquet(#[from] ParquetError),
    #[error("events have `{0}`, which this version has no column for; use the version of the gateway")]
    NoColumn(String),
    #[error("the event has no `{0}` of the type that its column has")]
    Cell(&'static str),
}

/// How the values of a column are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    /// JSON, where a value has a shape of its own.
    Json,
    /// Unsigned, 64 bits.
    Number,
    Bool,
    /// UTC, microseconds.
    Time,
    Texts,
    Numbers,
}

/// Name, type, whether every row has it, and what it says.
type Column = (&'static str, Kind, bool, &'static str);

const COLUMNS: &[Column] = &[
    ("id", Kind::Text, true, "<log's name>#<index>: the decision's id, or the entry's; `audit proof` takes it"),
    ("kind", Kind::Text, true, "decision, or the kind of an entry that belongs to none"),
    ("index", Kind::Number, true, "place in the log of the decision's first entry, or of the entry"),
    ("at", Kind::Time, true, "when it was recorded, UTC"),
    ("decision", Kind::Text, false, "the decision's id; nothing in rows of other entries"),
    ("app", Kind::Text, false, "who asked"),
    ("department", Kind::Text, false, "whose app it is"),
    ("actor", Kind::Text, false, "pseudonym of the employee"),
    ("agent", Kind::Text, false, "the agent that asked"),
    ("operator", Kind::Text, false, "who answers for the agent"),
    ("model", Kind::Text, false, "what the agent runs on"),
    ("task", Kind::Text, false, "what the agent was sent to do"),
    ("behalf", Kind::Text, false, "for whom the agent asked"),
    ("grant", Kind::Text, false, "break-glass grant that was called upon"),
    ("action", Kind::Text, false, "read, create, update, delete, export"),
    ("api", Kind::Text, false, "what was asked"),
    ("route", Kind::Text, false, "template, without values"),
    ("purpose", Kind::Text, false, "what for"),
    ("policy_set", Kind::Text, false, "hash of the policies"),
    ("generation", Kind::Number, false, "reload of the configuration"),
    ("consent_revision", Kind::Number, false, "state of the consent ledger"),
    ("outcome", Kind::Text, false, "permit, redact, filter, deny, error, unenforced"),
    ("status", Kind::Number, false, "HTTP status of the answer"),
    ("code", Kind::Text, false, "why it was refused"),
    ("released", Kind::Texts, false, "categories that went out in full"),
    ("reduced", Kind::Texts, false, "categories that went out masked"),
    ("disclosed", Kind::Texts, false, "categories of which something may have reached the app"),
    ("relied", Kind::Json, false, "for each category what it was judged on: basis, activity, status, event, rule, policies"),
    ("policies", Kind::Texts, false, "determining policies"),
    ("withheld", Kind::Texts, false, "paths of the shape that were left out"),
    ("parties", Kind::Number, false, "how many customers"),
    ("customers", Kind::Numbers, false, "the lowest of their numbers, 64 at most"),
    ("unknown", Kind::Number, false, "ids that belong to no customer"),
    ("rows", Kind::Number, false, "rows that went out"),
    ("dropped", Kind::Number, false, "rows that were left out"),
    ("bytes", Kind::Number, false, "bytes that went out"),
    ("unresolved", Kind::Bool, false, "no end was written: count it as released"),
    ("complete", Kind::Bool, false, "false where the answer was cut"),
    ("entries", Kind::Numbers, false, "places in the log of the first entries and the last one, 64 at most"),
    ("entries_total", Kind::Number, false, "how many entries there are"),
    ("rid", Kind::Number, false, "the gateway's own number of the request"),
    ("trace_id", Kind::Text, false, "trace of the caller"),
    ("latency_us", Kind::Number, false, "microseconds until the answer was over"),
    ("abridged", Kind::Bool, false, "consent events are told for the first parts of the answer only"),
    ("entry", Kind::Json, false, "of other kinds: the entry as it stands in the log"),
];

/// A Parquet file that grows by whole row groups.
pub struct EventTable<W: Write> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Held>,
    rows: usize,
    bytes: usize,
}

impl<W: Write> std::fmt::Debug for EventTable<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventTable").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl<W: Write + Send> EventTable<W> {
    /// # Errors
    /// When `out` takes nothing.
    pub fn new(out: W) -> Result<Self, TableError> {
        let about: Map<String, Value> = COLUMNS.iter().map(|(name, _, _, about)| ((*name).to_owned(), (*about).into())).collect();
        let properties = WriterProperties::builder()
            .set_compression(Compression::GZIP(GzipLevel::default()))
            // By page they are as long as the pages, and stay in memory until the end.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_key_value_metadata(Some(vec![KeyValue::new("consentry.columns".to_owned(), Value::from(about).to_string())]))
            .build();
        let writer = SerializedFileWriter::new(out, schema()?, Arc::new(properties))?;
        let columns = COLUMNS.iter().map(Held::new).collect();
        Ok(Self { writer, columns, rows: 0, bytes: 0 })
    }

    /// # Errors
    /// When `out` takes nothing more.
    pub fn put(&mut self, event: &Event) -> Result<(), TableError> {
        self.put_document(ndjson::document(event))
    }

    /// An event as NDJSON has it.
    ///
    /// # Errors
    /// When `out` takes nothing more, or the document is no event of this version.
    pub fn put_document(&mut self, document: Value) -> Result<(), TableError> {
        let Value::Object(mut members) = document else { return Err(TableError::Cell("id")) };
        for column in &mut self.columns {
            self.bytes += column.put(members.remove(column.name).unwrap_or_default())?;
        }
        // A member without a column would be lost without anybody knowing.
        if let Some(name) = members.keys().next() {
            return Err(TableError::NoColumn(name.clone()));
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS_MAX || self.bytes >= GROUP_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Writes what is left, and the footer.
    ///
    /// # Errors
    /// When `out` takes nothing more.
    pub fn finish(mut self) -> Result<W, TableError> {
        self.flush()?;
        Ok(self.writer.into_inner()?)
    }

    fn flush(&mut self) -> Result<(), TableError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            let mut chunk = group.next_column()?.ok_or_else(|| ParquetError::General("the schema has fewer columns".to_owned()))?;
            column.write(&mut chunk)?;
            chunk.close()?;
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

/// The values of a column for one row group. Levels say which rows have none (Dremel): defined 0 is nothing, 1 a value or an empty list,
/// 2 an item of a list; repeated 1 goes on with the list of the row before.
#[derive(Debug)]
struct Held {
    name: &'static str,
    kind: Kind,
    is_required: bool,
    defined: Vec<i16>,
    repeated: Vec<i16>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Texts(Vec<ByteArray>),
    Numbers(Vec<i64>),
    Bools(Vec<bool>),
}

impl Held {
    fn new(&(name, kind, is_required, _): &Column) -> Self {
        let values = match kind {
            Kind::Text | Kind::Json | Kind::Texts => Values::Texts(Vec::new()),
            Kind::Number | Kind::Time | Kind::Numbers => Values::Numbers(Vec::new()),
            Kind::Bool => Values::Bools(Vec::new()),
        };
        Self { name, kind, is_required, defined: Vec::new(), repeated: Vec::new(), values }
    }

    /// Adds the cell of a row; returns the bytes that it takes.
    fn put(&mut self, cell: Value) -> Result<usize, TableError> {
        let wrong = TableError::Cell(self.name);
        match (cell, self.kind) {
            (Value::Null, _) if self.is_required => Err(wrong),
            (Value::Null, _) => {
                self.level(0, 0);
                Ok(size_of::<i16>())
            }
            (Value::Array(items), Kind::Texts | Kind::Numbers) => {
                if items.is_empty() {
                    self.level(1, 0);
                }
                let mut bytes = size_of::<i16>();
                for (at, item) in items.into_iter().enumerate() {
                    self.level(2, i16::from(at > 0));
                    bytes += self.values.push(item).ok_or(TableError::Cell(self.name))?;
                }
                Ok(bytes)
            }
            (cell, Kind::Json) => {
                self.level(1, 0);
                self.values.push(text::json(&cell).into()).ok_or(wrong)
            }
            (cell, Kind::Time) => {
                self.level(1, 0);
                let at = cell.as_str().and_then(|text| text.parse::<Timestamp>().ok());
                let micros = at.and_then(|at| u64::try_from(at.as_microsecond()).ok());
                self.values.push(micros.ok_or(TableError::Cell(self.name))?.into()).ok_or(wrong)
            }
            (cell, Kind::Text | Kind::Number | Kind::Bool) => {
                self.level(1, 0);
                self.values.push(cell).ok_or(wrong)
            }
            (_, Kind::Texts | Kind::Numbers) => Err(wrong),
        }
    }

    fn level(&mut self, defined: i16, repeated: i16) {
        if !self.is_required {
            self.defined.push(defined);
        }
        if self.is_list() {
            self.repeated.push(repeated);
        }
    }

    const fn is_list(&self) -> bool {
        matches!(self.kind, Kind::Texts | Kind::Numbers)
    }

    /// Writes what is held, and forgets it.
    fn write(&mut self, chunk: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let defined = (!self.is_required).then_some(self.defined.as_slice());
        let repeated = self.is_list().then_some(self.repeated.as_slice());
        match &mut self.values {
            Values::Texts(texts) => {
                chunk.typed::<ByteArrayType>().write_batch(texts, defined, repeated)?;
                texts.clear();
            }
            Values::Numbers(numbers) => {
                chunk.typed::<Int64Type>().write_batch(numbers, defined, repeated)?;
                numbers.clear();
            }
            Values::Bools(bools) => {
                chunk.typed::<BoolType>().write_batch(bools, defined, repeated)?;
                bools.clear();
            }
        }
        self.defined.clear();
        self.repeated.clear();
        Ok(())
    }
}

impl Values {
    /// Returns the bytes that it takes; `None` for a value of another type.
    fn push(&mut self, value: Value) -> Option<usize> {
        match (self, value) {
            (Self::Texts(texts), Value::String(text)) => {
                let bytes = text.len() + TEXT_HELD_BYTES;
                texts.push(text.into_bytes().into());
                Some(bytes)
            }
            (Self::Numbers(numbers), Value::Number(number)) => {
                // Unsigned numbers lie in the same 64 bits.
                numbers.push(number.as_u64()?.cast_signed());
                Some(NUMBER_HELD_BYTES)
            }
            (Self::Bools(bools), Value::Bool(is)) => {
                bools.push(is);
                Some(size_of::<i16>())
            }
            (Self::Texts(_) | Self::Numbers(_) | Self::Bools(_), _) => None,
        }
    }
}

fn schema() -> Result<TypePtr, ParquetError> {
    let fields = COLUMNS.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Type::group_type_builder("events").with_fields(fields).build()?))
}

fn field(&(name, kind, is_required, _): &Column) -> Result<TypePtr, ParquetError> {
    let own = if is_required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
    let (physical, logical) = match kind {
        Kind::Text | Kind::Texts => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
        Kind::Number | Kind::Numbers => (Physical::INT64, Some(LogicalType::integer(64, false))),
        Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        Kind::Bool => (Physical::BOOLEAN, None),
    };
    let primitive =
        |name: &str, repetition| Type::primitive_type_builder(name, physical).with_repetition(repetition).with_logical_type(logical.clone()).build();
    Ok(Arc::new(match kind {
        Kind::Texts | Kind::Numbers => {
            let element = Arc::new(primitive("element", Repetition::REQUIRED)?);
            let list = Type::group_type_builder("list").with_repetition(Repetition::REPEATED).with_fields(vec![element]).build()?;
            Type::group_type_builder(name)
                .with_repetition(own)
                .with_logical_type(Some(LogicalType::List))
                .with_fields(vec![Arc::new(list)])
                .build()?
        }
        Kind::Text | Kind::Json | Kind::Number | Kind::Time | Kind::Bool => primitive(name, own)?,
    }))
}
