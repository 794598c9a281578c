//! Fetching a key set, or the metadata that say where it is. No redirect is followed, the size is bounded here, the time by the key ring.

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
    match uri.scheme_str()? {
        "https" => Some(uri),
        "http" if is_loopback(&uri) => Some(uri),
        _ => None,
    }
}

/// Whether an address is on this machine.
pub(super) fn is_loopback(uri: &http::Uri) -> bool {
    uri.host().is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Asks a server on the loopback address that answers once with these bytes.
    async fn fetched(answer: Vec<u8>) -> Result<Bytes, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The whole request is read: closing with unread bytes would reset the connection under the answer.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            // The client may hang up in the middle of what is too long.
            drop(stream.write_all(&answer).await);
        });
        HttpsKeyFetch::new(rustls::RootCertStore::empty()).unwrap().fetch(&url).await
    }

    #[tokio::test]
    async fn only_a_whole_200_of_bounded_size_is_an_answer() {
        let body = |bytes: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n{}", "x".repeat(bytes)).into_bytes();
        assert_eq!(Ok(KEY_SET_BYTES_MAX), fetched(body(KEY_SET_BYTES_MAX)).await.map(|bytes| bytes.len()));
        for (case, answer) in [
            ("too long", body(KEY_SET_BYTES_MAX + 1)),
            ("cut", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}".to_vec()),
            ("a redirect", b"HTTP/1.1 302 Found\r\nlocation: https://evil.example/\r\ncontent-length: 0\r\n\r\n".to_vec()),
            ("an error", b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}".to_vec()),
            ("part of it", b"HTTP/1.1 206 Partial\r\ncontent-length: 2\r\n\r\n{}".to_vec()),
            ("no http", b"hello".to_vec()),
        ] {
            fetched(answer).await.expect_err(case);
        }
    }

    #[tokio::test]
    async fn an_address_in_the_clear_elsewhere_is_not_even_asked() {
        let fetch = HttpsKeyFetch::new(rustls::RootCertStore::empty()).unwrap();
        for url in ["http://192.0.2.1/keys", "http://login.example.com/keys", "ftp://127.0.0.1/keys", "/keys"] {
            assert!(fetch.fetch(url).await.expect_err(url).contains("loopback"), "{url}");
        }
    }
}
