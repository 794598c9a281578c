//! TLS on both sides, by rustls with aws-lc-rs: 1.2 and 1.3 only, no early data, no renegotiation, no resumption (a resumed
//! session would carry an earlier identity). Certificates arrive parsed and checked from the configuration.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientCertVerifierBuilder, ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{Certified, ClientCertificates, ClientTrust, Roots, UpstreamTls};

/// Trust or certificates that rustls does not take, although each could be parsed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("TLS settings do not fit together: {0}; check certificates and trust anchors")]
    Settings(#[from] rustls::Error),
    #[error("trust anchors for client certificates cannot be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("no certificate is configured; add one to `certificates`")]
    NoCertificate,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What a listener needs for TLS, and whom it lets in.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(super) config: Arc<ServerConfig>,
    /// `None`: client certificates are not asked for.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl Secured {
    /// By the clock of the handshakes.
    pub(super) fn now(&self) -> Option<UnixTime> {
        self.config.time_provider.current_time()
    }

    /// Whether a handshake with this chain, end entity first, would be let in.
    pub(super) fn lets_in(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let (Some(verifier), Some((leaf, others))) = (&self.verifier, chain.split_first()) else { return false };
        verifier.verify_client_cert(leaf, others, now).is_ok()
    }
}

#[cfg(test)]
impl Secured {
    /// The same at another time.
    pub(super) fn at(&self, time: Arc<dyn rustls::time_provider::TimeProvider>) -> Self {
        let mut config = ServerConfig::clone(&self.config);
        config.time_provider = time;
        Self { config: Arc::new(config), verifier: self.verifier.clone() }
    }
}

/// Settings that ask nobody for a certificate.
impl From<ServerConfig> for Secured {
    fn from(config: ServerConfig) -> Self {
        Self { config: Arc::new(config), verifier: None }
    }
}

/// The settings of a listener.
///
/// # Errors
/// When certificates or trust anchors cannot be used together.
pub(super) fn server(certificates: &[Certified], clients: &ClientCertificates) -> Result<Arc<Secured>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let verifier = match clients {
        ClientCertificates::Off => None,
        ClientCertificates::Require(trust) => Some(trusting(trust)?.build()?),
        ClientCertificates::Accept(trust) => Some(trusting(trust)?.allow_unauthenticated().build()?),
    };
    let builder = match &verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName::new(certificates)?));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(Secured { config: Arc::new(config), verifier }))
}

/// With revocation lists, the whole chain but the anchor is looked for in them; a certificate of whose issuer there is no list,
/// or one that has run out, is as bad as one that is in it.
fn trusting(trust: &ClientTrust) -> Result<ClientCertVerifierBuilder, TlsError> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store(&trust.anchors)?), provider());
    if trust.revoked.is_empty() {
        return Ok(builder);
    }
    Ok(builder.with_crls(trust.revoked.iter().cloned()).enforce_revocation_expiration())
}

/// The certificate whose names fit what the client asks for; the first one for everybody else.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ByName {
    fn new(certificates: &[Certified]) -> Result<Self, TlsError> {
        let provider = provider();
        let load = |c: &Certified| CertifiedKey::from_der(c.chain.clone(), c.key.clone_key(), &provider).map(Arc::new);
        let keys = certificates.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(TlsError::NoCertificate) } else { Ok(Self(keys)) }
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|n| ServerName::try_from(n).ok());
        let fits = |key: &&Arc<CertifiedKey>| {
            let leaf = key.cert.first().and_then(|der| ParsedCertificate::try_from(der).ok());
            leaf.zip(name.as_ref()).is_some_and(|(leaf, name)| verify_server_name(&leaf, name).is_ok())
        };
        let named = if self.0.len() > 1 { self.0.iter().find(fits) } else { None };
        named.or_else(|| self.0.first()).cloned()
    }
}

/// The settings towards an upstream.
///
/// # Errors
/// When trust anchors or the gateway's own certificate cannot be used.
pub(super) fn client(settings: Option<&UpstreamTls>) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let Some(settings) = settings else {
        return Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    };
    let roots = match &settings.roots {
        Roots::System => system_roots(),
        Roots::Ca(anchors) => store(anchors)?,
    };
    let builder = builder.with_root_certificates(roots);
    Ok(match &settings.client {
        None => builder.with_no_client_auth(),
        Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.key.clone_key())?,
    })
}

fn store(anchors: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for anchor in anchors {
        store.add(anchor.clone())?;
    }
    Ok(store)
}

/// The machine's own trust anchors.
#[must_use]
pub(super) fn system_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a system root certificate cannot be read");
    }
    let (_, ignored) = store.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::warn!(ignored, "system root certificates that cannot be used");
    }
    store
}
