//! What the service manager is told (sd_notify): that the gateway serves, reloads, stops and is alive. Without a manager
//! (`NOTIFY_SOCKET`) nothing is sent.

use sd_notify::NotifyState;
use tokio::task::AbortHandle;

/// Requests are answered from now on.
pub fn ready(generation: u64) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("serving generation {generation}"))]);
}

/// A reload begins; [`reloaded`] must follow, whatever becomes of it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // The manager takes both or nothing: by the time it tells this reload from one before.
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reading configuration and policies")]),
        Err(error) => tracing::warn!(%error, "the service manager cannot be told of a reload"),
    }
}

/// A reload has ended; with how many mistakes if the last good generation stays.
pub(super) fn reloaded(generation: u64, mistakes: Option<usize>) {
    match mistakes {
        None => ready(generation),
        Some(mistakes) => {
            let status = format!("serving generation {generation}; the files on disk have {mistakes} mistakes, see `consentry check`");
            tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        }
    }
}

/// No new connections; open requests are finished.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing open requests")]);
}

/// Whether the manager wants a sign of life, and what must live for it.
#[derive(Debug)]
pub(super) struct Watchdog {
    is_wanted: bool,
    loops: Vec<AbortHandle>,
}

impl Watchdog {
    pub(super) fn new(loops: Vec<AbortHandle>) -> Self {
        Self { is_wanted: sd_notify::watchdog_enabled().is_some(), loops }
    }

    /// Gives a sign of life, unless a listener does not accept any more: then a restart is what helps.
    pub(super) fn feed(&self) {
        if !self.is_wanted {
            return;
        }
        if self.loops.iter().any(AbortHandle::is_finished) {
            tracing::error!("a listener has ended by itself; the service manager gets no more signs of life");
        } else {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
