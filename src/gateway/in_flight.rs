//! How many requests of one client are under way at once, answers included: a client that asks for everything at the same time must
//! leave room for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::problem::{Code, Details, Problem};
use crate::model::Client;

/// Requests under way, by client.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<Mutex<HashMap<Client, u32>>>);

/// A request that is under way for as long as this lives.
#[derive(Debug)]
pub(super) struct Admitted {
    of: InFlight,
    client: Client,
}

impl InFlight {
    /// Admits a request unless so many are under way.
    pub(super) fn admit(&self, client: Client, most: u32) -> Result<Admitted, Problem> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(client).or_default();
        if *count >= most {
            let details = Details {
                remedy: Some(format!("wait for answers before asking more: this client may have {most} requests under way")),
                retry_after: Some(1),
                ..Details::default()
            };
            return Err(Problem::with(Code::OverBudget, details));
        }
        *count += 1;
        Ok(Admitted { of: self.clone(), client })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut all = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has none under way is forgotten.
        if let Some(count) = all.get_mut(&self.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_under_way_and_no_more() {
        let (all, one, other) = (InFlight::default(), Client::intern("crm"), Client::intern("helpdesk"));
        let held: Vec<Admitted> = (0..3).map(|_| all.admit(one, 3).unwrap()).collect();
        assert_eq!(Code::OverBudget, all.admit(one, 3).unwrap_err().code);
        assert!(all.admit(other, 3).is_ok(), "each has its own");
        drop(held);
        assert!(all.0.lock().unwrap().is_empty());
        assert!(all.admit(one, 3).is_ok());
    }

    #[test]
    fn many_at_once_never_exceed_it() {
        let (all, one) = (InFlight::default(), Client::intern("crm"));
        let most = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let Ok(held) = all.admit(one, 5) else { continue };
                        let now = all.0.lock().unwrap()[&one];
                        most.fetch_max(now, std::sync::atomic::Ordering::SeqCst);
                        drop(held);
                    }
                });
            }
        });
        assert!((1..=5).contains(&most.into_inner()));
        assert!(all.0.lock().unwrap().is_empty());
    }
}
