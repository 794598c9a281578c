//! Cutting one object (a row, the single object of an answer, an embedded one): whose it is, whether it goes out, and what of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Judge;
use super::json::{Content, Kind, Node, Tape, Value};
use super::mask::masked;
use super::out::{Between, Out};
use super::path::{At, Pattern, Place, Ways, find, render};
use super::reader::{Habit, Habits};
use super::report::{Note, Notes};
use crate::model::{Category, Field, FieldRule, Judged, OnDeny, PathPattern, Release, Several, Shape, ShapeName, Shapes, Step, Verdicts};

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
    id: Vec<Step>,
    /// Whether this customer also judges the object as a whole.
    main: bool,
    number: usize,
}

/// A shape made ready for matching.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) shape: Arc<Shape>,
    patterns: Vec<Pattern<'static, Rule>>,
    /// Its places among the ways of all shapes: the first is the object itself.
    places: Range<u32>,
    /// Only with `several = "each"`.
    zones: Vec<Pattern<'static, Zone>>,
    zone_ways: Ways,
    zone_root: At,
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

    fn rule(&self, ways: &Ways, at: At) -> Option<Rule> {
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
    fn acts(&self, ways: &Ways, release: impl Fn(Category) -> Release, passes: bool) -> Arc<[Act]> {
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
    fn deed(&self, acts: &[Act], node: &Node, at: At) -> Deed {
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
struct Act {
    leaf: Deed,
    nothing: Deed,
    whole: Deed,
    inside: Deed,
}

const HIDDEN: Act = Act { leaf: Deed::Withheld, nothing: Deed::Withheld, whole: Deed::Withheld, inside: Deed::Withheld };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
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

    fn acts(&mut self, shape: &Compiled, ways: &Ways, verdicts: &Arc<Verdicts>, passes: bool) -> Arc<[Act]> {
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

/// Whose an object has to be.
#[derive(Clone, Debug)]
pub(super) enum Whose {
    /// The object says, and it is the requested customer if the request named one.
    Named,
    /// The customer of the request, which the object must not contradict.
    Requested(Judged),
    /// The object says; it stands within another customer's.
    Embedded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Released,
    Refused,
    NoSubject,
    Foreign,
}

/// The verdicts that hold for a part of an object: a category is permitted as far as every one of these customers permits it.
#[derive(Debug)]
struct Scope {
    judged: Judgement,
    /// Of several customers their verdicts, equal ones once: a row may name thousands, and every member asks.
    distinct: Vec<Arc<Verdicts>>,
    acts: Arc<[Act]>,
    /// Report mode: everything is permitted, so that what no path maps goes out.
    passes: bool,
    prefix: Option<Arc<str>>,
    /// A member of a category of these customers goes out.
    personal: bool,
    /// A refused member says that the whole answer must not go out.
    error: bool,
}

/// The customers who judge. Mostly one.
#[derive(Debug)]
enum Judgement {
    One(Judged),
    Several(Vec<Judged>),
}

impl Judgement {
    /// Nobody has said of which category a member is that no path maps, so it may be of any: everything must be permitted.
    fn lets_unmapped_pass(&self, shape: &Shape) -> bool {
        let Self::One(Judged { party: Some(_), verdicts, .. }) = self else { return false };
        let is_full = |field: &Field| match field.rule {
            FieldRule::Category { category, .. } => verdicts.release(category) == Release::Full,
            FieldRule::Embed(_) => true,
        };
        shape.lets_unmapped_pass && verdicts.permit_everything() && shape.fields.iter().all(is_full)
    }

    fn as_slice(&self) -> &[Judged] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

impl From<Vec<Judged>> for Judgement {
    fn from(mut judged: Vec<Judged>) -> Self {
        match judged.pop() {
            Some(one) if judged.is_empty() => Self::One(one),
            last => {
                judged.extend(last);
                Self::Several(judged)
            }
        }
    }
}

impl Scope {
    fn release(&self, category: Category) -> Release {
        match &self.judged {
            Judgement::One(one) => one.verdicts.release(category),
            Judgement::Several(_) => weakest(&self.distinct, category),
        }
    }

    fn is_full(&self, category: Category) -> bool {
        self.release(category) == Release::Full
    }
}

fn weakest(several: &[Arc<Verdicts>], category: Category) -> Release {
    several.iter().map(|verdicts| verdicts.release(category)).min().unwrap_or(Release::Withheld)
}

/// A place in the walk.
#[derive(Clone, Copy, Debug)]
struct Here<'c> {
    shape: &'c Compiled,
    zone: At,
}

pub(super) struct Cutter<'a, 'c, 't> {
    pub(super) shapes: &'c Cutters,
    pub(super) tape: Tape<'t>,
    pub(super) judge: &'a mut dyn Judge,
    pub(super) selected_by: &'a [Category],
    pub(super) notes: &'a mut Notes,
    pub(super) known: &'a mut Known,
    /// Where in the body the objects stand, and where in the object the walk does: for reports.
    pub(super) base: &'a PathPattern,
    pub(super) trail: &'a mut Vec<usize>,
    /// Cuts the single object of an answer, not rows.
    pub(super) single: bool,
    /// A member with `on_deny = "error"` was refused in an object that would go out.
    pub(super) error: bool,
    /// A member that no path maps stands in what goes out.
    pub(super) unenforced: bool,
}

/// A value by its place on the tape.
type Located<'t> = (usize, &'t Node);

impl<'c, 't> Cutter<'_, 'c, 't> {
    /// Writes what may go out of an object; nothing unless it is released.
    pub(super) fn object(
        &mut self,
        value: Value<'t>,
        shape: &'c Compiled,
        whose: &Whose,
        prefix: Option<&Arc<str>>,
        out: &mut Out<'_, '_>,
    ) -> Outcome {
        let judged = match self.subject(value, shape, whose) {
            Ok(judged) => judged,
            Err(outcome) => return outcome,
        };
        let mut scope = self.scope(judged, shape, prefix);
        let (start, mark, error, unenforced) = (out.mark(), self.notes.notes.len(), self.error, self.unenforced);
        let wanted = shape.shape.needs.iter().all(|c| scope.is_full(*c))
            && (matches!(whose, Whose::Embedded) || self.selection_is_permitted(value, shape, &scope));
        let here = Here { shape, zone: shape.zone_root };
        let released = wanted && self.value(value.place(), shape.root(), here, &mut scope, out) && scope.personal;
        if released {
            self.error |= scope.error;
        } else {
            out.undo(start);
            self.notes.revoke_since(mark);
            (self.error, self.unenforced) = (error, unenforced);
        }
        // A dropped row tells nothing of itself; an embedded object stands in something that may go out, or is revoked with it.
        let told = released || self.single || matches!(whose, Whose::Embedded);
        self.note(scope, released, told, shape, None);
        if released { Outcome::Released } else { Outcome::Refused }
    }

    fn scope(&mut self, judged: Judgement, shape: &Compiled, prefix: Option<&Arc<str>>) -> Scope {
        // Most rows name one customer, and comparing verdicts by their content costs more than reading them.
        let passes = judged.lets_unmapped_pass(&shape.shape);
        let (distinct, acts) = match &judged {
            Judgement::One(one) => (Vec::new(), self.known.acts(shape, &self.shapes.ways, &one.verdicts, passes)),
            Judgement::Several(several) => {
                let distinct: Vec<_> = several.iter().map(|j| Arc::clone(&j.verdicts)).collect::<HashSet<_>>().into_iter().collect();
                let acts = shape.acts(&self.shapes.ways, |category| weakest(&distinct, category), passes);
                (distinct, acts)
            }
        };
        Scope { judged, distinct, acts, passes, prefix: prefix.cloned(), personal: false, error: false }
    }

    fn note(&mut self, scope: Scope, released: bool, told: bool, shape: &'c Compiled, zone: Option<usize>) {
        let Scope { judged, prefix, .. } = scope;
        let note = |judged| Note { judged, released, told, shape: shape.shape.name, zone, prefix: prefix.clone() };
        match judged {
            Judgement::One(one) => self.notes.notes.push(note(one)),
            Judgement::Several(several) => self.notes.notes.extend(several.into_iter().map(note)),
        }
    }

    /// The customers who judge the object as a whole.
    fn subject(&mut self, value: Value<'_>, shape: &Compiled, whose: &Whose) -> Result<Judgement, Outcome> {
        let main = match shape.shape.several {
            Several::Each => shape.shape.customer.get(..1).unwrap_or_default(),
            Several::All => shape.shape.customer.as_slice(),
        };
        let by_request = matches!(whose, Whose::Requested(_));
        let named = match (main, shape.shape.ids) {
            ([path], Some(space)) if !path.0.contains(&Step::Items) => {
                let id = single_id(value, &path.0);
                if by_request && id.is_err() { Ok(Vec::new().into()) } else { id.map(|id| Judgement::One(self.judge.judge(space, &id))) }
            }
            (paths, Some(space)) => all_ids(value, paths, by_request).map(|ids| {
                let judged: Vec<Judged> = unique(ids).iter().map(|id| self.judge.judge(space, id)).collect();
                judged.into()
            }),
            // Without an id space it names nobody.
            (_, None) => Ok(Vec::new().into()),
        };
        let named = named.map_err(|Unidentified| Outcome::NoSubject)?;
        let judged = named.as_slice();
        let foreign = judged.iter().any(|j| j.is_requested.is_some()) && !judged.iter().any(|j| j.is_requested == Some(true));
        match whose {
            Whose::Named | Whose::Requested(_) if foreign => Err(Outcome::Foreign),
            // Beside whoever is asked for, the others have their say.
            Whose::Requested(requested) => {
                let others = judged.iter().filter(|j| j.is_requested != Some(true));
                Ok(others.chain([requested]).cloned().collect::<Vec<_>>().into())
            }
            Whose::Named | Whose::Embedded if judged.is_empty() => Err(Outcome::NoSubject),
            Whose::Named | Whose::Embedded => Ok(named),
        }
    }

    /// That the object was found by a category tells something of everybody in it.
    fn selection_is_permitted(&mut self, value: Value<'_>, shape: &Compiled, scope: &Scope) -> bool {
        if self.selected_by.is_empty() {
            return true;
        }
        if !self.selected_by.iter().all(|c| scope.is_full(*c)) {
            return false;
        }
        let mut ids = Vec::new();
        let identified = shape.zones.is_empty() || shape.shape.customer.iter().all(|path| collect_ids(value, &path.0, true, &mut ids).is_ok());
        let Some(space) = shape.shape.ids else {
            return identified;
        };
        let others: Vec<Judged> = unique(ids).iter().map(|id| self.judge.judge(space, id)).collect();
        identified && others.iter().all(|j| self.selected_by.iter().all(|c| j.verdicts.release(*c) == Release::Full))
    }

    /// Writes what may go out of a value at a place of its shape; true when something was written.
    fn value(&mut self, value: Located<'t>, at: At, here: Here<'c>, scope: &mut Scope, out: &mut Out<'_, '_>) -> bool {
        let entered = here.shape.zone_ways.names(here.zone);
        if here.shape.zones.is_empty() || entered.is_empty() {
            return self.inner(value, at, here, scope, out);
        }
        let Some(space) = here.shape.shape.ids else {
            return false;
        };
        let entered: Vec<&Zone> = entered.iter().filter_map(|number| here.shape.zones.get(*number)).map(|zone| &zone.rule).collect();
        let root = self.tape.value(value.0);
        let id = |zone: &&Zone| find(root?, &zone.id).first().and_then(Value::id);
        // Somebody without an id is nobody who could permit anything.
        let Some(ids) = entered.iter().map(id).collect::<Option<Vec<Cow<'_, str>>>>() else {
            return false;
        };
        let judged: Vec<Judged> = ids.iter().map(|id| self.judge.judge(space, id)).collect();
        let main = entered.iter().any(|zone| zone.main);
        let (mark, error) = (self.notes.notes.len(), self.error);
        let mut own = self.scope(judged.into(), here.shape, scope.prefix.as_ref());
        let released = self.inner(value, at, here, &mut own, out) && own.personal;
        if released {
            scope.error |= own.error;
            scope.personal |= main;
        } else {
            self.notes.revoke_since(mark);
            self.error = error;
        }
        if !main {
            let number = entered.first().map(|zone| zone.number);
            self.note(own, released, true, here.shape, number);
        }
        released
    }

    fn inner(&mut self, value: Located<'t>, at: At, here: Here<'c>, scope: &mut Scope, out: &mut Out<'_, '_>) -> bool {
        let (_, node) = value;
        let deed = here.shape.deed(&scope.acts, node, at);
        match deed {
            Deed::Open | Deed::Full => {
                out.extend_to(node.end as usize);
                scope.personal |= deed == Deed::Full;
                true
            }
            Deed::Masked => {
                let Some(Rule::Category { on_deny: OnDeny::Mask(mask), .. }) = here.shape.rule(&self.shapes.ways, at) else { return false };
                let text = self.tape.value(value.0).and_then(|value| value.text());
                let form = text.and_then(|text| masked(mask, &text, self.judge));
                if let Some(form) = &form {
                    out.put(serde_json::Value::from(form.as_str()).to_string().as_bytes(), node.end as usize);
                    scope.personal = true;
                }
                form.is_some()
            }
            Deed::Link => {
                let party = if let Judgement::One(one) = &scope.judged { one.party } else { None };
                let text = self.tape.value(value.0).and_then(|value| value.text());
                let own = text.and_then(|url| self.judge.link(&url, party));
                if let Some(own) = &own {
                    out.put(serde_json::Value::from(own.as_str()).to_string().as_bytes(), node.end as usize);
                }
                own.is_some()
            }
            Deed::Null => {
                out.put(b"null", node.end as usize);
                true
            }
            Deed::Error => {
                scope.error = true;
                false
            }
            Deed::Withheld => false,
            Deed::Unmapped => {
                let Self { notes, trail, tape, base, .. } = self;
                notes.drift(|| render(base.to_string(), trail.iter().filter_map(|at| tape.place(*at))));
                false
            }
            Deed::Passing => {
                let Self { notes, trail, tape, base, .. } = self;
                notes.drift(|| render(base.to_string(), trail.iter().filter_map(|at| tape.place(*at))));
                if scope.passes {
                    out.extend_to(node.end as usize);
                    self.unenforced = true;
                }
                scope.passes
            }
            Deed::Members => self.members(value, at, here, scope, out),
            Deed::Embedded => self.embedded(value, at, here, scope, out),
        }
    }

    fn members(&mut self, (at, node): Located<'t>, way: At, here: Here<'c>, scope: &mut Scope, out: &mut Out<'_, '_>) -> bool {
        let tape = self.tape;
        let zoned = !here.shape.zones.is_empty();
        let positional = node.kind == Kind::Array && self.shapes.ways.is_positional(way);
        let mut kept = false;
        let mut between = out.open(node);
        for (index, (at, child)) in tape.inside(at, node).enumerate() {
            let deed = here.shape.deed(&scope.acts, child, child.at);
            if matches!(deed, Deed::Open | Deed::Full) && !zoned {
                out.child(&mut between, child);
                out.extend_to(child.end as usize);
                scope.personal |= deed == Deed::Full;
                kept = true;
                continue;
            }
            let mut next = here;
            if zoned {
                let place = if node.kind == Kind::Object { Place::Member(tape.name(at, child)) } else { Place::Item(index) };
                next.zone = here.shape.zone_ways.through(here.zone, place);
            }
            let (mark, before) = (out.mark(), between);
            out.child(&mut between, child);
            out.extend_to(child.start as usize);
            self.trail.push(at);
            let goes = self.value((at, child), child.at, next, scope, out);
            self.trail.pop();
            kept |= goes;
            if !goes {
                out.undo(mark);
                between = Between { whole: false, ..before };
                if positional {
                    between = before;
                    out.child(&mut between, child);
                    out.extend_to(child.start as usize);
                    out.put(b"null", child.end as usize);
                }
            }
        }
        out.close(between, node);
        kept
    }

    /// An object of another customer, or an array of such.
    fn embedded(&mut self, value: Located<'t>, at: At, here: Here<'c>, scope: &Scope, out: &mut Out<'_, '_>) -> bool {
        let (shapes, tape) = (self.shapes, self.tape);
        let pattern = shapes.ways.speaks(at).and_then(|speaks| here.shape.patterns.get(speaks));
        let Some(pattern) = pattern else { return false };
        let Rule::Embed(name) = pattern.rule else { return false };
        let Some(shape) = shapes.get(name) else { return false };
        let prefix: Arc<str> = format!("{}{}.", scope.prefix.as_deref().unwrap_or_default(), PathPattern(pattern.steps.to_vec())).into();
        let one = |cutter: &mut Self, at: usize, out: &mut Out<'_, '_>| {
            let object = tape.value(at).filter(|value| value.kind() == Kind::Object);
            object.is_some_and(|value| cutter.object(value, shape, &Whose::Embedded, Some(&prefix), out) == Outcome::Released)
        };
        match value.1.kind {
            Kind::Array => {
                let (mut kept, mut between) = (false, out.open(value.1));
                for (at, child) in tape.inside(value.0, value.1) {
                    let (mark, before) = (out.mark(), between);
                    out.child(&mut between, child);
                    out.extend_to(child.start as usize);
                    self.trail.push(at);
                    if one(self, at, out) {
                        kept = true;
                    } else {
                        out.undo(mark);
                        between = Between { whole: false, ..before };
                    }
                    self.trail.pop();
                }
                out.close(between, value.1);
                kept
            }
            Kind::Object => one(self, value.0, out),
            Kind::Null | Kind::Bool | Kind::Number | Kind::String => false,
        }
    }
}

/// Somebody stands there without an id that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unidentified;

/// The one id at a path that leads to one place.
fn single_id<'v>(value: Value<'v>, steps: &[Step]) -> Result<Cow<'v, str>, Unidentified> {
    let mut at = value;
    for step in steps {
        let next = match (step, at.kind()) {
            (Step::Member(name), Kind::Object) => at.member(name),
            (Step::Index(index), Kind::Array) => at.items().nth(*index as usize),
            (Step::Member(_) | Step::Items | Step::Index(_) | Step::Rest, _) => None,
        };
        at = next.ok_or(Unidentified)?;
    }
    at.id().ok_or(Unidentified)
}

/// All ids that judge an object. Unless it may be silent, the first path has to lead to some.
fn all_ids<'v>(value: Value<'v>, paths: &[PathPattern], may_be_silent: bool) -> Result<Vec<Cow<'v, str>>, Unidentified> {
    paths.iter().try_fold(Vec::new(), |mut ids, path| {
        collect_ids(value, &path.0, true, &mut ids)?;
        if ids.is_empty() && !may_be_silent { Err(Unidentified) } else { Ok(ids) }
    })
}

/// The ids at a customer path. A place that is not there (or `null`) names nobody; an object that stands there
/// without its id is somebody who cannot be judged.
pub(super) fn collect_ids<'v>(value: Value<'v>, steps: &[Step], at_root: bool, ids: &mut Vec<Cow<'v, str>>) -> Result<(), Unidentified> {
    let Some((step, rest)) = steps.split_first() else {
        ids.push(value.id().ok_or(Unidentified)?);
        return Ok(());
    };
    let next = match (step, value.kind()) {
        // Whoever stands there was not read.
        _ if value.is_whole() => return Err(Unidentified),
        (Step::Items, Kind::Array) => return value.items().try_for_each(|item| collect_ids(item, rest, false, ids)),
        (Step::Member(name), Kind::Object) => value.member(name),
        (Step::Index(index), Kind::Array) => value.items().nth(*index as usize),
        (Step::Member(_) | Step::Items | Step::Index(_) | Step::Rest, _) => return Err(Unidentified),
    };
    match next.filter(|v| !v.is_null()) {
        Some(next) => collect_ids(next, rest, false, ids),
        None if rest.is_empty() && !at_root => Err(Unidentified),
        None => Ok(()),
    }
}

/// Each id once, in the order of the body.
pub(super) fn unique(mut ids: Vec<Cow<'_, str>>) -> Vec<Cow<'_, str>> {
    if ids.len() > 1 {
        let mut seen = HashSet::with_capacity(ids.len());
        ids.retain(|id| seen.insert(id.clone()));
    }
    ids
}
