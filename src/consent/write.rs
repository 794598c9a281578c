//! From what a caller hands in to the event that is recorded: checked, its author derived, known ones recognised; and what runs
//! out by itself. How it is stored stands in `commit.rs`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, SpanFieldwise, Timestamp};

use crate::model::{Age, Author, Channel, EventId, Identifier, PartyNo, Purpose, Revision};

use super::author::{Claimed, author, captured_by, closes, is_by_app};
use super::check::{NAME_CHARS_MAX, REASON_CHARS_MAX, check_event, check_evidence, check_note, check_stop, check_text, invalid};
use super::commit::{Binding, Failed, Writer};
use super::draft::{Acknowledged, Capturer, EventDraft, LiftDraft, Note, NoteDraft, Statement, StopDraft};
use super::error::{ConsentError, Unavailable};
use super::event::{Consent, Delegation, Event, Method, PartyRef, State, Stop, StopKind, What};
use super::health::lock;
use super::ledger::{Adopted, Ledger};
use super::parties::{Fact, FactValue, fact_row, touch};
use super::projection::Seen;
use super::store::{Answered, Batch, Change, ChangeKind, Document, fingerprint};

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
        let (party, is_erased, kept_under) = {
            let projection = self.reading();
            let of = &event.identifier;
            (projection.resolve(of), projection.is_erased(of), projection.kept_under(of))
        };
        let is_no_party = party.is_none() && !is_erased && event.identifier.space == super::party_space();
        event.identifier = kept_under.unwrap_or(event.identifier);
        let party_id = party.map(|no| self.party_id(no));
        if let Some(event_id) = known {
            let revision = Revision(event_id.0);
            return Ok(Acknowledged { event: event_id, party, party_id, revision, in_force_after: None, author: event.author, known_before: true });
        }
        if is_no_party {
            return Err(ConsentError::NotFound);
        }
        // An app is not told who was erased: what it hands in is kept like any other event, and can open nothing.
        let is_refused = is_erased && !is_by_app(&event) && binding(&event.what) == Binding::OnlyIfStored;
        if is_refused && !matches!(event.what, What::Lift { .. }) {
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

    /// Now, to the precision that is stored.
    pub(super) fn record_time(&self) -> Timestamp {
        cut(self.clock.now())
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
