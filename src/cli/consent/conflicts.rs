//! `consentry consent conflicts` and `consent ask`: where systems disagree, and having the customer asked.

use serde_json::{Value, json};

use crate::cli::client::{Admin, ServerArgs, query, segment};
use crate::cli::table::Table;
use crate::cli::text::{list, text, time};
use crate::cli::{Exit, Failure, Output};
use crate::console::{CONFLICTS_CSV_HEAD, conflict_csv};

/// Shows where systems disagree: who says what, what holds and by which rule.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ConflictsArgs {
    /// Only this purpose and what is below it.
    #[arg(long)]
    purpose: Option<String>,
    /// Only where this system has a say.
    #[arg(long)]
    system: Option<String>,
    /// Only what the customer has not settled.
    #[arg(long)]
    unsettled: bool,
    /// Only what is closed because merged customers said differently.
    #[arg(long)]
    merged: bool,
    /// Only customers who changed after this revision.
    #[arg(long, value_name = "REVISION")]
    since: Option<u64>,
    /// Prints all of them: a line for each system, or one object a line.
    #[arg(long, value_name = "FORMAT", value_parser = ["csv", "ndjson"])]
    export: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Has a customer asked about a purpose on which systems disagree; the change feed and webhooks carry it to whoever asks.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct AskArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    /// What to ask about.
    #[arg(long)]
    purpose: String,
    /// How: email, sms, post, phone, push, in-person, system.
    #[arg(long)]
    channel: Option<String>,
    /// Why.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What the table shows at most; an export shows all.
const SHOWN: usize = 200;

impl ConflictsArgs {
    pub(in crate::cli) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let admin = self.server.connect()?;
        if let Some(format) = &self.export {
            if format == "csv" {
                output.line(CONFLICTS_CSV_HEAD.trim_end())?;
            }
            self.each_page(&admin, &mut |page| {
                for conflict in page {
                    if format == "csv" { output.line(conflict_csv(conflict).trim_end())? } else { output.line(conflict.to_string())? }
                }
                Ok(true)
            })?;
            return Ok(Exit::Done);
        }
        let mut found: Vec<Value> = Vec::new();
        let whole = self.each_page(&admin, &mut |page| {
            found.extend_from_slice(page);
            Ok(output.is_json() || found.len() < SHOWN)
        })?;
        if output.is_json() {
            for conflict in &found {
                output.json(conflict)?;
            }
        } else {
            output.line(render(&found, whole))?;
        }
        Ok(Exit::Done)
    }

    /// Whether all pages were taken.
    fn each_page(&self, admin: &Admin, take: &mut dyn FnMut(&[Value]) -> Result<bool, Failure>) -> Result<bool, Failure> {
        let flag = |set: bool| set.then(|| "true".to_owned());
        let mut cursor = None;
        loop {
            let params = query(&[
                ("purpose", self.purpose.clone()),
                ("system", self.system.clone()),
                ("unsettled", flag(self.unsettled)),
                ("merged", flag(self.merged)),
                ("since", self.since.map(|revision| revision.to_string())),
                ("limit", Some(SHOWN.to_string())),
                ("cursor", cursor),
            ]);
            let page = admin.get(&format!("/v1/conflicts{params}"))?;
            let more = take(list(&page, "conflicts"))?;
            cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() || !more {
                return Ok(cursor.is_none());
            }
        }
    }
}

impl AskArgs {
    pub(in crate::cli) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let body = json!({ "purpose": self.purpose, "channel": self.channel, "reason": self.reason });
        let answer = self.server.connect()?.post(&format!("/v1/conflicts/{}:ask", segment(&self.party)), &body)?;
        super::acknowledge(output, &answer)
    }
}

fn render(found: &[Value], whole: bool) -> String {
    if found.is_empty() {
        return "no system says anything different from another".to_owned();
    }
    let mut table = Table::new(&["party", "purpose", "system", "says", "since", "event", "holds", ""]);
    for conflict in found {
        let is = |member: &str| conflict.get(member) == Some(&Value::Bool(true));
        let asked = text(conflict, "asked");
        let became = match asked.as_str() {
            _ if is("settled") => "settled".to_owned(),
            "–" if is("merged") => "merged".to_owned(),
            "–" => "open".to_owned(),
            event => format!("asked {event}"),
        };
        let stop = text(conflict, "stop");
        let holds = if stop == "–" { text(conflict, "holds") } else { format!("stopped: {stop}") };
        let mut about = [text(conflict, "party"), text(conflict, "purpose"), holds, became];
        for voice in list(conflict, "says") {
            let when = if text(voice, "event_time") == "–" { time(voice, "record_time") } else { time(voice, "event_time") };
            let [party, purpose, holds, became] = std::mem::take(&mut about);
            table.row([party, purpose, text(voice, "system"), text(voice, "says"), when, text(voice, "event"), holds, became]);
        }
    }
    let open = found.iter().filter(|conflict| conflict.get("settled") != Some(&Value::Bool(true))).count();
    let more = if whole { "" } else { ", and more: --export csv" };
    format!("{}\n\n{}, {open} of them unsettled{more}; UTC", table.render(), crate::cli::check::count(found.len(), "disagreement"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_a_line_and_each_disagreement_says_what_became_of_it() {
        let voice =
            |system: &str, says: &str, event: &str| json!({"system": system, "says": says, "event": event, "event_time": "2026-03-01T12:00:00Z"});
        let conflict = |settled: bool, merged: bool, asked: Option<&str>, stop: Option<&str>| {
            json!({"party": "p_1", "purpose": "sales", "holds": "withdrawn", "settled": settled, "merged": merged, "asked": asked, "stop": stop,
                "says": [voice("crm", "given", "ev_1"), voice("erp", "refused", "ev_2")]})
        };
        let found = [conflict(false, false, None, None), conflict(false, true, Some("ev_9"), Some("objection")), conflict(true, false, None, None)];
        let text = render(&found, false);
        let lines: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "party purpose system says since event holds",
                "p_1 sales crm given 2026-03-01 12:00:00 ev_1 withdrawn open",
                "erp refused 2026-03-01 12:00:00 ev_2",
                "p_1 sales crm given 2026-03-01 12:00:00 ev_1 stopped: objection asked ev_9",
                "erp refused 2026-03-01 12:00:00 ev_2",
                "p_1 sales crm given 2026-03-01 12:00:00 ev_1 withdrawn settled",
                "erp refused 2026-03-01 12:00:00 ev_2",
                "",
                "3 disagreements, 2 of them unsettled, and more: --export csv; UTC",
            ]
        );
        assert_eq!(render(&[], true), "no system says anything different from another");
    }
}
