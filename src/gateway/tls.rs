//! TLS on both sides, by rustls with aws-lc-rs: 1.2 and 1.3 only, no early data, no renegotiation, no resumption (a resumed
//! session would carry an earlier identity).

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// What is wrong with a certificate, key or trust anchor.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read certificates from `{path}`: {cause}; check that the file is PEM and readable")]
    Pem { path: String, cause: rustls::pki_types::pem::Error },
    #[error("no certificate in `{0}`; give a PEM file with at least one")]
    Empty(String),
    #[error("certificates in `{path}` cannot be used: {cause}")]
    Unusable { path: String, cause: String },
    #[error("TLS settings do not fit together: {0}")]
    Settings(#[from] rustls::Error),
}

/// Whether a listener asks its clients for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    Require,
    Accept,
    Off,
}

/// The settings of a TLS listener. `chain` and `key` are PEM files.
///
/// # Errors
/// When a file cannot be read or its content cannot be used.
pub fn server(chain: &Path, key: &[u8], clients: ClientCertificates, client_ca: Option<&Path>, h2: bool) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match (clients, client_ca) {
        (ClientCertificates::Off, _) | (_, None) => builder.with_no_client_auth(),
        (mode, Some(ca)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider);
            let verifier = if mode == ClientCertificates::Accept { verifier.allow_unauthenticated() } else { verifier };
            let verifier = verifier.build().map_err(|e| TlsError::Unusable { path: ca.display().to_string(), cause: e.to_string() })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(certificates(chain)?, private_key(key, chain)?)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = if h2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(Arc::new(config))
}

/// The settings towards an upstream or another server we call.
///
/// # Errors
/// When a file cannot be read or its content cannot be used.
pub fn client(ca: Option<&Path>, identity: Option<(&Path, &[u8])>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let trusted = match ca {
        Some(path) => roots(path)?,
        None => system_roots(),
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?.with_root_certificates(trusted);
    let config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(certificates(chain)?, private_key(key, chain)?)?,
        None => builder.with_no_client_auth(),
    };
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |cause| TlsError::Pem { path: path.display().to_string(), cause };
    let found = CertificateDer::pem_file_iter(path).map_err(pem)?.collect::<Result<Vec<_>, _>>().map_err(pem)?;
    if found.is_empty() { Err(TlsError::Empty(path.display().to_string())) } else { Ok(found) }
}

fn private_key(pem: &[u8], chain: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|cause| TlsError::Pem { path: format!("the key of {}", chain.display()), cause })
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|e| TlsError::Unusable { path: path.display().to_string(), cause: e.to_string() })?;
    }
    Ok(store)
}

fn system_roots() -> RootCertStore {
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
