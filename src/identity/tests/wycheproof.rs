//! Project Wycheproof's vectors (<https://github.com/C2SP/wycheproof>), when `../shared/corpora` is there: whole tokens, and the
//! signatures under them. Everything marked invalid must be refused, everything valid under our algorithms must be taken, and what is
//! of another algorithm or encrypted is refused, valid or not. None is left out.

use std::path::PathBuf;

use super::super::keys::KeySet;
use super::super::token::Token;
use super::*;

/// The groups of a file with their tests; `None` where there are no vectors.
fn groups(file: &str) -> Option<Vec<Value>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora/wycheproof");
    if !folder.exists() {
        say(&format!("skipped: no wycheproof vectors on this machine for {file}"));
        return None;
    }
    let document: Value = serde_json::from_str(&std::fs::read_to_string(folder.join(file)).unwrap()).unwrap();
    Some(document["testGroups"].as_array().unwrap().clone())
}

#[expect(clippy::print_stdout, reason = "a test that can be skipped says what it ran")]
fn say(what: &str) {
    println!("{what}");
}

fn each(groups: &[Value]) -> impl Iterator<Item = (&Value, &Value, String)> {
    groups.iter().flat_map(|group| {
        group["tests"].as_array().unwrap().iter().map(move |test| (group, test, format!("{} {} {}", group["type"], test["tcId"], test["comment"])))
    })
}

/// As in [`Verifier`], without claims: the payloads of the vectors are no claims.
fn accepts(keys: &Value, jws: &str) -> bool {
    let Ok(set) = KeySet::parse(keys.to_string().as_bytes()) else { return false };
    let Ok(token) = Token::read_any_payload(jws) else { return false };
    set.key(token.kid.as_deref()).is_some_and(|key| key.verifies(&token))
}

#[test]
fn tokens_marked_invalid_are_refused_and_so_are_those_of_other_kinds() {
    let (mut refused, mut accepted, mut foreign) = (0, 0, 0);
    for file in ["json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json", "json_web_encryption_test.json"] {
        let Some(groups) = groups(file) else { return };
        for (group, test, case) in each(&groups) {
            // Groups of symmetric keys have no public part: given to us as they are, they must be refused all the same.
            let key = group.get("public").unwrap_or(&group["private"]);
            let keys = if key.get("keys").is_some() { key.clone() } else { json!({ "keys": [key] }) };
            let text = test.get("jws").or_else(|| test.get("jwe")).unwrap_or_else(|| panic!("{case}: neither kind"));
            // A serialisation that is no text is refused as the text that it would be.
            let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
            let is_ours = keys["keys"].as_array().unwrap().iter().all(|key| key["alg"].as_str().and_then(Algorithm::parse).is_some());
            if test.get("jws").is_some() && is_ours && test["result"] == "valid" {
                assert!(accepts(&keys, &text), "{case}");
                accepted += 1;
            } else {
                assert!(!accepts(&keys, &text), "{case}");
                if test["result"] == "invalid" && is_ours { refused += 1 } else { foreign += 1 }
            }
            if test.get("jwe").is_some() {
                assert!(Token::read(&text).is_err(), "{case}: encrypted");
            }
        }
    }
    say(&format!("wycheproof: {refused} refused, {accepted} accepted; {foreign} of other algorithms and kinds refused"));
    assert!(refused >= 290 && accepted == 13 && foreign >= 340, "{refused}, {accepted}, {foreign}: the vectors were not really run");
}

fn unhex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().unwrap().as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A number without zeros before it, in so many bytes at least.
fn number(text: &Value, bytes: usize) -> String {
    let plain: Vec<u8> = unhex(text).into_iter().skip_while(|byte| *byte == 0).collect();
    URL_SAFE_NO_PAD.encode([vec![0; bytes.saturating_sub(plain.len())], plain].concat())
}

#[test]
fn signatures_that_are_malleable_out_of_range_or_badly_padded_are_refused() {
    let p256 = |key: &Value| json!({ "kty": "EC", "crv": "P-256", "x": number(&key["wx"], 32), "y": number(&key["wy"], 32) });
    let ed25519 = |key: &Value| json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(unhex(&key["pk"])) });
    let rsa = |key: &Value| json!({ "kty": "RSA", "n": number(&key["modulus"], 0), "e": number(&key["publicExponent"], 0) });
    // What a file's signatures are to us: of our form, or of another that must not be taken for it.
    for (file, jwk, is_ours, refused_min, accepted_min) in [
        ("ecdsa_secp256r1_sha256_p1363_test.json", &p256 as &dyn Fn(&Value) -> Value, true, 89, 173),
        ("ecdsa_secp256r1_sha256_test.json", &p256, false, 484, 0),
        ("ed25519_test.json", &ed25519, true, 63, 88),
        ("rsa_signature_2048_sha256_test.json", &rsa, true, 249, 9),
        ("rsa_pss_2048_sha256_mgf1_32_test.json", &rsa, false, 107, 1),
    ] {
        let Some(groups) = groups(file) else { return };
        let (mut refused, mut accepted) = (0, 0);
        for (group, test, case) in each(&groups) {
            let set = KeySet::parse(json!({ "keys": [jwk(&group["publicKey"])] }).to_string().as_bytes());
            let key = set.unwrap_or_else(|error| panic!("{file} {case}: {error}")).key(None).unwrap();
            let is_taken = key.has_signed(&unhex(&test["msg"]), &URL_SAFE_NO_PAD.encode(unhex(&test["sig"])));
            // `acceptable` is a signature that old software made wrongly: it is not needed here. One that is wrong as PSS is RS256's.
            let is_rs256 = test["comment"] == "PKCS #1 v1.5 signature with SHA-256" && test["flags"] == json!(["WrongPrimitive"]);
            let is_good = is_ours && test["result"] == "valid" || !is_ours && is_rs256;
            assert_eq!(is_taken, is_good, "{file} {case} {}", test["flags"]);
            if is_taken { accepted += 1 } else { refused += 1 }
        }
        say(&format!("wycheproof: {file}: {refused} refused, {accepted} accepted"));
        assert!(refused >= refused_min && accepted >= accepted_min, "{file}: {refused}, {accepted}: the vectors were not really run");
    }
}
