//! A flood from nobody: it is counted whole, makes a few entries a second, and decisions go on being recorded beside it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use consentry::clock::SystemClock;
use http::{HeaderMap, HeaderValue, Method};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use tokio_rustls::rustls::{self, ClientConfig, ClientConnection, RootCertStore};

use crate::process::{QUOTE, Site, UNKNOWN, index};

const FLOODS: usize = 6;
const REQUESTS: usize = 400;

/// (listener, code, network) -> entries and what they count.
fn rejects(entries: &[Value]) -> BTreeMap<(String, String, String), (usize, u64)> {
    let mut found = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry["kind"] == "rejects") {
        let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        let (rows, count) = found.entry((text("listener"), text("code"), text("network"))).or_insert((0, 0));
        *rows += 1;
        *count += entry["count"].as_u64().unwrap();
    }
    found
}

fn counted(entries: &[Value], listener: &str, code: &str) -> u64 {
    rejects(entries).get(&(listener.to_owned(), code.to_owned(), "127.0.0.0/24".to_owned())).map_or(0, |(_, count)| *count)
}

#[test]
fn a_flood_is_a_few_entries_and_decisions_go_on_being_recorded() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    let clock = SystemClock::shared();
    let began = clock.monotonic();
    let floods: Vec<_> = (0..FLOODS)
        .map(|_| {
            let (app, url) = (site.app("crm"), format!("https://{}{QUOTE}", site.addresses.apps));
            site.spawn(async move {
                let stranger = HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer of.no.body"))]);
                for _ in 0..REQUESTS {
                    assert_eq!(app.send(Method::GET, &url, stranger.clone(), "").await.unwrap().status, 401);
                }
            })
        })
        .collect();
    let mut decided = Vec::new();
    for _ in 0..50 {
        decided.push(index(&site.read(QUOTE)).unwrap());
        decided.push(index(&site.read(UNKNOWN)).unwrap());
    }
    for flood in floods {
        site.block(flood).unwrap();
    }
    let all = (FLOODS * REQUESTS) as u64;
    let entries = site.log_until(|entries| counted(entries, "apps", "token-invalid") >= all);
    let seconds = usize::try_from((clock.monotonic() - began).as_secs()).unwrap();
    let found = rejects(&entries);
    let [(key, (rows, count))] = found.iter().collect::<Vec<_>>()[..] else { panic!("{found:?}") };
    assert_eq!(("apps", "token-invalid", "127.0.0.0/24"), (key.0.as_str(), key.1.as_str(), key.2.as_str()));
    assert!(*count == all && *rows <= seconds + 2, "{count} in {rows} entries in {seconds} s");
    for at in decided {
        assert!(matches!(entries[at]["kind"].as_str(), Some("permit" | "intent" | "deny")), "{}", entries[at]);
    }

    let shown = site.run_as("auditor", &["audit", "search", "--kind", "rejects"]);
    assert!(shown.exit == 0 && shown.stdout.contains("token-invalid  127.0.0.0/24") && shown.stdout.contains(&format!("{all} refused")), "{shown:?}");
    let report = site.run_as("auditor", &["audit", "report", "denies"]);
    assert!(report.stdout.contains(&format!("Beside these, {all} requests and connections")), "{report:?}");
    let narrowed = site.run_as("auditor", &["audit", "report", "denies", "--department", "sales"]);
    assert!(narrowed.exit == 0 && narrowed.stdout.contains("Beside these, 0 requests"), "of no department: {narrowed:?}");
    for wrong in [&["audit", "search", "--kind", "rejects", "--app", "crm"][..], &["audit", "search", "--kind", "deny"]] {
        assert_eq!(64, site.run_as("auditor", wrong).exit, "{wrong:?}");
    }
    assert_eq!(422, status(&site, "auditor", "/v1/entries?kind=deny"));
    assert_eq!(422, status(&site, "auditor", "/v1/entries"));
    assert_eq!(403, status(&site, "consent-desk", "/v1/entries?kind=rejects"));
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let offline = site.run(&["audit", "search", "--kind", "rejects", "--offline", "log"]);
    assert!(offline.stdout.contains(&format!("{all} refused")), "{offline:?}");
}

/// What never becomes a request.
#[test]
fn connections_that_are_refused_are_counted_by_reason() {
    let site = Site::new();
    let gateway = site.start();
    let at = site.addresses;
    // No TLS at all; none of the staff's certificates; none.
    speak(at.apps, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let url = |at: SocketAddr| format!("https://{at}/v1/parties");
    site.block(site.app("crm").send(Method::GET, &url(at.admin), HeaderMap::new(), "")).unwrap_err();
    without_certificate(&site, at.capture);
    speak(at.health, b"\x01\x02 what is this\r\n\r\n");
    // Whoever only looks whether somebody listens is refused nothing.
    drop(TcpStream::connect(at.apps).unwrap());
    let wanted = [("[admin]", "certificate-invalid"), ("[capture]", "certificate-missing"), ("[health]", "http-malformed"), ("apps", "tls-failed")];
    let entries = site.log_until(|entries| rejects(entries).len() >= wanted.len());
    let found: Vec<_> =
        rejects(&entries).into_iter().map(|((listener, code, network), (rows, count))| (listener, code, network, rows, count)).collect();
    assert_eq!(found, wanted.map(|(listener, code)| (listener.to_owned(), code.to_owned(), "127.0.0.0/24".to_owned(), 1, 1)));
    let (_, metrics) = site.health("/metrics");
    assert!(metrics.contains("consentry_rejects_total{code=\"certificate-missing\"} 1"), "{metrics}");

    // What is refused last is told when the gateway stops.
    speak(at.apps, b"GET / HTTP/1.1\r\n\r\n");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert_eq!(2, counted(&site.entries(), "apps", "tls-failed"));
}

fn status(site: &Site, role: &str, path: &str) -> u16 {
    let url = format!("https://{}{path}", site.addresses.admin);
    site.block(site.staff(role).send(Method::GET, &url, HeaderMap::new(), "")).unwrap().status.as_u16()
}

/// A handshake that ends because the client shows nothing.
fn without_certificate(site: &Site, at: SocketAddr) {
    let mut trusted = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(&site.state.certs().internal_ca).unwrap() {
        trusted.add(authority.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(trusted).with_no_client_auth();
    let mut session = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = TcpStream::connect(at).unwrap();
    rustls::Stream::new(&mut session, &mut stream).read(&mut [0]).unwrap_err();
}

fn speak(at: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    // Until it hangs up, which may be a reset.
    drop(stream.read_to_end(&mut Vec::new()));
}
