//! `consentry consent import`: a file of any size, sent to the admin listener piece by piece. The same command goes on where an
//! earlier one stopped: the gateway keeps how far the file, with these options, has come.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use http::Method;
use indicatif::{HumanFloatCount, ProgressBar, ProgressState, ProgressStyle};
use serde_json::{Map, Value, json};

use super::client::{Admin, Send, ServerArgs, query};
use super::text::{list, number, text};
use super::{Exit, Failure, Output};
use crate::consent::{Cutter, ImportError, ImportFormat, Piece};

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The file.
    file: PathBuf,
    /// Say what would be done and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// What the file looks like; without it that is seen from its beginning.
    #[arg(long, value_name = "FORMAT", value_parser = clap::builder::PossibleValuesParser::new(ImportFormat::ALL.iter().map(|f| f.as_str())))]
    from: Option<String>,
    /// Whose midnight a date without a time means: an IANA name, e.g. Europe/Berlin, or an offset, e.g. +02:00.
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    time_zone: Option<String>,
    /// The id space of ids that the file writes without one.
    #[arg(long)]
    space: Option<String>,
    /// What a value of the file is called here, e.g. `purpose:Newsletter=marketing.email`; fields are purpose, category, recipient and
    /// channel, and of consent receipts notice (by `policyUrl`) and termination; may be repeated.
    #[arg(long = "map", value_name = "FIELD:VALUE=NAME")]
    maps: Vec<String>,
    /// A category that a grant covers which names none; may be repeated.
    #[arg(long = "category", value_name = "CATEGORY")]
    categories: Vec<String>,
    /// A department that a grant covers which names none; may be repeated.
    #[arg(long = "recipient", value_name = "DEPARTMENT")]
    recipients: Vec<String>,
    /// The notice of a grant that names none, `<id>@<version>`.
    #[arg(long, value_name = "NOTICE")]
    notice: Option<String>,
    /// Who gave a grant that does not say so; without it such a grant is nobody's own statement and opens nothing.
    #[arg(long, value_name = "AUTHOR", value_parser = ["customer", "guardian"])]
    author: Option<String>,
    /// Where to write every line that was not taken, with its reason, as CSV.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn import(output: &Output, args: &ImportArgs) -> Result<Exit, Failure> {
    let Scan { hash, lines, beginning } = scan(&args.file)?;
    let format = args.from.as_deref().and_then(ImportFormat::parse).unwrap_or_else(|| ImportFormat::of(&beginning));
    let options = options(args, format)?;
    let key = key(&hash, &options);
    let admin = args.server.connect()?;
    let mut run = Run {
        admin: &admin,
        path: format!("/v1/imports/{key}"),
        options,
        dry_run: args.dry_run,
        offset: 0,
        next_line: 1,
        total: Value::Null,
        repeated: 0,
        errors: Vec::new(),
    };
    run.resume()?;
    let file = File::open(&args.file).map_err(|error| unreadable(&args.file, &error))?;
    let mut cutter = Cutter::new(file, format).map_err(|error| unreadable(&args.file, &error))?;
    let bar = progress_bar(output, lines);
    let ended = loop {
        match cutter.next_piece() {
            Ok(Some(piece)) => {
                if let Err(failure) = run.send(piece, cutter.is_array(), format) {
                    break Err(failure);
                }
                bar.set_position(run.next_line.saturating_sub(1).min(lines));
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(unreadable(&args.file, &error)),
        }
    };
    bar.finish_and_clear();
    run.errors.sort_by_key(|error| error.line);
    if let Some(report) = &args.report {
        write_report(report, &run.errors)?;
    }
    ended.map_err(|failure| run.explained(failure))?;
    if output.is_json() {
        output.json(&run.document(args, format, &key))?;
    } else {
        run.print(output, args, format)?;
    }
    let refused = number(&run.total, "refused");
    Ok(if refused == 0 && run.faults() == 0 { Exit::Done } else { Exit::CheckFailed })
}

struct Scan {
    hash: Vec<u8>,
    lines: u64,
    beginning: Vec<u8>,
}

/// Reads the file once: what it is known by, how long it is, how it begins.
fn scan(path: &Path) -> Result<Scan, Failure> {
    let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut hash = digest::Context::new(&digest::SHA256);
    let (mut lines, mut beginning, mut chunk) = (0, Vec::new(), vec![0; CHUNK_BYTES]);
    loop {
        let read = file.read(&mut chunk).map_err(|error| unreadable(path, &error))?;
        let bytes = chunk.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(Scan { hash: hash.finish().as_ref().to_vec(), lines: lines + 1, beginning });
        }
        hash.update(bytes);
        lines += u64::try_from(bytes.iter().filter(|b| **b == b'\n').count()).unwrap_or(0);
        if beginning.is_empty() {
            beginning = bytes.to_vec();
        }
    }
}

/// The parameters of each piece.
fn options(args: &ImportArgs, format: ImportFormat) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut maps = Map::new();
    for map in &args.maps {
        let (from, to) = map.rsplit_once('=').ok_or_else(|| Failure::usage("`--map` is `<field>:<value>=<name>`"))?;
        if maps.insert(from.to_owned(), json!(to)).is_some() {
            return Err(Failure::usage("`--map` names a value twice"));
        }
    }
    let joined = |words: &[String]| (!words.is_empty()).then(|| words.join(" "));
    let given = [
        ("format", Some(format.to_string())),
        ("time_zone", args.time_zone.clone()),
        ("space", args.space.clone()),
        ("map", (!maps.is_empty()).then(|| Value::Object(maps).to_string())),
        ("categories", joined(&args.categories)),
        ("recipients", joined(&args.recipients)),
        ("notice", args.notice.clone()),
        ("author", args.author.clone()),
    ];
    Ok(given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// The SHA-256 of the file's and the options.
fn key(file: &[u8], options: &[(&'static str, String)]) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(file);
    for (name, value) in options {
        hash.update(json!([name, value]).to_string().as_bytes());
    }
    hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One file on its way.
struct Run<'a> {
    admin: &'a Admin,
    path: String,
    options: Vec<(&'static str, String)>,
    dry_run: bool,
    /// How many bytes of the file are recorded.
    offset: u64,
    next_line: u64,
    /// Counts over the whole file.
    total: Value,
    repeated: u64,
    errors: Vec<ImportError>,
}

impl Run<'_> {
    fn resume(&mut self) -> Result<(), Failure> {
        if self.dry_run {
            return Ok(());
        }
        match self.admin.get(&self.path) {
            Ok(progress) => {
                self.offset = number(&progress, "offset");
                self.total = progress.get("done").cloned().unwrap_or_default();
                Ok(())
            }
            Err(failure) if failure.exit == Exit::NotFound => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Sends a piece. What is recorded already is only read once more, so that its mistakes are reported again.
    fn send(&mut self, piece: Piece, is_array: bool, format: ImportFormat) -> Result<(), Failure> {
        let is_done = piece.offset + piece.length <= self.offset;
        let mut params: Vec<(&'static str, Option<String>)> = self.options.iter().map(|(name, value)| (*name, Some(value.clone()))).collect();
        params.push(("line", Some(piece.line.to_string())));
        params.push(("offset", Some(piece.offset.to_string())));
        params.push(("length", Some(piece.length.to_string())));
        params.push(("dry_run", (self.dry_run || is_done).then(|| "true".to_owned())));
        let content_type = match format {
            _ if is_array => "application/json",
            ImportFormat::Csv | ImportFormat::Salesforce => "text/csv",
            ImportFormat::Ndjson | ImportFormat::Jsonld | ImportFormat::Kantara => "application/x-ndjson",
        };
        let path = format!("{}{}", self.path, query(&params));
        let answer = self.admin.call(&Method::POST, &path, Send::Bulk { content_type, bytes: &piece.bytes })?;
        for error in list(&answer, "errors") {
            self.errors.push(ImportError { line: number(error, "line"), message: text(error, "message") });
        }
        self.repeated += u64::try_from(piece.repeated.len()).unwrap_or(u64::MAX);
        self.errors.extend(piece.repeated);
        self.errors.extend(piece.faults);
        if self.dry_run {
            add(&mut self.total, answer.get("piece").unwrap_or(&Value::Null));
        } else if !is_done {
            self.total = answer.get("progress").and_then(|progress| progress.get("done")).cloned().unwrap_or_default();
        }
        self.next_line = piece.next_line;
        Ok(())
    }

    /// Mistakes of the file beside its records.
    fn faults(&self) -> u64 {
        let all = u64::try_from(self.errors.len()).unwrap_or(u64::MAX);
        all.saturating_sub(number(&self.total, "refused")).saturating_sub(self.repeated)
    }

    fn explained(&self, failure: Failure) -> Failure {
        if self.dry_run || failure.exit != Exit::Unavailable {
            return failure;
        }
        let done = grouped(number(&self.total, "records"));
        Failure::new(failure.exit, format!("{}\n{done} records are recorded; run the same command again to go on behind them", failure.message))
    }

    fn document(&self, args: &ImportArgs, format: ImportFormat, key: &str) -> Value {
        let errors: Vec<Value> = self.errors.iter().map(|error| json!({ "line": error.line, "message": error.message })).collect();
        json!({
            "file": args.file.display().to_string(), "format": format.as_str(), "dry_run": self.dry_run, "key": key, "counts": self.total,
            "repeated": self.repeated, "errors": errors,
        })
    }

    fn print(&self, output: &Output, args: &ImportArgs, format: ImportFormat) -> Result<(), Failure> {
        for error in self.errors.iter().take(ERRORS_SHOWN) {
            output.line(format!("{}:{}: {}", args.file.display(), error.line, error.message))?;
        }
        if self.errors.len() > ERRORS_SHOWN {
            let more = grouped(u64::try_from(self.errors.len() - ERRORS_SHOWN).unwrap_or(u64::MAX));
            let place = match &args.report {
                Some(report) => format!("all of them are in `{}`", report.display()),
                None => "write all of them to a file with `--report FILE`".to_owned(),
            };
            output.line(format!("… and {more} more lines; {place}"))?;
        }
        if !self.errors.is_empty() {
            output.line("")?;
        }
        output.line(summary(&self.total, self.repeated, self.dry_run, format))
    }
}

fn summary(total: &Value, repeated: u64, dry_run: bool, format: ImportFormat) -> String {
    let records = number(total, "records") + repeated;
    let head = if dry_run { " · dry run, nothing was changed" } else { "" };
    let count = |member: &str| number(total, member);
    let words = |member: &str| total.get(member).and_then(Value::as_object).cloned().unwrap_or_default();
    let sum = |member: &str| words(member).values().filter_map(Value::as_u64).sum::<u64>();
    let details = |member: &str| {
        let parts: Vec<String> =
            words(member).iter().map(|(word, count)| format!("{} {word}", grouped(count.as_u64().unwrap_or_default()))).collect();
        if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
    };
    let lines = [
        (count("opens"), "grants that open".to_owned()),
        (sum("opens_not"), format!("grants that will not open{}", details("opens_not"))),
        (count("closes"), "refusals and withdrawals".to_owned()),
        (sum("stops"), format!("stops{}", details("stops"))),
        (count("neither"), "neither open nor close".to_owned()),
        (count("known_before"), "were known before".to_owned()),
        (repeated, "repeat an earlier line".to_owned()),
        (count("refused"), "refused".to_owned()),
    ];
    let mut text = format!("{} record{}, {format}{head}", grouped(records), if records == 1 { "" } else { "s" });
    for (count, what) in lines.iter().filter(|(count, _)| *count > 0) {
        text = format!("{text}\n{:>11}  {what}", grouped(*count));
    }
    if count("nobody") > 0 {
        let nobody = grouped(count("nobody"));
        text = format!(
            "{text}\n{nobody} are about ids that nobody is known by yet: stops and refusals will attach, grants will not; import the customers first"
        );
    }
    text
}

/// Adds the counts of a piece.
fn add(total: &mut Value, piece: &Value) {
    match (total, piece) {
        (Value::Object(total), Value::Object(piece)) => {
            for (name, value) in piece {
                add(total.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (total, value) => {
            *total = match (total.as_u64(), value.as_u64()) {
                (Some(sum), Some(count)) => json!(sum + count),
                _ => value.clone(),
            }
        }
    }
}

/// `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn write_report(path: &Path, errors: &[ImportError]) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "line,reason")?;
        for error in errors {
            writeln!(file, "{},\"{}\"", error.line, error.message.replace('"', "\"\""))?;
        }
        file.flush()
    };
    write().map_err(|error| Failure::usage(format!("cannot write `{}`: {error}", path.display())))
}

/// Records, rate and time left on a terminal; hidden elsewhere.
pub(super) fn progress_bar(output: &Output, lines: u64) -> ProgressBar {
    if !io::stderr().is_terminal() || output.is_json() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} lines · {rate}/s · {eta} left");
    let style = style.unwrap_or_else(|_template| ProgressStyle::default_bar());
    ProgressBar::new(lines).with_style(style.with_key("rate", rate))
}

/// Lines a second; a fraction of one tells nobody anything.
fn rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    // A bar that cannot be drawn is no reason to stop.
    write!(out, "{:.0}", HumanFloatCount(state.per_sec())).unwrap_or_default();
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot read `{}`: {error}", path.display()))
}

const CHUNK_BYTES: usize = 64 * 1024;
const ERRORS_SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_tells_what_opens_and_what_does_not() {
        let total = json!({
            "records": 20_000, "opens": 12_345, "opens_not": {"no evidence": 1_000, "no event time": 20}, "closes": 6_000,
            "stops": {"suppression": 12}, "neither": 0, "known_before": 0, "nobody": 3, "refused": 623,
        });
        assert_eq!(
            summary(&total, 2, true, ImportFormat::Csv),
            "20,002 records, csv · dry run, nothing was changed\n     \
             12,345  grants that open\n      \
             1,020  grants that will not open: 1,000 no evidence, 20 no event time\n      \
             6,000  refusals and withdrawals\n         \
             12  stops: 12 suppression\n          \
             2  repeat an earlier line\n        \
             623  refused\n\
             3 are about ids that nobody is known by yet: stops and refusals will attach, grants will not; import the customers first"
        );
    }

    #[test]
    fn counts_of_pieces_add_up() {
        let mut total = Value::Null;
        add(&mut total, &json!({"opens": 1, "stops": {"erasure": 2}}));
        add(&mut total, &json!({"opens": 4, "stops": {"erasure": 3, "legal": 1}}));
        assert_eq!(total, json!({"opens": 5, "stops": {"erasure": 5, "legal": 1}}));
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn the_key_depends_on_the_file_and_every_option() {
        let options = |zone: &str| vec![("format", "csv".to_owned()), ("time_zone", zone.to_owned())];
        let one = key(b"file", &options("UTC"));
        assert_eq!((one.len(), one.clone()), (64, key(b"file", &options("UTC"))));
        assert_ne!(one, key(b"file", &options("+01:00")));
        assert_ne!(one, key(b"other", &options("UTC")));
    }
}
