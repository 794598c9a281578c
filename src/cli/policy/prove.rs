//! `consentry policy prove`: what holds for every request there could be, asked of a solver; the answers as text.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::super::check::{count, report_findings};
use super::super::run::interrupted;
use super::super::table::cut;
use super::solver::Engine;
use super::{Exit, Failure, FolderArg, Output};
use crate::clock::SystemClock;
use crate::consent::{StopKind, floor_gap};
use crate::model::{Findings, LawfulBasis, PolicyName};
use crate::policy::Policies;
use crate::policy::invariants::{self, Claim, Invariant};
use crate::policy::prove::{Beside, Health, Prover, Reach, Trouble, Verdict, Witness};

/// Proves the folder's invariants, and finds policies that say nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 all proved · 1 something refuted or undecided, or a policy that is dead or may err · 3 invalid files
            75 no solver

Example: consentry policy prove --dir policies
         consentry policy prove --model chief-customer-officer
         consentry policy prove --equivalent policies-before-my-change")]
pub(in crate::cli) struct ProveArgs {
    #[command(flatten)]
    folder: FolderArg,
    /// As if this ownership model were in force (`consentry policy model` lists them).
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Also ask whether another folder's policies answer every request alike, and compare what else answers hang on: catalogue, lawful bases,
    /// rules of consent.
    #[arg(long, value_name = "DIR")]
    equivalent: Option<PathBuf>,
    /// How long the solver may think about one question.
    #[arg(long, default_value_t = 20, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    limit_s: u64,
    /// The solver, cvc5 1.0.3 or later.
    #[arg(long, env = "CVC5", default_value = "cvc5", value_name = "FILE")]
    solver: PathBuf,
}

impl ProveArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let (policies, invariants, other) = match self.load() {
            Ok(loaded) => loaded,
            Err(findings) => return report_findings(output, &findings, &[], "nothing was proved"),
        };
        if other.is_some() {
            self.check_schemas()?;
        }
        let engine = Engine::find(&self.solver, Duration::from_secs(self.limit_s))?;
        let clock = SystemClock::shared();
        let broken = |trouble: Trouble| Failure::new(Exit::Internal, trouble.to_string());
        let prover = Prover::new(&policies, &invariants).map_err(broken)?;
        let other = other.as_ref().map(|other| Prover::new(other, &invariants)).transpose().map_err(broken)?;
        let beside = other.as_ref().map(|other| prover.beside(other)).unwrap_or_default();
        let jobs = jobs(&policies, &invariants, other.as_ref(), &beside);
        let bar = bar(output, jobs.len());
        let run = Run { prover: &prover, engine: &engine, jobs: &jobs, next: AtomicUsize::new(0), bar: &bar };
        let answers = run.all();
        bar.finish_and_clear();
        let mut report = Report { seconds: 0.0, solver: engine.version.clone(), ..Report::default() };
        for (job, answer) in jobs.iter().zip(answers) {
            report.take(job, answer?, &policies, self.equivalent.as_ref());
        }
        report.seconds = clock.monotonic().as_secs_f64();
        output.line(if output.is_json() { report.json() } else { report.text() })?;
        Ok(if report.is_good() { Exit::Done } else { Exit::CheckFailed })
    }

    fn load(&self) -> Result<(Policies, Vec<Invariant>, Option<Policies>), Findings> {
        let dir = &self.folder.dir;
        let policies = match &self.model {
            Some(model) => Policies::load_as(dir, model)?,
            None => Policies::load(dir)?,
        };
        let stops: Vec<&str> = StopKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let invariants = invariants::read(&policies, dir, &stops)?;
        let other = self.equivalent.as_ref().map(|dir| Policies::load(dir)).transpose()?;
        Ok((policies, invariants, other))
    }

    /// Two vocabularies have no request in common that could be compared.
    fn check_schemas(&self) -> Result<(), Failure> {
        let Some(other) = &self.equivalent else { return Ok(()) };
        let read = |dir: &PathBuf| std::fs::read(dir.join("consentry.cedarschema"));
        match (read(&self.folder.dir), read(other)) {
            (Ok(one), Ok(two)) if one == two => Ok(()),
            _ => Err(Failure::usage(format!(
                "the schemas of `{}` and `{}` differ: they cannot be compared",
                self.folder.dir.display(),
                other.display()
            ))),
        }
    }
}

/// One question, or some that belong together.
enum Job<'a> {
    Invariant(&'a Invariant),
    Policy(PolicyName),
    Equivalent(&'a Prover<'a>),
    /// Compared already.
    Beside(&'a Beside),
}

enum Answer {
    Verdict(Result<Verdict, Trouble>),
    Floor(Floor),
    Beside,
    Health(Result<Health, Trouble>),
}

/// The built-in stops, tried one by one: no solver is asked.
struct Floor {
    tried: usize,
    gap: Option<String>,
}

fn jobs<'a>(policies: &'a Policies, invariants: &'a [Invariant], other: Option<&'a Prover<'a>>, beside: &'a [Beside]) -> Vec<Job<'a>> {
    let invariants = invariants.iter().map(Job::Invariant);
    let equal = other.map(Job::Equivalent).into_iter().chain(beside.iter().map(Job::Beside));
    invariants.chain(policies.policies().iter().map(|info| Job::Policy(info.name))).chain(equal).collect()
}

fn bar(output: &Output, jobs: usize) -> ProgressBar {
    let bar = super::super::import::progress_bar(output, u64::try_from(jobs).unwrap_or_default());
    let style = indicatif::ProgressStyle::with_template("{bar:30} {pos} of {len} questions · {elapsed}");
    bar.with_style(style.unwrap_or_else(|_template| indicatif::ProgressStyle::default_bar()))
}

struct Run<'a> {
    prover: &'a Prover<'a>,
    engine: &'a Engine,
    jobs: &'a [Job<'a>],
    next: AtomicUsize,
    bar: &'a ProgressBar,
}

/// Solvers that work side by side.
const WORKERS_MAX: usize = 8;

impl Run<'_> {
    /// The answers in the order of the questions.
    fn all(&self) -> Vec<Result<Answer, Failure>> {
        let workers = thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
        let mut found: Vec<(usize, Result<Answer, Failure>)> = thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(|| self.work())).collect();
            workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
        });
        found.sort_by_key(|(at, _)| *at);
        let mut found = found.into_iter().peekable();
        let lost = || Err(Failure::new(Exit::Internal, "a question has no answer; please report it"));
        (0..self.jobs.len()).map(|at| found.next_if(|(of, _)| *of == at).map_or_else(lost, |(_, answer)| answer)).collect()
    }

    fn work(&self) -> Vec<(usize, Result<Answer, Failure>)> {
        let mut answers = Vec::new();
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return answers };
        runtime.block_on(async {
            let mut solver = None;
            // Listened to before the first solver starts, and all along.
            let mut interrupted = pin!(interrupted());
            loop {
                let at = self.next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = self.jobs.get(at) else { break };
                let answer = tokio::select! {
                    biased;
                    _ = &mut interrupted => Err(Failure::unavailable("interrupted: nothing was proved")),
                    answer = self.answer(job, &mut solver) => Ok(answer),
                };
                // Whatever is left is not begun.
                if answer.is_err() {
                    self.next.store(self.jobs.len(), Ordering::Relaxed);
                }
                answers.push((at, answer));
                self.bar.inc(1);
            }
        });
        answers
    }

    async fn answer(&self, job: &Job<'_>, solver: &mut Option<Started>) -> Answer {
        let claim = match job {
            Job::Invariant(Invariant { claim: Claim::Floor { stop, leaves }, .. }) => return Answer::Floor(self.floor(stop, leaves)),
            Job::Invariant(Invariant { claim: Claim::Policies(condition), .. }) => Some(condition),
            Job::Beside(_) => return Answer::Beside,
            Job::Policy(_) | Job::Equivalent(_) => None,
        };
        let mut started = match solver.take().map_or_else(|| self.engine.start(), Ok) {
            Ok(started) => started,
            Err(trouble) => return Answer::Verdict(Err(trouble)),
        };
        let (answer, is_usable) = match (job, claim) {
            (_, Some(condition)) => verdict(self.prover.invariant(condition, &mut started).await),
            (Job::Equivalent(other), None) => verdict(self.prover.equivalent(other, &mut started).await),
            (Job::Policy(name), None) => {
                let health = self.prover.health(*name, &mut started).await;
                let is_usable = health.is_ok();
                (Answer::Health(health), is_usable)
            }
            (Job::Invariant(_) | Job::Beside(_), None) => {
                return Answer::Verdict(Err(Trouble::Broken("an invariant without a condition".to_owned())));
            }
        };
        *solver = Some(started).filter(|_| is_usable);
        answer
    }

    fn floor(&self, stop: &str, leaves: &[LawfulBasis]) -> Floor {
        let (vocabulary, rules) = self.prover.catalogue();
        let Some(kind) = StopKind::parse(stop) else { return Floor { tried: 0, gap: Some(format!("there is no stop `{stop}`")) } };
        let (tried, gap) = floor_gap(kind, vocabulary, rules, leaves);
        let gap = gap.map(|gap| {
            let why = if gap.by_grant { "is opened again by a later grant" } else { "stays open" };
            format!("{} for {} by {}, on the basis {}, {why}", gap.category, gap.purpose, gap.channel, gap.basis)
        });
        Floor { tried, gap }
    }
}

type Started = cedar_policy_symcc::CedarSymCompiler<super::solver::Bounded>;

fn verdict(verdict: Result<Verdict, Trouble>) -> (Answer, bool) {
    let is_usable = verdict.is_ok();
    (Answer::Verdict(verdict), is_usable)
}

/// What is shown. Rows stand in the order of the files.
#[derive(Debug, Default)]
struct Report {
    rows: Vec<Row>,
    policies: usize,
    dead: Vec<String>,
    may_err: Vec<String>,
    redundant: Vec<String>,
    undecided: Vec<String>,
    solver: String,
    seconds: f64,
}

#[derive(Debug)]
struct Row {
    title: String,
    /// `None` for the questions whether two folders are equal.
    place: Option<(String, usize)>,
    verdict: &'static str,
    reach: String,
    /// Why it is not proved.
    why: Option<String>,
    witness: Option<(Box<Witness>, Vec<String>)>,
}

const PROVED: &str = "proved";
const REFUTED: &str = "REFUTED";

impl Report {
    fn take(&mut self, job: &Job<'_>, answer: Answer, policies: &Policies, other: Option<&PathBuf>) {
        let dir = other.map(|dir| dir.display().to_string()).unwrap_or_default();
        let (title, place) = match job {
            Job::Invariant(invariant) => (invariant.title.clone(), Some((invariant.file.display().to_string(), invariant.line))),
            Job::Equivalent(_) => (format!("the policies answer every request as those of {dir} do"), None),
            Job::Beside(beside) => (format!("has the {} of {dir}", beside.what), None),
            Job::Policy(name) => return self.health(*name, answer),
        };
        let row =
            |verdict, reach: &str| Row { title: title.clone(), place: place.clone(), verdict, reach: reach.to_owned(), why: None, witness: None };
        let row = match answer {
            Answer::Verdict(Ok(Verdict::Proved(Reach::EveryCatalogue))) => row(PROVED, "every catalogue"),
            Answer::Verdict(Ok(Verdict::Proved(Reach::ThisCatalogue))) => row(PROVED, "this catalogue"),
            Answer::Verdict(Ok(Verdict::Refuted(witness))) => {
                let by = decided_by(&witness, policies);
                Row { witness: Some((witness, by)), ..row(REFUTED, "this catalogue") }
            }
            Answer::Verdict(Ok(Verdict::Vacuous)) => {
                Row { why: Some("no request meets its condition: it says nothing".to_owned()), ..row("empty", "–") }
            }
            Answer::Verdict(Err(trouble)) | Answer::Health(Err(trouble)) => Row { why: Some(trouble.to_string()), ..row("unknown", "–") },
            Answer::Floor(Floor { tried, gap: None }) => row(PROVED, &format!("{tried} uses")),
            Answer::Floor(Floor { gap, .. }) => Row { why: gap, ..row(REFUTED, "built-in floor") },
            Answer::Beside => match job {
                Job::Beside(Beside { differing, .. }) if differing.is_empty() => row(PROVED, "compared"),
                Job::Beside(Beside { differing, .. }) => Row { why: Some(different(differing)), ..row(REFUTED, "compared") },
                Job::Invariant(_) | Job::Policy(_) | Job::Equivalent(_) => return,
            },
            Answer::Health(Ok(_)) => return,
        };
        self.rows.push(row);
    }

    fn health(&mut self, name: PolicyName, answer: Answer) {
        self.policies += 1;
        let mut note = |is_so: bool, list: fn(&mut Self) -> &mut Vec<String>, text: String| {
            if is_so {
                list(self).push(text);
            }
        };
        match answer {
            Answer::Health(Ok(health)) => {
                note(health.is_dead, |r| &mut r.dead, name.to_string());
                note(health.may_err, |r| &mut r.may_err, name.to_string());
                note(health.is_redundant, |r| &mut r.redundant, name.to_string());
            }
            Answer::Health(Err(trouble)) | Answer::Verdict(Err(trouble)) => note(true, |r| &mut r.undecided, format!("{name}: {trouble}")),
            Answer::Verdict(Ok(_)) | Answer::Floor(_) | Answer::Beside => {}
        }
    }

    fn proved(&self) -> usize {
        self.rows.iter().filter(|row| row.verdict == PROVED).count()
    }

    fn is_good(&self) -> bool {
        self.proved() == self.rows.len() && self.dead.is_empty() && self.may_err.is_empty() && self.undecided.is_empty()
    }

    fn text(&self) -> String {
        let mut lines: Vec<String> = self.rows.iter().map(Row::line).collect();
        for row in &self.rows {
            lines.extend(row.detail());
        }
        lines.push(String::new());
        let named = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        lines.push(format!("{} · dead: {} · may err: {}", count_policies(self.policies), named(&self.dead), named(&self.may_err)));
        if !self.redundant.is_empty() {
            lines.push(format!(
                "redundant: {} (without one of them no answer changes; a prohibition may stay to say so aloud)",
                named(&self.redundant)
            ));
        }
        lines.extend(self.undecided.iter().map(|what| format!("unknown: {what}")));
        let (all, proved) = (self.rows.len(), self.proved());
        lines.push(format!("{proved} of {} proved · {:.1} s · cvc5 {}", count(all, "sentence"), self.seconds, self.solver));
        lines.join("\n")
    }

    fn json(&self) -> String {
        let mut lines: Vec<Value> = self.rows.iter().map(Row::json).collect();
        lines.push(json!({
            "ok": self.is_good(), "proved": self.proved(), "of": self.rows.len(), "policies": self.policies, "dead": self.dead,
            "may_err": self.may_err, "redundant": self.redundant, "unknown": self.undecided, "seconds": self.seconds, "solver": self.solver,
        }));
        lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

impl Row {
    fn line(&self) -> String {
        format!("{:<7}  {:<15}  {}", self.verdict, self.reach, cut(&self.title, TITLE_CHARS_MAX))
    }

    /// Why it is not proved, and what to do with it.
    fn detail(&self) -> Vec<String> {
        let place = self.place.as_ref().map(|(file, line)| format!("  {file}:{line}")).unwrap_or_default();
        let head = format!("\n{}{place}", self.title);
        if let Some(why) = &self.why {
            return vec![head, format!("  {why}")];
        }
        let Some((witness, by)) = &self.witness else { return Vec::new() };
        let answer = if witness.decided().allow() { "allow" } else { "deny" };
        let by = if by.is_empty() { "no policy".to_owned() } else { by.join(", ") };
        let mut lines = vec![head, format!("  request  {witness}"), format!("  facts    {}", witness.facts().join(" · "))];
        if witness.needs_activity() {
            lines.push("           no activity gives this use that basis today".to_owned());
        }
        lines.push(format!("  answer   {answer} by {by}; plain Cedar says so, too"));
        let case = witness.case(&self.case_name()).unwrap_or_else(|| witness.json_case(&self.case_name()).to_string());
        lines.push("  as a case for policies/tests, which fails until this is mended:".to_owned());
        lines.extend(case.lines().map(|line| format!("    {line}")));
        lines
    }

    fn case_name(&self) -> String {
        format!("found by prove: {}", self.title)
    }

    fn json(&self) -> Value {
        let witness = self.witness.as_ref().map(|(witness, by)| {
            json!({
                "says": witness.to_string(), "facts": witness.facts(), "needs_activity": witness.needs_activity(),
                "answer": if witness.decided().allow() { "allow" } else { "deny" }, "by": by,
                "case": witness.case(&self.case_name()), "cedar": witness.json_case(&self.case_name()),
            })
        });
        json!({
            "title": self.title, "file": self.place.as_ref().map(|(file, _)| file), "line": self.place.as_ref().map(|(_, line)| line),
            "verdict": self.verdict.to_lowercase(), "holds_for": if self.verdict == PROVED { Some(&self.reach) } else { None }, "why": self.why,
            "counterexample": witness,
        })
    }
}

/// What differs between two folders, named in one line.
const DIFFERING_MAX: usize = 8;

fn different(differing: &[String]) -> String {
    let more = differing.len().saturating_sub(DIFFERING_MAX);
    let named: Vec<&str> = differing.iter().take(DIFFERING_MAX).map(String::as_str).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("different: {}{more}", named.join(", "))
}

/// With the two columns before it, a line has at most 120 characters.
const TITLE_CHARS_MAX: usize = 94;

fn count_policies(number: usize) -> String {
    if number == 1 { "1 policy".to_owned() } else { format!("{number} policies") }
}

/// The policies that decided, with their places.
fn decided_by(witness: &Witness, policies: &Policies) -> Vec<String> {
    let place = |name: &PolicyName| match policies.place(*name) {
        Some((file, line)) => format!("{name} ({}:{line})", file.display()),
        None => name.to_string(),
    };
    witness.decided().policies().iter().map(place).collect()
}
