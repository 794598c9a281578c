//! Content types ([RFC 9110, 8.3](https://www.rfc-editor.org/rfc/rfc9110#section-8.3)), read strictly: of a request, and of the
//! parts of a form.

/// `type/subtype; name=value`. Each parameter stands there once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    /// Lower case.
    pub essence: String,
    /// Names in lower case; values without their quotation marks.
    parameters: Vec<(String, String)>,
}

impl MediaType {
    /// `None`: readers may take it for two things.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (essence, rest) = text.split_once(';').unwrap_or((text, ""));
        let essence = essence.trim_matches(BLANKS).to_ascii_lowercase();
        let (kind, subtype) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        Some(Self { parameters: parameters(rest)?, essence })
    }

    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether no other parameters than these stand there.
    #[must_use]
    pub fn has_only(&self, names: &[&str]) -> bool {
        self.parameters.iter().all(|(name, _)| names.contains(&name.as_str()))
    }

    /// UTF-8, if it says.
    #[must_use]
    pub fn is_utf8(&self) -> bool {
        self.parameter("charset").is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8"))
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

/// `a=b; c="d"`: tokens, or quoted texts without a backslash, which some readers take for itself and some for nothing. Names in
/// lower case, each once.
pub(super) fn parameters(text: &str) -> Option<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim_matches(BLANKS);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            let (value, after) = quoted.split_once('"')?;
            if value.contains('\\') || value.contains(char::is_control) {
                return None;
            }
            (value, after)
        } else {
            let (value, after) = after.split_at(after.find([';', ' ', '\t']).unwrap_or(after.len()));
            if !is_token(value) {
                return None;
            }
            (value, after)
        };
        let name = name.to_ascii_lowercase();
        if !is_token(&name) || found.iter().any(|(known, _)| *known == name) {
            return None;
        }
        found.push((name, value.to_owned()));
        let after = after.trim_start_matches(BLANKS);
        rest = if after.is_empty() { after } else { after.strip_prefix(';')?.trim_start_matches(BLANKS) };
    }
    Some(found)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_readers_may_take_for_two_things_is_refused() {
        let good = [
            "application/json",
            "Application/JSON ; Charset=\"UTF-8\"",
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            "multipart/form-data;boundary=\"a b:c\" ;",
            "text/plain;",
        ];
        for text in good {
            assert!(MediaType::parse(text).is_some_and(|media| media.is_utf8()), "{text}");
        }
        let bad = [
            "",
            "json",
            "application/",
            "application/json, text/html",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=a; BOUNDARY=a",
            "multipart/form-data; boundary=\"a\\\"b\"",
            "multipart/form-data; boundary=\"a",
            "multipart/form-data; boundary",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a b",
            "multipart/form-data; boundary=a:b",
            "multipart/form-data; boundary =a",
            "multipart/form-data; ; boundary=a",
        ];
        for text in bad {
            assert_eq!(MediaType::parse(text), None, "{text}");
        }
        assert!(!MediaType::parse("text/plain; charset=utf-16").unwrap().is_utf8());
    }
}
