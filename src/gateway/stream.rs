//! Streams: records that come for as long as both sides like (NDJSON, server-sent events). The head of the answer goes out once its
//! entry is durable; then every few records are one part, cut, recorded and compared like any other.
//!
//! A stream outlives what it was decided on. Each part is judged by what holds when it is cut: by the consent of that moment, and
//! after a reload by the same request routed anew. When the route or the right to it is gone, the stream breaks off.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::BytesMut;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Response};
use tokio::sync::mpsc;

use super::answer::{compressed, content_type, note_drift};
use super::budgets::Charged;
use super::forward::Unfiltered;
use super::judge::Basis;
use super::list::{Cutting, Place, Source, Taken};
use super::passed::response_headers;
use super::pipeline::{Ending, Halt};
use super::problem::Code;
use super::read::{ATTEMPTS_MAX, route_anew};
use super::respond::{Head, Next, Part, Reply, answer_in_parts};
use super::route::{Authenticated, Routed};
use super::state::Shared;
use crate::audit::Recorded;
use crate::filter::Filtered;
use crate::model::{Framing, Identifier, ResponsePlan};

/// How long a part waits for further records.
const GATHER: Duration = Duration::from_millis(50);

/// Answers with the head of a stream; its records follow by themselves.
pub(super) fn release(
    shared: &Arc<Shared>,
    call: &Authenticated,
    routed: Routed,
    head: Recorded,
    unfiltered: Unfiltered,
    customer: Option<Identifier>,
) -> Result<Response<Reply>, Halt> {
    let is_stream = matches!(&routed.found.route.response, ResponsePlan::Stream { framing, .. } if says(&unfiltered.headers, framing));
    if !is_stream || unfiltered.is_encoded() {
        return Err(Halt::refuse_of(&routed.facts, &head, Code::UpstreamUnreadable, Vec::new()));
    }
    let ending = Ending {
        shared: Arc::clone(shared),
        of: head.index(),
        status: unfiltered.status.as_u16(),
        rows: AtomicU64::new(0),
        started: call.started,
        outcome: "redact",
        trace: call.trace,
        facts: Arc::clone(&routed.facts),
    };
    let answer_head = Head {
        status: unfiltered.status,
        headers: response_headers(shared, &routed, &unfiltered, None),
        content_type: content_type(&routed.found.route.response, &unfiltered),
        decision: head.decision_id().to_string(),
        withheld: None,
        revision: shared.ledger.revision().0,
        bodiless: call.method == Method::HEAD,
        own: compressed(&routed, call),
    };
    shared.metrics.decided(ending.outcome);
    tracing::debug!(decision = answer_head.decision, app = %routed.facts.app, route = %routed.facts.route, "a stream begins");
    let source = Source::new(BytesMut::from(unfiltered.body), unfiltered.rest, 2 * routed.snapshot.limits.answer_body_max);
    let place = Place::new(shared, routed, head.clone(), customer);
    let first = Part::new(Filtered::empty(), head, place.footing(Basis::default()));
    let (to_client, from_stream) = mpsc::channel(1);
    if !answer_head.bodiless {
        tokio::spawn(go_on(place, call.clone(), source, to_client));
    }
    Ok(answer_in_parts(answer_head, first, Some(from_stream), Arc::new(ending)))
}

/// Whether the answer is what the route declares: one content type, by its essence.
fn says(headers: &HeaderMap, framing: &Framing) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    framing.content_types().contains(&essence.as_str())
}

async fn go_on(mut place: Place, call: Authenticated, mut source: Source, to_client: mpsc::Sender<Next>) {
    let parts = async {
        loop {
            match next(&mut place, &call, &mut source).await {
                Ok(next) => {
                    let is_last = next.is_last;
                    if to_client.send(next).await.is_err() || is_last {
                        return;
                    }
                }
                Err(halt) => return place.broken(&halt),
            }
        }
    };
    tokio::select! {
        () = parts => {}
        // Nobody is there any more.
        () = to_client.closed() => {}
    }
}

/// The next part that may go out.
async fn next(place: &mut Place, call: &Authenticated, source: &mut Source) -> Result<Next, Halt> {
    source.wait(place).await?;
    let (mut taken, mut charged) = (Taken::default(), Charged::default());
    for _ in 0..ATTEMPTS_MAX {
        if !place.decides() {
            place.routed = route_anew(&place.shared, call, &place.routed, &place.head)?;
        }
        // What is judged now is not what the head tells.
        place.is_anew = true;
        place.routed.asked.now = place.shared.clock.now();
        let mut flow = place.flow();
        let piece = place.next(&mut flow, source, Some(GATHER)).await?;
        // It may have waited long for the end of a record.
        if call.principal.has_run_out(place.shared.clock.now()) {
            return Err(place.refuse(Code::TokenInvalid, Vec::new()));
        }
        if !place.holds(&piece.basis) {
            // It waited for the end of a record, and something changed meanwhile.
            source.again();
            continue;
        }
        let Cutting { cut, mut basis, recording, is_last } = place.record(piece, &mut charged)?;
        let recorded = recording.durable().await?;
        if place.reserve(&mut basis, &cut, &mut taken).await? && place.holds(&basis) {
            source.let_go();
            note_drift(&place.routed, &place.shared, &cut.report);
            return Ok(Next { rows: cut.report.rows.into(), part: Part::new(cut.filtered, recorded, place.footing(basis)), is_last });
        }
        source.again();
    }
    Err(place.refuse(Code::ConsentUnavailable, Vec::new()))
}
