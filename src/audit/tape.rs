//! The end of the log, where entries are put: buffers a batch, syncs it, goes on to the next segment when one is full, and
//! to another directory when a disk fails. Used by the writer thread alone.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::disk::{Disk, DiskFile};
use super::encode;
use super::entry::Entry;
use super::json::{Class, Draft};
use super::lag::{Ahead, Lag, Until};
use super::roots::{TILE_HEIGHT, TILE_WIDTH};
use super::segment::{self, FRAME_HEADER_BYTES, SEGMENT_BYTES_MIN, SegmentName};
use super::tree::{Hash, Tree, leaf};

/// Why the disk is not written to any more. After a failed write or sync nobody knows what is on the disk, so nothing is
/// tried again on that file.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// As in the `stop` entry.
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

impl Failure {
    fn of(what: &'static str, path: &Path, cause: &io::Error) -> Self {
        let is_full = matches!(cause.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge);
        let reason = if is_full { "disk-full" } else { what };
        Self { reason, detail: format!("{reason}: `{}`: {cause}", path.display()) }
    }
}

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) name: SegmentName,
    pub(super) path: PathBuf,
    /// Position of its directory.
    pub(super) dir: usize,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) capacity: u64,
    /// Where the next frame goes.
    pub(super) offset: u64,
}

#[derive(Debug)]
pub(super) struct Tape {
    disk: Arc<dyn Disk>,
    dirs: Vec<PathBuf>,
    /// Directories whose disk failed since the start.
    failed: Vec<bool>,
    segment_bytes: u64,
    /// The newest name that was tried, also in vain.
    tried: SegmentName,
    segment: OpenSegment,
    /// Frames that are not written yet.
    buffer: Vec<u8>,
    /// With the buffer.
    tree: Tree,
    /// What stands in the file; as much as is durable, but in `bounded` mode.
    written: Tree,
    /// What is durable.
    synced: Tree,
    /// In `bounded` mode: what the segment holds, for another disk.
    kept: Option<Kept>,
    /// Who syncs what is written; `None`: whoever writes.
    lag: Option<Arc<Lag>>,
    /// Roots of tiles that are full, of those that are durable and of the others.
    roots: Vec<Hash>,
    roots_ahead: Vec<Hash>,
    /// Where the dictionary entries of this segment stand. A segment refers to itself only, so that it can be read alone.
    dictionary: HashMap<Class, u64>,
    syncs: u64,
}

/// All that was written to a segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// Before its first entry.
    pub(super) begun: Tree,
    pub(super) frames: Vec<u8>,
}

/// Classes remembered at most; then they are written anew.
const DICTIONARY_MAX: usize = 65_536;

impl Tape {
    /// Goes on in `segment`, before which stand the entries of `tree`.
    pub(super) fn resume(disk: Arc<dyn Disk>, dirs: Vec<PathBuf>, segment_bytes: u64, segment: OpenSegment, tree: Tree) -> Self {
        Self {
            failed: vec![false; dirs.len()],
            disk,
            dirs,
            segment_bytes,
            tried: segment.name,
            segment,
            buffer: Vec::new(),
            written: tree.clone(),
            synced: tree.clone(),
            kept: None,
            lag: None,
            tree,
            roots: Vec::new(),
            roots_ahead: Vec::new(),
            dictionary: HashMap::new(),
            syncs: 0,
        }
    }

    /// Begins an empty log.
    pub(super) fn create(disk: Arc<dyn Disk>, dirs: Vec<PathBuf>, segment_bytes: u64) -> Result<Self, Failure> {
        let dir = dirs.first().cloned().unwrap_or_default();
        let name = SegmentName { first: 0, attempt: 0 };
        let source = spare_file(&*disk, &dir, segment_bytes)?;
        let segment = begin(&*disk, &source, &dir, 0, name, &Tree::default(), &[])?;
        Ok(Self::resume(disk, dirs, segment_bytes, segment, Tree::default()))
    }

    /// For `bounded` mode: what the segment holds already.
    pub(super) fn keep(&mut self, kept: Kept) {
        self.kept = Some(kept);
    }

    /// From now on another thread syncs.
    pub(super) fn leave_syncs_to(&mut self, lag: Arc<Lag>) {
        self.lag = Some(lag);
    }

    /// Entries that stand in the file: what a failure leaves, wherever the log goes on.
    pub(super) fn written(&self) -> u64 {
        self.written.size()
    }

    pub(super) fn synced(&self) -> &Tree {
        &self.synced
    }

    /// Entries with those that are not durable yet.
    pub(super) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Flushes since this was asked last.
    pub(super) fn take_syncs(&mut self) -> u64 {
        std::mem::take(&mut self.syncs)
    }

    /// Position of the directory in use.
    pub(super) fn dir(&self) -> usize {
        self.segment.dir
    }

    /// First entry of the segment in use.
    pub(super) fn growing(&self) -> u64 {
        self.segment.name.first
    }

    /// Puts an entry, and before it the dictionary entries that this segment lacks; returns its index. Not durable yet.
    pub(super) fn put(&mut self, draft: &Draft, now: Timestamp) -> Result<u64, Failure> {
        if self.dictionary.len() > DICTIONARY_MAX {
            self.dictionary.clear();
        }
        let frames = |tape: &Self| {
            let missing: Vec<Class> = draft.classes().filter(|c| !tape.dictionary.contains_key(c)).cloned().collect();
            let texts: Vec<String> = missing.iter().map(|c| encode::dictionary(c, now)).collect();
            let bytes = texts.iter().map(|t| t.len() + FRAME_HEADER_BYTES).sum::<usize>() + FRAME_HEADER_BYTES + draft.bytes_max();
            (missing, texts, bytes)
        };
        let (mut missing, mut texts, bytes) = frames(self);
        if !self.fits(bytes) {
            self.sync()?;
            self.begin_in(self.segment.dir)?;
            (missing, texts, _) = frames(self);
        }
        for (class, text) in missing.into_iter().zip(texts) {
            // One draft may name a class twice.
            if !self.dictionary.contains_key(&class) {
                let index = self.push(&text)?;
                self.dictionary.insert(class, index);
            }
        }
        let text = draft.fill(|class| self.dictionary.get(class).copied().unwrap_or_default());
        self.push(&text)
    }

    /// Makes everything that was put durable.
    pub(super) fn sync(&mut self) -> Result<(), Failure> {
        self.commit(Until::Synced)
    }

    /// Writes everything that was put, and makes as much of it durable as the mode wants. Without a [`Lag`]: all.
    pub(super) fn commit(&mut self, until: Until) -> Result<(), Failure> {
        match self.lag.clone() {
            None => {
                if self.buffer.is_empty() {
                    return Ok(());
                }
                self.write()?;
                sync_file(&*self.segment.file, &self.segment.path)?;
                self.advance();
                self.syncs += 1;
                Ok(())
            }
            Some(lag) => {
                if !self.buffer.is_empty() {
                    self.write()?;
                    self.advance();
                    lag.wrote(Ahead { file: self.segment.file.clone(), path: self.segment.path.clone(), tree: self.written.clone() });
                }
                let synced = lag.wait(until)?;
                self.settle(synced);
                Ok(())
            }
        }
    }

    fn write(&self) -> Result<(), Failure> {
        let segment = &self.segment;
        segment.file.write_at(&self.buffer, segment.offset).map_err(|e| Failure::of("write-failed", &segment.path, &e))
    }

    /// What is buffered stands in the file; where nobody else syncs, durably.
    fn advance(&mut self) {
        self.segment.offset += u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        if let Some(kept) = &mut self.kept {
            kept.frames.extend_from_slice(&self.buffer);
        }
        self.buffer.clear();
        self.written = self.tree.clone();
        if self.lag.is_none() {
            self.settle(self.written.clone());
        }
    }

    fn settle(&mut self, synced: Tree) {
        let full = (synced.size() / TILE_WIDTH).saturating_sub(self.synced.size() / TILE_WIDTH);
        let full = usize::try_from(full).unwrap_or(usize::MAX).min(self.roots_ahead.len());
        self.roots.extend(self.roots_ahead.drain(..full));
        self.synced = synced;
    }

    /// Roots of tiles that have become full and durable since this was asked last.
    pub(super) fn take_roots(&mut self) -> Vec<Hash> {
        std::mem::take(&mut self.roots)
    }

    /// After a failure: forgets what does not stand in the file and goes on in a directory that has not failed yet. What stands
    /// in the file and is not durable is written there once more, under the same indexes.
    pub(super) fn take_over(&mut self, why: &Failure, start: &Draft, now: Timestamp) -> Result<(), Failure> {
        let lag = self.lag.take();
        self.fail();
        let Some(other) = self.failed.iter().position(|failed| !failed) else { return Err(why.clone()) };
        let left = self.segment.path.clone();
        let is_again = self.is_ahead();
        if is_again { self.begin_again(other) } else { self.begin_in(other) }?;
        self.put(&stop(why.reason, now), now)?;
        self.put(start, now)?;
        self.sync()?;
        if is_again {
            // All of it stands in the other file. Where it cannot be removed it is passed over, since the other has its first index.
            std::fs::remove_file(left).unwrap_or_default();
        }
        if let Some(lag) = lag {
            lag.reset(self.synced.clone());
            self.lag = Some(lag);
        }
        Ok(())
    }

    /// Entries that were acknowledged may not be durable.
    fn is_ahead(&self) -> bool {
        self.written.size() > self.synced.size()
    }

    /// After the last failure: writes that this is the end into the segment that was kept for it. What may not be durable goes
    /// before it, into another file; where that fails, too, nothing is written: the next start finds what the file still holds.
    pub(super) fn stop_in_reserve(&mut self, why: &Failure, now: Timestamp) -> Result<(), Failure> {
        self.lag = None;
        self.fail();
        let mut result = Err(why.clone());
        for (at, dir) in self.dirs.clone().iter().enumerate() {
            let begun = if self.is_ahead() { self.begin_again(at) } else { self.begin_with(&dir.join(RESERVE), at) };
            result = begun.and_then(|()| self.put(&stop(why.reason, now), now)).and_then(|_| self.sync());
            if result.is_ok() {
                break;
            }
            self.forget();
        }
        result
    }

    /// Goes on in a new segment of that directory.
    pub(super) fn begin_in(&mut self, dir: usize) -> Result<(), Failure> {
        let source = spare_file(&*self.disk, self.path(dir), self.segment_bytes)?;
        self.begin_with(&source, dir)
    }

    fn begin_with(&mut self, source: &Path, dir: usize) -> Result<(), Failure> {
        self.tried = self.tried.next(self.synced.size());
        self.segment = begin(&*self.disk, source, self.path(dir), dir, self.tried, &self.synced, &[])?;
        self.dictionary.clear();
        if let Some(kept) = &mut self.kept {
            *kept = Kept { begun: self.synced.clone(), frames: Vec::new() };
        }
        Ok(())
    }

    /// Writes all that the segment holds into a file of that directory. Dictionary entries and indexes stay what they were.
    fn begin_again(&mut self, dir: usize) -> Result<(), Failure> {
        let astray = || Failure { reason: "write-failed", detail: "write-failed: what the segment holds is not known".to_owned() };
        let kept = self.kept.as_ref().filter(|kept| kept.begun.size() == self.tried.first).ok_or_else(astray)?;
        let source = spare_file(&*self.disk, self.path(dir), self.segment_bytes)?;
        self.tried = self.tried.next(kept.begun.size());
        self.segment = begin(&*self.disk, &source, self.path(dir), dir, self.tried, &kept.begun, &kept.frames)?;
        self.settle(self.written.clone());
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<u64, Failure> {
        let index = self.tree.size();
        segment::push_frame(&mut self.buffer, index, text.as_bytes()).map_err(|e| Failure { reason: "write-failed", detail: e.to_string() })?;
        self.tree.push_leaf(leaf(text.as_bytes()), |height, root| {
            if height == TILE_HEIGHT {
                self.roots_ahead.push(root);
            }
        });
        Ok(index)
    }

    fn fits(&self, bytes: usize) -> bool {
        let needed = u64::try_from(self.buffer.len() + bytes).unwrap_or(u64::MAX);
        self.segment.offset.saturating_add(needed) <= self.segment.capacity
    }

    fn fail(&mut self) {
        if let Some(failed) = self.failed.get_mut(self.segment.dir) {
            *failed = true;
        }
        self.forget();
    }

    /// What does not stand in the file.
    fn forget(&mut self) {
        self.buffer.clear();
        self.tree = self.written.clone();
        let full = (self.written.size() / TILE_WIDTH).saturating_sub(self.synced.size() / TILE_WIDTH);
        self.roots_ahead.truncate(usize::try_from(full).unwrap_or(usize::MAX));
        self.dictionary.retain(|_, index| *index < self.written.size());
    }

    fn path(&self, dir: usize) -> &Path {
        self.dirs.get(dir).map_or(Path::new(""), PathBuf::as_path)
    }
}

/// Zeroed files that wait to become segments: two in the directory that is written to, one in the other.
const AHEAD: [&str; 2] = ["ahead-0", "ahead-1"];
/// Kept for the last words when the disk is full.
const RESERVE: &str = "reserve";

/// Makes one of the zeroed files that `dir` lacks, the reserve first; true when none is lacking any more.
pub(super) fn prepare(disk: &dyn Disk, dir: &Path, segment_bytes: u64, in_use: bool) -> io::Result<bool> {
    let [first, second] = AHEAD;
    let wanted = [(RESERVE, SEGMENT_BYTES_MIN, true), (first, segment_bytes, true), (second, segment_bytes, in_use)];
    for (name, bytes, _) in wanted.into_iter().filter(|(_, _, wanted)| *wanted) {
        let path = dir.join(name);
        if path.exists() {
            continue;
        }
        let new = dir.join(format!("{name}.new"));
        if let Err(e) = disk.create(&new, bytes).and_then(|()| disk.rename(&new, &path)) {
            // Half a file would only take the space that is left.
            std::fs::remove_file(&new).unwrap_or_default();
            return Err(e);
        }
        return Ok(false);
    }
    Ok(true)
}

/// A zeroed file: one that waits, else a new one.
fn spare_file(disk: &dyn Disk, dir: &Path, segment_bytes: u64) -> Result<PathBuf, Failure> {
    if let Some(ready) = AHEAD.iter().map(|name| dir.join(name)).find(|path| path.exists()) {
        return Ok(ready);
    }
    let path = dir.join("ahead.new");
    if let Err(e) = disk.create(&path, segment_bytes) {
        std::fs::remove_file(&path).unwrap_or_default();
        return Err(Failure::of("write-failed", &path, &e));
    }
    Ok(path)
}

/// Syncs a segment and looks whether it still is the one that has its name.
pub(super) fn sync_file(file: &dyn DiskFile, path: &Path) -> Result<(), Failure> {
    file.sync().map_err(|e| Failure::of("sync-failed", path, &e))?;
    // A file that was renamed or removed takes writes and syncs, and nobody would find it again.
    if !file.is_at(path).map_err(|e| Failure::of("moved", path, &e))? {
        let detail = format!("moved: `{}` was removed or replaced while it was being written", path.display());
        return Err(Failure { reason: "moved", detail });
    }
    Ok(())
}

/// Turns the zeroed file `source` into a segment. It gets its name only when its header and first frames are durable.
fn begin(disk: &dyn Disk, source: &Path, dir: &Path, at: usize, name: SegmentName, tree: &Tree, frames: &[u8]) -> Result<OpenSegment, Failure> {
    let path = dir.join(name.to_string());
    let mut beginning = segment::header(tree);
    beginning.extend_from_slice(frames);
    let offset = u64::try_from(beginning.len()).unwrap_or(u64::MAX);
    let open = || {
        let file: Arc<dyn DiskFile> = disk.open(source)?.into();
        let capacity = file.bytes()?;
        if offset > capacity {
            return Err(ErrorKind::FileTooLarge.into());
        }
        file.write_at(&beginning, 0)?;
        file.sync()?;
        disk.rename(source, &path)?;
        Ok((file, capacity))
    };
    let (file, capacity) = open().map_err(|e: io::Error| Failure::of("write-failed", source, &e))?;
    Ok(OpenSegment { name, path, dir: at, file, capacity, offset })
}

/// The log's own entries have only fields that can not be refused.
pub(super) fn own(entry: Entry, now: Timestamp) -> Draft {
    encode::draft(entry, now).map(|(draft, _)| draft).unwrap_or_default()
}

pub(super) fn stop(reason: &'static str, now: Timestamp) -> Draft {
    own(Entry::Stop { reason }, now)
}
