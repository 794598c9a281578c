//! Why the index cannot answer.

use std::path::{Path, PathBuf};

use crate::audit::AuditError;

#[derive(Clone, Debug, thiserror::Error)]
pub enum IndexError {
    #[error("{0}")]
    Log(#[from] AuditError),
    #[error("`{dir}` is being written by another process: ask the gateway that runs, or wait until it has ended")]
    InUse { dir: PathBuf },
    #[error("`{path}`: {cause}")]
    Io { path: PathBuf, cause: String },
    #[error("the search index cannot be read or written: {0}; `consentry audit index --rebuild` builds it anew")]
    Database(String),
    #[error("`{path}` was written by another version ({version}); `consentry audit index --rebuild` builds it anew")]
    Version { path: PathBuf, version: i64 },
    /// Questions that are asked now would not be answered in full.
    #[error("{entries} of {of} entries are indexed; ask again in a moment")]
    Behind { entries: u64, of: u64 },
    /// The index names what does not stand in the log.
    #[error(
        "the search index in `{dir}` does not fit the log: {reason}; run `consentry audit verify {log}`, and if that is well, `consentry audit index --rebuild`"
    )]
    Astray { dir: PathBuf, log: PathBuf, reason: String },
}

impl IndexError {
    /// Why a lock was not given.
    pub(super) fn of_lock(error: AuditError) -> Self {
        if let AuditError::Locked { dir } = error { Self::InUse { dir } } else { error.into() }
    }

    pub(super) fn io(path: &Path, cause: &std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), cause: cause.to_string() }
    }
}

impl From<rusqlite::Error> for IndexError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}
