//! The log for other systems: events in the formats that SIEMs take, and how far a destination has got.
//!
//! ```text
//! segments -> Cursor -> Tail: heads joined with their ends -> Event -> EventFormat -> one line each, or a row of an EventTable
//!                        |                                                        |
//!                        +-- Position: stored only when the destination has acknowledged what was told up to there
//! ```
//!
//! Everything is read from the log's files. Nothing here can hold up whoever writes them.

mod cef;
mod cursor;
mod event;
mod fields;
mod leef;
mod ndjson;
mod ocsf;
mod otlp;
mod position;
mod syslog;
mod table;
mod tail;
mod text;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use event::{Decided, Event, Other, Severity, What};
pub use position::Position;
pub use syslog::syslog_frame;
pub use table::{EventTable, PARQUET_TYPE, TableError};
pub use tail::{Step, Tail, origin};

use super::error::AuditError;
use crate::model::EventFormat;

/// Why nothing more can be told of a log.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error("`{path}` says how far the export has got, and {why}; remove it to export the log from its beginning")]
    Position { path: PathBuf, why: &'static str },
    #[error("the export's position names entry {head} as a decision, which it is not: the log was replaced; remove `export-…` to begin anew")]
    NotThisLog { head: u64 },
    #[error("the export has got to entry {next}, and the log has only {entries}: it was set back; remove `export-…` to begin anew")]
    SetBack { next: u64, entries: u64 },
}

/// One event: a line, or for OTLP what several of are wrapped by [`body`].
#[must_use]
pub fn record(format: EventFormat, event: &Event) -> String {
    match format {
        EventFormat::Ocsf => text::json(&ocsf::event(event)),
        EventFormat::Cef => cef::line(event),
        EventFormat::Leef => leef::line(event),
        EventFormat::Otlp => text::json(&otlp::record(event)),
        EventFormat::Ndjson => text::json(&ndjson::document(event)),
    }
}

/// Records of one log together: a line each, or one OTLP request on a line.
#[must_use]
pub fn body<'a>(format: EventFormat, origin: &str, records: impl IntoIterator<Item = &'a str>) -> String {
    match format {
        EventFormat::Otlp => otlp::request(origin, records) + "\n",
        EventFormat::Ocsf | EventFormat::Cef | EventFormat::Leef | EventFormat::Ndjson => {
            records.into_iter().fold(String::new(), |mut body, record| {
                body.push_str(record);
                body.push('\n');
                body
            })
        }
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
