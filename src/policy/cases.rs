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
use cedar_policy::{Authorizer, Context, Decision, EntityUid, Request};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{
    Action, Age, Behalf, Caller, Category, Channel, ClientKind, ConsentStatus, Emergency, Employee, Environment, Findings, LawfulBasis, Particulars,
    PartyFacts, Question, Segment, Stage, Task,
};

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
    let (mut report, mut findings) = (CaseReport::default(), Findings::default());
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
            Ok(source) if is_json => json_file(policies, &source, &mut report, &mut findings),
            Ok(source) => toml_file(policies, &source, &mut report, &mut findings),
            Err(finding) => findings.push(finding),
        }
    }
    findings.or(report)
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

fn json_file(policies: &Policies, source: &Source, report: &mut CaseReport, findings: &mut Findings) {
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
            findings.push(source.finding(mark, format!("a case is judged with `{CATALOGUE}` only")).help("put other entities into the catalogue"));
            continue;
        }
        let line = source.line_of(span.start);
        match json_request(policies, &case.request) {
            Ok(request) => {
                let failure = json_failure(policies, &case, &request);
                report.cases.push(CaseResult { file: source.path.clone(), line, name: case.name, failure });
            }
            Err(mut error) => {
                // Cedar's places are those of a text inside the case.
                error.source_locations.clear();
                source.cedar(&error, &(span.start..span.start + 1), findings);
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

fn json_failure(policies: &Policies, case: &JsonCase, request: &Request) -> Option<String> {
    let response = Authorizer::new().is_authorized(request, &policies.whole_set(), &policies.entities);
    let errors = response.diagnostics().errors().count();
    let decision = if response.decision() == Decision::Allow && errors == 0 { "allow" } else { "deny" };
    let mut reason: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
    let mut wanted = case.reason.clone();
    reason.sort();
    wanted.sort();
    let is_met = case.decision.eq_ignore_ascii_case(decision) && wanted == reason && case.num_errors == errors;
    let shown = |words: &[String]| ticked(&words.iter().map(String::as_str).collect::<Vec<_>>());
    (!is_met).then(|| {
        format!(
            "expected {} by {} with {} errors, got {decision} by {} with {errors} errors",
            case.decision,
            shown(&wanted),
            case.num_errors,
            shown(&reason)
        )
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

    fn particulars(&self) -> Particulars<'_> {
        let for_customer = match self.behalf {
            Some(Behalf::Customer) => Some(true),
            Some(Behalf::OtherCustomer) => Some(false),
            Some(Behalf::Nobody | Behalf::Employee) | None => None,
        };
        Particulars { task: self.task, for_customer, customers: self.customers.or(Some(1)), emergency: self.emergency.as_ref() }
    }
}

fn toml_file(policies: &Policies, source: &Source, report: &mut CaseReport, findings: &mut Findings) {
    let table = parse(source, findings);
    let mut file = Section::new(source, table.get_ref(), 0..1);
    let mut given = Facts::default();
    if let Some(mut section) = file.optional_table("given", findings) {
        given = facts(&mut section, policies, &given, findings);
        section.finish(findings);
    }
    for section in file.tables("case", findings) {
        let line = source.line_of(section.span.start);
        let before = findings.0.len();
        let result = toml_case(section, policies, &given, findings);
        if let Some((name, failure)) = result.filter(|_| findings.0.len() == before) {
            report.cases.push(CaseResult { file: source.path.clone(), line, name, failure });
        }
    }
    file.finish(findings);
}

fn toml_case(mut section: Section<'_>, policies: &Policies, given: &Facts, findings: &mut Findings) -> Option<(String, Option<String>)> {
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
            findings.push(source.finding(span, "a case names one principal").help("write `app = …` or `agent = …`"));
            None
        }
    };
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
    Some((name?.text.to_owned(), failure(policies, &question, expect?, because)))
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

fn failure(policies: &Policies, question: &Question<'_>, expect: Expect, because: Option<Vec<&str>>) -> Option<String> {
    let decided = policies.decide(question);
    let entitled = policies.entitled(&Use::of(question), question.channel);
    let got = match (decided.allow(), entitled) {
        (true, true) => Expect::Allow,
        // The request level must never close what a decision opens.
        (true, false) => return Some("the decision is allow, but the request level says not-entitled: please report this".to_owned()),
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
        let wanted = because.map(|because| format!(" by {}", by(&because))).unwrap_or_default();
        let erred = if errors.is_empty() { String::new() } else { format!(", errors in {}", ticked(&errors)) };
        format!("expected {}{wanted}, got {} by {}{erred}", expect.as_str(), got.as_str(), by(&names))
    })
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
