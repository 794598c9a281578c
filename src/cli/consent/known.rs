//! `consentry consent effective`, `consent history` and `consent stop list`: what holds, what was said, and what was known when.

use serde_json::Value;

use crate::cli::audit::moment;
use crate::cli::client::{ServerArgs, query, segment};
use crate::cli::table::Table;
use crate::cli::text::{joined, list, number, text, time};
use crate::cli::{Exit, Failure, Output};
use crate::clock::SystemClock;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct EffectiveArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    /// Only this purpose, whether or not anything was said about it.
    #[arg(long)]
    purpose: Option<String>,
    /// Only this department.
    #[arg(long)]
    recipient: Option<String>,
    /// Only this category.
    #[arg(long)]
    category: Option<String>,
    /// What was, or will be, the case then: a time with offset, or back from now: 30d, 12h, 45m.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// As far as was known then; as far as is known now without it.
    #[arg(long, value_name = "TIME")]
    known_at: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct HistoryArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    #[command(flatten)]
    server: ServerArgs,
}

impl EffectiveArgs {
    pub(in crate::cli) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let now = SystemClock::shared().now();
        let exact = |text: &Option<String>| text.as_deref().map(|text| moment(text, now).map(|time| time.to_string())).transpose();
        let params = query(&[
            ("purpose", self.purpose.clone()),
            ("category", self.category.clone()),
            ("recipient", self.recipient.clone()),
            ("at", exact(&self.at)?),
            ("known_at", exact(&self.known_at)?),
        ]);
        let answer = self.server.connect()?.get(&format!("/v1/parties/{}/effective{params}", segment(&self.party)))?;
        if output.is_json() {
            output.json(&answer)?
        } else {
            output.line(render_effective(&answer))?
        }
        Ok(Exit::Done)
    }
}

fn render_effective(answer: &Value) -> String {
    let stops = joined(answer, "stops");
    let mut head = format!("party {} · consent revision {} · stops: {stops}", text(answer, "party"), number(answer, "revision"));
    for (member, words) in [("at", "what was the case at"), ("known_at", "as known at")] {
        if answer.get(member).is_some_and(Value::is_string) {
            head = format!("{head}\n{words} {}", time(answer, member));
        }
    }
    let uses = list(answer, "uses");
    if uses.is_empty() {
        return format!("{head}\n\nnothing was ever said: what rests on consent is closed");
    }
    // Uses that differ only in the category are one line.
    let mut groups: Vec<([String; 5], Vec<String>)> = Vec::new();
    for usage in uses {
        let state = if text(usage, "stop") == "–" { text(usage, "status") } else { format!("stopped: {}", text(usage, "stop")) };
        let key = [text(usage, "purpose"), text(usage, "recipient"), state, text(usage, "event"), text(usage, "rule")];
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, categories)) => categories.push(text(usage, "category")),
            None => groups.push((key, vec![text(usage, "category")])),
        }
    }
    // And lines that then differ only in the recipient are one, too: a stop is told once, not for each department.
    let mut lines: Vec<([String; 5], Vec<String>)> = Vec::new();
    for ([purpose, recipient, state, event, _rule], categories) in groups {
        let key = [purpose, state, categories.join(" "), categories.len().to_string(), event];
        match lines.iter_mut().find(|(known, _)| *known == key) {
            Some((_, recipients)) => recipients.push(recipient),
            None => lines.push((key, vec![recipient])),
        }
    }
    let mut table = Table::new(&["purpose", "recipient", "state", "categories", "event"]);
    for ([purpose, state, categories, count, event], recipients) in lines {
        let categories = if categories.chars().count() > 40 { format!("{count} categories") } else { categories };
        let recipients = if recipients.len() > 3 { format!("{} departments", recipients.len()) } else { recipients.join(" ") };
        table.row([purpose, recipients, state, categories, event]);
    }
    format!("{head}\n\n{}", table.render())
}

impl HistoryArgs {
    pub(in crate::cli) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let (party, events) = self.events()?;
        if output.is_json() {
            for event in &events {
                output.json(event)?;
            }
        } else {
            output.line(render_history(&party, &events))?;
        }
        Ok(Exit::Done)
    }

    pub(in crate::cli) fn stops(&self, output: &Output) -> Result<Exit, Failure> {
        let (party, events) = self.events()?;
        if output.is_json() {
            for event in events.iter().filter(|event| is_stop(event)) {
                output.json(event)?;
            }
        } else {
            output.line(render_stops(&party, &events))?;
        }
        Ok(Exit::Done)
    }

    fn events(&self) -> Result<(String, Vec<Value>), Failure> {
        let admin = self.server.connect()?;
        let path = format!("/v1/consents/{}/history", segment(&self.party));
        let mut answer = admin.get(&format!("{path}?limit=1000"))?;
        let mut events: Vec<Value> = list(&answer, "events").to_vec();
        while let Some(cursor) = answer.get("next").and_then(Value::as_str).map(str::to_owned) {
            answer = admin.get(&format!("{path}?limit=1000&cursor={}", segment(&cursor)))?;
            events.extend_from_slice(list(&answer, "events"));
        }
        Ok((text(&answer, "party"), events))
    }
}

fn is_stop(event: &Value) -> bool {
    text(event, "kind") == "stop"
}

fn render_history(party: &str, events: &[Value]) -> String {
    let mut table = Table::new(&["said", "recorded", "what", "purposes", "author", "event", "became"]);
    for event in events {
        let what = event.get("what").cloned().unwrap_or_default();
        let said = match text(event, "kind").as_str() {
            "stop" => text(&what, "kind"),
            "lift" => format!("lift of {}", text(&what, "stop")),
            "delegation" => format!("{} may speak", text(&what, "holder")),
            "occurrence" => text(&what, "name"),
            _ => text(&what, "state"),
        };
        table.row([
            time(event, "event_time"),
            time(event, "record_time"),
            said,
            joined(&what, "purposes"),
            text(event, "author"),
            text(event, "event"),
            became(event, events),
        ]);
    }
    let count = crate::cli::check::count(events.len(), "event");
    format!("party {party} · {count}, UTC\n\n{}", table.render())
}

fn render_stops(party: &str, events: &[Value]) -> String {
    let stops: Vec<&Value> = events.iter().filter(|event| is_stop(event)).collect();
    if stops.is_empty() {
        return format!("party {party} · no stops");
    }
    let mut table = Table::new(&["since", "stop", "purposes", "author", "from", "event", "now"]);
    for stop in &stops {
        let what = stop.get("what").cloned().unwrap_or_default();
        let since = if text(stop, "event_time") == "–" { time(stop, "record_time") } else { time(stop, "event_time") };
        let now = became(stop, events);
        table.row([
            since,
            text(&what, "kind"),
            joined(&what, "purposes"),
            text(stop, "author"),
            text(stop, "source_system"),
            text(stop, "event"),
            if now == "–" { "stands".to_owned() } else { now },
        ]);
    }
    format!("party {party} · {}, UTC\n\n{}", crate::cli::check::count(stops.len(), "stop"), table.render())
}

/// What lifted or overrode an event.
fn became(event: &Value, events: &[Value]) -> String {
    let is_lift = |other: &&Value| text(other, "kind") == "lift" && other.get("what").is_some_and(|what| text(what, "stop") == text(event, "event"));
    if let Some(lift) = events.iter().find(is_lift) {
        return format!("lifted by {}", text(lift, "event"));
    }
    match (joined(event, "lifted_by").as_str(), joined(event, "overridden_by").as_str()) {
        ("–", "–") => "–".to_owned(),
        ("–", by) => format!("overridden by {by}"),
        (by, _) => format!("lifted in part by {by}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn uses_that_differ_only_in_the_category_are_one_line() {
        let usage = |category: &str, status: &str| json!({"purpose": "sales.outreach", "recipient": "sales", "category": category, "status": status, "stop": null, "event": "ev_1"});
        let answer = json!({"party": "p_1", "revision": 4, "stops": [], "uses": [usage("contact", "withdrawn"), usage("identity", "withdrawn"), usage("order", "given")]});
        let text = render_effective(&answer);
        assert_eq!(
            text,
            "party p_1 · consent revision 4 · stops: –\n\n\
             purpose         recipient  state      categories        event\n\
             sales.outreach  sales      withdrawn  contact identity  ev_1\n\
             sales.outreach  sales      given      order             ev_1"
        );
    }

    fn lines(text: &str) -> Vec<String> {
        text.lines().skip(2).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn both_times_and_what_became_of_an_event_are_told() {
        let event = |no: u32, kind: &str, what: Value, event_time: Option<&str>| {
            json!({"event": format!("ev_{no}"), "kind": kind, "what": what, "event_time": event_time, "record_time": "2026-03-02T12:00:00Z",
                "author": "customer", "captured_by": "client:crm", "source_system": "crm", "overridden_by": [], "lifted_by": []})
        };
        let mut lost = event(1, "consent", json!({"state": "given", "purposes": ["sales"]}), Some("2026-03-01T12:00:00Z"));
        lost["overridden_by"] = json!(["ev_9"]);
        let mut in_part = event(2, "stop", json!({"kind": "suppression", "purposes": []}), None);
        in_part["lifted_by"] = json!(["ev_7"]);
        let ended = event(3, "stop", json!({"kind": "restriction", "purposes": []}), Some("2026-03-01T13:00:00Z"));
        let stands = event(4, "stop", json!({"kind": "objection", "purposes": ["sales"]}), None);
        let lift = event(5, "lift", json!({"stop": "ev_3", "reason": "settled"}), None);
        let all = [lost, in_part, ended, stands, lift];
        assert_eq!(
            lines(&render_history("p_1", &all)),
            [
                "said recorded what purposes author event became",
                "2026-03-01 12:00:00 2026-03-02 12:00:00 given sales customer ev_1 overridden by ev_9",
                "– 2026-03-02 12:00:00 suppression – customer ev_2 lifted in part by ev_7",
                "2026-03-01 13:00:00 2026-03-02 12:00:00 restriction – customer ev_3 lifted by ev_5",
                "– 2026-03-02 12:00:00 objection sales customer ev_4 –",
                "– 2026-03-02 12:00:00 lift of ev_3 – customer ev_5 –",
            ]
        );
        assert_eq!(
            lines(&render_stops("p_1", &all)),
            [
                "since stop purposes author from event now",
                "2026-03-02 12:00:00 suppression – customer crm ev_2 lifted in part by ev_7",
                "2026-03-01 13:00:00 restriction – customer crm ev_3 lifted by ev_5",
                "2026-03-02 12:00:00 objection sales customer crm ev_4 stands",
            ]
        );
        assert_eq!(render_stops("p_1", &all[..1]), "party p_1 · no stops");
    }
}
