//! The certificate of the other end of a TLS connection, whose chain, validity and usage the TLS layer has verified.
//! Here it is only read for names and for its thumbprint.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::AuthError;

/// Names and thumbprint of a client certificate. The common name is not read at all.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    uris: Vec<String>,
    dns: Vec<String>,
    sha256: [u8; 32],
}

impl PeerCertificate {
    /// Reads a DER certificate.
    ///
    /// # Errors
    /// [`AuthError::Unauthenticated`] when it cannot be read to the last byte or carries a name that two readers may
    /// read differently (control characters, NUL, non-ASCII).
    pub fn from_der(der: &[u8]) -> Result<Self, AuthError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_unreadable| AuthError::Unauthenticated)?;
        if !rest.is_empty() {
            return Err(AuthError::Unauthenticated);
        }
        let names = certificate.subject_alternative_name().map_err(|_unreadable| AuthError::Unauthenticated)?;
        let (mut uris, mut dns) = (Vec::new(), Vec::new());
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            let (list, text) = match name {
                GeneralName::URI(uri) => (&mut uris, *uri),
                GeneralName::DNSName(host) => (&mut dns, *host),
                GeneralName::Invalid(..) => return Err(AuthError::Unauthenticated),
                GeneralName::OtherName(..)
                | GeneralName::RFC822Name(_)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::IPAddress(_)
                | GeneralName::RegisteredID(_) => continue,
            };
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(AuthError::Unauthenticated);
            }
            list.push(text.to_owned());
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Ok(Self { uris, dns, sha256 })
    }

    /// SAN URIs, as written.
    #[must_use]
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// SAN DNS names, as written.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.dns
    }

    /// SHA-256 over the DER bytes.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The value of `cnf.x5t#S256` (RFC 8705) that binds a token to this certificate.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.sha256)
    }
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names of certificates are names of applications and of staff roles; the thumbprint would do for linking only.
        f.debug_struct("PeerCertificate").field("uris", &self.uris).field("dns", &self.dns).finish_non_exhaustive()
    }
}
