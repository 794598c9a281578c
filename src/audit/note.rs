//! Checkpoints: C2SP tlog-checkpoint in a C2SP signed-note.
//!
//! ```text
//! gw-1.example.com                                   origin
//! 88120                                              size
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=       root, base64
//!
//! — gw-1.example.com Az3grlgtzPICa5OS8npVmf1Myq/5…   base64 of key id and signature over the text above the empty line
//! ```
//! Lines of text after the root and signatures of other keys (witnesses) are allowed and not looked at. While the log's key is being
//! replaced both keys sign, the newer one first.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::{SigningKey, Vkey};
use super::tree::Hash;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) origin: String,
    pub(super) size: u64,
    pub(super) root: Hash,
}

/// Why a note is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoteError {
    Malformed,
    /// No signature by the key; the note may be genuine but of another log.
    OtherKey,
    BadSignature,
    /// Signed by a key of the log that had been replaced before.
    KeyIsOut,
}

impl Checkpoint {
    pub(super) fn sign<'a>(&self, keys: impl IntoIterator<Item = &'a SigningKey>) -> String {
        let text = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root));
        let lines: String = keys.into_iter().map(|key| signature_line(key.vkey(), &key.sign(text.as_bytes()))).collect();
        format!("{text}\n{lines}")
    }

    pub(super) fn verified(note: &str, vkey: &Vkey) -> Result<Self, NoteError> {
        let text = signed(note, vkey)?;
        let checkpoint = Self::parse(&text).ok_or(NoteError::Malformed)?;
        if checkpoint.origin == vkey.name { Ok(checkpoint) } else { Err(NoteError::OtherKey) }
    }

    /// The size and root of a checkpoint that its log is not asked about.
    pub(super) fn unverified(note: &str) -> Option<Self> {
        let (text, _signatures) = note.rsplit_once("\n\n")?;
        Self::parse(&format!("{text}\n"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let origin = lines.next()?.to_owned();
        let size_text = lines.next()?;
        let size: u64 = size_text.parse().ok()?;
        let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        (!origin.is_empty() && size.to_string() == size_text).then_some(Self { origin, size, root })
    }
}

/// The text of a note that a log's key has signed, with its last newline.
pub(super) fn signed(note: &str, vkey: &Vkey) -> Result<String, NoteError> {
    signed_text(note, vkey, |text, signature| vkey.has_signed(text.as_bytes(), signature))
}

/// The signature by a key for which [`signed`] holds.
pub(super) fn signature_of(note: &str, vkey: &Vkey) -> Option<Vec<u8>> {
    let mut found = None;
    signed_text(note, vkey, |_text, signature| {
        found = Some(signature.to_vec());
        true
    })
    .ok()?;
    found
}

/// Whether the first signature under the name of this key is by its id: the newest key signs first. Nothing is verified here.
pub(super) fn is_first_signed_by(note: &str, vkey: &Vkey) -> bool {
    let prefix = format!("\u{2014} {} ", vkey.name);
    let line = note.lines().find_map(|line| line.strip_prefix(&prefix));
    line.and_then(|line| STANDARD.decode(line).ok()).is_some_and(|bytes| bytes.starts_with(&vkey.id()))
}

fn signed_text(note: &str, vkey: &Vkey, mut holds: impl FnMut(&str, &[u8]) -> bool) -> Result<String, NoteError> {
    if note.chars().any(|c| c.is_control() && c != '\n') {
        return Err(NoteError::Malformed);
    }
    let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed)?;
    let text = format!("{text}\n");
    let lines = signatures.strip_suffix('\n').ok_or(NoteError::Malformed)?.split('\n');
    let mut signed = false;
    for line in lines {
        let (name, signature) = line.strip_prefix("\u{2014} ").and_then(|l| l.split_once(' ')).ok_or(NoteError::Malformed)?;
        let bytes = STANDARD.decode(signature).map_err(|_not_base64| NoteError::Malformed)?;
        let (id, signature) = bytes.split_at_checked(4).ok_or(NoteError::Malformed)?;
        if name != vkey.name || id != vkey.id() {
            continue;
        }
        if !holds(&text, signature) {
            return Err(NoteError::BadSignature);
        }
        signed = true;
    }
    if signed { Ok(text) } else { Err(NoteError::OtherKey) }
}

pub(super) fn signature_line(vkey: &Vkey, signature: &[u8]) -> String {
    format!("\u{2014} {} {}\n", vkey.name, STANDARD.encode([&vkey.id()[..], signature].concat()))
}

/// What a witness signs (C2SP tlog-cosignature, Ed25519): that it saw this checkpoint then, and none of the log that contradicts it.
fn cosigned_message(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

/// The line of a witness for a note.
pub(super) fn cosign(note: &str, key: &SigningKey, seconds: u64) -> Option<String> {
    let (text, _signatures) = note.rsplit_once("\n\n")?;
    let signature = key.sign(cosigned_message(&format!("{text}\n"), seconds).as_bytes());
    Some(signature_line(key.vkey(), &[&seconds.to_be_bytes()[..], &signature].concat()))
}

/// When a witness signed a note, in seconds since 1970.
pub(super) fn cosigned(note: &str, witness: &Vkey) -> Result<u64, NoteError> {
    let mut at = 0;
    signed_text(note, witness, |text, signature| {
        let Some((seconds, signature)) = signature.split_first_chunk::<8>() else { return false };
        at = u64::from_be_bytes(*seconds);
        witness.has_signed(cosigned_message(text, at).as_bytes(), signature)
    })?;
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::super::key::{KeyKind, SigningKeySource};
    use super::*;

    fn key(seed: u8, origin: &str) -> SigningKey {
        SigningKey::load(&SigningKeySource::Bytes(vec![seed; 32]), origin).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "gw.example.com".into(), size: 42, root: [7; 32] }
    }

    #[test]
    fn a_signed_checkpoint_verifies() {
        let key = key(1, "gw.example.com");
        let note = checkpoint().sign([&key]);
        assert_eq!(Ok(checkpoint()), Checkpoint::verified(&note, key.vkey()));
        let witnessed = format!("{note}\u{2014} witness.example.com AAAAAAAA\n");
        assert_eq!(Ok(checkpoint()), Checkpoint::verified(&witnessed, key.vkey()), "other signatures are not looked at");
    }

    #[test]
    fn no_changed_byte_is_believed() {
        let key = key(1, "gw.example.com");
        let note = checkpoint().sign([&key]).into_bytes();
        for at in 0..note.len() {
            for bit in [1, 0x10, 0x80] {
                let mut changed = note.clone();
                changed[at] ^= bit;
                if let Ok(text) = String::from_utf8(changed) {
                    assert!(Checkpoint::verified(&text, key.vkey()).is_err(), "byte {at}: {text}");
                }
            }
        }
    }

    #[test]
    fn another_key_or_origin_is_not_believed() {
        let note = checkpoint().sign([&key(1, "gw.example.com")]);
        assert_eq!(Err(NoteError::OtherKey), Checkpoint::verified(&note, key(2, "gw.example.com").vkey()));
        assert_eq!(Err(NoteError::OtherKey), Checkpoint::verified(&note, key(1, "gw2.example.com").vkey()));
        let foreign = Checkpoint { origin: "other".into(), ..checkpoint() }.sign([&key(1, "gw.example.com")]);
        assert_eq!(Err(NoteError::OtherKey), Checkpoint::verified(&foreign, key(1, "gw.example.com").vkey()));
    }

    #[test]
    fn a_witness_says_when_it_saw_a_checkpoint() {
        let (log, witness) =
            (key(1, "gw.example.com"), SigningKey::load_as(&SigningKeySource::Bytes(vec![3; 32]), "w.example.com", KeyKind::Witness).unwrap());
        let note = checkpoint().sign([&log]);
        let line = cosign(&note, &witness, 1_780_000_000).unwrap();
        let both = format!("{note}{line}");
        assert_eq!(Ok(1_780_000_000), cosigned(&both, witness.vkey()));
        assert_eq!(Ok(checkpoint()), Checkpoint::verified(&both, log.vkey()), "the log's own signature holds beside it");
        assert_eq!(Err(NoteError::OtherKey), cosigned(&note, witness.vkey()));
        assert_eq!(Err(NoteError::BadSignature), cosigned(&both.replace("\n42\n", "\n43\n"), witness.vkey()));
        let later = cosign(&note, &witness, 1_780_000_001).unwrap();
        assert_ne!(line, later);
        // The same key as a log's is another one.
        let as_log = key(3, "w.example.com");
        assert_ne!(as_log.vkey().id(), witness.vkey().id());
        assert_eq!(None, Vkey::parse(&witness.vkey().to_string()));
        assert_eq!(Some(witness.vkey().clone()), Vkey::parse_as(&witness.vkey().to_string(), KeyKind::Witness));
    }

    /// The example of the cosignature specification.
    #[test]
    fn the_published_cosignature_line_has_its_form() {
        let line = "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==";
        let bytes = STANDARD.decode(line).unwrap();
        assert_eq!(4 + 8 + 64, bytes.len());
        assert_eq!(1_679_315_147, u64::from_be_bytes(bytes[4..12].try_into().unwrap()), "the time of the message in the specification");
    }

    #[test]
    fn malformed_notes_are_refused() {
        let key = key(1, "gw.example.com");
        let note = checkpoint().sign([&key]);
        for bad in ["", "\n\n", "a\n1\nb\n", &note.replace('\n', "\r\n"), note.trim_end(), &note.replace("\n\n", "\n")] {
            assert_eq!(Err(NoteError::Malformed), Checkpoint::verified(bad, key.vkey()), "{bad:?}");
        }
    }
}
