//! The log for other systems: events in the formats that SIEMs take, and how far a destination has got.
//!
//! ```text
//! segments -> Cursor -> Tail: heads joined with their ends -> Event -> Format -> one line each
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
mod tail;
mod text;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use event::{Decided, Event, Other, Severity, What};
pub use position::Position;
pub use syslog::syslog_frame;
pub use tail::{Step, Tail, origin};

use super::error::AuditError;

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

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Open Cybersecurity Schema Framework: JSON, one object a line.
    Ocsf,
    /// Common Event Format of `ArcSight`.
    Cef,
    /// Log Event Extended Format 2.0 of `QRadar`.
    Leef,
    /// OpenTelemetry's logs, as JSON of OTLP.
    Otlp,
    /// The decision as the API shows it, one object a line.
    Ndjson,
}

impl Format {
    pub const ALL: [Self; 5] = [Self::Ocsf, Self::Cef, Self::Leef, Self::Otlp, Self::Ndjson];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ocsf => "ocsf",
            Self::Cef => "cef",
            Self::Leef => "leef",
            Self::Otlp => "otlp",
            Self::Ndjson => "ndjson",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }

    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Ocsf | Self::Ndjson => "application/x-ndjson",
            Self::Cef | Self::Leef => "text/plain; charset=utf-8",
            Self::Otlp => "application/json",
        }
    }

    /// One event: a line, or for OTLP what several of are wrapped by [`Format::body`].
    #[must_use]
    pub fn record(self, event: &Event) -> String {
        match self {
            Self::Ocsf => text::json(&ocsf::event(event)),
            Self::Cef => cef::line(event),
            Self::Leef => leef::line(event),
            Self::Otlp => text::json(&otlp::record(event)),
            Self::Ndjson => text::json(&ndjson::document(event)),
        }
    }

    /// Records of one log together: a line each, or one OTLP request on a line.
    #[must_use]
    pub fn body<'a>(self, origin: &str, records: impl IntoIterator<Item = &'a str>) -> String {
        match self {
            Self::Otlp => otlp::request(origin, records) + "\n",
            Self::Ocsf | Self::Cef | Self::Leef | Self::Ndjson => records.into_iter().fold(String::new(), |mut body, record| {
                body.push_str(record);
                body.push('\n');
                body
            }),
        }
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
