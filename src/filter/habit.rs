//! What a reader remembers of the objects of one place: they mostly have the same members in the same order.

use std::sync::Arc;

use super::path::{At, looks_like_a_name};

/// Members of an object that are remembered, at most.
const HABIT_MAX: usize = 64;
/// How many members that did not come are skipped to find the one that did.
const HABIT_SKIPS: usize = 4;
/// How often a habit is learnt anew: what has no order costs more than it brings.
pub(super) const HABIT_LESSONS: u8 = 16;

/// Of each place the habit of its objects, if one was seen.
pub(super) type Habits = Vec<Option<Arc<Habit>>>;

/// The members that objects of one place have, in their order. All are different.
#[derive(Debug, Default)]
pub(super) struct Habit {
    steps: Vec<Expected>,
    /// The names with quotation marks and colon, each filled up to whole words.
    words: Vec<u64>,
    lessons: u8,
    is_of_names: bool,
}

/// A member that may come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// Its first bytes, and which bits of them count.
    head: u128,
    mask: u128,
    /// Where among the words those stand that follow, and which bits count of the last one.
    words: (usize, usize),
    last_mask: u64,
    /// Up to the colon.
    pub(super) bytes: usize,
    /// With quotation marks.
    pub(super) name_bytes: usize,
    pub(super) hash: u32,
    pub(super) leads_to: At,
}

impl Habit {
    /// Whether all its names could stand in a declaration. Others may be data, and are not kept for other answers.
    pub(super) const fn is_of_names(&self) -> bool {
        self.is_of_names
    }

    /// How often it was learnt.
    pub(super) const fn lessons(&self) -> u8 {
        self.lessons
    }

    /// One that has no members yet.
    pub(super) fn begun(lessons: u8) -> Self {
        Self { lessons, is_of_names: true, ..Self::default() }
    }

    /// `None` when it cannot be remembered.
    pub(super) fn push(&mut self, spelt: &[u8], leads_to: At) -> Option<()> {
        let name_bytes = spelt.iter().rposition(|byte| *byte == b'"')? + 1;
        let name = std::str::from_utf8(spelt.get(1..name_bytes - 1)?).ok()?;
        if self.steps.len() >= HABIT_MAX || name.contains('\\') {
            return None;
        }
        self.is_of_names &= looks_like_a_name(name);
        let (start, more) = spelt.split_at_checked(16).unwrap_or((spelt, &[]));
        let mut head = [0; 16];
        head.iter_mut().zip(start).for_each(|(to, from)| *to = *from);
        let begin = self.words.len();
        let mut last_mask = u64::MAX;
        for eight in more.chunks(8) {
            let mut padded = [0; 8];
            padded.iter_mut().zip(eight).for_each(|(to, from)| *to = *from);
            self.words.push(u64::from_le_bytes(padded));
            last_mask = u64::MAX >> (64 - 8 * eight.len());
        }
        self.steps.push(Expected {
            head: u128::from_le_bytes(head),
            mask: u128::MAX >> (128 - 8 * start.len()),
            words: (begin, self.words.len()),
            last_mask,
            bytes: spelt.len(),
            name_bytes,
            hash: name_hash(name),
            leads_to,
        });
        Some(())
    }

    /// The member that stands at `at`, if it is one of the next that may come.
    #[inline]
    pub(super) fn next(&self, from: usize, bytes: &[u8], at: usize) -> Option<(usize, &Expected)> {
        // Near the end of the bytes nothing stands that could be compared in one; there it is read.
        let rest = bytes.get(at..)?;
        let head = u128::from_le_bytes(*rest.first_chunk::<16>()?);
        let step = self.steps.get(from)?;
        if (step.head ^ head) & step.mask == 0 && (step.bytes <= 16 || self.ends_so(step, rest)) {
            Some((from, step))
        } else {
            self.later(from + 1, head, rest)
        }
    }

    #[inline(never)]
    fn later(&self, from: usize, head: u128, rest: &[u8]) -> Option<(usize, &Expected)> {
        let may_come = self.steps.iter().enumerate().skip(from).take(HABIT_SKIPS);
        may_come.into_iter().find(|(_, step)| (step.head ^ head) & step.mask == 0 && self.ends_so(step, rest))
    }

    fn ends_so(&self, step: &Expected, rest: &[u8]) -> bool {
        let Some((last, words)) = self.words.get(step.words.0..step.words.1).and_then(<[u64]>::split_last) else { return true };
        let (here, _) = rest.as_chunks::<8>();
        let here = here.get(2..).unwrap_or_default();
        let equal = |word: &u64, here: &[u8; 8], mask: u64| (word ^ u64::from_le_bytes(*here)) & mask == 0;
        here.get(words.len()).is_some_and(|here| equal(last, here, step.last_mask))
            && words.iter().zip(here).all(|(word, here)| equal(word, here, u64::MAX))
    }
}

/// Names that differ mostly have another one.
#[inline]
pub(super) fn name_hash(name: &str) -> u32 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0xf135_7aea_2e62_a9c5).rotate_left(26);
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    let hash = words.iter().fold(name.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let last = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    u32::try_from(mix(hash, last) >> 32).unwrap_or_default()
}
