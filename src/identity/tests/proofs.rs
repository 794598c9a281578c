//! Proofs of possession (RFC 9449): a client that makes them with keys of its own, and each way in which one is not good.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;

use super::super::keys::brought;
use super::*;

/// The key of a client.
enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl Key {
    fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
            Self::Rs256(_) => "RS256",
        }
    }

    fn jwk(&self) -> Value {
        match self {
            Self::Es256(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]) })
            }
            Self::EdDsa(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key()) }),
            Self::Rs256(pair) => {
                let (_, public) = RSAPublicKey::from_der(pair.public_key().as_ref()).unwrap();
                let modulus: Vec<u8> = public.modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
                json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(public.exponent) })
            }
        }
    }

    /// RFC 7638, in its own words: the members that a key of this kind needs, in the order of their names, without white space.
    fn thumbprint(&self) -> String {
        let mut jwk = self.jwk();
        jwk.sort_all_objects();
        hash(&jwk.to_string())
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let input = format!("{}.{}", encoded(&header.to_string()), encoded(&claims.to_string()));
        let signature = match self {
            Self::Es256(pair) => pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap().as_ref().to_vec(),
            Self::EdDsa(pair) => pair.sign(input.as_bytes()).as_ref().to_vec(),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

fn dpop() -> IssuerSettings {
    IssuerSettings { sender_constraint: SenderConstraint::Dpop, ..issuer() }
}

/// A client without certificate, with its key and a token that is bound to it.
struct Wallet {
    world: World,
    key: Key,
    token: String,
    made: AtomicUsize,
}

impl Wallet {
    fn new() -> Self {
        Self::with(Key::es256())
    }

    fn with(key: Key) -> Self {
        let world = World::with(dpop(), clients());
        let token = world.token(json!({ "azp": "tokens-only", "cnf": { "jkt": key.thumbprint() } }));
        Self { world, key, token, made: AtomicUsize::new(0) }
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": self.key.algorithm(), "jwk": self.key.jwk() })
    }

    /// Of a good proof for [`here`], with an id of its own.
    fn claims(&self) -> Value {
        let jti = format!("proof-{}", self.made.fetch_add(1, Ordering::Relaxed));
        json!({ "htm": "GET", "htu": "https://gw.example.com/crm/customers/0044", "iat": self.world.now(), "jti": jti, "ath": hash(&self.token) })
    }

    fn proof(&self) -> String {
        self.key.sign(&self.header(), &self.claims())
    }

    /// A proof whose claims or header differ in one member; a `null` takes it away.
    fn other(&self, part: &str, member: &str, value: Value) -> String {
        let (mut header, mut claims) = (self.header(), self.claims());
        let members = if part == "header" { &mut header } else { &mut claims };
        if value.is_null() {
            members.as_object_mut().unwrap().remove(member);
        } else {
            members[member] = value;
        }
        self.key.sign(&header, &claims)
    }

    async fn show(&self, scheme: &str, proofs: &[&str]) -> Result<Principal, AuthError> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("{scheme} {}", self.token)).unwrap());
        for proof in proofs {
            headers.append("dpop", HeaderValue::try_from(*proof).unwrap());
        }
        self.world.authenticator.authenticate(None, &headers, here()).await
    }

    async fn refused(&self, case: &str, proof: &str, fault: ProofFault) {
        assert_eq!(AuthError::TokenInvalid(TokenFault::Proof(fault)), self.show("DPoP", &[proof]).await.expect_err(case), "{case}");
    }
}

#[tokio::test]
async fn a_proof_of_each_algorithm_is_taken_once() {
    for key in [Key::es256(), Key::EdDsa(Ed25519KeyPair::generate().unwrap()), Key::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())] {
        let algorithm = key.algorithm();
        let wallet = Wallet::with(key);
        let proof = wallet.proof();
        let principal = wallet.show("DPoP", &[&proof]).await.expect(algorithm);
        assert_eq!("tokens-only", principal.caller().client.as_str());
        wallet.refused("once more", &proof, ProofFault::Replayed).await;
        wallet.show("dpop", &[&wallet.proof()]).await.expect("another proof, the scheme has no case");
        // Signed anew, so that it is another text with the same id.
        let mut claims = wallet.claims();
        claims["jti"] = json!("proof-0");
        wallet.refused("the same id", &wallet.key.sign(&wallet.header(), &claims), ProofFault::Replayed).await;
    }
}

#[tokio::test]
async fn a_proof_for_anything_else_is_refused() {
    use ProofFault::{Address, Key as BadKey, Malformed, Method as OtherMethod, OtherKey, Signature, Time, Token};
    let wallet = Wallet::new();
    let now = wallet.world.now();
    let with = |member: &str, value: Value| {
        let mut jwk = wallet.key.jwk();
        jwk[member] = value;
        jwk
    };
    for (case, part, member, value, fault) in [
        ("no type", "header", "typ", Value::Null, Malformed),
        ("an access token's type", "header", "typ", json!("at+jwt"), Malformed),
        ("any jwt", "header", "typ", json!("JWT"), Malformed),
        ("none", "header", "alg", json!("none"), Malformed),
        ("no algorithm", "header", "alg", Value::Null, Malformed),
        ("symmetric", "header", "alg", json!("HS256"), Malformed),
        ("another size", "header", "alg", json!("ES384"), Malformed),
        ("another algorithm than the key's", "header", "alg", json!("EdDSA"), BadKey),
        ("crit", "header", "crit", json!(["b64"]), Malformed),
        ("no key", "header", "jwk", Value::Null, BadKey),
        ("a key by name", "header", "jwk", json!("k1"), BadKey),
        ("a private key", "header", "jwk", with("d", json!("AAAA")), BadKey),
        ("a private member of another kind", "header", "jwk", with("qi", json!("AAAA")), BadKey),
        ("a symmetric key", "header", "jwk", json!({ "kty": "oct", "k": "AAAA" }), BadKey),
        ("a key for encryption", "header", "jwk", with("use", json!("enc")), BadKey),
        ("another curve", "header", "jwk", with("crv", json!("P-384")), BadKey),
        ("a point that is not on the curve", "header", "jwk", with("y", json!(URL_SAFE_NO_PAD.encode([1; 32]))), OtherKey),
        ("no method", "claims", "htm", Value::Null, Malformed),
        ("another method", "claims", "htm", json!("POST"), OtherMethod),
        ("the method in other case", "claims", "htm", json!("get"), OtherMethod),
        ("no address", "claims", "htu", Value::Null, Malformed),
        ("another customer", "claims", "htu", json!("https://gw.example.com/crm/customers/0045"), Address),
        ("another host", "claims", "htu", json!("https://gw.example.org/crm/customers/0044"), Address),
        ("another port", "claims", "htu", json!("https://gw.example.com:8443/crm/customers/0044"), Address),
        ("in the clear", "claims", "htu", json!("http://gw.example.com/crm/customers/0044"), Address),
        ("a path alone", "claims", "htu", json!("/crm/customers/0044"), Address),
        ("below", "claims", "htu", json!("https://gw.example.com/crm/customers/0044/"), Address),
        ("with a user", "claims", "htu", json!("https://crm@gw.example.com/crm/customers/0044"), Address),
        ("no time", "claims", "iat", Value::Null, Malformed),
        ("a time as text", "claims", "iat", json!(now.to_string()), Malformed),
        ("before the start", "claims", "iat", json!(now - 1), Time),
        ("ahead", "claims", "iat", json!(now + 11), Time),
        ("no id", "claims", "jti", Value::Null, Malformed),
        ("an empty id", "claims", "jti", json!(""), Malformed),
        ("a number as id", "claims", "jti", json!(7), Malformed),
        ("an endless id", "claims", "jti", json!("j".repeat(257)), Malformed),
        ("no token", "claims", "ath", Value::Null, Malformed),
        ("another token", "claims", "ath", json!(hash("another")), Token),
        ("a padded hash", "claims", "ath", json!(format!("{}=", hash(&wallet.token))), Token),
    ] {
        wallet.refused(case, &wallet.other(part, member, value), fault).await;
    }
    let stranger = Key::es256();
    let foreign = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": stranger.jwk() });
    wallet.refused("another's key", &stranger.sign(&foreign, &wallet.claims()), OtherKey).await;
    wallet.refused("another's signature", &stranger.sign(&wallet.header(), &wallet.claims()), Signature).await;
    let (signed, _) = wallet.proof().rsplit_once('.').map(|(signed, signature)| (signed.to_owned(), signature.to_owned())).unwrap();
    wallet.refused("a zero signature", &format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64])), Signature).await;
    for text in ["", "x", "a.b.c", &wallet.token, &format!("{} ", wallet.proof())] {
        wallet.refused(text, text, Malformed).await;
    }
    let twice = wallet.key.sign(&wallet.header(), &wallet.claims());
    let (header, rest) = twice.split_once('.').unwrap();
    let doubled = wallet.header().to_string().replacen('{', r#"{"typ":"dpop+jwt","#, 1);
    wallet.refused("a header member twice", &format!("{}.{rest}", encoded(&doubled)), Malformed).await;
    assert_eq!(header, encoded(&wallet.header().to_string()));

    // What is only written otherwise is the same.
    for htu in ["HTTPS://GW.example.com:443/crm/customers/0044", "https://gw.example.com/crm/customers/%30044?page=2#x"] {
        wallet.show("DPoP", &[&wallet.other("claims", "htu", json!(htu))]).await.unwrap_or_else(|error| panic!("{htu}: {error}"));
    }
    wallet.show("DPoP", &[&wallet.other("claims", "iat", json!(now + 10))]).await.expect("a clock that is a little ahead");
    let mut known = wallet.header();
    known["jwk"]["kid"] = json!("mine");
    wallet.show("DPoP", &[&wallet.key.sign(&known, &wallet.claims())]).await.expect("a name for the key changes no thumbprint");
}

#[tokio::test]
async fn a_token_counts_only_as_it_is_bound() {
    let wallet = Wallet::new();
    let proof = wallet.proof();
    let confirmation = Err(AuthError::TokenInvalid(TokenFault::Confirmation));
    let count = Err(AuthError::TokenInvalid(TokenFault::Proof(ProofFault::Count)));
    let shown = async |scheme: &str, proofs: &[&str]| wallet.show(scheme, proofs).await.map(|_| ());
    assert_eq!(confirmation, shown("Bearer", &[]).await, "a bound token as a bearer token");
    assert_eq!(confirmation, shown("Bearer", &[&proof]).await, "with a proof beside it");
    assert_eq!(count, shown("DPoP", &[]).await, "no proof");
    assert_eq!(count, shown("DPoP", &[&proof, &wallet.proof()]).await, "two");
    assert_eq!(
        Err(AuthError::TokenInvalid(TokenFault::Proof(ProofFault::Malformed))),
        shown("DPoP", &[&format!("{proof}, {}", wallet.proof())]).await,
        "a list"
    );
    shown("DPoP", &[&proof]).await.expect("none of these used it up");

    for (case, constraint, cnf, scheme, fine) in [
        ("bound to nothing", SenderConstraint::Dpop, Value::Null, "DPoP", false),
        ("bound to nothing, as a bearer token", SenderConstraint::Dpop, Value::Null, "Bearer", false),
        ("bound to a certificate", SenderConstraint::Dpop, json!({ "x5t#S256": "mine" }), "Bearer", false),
        ("bound to a list", SenderConstraint::Dpop, json!({ "jkt": ["key"] }), "DPoP", false),
        ("bound to another key", SenderConstraint::Dpop, json!({ "jkt": "other" }), "DPoP", false),
        ("bound to a key where a certificate is asked for", SenderConstraint::Mtls, json!({ "jkt": "key" }), "DPoP", false),
        ("bound to both", SenderConstraint::Mtls, json!({ "jkt": "key", "x5t#S256": "mine" }), "DPoP", true),
        ("bound to both, as a bearer token", SenderConstraint::Mtls, json!({ "jkt": "key", "x5t#S256": "mine" }), "Bearer", false),
        ("bound to both, with another's certificate", SenderConstraint::Dpop, json!({ "jkt": "key", "x5t#S256": "other" }), "DPoP", false),
        ("bound though nothing is asked for", SenderConstraint::None, json!({ "jkt": "key" }), "DPoP", true),
        ("the same, as a bearer token", SenderConstraint::None, json!({ "jkt": "key" }), "Bearer", false),
        ("not bound, nothing asked for", SenderConstraint::None, Value::Null, "DPoP", false),
    ] {
        let key = Key::es256();
        let world = World::with(IssuerSettings { sender_constraint: constraint, ..issuer() }, clients());
        let cnf = cnf.to_string().replace("\"key\"", &json!(key.thumbprint()).to_string()).replace("mine", &world.crm.thumbprint());
        let token = world.token(json!({ "cnf": serde_json::from_str::<Value>(&cnf).unwrap() }));
        let peer = world.crm.clone();
        let wallet = Wallet { world, key, token, made: AtomicUsize::new(0) };
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("{scheme} {}", wallet.token)).unwrap());
        headers.insert("dpop", HeaderValue::try_from(wallet.proof()).unwrap());
        let came = wallet.world.authenticator.authenticate(Some(&peer), &headers, here()).await;
        assert_eq!(fine, came.is_ok(), "{case}: {came:?}");
    }
    // A good certificate does not make up for a bad proof.
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("DPoP {}", wallet.token)).unwrap());
    headers.insert("dpop", HeaderValue::try_from(&proof).unwrap());
    let crm = wallet.world.crm.clone();
    wallet.world.authenticator.authenticate(Some(&crm), &headers, here()).await.expect_err("used");
}

#[tokio::test]
async fn proofs_age_and_neither_clock_nor_reload_makes_one_count_twice() {
    let wallet = Wallet::new();
    let (world, start) = (&wallet.world, wallet.world.clock.now());
    let (used, unused) = (wallet.proof(), wallet.proof());
    wallet.show("DPoP", &[&used]).await.expect("good");
    world.clock.advance(Duration::from_secs(30));
    wallet.refused("still known", &used, ProofFault::Replayed).await;
    world.clock.advance(Duration::from_secs(1));
    wallet.refused("old", &used, ProofFault::Time).await;
    wallet.refused("old and unused", &unused, ProofFault::Time).await;
    world.clock.step_to(start);
    wallet.refused("the clock was set back", &used, ProofFault::Time).await;

    // A reload makes a new authenticator with a new sense of time, and the old memory.
    let wallet = Wallet::new();
    let used = wallet.proof();
    wallet.show("DPoP", &[&used]).await.expect("good");
    let (fetch, clock) = (Arc::clone(&wallet.world.server) as _, Arc::clone(&wallet.world.clock) as _);
    let next = Authenticator::new(vec![dpop()], clients(), vocabulary(), fetch, clock, [7; 32]).unwrap();
    let mut wallet = wallet;
    wallet.world.authenticator = next.remembering(&wallet.world.authenticator);
    wallet.refused("after a reload", &used, ProofFault::Replayed).await;
    wallet.show("DPoP", &[&wallet.proof()]).await.expect("another");
}

#[tokio::test]
async fn a_proof_of_somebody_without_a_good_token_is_not_looked_at() {
    let wallet = Wallet::new();
    let proof = wallet.proof();
    let world = &wallet.world;
    for changes in [json!({ "exp": world.now() - 61 }), json!({ "aud": "https://other.example.com" }), json!({ "azp": "nobody" })] {
        let mut claims = json!({ "azp": "tokens-only", "cnf": { "jkt": wallet.key.thumbprint() } });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let token = world.token(claims);
        let bad = Wallet { world: World::with(dpop(), clients()), key: Key::es256(), token, made: AtomicUsize::new(0) };
        bad.show("DPoP", &[&proof]).await.expect_err("bad token");
    }
    wallet.show("DPoP", &[&proof]).await.expect("not used up");
    // Where nobody says what a proof must be made for (the admin listener), none is taken.
    let verifier = Verifier::new(vec![dpop()], Arc::clone(&world.server) as _, Arc::clone(&world.clock) as _).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("DPoP {}", wallet.token)).unwrap());
    headers.insert("dpop", HeaderValue::try_from(wallet.proof()).unwrap());
    let refused = verifier.verify_token(&headers, None).await.expect_err("not taken");
    assert_eq!(AuthError::TokenInvalid(TokenFault::Proof(ProofFault::NotTaken)), refused);
}

#[test]
fn thumbprints_are_those_of_the_standards() {
    let rsa = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    for (standard, jwk, thumbprint) in [
        (
            "RFC 7638, 3.1",
            json!({ "kty": "RSA", "alg": "RS256", "kid": "2011-04-29", "n": rsa, "e": "AQAB" }),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        ),
        (
            "RFC 9449, 6.1",
            json!({ "kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA" }),
            "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
        ),
        (
            "RFC 8037, A.3",
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        ),
    ] {
        let (_, found) = brought(jwk.as_object().unwrap()).expect(standard);
        assert_eq!(thumbprint, found, "{standard}");
    }
    assert_eq!("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo", hash("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"), "RFC 9449, 7.1");
}
