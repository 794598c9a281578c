//! Where keys are found, how tokens are bound, and lists of revoked certificates, as the file says it.

use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber,
};

use super::tests::Example;
use super::*;

const MAIN: &str = "consentry.example.toml";
const KEYS: &str = "keys = { file = \"certs/issuer-jwks.json\" }";
const APPS: &str = "ca = \"certs/apps-ca.pem\" }     #";

#[test]
fn keys_are_found_where_the_file_says() {
    let read = |keys: &str, issuer: &str| {
        let example = Example::new();
        example.replace(MAIN, KEYS, keys);
        example.replace(MAIN, "issuer = \"https://login.example.com/\"", &format!("issuer = \"{issuer}\""));
        example.load().map(|config| config.issuers[0].keys.clone()).map_err(|findings| findings.to_string())
    };
    let at = |url: &str| Ok(KeySource::Discovery(url.to_owned()));
    let usual = "https://login.example.com/.well-known/openid-configuration";
    assert_eq!(read("keys = \"discovery\"", "https://login.example.com/"), at(usual));
    assert_eq!(read("keys = \"discovery\"", "https://login.example.com"), at(usual));
    let realm = "https://login.example.com/realms/a/.well-known/openid-configuration";
    assert_eq!(read("keys = \"discovery\"", "https://login.example.com/realms/a"), at(realm));
    assert_eq!(read("keys = \"discovery\"", "http://127.0.0.1:9/"), at("http://127.0.0.1:9/.well-known/openid-configuration"));
    let other = "https://login.example.com/.well-known/oauth-authorization-server/a";
    assert_eq!(read(&format!("keys = {{ discovery = \"{other}\" }}"), "corp"), at(other));
    for (keys, issuer, said) in [
        ("keys = \"discovery\"", "corp", "`issuer` is not a URL, so nothing can be found there"),
        ("keys = \"discovery\"", "http://login.example.com/", "keys would come over a line without TLS"),
        ("keys = \"discovery\"", "https://login.example.com/?a=b", "`issuer` is not a URL"),
        ("keys = \"discover\"", "https://login.example.com/", "unknown source of keys `discover`"),
        ("keys = { discovery = \"http://login.example.com/\" }", "corp", "keys would come over a line without TLS"),
        ("keys = { discovery = \"https://a/\", url = \"https://b/\" }", "corp", "keys come from one of"),
        ("keys = { }", "corp", "keys come from one of"),
    ] {
        let refused = read(keys, issuer).expect_err(keys);
        assert!(refused.contains(said), "{keys}: {refused}");
    }
}

#[test]
fn a_token_may_be_bound_to_a_key() {
    let example = Example::new();
    example.replace(MAIN, "sender_constraint = \"mtls\"", "sender_constraint = \"dpop\"");
    let config = example.load().unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(config.issuers[0].sender_constraint, SenderConstraint::Dpop);
}

/// An empty list of an authority that may sign some, and the authority.
fn crl() -> (String, Vec<u8>, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2027, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&ca).unwrap();
    (list.pem().unwrap(), list.der().to_vec(), ca.as_ref().pem())
}

#[test]
fn revocation_lists_are_read_whole_or_not_at_all() {
    let example = Example::new();
    let (pem, der, ca) = crl();
    fs::write(example.file("certs/apps-ca.pem"), ca).unwrap();
    fs::write(example.file("certs/a.crl"), &pem).unwrap();
    fs::write(example.file("certs/two.crl"), format!("{pem}{pem}")).unwrap();
    fs::write(example.file("certs/der.crl"), &der).unwrap();
    fs::write(example.file("certs/cut.crl"), &der[..der.len() - 1]).unwrap();
    fs::write(example.file("certs/more.crl"), [&der[..], b"x"].concat()).unwrap();
    fs::write(example.file("certs/broken.crl"), pem.replacen("MI", "MX", 1)).unwrap();
    let write = |crl: &str| {
        let text = fs::read_to_string(example.file(MAIN)).unwrap();
        let plain = text.lines().map(|line| line.split_once(", crl = ").map_or(line.to_owned(), |(before, _)| format!("{before} }}     # x")));
        fs::write(example.file(MAIN), plain.collect::<Vec<_>>().join("\n")).unwrap();
        example.replace(MAIN, APPS, &format!("ca = \"certs/apps-ca.pem\", crl = {crl} }}     #"));
        example.load()
    };
    for (crl, lists) in [("\"certs/a.crl\"", 1), ("\"certs/two.crl\"", 2), ("\"certs/der.crl\"", 1), ("[\"certs/a.crl\", \"certs/der.crl\"]", 2)] {
        let config = write(crl).unwrap_or_else(|findings| panic!("{crl}: {findings}"));
        let ClientCertificates::Require(trust) = &config.listeners[0].client_certificates else { panic!("{config:?}") };
        assert_eq!(trust.revoked.len(), lists, "{crl}");
        assert_eq!(trust.revoked_until, Some("2027-01-01T00:00:00Z".parse().unwrap()));
        assert!(config.files.iter().any(|file| file.extension().is_some_and(|end| end == "crl")), "watched");
    }
    for (crl, said) in [
        ("\"certs/none.crl\"", "does not exist"),
        ("\"certs/cut.crl\"", "no revocation list can be read from this file"),
        ("\"certs/more.crl\"", "no revocation list can be read from this file"),
        ("\"certs/broken.crl\"", "no revocation list can be read from this file"),
        ("\"certs/apps-ca.pem\"", "no revocation list can be read from this file"),
        ("\"certs/not-pem\"", "no revocation list can be read from this file"),
        ("[]", "no list is named"),
        ("7", "expected a string, found a number"),
    ] {
        let refused = write(crl).expect_err(crl).to_string();
        assert!(refused.contains(said), "{crl}: {refused}");
    }
    write("\"certs/a.crl\"").unwrap();
    example.replace(MAIN, "client_ca = \"certs/staff-ca.pem\" ", "client_ca = \"certs/staff-ca.pem\"\nclient_crl = \"certs/a.crl\" ");
    example.replace(MAIN, "client_ca = \"certs/apps-ca.pem\"", "client_ca = \"certs/apps-ca.pem\"\nclient_crl = [\"certs/der.crl\"]");
    let config = example.load().unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!((config.admin.unwrap().clients.revoked.len(), config.capture.unwrap().clients.revoked.len()), (1, 1));
    example.replace(MAIN, "mode = \"require\", ca", "mode = \"off\", ca");
    assert!(example.load().unwrap_err().to_string().contains("nobody shows a certificate here"));
}
