//! `consentry certs dev`: throw-away authorities, certificates and keys for development, the demo and tests. Three
//! authorities, because the three kinds of callers trust nothing in common: apps, staff, and the inside (gateway and
//! upstreams). Described in `certs/README.md`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ED25519, SanType,
};

use crate::clock::SystemClock;
use crate::identity::{SignError, TokenSigner};

/// `consentry certs …`
#[derive(clap::Args, Debug)]
pub struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(clap::Subcommand, Debug)]
enum CertsCommand {
    /// Make authorities, certificates and keys for development
    #[command(after_help = "Example: consentry certs dev --dir certs --policies policies --upstream crm")]
    Dev(DevArgs),
}

#[derive(clap::Args, Debug)]
struct DevArgs {
    /// Where the files go
    #[arg(long, default_value = "certs")]
    dir: PathBuf,
    /// The policy folder whose catalogue names the applications and agents
    #[arg(long, default_value = "policies")]
    policies: PathBuf,
    /// Names of upstreams that get a server certificate
    #[arg(long = "upstream", value_name = "NAME")]
    upstreams: Vec<String>,
    /// Replace files that are there already
    #[arg(long)]
    force: bool,
}

/// Runs `consentry certs …`.
///
/// # Errors
/// What could not be read or written, and what to do about it.
pub fn run(args: &CertsArgs) -> anyhow::Result<ExitCode> {
    let CertsCommand::Dev(args) = &args.command;
    let catalogue = args.policies.join("catalogue.cedarentities.json");
    let text =
        fs::read_to_string(&catalogue).with_context(|| format!("cannot read `{}`; name the policy folder with --policies", catalogue.display()))?;
    let (apps, agents) = catalogue_clients(&text).with_context(|| format!("`{}`", catalogue.display()))?;
    let names = DevNames { apps, agents, upstreams: args.upstreams.clone(), overwrite: args.force, ..DevNames::default() };
    let made = dev(&args.dir, &names)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{} files in {}, valid for {DAYS} days; keys are readable by you alone", made.files, args.dir.display())?;
    writeln!(out, "  apps trust     {}", made.apps_ca.display())?;
    writeln!(out, "  staff trust    {}", made.staff_ca.display())?;
    writeln!(out, "  servers trust  {}", made.internal_ca.display())?;
    writeln!(out, "  token keys     {}", made.token_keys.display())?;
    writeln!(out, "  log's key      {}", made.log_key.display())?;
    Ok(ExitCode::SUCCESS)
}

/// For whom certificates are made.
#[derive(Clone, Debug)]
pub struct DevNames {
    /// Applications of the catalogue: `spiffe://example.com/app/<name>`.
    pub apps: Vec<String>,
    /// Agents of the catalogue: `spiffe://example.com/agent/<name>`.
    pub agents: Vec<String>,
    /// Staff roles: `spiffe://example.com/staff/<role>`.
    pub staff: Vec<String>,
    /// Upstream servers: `<name>.internal` and the loopback names.
    pub upstreams: Vec<String>,
    /// Replace files that are there already.
    pub overwrite: bool,
}

impl Default for DevNames {
    /// The staff roles of the admin listener and nobody else.
    fn default() -> Self {
        let staff = ["auditor", "consent-desk", "policy-author", "policy-approver", "operator", "app-developer"].map(str::to_owned).to_vec();
        Self { apps: Vec::new(), agents: Vec::new(), staff, upstreams: Vec::new(), overwrite: false }
    }
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemPair {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// Where everything was written.
#[derive(Clone, Debug)]
pub struct DevCerts {
    /// Trusted by the data plane for client certificates.
    pub apps_ca: PathBuf,
    /// Trusted by the admin listener for client certificates.
    pub staff_ca: PathBuf,
    /// Trusted by clients for the gateway's servers, and by gateway and upstreams for each other.
    pub internal_ca: PathBuf,
    /// Server certificate of the data plane: localhost, 127.0.0.1, ::1.
    pub gateway: PemPair,
    /// Server certificate of the admin listener, for the same names.
    pub admin: PemPair,
    /// The gateway's client certificate towards upstreams: `spiffe://example.com/gateway`.
    pub gateway_client: PemPair,
    /// By application or agent.
    pub clients: BTreeMap<String, PemPair>,
    /// By role.
    pub staff: BTreeMap<String, PemPair>,
    /// By upstream.
    pub upstreams: BTreeMap<String, PemPair>,
    /// The demo issuer's signing key (ES256, key id [`TOKEN_KID`]), for [`TokenSigner::from_pem`].
    pub token_key: PathBuf,
    /// The demo issuer's key set (JWKS).
    pub token_keys: PathBuf,
    /// The decision log's signing key (Ed25519), for `[audit] signing_key`.
    pub log_key: PathBuf,
    /// How many files were written.
    pub files: usize,
}

/// The key id of the demo issuer's key.
pub const TOKEN_KID: &str = "dev-1";

/// Why no certificates were made.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    #[error("`{}` is there already; choose another --dir or say --force", .0.display())]
    Exists(PathBuf),
    #[error("`{0}` cannot be the name of a file and of a certificate; use lower-case letters, digits, `-` and `.`")]
    Name(String),
    #[error("`{0}` is named twice")]
    Twice(String),
    #[error("cannot write `{}`: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("a certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    Signer(#[from] SignError),
}

/// Makes authorities, certificates and keys in `dir`. Either everything is written or, when something is in the way,
/// nothing.
///
/// # Errors
/// [`CertError`].
pub fn dev(dir: &Path, names: &DevNames) -> Result<DevCerts, CertError> {
    let mut made = Folder { dir, files: Vec::new() };
    let apps = made.authority("apps-ca", "consentry dev apps")?;
    let staff = made.authority("staff-ca", "consentry dev staff")?;
    let internal = made.authority("internal-ca", "consentry dev internal")?;

    let gateway = made.certificate("gw", &internal, Usage::Server("gw.internal".to_owned()))?;
    let admin = made.certificate("admin", &internal, Usage::Server("admin.internal".to_owned()))?;
    let gateway_client = made.certificate("gw-client", &internal, Usage::Client("gateway".to_owned()))?;

    let mut pairs = |prefix: &str, list: &[String], authority: &Authority, usage: &dyn Fn(&str) -> Usage| {
        let mut found = BTreeMap::new();
        for name in list {
            if name.is_empty() || name.starts_with('.') || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)) {
                return Err(CertError::Name(name.clone()));
            }
            let pair = made.certificate(&format!("{prefix}-{name}"), authority, usage(name))?;
            if found.insert(name.clone(), pair).is_some() {
                return Err(CertError::Twice(name.clone()));
            }
        }
        Ok(found)
    };
    let mut clients = pairs("app", &names.apps, &apps, &|name| Usage::Client(format!("app/{name}")))?;
    for (name, pair) in pairs("agent", &names.agents, &apps, &|name| Usage::Client(format!("agent/{name}")))? {
        if clients.insert(name.clone(), pair).is_some() {
            return Err(CertError::Twice(name));
        }
    }
    let staff_pairs = pairs("staff", &names.staff, &staff, &|role| Usage::Client(format!("staff/{role}")))?;
    let upstreams = pairs("upstream", &names.upstreams, &internal, &|name| Usage::Server(format!("{name}.internal")))?;

    let signer = TokenSigner::generate(TOKEN_KID)?;
    let token_key = made.secret("issuer.key", signer.key_pem());
    let token_keys = made.public("issuer-jwks.json", format!("{:#}\n", signer.jwks()));
    let log_key = made.secret("log.key", KeyPair::generate_for(&PKCS_ED25519)?.serialize_pem());
    let made_at = |name: &str| dir.join(name);
    let certs = DevCerts {
        apps_ca: made_at("apps-ca.pem"),
        staff_ca: made_at("staff-ca.pem"),
        internal_ca: made_at("internal-ca.pem"),
        gateway,
        admin,
        gateway_client,
        clients,
        staff: staff_pairs,
        upstreams,
        token_key,
        token_keys,
        log_key,
        files: made.files.len(),
    };
    made.write(names.overwrite)?;
    Ok(certs)
}

type Authority = CertifiedIssuer<'static, KeyPair>;

/// What a certificate is for; each is good for one direction only.
enum Usage {
    /// This host name and the loopback names.
    Server(String),
    /// `spiffe://example.com/` and this path.
    Client(String),
}

/// The files to be, in memory until all of them are made.
struct Folder<'a> {
    dir: &'a Path,
    files: Vec<(PathBuf, String, u32)>,
}

impl Folder<'_> {
    fn authority(&mut self, stem: &str, common_name: &str) -> Result<Authority, CertError> {
        let mut params = params(common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?;
        self.public(&format!("{stem}.pem"), authority.pem());
        self.secret(&format!("{stem}.key"), authority.key().serialize_pem());
        Ok(authority)
    }

    fn certificate(&mut self, stem: &str, authority: &Authority, usage: Usage) -> Result<PemPair, CertError> {
        let mut params = params(stem);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        match usage {
            Usage::Server(host) => {
                let names = [host, "localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
                params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }
            Usage::Client(path) => {
                params.subject_alt_names = vec![SanType::URI(format!("spiffe://example.com/{path}").try_into()?)];
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, authority)?;
        let chain = self.public(&format!("{stem}.pem"), certificate.pem());
        let key = self.secret(&format!("{stem}.key"), key.serialize_pem());
        Ok(PemPair { chain, key })
    }

    fn public(&mut self, name: &str, text: String) -> PathBuf {
        self.file(name, text, 0o644)
    }

    fn secret(&mut self, name: &str, text: String) -> PathBuf {
        self.file(name, text, 0o600)
    }

    fn file(&mut self, name: &str, text: String, mode: u32) -> PathBuf {
        let path = self.dir.join(name);
        self.files.push((path.clone(), text, mode));
        path
    }

    fn write(&self, overwrite: bool) -> Result<(), CertError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CertError::Write { path, source }
        };
        fs::create_dir_all(self.dir).map_err(failed(self.dir))?;
        for (path, ..) in &self.files {
            // A symbolic link in the way counts, even one that leads nowhere.
            if path.symlink_metadata().is_ok() {
                if !overwrite {
                    return Err(CertError::Exists(path.clone()));
                }
                fs::remove_file(path).map_err(failed(path))?;
            }
        }
        for (path, text, mode) in &self.files {
            // `create_new` follows no link, so that a key never lands in a file that others can read.
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(*mode).open(path).map_err(failed(path))?;
            file.write_all(text.as_bytes()).map_err(failed(path))?;
        }
        Ok(())
    }
}

const DAYS: u64 = 90;
/// Other machines' clocks may be a little behind.
const BACKDATED: Duration = Duration::from_secs(3600);

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = u64::try_from(SystemClock::shared().now().as_second()).unwrap_or(0);
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now);
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::from_secs(DAYS * 86_400);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// Applications and agents of a Cedar entities file.
fn catalogue_clients(text: &str) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    #[derive(serde::Deserialize)]
    struct Entity {
        uid: Uid,
    }
    #[derive(serde::Deserialize)]
    struct Uid {
        r#type: String,
        id: String,
    }
    let entities: Vec<Entity> = serde_json::from_str(text)?;
    let of = |kind: &str| entities.iter().filter(|e| e.uid.r#type == kind).map(|e| e.uid.id.clone()).collect::<Vec<_>>();
    let (apps, agents) = (of("Application"), of("Agent"));
    anyhow::ensure!(!(apps.is_empty() && agents.is_empty()), "the catalogue names no `Application` and no `Agent`");
    Ok((apps, agents))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use rustls::server::WebPkiClientVerifier;
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

    use super::*;
    use crate::identity::PeerCertificate;

    fn names() -> DevNames {
        DevNames { apps: vec!["crm".to_owned()], agents: vec!["sales-copilot".to_owned()], upstreams: vec!["cpq".to_owned()], ..DevNames::default() }
    }

    fn peer(path: &Path) -> PeerCertificate {
        PeerCertificate::from_der(&CertificateDer::from_pem_file(path).expect("pem")).expect("certificate")
    }

    #[test]
    fn each_certificate_carries_its_own_name_and_keys_are_private() {
        let dir = tempfile::tempdir().expect("dir");
        let made = dev(dir.path(), &names()).expect("made");
        assert_eq!(["spiffe://example.com/app/crm"], peer(&made.clients["crm"].chain).uris());
        assert_eq!(["spiffe://example.com/agent/sales-copilot"], peer(&made.clients["sales-copilot"].chain).uris());
        assert_eq!(["spiffe://example.com/staff/auditor"], peer(&made.staff["auditor"].chain).uris());
        assert_eq!(["cpq.internal", "localhost"], peer(&made.upstreams["cpq"].chain).dns_names());
        assert!(peer(&made.gateway.chain).uris().is_empty());
        let mut keys = 0;
        for entry in fs::read_dir(dir.path()).expect("dir") {
            let entry = entry.expect("entry");
            if entry.path().extension().is_some_and(|e| e == "key") {
                keys += 1;
                assert_eq!(0o600, entry.metadata().expect("metadata").permissions().mode() & 0o777, "{:?}", entry.path());
            }
        }
        assert_eq!(17, keys, "3 authorities, 3 of the gateway, 2 clients, 6 of staff, 1 upstream, 1 token key, 1 of the log");
        let pem = fs::read_to_string(&made.token_key).expect("key");
        assert_eq!(
            TokenSigner::from_pem(TOKEN_KID, &pem).expect("signer").jwks(),
            serde_json::from_str::<serde_json::Value>(&fs::read_to_string(&made.token_keys).expect("jwks")).expect("json")
        );
    }

    #[test]
    fn what_is_there_is_never_replaced_unless_said() {
        let dir = tempfile::tempdir().expect("dir");
        fs::write(dir.path().join("staff-auditor.key"), "precious").expect("write");
        assert!(matches!(dev(dir.path(), &names()), Err(CertError::Exists(_))));
        assert_eq!(1, fs::read_dir(dir.path()).expect("dir").count(), "nothing was written");
        dev(dir.path(), &DevNames { overwrite: true, ..names() }).expect("made");
        assert_ne!("precious", fs::read_to_string(dir.path().join("staff-auditor.key")).expect("read"));
    }

    #[test]
    fn names_that_leave_the_folder_or_collide_are_refused() {
        let dir = tempfile::tempdir().expect("dir");
        for name in ["", "../x", "a/b", ".hidden", "Crm", "a b", "a\0b"] {
            assert!(matches!(dev(dir.path(), &DevNames { apps: vec![name.to_owned()], ..names() }), Err(CertError::Name(_))), "{name:?}");
        }
        let twice = DevNames { agents: vec!["crm".to_owned()], ..names() };
        assert!(matches!(dev(dir.path(), &twice), Err(CertError::Twice(_))));
        assert_eq!(0, fs::read_dir(dir.path()).expect("dir").count());
    }

    /// Whether a client with this certificate gets through to a server with that one, in memory.
    async fn shakes_hands(made: &DevCerts, server: &PemPair, client: &PemPair, host: &str) -> bool {
        let roots = |path: &Path| {
            let mut store = RootCertStore::empty();
            store.add(CertificateDer::from_pem_file(path).expect("pem")).expect("authority");
            Arc::new(store)
        };
        let load = |pair: &PemPair| {
            let chain = vec![CertificateDer::from_pem_file(&pair.chain).expect("pem")];
            (chain, PrivateKeyDer::from_pem_file(&pair.key).expect("key"))
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(&made.apps_ca), Arc::clone(&provider)).build().expect("verifier");
        let (chain, key) = load(server);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().expect("versions");
        let server = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).expect("server");
        let (chain, key) = load(client);
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let client = builder.with_root_certificates(roots(&made.internal_ca)).with_client_auth_cert(chain, key).expect("client");

        let (near, far) = tokio::io::duplex(64 * 1024);
        let host = ServerName::try_from(host.to_owned()).expect("name");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let (accepted, connected) = tokio::join!(acceptor.accept(far), connector.connect(host, near));
        accepted.is_ok() && connected.is_ok()
    }

    #[tokio::test]
    async fn tls_takes_each_certificate_for_its_own_use_only() {
        let dir = tempfile::tempdir().expect("dir");
        let made = dev(dir.path(), &names()).expect("made");
        let crm = &made.clients["crm"];
        for host in ["localhost", "127.0.0.1", "::1", "gw.internal"] {
            assert!(shakes_hands(&made, &made.gateway, crm, host).await, "{host}");
        }
        assert!(!shakes_hands(&made, &made.gateway, crm, "example.com").await, "another host");
        assert!(!shakes_hands(&made, &made.gateway, &made.staff["auditor"], "localhost").await, "staff are no app");
        assert!(!shakes_hands(&made, &made.gateway, &made.gateway_client, "localhost").await, "the inside is no app");
        assert!(!shakes_hands(&made, crm, crm, "localhost").await, "an app is no server");
    }

    #[test]
    fn the_command_reads_the_catalogue_of_the_policy_folder() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            certs: CertsArgs,
        }
        let dir = tempfile::tempdir().expect("dir");
        let (policies, out) = (dir.path().join("policies"), dir.path().join("certs"));
        let run_dev = || {
            let args = ["certs", "dev", "--upstream", "cpq", "--policies"].map(std::ffi::OsString::from).into_iter();
            let args = args.chain([policies.clone().into(), "--dir".into(), out.clone().into()]);
            run(&<Cli as clap::Parser>::parse_from(args).certs)
        };
        assert!(run_dev().expect_err("no folder").to_string().contains("--policies"));
        fs::create_dir(&policies).expect("folder");
        let text = r#"[{"uid":{"type":"Application","id":"crm"},"attrs":{},"parents":[]}]"#;
        fs::write(policies.join("catalogue.cedarentities.json"), text).expect("catalogue");
        run_dev().expect("made");
        assert!(out.join("app-crm.pem").exists() && out.join("upstream-cpq.key").exists());
        assert!(run_dev().expect_err("again").to_string().contains("--force"));
    }

    #[test]
    fn the_catalogue_names_the_clients() {
        let text = r#"[{"uid":{"type":"Role","id":"r"},"attrs":{},"parents":[]},{"uid":{"type":"Application","id":"crm"},"attrs":{},"parents":[]},
            {"uid":{"type":"Agent","id":"bot"},"attrs":{},"parents":[]}]"#;
        assert_eq!((vec!["crm".to_owned()], vec!["bot".to_owned()]), catalogue_clients(text).expect("read"));
        assert!(catalogue_clients("[]").is_err());
        assert!(catalogue_clients("{").is_err());
    }
}
