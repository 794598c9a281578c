//! The gateway of the demo: the real one, started in this process from the files that the demo wrote.

use std::io::{IsTerminal as _, stdout};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::demo::{self, Addresses, DemoArgs, DemoGateway, Explanation, RunningGateway};
use super::run::runtime;
use super::{Exit, Failure, Output};
use crate::clock::SystemClock;
use crate::console::ExplainQuestion;
use crate::gateway::{self, Running};
use crate::telemetry;

/// `consentry demo`.
pub(super) fn execute(args: &DemoArgs, output: &Output) -> Result<Exit, Failure> {
    telemetry::start_tracing("error", false);
    let args = DemoArgs { json: args.json || output.is_json(), ..args.clone() };
    let is_coloured = stdout().is_terminal();
    let went = runtime()?.block_on(demo::run(&args, &RealGateway, &mut stdout(), is_coloured));
    match went {
        Ok(true) => Ok(Exit::Done),
        Ok(false) => Ok(Exit::CheckFailed),
        Err(error) => Err(Failure::new(Exit::Internal, format!("{error:#}"))),
    }
}

#[derive(Debug)]
struct RealGateway;

impl DemoGateway for RealGateway {
    type Running = RealRunning;

    async fn start(&self, config: &Path, parties: &Path) -> anyhow::Result<RealRunning> {
        let running = gateway::start(config, SystemClock::shared()).await?;
        let at = &running.addresses;
        let apps = at.apps.first().map(|(_, address)| *address).context("the demo's configuration has no listener for apps")?;
        let addresses = Addresses {
            apps,
            admin: at.admin.context("the demo's configuration has no admin listener")?,
            capture: at.capture.context("the demo's configuration has no capture listener")?,
            health: at.health.context("the demo's configuration has no health listener")?,
        };
        import(&running, parties).await?;
        Ok(RealRunning { addresses, running })
    }
}

/// Fills the crosswalk as `consentry party import` does.
async fn import(running: &Running, parties: &Path) -> anyhow::Result<()> {
    let file = std::fs::read(parties).with_context(|| format!("cannot read {}", parties.display()))?;
    let (ledger, instance) = (Arc::clone(&running.shared().ledger), running.instance());
    let report = tokio::task::spawn_blocking(move || {
        let normalise = |space: &str, value: &str| instance.identifier(space, value);
        ledger.import_parties(&file, false, &normalise, &mut |_progress| {}, None)
    })
    .await??;
    if !report.errors.is_empty() {
        bail!("the demo's customers could not be imported: {:?}", report.errors);
    }
    Ok(())
}

#[derive(Debug)]
struct RealRunning {
    addresses: Addresses,
    running: Running,
}

impl RunningGateway for RealRunning {
    fn addresses(&self) -> Addresses {
        self.addresses
    }

    async fn explain(&self, decision: &str) -> anyhow::Result<Explanation> {
        let index = decision.rsplit_once('#').and_then(|(_, n)| n.parse().ok()).context("not a decision id")?;
        let question = ExplainQuestion::Decision { index, consent_state: true };
        let told = self.running.instance().explain(&question).map_err(|problem| anyhow::anyhow!("{}", problem.to_json()))?;
        let field = |name: &str| told.document.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        Ok(Explanation { outcome: field("outcome"), because: field("because"), text: told.text })
    }

    async fn shutdown(self) -> anyhow::Result<()> {
        self.running.shutdown().await;
        Ok(())
    }
}
