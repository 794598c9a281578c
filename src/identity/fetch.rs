//! Fetching a key set from its fixed address. No redirect is followed, the size is bounded here, the time by the key ring.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::IdentityError;

/// A boxed future, so that [`KeyFetch`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where key sets are fetched from; the second implementation is the double of the tests.
pub trait KeyFetch: Send + Sync + fmt::Debug {
    /// The body of a 200 answer, or a reason for the trace. The caller bounds the time.
    fn fetch<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Bytes, String>>;
}

/// A key set of more than this is refused: 256 KiB are some hundred RSA keys.
pub(super) const KEY_SET_BYTES_MAX: usize = 256 * 1024;
/// From the first packet to the last byte.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// Fetches over TLS (and in the clear from a loopback address).
pub struct HttpsKeyFetch {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl HttpsKeyFetch {
    /// `roots` are the authorities that the issuers' servers are verified against.
    ///
    /// # Errors
    /// [`IdentityError::Tls`].
    pub fn new(roots: rustls::RootCertStore) -> Result<Self, IdentityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| IdentityError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        // No idle connection is kept: key sets are fetched a few times a day.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client })
    }

    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let uri = key_url(url).ok_or("the address is neither `https:` nor `http:` to a loopback address")?;
        let answer = self.client.get(uri).await.map_err(|error| error.to_string())?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("the issuer answered {}", answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), KEY_SET_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
        Ok(body.to_bytes())
    }
}

impl KeyFetch for HttpsKeyFetch {
    fn fetch<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(self.get(url))
    }
}

impl fmt::Debug for HttpsKeyFetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsKeyFetch").finish_non_exhaustive()
    }
}

/// The address, if keys may come from there.
pub(super) fn key_url(url: &str) -> Option<http::Uri> {
    let uri: http::Uri = url.parse().ok()?;
    if uri.authority()?.as_str().contains('@') {
        return None;
    }
    let host = uri.host()?;
    let loopback = || {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    };
    match uri.scheme_str()? {
        "https" => Some(uri),
        "http" if loopback() => Some(uri),
        _ => None,
    }
}
