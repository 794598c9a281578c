//! `consentry audit report`: what officers hand over.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::audit::{Place, moment, unreadable};
use super::client::{query, segment};
use super::index::opened;
use super::table::{LINE_CHARS_MAX, Table};
use super::text::{list, text};
use super::{Exit, Failure, Output};
use crate::audit::Window;
use crate::clock::SystemClock;
use crate::console::{Asked, Report, offline, report_kinds};

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// subject-access, processing-record, denies, withdrawn, breach, consent-evidence, recipients, break-glass, anomalies,
    /// policy-effect, integrity or erasures.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(report_kinds()))]
    kind: String,
    /// Whom subject-access and recipients are about: `party:<id>` or `<space>:<value>`.
    #[arg(long, required_if_eq_any([("kind", "subject-access"), ("kind", "recipients")]))]
    customer: Option<String>,
    /// Which event consent-evidence is of: `ev_42`.
    #[arg(long, required_if_eq("kind", "consent-evidence"))]
    event: Option<String>,
    /// From then on: a time with offset, or back from now: 30d, 12h, 45m.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only this calling app.
    #[arg(long)]
    app: Option<String>,
    /// Only this department.
    #[arg(long)]
    department: Option<String>,
    /// Only this API.
    #[arg(long)]
    api: Option<String>,
    /// Of subject-access: en or da.
    #[arg(long, value_parser = ["en", "da"])]
    language: Option<String>,
    /// The form to hand over; without it a summary for the terminal.
    #[arg(long = "as", value_enum, value_name = "FORM")]
    form: Option<Form>,
    /// Which of its tables CSV holds; the first without it.
    #[arg(long, requires = "form")]
    table: Option<String>,
    /// Where it is written; standard output without it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Put the proof of each decision that it names there, to hand over beside it.
    #[arg(long, value_name = "DIR", conflicts_with = "offline")]
    proofs: Option<PathBuf>,
    /// Pack consent-evidence with all that proves it into one new file, a ZIP: `consentry audit check FILE` checks it without a gateway.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["form", "table", "out", "proofs", "offline"])]
    pack: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Html,
    Csv,
    Ndjson,
    Json,
}

impl Form {
    const fn word(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Json => "json",
        }
    }
}

impl ReportArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let now = SystemClock::shared().now();
        let time = |text: &Option<String>| text.as_deref().map(|text| moment(text, now)).transpose();
        let window = Window { since: time(&self.since)?, until: time(&self.until)? };
        if let Some(dir) = &self.place.offline {
            let report = self.read_files(output, dir, window, now)?;
            return match self.form {
                None => output.answer(&report.json(), || render(&report.json())),
                Some(form) => self.put(output, &self.formed(&report, form)?),
            };
        }
        if let Some(file) = &self.pack {
            return self.pack(output, file, window);
        }
        let server = self.place.server.connect()?;
        let progress = output.spinner("reading");
        let path = |form: Form| self.path(window, form.word());
        let answered = match (self.form, &self.proofs) {
            (Some(form), None) => Answered::Formed(server.fetch(&path(form))?.to_vec()),
            // Which decisions it names is read from the document.
            (form, proofs) => {
                let document = server.get(&path(Form::Json))?;
                if let Some(dir) = proofs {
                    self.prove(output, &document, dir)?;
                }
                match form {
                    Some(form) => Answered::Formed(server.fetch(&path(form))?.to_vec()),
                    None => Answered::Document(document),
                }
            }
        };
        progress.finish_and_clear();
        match answered {
            Answered::Formed(bytes) => self.put(output, &String::from_utf8_lossy(&bytes)),
            Answered::Document(document) => output.answer(&document, || render(&document)),
        }
    }

    fn read_files(&self, output: &Output, dir: &Path, window: Window, now: Timestamp) -> Result<Report, Failure> {
        let index = opened(output, dir)?;
        let made = Some((now, index.entries()));
        let asked = Asked { window, app: self.app.clone(), department: self.department.clone(), api: self.api.clone(), made };
        let progress = output.spinner("reading");
        let report = offline(&index, &self.kind, &asked, now).map_err(|error| unreadable(dir, &error))?;
        progress.finish_and_clear();
        report.ok_or_else(|| Failure::usage(format!("`{}` needs what only a running gateway knows; leave out `--offline`", self.kind)))
    }

    /// What proves a consent, in a file that is its owner's alone: it holds what the person said.
    fn pack(&self, output: &Output, file: &Path, window: Window) -> Result<Exit, Failure> {
        if self.kind != "consent-evidence" {
            return Err(Failure::usage(format!(
                "`--pack` is for consent-evidence; of `{}` write `--as html --out FILE` and `--proofs DIR`",
                self.kind
            )));
        }
        if file.exists() {
            return Err(Failure::usage(format!("`{}` is there already; name a new file", file.display())));
        }
        let progress = output.spinner("reading and proving");
        let pack = self.place.server.connect()?.fetch(&self.path(window, "zip"))?;
        progress.finish_and_clear();
        let failed = |error: std::io::Error| Failure::new(Exit::Internal, format!("cannot write `{}`: {error}", file.display()));
        let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
        opened.write_all(&pack).and_then(|()| opened.sync_all()).map_err(failed)?;
        output.aside("hand over `log.vkey` and the receipt keys (`/.well-known/jwks.json`) in another way: a pack is checked with them");
        output.answer(&json!({ "report": self.kind, "file": file, "bytes": pack.len() }), || {
            format!("{} · {} bytes · {}", self.kind, pack.len(), file.display())
        })
    }

    fn path(&self, window: Window, form: &str) -> String {
        format!("/v1/reports/{}{}", segment(&self.kind), self.params(window, form))
    }

    fn params(&self, window: Window, form: &str) -> String {
        let at = |time: Option<Timestamp>| time.map(|time| time.to_string());
        query(&[
            ("customer", self.customer.clone()),
            ("event", self.event.clone()),
            ("since", at(window.since)),
            ("until", at(window.until)),
            ("app", self.app.clone()),
            ("department", self.department.clone()),
            ("api", self.api.clone()),
            ("language", self.language.clone()),
            ("format", Some(form.to_owned())),
            ("table", self.table.clone()),
        ])
    }

    fn formed(&self, report: &Report, form: Form) -> Result<String, Failure> {
        Ok(match form {
            Form::Html => report.html(),
            Form::Ndjson => report.ndjson(),
            Form::Json => report.json().to_string(),
            Form::Csv => report
                .csv(self.table.as_deref())
                .ok_or_else(|| Failure::usage(format!("this report has the tables {}", report.table_names().join(", "))))?,
        })
    }

    fn put(&self, output: &Output, formed: &str) -> Result<Exit, Failure> {
        match &self.out {
            Some(file) => {
                std::fs::write(file, formed).map_err(|error| Failure::new(Exit::Internal, format!("cannot write `{}`: {error}", file.display())))?;
                output.answer(&json!({ "report": self.kind, "file": file }), || format!("{} · {}", self.kind, file.display()))
            }
            None => output.line(formed.trim_end()).map(|()| Exit::Done),
        }
    }

    /// A proof holds the hash of its entry only: an entry may name other customers, by their numbers.
    fn prove(&self, output: &Output, document: &Value, dir: &Path) -> Result<(), Failure> {
        let server = self.place.server.connect()?;
        let failed = |error: std::io::Error| Failure::new(Exit::Internal, format!("cannot write to `{}`: {error}", dir.display()));
        std::fs::create_dir_all(dir).map_err(failed)?;
        let rows = list(document, "tables").iter().flat_map(|table| list(table, "rows"));
        let mut indexes: Vec<u64> = rows.filter_map(|row| row.get("decision")?.as_str()?.rsplit_once('#')?.1.parse().ok()).collect();
        indexes.sort_unstable();
        indexes.dedup();
        for index in &indexes {
            let proof = server.fetch(&format!("/v1/decisions/-/{index}/proof?form=receipt"))?;
            std::fs::write(dir.join(format!("{index}.tlog-proof")), &proof).map_err(failed)?;
        }
        output.aside(format!("{} proofs in {} · `consentry audit check FILE --key LOG.vkey` checks each", indexes.len(), dir.display()));
        Ok(())
    }
}

enum Answered {
    Formed(Vec<u8>),
    Document(Value),
}

/// What a terminal is shown of a table: rows, columns in a line, and rows of tables with more columns.
const ROWS_SHOWN_MAX: usize = 40;
const COLUMNS_SHOWN_MAX: usize = 10;
const BLOCKS_SHOWN_MAX: usize = 10;

fn render(document: &Value) -> String {
    let mut lines = vec![format!("{} · {}", text(document, "title"), text(document, "lead")), String::new()];
    lines.extend(list(document, "facts").iter().map(|fact| format!("{:<22}{}", text(fact, "label"), text(fact, "text"))));
    for table in list(document, "tables") {
        let rows = list(table, "rows");
        lines.extend([String::new(), text(table, "title")]);
        if rows.is_empty() {
            lines.push("none".to_owned());
            continue;
        }
        let columns = list(table, "columns");
        if columns.len() > COLUMNS_SHOWN_MAX {
            lines.extend(rows.iter().take(BLOCKS_SHOWN_MAX).flat_map(|row| block(columns, row)));
            lines.extend(more(rows.len(), BLOCKS_SHOWN_MAX));
            continue;
        }
        let labels: Vec<String> = columns.iter().map(|column| text(column, "key")).collect();
        let mut shown = Table::new(&labels.iter().map(String::as_str).collect::<Vec<_>>());
        for row in rows.iter().take(ROWS_SHOWN_MAX) {
            shown.row(columns.iter().map(|column| cell(row.get(text(column, "key")))));
        }
        lines.push(shown.render());
        lines.extend(more(rows.len(), ROWS_SHOWN_MAX));
    }
    lines.push(String::new());
    lines.extend(list(document, "notes").iter().filter_map(Value::as_str).map(wrapped));
    lines.join("\n")
}

fn more(rows: usize, shown: usize) -> Option<String> {
    (rows > shown).then(|| format!("{} more: `--as html` or `--as csv` has them all", rows - shown))
}

/// A row with too many cells for a line: what stands in it, one below another.
fn block(columns: &[Value], row: &Value) -> Vec<String> {
    let filled = columns.iter().filter_map(|column| {
        let value = row.get(text(column, "key")).filter(|value| !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty()))?;
        Some(format!("  {:<32}{}", text(column, "label"), cell(Some(value))))
    });
    std::iter::once(String::new()).chain(filled).collect()
}

/// At spaces, to the width of a page.
fn wrapped(note: &str) -> String {
    let (mut out, mut width) = (String::new(), 0);
    for word in note.split(' ') {
        let chars = word.chars().count();
        if width > 0 && width + chars >= LINE_CHARS_MAX {
            out.push_str("\n  ");
            width = 2;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += chars;
    }
    out
}

/// One line of visible characters, whatever stands in it.
fn cell(value: Option<&Value>) -> String {
    let plain = match value {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.is_empty() => "–".to_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(" "),
        Some(other) => other.to_string(),
    };
    plain.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
