//! Break-glass: for an emergency two people lend a third one sight of a customer's data, or of a route's answers, for a few
//! hours, and a fourth one looks at what was done with it. Grants are documents beside the ledger's events; the request path
//! reads them from memory.
//!
//! ```text
//! request -> approve -> approve -> in force -> its time is up, or somebody revokes it -> review
//! ```
//!
//! INVARIANT: a grant opens nothing before it is stored with two approvals, by people who are neither each other, nor who asked,
//! nor whom it is for. It ends in memory first: a revocation binds also while the store is down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use aws_lc_rs::rand;
use jiff::Timestamp;

use super::error::{ConsentError, Unavailable};
use super::ledger::Ledger;
use super::once::IdempotencyKey;
use super::store::Document;
use crate::model::Emergency;

mod grant;
mod wire;

pub use grant::{APPROVERS, Ended, Finding, Grant, GrantState, Person, REVIEW_WITHIN, Review, Signed, Target};

/// Grants that are not done with: asked for, in force, or waiting for a review.
pub const OPEN_MAX: usize = 1_000;
/// Of a justification, a reason, a note.
const TEXT_CHARS_MAX: usize = 1_000;
const TICKET_BYTES_MAX: usize = 64;

/// What somebody asks for.
#[derive(Clone)]
pub struct GrantDraft {
    pub app: String,
    pub employee: Person,
    pub target: Target,
    pub purpose: String,
    pub ticket: String,
    pub justification: String,
    pub until: Timestamp,
    pub by: Person,
}

impl std::fmt::Debug for GrantDraft {
    /// Without what people wrote.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrantDraft").field("app", &self.app).field("target", &self.target).finish_non_exhaustive()
    }
}

/// A use that somebody calls an emergency.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub app: &'a str,
    /// The employee's pseudonym.
    pub employee: &'a str,
    pub purpose: &'a str,
    pub api: &'a str,
    pub route: &'a str,
}

/// Grants by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantCounts {
    pub active: u64,
    pub overdue: u64,
}

#[derive(Debug, Default)]
struct Editing {
    /// Over in memory and not in the store yet.
    unstored: Vec<String>,
    /// The store has failed in a change: what it holds must be read before another one.
    in_doubt: bool,
}

#[derive(Debug, Default)]
pub(super) struct Grants {
    all: RwLock<BTreeMap<String, Arc<Grant>>>,
    /// Held by whoever changes one.
    editing: Mutex<Editing>,
    /// The latest time that was seen: a clock that is set back prolongs nothing.
    seen: Mutex<Option<Timestamp>>,
}

impl Grants {
    /// One that cannot be read opens nothing.
    pub(super) fn of(documents: &[(String, String)]) -> Self {
        let mut all = BTreeMap::new();
        for (id, body) in documents {
            match wire::read(id, body) {
                Some(grant) => drop(all.insert(id.clone(), Arc::new(grant))),
                None => tracing::error!(grant = id, "a stored break-glass grant cannot be read and opens nothing"),
            }
        }
        Self { all: RwLock::new(all), ..Self::default() }
    }

    pub(super) const KIND: &str = wire::KIND;

    fn find(&self, id: &str) -> Option<Arc<Grant>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn list(&self) -> Vec<Arc<Grant>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn keep(&self, grant: Grant) -> Arc<Grant> {
        let grant = Arc::new(grant);
        self.all.write().unwrap_or_else(PoisonError::into_inner).insert(grant.id.clone(), Arc::clone(&grant));
        grant
    }

    fn edit(&self) -> MutexGuard<'_, Editing> {
        self.editing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn latest(&self, now: Timestamp) -> Timestamp {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = seen.map_or(now, |before| before.max(now));
        *seen = Some(latest);
        latest
    }
}

impl Ledger {
    fn emergency_time(&self) -> Timestamp {
        self.grants.latest(self.clock.now())
    }

    /// The grants in force that are for this use, whichever customer it turns out to be about.
    #[must_use]
    pub fn grants_for(&self, wanted: &Wanted<'_>) -> Vec<Arc<Grant>> {
        let now = self.emergency_time();
        let is_for = |grant: &Grant| {
            let is_there = match &grant.target {
                Target::Party(_) => true,
                Target::Route { api, route } => api == wanted.api && route == wanted.route,
            };
            is_there && grant.app == wanted.app && grant.employee.pseudonym == wanted.employee && grant.purpose == wanted.purpose
        };
        self.grants.list().into_iter().filter(|grant| is_for(grant) && grant.is_active(now)).collect()
    }

    /// Whether a grant is still what it was when somebody decided on it, and in force.
    #[must_use]
    pub fn grant_holds(&self, grant: &Grant) -> bool {
        let now = self.emergency_time();
        self.grants.find(&grant.id).is_some_and(|known| known.version == grant.version && known.is_active(now))
    }

    /// Every grant, with the time by which states are told.
    #[must_use]
    pub fn grants(&self) -> (Vec<Arc<Grant>>, Timestamp) {
        (self.grants.list(), self.emergency_time())
    }

    /// One grant, as it is stored.
    ///
    /// # Errors
    /// [`ConsentError::NoSuchGrant`]; when it is in doubt what is stored.
    pub fn grant(&self, id: &str) -> Result<Arc<Grant>, ConsentError> {
        self.settle(&mut self.grants.edit())?;
        self.known(id)
    }

    fn known(&self, id: &str) -> Result<Arc<Grant>, ConsentError> {
        self.grants.find(id).ok_or(ConsentError::NoSuchGrant)
    }

    /// Takes over what a change that failed has stored even so.
    fn settle(&self, editing: &mut Editing) -> Result<(), ConsentError> {
        if !editing.in_doubt {
            return Ok(());
        }
        for (id, body) in self.documents(Grants::KIND)? {
            let newer = |stored: &Grant| self.grants.find(&id).is_none_or(|known| known.version < stored.version);
            if let Some(stored) = wire::read(&id, &body).filter(newer) {
                self.grants.keep(stored);
            }
        }
        editing.in_doubt = false;
        Ok(())
    }

    #[must_use]
    pub fn grant_counts(&self) -> GrantCounts {
        let now = self.emergency_time();
        self.grants.list().iter().fold(GrantCounts::default(), |counts, grant| match grant.state(now) {
            GrantState::Active => GrantCounts { active: counts.active + 1, ..counts },
            GrantState::Overdue => GrantCounts { overdue: counts.overdue + 1, ..counts },
            GrantState::Requested | GrantState::Lapsed | GrantState::ReviewDue | GrantState::Reviewed => counts,
        })
    }

    /// Asks for a grant; it opens nothing yet.
    ///
    /// # Errors
    /// For what it must not say, too many open ones, or when the store is away.
    pub fn request_grant(&self, draft: GrantDraft, key: Option<&IdempotencyKey>) -> Result<Arc<Grant>, ConsentError> {
        let mut editing = self.grants.edit();
        self.settle(&mut editing)?;
        let now = self.emergency_time();
        let GrantDraft { app, employee, target, purpose, ticket, justification, until, by } = draft;
        if employee.issuer != by.issuer {
            return Err(ConsentError::NotPermitted(OF_ONE_ISSUER));
        }
        if until <= now {
            return Err(ConsentError::Invalid("`until` is past; name a time to come".to_owned()));
        }
        let is_ticket = |c: char| c.is_ascii_alphanumeric() || "-._/#".contains(c);
        if ticket.is_empty() || ticket.len() > TICKET_BYTES_MAX || !ticket.chars().all(is_ticket) {
            return Err(ConsentError::Invalid("`ticket` is no ticket; write it as the ticket system does, e.g. `INC-4471`".to_owned()));
        }
        let emergency = Emergency { ticket, justification: written("justification", &justification)? };
        let open = |grant: &Arc<Grant>| !matches!(grant.state(now), GrantState::Lapsed | GrantState::Reviewed);
        if self.grants.list().iter().filter(|grant| open(grant)).count() >= OPEN_MAX {
            return Err(ConsentError::NotPermitted("too many grants are open; revoke or review some first"));
        }
        let grant = Grant {
            id: new_id()?,
            version: 1,
            app,
            employee,
            target,
            purpose,
            emergency,
            until,
            requested: Signed { by, at: now },
            approvals: Vec::new(),
            revoked: None,
            expired: false,
            review: None,
        };
        self.store_grant(&mut editing, grant, key)
    }

    /// Approves a grant; with the second approval it is in force.
    ///
    /// # Errors
    /// For whoever has a part in it already, for what no longer waits, or when the store is away.
    pub fn approve_grant(&self, id: &str, by: Person, key: Option<&IdempotencyKey>) -> Result<Arc<Grant>, ConsentError> {
        let mut editing = self.grants.edit();
        self.settle(&mut editing)?;
        let now = self.emergency_time();
        let grant = self.known(id)?;
        stands_apart(&grant, &by, "whoever asked, whom it is for, and who has approved already cannot approve; ask somebody else")?;
        if grant.state(now) != GrantState::Requested {
            return Err(ConsentError::NotPermitted("this grant does not wait for approval; ask for another"));
        }
        let mut next = changed(&grant);
        next.approvals.push(Signed { by, at: now });
        self.store_grant(&mut editing, next, key)
    }

    /// Ends a grant; nothing is released on it from now on, whatever becomes of the store. Who ends one that is over changes
    /// nothing.
    ///
    /// # Errors
    /// [`ConsentError::RevokedNotStored`] when it is in force until the next start only.
    pub fn revoke_grant(&self, id: &str, by: &str, reason: &str, key: Option<&IdempotencyKey>) -> Result<Arc<Grant>, ConsentError> {
        let mut editing = self.grants.edit();
        if let Err(error) = self.settle(&mut editing) {
            tracing::error!(%error, "what is stored of break-glass grants is not known; what is known is revoked");
        }
        let now = self.emergency_time();
        let grant = self.known(id)?;
        let reason = written("reason", reason)?;
        let next = if grant.is_over(now) {
            grant
        } else {
            self.grants.keep(Grant { revoked: Some(Ended { by: by.to_owned(), at: now, reason }), ..changed(&grant) })
        };
        match self.put_documents(vec![wire::stored(&next)], key, Some(id.to_owned())) {
            Ok(()) => {
                editing.unstored.retain(|other| other != id);
                Ok(next)
            }
            Err(ConsentError::Unavailable(error)) => {
                tracing::error!(%error, grant = id, "a break-glass grant is revoked and that is not stored yet");
                editing.unstored.push(id.to_owned());
                Err(ConsentError::RevokedNotStored)
            }
            Err(error) => Err(error),
        }
    }

    /// Closes a grant that is over with what a look at its uses came to.
    ///
    /// # Errors
    /// For whoever has a part in it, for what is not to be reviewed, or when the store is away.
    pub fn review_grant(&self, id: &str, by: Person, finding: Finding, note: &str, key: Option<&IdempotencyKey>) -> Result<Arc<Grant>, ConsentError> {
        let mut editing = self.grants.edit();
        self.settle(&mut editing)?;
        let now = self.emergency_time();
        let grant = self.known(id)?;
        stands_apart(&grant, &by, "whoever asked for a grant, approved or used it cannot review it; ask somebody else")?;
        match grant.state(now) {
            GrantState::ReviewDue | GrantState::Overdue => {}
            GrantState::Active => return Err(ConsentError::NotPermitted("this grant is still in force; revoke it, or wait for its end")),
            GrantState::Reviewed => return Err(ConsentError::NotPermitted("this grant was reviewed already")),
            GrantState::Requested | GrantState::Lapsed => {
                return Err(ConsentError::NotPermitted("this grant was never in force; there is nothing to review"));
            }
        }
        let review = Review { signed: Signed { by, at: now }, finding, note: written("note", note)? };
        self.store_grant(&mut editing, Grant { review: Some(review), ..changed(&grant) }, key)
    }

    /// Writes down which grants have run out, and which were revoked while the store was down; each second.
    ///
    /// # Errors
    /// When the store is away; they are over all the same.
    pub fn end_grants(&self) -> Result<(), ConsentError> {
        let mut editing = self.grants.edit();
        let now = self.emergency_time();
        let over = |grant: &Arc<Grant>| grant.is_over(now) && grant.revoked.is_none() && !grant.expired;
        for grant in self.grants.list().iter().filter(|grant| over(grant)) {
            self.grants.keep(Grant { expired: true, ..changed(grant) });
            editing.unstored.push(grant.id.clone());
        }
        self.settle(&mut editing)?;
        if editing.unstored.is_empty() {
            return Ok(());
        }
        let documents: Vec<Document> = editing.unstored.iter().filter_map(|id| self.grants.find(id)).map(|grant| wire::stored(&grant)).collect();
        self.put_documents(documents, None, None)?;
        editing.unstored.clear();
        Ok(())
    }

    /// Stored first, then in force.
    fn store_grant(&self, editing: &mut Editing, grant: Grant, key: Option<&IdempotencyKey>) -> Result<Arc<Grant>, ConsentError> {
        let stored = self.put_documents(vec![wire::stored(&grant)], key, Some(grant.id.clone()));
        editing.in_doubt |= matches!(stored, Err(ConsentError::Unavailable(_)));
        stored.map(|()| self.grants.keep(grant))
    }
}

const OF_ONE_ISSUER: &str = "people are told apart within one issuer only; sign in where the employee does";

/// Whether somebody has had no part in a grant; `refusal` says who has.
fn stands_apart(grant: &Grant, by: &Person, refusal: &'static str) -> Result<(), ConsentError> {
    if grant.employee.issuer != by.issuer {
        return Err(ConsentError::NotPermitted(OF_ONE_ISSUER));
    }
    if grant.concerns(by) { Err(ConsentError::NotPermitted(refusal)) } else { Ok(()) }
}

fn changed(grant: &Grant) -> Grant {
    Grant { version: grant.version + 1, ..grant.clone() }
}

fn written(field: &str, text: &str) -> Result<String, ConsentError> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX {
        return Err(ConsentError::Invalid(format!("`{field}` must be 1 to {TEXT_CHARS_MAX} characters; say it shorter, or say it")));
    }
    Ok(text.to_owned())
}

fn new_id() -> Result<String, ConsentError> {
    let mut random = [0_u8; 10];
    rand::fill(&mut random).map_err(|_unspecified| Unavailable("the machine gives no randomness".to_owned()))?;
    Ok(random.iter().fold("bg_".to_owned(), |id, byte| format!("{id}{byte:02x}")))
}

#[cfg(test)]
mod tests;
