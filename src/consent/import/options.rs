//! What an importer says about a file that the file does not say itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;

use super::reader::without_mark;
use super::{kantara, salesforce};

crate::model::closed! {
    /// What a file of consent looks like.
    ImportFormat {
        /// Rows in the columns of this gateway.
        Csv = "csv",
        /// A line is what `POST /v1/consents` or a stop route takes.
        Ndjson = "ndjson",
        /// Salesforce's export of `ContactPointTypeConsent`.
        Salesforce = "salesforce",
        /// ISO/IEC TS 27560 consent records as JSON-LD in the Data Privacy Vocabulary.
        Jsonld = "jsonld",
        /// Consent receipts of the Kantara Initiative, version 1.1.
        Kantara = "kantara",
    }
}

impl ImportFormat {
    /// What the beginning of a file looks like.
    #[must_use]
    pub fn of(beginning: &[u8]) -> Self {
        let text = without_mark(beginning).trim_ascii_start();
        let has = |word: &str| text.windows(word.len()).any(|window| window == word.as_bytes());
        match text.first() {
            Some(b'{' | b'[') if has(kantara::MARK) => Self::Kantara,
            Some(b'{' | b'[') if has("\"@context\"") || has("\"@type\"") || has("\"@graph\"") => Self::Jsonld,
            Some(b'{' | b'[') => Self::Ndjson,
            _ if text.split(|b| *b == b'\n').next().is_some_and(|line| String::from_utf8_lossy(line).contains(salesforce::MARK)) => Self::Salesforce,
            _ => Self::Csv,
        }
    }

    pub(super) const fn is_rows(self) -> bool {
        matches!(self, Self::Csv | Self::Salesforce)
    }
}

/// How a file is read.
#[derive(Clone)]
pub struct ImportOptions {
    pub format: ImportFormat,
    /// Whose midnight a date without a time of day means.
    pub(super) time_zone: Option<TimeZone>,
    /// The id space of ids that are written without one.
    pub(super) space: Option<String>,
    /// `<field>:<value of the file>` to a name of the catalogue.
    pub(super) maps: BTreeMap<String, String>,
    /// What a grant covers that does not say so itself, as in the columns of these names; a refusal is never narrowed by it.
    pub(super) covers: BTreeMap<String, String>,
}

impl fmt::Debug for ImportOptions {
    /// What is mapped comes from the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportOptions").field("format", &self.format).finish_non_exhaustive()
    }
}

impl ImportOptions {
    #[must_use]
    pub const fn new(format: ImportFormat) -> Self {
        Self { format, time_zone: None, space: None, maps: BTreeMap::new(), covers: BTreeMap::new() }
    }

    /// An IANA name (`Europe/Berlin`) or an offset (`+02:00`).
    ///
    /// # Errors
    /// When it is neither.
    pub fn time_zone(mut self, text: &str) -> Result<Self, String> {
        let zone = DateTimeParser::new().parse_time_zone(text);
        self.time_zone =
            Some(zone.map_err(|_unknown| "the time zone is neither an IANA name such as `Europe/Berlin` nor an offset such as `+02:00`")?);
        Ok(self)
    }

    #[must_use]
    pub fn space(mut self, space: &str) -> Self {
        self.space = Some(space.to_owned());
        self
    }

    /// `<field>:<value>` to a name of the catalogue.
    ///
    /// # Errors
    /// When the field is none of those that can be mapped.
    pub fn map(mut self, from: &str, to: &str) -> Result<Self, String> {
        if !from.split_once(':').is_some_and(|(field, value)| MAPPED.contains(&field) && !value.is_empty()) || to.is_empty() {
            return Err(format!("a map is `<field>:<value>=<name>`, and the field is one of {}", MAPPED.join(", ")));
        }
        self.maps.insert(from.to_owned(), to.to_owned());
        Ok(self)
    }

    /// What a grant covers that does not say so itself: `categories`, `recipients`, `notice` or `author`, as in a cell.
    #[must_use]
    pub fn cover(mut self, column: &'static str, cell: &str) -> Self {
        self.covers.insert(column.to_owned(), cell.to_owned());
        self
    }

    pub(super) fn mapped(&self, field: &str, value: &str) -> Option<Cow<'_, str>> {
        // INVARIANT: maps are few; a look-up by parts would need a key of its own.
        let found = self.maps.iter().find(|(from, _)| from.split_once(':') == Some((field, value)));
        found.map(|(_, to)| Cow::Borrowed(to.as_str()))
    }
}

/// `notice` and `termination` stand in consent receipts alone.
const MAPPED: [&str; 6] = ["purpose", "category", "recipient", "channel", "notice", "termination"];
