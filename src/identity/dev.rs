//! A signer of ES256 tokens for the demo issuer and for tests. Never used towards real issuers' tokens.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};

/// Signs tokens with one ES256 key.
pub struct TokenSigner {
    kid: String,
    signing: EcdsaKeyPair,
    pair: rcgen::KeyPair,
}

/// The key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
#[error("the token-signing key cannot be used: {0}; make a new one with `consentry certs dev --force`")]
pub struct SignError(String);

impl TokenSigner {
    /// A new key.
    ///
    /// # Errors
    /// [`SignError`] when the system has no randomness.
    pub fn generate(kid: &str) -> Result<Self, SignError> {
        Self::with(kid, rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(fault)?)
    }

    /// A key from PKCS #8 PEM, as [`Self::key_pem`] wrote it.
    ///
    /// # Errors
    /// [`SignError`] when the text is no P-256 key.
    pub fn from_pem(kid: &str, pem: &str) -> Result<Self, SignError> {
        let pair = rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(pem, &rcgen::PKCS_ECDSA_P256_SHA256).map_err(fault)?;
        Self::with(kid, pair)
    }

    fn with(kid: &str, pair: rcgen::KeyPair) -> Result<Self, SignError> {
        let signing = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der()).map_err(fault)?;
        Ok(Self { kid: kid.to_owned(), signing, pair })
    }

    /// The private key as PKCS #8 PEM: a secret.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// The public key as a key set (JWKS).
    #[must_use]
    pub fn jwks(&self) -> Value {
        let point = self.pair.der_bytes();
        let coordinate = |skip: usize| URL_SAFE_NO_PAD.encode(point.iter().skip(skip).take(32).copied().collect::<Vec<u8>>());
        json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": coordinate(1), "y": coordinate(33),
        }] })
    }

    /// Signs an access token (`typ: at+jwt`) with these claims.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn mint(&self, claims: &Value) -> Result<String, SignError> {
        self.sign(&json!({ "alg": "ES256", "kid": self.kid, "typ": "at+jwt" }).to_string(), &claims.to_string())
    }

    /// Signs any header and payload text as they stand, for tests of refusals.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, header: &str, payload: &str) -> Result<String, SignError> {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.signing.sign(&SystemRandom::new(), input.as_bytes()).map_err(fault)?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigner").field("kid", &self.kid).finish_non_exhaustive()
    }
}

fn fault(error: impl fmt::Display) -> SignError {
    SignError(error.to_string())
}
