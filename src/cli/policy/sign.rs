//! `consentry policy sign` and `approve`: a person's signature over a bundle, for authors plainly and for approvers after
//! they have seen what it changes.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::check::short;
use super::files::{self, Signed};
use super::shown::Shown;
use super::{Exit, Failure, Output, diff};
use crate::policy::Difference;

/// Signs a bundle with an SSH key; its author does this to show that it is the author's.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The signature is added to FILE.sigs. Where `consentry` is not installed, the same is done by
    ssh-keygen -Y sign -n consentry-policy-bundle -f KEY < FILE >> FILE.sigs

Example: consentry policy sign next.bundle --key ~/.ssh/id_ed25519")]
pub(in crate::cli) struct SignArgs {
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The private key, or the public one of a key that the agent holds.
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
}

impl SignArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let mut signed = Signed::read(&self.file)?;
        sign(output, &mut signed, &self.key)
    }
}

/// Shows what a bundle changes, and signs it after a yes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
`--against` is the active set, a folder or a bundle; the bundle must have been made to replace that one.

Example: consentry policy approve next.bundle --as ~/.ssh/id_ed25519 --against active.bundle --replay replay.json")]
pub(in crate::cli) struct ApproveArgs {
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The approver's key.
    #[arg(long = "as", value_name = "KEY")]
    key: PathBuf,
    /// The active set, a folder or a bundle; only for the first bundle there is none.
    #[arg(long, value_name = "OLD")]
    against: Option<PathBuf>,
    /// The result of `consentry policy replay --format json` for this bundle's set, to be shown.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
}

impl ApproveArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let mut signed = Signed::read(&self.file)?;
        let (difference, new) = compared(&self.file, &signed, self.against.as_deref())?;
        let replay = self.replay.as_deref().map(|file| read_replay(file, new.id())).transpose()?;
        let manifest = &signed.bundle.manifest;
        if output.is_json() {
            output.json(
                &json!({ "version": manifest.version, "author": manifest.author, "difference": diff::document(&difference), "replay": replay.map(|(document, _)| document) }),
            )?;
        } else {
            output.line(format!(
                "version {} by {}, runs out at {}, set {}\n",
                manifest.version,
                manifest.author,
                manifest.expires,
                short(&manifest.set)
            ))?;
            output.line(diff::text(&difference, &new))?;
            if let Some((_, shown)) = &replay {
                output.line(format!("\n{}", shown.text(manifest.replaces.as_deref())))?;
            }
        }
        if !self.yes && !agreed(output)? {
            return Err(Failure::new(Exit::CheckFailed, "nothing was signed"));
        }
        sign(output, &mut signed, &self.key)
    }
}

/// The difference that a bundle makes to the set that it replaces.
pub(super) fn compared(file: &Path, signed: &Signed, against: Option<&Path>) -> Result<(Difference, crate::policy::Policies), Failure> {
    let new = signed.bundle.tested().map_err(|error| files::broken(file, &error))?;
    let old = against.map(files::policies).transpose()?;
    let (said, found) = (signed.bundle.manifest.replaces.as_deref(), old.as_ref().map(crate::policy::Policies::id));
    if said != found {
        let set = |id: Option<&str>| id.map_or_else(|| "no set".to_owned(), |id| format!("the set {}", short(id)));
        let message = format!("the bundle replaces {}, and `--against` names {}; name the one that it replaces", set(said), set(found));
        return Err(Failure::usage(message));
    }
    Ok((Difference::between(old.as_ref(), &new), new))
}

fn sign(output: &Output, signed: &mut Signed, key: &Path) -> Result<Exit, Failure> {
    let fingerprint = signed.sign(key)?.key.fingerprint();
    if output.is_json() {
        output.json(&json!({ "signed": fingerprint, "bundle": signed.bundle.digest() }))?;
    } else {
        output.line(format!("signed version {} with {fingerprint}", signed.bundle.manifest.version))?;
    }
    Ok(Exit::Done)
}

fn agreed(output: &Output) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("approving asks on a terminal; use `--yes` where there is none"));
    }
    output.line("\nsign this? write `yes`:")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| Failure::new(Exit::Internal, format!("cannot read the answer: {error}")))?;
    Ok(line.trim() == "yes")
}

/// A replay of the set `candidate`, as it was written and as it is shown.
fn read_replay(file: &Path, candidate: &str) -> Result<(Value, Shown), Failure> {
    let text = fs::read_to_string(file).map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", file.display())))?;
    let refuse = |why: String| Failure::new(Exit::Invalid, format!("`{}` {why}; nothing was signed", file.display()));
    let document = serde_json::from_str(&text).map_err(|error| refuse(format!("is not one JSON document: {error}")))?;
    let shown = Shown::read(&document, candidate).map_err(refuse)?;
    Ok((document, shown))
}
