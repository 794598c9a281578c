//! Sends events of the decision log to where the configuration says. Each export reads the log's files by itself, holds one batch, and
//! goes on only when its destination has acknowledged it and that is stored: nothing is left out, and what may come twice has one id.
//!
//! ```text
//! gather (a thread that may block) -> payload -> Destination -> acknowledged -> Position::store -> gather …
//!                                        |  not acknowledged: told by readiness, again after a pause
//! ```
//!
//! INVARIANT: no request and no writer of the log waits for anything here.

mod batch;
mod file;
mod https;
mod syslog;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::batch::{Batch, EVENTS_MAX, Source};
use self::file::FileEnd;
use self::https::Https;
use self::syslog::Syslog;
use super::running::stopping;
use super::tls::TlsError;
use crate::audit::Log;
use crate::audit::export::Tail;
use crate::clock::Clock;
use crate::config::{AuditSettings, ExportSettings, ExportTo};
use crate::telemetry::Metrics;

/// How often a log is looked at in which there was nothing new.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// From the first packet to the acknowledgement of one batch.
const DELIVERY_MAX: Duration = Duration::from_secs(10);
/// After a failure; twice as long after each further one.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A batch that is under way when the gateway stops may still arrive.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Entries behind of which readiness tells, also when nothing fails.
const BEHIND_MAX: u64 = 100_000;

/// Why a batch was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Unsent {
    /// The receiver takes less at a time.
    #[error("it answered 413 to a single event")]
    TooLarge,
    #[error("{0}")]
    Trouble(String),
}

/// Those of the configuration.
#[derive(Debug)]
pub(super) struct Exporters {
    all: Vec<Arc<Exporter>>,
    log: Log,
    metrics: Metrics,
}

#[derive(Debug)]
struct Exporter {
    settings: ExportSettings,
    source: Source,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    state: Mutex<State>,
}

/// How it stands with one.
#[derive(Clone, Debug, Default)]
struct State {
    /// The first entry that is not dealt with; `None` before it is known.
    next: Option<u64>,
    /// Why nothing goes out, and since when.
    trouble: Option<(String, Timestamp)>,
}

impl Exporters {
    pub(super) fn new(audit: &AuditSettings, log: &Log, clock: &Arc<dyn Clock>, metrics: &Metrics) -> Result<Arc<Self>, TlsError> {
        let exporter = |settings: &ExportSettings| {
            Arc::new(Exporter {
                source: Source {
                    dir: audit.dir.clone(),
                    origin: audit.origin.clone(),
                    name: settings.name.clone(),
                    log: log.clone(),
                    format: settings.format,
                    is_syslog: matches!(settings.to, ExportTo::Syslog { .. }),
                },
                settings: settings.clone(),
                clock: Arc::clone(clock),
                metrics: metrics.clone(),
                state: Mutex::default(),
            })
        };
        let all: Vec<_> = audit.exports.iter().map(exporter).collect();
        // What cannot be put to work is found at the start.
        all.iter().try_for_each(|exporter| exporter.destination().map(drop))?;
        Ok(Arc::new(Self { all, log: log.clone(), metrics: metrics.clone() }))
    }

    /// One task for each, until the gateway is told to stop.
    pub(super) fn start(&self, stopped: &watch::Receiver<bool>) -> Result<Vec<JoinHandle<()>>, TlsError> {
        let start = |exporter: &Arc<Exporter>| Ok(tokio::spawn(Arc::clone(exporter).run(exporter.destination()?, stopped.clone())));
        self.all.iter().map(start).collect()
    }

    /// For readiness: a sentence for each that does not get on, and since when.
    pub(super) fn troubles(&self) -> Vec<(String, Option<Timestamp>)> {
        let entries = self.log.metrics().entries;
        self.all.iter().filter_map(|exporter| exporter.trouble(entries)).collect()
    }

    /// Sets the metrics that are read, not counted.
    pub(super) fn measure(&self) {
        let entries = self.log.metrics().entries;
        for exporter in &self.all {
            let state = exporter.state().clone();
            let behind = state.next.map_or(entries, |next| entries.saturating_sub(next));
            self.metrics.set_export(&exporter.settings.name, behind, state.trouble.is_some());
        }
    }
}

/// What one task works on.
#[derive(Default)]
struct Work {
    tail: Option<Tail>,
    /// Gathered and not dealt with.
    batch: Option<Batch>,
    is_delivered: bool,
    /// Events at a time; fewer when the receiver takes no more.
    events_max: usize,
}

/// What to do next.
enum Next {
    /// There is more. Reading took so long; others may have the processor for as long.
    More(Duration),
    Idle,
}

impl Exporter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn destination(&self) -> Result<Destination, TlsError> {
        Ok(match &self.settings.to {
            ExportTo::File(path) => Destination::File(FileEnd { path: path.clone(), format: self.source.format }),
            ExportTo::Https { url, .. } => Destination::Https(Box::new(Https::new(url, self.source.format, &self.settings)?)),
            ExportTo::Syslog { host, port } => Destination::Syslog(Box::new(Syslog::new(host, *port, &self.settings.tls)?)),
        })
    }

    async fn run(self: Arc<Self>, mut destination: Destination, mut stopped: watch::Receiver<bool>) {
        let mut work = Work { events_max: EVENTS_MAX, ..Work::default() };
        let mut pause = PAUSE_MIN;
        loop {
            let late = async {
                stopping(&mut stopped).await;
                tokio::time::sleep(STOP_GRACE).await;
            };
            let wait = tokio::select! {
                turned = self.turn(&mut work, &mut destination) => match turned {
                    Ok(next) => {
                        pause = PAUSE_MIN;
                        match next {
                            Next::More(took) => took,
                            Next::Idle => LOOK_EVERY,
                        }
                    }
                    Err(why) => {
                        self.failed(why);
                        let now = pause;
                        pause = PAUSE_MAX.min(now * 2);
                        now
                    }
                },
                () = late => return,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stopping(&mut stopped) => return,
            }
        }
    }

    /// Gathers, sends and stores one batch; what was done is not done again when a later step fails.
    async fn turn(&self, work: &mut Work, destination: &mut Destination) -> Result<Next, String> {
        let before = self.clock.monotonic();
        if work.batch.is_none() {
            let (source, tail, now, events_max) = (self.source.clone(), work.tail.take(), self.clock.now(), work.events_max);
            let gathered = tokio::task::spawn_blocking(move || source.gather(tail, now, events_max)).await;
            let (tail, batch) = gathered.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            (work.tail, work.batch, work.is_delivered) = (Some(tail), Some(batch), false);
        }
        let took = self.clock.monotonic().saturating_sub(before);
        let Some(batch) = &work.batch else { return Ok(Next::Idle) };
        if batch.events > 0 && !work.is_delivered {
            if let Err(why) = self.deliver(batch, destination).await {
                if why == Unsent::TooLarge && batch.events > 1 {
                    // Gathered anew from what is stored.
                    *work = Work { events_max: batch.events / 2, ..Work::default() };
                    return Ok(Next::More(Duration::ZERO));
                }
                return Err(why.to_string());
            }
            work.is_delivered = true;
            self.metrics.exported(&self.settings.name, u64::try_from(batch.events).unwrap_or(u64::MAX));
        }
        if batch.is_worth_storing() {
            let (source, position) = (self.source.clone(), batch.position.clone());
            let stored = tokio::task::spawn_blocking(move || position.store(&source.dir, &source.name, &source.origin)).await;
            stored.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        }
        let next = if batch.is_last { Next::Idle } else { Next::More(took) };
        *self.state() = State { next: Some(batch.position.next), trouble: None };
        work.batch = None;
        Ok(next)
    }

    async fn deliver(&self, batch: &Batch, destination: &mut Destination) -> Result<(), Unsent> {
        let delivered = tokio::time::timeout(DELIVERY_MAX, destination.send(batch.payload.clone())).await;
        delivered.unwrap_or_else(|_elapsed| {
            destination.forget();
            Err(Unsent::Trouble(format!("it acknowledged nothing within {} s", DELIVERY_MAX.as_secs())))
        })
    }

    fn failed(&self, why: String) {
        self.metrics.export_failed(&self.settings.name);
        let mut state = self.state();
        let before = state.trouble.take();
        // Said once, not after every pause.
        if before.as_ref().is_none_or(|(said, _)| *said != why) {
            tracing::warn!(export = self.settings.name, why, "events of the decision log are not taken; they are kept and sent again");
        }
        state.trouble = Some((why, before.map_or_else(|| self.clock.now(), |(_, since)| since)));
    }

    fn trouble(&self, entries: u64) -> Option<(String, Option<Timestamp>)> {
        let state = self.state().clone();
        let behind = state.next.map_or(entries, |next| entries.saturating_sub(next));
        let name = &self.settings.name;
        match state.trouble {
            Some((why, since)) => Some((format!("`{name}` takes no events, {behind} entries wait: {why}"), Some(since))),
            None if state.next.is_some() && behind > BEHIND_MAX => Some((format!("`{name}` is {behind} entries behind"), None)),
            None => None,
        }
    }
}

/// Where a batch goes.
#[derive(Debug)]
enum Destination {
    File(FileEnd),
    Https(Box<Https>),
    Syslog(Box<Syslog>),
}

impl Destination {
    /// `Ok`: acknowledged.
    async fn send(&mut self, payload: Bytes) -> Result<(), Unsent> {
        match self {
            Self::File(file) => file.append(payload).await,
            Self::Https(https) => https.post(payload).await,
            Self::Syslog(syslog) => syslog.write(&payload).await,
        }
    }

    /// A connection on which something is half done is not used again.
    fn forget(&mut self) {
        match self {
            Self::File(_) | Self::Https(_) => {}
            Self::Syslog(syslog) => syslog.forget(),
        }
    }
}

/// The cause at the end of a chain says most: `invalid peer certificate`, not `client error`.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}

fn trouble(error: &dyn std::error::Error) -> Unsent {
    Unsent::Trouble(in_full(error))
}
