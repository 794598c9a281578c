//! `consentry policy check`: everything that is wrong with a policy folder, in one run.

use serde_json::json;

use super::super::check::{count, report_findings, short};
use super::{Exit, Failure, FolderArg, Output};
use crate::policy;

/// Validates schema, catalogue, activities and policies strictly.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry policy check --dir policies")]
pub(in crate::cli) struct CheckArgs {
    #[command(flatten)]
    folder: FolderArg,
}

impl CheckArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let summary = match policy::check(&self.folder.dir) {
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
}
