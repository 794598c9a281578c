//! `consentry check`: everything that is wrong with a configuration, in one run, without any side effect.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::{ConfigArg, Exit, Failure, Output};
use crate::config::Config;
use crate::model::{Finding, Findings};
use crate::policy::Policies;

/// Checks configuration and policies without starting or writing anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry check --config consentry.toml")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
}

impl CheckArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let policies: RefCell<Option<Policies>> = RefCell::default();
        let loaded = crate::config::load(&self.config.config, &|folder| {
            let loaded = Policies::load(folder)?;
            let vocabulary = Arc::clone(loaded.vocabulary());
            *policies.borrow_mut() = Some(loaded);
            Ok(vocabulary)
        });
        match loaded {
            Ok(config) => report_good(output, &config, policies.into_inner().as_ref()),
            Err(findings) => report_findings(output, &findings, Some(files_read(&self.config.config)), "nothing was started or written"),
        }
    }
}

fn report_good(output: &Output, config: &Config, policies: Option<&Policies>) -> Result<Exit, Failure> {
    let summary = policies.map(Policies::summary);
    let set = summary.as_ref().map_or("", |s| s.id.as_str());
    if output.is_json() {
        let files = config.files.len();
        output.json(&json!({ "ok": true, "files": files, "policy_set": set, "governed": config.governed_hash, "warnings": config.warnings }))?;
        return Ok(Exit::Done);
    }
    for warning in &config.warnings {
        output.line(format!("{warning}\n"))?;
    }
    let routes: usize = config.catalog.apis.iter().map(|api| api.routes.len()).sum();
    let rules =
        summary.map(|s| format!(" · {} policies, {} activities, set {}", s.permits + s.forbids, s.activities, short(&s.id))).unwrap_or_default();
    output.line(format!(
        "no errors in {} · {} routes of {} APIs{rules} · nothing was started or written",
        count(config.files.len(), "file"),
        routes,
        config.catalog.apis.len()
    ))?;
    Ok(Exit::Done)
}

/// Every finding with its place, then one line that sums up.
pub(super) fn report_findings(output: &Output, findings: &Findings, files: Option<usize>, consequence: &str) -> Result<Exit, Failure> {
    if output.is_json() {
        let list: Vec<_> = findings.0.iter().map(finding_json).collect();
        output.json(&json!({ "ok": false, "errors": list }))?;
        return Ok(Exit::Invalid);
    }
    for finding in &findings.0 {
        output.line(format!("{finding}\n"))?;
    }
    output.line(summary_line(findings, files, consequence))?;
    Ok(Exit::Invalid)
}

fn summary_line(findings: &Findings, files: Option<usize>, consequence: &str) -> String {
    let wrong = findings.0.iter().map(|finding| &finding.file).collect::<BTreeSet<&PathBuf>>().len();
    let place = match files {
        Some(files) if files > wrong => format!("{wrong} of {files} files"),
        Some(_) | None => count(wrong, "file"),
    };
    format!("{} in {place} · {consequence}", count(findings.0.len(), "error"))
}

/// How many files a configuration consists of, as far as it can be read: the file, what it includes, and the policy folder.
fn files_read(config: &Path) -> usize {
    let table = std::fs::read_to_string(config).ok().and_then(|text| text.parse::<toml::Table>().ok()).unwrap_or_default();
    let folder = config.parent().unwrap_or(Path::new(""));
    let includes = table.get("include").and_then(toml::Value::as_array).into_iter().flatten().filter_map(toml::Value::as_str);
    let included: usize = includes.map(|pattern| matching(&folder.join(pattern))).sum();
    let policies = table.get("policy").and_then(|policy| policy.get("folder")).and_then(toml::Value::as_str);
    1 + included + policies.map_or(0, |policies| matching(&folder.join(policies).join("**/*.*")))
}

fn matching(pattern: &Path) -> usize {
    glob::glob(&pattern.to_string_lossy()).map_or(0, |paths| paths.filter_map(Result::ok).filter(|path| path.is_file()).count())
}

pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// The first characters of a hash: enough to recognise it.
pub(super) fn short(hash: &str) -> &str {
    hash.get(..6).unwrap_or(hash)
}

fn finding_json(finding: &Finding) -> serde_json::Value {
    json!({
        "file": finding.file.display().to_string(),
        "line": finding.line,
        "column": finding.column,
        "message": finding.message,
        "help": finding.help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_errors_and_files() {
        let mut findings = Findings::default();
        findings.push(Finding::of_file(Path::new("a.toml"), "x"));
        assert_eq!(summary_line(&findings, Some(1), "nothing was started or written"), "1 error in 1 file · nothing was started or written");
        findings.push(Finding::of_file(Path::new("a.toml"), "y"));
        findings.push(Finding::of_file(Path::new("b.toml"), "z"));
        assert_eq!(summary_line(&findings, Some(4), "nothing was started or written"), "3 errors in 2 of 4 files · nothing was started or written");
    }

    #[test]
    fn a_missing_configuration_exits_with_3() {
        let args = CheckArgs { config: ConfigArg { config: PathBuf::from("/nonexistent/consentry.toml") } };
        assert_eq!(args.execute(&Output::new(super::super::Format::Json)).unwrap(), Exit::Invalid);
    }
}
