//! What the listeners share. A [`Snapshot`] is everything that a reload replaces, swapped as one; a request keeps the one
//! it was decided with, and before anything is released it is asked whether that one still decides.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;

use super::accept::host_without_port;
use super::budgets::Budgets;
use super::drift::Drift;
use super::forward::Upstream;
use super::governance::ActiveBundle;
use super::graphql::Plans;
use super::in_flight::InFlight;
use super::rejects::Rejects;
use super::shadow::{Shadow, Watch};
use super::tracer::Tracer;
use super::validator::Validators;
use crate::audit::Log;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{Budget, Controller, PublicPage, Retention};
use crate::consent::Ledger;
use crate::filter::Cutters;
use crate::identity::Authenticator;
use crate::model::{Client, Environment, UpstreamName};
use crate::policy::Policies;
use crate::telemetry::Metrics;

/// One checked configuration with its policies.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with each successful reload; recorded with every decision.
    pub generation: u64,
    /// Hash over policies and governed configuration.
    pub set_id: Arc<str>,
    /// Hash of the policy folder alone.
    pub folder_id: Arc<str>,
    pub policies: Arc<Policies>,
    pub catalog: Catalog,
    /// By the catalog's shapes.
    pub cutters: Cutters,
    /// Of GraphQL queries.
    pub plans: Plans,
    pub authenticator: Authenticator,
    pub upstreams: BTreeMap<UpstreamName, Arc<Upstream>>,
    pub environment: Environment,
    /// Hosts that are served, without ports.
    pub hosts: Vec<String>,
    /// What the gateway's absolute URLs begin with: `https://host`.
    pub origin: String,
    pub validators: Validators,
    pub budgets: Vec<Budget>,
    /// Requests of each client under way at once.
    pub in_flight_max: BTreeMap<Client, u32>,
    pub limits: RequestLimits,
    /// Named in receipts.
    pub controller: Option<Controller>,
    /// Longest time from now that a break-glass grant may be asked for.
    pub break_glass_max: Duration,
    /// How long entries of the decision log are kept.
    pub retention: Retention,
    /// When the revocation lists of a listener run out.
    pub revocation: Vec<(String, Timestamp)>,
    /// The signed bundle; `None` when the policies come from an unsigned folder.
    pub bundle: Option<Arc<ActiveBundle>>,
    /// What the public page says; `None` without a public listener.
    pub public: Option<Arc<PublicPage>>,
}

impl Snapshot {
    /// What URLs of this host begin with, as callers write them: an API's own host with the port that is declared for it.
    pub(super) fn origin_of(&self, host: &str) -> Cow<'_, str> {
        let own = self.catalog.apis.iter().filter_map(|api| api.host.as_deref()).find(|own| host_without_port(own).eq_ignore_ascii_case(host));
        own.map_or(Cow::Borrowed(&self.origin), |own| Cow::Owned(format!("https://{own}")))
    }

    /// Whether the policies have run out: nothing is decided by them any more.
    pub(super) fn has_run_out(&self, now: Timestamp) -> bool {
        self.bundle.as_ref().is_some_and(|bundle| bundle.has_run_out(now))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    pub request_body_timeout: Duration,
    pub answer_body_max: usize,
    pub json_depth_max: u16,
}

/// The gateway's state for as long as it runs.
pub struct Shared {
    snapshot: ArcSwap<Snapshot>,
    pub(super) budgets: Budgets,
    pub(super) in_flight: InFlight,
    /// Members of answers that no shape maps.
    pub(super) drift: Drift,
    /// Policies that are asked beside those of the snapshot.
    pub(super) shadow: ArcSwapOption<Shadow>,
    pub ledger: Arc<Ledger>,
    pub log: Log,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub(super) rejects: Arc<Rejects>,
    /// Set before anything is served, if traces are recorded.
    pub(super) tracer: OnceLock<Tracer>,
    /// Key for pseudonyms of field values; of this installation, never in the log.
    pub pseudonym_key: [u8; 32],
    request_no: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the key for pseudonyms.
        f.debug_struct("Shared").field("snapshot", &self.snapshot).field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl Shared {
    #[must_use]
    pub fn new(snapshot: Snapshot, ledger: Arc<Ledger>, log: Log, clock: Arc<dyn Clock>, metrics: Metrics, pseudonym_key: [u8; 32]) -> Arc<Self> {
        let (snapshot, shadow, rejects) = (ArcSwap::from_pointee(snapshot), ArcSwapOption::empty(), Rejects::new(metrics.clone()));
        let (drift, request_no) = (Drift::default(), AtomicU64::new(1));
        let (budgets, in_flight) = (Budgets::new(Arc::clone(&clock)), InFlight::default());
        Arc::new(Self {
            snapshot,
            budgets,
            in_flight,
            drift,
            shadow,
            ledger,
            log,
            clock,
            metrics,
            rejects,
            tracer: OnceLock::new(),
            pseudonym_key,
            request_no,
        })
    }

    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    #[must_use]
    pub fn generation(&self) -> u64 {
        self.snapshot.load().generation
    }

    pub(super) fn watch(&self) -> Option<Arc<Watch>> {
        self.shadow.load_full().map(Watch::new)
    }

    /// Whether what was decided under a generation may still go out: nothing has taken its place, and it has not run out.
    pub(super) fn still_decides(&self, generation: u64) -> bool {
        let active = self.snapshot.load();
        active.generation == generation && !active.has_run_out(self.clock.now())
    }

    pub(super) fn swap(&self, next: Snapshot) {
        self.budgets.adopt(&next.budgets);
        self.snapshot.store(Arc::new(next));
    }

    pub(super) fn next_request(&self) -> u64 {
        self.request_no.fetch_add(1, Ordering::Relaxed)
    }
}
