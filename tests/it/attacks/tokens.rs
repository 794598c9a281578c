//! Rows 84 to 94: tokens that were not made for this, shown to a gateway that serves. What each claim and each member of a
//! header does is in `src/identity/tests`; here it goes over the wire, and the API must not be asked.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use consentry::clock::ManualClock;
use consentry::identity::TokenSigner;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::people::{ada, ada_for_outreach};
use crate::harness::{Answer, World, gateway, replace};

const OUTREACH: &str = "sales.outreach";
const ADAS: &str = "/crm/customers/0031";

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A server of an issuer's on a loopback port: what it answers to each path, and how often it was asked.
struct IssuerServer {
    at: String,
    asked: Arc<AtomicUsize>,
    answers: Arc<std::sync::Mutex<Vec<(&'static str, String)>>>,
}

impl IssuerServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let this = Self { at, asked: Arc::default(), answers: Arc::default() };
        let (asked, answers) = (Arc::clone(&this.asked), Arc::clone(&this.answers));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (asked, answers) = (Arc::clone(&asked), Arc::clone(&answers));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(stream.read_u8().await?);
                    }
                    asked.fetch_add(1, Ordering::SeqCst);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                    let found = answers.lock().unwrap().iter().find(|(known, _)| *known == path).map(|(_, body)| body.clone());
                    let (status, body) = found.map_or(("503 Away", String::new()), |body| ("200 OK", body));
                    let length = body.len();
                    stream.write_all(format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes()).await
                });
            }
        });
        this
    }

    fn answers(&self, answers: &[(&'static str, &Value)]) {
        *self.answers.lock().unwrap() = answers.iter().map(|(path, body)| (*path, body.to_string())).collect();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A gateway before which Ada agreed to be called, and what `crm` gets of her.
async fn agreed(world: &World) {
    world.upstream.json("GET /customers/0031", &ada());
    world.consent("crm:0031", OUTREACH, "given").await;
}

async fn shown(world: &World, authorization: &[&str]) -> Answer {
    let crm = world.client("crm");
    let ask = authorization.iter().fold(crm.get(ADAS).purpose(OUTREACH), |ask, value| ask.header("authorization", value));
    ask.await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_were_not_made_for_this_open_nothing() {
    let elsewhere = IssuerServer::start().await;
    let world = gateway().start().await;
    agreed(&world).await;
    let (signer, stranger) = (world.signer(), TokenSigner::generate("dev-1").unwrap());
    elsewhere.answers(&[("/keys", &stranger.jwks())]);
    let now = world.clock_now().as_second();
    let claims = |more: Value| world.claims("crm", &more);
    let header = |more: Value| {
        let mut header = json!({ "alg": "ES256", "kid": "dev-1", "typ": "at+jwt" });
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        header.to_string()
    };
    let plain = claims(json!({})).to_string();
    let good = signer.mint(&claims(json!({}))).unwrap();
    shown(&world, &[&format!("Bearer {good}")]).await.released(200, &ada_for_outreach());
    world.upstream.take();

    let (signed, signature) = good.rsplit_once('.').unwrap();
    let by_header = |more: Value| signer.sign(&header(more), &plain).unwrap();
    let by_claims = |more: Value| signer.mint(&claims(more)).unwrap();
    let unsigned = |alg: &str, end: &str| format!("{}.{}{end}", encoded(json!({ "alg": alg }).to_string()), encoded(&plain));
    let symmetric = {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, signer.jwks()["keys"][0].to_string().as_bytes());
        let input = format!("{}.{}", encoded(header(json!({ "alg": "HS256" }))), encoded(&plain));
        format!("{input}.{}", encoded(aws_lc_rs::hmac::sign(&key, input.as_bytes())))
    };
    let with_key = |member: &str, value: Value| stranger.sign(&header(json!({ member: value })), &plain).unwrap();
    let there = json!(format!("{}/keys", elsewhere.at));
    let doubled = plain.replacen('{', r#"{"azp":"helpdesk","#, 1);
    for (row, case, token) in [
        (84, "none", unsigned("none", ".")),
        (84, "none, without the dot", unsigned("none", "")),
        (84, "none in other case", unsigned("NonE", ".")),
        (84, "none over a good signature", by_header(json!({ "alg": "none" }))),
        (84, "no algorithm", signer.sign(r#"{"kid":"dev-1"}"#, &plain).unwrap()),
        (84, "the signature is left out", format!("{signed}.")),
        (85, "signed with the public key", symmetric),
        (85, "another algorithm than the key's", by_header(json!({ "alg": "RS256" }))),
        (85, "another algorithm than the key's", by_header(json!({ "alg": "EdDSA" }))),
        (86, "its key in the header", with_key("jwk", stranger.jwks()["keys"][0].clone())),
        (86, "its keys at an address", with_key("jku", there.clone())),
        (86, "its certificate at an address", with_key("x5u", there)),
        (86, "its certificate in the header", with_key("x5c", json!(["MIIB"]))),
        (87, "a path", by_header(json!({ "kid": "../../../dev/null" }))),
        (87, "sql", by_header(json!({ "kid": "dev-1' OR '1'='1" }))),
        (87, "a number", by_header(json!({ "kid": 1 }))),
        (87, "huge", by_header(json!({ "kid": "k".repeat(8_000) }))),
        (88, "run out", by_claims(json!({ "exp": now - 61 }))),
        (88, "without an end", by_claims(json!({ "exp": null }))),
        (88, "not yet", by_claims(json!({ "nbf": now + 120 }))),
        (88, "issued in the future", by_claims(json!({ "iat": now + 120 }))),
        (89, "for another api", by_claims(json!({ "aud": "https://other.example.com" }))),
        (89, "for us and others", by_claims(json!({ "aud": ["https://localhost", "https://other.example.com"] }))),
        (89, "for what begins like us", by_claims(json!({ "aud": "https://localhost.example.com" }))),
        (89, "of another issuer", by_claims(json!({ "iss": "https://login.example.org/" }))),
        (89, "of what begins like the issuer", by_claims(json!({ "iss": "https://login.example.com" }))),
        (90, "a claim twice", signer.sign(&header(json!({})), &doubled).unwrap()),
        (90, "a header member twice", signer.sign(r#"{"alg":"none","alg":"ES256","kid":"dev-1"}"#, &plain).unwrap()),
        (91, "crit", by_header(json!({ "crit": ["exp"] }))),
        (91, "b64", by_header(json!({ "b64": false }))),
        (91, "zip", by_header(json!({ "zip": "DEF" }))),
        (91, "nested", by_header(json!({ "cty": "JWT" }))),
        (91, "encrypted", format!("{}.AAAA.AAAA.AAAA.AAAA", encoded(r#"{"alg":"dir","enc":"A256GCM"}"#))),
        (92, "a signature of zeros", format!("{signed}.{}", encoded([0; 64]))),
        (92, "padded", format!("{good}==")),
        (92, "in the other alphabet", format!("{signed}.+{}", signature.chars().skip(1).collect::<String>())),
        (92, "with a line break", format!("{}.{signature}", signed.replacen('.', "%0a.", 1))),
        (93, "a proof as a token", by_header(json!({ "typ": "dpop+jwt" }))),
        (93, "an id token", by_claims(json!({ "at_hash": "x", "nonce": "n" }))),
        (93, "a refresh token", by_claims(json!({ "typ": "Refresh" }))),
        (93, "a logout token", by_claims(json!({ "events": {} }))),
    ] {
        let answer = shown(&world, &[&format!("Bearer {token}")]).await;
        assert_eq!((401, "token-invalid"), (answer.status.as_u16(), answer.code().as_str()), "{row}: {case}");
        assert_eq!(None, answer.decision(), "{row}: {case}");
    }
    let bearer = format!("Bearer {good}");
    for (case, authorization) in [
        ("two, both good", vec![bearer.clone(), bearer.clone()]),
        ("two in one", vec![format!("{bearer}, {bearer}")]),
        ("another scheme", vec!["Basic Y3JtOmNybQ==".to_owned()]),
        ("a token that is bound to a certificate, as if to a key", vec![format!("DPoP {good}")]),
    ] {
        let values: Vec<&str> = authorization.iter().map(String::as_str).collect();
        shown(&world, &values).await.refused(401, "token-invalid");
        assert!(world.upstream.asked().is_empty(), "{case}");
    }
    // Elsewhere it is no token at all, and does not reach the API.
    world.client("crm").get(&format!("{ADAS}?access_token={good}")).purpose(OUTREACH).await.refused(400, "parameter-not-declared");
    assert!(world.upstream.asked().is_empty());
    assert_eq!(0, elsewhere.asked(), "nothing that a token names is ever fetched");
    let cookie = format!("access_token={}", by_claims(json!({ "azp": "helpdesk" })));
    world.client("crm").get(ADAS).purpose(OUTREACH).header("cookie", &cookie).await.released(200, &ada_for_outreach());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_runs_out_ends_what_its_connection_may() {
    let clock = ManualClock::at("2026-07-24T10:00:00Z".parse::<Timestamp>().unwrap());
    let world = gateway().clock(Arc::clone(&clock) as _).start().await;
    agreed(&world).await;
    let crm = world.client("crm").token(world.token("crm", &json!({})));
    crm.get(ADAS).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    world.pass(&clock, Duration::from_secs(329)).await;
    crm.get(ADAS).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    world.pass(&clock, Duration::from_secs(1)).await;
    crm.get(ADAS).purpose(OUTREACH).await.refused(401, "token-invalid");
    assert_eq!(1, crm.opened());
    world.finish().await;
}

const KEYS: &str = "keys = { file = \"certs/issuer-jwks.json\" }";

/// Readiness of the issuers' keys: `None` when all is well.
fn keys_trouble(world: &World) -> Option<String> {
    let readiness = world.running().instance().readiness();
    readiness.checks.into_iter().find(|check| check.name == "keys").and_then(|check| check.why)
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    crate::harness::soon(what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_unknown_keys_asks_the_issuer_once_and_known_keys_last_for_their_age() {
    // What one reading of the keys takes: themselves, or first where they are.
    for (is_discovered, each) in [(false, 1), (true, 2)] {
        let issuer = IssuerServer::start().await;
        let clock = ManualClock::at("2026-07-24T10:00:00Z".parse::<Timestamp>().unwrap());
        let at = issuer.at.clone();
        let keys = if is_discovered { format!("keys = {{ discovery = \"{at}/metadata\" }}") } else { format!("keys = {{ url = \"{at}/keys\" }}") };
        let keys = format!("{keys}\nkeys_max_age = \"1h\"");
        let signer = Arc::new(std::sync::Mutex::new(None));
        let (taken, answers, base) = (Arc::clone(&signer), Arc::clone(&issuer.answers), issuer.at.clone());
        let world = gateway()
            .clock(Arc::clone(&clock) as _)
            .prepared(move |root| {
                replace(root, KEYS, &keys);
                let jwks = std::fs::read_to_string(root.join("certs/issuer-jwks.json")).unwrap();
                let metadata = json!({ "issuer": "https://login.example.com/", "jwks_uri": format!("{base}/keys") });
                *answers.lock().unwrap() = vec![("/keys", jwks.clone()), ("/metadata", metadata.to_string())];
                *taken.lock().unwrap() = Some(jwks);
            })
            .start()
            .await;
        agreed(&world).await;
        let jwks: Value = serde_json::from_str(signer.lock().unwrap().as_ref().unwrap()).unwrap();
        let metadata = json!({ "issuer": "https://login.example.com/", "jwks_uri": format!("{at}/keys") });
        let crm = world.client("crm");
        let ask = async |token: &str| crm.get(ADAS).purpose(OUTREACH).header("authorization", &format!("Bearer {token}")).await.status.as_u16();
        let good = || world.token("crm", &json!({}));
        assert_eq!(200, ask(&good()).await);
        // The data plane's and the staff's keys, each once at the start.
        let begun = 2 * each;
        until("the keys of both", || issuer.asked() == begun).await;
        let storm = async || {
            for n in 0..40 {
                let stranger = TokenSigner::generate(&format!("stranger-{n}")).unwrap();
                assert_eq!(401, ask(&stranger.mint(&world.claims("crm", &json!({}))).unwrap()).await);
            }
        };
        storm().await;
        assert_eq!(begun, issuer.asked(), "asked just before");
        world.pass(&clock, Duration::from_secs(31)).await;
        storm().await;
        assert_eq!(begun + each, issuer.asked(), "once in half a minute");

        // A key that is added is found; nothing is lost while the issuer is away; in the end nothing is believed.
        let next = TokenSigner::generate("next").unwrap();
        let mut both = jwks.clone();
        both["keys"].as_array_mut().unwrap().extend(next.jwks()["keys"].as_array().unwrap().clone());
        issuer.answers(&[("/keys", &both), ("/metadata", &metadata)]);
        world.pass(&clock, Duration::from_secs(31)).await;
        assert_eq!(200, ask(&next.mint(&world.claims("crm", &json!({}))).unwrap()).await);
        assert_eq!(None, keys_trouble(&world));
        issuer.answers(&[]);
        world.pass(&clock, Duration::from_secs(3_000)).await;
        assert_eq!(200, ask(&good()).await);
        assert_eq!(401, ask(&TokenSigner::generate("x").unwrap().mint(&world.claims("crm", &json!({}))).unwrap()).await);
        assert!(keys_trouble(&world).unwrap().contains("could not be refreshed"));
        world.pass(&clock, Duration::from_secs(601)).await;
        assert_eq!(401, ask(&good()).await);
        assert!(keys_trouble(&world).unwrap().contains("its tokens are refused"));
        // Metadata of somebody else do not help, and keys that are back do.
        if is_discovered {
            issuer.answers(&[("/keys", &both), ("/metadata", &json!({ "issuer": "https://evil.example/", "jwks_uri": format!("{at}/keys") }))]);
            world.pass(&clock, Duration::from_secs(6)).await;
            assert_eq!(401, ask(&good()).await);
        }
        issuer.answers(&[("/keys", &both), ("/metadata", &metadata)]);
        world.pass(&clock, Duration::from_secs(6)).await;
        assert_eq!(200, ask(&good()).await);
        world.finish().await;
    }
}

/// A client that proves to have the key that its token names (RFC 9449).
struct Wallet<'w> {
    world: &'w World,
    key: TokenSigner,
    made: AtomicUsize,
}

impl<'w> Wallet<'w> {
    fn new(world: &'w World) -> Self {
        Self { world, key: TokenSigner::generate("-").unwrap(), made: AtomicUsize::new(0) }
    }

    /// The public key with nothing beside it.
    fn jwk(&self) -> Value {
        let key = self.key.jwks()["keys"][0].clone();
        json!({ "crv": key["crv"], "kty": key["kty"], "x": key["x"], "y": key["y"] })
    }

    fn token(&self) -> String {
        let thumbprint = hash(&self.jwk().to_string());
        self.world.token("crm", &json!({ "cnf": { "jkt": thumbprint } }))
    }

    fn proof(&self, method: &str, path: &str, token: &str) -> String {
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk() });
        let claims = json!({
            "htm": method, "htu": format!("https://localhost{path}"), "ath": hash(token),
            "iat": self.world.clock_now().as_second(), "jti": format!("{}", self.made.fetch_add(1, Ordering::Relaxed)),
        });
        self.key.sign(&header.to_string(), &claims.to_string()).unwrap()
    }
}

fn hash(text: &str) -> String {
    encoded(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// The same signature in its other form: s becomes n - s, as good by the arithmetic of the curve.
fn mirrored(jws: &str) -> String {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3,
        0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (signed, signature) = jws.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let difference = i16::from(ORDER[at]) - i16::from(bytes[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        bytes[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    format!("{signed}.{}", encoded(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_bound_to_a_key_counts_once_with_each_proof_and_neither_goes_on() {
    let prepare = |root: &Path| {
        replace(root, "sender_constraint = \"mtls\"", "sender_constraint = \"dpop\"");
        replace(root, "mode = \"require\"", "mode = \"accept\"");
        replace(root, "credentials = { header = { name = \"x-api-key\", value = { file = \"upstream.key\" } } }", "credentials = \"forward\"");
    };
    let world = gateway().prepared(prepare).start().await;
    agreed(&world).await;
    let wallet = Wallet::new(&world);
    let token = wallet.token();
    let stranger = world.stranger();
    let ask = async |scheme: &str, proofs: &[&str]| {
        let ask = stranger.get(ADAS).purpose(OUTREACH).header("authorization", &format!("{scheme} {token}"));
        proofs.iter().fold(ask, |ask, proof| ask.header("dpop", proof)).await
    };
    let proof = wallet.proof("GET", ADAS, &token);
    ask("DPoP", &[&proof]).await.released(200, &ada_for_outreach());
    // The token goes on where the API is to have it; the proof never does, whatever it is worth.
    let [forwarded] = &world.upstream.take()[..] else { panic!("asked once") };
    assert_eq!(forwarded.headers.get("authorization").unwrap(), &format!("DPoP {token}"));
    assert!(forwarded.headers.get("dpop").is_none(), "{forwarded:?}");

    let bad_proof = "DPoP error=\"invalid_dpop_proof\", algs=\"ES256 RS256 EdDSA\"";
    let stolen = Wallet::new(&world).proof("GET", ADAS, &token);
    let (first, second) = (wallet.proof("GET", ADAS, &token), wallet.proof("GET", ADAS, &token));
    for (case, proofs) in [
        ("replayed", vec![proof.clone()]),
        ("replayed in the signature's other form", vec![mirrored(&proof)]),
        ("none", vec![]),
        ("two", vec![first, second]),
        ("made with another key", vec![stolen]),
        ("for another method", vec![wallet.proof("POST", ADAS, &token)]),
        ("for another customer", vec![wallet.proof("GET", "/crm/customers/0044", &token)]),
        ("for another token", vec![wallet.proof("GET", ADAS, "another")]),
        ("the token itself", vec![token.clone()]),
    ] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        let answer = ask("DPoP", &proofs).await;
        assert_eq!((401, Some(bad_proof)), (answer.status.as_u16(), answer.header("www-authenticate")), "{case}");
        assert_eq!("token-invalid", answer.code(), "{case}");
    }
    ask("Bearer", &[&wallet.proof("GET", ADAS, &token)]).await.refused(401, "token-invalid");
    ask("Bearer", &[]).await.refused(401, "token-invalid");
    let unbound = world.token("crm", &json!({ "cnf": null }));
    let answer = stranger
        .get(ADAS)
        .purpose(OUTREACH)
        .header("authorization", &format!("DPoP {unbound}"))
        .header("dpop", &wallet.proof("GET", ADAS, &unbound))
        .await;
    assert_eq!(Some("DPoP error=\"invalid_token\", algs=\"ES256 RS256 EdDSA\""), answer.header("www-authenticate"));
    let nobody = stranger.get(ADAS).purpose(OUTREACH).await;
    assert_eq!((401, Some("Bearer, DPoP algs=\"ES256 RS256 EdDSA\"")), (nobody.status.as_u16(), nobody.header("www-authenticate")));
    assert!(world.upstream.asked().is_empty());

    // A reload forgets no proof, and the other form of a fresh one is as good as the first.
    let fresh = wallet.proof("GET", ADAS, &token);
    ask("DPoP", &[&mirrored(&fresh)]).await.released(200, &ada_for_outreach());
    world.running().reload().await.unwrap();
    for used in [&proof, &fresh] {
        ask("DPoP", &[used]).await.refused(401, "token-invalid");
    }
    ask("DPoP", &[&wallet.proof("GET", ADAS, &token)]).await.released(200, &ada_for_outreach());
    world.finish().await;
}

/// The admin listener knows staff by certificates, and by tokens that are bound to these, whatever apps may show.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_possession_opens_no_door_for_staff() {
    let world = gateway().with("sender_constraint = \"mtls\"", "sender_constraint = \"dpop\"").start().await;
    let wallet = Wallet::new(&world);
    let token = wallet.token();
    let path = "/v1/decisions";
    let auditor = world.staff("auditor");
    assert_eq!(200, auditor.get(path).await.status.as_u16());
    let proof = wallet.proof("GET", path, &token);
    let shown = auditor.get(path).header("authorization", &format!("DPoP {token}")).header("dpop", &proof).await;
    assert_eq!(401, shown.status.as_u16());
    world.finish().await;
}
