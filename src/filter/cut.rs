//! Cutting an answer: finds the object or the rows, has each cut, and writes the envelope around them with what is declared of it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::json::{Kind, Sender, Value, parse};
use super::object::{Cutter, Cutters, Outcome, Whose};
use super::path::{Pattern, Trail, emit, find, speaking, through};
use super::report::Notes;
use super::{Filtered, Judge, Limits, Report, Unreadable};
use crate::model::{Category, CountRule, PathPattern, ResponsePlan, Shape, Step, Subject};

/// What goes out, and what was decided.
#[derive(Clone, Debug)]
pub struct Cut {
    pub filtered: Filtered,
    pub report: Report,
}

/// Why nothing goes out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CutError {
    #[error("the upstream's answer cannot be read: {0}")]
    Unreadable(#[from] Unreadable),
    #[error("the answer does not say whose it is; map `customer` in its shape")]
    SubjectAbsent,
    #[error("the answer is about another customer than the request")]
    SubjectMismatch,
    /// A single object: nothing personal in it is permitted, or a needed category is refused.
    #[error("nothing in the answer may be released")]
    Denied(Report),
    /// A member with `on_deny = "error"` is refused.
    #[error("a member is refused without which the answer must not go out")]
    OnDenyError(Report),
}

/// Cuts an answer to what was decided. `selected_by`: the categories by which the request selected or ordered rows.
///
/// # Errors
/// [`CutError`]; then no byte of the body may go out.
pub fn cut(
    body: &Bytes,
    plan: &ResponsePlan,
    shapes: &Cutters,
    limits: &Limits,
    selected_by: &[Category],
    judge: &mut dyn Judge,
) -> Result<Cut, CutError> {
    let (text, report) = match plan {
        ResponsePlan::Empty => return Ok(Cut { filtered: Filtered::empty(), report: Report::default() }),
        ResponsePlan::Free { .. } => return Err(Unreadable::ContentType.into()),
        ResponsePlan::Open { open } => open_members(parse(body, limits, Sender::Upstream)?.root()?, open)?,
        ResponsePlan::Object { at, shape, subject, open } => {
            let tape = parse(body, limits, Sender::Upstream)?;
            let cutter = Cutter { shapes, judge, selected_by, notes: Notes::default(), trail: Trail::default(), single: true, error: false };
            cut_object(tape.root()?, (at, open), shape, *subject, cutter)?
        }
        ResponsePlan::Rows { rows, shape, counts, open, rows_max } => {
            let tape = parse(body, limits, Sender::Upstream)?;
            let cutter = Cutter { shapes, judge, selected_by, notes: Notes::default(), trail: Trail::default(), single: false, error: false };
            cut_rows(tape.root()?, &RowsPlan { rows, shape, counts, open, rows_max: *rows_max }, cutter)?
        }
    };
    Ok(Cut { filtered: Filtered(Bytes::from(text)), report })
}

/// Cuts a body to members that carry no customer data.
///
/// # Errors
/// [`CutError::Unreadable`]
pub fn cut_open(body: &Bytes, open: &[PathPattern], limits: &Limits) -> Result<Filtered, CutError> {
    let (text, _) = open_members(parse(body, limits, Sender::Upstream)?.root()?, open)?;
    Ok(Filtered(Bytes::from(text)))
}

fn open_members(root: Value<'_>, open: &[PathPattern]) -> Result<(String, Report), CutError> {
    let nothing = match root.kind() {
        Kind::Object => "{}",
        Kind::Array => "[]",
        Kind::Null | Kind::Bool | Kind::Number | Kind::String => return Err(Unreadable::TopLevel.into()),
    };
    let patterns: Vec<_> = open.iter().map(|path| Pattern { steps: path.0.as_slice().into(), rule: Outer::Open }).collect();
    let mut envelope = Envelope::default();
    let mut out = String::new();
    if !envelope.value(root, &patterns.iter().collect::<Vec<_>>(), 0, &mut out) {
        nothing.clone_into(&mut out);
    }
    Ok((out, envelope.notes.into_report()))
}

fn cut_object<'t>(
    root: Value<'t>,
    (at, open): (&PathPattern, &[PathPattern]),
    shape: &Shape,
    subject: Subject,
    mut cutter: Cutter<'_, '_, 't>,
) -> Result<(String, Report), CutError> {
    let found = find(root, &at.0);
    let [value] = found[..] else {
        return Err(Unreadable::TopLevel.into());
    };
    if value.kind() != Kind::Object {
        return Err(Unreadable::TopLevel.into());
    }
    let whose = match subject {
        Subject::Answer => Whose::Named,
        Subject::Request => Whose::Requested(cutter.judge.requested().ok_or(CutError::SubjectAbsent)?),
    };
    let compiled = cutter.shapes.of(shape).ok_or(Unreadable::TopLevel)?;
    cutter.trail.base = at.to_string();
    let mut text = String::with_capacity(value.raw().len());
    let outcome = cutter.object(value, compiled, &whose, "", &mut text);
    let error = cutter.error;
    if error {
        cutter.notes.release_nothing();
    }
    let mut envelope = Envelope { notes: cutter.notes, parts: VecDeque::from([text]), ..Envelope::default() };
    let mut out = String::new();
    let open = open.iter().map(|path| Pattern { steps: path.0.as_slice().into(), rule: Outer::Open });
    let patterns: Vec<_> = std::iter::once(Pattern { steps: at.0.as_slice().into(), rule: Outer::Part }).chain(open).collect();
    envelope.value(root, &patterns.iter().collect::<Vec<_>>(), 0, &mut out);
    let mut report = envelope.notes.into_report();
    match outcome {
        Outcome::NoSubject => Err(CutError::SubjectAbsent),
        Outcome::Foreign => Err(CutError::SubjectMismatch),
        Outcome::Refused => Err(CutError::Denied(report)),
        Outcome::Released if error => Err(CutError::OnDenyError(report)),
        Outcome::Released => {
            report.rows = 1;
            Ok((out, report))
        }
    }
}

struct RowsPlan<'p> {
    rows: &'p PathPattern,
    shape: &'p Shape,
    counts: &'p [(PathPattern, CountRule)],
    open: &'p [PathPattern],
    rows_max: Option<u32>,
}

fn cut_rows<'t>(root: Value<'t>, plan: &RowsPlan<'_>, mut cutter: Cutter<'_, '_, 't>) -> Result<(String, Report), CutError> {
    let Some((Step::Items, list)) = plan.rows.0.split_last() else {
        return Err(Unreadable::NoRows.into());
    };
    let lists = find(root, list);
    if lists.is_empty() && !leads_to_empty_array(root, list) {
        return Err(Unreadable::NoRows.into());
    }
    let compiled = cutter.shapes.of(plan.shape).ok_or(Unreadable::TopLevel)?;
    cutter.trail.base = plan.rows.to_string();
    let rows_max = plan.rows_max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
    let (mut seen, mut released) = (0_usize, 0_usize);
    let mut parts = VecDeque::new();
    for list in lists {
        if list.kind() != Kind::Array {
            return Err(Unreadable::NoRows.into());
        }
        let mut part = String::new();
        emit(list, false, &mut part, |_place, row, out| {
            seen += 1;
            let goes = seen <= rows_max && row.is_container() && cutter.object(row, compiled, &Whose::Named, "", out) == Outcome::Released;
            released += usize::from(goes);
            goes
        });
        parts.push_back(part);
    }
    if cutter.error {
        cutter.notes.release_nothing();
        let dropped = u32::try_from(seen).unwrap_or(u32::MAX);
        return Err(CutError::OnDenyError(Report { dropped, ..cutter.notes.into_report() }));
    }
    let counted = plan.counts.iter().map(|(path, rule)| Pattern { steps: path.0.as_slice().into(), rule: Outer::Count(*rule) });
    let open = plan.open.iter().map(|path| Pattern { steps: path.0.as_slice().into(), rule: Outer::Open });
    let patterns: Vec<_> = std::iter::once(Pattern { steps: list.into(), rule: Outer::Part }).chain(counted).chain(open).collect();
    let whole = holds_the_whole_list(root, plan.counts, seen) && seen <= rows_max;
    let mut envelope = Envelope { notes: cutter.notes, parts, count: whole.then_some(released), ..Envelope::default() };
    let mut out = String::with_capacity(root.raw().len());
    envelope.value(root, &patterns.iter().collect::<Vec<_>>(), 0, &mut out);
    let mut report = envelope.notes.into_report();
    report.rows = u32::try_from(released).unwrap_or(u32::MAX);
    report.dropped = u32::try_from(seen - released).unwrap_or(u32::MAX);
    report.counts_removed = envelope.removed;
    report.counts_corrected = envelope.corrected;
    Ok((out, report))
}

/// `groups[].rows[]` with `{"groups": []}`: the list is there, it is empty.
fn leads_to_empty_array(root: Value<'_>, list: &[Step]) -> bool {
    let outer = list.iter().position(|step| *step == Step::Items).and_then(|first| list.get(..first));
    outer.is_some_and(|outer| find(root, outer).iter().any(|v| v.kind() == Kind::Array && v.is_void()))
}

/// Every count equals the number of rows, and nothing that is removed could point to another page.
fn holds_the_whole_list(root: Value<'_>, counts: &[(PathPattern, CountRule)], rows: usize) -> bool {
    let rows = rows.to_string();
    counts.iter().all(|(path, rule)| {
        let steps = path.0.strip_suffix(&[Step::Rest]).unwrap_or(&path.0);
        find(root, steps).iter().all(|v| match rule {
            CountRule::Rows => v.raw() == rows,
            CountRule::Remove => v.is_void() || v.raw() == "false" || v.raw() == "\"\"",
            CountRule::Free => true,
        })
    })
}

/// What a place beside the rows or the object is.
#[derive(Clone, Copy, Debug)]
enum Outer {
    /// The list or the object, already cut.
    Part,
    Count(CountRule),
    Open,
}

/// Writes the envelope.
#[derive(Default)]
struct Envelope<'c, 't> {
    notes: Notes<'c>,
    trail: Trail<'t>,
    /// In the order of the body.
    parts: VecDeque<String>,
    /// The number that counts are set to; `None`: they are removed.
    count: Option<usize>,
    removed: bool,
    corrected: bool,
}

impl<'t> Envelope<'_, 't> {
    fn value(&mut self, value: Value<'t>, alive: &[&Pattern<'_, Outer>], depth: usize, out: &mut String) -> bool {
        let is_container = value.is_container();
        // Nothing declared beside the rows may speak for them or for what holds them.
        let rule = match alive.iter().find(|p| matches!(p.rule, Outer::Part)) {
            Some(part) => part.names(depth).then_some(Outer::Part),
            None => speaking(alive, depth).map(|p| p.rule),
        };
        match rule {
            Some(Outer::Part) => {
                out.push_str(&self.parts.pop_front().unwrap_or_default());
                true
            }
            Some(Outer::Count(rule)) => self.count(value, rule, out),
            Some(Outer::Open) if !is_container || value.is_void() => {
                out.push_str(value.raw());
                true
            }
            None if value.is_void() && !alive.is_empty() => {
                let harmless = alive.iter().all(|p| matches!(p.rule, Outer::Open | Outer::Part | Outer::Count(CountRule::Free)));
                if harmless {
                    out.push_str(value.raw());
                }
                harmless
            }
            Some(Outer::Open) | None => {
                if !is_container || !alive.iter().any(|p| p.leads_deeper(depth)) {
                    let Self { notes, trail, .. } = self;
                    notes.drift(|| trail.render());
                    return false;
                }
                let positional = alive.iter().any(|p| p.is_positional(depth));
                emit(value, positional, out, |place, child, out| {
                    self.trail.places.push(place);
                    let kept = self.value(child, &through(alive, depth, place), depth + 1, out);
                    self.trail.places.pop();
                    kept
                })
            }
        }
    }

    fn count(&mut self, value: Value<'_>, rule: CountRule, out: &mut String) -> bool {
        let text = match (rule, self.count) {
            (CountRule::Free, _) => value.raw().to_owned(),
            (CountRule::Rows, Some(count)) => count.to_string(),
            (CountRule::Rows, None) | (CountRule::Remove, _) => {
                self.removed = true;
                return false;
            }
        };
        self.corrected |= text != value.raw();
        out.push_str(&text);
        true
    }
}
