//! Project Wycheproof's vectors for JSON web signatures and keys
//! (<https://github.com/C2SP/wycheproof>), when `../shared/corpora` is there.
//! Everything marked invalid must be refused; everything valid under our algorithms and of our form must verify.

use std::path::Path;

use super::super::keys::KeySet;
use super::super::token::Token;
use super::*;

/// As in [`Verifier`], without claims: the payloads of the vectors are no claims.
fn accepts(keys: &Value, jws: &str) -> bool {
    let Ok(set) = KeySet::parse(keys.to_string().as_bytes()) else { return false };
    let Ok(token) = Token::read_any_payload(jws) else { return false };
    set.key(token.kid.as_deref()).is_some_and(|key| key.verifies(&token))
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that can be skipped says what it ran")]
fn vectors_marked_invalid_are_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora/wycheproof");
    if !folder.exists() {
        println!("skipped: no wycheproof vectors on this machine");
        return;
    };
    let (mut refused, mut foreign, mut accepted, mut skipped) = (0, 0, 0, 0);
    for file in ["json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        for group in document["testGroups"].as_array().unwrap() {
            // Groups of symmetric keys have no public part: given to us as they are, they must be refused all the same.
            let key = group.get("public").unwrap_or(&group["private"]);
            let keys = if key.get("keys").is_some() { key.clone() } else { json!({ "keys": [key] }) };
            for test in group["tests"].as_array().unwrap() {
                let Some(jws) = test["jws"].as_str() else {
                    skipped += 1;
                    continue;
                };
                let case = format!("{file} {} {}", test["tcId"], test["comment"]);
                if test["result"] == "invalid" {
                    assert!(!accepts(&keys, jws), "{case}");
                    if is_ours(&keys) { refused += 1 } else { foreign += 1 }
                } else if is_ours(&keys) && test["flags"].as_array().is_none_or(Vec::is_empty) {
                    assert!(accepts(&keys, jws), "{case}");
                    accepted += 1;
                } else {
                    skipped += 1;
                }
            }
        }
    }
    println!("wycheproof: {refused} refused, {accepted} accepted; {foreign} of other algorithms refused, {skipped} others skipped");
    assert!(refused >= 250 && accepted >= 10, "{refused} refused, {accepted} accepted: the vectors were not really run");
}

fn is_ours(keys: &Value) -> bool {
    let all = keys["keys"].as_array().unwrap();
    all.iter().all(|key| key["alg"].as_str().and_then(Algorithm::parse).is_some())
}
