//! A body that only selects (`POST /tickets/search`): its members are parameters. It is read strictly and written anew for
//! the upstream, so that nothing undeclared goes along.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::problem::{Code, Problem};
use crate::catalog::{Accepts, Dialect, Param, ParamError, judge};
use crate::model::Category;

/// Plain values in their order, by name or by position (`[0]`); a repeated name or anything nested is an error.
struct Members {
    entries: Vec<(String, Value)>,
    positional: bool,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of plain values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut entries: Vec<(String, Value)> = Vec::new();
                let mut seen = HashSet::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if !seen.insert(name.clone()) || is_nested(&value) {
                        return Err(A::Error::custom("a repeated or nested member"));
                    }
                    entries.push((name, value));
                }
                Ok(Members { entries, positional: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Members, A::Error> {
                let mut entries: Vec<(String, Value)> = Vec::new();
                while let Some(value) = items.next_element::<Value>()? {
                    if is_nested(&value) {
                        return Err(A::Error::custom("a nested value"));
                    }
                    entries.push((format!("[{}]", entries.len()), value));
                }
                Ok(Members { entries, positional: true })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// More than a plain value or a list of texts.
fn is_nested(value: &Value) -> bool {
    value.is_object() || value.as_array().is_some_and(|items| !items.iter().all(Value::is_string))
}

/// The value as parameters of a query have it. A list of texts is understood where they name fields.
fn text(value: &Value, name: &str, declared: &[Param]) -> Option<String> {
    let Some(items) = value.as_array() else { return Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)) };
    let names_fields = declared.iter().any(|param| param.name == name && matches!(param.accepts, Accepts::Names { .. }));
    let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
    (names_fields && !items.iter().any(|item| item.contains(','))).then(|| items.join(","))
}

/// What is sent of a value: as it came, unless it was written anew.
fn written(value: Value, before: &str, after: &str) -> Value {
    if value.is_array() {
        return after.split(',').map(Value::from).collect::<Vec<_>>().into();
    }
    if before == after { value } else { after.into() }
}

/// A body that was judged.
#[derive(Debug, Default)]
pub(super) struct SearchBody {
    pub(super) sent: Bytes,
    /// Categories that it selects by.
    pub(super) selected_by: Vec<Category>,
    /// The customer's id was not asked for.
    pub(super) bare: bool,
}

/// The body as it is sent, and the categories that it selects by. Of a call the body is its parameters, which may be positional.
///
/// # Errors
/// 400 for a body that is not an object of plain values; inside, what the declared parameters refuse.
pub(super) fn judged_search(raw: &[u8], declared: &[Param], dialect: Dialect) -> Result<Result<SearchBody, ParamError>, Problem> {
    let Members { entries, positional } = serde_json::from_slice(raw).map_err(|error| {
        // Its own text would quote the body.
        tracing::debug!(line = error.line(), column = error.column(), "a search body cannot be read");
        Code::AmbiguousRequest
    })?;
    if positional && dialect != Dialect::JsonRpc {
        return Err(Code::AmbiguousRequest.into());
    }
    let pairs = entries.iter().map(|(name, value)| Some((name.clone(), text(value, name, declared)?)));
    let pairs: Vec<(String, String)> = pairs.collect::<Option<_>>().ok_or(Code::AmbiguousRequest)?;
    let judged = match judge(declared, None, &pairs) {
        Ok(judged) => judged,
        Err(error) => return Ok(Err(error)),
    };
    let kept = entries.into_iter().zip(pairs).zip(judged.sent);
    let kept = kept.map(|(((name, value), (_, before)), (_, after))| (name, written(value, &before, &after)));
    let sent: Value = if positional { kept.map(|(_, value)| value).collect::<Vec<_>>().into() } else { Value::Object(kept.collect()) };
    let sent = serde_json::to_vec(&sent).map_err(|_never| Code::AmbiguousRequest)?;
    let selected_by = judged.selections.into_iter().flat_map(|s| s.categories).collect();
    Ok(Ok(SearchBody { sent: Bytes::from(sent), selected_by, bare: judged.bare }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Accepts;

    #[test]
    fn only_declared_plain_members_go_on() {
        let declared = [Param { name: "text".into(), accepts: Accepts::Any, categories: vec![Category::intern("case")] }];
        let SearchBody { sent, selected_by, .. } = judged_search(br#" {"text":"printer"} "#, &declared, Dialect::Plain).unwrap().unwrap();
        assert_eq!(sent.as_ref(), br#"{"text":"printer"}"#);
        assert_eq!(selected_by, [Category::intern("case")]);
        assert!(judged_search(br#"{"text":"a","other":"b"}"#, &declared, Dialect::Plain).unwrap().is_err());
        for bad in [r#"{"text":"a","text":"b"}"#, r#"{"text":"a","te\u0078t":"b"}"#, r#"{"text":{"$ne":1}}"#, r#"["text"]"#, r#"{"text":"a"} x"#, ""]
        {
            assert!(judged_search(bad.as_bytes(), &declared, Dialect::Plain).is_err(), "{bad}");
        }
    }
}
