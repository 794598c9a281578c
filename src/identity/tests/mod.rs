//! One issuer, three clients, a clock that stands still, and an issuer's server that fails on demand.

mod clients;
mod key_sets;
mod proofs;
mod tokens;
mod wycheproof;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::model::{
    AgentInfo, Client, ClientInfo, ClientKind, Department, IssuerName, Model, Purpose, PurposeInfo, Role, Task, TaskInfo, Vocabulary,
};

const ISSUER: &str = "https://login.example.com/";
const AUDIENCE: &str = "https://gw.example.com";
const KEYS_URL: &str = "https://login.example.com/keys";
const KID: &str = "k1";
const CRM: &str = "spiffe://example.com/app/crm";
const HELPDESK: &str = "spiffe://example.com/app/helpdesk";
const COPILOT: &str = "spiffe://example.com/agent/sales-copilot";

/// An issuer's server: what it answers, and how often it was asked.
#[derive(Debug)]
struct Server {
    answer: Mutex<Result<Bytes, String>>,
    asked: AtomicUsize,
    delay: Duration,
}

impl Server {
    fn answers(body: &Value) -> Arc<Self> {
        Arc::new(Self { answer: Mutex::new(Ok(body.to_string().into())), asked: AtomicUsize::new(0), delay: Duration::ZERO })
    }

    fn now_answers(&self, answer: Result<&Value, &str>) {
        *self.answer.lock().unwrap() = answer.map(|body| body.to_string().into()).map_err(str::to_owned);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl KeyFetch for Server {
    fn fetch<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async move {
            assert_eq!(KEYS_URL, url, "only the configured address is ever asked");
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.delay).await;
            self.answer.lock().unwrap().clone()
        })
    }
}

fn issuer() -> IssuerSettings {
    IssuerSettings {
        name: IssuerName::intern("corp"),
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        keys: KeySource::Url(KEYS_URL.to_owned()),
        keys_max_age: Duration::from_secs(3600),
        algorithms: vec![Algorithm::Es256, Algorithm::Rs256, Algorithm::EdDsa],
        sender_constraint: SenderConstraint::Mtls,
        claims: ClaimNames::default(),
    }
}

fn client(name: &str, certificate: Option<&str>, token: Option<&str>) -> ClientSettings {
    ClientSettings {
        client: Client::intern(name),
        certificate: certificate.map(str::to_owned),
        token: token.map(|client| (IssuerName::intern("corp"), client.to_owned())),
        purposes: None,
    }
}

fn clients() -> Vec<ClientSettings> {
    vec![
        client("crm", Some(CRM), Some("crm")),
        client("helpdesk", Some(HELPDESK), Some("helpdesk")),
        client("sales-copilot", Some(COPILOT), Some("sales-copilot")),
        client("tokens-only", None, Some("tokens-only")),
    ]
}

fn purposes(names: &[&str]) -> Vec<Purpose> {
    names.iter().map(|name| Purpose::intern(name)).collect()
}

fn vocabulary() -> Arc<Vocabulary> {
    let purpose = |name: &str, above: &[&str]| {
        let ancestors = purposes(above).into_iter().chain([Purpose::intern(name)]).collect();
        (Purpose::intern(name), PurposeInfo { channel: None, parents: purposes(above), ancestors, ..PurposeInfo::default() })
    };
    let registered = |kind, department: &str, registered: &[&str]| ClientInfo {
        kind,
        department: Department::intern(department),
        registered: purposes(registered),
        agent: None,
        customers_max: None,
    };
    let agent = |tasks: &[&str]| AgentInfo {
        operator: Department::intern("it"),
        model: Model::intern("house-llm-3"),
        tasks: tasks.iter().map(|name| Task::intern(name)).collect(),
    };
    let task = |name: &str, of: &[&str]| (Task::intern(name), TaskInfo { purposes: purposes(of) });
    let copilot = ClientInfo { agent: Some(agent(&["prepare-call", "gone"])), ..registered(ClientKind::Agent, "sales", &["sales"]) };
    let clients = [
        ("crm", registered(ClientKind::Application, "sales", &["sales", "service"])),
        ("helpdesk", registered(ClientKind::Application, "service", &["service"])),
        ("sales-copilot", copilot),
        ("tokens-only", registered(ClientKind::Application, "sales", &["sales.outreach"])),
    ];
    Arc::new(Vocabulary {
        purposes: BTreeMap::from([purpose("sales", &[]), purpose("sales.outreach", &["sales"]), purpose("service", &[]), purpose("marketing", &[])]),
        roles: BTreeSet::from([Role::intern("on-call"), Role::intern("key-account-care")]),
        tasks: BTreeMap::from([task("prepare-call", &["sales.outreach"]), task("answer-case", &["service"])]),
        clients: clients.into_iter().map(|(name, info)| (Client::intern(name), info)).collect(),
        ..Vocabulary::default()
    })
}

/// A self-signed certificate; the TLS layer would have verified its chain.
fn certificate(uris: &[&str], dns: &[&str], common_name: &str) -> PeerCertificate {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    let uris = uris.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap()));
    let dns = dns.iter().map(|name| rcgen::SanType::DnsName((*name).try_into().unwrap()));
    params.subject_alt_names = uris.chain(dns).collect();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    PeerCertificate::from_der(params.self_signed(&key).unwrap().der()).unwrap()
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    headers
}

/// Where every request of these tests goes, unless it says otherwise.
fn here() -> Sent<'static> {
    Sent { method: &Method::GET, origin: "https://gw.example.com", path: "/crm/customers/0044" }
}

fn encoded(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Everything a test needs.
struct World {
    signer: TokenSigner,
    server: Arc<Server>,
    clock: Arc<ManualClock>,
    authenticator: Authenticator,
    crm: PeerCertificate,
}

impl World {
    fn new() -> Self {
        Self::with(issuer(), clients())
    }

    fn with(issuer: IssuerSettings, clients: Vec<ClientSettings>) -> Self {
        let signer = TokenSigner::generate(KID).unwrap();
        let server = Server::answers(&signer.jwks());
        let clock = ManualClock::at("2026-07-24T10:00:00Z".parse::<Timestamp>().unwrap());
        let authenticator =
            Authenticator::new(vec![issuer], clients, vocabulary(), Arc::clone(&server) as _, Arc::clone(&clock) as _, [7; 32]).unwrap();
        Self { signer, server, clock, authenticator, crm: certificate(&[CRM], &[], "crm") }
    }

    fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    /// The claims of a good token of `crm`, with `changes` laid over them; a `null` takes a claim away.
    fn claims(&self, changes: Value) -> Value {
        let now = self.now();
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "exp": now + 300, "iat": now, "nbf": now, "sub": "u-17", "azp": "crm",
            "cnf": { "x5t#S256": self.crm.thumbprint() },
        });
        let Value::Object(changes) = changes else { panic!("changes are an object") };
        for (name, value) in changes {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(&name);
            } else {
                claims[name] = value;
            }
        }
        claims
    }

    fn token(&self, changes: Value) -> String {
        self.signer.mint(&self.claims(changes)).unwrap()
    }

    /// A well-signed token under another header.
    fn token_under(&self, header: &Value) -> String {
        self.signer.sign(&header.to_string(), &self.claims(json!({})).to_string()).unwrap()
    }

    async fn send(&self, token: &str) -> Result<Principal, AuthError> {
        self.authenticator.authenticate(Some(&self.crm), &bearer(token), here()).await
    }

    async fn refused(&self, case: &str, token: &str, fault: TokenFault) {
        assert_eq!(AuthError::TokenInvalid(fault), self.send(token).await.expect_err(case), "{case}");
    }
}
