//! The segment file.
//!
//! ```text
//! segment-<first index, 20 digits>-<attempt, 4 digits>
//! 0      16  "consentry-log/1\n"
//! 16      8  index of the first entry, little endian
//! 24      4  number of peaks
//! 28      4  crc32c over the 28 bytes before and the peaks
//! 32   32*n  peaks of the tree before the first entry, so that a start need not read the whole log
//! …          zeros
//! 4096       entries: len u32 | crc32c u32 over (index u64, len u32, entry) | entry, one after another
//! …          zeros to the end of the file (preallocated)
//! ```
//! Where an entry was pruned stands a tombstone: `2^31 + 32` as its length, and the hash under which the entry is in the tree
//! (RFC 6962 section 2.1) in its place. So the tree stays what was signed. A segment with tombstones has no zeros at its end.
//!
//! Once it is finished and signed it is sealed (`sealed.rs`).
//!
//! A segment ends where the next one begins. Attempts count segments that begin at the same index, because a disk failed
//! before the first entry was durable; frames at or after the next segment's first index were never acknowledged.

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::AuditError;
use super::tree::{Hash, Tree, leaf};

pub(super) const HEADER_BYTES: usize = 4_096;
pub(super) const FRAME_HEADER_BYTES: usize = 8;
pub(super) const ENTRY_BYTES_MAX: usize = 65_535;
/// Header and one entry with its dictionary entries, rounded up.
pub(super) const SEGMENT_BYTES_MIN: u64 = 262_144;
const MAGIC: &[u8; 16] = b"consentry-log/1\n";

/// Which segment; ordered as in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub(super) first: u64,
    pub(super) attempt: u32,
}

impl SegmentName {
    /// The name of a new segment after `self`.
    pub(super) fn next(self, first: u64) -> Self {
        let attempt = if first == self.first { self.attempt + 1 } else { 0 };
        Self { first, attempt }
    }

    fn parse(name: &str) -> Option<Self> {
        let (first, attempt) = name.strip_prefix("segment-")?.split_once('-')?;
        let parsed = Self { first: first.parse().ok()?, attempt: attempt.parse().ok()? };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment-{:020}-{:04}", self.first, self.attempt)
    }
}

/// A segment on the disk.
#[derive(Clone, Debug)]
pub(super) struct SegmentFile {
    pub(super) name: SegmentName,
    pub(super) path: PathBuf,
    /// Position of its directory among the log's.
    pub(super) dir: usize,
}

/// The segments of a log, in order. A directory that does not exist has none.
pub(super) fn list(dirs: &[PathBuf]) -> Result<Vec<SegmentFile>, AuditError> {
    let mut found = Vec::new();
    for (dir, path) in dirs.iter().enumerate() {
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(AuditError::io(path, &e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| AuditError::io(path, &e))?;
            if let Some(name) = entry.file_name().to_str().and_then(SegmentName::parse) {
                found.push(SegmentFile { name, path: entry.path(), dir });
            }
        }
    }
    found.sort_by_key(|s| s.name);
    Ok(found)
}

/// The segments of the log in `dir`.
///
/// # Errors
/// When there are none.
pub(super) fn of_log(dir: &Path) -> Result<Vec<SegmentFile>, AuditError> {
    let segments = list(&directories(dir))?;
    if segments.is_empty() { Err(AuditError::NoLog { dir: dir.to_owned() }) } else { Ok(segments) }
}

/// The directories of the log in `dir`: itself, and the spare one if it was given one.
pub(super) fn directories(dir: &Path) -> Vec<PathBuf> {
    let mut dirs = vec![dir.to_owned()];
    if let Ok(spare) = std::fs::read_to_string(dir.join(SPARE_FILE)) {
        dirs.push(PathBuf::from(spare.trim_end_matches('\n')));
    }
    dirs
}

pub(super) const SPARE_FILE: &str = "spare";

pub(super) fn header(tree: &Tree) -> Vec<u8> {
    let peaks: Vec<u8> = tree.peaks().iter().flatten().copied().collect();
    let mut out = MAGIC.to_vec();
    out.extend(tree.size().to_le_bytes());
    out.extend(tree.size().count_ones().to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), &peaks);
    out.extend(crc.to_le_bytes());
    out.extend(peaks);
    out.resize(HEADER_BYTES, 0);
    out
}

/// The tree before the first entry; `None` when this is no header that [`header`] wrote.
pub(super) fn parse_header(data: &[u8]) -> Option<Tree> {
    let head = data.get(..HEADER_BYTES)?;
    let size = u64::from_le_bytes(head.get(16..24)?.try_into().ok()?);
    let peaks =
        head.get(32..)?.chunks_exact(32).take(usize::try_from(size.count_ones()).ok()?).map(Hash::try_from).collect::<Result<Vec<_>, _>>().ok()?;
    let tree = Tree::from_peaks(size, peaks)?;
    (header(&tree) == head).then_some(tree)
}

/// In place of the length: a tombstone.
const PRUNED: u32 = 1 << 31 | 32;
const TOMBSTONE_BYTES: usize = 32;

/// In the place of an entry that is pruned.
pub(super) fn push_tombstone(out: &mut Vec<u8>, index: u64, leaf: &Hash) {
    let len = PRUNED.to_le_bytes();
    out.extend(len);
    out.extend(checksum(index, len, leaf).to_le_bytes());
    out.extend(leaf);
}

pub(super) fn push_frame(out: &mut Vec<u8>, index: u64, entry: &[u8]) -> Result<(), AuditError> {
    let len = u32::try_from(entry.len()).ok().filter(|_| (1..=ENTRY_BYTES_MAX).contains(&entry.len()));
    let len = len.ok_or(AuditError::EntryTooLarge { bytes: entry.len() })?.to_le_bytes();
    out.extend(len);
    out.extend(checksum(index, len, entry).to_le_bytes());
    out.extend(entry);
    Ok(())
}

/// What stands at a place in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Held {
        held: Held<'a>,
        end: usize,
    },
    /// Nothing was written here, or nothing whole.
    None,
}

/// What stands for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held<'a> {
    Entry(&'a [u8]),
    /// Its hash in the tree.
    Pruned(Hash),
}

impl<'a> Held<'a> {
    /// Its hash in the tree.
    pub(super) fn leaf(self) -> Hash {
        match self {
            Self::Entry(entry) => leaf(entry),
            Self::Pruned(leaf) => leaf,
        }
    }

    pub(super) fn entry(self) -> Option<&'a [u8]> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Pruned(_) => None,
        }
    }
}

pub(super) fn frame_at(data: &[u8], at: usize, index: u64) -> Frame<'_> {
    let parsed = || {
        let len_bytes: [u8; 4] = data.get(at..at.checked_add(4)?)?.try_into().ok()?;
        let crc = u32::from_le_bytes(data.get(at + 4..at.checked_add(FRAME_HEADER_BYTES)?)?.try_into().ok()?);
        let is_pruned = u32::from_le_bytes(len_bytes) == PRUNED;
        let len = if is_pruned { TOMBSTONE_BYTES } else { usize::try_from(u32::from_le_bytes(len_bytes)).ok()? };
        if !(1..=ENTRY_BYTES_MAX).contains(&len) {
            return None;
        }
        let start = at + FRAME_HEADER_BYTES;
        let bytes = data.get(start..start.checked_add(len)?)?;
        let held = if is_pruned { Held::Pruned(bytes.try_into().ok()?) } else { Held::Entry(bytes) };
        (checksum(index, len_bytes, bytes) == crc).then_some(Frame::Held { held, end: start + len })
    };
    parsed().unwrap_or(Frame::None)
}

/// Goes through the entries of one segment, whose bytes the caller holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    at: usize,
    index: u64,
    /// First index of the segment after it.
    limit: Option<u64>,
}

impl Cursor {
    /// At the first entry. `limit`: the first index of the segment after it.
    pub(super) fn open(file: &SegmentFile, data: &[u8], limit: Option<u64>) -> Result<Self, AuditError> {
        begins(file, data)?;
        Ok(Self { at: HEADER_BYTES, index: file.name.first, limit })
    }

    /// The next entry that is not pruned, with its index; `None` after the last one. The last segment ends where no whole entry
    /// follows.
    pub(super) fn next<'a>(&mut self, data: &'a [u8]) -> Result<Option<(u64, &'a [u8])>, AuditError> {
        while let Some((index, held)) = self.next_held(data)? {
            if let Held::Entry(entry) = held {
                return Ok(Some((index, entry)));
            }
        }
        Ok(None)
    }

    /// As [`Self::next`], with tombstones.
    pub(super) fn next_held<'a>(&mut self, data: &'a [u8]) -> Result<Option<(u64, Held<'a>)>, AuditError> {
        if self.limit == Some(self.index) {
            return Ok(None);
        }
        match frame_at(data, self.at, self.index) {
            Frame::Held { held, end } => {
                let found = (self.index, held);
                (self.at, self.index) = (end, self.index + 1);
                Ok(Some(found))
            }
            Frame::None if self.limit.is_none() => Ok(None),
            Frame::None => Err(missing(self.index)),
        }
    }
}

/// Whether the segment's header is one, and its own.
pub(super) fn begins(file: &SegmentFile, data: &[u8]) -> Result<(), AuditError> {
    let first = file.name.first;
    if parse_header(data).map(|tree| tree.size()) == Some(first) {
        return Ok(());
    }
    Err(AuditError::Damaged { what: format!("`{}` does not begin with entry {first}", file.path.display()) })
}

pub(super) fn missing(index: u64) -> AuditError {
    AuditError::Damaged { what: format!("entry {index} is missing or changed") }
}

/// Bytes from `at` to the last one that is not zero.
pub(super) fn leftover(data: &[u8], at: usize) -> u64 {
    let rest = data.get(at..).unwrap_or_default();
    // Mostly millions of zeros, from the end.
    let (head, blocks) = rest.as_rchunks::<16>();
    let zeros = blocks.iter().rev().take_while(|block| u128::from_le_bytes(**block) == 0).count() * 16;
    let left = if zeros == blocks.len() * 16 { head } else { rest.get(..rest.len() - zeros).unwrap_or_default() };
    left.iter().rposition(|&b| b != 0).map_or(0, |i| u64::try_from(i + 1).unwrap_or(u64::MAX))
}

/// The index is part of it, so that a frame in another's place is not taken for whole.
fn checksum(index: u64, len: [u8; 4], entry: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&index.to_le_bytes()), &len);
    crc32c::crc32c_append(crc, entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_and_no_changed_byte_is() {
        let mut tree = Tree::default();
        for i in 0u8..11 {
            tree.push(&[i]);
        }
        let bytes = header(&tree);
        assert_eq!(Some(tree), parse_header(&bytes));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            assert_eq!(None, parse_header(&changed), "byte {at}");
        }
    }

    #[test]
    fn a_frame_counts_only_whole_and_in_its_place() {
        let mut data = Vec::new();
        push_frame(&mut data, 5, b"entry").unwrap();
        let end = data.len();
        data.resize(64, 0);
        assert_eq!(Frame::Held { held: Held::Entry(b"entry"), end }, frame_at(&data, 0, 5));
        assert_eq!(Frame::None, frame_at(&data, 0, 6), "another index");
        assert_eq!(Frame::None, frame_at(&data, end, 6), "zeros");
        assert_eq!(Frame::None, frame_at(&data[..end - 1], 0, 5), "cut");
        assert_eq!(Frame::None, frame_at(&data, usize::MAX, 5));
        assert_eq!((end as u64, 0), (leftover(&data, 0), leftover(&data, end)));
        for (length, last) in
            [(0, None), (1, Some(0)), (16, Some(0)), (17, Some(0)), (64, Some(15)), (64, Some(16)), (65, Some(64)), (33, Some(32)), (40, None)]
        {
            let mut bytes = vec![0; length + 3];
            if let Some(last) = last {
                bytes[3 + last] = 1;
            }
            assert_eq!(last.map_or(0, |last| last as u64 + 1), leftover(&bytes, 3), "{length} {last:?}");
        }
        assert_eq!(0, leftover(&[1], 5));
        assert!(push_frame(&mut data, 1, &[]).is_err());
        assert!(push_frame(&mut data, 1, &vec![b' '; ENTRY_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_tombstone_counts_only_whole_in_its_place_and_with_its_flag() {
        let mut data = Vec::new();
        push_tombstone(&mut data, 5, &[7; 32]);
        assert_eq!(Frame::Held { held: Held::Pruned([7; 32]), end: 40 }, frame_at(&data, 0, 5));
        assert_eq!((leaf(b"entry"), [7; 32]), (Held::Entry(b"entry").leaf(), Held::Pruned([7; 32]).leaf()));
        assert_eq!(Frame::None, frame_at(&data, 0, 6));
        assert_eq!(Frame::None, frame_at(&data[..39], 0, 5));
        for at in 0..data.len() {
            for bit in 0..8 {
                let mut changed = data.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(Frame::None, frame_at(&changed, 0, 5), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn names_sort_in_the_order_of_the_log() {
        let first = SegmentName { first: 9, attempt: 0 };
        assert_eq!(SegmentName { first: 9, attempt: 1 }, first.next(9));
        assert_eq!(SegmentName { first: 10, attempt: 0 }, first.next(9).next(10));
        assert!(first < first.next(9) && first.next(9) < first.next(10));
        assert_eq!(Some(first), SegmentName::parse(&first.to_string()));
        for other in ["segment-9-0", "segment-", "ahead-0", "segment-00000000000000000009-0000.bak", "segment-+0000000000000000009-0000"] {
            assert_eq!(None, SegmentName::parse(other));
        }
    }
}
