//! The two envelopes of GraphQL over HTTP (<https://graphql.github.io/graphql-over-http/draft/>): the call, read strictly, and
//! of an answer what there is to tell beside its data. Error sentences of the API name customers and values, so that one of ours
//! stands in their place; `extensions` go nowhere.

use bytes::Bytes;

use super::json::{Kind, Sender, Unreadable, parse};
use super::{Filtered, Limits};
use crate::model::Step;

/// What a caller sends, each part as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphqlCall {
    pub query: String,
    pub operation: Option<String>,
    /// A JSON object without repeated names.
    pub variables: String,
}

/// Why a call is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphqlCallError {
    #[error("the body cannot be read: {0}")]
    Unreadable(#[from] Unreadable),
    #[error("several queries in one body cannot be judged; send one in each request")]
    Batch,
    #[error("the text of the query is missing; send it in `query`, not by its hash")]
    NoQuery,
    #[error("`{0}` must not stand there, or not with this value; send `query`, `operationName` and `variables` only")]
    Member(String),
}

/// What an answer tells beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphqlAnswer {
    Whole,
    /// Data, and errors.
    Partial,
    /// No data where they were asked for.
    Nothing {
        errors: bool,
    },
}

/// # Errors
/// [`GraphqlCallError`]
pub fn read_graphql_call(body: &Bytes, limits: &Limits) -> Result<GraphqlCall, GraphqlCallError> {
    let tape = parse(body, limits, Sender::Caller)?;
    let root = tape.root()?;
    match root.kind() {
        Kind::Object => {}
        Kind::Array => return Err(GraphqlCallError::Batch),
        Kind::Null | Kind::Bool | Kind::Number | Kind::String => return Err(Unreadable::TopLevel.into()),
    }
    let (mut query, mut operation, mut variables) = (None, None, "{}".to_owned());
    for member in root.members() {
        let value = member.value;
        match (member.name, value.kind()) {
            ("query", Kind::String) => query = value.text().map(std::borrow::Cow::into_owned),
            ("operationName", Kind::String) => operation = value.text().map(std::borrow::Cow::into_owned),
            ("variables", Kind::Object) => value.raw().clone_into(&mut variables),
            ("operationName" | "variables" | "extensions", Kind::Null) => {}
            ("extensions", Kind::Object) if value.is_void() => {}
            (name, _) => return Err(GraphqlCallError::Member(name.chars().take(64).collect())),
        }
    }
    Ok(GraphqlCall { query: query.filter(|query| !query.is_empty()).ok_or(GraphqlCallError::NoQuery)?, operation, variables })
}

/// `at`: where the data were asked for, up to the first list.
///
/// # Errors
/// [`Unreadable`]
pub fn read_graphql_answer(body: &Bytes, at: &[Step], limits: &Limits) -> Result<GraphqlAnswer, Unreadable> {
    let tape = parse(body, limits, Sender::Upstream)?;
    let root = tape.root()?;
    if root.kind() != Kind::Object {
        return Err(Unreadable::TopLevel);
    }
    let errors = root.member("errors").is_some_and(|errors| !errors.is_void());
    let mut value = Some(root);
    for step in at {
        let Step::Member(name) = step else { break };
        value = value.and_then(|value| value.member(name)).filter(|value| !value.is_null());
    }
    Ok(match (value, errors) {
        (None, errors) => GraphqlAnswer::Nothing { errors },
        (Some(_), true) => GraphqlAnswer::Partial,
        (Some(_), false) => GraphqlAnswer::Whole,
    })
}

/// The end of an answer of which the API could not resolve every field.
const PARTIAL: &str = r#","errors":[{"message":"the API did not resolve every field"}]}"#;

impl Filtered {
    /// Says in the cut answer that the API had errors, with a constant in place of them. An answer that is no object stays as it is.
    #[must_use]
    pub fn with_graphql_errors(self) -> Self {
        match self.0.strip_suffix(b"}").filter(|data| data.len() > 1) {
            Some(data) => Self(Bytes::from([data, PARTIAL.as_bytes()].concat())),
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PathPattern;

    const LIMITS: Limits = Limits { body_bytes_max: 1 << 16, depth_max: 64 };

    fn call(text: &str) -> Result<GraphqlCall, GraphqlCallError> {
        read_graphql_call(&Bytes::from(text.to_owned()), &LIMITS)
    }

    #[test]
    fn a_call_is_one_query_in_text() {
        let read = call(r#"{"query":"{ a }","operationName":"Q","variables":{"id":"1"},"extensions":{}}"#).unwrap();
        assert_eq!(read, GraphqlCall { query: "{ a }".into(), operation: Some("Q".into()), variables: r#"{"id":"1"}"#.into() });
        assert_eq!(call(r#"{"query":"{ a }","variables":null,"operationName":null,"extensions":null}"#).unwrap().variables, "{}");
        for (text, error) in [
            (r#"[{"query":"{ a }"}]"#, GraphqlCallError::Batch),
            (r#"{"operationName":"Q"}"#, GraphqlCallError::NoQuery),
            (r#"{"query":""}"#, GraphqlCallError::NoQuery),
            (r#"{"extensions":{"persistedQuery":{"sha256Hash":"00"}}}"#, GraphqlCallError::Member("extensions".into())),
            (r#"{"query":"{ a }","extensions":{"x":1}}"#, GraphqlCallError::Member("extensions".into())),
            (r#"{"query":"{ a }","id":"1"}"#, GraphqlCallError::Member("id".into())),
            (r#"{"query":["{ a }"]}"#, GraphqlCallError::Member("query".into())),
            (r#"{"query":null}"#, GraphqlCallError::Member("query".into())),
            (r#"{"query":"{ a }","variables":"{}"}"#, GraphqlCallError::Member("variables".into())),
            (r#"{"query":"{ a }","variables":[]}"#, GraphqlCallError::Member("variables".into())),
            (r#""{ a }""#, GraphqlCallError::Unreadable(Unreadable::TopLevel)),
        ] {
            assert_eq!(call(text), Err(error), "{text}");
        }
        for twice in
            [r#"{"query":"{ a }","query":"{ b }"}"#, r#"{"query":"{ a }","Query":"{ b }"}"#, r#"{"query":"{ a }","variables":{"a":1,"\u0061":2}}"#]
        {
            assert!(matches!(call(twice), Err(GraphqlCallError::Unreadable(Unreadable::DuplicateName { .. }))), "{twice}");
        }
    }

    #[test]
    fn an_answer_tells_whether_it_is_whole() {
        let read = |text: &str, at: &str| read_graphql_answer(&Bytes::from(text.to_owned()), &PathPattern::parse(at).unwrap().0, &LIMITS);
        for (text, at, expected) in [
            (r#"{"data":{"c":{"n":1}}}"#, "data.c", GraphqlAnswer::Whole),
            (r#"{"data":{"c":{"n":1}},"errors":[]}"#, "data.c", GraphqlAnswer::Whole),
            (r#"{"data":{"c":{"n":null}},"errors":[{"message":"x"}]}"#, "data.c", GraphqlAnswer::Partial),
            (r#"{"data":{"c":null},"errors":[{}]}"#, "data.c", GraphqlAnswer::Nothing { errors: true }),
            (r#"{"data":{"c":null}}"#, "data.c", GraphqlAnswer::Nothing { errors: false }),
            (r#"{"data":null,"errors":[{}]}"#, "data.c", GraphqlAnswer::Nothing { errors: true }),
            (r#"{"errors":[{}]}"#, "data.c", GraphqlAnswer::Nothing { errors: true }),
            (r#"{"data":{"c":{"edges":[]}}}"#, "data.c.edges[]", GraphqlAnswer::Whole),
            (r#"{"data":{"c":{"edges":null}}}"#, "data.c.edges[]", GraphqlAnswer::Nothing { errors: false }),
        ] {
            assert_eq!(read(text, at), Ok(expected), "{text}");
        }
        assert_eq!(read("[]", "data.c"), Err(Unreadable::TopLevel));
    }

    #[test]
    fn errors_become_a_constant() {
        let cut = Filtered(Bytes::from_static(br#"{"data":{"c":{"n":1}}}"#)).with_graphql_errors();
        let read: serde_json::Value = serde_json::from_slice(&cut.into_bytes()).unwrap();
        assert_eq!(read, serde_json::json!({ "data": { "c": { "n": 1 } }, "errors": [{ "message": "the API did not resolve every field" }] }));
        assert_eq!(Filtered(Bytes::from_static(b"{}")).with_graphql_errors().into_bytes(), "{}");
    }
}
