//! A store that fails on demand, over a real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use jiff::Timestamp;

use crate::consent::event::Event;
use crate::model::{EventId, Identifier, Revision};

use super::{Answered, Batch, Change, Head, Loaded, Store, StoreError};

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
            0 => Ok(()),
            _ => Err(StoreError::Database("switched off".to_owned())),
        }
    }
}

impl<S: Store> Store for FailingStore<S> {
    fn head(&self) -> Result<Head, StoreError> {
        self.gate()?;
        self.inner.head()
    }

    fn load(&self, sink: &mut dyn FnMut(Loaded)) -> Result<Head, StoreError> {
        self.gate()?;
        self.inner.load(sink)
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        if self.switch.0.load(Ordering::SeqCst) == 2 {
            self.inner.commit(batch)?;
        }
        self.gate()?;
        self.inner.commit(batch)
    }

    fn answered(&self, caller: &str, key: &str, not_before: Timestamp) -> Result<Option<Answered>, StoreError> {
        self.gate()?;
        self.inner.answered(caller, key, not_before)
    }

    fn events(&self, identifiers: &[Identifier]) -> Result<Vec<Event>, StoreError> {
        self.gate()?;
        self.inner.events(identifiers)
    }

    fn holds(&self, revision: Revision) -> Result<bool, StoreError> {
        self.gate()?;
        self.inner.holds(revision)
    }

    fn pending_changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
        self.gate()?;
        self.inner.pending_changes(after, limit)
    }

    fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.gate()?;
        self.inner.event(id)
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
        self.gate()?;
        self.inner.changes(after, limit)
    }

    fn documents(&self, kind: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.gate()?;
        self.inner.documents(kind)
    }

    fn put_document(&self, kind: &str, key: &str, body: Option<&str>) -> Result<(), StoreError> {
        self.gate()?;
        self.inner.put_document(kind, key, body)
    }

    fn mark_logged(&self, up_to: Revision) -> Result<(), StoreError> {
        self.gate()?;
        self.inner.mark_logged(up_to)
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.gate()?;
        self.inner.probe()
    }
}
