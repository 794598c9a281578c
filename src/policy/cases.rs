//! The folder's own tests, run for `consentry policy test`: `tests/*.json` in the form of the Cedar command line
//! (`cedar run-tests`), and `tests/*.toml` as tables:
//!
//! ```toml
//! given = { consent = "given", stage = "customer" }  # facts of every case of the file
//!
//! [[case]]
//! name = "the owner needs consent for marketing"
//! app = "campaign-manager"       # or `agent`
//! action = "read"
//! category = "contact"
//! purpose = "marketing.email"
//! consent = "unknown"            # this case's own facts
//! expect = "deny"                # allow | deny | not-entitled: no consent of anybody would open it
//! because = ["consent-basis-needs-consent"]  # exactly the policies that determined the answer; need not be given
//! ```
//!
//! Facts: `basis` (else that of the activity), `consent`, `explicit`, `stage`, `segment`, `age`, `legal_hold`, `channel`
//! (else that of the purpose), `environment`, `gpc`, `records`, `roles` (with it, an employee), `now`,
//! `task` and `behalf` of an agent, `customers` (else 1), and `emergency`: the ticket of a break-glass grant, with which the basis is
//! `vital-interest` unless it is given.

use std::path::{Path, PathBuf};

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Context, Decision, EntityUid, PolicySet, Request};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{
    Action, Age, Behalf, Caller, Category, Channel, ClientKind, ConsentStatus, Emergency, Employee, Environment, Findings, LawfulBasis, Particulars,
    PartyFacts, PolicyName, Question, Segment, Stage, Task,
};

use super::coverage::{Coverage, Recorder};
use super::governed::{names, one};
use super::source::{CATALOGUE, Source, list, ticked};
use super::table::{Section, Word, parse};
use super::{Policies, Use};

/// What became of every case, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaseReport {
    pub cases: Vec<CaseResult>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    pub file: PathBuf,
    pub line: usize,
    pub name: String,
    /// `None`: as expected. Else what was expected and what came.
    pub failure: Option<String>,
    /// Of a case that failed: what was asked, where the policies stand that decided, and why others did not.
    pub details: Vec<String>,
}

impl CaseReport {
    #[must_use]
    pub fn failed(&self) -> usize {
        self.cases.iter().filter(|case| case.failure.is_some()).count()
    }

    #[must_use]
    pub fn passed(&self) -> usize {
        self.cases.len() - self.failed()
    }
}

/// Loads a policy folder and runs all its cases.
///
/// # Errors
/// Every mistake of the folder or of a case file; a case that fails is no mistake of this kind.
pub fn run(dir: &Path) -> Result<CaseReport, Findings> {
    run_with(&Policies::load(dir)?, dir)
}

/// Runs the cases of `dir` against policies that are already loaded.
///
/// # Errors
/// Every mistake of a case file.
pub fn run_with(policies: &Policies, dir: &Path) -> Result<CaseReport, Findings> {
    run_all(policies, dir, None).map(|(report, _)| report)
}

/// The same as [`run`], and what the cases looked at.
///
/// # Errors
/// As [`run`], and a policy whose conditions cannot be told apart.
pub fn run_covering(dir: &Path) -> Result<(CaseReport, Coverage), Findings> {
    let policies = Policies::load(dir)?;
    let (report, recorder) = run_all(&policies, dir, Some(Recorder::new(&policies)?))?;
    let coverage = recorder.map_or(Ok(Coverage { policies: Vec::new() }), Recorder::finish)?;
    Ok((report, coverage))
}

/// The cases of a folder being run.
struct Run<'p> {
    policies: &'p Policies,
    /// As other Cedar tools would have it, for their form of a case.
    whole: PolicySet,
    report: CaseReport,
    recorder: Option<Recorder<'p>>,
}

fn run_all<'p>(policies: &'p Policies, dir: &Path, recorder: Option<Recorder<'p>>) -> Result<(CaseReport, Option<Recorder<'p>>), Findings> {
    let mut run = Run { policies, whole: policies.whole_set(), report: CaseReport::default(), recorder };
    let mut findings = Findings::default();
    let dir = dir.join("tests");
    let names = if dir.is_dir() { list(&dir) } else { Ok(Vec::new()) };
    for name in names.unwrap_or_else(|finding| {
        findings.push(finding);
        Vec::new()
    }) {
        let (is_json, is_toml) = (name.ends_with(".json"), name.ends_with(".toml"));
        let path = dir.join(&name);
        if !is_json && !is_toml {
            if !name.starts_with('.') {
                findings.push(crate::model::Finding::of_file(&path, "nothing reads this file").help("cases stand in `*.toml` and `*.json`"));
            }
            continue;
        }
        match Source::read(path, name) {
            Ok(source) if is_json => run.json_file(&source, &mut findings),
            Ok(source) => run.toml_file(&source, &mut findings),
            Err(finding) => findings.push(finding),
        }
    }
    findings.or((run.report, run.recorder))
}

impl Run<'_> {
    fn see(&mut self, request: &Request) {
        if let Some(recorder) = &mut self.recorder {
            recorder.see(request);
        }
    }
}

/// What a case wanted and did not get.
struct Failed {
    message: String,
    details: Vec<String>,
}

impl CaseResult {
    fn of(source: &Source, line: usize, name: String, failed: Option<Failed>) -> Self {
        let (failure, details) = failed.map_or((None, Vec::new()), |failed| (Some(failed.message), failed.details));
        Self { file: source.path.clone(), line, name, failure, details }
    }
}

// ------------------------------------------------------------------ the Cedar command line's form

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonCase {
    name: String,
    request: JsonRequest,
    entities: String,
    decision: String,
    reason: Vec<String>,
    num_errors: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRequest {
    principal: String,
    action: String,
    resource: String,
    context: serde_json::Value,
}

impl Run<'_> {
    fn json_file(&mut self, source: &Source, findings: &mut Findings) {
        let items: Vec<&RawValue> = match serde_json::from_str(&source.text) {
            Ok(items) => items,
            Err(error) => return findings.push(source.json(&error, 0)),
        };
        for item in items {
            let span = source.range_of(item.get());
            let case: JsonCase = match source.item(item) {
                Ok(case) => case,
                Err(finding) => {
                    findings.push(finding);
                    continue;
                }
            };
            if case.entities != CATALOGUE {
                let mark = source.span_of(&span, &format!("\"{}\"", case.entities));
                let finding = source.finding(mark, format!("a case is judged with `{CATALOGUE}` only"));
                findings.push(finding.help("put other entities into the catalogue"));
                continue;
            }
            match json_request(self.policies, &case.request) {
                Ok(request) => {
                    let failed = json_failure(self.policies, &self.whole, &case, &request);
                    self.report.cases.push(CaseResult::of(source, source.line_of(span.start), case.name, failed));
                    self.see(&request);
                }
                Err(mut error) => {
                    // Cedar's places are those of a text inside the case.
                    error.source_locations.clear();
                    source.cedar(&error, &(span.start..span.start + 1), findings);
                }
            }
        }
    }
}

fn json_request(policies: &Policies, request: &JsonRequest) -> Result<Request, Box<DetailedError>> {
    let uid = |text: &str| text.parse::<EntityUid>().map_err(|error| Box::new(DetailedError::from(&error)));
    let action = uid(&request.action)?;
    let context =
        Context::from_json_value(request.context.clone(), Some((&policies.schema, &action))).map_err(|e| Box::new(DetailedError::from(&e)))?;
    let (principal, resource) = (uid(&request.principal)?, uid(&request.resource)?);
    Request::new(principal, action, resource, context, Some(&policies.schema)).map_err(|e| Box::new(DetailedError::from(&e)))
}

fn json_failure(policies: &Policies, whole: &PolicySet, case: &JsonCase, request: &Request) -> Option<Failed> {
    let response = policies.authorizer.is_authorized(request, whole, &policies.entities);
    let errors = response.diagnostics().errors().count();
    let decision = if response.decision() == Decision::Allow && errors == 0 { "allow" } else { "deny" };
    let mut reason: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
    let mut wanted = case.reason.clone();
    reason.sort();
    wanted.sort();
    let is_met = case.decision.eq_ignore_ascii_case(decision) && wanted == reason && case.num_errors == errors;
    let shown = |words: &[String]| ticked(&words.iter().map(String::as_str).collect::<Vec<_>>());
    (!is_met).then(|| {
        let message = format!(
            "expected {} by {} with {} errors, got {decision} by {} with {errors} errors",
            case.decision,
            shown(&wanted),
            case.num_errors,
            shown(&reason)
        );
        let asked = format!("{}, {}, {}", case.request.principal, case.request.action, case.request.resource);
        let decided = reason.iter().map(|name| PolicyName::intern(name)).filter_map(|name| standing(policies, name));
        Failed { message, details: std::iter::once(asked).chain(decided).collect() }
    })
}

// ------------------------------------------------------------------ tables

/// The facts of a case, each `None` when neither the case nor `given` names it.
#[derive(Clone, Default)]
struct Facts {
    basis: Option<LawfulBasis>,
    consent: Option<ConsentStatus>,
    explicit: Option<bool>,
    stage: Option<Stage>,
    segment: Option<Segment>,
    age: Option<Age>,
    legal_hold: Option<bool>,
    channel: Option<Channel>,
    environment: Option<Environment>,
    gpc: Option<bool>,
    records: Option<u32>,
    roles: Option<Vec<crate::model::Role>>,
    now: Option<Timestamp>,
    task: Option<Task>,
    behalf: Option<Behalf>,
    customers: Option<u32>,
    emergency: Option<Emergency>,
}

impl Facts {
    /// Whoever calls for an employee has one, with or without roles.
    fn roles(&self) -> Option<Vec<crate::model::Role>> {
        self.roles.clone().or_else(|| (self.behalf == Some(Behalf::Employee)).then(Vec::new))
    }

    /// Facts that are not told of such a principal, or that no request can have together.
    fn contradiction(&self, kind: ClientKind) -> Option<&'static str> {
        match (kind, self.behalf) {
            (ClientKind::Application, Some(_)) => Some("`behalf` is told of agents only"),
            (ClientKind::Application, None) if self.task.is_some() => Some("`task` is told of agents only"),
            (ClientKind::Agent, Some(Behalf::Nobody)) if self.roles.is_some() => Some("who calls on behalf of nobody has no employee with `roles`"),
            (ClientKind::Agent, Some(Behalf::Customer | Behalf::OtherCustomer)) if self.roles.is_some() => {
                Some("who calls on behalf of a customer has no employee with `roles`")
            }
            (ClientKind::Application | ClientKind::Agent, _) => None,
        }
    }

    fn particulars(&self) -> Particulars<'_> {
        let for_customer = match self.behalf {
            Some(Behalf::Customer) => Some(true),
            Some(Behalf::OtherCustomer) => Some(false),
            Some(Behalf::Nobody | Behalf::Employee) | None => None,
        };
        Particulars { task: self.task, for_customer, customers: self.customers.or(Some(1)), emergency: self.emergency.as_ref() }
    }
}

impl Run<'_> {
    fn toml_file(&mut self, source: &Source, findings: &mut Findings) {
        let table = parse(source, findings);
        let mut file = Section::new(source, table.get_ref(), 0..1);
        let mut given = Facts::default();
        if let Some(mut section) = file.optional_table("given", findings) {
            given = facts(&mut section, self.policies, &given, findings);
            section.finish(findings);
        }
        for section in file.tables("case", findings) {
            let line = source.line_of(section.span.start);
            let before = findings.0.len();
            let result = toml_case(section, self.policies, &given, findings);
            if let Some(case) = result.filter(|_| findings.0.len() == before) {
                self.report.cases.push(CaseResult::of(source, line, case.name, case.failed));
                case.request.iter().for_each(|request| self.see(request));
            }
        }
        file.finish(findings);
    }
}

struct TomlCase {
    name: String,
    failed: Option<Failed>,
    /// `None`: Cedar does not accept the facts, and so the answer is a deny.
    request: Option<Request>,
}

fn toml_case(mut section: Section<'_>, policies: &Policies, given: &Facts, findings: &mut Findings) -> Option<TomlCase> {
    let source = section.source;
    let vocabulary = &policies.vocabulary;
    let name = section.text("name", findings);
    let app = section.optional_text("app", findings).map(|word| (ClientKind::Application, word));
    let agent = section.optional_text("agent", findings).map(|word| (ClientKind::Agent, word));
    let action = section.text("action", findings);
    let category = section.text("category", findings);
    let purpose = section.text("purpose", findings);
    let expect = section.text("expect", findings);
    let because = section.optional_words("because", findings);
    let facts = facts(&mut section, policies, given, findings);
    let span = section.span.clone();
    section.finish(findings);

    let principal = match (app, agent) {
        (Some(one), None) | (None, Some(one)) => Some(one),
        (None, None) | (Some(_), Some(_)) => {
            findings.push(source.finding(span.clone(), "a case names one principal").help("write `app = …` or `agent = …`"));
            None
        }
    };
    if let Some(message) = principal.as_ref().and_then(|(kind, _)| facts.contradiction(*kind)) {
        findings.push(source.finding(span, message).help("leave out what is not so: no gateway puts such a question"));
    }
    let caller = principal.and_then(|(kind, word)| caller(policies, source, kind, &word, facts.roles(), findings));
    let actions = || Action::ALL.iter().map(|action| action.as_str()).collect();
    let action = action.and_then(|word| one(source, &word, "action", Action::parse, actions, findings));
    let categories = || names(&vocabulary.categories, Category::as_str);
    let category = category.and_then(|word| one(source, &word, "category", |w| vocabulary.category(w), categories, findings));
    let purposes = || names(&vocabulary.purposes, |purpose| purpose.as_str());
    let purpose = purpose.and_then(|word| one(source, &word, "purpose", |w| vocabulary.purpose(w), purposes, findings));
    let expects = || Expect::ALL.iter().map(|expect| expect.as_str()).collect();
    let expect = expect.and_then(|word| one(source, &word, "expectation", Expect::parse, expects, findings));
    for word in because.iter().flatten() {
        let known = |name: &str| policies.infos.iter().find(|info| info.name.as_str() == name);
        one(source, word, "policy", known, || policies.infos.iter().map(|info| info.name.as_str()).collect(), findings);
    }
    let (caller, category, purpose) = (caller?, category?, purpose?);
    let activity = policies.activity(caller.department, purpose, category);
    let question = Question {
        caller: &caller,
        action: action?,
        category,
        purpose,
        basis: facts.basis.unwrap_or_else(|| match facts.emergency {
            Some(_) => LawfulBasis::VitalInterest,
            None => activity.map_or(LawfulBasis::None, |activity| activity.basis),
        }),
        status: facts.consent.unwrap_or(ConsentStatus::Unknown),
        explicit: facts.explicit.unwrap_or(false),
        party: PartyFacts {
            stage: facts.stage.unwrap_or(Stage::Anonymous),
            segment: facts.segment.unwrap_or(policies.consent_rules.default_segment),
            age: facts.age.unwrap_or(Age::Unknown),
            legal_hold: facts.legal_hold.unwrap_or(false),
        },
        channel: facts.channel.unwrap_or_else(|| vocabulary.channel(purpose)),
        environment: facts.environment.unwrap_or(Environment::Production),
        gpc: facts.gpc.unwrap_or(false),
        records: facts.records,
        now: facts.now.unwrap_or(Timestamp::UNIX_EPOCH),
        particulars: facts.particulars(),
    };
    let because = because.map(|words| words.iter().map(|word| word.text).collect());
    let failed = failure(policies, &question, expect?, because);
    Some(TomlCase { name: name?.text.to_owned(), failed, request: policies.requests.build(&question) })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Allow,
    Deny,
    NotEntitled,
}

impl Expect {
    const ALL: [Self; 3] = [Self::Allow, Self::Deny, Self::NotEntitled];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::NotEntitled => "not-entitled",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|expect| expect.as_str() == text)
    }
}

fn failure(policies: &Policies, question: &Question<'_>, expect: Expect, because: Option<Vec<&str>>) -> Option<Failed> {
    let decided = policies.decide(question);
    let entitled = policies.could_permit(&Use::of(question));
    let got = match (decided.allow(), entitled) {
        (true, true) => Expect::Allow,
        // The request level must never close what a decision opens.
        (true, false) => {
            let message = "the decision is allow, but the request level says not-entitled: please report this".to_owned();
            return Some(Failed { message, details: vec![asked(question)] });
        }
        (false, true) => Expect::Deny,
        (false, false) => Expect::NotEntitled,
    };
    // Whoever expects a deny is content with a stronger one.
    let is_met = got == expect || (expect, got) == (Expect::Deny, Expect::NotEntitled);
    let names: Vec<&str> = decided.policies().into_iter().map(|name| name.as_str()).collect();
    let is_because = because.as_ref().is_none_or(|because| {
        let mut because = because.clone();
        because.sort_unstable();
        because == names
    });
    let by = |names: &[&str]| if names.is_empty() { "no policy".to_owned() } else { ticked(names) };
    let errors: Vec<&str> = decided.errors().iter().map(|name| name.as_str()).collect();
    (!is_met || !is_because || !errors.is_empty()).then(|| {
        let wanted = because.as_ref().map(|because| format!(" by {}", by(because))).unwrap_or_default();
        let erred = if errors.is_empty() { String::new() } else { format!(", errors in {}", ticked(&errors)) };
        let message = format!("expected {}{wanted}, got {} by {}{erred}", expect.as_str(), got.as_str(), by(&names));
        Failed { message, details: details(policies, question, expect, &because.unwrap_or_default()) }
    })
}

/// Policies named for one failure; `policy explain` tells of all.
const NAMED_MAX: usize = 6;

fn details(policies: &Policies, question: &Question<'_>, expect: Expect, because: &[&str]) -> Vec<String> {
    let explained = policies.explain(question);
    let decided = explained.decided.policies();
    let mut details = vec![asked(question)];
    details.extend(decided.iter().filter_map(|name| standing(policies, *name)));
    // Those that were to decide, else whatever could have permitted it.
    let mut silent: Vec<PolicyName> = because.iter().map(|name| PolicyName::intern(name)).filter(|name| !decided.contains(name)).collect();
    if silent.is_empty() && expect == Expect::Allow && !explained.decided.allow() {
        silent = explained.permits.iter().filter(|permit| permit.failed.is_some()).map(|permit| permit.name).collect();
    }
    let more = silent.len().saturating_sub(NAMED_MAX);
    for name in silent.into_iter().take(NAMED_MAX) {
        let why = policies.why_not(question, name).unwrap_or_else(|| "applies, but a forbid stands above it".to_owned());
        details.push(format!("{name}: {why}"));
    }
    if more > 0 {
        details.push(format!("{more} more permits in scope do not apply"));
    }
    details
}

fn standing(policies: &Policies, name: PolicyName) -> Option<String> {
    policies.place(name).map(|(file, line)| format!("{name} stands in {}:{line}", file.display()))
}

fn asked(q: &Question<'_>) -> String {
    let PartyFacts { stage, segment, age, legal_hold } = q.party;
    let explicit = if q.explicit { ", explicitly" } else { "" };
    let head = format!("{}, {} {}, {}, basis {}, consent {}{explicit}", q.caller.client, q.action, q.category, q.purpose, q.basis, q.status);
    let roles: Vec<&str> = q.caller.employee.iter().flat_map(|employee| &employee.roles).map(|role| role.as_str()).collect();
    let employee =
        q.caller.employee.as_ref().map(|_| format!("for an employee with {}", if roles.is_empty() { "no role".to_owned() } else { ticked(&roles) }));
    let records = q.records.filter(|_| q.action == Action::Export).map(|records| format!("{records} records"));
    let behalf = (q.caller.kind == ClientKind::Agent && q.behalf() != Behalf::Employee).then(|| format!("on behalf of {}", q.behalf()));
    let Particulars { task, customers, emergency, .. } = q.particulars;
    let customers = match customers {
        None => Some("any number of customers".to_owned()),
        Some(1) => None,
        Some(number) => Some(format!("{number} customers")),
    };
    let rest = [
        Some(format!("{head}; {stage}, {segment}, {age}")),
        legal_hold.then(|| "legal hold".to_owned()),
        q.gpc.then(|| "Global Privacy Control".to_owned()),
        (q.environment != Environment::Production).then(|| q.environment.to_string()),
        records,
        customers,
        employee,
        behalf,
        task.map(|task| format!("task {task}")),
        emergency.map(|emergency| format!("emergency {}", emergency.ticket)),
    ];
    rest.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn caller(
    policies: &Policies,
    source: &Source,
    kind: ClientKind,
    word: &Word<'_>,
    roles: Option<Vec<crate::model::Role>>,
    findings: &mut Findings,
) -> Option<Caller> {
    let clients = &policies.vocabulary.clients;
    let of_kind = || clients.iter().filter(|(_, info)| info.kind == kind).map(|(client, _)| client.as_str()).collect();
    let known = |text: &str| policies.vocabulary.client(text).and_then(|client| clients.get_key_value(&client)).filter(|(_, info)| info.kind == kind);
    let what = if kind == ClientKind::Agent { "agent" } else { "app" };
    let (client, info) = one(source, word, what, known, of_kind, findings)?;
    let employee = roles.map(|roles| Employee { pseudonym: String::new(), roles });
    Some(Caller { client: *client, kind, department: info.department, employee })
}

fn facts(section: &mut Section<'_>, policies: &Policies, given: &Facts, findings: &mut Findings) -> Facts {
    let source = section.source;
    macro_rules! word {
        ($key:literal, $kind:ident) => {{
            let candidates = || $kind::ALL.iter().map(|value| value.as_str()).collect();
            section.optional_text($key, findings).and_then(|word| one(source, &word, $key, $kind::parse, candidates, findings))
        }};
    }
    let vocabulary = &policies.vocabulary;
    let role_words = || vocabulary.roles.iter().map(|role| role.as_str()).collect();
    let roles = section
        .optional_words("roles", findings)
        .map(|words| words.iter().filter_map(|word| one(source, word, "role", |w| vocabulary.role(w), role_words, findings)).collect::<Vec<_>>());
    let now = section.optional_text("now", findings).and_then(|word| {
        let example = || vec!["2026-03-01T10:00:00Z"];
        one(source, &word, "time", |text| text.parse().ok(), example, findings)
    });
    let tasks = || names(&vocabulary.tasks, Task::as_str);
    let task = section.optional_text("task", findings).and_then(|word| one(source, &word, "task", |w| vocabulary.task(w), tasks, findings));
    let emergency = section.optional_text("emergency", findings);
    let emergency = emergency.map(|ticket| Emergency { ticket: ticket.text.to_owned(), justification: "a case".to_owned() });
    Facts {
        basis: word!("basis", LawfulBasis).or(given.basis),
        consent: word!("consent", ConsentStatus).or(given.consent),
        explicit: section.optional_bool("explicit", findings).or(given.explicit),
        stage: word!("stage", Stage).or(given.stage),
        segment: word!("segment", Segment).or(given.segment),
        age: word!("age", Age).or(given.age),
        legal_hold: section.optional_bool("legal_hold", findings).or(given.legal_hold),
        channel: word!("channel", Channel).or(given.channel),
        environment: word!("environment", Environment).or(given.environment),
        gpc: section.optional_bool("gpc", findings).or(given.gpc),
        records: section.optional_number("records", findings).or(given.records),
        roles: roles.or_else(|| given.roles.clone()),
        now: now.or(given.now),
        task: task.or(given.task),
        behalf: word!("behalf", Behalf).or(given.behalf),
        customers: section.optional_number("customers", findings).or(given.customers),
        emergency: emergency.or_else(|| given.emergency.clone()),
    }
}
