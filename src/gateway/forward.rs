//! **Forwarded**: the request as it is re-serialised for the upstream. Takes a [`Permitted`] or a [`Lookup`]: without one
//! of them nothing can be sent. What comes back is [`Unfiltered`] and can only be cut.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::response::Parts;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::accept::TraceContext;
use super::decode::{self, DecodeError, Decoder};
use super::permit::{Lookup, Permitted};
use super::pool::{Answer, Pool, PoolError};
use super::state::Shared;
use super::targets::{Picked, Targets};
use crate::clock::Clock;
use crate::model::UpstreamName;

/// How the gateway identifies itself to an upstream, beside a client certificate.
#[derive(Clone)]
pub enum Credentials {
    None,
    /// The caller's own `Authorization` header goes on.
    Forward,
    /// A fixed header, e.g. an API key.
    Header(HeaderName, HeaderValue),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Forward => f.write_str("Forward"),
            Self::Header(name, _) => write!(f, "Header({name}, …)"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    pub name: UpstreamName,
    /// `scheme://host[:port]`, at least one.
    pub targets: Arc<Targets>,
    /// Empty, or a canonical path without a slash at its end.
    pub base_path: String,
    pub tls: rustls::ClientConfig,
    pub credentials: Credentials,
    pub connect_timeout: Duration,
    pub first_byte_timeout: Duration,
    pub total_timeout: Duration,
    /// Requests under way at once; more wait for `connect_timeout` and are then refused.
    pub in_flight_max: usize,
    /// Largest answer that is held whole, bytes, also once it is decoded; of a list that is cut while it comes.
    pub answer_bytes_max: usize,
    pub list_bytes_max: usize,
    /// The content codings that are asked for.
    pub accept_encoding: HeaderValue,
    /// Decoded bytes for each encoded one, once there are some.
    pub decode_ratio_max: u32,
}

/// One upstream with its pool of kept-alive connections.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    pools: Vec<Arc<Pool>>,
    room: Arc<Semaphore>,
}

/// Why no answer can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    #[error("the upstream cannot be reached")]
    Unavailable,
    #[error("the upstream did not answer in time")]
    Timeout,
    #[error("the upstream's answer is over the size limit")]
    TooLarge,
    #[error("the upstream's answer broke off")]
    Broken,
}

/// An upstream's answer, not yet cut: only this room can look inside.
pub struct Unfiltered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// All of it, or its beginning.
    pub(super) body: Bytes,
    pub(super) rest: Option<Rest>,
}

/// What is yet to come of an answer.
pub(super) struct Rest {
    body: Answer,
    decoder: Option<Decoder>,
    /// Came, and is not decoded yet: a little that becomes much is decoded as it is wanted.
    packed: Bytes,
    name: UpstreamName,
    /// Bytes received so far, and at most.
    received: usize,
    bytes_max: usize,
    /// How long the upstream may be waited for, at once and in all.
    idle_timeout: Duration,
    time_left: Duration,
    _place: Place,
}

/// What a request takes up until its answer has come to its end.
type Place = (OwnedSemaphorePermit, Picked);

impl Rest {
    /// Waits for more, not longer than `at_most` if that is given. Nothing is lost when it is not waited for to its end.
    pub(super) async fn next(&mut self, clock: &dyn Clock, at_most: Option<Duration>) -> Result<Came, ForwardError> {
        loop {
            if let Some(decoder) = self.decoder.as_mut().filter(|_| !self.packed.is_empty()) {
                let mut plain = Vec::new();
                let piece = self.packed.split_to(self.packed.len().min(PACKED_PIECE_BYTES));
                decoder.push(&piece, &mut plain).map_err(|error| undecodable(self.name, error))?;
                // What came may say nothing yet.
                if !plain.is_empty() {
                    return Ok(Came::Bytes(Bytes::from(plain)));
                }
                continue;
            }
            match self.next_received(clock, at_most).await? {
                Came::Bytes(bytes) if self.decoder.is_some() => self.packed = bytes,
                Came::Bytes(bytes) => return Ok(Came::Bytes(bytes)),
                Came::End => return decoded_end(self.name, self.decoder.take()),
                Came::Nothing => return Ok(Came::Nothing),
            }
        }
    }

    async fn next_received(&mut self, clock: &dyn Clock, at_most: Option<Duration>) -> Result<Came, ForwardError> {
        let patience = self.idle_timeout.min(self.time_left);
        let asked = clock.monotonic();
        let frame = tokio::time::timeout(at_most.unwrap_or(patience).min(patience), self.body.next()).await;
        // Also what was waited in vain counts, else an upstream that drips is waited for without end.
        self.time_left = self.time_left.saturating_sub(clock.monotonic().saturating_sub(asked));
        let bytes = match frame {
            Ok(frame) => frame.map_err(|error| broken(self.name, &error))?,
            Err(_late) if at_most.is_some_and(|at_most| at_most < patience) => return Ok(Came::Nothing),
            Err(_late) => return Err(ForwardError::Timeout),
        };
        let Some(bytes) = bytes else { return Ok(Came::End) };
        self.received = self.received.saturating_add(bytes.len());
        if self.received > self.bytes_max { Err(ForwardError::TooLarge) } else { Ok(Came::Bytes(bytes)) }
    }
}

/// What is left of an encoded answer at its end.
fn decoded_end(name: UpstreamName, decoder: Option<Decoder>) -> Result<Came, ForwardError> {
    let Some(mut decoder) = decoder else { return Ok(Came::End) };
    let mut plain = Vec::new();
    decoder.finish(&mut plain).map_err(|error| undecodable(name, error))?;
    Ok(if plain.is_empty() { Came::End } else { Came::Bytes(Bytes::from(plain)) })
}

fn undecodable(name: UpstreamName, error: DecodeError) -> ForwardError {
    tracing::warn!(upstream = %name, %error, "an upstream answer cannot be decoded");
    ForwardError::Broken
}

/// What came of an answer while it was waited for.
pub(super) enum Came {
    Bytes(Bytes),
    End,
    /// Not in the time given.
    Nothing,
}

fn broken(name: UpstreamName, error: &hyper::Error) -> ForwardError {
    tracing::warn!(upstream = %name, %error, "upstream answer broke off");
    ForwardError::Broken
}

impl std::fmt::Debug for Unfiltered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unfiltered({}, {} bytes)", self.status, self.body.len())
    }
}

impl Unfiltered {
    /// Whether the body is JSON that the cutter may read: one JSON content type and no encoding.
    pub(super) fn is_plain_json(&self) -> bool {
        !self.is_encoded() && super::accept::is_json(&self.headers)
    }

    pub(super) fn is_encoded(&self) -> bool {
        decode::is_encoded(&self.headers)
    }
}

/// What is sent: everything is taken from what was judged, nothing from the client's bytes.
pub struct Outgoing {
    pub method: Method,
    /// Path and query, canonical, beginning with the upstream's base path.
    pub path: String,
    /// Headers that the API lets through, and `authorization` if its credentials are forwarded.
    pub headers: HeaderMap,
    pub body: Bytes,
    pub(super) trace: TraceContext,
    pub reading: Reading,
}

/// How an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// To its end.
    Whole,
    /// A list: when it is longer than one part, its beginning is enough to begin with.
    List,
    /// A stream: its head is enough.
    Stream,
}

/// What is received of a list before it begins to be cut in parts. Shorter ones are one part, however slowly they come: whether
/// a count can be corrected must not depend on the time.
const BEGINNING_BYTES: usize = 256 * 1024;
/// The same for a list that is encoded: it may become many times as long.
const ENCODED_BEGINNING_BYTES: usize = 32 * 1024;
/// What is decoded of a list at a time: with the default ratio it becomes some 400 KiB at most.
const PACKED_PIECE_BYTES: usize = 4 * 1024;
/// How long a stream may be silent, and how long it may last. Then it breaks off, and whoever still wants it asks again.
const SILENCE_MAX: Duration = Duration::from_secs(5 * 60);
const STREAM_MAX: Duration = Duration::from_secs(60 * 60);

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Path, headers and body carry ids, tokens and personal data.
        f.debug_struct("Outgoing").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Upstream {
    #[must_use]
    pub fn new(settings: UpstreamSettings) -> Arc<Self> {
        let pools = settings.targets.uris().iter().map(|target| Pool::new(target.clone(), settings.tls.clone(), settings.connect_timeout)).collect();
        Arc::new(Self { room: Arc::new(Semaphore::new(settings.in_flight_max)), pools, settings })
    }

    #[must_use]
    pub fn base_path(&self) -> &str {
        &self.settings.base_path
    }

    #[must_use]
    pub const fn targets(&self) -> &Arc<Targets> {
        &self.settings.targets
    }

    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.settings.credentials
    }

    /// How long it may keep others waiting, and be kept waiting.
    pub(super) const fn total_timeout(&self) -> Duration {
        self.settings.total_timeout
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Unfiltered, ForwardError> {
        let admitted = tokio::time::timeout(self.settings.connect_timeout, Arc::clone(&self.room).acquire_owned()).await;
        let Ok(Ok(place)) = admitted else { return Err(ForwardError::Unavailable) };
        match tokio::time::timeout(self.settings.total_timeout, self.exchange(outgoing, place)).await {
            Ok(result) => result,
            Err(_) => Err(ForwardError::Timeout),
        }
    }

    async fn exchange(&self, outgoing: &Outgoing, place: OwnedSemaphorePermit) -> Result<Unfiltered, ForwardError> {
        let mut tried = Vec::new();
        while let Some(picked) = self.settings.targets.pick(&tried) {
            let pool = self.pools.get(picked.at()).ok_or(ForwardError::Unavailable)?;
            let request = self.request(pool.target(), outgoing).ok_or(ForwardError::Unavailable)?;
            match tokio::time::timeout(self.settings.first_byte_timeout, pool.send(request)).await {
                Err(_) => {
                    picked.failed();
                    return Err(ForwardError::Timeout);
                }
                // Another target is tried only when no byte of the request can have been sent.
                Ok(Err(error @ PoolError::Connect(_))) => {
                    tracing::warn!(upstream = %self.settings.name, %error, "upstream connection failed");
                    picked.failed();
                    tried.push(picked.at());
                }
                Ok(Err(error @ PoolError::Broken(_))) => {
                    tracing::warn!(upstream = %self.settings.name, %error, "upstream request failed");
                    picked.failed();
                    return Err(ForwardError::Broken);
                }
                Ok(Ok((head, body))) => {
                    picked.answered(head.status);
                    return self.read(head, body, outgoing.reading, (place, picked)).await;
                }
            }
        }
        Err(ForwardError::Unavailable)
    }

    /// Reads an answer to its end, or as much of it as is wanted to begin with.
    async fn read(&self, mut head: Parts, mut body: Answer, reading: Reading, place: Place) -> Result<Unfiltered, ForwardError> {
        let (name, bytes_max) = (self.settings.name, self.settings.answer_bytes_max);
        // Error bodies are no lists.
        let reading = if head.status.is_success() { reading } else { Reading::Whole };
        let enough = if decode::is_encoded(&head.headers) { ENCODED_BEGINNING_BYTES } else { BEGINNING_BYTES };
        let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
        loop {
            let received = first.len().max(whole.len());
            match reading {
                Reading::List if received >= enough => break,
                Reading::Stream => break,
                Reading::Whole | Reading::List => {}
            }
            let Some(data) = body.next().await.map_err(|error| broken(name, &error))? else {
                let body = if whole.is_empty() { first } else { whole.freeze() };
                return Ok(self.plain(head.status, head.headers, body));
            };
            if received + data.len() > bytes_max {
                return Err(ForwardError::TooLarge);
            }
            // What comes in one piece is not copied.
            if received == 0 {
                first = data;
            } else {
                whole.extend_from_slice(if whole.is_empty() { &first } else { &[] });
                whole.extend_from_slice(&data);
            }
        }
        let mut beginning = if whole.is_empty() { first } else { whole.freeze() };
        let received = beginning.len();
        let limits =
            decode::Limits { bytes_max: self.settings.list_bytes_max.try_into().unwrap_or(u64::MAX), ratio_max: self.settings.decode_ratio_max };
        // An answer whose coding cannot be undone stays encoded, so that nobody reads it.
        let decoder = Decoder::of(&head.headers, limits, reading == Reading::Stream).unwrap_or_else(|error| {
            tracing::warn!(upstream = %name, %error, "an upstream answer cannot be decoded");
            None
        });
        let mut packed = Bytes::new();
        if decoder.is_some() {
            head.headers.remove(CONTENT_ENCODING);
            packed = std::mem::take(&mut beginning);
        }
        let rest = Rest {
            body,
            decoder,
            packed,
            name,
            received,
            bytes_max: self.settings.list_bytes_max,
            idle_timeout: if reading == Reading::Stream { SILENCE_MAX } else { self.settings.first_byte_timeout },
            time_left: if reading == Reading::Stream { STREAM_MAX } else { self.settings.total_timeout },
            _place: place,
        };
        Ok(Unfiltered { status: head.status, headers: head.headers, body: beginning, rest: Some(rest) })
    }

    /// An answer whose coding cannot be undone stays encoded, so that nobody reads it.
    fn plain(&self, status: StatusCode, mut headers: HeaderMap, body: Bytes) -> Unfiltered {
        let bytes_max = u64::try_from(self.settings.answer_bytes_max).unwrap_or(u64::MAX);
        let limits = decode::Limits { bytes_max, ratio_max: self.settings.decode_ratio_max };
        let body = decode::whole(&mut headers, body.clone(), limits).unwrap_or_else(|error| {
            tracing::warn!(upstream = %self.settings.name, %error, "an upstream answer cannot be decoded");
            body
        });
        Unfiltered { status, headers, body, rest: None }
    }

    fn request(&self, target: &Uri, outgoing: &Outgoing) -> Option<Request<Full<Bytes>>> {
        let authority = target.authority()?;
        let mut request =
            Request::builder().method(outgoing.method.clone()).uri(outgoing.path.as_str()).body(Full::new(outgoing.body.clone())).ok()?;
        let headers = request.headers_mut();
        headers.clone_from(&outgoing.headers);
        headers.insert(HOST, HeaderValue::from_str(authority.as_str()).ok()?);
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        headers.insert("accept-encoding", self.settings.accept_encoding.clone());
        headers.insert("traceparent", HeaderValue::from_str(&outgoing.trace.header()).ok()?);
        headers.insert("forwarded", HeaderValue::from_static("by=consentry"));
        if !outgoing.body.is_empty() {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        if let Credentials::Header(name, value) = &self.settings.credentials {
            headers.insert(name.clone(), value.clone());
        }
        Some(request)
    }
}

/// Sends a permitted request.
///
/// # Errors
/// When no whole answer was to be had; nothing of it goes out then.
pub async fn forward(permitted: &Permitted, shared: &Shared, upstream: &Upstream, outgoing: &Outgoing) -> Result<Unfiltered, ForwardError> {
    tracing::trace!(action = %permitted.action(), "forwarding");
    counted(shared, upstream, outgoing).await
}

/// Reads the record that a write is about, to learn whose it is; the answer is never released.
pub(super) async fn look_up(_allowed: &Lookup, shared: &Shared, upstream: &Upstream, outgoing: &Outgoing) -> Result<Unfiltered, ForwardError> {
    counted(shared, upstream, outgoing).await
}

async fn counted(shared: &Shared, upstream: &Upstream, outgoing: &Outgoing) -> Result<Unfiltered, ForwardError> {
    let began = shared.clock.monotonic();
    let result = upstream.send(outgoing).await;
    let word = match &result {
        Ok(unfiltered) => match unfiltered.status.as_u16() {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500.. => "5xx",
        },
        Err(ForwardError::Unavailable) => "unavailable",
        Err(ForwardError::Timeout) => "timeout",
        Err(ForwardError::TooLarge) => "too-large",
        Err(ForwardError::Broken) => "broken",
    };
    let (name, took) = (upstream.settings.name.as_str(), shared.clock.monotonic().saturating_sub(began));
    shared.metrics.upstream(name, word, took);
    if let Some(tracer) = shared.tracer.get() {
        let status = result.as_ref().ok().map(|unfiltered| unfiltered.status.as_u16());
        tracer.asked(outgoing.trace, &outgoing.method, name, word, status, took);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forwarded_prints_neither_ids_nor_credentials() {
        let trace = TraceContext { trace_id: [7; 16], span_id: [7; 8], parent: None, is_sampled: false };
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer of-the-test"));
        headers.insert("x-customer", HeaderValue::from_static("crm:of-the-test"));
        let (path, body) = ("/v7/customers/of-the-test".to_owned(), Bytes::from_static(b"of-the-test"));
        let outgoing = Outgoing { method: Method::POST, path, headers, body, trace, reading: Reading::Whole };
        let shown = format!("{outgoing:?} {outgoing:#?}");
        assert!(shown.contains("POST") && !shown.contains("of-the-test"), "{shown}");
    }
}
