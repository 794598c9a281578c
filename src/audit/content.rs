//! A segment's bytes as they were written, whether or not it is sealed by now.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::error::AuditError;
use super::sealed::{self, Opener, Place, Table};
use super::segment::{ENTRY_BYTES_MAX, FRAME_HEADER_BYTES, HEADER_BYTES, SegmentFile};

/// Holds most tables.
const BEGINNING_BYTES: usize = 4_096;

/// All of it, of a sealed segment without the zeros at its end. What is damaged in a sealed one ends it, as a write that was not
/// finished ends one that grows.
pub(super) fn read(file: &SegmentFile) -> Result<Vec<u8>, AuditError> {
    std::fs::read(&file.path).map(sealed::open).map_err(|e| AuditError::io(&file.path, &e))
}

/// Its header, and the entries that follow it: more than one of the largest, or as many as its first bundle holds.
pub(super) fn read_beginning(file: &SegmentFile) -> Result<Vec<u8>, AuditError> {
    let mut content = Content::open(file)?;
    let mut data = vec![0; HEADER_BYTES + 2 * (FRAME_HEADER_BYTES + ENTRY_BYTES_MAX)];
    let filled = content.fill(&mut data, 0).map_err(|e| AuditError::io(&file.path, &e))?;
    data.truncate(filled);
    Ok(data)
}

pub(super) fn is_sealed(file: &SegmentFile) -> Result<bool, AuditError> {
    let mut beginning = [0; 8];
    let filled = File::open(&file.path).and_then(|opened| fill(&opened, &mut beginning, 0));
    filled.map_err(|e| AuditError::io(&file.path, &e))?;
    Ok(sealed::is_sealed(&beginning))
}

/// Length of the file before it was sealed, or as it is.
pub(super) fn length(file: &SegmentFile) -> Result<u64, AuditError> {
    Ok(Content::open(file)?.length)
}

/// An open segment, read by places. It stays the same, whatever takes its file's place.
#[derive(Debug)]
pub(super) struct Content {
    file: File,
    /// Length of the file, or of what it was before it was sealed: what is pruned becomes shorter.
    pub(super) length: u64,
    sealed: Option<Sealed>,
}

#[derive(Debug)]
struct Sealed {
    table: Table,
    packed: Vec<u8>,
    opener: Opener,
    /// The bundle that was opened last.
    opened: Option<Place>,
}

impl Content {
    pub(super) fn open(file: &SegmentFile) -> Result<Self, AuditError> {
        Self::try_open(file).map_err(|e| AuditError::io(&file.path, &e))
    }

    fn try_open(segment: &SegmentFile) -> io::Result<Self> {
        let file = File::open(&segment.path)?;
        let mut beginning = vec![0; BEGINNING_BYTES];
        let filled = fill(&file, &mut beginning, 0)?;
        beginning.truncate(filled);
        let bytes = file.metadata()?.len();
        let Some(table_bytes) = sealed::table_bytes(&beginning) else { return Ok(Self { file, length: bytes, sealed: None }) };
        if table_bytes > beginning.len() {
            // Nothing that is not there.
            beginning.resize(table_bytes.min(usize::try_from(bytes).unwrap_or(usize::MAX)), 0);
            fill(&file, &mut beginning, 0)?;
        }
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the table of the sealed segment is damaged; run `consentry audit verify`");
        let table = Table::parse(&beginning).ok_or_else(damaged)?;
        Ok(Self { file, length: table.length, sealed: Some(Sealed { table, packed: Vec::new(), opener: Opener::default(), opened: None }) })
    }

    /// Reads from `place` on, as much as there is room for; returns how much there was.
    pub(super) fn fill(&mut self, buffer: &mut [u8], place: u64) -> io::Result<usize> {
        let Some(sealed) = &mut self.sealed else { return fill(&self.file, buffer, place) };
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let Some(found) = sealed.from(&self.file, place + u64::try_from(filled).unwrap_or(u64::MAX))? else { break };
            let taken = found.len().min(rest.len());
            if let (Some(to), Some(from)) = (rest.get_mut(..taken), found.get(..taken)) {
                to.copy_from_slice(from);
            }
            filled += taken;
        }
        Ok(filled)
    }
}

impl Sealed {
    /// What its bundle holds from `place` on; `None` behind the last entry, or where the bundle is changed.
    fn from(&mut self, file: &File, place: u64) -> io::Result<Option<&[u8]>> {
        let Some(bundle) = self.table.bundle_at(place) else { return Ok(None) };
        let start = usize::try_from(place - bundle.holds.start).unwrap_or(usize::MAX);
        if self.opened.as_ref() != Some(&bundle) {
            self.opened = None;
            self.packed.resize(usize::try_from(bundle.packed.end - bundle.packed.start).unwrap_or_default(), 0);
            let filled = fill(file, &mut self.packed, bundle.packed.start)?;
            if self.packed.get(..filled).and_then(|packed| self.opener.open(&bundle, packed)).is_none() {
                return Ok(None);
            }
            self.opened = Some(bundle);
        }
        Ok(self.opener.opened().get(start..))
    }
}

fn fill(file: &File, buffer: &mut [u8], place: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, place + u64::try_from(filled).unwrap_or(u64::MAX)) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
