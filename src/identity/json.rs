//! The JSON of tokens and key sets: an object, in which two readers see the same.

use serde_json::{Map, Value};

use crate::model::{is_duplicate, unique_json};

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonFault {
    Malformed,
    Duplicate,
}

/// Reads one JSON object, whole, no member twice.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonFault> {
    match unique_json(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => Err(JsonFault::Malformed),
        Err(error) => Err(if is_duplicate(&error) { JsonFault::Duplicate } else { JsonFault::Malformed }),
    }
}
