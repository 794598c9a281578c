//! The language of the end-to-end tests: a real gateway in this process, on free loopback ports, with real TLS, tokens,
//! SQLite and log in a folder of its own, the policies of the repository, and an API behind it that answers as planned.
//!
//! ```ignore
//! let world = gateway().start().await;
//! world.upstream.json("GET /customers/0031", ADA);
//! world.consent("crm:0031", "sales.outreach", "given").await;
//! world.client("crm").get("/crm/customers/0031").purpose("sales.outreach").await.released(200, ADA_FOR_SALES);
//! world.finish().await;
//! ```
//!
//! Every answer is held against the list of what may stand in one ([`answer`]). [`World::finish`] stops the gateway,
//! verifies the log, finds every decision there that a caller was told, and looks for personal data in it.

pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod coding;
pub(crate) mod graphql;
pub(crate) mod people;
pub(crate) mod raw;
pub(crate) mod streamed;
pub(crate) mod upstream;

use std::collections::HashSet;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use consentry::audit::{self, Logged, Reader};
use consentry::cli::certs::{self, DevCerts, DevNames};
use consentry::clock::{Clock, ManualClock, SystemClock};
use consentry::gateway::{self, Running};
use consentry::identity::{PeerCertificate, TokenSigner};
use http::Method;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

pub(crate) use answer::Answer;
pub(crate) use client::Client;
pub(crate) use upstream::{Gate, Plan, Upstream};

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must come.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// The customers of every test. No consent is recorded of anybody.
const PARTIES: &str = "identifiers,kind,stage,segment,age
crm:0031 sales:7731 email:ada.brandt@example.net,person,customer,standard,adult
crm:0044 sales:7744 email:mina.okafor@example.net,person,lead,standard,adult
crm:0012 sales:7712 email:jonas.lindqvist@example.net,person,opportunity,standard,adult
crm:0058 sales:7758 email:pavel.horak@example.net,person,customer,standard,adult
crm:0070 sales:7770 email:lucia.ferrer@example.net,person,customer,vip,adult
";

/// What is to be started.
pub(crate) struct Builder {
    apis: String,
    parties: String,
    clock: Arc<dyn Clock>,
    prepare: Box<dyn FnOnce(&Path)>,
}

/// A gateway in front of the house's APIs.
pub(crate) fn gateway() -> Builder {
    Builder { apis: include_str!("apis.toml").to_owned(), parties: PARTIES.to_owned(), clock: SystemClock::shared(), prepare: Box::new(|_| {}) }
}

/// Changes the configuration of the gateway in this folder.
pub(crate) fn replace(root: &Path, from: &str, to: &str) {
    let path = root.join("consentry.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

impl Builder {
    /// Other APIs than the house's.
    pub(crate) fn apis(self, text: &str) -> Self {
        Self { apis: text.to_owned(), ..self }
    }

    /// More customers: lines of the import format.
    pub(crate) fn parties(mut self, lines: &str) -> Self {
        self.parties.push_str(lines);
        self
    }

    /// The gateway's time.
    pub(crate) fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// What is done in the gateway's folder before it starts.
    pub(crate) fn prepared(self, prepare: impl FnOnce(&Path) + 'static) -> Self {
        Self { prepare: Box::new(prepare), ..self }
    }

    /// Another text in the gateway's configuration.
    pub(crate) fn with(self, from: &'static str, to: &'static str) -> Self {
        self.prepared(move |root| replace(root, from, to))
    }

    pub(crate) async fn start(self) -> World {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let certs = certs::dev(
            &root.join("certs"),
            &DevNames {
                apps: names(&["campaign-manager", "crm", "helpdesk", "ledger", "mdm-hub", "preference-centre"]),
                agents: names(&["sales-copilot"]),
                upstreams: names(&["house"]),
                ..DevNames::default()
            },
        )
        .unwrap();
        audit::generate_signing_key(&root.join("log-ed25519.pem")).unwrap();
        fs::write(root.join("upstream.key"), UPSTREAM_KEY).unwrap();
        copy_policies(&root.join("policies"));
        let upstream = Upstream::start(upstream_tls(&certs)).await;
        let runtime = include_str!("house.toml").replace("{upstream}", &upstream.address.port().to_string());
        let config = root.join("consentry.toml");
        fs::write(&config, format!("{runtime}\n{}", self.apis)).unwrap();
        (self.prepare)(root);
        let running = gateway::start(&config, Arc::clone(&self.clock)).await.unwrap_or_else(|error| panic!("{error}"));
        let world = World { dir, certs, upstream, running: Some(running), clock: self.clock, seen: client::Seen::default(), keys: AtomicU64::new(0) };
        let instance = world.running().instance();
        let report = world
            .running()
            .shared()
            .ledger
            .import_parties(self.parties.as_bytes(), false, &|space: &str, value: &str| instance.identifier(space, value), &mut |_| {}, None)
            .unwrap();
        assert!(report.errors.is_empty(), "{report:?}");
        world
    }
}

/// What the gateway shows the API, beside its certificate.
pub(crate) const UPSTREAM_KEY: &str = "key-of-the-gateway";

fn append(path: &Path, text: &str) {
    let before = fs::read_to_string(path).unwrap();
    fs::write(path, format!("{before}\n{text}")).unwrap();
}

fn copy_policies(to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn upstream_tls(certs: &DevCerts) -> ServerConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certs.internal_ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let pair = &certs.upstreams["house"];
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![CertificateDer::from_pem_file(&pair.chain).unwrap()], PrivateKeyDer::from_pem_file(&pair.key).unwrap())
        .unwrap()
}

/// A gateway that serves, with all around it.
pub(crate) struct World {
    dir: tempfile::TempDir,
    certs: DevCerts,
    pub(crate) upstream: Upstream,
    running: Option<Running>,
    clock: Arc<dyn Clock>,
    seen: client::Seen,
    keys: AtomicU64,
}

impl World {
    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn clock_now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// The gateway's folder.
    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// A command of a policy approver's, in the gateway's folder: its exit code and what it said.
    pub(crate) fn consentry(&self, args: &[&str]) -> (i32, String) {
        self.consentry_as("policy-approver", args)
    }

    /// The same of somebody else's.
    pub(crate) fn consentry_as(&self, role: &str, args: &[&str]) -> (i32, String) {
        let pair = &self.certs.staff[role];
        let server = format!("https://localhost:{}", self.running().addresses.admin.unwrap().port());
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_consentry"));
        command.args(args).current_dir(self.root()).env("CONSENTRY_SERVER", server).env("CONSENTRY_CA", &self.certs.internal_ca);
        let done = command.env("CONSENTRY_CERT", &pair.chain).env("CONSENTRY_KEY", &pair.key).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        (done.status.code().unwrap(), text)
    }

    /// Lets time pass, once the log has nothing in hand: else its disk would seem not to answer for so long.
    pub(crate) async fn pass(&self, clock: &ManualClock, by: Duration) {
        let log = &self.running().shared().log;
        let written = || (log.metrics().entries, log.metrics().syncs);
        let mut quiet = (written(), 0);
        while quiet.1 < 5 || log.metrics().queue_depth > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            quiet = if written() == quiet.0 { (quiet.0, quiet.1 + 1) } else { (written(), 0) };
        }
        clock.advance(by);
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.running().log_dir.clone()
    }

    /// The same after the gateway was stopped and started again; on other ports.
    pub(crate) async fn restarted(mut self) -> Self {
        soon("the gateway's end", self.running.take().unwrap().shutdown()).await;
        let config = self.dir.path().join("consentry.toml");
        self.running = Some(gateway::start(&config, Arc::clone(&self.clock)).await.unwrap_or_else(|error| panic!("{error}")));
        self
    }

    /// An app or agent of the catalogue, with its certificate.
    pub(crate) fn client(&self, name: &str) -> Client {
        let address = self.running().addresses.apps[0].1;
        Client::new(address, client::tls(&self.certs.internal_ca, &self.certs.clients[name]), Some(Arc::clone(&self.seen)))
    }

    /// Somebody at the apps' listener who shows no certificate.
    pub(crate) fn stranger(&self) -> Client {
        let address = self.running().addresses.apps[0].1;
        Client::new(address, client::anonymous(&self.certs.internal_ca), Some(Arc::clone(&self.seen)))
    }

    /// A token of the issuer for an app, bound to the app's certificate. `more` replaces claims.
    pub(crate) fn token(&self, app: &str, more: &Value) -> String {
        self.bound_token(&self.certs.clients[app], app, more)
    }

    /// The issuer's key.
    pub(crate) fn signer(&self) -> TokenSigner {
        TokenSigner::from_pem(certs::TOKEN_KID, &fs::read_to_string(&self.certs.token_key).unwrap()).unwrap()
    }

    /// The certificates of everybody.
    pub(crate) fn certs(&self) -> &DevCerts {
        &self.certs
    }

    /// The claims of [`Self::token`].
    pub(crate) fn claims(&self, app: &str, more: &Value) -> Value {
        self.bound_claims(&self.certs.clients[app], app, more)
    }

    fn bound_token(&self, pair: &certs::PemPair, client: &str, more: &Value) -> String {
        self.signer().mint(&self.bound_claims(pair, client, more)).unwrap()
    }

    fn bound_claims(&self, pair: &certs::PemPair, client: &str, more: &Value) -> Value {
        let leaf = CertificateDer::from_pem_file(&pair.chain).unwrap();
        let thumbprint = PeerCertificate::from_der(&leaf).unwrap().thumbprint();
        let now = self.clock.now().as_second();
        let mut claims = json!({
            "iss": "https://login.example.com/", "aud": "https://localhost", "azp": client, "sub": "emp-1",
            "iat": now, "exp": now + 300, "cnf": { "x5t#S256": thumbprint },
        });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    fn beside(&self, address: Option<std::net::SocketAddr>, pair: &certs::PemPair) -> Client {
        Client::new(address.unwrap(), client::tls(&self.certs.internal_ca, pair), None)
    }

    /// The capture listener as an app.
    pub(crate) fn capture(&self, app: &str) -> Client {
        self.beside(self.running().addresses.capture, &self.certs.clients[app])
    }

    /// The public listener, as anybody meets it.
    pub(crate) fn visitor(&self) -> Client {
        Client::new(self.running().addresses.public.unwrap(), client::anonymous(&self.certs.internal_ca), None)
    }

    /// The path of a withdrawal link that the preference centre had made.
    pub(crate) async fn link(&self, id: &str, purpose: &str) -> String {
        let body = json!({ "party": id, "purpose": purpose });
        let made = self.capture("preference-centre").post("/v1/withdrawal-links", &body.to_string()).await;
        assert_eq!(201, made.status.as_u16(), "{made:?}");
        made.json()["url"].as_str().unwrap().strip_prefix("https://consent.example.com").unwrap().to_owned()
    }

    /// Moves the consent store away, or back.
    pub(crate) fn move_store(&self, away: bool) {
        let names = ["consent.db", "elsewhere.db"].map(|name| self.dir.path().join(name));
        let [from, to] = if away {
            names
        } else {
            let [a, b] = names;
            [b, a]
        };
        fs::rename(from, to).unwrap();
    }

    /// The admin listener under a role.
    pub(crate) fn staff(&self, role: &str) -> Client {
        self.beside(self.running().addresses.admin, &self.certs.staff[role])
    }

    /// Somebody of the staff by name, at a machine of the house: their token says which groups they are in.
    pub(crate) fn person(&self, name: &str, group: &str) -> Client {
        let token = self.bound_token(&self.certs.staff["app-developer"], "console", &json!({ "sub": name, "roles": [group] }));
        self.beside(self.running().addresses.admin, &self.certs.staff["app-developer"]).token(token)
    }

    /// What a customer says, recorded by the preference centre: in force when this returns.
    pub(crate) async fn consent(&self, id: &str, purpose: &str, state: &str) {
        self.say(id, purpose, state, json!({})).await;
    }

    /// As [`Self::consent`], with other members of the event.
    pub(crate) async fn say(&self, id: &str, purpose: &str, state: &str, more: Value) {
        let mut event = json!({
            "party": id, "purposes": [purpose], "state": state, "event_time": self.clock.now().to_string(),
            "evidence": [{ "kind": "form-hash", "reference": "sha256:00" }, { "kind": "notice", "reference": "n-1" }],
        });
        if state == "given" {
            event["categories"] = json!(["identity", "contact", "behaviour", "opportunity", "order", "case", "health"]);
            event["recipients"] = json!(["marketing", "sales", "service"]);
        }
        for (name, value) in more.as_object().unwrap() {
            event[name] = value.clone();
        }
        let centre = self.capture("preference-centre");
        let key = format!("k{}", self.keys.fetch_add(1, Ordering::Relaxed));
        let answer = centre.post("/v1/consents", &event.to_string()).header("idempotency-key", &key).await;
        assert_eq!((201, "customer"), (answer.status.as_u16(), answer.json()["author"].as_str().unwrap()), "{answer:?}");
    }

    /// What the consent desk does on the admin listener.
    pub(crate) async fn desk(&self, method: Method, path: &str, body: Value) -> Answer {
        let key = format!("k{}", self.keys.fetch_add(1, Ordering::Relaxed));
        let desk = self.staff("consent-desk");
        let answer = desk.ask(method, path).json(&body.to_string()).header("idempotency-key", &key).await;
        assert!(answer.status.is_success(), "{answer:?}");
        answer
    }

    /// Adds a policy to the folder and has the gateway take it.
    pub(crate) async fn add_policy(&self, text: &str) {
        append(&self.dir.path().join("policies/20-sharing.cedar"), text);
        self.running().reload().await.unwrap();
    }

    /// What the log holds of a decision, as `audit show` finds it.
    pub(crate) fn found(&self, answer: &Answer) -> audit::Found {
        show(&self.log_dir(), answer.decision().unwrap())
    }

    /// Stops the gateway and holds the log against what callers were told.
    pub(crate) async fn finish(mut self) {
        let dir = self.log_dir();
        soon("the gateway's end", self.running.take().unwrap().shutdown()).await;
        let report = audit::verify(&dir, None).unwrap_or_else(|failure| panic!("the log does not verify: {failure}"));
        assert_eq!((0, 0), (report.unsigned_tail, report.torn_bytes), "{report:?}");
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        let mut decisions = HashSet::new();
        for (decision, status, code) in seen {
            assert!(decisions.insert(decision.clone()), "decision {decision} was told twice");
            let found = show(&dir, &decision);
            assert_eq!(Some(u64::from(status)), found.status, "{decision}: {found:?}");
            assert!(!found.unresolved, "{decision}: {found:?}");
            match code {
                Some(code) => assert_eq!((Some(code), "deny"), (found.code.clone(), found.outcome.as_str()), "{decision}: {found:?}"),
                None if status < 300 => assert_eq!(None, found.code, "{decision}: {found:?}"),
                None => {}
            }
        }
        for entry in entries(&dir) {
            let text = String::from_utf8_lossy(&entry.raw);
            for personal in ["@example.net", "Brandt", "Okafor", "Norman", "@hostmail.com", "emp-1", "secret", "/customers/0", "Bearer", "ambulance"]
            {
                assert!(!text.contains(personal), "`{personal}` in the log: {text}");
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        assert!(self.running.is_none() || std::thread::panicking(), "the test did not call `finish`, so nothing was compared with the log");
    }
}

fn show(dir: &Path, decision: &str) -> audit::Found {
    let index = decision.rsplit_once('#').unwrap().1.parse().unwrap();
    let shown = audit::show(dir, index).unwrap().unwrap_or_else(|| panic!("decision {decision} is not in the log"));
    shown.decision.unwrap_or_else(|| panic!("entry {decision} is no decision: {:?}", shown.entries))
}

/// Everything in a log, also while it is written.
pub(crate) fn entries(dir: &Path) -> Vec<Logged> {
    Reader::open(dir).unwrap().collect::<Result<_, _>>().unwrap()
}
