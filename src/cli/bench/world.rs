//! What the stacks need: certificates, a configuration, the shipped policies, customers with their consent, and a token.
//! In a folder that is removed at the end.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use super::load::Protocol;
use super::upstream::ids;
use crate::cli::certs::{self, DevCerts, DevNames, TOKEN_KID};
use crate::cli::demo::write_policies;
use crate::clock::SystemClock;
use crate::consent::{Capturer, EventDraft, Ledger, PartyRef, State, StopDraft, StopKind};
use crate::identity::TokenSigner;
use crate::model::{Client, Identifier, Purpose, Space};
use crate::policy::Policies;

/// For which the driver asks.
pub(super) const PURPOSE: &str = "sales.outreach";
const CONFIG: &str = include_str!("consentry.toml");
const ISSUER: &str = "https://issuer.bench.internal/";
const AUDIENCE: &str = "https://127.0.0.1";
/// Of the token; a run is over long before.
const LIFETIME_S: i64 = 6 * 3600;

/// Removed when this value goes.
#[derive(Debug)]
pub(super) struct World {
    folder: Folder,
    certs: DevCerts,
    authorization: HeaderValue,
}

impl World {
    pub(super) fn create(parent: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        let folder = Folder::create(parent)?;
        let path = &folder.0;
        let certs = certs::dev(&path.join("certs"), &DevNames::default())?;
        crate::audit::generate_signing_key(&path.join("log-ed25519.pem"))?;
        write_policies(&path.join("policies"))?;
        let config = CONFIG.replace("{upstream}", &upstream.to_string()).replace("{issuer}", ISSUER).replace("{audience}", AUDIENCE);
        fs::write(path.join("consentry.toml"), config)?;
        seed(path)?;
        let authorization = token(&certs.token_key)?;
        Ok(Self { folder, certs, authorization })
    }

    pub(super) fn path(&self) -> &Path {
        &self.folder.0
    }

    pub(super) fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// Trust in the gateway's certificate, and only the protocol that is measured.
    pub(super) fn client_tls(&self, protocol: Protocol) -> anyhow::Result<Arc<rustls::ClientConfig>> {
        let mut roots = rustls::RootCertStore::empty();
        for anchor in CertificateDer::pem_file_iter(&self.certs.internal_ca)? {
            roots.add(anchor?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![match protocol {
            Protocol::Http1 => b"http/1.1".to_vec(),
            Protocol::Http2 => b"h2".to_vec(),
        }];
        Ok(Arc::new(config))
    }
}

/// Customers who may not be told apart: nobody knows the first, the second has agreed to nothing, the third was erased.
pub(super) const UNKNOWN: u32 = 2000;
pub(super) const UNCONSENTED: u32 = 2001;
pub(super) const ERASED: u32 = 2002;

/// Customers of the list in the crosswalk; each has agreed to be approached by sales. Beside them those who are not to be told apart.
fn seed(dir: &Path) -> anyhow::Result<()> {
    let policies = Policies::load(&dir.join("policies"))?;
    let clock = SystemClock::shared();
    let ledger = Ledger::open(&dir.join("consent.db"), Arc::clone(&clock))?;
    ledger.adopt(Arc::clone(policies.vocabulary()), policies.consent_rules().clone(), policies.captures().to_vec())?;
    let mut rows = b"identifiers,stage,age\n".to_vec();
    for id in ids().chain([UNCONSENTED, ERASED]) {
        writeln!(rows, "crm:{id},opportunity,adult")?;
    }
    let identify = |space: &str, value: &str| Ok(Identifier { space: Space::intern(space), value: value.to_owned() });
    let report = ledger.import_parties(rows.as_slice(), false, &identify, &mut |_| {}, None)?;
    if let Some(error) = report.errors.first() {
        bail!("customers cannot be imported: line {}: {}", error.line, error.message);
    }
    let vocabulary = policies.vocabulary();
    let centre = Capturer::Client(Client::intern("preference-centre"));
    for id in ids() {
        let mut draft = EventDraft::new(Identifier { space: Space::intern("crm"), value: id.to_string() }, Purpose::intern(PURPOSE), State::Given);
        draft.event_time = Some(clock.now());
        draft.evidence = [("form-hash", "sha256:bench"), ("notice", "bench-1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        draft.scope.categories = vocabulary.categories.keys().copied().collect();
        draft.scope.recipients = vocabulary.departments.keys().copied().collect();
        ledger.record(draft, &centre)?;
    }
    let erased = Identifier { space: Space::intern("crm"), value: ERASED.to_string() };
    let mut draft = StopDraft::new(PartyRef::Identifier(erased), StopKind::Erasure);
    draft.reason = Some("asked for".to_owned());
    ledger.add_stop(draft, &Capturer::Staff { pseudonym: "s_bench".to_owned() })?;
    Ok(())
}

fn token(key: &Path) -> anyhow::Result<HeaderValue> {
    let signer = TokenSigner::from_pem(TOKEN_KID, &fs::read_to_string(key)?)?;
    let now = SystemClock::shared().now().as_second();
    let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "azp": "crm", "iat": now, "exp": now.saturating_add(LIFETIME_S) });
    let mut value = HeaderValue::from_str(&format!("Bearer {}", signer.mint(&claims)?))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A folder of our own, readable by nobody else, removed at the end.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create(parent: &Path) -> anyhow::Result<Self> {
        let path = parent.join(format!("consentry-bench-{}", ulid::Ulid::new()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make the folder `{}`; name another place with --dir", path.display()))?;
        Ok(Self(path.canonicalize()?))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "the bench's folder could not be removed");
        }
    }
}
