//! The walk through an answer: member by member around the rows, row by row within them.

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::Arc;

use super::{Expects, Flow, Frame, PART_BYTES};
use crate::filter::compiled::Cutters;
use crate::filter::cut::CutError;
use crate::filter::envelope::{Envelope, Links, Outer, alive_of, place};
use crate::filter::held::Held;
use crate::filter::json::{Kind, Unreadable, unescape};
use crate::filter::object::{Cutter, Outcome, Whose};
use crate::filter::out::Out;
use crate::filter::path::{At, Place, Trail, Trodden, through};
use crate::filter::reader::{Everything, Stop, space};
use crate::filter::records;
use crate::filter::{Judge, Report};
use crate::model::{CountRule, Framing, ResponsePlan, Step, Subject};

/// A unit that has so many bytes and no end is read again only when a sixteenth more of it has come, and a longer one than a part
/// when half as much again has: however small the pieces are in which it comes, the work stays in proportion to its length.
const SMALL_UNIT_BYTES: usize = 4 * 1024;

/// Names of one object around the rows, in bytes at most: they are remembered to find equal ones.
const NAMES_BYTES_MAX: usize = 64 * 1024;

/// What a step did.
pub(super) enum Moved {
    /// Everything before this is done with.
    To(usize),
    /// More bytes are needed from here on.
    Short(usize),
}

/// What a step has at hand.
pub(super) struct Feed<'f, 'j> {
    pub(super) bytes: &'f [u8],
    pub(super) is_last: bool,
    pub(super) judge: &'j mut dyn Judge,
}

/// A member's name, as it is spelt and unescaped.
type Named<'n> = Option<(&'n str, &'n str)>;

impl<P: Deref<Target = ResponsePlan>, C: Deref<Target = Cutters>> Flow<P, C> {
    /// Goes on by one record of a stream.
    fn record(&mut self, feed: &mut Feed<'_, '_>, at: usize) -> Result<Moved, CutError> {
        if at == feed.bytes.len() && feed.is_last {
            self.expects = Expects::End;
            return Ok(Moved::To(at));
        }
        let ResponsePlan::Stream { framing, .. } = &*self.plan else { return Err(Unreadable::TopLevel.into()) };
        let found = match framing {
            Framing::Ndjson => records::line(feed.bytes, at, feed.is_last),
            Framing::Events { .. } => records::event(feed.bytes, at, feed.is_last)?,
        };
        let (record, end) = match found {
            records::Found::Record(record, end) => (record, end),
            records::Found::Nothing(end) => return Ok(Moved::To(end)),
            records::Found::Short => return Ok(Moved::Short(at)),
        };
        let (is_unknown, with_ids) = match framing {
            Framing::Ndjson => (false, None),
            Framing::Events { names, with_ids } => (record.event.is_some_and(|name| !names.iter().any(|known| known == name)), Some(*with_ids)),
        };
        let json = record.json.bytes();
        let start = space(json, 0);
        let mut whole = Feed { bytes: json, is_last: true, judge: &mut *feed.judge };
        let read = self.read(&whole, start)?.map_err(|stop| match stop {
            Stop::Incomplete => Unreadable::Syntax { at: json.len() },
            Stop::Unreadable(reason) => reason,
        })?;
        if space(json, read) < json.len() {
            return Err(Unreadable::Trailing { at: read }.into());
        }
        let mark = self.out.len();
        self.rows.seen += 1;
        let outcome = if is_unknown {
            self.notes.drift(|| "event".to_owned());
            Outcome::Refused
        } else {
            self.cut(&mut whole, start, &Whose::Named)?
        };
        if self.found.error {
            return Err(self.refused());
        }
        if outcome == Outcome::Released {
            self.rows.released += 1;
            match with_ids {
                None => self.out.push(b'\n'),
                Some(with_ids) => {
                    let data = self.out.split_off(mark);
                    let id = record.id.filter(|id| with_ids && records::is_plain_id(id));
                    records::write_event(record.event, id, record.retry, &data, &mut self.out);
                }
            }
        } else {
            self.out.truncate(mark);
        }
        Ok(Moved::To(end))
    }

    /// A member without which the answer must not go out is refused.
    fn refused(&mut self) -> CutError {
        self.notes.release_nothing();
        let dropped = u32::try_from(self.rows.seen - self.told.seen).unwrap_or(u32::MAX);
        CutError::OnDenyError(Report { dropped, ..std::mem::take(&mut self.notes).into_report(&self.shapes) })
    }

    /// Goes on by one thing: a unit, or the beginning or end of a container around the rows.
    pub(super) fn step(&mut self, feed: &mut Feed<'_, '_>, from: usize) -> Result<Moved, CutError> {
        if matches!(*self.plan, ResponsePlan::Stream { .. }) {
            return self.record(feed, from);
        }
        let at = space(feed.bytes, from);
        let Some(byte) = feed.bytes.get(at) else {
            return Ok(if self.expects == Expects::End { Moved::To(at) } else { Moved::Short(at) });
        };
        let Some(frame) = self.frames.last() else {
            return match self.expects {
                Expects::Root => {
                    let alive = (0..self.outline.len()).collect();
                    self.thing(feed, at, at, None, alive)
                }
                Expects::First | Expects::Next | Expects::End => Err(Unreadable::Trailing { at }.into()),
            };
        };
        let is_object = frame.kind == Kind::Object;
        match (byte, self.expects) {
            (b'}', Expects::First | Expects::Next) if is_object => Ok(self.leave(at + 1)),
            (b']', Expects::First | Expects::Next) if !is_object => Ok(self.leave(at + 1)),
            (b',', Expects::Next) => {
                let next = space(feed.bytes, at + 1);
                // A comma counts only with what it announces.
                if next == feed.bytes.len() { Ok(Moved::Short(at)) } else { self.child(feed, at, next) }
            }
            (_, Expects::First) => self.child(feed, at, at),
            _ => Err(Unreadable::Syntax { at }.into()),
        }
    }

    /// A member or an item that begins at `at`; fed again from `from` when it is short.
    fn child(&mut self, feed: &mut Feed<'_, '_>, from: usize, at: usize) -> Result<Moved, CutError> {
        let Some(frame) = self.frames.last() else { return Err(Unreadable::Syntax { at }.into()) };
        if frame.is_list {
            return self.row(feed, from, at);
        }
        if frame.kind == Kind::Array {
            let alive = self.lead(&frame.alive, Place::Item(frame.items));
            return self.thing(feed, from, at, None, alive);
        }
        let Feed { bytes, is_last, .. } = *feed;
        if bytes.get(at) != Some(&b'"') {
            return Err(Unreadable::Syntax { at }.into());
        }
        let end = match self.reader.value(bytes, at, is_last, 0, At::default(), &Everything) {
            Ok(end) => end,
            Err(stop) => return short(stop, from),
        };
        let raw = std::str::from_utf8(bytes.get(at..end).unwrap_or_default()).map_err(|_cut| Unreadable::NotUtf8 { at })?;
        let name = unescape(raw).ok_or(Unreadable::Escape { at: end })?;
        let colon = space(bytes, end);
        match bytes.get(colon) {
            Some(b':') => {}
            Some(_) => return Err(Unreadable::Syntax { at: colon }.into()),
            None => return Ok(Moved::Short(from)),
        }
        let value = space(bytes, colon + 1);
        if value == bytes.len() {
            return Ok(Moved::Short(from));
        }
        let alive = self.lead(&frame.alive, Place::Member(&name));
        self.thing(feed, from, value, Some((raw, &name)), alive)
    }

    fn lead(&self, alive: &[usize], place: Place<'_>) -> Vec<usize> {
        let depth = self.frames.len() - 1;
        let leads = |number: &&usize| self.outline.get(**number).is_some_and(|p| !through(&[p], depth, place).is_empty());
        alive.iter().filter(leads).copied().collect()
    }

    /// A value outside the list that begins at `at`, where these patterns are alive.
    fn thing(&mut self, feed: &mut Feed<'_, '_>, from: usize, at: usize, name: Named<'_>, alive: Vec<usize>) -> Result<Moved, CutError> {
        let depth = self.frames.len();
        let part = alive.iter().filter_map(|number| self.outline.get(*number)).find(|p| p.rule == Outer::Part);
        let (is_part, is_on_the_way) = (part.is_some_and(|p| p.names(depth)), part.is_some());
        let opening = match feed.bytes.get(at) {
            Some(b'{') => Some(Kind::Object),
            Some(b'[') => Some(Kind::Array),
            _ => None,
        };
        if is_part && matches!(*self.plan, ResponsePlan::Rows { .. }) {
            return match opening {
                Some(Kind::Array) => self.enter(at, Kind::Array, name, alive, true),
                _ => Err(Unreadable::NoRows.into()),
            };
        }
        if is_part {
            return if opening == Some(Kind::Object) { self.object(feed, from, at, name) } else { Err(Unreadable::TopLevel.into()) };
        }
        if let Some(kind) = opening.filter(|_| is_on_the_way) {
            let first = space(feed.bytes, at + 1);
            match feed.bytes.get(first) {
                None => return Ok(Moved::Short(from)),
                Some(b'}' | b']') => {}
                Some(_) => return self.enter(at, kind, name, alive, false),
            }
        }
        self.unit(feed, from, at, name, alive)
    }

    /// Notes a member's name in the innermost object.
    fn note_name(&mut self, name: Named<'_>, at: usize) -> Result<(), CutError> {
        let (Some(frame), Some((_, name))) = (self.frames.last_mut(), name) else { return Ok(()) };
        frame.names_bytes += name.len() + 64;
        if frame.names_bytes > NAMES_BYTES_MAX {
            return Err(Unreadable::TooLarge { max: NAMES_BYTES_MAX }.into());
        }
        if frame.names.insert(name.to_owned()) { Ok(()) } else { Err(Unreadable::DuplicateName { at }.into()) }
    }

    /// Begins something in the innermost container: what separates it, and its name.
    fn begin(&mut self, raw_name: Option<&str>) {
        if self.frames.last().is_some_and(|frame| frame.written) {
            self.out.push(b',');
        }
        if let Some(raw) = raw_name {
            self.out.extend_from_slice(raw.as_bytes());
            self.out.push(b':');
        }
    }

    /// Something in the innermost container has been passed; what went out of it begins at `mark`.
    fn step_over(&mut self, kept: bool, mark: usize) {
        if kept {
            if let Some(frame) = self.frames.last_mut() {
                (frame.written, frame.kept) = (true, true);
                frame.items += 1;
            }
        } else {
            self.out.truncate(mark);
            let is_positional = self.frames.last().is_some_and(|frame| frame.is_positional);
            if is_positional {
                self.begin(None);
                self.out.extend_from_slice(b"null");
            }
            if let Some(frame) = self.frames.last_mut() {
                frame.written |= is_positional;
                frame.items += 1;
            }
        }
        self.expects = if self.frames.is_empty() { Expects::End } else { Expects::Next };
    }

    /// Goes into a container that leads to the rows or the object, or into the list.
    fn enter(&mut self, at: usize, kind: Kind, name: Named<'_>, alive: Vec<usize>, is_list: bool) -> Result<Moved, CutError> {
        let depth = self.frames.len();
        if depth >= usize::from(self.reader.depth_max()) {
            return Err(Unreadable::TooDeep { max: self.reader.depth_max() }.into());
        }
        self.note_name(name, at)?;
        let outline = Arc::clone(&self.outline);
        let patterns = alive_of(&outline, &alive);
        let is_positional = kind == Kind::Array && !is_list && patterns.iter().any(|p| p.is_positional(depth));
        if !is_list {
            self.totals.pass(&patterns, depth);
        }
        let mark = (self.out.len(), self.held.len());
        self.begin(name.map(|(raw, _)| raw));
        self.out.push(if kind == Kind::Object { b'{' } else { b'[' });
        if is_list {
            self.found.list = true;
            self.frames.iter_mut().for_each(|frame| frame.kept = true);
        }
        self.frames.push(Frame {
            kind,
            is_list,
            is_positional,
            alive,
            name: name.map(|(_, name)| name.to_owned()),
            names: HashSet::new(),
            names_bytes: 0,
            items: 0,
            written: false,
            kept: is_list,
            mark,
        });
        self.expects = Expects::First;
        Ok(Moved::To(at + 1))
    }

    fn leave(&mut self, end: usize) -> Moved {
        if let Some(frame) = self.frames.pop() {
            let (opens, closes) = if frame.kind == Kind::Object { (b'{', b'}') } else { (b'[', b']') };
            // There always is a body.
            let is_all = self.frames.is_empty();
            if !frame.kept {
                self.out.truncate(frame.mark.0);
                self.removed |= self.held.drop_since(frame.mark.1);
            }
            if !frame.kept && is_all {
                self.out.push(opens);
            }
            if frame.kept || is_all {
                self.out.push(closes);
            }
            self.step_over(frame.kept || is_all, frame.mark.0);
        }
        Moved::To(end)
    }

    /// A value outside the list that is read whole.
    fn unit(&mut self, feed: &mut Feed<'_, '_>, from: usize, at: usize, name: Named<'_>, alive: Vec<usize>) -> Result<Moved, CutError> {
        let depth = self.frames.len();
        let end = match self.reader.value(feed.bytes, at, feed.is_last, self.depth(), At::default(), &Everything) {
            Ok(end) => end,
            Err(stop) => return short(stop, from),
        };
        self.note_name(name, end)?;
        let outline = Arc::clone(&self.outline);
        let patterns = alive_of(&outline, &alive);
        let value = self.reader.tape(feed.bytes).root()?;
        self.totals.see(value, &patterns, depth);
        if let ResponsePlan::Rows { rows, .. } = &*self.plan {
            self.found.list |=
                value.kind() == Kind::Array && value.is_void() && leads_to_lists(&rows.0, depth) && patterns.iter().any(|p| p.rule == Outer::Part);
        }
        let mut links = Vec::new();
        let path: Vec<_> = self.frames.iter().skip(1).map(|frame| frame.name.clone()).chain([name.map(|(_, name)| name.to_owned())]).collect();
        let path = if self.frames.is_empty() { Vec::new() } else { path };
        let tape = self.reader.tape(feed.bytes);
        let mut envelope = Envelope {
            notes: &mut self.notes,
            base: path.iter().map(|name| place(name.as_ref())).collect(),
            trail: Trail::default(),
            count: None,
            links: Links::Asked(&mut *feed.judge, &mut links),
            removed: false,
            corrected: false,
        };
        let mut text = String::new();
        let mut kept = envelope.value(tape.root()?, &patterns, depth, &mut text);
        let removed = envelope.removed;
        let kind = tape.root()?.kind();
        let may_change = patterns.iter().any(|p| p.rule == Outer::Count(CountRule::Rows));
        let in_array = self.frames.last().is_some_and(|frame| frame.kind == Kind::Array);
        if may_change && !in_array && !self.frames.is_empty() {
            // What goes out of it is found out later; its links have been asked for.
            self.held.keep(Held {
                at: self.out.len(),
                raw_name: name.map(|(raw, _)| raw.to_owned()).unwrap_or_default(),
                value: feed.bytes.get(at..end).unwrap_or_default().to_vec(),
                path,
                follows: self.frames.last().is_some_and(|frame| frame.written),
                alive,
                depth,
                links,
            })?;
            self.expects = Expects::Next;
            return Ok(Moved::To(end));
        }
        let mark = self.out.len();
        self.begin(name.map(|(raw, _)| raw));
        self.removed |= removed;
        if self.frames.is_empty() && !kept {
            // There always is a body.
            text = match kind {
                Kind::Object => "{}".to_owned(),
                Kind::Array => "[]".to_owned(),
                Kind::Null | Kind::Bool | Kind::Number | Kind::String => {
                    let is_list = matches!(*self.plan, ResponsePlan::Rows { .. });
                    return Err(if is_list { Unreadable::NoRows } else { Unreadable::TopLevel }.into());
                }
            };
            kept = true;
        }
        self.out.extend_from_slice(text.as_bytes());
        self.step_over(kept, mark);
        Ok(Moved::To(end))
    }

    /// Puts in what was kept back; with `None` its counts are left out.
    pub(super) fn settle(&mut self, count: Option<usize>) {
        let settled = self.held.settle(&mut self.out, &self.outline, &mut self.reader, &mut self.notes, count);
        self.removed |= settled.removed;
        self.corrected |= settled.corrected;
    }

    pub(super) fn rows_max(&self) -> usize {
        let ResponsePlan::Rows { rows_max: Some(max), .. } = &*self.plan else { return usize::MAX };
        usize::try_from(*max).unwrap_or(usize::MAX)
    }

    fn row(&mut self, feed: &mut Feed<'_, '_>, from: usize, at: usize) -> Result<Moved, CutError> {
        let end = match self.read(feed, at)? {
            Ok(end) => end,
            Err(stop) => return short(stop, from),
        };
        let mark = self.out.len();
        self.begin(None);
        self.rows.seen += 1;
        let outcome = if self.rows.seen <= self.rows_max() { self.cut(feed, at, &Whose::Named)? } else { Outcome::Refused };
        let goes = outcome == Outcome::Released;
        self.rows.released += usize::from(goes);
        if self.found.error {
            return Err(self.refused());
        }
        self.step_over(goes, mark);
        Ok(Moved::To(end))
    }

    fn object(&mut self, feed: &mut Feed<'_, '_>, from: usize, at: usize, name: Named<'_>) -> Result<Moved, CutError> {
        let ResponsePlan::Object { subject, .. } = *self.plan else { return Err(Unreadable::TopLevel.into()) };
        let end = match self.read(feed, at)? {
            Ok(end) => end,
            Err(stop) => return short(stop, from),
        };
        self.note_name(name, end)?;
        let whose = match subject {
            Subject::Answer => Whose::Named,
            Subject::Request => Whose::Requested(feed.judge.requested().ok_or(CutError::SubjectAbsent)?),
        };
        let mark = self.out.len();
        self.begin(name.map(|(raw, _)| raw));
        let outcome = self.cut(feed, at, &whose)?;
        self.found.object = Some(outcome);
        self.step_over(outcome == Outcome::Released, mark);
        Ok(Moved::To(end))
    }

    /// Reads a row or the object; where it ends.
    fn read(&mut self, feed: &Feed<'_, '_>, at: usize) -> Result<Result<usize, Stop>, CutError> {
        let shape = self.plan.shape().and_then(|shape| self.shapes.of(shape)).ok_or(Unreadable::TopLevel)?;
        let (depth, guide) = (self.depth(), Trodden { ways: &self.shapes.ways, habits: &self.habits });
        Ok(self.reader.value(feed.bytes, at, feed.is_last, depth, shape.root(), &guide))
    }

    /// Cuts what was read.
    fn cut(&mut self, feed: &mut Feed<'_, '_>, at: usize, whose: &Whose) -> Result<Outcome, CutError> {
        let shape = self.plan.shape().and_then(|shape| self.shapes.of(shape)).ok_or(Unreadable::TopLevel)?;
        let tape = self.reader.tape(feed.bytes);
        let value = tape.root()?;
        if !value.is_container() {
            return Ok(Outcome::NoSubject);
        }
        let mut cutter = Cutter {
            shapes: &self.shapes,
            tape,
            judge: feed.judge,
            selected_by: &self.selected_by,
            notes: &mut self.notes,
            known: &mut self.known,
            base: &self.base,
            trail: &mut self.trail,
            single: matches!(*self.plan, ResponsePlan::Object { .. }),
            error: false,
            unenforced: false,
        };
        let mut out = Out::new(feed.bytes, &mut self.out);
        out.start(at);
        let outcome = cutter.object(value, shape, whose, None, &mut out);
        self.found.error |= cutter.error;
        self.unenforced |= cutter.unenforced;
        out.flush();
        Ok(outcome)
    }

    fn depth(&self) -> u16 {
        u16::try_from(self.frames.len()).unwrap_or(u16::MAX)
    }
}

/// How many bytes there should be before a unit is read anew of which so many were not enough: the work for a unit grows with its
/// length, in how small pieces so ever it comes.
pub(super) const fn enough(bytes: usize) -> usize {
    bytes
        + match bytes {
            0..SMALL_UNIT_BYTES => 1,
            SMALL_UNIT_BYTES..PART_BYTES => bytes / 16,
            _ => bytes / 2,
        }
}

/// Whether an empty array at this depth stands where lists could have been: `groups[].rows[]` with `{"groups": []}`.
fn leads_to_lists(rows: &[Step], depth: usize) -> bool {
    let list = rows.strip_suffix(&[Step::Items]).unwrap_or(rows);
    list.get(depth) == Some(&Step::Items)
}

fn short(stop: Stop, from: usize) -> Result<Moved, CutError> {
    match stop {
        Stop::Incomplete => Ok(Moved::Short(from)),
        Stop::Unreadable(reason) => Err(reason.into()),
    }
}
