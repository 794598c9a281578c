//! Ed25519 keys of logs and of witnesses, and their verifier keys in the form of C2SP signed-note:
//!
//! ```text
//! <name>+<key id, 8 hex digits>+<base64 of the kind and the 32 bytes of the public key>
//! key id = first 4 bytes of SHA-256(<name> 0x0a <kind> <public key>)
//! kind   = 0x01 a log's, 0x04 a witness's (C2SP tlog-cosignature)
//! ```

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::error::AuditError;
use super::tree::{hex, sha256};

/// Where the Ed25519 key is: a file with PKCS#8 (PEM or DER) or a raw seed of 32 bytes, or the same bytes in memory.
#[derive(Clone)]
pub enum SigningKeySource {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl fmt::Debug for SigningKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "SigningKeySource::File({})", path.display()),
            Self::Bytes(_) => f.write_str("SigningKeySource::Bytes(redacted)"),
        }
    }
}

/// Makes a new key in a new file that only its owner can read. The verifier key is written as `log.vkey` into the log's
/// directory when the log is first opened, since it carries the log's origin.
///
/// # Errors
/// When the file exists or can not be written.
pub fn generate_signing_key(path: &Path) -> Result<(), AuditError> {
    let failed = |cause: &std::io::Error| AuditError::io(path, cause);
    let key = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(|_unspecified| AuditError::Key { path: path.to_owned() })?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|e| failed(&e))?;
    // A PKCS#8 Ed25519 key has 48 bytes, so its base64 is one line.
    let label = "PRIVATE KEY";
    let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(key.as_ref()));
    file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| failed(&e))
}

/// The private key with the name it signs under.
pub(super) struct SigningKey {
    pair: Ed25519KeyPair,
    vkey: Vkey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.vkey)
    }
}

impl SigningKey {
    pub(super) fn load(source: &SigningKeySource, origin: &str) -> Result<Self, AuditError> {
        Self::load_as(source, origin, KeyKind::Log)
    }

    pub(super) fn load_as(source: &SigningKeySource, name: &str, kind: KeyKind) -> Result<Self, AuditError> {
        let (bytes, path) = match source {
            SigningKeySource::File(path) => (std::fs::read(path).map_err(|e| AuditError::io(path, &e))?, path.clone()),
            SigningKeySource::Bytes(bytes) => (bytes.clone(), PathBuf::from("signing_key")),
        };
        let pair = key_pair(&bytes).ok_or(AuditError::Key { path })?;
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Ok(Self { pair, vkey: Vkey { name: name.to_owned(), kind, public } })
    }

    pub(super) fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    pub(super) fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.pair.sign(text).as_ref().to_vec()
    }
}

fn key_pair(bytes: &[u8]) -> Option<Ed25519KeyPair> {
    if bytes.len() == 32 {
        return Ed25519KeyPair::from_seed_unchecked(bytes).ok();
    }
    let pem = PrivatePkcs8KeyDer::from_pem_slice(bytes).ok();
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(pem.as_ref().map_or(bytes, |der| der.secret_pkcs8_der())).ok()
}

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// Checkpoints of its own log.
    Log = 1,
    /// That it has seen checkpoints of others.
    Witness = 4,
}

/// The public half: enough to verify what was signed anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vkey {
    pub(super) name: String,
    kind: KeyKind,
    public: [u8; 32],
}

impl Vkey {
    /// A log's.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::parse_as(text, KeyKind::Log)
    }

    pub(super) fn parse_as(text: &str, kind: KeyKind) -> Option<Self> {
        let (name, rest) = text.trim_end().split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let key = STANDARD.decode(key).ok()?;
        let public = key.strip_prefix(&[kind as u8])?;
        let vkey = Self { name: name.to_owned(), kind, public: public.try_into().ok()? };
        (hex(&vkey.id()) == id && is_name(name)).then_some(vkey)
    }

    pub(super) fn id(&self) -> [u8; 4] {
        let hash = sha256(&[self.name.as_bytes(), b"\n", &[self.kind as u8], &self.public]);
        let [a, b, c, d, ..] = hash;
        [a, b, c, d]
    }

    pub(super) fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(text, signature).is_ok()
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.kind as u8], &self.public[..]].concat();
        write!(f, "{}+{}+{}", self.name, hex(&self.id()), STANDARD.encode(key))
    }
}

/// A log's name: visible ASCII that needs no escape in a URL, a header, a note or JSON.
pub(super) fn is_name(text: &str) -> bool {
    (1..=253).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/:".contains(&b))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use aws_lc_rs::encoding::AsBigEndian as _;

    use super::*;

    #[test]
    fn a_generated_key_is_private_and_loads_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        generate_signing_key(&path).unwrap();
        assert_eq!(0o600, std::fs::metadata(&path).unwrap().permissions().mode() & 0o777);
        let key = SigningKey::load(&SigningKeySource::File(path.clone()), "gw-1.example.com").unwrap();
        assert!(key.vkey().has_signed(b"text", &key.sign(b"text")));
        assert!(!key.vkey().has_signed(b"texts", &key.sign(b"text")));
        assert!(matches!(generate_signing_key(&path), Err(AuditError::Io { .. })));
    }

    #[test]
    fn a_seed_and_pkcs8_of_the_same_key_are_the_same_key() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let seed = pair.seed().unwrap().as_be_bytes().unwrap().as_ref().to_vec();
        let load = |bytes: &[u8]| SigningKey::load(&SigningKeySource::Bytes(bytes.to_vec()), "a").map(|k| k.vkey().to_string());
        assert_eq!(load(&seed).unwrap(), load(pkcs8.as_ref()).unwrap());
        assert!(matches!(load(b"short"), Err(AuditError::Key { .. })));
        assert!(matches!(load(&[0; 48]), Err(AuditError::Key { .. })));
    }

    /// The example of the signed-note specification.
    #[test]
    fn the_published_verifier_key_is_read() {
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let vkey = Vkey::parse(text).unwrap();
        assert_eq!(text, vkey.to_string());
        let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let signature = STANDARD.decode("x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=").unwrap();
        assert_eq!(vkey.id(), signature[..4]);
        assert!(vkey.has_signed(note.as_bytes(), &signature[4..]));
    }

    #[test]
    fn bad_verifier_keys_are_refused() {
        for text in [
            "",
            "PeterNeumann",
            "PeterNeumann+c74f20a3",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "Peter+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+AhpcQcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy1w==",
        ] {
            assert_eq!(None, Vkey::parse(text), "{text}");
        }
    }
}
