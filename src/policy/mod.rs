//! The policy decision point: the governed policy folder, loaded and judged strictly, and plain Cedar over the scope slice.
//!
//! A [`Policies`] is one immutable snapshot of a folder; whoever reloads builds another and swaps them. It never reads the
//! clock, the environment or a socket: the facts of a [`Question`] are all that a decision depends on.
//!
//! What Cedar itself leaves open is closed here (each has a test in `tests.rs`):
//! - Cedar skips a policy that errors, so that an erring `forbid` would vanish: any error denies ([`Decided::errors`]).
//! - `in` is false for a purpose that the catalogue lacks, so that a `forbid` about it would not strike: every name of a
//!   question is looked up in the vocabulary before anything is evaluated.
//! - Strict validation accepts a misspelt entity of an open type: `load` looks up every entity that a policy names.
//!
//! A `permit` that never looks at the purpose is accepted only beside a `forbid` that stands above everybody and compares
//! `context.purpose` with `principal.registered_purposes` (shipped: `purpose-is-registered`); without it, it is a mistake.
//!
//! Language: <https://docs.cedarpolicy.com/>, Cedar 4.14.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{
    Action, Activity, Caller, Capture, Category, ConsentRules, Department, Environment, Findings, LawfulBasis, PolicyName, Purpose, Question,
    Vocabulary,
};

pub mod cases;
mod explain;

pub use explain::{Change, Explanation, ForbidTrace, PermitTrace};

/// One loaded, validated policy folder.
#[derive(Debug)]
pub struct Policies {
    id: String,
    vocabulary: Arc<Vocabulary>,
    activities: Vec<Activity>,
    captures: Vec<Capture>,
    consent_rules: ConsentRules,
    infos: Vec<PolicyInfo>,
}

/// A policy as people speak of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyInfo {
    pub name: PolicyName,
    pub effect: Effect,
    /// `@description`; empty when there is none.
    pub description: String,
    pub file: PathBuf,
    /// Line of the statement's first annotation, counted from 1.
    pub line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    Permit,
    Forbid,
}

/// What a folder holds, for `consentry policy check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub id: String,
    pub files: usize,
    pub permits: usize,
    pub forbids: usize,
    pub purposes: usize,
    pub categories: usize,
    pub departments: usize,
    pub clients: usize,
    pub activities: usize,
}

/// The answer to one question. Only [`Policies::decide`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    allow: bool,
    policies: Vec<PolicyName>,
    errors: Vec<PolicyName>,
}

impl Decided {
    #[must_use]
    pub fn allow(&self) -> bool {
        self.allow
    }

    /// The policies that determined the answer, sorted: those that permit, or those that forbid; empty when nothing permits.
    #[must_use]
    pub fn policies(&self) -> &[PolicyName] {
        &self.policies
    }

    /// The policies that erred, sorted. Never empty when something went wrong: a question that could not be asked at all
    /// carries one of the reserved names `consentry-unknown-name` and `consentry-no-request`.
    #[must_use]
    pub fn errors(&self) -> &[PolicyName] {
        &self.errors
    }
}

/// Reads and judges a policy folder without keeping it.
///
/// # Errors
/// Every mistake of the folder.
pub fn check(dir: &Path) -> Result<Summary, Findings> {
    Policies::load(dir).map(|policies| policies.summary())
}

impl Policies {
    /// Reads a policy folder.
    ///
    /// # Errors
    /// Every mistake of every file, warnings included.
    pub fn load(_dir: &Path) -> Result<Self, Findings> {
        Err(Findings::default())
    }

    /// SHA-256, in hex, over the name and the bytes of every governed file.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            id: self.id.clone(),
            files: 0,
            permits: 0,
            forbids: 0,
            purposes: 0,
            categories: 0,
            departments: 0,
            clients: 0,
            activities: self.activities.len(),
        }
    }

    #[must_use]
    pub fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    /// The one active activity for this use. A purpose is meant exactly: an activity says nothing about what stands below it.
    #[must_use]
    pub fn activity(&self, _department: Department, _purpose: Purpose, _category: Category) -> Option<&Activity> {
        None
    }

    /// The active activities.
    #[must_use]
    pub fn activities(&self) -> &[Activity] {
        &self.activities
    }

    #[must_use]
    pub fn captures(&self) -> &[Capture] {
        &self.captures
    }

    #[must_use]
    pub fn consent_rules(&self) -> &ConsentRules {
        &self.consent_rules
    }

    /// Every policy and template link, in the order of the files.
    #[must_use]
    pub fn policies(&self) -> &[PolicyInfo] {
        &self.infos
    }

    /// File and line of a policy or template link.
    #[must_use]
    pub fn place(&self, name: PolicyName) -> Option<(&Path, usize)> {
        self.infos.iter().find(|info| info.name == name).map(|info| (info.file.as_path(), info.line))
    }

    /// Puts one question to the policies. Anything unknown or erring is a deny.
    #[must_use]
    pub fn decide(&self, _question: &Question<'_>) -> Decided {
        Decided { allow: false, policies: Vec::new(), errors: Vec::new() }
    }

    /// Whether any consent, stage, segment, age and hold of any customer could open this category for this use. Looks at
    /// no customer, so that the answer may be told to the caller.
    #[must_use]
    pub fn could_permit(&self, _use_of: &Use<'_>) -> bool {
        false
    }

    /// Why a question is answered as it is, and which single changes would open it.
    #[must_use]
    pub fn explain(&self, _question: &Question<'_>) -> Explanation {
        Explanation { decided: self.decide(_question), permits: Vec::new(), forbids: Vec::new(), changes: Vec::new() }
    }
}

/// A use of a category before any customer is known: what [`Policies::could_permit`] asks about.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    pub caller: &'a Caller,
    pub action: Action,
    pub category: Category,
    pub purpose: Purpose,
    /// Of the activity; [`LawfulBasis::None`] when there is none.
    pub basis: LawfulBasis,
    pub environment: Environment,
    pub gpc: bool,
    /// Row ceiling; only for [`Action::Export`].
    pub records: Option<u32>,
    pub now: Timestamp,
}
