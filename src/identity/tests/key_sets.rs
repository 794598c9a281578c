//! Key sets: what is read, what is refused, and how often the issuer is asked (rows 85 and 94).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;

use super::super::keys::KeySet;
use super::*;
use crate::clock::SystemClock;

/// A second key under another id.
fn rotated() -> TokenSigner {
    TokenSigner::generate("k2").unwrap()
}

#[tokio::test]
async fn an_unknown_kid_costs_one_question_in_thirty_seconds() {
    let world = World::new();
    world.send(&world.token(json!({}))).await.expect("good");
    assert_eq!(1, world.server.asked());
    let other = rotated();
    let token = other.mint(&world.claims(json!({}))).unwrap();
    for _ in 0..50 {
        world.refused("unknown kid", &token, TokenFault::UnknownKey).await;
    }
    assert_eq!(1, world.server.asked(), "asked just before");
    world.clock.advance(Duration::from_secs(30));
    let mut both = world.signer.jwks();
    both["keys"].as_array_mut().unwrap().extend(other.jwks()["keys"].as_array().unwrap().clone());
    world.server.now_answers(Ok(&both));
    world.send(&token).await.expect("rotated");
    world.send(&world.token(json!({}))).await.expect("the old key is still published");
    assert_eq!(2, world.server.asked());
    world.clock.advance(Duration::from_secs(30));
    for n in 0..50 {
        let stranger = TokenSigner::generate(&format!("stranger-{n}")).unwrap();
        world.refused("storm", &stranger.mint(&world.claims(json!({}))).unwrap(), TokenFault::UnknownKey).await;
    }
    assert_eq!(3, world.server.asked());
}

#[tokio::test]
async fn many_callers_wait_for_one_question() {
    let signer = TokenSigner::generate(KID).unwrap();
    let body = Ok(Bytes::from(signer.jwks().to_string()));
    let server = Arc::new(Server { answer: Mutex::new(body), asked: AtomicUsize::new(0), delay: Duration::from_millis(200) });
    let mut world = World::new();
    world.signer = signer;
    world.authenticator =
        Authenticator::new(vec![issuer()], clients(), vocabulary(), Arc::clone(&server) as _, Arc::clone(&world.clock) as _, [7; 32]).unwrap();
    let token = world.token(json!({}));
    let world = Arc::new(world);
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let (world, token) = (Arc::clone(&world), token.clone());
            tokio::spawn(async move { world.send(&token).await.is_ok() })
        })
        .collect();
    // One that hangs up while it waits does not stop the question.
    callers[0].abort();
    for caller in callers.into_iter().skip(1) {
        assert!(caller.await.unwrap());
    }
    assert_eq!(1, server.asked());
}

#[tokio::test]
async fn a_source_that_never_answers_is_given_up() {
    let server = Arc::new(Server { answer: Mutex::new(Ok(Bytes::new())), asked: AtomicUsize::new(0), delay: Duration::from_secs(3600) });
    let world = World::new();
    let authenticator =
        Authenticator::new(vec![issuer()], clients(), vocabulary(), Arc::clone(&server) as _, Arc::clone(&world.clock) as _, [7; 32]).unwrap();
    let before = SystemClock::shared();
    let error = authenticator.authenticate(Some(&world.crm), &bearer(&world.token(json!({}))), here()).await.expect_err("no keys");
    assert_eq!(AuthError::KeysUnavailable, error);
    assert!(before.monotonic() < Duration::from_secs(10), "three seconds and not an hour");
    assert_eq!(KeyState::Missing, authenticator.keys_status()[0].state);
}

#[tokio::test]
async fn known_keys_are_used_for_their_maximum_age_and_not_longer() {
    let world = World::new();
    let state = || world.authenticator.keys_status()[0].state;
    assert_eq!(KeyState::Missing, state());
    world.authenticator.refresh_keys().await;
    assert_eq!(KeyState::Fresh, state());
    world.server.now_answers(Err("down"));
    world.clock.advance(Duration::from_secs(599));
    world.authenticator.refresh_keys().await;
    assert_eq!((1, KeyState::Fresh), (world.server.asked(), state()), "not due");
    world.clock.advance(Duration::from_secs(1));
    world.authenticator.refresh_keys().await;
    assert_eq!((2, KeyState::Stale(Duration::from_secs(600))), (world.server.asked(), state()));
    world.clock.advance(Duration::from_secs(3000));
    world.send(&world.token(json!({}))).await.expect("within the maximum age");
    world.clock.advance(Duration::from_secs(1));
    let token = world.token(json!({}));
    assert_eq!(AuthError::KeysUnavailable, world.send(&token).await.expect_err("too old, even for a cached signature"));
    assert_eq!(KeyState::Missing, state());
    world.server.now_answers(Ok(&world.signer.jwks()));
    world.clock.advance(Duration::from_secs(5));
    world.send(&token).await.expect("back");
    assert_eq!(KeyState::Fresh, state());
}

#[tokio::test]
async fn a_withdrawn_key_takes_its_cached_signatures_along() {
    let world = World::new();
    let token = world.token(json!({ "exp": world.now() + 3600 }));
    world.send(&token).await.expect("good");
    // The same id, another key.
    world.server.now_answers(Ok(&TokenSigner::generate(KID).unwrap().jwks()));
    world.clock.advance(Duration::from_secs(600));
    world.authenticator.refresh_keys().await;
    world.refused("replaced", &token, TokenFault::Signature).await;
    world.server.now_answers(Ok(&rotated().jwks()));
    world.clock.advance(Duration::from_secs(600));
    world.authenticator.refresh_keys().await;
    world.refused("withdrawn", &token, TokenFault::UnknownKey).await;
}

#[tokio::test]
async fn a_bad_answer_leaves_the_known_keys() {
    let world = World::new();
    let token = world.token(json!({ "exp": world.now() + 3600 }));
    world.send(&token).await.expect("good");
    let huge = json!({ "keys": world.signer.jwks()["keys"], "x": "x".repeat(300_000) });
    let mut private = world.signer.jwks();
    private["keys"][0]["d"] = json!("AAAA");
    for bad in [json!([]), json!({}), json!({ "keys": [] }), json!({ "keys": {} }), json!({ "keys": ["x"] }), huge, private] {
        world.server.now_answers(Ok(&bad));
        world.clock.advance(Duration::from_secs(30));
        world.refused("unknown kid", &rotated().mint(&world.claims(json!({}))).unwrap(), TokenFault::UnknownKey).await;
        world.send(&token).await.expect("still good");
        assert!(matches!(world.authenticator.keys_status()[0].state, KeyState::Stale(_)));
    }
    assert_eq!(8, world.server.asked());
}

#[tokio::test]
async fn a_key_file_is_read_at_start_and_again_for_an_unknown_kid() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let (first, second) = (TokenSigner::generate(KID).unwrap(), rotated());
    std::fs::write(&path, first.jwks().to_string()).unwrap();
    let mut world = World::with(IssuerSettings { keys: KeySource::File(path.clone()), ..issuer() }, clients());
    assert_eq!(KeyState::Fresh, world.authenticator.keys_status()[0].state);
    world.signer = first;
    world.send(&world.token(json!({}))).await.expect("good");
    std::fs::write(&path, second.jwks().to_string()).unwrap();
    world.signer = second;
    world.send(&world.token(json!({}))).await.expect("the new key");
    assert_eq!(0, world.server.asked());
    std::fs::write(&path, "{").unwrap();
    let settings = IssuerSettings { keys: KeySource::File(path), ..issuer() };
    let broken = Verifier::new(vec![settings], Arc::clone(&world.server) as _, Arc::clone(&world.clock) as _);
    assert!(matches!(broken, Err(IdentityError::KeySet { .. })));
}

#[tokio::test]
async fn rsa_and_ed25519_tokens_are_verified_by_their_own_algorithm_only() {
    let world = World::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let (_, public) = RSAPublicKey::from_der(rsa.public_key().as_ref()).unwrap();
    let modulus: Vec<u8> = public.modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
    let ed = Ed25519KeyPair::generate().unwrap();
    world.server.now_answers(Ok(&json!({ "keys": [
        { "kty": "RSA", "kid": "rsa", "use": "sig", "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(public.exponent) },
        { "kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(ed.public_key()) },
        { "kty": "oct", "kid": "other kinds are passed over" },
        { "kty": "EC", "crv": "P-384", "kid": "p384" },
    ] })));
    let claims = encoded(&world.claims(json!({})).to_string());
    let input = |alg: &str, kid: &str| format!("{}.{claims}", encoded(&json!({ "alg": alg, "kid": kid }).to_string()));
    let with_rsa = |input: String| {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let with_ed = |input: String| format!("{input}.{}", URL_SAFE_NO_PAD.encode(ed.sign(input.as_bytes())));
    world.send(&with_rsa(input("RS256", "rsa"))).await.expect("rsa");
    world.send(&with_ed(input("EdDSA", "ed"))).await.expect("ed25519");
    world.refused("the other's key", &with_rsa(input("RS256", "ed")), TokenFault::Algorithm).await;
    world.refused("the other's algorithm", &with_ed(input("RS256", "ed")), TokenFault::Algorithm).await;
    world.refused("pss", &with_rsa(input("PS256", "rsa")), TokenFault::Algorithm).await;
    world.refused("a key of another kind", &with_ed(input("EdDSA", "p384")), TokenFault::UnknownKey).await;

    let narrow = World::with(IssuerSettings { algorithms: vec![Algorithm::Es256], ..issuer() }, clients());
    narrow.refused("not allowed for this issuer", &with_rsa(input("RS256", "rsa")), TokenFault::Algorithm).await;
    assert_eq!(0, narrow.server.asked());
}

#[test]
fn keys_that_are_weak_misused_or_ambiguous_are_not_taken() {
    let good = TokenSigner::generate(KID).unwrap().jwks()["keys"][0].clone();
    let with = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        json!({ "keys": [key] })
    };
    let parse = |set: &Value| KeySet::parse(set.to_string().as_bytes()).map(|_| ());
    assert_eq!(Ok(()), parse(&with("key_ops", json!(["verify"]))));
    let rsa = |n: Vec<u8>, e: &str| json!({ "keys": [{ "kty": "RSA", "kid": "r", "n": URL_SAFE_NO_PAD.encode(n), "e": e }] });
    for (case, set) in [
        ("for encryption", with("use", json!("enc"))),
        ("use a list", with("use", json!(["sig"]))),
        ("for signing only", with("key_ops", json!(["sign"]))),
        ("for another algorithm", with("alg", json!("ES384"))),
        ("for a symmetric algorithm", with("alg", json!("HS256"))),
        ("another curve", with("crv", json!("P-384"))),
        ("a short coordinate", with("x", json!("AAAA"))),
        ("padding", with("x", json!(format!("{}=", good["x"].as_str().unwrap())))),
        ("kid a number", with("kid", json!(1))),
        ("private", with("d", json!("AAAA"))),
        ("symmetric", with("k", json!("AAAA"))),
        ("one kid twice", json!({ "keys": [good.clone(), good.clone()] })),
        ("101 keys", json!({ "keys": vec![json!({ "kty": "oct" }); 101] })),
        ("rsa of 1024 bits", rsa(vec![0xc5; 128], "AQAB")),
        ("rsa of 1024 bits, padded with zeros", rsa([vec![0; 128], vec![0xc5; 128]].concat(), "AQAB")),
        ("rsa with exponent 1", rsa(vec![0xc5; 256], "AQ")),
        ("rsa with an even exponent", rsa(vec![0xc5; 256], "Ag")),
    ] {
        parse(&set).expect_err(case);
    }
    let twice = r#"{"keys":[],"keys":[]}"#;
    KeySet::parse(twice.as_bytes()).map(|_| ()).expect_err("a member twice");
}
