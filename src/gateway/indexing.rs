//! Keeps the search index of the log up to date. Nothing waits for it but questions.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::audit::LiveIndex;

/// How often what is new is read in: half of how far behind a question may find it.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Indexing {
    index: Arc<LiveIndex>,
    trouble: Mutex<Option<String>>,
}

impl Indexing {
    pub(super) fn new(index: Arc<LiveIndex>) -> Arc<Self> {
        Arc::new(Self { index, trouble: Mutex::default() })
    }

    pub(super) fn index(&self) -> &LiveIndex {
        &self.index
    }

    /// Why searches fail, for readiness.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, trouble: Option<String>) {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // Said once, not every second.
        if let Some(why) = trouble.as_ref().filter(|why| known.as_ref() != Some(why)) {
            tracing::warn!(why, "the decision log is not indexed; searches are refused");
        }
        *known = trouble;
    }

    pub(super) async fn keep_following(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            let index = Arc::clone(&self.index);
            let followed = tokio::task::spawn_blocking(move || index.follow().map_err(|error| error.to_string())).await;
            let followed = followed.unwrap_or_else(|error| Err(error.to_string()));
            // Of a log that is long and new to the index, one piece after another, so that a stop is not held up.
            let pause = if followed == Ok(false) { Duration::ZERO } else { FOLLOW_EVERY };
            let trouble = followed.err();
            self.note(trouble);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        }
    }
}
