//! Counts of the last so many hours, in sixty slots: a slot counts until all of it lies outside. So a count is forgotten up to a
//! sixtieth of the time too late, and never too early: in no stretch of the time is there more than is allowed.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::model::PartyNo;

const SLOTS: u64 = 60;

/// What was counted, by slot.
#[derive(Debug)]
pub(super) struct Window {
    time: Duration,
    /// Oldest first; only those in which something was counted.
    slots: VecDeque<(u64, u64)>,
    total: u64,
}

impl Window {
    pub(super) const fn new(time: Duration) -> Self {
        Self { time, slots: VecDeque::new(), total: 0 }
    }

    pub(super) const fn time(&self) -> Duration {
        self.time
    }

    fn slot_nanos(&self) -> u128 {
        self.time.as_nanos().div_ceil(u128::from(SLOTS)).max(1)
    }

    fn slot(&self, now: Duration) -> u64 {
        u64::try_from(now.as_nanos() / self.slot_nanos()).unwrap_or(u64::MAX)
    }

    /// Forgets what lies outside; says whether there was anything.
    fn pass(&mut self, now: Duration) -> bool {
        let slot = self.slot(now);
        let before = self.slots.len();
        while let Some((oldest, count)) = self.slots.front().copied() {
            if oldest.saturating_add(SLOTS) >= slot {
                break;
            }
            self.slots.pop_front();
            self.total = self.total.saturating_sub(count);
        }
        self.slots.len() < before
    }

    pub(super) fn total(&mut self, now: Duration) -> u64 {
        self.pass(now);
        self.total
    }

    pub(super) fn add(&mut self, now: Duration, count: u64) {
        self.pass(now);
        let slot = self.slot(now);
        self.add_to(slot, count);
    }

    fn add_to(&mut self, slot: u64, count: u64) {
        self.total = self.total.saturating_add(count);
        match self.slots.iter_mut().rev().find(|(other, _)| *other <= slot) {
            Some((same, counted)) if *same == slot => *counted = counted.saturating_add(count),
            _ => {
                let at = self.slots.partition_point(|(other, _)| *other < slot);
                self.slots.insert(at, (slot, count));
            }
        }
    }

    fn take_from(&mut self, slot: u64, count: u64) {
        if let Some((_, counted)) = self.slots.iter_mut().find(|(other, _)| *other == slot) {
            *counted = counted.saturating_sub(count);
            self.total = self.total.saturating_sub(count);
        }
    }

    /// How long until something is forgotten.
    pub(super) fn relief(&self, now: Duration) -> Duration {
        let Some((oldest, _)) = self.slots.front().filter(|_| self.total > 0) else { return self.time };
        let ends = u128::from(oldest.saturating_add(SLOTS + 1)) * self.slot_nanos();
        let nanos = u64::try_from(ends.saturating_sub(now.as_nanos())).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos)
    }
}

/// Different customers of the last so many hours, each told apart from every other. It holds no more of them than are allowed.
#[derive(Debug)]
pub(super) struct Customers {
    window: Window,
    /// The newest slot in which each was counted.
    seen: HashMap<PartyNo, u64>,
}

impl Customers {
    pub(super) fn new(time: Duration) -> Self {
        Self { window: Window::new(time), seen: HashMap::new() }
    }

    pub(super) const fn window(&self) -> &Window {
        &self.window
    }

    fn pass(&mut self, now: Duration) {
        if self.window.pass(now) {
            let slot = self.window.slot(now);
            self.seen.retain(|_, seen| seen.saturating_add(SLOTS) >= slot);
        }
    }

    /// How many there would be with these; `unknown` are customers whom nobody can tell apart: each counts as another one.
    pub(super) fn total_with(&mut self, now: Duration, parties: &[PartyNo], unknown: u64) -> u64 {
        self.pass(now);
        let new = parties.iter().filter(|party| !self.seen.contains_key(party)).count();
        self.window.total.saturating_add(u64::try_from(new).unwrap_or(u64::MAX)).saturating_add(unknown)
    }

    /// Counts customers, each given once. Who was counted before counts from now on.
    pub(super) fn add(&mut self, now: Duration, parties: &[PartyNo], unknown: u64) {
        self.pass(now);
        let slot = self.window.slot(now);
        for party in parties {
            let before = self.seen.get(party).copied();
            // What is read back from the log comes in any order.
            if before.is_some_and(|before| before >= slot) {
                continue;
            }
            if let Some(before) = before {
                self.window.take_from(before, 1);
            }
            self.seen.insert(*party, slot);
            self.window.add_to(slot, 1);
        }
        if unknown > 0 {
            self.window.add_to(slot, unknown);
        }
    }
}
