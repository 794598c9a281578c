//! Whose client certificates are believed: trust anchors, and lists of those that were revoked.

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use std::sync::Arc;

use super::read::{Table, Value};
use super::settings::{ClientCertificates, ClientTrust};

pub(super) fn client_certificates(value: Value<'_>) -> Option<ClientCertificates> {
    if value.as_str() == Some("off") {
        return Some(ClientCertificates::Off);
    }
    let mut table = value.table("`client_certificates`")?;
    let mode = table.need("mode").and_then(|v| v.word("mode", &[("require", 0), ("accept", 1), ("off", 2)]));
    if mode == Some(2) {
        if let Some(crl) = table.opt("crl") {
            crl.error_help("nobody shows a certificate here", "leave `crl` out, or write another `mode`");
        }
        drop(table.opt("ca").map(Value::certificates));
        table.finish();
        return Some(ClientCertificates::Off);
    }
    let trust = trust(&mut table, "ca", "crl");
    table.finish();
    match mode? {
        0 => Some(ClientCertificates::Require(trust?)),
        _ => Some(ClientCertificates::Accept(trust?)),
    }
}

/// Anchors under one key, revocation lists under another.
pub(super) fn trust(table: &mut Table<'_>, ca: &'static str, crl: &'static str) -> Option<ClientTrust> {
    let (ca, crl) = (table.need(ca), table.opt(crl));
    let anchors = ca.and_then(Value::certificates);
    let Some(crl) = crl else { return Some(ClientTrust { anchors: anchors?, revoked: Vec::new(), revoked_until: None }) };
    let files = if crl.is_list() { crl.each(lists) } else { lists(crl).map(|found| vec![found]) };
    if crl.list_is_empty() {
        crl.error_help("no list is named", "name a file, or leave the key out: then revocation is not looked at");
        return None;
    }
    let revoked: Vec<_> = files?.into_iter().flatten().collect();
    let anchors = anchors?;
    if let Err(problem) = usable(&anchors, &revoked) {
        crl.error(format!("these revocation lists cannot be used: {problem}"));
        return None;
    }
    let revoked_until = revoked.iter().filter_map(next_update).min();
    Some(ClientTrust { anchors, revoked, revoked_until })
}

/// The lists of one file: PEM, of which there may be several, or one in DER.
fn lists(value: Value<'_>) -> Option<Vec<CertificateRevocationListDer<'static>>> {
    let bytes = value.contents()?;
    let is_pem = bytes.windows(11).any(|window| window == b"-----BEGIN ");
    let found = if is_pem {
        CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>().unwrap_or_default()
    } else {
        vec![CertificateRevocationListDer::from(bytes)]
    };
    let readable = |list: &CertificateRevocationListDer<'_>| x509_parser::parse_x509_crl(list).is_ok_and(|(rest, _)| rest.is_empty());
    if found.is_empty() || !found.iter().all(readable) {
        value.error_help("no revocation list can be read from this file", "it must be PEM (`-----BEGIN X509 CRL-----`) or DER");
        return None;
    }
    Some(found)
}

/// Whether the TLS layer takes them, as it will.
fn usable(anchors: &[CertificateDer<'static>], revoked: &[CertificateRevocationListDer<'static>]) -> Result<(), String> {
    let mut store = RootCertStore::empty();
    for anchor in anchors {
        store.add(anchor.clone()).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).with_crls(revoked.iter().cloned());
    builder.build().map(|_verifier| ()).map_err(|error| error.to_string())
}

fn next_update(list: &CertificateRevocationListDer<'_>) -> Option<Timestamp> {
    let (_, list) = x509_parser::parse_x509_crl(list).ok()?;
    Timestamp::from_second(list.next_update()?.timestamp()).ok()
}
