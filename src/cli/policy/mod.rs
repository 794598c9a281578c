//! `consentry policy …`: the policy folder, and the signed bundles that are made of it.

mod activate;
mod bundle;
mod check;
mod coverage;
mod diff;
mod files;
mod fmt;
mod model;
mod prove;
mod replay;
mod shadow;
mod shown;
mod sign;
mod solver;
mod test;

use std::path::PathBuf;

use super::{Exit, Failure, Output};

#[derive(Debug, clap::Subcommand)]
pub(super) enum PolicyCommand {
    Check(check::CheckArgs),
    Model(model::ModelArgs),
    Prove(prove::ProveArgs),
    Fmt(fmt::FmtArgs),
    Replay(replay::ReplayArgs),
    /// A candidate folder beside the active one in the running gateway; nothing of it is enforced.
    #[command(subcommand)]
    Shadow(shadow::ShadowCommand),
    Test(test::TestArgs),
    Diff(diff::DiffArgs),
    Bundle(bundle::BundleArgs),
    Sign(sign::SignArgs),
    Approve(sign::ApproveArgs),
    Status(activate::StatusArgs),
    Activate(activate::ActivateArgs),
}

/// `--dir`, for every command about one folder.
#[derive(Debug, clap::Args)]
struct FolderArg {
    /// The policy folder.
    #[arg(long, default_value = "policies", value_name = "DIR")]
    dir: PathBuf,
}

impl PolicyCommand {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Check(args) => args.execute(output),
            Self::Model(args) => args.execute(output),
            Self::Prove(args) => args.execute(output),
            Self::Fmt(args) => args.execute(output),
            Self::Replay(args) => args.execute(output),
            Self::Shadow(command) => command.execute(output),
            Self::Test(args) => args.execute(output),
            Self::Diff(args) => args.execute(output),
            Self::Bundle(args) => args.execute(output),
            Self::Sign(args) => args.execute(output),
            Self::Approve(args) => args.execute(output),
            Self::Status(args) => args.execute(output),
            Self::Activate(args) => args.execute(output),
        }
    }
}
