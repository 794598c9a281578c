//! Why a question was answered as it was, condition by condition, and what would change the answer.

use std::fmt;

use crate::model::{Age, ConsentStatus, PolicyName, Role, Segment, Stage};

use super::Decided;

/// Every policy whose scope holds the question, with the condition that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub decided: Decided,
    pub permits: Vec<PermitTrace>,
    /// The forbids that struck.
    pub forbids: Vec<ForbidTrace>,
    /// Single changes that would open it, the likeliest first; empty when it is open, or no single change would.
    pub changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermitTrace {
    pub name: PolicyName,
    /// The first condition that failed, with what was found: ``consent status is `withdrawn`, needs `given` ``. `None`: it permits.
    pub failed: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForbidTrace {
    pub name: PolicyName,
    /// What it would have needed, when it names an exception.
    pub missing: Option<String>,
}

/// One fact that, were it so, would open the category. The lawful basis is none: it belongs to the activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Consent { status: ConsentStatus, explicit: bool },
    EmployeeRole(Role),
    Stage(Stage),
    Segment(Segment),
    Age(Age),
    NoLegalHold,
    NoPrivacySignal,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consent { status, explicit: true } => write!(f, "consent is `{status}`, explicitly"),
            Self::Consent { status, explicit: false } => write!(f, "consent is `{status}`"),
            Self::EmployeeRole(role) => write!(f, "the call is made for an employee with role `{role}`"),
            Self::Stage(stage) => write!(f, "the customer's stage is `{stage}`"),
            Self::Segment(segment) => write!(f, "the customer's segment is `{segment}`"),
            Self::Age(age) => write!(f, "the customer's age is `{age}`"),
            Self::NoLegalHold => f.write_str("the legal hold is lifted"),
            Self::NoPrivacySignal => f.write_str("the request carries no Global Privacy Control signal"),
        }
    }
}
