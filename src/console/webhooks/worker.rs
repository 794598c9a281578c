//! The task of one webhook: reads on from its cursor, sends one message at a time, and tries again after a pause that grows.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use tokio::sync::watch;

use super::message::Message;
use super::post::{Line, PostError, Signed};
use super::{Slot, Webhooks, lock};
use crate::consent::Change;
use crate::model::Revision;

/// Changes read at a time.
const BATCH_MAX: usize = 64;
/// The cursor is stored at least so often while messages arrive, and after so many revisions that nobody asked for.
const SAVE_EVERY: Duration = Duration::from_secs(1);
const SKIPPED_MAX: u64 = 256;
/// Pause after a failure: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);
/// How long the ledger's word that nothing has changed is taken.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How far one look at the ledger came.
enum Pass {
    /// There may be more.
    More,
    /// Everything up to here was received.
    Idle(Revision),
    Failed,
    /// Nothing can be done before somebody changes something.
    Halted,
    StoreAway,
    Removed,
}

/// Serves one webhook until it is removed or the gateway stops.
pub(super) async fn serve(hooks: Arc<Webhooks>, slot: Arc<Slot>, mut stopped: watch::Receiver<bool>) {
    let mut line = Line::default();
    let mut failures = 0;
    loop {
        let pass = tokio::select! {
            pass = pass(&hooks, &slot, &mut line) => pass,
            () = stopping(&mut stopped) => break,
        };
        failures = if matches!(pass, Pass::Failed) { failures + 1 } else { 0 };
        tokio::select! {
            () = rest(&hooks, &pass, failures) => {}
            () = slot.nudge.notified() => failures = 0,
            () = stopping(&mut stopped) => break,
        }
        if matches!(pass, Pass::Removed) {
            return;
        }
    }
    save(&hooks, &slot).await;
}

/// Returns once the gateway is told to stop.
pub(super) async fn stopping(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop, too.
    drop(stopped.wait_for(|stop| *stop).await);
}

/// Waits for what may change how far it comes.
async fn rest(hooks: &Webhooks, pass: &Pass, failures: u32) {
    match pass {
        Pass::More | Pass::Removed => {}
        Pass::Idle(after) => {
            // Whichever comes first, the ledger is asked next.
            drop(tokio::time::timeout(LOOK_EVERY, hooks.signal.after(*after)).await);
        }
        Pass::Failed => tokio::time::sleep(pause(failures)).await,
        Pass::Halted => std::future::pending().await,
        Pass::StoreAway => tokio::time::sleep(LOOK_EVERY).await,
    }
}

async fn pass(hooks: &Arc<Webhooks>, slot: &Arc<Slot>, line: &mut Line) -> Pass {
    let (after, epoch) = {
        let state = lock(&slot.state);
        if state.removed {
            return Pass::Removed;
        }
        if state.progress.gone {
            return Pass::Halted;
        }
        (state.progress.after, state.epoch)
    };
    let Some(changes) = read(hooks, slot, after).await else { return Pass::StoreAway };
    let mut saved_at = hooks.clock.monotonic();
    let mut last = after;
    for (change, message) in &changes {
        last = change.revision;
        let Some(message) = message else {
            if !slot.skip(epoch, last) {
                return Pass::More;
            }
            continue;
        };
        let now = hooks.clock.now();
        let (timestamp, signature) = message.sign(&slot.hook.secret, now);
        let signed = Signed { id: message.id.clone(), timestamp, signature, body: Bytes::from(message.body.clone()) };
        let settings = hooks.settings.load_full();
        let posted = line.post(&settings, &slot.hook.target, &signed).await;
        hooks.metrics.webhook_posted(if posted.is_ok() { "received" } else { "failed" });
        if let Err(error) = posted {
            let pass = slot.fail(epoch, &error, hooks.clock.now());
            save(hooks, slot).await;
            return pass;
        }
        if !slot.receive(epoch, last, hooks.clock.now()) {
            return Pass::More;
        }
        if hooks.clock.monotonic().saturating_sub(saved_at) >= SAVE_EVERY {
            save(hooks, slot).await;
            saved_at = hooks.clock.monotonic();
        }
    }
    if slot.is_worth_saving() {
        save(hooks, slot).await;
    }
    if changes.len() == BATCH_MAX { Pass::More } else { Pass::Idle(last) }
}

/// The next changes, each with its message if the webhook wants it; `None` when the store is away.
async fn read(hooks: &Arc<Webhooks>, slot: &Arc<Slot>, after: Revision) -> Option<Vec<(Change, Option<Message>)>> {
    let (hooks, slot) = (Arc::clone(hooks), Arc::clone(slot));
    let reading = tokio::task::spawn_blocking(move || {
        let vocabulary = Arc::clone(&hooks.settings.load().vocabulary);
        let message = |change: Change| {
            let message = slot.hook.wants(&change, &vocabulary).then(|| Message::of(&hooks.ledger, &change));
            (change, message)
        };
        hooks.ledger.changes(after, BATCH_MAX).map(|changes| changes.into_iter().map(message).collect())
    });
    match reading.await {
        Ok(Ok(changes)) => Some(changes),
        Ok(Err(error)) => {
            tracing::warn!(%error, "webhooks wait for the consent store");
            None
        }
        Err(error) => {
            tracing::error!(%error, "reading for a webhook ended badly");
            None
        }
    }
}

async fn save(hooks: &Arc<Webhooks>, slot: &Arc<Slot>) {
    let (hooks, slot) = (Arc::clone(hooks), Arc::clone(slot));
    let saved = tokio::task::spawn_blocking(move || slot.save(&hooks.ledger)).await;
    // What was not stored is sent again after a restart.
    match saved {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the cursor of a webhook could not be stored"),
        Err(error) => tracing::error!(%error, "storing the cursor of a webhook ended badly"),
    }
}

impl Slot {
    /// Moves past a change that was not asked for; false when the cursor was set anew meanwhile.
    fn skip(&self, epoch: u64, to: Revision) -> bool {
        let mut state = lock(&self.state);
        let same = state.epoch == epoch && !state.removed;
        if same {
            state.progress.after = to;
        }
        same
    }

    /// A 2xx answer; false when the cursor was set anew meanwhile.
    fn receive(&self, epoch: u64, to: Revision, now: jiff::Timestamp) -> bool {
        let mut state = lock(&self.state);
        if state.progress.failing_since.take().is_some() {
            tracing::info!(webhook = self.hook.id, "a webhook is received again");
        }
        state.progress.last_error = None;
        state.progress.last_success = Some(now);
        let same = state.epoch == epoch && !state.removed;
        if same {
            state.progress.after = to;
        }
        same
    }

    fn fail(&self, epoch: u64, error: &PostError, now: jiff::Timestamp) -> Pass {
        let mut state = lock(&self.state);
        if state.progress.failing_since.is_none() {
            state.progress.failing_since = Some(now);
            tracing::warn!(webhook = self.hook.id, %error, "a webhook is not received; it is tried again");
        }
        state.progress.last_error = Some(error.to_string());
        if state.epoch != epoch {
            return Pass::More;
        }
        state.progress.gone = *error == PostError::Answered(410);
        if state.progress.gone { Pass::Halted } else { Pass::Failed }
    }

    /// What was received always is; what was only passed over can be passed over again.
    fn is_worth_saving(&self) -> bool {
        let state = lock(&self.state);
        let skipped = state.progress.after.0.saturating_sub(state.saved.after.0);
        state.progress.last_success != state.saved.last_success || skipped >= SKIPPED_MAX
    }
}

/// Doubles with each failure, and is between a half and the whole of that: receivers that broke together do not all come back
/// at once.
fn pause(failures: u32) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(PAUSE_MAX);
    let mut random = [0_u8; 4];
    // Without randomness everybody waits the whole time.
    let share = if rand::fill(&mut random).is_ok() { f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX) } else { 1.0 };
    doubled.mul_f64(f64::midpoint(1.0, share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_second_to_an_hour() {
        for (failures, most) in [(1, 1), (2, 2), (3, 4), (11, 1024), (12, 2048), (13, 3600), (40, 3600), (u32::MAX, 3600)] {
            let most = Duration::from_secs(most);
            let found = pause(failures);
            assert!(found <= most && found >= most / 2, "{failures}: {found:?}");
        }
    }
}
