//! Webhooks of the real program over TLS: nothing is lost by `kill -9`, and only listed hosts are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::process::{MINA, Site};

/// Revision -> how often it came, and the messages as they came.
type Received = Arc<Mutex<(BTreeMap<u64, usize>, Vec<(String, String, String, Bytes)>)>>;

/// Takes everything, slowly enough to be caught in the middle.
async fn receiver(site_pair: &consentry::cli::certs::PemPair) -> (SocketAddr, Received) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = vec![CertificateDer::from_pem_file(&site_pair.chain).unwrap()];
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&site_pair.key).unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, received, acceptor) = (listener.local_addr().unwrap(), Received::default(), TlsAcceptor::from(Arc::new(tls)));
    let taken = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, taken) = (acceptor.clone(), Arc::clone(&taken));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let taken = Arc::clone(&taken);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let text = |name: &str| head.headers[name].to_str().unwrap().to_owned();
                        let message: Value = serde_json::from_slice(&body).unwrap();
                        {
                            let mut taken = taken.lock().unwrap();
                            *taken.0.entry(message["data"]["revision"].as_u64().unwrap()).or_default() += 1;
                            taken.1.push((text("webhook-id"), text("webhook-timestamp"), text("webhook-signature"), body));
                        }
                        tokio::time::sleep(Duration::from_millis(8)).await;
                        Ok::<_, hyper::Error>(Response::new(Full::<Bytes>::default()))
                    }
                });
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    (address, received)
}

#[test]
fn no_change_is_lost_when_the_gateway_is_killed_in_the_middle_of_deliveries() {
    let site = Site::new();
    let pair = site.state.certs().gateway.clone();
    let (address, received) = site.block(receiver(&pair));
    let listed = format!("[webhooks]\nhosts = [\"localhost:{}\"]\ntls = {{ ca = \"certs/internal-ca.pem\" }}\n\n[audit]\n", address.port());
    site.edit("consentry.toml", "[audit]\n", &listed);
    let mut gateway = site.start();
    site.prepare();
    let refused = site.run_as("consent-desk", &["webhook", "add", "https://127.0.0.1:1/consent"]);
    assert_eq!(refused.exit, 64, "{refused:?}");
    assert!(refused.stderr.contains("[webhooks] hosts"), "{refused:?}");
    let url = format!("https://localhost:{}/consent", address.port());
    let refused = site.run_as("auditor", &["webhook", "add", &url]);
    assert!(refused.stderr.contains("role-missing"), "{refused:?}");
    let added = site.run_as("consent-desk", &["webhook", "add", &url, "--from", "0", "--format", "json"]);
    assert_eq!(added.exit, 0, "{added:?}");
    let added = added.json();

    for round in 0..4 {
        for state in ["given", "withdrawn"].repeat(12) {
            site.say(MINA, state);
        }
        let end = |taken: &BTreeMap<u64, usize>| taken.keys().last().copied().unwrap_or_default();
        assert!(end(&received.lock().unwrap().0) > 0, "round {round}: deliveries are under way");
        gateway.kill();
        gateway = site.start();
    }
    let last: u64 = site.say(MINA, "withdrawn").json().unwrap()["revision"].as_u64().unwrap();
    for _ in 0..2000 {
        if received.lock().unwrap().0.contains_key(&last) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let (counts, messages) = std::mem::take(&mut *received.lock().unwrap());
    let lost: Vec<u64> = (1..=last).filter(|revision| !counts.contains_key(revision)).collect();
    assert!(lost.is_empty(), "lost: {lost:?} of {last}");
    assert!(counts[&1] <= 2, "the cursor is not found again: {counts:?}");
    let secret = added["secret"].as_str().unwrap().to_owned();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut names: BTreeMap<&str, &Bytes> = BTreeMap::new();
    for (id, timestamp, signature, body) in &messages {
        let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
        let tag = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &tag).unwrap();
        assert_eq!(names.entry(id).or_insert(body), &body, "{id}: one id, one message");
    }
    assert_eq!(names.len() as u64, last);

    let shown = site.run_as("consent-desk", &["webhook", "list"]);
    assert!(shown.stdout.contains(added["id"].as_str().unwrap()) && shown.stdout.contains(" ok"), "{shown:?}");
    let id = added["id"].as_str().unwrap();
    assert_eq!(site.run_as("consent-desk", &["webhook", "replay", id, "--from", "now"]).exit, 0);
    assert_eq!(site.run_as("consent-desk", &["webhook", "remove", id]).exit, 0);
    assert_eq!(site.run_as("consent-desk", &["webhook", "remove", id]).exit, 4);
    let recipients = site.run_as("auditor", &["party", "recipients", "crm:0044"]);
    assert_eq!((recipients.exit, recipients.stdout.contains("nothing was disclosed")), (0, true), "{recipients:?}");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let trace = std::fs::read_to_string(site.path().join("trace.log")).unwrap();
    let bare = secret.strip_prefix("whsec_").unwrap();
    for text in [&trace, &shown.stdout, &json!(site.entries()).to_string()] {
        assert!(!text.contains(bare), "the secret stands in {text}");
    }
}
