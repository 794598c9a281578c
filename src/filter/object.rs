//! Cutting one object (a row, the single object of an answer, an embedded one): whose it is, whether it goes out, and what of it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::Judge;
use super::compiled::{Act, Compiled, Cutters, Deed, Known, Rule, Zone};
use super::json::{Kind, Node, Tape, Value};
use super::mask::masked;
use super::out::{Between, Out};
use super::path::{At, Place, find, render};
use super::report::{Note, Notes};
use crate::model::{Category, Field, FieldRule, Judged, OnDeny, PathPattern, Release, Several, Shape, Step, Verdicts};

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
            if deed == Deed::Withheld && !zoned && !positional {
                between.whole = false;
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
