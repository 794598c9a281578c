//! What stands beside the rows or the object of an answer: counts, links, and members declared open.

use super::Judge;
use super::json::Value;
use super::path::{Pattern, Place, Trail, emit, find, render, speaking, through};
use super::report::Notes;
use crate::model::{CountRule, PathPattern, ResponsePlan, Step};

/// What a place outside the rows or the object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outer {
    /// The list or the object itself.
    Part,
    Count(CountRule),
    Open,
}

pub(super) type Outline = Vec<Pattern<'static, Outer>>;

/// The mapped paths outside the rows or the object.
pub(super) fn outline(plan: &ResponsePlan) -> Outline {
    let pattern = |path: &'_ [Step], rule| Pattern { steps: path.to_vec().into(), rule };
    let all = |open: &[PathPattern]| open.iter().map(|path| pattern(&path.0, Outer::Open)).collect::<Vec<_>>();
    match plan {
        ResponsePlan::Empty | ResponsePlan::Free { .. } | ResponsePlan::Stream { .. } => Vec::new(),
        ResponsePlan::Open { open } => all(open),
        ResponsePlan::Object { at, open, .. } => std::iter::once(pattern(&at.0, Outer::Part)).chain(all(open)).collect(),
        ResponsePlan::Rows { rows, counts, open, .. } => {
            let list = rows.0.strip_suffix(&[Step::Items]).unwrap_or(&rows.0);
            let counted = counts.iter().map(|(path, rule)| pattern(&path.0, Outer::Count(*rule)));
            std::iter::once(pattern(list, Outer::Part)).chain(counted).chain(all(open)).collect()
        }
    }
}

/// The patterns of these numbers.
pub(super) fn alive_of<'o>(outline: &'o Outline, alive: &[usize]) -> Vec<&'o Pattern<'static, Outer>> {
    alive.iter().filter_map(|number| outline.get(*number)).collect()
}

/// A step by its name; items have none.
pub(super) fn place(name: Option<&String>) -> Place<'_> {
    name.map_or(Place::Item(0), |name| Place::Member(name))
}

/// Whether the answer holds the whole list: every count equals the number of rows, and nothing that is removed could point to
/// another page.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Different numbers that counts had, as they were written.
    told: Vec<String>,
    /// Something says that there is more.
    more: bool,
}

/// Different totals of one answer, at most.
const TOTALS_MAX: usize = 8;

impl Totals {
    /// Takes a value outside the list, at which these patterns are alive.
    pub(super) fn see(&mut self, value: Value<'_>, alive: &[&Pattern<'_, Outer>], depth: usize) {
        for pattern in alive {
            let Outer::Count(rule) = pattern.rule else { continue };
            let steps = pattern.steps.strip_suffix(&[Step::Rest]).unwrap_or(&pattern.steps);
            // A path that ends with `**` above this place was seen there.
            let Some(rest) = steps.get(depth..) else { continue };
            for value in find(value, rest) {
                match rule {
                    CountRule::Rows if self.told.len() < TOTALS_MAX => {
                        if !self.told.iter().any(|known| known == value.raw()) {
                            self.told.push(value.raw().to_owned());
                        }
                    }
                    CountRule::Rows => self.more = true,
                    CountRule::Remove | CountRule::Link => self.more |= !(value.is_void() || value.raw() == "false" || value.raw() == "\"\""),
                    CountRule::Free => {}
                }
            }
        }
    }

    /// Takes an object or array with something in it that is on the way to the list.
    pub(super) fn pass(&mut self, alive: &[&Pattern<'_, Outer>], depth: usize) {
        let counted = |p: &&&Pattern<'_, Outer>| matches!(p.rule, Outer::Count(CountRule::Rows | CountRule::Remove | CountRule::Link));
        self.more |= alive.iter().filter(counted).any(|p| p.steps.strip_suffix(&[Step::Rest]).unwrap_or(&p.steps).len() == depth);
    }

    pub(super) fn are_of(&self, rows: usize) -> bool {
        let rows = rows.to_string();
        !self.more && self.told.iter().all(|told| *told == rows)
    }
}

/// Writes what goes out of a value outside the rows.
pub(super) struct Envelope<'e, 't> {
    pub(super) notes: &'e mut Notes,
    /// Where the value stands.
    pub(super) base: Vec<Place<'e>>,
    pub(super) trail: Trail<'t>,
    /// The number that counts are set to; `None`: they are removed.
    pub(super) count: Option<usize>,
    pub(super) links: Links<'e>,
    pub(super) removed: bool,
    pub(super) corrected: bool,
}

/// Where the gateway's URLs come from.
pub(super) enum Links<'e> {
    /// They are asked for, and noted in the order of the body.
    Asked(&'e mut dyn Judge, &'e mut Vec<Option<String>>),
    /// They were, in that order.
    Known(std::vec::IntoIter<Option<String>>),
}

impl Links<'_> {
    fn own(&mut self, url: &str) -> Option<String> {
        match self {
            Self::Asked(judge, asked) => {
                let own = judge.link(url, None);
                asked.push(own.clone());
                own
            }
            Self::Known(own) => own.next().flatten(),
        }
    }
}

impl<'t> Envelope<'_, 't> {
    pub(super) fn value(&mut self, value: Value<'t>, alive: &[&Pattern<'_, Outer>], depth: usize, out: &mut String) -> bool {
        let is_container = value.is_container();
        // Nothing declared beside the rows may speak for what should hold them.
        let is_on_the_way = alive.iter().any(|p| p.rule == Outer::Part);
        match if is_on_the_way { None } else { speaking(alive, depth).map(|p| p.rule) } {
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
            Some(Outer::Open | Outer::Part) | None => {
                if !is_container || !alive.iter().any(|p| p.leads_deeper(depth)) {
                    let Self { notes, trail, base, .. } = self;
                    notes.drift(|| render(String::new(), base.iter().chain(&trail.places).copied()));
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
            // That there is no further page.
            (CountRule::Link, _) if value.is_null() => value.raw().to_owned(),
            (CountRule::Link, _) => {
                let own = value.text().and_then(|url| self.links.own(&url));
                let Some(own) = own else {
                    self.removed = true;
                    return false;
                };
                serde_json::Value::from(own).to_string()
            }
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
