//! `consentry run`: the gateway, until it is told to stop.

use std::io::IsTerminal as _;

use tokio::signal::unix::{SignalKind, signal};

use super::{ConfigArg, Exit, Failure, Output};
use crate::clock::SystemClock;
use crate::gateway::{self, Inherited, StartError, service};
use crate::telemetry;

/// Runs the gateway until SIGTERM or Ctrl-C; SIGHUP reloads.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry run --config /etc/consentry/consentry.toml")]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// What is traced to stderr: a level, or directives such as `info,consentry::gateway=debug`.
    #[arg(long, env = "CONSENTRY_TRACE", default_value = "info", value_name = "FILTER")]
    pub trace: String,
}

impl RunArgs {
    pub(super) fn execute(&self, _output: &Output) -> Result<Exit, Failure> {
        telemetry::start_tracing(&self.trace, !std::io::stderr().is_terminal());
        // While this is the only thread.
        let inherited = Inherited::take().map_err(|error| failure(&error))?;
        runtime()?.block_on(async {
            let told_to_stop = stop_signals()?;
            let running = gateway::start_on(&self.config.config, SystemClock::shared(), inherited).await.map_err(|error| failure(&error))?;
            service::ready(running.shared().generation());
            told_to_stop.await;
            service::stopping();
            running.shutdown().await;
            Ok(Exit::Done)
        })
    }
}

/// The runtime of commands that serve.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| Failure::new(Exit::Internal, format!("no runtime: {error}")))
}

/// Why the gateway did not start, with the exit code of its kind.
pub(super) fn failure(error: &StartError) -> Failure {
    let exit = match error {
        StartError::Config(_) | StartError::Build(_) | StartError::Bundle(_) | StartError::Inherited(_) => Exit::Invalid,
        StartError::Audit(_) | StartError::Witness(_) | StartError::Consent(_) | StartError::Listen { .. } => Exit::Unavailable,
    };
    Failure::new(exit, error.to_string())
}

/// Ctrl-C, or the signal by which a service is stopped: noticed from now on, so that one that comes during a start ends it in order.
pub(super) fn stop_signals() -> Result<impl Future<Output = ()>, Failure> {
    let notice = |kind| signal(kind).map_err(|error| Failure::new(Exit::Internal, format!("signals cannot be waited for: {error}")));
    let (mut interrupt, mut terminate) = (notice(SignalKind::interrupt())?, notice(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// The same from when it is first waited for.
pub(super) async fn interrupted() -> Result<(), Failure> {
    stop_signals()?.await;
    Ok(())
}
