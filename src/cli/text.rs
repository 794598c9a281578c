//! Members of an answer as text for people; what is missing is a dash, as in every table.

use serde_json::Value;

/// A text or number; `–` when it is not there.
pub(super) fn text(value: &Value, member: &str) -> String {
    match value.get(member) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(flag)) => if *flag { "yes" } else { "no" }.to_owned(),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => "–".to_owned(),
    }
}

pub(super) fn number(value: &Value, member: &str) -> u64 {
    value.get(member).and_then(Value::as_u64).unwrap_or_default()
}

/// The items of a list; none when it is not there.
pub(super) fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value.get(member).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The texts of a list, joined; `–` when it is empty.
pub(super) fn joined(value: &Value, member: &str) -> String {
    let items: Vec<&str> = list(value, member).iter().filter_map(Value::as_str).collect();
    if items.is_empty() { "–".to_owned() } else { items.join(" ") }
}

/// A timestamp without `T`, fractions and `Z`: `2026-07-24 10:02:15`, UTC.
pub(super) fn time(value: &Value, member: &str) -> String {
    let full = text(value, member);
    let seconds: String = full.chars().take(19).collect();
    if full.ends_with('Z') { seconds.trim_end_matches('Z').replace('T', " ") } else { full }
}
