//! Public ids of customers: opaque, kept nowhere, and impossible to guess. `p_` and 24 letters and digits are 15 bytes in
//! base32: a keyed tag of the customer's number and the number masked by the tag (the construction of SIV, RFC 5297).

use std::fmt;

use aws_lc_rs::hmac;

use crate::model::{PartyId, PartyNo};

pub(super) struct Seal {
    tag: hmac::Key,
    mask: hmac::Key,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(…)")
    }
}

impl Seal {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { tag: derived(key, b"party id: tag"), mask: derived(key, b"party id: mask") }
    }

    pub(super) fn id(&self, party: PartyNo) -> PartyId {
        let mut bytes = [0_u8; 15];
        let tag = self.tag_of(party);
        let (head, tail) = bytes.split_at_mut(10);
        head.copy_from_slice(&tag);
        for ((byte, number), mask) in tail.iter_mut().zip(party.0.to_le_bytes()).zip(self.mask_of(&tag)) {
            *byte = number ^ mask;
        }
        PartyId(format!("p_{}", to_base32(&bytes)))
    }

    /// The customer with this id; `None` for what was never given out.
    pub(super) fn number(&self, id: &str) -> Option<PartyNo> {
        let bytes = from_base32(id.strip_prefix("p_")?)?;
        let (tag, masked) = bytes.split_first_chunk::<10>()?;
        let mut number = [0_u8; 8];
        for ((byte, masked), mask) in number.iter_mut().zip(masked).zip(self.mask_of(tag)) {
            *byte = masked ^ mask;
        }
        let party = PartyNo(u64::from_le_bytes(number));
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.tag_of(party), tag).ok()?;
        Some(party)
    }

    fn tag_of(&self, party: PartyNo) -> [u8; 10] {
        first(hmac::sign(&self.tag, &party.0.to_le_bytes()).as_ref())
    }

    fn mask_of(&self, tag: &[u8; 10]) -> [u8; 5] {
        first(hmac::sign(&self.mask, tag).as_ref())
    }
}

/// A key for one use.
pub(super) fn derived(key: &[u8; 32], label: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), label).as_ref())
}

/// The first bytes of a digest.
pub(super) fn first<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    for (byte, from) in bytes.iter_mut().zip(digest) {
        *byte = *from;
    }
    bytes
}

/// RFC 4648 base32 in lower case; five bytes are eight characters, so there is no padding.
fn to_base32(bytes: &[u8; 15]) -> String {
    let mut text = String::with_capacity(24);
    for group in bytes.chunks_exact(5) {
        let bits = group.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for n in (0..8).rev() {
            let index = usize::try_from(bits >> (n * 5) & 31).unwrap_or(0);
            text.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'a')));
        }
    }
    text
}

fn from_base32(text: &str) -> Option<[u8; 15]> {
    let mut bytes = [0_u8; 15];
    if text.len() != 24 {
        return None;
    }
    for (group, to) in text.as_bytes().chunks_exact(8).zip(bytes.chunks_exact_mut(5)) {
        let mut bits = 0_u64;
        for letter in group {
            bits = bits << 5 | u64::try_from(ALPHABET.iter().position(|a| a == letter)?).ok()?;
        }
        for (byte, from) in to.iter_mut().zip(bits.to_be_bytes().iter().skip(3)) {
            *byte = *from;
        }
    }
    Some(bytes)
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_id_leads_to_its_customer_and_no_other_text_does(no in 0_u64..1 << 40, at in 0_usize..24, other in "[a-z2-7]") {
            let seal = Seal::new(&[9; 32]);
            let id = seal.id(PartyNo(no));
            prop_assert_eq!(seal.number(&id.0), Some(PartyNo(no)));
            prop_assert_eq!(Seal::new(&[8; 32]).number(&id.0), None);
            let mut changed = id.0.clone();
            changed.replace_range(at + 2..at + 3, &other);
            prop_assert_eq!(seal.number(&changed).is_some(), changed == id.0);
        }

        #[test]
        fn no_text_is_an_error(text in ".{0,30}") {
            prop_assert_eq!(Seal::new(&[9; 32]).number(&text), None);
        }
    }
}
