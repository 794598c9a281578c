//! The routers as a client sees them, over a real ledger and a real log.

mod break_glass;
mod capture;
mod conflicts;
mod gpp;
mod identity;
mod once;
mod out;
mod shadow;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::dispatch::{Access, BODY_BYTES_MAX, Takes};
use super::*;
use crate::audit::{LiveIndex, LogSettings, Mode, SigningKeySource};
use crate::clock::SystemClock;
use crate::model::{Client, Space};
use crate::policy::{Effect, Policies};

#[derive(Debug)]
struct Double {
    policies: Policies,
    failed: bool,
    page: Option<Arc<PublicPage>>,
}

impl Instance for Double {
    fn readiness(&self) -> Readiness {
        let state = if self.failed { Health::Failed } else { Health::Ok };
        Readiness { checks: vec![ReadinessCheck { name: "audit", state, why: self.failed.then(|| "disk full".to_owned()), since: None }] }
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    fn generation(&self) -> u64 {
        7
    }

    fn unenforced(&self) -> Vec<(String, Timestamp)> {
        if self.failed { vec![("crm".to_owned(), Timestamp::UNIX_EPOCH)] } else { Vec::new() }
    }

    fn drift(&self, api: &str) -> Option<Value> {
        (api == "crm").then(|| json!({ "api": api, "routes": [] }))
    }

    fn vocabulary(&self) -> Arc<Vocabulary> {
        Arc::clone(self.policies.vocabulary())
    }

    fn activities(&self) -> Arc<[Activity]> {
        self.policies.activities().into()
    }

    fn controller(&self) -> Option<Controller> {
        Some(Controller { name: "Sample & Sons".to_owned(), address: None, contact: Some("privacy@example.com".to_owned()) })
    }

    fn captures(&self) -> Arc<[Capture]> {
        self.policies.captures().into()
    }

    fn break_glass_max(&self) -> std::time::Duration {
        std::time::Duration::from_secs(4 * 3_600)
    }

    fn employee(&self, issuer: &str, subject: &str) -> Option<Person> {
        (issuer == "corp").then(|| Person { issuer: issuer.to_owned(), pseudonym: format!("emp_{subject}") })
    }

    fn declares(&self, api: &str, route: &str) -> bool {
        (api, route) == ("crm", "GET /customers/{id}")
    }

    fn public_page(&self) -> Option<Arc<PublicPage>> {
        self.page.clone()
    }

    fn start_shadow(&self, files: &BTreeMap<String, String>) -> Result<Value, Findings> {
        let candidate = Policies::of_files(files)?;
        Ok(json!({ "candidate": candidate.id() }))
    }

    fn shadow(&self, _stop: bool) -> Option<Value> {
        None
    }

    fn check(&self, _question: &CheckQuestion) -> Result<Checked, Problem> {
        Err(Problem::new(Code::Unavailable, "ask a gateway"))
    }

    fn prune(&self, _run: bool) -> Result<Value, Problem> {
        Ok(json!({ "classes": [], "announced": null }))
    }

    fn bundle(&self) -> Option<Value> {
        None
    }

    fn judge_bundle(&self, _bundle: &[u8], _signatures: &str) -> Result<Value, Problem> {
        Err(Problem::new(Code::Unavailable, "ask a gateway"))
    }

    fn activate_bundle(&self, _bundle: &[u8], _signatures: &str, _key: Option<&IdempotencyKey>) -> Result<Value, Problem> {
        Err(Problem::new(Code::Unavailable, "ask a gateway"))
    }

    fn policies(&self) -> ActivePolicies {
        let policies = self.policies.policies().iter().map(|info| ActivePolicy {
            name: info.name.to_string(),
            effect: if info.effect == Effect::Permit { "permit" } else { "forbid" },
            at: format!("{}:{}", info.file.display(), info.line),
        });
        ActivePolicies { id: self.policies.id().to_owned(), loaded_at: Timestamp::UNIX_EPOCH, policies: policies.collect() }
    }

    fn identifier(&self, space: &str, value: &str) -> Result<Identifier, String> {
        match space {
            "crm" | "email" => Ok(Identifier { space: Space::intern(space), value: value.to_lowercase() }),
            _ => Err("there is no such id space".to_owned()),
        }
    }

    fn explain(&self, _question: &ExplainQuestion) -> Result<Explanation, Problem> {
        Ok(Explanation { permitted: false, text: "deny".to_owned(), document: json!({}), party: None })
    }
}

fn page() -> PublicPage {
    let (base_url, contact) = ("https://consent.example.com".to_owned(), "privacy@example.com".to_owned());
    PublicPage { base_url, contact, link_days_max: 400, words: BTreeMap::new() }
}

pub(super) struct Desk {
    pub(super) state: AdminState,
    pub(super) dir: tempfile::TempDir,
}

/// Somebody's identity in the request's extensions.
#[derive(Clone)]
pub(super) enum As {
    Nobody,
    Staff(Vec<AdminRole>),
    /// Staff with a token of the issuer `corp`.
    Person(AdminRole, &'static str),
    App(&'static str),
}

pub(super) fn role(role: AdminRole) -> As {
    As::Staff(vec![role])
}

impl Desk {
    pub(super) fn open() -> Self {
        Self::open_with(false)
    }

    fn open_with(failed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = SystemClock::shared();
        let policies = Policies::load(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap();
        let ledger = Ledger::open(&dir.path().join("consent.db"), Arc::clone(&clock)).unwrap();
        ledger.adopt(Arc::clone(policies.vocabulary()), policies.consent_rules().clone(), policies.captures().to_vec()).unwrap();
        let log_dir = dir.path().join("log");
        let settings = LogSettings {
            dir: log_dir.clone(),
            spare_dir: None,
            origin: "gw-test.example.com".to_owned(),
            signing_key: SigningKeySource::Bytes(vec![7; 32]),
            previous_key: None,
            queue_max: 1024,
            segment_bytes: 1 << 20,
            mode: Mode::Strict,
            seal: true,
        };
        let (log, _recovery) = Log::open(settings, Arc::clone(&clock)).unwrap();
        let ledger = Arc::new(ledger);
        let signal = ChangeSignal::of(&ledger);
        let settings = WebhookSettings {
            hosts: vec![("127.0.0.1".to_owned(), 1)],
            clear_loopback: true,
            tls: Arc::new(no_trust()),
            vocabulary: Arc::clone(policies.vocabulary()),
        };
        let webhooks = Webhooks::open(&ledger, &signal, &clock, &crate::telemetry::Metrics::new(), settings).unwrap();
        let state = AdminState {
            ledger,
            index: LiveIndex::new(log.clone(), &log_dir),
            log,
            tiles: Arc::new(Tiles::new(&log_dir)),
            origin: Arc::from("gw-test.example.com"),
            outbox: Arc::default(),
            signal,
            webhooks,
            instance: Arc::new(Double { policies, failed, page: Some(Arc::new(page())) }),
            clock,
            receipts: Arc::new(ReceiptKey::new(&[9; 32]).unwrap()),
            links: Arc::new(Links::new(&[9; 32]).unwrap()),
        };
        Self { state, dir }
    }

    pub(super) fn send(&self, who: &As, request: Request<Body>) -> (StatusCode, Value) {
        self.send_to(self.router(who), who, request)
    }

    fn send_to(&self, router: axum::Router, who: &As, request: Request<Body>) -> (StatusCode, Value) {
        let (status, _, bytes) = Self::exchange(router, who, request);
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    fn exchange(router: axum::Router, who: &As, mut request: Request<Body>) -> (StatusCode, HeaderMap, Bytes) {
        match who {
            As::Nobody => {}
            As::Staff(roles) => {
                request.extensions_mut().insert(StaffIdentity {
                    roles: roles.clone(),
                    pseudonym: "e_1".to_owned(),
                    person: None,
                    app: Some(Client::intern("crm")),
                });
            }
            As::Person(role, name) => {
                let person = Some(Person { issuer: "corp".to_owned(), pseudonym: format!("emp_{name}") });
                let staff = StaffIdentity { roles: vec![*role], pseudonym: format!("e_{name}"), person, app: None };
                request.extensions_mut().insert(staff);
            }
            As::App(client) => {
                request.extensions_mut().insert(CaptureIdentity { client: Client::intern(client) });
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let response = TowerToHyperService::new(router).call(request).await.unwrap();
            let (head, body) = response.into_parts();
            assert_eq!(head.headers["cache-control"], "no-store");
            (head.status, head.headers, body.collect().await.unwrap().to_bytes())
        })
    }

    fn router(&self, who: &As) -> axum::Router {
        if matches!(who, As::App(_)) { capture_router(self.state.clone()) } else { admin_router(self.state.clone()) }
    }

    /// The answer as it is sent.
    pub(super) fn fetch(&self, who: &As, path: &str) -> (StatusCode, HeaderMap, Bytes) {
        Self::exchange(self.router(who), who, Request::get(path).body(Body::empty()).unwrap())
    }

    pub(super) fn get(&self, who: &As, path: &str) -> (StatusCode, Value) {
        self.send(who, Request::get(path).body(Body::empty()).unwrap())
    }

    /// An answer in its own form.
    pub(super) fn get_raw(&self, who: &As, path: &str) -> (StatusCode, HeaderMap, Bytes) {
        Self::exchange(self.router(who), who, Request::get(path).body(Body::empty()).unwrap())
    }

    pub(super) fn post(&self, who: &As, path: &str, body: &Value) -> (StatusCode, Value) {
        self.send(who, post(path, body).body(Body::from(body.to_string())).unwrap())
    }

    /// A customer `crm:0044`.
    pub(super) fn with_customer(self) -> Self {
        let (status, answer) =
            self.post(&role(AdminRole::ConsentDesk), "/v1/parties", &json!({"identifiers": ["crm:0044", "email:ada@example.com"]}));
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        self
    }

    pub(super) fn entries(&self) -> Vec<Value> {
        crate::audit::Reader::open(&self.dir.path().join("log")).unwrap().map(|entry| entry.unwrap().resolved).collect()
    }
}

fn post(path: &str, _body: &Value) -> http::request::Builder {
    Request::post(path).header("content-type", "application/json")
}

/// Nobody is trusted: for tests in the clear.
fn no_trust() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn grant() -> Value {
    json!({
        "party": "crm:0044", "state": "given", "purposes": ["sales.outreach"], "categories": ["contact"], "recipients": ["sales"],
        "evidence": [{"kind": "letter", "reference": "scan-1"}],
    })
}

pub(super) fn withdrawal() -> Value {
    json!({"party": "crm:0044", "state": "withdrawn", "purposes": ["sales.outreach"], "evidence": [{"kind": "letter", "reference": "scan-2"}]})
}

fn status_of(desk: &Desk) -> Value {
    let path = "/v1/parties/crm:0044/effective?purpose=sales.outreach&category=contact&recipient=sales";
    let (status, answer) = desk.get(&role(AdminRole::Auditor), path);
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["uses"][0]["status"].clone()
}

#[test]
fn every_route_refuses_nobody_and_every_role_that_it_does_not_name() {
    let desk = Desk::open();
    for route in ADMIN_TABLES.iter().copied().flatten() {
        let Access::Roles(wanted) = route.access else { continue };
        let path = route.path.replace("{id}", "crm:1").replace("{key}", "k").replace("{origin}", "gw").replace("{index}", "1");
        let request = || Request::builder().method(route.method).uri(&path).body(Body::empty()).unwrap();
        assert_eq!(desk.send(&As::Nobody, request()).0, StatusCode::UNAUTHORIZED, "{} {path}", route.method);
        for held in AdminRole::ALL {
            if wanted.contains(&held) {
                continue;
            }
            let (status, problem) = desk.send(&role(held), request());
            assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("role-missing")), "{} {path} as {}", route.method, held.as_str());
        }
    }
}

#[test]
fn roles_see_what_the_interfaces_promise_and_nothing_else() {
    let allowed = |role: AdminRole| -> Vec<&str> {
        let names = ADMIN_TABLES.iter().copied().flatten();
        names.filter(|route| matches!(route.access, Access::Roles(wanted) if wanted.contains(&role))).map(|route| route.operation).collect()
    };
    let emergencies = ["break-glass.request", "break-glass.list", "break-glass.revoke"];
    let operator =
        ["gaps.list", "decisions.prune"].into_iter().chain(emergencies).chain(["purposes.list", "categories.list", "activities.list", "drift.show"]);
    assert_eq!(allowed(AdminRole::Operator), operator.collect::<Vec<_>>());
    let may_approve = AdminRole::ALL.into_iter().filter(|role| allowed(*role).contains(&"break-glass.approve")).collect::<Vec<_>>();
    assert_eq!(may_approve, [AdminRole::PolicyApprover]);
    assert!(allowed(AdminRole::Auditor).iter().all(|operation| !operation.ends_with(".add") && !operation.ends_with(".lift")));
    assert!(allowed(AdminRole::ConsentDesk).iter().all(|operation| !operation.starts_with("decisions")));
    assert!(!allowed(AdminRole::AppDeveloper).contains(&"decisions.search"));
}

#[test]
fn the_capture_listener_knows_its_own_identity_only_and_no_reads() {
    let desk = Desk::open().with_customer();
    let capture = capture_router(desk.state.clone());
    let request = post("/v1/consents", &grant()).body(Body::from(grant().to_string())).unwrap();
    assert_eq!(desk.send_to(capture, &role(AdminRole::ConsentDesk), request).0, StatusCode::UNAUTHORIZED);
    for path in ["/v1/parties/crm:0044", "/v1/decisions", "/metrics", "/v1/policies", "/v1/parties/crm:0044/effective"] {
        assert_eq!(desk.get(&As::App("preference-centre"), path).0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(desk.get(&As::App("preference-centre"), "/v1/consents").0, StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn an_unregistered_app_can_lower_but_never_raise() {
    let desk = Desk::open().with_customer();
    let (status, answer) = desk.post(&As::App("helpdesk"), "/v1/consents", &grant());
    assert_eq!((status, &answer["author"]), (StatusCode::CREATED, &json!("system")));
    assert_ne!(status_of(&desk), json!("given"));
    let mut given = grant();
    given["event_time"] = json!((desk.state.clock.now() - jiff::SignedDuration::from_hours(1)).to_string());
    desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &given);
    assert_eq!(status_of(&desk), json!("given"));
    let (status, _) = desk.post(&As::App("helpdesk"), "/v1/consents", &withdrawal());
    assert_eq!(status, StatusCode::CREATED);
    assert_ne!(status_of(&desk), json!("given"));
}

#[test]
fn a_grant_that_opens_nothing_says_so() {
    let desk = Desk::open().with_customer();
    let send = |change: &dyn Fn(&mut Value)| {
        let mut given = grant();
        change(&mut given);
        let (status, answer) = desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &given);
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        (answer["note"].as_str().unwrap_or_default().to_owned(), status_of(&desk))
    };
    let at = json!((desk.state.clock.now() - jiff::SignedDuration::from_hours(1)).to_string());
    for (missing, change) in [
        ("`event_time`", &(|given: &mut Value| given["event_time"] = Value::Null) as &dyn Fn(&mut Value)),
        ("`evidence`", &|given| (given["event_time"], given["evidence"]) = (at.clone(), json!([]))),
        ("implied", &|given| (given["event_time"], given["method"]) = (at.clone(), json!("implied"))),
    ] {
        let (note, status) = send(change);
        assert!(note.contains("opens nothing") && note.contains(missing), "{missing}: {note}");
        assert_ne!(status, json!("given"), "{missing}");
    }
    let (note, status) = send(&|given| given["event_time"] = at.clone());
    assert_eq!((note.as_str(), status), ("", json!("given")));
}

#[test]
fn an_acknowledged_withdrawal_is_in_force_and_in_the_log() {
    let desk = Desk::open().with_customer();
    let now = desk.state.clock.now();
    let at = |seconds: i64| (now - jiff::SignedDuration::from_secs(seconds)).to_string();
    let mut given = grant();
    given["event_time"] = json!(at(7200));
    let (status, answer) = desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &given);
    assert_eq!((status, &answer["author"]), (StatusCode::CREATED, &json!("customer")), "{answer}");
    assert_eq!(status_of(&desk), json!("given"));
    let mut withdrawn = withdrawal();
    withdrawn["event_time"] = json!(at(3600));
    let (status, answer) = desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &withdrawn);
    assert_eq!(status, StatusCode::CREATED);
    assert!(answer["event"].as_str().unwrap().starts_with("ev_") && answer["revision"].as_u64().unwrap() > 0);
    assert_eq!(status_of(&desk), json!("withdrawn"));
    let kinds: Vec<Value> = desk.entries().iter().map(|entry| entry["kind"].clone()).collect();
    assert!(kinds.contains(&json!("admin")) && kinds.contains(&json!("consent_changed")) && kinds.contains(&json!("query")), "{kinds:?}");
    let changes = |desk: &Desk| desk.entries().iter().filter(|entry| entry["kind"] == json!("consent_changed")).count();
    let before = changes(&desk);
    assert_eq!(desk.state.outbox.drain(&desk.state.ledger, &desk.state.log).unwrap(), 0, "each change is logged once");
    assert_eq!(changes(&desk), before);
}

#[test]
fn a_stop_is_taken_while_the_log_is_away_and_a_grant_is_not() {
    let desk = Desk::open().with_customer();
    desk.state.log.clone().close();
    let desk_role = role(AdminRole::ConsentDesk);
    let (status, problem) = desk.post(&desk_role, "/v1/consents", &grant());
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("audit-unavailable")));
    assert_eq!(desk.post(&desk_role, "/v1/consents", &withdrawal()).0, StatusCode::CREATED);
    let objection = json!({"party": "crm:0044", "kind": "objection-marketing"});
    assert_eq!(desk.post(&desk_role, "/v1/objections", &objection).0, StatusCode::CREATED);
    assert!(!desk.state.ledger.pending_changes(crate::model::Revision(0), 10).unwrap().is_empty(), "the outbox keeps what the log could not take");
    assert_eq!(desk.get(&role(AdminRole::Auditor), "/v1/decisions").0, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn the_same_key_is_done_once_and_with_another_body_refused() {
    let desk = Desk::open().with_customer();
    let send = |body: &Value| {
        let request = post("/v1/consents", body).header("idempotency-key", "k-1").body(Body::from(body.to_string())).unwrap();
        desk.send(&role(AdminRole::ConsentDesk), request)
    };
    let (first_status, first) = send(&grant());
    let (second_status, second) = send(&grant());
    assert_eq!((first_status, second_status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(first["event"], second["event"]);
    let (status, problem) = send(&withdrawal());
    assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency-mismatch")));
}

#[test]
fn identifiers_are_masked_for_everybody_but_the_desk() {
    let desk = Desk::open().with_customer();
    desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &grant());
    for path in ["/v1/parties/crm:0044", "/v1/parties/crm:0044/identifiers", "/v1/consents/crm:0044/history", "/v1/decisions?customer=crm:0044"] {
        let (status, answer) = desk.get(&role(AdminRole::Auditor), path);
        assert_eq!(status, StatusCode::OK, "{path} {answer}");
        assert!(!answer.to_string().contains("0044") && !answer.to_string().contains("ada@"), "{path} {answer}");
    }
    let (_, answer) = desk.get(&role(AdminRole::ConsentDesk), "/v1/parties/crm:0044");
    assert!(answer.to_string().contains("crm:0044"));
    assert!(!desk.entries().iter().any(|entry| entry.to_string().contains("0044") || entry.to_string().contains("ada@")));
}

#[test]
fn writes_from_browsers_of_other_sites_and_of_simple_types_are_refused() {
    let desk = Desk::open().with_customer();
    let send = |headers: &[(&str, &str)]| {
        let mut request = Request::post("/v1/consents").header("host", "admin.example:9901");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        desk.send(&role(AdminRole::ConsentDesk), request.body(Body::from(withdrawal().to_string())).unwrap()).0
    };
    let json_type = ("content-type", "application/json");
    assert_eq!(send(&[json_type, ("origin", "https://admin.example:9901"), ("sec-fetch-site", "same-origin")]), StatusCode::CREATED);
    for origin in ["https://evil.example", "null", "http://admin.example:9901", "https://admin.example"] {
        assert_eq!(send(&[json_type, ("origin", origin)]), StatusCode::FORBIDDEN, "{origin}");
    }
    for site in ["cross-site", "same-site"] {
        assert_eq!(send(&[json_type, ("sec-fetch-site", site)]), StatusCode::FORBIDDEN, "{site}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=utf-7", "text/plain; application/json"] {
        assert_eq!(send(&[("content-type", kind)]), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
    }
    assert_eq!(send(&[json_type, json_type]), StatusCode::BAD_REQUEST);
}

#[test]
fn bodies_that_are_not_exactly_what_is_declared_are_refused() {
    let desk = Desk::open().with_customer();
    let send = |body: String| {
        let request = Request::post("/v1/consents").header("content-type", "application/json").body(Body::from(body)).unwrap();
        desk.send(&role(AdminRole::ConsentDesk), request)
    };
    for body in [
        "",
        "[]",
        "{",
        r#"{"party":"crm:0044","party":"crm:0045","state":"withdrawn"}"#,
        r#"{"party":"crm:0044","state":"withdrawn","admin":true}"#,
        r#"{"party":"crm:0044"}"#,
        r#"{"party":["crm:0044"],"state":"withdrawn"}"#,
    ] {
        assert_eq!(send(body.to_owned()).0, StatusCode::BAD_REQUEST, "{body}");
    }
    for (member, value) in [
        ("state", json!("GIVEN")),
        ("purposes", json!(["no.such.purpose"])),
        ("party", json!("nowhere:1")),
        ("party", json!("0044")),
        ("event_time", json!("yesterday")),
        ("event_time", json!("2999-01-01T00:00:00Z")),
        ("evidence", json!([{"kind": "a", "reference": "1"}, {"kind": "a", "reference": "2"}])),
    ] {
        let mut body = grant();
        body[member] = value.clone();
        assert_eq!(send(body.to_string()).0, StatusCode::UNPROCESSABLE_ENTITY, "{member} {value}");
    }
    assert_eq!(send(format!("\"{}\"", "a".repeat(BODY_BYTES_MAX))).0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn imports_report_each_bad_row_and_a_dry_run_changes_nothing() {
    let desk = Desk::open();
    let csv = "party,identifiers,stage\n1,crm:1,lead\n2,nowhere:2,lead\n3,crm:3,nonsense\n";
    let send = |path: &str| {
        let request = Request::post(path).header("content-type", "text/csv").body(Body::from(csv)).unwrap();
        desk.send(&role(AdminRole::ConsentDesk), request)
    };
    let (status, report) = send("/v1/parties?dry_run=true");
    assert_eq!((status, &report["created"], report["errors"].as_array().unwrap().len()), (StatusCode::OK, &json!(1), 2), "{report}");
    assert_eq!(desk.state.ledger.party_count(), 0);
    let (_, report) = send("/v1/parties");
    assert_eq!((&report["created"], &report["errors"][0]["line"]), (&json!(1), &json!(3)));
    assert_eq!(desk.state.ledger.party_count(), 1);
}

const IMPORT: &str = "/v1/imports/0000000000000000000000000000000000000000000000000000000000000007";

fn import(desk: &Desk, who: &As, query: &str, kind: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::post(format!("{IMPORT}?{query}")).header("content-type", kind).body(Body::from(body.to_owned())).unwrap();
    desk.send(who, request)
}

#[test]
fn a_piece_of_a_file_is_recorded_once_and_its_progress_kept() {
    let desk = Desk::open().with_customer();
    let desk_role = role(AdminRole::ConsentDesk);
    let csv = "id,state,purposes\ncrm:0044,withdrawn,sales.outreach\ncrm:0044,gone,\n";
    let progress = || desk.send(&desk_role, Request::get(IMPORT).body(Body::empty()).unwrap());
    assert_eq!(progress().0, StatusCode::NOT_FOUND);
    let (status, dry) = import(&desk, &desk_role, "format=csv&line=2&dry_run=true", "text/csv", csv);
    assert_eq!((status, &dry["piece"]["closes"], &dry["errors"][0]["line"]), (StatusCode::OK, &json!(1), &json!(3)), "{dry}");
    assert_eq!(progress().0, StatusCode::NOT_FOUND, "a dry run leaves nothing");
    let (status, taken) = import(&desk, &desk_role, "format=csv&line=2", "text/csv", csv);
    assert_eq!((status, &taken["piece"]), (StatusCode::OK, &dry["piece"]), "{taken}");
    assert_eq!(progress().1, taken["progress"]);
    assert_eq!(import(&desk, &desk_role, "format=csv&line=2", "text/csv", csv).0, StatusCode::CONFLICT);
    let entries = desk.entries();
    assert!(entries.iter().any(|entry| entry["operation"] == json!("consents.import")), "{entries:?}");
    assert!(!entries.iter().any(|entry| entry.to_string().contains("0044")));
}

#[test]
fn a_piece_that_cannot_be_read_as_a_whole_is_refused() {
    let desk = Desk::open().with_customer();
    let desk_role = role(AdminRole::ConsentDesk);
    for (query, kind, body, wanted) in [
        ("line=1", "text/csv", "id,state\n", StatusCode::BAD_REQUEST),
        ("format=xml", "text/csv", "id,state\n", StatusCode::UNPROCESSABLE_ENTITY),
        ("format=csv&line=x", "text/csv", "id,state\n", StatusCode::BAD_REQUEST),
        ("format=csv&time_zone=Mars", "text/csv", "id,state\n", StatusCode::UNPROCESSABLE_ENTITY),
        ("format=csv&map=x", "text/csv", "id,state\n", StatusCode::BAD_REQUEST),
        ("format=csv&map=%7B%22purpose:x%22:%22sales%22,%22purpose:x%22:%22sales%22%7D", "text/csv", "id,state\n", StatusCode::BAD_REQUEST),
        ("format=csv&map=%7B%22colour:x%22:%22y%22%7D", "text/csv", "id,state\n", StatusCode::UNPROCESSABLE_ENTITY),
        ("format=csv", "text/csv", "id,stat\n", StatusCode::UNPROCESSABLE_ENTITY),
        ("format=csv", "text/plain", "id,state\n", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        let (status, problem) = import(&desk, &desk_role, query, kind, body);
        assert_eq!(status, wanted, "{query} {body}: {problem}");
    }
    let other = Request::get("/v1/imports/ABC").body(Body::empty()).unwrap();
    assert_eq!(desk.send(&desk_role, other).0, StatusCode::BAD_REQUEST);
}

#[test]
fn a_line_of_an_import_takes_every_member_of_the_routes_bodies() {
    let desk = Desk::open().with_customer();
    for (members, word) in [(consents::EventBody::SCHEMA.members, ("state", "given")), (stops::StopBody::SCHEMA.members, ("kind", "objection"))] {
        for member in members {
            let mut line = json!({ "party": "crm:0044", word.0: word.1 });
            let nested = json!([{ "kind": "form", "reference": "1" }]);
            line[member.name] = match (member.name, member.kind) {
                (name, _) if name == word.0 || name == "party" => continue,
                (_, "integer") => json!(1),
                (_, "string[]") => json!(["x"]),
                (_, "EvidenceBody[]") => nested,
                (_, "NoticeBody") => json!({ "id": "n", "version": "1", "purposes": [], "categories": [], "recipients": [] }),
                (_, _) => json!("x"),
            };
            let (status, answer) =
                import(&desk, &role(AdminRole::ConsentDesk), "format=ndjson&dry_run=true", "application/x-ndjson", &line.to_string());
            assert_eq!(status, StatusCode::OK, "{answer}");
            assert!(!answer["errors"].to_string().contains("unknown field"), "`{}`: {answer}", member.name);
        }
    }
}

#[test]
fn an_erased_customer_is_found_under_a_stop_and_never_lifted() {
    let desk = Desk::open().with_customer();
    let desk_role = role(AdminRole::ConsentDesk);
    let (status, erased) = desk.post(&desk_role, "/v1/parties/crm:0044:erase", &json!({"reason": "asked by letter"}));
    assert_eq!(status, StatusCode::CREATED, "{erased}");
    let path = format!("/v1/restrictions/{}:lift", erased["event"].as_str().unwrap());
    assert_eq!(desk.post(&desk_role, &path, &json!({"reason": "mistake"})).0, StatusCode::CONFLICT);
    let (status, _) = desk.post(&desk_role, "/v1/parties", &json!({"identifiers": ["crm:0044"]}));
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "an erased person is not taken in again");
}

#[test]
fn a_restriction_is_listed_and_lifted_with_a_reason() {
    let desk = Desk::open().with_customer();
    let desk_role = role(AdminRole::ConsentDesk);
    let (status, stop) = desk.post(&desk_role, "/v1/restrictions", &json!({"party": "crm:0044", "reason": "disputed"}));
    assert_eq!(status, StatusCode::CREATED);
    let path = format!("/v1/restrictions/{}:lift", stop["event"].as_str().unwrap());
    assert_eq!(desk.post(&desk_role, &path, &json!({})).0, StatusCode::BAD_REQUEST);
    assert_eq!(desk.post(&desk_role, &path, &json!({"reason": "settled"})).0, StatusCode::CREATED);
    let (_, list) = desk.get(&role(AdminRole::Auditor), "/v1/restrictions?party=crm:0044");
    assert_eq!(list["stops"][0]["lifted"], json!(true), "{list}");
    assert_eq!(
        desk.post(&desk_role, "/v1/objections", &json!({"party": "crm:0044"})).0,
        StatusCode::UNPROCESSABLE_ENTITY,
        "two readings of one stop"
    );
    assert_eq!(desk.post(&desk_role, "/v1/restrictions/ev_nothing:lift", &json!({"reason": "x"})).0, StatusCode::NOT_FOUND);
}

#[test]
fn readiness_tells_the_truth_and_probes_need_no_identity() {
    for (failed, wanted) in [(false, StatusCode::OK), (true, StatusCode::SERVICE_UNAVAILABLE)] {
        let desk = Desk::open_with(failed);
        let health = health_router(desk.state.clone());
        let get = |path: &str| desk.send_to(health.clone(), &As::Nobody, Request::get(path).body(Body::empty()).unwrap());
        let (status, answer) = get("/readyz");
        assert_eq!((status, &answer["ready"]), (wanted, &json!(!failed)));
        assert_eq!(answer["checks"][0]["why"].is_string(), failed);
        assert_eq!(get("/livez").0, StatusCode::OK);
        assert_eq!(get("/v1/decisions").0, StatusCode::NOT_FOUND);
        assert_eq!(get("/openapi.json").0, StatusCode::NOT_FOUND);
    }
}

#[test]
fn the_openapi_document_has_each_route_and_resolves() {
    let document = openapi::document("consentry admin", ADMIN_TABLES);
    let mut operations: Vec<&str> = Vec::new();
    for route in ADMIN_TABLES.iter().copied().flatten() {
        let operation = &document["paths"][route.path][route.method.to_lowercase()];
        assert_eq!(operation["operationId"], json!(route.operation), "{} {}", route.method, route.path);
        assert_eq!(operation["requestBody"].is_object(), !matches!(route.takes, Takes::Nothing));
        operations.push(route.operation);
    }
    let count = operations.len();
    operations.sort_unstable();
    operations.dedup();
    assert_eq!(operations.len(), count, "two routes of one name");
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[test]
fn unknown_paths_methods_and_parameters_are_problems() {
    let desk = Desk::open();
    let auditor = role(AdminRole::Auditor);
    for (path, status) in [
        ("/", StatusCode::NOT_FOUND),
        ("/v1/parties/", StatusCode::NOT_FOUND),
        ("/v1//parties", StatusCode::NOT_FOUND),
        ("/v1/parties/%ff", StatusCode::BAD_REQUEST),
        ("/v1/parties/crm:0044", StatusCode::NOT_FOUND),
        ("/v1/parties/nowhere:1", StatusCode::UNPROCESSABLE_ENTITY),
        ("/v1/decisions?customers=crm:1", StatusCode::BAD_REQUEST),
        ("/v1/decisions?limit=0", StatusCode::BAD_REQUEST),
        ("/v1/decisions?limit=5&limit=6", StatusCode::BAD_REQUEST),
        ("/v1/decisions/other.example.com/0", StatusCode::NOT_FOUND),
        ("/v1/decisions/-/99999", StatusCode::NOT_FOUND),
        ("/v1/parties", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let (answered, problem) = desk.get(&auditor, path);
        assert_eq!(answered, status, "{path} {problem}");
        assert!(problem["remedy"].is_string() && problem["type"].as_str().unwrap().starts_with("urn:consentry:problem:"), "{path}");
    }
    // Nobody waits for these entries; the writer takes them along within milliseconds.
    let is_logged = || desk.entries().iter().any(|entry| entry["kind"] == json!("admin"));
    let seen = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        is_logged()
    });
    assert!(seen, "refused requests of known people are logged");
    assert!(Path::new(desk.dir.path()).exists());
}
