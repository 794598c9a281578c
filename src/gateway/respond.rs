//! What leaves. A [`Part`] is filtered bytes together with the proof that their entry is durable; an answer is made from a
//! part, a refusal from its recorded decision, and there is no third way (but rejects before anybody is known, which carry
//! no decision and no data).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};

use super::encode::{self, Choice};
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
}

impl Part {
    #[must_use]
    pub fn new(filtered: Filtered, recorded: Recorded) -> Self {
        Self { filtered, recorded }
    }
}

/// Watches an answer on its way out.
pub trait Watch: Send + Sync {
    /// Whether what was decided still holds; asked before each piece. Before the first, too: an HTTP/2 client that opens no
    /// window may wait with it for as long as it likes.
    fn still_holds(&self) -> bool;
    /// The answer is over; `complete` is false when it was cut or the client went away.
    fn ended(&self, bytes: u64, complete: bool);
}

/// The body of every response.
pub struct Reply {
    rest: Bytes,
    sent: u64,
    watch: Option<Arc<dyn Watch>>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({} bytes sent, {} to go)", self.sent, self.rest.len())
    }
}

/// The answer was taken back while it was being sent.
#[derive(Debug, thiserror::Error)]
#[error("the decision changed while the answer was being sent")]
pub struct TakenBack;

impl Reply {
    fn finish(&mut self, complete: bool) {
        if let Some(watch) = self.watch.take() {
            watch.ended(self.sent, complete);
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = TakenBack;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TakenBack>>> {
        if self.rest.is_empty() {
            self.finish(true);
            return Poll::Ready(None);
        }
        if self.watch.as_ref().is_some_and(|w| !w.still_holds()) {
            self.finish(false);
            self.rest = Bytes::new();
            return Poll::Ready(Some(Err(TakenBack)));
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(piece);
        self.sent = self.sent.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if self.rest.is_empty() {
            // hyper does not ask again once the announced length is reached.
            self.finish(true);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let complete = self.rest.is_empty();
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
    let Part { filtered, recorded } = part;
    tracing::trace!(entry = recorded.index(), "releasing");
    let status = head.own.status(head.status);
    let Own { compress, cache, etag, is_known } = head.own;
    let is_compressed = !is_known && compress.compresses(head.content_type.as_ref(), Some(filtered.len()));
    let whole = if is_known { Bytes::new() } else { packed(filtered.into_bytes(), is_compressed) };
    let length = whole.len();
    let bytes = if head.bodiless { Bytes::new() } else { whole };
    let mut response = Response::new(Reply { rest: bytes, sent: 0, watch: Some(watch) });
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
    if head.bodiless && length > 0 {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(content_type) = head.content_type.filter(|_| length > 0) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    insert(headers, "consentry-decision", &head.decision);
    insert(headers, "consentry-revision", &head.revision.to_string());
    if let Some(withheld) = head.withheld {
        insert(headers, "consentry-withheld", &withheld.to_string());
    }
    response
}

fn packed(filtered: Bytes, is_compressed: bool) -> Bytes {
    if !is_compressed {
        return filtered;
    }
    // Writing to memory cannot fail; if it did, nothing would go out.
    encode::whole(&filtered).map(Bytes::from).unwrap_or_else(|error| {
        tracing::error!(%error, "an answer cannot be compressed");
        Bytes::new()
    })
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
    let mut response = Response::new(Reply { rest: Bytes::from(problem.body(decision)), sent: 0, watch: None });
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
    match problem.code.status() {
        StatusCode::UNAUTHORIZED => {
            let challenge = if problem.code == Code::TokenInvalid { "Bearer error=\"invalid_token\"" } else { "Bearer" };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
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

    /// Holds for so many questions, and notes the ends.
    #[derive(Default)]
    struct Patient {
        holds: AtomicUsize,
        ends: Mutex<Vec<(u64, bool)>>,
    }

    impl Watch for Patient {
        fn still_holds(&self) -> bool {
            self.holds.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        }

        fn ended(&self, bytes: u64, complete: bool) {
            self.ends.lock().unwrap().push((bytes, complete));
        }
    }

    async fn sent(bytes: usize, holds: usize) -> (usize, bool, Vec<(u64, bool)>) {
        let watch = Arc::new(Patient { holds: holds.into(), ..Patient::default() });
        let mut reply = Reply { rest: Bytes::from(vec![b' '; bytes]), sent: 0, watch: Some(Arc::clone(&watch) as Arc<dyn Watch>) };
        let (mut received, mut broken) = (0, false);
        while let Some(frame) = reply.frame().await {
            match frame {
                Ok(frame) => received += frame.into_data().unwrap().len(),
                Err(TakenBack) => broken = true,
            }
            if broken {
                break;
            }
        }
        drop(reply);
        let ends = watch.ends.lock().unwrap().clone();
        (received, broken, ends)
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
