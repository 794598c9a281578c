//! Writing: checked, committed as one transaction, applied in memory, then acknowledged — in this order, one at a time.
//! What the store could not take is known to be in doubt: before the next write everything is read anew from it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::MutexGuard;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, SpanFieldwise, Timestamp};

use crate::model::{Age, Author, Channel, EventId, Identifier, PartyNo, Purpose, Revision};

use super::author::{Claimed, author, captured_by, closes};
use super::check::{NAME_CHARS_MAX, REASON_CHARS_MAX, check_event, check_evidence, check_note, check_stop, check_text, invalid};
use super::draft::{Acknowledged, Capturer, EventDraft, LiftDraft, Note, NoteDraft, Statement, StopDraft};
use super::error::{ConsentError, Unavailable};
use super::event::{Assurance, Consent, Delegation, Event, Method, PartyRef, State, Stop, StopKind, What};
use super::health::lock;
use super::ledger::{Adopted, Ledger};
use super::parties::{Fact, FactValue, fact_row, link_row, touch};
use super::projection::Seen;
use super::store::{Answered, Batch, Change, ChangeKind, Document, LinkRow, StoreError, fingerprint};
use super::{notices, snapshot};

/// The one who writes.
#[derive(Debug)]
pub(super) struct Writer {
    /// The last revision that was handed out; one that failed is not handed out again.
    last: Revision,
    /// The last revision that is surely stored.
    stored: Revision,
    /// A commit failed: the store may or may not hold it.
    in_doubt: bool,
    /// Stops that are in force and not stored, in order.
    unstored: Vec<Batch>,
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
    /// Records a consent event.
    ///
    /// # Errors
    /// What is wrong with the draft; [`ConsentError::Unavailable`] for what opens while the store is away;
    /// [`ConsentError::AppliedNotStored`] for what closes.
    pub fn record(&self, draft: EventDraft, caller: &Capturer) -> Result<Acknowledged, ConsentError> {
        self.record_one(Statement::Consent(Box::new(draft)), caller)
    }

    /// Records a hard stop. Needs no grant and no known id; it binds when the id is linked.
    ///
    /// # Errors
    /// As [`Self::record`]; never [`ConsentError::Unavailable`] because the store is down.
    pub fn add_stop(&self, draft: StopDraft, caller: &Capturer) -> Result<Acknowledged, ConsentError> {
        self.record_one(Statement::Stop(Box::new(draft)), caller)
    }

    /// Records that somebody may speak for the customer, or that something on which grants may depend has come to pass.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn note(&self, draft: NoteDraft, caller: &Capturer) -> Result<Acknowledged, ConsentError> {
        self.record_one(Statement::Note(Box::new(draft)), caller)
    }

    fn record_one(&self, statement: Statement, caller: &Capturer) -> Result<Acknowledged, ConsentError> {
        let start = self.clock.monotonic();
        let adopted = self.adopted()?;
        let (event, claims, key) = self.draw_up(statement, caller, &adopted, self.record_time())?;
        self.store_event(event, claims, key, start)
    }

    /// Records many statements as one transaction, in order; one that is refused does not hold up the others, one that is known
    /// already is not recorded twice. The answers are in the same order. What `beside` makes of them is stored in the same
    /// transaction.
    ///
    /// # Errors
    /// When the store is away: nothing of it was taken, and repeating the whole changes nothing twice.
    pub fn record_many(
        &self,
        statements: Vec<Statement>,
        caller: &Capturer,
        beside: impl FnOnce(&[Result<Acknowledged, ConsentError>]) -> Vec<Document>,
    ) -> Result<Vec<Result<Acknowledged, ConsentError>>, Unavailable> {
        let start = self.clock.monotonic();
        let adopted = self.adopted()?;
        let at = self.record_time();
        let drawn: Vec<_> = statements.into_iter().map(|statement| self.draw_up(statement, caller, &adopted, at)).collect();
        let mut writer = self.begin();
        let mut batch = Batch::default();
        let mut answers = Vec::with_capacity(drawn.len());
        let mut earlier: HashMap<[u8; 32], EventId> = HashMap::new();
        // Customers about whom something that opens stands before it in this batch.
        let mut opened: HashSet<PartyNo> = HashSet::new();
        for drawn in drawn {
            answers.push(match drawn {
                Err(ConsentError::Unavailable(away)) => return Err(away),
                Err(refused) => Err(refused),
                Ok((event, _, _)) => {
                    let mark = fingerprint(&event)?;
                    let known = match earlier.get(&mark) {
                        Some(event) => Some(*event),
                        None => self.store.same(&event)?.filter(|known| event.event_time.is_some() || self.is_last_word(&event, *known, &opened)),
                    };
                    let opens = binding(&event.what) == Binding::OnlyIfStored;
                    let reached = if opens { self.reading().reached_by(&event.identifier) } else { Vec::new() };
                    opened.extend(reached);
                    let added = self.add_event(&mut writer, &mut batch, event, known);
                    if let Ok(acknowledged) = &added {
                        earlier.insert(mark, acknowledged.event);
                    }
                    added
                }
            });
        }
        batch.documents = beside(&answers);
        // Customers with many statements are touched once.
        batch.touched = std::mem::take(&mut batch.touched).into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
        if !batch.changes.is_empty() || !batch.documents.is_empty() {
            self.commit(&mut writer, batch, Binding::OnlyIfStored).map_err(|failed| match failed {
                Failed::NotDone(away) => away,
                Failed::AppliedNotStored => Unavailable("the piece was not stored".to_owned()),
            })?;
        }
        let after = self.clock.monotonic().saturating_sub(start);
        for acknowledged in answers.iter_mut().flatten().filter(|acknowledged| !acknowledged.known_before) {
            acknowledged.in_force_after = Some(after);
        }
        Ok(answers)
    }

    /// Ends a restriction, or corrects a deceased or legal flag. All other stops yield to the customer's own later grant or
    /// to nothing.
    ///
    /// # Errors
    /// When the stop is unknown or cannot be lifted, when the caller is not staff, or no reason is given.
    pub fn lift_stop(&self, draft: LiftDraft, caller: &Capturer) -> Result<Acknowledged, ConsentError> {
        let start = self.clock.monotonic();
        self.adopted()?;
        if !matches!(caller, Capturer::Staff { .. }) {
            return Err(ConsentError::NotPermitted("only the consent desk lifts a stop"));
        }
        check_text("reason", &draft.reason, REASON_CHARS_MAX)?;
        if draft.reason.trim().is_empty() {
            return Err(invalid("`reason` is missing: say why the stop ends"));
        }
        check_evidence(&draft.evidence)?;
        let stop = self.store.event(draft.stop)?.ok_or(ConsentError::NoSuchStop)?;
        let What::Stop(Stop { kind, .. }) = stop.what else { return Err(ConsentError::NoSuchStop) };
        match kind {
            StopKind::Restriction | StopKind::Deceased | StopKind::Legal => {}
            StopKind::Erasure => return Err(ConsentError::NotPermitted("an erasure is never lifted")),
            StopKind::ObjectionMarketing
            | StopKind::Objection
            | StopKind::OptOutSale
            | StopKind::OptOutSensitive
            | StopKind::OptOutGpc
            | StopKind::Suppression => {
                return Err(ConsentError::NotPermitted(
                    "only a later grant of the customer that names the purpose lifts this; record that grant instead",
                ));
            }
        }
        let event = Event {
            id: EventId(0),
            revision: Revision(0),
            identifier: stop.identifier,
            event_time: None,
            record_time: self.record_time(),
            channel: Channel::System,
            captured_by: captured_by(caller),
            method: Method::Expressed,
            author: Author::Staff,
            evidence: draft.evidence,
            source_system: captured_by(caller),
            what: What::Lift { stop: draft.stop, reason: draft.reason },
        };
        self.store_event(event, Author::Staff, draft.idempotency_key, start)
    }

    /// Fires what has run out by `now`; called each second. Also brings to the store what it could not take before. Returns how
    /// many consents ran out.
    ///
    /// # Errors
    /// When the store is away: then nothing is answered about anybody.
    pub fn tick(&self, now: Timestamp) -> Result<usize, Unavailable> {
        let mut writer = lock(&self.writer);
        if writer.in_doubt {
            self.recover(&mut writer)?;
        }
        self.supersede_due(&mut writer, now)?;
        let mut fired = 0;
        loop {
            let mut batch = Batch::default();
            for (id, identifier) in self.store.due(now, DUE_AT_ONCE)? {
                batch.fired.push(id);
                self.change(&mut writer, &mut batch, now, ChangeKind::Expiry, &identifier, |change| {
                    change.event = Some(id);
                    State::Expired.as_str().clone_into(&mut change.state);
                });
            }
            for no in self.store.of_age(now, DUE_AT_ONCE)? {
                let revision = writer.next_revision();
                let fact = Fact { value: FactValue::Age(Age::Adult), source: "coming of age".to_owned(), time: now };
                batch.facts.push(fact_row(no, &fact, revision));
                touch(&mut batch, no, revision, now, ChangeKind::Facts);
            }
            if batch.changes.is_empty() {
                return Ok(fired);
            }
            fired += batch.fired.len();
            self.commit(&mut writer, batch, Binding::OnlyIfStored).map_err(Failed::away)?;
        }
    }

    /// The one writer. If the store was away and is back, what waited is stored first; if it is not, the commit will say so.
    pub(super) fn begin(&self) -> MutexGuard<'_, Writer> {
        let mut writer = lock(&self.writer);
        if writer.in_doubt {
            drop(self.recover(&mut writer));
        }
        writer
    }

    /// The event that a statement makes, with whose it was claimed to be and its idempotency key.
    fn draw_up(
        &self,
        statement: Statement,
        caller: &Capturer,
        adopted: &Adopted,
        record_time: Timestamp,
    ) -> Result<(Event, Author, Option<String>), ConsentError> {
        let vocabulary = &adopted.vocabulary;
        let (given, what) = match statement {
            Statement::Consent(mut draft) => {
                draft.notice = self.registered(draft.notice.take())?;
                check_event(&draft, vocabulary)?;
                let expires = earlier(draft.expires, ends_after(draft.event_time.unwrap_or(record_time), draft.lasts)?);
                let given = Given {
                    subject: draft.subject,
                    event_time: draft.event_time,
                    channel: draft.channel,
                    method: draft.method,
                    claims: draft.claims,
                    evidence: draft.evidence,
                    source_system: draft.source_system,
                    key: draft.idempotency_key,
                };
                let what = What::Consent(Consent {
                    purposes: draft.purposes,
                    activity: draft.activity,
                    notice: draft.notice,
                    state: draft.state,
                    scope: draft.scope,
                    expires: expires.map(cut),
                    until: draft.until,
                    uses: draft.uses,
                    about: draft.about,
                });
                (given, what)
            }
            Statement::Stop(draft) => {
                check_stop(&draft, vocabulary)?;
                let given = Given {
                    subject: draft.subject,
                    event_time: draft.event_time,
                    channel: draft.channel,
                    method: Method::Expressed,
                    claims: draft.claims,
                    evidence: draft.evidence,
                    source_system: draft.source_system,
                    key: draft.idempotency_key,
                };
                (given, What::Stop(Stop { kind: draft.kind, purposes: draft.purposes, scope: draft.scope, reason: draft.reason }))
            }
            Statement::Note(draft) => {
                check_note(&draft, vocabulary)?;
                let given = Given {
                    subject: draft.subject,
                    event_time: draft.event_time,
                    channel: Channel::System,
                    method: Method::Expressed,
                    claims: draft.claims,
                    evidence: draft.evidence,
                    source_system: draft.source_system,
                    key: draft.idempotency_key,
                };
                let what = match draft.note {
                    Note::Delegation(delegation) => What::Delegation(Delegation { until: delegation.until.map(cut), ..delegation }),
                    Note::Occurrence(name) => What::Occurrence(name),
                };
                (given, what)
            }
        };
        let latest = record_time.checked_add(FUTURE_MAX).unwrap_or(Timestamp::MAX);
        if given.event_time.is_some_and(|t| t > latest) {
            return Err(invalid("`event_time` lies in the future: say when the person acted"));
        }
        check_evidence(&given.evidence)?;
        if let Some(source) = &given.source_system {
            check_text("source_system", source, NAME_CHARS_MAX)?;
        }
        let every: Vec<Purpose>;
        let purposes: &[Purpose] = match &what {
            What::Consent(consent) => &consent.purposes,
            What::Stop(stop) => &stop.purposes,
            // One without purposes is for all of them.
            What::Delegation(delegation) if delegation.purposes.is_empty() => {
                every = vocabulary.purposes.keys().copied().collect();
                &every
            }
            What::Delegation(delegation) => &delegation.purposes,
            What::Lift { .. } | What::Occurrence(_) => &[],
        };
        let claimed = Claimed { purposes, channel: given.channel, claims: given.claims, evidence: &given.evidence, closes: closes(&what) };
        let author = author(adopted, caller, &claimed);
        let captured_by = captured_by(caller);
        let event = Event {
            id: EventId(0),
            revision: Revision(0),
            identifier: given.subject.identifier(),
            event_time: given.event_time.map(cut),
            record_time,
            channel: given.channel,
            source_system: given.source_system.unwrap_or_else(|| captured_by.clone()),
            captured_by,
            method: given.method,
            author,
            evidence: given.evidence,
            what,
        };
        Ok((event, given.claims, given.key))
    }

    fn store_event(&self, event: Event, claims: Author, key: Option<String>, start: Duration) -> Result<Acknowledged, ConsentError> {
        if let Some(key) = &key {
            check_text("idempotency_key", key, NAME_CHARS_MAX)?;
        }
        let binding = binding(&event.what);
        // The author is left out: policies may have changed between a request and its repetition.
        let body = fingerprint(&Event { author: claims, ..event.clone() })?;
        let mut writer = self.begin();
        if let Some(key) = &key
            && let Some(first) = self.first_answer(&writer, &event, key, binding)?
        {
            return self.repeat(first, body);
        }
        let mut batch = Batch::default();
        let (caller, at) = (event.captured_by.clone(), event.record_time);
        let acknowledged = self.add_event(&mut writer, &mut batch, event, None)?;
        batch.answered.extend(key.map(|key| Answered {
            caller,
            key,
            body,
            event: acknowledged.event,
            party: acknowledged.party,
            revision: acknowledged.revision,
            author: acknowledged.author,
            at,
        }));
        match self.commit(&mut writer, batch, binding) {
            Ok(()) => Ok(Acknowledged { in_force_after: Some(self.clock.monotonic().saturating_sub(start)), ..acknowledged }),
            Err(Failed::AppliedNotStored) => Err(ConsentError::AppliedNotStored { event: acknowledged.event }),
            Err(Failed::NotDone(error)) => Err(error.into()),
        }
    }

    /// What counts when it is recorded is known already only if nothing was recorded about the customer since, under any id.
    fn is_last_word(&self, event: &Event, known: EventId, opened: &HashSet<PartyNo>) -> bool {
        let projection = self.reading();
        projection.reached_by(&event.identifier).iter().all(|no| {
            let is_newest = |seen: Seen<'_>| seen.events().iter().all(|id| id <= known);
            !opened.contains(no) && projection.seen(*no).is_some_and(is_newest)
        })
    }

    /// Adds an event to a batch, unless it is known already.
    fn add_event(&self, writer: &mut Writer, batch: &mut Batch, mut event: Event, known: Option<EventId>) -> Result<Acknowledged, ConsentError> {
        let (party, is_erased) = {
            let projection = self.reading();
            let erased = projection.erased(&event.identifier);
            let found = (projection.resolve(&event.identifier), projection.is_erased(&event.identifier));
            if let Some(no) = erased {
                // The id itself is not written down again.
                event.identifier = PartyRef::Party(projection.party_id(no)).identifier();
            }
            found
        };
        let party_id = party.map(|no| self.party_id(no));
        if let Some(event_id) = known {
            let revision = Revision(event_id.0);
            return Ok(Acknowledged { event: event_id, party, party_id, revision, in_force_after: None, author: event.author, known_before: true });
        }
        if party.is_none() && event.identifier.space == super::party_space() {
            return Err(ConsentError::NotFound);
        }
        if is_erased && binding(&event.what) == Binding::OnlyIfStored && !matches!(event.what, What::Lift { .. }) {
            return Err(ConsentError::Erased);
        }
        let is_erasure = matches!(event.what, What::Stop(Stop { kind: StopKind::Erasure, .. }));
        if is_erasure && party.is_some_and(|no| self.is_held(no)) {
            return Err(ConsentError::Held);
        }
        let revision = self.change(writer, batch, event.record_time, kind_of(&event.what), &event.identifier, |change| {
            change.event = Some(EventId(change.revision.0));
            change.author = Some(event.author);
            (change.purposes, change.state) = match &event.what {
                What::Consent(consent) => (consent.purposes.clone(), consent.state.to_string()),
                What::Stop(stop) => (stop.purposes.clone(), stop.kind.to_string()),
                What::Lift { stop, reason: _ } => (Vec::new(), stop.to_string()),
                What::Delegation(delegation) => (delegation.purposes.clone(), delegation.holder.to_string()),
                What::Occurrence(name) => (Vec::new(), name.clone()),
            };
        });
        if is_erasure {
            batch.erased.extend(party.map(|no| (no, revision)));
            batch.forgotten.push((event.identifier.clone(), party));
        }
        (event.id, event.revision) = (EventId(revision.0), revision);
        if runs_out(&event.what).is_some_and(|due| due <= event.record_time) {
            // It is over already: there is no moment in which it holds.
            batch.fired.push(event.id);
        }
        let author = event.author;
        batch.events.push(event);
        Ok(Acknowledged { event: EventId(revision.0), party, party_id, revision, in_force_after: None, author, known_before: false })
    }

    fn first_answer(&self, writer: &Writer, event: &Event, key: &str, binding: Binding) -> Result<Option<First>, ConsentError> {
        let caller = &event.captured_by;
        let waiting = writer.unstored.iter().flat_map(|batch| &batch.answered);
        if let Some(answered) = waiting.into_iter().find(|a| a.caller == *caller && a.key == key).cloned() {
            return Ok(Some(First { answered, stored: false }));
        }
        let day_ago = event.record_time.checked_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
        match self.store.answered(caller, key, day_ago) {
            Ok(found) => Ok(found.map(|answered| First { answered, stored: true })),
            // Twice is better than not at all, for a stop.
            Err(_) if binding == Binding::Anyway => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn repeat(&self, First { answered, stored }: First, body: [u8; 32]) -> Result<Acknowledged, ConsentError> {
        if answered.body != body {
            return Err(ConsentError::IdempotencyMismatch);
        }
        if !stored {
            return Err(ConsentError::AppliedNotStored { event: answered.event });
        }
        let party_id = answered.party.map(|no| self.party_id(no));
        let Answered { event, party, revision, author, .. } = answered;
        Ok(Acknowledged { event, party, party_id, revision, in_force_after: None, author, known_before: true })
    }

    /// Adds a change to a batch, with its revision for every customer whom it reaches.
    pub(super) fn change(
        &self,
        writer: &mut Writer,
        batch: &mut Batch,
        at: Timestamp,
        kind: ChangeKind,
        identifier: &Identifier,
        fill: impl FnOnce(&mut Change),
    ) -> Revision {
        let revision = writer.next_revision();
        let projection = self.reading();
        let mut change = Change {
            revision,
            at,
            kind,
            party: projection.resolve(identifier),
            event: None,
            purposes: Vec::new(),
            state: String::new(),
            author: None,
        };
        fill(&mut change);
        batch.changes.push(change);
        batch.touched.extend(projection.reached_by(identifier).into_iter().map(|no| (no, revision)));
        revision
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
        let mut dossiers = Vec::with_capacity(touched.len());
        for no in touched {
            dossiers.push(self.store.dossier(no)?.ok_or_else(|| StoreError::Damaged("a customer is missing".to_owned()))?);
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
        for event in &mut batch.events {
            if let Some(no) = self.reading().erased(&event.identifier) {
                // The id itself is not written down again.
                event.identifier = PartyRef::Party(self.party_id(no)).identifier();
            }
        }
        let mut linked: HashSet<&Identifier> = batch.links.iter().map(|link| &link.identifier).collect();
        let mut own_ids = Vec::new();
        for event in batch.events.iter().filter(|event| event.identifier.space == super::party_space()) {
            let stands = |link: &LinkRow| link.assurance != Assurance::Matched && link.to.is_none();
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
        for (no, _) in &batch.erased {
            let links = self.store.dossier(*no)?.map(|dossier| dossier.links).unwrap_or_default();
            let own = |link: &LinkRow| link.to.is_none() && link.assurance != Assurance::Matched && link.identifier.space != super::party_space();
            batch.forgotten.extend(links.into_iter().map(|(_, link)| link).filter(own).map(|link| (link.identifier, Some(*no))));
        }
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
    fn recover(&self, writer: &mut Writer) -> Result<(), Unavailable> {
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

    /// Now, to the precision that is stored.
    pub(super) fn record_time(&self) -> Timestamp {
        cut(self.clock.now())
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

struct First {
    answered: Answered,
    stored: bool,
}

/// The fields that every kind of event takes from its draft.
struct Given {
    subject: PartyRef,
    event_time: Option<Timestamp>,
    channel: Channel,
    method: Method,
    claims: Author,
    evidence: BTreeMap<String, String>,
    source_system: Option<String>,
    key: Option<String>,
}

fn binding(what: &What) -> Binding {
    match what {
        What::Stop(_) => Binding::Anyway,
        What::Consent(consent) if consent.state.closes() => Binding::Anyway,
        What::Occurrence(_) => Binding::Anyway,
        What::Consent(_) | What::Lift { .. } | What::Delegation(_) => Binding::OnlyIfStored,
    }
}

fn runs_out(what: &What) -> Option<Timestamp> {
    match what {
        What::Consent(consent) => consent.expires,
        What::Delegation(delegation) => delegation.until,
        What::Stop(_) | What::Lift { .. } | What::Occurrence(_) => None,
    }
}

const fn kind_of(what: &What) -> ChangeKind {
    match what {
        What::Consent(_) => ChangeKind::Consent,
        What::Stop(_) => ChangeKind::Stop,
        What::Lift { .. } => ChangeKind::Lift,
        What::Delegation(_) => ChangeKind::Delegation,
        What::Occurrence(_) => ChangeKind::Occurrence,
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

fn ends_after(from: Timestamp, lasts: Option<SpanFieldwise>) -> Result<Option<Timestamp>, ConsentError> {
    let end = |span: SpanFieldwise| from.to_zoned(TimeZone::UTC).checked_add(span.0).map(|zoned| zoned.timestamp());
    lasts.map(end).transpose().map_err(|_out_of_range| invalid("`lasts` reaches beyond the calendar"))
}

/// To the precision that is stored.
pub(super) fn cut(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

/// An event cannot have happened later than this after it was recorded.
pub(super) const FUTURE_MAX: SignedDuration = SignedDuration::from_secs(60);
/// What runs out is stored in pieces of this size.
const DUE_AT_ONCE: usize = 1000;
