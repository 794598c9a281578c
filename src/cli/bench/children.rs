//! The stacks under test as processes of their own, and what the kernel says they used.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::others::Other;
use super::serve::Stack;

/// What a child prints when it serves.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Addresses {
    pub(super) plain: SocketAddr,
    pub(super) tls: Option<SocketAddr>,
}

/// A serving process. It ends when its standard input is closed, so that it never outlives this one; one of others is ended.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: &'static str,
    pub(super) addresses: Addresses,
    process: std::process::Child,
    ticks_per_second: u32,
    is_foreign: bool,
}

/// What the figures of another proxy are called.
const BESIDE: &str = "beside";

/// CPU time of a process, user and system of all its threads, and its resident memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) rss_kib: u64,
}

impl Usage {
    pub(super) fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(before.cpu), rss_kib: self.rss_kib }
    }
}

impl Child {
    pub(super) fn start(stack: Stack, dir: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "--serve", stack.as_str(), "--upstream", &upstream.to_string(), "--world"]).arg(dir);
        Self::spawn(command, stack.as_str(), dir)
    }

    /// A proxy of others.
    pub(super) fn beside(program: &Path, dir: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg(upstream.to_string());
        Self::spawn(command, BESIDE, dir)
    }

    fn spawn(mut command: Command, name: &'static str, dir: &Path) -> anyhow::Result<Self> {
        let trace = dir.join(format!("{name}.trace"));
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A terminal would be measured, too.
            .stderr(std::fs::File::create(&trace)?)
            .spawn()
            .with_context(|| format!("the {name} does not start"))?;
        let mut line = String::new();
        if let Some(out) = process.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let Ok(addresses) = serde_json::from_str(&line) else {
            drop(process.stdin.take());
            let status = process.wait()?;
            let said = std::fs::read_to_string(trace).unwrap_or_default();
            bail!("the {name} does not serve ({status}): {}", said.trim());
        };
        Ok(Self { name, addresses, process, ticks_per_second: ticks_per_second(), is_foreign: false })
    }

    /// A plain proxy of others; `None` where it is not installed.
    pub(super) fn other(other: Other, dir: &Path, upstream: SocketAddr) -> anyhow::Result<Option<Self>> {
        let started = other.start(dir, upstream)?;
        Ok(started.map(|(process, plain)| {
            let addresses = Addresses { plain, tls: None };
            Self { name: other.name, addresses, process, ticks_per_second: ticks_per_second(), is_foreign: true }
        }))
    }

    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        usage_of(&self.process.id().to_string(), self.ticks_per_second)
    }
}

/// Of this process.
pub(super) fn own_usage() -> anyhow::Result<Usage> {
    usage_of("self", ticks_per_second())
}

fn usage_of(process: &str, ticks_per_second: u32) -> anyhow::Result<Usage> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}"));
    let ticks = cpu_ticks(&read("stat")?).context("`/proc/<pid>/stat` is not as proc(5) says")?;
    let rss_kib = rss_kib(&read("status")?).context("the stack under test has ended")?;
    Ok(Usage { cpu: Duration::from_secs(ticks) / ticks_per_second, rss_kib })
}

impl Drop for Child {
    fn drop(&mut self) {
        // A gateway closes its log when its standard input is closed.
        drop(self.process.stdin.take());
        if self.is_foreign
            && let Err(error) = self.process.kill()
        {
            tracing::warn!(%error, "a proxy of others could not be ended");
        }
        if let Err(error) = self.process.wait() {
            tracing::warn!(%error, "a stack under test did not end in order");
        }
    }
}

/// 100 on every Linux of today; asked for all the same.
fn ticks_per_second() -> u32 {
    let told = Command::new("getconf").arg("CLK_TCK").output().ok();
    let told = told.and_then(|out| String::from_utf8(out.stdout).ok()).and_then(|text| text.trim().parse().ok());
    told.filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// `utime` + `stime`: fields 14 and 15; the command's name in parentheses may hold blanks.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

fn rss_kib(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_as_proc_5_says() {
        let stat = "4711 (a (strange) name) S 1 4711 4711 0 -1 4194560 1200 0 0 0 250 50 0 0 20 0 9 0 1 1 1 18446744073709551615";
        assert_eq!(Some(300), cpu_ticks(stat));
        assert_eq!(None, cpu_ticks("4711 (x) S 1"));
        assert_eq!(Some(41_236), rss_kib("VmPeak:\t  9 kB\nVmRSS:\t   41236 kB\n"));
        assert_eq!(None, rss_kib("VmPeak:\t  9 kB\n"));
    }
}
