//! `consentry check`: everything that is wrong with a configuration, in one run, without any side effect.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;

use super::run::runtime;
use super::{ConfigArg, Exit, Failure, Output};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::gateway::build;
use crate::gateway::probe::{Probed, probe};
use crate::model::{Finding, Findings};
use crate::policy::Policies;

/// Checks configuration and policies without starting or writing anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry check --config consentry.toml
         consentry check --schema > consentry-1.schema.json")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Also try whether upstreams, key sets and the consent store can be reached.
    #[arg(long)]
    online: bool,
    /// Fail when there is a warning, e.g. a difference from an OpenAPI document.
    #[arg(long)]
    deny_warnings: bool,
    /// Print the JSON Schema of the configuration file, for editors, and check nothing.
    #[arg(long, conflicts_with = "online")]
    schema: bool,
}

impl CheckArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        if self.schema {
            output.line(crate::config::schema().trim_end())?;
            return Ok(Exit::Done);
        }
        let (config, policies) = match build::load(&self.config.config) {
            Ok(loaded) => loaded,
            Err(findings) => {
                return report_findings(output, &findings, &crate::config::files(&self.config.config), "nothing was started or written");
            }
        };
        // What `run` would put together, so that what is accepted here starts there.
        let clock = SystemClock::shared();
        let snapshot = build::snapshot(&config, &policies, 0, &clock).map_err(|e| Failure::new(Exit::Invalid, e.to_string()))?;
        let exit = report_good(output, &config, Some(&policies))?;
        if self.deny_warnings && !config.warnings.is_empty() {
            return Ok(Exit::CheckFailed);
        }
        if self.online { report_online(output, &runtime()?.block_on(probe(&config, &snapshot))) } else { Ok(exit) }
    }
}

fn report_online(output: &Output, probed: &[Probed]) -> Result<Exit, Failure> {
    for one in probed {
        if output.is_json() {
            output.json(&json!({ "probed": one.what, "ok": one.problem.is_none(), "problem": one.problem }))?;
        } else {
            output.line(format!(
                "{:<6}{}{}",
                if one.problem.is_none() { "ok" } else { "failed" },
                one.what,
                one.problem.as_ref().map(|p| format!(": {p}")).unwrap_or_default()
            ))?;
        }
    }
    Ok(if probed.iter().all(|p| p.problem.is_none()) { Exit::Done } else { Exit::Unavailable })
}

fn report_good(output: &Output, config: &Config, policies: Option<&Policies>) -> Result<Exit, Failure> {
    let summary = policies.map(Policies::summary);
    // As decisions name it: policies and governed configuration together.
    let set = policies.map(|p| build::set_id(config, p)).unwrap_or_default();
    if output.is_json() {
        let (files, warnings) = (config.files.len(), config.warnings.iter().map(finding_json).collect::<Vec<_>>());
        output.json(&json!({ "ok": true, "files": files, "policy_set": set, "governed": config.governed_hash, "warnings": warnings }))?;
        return Ok(Exit::Done);
    }
    for warning in &config.warnings {
        output.line(format!("{}\n", warning.to_string().replacen(": error: ", ": warning: ", 1)))?;
    }
    let routes: usize = config.catalog.apis.iter().map(|api| api.routes.len()).sum();
    let rules =
        summary.map(|s| format!(" · {} policies, {} activities, set {}", s.permits + s.forbids, s.activities, short(&set))).unwrap_or_default();
    output.line(format!(
        "no errors in {} · {} of {}{rules} · nothing was started or written",
        count(config.files.len(), "file"),
        count(routes, "route"),
        count(config.catalog.apis.len(), "API")
    ))?;
    Ok(Exit::Done)
}

/// Every finding with its place, then one line that sums up.
pub(super) fn report_findings(output: &Output, findings: &Findings, read: &[PathBuf], consequence: &str) -> Result<Exit, Failure> {
    if output.is_json() {
        let list: Vec<_> = findings.0.iter().map(finding_json).collect();
        output.json(&json!({ "ok": false, "errors": list }))?;
        return Ok(Exit::Invalid);
    }
    for finding in &findings.0 {
        output.line(format!("{finding}\n"))?;
    }
    output.line(summary_line(findings, read, consequence))?;
    Ok(Exit::Invalid)
}

fn summary_line(findings: &Findings, read: &[PathBuf], consequence: &str) -> String {
    let wrong: BTreeSet<&PathBuf> = findings.0.iter().map(|finding| &finding.file).collect();
    let all = wrong.iter().copied().chain(read).collect::<BTreeSet<_>>().len();
    let place = if all > wrong.len() { format!("{} of {all} files", wrong.len()) } else { count(wrong.len(), "file") };
    format!("{} in {place} · {consequence}", count(findings.0.len(), "error"))
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
    use std::path::Path;

    #[test]
    fn the_last_line_counts_errors_and_files() {
        let mut findings = Findings::default();
        findings.push(Finding::of_file(Path::new("a.toml"), "x"));
        assert_eq!(summary_line(&findings, &[], "nothing was started or written"), "1 error in 1 file · nothing was started or written");
        findings.push(Finding::of_file(Path::new("a.toml"), "y"));
        findings.push(Finding::of_file(Path::new("b.toml"), "z"));
        assert_eq!(
            summary_line(&findings, &["a.toml", "c.toml", "d.toml"].map(PathBuf::from), "nothing was started or written"),
            "3 errors in 2 of 4 files · nothing was started or written"
        );
    }

    #[test]
    fn a_missing_configuration_exits_with_3() {
        let args = CheckArgs {
            config: ConfigArg { config: PathBuf::from("/nonexistent/consentry.toml") },
            online: false,
            deny_warnings: false,
            schema: false,
        };
        assert_eq!(args.execute(&Output::new(super::super::Format::Json)).unwrap(), Exit::Invalid);
    }
}
