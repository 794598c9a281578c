//! An answer on its way through the cutter: bytes come in as they arrive, what is permitted of them goes out in parts.
//!
//! Around the rows it goes member by member, within them row by row: a **unit** is read whole, cut, and forgotten. So memory holds
//! one unit and one part, however long the list is. What ends in the middle of a unit is left to be fed again with more behind it.
//!
//! A count may stand before the rows that it counts. It is kept back until the part is closed, and goes out corrected only if the
//! list has ended by then and was whole; else it is left out.

mod walk;

use std::collections::{BTreeSet, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use super::compiled::{Cutters, Known};
use super::cut::{Cut, CutError};
use super::envelope::{Outline, Totals, outline};
use super::habit::Habits;
use super::held::Backlog;
use super::json::{Kind, Sender, Unreadable};
use super::object::Outcome;
use super::reader::{Reader, begins_byte_order_mark, no_byte_order_mark};
use super::report::Notes;
use super::{Filtered, Judge, Limits, Report};
use crate::model::{Category, PathPattern, ResponsePlan};
use walk::{Feed, Moved, enough};

/// A part is closed when it has so many bytes, or so many rows, or so many bytes were read for it.
const PART_BYTES: usize = 256 * 1024;
const PART_ROWS: usize = 8_192;
const PART_SOURCE_BYTES: usize = 1024 * 1024;

/// An answer on its way. `P` and `C` are how it holds its plan and the shapes.
#[derive(Debug)]
pub struct Flow<P, C> {
    plan: P,
    shapes: C,
    limits: Limits,
    selected_by: Vec<Category>,
    outline: Arc<Outline>,
    /// Where the rows or the object stand, for reports.
    base: PathPattern,
    reader: Reader,
    habits: Arc<Habits>,
    known: Known,
    trail: Vec<usize>,
    /// Containers around what comes next, the outermost first.
    frames: Vec<Frame>,
    expects: Expects,
    /// Bytes done with before those that are being fed; of them those of the parts taken.
    offset: usize,
    taken: usize,
    /// How many bytes there should be before it is fed again.
    wants: usize,
    notes: Notes,
    out: Vec<u8>,
    held: Backlog,
    totals: Totals,
    rows: Counted,
    /// Rows of the parts taken.
    told: Counted,
    found: Found,
    /// What was withheld from the parts taken, if the answer tells it.
    withheld: BTreeSet<String>,
    removed: bool,
    corrected: bool,
    unenforced: bool,
    is_one_part: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    Root,
    /// The first thing in a container, or its end.
    First,
    /// What comes after a thing in a container.
    Next,
    /// Nothing but white space.
    End,
}

/// A container that leads to the rows or the object, or the list itself.
#[derive(Debug)]
struct Frame {
    kind: Kind,
    is_list: bool,
    is_positional: bool,
    /// Patterns that are alive in it, by number.
    alive: Vec<usize>,
    /// The name under which it stands; an item has none.
    name: Option<String>,
    names: HashSet<String>,
    names_bytes: usize,
    /// How many things it had so far.
    items: usize,
    /// Something of it goes out, so that a comma comes next; something that was kept, so that it cannot be left out.
    written: bool,
    kept: bool,
    /// Where it begins among what goes out, with what separates it from what stands before; how much is held there.
    mark: (usize, usize),
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    seen: usize,
    released: usize,
}

/// What was found of that which the plan is about.
#[derive(Clone, Debug, Default)]
struct Found {
    /// The list, or the place where there could have been one.
    list: bool,
    /// What became of the object.
    object: Option<Outcome>,
    error: bool,
}

impl<P: Deref<Target = ResponsePlan>, C: Deref<Target = Cutters>> Flow<P, C> {
    /// `selected_by`: the categories by which the request selected or ordered rows.
    #[must_use]
    pub fn new(plan: P, shapes: C, limits: &Limits, selected_by: &[Category]) -> Self {
        Self {
            limits: *limits,
            selected_by: selected_by.to_vec(),
            outline: Arc::new(outline(&plan)),
            base: base(&plan),
            reader: Reader::new(Sender::Upstream, limits.depth_max),
            habits: shapes.habits(),
            known: Known::default(),
            trail: Vec::new(),
            frames: Vec::new(),
            expects: Expects::Root,
            offset: 0,
            taken: 0,
            wants: 0,
            notes: Notes::default(),
            out: Vec::new(),
            held: Backlog::default(),
            totals: Totals::default(),
            rows: Counted::default(),
            told: Counted::default(),
            withheld: BTreeSet::new(),
            found: Found { list: matches!(*plan, ResponsePlan::Stream { .. }), ..Found::default() },
            removed: false,
            corrected: false,
            unenforced: false,
            is_one_part: false,
            plan,
            shapes,
        }
    }

    /// Cuts a body that is there as a whole, into one part.
    ///
    /// # Errors
    /// [`CutError`]; then no byte of it may go out.
    pub(super) fn whole(&mut self, body: &[u8], judge: &mut dyn Judge) -> Result<(), CutError> {
        self.is_one_part = true;
        self.out.reserve(body.len());
        self.feed(body, true, judge).map(|_all| ())
    }

    /// Cuts what has arrived, and says how many of these bytes are done with; the others are to be fed again, with those that
    /// come behind them. Stops early when a part is full. `is_last`: no more bytes will come.
    ///
    /// # Errors
    /// [`CutError`]; then no byte of what was not released before may go out.
    pub fn feed(&mut self, bytes: &[u8], is_last: bool, judge: &mut dyn Judge) -> Result<usize, CutError> {
        let mut feed = Feed { bytes, is_last, judge };
        let mut at = 0;
        self.wants = 0;
        if self.offset == 0 {
            no_byte_order_mark(bytes)?;
            // Less than all of one may have come.
            if !is_last && begins_byte_order_mark(bytes) {
                self.wants = bytes.len() + 1;
                return Ok(0);
            }
        }
        while !self.is_full(at) {
            if self.out.len() > self.limits.body_bytes_max.max(2 * PART_BYTES) {
                return Err(Unreadable::TooLarge { max: self.limits.body_bytes_max }.into());
            }
            match self.step(&mut feed, at).map_err(|error| self.placed(error))? {
                Moved::To(next) if next == bytes.len() && self.expects == Expects::End => {
                    at = next;
                    break;
                }
                Moved::To(next) => at = next,
                Moved::Short(from) if is_last => {
                    return Err(self.placed(Unreadable::Syntax { at: bytes.len().max(from) }.into()));
                }
                Moved::Short(from) => {
                    at = from;
                    if bytes.len() - from > self.limits.body_bytes_max {
                        return Err(Unreadable::TooLarge { max: self.limits.body_bytes_max }.into());
                    }
                    self.wants = enough(bytes.len() - from);
                    break;
                }
            }
        }
        self.offset += at;
        Ok(at)
    }

    /// Whether a part should be taken before more is fed.
    #[must_use]
    pub fn has_part(&self) -> bool {
        self.is_full(0)
    }

    fn is_full(&self, fed: usize) -> bool {
        let rows = self.rows.seen - self.told.seen;
        !self.is_one_part
            && (self.out.len() >= PART_BYTES || rows >= PART_ROWS || self.offset - self.taken + fed >= PART_SOURCE_BYTES)
            && self.can_part()
    }

    /// Whether what there is may go out while more is to come.
    #[must_use]
    pub fn can_part(&self) -> bool {
        // After the end nothing but white space may come, which is to be seen before what there is goes out; and what may yet be left
        // out as a whole must not have gone out in part.
        self.expects != Expects::End && self.rows.seen > self.told.seen && self.found.list && self.frames.iter().all(|frame| frame.kept)
    }

    /// How many bytes there should be before it is fed again: a unit that comes in small pieces is not read anew with each.
    #[must_use]
    pub const fn wants(&self) -> usize {
        self.wants
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.expects == Expects::End
    }

    /// What may go out of the rows so far, while more are to come.
    pub fn part(&mut self) -> Cut {
        self.settle(None);
        let report = self.report();
        if self.plan.withheld_as().is_some() {
            self.withheld.extend(report.withheld.iter().cloned());
        }
        self.close(report)
    }

    /// What is left to go out, after the last byte.
    ///
    /// # Errors
    /// When the body was not what the plan says.
    pub fn finish(&mut self) -> Result<Cut, CutError> {
        if self.expects != Expects::End {
            return Err(Unreadable::Syntax { at: self.offset }.into());
        }
        self.shapes.learn(self.reader.learnt());
        match &*self.plan {
            ResponsePlan::Rows { .. } if !self.found.list => return Err(Unreadable::NoRows.into()),
            ResponsePlan::Rows { .. } => {
                let whole = self.totals.are_of(self.rows.seen) && self.rows.seen <= self.rows_max();
                self.settle(whole.then_some(self.rows.released));
            }
            ResponsePlan::Object { .. } => self.object_outcome()?,
            ResponsePlan::Open { .. } | ResponsePlan::Free { .. } | ResponsePlan::Empty | ResponsePlan::Stream { .. } => {}
        }
        let report = self.report();
        self.tell(&report);
        Ok(self.close(report))
    }

    /// Adds the member that lists what was withheld from all of the answer.
    fn tell(&mut self, report: &Report) {
        let Some(name) = self.plan.withheld_as() else { return };
        // The configuration names it only where the body is an object.
        if self.out.pop_if(|last| *last == b'}').is_none() {
            return;
        }
        let is_first = self.out.trim_ascii_end().ends_with(b"{");
        let mut withheld = std::mem::take(&mut self.withheld);
        withheld.extend(report.withheld.iter().cloned());
        let told = serde_json::json!(withheld);
        self.out.extend_from_slice(format!("{}{}:{told}}}", if is_first { "" } else { "," }, serde_json::json!(name)).as_bytes());
    }

    fn object_outcome(&mut self) -> Result<(), CutError> {
        let mut report = || std::mem::take(&mut self.notes).into_report(&self.shapes);
        match (self.found.object, self.found.error) {
            (None, _) => Err(Unreadable::TopLevel.into()),
            (Some(Outcome::NoSubject), _) => Err(CutError::SubjectAbsent),
            (Some(Outcome::Foreign), _) => Err(CutError::SubjectMismatch),
            (Some(Outcome::Refused), _) => Err(CutError::Denied(report())),
            (Some(Outcome::Released), true) => {
                self.notes.release_nothing();
                Err(CutError::OnDenyError(std::mem::take(&mut self.notes).into_report(&self.shapes)))
            }
            (Some(Outcome::Released), false) => {
                self.rows = Counted { seen: 1, released: 1 };
                Ok(())
            }
        }
    }

    fn report(&mut self) -> Report {
        let mut report = std::mem::take(&mut self.notes).into_report(&self.shapes);
        let (seen, released) = (self.rows.seen - self.told.seen, self.rows.released - self.told.released);
        report.rows = u32::try_from(released).unwrap_or(u32::MAX);
        report.dropped = u32::try_from(seen - released).unwrap_or(u32::MAX);
        report.counts_removed = std::mem::take(&mut self.removed);
        report.counts_corrected = std::mem::take(&mut self.corrected);
        report.unenforced = std::mem::take(&mut self.unenforced);
        report
    }

    fn close(&mut self, report: Report) -> Cut {
        (self.told, self.taken) = (self.rows, self.offset);
        Cut { filtered: Filtered(Bytes::from(std::mem::take(&mut self.out))), report }
    }

    /// Errors name the byte of the whole body.
    fn placed(&self, error: CutError) -> CutError {
        let base = self.offset;
        let CutError::Unreadable(reason) = error else { return error };
        CutError::Unreadable(match reason {
            Unreadable::NotUtf8 { at } => Unreadable::NotUtf8 { at: base + at },
            Unreadable::Syntax { at } => Unreadable::Syntax { at: base + at },
            Unreadable::Escape { at } => Unreadable::Escape { at: base + at },
            Unreadable::DuplicateName { at } => Unreadable::DuplicateName { at: base + at },
            Unreadable::NulInName { at } => Unreadable::NulInName { at: base + at },
            Unreadable::Trailing { at } => Unreadable::Trailing { at: base + at },
            other @ (Unreadable::TooLarge { .. }
            | Unreadable::TooDeep { .. }
            | Unreadable::ByteOrderMark
            | Unreadable::TopLevel
            | Unreadable::NoRows
            | Unreadable::Id
            | Unreadable::ContentType) => other,
        })
    }
}

/// Where the rows or the object stand.
fn base(plan: &ResponsePlan) -> PathPattern {
    match plan {
        ResponsePlan::Object { at, .. } => at.clone(),
        ResponsePlan::Rows { rows, .. } => rows.clone(),
        ResponsePlan::Empty | ResponsePlan::Free { .. } | ResponsePlan::Open { .. } | ResponsePlan::Stream { .. } => PathPattern::default(),
    }
}
