//! `consentry policy replay`: what recorded decisions would have come to under another policy folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde::Deserialize;
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
struct Verdict<'a> {
    replayed: &'a Replayed,
    candidate: &'a Policies,
    active: Option<&'a Policies>,
    allowed: &'a [Allowed],
    accept_skipped: bool,
    took: Duration,
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
        let bar = progress_bar(output);
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

/// By bytes of the log, drawn on stderr.
fn progress_bar(output: &Output) -> ProgressBar {
    let bar = output.spinner("replaying");
    if !bar.is_hidden() {
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes} of {total_bytes}, {eta} left");
        bar.set_style(style.unwrap_or_else(|_bad_template| ProgressStyle::default_bar()));
    }
    bar
}

/// Rows of the table; the JSON has all.
const ROWS_MAX: usize = 40;

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

    fn json(&self) -> Value {
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
            "policies": difference.policies, "before": word(difference.before), "after": word(difference.after),
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

/// What `--format json` writes, read back by whoever is to approve: nothing is taken for a replay that is none, and nothing in one
/// is left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    ok: bool,
    candidate: String,
    #[serde(deserialize_with = "Option::deserialize")]
    active: Option<String>,
    decisions: u64,
    answers: u64,
    unchanged: u64,
    #[serde(deserialize_with = "Option::deserialize")]
    reproduced: Option<ShownReproduced>,
    differences: Vec<ShownDifference>,
    customers_capped: bool,
    skipped: Vec<ShownSkipped>,
    allow_unused: Vec<String>,
    owners: Vec<String>,
    #[serde(rename = "took_ms")]
    _took_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownReproduced {
    of: u64,
    answers: u64,
    unlike: Vec<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownDifference {
    direction: ShownDirection,
    answers: u64,
    customers: u64,
    app: String,
    department: String,
    purpose: String,
    category: String,
    policies: Vec<String>,
    before: ShownRelease,
    after: ShownRelease,
    decisions: Vec<u64>,
    #[serde(deserialize_with = "Option::deserialize")]
    allowed: Option<ShownAllowed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ShownDirection {
    Loses,
    Gains,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ShownRelease {
    Withheld,
    Reduced,
    Full,
}

impl ShownRelease {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Withheld => "withheld",
            Self::Reduced => "reduced",
            Self::Full => "full",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownAllowed {
    at: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownSkipped {
    why: String,
    answers: u64,
}

impl Shown {
    /// A replay of the set `candidate`.
    ///
    /// # Errors
    /// What is none, or one of another set, or whose figures contradict each other.
    pub(super) fn read(document: &Value, candidate: &str) -> Result<Self, String> {
        if !is_plain(document) {
            return Err("has line breaks or control characters in its texts; keep reasons of `--allow` to one line and replay again".to_owned());
        }
        let shown = Self::deserialize(document).map_err(|error| format!("is no result of `consentry policy replay --format json`: {error}"))?;
        if shown.candidate != candidate {
            return Err(format!("replays the set {}, and the bundle is {}", short(&shown.candidate), short(candidate)));
        }
        let changed = shown.differences.iter().try_fold(shown.unchanged, |sum, difference| sum.checked_add(difference.answers));
        let is_turned = |difference: &ShownDifference| match difference.direction {
            ShownDirection::Loses => difference.after < difference.before,
            ShownDirection::Gains => difference.after > difference.before,
        };
        let is_reproduced = shown.reproduced.as_ref().is_none_or(|reproduced| reproduced.of == reproduced.answers);
        let is_good = shown.unnamed().next().is_none() && is_reproduced && shown.answers > 0;
        if changed != Some(shown.answers) || !shown.differences.iter().all(is_turned) || (shown.ok && !is_good) {
            return Err("contradicts itself: it is not as `consentry policy replay` wrote it".to_owned());
        }
        Ok(shown)
    }

    fn unnamed(&self) -> impl Iterator<Item = &ShownDifference> {
        self.differences.iter().filter(|difference| difference.direction == ShownDirection::Gains && difference.allowed.is_none())
    }

    /// As an approver is told; `replaces` is the set that the bundle replaces.
    pub(super) fn text(&self, replaces: Option<&str>) -> String {
        let of = |direction| self.differences.iter().filter(move |difference| difference.direction == direction).map(|difference| difference.answers);
        let skipped = self.skipped.iter().fold(0_u64, |sum, skipped| sum.saturating_add(skipped.answers));
        let mut lines = vec![format!(
            "replay of {} in {}: {} would gain, {} would lose, {} unchanged, {} skipped",
            counted(self.answers, "answer"),
            counted(self.decisions, "decision"),
            grouped(of(ShownDirection::Gains).sum()),
            grouped(of(ShownDirection::Loses).sum()),
            grouped(self.unchanged),
            grouped(skipped),
        )];
        lines.push(match (&self.reproduced, self.active.as_deref()) {
            (Some(ShownReproduced { of, answers, unlike }), active) if active == replaces => {
                let unlike = if unlike.is_empty() { String::new() } else { format!(" · not {}", numbers(unlike)) };
                format!("reproduced {} of {} with the set that the bundle replaces{unlike}", grouped(*answers), grouped(*of))
            }
            (Some(_) | None, active) => {
                let with = active.map_or_else(|| "without".to_owned(), |active| format!("with {} and not with", short(active)));
                format!("replayed {with} the set that the bundle replaces: whether the log is that set's is not shown")
            }
        });
        let mut rows: Vec<&ShownDifference> = self.differences.iter().collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.direction), std::cmp::Reverse(row.answers)));
        lines.extend(rows.iter().take(ROWS_MAX).map(|row| row.line()));
        if rows.len() > ROWS_MAX {
            lines.push(format!("and {} more kinds of differences", rows.len() - ROWS_MAX));
        }
        if self.customers_capped {
            lines.push("not all customers were told apart".to_owned());
        }
        lines.extend(self.skipped.iter().map(|skipped| format!("skipped {}: {}", grouped(skipped.answers), skipped.why)));
        lines.extend(self.allow_unused.iter().map(|line| format!("{line}: allows nothing that happened")));
        if !self.owners.is_empty() {
            lines.push(format!("owners of what changes: {}", self.owners.join(", ")));
        }
        if !self.ok {
            lines.push("the replay did NOT pass".to_owned());
        }
        lines.join("\n")
    }
}

/// No text of it could forge a line of a terminal.
fn is_plain(document: &Value) -> bool {
    match document {
        Value::String(text) => !text.chars().any(char::is_control),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(members) => members.values().all(is_plain),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

impl ShownDifference {
    fn line(&self) -> String {
        let Self { app, department, purpose, category, .. } = self;
        let direction = if self.direction == ShownDirection::Gains { Direction::Gains } else { Direction::Loses };
        let why = match &self.allowed {
            Some(ShownAllowed { at, reason }) => format!("allowed by {at}: {reason}"),
            None => self.policies.join(" "),
        };
        let customers = counted(self.customers, "customer");
        let answers = counted(self.answers, "answer");
        let (before, after) = (self.before.as_str(), self.after.as_str());
        let what = format!("{app} of {department}, {purpose}: {category} {before} -> {after}");
        format!("{}  {answers}, {customers}: {what} · {why} · {}", direction.as_str(), numbers(&self.decisions))
    }
}

fn place(line: &Allowed) -> String {
    format!("{}:{}", line.file.display(), line.line)
}

const fn word(release: Release) -> &'static str {
    match release {
        Release::Withheld => "withheld",
        Release::Reduced => "reduced",
        Release::Full => "full",
    }
}

fn numbers(indexes: &[u64]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PartyNo;

    fn replayed() -> Replayed {
        let difference = |direction, before, after| Difference {
            direction,
            app: "campaign-manager".to_owned(),
            department: "marketing".to_owned(),
            purpose: "marketing.email".to_owned(),
            category: "health".to_owned(),
            policies: vec!["leads-health".to_owned()],
            before,
            after,
        };
        let extent = |answers| Extent { answers, customers: [PartyNo(1)].into(), decisions: vec![44] };
        let gains = (difference(Direction::Gains, Release::Withheld, Release::Full), extent(2));
        let loses = (difference(Direction::Loses, Release::Full, Release::Reduced), extent(3));
        let skipped = [(crate::gateway::replay::Skipped::Emergency, 7)].into();
        let differences = [gains, loses].into();
        Replayed { decisions: 90, answers: 1_205, unchanged: 1_200, differences, skipped, own: 9, reproduced: 9, ..Replayed::default() }
    }

    fn document(replayed: &Replayed, accept: bool) -> (Value, String) {
        let policies = Policies::load(Path::new("policies")).unwrap();
        let verdict = Verdict { replayed, candidate: &policies, active: Some(&policies), allowed: &[], accept_skipped: accept, took: Duration::ZERO };
        (verdict.json(), policies.id().to_owned())
    }

    #[test]
    fn an_approver_is_shown_what_was_replayed() {
        let (document, set) = document(&replayed(), false);
        let shown = Shown::read(&document, &set).unwrap();
        insta::assert_snapshot!(shown.text(Some(&set)), @r"
        replay of 1,205 answers in 90 decisions: 2 would gain, 3 would lose, 1,200 unchanged, 7 skipped
        reproduced 9 of 9 with the set that the bundle replaces
        gains  2 answers, 1 customer: campaign-manager of marketing, marketing.email: health withheld -> full · leads-health · #44
        loses  3 answers, 1 customer: campaign-manager of marketing, marketing.email: health full -> reduced · leads-health · #44
        skipped 7: decided on a break-glass grant, whose justification is not in the log
        owners of what changes: service
        the replay did NOT pass
        ");
        assert!(shown.text(None).contains("and not with the set that the bundle replaces"), "{}", shown.text(None));
    }

    #[test]
    fn what_is_no_replay_of_this_set_is_refused() {
        let (fine, set) = document(&replayed(), false);
        let but = |change: &dyn Fn(&mut Value)| {
            let mut other = fine.clone();
            change(&mut other);
            Shown::read(&other, &set).unwrap_err()
        };
        assert!(but(&|v| *v = json!({ "everything": "fine" })).starts_with("is no result of"));
        assert!(but(&|v| *v = json!([])).starts_with("is no result of"));
        assert!(but(&|v| v["more"] = json!(1)).contains("unknown field `more`"));
        for member in fine.as_object().unwrap().keys() {
            assert!(but(&|v| drop(v.as_object_mut().unwrap().remove(member))).contains("missing field"), "{member}");
        }
        assert!(but(&|v| v["differences"][0]["direction"] = json!("widens")).starts_with("is no result of"));
        assert!(but(&|v| v["owners"] = json!(["service\u{1b}[2K"])).starts_with("has line breaks"));
        assert!(but(&|v| v["candidate"] = json!("81c07d55aa")).starts_with("replays the set 81c07d"));
        for contradiction in [
            but(&|v| v["differences"] = json!([])),
            but(&|v| v["unchanged"] = json!(u64::MAX)),
            but(&|v| v["differences"][0]["direction"] = json!("gains")),
            but(&|v| v["ok"] = json!(true)),
        ] {
            assert!(contradiction.starts_with("contradicts itself"), "{contradiction}");
        }
    }
}
