//! Where the ledger is kept. A trait, because PostgreSQL is to stand beside SQLite, and because tests need one that fails.
//! The store is dumb: it keeps rows and commits batches as one transaction; all meaning is derived in memory.

mod read;
mod schema;
mod sqlite;
mod wire;
mod write;

#[cfg(test)]
pub(super) mod failing;

pub use sqlite::SqliteStore;
pub use wire::{Saying, Written};

use std::fmt;

use jiff::Timestamp;

use crate::model::{Author, EventId, Identifier, PartyNo, Purpose, Revision, Space};

use super::event::{Assurance, Event, PartyKind};
use super::record::Record;

/// A failure of the store. Carries no values, only what was attempted and the database's own code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("database: {0}")]
    Database(String),
    #[error("the database file was removed or replaced while in use")]
    Replaced,
    #[error("the database is damaged: {0}")]
    Damaged(String),
    #[error("another process holds its lock; end that process")]
    Locked,
    #[error("another process uses the database; stop it first")]
    InUse,
    #[error("the database was written by another version ({0}); start that version")]
    OtherVersion(i64),
}

/// One customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartyRow {
    pub no: PartyNo,
    pub kind: PartyKind,
    /// Of the last change that touched the customer.
    pub revision: Revision,
    /// Another customer's record has taken this one in.
    pub merged_into: Option<PartyNo>,
    pub is_erased: bool,
}

/// One line of the crosswalk: an id belonged to a customer from one revision to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRow {
    /// Its value is empty once the customer was erased.
    pub identifier: Identifier,
    pub party: PartyNo,
    /// The customer whose it was before customers were merged; else the same.
    pub group: PartyNo,
    pub assurance: Assurance,
    /// Grants recorded up to here do not attach: whose the id was then is not known.
    pub grants_after: Revision,
    /// Who said so: `import`, `client:<name>`, `staff:<pseudonym>`, `upstream`.
    pub source: String,
    pub from: Revision,
    pub from_time: Timestamp,
    /// When the link ended: at a merge, a split, an erasure.
    pub to: Option<(Revision, Timestamp)>,
}

/// The end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlink {
    /// The number under which the store keeps the id.
    pub ident: u64,
    pub party: PartyNo,
    pub revision: Revision,
    pub time: Timestamp,
}

/// Two customers turned out to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeRow {
    pub revision: Revision,
    pub into: PartyNo,
    pub from: PartyNo,
    /// Since when it is known: statements after it speak for the whole customer.
    pub time: Timestamp,
    pub reason: String,
    pub source: String,
    /// The split that took it back.
    pub undone: Option<Revision>,
}

/// One fact about a customer; the latest of a name holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactRow {
    pub party: PartyNo,
    pub name: FactName,
    pub value: String,
    pub source: String,
    /// Since when it is so.
    pub time: Timestamp,
    pub revision: Revision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FactName {
    Stage,
    Segment,
    Age,
    /// The day on which a minor comes of age.
    AdultFrom,
    LegalHold,
    /// What the customer is, where that was not so from the beginning.
    Kind,
}

impl FactName {
    pub const ALL: [Self; 6] = [Self::Stage, Self::Segment, Self::Age, Self::AdultFrom, Self::LegalHold, Self::Kind];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Segment => "segment",
            Self::Age => "age",
            Self::AdultFrom => "adult_from",
            Self::LegalHold => "legal_hold",
            Self::Kind => "kind",
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
    /// The state, the stop's name, the step, or empty.
    pub state: String,
    pub author: Option<Author>,
}

crate::model::closed! {
    ChangeKind {
        Consent = "consent",
        Stop = "stop",
        Lift = "lift",
        Expiry = "expiry",
        /// A grant with a limited number of uses was relied on for the last time.
        UsedUp = "used-up",
        Delegation = "delegation",
        Occurrence = "occurrence",
        Party = "party",
        Link = "link",
        Facts = "facts",
        /// A customer became one of another kind; an organisation's records need no consent.
        Kind = "kind",
        Merge = "merge",
        Split = "split",
        Erasure = "erasure",
        Notice = "notice",
        /// A step about a break-glass grant ([`super::Stepped`]).
        BreakGlass = "break-glass",
    }
}

/// A keyed hash of an erased identifier, and whose it was: what the law still asks for can be found by it, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub hash: [u8; 32],
    pub party: Option<PartyNo>,
}

/// The first answer to an `Idempotency-Key`.
#[derive(Clone, PartialEq, Eq)]
pub struct Answered {
    pub caller: String,
    pub key: String,
    /// SHA-256 of what was asked.
    pub body: [u8; 32],
    pub done: Done,
}

/// What was done under an `Idempotency-Key`: whence its answer can be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub event: Option<EventId>,
    pub party: Option<PartyNo>,
    pub revision: Revision,
    pub author: Option<Author>,
    /// What else the answer says, as JSON; never an id of a customer.
    pub detail: Option<String>,
    pub at: Timestamp,
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered").field("caller", &self.caller).field("done", &self.done).finish_non_exhaustive()
    }
}

/// A document kept beside the events (webhooks, notices, progress of imports); no body: it is removed.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    pub kind: &'static str,
    pub key: String,
    pub body: Option<String>,
}

impl fmt::Debug for Document {
    /// A body may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("kind", &self.kind).field("key", &self.key).finish_non_exhaustive()
    }
}

/// One transaction; taken in the order of the fields.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub parties: Vec<PartyRow>,
    pub unlinks: Vec<Unlink>,
    pub links: Vec<LinkRow>,
    /// Links of ids that the store has, by its number for them: an erased one has no value any more, and stops under it bind on.
    pub moved: Vec<(u64, LinkRow)>,
    pub facts: Vec<FactRow>,
    pub events: Vec<Written>,
    /// What has run out.
    pub fired: Vec<EventId>,
    /// Grants with a limited number of uses: one use more each.
    pub used: Vec<EventId>,
    pub merges: Vec<MergeRow>,
    /// Merges that are taken back, and by which revision.
    pub splits: Vec<(Revision, Revision)>,
    /// Their ids and facts go.
    pub erased: Vec<(PartyNo, Revision)>,
    /// Ids whose value goes, and whose they were.
    pub forgotten: Vec<(Identifier, Option<PartyNo>)>,
    pub tombstones: Vec<Tombstone>,
    /// Customers whose standing changed, with their new revision.
    pub touched: Vec<(PartyNo, Revision)>,
    pub changes: Vec<Change>,
    pub answered: Vec<Answered>,
    pub documents: Vec<Document>,
}

/// All that is stored about one customer, ended links and undone merges included.
#[derive(Clone, Debug)]
pub struct Dossier {
    pub party: PartyRow,
    /// With the number under which the store keeps the id.
    pub links: Vec<(u64, LinkRow)>,
    pub facts: Vec<FactRow>,
    /// Merges among the groups of the links.
    pub merges: Vec<MergeRow>,
    /// With the number of the id under which it was given.
    pub(in crate::consent) records: Vec<(u64, Record)>,
}

impl Dossier {
    /// A dossier without merges, from events as a store returns them; with each event the number of its id.
    #[must_use]
    pub fn new(party: PartyRow, links: Vec<(u64, LinkRow)>, facts: Vec<FactRow>, events: &[(u64, Event)]) -> Self {
        let records = events.iter().map(|(ident, event)| (*ident, Record::of(event, false, 0))).collect();
        Self { party, links, facts, merges: Vec::new(), records }
    }
}

/// What the projection holds besides customers; small.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    /// Ids that are only matched, with the customers to whom they carry stops.
    pub matched: Vec<(Identifier, PartyNo)>,
    pub merged: Vec<(PartyNo, PartyNo)>,
    pub tombstones: Vec<Tombstone>,
    /// Whether anybody was erased after the revision that was asked for.
    pub erased_since: bool,
}

/// What distinguishes one ledger from every other, and how far it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    pub id: String,
    pub revision: Revision,
    /// Whence the keys of tombstones, public ids and the crosswalk are derived.
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

    /// Every customer whose standing changed after a revision, by number; all of them for 0.
    ///
    /// # Errors
    /// When the store cannot be read in full, or what the sink returns.
    fn dossiers(&self, after: Revision, sink: &mut dyn FnMut(Dossier) -> Result<(), StoreError>) -> Result<(), StoreError>;

    /// # Errors
    /// When the store cannot be read.
    fn registers(&self, erased_after: Revision) -> Result<Registers, StoreError>;

    /// Each of these customers whom it has.
    ///
    /// # Errors
    /// When the store cannot be read in full, or what the sink returns.
    fn dossiers_of(&self, parties: &[PartyNo], sink: &mut dyn FnMut(Dossier) -> Result<(), StoreError>) -> Result<(), StoreError>;

    /// # Errors
    /// When the store cannot be read.
    fn dossier(&self, party: PartyNo) -> Result<Option<Dossier>, StoreError> {
        let mut found = None;
        self.dossiers_of(&[party], &mut |dossier| {
            found = Some(dossier);
            Ok(())
        })?;
        Ok(found)
    }

    /// Whose an id is and was, with the number under which it is kept.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn links_of(&self, identifier: &Identifier) -> Result<Vec<(u64, LinkRow)>, StoreError>;

    /// Into whom a customer had been merged when this was the last revision.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn merged_into(&self, party: PartyNo, known: Revision) -> Result<Option<PartyNo>, StoreError>;

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

    /// One event.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn event(&self, id: EventId) -> Result<Option<Event>, StoreError>;

    /// For each event, one that is stored and says the same: same id, form, times, limits and evidence. One without event time
    /// only if nothing was recorded under the id since, for it counts when it is recorded.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn known(&self, events: &[&Written]) -> Result<Vec<Option<EventId>>, StoreError>;

    /// What is due by then and has not fired, with the id under which it is kept; the earliest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn due(&self, by: Timestamp, limit: usize) -> Result<Vec<(EventId, Identifier)>, StoreError>;

    /// When something runs out next.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Minors who have come of age by then.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn of_age(&self, by: Timestamp, limit: usize) -> Result<Vec<PartyNo>, StoreError>;

    /// The last revision that was recorded by then.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn revision_at(&self, time: Timestamp) -> Result<Revision, StoreError>;

    /// Ids under which something was said and that are nobody's, by space.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn unlinked(&self) -> Result<Vec<(Space, u64)>, StoreError>;

    /// Whether the batch with a change of this revision was committed.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn holds(&self, revision: Revision) -> Result<bool, StoreError>;

    /// Every change after a revision, by revision.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError>;

    /// Changes that the decision log does not have yet, after a revision.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn pending_changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError>;

    /// Up to which change the decision log has every one.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn logged(&self) -> Result<Revision, StoreError>;

    /// The decision log has every change up to this one.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn mark_logged(&self, up_to: Revision) -> Result<(), StoreError>;

    /// What is kept beside the ledger (webhooks, notices): the documents of a kind, by key.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn documents(&self, kind: &str) -> Result<Vec<(String, String)>, StoreError>;

    /// Whether the store is there, is the same one, and can be written.
    ///
    /// # Errors
    /// What is wrong with it.
    fn probe(&self) -> Result<(), StoreError>;
}
