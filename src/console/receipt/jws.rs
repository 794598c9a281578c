//! Signing of receipts: compact JWS (RFC 7515) with EdDSA over Ed25519 (RFC 8037). The key is derived from the log's and serves
//! receipts alone; its public half is a JSON Web Key Set (RFC 7517), its id the key's thumbprint (RFC 7638).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

/// What the header says a receipt is, so that nothing else that this key may sign passes for one.
const TYPE: &str = "consent-receipt+jwt";

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
        let header = json!({ "alg": "EdDSA", "kid": self.kid, "typ": TYPE }).to_string();
        let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(payload));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature.as_ref()))
    }

    /// The public key, as any JOSE tool takes it.
    pub(super) fn jwks(&self) -> Value {
        let x = BASE64.encode(self.pair.public_key().as_ref());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": "sig", "alg": "EdDSA" }] })
    }
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
    fn nobody_sees_the_seed() {
        let key = ReceiptKey::new(&[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), format!("ReceiptKey({})", key.kid));
        assert!(key.jwks()["keys"][0].get("d").is_none());
    }
}
