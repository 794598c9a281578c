//! A finished segment, compressed in its place: the entries stay, byte for byte, and what counts bytes of it counts as before.
//!
//! ```text
//! 0    4  0x184D2A5C, little endian as all of it: a skippable frame of zstd (RFC 8878 section 3.1.2)
//! 4    4  its length, without these 8 bytes
//! 8   16  "consentry-zst/1\n"
//! 24   8  length of the segment's file before
//! 32   4  number of bundles
//! 36   4  crc32c over the 36 bytes before and the table
//! 40 8*n  of each bundle: where it ends in the segment, and in this file behind the table (u32 each)
//! …       the bundles, a frame of zstd each: the segment's header with 256 entries, then 256 entries each
//! ```
//! So `zstd -dc` gives the segment back, without the zeros at its end.

use std::ops::Range;

use super::error::AuditError;
use super::segment::{self, ENTRY_BYTES_MAX, FRAME_HEADER_BYTES, Frame, HEADER_BYTES, SegmentFile, missing};

/// A tile of the tree: a proof looks at the entries of one.
const BUNDLE_ENTRIES: usize = 256;
/// More saves a twentieth, and takes five times as long.
const LEVEL: i32 = 3;
/// Larger segments are not sealed: a table that somebody has made up must not say how much memory is needed.
const PLAIN_BYTES_MAX: usize = 1 << 30;
const BUNDLE_BYTES_MAX: u32 = 1 << 25;
const _: () = assert!(BUNDLE_ENTRIES * (ENTRY_BYTES_MAX + FRAME_HEADER_BYTES) + HEADER_BYTES <= BUNDLE_BYTES_MAX as usize, "every bundle fits");
const FIXED_BYTES: usize = 40;
const SKIPPABLE: [u8; 4] = 0x184D_2A5C_u32.to_le_bytes();
const MAGIC: &[u8; 16] = b"consentry-zst/1\n";

/// Where the bundles of a sealed segment are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Of the segment's file before it was sealed: by it whoever remembers places knows whether they have moved.
    pub(super) length: u64,
    /// Where the bundles begin in the file.
    begin: u64,
    bundles: Vec<Bundle>,
}

/// Where a bundle ends, in the segment and behind the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bundle {
    end: u32,
    packed_end: u32,
}

/// A bundle, by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) number: usize,
    /// Bytes of the segment.
    pub(super) holds: Range<u64>,
    /// Bytes of the file.
    pub(super) packed: Range<u64>,
}

/// Whether a file that begins so is sealed.
pub(super) fn is_sealed(beginning: &[u8]) -> bool {
    beginning.starts_with(&SKIPPABLE)
}

/// Bytes of the file that hold the table, from what is known of its beginning.
pub(super) fn table_bytes(beginning: &[u8]) -> Option<usize> {
    let length = beginning.get(4..8).filter(|_| is_sealed(beginning))?;
    usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?.checked_add(8)
}

/// Seals a finished segment, of which `length` bytes were in its file. `None` when it holds something else than entries and zeros: that
/// may be evidence.
///
/// # Errors
/// When it is no segment with every entry before `limit`.
pub(super) fn seal(file: &SegmentFile, data: &[u8], limit: u64) -> Result<Option<Vec<u8>>, AuditError> {
    segment::begins(file, data)?;
    let (mut at, mut ends) = (HEADER_BYTES, Vec::new());
    for index in file.name.first..limit {
        let Frame::Held { end, .. } = segment::frame_at(data, at, index) else { return Err(missing(index)) };
        at = end;
        ends.push(end);
    }
    if segment::leftover(data, at) != 0 || at > PLAIN_BYTES_MAX {
        return Ok(None);
    }
    if ends.is_empty() {
        // The header alone, where the next one begins at the same entry.
        ends.push(at);
    }
    let ends: Vec<usize> = ends.chunks(BUNDLE_ENTRIES).filter_map(<[usize]>::last).copied().collect();
    let sealed = pack(data, &ends).map_err(|cause| AuditError::Io { path: file.path.clone(), cause })?;
    if unpack(&sealed).as_slice() != data.get(..at).unwrap_or_default() {
        return Err(AuditError::Damaged { what: format!("`{}` would not be read back as it is", file.path.display()) });
    }
    Ok(Some(sealed))
}

fn pack(data: &[u8], ends: &[usize]) -> Result<Vec<u8>, String> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL).map_err(|e| e.to_string())?;
    let number = |bytes: usize| u32::try_from(bytes).map_err(|_large| "too large to be sealed".to_owned());
    let (mut packed, mut table, mut start) = (Vec::new(), Vec::new(), 0);
    for &end in ends {
        packed.extend(compressor.compress(data.get(start..end).unwrap_or_default()).map_err(|e| e.to_string())?);
        table.extend(number(end)?.to_le_bytes());
        table.extend(number(packed.len())?.to_le_bytes());
        start = end;
    }
    let mut out = SKIPPABLE.to_vec();
    out.extend(number(FIXED_BYTES - 8 + table.len())?.to_le_bytes());
    out.extend(MAGIC);
    out.extend(u64::try_from(data.len()).unwrap_or(u64::MAX).to_le_bytes());
    out.extend(number(ends.len())?.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), &table);
    out.extend(crc.to_le_bytes());
    out.extend(table);
    out.extend(packed);
    Ok(out)
}

impl Table {
    /// `None` when this is not the beginning of a file that [`seal`] made, up to its first bundle.
    pub(super) fn parse(beginning: &[u8]) -> Option<Self> {
        let beginning = beginning.get(..table_bytes(beginning)?)?;
        let (fixed, table) = beginning.split_at_checked(FIXED_BYTES)?;
        let (checked, crc) = fixed.split_at_checked(FIXED_BYTES - 4)?;
        let length = u64::from_le_bytes(fixed.get(24..32)?.try_into().ok()?);
        let count = usize::try_from(u32::from_le_bytes(fixed.get(32..36)?.try_into().ok()?)).ok()?;
        let (rows, rest) = table.as_chunks::<8>();
        let is_whole = checked.get(8..24)? == MAGIC && rest.is_empty() && rows.len() == count;
        if !is_whole || crc32c::crc32c_append(crc32c::crc32c(checked), table).to_le_bytes() != crc {
            return None;
        }
        let row = |[a, b, c, d, e, f, g, h]: [u8; 8]| Bundle { end: u32::from_le_bytes([a, b, c, d]), packed_end: u32::from_le_bytes([e, f, g, h]) };
        let bundles: Vec<Bundle> = rows.iter().copied().map(row).collect();
        let rises = bundles.is_sorted_by(|a, b| a.end < b.end && a.packed_end < b.packed_end);
        let plain = bundles.last().map(|last| u64::from(last.end));
        let within = plain.is_some_and(|plain| plain <= length && plain <= PLAIN_BYTES_MAX as u64);
        let starts = std::iter::once(0).chain(bundles.iter().map(|bundle| bundle.end));
        let are_small = starts.zip(&bundles).all(|(start, bundle)| bundle.end.saturating_sub(start) <= BUNDLE_BYTES_MAX);
        let begin = u64::try_from(beginning.len()).ok()?;
        (rises && within && are_small).then_some(Self { length, begin, bundles })
    }

    /// The bundle that holds a byte of the segment; `None` behind the last entry.
    pub(super) fn bundle_at(&self, place: u64) -> Option<Place> {
        self.bundle(self.bundles.partition_point(|bundle| u64::from(bundle.end) <= place))
    }

    fn bundle(&self, number: usize) -> Option<Place> {
        let bundle = self.bundles.get(number)?;
        let before = number.checked_sub(1).and_then(|before| self.bundles.get(before));
        let (start, packed) = before.map_or((0, 0), |before| (before.end, before.packed_end));
        let packed = self.begin + u64::from(packed)..self.begin + u64::from(bundle.packed_end);
        Some(Place { number, holds: u64::from(start)..u64::from(bundle.end), packed })
    }
}

/// What is needed to open bundles, and the one that was opened last.
#[derive(Default)]
pub(super) struct Opener {
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    opened: Vec<u8>,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("bytes", &self.opened.len()).finish_non_exhaustive()
    }
}

impl Opener {
    /// The bundle's part of the segment; `None` when it is changed.
    pub(super) fn open(&mut self, place: &Place, packed: &[u8]) -> Option<&[u8]> {
        let bytes = usize::try_from(place.holds.end - place.holds.start).ok()?;
        let decompressor = match self.decompressor.take() {
            Some(decompressor) => self.decompressor.insert(decompressor),
            None => self.decompressor.insert(zstd::bulk::Decompressor::new().ok()?),
        };
        self.opened.clear();
        self.opened.reserve(bytes);
        let opened = decompressor.decompress_to_buffer(packed, &mut self.opened).ok()?;
        (opened == bytes).then_some(self.opened.as_slice())
    }

    /// What it gave last.
    pub(super) fn opened(&self) -> &[u8] {
        &self.opened
    }
}

/// The bytes of a segment: of a sealed one, those before the first bundle that is changed.
pub(super) fn open(bytes: Vec<u8>) -> Vec<u8> {
    if is_sealed(&bytes) { unpack(&bytes) } else { bytes }
}

fn unpack(bytes: &[u8]) -> Vec<u8> {
    let Some(table) = Table::parse(bytes) else { return Vec::new() };
    let mut data = Vec::with_capacity(table.bundles.last().and_then(|last| usize::try_from(last.end).ok()).unwrap_or_default());
    let mut opener = Opener::default();
    for place in (0..).map_while(|number| table.bundle(number)) {
        let range = usize::try_from(place.packed.start).ok().zip(usize::try_from(place.packed.end).ok());
        let Some(opened) = range.and_then(|(start, end)| bytes.get(start..end)).and_then(|packed| opener.open(&place, packed)) else { break };
        data.extend_from_slice(opened);
    }
    data
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::path::PathBuf;

    use super::*;
    use crate::audit::segment::SegmentName;
    use crate::audit::tree::Tree;

    fn plain(entries: usize) -> (SegmentFile, Vec<u8>) {
        let mut data = segment::header(&Tree::default());
        for index in 0..entries {
            let entry = format!("{{\"kind\":\"permit\",\"t\":{index},\"v\":1}}");
            segment::push_frame(&mut data, index as u64, entry.as_bytes()).unwrap();
        }
        (SegmentFile { name: SegmentName { first: 0, attempt: 0 }, path: PathBuf::from("segment"), dir: 0 }, data)
    }

    fn sealed(entries: usize) -> (Vec<u8>, Vec<u8>) {
        let (file, data) = plain(entries);
        let mut padded = data.clone();
        padded.resize(data.len() + 1_000, 0);
        (data, seal(&file, &padded, entries as u64).unwrap().unwrap())
    }

    #[test]
    fn a_segment_is_read_back_by_us_and_by_another_decoder() {
        for entries in [0, 1, 255, 256, 257, 1_000] {
            let (data, bytes) = sealed(entries);
            assert_eq!(data, open(bytes.clone()), "{entries}");
            let table = Table::parse(&bytes).unwrap();
            assert_eq!((data.len() + 1_000) as u64, table.length);
            assert_eq!(entries.div_ceil(256).max(1), table.bundles.len());
            let mut rest = bytes.as_slice();
            let mut theirs = Vec::new();
            // The frame that is to be skipped is an error of its own there.
            rest = &rest[table_bytes(&bytes).unwrap()..];
            while !rest.is_empty() {
                ruzstd::decoding::StreamingDecoder::new(&mut rest).unwrap().read_to_end(&mut theirs).unwrap();
            }
            assert_eq!(data, theirs, "{entries}");
        }
    }

    #[test]
    fn a_bundle_is_found_by_what_it_holds() {
        let (data, bytes) = sealed(1_000);
        let table = Table::parse(&bytes).unwrap();
        let mut place = 0;
        while let Some(found) = table.bundle_at(place) {
            assert!(found.holds.contains(&place));
            let of = |bytes: &[u8], range: &Range<u64>| bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec();
            assert_eq!(of(&data, &found.holds), Opener::default().open(&found, &of(&bytes, &found.packed)).unwrap());
            assert_eq!(Some(&found), table.bundle_at(found.holds.end - 1).as_ref());
            place = found.holds.end;
        }
        assert_eq!(data.len() as u64, place);
    }

    /// Whatever is changed, nothing else than the segment or its beginning is read.
    #[test]
    fn a_changed_byte_ends_what_is_read() {
        let (data, bytes) = sealed(600);
        let table = table_bytes(&bytes).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let read = open(changed.clone());
            if at < 4 {
                assert_eq!(changed, read, "not sealed");
            } else if at < table {
                assert!(read.is_empty(), "byte {at}");
            } else {
                // What a frame of zstd itself does not notice, the checksum of an entry does.
                let same = read.iter().zip(&data).take_while(|(a, b)| a == b).count();
                let mut offset = HEADER_BYTES;
                for index in 0..600 {
                    let expected = segment::frame_at(&data, offset, index);
                    let found = segment::frame_at(&read, offset, index);
                    assert!(found == expected || found == Frame::None, "byte {at}, entry {index}, {same} bytes the same");
                    let Frame::Held { end, .. } = expected else { panic!() };
                    offset = end;
                }
            }
        }
        for cut in [0, 1, 8, 39, table - 1, table, table + 1, bytes.len() - 1] {
            assert!(data.starts_with(&open(bytes[..cut].to_vec())) || cut < 4, "{cut}");
        }
    }

    /// Whoever makes up a table can compute its checksum, too.
    #[test]
    fn a_table_says_nothing_of_memory_that_no_segment_needs() {
        let (_, bytes) = sealed(600);
        let table = table_bytes(&bytes).unwrap();
        let with = |row: usize, end: u32| {
            let mut made_up = bytes.clone();
            made_up[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
            made_up[FIXED_BYTES + 8 * row..FIXED_BYTES + 8 * row + 4].copy_from_slice(&end.to_le_bytes());
            let crc = crc32c::crc32c_append(crc32c::crc32c(&made_up[..FIXED_BYTES - 4]), &made_up[FIXED_BYTES..table]);
            made_up[FIXED_BYTES - 4..FIXED_BYTES].copy_from_slice(&crc.to_le_bytes());
            Table::parse(&made_up).is_some()
        };
        let last = Table::parse(&bytes).unwrap().bundles[2].end;
        assert!(with(2, last) && with(2, last + 1));
        assert!(!with(2, last + BUNDLE_BYTES_MAX) && !with(2, u32::MAX) && !with(0, last), "too long, and out of order");
    }

    #[test]
    fn what_is_not_only_entries_is_left_as_it_is() {
        let (file, mut data) = plain(10);
        assert!(matches!(seal(&file, &data, 11), Err(AuditError::Damaged { .. })));
        data.extend([0, 0, 1]);
        assert_eq!(None, seal(&file, &data, 10).unwrap());
        data[HEADER_BYTES + 20] ^= 1;
        assert!(matches!(seal(&file, &data, 10), Err(AuditError::Damaged { .. })));
        data[17] ^= 1;
        assert!(matches!(seal(&file, &data, 10), Err(AuditError::Damaged { .. })));
    }
}
