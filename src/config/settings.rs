//! What a checked configuration says: plain data, read from the file by the other modules of this room and never changed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::retention::Retention;
use crate::catalog::Catalog;
use crate::model::{ApiName, Client, ClientKind, Department, Environment, EventFormat, Finding, IssuerName, Purpose, UpstreamName};

/// A whole configuration without a mistake.
#[derive(Debug)]
pub struct Config {
    pub gateway: GatewaySettings,
    pub listeners: Vec<Listener>,
    pub admin: Option<Admin>,
    pub health: Option<Health>,
    pub capture: Option<CaptureListener>,
    pub public: Option<PublicListener>,
    pub issuers: Vec<Issuer>,
    pub clients: Vec<ClientSettings>,
    pub policy: PolicySource,
    /// Whether the compiled form of the policies decides, or plain Cedar does each time.
    pub policy_compiled: bool,
    pub consent: ConsentStore,
    pub audit: AuditSettings,
    /// `None`: nobody is told of changes.
    pub webhooks: Option<Webhooks>,
    /// `None`: nothing is traced.
    pub telemetry: Option<TelemetrySettings>,
    pub upstreams: BTreeMap<UpstreamName, Upstream>,
    pub catalog: Catalog,
    pub budgets: Vec<Budget>,
    /// SHA-256 in hex over the governed tables of all files, whatever their order, comments and white space.
    pub governed_hash: String,
    /// All files that were read, for the watcher; the policies are not among them.
    pub files: Vec<PathBuf>,
    /// Not mistakes, but worth a line: shown by `check` and logged at start.
    pub warnings: Vec<Finding>,
}

/// `[policy]`: where the policies come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// Development: whoever can write the folder decides.
    Folder(PathBuf),
    /// Whoever the allowed signers are, together.
    Bundle(BundleSettings),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleSettings {
    /// The gateway's own copy of the active bundle; its signatures stand beside it, in `….sigs`.
    pub file: PathBuf,
    /// In OpenSSH's format.
    pub allowed_signers: PathBuf,
    /// Departments that approve what opens something, at least.
    pub departments_min: u32,
}

impl PolicySource {
    /// What is watched. A bundle is not: it changes by activation only.
    #[must_use]
    pub fn watched(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::Bundle(bundle) => &bundle.allowed_signers,
        }
    }
}

/// `[gateway]`
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    pub name: String,
    /// Without a slash at its end; never taken from the Host header.
    pub public_url: String,
    pub environment: Environment,
}

/// `[[listener]]`: the data plane.
#[derive(Clone, Debug)]
pub struct Listener {
    pub name: String,
    pub address: SocketAddr,
    pub certificates: Vec<Certified>,
    pub client_certificates: ClientCertificates,
    pub limits: Limits,
    /// Networks of balancers: who connects from there says for whom, and nobody else connects.
    pub proxy_protocol: Option<Vec<(IpAddr, u8)>>,
}

/// The certificates of callers.
#[derive(Clone, Debug)]
pub enum ClientCertificates {
    Require(ClientTrust),
    Accept(ClientTrust),
    Off,
}

/// Whose client certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTrust {
    pub anchors: Vec<CertificateDer<'static>>,
    /// Empty: revocation is not looked at. Else each certificate of a chain needs a list of its issuer's that has not run out.
    pub revoked: Vec<CertificateRevocationListDer<'static>>,
    /// When the first of these lists runs out.
    pub revoked_until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub headers_bytes_max: usize,
    /// Until all headers have arrived.
    pub header_timeout: Duration,
    /// Between two requests of a connection.
    pub idle_timeout: Duration,
    /// For a client that takes nothing of its answer.
    pub send_timeout: Duration,
    pub request_body_bytes_max: usize,
    /// Concurrent HTTP/2 streams of a connection.
    pub streams_max: u32,
    pub connections_max: usize,
    /// Of one IPv4 address or IPv6 /64.
    pub connections_per_ip_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers_bytes_max: 64 << 10,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(60),
            request_body_bytes_max: 1 << 20,
            streams_max: 100,
            connections_max: 10_000,
            connections_per_ip_max: 256,
        }
    }
}

/// A certificate chain, end entity first, with its key. Parsed, and the key fits.
#[derive(PartialEq, Eq)]
pub struct Certified {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Certified {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certified").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

/// `[admin]`: own trust; loopback unless written otherwise.
#[derive(Clone, Debug)]
pub struct Admin {
    pub address: SocketAddr,
    pub certificates: Vec<Certified>,
    pub clients: ClientTrust,
    pub roles: BTreeMap<AdminRole, Vec<RoleSource>>,
    /// Longest time from now that a break-glass grant may be asked for.
    pub break_glass_max: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AdminRole {
    Auditor,
    ConsentDesk,
    PolicyAuthor,
    PolicyApprover,
    AppDeveloper,
    Operator,
}

impl AdminRole {
    pub const ALL: [Self; 6] = [Self::Auditor, Self::ConsentDesk, Self::PolicyAuthor, Self::PolicyApprover, Self::AppDeveloper, Self::Operator];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auditor => "auditor",
            Self::ConsentDesk => "consent-desk",
            Self::PolicyAuthor => "policy-author",
            Self::PolicyApprover => "policy-approver",
            Self::AppDeveloper => "app-developer",
            Self::Operator => "operator",
        }
    }
}

/// Who has an admin role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSource {
    pub who: RoleHolder,
    /// Only for `app-developer`: decisions of this app.
    pub app: Option<Client>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleHolder {
    /// A SAN URI or DNS name, exact.
    Certificate(String),
    /// A group of a verified token.
    Group { issuer: IssuerName, group: String },
}

/// `[health]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    pub address: SocketAddr,
}

/// `[capture]`: registered apps record consent here.
#[derive(Clone, Debug)]
pub struct CaptureListener {
    pub address: SocketAddr,
    pub certificates: Vec<Certified>,
    pub clients: ClientTrust,
}

/// `[public]`: withdrawal links work here, without login.
#[derive(Clone, Debug)]
pub struct PublicListener {
    pub address: SocketAddr,
    pub certificates: Vec<Certified>,
    pub page: PublicPage,
}

/// What the public page says and its links look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicPage {
    /// What links begin with: `https://…` without a slash at its end.
    pub base_url: String,
    /// Whom a person turns to when a link does not work, as the page shows it.
    pub contact: String,
    /// Longest life of a link, days.
    pub link_days_max: u32,
    /// What the page calls a purpose; without an entry it shows the purpose's key.
    pub words: BTreeMap<Purpose, Words>,
}

/// A text in the languages of the public page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    pub en: String,
    pub da: String,
}

/// `[[issuer]]` of tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    pub name: IssuerName,
    /// Compared exactly.
    pub issuer: String,
    pub audience: String,
    pub keys: KeySource,
    pub keys_max_age: Duration,
    pub algorithms: Vec<Algorithm>,
    pub sender_constraint: SenderConstraint,
    pub claims: Claims,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    File(PathBuf),
    /// `https://`, or `http://` to a loopback address.
    Url(String),
    /// The same of the issuer's metadata, which say where the keys are.
    Discovery(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [(&'static str, Self); 3] = [("RS256", Self::Rs256), ("ES256", Self::Es256), ("EdDSA", Self::EdDsa)];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderConstraint {
    /// RFC 8705: `cnf.x5t#S256` must be the client certificate's.
    Mtls,
    /// RFC 9449: each request proves that its sender has the key of `cnf.jkt`.
    Dpop,
    /// Written out.
    None,
}

/// Names of claims; a dot goes one level down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub client: String,
    pub employee: String,
    pub agent: String,
    pub roles: String,
    pub purpose: String,
    pub task: String,
    pub customer: Option<String>,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            client: "azp".to_owned(),
            employee: "sub".to_owned(),
            agent: "act.sub".to_owned(),
            roles: "roles".to_owned(),
            purpose: "authorization_details".to_owned(),
            task: "task".to_owned(),
            customer: None,
        }
    }
}

/// `[client]`: what ties credentials to a principal of the catalogue.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    pub client: Client,
    pub kind: ClientKind,
    /// A SAN URI or DNS name, exact.
    pub certificate: Option<String>,
    pub token: Option<TokenClient>,
    /// Narrower than what the catalogue registers; `None` = all of that.
    pub purposes: Option<Vec<Purpose>>,
    /// Requests under way at once.
    pub in_flight_max: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenClient {
    pub issuer: IssuerName,
    /// Value of the issuer's `client` claim.
    pub client: String,
}

/// `[consent]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentStore {
    pub sqlite: PathBuf,
    pub controller: Option<Controller>,
}

/// Who answers for the processing (GDPR Art. 4(7)): named in receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    pub name: String,
    pub address: Option<String>,
    /// Where a person withdraws or asks, e.g. an e-mail address.
    pub contact: Option<String>,
}

/// When an entry of a decision counts as recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditMode {
    /// When the disk has confirmed it.
    #[default]
    Strict,
    /// When the kernel has it, as long as a power cut can take no more than this.
    Bounded { max_ms: u32, max_records: u32 },
}

/// `[audit]`
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Decision ids are `<origin>#<index>`.
    pub origin: String,
    pub dir: PathBuf,
    /// Takes over when a write or sync in `dir` fails.
    pub spare_dir: Option<PathBuf>,
    pub mode: AuditMode,
    /// An Ed25519 key: PKCS#8, PEM or DER.
    pub signing_key: Secret,
    /// The key that `signing_key` takes the place of; it signs, too.
    pub previous_key: Option<Secret>,
    /// From which keys for pseudonyms, links, receipts and ETags are derived; without it `signing_key`.
    pub secrets_key: Option<Secret>,
    pub witnesses: Vec<WitnessSettings>,
    pub exports: Vec<ExportSettings>,
    pub retention: Retention,
}

/// `[[audit.witnesses]]`: who remembers the log's checkpoints elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessSettings {
    /// Without a slash at its end; `http` only to a loopback address.
    pub url: String,
    /// Its verifier key.
    pub key: String,
    pub tls: UpstreamTls,
}

/// One of `[audit] export`: where events of the log go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportSettings {
    /// Lower-case letters, digits and `-`; tells the exports apart.
    pub name: String,
    pub format: EventFormat,
    pub to: ExportTo,
    /// `Bearer …`, marked sensitive.
    pub token: Option<HeaderValue>,
    /// For HTTPS and syslog.
    pub tls: UpstreamTls,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportTo {
    /// Absolute.
    File(PathBuf),
    /// `http` only to a loopback address.
    Https { url: String, is_tls: bool },
    /// Over TLS. An IPv6 address in brackets.
    Syslog { host: String, port: u16 },
}

/// `[webhooks]`: whom the gateway may tell of changes.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// Host in lower case (an IPv6 address in brackets) and port. No other is ever connected to.
    pub hosts: Vec<(String, u16)>,
    pub tls: UpstreamTls,
}

/// `[telemetry] otlp`: where traces go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// With the path of the signal.
    pub url: String,
    /// One trace in so many is recorded where the caller says nothing of it.
    pub one_in: u32,
    /// `Bearer …`, marked sensitive.
    pub token: Option<HeaderValue>,
    pub tls: UpstreamTls,
}

/// `[upstream.NAME]`
#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: UpstreamName,
    /// At least one; all with TLS or none.
    pub targets: Vec<Origin>,
    pub ejection: Ejection,
    pub health: Option<HealthCheck>,
    /// Empty, or `/services/data`, canonical and without a slash at its end.
    pub base_path: String,
    /// `None` for `http://`.
    pub tls: Option<UpstreamTls>,
    pub credentials: Credentials,
    pub timeouts: Timeouts,
    pub in_flight_max: usize,
    /// `Accept-Encoding: gzip` is sent, else `identity`. What comes encoded anyway is decoded all the same.
    pub accept_gzip: bool,
    /// Decoded bytes for each encoded one.
    pub decode_ratio_max: u32,
    /// Of a list that is released in parts.
    pub list_bytes_max: usize,
}

/// When a target is left out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Requests that fail in a row.
    pub failures: u32,
    /// For how long at first; twice as long each time that it fails again.
    pub first: Duration,
    pub longest: Duration,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { failures: 5, first: Duration::from_secs(10), longest: Duration::from_secs(5 * 60) }
    }
}

/// How targets are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// As it is sent: not below `base_path`.
    pub path: String,
    pub every: Duration,
    pub timeout: Duration,
    /// Checks in a row that make a target count as down, and as well again.
    pub failures: u32,
    pub successes: u32,
}

/// `[budget.NAME]`: how much those who are meant may have in a time. All that is given must be true of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub name: String,
    pub client: Option<Client>,
    pub department: Option<Department>,
    /// With all below it.
    pub purpose: Option<Purpose>,
    pub api: Option<ApiName>,
    /// Each client has the budget for itself; else all that are meant have it together.
    pub each_client: bool,
    pub requests: Option<Allowance>,
    pub rows: Option<Allowance>,
    /// Different ones.
    pub customers: Option<Allowance>,
}

/// At most so many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub most: u64,
    pub within: Duration,
}

/// `https://host:port` without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub tls: bool,
    /// Lower case; an IPv6 address in brackets.
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// `host`, or `host:port` when the port is not the scheme's: the Host header.
    #[must_use]
    pub fn authority(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    pub roots: Roots,
    pub client: Option<Certified>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    System,
    Ca(Vec<CertificateDer<'static>>),
}

/// What the gateway shows the upstream.
#[derive(Clone, Debug)]
pub enum Credentials {
    None,
    /// The caller's `Authorization` goes on.
    Forward,
    /// The value is marked sensitive.
    Header {
        name: HeaderName,
        value: HeaderValue,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), first_byte: Duration::from_secs(10), total: Duration::from_secs(60) }
    }
}

/// A secret from a file or the environment; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub(super) const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
