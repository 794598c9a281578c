//! What can go wrong in the ledger. Messages name kinds and fields, never a customer's identifier.

use crate::model::EventId;

use super::store::StoreError;

/// The store cannot be reached, or what it holds is not what this process read from it. Nothing may be released on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the consent store is away ({0}); restore it, the gateway tries again each second")]
pub struct Unavailable(pub String);

impl From<StoreError> for Unavailable {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

/// Why a write or an administrative read was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsentError {
    /// Nothing was changed.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The stop binds from now on but would not survive a restart yet.
    #[error("the stop is in force but not stored yet; repeat the request with the same `Idempotency-Key`")]
    AppliedNotStored { event: EventId },
    #[error("{0}")]
    Invalid(String),
    #[error("no customer is known under this id; link or import it first")]
    NotFound,
    #[error("no such stop; list the stops of this customer with `consentry consent history`")]
    NoSuchStop,
    /// The person was erased: nothing is created, linked or granted under the id again.
    #[error("this id belongs to an erased person and is not taken in again")]
    Erased,
    #[error("the id already belongs to another customer; nothing was changed")]
    LinkedElsewhere,
    #[error("this `Idempotency-Key` was used with another body; use a new key")]
    IdempotencyMismatch,
    #[error("another request with this `Idempotency-Key` has just done it; repeat the request to be told what it did")]
    DoneBefore,
    /// The customer's data is needed for a legal claim (Art. 17(3)(e)).
    #[error("a hold stands on this customer; release it with `consentry party release` before erasing")]
    Held,
    #[error("a grant of limited uses has none left; ask the customer again")]
    UsedUp,
    #[error("no such break-glass grant; list them with `consentry break-glass list`")]
    NoSuchGrant,
    /// Nothing is released on it any more, but a restart would bring it back.
    #[error("the grant is revoked but that is not stored yet; repeat the request with the same `Idempotency-Key`")]
    RevokedNotStored,
    #[error("{0}")]
    NotPermitted(&'static str),
}

impl From<StoreError> for ConsentError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.into())
    }
}
