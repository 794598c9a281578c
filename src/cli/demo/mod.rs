//! `consentry demo`: three sample departmental APIs, a token issuer and the gateway in front of them on free loopback
//! ports, and a tour of requests through it. Everything is real but the customers: TLS, tokens, SQLite, the decision log.

mod client;
mod files;
mod gateway;
mod guide;
mod issuer;
mod judge;
#[cfg(test)]
mod rehearsal;
pub mod sample_apis;
mod serve;
mod show;
mod tour;

use std::io::Write;
use std::path::{Path, PathBuf};

pub use client::{AppClient, Reply};
pub(super) use files::write_policies;
pub use files::{Places, StateDir, free_addresses};
pub use gateway::{Addresses, DemoGateway, Explanation, RunningGateway};
pub use issuer::{Issuer, TokenFor};
pub use serve::Seen;

use crate::cli::certs::TOKEN_KID;
use crate::clock::SystemClock;
use crate::identity::TokenSigner;
use guide::Guide;
use sample_apis::SampleApis;

/// Shows the gateway at work: sample APIs, a token issuer, and a tour of requests with their decisions.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example: consentry demo --once
         consentry demo --once --json | jq 'select(.ok | not)'")]
pub struct DemoArgs {
    /// Exit after the tour: 0 if every step went as the tour says, 1 if not.
    #[arg(long)]
    pub once: bool,
    /// Print the tour as one JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// Where certificates, configuration, consent store and log go. What an earlier demo left there is replaced.
    #[arg(long, value_name = "DIR", default_value = "./demo-state")]
    pub dir: PathBuf,
}

/// Runs the demo; ends after the tour with `--once`, else when it is interrupted. True when every step went as it should.
///
/// # Errors
/// Something could not be started; a step that goes otherwise is no error.
pub async fn run<G: DemoGateway>(args: &DemoArgs, gateway: &G, out: &mut (dyn Write + Send), is_coloured: bool) -> anyhow::Result<bool> {
    let clock = SystemClock::shared();
    let begun = clock.monotonic();
    let shown_dir = args.dir.display().to_string();
    let state = StateDir::create(&args.dir)?;
    let apis = SampleApis::start(state.certs(), state.api_key()).await?;
    let signer = TokenSigner::from_pem(TOKEN_KID, &std::fs::read_to_string(&state.certs().token_key)?)?;
    let issuer = Issuer::start(signer).await?;
    let places = Places {
        gateway: free_addresses()?,
        issuer: issuer.issuer(),
        keys_url: issuer.keys_url(),
        crm: apis.crm,
        sales: apis.sales,
        desk: apis.desk,
    };
    let config = state.write_config(&places)?;
    let running = gateway.start(&config, &state.parties()).await?;
    let ready = clock.monotonic().saturating_sub(begun);
    if !args.json {
        writeln!(out, "{}\n\n{}", show::opening(ready, &shown_dir), show::heading())?;
    }

    let mut guide = Guide::new(&running, &apis, &issuer, &state, clock.clone())?;
    guide.prepare().await?;
    let mut rows = Vec::new();
    while let Some(row) = guide.next().await {
        let line = if args.json { show::json(&row).to_string() } else { show::row(&row, is_coloured) };
        writeln!(out, "{line}")?;
        out.flush()?;
        rows.push(row);
    }
    let took = clock.monotonic().saturating_sub(begun);
    if !args.json {
        writeln!(out, "\n{}", show::closing(&rows, took, &shown_dir))?;
    }

    if !args.once {
        if !args.json {
            writeln!(out, "\n{}", show::serving(running.addresses(), &args.dir, &program()))?;
        }
        out.flush()?;
        interrupted().await?;
    }
    running.shutdown().await?;
    Ok(rows.iter().all(|row| row.complaint.is_none()))
}

/// Ctrl-c, or the signal by which a service is stopped.
async fn interrupted() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt,
        _ = terminate.recv() => Ok(()),
    }
}

/// This program as it can be typed in this folder.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "consentry".to_owned() };
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).map_or_else(|_elsewhere| path.display().to_string(), |inside| Path::new(".").join(inside).display().to_string())
}
