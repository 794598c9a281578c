//! `consentry audit search|show`: decisions, by question or one by one.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::audit::{Place, decision_id, moment, unreadable};
use super::client::{query, segment};
use super::index::opened;
use super::kinds::{self, kind_word};
use super::prove::{ProveArgs, Prover};
use super::table::Table;
use super::text::{joined, list, number, text, time};
use super::{Exit, Failure, Output};
use crate::audit::{KindQuery, Outcome, Query, Texts, Window, entry_json, found_json_with};
use crate::clock::SystemClock;
use crate::console::answered_json;
use crate::model::{EventId, PartyNo};

#[derive(Debug, clap::Args)]
pub(super) struct SearchArgs {
    /// A customer: `party:<id>` or `<space>:<value>`.
    #[arg(long, conflicts_with = "offline")]
    customer: Option<String>,
    /// A customer's number in the log, for `--offline`, where no ids are known.
    #[arg(long, value_name = "N", requires = "offline")]
    party_no: Option<u64>,
    /// The calling app.
    #[arg(long)]
    app: Option<String>,
    /// The caller's department.
    #[arg(long)]
    department: Option<String>,
    /// An employee's pseudonym.
    #[arg(long)]
    actor: Option<String>,
    /// An AI agent.
    #[arg(long)]
    agent: Option<String>,
    /// An API's name.
    #[arg(long)]
    api: Option<String>,
    /// read, create, update, delete or export.
    #[arg(long)]
    action: Option<String>,
    /// A purpose's key.
    #[arg(long)]
    purpose: Option<String>,
    /// permit, redact, filter, deny, error or unenforced.
    #[arg(long, value_parser = outcome_word)]
    outcome: Option<String>,
    /// A category of which something was released.
    #[arg(long)]
    category: Option<String>,
    /// A policy that determined.
    #[arg(long)]
    policy: Option<String>,
    /// A consent event that decided or lost: `ev_42`.
    #[arg(long, value_parser = event_id)]
    event: Option<EventId>,
    /// What a break-glass grant was used for.
    #[arg(long, value_name = "GRANT")]
    grant: Option<String>,
    /// A decision: `<origin>#<index>` or its index.
    #[arg(long, value_name = "ID")]
    decision: Option<String>,
    /// Entries that are no decisions instead: rejects, clock, start, stop, gap, admin, query, …
    #[arg(long, value_parser = kind_word, conflicts_with_all = ["customer", "party_no", "app", "department", "actor", "agent", "api", "action",
        "purpose", "outcome", "category", "policy", "event", "grant", "decision", "prove"])]
    kind: Option<String>,
    /// From then on: a time with offset, or back from now: 30d, 12h, 45m.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The newest so many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only decisions with a smaller index: `next` of the page before.
    #[arg(long, value_name = "INDEX")]
    before: Option<u64>,
    #[command(flatten)]
    prove: ProveArgs,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// `<origin>#<index>` or the index alone.
    id: String,
    #[command(flatten)]
    place: Place,
}

fn outcome_word(word: &str) -> Result<String, String> {
    let known = Outcome::parse(word).map(|outcome| outcome.as_str().to_owned());
    known.ok_or_else(|| "use permit, redact, filter, deny, error or unenforced".to_owned())
}

fn event_id(text: &str) -> Result<EventId, String> {
    EventId::parse(text).ok_or_else(|| "ids of events are like `ev_42`".to_owned())
}

pub(super) fn search(output: &Output, args: &SearchArgs) -> Result<Exit, Failure> {
    let now = SystemClock::shared().now();
    let since = args.since.as_deref().map(|text| moment(text, now)).transpose()?;
    let until = args.until.as_deref().map(|text| moment(text, now)).transpose()?;
    if let Some(kind) = &args.kind {
        let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
        let asked = KindQuery { kind: kind.clone(), window: Window { since, until }, before: args.before, limit };
        return kinds::search(output, &args.place, &asked);
    }
    let asked = Query {
        customers: args.party_no.map(PartyNo).into_iter().collect(),
        app: args.app.clone(),
        department: args.department.clone(),
        actor: args.actor.clone(),
        agent: args.agent.clone(),
        api: args.api.clone(),
        action: args.action.clone(),
        purpose: args.purpose.clone(),
        outcome: args.outcome.clone(),
        category: args.category.clone(),
        policy: args.policy.clone(),
        event: args.event,
        decision: args.decision.as_deref().map(|id| decision_id(id).map(|(_, index)| index)).transpose()?,
        grant: args.grant.clone(),
        since,
        until,
        before: args.before,
        limit: usize::try_from(args.limit).ok(),
    };
    let prover = args.prove.prover(&args.place)?;
    let answer = match &args.place.offline {
        Some(dir) => {
            let found = opened(output, dir)?.search(&asked).map_err(|error| unreadable(dir, &error))?;
            answered_json(&found, &Texts::of(dir))
        }
        None => args.place.server.connect()?.get(&format!("/v1/decisions{}", params(args, &asked)))?,
    };
    let proved = prover.map(|prover| prove(output, &prover, &answer, &asked.customers)).transpose()?;
    if output.is_json() {
        output.json(&answer)?;
    } else {
        let proved = proved.map(|sentence| format!("\n{sentence}")).unwrap_or_default();
        output.line(render_search(&answer, since, until.unwrap_or(now)) + &proved)?;
    }
    Ok(Exit::Done)
}

fn params(args: &SearchArgs, asked: &Query) -> String {
    let text = |value: &Option<String>| value.clone();
    query(&[
        ("customer", text(&args.customer)),
        ("app", text(&asked.app)),
        ("department", text(&asked.department)),
        ("actor", text(&asked.actor)),
        ("agent", text(&asked.agent)),
        ("api", text(&asked.api)),
        ("action", text(&asked.action)),
        ("purpose", text(&asked.purpose)),
        ("outcome", text(&asked.outcome)),
        ("category", text(&asked.category)),
        ("policy", text(&asked.policy)),
        ("event", asked.event.map(|event| event.to_string())),
        ("decision", asked.decision.map(|index| index.to_string())),
        ("grant", text(&asked.grant)),
        ("since", asked.since.map(|t| t.to_string())),
        ("until", asked.until.map(|t| t.to_string())),
        ("cursor", asked.before.map(|index| index.to_string())),
        ("limit", Some(args.limit.to_string())),
    ])
}

/// Each line is put together once more, from entries that are proved, and must say the same.
fn prove(output: &Output, prover: &Prover<'_>, answer: &Value, asked: &[PartyNo]) -> Result<String, Failure> {
    let progress = output.spinner("proving");
    let numbers = answer.get("customer").map(|customer| list(customer, "numbers")).unwrap_or_default();
    let mut customers: Vec<PartyNo> = numbers.iter().filter_map(Value::as_u64).map(PartyNo).collect();
    customers.extend(asked);
    let decisions = list(answer, "decisions");
    for (at, decision) in decisions.iter().enumerate() {
        progress.set_message(format!("proving decision {} of {}", at + 1, decisions.len()));
        prover.decision(decision, &customers)?;
    }
    progress.finish_and_clear();
    Ok(prover.sentence(decisions.len()))
}

pub(super) fn show(output: &Output, args: &ShowArgs) -> Result<Exit, Failure> {
    let (origin, index) = decision_id(&args.id)?;
    let answer = match &args.place.offline {
        Some(dir) => {
            let shown = opened(output, dir)?.show(index).map_err(|error| unreadable(dir, &error))?;
            let shown = shown.ok_or_else(|| Failure::new(Exit::NotFound, format!("no entry {index} in `{}`", dir.display())))?;
            let texts = Texts::of(dir);
            let entries: Vec<Value> = shown.entries.iter().map(|logged| entry_json(logged, Some(&texts))).collect();
            let decision = shown.decision.as_ref().map(|found| found_json_with(found, &texts));
            json!({ "index": index, "decision": decision, "entries": entries })
        }
        None => args.place.server.connect()?.get(&format!("/v1/decisions/{}/{index}", segment(&origin)))?,
    };
    output.answer(&answer, || render_show(&answer))
}

fn render_search(answer: &Value, since: Option<Timestamp>, until: Timestamp) -> String {
    let decisions = list(answer, "decisions");
    let whose = match answer.get("customer").filter(|customer| !customer.is_null()) {
        Some(customer) => format!("party {}{}", text(customer, "party"), other_ids(customer)),
        None => "all customers".to_owned(),
    };
    let day = |t: Timestamp| t.to_string().chars().take(10).collect::<String>();
    let from = since.map_or_else(|| "the beginning".to_owned(), day);
    let mut lines = vec![format!("{whose} · {from} to {} UTC", day(until)), String::new()];
    if decisions.is_empty() {
        lines.push("no decisions".to_owned());
    } else {
        lines.push(decision_table(decisions));
        lines.push(String::new());
        lines.push(totals(decisions));
        let written = decisions
            .iter()
            .filter_map(|decision| Some(format!("{} why: {}", short_id(&text(decision, "decision")), said(decision.get("justification")?))));
        lines.extend(written);
    }
    if let Some(next) = answer.get("next").and_then(Value::as_str) {
        lines.push(format!("there are more: `--before {next}`, a shorter time or a higher `--limit`"));
    }
    let unread = number(answer, "unread");
    if unread > 0 {
        lines.push(format!("{unread} entries were written by another version and cannot be read here; they may be of decisions"));
    }
    if let Some(entry) = answer.get("entry").and_then(Value::as_str) {
        lines.push(format!("this search is entry {entry} · --format json"));
    }
    lines.join("\n")
}

/// What somebody wrote about an emergency, or why that is not there; on one line, with nothing that a terminal acts on.
fn said(justification: &Value) -> String {
    let key = text(justification, "key");
    match (justification.get("text").and_then(Value::as_str), text(justification, "state").as_str()) {
        (Some(text), _) => Value::from(text.chars().filter(|c| !c.is_control()).collect::<String>()).to_string(),
        (None, "destroyed") => format!("destroyed with its key {key} (retention, entry {})", number(justification, "announced")),
        (None, "no-key") => format!("the key {key} is not here"),
        (None, _) => format!("the key {key} that is here does not open it"),
    }
}

fn other_ids(customer: &Value) -> String {
    let mut spaces: Vec<(String, usize)> = Vec::new();
    for link in list(customer, "identifiers") {
        let space = text(link, "space");
        match spaces.iter_mut().find(|(known, _)| *known == space) {
            Some((_, count)) => *count += 1,
            None => spaces.push((space, 1)),
        }
    }
    if spaces.is_empty() {
        return String::new();
    }
    let parts: Vec<String> = spaces.iter().map(|(space, count)| format!("{count} {space}")).collect();
    format!(" · known as {}", parts.join(", "))
}

fn decision_table(decisions: &[Value]) -> String {
    let mut table = Table::new(&["time", "app", "dept", "purpose", "outcome", "released", "relied on", "decision"]);
    for decision in decisions {
        let reduced: Vec<String> = list(decision, "reduced").iter().filter_map(Value::as_str).map(|category| format!("{category}*")).collect();
        let mut released = joined(decision, "released");
        if !reduced.is_empty() {
            released = if released == "–" { reduced.join(" ") } else { format!("{released} {}", reduced.join(" ")) };
        }
        let cells = [
            time(decision, "at"),
            text(decision, "app"),
            text(decision, "department"),
            short_purpose(text(decision, "purpose")),
            text(decision, "outcome"),
            super::table::cut(&released, 24),
            relied_on(decision),
            short_id(&text(decision, "decision")),
        ];
        table.row(cells);
    }
    table.render()
}

/// A long purpose by its last part, so that the decision's id always fits: `….support`.
fn short_purpose(purpose: String) -> String {
    match purpose.rsplit_once('.') {
        Some((_, last)) if purpose.chars().count() > PURPOSE_CHARS_MAX => format!("….{last}"),
        _ => purpose,
    }
}

const PURPOSE_CHARS_MAX: usize = 18;

/// The event that decided with its state, else the lawful basis, else a dash; of what was released, if anything was.
fn relied_on(decision: &Value) -> String {
    let all = list(decision, "relied");
    let released: Vec<&Value> = all.iter().filter(|r| r.get("release").and_then(Value::as_str).is_some_and(|word| word != "withheld")).collect();
    let relied = if released.is_empty() { all.iter().collect() } else { released };
    let with_event = relied.iter().copied().find(|r| r.get("event").is_some_and(Value::is_string));
    match (with_event, relied.first().copied()) {
        (Some(relied), _) => format!("{} {}", super::table::cut(&text(relied, "event"), 12), text(relied, "status")),
        (None, Some(relied)) if text(relied, "basis") == "consent" => format!("consent {}", text(relied, "status")),
        (None, Some(relied)) => text(relied, "basis"),
        (None, None) => "–".to_owned(),
    }
}

/// The origin's first label is enough to tell logs apart: `gw-fra-1#88120`.
fn short_id(id: &str) -> String {
    match id.rsplit_once('#') {
        Some((origin, index)) => format!("{}#{index}", origin.split('.').next().unwrap_or(origin)),
        None => id.to_owned(),
    }
}

fn totals(decisions: &[Value]) -> String {
    let went_out = |d: &&Value| !list(d, "released").is_empty() || !list(d, "reduced").is_empty();
    let released = decisions.iter().filter(went_out).count();
    let departments: BTreeSet<String> = decisions.iter().filter(went_out).map(|d| text(d, "department")).collect();
    let unresolved = decisions.iter().filter(|d| d.get("unresolved").and_then(Value::as_bool) == Some(true)).count();
    let open = if unresolved > 0 { format!(" · {unresolved} unresolved: no end was written, count them as released") } else { String::new() };
    let masked = if decisions.iter().any(|d| !list(d, "reduced").is_empty()) { " · * masked" } else { "" };
    let to = super::check::count(departments.len(), "department");
    format!("{}, {released} released data, to {to}{open}{masked}", super::check::count(decisions.len(), "decision"))
}

fn render_show(answer: &Value) -> String {
    let mut lines = Vec::new();
    if let Some(decision) = answer.get("decision").filter(|d| d.is_object()) {
        let code = if text(decision, "code") == "–" { String::new() } else { format!(" {}", text(decision, "code")) };
        lines.push(format!(
            "{} · {} {}{code} · policies {} · config generation {} · consent revision {}",
            text(decision, "decision"),
            text(decision, "outcome"),
            text(decision, "status"),
            super::check::short(&text(decision, "policy_set")),
            number(decision, "generation"),
            number(decision, "consent_revision")
        ));
        lines.push(String::new());
        lines.push(format!("time      {} UTC", time(decision, "at")));
        lines.push(format!("caller    {}, department {}{}", text(decision, "app"), text(decision, "department"), on_behalf(decision)));
        lines.push(format!("route     {}  {} ({})", text(decision, "api"), text(decision, "route"), text(decision, "action")));
        lines.push(format!("purpose   {}", text(decision, "purpose")));
        if let Some(justification) = decision.get("justification") {
            lines.push(format!("emergency {} · {}", text(decision, "grant"), said(justification)));
        }
        lines.push(format!("customers {}, {} unknown ids", number(decision, "parties"), number(decision, "unknown")));
        lines.push(format!(
            "released  {} · masked {} · withheld {}",
            joined(decision, "released"),
            joined(decision, "reduced"),
            joined(decision, "withheld")
        ));
        lines.push(format!("policies  {}", joined(decision, "policies")));
        let relied = list(decision, "relied");
        if !relied.is_empty() {
            let mut table = Table::new(&["category", "release", "why", "basis", "consent", "event", "policies"]);
            for r in relied {
                table.row([
                    text(r, "category"),
                    text(r, "release"),
                    text(r, "why"),
                    text(r, "basis"),
                    text(r, "status"),
                    text(r, "event"),
                    joined(r, "policies"),
                ]);
            }
            lines.push(String::new());
            lines.push(table.render());
            lines.extend(weighing(relied));
        }
        lines.push(String::new());
    }
    for entry in list(answer, "entries") {
        lines.push(format!("#{}  {}", number(entry, "index"), entry.get("entry").cloned().unwrap_or_default()));
        if let Some(written) = entry.get("text") {
            lines.push(format!("   written: {}", said(written)));
        }
    }
    lines.join("\n")
}

/// The rule by which events were weighed, and those that lost.
fn weighing(relied: &[Value]) -> Vec<String> {
    let names = |member: &str| relied.iter().filter_map(|r| r.get(member)?.as_str()).collect::<BTreeSet<_>>();
    let overridden: BTreeSet<&str> = relied.iter().flat_map(|r| list(r, "overridden")).filter_map(Value::as_str).collect();
    let line =
        |label: &str, names: BTreeSet<&str>| (!names.is_empty()).then(|| format!("{label:<10}{}", names.into_iter().collect::<Vec<_>>().join(" ")));
    let conflict = relied.iter().any(|r| r.get("conflict").and_then(Value::as_bool) == Some(true));
    let conflict =
        conflict.then(|| "conflict  merged customers said differently; the more restrictive holds until the customer settles it".to_owned());
    line("rule", names("rule")).into_iter().chain(line("overrides", overridden)).chain(conflict).collect()
}

fn on_behalf(decision: &Value) -> String {
    let part = |member: &str, word: &str| match decision.get(member).and_then(Value::as_str) {
        Some(who) => format!(", {word} {who}"),
        None => String::new(),
    };
    format!("{}{}", part("actor", "employee"), part("agent", "agent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_reads_as_a_table_with_its_totals() {
        let decision = |n: u64, outcome: &str, released: Value, event: Value, status: &str| {
            json!({"decision": format!("gw-fra-1.example.com#{n}"), "index": n, "at": "2026-07-24T10:02:15.123Z", "app": "crm", "department": "sales",
                   "purpose": "sales.outreach", "outcome": outcome, "released": released, "reduced": [], "unresolved": false,
                   "relied": [{"event": event, "status": status, "basis": "consent"}]})
        };
        let answer = json!({
            "customer": {"party": "p_7q2m", "identifiers": [{"space": "crm"}, {"space": "email"}, {"space": "crm"}]},
            "decisions": [decision(88120, "deny", json!([]), json!("ev_01k0w3"), "withdrawn"), decision(88112, "redact", json!(["identity", "contact"]), json!("ev_01k0vy"), "given")],
            "entry": "gw-fra-1.example.com#88131",
        });
        let since = "2026-06-25T00:00:00Z".parse().unwrap();
        let until = "2026-07-25T00:00:00Z".parse().unwrap();
        assert_eq!(
            render_search(&answer, Some(since), until),
            "party p_7q2m · known as 2 crm, 1 email · 2026-06-25 to 2026-07-25 UTC\n\n\
             time                 app  dept   purpose         outcome  released          relied on            decision\n\
             2026-07-24 10:02:15  crm  sales  sales.outreach  deny     –                 ev_01k0w3 withdrawn  gw-fra-1#88120\n\
             2026-07-24 10:02:15  crm  sales  sales.outreach  redact   identity contact  ev_01k0vy given      gw-fra-1#88112\n\n\
             2 decisions, 1 released data, to 1 department\n\
             this search is entry gw-fra-1.example.com#88131 · --format json"
        );
    }

    #[test]
    fn the_rule_and_the_events_that_lost_are_shown_once() {
        let relied = [
            json!({"event": "ev_9", "overridden": ["ev_4", "ev_2"], "rule": "customer-last-word/v1", "conflict": false}),
            json!({"event": "ev_9", "overridden": ["ev_4"], "rule": "customer-last-word/v1", "conflict": true}),
            // As an earlier version wrote it.
            json!({"event": "ev_9", "overridden": []}),
        ];
        let shown = weighing(&relied);
        assert_eq!(shown.get(..2), Some(["rule      customer-last-word/v1".to_owned(), "overrides ev_2 ev_4".to_owned()].as_slice()));
        assert!(shown.get(2).is_some_and(|line| line.starts_with("conflict")));
        assert!(weighing(&relied[2..]).is_empty());
    }

    #[test]
    fn what_was_released_is_what_was_relied_on_and_a_long_purpose_gives_way() {
        let relied =
            json!([{"release": "withheld", "basis": "none", "status": "unknown"}, {"release": "full", "basis": "contract", "status": "unknown"}]);
        assert_eq!(relied_on(&json!({ "relied": relied })), "contract");
        assert_eq!(relied_on(&json!({ "relied": [relied[0]] })), "none");
        assert_eq!(short_purpose("service-provision.support".to_owned()), "….support");
        assert_eq!(short_purpose("sales.outreach".to_owned()), "sales.outreach");
    }
}
