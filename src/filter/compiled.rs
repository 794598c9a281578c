//! Shapes made ready for matching: which path speaks at each place, what is done there by which verdicts, and what was learnt of bodies.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::habit::{Habit, Habits};
use super::json::{Content, Node};
use super::path::{At, Pattern, Ways};
use crate::model::{Category, Field, FieldRule, OnDeny, PathPattern, Release, Several, Shape, ShapeName, Shapes, Step, Verdicts};

/// What a mapped path of a shape means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Category {
        category: Category,
        on_deny: OnDeny,
    },
    Embed(ShapeName),
    Open,
    /// A URL of the upstream.
    Link,
    /// Read, and never written: the caller did not ask for it.
    Unasked,
    /// Report mode: no path maps it.
    Unmapped,
    Hidden,
    /// A customer's id stands there; what becomes of it, other paths say.
    Read,
}

/// The part of an object that one of several customers judges alone.
#[derive(Debug)]
pub(super) struct Zone {
    /// Where the id stands in it; empty: it is the id.
    pub(super) id: Vec<Step>,
    /// Whether this customer also judges the object as a whole.
    pub(super) main: bool,
    pub(super) number: usize,
}

/// A shape made ready for matching.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) shape: Arc<Shape>,
    pub(super) patterns: Vec<Pattern<'static, Rule>>,
    /// Its places among the ways of all shapes: the first is the object itself.
    places: Range<u32>,
    /// Only with `several = "each"`.
    pub(super) zones: Vec<Pattern<'static, Zone>>,
    pub(super) zone_ways: Ways,
    pub(super) zone_root: At,
}

/// All shapes of a configuration, made ready once.
#[derive(Debug, Default)]
pub struct Cutters {
    /// Each as it is declared, and without the customers' ids.
    shapes: BTreeMap<(ShapeName, bool), Compiled>,
    pub(super) ways: Ways,
    /// What was learnt of the bodies that were cut.
    habits: ArcSwap<Habits>,
}

impl Cutters {
    #[must_use]
    pub fn new(shapes: &Shapes) -> Self {
        let mut ways = Ways::default();
        let both = shapes.values().flat_map(|shape| [Arc::clone(shape), Arc::new(Shape { bare: true, ..Shape::clone(shape) })]);
        let shapes: BTreeMap<_, _> = both.map(|shape| ((shape.name, shape.bare), Compiled::new(shape, &mut ways))).collect();
        for compiled in shapes.values() {
            for place in compiled.places.clone().map(At) {
                if let Some(Rule::Embed(name)) = compiled.rule(&ways, place)
                    && let Some(embedded) = shapes.get(&(name, false))
                {
                    ways.embed(place, embedded.root());
                }
            }
        }
        Self { shapes, ways, habits: ArcSwap::default() }
    }

    pub(super) fn habits(&self) -> Arc<Habits> {
        self.habits.load_full()
    }

    /// Takes up what a reader learnt. Names that may be data stay with it.
    pub(super) fn learn(&self, learnt: &Habits) {
        let news =
            |(place, habit): (usize, &Option<Arc<Habit>>)| habit.as_ref().filter(|habit| habit.is_of_names()).map(|habit| (place, Arc::clone(habit)));
        let known = self.habits.load();
        let lessons = |place: usize| known.get(place).and_then(Option::as_ref).map_or(0, |habit| habit.lessons());
        let news: Vec<_> = learnt.iter().enumerate().filter_map(news).filter(|(place, habit)| habit.lessons() > lessons(*place)).collect();
        if news.is_empty() {
            return;
        }
        let mut all = Habits::clone(&known);
        for (place, habit) in news {
            if all.len() <= place {
                all.resize_with(place + 1, || None);
            }
            if let Some(slot) = all.get_mut(place) {
                *slot = Some(habit);
            }
        }
        // Of two who learn at once one may be forgotten; it will be learnt again.
        self.habits.store(Arc::new(all));
    }

    pub(super) fn get(&self, name: ShapeName) -> Option<&Compiled> {
        self.shapes.get(&(name, false))
    }

    /// As a plan has it.
    pub(super) fn of(&self, shape: &Shape) -> Option<&Compiled> {
        self.shapes.get(&(shape.name, shape.bare))
    }
}

impl Compiled {
    fn new(shape: Arc<Shape>, ways: &mut Ways) -> Self {
        let mut patterns: Vec<_> = patterns(&shape).into_iter().map(Pattern::into_owned).collect();
        let ids = shape.customer.iter().filter(|path| !patterns.iter().any(|pattern| *pattern.steps == *path.0));
        let ids: Vec<_> = ids.map(|path| Pattern { steps: path.0.clone().into(), rule: Rule::Read }).collect();
        patterns.extend(ids);
        // What is kept or left out as one has one rule, and nobody's id in it.
        let absorbs = |pattern: &Pattern<'_, Rule>| {
            let alike = match pattern.rule {
                Rule::Category { on_deny, .. } => matches!(on_deny, OnDeny::Remove | OnDeny::Error),
                Rule::Open => true,
                Rule::Embed(_) | Rule::Link | Rule::Unasked | Rule::Unmapped | Rule::Hidden | Rule::Read => false,
            };
            alike && !shape.customer.iter().any(|path| Step::cover(&pattern.steps, &path.0))
        };
        let (root, end) = ways.add(&patterns, |pattern| !matches!(pattern.rule, Rule::Read), absorbs);
        let zones = if shape.several == Several::Each { zones(&shape) } else { Vec::new() };
        let mut zone_ways = Ways::default();
        let (zone_root, _) = zone_ways.add(&zones, |_| true, |_| false);
        Self { patterns, places: root.0..end.0, zones, zone_ways, zone_root, shape }
    }

    /// Where an object of this shape begins.
    pub(super) const fn root(&self) -> At {
        At(self.places.start)
    }

    pub(super) fn rule(&self, ways: &Ways, at: At) -> Option<Rule> {
        ways.speaks(at).and_then(|speaks| self.patterns.get(speaks)).map(|pattern| pattern.rule)
    }

    /// The shape's fields, each with the zone in which it stands.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&Field, Option<usize>)> {
        self.shape.fields.iter().map(|field| {
            let around = self.zones.iter().filter(|zone| field.path.0.starts_with(&zone.steps));
            (field, around.max_by_key(|zone| zone.steps.len()).filter(|zone| !zone.rule.main).map(|zone| zone.rule.number))
        })
    }

    /// What is done at each place, as these customers permit.
    pub(super) fn acts(&self, ways: &Ways, release: impl Fn(Category) -> Release, passes: bool) -> Arc<[Act]> {
        self.places.clone().map(|place| self.act(ways, At(place), &release, passes)).collect()
    }

    fn act(&self, ways: &Ways, at: At, release: &impl Fn(Category) -> Release, passes: bool) -> Act {
        // What lies above mapped places is not unmapped: a value there is of no category that anybody has said.
        let is_on_the_way = |rule: &Rule| matches!(rule, Rule::Unmapped) && ways.alive(at).len() > 1;
        let leaf = match self.rule(ways, at).filter(|rule| !is_on_the_way(rule)) {
            Some(Rule::Unmapped) => Deed::Passing,
            Some(Rule::Open) => Deed::Open,
            Some(Rule::Link) => Deed::Link,
            // Whatever stands there.
            Some(Rule::Unasked | Rule::Hidden) => return HIDDEN,
            Some(Rule::Embed(_)) => Deed::Embedded,
            Some(Rule::Category { category, on_deny }) => match (release(category), on_deny) {
                (Release::Full, _) => Deed::Full,
                (Release::Reduced, OnDeny::Mask(_)) => Deed::Masked,
                // Names that no path says may be data: they do not stay behind with a null.
                (Release::Withheld | Release::Reduced, OnDeny::Null) if ways.is_below(at) => Deed::Withheld,
                (Release::Withheld | Release::Reduced, OnDeny::Null) => Deed::Null,
                (Release::Withheld | Release::Reduced, OnDeny::Error) => Deed::Error,
                (Release::Withheld, OnDeny::Remove | OnDeny::Mask(_)) | (Release::Reduced, OnDeny::Remove) => Deed::Withheld,
            },
            Some(Rule::Read) | None => Deed::Unmapped,
        };
        let mapped = ways.alive(at).iter().filter_map(|number| self.patterns.get(*number));
        let mut alive = mapped.filter(|pattern| !matches!(pattern.rule, Rule::Read));
        let is_on_a_way = alive.clone().next().is_some();
        let permits = |pattern: &Pattern<'_, Rule>| match pattern.rule {
            Rule::Category { category, .. } => release(category) == Release::Full,
            Rule::Open | Rule::Link => true,
            Rule::Embed(_) | Rule::Unasked | Rule::Hidden | Rule::Read => false,
            Rule::Unmapped => passes,
        };
        let is_mapped = !matches!(leaf, Deed::Unmapped);
        let nothing = match (leaf, is_mapped) {
            (Deed::Link, _) => Deed::Open,
            (_, true) => leaf,
            (_, false) if !is_on_a_way => Deed::Unmapped,
            (_, false) if alive.all(permits) => Deed::Open,
            (_, false) => Deed::Withheld,
        };
        let below = if ways.leads_deeper(at) { Deed::Members } else { Deed::Unmapped };
        Act {
            leaf,
            nothing,
            whole: if ways.absorbs(at) { leaf } else { Deed::Unmapped },
            inside: if matches!(leaf, Deed::Embedded) || (leaf == Deed::Null && ways.is_covered(at)) { leaf } else { below },
        }
    }

    #[inline]
    pub(super) fn deed(&self, acts: &[Act], node: &Node, at: At) -> Deed {
        let place = at.0.wrapping_sub(self.places.start) as usize;
        let Some(act) = acts.get(place) else { return Deed::Unmapped };
        match node.content {
            Content::Leaf => act.leaf,
            Content::Nothing => act.nothing,
            Content::Whole => act.whole,
            Content::Inside => act.inside,
        }
    }
}

/// What is done with what stands at a place: by what there is to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act {
    leaf: Deed,
    nothing: Deed,
    whole: Deed,
    inside: Deed,
}

const HIDDEN: Act = Act { leaf: Deed::Withheld, nothing: Deed::Withheld, whole: Deed::Withheld, inside: Deed::Withheld };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Copied.
    Open,
    /// Copied, which releases the object.
    Full,
    Masked,
    /// Goes out as a URL of the gateway, if it has one.
    Link,
    Null,
    Error,
    Withheld,
    /// Left out, and noted.
    Unmapped,
    /// Report mode: no path maps it. Noted, and copied if everything is permitted.
    Passing,
    /// What stands in it is looked at.
    Members,
    /// It is of another customer.
    Embedded,
}

/// What is done at each place of the shape that begins there, with what no path maps or without, by these verdicts.
type Worked = (At, bool, Arc<Verdicts>, Arc<[Act]>);

/// What was worked out for the verdicts seen last: most rows share theirs with others.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The verdicts are held, so that no others can come to stand at their address.
    acts: Vec<Worked>,
    turn: usize,
}

impl Known {
    const MAX: usize = 32;

    pub(super) fn acts(&mut self, shape: &Compiled, ways: &Ways, verdicts: &Arc<Verdicts>, passes: bool) -> Arc<[Act]> {
        let is_known = |(root, did_pass, known, _): &&Worked| *root == shape.root() && *did_pass == passes && Arc::ptr_eq(known, verdicts);
        let found = self.acts.iter().find(is_known);
        if let Some((.., acts)) = found {
            return Arc::clone(acts);
        }
        let acts = shape.acts(ways, |category| verdicts.release(category), passes);
        let entry = (shape.root(), passes, Arc::clone(verdicts), Arc::clone(&acts));
        if self.acts.len() < Self::MAX {
            self.acts.push(entry);
        } else {
            self.turn = (self.turn + 1) % Self::MAX;
            if let Some(slot) = self.acts.get_mut(self.turn) {
                *slot = entry;
            }
        }
        acts
    }
}

/// What each mapped path of a shape means.
pub(super) fn patterns(shape: &Shape) -> Vec<Pattern<'_, Rule>> {
    let fields = shape.fields.iter().map(|field| {
        let rule = match field.rule {
            FieldRule::Category { category, on_deny } => Rule::Category { category, on_deny },
            FieldRule::Embed(name) => Rule::Embed(name),
        };
        (&field.path, rule)
    });
    // Of equal paths the first one speaks.
    let unasked = shape.customer.iter().filter(|_| shape.bare).map(|path| (path, Rule::Unasked));
    let hidden = shape.hidden.iter().map(|path| (path, Rule::Hidden));
    let links = shape.links.iter().map(|path| (path, Rule::Link));
    let open = shape.open.iter().filter(|path| !shape.links.contains(path)).map(|path| (path, Rule::Open));
    let all = unasked.chain(hidden).chain(fields).chain(links).chain(open);
    let mut patterns: Vec<Pattern<'_, Rule>> = all.map(|(path, rule)| Pattern { steps: path.0.as_slice().into(), rule }).collect();
    // The customer's id goes with the object, unless the shape says that it is of a category.
    let ids: Vec<_> = shape.customer.iter().filter(|path| !patterns.iter().any(|p| Step::cover(&p.steps, &path.0))).collect();
    patterns.extend(ids.into_iter().map(|path| Pattern { steps: path.0.as_slice().into(), rule: Rule::Open }));
    if shape.lets_unmapped_pass {
        patterns.push(Pattern { steps: vec![Step::Rest].into(), rule: Rule::Unmapped });
    }
    patterns
}

fn zones(shape: &Shape) -> Vec<Pattern<'static, Zone>> {
    shape.customer.iter().enumerate().filter_map(|(number, path)| zone(number, path)).collect()
}

fn zone(number: usize, path: &PathPattern) -> Option<Pattern<'static, Zone>> {
    let main = number == 0;
    let length = match path.0.iter().rposition(|step| *step == Step::Items) {
        Some(last) => last + 1,
        None if matches!(path.0.last(), Some(Step::Member(_))) && path.0.len() > 1 => path.0.len() - 1,
        // The object itself: its main customers judge it anyway.
        None if main => return None,
        None => path.0.len(),
    };
    let (steps, id) = path.0.split_at_checked(length)?;
    Some(Pattern { steps: steps.to_vec().into(), rule: Zone { id: id.to_vec(), main, number } })
}
