//! Why a request would be, or a logged decision was, answered as it is: the same judging as on the request path, told
//! category by category. Nothing is sent and nothing is released.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::answer::limits_of;
use super::call;
use super::graphql;
use super::judge::{About, Asked, explained};
use super::permit::{categories_with_embedded, masked};
use super::premises::{Premises, customers_max};
use super::problem::Problem as GatewayProblem;
use super::report;
use super::search::judged_search;
use super::state::{Shared, Snapshot};
use crate::audit::{Found as Decision, IndexError, LiveIndex};
use crate::catalog::{ApiPurpose, Customer, Found, Target};
use crate::consent::Standing;
use crate::console::{Explanation, Problem};
use crate::filter;
use crate::model::{Action, Caller, Category, CategoryVerdict, Identifier, Purpose, Release, Shape, Shapes, Why};
use crate::policy;

/// Adds a line to a text.
macro_rules! say {
    ($text:ident, $($line:tt)*) => {{
        $text.push_str(&format!($($line)*));
        $text.push('\n');
    }};
}

/// Explains a request that is only described.
pub(super) fn request(
    shared: &Shared,
    method: &str,
    url: &str,
    app: &str,
    purpose: Option<&str>,
    body: Option<&str>,
) -> Result<Explanation, Problem> {
    let snapshot = shared.snapshot();
    let vocabulary = snapshot.policies.vocabulary();
    let client = vocabulary.client(app).ok_or_else(|| Problem::not_found(&format!("app `{app}`")))?;
    let info = vocabulary.clients.get(&client).ok_or_else(|| Problem::not_found(&format!("app `{app}`")))?;
    let caller = Caller { client, kind: info.kind, department: info.department, employee: None };
    let method: Method = method.parse().map_err(|_invalid| Problem::value("the method is not one of HTTP", "use GET, POST, PUT, PATCH or DELETE"))?;
    // `/rpc#getCustomer`: of several routes with one path the one that this member of a body tells.
    let (url, said) = url.split_once('#').map_or((url, None), |(url, said)| (url, Some(said)));
    let target =
        Target::parse(url).map_err(|e| Problem::value(e.to_string(), "write path and query as the app sends them, e.g. `/crm/customers/0044`"))?;
    let heard = body.map(|body| call::overheard(&snapshot, &method, &target, Bytes::copy_from_slice(body.as_bytes()))).transpose();
    let heard = heard.map_err(|p| unread(&p))?;
    let said = heard.as_ref().and_then(|heard| heard.told.as_deref()).or(said);
    let mut found =
        snapshot.catalog.find_said(&method, &target, said).map_err(|e| Problem::value(e.to_string(), "see the routes in the files under `apis`"))?;
    found.judge_query().map_err(|e| Problem::value(e.to_string(), "use only declared parameters"))?;
    let purpose = chosen(&snapshot, &found, &caller, purpose)?;
    let (judged, shapes) = judged_body(&snapshot, &mut found, heard.map(|heard| heard.body))?;
    let asked = Asked {
        action: found.route.action,
        purpose,
        channel: vocabulary.channel(purpose),
        environment: snapshot.environment,
        gpc: false,
        records: found.route.records_max,
        now: shared.clock.now(),
        premises: Premises { customers: customers_max(&found), ..Premises::default() },
        shadow: None,
        caller,
    };
    let customer = customer(shared, &snapshot, &found, judged.as_ref())?;
    Ok(tell(shared, &snapshot, &found, &asked, customer.as_ref(), shapes.as_ref().unwrap_or(&snapshot.catalog.shapes)))
}

/// What a described body comes to: what would be sent of it, and of a GraphQL query the shapes that its answer has.
fn judged_body(snapshot: &Snapshot, found: &mut Found, body: Option<Bytes>) -> Result<(Option<Bytes>, Option<Shapes>), Problem> {
    match (found.route.graphql.clone(), body) {
        (Some(_), None) => Err(Problem::value("the query says what is asked for", "give the request's body with `--body`")),
        (Some(graphql), Some(body)) => {
            let (sent, shapes) = graphql::described(snapshot, found, &graphql, &body).map_err(|p| unread(&p))?;
            Ok((Some(sent), Some(shapes)))
        }
        (None, None) => Ok((None, None)),
        (None, Some(body)) => {
            if let Some(declared) = found.route.search.as_deref() {
                let judged = judged_search(&body, declared, found.route.dialect).map_err(|p| unread(&p))?;
                judged.map_err(|e| Problem::value(e.to_string(), "use only declared parameters"))?;
            }
            Ok((Some(body), None))
        }
    }
}

/// A body that the gateway would refuse.
fn unread(problem: &GatewayProblem) -> Problem {
    let fields = problem.details.fields.join(", ");
    let what = problem.details.remedy.clone().unwrap_or_else(|| "the body cannot be read as this route's".to_owned());
    Problem::value(if fields.is_empty() { what } else { format!("{fields}: {what}") }, "give the body as the app sends it")
}

/// A described request has no token and no header: the registered purposes decide, as far as the route lets them.
fn chosen(snapshot: &Snapshot, found: &Found, caller: &Caller, wanted: Option<&str>) -> Result<Purpose, Problem> {
    let vocabulary = snapshot.policies.vocabulary();
    let registered = vocabulary.clients.get(&caller.client).map(|c| c.registered.clone()).unwrap_or_default();
    let may = |p: &Purpose| registered.iter().any(|above| vocabulary.is_within(*p, *above));
    let on_route = |p: &Purpose| match &found.api.purpose {
        ApiPurpose::Any => true,
        ApiPurpose::Allow(list) => list.contains(p),
        ApiPurpose::Fixed(fixed) => fixed == p,
    };
    let possible: Vec<Purpose> = vocabulary.purposes.keys().copied().filter(|p| may(p) && on_route(p)).collect();
    let names = || possible.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match wanted {
        Some(text) => {
            let purpose = vocabulary.purpose(text).ok_or_else(|| Problem::not_found(&format!("purpose `{text}`")))?;
            if possible.contains(&purpose) {
                return Ok(purpose);
            }
            Err(Problem::value(format!("`{}` is not registered for `{purpose}` here", caller.client), format!("possible here: {}", names())))
        }
        None => match possible.as_slice() {
            [one] => Ok(*one),
            [] => Err(Problem::value(format!("`{}` has no purpose for this route", caller.client), "have one registered in the policy folder")),
            [..] => Err(Problem::value("several purposes are possible", format!("name one with `--purpose`: {}", names()))),
        },
    }
}

fn customer(shared: &Shared, snapshot: &Snapshot, found: &Found, body: Option<&Bytes>) -> Result<Option<(Identifier, Option<Standing>)>, Problem> {
    let (raw, space) = match (&found.route.customer, body) {
        (Customer::Path { param, space }, _) => (found.path_param(param).map(str::to_owned), *space),
        (Customer::Query { param, space }, _) => (found.query_param(param).map(str::to_owned), *space),
        (Customer::Request { path, space }, Some(body)) => {
            (filter::find_id(body, path, &limits_of(snapshot), filter::Sender::Caller).ok().flatten(), *space)
        }
        (Customer::Request { .. }, None) => return Ok(None),
        (
            Customer::Header { .. }
            | Customer::Claim { .. }
            | Customer::Response { .. }
            | Customer::Answer
            | Customer::Lookup { .. }
            | Customer::New { .. }
            | Customer::None,
            _,
        ) => return Ok(None),
    };
    let id = raw.and_then(|raw| snapshot.catalog.space(space)?.identify(&raw).ok());
    let id = id.ok_or_else(|| Problem::value(format!("the id does not match the grammar of `{space}`"), "write it as that system does"))?;
    let standing = shared.ledger.standing(&id).map_err(|e| Problem::value(e.to_string(), "try again when the store is back"))?;
    Ok(Some((id, standing)))
}

fn tell(
    shared: &Shared,
    snapshot: &Snapshot,
    found: &Found,
    asked: &Asked,
    customer: Option<&(Identifier, Option<Standing>)>,
    shapes: &Shapes,
) -> Explanation {
    let route = &found.route;
    let writes = matches!(asked.action, Action::Create | Action::Update | Action::Delete);
    let shape = if writes { route.request.as_ref().map(|r| &r.shape) } else { route.response.shape() };
    let categories: Vec<(Category, bool)> = match shape {
        Some(shape) if writes => shape.categories().into_iter().map(|c| (c, masked(shape, c))).collect(),
        Some(shape) => {
            let mut found = categories_with_embedded(shape, shapes);
            found.sort();
            found
        }
        None => Vec::new(),
    };
    let about = match customer {
        Some((_, Some(standing))) => About::Known(standing),
        Some((_, None)) => About::Unknown,
        // Without a customer the best that an unknown one could get; rows are judged one by one.
        None => About::New,
    };
    let told: Vec<(CategoryVerdict, policy::Explanation)> =
        categories.iter().map(|(category, mask)| explained(&snapshot.policies, asked, about, *category, *mask)).collect();
    let opens = told.iter().any(|(v, _)| v.release != Release::Withheld);
    let has_run_out = snapshot.has_run_out(asked.now);
    let needs_met = shape.is_none_or(|s| s.needs.iter().all(|n| told.iter().any(|(v, _)| v.category == *n && v.release == Release::Full)));
    let permitted = !has_run_out && opens && needs_met;

    let mut text = String::new();
    let set: String = snapshot.set_id.chars().take(6).collect();
    let verdict = if permitted { "permit" } else { "deny" };
    let line = |text: &mut String, label: &str, value: String| {
        say!(text, "{label:<10}{value}");
    };
    say!(text, "{verdict} · policies {set} · config generation {} · consent revision {}\n", snapshot.generation, shared.ledger.revision());
    let kind = if asked.caller.kind == crate::model::ClientKind::Agent { "Agent" } else { "Application" };
    let registered = snapshot.policies.vocabulary().clients.get(&asked.caller.client).map(|c| c.registered.clone()).unwrap_or_default();
    let registered: Vec<String> = registered.iter().map(ToString::to_string).collect();
    line(
        &mut text,
        "caller",
        format!("{kind} {}, department {}, registered for {}", asked.caller.client, asked.caller.department, registered.join(" and ")),
    );
    if let Some(agent) = snapshot.policies.vocabulary().clients.get(&asked.caller.client).and_then(|c| c.agent.as_ref()) {
        let tasks = agent.tasks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        line(
            &mut text,
            "agent",
            format!("operator {}, model {}; described without a task and for nobody; its tasks: {tasks}", agent.operator, agent.model),
        );
    }
    line(&mut text, "route", format!("{}  {}  ({}:{})", found.api.name, route.key, route.place.file.display(), route.place.line));
    line(&mut text, "purpose", purpose_line(snapshot, asked, &categories));
    if let Some(report) = report::of(found, asked, asked.now).filter(|_| !writes) {
        line(&mut text, "report", format!("mode until {}: if all is permitted in full, members that no shape maps go out, too", report.until));
    }
    customer_lines(&mut text, &route.customer, customer, &told);
    text.push('\n');
    verdict_table(&mut text, snapshot, &told, shape.map(AsRef::as_ref));
    if has_run_out {
        say!(text, "\npolicy-stale: the policies have run out, so nothing is decided; activate a later bundle");
    } else {
        changes(&mut text, &told, permitted);
    }
    let document = json!({
        "permitted": permitted,
        "stale": has_run_out,
        "policy_set": snapshot.set_id.to_string(),
        "generation": snapshot.generation,
        "consent_revision": shared.ledger.revision().0,
        "app": asked.caller.client.to_string(),
        "department": asked.caller.department.to_string(),
        "api": found.api.name.to_string(),
        "route": route.key.to_string(),
        "purpose": asked.purpose.to_string(),
        "categories": told.iter().map(|(v, e)| verdict_json(v, e)).collect::<Vec<_>>(),
    });
    let party = customer.and_then(|(_, standing)| standing.as_ref().map(|s| s.party));
    Explanation { permitted, text, document, party }
}

fn purpose_line(snapshot: &Snapshot, asked: &Asked, categories: &[(Category, bool)]) -> String {
    let activity = categories.iter().find_map(|(c, _)| snapshot.policies.activity(asked.caller.department, asked.purpose, *c));
    match activity {
        Some(a) => format!("{}; activity {} v{}, lawful basis {}", asked.purpose, a.id, a.version, a.basis),
        None => format!("{}; no activity of {} covers these categories, so there is no lawful basis", asked.purpose, asked.caller.department),
    }
}

fn customer_lines(
    text: &mut String,
    named: &Customer,
    customer: Option<&(Identifier, Option<Standing>)>,
    told: &[(CategoryVerdict, policy::Explanation)],
) {
    let mut line = |label: &str, value: String| {
        say!(text, "{label:<10}{value}");
    };
    match customer {
        None if matches!(named, Customer::Request { .. }) => line("customer", "named in the body; give it with `--body`".to_owned()),
        None => line("customer", "known from the answer only; each row is judged by its own customer".to_owned()),
        Some((id, None)) => line("customer", format!("{id}, not in the crosswalk: answered like a customer without consent")),
        Some((id, Some(standing))) => {
            let f = standing.facts;
            line(
                "customer",
                format!("{id}; stage {}, segment {}, age {}{}", f.stage, f.segment, f.age, if f.legal_hold { ", legal hold" } else { "" }),
            );
            let decisive = told.iter().map(|(v, _)| v).find(|v| v.event.is_some()).or(told.first().map(|(v, _)| v));
            match decisive {
                Some(v) => {
                    let event = v.event.as_ref().map(|e| format!(" ({e})")).unwrap_or_default();
                    line("consent", format!("{}{event}; {}", v.status, v.rule.as_str()));
                }
                None => line("consent", "unknown".to_owned()),
            }
            if told.iter().any(|(v, _)| v.conflict) {
                line("", CONFLICT.to_owned());
            }
            let overridden: Vec<String> =
                told.iter().flat_map(|(v, _)| v.overridden.iter().map(ToString::to_string)).collect::<BTreeSet<_>>().into_iter().collect();
            if !overridden.is_empty() {
                line("", format!("overrides: {}", overridden.join(", ")));
            }
            let stops = standing.profile.stop_names();
            line("stops", if stops.is_empty() { "none".to_owned() } else { stops.join(", ") });
        }
    }
}

/// What an open conflict between merged customers means.
const CONFLICT: &str = "conflict: merged customers said differently; the more restrictive holds until the customer settles it";

/// Widest line of an explanation, characters.
const WIDTH: usize = 120;

fn verdict_table(text: &mut String, snapshot: &Snapshot, told: &[(CategoryVerdict, policy::Explanation)], shape: Option<&Shape>) {
    say!(text, "{:<13}{:<11}{:>6}  {:<9}why", "category", "owner", "fields", "verdict");
    let mut said: Vec<(Category, Vec<String>)> = Vec::new();
    for (verdict, explanation) in told {
        let owner = snapshot.policies.vocabulary().categories.get(&verdict.category).map_or("-", |c| c.owner.as_str());
        let fields = shape.map_or(0, |s| {
            s.fields.iter().filter(|f| matches!(&f.rule, crate::model::FieldRule::Category { category, .. } if *category == verdict.category)).count()
        });
        let word = match verdict.release {
            Release::Full => "permit",
            Release::Reduced => "masked",
            Release::Withheld => "deny",
        };
        let reasons = reasons(verdict, explanation);
        let lines = match said.iter().find(|(_, same)| *same == reasons) {
            Some((category, _)) => vec![format!("as {category}")],
            None => reasons.iter().flat_map(|reason| wrapped(reason, WIDTH - 43)).collect(),
        };
        if lines.len() > 1 {
            said.push((verdict.category, reasons));
        }
        for (n, why) in lines.into_iter().enumerate() {
            if n == 0 {
                say!(text, "{:<13}{owner:<11}{fields:>6}  {word:<9}{why}", verdict.category);
            } else {
                say!(text, "{:<43}{why}", "");
            }
        }
    }
}

/// Lines of whole words, those after the first set in; nothing is left out.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The reasons of one verdict, the deciding one first.
fn reasons(verdict: &CategoryVerdict, explanation: &policy::Explanation) -> Vec<String> {
    let names = verdict.policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut out = vec![match &verdict.why {
        Why::Permitted => names,
        Why::UnknownParty => "the customer is not in the crosswalk".to_owned(),
        Why::NotGranted => "the break-glass grant is for another customer".to_owned(),
        Why::Stop(stop) => format!("stop: {stop}; no policy can open it"),
        Why::PolicyError => format!("a policy erred: {names}"),
        Why::NoPermit | Why::Forbidden if verdict.release == Release::Reduced => format!("masked form by {names}"),
        Why::Forbidden => {
            let told = |name: &crate::model::PolicyName| {
                let missing = explanation.forbids.iter().find(|f| f.name == *name).and_then(|f| f.missing.as_ref());
                missing.map_or_else(|| name.to_string(), |missing| format!("{name} ({missing})"))
            };
            format!("forbidden: {}", verdict.policies.iter().map(told).collect::<Vec<_>>().join(", "))
        }
        Why::NoPermit => "no policy permits it".to_owned(),
    }];
    if matches!(verdict.why, Why::Forbidden | Why::NoPermit) {
        out.extend(explanation.permits.iter().filter_map(|p| p.failed.as_ref().map(|why| format!("{}: {why}", p.name))));
    }
    out
}

fn changes(text: &mut String, told: &[(CategoryVerdict, policy::Explanation)], permitted: bool) {
    if permitted {
        return;
    }
    let mut by_change: Vec<(String, Vec<String>)> = Vec::new();
    for (verdict, explanation) in told {
        let Some(change) = explanation.changes.first().map(ToString::to_string) else { continue };
        match by_change.iter_mut().find(|(c, _)| *c == change) {
            Some((_, opened)) => opened.push(verdict.category.to_string()),
            None => by_change.push((change, vec![verdict.category.to_string()])),
        }
    }
    text.push('\n');
    if by_change.is_empty() {
        say!(text, "no single change of consent or facts would open it");
    }
    for (n, (change, opened)) in by_change.iter().enumerate() {
        let label = if n == 0 { "smallest change: " } else { "            or: " };
        say!(text, "{label}{change}; opens {}", opened.join(", "));
    }
    if told.iter().any(|(v, _)| v.basis == crate::model::LawfulBasis::Consent) {
        say!(text, "not a way out: another lawful basis; it belongs to the activity and stays when consent goes");
    }
}

fn verdict_json(verdict: &CategoryVerdict, explanation: &policy::Explanation) -> Value {
    json!({
        "category": verdict.category.to_string(),
        "release": verdict.release.as_str(),
        "policies": verdict.policies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "basis": verdict.basis.as_str(),
        "status": verdict.status.as_str(),
        "event": verdict.event.map(|event| event.to_string()),
        "overridden": verdict.overridden.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "rule": verdict.rule.as_str(),
        "conflict": verdict.conflict,
        "reasons": reasons(verdict, explanation),
        "change": explanation.changes.first().map(ToString::to_string),
    })
}

/// Explains a decision as it was recorded.
pub(super) fn decision(live: &LiveIndex, index: u64, consent_state: bool) -> Result<Explanation, Problem> {
    let unreadable = |e: IndexError| Problem::value(e.to_string(), "check the log with `consentry audit verify`");
    let shown = live.fresh().and_then(|search| search.show(index)).map_err(unreadable)?;
    let found = shown.and_then(|s| s.decision).ok_or_else(|| Problem::not_found("decision"))?;
    let permitted = found.outcome != "deny" && found.outcome != "error";
    Ok(Explanation { permitted, text: recorded_text(&found, consent_state), document: recorded_json(&found, consent_state), party: None })
}

fn recorded_text(found: &Decision, consent_state: bool) -> String {
    let mut text = String::new();
    let set: String = found.policy_set.chars().take(6).collect();
    let code = found.code.as_ref().map(|c| format!(" · {c}")).unwrap_or_default();
    say!(text, "{}{code} · policies {set} · config generation {} · consent revision {}\n", found.outcome, found.generation, found.consent_revision);
    let behalf = found.actor.as_ref().map(|a| format!(", on behalf of {a}")).unwrap_or_default();
    say!(text, "{:<10}{} at {}", "decision", found.decision, found.at);
    say!(text, "{:<10}{}, department {}{behalf}", "caller", found.app, found.department);
    if let (Some(operator), Some(model)) = (&found.operator, &found.model) {
        let task = found.task.as_ref().map_or_else(|| "no task".to_owned(), |task| format!("task {task}"));
        say!(text, "{:<10}operator {operator}, model {model}, {task}, for {}", "agent", found.behalf.as_deref().unwrap_or("nobody"));
    }
    if let Some(grant) = &found.grant {
        say!(text, "{:<10}break-glass grant {grant}", "emergency");
    }
    say!(text, "{:<10}{}  {}", "route", found.api, found.route);
    say!(text, "{:<10}{}, action {}", "purpose", found.purpose.as_deref().unwrap_or("-"), found.action);
    say!(
        text,
        "{:<10}{} known, {} not in the crosswalk, {} rows released, {} dropped\n",
        "customers",
        found.parties,
        found.unknown,
        found.rows,
        found.dropped
    );
    if !found.relied.is_empty() {
        say!(text, "{:<13}{:<10}{:<18}{:<11}why", "category", "verdict", "basis", if consent_state { "consent" } else { "" });
    }
    for r in &found.relied {
        let why = if r.policies.is_empty() { r.why.clone() } else { format!("{}: {}", r.why, r.policies.join(", ")) };
        let event = r.event.as_ref().filter(|_| consent_state).map(|e| format!(" · {e}")).unwrap_or_default();
        let status = if consent_state { r.status.as_str() } else { "" };
        let lines = wrapped(&format!("{why}{event}"), WIDTH - 52);
        say!(text, "{:<13}{:<10}{:<18}{status:<11}{}", r.category, r.release, r.basis, lines.first().map_or("", String::as_str));
        for line in lines.iter().skip(1) {
            say!(text, "{:<52}{line}", "");
        }
    }
    if consent_state {
        weighing(&mut text, found);
    }
    if !found.withheld.is_empty() {
        say!(text, "\nwithheld  {}", found.withheld.join(", "));
    }
    text
}

/// By which rule the events were weighed, and which of them lost.
fn weighing(text: &mut String, found: &Decision) {
    let rules: BTreeSet<&str> = found.relied.iter().filter_map(|r| r.rule.as_deref()).collect();
    let overridden: BTreeSet<&str> = found.relied.iter().flat_map(|r| &r.overridden).map(String::as_str).collect();
    let list = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
    if !rules.is_empty() {
        say!(text, "\nrule      {}", list(rules));
    }
    if !overridden.is_empty() {
        say!(text, "overrides {}", list(overridden));
    }
    if found.relied.iter().any(|r| r.conflict) {
        say!(text, "{CONFLICT}");
    }
}

/// The policy that decided most categories, or the reason that is no policy.
fn because(found: &Decision) -> Option<String> {
    let withheld = || found.relied.iter().filter(|r| found.outcome != "deny" || r.release == "withheld");
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for policy in withheld().flat_map(|r| &r.policies) {
        *counts.entry(policy).or_default() += 1;
    }
    let most = counts.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0))).map(|(name, _)| name.to_owned());
    most.or_else(|| withheld().next().map(|r| r.why.clone())).or_else(|| found.code.clone())
}

fn recorded_json(found: &Decision, consent_state: bool) -> Value {
    let relied = found.relied.iter().map(|r| {
        let mut one = json!({ "category": r.category, "release": r.release, "why": r.why, "basis": r.basis, "policies": r.policies });
        if let (true, Some(members)) = (consent_state, one.as_object_mut()) {
            members.insert("status".to_owned(), json!(r.status));
            members.insert("event".to_owned(), json!(r.event));
            members.insert("overridden".to_owned(), json!(r.overridden));
            members.insert("rule".to_owned(), json!(r.rule));
            members.insert("conflict".to_owned(), json!(r.conflict));
        }
        one
    });
    json!({
        "decision": found.decision,
        "outcome": found.outcome,
        "because": because(found),
        "code": found.code,
        "app": found.app,
        "department": found.department,
        "operator": found.operator,
        "model": found.model,
        "task": found.task,
        "behalf": found.behalf,
        "grant": found.grant,
        "api": found.api,
        "route": found.route,
        "purpose": found.purpose,
        "policy_set": found.policy_set,
        "generation": found.generation,
        "consent_revision": found.consent_revision,
        "categories": relied.collect::<Vec<_>>(),
        "withheld": found.withheld,
    })
}
