//! An event as named values, for formats that know no trees.

use serde_json::Value;

use super::event::{Decided, Event, Other, What};

/// A value of an event.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field {
    Text(String),
    Number(i64),
    Bool(bool),
    List(Vec<String>),
}

/// What is known of the event beside id, time and severity; empty values are left out. Names are dotted words.
pub(super) fn fields(event: &Event) -> Vec<(String, Field)> {
    let mut all = match &event.what {
        What::Decision(decided) => decision(decided),
        What::Entry(other) => entry(other),
    };
    all.retain(|(_, field)| match field {
        Field::Text(text) => !text.is_empty(),
        Field::List(list) => !list.is_empty(),
        Field::Number(_) | Field::Bool(_) => true,
    });
    all
}

fn decision(decided: &Decided) -> Vec<(String, Field)> {
    let found = &decided.found;
    let mut all = Vec::with_capacity(40);
    let mut put = |name: &str, field: Field| all.push((name.to_owned(), field));
    for (name, text) in [
        ("app", Some(&found.app)),
        ("department", Some(&found.department)),
        ("actor", found.actor.as_ref()),
        ("agent", found.agent.as_ref()),
        ("operator", found.operator.as_ref()),
        ("model", found.model.as_ref()),
        ("task", found.task.as_ref()),
        ("behalf", found.behalf.as_ref()),
        ("grant", found.grant.as_ref()),
        ("action", Some(&found.action)),
        ("api", Some(&found.api)),
        ("route", Some(&found.route)),
        ("purpose", found.purpose.as_ref()),
        ("outcome", Some(&found.outcome)),
        ("code", found.code.as_ref()),
        ("policy_set", Some(&found.policy_set)),
    ] {
        put(name, Field::Text(text.cloned().unwrap_or_default()));
    }
    for (name, list) in [
        ("released", &found.released),
        ("reduced", &found.reduced),
        ("disclosed", &found.disclosed),
        ("withheld", &found.withheld),
        ("policies", &found.policies),
    ] {
        put(name, Field::List(list.clone()));
    }
    put("customers", Field::List(decided.parties.iter().map(ToString::to_string).collect()));
    for (name, number) in [
        ("status", found.status),
        ("parties", Some(found.parties)),
        ("unknown", Some(found.unknown)),
        ("rows", Some(found.rows)),
        ("dropped", Some(found.dropped)),
        ("bytes", found.bytes),
        ("latency_us", decided.latency_us),
        ("rid", decided.rid),
        ("generation", Some(found.generation)),
        ("consent_revision", Some(found.consent_revision)),
        ("entries_total", Some(decided.entries_total)),
    ] {
        if let Some(number) = number {
            put(name, Field::Number(i64::try_from(number).unwrap_or(i64::MAX)));
        }
    }
    put("unresolved", Field::Bool(found.unresolved));
    if let Some(complete) = found.complete {
        put("complete", Field::Bool(complete));
    }
    all
}

/// Members of the entry; what is deeper is written as JSON.
fn entry(other: &Other) -> Vec<(String, Field)> {
    let Some(members) = other.entry.as_object() else { return vec![("entry".to_owned(), field(&other.entry))] };
    let own = members.iter().filter(|(name, _)| !matches!(name.as_str(), "v" | "kind" | "t"));
    own.map(|(name, value)| (name.clone(), field(value))).collect()
}

fn field(value: &Value) -> Field {
    match value {
        Value::Null => Field::Text(String::new()),
        Value::Bool(is) => Field::Bool(*is),
        Value::Number(number) => number.as_i64().map_or_else(|| Field::Text(number.to_string()), Field::Number),
        Value::String(text) => Field::Text(text.clone()),
        Value::Array(items) => match items.iter().map(|item| item.as_str().map(str::to_owned)).collect() {
            Some(texts) => Field::List(texts),
            None => Field::Text(super::text::json(value)),
        },
        Value::Object(_) => Field::Text(super::text::json(value)),
    }
}
