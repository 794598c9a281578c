//! Cutting one object (a row, the single object of an answer, an embedded one): whose it is, whether it goes out, and what of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Judge;
use super::json::{Kind, Value};
use super::mask::masked;
use super::path::{At, Pattern, Trail, Ways, emit, find};
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
    /// Read, and never written.
    Unasked,
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
    ways: Ways,
    /// Only with `several = "each"`.
    zones: Vec<Pattern<'static, Zone>>,
    zone_ways: Ways,
}

/// All shapes of a configuration, made ready once.
#[derive(Debug, Default)]
pub struct Cutters(BTreeMap<(ShapeName, bool), Compiled>);

impl Cutters {
    #[must_use]
    pub fn new(shapes: &Shapes) -> Self {
        let both = shapes.values().flat_map(|shape| [Arc::clone(shape), Arc::new(Shape { bare: true, ..Shape::clone(shape) })]);
        Self(both.map(|shape| ((shape.name, shape.bare), Compiled::new(shape))).collect())
    }

    pub(super) fn get(&self, name: ShapeName) -> Option<&Compiled> {
        self.0.get(&(name, false))
    }

    /// As a plan has it.
    pub(super) fn of(&self, shape: &Shape) -> Option<&Compiled> {
        self.0.get(&(shape.name, shape.bare))
    }
}

impl Compiled {
    fn new(shape: Arc<Shape>) -> Self {
        let patterns: Vec<_> = patterns(&shape).into_iter().map(Pattern::into_owned).collect();
        let zones = if shape.several == Several::Each { zones(&shape) } else { Vec::new() };
        Self { ways: Ways::new(&patterns), zone_ways: Ways::new(&zones), patterns, zones, shape }
    }

    /// The shape's fields, each with the zone in which it stands.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&Field, Option<usize>)> {
        self.shape.fields.iter().map(|field| {
            let around = self.zones.iter().filter(|zone| field.path.0.starts_with(&zone.steps));
            (field, around.max_by_key(|zone| zone.steps.len()).filter(|zone| !zone.rule.main).map(|zone| zone.rule.number))
        })
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
    let open = shape.open.iter().map(|path| (path, Rule::Open));
    // Of equal paths the first one speaks.
    let unasked = shape.customer.iter().filter(|_| shape.bare).map(|path| (path, Rule::Unasked));
    let all = unasked.chain(fields).chain(open);
    let mut patterns: Vec<Pattern<'_, Rule>> = all.map(|(path, rule)| Pattern { steps: path.0.as_slice().into(), rule }).collect();
    // The customer's id goes with the object, unless the shape says that it is of a category.
    let ids: Vec<_> = shape.customer.iter().filter(|path| !patterns.iter().any(|p| p.covers(&path.0))).collect();
    patterns.extend(ids.into_iter().map(|path| Pattern { steps: path.0.as_slice().into(), rule: Rule::Open }));
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
    judged: Vec<Judged>,
    /// Of several customers their verdicts, equal ones once: a row may name thousands, and every member asks.
    distinct: Vec<Arc<Verdicts>>,
    prefix: String,
    /// A member of a category of these customers goes out.
    personal: bool,
    /// A refused member says that the whole answer must not go out.
    error: bool,
}

impl Scope {
    fn new(judged: Vec<Judged>, prefix: String) -> Self {
        // Most rows name one customer, and comparing verdicts by their content costs more than reading them.
        let distinct = match &judged[..] {
            [] | [_] => Vec::new(),
            several => several.iter().map(|j| Arc::clone(&j.verdicts)).collect::<HashSet<_>>().into_iter().collect(),
        };
        Self { judged, distinct, prefix, personal: false, error: false }
    }

    fn release(&self, category: Category) -> Release {
        match &self.judged[..] {
            [one] => one.verdicts.release(category),
            _ => self.distinct.iter().map(|verdicts| verdicts.release(category)).min().unwrap_or(Release::Withheld),
        }
    }

    fn is_full(&self, category: Category) -> bool {
        self.release(category) == Release::Full
    }
}

/// A place in the walk.
#[derive(Clone, Copy, Debug)]
struct Here<'c> {
    shape: &'c Compiled,
    at: At,
    zone: At,
}

pub(super) struct Cutter<'c, 'j, 't> {
    pub(super) shapes: &'c Cutters,
    pub(super) judge: &'j mut dyn Judge,
    pub(super) selected_by: &'c [Category],
    pub(super) notes: Notes<'c>,
    pub(super) trail: Trail<'t>,
    /// Cuts the single object of an answer, not rows.
    pub(super) single: bool,
    /// A member with `on_deny = "error"` was refused in an object that would go out.
    pub(super) error: bool,
}

impl<'c, 't> Cutter<'c, '_, 't> {
    /// Writes what may go out of an object; nothing unless it is released.
    pub(super) fn object(&mut self, value: Value<'t>, shape: &'c Compiled, whose: &Whose, prefix: &str, out: &mut String) -> Outcome {
        let judged = match self.subject(value, shape, whose) {
            Ok(judged) => judged,
            Err(outcome) => return outcome,
        };
        let mut scope = Scope::new(judged, prefix.to_owned());
        let (start, mark, error) = (out.len(), self.notes.notes.len(), self.error);
        let wanted = shape.shape.needs.iter().all(|c| scope.is_full(*c))
            && (matches!(whose, Whose::Embedded) || self.selection_is_permitted(value, shape, &scope));
        let here = Here { shape, at: At::default(), zone: At::default() };
        let released = wanted && self.value(value, here, &mut scope, out) && scope.personal;
        if released {
            self.error |= scope.error;
        } else {
            out.truncate(start);
            self.notes.revoke_since(mark);
            self.error = error;
        }
        // A dropped row tells nothing of itself; an embedded object stands in something that may go out, or is revoked with it.
        let told = released || self.single || matches!(whose, Whose::Embedded);
        self.note(scope, released, told, shape, None);
        if released { Outcome::Released } else { Outcome::Refused }
    }

    fn note(&mut self, scope: Scope, released: bool, told: bool, shape: &'c Compiled, zone: Option<usize>) {
        for judged in scope.judged {
            self.notes.notes.push(Note { judged, released, told, shape, zone, prefix: scope.prefix.clone() });
        }
    }

    /// The customers who judge the object as a whole.
    fn subject(&mut self, value: Value<'_>, shape: &Compiled, whose: &Whose) -> Result<Vec<Judged>, Outcome> {
        let main = match shape.shape.several {
            Several::Each => shape.shape.customer.get(..1).unwrap_or_default(),
            Several::All => shape.shape.customer.as_slice(),
        };
        let named = main.iter().try_fold(Vec::new(), |mut ids, path| {
            collect_ids(value, &path.0, true, &mut ids)?;
            // The first path is the one that must be there.
            if ids.is_empty() { Err(Unidentified) } else { Ok(ids) }
        });
        let named: Vec<Judged> = match (named, shape.shape.ids) {
            (Ok(ids), Some(space)) => unique(ids).iter().map(|id| self.judge.judge(space, id)).collect(),
            (Ok(_) | Err(Unidentified), _) => Vec::new(),
        };
        let foreign = named.iter().any(|j| j.is_requested.is_some()) && !named.iter().any(|j| j.is_requested == Some(true));
        match whose {
            Whose::Named | Whose::Requested(_) if foreign => Err(Outcome::Foreign),
            Whose::Requested(requested) => Ok(vec![requested.clone()]),
            Whose::Named | Whose::Embedded if named.is_empty() => Err(Outcome::NoSubject),
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

    /// Writes what may go out of a value; true when something was written.
    fn value(&mut self, value: Value<'t>, here: Here<'c>, scope: &mut Scope, out: &mut String) -> bool {
        let entered = here.shape.zone_ways.names(here.zone);
        let Some(space) = here.shape.shape.ids.filter(|_| !entered.is_empty()) else {
            return entered.is_empty() && self.inner(value, here, scope, out);
        };
        let entered: Vec<&Zone> = entered.iter().filter_map(|number| here.shape.zones.get(*number)).map(|zone| &zone.rule).collect();
        let ids: Option<Vec<Cow<'_, str>>> = entered.iter().map(|zone| find(value, &zone.id).first().and_then(|id| id.id())).collect();
        // Somebody without an id is nobody who could permit anything.
        let Some(ids) = ids else {
            return false;
        };
        let judged = ids.iter().map(|id| self.judge.judge(space, id)).collect();
        let main = entered.iter().any(|zone| zone.main);
        let (mark, error) = (self.notes.notes.len(), self.error);
        let mut own = Scope::new(judged, scope.prefix.clone());
        let released = self.inner(value, here, &mut own, out) && own.personal;
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

    fn inner(&mut self, value: Value<'t>, here: Here<'c>, scope: &mut Scope, out: &mut String) -> bool {
        let Compiled { ways, patterns, .. } = here.shape;
        let rule = ways.speaks(here.at).and_then(|speaks| patterns.get(speaks)).map(|p| p.rule);
        let is_container = value.is_container();
        match rule {
            Some(Rule::Embed(name)) => self.embedded(value, name, here, scope, out),
            Some(Rule::Unasked) => false,
            Some(Rule::Open) if !is_container || value.is_void() => {
                out.push_str(value.raw());
                true
            }
            Some(Rule::Category { category, on_deny }) if !is_container || value.is_void() => self.leaf(value, category, on_deny, scope, out),
            None if value.is_void() && !ways.alive(here.at).is_empty() => {
                let permitted = ways.alive(here.at).iter().filter_map(|alive| patterns.get(*alive)).all(|p| match p.rule {
                    Rule::Category { category, .. } => scope.is_full(category),
                    Rule::Open => true,
                    Rule::Embed(_) | Rule::Unasked => false,
                });
                if permitted {
                    out.push_str(value.raw());
                }
                permitted
            }
            Some(Rule::Open | Rule::Category { .. }) | None => {
                if !is_container || !ways.leads_deeper(here.at) {
                    let Self { notes, trail, .. } = self;
                    notes.drift(|| trail.render());
                    return false;
                }
                self.members(value, here, scope, out)
            }
        }
    }

    fn members(&mut self, value: Value<'t>, here: Here<'c>, scope: &mut Scope, out: &mut String) -> bool {
        let Compiled { ways, zone_ways, .. } = here.shape;
        emit(value, ways.is_positional(here.at), out, |place, child, out| {
            self.trail.places.push(place);
            let next = Here { at: ways.through(here.at, place), zone: zone_ways.through(here.zone, place), ..here };
            let kept = self.value(child, next, scope, out);
            self.trail.places.pop();
            kept
        })
    }

    fn leaf(&mut self, value: Value<'_>, category: Category, on_deny: OnDeny, scope: &mut Scope, out: &mut String) -> bool {
        match (scope.release(category), on_deny) {
            (Release::Full, _) => {
                out.push_str(value.raw());
                scope.personal = true;
                true
            }
            (Release::Reduced, OnDeny::Mask(mask)) => {
                let form = value.text().and_then(|text| masked(mask, &text, self.judge));
                if let Some(form) = &form {
                    out.push_str(&serde_json::Value::from(form.as_str()).to_string());
                    scope.personal = true;
                }
                form.is_some()
            }
            (Release::Withheld | Release::Reduced, OnDeny::Null) => {
                out.push_str("null");
                true
            }
            (Release::Withheld | Release::Reduced, OnDeny::Error) => {
                scope.error = true;
                false
            }
            (Release::Withheld, OnDeny::Remove | OnDeny::Mask(_)) | (Release::Reduced, OnDeny::Remove) => false,
        }
    }

    /// An object of another customer, or an array of such.
    fn embedded(&mut self, value: Value<'t>, name: ShapeName, here: Here<'c>, scope: &Scope, out: &mut String) -> bool {
        let shapes = self.shapes;
        let pattern = here.shape.ways.speaks(here.at).and_then(|speaks| here.shape.patterns.get(speaks));
        let (Some(shape), Some(pattern)) = (shapes.get(name), pattern) else {
            return false;
        };
        let prefix = format!("{}{}.", scope.prefix, PathPattern(pattern.steps.to_vec()));
        let one = |cutter: &mut Self, value: Value<'t>, out: &mut String| {
            value.kind() == Kind::Object && cutter.object(value, shape, &Whose::Embedded, &prefix, out) == Outcome::Released
        };
        match value.kind() {
            Kind::Array => emit(value, false, out, |place, child, out| {
                self.trail.places.push(place);
                let kept = one(self, child, out);
                self.trail.places.pop();
                kept
            }),
            Kind::Object => one(self, value, out),
            Kind::Null | Kind::Bool | Kind::Number | Kind::String => false,
        }
    }
}

/// Somebody stands there without an id that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unidentified;

/// The ids at a customer path. A place that is not there (or `null`) names nobody; an object that stands there
/// without its id is somebody who cannot be judged.
pub(super) fn collect_ids<'v>(value: Value<'v>, steps: &[Step], at_root: bool, ids: &mut Vec<Cow<'v, str>>) -> Result<(), Unidentified> {
    let Some((step, rest)) = steps.split_first() else {
        ids.push(value.id().ok_or(Unidentified)?);
        return Ok(());
    };
    let next = match (step, value.kind()) {
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
