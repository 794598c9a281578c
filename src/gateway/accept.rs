//! **Accepted**: the first value of a request's life. The head is checked here, once, so that nothing behind it meets an
//! ambiguous target, a foreign host or a second framing. Attack rows 14, 19, 22-25, 57-64, 68, 73 of the threat catalogue.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};

use super::listener::Connection;
use super::problem::{Code, Details, Problem};
use crate::catalog::{Target, TargetError};
use crate::identity::PeerCertificate;

/// A request whose head can be read in one way only. Fields are private to the gateway.
pub(super) struct Accepted {
    pub(super) method: Method,
    pub(super) target: Target,
    /// Host without port, lower case; one of ours.
    pub(super) host: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Incoming,
    pub(super) certificate: Option<Arc<PeerCertificate>>,
    pub(super) trace: TraceContext,
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers carry tokens and ids.
        f.debug_struct("Accepted").field("method", &self.method).field("host", &self.host).finish_non_exhaustive()
    }
}

/// Methods that are understood; everything else is 501, and the two that make tunnels or echoes 405.
const METHODS: &[Method] = &[Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Lines of a head, over either HTTP.
pub(super) const HEADERS_MAX: usize = 100;

/// Checks the head of a request.
///
/// # Errors
/// The problem to answer with; nothing is recorded but a count, since nobody has been identified yet.
pub(super) fn accept(request: Request<Incoming>, connection: &Connection, hosts: &[String], trace: TraceContext) -> Result<Accepted, Problem> {
    let (head, body) = request.into_parts();
    if !matches!(head.version, Version::HTTP_11 | Version::HTTP_2) {
        return Err(Code::HttpVersion.into());
    }
    if matches!(head.method, Method::CONNECT | Method::TRACE | Method::OPTIONS) {
        let details = Details { allow: Some("GET, HEAD, POST, PUT, PATCH, DELETE".to_owned()), ..Details::default() };
        return Err(Problem::with(Code::MethodNotAllowed, details));
    }
    if !METHODS.contains(&head.method) {
        return Err(Code::NotImplemented.into());
    }
    // HTTP/1.1 has counted them before.
    if head.headers.len() > HEADERS_MAX {
        return Err(Code::HeadersTooLarge.into());
    }
    let host = check_host(&head, connection, hosts)?;
    check_framing(&head, &body)?;
    let path_and_query = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let target = Target::parse(path_and_query).map_err(|error| {
        tracing::debug!(%error, "target refused");
        if error == TargetError::TooLong { Code::UriTooLong } else { Code::AmbiguousRequest }
    })?;
    let certificate = connection.certificate().map_err(|_distrusted| {
        tracing::info!("the certificate of an open connection counts no longer");
        Code::Unauthenticated
    })?;
    Ok(Accepted { method: head.method, target, host, headers: head.headers, body, certificate, trace })
}

/// One host, and one of ours: `Host`, `:authority` and an absolute-form target must agree. The port is not compared with ours, since
/// it may be mapped on the way here. A name of ours that was asked for in the handshake must be the one that is asked now; a balancer
/// may have asked for any other.
fn check_host(head: &http::request::Parts, connection: &Connection, hosts: &[String]) -> Result<String, Problem> {
    let spoken = if connection.tls { Scheme::HTTPS } else { Scheme::HTTP };
    if head.uri.scheme().is_some_and(|scheme| *scheme != spoken) {
        return Err(Code::AmbiguousRequest.into());
    }
    let mut named = head.headers.get_all(HOST).iter();
    let header = match (named.next(), named.next()) {
        (_, Some(_)) => return Err(Code::AmbiguousRequest.into()),
        (Some(value), None) => Some(value.to_str().map_err(|_bytes| Code::AmbiguousRequest)?),
        (None, None) => None,
    };
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let host = match (authority, header) {
        (Some(a), Some(b)) if !a.eq_ignore_ascii_case(b) => return Err(Code::AmbiguousRequest.into()),
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err(Code::AmbiguousRequest.into()),
    };
    if host.contains('@') {
        return Err(Code::AmbiguousRequest.into());
    }
    let name = host_without_port(host);
    let is_ours = |name: &str| hosts.iter().any(|ours| ours.eq_ignore_ascii_case(name));
    let is_address = name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok();
    let is_other = |asked: &str| !is_address && is_ours(asked) && !asked.eq_ignore_ascii_case(name);
    if !is_ours(name) || connection.server_name.as_deref().is_some_and(is_other) {
        return Err(Code::Misdirected.into());
    }
    Ok(name.to_ascii_lowercase())
}

/// `example.com:8443` -> `example.com`, `[::1]:8443` -> `[::1]`.
#[must_use]
pub(super) fn host_without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// One framing, and a body only where the method has one.
fn check_framing(head: &http::request::Parts, body: &Incoming) -> Result<(), Problem> {
    let lengths = head.headers.get_all(CONTENT_LENGTH).iter().count();
    let chunked = head.headers.contains_key(TRANSFER_ENCODING);
    if lengths > 1 || (lengths == 1 && chunked) {
        return Err(Code::AmbiguousRequest.into());
    }
    for expectation in head.headers.get_all(EXPECT) {
        if !expectation.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(Code::ExpectationFailed.into());
        }
    }
    let bodiless = matches!(head.method, Method::GET | Method::HEAD | Method::DELETE);
    if bodiless && !body.is_end_stream() {
        return Err(Code::AmbiguousRequest.into());
    }
    Ok(())
}

/// Reads a whole JSON body within `limit` bytes and `patience`.
///
/// # Errors
/// 415 for another or an encoded type, 413 over the limit, 408 when it does not arrive in time, 400 when it breaks off.
pub(super) async fn read_json(headers: &HeaderMap, body: Incoming, limit: usize, patience: Duration) -> Result<Bytes, Problem> {
    if headers.contains_key(http::header::CONTENT_ENCODING) || !is_json(headers) {
        return Err(Code::MediaType.into());
    }
    read_whole(body, limit, patience).await
}

/// Reads a body whose type was looked at.
///
/// # Errors
/// 413 over the limit, 408 when it does not arrive in time, 400 when it breaks off.
pub(super) async fn read_whole<B>(body: B, limit: usize, patience: Duration) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    match tokio::time::timeout(patience, Limited::new(body, limit).collect()).await {
        Err(_) => Err(Code::RequestTimeout.into()),
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Code::PayloadTooLarge.into()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a request body broke off");
            Err(Code::AmbiguousRequest.into())
        }
    }
}

/// Exactly one content type, JSON, in UTF-8.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(first), None) = (types.next(), types.next()) else { return false };
    let Ok(text) = first.to_str() else { return false };
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let essence = essence.trim().to_ascii_lowercase();
    let json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    let charset_ok = parameters.split(';').map(str::trim).filter(|p| p.to_ascii_lowercase().starts_with("charset")).all(|p| {
        let value = p.split_once('=').map_or("", |(_, v)| v.trim().trim_matches('"'));
        value.eq_ignore_ascii_case("utf-8")
    });
    json && charset_ok
}

/// W3C trace context: the caller's trace id goes on, under a span id of ours; a malformed header starts a new trace.
#[derive(Clone, Copy, Debug)]
pub(super) struct TraceContext {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    /// The span it is a part of.
    pub(super) parent: Option<[u8; 8]>,
    /// As the caller says; else as `chooses` says, of a trace's id.
    pub(super) is_sampled: bool,
}

impl TraceContext {
    pub(super) fn from_headers(headers: &HeaderMap, chooses: impl FnOnce([u8; 16]) -> bool) -> Self {
        let mut fresh = [0_u8; 24];
        if aws_lc_rs::rand::fill(&mut fresh).is_err() {
            tracing::warn!("no random bytes for a trace id");
        }
        let mut trace_id = [0; 16];
        let mut span_id = [0; 8];
        let (first, second) = fresh.split_at(16);
        trace_id.copy_from_slice(first);
        span_id.copy_from_slice(second);
        let mut given = headers.get_all("traceparent").iter();
        let given = match (given.next(), given.next()) {
            (Some(value), None) => value.to_str().ok().and_then(parse_traceparent),
            (Some(_), Some(_)) | (None, _) => None,
        };
        match given {
            Some((trace_id, parent, is_sampled)) => Self { trace_id, span_id, parent: Some(parent), is_sampled },
            None => Self { trace_id, span_id, parent: None, is_sampled: chooses(trace_id) },
        }
    }

    /// A span within this one. Where nothing is recorded, the upstream is told of this one itself.
    #[must_use]
    pub(super) fn child(&self) -> Self {
        let mut span_id = self.span_id;
        if self.is_sampled && aws_lc_rs::rand::fill(&mut span_id).is_err() {
            tracing::warn!("no random bytes for a span id");
        }
        Self { span_id, parent: Some(self.span_id), ..*self }
    }

    /// `00-<trace id>-<span id>-<01 if it is recorded>`.
    #[must_use]
    pub(super) fn header(&self) -> String {
        let flags = u8::from(self.is_sampled);
        format!("00-{:032x}-{:016x}-{flags:02x}", u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id))
    }
}

/// Trace id, span id, and whether the caller records it.
fn parse_traceparent(text: &str) -> Option<([u8; 16], [u8; 8], bool)> {
    let mut fields = text.split('-');
    let (version, id, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let lower_hex = |t: &str, n: usize| t.len() == n && t.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if fields.next().is_some() || version != "00" || !lower_hex(id, 32) || !lower_hex(span, 16) || !lower_hex(flags, 2) {
        return None;
    }
    let value = u128::from_str_radix(id, 16).ok().filter(|v| *v != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|v| *v != 0)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some((value.to_be_bytes(), span.to_be_bytes(), flags & 1 == 1))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;

    fn content_type(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, value.parse().unwrap());
        headers
    }

    #[test]
    fn only_json_in_utf8_is_json() {
        for good in ["application/json", "Application/JSON; charset=UTF-8", "application/merge-patch+json", "application/json; charset=\"utf-8\""] {
            assert!(is_json(&content_type(good)), "{good}");
        }
        for bad in ["text/json", "application/jsonp", "application/json; charset=utf-16", "text/html", "application/x-www-form-urlencoded", "+json"] {
            assert!(!is_json(&content_type(bad)), "{bad}");
        }
        let mut two = content_type("application/json");
        two.append(CONTENT_TYPE, "text/html".parse().unwrap());
        assert!(!is_json(&two));
        assert!(!is_json(&HeaderMap::new()));
    }

    /// Comes bit by bit, and never whole.
    struct Dripping(tokio::time::Interval);

    impl Body for Dripping {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            self.0.poll_tick(cx).map(|_| Some(Ok(hyper::body::Frame::data(Bytes::from_static(b" ")))))
        }
    }

    #[tokio::test]
    async fn a_body_has_to_come_in_its_time() {
        let dripping = || Dripping(tokio::time::interval(Duration::from_millis(5)));
        let read = async |limit, patience| read_whole(dripping(), limit, patience).await.unwrap_err().code;
        assert_eq!(Code::RequestTimeout, read(1 << 20, Duration::from_millis(100)).await);
        assert_eq!(Code::PayloadTooLarge, read(4, Duration::from_secs(10)).await);
    }

    #[test]
    fn a_malformed_traceparent_starts_a_new_trace() {
        let read = |flags: &str| parse_traceparent(&format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}"));
        assert_eq!(read("01").map(|(_, span, is_sampled)| (span, is_sampled)), Some((0x00f0_67aa_0ba9_02b7_u64.to_be_bytes(), true)));
        assert_eq!(["00", "03", "02"].map(|flags| read(flags).unwrap().2), [false, true, false]);
        for bad in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert!(parse_traceparent(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_trace_goes_on_in_the_form_of_the_standard() {
        let trace = TraceContext {
            trace_id: [0, 0xab, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            span_id: [0, 0, 0, 0, 0, 0, 1, 0x0c],
            parent: None,
            is_sampled: true,
        };
        assert_eq!("00-00ab0000000000000000000000000001-000000000000010c-01", trace.header());
        let child = trace.child();
        assert_eq!((child.trace_id, child.parent), (trace.trace_id, Some(trace.span_id)));
        assert_ne!(child.span_id, trace.span_id);
        let untold = TraceContext { is_sampled: false, ..trace };
        assert_eq!("00-00ab0000000000000000000000000001-000000000000010c-00", untold.child().header());
    }

    #[test]
    fn ports_are_cut_from_hosts() {
        assert_eq!(host_without_port("gw.example.com:8443"), "gw.example.com");
        assert_eq!(host_without_port("gw.example.com"), "gw.example.com");
        assert_eq!(host_without_port("[::1]:8443"), "[::1]");
        assert_eq!(host_without_port("[::1]"), "[::1]");
    }
}
