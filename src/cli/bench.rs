//! `consentry bench`: the whole gateway beside a bare pass-through.

use super::{Exit, Failure, Output};

/// Measures the gateway beside a bare pass-through built from the same parts, on loopback.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry bench --json")]
pub(super) struct BenchArgs {
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

impl BenchArgs {
    pub(super) fn execute(&self, _output: &Output) -> Result<Exit, Failure> {
        Err(Failure::new(Exit::Internal, "cannot measure: the gateway is not in this build"))
    }
}
