//! Another key in the place of the log's, while log and origin stay. A `key_rotated` entry says so; the key before signs what it says, as
//! a C2SP signed note, so that only who held it can have put another one in its place:
//!
//! ```text
//! consentry key rotation v1                              no log has such a name, so that this is no checkpoint
//! gw-1.example.com+5e0a1c2b+AZ1y…                        the key before
//! gw-1.example.com+c1d09f31+AQj0…                        the new one
//! 88121                                                  index of the entry: it signs every tree that has more entries than that
//!
//! — gw-1.example.com XgocK4b1…                           the key before
//! ```
//! A verifier key that somebody keeps may have such notes behind it, an empty line before each: from there on the newer keys count too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::entry::Entry;
use super::key::{SigningKey, Vkey};
use super::note::{self, Checkpoint, NoteError};

const FIRST_LINE: &str = "consentry key rotation v1";
/// What an entry gives as its reason: the key before has signed, or could not.
pub(super) const REPLACED: &str = "replaced";
pub(super) const LOST: &str = "lost";

/// That one key took the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rotation {
    /// Of the entry.
    pub(super) index: u64,
    pub(super) from: Vkey,
    pub(super) to: Vkey,
    /// By the key before; `None` when that was lost.
    signature: Option<Vec<u8>>,
}

impl Rotation {
    pub(super) fn signed(from: &SigningKey, to: &Vkey, index: u64) -> Self {
        let signature = from.sign(statement(from.vkey(), to, index).as_bytes());
        Self { index, from: from.vkey().clone(), to: to.clone(), signature: Some(signature) }
    }

    pub(super) fn without_the_key(from: &Vkey, to: &Vkey, index: u64) -> Self {
        Self { index, from: from.clone(), to: to.clone(), signature: None }
    }

    pub(super) fn entry(&self) -> Entry {
        let signature = self.signature.as_ref().map(|signature| STANDARD.encode(signature));
        let reason = if signature.is_some() { REPLACED } else { LOST };
        Entry::KeyRotated { old_key: self.from.to_string(), new_key: self.to.to_string(), reason, signature }
    }

    /// What an entry says; `None` when it does not hold: another log's key, or no signature by the key before where there is to be one.
    pub(super) fn read(index: u64, old_key: &str, new_key: &str, reason: &str, signature: Option<&str>) -> Option<Self> {
        let (from, to) = (Vkey::parse(old_key)?, Vkey::parse(new_key)?);
        let signature = match (reason, signature) {
            (REPLACED, Some(text)) => Some(STANDARD.decode(text).ok()?),
            (LOST, None) => None,
            _ => return None,
        };
        let is_signed = signature.as_ref().is_none_or(|signature| from.has_signed(statement(&from, &to, index).as_bytes(), signature));
        ((from.name == to.name) && from != to && is_signed).then_some(Self { index, from, to, signature })
    }

    /// What the bytes of an entry say; `None` when they are of another kind, `Some(None)` when it does not hold.
    pub(super) fn in_entry(index: u64, entry: &[u8]) -> Option<Option<Self>> {
        // Entries are canonical; only those that hold the words are taken apart.
        const WORDS: &[u8] = br#""kind":"key_rotated""#;
        entry.windows(WORDS.len()).find(|part| *part == WORDS)?;
        let value: serde_json::Value = serde_json::from_slice(entry).ok()?;
        value.get("kind").filter(|kind| *kind == "key_rotated")?;
        let text = |member| value.get(member).and_then(serde_json::Value::as_str);
        let read = || Self::read(index, text("old_key")?, text("new_key")?, text("reason")?, text("signature"));
        Some(read())
    }

    pub(super) fn is_signed(&self) -> bool {
        self.signature.is_some()
    }

    /// For whoever keeps the key before; `None` when that did not sign.
    pub(super) fn note(&self) -> Option<String> {
        let line = note::signature_line(&self.from, self.signature.as_ref()?);
        Some(format!("{}\n{line}", statement(&self.from, &self.to, self.index)))
    }

    fn from_note(note: &str) -> Option<Self> {
        let mut lines = note.lines();
        lines.next().filter(|line| *line == FIRST_LINE)?;
        let (from, to) = (Vkey::parse(lines.next()?)?, Vkey::parse(lines.next()?)?);
        let index = lines.next()?.parse().ok()?;
        let is_said = note::signed(note, &from).ok()? == statement(&from, &to, index);
        let signature = note::signature_of(note, &from)?;
        (is_said && (from.name == to.name) && from != to).then_some(Self { index, from, to, signature: Some(signature) })
    }
}

fn statement(from: &Vkey, to: &Vkey, index: u64) -> String {
    format!("{FIRST_LINE}\n{from}\n{to}\n{index}\n")
}

/// The keys that a log has had from one on, each from the tree on that it was the first to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    first: Vkey,
    rotations: Vec<Rotation>,
}

impl Keys {
    pub(super) fn of(first: Vkey) -> Self {
        Self { first, rotations: Vec::new() }
    }

    /// A verifier key, and the notes behind it, each of which must hold. What led to that key does not count: it never said so.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut blocks = text.trim_end_matches('\n').split("\n\n");
        let pinned = Vkey::parse(blocks.next()?)?;
        let mut all: Option<Self> = None;
        while let Some(text) = blocks.next() {
            let rotation = Rotation::from_note(&format!("{text}\n\n{}\n", blocks.next()?))?;
            if !all.get_or_insert_with(|| Self::of(rotation.from.clone())).push(rotation) {
                return None;
            }
        }
        let Some(all) = all else { return Some(Self::of(pinned)) };
        let since = all.position(&pinned)?;
        Some(Self { first: pinned, rotations: all.rotations.into_iter().skip(since).collect() })
    }

    /// Goes on with the next one; false when it is none of this log, or does not follow. Told again it is the same: a start that was
    /// interrupted may have to say it twice, and a newer chain may stand behind an older one.
    pub(super) fn push(&mut self, next: Rotation) -> bool {
        if self.rotations.contains(&next) {
            return true;
        }
        if self.rotations.last().is_some_and(|last| last.from == next.from && last.to == next.to && last.index < next.index) {
            return true;
        }
        let follows = (next.from == *self.last()) && self.rotations.last().is_none_or(|last| last.index < next.index);
        if follows {
            self.rotations.push(next);
        }
        follows
    }

    pub(super) fn name(&self) -> &str {
        &self.first.name
    }

    pub(super) fn first(&self) -> &Vkey {
        &self.first
    }

    pub(super) fn last(&self) -> &Vkey {
        self.rotations.last().map_or(&self.first, |last| &last.to)
    }

    pub(super) fn rotations(&self) -> &[Rotation] {
        &self.rotations
    }

    /// How many rotations led to a key; of one that came back, to its last time.
    pub(super) fn position(&self, key: &Vkey) -> Option<usize> {
        let since = self.rotations.iter().rposition(|rotation| rotation.to == *key).map(|at| at + 1);
        since.or_else(|| (self.first == *key).then_some(0))
    }

    fn all(&self) -> impl Iterator<Item = &Vkey> {
        std::iter::once(&self.first).chain(self.rotations.iter().map(|rotation| &rotation.to))
    }

    /// A checkpoint that is signed by the key of its time.
    pub(super) fn verified(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let size = Checkpoint::unverified(note).ok_or(NoteError::Malformed)?.size;
        let since = self.rotations.iter().rev().find(|rotation| rotation.index < size);
        let verified = Checkpoint::verified(note, since.map_or(&self.first, |rotation| &rotation.to));
        match verified {
            Err(NoteError::OtherKey) if self.all().any(|key| Checkpoint::verified(note, key).is_ok()) => Err(NoteError::KeyIsOut),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::SigningKeySource;
    use super::*;

    fn key(seed: u8) -> SigningKey {
        named(seed, "gw.example.com")
    }

    fn named(seed: u8, name: &str) -> SigningKey {
        SigningKey::load(&SigningKeySource::Bytes(vec![seed; 32]), name).unwrap()
    }

    fn checkpoint(size: u64, keys: &[&SigningKey]) -> String {
        Checkpoint { origin: "gw.example.com".into(), size, root: [7; 32] }.sign(keys.iter().copied())
    }

    /// A verifier key with the notes behind it.
    fn file(pinned: &SigningKey, rotations: &[&Rotation]) -> String {
        rotations.iter().fold(format!("{}\n", pinned.vkey()), |file, rotation| file + "\n" + &rotation.note().unwrap())
    }

    #[test]
    fn each_size_has_one_key_that_must_have_signed() {
        let (one, two, three) = (key(1), key(2), key(3));
        let (first, second) = (Rotation::signed(&one, two.vkey(), 10), Rotation::signed(&two, three.vkey(), 20));
        let keys = Keys::parse(&file(&one, &[&first, &second])).unwrap();
        for (size, good) in [(1, &one), (10, &one), (11, &two), (20, &two), (21, &three), (1_000, &three)] {
            for signer in [&one, &two, &three] {
                let expected = signer.vkey() == good.vkey();
                let said = keys.verified(&checkpoint(size, &[signer]));
                assert_eq!(expected, said.is_ok(), "{size} by {signer:?}: {said:?}");
                assert!(expected || said == Err(NoteError::KeyIsOut));
            }
            assert!(keys.verified(&checkpoint(size, &[&three, &two, &one])).is_ok(), "while both sign");
            assert_eq!(Err(NoteError::OtherKey), keys.verified(&checkpoint(size, &[&key(4)])));
        }
        // Who keeps the second one does not believe the first: only that one itself has said that it was the log's.
        let keys = Keys::parse(&file(&two, &[&first, &second])).unwrap();
        assert_eq!(two.vkey(), keys.first());
        assert_eq!(Err(NoteError::OtherKey), keys.verified(&checkpoint(5, &[&one])));
        assert!(keys.verified(&checkpoint(20, &[&two])).is_ok() && keys.verified(&checkpoint(21, &[&three])).is_ok());
        assert_eq!(Some(Keys::of(one.vkey().clone())), Keys::parse(&one.vkey().to_string()), "a key alone");
        let (chain, twice) = (Keys::parse(&file(&one, &[&first, &second])), Keys::parse(&file(&one, &[&first, &first, &second])));
        assert!(chain.is_some() && chain == twice, "put behind an older chain");
    }

    #[test]
    fn a_chain_with_a_link_that_does_not_hold_is_none() {
        let (one, two, three) = (key(1), key(2), key(3));
        let (first, second) = (Rotation::signed(&one, two.vkey(), 10), Rotation::signed(&two, three.vkey(), 20));
        let good = file(&one, &[&first, &second]);
        assert!(Keys::parse(&good).is_some());
        for at in 0..good.len() {
            let mut changed = good.clone().into_bytes();
            changed[at] ^= 1;
            if let Ok(text) = String::from_utf8(changed) {
                assert_eq!(None, Keys::parse(&text), "byte {at}: {text}");
            }
        }
        let by_another = Rotation { from: one.vkey().clone(), ..Rotation::signed(&three, two.vkey(), 10) };
        let of_another_log = Rotation::signed(&one, named(2, "other.example.com").vkey(), 10);
        let to_itself = Rotation::signed(&one, one.vkey(), 10);
        let earlier = Rotation::signed(&two, three.vkey(), 10);
        let pinned_elsewhere = key(4);
        for (name, text) in [
            ("by another key", file(&one, &[&by_another])),
            ("to another log", file(&one, &[&of_another_log])),
            ("to itself", file(&one, &[&to_itself])),
            ("back in the log", file(&one, &[&first, &earlier])),
            ("with a hole", file(&one, &[&second])),
            ("out of order", file(&one, &[&second, &first])),
            ("from a key that is not the one before", file(&one, &[&first, &Rotation::signed(&key(4), three.vkey(), 20)])),
            ("from a key that was replaced", file(&one, &[&first, &Rotation::signed(&one, three.vkey(), 20)])),
            ("from no key that is kept", file(&pinned_elsewhere, &[&first])),
            ("a half", good.rsplit_once("\n\n").unwrap().0.to_owned()),
        ] {
            assert_eq!(None, Keys::parse(&text), "{name}");
        }
    }

    #[test]
    fn an_entry_says_what_its_note_says() {
        let (one, two) = (key(1), key(2));
        let (signed, lost) = (Rotation::signed(&one, two.vkey(), 10), Rotation::without_the_key(one.vkey(), two.vkey(), 10));
        let read = |rotation: &Rotation, index| {
            let Entry::KeyRotated { old_key, new_key, reason, signature } = rotation.entry() else { panic!("another entry") };
            Rotation::read(index, &old_key, &new_key, reason, signature.as_deref())
        };
        assert_eq!((Some(&signed), Some(&lost)), (read(&signed, 10).as_ref(), read(&lost, 10).as_ref()));
        assert_eq!(None, read(&signed, 11), "it is signed for its place");
        assert_eq!(None, lost.note());
        assert_eq!(Some(signed.clone()), Rotation::from_note(&signed.note().unwrap()));
        let (old_key, new_key) = (one.vkey().to_string(), two.vkey().to_string());
        let Entry::KeyRotated { signature, .. } = signed.entry() else { panic!("another entry") };
        for (reason, signature) in [(REPLACED, None), (LOST, signature.as_deref()), ("", None), ("", signature.as_deref()), (REPLACED, Some("AAAA"))]
        {
            assert_eq!(None, Rotation::read(10, &old_key, &new_key, reason, signature), "{reason} {signature:?}");
        }
        // Nothing that a log's key signs as one thing can be taken for another.
        assert_eq!(None, Checkpoint::unverified(&signed.note().unwrap()));
        assert_eq!(None, Rotation::from_note(&checkpoint(7, &[&one])));
    }
}
