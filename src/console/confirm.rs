//! Double opt-in: what an app recorded as `pending_confirmation` is answered with a token; handing it back records the grant
//! that the person confirmed. Whether that grant opens anything is decided by the ledger like any other.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::again;
use super::consents::{self, acknowledgement};
use super::dispatch::{Access, Call, Caller, Reply, Route, Takes};
use super::links::{Act, PARTY, fingerprint};
use super::parties::capturer;
use super::problem::{Code, Problem};
use super::record::{Weight, consent_problem};
use super::schema::body;
use crate::consent::{Consent, ConsentError, Event, EventDraft, PartyRef, State, What};
use crate::model::{EventId, PartyId, Vocabulary};

pub(super) const ROUTES: &[Route] = &[Route::post(
    "/v1/consents/{id}:confirm",
    "consents.confirm",
    Access::Capture,
    "Record that the person confirmed a pending consent, with the token that its recording was answered with",
    confirm,
)
.takes(Takes::Json(&ConfirmBody::SCHEMA))
.again(again::event)];

body! {
    /// A confirmation.
    ConfirmBody {
        /// `confirm` of the answer to the pending event.
        token: String = "string" required,
        /// When the grant runs out.
        expires: Option<String> = "timestamp" optional,
        /// How long the grant lasts from now on, ISO 8601, e.g. `P24M`; the earlier of this and `expires` holds.
        lasts: Option<String> = "string" optional,
    }
}

/// How long a person has time to confirm, unless the app says otherwise.
const CONFIRM_DAYS: i64 = 7;
/// What a grant rests on beside the evidence of the request: the token's fingerprint.
const CONFIRMATION: &str = "confirmation";

/// Completes a request for confirmation by an app and returns until when it can be confirmed; `None` for everything else.
pub(super) fn prepare(call: &Call, draft: &mut EventDraft) -> Result<Option<Timestamp>, Problem> {
    if draft.state != State::PendingConfirmation || !matches!(call.caller, Caller::App(_)) {
        return Ok(None);
    }
    if draft.lasts.is_some() {
        return Err(Problem::value("`lasts` belongs to a grant", "give it when the person confirms; `expires` says until when that can be"));
    }
    let named = draft.notice.clone().unwrap_or_default();
    if draft.scope.categories.is_empty() && named.categories.is_empty() || draft.scope.recipients.is_empty() && named.recipients.is_empty() {
        let remedy = "say in `categories` and `recipients`, or by the notice, what is to be confirmed";
        return Err(Problem::value("a grant must say which categories and recipients it covers", remedy));
    }
    // From what the caller said, so that a repeated request is the same request.
    let usual = draft.event_time.and_then(|at| at.checked_add(SignedDuration::from_hours(24 * CONFIRM_DAYS)).ok());
    let until = draft.expires.or(usual).ok_or_else(|| Problem::value("`event_time` is missing", "say when the person acted"))?;
    if until <= call.state.clock.now() {
        return Err(Problem::value("the time to confirm is over already", "say in `expires` until when the person can confirm"));
    }
    draft.expires = Some(until);
    Ok(Some(until))
}

/// What the app needs to have a pending event confirmed.
pub(super) fn token(call: &Call, event: EventId, until: Timestamp) -> Result<Value, Problem> {
    let token = call.state.links.seal(&Act::Confirm(event), until);
    let token = token.map_err(|_unspecified| Problem::new(Code::Unavailable, "repeat with the same idempotency key"))?;
    Ok(json!(token))
}

fn confirm(call: &Call) -> Result<Reply, Problem> {
    let body: ConfirmBody = call.json()?;
    let (expires, lasts) = (consents::time("expires", body.expires.as_deref())?, consents::period("lasts", body.lasts.as_deref())?);
    let id = EventId::parse(call.param(0)?).ok_or_else(refused)?;
    let now = call.state.clock.now();
    if call.state.links.open(&body.token, now) != Some(Act::Confirm(id)) {
        return Err(refused());
    }
    call.may_write(Weight::Opens)?;
    let turn = call.state.links.turn();
    let (event, pending) = pending(call, id)?;
    let subject = subject(&event);
    standing(call, &subject, id, &pending)?;
    let mut evidence = event.evidence;
    evidence.insert(CONFIRMATION.to_owned(), fingerprint(&body.token));
    let draft = EventDraft {
        subject,
        purposes: pending.purposes,
        activity: pending.activity,
        state: State::Given,
        event_time: Some(now),
        channel: event.channel,
        method: event.method,
        // Never more than the request itself was worth.
        claims: event.author,
        notice: pending.notice,
        evidence,
        source_system: Some(event.source_system),
        scope: pending.scope,
        expires,
        lasts,
        until: pending.until,
        uses: pending.uses,
        about: Some(id),
        idempotency_key: call.idempotency_key.clone(),
    };
    let acknowledged = call.state.ledger.record(draft, &capturer(call)).map_err(|error| consent_problem(&error))?;
    drop(turn);
    call.record_write(Weight::Opens, acknowledged.party, Some(acknowledged.revision), StatusCode::CREATED)?;
    Ok(acknowledgement(call, &acknowledged, None))
}

/// The pending event, if this app recorded it.
fn pending(call: &Call, id: EventId) -> Result<(Event, Consent), Problem> {
    let found = call.state.ledger.event(id);
    let (mut event, _) = found.map_err(|error| unless_unknown(&error))?;
    let own = event.captured_by == format!("client:{}", call.actor());
    let what = std::mem::replace(&mut event.what, What::Occurrence(String::new()));
    match what {
        What::Consent(consent) if own && consent.state == State::PendingConfirmation => Ok((event, consent)),
        What::Consent(_) | What::Stop(_) | What::Lift { .. } | What::Delegation(_) | What::Occurrence(_) => Err(refused()),
    }
}

/// Refuses a confirmation that was given before, or that a later no stands against: following an old link takes nothing back.
fn standing(call: &Call, subject: &PartyRef, id: EventId, pending: &Consent) -> Result<(), Problem> {
    let vocabulary = call.state.instance.vocabulary();
    let history = call.state.ledger.history(subject).map_err(|error| unless_unknown(&error))?;
    for row in history.iter().filter(|row| row.event.id > id) {
        match &row.event.what {
            What::Consent(consent) if consent.state.opens() && consent.about == Some(id) => {
                return Err(Problem::new(Code::Conflict, "nothing is left to do").detail("this is confirmed already"));
            }
            What::Consent(consent) if consent.state.closes() && touches(&vocabulary, consent, pending) => return Err(refused()),
            What::Stop(_) => return Err(refused()),
            What::Consent(_) | What::Lift { .. } | What::Delegation(_) | What::Occurrence(_) => {}
        }
    }
    Ok(())
}

/// Whether two statements are about a common purpose.
fn touches(vocabulary: &Vocabulary, closing: &Consent, pending: &Consent) -> bool {
    let related = |a, b| vocabulary.is_within(a, b) || vocabulary.is_within(b, a);
    closing.purposes.is_empty() || closing.purposes.iter().any(|a| pending.purposes.iter().any(|b| related(*a, *b)))
}

fn subject(event: &Event) -> PartyRef {
    let identifier = event.identifier.clone();
    if identifier.space.as_str() == PARTY { PartyRef::Party(PartyId(identifier.value)) } else { PartyRef::Identifier(identifier) }
}

/// An id that was erased since is not found any more.
fn unless_unknown(error: &ConsentError) -> Problem {
    if *error == ConsentError::NotFound { refused() } else { consent_problem(error) }
}

/// The same for every token that confirms nothing: an app does not learn what else the customer has said.
fn refused() -> Problem {
    let detail = "the token does not confirm this event: it belongs to another, has run out, or something said since stands against it";
    Problem::new(Code::Conflict, "ask the person for consent again").detail(detail)
}
