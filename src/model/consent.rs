//! Governed rules about consent that the policy folder declares and the ledger obeys.

use std::collections::BTreeMap;

use super::name::{Client, Purpose};
use super::vocabulary::{Channel, Segment};

/// Who made the statement. Derived from the capture registration, never believed from the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Author {
    Customer,
    Guardian,
    Staff,
    /// Imports, defaults, inference, unregistered or unevidenced captures: can lower permission, never raise it.
    System,
}

impl Author {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Guardian => "guardian",
            Self::Staff => "staff",
            Self::System => "system",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Customer, Self::Guardian, Self::Staff, Self::System].into_iter().find(|a| a.as_str() == text)
    }
}

/// A `[[capture]]` registration: what an app may claim when it records consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    pub client: Client,
    pub channels: Vec<Channel>,
    /// With all that stands below them.
    pub purposes: Vec<Purpose>,
    pub authors: Vec<Author>,
    /// Kinds of evidence of which each event needs all, e.g. `form-hash`, `notice`.
    pub evidence: Vec<String>,
}

/// How conflicting events are decided; the name is written into every decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConflictRule {
    CustomerLastWord,
    MostRestrictive,
    /// As `customer-last-word/v1`, but what others noted yields to the customer's grant from a higher ranked system.
    SourcePriority,
}

impl ConflictRule {
    pub const ALL: [Self; 3] = [Self::CustomerLastWord, Self::MostRestrictive, Self::SourcePriority];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CustomerLastWord => "customer-last-word/v1",
            Self::MostRestrictive => "most-restrictive/v1",
            Self::SourcePriority => "source-priority/v1",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == text)
    }
}

/// `policies/consent.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentRules {
    pub rule: ConflictRule,
    /// Another rule for one purpose and what stands below it.
    pub rules: BTreeMap<Purpose, ConflictRule>,
    /// A grant must be later than another source's stop by more than this, seconds.
    pub clock_skew_s: u32,
    /// Systems, highest first, for `source-priority/v1`; one that is not listed ranks below all that are.
    pub sources: Vec<String>,
    /// With all that stands below them: here a grant counts only once the customer confirmed it.
    pub double_opt_in: Vec<Purpose>,
    pub default_segment: Segment,
}
