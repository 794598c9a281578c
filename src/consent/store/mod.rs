//! Where the ledger is kept. A trait, because PostgreSQL is to stand beside SQLite, and because tests need one that fails.
//! The store is dumb: it keeps rows and commits batches as one transaction; all meaning is derived in memory.

mod sqlite;
mod wire;

#[cfg(test)]
pub(super) mod failing;

pub use sqlite::SqliteStore;
pub(super) use wire::fingerprint;

use std::fmt;

use jiff::Timestamp;

use crate::model::{Author, EventId, Identifier, PartyId, PartyNo, Purpose, Revision};

use super::event::{Assurance, Event, PartyKind};

/// A failure of the store. Carries no values, only what was attempted and the database's own code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("database: {0}")]
    Database(String),
    #[error("the database file was removed or replaced while in use")]
    Replaced,
    #[error("the database is damaged: {0}")]
    Damaged(String),
    #[error("another process uses the database; stop it first")]
    InUse,
    #[error("the database was written by a newer version ({0}); start that version")]
    Newer(i64),
}

/// One customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartyRow {
    pub no: PartyNo,
    pub id: PartyId,
    pub kind: PartyKind,
    /// Of the last change that touched the party.
    pub revision: Revision,
}

/// One line of the crosswalk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRow {
    pub identifier: Identifier,
    pub party: PartyNo,
    pub assurance: Assurance,
    pub valid_from: Timestamp,
    pub valid_to: Option<Timestamp>,
    /// Who said so: `import`, `client:<name>`, `staff:<pseudonym>`, `upstream`.
    pub source: String,
    /// Grants recorded before it do not attach.
    pub revision: Revision,
}

/// One fact about a customer; the latest of a name holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactRow {
    pub party: PartyNo,
    pub name: FactName,
    pub value: String,
    pub source: String,
    pub time: Timestamp,
    pub revision: Revision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FactName {
    Stage,
    Segment,
    Age,
    LegalHold,
}

impl FactName {
    pub const ALL: [Self; 4] = [Self::Stage, Self::Segment, Self::Age, Self::LegalHold];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Segment => "segment",
            Self::Age => "age",
            Self::LegalHold => "legal_hold",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == text)
    }
}

/// What happened to whom, for the decision log and the change feed. No personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub revision: Revision,
    pub at: Timestamp,
    pub kind: ChangeKind,
    /// `None`: under an id that nobody is known by yet.
    pub party: Option<PartyNo>,
    pub event: Option<EventId>,
    pub purposes: Vec<Purpose>,
    /// The state, the stop's name, or empty.
    pub state: String,
    pub author: Option<Author>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    Consent,
    Stop,
    Lift,
    Expiry,
    Party,
    Link,
    Facts,
    Delegation,
    Occurrence,
    Merge,
    Split,
}

impl ChangeKind {
    pub const ALL: [Self; 11] = [
        Self::Consent,
        Self::Stop,
        Self::Lift,
        Self::Expiry,
        Self::Party,
        Self::Link,
        Self::Facts,
        Self::Delegation,
        Self::Occurrence,
        Self::Merge,
        Self::Split,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Stop => "stop",
            Self::Lift => "lift",
            Self::Expiry => "expiry",
            Self::Party => "party",
            Self::Link => "link",
            Self::Facts => "facts",
            Self::Delegation => "delegation",
            Self::Occurrence => "occurrence",
            Self::Merge => "merge",
            Self::Split => "split",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A keyed hash of an erased identifier.
pub type Tombstone = [u8; 32];

/// The first answer to an `Idempotency-Key`.
#[derive(Clone, PartialEq, Eq)]
pub struct Answered {
    pub caller: String,
    pub key: String,
    /// SHA-256 of what was asked.
    pub body: [u8; 32],
    pub event: EventId,
    pub party: Option<PartyNo>,
    pub revision: Revision,
    pub author: Author,
    pub at: Timestamp,
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered").field("caller", &self.caller).field("event", &self.event).finish_non_exhaustive()
    }
}

/// One transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub parties: Vec<PartyRow>,
    pub links: Vec<LinkRow>,
    pub facts: Vec<FactRow>,
    pub events: Vec<Event>,
    /// Expiries that have fired.
    pub lapsed: Vec<EventId>,
    pub tombstones: Vec<Tombstone>,
    /// Parties whose standing changed, with their new revision.
    pub touched: Vec<(PartyNo, Revision)>,
    pub changes: Vec<Change>,
    pub answered: Option<Answered>,
}

/// A row while everything is read at start.
#[derive(Debug)]
pub enum Loaded {
    Party(PartyRow),
    Link(LinkRow),
    Fact(FactRow),
    /// With whether its expiry has fired.
    Event(Box<Event>, bool),
    Tombstone(Tombstone),
}

/// What distinguishes one ledger from every other, and how far it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    pub id: String,
    pub revision: Revision,
    /// Key of the tombstones.
    pub key: [u8; 32],
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").field("id", &self.id).field("revision", &self.revision).finish_non_exhaustive()
    }
}

/// A place to keep the ledger. Every method may block; none is called on the request path but `probe`, once a second.
pub trait Store: fmt::Debug + Send + Sync {
    /// # Errors
    /// When the store cannot be read.
    fn head(&self) -> Result<Head, StoreError>;

    /// Hands over everything: parties before links and facts, events by revision. All of one snapshot.
    ///
    /// # Errors
    /// When the store cannot be read in full.
    fn load(&self, sink: &mut dyn FnMut(Loaded)) -> Result<Head, StoreError>;

    /// All or nothing, durable on return.
    ///
    /// # Errors
    /// When it is not known to be durable.
    fn commit(&self, batch: &Batch) -> Result<(), StoreError>;

    /// # Errors
    /// When the store cannot be read.
    fn answered(&self, caller: &str, key: &str, not_before: Timestamp) -> Result<Option<Answered>, StoreError>;

    /// Everything recorded under these identifiers, by revision.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn events(&self, identifiers: &[Identifier]) -> Result<Vec<Event>, StoreError>;

    /// Whether the batch with a change of this revision was committed.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn holds(&self, revision: Revision) -> Result<bool, StoreError>;

    /// One event.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn event(&self, id: EventId) -> Result<Option<Event>, StoreError>;

    /// Every change after a revision, by revision.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError>;

    /// What the console keeps beside the ledger (webhooks, notices): the documents of a kind, by key.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn documents(&self, kind: &str) -> Result<Vec<(String, String)>, StoreError>;

    /// Puts a document, or removes it; durable on return.
    ///
    /// # Errors
    /// When it is not known to be durable.
    fn put_document(&self, kind: &str, key: &str, body: Option<&str>) -> Result<(), StoreError>;

    /// Changes that the decision log does not have yet, after a revision.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn pending_changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError>;

    /// # Errors
    /// When the store cannot be written.
    fn mark_logged(&self, up_to: Revision) -> Result<(), StoreError>;

    /// Whether the store is there, is the same one, and can be written.
    ///
    /// # Errors
    /// What is wrong with it.
    fn probe(&self) -> Result<(), StoreError>;
}
