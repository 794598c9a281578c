//! Which entries go: read from the log, before anything is changed.
//!
//! Segments are read up to the last one that may hold something that is past its time; never the one that grows. A decision
//! goes as a whole or not at all: what follows its head may stand in a later segment, so that decisions of which no end was seen
//! are looked for in the rest of the log. What a dictionary entry says goes with the last entry that refers to it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::judge::{Judged, Retention, RetentionClass, Role, decision, judge, references};
use crate::audit::bits::Bits;
use crate::audit::content;
use crate::audit::error::AuditError;
use crate::audit::segment::{Cursor, Held, SegmentFile};
use crate::model::PartyNo;

/// What will go.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The first entry that is not touched.
    pub(super) before_index: u64,
    pub(super) segments: Vec<Goes>,
    pub(super) counts: [Count; 4],
    /// Dictionary entries to which nothing refers any more.
    pub(super) dictionary: u64,
    /// What is left of decisions whose heads went before.
    pub(super) remains: u64,
    /// Decisions and other entries past their time that stay, since they name a customer under legal hold.
    pub(super) held: u64,
}

/// Of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) entries: u64,
    /// Time of the oldest, microseconds.
    pub(super) since: Option<i64>,
}

/// A segment that is to be written anew.
#[derive(Debug)]
pub(super) struct Goes {
    pub(super) file: SegmentFile,
    /// First index of the next one.
    pub(super) limit: u64,
    /// From its first entry.
    pub(super) bits: Bits,
}

/// A decision that is past its time, of which more may follow.
#[derive(Debug)]
struct Open {
    class: RetentionClass,
    t: i64,
    entries: Vec<u64>,
}

/// What was found so far.
struct Survey<'a> {
    retention: &'a Retention,
    is_held: &'a dyn Fn(PartyNo) -> bool,
    open: BTreeMap<u64, Open>,
    /// By segment: its first index, what goes, what is gone.
    segments: Vec<(u64, Bits, Bits)>,
    /// The newest activation of a bundle, which stays.
    activation: Option<(u64, RetentionClass, i64)>,
    plan: Plan,
}

/// `stop` is asked from time to time.
pub(super) fn plan(
    segments: &[SegmentFile],
    retention: &Retention,
    is_held: &dyn Fn(PartyNo) -> bool,
    stop: &dyn Fn() -> bool,
) -> Result<Plan, AuditError> {
    let mut survey = Survey { retention, is_held, open: BTreeMap::new(), segments: Vec::new(), activation: None, plan: Plan::default() };
    let Some(end) = end_of_old(segments, retention)? else { return Ok(survey.plan) };
    let with_limits: Vec<(&SegmentFile, Option<u64>)> =
        segments.iter().zip(segments.iter().skip(1).map(|next| Some(next.name.first)).chain([None])).collect();
    let (old, young) = with_limits.split_at_checked(end).unwrap_or((&with_limits, &[]));
    for (file, limit) in old {
        going_on(stop)?;
        survey.segment(file, *limit)?;
    }
    for (file, limit) in young {
        if survey.open.is_empty() {
            break;
        }
        going_on(stop)?;
        survey.keep_unfinished(file, *limit)?;
    }
    survey.settle_rest();
    let mut plan = survey.plan;
    for ((file, limit), (_, bits, _)) in old.iter().zip(survey.segments) {
        if let (Some(limit), true) = (*limit, bits.count() > 0) {
            going_on(stop)?;
            plan.segments.push(Goes { file: (*file).clone(), limit, bits });
            if let Some(goes) = plan.segments.last_mut() {
                plan.dictionary += goes.add_dictionary()?;
            }
        }
    }
    plan.before_index = old.last().and_then(|(_, limit)| *limit).unwrap_or_default();
    Ok(plan)
}

pub(super) fn going_on(stop: &dyn Fn() -> bool) -> Result<(), AuditError> {
    if stop() { Err(AuditError::Closed) } else { Ok(()) }
}

/// How many segments may hold something that is past its time: those up to the last one that begins with such an entry. The last
/// segment of all grows. A clock that was ahead for a while only delays what was written then.
fn end_of_old(segments: &[SegmentFile], retention: &Retention) -> Result<Option<usize>, AuditError> {
    let (Some(latest), Some((_, finished))) = (retention.latest(), segments.split_last()) else { return Ok(None) };
    for (at, file) in finished.iter().enumerate().rev() {
        if first_time(file)?.is_some_and(|t| t < latest.as_microsecond()) {
            return Ok(Some(at + 1));
        }
    }
    Ok(None)
}

/// The time of the first entry that is left of a finished segment.
fn first_time(file: &SegmentFile) -> Result<Option<i64>, AuditError> {
    #[derive(serde::Deserialize)]
    struct Timed {
        t: i64,
    }
    let timed = |data: &[u8]| {
        let mut cursor = Cursor::open(file, data, None)?;
        while let Some((_, entry)) = cursor.next(data)? {
            if let Ok(Timed { t }) = serde_json::from_slice(entry) {
                return Ok(Some(t));
            }
        }
        Ok(None)
    };
    let beginning = content::read_beginning(file)?;
    match timed(&beginning)? {
        Some(t) => Ok(Some(t)),
        None => timed(&content::read(file)?),
    }
}

impl Survey<'_> {
    fn segment(&mut self, file: &SegmentFile, limit: Option<u64>) -> Result<(), AuditError> {
        let data = content::read(file)?;
        let mut cursor = Cursor::open(file, &data, limit)?;
        self.segments.push((file.name.first, Bits::default(), Bits::default()));
        while let Some((index, held)) = cursor.next_held(&data)? {
            match held {
                Held::Pruned(_) => self.mark_gone(index),
                Held::Entry(entry) => self.entry(index, &judge(entry)),
            }
        }
        Ok(())
    }

    fn entry(&mut self, index: u64, judged: &Judged) {
        let is_held = judged.parties.iter().any(|party| (self.is_held)(*party));
        match judged.role {
            Role::Dictionary | Role::Stays { of: None } => {}
            // Whatever it says of the decision would be left behind.
            Role::Stays { of: Some(of) } => drop(self.open.remove(&of)),
            Role::Head { class, t, .. } | Role::Other { class, t, .. } if !self.retention.is_past(class, t) => {}
            Role::Head { .. } | Role::Other { .. } if is_held => self.plan.held += 1,
            Role::Head { class, t, is_over } => {
                self.open.insert(index, Open { class, t, entries: vec![index] });
                if is_over {
                    self.settle(index);
                }
            }
            Role::Piece { of, is_over } => self.piece(index, of, is_over, is_held),
            Role::Other { class, t, is_activation: true } => {
                if let Some((before, class, t)) = self.activation.replace((index, class, t)) {
                    self.goes(before, class, t);
                }
            }
            Role::Other { class, t, is_activation: false } => self.goes(index, class, t),
        }
    }

    fn piece(&mut self, index: u64, of: u64, is_over: bool, is_held: bool) {
        if let Some(open) = self.open.get_mut(&of) {
            open.entries.push(index);
            if is_held {
                self.open.remove(&of);
                self.plan.held += 1;
            } else if is_over {
                self.settle(of);
            }
        } else if self.is_gone(of) {
            if is_held {
                self.plan.held += 1;
            } else {
                self.plan.remains += 1;
                self.mark(index);
            }
        }
    }

    /// The decision goes.
    fn settle(&mut self, head: u64) {
        let Some(Open { class, t, entries }) = self.open.remove(&head) else { return };
        for index in entries {
            self.goes(index, class, t);
        }
    }

    /// What follows in a segment that is not touched keeps its decision.
    fn keep_unfinished(&mut self, file: &SegmentFile, limit: Option<u64>) -> Result<(), AuditError> {
        let data = content::read(file)?;
        let mut cursor = Cursor::open(file, &data, limit)?;
        while let Some((_, entry)) = cursor.next(&data)? {
            if let Some(of) = decision(entry) {
                self.open.remove(&of);
            }
        }
        Ok(())
    }

    fn settle_rest(&mut self) {
        let heads: Vec<u64> = self.open.keys().copied().collect();
        heads.into_iter().for_each(|head| self.settle(head));
    }

    fn goes(&mut self, index: u64, class: RetentionClass, t: i64) {
        self.mark(index);
        if let Some(count) = self.plan.counts.get_mut(class as usize) {
            count.entries += 1;
            count.since = Some(count.since.map_or(t, |since| since.min(t)));
        }
    }

    fn mark(&mut self, index: u64) {
        if let Some((first, goes, _)) = self.holder(index) {
            goes.set(index - *first);
        }
    }

    fn mark_gone(&mut self, index: u64) {
        if let Some((first, _, gone)) = self.holder(index) {
            gone.set(index - *first);
        }
    }

    /// Whether it is a tombstone, or will be.
    fn is_gone(&mut self, index: u64) -> bool {
        self.holder(index).is_some_and(|(first, goes, gone)| goes.has(index - *first) || gone.has(index - *first))
    }

    fn holder(&mut self, index: u64) -> Option<&mut (u64, Bits, Bits)> {
        let after = self.segments.partition_point(|(first, ..)| *first <= index);
        after.checked_sub(1).and_then(|at| self.segments.get_mut(at))
    }
}

impl Goes {
    /// Adds the dictionary entries to which only goes what refers to them; how many.
    fn add_dictionary(&mut self) -> Result<u64, AuditError> {
        let data = content::read(&self.file)?;
        let mut cursor = Cursor::open(&self.file, &data, Some(self.limit))?;
        let (mut let_go, mut kept) = (BTreeSet::new(), BTreeSet::new());
        while let Some((index, entry)) = cursor.next(&data)? {
            let to = if self.bits.has(index - self.file.name.first) { &mut let_go } else { &mut kept };
            to.extend(references(entry));
        }
        let mut added = 0;
        for index in let_go.difference(&kept).filter_map(|index| index.checked_sub(self.file.name.first)) {
            self.bits.set(index);
            added += 1;
        }
        Ok(added)
    }
}

impl Plan {
    pub(super) fn count(&self, class: RetentionClass) -> Count {
        self.counts.get(class as usize).copied().unwrap_or_default()
    }
}

impl Count {
    pub(super) fn since(self) -> Option<Timestamp> {
        self.since.and_then(|t| Timestamp::from_microsecond(t).ok())
    }
}
