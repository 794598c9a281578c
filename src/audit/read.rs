//! Reading a log, closed or while it is being written.

use std::path::Path;

use serde_json::Value;

use super::error::AuditError;

/// One entry as it stands in the log.
#[derive(Clone, Debug)]
pub struct Logged {
    pub index: u64,
    /// The bytes that are hashed.
    pub raw: Vec<u8>,
    /// `Null` when the bytes are not JSON (an entry of a version to come).
    pub value: Value,
    /// `value` with dictionary references replaced by what they stand for and parties as a list of numbers.
    pub resolved: Value,
}

/// Entries in order from the first; ends at the last whole one. An `Err` is the last item.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// # Errors
    /// When there is no log in `dir`.
    pub fn open(dir: &Path) -> Result<Self, AuditError> {
        Err(AuditError::Damaged { what: dir.display().to_string() })
    }
}

impl Iterator for Reader {
    type Item = Result<Logged, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}
