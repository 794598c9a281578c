//! `ArcSight`'s Common Event Format, version 0:
//!
//! ```text
//! CEF:0|vendor|product|version|event class|name|severity|key=value key=value …
//! ```
//! In the head `|` and `\` are escaped by `\`, in values `=` and `\`. Line breaks and other controls are written out (`\\u000a`), since
//! not every reader undoes `\n`.

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
    let mut out = format!("CEF:0|consentry|consentry|{VERSION}|{}|{}|{severity}|", head(&event.name()), head(&title(event)));
    let mut separator = "";
    let mut put = |key: &str, value: &str| {
        out.extend([separator, key, "=", &escaped(value)]);
        separator = " ";
    };
    put("externalId", &event.id());
    put("rt", &event.at.as_millisecond().to_string());
    put("dvchost", &event.origin);
    put("cat", event.kind());
    put("msg", &event.message());
    if let What::Decision(decided) = &event.what {
        put("act", decided.outcome());
        put("outcome", if matches!(decided.outcome(), "deny" | "error") { "failure" } else { "success" });
    }
    for (name, field) in fields(event) {
        let value = value(&field);
        match place(&event.what, &name) {
            Place::Key(key) => put(key, &value),
            Place::Labelled(key, label) => {
                put(&format!("{key}Label"), label);
                put(key, &value);
            }
            Place::Own => put(&own_key(&name), &value),
        }
    }
    out
}

fn title(event: &Event) -> String {
    match &event.what {
        What::Decision(decided) => format!("API decision: {}", decided.outcome()),
        What::Entry(other) => format!("Log entry: {}", other.kind),
    }
}

/// Where the format has a place for a value.
enum Place {
    Key(&'static str),
    /// One of the custom fields, which say themselves what they hold.
    Labelled(&'static str, &'static str),
    Own,
}

fn place(what: &What, name: &str) -> Place {
    match (what, name) {
        (What::Decision(_), "app") => Place::Key("sourceServiceName"),
        (What::Decision(_), "api") => Place::Key("destinationServiceName"),
        (_, "actor") => Place::Key("suid"),
        (What::Decision(_), "route") => Place::Key("request"),
        (_, "code") => Place::Key("reason"),
        (What::Decision(_), "bytes") => Place::Key("out"),
        (What::Decision(_), "purpose") => Place::Labelled("cs1", "purpose"),
        (What::Decision(_), "department") => Place::Labelled("cs2", "department"),
        (What::Decision(_), "policies") => Place::Labelled("cs3", "policies"),
        (What::Decision(_), "released") => Place::Labelled("cs4", "released"),
        (What::Decision(_), "withheld") => Place::Labelled("cs5", "withheld"),
        (What::Decision(_), "policy_set") => Place::Labelled("cs6", "policy set"),
        (What::Decision(_), "status") => Place::Labelled("cn1", "status"),
        (What::Decision(_), "parties") => Place::Labelled("cn2", "customers"),
        (What::Decision(_), "rows") => Place::Labelled("cn3", "rows"),
        (What::Decision(_) | What::Entry(_), _) => Place::Own,
    }
}

/// `latency_us` -> `consentryLatencyUs`: letters and digits only.
fn own_key(name: &str) -> String {
    let mut out = "consentry".to_owned();
    for word in name.split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.extend(letters);
    }
    out
}

fn value(field: &Field) -> String {
    match field {
        Field::Text(text) => no_formula(text),
        Field::Number(number) => number.to_string(),
        Field::Bool(is) => is.to_string(),
        Field::List(list) => no_formula(&list.join(",")),
    }
}

fn head(text: &str) -> String {
    visible(text).replace('\\', "\\\\").replace('|', "\\|")
}

fn escaped(text: &str) -> String {
    visible(text).replace('\\', "\\\\").replace('=', "\\=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_escaped_where_they_separate() {
        for (text, in_head, in_value) in [
            ("a|b", "a\\|b", "a|b"),
            ("a=b", "a=b", "a\\=b"),
            ("a\\b", "a\\\\b", "a\\\\b"),
            ("a\\|=b", "a\\\\\\|=b", "a\\\\|\\=b"),
            ("a\r\nb", "a\\\\u000d\\\\u000ab", "a\\\\u000d\\\\u000ab"),
            ("\u{1b}[1m", "\\\\u001b[1m", "\\\\u001b[1m"),
            ("æ", "æ", "æ"),
        ] {
            assert_eq!((head(text).as_str(), escaped(text).as_str()), (in_head, in_value), "{text:?}");
        }
        assert_eq!(own_key("latency_us"), "consentryLatencyUs");
        assert_eq!(own_key("a=b |c\n"), "consentryABC");
    }
}
