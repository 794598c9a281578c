//! Paths and queries, read strictly: one decoding, no two readings.

use super::dispatch::Param;
use super::problem::{Code, Problem};

const SEGMENT_BYTES_MAX: usize = 1024;
const QUERY_BYTES_MAX: usize = 4096;

/// The raw segments that stand for the template's `{…}`, when the path matches. A template may end a segment with a verb
/// (`{id}:erase`); without one the segment is taken whole, and so are ids with a colon in them. `{path+}` at the end stands for all
/// segments that are left.
pub(super) fn matched(template: &str, path: &str) -> Option<Vec<String>> {
    let mut params = Vec::new();
    let mut given = path.split('/');
    for wanted in template.split('/') {
        let segment = given.next()?;
        if wanted.ends_with("+}") {
            params.push(given.fold(segment.to_owned(), |path, segment| path + "/" + segment));
            return params.last().is_some_and(|path| !path.is_empty()).then_some(params);
        }
        if let Some(rest) = wanted.strip_prefix('{') {
            let (_, verb) = rest.split_once('}')?;
            let value = segment.strip_suffix(verb)?;
            if value.is_empty() {
                return None;
            }
            params.push(value.to_owned());
        } else if wanted != segment {
            return None;
        }
    }
    given.next().is_none().then_some(params)
}

/// Decodes a segment once.
pub(super) fn decode_segment(raw: &str) -> Result<String, Problem> {
    if raw.len() > SEGMENT_BYTES_MAX {
        return Err(Problem::invalid("an id in the path is too long"));
    }
    decode(raw)
}

fn decode(raw: &str) -> Result<String, Problem> {
    let ambiguous = |what: &str| Problem::new(Code::AmbiguousRequest, "percent-encode ids once, as UTF-8").detail(what.to_owned());
    let bytes = raw.as_bytes();
    for (i, byte) in bytes.iter().enumerate() {
        let digits = || bytes.get(i + 1..i + 3).is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit));
        if *byte == b'%' && !digits() {
            return Err(ambiguous("`%` without two hexadecimal digits"));
        }
    }
    let text = percent_encoding::percent_decode_str(raw).decode_utf8().map_err(|_utf8| ambiguous("not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(ambiguous("a control character"));
    }
    Ok(text.into_owned())
}

/// Query parameters: each declared, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(&'static str, String)>);

impl Query {
    pub(super) fn parse(raw: &str, declared: &'static [Param]) -> Result<Self, Problem> {
        if raw.len() > QUERY_BYTES_MAX {
            return Err(Problem::invalid("the query is too long"));
        }
        let mut found: Vec<(&'static str, String)> = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            let Some(param) = declared.iter().find(|param| param.name == name) else {
                let names: Vec<&str> = declared.iter().map(|param| param.name).collect();
                let remedy = if names.is_empty() { "this path takes no parameters".to_owned() } else { format!("use {}", names.join(", ")) };
                return Err(Problem::new(Code::ParameterNotDeclared, remedy));
            };
            if found.iter().any(|(known, _)| *known == param.name) {
                return Err(Problem::new(Code::AmbiguousRequest, format!("send `{}` once", param.name)));
            }
            // In a query `+` means a space to some and a plus to others; a timestamp's offset needs it, so it stays a plus.
            found.push((param.name, decode(value)?));
        }
        Ok(Self(found))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter in its own type; the value is not repeated in the refusal.
    pub(super) fn parsed<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Problem> {
        self.get(name).map(|text| text.parse().map_err(|_other| Problem::invalid(format!("`{name}` must be {what}")))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: &[Param] = &[Param { name: "since", about: "" }, Param { name: "party", about: "" }];

    #[test]
    fn templates_match_whole_paths_only() {
        let params = |template, path| matched(template, path);
        assert_eq!(params("/v1/parties/{id}", "/v1/parties/crm:0044"), Some(vec!["crm:0044".to_owned()]));
        assert_eq!(params("/v1/parties/{id}:erase", "/v1/parties/crm:0044:erase"), Some(vec!["crm:0044".to_owned()]));
        assert_eq!(params("/v1/decisions/{origin}/{index}", "/v1/decisions/gw/7"), Some(vec!["gw".to_owned(), "7".to_owned()]));
        assert_eq!(params("/log/tile/{path+}", "/log/tile/0/x001/234.p/5"), Some(vec!["0/x001/234.p/5".to_owned()]));
        for (template, path) in [
            ("/log/tile/{path+}", "/log/tile/"),
            ("/log/tile/{path+}", "/log/tile"),
            ("/v1/parties/{id}", "/v1/parties/"),
            ("/v1/parties/{id}", "/v1/parties"),
            ("/v1/parties/{id}", "/v1/parties/a/b"),
            ("/v1/parties/{id}", "//v1/parties/a"),
            ("/v1/parties/{id}:erase", "/v1/parties/:erase"),
            ("/v1/parties/{id}:erase", "/v1/parties/a:ERASE"),
            ("/v1/parties/{id}:erase", "/v1/parties/a%3Aerase"),
            ("/v1/purposes", "/v1/purposes/"),
            ("/v1/purposes", "/v1/Purposes"),
        ] {
            assert_eq!(params(template, path), None, "{template} {path}");
        }
    }

    #[test]
    fn segments_are_decoded_exactly_once() {
        assert_eq!(decode_segment("email:a%40b.example").unwrap(), "email:a@b.example");
        assert_eq!(decode_segment("crm:%2541").unwrap(), "crm:%41");
        for raw in ["%", "%4", "%zz", "%ff", "a%00b", "a%0ab", &"a".repeat(2000)] {
            assert!(decode_segment(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn undeclared_and_repeated_parameters_are_refused() {
        assert_eq!(Query::parse("since=2026-07-24T10:00:00+02:00", PARAMS).unwrap().get("since"), Some("2026-07-24T10:00:00+02:00"));
        assert_eq!(Query::parse("", PARAMS).unwrap().get("since"), None);
        for raw in ["other=1", "since=1&since=2", "since=%zz", "Since=1", "party=%ff"] {
            assert!(Query::parse(raw, PARAMS).is_err(), "{raw}");
        }
    }
}
