//! `consentry consent`: records and shows what customers allow, through the admin listener, as the consent desk.

use serde_json::{Map, Value, json};

mod receipt;

use super::client::{ServerArgs, query, segment};
use super::table::Table;
use super::text::{joined, list, number, text, time};
use super::{Exit, Failure, Output, import, note};

#[derive(Debug, clap::Subcommand)]
pub(super) enum ConsentCommand {
    /// Records a consent event: given, refused, withdrawn, …
    #[command(after_help = "Example: consentry consent event crm:0044 --state withdrawn --purpose sales.outreach --evidence letter=scan-881")]
    Event(EventArgs),
    /// Imports what customers said from CSV, NDJSON, Salesforce or consent records (JSON-LD).
    ///
    /// Columns of CSV: id (`<space>:<value>`), state or stop (its kind), purposes, event_time, channel, method, author, notice
    /// (`<id>@<version>`), evidence (`<kind>=<reference>`), expires, lasts, until, uses, categories, recipients, channels,
    /// source_system, reason, activity; several values of a cell are separated by spaces. A line of NDJSON is what `POST /v1/consents`
    /// takes, or a stop with its `kind`. Importing a file twice records nothing twice.
    #[command(after_help = "Example: consentry consent import consents.csv --time-zone Europe/Berlin --dry-run")]
    Import(import::ImportArgs),
    /// Hard stops: objections, restrictions, opt-outs, suppressions, erasure.
    #[command(subcommand)]
    Stop(StopCommand),
    /// Shows what a customer allows now.
    #[command(after_help = "Example: consentry consent effective crm:0044 --purpose sales.outreach")]
    Effective(EffectiveArgs),
    /// Shows every event of a customer.
    #[command(after_help = "Example: consentry consent history crm:0044")]
    History(HistoryArgs),
    #[command(after_help = "Example: consentry consent receipt ev_42 --html --out receipt.html")]
    Receipt(receipt::ReceiptArgs),
    /// Records that a guardian or representative may speak for a customer.
    #[command(after_help = "Example: consentry consent delegate crm:0044 --holder guardian --evidence court=order-77")]
    Delegate(note::DelegateArgs),
    /// Records that something came to pass: grants that last until then end.
    #[command(after_help = "Example: consentry consent occurred crm:0044 contract-ended --evidence letter=scan-881")]
    Occurred(note::OccurredArgs),
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum StopCommand {
    /// Records a stop; it binds at once and needs no known id.
    #[command(after_help = "Example: consentry consent stop add crm:0044 --kind objection-marketing --evidence letter=scan-882")]
    Add(StopAddArgs),
    /// Lifts a restriction, or corrects a deceased or legal flag.
    #[command(after_help = "Example: consentry consent stop lift ev_01k0w3 --reason \"dispute settled, case 77\"")]
    Lift(StopLiftArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct EventArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    /// given, renewed, refused, withdrawn, revoked, requested, …
    #[arg(long)]
    state: String,
    /// A purpose; may be repeated.
    #[arg(long = "purpose", value_name = "PURPOSE")]
    purposes: Vec<String>,
    /// When the person acted, with offset; a grant without it opens nothing.
    #[arg(long = "at", value_name = "TIME")]
    event_time: Option<String>,
    #[command(flatten)]
    statement: Statement,
    /// Limits it to a category; may be repeated.
    #[arg(long = "category", value_name = "CATEGORY")]
    categories: Vec<String>,
    /// Limits it to a department; may be repeated.
    #[arg(long = "recipient", value_name = "DEPARTMENT")]
    recipients: Vec<String>,
    /// The notice it was given on, `<id>@<version>`.
    #[arg(long, value_name = "NOTICE")]
    notice: Option<String>,
    /// When a grant runs out, with offset.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What events and stops have in common.
#[derive(Debug, clap::Args)]
pub(super) struct Statement {
    /// Where it was said: email, sms, post, phone, push, in-person, system.
    #[arg(long)]
    channel: Option<String>,
    /// Whose statement it is: customer, guardian, staff, system.
    #[arg(long)]
    author: Option<String>,
    /// What proves it, `<kind>=<reference>`; may be repeated.
    #[arg(long = "evidence", value_name = "KIND=REFERENCE")]
    evidence: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct StopAddArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    /// What kind of stop.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(KINDS.map(|(kind, _)| kind)))]
    kind: String,
    /// Limits it to a purpose; may be repeated.
    #[arg(long = "purpose", value_name = "PURPOSE")]
    purposes: Vec<String>,
    /// Limits it to a category; may be repeated.
    #[arg(long = "category", value_name = "CATEGORY")]
    categories: Vec<String>,
    /// Why.
    #[arg(long, required_if_eq("kind", "erasure"))]
    reason: Option<String>,
    /// When the person acted, with offset.
    #[arg(long = "at", value_name = "TIME")]
    event_time: Option<String>,
    #[command(flatten)]
    statement: Statement,
    #[command(flatten)]
    server: ServerArgs,
}

/// Kinds of stops and the path where each is recorded.
const KINDS: [(&str, &str); 10] = [
    ("objection-marketing", "objections"),
    ("objection", "objections"),
    ("restriction", "restrictions"),
    ("deceased", "restrictions"),
    ("legal", "restrictions"),
    ("opt-out-sale", "opt-outs"),
    ("opt-out-sensitive", "opt-outs"),
    ("opt-out-gpc", "opt-outs"),
    ("suppression", "suppressions"),
    ("erasure", "erase"),
];

#[derive(Debug, clap::Args)]
pub(super) struct StopLiftArgs {
    /// The stop's event id, from `consent history`.
    stop: String,
    /// Why it ends.
    #[arg(long)]
    reason: String,
    /// What proves it, `<kind>=<reference>`; may be repeated.
    #[arg(long = "evidence", value_name = "KIND=REFERENCE")]
    evidence: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct EffectiveArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    /// Only this purpose, whether or not anything was said about it.
    #[arg(long)]
    purpose: Option<String>,
    /// Only this department.
    #[arg(long)]
    recipient: Option<String>,
    /// Only this category.
    #[arg(long)]
    category: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct HistoryArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    #[command(flatten)]
    server: ServerArgs,
}

impl ConsentCommand {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Event(args) => {
                let body = event_body(args)?;
                acknowledge(output, &args.server.connect()?.post("/v1/consents", &body)?)
            }
            Self::Import(args) => import::import(output, args),
            Self::Stop(StopCommand::Add(args)) => {
                let (path, body) = stop_request(args)?;
                acknowledge(output, &args.server.connect()?.post(&path, &body)?)
            }
            Self::Stop(StopCommand::Lift(args)) => {
                let body = json!({ "reason": args.reason, "evidence": evidence(&args.evidence)? });
                acknowledge(output, &args.server.connect()?.post(&format!("/v1/restrictions/{}:lift", segment(&args.stop)), &body)?)
            }
            Self::Effective(args) => effective(output, args),
            Self::History(args) => history(output, args),
            Self::Receipt(args) => args.execute(output),
            Self::Delegate(args) => args.execute(output),
            Self::Occurred(args) => args.execute(output),
        }
    }
}

fn event_body(args: &EventArgs) -> Result<Value, Failure> {
    let mut body = Map::new();
    body.insert("party".to_owned(), json!(args.party));
    body.insert("state".to_owned(), json!(args.state));
    statement(&mut body, &args.statement)?;
    put_list(&mut body, "purposes", &args.purposes);
    put_list(&mut body, "categories", &args.categories);
    put_list(&mut body, "recipients", &args.recipients);
    put(&mut body, "event_time", args.event_time.as_deref());
    put(&mut body, "expires", args.expires.as_deref());
    if let Some(notice) = &args.notice {
        let (id, version) = notice.split_once('@').ok_or_else(|| Failure::usage("`--notice` is `<id>@<version>`"))?;
        body.insert("notice".to_owned(), json!({ "id": id, "version": version }));
    }
    Ok(Value::Object(body))
}

fn stop_request(args: &StopAddArgs) -> Result<(String, Value), Failure> {
    let group = KINDS.iter().find(|(kind, _)| *kind == args.kind).map_or("suppressions", |(_, group)| group);
    if group == "erase" {
        return Ok((format!("/v1/parties/{}:erase", segment(&args.party)), json!({ "reason": args.reason })));
    }
    let mut body = Map::new();
    body.insert("party".to_owned(), json!(args.party));
    body.insert("kind".to_owned(), json!(args.kind));
    statement(&mut body, &args.statement)?;
    put_list(&mut body, "purposes", &args.purposes);
    put_list(&mut body, "categories", &args.categories);
    put(&mut body, "event_time", args.event_time.as_deref());
    put(&mut body, "reason", args.reason.as_deref());
    Ok((format!("/v1/{group}"), Value::Object(body)))
}

fn statement(body: &mut Map<String, Value>, statement: &Statement) -> Result<(), Failure> {
    put(body, "channel", statement.channel.as_deref());
    put(body, "author", statement.author.as_deref());
    if !statement.evidence.is_empty() {
        body.insert("evidence".to_owned(), evidence(&statement.evidence)?);
    }
    Ok(())
}

pub(super) fn evidence(pieces: &[String]) -> Result<Value, Failure> {
    let piece = |text: &String| {
        let (kind, reference) = text.split_once('=').ok_or_else(|| Failure::usage("`--evidence` is `<kind>=<reference>`"))?;
        Ok(json!({ "kind": kind, "reference": reference }))
    };
    pieces.iter().map(piece).collect::<Result<Vec<_>, Failure>>().map(Value::Array)
}

pub(super) fn put(body: &mut Map<String, Value>, member: &str, value: Option<&str>) {
    body.extend(value.map(|value| (member.to_owned(), json!(value))));
}

pub(super) fn put_list(body: &mut Map<String, Value>, member: &str, values: &[String]) {
    if !values.is_empty() {
        body.insert(member.to_owned(), json!(values));
    }
}

pub(super) fn acknowledge(output: &Output, answer: &Value) -> Result<Exit, Failure> {
    if output.is_json() {
        output.json(answer)?;
        return Ok(Exit::Done);
    }
    output.line(format!("recorded {} · revision {} · as {}", text(answer, "event"), number(answer, "revision"), text(answer, "author")))?;
    if let Some(note) = answer.get("note").and_then(Value::as_str) {
        output.line(note)?;
    }
    Ok(Exit::Done)
}

fn effective(output: &Output, args: &EffectiveArgs) -> Result<Exit, Failure> {
    let params = query(&[("purpose", args.purpose.clone()), ("category", args.category.clone()), ("recipient", args.recipient.clone())]);
    let answer = args.server.connect()?.get(&format!("/v1/parties/{}/effective{params}", segment(&args.party)))?;
    if output.is_json() {
        output.json(&answer)?
    } else {
        output.line(render_effective(&answer))?
    }
    Ok(Exit::Done)
}

fn render_effective(answer: &Value) -> String {
    let stops = joined(answer, "stops");
    let head = format!("party {} · consent revision {} · stops: {stops}", text(answer, "party"), number(answer, "revision"));
    let uses = list(answer, "uses");
    if uses.is_empty() {
        return format!("{head}\n\nnothing was ever said: what rests on consent is closed");
    }
    // Uses that differ only in the category are one line.
    let mut groups: Vec<([String; 5], Vec<String>)> = Vec::new();
    for usage in uses {
        let state = if text(usage, "stop") == "–" { text(usage, "status") } else { format!("stopped: {}", text(usage, "stop")) };
        let key = [text(usage, "purpose"), text(usage, "recipient"), state, text(usage, "event"), text(usage, "rule")];
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, categories)) => categories.push(text(usage, "category")),
            None => groups.push((key, vec![text(usage, "category")])),
        }
    }
    // And lines that then differ only in the recipient are one, too: a stop is told once, not for each department.
    let mut lines: Vec<([String; 5], Vec<String>)> = Vec::new();
    for ([purpose, recipient, state, event, _rule], categories) in groups {
        let key = [purpose, state, categories.join(" "), categories.len().to_string(), event];
        match lines.iter_mut().find(|(known, _)| *known == key) {
            Some((_, recipients)) => recipients.push(recipient),
            None => lines.push((key, vec![recipient])),
        }
    }
    let mut table = Table::new(&["purpose", "recipient", "state", "categories", "event"]);
    for ([purpose, state, categories, count, event], recipients) in lines {
        let categories = if categories.chars().count() > 40 { format!("{count} categories") } else { categories };
        let recipients = if recipients.len() > 3 { format!("{} departments", recipients.len()) } else { recipients.join(" ") };
        table.row([purpose, recipients, state, categories, event]);
    }
    format!("{head}\n\n{}", table.render())
}

fn history(output: &Output, args: &HistoryArgs) -> Result<Exit, Failure> {
    let admin = args.server.connect()?;
    let path = format!("/v1/consents/{}/history", segment(&args.party));
    let mut answer = admin.get(&format!("{path}?limit=1000"))?;
    let mut events: Vec<Value> = list(&answer, "events").to_vec();
    while let Some(cursor) = answer.get("next").and_then(Value::as_str).map(str::to_owned) {
        answer = admin.get(&format!("{path}?limit=1000&cursor={}", segment(&cursor)))?;
        events.extend_from_slice(list(&answer, "events"));
    }
    if output.is_json() {
        for event in &events {
            output.json(event)?;
        }
        return Ok(Exit::Done);
    }
    output.line(render_history(&text(&answer, "party"), &events))?;
    Ok(Exit::Done)
}

fn render_history(party: &str, events: &[Value]) -> String {
    let mut table = Table::new(&["recorded", "what", "purposes", "author", "by", "event", "became"]);
    for event in events {
        let what = event.get("what").cloned().unwrap_or_default();
        let said = match text(event, "kind").as_str() {
            "stop" => text(&what, "kind"),
            "lift" => format!("lift of {}", text(&what, "stop")),
            "delegation" => format!("{} may speak", text(&what, "holder")),
            "occurrence" => text(&what, "name"),
            _ => text(&what, "state"),
        };
        let overridden = list(event, "overridden_by").len();
        let lifted = list(event, "lifted_by").len();
        let became = match (overridden, lifted) {
            (0, 0) => "–".to_owned(),
            (_, 0) => "overridden".to_owned(),
            _ => "lifted in part".to_owned(),
        };
        table.row([
            time(event, "record_time"),
            said,
            joined(&what, "purposes"),
            text(event, "author"),
            text(event, "captured_by"),
            text(event, "event"),
            became,
        ]);
    }
    let count = super::check::count(events.len(), "event");
    format!("party {party} · {count}, UTC\n\n{}", table.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_that_differ_only_in_the_category_are_one_line() {
        let usage = |category: &str, status: &str| json!({"purpose": "sales.outreach", "recipient": "sales", "category": category, "status": status, "stop": null, "event": "ev_1"});
        let answer = json!({"party": "p_1", "revision": 4, "stops": [], "uses": [usage("contact", "withdrawn"), usage("identity", "withdrawn"), usage("order", "given")]});
        let text = render_effective(&answer);
        assert_eq!(
            text,
            "party p_1 · consent revision 4 · stops: –\n\n\
             purpose         recipient  state      categories        event\n\
             sales.outreach  sales      withdrawn  contact identity  ev_1\n\
             sales.outreach  sales      given      order             ev_1"
        );
    }

    #[test]
    fn evidence_needs_a_kind() {
        assert_eq!(evidence(&["scan".to_owned()]).unwrap_err().exit, Exit::Usage);
        assert_eq!(evidence(&["letter=a=b".to_owned()]).unwrap(), json!([{"kind": "letter", "reference": "a=b"}]));
    }
}
