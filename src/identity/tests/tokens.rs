//! Rows 84 to 94 of the attack catalogue, one line a case: each token differs from a good one in one thing.

use super::*;

#[tokio::test]
async fn good_tokens_of_each_spelling_are_taken() {
    let world = World::new();
    for changes in [
        json!({}),
        json!({ "aud": [AUDIENCE] }),
        json!({ "nbf": null, "iat": null }),
        json!({ "exp": world.now() as f64 + 0.5 }),
        json!({ "typ": "Bearer", "nonce": "n" }),
        json!({ "token_use": "access" }),
        json!({ "exp": world.now() - 29, "nbf": world.now() + 30, "iat": world.now() + 30 }),
    ] {
        world.send(&world.token(changes.clone())).await.unwrap_or_else(|error| panic!("{changes}: {error}"));
    }
    world.send(&world.token(json!({ "nonce": "n" }))).await.expect("the header says that it is an access token");
    for header in [
        json!({ "alg": "ES256", "kid": KID }),
        json!({ "alg": "ES256" }),
        json!({ "alg": "ES256", "kid": KID, "typ": "JWT" }),
        json!({ "alg": "ES256", "kid": KID, "typ": "application/at+jwt" }),
        // Ignored, never fetched: the double asserts that only the configured address is asked.
        json!({ "alg": "ES256", "kid": KID, "jku": "https://evil.example/keys", "x5u": "https://evil.example/x", "jwk": { "kty": "oct", "k": "AA" } }),
    ] {
        world.send(&world.token_under(&header)).await.unwrap_or_else(|error| panic!("{header}: {error}"));
    }
    let mut lower = HeaderMap::new();
    lower.insert(AUTHORIZATION, HeaderValue::try_from(format!("bearer {}", world.token(json!({})))).unwrap());
    world.authenticator.authenticate(Some(&world.crm), &lower, here()).await.expect("the scheme has no case");
}

#[tokio::test]
async fn claims_that_are_not_exactly_right_are_refused() {
    let world = World::new();
    let now = world.now();
    for (case, changes, fault) in [
        ("iss missing", json!({ "iss": null }), TokenFault::Issuer),
        ("iss of somebody else", json!({ "iss": "https://login.example.org/" }), TokenFault::Issuer),
        ("iss without the slash", json!({ "iss": "https://login.example.com" }), TokenFault::Issuer),
        ("iss in other case", json!({ "iss": "https://LOGIN.example.com/" }), TokenFault::Issuer),
        ("iss as a list", json!({ "iss": [ISSUER] }), TokenFault::Issuer),
        ("aud missing", json!({ "aud": null }), TokenFault::Audience),
        ("aud of another api", json!({ "aud": "https://other.example.com" }), TokenFault::Audience),
        ("aud a prefix", json!({ "aud": "https://gw.example.co" }), TokenFault::Audience),
        ("aud longer", json!({ "aud": "https://gw.example.com/" }), TokenFault::Audience),
        ("aud ours among others", json!({ "aud": [AUDIENCE, "https://other.example.com"] }), TokenFault::Audience),
        ("aud ours twice", json!({ "aud": [AUDIENCE, AUDIENCE] }), TokenFault::Audience),
        ("aud an empty list", json!({ "aud": [] }), TokenFault::Audience),
        ("aud an object", json!({ "aud": { "aud": AUDIENCE } }), TokenFault::Audience),
        ("exp missing", json!({ "exp": null }), TokenFault::Time),
        ("exp past", json!({ "exp": now - 61 }), TokenFault::Time),
        ("exp at the end of the leeway", json!({ "exp": now - 30 }), TokenFault::Time),
        ("exp a text", json!({ "exp": (now + 300).to_string() }), TokenFault::Time),
        ("exp negative", json!({ "exp": -1 }), TokenFault::Time),
        ("exp a list", json!({ "exp": [now + 300] }), TokenFault::Time),
        ("exp endless", json!({ "exp": 1e300 }), TokenFault::Time),
        ("nbf ahead", json!({ "nbf": now + 61 }), TokenFault::Time),
        ("nbf a text", json!({ "nbf": "0" }), TokenFault::Time),
        ("iat ahead", json!({ "iat": now + 61 }), TokenFault::Time),
        ("an id token", json!({ "at_hash": "x" }), TokenFault::Type),
        ("an id token by typ", json!({ "typ": "ID" }), TokenFault::Type),
        ("a refresh token", json!({ "typ": "Refresh" }), TokenFault::Type),
        ("an id token by token_use", json!({ "token_use": "id" }), TokenFault::Type),
        ("a logout token", json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} } }), TokenFault::Type),
        ("not bound", json!({ "cnf": null }), TokenFault::Confirmation),
        ("bound to nothing", json!({ "cnf": {} }), TokenFault::Confirmation),
        ("bound to a key", json!({ "cnf": { "jkt": "x" } }), TokenFault::Confirmation),
        ("bound to another certificate", json!({ "cnf": { "x5t#S256": encoded(&"x".repeat(32)) } }), TokenFault::Confirmation),
        ("bound in other spelling", json!({ "cnf": { "x5t#S256": format!("{}=", world.crm.thumbprint()) } }), TokenFault::Confirmation),
        ("client missing", json!({ "azp": null }), TokenFault::UnknownClient),
        ("client not registered", json!({ "azp": "crm2" }), TokenFault::UnknownClient),
        ("client in other case", json!({ "azp": "CRM" }), TokenFault::UnknownClient),
        ("client a list", json!({ "azp": ["crm"] }), TokenFault::Claim),
        ("client empty", json!({ "azp": "" }), TokenFault::Claim),
        ("employee a number", json!({ "sub": 17 }), TokenFault::Claim),
        ("roles an object", json!({ "roles": { "on-call": true } }), TokenFault::Claim),
        ("roles with a number", json!({ "roles": ["on-call", 1] }), TokenFault::Claim),
        ("purposes a number", json!({ "authorization_details": 1 }), TokenFault::Claim),
        ("purposes nested", json!({ "authorization_details": [["sales"]] }), TokenFault::Claim),
        ("purposes an object", json!({ "authorization_details": { "purpose": "sales" } }), TokenFault::Claim),
        ("purposes with nothing among them", json!({ "authorization_details": ["sales", null] }), TokenFault::Claim),
        ("purposes with yes among them", json!({ "authorization_details": [true] }), TokenFault::Claim),
        ("details with both", json!({ "authorization_details": [{ "type": "x", "purpose": "sales", "purposes": ["sales"] }] }), TokenFault::Claim),
        ("details with a list as a purpose", json!({ "authorization_details": [{ "type": "x", "purpose": ["sales"] }] }), TokenFault::Claim),
        ("details with a text as purposes", json!({ "authorization_details": [{ "type": "x", "purposes": "sales" }] }), TokenFault::Claim),
        ("details with a number", json!({ "authorization_details": [{ "type": "x", "purposes": ["sales", 1] }] }), TokenFault::Claim),
        ("details after good ones", json!({ "authorization_details": [{ "purpose": "sales" }, { "purpose": null }] }), TokenFault::Claim),
        ("actors a list", json!({ "act": [{ "sub": "sales-copilot" }] }), TokenFault::Claim),
        ("actor with an empty name", json!({ "act": { "sub": "" } }), TokenFault::Claim),
        ("actor with two names", json!({ "act": { "sub": ["a", "b"] } }), TokenFault::Claim),
        ("inner actor nothing", json!({ "act": { "sub": "a", "act": null } }), TokenFault::Claim),
        ("inner actor a text", json!({ "act": { "sub": "a", "act": "b" } }), TokenFault::Claim),
        ("inner actor a list", json!({ "act": { "sub": "a", "act": { "sub": "b", "act": [{ "sub": "c" }] } } }), TokenFault::Claim),
        ("actor a text", json!({ "act": "sales-copilot" }), TokenFault::Claim),
        ("actor without a name", json!({ "act": {} }), TokenFault::Claim),
        ("actor a number", json!({ "act": { "sub": 1 } }), TokenFault::Claim),
        ("actor of another issuer", json!({ "act": { "sub": "sales-copilot", "iss": "https://other.example/" } }), TokenFault::Claim),
        ("inner actor without a name", json!({ "act": { "sub": "a", "act": { "name": "b" } } }), TokenFault::Claim),
    ] {
        world.refused(case, &world.token(changes), fault).await;
    }
    let nested = |actors: usize| (1..actors).fold(json!({ "sub": "a" }), |inner, _| json!({ "sub": "a", "act": inner }));
    assert_eq!(8, world.send(&world.token(json!({ "act": nested(8) }))).await.expect("as many as there may be").inner_actors().len());
    for actors in [9, 10, 60] {
        world.refused("actors without end", &world.token(json!({ "act": nested(actors) })), TokenFault::Claim).await;
    }
}

#[tokio::test]
async fn headers_that_choose_their_own_rules_are_refused() {
    let world = World::new();
    for (case, header, fault) in [
        ("none", json!({ "alg": "none", "kid": KID }), TokenFault::Algorithm),
        ("none in other case", json!({ "alg": "nOnE", "kid": KID }), TokenFault::Algorithm),
        ("no alg", json!({ "kid": KID }), TokenFault::Algorithm),
        ("alg a list", json!({ "alg": ["ES256"], "kid": KID }), TokenFault::Algorithm),
        ("alg in other case", json!({ "alg": "es256", "kid": KID }), TokenFault::Algorithm),
        ("symmetric", json!({ "alg": "HS256", "kid": KID }), TokenFault::Algorithm),
        ("another size", json!({ "alg": "ES384", "kid": KID }), TokenFault::Algorithm),
        ("another kind than the key's", json!({ "alg": "RS256", "kid": KID }), TokenFault::Algorithm),
        ("another kind than the key's, again", json!({ "alg": "EdDSA", "kid": KID }), TokenFault::Algorithm),
        ("kid unknown", json!({ "alg": "ES256", "kid": "k2" }), TokenFault::UnknownKey),
        ("kid in other case", json!({ "alg": "ES256", "kid": "K1" }), TokenFault::UnknownKey),
        ("kid empty", json!({ "alg": "ES256", "kid": "" }), TokenFault::UnknownKey),
        ("kid a path", json!({ "alg": "ES256", "kid": "../../dev/null" }), TokenFault::UnknownKey),
        ("kid sql", json!({ "alg": "ES256", "kid": "k1' or '1'='1" }), TokenFault::UnknownKey),
        ("kid a number", json!({ "alg": "ES256", "kid": 1 }), TokenFault::UnknownKey),
        ("kid huge", json!({ "alg": "ES256", "kid": "k".repeat(300) }), TokenFault::UnknownKey),
        ("crit", json!({ "alg": "ES256", "kid": KID, "crit": ["exp"] }), TokenFault::Extension),
        ("b64", json!({ "alg": "ES256", "kid": KID, "b64": false }), TokenFault::Extension),
        ("b64 as it is", json!({ "alg": "ES256", "kid": KID, "b64": true }), TokenFault::Extension),
        ("zip", json!({ "alg": "ES256", "kid": KID, "zip": "DEF" }), TokenFault::Extension),
        ("encrypted", json!({ "alg": "ES256", "kid": KID, "enc": "A256GCM" }), TokenFault::Extension),
        ("nested", json!({ "alg": "ES256", "kid": KID, "cty": "JWT" }), TokenFault::Extension),
        ("a proof", json!({ "alg": "ES256", "kid": KID, "typ": "dpop+jwt" }), TokenFault::Type),
        ("a logout token", json!({ "alg": "ES256", "kid": KID, "typ": "logout+jwt" }), TokenFault::Type),
        ("typ a number", json!({ "alg": "ES256", "kid": KID, "typ": 1 }), TokenFault::Type),
    ] {
        world.refused(case, &world.token_under(&header), fault).await;
    }
}

#[tokio::test]
async fn id_tokens_of_issuers_that_name_no_type_are_told_by_their_nonce() {
    let world = World::new();
    let claims = world.claims(json!({ "nonce": "n" })).to_string();
    for header in [json!({ "alg": "ES256", "kid": KID }), json!({ "alg": "ES256", "kid": KID, "typ": "JWT" })] {
        let token = world.signer.sign(&header.to_string(), &claims).unwrap();
        world.refused("an id token", &token, TokenFault::Type).await;
    }
}

#[tokio::test]
async fn tokens_signed_by_others_are_refused() {
    let world = World::new();
    let good = world.token(json!({}));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let stranger = TokenSigner::generate(KID).unwrap();
    let strangers = stranger.mint(&world.claims(json!({}))).unwrap();
    world.refused("another key under the same kid", &strangers, TokenFault::Signature).await;
    let embedded = json!({ "alg": "ES256", "kid": KID, "jwk": stranger.jwks()["keys"][0] });
    let embedded = stranger.sign(&embedded.to_string(), &world.claims(json!({})).to_string()).unwrap();
    world.refused("with its key in the header", &embedded, TokenFault::Signature).await;
    for (case, bytes) in [("zeros", vec![0; 64]), ("short", vec![1; 63]), ("long", vec![1; 65]), ("der", vec![0x30; 70]), ("one byte", vec![1])] {
        world.refused(case, &format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes)), TokenFault::Signature).await;
    }
    world.refused("no signature", &format!("{signed}."), TokenFault::Malformed).await;
    world.refused("no signature, no dot", signed, TokenFault::Malformed).await;
    let header = encoded(r#"{"alg":"none"}"#);
    world.refused("none and unsigned", &format!("{header}.{}.", encoded(&world.claims(json!({})).to_string())), TokenFault::Algorithm).await;

    // HS256 keyed with the public key: the algorithm does not even exist here.
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, world.signer.jwks().to_string().as_bytes());
    let input = format!("{}.{}", encoded(&json!({ "alg": "HS256", "kid": KID }).to_string()), signed.split_once('.').unwrap().1);
    let tag = aws_lc_rs::hmac::sign(&key, input.as_bytes());
    world.refused("confused", &format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag)), TokenFault::Algorithm).await;

    let other_claims = encoded(&world.claims(json!({ "azp": "helpdesk" })).to_string());
    let swapped = format!("{}.{other_claims}.{signature}", signed.split_once('.').unwrap().0);
    world.refused("claims swapped", &swapped, TokenFault::Signature).await;
    world.send(&good).await.expect("the original is still good");
}

#[tokio::test]
async fn only_one_spelling_of_a_token_exists() {
    let world = World::new();
    let good = world.token(json!({}));
    let header = json!({ "alg": "ES256", "kid": KID }).to_string();
    let claims = world.claims(json!({})).to_string();
    let sign = |header: &str, claims: &str| world.signer.sign(header, claims).unwrap();
    for (case, token, fault) in [
        ("padding", format!("{good}=="), TokenFault::Malformed),
        ("the other alphabet", good.replacen('.', "+.", 1), TokenFault::Malformed),
        ("four parts", format!("{good}.AAAA"), TokenFault::Malformed),
        ("five parts", format!("{good}.AAAA.AAAA"), TokenFault::Malformed),
        ("no claims", sign(&header, ""), TokenFault::Malformed),
        ("claims a list", sign(&header, "[]"), TokenFault::Malformed),
        ("claims a text", sign(&header, r#""x""#), TokenFault::Malformed),
        ("claims with more behind", sign(&header, &format!("{claims}{{}}")), TokenFault::Malformed),
        ("claims with a byte order mark", sign(&header, &format!("\u{feff}{claims}")), TokenFault::Malformed),
        ("claims with a comment", sign(&header, &format!("/**/{claims}")), TokenFault::Malformed),
        ("a claim twice", sign(&header, &claims.replacen('{', r#"{"azp":"helpdesk","#, 1)), TokenFault::DuplicateMember),
        ("a claim twice, escaped", sign(&header, &claims.replacen('{', r#"{"\u0061zp":"helpdesk","#, 1)), TokenFault::DuplicateMember),
        ("a claim twice inside", sign(&header, &claims.replacen('{', r#"{"act":{"sub":"a","sub":"b"},"#, 1)), TokenFault::DuplicateMember),
        ("a header member twice", sign(r#"{"alg":"ES256","alg":"ES256"}"#, &claims), TokenFault::DuplicateMember),
        ("too deep", sign(&header, &claims.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(200), "]".repeat(200)), 1)), TokenFault::Malformed),
        ("too long", world.token(json!({ "x": "x".repeat(17_000) })), TokenFault::TooLong),
    ] {
        world.refused(case, &token, fault).await;
    }
    // 64 bytes are 86 characters, the last of which has four bits to spare: 15 other spellings of the same bytes.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (start, last) = good.split_at(good.len() - 1);
    let place = alphabet.find(last).unwrap();
    world.send(&good).await.expect("good, and now cached");
    for other in alphabet.chars().skip(place / 16 * 16).take(16).filter(|c| !last.contains(*c)) {
        world.refused("stray bits", &format!("{start}{other}"), TokenFault::Malformed).await;
    }
}

#[tokio::test]
async fn one_authorization_header_with_one_bearer_token() {
    let world = World::new();
    let good = world.token(json!({}));
    for value in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer  {good}"),
        format!("Bearer {good} "),
        format!("Bearer {good}, Bearer {good}"),
        format!("Bearer\t{good}"),
        format!(" Bearer {good}"),
        format!("Token {good}"),
        "Basic Y3JtOmNybQ==".to_owned(),
        good.clone(),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::try_from(&value).unwrap());
        let error = world.authenticator.authenticate(Some(&world.crm), &headers, here()).await.expect_err(&value);
        assert_eq!(AuthError::TokenInvalid(TokenFault::Scheme), error, "{value:?}: the certificate does not make up for it");
    }
    // A certificate's token is no key's.
    let mut dpop = HeaderMap::new();
    dpop.insert(AUTHORIZATION, HeaderValue::try_from(format!("DPoP {good}")).unwrap());
    let error = world.authenticator.authenticate(Some(&world.crm), &dpop, here()).await.expect_err("dpop");
    assert_eq!(AuthError::TokenInvalid(TokenFault::Confirmation), error);
    let mut twice = bearer(&good);
    twice.append(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {good}")).unwrap());
    let error = world.authenticator.authenticate(Some(&world.crm), &twice, here()).await.expect_err("two");
    assert_eq!(AuthError::TokenInvalid(TokenFault::TwoHeaders), error);
    let mut elsewhere = HeaderMap::new();
    elsewhere.insert("x-forwarded-access-token", HeaderValue::try_from(&good).unwrap());
    elsewhere.insert("cookie", HeaderValue::try_from(format!("access_token={good}")).unwrap());
    assert_eq!(AuthError::Unauthenticated, world.authenticator.authenticate(None, &elsewhere, here()).await.expect_err("elsewhere"));
}

#[tokio::test]
async fn times_and_binding_are_judged_on_every_request_also_for_a_cached_signature() {
    let world = World::new();
    let token = world.token(json!({}));
    world.send(&token).await.expect("good");
    let thief = certificate(&[CRM], &[], "crm");
    let stolen = world.authenticator.authenticate(Some(&thief), &bearer(&token), here()).await.expect_err("stolen");
    assert_eq!(AuthError::TokenInvalid(TokenFault::Confirmation), stolen);
    let bare = world.authenticator.authenticate(None, &bearer(&token), here()).await.expect_err("no certificate");
    assert_eq!(AuthError::TokenInvalid(TokenFault::Confirmation), bare);
    world.clock.advance(Duration::from_secs(329));
    world.send(&token).await.expect("within the leeway");
    world.clock.advance(Duration::from_secs(1));
    world.refused("expired while connected", &token, TokenFault::Time).await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_revives_no_token() {
    let world = World::new();
    let token = world.token(json!({}));
    let start = world.clock.now();
    world.send(&token).await.expect("good");
    assert_eq!(None, world.authenticator.clock_behind());
    world.clock.advance(Duration::from_secs(400));
    world.refused("expired", &token, TokenFault::Time).await;
    world.clock.step_to(start);
    world.refused("expired, clock set back", &token, TokenFault::Time).await;
    assert_eq!(Some(Duration::from_secs(400)), world.authenticator.clock_behind());
    world.clock.advance(Duration::from_secs(100));
    world.refused("time goes on from where it was", &world.token(json!({ "exp": world.now() + 300 })), TokenFault::Time).await;
}

#[tokio::test]
async fn without_a_sender_constraint_a_cnf_is_still_obeyed() {
    let world = World::with(IssuerSettings { sender_constraint: SenderConstraint::None, ..issuer() }, clients());
    let free = world.token(json!({ "cnf": null }));
    world.authenticator.authenticate(None, &bearer(&free), here()).await.expect("a bearer token");
    let bound = world.token(json!({}));
    assert_eq!(
        AuthError::TokenInvalid(TokenFault::Confirmation),
        world.authenticator.authenticate(None, &bearer(&bound), here()).await.expect_err("bound, no certificate")
    );
    let proof = world.token(json!({ "cnf": { "jkt": "x" } }));
    assert_eq!(
        AuthError::TokenInvalid(TokenFault::Confirmation),
        world.authenticator.authenticate(None, &bearer(&proof), here()).await.expect_err("a binding that cannot be checked")
    );
}

#[tokio::test]
async fn staff_tokens_give_their_groups() {
    let world = World::with(IssuerSettings { sender_constraint: SenderConstraint::None, ..issuer() }, clients());
    let staff = IssuerSettings { sender_constraint: SenderConstraint::None, audience: "https://gw.example.com/admin".to_owned(), ..issuer() };
    let verifier = Verifier::new(vec![staff], Arc::clone(&world.server) as _, Arc::clone(&world.clock) as _).unwrap();
    let changes = json!({ "cnf": null, "aud": "https://gw.example.com/admin", "roles": ["privacy-office", "platform"] });
    let token = verifier.verify_token(&bearer(&world.token(changes)), None).await.expect("good");
    assert_eq!(vec!["privacy-office", "platform"], token.groups());
    assert_eq!((Some("u-17"), Some("crm")), (token.subject(), token.client()));
    assert!(!format!("{token:?}").contains("u-17"), "no personal data in Debug");
    let data_plane = world.token(json!({ "cnf": null }));
    assert_eq!(
        AuthError::TokenInvalid(TokenFault::Audience),
        verifier.verify_token(&bearer(&data_plane), None).await.expect_err("a token of the data plane")
    );
    assert_eq!(AuthError::Unauthenticated, verifier.verify_token(&HeaderMap::new(), None).await.expect_err("none"));
}
