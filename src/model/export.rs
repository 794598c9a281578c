//! The forms in which the decision log is written for other systems.

/// How an event is written that a receiver takes one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFormat {
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

impl EventFormat {
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
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Ocsf | Self::Ndjson => "application/x-ndjson",
            Self::Cef | Self::Leef => "text/plain; charset=utf-8",
            Self::Otlp => "application/json",
        }
    }
}

/// What an export by hand can be: events, or a file that is only good as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    Events(EventFormat),
    /// A table for analysts, one row an event.
    Parquet,
}

impl ExportFormat {
    pub const ALL: [Self; 6] = [
        Self::Events(EventFormat::Ocsf),
        Self::Events(EventFormat::Cef),
        Self::Events(EventFormat::Leef),
        Self::Events(EventFormat::Otlp),
        Self::Events(EventFormat::Ndjson),
        Self::Parquet,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events(format) => format.as_str(),
            Self::Parquet => "parquet",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }
}
