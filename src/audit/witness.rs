//! A witness (C2SP tlog-witness, <https://c2sp.org/tlog-witness>): remembers the newest checkpoint of each log that it knows, and signs
//! another one only if that log goes on from there. Whoever holds a gateway's machine and key can rewrite its log; not so that a witness
//! on another machine would sign it.
//!
//! ```text
//! POST add-checkpoint        old 20852014                      size that the witness signed last
//!                            PlRNCrwHpqhGrupue0L7gxbj…         consistency proof from there, a hash a line
//!
//!                            gw-1.example.com                  the checkpoint, a signed note
//!                            …
//! ```
//!
//! Its folder holds one file for each log: the newest checkpoint that it signed, with its signature.
//!
//! Of a log whose key was replaced it takes the newer one only if it is given: the notes of `rotation.rs` behind the one that it has, or
//! the new one beside it. A checkpoint does not show what the log's entries say.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::disk::{Disk as _, RealDisk};
use super::error::AuditError;
use super::key::{KeyKind, SigningKey, SigningKeySource, Vkey};
use super::lock::DirLock;
use super::note::{Checkpoint, NoteError, cosign, cosigned};
use super::proof::is_consistent;
use super::queue::lock;
use super::recover::read_if_there;
use super::rotation::Keys;
use super::tree::{Hash, hex, sha256};

/// The content type of a size that a witness answers with 409.
pub const SIZE_TYPE: &str = "text/x.tlog.size";
/// No consistency proof is longer.
const PROOF_LINES_MAX: usize = 63;

/// A checkpoint on its way to a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The size that the witness signed last, as far as the log knows.
    pub old: u64,
    pub(super) proof: Vec<Hash>,
    /// The signed note.
    pub checkpoint: String,
}

impl Offer {
    /// Of the tree that the checkpoint signs.
    #[must_use]
    pub fn size(&self) -> u64 {
        Checkpoint::unverified(&self.checkpoint).map_or(0, |checkpoint| checkpoint.size)
    }

    #[must_use]
    pub fn to_body(&self) -> String {
        let mut body = format!("old {}\n", self.old);
        for hash in &self.proof {
            writeln!(body, "{}", STANDARD.encode(hash)).unwrap_or_default();
        }
        body + "\n" + &self.checkpoint
    }

    fn parse(body: &str) -> Option<Self> {
        let (head, checkpoint) = body.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let number = lines.next()?.strip_prefix("old ")?;
        let old: u64 = number.parse().ok()?;
        let proof = lines.map(|line| STANDARD.decode(line).ok()?.try_into().ok()).collect::<Option<Vec<Hash>>>()?;
        (old.to_string() == number && proof.len() <= PROOF_LINES_MAX).then(|| Self { old, proof, checkpoint: checkpoint.to_owned() })
    }
}

/// Why a witness does not sign.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unsigned {
    #[error("the request is not `old SIZE`, a proof, an empty line and a checkpoint")]
    Malformed,
    #[error("this witness does not know the log")]
    UnknownLog,
    #[error("the checkpoint is not signed by the log's key, as far as this witness knows it")]
    NotSigned,
    #[error("the checkpoint is signed by a key that the log had replaced before")]
    KeyIsOut,
    #[error("the old size is larger than the checkpoint's")]
    Backwards,
    /// Not the size that it signed last.
    #[error("the witness has signed {size} entries")]
    OtherSize { size: u64 },
    /// The same size with another root: the log was rewritten.
    #[error("the witness has signed another tree of {size} entries")]
    OtherRoot { size: u64 },
    #[error("the tree does not go on from the one of {old} entries that the witness has signed")]
    NotConsistent { old: u64 },
    #[error("`{}` is not a checkpoint that this witness signed; keep it as evidence, and sign no more of this log before it is known why", path.display())]
    Memory { path: PathBuf },
    #[error("the witness cannot write: {0}")]
    Disk(#[from] AuditError),
}

/// The witness, with what it remembers.
#[derive(Debug)]
pub struct Witness {
    dir: PathBuf,
    key: SigningKey,
    logs: Vec<Keys>,
    /// One checkpoint at a time: what is remembered must not go back.
    at_work: Mutex<DirLock>,
}

impl Witness {
    /// A witness of that name for logs with these verifier keys, of which one log may have several.
    ///
    /// # Errors
    /// When a key cannot be read, or the folder cannot be used or is in use.
    pub fn open(dir: &Path, name: &str, key: &SigningKeySource, logs: &[String]) -> Result<Self, AuditError> {
        if !super::key::is_name(name) {
            return Err(AuditError::Origin { origin: name.to_owned() });
        }
        let key = SigningKey::load_as(key, name, KeyKind::Witness)?;
        let parsed = |text: &String| Keys::parse(text).ok_or_else(|| AuditError::VerifierKey { text: text.trim().to_owned() });
        let logs = logs.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { key, logs, at_work: Mutex::new(DirLock::take(dir)?), dir: dir.to_owned() })
    }

    /// Its verifier key, for the logs' owners.
    #[must_use]
    pub fn vkey(&self) -> String {
        self.key.vkey().to_string()
    }

    /// Signs an offered checkpoint if the log goes on from the one before, and remembers it before it answers: the line to add to the note.
    ///
    /// # Errors
    /// Why not.
    pub fn add_checkpoint(&self, body: &str, now: Timestamp) -> Result<String, Unsigned> {
        let Offer { old, proof, checkpoint: note } = Offer::parse(body).ok_or(Unsigned::Malformed)?;
        let claimed = Checkpoint::unverified(&note).ok_or(Unsigned::Malformed)?;
        let checkpoint = self.verified(&claimed.origin, &note)?;
        if old > checkpoint.size {
            return Err(Unsigned::Backwards);
        }
        let held = lock(&self.at_work);
        held.check().map_err(|reason| AuditError::Poisoned { reason })?;
        let path = self.dir.join(hex(&sha256(&[checkpoint.origin.as_bytes()])));
        let last = self.last(&path, &checkpoint.origin)?;
        let (last_size, last_root) = last.map_or((0, sha256(&[])), |last| (last.size, last.root));
        if old != last_size {
            return Err(Unsigned::OtherSize { size: last_size });
        }
        if old == checkpoint.size && last_root != checkpoint.root {
            return Err(Unsigned::OtherRoot { size: old });
        }
        if !is_consistent(old, &last_root, checkpoint.size, &checkpoint.root, &proof) {
            return Err(Unsigned::NotConsistent { old });
        }
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let line = cosign(&note, &self.key, seconds).ok_or(Unsigned::Malformed)?;
        RealDisk.replace(&path, &format!("{note}{line}")).map_err(|e| AuditError::io(&path, &e))?;
        Ok(line)
    }

    /// A checkpoint of a log that is known, by a key of it that counts.
    fn verified(&self, origin: &str, note: &str) -> Result<Checkpoint, Unsigned> {
        let mut why = Unsigned::UnknownLog;
        for keys in self.logs.iter().filter(|keys| keys.name() == origin) {
            why = match keys.verified(note) {
                Ok(checkpoint) => return Ok(checkpoint),
                Err(NoteError::Malformed) => Unsigned::Malformed,
                Err(NoteError::OtherKey | NoteError::BadSignature) => Unsigned::NotSigned,
                Err(NoteError::KeyIsOut) => Unsigned::KeyIsOut,
            };
        }
        Err(why)
    }

    /// The newest checkpoint of a log that was signed here; what is there and cannot be read ends it, lest it sign a second history.
    /// That the log's key of that time had signed it was seen then.
    fn last(&self, path: &Path, origin: &str) -> Result<Option<Checkpoint>, Unsigned> {
        let Some(note) = read_if_there(path)? else { return Ok(None) };
        let known = Checkpoint::unverified(&note).filter(|known| known.origin == origin && (cosigned(&note, self.key.vkey()).is_ok()));
        known.map(Some).ok_or_else(|| Unsigned::Memory { path: path.to_owned() })
    }
}

/// What a witness answered, held against what was offered: the note with the witness's line, and when it signed.
///
/// # Errors
/// A sentence, when it is not a signature of that witness over that note.
pub fn accepted(offer: &Offer, answer: &str, witness: &str) -> Result<(String, Timestamp), &'static str> {
    let witness = Vkey::parse_as(witness, KeyKind::Witness).ok_or("the witness's verifier key is none")?;
    // The answer may hold lines of other keys.
    let prefix = format!("\u{2014} {} ", witness.name);
    let lines = answer.lines().filter(|line| line.starts_with(&prefix));
    let note = lines.fold(offer.checkpoint.clone(), |note, line| note + line + "\n");
    let seconds = cosigned(&note, &witness).map_err(|_why| "the answer is not signed by the witness's key")?;
    let at = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    at.map(|at| (note, at)).ok_or("the witness's time is none")
}

/// Keeps the newest checkpoint that a witness signed beside the log: proofs lead to it.
///
/// # Errors
/// When it cannot be written.
pub fn keep_witnessed(dir: &Path, witness: &str, note: &str) -> Result<(), AuditError> {
    let path = dir.join(format!("{WITNESSED}{}", hex(&sha256(&[witness.as_bytes()])).get(..16).unwrap_or_default()));
    RealDisk.replace(&path, note).map_err(|e| AuditError::io(&path, &e))
}

/// The checkpoints of a log that witnesses signed.
pub(super) fn witnessed(dir: &Path, log: &Vkey) -> Vec<(Checkpoint, String)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let notes = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(WITNESSED)));
    let notes = notes.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    notes.filter_map(|note| Some((Checkpoint::verified(&note, log).ok()?, note))).collect()
}

const WITNESSED: &str = "witnessed-";

/// Whether this is the verifier key of a witness.
#[must_use]
pub fn is_witness_key(text: &str) -> bool {
    Vkey::parse_as(text, KeyKind::Witness).is_some()
}
