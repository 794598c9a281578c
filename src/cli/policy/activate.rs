//! `consentry policy status` and `activate`: what a gateway decides by, what a bundle lacks, and putting it to work.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::check::short;
use super::super::client::{Send, ServerArgs};
use super::files::{self, Signed};
use super::sign::compared;
use super::{Exit, Failure, Output, diff};
use crate::clock::SystemClock;
use crate::policy::bundle::{Approvals, Signers};

/// Shows the active bundle, or what a bundle still needs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without `--allowed-signers` the running gateway is asked. Exit code 1: signatures are missing, 3: the bundle is broken or refused.

Example: consentry policy status --server https://127.0.0.1:9901
         consentry policy status next.bundle --against active.bundle --allowed-signers approvers")]
pub(in crate::cli) struct StatusArgs {
    /// A bundle; without it the active one is shown.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The set that the bundle replaces, a folder or a bundle; only for the first there is none.
    #[arg(long, value_name = "OLD", requires = "allowed_signers")]
    against: Option<PathBuf>,
    /// Judge here, by these keys, and ask no gateway.
    #[arg(long, value_name = "FILE", requires = "file")]
    allowed_signers: Option<PathBuf>,
    /// Departments that approve what opens something, at least.
    #[arg(long, value_name = "N", default_value_t = 1)]
    departments_min: usize,
    #[command(flatten)]
    server: ServerArgs,
}

impl StatusArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        match (&self.file, &self.allowed_signers) {
            (Some(file), Some(signers)) => self.here(output, file, signers),
            (Some(file), None) => shown(output, &ask(&self.server, "/v1/policy-bundle:check", &Signed::read(file)?)?, "would be taken"),
            (None, _) => shown(output, &self.server.connect()?.get("/v1/policy-bundle")?, "active"),
        }
    }

    fn here(&self, output: &Output, file: &std::path::Path, signers: &std::path::Path) -> Result<Exit, Failure> {
        let signed = Signed::read(file)?;
        let (difference, new) = compared(file, &signed, self.against.as_deref())?;
        let signers = Signers::load(signers).map_err(|findings| Failure::new(Exit::Invalid, findings.to_string()))?;
        let (now, need) = (SystemClock::shared().now(), difference.need());
        let approvals = Approvals::of(&signed.bundle, &signed.signatures, &signers, now, new.vocabulary(), &need);
        let approvals = approvals.map_err(|error| files::broken(file, &error))?;
        let missing = approvals.missing(&need, self.departments_min);
        let (manifest, is_over) = (&signed.bundle.manifest, now >= signed.bundle.manifest.expires);
        if output.is_json() {
            output.json(&json!({
                "version": manifest.version, "expired": is_over, "author_signed": approvals.author_signed, "missing": missing.to_string(),
                "approved_by": approvals.by.values().flatten().collect::<Vec<_>>(), "difference": diff::document(&difference),
            }))?;
        } else {
            output.line(diff::text(&difference, &new))?;
            for who in approvals.by.values().flatten() {
                output.line(format!("signed   {who}"))?;
            }
            for ignored in &approvals.ignored {
                output.line(format!("ignored  {}: {}", ignored.fingerprint, ignored.why))?;
            }
            output.line(format!("version {} · missing: {missing}{}", manifest.version, if is_over { " · it has run out" } else { "" }))?;
        }
        Ok(if is_over {
            Exit::Invalid
        } else if missing.is_nothing() {
            Exit::Done
        } else {
            Exit::CheckFailed
        })
    }
}

/// Puts a signed bundle to work on a running gateway, which verifies everything itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The caller is a `policy-approver`. Exit code 1: signatures are missing, 3: the bundle is broken or refused; the active one stays.

Example: consentry policy activate next.bundle --server https://127.0.0.1:9901")]
pub(in crate::cli) struct ActivateArgs {
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

impl ActivateArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        shown(output, &ask(&self.server, "/v1/policy-bundle:activate", &Signed::read(&self.file)?)?, "active")
    }
}

fn ask(server: &ServerArgs, path: &str, signed: &Signed) -> Result<Value, Failure> {
    let body = json!({ "bundle": STANDARD.encode(signed.bundle.bytes()), "signatures": signed.signatures }).to_string();
    // In bulk: comparing large sets may take the gateway longer than an answer usually does.
    server.connect()?.call(&http::Method::POST, path, Send::Bulk { content_type: "application/json", bytes: body.as_bytes() })
}

fn shown(output: &Output, document: &Value, state: &str) -> Result<Exit, Failure> {
    if output.is_json() {
        output.json(document)?;
        return Ok(Exit::Done);
    }
    let text = |member: &str| document.get(member).and_then(Value::as_str).unwrap_or("–");
    let list = |member: &str| {
        let names = document.get(member).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        names.collect::<Vec<_>>().join(", ")
    };
    let is_stale = document.get("stale").and_then(Value::as_bool).unwrap_or(false);
    output.line(format!(
        "version {} · {} · set {} · {} {} · by {} · approved by {}",
        document.get("version").unwrap_or(&Value::Null),
        if is_stale { "run out: nothing is decided" } else { state },
        short(text("set")),
        if is_stale { "ran out at" } else { "runs out at" },
        text("expires"),
        text("author"),
        list("approved_by"),
    ))?;
    Ok(Exit::Done)
}
