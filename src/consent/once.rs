//! Requests that may come twice. What was done under an `Idempotency-Key` is kept with it, in the transaction of the change itself,
//! for a day: whoever repeats the request is told what the first one did, and nothing is done. What is kept names customers by
//! number and never repeats a request or an answer, so that no id of somebody who is erased meanwhile survives in it.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::model::{PartyNo, Revision};

use super::author::captured_by;
use super::commit::{Binding, Writer};
use super::draft::Capturer;
use super::error::{ConsentError, Unavailable};
use super::ledger::Ledger;
use super::store::{Answered, Batch, Document, Done, StoreError};

/// What a caller names a request by, and a hash of what was asked: the same key may not stand for something else.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub(super) caller: String,
    pub(super) key: String,
    pub(super) body: [u8; 32],
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyKey").field("caller", &self.caller).finish_non_exhaustive()
    }
}

impl IdempotencyKey {
    /// `body` is the SHA-256 of all that was asked.
    #[must_use]
    pub fn new(caller: &Capturer, key: &str, body: [u8; 32]) -> Self {
        Self { caller: captured_by(caller), key: key.to_owned(), body }
    }

    /// The key of a further change that the same request makes.
    #[must_use]
    pub fn part(&self, name: &str) -> Self {
        // No caller's key holds a line feed.
        Self { key: format!("{}\n{name}", self.key), ..self.clone() }
    }

    /// What is stored with a change.
    pub(super) fn answered(&self, done: Done) -> Answered {
        Answered { caller: self.caller.clone(), key: self.key.clone(), body: self.body, done }
    }
}

/// Who changes something, and under which key.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    pub caller: &'a Capturer,
    pub key: Option<&'a IdempotencyKey>,
}

impl<'a> From<&'a Capturer> for By<'a> {
    fn from(caller: &'a Capturer) -> Self {
        Self { caller, key: None }
    }
}

impl Done {
    /// A change of one customer.
    pub(super) const fn to(party: PartyNo, revision: Revision, at: Timestamp) -> Self {
        Self { event: None, party: Some(party), revision, author: None, detail: None, at }
    }
}

impl Ledger {
    /// What was done under a key; none if nothing was.
    ///
    /// # Errors
    /// When the key was used with another body, when what was done binds but is not stored yet, or the store is away.
    pub fn done(&self, key: &IdempotencyKey) -> Result<Option<Done>, ConsentError> {
        let now = self.record_time();
        // Whoever then does it asks again under the writer. Here nobody waits for it, but while something may bind that is not stored.
        let first = if self.health.is_in_doubt() {
            self.first_answer(&self.begin(), key, now, Binding::OnlyIfStored)?
        } else {
            self.stored_answer(key, now).map_err(Unavailable::from)?
        };
        match first {
            None => Ok(None),
            Some(First { answered, .. }) if answered.body != key.body => Err(ConsentError::IdempotencyMismatch),
            Some(First { answered: Answered { done: Done { event: Some(event), .. }, .. }, stored: false }) => {
                Err(ConsentError::AppliedNotStored { event })
            }
            // What binds without an event is the end of a break-glass grant.
            Some(First { stored: false, .. }) => Err(ConsentError::RevokedNotStored),
            Some(First { answered, .. }) => Ok(Some(answered.done)),
        }
    }

    /// Refuses what was done before: whoever repeats a request asks [`Self::done`] first, so that only two that come at the same
    /// time get here.
    pub(super) fn unless_done(&self, writer: &Writer, key: Option<&IdempotencyKey>) -> Result<(), ConsentError> {
        let Some(key) = key else { return Ok(()) };
        match self.first_answer(writer, key, self.record_time(), Binding::OnlyIfStored)? {
            None => Ok(()),
            Some(First { answered, .. }) if answered.body != key.body => Err(ConsentError::IdempotencyMismatch),
            Some(_) => Err(ConsentError::DoneBefore),
        }
    }

    /// Keeps that nothing was to be done, so that a repetition does nothing either, whatever has changed since.
    pub(super) fn keep_done(&self, writer: &mut Writer, key: Option<&IdempotencyKey>, done: Done) -> Result<(), ConsentError> {
        let Some(key) = key else { return Ok(()) };
        let batch = Batch { answered: vec![key.answered(done)], ..Batch::default() };
        Ok(self.commit(writer, batch, Binding::OnlyIfStored)?)
    }

    /// Puts and removes documents, as one transaction; durable on return. They have no revision, so that nothing that is
    /// decided may depend on them; a break-glass grant is stored with a change. `detail` is told to whoever repeats the request.
    ///
    /// # Errors
    /// When the same was done under the key before, or the store is away.
    pub fn put_documents(&self, documents: Vec<Document>, key: Option<&IdempotencyKey>, detail: Option<String>) -> Result<(), ConsentError> {
        let writer = self.begin();
        self.unless_done(&writer, key)?;
        let done = Done { event: None, party: None, revision: self.revision(), author: None, detail, at: self.record_time() };
        let answered = key.map(|key| key.answered(done)).into_iter().collect();
        Ok(self.store.commit(&Batch { documents, answered, ..Batch::default() })?)
    }

    pub(super) fn first_answer(
        &self,
        writer: &Writer,
        key: &IdempotencyKey,
        now: Timestamp,
        binding: Binding,
    ) -> Result<Option<First>, ConsentError> {
        let mut waiting = writer.unstored.iter().flat_map(|batch| &batch.answered);
        if let Some(answered) = waiting.find(|a| a.caller == key.caller && a.key == key.key).cloned() {
            return Ok(Some(First { answered, stored: false }));
        }
        match self.stored_answer(key, now) {
            Ok(found) => Ok(found),
            // Twice is better than not at all, for a stop.
            Err(_) if binding == Binding::Anyway => Ok(None),
            Err(error) => Err(Unavailable::from(error).into()),
        }
    }

    fn stored_answer(&self, key: &IdempotencyKey, now: Timestamp) -> Result<Option<First>, StoreError> {
        let day_ago = now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
        let found = self.store.answered(&key.caller, &key.key, day_ago)?;
        Ok(found.map(|answered| First { answered, stored: true }))
    }
}

pub(super) struct First {
    pub(super) answered: Answered,
    pub(super) stored: bool,
}
