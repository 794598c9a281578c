//! The published schema and the reader must agree, else an editor calls right what `check` refuses, or the reverse.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::schema;

/// The few keywords that the schema uses.
pub(super) fn valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let known = ["$ref", "anyOf", "enum", "type", "properties", "additionalProperties", "required", "items", "minItems", "maxItems", "minLength"];
    let unused = ["pattern", "minProperties", "maxProperties", "minimum", "description", "$schema", "title", "$defs"];
    schema.as_object().unwrap().iter().all(|(keyword, rule)| match keyword.as_str() {
        "$ref" => valid(root, root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap(), value),
        "anyOf" => rule.as_array().unwrap().iter().any(|one| valid(root, one, value)),
        "enum" => rule.as_array().unwrap().contains(value),
        "type" => match rule.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64(),
            "boolean" => value.is_boolean(),
            other => panic!("type {other}"),
        },
        "properties" => value.as_object().is_none_or(|o| o.iter().all(|(k, v)| rule.get(k).is_none_or(|one| valid(root, one, v)))),
        "additionalProperties" => value.as_object().is_none_or(|o| {
            let empty = Map::new();
            let named = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
            o.iter().filter(|(k, _)| !named.contains_key(*k)).all(|(_, v)| rule.is_object() && valid(root, rule, v))
        }),
        "required" => rule.as_array().unwrap().iter().all(|k| value.as_object().is_none_or(|o| o.contains_key(k.as_str().unwrap()))),
        "items" => value.as_array().is_none_or(|list| list.iter().all(|v| valid(root, rule, v))),
        "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= rule.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= rule.as_u64().unwrap()),
        "minLength" => value.as_str().is_none_or(|text| !text.is_empty()),
        other => {
            assert!(known.contains(&other) || unused.contains(&other), "keyword {other}");
            true
        }
    })
}

pub(super) fn read(text: &str) -> Option<Value> {
    toml::from_str(text).ok()
}

#[test]
fn the_schema_takes_the_shipped_example() {
    let root: Value = serde_json::from_str(schema()).unwrap();
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join(".dist");
    for name in ["consentry.example.toml", "apis/marketing.toml", "apis/sales.toml", "apis/service.toml"] {
        let value = read(&fs::read_to_string(home.join(name)).unwrap()).unwrap();
        assert!(valid(&root, &root, &value), "{name}");
    }
}

#[test]
fn the_schema_refuses_what_check_refuses_as_unknown_or_unavailable() {
    let root: Value = serde_json::from_str(schema()).unwrap();
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join(".dist");
    let (mut tried, mut taken) = (0, Vec::new());
    for (file, old, new, said) in super::tests::SINGLE {
        let structural = ["unknown key", "is not available in this version", "` is missing", "unknown environment", "unknown mode", "unknown form"];
        // The order of values in a text, and names inside one, are beyond a schema.
        if !structural.iter().any(|s| said.contains(s)) || said.contains("embedded customer") || said.contains("`app`") {
            continue;
        }
        let text = fs::read_to_string(home.join(file)).unwrap().replace(old, new);
        tried += 1;
        if read(&text).is_some_and(|value| valid(&root, &root, &value)) {
            taken.push(new);
        }
    }
    assert!(taken.is_empty(), "{taken:#?}");
    assert!(tried > 20, "{tried}");
}
