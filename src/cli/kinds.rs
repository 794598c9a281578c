//! `consentry audit search --kind`: entries that belong to no decision, such as counts of rejects.

use jiff::Timestamp;
use serde_json::Value;

use super::audit::{Place, unreadable};
use super::client::query;
use super::index::opened;
use super::table::Table;
use super::text::{list, number, text, time};
use super::{Exit, Failure, Output};
use crate::audit::{KindQuery, OTHER_KINDS};
use crate::console::kind_json;

pub(super) fn kind_word(word: &str) -> Result<String, String> {
    if OTHER_KINDS.contains(&word) { Ok(word.to_owned()) } else { Err(format!("use {}", OTHER_KINDS.join(", "))) }
}

pub(super) fn search(output: &Output, place: &Place, asked: &KindQuery) -> Result<Exit, Failure> {
    let answer = match &place.offline {
        Some(dir) => kind_json(&opened(output, dir)?.of_kind(asked).map_err(|error| unreadable(dir, &error))?),
        None => place.server.connect()?.get(&format!("/v1/entries{}", params(asked)))?,
    };
    output.answer(&answer, || render(&asked.kind, &answer))
}

fn params(asked: &KindQuery) -> String {
    query(&[
        ("kind", Some(asked.kind.clone())),
        ("since", asked.window.since.map(|t| t.to_string())),
        ("until", asked.window.until.map(|t| t.to_string())),
        ("cursor", asked.before.map(|index| index.to_string())),
        ("limit", Some(asked.limit.to_string())),
    ])
}

fn render(kind: &str, answer: &Value) -> String {
    let entries = list(answer, "entries");
    let mut lines = Vec::new();
    match (entries, kind) {
        ([], _) => lines.push(format!("no entries `{kind}`")),
        (entries, "rejects") => {
            lines.push(rejects(entries));
            let all: u64 = entries.iter().map(|logged| number(&entry(logged), "count")).fold(0, u64::saturating_add);
            let shown = if entries.len() == 1 { "1 entry".to_owned() } else { format!("{} entries", entries.len()) };
            lines.extend([String::new(), format!("{shown}, {all} refused")]);
        }
        (entries, _) => lines.push(others(entries)),
    }
    if let Some(next) = answer.get("next").and_then(Value::as_str) {
        lines.push(format!("there are more: `--before {next}`, a shorter time or a higher `--limit`"));
    }
    if let Some(entry) = answer.get("entry").and_then(Value::as_str) {
        lines.push(format!("this search is entry {entry} · --format json"));
    }
    lines.join("\n")
}

fn rejects(entries: &[Value]) -> String {
    let mut table = Table::new(&["time", "listener", "reason", "network", "refused", "entry"]);
    for logged in entries {
        let entry = entry(logged);
        table.row([at(&entry), text(&entry, "listener"), text(&entry, "code"), text(&entry, "network"), text(&entry, "count"), index(logged)]);
    }
    table.render()
}

/// Whatever the entry says beside kind and time.
fn others(entries: &[Value]) -> String {
    let lines = entries.iter().map(|logged| {
        let entry = entry(logged);
        let members = entry.as_object().into_iter().flatten().filter(|(name, _)| !matches!(name.as_str(), "v" | "kind" | "t"));
        let said: Vec<String> =
            members.map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))).collect();
        format!("{}  {:<8}  {}", at(&entry), index(logged), super::table::cut(&said.join("  "), SAID_CHARS_MAX))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What a line of a hundred and twenty characters has room for beside time and index.
const SAID_CHARS_MAX: usize = super::table::LINE_CHARS_MAX - 31;

fn entry(logged: &Value) -> Value {
    let mut entry = logged.get("entry").cloned().unwrap_or_default();
    let at = entry.get("t").and_then(Value::as_i64).and_then(|t| Timestamp::from_microsecond(t).ok());
    if let (Some(members), Some(at)) = (entry.as_object_mut(), at) {
        members.insert("t".to_owned(), at.to_string().into());
    }
    entry
}

fn at(entry: &Value) -> String {
    time(entry, "t")
}

fn index(logged: &Value) -> String {
    format!("#{}", number(logged, "index"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rejects_read_as_a_table_and_others_as_lines() {
        let t = 1_780_000_000_000_000_i64;
        let rejects = json!({ "next": "7", "entries": [
            {"index": 9, "entry": {"v": 1, "kind": "rejects", "t": t, "listener": "apps", "code": "token-invalid", "network": "192.0.2.0/24", "count": 1200}},
            {"index": 7, "entry": {"v": 1, "kind": "rejects", "t": t, "listener": "apps", "code": "audit-unavailable", "count": 3}},
        ]});
        assert_eq!(
            render("rejects", &rejects),
            "time                 listener  reason             network       refused  entry\n\
             2026-05-28 20:26:40  apps      token-invalid      192.0.2.0/24  1200     #9\n\
             2026-05-28 20:26:40  apps      audit-unavailable  –             3        #7\n\
             \n\
             2 entries, 1203 refused\n\
             there are more: `--before 7`, a shorter time or a higher `--limit`"
        );
        let stops = json!({ "entries": [{"index": 12, "entry": {"v": 1, "kind": "stop", "t": t, "reason": "a\u{1b}[31m"}}] });
        assert_eq!(render("stop", &stops), "2026-05-28 20:26:40  #12       reason=a\u{fffd}[31m");
        assert_eq!(render("gap", &json!({ "entries": [] })), "no entries `gap`");
    }
}
