//! Start and stop. At start everything is opened in the order in which it is needed: configuration, log, ledger, listeners;
//! at the end connections are drained before the log is closed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::build::{self, BuildError, derived_key};
use super::exporters::Exporters;
use super::governance::{Memory, Refusal, take_first};
use super::indexing::Indexing;
use super::inherited::Inherited;
use super::instance::GatewayInstance;
use super::keep::{keep_snapshot, write_snapshot};
use super::listener::{self, Connection, Limits, Served};
use super::pipeline::{self, Caller};
use super::proxied::Balancers;
use super::reload::{Reloader, keep_current};
use super::report;
use super::retention::Keeping;
use super::service::Watchdog;
use super::staff::{ConsoleService, Door, Staff};
use super::state::Shared;
use super::targets::health::keep_checking;
use super::tls::{self, Secured, TlsError};
use super::tracer::Tracer;
use super::witnesses::Witnesses;
use crate::audit::{AuditError, Bounds, Entry, LiveIndex, Log, LogSettings, Mode, SigningKeySource, Tiles};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::consent::{ConsentError, Ledger};
use crate::console::{self, AdminState, ChangeSignal, Links, Outbox, ReceiptKey, Webhooks};
use crate::model::Findings;
use crate::telemetry::{LogState, Metrics};

/// Entries that wait for the log's writer at most; a full queue is a 503.
const LOG_QUEUE_MAX: usize = 16_384;
/// Size of a log segment, bytes.
const LOG_SEGMENT_BYTES: u64 = 16 << 20;
/// Least time between two looks at rejects, expiries, metrics and clock.
const TICK: Duration = Duration::from_secs(1);
/// How often key sets are looked at anew.
const KEYS_EVERY: Duration = Duration::from_secs(60);
/// A wall clock that moved this much more or less than the monotonic one has been stepped.
const CLOCK_STEP: Duration = Duration::from_secs(2);

/// Why the gateway did not start. Nothing is served then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the configuration has mistakes:\n\n{0}")]
    Config(#[from] Findings),
    #[error("the configuration cannot be put to work: {0}")]
    Build(#[from] BuildError),
    #[error("the decision log cannot be opened: {0}")]
    Audit(#[from] AuditError),
    #[error("the decision log is not the one that was witnessed: {0}")]
    Witness(String),
    #[error("the consent store cannot be opened: {0}")]
    Consent(#[from] ConsentError),
    #[error("the policy bundle is refused: {0}")]
    Bundle(#[from] Refusal),
    #[error("`{address}` cannot be listened on: {cause}; check that the address is free and ours")]
    Listen { address: SocketAddr, cause: std::io::Error },
    #[error("the service manager's sockets do not fit: {0}")]
    Inherited(String),
}

impl From<TlsError> for StartError {
    fn from(error: TlsError) -> Self {
        Self::Build(error.into())
    }
}

impl From<crate::identity::IdentityError> for StartError {
    fn from(error: crate::identity::IdentityError) -> Self {
        Self::Build(error.into())
    }
}

/// Where the listeners are, after ports were chosen.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// By the listener's name.
    pub apps: Vec<(String, SocketAddr)>,
    pub admin: Option<SocketAddr>,
    pub capture: Option<SocketAddr>,
    pub public: Option<SocketAddr>,
    pub health: Option<SocketAddr>,
}

/// A gateway that serves. Dropping it does not stop it; [`Running::shutdown`] does.
#[derive(Debug)]
pub struct Running {
    pub addresses: Addresses,
    pub log_dir: PathBuf,
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
    instance: Arc<GatewayInstance>,
    signal: Arc<ChangeSignal>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
}

/// TLS settings by listener, replaced at reload.
pub(super) type TlsSlots = Vec<(String, Arc<ArcSwap<Secured>>)>;

/// Reads the configuration, opens log and ledger, and serves on sockets of its own.
///
/// # Errors
/// [`StartError`]; nothing is left listening.
pub async fn start(path: &Path, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
    start_on(path, clock, Inherited::default()).await
}

/// The same with sockets that were handed over where their address is a listener's.
///
/// # Errors
/// [`StartError`], also when one of the sockets is no listener's.
pub async fn start_on(path: &Path, clock: Arc<dyn Clock>, inherited: Inherited) -> Result<Running, StartError> {
    let (config, policies, candidate) = build::load_signed(path, None)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let mut snapshot = build::snapshot(&config, &policies, 1, &clock)?;
    let staff = Arc::new(ArcSwap::from_pointee(Staff::new(&config, &clock)?));
    let sockets = Sockets::bind(&config, inherited).await?;
    let (log, recovery) = Log::open(log_settings(&config), Arc::clone(&clock))?;
    let tiles = Arc::new(Tiles::new(&config.audit.dir));
    let witnesses = Witnesses::new(&config.audit.witnesses, &tiles, config.audit.dir.clone())?;
    witnesses.ask().await.map_err(StartError::Witness)?;
    if let Some(before) = &recovery.replaced {
        tracing::warn!(
            before,
            key = recovery.vkey,
            "the decision log's key was replaced; hand out the new verifier key, then leave out `previous_key`"
        );
    }
    if recovery.torn_bytes > 0 {
        tracing::warn!(bytes = recovery.torn_bytes, "an unfinished write was removed from the end of the log");
    }
    let ledger = Arc::new(Ledger::open(&config.consent.sqlite, Arc::clone(&clock))?);
    ledger.adopt(Arc::clone(policies.vocabulary()), policies.consent_rules().clone(), policies.captures().to_vec()).map_err(ConsentError::from)?;
    let memory = match candidate {
        None => None,
        Some(candidate) => {
            let memory = Memory::open(Arc::clone(&ledger), &config.audit.dir)?;
            let (active, is_first) = candidate.confirm(&config.governed_hash, &policies, &memory, clock.now())?;
            if is_first {
                take_first(&active, &log, &memory)?;
            }
            snapshot.bundle = Some(Arc::new(active));
            Some(memory)
        }
    };
    let loaded = Entry::PolicyLoaded { id: Arc::clone(&snapshot.set_id), generation: snapshot.generation };
    log.append(loaded)?.await?;
    log.append(Entry::ConfigLoaded { hash: config.governed_hash.clone(), generation: snapshot.generation })?.await?;

    let shared = Shared::new(snapshot, ledger, log, Arc::clone(&clock), Metrics::new(), derived_key(&config, "field pseudonyms"));
    shared.metrics.set_started(clock.now());
    let signal = ChangeSignal::of(&shared.ledger);
    let webhooks =
        Webhooks::open(&shared.ledger, &signal, &clock, &shared.metrics, build::webhooks(&config, &policies)?).map_err(ConsentError::from)?;
    let (stop, stopped) = watch::channel(false);
    let addresses = sockets.addresses();
    let slots = sockets.tls(&config)?;
    let reloader = Arc::new(Reloader::new(path, &config, Arc::clone(&shared), Arc::clone(&staff), slots.clone(), Arc::clone(&webhooks), memory));
    let index = LiveIndex::new(shared.log.clone(), &config.audit.dir);
    recount(&shared, &index).await;
    let indexing = Indexing::new(Arc::clone(&index));
    let exporters = Exporters::new(&config.audit, &shared.log, &clock, &shared.metrics)?;
    let keeping = Keeping::new(Arc::clone(&shared), Arc::clone(&index), recovery.last);
    let instance = Arc::new(GatewayInstance::new(
        Arc::clone(&shared),
        Arc::clone(&reloader),
        Arc::clone(&witnesses),
        Arc::clone(&exporters),
        Arc::clone(&indexing),
        Arc::clone(&keeping),
    ));
    let outbox = Arc::new(Outbox::default());
    let state = AdminState {
        ledger: Arc::clone(&shared.ledger),
        log: shared.log.clone(),
        index: Arc::clone(&index),
        tiles,
        origin: config.audit.origin.as_str().into(),
        outbox: Arc::clone(&outbox),
        signal: Arc::clone(&signal),
        webhooks: Arc::clone(&webhooks),
        instance: Arc::clone(&instance) as Arc<dyn console::Instance>,
        clock: Arc::clone(&clock),
        receipts: Arc::new(ReceiptKey::new(&derived_key(&config, "receipts")).map_err(BuildError::from)?),
        links: Arc::new(Links::new(&derived_key(&config, "links v1")).map_err(|_unspecified| BuildError::Links)?),
    };
    let sending = match &config.telemetry {
        None => None,
        Some(settings) => {
            let (tracer, sending) = Tracer::new(settings, &config.gateway.name, &config.audit.origin, &clock, &shared.metrics)?;
            shared.tracer.get_or_init(|| tracer);
            Some(sending)
        }
    };
    let current = keep_current(Arc::clone(&reloader), stopped.clone());
    let listeners = sockets.serve(&config, &shared, &state, &staff, &slots, &stopped);
    let mut background = exporters.start(&stopped)?;
    background.extend(sending.map(|sending| tokio::spawn(sending.run(stopped.clone()))));
    let watchdog = Watchdog::new(listeners.iter().map(JoinHandle::abort_handle).collect());
    background.extend([
        tokio::spawn(tick(Arc::clone(&shared), Arc::clone(&reloader), outbox, Arc::clone(&webhooks), exporters, watchdog, stopped.clone())),
        tokio::spawn(webhooks.deliver(stopped.clone())),
        tokio::spawn(refresh_keys(Arc::clone(&shared), Arc::clone(&staff), stopped.clone())),
        tokio::spawn(witnesses.keep_offering(shared.log.clone(), stopped.clone())),
        tokio::spawn(indexing.keep_following(stopped.clone())),
        tokio::spawn(keeping.keep_pruning(stopped.clone())),
        tokio::spawn(keep_checking(Arc::clone(&shared), stopped.clone())),
        tokio::spawn(keep_snapshot(Arc::clone(&shared), stopped)),
        tokio::spawn(current),
    ]);
    tracing::info!(addresses = ?addresses, generation = 1, "serving");
    report::announce(&shared.snapshot(), clock.now());
    Ok(Running { addresses, log_dir: config.audit.dir.clone(), shared, reloader, instance, signal, stop, listeners, background })
}

impl Running {
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What the console is told; also used in process by the demo.
    #[must_use]
    pub fn instance(&self) -> Arc<dyn console::Instance> {
        Arc::clone(&self.instance) as Arc<dyn console::Instance>
    }

    /// Serves the data plane once more without TLS, for `consentry bench`, which measures the cost of TLS apart. No
    /// configuration leads here, and nothing but loopback is served.
    pub(crate) fn serve_plain(&mut self, socket: TcpListener) -> std::io::Result<SocketAddr> {
        let address = socket.local_addr()?;
        if !address.ip().is_loopback() {
            return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, "only loopback is served without TLS"));
        }
        let body_max = config::Limits::default().request_body_bytes_max;
        let served = Served::plain(Limits::for_one());
        self.listeners.push(serve_apps(&self.shared, "loopback", body_max, socket, served, self.stop.subscribe()));
        Ok(address)
    }

    /// Takes configuration and policies anew; on a mistake the last good ones stay.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub async fn reload(&self) -> Result<u64, String> {
        self.reloader.reload().await
    }

    /// Stops accepting, lets open requests finish, keeps the ledger's projection for the next start, closes the log.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        self.signal.close();
        for task in self.listeners.into_iter().chain(self.background) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task ended badly");
            }
        }
        write_snapshot(&self.shared).await;
        // What was refused while connections were drained.
        self.shared.rejects.tell(&self.shared.log);
        let log = self.shared.log.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || log.close()).await {
            tracing::error!(%error, "the log was not closed in order");
        }
        tracing::info!("stopped");
    }
}

/// The log as it is configured.
#[must_use]
pub fn log_settings(config: &Config) -> LogSettings {
    let bytes = |secret: &config::Secret| SigningKeySource::Bytes(secret.expose().to_vec());
    LogSettings {
        dir: config.audit.dir.clone(),
        spare_dir: config.audit.spare_dir.clone(),
        origin: config.audit.origin.clone(),
        signing_key: bytes(&config.audit.signing_key),
        previous_key: config.audit.previous_key.as_ref().map(bytes),
        queue_max: LOG_QUEUE_MAX,
        segment_bytes: LOG_SEGMENT_BYTES,
        mode: log_mode(config.audit.mode),
        seal: true,
    }
}

fn log_mode(mode: config::AuditMode) -> Mode {
    match mode {
        config::AuditMode::Strict => Mode::Strict,
        config::AuditMode::Bounded { max_ms, max_records } => Mode::Bounded(Bounds { max_ms, max_records }),
    }
}

/// All sockets, bound before anything is served, so that a taken port is found at start.
struct Sockets {
    apps: Vec<(config::Listener, TcpListener)>,
    admin: Option<TcpListener>,
    capture: Option<TcpListener>,
    public: Option<TcpListener>,
    health: Option<TcpListener>,
}

const ADMIN: &str = "[admin]";
const CAPTURE: &str = "[capture]";
const PUBLIC: &str = "[public]";
const HEALTH: &str = "[health]";

impl Sockets {
    async fn bind(config: &Config, mut inherited: Inherited) -> Result<Self, StartError> {
        let mut apps = Vec::new();
        for listener in &config.listeners {
            apps.push((listener.clone(), bind(listener.address, &mut inherited).await?));
        }
        let admin = bind_if(config.admin.as_ref().map(|a| a.address), &mut inherited).await?;
        let capture = bind_if(config.capture.as_ref().map(|c| c.address), &mut inherited).await?;
        let public = bind_if(config.public.as_ref().map(|p| p.address), &mut inherited).await?;
        let health = bind_if(config.health.as_ref().map(|h| h.address), &mut inherited).await?;
        inherited.none_is_left()?;
        Ok(Self { apps, admin, capture, public, health })
    }

    fn addresses(&self) -> Addresses {
        let of = |socket: &TcpListener| socket.local_addr().ok();
        Addresses {
            apps: self.apps.iter().filter_map(|(l, s)| Some((l.name.clone(), of(s)?))).collect(),
            admin: self.admin.as_ref().and_then(of),
            capture: self.capture.as_ref().and_then(of),
            public: self.public.as_ref().and_then(of),
            health: self.health.as_ref().and_then(of),
        }
    }

    fn tls(&self, config: &Config) -> Result<TlsSlots, TlsError> {
        tls_configs(config).map(|all| all.into_iter().map(|(name, tls)| (name, Arc::new(ArcSwap::new(tls)))).collect())
    }

    fn serve(
        self,
        config: &Config,
        shared: &Arc<Shared>,
        state: &AdminState,
        staff: &Arc<ArcSwap<Staff>>,
        slots: &TlsSlots,
        stopped: &watch::Receiver<bool>,
    ) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        let slot = |name: &str| slots.iter().find(|(n, _)| n == name).map(|(_, tls)| Arc::clone(tls));
        for (settings, socket) in self.apps {
            let body_max = settings.limits.request_body_bytes_max;
            let served = Served {
                tls: slot(&settings.name),
                limits: Limits::of(&settings.limits),
                balancers: settings.proxy_protocol.map(|networks| Arc::new(Balancers(networks))),
                rejects: None,
            };
            tasks.push(serve_apps(shared, &settings.name, body_max, socket, served, stopped.clone()));
        }
        let consoles = [
            (Door::Admin, ADMIN, self.admin, console::admin_router(state.clone()), Limits::default()),
            (Door::Capture, CAPTURE, self.capture, console::capture_router(state.clone()), Limits::default()),
            (Door::Public, PUBLIC, self.public, console::public_router(state.clone()), Limits::for_strangers()),
            (Door::Health, HEALTH, self.health, console::health_router(state.clone()), Limits::default()),
        ];
        for (door, name, socket, router, limits) in consoles {
            let Some(socket) = socket else { continue };
            let (tls, rejects) = (slot(name), shared.rejects.of(name));
            if tls.is_none() && door != Door::Health {
                tracing::error!(?door, "a listener without TLS settings is not served");
                continue;
            }
            let staff = Arc::clone(staff);
            let counted = rejects.clone();
            let make = move |connection| {
                let (router, staff, rejects) = (router.clone(), Arc::clone(&staff), counted.clone());
                ConsoleService { door, router, staff, connection, rejects }
            };
            let served = Served { tls, limits, balancers: None, rejects: Some(rejects) };
            tasks.push(tokio::spawn(listener::serve(socket, served, stopped.clone(), make)));
        }
        tracing::debug!(listeners = config.listeners.len(), "listening");
        tasks
    }
}

/// Serves the data plane on one socket; `body_max` bounds request bodies, bytes.
fn serve_apps(
    shared: &Arc<Shared>,
    name: &str,
    body_max: usize,
    socket: TcpListener,
    served: Served,
    stopped: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let (shared, rejects) = (Arc::clone(shared), shared.rejects.of(name));
    let served = Served { rejects: Some(rejects.clone()), ..served };
    let make = move |connection: Connection| {
        let (shared, caller) = (Arc::clone(&shared), Arc::new(Caller { connection, body_max, rejects: rejects.clone() }));
        service_fn(move |request| {
            let (shared, caller) = (Arc::clone(&shared), Arc::clone(&caller));
            async move { Ok(pipeline::handle(&shared, &caller, request).await) }
        })
    };
    tokio::spawn(listener::serve(socket, served, stopped, make))
}

/// The TLS settings of every listener that has some.
pub(super) fn tls_configs(config: &Config) -> Result<Vec<(String, Arc<Secured>)>, TlsError> {
    let mut all = Vec::new();
    for listener in &config.listeners {
        all.push((listener.name.clone(), tls::server(&listener.certificates, &listener.client_certificates)?));
    }
    if let Some(admin) = &config.admin {
        all.push((ADMIN.to_owned(), tls::server(&admin.certificates, &config::ClientCertificates::Require(admin.clients.clone()))?));
    }
    if let Some(capture) = &config.capture {
        all.push((CAPTURE.to_owned(), tls::server(&capture.certificates, &config::ClientCertificates::Require(capture.clients.clone()))?));
    }
    if let Some(public) = &config.public {
        all.push((PUBLIC.to_owned(), tls::server(&public.certificates, &config::ClientCertificates::Off)?));
    }
    Ok(all)
}

async fn bind(address: SocketAddr, inherited: &mut Inherited) -> Result<TcpListener, StartError> {
    let bound = match inherited.at(address) {
        Some(handed_over) => handed_over,
        None => TcpListener::bind(address).await,
    };
    bound.map_err(|cause| StartError::Listen { address, cause })
}

async fn bind_if(address: Option<SocketAddr>, inherited: &mut Inherited) -> Result<Option<TcpListener>, StartError> {
    match address {
        Some(address) => bind(address, inherited).await.map(Some),
        None => Ok(None),
    }
}

/// Waits until the gateway is told to stop.
pub(super) async fn stopping(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop, too.
    drop(stopped.wait_for(|stop| *stop).await);
}

/// What happens each second: expiries fire, changes of the ledger and rejects reach the log, the clocks are compared.
async fn tick(
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
    outbox: Arc<Outbox>,
    webhooks: Arc<Webhooks>,
    exporters: Arc<Exporters>,
    watchdog: Watchdog,
    mut stopped: watch::Receiver<bool>,
) {
    let mut before = (shared.clock.now(), shared.clock.monotonic());
    loop {
        let stopping = tokio::select! {
            () = tokio::time::sleep(TICK) => false,
            () = stopping(&mut stopped) => true,
        };
        let (ledger, log, outbox, now) = (Arc::clone(&shared.ledger), shared.log.clone(), Arc::clone(&outbox), shared.clock.now());
        let reloader = Arc::clone(&reloader);
        let work = tokio::task::spawn_blocking(move || {
            // Asked each second, also while nobody else asks: who comes after a silence finds an answer that counts.
            if let Err(error) = ledger.healthy() {
                tracing::debug!(%error, "the consent store is away");
            }
            if let Err(error) = ledger.tick(now) {
                tracing::error!(%error, "expiries could not be stored");
            }
            if let Err(error) = ledger.end_grants() {
                tracing::error!(%error, "the end of break-glass grants could not be stored");
            }
            if let Err(error) = reloader.remember_end() {
                tracing::error!(%error, "the end of the policy bundle could not be stored");
            }
            if let Err(error) = outbox.drain(&ledger, &log) {
                tracing::error!(%error, "changes of the ledger wait for the log");
            }
        });
        if let Err(error) = work.await {
            tracing::error!(%error, "the tick ended badly");
        }
        if let Some(news) = shared.shadow.load_full().and_then(|shadow| shadow.news(now)) {
            note(&shared, news);
        }
        shared.rejects.tell(&shared.log);
        let after = (shared.clock.now(), shared.clock.monotonic());
        compare_clocks(&shared, before, after);
        before = after;
        let log = shared.log.metrics();
        let state = LogState { entries: log.entries, batches: log.batches, syncs: log.syncs, commit_time: log.commit_time, queue: log.queue_depth };
        shared.metrics.set_state(shared.generation(), shared.ledger.revision().0, state);
        let grants = shared.ledger.grant_counts();
        shared.metrics.set_break_glass(grants.active, grants.overdue);
        let delivered = webhooks.health();
        shared.metrics.set_webhooks(delivered.failing, delivered.behind);
        exporters.measure();
        shared.metrics.set_snapshot(shared.ledger.snapshot_revision().0);
        let snapshot = shared.snapshot();
        shared.metrics.set_targets(snapshot.upstreams.values().flat_map(|upstream| upstream.targets().states()));
        shared.metrics.set_report_mode(report::in_force(&snapshot.catalog, shared.clock.now()).map(|(api, _)| api.name.as_str()));
        if stopping {
            return;
        }
        watchdog.feed();
    }
}

/// What was asked for before the start still counts.
async fn recount(shared: &Arc<Shared>, index: &Arc<LiveIndex>) {
    let (counting, index) = (Arc::clone(shared), Arc::clone(index));
    let work = move || {
        let (snapshot, now) = (counting.snapshot(), counting.clock.now());
        counting.budgets.recount(&index, &snapshot.budgets, snapshot.policies.vocabulary(), now)
    };
    let counted = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()));
    if let Err(why) = counted {
        tracing::error!(why, "what was counted before the start is not known in full; budgets begin anew");
        shared.budgets.begins_anew(why);
    }
}

/// Key sets are confirmed in the background, so that no request waits for an issuer that is up.
async fn refresh_keys(shared: Arc<Shared>, staff: Arc<ArcSwap<Staff>>, mut stopped: watch::Receiver<bool>) {
    loop {
        shared.snapshot().authenticator.refresh_keys().await;
        staff.load_full().refresh_keys().await;
        tokio::select! {
            () = tokio::time::sleep(KEYS_EVERY) => {}
            () = stopping(&mut stopped) => return,
        }
    }
}

type Clocks = (jiff::Timestamp, Duration);

fn compare_clocks(shared: &Shared, before: Clocks, after: Clocks) {
    let wall = after.0.as_millisecond().saturating_sub(before.0.as_millisecond());
    let steady = i64::try_from(after.1.saturating_sub(before.1).as_millis()).unwrap_or(i64::MAX);
    let step_ms = wall.saturating_sub(steady);
    if step_ms.unsigned_abs() > u64::try_from(CLOCK_STEP.as_millis()).unwrap_or(u64::MAX) {
        tracing::warn!(step_ms, "the wall clock was stepped");
        note(shared, Entry::Clock { step_ms });
    }
}

/// An entry that no answer waits for.
pub(super) fn note(shared: &Shared, entry: Entry) {
    if let Err(error) = shared.log.append_unwaited(entry) {
        tracing::error!(%error, "an entry could not be written");
    }
}
