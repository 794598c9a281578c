//! Answers that were given before. A snapshot is immutable and a decision depends on nothing but the facts of its question,
//! so equal questions have equal answers as long as no policy in scope reads the time. Bounded: the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

use crate::model::{Action, Category, Channel, Client, Environment, LawfulBasis, Purpose, Role, Task};

/// Answers kept per snapshot; a caller who varies the row ceiling cannot make it grow.
const REMEMBERED_MAX: usize = 16_384;

/// A use of a category without the customer: all that goes into a Cedar request but the time.
///
/// INVARIANT: kind and department of the client are those of the vocabulary; `Policies::knows` is asked before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) client: Client,
    pub(super) action: Action,
    pub(super) category: Category,
    pub(super) purpose: Purpose,
    pub(super) basis: LawfulBasis,
    pub(super) channel: Channel,
    pub(super) environment: Environment,
    pub(super) gpc: bool,
    /// Only of an export.
    pub(super) records: Option<u32>,
    /// Of an employee, sorted.
    pub(super) employee: Option<Vec<Role>>,
    pub(super) task: Option<Task>,
    pub(super) for_customer: Option<bool>,
    pub(super) customers: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Memory<K, V> {
    kept: RwLock<Kept<K, V>>,
}

#[derive(Debug)]
struct Kept<K, V> {
    answers: HashMap<K, V>,
    in_order: VecDeque<K>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self { kept: RwLock::new(Kept { answers: HashMap::new(), in_order: VecDeque::new() }) }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Memory<K, V> {
    /// The answer given before, else the one that `anew` gives now.
    pub(super) fn get_or(&self, key: K, anew: impl FnOnce() -> V) -> V {
        if let Some(known) = self.kept.read().unwrap_or_else(PoisonError::into_inner).answers.get(&key) {
            return known.clone();
        }
        let answer = anew();
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.answers.insert(key.clone(), answer.clone()).is_none() {
            kept.in_order.push_back(key);
        }
        while kept.in_order.len() > REMEMBERED_MAX
            && let Some(oldest) = kept.in_order.pop_front()
        {
            kept.answers.remove(&oldest);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_the_oldest_go_first() {
        let memory = Memory::default();
        for n in 0..=REMEMBERED_MAX {
            assert_eq!(n, memory.get_or(n, || n));
        }
        assert_eq!(REMEMBERED_MAX, memory.kept.read().unwrap().answers.len());
        assert_eq!(1, memory.get_or(1, || 7), "kept");
        assert_eq!(7, memory.get_or(0, || 7), "forgotten");
    }
}
