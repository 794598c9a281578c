//! The evidence: one entry for each decision, durable before anything of it leaves, in a log that proves its own order and
//! completeness (RFC 6962 tree, C2SP signed checkpoints) and names customers only by their dense numbers.
//!
//! ```text
//! Entry -> canonical JSON -> bounded queue -> one writer thread: [len|crc32c|entry] into a preallocated segment
//!       -> one fdatasync a batch -> Recorded, which only the writer can make -> the response may leave
//!          (in `bounded` mode a second thread syncs, and the writer waits when it falls behind)
//!       -> every second a signed checkpoint over what is synced
//! ```
//!
//! A log is one directory: `segment-*` (drawn in `segment.rs`, finished ones in `sealed.rs`), `checkpoint` (signed note), `log.vkey` (its verifier key, the newest),
//! `roots` (of full tiles, for proofs), `witnessed-*` (checkpoints that witnesses signed), `export-*` (how far exports have got), `index` (the search index), `text-keys` and `text-keys.list` (the keys of free text), `lock`,
//! `reserve` and `ahead-*` (zeroed files in waiting), `bounded` (what the run under way may lose at a power cut) and, when a second directory is configured, `spare` (its path).
//!
//! - Writing: [`Log::open`], [`Log::append`] -> [`Pending`] -> [`Recorded`].
//! - Reading, also while the log is being written: [`LiveIndex`] and [`Index`] for questions, [`Reader`], [`newest`], [`show`], [`verify()`]; [`Past`] for
//!   judging again; [`export`] for other systems.
//! - What is past its time: [`Log::plan_pruning`] -> [`Pruning`] -> [`Announced`].

mod bits;
mod content;
mod disk;
mod document;
mod encode;
mod entry;
mod error;
pub mod export;
mod free_text;
mod gathered;
mod index;
mod json;
mod key;
mod lag;
mod line;
mod lock;
mod log;
mod memo;
mod note;
mod parties;
mod past;
mod proof;
mod prune;
mod queue;
mod read;
mod recover;
mod roots;
mod rotation;
mod sealed;
mod sealer;
mod segment;
mod tail;
mod tape;
mod text_keys;
mod tile_name;
mod tiles;
mod tree;
mod verify;
mod witness;
mod writer;

#[cfg(test)]
mod tests;

pub use document::{entry_json, found_json, found_json_with};
pub use entry::{DecisionFacts, Entry, GROUP_PARTIES_MAX, Group, Mandate, OTHER_KINDS, Outcome, PrunedClass, ShadowRow, StepText};
pub use error::AuditError;
pub use free_text::{FreeText, LockedText, TEXT_BYTES_MAX};
pub use gathered::{Found, Relied, Shown, named_customers, rejoin, show};
pub use index::{
    Answer, Difference, INDEX_FOLDER, Index, IndexError, KindAnswer, KindQuery, LiveIndex, Names, Query, Reading, Rejected, Row, Verdict, Window,
};
pub use key::{SigningKeySource, generate_signing_key};
pub use log::{Bounds, Log, LogMetrics, LogSettings, Mode, Pending, Recorded, Recovery};
pub use past::{Gap, Item, Past, PastCaller, PastGroup, PastVerdict, PastVerdicts};
pub use prune::{Announced, Prunable, Pruning, Retention, RetentionClass};
pub use queue::DecisionId;
pub use read::{Logged, Reader, newest};
pub use text_keys::{Said, TextKeyId, Texts};
pub use tile_name::TileName;
pub use tiles::{Checked, ProofError, Proved, Tiles, check_checkpoint, check_proof, is_key_of, verifier_key};
pub use verify::{Fault, Rotated, VerifyFailure, VerifyReport, verify, verify_against, verify_with};
pub use witness::{Offer, SIZE_TYPE, Unsigned, Witness, accepted, is_witness_key, keep_witnessed};
