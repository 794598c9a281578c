//! `consentry policy replay`: what recorded decisions would have come to under another policy folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::audit::{moment, unreadable};
use super::super::check::{count, report_findings, short};
use super::super::table::Table;
use super::{Exit, Failure, Output, files};
use crate::clock::SystemClock;
use crate::config::PolicySource;
use crate::gateway::build;
use crate::gateway::replay::{Difference, Direction, Extent, Replayed, owners, replay};
use crate::model::{Findings, Release};
use crate::policy::{Allowed, Policies};

/// Judges recorded decisions again by a candidate folder and shows what would have been answered otherwise.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Judges recorded decisions again by a candidate folder and shows what would have been answered otherwise.

The log says everything that policies read, so no payload is needed. With the folder that decided (`--active`, or the \
configuration's), the log must first reproduce itself. Ends with 1 when an answer would say more than it did and no line of \
`--allow` means it, when the log does not reproduce itself, or when answers could not be replayed.",
    after_help = "Example: consentry policy replay --candidate next --since 7d --allow next-widening.toml
         consentry policy replay --candidate next --active policies --log /var/lib/consentry/log --format json"
)]
pub(in crate::cli) struct ReplayArgs {
    /// The policy folder that is to come.
    #[arg(long, value_name = "DIR")]
    candidate: PathBuf,
    /// The log's folder; without it, the configuration says where log and active folder are.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// The policy folder that decided.
    #[arg(long, value_name = "DIR", requires = "log")]
    active: Option<PathBuf>,
    /// The configuration file, where `--log` is not given.
    #[arg(long, env = "CONSENTRY_CONFIG", default_value = "consentry.toml", value_name = "FILE")]
    config: PathBuf,
    /// From then on: a time with offset, or back from now: 30d, 12h, 45m.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Widenings that are meant: `[[allow]]` with `app`, `purpose`, `category`, and a `reason`.
    #[arg(long, value_name = "FILE")]
    allow: Option<PathBuf>,
    /// Answers that cannot be replayed are no failure.
    #[arg(long)]
    accept_skipped: bool,
}

/// A replay with what was allowed of it.
pub(super) struct Verdict<'a> {
    pub(super) replayed: &'a Replayed,
    pub(super) candidate: &'a Policies,
    pub(super) active: Option<&'a Policies>,
    pub(super) allowed: &'a [Allowed],
    pub(super) accept_skipped: bool,
    pub(super) took: Duration,
}

impl ReplayArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let since = self.since.as_deref().map(|text| moment(text, SystemClock::shared().now())).transpose()?;
        let refuse = |findings: &Findings| report_findings(output, findings, &[], "nothing was replayed");
        let candidate = match Policies::load(&self.candidate) {
            Ok(candidate) => candidate,
            Err(findings) => return refuse(&findings),
        };
        let allowed = match self.allow.as_deref().map(|path| Allowed::read(path, candidate.vocabulary())).transpose() {
            Ok(allowed) => allowed.unwrap_or_default(),
            Err(findings) => return refuse(&findings),
        };
        let (log, active) = match self.recorded()? {
            Ok(recorded) => recorded,
            Err(findings) => return refuse(&findings),
        };
        self.run(output, &log, since, &candidate, active.as_ref(), &allowed)
    }

    /// Where the log is, and the policies that decided.
    fn recorded(&self) -> Result<Result<(PathBuf, Option<Policies>), Findings>, Failure> {
        if let Some(log) = &self.log {
            return Ok(self.active.as_deref().map(Policies::load).transpose().map(|active| (log.clone(), active)));
        }
        let config = match build::load(&self.config) {
            Ok((config, _)) => config,
            Err(findings) => return Ok(Err(findings)),
        };
        let active = match &config.policy {
            PolicySource::Folder(folder) => Policies::load(folder),
            PolicySource::Bundle(bundle) => Ok(files::policies(&bundle.file)?),
        };
        Ok(active.map(|active| (config.audit.dir, Some(active))))
    }

    fn run(
        &self,
        output: &Output,
        log: &Path,
        since: Option<Timestamp>,
        candidate: &Policies,
        active: Option<&Policies>,
        allowed: &[Allowed],
    ) -> Result<Exit, Failure> {
        let bar = output.bar("replaying");
        let clock = SystemClock::shared();
        let started = clock.monotonic();
        let replayed = replay(log, since, candidate, active, |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let replayed = replayed.map_err(|error| unreadable(log, &error))?;
        let verdict = Verdict {
            replayed: &replayed,
            candidate,
            active,
            allowed,
            accept_skipped: self.accept_skipped,
            took: clock.monotonic().saturating_sub(started),
        };
        if output.is_json() {
            output.json(&verdict.json())?;
        } else {
            output.line(verdict.text())?;
        }
        Ok(if verdict.is_good() { Exit::Done } else { Exit::CheckFailed })
    }
}

/// Rows of the table; the JSON has all.
pub(super) const ROWS_MAX: usize = 40;

impl Verdict<'_> {
    fn allowing(&self, difference: &Difference) -> Option<&Allowed> {
        let Difference { app, purpose, category, .. } = difference;
        (difference.direction == Direction::Gains).then(|| self.allowed.iter().find(|line| line.names(app, purpose, category)))?
    }

    /// Widenings that nobody meant.
    fn unnamed(&self) -> impl Iterator<Item = (&Difference, &Extent)> {
        let gains = self.replayed.differences.iter().filter(|(difference, _)| difference.direction == Direction::Gains);
        gains.filter(|(difference, _)| self.allowing(difference).is_none())
    }

    fn unused(&self) -> impl Iterator<Item = &Allowed> {
        let used = |line: &Allowed| {
            let names = |d: &Difference| d.direction == Direction::Gains && line.names(&d.app, &d.purpose, &d.category);
            self.replayed.differences.keys().any(names)
        };
        self.allowed.iter().filter(move |line| !used(line))
    }

    fn skipped(&self) -> u64 {
        self.replayed.skipped.values().sum()
    }

    fn is_good(&self) -> bool {
        let Replayed { answers, own, reproduced, .. } = self.replayed;
        // A log without an answer has proved nothing.
        self.unnamed().next().is_none() && own == reproduced && *answers > 0 && (self.accept_skipped || self.skipped() == 0)
    }

    pub(super) fn json(&self) -> Value {
        let Replayed { decisions, answers, unchanged, own, reproduced, .. } = self.replayed;
        let differences: Vec<Value> = self.replayed.differences.iter().map(|(difference, extent)| self.difference_json(difference, extent)).collect();
        let skipped: Vec<Value> = self.replayed.skipped.iter().map(|(why, answers)| json!({ "why": why.as_str(), "answers": answers })).collect();
        json!({
            "ok": self.is_good(), "candidate": self.candidate.id(), "active": self.active.map(Policies::id),
            "decisions": decisions, "answers": answers, "unchanged": unchanged,
            "reproduced": self.active.map(|_| json!({ "of": own, "answers": reproduced, "unlike": self.replayed.unlike })),
            "differences": differences, "customers_capped": self.replayed.customers_capped,
            "skipped": skipped,
            "allow_unused": self.unused().map(place).collect::<Vec<_>>(),
            "owners": owners(self.replayed, self.candidate).iter().map(ToString::to_string).collect::<Vec<_>>(),
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn difference_json(&self, difference: &Difference, extent: &Extent) -> Value {
        json!({
            "direction": difference.direction.as_str(), "answers": extent.answers, "customers": extent.customers.len(),
            "app": difference.app, "department": difference.department, "purpose": difference.purpose, "category": difference.category,
            "policies": difference.policies, "before": difference.before.as_str(), "after": difference.after.as_str(),
            "decisions": extent.decisions,
            "allowed": self.allowing(difference).map(|line| json!({ "at": place(line), "reason": line.reason })),
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![self.summary()];
        lines.extend(self.reproduction());
        if !self.replayed.differences.is_empty() {
            lines.extend([String::new(), self.table(), String::new(), self.sentence()]);
            let owners: Vec<String> = owners(self.replayed, self.candidate).iter().map(ToString::to_string).collect();
            lines.push(format!("unchanged {} · owners of what changes: {}", grouped(self.replayed.unchanged), owners.join(", ")));
        } else if self.replayed.answers > 0 {
            lines.push("no answer would be another".to_owned());
        }
        if self.replayed.answers == 0 {
            lines.push("nothing was judged again, so nothing is proved; look at `--log` and `--since`".to_owned());
        }
        lines.extend(self.replayed.skipped.iter().map(|(why, answers)| format!("skipped {}: {}", grouped(*answers), why.as_str())));
        if self.skipped() > 0 && !self.accept_skipped {
            lines.push("what was skipped may differ: narrow `--since`, or accept it with `--accept-skipped`".to_owned());
        }
        lines.extend(self.unused().map(|line| format!("{}: allows nothing that happened; take it out", place(line))));
        lines.extend(self.widenings());
        lines.join("\n")
    }

    fn summary(&self) -> String {
        let active = self.active.map(|active| format!(", active {}", short(active.id()))).unwrap_or_default();
        format!(
            "{} in {} against {}{active} · {:.1} s",
            counted(self.replayed.answers, "answer"),
            counted(self.replayed.decisions, "decision"),
            short(self.candidate.id()),
            self.took.as_secs_f64()
        )
    }

    /// Whether the log says what its own policies say; nothing without a folder, or when it decided nothing.
    fn reproduction(&self) -> Option<String> {
        let Replayed { own, reproduced, unlike, .. } = self.replayed;
        self.active?;
        if *own == 0 {
            return Some("reproduced nothing: the active folder decided none of it".to_owned());
        }
        let figure = format!("reproduced {} of {} with the folder that decided", grouped(*reproduced), grouped(*own));
        let differs = (own != reproduced).then(|| format!(" · not {}: the record and its policies disagree", numbers(unlike)));
        Some(figure + &differs.unwrap_or_default())
    }

    fn table(&self) -> String {
        let mut table = Table::new(&["", "answers", "customers", "app", "dept", "purpose", "category", "policy"]);
        let mut rows: Vec<(&Difference, &Extent)> = self.replayed.differences.iter().collect();
        rows.sort_by_key(|(difference, extent)| (difference.direction, std::cmp::Reverse(extent.answers)));
        let more = rows.len().saturating_sub(ROWS_MAX);
        for (difference, extent) in rows.into_iter().take(ROWS_MAX) {
            let policy = match self.allowing(difference) {
                Some(line) => format!("allowed by line {}: {}", line.line, line.reason),
                None => difference.policies.join(" "),
            };
            let masked = if Release::Reduced == difference.before.max(difference.after) || difference.before.min(difference.after) == Release::Reduced
            {
                "*"
            } else {
                ""
            };
            table.row([
                difference.direction.as_str().to_owned(),
                format!("{:>7}", grouped(extent.answers)),
                format!("{:>9}", grouped(u64::try_from(extent.customers.len()).unwrap_or(u64::MAX))),
                difference.app.clone(),
                difference.department.clone(),
                difference.purpose.clone(),
                format!("{}{masked}", difference.category),
                policy,
            ]);
        }
        let rest = if more > 0 { format!("\n{} more with --format json", grouped(u64::try_from(more).unwrap_or(u64::MAX))) } else { String::new() };
        table.render() + &rest
    }

    /// `1,204 answers would lose contact, 3 would gain billing`
    fn sentence(&self) -> String {
        let mut by: Vec<(Direction, &str, u64)> = Vec::new();
        for (difference, extent) in &self.replayed.differences {
            match by.iter_mut().find(|(direction, category, _)| *direction == difference.direction && *category == difference.category) {
                Some((_, _, answers)) => *answers += extent.answers,
                None => by.push((difference.direction, &difference.category, extent.answers)),
            }
        }
        by.sort_by_key(|(direction, category, answers)| (*direction, std::cmp::Reverse(*answers), *category));
        let verb = |direction| if direction == Direction::Loses { "lose" } else { "gain" };
        let parts = by.iter().enumerate().map(|(at, (direction, category, answers))| {
            let answers = if at == 0 { counted(*answers, "answer") } else { grouped(*answers) };
            format!("{answers} would {} {category}", verb(*direction))
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    fn widenings(&self) -> Option<String> {
        let answers: u64 = self.unnamed().map(|(_, extent)| extent.answers).sum();
        let mut examples: Vec<u64> = self.unnamed().flat_map(|(_, extent)| extent.decisions.iter().copied()).collect();
        examples.sort_unstable();
        examples.dedup();
        examples.truncate(5);
        (answers > 0).then(|| {
            let verb = if answers == 1 { "widens" } else { "widen" };
            format!("{} {verb} without being named: {} · look: consentry explain --decision", counted(answers, "answer"), numbers(&examples))
        })
    }
}

fn place(line: &Allowed) -> String {
    format!("{}:{}", line.file.display(), line.line)
}

pub(super) fn numbers(indexes: &[u64]) -> String {
    indexes.iter().map(|index| format!("#{index}")).collect::<Vec<_>>().join(", ")
}

pub(super) fn counted(number: u64, what: &str) -> String {
    let plural = count(usize::try_from(number).unwrap_or(usize::MAX), what);
    plural.replacen(&number.to_string(), &grouped(number), 1)
}

/// `1204` as `1,204`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
