//! What a receiver gets, signed as the Standard Webhooks specification says (https://www.standardwebhooks.com), so that public
//! libraries verify it:
//!
//! ```text
//! webhook-id         <ledger>-<revision>       the same for each delivery of one change
//! webhook-timestamp  seconds since 1970        of this attempt
//! webhook-signature  v1,<base64>               HMAC-SHA256 over `<id>.<timestamp>.<body>`
//! {"type":"consent.changed","timestamp":"…","data":{…as a line of /v1/changes…}}
//! ```

use std::fmt;

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::json;

use super::super::changes::change_json;
use crate::consent::{Change, Ledger};

const PREFIX: &str = "whsec_";
const KEY_BYTES: usize = 32;

/// What signs the messages of one webhook; the receiver has it too.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret([u8; KEY_BYTES]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// `None` when the machine gives no randomness.
    pub(super) fn fresh() -> Option<Self> {
        let mut key = [0; KEY_BYTES];
        rand::fill(&mut key).ok()?;
        Some(Self(key))
    }

    /// Reads what [`Self::reveal`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?.try_into().ok().map(Self)
    }

    /// As the specification writes it; for the receiver and the ledger's database alone.
    pub(super) fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0))
    }
}

/// One change for one receiver.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) body: String,
}

impl Message {
    pub(super) fn of(ledger: &Ledger, change: &Change) -> Self {
        let body = json!({ "type": "consent.changed", "timestamp": change.at.to_string(), "data": change_json(ledger, change) });
        Self { id: format!("{}-{}", ledger.id(), change.revision), body: body.to_string() }
    }

    /// `webhook-timestamp` and `webhook-signature` of an attempt at `now`.
    pub(super) fn sign(&self, secret: &Secret, now: Timestamp) -> (String, String) {
        let timestamp = now.as_second().to_string();
        let signed = format!("{}.{timestamp}.{}", self.id, self.body);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret.0), signed.as_bytes());
        (timestamp, format!("v1,{}", STANDARD.encode(tag)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_that_the_public_library_computes() {
        let secret = Secret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
        let message = Message { id: "01HZX-42".to_owned(), body: "{\"type\":\"consent.changed\"}".to_owned() };
        let signed = message.sign(&secret, "2026-03-01T12:00:00.9Z".parse().unwrap());
        // standardwebhooks 1.1.0 (Python): Webhook(secret).sign(id, 2026-03-01T12:00:00Z, body).
        assert_eq!(signed, ("1772366400".to_owned(), "v1,DbgH3MfrWpfSBNH+2lhAdbILmSMJRrLSicgErxJuMYA=".to_owned()));
    }

    #[test]
    fn a_secret_survives_its_text_and_is_not_printed() {
        let secret = Secret::fresh().unwrap();
        assert_eq!(Secret::parse(&secret.reveal()), Some(secret.clone()));
        assert_ne!(Secret::fresh(), Some(secret.clone()));
        assert!(!format!("{secret:?}").contains(secret.reveal().trim_start_matches(PREFIX)));
        for text in ["", "whsec_", "whsec_AAEC", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "whsec_?"] {
            assert_eq!(Secret::parse(text), None, "{text}");
        }
    }
}
