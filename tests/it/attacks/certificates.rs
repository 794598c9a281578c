//! Rows 95 to 100: certificates, and TLS itself, over the wire. Names in certificates are in `src/identity/tests/clients.rs`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use consentry::console::Health;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::people::{ada, ada_for_outreach};
use crate::harness::{Client, World, gateway, replace, soon};

const OUTREACH: &str = "sales.outreach";
const ADAS: &str = "/crm/customers/0031";
const CRM: &str = "spiffe://example.com/app/crm";

/// An authority of these tests, which the gateway trusts for apps beside its own.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Apps of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn pem(&self) -> String {
        self.issuer.as_ref().pem()
    }

    /// The certificate of an app, with what is `other` about it.
    fn leaf(&self, other: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = of_app(CRM);
        other(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { chain: vec![certificate.der().clone()], key }
    }

    /// A list of revoked serial numbers, in force until that year.
    fn revokes(&self, serials: &[u64], until: i32) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn of_app(uri: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// What a client shows.
struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Pair {
    fn tls(&self, world: &World) -> ClientConfig {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        trusting(world, rustls::ALL_VERSIONS).with_client_auth_cert(self.chain.clone(), key).unwrap()
    }
}

fn trusting(world: &World, versions: &[&'static SupportedProtocolVersion]) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&world.certs().internal_ca).unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
}

fn apps(world: &World) -> SocketAddr {
    world.running().addresses.apps[0].1
}

/// A connection of its own with one request on it: what comes back, or why nothing does.
async fn knock(at: SocketAddr, tls: ClientConfig, target: &str) -> Result<String, String> {
    let stream = TcpStream::connect(at).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let mut stream = soon("a handshake", connector.connect(ServerName::try_from("localhost").unwrap(), stream)).await.map_err(|e| e.to_string())?;
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\ndata-purpose: {OUTREACH}\r\nconnection: close\r\n\r\n");
    // With TLS 1.3 a client learns only now that it was not let in.
    stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    let read = soon("an answer", stream.read_to_end(&mut answer)).await;
    if answer.is_empty() {
        return Err(read.err().map_or_else(|| "closed".to_owned(), |error| error.to_string()));
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A gateway that trusts the authority, too, before which Ada agreed to be called.
async fn world(authority: &Authority, more: impl FnOnce(&Path) + 'static) -> World {
    let pem = authority.pem();
    let prepare = move |root: &Path| {
        let file = root.join("certs/apps-ca.pem");
        fs::write(&file, format!("{}{pem}", fs::read_to_string(&file).unwrap())).unwrap();
        more(root);
    };
    let world = gateway().prepared(prepare).start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.consent("crm:0031", OUTREACH, "given").await;
    world
}

const REQUIRED: &str = "client_certificates = { mode = \"require\", ca = \"certs/apps-ca.pem\" }";

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_nobody_who_is_trusted_get_through_no_handshake() {
    let (authority, rogue) = (Authority::new(), Authority::new());
    let world = world(&authority, |_| ()).await;
    let good = authority.leaf(|_| ());
    assert!(knock(apps(&world), good.tls(&world), ADAS).await.unwrap().ends_with(&ada_for_outreach()));
    world.upstream.take();

    let self_signed = {
        let key = KeyPair::generate().unwrap();
        Pair { chain: vec![of_app(CRM).self_signed(&key).unwrap().der().clone()], key }
    };
    // A leaf that signs another: with and without the right to do so in its own name.
    let by_leaf = |other: fn(&mut CertificateParams)| {
        let mut params = of_app("spiffe://example.com/app/helpdesk");
        other(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.clone().signed_by(&key, &authority.issuer).unwrap();
        let (issuer, under) = (rcgen::Issuer::new(params, &key), KeyPair::generate().unwrap());
        let certificate = of_app(CRM).signed_by(&under, &issuer).unwrap();
        Pair { chain: vec![certificate.der().clone(), leaf.der().clone()], key: under }
    };
    let with_rogue_chain = {
        let mut pair = rogue.leaf(|_| ());
        pair.chain.push(rogue.issuer.as_ref().der().clone());
        pair
    };
    for (row, case, pair) in [
        (95, "self-signed", self_signed),
        (95, "an authority of the same name", rogue.leaf(|_| ())),
        (95, "an authority of the same name, which it brings along", with_rogue_chain),
        (95, "issued by a leaf", by_leaf(|_| ())),
        (95, "issued by a leaf that may sign certificates by its usage alone", by_leaf(|p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign])),
        (96, "run out", authority.leaf(|p| p.not_after = date_time_ymd(2020, 1, 1))),
        (96, "not yet", authority.leaf(|p| p.not_before = date_time_ymd(2090, 1, 1))),
        (96, "of a server", authority.leaf(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
        (96, "for mail", authority.leaf(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection])),
        (96, "an authority's own", {
            let key = KeyPair::generate().unwrap();
            let mut params = of_app(CRM);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Pair { chain: vec![params.signed_by(&key, &authority.issuer).unwrap().der().clone()], key }
        }),
    ] {
        let came = knock(apps(&world), pair.tls(&world), ADAS).await;
        assert!(came.is_err(), "{row}: {case}: {came:?}");
    }
    let nobody = trusting(&world, rustls::ALL_VERSIONS).with_no_client_auth();
    knock(apps(&world), nobody, ADAS).await.expect_err("95: none");
    // Somebody whose key it is not.
    let stolen = Pair { chain: good.chain.clone(), key: KeyPair::generate().unwrap() };
    let key = PrivateKeyDer::try_from(stolen.key.serialize_der()).unwrap();
    assert!(trusting(&world, rustls::ALL_VERSIONS).with_client_auth_cert(stolen.chain, key).is_err(), "no client library does it");

    // 97: trusted, and still nobody: what only resembles a client's name.
    let named = |name: SanType, common: &str| {
        let common = common.to_owned();
        authority.leaf(move |p| {
            p.subject_alt_names = vec![name];
            p.distinguished_name.push(DnType::CommonName, common);
        })
    };
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    for (case, pair) in [
        ("common name", named(uri("spiffe://example.com/app/nobody"), CRM)),
        ("in other case", named(uri("spiffe://example.com/app/CRM"), "crm")),
        ("longer", named(uri("spiffe://example.com/app/crm/x"), "crm")),
        ("wildcard", named(uri("spiffe://example.com/app/*"), "crm")),
        ("the name of a host", named(SanType::DnsName("crm.example.com".try_into().unwrap()), CRM)),
    ] {
        let answer = knock(apps(&world), pair.tls(&world), ADAS).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("unauthenticated"), "{case}: {answer}");
    }
    let nul = named(uri("spiffe://example.com/app/crm\0.evil.example"), "crm");
    knock(apps(&world), nul.tls(&world), ADAS).await.expect_err("97: a name that two readers read differently");
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_a_token_stand_for_one_client_or_for_none() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.consent("crm:0031", OUTREACH, "given").await;
    let own = world.token("crm", &json!({}));
    world.client("crm").token(own.clone()).get(ADAS).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    world.upstream.take();
    let binding = |pair: &str| {
        let leaf = CertificateDer::from_pem_file(&world.certs().clients[pair].chain).unwrap();
        json!({ "x5t#S256": consentry::identity::PeerCertificate::from_der(&leaf).unwrap().thumbprint() })
    };
    for (case, certificate, token) in [
        ("of another caller's connection", "helpdesk", own),
        ("of another caller, bound to this one's certificate", "helpdesk", world.token("crm", &json!({ "cnf": binding("helpdesk") }))),
        ("of an agent", "crm", world.token("crm", &json!({ "azp": "sales-copilot" }))),
        ("as an agent's", "crm", world.token("crm", &json!({ "act": { "sub": "sales-copilot" } }))),
        ("bound to nothing", "crm", world.token("crm", &json!({ "cnf": null }))),
    ] {
        let answer = world.client(certificate).token(token).get(ADAS).purpose(OUTREACH).await;
        assert_eq!((401, "token-invalid"), (answer.status.as_u16(), answer.code().as_str()), "{case}");
    }
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_refused_and_ends_what_its_open_connection_may() {
    let authority = Authority::new();
    let (first, revokes) = (authority.revokes(&[7], 2090), authority.revokes(&[7, 8], 2090));
    let over = authority.revokes(&[7], 2021);
    let world = world(&authority, move |root| {
        fs::write(root.join("certs/apps.crl"), first).unwrap();
        replace(root, REQUIRED, "client_certificates = { mode = \"require\", ca = \"certs/apps-ca.pem\", crl = \"certs/apps.crl\" }");
    })
    .await;
    let numbered = |serial: u64| authority.leaf(|p| p.serial_number = Some(SerialNumber::from(serial)));
    let (seventh, eighth, ninth) = (numbered(7), numbered(8), numbered(9));
    let served = async |pair: &Pair| knock(apps(&world), pair.tls(&world), ADAS).await.is_ok_and(|answer| answer.ends_with(&ada_for_outreach()));
    assert!(!served(&seventh).await, "96: revoked");
    assert!(served(&eighth).await && served(&ninth).await);
    // The development authority has no list: nobody knows of whom it has taken the certificate away.
    let known = Client::new(apps(&world), crate::harness::client::tls(&world.certs().internal_ca, &world.certs().clients["crm"]), None);
    known.get(ADAS).attempt().await.expect_err("96: no list of its issuer");

    let (open, other) = (Client::new(apps(&world), eighth.tls(&world), None).http2(), Client::new(apps(&world), ninth.tls(&world), None).http2());
    for client in [&open, &other] {
        client.get(ADAS).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    }
    world.upstream.take();
    let write = |text: &str| fs::write(world.root().join("certs/apps.crl"), text).unwrap();
    write(&revokes);
    world.running().reload().await.unwrap();
    open.get(ADAS).purpose(OUTREACH).await.refused(401, "unauthenticated");
    assert!(world.upstream.asked().is_empty());
    other.get(ADAS).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    assert!(!served(&eighth).await && served(&ninth).await);
    assert_eq!((1, 1), (open.opened(), other.opened()));

    // A list that cannot be read changes nothing; one that has run out closes the door, and readiness says why.
    write("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    world.running().reload().await.expect_err("broken");
    assert!(!served(&eighth).await && served(&ninth).await);
    write(&over);
    world.running().reload().await.unwrap();
    assert!(!served(&ninth).await);
    other.get(ADAS).purpose(OUTREACH).await.refused(401, "unauthenticated");
    let why = trouble(&world, "certificates").unwrap();
    assert!(why.contains("`apps` ran out at 2021-01-01"), "{why}");
    write(&revokes);
    world.running().reload().await.unwrap();
    assert!(served(&ninth).await);
    other.get(ADAS).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    assert_eq!(None, trouble(&world, "certificates"));
    world.finish().await;
}

/// Why readiness is not well with one part.
fn trouble(world: &World, name: &str) -> Option<String> {
    let checks = world.running().instance().readiness().checks;
    checks.into_iter().find(|check| check.name == name && check.state != Health::Ok).and_then(|check| check.why)
}

/// A ClientHello of an old kind: version 3.`minor`, the highest there is for this client, and some cipher suites.
fn hello(minor: u8, suites: &[u16]) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.push(0);
    body.extend(u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
    suites.iter().for_each(|suite| body.extend(suite.to_be_bytes()));
    body.extend([1, 0]);
    // Curves and signatures that the gateway takes, so that only the rest can be wrong with it.
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 6, 0, 4, 4, 3, 8, 4, 0, 23, 0, 0, 0xff, 1, 0, 1, 0];
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1, length[1], length[2], length[3]], &body[..]].concat();
    [&[22, 3, 1], &u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
}

/// The first record that comes back: its type and what is in it.
async fn reply(at: SocketAddr, bytes: &[u8]) -> (u8, Vec<u8>) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut record = [0; 5];
    soon("a record", stream.read_exact(&mut record)).await.unwrap();
    let mut content = vec![0; usize::from(u16::from_be_bytes([record[3], record[4]]))];
    soon("its content", stream.read_exact(&mut content)).await.unwrap();
    (record[0], content)
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_weak_ciphers_resumption_and_early_data_are_not_offered() {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    let world = gateway().start().await;
    let at = world.running().addresses.clone();
    let strong = [0xc02b, 0xc02f, 0xcca9];
    for listener in [apps(&world), at.admin.unwrap(), at.capture.unwrap(), at.public.unwrap()] {
        // The hello that differs from the refused ones in nothing else is answered.
        assert_eq!(HANDSHAKE, reply(listener, &hello(3, &strong)).await.0);
        for (case, minor, suites, alert) in [
            ("SSL 3.0", 0, &strong[..], &[70][..]),
            ("TLS 1.0", 1, &strong, &[70]),
            ("TLS 1.1", 2, &strong, &[70]),
            ("TLS 1.0 with what it had", 1, &[0xc009, 0xc013, 0x002f, 0x0035], &[70]),
            ("cipher block chaining", 3, &[0xc009, 0xc013, 0xc023, 0xc027], &[40]),
            ("no forward secrecy", 3, &[0x009c, 0x009d, 0x002f, 0x0035], &[40]),
            ("RC4", 3, &[0xc007, 0xc011, 0x0005, 0x0004], &[40]),
            ("triple DES", 3, &[0xc008, 0xc012, 0x000a], &[40]),
            ("export, anonymous and no ciphers", 3, &[0x0003, 0x0018, 0xc018, 0x0000, 0xc006], &[40]),
        ] {
            let (kind, content) = reply(listener, &hello(minor, suites)).await;
            assert_eq!((ALERT, 2), (kind, content[0]), "{case}");
            assert!(alert.contains(&content[1]), "{case}: alert {}", content[1]);
        }
    }
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let pair = &world.certs().clients["crm"];
        let chain = vec![CertificateDer::from_pem_file(&pair.chain).unwrap()];
        let mut tls = trusting(&world, &[version]).with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&pair.key).unwrap()).unwrap();
        tls.resumption = Resumption::in_memory_sessions(8);
        tls.enable_early_data = true;
        let tls = Arc::new(tls);
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&tls));
        for round in 0..3 {
            let stream = TcpStream::connect(apps(&world)).await.unwrap();
            let mut stream = soon("a handshake", connector.connect(ServerName::try_from("localhost").unwrap(), stream)).await.unwrap();
            stream.write_all(b"GET /crm/about HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            drop(soon("an answer", stream.read_to_end(&mut answer)).await);
            assert!(answer.starts_with(b"HTTP/1.1 "));
            let (_, session) = stream.get_ref();
            assert_eq!((Some(HandshakeKind::Full), 0), (session.handshake_kind(), session.tls13_tickets_received()), "{round} {version:?}");
        }
        // Whoever knows the gateway has nothing to send early data with.
        let mut next = rustls::ClientConnection::new(tls, ServerName::try_from("localhost").unwrap()).unwrap();
        assert!(next.early_data().is_none(), "{version:?}");
    }
    world.finish().await;
}

/// The certificate that a listener shows to a visitor.
async fn shown(world: &World, visitor: &ClientConfig) -> Vec<u8> {
    let stream = TcpStream::connect(world.running().addresses.public.unwrap()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(visitor.clone()));
    let stream = soon("a handshake", connector.connect(ServerName::try_from("localhost").unwrap(), stream)).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_certificates_and_keys_at_a_reload_leave_the_old_ones_and_are_told() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.consent("crm:0031", OUTREACH, "given").await;
    // Made before anything is broken: the files are theirs, too.
    let visitor = trusting(&world, rustls::ALL_VERSIONS).with_no_client_auth();
    let tls = crate::harness::client::tls(&world.certs().internal_ca, &world.certs().clients["crm"]);
    let (crm, before) = (world.client("crm").http2(), shown(&world, &visitor).await);
    crm.get(ADAS).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    let by_token = || Client::new(apps(&world), tls.clone(), None).token(world.token("crm", &json!({})));
    by_token().get(ADAS).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    let refused =
        || world.running().instance().metrics().lines().find_map(|line| line.strip_prefix("consentry_reloads_failed_total ")?.parse::<u64>().ok());
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    let file = |name: &str| world.root().join("certs").join(name);
    for (name, broken) in [
        ("gw.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("gw.key", &other_key),
        ("gw.key", "no key"),
        ("admin.pem", "no certificate"),
        ("apps-ca.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n"),
        ("internal-ca.pem", "not even PEM"),
        ("gw-client.key", "no key"),
        ("issuer-jwks.json", "{"),
    ] {
        let good = fs::read_to_string(file(name)).unwrap();
        let (failed, generation) = (refused().unwrap(), world.running().instance().generation());
        fs::write(file(name), broken).unwrap();
        world.running().reload().await.expect_err(name);
        assert!(refused().unwrap() > failed, "{name}");
        assert!(trouble(&world, "config").unwrap().starts_with("stale since "), "{name}");
        assert_eq!(generation, world.running().instance().generation(), "{name}");
        // New handshakes and new tokens go on as before: old certificate, old trust, old keys.
        assert_eq!(before, shown(&world, &visitor).await, "{name}");
        by_token().get(ADAS).purpose(OUTREACH).await.released(200, &ada_for_outreach());
        fs::write(file(name), &good).unwrap();
    }
    world.running().reload().await.unwrap();
    assert_eq!(None, trouble(&world, "config"));
    let told = crate::harness::entries(&world.log_dir()).into_iter().filter(|entry| entry.value["kind"] == "policy_rejected").count();
    assert!(told >= 8, "{told}");
    crm.get(ADAS).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    assert_eq!(1, crm.opened(), "an open connection lives on");
    world.finish().await;
}

/// A changed file is found without a signal, and a new certificate is shown from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_taken_from_its_file() {
    let world = gateway().start().await;
    let before = shown(&world, &trusting(&world, rustls::ALL_VERSIONS).with_no_client_auth()).await;
    let fresh = consentry::cli::certs::dev(&world.root().join("fresh"), &consentry::cli::certs::DevNames::default()).unwrap();
    let (chain, key) = (fs::read(&fresh.gateway.chain).unwrap(), fs::read(&fresh.gateway.key).unwrap());
    fs::write(
        world.root().join("certs/internal-ca.pem"),
        [fs::read(&world.certs().internal_ca).unwrap(), fs::read(&fresh.internal_ca).unwrap()].concat(),
    )
    .unwrap();
    fs::write(world.root().join("certs/gw.pem"), chain).unwrap();
    fs::write(world.root().join("certs/gw.key"), key).unwrap();
    soon("the new certificate", async {
        while world.running().instance().generation() == 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_ne!(before, shown(&world, &crate::harness::client::anonymous(&fresh.internal_ca)).await);
    world.finish().await;
}
