//! What each step of a request costs by itself: the gateway's own steps over the bench's own request, in this process, so that
//! nothing else is in the figures.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use http::HeaderValue;
use serde_json::{Value, json};

use super::children::{Usage, own_usage};
use super::tenth;
use super::upstream::{Upstream, What, sample};
use super::world::{PURPOSE, World};
use crate::clock::SystemClock;
use crate::gateway::steps::{Sample, Step, Steps};

/// Repetitions between two looks at the clock.
const LOOP: u32 = 640;

/// CPU time of one step.
#[derive(Debug)]
pub(super) struct Cost {
    pub(super) step: &'static str,
    pub(super) cpu_us: f64,
}

impl Cost {
    pub(super) fn json(&self) -> Value {
        json!({ "step": self.step, "cpu_us": tenth(self.cpu_us) })
    }
}

/// Takes each step for `each`, one after the other.
pub(super) async fn measure(parent: &Path, upstream: &Upstream, each: Duration) -> anyhow::Result<Vec<Cost>> {
    let world = World::create(parent, upstream.address)?;
    let clock = SystemClock::shared();
    let running = crate::gateway::start(&world.path().join("consentry.toml"), SystemClock::shared()).await?;
    let sample = Sample {
        path: What::Object.paths().into_iter().next().context("nothing to ask")?,
        authorization: world.authorization(),
        purpose: HeaderValue::from_static(PURPOSE),
        body: sample(),
    };
    let steps = Steps::of(running.shared(), sample).await.map_err(|why| anyhow!(why))?;
    let mut costs = Vec::new();
    for step in Step::ALL {
        let take = async || steps.take(step, LOOP).await.map_err(|why| anyhow!("{}: {why}", step.as_str()));
        take().await?;
        let (begin, before) = (clock.monotonic(), own_usage()?);
        let mut taken = 0_u32;
        while clock.monotonic().saturating_sub(begin) < each {
            take().await?;
            taken = taken.saturating_add(LOOP);
        }
        let Usage { cpu, .. } = own_usage()?.since(before);
        costs.push(Cost { step: step.as_str(), cpu_us: cpu.as_secs_f64() * 1e6 / f64::from(taken.max(1)) });
    }
    running.shutdown().await;
    Ok(costs)
}
