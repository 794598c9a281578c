//! Keeps the ledger's snapshot from growing old, so that a start, also after a crash, need not read every event. It is written in
//! pieces beside the requests; when it cannot be written readiness is degraded and nothing else suffers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::running::stopping;
use super::state::Shared;
use crate::model::Revision;

/// A ledger of fewer customers is read in a moment.
const SNAPSHOT_CUSTOMERS_MIN: u64 = 10_000;
/// So many changes make the snapshot old,
const SNAPSHOT_REVISIONS: u64 = 10_000;
/// and so much time, if anything changed.
const SNAPSHOT_AGE: Duration = Duration::from_secs(600);
/// Least time between two snapshots.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Writes the snapshot whenever it has grown old.
pub(super) async fn keep_snapshot(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut written = shared.clock.monotonic();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stopping(&mut stopped) => return,
        }
        let age = shared.clock.monotonic().saturating_sub(written);
        if is_old(shared.ledger.party_count(), shared.ledger.snapshot_revision(), shared.ledger.revision(), age) {
            write_snapshot(&shared).await;
            written = shared.clock.monotonic();
        }
    }
}

/// Writes the snapshot unless nothing has changed since the last one.
pub(super) async fn write_snapshot(shared: &Arc<Shared>) {
    if shared.ledger.snapshot_revision() == shared.ledger.revision() {
        return;
    }
    let ledger = Arc::clone(&shared.ledger);
    match tokio::task::spawn_blocking(move || ledger.write_snapshot()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "a start will take longer"),
        Err(error) => tracing::error!(%error, "writing the snapshot ended badly"),
    }
}

fn is_old(customers: u64, kept: Revision, now: Revision, age: Duration) -> bool {
    let changes = now.0.saturating_sub(kept.0);
    customers > SNAPSHOT_CUSTOMERS_MIN && changes > 0 && (changes >= SNAPSHOT_REVISIONS || age >= SNAPSHOT_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_grows_old_by_changes_or_by_time_with_any_change() {
        let (few, many) = (SNAPSHOT_CUSTOMERS_MIN, SNAPSHOT_CUSTOMERS_MIN + 1);
        let (fresh, aged) = (LOOK_EVERY, SNAPSHOT_AGE);
        for (customers, kept, now, age, old) in [
            (many, 0, 1, aged, true),
            (many, 0, SNAPSHOT_REVISIONS, fresh, true),
            (many, 5, 5 + SNAPSHOT_REVISIONS, fresh, true),
            (many, 5, 4 + SNAPSHOT_REVISIONS, fresh, false),
            (many, 7, 7, aged * 100, false),
            (few, 0, u64::MAX, aged, false),
        ] {
            assert_eq!(is_old(customers, Revision(kept), Revision(now), age), old, "{customers} {kept} {now} {age:?}");
        }
    }
}
