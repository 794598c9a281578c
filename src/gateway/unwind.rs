//! A request whose handling breaks down: a defect of ours, met by some input. It costs that request alone. Nothing of it has gone
//! out by then, since an answer is made last; the caller is told so, and the log. Where the defect is says the process' panic hook.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The work panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BrokeDown;

/// The outcome of the work, unless it panics.
///
/// What several requests share goes on as it is: whoever takes a lock next takes it over, poisoned or not, as everywhere here.
pub(super) async fn unbroken<F: Future>(work: F) -> Result<F::Output, BrokeDown> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
        // Its message may quote data; it goes nowhere.
        Err(_payload) => Poll::Ready(Err(BrokeDown)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_at_once_or_later_ends_as_broken_down() {
        assert_eq!(Ok(7), unbroken(async { 7 }).await);
        for pauses in [0, 1, 3] {
            let work = async {
                for _ in 0..pauses {
                    tokio::task::yield_now().await;
                }
                assert!(pauses > 5, "broken on purpose");
                7
            };
            assert_eq!(Err(BrokeDown), unbroken(work).await, "{pauses}");
        }
    }
}
