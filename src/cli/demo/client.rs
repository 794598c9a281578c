//! An app as the gateway sees it from outside: HTTPS with the app's client certificate, and a token when it has one.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);

/// One app with its certificate; connections are kept alive, HTTP/2 where the server offers it.
pub struct AppClient {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    certificate: CertificateDer<'static>,
}

impl fmt::Debug for AppClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppClient").finish_non_exhaustive()
    }
}

/// A whole answer. `Debug` hides the body: it may be a customer's.
#[derive(Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} bytes", self.status, self.body.len())
    }
}

impl Reply {
    /// The body, if it is JSON.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The text of a header, if it stands there once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }
}

impl AppClient {
    /// A client that trusts the authorities in `roots` and shows the certificate in `chain`; all three are PEM files.
    ///
    /// # Errors
    /// A file cannot be read or does not hold what it should.
    pub fn new(roots: &Path, chain: &Path, key: &Path) -> anyhow::Result<Self> {
        let mut trusted = rustls::RootCertStore::empty();
        for authority in certificates(roots)? {
            trusted.add(authority).with_context(|| format!("`{}` is no authority", roots.display()))?;
        }
        let chain_der = certificates(chain)?;
        let certificate = chain_der.first().cloned().with_context(|| format!("`{}` holds no certificate", chain.display()))?;
        let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("cannot read the key `{}`", key.display()))?;
        let tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted)
            .with_client_auth_cert(chain_der, key)?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_all_versions().build();
        Ok(Self { http: Client::builder(TokioExecutor::new()).build(connector), certificate })
    }

    /// The certificate it shows, DER: tokens are bound to it.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Sends one request and reads the whole answer.
    ///
    /// # Errors
    /// No whole answer within 30 seconds.
    pub async fn send(&self, method: Method, url: &str, headers: HeaderMap, body: impl Into<Bytes>) -> anyhow::Result<Reply> {
        let mut request = Request::builder().method(method).uri(url).body(Full::new(body.into()))?;
        *request.headers_mut() = headers;
        let answered = async {
            let (head, body) = self.http.request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok(Reply { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(TIMEOUT, answered).await.with_context(|| format!("no answer from `{url}` within {} s", TIMEOUT.as_secs()))?
    }
}

/// The certificates of a PEM file.
pub(super) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    read().with_context(|| format!("cannot read the certificates in `{}`", path.display()))
}

/// The one crypto provider of the tree.
pub(super) fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
