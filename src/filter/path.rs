//! Which mapped path speaks for a place in a body. The longest one wins: more fixed steps first, then a path that ends here before
//! `**`, then `[2]` before `[]`, then the one listed first (rooms list closed rules before open ones).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::habit::{Habit, Habits, name_hash};
use super::json::{Kind, Value};
use super::reader::Guide;
use crate::model::Step;

/// A mapped path and what it means.
#[derive(Debug)]
pub(super) struct Pattern<'p, R> {
    pub(super) steps: Cow<'p, [Step]>,
    pub(super) rule: R,
}

/// One step into a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'v> {
    /// By its unescaped name.
    Member(&'v str),
    Item(usize),
}

impl<R> Pattern<'_, R> {
    pub(super) fn into_owned(self) -> Pattern<'static, R> {
        Pattern { steps: self.steps.into_owned().into(), rule: self.rule }
    }

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

    /// The same for a member of which no path says the name.
    fn leads_anywhere(&self, depth: usize) -> bool {
        matches!(self.steps.get(depth), Some(Step::Rest)) || (depth >= self.steps.len() && self.has_rest())
    }

    /// Whether the path names the value at `depth` itself; `a.**` names `a` too.
    pub(super) fn names(&self, depth: usize) -> bool {
        self.steps.len() == depth || (self.has_rest() && self.fixed() <= depth)
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

/// A place among the [`Ways`] of some patterns. The default is where no path leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At(pub(super) u32);

/// How what stands in a container is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enter {
    /// Its members lead on from this place.
    Inside(At),
    /// No path tells them apart: it is checked, and kept or left out as one.
    Whole,
}

/// Patterns worked out beforehand: which of them lead on from a place, and which speaks there, is looked up, not searched for.
#[derive(Debug)]
pub(super) struct Ways {
    ways: Vec<Way>,
}

#[derive(Debug, Default)]
struct Way {
    /// The patterns that lead here, by their number; those that name this place; the one that speaks for it.
    alive: Vec<usize>,
    names: Vec<usize>,
    speaks: Option<usize>,
    leads_deeper: bool,
    is_positional: bool,
    /// One rule speaks for everything below.
    absorbs: bool,
    /// Only paths with `**` lead here, and all of them cover the place; it lies below the one that speaks for it.
    is_covered: bool,
    is_below: bool,
    /// Where the objects begin that are embedded here.
    embedded: Option<At>,
    /// By name (ascending by hash), by position, and all others.
    members: Vec<(u32, String, At)>,
    any_member: At,
    positions: Vec<(usize, At)>,
    any_position: At,
}

impl Default for Ways {
    fn default() -> Self {
        Self { ways: vec![Way::default()] }
    }
}

impl Ways {
    /// Works out more patterns; where all of them begin, and where their places end. `speaks`: whether a pattern says what becomes of
    /// the place that it names. `absorbs`: whether one that ends with `**` says the same of everything below.
    pub(super) fn add<R>(
        &mut self,
        patterns: &[Pattern<'_, R>],
        speaks: impl Fn(&Pattern<'_, R>) -> bool,
        absorbs: impl Fn(&Pattern<'_, R>) -> bool,
    ) -> (At, At) {
        // Beyond the longest path all depths are alike.
        let deepest = patterns.iter().map(|p| p.steps.len()).max().unwrap_or_default() + 1;
        let begin = self.next();
        let mut known: BTreeMap<(Vec<usize>, usize), At> = BTreeMap::new();
        let mut open = vec![((0..patterns.len()).collect::<Vec<_>>(), 0)];
        known.extend(open.iter().cloned().map(|key| (key, begin)));
        let mut done = 0;
        while let Some((alive, depth)) = open.get(done).cloned() {
            done += 1;
            let here: Vec<(usize, &Pattern<'_, R>)> = alive.iter().filter_map(|n| Some((*n, patterns.get(*n)?))).collect();
            let mut to = |leads: &dyn Fn(&Pattern<'_, R>) -> bool| {
                let alive: Vec<usize> = here.iter().filter(|(_, p)| leads(p)).map(|(n, _)| *n).collect();
                if alive.is_empty() {
                    return At::default();
                }
                let next = At(begin.0 + u32::try_from(known.len()).unwrap_or(u32::MAX));
                *known.entry((alive, (depth + 1).min(deepest))).or_insert_with_key(|key| {
                    open.push(key.clone());
                    next
                })
            };
            let named = |step: &Step| if let Step::Member(name) = step { Some(name.clone()) } else { None };
            let names: BTreeSet<String> = here.iter().filter_map(|(_, p)| p.steps.get(depth).and_then(named)).collect();
            let numbered = |step: &Step| if let Step::Index(index) = step { Some(*index as usize) } else { None };
            let positions: BTreeSet<usize> = here.iter().filter_map(|(_, p)| p.steps.get(depth).and_then(numbered)).collect();
            let member = |text: String| {
                let at = to(&|p| p.leads_through(depth, Place::Member(&text)));
                (name_hash(&text), text, at)
            };
            let mut members: Vec<_> = names.into_iter().map(member).collect();
            members.sort_by_key(|(hash, ..)| *hash);
            let any_member = to(&|p| p.leads_anywhere(depth));
            let positions = positions.into_iter().map(|index| (index, to(&|p| p.leads_through(depth, Place::Item(index))))).collect();
            let any_position = to(&|p| p.leads_through(depth, Place::Item(usize::MAX)));
            let named = here.iter().filter(|(_, p)| p.names(depth));
            let best = named
                .clone()
                .filter(|(_, p)| speaks(p))
                .copied()
                .reduce(|best, next| if next.1.precedence(best.1) == Ordering::Greater { next } else { best });
            self.ways.push(Way {
                names: named.map(|(n, _)| *n).collect(),
                speaks: best.map(|(n, _)| n),
                leads_deeper: here.iter().any(|(_, p)| p.leads_deeper(depth)),
                is_positional: here.iter().any(|(_, p)| speaks(p) && p.is_positional(depth)),
                absorbs: !here.is_empty() && here.iter().all(|(_, p)| p.has_rest() && p.fixed() <= depth && absorbs(p)),
                is_covered: here.iter().filter(|(_, p)| speaks(p)).all(|(_, p)| p.has_rest() && p.fixed() <= depth),
                is_below: best.is_some_and(|(_, p)| p.has_rest() && p.fixed() < depth),
                embedded: None,
                members,
                any_member,
                positions,
                any_position,
                alive,
            });
        }
        (begin, self.next())
    }

    fn next(&self) -> At {
        At(u32::try_from(self.ways.len()).unwrap_or(u32::MAX))
    }

    /// What stands at a place, object or array of objects, is of another shape, which begins at `root`.
    pub(super) fn embed(&mut self, at: At, root: At) {
        // An array's items have a place of their own, in which no array is entered.
        let item = self.next();
        self.ways.push(Way { embedded: Some(root), ..Way::default() });
        if let Some(way) = self.ways.get_mut(at.0 as usize) {
            way.embedded = Some(root);
            way.any_position = item;
            way.positions.clear();
        }
    }

    fn way(&self, at: At) -> Option<&Way> {
        self.ways.get(at.0 as usize)
    }

    pub(super) fn through(&self, at: At, place: Place<'_>) -> At {
        match place {
            Place::Member(name) => self.member(at, name_hash(name), name),
            Place::Item(index) => self.item(at, index),
        }
    }

    pub(super) fn speaks(&self, at: At) -> Option<usize> {
        self.way(at)?.speaks
    }

    /// The patterns that name the place itself.
    pub(super) fn names(&self, at: At) -> &[usize] {
        self.way(at).map_or(&[], |way| &way.names)
    }

    /// The patterns that lead to the place.
    pub(super) fn alive(&self, at: At) -> &[usize] {
        self.way(at).map_or(&[], |way| &way.alive)
    }

    pub(super) fn leads_deeper(&self, at: At) -> bool {
        self.way(at).is_some_and(|way| way.leads_deeper)
    }

    pub(super) fn absorbs(&self, at: At) -> bool {
        self.way(at).is_some_and(|way| way.absorbs)
    }

    pub(super) fn is_covered(&self, at: At) -> bool {
        self.way(at).is_some_and(|way| way.is_covered)
    }

    pub(super) fn is_below(&self, at: At) -> bool {
        self.way(at).is_some_and(|way| way.is_below)
    }

    pub(super) fn is_positional(&self, at: At) -> bool {
        self.way(at).is_some_and(|way| way.is_positional)
    }
}

impl Ways {
    fn member(&self, at: At, hash: u32, name: &str) -> At {
        let Some(way) = self.way(at) else { return At::default() };
        let first = way.members.partition_point(|(known, ..)| *known < hash);
        let alike = way.members.iter().skip(first).take_while(|(known, ..)| *known == hash);
        alike.into_iter().find(|(_, text, _)| text == name).map_or(way.any_member, |(.., at)| *at)
    }

    fn item(&self, at: At, index: usize) -> At {
        let Some(way) = self.way(at) else { return At::default() };
        way.positions.iter().find(|(known, _)| *known == index).map_or(way.any_position, |(_, at)| *at)
    }

    fn enter(&self, at: At, kind: Kind) -> Enter {
        let Some(way) = self.way(at) else { return Enter::Whole };
        match (way.embedded, kind) {
            (Some(root), Kind::Object) => Enter::Inside(root),
            (Some(_), _) if way.any_position != At::default() => Enter::Inside(at),
            (Some(_), _) => Enter::Whole,
            (None, _) if way.leads_deeper && !way.absorbs => Enter::Inside(at),
            (None, _) => Enter::Whole,
        }
    }
}

/// The ways, with what was learnt of bodies that took them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trodden<'w> {
    pub(super) ways: &'w Ways,
    pub(super) habits: &'w Habits,
}

impl Guide for Trodden<'_> {
    fn member(&self, at: At, hash: u32, name: &str) -> At {
        self.ways.member(at, hash, name)
    }

    fn item(&self, at: At, index: usize) -> At {
        self.ways.item(at, index)
    }

    fn enter(&self, at: At, kind: Kind) -> Enter {
        self.ways.enter(at, kind)
    }

    #[inline]
    fn habit(&self, at: At) -> Option<&Habit> {
        self.habits.get(at.0 as usize)?.as_deref()
    }
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
pub(super) fn emit<'t>(
    value: Value<'t>,
    positional: bool,
    out: &mut String,
    mut keep: impl FnMut(Place<'t>, Value<'t>, &mut String) -> bool,
) -> bool {
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

/// Where a walk stands, for reports.
#[derive(Debug, Default)]
pub(super) struct Trail<'t> {
    pub(super) places: Vec<Place<'t>>,
}

impl Trail<'_> {
    pub(super) fn render(&self) -> String {
        render(String::new(), self.places.iter().copied())
    }
}

/// A path for reports, `base` and these places: member names that look like data are shown as `*`.
pub(super) fn render<'t>(base: String, places: impl IntoIterator<Item = Place<'t>>) -> String {
    places.into_iter().fold(base, |mut path, place| {
        match place {
            Place::Member(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(if looks_like_a_name(name) { name } else { "*" });
            }
            Place::Item(_) => path.push_str("[]"),
        }
        path
    })
}

/// Members of a JSON object may be named by data (`{"ann@example.com": …}`, `{"0035g00000Abc12AAB": …}`), which must not be reported.
pub(super) fn looks_like_a_name(name: &str) -> bool {
    let shown = name.strip_prefix(['@', '$', '_']).unwrap_or(name);
    (1..=48).contains(&shown.len())
        && shown.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.$".contains(&b))
        && shown.bytes().filter(u8::is_ascii_digit).count() <= 2
}
