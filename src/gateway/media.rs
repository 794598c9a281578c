//! The content type of a written body: one, of those that the route takes, in UTF-8 and not compressed.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::problem::{Code, Details, Problem};
use crate::filter::MediaType;
use crate::model::{BodyKind, BodyType};

/// What a body is, as its headers say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Declared<'p> {
    pub(super) body_type: &'p BodyType,
    /// Of a multipart body.
    pub(super) boundary: Option<String>,
}

/// # Errors
/// 415 that names the types of the route; it is the same whoever asks.
pub(super) fn declared<'p>(headers: &HeaderMap, types: &'p [BodyType]) -> Result<Declared<'p>, Problem> {
    read(headers, types).ok_or_else(|| {
        let names: Vec<&str> = types.iter().map(|known| known.name.as_str()).collect();
        let remedy = Some(format!("send uncompressed {} in UTF-8", names.join(" or ")));
        Problem::with(Code::MediaType, Details { remedy, ..Details::default() })
    })
}

fn read<'p>(headers: &HeaderMap, types: &'p [BodyType]) -> Option<Declared<'p>> {
    let mut written = headers.get_all(CONTENT_TYPE).iter();
    let (Some(one), None) = (written.next(), written.next()) else { return None };
    let media = MediaType::parse(one.to_str().ok()?).filter(MediaType::is_utf8)?;
    let body_type = types.iter().find(|known| known.name == media.essence)?;
    if headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let boundary = match body_type.kind {
        // Parameters of JSON change nothing, whatever they are.
        BodyKind::Json | BodyKind::MergePatch | BodyKind::JsonPatch => None,
        BodyKind::Form if media.has_only(&["charset"]) => None,
        BodyKind::Multipart if media.has_only(&["boundary", "charset"]) => {
            Some(media.parameter("boundary").filter(|boundary| is_boundary(boundary))?.to_owned())
        }
        BodyKind::Form | BodyKind::Multipart => return None,
    };
    Some(Declared { body_type, boundary })
}

/// `bchars` of RFC 2046, without the space.
fn is_boundary(text: &str) -> bool {
    (1..=70).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(values: &[&str], types: &[&str]) -> Option<(BodyKind, Option<String>)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_TYPE, value.parse().unwrap());
        }
        let types: Vec<BodyType> = types.iter().map(|name| BodyType::parse(name).unwrap()).collect();
        declared(&headers, &types).ok().map(|found| (found.body_type.kind, found.boundary))
    }

    #[test]
    fn a_route_takes_the_types_that_it_declares_and_no_other() {
        let json = ["application/json"];
        assert_eq!(taken(&["application/json"], &json), Some((BodyKind::Json, None)));
        assert_eq!(taken(&["Application/JSON; charset=\"utf-8\"; odata.metadata=none"], &json), Some((BodyKind::Json, None)));
        let every = [
            "application/vnd.api+json",
            "application/merge-patch+json",
            "application/json-patch+json",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
        ];
        assert_eq!(taken(&["application/vnd.api+json"], &every), Some((BodyKind::Json, None)));
        assert_eq!(taken(&["application/merge-patch+json"], &every), Some((BodyKind::MergePatch, None)));
        assert_eq!(taken(&["application/json-patch+json"], &every), Some((BodyKind::JsonPatch, None)));
        assert_eq!(taken(&["application/x-www-form-urlencoded;charset=UTF-8"], &every), Some((BodyKind::Form, None)));
        assert_eq!(taken(&["multipart/form-data; boundary=\"a:b\""], &every), Some((BodyKind::Multipart, Some("a:b".to_owned()))));
        let refused: &[&[&str]] = &[
            &[],
            &["application/json"],
            &["application/vnd.api+json", "application/vnd.api+json"],
            &["application/vnd.api+json, application/json"],
            &["application/vnd.api+json; charset=utf-16"],
            &["application/xml"],
            &["text/plain"],
            &["application/x-www-form-urlencoded; charset=latin1"],
            &["application/x-www-form-urlencoded; boundary=a"],
            &["multipart/form-data"],
            &["multipart/form-data; boundary=\"\""],
            &["multipart/form-data; boundary=\"a b\""],
            &["multipart/form-data; boundary=a; charset=utf-7"],
            &["multipart/form-data; boundary=a; type=b"],
            &["multipart/mixed; boundary=a"],
        ];
        for values in refused {
            assert_eq!(taken(values, &every), None, "{values:?}");
        }
        assert_eq!(taken(&[&format!("multipart/form-data; boundary={}", "a".repeat(71))], &every), None);
        // What only some say is read as they are.
        for other in ["application/merge-patch+json", "application/problem+json", "application/x-www-form-urlencoded"] {
            assert_eq!(taken(&[other], &json), None, "{other}");
        }
    }
}
