//! Reads a log from any entry on while it is being written: what is new is read, not the whole segment again.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::audit::error::AuditError;
use crate::audit::read::{Logged, missing, resolve};
use crate::audit::segment::{self, Frame, HEADER_BYTES, SegmentFile};

/// Read at a time; several of the longest entries.
const CHUNK_BYTES: usize = 256 << 10;

/// Memory: one chunk, and the dictionary of one segment.
#[derive(Debug)]
pub(super) struct Cursor {
    dir: PathBuf,
    /// The first entry that is given out; those before it are only looked through for dictionary entries.
    from: u64,
    /// The entry that is read next.
    index: u64,
    segments: Vec<SegmentFile>,
    /// The bound for which the segments were listed: whatever is below it stands in one of them.
    listed_for: Option<u64>,
    open: Option<Segment>,
    dictionary: HashMap<u64, Value>,
}

#[derive(Debug)]
struct Segment {
    from: SegmentFile,
    file: File,
    /// First index of the segment after it.
    limit: Option<u64>,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins, and how much of it was read.
    start: u64,
    at: usize,
}

impl Cursor {
    pub(super) fn open(dir: &Path, from: u64) -> Result<Self, AuditError> {
        let mut cursor =
            Self { dir: dir.to_owned(), from, index: from, segments: Vec::new(), listed_for: None, open: None, dictionary: HashMap::new() };
        cursor.list()?;
        if cursor.segments.is_empty() {
            return Err(AuditError::NoLog { dir: dir.to_owned() });
        }
        Ok(cursor)
    }

    /// The entry that [`Cursor::next`] gives next.
    pub(super) fn index(&self) -> u64 {
        self.index.max(self.from)
    }

    /// The next entry below `bound`, which must be durable; without a bound the next whole one. `None`: there is none yet.
    pub(super) fn next(&mut self, bound: Option<u64>) -> Result<Option<Logged>, AuditError> {
        loop {
            if bound.is_some_and(|bound| self.index() >= bound) {
                return Ok(None);
            }
            self.enter(bound)?;
            let found = self.open.as_mut().map(|open| open.entry(self.index)).transpose()?.flatten();
            match found {
                Some(raw) if self.index < self.from => self.pass_over(raw),
                Some(raw) => {
                    let logged = resolve(self.index, raw, &mut self.dictionary);
                    self.index += 1;
                    return Ok(Some(logged));
                }
                // What is durable is whole.
                None if bound.is_some() => return Err(missing(self.index)),
                None => {
                    self.list()?;
                    if !self.is_left() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn pass_over(&mut self, raw: Vec<u8>) {
        const DICT: &[u8] = b"\"kind\":\"dict\"";
        if raw.windows(DICT.len()).any(|part| part == DICT) {
            resolve(self.index, raw, &mut self.dictionary);
        }
        self.index += 1;
    }

    /// Sees to it that the open segment is the one with the next entry.
    fn enter(&mut self, bound: Option<u64>) -> Result<(), AuditError> {
        // Only the last segment grows, and only behind it others begin.
        if bound.is_some() && bound != self.listed_for && self.open.as_ref().is_none_or(|open| open.limit.is_none()) {
            self.list()?;
            self.listed_for = bound;
        }
        if self.open.is_some() && !self.is_left() {
            return Ok(());
        }
        let after = self.segments.partition_point(|file| file.name.first <= self.index);
        let file = after.checked_sub(1).and_then(|at| self.segments.get(at)).ok_or_else(|| missing(self.index))?.clone();
        let limit = self.segments.get(after).map(|after| after.name.first);
        // Entries refer to dictionary entries of their segment.
        self.index = file.name.first;
        self.dictionary.clear();
        self.open = Some(Segment::open(file, limit)?);
        Ok(())
    }

    fn is_left(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.limit.is_some_and(|limit| self.index >= limit))
    }

    fn list(&mut self) -> Result<(), AuditError> {
        self.segments = segment::list(&segment::directories(&self.dir))?;
        if let Some(open) = &mut self.open {
            let after = self.segments.partition_point(|file| file.name <= open.from.name);
            open.limit = self.segments.get(after).map(|after| after.name.first);
        }
        Ok(())
    }
}

impl Segment {
    fn open(from: SegmentFile, limit: Option<u64>) -> Result<Self, AuditError> {
        let file = File::open(&from.path).map_err(|e| AuditError::io(&from.path, &e))?;
        let mut head = vec![0; HEADER_BYTES];
        file.read_exact_at(&mut head, 0).map_err(|e| AuditError::io(&from.path, &e))?;
        if segment::parse_header(&head).map(|tree| tree.size()) != Some(from.name.first) {
            return Err(AuditError::Damaged { what: format!("`{}` does not begin with entry {}", from.path.display(), from.name.first) });
        }
        Ok(Self { from, file, limit, buffer: Vec::new(), start: u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX), at: 0 })
    }

    fn entry(&mut self, index: u64) -> Result<Option<Vec<u8>>, AuditError> {
        for fresh in [false, true] {
            // What is not whole in the buffer may have been written, or go on, behind it.
            if fresh {
                self.refill()?;
            }
            if let Frame::Entry { entry, end } = segment::frame_at(&self.buffer, self.at, index) {
                let entry = entry.to_vec();
                self.at = end;
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn refill(&mut self) -> Result<(), AuditError> {
        self.start += u64::try_from(self.at).unwrap_or(u64::MAX);
        self.at = 0;
        self.buffer.resize(CHUNK_BYTES, 0);
        let mut have = 0;
        while let Some(rest) = self.buffer.get_mut(have..).filter(|rest| !rest.is_empty()) {
            let offset = self.start + u64::try_from(have).unwrap_or(u64::MAX);
            match self.file.read_at(rest, offset) {
                Ok(0) => break,
                Ok(read) => have += read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(AuditError::io(&self.from.path, &e)),
            }
        }
        self.buffer.truncate(have);
        Ok(())
    }
}
