//! Which mapped path speaks for a place in a body. The longest one wins: more fixed steps first, then a path that ends here before
//! `**`, then `[2]` before `[]`, then the one listed first (rooms list closed rules before open ones).

use std::cmp::Ordering;

use super::json::{Kind, Value};
use crate::model::Step;

/// A mapped path and what it means.
#[derive(Debug)]
pub(super) struct Pattern<'p, R> {
    pub(super) steps: &'p [Step],
    pub(super) rule: R,
}

/// One step into a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'v> {
    Member(&'v str),
    Item(usize),
}

impl<R> Pattern<'_, R> {
    fn has_rest(&self) -> bool {
        self.steps.last() == Some(&Step::Rest)
    }

    /// Steps without `**`.
    fn fixed(&self) -> usize {
        self.steps.len() - usize::from(self.has_rest())
    }

    /// Whether the path leads on from `depth` through `place`.
    fn leads_through(&self, depth: usize, place: Place<'_>) -> bool {
        match (self.steps.get(depth), place) {
            (Some(Step::Member(name)), Place::Member(member)) => name == member,
            (Some(Step::Items), Place::Item(_)) | (Some(Step::Rest), _) => true,
            (Some(Step::Index(index)), Place::Item(item)) => usize::try_from(*index) == Ok(item),
            (Some(Step::Member(_) | Step::Items | Step::Index(_)), _) => false,
            (None, _) => self.has_rest(),
        }
    }

    /// Whether the path names the value at `depth` itself; `a.**` names `a` too.
    pub(super) fn names(&self, depth: usize) -> bool {
        self.steps.len() == depth || (self.has_rest() && self.fixed() <= depth)
    }

    /// Whether every place that `path` leads to is named by this pattern.
    pub(super) fn covers(&self, path: &[Step]) -> bool {
        let fixed = self.steps.iter().take(self.fixed());
        (path.len() == self.fixed() || (self.has_rest() && path.len() > self.fixed()))
            && fixed.zip(path).all(|(own, step)| own == step || (*own == Step::Items && matches!(step, Step::Index(_))))
    }

    pub(super) fn leads_deeper(&self, depth: usize) -> bool {
        self.has_rest() || self.steps.len() > depth
    }

    /// Whether the next step is one position of an array.
    pub(super) fn is_positional(&self, depth: usize) -> bool {
        matches!(self.steps.get(depth), Some(Step::Index(_)))
    }

    fn precedence(&self, other: &Self) -> Ordering {
        let is_index = |step: &Step| matches!(step, Step::Index(_));
        (self.fixed(), !self.has_rest())
            .cmp(&(other.fixed(), !other.has_rest()))
            .then_with(|| self.steps.iter().map(is_index).cmp(other.steps.iter().map(is_index)))
    }
}

/// The patterns of `alive` that lead on through `place`.
pub(super) fn through<'c, 'p, R>(alive: &[&'c Pattern<'p, R>], depth: usize, place: Place<'_>) -> Vec<&'c Pattern<'p, R>> {
    alive.iter().copied().filter(|p| p.leads_through(depth, place)).collect()
}

/// The pattern that speaks for the value at `depth`.
pub(super) fn speaking<'c, 'p, R>(alive: &[&'c Pattern<'p, R>], depth: usize) -> Option<&'c Pattern<'p, R>> {
    let named = alive.iter().copied().filter(|p| p.names(depth));
    named.reduce(|best, next| if next.precedence(best) == Ordering::Greater { next } else { best })
}

/// All values at a path without `**`, in the order of the body.
pub(super) fn find<'t>(value: Value<'t>, steps: &[Step]) -> Vec<Value<'t>> {
    let mut found = Vec::new();
    collect(value, steps, &mut found);
    found
}

fn collect<'t>(value: Value<'t>, steps: &[Step], found: &mut Vec<Value<'t>>) {
    let Some((step, rest)) = steps.split_first() else {
        found.push(value);
        return;
    };
    match step {
        Step::Member(name) => value.member(name).into_iter().for_each(|value| collect(value, rest, found)),
        Step::Items => value.items().for_each(|value| collect(value, rest, found)),
        Step::Index(index) => value.items().skip(*index as usize).take(1).for_each(|value| collect(value, rest, found)),
        Step::Rest => {}
    }
}

/// Writes an object or array with the members that `keep` wrote; false when nothing is left. In a `positional` array a withheld
/// element becomes `null`. A scalar is never written.
pub(super) fn emit<'t>(value: Value<'t>, positional: bool, out: &mut String, mut keep: impl FnMut(Place<'t>, Value<'t>, &mut String) -> bool) -> bool {
    let mut kept = false;
    match value.kind() {
        Kind::Object => {
            out.push('{');
            for member in value.members() {
                let mark = out.len();
                if kept {
                    out.push(',');
                }
                out.push_str(member.raw_name);
                out.push(':');
                if keep(Place::Member(member.name), member.value, out) {
                    kept = true;
                } else {
                    out.truncate(mark);
                }
            }
            out.push('}');
        }
        Kind::Array => {
            out.push('[');
            let mut written = false;
            for (index, item) in value.items().enumerate() {
                let mark = out.len();
                if written {
                    out.push(',');
                }
                let start = out.len();
                if keep(Place::Item(index), item, out) {
                    kept = true;
                    written = true;
                } else if positional {
                    out.truncate(start);
                    out.push_str("null");
                    written = true;
                } else {
                    out.truncate(mark);
                }
            }
            out.push(']');
        }
        Kind::Null | Kind::Bool | Kind::Number | Kind::String => {}
    }
    kept
}

/// Where a walk stands, for reports: member names that look like data are shown as `*`.
#[derive(Debug, Default)]
pub(super) struct Trail<'t> {
    /// Path of the place where the walk began.
    pub(super) base: String,
    pub(super) places: Vec<Place<'t>>,
}

impl Trail<'_> {
    pub(super) fn render(&self) -> String {
        let mut path = self.base.clone();
        for place in &self.places {
            match place {
                Place::Member(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(if looks_like_a_name(name) { name } else { "*" });
                }
                Place::Item(_) => path.push_str("[]"),
            }
        }
        path
    }
}

/// Members of a JSON object may be named by data (`{"ann@example.com": …}`, `{"0035g00000Abc12AAB": …}`), which must not be reported.
fn looks_like_a_name(name: &str) -> bool {
    let shown = name.strip_prefix(['@', '$', '_']).unwrap_or(name);
    (1..=48).contains(&shown.len())
        && shown.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.$".contains(&b))
        && shown.bytes().filter(u8::is_ascii_digit).count() <= 2
}
