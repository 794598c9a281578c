//! Diagnostics: traces to stderr and metrics for Prometheus. No personal data in either: labels are names that files
//! declare or words of closed lists. Evidence is `audit`, not this.

mod process;
mod spans;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use process::Process;

pub use spans::{Attribute, Span, SpanKind, document};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabel {
    api: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExportLabel {
    export: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabel {
    upstream: &'static str,
    target: String,
}

/// How a target of an upstream does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetState {
    pub upstream: &'static str,
    pub target: String,
    pub in_flight: usize,
    pub is_up: bool,
    pub is_ejected: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabel {
    upstream: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamResultLabel {
    upstream: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabel {
    check: &'static str,
}

/// A gauge of seconds, or a counter of them, as the bits of a float.
type SecondsGauge = Gauge<f64, AtomicU64>;
type SecondsCounter = Counter<f64, AtomicU64>;

/// What is open or under way; it is not any more when this goes.
#[derive(Debug)]
pub struct UnderWay(Gauge);

impl UnderWay {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How far the decision log is, since the start but for its entries.
#[derive(Clone, Copy, Debug)]
pub struct LogState {
    pub entries: u64,
    pub batches: u64,
    pub syncs: u64,
    /// That batches took, with what they wait for.
    pub commit_time: Duration,
    pub queue: usize,
}

/// What the gateway counts.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    started: SecondsGauge,
    in_flight: Gauge,
    connections: Family<ListenerLabel, Gauge>,
    upstream_requests: Family<UpstreamResultLabel, Counter>,
    upstream_duration: Family<UpstreamLabel, Histogram>,
    ready: Gauge,
    checks: Family<CheckLabel, Gauge>,
    checks_seen: Arc<Mutex<BTreeSet<&'static str>>>,
    spans_sent: Counter,
    spans_dropped: Counter,
    log_batches: Counter,
    log_commit: SecondsCounter,
    decisions: Family<OutcomeLabel, Counter>,
    rejects: Family<CodeLabel, Counter>,
    drift: Family<ApiLabel, Counter>,
    latency: Family<OutcomeLabel, Histogram>,
    unlinked: Counter,
    reloads_failed: Counter,
    generation: Gauge,
    consent_revision: Gauge,
    snapshot_revision: Gauge,
    log_entries: Gauge,
    log_syncs: Counter,
    log_queue: Gauge,
    webhook_posts: Family<OutcomeLabel, Counter>,
    break_glass_active: Gauge,
    break_glass_reviews_overdue: Gauge,
    webhooks_failing: Gauge,
    webhooks_behind: Gauge,
    exported: Family<ExportLabel, Counter>,
    export_failures: Family<ExportLabel, Counter>,
    export_behind: Family<ExportLabel, Gauge>,
    export_failing: Family<ExportLabel, Gauge>,
    target_up: Family<TargetLabel, Gauge>,
    target_ejected: Family<TargetLabel, Gauge>,
    target_in_flight: Family<TargetLabel, Gauge>,
    shadow: Family<DirectionLabel, Counter>,
    report_mode: Family<ApiLabel, Gauge>,
    in_report_mode: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let mut root = Registry::default();
        let metrics = Self {
            registry: Arc::default(),
            started: SecondsGauge::default(),
            in_flight: Gauge::default(),
            connections: Family::default(),
            upstream_requests: Family::default(),
            upstream_duration: Family::new_with_constructor(durations),
            ready: Gauge::default(),
            checks: Family::default(),
            checks_seen: Arc::default(),
            spans_sent: Counter::default(),
            spans_dropped: Counter::default(),
            log_batches: Counter::default(),
            log_commit: SecondsCounter::default(),
            decisions: Family::default(),
            rejects: Family::default(),
            drift: Family::default(),
            latency: Family::new_with_constructor(durations),
            unlinked: Counter::default(),
            reloads_failed: Counter::default(),
            generation: Gauge::default(),
            consent_revision: Gauge::default(),
            snapshot_revision: Gauge::default(),
            log_entries: Gauge::default(),
            log_syncs: Counter::default(),
            log_queue: Gauge::default(),
            webhook_posts: Family::default(),
            break_glass_active: Gauge::default(),
            break_glass_reviews_overdue: Gauge::default(),
            webhooks_failing: Gauge::default(),
            webhooks_behind: Gauge::default(),
            exported: Family::default(),
            export_failures: Family::default(),
            export_behind: Family::default(),
            export_failing: Family::default(),
            target_up: Family::default(),
            target_ejected: Family::default(),
            target_in_flight: Family::default(),
            shadow: Family::default(),
            report_mode: Family::default(),
            in_report_mode: Arc::default(),
        };
        root.register_with_unit("process_start_time", "When the process started, since 1970", Unit::Seconds, metrics.started.clone());
        root.register_collector(Box::new(Process));
        let registry = root.sub_registry_with_prefix("consentry");
        registry.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("requests_in_flight", "Requests of apps whose answer has not begun", metrics.in_flight.clone());
        registry.register("connections", "Open connections by listener", metrics.connections.clone());
        registry.register(
            "upstream_requests",
            "Requests to upstreams by how they went: the class of the status, or why there is none",
            metrics.upstream_requests.clone(),
        );
        let upstream_duration = metrics.upstream_duration.clone();
        registry.register_with_unit(
            "upstream_duration",
            "From sending a request to an upstream to its answer, or to the beginning of a list's",
            Unit::Seconds,
            upstream_duration,
        );
        registry.register("ready", "Whether requests are served, as `/readyz` says: 1", metrics.ready.clone());
        registry.register("check_state", "How a part of readiness is: 0 well, 1 degraded, 2 failed", metrics.checks.clone());
        registry.register("spans_sent", "Spans that the receiver of traces has taken", metrics.spans_sent.clone());
        registry.register("spans_dropped", "Spans that the queue or the receiver did not take", metrics.spans_dropped.clone());
        registry.register("log_batches", "Batches of entries that were committed to the decision log", metrics.log_batches.clone());
        registry.register_with_unit(
            "log_commit",
            "Time in which batches were committed, flushes included",
            Unit::Seconds,
            metrics.log_commit.clone(),
        );
        registry.register("decisions", "Recorded decisions by outcome", metrics.decisions.clone());
        registry.register(
            "rejects",
            "Requests and connections refused before a caller was known, or because nothing could be recorded",
            metrics.rejects.clone(),
        );
        registry.register("drift_members", "Members of upstream answers that no shape maps; withheld, but for report mode", metrics.drift.clone());
        registry.register_with_unit(
            "request_duration",
            "From the head of a request to the last byte of its answer, by outcome",
            Unit::Seconds,
            metrics.latency.clone(),
        );
        registry.register("unlinked_creates", "Created records without a usable id; the consent desk must link them", metrics.unlinked.clone());
        registry.register("reloads_failed", "Reloads that kept the last good configuration", metrics.reloads_failed.clone());
        registry.register("config_generation", "Generation of the active configuration", metrics.generation.clone());
        registry.register("consent_revision", "Revision of the consent ledger", metrics.consent_revision.clone());
        registry.register("consent_snapshot_revision", "Revision from which a start would read events", metrics.snapshot_revision.clone());
        registry.register("log_entries", "Entries of the decision log", metrics.log_entries.clone());
        registry.register("log_syncs", "Flushes of the decision log since the start", metrics.log_syncs.clone());
        registry.register("log_queue", "Entries that wait for the log's writer", metrics.log_queue.clone());
        registry.register("webhook_posts", "Messages posted to webhooks by outcome, tries included", metrics.webhook_posts.clone());
        registry.register("break_glass_active", "Break-glass grants in force", metrics.break_glass_active.clone());
        let overdue = metrics.break_glass_reviews_overdue.clone();
        registry.register("break_glass_reviews_overdue", "Break-glass grants that ended over a day ago and nobody has reviewed", overdue);
        registry.register("webhooks_failing", "Webhooks whose receiver takes nothing at present", metrics.webhooks_failing.clone());
        registry.register("webhooks_behind", "Revisions that the slowest webhook is behind the ledger", metrics.webhooks_behind.clone());
        registry.register("export_events", "Events of the log that a destination has acknowledged", metrics.exported.clone());
        registry.register("export_failures", "Batches of events that were not acknowledged, tries included", metrics.export_failures.clone());
        registry.register("export_behind", "Entries of the log that wait for an export", metrics.export_behind.clone());
        registry.register("export_failing", "Whether a destination takes no events at present: 1", metrics.export_failing.clone());
        registry.register("upstream_target_up", "Whether requests go to a target of an upstream as they come: 1", metrics.target_up.clone());
        registry.register("upstream_target_ejected", "Whether a target is left out because requests to it failed: 1", metrics.target_ejected.clone());
        registry.register("upstream_target_in_flight", "Requests under way to a target, their answers included", metrics.target_in_flight.clone());
        registry.register(
            "shadow_differences",
            "Answers that a shadow's policies would give otherwise, in very long answers perhaps twice (`more`), and questions they failed on",
            metrics.shadow.clone(),
        );
        let report_mode = metrics.report_mode.clone();
        registry.register("report_mode", "APIs of which members that no shape maps go out at present: 1", report_mode);
        Self { registry: Arc::new(Mutex::new(root)), ..metrics }
    }

    pub fn decided(&self, outcome: &'static str) {
        self.decisions.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub fn rejected(&self, code: &'static str) {
        self.rejects.get_or_create(&CodeLabel { code }).inc();
    }

    pub fn drift(&self, api: &'static str, members: usize) {
        self.drift.get_or_create(&ApiLabel { api }).inc_by(u64::try_from(members).unwrap_or(u64::MAX));
    }

    pub fn answered(&self, outcome: &'static str, latency: Duration) {
        self.latency.get_or_create(&OutcomeLabel { outcome }).observe(latency.as_secs_f64());
    }

    pub fn set_started(&self, at: Timestamp) {
        self.started.set(at.as_duration().as_secs_f64());
    }

    #[must_use]
    pub fn request(&self) -> UnderWay {
        UnderWay::of(&self.in_flight)
    }

    #[must_use]
    pub fn connection(&self, listener: &str) -> UnderWay {
        UnderWay::of(&self.connections.get_or_create(&ListenerLabel { listener: listener.to_owned() }))
    }

    /// `1xx` to `5xx`, or why there is no answer.
    pub fn upstream(&self, upstream: &'static str, result: &'static str, latency: Duration) {
        self.upstream_requests.get_or_create(&UpstreamResultLabel { upstream, result }).inc();
        self.upstream_duration.get_or_create(&UpstreamLabel { upstream }).observe(latency.as_secs_f64());
    }

    pub fn spans_sent(&self, spans: u64) {
        self.spans_sent.inc_by(spans);
    }

    pub fn spans_dropped(&self, spans: u64) {
        self.spans_dropped.inc_by(spans);
    }

    /// How the parts of readiness are: 0 well, 1 degraded, 2 failed. The worst of those with one name counts; one that is not
    /// there any more is well.
    pub fn set_checks(&self, is_ready: bool, checks: impl Iterator<Item = (&'static str, u8)>) {
        let mut seen = self.checks_seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut worst: BTreeMap<&'static str, u8> = seen.iter().map(|name| (*name, 0)).collect();
        for (name, state) in checks {
            let before = worst.entry(name).or_default();
            *before = state.max(*before);
        }
        for (check, state) in worst {
            self.checks.get_or_create(&CheckLabel { check }).set(state.into());
            seen.insert(check);
        }
        self.ready.set(is_ready.into());
    }

    pub fn unlinked(&self) {
        self.unlinked.inc();
    }

    /// The APIs that are in report mode; no others are.
    pub fn set_report_mode(&self, apis: impl Iterator<Item = &'static str>) {
        let now: BTreeSet<&'static str> = apis.collect();
        let mut before = self.in_report_mode.lock().unwrap_or_else(PoisonError::into_inner);
        for api in before.difference(&now) {
            self.report_mode.remove(&ApiLabel { api });
        }
        for api in &now {
            self.report_mode.get_or_create(&ApiLabel { api }).set(1);
        }
        *before = now;
    }

    /// All targets of all upstreams; there are no others.
    pub fn set_targets(&self, all: impl Iterator<Item = TargetState>) {
        let gauges = [&self.target_up, &self.target_ejected, &self.target_in_flight];
        gauges.iter().for_each(|gauge| gauge.clear());
        for TargetState { upstream, target, in_flight, is_up, is_ejected } in all {
            let label = TargetLabel { upstream, target };
            self.target_up.get_or_create(&label).set(i64::from(is_up));
            self.target_ejected.get_or_create(&label).set(i64::from(is_ejected));
            self.target_in_flight.get_or_create(&label).set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        }
    }

    /// `gains`, `loses`, `more` or `failed`.
    pub fn shadowed(&self, direction: &'static str) {
        self.shadow.get_or_create(&DirectionLabel { direction }).inc();
    }

    pub fn reload_failed(&self) {
        self.reloads_failed.inc();
    }

    /// Counts a message to a webhook: `received` or `failed`.
    pub fn webhook_posted(&self, outcome: &'static str) {
        self.webhook_posts.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub fn set_break_glass(&self, active: u64, overdue: u64) {
        self.break_glass_active.set(i64::try_from(active).unwrap_or(i64::MAX));
        self.break_glass_reviews_overdue.set(i64::try_from(overdue).unwrap_or(i64::MAX));
    }

    pub fn set_webhooks(&self, failing: u64, behind: u64) {
        self.webhooks_failing.set(i64::try_from(failing).unwrap_or(i64::MAX));
        self.webhooks_behind.set(i64::try_from(behind).unwrap_or(i64::MAX));
    }

    /// Counts events that a destination has acknowledged.
    pub fn exported(&self, export: &str, events: u64) {
        self.exported.get_or_create(&ExportLabel { export: export.to_owned() }).inc_by(events);
    }

    pub fn export_failed(&self, export: &str) {
        self.export_failures.get_or_create(&ExportLabel { export: export.to_owned() }).inc();
    }

    pub fn set_export(&self, export: &str, behind: u64, is_failing: bool) {
        let label = ExportLabel { export: export.to_owned() };
        self.export_behind.get_or_create(&label).set(i64::try_from(behind).unwrap_or(i64::MAX));
        self.export_failing.get_or_create(&label).set(i64::from(is_failing));
    }

    pub fn set_snapshot(&self, revision: u64) {
        self.snapshot_revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
    }

    /// State that is read, not counted.
    pub fn set_state(&self, generation: u64, consent_revision: u64, log: LogState) {
        let as_gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.generation.set(as_gauge(generation));
        self.consent_revision.set(as_gauge(consent_revision));
        self.log_entries.set(as_gauge(log.entries));
        self.log_queue.set(i64::try_from(log.queue).unwrap_or(i64::MAX));
        // Counted by the log itself.
        self.log_batches.inner().store(log.batches, Ordering::Relaxed);
        self.log_syncs.inner().store(log.syncs, Ordering::Relaxed);
        self.log_commit.inner().store(log.commit_time.as_secs_f64().to_bits(), Ordering::Relaxed);
    }

    /// The `OpenMetrics` text form.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = text::encode(&mut out, &registry) {
            tracing::error!(%error, "metrics cannot be rendered");
        }
        out
    }
}

/// 100 µs to 13 s.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 18))
}

/// Starts tracing to stderr: one line an event, JSON when it is not a terminal. `RUST_LOG` chooses what is shown.
pub fn start_tracing(filter: &str, json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|_malformed| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = if json { builder.json().try_init() } else { builder.try_init() };
    if let Err(error) = started {
        tracing::debug!(%error, "tracing was started before");
    }
}

#[cfg(test)]
mod tests;
