//! Three departmental APIs as they are found in companies: a CRM (marketing's), a quote and order system (sales') and a
//! service desk (service's). The customers are made up; the servers are real: TLS, state in memory, answers with headers,
//! links and totals that nobody cleaned up. Each accepts the gateway only, the CRM and the desk by an API key, sales by
//! the gateway's client certificate. The integration tests use them, too.
//!
//! Ids differ per system, as they do: `0031` in the CRM is `7731` in sales (also spelt `0007731`) and
//! `ada.brandt@example.net` in the desk (in any case).

mod crm;
mod desk;
mod sales;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use http::{StatusCode, header};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::client::{certificates, provider};
use super::serve::{Answer, Answers, Seen, Server};
use crate::cli::certs::DevCerts;

/// The header by which the CRM and the desk know the gateway.
pub const API_KEY_HEADER: &str = "x-api-key";

/// How long `GET /slow/customers/{id}` of the CRM takes unless [`SampleApis::set_slow`] says otherwise.
const SLOW_DEFAULT: Duration = Duration::from_secs(2);

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleApi {
    Crm,
    Sales,
    Desk,
}

/// The three servers, on free loopback ports; they stop when this value is dropped.
#[derive(Debug)]
pub struct SampleApis {
    pub crm: SocketAddr,
    pub sales: SocketAddr,
    pub desk: SocketAddr,
    servers: [Server; 3],
    slow_ms: Arc<AtomicU64>,
}

impl SampleApis {
    /// Starts all three with the upstream certificates `crm`, `sales` and `desk`. `api_key` is what the CRM and the desk
    /// want to see in `x-api-key`; sales wants a certificate of the internal authority.
    ///
    /// # Errors
    /// A certificate is missing, a port cannot be bound, or the sample data cannot be read.
    pub async fn start(certs: &DevCerts, api_key: &str) -> anyhow::Result<Self> {
        let slow_ms = Arc::new(AtomicU64::new(u64::try_from(SLOW_DEFAULT.as_millis())?));
        let key = Some(api_key.to_owned());
        let crm = Guarded { key: key.clone(), api: crm::Crm::new(Arc::clone(&slow_ms))? };
        let sales = Guarded { key: None, api: sales::Sales::new()? };
        let desk = Guarded { key, api: desk::Desk::new()? };
        let servers = [
            Server::start(tls(certs, "crm")?, Arc::new(crm)).await?,
            Server::start(tls(certs, "sales")?, Arc::new(sales)).await?,
            Server::start(tls(certs, "desk")?, Arc::new(desk)).await?,
        ];
        let [crm, sales, desk] = servers.each_ref().map(|server| server.address);
        Ok(Self { crm, sales, desk, servers, slow_ms })
    }

    /// The requests that arrived at one API, in order, refused ones included: so a test can say that there were none.
    #[must_use]
    pub fn seen(&self, api: SampleApi) -> Vec<Seen> {
        self.server(api).seen()
    }

    /// How many requests arrived at all three together.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.servers.iter().map(Server::requests).sum()
    }

    /// How long `GET /slow/customers/{id}` waits before it answers.
    pub fn set_slow(&self, wait: Duration) {
        self.slow_ms.store(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn server(&self, api: SampleApi) -> &Server {
        let [crm, sales, desk] = &self.servers;
        match api {
            SampleApi::Crm => crm,
            SampleApi::Sales => sales,
            SampleApi::Desk => desk,
        }
    }
}

/// Presents the certificate made for `name`; takes, but does not demand, one of the internal authority.
fn tls(certs: &DevCerts, name: &str) -> anyhow::Result<rustls::ServerConfig> {
    let pair = certs.upstreams.get(name).with_context(|| format!("no certificate was made for the upstream `{name}`"))?;
    let mut trusted = rustls::RootCertStore::empty();
    for authority in certificates(&certs.internal_ca)? {
        trusted.add(authority)?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), provider()).allow_unauthenticated().build()?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(&pair.chain)?, PrivateKeyDer::from_pem_file(&pair.key)?)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// Lets in who shows the key, or, without a key, who shows a certificate.
struct Guarded<A> {
    key: Option<String>,
    api: A,
}

impl<A: Answers> Answers for Guarded<A> {
    fn answer(&self, request: &Seen) -> Answer {
        let is_gateway = match &self.key {
            Some(key) => request.headers.get(API_KEY_HEADER).is_some_and(|shown| shown.as_bytes() == key.as_bytes()),
            None => request.has_certificate,
        };
        if !is_gateway {
            return Answer::json(StatusCode::UNAUTHORIZED, &json!({ "error": "only the gateway may call" }));
        }
        // What real systems send along; none of it may reach an app.
        self.api
            .answer(request)
            .header(header::SERVER, "sample/1.0")
            .header(header::SET_COOKIE, "session=c0ffee; HttpOnly")
            .header(header::ETAG, "\"unfiltered\"")
            .header(header::CONTENT_LANGUAGE, "en")
    }
}

fn not_found(what: &str) -> Answer {
    Answer::json(StatusCode::NOT_FOUND, &json!({ "error": format!("{what} does not exist") }))
}

fn method_not_allowed() -> Answer {
    Answer::empty(StatusCode::METHOD_NOT_ALLOWED)
}

/// The written object; `None`: answer [`bad_body`].
fn body(request: &Seen) -> Option<Value> {
    serde_json::from_slice(&request.body).ok().filter(Value::is_object)
}

fn bad_body() -> Answer {
    Answer::json(StatusCode::BAD_REQUEST, &json!({ "error": "the body is not a JSON object" }))
}

/// A page of `rows` under `name`, with the `total` of the whole list and a `next` link while there is more.
fn page(request: &Seen, base: &str, name: &str, rows: &[Value]) -> Answer {
    let number = |parameter| request.query(parameter).and_then(|text| text.parse::<usize>().ok());
    let limit = number("limit").unwrap_or(50).clamp(1, 1000);
    let start = number("cursor").unwrap_or(0);
    let shown: Vec<&Value> = rows.iter().skip(start).take(limit).collect();
    let after = start.saturating_add(shown.len());
    let mut answer = json!({ name: shown, "total": rows.len() });
    if after < rows.len()
        && let Some(object) = answer.as_object_mut()
    {
        object.insert("next".to_owned(), json!(format!("{base}?limit={limit}&cursor={after}")));
    }
    Answer::ok(&answer)
}

/// JSON merge patch, RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(object) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name).or_insert(Value::Null), value);
        }
    }
}
