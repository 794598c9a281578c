//! Why an entry could not be recorded or a log not be opened or read.

use std::io;
use std::path::PathBuf;

/// Every failure of the log, for the caller who must then refuse.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the decision log's queue is full; retry later")]
    QueueFull,
    #[error("the decision log's disk did not answer in time; retry later")]
    Slow,
    #[error("the decision log is closed")]
    Closed,
    /// No entry can be written any more until the gateway is restarted.
    #[error("the decision log can not be written: {reason}; mend the disk and restart")]
    Poisoned { reason: String },
    /// What was found out about the log speaks against it.
    #[error("the decision log takes no entry any more: {reason}")]
    Contradicted { reason: String },
    #[error("the decision log's checkpoint can not be written; make room on its disk")]
    Unsigned,
    #[error("an entry of {bytes} bytes is over the limit of 65535; make the part smaller")]
    EntryTooLarge { bytes: usize },
    #[error("an entry names {parties} customers, over the limit of 8192; make the part smaller")]
    TooManyParties { parties: usize },
    #[error("the entry's `{field}` is not a plain token")]
    NotAToken { field: &'static str },
    #[error("the key `{id}` for free text {why}")]
    TextKey { id: String, why: String },
    #[error("free text of {bytes} bytes is over the limit of 4094; write less")]
    TextTooLong { bytes: usize },
    #[error("the entry belongs to decision {of}, which is not in the log")]
    NoSuchDecision { of: u64 },
    #[error("`{dir}` is in use by another process; one process writes one log")]
    Locked { dir: PathBuf },
    #[error("`{path}`: {cause}")]
    Io { path: PathBuf, cause: String },
    #[error("there is no decision log in `{dir}`; name the directory of `[audit] dir`")]
    NoLog { dir: PathBuf },
    #[error("the log's origin `{origin}` must be a plain name like `gw-1.example.com`")]
    Origin { origin: String },
    #[error("`{path}` is not an Ed25519 key (PKCS#8 as PEM or DER, or a seed of 32 bytes)")]
    Key { path: PathBuf },
    #[error("`{text}` is not a log's verifier key (`name+id+key`, as in `log.vkey`)")]
    VerifierKey { text: String },
    #[error(
        "`{path}` names another key or origin than the one configured; to replace the log's key keep the one before as `[audit] previous_key`, and if that is lost run `consentry audit replace-lost-key`; another origin needs a directory of its own"
    )]
    OtherKey { path: PathBuf },
    #[error("`[audit] previous_key` {why}")]
    PreviousKey { why: &'static str },
    /// Somebody put an older key back.
    #[error("the log has gone over to another key than the one configured (`{key}`); configure that one as `[audit] signing_key`")]
    KeyIsOut { key: String },
    #[error("the log in `{dir}` has this key already; nothing was changed")]
    KeyIsThere { dir: PathBuf },
    #[error("segments of {bytes} bytes are too small; use at least {min}")]
    SegmentTooSmall { bytes: u64, min: u64 },
    #[error("entry {index} is pruned: its hash stays in the log, what it said does not")]
    Pruned { index: u64 },
    /// Entries that were synced and signed are missing or changed.
    #[error("the log is damaged: {what}; keep it as evidence, run `consentry audit verify` and start with an empty directory")]
    Damaged { what: String },
}

impl AuditError {
    pub(super) fn io(path: impl Into<PathBuf>, cause: &io::Error) -> Self {
        Self::Io { path: path.into(), cause: cause.to_string() }
    }
}
