//! `consentry policy shadow start|stop|diff`: what a candidate folder would answer to the requests of now, in the running gateway.

use std::path::PathBuf;

use http::Method;
use serde_json::{Value, json};

use super::super::check::{report_findings, short};
use super::super::client::{Send, ServerArgs};
use super::super::table::Table;
use super::super::text::{joined, list, number, text, time};
use super::replay::{counted, grouped};
use super::{Exit, Failure, Output};
use crate::policy;

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum ShadowCommand {
    /// Sends a candidate folder to the gateway, which judges each decision by it, too; another shadow ends.
    #[command(after_help = "Example: consentry policy shadow start next")]
    Start(StartArgs),
    /// Ends the shadow and shows what it counted.
    #[command(after_help = "Example: consentry policy shadow stop")]
    Stop(AskArgs),
    /// Shows what the candidate would have answered otherwise so far; ends with 1 when it would have answered more.
    #[command(after_help = "Example: consentry policy shadow diff --format json")]
    Diff(AskArgs),
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct StartArgs {
    /// The candidate policy folder, on this machine.
    dir: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct AskArgs {
    #[command(flatten)]
    server: ServerArgs,
}

const PATH: &str = "/v1/policies/shadow";

impl ShadowCommand {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Start(args) => start(output, args),
            Self::Stop(args) => ask(output, args, &Method::DELETE).map(|_report| Exit::Done),
            Self::Diff(args) => {
                let report = ask(output, args, &Method::GET)?;
                let is_harmless = number(&report, "gains") == 0 && number(&report, "failed") == 0;
                Ok(if is_harmless { Exit::Done } else { Exit::CheckFailed })
            }
        }
    }
}

fn start(output: &Output, args: &StartArgs) -> Result<Exit, Failure> {
    // Judged here first: mistakes are shown with their places before anything is sent, and the gateway judges again.
    let files = match policy::check(&args.dir).and_then(|_summary| policy::files(&args.dir)) {
        Ok(files) => files,
        Err(findings) => return report_findings(output, &findings, &[], "nothing was sent, the gateway is unchanged"),
    };
    let files: Vec<Value> = files.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
    let report = args.server.connect()?.call(&Method::PUT, PATH, Send::Json(&json!({ "files": files })))?;
    if output.is_json() {
        output.json(&report)?;
    } else {
        let id = text(&report, "candidate");
        output.line(format!("{} judges beside the active policies; nothing of it is enforced · look: consentry policy shadow diff", short(&id)))?;
    }
    Ok(Exit::Done)
}

fn ask(output: &Output, args: &AskArgs, method: &Method) -> Result<Value, Failure> {
    let report = args.server.connect()?.call(method, PATH, Send::Nothing)?;
    if output.is_json() {
        output.json(&report)?;
    } else {
        output.line(render(&report))?;
    }
    Ok(report)
}

fn render(report: &Value) -> String {
    let id = text(report, "candidate");
    let mut lines = vec![format!(
        "{} since {} UTC · {} questions · {} answers would gain, {} would lose",
        short(&id),
        time(report, "since"),
        grouped(number(report, "judged")),
        grouped(number(report, "gains")),
        grouped(number(report, "loses")),
    )];
    let rows = list(report, "differences");
    if !rows.is_empty() {
        let mut table = Table::new(&["", "answers", "app", "dept", "action", "purpose", "category", "policy"]);
        for row in rows {
            table.row([
                text(row, "direction"),
                format!("{:>7}", grouped(number(row, "answers"))),
                text(row, "app"),
                text(row, "department"),
                text(row, "action"),
                text(row, "purpose"),
                text(row, "category"),
                joined(row, "policies"),
            ]);
        }
        lines.extend([String::new(), table.render()]);
    }
    let further = number(report, "further");
    if further > 0 {
        lines.push(format!("{} of kinds that had no row left", counted(further, "answer")));
    }
    let more = number(report, "more");
    if more > 0 {
        lines.push(format!("and {} more in very long answers, not told apart: gains or losses, some of them counted twice", grouped(more)));
    }
    let failed = number(report, "failed");
    if failed > 0 {
        lines.push(format!("{} failed in the candidate and counted as refused", counted(failed, "question")));
    }
    if report.get("broken").and_then(Value::as_bool) == Some(true) {
        lines.push("the candidate broke down and is asked no more; stop it and report it".to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_read_as_a_table_with_the_figures_first() {
        let row = json!({ "direction": "gains", "answers": 1204, "app": "campaign-manager", "department": "marketing", "action": "read",
            "purpose": "marketing.email", "category": "health", "policies": ["leads-health"] });
        let report = json!({ "candidate": "81c07d55aa", "since": "2026-07-24T10:02:15.123Z", "judged": 9120, "failed": 1, "broken": false,
            "gains": 1204, "loses": 0, "further": 2, "more": 7000, "differences": [row] });
        assert_eq!(
            render(&report),
            "81c07d since 2026-07-24 10:02:15 UTC · 9,120 questions · 1,204 answers would gain, 0 would lose\n\n\
             \u{20}      answers  app               dept       action  purpose          category  policy\n\
             gains    1,204  campaign-manager  marketing  read    marketing.email  health    leads-health\n\
             2 answers of kinds that had no row left\n\
             and 7,000 more in very long answers, not told apart: gains or losses, some of them counted twice\n\
             1 question failed in the candidate and counted as refused"
        );
    }
}
