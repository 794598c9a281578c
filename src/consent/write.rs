//! From what a caller hands in to the event that is recorded: checked, its author derived, known ones recognised; and what runs
//! out by itself. How it is stored stands in `commit.rs`.

use std::collections::hash_map::Entry;
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
use super::once::{First, IdempotencyKey};
use super::parties::{Fact, FactValue, fact_row, touch};
use super::projection::Seen;
use super::store::{Answered, Batch, Change, ChangeKind, Document, Done, Saying, Written};

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
        let drawn = self.draw_up(statement, caller, &adopted, self.record_time())?;
        self.store_event(drawn, start)
    }

    /// Records many statements as one transaction, in order; one that is refused does not hold up the others, one that is known
    /// already is not recorded twice. The answers are in the same order. What `beside` makes of them is stored in the same
    /// transaction. Whether it may be done at all is asked of `first` when nobody else writes any more.
    ///
    /// # Errors
    /// What `first` refuses; when the store is away: nothing of it was taken, and repeating the whole changes nothing twice.
    pub(super) fn record_many(
        &self,
        drawn: Vec<Drawn>,
        first: impl FnOnce(&Writer) -> Result<(), ConsentError>,
        beside: impl FnOnce(&[Result<Acknowledged, ConsentError>]) -> (Vec<Document>, Option<Answered>),
    ) -> Result<Vec<Result<Acknowledged, ConsentError>>, ConsentError> {
        let start = self.clock.monotonic();
        let written = drawn.into_iter().map(|drawn| Written::of(drawn.event)).collect::<Result<Vec<_>, _>>()?;
        let earlier = first_saying(&written);
        let mut writer = self.begin();
        first(&writer)?;
        let stored = self.store.known(&written.iter().collect::<Vec<_>>())?;
        let mut batch = Batch::default();
        let mut answers: Vec<Result<Acknowledged, ConsentError>> = Vec::with_capacity(written.len());
        // Customers about whom something that opens stands before it in this batch.
        let mut opened: HashSet<PartyNo> = HashSet::new();
        for ((written, stored), earlier) in written.into_iter().zip(stored).zip(earlier) {
            let before = earlier.and_then(|at| answers.get(at)).and_then(|answer| answer.as_ref().ok()).map(|answer| answer.event);
            let known = before.or(stored).filter(|known| self.counts_as_known(&written.event, *known, before.is_some(), &opened));
            if binding(&written.event.what) == Binding::OnlyIfStored {
                opened.extend(self.reading().reached_by(&written.event.identifier));
            }
            answers.push(self.add_event(&mut writer, &mut batch, written, known));
        }
        let (documents, answered) = beside(&answers);
        batch.documents = documents;
        batch.answered.extend(answered);
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
        self.store_event(Drawn { event, key: draft.idempotency_key }, start)
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
                // What was handed in about an erased person held at no time.
                let state = if self.reading().is_erased(&identifier) { State::Unknown } else { State::Expired };
                self.change(&mut writer, &mut batch, now, ChangeKind::Expiry, &identifier, |change| {
                    change.event = Some(id);
                    state.as_str().clone_into(&mut change.state);
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

    /// The event that a statement makes.
    pub(super) fn draw_up(&self, statement: Statement, caller: &Capturer, adopted: &Adopted, record_time: Timestamp) -> Result<Drawn, ConsentError> {
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
        Ok(Drawn { event, key: given.key })
    }

    fn store_event(&self, drawn: Drawn, start: Duration) -> Result<Acknowledged, ConsentError> {
        let Drawn { event, key } = drawn;
        let binding = binding(&event.what);
        let mut writer = self.begin();
        if let Some(key) = &key
            && let Some(first) = self.first_answer(&writer, key, event.record_time, binding)?
        {
            return Self::repeat(first, key.body);
        }
        let mut batch = Batch::default();
        let at = event.record_time;
        let acknowledged = self.add_event(&mut writer, &mut batch, Written::of(event)?, None)?;
        batch.answered.extend(key.map(|key| {
            let Acknowledged { event, party, revision, author, .. } = acknowledged;
            key.answered(Done { event: Some(event), party, revision, author: Some(author), detail: None, at })
        }));
        match self.commit(&mut writer, batch, binding) {
            Ok(()) => Ok(Acknowledged { in_force_after: Some(self.clock.monotonic().saturating_sub(start)), ..acknowledged }),
            Err(Failed::AppliedNotStored) => Err(ConsentError::AppliedNotStored { event: acknowledged.event }),
            Err(Failed::NotDone(error)) => Err(error.into()),
        }
    }

    /// What counts when it is recorded is known already only if nothing that opens was recorded about the customer since, under
    /// any id.
    fn counts_as_known(&self, event: &Event, known: EventId, in_batch: bool, opened: &HashSet<PartyNo>) -> bool {
        if event.event_time.is_some() {
            return true;
        }
        let projection = self.reading();
        projection.reached_by(&event.identifier).iter().all(|no| {
            let is_newest = |seen: Seen<'_>| seen.events().iter().all(|id| id <= known);
            !opened.contains(no) && (in_batch || projection.seen(*no).is_some_and(is_newest))
        })
    }

    /// Adds an event to a batch, unless it is known already.
    fn add_event(&self, writer: &mut Writer, batch: &mut Batch, mut written: Written, known: Option<EventId>) -> Result<Acknowledged, ConsentError> {
        let event = &mut written.event;
        let (party, is_erased, kept_under) = {
            let projection = self.reading();
            let of = &event.identifier;
            let party = projection.resolve(of);
            // Also by what stands before it in the batch.
            let is_same = |(id, no): &(Identifier, Option<PartyNo>)| id == of || (no.is_some() && *no == party);
            (party, projection.is_erased(of) || batch.forgotten.iter().any(is_same), projection.kept_under(of))
        };
        let is_no_party = party.is_none() && !is_erased && event.identifier.space == super::party_space();
        if let Some(kept_under) = kept_under {
            event.identifier = kept_under;
        }
        let author = event.author;
        if let Some(event) = known {
            return Ok(Acknowledged { event, party, revision: Revision(event.0), in_force_after: None, author, known_before: true });
        }
        if is_no_party {
            return Err(ConsentError::NotFound);
        }
        // An app is not told who was erased: what it hands in is kept like any other event, and can open nothing.
        let is_refused = is_erased && !is_by_app(event) && binding(&event.what) == Binding::OnlyIfStored;
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
                What::Consent(consent) => {
                    // What comes in about an erased person opens nothing: nobody is told that it does.
                    let state = if is_erased && !consent.state.closes() { State::Unknown } else { consent.state };
                    (consent.purposes.clone(), state.to_string())
                }
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
        batch.events.push(written);
        Ok(Acknowledged { event: EventId(revision.0), party, revision, in_force_after: None, author, known_before: false })
    }

    fn repeat(First { answered, stored }: First, body: [u8; 32]) -> Result<Acknowledged, ConsentError> {
        if answered.body != body {
            return Err(ConsentError::IdempotencyMismatch);
        }
        let (Some(event), Some(author)) = (answered.done.event, answered.done.author) else { return Err(ConsentError::IdempotencyMismatch) };
        if !stored {
            return Err(ConsentError::AppliedNotStored { event });
        }
        let Done { party, revision, .. } = answered.done;
        Ok(Acknowledged { event, party, revision, in_force_after: None, author, known_before: true })
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

/// A statement as it is recorded: checked, with its author.
pub(super) struct Drawn {
    pub(super) event: Event,
    key: Option<IdempotencyKey>,
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
    key: Option<IdempotencyKey>,
}

/// For each event the place of an earlier one that says the same.
fn first_saying(events: &[Written]) -> Vec<Option<usize>> {
    let mut first: HashMap<Saying<'_>, usize> = HashMap::with_capacity(events.len());
    let places = (0..).zip(events).map(|(at, written)| match first.entry(written.says()) {
        Entry::Occupied(earlier) => Some(*earlier.get()),
        Entry::Vacant(new) => {
            new.insert(at);
            None
        }
    });
    places.collect()
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
