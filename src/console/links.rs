//! Tokens that let whoever holds one do one thing until a given time: withdraw one purpose under one id, or confirm one
//! pending event. Sealed, so that a link neither shows whom it is about nor can be changed or made by anybody else.
//!
//! ```text
//! token   = base64url( version ‖ nonce(12) ‖ AES-256-GCM-SIV(body) ‖ tag(16) ), without padding
//! body    = act ‖ expires(8, seconds) ‖ what ‖ zeros up to a multiple of 32, so that the length tells little
//! what    = length(2) ‖ purpose ‖ length(2) ‖ `<space>:<value>`        withdraw
//!         | event(8)                                                   confirm
//! ```
//! The version is authenticated and names key and form; another one is refused. AES-GCM-SIV: RFC 8452.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use crate::consent::PartyRef;
use crate::model::{EventId, Identifier, Name, PartyId, Purpose, Space};

const VERSION: u8 = 1;
const WITHDRAW: u8 = 1;
const CONFIRM: u8 = 2;
/// A body is filled up to a multiple of this, bytes.
const PADDED_TO: usize = 32;
/// Longer texts are no token: an id has 512 bytes at most, a purpose is a word.
const TOKEN_BYTES_MAX: usize = 2_048;

/// The one thing that a token is for.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Act {
    Withdraw { subject: PartyRef, purpose: Purpose },
    Confirm(EventId),
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the id.
        f.write_str(match self {
            Self::Withdraw { .. } => "Withdraw(…)",
            Self::Confirm(_) => "Confirm(…)",
        })
    }
}

/// Makes and reads tokens, with a key of this installation.
pub struct Links {
    key: RandomizedNonceKey,
    /// Whether a token has been used is looked up before it is used: one at a time.
    turn: Mutex<()>,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Links(…)")
    }
}

impl Links {
    /// # Errors
    /// When the key cannot be used.
    pub fn new(key: &[u8; 32]) -> Result<Self, Unspecified> {
        Ok(Self { key: RandomizedNonceKey::new(&AES_256_GCM_SIV, key)?, turn: Mutex::new(()) })
    }

    /// # Errors
    /// When the machine gives no randomness, or a name is longer than a token holds.
    pub(super) fn seal(&self, act: &Act, expires: Timestamp) -> Result<String, Unspecified> {
        let mut body = write(act, expires).ok_or(Unspecified)?;
        let nonce = self.key.seal_in_place_append_tag(Aad::from([VERSION]), &mut body)?;
        Ok(URL_SAFE_NO_PAD.encode([&[VERSION], &nonce.as_ref()[..], &body].concat()))
    }

    /// What the token is for. `None` for whatever is no token of this installation, has run out, or names what is no longer
    /// declared: it is not told which.
    pub(super) fn open(&self, token: &str, now: Timestamp) -> Option<Act> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        if *version != VERSION {
            return None;
        }
        let mut sealed = sealed.to_vec();
        let body = self.key.open_in_place(Nonce::try_assume_unique_for_key(nonce).ok()?, Aad::from([VERSION]), &mut sealed).ok()?;
        let (act, expires) = read(body)?;
        (now < expires).then_some(act)
    }

    /// Held from looking whether a token has been used until that is recorded.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a token is named in evidence: who reads that cannot use it.
pub(super) fn fingerprint(token: &str) -> String {
    let hex: String = digest(&SHA256, token.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn write(act: &Act, expires: Timestamp) -> Option<Vec<u8>> {
    let mut out = vec![if matches!(act, Act::Withdraw { .. }) { WITHDRAW } else { CONFIRM }];
    out.extend(expires.as_second().to_be_bytes());
    match act {
        Act::Withdraw { subject, purpose } => {
            for text in [purpose.as_str(), &subject_text(subject)] {
                out.extend(u16::try_from(text.len()).ok()?.to_be_bytes());
                out.extend(text.as_bytes());
            }
        }
        Act::Confirm(event) => out.extend(event.0.to_be_bytes()),
    }
    out.resize(out.len().next_multiple_of(PADDED_TO), 0);
    Some(out)
}

fn read(body: &[u8]) -> Option<(Act, Timestamp)> {
    let (act, rest) = body.split_first()?;
    let (expires, rest) = rest.split_first_chunk::<8>()?;
    let expires = Timestamp::from_second(i64::from_be_bytes(*expires)).ok()?;
    let (found, padding) = match *act {
        WITHDRAW => {
            let (purpose, rest) = text(rest)?;
            let (subject, rest) = text(rest)?;
            (Act::Withdraw { subject: subject_of(subject)?, purpose: Purpose(Name::known(purpose)?) }, rest)
        }
        CONFIRM => {
            let (event, rest) = rest.split_first_chunk::<8>()?;
            (Act::Confirm(EventId(u64::from_be_bytes(*event))), rest)
        }
        _ => return None,
    };
    padding.iter().all(|byte| *byte == 0).then_some((found, expires))
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

fn subject_text(subject: &PartyRef) -> String {
    match subject {
        PartyRef::Party(id) => format!("{PARTY}:{id}"),
        PartyRef::Identifier(identifier) => identifier.to_string(),
    }
}

/// The id was matched against its grammar when the token was made; it is not refused for a grammar that changed since.
fn subject_of(text: &str) -> Option<PartyRef> {
    let (space, value) = text.split_once(':')?;
    if space == PARTY {
        return Some(PartyRef::Party(PartyId(value.to_owned())));
    }
    Some(PartyRef::Identifier(Identifier { space: Space(Name::known(space)?), value: value.to_owned() }))
}

/// `party:<id>`
pub(super) const PARTY: &str = "party";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: &str = "2026-07-24T10:00:00Z";
    const LATER: &str = "2026-07-24T10:00:01Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn links(key: u8) -> Links {
        Links::new(&[key; 32]).unwrap()
    }

    fn withdraw(value: &str) -> Act {
        let identifier = Identifier { space: Space::intern("email"), value: value.to_owned() };
        Act::Withdraw { subject: PartyRef::Identifier(identifier), purpose: Purpose::intern("marketing.email") }
    }

    fn token(value: &str) -> String {
        links(1).seal(&withdraw(value), at(LATER)).unwrap()
    }

    #[test]
    fn a_token_says_what_it_was_made_for() {
        let party = Act::Withdraw { subject: PartyRef::Party(PartyId("p_7q2m".to_owned())), purpose: Purpose::intern("sales") };
        for act in [withdraw("ada@example.net"), withdraw(&"a:b".repeat(100)), party, Act::Confirm(EventId(42))] {
            let token = links(1).seal(&act, at(LATER)).unwrap();
            assert!(links(1).open(&token, at(NOW)) == Some(act));
            assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{token}");
        }
    }

    #[test]
    fn a_token_that_has_run_out_is_refused() {
        let token = token("ada@example.net");
        assert!(links(1).open(&token, at(NOW)).is_some());
        assert!(links(1).open(&token, at(LATER)).is_none(), "its last second is over");
        assert!(links(1).open(&token, at("2030-01-01T00:00:00Z")).is_none());
    }

    #[test]
    fn tokens_of_another_key_version_or_length_are_refused() {
        let token = token("ada@example.net");
        assert!(links(2).open(&token, at(NOW)).is_none());
        let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        bytes[0] = 2;
        assert!(links(1).open(&URL_SAFE_NO_PAD.encode(&bytes), at(NOW)).is_none());
        for end in 0..token.len() {
            assert!(links(1).open(token.split_at(end).0, at(NOW)).is_none(), "cut at {end}");
        }
        for other in [format!("{token}A"), format!("{token}="), format!(" {token}"), format!("{token}{token}"), "A".repeat(3_000), String::new()] {
            assert!(links(1).open(&other, at(NOW)).is_none(), "{other}");
        }
    }

    #[test]
    fn a_token_shows_neither_whom_it_is_about_nor_that_two_are_about_the_same() {
        let (one, two) = (token("ada@example.net"), token("ada@example.net"));
        assert_ne!(one, two);
        assert_ne!(fingerprint(&one), fingerprint(&two));
        assert_eq!(one.len(), token("a@example.net").len(), "lengths are not told to the byte");
        let bytes = URL_SAFE_NO_PAD.decode(&one).unwrap();
        for word in [&b"ada"[..], b"example", b"email", b"marketing"] {
            assert!(!bytes.windows(word.len()).any(|part| part == word), "{word:?}");
        }
        assert!(!format!("{:?} {:?}", withdraw("ada@example.net"), links(1)).contains("ada"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_flipped_bit_is_refused(value in "[a-z]{1,40}@example\\.net", at_byte in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let token = token(&value);
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
            let n = at_byte.index(bytes.len());
            bytes[n] ^= 1 << bit;
            prop_assert!(links(1).open(&URL_SAFE_NO_PAD.encode(&bytes), at(NOW)).is_none());
            // The same in the text as it stands in a link.
            let mut text = token.into_bytes();
            let n = at_byte.index(text.len());
            text[n] ^= 1 << bit;
            prop_assert!(String::from_utf8(text).ok().is_none_or(|text| links(1).open(&text, at(NOW)).is_none()));
        }

        #[test]
        fn any_text_is_refused(text in "\\PC{0,300}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(links(1).open(&text, at(NOW)).is_none());
            prop_assert!(links(1).open(&URL_SAFE_NO_PAD.encode(&bytes), at(NOW)).is_none());
            let versioned = [&[VERSION][..], &bytes].concat();
            prop_assert!(links(1).open(&URL_SAFE_NO_PAD.encode(&versioned), at(NOW)).is_none());
        }

        #[test]
        fn any_body_is_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..120)) {
            drop(read(&body));
        }
    }
}
