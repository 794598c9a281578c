//! The ledger: opens the store, keeps the projection, answers reads from memory.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::model::{
    Capture, Category, Channel, ConsentRules, Department, EventId, Identifier, PartyFacts, PartyNo, Purpose, Revision, Segment, Vocabulary,
};

use super::error::{ConsentError, Unavailable};
use super::event::Event;
use super::health::{Health, lock};
use super::parties::Fact;
use super::profile::{Position, Profile};
use super::projection::{Party, Projection};
use super::status::{Effective, status};
use super::store::{Change, Head, SqliteStore, Store, StoreError};
use super::write::Writer;

/// Everything a decision needs of one customer, of one revision.
#[derive(Clone, Debug)]
pub struct Standing {
    pub party: PartyNo,
    /// The revision of this customer's last change; compare it before release.
    pub revision: Revision,
    pub profile: Arc<Profile>,
    pub facts: PartyFacts,
    pub(super) events: Arc<[EventId]>,
}

impl Standing {
    #[must_use]
    pub fn event_id(&self, position: Position) -> Option<&EventId> {
        self.events.get(usize::try_from(position.0).ok()?)
    }

    /// [`status`] with the events' ids.
    #[must_use]
    pub fn status(
        &self,
        vocabulary: &Vocabulary,
        rules: &ConsentRules,
        purpose: Purpose,
        category: Category,
        recipient: Department,
        channel: Channel,
    ) -> Effective {
        let found = status(&self.profile, vocabulary, rules, purpose, category, recipient, channel);
        found.resolve(|at| self.event_id(at).copied())
    }
}

/// The consent ledger. Shared in an `Arc`; every method takes `&self`.
pub struct Ledger {
    pub(super) store: Box<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    /// Which ledger the store held when it was opened.
    pub(super) store_id: String,
    pub(super) projection: RwLock<Projection>,
    pub(super) writer: Mutex<Writer>,
    pub(super) adopted: ArcSwapOption<Adopted>,
    pub(super) health: Health,
    pub(super) listener: RwLock<Option<ChangeListener>>,
}

/// Called with each change, in order, once it is stored; must not write to the ledger itself.
pub type ChangeListener = Box<dyn Fn(&Change) + Send + Sync>;

/// What the loaded policies say about consent.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) vocabulary: Arc<Vocabulary>,
    pub(super) rules: Arc<ConsentRules>,
    pub(super) captures: Vec<Capture>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("store", &self.store).field("revision", &self.revision()).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens or creates the SQLite ledger at `path`, for this process alone, and reads it in full.
    ///
    /// # Errors
    /// When the database cannot be opened or read.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, ConsentError> {
        Self::open_with(Box::new(SqliteStore::open(path)?.alone()?), clock)
    }

    /// The same over another store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open_with(store: Box<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, ConsentError> {
        let (projection, head) = read(&*store, DEFAULT_SKEW)?;
        let ledger = Self {
            store,
            store_id: head.id,
            projection: RwLock::new(projection),
            writer: Mutex::new(Writer::after(head.revision)),
            adopted: ArcSwapOption::empty(),
            health: Health::good_at(clock.monotonic()),
            listener: RwLock::new(None),
            clock,
        };
        // What ran out while nobody looked.
        ledger.tick(ledger.clock.now())?;
        Ok(ledger)
    }

    /// Takes over what the loaded policies say about consent; at start and on every reload. Until then nothing is answered.
    pub fn adopt(&self, vocabulary: Arc<Vocabulary>, rules: ConsentRules, captures: Vec<Capture>) {
        let _one_writer = lock(&self.writer);
        self.writing().set_skew(SignedDuration::from_secs(i64::from(rules.clock_skew_s)));
        self.adopted.store(Some(Arc::new(Adopted { vocabulary, rules: Arc::new(rules), captures })));
    }

    /// The adopted rules.
    ///
    /// # Errors
    /// Before [`Self::adopt`].
    pub fn rules(&self) -> Result<Arc<ConsentRules>, Unavailable> {
        Ok(Arc::clone(&self.adopted()?.rules))
    }

    /// Everything a decision needs of the customer with this id; `None` when the crosswalk does not know it.
    ///
    /// # Errors
    /// When the store is away: what memory holds may no longer be true.
    pub fn standing(&self, id: &Identifier) -> Result<Option<Standing>, Unavailable> {
        self.healthy()?;
        let segment = self.default_segment()?;
        let projection = self.reading();
        Ok(projection.resolve(id).and_then(|no| projection.party(no)).map(|party| standing_of(party, segment)))
    }

    /// The same by number.
    ///
    /// # Errors
    /// As [`Self::standing`].
    pub fn standing_of(&self, party: PartyNo) -> Result<Option<Standing>, Unavailable> {
        self.healthy()?;
        let segment = self.default_segment()?;
        Ok(self.reading().party(party).map(|party| standing_of(party, segment)))
    }

    /// The revision of the customer's last change: cheap, compared before each release. For an id that was unknown, ask
    /// [`Self::standing`] again instead.
    #[must_use]
    pub fn party_revision(&self, party: PartyNo) -> Option<Revision> {
        self.reading().party(party).map(|party| party.revision)
    }

    /// The ledger's revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.reading().revision
    }

    /// How many customers the ledger knows.
    #[must_use]
    pub fn party_count(&self) -> u64 {
        self.reading().party_count()
    }

    /// Whether the store is there; asked of it at most once a second.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn healthy(&self) -> Result<(), Unavailable> {
        self.health.check(self.clock.monotonic(), || self.store.probe())
    }

    /// When the next consent runs out.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.reading().next_due()
    }

    /// Changes that the decision log does not have yet.
    ///
    /// # Errors
    /// When the store is away.
    pub fn pending_changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, Unavailable> {
        Ok(self.store.pending_changes(after, limit)?)
    }

    /// Notes that the decision log holds all changes up to and with this revision.
    ///
    /// # Errors
    /// When the store is away; the changes are then offered again.
    pub fn mark_logged(&self, up_to: Revision) -> Result<(), Unavailable> {
        Ok(self.store.mark_logged(up_to)?)
    }

    /// Every change after a revision, for feeds and webhooks.
    ///
    /// # Errors
    /// When the store is away.
    pub fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, Unavailable> {
        Ok(self.store.changes(after, limit)?)
    }

    /// One event as stored, with the customer whose it is now.
    ///
    /// # Errors
    /// [`ConsentError::NotFound`]; when the store is away.
    pub fn event(&self, id: EventId) -> Result<(Event, Option<PartyNo>), ConsentError> {
        let event = self.store.event(id)?.ok_or(ConsentError::NotFound)?;
        let party = self.reading().resolve(&event.identifier);
        Ok((event, party))
    }

    /// What is kept beside the events, e.g. webhooks: the documents of a kind, by key.
    ///
    /// # Errors
    /// When the store is away.
    pub fn documents(&self, kind: &str) -> Result<Vec<(String, String)>, Unavailable> {
        Ok(self.store.documents(kind)?)
    }

    /// Puts a document, or removes it; durable on return.
    ///
    /// # Errors
    /// When the store is away.
    pub fn put_document(&self, kind: &str, key: &str, body: Option<&str>) -> Result<(), Unavailable> {
        Ok(self.store.put_document(kind, key, body)?)
    }

    /// Sets who is told of each stored change.
    pub fn set_change_listener(&self, listener: ChangeListener) {
        *self.listener.write().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }

    pub(super) fn reading(&self) -> RwLockReadGuard<'_, Projection> {
        self.projection.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn writing(&self) -> RwLockWriteGuard<'_, Projection> {
        self.projection.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn adopted(&self) -> Result<Arc<Adopted>, Unavailable> {
        self.adopted.load_full().ok_or_else(|| Unavailable("no policies are loaded yet".to_owned()))
    }

    fn default_segment(&self) -> Result<Segment, Unavailable> {
        let adopted = self.adopted.load();
        adopted.as_ref().map(|a| a.rules.default_segment).ok_or_else(|| Unavailable("no policies are loaded yet".to_owned()))
    }
}

pub(super) fn standing_of(party: &Party, default_segment: Segment) -> Standing {
    Standing {
        party: party.no,
        revision: party.revision,
        profile: Arc::clone(&party.profile),
        facts: Fact::resolve(&party.facts, default_segment),
        events: Arc::clone(&party.events),
    }
}

/// The projection of all that the store holds.
pub(super) fn read(store: &dyn Store, skew: SignedDuration) -> Result<(Projection, Head), StoreError> {
    let mut projection = Projection::new(&store.head()?.key, skew);
    let mut failed = Ok(());
    let head = store.load(&mut |row| {
        if failed.is_ok() {
            failed = projection.take(row);
        }
    })?;
    failed?;
    projection.revision = head.revision;
    projection.reproject_all();
    Ok((projection, head))
}

/// Until policies are adopted; nothing is answered before.
const DEFAULT_SKEW: SignedDuration = SignedDuration::from_secs(60);
