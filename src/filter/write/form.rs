//! `application/x-www-form-urlencoded` (<https://url.spec.whatwg.org/#application/x-www-form-urlencoded>), read strictly: the
//! standard's reader takes any bytes and guesses; this one refuses what its writer would never write.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::fields::{Content, Field, Fields};
use super::{BodyError, Limits};
use crate::model::Shape;

/// Why a body is no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("a byte stands at {at} that must be percent-encoded")]
    Byte { at: usize },
    #[error("a `%` is not followed by two hexadecimal digits")]
    Percent,
    #[error("a field is not UTF-8")]
    NotUtf8,
}

pub(super) fn read(body: &[u8], shape: &Shape, limits: &Limits) -> Result<Fields, BodyError> {
    // `;` once separated fields, and still does for some.
    if let Some(at) = body.iter().position(|b| !b.is_ascii_graphic() || *b == b';') {
        return Err(FormError::Byte { at }.into());
    }
    let mut fields = Vec::new();
    for piece in body.split(|b| *b == b'&').filter(|piece| !piece.is_empty()) {
        let end = piece.iter().position(|b| *b == b'=').unwrap_or(piece.len());
        let (name, value) = piece.split_at(end);
        fields.push(Field { name: decode(name)?, content: Content::Text(decode(value.get(1..).unwrap_or_default())?) });
    }
    Ok(Fields::new(fields, shape, limits)?)
}

fn decode(raw: &[u8]) -> Result<String, FormError> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit =
                    || bytes.next().and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok()).ok_or(FormError::Percent);
                digit()? * 16 + digit()?
            }
            b'+' => b' ',
            other => *other,
        });
    }
    String::from_utf8(decoded).map_err(|_bytes| FormError::NotUtf8)
}

/// What the standard's writer leaves as it is; it writes a space as `+`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_').remove(b' ');

/// Written anew from what was judged.
pub(super) fn write(fields: Vec<&Field>) -> String {
    let mut out = String::new();
    for field in fields {
        if !out.is_empty() {
            out.push('&');
        }
        let value = match &field.content {
            Content::Text(value) => value.as_str(),
            // No field of this form is a file.
            Content::File { .. } => "",
        };
        for (text, end) in [(field.name.as_str(), "="), (value, "")] {
            let encoded = utf8_percent_encode(text, ENCODED).map(|piece| piece.replace(' ', "+"));
            encoded.for_each(|piece| out.push_str(&piece));
            out.push_str(end);
        }
    }
    out
}
