//! `consentry audit`: the decision log, through the admin listener or from the files of a stopped gateway.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::ServerArgs;
use super::export::{self, ExportArgs};
use super::index::IndexArgs;
use super::proof::{self, CheckArgs, ProofArgs, TilesArgs};
use super::prune::PruneArgs;
use super::report::ReportArgs;
use super::search::{self, SearchArgs, ShowArgs};
use super::witness::WitnessArgs;
use super::{ConfigArg, Exit, Failure, Output};
use crate::audit::{self, Log, Rotated};
use crate::clock::SystemClock;
use crate::gateway::{build, log_settings};

#[derive(Debug, clap::Subcommand)]
pub(super) enum AuditCommand {
    /// Searches decisions: who accessed whose data, why, on which consent. The search itself is logged.
    #[command(after_help = "Example: consentry audit search --customer crm:0044 --since 30d")]
    Search(Box<SearchArgs>),
    /// Checks the search index, or builds it anew from the log, with the gateway stopped.
    #[command(after_help = "Example: consentry audit index /var/lib/consentry/log --check")]
    Index(IndexArgs),
    /// Makes a report to hand over: for a customer, an authority, the board.
    #[command(
        after_help = "Example: consentry audit report subject-access --customer crm:0044 --language da --as html --out access.html\n         consentry audit report consent-evidence --event ev_42 --pack ev_42.zip"
    )]
    Report(Box<ReportArgs>),
    /// Shows one decision with all its entries.
    #[command(after_help = "Example: consentry audit show gw-fra-1.example.com#88120")]
    Show(ShowArgs),
    /// Checks that the log still says what it said: every entry, the tree, the signed checkpoint.
    #[command(after_help = "Example: consentry audit verify /var/lib/consentry/log --key gw-fra-1.vkey")]
    Verify(VerifyArgs),
    /// Goes over to `[audit] signing_key` when the log's key before it is lost, with the gateway stopped; the log tells so for ever.
    ///
    /// A key that is not lost needs no command: keep it as `[audit] previous_key` beside the new `signing_key`, and restart. It then signs
    /// for the new one, and whoever keeps its verifier key is led on; after this command nobody is.
    #[command(after_help = "Example: consentry audit replace-lost-key --config /etc/consentry/consentry.toml")]
    ReplaceLostKey(ReplaceLostKeyArgs),
    /// Proves that an entry is in the log: a C2SP tlog-proof that holds the entry.
    #[command(after_help = "Example: consentry audit proof gw-fra-1.example.com#88120 --out 88120.tlog-proof")]
    Proof(ProofArgs),
    /// Checks evidence without a gateway: a proof of an auditor's, the receipt that an app got, or the pack of a consent's evidence.
    #[command(
        after_help = "Example: consentry audit check 88120.tlog-proof --key gw-fra-1.vkey\n         consentry audit check ev_42.zip --key gw-fra-1.vkey --receipt-keys jwks.json"
    )]
    Check(CheckArgs),
    /// Writes the log as C2SP tlog-tiles: files that any web server can offer, and others' tools can verify.
    #[command(after_help = "Example: consentry audit tiles /var/lib/consentry/log --out /srv/tiles")]
    Tiles(TilesArgs),
    /// Writes the log for a SIEM or for analysts: an event for each decision, once it is over, and one for each other entry.
    ///
    /// Formats: `ocsf` (API Activity, 1.5.0), `cef`, `leef` (2.0), `otlp` (logs, one request a line) and `ndjson`. A gateway does the same by
    /// itself, from where it stopped, to each of `[[audit.export]]`. `parquet` is a file for analysts: the members of `ndjson` as columns.
    #[command(
        after_help = "Example: consentry audit export --format ocsf --offline /var/lib/consentry/log --since 24h --out decisions.jsonl\n         consentry audit export --format parquet --offline /var/lib/consentry/log --since 30d --out decisions.parquet"
    )]
    Export(ExportArgs),
    /// Says which entries are past their time by `[audit] retention`, or has the gateway let them go; their hashes stay.
    #[command(after_help = "Example: consentry audit prune --dry-run")]
    Prune(PruneArgs),
    #[command(
        after_help = "Example: consentry audit witness --dir /var/lib/witness --name witness.example.com --key witness.key --log gw-fra-1.vkey"
    )]
    Witness(WitnessArgs),
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
    /// The log's verifier key, kept elsewhere, also one that was replaced since; without it the key beside the log is used.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A checkpoint remembered from before: the log must still contain what it signed.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Write how the log's keys signed for each other: put it behind a verifier key that you keep, an empty line between, and the newer
    /// ones count with it.
    #[arg(long, value_name = "FILE")]
    rotations_out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReplaceLostKeyArgs {
    #[command(flatten)]
    config: ConfigArg,
}

impl AuditCommand {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Search(args) => search::search(output, args),
            Self::Index(args) => args.execute(output),
            Self::Report(args) => args.execute(output),
            Self::Show(args) => search::show(output, args),
            Self::Verify(args) => verify(output, args),
            Self::ReplaceLostKey(args) => replace_lost_key(output, args),
            Self::Proof(args) => proof::proof(output, args),
            Self::Check(args) => proof::check(output, args),
            Self::Tiles(args) => proof::tiles(output, args),
            Self::Export(args) => export::export(output, args),
            Self::Prune(args) => args.execute(output),
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

pub(super) fn unreadable(dir: &Path, error: &impl std::fmt::Display) -> Failure {
    Failure::new(if dir.is_dir() { Exit::CheckFailed } else { Exit::NotFound }, format!("cannot read the log in `{}`: {error}", dir.display()))
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
            if let Some(file) = &args.rotations_out {
                write_rotations(file, &report)?;
            }
            if output.is_json() {
                output.json(&json!({
                    "ok": true, "origin": report.origin, "entries": report.entries, "root": report.root,
                    "checkpoint_size": report.checkpoint_size, "signed_until": report.signed_until.map(|t| t.to_string()),
                    "unsigned_tail": report.unsigned_tail, "torn_bytes": report.torn_bytes, "segments": report.segments, "pruned": report.pruned, "own_key": report.own_key,
                    "key": report.key, "followed": report.followed, "rotations": report.rotations.iter().map(rotation_json).collect::<Vec<_>>(),
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

fn rotation_json(rotated: &Rotated) -> Value {
    json!({ "index": rotated.index, "from": rotated.from, "to": rotated.to, "signed": rotated.note.is_some() })
}

/// What leads to the newest key; what stands before a key that was lost leads nobody.
fn write_rotations(file: &Path, report: &audit::VerifyReport) -> Result<(), Failure> {
    let since = report.rotations.iter().rposition(|rotated| rotated.note.is_none()).map_or(0, |lost| lost + 1);
    let notes: Vec<&str> = report.rotations.iter().skip(since).filter_map(|rotated| rotated.note.as_deref()).collect();
    std::fs::write(file, notes.join("\n")).map_err(|error| Failure::new(Exit::Internal, format!("cannot write `{}`: {error}", file.display())))
}

fn replace_lost_key(output: &Output, args: &ReplaceLostKeyArgs) -> Result<Exit, Failure> {
    let (config, _) = build::load(&args.config.config).map_err(|findings| Failure::new(Exit::Invalid, findings.to_string()))?;
    let replaced = Log::replace_lost_key(log_settings(&config), SystemClock::shared());
    let recovery = replaced.map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
    let before = recovery.replaced.unwrap_or_default();
    output.answer(&json!({ "before": before, "key": recovery.vkey }), || {
        format!(
            "the log is signed by another key from entry {} on, and tells for ever that the one before was lost\n\nbefore  {before}\nnow     {}\n\nnobody who keeps the key before is led to this one: hand it out in a way that they trust",
            recovery.entries, recovery.vkey
        )
    })
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
    if report.pruned > 0 {
        lines.push(format!("{} entries are pruned, as signed entries of the log announce; their hashes are in the tree", report.pruned));
    }
    if report.torn_bytes > 0 {
        lines.push(format!("{} bytes of an unfinished write at the end: nothing was answered on them", report.torn_bytes));
    }
    for rotated in &report.rotations {
        lines.push(match &rotated.note {
            Some(_) => format!("key replaced at entry {}, signed by the one before: {} -> {}", rotated.index, rotated.from, rotated.to),
            None => format!(
                "KEY REPLACED AS LOST at entry {}, NOT SIGNED by the one before: {} -> {}; ask its owner whether that was so",
                rotated.index, rotated.from, rotated.to
            ),
        });
    }
    if report.followed {
        lines.push(format!("the key that you gave was replaced since; each has signed for the next, up to the one to keep now: {}", report.key));
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
    fn verifying_what_is_not_there_exits_with_4() {
        let args = VerifyArgs { dir: PathBuf::from("/nonexistent"), key: None, checkpoint: None, rotations_out: None };
        assert_eq!(verify(&Output::new(super::super::Format::Json), &args).unwrap_err().exit, Exit::NotFound);
    }
}
