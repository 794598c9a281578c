//! Follows a log and joins what belongs together: a decision is told once, when its end or its denial is in the log.
//!
//! Where a [`Tail`] stands is a [`Position`]; a tail that is opened there tells what was not told yet, in the same order, and nothing of
//! what was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::cursor::Cursor;
use super::event::{Decided, Event, Other, UNKNOWN, What};
use super::{ExportError, Position};
use crate::audit::error::AuditError;
use crate::audit::free_text::without_text;
use crate::audit::gathered::Decision;
use crate::audit::read::{Logged, newest};
use crate::audit::tiles::Tiles;

/// Decisions without an end at a time, some 4 KiB each; beyond, the oldest is told as unresolved.
pub(super) const OPEN_MAX: usize = 8_192;
/// Longer than any answer may take: a list or a stream ends within the hour.
const UNRESOLVED_AFTER: Duration = Duration::from_secs(70 * 60);
/// Customers that are named with a decision; all are counted.
const PARTIES_MAX: usize = 64;
/// Entries that are named with a decision.
const ENTRIES_MAX: usize = 64;
/// Parts of one decision whose consent events are gathered: a stream may have a part for each customer.
const PARTS_WITH_EVENTS_MAX: u64 = 16;

#[derive(Debug)]
pub struct Tail {
    origin: Arc<str>,
    cursor: Cursor,
    resumed: Position,
    open: BTreeMap<u64, Open>,
    /// The entry that is worked on: decisions that it shows to be unresolved go before it.
    current: Option<Logged>,
}

/// What became of one step.
#[derive(Debug)]
pub enum Step {
    Event(Box<Event>),
    /// An entry was read that is no event by itself.
    Read,
    /// There is nothing new.
    Idle,
}

impl Tail {
    /// Goes on in the log `origin` of a folder.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn open(dir: &Path, origin: &str, position: Position) -> Result<Self, ExportError> {
        let cursor = Cursor::open(dir, position.first())?;
        Ok(Self { origin: origin.into(), cursor, resumed: position, open: BTreeMap::new(), current: None })
    }

    /// Reads one entry at most, below `bound`: entries from there on are not durable. Without a bound it reads whatever is whole. `now`
    /// ends decisions also where nothing is written any more.
    ///
    /// # Errors
    /// When the log cannot be read, or is not the one that the position is of. The tail is of no use any more then.
    pub fn step(&mut self, bound: Option<u64>, now: Option<Timestamp>) -> Result<Step, ExportError> {
        if self.current.is_none() {
            self.current = self.cursor.next(bound)?;
        }
        let Some(logged) = self.current.take() else {
            let now = now.filter(|_| self.cursor.index() >= self.resumed.next);
            let overdue = now.and_then(|now| self.overdue(now));
            return Ok(overdue.map_or(Step::Idle, Step::Event));
        };
        if logged.index < self.resumed.next {
            self.read_again(&logged);
            return Ok(Step::Read);
        }
        if let Some(missing) = std::mem::take(&mut self.resumed.open).into_iter().find(|head| !self.open.contains_key(head)) {
            return Err(ExportError::NotThisLog { head: missing });
        }
        if let Some(unresolved) = self.unresolved_before(&logged) {
            self.current = Some(logged);
            return Ok(Step::Event(unresolved));
        }
        Ok(self.take(logged).map_or(Step::Read, |event| Step::Event(Box::new(event))))
    }

    /// The decisions that are open at the end of a log that is not followed any further.
    pub fn finish(mut self) -> impl Iterator<Item = Event> {
        std::mem::take(&mut self.open).into_iter().map(move |(index, open)| open.event(&self.origin, index))
    }

    /// Up to here everything was told.
    #[must_use]
    pub fn position(&self) -> Position {
        let next = self.current.as_ref().map_or_else(|| self.cursor.index(), |logged| logged.index);
        if next < self.resumed.next {
            return self.resumed.clone();
        }
        Position { next, open: self.open.keys().copied().collect() }
    }

    /// Of entries that were worked on before only what is still open is gathered again.
    fn read_again(&mut self, logged: &Logged) {
        if logged.decision().is_some_and(|head| self.resumed.open.contains(&head)) {
            self.join(logged);
        }
    }

    fn take(&mut self, logged: Logged) -> Option<Event> {
        if logged.kind() == "start"
            && let Some(origin) = logged.resolved.get("origin").and_then(Value::as_str)
        {
            self.origin = origin.into();
        }
        match logged.decision() {
            Some(head) => {
                self.join(&logged);
                let is_over = self.open.get(&head).is_some_and(|open| open.decision.is_over);
                let over = if is_over { self.open.remove(&head) } else { None };
                over.map(|open| open.event(&self.origin, head))
            }
            None if logged.kind() == "dict" => None,
            None => Some(self.other(logged)),
        }
    }

    /// What follows a decision that was told, or whose head was not read, is passed over.
    fn join(&mut self, logged: &Logged) {
        let Some(head) = logged.decision() else { return };
        if head == logged.index {
            let at = time(logged).unwrap_or(Timestamp::UNIX_EPOCH);
            self.open.insert(head, Open::new(logged, &self.origin, at));
        }
        if let Some(open) = self.open.get_mut(&head) {
            open.add(logged);
        }
    }

    fn other(&self, logged: Logged) -> Event {
        let at = time(&logged).unwrap_or(Timestamp::UNIX_EPOCH);
        let is_known = logged.value.get("v") == Some(&Value::from(1)) && !logged.kind().is_empty();
        let kind = if is_known { logged.kind().to_owned() } else { UNKNOWN.to_owned() };
        let mut entry = if logged.resolved.is_object() { logged.resolved } else { String::from_utf8_lossy(&logged.raw).into_owned().into() };
        // Whoever is told keeps it longer than its key.
        without_text(&mut entry);
        Event { origin: Arc::clone(&self.origin), index: logged.index, at, what: What::Entry(Other { kind, entry }) }
    }

    /// One decision that gets no end any more, as `logged` shows.
    fn unresolved_before(&mut self, logged: &Logged) -> Option<Box<Event>> {
        // Whoever was to write it has gone.
        if logged.kind() == "start" || self.open.len() > OPEN_MAX {
            return self.close_oldest();
        }
        self.overdue(time(logged)?)
    }

    fn overdue(&mut self, now: Timestamp) -> Option<Box<Event>> {
        let (_, oldest) = self.open.first_key_value()?;
        let is_overdue = oldest.at.checked_add(UNRESOLVED_AFTER).is_ok_and(|until| until <= now);
        if is_overdue { self.close_oldest() } else { None }
    }

    fn close_oldest(&mut self) -> Option<Box<Event>> {
        let (index, open) = self.open.pop_first()?;
        Some(Box::new(open.event(&self.origin, index)))
    }
}

/// A decision while its entries are gathered.
struct Open {
    at: Timestamp,
    decision: Decision,
    entries: u64,
    parts: u64,
    parties: BTreeSet<u64>,
    rid: Option<u64>,
    trace_id: Option<String>,
    latency_us: Option<u64>,
    is_abridged: bool,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl Open {
    fn new(head: &Logged, origin: &str, at: Timestamp) -> Self {
        let entry = &head.resolved;
        Self {
            at,
            decision: Decision::new(head.index, origin, at, entry),
            entries: 0,
            parts: 0,
            parties: BTreeSet::new(),
            rid: entry.get("rid").and_then(Value::as_u64),
            trace_id: entry.get("traceparent").and_then(Value::as_str).map(str::to_owned),
            latency_us: None,
            is_abridged: false,
        }
    }

    fn add(&mut self, logged: &Logged) {
        self.entries += 1;
        match logged.kind() {
            "part" => self.parts += 1,
            "end" => self.latency_us = logged.resolved.get("latency_us").and_then(Value::as_u64),
            _ => {}
        }
        if self.parts > PARTS_WITH_EVENTS_MAX && logged.resolved.get("events").is_some() {
            self.is_abridged = true;
            self.decision.add(&without_events(logged), &[]);
        } else {
            self.decision.add(logged, &[]);
        }
        let entries = &mut self.decision.found.entries;
        if entries.len() > ENTRIES_MAX {
            // The last one stays the last one.
            entries.swap_remove(ENTRIES_MAX - 1);
        }
        for group in logged.resolved.get("groups").and_then(Value::as_array).into_iter().flatten() {
            self.parties.extend(group.get("parties").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64));
        }
        while self.parties.len() > PARTIES_MAX {
            self.parties.pop_last();
        }
    }

    fn event(self, origin: &Arc<str>, index: u64) -> Event {
        let decided = Decided {
            found: self.decision.finish(),
            entries_total: self.entries,
            parties: self.parties.into_iter().collect(),
            rid: self.rid,
            trace_id: self.trace_id,
            latency_us: self.latency_us,
            is_abridged: self.is_abridged,
        };
        Event { origin: Arc::clone(origin), index, at: self.at, what: What::Decision(Box::new(decided)) }
    }
}

fn without_events(logged: &Logged) -> Logged {
    let mut stripped = logged.clone();
    if let Some(members) = stripped.resolved.as_object_mut() {
        members.remove("events");
    }
    stripped
}

fn time(logged: &Logged) -> Option<Timestamp> {
    logged.value.get("t").and_then(Value::as_i64).and_then(|t| Timestamp::from_microsecond(t).ok())
}

/// The name of the log in a folder.
///
/// # Errors
/// When there is none, or it is damaged.
pub fn origin(dir: &Path) -> Result<String, AuditError> {
    // The last `start` may lie gigabytes back; the checkpoint says the same.
    if let Ok(note) = Tiles::new(dir).checkpoint()
        && let Some(name) = note.lines().next()
    {
        return Ok(name.to_owned());
    }
    let start = newest(dir, "start")?;
    Ok(start.and_then(|start| Some(start.value.get("origin")?.as_str()?.to_owned())).unwrap_or_default())
}
