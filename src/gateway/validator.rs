//! Validators of the gateway's own, for APIs that declare `etag = "sealed"`
//! ([RFC 9110 §8.8.3](https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3)). An API's own ETag is never passed on: it knows nothing
//! of what was cut, it changes when withheld members change, and some are made of the whole body's hash or length. But without it
//! nobody can write safely what others write, too.
//!
//! ```text
//! etag = '"' base64url( version ‖ nonce(12) ‖ AES-256-GCM-SIV( digest(16) ‖ the API's etag ‖ zeros to a multiple of 32 ) ‖ tag(16) ) '"'
//! ```
//!
//! Sealed for one path of one API, each time with another nonce: it says nothing, not even that a record is unchanged, to who holds two.
//! Brought back with `If-Match`, what the API called the record goes on to it, and the API decides. Brought back with
//! `If-None-Match`, the digest of the filtered bytes is compared after the whole decision was made and recorded: 304 says that the
//! caller has exactly what would be released now. The upstream is never asked for a 304.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, Method, StatusCode};

const VERSION: u8 = 1;
const DIGEST_BYTES: usize = 16;
/// A sealed text is filled up to a multiple of this, bytes: its length tells little.
const PADDED_TO: usize = 32;
/// An API's ETag, bytes; for a longer one the answer has none.
const ETAG_BYTES_MAX: usize = 256;
/// Tags in one `If-None-Match`.
const TAGS_MAX: usize = 16;

/// Seals and opens validators, with a key of this installation.
pub struct Validators(RandomizedNonceKey);

impl fmt::Debug for Validators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Validators(…)")
    }
}

/// What a validator says once it is opened.
#[derive(Debug, PartialEq, Eq)]
struct Opened {
    digest: Vec<u8>,
    /// The API's own; empty when it gave none.
    etag: Vec<u8>,
}

impl Validators {
    /// # Errors
    /// When the key cannot be used.
    pub fn new(key: &[u8; 32]) -> Result<Self, Unspecified> {
        Ok(Self(RandomizedNonceKey::new(&AES_256_GCM_SIV, key)?))
    }

    /// The `ETag` of an answer. `of`: API and path. `None` when there is nothing to be said.
    pub(super) fn seal(&self, of: &str, filtered: &[u8], upstream: &HeaderMap) -> Option<HeaderValue> {
        let mut tags = upstream.get_all(ETAG).iter();
        let etag = match (tags.next(), tags.next()) {
            (Some(tag), None) => tag.as_bytes(),
            (None, _) => b"",
            (Some(_), Some(_)) => return None,
        };
        if etag.len() > ETAG_BYTES_MAX || !(etag.is_empty() || is_tag(etag)) {
            return None;
        }
        let mut text = [digest_of(filtered).as_slice(), etag].concat();
        text.resize(text.len().next_multiple_of(PADDED_TO), 0);
        let nonce = self.0.seal_in_place_append_tag(aad(of), &mut text).ok()?;
        let sealed = URL_SAFE_NO_PAD.encode([&[VERSION], &nonce.as_ref()[..], &text].concat());
        HeaderValue::from_str(&format!("\"{sealed}\"")).ok()
    }

    fn open(&self, of: &str, tag: &str) -> Option<Opened> {
        let bytes = URL_SAFE_NO_PAD.decode(tag.strip_prefix('"')?.strip_suffix('"')?).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        if *version != VERSION || sealed.len() > DIGEST_BYTES + ETAG_BYTES_MAX + PADDED_TO + 16 {
            return None;
        }
        let mut sealed = sealed.to_vec();
        let text = self.0.open_in_place(Nonce::try_assume_unique_for_key(nonce).ok()?, aad(of), &mut sealed).ok()?;
        let (digest, etag) = text.split_at_checked(DIGEST_BYTES)?;
        let end = etag.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        Some(Opened { digest: digest.to_vec(), etag: etag.get(..end)?.to_vec() })
    }

    /// Whether the caller has these bytes already: one of the tags in `If-None-Match` was sealed over them.
    pub(super) fn is_known(&self, of: &str, asked: &HeaderMap, filtered: &[u8]) -> bool {
        let texts = asked.get_all(IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
        // A weak comparison, as RFC 9110 has it for this header. `*` would ask whether there is anything at all.
        let tags = texts.flat_map(|text| text.split(',')).map(|tag| tag.trim()).map(|tag| tag.strip_prefix("W/").unwrap_or(tag));
        let digest = digest_of(filtered);
        tags.take(TAGS_MAX).any(|tag| self.open(of, tag).is_some_and(|opened| opened.digest == digest))
    }

    /// The conditions of a write as the API gets them. They are kept or the write is refused: one that was left out would let a write
    /// through that its caller had ruled out. `sealed`: whether the API declares validators.
    ///
    /// # Errors
    /// [`NotKept`]
    pub(super) fn conditions(&self, of: &str, sealed: bool, asked: &HeaderMap) -> Result<Option<(HeaderName, HeaderValue)>, NotKept> {
        let mut found = None;
        for name in [IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE] {
            for value in asked.get_all(&name) {
                let forwarded = if name != IF_UNMODIFIED_SINCE && value.as_bytes() == b"*" {
                    // Whether there is something or nothing needs no validator, and whoever may write learns it anyway.
                    value.clone()
                } else if name == IF_MATCH && sealed {
                    let opened = value.to_str().ok().and_then(|tag| self.open(of, tag.trim())).filter(|opened| !opened.etag.is_empty());
                    opened.and_then(|opened| HeaderValue::from_bytes(&opened.etag).ok()).ok_or(NotKept)?
                } else {
                    return Err(NotKept);
                };
                if found.replace((name.clone(), forwarded)).is_some() {
                    return Err(NotKept);
                }
            }
        }
        Ok(found)
    }
}

/// A condition that cannot be kept, or does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a condition of the write cannot be kept")]
pub(super) struct NotKept;

/// Whether the caller asks for a record, and may say what it has.
pub(super) fn is_read(method: &Method, status: StatusCode) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && status == StatusCode::OK
}

/// Whether the answer to a write is about the record at the same path, and the API says what that is called now.
pub(super) fn is_written(method: &Method, status: StatusCode, upstream: &HeaderMap) -> bool {
    matches!(*method, Method::PUT | Method::PATCH) && matches!(status, StatusCode::OK | StatusCode::NO_CONTENT) && upstream.contains_key(ETAG)
}

fn aad(of: &str) -> Aad<Vec<u8>> {
    Aad::from([&[VERSION], of.as_bytes()].concat())
}

fn digest_of(filtered: &[u8]) -> Vec<u8> {
    digest(&SHA256, filtered).as_ref().iter().take(DIGEST_BYTES).copied().collect()
}

/// `"…"` or `W/"…"`, as one tag.
fn is_tag(bytes: &[u8]) -> bool {
    let quoted = bytes.strip_prefix(b"W/").unwrap_or(bytes);
    let inner = quoted.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.is_some_and(|inner| inner.iter().all(|b| *b == 0x21 || (0x23..0x7f).contains(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validators() -> Validators {
        Validators::new(&[7; 32]).unwrap()
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut all = HeaderMap::new();
        for (name, value) in pairs {
            all.append(name.clone(), value.parse().unwrap());
        }
        all
    }

    const OF: &str = "crm /customers/0031";

    fn sealed(etag: &str) -> String {
        let upstream = if etag.is_empty() { HeaderMap::new() } else { headers(&[(ETAG, etag)]) };
        validators().seal(OF, b"{}", &upstream).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn a_validator_says_nothing_and_comes_back_whole() {
        let (one, two) = (sealed("\"v1\""), sealed("\"v1\""));
        assert_ne!(one, two, "not even that nothing changed");
        assert_eq!(one.len(), sealed("\"another-one\"").len());
        let opened = validators().open(OF, &one).unwrap();
        assert_eq!((opened.etag.as_slice(), opened.digest), (&b"\"v1\""[..], digest_of(b"{}")));
        for tag in ["\"\"", "\"AQ\"", "", "*", one.trim_matches('"'), &one.replace('A', "B").replace('Q', "R"), &format!("W/{one}")] {
            assert_eq!(validators().open(OF, tag), None, "{tag}");
        }
        assert_eq!(validators().open("crm /customers/0044", &one), None, "another record");
        assert_eq!(Validators::new(&[8; 32]).unwrap().open(OF, &one), None, "another installation");
    }

    #[test]
    fn tags_that_are_none_are_not_sealed() {
        for etag in ["v1", "\"v1", "w/\"v1\"", "\"a\"b\"", "\"a b\"", "*", &format!("\"{}\"", "x".repeat(300))] {
            assert_eq!(validators().seal(OF, b"{}", &headers(&[(ETAG, etag)])), None, "{etag}");
        }
        assert_eq!(validators().seal(OF, b"{}", &headers(&[(ETAG, "\"a\""), (ETAG, "\"b\"")])), None);
        assert!(validators().seal(OF, b"{}", &HeaderMap::new()).is_some(), "to compare what was filtered, none is needed");
    }

    #[test]
    fn only_the_same_bytes_are_known() {
        let tag = sealed("\"v1\"");
        let known = |value: &str, filtered: &[u8]| validators().is_known(OF, &headers(&[(IF_NONE_MATCH, value)]), filtered);
        assert!(known(&tag, b"{}") && known(&format!("W/{tag}"), b"{}") && known(&format!("\"x\", {tag}"), b"{}"));
        for (value, filtered) in [(tag.as_str(), &b"{ }"[..]), ("*", b"{}"), ("\"v1\"", b"{}"), ("", b"{}")] {
            assert!(!known(value, filtered), "{value}");
        }
        let many = format!("{}{tag}", "\"x\",".repeat(TAGS_MAX));
        assert!(!known(&many, b"{}"));
        assert!(!validators().is_known("crm /customers/0044", &headers(&[(IF_NONE_MATCH, &tag)]), b"{}"));
    }

    #[test]
    fn a_condition_is_kept_or_the_write_is_refused() {
        let tag = sealed("W/\"v1\"");
        let conditions = |sealed: bool, pairs: &[(HeaderName, &str)]| {
            let found = validators().conditions(OF, sealed, &headers(pairs))?;
            Ok(found.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())))
        };
        assert_eq!(conditions(false, &[]), Ok(None));
        assert_eq!(conditions(false, &[(IF_MATCH, "*")]).unwrap().as_deref(), Some("if-match: *"));
        assert_eq!(conditions(true, &[(IF_NONE_MATCH, "*")]).unwrap().as_deref(), Some("if-none-match: *"));
        assert_eq!(conditions(true, &[(IF_MATCH, &tag)]).unwrap().as_deref(), Some("if-match: W/\"v1\""));
        for (is_sealed, pairs) in [
            (false, &[(IF_MATCH, tag.as_str())][..]),
            (true, &[(IF_MATCH, "\"v1\"")]),
            (true, &[(IF_MATCH, &sealed(""))]),
            (true, &[(IF_MATCH, &format!("{tag}, {tag}"))]),
            (true, &[(IF_MATCH, &tag), (IF_MATCH, &tag)]),
            (true, &[(IF_MATCH, "*"), (IF_NONE_MATCH, "*")]),
            (true, &[(IF_NONE_MATCH, &tag)]),
            (true, &[(IF_UNMODIFIED_SINCE, "Wed, 01 Jul 2026 00:00:00 GMT")]),
            (true, &[(IF_UNMODIFIED_SINCE, "*")]),
        ] {
            assert_eq!(conditions(is_sealed, pairs), Err(NotKept), "{is_sealed} {pairs:?}");
        }
    }
}
