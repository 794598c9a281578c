//! Envelopes of JSON-RPC 2.0 (<https://www.jsonrpc.org/specification>): what a caller sends is taken apart, what the upstream gets
//! is written anew, and what it answers is looked at before its `result` is cut.
//!
//! ```text
//! {"jsonrpc": "2.0", "method": "getCustomer", "params": {…} or […], "id": "7"}
//! {"jsonrpc": "2.0", "result": …, "id": "7"}      {"jsonrpc": "2.0", "error": {…}, "id": "7"}
//! ```
//!
//! Stricter than the specification where it leaves room: one call, no batch; a notification is refused, since nobody would learn what
//! became of it; the `id` is a string or an integer; what else stands beside these members is refused.

use bytes::Bytes;

use super::json::{Kind, Sender, Unreadable, Value, parse};
use super::{Filtered, Limits};

/// Longer ids are refused, bytes.
const CALL_ID_BYTES_MAX: usize = 128;

/// One call.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    pub method: String,
    /// As it stands in the body: a string with its quotation marks, or an integer.
    pub id: Box<str>,
    /// The object or array; `{}` when there is none.
    pub params: Bytes,
}

/// Why a body is no call, or an answer no answer to it. Says where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCall {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("a batch of calls is not taken; send one call")]
    Batch,
    #[error("a notification is not taken; send an `id`")]
    Notification,
    #[error("this is not a call of JSON-RPC 2.0 with `jsonrpc`, `method`, `params` and `id`, and nothing else")]
    Call,
    #[error("this is not an answer of JSON-RPC 2.0 to the call that was sent")]
    Reply,
    #[error("a member of `params` is missing that names the record")]
    Reference,
}

/// What an upstream answered to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Result,
    Error,
}

/// Takes a call apart.
///
/// # Errors
/// [`NoCall`]
pub fn read_call(body: &Bytes, limits: &Limits) -> Result<Call, NoCall> {
    let tape = parse(body, limits, Sender::Caller)?;
    let root = tape.root()?;
    match root.kind() {
        Kind::Object => {}
        Kind::Array => return Err(NoCall::Batch),
        Kind::Null | Kind::Bool | Kind::Number | Kind::String => return Err(NoCall::Call),
    }
    if root.members().any(|member| !["jsonrpc", "method", "params", "id"].contains(&member.name)) || !is_version_2(&root) {
        return Err(NoCall::Call);
    }
    let method = root.member("method").and_then(|v| v.text()).ok_or(NoCall::Call)?.into_owned();
    let id = root.member("id").ok_or(NoCall::Notification)?;
    if !is_call_id(&id) {
        return Err(NoCall::Call);
    }
    let params = match root.member("params") {
        None => Bytes::from_static(b"{}"),
        Some(params) if params.is_container() => body.slice_ref(params.raw().as_bytes()),
        Some(_) => return Err(NoCall::Call),
    };
    Ok(Call { method, id: id.raw().into(), params })
}

/// A member of a body by which routes are told apart; `None` when no string stands there.
///
/// # Errors
/// [`Unreadable`]
pub fn read_member(body: &Bytes, name: &str, limits: &Limits) -> Result<Option<String>, Unreadable> {
    let tape = parse(body, limits, Sender::Caller)?;
    let member = tape.root()?.member(name);
    Ok(member.and_then(|value| value.text()).map(std::borrow::Cow::into_owned))
}

/// A call as it is sent. `params`: JSON that was judged; `id`: as [`Call::id`].
#[must_use]
pub fn write_call(method: &str, params: &[u8], id: &str) -> Bytes {
    let method = serde_json::Value::from(method);
    Bytes::from([format!("{{\"jsonrpc\":\"2.0\",\"method\":{method},\"params\":").as_bytes(), params, format!(",\"id\":{id}}}").as_bytes()].concat())
}

/// Which of both an upstream answered. `id`: that of the call.
///
/// # Errors
/// [`NoCall`]: it is neither, or to another call.
pub fn read_reply(body: &Bytes, id: &str, limits: &Limits) -> Result<Reply, NoCall> {
    let tape = parse(body, limits, Sender::Upstream)?;
    let root = tape.root()?;
    if root.kind() != Kind::Object || !is_version_2(&root) {
        return Err(NoCall::Reply);
    }
    let said = |name: &str| root.member(name).filter(|value| !value.is_null());
    let kind = match (root.member("result"), said("error")) {
        (None, Some(_)) => Reply::Error,
        (Some(result), Some(_)) if result.is_null() => Reply::Error,
        (Some(_), None) => Reply::Result,
        (Some(_), Some(_)) | (None, None) => return Err(NoCall::Reply),
    };
    let answered = root.member("id").ok_or(NoCall::Reply)?;
    // An upstream that could not read the call does not know its id.
    let same = is_same_id(&answered, id) || (kind == Reply::Error && answered.is_null());
    if same { Ok(kind) } else { Err(NoCall::Reply) }
}

/// An object of these members of `params`, by which another call finds the same record.
///
/// # Errors
/// [`NoCall::Reference`] when one is not there, or is more than a plain value.
pub fn pick(params: &Bytes, names: &[String], limits: &Limits) -> Result<Bytes, NoCall> {
    let tape = parse(params, limits, Sender::Caller)?;
    let root = tape.root()?;
    let member = |name: &String| {
        let value = root.member(name).filter(|value| value.id().is_some()).ok_or(NoCall::Reference)?;
        Ok(format!("{}:{}", serde_json::Value::from(name.as_str()), value.raw()))
    };
    let members = names.iter().map(member).collect::<Result<Vec<_>, NoCall>>()?;
    Ok(Bytes::from(format!("{{{}}}", members.join(","))))
}

impl Filtered {
    /// What stands in the place of an upstream's error: the same for each call, but for its id.
    #[must_use]
    pub fn call_refused(id: &str) -> Self {
        let error = r#"{"code":-32000,"message":"the API behind the gateway refused the call"}"#;
        Self(Bytes::from(format!("{{\"jsonrpc\":\"2.0\",\"error\":{error},\"id\":{id}}}")))
    }

    /// The answer to a call that was carried out and of which nothing may be read back.
    #[must_use]
    pub fn call_done(id: &str) -> Self {
        Self(Bytes::from(format!("{{\"jsonrpc\":\"2.0\",\"result\":null,\"id\":{id}}}")))
    }
}

fn is_version_2(root: &Value<'_>) -> bool {
    root.member("jsonrpc").and_then(|v| v.text()).as_deref() == Some("2.0")
}

fn is_call_id(id: &Value<'_>) -> bool {
    id.raw().len() <= CALL_ID_BYTES_MAX && (id.kind() == Kind::String || id.id().is_some())
}

/// Equal as JSON, however a string is escaped.
fn is_same_id(answered: &Value<'_>, id: &str) -> bool {
    match answered.kind() {
        Kind::String => answered.text().is_some_and(|text| serde_json::from_str::<String>(id).is_ok_and(|sent| sent == text)),
        Kind::Number => answered.raw() == id,
        Kind::Null | Kind::Bool | Kind::Array | Kind::Object => false,
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Parameters are personal data, and the id may be.
        f.debug_struct("Call").field("method", &self.method).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { body_bytes_max: 1 << 16, depth_max: 32 };

    fn call(body: &str) -> Result<Call, NoCall> {
        read_call(&Bytes::copy_from_slice(body.as_bytes()), &LIMITS)
    }

    #[test]
    fn a_call_is_taken_apart_and_written_anew() {
        let table = [
            (r#"{"jsonrpc":"2.0","method":"get","params":{"id":1},"id":7}"#, r#"{"jsonrpc":"2.0","method":"get","params":{"id":1},"id":7}"#),
            (r#" { "id" : "a\u0042" , "method":"g\u0065t", "jsonrpc":"2.0"} "#, r#"{"jsonrpc":"2.0","method":"get","params":{},"id":"a\u0042"}"#),
            (r#"{"jsonrpc":"2.0","method":"a\"b","params":[ 1, [] ],"id":-1}"#, r#"{"jsonrpc":"2.0","method":"a\"b","params":[ 1, [] ],"id":-1}"#),
            (r#"{"jsonrpc":"2.0","method":"","params":{},"id":""}"#, r#"{"jsonrpc":"2.0","method":"","params":{},"id":""}"#),
        ];
        for (body, sent) in table {
            let Call { method, id, params } = call(body).unwrap();
            assert_eq!(sent.as_bytes(), write_call(&method, &params, &id).as_ref(), "{body}");
        }
    }

    #[test]
    fn what_is_not_one_plain_call_is_refused() {
        let long = format!(r#"{{"jsonrpc":"2.0","method":"get","id":"{}"}}"#, "a".repeat(CALL_ID_BYTES_MAX));
        let deep = format!(r#"{{"jsonrpc":"2.0","method":"get","id":1,"params":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
        let table = [
            (r#"[{"jsonrpc":"2.0","method":"get","id":1}]"#, NoCall::Batch),
            ("[]", NoCall::Batch),
            (r#"{"jsonrpc":"2.0","method":"get","params":{}}"#, NoCall::Notification),
            (r#"{"jsonrpc":"2.0","method":"get","id":null}"#, NoCall::Call),
            (r#"{"jsonrpc":"2.0","method":"get","id":1.0}"#, NoCall::Call),
            (r#"{"jsonrpc":"2.0","method":"get","id":1e3}"#, NoCall::Call),
            (r#"{"jsonrpc":"2.0","method":"get","id":true}"#, NoCall::Call),
            (r#"{"jsonrpc":"2.0","method":"get","id":[1]}"#, NoCall::Call),
            (&long, NoCall::Call),
            (r#"{"jsonrpc":2.0,"method":"get","id":1}"#, NoCall::Call),
            (r#"{"jsonrpc":"1.0","method":"get","id":1}"#, NoCall::Call),
            (r#"{"method":"get","id":1}"#, NoCall::Call),
            (r#"{"jsonrpc":"2.0","id":1}"#, NoCall::Call),
            (r#"{"jsonrpc":"2.0","method":7,"id":1}"#, NoCall::Call),
            (r#"{"jsonrpc":"2.0","method":["get"],"id":1}"#, NoCall::Call),
            (r#"{"jsonrpc":"2.0","method":"get","params":"id","id":1}"#, NoCall::Call),
            (r#"{"jsonrpc":"2.0","method":"get","params":null,"id":1}"#, NoCall::Call),
            (r#"{"jsonrpc":"2.0","method":"get","id":1,"auth":"x"}"#, NoCall::Call),
            (r#"{"jsonrpc":"2.0","method":"get","id":1,"result":1}"#, NoCall::Call),
            ("\"get\"", NoCall::Call),
            ("null", NoCall::Call),
        ];
        for (body, reason) in table {
            assert_eq!(Err(reason), call(body), "{body}");
        }
        let unreadable = [
            r#"{"jsonrpc":"2.0","method":"get","method":"set","id":1}"#,
            r#"{"jsonrpc":"2.0","method":"get","m\u0065thod":"set","id":1}"#,
            r#"{"jsonrpc":"2.0","method":"get","Method":"set","id":1}"#,
            r#"{"jsonrpc":"2.0","method":"get","id":1,"params":{"id":1,"id":2}}"#,
            r#"{"jsonrpc":"2.0","method":"get","id":1} {}"#,
            "",
            &deep,
        ];
        for body in unreadable {
            assert!(matches!(call(body), Err(NoCall::Unreadable(_))), "{body}");
        }
    }

    #[test]
    fn an_answer_is_a_result_or_an_error_to_the_same_call() {
        let table = [
            (r#"{"jsonrpc":"2.0","result":{},"id":7}"#, "7", Ok(Reply::Result)),
            (r#"{"id":"\u0061","result":null,"jsonrpc":"2.0"}"#, "\"a\"", Ok(Reply::Result)),
            (r#"{"jsonrpc":"2.0","result":{},"error":null,"id":7}"#, "7", Ok(Reply::Result)),
            (r#"{"jsonrpc":"2.0","error":{"code":1},"id":7}"#, "7", Ok(Reply::Error)),
            (r#"{"jsonrpc":"2.0","result":null,"error":{"code":1},"id":7}"#, "7", Ok(Reply::Error)),
            (r#"{"jsonrpc":"2.0","error":{"code":-32700},"id":null}"#, "7", Ok(Reply::Error)),
            (r#"{"jsonrpc":"2.0","result":{},"error":{},"id":7}"#, "7", Err(NoCall::Reply)),
            (r#"{"jsonrpc":"2.0","id":7}"#, "7", Err(NoCall::Reply)),
            (r#"{"jsonrpc":"2.0","result":{},"id":null}"#, "7", Err(NoCall::Reply)),
            (r#"{"jsonrpc":"2.0","result":{},"id":8}"#, "7", Err(NoCall::Reply)),
            (r#"{"jsonrpc":"2.0","result":{},"id":"7"}"#, "7", Err(NoCall::Reply)),
            (r#"{"jsonrpc":"2.0","result":{},"id":7.0}"#, "7", Err(NoCall::Reply)),
            (r#"{"jsonrpc":"2.0","result":{},"id":{"a":"b"}}"#, "7", Err(NoCall::Reply)),
            (r#"{"jsonrpc":"2.0","result":{}}"#, "7", Err(NoCall::Reply)),
            (r#"{"result":{},"id":7}"#, "7", Err(NoCall::Reply)),
            (r#"[{"jsonrpc":"2.0","result":{},"id":7}]"#, "7", Err(NoCall::Reply)),
        ];
        for (body, id, read) in table {
            assert_eq!(read, read_reply(&Bytes::copy_from_slice(body.as_bytes()), id, &LIMITS), "{body}");
        }
        assert!(matches!(read_reply(&Bytes::from_static(b"<html>"), "7", &LIMITS), Err(NoCall::Unreadable(_))));
    }

    #[test]
    fn only_plain_references_are_picked() {
        let params = Bytes::from_static(br#"{"id":"T\u002d1","queue":7,"who":{"$ne":1},"on":true}"#);
        let picked = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            pick(&params, &names, &LIMITS).map(|b| String::from_utf8(b.to_vec()).unwrap())
        };
        assert_eq!(Ok(r#"{"id":"T\u002d1","queue":7}"#.to_owned()), picked(&["id", "queue"]));
        for missing in [&["other"][..], &["id", "who"], &["on"]] {
            assert_eq!(Err(NoCall::Reference), picked(missing), "{missing:?}");
        }
    }
}
