//! The admin listener's client: HTTPS with a client certificate, JSON in and out, problems turned into exit codes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use super::output::{Exit, Failure};

const TIMEOUT: Duration = Duration::from_secs(60);
const IMPORT_TIMEOUT: Duration = Duration::from_secs(600);
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// All but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the gateway's admin listener is and who asks.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Admin listener")]
pub(super) struct ServerArgs {
    /// The admin listener.
    #[arg(long, env = "CONSENTRY_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The caller's certificate chain, PEM.
    #[arg(long, env = "CONSENTRY_CERT", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The certificate's key, PEM.
    #[arg(long, env = "CONSENTRY_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// The CA of the admin listener's certificate, PEM; the system's roots without it.
    #[arg(long, env = "CONSENTRY_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A file with the caller's access token, when roles come from token groups.
    #[arg(long, env = "CONSENTRY_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl ServerArgs {
    /// Makes the client; nothing is sent yet.
    pub(super) fn connect(&self) -> Result<Admin, Failure> {
        let server = self.server.as_deref().ok_or_else(|| {
            Failure::usage("this command asks a running gateway: name its admin listener with `--server https://…` or `CONSENTRY_SERVER`")
        })?;
        let base = server.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|_bad| Failure::usage(format!("`{server}` is not a URL; write `https://host:port`")))?;
        if uri.scheme_str() != Some("https") || uri.path() != "/" || uri.query().is_some() {
            return Err(Failure::usage(format!("`{server}` must be `https://host:port` without a path")));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Internal, format!("cannot start: {error}")))?;
        let token = self.token_file.as_deref().map(read_token).transpose()?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(self.tls()?).https_only().enable_http1().build();
        let http = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Admin { base, token, http, runtime })
    }

    fn tls(&self) -> Result<ClientConfig, Failure> {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::new(Exit::Internal, format!("cannot set TLS up: {error}")))?
            .with_root_certificates(self.roots()?);
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = read_certificates(cert)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| Failure::usage(format!("`{}` is not a PEM private key: {error}", key.display())))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| Failure::usage(format!("certificate and key do not fit: {error}")))
            }
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(_), None) | (None, Some(_)) => Err(Failure::usage("`--cert` and `--key` belong together; name both")),
        }
    }

    fn roots(&self) -> Result<RootCertStore, Failure> {
        let certificates = match &self.ca {
            Some(file) => read_certificates(file)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() {
            return Err(Failure::usage("no root certificate to trust; name the listener's CA with `--ca FILE`"));
        }
        Ok(roots)
    }
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bad = |error: &dyn std::fmt::Display| Failure::usage(format!("`{}` does not hold PEM certificates: {error}", file.display()));
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))?.collect::<Result<Vec<_>, _>>().map_err(|error| bad(&error))?;
    if certificates.is_empty() {
        return Err(bad(&"none found"));
    }
    Ok(certificates)
}

fn read_token(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", file.display())))?;
    Ok(text.trim().to_owned())
}

/// What a request carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Send<'a> {
    Nothing,
    Json(&'a Value),
    Bulk { content_type: &'static str, bytes: &'a [u8] },
}

/// A connection to the admin listener.
pub(super) struct Admin {
    base: String,
    token: Option<String>,
    http: Client<hyper_rustls::HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: tokio::runtime::Runtime,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Admin {
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(&Method::GET, path, Send::Nothing)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(&Method::POST, path, Send::Json(body))
    }

    /// An answer as it is.
    pub(super) fn fetch(&self, path: &str) -> Result<Bytes, Failure> {
        self.page(path).map(|(bytes, _)| bytes)
    }

    /// The same with the cursor of the page after it.
    pub(super) fn page(&self, path: &str) -> Result<(Bytes, Option<String>), Failure> {
        self.ask(&Method::GET, path, Send::Nothing)
    }

    pub(super) fn call(&self, method: &Method, path: &str, body: Send<'_>) -> Result<Value, Failure> {
        let (bytes, _) = self.ask(method, path, body)?;
        serde_json::from_slice(&bytes)
            .map_err(|_other| Failure::new(Exit::Internal, format!("`{}` did not answer with JSON; is this the admin listener?", self.base)))
    }

    fn ask(&self, method: &Method, path: &str, body: Send<'_>) -> Result<(Bytes, Option<String>), Failure> {
        let patience = if matches!(body, Send::Bulk { .. }) { IMPORT_TIMEOUT } else { TIMEOUT };
        let exchange = async {
            match tokio::time::timeout(patience, self.exchange(method, path, body)).await {
                Ok(answer) => answer,
                Err(_elapsed) => Err(Failure::unavailable(format!("`{}` did not answer within {} s", self.base, patience.as_secs()))),
            }
        };
        let (status, bytes, next) = self.runtime.block_on(exchange)?;
        if status.is_success() { Ok((bytes, next)) } else { Err(refusal(status, &bytes)) }
    }

    async fn exchange(&self, method: &Method, path: &str, body: Send<'_>) -> Result<(StatusCode, Bytes, Option<String>), Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let bytes = match body {
            Send::Nothing => Bytes::new(),
            Send::Json(value) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(value.to_string())
            }
            Send::Bulk { content_type, bytes } => {
                request = request.header(header::CONTENT_TYPE, content_type);
                Bytes::copy_from_slice(bytes)
            }
        };
        if method != Method::GET {
            request = request.header("idempotency-key", idempotency_key()?);
        }
        let request = request.body(Full::new(bytes)).map_err(|error| Failure::usage(format!("cannot ask that: {error}")))?;
        let answer =
            self.http.request(request).await.map_err(|error| Failure::unavailable(format!("cannot reach `{}`: {}", self.base, chain(&error))))?;
        let status = answer.status();
        if let Some(apis) = answer.headers().get("consentry-report-mode").and_then(|value| value.to_str().ok()) {
            super::output::banner(&format!("REPORT MODE: {apis} - members that no shape maps go out"));
        }
        let next = answer.headers().get("consentry-next").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| Failure::unavailable(format!("the answer of `{}` was cut: {error}", self.base)))?;
        Ok((status, bytes.to_bytes(), next))
    }
}

/// A new key for each command: what is typed twice is meant twice.
fn idempotency_key() -> Result<String, Failure> {
    let mut random = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_unspecified| Failure::new(Exit::Internal, "the machine gives no randomness"))?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}

/// An error with its causes: the outermost alone ("client error (Connect)") helps nobody.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// What the listener refused, with the exit code that fits.
fn refusal(status: StatusCode, bytes: &[u8]) -> Failure {
    let problem: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |member: &str| problem.get(member).and_then(Value::as_str);
    let what = text("detail").or_else(|| text("title")).unwrap_or("the request was refused");
    let code = text("code").map_or_else(|| status.as_u16().to_string(), str::to_owned);
    let remedy = text("remedy").map(|remedy| format!("; {remedy}")).unwrap_or_default();
    let exit = match status {
        _ if code == "signatures-missing" => Exit::CheckFailed,
        _ if code == "bundle-broken" || code == "bundle-refused" => Exit::Invalid,
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Exit::Unavailable,
        other if other.is_client_error() => Exit::Usage,
        _ => Exit::Internal,
    };
    Failure::new(exit, format!("{what} ({code}){remedy}"))
}

/// One path segment, whatever it holds.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A query string of the parameters that are there.
pub(super) fn query(params: &[(&str, Option<String>)]) -> String {
    let pairs: Vec<String> = params.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_deref()?)))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals_exit_by_what_they_mean() {
        let exit = |status: u16| refusal(StatusCode::from_u16(status).unwrap(), b"{}").exit;
        assert_eq!(exit(404), Exit::NotFound);
        assert_eq!(exit(503), Exit::Unavailable);
        assert_eq!(exit(429), Exit::Unavailable);
        assert_eq!(exit(403), Exit::Usage);
        assert_eq!(exit(422), Exit::Usage);
        assert_eq!(exit(500), Exit::Internal);
        let body = json!({"code": "role-missing", "title": "this role may not do that", "remedy": "ask somebody who is auditor"}).to_string();
        assert_eq!(refusal(StatusCode::FORBIDDEN, body.as_bytes()).message, "this role may not do that (role-missing); ask somebody who is auditor");
    }

    #[test]
    fn ids_are_encoded_once_and_missing_parameters_left_out() {
        assert_eq!(segment("email:a@b.example/é"), "email%3Aa%40b.example%2F%C3%A9");
        assert_eq!(query(&[("since", None), ("app", Some("crm desk".to_owned()))]), "?app=crm%20desk");
        assert_eq!(query(&[("since", None)]), "");
    }

    #[test]
    fn a_server_that_is_not_https_is_refused_before_anything_is_sent() {
        let args = |server: Option<&str>| ServerArgs { server: server.map(str::to_owned), cert: None, key: None, ca: None, token_file: None };
        for server in [None, Some("http://127.0.0.1:1"), Some("https://a/b"), Some("127.0.0.1"), Some("")] {
            assert_eq!(args(server).connect().unwrap_err().exit, Exit::Usage, "{server:?}");
        }
    }
}
