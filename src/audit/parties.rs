//! Customers of a group: sorted numbers, each as its distance from the one before, as LEB128 (7 bits a byte, low first,
//! high bit = more follows), in base64. The first distance is from 0; the others are at least 1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::model::PartyNo;

/// `parties` must be sorted and without duplicates.
pub(super) fn encode(parties: &[PartyNo]) -> String {
    let mut bytes = Vec::with_capacity(parties.len() * 2);
    let mut before = 0;
    for &PartyNo(number) in parties {
        let mut distance = number.saturating_sub(before);
        before = number;
        while distance > 0x7f {
            bytes.push(0x80 | low_bits(distance));
            distance >>= 7;
        }
        bytes.push(low_bits(distance));
    }
    STANDARD.encode(bytes)
}

/// `None` for what [`encode`] can not have written.
pub(super) fn decode(text: &str) -> Option<Vec<PartyNo>> {
    let bytes = STANDARD.decode(text).ok()?;
    let mut parties = Vec::new();
    let mut before = 0u64;
    let mut rest = bytes.iter();
    while let Some(&first) = rest.next() {
        let mut byte = first;
        let mut distance = u64::from(byte & 0x7f);
        let mut shift = 7;
        while byte & 0x80 != 0 {
            byte = *rest.next()?;
            // Ten bytes hold 70 bits; the tenth may carry one. An empty last byte would be a second spelling.
            if shift > 63 || (shift == 63 && byte > 1) || byte == 0 {
                return None;
            }
            distance |= u64::from(byte & 0x7f) << shift;
            shift += 7;
        }
        if distance == 0 && !parties.is_empty() {
            return None;
        }
        before = before.checked_add(distance)?;
        parties.push(PartyNo(before));
    }
    Some(parties)
}

fn low_bits(n: u64) -> u8 {
    let [low, ..] = n.to_le_bytes();
    low & 0x7f
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_written_is_read(numbers in proptest::collection::btree_set(any::<u64>(), 0..50)) {
            let parties: Vec<_> = numbers.into_iter().map(PartyNo).collect();
            prop_assert_eq!(Some(parties.clone()), decode(&encode(&parties)));
        }

        #[test]
        fn every_list_has_one_spelling(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let text = STANDARD.encode(bytes);
            if let Some(parties) = decode(&text) {
                prop_assert_eq!(text, encode(&parties));
            }
        }
    }

    #[test]
    fn what_can_not_have_been_written_is_refused() {
        for bytes in [&[0x80][..], &[0x80, 0x00], &[5, 0], &[0xff; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]] {
            assert_eq!(None, decode(&STANDARD.encode(bytes)), "{bytes:?}");
        }
        assert_eq!(None, decode("not base64"));
    }

    #[test]
    fn neighbours_take_one_byte() {
        let parties: Vec<_> = (1_000_000..1_008_192).map(PartyNo).collect();
        assert!(encode(&parties).len() < 8_192 * 4 / 3 + 8);
    }
}
