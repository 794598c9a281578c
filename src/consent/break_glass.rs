//! Break-glass: for an emergency two people lend a third one sight of a customer's data, or of a route's answers, for a few
//! hours, and a fourth one looks at what was done with it. Grants are documents beside the ledger's events; the request path
//! reads them from memory.
//!
//! ```text
//! request -> approve -> approve -> in force -> its time is up, or somebody revokes it -> review
//! ```
//!
//! Each step is a change of the ledger, stored with the grant in one transaction, and reaches the decision log from the outbox.
//!
//! INVARIANT: a grant opens nothing before it is stored with two approvals, by people who are neither each other, nor who asked,
//! nor whom it is for, and before the log has each of these steps. A revocation binds also while the store is down.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aws_lc_rs::rand;
use jiff::Timestamp;

use super::commit::{Binding, Writer};
use super::error::{ConsentError, Unavailable};
use super::ledger::Ledger;
use super::once::IdempotencyKey;
use super::store::{Batch, Change, ChangeKind, Done};
use super::write::cut;
use crate::model::{Emergency, Revision};

mod grant;
mod wire;

pub use grant::{APPROVERS, Ended, Finding, Grant, GrantState, GrantStep, Person, REVIEW_WITHIN, Review, Signed, Target};

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
    /// The store has failed in a change: what it holds must be read before another one.
    in_doubt: bool,
}

#[derive(Debug, Default)]
pub(super) struct Grants {
    /// Those that are not done with; of the others the store has the evidence.
    open: RwLock<BTreeMap<String, Arc<Grant>>>,
    /// Held by whoever changes one.
    editing: Mutex<Editing>,
    /// The latest time that was seen: a clock that is set back prolongs nothing.
    seen: Mutex<Option<Timestamp>>,
}

impl Grants {
    /// One that cannot be read opens nothing.
    pub(super) fn of(documents: &[(String, String)]) -> Self {
        let grants = Self::default();
        for (id, body) in documents {
            match wire::read(id, body) {
                Some(grant) => drop(grants.keep(grant)),
                None => tracing::error!(grant = id, "a stored break-glass grant cannot be read and opens nothing"),
            }
        }
        grants
    }

    pub(super) const KIND: &str = wire::KIND;

    fn reading(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Grant>>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Option<Arc<Grant>> {
        self.reading().get(id).cloned()
    }

    fn those(&self, wanted: impl Fn(&Grant) -> bool) -> Vec<Arc<Grant>> {
        self.reading().values().filter(|grant| wanted(grant)).cloned().collect()
    }

    fn writing(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Arc<Grant>>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what is stored.
    fn keep(&self, grant: Grant) -> Arc<Grant> {
        if !grant.is_done_with() {
            return self.hold(grant);
        }
        self.writing().remove(&grant.id);
        Arc::new(grant)
    }

    /// Takes over what may not be stored, whatever it is: the store may hold something else.
    fn hold(&self, grant: Grant) -> Arc<Grant> {
        let grant = Arc::new(grant);
        self.writing().insert(grant.id.clone(), Arc::clone(&grant));
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

/// What a change says of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stepped<'a> {
    pub grant: &'a str,
    pub step: GrantStep,
    /// A pseudonym; nobody's hand where time was up.
    pub by: Option<&'a str>,
}

impl<'a> Stepped<'a> {
    /// None of a change of another kind.
    #[must_use]
    pub fn read(change: &'a Change) -> Option<Self> {
        let mut words = change.state.splitn(3, ' ');
        let (grant, step, by) = (words.next()?, words.next().and_then(GrantStep::parse)?, words.next());
        (change.kind == ChangeKind::BreakGlass).then_some(Self { grant, step, by })
    }

    fn text(&self) -> String {
        let Self { grant, step, by } = self;
        by.map_or_else(|| format!("{grant} {step}"), |by| format!("{grant} {step} {by}"))
    }
}

impl Ledger {
    /// The time by which states of grants are told; it never goes back.
    #[must_use]
    pub fn emergency_time(&self) -> Timestamp {
        self.grants.latest(self.record_time())
    }

    /// The grants in force that are for this use, whichever customer it turns out to be about.
    #[must_use]
    pub fn grants_for(&self, wanted: &Wanted<'_>) -> Vec<Arc<Grant>> {
        let (now, logged) = (self.emergency_time(), Revision(self.logged.load(Ordering::Acquire)));
        let is_for = |grant: &Grant| {
            let is_there = match &grant.target {
                Target::Party(_) => true,
                Target::Route { api, route } => api == wanted.api && route == wanted.route,
            };
            is_there && grant.app == wanted.app && grant.employee.pseudonym == wanted.employee && grant.purpose == wanted.purpose
        };
        self.grants.those(|grant| is_for(grant) && grant.is_active(now) && grant.revision <= logged)
    }

    /// Whether a grant is still what it was when somebody decided on it, and in force.
    #[must_use]
    pub fn grant_holds(&self, grant: &Grant) -> bool {
        let now = self.emergency_time();
        self.grants.find(&grant.id).is_some_and(|known| known.version == grant.version && known.is_active(now))
    }

    /// Every grant, also those that are done with.
    ///
    /// # Errors
    /// When the store is away.
    pub fn grants(&self) -> Result<Vec<Arc<Grant>>, ConsentError> {
        let stored = self.documents(Grants::KIND)?;
        let mut all: BTreeMap<String, Arc<Grant>> =
            stored.into_iter().filter_map(|(id, body)| wire::read(&id, &body).map(|grant| (id, Arc::new(grant)))).collect();
        // A revocation may wait for the store, which may hold another step in its place.
        for grant in self.grants.those(|grant| all.get(&grant.id).is_none_or(|stored| stored.version <= grant.version)) {
            all.insert(grant.id.clone(), grant);
        }
        Ok(all.into_values().collect())
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
        if let Some(open) = self.grants.find(id) {
            return Ok(open);
        }
        let stored = self.documents(Grants::KIND)?.into_iter().find(|(other, _)| other == id);
        stored.and_then(|(id, body)| wire::read(&id, &body)).map(Arc::new).ok_or(ConsentError::NoSuchGrant)
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
        self.grants.reading().values().fold(GrantCounts::default(), |counts, grant| match grant.state(now) {
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
        let open = |grant: &Grant| !matches!(grant.state(now), GrantState::Lapsed | GrantState::Reviewed);
        if self.grants.reading().values().filter(|grant| open(grant)).count() >= OPEN_MAX {
            return Err(ConsentError::NotPermitted("too many grants are open; revoke or review some first"));
        }
        let grant = Grant {
            id: new_id()?,
            version: 0,
            revision: Revision(0),
            app,
            employee,
            target,
            purpose,
            emergency,
            until: cut(until),
            requested: Signed { by, at: now },
            approvals: Vec::new(),
            revoked: None,
            expired: false,
            review: None,
        };
        let by = grant.requested.by.pseudonym.clone();
        self.take_step(&mut editing, grant, (GrantStep::Requested, &by), key)
    }

    /// Approves a grant; with the second approval it is in force, once the decision log has it.
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
        let mut next = Grant::clone(&grant);
        let pseudonym = by.pseudonym.clone();
        next.approvals.push(Signed { by, at: now });
        self.take_step(&mut editing, next, (GrantStep::Approved, &pseudonym), key)
    }

    /// Ends a grant; nothing is released on it from now on, whatever becomes of the store. Who ends one that is over changes
    /// nothing.
    ///
    /// # Errors
    /// [`ConsentError::RevokedNotStored`] when that is so until the next start only. Where the key was used before, or there is no
    /// such grant, nothing is changed.
    pub fn revoke_grant(&self, id: &str, by: &str, reason: &str, key: Option<&IdempotencyKey>) -> Result<Arc<Grant>, ConsentError> {
        let mut editing = self.grants.edit();
        if let Err(error) = self.settle(&mut editing) {
            tracing::error!(%error, "what is stored of break-glass grants is not known; what is known is revoked");
        }
        let mut writer = self.begin();
        match self.unless_done(&writer, key) {
            // Twice is better than not at all.
            Ok(()) | Err(ConsentError::Unavailable(_)) => {}
            Err(error) => return Err(error),
        }
        let now = self.emergency_time();
        let grant = self.known(id)?;
        let reason = written("reason", reason)?;
        if grant.is_over(now) {
            if grant.revoked.is_some() && writer.in_doubt {
                return Err(ConsentError::RevokedNotStored);
            }
            self.keep_done(&mut writer, key, done(&grant, now))?;
            return Ok(grant);
        }
        let revoked = Grant { revoked: Some(Ended { by: by.to_owned(), at: now, reason }), ..Grant::clone(&grant) };
        let (mut batch, step) = (Batch::default(), Stepped { grant: id, step: GrantStep::Revoked, by: Some(by) });
        let revoked = add_step(&mut writer, &mut batch, revoked, step, now);
        batch.answered.extend(key.map(|key| key.answered(done(&revoked, now))));
        if self.commit(&mut writer, batch, Binding::Anyway).is_err() {
            self.grants.hold(revoked);
            tracing::error!(grant = id, "a break-glass grant is revoked and that is not stored yet");
            return Err(ConsentError::RevokedNotStored);
        }
        Ok(self.grants.keep(revoked))
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
        let pseudonym = by.pseudonym.clone();
        let review = Review { signed: Signed { by, at: now }, finding, note: written("note", note)? };
        let reviewed = Grant { review: Some(review), ..Grant::clone(&grant) };
        self.take_step(&mut editing, reviewed, (GrantStep::Reviewed, &pseudonym), key)
    }

    /// Writes down which grants have run out; each second.
    ///
    /// # Errors
    /// When the store is away; they are over all the same.
    pub fn end_grants(&self) -> Result<(), ConsentError> {
        let mut editing = self.grants.edit();
        self.settle(&mut editing)?;
        if !self.health.is_in_doubt() && self.grants.reading().values().any(|grant| grant.is_done_with()) {
            // Revocations that waited for the store are stored.
            self.grants.writing().retain(|_, grant| !grant.is_done_with());
        }
        let now = self.emergency_time();
        let over = self.grants.those(|grant| grant.is_over(now) && grant.revoked.is_none() && !grant.expired);
        if over.is_empty() {
            return Ok(());
        }
        let (mut writer, mut batch) = (self.begin(), Batch::default());
        let mut expire = |grant: &Arc<Grant>| {
            let step = Stepped { grant: &grant.id, step: GrantStep::Expired, by: None };
            add_step(&mut writer, &mut batch, Grant { expired: true, ..Grant::clone(grant) }, step, now)
        };
        let over: Vec<Grant> = over.iter().map(&mut expire).collect();
        let stored = self.commit(&mut writer, batch, Binding::OnlyIfStored);
        editing.in_doubt |= stored.is_err();
        stored?;
        over.into_iter().for_each(|grant| drop(self.grants.keep(grant)));
        Ok(())
    }

    /// Stored first, then known here.
    fn take_step(
        &self,
        editing: &mut Editing,
        grant: Grant,
        (step, by): (GrantStep, &str),
        key: Option<&IdempotencyKey>,
    ) -> Result<Arc<Grant>, ConsentError> {
        let mut writer = self.begin();
        self.unless_done(&writer, key)?;
        let (now, id, mut batch) = (self.emergency_time(), grant.id.clone(), Batch::default());
        let grant = add_step(&mut writer, &mut batch, grant, Stepped { grant: &id, step, by: Some(by) }, now);
        batch.answered.extend(key.map(|key| key.answered(done(&grant, now))));
        let stored = self.commit(&mut writer, batch, Binding::OnlyIfStored);
        editing.in_doubt |= stored.is_err();
        stored?;
        Ok(self.grants.keep(grant))
    }
}

/// Adds a step to a batch: the grant as it is after it, and the change that the decision log is told.
fn add_step(writer: &mut Writer, batch: &mut Batch, grant: Grant, step: Stepped<'_>, at: Timestamp) -> Grant {
    let revision = writer.next_revision();
    let party = match grant.target {
        Target::Party(party) => Some(party),
        Target::Route { .. } => None,
    };
    let (kind, state) = (ChangeKind::BreakGlass, step.text());
    batch.changes.push(Change { revision, at, kind, party, event: None, purposes: Vec::new(), state, author: None });
    let grant = Grant { version: grant.version + 1, revision, ..grant };
    batch.documents.push(wire::stored(&grant));
    grant
}

fn done(grant: &Grant, at: Timestamp) -> Done {
    Done { event: None, party: None, revision: grant.revision, author: None, detail: Some(grant.id.clone()), at }
}

const OF_ONE_ISSUER: &str = "people are told apart within one issuer only; sign in where the employee does";

/// Whether somebody has had no part in a grant; `refusal` says who has.
fn stands_apart(grant: &Grant, by: &Person, refusal: &'static str) -> Result<(), ConsentError> {
    if grant.employee.issuer != by.issuer {
        return Err(ConsentError::NotPermitted(OF_ONE_ISSUER));
    }
    if grant.concerns(by) { Err(ConsentError::NotPermitted(refusal)) } else { Ok(()) }
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
