//! Signing of receipts: compact JWS (RFC 7515) with EdDSA over Ed25519 (RFC 8037). The key is derived from the log's and serves
//! receipts and the manifests of packs, told apart by `typ`; its public half is a JSON Web Key Set (RFC 7517), its id the key's thumbprint (RFC 7638).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

/// What the header says a receipt is, so that nothing else that this key may sign passes for one.
pub(in crate::console) const RECEIPT_TYPE: &str = "consent-receipt+jwt";

/// The key that signs receipts.
pub struct ReceiptKey {
    pair: Ed25519KeyPair,
    kid: String,
}

/// The key cannot be made of this seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key for receipts cannot be derived from the log's signing key; check `audit.signing_key`")]
pub struct BadSeed;

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiptKey({})", self.kid)
    }
}

impl ReceiptKey {
    /// # Errors
    /// [`BadSeed`]
    pub fn new(seed: &[u8; 32]) -> Result<Self, BadSeed> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_rejected| BadSeed)?;
        let x = BASE64.encode(pair.public_key().as_ref());
        // RFC 7638: the required members in the order of their names, without blanks.
        let thumbprint = digest(&SHA256, format!("{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"{x}\"}}").as_bytes());
        Ok(Self { pair, kid: BASE64.encode(thumbprint.as_ref()) })
    }

    /// `BASE64URL(header) . BASE64URL(payload) . BASE64URL(signature)`.
    pub(super) fn sign(&self, payload: &[u8]) -> String {
        self.sign_as(RECEIPT_TYPE, payload)
    }

    /// The same of what is no receipt.
    pub(in crate::console) fn sign_as(&self, kind: &str, payload: &[u8]) -> String {
        let header = header(&self.kid, kind);
        let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(payload));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature.as_ref()))
    }

    /// The public key, as any JOSE tool takes it.
    pub(in crate::console) fn jwks(&self) -> Value {
        let x = BASE64.encode(self.pair.public_key().as_ref());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": "sig", "alg": "EdDSA" }] })
    }
}

fn header(kid: &str, kind: &str) -> String {
    json!({ "alg": "EdDSA", "kid": kid, "typ": kind }).to_string()
}

/// Why a signature shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJws {
    #[error("this is no compact JWS of the form that this gateway writes")]
    OtherForm,
    #[error("none of the keys has signed it")]
    OtherKey,
    #[error("the signature does not fit; it was changed")]
    Forged,
    #[error("the signature is of something else")]
    OtherPayload,
}

/// The payload of a token of that type that one of the keys has signed, and the key's id. Only the form in which [`ReceiptKey`] writes is taken:
/// nothing in a header chooses how it is checked.
///
/// # Errors
/// Why it shows nothing.
pub(in crate::console) fn verified(jwks: &Value, kind: &str, token: &str) -> Result<(Vec<u8>, String), BadJws> {
    let (signed, signature) = token.rsplit_once('.').ok_or(BadJws::OtherForm)?;
    let (head, payload) = signed.split_once('.').ok_or(BadJws::OtherForm)?;
    let decoded = |text: &str| BASE64.decode(text).map_err(|_other| BadJws::OtherForm);
    let keys = jwks.get("keys").and_then(Value::as_array).into_iter().flatten();
    let of_head = |key: &&Value| key.get("kid").and_then(Value::as_str).is_some_and(|kid| BASE64.encode(header(kid, kind)) == head);
    let key = keys.into_iter().find(of_head).ok_or(BadJws::OtherKey)?;
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
    if (text("kty"), text("crv")) != ("OKP", "Ed25519") {
        return Err(BadJws::OtherKey);
    }
    let public = UnparsedPublicKey::new(&ED25519, decoded(text("x"))?);
    public.verify(signed.as_bytes(), &decoded(signature)?).map_err(|_unspecified| BadJws::Forged)?;
    Ok((decoded(payload)?, text("kid").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the text of RFC 8037, appendix A.
    #[test]
    fn the_published_example_is_met() {
        let seed: [u8; 32] = BASE64.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap().try_into().unwrap();
        let key = ReceiptKey::new(&seed).unwrap();
        assert_eq!(key.jwks()["keys"][0]["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(key.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let signed = format!("{}.{}", BASE64.encode(r#"{"alg":"EdDSA"}"#), BASE64.encode("Example of Ed25519 signing"));
        assert_eq!(
            BASE64.encode(key.pair.sign(signed.as_bytes()).as_ref()),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
    }

    #[test]
    fn only_what_this_key_signed_as_that_is_believed() {
        let (key, other) = (ReceiptKey::new(&[7; 32]).unwrap(), ReceiptKey::new(&[8; 32]).unwrap());
        let token = key.sign_as("a", b"text");
        assert_eq!(verified(&key.jwks(), "a", &token), Ok((b"text".to_vec(), key.kid.clone())));
        assert_eq!(verified(&key.jwks(), "b", &token), Err(BadJws::OtherKey), "signed as something else");
        assert_eq!(verified(&other.jwks(), "a", &token), Err(BadJws::OtherKey));
        // Another key under this key's id.
        let mut posing = other.jwks();
        posing["keys"][0]["kid"] = json!(key.kid);
        assert_eq!(verified(&posing, "a", &token), Err(BadJws::Forged));
        posing["keys"][0]["crv"] = json!("X25519");
        assert_eq!(verified(&posing, "a", &token), Err(BadJws::OtherKey));
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(verified(&key.jwks(), "a", std::str::from_utf8(&bytes).unwrap()).is_err(), "byte {at}");
        }
        for bad in ["", ".", "..", "a.b", "a.b.c.d"] {
            assert!(verified(&key.jwks(), "a", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nobody_sees_the_seed() {
        let key = ReceiptKey::new(&[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), format!("ReceiptKey({})", key.kid));
        assert!(key.jwks()["keys"][0].get("d").is_none());
    }
}
