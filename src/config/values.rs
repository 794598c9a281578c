//! Values with a notation of their own: times, sizes, addresses, URLs, files, secrets, certificates.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use http::{HeaderName, Uri};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::read::Value;
use super::retention::Period;
use super::settings::{Certified, Origin, Secret};
use crate::catalog::Template;

/// Files named by the configuration are small; a larger one is a mistake.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

impl Value<'_> {
    /// `500ms`, `10s`, `5m`, `24h`, `7d`; more than nothing.
    pub(super) fn duration(self) -> Option<Duration> {
        let found = time(self.str()?);
        if found.is_none() {
            self.error_help("this is not a duration", "write a number with its unit: `500ms`, `10s`, `5m`, `24h` or `7d`");
        }
        found
    }

    /// `90 days`, `8 weeks`, `12 months`, `3 years`, or `forever`.
    pub(super) fn period(self) -> Option<Period> {
        let text = self.str()?;
        let help = "write a number and `days`, `weeks`, `months` or `years`, such as `12 months`, or `forever`";
        let found = Period::parse(text);
        match found {
            Some(period) if period.is_too_long() => {
                self.error_help(format!("`{text}` is over a hundred years"), "write `forever`");
                None
            }
            Some(period) => Some(period),
            None => {
                self.error_help(format!("`{text}` is not a period"), help);
                None
            }
        }
    }

    /// `512B`, `64KiB`, `1MiB`, `1GiB`; more than nothing.
    pub(super) fn bytes(self) -> Option<usize> {
        let units = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
        let found = number_and_unit(self.str()?, &units).and_then(|n| usize::try_from(n).ok());
        if found.is_none() {
            self.error_help("this is not a size", "write a number with its unit: `512B`, `64KiB` or `1MiB`");
        }
        found
    }

    /// Where something listens: no two on one address, unless the port is 0 and the system picks one.
    pub(super) fn address(self) -> Option<SocketAddr> {
        let Ok(found) = self.str()?.parse::<SocketAddr>() else {
            self.error_help("this is not an address", "write an IP address and a port: `127.0.0.1:8443` or `[::]:8443`");
            return None;
        };
        let mut addresses = self.cx.notes.addresses.borrow_mut();
        if found.port() != 0 && addresses.contains(&found) {
            self.error(format!("another listener has the address `{found}`"));
            return None;
        }
        addresses.push(found);
        Some(found)
    }

    pub(super) fn header_name(self) -> Option<HeaderName> {
        let found = HeaderName::from_bytes(self.str()?.as_bytes()).ok();
        if found.is_none() {
            self.error("this is not a header name");
        }
        found
    }

    /// `https://host[:port]` without path, query or user.
    pub(super) fn origin(self) -> Option<Origin> {
        let (origin, rest) = self.url()?;
        if !matches!(rest.as_str(), "" | "/") {
            self.error_help("an upstream address has no path", "put the path into `base_path`");
            return None;
        }
        Some(origin)
    }

    /// `host` or `host:port` without anything else; the port is 443 where none is written.
    pub(super) fn host_and_port(self) -> Option<(String, u16)> {
        let text = self.str()?;
        let found = host_and_port(text, 443);
        if found.is_none() {
            self.error_help("this is not a host", "write `crm.example.com`, or `crm.example.com:8443`, without scheme, path and pattern");
        }
        found
    }

    /// An `http` or `https` URL: its origin and its path.
    pub(super) fn url(self) -> Option<(Origin, String)> {
        let found = parse_url(self.str()?);
        if found.is_none() {
            self.error_help(
                "this is not a URL that can be used here",
                "write `https://host`, with a port or path if need be, without user, query and fragment",
            );
        }
        found
    }

    /// An absolute path without parameters: empty, or `/a/b`.
    pub(super) fn plain_path(self, text: &str) -> Option<String> {
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Some(String::new());
        }
        match Template::parse(text) {
            Ok(path) if path.params().next().is_none() => Some(text.to_owned()),
            Ok(_) => {
                self.error("this path cannot hold parameters");
                None
            }
            Err(problem) => {
                self.error(problem);
                None
            }
        }
    }

    /// A file that exists, relative to the file that names it.
    pub(super) fn file(self) -> Option<PathBuf> {
        let path = self.cx.resolve(self.str()?);
        if !path.is_file() {
            self.error(format!("the file `{}` does not exist", path.display()));
            return None;
        }
        self.cx.notes.files.borrow_mut().push(path.clone());
        Some(path)
    }

    /// A file or folder that may be made later, in a folder that exists.
    pub(super) fn new_path(self) -> Option<PathBuf> {
        let path = self.cx.resolve(self.str()?);
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(missing) = parent.filter(|p| !p.is_dir()) {
            self.error(format!("the folder `{}` does not exist", missing.display()));
            return None;
        }
        Some(path)
    }

    pub(super) fn contents(self) -> Option<Vec<u8>> {
        let path = self.file()?;
        if std::fs::metadata(&path).is_ok_and(|m| m.len() > FILE_BYTES_MAX) {
            self.error(format!("the file `{}` is larger than {FILE_BYTES_MAX} bytes", path.display()));
            return None;
        }
        std::fs::read(&path).map_err(|e| self.error(format!("the file `{}` cannot be read: {e}", path.display()))).ok()
    }

    /// The contents of a file that is hashed with the governed part.
    pub(super) fn governed(self) -> Option<Vec<u8>> {
        let path = self.file()?;
        self.cx.governed(&path).map_err(|problem| self.error(problem)).ok()
    }

    /// A secret as text; a line break at its end does not count.
    pub(super) fn secret(self) -> Option<Secret> {
        let bytes = self.secret_bytes()?;
        let trimmed = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let trimmed = trimmed.strip_suffix(b"\r").unwrap_or(trimmed);
        if trimmed.is_empty() {
            self.error("the secret is empty");
            return None;
        }
        Some(Secret::new(trimmed.to_vec()))
    }

    /// An Ed25519 key: PKCS#8 (PEM or DER), or a seed of 32 bytes.
    pub(super) fn ed25519_key(self) -> Option<Secret> {
        let bytes = self.secret_bytes()?;
        let usable = if bytes.len() == 32 {
            Ed25519KeyPair::from_seed_unchecked(&bytes).is_ok()
        } else {
            let der = PrivatePkcs8KeyDer::from_pem_slice(&bytes).map_or_else(|_not_pem| bytes.clone(), |key| key.secret_pkcs8_der().to_vec());
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).is_ok()
        };
        if !usable {
            self.error_help("this is not an Ed25519 key", "make one: `openssl genpkey -algorithm ed25519`");
        }
        usable.then(|| Secret::new(bytes))
    }

    /// `{ file = … }` or `{ env = … }`
    fn secret_bytes(self) -> Option<Vec<u8>> {
        if let Some(text) = self.as_str() {
            self.secret_in_file(text);
            return None;
        }
        let mut table = self.table("the secret")?;
        let (file, env) = (table.opt("file"), table.opt("env"));
        table.finish();
        match (file, env) {
            (Some(file), None) => file.contents(),
            (None, Some(env)) => env.environment(),
            _ => {
                self.error("a secret has either `file` or `env`");
                None
            }
        }
    }

    pub(super) fn secret_in_file(self, text: &str) {
        self.cx.notes.secrets.borrow_mut().extend(text.lines().map(str::to_owned));
        self.error_help("a secret stands in the file", "write `{ file = \"…\" }` or `{ env = \"…\" }`, and change the secret: it has been seen");
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    fn environment(self) -> Option<Vec<u8>> {
        let name = self.str()?;
        let found = std::env::var(name).ok();
        if found.is_none() {
            self.error(format!("the environment variable `{name}` is not set"));
        }
        found.map(String::into_bytes)
    }

    /// A PEM file with at least one certificate, each of which can be read.
    pub(super) fn certificates(self) -> Option<Vec<CertificateDer<'static>>> {
        let pem = self.contents()?;
        let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let readable = |certificate: &CertificateDer<'_>| x509_parser::parse_x509_certificate(certificate).is_ok_and(|(rest, _)| rest.is_empty());
        match parsed {
            Ok(chain) if !chain.is_empty() && chain.iter().all(readable) => Some(chain),
            Ok(chain) if chain.is_empty() => {
                self.error_help("no certificate stands in this file", "it must be PEM: `-----BEGIN CERTIFICATE-----`");
                None
            }
            Ok(_) | Err(_) => {
                self.error("a certificate in this file cannot be read");
                None
            }
        }
    }

    /// `{ chain = "….pem", key = { file = "….key" } }`; the key must be the certificate's.
    pub(super) fn certified(self) -> Option<Certified> {
        let mut table = self.table("a certificate")?;
        let chain_value = table.need("chain");
        let chain = chain_value.and_then(Value::certificates);
        let key_value = table.need("key");
        let secret = key_value.and_then(Value::secret);
        table.finish();
        let (chain_value, key_value, secret) = (chain_value?, key_value?, secret?);
        let Ok(key) = PrivateKeyDer::from_pem_slice(secret.expose()) else {
            key_value.error_help("no private key stands there", "it must be PEM: PKCS#8, PKCS#1 or SEC1");
            return None;
        };
        let chain = chain?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        match rustls::sign::CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider) {
            Ok(_) => Some(Certified { chain, key }),
            Err(rustls::Error::InconsistentKeys(_)) => {
                chain_value.error("the first certificate of this file does not belong to the key");
                None
            }
            Err(_) => {
                key_value.error("this private key cannot be used: RSA, ECDSA (P-256, P-384) or Ed25519 are known");
                None
            }
        }
    }
}

pub(super) fn time(text: &str) -> Option<Duration> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    number_and_unit(text, &units).map(Duration::from_millis)
}

fn number_and_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*scale).filter(|n| *n > 0)
}

/// `host` or `host:port` without anything else.
pub(super) fn host_and_port(text: &str, usual: u16) -> Option<(String, u16)> {
    let (origin, path) = parse_url(&format!("https://{text}"))?;
    let is_written = text.ends_with(&format!(":{}", origin.port));
    (path == "/" && !text.contains(['/', '?', '*'])).then_some((origin.host, if is_written { origin.port } else { usual }))
}

pub(super) fn parse_url(text: &str) -> Option<(Origin, String)> {
    let uri: Uri = text.parse().ok()?;
    let tls = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    if authority.as_str().contains('@') || uri.query().is_some() || text.contains('#') || authority.host().is_empty() {
        return None;
    }
    // A port that is written must be one: `https://host:` and `https://host:99999` are mistakes.
    let after_host = authority.as_str().get(authority.host().len()..)?;
    let port = match after_host.strip_prefix(':') {
        None => {
            if tls {
                443
            } else {
                80
            }
        }
        Some(digits) => digits.parse().ok().filter(|port| *port != 0)?,
    };
    Some((Origin { tls, host: authority.host().to_ascii_lowercase(), port }, uri.path().to_owned()))
}
