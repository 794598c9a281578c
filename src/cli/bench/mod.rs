//! `consentry bench`: the whole gateway beside a bare pass-through made of the same listener and the same client pool, on
//! loopback, in one run. What counts is the ratio of CPU time: it is steady where times are not.
//!
//! Each stack runs in a process of its own, so that load driver and upstream are not counted; the two take turns, so that
//! a noisy neighbour hits both. nginx and HAProxy as plain proxies are measured, too, where they are installed. The scenarios:
//!
//! | scenario | pass-through | gateway |
//! |---|---|---|
//! | `proxy` / `+log` | an object of 2 KB, without TLS | the same with everything on |
//! | `list_60k` | a list of 100 customers, 60 KB, without TLS | the same, each row judged and cut |
//! | `tls_h1`, `tls_h2` | the object over TLS, HTTP/1.1 and HTTP/2 | the same with everything on |
//!
//! Everything on: token, purpose, crosswalk, consent, Cedar, three members withheld, strict durable log, trace at `info`. Nothing of
//! that can be switched off, so what each step costs is measured by itself (`steps.rs`).

mod children;
mod load;
mod oracle;
mod others;
mod serve;
mod steps;
mod upstream;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use self::children::{Child, Usage};
use self::load::{Measured, Protocol, Target};
use self::others::OTHERS;
use self::serve::{Serve, Stack};
use self::steps::Cost;
use self::upstream::Upstream;
use self::world::World;
use super::table::Table;
use super::{Exit, Failure, Output};

/// Measures the gateway beside a bare pass-through built from the same parts, on loopback.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry bench --json")]
pub(super) struct BenchArgs {
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// Seconds of load for each scenario and stack.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Kept-alive connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub connections: u16,
    /// Only shows that everything works: a moment of load over few connections.
    #[arg(long)]
    pub smoke: bool,
    /// Another proxy to measure in the same run, without TLS: a program that takes the upstream's address, prints
    /// `{"plain": "ADDRESS"}` and serves there until its standard input is closed.
    #[arg(long, value_name = "PROGRAM")]
    pub beside: Option<PathBuf>,
    /// Measures instead whether callers can tell customers who are unknown, do not agree or were erased apart by answers or their times.
    #[arg(long, conflicts_with = "beside")]
    pub oracle: bool,
    /// Refusals of each kind that are compared.
    #[arg(long, requires = "oracle", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    pub rounds: u32,
    /// Where log and store are written; their disk decides what a durable entry costs. A folder is made in it and removed.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    serve: Serve,
}

/// Turns that the stacks take in a scenario.
const ROUNDS: u32 = 3;
const SMOKE: Duration = Duration::from_millis(300);
const SMOKE_CONNECTIONS: u16 = 4;
const SMOKE_ROUNDS: u32 = 200;

impl BenchArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let runtime = super::run::runtime()?;
        if let Some(stack) = self.serve.stack() {
            return runtime.block_on(serve::serve(stack)).map(|()| Exit::Done).map_err(Failure::from);
        }
        if self.oracle {
            let rounds = if self.smoke { SMOKE_ROUNDS } else { self.rounds };
            let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
            runtime.block_on(oracle::run(&parent, rounds, output, self.json || output.is_json()))?;
            return Ok(Exit::Done);
        }
        let spinner = output.spinner("measuring");
        let (rows, costs) = runtime.block_on(self.measure())?;
        spinner.finish_and_clear();
        if self.json || output.is_json() {
            rows.iter().try_for_each(|row| output.json(&row.json()))?;
            costs.iter().try_for_each(|cost| output.json(&cost.json()))?;
        } else {
            output.line(table(&rows))?;
            output.line("")?;
            output.line(step_by_step(&rows, &costs))?;
        }
        Ok(Exit::Done)
    }

    async fn measure(&self) -> anyhow::Result<(Vec<Row>, Vec<Cost>)> {
        let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let upstream = Upstream::start().await.context("the upstream does not start")?;
        let world = World::create(&parent, upstream.address)?;
        let mut children =
            vec![Child::start(Stack::Passthrough, world.path(), upstream.address)?, Child::start(Stack::Gateway, world.path(), upstream.address)?];
        if let Some(program) = &self.beside {
            children.push(Child::beside(program, world.path(), upstream.address)?);
        }
        for other in OTHERS {
            children.extend(Child::other(other, world.path(), upstream.address)?);
        }
        let (each, connections) = if self.smoke { (SMOKE, SMOKE_CONNECTIONS) } else { (Duration::from_secs(self.seconds), self.connections) };
        let mut rows = Vec::new();
        for scenario in SCENARIOS {
            let targets = children.iter().map(|child| Ok((child, scenario.target(child, &world)?)));
            let targets = targets.collect::<anyhow::Result<Vec<_>>>()?;
            let served = targets.iter().filter_map(|(child, target)| Some((*child, target.as_ref()?)));
            let mut tallies: Vec<_> = served.map(|(child, target)| (child, target, Tally::default())).collect();
            for round in 0..=ROUNDS {
                for (child, target, tally) in &mut tallies {
                    let is_warm_up = round == 0;
                    let time = if is_warm_up { each / 10 } else { each / ROUNDS };
                    let (measured, usage) = load::run(target, connections, time, || child.usage())
                        .await
                        .with_context(|| format!("{} of the {}", scenario.name(child), child.name))?;
                    if !is_warm_up {
                        tally.add(measured, usage);
                    }
                }
            }
            let passthrough = tallies.first().map_or(0.0, |(.., tally)| tally.cpu_us());
            rows.extend(tallies.into_iter().map(|(child, _, tally)| tally.row(scenario.name(child), child.name, passthrough)));
        }
        drop(children);
        let costs = steps::measure(&parent, &upstream, each / 3).await?;
        Ok((rows, costs))
    }
}

/// What is asked, and the names of the figures: of the pass-through, of the gateway.
struct Scenario {
    names: (&'static str, &'static str),
    what: upstream::What,
    /// `None`: without TLS.
    tls: Option<Protocol>,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { names: ("proxy", "+log"), what: upstream::What::Object, tls: None },
    Scenario { names: ("list_60k", "list_60k"), what: upstream::What::List, tls: None },
    Scenario { names: ("tls_h1", "tls_h1"), what: upstream::What::Object, tls: Some(Protocol::Http1) },
    Scenario { names: ("tls_h2", "tls_h2"), what: upstream::What::Object, tls: Some(Protocol::Http2) },
];

impl Scenario {
    fn name(&self, child: &Child) -> &'static str {
        if decides(child) { self.names.1 } else { self.names.0 }
    }

    /// `None`: the stack does not serve it.
    fn target(&self, child: &Child, world: &World) -> anyhow::Result<Option<Target>> {
        let (address, tls) = match (self.tls, child.addresses.tls) {
            (None, _) => (child.addresses.plain, None),
            (Some(protocol), Some(address)) => (address, Some(world.client_tls(protocol)?)),
            (Some(_), None) => return Ok(None),
        };
        Ok(Some(Target {
            address,
            tls,
            protocol: self.tls.unwrap_or(Protocol::Http1),
            paths: self.what.paths(),
            authorization: world.authorization(),
            decided: decides(child),
        }))
    }
}

fn decides(child: &Child) -> bool {
    child.name == Stack::Gateway.as_str()
}

/// The rounds of one stack in one scenario.
#[derive(Default)]
struct Tally {
    time: Duration,
    latencies_us: Vec<u32>,
    cpu: Duration,
    rss_kib: u64,
}

impl Tally {
    fn add(&mut self, measured: Measured, usage: Usage) {
        self.time += measured.time;
        self.latencies_us.extend(measured.latencies_us);
        self.cpu += usage.cpu;
        self.rss_kib = self.rss_kib.max(usage.rss_kib);
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests().max(1.0)
    }

    fn requests(&self) -> f64 {
        u32::try_from(self.latencies_us.len()).map_or(f64::from(u32::MAX), f64::from)
    }

    fn row(mut self, scenario: &'static str, stack: &'static str, passthrough_cpu_us: f64) -> Row {
        self.latencies_us.sort_unstable();
        let cpu_us = self.cpu_us();
        Row {
            scenario,
            stack,
            rps: self.requests() / self.time.as_secs_f64().max(f64::EPSILON),
            cpu_us,
            p50_us: quantile(&self.latencies_us, 500),
            p99_us: quantile(&self.latencies_us, 990),
            p999_us: quantile(&self.latencies_us, 999),
            rss_mib: Duration::from_micros(self.rss_kib).as_secs_f64() * 1e6 / 1024.0,
            // A moment of load may be less than a tick of the CPU clock: then there is no ratio.
            ratio: (passthrough_cpu_us > 0.0).then(|| cpu_us / passthrough_cpu_us),
        }
    }
}

/// A sorted list's quantile, in thousandths.
fn quantile(sorted: &[u32], per_mille: usize) -> u32 {
    let at = (sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// One line of the outcome.
#[derive(Debug)]
struct Row {
    scenario: &'static str,
    stack: &'static str,
    rps: f64,
    cpu_us: f64,
    p50_us: u32,
    p99_us: u32,
    p999_us: u32,
    rss_mib: f64,
    ratio: Option<f64>,
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "scenario": self.scenario,
            "stack": self.stack,
            "rps": self.rps.round(),
            "cpu_us_per_request": tenth(self.cpu_us),
            "p50_us": self.p50_us,
            "p99_us": self.p99_us,
            "p999_us": self.p999_us,
            "rss_mib": tenth(self.rss_mib),
            "ratio_to_passthrough": self.ratio.map(|r| (r * 100.0).round() / 100.0),
        })
    }
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new(&["scenario", "stack", "requests/s", "CPU µs/request", "p50 µs", "p99 µs", "p99.9 µs", "RSS MiB", "ratio"]);
    for row in rows {
        table.row([
            row.scenario.to_owned(),
            row.stack.to_owned(),
            format!("{:.0}", row.rps),
            format!("{:.1}", row.cpu_us),
            row.p50_us.to_string(),
            row.p99_us.to_string(),
            row.p999_us.to_string(),
            format!("{:.1}", row.rss_mib),
            row.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
        ]);
    }
    format!("{}\n\nratio: CPU time of the serving process beside the pass-through's in the same scenario and run", table.render())
}

/// How the gateway's CPU time for an object comes about.
fn step_by_step(rows: &[Row], costs: &[Cost]) -> String {
    let of = |scenario| rows.iter().find(|row| row.scenario == scenario && (row.stack == "passthrough" || row.stack == "gateway"));
    let (proxy, whole) = (of("proxy").map_or(0.0, |row| row.cpu_us), of("+log").map_or(0.0, |row| row.cpu_us));
    let mut table = Table::new(&["step", "CPU µs", "so far"]);
    let mut so_far = proxy;
    table.row(["proxy".to_owned(), format!("{proxy:.1}"), format!("{proxy:.1}")]);
    for Cost { step, cpu_us } in costs {
        so_far += cpu_us;
        table.row([(*step).to_owned(), format!("{cpu_us:.1}"), format!("{so_far:.1}")]);
    }
    table.row(["everything".to_owned(), format!("{:.1}", whole - so_far), format!("{whole:.1}")]);
    format!("{}\n\neach step by itself, over and over; the last line is what is between them, and what caches have lost by then", table.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_stay_within_the_list() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!((51, 100, 100), (quantile(&hundred, 500), quantile(&hundred, 990), quantile(&hundred, 999)));
        assert_eq!(7, quantile(&[7], 999));
        assert_eq!(0, quantile(&[], 500));
    }

    #[test]
    fn a_tally_counts_cpu_and_rate_over_all_rounds() {
        let mut tally = Tally::default();
        for _ in 0..2 {
            let measured = Measured { time: Duration::from_secs(1), latencies_us: vec![100; 1000] };
            tally.add(measured, Usage { cpu: Duration::from_millis(60), rss_kib: 2048 });
        }
        let row = tally.row("+log", Stack::Gateway.as_str(), 30.0).json();
        let expected = json!({
            "scenario": "+log", "stack": "gateway", "rps": 1000.0, "cpu_us_per_request": 60.0, "p50_us": 100, "p99_us": 100,
            "p999_us": 100, "rss_mib": 2.0, "ratio_to_passthrough": 2.0,
        });
        assert_eq!(expected, row);
    }

    #[test]
    fn without_a_tick_of_the_clock_there_is_no_ratio() {
        let row = Tally::default().row("proxy", Stack::Passthrough.as_str(), 0.0);
        assert_eq!(Value::Null, row.json()["ratio_to_passthrough"]);
    }
}
