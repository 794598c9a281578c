//! `consentry consent`: records and shows what customers allow, through the admin listener, as the consent desk.

use serde_json::{Map, Value, json};

mod conflicts;
mod known;
mod notice;
mod receipt;

use super::client::{ServerArgs, segment};
use super::text::{number, text};
use super::{Exit, Failure, Output, import, note};

#[derive(Debug, clap::Subcommand)]
pub(super) enum ConsentCommand {
    /// Records a consent event: given, refused, withdrawn, …
    #[command(after_help = "Example: consentry consent event crm:0044 --state withdrawn --purpose sales.outreach --evidence letter=scan-881")]
    Event(EventArgs),
    /// Imports what customers said from CSV, NDJSON, Salesforce, consent records (JSON-LD) or Kantara receipts.
    ///
    /// Columns of CSV: id (`<space>:<value>`), state or stop (its kind), purposes, event_time, channel, method, author, notice
    /// (`<id>@<version>`), evidence (`<kind>=<reference>`), expires, lasts, until, uses, categories, recipients, channels,
    /// source_system, reason, activity, gpp; several values of a cell are separated by spaces. A line of NDJSON is what `POST /v1/consents`
    /// takes, or a stop with its `kind`. Importing a file twice records nothing twice.
    #[command(after_help = "Example: consentry consent import consents.csv --time-zone Europe/Berlin --dry-run")]
    Import(import::ImportArgs),
    /// Hard stops: objections, restrictions, opt-outs, suppressions, erasure.
    #[command(subcommand)]
    Stop(StopCommand),
    /// Versions of the notices on which consent is given.
    #[command(subcommand)]
    Notice(notice::NoticeCommand),
    /// Shows what a customer allows, now or at another time, as far as is known now or was known then.
    #[command(after_help = "Example: consentry consent effective crm:0044 --at 2026-03-01T12:00:00+01:00 --known-at 2026-03-01T12:00:00+01:00")]
    Effective(known::EffectiveArgs),
    /// Shows every event of a customer: when it was said, when recorded, and what became of it.
    #[command(after_help = "Example: consentry consent history crm:0044")]
    History(known::HistoryArgs),
    #[command(after_help = "Example: consentry consent conflicts --unsettled --purpose marketing")]
    Conflicts(conflicts::ConflictsArgs),
    #[command(after_help = "Example: consentry consent ask party:p_7f3k --purpose marketing.email --channel email")]
    Ask(conflicts::AskArgs),
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
    #[command(after_help = "Example: consentry consent stop lift ev_42 --reason \"dispute settled, case 77\"")]
    Lift(StopLiftArgs),
    /// Shows the stops of a customer and whether they still stand.
    #[command(after_help = "Example: consentry consent stop list crm:0044")]
    List(known::HistoryArgs),
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
    /// How long a grant lasts, ISO 8601: P24M.
    #[arg(long, value_name = "PERIOD")]
    lasts: Option<String>,
    /// The grant ends when this occurs, e.g. contract-ended.
    #[arg(long, value_name = "OCCURRENCE")]
    until: Option<String>,
    /// The grant ends after so many answered requests.
    #[arg(long)]
    uses: Option<u32>,
    /// explicit, expressed or implied.
    #[arg(long)]
    method: Option<String>,
    /// The processing activity that the person saw.
    #[arg(long)]
    activity: Option<String>,
    /// With `--state invalidated`: the grant that never was valid.
    #[arg(long, value_name = "EVENT")]
    about: Option<String>,
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
    /// The system it comes from; the caller itself without it.
    #[arg(long, value_name = "SYSTEM")]
    source_system: Option<String>,
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
            Self::Stop(StopCommand::List(args)) => args.stops(output),
            Self::Notice(command) => command.execute(output),
            Self::Effective(args) => args.execute(output),
            Self::History(args) => args.execute(output),
            Self::Conflicts(args) => args.execute(output),
            Self::Ask(args) => args.execute(output),
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
    put(&mut body, "lasts", args.lasts.as_deref());
    put(&mut body, "until", args.until.as_deref());
    put(&mut body, "method", args.method.as_deref());
    put(&mut body, "activity", args.activity.as_deref());
    put(&mut body, "about", args.about.as_deref());
    body.extend(args.uses.map(|uses| ("uses".to_owned(), json!(uses))));
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
    put(body, "source_system", statement.source_system.as_deref());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_needs_a_kind() {
        assert_eq!(evidence(&["scan".to_owned()]).unwrap_err().exit, Exit::Usage);
        assert_eq!(evidence(&["letter=a=b".to_owned()]).unwrap(), json!([{"kind": "letter", "reference": "a=b"}]));
    }
}
