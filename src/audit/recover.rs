//! Finding the end of the log at a start: checks what is there against the newest checkpoint, removes an unfinished write
//! from the end and makes the rest durable once more.
//!
//! Only entries that nobody was told of can be torn: what is after the last frame that is whole, in the last segment, and
//! not signed. Anything else that does not fit is damage, and the log is not opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::content;
use super::disk::{Disk, DiskFile};
use super::error::AuditError;
use super::key::Vkey;
use super::log::Mode;
use super::note::Checkpoint;
use super::rotation::Rotation;
use super::segment::{self, Frame, HEADER_BYTES, Held, SegmentFile};
use super::tape::{Failure, Kept, OpenSegment, Tape};
use super::tree::Tree;
use super::writer::CHECKPOINT_FILE;

#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) tape: Tape,
    pub(super) torn_bytes: u64,
    pub(super) clean: bool,
    /// Time of the last entry.
    pub(super) last: Option<Timestamp>,
    /// Size of the newest checkpoint, and its text.
    pub(super) signed: u64,
    pub(super) note: Option<String>,
    /// `key_rotated` entries that are not signed yet, by index; `None` where one does not hold.
    pub(super) rotations: Vec<(u64, Option<Rotation>)>,
}

pub(super) fn recover(disk: &Arc<dyn Disk>, dirs: &[PathBuf], segment_bytes: u64, mode: Mode, vkeys: &[&Vkey]) -> Result<Recovered, AuditError> {
    let segments = segment::list(dirs)?;
    let (checkpoint, note) = newest_note(dirs, vkeys)?.unzip();
    let signed = checkpoint.as_ref().map_or(0, |c| c.size);
    if segments.is_empty() {
        if signed > 0 {
            return Err(damaged(format!("a checkpoint signs {signed} entries, but there is no segment")));
        }
        let mut tape = Tape::create(disk.clone(), dirs.to_vec(), segment_bytes).map_err(poisoned)?;
        if let Mode::Bounded(_) = mode {
            tape.keep(Kept::default());
        }
        return Ok(Recovered { tape, torn_bytes: 0, clean: true, last: None, signed, note, rotations: Vec::new() });
    }
    if let Some(last) = segments.last()
        && content::is_sealed(last)?
    {
        return Err(damaged(format!("`{}` is finished, and the segment after it is missing", last.path.display())));
    }
    let from = segments.iter().rposition(|s| s.name.first <= signed).unwrap_or_default();
    let mut scan = Scan {
        tree: None,
        checkpoint: checkpoint.as_ref(),
        last_entry: Vec::new(),
        unsigned_from: HEADER_BYTES,
        only_starts: true,
        rotations: Vec::new(),
    };
    let mut rest = segments.iter().skip(from).peekable();
    while let Some(file) = rest.next() {
        let data = content::read(file)?;
        let end = scan.segment(file, &data, rest.peek().map(|next| next.name.first))?;
        if rest.peek().is_none() {
            return Ok(Recovered { note, ..scan.finish(disk, dirs, segment_bytes, mode, signed, file, &data, end)? });
        }
    }
    Err(damaged("there is no last segment".to_owned()))
}

struct Scan<'a> {
    tree: Option<Tree>,
    checkpoint: Option<&'a Checkpoint>,
    last_entry: Vec<u8>,
    /// Where the first entry of the last segment that is not signed begins.
    unsigned_from: usize,
    only_starts: bool,
    rotations: Vec<(u64, Option<Rotation>)>,
}

impl Scan<'_> {
    /// Reads a segment up to `limit`, the first index of the next; returns the offset after its last entry.
    fn segment(&mut self, file: &SegmentFile, data: &[u8], limit: Option<u64>) -> Result<usize, AuditError> {
        let place = file.path.display();
        let header = segment::parse_header(data).ok_or_else(|| damaged(format!("`{place}` has no whole header")))?;
        let tree = self.tree.get_or_insert_with(|| header.clone());
        if *tree != header || tree.size() != file.name.first {
            return Err(damaged(format!("`{place}` does not go on where the segment before it ends")));
        }
        let mut at = HEADER_BYTES;
        self.unsigned_from = at;
        loop {
            if let Some(checkpoint) = self.checkpoint
                && checkpoint.size == tree.size()
            {
                self.unsigned_from = at;
                if checkpoint.root != tree.root() {
                    return Err(damaged(format!("the entries before {} are not those that the checkpoint signs", checkpoint.size)));
                }
            }
            if limit == Some(tree.size()) {
                return Ok(at);
            }
            match segment::frame_at(data, at, tree.size()) {
                Frame::Held { held: Held::Pruned(leaf), end } if limit.is_some() => {
                    tree.push_leaf(leaf, |_, _| ());
                    self.only_starts = false;
                    self.last_entry.clear();
                    at = end;
                }
                Frame::Held { held: Held::Pruned(_), .. } => {
                    return Err(damaged(format!("entry {} is pruned, in the segment that grows", tree.size())));
                }
                Frame::Held { held: Held::Entry(entry), end } => {
                    let index = tree.size();
                    if index >= self.checkpoint.map_or(0, |checkpoint| checkpoint.size) {
                        self.rotations.extend(Rotation::in_entry(index, entry).map(|rotation| (index, rotation)));
                    }
                    tree.push(entry);
                    self.only_starts = self.only_starts && self.checkpoint.is_none() && kind_and_reason(entry).0 == "start";
                    self.last_entry = entry.to_vec();
                    at = end;
                }
                Frame::None if limit.is_none() => return Ok(at),
                Frame::None => return Err(damaged(format!("`{place}` lacks entry {}", tree.size()))),
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "called once, with what was just read")]
    fn finish(
        self,
        disk: &Arc<dyn Disk>,
        dirs: &[PathBuf],
        segment_bytes: u64,
        mode: Mode,
        signed: u64,
        file: &SegmentFile,
        data: &[u8],
        end: usize,
    ) -> Result<Recovered, AuditError> {
        let tree = self.tree.unwrap_or_default();
        if tree.size() < signed {
            return Err(damaged(format!("the checkpoint signs {signed} entries, but only {} are there", tree.size())));
        }
        // The first checkpoint is written before the first `append` is taken.
        if signed == 0 && tree.size() > 0 && !self.only_starts {
            return Err(damaged("the checkpoint is missing".to_owned()));
        }
        let torn_bytes = segment::leftover(data, end);
        let failed = |e: std::io::Error| AuditError::io(&file.path, &e);
        let open: Arc<dyn DiskFile> = disk.open(&file.path).map_err(failed)?.into();
        // The end may be in the page cache only, of a run that was killed or whose sync failed: written again, so that
        // the sync has something to do.
        let mut tail = data.get(self.unsigned_from.min(end)..end).unwrap_or_default().to_vec();
        tail.resize(tail.len() + usize::try_from(torn_bytes).unwrap_or_default(), 0);
        if !tail.is_empty() {
            open.write_at(&tail, u64::try_from(self.unsigned_from.min(end)).unwrap_or(u64::MAX)).map_err(failed)?;
        }
        open.sync().map_err(failed)?;
        let capacity = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let offset = u64::try_from(end).unwrap_or(u64::MAX);
        let clean = torn_bytes == 0 && (tree.size() == 0 || is_shutdown(&self.last_entry));
        let segment = OpenSegment { name: file.name, path: file.path.clone(), dir: file.dir, file: open, capacity, offset };
        let mut tape = Tape::resume(disk.clone(), dirs.to_vec(), segment_bytes, segment, tree);
        if let (Mode::Bounded(_), Some(begun)) = (mode, segment::parse_header(data)) {
            tape.keep(Kept { begun, frames: data.get(HEADER_BYTES..end).unwrap_or_default().to_vec() });
        }
        if file.dir != 0 {
            tape.begin_in(0).map_err(poisoned)?;
        }
        Ok(Recovered { tape, torn_bytes, clean, last: time(&self.last_entry), signed, note: None, rotations: self.rotations })
    }
}

/// The largest of the directories' checkpoints, each of which one of the keys must have signed, and its text.
pub(super) fn newest_note(dirs: &[PathBuf], vkeys: &[&Vkey]) -> Result<Option<(Checkpoint, String)>, AuditError> {
    let mut newest: Option<(Checkpoint, String)> = None;
    for path in dirs.iter().map(|dir| dir.join(CHECKPOINT_FILE)) {
        if let Some(note) = read_if_there(&path)? {
            let verified = vkeys.iter().find_map(|vkey| Checkpoint::verified(&note, vkey).ok());
            let checkpoint = verified.ok_or_else(|| damaged(format!("`{}` is not signed by this log's key", path.display())))?;
            if newest.as_ref().is_none_or(|(newest, _)| newest.size < checkpoint.size) {
                newest = Some((checkpoint, note));
            }
        }
    }
    Ok(newest)
}

pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, AuditError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(AuditError::io(path, &e)),
    }
}

fn is_shutdown(entry: &[u8]) -> bool {
    kind_and_reason(entry) == ("stop".to_owned(), "shutdown".to_owned())
}

fn time(entry: &[u8]) -> Option<Timestamp> {
    let value: serde_json::Value = serde_json::from_slice(entry).ok()?;
    Timestamp::from_microsecond(value.get("t")?.as_i64()?).ok()
}

fn kind_and_reason(entry: &[u8]) -> (String, String) {
    let value: serde_json::Value = serde_json::from_slice(entry).unwrap_or_default();
    let text = |key| value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    (text("kind"), text("reason"))
}

fn damaged(what: String) -> AuditError {
    AuditError::Damaged { what }
}

fn poisoned(failure: Failure) -> AuditError {
    AuditError::Poisoned { reason: failure.detail }
}
