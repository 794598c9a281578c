//! gzip towards callers, on filtered bytes only: an API's `compress = true` and the caller's `Accept-Encoding` both ask for it
//! ([RFC 9110 §12.5.3](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3)).
//!
//! Off unless an API asks for it. What is compressed together tells its likeness by its length, also through TLS (BREACH): who can
//! write one row of a list, or choose a parameter that is answered, and watch lengths on the wire can guess at the other rows. A
//! department that owns the data and knows the way to its callers may weigh that against the bandwidth; the gateway cannot.
//!
//! Only gzip: every client takes it, and encoders of brotli and Zstandard in Rust are large or young.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, HeaderValue};

/// Shorter answers gain nothing, bytes.
const WORTH_BYTES: usize = 1_024;

/// What becomes of an answer's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Choice {
    /// The API does not compress: whatever is asked for, the answer is plain.
    #[default]
    Off,
    /// It does, but this caller does not take it: the answer varies.
    Plain,
    Gzip,
}

impl Choice {
    /// `compress`: what the API declares. An answer is never refused for want of a coding: who forbids `identity` gets it even so,
    /// as RFC 9110 allows.
    pub(super) fn of(compress: bool, asked: &HeaderMap) -> Self {
        match (compress, takes_gzip(asked)) {
            (false, _) => Self::Off,
            (true, false) => Self::Plain,
            (true, true) => Self::Gzip,
        }
    }

    /// Whether this answer is compressed. `length`: filtered bytes, if they are known.
    pub(super) fn compresses(self, content_type: Option<&HeaderValue>, length: Option<usize>) -> bool {
        self == Self::Gzip && length.is_none_or(|length| length >= WORTH_BYTES) && content_type.is_some_and(packs_well)
    }
}

/// Whether gzip is taken, and not less gladly than a plain answer. What cannot be read asks for nothing.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    for value in headers.get_all(ACCEPT_ENCODING) {
        let Ok(text) = value.to_str() else { return false };
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (name, rest) = item.split_once(';').unwrap_or((item, ""));
            let Some(weight) = weight(rest) else { return false };
            match name.trim().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => gzip = gzip.max(Some(weight)),
                "*" => any = Some(weight),
                "identity" => identity = Some(weight),
                _ => {}
            }
        }
    }
    gzip.or(any).is_some_and(|gzip| gzip > 0 && gzip >= identity.unwrap_or(0))
}

/// `q=0.5` in thousandths; 1,000 when nothing stands there.
fn weight(text: &str) -> Option<u16> {
    let text = text.trim();
    if text.is_empty() {
        return Some(1_000);
    }
    let (name, value) = text.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, fraction) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1_000),
        _ => None,
    }
}

/// Text and JSON; pictures and archives are packed already.
fn packs_well(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let named = ["application/json", "application/xml", "application/javascript", "application/x-ndjson"];
    essence.starts_with("text/") || essence.ends_with("+json") || essence.ends_with("+xml") || named.contains(&essence.as_str())
}

/// Compresses an answer part by part: after each push the caller can read all that was pushed.
pub(super) struct Encoder(GzEncoder<Vec<u8>>);

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder(…)")
    }
}

impl Encoder {
    pub(super) fn new() -> Self {
        // The fastest level: a caller waits for this.
        Self(GzEncoder::new(Vec::new(), Compression::fast()))
    }

    /// Appends what a part compresses to, with a flush.
    ///
    /// # Errors
    /// Never, as far as is known; then nothing more may be sent.
    pub(super) fn push(&mut self, part: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.0.write_all(part)?;
        self.0.flush()?;
        out.append(self.0.get_mut());
        Ok(())
    }

    /// Appends the end.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(super) fn finish(self, out: &mut Vec<u8>) -> io::Result<()> {
        out.extend(self.0.finish()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::write::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|v| (ACCEPT_ENCODING, HeaderValue::from_bytes(v.as_bytes()).unwrap())).fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        })
    }

    #[test]
    fn gzip_is_sent_to_those_who_ask_for_it() {
        for values in [
            &["gzip"][..],
            &["GZIP"],
            &["x-gzip"],
            &["br, gzip;q=0.2"],
            &["deflate", "gzip"],
            &["*"],
            &["*;q=0.1"],
            &["gzip;q=1.000, identity;q=0"],
            &["gzip ; q=0.5 , identity; Q=0.5"],
            &["identity;q=0, *"],
            &["gzip;q=0.001"],
        ] {
            assert!(takes_gzip(&headers(values)), "{values:?}");
        }
        for values in [
            &[][..],
            &[""],
            &["identity"],
            &["br, zstd"],
            &["gzip;q=0"],
            &["gzip;q=0.000"],
            &["*, gzip;q=0"],
            &["*;q=0"],
            &["gzip;q=0.4, identity;q=0.5"],
            &["gzip;q=2"],
            &["gzip;q=1.1"],
            &["gzip;q=0.1234"],
            &["gzip;q=-1"],
            &["gzip;q="],
            &["gzip;level=9"],
            &["gzip, br;q=x"],
            &["identity;q=0"],
            &["gzi\u{ef}p"],
        ] {
            assert!(!takes_gzip(&headers(values)), "{values:?}");
        }
    }

    #[test]
    fn an_api_that_does_not_compress_never_does() {
        assert_eq!(Choice::of(false, &headers(&["gzip"])), Choice::Off);
        assert_eq!(Choice::of(true, &headers(&["br"])), Choice::Plain);
        assert_eq!(Choice::of(true, &headers(&["gzip"])), Choice::Gzip);
    }

    #[test]
    fn only_long_texts_are_compressed() {
        let json = HeaderValue::from_static("application/json");
        for (choice, content_type, length, expected) in [
            (Choice::Gzip, Some(&json), Some(WORTH_BYTES), true),
            (Choice::Gzip, Some(&json), None, true),
            (Choice::Gzip, Some(&json), Some(WORTH_BYTES - 1), false),
            (Choice::Gzip, None, Some(WORTH_BYTES), false),
            (Choice::Plain, Some(&json), Some(WORTH_BYTES), false),
            (Choice::Off, Some(&json), Some(WORTH_BYTES), false),
        ] {
            assert_eq!(choice.compresses(content_type, length), expected, "{choice:?} {content_type:?} {length:?}");
        }
        for (text, expected) in [
            ("application/json; charset=utf-8", true),
            ("application/vnd.api+json", true),
            ("text/csv", true),
            ("image/png", false),
            ("application/zip", false),
            ("application/octet-stream", false),
        ] {
            assert_eq!(packs_well(&HeaderValue::from_static(text)), expected, "{text}");
        }
    }

    fn unpacked(bytes: &[u8]) -> Vec<u8> {
        let mut decoder = GzDecoder::new(Vec::new());
        decoder.write_all(bytes).unwrap();
        decoder.flush().unwrap();
        decoder.get_ref().clone()
    }

    proptest! {
        #[test]
        fn each_part_can_be_read_as_soon_as_it_was_pushed(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6)) {
            let (mut encoder, mut sent, mut pushed) = (Encoder::new(), Vec::new(), Vec::new());
            for part in &parts {
                encoder.push(part, &mut sent).unwrap();
                pushed.extend_from_slice(part);
                prop_assert_eq!(&unpacked(&sent), &pushed);
            }
            encoder.finish(&mut sent).unwrap();
            let mut whole = GzDecoder::new(Vec::new());
            whole.write_all(&sent).unwrap();
            prop_assert_eq!(whole.finish().unwrap(), pushed);
        }
    }
}
