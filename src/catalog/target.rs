//! The request target, read once and strictly ([RFC 3986](https://www.rfc-editor.org/rfc/rfc3986), origin form). Whatever two
//! parsers may read differently is an error and becomes a 400: encoded separators, dot segments, double encoding, empty
//! segments, path parameters, backslashes, characters outside ASCII. What is left has one canonical form, which is matched
//! and sent.

use std::fmt::Write as _;

/// Longer targets are refused (414).
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// A target without ambiguity. `Debug` hides it: paths and queries carry ids.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    path: String,
    /// Decoded once, without the slash at the start; an empty last one is a slash at the end.
    segments: Vec<String>,
    query: Vec<(String, String)>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("segments", &self.segments.len()).field("query", &self.query.len()).finish_non_exhaustive()
    }
}

/// Why a target is refused. Without the offending text: it may be an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("the target is longer than {TARGET_BYTES_MAX} bytes")]
    TooLong,
    #[error("the path does not start with `/`")]
    NotAPath,
    #[error("a character stands there that must be percent-encoded")]
    Character,
    #[error("`%` is not followed by two hexadecimal digits")]
    Percent,
    #[error("an encoded separator stands in the path")]
    EncodedSeparator,
    #[error("an encoded `%` stands in the path: it may have been encoded twice")]
    DoubleEncoding,
    #[error("a segment of the path is `.` or `..`")]
    DotSegment,
    #[error("a segment of the path is empty")]
    EmptySegment,
    #[error("`;` stands in the path or separates parameters")]
    Semicolon,
    #[error("the path holds characters outside ASCII")]
    NotAscii,
    #[error("the query is not UTF-8")]
    NotUtf8,
    #[error("a control character stands in the target")]
    Control,
}

impl Target {
    /// Reads path and query as they came in the request line.
    ///
    /// # Errors
    /// [`TargetError`]; all but `TooLong` (414) are `ambiguous-request` (400).
    pub fn parse(path_and_query: &str) -> Result<Self, TargetError> {
        if path_and_query.len() > TARGET_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let rest = path.strip_prefix('/').ok_or(TargetError::NotAPath)?;
        let pieces: Vec<&str> = if rest.is_empty() { Vec::new() } else { rest.split('/').collect() };
        let last = pieces.len().saturating_sub(1);
        let mut segments = Vec::with_capacity(pieces.len());
        for (n, piece) in pieces.into_iter().enumerate() {
            // One slash at the end is another path than none; it only matches a template that ends so.
            if piece.is_empty() && (n != last || n == 0) {
                return Err(TargetError::EmptySegment);
            }
            segments.push(segment(piece)?);
        }
        Ok(Self { path: canonical_path(&segments), segments, query: parse_query(query)? })
    }

    /// The canonical path: what is matched and sent.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Names and values, decoded once, in their order. Repeated names are still here: [`super::Found::judge_query`] refuses them.
    #[must_use]
    pub fn query(&self) -> &[(String, String)] {
        &self.query
    }

    /// The decoded segments below a prefix such as `/crm`.
    pub(super) fn rest(&self, prefix: &str) -> Option<&[String]> {
        let mut segments = self.segments.as_slice();
        for wanted in prefix.split('/').skip(1) {
            let (first, rest) = segments.split_first()?;
            if first != wanted {
                return None;
            }
            segments = rest;
        }
        Some(segments)
    }
}

/// One segment, decoded once.
fn segment(raw: &str) -> Result<String, TargetError> {
    if let Some(byte) = raw.bytes().find(|b| !is_path_byte(*b)) {
        return Err(match byte {
            b';' => TargetError::Semicolon,
            0x80.. => TargetError::NotAscii,
            0x00..0x20 | 0x7f => TargetError::Control,
            _ => TargetError::Character,
        });
    }
    let decoded = decode(raw, false)?;
    for byte in &decoded {
        match byte {
            b'/' | b'\\' => return Err(TargetError::EncodedSeparator),
            b'%' => return Err(TargetError::DoubleEncoding),
            b';' => return Err(TargetError::Semicolon),
            0x80.. => return Err(TargetError::NotAscii),
            0x00..0x20 | 0x7f => return Err(TargetError::Control),
            _ => {}
        }
    }
    if decoded == b"." || decoded == b".." {
        return Err(TargetError::DotSegment);
    }
    String::from_utf8(decoded).map_err(|_not_ascii| TargetError::NotAscii)
}

fn parse_query(raw: &str) -> Result<Vec<(String, String)>, TargetError> {
    if let Some(byte) = raw.bytes().find(|b| !b.is_ascii_graphic() || matches!(b, b'#' | b'\\' | b';')) {
        return Err(match byte {
            b';' => TargetError::Semicolon,
            0x80.. => TargetError::NotAscii,
            0x00..0x20 | 0x7f => TargetError::Control,
            _ => TargetError::Character,
        });
    }
    let text = |raw: &str| {
        let text = String::from_utf8(decode(raw, true)?).map_err(|_bytes| TargetError::NotUtf8)?;
        if text.chars().any(char::is_control) { Err(TargetError::Control) } else { Ok(text) }
    };
    let pairs = raw.split('&').filter(|piece| !piece.is_empty()).map(|piece| piece.split_once('=').unwrap_or((piece, "")));
    pairs.map(|(name, value)| Ok((text(name)?, text(value)?))).collect()
}

/// Percent-decodes exactly once; a `%` without two digits is an error, not text.
fn decode(raw: &str, plus_is_space: bool) -> Result<Vec<u8>, TargetError> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(hex).ok_or(TargetError::Percent);
                digit()? * 16 + digit()?
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    Ok(decoded)
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// `pchar` of RFC 3986 and `%`, without `;`.
const fn is_path_byte(byte: u8) -> bool {
    byte == b'%' || is_segment_byte(byte)
}

const fn is_segment_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

/// Decoded segments in their one spelling: `/a/b%20c`.
pub(super) fn canonical_path(segments: &[String]) -> String {
    let mut path = String::new();
    for segment in segments {
        path.push('/');
        encode(&mut path, segment, is_segment_byte);
    }
    if path.is_empty() {
        path.push('/');
    }
    path
}

/// Names and values in their one spelling: `a=1&b=x%20y`; empty when there are none.
pub(super) fn canonical_query<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'$' | b'*' | b',' | b':' | b'@');
    let mut query = String::new();
    for (name, value) in pairs {
        if !query.is_empty() {
            query.push('&');
        }
        encode(&mut query, name, plain);
        query.push('=');
        encode(&mut query, value, plain);
    }
    query
}

fn encode(out: &mut String, text: &str, plain: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _infallible: std::fmt::Result = write!(out, "%{byte:02X}");
        }
    }
}
