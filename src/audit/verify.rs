//! Does the log still say what it said? Rebuilds the tree from the bytes of the entries, compares it with the signed
//! checkpoint, and believes nothing else: checksums and headers only say where something is wrong.
//!
//! What this can not show: entries after the checkpoint (at most of the last second before a kill; none after a clean end)
//! that were changed with their checksums, which is why they are counted apart; a log that was cut or rewritten together with its checkpoint by someone who holds the key, or
//! set back to an older state with the checkpoint of that time. That takes a checkpoint remembered elsewhere.
//!
//! A log's key may have been replaced. Each `key_rotated` entry must be signed by the key before, or say that it was lost; a checkpoint counts
//! only under the newest key that its tree names; and whoever verifies with an older one is led to the newest, if each has signed for the next.
//!
//! A tombstone in the place of an entry is right only where a signed `prune` entry has announced it: it must stand before that entry's
//! `before_index`, and there may be no more tombstones than all of them announce.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

use super::bits::Bits;
use super::content;
use super::key::Vkey;
use super::log::VKEY_FILE;
use super::note::{Checkpoint, NoteError};
use super::rotation::{Keys, Rotation};
use super::segment::{self, Frame, HEADER_BYTES, Held, SegmentFile};
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
    /// Entries of which only the hash is left, as `prune` entries say.
    pub pruned: u64,
    /// The verifier key that signs now, and those whose place it took, the first one first.
    pub key: String,
    pub rotations: Vec<Rotated>,
    /// The verifier key that was given is an older one, which leads to this.
    pub followed: bool,
    /// The verifier key was taken from the log's own directory: that shows changes by whoever lacks the signing key, but
    /// not that this is the log one thinks it is.
    pub own_key: bool,
}

/// That the log's key was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// Of the entry that says so.
    pub index: u64,
    pub from: String,
    pub to: String,
    /// The signed note for whoever keeps the key before. `None` when that was lost: nothing but the log's own word says who replaced it.
    pub note: Option<String>,
}

/// What is wrong, and what that means.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("can not be read: {0}")]
    Unreadable(String),
    #[error("is no verifier key of a log (`name+id+key`), or does not lead to the keys behind it")]
    NotAKey,
    #[error("there is no checkpoint, so nothing says what the log must hold; it was removed")]
    NoCheckpoint,
    #[error("the checkpoint is no signed note; it was changed")]
    MalformedCheckpoint,
    #[error("the checkpoint's signature is wrong; it was changed, or signed without the key")]
    BadSignature,
    #[error(
        "the checkpoint is not signed by this key; it is of another log, the key is not this log's, or it was replaced since and nothing leads from it to the newer one"
    )]
    OtherKey,
    #[error("the checkpoint is signed by a key that the log had replaced before; whoever has that key made it up, or put it back")]
    KeyIsOut,
    #[error(
        "the key beside the log is one that entry {index} replaced; it was put back by hand, or a start was interrupted: the next one mends that"
    )]
    OldKeyFile { index: u64 },
    #[error("the entry says that the log's key was replaced, and is not signed by the key before it; somebody made it up")]
    Rotation,
    #[error("the key was replaced at entry {index} without a signature of the key before, as lost; get the newer one from a source that you trust")]
    LostKey { index: u64 },
    #[error("the key's file tells of a rotation at entry {index} that the log does not have; the log was rewritten")]
    OtherRotation { index: u64 },
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
    #[error("only a hash stands in the place of the entry, and no signed `prune` entry says so; somebody removed it")]
    Removed,
    #[error("{found} entries are pruned, and signed `prune` entries tell of {announced}; somebody removed some")]
    RemovedMore { announced: u64, found: u64 },
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
/// the log is used; behind it may stand the notes by which others took its place.
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
    verify_with(dir, vkey, remembered, |_, _| ())
}

/// As [`verify_against`]; `progress` is told bytes done and bytes in all. Segments are read by as many threads as the machine has
/// cores; memory holds one segment for each.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify_with(dir: &Path, vkey: Option<&str>, remembered: Option<&str>, mut progress: impl FnMut(u64, u64)) -> Result<VerifyReport, Failed> {
    let mut known = 0;
    loop {
        let mut size = 0;
        let key_beside = std::fs::read(dir.join(VKEY_FILE)).ok();
        match verify_once(dir, vkey, remembered, &mut size, &mut progress) {
            // Pruning may have begun meanwhile, of which only a newer checkpoint knows.
            Err(failure) if matches!(failure.fault, Fault::Removed | Fault::RemovedMore { .. }) && size > known => known = size,
            // Or the log went over to another key.
            Err(failure)
                if matches!(failure.fault, Fault::OldKeyFile { .. } | Fault::OtherKey)
                    && vkey.is_none()
                    && std::fs::read(dir.join(VKEY_FILE)).ok() != key_beside => {}
            verified => return verified,
        }
    }
}

/// `size`: of the checkpoint, once it is known.
fn verify_once(
    dir: &Path,
    vkey: Option<&str>,
    remembered: Option<&str>,
    size: &mut u64,
    mut progress: impl FnMut(u64, u64),
) -> Result<VerifyReport, Failed> {
    let (key_file, pinned) = match vkey {
        Some(text) => (PathBuf::from("--key"), Keys::parse(text)),
        None => {
            let path = dir.join(VKEY_FILE);
            let text = read_text(&path)?;
            (path, Vkey::parse(&text).map(Keys::of))
        }
    };
    let pinned = Pinned { keys: pinned.ok_or_else(|| fail(&key_file, Fault::NotAKey))?, file: key_file, is_own: vkey.is_none() };
    let dirs = segment::directories(dir);
    // The checkpoint first: the log only grows meanwhile.
    let notes = notes(&dirs)?;
    let newest = notes.iter().max_by_key(|note| note.claimed.size).ok_or_else(|| fail(&dir.join(CHECKPOINT_FILE), Fault::NoCheckpoint))?;
    for note in &notes {
        // What is wrong whatever the entries say.
        match Checkpoint::verified(&note.text, pinned.keys.first()) {
            Err(why @ (NoteError::Malformed | NoteError::BadSignature)) => return Err(fail(&note.path, unsigned(why))),
            Ok(_) | Err(NoteError::OtherKey | NoteError::KeyIsOut) => {}
        }
    }
    let (path, checkpoint) = (&newest.path, &newest.claimed);
    *size = checkpoint.size;
    let remembered = remembered.map(|text| Note::claimed(PathBuf::from("--checkpoint"), text.to_owned())).transpose()?;
    let segments = segment::list(&dirs).map_err(|e| fail(dir, Fault::Unreadable(e.to_string())))?;
    if segments.is_empty() {
        return Err(fail(dir, Fault::NoSegment));
    }
    let sizes = [checkpoint.size, remembered.as_ref().map_or(0, |r| r.claimed.size)];
    let mut whole = Whole::default();
    let bytes = |file: &SegmentFile| std::fs::metadata(&file.path).map_or(0, |meta| meta.len());
    let (mut done, total) = (0, segments.iter().map(bytes).sum());
    let with_limits = segments.iter().zip(segments.iter().skip(1).map(|next| Some(next.name.first)).chain([None]));
    std::thread::scope(|scope| {
        let mut parts = with_limits.map(|(file, limit)| (file, scope.spawn(move || Part::read(file, limit, sizes))));
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        // While one is looked at, the next ones are read.
        let mut ahead: VecDeque<_> = parts.by_ref().take(workers).collect();
        while let Some((file, part)) = ahead.pop_front() {
            let part = part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            ahead.extend(parts.next());
            whole.add(file, part)?;
            done += bytes(file);
            progress(done, total);
        }
        Ok::<(), Failed>(())
    })?;
    let found = whole.tree.size();
    let [signed, first_signed] = whole.roots;
    let root = signed.ok_or_else(|| whole.fail_at_end(segments.last(), Fault::Short { signed: checkpoint.size, found }))?;
    // Until here nothing of a checkpoint was believed.
    let keys = whole.keys(&pinned)?;
    for note in notes.iter().chain(&remembered) {
        // Of what was signed after the end of the log its entries cannot tell the key.
        let beforehand = Some(&pinned.keys).filter(|_| note.claimed.size > checkpoint.size);
        let verified = beforehand.map_or(Err(NoteError::OtherKey), |known| known.verified(&note.text));
        verified.or_else(|_not_known| keys.verified(&note.text)).map_err(|why| fail(&note.path, unsigned(why)))?;
    }
    pinned.leads_to(&keys, checkpoint.size)?;
    if root != checkpoint.root {
        return Err(fail(path, Fault::Root { size: checkpoint.size }));
    }
    if let Some(Note { claimed: remembered, .. }) = &remembered {
        match first_signed {
            None => return Err(fail(path, Fault::SetBack { remembered: remembered.size, found })),
            Some(root) if root != remembered.root => return Err(fail(path, Fault::Rewritten { size: remembered.size })),
            Some(_) => {}
        }
    }
    whole.check_pruned(dir, &segments)?;
    Ok(VerifyReport {
        origin: checkpoint.origin.clone(),
        entries: found,
        root: hex(&whole.tree.root()),
        checkpoint_size: checkpoint.size,
        signed_until: whole.signed_until.and_then(|t| Timestamp::from_microsecond(t).ok()),
        unsigned_tail: found - checkpoint.size,
        torn_bytes: whole.torn_bytes,
        segments: segments.len(),
        pruned: whole.pruned.iter().map(|(_, bits)| bits.count()).sum(),
        key: keys.last().to_string(),
        rotations: keys.rotations().iter().map(rotated).collect(),
        followed: pinned.keys.first() != keys.last(),
        own_key: pinned.is_own,
    })
}

/// A checkpoint that nothing vouches for yet.
struct Note {
    path: PathBuf,
    text: String,
    claimed: Checkpoint,
}

impl Note {
    fn claimed(path: PathBuf, text: String) -> Result<Self, Failed> {
        match Checkpoint::unverified(&text) {
            Some(claimed) => Ok(Self { path, text, claimed }),
            None => Err(fail(&path, Fault::MalformedCheckpoint)),
        }
    }
}

fn notes(dirs: &[PathBuf]) -> Result<Vec<Note>, Failed> {
    let paths = dirs.iter().map(|dir| dir.join(CHECKPOINT_FILE)).filter(|path| path.exists());
    paths.map(|path| Note::claimed(path.clone(), read_text(&path)?)).collect()
}

/// What whoever verifies believes beforehand.
struct Pinned {
    keys: Keys,
    file: PathBuf,
    /// It stands beside the log.
    is_own: bool,
}

impl Pinned {
    /// Whether it is the log's newest key, or each from it on has signed for the next.
    fn leads_to(&self, keys: &Keys, size: u64) -> Result<(), Failed> {
        let failed = |fault| Err(fail(&self.file, fault));
        let Some(since) = keys.position(self.keys.first()) else { return failed(Fault::OtherKey) };
        let since = keys.rotations().get(since..).unwrap_or_default();
        if let Some(next) = since.first().filter(|_| self.is_own) {
            return failed(Fault::OldKeyFile { index: next.index });
        }
        if let Some(lost) = since.iter().find(|rotation| !rotation.is_signed()) {
            return failed(Fault::LostKey { index: lost.index });
        }
        match self.keys.rotations().iter().find(|known| !since.contains(known)) {
            Some(known) if known.index >= size => failed(Fault::SetBack { remembered: known.index + 1, found: size }),
            Some(known) => failed(Fault::OtherRotation { index: known.index }),
            None => Ok(()),
        }
    }
}

fn rotated(rotation: &Rotation) -> Rotated {
    Rotated { index: rotation.index, from: rotation.from.to_string(), to: rotation.to.to_string(), note: rotation.note() }
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
    before_index: Option<u64>,
    classes: Vec<PrunedClass>,
    dictionary: u64,
    remains: u64,
    #[serde(borrow)]
    old_key: &'a str,
    #[serde(borrow)]
    new_key: &'a str,
    #[serde(borrow)]
    signature: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PrunedClass {
    entries: u64,
}

/// What signed `prune` entries announce together.
#[derive(Clone, Copy, Debug, Default)]
struct Announced {
    before_index: u64,
    entries: u64,
}

impl Announced {
    fn and(self, other: Self) -> Self {
        Self { before_index: self.before_index.max(other.before_index), entries: self.entries.saturating_add(other.entries) }
    }
}

/// Sizes of the trees that the checkpoints sign: the log's, and the remembered one.
type Sizes = [u64; 2];

/// What one segment says by itself. It is believed only if it begins with the tree with which the one before ended.
struct Part {
    /// Before its first entry, and after the last one.
    first: Tree,
    tree: Tree,
    /// The roots at the wanted sizes, where they are reached in it.
    roots: [Option<Hash>; 2],
    /// Time of the last entry that is signed.
    signed_until: Option<i64>,
    /// One bit an entry: whether it is the head of a decision; whether it is pruned.
    heads: Bits,
    pruned: Bits,
    announced: Announced,
    /// `key_rotated` entries that are signed, by index; `None` where one does not hold.
    rotations: Vec<(u64, Option<Rotation>)>,
    /// Entries whose decision began in a segment before: index, offset, and the decision.
    owed: Vec<(u64, usize, u64)>,
    /// Whether the first entry, if there is one, follows a failure of the disk.
    begins_after_failure: Option<bool>,
    /// Whether a `stop` tells of a failure.
    tells_of_failure: bool,
    /// Where the last entry ends, and how many bytes stand behind.
    end: usize,
    leftover: u64,
    /// It goes on after this one.
    is_finished: bool,
    /// The first thing that is wrong in it.
    failure: Option<Failed>,
}

impl Part {
    fn read(file: &SegmentFile, limit: Option<u64>, sizes: Sizes) -> Result<Self, Failed> {
        let data = content::read(file).map_err(|e| fail(&file.path, Fault::Unreadable(e.to_string())))?;
        let first = segment::parse_header(&data).filter(|tree| tree.size() == file.name.first).ok_or_else(|| fail(&file.path, Fault::Header))?;
        let mut part = Self {
            tree: first.clone(),
            first,
            roots: [None; 2],
            signed_until: None,
            heads: Bits::default(),
            pruned: Bits::default(),
            announced: Announced::default(),
            rotations: Vec::new(),
            owed: Vec::new(),
            begins_after_failure: None,
            tells_of_failure: false,
            end: HEADER_BYTES,
            leftover: 0,
            is_finished: limit.is_some(),
            failure: None,
        };
        part.mark(sizes);
        while limit != Some(part.tree.size()) {
            let index = part.tree.size();
            match segment::frame_at(&data, part.end, index) {
                Frame::Held { held: Held::Entry(entry), end } if part.entry(entry, sizes) => part.end = end,
                Frame::Held { held: Held::Pruned(leaf), end } => {
                    part.tombstone(leaf, sizes);
                    part.end = end;
                }
                Frame::None if limit.is_none() => break,
                found @ (Frame::Held { .. } | Frame::None) => {
                    let fault = if found == Frame::None { Fault::Entry } else { Fault::Orphan };
                    part.failure = Some(Box::new(VerifyFailure { offset: offset(part.end), index: Some(index), ..*fail(&file.path, fault) }));
                    return Ok(part);
                }
            }
        }
        part.leftover = segment::leftover(&data, part.end);
        Ok(part)
    }

    /// False when it belongs to a decision that is not there.
    fn entry(&mut self, entry: &[u8], sizes: Sizes) -> bool {
        let index = self.tree.size();
        let known: Envelope<'_> = serde_json::from_slice(entry).ok().filter(|e: &Envelope<'_>| e.v == 1).unwrap_or_default();
        if index == self.first.size() {
            let is_start = known.kind == "start" && known.clean == Some(false);
            self.begins_after_failure = Some((known.kind == "stop" && known.reason != "shutdown") || is_start);
        }
        self.tells_of_failure |= known.kind == "stop" && known.reason != "shutdown";
        match (known.kind, known.of) {
            ("deny" | "part" | "end", Some(of)) if of < self.first.size() => self.owed.push((index, self.end, of)),
            ("deny" | "part" | "end", Some(of)) if !self.heads.has(of - self.first.size()) && !self.pruned.has(of - self.first.size()) => {
                return false;
            }
            ("part" | "end", None) => return false,
            ("deny" | "permit" | "intent", None) => self.heads.set(index - self.first.size()),
            // What is not signed may have been put there by anybody.
            ("prune", _) if index < sizes[0] => self.announced = self.announced.and(announced(&known)),
            ("key_rotated", _) if index < sizes[0] => {
                self.rotations.push((index, Rotation::read(index, known.old_key, known.new_key, known.reason, known.signature)));
            }
            _ => {}
        }
        self.tree.push(entry);
        self.mark(sizes);
        if index < sizes[0] {
            self.signed_until = Some(known.t).filter(|&t| t != 0).or(self.signed_until);
        }
        true
    }

    fn tombstone(&mut self, leaf: Hash, sizes: Sizes) {
        let index = self.tree.size();
        if index == self.first.size() {
            // `start` and `stop` are never pruned.
            self.begins_after_failure = Some(false);
        }
        self.pruned.set(index - self.first.size());
        self.tree.push_leaf(leaf, |_, _| ());
        self.mark(sizes);
    }

    fn mark(&mut self, sizes: Sizes) {
        for (root, size) in self.roots.iter_mut().zip(sizes) {
            if size == self.tree.size() {
                *root = Some(self.tree.root());
            }
        }
    }
}

/// All segments so far.
#[derive(Default)]
struct Whole {
    tree: Tree,
    roots: [Option<Hash>; 2],
    signed_until: Option<i64>,
    /// By the first index of their segment.
    heads: Vec<(u64, Bits)>,
    pruned: Vec<(u64, Bits)>,
    announced: Announced,
    /// With the segment of each.
    rotations: Vec<(PathBuf, u64, Option<Rotation>)>,
    /// First index of the segment before.
    begins: Option<u64>,
    end: usize,
    /// Bytes behind the end of the last segment, of an unfinished write.
    torn_bytes: u64,
    /// Bytes behind the end of a finished segment: allowed only where a disk failed.
    leftover: Option<Failed>,
}

impl Whole {
    fn add(&mut self, file: &SegmentFile, part: Result<Part, Failed>) -> Result<(), Failed> {
        let part = part?;
        if part.first != self.tree {
            return Err(fail(&file.path, Fault::Header));
        }
        // After a failure, or written again as a whole, with the failure behind it.
        let is_again = part.tells_of_failure && self.begins == Some(part.first.size());
        if let (Some(leftover), Some(false)) = (self.leftover.take_if(|_| part.begins_after_failure.is_some()), part.begins_after_failure)
            && !is_again
        {
            return Err(leftover);
        }
        self.begins = Some(part.first.size());
        for (index, at, of) in part.owed {
            // Of a decision that is being pruned, its head may be gone before what follows it.
            if !has(&self.heads, of) && !has(&self.pruned, of) {
                return Err(Box::new(VerifyFailure { offset: offset(at), index: Some(index), ..*fail(&file.path, Fault::Orphan) }));
            }
        }
        if let Some(failure) = part.failure {
            return Err(failure);
        }
        match (part.leftover, part.is_finished) {
            (0, _) => {}
            (bytes, false) => self.torn_bytes = bytes,
            (_, true) => {
                let place = || Box::new(VerifyFailure { offset: offset(part.end), ..*fail(&file.path, Fault::Leftover) });
                self.leftover.get_or_insert_with(place);
            }
        }
        self.heads.push((part.first.size(), part.heads));
        self.pruned.push((part.first.size(), part.pruned));
        self.announced = self.announced.and(part.announced);
        self.rotations.extend(part.rotations.into_iter().map(|(index, rotation)| (file.path.clone(), index, rotation)));
        for (known, found) in self.roots.iter_mut().zip(part.roots) {
            *known = known.or(found);
        }
        self.signed_until = part.signed_until.or(self.signed_until);
        (self.tree, self.end) = (part.tree, part.end);
        Ok(())
    }

    /// The log's keys as its entries tell, or the one that is believed, where they tell of none.
    fn keys(&mut self, pinned: &Pinned) -> Result<Keys, Failed> {
        let mut keys: Option<Keys> = None;
        for (file, index, rotation) in std::mem::take(&mut self.rotations) {
            let failed = || Box::new(VerifyFailure { index: Some(index), ..*fail(&file, Fault::Rotation) });
            let rotation = rotation.ok_or_else(failed)?;
            if !keys.get_or_insert_with(|| Keys::of(rotation.from.clone())).push(rotation) {
                return Err(failed());
            }
        }
        Ok(keys.unwrap_or_else(|| Keys::of(pinned.keys.first().clone())))
    }

    /// After all: a `prune` entry stands behind what it is about.
    fn check_pruned(&self, dir: &Path, segments: &[SegmentFile]) -> Result<(), Failed> {
        let Announced { before_index, entries } = self.announced;
        let beyond = |(first, bits): &(u64, Bits)| bits.iter().map(|at| first + at).find(|index| *index >= before_index);
        for (file, part) in segments.iter().zip(&self.pruned) {
            if let Some(index) = beyond(part) {
                return Err(Box::new(VerifyFailure { index: Some(index), ..*fail(&file.path, Fault::Removed) }));
            }
        }
        let found = self.pruned.iter().map(|(_, bits)| bits.count()).sum();
        if found > entries { Err(fail(dir, Fault::RemovedMore { announced: entries, found })) } else { Ok(()) }
    }

    fn fail_at_end(&self, last: Option<&SegmentFile>, fault: Fault) -> Failed {
        let file = last.map(|s| s.path.clone()).unwrap_or_default();
        Box::new(VerifyFailure { file, offset: offset(self.end), index: Some(self.tree.size()), fault })
    }
}

fn announced(entry: &Envelope<'_>) -> Announced {
    let of_classes = entry.classes.iter().map(|class| class.entries);
    let entries = of_classes.chain([entry.dictionary, entry.remains]).fold(0, u64::saturating_add);
    Announced { before_index: entry.before_index.unwrap_or_default(), entries }
}

fn has(parts: &[(u64, Bits)], index: u64) -> bool {
    let at = parts.partition_point(|(first, _)| *first <= index);
    at.checked_sub(1).and_then(|at| parts.get(at)).is_some_and(|(first, bits)| bits.has(index - first))
}

fn unsigned(why: NoteError) -> Fault {
    match why {
        NoteError::Malformed => Fault::MalformedCheckpoint,
        NoteError::OtherKey => Fault::OtherKey,
        NoteError::BadSignature => Fault::BadSignature,
        NoteError::KeyIsOut => Fault::KeyIsOut,
    }
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
