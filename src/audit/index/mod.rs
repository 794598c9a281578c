//! The search index: SQLite files that say which decisions an officer's question may mean. It is derived from the log and can be
//! built anew at any time; answers are read from the log's own entries, so that the index can leave something out but never say
//! something else ([`Index::check`] finds what is left out).
//!
//! ```text
//! index/partition-<first entry, 20 digits>.db   rows of 2^20 entries; one file without journals once it is full
//! index/lock                                    one process writes
//! ```

mod ask;
mod check;
mod error;
mod gather;
mod live;
mod other;
mod partition;
mod rows;
mod scan;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

pub use ask::{Answer, Query};
pub use check::Difference;
pub use error::IndexError;
pub use gather::Verdict;
pub use live::LiveIndex;
pub use other::{KindAnswer, KindQuery, Rejected};
pub use scan::{Names, Reading, Row, Window};

use super::error::AuditError;
use super::key::Vkey;
use super::lock::DirLock;
use super::log::VKEY_FILE;
use super::queue::lock;
use super::read::{Logged, Spans};
use super::segment::{self, SegmentFile};
use super::tail::entry_at;
use partition::{PARTITION_ENTRIES, Partition, first_of};
use write::Writer;

/// The folder within the log's.
pub const INDEX_FOLDER: &str = "index";
/// Connections that wait for the next question.
const IDLE_PARTITIONS_MAX: usize = 64;
/// Dictionary entries that are kept; some hundred bytes each.
const DICTIONARY_ENTRIES_MAX: usize = 8_192;

/// The index of one log.
pub struct Index {
    log: PathBuf,
    dir: PathBuf,
    origin: String,
    writer: Mutex<Writer>,
    /// Of a partition.
    size: u64,
    /// Entries that are indexed: known without waiting for the writer.
    entries: AtomicU64,
    idle: Mutex<Idle>,
    /// Where entries are that have moved.
    spans: Mutex<Spans>,
    dictionary: Mutex<HashMap<u64, Value>>,
    _lock: DirLock,
}

/// Connections by partition. Those that were made before the files changed are not put back.
#[derive(Default)]
struct Idle {
    partitions: HashMap<u64, Partition>,
    generation: u64,
}

impl Idle {
    fn forget(&mut self) {
        self.partitions.clear();
        self.generation += 1;
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Index {
    /// Opens or begins the index of the log in `log`, in `dir`. Partitions that are not of this log, or of more than is in it, are
    /// removed. Nothing is read into it before [`Self::catch_up`].
    ///
    /// # Errors
    /// When there is no log, the folder cannot be written, or another process writes the index.
    pub fn open(log: &Path, dir: &Path) -> Result<Self, IndexError> {
        Self::open_with(log, dir, PARTITION_ENTRIES)
    }

    pub(super) fn open_with(log: &Path, dir: &Path, size: u64) -> Result<Self, IndexError> {
        let vkey = std::fs::read_to_string(log.join(VKEY_FILE)).map_err(|_away| AuditError::NoLog { dir: log.to_owned() })?;
        let origin = Vkey::parse(&vkey).ok_or_else(|| AuditError::VerifierKey { text: vkey.trim().to_owned() })?.name;
        let lock = DirLock::take(dir).map_err(IndexError::of_lock)?;
        let writer = Writer::open(log, dir, size)?;
        let entries = AtomicU64::new(writer.beyond());
        let writer = Mutex::new(writer);
        let (log, dir) = (log.to_owned(), dir.to_owned());
        let spans = Mutex::new(Spans::new(segment::directories(&log)));
        Ok(Self { log, dir, origin, writer, size, entries, idle: Mutex::default(), spans, dictionary: Mutex::default(), _lock: lock })
    }

    /// Reads on to before entry `to`, which is at most what is durable; `u64::MAX` for all of a log that nobody writes. `progress`
    /// is told how many entries are indexed. Returns that number.
    ///
    /// # Errors
    /// When the log or the index cannot be read or written. What was committed stays.
    pub fn catch_up(&self, to: u64, mut progress: impl FnMut(u64)) -> Result<u64, IndexError> {
        loop {
            let (beyond, is_done) = self.step(to)?;
            progress(beyond);
            if is_done {
                return Ok(beyond);
            }
        }
    }

    /// As [`Self::catch_up`], but not all at once; how many entries are indexed, and whether that is all.
    fn step(&self, to: u64) -> Result<(u64, bool), IndexError> {
        let mut writer = lock(&self.writer);
        let advanced = writer.advance(to).inspect_err(|_| lock(&self.idle).forget());
        self.entries.store(writer.beyond(), Ordering::Release);
        advanced
    }

    /// Entries that are indexed.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Acquire)
    }

    /// Forgets everything; [`Self::catch_up`] reads it again.
    ///
    /// # Errors
    /// When the files cannot be removed.
    pub fn clear(&self) -> Result<(), IndexError> {
        let mut writer = lock(&self.writer);
        lock(&self.idle).forget();
        for first in partition::list(&self.dir)? {
            partition::remove(&self.dir, first)?;
        }
        *writer = Writer::open(&self.log, &self.dir, self.size)?;
        self.entries.store(writer.beyond(), Ordering::Release);
        Ok(())
    }

    /// Builds those partitions anew of which something was pruned since they were read in, one after another, until `stop` says so;
    /// whether that is all. Questions are answered meanwhile.
    ///
    /// # Errors
    /// When log or index cannot be read or written.
    pub fn renew(&self, stop: impl Fn() -> bool) -> Result<bool, IndexError> {
        for first in self.partitions()? {
            if stop() {
                return Ok(false);
            }
            // The one that grows stands still meanwhile.
            let mut writer = lock(&self.writer);
            if first == writer.first() {
                if self.renew_one(first)? {
                    *writer = Writer::open(&self.log, &self.dir, self.size)?;
                    self.entries.store(writer.beyond(), Ordering::Release);
                }
            } else {
                drop(writer);
                self.renew_one(first)?;
            }
        }
        Ok(true)
    }

    /// Whether it had to be.
    fn renew_one(&self, first: u64) -> Result<bool, IndexError> {
        let segments = segment::of_log(&self.log)?;
        let partition = Partition::open(&self.dir, first)?;
        let Some(extent) = partition.extent()? else { return Ok(false) };
        if !partition.is_stale(&segments)? {
            return Ok(false);
        }
        drop(partition);
        let anew = tempfile::Builder::new().prefix("index-renew-").tempdir_in(&self.dir).map_err(|e| IndexError::io(&self.dir, &e))?;
        Writer::build(&self.log, anew.path(), self.size, first, extent.beyond)?;
        Partition::create(&self.dir, first)?.replace_with(&partition::path_of(anew.path(), first))?;
        lock(&self.idle).forget();
        lock(&self.dictionary).clear();
        Ok(true)
    }

    /// The folder of the log that it is of.
    #[must_use]
    pub fn log_dir(&self) -> &Path {
        &self.log
    }

    /// With the partition that begins with `first`, if there is one.
    fn with<T>(&self, first: u64, ask: impl FnOnce(&Partition) -> Result<T, IndexError>) -> Result<Option<T>, IndexError> {
        let (kept, generation) = {
            let mut idle = lock(&self.idle);
            (idle.partitions.remove(&first), idle.generation)
        };
        let partition = match kept {
            Some(partition) => partition,
            None if partition::path_of(&self.dir, first).exists() => Partition::open(&self.dir, first)?,
            None => return Ok(None),
        };
        let answer = ask(&partition)?;
        let mut idle = lock(&self.idle);
        if idle.generation == generation && idle.partitions.len() < IDLE_PARTITIONS_MAX {
            idle.partitions.insert(first, partition);
        }
        Ok(Some(answer))
    }

    /// The first entries of all partitions, in order.
    fn partitions(&self) -> Result<Vec<u64>, IndexError> {
        partition::list(&self.dir)
    }

    /// All entries of a decision from the log, head first; `None` when there is no such decision, or it is pruned.
    fn entries_of(&self, segments: &[SegmentFile], partitions: &[u64], head: u64) -> Result<Option<Vec<Logged>>, IndexError> {
        let mut found = Vec::new();
        for &first in partitions.iter().filter(|&&first| first >= first_of(head, self.size)) {
            let Some(entries) = self.with(first, |partition| partition.entries(head))? else { continue };
            if first == first_of(head, self.size) {
                let Some(place) = entries.head else { return Ok(None) };
                found.push((head, place));
            }
            found.extend(entries.pieces);
            if entries.is_over {
                break;
            }
        }
        let mut entries = Vec::with_capacity(found.len());
        for (index, place) in found {
            match self.logged(segments, index, Some(place))? {
                Some(logged) => entries.push(logged),
                None if index == head => return Ok(None),
                // Of what is being pruned.
                None => {}
            }
        }
        Ok(Some(entries).filter(|entries| !entries.is_empty()))
    }

    /// `None` when it is pruned.
    fn logged(&self, segments: &[SegmentFile], index: u64, place: Option<u64>) -> Result<Option<Logged>, IndexError> {
        let Some(raw) = self.raw(segments, index, place)? else { return Ok(None) };
        let (mut failed, mut is_gone) = (None, false);
        let logged = Logged::read(index, raw, |dictionary| match self.meaning(segments, dictionary) {
            Ok(value) => {
                // It goes together with what refers to it.
                is_gone |= value.is_none();
                value
            }
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        failed.map_or(Ok((!is_gone).then_some(logged)), Err)
    }

    /// `None` when it is pruned. Until a partition is renewed entries stand elsewhere than it says.
    fn raw(&self, segments: &[SegmentFile], index: u64, place: Option<u64>) -> Result<Option<Vec<u8>>, IndexError> {
        let told = place.map(|place| entry_at(segments, index, place));
        match told {
            Some(Ok(found)) => Ok(found),
            Some(Err(_)) | None => lock(&self.spans).one(index).map_err(|error| self.astray(&error)),
        }
    }

    /// What a dictionary entry stands for; `None` when it is pruned.
    fn meaning(&self, segments: &[SegmentFile], index: u64) -> Result<Option<Value>, IndexError> {
        if let Some(known) = lock(&self.dictionary).get(&index) {
            return Ok(Some(known.clone()));
        }
        let place = self.with(first_of(index, self.size), |partition| partition.place(index))?.flatten();
        let Some(raw) = self.raw(segments, index, place)? else { return Ok(None) };
        let mut entry: Value = serde_json::from_slice(&raw).map_err(|_other| self.astray(&segment::missing(index)))?;
        let value = entry.get_mut("value").map(Value::take).unwrap_or_default();
        let mut dictionary = lock(&self.dictionary);
        if dictionary.len() >= DICTIONARY_ENTRIES_MAX {
            dictionary.clear();
        }
        dictionary.insert(index, value.clone());
        Ok(Some(value))
    }

    fn astray(&self, error: &AuditError) -> IndexError {
        IndexError::Astray { dir: self.dir.clone(), log: self.log.clone(), reason: error.to_string() }
    }
}
