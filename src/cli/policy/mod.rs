//! `consentry policy …`: the policy folder alone, without configuration.

mod check;
mod test;

use std::path::PathBuf;

use super::{Exit, Failure, Output};

#[derive(Debug, clap::Subcommand)]
pub(super) enum PolicyCommand {
    Check(check::CheckArgs),
    Test(test::TestArgs),
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
            Self::Test(args) => args.execute(output),
        }
    }
}
