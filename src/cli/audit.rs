//! `consentry audit`: the decision log, through the admin listener or from the files of a stopped gateway.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::{ServerArgs, query, segment};
use super::export::{self, ExportArgs};
use super::proof::{self, CheckArgs, ProofArgs, TilesArgs};
use super::table::Table;
use super::text::{joined, list, number, text, time};
use super::witness::WitnessArgs;
use super::{Exit, Failure, Output};
use crate::audit::{self, Query};
use crate::clock::SystemClock;
use crate::console::found_json;
use crate::model::PartyNo;

#[derive(Debug, clap::Subcommand)]
pub(super) enum AuditCommand {
    /// Searches decisions: who accessed whose data, why, on which consent. The search itself is logged.
    #[command(after_help = "Example: consentry audit search --customer crm:0044 --since 30d")]
    Search(SearchArgs),
    /// Shows one decision with all its entries.
    #[command(after_help = "Example: consentry audit show gw-fra-1.example.com#88120")]
    Show(ShowArgs),
    /// Checks that the log still says what it said: every entry, the tree, the signed checkpoint.
    #[command(after_help = "Example: consentry audit verify /var/lib/consentry/log --key gw-fra-1.vkey")]
    Verify(VerifyArgs),
    /// Proves that an entry is in the log: a C2SP tlog-proof that holds the entry.
    #[command(after_help = "Example: consentry audit proof gw-fra-1.example.com#88120 --out 88120.tlog-proof")]
    Proof(ProofArgs),
    /// Checks a proof without a gateway: an auditor's, or the receipt that an app got.
    #[command(after_help = "Example: consentry audit check 88120.tlog-proof --key gw-fra-1.vkey")]
    Check(CheckArgs),
    /// Writes the log as C2SP tlog-tiles: files that any web server can offer, and others' tools can verify.
    #[command(after_help = "Example: consentry audit tiles /var/lib/consentry/log --out /srv/tiles")]
    Tiles(TilesArgs),
    /// Writes the log as events for a SIEM: one for each decision, once it is over, and one for each other entry.
    ///
    /// Formats: `ocsf` (API Activity, 1.5.0), `cef`, `leef` (2.0), `otlp` (logs, one request a line) and `ndjson`. A gateway does the same by
    /// itself, from where it stopped, to each of `[[audit.export]]`.
    #[command(after_help = "Example: consentry audit export --format ocsf --offline /var/lib/consentry/log --since 24h --out decisions.jsonl")]
    Export(ExportArgs),
    #[command(
        after_help = "Example: consentry audit witness --dir /var/lib/witness --name witness.example.com --key witness.key --log gw-fra-1.vkey"
    )]
    Witness(WitnessArgs),
}

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
    /// What a break-glass grant was used for.
    #[arg(long, value_name = "GRANT")]
    grant: Option<String>,
    /// A decision: `<origin>#<index>` or its index.
    #[arg(long, value_name = "ID")]
    decision: Option<String>,
    /// From then on: a time with offset, or back from now: 30d, 12h, 45m.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The newest so many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
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

/// Where the log is read.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Read the log's files in this folder instead of asking a gateway.
    #[arg(long, value_name = "DIR")]
    pub(super) offline: Option<PathBuf>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// The log's folder.
    dir: PathBuf,
    /// The log's verifier key, kept elsewhere; without it the key beside the log is used.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A checkpoint remembered from before: the log must still contain what it signed.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

impl AuditCommand {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Search(args) => search(output, args),
            Self::Show(args) => show(output, args),
            Self::Verify(args) => verify(output, args),
            Self::Proof(args) => proof::proof(output, args),
            Self::Check(args) => proof::check(output, args),
            Self::Tiles(args) => proof::tiles(output, args),
            Self::Export(args) => export::export(output, args),
            Self::Witness(args) => args.execute(output),
        }
    }
}

/// Reads `<origin>#<index>`, `#<index>` or `<index>`; without an origin it is `-`, the log that is asked.
pub(super) fn decision_id(text: &str) -> Result<(String, u64), Failure> {
    let (origin, index) = text.rsplit_once('#').unwrap_or(("", text));
    let index =
        index.parse().map_err(|_not_a_number| Failure::usage(format!("`{text}` is not a decision; write `<origin>#<index>` or the index")))?;
    Ok((if origin.is_empty() { "-" } else { origin }.to_owned(), index))
}

/// A time with offset, or so long before now.
pub(super) fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let bad = || Failure::usage(format!("`{text}` is not a time; write `2026-07-24T10:00:00Z`, or `30d`, `12h`, `45m` back from now"));
    let unit = |letter: char, seconds: u64| text.strip_suffix(letter).and_then(|n| n.parse::<u64>().ok()).and_then(|n| n.checked_mul(seconds));
    match unit('d', 86_400).or_else(|| unit('h', 3_600)).or_else(|| unit('m', 60)) {
        Some(seconds) => now.checked_sub(Duration::from_secs(seconds)).map_err(|_too_far| bad()),
        None => text.parse().map_err(|_other| bad()),
    }
}

fn search(output: &Output, args: &SearchArgs) -> Result<Exit, Failure> {
    let now = SystemClock::shared().now();
    let since = args.since.as_deref().map(|text| moment(text, now)).transpose()?;
    let until = args.until.as_deref().map(|text| moment(text, now)).transpose()?;
    let decision = args.decision.as_deref().map(|id| decision_id(id).map(|(_, index)| index)).transpose()?;
    let answer = match &args.place.offline {
        Some(dir) => {
            let limit = usize::try_from(args.limit).ok();
            let query =
                Query { customer: args.party_no.map(PartyNo), app: args.app.clone(), decision, grant: args.grant.clone(), since, until, limit };
            let found = audit::search(dir, &query).map_err(|error| unreadable(dir, &error))?;
            json!({ "decisions": found.iter().map(found_json).collect::<Vec<_>>() })
        }
        None => {
            let params = query(&[
                ("customer", args.customer.clone()),
                ("app", args.app.clone()),
                ("decision", decision.map(|index| index.to_string())),
                ("grant", args.grant.clone()),
                ("since", since.map(|t| t.to_string())),
                ("until", until.map(|t| t.to_string())),
                ("limit", Some(args.limit.to_string())),
            ]);
            args.place.server.connect()?.get(&format!("/v1/decisions{params}"))?
        }
    };
    if output.is_json() {
        output.json(&answer)?;
    } else {
        output.line(render_search(&answer, since, until.unwrap_or(now)))?;
    }
    Ok(Exit::Done)
}

pub(super) fn unreadable(dir: &Path, error: &audit::AuditError) -> Failure {
    Failure::new(if dir.is_dir() { Exit::CheckFailed } else { Exit::NotFound }, format!("cannot read the log in `{}`: {error}", dir.display()))
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
    }
    if answer.get("next").is_some_and(Value::is_string) {
        lines.push("there are more; narrow the time or raise `--limit`".to_owned());
    }
    if let Some(entry) = answer.get("entry").and_then(Value::as_str) {
        lines.push(format!("this search is entry {entry} · --format json"));
    }
    lines.join("\n")
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

fn show(output: &Output, args: &ShowArgs) -> Result<Exit, Failure> {
    let (origin, index) = decision_id(&args.id)?;
    let answer = match &args.place.offline {
        Some(dir) => {
            let shown = audit::show(dir, index).map_err(|error| unreadable(dir, &error))?;
            let shown = shown.ok_or_else(|| Failure::new(Exit::NotFound, format!("no entry {index} in `{}`", dir.display())))?;
            let entries: Vec<Value> = shown.entries.iter().map(|logged| json!({ "index": logged.index, "entry": logged.resolved })).collect();
            json!({ "index": index, "decision": shown.decision.as_ref().map(found_json), "entries": entries })
        }
        None => args.place.server.connect()?.get(&format!("/v1/decisions/{}/{index}", segment(&origin)))?,
    };
    if output.is_json() {
        output.json(&answer)?
    } else {
        output.line(render_show(&answer))?
    }
    Ok(Exit::Done)
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

fn verify(output: &Output, args: &VerifyArgs) -> Result<Exit, Failure> {
    let key = args.key.as_deref().map(proof::read).transpose()?;
    let remembered = args.checkpoint.as_deref().map(proof::read).transpose()?;
    if !args.dir.is_dir() {
        return Err(Failure::new(Exit::NotFound, format!("there is no folder `{}`", args.dir.display())));
    }
    let bar = output.bar("verifying");
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let verified = audit::verify_with(&args.dir, key.as_deref().map(str::trim), remembered.as_deref(), progress);
    bar.finish_and_clear();
    match verified {
        Ok(report) => {
            if output.is_json() {
                output.json(&json!({
                    "ok": true, "origin": report.origin, "entries": report.entries, "root": report.root,
                    "checkpoint_size": report.checkpoint_size, "signed_until": report.signed_until.map(|t| t.to_string()),
                    "unsigned_tail": report.unsigned_tail, "torn_bytes": report.torn_bytes, "segments": report.segments, "own_key": report.own_key,
                }))?;
            } else {
                output.line(render_verified(&report))?;
            }
            Ok(Exit::Done)
        }
        Err(failure) => {
            if output.is_json() {
                let file = failure.file.display().to_string();
                output.json(&json!({ "ok": false, "file": file, "offset": failure.offset, "index": failure.index, "fault": failure.to_string() }))?;
            } else {
                output.line(format!("damaged · {failure}\n\nkeep the folder as it is: it is evidence"))?;
            }
            Ok(Exit::CheckFailed)
        }
    }
}

fn render_verified(report: &audit::VerifyReport) -> String {
    let signed = report.signed_until.map_or_else(|| "nothing".to_owned(), |t| t.to_string());
    let mut lines = vec![format!(
        "ok · {} entries in {} · root {} · signed until {signed}",
        report.entries,
        super::check::count(report.segments, "segment"),
        super::table::cut(&report.root, 16)
    )];
    lines.push(format!("log {} · checkpoint over {} entries, {} after it", report.origin, report.checkpoint_size, report.unsigned_tail));
    if report.torn_bytes > 0 {
        lines.push(format!("{} bytes of an unfinished write at the end: nothing was answered on them", report.torn_bytes));
    }
    if report.own_key {
        lines.push("checked with the key beside the log; `--key` with a copy kept elsewhere also proves which log it is".to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_named_in_full_or_by_index() {
        assert_eq!(decision_id("gw.example.com#12").unwrap(), ("gw.example.com".to_owned(), 12));
        assert_eq!(decision_id("12").unwrap(), ("-".to_owned(), 12));
        assert_eq!(decision_id("#12").unwrap(), ("-".to_owned(), 12));
        for bad in ["", "gw#", "gw#x", "#-1", "gw#1 "] {
            assert_eq!(decision_id(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn moments_are_times_or_spans_back_from_now() {
        let now: Timestamp = "2026-07-25T00:00:00Z".parse().unwrap();
        assert_eq!(moment("30d", now).unwrap().to_string(), "2026-06-25T00:00:00Z");
        assert_eq!(moment("12h", now).unwrap().to_string(), "2026-07-24T12:00:00Z");
        assert_eq!(moment("2026-07-01T00:00:00+02:00", now).unwrap().to_string(), "2026-06-30T22:00:00Z");
        for bad in ["", "d", "-3d", "yesterday", "2026-07-01", "99999999999999999d"] {
            assert_eq!(moment(bad, now).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

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

    #[test]
    fn verifying_what_is_not_there_exits_with_4() {
        let args = VerifyArgs { dir: PathBuf::from("/nonexistent"), key: None, checkpoint: None };
        assert_eq!(verify(&Output::new(super::super::Format::Json), &args).unwrap_err().exit, Exit::NotFound);
    }
}
