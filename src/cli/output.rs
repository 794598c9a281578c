//! How a command talks and ends: human text or JSON on stdout, errors on stderr, and the exit code.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Once;

use clap::builder::PossibleValue;
use serde_json::Value;

use crate::model::{EventFormat, ExportFormat};

/// How a command ended. The numbers are fixed: scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Yes, or done.
    Done = 0,
    /// A check, verification, test or tour failed.
    CheckFailed = 1,
    /// The decision asked about is a deny.
    Denied = 2,
    /// Policies or configuration are invalid.
    Invalid = 3,
    NotFound = 4,
    Usage = 64,
    Internal = 70,
    /// Try again later.
    Unavailable = 75,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command's foreseen failure: what to print and how to exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// Lower case, no full stop, what to do next.
    pub message: String,
}

impl Failure {
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Internal, format!("{error:#}"))
    }
}

/// `--format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Human,
    Json,
    /// Of other systems, for `audit export` alone.
    Export(ExportFormat),
}

impl clap::ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Format; 8] = [
            Format::Human,
            Format::Json,
            Format::Export(ExportFormat::Events(EventFormat::Ocsf)),
            Format::Export(ExportFormat::Events(EventFormat::Cef)),
            Format::Export(ExportFormat::Events(EventFormat::Leef)),
            Format::Export(ExportFormat::Events(EventFormat::Otlp)),
            Format::Export(ExportFormat::Events(EventFormat::Ndjson)),
            Format::Export(ExportFormat::Parquet),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Human => PossibleValue::new("human"),
            Self::Json => PossibleValue::new("json"),
            // Every other command would show them as its own.
            Self::Export(format) => PossibleValue::new(format.as_str()).hide(true),
        })
    }
}

/// Where a command writes.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub format: Format,
    /// Colour only when stdout is a terminal.
    pub is_terminal: bool,
}

impl Output {
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, is_terminal: io::stdout().is_terminal() }
    }

    #[must_use]
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Writes one block of text and a line break.
    ///
    /// # Errors
    /// A closed pipe ends the command quietly; anything else is an internal error.
    pub fn line(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        write_line(&mut io::stdout().lock(), text.as_ref())
    }

    /// Writes one JSON document a line.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn json(&self, value: &Value) -> Result<(), Failure> {
        self.line(value.to_string())
    }

    /// Tells people something beside what the command answers: on stderr, so that stdout stays data.
    pub fn aside(&self, text: impl AsRef<str>) {
        if !self.is_json() {
            // When stderr is closed nobody listens.
            drop(writeln!(io::stderr().lock(), "{}", text.as_ref()));
        }
    }

    /// Writes a document, or what people are told of it.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn answer(&self, document: &Value, human: impl FnOnce() -> String) -> Result<Exit, Failure> {
        if self.is_json() { self.json(document) } else { self.line(human()) }.map(|()| Exit::Done)
    }

    /// A sign of life on a terminal for work of unknown length, hidden elsewhere. Drawn on stderr, so that stdout stays data.
    #[must_use]
    pub fn spinner(&self, what: &'static str) -> indicatif::ProgressBar {
        if !io::stderr().is_terminal() || self.is_json() {
            return indicatif::ProgressBar::hidden();
        }
        let bar = indicatif::ProgressBar::new_spinner().with_message(what);
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        bar
    }

    /// The same for work on so many bytes, which are set as they become known.
    #[must_use]
    pub fn bar(&self, what: &'static str) -> indicatif::ProgressBar {
        let bar = self.spinner(what);
        if !bar.is_hidden() {
            let style = indicatif::ProgressStyle::with_template("{msg} [{bar:30}] {bytes} of {total_bytes}, {eta} left");
            bar.set_style(style.unwrap_or_else(|_bad_template| indicatif::ProgressStyle::default_bar()));
        }
        bar
    }
}

fn write_line(to: &mut impl Write, text: &str) -> Result<(), Failure> {
    match writeln!(to, "{text}").and_then(|()| to.flush()) {
        Ok(()) => Ok(()),
        // The reader has seen enough (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::new(Exit::Done, "")),
        Err(error) => Err(Failure::new(Exit::Internal, format!("cannot write to stdout: {error}"))),
    }
}

/// Says once, whatever the format, what nobody must overlook.
pub(super) fn banner(text: &str) {
    static SAID: Once = Once::new();
    // When stderr is closed nobody listens.
    SAID.call_once(|| drop(writeln!(io::stderr().lock(), "{text}")));
}

/// Prints a failure to stderr. A failure without a message is silent.
pub(super) fn complain(failure: &Failure) {
    if !failure.message.is_empty() {
        // When stderr is closed too, the exit code is all that is left to say.
        drop(writeln!(io::stderr().lock(), "error: {}", failure.message));
    }
}
