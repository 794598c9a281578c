//! `consentry party`: customers and their ids in the departments' systems.

use std::collections::BTreeSet;
use std::path::PathBuf;

use http::Method;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::audit::moment;
use super::client::{Admin, Send, ServerArgs, query, segment};
use super::import::progress_bar;
use super::table::Table;
use super::text::{joined, list, number, text, time};
use super::{Exit, Failure, Output, facts, identity};
use crate::clock::SystemClock;
use crate::consent::{Cutter, ImportFormat};

#[derive(Debug, clap::Subcommand)]
pub(super) enum PartyCommand {
    /// Imports customers, their ids and facts from CSV or NDJSON.
    ///
    /// Columns: party (rows with the same key are one customer), identifiers (`<space>:<value>`, several separated by
    /// spaces; a list in NDJSON), kind, stage, segment, age, legal_hold. Importing a file twice changes nothing. A `kind` of
    /// organisation is no data subject: of its records, ownership and basis decide, and no consent is asked for.
    #[command(after_help = "Example: consentry party import customers.csv --dry-run")]
    Import(ImportArgs),
    /// Shows a customer: ids, facts, stops, hold and merges.
    #[command(after_help = "Example: consentry party show crm:0044")]
    Show(ShowArgs),
    /// Links an id in another system to a customer.
    #[command(after_help = "Example: consentry party link crm:0044 email:ada@example.com --assurance verified")]
    Link(LinkArgs),
    /// Puts facts about a customer that policies look at; what is not named stays. A legal hold is `party hold`.
    #[command(after_help = "Example: consentry party facts crm:0044 --stage customer --source crm")]
    Facts(facts::FactsArgs),
    /// Shows to which departments and apps which data of a customer was disclosed; they are to be told of its rectification,
    /// erasure or restriction (GDPR Art. 19). The search is logged.
    #[command(after_help = "Example: consentry party recipients crm:0044 --since 365d")]
    Recipients(RecipientsArgs),
    /// Makes two customers one: what either refused binds both at once.
    ///
    /// Where they differ about a purpose the more restrictive holds, until the customer names it again.
    #[command(after_help = "Example: consentry party merge crm:0044 shop:881 --reason \"same person, ticket 4471\"")]
    Merge(identity::MergeArgs),
    /// Takes a merge back, or makes ids a customer of their own; lists what was disclosed across the wrong link.
    #[command(after_help = "Example: consentry party split crm:0044 --merged shop:881 --reason \"two people of one family\"")]
    Split(identity::SplitArgs),
    /// Corrects what a customer is: person, business-contact, prospect or organisation, which is no data subject.
    ///
    /// Who ever spoke for themselves, or whose age is known, does not become an organisation.
    #[command(after_help = "Example: consentry party kind cpq:4711 organisation --reason \"an account, taken in as a person\"")]
    Kind(identity::KindArgs),
    /// Erases a customer (GDPR Art. 17): never lifted, and no system's ids of theirs are taken in again.
    #[command(after_help = "Example: consentry party erase crm:0044 --reason \"request of 2026-07-24, letter 31\"")]
    Erase(identity::EraseArgs),
    /// Holds data that a legal claim needs (GDPR Art. 17(3)(e)): no erasure until the release.
    #[command(after_help = "Example: consentry party hold crm:0044 --reason \"claim 2026-118\"")]
    Hold(identity::HoldArgs),
    /// Releases a hold.
    #[command(after_help = "Example: consentry party release crm:0044 --reason \"claim 2026-118 settled\"")]
    Release(identity::HoldArgs),
    /// Counts ids, by id space, that were named and that nobody is known by.
    #[command(after_help = "Example: consentry party gaps")]
    Gaps(identity::GapsArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The file; CSV with a header, or NDJSON.
    file: PathBuf,
    /// Say what would be done and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct LinkArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    /// The id to link, `<space>:<value>`.
    identifier: String,
    /// asserted, matched (carries stops, never grants) or verified.
    #[arg(long, default_value = "asserted")]
    assurance: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct RecipientsArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    /// From then on: a time with offset, or back from now: 30d, 12h, 45m. The whole log without it.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

impl PartyCommand {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Import(args) => import(output, args),
            Self::Show(args) => {
                let party = args.server.connect()?.get(&format!("/v1/parties/{}", segment(&args.party)))?;
                print_party(output, &party)
            }
            Self::Link(args) => {
                let body = json!({ "identifier": args.identifier, "assurance": args.assurance });
                let linked = args.server.connect()?.post(&format!("/v1/parties/{}/identifiers", segment(&args.party)), &body)?;
                if output.is_json() {
                    output.json(&linked)?;
                } else {
                    output.line(format!("linked to party {} · revision {}", text(&linked, "party"), number(&linked, "revision")))?;
                }
                Ok(Exit::Done)
            }
            Self::Recipients(args) => {
                let since = args.since.as_deref().map(|text| moment(text, SystemClock::shared().now())).transpose()?;
                let params = query(&[("since", since.map(|t| t.to_string()))]);
                let found = args.server.connect()?.get(&format!("/v1/parties/{}/recipients{params}", segment(&args.party)))?;
                if output.is_json() {
                    output.json(&found)?
                } else {
                    output.line(render_recipients(&found))?
                }
                Ok(Exit::Done)
            }
            Self::Facts(args) => args.execute(output),
            Self::Merge(args) => args.execute(output),
            Self::Split(args) => args.execute(output),
            Self::Kind(args) => args.execute(output),
            Self::Erase(args) => args.execute(output),
            Self::Hold(args) => args.execute(output, true),
            Self::Release(args) => args.execute(output, false),
            Self::Gaps(args) => args.execute(output),
        }
    }
}

fn import(output: &Output, args: &ImportArgs) -> Result<Exit, Failure> {
    let file = std::fs::read(&args.file).map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", args.file.display())))?;
    let is_json = file.trim_ascii_start().starts_with(b"{") || file.trim_ascii_start().starts_with(b"[");
    let admin = args.server.connect()?;
    let path = if args.dry_run { "/v1/parties?dry_run=true" } else { "/v1/parties" };
    let content_type = if is_json { "application/x-ndjson" } else { "text/csv" };
    let mut import = Import { admin: &admin, path, content_type, report: Report::default() };
    // Rows of one customer may stand anywhere: such a file is taken as one. So is a dry run, in which no row changes what the next one finds.
    if is_json || args.dry_run || header_names_parties(&file) {
        let progress = output.spinner("importing");
        let sent = import.send(&file, 0, 1);
        progress.finish_and_clear();
        sent?;
    } else {
        import.send_pieces(&file, &progress_bar(output, lines(&file)))?;
    }
    import.report.print(output, args)?;
    Ok(if import.report.errors.is_empty() { Exit::Done } else { Exit::CheckFailed })
}

fn lines(file: &[u8]) -> u64 {
    u64::try_from(file.split(|b| *b == b'\n').count()).unwrap_or(u64::MAX)
}

fn header_names_parties(csv: &[u8]) -> bool {
    let header = csv.split(|b| *b == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(header).split(',').any(|name| name.trim().trim_matches('"') == "party")
}

/// One file on its way.
struct Import<'a> {
    admin: &'a Admin,
    path: &'static str,
    content_type: &'static str,
    report: Report,
}

impl Import<'_> {
    /// Sends a piece whose first row, behind the header, stands on a line of the file.
    fn send(&mut self, bytes: &[u8], head_lines: u64, first_line: u64) -> Result<(), Failure> {
        let answer = self.admin.call(&Method::POST, self.path, Send::Bulk { content_type: self.content_type, bytes })?;
        // The gateway counts from the piece's own header.
        let line_of = |line: u64| if line > head_lines { line - head_lines - 1 + first_line } else { line };
        self.report.add(&answer, line_of);
        Ok(())
    }

    /// Rows that have nothing to do with each other go piece by piece.
    fn send_pieces(&mut self, file: &[u8], bar: &ProgressBar) -> Result<(), Failure> {
        let unreadable = |error: std::io::Error| Failure::new(Exit::Internal, format!("cannot read on: {error}"));
        let mut cutter = Cutter::new(file, ImportFormat::Csv).map_err(unreadable)?.keep_repeated();
        let head_lines = cutter.head_lines();
        while let Some(piece) = cutter.next_piece().map_err(unreadable)? {
            self.send(&piece.bytes, head_lines, piece.line)?;
            bar.set_position(piece.next_line);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

/// What became of a file, over all its pieces.
#[derive(Default)]
struct Report {
    created: u64,
    linked: u64,
    unchanged: u64,
    facts: u64,
    revision: u64,
    errors: Vec<(u64, String)>,
}

impl Report {
    fn add(&mut self, answer: &Value, line_of: impl Fn(u64) -> u64) {
        self.created += number(answer, "created");
        self.linked += number(answer, "linked");
        self.unchanged += number(answer, "unchanged");
        self.facts += number(answer, "facts");
        self.revision = number(answer, "revision");
        self.errors.extend(list(answer, "errors").iter().map(|error| (line_of(number(error, "line")), text(error, "message"))));
    }

    fn print(&self, output: &Output, args: &ImportArgs) -> Result<(), Failure> {
        let Self { created, linked, unchanged, facts, revision, errors } = self;
        if output.is_json() {
            let errors: Vec<Value> = errors.iter().map(|(line, message)| json!({ "line": line, "message": message })).collect();
            return output.json(&json!({
                "dry_run": args.dry_run, "created": created, "linked": linked, "unchanged": unchanged, "facts": facts, "errors": errors,
                "revision": revision,
            }));
        }
        for (line, message) in errors {
            output.line(format!("{}:{line}: error: {message}", args.file.display()))?;
        }
        let would = if args.dry_run { " · nothing was changed" } else { "" };
        output.line(format!("{created} created, {linked} ids linked, {facts} facts, {unchanged} rows unchanged, {} refused{would}", errors.len()))
    }
}

pub(super) fn print_party(output: &Output, party: &Value) -> Result<Exit, Failure> {
    if output.is_json() {
        output.json(party)?;
        return Ok(Exit::Done);
    }
    output.line(render_party(party))?;
    Ok(Exit::Done)
}

fn render_party(party: &Value) -> String {
    let stops = if list(party, "stops").is_empty() { "none".to_owned() } else { joined(party, "stops") };
    let id = text(party, "party");
    let head = format!("party {id} · {} · revision {} · stops: {stops}", text(party, "kind"), number(party, "revision"));
    let mut parts = vec![head];
    if party.get("is_erased") == Some(&Value::Bool(true)) {
        parts.push("erased: its ids are not taken in again".to_owned());
    }
    if let Some(hold) = list(party, "facts").iter().find(|fact| text(fact, "name") == "legal_hold" && text(fact, "value") == "true") {
        parts.push(format!("held since {} by {}", time(hold, "time"), text(hold, "source")));
    }
    let mut ids = Table::new(&["id", "assurance", "since", "source", "merged from"]);
    for link in list(party, "identifiers") {
        ids.row([text(link, "identifier"), text(link, "assurance"), time(link, "valid_from"), text(link, "source"), text(link, "merged_from")]);
    }
    let mut known = Table::new(&["fact", "value", "since", "source"]);
    for fact in list(party, "facts") {
        known.row([text(fact, "name"), text(fact, "value"), time(fact, "time"), text(fact, "source")]);
    }
    let mut merges = Table::new(&["merged from", "into", "known since", "split at", "reason"]);
    for merge in list(party, "merges") {
        let into = Some(text(merge, "into")).filter(|into| *into != id).unwrap_or_else(|| "this".to_owned());
        merges.row([text(merge, "from"), into, time(merge, "time"), text(merge, "undone"), text(merge, "reason")]);
    }
    for (member, table) in [("identifiers", ids), ("facts", known), ("merges", merges)] {
        if !list(party, member).is_empty() {
            parts.push(format!("\n{}", table.render()));
        }
    }
    parts.join("\n")
}

fn render_recipients(found: &Value) -> String {
    let recipients = list(found, "recipients");
    let since =
        if found.get("since").is_some_and(Value::is_string) { format!("since {}", time(found, "since")) } else { "in the whole log".to_owned() };
    let mut lines = vec![format!("party {} · {since}", text(found, "party")), String::new()];
    if recipients.is_empty() {
        lines.push("nothing was disclosed to anybody".to_owned());
    } else {
        let mut table = Table::new(&["department", "app", "category", "first", "last", "decisions"]);
        for recipient in recipients {
            for category in list(recipient, "categories") {
                let (first, last) = (time(category, "first"), time(category, "last"));
                let (department, app, name) = (text(recipient, "department"), text(recipient, "app"), text(category, "category"));
                table.row([department, app, name, first, last, text(category, "decisions")]);
            }
        }
        lines.push(table.render());
        lines.push(String::new());
        for recipient in recipients.iter().filter(|recipient| !list(recipient, "declared_recipients").is_empty()) {
            lines.push(format!(
                "{} may have passed it on to {}, says its activity",
                text(recipient, "department"),
                joined(recipient, "declared_recipients")
            ));
        }
        let departments: BTreeSet<&str> = recipients.iter().filter_map(|r| r.get("department").and_then(Value::as_str)).collect();
        lines.push(format!("{} apps in {} departments received data", recipients.len(), departments.len()));
    }
    lines.push(format!("this search is entry {} · --format json", text(found, "entry")));
    lines.join("\n")
}
