//! The ledger: opens the store, keeps the projection, answers reads from memory.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::model::{
    Capture, Category, Channel, ConsentRules, Department, EventId, Identifier, PartyFacts, PartyNo, Purpose, Revision, Segment, Vocabulary,
};

use super::break_glass::Grants;
use super::commit::Writer;
use super::dossier::Settings;
use super::error::{ConsentError, Unavailable};
use super::event::Event;
use super::gaps::Gaps;
use super::health::{Health, lock};
use super::notices;
use super::profile::{Position, Profile};
use super::projection::{Projection, Seen};
use super::rows::EventList;
use super::snapshot::{self, Kept};
use super::status::{Effective, status};
use super::store::{Change, Head, SqliteStore, Store, StoreError};

/// Everything a decision needs of one customer, of one revision.
#[derive(Clone, Debug)]
pub struct Standing {
    pub party: PartyNo,
    /// The revision of this customer's last change; compare it before release.
    pub revision: Revision,
    pub profile: Arc<Profile>,
    pub facts: PartyFacts,
    pub(super) events: EventList,
}

impl Standing {
    #[must_use]
    pub fn event_id(&self, position: Position) -> Option<EventId> {
        self.events.get(position)
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
        found.resolve(|at| self.event_id(at))
    }
}

/// The consent ledger. Shared in an `Arc`; every method takes `&self`.
pub struct Ledger {
    pub(super) store: Box<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    /// What distinguishes the store's ledger from every other.
    pub(super) head: Head,
    /// Where the projection is kept for a quick start.
    pub(super) snapshot: Option<PathBuf>,
    pub(super) projection: RwLock<Projection>,
    pub(super) writer: Mutex<Writer>,
    pub(super) adopted: ArcSwapOption<Adopted>,
    pub(super) health: Health,
    pub(super) listener: RwLock<Option<ChangeListener>>,
    pub(super) gaps: Gaps,
    pub(super) kept: Mutex<Kept>,
    pub(super) grants: Grants,
    /// The decision log has every change up to this revision.
    pub(super) logged: AtomicU64,
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
    /// Opens or creates the SQLite ledger at `path`, for this process alone, and reads it: from the snapshot beside it and what
    /// was recorded since, or in full.
    ///
    /// # Errors
    /// When the database cannot be opened or read.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, ConsentError> {
        let mut snapshot = path.to_owned().into_os_string();
        snapshot.push(".snapshot");
        Self::open_with(Box::new(SqliteStore::open(path)?.alone()?), clock, Some(snapshot.into()))
    }

    /// The same over another store; without a place for a snapshot every start reads everything.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open_with(store: Box<dyn Store>, clock: Arc<dyn Clock>, snapshot: Option<PathBuf>) -> Result<Self, ConsentError> {
        let head = store.head()?;
        let settings = Settings { skew: DEFAULT_SKEW, superseded: HashSet::new() };
        let start = clock.monotonic();
        let restored = snapshot.as_deref().and_then(|path| snapshot::read(path, &head, &settings));
        let (projection, from) = read(&*store, restored.unwrap_or_else(|| Projection::new(&head.key, settings)), clock.now())?;
        if let (Some(path), None) = (&snapshot, from) {
            snapshot::discard(path).map_err(|error| Unavailable(format!("its old snapshot cannot be removed: {}", error.kind())))?;
        }
        let (customers, revision) = (projection.party_count(), projection.revision.0);
        let took_ms = clock.monotonic().saturating_sub(start).as_millis();
        match from {
            Some(Revision(from)) => tracing::info!(customers, revision, from, took_ms, "the consent store was read from its snapshot"),
            None => tracing::info!(customers, revision, took_ms, "the consent store was read in full"),
        }
        let kept = Kept::of(from);
        let (grants, logged) = (Grants::of(&store.documents(Grants::KIND)?), store.logged()?);
        let ledger = Self {
            store,
            writer: Mutex::new(Writer::after(head.revision)),
            head,
            snapshot,
            projection: RwLock::new(projection),
            adopted: ArcSwapOption::empty(),
            health: Health::good_at(clock.monotonic()),
            listener: RwLock::new(None),
            gaps: Gaps::default(),
            kept: Mutex::new(kept),
            grants,
            logged: AtomicU64::new(logged.0),
            clock,
        };
        // What ran out while nobody looked.
        ledger.tick(ledger.clock.now())?;
        Ok(ledger)
    }

    /// Takes over what the loaded policies say about consent; at start and on every reload. Until then nothing is answered.
    /// Another clock skew changes which grants reach over which stops: then every customer is read anew, which takes its time.
    ///
    /// # Errors
    /// When the store is away and every customer would have to be read anew.
    pub fn adopt(&self, vocabulary: Arc<Vocabulary>, rules: ConsentRules, captures: Vec<Capture>) -> Result<(), Unavailable> {
        let _one_writer = lock(&self.writer);
        let skew = SignedDuration::from_secs(i64::from(rules.clock_skew_s));
        let current = self.reading().settings.clone();
        if current.skew != skew {
            let anew = Projection::new(&self.head.key, Settings { skew, ..current });
            let (mut anew, _) = read(&*self.store, anew, self.clock.now())?;
            // Whoever compares revisions must see that something may have changed.
            anew.notices = anew.revision;
            *self.writing() = anew;
        }
        self.adopted.store(Some(Arc::new(Adopted { vocabulary, rules: Arc::new(rules), captures })));
        Ok(())
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
        let found = projection.resolve(id).and_then(|no| Some((no, projection.seen(no)?)));
        if found.is_none() {
            self.gaps.note(id);
        }
        Ok(found.map(|(no, seen)| standing_of(no, &seen, segment)))
    }

    /// The same by number.
    ///
    /// # Errors
    /// As [`Self::standing`].
    pub fn standing_of(&self, party: PartyNo) -> Result<Option<Standing>, Unavailable> {
        self.healthy()?;
        let segment = self.default_segment()?;
        Ok(self.reading().seen(party).map(|seen| standing_of(party, &seen, segment)))
    }

    /// Whether each id still leads to that customer at that revision (`None`: to nobody), all at one moment.
    ///
    /// # Errors
    /// When the store is away.
    pub fn still_says<'i>(&self, known: impl IntoIterator<Item = (&'i Identifier, Option<(PartyNo, Revision)>)>) -> Result<bool, Unavailable> {
        self.healthy()?;
        let projection = self.reading();
        let now = |id| projection.resolve(id).and_then(|no| Some((no, projection.seen(no)?.revision)));
        Ok(known.into_iter().all(|(id, known)| now(id) == known))
    }

    /// The revision of the customer's last change: cheap, compared before each release. For an id that was unknown, ask
    /// [`Self::standing`] again instead.
    #[must_use]
    pub fn party_revision(&self, party: PartyNo) -> Option<Revision> {
        self.reading().seen(party).map(|seen| seen.revision)
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

    /// When something runs out next.
    ///
    /// # Errors
    /// When the store is away.
    pub fn next_due(&self) -> Result<Option<Timestamp>, Unavailable> {
        Ok(self.store.next_due()?)
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
        self.store.mark_logged(up_to)?;
        self.logged.fetch_max(up_to.0, Ordering::AcqRel);
        Ok(())
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

    /// Which ledger this is: made with its database, letters and digits only.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.head.id
    }

    /// The public id of a customer.
    #[must_use]
    pub fn party_id(&self, party: PartyNo) -> crate::model::PartyId {
        self.reading().party_id(party)
    }

    /// What is kept beside the events, e.g. webhooks: the documents of a kind, by key.
    ///
    /// # Errors
    /// When the store is away.
    pub fn documents(&self, kind: &str) -> Result<Vec<(String, String)>, Unavailable> {
        Ok(self.store.documents(kind)?)
    }

    /// Sets who is told of each stored change.
    pub fn set_change_listener(&self, listener: ChangeListener) {
        *self.listener.write().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }

    /// Keeps the projection for a quick start; reads and writes go on meanwhile. Nothing is done where there is no place for it.
    ///
    /// # Errors
    /// When the file cannot be written; the one before stays.
    pub fn write_snapshot(&self) -> Result<(), ConsentError> {
        let Some(path) = &self.snapshot else { return Ok(()) };
        let start = self.clock.monotonic();
        let written = snapshot::write(path, self).map_err(|error| {
            let error = Unavailable(format!("its snapshot cannot be written: {}", error.kind()));
            lock(&self.kept).failed = Some(error.clone());
            error
        })?;
        if let Some(Revision(revision)) = written {
            let took_ms = self.clock.monotonic().saturating_sub(start).as_millis();
            tracing::info!(customers = self.party_count(), revision, took_ms, "the consent store's snapshot was written");
        }
        Ok(())
    }

    /// The revision up to which a start would read the snapshot; 0 when there is none.
    #[must_use]
    pub fn snapshot_revision(&self) -> Revision {
        lock(&self.kept).revision.unwrap_or(Revision(0))
    }

    /// Why there is no newer snapshot, if the last one could not be written. Nothing but the next start suffers from it.
    #[must_use]
    pub fn snapshot_failed(&self) -> Option<Unavailable> {
        lock(&self.kept).failed.clone()
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

pub(super) fn standing_of(no: PartyNo, seen: &Seen<'_>, default_segment: Segment) -> Standing {
    Standing {
        party: no,
        revision: seen.revision,
        profile: Arc::clone(seen.profile),
        facts: seen.about.facts().resolve(default_segment),
        events: seen.events(),
    }
}

/// Brings a projection, new or from a snapshot, up to what the store holds; with the revision from which on it was read, if
/// the snapshot could be used.
pub(super) fn read(store: &dyn Store, mut projection: Projection, now: Timestamp) -> Result<(Projection, Option<Revision>), StoreError> {
    let registers = store.registers(projection.revision)?;
    if registers.erased_since && projection.revision > Revision(0) {
        // It holds ids that are to be forgotten.
        projection = Projection::new(&store.head()?.key, projection.settings);
    }
    let after = projection.revision;
    let register = notices::read(store)?;
    let (superseded, since) = notices::superseded(&register, now);
    projection.supersede(superseded, since);
    projection.register = register.into();
    projection.set_registers(registers);
    store.dossiers(after, &mut |dossier| {
        projection.put(&dossier);
        Ok(())
    })?;
    projection.revision = store.head()?.revision;
    Ok((projection, (after > Revision(0)).then_some(after)))
}

/// Until policies are adopted; nothing is answered before.
const DEFAULT_SKEW: SignedDuration = SignedDuration::from_secs(60);
