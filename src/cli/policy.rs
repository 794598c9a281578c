//! `consentry policy check|test`: the policy folder alone, without configuration.

use std::path::PathBuf;

use serde_json::json;

use super::check::{count, report_findings, short};
use super::{Exit, Failure, Output};
use crate::policy;

#[derive(Debug, clap::Subcommand)]
pub(super) enum PolicyCommand {
    /// Validates schema, catalogue, activities and policies strictly.
    #[command(after_help = "Example: consentry policy check --dir policies")]
    Check(FolderArg),
    /// Runs the folder's own test cases.
    #[command(after_help = "Example: consentry policy test --dir policies")]
    Test(FolderArg),
}

#[derive(Debug, clap::Args)]
pub(super) struct FolderArg {
    /// The policy folder.
    #[arg(long, default_value = "policies", value_name = "DIR")]
    dir: PathBuf,
}

impl PolicyCommand {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Check(folder) => check(output, folder),
            Self::Test(folder) => test(output, folder),
        }
    }
}

fn check(output: &Output, folder: &FolderArg) -> Result<Exit, Failure> {
    let summary = match policy::check(&folder.dir) {
        Ok(summary) => summary,
        Err(findings) => return report_findings(output, &findings, &[], "the active policies are unchanged"),
    };
    if output.is_json() {
        output.json(&json!({
            "ok": true, "id": summary.id, "files": summary.files, "permits": summary.permits, "forbids": summary.forbids,
            "purposes": summary.purposes, "categories": summary.categories, "departments": summary.departments,
            "clients": summary.clients, "activities": summary.activities,
        }))?;
        return Ok(Exit::Done);
    }
    output.line(format!(
        "no errors in {} · {} permit, {} forbid · {} purposes, {} categories, {} departments, {} apps, {} activities · set {}",
        count(summary.files, "file"),
        summary.permits,
        summary.forbids,
        summary.purposes,
        summary.categories,
        summary.departments,
        summary.clients,
        summary.activities,
        short(&summary.id)
    ))?;
    Ok(Exit::Done)
}

fn test(output: &Output, folder: &FolderArg) -> Result<Exit, Failure> {
    let report = match policy::cases::run(&folder.dir) {
        Ok(report) => report,
        Err(findings) => return report_findings(output, &findings, &[], "no case was run"),
    };
    for case in &report.cases {
        if output.is_json() {
            let place = case.file.display().to_string();
            output.json(&json!({ "name": case.name, "file": place, "line": case.line, "ok": case.failure.is_none(), "failure": case.failure }))?;
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
