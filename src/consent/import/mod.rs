//! Files of many records: customers (`parties.rs`) and what they said (`consents.rs`). A file is cut into pieces where it lies
//! (`pieces.rs`) and read where the ledger is (`reader.rs`); both tell records apart in the same way, so that a piece never
//! splits one. Every record is taken or reported with its line; a message never repeats what a cell holds.

mod consents;
mod csv;
mod events;
mod jsonld;
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

/// A record that was not taken, by the line on which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError {
    pub line: u64,
    pub message: String,
}
