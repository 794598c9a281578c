//! Writing: checked, committed as one transaction, applied in memory, then acknowledged — in this order, one at a time.
//! What the store could not take is known to be in doubt: before the next write everything is read anew from it.

use std::collections::BTreeMap;
use std::sync::MutexGuard;
use std::time::Duration;

use aws_lc_rs::rand;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, SpanFieldwise, Timestamp};
use ulid::Ulid;

use crate::model::{Author, Channel, EventId, Identifier, PartyId, PartyNo, Revision};

use super::author::{Claimed, author, captured_by};
use super::check::{NAME_CHARS_MAX, REASON_CHARS_MAX, check_event, check_evidence, check_stop, check_text, invalid};
use super::draft::{Acknowledged, Capturer, EventDraft, LiftDraft, Statement, StopDraft};
use super::error::{ConsentError, Unavailable};
use super::event::{Assurance, Consent, Event, Method, PartyRef, Stop, StopKind, What};
use super::health::lock;
use super::ledger::{Ledger, read};
use super::store::{Answered, Batch, Change, ChangeKind, StoreError, fingerprint};

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
}

impl Writer {
    pub(super) const fn after(revision: Revision) -> Self {
        Self { last: revision, stored: revision, in_doubt: false, unstored: Vec::new() }
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
        let start = self.clock.monotonic();
        let adopted = self.adopted()?;
        check_event(&draft, &adopted.vocabulary)?;
        let statement = Claimed { purposes: &draft.purposes, channel: draft.channel, claims: draft.claims, evidence: &draft.evidence };
        let author = author(&adopted, caller, &statement);
        let event = self.draw_up(
            &draft.subject,
            caller,
            author,
            Given {
                event_time: draft.event_time,
                channel: draft.channel,
                method: draft.method,
                evidence: draft.evidence,
                source_system: draft.source_system,
            },
            What::Consent(Consent {
                purposes: draft.purposes,
                activity: draft.activity,
                notice: draft.notice,
                state: draft.state,
                scope: draft.scope,
                expires: earlier(draft.expires, ends_after(draft.event_time.unwrap_or_else(|| self.record_time()), draft.lasts)?),
                until: draft.until,
                uses: draft.uses,
                about: draft.about,
            }),
        )?;
        self.store_event(event, draft.claims, draft.idempotency_key, start)
    }

    /// Records a hard stop. Needs no grant and no known id; it binds when the id is linked.
    ///
    /// # Errors
    /// As [`Self::record`]; never [`ConsentError::Unavailable`] because the store is down.
    pub fn add_stop(&self, draft: StopDraft, caller: &Capturer) -> Result<Acknowledged, ConsentError> {
        let start = self.clock.monotonic();
        let adopted = self.adopted()?;
        check_stop(&draft, &adopted.vocabulary)?;
        let statement = Claimed { purposes: &draft.purposes, channel: draft.channel, claims: draft.claims, evidence: &draft.evidence };
        let author = author(&adopted, caller, &statement);
        let event = self.draw_up(
            &draft.subject,
            caller,
            author,
            Given {
                event_time: draft.event_time,
                channel: draft.channel,
                method: Method::Expressed,
                evidence: draft.evidence,
                source_system: draft.source_system,
            },
            What::Stop(Stop { kind: draft.kind, purposes: draft.purposes, scope: draft.scope, reason: draft.reason }),
        )?;
        self.store_event(event, draft.claims, draft.idempotency_key, start)
    }

    /// Records many statements, in order; one that is refused does not hold up the others. The answers are in the same order.
    ///
    /// # Errors
    /// When the store is away: what was taken before stays, and repeating the whole changes nothing twice.
    pub fn record_many(&self, statements: Vec<Statement>, caller: &Capturer) -> Result<Vec<Result<Acknowledged, ConsentError>>, Unavailable> {
        let mut answers = Vec::with_capacity(statements.len());
        for statement in statements {
            let answer = match statement {
                Statement::Consent(draft) => self.record(*draft, caller),
                Statement::Stop(draft) => self.add_stop(*draft, caller),
            };
            match answer {
                Err(ConsentError::Unavailable(away)) => return Err(away),
                answer => answers.push(answer),
            }
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
        let (kind, identifier) = {
            let projection = self.reading();
            let kind = projection.stop_kind(&draft.stop).ok_or(ConsentError::NoSuchStop)?;
            (kind, projection.kept_under(&draft.stop).cloned().ok_or(ConsentError::NoSuchStop)?)
        };
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
        let given = Given { event_time: None, channel: Channel::System, method: Method::Expressed, evidence: draft.evidence, source_system: None };
        let what = What::Lift { stop: draft.stop, reason: draft.reason };
        let event = self.draw_up(&PartyRef::Identifier(identifier), caller, Author::Staff, given, what)?;
        self.store_event(event, Author::Staff, draft.idempotency_key, start)
    }

    /// Fires what has run out by `now`; called each second. Also brings to the store what it could not take before. Returns how
    /// many consents ran out.
    ///
    /// # Errors
    /// When the store is away; what has run out is closed even so.
    pub fn tick(&self, now: Timestamp) -> Result<usize, Unavailable> {
        let mut writer = lock(&self.writer);
        let recovered = if writer.in_doubt { self.recover(&mut writer) } else { Ok(()) };
        let due = self.reading().due(now);
        for id in &due {
            let mut batch = Batch { lapsed: vec![*id], ..Batch::default() };
            let identifier = self.reading().kept_under(id).cloned();
            if let Some(identifier) = identifier {
                self.change(&mut writer, &mut batch, now, ChangeKind::Expiry, &identifier, |change| {
                    change.event = Some(*id);
                    "expired".clone_into(&mut change.state);
                });
            }
            self.commit(&mut writer, batch, Binding::Anyway).or_else(|error| match error {
                Failed::AppliedNotStored => Ok(()),
                Failed::NotDone(unavailable) => Err(unavailable),
            })?;
        }
        recovered?;
        Ok(due.len())
    }

    /// The one writer. If the store was away and is back, what waited is stored first; if it is not, the commit will say so.
    pub(super) fn begin(&self) -> MutexGuard<'_, Writer> {
        let mut writer = lock(&self.writer);
        if writer.in_doubt {
            drop(self.recover(&mut writer));
        }
        writer
    }

    fn draw_up(&self, subject: &PartyRef, caller: &Capturer, author: Author, given: Given, what: What) -> Result<Event, ConsentError> {
        let record_time = self.record_time();
        let latest = record_time.checked_add(FUTURE_MAX).unwrap_or(Timestamp::MAX);
        if given.event_time.is_some_and(|t| t > latest) {
            return Err(invalid("`event_time` lies in the future: say when the person acted"));
        }
        check_evidence(&given.evidence)?;
        if let Some(source) = &given.source_system {
            check_text("source_system", source, NAME_CHARS_MAX)?;
        }
        let captured_by = captured_by(caller);
        Ok(Event {
            id: EventId(0),
            revision: Revision(0),
            identifier: subject.identifier(),
            event_time: given.event_time,
            record_time,
            channel: given.channel,
            source_system: given.source_system.unwrap_or_else(|| captured_by.clone()),
            captured_by,
            method: given.method,
            author,
            evidence: given.evidence,
            what,
        })
    }

    fn store_event(&self, mut event: Event, claims: Author, key: Option<String>, start: Duration) -> Result<Acknowledged, ConsentError> {
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
        if self.reading().resolve(&event.identifier).is_none() && event.identifier.space == super::party_space() {
            return Err(ConsentError::NotFound);
        }
        if binding == Binding::OnlyIfStored && matches!(event.what, What::Consent(_)) && self.reading().is_erased(&event.identifier) {
            return Err(ConsentError::Erased);
        }
        let mut batch = Batch::default();
        let revision = self.change(&mut writer, &mut batch, event.record_time, kind_of(&event.what), &event.identifier, |change| {
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
        (event.id, event.revision) = (EventId(revision.0), revision);
        if let What::Stop(Stop { kind: StopKind::Erasure, .. }) = event.what {
            batch.tombstones = self.tombstones_of(&event.identifier);
        }
        let (party, party_id) = self.whose(&event.identifier);
        batch.answered = key.map(|key| Answered {
            caller: event.captured_by.clone(),
            key,
            body,
            event: event.id,
            party,
            revision,
            author: event.author,
            at: event.record_time,
        });
        let (id, author) = (event.id, event.author);
        batch.events.push(event);
        match self.commit(&mut writer, batch, binding) {
            Ok(()) => {}
            Err(Failed::AppliedNotStored) => return Err(ConsentError::AppliedNotStored { event: id }),
            Err(Failed::NotDone(error)) => return Err(error.into()),
        }
        let in_force_after = Some(self.clock.monotonic().saturating_sub(start));
        Ok(Acknowledged { event: id, party, party_id, revision, in_force_after, author, known_before: false })
    }

    fn first_answer(&self, writer: &Writer, event: &Event, key: &str, binding: Binding) -> Result<Option<First>, ConsentError> {
        let caller = &event.captured_by;
        let waiting = writer.unstored.iter().filter_map(|batch| batch.answered.as_ref());
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
        let party_id = answered.party.and_then(|no| self.reading().party(no).map(|party| party.id.clone()));
        let Answered { event, party, revision, author, .. } = answered;
        Ok(Acknowledged { event, party, party_id, revision, in_force_after: None, author, known_before: false })
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

    /// Stores a batch, applies it, tells the listener.
    pub(super) fn commit(&self, writer: &mut Writer, batch: Batch, binding: Binding) -> Result<(), Failed> {
        // What is in doubt comes first: `begin` and `tick` settle it.
        let stored = if writer.in_doubt {
            Err(Unavailable("earlier changes are not stored yet".to_owned()))
        } else {
            self.store.commit(&batch).map_err(Unavailable::from)
        };
        match stored {
            Ok(()) => {
                writer.stored = writer.last;
                self.apply(writer, &batch).map_err(Failed::NotDone)?;
                self.tell(&batch);
                Ok(())
            }
            Err(error) => {
                // Whether a commit that failed took place after all is not known.
                writer.in_doubt = true;
                self.health.set(self.clock.monotonic(), Err(error.clone()));
                if binding == Binding::OnlyIfStored {
                    return Err(Failed::NotDone(error));
                }
                self.apply(writer, &batch).map_err(Failed::NotDone)?;
                writer.unstored.push(batch);
                Err(Failed::AppliedNotStored)
            }
        }
    }

    fn apply(&self, writer: &mut Writer, batch: &Batch) -> Result<(), Unavailable> {
        self.writing().apply(batch).map_err(|error| {
            writer.in_doubt = true;
            error.into()
        })
    }

    fn tell(&self, batch: &Batch) {
        let listener = self.listener.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(listener) = &*listener {
            batch.changes.iter().for_each(listener);
        }
    }

    /// After a failure: checks that it is the same store with nothing lost, stores what is waiting, and reads it anew.
    fn recover(&self, writer: &mut Writer) -> Result<(), Unavailable> {
        let head = self.store.head()?;
        if head.id != self.store_id || head.revision < writer.stored {
            return Err(Unavailable("it is another database or an older copy than before".to_owned()));
        }
        while let Some(batch) = writer.unstored.first() {
            if !self.holds(batch)? {
                self.store.commit(batch)?;
            }
            self.tell(batch);
            writer.unstored.remove(0);
        }
        let skew = self.reading().skew();
        let (fresh, head) = read(&*self.store, skew)?;
        let mut projection = self.writing();
        // INVARIANT: a revision once shown is never shown again for another state.
        writer.last = writer.last.max(head.revision);
        writer.stored = head.revision;
        *projection = fresh;
        drop(projection);
        writer.in_doubt = false;
        self.health.set(self.clock.monotonic(), Ok(()));
        Ok(())
    }

    fn holds(&self, batch: &Batch) -> Result<bool, StoreError> {
        batch.changes.first().map_or(Ok(true), |change| self.store.holds(change.revision))
    }

    fn tombstones_of(&self, identifier: &Identifier) -> Vec<super::store::Tombstone> {
        let projection = self.reading();
        let party = projection.resolve(identifier).and_then(|no| projection.party(no));
        // An id that is only matched may be somebody else's.
        let linked = party.into_iter().flat_map(|p| &p.links).filter(|link| link.assurance != Assurance::Matched);
        let mut hashes: Vec<_> = linked.map(|link| projection.tombstone(&link.identifier)).collect();
        if identifier.space != super::party_space() {
            hashes.push(projection.tombstone(identifier));
        }
        hashes
    }

    fn whose(&self, identifier: &Identifier) -> (Option<PartyNo>, Option<PartyId>) {
        let projection = self.reading();
        let party = projection.resolve(identifier);
        (party, party.and_then(|no| projection.party(no)).map(|p| p.id.clone()))
    }

    /// Now, to the precision that is stored.
    pub(super) fn record_time(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

/// Why a batch was not acknowledged.
#[derive(Debug)]
pub(super) enum Failed {
    AppliedNotStored,
    NotDone(Unavailable),
}

impl From<Failed> for ConsentError {
    fn from(failed: Failed) -> Self {
        match failed {
            // Only stops bind unstored, and they name their event themselves.
            Failed::AppliedNotStored => Self::Unavailable(Unavailable("the change was not stored".to_owned())),
            Failed::NotDone(unavailable) => Self::Unavailable(unavailable),
        }
    }
}

struct First {
    answered: Answered,
    stored: bool,
}

/// The fields that every kind of event takes from its draft.
struct Given {
    event_time: Option<Timestamp>,
    channel: Channel,
    method: Method,
    evidence: BTreeMap<String, String>,
    source_system: Option<String>,
}

fn binding(what: &What) -> Binding {
    match what {
        What::Stop(_) => Binding::Anyway,
        What::Consent(consent) if consent.state.closes() => Binding::Anyway,
        What::Occurrence(_) => Binding::Anyway,
        What::Consent(_) | What::Lift { .. } | What::Delegation(_) => Binding::OnlyIfStored,
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

/// A lower-case ULID: 48 bits of time, 80 of randomness.
pub(super) fn fresh_id(at: Timestamp) -> Result<String, ConsentError> {
    let mut random = [0_u8; 16];
    rand::fill(&mut random).map_err(|_unspecified| Unavailable("the machine gives no randomness".to_owned()))?;
    let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
    Ok(Ulid::from_parts(millis, u128::from_be_bytes(random)).to_string().to_lowercase())
}

/// An event cannot have happened later than this after it was recorded.
pub(super) const FUTURE_MAX: SignedDuration = SignedDuration::from_secs(60);
