//! The customer: one party across systems.

use std::fmt;

use super::name::Space;
use super::vocabulary::{Age, Segment, Stage};

/// A customer's dense number: internal, in the decision log, never reissued. Fits 40 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartyNo(pub u64);

/// A customer's public, opaque id, e.g. `p_7q2m`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartyId(pub String);

impl fmt::Display for PartyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An id in one system, already matched against the space's grammar and normalised.
/// `Display` shows it (`salesforce:0035g00000Abc12AAB`) where its user typed it; `Debug` hides the value, so that no log
/// or panic message carries it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier {
    pub space: Space,
    pub value: String,
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.space, self.value)
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identifier({}:…)", self.space)
    }
}

/// The ledger's revision: increases with every change that was acknowledged. 0 = nothing ever happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A consent event's id: the revision of the ledger that it made, written `ev_42`. Never reissued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub u64);

impl EventId {
    /// Reads `ev_42`, in this one spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("ev_")?;
        let plain = !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse().ok().map(Self))?
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ev_{}", self.0)
    }
}

/// What policies see of a customer besides consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PartyFacts {
    pub stage: Stage,
    pub segment: Segment,
    pub age: Age,
    pub legal_hold: bool,
}

impl PartyFacts {
    /// The facts of a customer about whom nothing is known; the segment is governed configuration.
    #[must_use]
    pub const fn unknown(default_segment: Segment) -> Self {
        Self { stage: Stage::Anonymous, segment: default_segment, age: Age::Unknown, legal_hold: false }
    }
}
