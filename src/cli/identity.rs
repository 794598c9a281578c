//! `consentry party merge`, `split`, `kind`, `erase`, `hold`, `release`, `gaps`: one customer across systems.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::{Value, json};

use super::audit::moment;
use super::client::{ServerArgs, segment};
use super::table::{Table, cut};
use super::text::{joined, list, number, text, time};
use super::{Exit, Failure, Output};
use crate::clock::SystemClock;

#[derive(Debug, clap::Args)]
pub(super) struct MergeArgs {
    /// Whose record stays: `party:<id>` or `<space>:<value>`.
    into: String,
    /// Whose record goes into it.
    from: String,
    /// How it was found out.
    #[arg(long)]
    reason: String,
    /// Since when it is known: a time with offset, or back from now: 30d, 12h, 45m. Now without it.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
#[group(id = "off", required = true, multiple = false, args = ["merged", "ids"])]
pub(super) struct SplitArgs {
    /// Whose record is split: `party:<id>` or `<space>:<value>`.
    party: String,
    /// Takes back the merge of this customer: `party:<id>`, or an id that came along.
    #[arg(long, value_name = "ID")]
    merged: Option<String>,
    /// An id that becomes a new customer's, `<space>:<value>`; may be repeated.
    #[arg(long = "id", value_name = "SPACE:VALUE")]
    ids: Vec<String>,
    /// How it was found out.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct KindArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    /// person, business-contact, prospect or organisation.
    kind: String,
    /// How it was found out.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct EraseArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    /// The customer's request or the reason.
    #[arg(long)]
    reason: String,
    /// Do not ask; needed where nobody can answer.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// For a hold and for its release.
#[derive(Debug, clap::Args)]
pub(super) struct HoldArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    /// The claim, or how it ended.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct GapsArgs {
    #[command(flatten)]
    server: ServerArgs,
}

impl MergeArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let time = self.since.as_deref().map(|text| moment(text, SystemClock::shared().now())).transpose()?;
        let mut body = json!({ "from": self.from, "reason": self.reason });
        if let (Some(members), Some(time)) = (body.as_object_mut(), time) {
            members.insert("time".to_owned(), json!(time.to_string()));
        }
        let merged = self.server.connect()?.post(&act(&self.into, "merge"), &body)?;
        tell(output, &merged, render_merge)
    }
}

impl SplitArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let body = match &self.merged {
            Some(merged) => json!({ "merged": merged, "reason": self.reason }),
            None => json!({ "identifiers": self.ids, "reason": self.reason }),
        };
        let split = self.server.connect()?.post(&act(&self.party, "split"), &body)?;
        tell(output, &split, render_split)
    }
}

impl KindArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let body = json!({ "kind": self.kind, "reason": self.reason });
        let changed = self.server.connect()?.post(&act(&self.party, "kind"), &body)?;
        tell(output, &changed, |changed| {
            format!("party {} is known as `{}` · revision {}", text(changed, "party"), text(changed, "kind"), number(changed, "revision"))
        })
    }
}

impl EraseArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let can_answer = io::stdin().is_terminal() && io::stderr().is_terminal();
        if !self.yes && !can_answer {
            return Err(Failure::usage("an erasure is never taken back; nobody can be asked here, so confirm it with `--yes`"));
        }
        let admin = self.server.connect()?;
        if !self.yes {
            confirm(&admin.get(&path(&self.party))?)?;
        }
        let erased = admin.post(&act(&self.party, "erase"), &json!({ "reason": self.reason }))?;
        tell(output, &erased, |erased| {
            let (party, event, revision) = (text(erased, "party"), text(erased, "event"), number(erased, "revision"));
            format!("party {party} is erased · {event} · revision {revision}\nits ids are not taken in again, from whichever system they come")
        })
    }
}

impl HoldArgs {
    pub(super) fn execute(&self, output: &Output, is_held: bool) -> Result<Exit, Failure> {
        let verb = if is_held { "hold" } else { "release" };
        let put = self.server.connect()?.post(&act(&self.party, verb), &json!({ "reason": self.reason }))?;
        tell(output, &put, |put| {
            let (party, revision) = (text(put, "party"), number(put, "revision"));
            if is_held {
                format!("party {party} is held · revision {revision}\nit is not erased until `consentry party release`")
            } else {
                format!("party {party} is released · revision {revision}")
            }
        })
    }
}

impl GapsArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let found = self.server.connect()?.get("/v1/gaps")?;
        tell(output, &found, render_gaps)
    }
}

fn path(party: &str) -> String {
    format!("/v1/parties/{}", segment(party))
}

fn act(party: &str, verb: &str) -> String {
    format!("{}:{verb}", path(party))
}

fn tell(output: &Output, document: &Value, human: impl FnOnce(&Value) -> String) -> Result<Exit, Failure> {
    if output.is_json() {
        output.json(document)?
    } else {
        output.line(human(document))?
    }
    Ok(Exit::Done)
}

/// Asks on the terminal; stdout stays the answer's.
fn confirm(party: &Value) -> Result<(), Failure> {
    let ids: Vec<String> = list(party, "identifiers").iter().map(|link| text(link, "identifier")).collect();
    let ids = if ids.is_empty() { "no ids".to_owned() } else { cut(&ids.join(" "), IDS_CHARS_MAX) };
    let question = format!("erase party {} with {ids}? this is never taken back; type `erase`: ", text(party, "party"));
    let unasked = |error: io::Error| Failure::new(Exit::Internal, format!("cannot ask on this terminal: {error}"));
    let mut stderr = io::stderr().lock();
    stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush()).map_err(unasked)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(unasked)?;
    if answer.trim() == "erase" { Ok(()) } else { Err(Failure::usage("nothing was erased")) }
}

fn render_merge(merged: &Value) -> String {
    let head = format!("party {} · revision {} · stops: {}", text(merged, "party"), number(merged, "revision"), joined(merged, "stops"));
    if merged.get("known_before") == Some(&Value::Bool(true)) {
        return format!("{head}\nthey were one customer already; nothing was changed");
    }
    let conflicts = list(merged, "conflicts");
    if conflicts.is_empty() {
        return format!("{head}\nmerged; they said nothing different");
    }
    let mut table = Table::new(&["they differ about"]);
    for purpose in conflicts {
        table.row([purpose.as_str().unwrap_or_default().to_owned()]);
    }
    format!("{head}\n\n{}\n\nmerged; the more restrictive holds until the customer names the purpose again", table.render())
}

fn render_split(split: &Value) -> String {
    let (stays, leaves) = (text(split, "stays"), text(split, "leaves"));
    let head = format!("party {stays} stays · party {leaves} leaves · revision {}", number(split, "revision"));
    if let Some(note) = split.get("note").and_then(Value::as_str) {
        return format!("{head}\n{note}");
    }
    let since = time(split, "since");
    let rows = list(split, "disclosed");
    let entry = text(split, "entry");
    if rows.is_empty() {
        return format!("{head}\nnothing was disclosed about either since {since} · this search is entry {entry}");
    }
    let mut table = Table::new(&["department", "app", "category", "first", "last", "times"]);
    for row in rows {
        for category in list(row, "categories") {
            let (first, last) = (time(category, "first"), time(category, "last"));
            let (department, app, name) = (text(row, "department"), text(row, "app"), text(category, "category"));
            table.row([department, app, name, first, last, text(category, "decisions")]);
        }
    }
    format!(
        "{head}\n\ndisclosed while they were one record, since {since}\n\n{}\n\n\
         tell them which of it was somebody else's (GDPR Art. 19) · this search is entry {entry} · --format json",
        table.render()
    )
}

fn render_gaps(found: &Value) -> String {
    let gaps = list(found, "gaps");
    if gaps.is_empty() {
        return "no gaps: every id that was named since the start is known".to_owned();
    }
    let mut table = Table::new(&["space", "requests", "ids", "waiting"]);
    for gap in gaps {
        table.row(["space", "requests", "ids", "waiting"].map(|member| text(gap, member)));
    }
    format!(
        "{}\n\nrequests, ids: that nobody is known by, since the start · waiting: ids under which something was said\n\
         close them with `consentry party import` or `consentry party link`",
        table.render()
    )
}

/// Of a question.
const IDS_CHARS_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_says_what_they_differ_about() {
        let merged = |conflicts: Value, known: bool| {
            render_merge(&json!({"party": "p_1", "revision": 7, "stops": ["objection"], "conflicts": conflicts, "known_before": known}))
        };
        let head = "party p_1 · revision 7 · stops: objection\n";
        assert_eq!(merged(json!([]), false), format!("{head}merged; they said nothing different"));
        assert_eq!(merged(json!([]), true), format!("{head}they were one customer already; nothing was changed"));
        assert_eq!(
            merged(json!(["marketing.email"]), false),
            format!("{head}\nthey differ about\nmarketing.email\n\nmerged; the more restrictive holds until the customer names the purpose again")
        );
    }

    #[test]
    fn a_split_lists_what_went_across_the_wrong_link_or_says_that_it_cannot() {
        let at = "2026-03-01T12:00:00.5Z";
        let row = json!({"party": "p_1", "department": "sales", "app": "crm", "categories": [{"category": "contact", "decisions": 2, "first": at, "last": at}]});
        let mut split = json!({"stays": "p_1", "leaves": "p_2", "revision": 9, "since": at, "disclosed": [row], "entry": "gw#7"});
        assert_eq!(
            render_split(&split),
            "party p_1 stays · party p_2 leaves · revision 9\n\n\
             disclosed while they were one record, since 2026-03-01 12:00:00\n\n\
             department  app  category  first                last                 times\n\
             sales       crm  contact   2026-03-01 12:00:00  2026-03-01 12:00:00  2\n\n\
             tell them which of it was somebody else's (GDPR Art. 19) · this search is entry gw#7 · --format json"
        );
        split["disclosed"] = json!([]);
        assert!(render_split(&split).ends_with("\nnothing was disclosed about either since 2026-03-01 12:00:00 · this search is entry gw#7"));
        split["disclosed"] = Value::Null;
        split["note"] = json!("split, but the decision log cannot be searched");
        assert!(render_split(&split).ends_with("\nsplit, but the decision log cannot be searched"));
    }

    #[test]
    fn gaps_are_counts_by_space() {
        assert_eq!(render_gaps(&json!({"gaps": []})), "no gaps: every id that was named since the start is known");
        let text = render_gaps(&json!({"gaps": [{"space": "crm", "requests": 12, "ids": 3, "waiting": 1}]}));
        assert!(text.starts_with("space  requests  ids  waiting\ncrm    12        3    1\n\n"), "{text}");
    }
}
