//! `QRadar`'s Log Event Extended Format, version 2.0:
//!
//! ```text
//! LEEF:2.0|vendor|product|version|event id|x09|key=value<tab>key=value<tab>…
//! ```
//! The format has no escapes: what would separate is written out (`\u0009`, `\u007c`), as are line breaks and other controls.

use super::VERSION;
use super::event::{Event, Severity, What};
use super::fields::{Field, fields};
use super::text::{no_formula, visible};

pub(super) fn line(event: &Event) -> String {
    let severity = match event.severity() {
        Severity::Informational => 1,
        Severity::Low => 4,
        Severity::Medium => 6,
    };
    let mut out = format!("LEEF:2.0|consentry|consentry|{VERSION}|{}|x09|", visible(&event.name()).replace('|', "\\u007c"));
    let mut separator = "";
    let mut put = |key: &str, value: &str| {
        out.extend([separator, key, "=", &visible(value)]);
        separator = "\t";
    };
    put("devTime", &event.at.as_millisecond().to_string());
    put("cat", event.kind());
    put("sev", &severity.to_string());
    put("identHostName", &event.origin);
    put("eventId", &event.id());
    put("msg", &event.message());
    for (name, field) in fields(event) {
        let value = match field {
            Field::Text(text) => no_formula(&text),
            Field::Number(number) => number.to_string(),
            Field::Bool(is) => is.to_string(),
            Field::List(list) => no_formula(&list.join(",")),
        };
        match (&event.what, name.as_str()) {
            (What::Decision(_) | What::Entry(_), "actor") => put("usrName", &value),
            (What::Decision(_), "policies") => put("policy", &value),
            (What::Decision(_), "route") => put("resource", &value),
            (What::Entry(_), "role") => put("role", &value),
            (What::Decision(_) | What::Entry(_), _) => put(&key(&name), &value),
        }
    }
    out
}

/// `latency_us` -> `latencyUs`: letters and digits only.
fn key(name: &str) -> String {
    let mut out = String::new();
    for word in name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let mut letters = word.chars();
        let first = letters.next().map(|first| if out.is_empty() { first } else { first.to_ascii_uppercase() });
        out.extend(first);
        out.extend(letters);
    }
    if out.is_empty() { "value".to_owned() } else { out }
}
