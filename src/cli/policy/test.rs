//! `consentry policy test`: the folder's own cases.

use serde_json::json;

use super::super::check::{count, report_findings};
use super::{Exit, Failure, FolderArg, Output};
use crate::policy;

/// Runs the folder's own test cases.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry policy test --dir policies")]
pub(in crate::cli) struct TestArgs {
    #[command(flatten)]
    folder: FolderArg,
}

impl TestArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let report = match policy::cases::run(&self.folder.dir) {
            Ok(report) => report,
            Err(findings) => return report_findings(output, &findings, &[], "no case was run"),
        };
        for case in &report.cases {
            if output.is_json() {
                let place = case.file.display().to_string();
                output
                    .json(&json!({ "name": case.name, "file": place, "line": case.line, "ok": case.failure.is_none(), "failure": case.failure }))?;
            } else if let Some(failure) = &case.failure {
                output.line(format!("FAIL  {}:{}  \"{}\"\n      {failure}", case.file.display(), case.line, case.name))?;
            }
        }
        if !output.is_json() {
            output.line(format!("{} · {} passed · {} failed", count(report.cases.len(), "case"), report.passed(), report.failed()))?;
        }
        // A folder without a single case has proved nothing.
        Ok(if report.failed() == 0 && !report.cases.is_empty() { Exit::Done } else { Exit::CheckFailed })
    }
}
