//! Seals segments that are finished and signed, the oldest first, in a thread of its own. Nothing waits for it; what cannot be sealed
//! stays as it is, and is tried again.

use std::sync::PoisonError;
use std::time::Duration;

use super::content;
use super::disk;
use super::error::AuditError;
use super::queue::lock;
use super::sealed;
use super::segment::{self, SegmentFile, SegmentName};
use super::writer::Shared;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The sealer's thread.
pub(super) fn run(shared: &Shared) {
    let (mut done, mut pause, mut told) = (Done::default(), LOOK_EVERY, None);
    while is_open_after(shared, pause) {
        let sealed = seal_finished(shared, &mut done);
        pause = if sealed.is_ok() { LOOK_EVERY } else { RETRY_AFTER };
        let trouble = sealed.err().map(|error| error.to_string());
        if trouble != told
            && let Some(why) = &trouble
        {
            tracing::warn!(why, "a finished segment of the decision log stays as it is, not compressed");
        }
        told = trouble;
    }
}

/// What need not be looked at again.
#[derive(Debug, Default)]
pub(super) struct Done {
    up_to: Option<SegmentName>,
    /// First entry of the segment that grew.
    growing: u64,
}

/// Seals what can be sealed now. Between two segments the processor is left to others for as long as the last one took.
pub(super) fn seal_finished(shared: &Shared, done: &mut Done) -> Result<(), AuditError> {
    let growing = lock(&shared.progress).growing;
    if growing == done.growing || lock(&shared.signed).size < growing {
        return Ok(());
    }
    let segments = segment::list(&shared.dirs)?;
    let mut damage = None;
    for (file, next) in segments.iter().zip(segments.iter().skip(1)) {
        if done.up_to.is_some_and(|up_to| file.name <= up_to) {
            continue;
        }
        if next.name.first > growing {
            return Ok(());
        }
        let began = shared.clock.monotonic();
        match seal(shared, file, next.name.first) {
            Ok(true) if !is_open_after(shared, shared.clock.monotonic().saturating_sub(began)) => return Ok(()),
            Ok(_) => {}
            // The others can be sealed nevertheless.
            Err(error @ AuditError::Damaged { .. }) => damage = damage.or(Some(error)),
            Err(error) => return Err(error),
        }
        if damage.is_none() {
            done.up_to = Some(file.name);
        }
    }
    match damage {
        Some(damage) => Err(damage),
        None => {
            done.growing = growing;
            Ok(())
        }
    }
}

/// Whether it had to be.
fn seal(shared: &Shared, file: &SegmentFile, limit: u64) -> Result<bool, AuditError> {
    // Pruning writes segments anew, too.
    let _alone = lock(&shared.rewriting);
    if content::is_sealed(file)? {
        return Ok(false);
    }
    // After its end the files may be another process's.
    shared.queue.healthy()?;
    let data = std::fs::read(&file.path).map_err(|e| AuditError::io(&file.path, &e))?;
    let Some(bytes) = sealed::seal(file, &data, limit)? else { return Ok(false) };
    disk::exchange(&*shared.disk, &file.path, &bytes)?;
    Ok(true)
}

/// False at once when the log is closed.
fn is_open_after(shared: &Shared, pause: Duration) -> bool {
    let progress = lock(&shared.progress);
    let (progress, _) = shared.progressed.wait_timeout_while(progress, pause, |p| !p.closed).unwrap_or_else(PoisonError::into_inner);
    !progress.closed
}
