//! `consentry break-glass`: sight of a customer's data, or of a route's answers, in an emergency, for a few hours.

use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::{Send, ServerArgs, query, segment};
use super::table::Table;
use super::text::{list, number, text, time};
use super::{Exit, Failure, Output};
use crate::clock::SystemClock;

#[derive(Debug, clap::Subcommand)]
pub(super) enum BreakGlassCommand {
    /// Asks for a grant; it opens nothing before two others have approved it.
    #[command(
        after_help = "Example: consentry break-glass request --app helpdesk --party crm:0044 --purpose service-provision.support --ticket INC-4471 --until 2h --reason \"the ambulance asks for allergies\""
    )]
    Request(RequestArgs),
    /// Approves a grant; neither who asked nor whom it is for can, and nobody twice.
    #[command(after_help = "Example: consentry break-glass approve bg_5c1e07a93b2d4f68a011")]
    Approve(GrantArgs),
    /// Ends a grant at once; answers that are on their way on it are cut.
    #[command(after_help = "Example: consentry break-glass revoke bg_5c1e07a93b2d4f68a011 --reason \"the patient is in hospital\"")]
    Revoke(RevokeArgs),
    /// Closes a grant that is over, by somebody who had no part in it; `audit search --grant` shows its uses.
    #[command(
        after_help = "Example: consentry break-glass review bg_5c1e07a93b2d4f68a011 --finding justified --note \"two reads, both of the ticket's customer\""
    )]
    Review(ReviewArgs),
    /// Shows grants, newest first, and which reviews are due.
    #[command(after_help = "Example: consentry break-glass list --state review-overdue")]
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct RequestArgs {
    /// The app by which is read.
    #[arg(long)]
    app: String,
    /// Whom it is for, `<issuer>:<subject>`; yourself without it.
    #[arg(long, value_name = "PERSON")]
    employee: Option<String>,
    /// Whose data: `party:<id>` or `<space>:<value>`.
    #[arg(long, value_name = "ID", conflicts_with_all = ["api", "route"], required_unless_present = "route")]
    party: Option<String>,
    /// The API of the route whose answers are opened, for every customer in them.
    #[arg(long, requires = "route")]
    api: Option<String>,
    /// `METHOD /template`, as the API declares it.
    #[arg(long, requires = "api")]
    route: Option<String>,
    #[arg(long)]
    purpose: String,
    /// As the ticket system writes it; policies ask for `INC-…`.
    #[arg(long)]
    ticket: String,
    /// Why it cannot wait, without naming the customer; approvers and reviewers read it.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The end: a time with offset, or from now: 90m, 2h.
    #[arg(long, value_name = "TIME")]
    until: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct GrantArgs {
    /// The grant's id.
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    /// The grant's id.
    id: String,
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReviewArgs {
    /// The grant's id.
    id: String,
    /// `justified` or `unjustified`.
    #[arg(long)]
    finding: String,
    /// What was seen.
    #[arg(long, value_name = "TEXT")]
    note: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only those that are requested, active, lapsed, review-due, review-overdue or reviewed.
    #[arg(long)]
    state: Option<String>,
    /// So many at a time.
    #[arg(long)]
    limit: Option<usize>,
    /// `next` of the page before.
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

impl BreakGlassCommand {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Request(args) => {
                let until = end(&args.until, SystemClock::shared().now())?;
                let body = json!({
                    "app": args.app, "employee": args.employee, "party": args.party, "api": args.api, "route": args.route,
                    "purpose": args.purpose, "ticket": args.ticket, "justification": args.reason, "until": until.to_string(),
                });
                let grant = args.server.connect()?.post("/v1/break-glass", &body)?;
                output.answer(&grant, || format!("{}\nnext      two others: consentry break-glass approve {}", line(&grant), text(&grant, "id")))
            }
            Self::Approve(args) => {
                let path = format!("/v1/break-glass/{}:approve", segment(&args.id));
                let grant = args.server.connect()?.call(&Method::POST, &path, Send::Nothing)?;
                output.answer(&grant, || line(&grant))
            }
            Self::Revoke(args) => {
                let path = format!("/v1/break-glass/{}:revoke", segment(&args.id));
                let grant = args.server.connect()?.post(&path, &json!({ "reason": args.reason }))?;
                output.answer(&grant, || line(&grant))
            }
            Self::Review(args) => {
                let path = format!("/v1/break-glass/{}:review", segment(&args.id));
                let grant = args.server.connect()?.post(&path, &json!({ "finding": args.finding, "note": args.note }))?;
                output.answer(&grant, || line(&grant))
            }
            Self::List(args) => {
                let limit = args.limit.map(|limit| limit.to_string());
                let params = query(&[("state", args.state.clone()), ("limit", limit), ("cursor", args.cursor.clone())]);
                let found = args.server.connect()?.get(&format!("/v1/break-glass{params}"))?;
                output.answer(&found, || render(&found))
            }
        }
    }
}

/// A time with offset, or so long from now.
fn end(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let bad = || Failure::usage(format!("`{text}` is not a time; write `2026-07-24T10:00:00Z`, or `90m`, `2h` from now"));
    let unit = |letter: char, seconds: u64| text.strip_suffix(letter).and_then(|n| n.parse::<u64>().ok()).and_then(|n| n.checked_mul(seconds));
    match unit('h', 3_600).or_else(|| unit('m', 60)) {
        Some(seconds) => now.checked_add(Duration::from_secs(seconds)).map_err(|_too_far| bad()),
        None => text.parse().map_err(|_other| bad()),
    }
}

fn line(grant: &Value) -> String {
    format!(
        "grant {} · {} · {} of 2 approvals · until {}",
        text(grant, "id"),
        text(grant, "state"),
        list(grant, "approvals").len(),
        time(grant, "until")
    )
}

fn render(found: &Value) -> String {
    let grants = list(found, "grants");
    if grants.is_empty() {
        return "no grants".to_owned();
    }
    let mut table = Table::new(&["id", "state", "app", "for", "opens", "ticket", "until", "review due"]);
    for grant in grants {
        let route = || format!("{} {}", text(grant, "api"), text(grant, "route"));
        let opens = if grant.get("route").is_some_and(Value::is_string) { route() } else { text(grant, "party") };
        table.row([
            text(grant, "id"),
            text(grant, "state"),
            text(grant, "app"),
            text(grant, "employee"),
            opens,
            text(grant, "ticket"),
            time(grant, "until"),
            time(grant, "review_due"),
        ]);
    }
    let overdue = number(found, "overdue");
    let overdue = if overdue == 0 { String::new() } else { format!("\n\n{overdue} reviews are overdue") };
    format!("{}{overdue}", table.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_or_so_long_from_now() {
        let now: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        for (text, wanted) in [("2h", "2026-03-01T12:00:00Z"), ("90m", "2026-03-01T11:30:00Z"), ("2026-03-01T12:00:00+01:00", "2026-03-01T11:00:00Z")]
        {
            assert_eq!(end(text, now).unwrap().to_string(), wanted, "{text}");
        }
        for text in ["", "2", "h", "-2h", "2026-03-01", "tomorrow"] {
            assert_eq!(end(text, now).unwrap_err().exit, Exit::Usage, "{text}");
        }
    }

    #[test]
    fn a_list_says_what_is_open_and_what_is_overdue() {
        let found = json!({ "overdue": 1, "grants": [
            { "id": "bg_1", "state": "active", "app": "helpdesk", "employee": "emp_1", "party": "party:p_1", "api": null, "route": null,
              "ticket": "INC-1", "until": "2026-03-01T12:00:00Z", "review_due": null },
            { "id": "bg_2", "state": "review-overdue", "app": "crm", "employee": "emp_2", "party": null, "api": "crm", "route": "GET /customers",
              "ticket": "INC-2", "until": "2026-03-01T12:00:00Z", "review_due": "2026-03-02T12:00:00Z" },
        ]});
        let lines: Vec<String> = render(&found).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "id state app for opens ticket until review due",
                "bg_1 active helpdesk emp_1 party:p_1 INC-1 2026-03-01 12:00:00 –",
                "bg_2 review-overdue crm emp_2 crm GET /customers INC-2 2026-03-01 12:00:00 2026-03-02 12:00:00",
                "",
                "1 reviews are overdue",
            ]
        );
        assert_eq!(render(&json!({ "grants": [] })), "no grants");
    }
}
