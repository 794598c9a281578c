//! `consentry consent receipt`: the signed receipt of an event, to be handed to the person or kept.

use std::path::PathBuf;

use serde_json::Value;

use crate::cli::client::{ServerArgs, query, segment};
use crate::cli::{Exit, Failure, Output};

/// Gives the signed receipt of an event (ISO/IEC TS 27560, Data Privacy Vocabulary).
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ReceiptArgs {
    /// The event's id, from `consent history`: `ev_42`.
    event: String,
    /// A page to read and print; it holds the signed form.
    #[arg(long, group = "form")]
    html: bool,
    /// The signed form alone: a compact JWS, verified with the listener's `/.well-known/jwks.json`.
    #[arg(long, group = "form")]
    jws: bool,
    /// JSON-LD; so without any of these.
    #[arg(long, group = "form")]
    json: bool,
    /// Writes it to a new file instead.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

impl ReceiptArgs {
    pub(in crate::cli) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let format = match (self.html, self.jws) {
            (true, _) => "html",
            (_, true) => "jws",
            (false, false) => "json",
        };
        let path = format!("/v1/consents/{}/receipt{}", segment(&self.event), query(&[("format", Some(format.to_owned()))]));
        let bytes = self.server.connect()?.fetch(&path)?;
        let unreadable = || Failure::new(Exit::Internal, "the receipt came in an unknown form; is this the admin listener?");
        let mut text = String::from_utf8(bytes.to_vec()).map_err(|_not_text| unreadable())?;
        if format == "json" && !output.is_json() {
            let document: Value = serde_json::from_str(&text).map_err(|_not_json| unreadable())?;
            text = format!("{document:#}");
        }
        let Some(file) = &self.out else { return output.line(text.trim_end()).map(|()| Exit::Done) };
        write_new(file, &text)?;
        output.line(format!("receipt of {} · {format} · {}", self.event, file.display()))?;
        Ok(Exit::Done)
    }
}

/// A receipt holds personal data: only its owner reads the file, and none is overwritten.
fn write_new(file: &std::path::Path, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let created = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = created.and_then(|mut open| open.write_all(text.as_bytes()));
    written.map_err(|error| Failure::usage(format!("cannot write `{}`: {error}; name a new file", file.display())))
}
