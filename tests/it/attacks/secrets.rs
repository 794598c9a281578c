//! Row 127: whatever holds a secret, and gets into a trace or a report by `Debug`, does not print it.

use std::fmt::Debug;
use std::fs;

use consentry::gateway::build;
use consentry::gateway::forward::Credentials;
use consentry::identity::{PeerCertificate, Sent};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use crate::harness::{UPSTREAM_KEY, gateway, replace};

/// Texts that must not stand anywhere, with what each is.
struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// As it is, and as `Debug` shows its bytes.
    fn text(&mut self, what: &str, text: &str) {
        assert!(text.len() >= 5, "`{text}` could stand there by chance");
        self.0.push((what.to_owned(), text.to_owned()));
        self.0.push((what.to_owned(), format!("{:?}", text.as_bytes()).trim_matches(['[', ']']).to_owned()));
    }

    /// As `Debug` shows bytes, and as hex.
    fn bytes(&mut self, what: &str, bytes: &[u8]) {
        let some = &bytes[..8];
        self.text(what, format!("{some:?}").trim_matches(['[', ']']));
        self.text(what, &some.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        self.text(what, &some.iter().map(|byte| format!("{byte:02X}")).collect::<String>());
    }

    fn absent_from(&self, what: &str, value: &dyn Debug) {
        for shown in [format!("{value:?}"), format!("{value:#?}").replace([' ', '\n'], "").replace(',', ", ")] {
            assert!(!shown.is_empty());
            for (name, secret) in &self.0 {
                assert!(!shown.contains(secret.as_str()), "{what} prints {name}: {shown}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_a_secret_does_not_print_it() {
    let prepare = |root: &std::path::Path| {
        fs::write(root.join("siem.token"), "token-of-the-siem").unwrap();
        replace(root, "sender_constraint = \"mtls\"", "sender_constraint = \"none\"");
        replace(root, "mode = \"require\"", "mode = \"accept\"");
    };
    let world = gateway().prepared(prepare).start().await;
    let root = world.root();
    let mut secrets = Secrets(Vec::new());
    secrets.text("the key for the API", UPSTREAM_KEY);
    secrets.text("the SIEM's token", "token-of-the-siem");
    for file in ["certs/gw.key", "certs/admin.key", "certs/gw-client.key", "log-ed25519.pem"] {
        let path = root.join(file);
        let pem = fs::read_to_string(&path).unwrap();
        secrets.text(file, pem.lines().nth(1).unwrap());
        let der = PrivateKeyDer::from_pem_file(&path).unwrap().secret_der().to_vec();
        // What comes before is the same in every key.
        secrets.bytes(file, &der[der.len() / 2..]);
    }

    // What the configuration holds, as it runs and with an export that needs a token.
    let path = root.join("with-export.toml");
    let export =
        "dir = \"log\"\nexport = [{ name = \"siem\", format = \"ocsf\", to = \"https://siem.example.com/\", token = { file = \"siem.token\" } }]";
    let text = fs::read_to_string(root.join("consentry.toml")).unwrap();
    assert!(text.contains("dir = \"log\""));
    let rotated = "signing_key = { file = \"log-ed25519.pem\" }\nsecrets_key = { file = \"log-ed25519.pem\" }";
    fs::write(&path, text.replacen("dir = \"log\"", export, 1).replacen("signing_key = { file = \"log-ed25519.pem\" }", rotated, 1)).unwrap();
    let (config, policies) = build::load(&path).unwrap_or_else(|findings| panic!("{findings}"));
    for usage in ["employee pseudonyms", "staff pseudonyms", "field pseudonyms", "validators", "receipts", "links v1"] {
        secrets.bytes(usage, &build::derived_key(&config, usage));
    }
    assert!(config.audit.exports[0].token.is_some() && config.audit.secrets_key.is_some());
    secrets.absent_from("the configuration", &config);
    secrets.absent_from("its exports", &config.audit.exports);
    secrets.absent_from("its upstreams", &config.upstreams);
    secrets.absent_from("the policies", &policies);

    // Who calls: token, claims and what comes of them.
    let token = world.token("crm", &json!({ "cnf": null, "sub": "employee-of-the-test", "email": "who@example.net", "customer": "crm:0031" }));
    let signature = token.rsplit_once('.').unwrap().1.to_owned();
    secrets.text("a token", &token);
    secrets.text("its signature", &signature);
    secrets.text("a claim", "employee-of-the-test");
    secrets.text("a claim", "who@example.net");
    secrets.text("a customer", "crm:0031");
    let bearer = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer.clone())]);
    let leaf = CertificateDer::from_pem_file(&world.certs().clients["crm"].chain).unwrap();
    let peer = PeerCertificate::from_der(&leaf).unwrap();
    secrets.text("a thumbprint", &peer.thumbprint());
    let snapshot = world.running().shared().snapshot();
    let sent = Sent { method: &Method::GET, origin: "https://localhost", path: "/customers/of-the-test" };
    secrets.text("a path", "of-the-test");
    let principal = snapshot.authenticator.authenticate(Some(&peer), &headers, sent).await.unwrap();
    assert_eq!(Some("who@example.net"), principal.claim("email"));
    secrets.absent_from("who calls", &principal);
    secrets.absent_from("the certificate", &peer);
    secrets.absent_from("what was sent", &sent);
    secrets.absent_from("the authenticator", &snapshot.authenticator);
    secrets.absent_from("the issuer's key", &world.signer());
    secrets.absent_from("credentials", &Credentials::Header(HeaderName::from_static("x-api-key"), HeaderValue::from_static(UPSTREAM_KEY)));
    secrets.absent_from("the snapshot", &snapshot);
    secrets.absent_from("the gateway", world.running());
    secrets.absent_from("its state", world.running().shared());
    world.finish().await;
}
