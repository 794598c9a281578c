//! Reading on where one has stopped, while the log is being written.

use std::path::{Path, PathBuf};

use super::content::Content;
use super::error::AuditError;
use super::segment::{self, ENTRY_BYTES_MAX, FRAME_HEADER_BYTES, Frame, HEADER_BYTES, Held, SegmentFile, SegmentName, missing};
use super::tree::Hash;

/// Read at once; several of the largest frames.
const CHUNK_BYTES: usize = 1 << 20;

/// A place in a log, between two entries.
#[derive(Debug)]
pub(super) struct Tail {
    dirs: Vec<PathBuf>,
    /// The segment that is read, once there is one.
    open: Option<Open>,
    /// Of the next entry.
    index: u64,
    chunk: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    segment: SegmentFile,
    content: Content,
    at: u64,
}

/// An entry with its segment's first index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tailed<'a> {
    pub(super) index: u64,
    /// Byte of the segment at which its frame begins.
    pub(super) place: u64,
    pub(super) held: Held<'a>,
    /// First index of its segment: dictionary entries are those of the segment.
    pub(super) segment: u64,
}

impl Tail {
    /// Before the first entry of the segment that holds `from`, or that would; what stands before `from` is given, too, since
    /// dictionary entries may be among it. Before the first entry there is when `from` is pruned.
    ///
    /// # Errors
    /// When there is no log in `dir`.
    pub(super) fn open(dir: &Path, from: u64) -> Result<Self, AuditError> {
        let segments = segment::of_log(dir)?;
        let at = segments.partition_point(|file| file.name.first <= from).saturating_sub(1);
        let index = segments.get(at).map_or(from, |file| file.name.first);
        Ok(Self { dirs: segment::directories(dir), open: None, index, chunk: Vec::new() })
    }

    /// Index of the next entry.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// The segment that was read last, and its length: what is pruned becomes shorter.
    pub(super) fn source(&self) -> Option<(SegmentName, u64)> {
        self.open.as_ref().map(|open| (open.segment.name, open.content.length))
    }

    /// Gives some of the entries from here to before `to`; how many. 0 where none is there yet.
    ///
    /// # Errors
    /// When an entry that must be there is missing or changed: one before a later segment and, when all of them `are_durable`, each
    /// before `to`.
    pub(super) fn read(&mut self, to: u64, are_durable: bool, mut each: impl FnMut(Tailed<'_>)) -> Result<u64, AuditError> {
        if self.index >= to {
            return Ok(0);
        }
        // Frames at or after the first index of the next segment were never acknowledged, so that it must be known.
        let segments = segment::list(&self.dirs)?;
        let after = segments.partition_point(|file| file.name.first <= self.index);
        let holds = after.checked_sub(1).and_then(|at| segments.get(at)).ok_or_else(|| missing(self.index))?;
        let limit = segments.get(after).map(|next| next.name.first);
        let given = self.chunk(holds, limit.unwrap_or(u64::MAX).min(to), &mut each)?;
        if given == 0 && (are_durable || limit.is_some()) { Err(missing(self.index)) } else { Ok(given) }
    }

    /// A chunk of one segment.
    fn chunk(&mut self, holds: &SegmentFile, end: u64, each: &mut impl FnMut(Tailed<'_>)) -> Result<u64, AuditError> {
        let open = match self.open.take() {
            Some(open) if open.segment.name == holds.name => self.open.insert(open),
            // Written again as a whole, since its disk failed: the same entries in the same places.
            Some(open) if open.segment.name.first == holds.name.first => {
                self.open.insert(Open { at: open.at, ..Open::begin(holds, holds.name.first)? })
            }
            _ => self.open.insert(Open::begin(holds, self.index)?),
        };
        let failed = |e: &std::io::Error| AuditError::io(&holds.path, e);
        self.chunk.resize(CHUNK_BYTES, 0);
        let filled = open.content.fill(&mut self.chunk, open.at).map_err(|e| failed(&e))?;
        self.chunk.truncate(filled);
        let (mut at, mut given) = (0usize, 0);
        while self.index < end {
            let Frame::Held { held, end } = segment::frame_at(&self.chunk, at, self.index) else { break };
            each(Tailed { index: self.index, place: open.at + u64::try_from(at).unwrap_or(u64::MAX), held, segment: holds.name.first });
            (at, given, self.index) = (end, given + 1, self.index + 1);
        }
        open.at += u64::try_from(at).unwrap_or(u64::MAX);
        Ok(given)
    }
}

const _: () = assert!(CHUNK_BYTES > ENTRY_BYTES_MAX + FRAME_HEADER_BYTES, "a chunk holds every frame");

impl Open {
    fn begin(segment: &SegmentFile, index: u64) -> Result<Self, AuditError> {
        if segment.name.first != index {
            return Err(missing(index));
        }
        let failed = |e: &std::io::Error| AuditError::io(&segment.path, e);
        let mut content = Content::open(segment)?;
        let mut header = vec![0; HEADER_BYTES];
        content.fill(&mut header, 0).map_err(|e| failed(&e))?;
        segment::begins(segment, &header)?;
        Ok(Self { segment: segment.clone(), content, at: u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX) })
    }
}

/// One entry that is known to stand at `place` of its segment; `None` when it is pruned.
///
/// # Errors
/// When another or none stands there.
pub(super) fn entry_at(segments: &[SegmentFile], index: u64, place: u64) -> Result<Option<Vec<u8>>, AuditError> {
    held_at(segments, index, place, |held| held.entry().map(<[u8]>::to_vec))
}

/// Its hash in the tree; of a pruned one, too.
///
/// # Errors
/// As [`entry_at`].
pub(super) fn leaf_at(segments: &[SegmentFile], index: u64, place: u64) -> Result<Hash, AuditError> {
    held_at(segments, index, place, |held| held.leaf())
}

fn held_at<T>(segments: &[SegmentFile], index: u64, place: u64, told: impl FnOnce(Held<'_>) -> T) -> Result<T, AuditError> {
    let after = segments.partition_point(|file| file.name.first <= index);
    let holds = after.checked_sub(1).and_then(|at| segments.get(at)).ok_or_else(|| missing(index))?;
    let failed = |e: &std::io::Error| AuditError::io(&holds.path, e);
    let mut content = Content::open(holds)?;
    let mut data = Vec::new();
    for bytes in [MOST_ENTRIES_BYTES, FRAME_HEADER_BYTES + ENTRY_BYTES_MAX] {
        data.resize(bytes, 0);
        let filled = content.fill(&mut data, place).map_err(|e| failed(&e))?;
        data.truncate(filled);
        if let Frame::Held { held, .. } = segment::frame_at(&data, 0, index) {
            return Ok(told(held));
        }
    }
    Err(missing(index))
}

/// Most entries have fewer.
const MOST_ENTRIES_BYTES: usize = 2_048;
