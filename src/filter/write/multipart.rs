//! `multipart/form-data` (RFC 7578, <https://www.rfc-editor.org/rfc/rfc7578>; its frame is RFC 2046):
//!
//! ```text
//! --BOUNDARY CRLF
//! Content-Disposition: form-data; name="subject" CRLF
//! CRLF
//! Broken CRLF
//! --BOUNDARY CRLF
//! Content-Disposition: form-data; name="attachment"; filename="invoice.pdf" CRLF
//! Content-Type: application/pdf CRLF
//! CRLF
//! …bytes… CRLF
//! --BOUNDARY-- CRLF
//! ```
//!
//! An own reader: the crates for it are made to take what is sent (text before and after, header lines of any kind, folded lines, bare
//! line feeds, `filename*`), which is what two readers understand differently. The body is whole and within its limit, so nothing has
//! to stream, and it goes upstream written anew, with a boundary that stands nowhere in it.

use std::collections::HashSet;

use bytes::Bytes;

use super::fields::{Content, Field, Fields};
use super::media::{MediaType, parameters};
use super::{BodyError, Limits, Writable};
use crate::model::Shape;

/// Why a body is no such form. Says where a part begins, never what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    #[error("the body does not begin with the boundary of its content type")]
    Begin,
    #[error("the boundary stands at byte {at} where no part begins or ends")]
    Boundary { at: usize },
    #[error("more stands after the last part at byte {at}")]
    End { at: usize },
    #[error("a header of the part at byte {at} cannot be read, or is none of `Content-Disposition` and `Content-Type`")]
    Header { at: usize },
    #[error("the part at byte {at} has no `Content-Disposition: form-data` with one name, or more than name and filename in it")]
    Disposition { at: usize },
    #[error("the content type of the part at byte {at} is not taken: text in UTF-8, or one type of a file, never parts within a part")]
    Type { at: usize },
    #[error("the text of the part at byte {at} is not UTF-8")]
    NotUtf8 { at: usize },
}

/// `boundary`: as the content type names it, without the dashes before it.
pub(super) fn read(body: &Bytes, boundary: &str, shape: &Shape, limits: &Limits) -> Result<Fields, BodyError> {
    let mut fields = Vec::new();
    for (start, end) in parts(body, boundary)? {
        fields.push(part(&body.slice(start..end), start)?);
    }
    Ok(Fields::new(fields, shape, limits)?)
}

/// Where the parts begin and end, headers included.
fn parts(body: &[u8], boundary: &str) -> Result<Vec<(usize, usize)>, PartError> {
    let delimiter = format!("--{boundary}");
    let delimiter = delimiter.as_bytes();
    if boundary.is_empty() || !body.starts_with(delimiter) {
        return Err(PartError::Begin);
    }
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        // `at` is where the boundary stands.
        let after = at + delimiter.len();
        let rest = body.get(after..).unwrap_or_default();
        if let Some(rest) = rest.strip_prefix(b"--") {
            return if rest.is_empty() || rest == b"\r\n" { Ok(found) } else { Err(PartError::End { at: after + 2 }) };
        }
        if !rest.starts_with(b"\r\n") {
            return Err(PartError::Boundary { at });
        }
        let start = after + 2;
        let content = body.get(start..).unwrap_or_default();
        let next = position(content, delimiter).ok_or(PartError::End { at: body.len() })?;
        let end = next.checked_sub(2).filter(|end| content.get(*end..next) == Some(b"\r\n")).ok_or(PartError::Boundary { at: start + next })?;
        found.push((start, start + end));
        at = start + next;
    }
}

/// Where `sought` stands first. It does not begin like itself further on, unless somebody chose it so: then this costs its length more.
fn position(bytes: &[u8], sought: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(dash) = bytes.get(from..)?.iter().position(|b| *b == b'-') {
        let at = from + dash;
        if bytes.get(at..)?.starts_with(sought) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// `at`: where it stands in the body, for what is said of it.
fn part(part: &Bytes, at: usize) -> Result<Field, PartError> {
    let (mut disposition, mut content_type, mut length) = (None, None, None);
    let mut from = 0;
    loop {
        let rest = part.get(from..).unwrap_or_default();
        let end = rest.windows(2).position(|two| two == b"\r\n").ok_or(PartError::Header { at })?;
        let line = rest.get(..end).and_then(|line| std::str::from_utf8(line).ok()).ok_or(PartError::Header { at })?;
        from += end + 2;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or(PartError::Header { at })?;
        let slot = match name.to_ascii_lowercase().as_str() {
            "content-disposition" => &mut disposition,
            "content-type" => &mut content_type,
            // Some clients say it; it is believed if it is right, and not sent on.
            "content-length" => &mut length,
            _ => return Err(PartError::Header { at }),
        };
        let value = value.trim_matches([' ', '\t']);
        if value.contains(char::is_control) || slot.replace(value).is_some() {
            return Err(PartError::Header { at });
        }
    }
    let content = part.slice(from..);
    if length.is_some_and(|length| length != content.len().to_string()) {
        return Err(PartError::Header { at });
    }
    let (name, filename) = disposition.and_then(names).ok_or(PartError::Disposition { at })?;
    let content_type = content_type.map(|value| media(value).ok_or(PartError::Type { at })).transpose()?;
    let content = match (filename, content_type) {
        (Some(filename), media) => Content::File { filename, media, bytes: content },
        (None, media) if media.as_ref().is_none_or(|media| media == "text/plain") => {
            Content::Text(std::str::from_utf8(&content).map_err(|_bytes| PartError::NotUtf8 { at })?.to_owned())
        }
        // A part that the upstream would read by other rules than a text.
        (None, _) => return Err(PartError::Type { at }),
    };
    Ok(Field { name, content })
}

/// `form-data; name="…"; filename="…"`
fn names(value: &str) -> Option<(String, Option<String>)> {
    let (kind, rest) = value.split_once(';')?;
    if !kind.trim_end_matches([' ', '\t']).eq_ignore_ascii_case("form-data") {
        return None;
    }
    let (mut name, mut filename) = (None, None);
    for (parameter, value) in parameters(rest)? {
        match parameter.as_str() {
            "name" => name = Some(value),
            "filename" => filename = Some(value),
            _ => return None,
        }
    }
    // A path is nobody's to say.
    let is_path = filename.as_ref().is_some_and(|filename| filename == "." || filename == ".." || filename.contains('/'));
    if is_path { None } else { Some((name?, filename)) }
}

/// A content type without its parameters, of which there can only be UTF-8.
fn media(value: &str) -> Option<String> {
    let media = MediaType::parse(value).filter(|media| media.has_only(&["charset"]) && media.is_utf8())?;
    let is_nested = ["multipart/", "message/"].iter().any(|kind| media.essence.starts_with(kind));
    if is_nested { None } else { Some(media.essence) }
}

/// Written anew, without the values of these numbers.
pub(super) fn write(form: &Fields, left_out: &[usize]) -> Writable {
    let fields = form.kept(left_out);
    let boundary = unused_boundary(&fields);
    let mut out: Vec<u8> = Vec::new();
    for field in fields {
        out.extend_from_slice(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", field.name).as_bytes());
        let content: &[u8] = match &field.content {
            Content::Text(value) => value.as_bytes(),
            Content::File { filename, media, bytes } => {
                out.extend_from_slice(format!("; filename=\"{filename}\"").as_bytes());
                if let Some(media) = media {
                    out.extend_from_slice(format!("\r\nContent-Type: {media}").as_bytes());
                }
                bytes
            }
        };
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(content);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Writable { body: Bytes::from(out), content_type: format!("multipart/form-data; boundary={boundary}") }
}

/// The first of `consentry-0`, `consentry-1`, … that no content holds, also not as the beginning of a longer number. One look at the
/// contents, however many of these somebody put there.
fn unused_boundary(fields: &[&Field]) -> String {
    let mut used: HashSet<u64> = HashSet::new();
    for field in fields {
        let content: &[u8] = match &field.content {
            Content::Text(value) => value.as_bytes(),
            Content::File { bytes, .. } => bytes,
        };
        let mut rest = content;
        while let Some(at) = position(rest, BOUNDARY) {
            rest = rest.get(at + BOUNDARY.len()..).unwrap_or_default();
            let digits = rest.iter().take(DIGITS).take_while(|b| b.is_ascii_digit());
            let mut number = 0_u64;
            for digit in digits {
                number = number * 10 + u64::from(digit - b'0');
                used.insert(number);
            }
        }
    }
    let number = (0..).find(|number| !used.contains(number)).unwrap_or_default();
    format!("consentry-{number}")
}

const BOUNDARY: &[u8] = b"--consentry-";
/// More than any body has room for.
const DIGITS: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Field {
        Field { name: "a".to_owned(), content: Content::Text(value.to_owned()) }
    }

    #[test]
    fn the_boundary_stands_in_no_part() {
        let cases: [(&[&str], &str); 6] = [
            (&[], "consentry-0"),
            (&["--consentry-1"], "consentry-0"),
            (&["--consentry-0"], "consentry-1"),
            (&["x--consentry-0y", "\r\n--consentry-1--\r\n"], "consentry-2"),
            (&["--consentry-07"], "consentry-1"),
            (&["--consentry-12--consentry-0"], "consentry-2"),
        ];
        for (contents, expected) in cases {
            let fields: Vec<Field> = contents.iter().map(|c| text(c)).collect();
            assert_eq!(unused_boundary(&fields.iter().collect::<Vec<_>>()), expected, "{contents:?}");
        }
    }
}
