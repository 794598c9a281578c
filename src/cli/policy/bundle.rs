//! `consentry policy bundle`: a policy folder as one file that people sign.

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::json;

use super::super::ConfigArg;
use super::super::check::{report_findings, short};
use super::{Exit, Failure, FolderArg, Output, files};
use crate::policy::bundle::{Bundle, BundleError, Wanted};

/// Makes a bundle of a policy folder: one file, the same bytes each time, that `tar` can open.
#[derive(Debug, clap::Args)]
#[command(
    disable_version_flag = true,
    after_help = "\
The bundle belongs to the APIs, shapes and id spaces of the gateway's configuration: name it with `--config`.

Example: consentry policy bundle --dir policies --version 8 --expires 2027-01-31T00:00:00Z \\
             --author kim@marketing --replaces active.bundle --config consentry.toml -o next.bundle"
)]
pub(in crate::cli) struct BundleArgs {
    #[command(flatten)]
    folder: FolderArg,
    #[command(flatten)]
    config: ConfigArg,
    /// Counts up with each bundle.
    #[arg(long = "version", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// From then on nothing is decided by it.
    #[arg(long, value_name = "TIME")]
    expires: Timestamp,
    /// Who made the change: `name@department`, as among the allowed signers.
    #[arg(long, value_name = "WHO")]
    author: String,
    /// The active set, a folder or a bundle; without it this is the first.
    #[arg(long, value_name = "OLD")]
    replaces: Option<PathBuf>,
    /// Where the bundle is written.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl BundleArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let refuse = |findings| report_findings(output, &findings, &[], "nothing was bundled");
        let governed = match crate::config::governed_hash(&self.config.config) {
            Ok(hash) => hash,
            Err(findings) => return refuse(findings),
        };
        let replaces = self.replaces.as_deref().map(files::policies).transpose()?.map(|policies| policies.id().to_owned());
        let wanted = Wanted { version: self.number, expires: self.expires, author: self.author.clone(), replaces, governed };
        let bundle = match Bundle::of_folder(&self.folder.dir, wanted).and_then(|bundle| bundle.tested().map(|_| bundle)) {
            Ok(bundle) => bundle,
            Err(BundleError::Policies(findings)) => return refuse(findings),
            Err(error) => return Err(files::broken(&self.folder.dir, &error)),
        };
        fs::write(&self.output, bundle.bytes()).map_err(|error| Failure::usage(format!("cannot write `{}`: {error}", self.output.display())))?;
        let (version, set) = (bundle.manifest.version, &bundle.manifest.set);
        if output.is_json() {
            output.json(&json!({ "version": version, "set": set, "bundle": bundle.digest(), "file": self.output.display().to_string() }))?;
        } else {
            output.line(format!("version {version} · set {} · {} · now sign it: consentry policy sign", short(set), self.output.display()))?;
        }
        Ok(Exit::Done)
    }
}
