//! A key set (JWKS, [RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)), read strictly. Each key has one algorithm, given
//! by its kind: what a token's header says is compared with it and never chooses it.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::token::Token;
use super::{Algorithm, json};

/// Keys of one set; more is no key set of an issuer.
const KEYS_MAX: usize = 100;

/// A public key and the one algorithm it is good for.
pub(super) struct Key {
    kid: Option<String>,
    pub(super) algorithm: Algorithm,
    /// SHA-256 over algorithm and key material: keeps results of one key apart from another's under the same id.
    pub(super) fingerprint: [u8; 32],
    decoding: DecodingKey,
}

impl Key {
    /// Whether the key's owner signed this token.
    pub(super) fn verifies(&self, token: &Token<'_>) -> bool {
        token.algorithm == self.algorithm && self.has_signed(token.signed.as_bytes(), token.signature)
    }

    /// Whether this is the owner's signature, in base64url, under these bytes.
    pub(super) fn has_signed(&self, bytes: &[u8], signature: &str) -> bool {
        let algorithm = match self.algorithm {
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        };
        jsonwebtoken::crypto::verify(signature, bytes, &self.decoding, algorithm).unwrap_or(false)
    }
}

/// The key that a proof brings along, with its thumbprint ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)); `None` if it is
/// not a public key of ours or says more than a public key may.
pub(super) fn brought(jwk: &Map<String, Value>) -> Option<(Key, String)> {
    let is_private = PRIVATE.iter().any(|member| jwk.contains_key(*member));
    let key = if is_private { None } else { usable(jwk) }?;
    let members: &[&str] = match key.algorithm {
        Algorithm::Rs256 => &["e", "kty", "n"],
        Algorithm::Es256 => &["crv", "kty", "x", "y"],
        Algorithm::EdDsa => &["crv", "kty", "x"],
    };
    let member = |name: &&str| Some(format!("\"{name}\":{}", Value::String(jwk.get(*name)?.as_str()?.to_owned())));
    let members: Option<Vec<String>> = members.iter().map(member).collect();
    let hash = digest::digest(&digest::SHA256, format!("{{{}}}", members?.join(",")).as_bytes());
    Some((key, URL_SAFE_NO_PAD.encode(hash)))
}

/// Members of private and of symmetric keys.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The usable keys of a set.
pub(super) struct KeySet(Vec<Arc<Key>>);

impl KeySet {
    /// Reads a set. Keys of other kinds, uses and algorithms are passed over, as issuers publish them side by side; a set
    /// with a private key, with one key id for two keys, or without any usable key is refused whole.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let set = json::object(bytes).map_err(|_fault| "the key set is not a json object without duplicate members".to_owned())?;
        let Some(Value::Array(list)) = set.get("keys") else { return Err("the key set has no list `keys`".to_owned()) };
        if list.len() > KEYS_MAX {
            return Err(format!("the key set has more than {KEYS_MAX} keys"));
        }
        let mut keys: Vec<Arc<Key>> = Vec::new();
        for jwk in list {
            let Value::Object(jwk) = jwk else { return Err("the key set lists something that is no key".to_owned()) };
            if PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
                return Err("the key set contains a private or symmetric key; replace that key at the issuer".to_owned());
            }
            let Some(key) = usable(jwk) else { continue };
            if keys.iter().any(|other| other.kid == key.kid) {
                return Err("the key set has two keys with the same `kid`".to_owned());
            }
            keys.push(Arc::new(key));
        }
        if keys.is_empty() {
            return Err("the key set has no usable key (RSA of 2048 bits or more, P-256, Ed25519)".to_owned());
        }
        Ok(Self(keys))
    }

    /// The key of this id. A token without one can only mean the only key.
    pub(super) fn key(&self, kid: Option<&str>) -> Option<Arc<Key>> {
        match (kid, self.0.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)).cloned(),
            (None, [only]) => Some(Arc::clone(only)),
            (None, _) => None,
        }
    }
}

fn usable(jwk: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let (algorithm, decoding, material) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let (n, e) = (bytes("n")?, bytes("e")?);
            is_good_rsa(&n, &e).then_some(())?;
            (Algorithm::Rs256, DecodingKey::from_rsa_raw_components(&n, &e), [n, e])
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            (x.len() == 32 && y.len() == 32).then_some(())?;
            let decoding = DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?;
            (Algorithm::Es256, decoding, [x, y])
        }
        ("OKP", Some("Ed25519")) => {
            let x = bytes("x")?;
            (x.len() == 32).then_some(())?;
            (Algorithm::EdDsa, DecodingKey::from_ed_components(text("x")?).ok()?, [x, Vec::new()])
        }
        _ => return None,
    };
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return None,
    };
    // What the key says about itself can only take away.
    let signs = match jwk.get("use") {
        None => true,
        Some(Value::String(meant)) => meant == "sig",
        Some(_) => false,
    };
    let verifies = match jwk.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
        Some(_) => false,
    };
    let is_for_it = match jwk.get("alg") {
        None => true,
        Some(Value::String(named)) => named == algorithm.as_str() || (algorithm == Algorithm::EdDsa && named == "Ed25519"),
        Some(_) => false,
    };
    (signs && verifies && is_for_it).then_some(())?;

    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(algorithm.as_str().as_bytes());
    for part in &material {
        hash.update(format!(":{}:", part.len()).as_bytes());
        hash.update(part);
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(hash.finish().as_ref());
    Some(Key { kid, algorithm, fingerprint, decoding })
}

/// 2048 to 8192 bits, an odd exponent above 1, and not made by the broken generator of CVE-2017-15361 (ROCA).
fn is_good_rsa(n: &[u8], e: &[u8]) -> bool {
    let bits = n.iter().position(|byte| *byte != 0).map_or(0, |zeros| n.iter().skip(zeros).count() * 8);
    let odd = e.last().is_some_and(|last| last % 2 == 1);
    let above_one = e.iter().map(|byte| u32::from(*byte)).sum::<u32>() > 1;
    (2048..=8192).contains(&bits) && odd && above_one && !is_roca(n)
}

/// ROCA moduli are powers of 65537 modulo each of these primes; others are for all of them only once in 2^27.
fn is_roca(n: &[u8]) -> bool {
    const PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
    PRIMES.iter().all(|prime| {
        let rest = n.iter().fold(0_u32, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let mut power = 1;
        (0..*prime).any(|_step| {
            let found = power == rest;
            power = power * 65_537 % prime;
            found
        })
    })
}
