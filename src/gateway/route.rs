//! **Authenticated** and **Routed**: who calls, what is asked, and for which purpose. Nothing here depends on a customer,
//! so every refusal may say why.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use hyper::body::Incoming;

use super::accept::{Accepted, TraceContext, host_without_port};
use super::answer::json;
use super::call::Said;
use super::forward::{Credentials, Outgoing, Reading, Upstream};
use super::graphql;
use super::judge::Asked;
use super::pipeline::Halt;
use super::premises::Premises;
use super::problem::{Code, Details, Problem};
use super::state::{Shared, Snapshot};
use crate::audit::{DecisionFacts, Mandate};
use crate::catalog::{ApiPurpose, Customer, Dialect, Found, ParamError, RouteError, Target};
use crate::identity::{AuthError, Authenticator, Principal, PurposeError, PurposeRule, Sent, TokenFault, choose_purpose};
use crate::model::{ApiName, Behalf, Caller, Category, ClientKind, Identifier, Purpose, RouteKey, Space, Vocabulary};

/// A request whose caller is established.
#[derive(Clone)]
pub(super) struct Authenticated {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) host: String,
    pub(super) headers: HeaderMap,
    pub(super) trace: TraceContext,
    pub(super) principal: Principal,
    pub(super) request_no: u64,
    pub(super) started: Duration,
    pub(super) body_max: usize,
    /// The body, when the route can only be found by it; or why it could not be read.
    pub(super) said: Option<Result<Said, Problem>>,
}

impl std::fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers carry tokens and ids.
        f.debug_struct("Authenticated").field("principal", &self.principal).field("request_no", &self.request_no).finish_non_exhaustive()
    }
}

/// Establishes who calls.
///
/// # Errors
/// 401; not recorded one by one, since nobody is known.
pub(super) async fn authenticate(
    shared: &Shared,
    snapshot: &Snapshot,
    accepted: Accepted,
    body_max: usize,
) -> Result<(Authenticated, Incoming), Problem> {
    let started = shared.clock.monotonic();
    let certificate = accepted.certificate.as_deref();
    let origin = snapshot.origin_of(&accepted.host);
    let sent = Sent { method: &accepted.method, origin: &origin, path: accepted.target.path() };
    let principal = snapshot.authenticator.authenticate(certificate, &accepted.headers, sent).await.map_err(|error| {
        tracing::debug!(%error, "credentials refused");
        let code = match error {
            AuthError::Unauthenticated => Code::Unauthenticated,
            AuthError::TokenInvalid(_) | AuthError::KeysUnavailable | AuthError::CredentialsDisagree => Code::TokenInvalid,
        };
        Problem::with(code, Details { challenge: challenge(error, &accepted.headers, &snapshot.authenticator), ..Details::default() })
    })?;
    let Accepted { method, target, host, headers, body, trace, .. } = accepted;
    let request_no = shared.next_request();
    Ok((Authenticated { method, target, host, headers, trace, principal, request_no, started, body_max, said: None }, body))
}

/// How to do it better, where `Bearer` is not the answer ([RFC 9449, 7.1](https://www.rfc-editor.org/rfc/rfc9449#section-7.1)).
fn challenge(error: AuthError, headers: &HeaderMap, authenticator: &Authenticator) -> Option<&'static str> {
    let scheme = headers.get(http::header::AUTHORIZATION).and_then(|value| value.as_bytes().split(|byte| *byte == b' ').next());
    match error {
        AuthError::TokenInvalid(TokenFault::Proof(_)) => Some("DPoP error=\"invalid_dpop_proof\", algs=\"ES256 RS256 EdDSA\""),
        _ if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"dpop")) => Some("DPoP error=\"invalid_token\", algs=\"ES256 RS256 EdDSA\""),
        AuthError::Unauthenticated if authenticator.asks_for_proofs() => Some("Bearer, DPoP algs=\"ES256 RS256 EdDSA\""),
        AuthError::Unauthenticated | AuthError::TokenInvalid(_) | AuthError::KeysUnavailable | AuthError::CredentialsDisagree => None,
    }
}

/// A request whose route, purpose and parameters are declared and registered.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) found: Found,
    pub(super) asked: Asked,
    pub(super) facts: Arc<DecisionFacts>,
    /// Categories that parameters select or order by.
    pub(super) selected_by: Vec<Category>,
    /// The customer's id was not asked for.
    pub(super) bare: bool,
    pub(super) upstream: Arc<Upstream>,
    /// The query of a GraphQL route, once it is read: then `found.route` is what it comes to.
    pub(super) graphql: Option<Arc<graphql::Asked>>,
}

/// The place of an API or route in the log when none was found.
const NOWHERE: &str = "-";

/// Finds the route, the purpose and the judged parameters.
///
/// # Errors
/// A refusal that is recorded and may say why: it is the same for every customer.
pub(super) fn route(shared: &Shared, snapshot: &Arc<Snapshot>, call: &Authenticated) -> Result<Routed, Halt> {
    let vocabulary = snapshot.policies.vocabulary();
    let caller = call.principal.caller();
    let mut facts = DecisionFacts {
        rid: call.request_no,
        traceparent: Some(call.trace.trace_id),
        app: caller.client,
        department: caller.department,
        actor: caller.employee.as_ref().map(|e| e.pseudonym.clone()),
        agent: (caller.kind == ClientKind::Agent).then_some(caller.client),
        action: crate::model::Action::Read,
        api: ApiName::intern(NOWHERE),
        route: RouteKey::intern(NOWHERE),
        purpose: None,
        policy_set: Arc::clone(&snapshot.set_id),
        policies: Arc::clone(&snapshot.folder_id),
        now: shared.clock.now(),
        generation: snapshot.generation,
        consent_revision: shared.ledger.revision(),
        environment: snapshot.environment,
        channel: crate::model::Channel::System,
        gpc: sec_gpc(&call.headers),
        roles: caller.employee.as_ref().map(|e| e.roles.clone()).unwrap_or_default(),
        mandate: mandate(vocabulary, caller, &Premises::default()),
        grant: None,
        justification: None,
    };
    if let Some(by_body) = snapshot.catalog.by_body(&call.method, &call.target) {
        facts.api = by_body.api;
    }
    let said = match &call.said {
        None => None,
        Some(Ok(said)) => said.told.as_deref(),
        Some(Err(problem)) => return Err(Halt::refuse(facts, problem.clone())),
    };
    let mut found = match snapshot.catalog.find_said(&call.method, &call.target, said) {
        Ok(found) => found,
        Err(RouteError::NotDeclared) => return Err(Halt::refuse(facts, Code::RouteNotDeclared)),
        Err(RouteError::MethodNotAllowed { allowed }) => {
            let allow = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            let details = Details { allow: Some(allow), ..Details::default() };
            return Err(Halt::refuse(facts, Problem::with(Code::MethodNotAllowed, details)));
        }
    };
    facts.api = found.api.name;
    facts.route = found.route.key;
    facts.action = found.route.action;
    // Two APIs may have different hosts; a path is only served under its own.
    if found.api.host.as_deref().is_some_and(|host| host_without_port(host) != call.host) {
        return Err(Halt::refuse(facts, Code::Misdirected));
    }
    let purpose = match purpose(call, &found, snapshot) {
        Ok(purpose) => purpose,
        Err(problem) => return Err(Halt::refuse(facts, problem)),
    };
    facts.purpose = Some(purpose);
    facts.channel = vocabulary.channel(purpose);
    if !found.route.departments.is_empty() && !found.route.departments.contains(&caller.department) {
        return Err(Halt::refuse(facts, not_for_this_department(&found, purpose)));
    }
    let premises = match Premises::of(shared, snapshot, &call.principal, &call.headers, &found, purpose) {
        Ok(premises) => premises,
        Err(problem) => return Err(Halt::refuse(facts, problem)),
    };
    facts.mandate = mandate(vocabulary, caller, &premises);
    facts.grant = premises.grant.as_ref().map(|grant| grant.id.as_str().into());
    facts.justification = premises.justification.clone();
    let judged = match found.judge_query() {
        Ok(judged) => judged,
        Err(error) => return Err(Halt::refuse(facts, parameter_problem(&error))),
    };
    let mut selected_by: Vec<Category> = judged.selections.into_iter().flat_map(|s| s.categories).collect();
    selected_by.sort();
    selected_by.dedup();
    let Some(upstream) = snapshot.upstreams.get(&found.api.upstream).cloned() else {
        return Err(Halt::refuse(facts, Code::UpstreamUnavailable));
    };
    if snapshot.has_run_out(facts.now) {
        return Err(Halt::refuse(facts, Code::PolicyStale));
    }
    let asked = Asked {
        caller: caller.clone(),
        action: found.route.action,
        purpose,
        channel: facts.channel,
        environment: snapshot.environment,
        gpc: facts.gpc,
        records: found.route.records_max,
        now: facts.now,
        premises,
        shadow: shared.watch(),
    };
    Ok(Routed { snapshot: Arc::clone(snapshot), found, asked, facts: Arc::new(facts), selected_by, bare: judged.bare, upstream, graphql: None })
}

fn purpose(call: &Authenticated, found: &Found, snapshot: &Snapshot) -> Result<Purpose, Problem> {
    let rule = match &found.api.purpose {
        ApiPurpose::Any => PurposeRule::Any,
        ApiPurpose::Allow(allowed) => PurposeRule::Allow(allowed),
        ApiPurpose::Fixed(purpose) => PurposeRule::Fixed(*purpose),
    };
    choose_purpose(&call.principal, call.headers.get_all("data-purpose"), rule, snapshot.policies.vocabulary()).map_err(|error| {
        match error {
            PurposeError::Ambiguous => Code::AmbiguousRequest,
            PurposeError::Missing => Code::PurposeMissing,
            PurposeError::NotRegistered => Code::PurposeNotRegistered,
        }
        .into()
    })
}

/// What the log says of an agent.
pub(super) fn mandate(vocabulary: &Vocabulary, caller: &Caller, premises: &Premises) -> Option<Mandate> {
    let agent = vocabulary.clients.get(&caller.client)?.agent.as_ref()?;
    let behalf = match (&premises.behalf, &caller.employee) {
        (Some(_), _) => Behalf::Customer,
        (None, Some(_)) => Behalf::Employee,
        (None, None) => Behalf::Nobody,
    };
    Some(Mandate { operator: agent.operator, model: agent.model, task: premises.task, behalf })
}

fn not_for_this_department(found: &Found, purpose: Purpose) -> Problem {
    let details = Details {
        purpose: Some(purpose.to_string()),
        remedy: Some(format!("the route is declared for other departments; ask {}, who answers for this API", found.api.owner)),
        ..Details::default()
    };
    Problem::with(Code::NotEntitled, details)
}

pub(super) fn parameter_problem(error: &ParamError) -> Problem {
    let (code, name, remedy) = match error {
        ParamError::NotDeclared(name) | ParamError::Value(name) => (Code::ParameterNotDeclared, name.clone(), None),
        ParamError::Repeated(name) => (Code::AmbiguousRequest, name.clone(), None),
        ParamError::Field { param, field } => {
            let remedy = "name only fields that come back here; the API's owner can map more of them";
            (Code::ParameterNotDeclared, format!("{param}: {field}"), Some(remedy.to_owned()))
        }
        ParamError::Embedded { param, field } => {
            let remedy = "select by fields of the answer's own customer; of others in it nobody was asked";
            (Code::FieldNotPermitted, format!("{param}: {field}"), Some(remedy.to_owned()))
        }
    };
    Problem::with(code, Details { fields: vec![name], remedy, ..Details::default() })
}

fn sec_gpc(headers: &HeaderMap) -> bool {
    headers.get_all("sec-gpc").iter().any(|v| v.as_bytes() == b"1")
}

impl Routed {
    /// The id in the request that names the customer; `None` when the request names nobody.
    ///
    /// # Errors
    /// 400 when the id does not match its grammar or stands there twice.
    pub(super) fn customer(&self, call: &Authenticated, body: &Bytes) -> Result<Option<Identifier>, Problem> {
        let (raw, space) = match &self.found.route.customer {
            Customer::Path { param, space } => (self.found.path_param(param).map(str::to_owned), *space),
            Customer::Query { param, space } => (self.found.query_param(param).map(str::to_owned), *space),
            Customer::Header { name, space } => (one_header(&call.headers, name)?, *space),
            Customer::Claim { name, space } => (call.principal.claim(name).map(str::to_owned), *space),
            Customer::Request { path, space } => (
                crate::filter::find_id(body, path, &super::answer::limits(self), crate::filter::Sender::Caller)
                    .map_err(|_unreadable| Code::AmbiguousRequest)?,
                *space,
            ),
            Customer::Response { .. } | Customer::Answer | Customer::Lookup { .. } | Customer::New { .. } | Customer::None => return Ok(None),
        };
        // Declared, so it must be there: a missing one is as ambiguous as two.
        let raw = raw.ok_or(Code::AmbiguousRequest)?;
        self.identify(space, &raw).map(Some).ok_or_else(|| Code::AmbiguousRequest.into())
    }

    /// The content type of an answer in this route's dialect.
    pub(super) fn typed(&self, plain: Option<HeaderValue>) -> Option<HeaderValue> {
        plain.map(|plain| if self.found.route.dialect == Dialect::JsonApi { JSON_API } else { plain })
    }

    /// The content type of a written body in this route's dialect.
    pub(super) fn sent_as(&self, written: HeaderValue) -> HeaderValue {
        if self.found.route.dialect == Dialect::JsonApi && written == json() { JSON_API } else { written }
    }

    pub(super) fn identify(&self, space: Space, raw: &str) -> Option<Identifier> {
        self.snapshot.catalog.space(space).and_then(|s| s.identify(raw).ok())
    }

    /// The request as the upstream gets it, from what was judged.
    pub(super) fn outgoing(&self, call: &Authenticated, path: String, method: Method, body: Bytes) -> Outgoing {
        let mut headers = HeaderMap::new();
        for name in &self.found.api.request_headers {
            if NEVER_SENT.iter().any(|never| name.as_str().eq_ignore_ascii_case(never)) {
                continue;
            }
            for value in call.headers.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        if let (Credentials::Forward, Some(token)) = (self.upstream.credentials(), call.headers.get(http::header::AUTHORIZATION)) {
            headers.insert(http::header::AUTHORIZATION, token.clone());
        }
        if self.found.route.dialect == Dialect::JsonApi {
            // Its servers refuse another type, <https://jsonapi.org/format/1.1/#content-negotiation-servers>.
            headers.entry(http::header::ACCEPT).or_insert(JSON_API);
            if !body.is_empty() {
                headers.entry(http::header::CONTENT_TYPE).or_insert(JSON_API);
            }
        }
        Outgoing { method, path, headers, body: call.in_envelope(body), trace: call.trace.child(), reading: Reading::Whole }
    }
}

const JSON_API: HeaderValue = HeaderValue::from_static("application/vnd.api+json");

/// Identity, framing, conditional and override headers: whatever an API lists, these never come from the caller.
const NEVER_SENT: &[&str] = &[
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "data-justification",
    "dpop",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-uri",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

fn one_header(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Code::AmbiguousRequest.into()),
        (Some(value), None) => Ok(value.to_str().ok().map(str::to_owned)),
        (None, None) => Ok(None),
    }
}
