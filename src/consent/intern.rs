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
        let Some(slot) = self.slot_mut(number) else { return };
        slot.held = slot.held.saturating_sub(1);
        if slot.held == 0 {
            let gone = std::mem::take(slot);
            self.numbers.remove(&gone.profile);
            self.free.push(number);
        }
    }

    pub(super) fn get(&self, number: u32) -> Option<&Arc<Profile>> {
        self.slots.get(usize::try_from(number).ok()?).map(|slot| &slot.profile)
    }

    /// Profiles that somebody has, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Arc<Profile>)> {
        (0..).zip(&self.slots).filter(|(_, slot)| slot.held > 0).map(|(number, slot)| (number, &slot.profile))
    }

    /// What a snapshot held under this number.
    pub(super) fn restore(&mut self, number: u32, profile: Profile, held: u64) {
        let Ok(at) = usize::try_from(number) else { return };
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
