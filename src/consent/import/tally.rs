//! What an import did or would do, counted; and how far one has come, as it is kept in the ledger's database.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::consent::error::{ConsentError, Unavailable};
use crate::consent::ledger::Ledger;
use crate::consent::preview::{Effect, Preview};
use crate::consent::store::Document;

/// Counts of records; each is in `refused` or `known_before`, or in exactly one of the counts by effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub records: u64,
    /// Grants that open the gate.
    pub opens: u64,
    /// Grants that do not, by what they lack.
    pub opens_not: BTreeMap<String, u64>,
    /// Refusals, withdrawals and what else closes.
    pub closes: u64,
    /// Hard stops by their kind.
    pub stops: BTreeMap<String, u64>,
    /// Requested, deferred or unknown.
    pub neither: u64,
    /// Statements about ids that nobody is known by yet.
    pub nobody: u64,
    /// The ledger had them already.
    pub known_before: u64,
    pub refused: u64,
}

impl Tally {
    pub(super) fn count(&mut self, preview: Preview) {
        match preview.effect {
            Effect::Opens => self.opens += 1,
            Effect::OpensNot(lacks) => *self.opens_not.entry(lacks.to_string()).or_default() += 1,
            Effect::Closes => self.closes += 1,
            Effect::Stops(kind) => *self.stops.entry(kind.to_string()).or_default() += 1,
            Effect::Neither => self.neither += 1,
        }
        self.nobody += u64::from(!preview.is_known);
    }

    pub fn add(&mut self, other: &Self) {
        let Self { records, opens, opens_not, closes, stops, neither, nobody, known_before, refused } = other;
        self.records += records;
        self.opens += opens;
        self.closes += closes;
        self.neither += neither;
        self.nobody += nobody;
        self.known_before += known_before;
        self.refused += refused;
        for (mine, others) in [(&mut self.opens_not, opens_not), (&mut self.stops, stops)] {
            for (word, count) in others {
                *mine.entry(word.clone()).or_default() += count;
            }
        }
    }
}

/// How far an import has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Where in the file the next piece begins.
    pub offset: u64,
    pub done: Tally,
}

impl Ledger {
    /// How far the import of this key has come; none when it has not begun.
    ///
    /// # Errors
    /// When the store is away.
    pub fn import_progress(&self, key: &str) -> Result<Option<Progress>, Unavailable> {
        let documents = self.documents(KIND)?;
        let found = documents.into_iter().find(|(known, _)| known == key);
        let read = |(_, body): (String, String)| serde_json::from_str(&body);
        found.map(read).transpose().map_err(|_unreadable| Unavailable("the progress of the import cannot be read".to_owned()))
    }
}

impl Progress {
    /// As it is stored with the piece.
    pub(super) fn document(&self, key: &str) -> Result<Document, ConsentError> {
        let body = serde_json::to_string(self).map_err(|_unwritable| Unavailable("the progress of the import cannot be written".to_owned()))?;
        Ok(Document { kind: KIND, key: key.to_owned(), body: Some(body) })
    }
}

/// The kind of document under which progress is kept.
const KIND: &str = "import";
