//! `consentry policy test`: the folder's own cases, once or whenever a file changes, and what they look at.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::super::check::{count, report_findings};
use super::{Exit, Failure, FolderArg, Output, coverage};
use crate::clock::SystemClock;
use crate::model::Findings;
use crate::policy::Coverage;
use crate::policy::cases::{self, CaseReport, CaseResult};

/// Runs the folder's own test cases.
///
/// Cases stand in `tests/`, as TOML tables or in the JSON form of Cedar's own command line; see policies/README.md.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry policy test --dir policies
         consentry policy test --coverage                 # which policies and conditions no case looks at
         consentry policy test --lcov policies.lcov       # the same for editors and CI
         consentry policy test --watch")]
pub(in crate::cli) struct TestArgs {
    #[command(flatten)]
    folder: FolderArg,
    /// Also say which policies no case meets, and which of their conditions were never true or never false.
    #[arg(long)]
    coverage: bool,
    /// Write the coverage as an lcov trace file.
    #[arg(long, value_name = "FILE")]
    lcov: Option<PathBuf>,
    /// Run again whenever a file of the folder changes, until interrupted.
    #[arg(long)]
    watch: bool,
    /// End after so many runs.
    #[arg(long, value_name = "N", hide = true, requires = "watch")]
    runs: Option<usize>,
}

impl TestArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        if !self.watch {
            return self.run(output);
        }
        let mut runs = 0;
        loop {
            // Looked at before the run, so that a change during it is not lost.
            let seen = seen(&self.folder.dir);
            let exit = self.run(output)?;
            runs += 1;
            if self.runs.is_some_and(|most| runs >= most) {
                return Ok(exit);
            }
            if !output.is_json() {
                output.line(format!("\nwatching {} · Ctrl-C ends it\n", self.folder.dir.display()))?;
            }
            await_change(&self.folder.dir, &seen);
        }
    }

    fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let clock = SystemClock::shared();
        let started = clock.monotonic();
        let (report, coverage) = match self.cases() {
            Ok(ran) => ran,
            Err(findings) => return report_findings(output, &findings, &[], "no case was run"),
        };
        let took = clock.monotonic().saturating_sub(started);
        for case in &report.cases {
            if output.is_json() {
                let place = case.file.display().to_string();
                output.json(&json!({
                    "name": case.name, "file": place, "line": case.line, "ok": case.failure.is_none(), "failure": case.failure,
                    "details": case.details,
                }))?;
            } else if let Some(text) = failed(case) {
                output.line(text)?;
            }
        }
        if !output.is_json() {
            output.line(summary(&report, took))?;
        }
        if let Some(coverage) = &coverage {
            self.report_coverage(output, coverage)?;
        }
        // A folder without a single case has proved nothing.
        Ok(if report.failed() == 0 && !report.cases.is_empty() { Exit::Done } else { Exit::CheckFailed })
    }

    fn cases(&self) -> Result<(CaseReport, Option<Coverage>), Findings> {
        if self.coverage || self.lcov.is_some() {
            return cases::run_covering(&self.folder.dir).map(|(report, coverage)| (report, Some(coverage)));
        }
        cases::run(&self.folder.dir).map(|report| (report, None))
    }

    fn report_coverage(&self, output: &Output, found: &Coverage) -> Result<(), Failure> {
        if let Some(path) = &self.lcov {
            let failed = |e: std::io::Error| Failure::new(Exit::Usage, format!("cannot write {}: {e}; name another file", path.display()));
            fs::write(path, coverage::lcov(found)).map_err(failed)?;
        }
        if !self.coverage {
            return Ok(());
        }
        if output.is_json() {
            output.json(&json!({ "coverage": coverage::document(found) }))
        } else {
            output.line(format!("\n{}", coverage::table(found)))
        }
    }
}

/// The case with what was expected and what came; `None` when it passed.
fn failed(case: &CaseResult) -> Option<String> {
    let failure = case.failure.as_ref()?;
    let mut text = format!("FAIL  {}:{}  \"{}\"\n      {failure}", case.file.display(), case.line, case.name);
    for detail in &case.details {
        text.push_str("\n      ");
        text.push_str(detail);
    }
    Some(text + "\n")
}

fn summary(report: &CaseReport, took: Duration) -> String {
    let cases = count(report.cases.len(), "case");
    format!("{cases} · {} passed · {} failed · {:.2} s", report.passed(), report.failed(), took.as_secs_f64())
}

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Times and sizes of everything in the folder.
type Seen = BTreeMap<PathBuf, Option<(SystemTime, u64)>>;

fn seen(dir: &Path) -> Seen {
    let mut seen = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        if let Ok(entries) = fs::read_dir(&path) {
            open.extend(entries.flatten().map(|entry| entry.path()));
        } else {
            let stamp = fs::metadata(&path).ok().and_then(|m| Some((m.modified().ok()?, m.len())));
            seen.insert(path, stamp);
        }
    }
    seen
}

fn await_change(dir: &Path, ran_on: &Seen) {
    let mut last = ran_on.clone();
    loop {
        thread::sleep(LOOK_EVERY);
        let now = seen(dir);
        // Two equal looks: an editor that is still writing is left alone.
        if now != *ran_on && now == last {
            return;
        }
        last = now;
    }
}
