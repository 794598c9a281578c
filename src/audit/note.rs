//! Checkpoints: C2SP tlog-checkpoint in a C2SP signed-note.
//!
//! ```text
//! gw-1.example.com                                   origin
//! 88120                                              size
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=       root, base64
//!
//! — gw-1.example.com Az3grlgtzPICa5OS8npVmf1Myq/5…   base64 of key id and signature over the text above the empty line
//! ```
//! Lines of text after the root and signatures of other keys (witnesses) are allowed and not looked at.

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
}

impl Checkpoint {
    pub(super) fn sign(&self, key: &SigningKey) -> String {
        let text = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root));
        let signature = [&key.vkey().id()[..], &key.sign(text.as_bytes())].concat();
        format!("{text}\n\u{2014} {} {}\n", key.vkey().name, STANDARD.encode(signature))
    }

    pub(super) fn verified(note: &str, vkey: &Vkey) -> Result<Self, NoteError> {
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
            if !vkey.has_signed(text.as_bytes(), signature) {
                return Err(NoteError::BadSignature);
            }
            signed = true;
        }
        if !signed {
            return Err(NoteError::OtherKey);
        }
        let checkpoint = Self::parse(&text).ok_or(NoteError::Malformed)?;
        if checkpoint.origin == vkey.name { Ok(checkpoint) } else { Err(NoteError::OtherKey) }
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

#[cfg(test)]
mod tests {
    use super::super::key::SigningKeySource;
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
        let note = checkpoint().sign(&key);
        assert_eq!(Ok(checkpoint()), Checkpoint::verified(&note, key.vkey()));
        let witnessed = format!("{note}\u{2014} witness.example.com AAAAAAAA\n");
        assert_eq!(Ok(checkpoint()), Checkpoint::verified(&witnessed, key.vkey()), "other signatures are not looked at");
    }

    #[test]
    fn no_changed_byte_is_believed() {
        let key = key(1, "gw.example.com");
        let note = checkpoint().sign(&key).into_bytes();
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
        let note = checkpoint().sign(&key(1, "gw.example.com"));
        assert_eq!(Err(NoteError::OtherKey), Checkpoint::verified(&note, key(2, "gw.example.com").vkey()));
        assert_eq!(Err(NoteError::OtherKey), Checkpoint::verified(&note, key(1, "gw2.example.com").vkey()));
        let foreign = Checkpoint { origin: "other".into(), ..checkpoint() }.sign(&key(1, "gw.example.com"));
        assert_eq!(Err(NoteError::OtherKey), Checkpoint::verified(&foreign, key(1, "gw.example.com").vkey()));
    }

    #[test]
    fn malformed_notes_are_refused() {
        let key = key(1, "gw.example.com");
        let note = checkpoint().sign(&key);
        for bad in ["", "\n\n", "a\n1\nb\n", &note.replace('\n', "\r\n"), note.trim_end(), &note.replace("\n\n", "\n")] {
            assert_eq!(Err(NoteError::Malformed), Checkpoint::verified(bad, key.vkey()), "{bad:?}");
        }
    }
}
