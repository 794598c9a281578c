//! Ids that requests named and that nobody is known by: how often, and about how many different ones, by space. Counted since
//! the start, without keeping any id.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Mutex;

use crate::model::{Identifier, Space};

use super::health::lock;

#[derive(Debug, Default)]
pub(super) struct Gaps {
    seen: Mutex<BTreeMap<Space, Seen>>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Seen {
    times: u64,
    ids: HashSet<u64>,
}

/// What is missing in the crosswalk, for one id space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub space: Space,
    /// Requests since the start that named an unknown id.
    pub requests: u64,
    /// Different unknown ids among them; counted up to 100,000.
    pub ids: u64,
    /// Ids under which something was said and that nobody is known by.
    pub waiting: u64,
}

impl Gaps {
    pub(super) fn note(&self, id: &Identifier) {
        let hash = self.hasher.hash_one(&id.value);
        let mut seen = lock(&self.seen);
        let seen = seen.entry(id.space).or_default();
        seen.times = seen.times.saturating_add(1);
        if seen.ids.len() < IDS_MAX {
            seen.ids.insert(hash);
        }
    }

    pub(super) fn list(&self, waiting: &[(Space, u64)]) -> Vec<Gap> {
        let seen = lock(&self.seen);
        let spaces: std::collections::BTreeSet<Space> = seen.keys().copied().chain(waiting.iter().map(|(space, _)| *space)).collect();
        let mut gaps: Vec<Gap> = spaces
            .into_iter()
            .map(|space| Gap {
                space,
                requests: seen.get(&space).map_or(0, |seen| seen.times),
                ids: seen.get(&space).map_or(0, |seen| u64::try_from(seen.ids.len()).unwrap_or(u64::MAX)),
                waiting: waiting.iter().find(|(of, _)| *of == space).map_or(0, |(_, n)| *n),
            })
            .collect();
        gaps.sort_by_key(|gap| gap.space.as_str());
        gaps
    }
}

/// Different unknown ids that are told apart for each space.
const IDS_MAX: usize = 100_000;
