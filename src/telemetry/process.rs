//! What the process takes, under the names that every Prometheus client uses. Read from `/proc` when somebody asks; where it
//! cannot be read, it is not told.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Ticks of a second in `/proc/self/stat`: of the interface, whatever the kernel counts in.
const TICKS: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&read("stat")) {
            let counter = ConstCounter::new(seconds);
            let help = "Time of all processors, in the program and in the kernel for it";
            counter.encode(encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), counter.metric_type())?)?;
        }
        let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: Option<u64>| match value.and_then(|v| i64::try_from(v).ok()) {
            None => Ok(()),
            Some(value) => {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)
            }
        };
        gauge("process_resident_memory", "Memory that is not swapped out", Some(Unit::Bytes), resident_bytes(&read("status")))?;
        gauge("process_open_fds", "Open files, sockets included", None, open_files())?;
        gauge("process_max_fds", "Files that may be open", None, files_max(&read("limits")))
    }
}

/// Fields are counted behind the name, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u32>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some((f64::from(user) + f64::from(system)) / TICKS)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let kib: u64 = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

fn open_files() -> Option<u64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    // Without the folder itself, which is open while it is listed.
    u64::try_from(listed.saturating_sub(1)).ok()
}

fn files_max(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_where_they_stand() {
        let stat = "42 (a) name) S 1 42 42 0 -1 4194560 5 0 0 0 250 150 0 0 20 0 9 0 1 1 1";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t   2048 kB\n"), Some(2048 * 1024));
        assert_eq!(files_max("Limit  Soft  Hard\nMax open files            1024                 4096                 files\n"), Some(1024));
        assert_eq!((cpu_seconds(""), resident_bytes(""), files_max("Max open files unlimited unlimited files")), (None, None, None));
    }

    #[test]
    fn this_process_is_told_of() {
        let text = super::super::Metrics::new().render();
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"] {
            let value: f64 = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))?.parse().ok()).unwrap();
            assert!(value > 0.0 || name.contains("cpu"), "{name} {value}");
        }
    }
}
