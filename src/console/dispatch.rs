//! One request on a listener beside the data plane, as a list of steps: route, caller, role, origin, parameters, body,
//! handler, answer. Routes are a table ([`Route`]), which also makes the OpenAPI document, so that they cannot drift.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::parties::capturer;
use super::problem::{Code, Problem};
use super::record::consent_problem;
use super::role::{AdminRole, CaptureIdentity, StaffIdentity};
use super::target::{self, Query};
use super::throttle::Throttle;
use super::{AdminState, again, record, schema::Schema};
use crate::consent::{By, Capturer, ConsentError, Done, IdempotencyKey};

/// A body is refused beyond this.
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// An import is one body, since rows of one customer may stand anywhere in it.
pub(super) const IMPORT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The largest bundle (8 MiB) as base64, with its signatures.
const BUNDLE_BYTES_MAX: usize = 12 * 1024 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const IMPORT_TIMEOUT: Duration = Duration::from_secs(60);
/// 2 imports of 32 MiB.
const IMPORTS_MAX: usize = 2;
/// Requests of one listener that work at the same time: 64 bodies of 1 MiB at most.
const AT_WORK_MAX: usize = 64;
const WAIT_FOR_WORK: Duration = Duration::from_secs(5);
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// Who may call a route.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// Anybody who reaches the listener: counts only, no identities.
    Open,
    /// Staff with one of these roles.
    Roles(&'static [AdminRole]),
    /// A registered app, known by its certificate.
    Capture,
}

/// What a route takes as body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Takes {
    Nothing,
    Json(&'static Schema),
    /// One JSON object, or many as NDJSON or CSV.
    Bulk(&'static Schema),
    /// A JSON object that holds a file.
    Bundle(&'static Schema),
}

/// A query parameter and what it means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Param {
    pub name: &'static str,
    pub about: &'static str,
}

pub(super) type Handler = fn(&Call) -> Result<Reply, Problem>;
/// Answers a request whose change was made before under its idempotency key.
pub(super) type Again = fn(&Call, &Done) -> Result<Reply, Problem>;

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub method: &'static str,
    /// E.g. `/v1/parties/{id}:erase`; each `{…}` is one segment.
    pub path: &'static str,
    /// The name in the decision log and in the OpenAPI document.
    pub operation: &'static str,
    pub access: Access,
    pub summary: &'static str,
    pub query: &'static [Param],
    pub takes: Takes,
    pub handler: Handler,
    /// What changes something takes an `Idempotency-Key` and says how it answers again.
    pub again: Option<Again>,
}

impl Route {
    pub(super) const fn get(path: &'static str, operation: &'static str, access: Access, summary: &'static str, handler: Handler) -> Self {
        Self { method: "GET", path, operation, access, summary, query: &[], takes: Takes::Nothing, handler, again: None }
    }

    pub(super) const fn post(path: &'static str, operation: &'static str, access: Access, summary: &'static str, handler: Handler) -> Self {
        Self { method: "POST", path, operation, access, summary, query: &[], takes: Takes::Nothing, handler, again: None }
    }

    pub(super) const fn put(path: &'static str, operation: &'static str, access: Access, summary: &'static str, handler: Handler) -> Self {
        Self { method: "PUT", path, operation, access, summary, query: &[], takes: Takes::Nothing, handler, again: None }
    }

    pub(super) const fn delete(path: &'static str, operation: &'static str, access: Access, summary: &'static str, handler: Handler) -> Self {
        Self { method: "DELETE", path, operation, access, summary, query: &[], takes: Takes::Nothing, handler, again: None }
    }

    pub(super) const fn query(mut self, query: &'static [Param]) -> Self {
        self.query = query;
        self
    }

    pub(super) const fn takes(mut self, takes: Takes) -> Self {
        self.takes = takes;
        self
    }

    pub(super) const fn again(mut self, again: Again) -> Self {
        self.again = Some(again);
        self
    }

    /// Whether a browser could be misused for it.
    fn is_write(&self) -> bool {
        self.method != "GET"
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    Anybody,
    Staff(StaffIdentity),
    App(CaptureIdentity),
}

/// A request that has passed every step before the handler.
#[derive(Debug)]
pub(super) struct Call {
    pub state: AdminState,
    pub route: &'static Route,
    pub caller: Caller,
    /// Segments that stand for `{…}`, percent-decoded once.
    pub params: Vec<String>,
    pub query: Query,
    pub body: Bytes,
    /// Without parameters, lower case; empty when the route takes no body.
    pub content_type: String,
    pub idempotency_key: Option<IdempotencyKey>,
    /// `Sec-GPC: 1` on the request.
    pub gpc: bool,
}

impl Call {
    pub(super) fn param(&self, index: usize) -> Result<&str, Problem> {
        self.params.get(index).map(String::as_str).ok_or_else(|| Problem::not_found("path"))
    }

    /// The body as JSON: no unknown and no duplicate member, nothing after it.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Problem> {
        parse_json(&self.body)
    }

    /// Who changes something, under which key.
    pub(super) fn by<'a>(&'a self, caller: &'a Capturer) -> By<'a> {
        By { caller, key: self.idempotency_key.as_ref() }
    }

    /// The role under which this is done, for the log.
    pub(super) fn role(&self) -> &'static str {
        match (&self.caller, self.route.access) {
            (Caller::Staff(staff), Access::Roles(wanted)) => {
                wanted.iter().find(|role| staff.holds_one_of(&[**role])).map_or("none", |role| role.as_str())
            }
            (Caller::App(_), _) => "capture",
            (Caller::Staff(_) | Caller::Anybody, _) => "none",
        }
    }

    /// The caller as the log names it: a pseudonym, or the app.
    pub(super) fn actor(&self) -> &str {
        match &self.caller {
            Caller::Staff(staff) => &staff.pseudonym,
            Caller::App(app) => app.client.as_str(),
            Caller::Anybody => "anybody",
        }
    }

    pub(super) fn sees_identifiers(&self) -> bool {
        matches!(&self.caller, Caller::Staff(staff) if staff.sees_identifiers())
    }

    pub(super) fn holds_one_of(&self, roles: &[AdminRole]) -> bool {
        matches!(&self.caller, Caller::Staff(staff) if staff.holds_one_of(roles))
    }

    pub(super) fn is_own_app(&self, app: &str) -> bool {
        matches!(&self.caller, Caller::Staff(staff) if staff.app.is_some_and(|own| own.as_str() == app))
    }
}

/// Strict JSON; the message names members and places, never values.
pub(super) fn parse_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => member_trouble(&error.to_string()),
            serde_json::error::Category::Syntax => "not valid JSON".to_owned(),
            serde_json::error::Category::Eof => "the JSON ends too early".to_owned(),
            serde_json::error::Category::Io => "the body cannot be read".to_owned(),
        };
        Problem::invalid(format!("{what}, line {} column {}", error.line(), error.column()))
    })
}

/// serde quotes the offending value in some messages: those are replaced, since a value may be a customer's.
fn member_trouble(message: &str) -> String {
    let named = ["unknown field `", "missing field `", "duplicate field `", "unknown variant `"];
    if named.iter().any(|start| message.starts_with(start)) {
        let end = message.find(" at line").unwrap_or(message.len());
        let text = message.get(..end).unwrap_or_default();
        // What was typed stands in the first quotes; a known word is safe to repeat, an unknown one is not when it is long.
        return if text.len() <= 400 && !text.starts_with("unknown variant") {
            text.to_owned()
        } else {
            "a word is not one of those declared".to_owned()
        };
    }
    "a member has another type than declared".to_owned()
}

/// What a handler answers.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    revision: Option<u64>,
    /// `Content-Security-Policy` of a page; other answers load nothing.
    policy: Option<&'static str>,
    /// Where the next page begins.
    next: Option<String>,
}

impl Reply {
    pub(super) fn ok(document: &Value) -> Self {
        Self::json(StatusCode::OK, document)
    }

    pub(super) fn created(document: &Value) -> Self {
        Self::json(StatusCode::CREATED, document)
    }

    pub(super) fn json(status: StatusCode, document: &Value) -> Self {
        Self { status, content_type: "application/json", body: document.to_string().into(), revision: None, policy: None, next: None }
    }

    pub(super) fn text(content_type: &'static str, body: String) -> Self {
        Self::bytes(content_type, body.into())
    }

    pub(super) fn bytes(content_type: &'static str, body: Bytes) -> Self {
        Self { status: StatusCode::OK, content_type, body, revision: None, policy: None, next: None }
    }

    /// What a page may load.
    pub(super) fn policy(mut self, policy: &'static str) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Where the next page begins, for answers that are no JSON document.
    pub(super) fn next(mut self, cursor: Option<String>) -> Self {
        self.next = cursor;
        self
    }

    pub(super) fn len(&self) -> usize {
        self.body.len()
    }

    /// The consent store's revision that this answer knows.
    pub(super) fn revision(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Some(revision) = self.revision {
            response.headers_mut().insert(HeaderName::from_static("consentry-revision"), HeaderValue::from(revision));
        }
        if let Some(next) = self.next.and_then(|next| HeaderValue::try_from(next).ok()) {
            response.headers_mut().insert(HeaderName::from_static("consentry-next"), next);
        }
        if let Some(policy) = self.policy {
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        response
    }
}

/// A listener: its table and its bounds.
pub(super) struct Listener {
    state: AdminState,
    tables: &'static [&'static [Route]],
    at_work: Semaphore,
    imports: Semaphore,
    throttle: Throttle,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("tables", &self.tables.len()).finish_non_exhaustive()
    }
}

impl Listener {
    pub(super) fn new(state: AdminState, tables: &'static [&'static [Route]]) -> Arc<Self> {
        Arc::new(Self { state, tables, at_work: Semaphore::new(AT_WORK_MAX), imports: Semaphore::new(IMPORTS_MAX), throttle: Throttle::default() })
    }

    pub(super) fn router(self: Arc<Self>) -> axum::Router {
        axum::Router::new().fallback(move |request: Request<Body>| {
            let listener = Arc::clone(&self);
            async move { harden(listener.answer(request).await.unwrap_or_else(IntoResponse::into_response)) }
        })
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let (route, raw_params) = self.route(&parts.method, &parts.uri)?;
        let caller = identify(route, &parts.extensions)?;
        // Only people guess; an app's stops are never slowed by its mistakes.
        let Caller::Staff(staff) = &caller else { return self.judge(route, raw_params, caller, &parts, body).await };
        let (actor, role) = (staff.pseudonym.clone(), staff.first_role());
        self.throttle.admit(&actor, self.state.clock.monotonic())?;
        let answer = self.judge(route, raw_params, caller, &parts, body).await;
        if let Err(problem) = &answer
            && problem.code.status().is_client_error()
        {
            self.throttle.count_refusal(&actor, self.state.clock.monotonic());
            record::refused(&self.state.log, actor, role, route.operation, problem.code.status());
        }
        answer.map(|response| self.with_banner(response))
    }

    /// Whoever works with the gateway hears of what it does not enforce at present.
    fn with_banner(&self, mut response: Response) -> Response {
        let apis: Vec<String> = self.state.instance.unenforced().into_iter().map(|(api, until)| format!("{api} until {until}")).collect();
        if let Some(value) = (!apis.is_empty()).then(|| HeaderValue::try_from(apis.join(", ")).ok()).flatten() {
            response.headers_mut().insert(HeaderName::from_static("consentry-report-mode"), value);
        }
        response
    }

    async fn judge(
        &self,
        route: &'static Route,
        raw_params: Vec<String>,
        caller: Caller,
        parts: &http::request::Parts,
        body: Body,
    ) -> Result<Response, Problem> {
        permit(route, &caller)?;
        refuse_cross_site(route, &parts.headers)?;
        let params = raw_params.iter().map(|raw| target::decode_segment(raw)).collect::<Result<Vec<_>, _>>()?;
        let query = Query::parse(parts.uri.query().unwrap_or_default(), route.query)?;
        let content_type = content_type(route, &parts.headers)?;
        let idempotency_key = idempotency_key(route, &parts.headers)?;
        let _import = if matches!(route.takes, Takes::Bulk(_) | Takes::Bundle(_)) { Some(wait_for(&self.imports).await?) } else { None };
        let body = read_body(route, body).await?;
        let gpc = parts.headers.get_all("sec-gpc").iter().any(|value| value.as_bytes() == b"1");
        let state = self.state.clone();
        let mut call = Call { state, route, caller, params, query, body, content_type, idempotency_key: None, gpc };
        if matches!(route.access, Access::Open) {
            return (route.handler)(&call).map(IntoResponse::into_response);
        }
        let _at_work = wait_for(&self.at_work).await?;
        let asked = idempotency_key.map(|key| (key, parts.uri.clone()));
        // Handlers wait for the disk (store and log); they must not hold up the reactor.
        let handled = tokio::task::spawn_blocking(move || {
            call.idempotency_key = asked.map(|(key, uri)| IdempotencyKey::new(&capturer(&call), &key, again::fingerprint(&call, &uri)));
            handle(&call)
        })
        .await;
        match handled {
            Ok(reply) => reply.map(IntoResponse::into_response),
            Err(_panicked) => Err(Problem::new(Code::Unavailable, "repeat with the same idempotency key; tell the operator when it stays")),
        }
    }

    fn route(&self, method: &Method, uri: &Uri) -> Result<(&'static Route, Vec<String>), Problem> {
        let mut others: Vec<&'static str> = Vec::new();
        for route in self.tables.iter().copied().flatten() {
            if let Some(params) = target::matched(route.path, uri.path()) {
                if route.method == method.as_str() {
                    return Ok((route, params));
                }
                others.push(route.method);
            }
        }
        if others.is_empty() {
            return Err(Problem::new(Code::NotFound, "see `/openapi.json` for the paths of this listener").detail("no such path"));
        }
        Err(Problem::new(Code::MethodNotAllowed, format!("use {}", others.join(" or "))))
    }
}

/// Hands a request on to its route; one that was done before only gets its answer again.
fn handle(call: &Call) -> Result<Reply, Problem> {
    if let (Some(key), Some(again)) = (&call.idempotency_key, call.route.again) {
        match call.state.ledger.done(key) {
            Ok(Some(done)) => return again(call, &done),
            // The ledger refuses what opens while it cannot look; a stop it takes even so.
            Ok(None) | Err(ConsentError::Unavailable(_)) => {}
            Err(error) => return Err(consent_problem(&error)),
        }
    }
    (call.route.handler)(call)
}

async fn wait_for(places: &Semaphore) -> Result<SemaphorePermit<'_>, Problem> {
    match tokio::time::timeout(WAIT_FOR_WORK, places.acquire()).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) | Err(_) => {
            Err(Problem::new(Code::Unavailable, "repeat in a few seconds with the same idempotency key").detail("too much work at once"))
        }
    }
}

fn identify(route: &Route, extensions: &http::Extensions) -> Result<Caller, Problem> {
    match route.access {
        Access::Open => Ok(Caller::Anybody),
        Access::Roles(_) => extensions.get::<StaffIdentity>().cloned().map(Caller::Staff).ok_or_else(Problem::unauthenticated),
        Access::Capture => extensions.get::<CaptureIdentity>().copied().map(Caller::App).ok_or_else(Problem::unauthenticated),
    }
}

fn permit(route: &Route, caller: &Caller) -> Result<(), Problem> {
    match (route.access, caller) {
        (Access::Open, _) | (Access::Capture, Caller::App(_)) => Ok(()),
        (Access::Roles(wanted), Caller::Staff(staff)) if staff.holds_one_of(wanted) => Ok(()),
        (Access::Roles(wanted), _) => {
            let names: Vec<&str> = wanted.iter().map(|role| role.as_str()).collect();
            Err(Problem::new(Code::RoleMissing, format!("ask somebody who is {}", names.join(" or "))))
        }
        (Access::Capture, _) => Err(Problem::unauthenticated()),
    }
}

/// A browser says where a request comes from; a write from anywhere but this listener's own pages is refused.
fn refuse_cross_site(route: &Route, headers: &HeaderMap) -> Result<(), Problem> {
    if !route.is_write() {
        return Ok(());
    }
    let foreign = || Problem::new(Code::CrossSite, "call this listener directly, not from a page of another site");
    let site = single(headers, &HeaderName::from_static("sec-fetch-site"))?;
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(foreign());
    }
    if let Some(origin) = single(headers, &header::ORIGIN)? {
        let host = single(headers, &header::HOST)?.ok_or_else(foreign)?;
        if origin.strip_prefix("https://") != Some(host) {
            return Err(foreign());
        }
    }
    Ok(())
}

/// The one value of a header; two are two readings.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::new(Code::AmbiguousRequest, format!("send `{name}` once")));
    }
    first.map(|value| value.to_str().map_err(|_not_text| Problem::invalid(format!("the header `{name}` is not plain text")))).transpose()
}

fn content_type(route: &Route, headers: &HeaderMap) -> Result<String, Problem> {
    let accepted: &[&str] = match route.takes {
        Takes::Nothing => return Ok(String::new()),
        Takes::Json(_) | Takes::Bundle(_) => &["application/json"],
        Takes::Bulk(_) => &["application/json", "application/x-ndjson", "text/csv"],
    };
    let value = single(headers, &header::CONTENT_TYPE)?.unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = value.split_once(';').map(|(_, rest)| rest.trim().to_ascii_lowercase());
    if !accepted.contains(&essence.as_str()) || charset.is_some_and(|c| c != "charset=utf-8") {
        return Err(Problem::new(Code::MediaType, format!("send `Content-Type: {}`", accepted.join("` or `"))));
    }
    Ok(essence)
}

fn idempotency_key(route: &Route, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    if route.again.is_none() {
        return Ok(None);
    }
    let key = single(headers, &HeaderName::from_static("idempotency-key"))?;
    if key.is_some_and(|key| key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || !key.bytes().all(|b| b.is_ascii_graphic())) {
        return Err(Problem::invalid("the idempotency key must be 1 to 255 printable ASCII characters without spaces"));
    }
    Ok(key.map(str::to_owned))
}

async fn read_body(route: &Route, body: Body) -> Result<Bytes, Problem> {
    let (limit, patience) = match route.takes {
        Takes::Nothing => (0, BODY_TIMEOUT),
        Takes::Json(_) => (BODY_BYTES_MAX, BODY_TIMEOUT),
        Takes::Bulk(_) => (IMPORT_BYTES_MAX, IMPORT_TIMEOUT),
        Takes::Bundle(_) => (BUNDLE_BYTES_MAX, BODY_TIMEOUT),
    };
    let collected = tokio::time::timeout(patience, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() && limit == 0 => Err(Problem::invalid("this path takes no body")),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::new(Code::PayloadTooLarge, format!("send at most {limit} bytes"))),
        Ok(Err(_cut)) => Err(Problem::invalid("the body was cut")),
        Err(_elapsed) => Err(Problem::new(Code::RequestTimeout, format!("send the whole body within {} seconds", patience.as_secs()))),
    }
}

/// Headers of every answer: never cached, never sniffed, never framed.
fn harden(mut response: Response) -> Response {
    let fixed = [(header::CACHE_CONTROL, "no-store"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff"), (header::REFERRER_POLICY, "no-referrer")];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    response.headers_mut().entry(header::CONTENT_SECURITY_POLICY).or_insert(nothing);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Sample {
        name: String,
        count: Option<u32>,
    }

    #[test]
    fn strict_json_refuses_what_two_parsers_may_read_differently() {
        for body in [
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":"a","other":1}"#,
            r#"{"name":"a"} x"#,
            r#"{"name":"a""#,
            r#"{}"#,
            r#"{"name":1}"#,
            r#"[]"#,
            "",
            "\u{feff}{\"name\":\"a\"}",
            r#"{"name":"a","count":-1}"#,
            r#"{"name":"a","count":1e3}"#,
        ] {
            assert!(parse_json::<Sample>(body.as_bytes()).is_err(), "{body}");
        }
        assert!(parse_json::<Sample>(br#" {"name":"a","count":1} "#).is_ok());
        // Also within what a body holds.
        for body in [
            r#"{"party":"crm:1","state":"given","notice":{"id":"a","version":"1","version":"2"}}"#,
            r#"{"party":"crm:1","state":"given","evidence":[{"kind":"a","reference":"b","\u006bind":"c"}]}"#,
        ] {
            let problem = parse_json::<crate::console::consents::EventBody>(body.as_bytes()).unwrap_err();
            assert!(problem.detail.unwrap_or_default().contains("duplicate field"), "{body}");
        }
    }

    #[test]
    fn the_message_about_a_body_never_repeats_a_value() {
        for body in [r#"{"name":"a","count":"secret@example.com"}"#, r#"{"name":["secret@example.com"]}"#] {
            let problem = parse_json::<Sample>(body.as_bytes()).unwrap_err();
            assert!(!problem.to_json().to_string().contains("secret"), "{problem:?}");
        }
        let problem = parse_json::<Sample>(br#"{"name":"a","nmae":1}"#).unwrap_err();
        assert!(problem.detail.unwrap_or_default().contains("`nmae`"));
    }
}
