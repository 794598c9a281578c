//! Ids to customers, for very many ids: some thirty bytes each. A keyed hash (so that nobody can choose ids that collide)
//! picks a shard and a slot; the slot leads to the full key, which is compared: two ids never pass for each other. The customer's
//! number stands in the slot, so that the row can be on its way while the key is compared.
//!
//! ```text
//! shard: slots  [hash 24 | number 40 | offset + 1 32] …      linear probing, at most 7/8 full
//!        bytes  [space 1–2][length 1–2][value] …
//! ```

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use crate::model::{Identifier, PartyNo, Space};

/// The resolving part of the crosswalk.
pub(super) struct Crosswalk {
    key: [u8; 16],
    spaces: Vec<Space>,
    shards: Box<[Shard]>,
}

impl std::fmt::Debug for Crosswalk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crosswalk").field("ids", &self.len()).finish_non_exhaustive()
    }
}

/// Hash and the high bits of the number, the low bits of the number, offset + 1; all zero: empty.
pub(super) type Slot = [u32; 3];

/// One of the parts that grow and are tidied on their own, so that no single insertion takes long.
#[derive(Default)]
pub(super) struct Shard {
    slots: Vec<Slot>,
    bytes: Vec<u8>,
    used: usize,
    dead_bytes: usize,
}

impl Crosswalk {
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self { key, spaces: Vec::new(), shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    pub(super) fn get(&self, identifier: &Identifier) -> Option<PartyNo> {
        self.get_ahead(identifier, |_| ())
    }

    /// The same; `ahead` is told of a number whose key is still to be compared, so that what is kept under it can be fetched
    /// meanwhile.
    pub(super) fn get_ahead(&self, identifier: &Identifier, ahead: impl Fn(PartyNo)) -> Option<PartyNo> {
        let space = self.space(identifier.space)?;
        let (shard, hash) = self.place(space, &identifier.value);
        let (_, slot) = self.shards.get(shard)?.find(hash, space, identifier.value.as_bytes(), ahead)?;
        Some(party(slot))
    }

    /// Puts an id, or moves it to another customer.
    pub(super) fn insert(&mut self, identifier: &Identifier, party: PartyNo) {
        let space = self.space(identifier.space).unwrap_or_else(|| {
            self.spaces.push(identifier.space);
            u16::try_from(self.spaces.len() - 1).unwrap_or(u16::MAX)
        });
        let (shard, hash) = self.place(space, &identifier.value);
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.insert(hash, space, identifier.value.as_bytes(), party);
        }
    }

    pub(super) fn remove(&mut self, identifier: &Identifier) {
        let Some(space) = self.space(identifier.space) else { return };
        let (shard, hash) = self.place(space, &identifier.value);
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.remove(hash, space, identifier.value.as_bytes());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.used).sum()
    }

    pub(super) fn spaces(&self) -> &[Space] {
        &self.spaces
    }

    pub(super) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// What a snapshot held; the key must be the one it was made under.
    pub(super) fn restore(key: [u8; 16], spaces: Vec<Space>, shards: Vec<Shard>) -> Option<Self> {
        let whole = shards.len() == SHARDS && shards.iter().all(Shard::is_whole);
        whole.then(|| Self { key, spaces, shards: shards.into() })
    }

    fn space(&self, space: Space) -> Option<u16> {
        u16::try_from(self.spaces.iter().position(|known| *known == space)?).ok()
    }

    /// The shard and the hash within it.
    fn place(&self, space: u16, value: &str) -> (usize, u32) {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(&space.to_le_bytes());
        hasher.write(value.as_bytes());
        let hash = hasher.finish().to_le_bytes();
        let [a, b, c, shard, ..] = hash;
        (usize::from(shard), u32::from_le_bytes([a, b, c, 0]))
    }
}

impl Shard {
    pub(super) fn parts(&self) -> (&[Slot], &[u8], usize) {
        (&self.slots, &self.bytes, self.dead_bytes)
    }

    pub(super) fn from_parts(slots: Vec<Slot>, bytes: Vec<u8>, dead_bytes: usize) -> Self {
        let used = slots.iter().filter(|slot| **slot != EMPTY).count();
        Self { slots, bytes, used, dead_bytes }
    }

    /// Whether every slot leads to an entry: a damaged snapshot must not be searched.
    fn is_whole(&self) -> bool {
        self.used < self.slots.len().max(1) && self.slots.iter().filter_map(|slot| offset(*slot)).all(|at| self.entry(at).is_some())
    }

    /// Where the search for a hash begins; grows with the hash.
    fn start(&self, hash: u32) -> usize {
        let slots = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        usize::try_from((u64::from(hash) * slots) >> 24).unwrap_or(0)
    }

    /// The place and the content of an id's slot.
    fn find(&self, hash: u32, space: u16, value: &[u8], ahead: impl Fn(PartyNo)) -> Option<(usize, Slot)> {
        let mut place = self.start(hash);
        for _ in 0..self.slots.len() {
            let slot = *self.slots.get(place)?;
            let at = offset(slot)?;
            if tag(slot) == hash {
                ahead(party(slot));
                if self.entry(at).is_some_and(|(s, v, _)| s == space && v == value) {
                    return Some((place, slot));
                }
            }
            place = self.after(place);
        }
        None
    }

    fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() { 0 } else { slot + 1 }
    }

    /// Space, value and length of the whole entry.
    fn entry(&self, at: usize) -> Option<(u16, &[u8], usize)> {
        let rest = self.bytes.get(at..)?;
        let (space, after) = short(rest)?;
        let (length, after) = short(after)?;
        let length = usize::from(length);
        Some((space, after.get(..length)?, rest.len() - after.len() + length))
    }

    fn insert(&mut self, hash: u32, space: u16, value: &[u8], party: PartyNo) {
        if let Some((place, slot)) = self.find(hash, space, value, |_| ()) {
            if let Some(held) = self.slots.get_mut(place) {
                *held = slot_of(hash, party, offset(slot).unwrap_or(0));
            }
            return;
        }
        if (self.used + 1) * 8 > self.slots.len() * 7 {
            self.rebuild((self.slots.len() * 5 / 4).max(SLOTS_MIN));
        }
        let at = self.bytes.len();
        push_short(&mut self.bytes, space);
        push_short(&mut self.bytes, u16::try_from(value.len()).unwrap_or(u16::MAX));
        self.bytes.extend_from_slice(value);
        self.occupy(slot_of(hash, party, at));
    }

    fn occupy(&mut self, slot: Slot) {
        let mut place = self.start(tag(slot));
        while self.slots.get(place).is_some_and(|held| *held != EMPTY) {
            place = self.after(place);
        }
        if let Some(free) = self.slots.get_mut(place) {
            *free = slot;
            self.used += 1;
        }
    }

    fn remove(&mut self, hash: u32, space: u16, value: &[u8]) {
        let Some((mut hole, slot)) = self.find(hash, space, value, |_| ()) else { return };
        let at = offset(slot).unwrap_or(0);
        let length = self.entry(at).map_or(0, |(_, _, length)| length);
        // The value does not stay behind in memory or in the next snapshot.
        if let Some(entry) = self.bytes.get_mut(at..at + length) {
            entry.fill(0);
        }
        self.dead_bytes += length;
        self.used -= 1;
        let mut place = hole;
        loop {
            place = self.after(place);
            let held = self.slots.get(place).copied().unwrap_or(EMPTY);
            if held == EMPTY {
                break;
            }
            let home = self.start(tag(held));
            // Whether `home` does not lie cyclically within (hole, place].
            let stays = if hole <= place { hole < home && home <= place } else { hole < home || home <= place };
            if !stays {
                if let Some(free) = self.slots.get_mut(hole) {
                    *free = held;
                }
                hole = place;
            }
        }
        if let Some(free) = self.slots.get_mut(hole) {
            *free = EMPTY;
        }
        if self.dead_bytes > TIDY_BYTES && self.dead_bytes * 2 > self.bytes.len() {
            self.rebuild(self.slots.len());
        }
    }

    /// The same entries in fresh memory.
    fn rebuild(&mut self, slots: usize) {
        let fresh = Self { slots: vec![EMPTY; slots], bytes: Vec::with_capacity(self.bytes.len() - self.dead_bytes), used: 0, dead_bytes: 0 };
        let old = std::mem::replace(self, fresh);
        for held in &old.slots {
            let Some(at) = offset(*held) else { continue };
            let length = old.entry(at).map_or(0, |(_, _, length)| length);
            let to = self.bytes.len();
            self.bytes.extend_from_slice(old.bytes.get(at..at + length).unwrap_or_default());
            self.occupy(slot_of(tag(*held), party(*held), to));
        }
    }
}

fn slot_of(hash: u32, party: PartyNo, at: usize) -> Slot {
    let [a, b, c, d, high, ..] = party.0.to_le_bytes();
    // INVARIANT: a shard holds less than 4 GiB: 256 of them, and an id is at most 512 bytes.
    [hash << 8 | u32::from(high), u32::from_le_bytes([a, b, c, d]), u32::try_from(at + 1).unwrap_or(0)]
}

const fn tag([hash, ..]: Slot) -> u32 {
    hash >> 8
}

fn party([high, low, _]: Slot) -> PartyNo {
    PartyNo(u64::from(high & 0xff) << 32 | u64::from(low))
}

fn offset([.., at]: Slot) -> Option<usize> {
    usize::try_from(at.checked_sub(1)?).ok()
}

/// A number below 2^15 in one byte or two.
fn push_short(bytes: &mut Vec<u8>, number: u16) {
    let [low, high] = number.to_le_bytes();
    if number < 0x80 {
        bytes.push(low);
    } else {
        bytes.extend_from_slice(&[0x80 | (low & 0x7f), (high << 1) | (low >> 7)]);
    }
}

fn short(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first & 0x80 == 0 {
        return Some((u16::from(first), rest));
    }
    let (&second, rest) = rest.split_first()?;
    Some((u16::from(first & 0x7f) | u16::from(second) << 7, rest))
}

const EMPTY: Slot = [0; 3];
const SHARDS: usize = 256;
const SLOTS_MIN: usize = 16;
/// A shard is tidied when more than half of it, and at least this much, is dead.
const TIDY_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn id(space: &str, value: String) -> Identifier {
        Identifier { space: Space::intern(space), value }
    }

    #[test]
    fn an_id_of_another_space_or_spelling_is_another_id() {
        let mut crosswalk = Crosswalk::new([7; 16]);
        crosswalk.insert(&id("crm", "42".into()), PartyNo(1));
        for other in [id("mail", "42".into()), id("crm", "042".into()), id("crm", "4".into()), id("crm", String::new())] {
            assert_eq!(crosswalk.get(&other), None, "{other}");
        }
        assert_eq!(crosswalk.get(&id("crm", "42".into())), Some(PartyNo(1)));
    }

    #[test]
    fn a_removed_value_is_gone_from_memory() {
        let mut crosswalk = Crosswalk::new([7; 16]);
        let secret = id("mail", "somebody@example.org".into());
        crosswalk.insert(&secret, PartyNo(1));
        crosswalk.remove(&secret);
        assert!(crosswalk.shards().iter().all(|shard| !shard.bytes.windows(8).any(|window| window == b"somebody")));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u16, u64),
        Remove(u16),
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_answers_as_a_map_does(steps in prop::collection::vec(
            prop_oneof![
                6 => (0_u16..400, 1_u64..60).prop_map(|(id, party)| Step::Put(id, party)),
                3 => (0_u16..400).prop_map(Step::Remove),
            ], 0..1500)) {
            let mut crosswalk = Crosswalk::new([3; 16]);
            let mut map: HashMap<u16, u64> = HashMap::new();
            // Values of 0 to some 600 bytes, in two spaces; all in few shards would need other keys.
            let name = |n: u16| id(if n.is_multiple_of(2) { "crm" } else { "mail" }, format!("{n}-{}", "x".repeat(usize::from(n) * 3 / 2)));
            for step in steps {
                match step {
                    Step::Put(n, party) => {
                        crosswalk.insert(&name(n), PartyNo(party));
                        map.insert(n, party);
                    }
                    Step::Remove(n) => {
                        crosswalk.remove(&name(n));
                        map.remove(&n);
                    }
                }
            }
            prop_assert_eq!(crosswalk.len(), map.len());
            for n in 0..400 {
                prop_assert_eq!(crosswalk.get(&name(n)).map(|no| no.0), map.get(&n).copied());
            }
        }
    }

    #[test]
    fn one_shard_under_collisions_and_removal_keeps_every_other_entry() {
        const HASH_MAX: u32 = (1 << 24) - 1;
        let mut shard = Shard::default();
        // The same start for all: worst case of probing, around the end of the table.
        let keys: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
        for (n, key) in (0_u64..).zip(&keys) {
            shard.insert(HASH_MAX - u32::from(n % 2 == 0), 0, key.as_bytes(), PartyNo(n << 32 | n));
        }
        for (n, key) in (0_u64..).zip(&keys).filter(|(n, _)| n % 3 == 0) {
            shard.remove(HASH_MAX - u32::from(n % 2 == 0), 0, key.as_bytes());
        }
        for (n, key) in (0_u64..).zip(&keys) {
            let found = shard.find(HASH_MAX - u32::from(n % 2 == 0), 0, key.as_bytes(), |_| ()).map(|(_, slot)| party(slot));
            assert_eq!(found, (n % 3 != 0).then_some(PartyNo(n << 32 | n)));
        }
    }
}
