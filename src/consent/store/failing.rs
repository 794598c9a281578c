//! A store that fails on demand, over a real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use jiff::Timestamp;

use crate::consent::event::Event;
use crate::model::{EventId, Identifier, PartyNo, Revision, Space};

use super::{Answered, Batch, Change, Dossier, Head, LinkRow, Registers, Store, StoreError, Written};

#[derive(Clone, Debug, Default)]
pub(in crate::consent) struct Switch(Arc<AtomicU8>);

impl Switch {
    pub(in crate::consent) fn down(&self) {
        self.0.store(1, Ordering::SeqCst);
    }

    /// Commits take place and are answered with an error even so.
    pub(in crate::consent) fn in_doubt(&self) {
        self.0.store(2, Ordering::SeqCst);
    }

    /// The same, while everything else is answered.
    pub(in crate::consent) fn commits_in_doubt(&self) {
        self.0.store(3, Ordering::SeqCst);
    }

    pub(in crate::consent) fn up(&self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub(in crate::consent) struct FailingStore<S> {
    pub(in crate::consent) inner: S,
    pub(in crate::consent) switch: Switch,
}

impl<S> FailingStore<S> {
    fn gate(&self) -> Result<(), StoreError> {
        match self.switch.0.load(Ordering::SeqCst) {
            0 | 3 => Ok(()),
            _ => Err(StoreError::Database("switched off".to_owned())),
        }
    }
}

impl<S: Store> Store for FailingStore<S> {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        if self.switch.0.load(Ordering::SeqCst) >= 2 {
            self.inner.commit(batch)?;
            return Err(StoreError::Database("switched off".to_owned()));
        }
        self.gate()?;
        self.inner.commit(batch)
    }

    fn head(&self) -> Result<Head, StoreError> {
        self.gate()?;
        self.inner.head()
    }

    fn dossiers(&self, after: Revision, sink: &mut dyn FnMut(Dossier) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.gate()?;
        self.inner.dossiers(after, sink)
    }

    fn registers(&self, erased_after: Revision) -> Result<Registers, StoreError> {
        self.gate()?;
        self.inner.registers(erased_after)
    }

    fn dossiers_of(&self, parties: &[PartyNo], sink: &mut dyn FnMut(Dossier) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.gate()?;
        self.inner.dossiers_of(parties, sink)
    }

    fn links_of(&self, identifier: &Identifier) -> Result<Vec<(u64, LinkRow)>, StoreError> {
        self.gate()?;
        self.inner.links_of(identifier)
    }

    fn merged_into(&self, party: PartyNo, known: Revision) -> Result<Option<PartyNo>, StoreError> {
        self.gate()?;
        self.inner.merged_into(party, known)
    }

    fn answered(&self, caller: &str, key: &str, not_before: Timestamp) -> Result<Option<Answered>, StoreError> {
        self.gate()?;
        self.inner.answered(caller, key, not_before)
    }

    fn events(&self, identifiers: &[Identifier]) -> Result<Vec<Event>, StoreError> {
        self.gate()?;
        self.inner.events(identifiers)
    }

    fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.gate()?;
        self.inner.event(id)
    }

    fn known(&self, events: &[&Written]) -> Result<Vec<Option<EventId>>, StoreError> {
        self.gate()?;
        self.inner.known(events)
    }

    fn due(&self, by: Timestamp, limit: usize) -> Result<Vec<(EventId, Identifier)>, StoreError> {
        self.gate()?;
        self.inner.due(by, limit)
    }

    fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.gate()?;
        self.inner.next_due()
    }

    fn of_age(&self, by: Timestamp, limit: usize) -> Result<Vec<PartyNo>, StoreError> {
        self.gate()?;
        self.inner.of_age(by, limit)
    }

    fn revision_at(&self, time: Timestamp) -> Result<Revision, StoreError> {
        self.gate()?;
        self.inner.revision_at(time)
    }

    fn unlinked(&self) -> Result<Vec<(Space, u64)>, StoreError> {
        self.gate()?;
        self.inner.unlinked()
    }

    fn holds(&self, revision: Revision) -> Result<bool, StoreError> {
        self.gate()?;
        self.inner.holds(revision)
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
        self.gate()?;
        self.inner.changes(after, limit)
    }

    fn pending_changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
        self.gate()?;
        self.inner.pending_changes(after, limit)
    }

    fn logged(&self) -> Result<Revision, StoreError> {
        self.gate()?;
        self.inner.logged()
    }

    fn mark_logged(&self, up_to: Revision) -> Result<(), StoreError> {
        self.gate()?;
        self.inner.mark_logged(up_to)
    }

    fn documents(&self, kind: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.gate()?;
        self.inner.documents(kind)
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.gate()?;
        self.inner.probe()
    }
}
