//! What a statement is answered with that comes again under its `Idempotency-Key`: the first answer, made anew from what the
//! ledger kept of it. Nothing is judged again, so that what has changed since does not turn a repetition into a refusal.

use aws_lc_rs::digest::{Context, SHA256};
use http::{StatusCode, Uri};

use super::consents;
use super::dispatch::{Call, Caller, Reply};
use super::problem::{Code, Problem};
use super::record::{Weight, consent_problem};
use crate::consent::{Acknowledged, Done, State, What};

/// A statement that was recorded: a consent event, a stop, a lift, a note.
pub(super) fn event(call: &Call, done: &Done) -> Result<Reply, Problem> {
    let (Some(id), Some(author)) = (done.event, done.author) else { return Err(unreadable()) };
    let (event, _) = call.state.ledger.event(id).map_err(|error| consent_problem(&error))?;
    call.record_write(weight(&event.what), done.party, Some(done.revision), StatusCode::CREATED)?;
    let acknowledged = Acknowledged { event: id, party: done.party, revision: done.revision, in_force_after: None, author, known_before: true };
    let What::Consent(consent) = &event.what else { return Ok(consents::acknowledgement(call, &acknowledged, None)) };
    let lacks = consents::lacks_to_open(consent.state, event.event_time, event.method, &event.evidence);
    let confirmable = consent.expires.filter(|_| consent.state == State::PendingConfirmation && matches!(call.caller, Caller::App(_)));
    consents::answer(call, &acknowledged, lacks, confirmable)
}

fn weight(what: &What) -> Weight {
    match what {
        What::Consent(consent) if consent.state.closes() => Weight::Stops,
        What::Stop(_) | What::Occurrence(_) => Weight::Stops,
        What::Consent(_) | What::Lift { .. } | What::Delegation(_) => Weight::Opens,
    }
}

/// What was kept cannot be what this path keeps.
pub(super) fn unreadable() -> Problem {
    Problem::new(Code::ConsentUnavailable, "use a new key once you know what the first request did").detail("what was done cannot be read")
}

/// A hash of all that a request asks: the same key with anything else is another request.
pub(super) fn fingerprint(call: &Call, uri: &Uri) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    for part in [call.route.method, target, &call.content_type, if call.gpc { "gpc" } else { "" }] {
        context.update(part.as_bytes());
        context.update(b"\n");
    }
    context.update(&call.body);
    let mut hash = [0; 32];
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    hash
}
