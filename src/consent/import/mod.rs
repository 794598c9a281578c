//! Files of many records: customers (`parties.rs`) and what they said (`consents.rs`). A file is cut into pieces where it lies
//! (`pieces.rs`) and read where the ledger is (`reader.rs`); both tell records apart in the same way, so that a piece never
//! splits one. Every record is taken or reported with its line; a message never repeats what a cell holds.

mod consents;
mod csv;
mod events;
mod jsonld;
mod kantara;
mod opt_outs;
mod options;
mod parties;
mod pieces;
mod reader;
mod salesforce;
mod tally;

#[cfg(test)]
mod tests;

pub use consents::{ImportPiece, PieceReport, Surroundings};
pub use options::{ImportFormat, ImportOptions};
pub use parties::ImportReport;
pub use pieces::{Cutter, Piece};
pub use tally::{Progress, Tally};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::store::Done;
use crate::model::Revision;

/// A record that was not taken, by the line on which it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportError {
    pub line: u64,
    pub message: String,
}

/// A report as it is kept with an idempotency key.
#[derive(Serialize, Deserialize)]
struct Kept<R> {
    report: R,
    errors: Vec<ImportError>,
    /// How many more there were.
    left_out: u64,
}

fn kept<R: Serialize>(report: &R, errors: &[ImportError], revision: Revision, at: Timestamp) -> Done {
    let few = errors.get(..ERRORS_KEPT).unwrap_or(errors).to_vec();
    let left_out = u64::try_from(errors.len() - few.len()).unwrap_or(u64::MAX);
    let detail = serde_json::to_string(&Kept { report, errors: few, left_out }).ok();
    Done { event: None, party: None, revision, author: None, detail, at }
}

fn read_kept<R: DeserializeOwned>(done: &Done) -> Option<Kept<R>> {
    serde_json::from_str(done.detail.as_deref()?).ok()
}

/// So many errors of an import are told again to whoever repeats it under its key.
const ERRORS_KEPT: usize = 1_000;
