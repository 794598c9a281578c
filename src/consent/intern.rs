//! Equal profiles are one allocation and one number.

use std::collections::HashMap;
use std::sync::Arc;

use super::profile::Profile;

#[derive(Debug, Default)]
pub(super) struct Interner {
    slots: Vec<Slot>,
    numbers: HashMap<Arc<Profile>, u32>,
    free: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    profile: Arc<Profile>,
    /// Customers who have it.
    held: u64,
}

impl Interner {
    /// The number of a profile, held once more.
    pub(super) fn hold(&mut self, profile: Profile) -> u32 {
        let number = self.numbers.get(&profile).copied().unwrap_or_else(|| self.add(Arc::new(profile)));
        if let Some(slot) = self.slot_mut(number) {
            slot.held += 1;
        }
        number
    }

    /// One customer fewer has it; what nobody has is dropped.
    pub(super) fn release(&mut self, number: u32) {
        self.release_many(number, 1);
    }

    /// So many customers had one profile and have another.
    pub(super) fn shift(&mut self, from: u32, to: u32, customers: u64) {
        if let Some(slot) = self.slot_mut(to) {
            slot.held += customers;
        }
        self.release_many(from, customers);
    }

    fn release_many(&mut self, number: u32, customers: u64) {
        let Some(slot) = self.slot_mut(number).filter(|slot| slot.held > 0) else { return };
        slot.held = slot.held.saturating_sub(customers);
        if slot.held == 0 {
            let gone = std::mem::take(slot);
            self.numbers.remove(&gone.profile);
            self.free.push(number);
        }
    }

    pub(super) fn get(&self, number: u32) -> Option<&Arc<Profile>> {
        self.slots.get(usize::try_from(number).ok()?).filter(|slot| slot.held > 0).map(|slot| &slot.profile)
    }

    /// Profiles that somebody has, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Arc<Profile>)> {
        (0..).zip(&self.slots).filter(|(_, slot)| slot.held > 0).map(|(number, slot)| (number, &slot.profile))
    }

    /// What a snapshot held under this number.
    pub(super) fn restore(&mut self, number: u32, profile: Profile, held: u64) {
        let Ok(at) = usize::try_from(number) else { return };
        if held == 0 {
            return;
        }
        if self.slots.len() <= at {
            self.slots.resize(at + 1, Slot::default());
        }
        let profile = Arc::new(profile);
        self.numbers.insert(Arc::clone(&profile), number);
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Slot { profile, held };
        }
    }

    /// After the last [`Self::restore`].
    pub(super) fn restored(&mut self) {
        self.free = (0..).zip(&self.slots).filter(|(_, slot)| slot.held == 0).map(|(number, _)| number).collect();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    fn add(&mut self, profile: Arc<Profile>) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(slot) = self.slot_mut(number) {
            slot.profile = Arc::clone(&profile);
        }
        self.numbers.insert(profile, number);
        number
    }

    fn slot_mut(&mut self, number: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(number).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_nobody_holds_is_not_found_and_given_out_once() {
        let mut interner = Interner::default();
        interner.restore(0, Profile::default(), 0);
        interner.restored();
        assert!(interner.get(0).is_none());
        let number = interner.hold(Profile::default());
        interner.release(number);
        interner.release(number);
        assert_eq!(interner.free.iter().filter(|free| **free == number).count(), 1);
    }
}
