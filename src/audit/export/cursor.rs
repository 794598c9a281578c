//! Reads a log from any entry on, one entry at a time, with what its dictionary entries stand for.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use serde_json::Value;

use crate::audit::error::AuditError;
use crate::audit::read::{Logged, resolve};
use crate::audit::tail;

/// Memory: one chunk of the log, and the dictionary of one segment.
#[derive(Debug)]
pub(super) struct Cursor {
    tail: tail::Tail,
    /// The first entry that is given out; those before it are only looked through for dictionary entries.
    from: u64,
    /// Entries that were read and not given out: index, first index of the segment, bytes.
    waiting: VecDeque<(u64, u64, Vec<u8>)>,
    segment: u64,
    dictionary: HashMap<u64, Value>,
}

impl Cursor {
    pub(super) fn open(dir: &Path, from: u64) -> Result<Self, AuditError> {
        let tail = tail::Tail::open(dir, from)?;
        Ok(Self { tail, from, waiting: VecDeque::new(), segment: 0, dictionary: HashMap::new() })
    }

    /// The entry that [`Cursor::next`] gives next.
    pub(super) fn index(&self) -> u64 {
        self.waiting.front().map_or_else(|| self.tail.index(), |(index, ..)| *index).max(self.from)
    }

    /// The next entry below `bound`, which must be durable; without a bound the next whole one. `None`: there is none yet.
    pub(super) fn next(&mut self, bound: Option<u64>) -> Result<Option<Logged>, AuditError> {
        while bound.is_none_or(|bound| self.index() < bound) {
            let Some((index, segment, raw)) = self.waiting.pop_front() else {
                let waiting = &mut self.waiting;
                // What is pruned tells nothing any more.
                let each = |entry: tail::Tailed<'_>| waiting.extend(entry.held.entry().map(|raw| (entry.index, entry.segment, raw.to_vec())));
                match self.tail.read(bound.unwrap_or(u64::MAX), bound.is_some(), each)? {
                    0 => return Ok(None),
                    _ => continue,
                }
            };
            // Entries refer to dictionary entries of their segment.
            if segment != self.segment {
                self.dictionary.clear();
                self.segment = segment;
            }
            if index >= self.from {
                return Ok(Some(resolve(index, raw, &mut self.dictionary)));
            }
            if raw.starts_with(b"{\"class\":") {
                resolve(index, raw, &mut self.dictionary);
            }
        }
        Ok(None)
    }
}
