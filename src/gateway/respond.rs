//! What leaves. A [`Part`] is filtered bytes together with the proof that their entry is durable; an answer is made from a
//! part, a refusal from its recorded decision, and there is no third way (but rejects before anybody is known, which carry
//! no decision and no data).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::encode::{Choice, Encoder};
use super::in_flight::Admitted;
use super::problem::{Code, Problem};
use crate::audit::Recorded;
use crate::filter::Filtered;

/// Bytes handed on at a time; before each piece the decision is compared once more.
const PIECE_BYTES: usize = 64 * 1024;

/// Bytes that may go out: cut, and recorded.
#[derive(Debug)]
pub struct Part {
    filtered: Filtered,
    recorded: Recorded,
    /// What they were decided on; asked before each piece is handed to hyper, also the first. A client of HTTP/2 that opens no window
    /// may have that one wait there, until its stream is reset (`activity.rs`).
    holds: Arc<dyn Holds>,
}

impl Part {
    #[must_use]
    pub fn new(filtered: Filtered, recorded: Recorded, holds: Arc<dyn Holds>) -> Self {
        Self { filtered, recorded, holds }
    }
}

/// A decision that may have been overtaken.
pub trait Holds: Send + Sync + std::fmt::Debug {
    /// Whether what was decided still holds.
    fn still_holds(&self) -> bool;
}

/// Watches an answer on its way out.
pub trait Watch: Send + Sync {
    /// A further part begins to go out.
    fn began(&self, rows: u64);
    /// The answer is over; `complete` is false when it was cut or the client went away.
    fn ended(&self, bytes: u64, complete: bool);
}

/// A further part of an answer.
#[derive(Debug)]
pub struct Next {
    pub part: Part,
    pub rows: u64,
    pub is_last: bool,
}

/// The body of every response.
pub struct Reply {
    rest: Bytes,
    sent: u64,
    holds: Option<Arc<dyn Holds>>,
    watch: Option<Arc<dyn Watch>>,
    /// Where further parts come from. It ends before its last part when the answer broke off.
    more: Option<mpsc::Receiver<Next>>,
    /// Compresses further parts.
    packer: Option<Encoder>,
    /// Its request is under way until all of it is out.
    admitted: Option<Admitted>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({} bytes sent, {} to go)", self.sent, self.rest.len())
    }
}

/// The answer ends before its end: the client must see that.
#[derive(Debug, thiserror::Error)]
pub enum BrokenOff {
    #[error("the decision changed while the answer was being sent")]
    TakenBack,
    #[error("the answer could not be told to its end")]
    Unfinished,
}

impl Reply {
    fn whole(bytes: Bytes) -> Self {
        Self { rest: bytes, sent: 0, holds: None, watch: None, more: None, packer: None, admitted: None }
    }

    pub(super) fn hold(&mut self, admitted: Admitted) {
        self.admitted = Some(admitted);
    }

    fn finish(&mut self, complete: bool) {
        if let Some(watch) = self.watch.take() {
            watch.ended(self.sent, complete);
        }
    }

    fn break_off(&mut self, why: BrokenOff) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.finish(false);
        (self.rest, self.more) = (Bytes::new(), None);
        Poll::Ready(Some(Err(why)))
    }

    /// Takes the next part when there is one; `None` at the end.
    fn turn(&mut self, next: Option<Next>) -> Option<BrokenOff> {
        let Some(Next { part, rows, is_last }) = next else { return Some(BrokenOff::Unfinished) };
        if let Some(watch) = &self.watch {
            watch.began(rows);
        }
        tracing::trace!(entry = part.recorded.index(), "releasing");
        (self.rest, self.holds) = (packed(part.filtered.into_bytes(), &mut self.packer, is_last), Some(part.holds));
        if is_last {
            self.more = None;
        }
        None
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        while self.rest.is_empty() {
            let Some(more) = self.more.as_mut() else {
                self.finish(true);
                return Poll::Ready(None);
            };
            let next = ready!(more.poll_recv(cx));
            if let Some(broken) = self.turn(next) {
                return self.break_off(broken);
            }
        }
        if self.holds.as_ref().is_some_and(|holds| !holds.still_holds()) {
            return self.break_off(BrokenOff::TakenBack);
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(piece);
        self.sent = self.sent.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if self.is_end_stream() {
            // hyper does not ask again once the announced length is reached.
            self.finish(true);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.more.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let here = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        if self.more.is_none() {
            return SizeHint::with_exact(here);
        }
        let mut hint = SizeHint::new();
        hint.set_lower(here);
        hint
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let complete = self.is_end_stream();
        self.finish(complete);
    }
}

/// Head of an answer beside its part.
#[derive(Debug)]
pub struct Head {
    pub status: StatusCode,
    /// Headers that the API lets through, already chosen.
    pub headers: HeaderMap,
    pub content_type: Option<HeaderValue>,
    pub decision: String,
    /// Paths of the shape withheld by this decision.
    pub withheld: Option<usize>,
    /// Of the consent store, never of the party.
    pub revision: u64,
    /// HEAD: the headers of the filtered answer without its bytes.
    pub bodiless: bool,
    pub own: Own,
}

/// What the gateway says of an answer by itself, where the API declares it.
#[derive(Debug, Default)]
pub struct Own {
    pub(super) compress: Choice,
    /// How long the caller may keep it; only of data that is nobody's.
    pub(super) cache: Option<Duration>,
    pub(super) etag: Option<HeaderValue>,
    /// The caller has exactly these bytes: 304 in their place.
    pub(super) is_known: bool,
}

impl Own {
    /// The status of the answer, where the upstream's was this.
    pub(super) fn status(&self, upstream: StatusCode) -> StatusCode {
        if self.is_known { StatusCode::NOT_MODIFIED } else { upstream }
    }
}

/// The answer to a permitted request.
#[must_use]
pub fn answer(head: Head, part: Part, watch: Arc<dyn Watch>) -> Response<Reply> {
    answer_in_parts(head, part, None, watch)
}

/// The same for an answer of which more parts follow.
#[must_use]
pub fn answer_in_parts(head: Head, first: Part, more: Option<mpsc::Receiver<Next>>, watch: Arc<dyn Watch>) -> Response<Reply> {
    let Part { filtered, recorded, holds } = first;
    tracing::trace!(entry = recorded.index(), "releasing");
    let status = head.own.status(head.status);
    let Own { compress, cache, etag, is_known } = head.own;
    let length = if more.is_none() { Some(filtered.len()) } else { None };
    let is_compressed = !is_known && compress.compresses(head.content_type.as_ref(), length);
    let mut packer = is_compressed.then(Encoder::new);
    let is_whole = more.is_none();
    let first = if is_known { Bytes::new() } else { packed(filtered.into_bytes(), &mut packer, is_whole) };
    let length = first.len();
    let (bytes, more) = if head.bodiless { (Bytes::new(), None) } else { (first, more) };
    let mut response = Response::new(Reply { rest: bytes, sent: 0, holds: Some(holds), watch: Some(watch), more, packer, admitted: None });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    *headers = head.headers;
    match cache {
        None => headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
        Some(age) => {
            HeaderValue::from_str(&format!("private, max-age={}", age.as_secs())).ok().and_then(|value| headers.insert(CACHE_CONTROL, value))
        }
    };
    // What is kept is kept by one caller, for the purpose for which it was asked.
    match (cache.is_some(), compress != Choice::Off) {
        (true, true) => headers.insert(VARY, HeaderValue::from_static("data-purpose, accept-encoding")),
        (true, false) => headers.insert(VARY, HeaderValue::from_static("data-purpose")),
        (false, true) => headers.insert(VARY, HeaderValue::from_static("accept-encoding")),
        (false, false) => None,
    };
    if is_compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Some(etag) = etag {
        headers.insert(ETAG, etag);
    }
    if head.bodiless && length > 0 && is_whole {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(content_type) = head.content_type.filter(|_| length > 0 || !is_whole) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    insert(headers, "consentry-decision", &head.decision);
    insert(headers, "consentry-revision", &head.revision.to_string());
    if let Some(withheld) = head.withheld {
        insert(headers, "consentry-withheld", &withheld.to_string());
    }
    response
}

/// What goes over the wire of a part.
fn packed(filtered: Bytes, packer: &mut Option<Encoder>, is_last: bool) -> Bytes {
    let Some(encoder) = packer.as_mut() else { return filtered };
    let mut out = Vec::new();
    // A part of which all was withheld is no byte, as it would be unpacked: a flush would tell that there was something.
    let mut result = if filtered.is_empty() { Ok(()) } else { encoder.push(&filtered, &mut out) };
    if is_last && let Some(encoder) = packer.take() {
        result = result.and_then(|()| encoder.finish(&mut out));
    }
    // Writing to memory cannot fail; if it did, nothing would go out.
    if let Err(error) = result {
        tracing::error!(%error, "an answer cannot be compressed");
        return Bytes::new();
    }
    Bytes::from(out)
}

/// A refusal whose record is durable.
#[must_use]
pub fn refuse(problem: &Problem, recorded: &Recorded, decision: &str) -> Response<Reply> {
    tracing::trace!(entry = recorded.index(), "refusing");
    problem_response(problem, Some(decision))
}

/// A reject that has no decision: before authentication, or because none can be recorded. Carries no data.
#[must_use]
pub fn reject(problem: &Problem) -> Response<Reply> {
    problem_response(problem, None)
}

/// The answer to a HEAD: over HTTP/2 hyper would send the body, which breaks the stream.
#[must_use]
pub(super) fn without_body(mut response: Response<Reply>) -> Response<Reply> {
    let bytes = std::mem::take(&mut response.body_mut().rest);
    if !bytes.is_empty() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    response
}

fn problem_response(problem: &Problem, decision: Option<&str>) -> Response<Reply> {
    let mut response = Response::new(Reply::whole(Bytes::from(problem.body(decision))));
    *response.status_mut() = problem.code.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(decision) = decision {
        insert(headers, "consentry-decision", decision);
    }
    if let Some(allow) = &problem.details.allow
        && let Ok(value) = HeaderValue::from_str(allow)
    {
        headers.insert(ALLOW, value);
    }
    if let Some(seconds) = problem.details.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    match problem.code.status() {
        StatusCode::UNAUTHORIZED => {
            let challenge = if problem.code == Code::TokenInvalid { "Bearer error=\"invalid_token\"" } else { "Bearer" };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(problem.details.challenge.unwrap_or(challenge)));
        }
        // An upstream that is at its limit, or away, may be there again.
        StatusCode::BAD_GATEWAY if problem.code == Code::UpstreamUnavailable => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        _ => {}
    }
    response
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            headers.insert(name, value);
        }
        Err(error) => tracing::error!(%error, name, "a header value cannot be written"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt;

    use super::*;

    /// Holds for so many questions.
    #[derive(Debug, Default)]
    struct Patient(AtomicUsize);

    impl Holds for Patient {
        fn still_holds(&self) -> bool {
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        }
    }

    /// Notes rows and ends.
    #[derive(Default)]
    struct Noted {
        rows: Mutex<Vec<u64>>,
        ends: Mutex<Vec<(u64, bool)>>,
    }

    impl Watch for Noted {
        fn began(&self, rows: u64) {
            self.rows.lock().unwrap().push(rows);
        }

        fn ended(&self, bytes: u64, complete: bool) {
            self.ends.lock().unwrap().push((bytes, complete));
        }
    }

    /// Bytes received, how it broke, and what was noted.
    async fn received(bytes: usize, holds: usize, more: Option<mpsc::Receiver<Next>>) -> (usize, Option<String>, Vec<(u64, bool)>) {
        let watch = Arc::new(Noted::default());
        let holds: Arc<dyn Holds> = Arc::new(Patient(holds.into()));
        let mut reply = Reply {
            rest: Bytes::from(vec![b' '; bytes]),
            sent: 0,
            holds: Some(holds),
            watch: Some(Arc::clone(&watch) as Arc<dyn Watch>),
            more,
            packer: None,
            admitted: None,
        };
        let (mut received, mut broken) = (0, None);
        while let Some(frame) = reply.frame().await {
            match frame {
                Ok(frame) => received += frame.into_data().unwrap().len(),
                Err(error) => {
                    broken = Some(format!("{error:?}"));
                    break;
                }
            }
        }
        drop(reply);
        let ends = watch.ends.lock().unwrap().clone();
        (received, broken, ends)
    }

    async fn sent(bytes: usize, holds: usize) -> (usize, bool, Vec<(u64, bool)>) {
        let (received, broken, ends) = received(bytes, holds, None).await;
        (received, broken.is_some(), ends)
    }

    #[tokio::test]
    async fn a_source_that_ends_before_its_last_part_breaks_the_answer_off() {
        let (to, from) = mpsc::channel::<Next>(1);
        drop(to);
        assert_eq!(received(10, 9, Some(from)).await, (10, Some("Unfinished".to_owned()), vec![(10, false)]));
    }

    #[test]
    fn a_refused_head_has_the_headers_of_the_refusal_and_no_bytes() {
        let refused = reject(&Code::Denied.into());
        let length = refused.body().rest.len();
        let refused = without_body(refused);
        assert_eq!((refused.status(), refused.body().is_end_stream()), (StatusCode::FORBIDDEN, true));
        assert_eq!(refused.headers()[CONTENT_LENGTH], length.to_string());
    }

    #[tokio::test]
    async fn no_piece_goes_out_once_the_decision_changed_and_the_end_is_told_once() {
        assert_eq!(sent(10, 0).await, (0, true, vec![(0, false)]), "nor the first");
        assert_eq!(sent(PIECE_BYTES * 3, 2).await, (PIECE_BYTES * 2, true, vec![(131_072, false)]));
        assert_eq!(sent(PIECE_BYTES + 1, 2).await, (PIECE_BYTES + 1, false, vec![(65_537, true)]));
        assert_eq!(sent(0, 0).await, (0, false, vec![(0, true)]));
    }
}
