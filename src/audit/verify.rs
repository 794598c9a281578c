//! Does the log still say what it said? Rebuilds the tree from the bytes of the entries, compares it with the signed
//! checkpoint, and believes nothing else: checksums and headers only say where something is wrong.
//!
//! What this can not show: entries after the checkpoint (at most of the last second before a kill; none after a clean end)
//! that were changed with their checksums, which is why they are counted apart; a log that was cut or rewritten together with its checkpoint by someone who holds the key, or
//! set back to an older state with the checkpoint of that time. That takes a checkpoint remembered elsewhere.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

use super::key::Vkey;
use super::log::VKEY_FILE;
use super::note::{Checkpoint, NoteError};
use super::segment::{self, Frame, HEADER_BYTES, SegmentFile};
use super::tree::{Hash, Tree, hex};
use super::writer::CHECKPOINT_FILE;

/// What holds for a log that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    pub origin: String,
    pub entries: u64,
    /// Root over all entries, hex.
    pub root: String,
    pub checkpoint_size: u64,
    /// Time of the newest entry that is signed; itself covered by the signature.
    pub signed_until: Option<Timestamp>,
    /// Entries after the checkpoint: whole and in order, but not signed yet.
    pub unsigned_tail: u64,
    /// Bytes of an unfinished write after the last entry; removed and recorded at the next start.
    pub torn_bytes: u64,
    pub segments: usize,
    /// The verifier key was taken from the log's own directory: that shows changes by whoever lacks the signing key, but
    /// not that this is the log one thinks it is.
    pub own_key: bool,
}

/// What is wrong, and what that means.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("can not be read: {0}")]
    Unreadable(String),
    #[error("is no verifier key of a log (`name+id+key`)")]
    NotAKey,
    #[error("there is no checkpoint, so nothing says what the log must hold; it was removed")]
    NoCheckpoint,
    #[error("the checkpoint is no signed note; it was changed")]
    MalformedCheckpoint,
    #[error("the checkpoint's signature is wrong; it was changed, or signed without the key")]
    BadSignature,
    #[error("the checkpoint is not signed by this key; it is of another log, or the key is not this log's")]
    OtherKey,
    #[error("there is no segment; the entries were removed")]
    NoSegment,
    #[error("the header is damaged or does not continue the segment before; it was changed, or a segment was removed or exchanged")]
    Header,
    #[error("the entry is missing, changed or not in its place")]
    Entry,
    #[error("after the last entry of a finished segment stand other bytes; something was put there")]
    Leftover,
    #[error("the entry belongs to a decision that is not in the log before it")]
    Orphan,
    #[error("the checkpoint signs {signed} entries, only {found} are there; entries were cut off or the last ones were changed")]
    Short { signed: u64, found: u64 },
    #[error("the first {size} entries are not those that the checkpoint signs; at least one was changed with its checksum")]
    Root { size: u64 },
    #[error("the remembered checkpoint signs {remembered} entries, only {found} are there; the log was set back")]
    SetBack { remembered: u64, found: u64 },
    #[error("the first {size} entries are not those that the remembered checkpoint signs; the log was rewritten")]
    Rewritten { size: u64 },
}

/// Where and what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}`{}{}: {fault}", file.display(), offset.map(|o| format!(", byte {o}")).unwrap_or_default(), index.map(|i| format!(", entry {i}")).unwrap_or_default())]
pub struct VerifyFailure {
    pub file: PathBuf,
    /// Byte offset in the file.
    pub offset: Option<u64>,
    /// Entry.
    pub index: Option<u64>,
    pub fault: Fault,
}

type Failed = Box<VerifyFailure>;

/// Rebuilds the root from the entries and checks everything against the signed checkpoint. Without `vkey` the key beside
/// the log is used.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(dir: &Path, vkey: Option<&str>) -> Result<VerifyReport, Failed> {
    verify_against(dir, vkey, None)
}

/// As [`verify`]; also the log must contain what a remembered checkpoint (the text of the note) has signed. Only such
/// outside memory shows that a log was set back together with its checkpoint.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify_against(dir: &Path, vkey: Option<&str>, remembered: Option<&str>) -> Result<VerifyReport, Failed> {
    let own_key = vkey.is_none();
    let vkey = match vkey {
        Some(text) => Vkey::parse(text).ok_or_else(|| fail(Path::new("--key"), Fault::NotAKey))?,
        None => {
            let path = dir.join(VKEY_FILE);
            Vkey::parse(&read_text(&path)?).ok_or_else(|| fail(&path, Fault::NotAKey))?
        }
    };
    let dirs = segment::directories(dir);
    // The checkpoint first: the log only grows meanwhile.
    let (path, checkpoint) = newest_checkpoint(&dirs, &vkey)?.ok_or_else(|| fail(&dir.join(CHECKPOINT_FILE), Fault::NoCheckpoint))?;
    let remembered = remembered.map(|note| checked(Path::new("--checkpoint"), note, &vkey)).transpose()?;
    let segments = segment::list(&dirs).map_err(|e| fail(dir, Fault::Unreadable(e.to_string())))?;
    if segments.is_empty() {
        return Err(fail(dir, Fault::NoSegment));
    }
    let mut scan = Scan { signed: Mark::new(checkpoint.size), remembered: Mark::new(remembered.as_ref().map_or(0, |r| r.size)), ..Scan::default() };
    scan.mark();
    let mut rest = segments.iter().peekable();
    while let Some(file) = rest.next() {
        scan.segment(file, rest.peek().map(|next| next.name.first))?;
    }
    let found = scan.tree.size();
    match scan.signed.root {
        None => return Err(scan.fail_at_end(segments.last(), Fault::Short { signed: checkpoint.size, found })),
        Some(root) if root != checkpoint.root => return Err(fail(&path, Fault::Root { size: checkpoint.size })),
        Some(_) => {}
    }
    if let Some(remembered) = remembered {
        match scan.remembered.root {
            None => return Err(fail(&path, Fault::SetBack { remembered: remembered.size, found })),
            Some(root) if root != remembered.root => return Err(fail(&path, Fault::Rewritten { size: remembered.size })),
            Some(_) => {}
        }
    }
    Ok(VerifyReport {
        origin: checkpoint.origin,
        entries: found,
        root: hex(&scan.tree.root()),
        checkpoint_size: checkpoint.size,
        signed_until: scan.signed_until.and_then(|t| Timestamp::from_microsecond(t).ok()),
        unsigned_tail: found - checkpoint.size,
        torn_bytes: scan.torn_bytes,
        segments: segments.len(),
        own_key,
    })
}

/// What the checks need of an entry. Of a version or kind that is not known only the bytes are checked.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope<'a> {
    v: u64,
    #[serde(borrow)]
    kind: &'a str,
    t: i64,
    of: Option<u64>,
    #[serde(borrow)]
    reason: &'a str,
    clean: Option<bool>,
}

/// The root at one size.
#[derive(Default)]
struct Mark {
    size: u64,
    root: Option<Hash>,
}

impl Mark {
    fn new(size: u64) -> Self {
        Self { size, root: None }
    }
}

#[derive(Default)]
struct Scan {
    tree: Tree,
    signed: Mark,
    remembered: Mark,
    signed_until: Option<i64>,
    /// One bit an entry: whether it is the head of a decision.
    heads: Vec<u64>,
    torn_bytes: u64,
    end: usize,
    /// Bytes after the end of the segment before: allowed only where a disk failed.
    leftover: Option<Failed>,
}

impl Scan {
    fn segment(&mut self, file: &SegmentFile, limit: Option<u64>) -> Result<(), Failed> {
        let data = std::fs::read(&file.path).map_err(|e| fail(&file.path, Fault::Unreadable(e.to_string())))?;
        if file.name.first != self.tree.size() || segment::parse_header(&data).as_ref() != Some(&self.tree) {
            return Err(fail(&file.path, Fault::Header));
        }
        let mut at = HEADER_BYTES;
        while limit != Some(self.tree.size()) {
            let index = self.tree.size();
            let place = |fault| Box::new(VerifyFailure { offset: offset(at), index: Some(index), ..*fail(&file.path, fault) });
            match segment::frame_at(&data, at, index) {
                Frame::Entry { entry, end } => {
                    self.entry(entry).map_err(place)?;
                    at = end;
                }
                Frame::None if limit.is_none() => break,
                Frame::None => return Err(place(Fault::Entry)),
            }
        }
        self.end = at;
        match (segment::leftover(&data, at), limit) {
            (0, _) => {}
            (bytes, None) => self.torn_bytes = bytes,
            (_, Some(_)) => {
                self.leftover.get_or_insert_with(|| Box::new(VerifyFailure { offset: offset(at), ..*fail(&file.path, Fault::Leftover) }));
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &[u8]) -> Result<(), Fault> {
        let index = self.tree.size();
        let known: Envelope<'_> = serde_json::from_slice(entry).ok().filter(|e: &Envelope<'_>| e.v == 1).unwrap_or_default();
        if let Some(leftover) = self.leftover.take() {
            let after_failure = (known.kind == "stop" && known.reason != "shutdown") || (known.kind == "start" && known.clean == Some(false));
            if !after_failure {
                return Err(leftover.fault);
            }
        }
        match (known.kind, known.of) {
            ("deny" | "part" | "end", Some(of)) if !self.is_head(of) => return Err(Fault::Orphan),
            ("part" | "end", None) => return Err(Fault::Orphan),
            ("deny" | "permit" | "intent", None) => self.set_head(index),
            _ => {}
        }
        self.tree.push(entry);
        if index < self.signed.size {
            self.signed_until = Some(known.t).filter(|&t| t != 0).or(self.signed_until);
        }
        self.mark();
        Ok(())
    }

    fn mark(&mut self) {
        for mark in [&mut self.signed, &mut self.remembered] {
            if mark.size == self.tree.size() {
                mark.root = Some(self.tree.root());
            }
        }
    }

    fn is_head(&self, index: u64) -> bool {
        usize::try_from(index / 64).ok().and_then(|word| self.heads.get(word)).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn set_head(&mut self, index: u64) {
        let Ok(at) = usize::try_from(index / 64) else { return };
        if self.heads.len() <= at {
            self.heads.resize(at + 1, 0);
        }
        if let Some(word) = self.heads.get_mut(at) {
            *word |= 1 << (index % 64);
        }
    }

    fn fail_at_end(&self, last: Option<&SegmentFile>, fault: Fault) -> Failed {
        let file = last.map(|s| s.path.clone()).unwrap_or_default();
        Box::new(VerifyFailure { file, offset: offset(self.end), index: Some(self.tree.size()), fault })
    }
}

fn newest_checkpoint(dirs: &[PathBuf], vkey: &Vkey) -> Result<Option<(PathBuf, Checkpoint)>, Failed> {
    let mut newest: Option<(PathBuf, Checkpoint)> = None;
    for path in dirs.iter().map(|dir| dir.join(CHECKPOINT_FILE)).filter(|path| path.exists()) {
        let checkpoint = checked(&path, &read_text(&path)?, vkey)?;
        if newest.as_ref().is_none_or(|(_, n)| n.size < checkpoint.size) {
            newest = Some((path, checkpoint));
        }
    }
    Ok(newest)
}

fn checked(path: &Path, note: &str, vkey: &Vkey) -> Result<Checkpoint, Failed> {
    Checkpoint::verified(note, vkey).map_err(|e| {
        let fault = match e {
            NoteError::Malformed => Fault::MalformedCheckpoint,
            NoteError::OtherKey => Fault::OtherKey,
            NoteError::BadSignature => Fault::BadSignature,
        };
        fail(path, fault)
    })
}

fn read_text(path: &Path) -> Result<String, Failed> {
    std::fs::read_to_string(path).map_err(|e| fail(path, Fault::Unreadable(e.to_string())))
}

fn fail(file: &Path, fault: Fault) -> Failed {
    Box::new(VerifyFailure { file: file.to_owned(), offset: None, index: None, fault })
}

fn offset(at: usize) -> Option<u64> {
    u64::try_from(at).ok()
}
