//! Which tokens were found well signed. Nothing else is remembered: whether a token counts is judged per request.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;

use super::keys::Key;

/// Tokens per generation; two generations of 32-byte digests are some 2 MiB at most.
const GENERATION_MAX: usize = 10_000;

/// SHA-256 over key and token. Only good results are kept: a bad one costs its sender as much as us.
#[derive(Debug, Default)]
pub(super) struct SignatureCache(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    current: HashSet<[u8; 32]>,
    previous: HashSet<[u8; 32]>,
}

impl SignatureCache {
    /// The name under which this key's result for this token is kept. With the key in it, a key that was replaced or
    /// withdrawn takes its results along.
    pub(super) fn name(key: &Key, token: &str) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&key.fingerprint);
        hash.update(token.as_bytes());
        let mut name = [0; 32];
        name.copy_from_slice(hash.finish().as_ref());
        name
    }

    pub(super) fn knows(&self, name: &[u8; 32]) -> bool {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.current.contains(name) {
            return true;
        }
        let old = generations.previous.remove(name);
        if old {
            generations.keep(*name);
        }
        old
    }

    pub(super) fn keep(&self, name: [u8; 32]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keep(name);
    }
}

impl Generations {
    fn keep(&mut self, name: [u8; 32]) {
        if self.current.len() >= GENERATION_MAX {
            self.previous = std::mem::take(&mut self.current);
        }
        self.current.insert(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> [u8; 32] {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&n.to_le_bytes());
        name
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let cache = SignatureCache::default();
        for n in 0..5 * GENERATION_MAX {
            cache.keep(name(n));
            assert!(cache.knows(&name(0)), "used all the time, {n}");
        }
        assert!(!cache.knows(&name(1)), "long unused");
        let generations = cache.0.lock().unwrap();
        assert!(generations.current.len() + generations.previous.len() <= 2 * GENERATION_MAX);
    }
}
