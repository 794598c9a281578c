//! The log as C2SP tlog-tiles (<https://c2sp.org/tlog-tiles>) and the proofs that follow from it. Everything here is worked out from the
//! entries and from `roots`, and believed only if it leads to the root that the checkpoint signs.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::Timestamp;

use super::error::AuditError;
use super::key::{KeyKind, Vkey};
use super::log::VKEY_FILE;
use super::note::{Checkpoint, NoteError, cosigned};
use super::proof::{self, Subtrees, TlogProof};
use super::queue::lock;
use super::read::Spans;
use super::recover::newest_note;
use super::roots::{TILE_HEIGHT, TILE_WIDTH, Upper};
use super::rotation::Keys;
use super::segment;
use super::tile_name::TileName;
use super::tree::{Hash, Tree, leaf};
use super::witness::{Offer, witnessed};

/// Tiles of leaf hashes that are kept for the next question.
const LEAVES_KEPT: usize = 64;

/// Reads a log's tiles, also while it is being written.
#[derive(Debug)]
pub struct Tiles {
    dir: PathBuf,
    known: Mutex<Option<Known>>,
}

/// What was worked out of a log.
#[derive(Debug)]
struct Known {
    upper: Upper,
    spans: Spans,
    /// Hashes of the entries of tiles, the newest first.
    leaves: VecDeque<(u64, Vec<Hash>)>,
}

/// A signed checkpoint and its text.
#[derive(Debug)]
struct Signed {
    checkpoint: Checkpoint,
    note: String,
}

/// That an entry is in the log, as of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The bytes that are hashed.
    pub entry: Vec<u8>,
    proof: TlogProof,
}

impl Proved {
    /// A C2SP tlog-proof that holds the entry.
    #[must_use]
    pub fn evidence(&self) -> String {
        TlogProof { extra: Some(self.entry.clone()), ..self.proof.clone() }.to_text()
    }

    /// A C2SP tlog-proof that holds only the hash under which the entry stands in the tree, which tells nothing of it.
    #[must_use]
    pub fn receipt(&self) -> String {
        TlogProof { extra: Some(leaf(&self.entry).to_vec()), ..self.proof.clone() }.to_text()
    }
}

/// The verifier key of the log in `dir`, as it stands beside it.
///
/// # Errors
/// When there is no log.
pub fn verifier_key(dir: &Path) -> Result<String, AuditError> {
    Tiles::new(dir).vkey().map(|vkey| vkey.to_string())
}

impl Tiles {
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), known: Mutex::default() }
    }

    /// The newest checkpoint, a signed note.
    ///
    /// # Errors
    /// When there is none, or it is not this log's.
    pub fn checkpoint(&self) -> Result<String, AuditError> {
        Ok(self.signed()?.note)
    }

    /// The checkpoints that witnesses have signed, the smallest first.
    ///
    /// # Errors
    /// When there is no log.
    pub fn witnessed(&self) -> Result<Vec<String>, AuditError> {
        let mut notes = witnessed(&self.dir, &self.vkey()?);
        notes.sort_by(|(one, one_note), (other, other_note)| (one.size, one_note).cmp(&(other.size, other_note)));
        Ok(notes.into_iter().map(|(_, note)| note).collect())
    }

    /// What stands under that name; `None` when the signed tree has no such tile.
    ///
    /// # Errors
    /// As [`Self::tile`].
    pub fn read(&self, name: &TileName) -> Result<Option<Vec<u8>>, AuditError> {
        match name.level {
            Some(level) => self.tile(level, name.number, name.width),
            None => self.bundle(name.number, name.width),
        }
    }

    /// The hashes of a tile (32 bytes each): `width` of them, 256 when it is full. `None` when the signed tree has no such tile.
    ///
    /// # Errors
    /// When the log can not be read, or does not lead to what is signed.
    pub fn tile(&self, level: u32, number: u64, width: u64) -> Result<Option<Vec<u8>>, AuditError> {
        let signed = self.signed()?;
        let Some((start, end)) = hashes_of(&signed, level, number, width) else { return Ok(None) };
        self.with(&signed, |known| {
            let hashes = if level == 0 { known.leaves(number, end - start)? } else { slice(known.upper.level(level), start, end)?.to_vec() };
            Ok(Some(hashes.into_iter().flatten().collect()))
        })
    }

    /// The entries of a tile of level 0, each behind its length (two bytes, big endian). `None` also when one of them is pruned.
    ///
    /// # Errors
    /// As [`Self::tile`].
    pub fn bundle(&self, number: u64, width: u64) -> Result<Option<Vec<u8>>, AuditError> {
        let signed = self.signed()?;
        let Some((start, end)) = hashes_of(&signed, 0, number, width) else { return Ok(None) };
        self.with(&signed, |known| {
            let (mut bundle, mut hashes, mut is_whole) = (Vec::new(), Vec::new(), true);
            known.spans.each(start, end, |held| {
                let entry = held.entry();
                is_whole &= entry.is_some();
                let entry = entry.unwrap_or_default();
                // Entries have at most 65,535 bytes.
                bundle.extend(u16::try_from(entry.len()).unwrap_or(u16::MAX).to_be_bytes());
                bundle.extend(entry);
                hashes.push(held.leaf());
            })?;
            if hashes == known.leaves(number, width)? { Ok(is_whole.then_some(bundle)) } else { Err(not_signed(start)) }
        })
    }

    /// The proof that an entry is in the signed tree; `None` when it is not, or not signed yet.
    ///
    /// # Errors
    /// As [`Self::tile`]; [`AuditError::Pruned`] when what it said is gone.
    pub fn prove(&self, index: u64) -> Result<Option<Proved>, AuditError> {
        let signed = self.signed_with(index)?;
        let size = signed.checkpoint.size;
        if index >= size {
            return Ok(None);
        }
        self.with(&signed, |known| {
            let entry = known.spans.one(index)?.ok_or(AuditError::Pruned { index })?;
            let hashes = proof::inclusion(known, index, size)?;
            if proof::included_root(index, size, leaf(&entry), &hashes) != Some(signed.checkpoint.root) {
                return Err(not_signed(index));
            }
            let proof = TlogProof { extra: None, index, hashes, checkpoint: signed.note.clone() };
            Ok(Some(Proved { entry, proof }))
        })
    }

    /// Whether the signed tree begins with that one.
    ///
    /// # Errors
    /// As [`Self::tile`].
    pub(super) fn begins_with(&self, tree: &Tree) -> Result<bool, AuditError> {
        let signed = self.signed()?;
        if tree.size() > signed.checkpoint.size {
            return Ok(false);
        }
        self.with(&signed, |known| {
            let mut start = 0;
            for (height, peak) in (0..u64::BITS).rev().filter(|height| tree.size() >> height & 1 == 1).zip(tree.peaks()) {
                if known.perfect(start, height)? != *peak {
                    return Ok(false);
                }
                start += 1 << height;
            }
            Ok(true)
        })
    }

    /// What to send to a witness that signed a tree of `old` entries last; `None` when the log has fewer.
    ///
    /// # Errors
    /// As [`Self::tile`].
    pub fn offer(&self, old: u64) -> Result<Option<Offer>, AuditError> {
        let signed = self.signed()?;
        let size = signed.checkpoint.size;
        if old > size {
            return Ok(None);
        }
        self.with(&signed, |known| {
            let proof = if old == 0 { Vec::new() } else { proof::consistency(known, old, size)? };
            Ok(Some(Offer { old, proof, checkpoint: signed.note.clone() }))
        })
    }

    fn vkey(&self) -> Result<Vkey, AuditError> {
        let path = self.dir.join(VKEY_FILE);
        let text = std::fs::read_to_string(&path).map_err(|_away| AuditError::NoLog { dir: self.dir.clone() })?;
        Vkey::parse(&text).ok_or_else(|| AuditError::VerifierKey { text: text.trim().to_owned() })
    }

    fn signed(&self) -> Result<Signed, AuditError> {
        let newest = newest_note(&segment::directories(&self.dir), &[&self.vkey()?])?;
        let (checkpoint, note) = newest.ok_or_else(|| AuditError::Damaged { what: "the checkpoint is missing".to_owned() })?;
        Ok(Signed { checkpoint, note })
    }

    /// The checkpoint that a proof of an entry leads to: rather one that a witness has signed.
    fn signed_with(&self, index: u64) -> Result<Signed, AuditError> {
        let witnessed = witnessed(&self.dir, &self.vkey()?).into_iter().max_by_key(|(checkpoint, _)| checkpoint.size);
        match witnessed.filter(|(checkpoint, _)| index < checkpoint.size) {
            Some((checkpoint, note)) => Ok(Signed { checkpoint, note }),
            None => self.signed(),
        }
    }

    /// Answers from what is known; when that leads elsewhere than what is signed, once more from the entries alone.
    fn with<T>(&self, signed: &Signed, mut answer: impl FnMut(&mut Known) -> Result<T, AuditError>) -> Result<T, AuditError> {
        let size = signed.checkpoint.size;
        let mut held = lock(&self.known);
        let known = held.get_or_insert_with(|| Known::new(&self.dir, Upper::read(&self.dir, size)));
        if known.follows(signed)? {
            return answer(known);
        }
        let known = held.insert(Known::new(&self.dir, Upper::default()));
        if known.follows(signed)? {
            return answer(known);
        }
        *held = None;
        Err(AuditError::Damaged { what: format!("the first {size} entries are not those that the checkpoint signs; run `consentry audit verify`") })
    }
}

impl Known {
    fn new(dir: &Path, upper: Upper) -> Self {
        Self { upper, spans: Spans::new(segment::directories(dir)), leaves: VecDeque::new() }
    }

    /// Goes on to the signed tree; whether it leads there.
    fn follows(&mut self, signed: &Signed) -> Result<bool, AuditError> {
        let Checkpoint { size, root, .. } = signed.checkpoint;
        self.upper.extend(&mut self.spans, size)?;
        // All of the last tile at once: what is kept of it is what leads to the root.
        if !size.is_multiple_of(TILE_WIDTH) {
            self.leaves(size / TILE_WIDTH, size % TILE_WIDTH)?;
        }
        let found = if size == 0 { Tree::default().root() } else { proof::root_of(self, 0, size)? };
        Ok(found == root)
    }

    /// The hashes of the first `width` entries of a tile. Those of a full one lead to its root; those of the last one are what
    /// [`Self::follows`] leads to the signed root.
    fn leaves(&mut self, tile: u64, width: u64) -> Result<Vec<Hash>, AuditError> {
        let wanted = usize::try_from(width).unwrap_or(usize::MAX);
        if let Some((_, leaves)) = self.leaves.iter().find(|(known, leaves)| *known == tile && leaves.len() >= wanted) {
            return Ok(leaves.iter().take(wanted).copied().collect());
        }
        let root = usize::try_from(tile).ok().and_then(|at| self.upper.level(1).get(at)).copied();
        let start = tile * TILE_WIDTH;
        let (mut leaves, mut tree) = (Vec::new(), Tree::default());
        self.spans.each(start, start + root.map_or(width, |_full| TILE_WIDTH), |held| {
            let hash = held.leaf();
            leaves.push(hash);
            tree.push_leaf(hash, |_, _| ());
        })?;
        if root.is_some_and(|root| root != tree.root()) {
            return Err(not_signed(start));
        }
        self.leaves.retain(|(known, _)| *known != tile);
        let found = leaves.iter().take(wanted).copied().collect();
        self.leaves.push_front((tile, leaves));
        self.leaves.truncate(LEAVES_KEPT);
        Ok(found)
    }
}

impl Subtrees for Known {
    type Error = AuditError;

    fn perfect(&mut self, start: u64, height: u32) -> Result<Hash, AuditError> {
        let level = height / TILE_HEIGHT;
        let (first, count) = (start >> (level * TILE_HEIGHT), 1 << (height % TILE_HEIGHT));
        let mut tree = Tree::default();
        if level == 0 {
            let (tile, skip) = (first / TILE_WIDTH, first % TILE_WIDTH);
            let leaves = self.leaves(tile, skip + count)?;
            slice(&leaves, skip, skip + count)?.iter().for_each(|hash| tree.push_leaf(*hash, |_, _| ()));
        } else {
            slice(self.upper.level(level), first, first + count)?.iter().for_each(|hash| tree.push_leaf(*hash, |_, _| ()));
        }
        Ok(tree.root())
    }
}

/// From which to before which hash of its level a tile goes, if the signed tree has one of that width.
fn hashes_of(signed: &Signed, level: u32, number: u64, width: u64) -> Option<(u64, u64)> {
    let there = signed.checkpoint.size.checked_shr(level.checked_mul(TILE_HEIGHT)?).unwrap_or(0);
    let start = number.checked_mul(TILE_WIDTH)?;
    let end = start.checked_add(width)?;
    ((1..=TILE_WIDTH).contains(&width) && end <= there).then_some((start, end))
}

fn not_signed(index: u64) -> AuditError {
    AuditError::Damaged { what: format!("at entry {index} stands something else than what the checkpoint signs; run `consentry audit verify`") }
}

fn slice(hashes: &[Hash], start: u64, end: u64) -> Result<&[Hash], AuditError> {
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    let found = range.and_then(|(start, end)| hashes.get(start..end));
    found.ok_or_else(|| AuditError::Damaged { what: "the log ends before what the checkpoint signs".to_owned() })
}

/// Why a proof is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("this is no verifier key (`name+id+key`), or does not lead to the keys behind it")]
    NotAKey,
    #[error("this is no tlog-proof")]
    NotAProof,
    #[error("the proof's checkpoint is not signed by this key; it is of another log, was changed, or the log's key was replaced since")]
    NotSigned,
    #[error("the proof's checkpoint is signed by a key that the log had replaced before; whoever has that key made it up")]
    KeyIsOut,
    #[error("it holds neither the entry nor its hash")]
    WithoutEntry,
    #[error("this is no verifier key of a witness")]
    NotAWitness,
    #[error("the proof's checkpoint is not signed by this witness")]
    NotWitnessed,
    #[error("the entry is not the one that the proof is about, or one of them was changed")]
    NotInTheLog,
}

/// What a proof shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub origin: String,
    pub index: u64,
    /// Size of the signed tree.
    pub size: u64,
    /// The entry, unless the proof holds its hash only.
    pub entry: Option<Vec<u8>>,
    /// Its hash (RFC 6962 section 2.1).
    pub leaf: [u8; 32],
    /// When the witness signed that has to have seen it.
    pub witnessed_at: Option<Timestamp>,
}

/// Checks offline what [`Proved`] gives: that the log whose verifier key this is holds that entry at that index; and, if a witness's key
/// is given, that the witness has seen that. Behind the verifier key may stand the notes by which others took its place.
///
/// # Errors
/// Why it shows nothing.
pub fn check_proof(vkey: &str, proof: &str, witness: Option<&str>) -> Result<Checked, ProofError> {
    let keys = Keys::parse(vkey).ok_or(ProofError::NotAKey)?;
    let TlogProof { extra, index, hashes, checkpoint } = TlogProof::parse(proof).ok_or(ProofError::NotAProof)?;
    let Checkpoint { origin, size, root } = keys.verified(&checkpoint).map_err(unsigned)?;
    let witnessed_at = witness.map(|key| witnessed_at(key, &checkpoint)).transpose()?;
    let extra = extra.ok_or(ProofError::WithoutEntry)?;
    // Entries are longer.
    let (entry, leaf) = match Hash::try_from(extra.as_slice()) {
        Ok(leaf) => (None, leaf),
        Err(_longer) => {
            let leaf = leaf(&extra);
            (Some(extra), leaf)
        }
    };
    let is_there = proof::included_root(index, size, leaf, &hashes) == Some(root);
    if is_there { Ok(Checked { origin, index, size, entry, leaf, witnessed_at }) } else { Err(ProofError::NotInTheLog) }
}

/// Origin and size of a checkpoint that the log with that verifier key has signed. Keys as in [`check_proof`].
///
/// # Errors
/// When it has not.
pub fn check_checkpoint(vkey: &str, note: &str) -> Result<(String, u64), ProofError> {
    let keys = Keys::parse(vkey).ok_or(ProofError::NotAKey)?;
    let Checkpoint { origin, size, .. } = keys.verified(note).map_err(unsigned)?;
    Ok((origin, size))
}

/// Whether that key is the first of the keys that somebody holds, or one that took its place.
#[must_use]
pub fn is_key_of(held: &str, key: &str) -> bool {
    Keys::parse(held).zip(Vkey::parse(key)).is_some_and(|(held, key)| held.position(&key).is_some())
}

fn unsigned(why: NoteError) -> ProofError {
    match why {
        NoteError::KeyIsOut => ProofError::KeyIsOut,
        NoteError::Malformed | NoteError::OtherKey | NoteError::BadSignature => ProofError::NotSigned,
    }
}

fn witnessed_at(key: &str, checkpoint: &str) -> Result<Timestamp, ProofError> {
    let witness = Vkey::parse_as(key, KeyKind::Witness).ok_or(ProofError::NotAWitness)?;
    let seconds = cosigned(checkpoint, &witness).map_err(|_why| ProofError::NotWitnessed)?;
    i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).ok_or(ProofError::NotWitnessed)
}
