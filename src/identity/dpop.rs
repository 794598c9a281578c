//! A proof of possession ([RFC 9449, 4.3](https://www.rfc-editor.org/rfc/rfc9449#section-4.3)): a JWT of its own for each request, signed
//! with the key that the token is bound to, so that neither the token nor what was sent with it is worth anything elsewhere.
//!
//! ```text
//! DPoP: {"typ":"dpop+jwt","alg":"ES256","jwk":{…}} . {"htm":"GET","htu":"https://gw/…","iat":…,"jti":"…","ath":"…"} . signature
//! ```
//!
//! Looked at after the token was found good, the cheap comparisons before the signature: who has no token costs no more than
//! before. Nonces of the server (section 8) are not used: the window is narrow, and what was used is remembered.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::ProofFault;
use super::keys::brought;
use super::seen::{SeenProofs, Use};
use super::time::Times;
use super::token::{Claims, Token};

/// What a proof must have been made for.
#[derive(Clone, Copy)]
pub struct Sent<'r> {
    pub method: &'r Method,
    /// `https://host`, with a port if it is not the usual one: as callers know the listener, not as this machine does.
    pub origin: &'r str,
    /// Without the query.
    pub path: &'r str,
}

impl std::fmt::Debug for Sent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Paths carry ids.
        f.debug_struct("Sent").field("method", self.method).field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// A longer id of a proof is nobody's.
const JTI_BYTES_MAX: usize = 256;

/// Holds the proof of a request against the request, the token and the key that this is bound to.
pub(super) fn check(
    headers: &HeaderMap,
    sent: Option<Sent<'_>>,
    bound_to: &str,
    token: &str,
    seen: &SeenProofs,
    times: Times,
) -> Result<(), ProofFault> {
    let mut values = headers.get_all("dpop").iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(ProofFault::Count) };
    let sent = sent.ok_or(ProofFault::NotTaken)?;
    let text = value.to_str().map_err(|_bytes| ProofFault::Malformed)?;
    let (proof, header) = Token::with_header(text).map_err(|_fault| ProofFault::Malformed)?;
    if proof.typ.as_deref() != Some("dpop+jwt") {
        return Err(ProofFault::Malformed);
    }
    let (key, thumbprint) = header.get("jwk").and_then(Value::as_object).and_then(brought).ok_or(ProofFault::Key)?;
    if key.algorithm != proof.algorithm {
        return Err(ProofFault::Key);
    }
    if thumbprint != bound_to {
        return Err(ProofFault::OtherKey);
    }
    let (jti, made_at) = judge(&proof.claims, sent, token)?;
    seen.in_time(made_at, times)?;
    if !key.verifies(&proof) {
        return Err(ProofFault::Signature);
    }
    seen.first_use(Use { thumbprint: &thumbprint, jti, made_at }, times)
}

/// The id of the proof and when it was made, if it was made for this.
fn judge<'c>(claims: &'c Claims, sent: Sent<'_>, token: &str) -> Result<(&'c str, i64), ProofFault> {
    let text = |name: &str| claims.member(name).and_then(Value::as_str).ok_or(ProofFault::Malformed);
    let (jti, method, address, hash) = (text("jti")?, text("htm")?, text("htu")?, text("ath")?);
    let made_at = claims.seconds("iat").ok().flatten().ok_or(ProofFault::Malformed)?;
    if jti.is_empty() || jti.len() > JTI_BYTES_MAX {
        return Err(ProofFault::Malformed);
    }
    if method != sent.method.as_str() {
        return Err(ProofFault::Method);
    }
    let here = normal(&format!("{}{}", sent.origin, sent.path));
    if here.is_none() || here != normal(address) {
        return Err(ProofFault::Address);
    }
    if hash != URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.as_bytes())) {
        return Err(ProofFault::Token);
    }
    Ok((jti, made_at))
}

/// An address without query and fragment, in its normal form ([RFC 3986, 6.2.2 and 6.2.3](https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2)).
/// `None`: no absolute `http` or `https` address, or one with a user in it.
fn normal(address: &str) -> Option<String> {
    let address = address.split(['?', '#']).next()?;
    let (scheme, rest) = address.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "https" => "443",
        "http" => "80",
        _ => return None,
    };
    let (authority, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
    // A colon inside brackets is no port's.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, usual),
    };
    let port = if port.is_empty() { usual } else { port };
    if host.is_empty() || authority.contains('@') || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut segments: Vec<String> = Vec::new();
    let pieces: Vec<&str> = path.split('/').skip(1).collect();
    for (at, piece) in pieces.iter().enumerate() {
        let is_last = at + 1 == pieces.len();
        match percent_normal(piece)?.as_str() {
            "." if is_last => segments.push(String::new()),
            "." => {}
            ".." => {
                segments.pop();
                if is_last {
                    segments.push(String::new());
                }
            }
            plain => segments.push(plain.to_owned()),
        }
    }
    Some(format!("{scheme}://{}:{port}/{}", host.to_ascii_lowercase(), segments.join("/")))
}

/// Escapes in upper case, and none where the character needs none.
fn percent_normal(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = String::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            byte.is_ascii_graphic().then(|| out.push(char::from(byte)))?;
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        let escaped = u8::try_from(high * 16 + low).ok()?;
        if escaped.is_ascii_alphanumeric() || matches!(escaped, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(escaped));
        } else {
            write!(out, "%{escaped:02X}").ok()?;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_the_same_have_one_normal_form() {
        let plain = normal("https://gw.example.com/crm/customers/a-1");
        for same in [
            "HTTPS://GW.example.com/crm/customers/a-1",
            "https://gw.example.com:443/crm/customers/a-1",
            "https://gw.example.com:/crm/customers/a-1",
            "https://gw.example.com/crm/customers/%61%2D1",
            "https://gw.example.com/crm/./orders/../customers/a-1",
            "https://gw.example.com/crm/customers/a-1?page=2",
            "https://gw.example.com/crm/customers/a-1#top",
        ] {
            assert_eq!(plain, normal(same), "{same}");
        }
        assert_eq!(normal("https://gw.example.com"), normal("https://gw.example.com/"));
        assert_eq!(normal("https://gw.example.com/a%3ab"), normal("https://gw.example.com/a%3Ab"));
        assert_eq!(normal("https://[::1]:8443/a"), normal("https://[::1]:8443/a"));
        assert_eq!(normal("https://gw.example.com/a/b/.."), normal("https://gw.example.com/a/"));
        for other in [
            "http://gw.example.com/crm/customers/a-1",
            "https://gw.example.com:8443/crm/customers/a-1",
            "https://gw.example.org/crm/customers/a-1",
            "https://gw.example.com./crm/customers/a-1",
            "https://gw.example.com/crm/customers/A-1",
            "https://gw.example.com/crm/customers/a-1/",
            "https://gw.example.com//crm/customers/a-1",
            "https://gw.example.com/crm%2Fcustomers/a-1",
            "https://gw.example.com/crm/customers/a-2",
        ] {
            assert_ne!(plain, normal(other), "{other}");
        }
        for none in [
            "",
            "/crm/customers/a-1",
            "gw.example.com/crm",
            "https:///a",
            "https://me@gw.example.com/a",
            "https://gw:x/a",
            "ftp://gw/a",
            "https://gw/%6",
            "https://gw/ä",
        ] {
            assert_eq!(None, normal(none), "{none}");
        }
    }
}
