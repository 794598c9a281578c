//! `consentry policy …`: the policy folder alone, without configuration.

mod check;
mod coverage;
mod fmt;
mod model;
mod prove;
mod replay;
mod shadow;
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
    Test(test::TestArgs),
    Replay(replay::ReplayArgs),
    /// A candidate folder beside the active one in the running gateway; nothing of it is enforced.
    #[command(subcommand)]
    Shadow(shadow::ShadowCommand),
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
            Self::Test(args) => args.execute(output),
            Self::Replay(args) => args.execute(output),
            Self::Shadow(command) => command.execute(output),
        }
    }
}
