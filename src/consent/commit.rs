//! What is written, as one transaction after another: stored, then taken into memory, then told. What the store could not take is
//! known to be in doubt: before the next write, what may have changed is read anew from it, and until then nothing is answered.

use std::collections::{BTreeSet, HashSet};
use std::sync::MutexGuard;

use crate::model::{Identifier, PartyNo, Revision};

use super::error::{ConsentError, Unavailable};
use super::event::Assurance;
use super::health::lock;
use super::ledger::Ledger;
use super::parties::link_row;
use super::store::{Batch, LinkRow, StoreError, Written};
use super::{notices, snapshot};

/// The one who writes.
#[derive(Debug)]
pub(super) struct Writer {
    /// The last revision that was handed out; one that failed is not handed out again.
    last: Revision,
    /// The last revision that is surely stored.
    stored: Revision,
    /// A commit failed: the store may or may not hold it.
    pub(super) in_doubt: bool,
    /// Stops that are in force and not stored, in order.
    pub(super) unstored: Vec<Batch>,
    /// Ids of erasures that are in doubt.
    forgotten: Vec<(Identifier, Option<PartyNo>)>,
}

impl Writer {
    pub(super) const fn after(revision: Revision) -> Self {
        Self { last: revision, stored: revision, in_doubt: false, unstored: Vec::new(), forgotten: Vec::new() }
    }

    pub(super) fn next_revision(&mut self) -> Revision {
        self.last = Revision(self.last.0 + 1);
        self.last
    }
}

/// What becomes of a batch that the store does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// It lowers permission: it binds at once and is stored later.
    Anyway,
    OnlyIfStored,
}

impl Ledger {
    /// The one writer. If the store was away and is back, what waited is stored first; if it is not, the commit will say so.
    pub(super) fn begin(&self) -> MutexGuard<'_, Writer> {
        let mut writer = lock(&self.writer);
        if writer.in_doubt {
            drop(self.recover(&mut writer));
        }
        writer
    }

    /// Stores a batch, takes over what it changes, tells the listener.
    pub(super) fn commit(&self, writer: &mut Writer, mut batch: Batch, binding: Binding) -> Result<(), Failed> {
        // What is in doubt comes first: `begin` and `tick` settle it.
        let stored = if writer.in_doubt {
            Err(Unavailable("earlier changes are not stored yet".to_owned()))
        } else {
            self.store_batch(&mut batch).map_err(Unavailable::from)
        };
        match stored {
            Ok(()) => {
                writer.stored = writer.last;
                Ok(())
            }
            Err(error) => {
                // Whether a commit that failed took place after all is not known. Nothing is answered until it is.
                writer.in_doubt = true;
                writer.forgotten.extend(batch.forgotten.iter().cloned());
                self.health.doubt(&error);
                if binding == Binding::OnlyIfStored {
                    return Err(Failed::NotDone(error));
                }
                writer.unstored.push(batch);
                Err(Failed::AppliedNotStored)
            }
        }
    }

    fn store_batch(&self, batch: &mut Batch) -> Result<(), StoreError> {
        self.complete(batch)?;
        self.store.commit(batch)?;
        let touched: BTreeSet<PartyNo> = batch.touched.iter().map(|(no, _)| *no).chain(batch.parties.iter().map(|party| party.no)).collect();
        let touched: Vec<PartyNo> = touched.into_iter().collect();
        let mut dossiers = Vec::with_capacity(touched.len());
        self.store.dossiers_of(&touched, &mut |dossier| {
            dossiers.push(dossier);
            Ok(())
        })?;
        if dossiers.len() < touched.len() {
            return Err(StoreError::Damaged("a customer is missing".to_owned()));
        }
        let mut projection = self.writing();
        projection.bury(&batch.forgotten, &batch.tombstones);
        dossiers.iter().for_each(|dossier| projection.put(dossier));
        projection.revision = batch.changes.iter().map(|change| change.revision).fold(projection.revision, Revision::max);
        drop(projection);
        if !batch.forgotten.is_empty() {
            snapshot::forget(self).map_err(|error| StoreError::Database(format!("its snapshot cannot be removed: {}", error.kind())))?;
        }
        self.tell(batch);
        Ok(())
    }

    /// What a batch needs of the store before it is written; may be done again. An event under `party:<id>` is kept under an id like
    /// any other: the first one makes it. An erasure takes every id of the customer, and leaves a keyed hash of each. An id that was
    /// split off is somebody else's.
    fn complete(&self, batch: &mut Batch) -> Result<(), StoreError> {
        for Written { event, .. } in &mut batch.events {
            if let Some(kept_under) = self.reading().kept_under(&event.identifier) {
                event.identifier = kept_under;
            }
        }
        let mut linked: HashSet<&Identifier> = batch.links.iter().map(|link| &link.identifier).collect();
        let mut own_ids = Vec::new();
        for event in batch.events.iter().map(|written| &written.event).filter(|event| event.identifier.space == super::party_space()) {
            let stands = |(_, link): &(u64, LinkRow)| link.assurance != Assurance::Matched && link.to.is_none();
            if !linked.insert(&event.identifier) || self.store.links_of(&event.identifier)?.iter().any(stands) {
                continue;
            }
            let projection = self.reading();
            if let (Some(no), Some(own)) = (projection.resolve(&event.identifier), projection.own_number(&event.identifier)) {
                let link = link_row(event.identifier.clone(), no, Assurance::Verified, event.record_time, "ledger", event.revision);
                own_ids.push(LinkRow { group: own, grants_after: Revision(0), ..link });
            }
        }
        batch.links.extend(own_ids);
        let mut merged: BTreeSet<(PartyNo, Revision)> = BTreeSet::new();
        for (no, revision) in &batch.erased {
            let links = self.store.dossier(*no)?.map(|dossier| dossier.links).unwrap_or_default();
            let own = |link: &LinkRow| link.to.is_none() && link.assurance != Assurance::Matched && link.identifier.space != super::party_space();
            let stands = links.iter().map(|(_, link)| link).filter(|link| link.to.is_none() && link.group != *no);
            merged.extend(stands.map(|link| (link.group, *revision)));
            batch.forgotten.extend(links.into_iter().map(|(_, link)| link).filter(own).map(|link| (link.identifier, Some(*no))));
        }
        // What is known of those who were merged into them is theirs.
        batch.touched.extend(&merged);
        batch.erased.extend(merged);
        batch.forgotten.retain(|(identifier, _)| !identifier.value.is_empty() && identifier.space != super::party_space());
        let projection = self.reading();
        batch.tombstones.extend(batch.forgotten.iter().map(|(identifier, party)| projection.tombstone(identifier, *party)));
        Ok(())
    }

    fn tell(&self, batch: &Batch) {
        let listener = self.listener.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(listener) = &*listener {
            batch.changes.iter().for_each(listener);
        }
    }

    /// After a failure: checks that it is the same store with nothing lost, stores what is waiting, and reads what may have changed.
    pub(super) fn recover(&self, writer: &mut Writer) -> Result<(), Unavailable> {
        let head = self.store.head()?;
        if head.id != self.head.id || head.revision < writer.stored {
            return Err(Unavailable("it is another database or an older copy than before".to_owned()));
        }
        while let Some(batch) = writer.unstored.first_mut() {
            if !self.holds(batch)? {
                self.complete(batch)?;
                self.store.commit(batch)?;
            }
            writer.forgotten.extend(batch.forgotten.iter().cloned());
            self.writing().bury(&batch.forgotten, &batch.tombstones);
            self.tell(batch);
            writer.unstored.remove(0);
        }
        let mut dossiers = Vec::new();
        self.store.dossiers(writer.stored, &mut |dossier| {
            dossiers.push(dossier);
            Ok(())
        })?;
        let registers = self.store.registers(writer.stored)?;
        if registers.erased_since {
            snapshot::forget(self).map_err(|error| Unavailable(format!("its snapshot cannot be removed: {}", error.kind())))?;
        }
        let register = notices::read(&*self.store)?;
        let head = self.store.head()?;
        let mut projection = self.writing();
        projection.register = register.into();
        projection.set_registers(registers);
        // Only what really was erased.
        let gone: Vec<_> = std::mem::take(&mut writer.forgotten).into_iter().filter(|(id, _)| projection.is_buried(id)).collect();
        projection.bury(&gone, &[]);
        dossiers.iter().for_each(|dossier| projection.put(dossier));
        projection.revision = head.revision;
        drop(projection);
        // INVARIANT: a revision once shown is never shown again for another state.
        writer.last = writer.last.max(head.revision);
        writer.stored = head.revision;
        writer.in_doubt = false;
        self.health.settled(self.clock.monotonic());
        Ok(())
    }

    fn holds(&self, batch: &Batch) -> Result<bool, StoreError> {
        batch.changes.first().map_or(Ok(true), |change| self.store.holds(change.revision))
    }
}

/// Why a batch was not acknowledged.
#[derive(Debug)]
pub(super) enum Failed {
    AppliedNotStored,
    NotDone(Unavailable),
}

impl Failed {
    /// What is not bound unless it is stored was not done.
    pub(super) fn away(self) -> Unavailable {
        match self {
            Self::AppliedNotStored => Unavailable("the change was not stored".to_owned()),
            Self::NotDone(unavailable) => unavailable,
        }
    }
}

impl From<Failed> for ConsentError {
    fn from(failed: Failed) -> Self {
        // Only stops bind unstored, and they name their event themselves.
        Self::Unavailable(failed.away())
    }
}
