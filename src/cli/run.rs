//! `consentry run`: the gateway.

use super::{ConfigArg, Exit, Failure, Output};

/// Runs the gateway until SIGTERM; SIGHUP reloads.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry run --config /etc/consentry/consentry.toml")]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArg,
}

impl RunArgs {
    pub(super) fn execute(&self, _output: &Output) -> Result<Exit, Failure> {
        Err(Failure::new(Exit::Internal, format!("cannot run `{}`: the gateway is not in this build", self.config.config.display())))
    }
}
