//! Requests and connections that are refused before anybody is known. Whoever floods the gateway with them must not flood the
//! log: they are counted, and each second the counts become at most one entry for each listener, reason and network.
//!
//! A network is an IPv4 /24 or an IPv6 /48, never one address. [`NETWORKS_MAX`] of them are told apart; what comes from others
//! is one sum a listener and reason, so that no count is lost and no flood makes more entries than that.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::audit::{Entry, Log};
use crate::telemetry::{Metrics, UnderWay};

/// Rows with a network of their own in one second.
const NETWORKS_MAX: usize = 64;

/// What was refused and is not in the log yet.
#[derive(Debug, Default)]
pub(super) struct Rejects {
    metrics: Metrics,
    pending: Mutex<Pending>,
}

impl Rejects {
    pub(super) fn new(metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { metrics, pending: Mutex::default() })
    }

    /// Those of one listener.
    pub(super) fn of(self: &Arc<Self>, listener: &str) -> ListenerRejects {
        ListenerRejects { all: Arc::clone(self), listener: listener.into() }
    }

    /// Hands the counts to the log, without waiting. What it does not take now, or has no room for beside decisions, is told
    /// together with what comes later.
    pub(super) fn tell(&self, log: &Log) {
        if !log.has_room() {
            return;
        }
        let taken = std::mem::take(&mut *self.lock());
        let mut refused = None;
        for (row, count) in taken.counts {
            let Row { listener, code, network } = row.clone();
            let entry = Entry::Rejects { count, listener, code, network: network.map(|network| network.to_string()) };
            if refused.is_none() {
                refused = log.append_unwaited(entry).err();
            }
            if refused.is_some() {
                self.lock().add(row, count);
            }
        }
        if let Some(error) = refused {
            tracing::warn!(%error, "counts of rejects wait for the log");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts what one listener refuses, and its connections.
#[derive(Clone, Debug)]
pub(crate) struct ListenerRejects {
    all: Arc<Rejects>,
    listener: Arc<str>,
}

impl ListenerRejects {
    pub(super) fn connection(&self) -> UnderWay {
        self.all.metrics.connection(&self.listener)
    }

    /// Nobody is known: by the network from which it came.
    pub(super) fn stranger(&self, code: &'static str, peer: IpAddr) {
        self.count(code, Some(Network::of(peer)));
    }

    /// The caller is known, but nothing can be recorded.
    pub(super) fn unrecorded(&self, code: &'static str) {
        self.count(code, None);
    }

    fn count(&self, code: &'static str, network: Option<Network>) {
        self.all.metrics.rejected(code);
        self.all.lock().add(Row { listener: Arc::clone(&self.listener), code, network }, 1);
    }
}

/// One entry to come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    listener: Arc<str>,
    code: &'static str,
    network: Option<Network>,
}

#[derive(Debug, Default)]
struct Pending {
    counts: BTreeMap<Row, u64>,
    /// How many of them have a network of their own.
    networks: usize,
}

impl Pending {
    fn add(&mut self, mut row: Row, count: u64) {
        let is_own = matches!(row.network, Some(Network::V4(_) | Network::V6(_)));
        if is_own && !self.counts.contains_key(&row) {
            if self.networks < NETWORKS_MAX {
                self.networks += 1;
            } else {
                row.network = Some(Network::Others);
            }
        }
        let sum = self.counts.entry(row).or_default();
        *sum = sum.saturating_add(count);
    }
}

/// From where something came, as far as is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Network {
    V4([u8; 3]),
    V6([u8; 6]),
    /// From networks beyond [`NETWORKS_MAX`].
    Others,
}

impl Network {
    fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, ..] = address.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4([a, b, c]) => write!(out, "{}/24", Ipv4Addr::new(a, b, c, 0)),
            Self::V6([a, b, c, d, e, f]) => write!(out, "{}/48", Ipv6Addr::from([a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            Self::Others => out.write_str("other"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{LogSettings, Mode, Reader, SigningKeySource};
    use crate::clock::SystemClock;

    fn told(rejects: &Rejects) -> Vec<(String, &'static str, Option<String>, u64)> {
        let taken = std::mem::take(&mut *rejects.lock());
        taken.counts.into_iter().map(|(row, n)| (row.listener.to_string(), row.code, row.network.map(|n| n.to_string()), n)).collect()
    }

    #[test]
    fn a_network_is_told_and_never_an_address() {
        for (peer, network) in
            [("192.0.2.77", "192.0.2.0/24"), ("::ffff:192.0.2.77", "192.0.2.0/24"), ("2001:db8:1234:5678::9", "2001:db8:1234::/48"), ("::1", "::/48")]
        {
            assert_eq!(network, Network::of(peer.parse().unwrap()).to_string(), "{peer}");
        }
    }

    #[test]
    fn one_row_for_each_listener_reason_and_network() {
        let rejects = Rejects::new(Metrics::new());
        let (apps, admin) = (rejects.of("apps"), rejects.of("[admin]"));
        for host in 0..=255u8 {
            apps.stranger("unauthenticated", IpAddr::from([192, 0, 2, host]));
        }
        apps.stranger("token-invalid", IpAddr::from([192, 0, 2, 1]));
        admin.stranger("unauthenticated", IpAddr::from([192, 0, 2, 1]));
        apps.unrecorded("audit-unavailable");
        let network = || Some("192.0.2.0/24".to_owned());
        assert_eq!(
            told(&rejects),
            [
                ("[admin]".to_owned(), "unauthenticated", network(), 1),
                ("apps".to_owned(), "audit-unavailable", None, 1),
                ("apps".to_owned(), "token-invalid", network(), 1),
                ("apps".to_owned(), "unauthenticated", network(), 256),
            ]
        );
        assert!(told(&rejects).is_empty(), "taken once");
    }

    #[test]
    fn what_the_log_does_not_take_is_told_with_what_comes_later() {
        let dir = tempfile::tempdir().unwrap();
        let settings = LogSettings {
            dir: dir.path().to_owned(),
            spare_dir: None,
            origin: "gw.example.com".to_owned(),
            signing_key: SigningKeySource::Bytes(vec![7; 32]),
            previous_key: None,
            queue_max: 2,
            segment_bytes: 262_144,
            mode: Mode::Strict,
            seal: true,
        };
        let (log, _) = Log::open(settings, SystemClock::shared()).unwrap();
        let rejects = Rejects::new(Metrics::new());
        let apps = rejects.of("apps");
        for network in 0..50u8 {
            apps.stranger("unauthenticated", IpAddr::from([10, 0, network, 9]));
        }
        // No more fit at once.
        rejects.tell(&log);
        let waiting = || rejects.lock().counts.values().sum::<u64>();
        assert!(waiting() > 0);
        while waiting() > 0 {
            rejects.tell(&log);
        }
        let other = log.clone();
        log.close();
        apps.stranger("unauthenticated", IpAddr::from([10, 0, 0, 9]));
        rejects.tell(&other);
        assert_eq!(1, waiting());
        let entries: Vec<_> = Reader::open(dir.path()).unwrap().map(|logged| logged.unwrap().value).collect();
        let counted: u64 = entries.iter().filter(|entry| entry["kind"] == "rejects").map(|entry| entry["count"].as_u64().unwrap()).sum();
        assert_eq!(50, counted);
    }

    #[test]
    fn a_flood_from_everywhere_is_a_few_rows_and_no_count_is_lost() {
        let rejects = Rejects::new(Metrics::new());
        let apps = rejects.of("apps");
        for network in 0..10_000u16 {
            let [high, low] = network.to_be_bytes();
            apps.stranger("tls-failed", IpAddr::from([10, high, low, 9]));
            apps.stranger("unauthenticated", Ipv6Addr::from([0x2001, 0xdb8, network, 0, 0, 0, 0, 1]).into());
        }
        let told = told(&rejects);
        assert_eq!(NETWORKS_MAX + 2, told.len());
        assert_eq!(20_000, told.iter().map(|(.., count)| count).sum::<u64>());
        let others: Vec<u64> = told.iter().filter(|(_, _, network, _)| network.as_deref() == Some("other")).map(|(.., count)| *count).collect();
        assert_eq!(20_000 - NETWORKS_MAX as u64, others.iter().sum::<u64>());
    }
}
