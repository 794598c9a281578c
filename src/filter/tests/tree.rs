//! An obvious filter over a tree of a whole body, by the rules in the head of `filter`: what the cutter has to agree with. Slow and
//! short. It shares the plans and the judge with the cutter and none of its code. The fuzz targets (`tests/fuzz`) include this file.

#![expect(clippy::wildcard_enum_match_arm, reason = "a reference is short before all")]

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::filter::Judge;
use crate::model::{
    Category, CountRule, FieldRule, Judged, Mask, OnDeny, PathPattern, Release, ResponsePlan, Several, Shape, Shapes, Step, Subject, Verdicts,
};

/// JSON in its order; texts and numbers as they are spelt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Leaf(String),
    Array(Vec<Json>),
    /// By unescaped names.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// By serde_json, level by level; `None` for what is not JSON, is nested deeper than that, or has a name twice in one object.
    pub(crate) fn read(text: &str, depth_max: usize) -> Option<Self> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        match raw.get().as_bytes().first()? {
            b'{' => {
                let Members(members) = serde_json::from_str(raw.get()).ok()?;
                let mut names = HashSet::new();
                let inside = depth_max.checked_sub(1)?;
                let one = |(name, value): (String, &RawValue)| names.insert(name.clone()).then_some((name, Self::read(value.get(), inside)?));
                members.into_iter().map(one).collect::<Option<_>>().map(Self::Object)
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
                let inside = depth_max.checked_sub(1)?;
                items.into_iter().map(|item| Self::read(item.get(), inside)).collect::<Option<_>>().map(Self::Array)
            }
            // Raw values let half a surrogate pair pass.
            b'"' => serde_json::from_str::<String>(raw.get()).ok().map(|_text| Self::Leaf(raw.get().to_owned())),
            _ => Some(Self::Leaf(raw.get().to_owned())),
        }
    }

    fn is_void(&self) -> bool {
        match self {
            Self::Leaf(raw) => raw == "null",
            Self::Array(items) => items.is_empty(),
            Self::Object(members) => members.is_empty(),
        }
    }

    fn is_filled(&self) -> bool {
        !matches!(self, Self::Leaf(_)) && !self.is_void()
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Leaf(raw) if raw.starts_with('"') => serde_json::from_str(raw).ok(),
            _ => None,
        }
    }

    fn id(&self) -> Option<String> {
        match self {
            Self::Leaf(raw) if raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                raw.chars().all(|c| c == '-' || c.is_ascii_digit()).then(|| raw.clone())
            }
            _ => self.text().filter(|text| !text.is_empty()),
        }
    }

    fn step(&self, step: &Step) -> Option<&Self> {
        match (self, step) {
            (Self::Object(members), Step::Member(name)) => members.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            (Self::Array(items), Step::Index(index)) => items.get(*index as usize),
            _ => None,
        }
    }

    /// The children that `keep` keeps; nothing when none is left. Positions keep their meaning by a `null`.
    fn children<E>(&self, positional: bool, mut keep: impl FnMut(&Self, At) -> Result<Option<Self>, E>) -> Result<Option<Self>, E> {
        match self {
            Self::Leaf(_) => Ok(None),
            Self::Object(members) => {
                let mut kept = Vec::new();
                for (name, value) in members {
                    kept.extend(keep(value, At::Name(name.clone()))?.map(|value| (name.clone(), value)));
                }
                Ok((!kept.is_empty()).then_some(Self::Object(kept)))
            }
            Self::Array(items) => {
                let (mut kept, mut any) = (Vec::new(), false);
                for (position, value) in items.iter().enumerate() {
                    match keep(value, At::Position(position))? {
                        Some(value) => {
                            any = true;
                            kept.push(value);
                        }
                        None if positional => kept.push(Self::Leaf("null".to_owned())),
                        None => {}
                    }
                }
                Ok(any.then_some(Self::Array(kept)))
            }
        }
    }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// A concrete step.
#[derive(Clone, Debug)]
pub(crate) enum At {
    Name(String),
    Position(usize),
}

fn is_of(step: &Step, at: &At) -> bool {
    match (step, at) {
        (Step::Member(name), At::Name(at)) => name == at,
        (Step::Items, At::Position(_)) => true,
        (Step::Index(index), At::Position(position)) => *index as usize == *position,
        _ => false,
    }
}

fn without_rest(path: &[Step]) -> &[Step] {
    path.strip_suffix(&[Step::Rest]).unwrap_or(path)
}

/// Whether the path names the place; `a.**` names `a` and all below.
fn names(path: &[Step], place: &[At]) -> bool {
    let fixed = without_rest(path);
    let far_enough = if fixed.len() == path.len() { place.len() == fixed.len() } else { place.len() >= fixed.len() };
    far_enough && fixed.iter().zip(place).all(|(step, at)| is_of(step, at))
}

/// Whether the path leads to the place, to end there or to go on.
fn leads_to(path: &[Step], place: &[At]) -> bool {
    names(path, place) || (place.len() < path.len() && path.iter().zip(place).all(|(step, at)| is_of(step, at)))
}

fn is_positional(path: &[Step], place: &[At]) -> bool {
    leads_to(path, place) && matches!(path.get(place.len()), Some(Step::Index(_)))
}

/// The rule that speaks for a place: more fixed steps, then ending here before `**`, then `[2]` before `[]`, then the first.
fn speaking<'r, R>(rules: &'r [(PathPattern, R)], place: &[At]) -> Option<&'r R> {
    speaker(rules, place).map(|(_, rule)| rule)
}

fn speaker<'r, R>(rules: &'r [(PathPattern, R)], place: &[At]) -> Option<&'r (PathPattern, R)> {
    let rank = |path: &PathPattern| {
        let fixed = without_rest(&path.0);
        let positions: Vec<bool> = path.0.iter().map(|step| matches!(step, Step::Index(_))).collect();
        (fixed.len(), fixed.len() == path.0.len(), positions)
    };
    let naming = rules.iter().filter(|(path, _)| names(&path.0, place));
    naming.rev().max_by_key(|(path, _)| rank(path))
}

/// Whether some place is named by both, so that an id at `path` is of the category of `rule`, unless that says more exactly where.
fn speaks_for_an_id(rule: &[Step], path: &[Step]) -> bool {
    let fixed = without_rest(rule);
    let alike = |(own, step): (&Step, &Step)| own == step || matches!((own, step), (Step::Items, Step::Index(_)) | (Step::Index(_), Step::Items));
    let has_rest = fixed.len() < rule.len();
    let is_narrower = !has_rest && fixed != path && fixed.iter().zip(path).all(|(own, step)| own == step || *step == Step::Items);
    (path.len() == fixed.len() || (has_rest && path.len() > fixed.len())) && fixed.iter().zip(path).all(alike) && !is_narrower
}

/// Why nothing goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Unreadable,
    SubjectAbsent,
    SubjectMismatch,
    Denied,
    OnDenyError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outer {
    Part,
    Count(CountRule),
    Open,
}

#[derive(Clone, Debug)]
enum Rule {
    Category(Category, OnDeny),
    Embed(crate::model::ShapeName),
    Open,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Named,
    Request,
    Embedded,
}

enum Outcome {
    Released { kept: Json, error: bool },
    Refused,
    NoSubject,
    Foreign,
}

/// Whose verdicts hold, and what came of it.
#[derive(Default)]
struct Scope {
    verdicts: Vec<Arc<Verdicts>>,
    personal: bool,
    error: bool,
}

impl Scope {
    fn of(judged: Vec<Judged>) -> Self {
        Self { verdicts: judged.into_iter().map(|judged| judged.verdicts).collect(), ..Self::default() }
    }

    fn release(&self, category: Category) -> Release {
        self.verdicts.iter().map(|verdicts| verdicts.release(category)).min().unwrap_or(Release::Withheld)
    }
}

/// What becomes of a body.
pub(crate) struct Tree<'t> {
    pub(crate) shapes: &'t Shapes,
    pub(crate) plan: &'t ResponsePlan,
    pub(crate) selected_by: &'t [Category],
    pub(crate) judge: &'t mut dyn Judge,
}

/// What was found on the way through a body.
#[derive(Default)]
struct Found {
    list: bool,
    object: Option<Outcome>,
    seen: usize,
    released: usize,
    /// Counts are set to this; without it they are left out.
    count: Option<usize>,
}

impl Tree<'_> {
    /// `counted`: counts are put in if they can be; else they are left out.
    pub(crate) fn filter(&mut self, body: &Json, counted: bool) -> Result<Json, Refused> {
        let plan = self.plan;
        let outer = outer(plan);
        let mut found = Found::default();
        let kept = self.outside(body, &[], true, &outer, &mut found)?;
        match plan {
            ResponsePlan::Rows { rows_max, .. } => {
                if !found.list {
                    return Err(Refused::Unreadable);
                }
                let (mut told, mut more) = (Vec::new(), found.seen > rows_max.map_or(usize::MAX, |max| max as usize));
                totals(body, &[], &outer, &mut told, &mut more);
                let rows = Json::Leaf(found.seen.to_string());
                let count = (counted && !more && told.iter().all(|told| *told == rows)).then_some(found.released);
                let kept = self.outside(body, &[], true, &outer, &mut Found { count, ..Found::default() })?;
                Ok(kept.unwrap_or_else(|| empty_of(body)))
            }
            ResponsePlan::Object { .. } => match found.object {
                None => Err(Refused::Unreadable),
                Some(Outcome::NoSubject) => Err(Refused::SubjectAbsent),
                Some(Outcome::Foreign) => Err(Refused::SubjectMismatch),
                Some(Outcome::Refused) => Err(Refused::Denied),
                Some(Outcome::Released { error: true, .. }) => Err(Refused::OnDenyError),
                Some(Outcome::Released { .. }) => kept.ok_or(Refused::Unreadable),
            },
            _ => match kept {
                None if matches!(body, Json::Leaf(_)) => Err(Refused::Unreadable),
                kept => Ok(kept.unwrap_or_else(|| empty_of(body))),
            },
        }
    }

    /// What stands around the rows or the object. `in_object`: the last container on the way to them is one, so that counts can wait.
    fn outside(
        &mut self,
        value: &Json,
        place: &[At],
        in_object: bool,
        outer: &[(PathPattern, Outer)],
        found: &mut Found,
    ) -> Result<Option<Json>, Refused> {
        let alive: Vec<_> = outer.iter().filter(|(path, _)| leads_to(&path.0, place)).collect();
        let on_the_way = alive.iter().any(|(_, rule)| *rule == Outer::Part);
        if alive.iter().any(|(path, rule)| *rule == Outer::Part && names(&path.0, place)) {
            return self.part(value, found);
        }
        if on_the_way && let (Json::Array(items), ResponsePlan::Rows { rows, .. }) = (value, self.plan) {
            found.list |= items.is_empty() && rows.0.get(place.len()) == Some(&Step::Items);
        }
        if place.is_empty() && on_the_way && matches!(value, Json::Leaf(_)) && !value.is_void() {
            return Err(Refused::Unreadable);
        }
        let rule = if on_the_way { None } else { speaking(outer, place) };
        match rule {
            Some(Outer::Count(CountRule::Free)) => return Ok(Some(value.clone())),
            Some(Outer::Count(CountRule::Rows)) => return Ok(found.count.filter(|_| in_object).map(|count| Json::Leaf(count.to_string()))),
            Some(Outer::Count(CountRule::Remove)) => return Ok(None),
            Some(Outer::Open) if !value.is_filled() => return Ok(Some(value.clone())),
            None if value.is_void() => {
                let harmless = |(_, rule): &&(PathPattern, Outer)| !matches!(rule, Outer::Count(CountRule::Rows | CountRule::Remove));
                return Ok((!alive.is_empty() && alive.iter().all(harmless)).then(|| value.clone()));
            }
            _ => {}
        }
        let in_object = if on_the_way { matches!(value, Json::Object(_)) } else { in_object };
        let positional = outer.iter().any(|(path, _)| is_positional(&path.0, place));
        // What leads to rows does not go out for its counts alone.
        let mut stays = !on_the_way || !in_object;
        let kept = value.children(positional, |child, at| {
            let place = with(place, at);
            let kept = self.outside(child, &place, in_object, outer, found)?;
            stays |= kept.is_some() && !waits(child, &place, outer);
            Ok(kept)
        });
        kept.map(|kept| kept.filter(|_| stays))
    }

    /// The list of rows, or the object.
    fn part(&mut self, value: &Json, found: &mut Found) -> Result<Option<Json>, Refused> {
        match (self.plan, value) {
            (ResponsePlan::Rows { shape, rows_max, .. }, Json::Array(rows)) => {
                found.list = true;
                let mut kept = Vec::new();
                for row in rows {
                    found.seen += 1;
                    if found.seen > rows_max.map_or(usize::MAX, |max| max as usize) || matches!(row, Json::Leaf(_)) {
                        continue;
                    }
                    match self.object(row, shape, Whose::Named) {
                        Outcome::Released { error: true, .. } => return Err(Refused::OnDenyError),
                        Outcome::Released { kept: row, .. } => kept.push(row),
                        Outcome::Refused | Outcome::NoSubject | Outcome::Foreign => {}
                    }
                }
                found.released += kept.len();
                Ok(Some(Json::Array(kept)))
            }
            (ResponsePlan::Object { shape, subject, .. }, Json::Object(_)) => {
                let whose = if *subject == Subject::Request { Whose::Request } else { Whose::Named };
                if whose == Whose::Request && self.judge.requested().is_none() {
                    return Err(Refused::SubjectAbsent);
                }
                let outcome = self.object(value, shape, whose);
                let kept = if let Outcome::Released { kept, .. } = &outcome { Some(kept.clone()) } else { None };
                found.object = Some(outcome);
                Ok(kept)
            }
            _ => Err(Refused::Unreadable),
        }
    }

    fn object(&mut self, object: &Json, shape: &Shape, whose: Whose) -> Outcome {
        let main = if shape.several == Several::Each { shape.customer.get(..1).unwrap_or_default() } else { &shape.customer };
        let ids = if whose == Whose::Request { ids_beside_the_request(object, main) } else { main_ids(object, main).filter(|ids| !ids.is_empty()) };
        let named = ids.and_then(|ids| self.judge_all(shape, &ids));
        let judged = named.as_deref().unwrap_or_default();
        let foreign = judged.iter().any(|judged| judged.is_requested.is_some()) && !judged.iter().any(|judged| judged.is_requested == Some(true));
        if foreign && whose != Whose::Embedded {
            return Outcome::Foreign;
        }
        let Some(mut judged) = named else { return Outcome::NoSubject };
        if whose == Whose::Request {
            judged.retain(|judged| judged.is_requested != Some(true));
            judged.extend(self.judge.requested());
        }
        let mut scope = Scope::of(judged);
        let needed = shape.needs.iter().all(|category| scope.release(*category) == Release::Full);
        if !needed || (whose != Whose::Embedded && !self.may_be_found(object, shape, &scope)) {
            return Outcome::Refused;
        }
        match self.keep(object, &[], shape, &mut scope) {
            Some(kept) if scope.personal => Outcome::Released { kept, error: scope.error },
            _ => Outcome::Refused,
        }
    }

    fn judge_all(&mut self, shape: &Shape, ids: &[String]) -> Option<Vec<Judged>> {
        if ids.is_empty() {
            return Some(Vec::new());
        }
        let space = shape.ids?;
        Some(ids.iter().map(|id| self.judge.judge(space, id)).collect())
    }

    /// Being found by a category tells something of everybody in the object.
    fn may_be_found(&mut self, object: &Json, shape: &Shape, scope: &Scope) -> bool {
        if self.selected_by.is_empty() {
            return true;
        }
        if !self.selected_by.iter().all(|category| scope.release(*category) == Release::Full) {
            return false;
        }
        if zones(shape).is_empty() {
            return true;
        }
        let mut ids = Vec::new();
        if !shape.customer.iter().all(|path| ids_at(object, &path.0, true, &mut ids)) {
            return false;
        }
        let judged = self.judge_all(shape, &ids).unwrap_or_default();
        judged.iter().all(|judged| self.selected_by.iter().all(|category| judged.verdicts.release(*category) == Release::Full))
    }

    fn keep(&mut self, value: &Json, place: &[At], shape: &Shape, scope: &mut Scope) -> Option<Json> {
        let entered: Vec<_> = zones(shape).into_iter().filter(|zone| names(&zone.place, place)).collect();
        if entered.is_empty() {
            return self.by_rule(value, place, shape, scope);
        }
        let id = |zone: &Zone| zone.id.iter().try_fold(value, Json::step).and_then(Json::id);
        let ids = entered.iter().map(id).collect::<Option<Vec<_>>>()?;
        let mut own = Scope::of(self.judge_all(shape, &ids)?);
        let kept = self.by_rule(value, place, shape, &mut own).filter(|_| own.personal)?;
        scope.error |= own.error;
        scope.personal |= entered.iter().any(|zone| zone.main);
        Some(kept)
    }

    fn by_rule(&mut self, value: &Json, place: &[At], shape: &Shape, scope: &mut Scope) -> Option<Json> {
        let rules = rules(shape);
        // What is null at `a.**` is so as a whole: below it no name stays behind.
        if let Some((path, Rule::Category(category, OnDeny::Null))) = speaker(&rules, place)
            && scope.release(*category) != Release::Full
            && path.0.last() == Some(&Step::Rest)
        {
            let covers = |path: &PathPattern| path.0.last() == Some(&Step::Rest) && names(&path.0, place);
            let is_covered = rules.iter().filter(|(path, _)| leads_to(&path.0, place)).all(|(path, _)| covers(path));
            if !value.is_filled() || is_covered {
                return (without_rest(&path.0).len() == place.len()).then(|| Json::Leaf("null".to_owned()));
            }
        }
        match speaking(&rules, place) {
            Some(Rule::Embed(name)) => self.embedded(value, *name, scope),
            Some(Rule::Open) if !value.is_filled() => Some(value.clone()),
            Some(Rule::Category(category, on_deny)) if !value.is_filled() => self.member(value, scope.release(*category), *on_deny, scope),
            None if value.is_void() => {
                let mut alive = rules.iter().filter(|(path, _)| leads_to(&path.0, place)).peekable();
                alive.peek()?;
                let permits = |(_, rule): &(PathPattern, Rule)| match rule {
                    Rule::Category(category, _) => scope.release(*category) == Release::Full,
                    Rule::Open => true,
                    Rule::Embed(_) => false,
                };
                alive.all(permits).then(|| value.clone())
            }
            _ => {
                let positional = rules.iter().any(|(path, _)| is_positional(&path.0, place));
                let kept: Result<_, std::convert::Infallible> =
                    value.children(positional, |child, at| Ok(self.keep(child, &with(place, at), shape, scope)));
                kept.ok().flatten()
            }
        }
    }

    fn member(&mut self, value: &Json, release: Release, on_deny: OnDeny, scope: &mut Scope) -> Option<Json> {
        match (release, on_deny) {
            (Release::Full, _) => {
                scope.personal = true;
                Some(value.clone())
            }
            (Release::Reduced, OnDeny::Mask(mask)) => {
                let form = self.masked(mask, &value.text()?)?;
                scope.personal = true;
                Some(Json::Leaf(serde_json::Value::from(form).to_string()))
            }
            (_, OnDeny::Null) => Some(Json::Leaf("null".to_owned())),
            (_, OnDeny::Error) => {
                scope.error = true;
                None
            }
            (_, OnDeny::Remove | OnDeny::Mask(_)) => None,
        }
    }

    fn masked(&mut self, mask: Mask, text: &str) -> Option<String> {
        let signs: Vec<char> = text.chars().filter(|c| c.is_alphanumeric()).collect();
        match mask {
            Mask::Last4 => (signs.len() >= 8).then(|| format!("****{}", signs.iter().rev().take(4).rev().collect::<String>())),
            Mask::Generalise => (signs.len() >= 4).then(|| format!("{}***", signs.iter().take(2).collect::<String>())),
            Mask::Pseudonym => self.judge.pseudonym(text).map(|keyed| format!("psn_{keyed}")),
            Mask::Year => {
                let figures = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
                let is_date =
                    figures == "0000" || figures == "0000-00-00" || ["T", "t", " "].iter().any(|t| figures.starts_with(&format!("0000-00-00{t}")));
                is_date.then(|| text.chars().take(4).collect())
            }
        }
    }

    fn embedded(&mut self, value: &Json, name: crate::model::ShapeName, scope: &mut Scope) -> Option<Json> {
        let shape = Arc::clone(self.shapes.get(&name)?);
        let mut one = |value: &Json, scope: &mut Scope| match value {
            Json::Object(_) => match self.object(value, &shape, Whose::Embedded) {
                Outcome::Released { kept, error } => {
                    scope.error |= error;
                    Some(kept)
                }
                Outcome::Refused | Outcome::NoSubject | Outcome::Foreign => None,
            },
            Json::Leaf(_) | Json::Array(_) => None,
        };
        match value {
            Json::Array(items) => {
                let kept: Vec<_> = items.iter().filter_map(|item| one(item, scope)).collect();
                (!kept.is_empty()).then_some(Json::Array(kept))
            }
            Json::Object(_) => one(value, scope),
            Json::Leaf(_) => None,
        }
    }
}

fn with(place: &[At], at: At) -> Vec<At> {
    place.iter().cloned().chain([at]).collect()
}

fn empty_of(body: &Json) -> Json {
    if matches!(body, Json::Array(_)) { Json::Array(Vec::new()) } else { Json::Object(Vec::new()) }
}

fn outer(plan: &ResponsePlan) -> Vec<(PathPattern, Outer)> {
    match plan {
        ResponsePlan::Empty | ResponsePlan::Free { .. } | ResponsePlan::Stream { .. } => Vec::new(),
        ResponsePlan::Open { open } => open.iter().map(|path| (path.clone(), Outer::Open)).collect(),
        ResponsePlan::Object { at, open, .. } => {
            std::iter::once((at.clone(), Outer::Part)).chain(open.iter().map(|path| (path.clone(), Outer::Open))).collect()
        }
        ResponsePlan::Rows { rows, counts, open, .. } => {
            let list = PathPattern(rows.0.strip_suffix(&[Step::Items]).unwrap_or(&rows.0).to_vec());
            let counts = counts.iter().map(|(path, rule)| (path.clone(), Outer::Count(*rule)));
            std::iter::once((list, Outer::Part)).chain(counts).chain(open.iter().map(|path| (path.clone(), Outer::Open))).collect()
        }
    }
}

/// Whether a count in it has to wait for the rows.
fn waits(value: &Json, place: &[At], outer: &[(PathPattern, Outer)]) -> bool {
    let alive = |wanted: Outer| outer.iter().any(|(path, rule)| *rule == wanted && leads_to(&path.0, place));
    let is_part = outer.iter().any(|(path, rule)| *rule == Outer::Part && names(&path.0, place));
    alive(Outer::Count(CountRule::Rows)) && !is_part && !(alive(Outer::Part) && value.is_filled())
}

/// What counts outside the list say, and whether something says that there is more than this answer holds.
fn totals(value: &Json, place: &[At], outer: &[(PathPattern, Outer)], told: &mut Vec<Json>, more: &mut bool) {
    let part = |exactly: bool| {
        outer.iter().any(|(path, rule)| *rule == Outer::Part && if exactly { names(&path.0, place) } else { leads_to(&path.0, place) })
    };
    if part(true) {
        return;
    }
    for (path, rule) in outer {
        let steps = without_rest(&path.0);
        if steps.len() != place.len() || !names(steps, place) {
            continue;
        }
        match rule {
            Outer::Count(CountRule::Rows | CountRule::Remove | CountRule::Link) if part(false) && value.is_filled() => *more = true,
            Outer::Count(CountRule::Rows) => told.push(value.clone()),
            Outer::Count(CountRule::Remove | CountRule::Link) => {
                *more |= !(value.is_void() || *value == Json::Leaf("false".to_owned()) || *value == Json::Leaf("\"\"".to_owned()));
            }
            Outer::Count(CountRule::Free) | Outer::Open | Outer::Part => {}
        }
    }
    match value {
        Json::Leaf(_) => {}
        Json::Array(items) => items.iter().enumerate().for_each(|(n, item)| totals(item, &with(place, At::Position(n)), outer, told, more)),
        Json::Object(members) => members.iter().for_each(|(name, value)| totals(value, &with(place, At::Name(name.clone())), outer, told, more)),
    }
}

fn rules(shape: &Shape) -> Vec<(PathPattern, Rule)> {
    let fields = shape.fields.iter().map(|field| {
        let rule = match field.rule {
            FieldRule::Category { category, on_deny } => Rule::Category(category, on_deny),
            FieldRule::Embed(name) => Rule::Embed(name),
        };
        (field.path.clone(), rule)
    });
    let mut rules: Vec<_> = fields.chain(shape.open.iter().map(|path| (path.clone(), Rule::Open))).collect();
    let ids: Vec<_> = shape.customer.iter().filter(|path| !rules.iter().any(|(rule, _)| speaks_for_an_id(&rule.0, &path.0))).collect();
    rules.extend(ids.into_iter().map(|path| (path.clone(), Rule::Open)));
    rules
}

/// What one of several customers judges alone, and where the id stands in it.
struct Zone {
    place: Vec<Step>,
    id: Vec<Step>,
    main: bool,
}

fn zones(shape: &Shape) -> Vec<Zone> {
    let mut zones = Vec::new();
    for (number, PathPattern(path)) in shape.customer.iter().enumerate().filter(|_| shape.several == Several::Each) {
        let main = number == 0;
        let length = match path.iter().rposition(|step| *step == Step::Items) {
            Some(last) => last + 1,
            None if path.len() > 1 && matches!(path.last(), Some(Step::Member(_))) => path.len() - 1,
            None if main => continue,
            None => path.len(),
        };
        let (place, id) = path.split_at(length);
        zones.push(Zone { place: place.to_vec(), id: id.to_vec(), main });
    }
    zones
}

/// The ids that judge an object: one at a path to one place, else all there are.
fn main_ids(object: &Json, paths: &[PathPattern]) -> Option<Vec<String>> {
    if let [PathPattern(path)] = paths
        && !path.contains(&Step::Items)
    {
        return path.iter().try_fold(object, Json::step).and_then(Json::id).map(|id| vec![id]);
    }
    let mut ids = Vec::new();
    for PathPattern(path) in paths {
        if !ids_at(object, path, true, &mut ids) || ids.is_empty() {
            return None;
        }
    }
    Some(ids)
}

/// Whom an object names whose customer the request has named: it need not say so, but nobody in it may be without an id. At a single
/// place there is an id or there is none.
fn ids_beside_the_request(object: &Json, paths: &[PathPattern]) -> Option<Vec<String>> {
    let mut ids = Vec::new();
    let all = paths.iter().all(|PathPattern(path)| ids_at(object, path, true, &mut ids));
    let is_single = matches!(paths, [PathPattern(path)] if !path.contains(&Step::Items));
    if is_single { Some(main_ids(object, paths).unwrap_or_default()) } else { all.then_some(ids) }
}

/// False when somebody stands there without an id.
fn ids_at(value: &Json, path: &[Step], at_root: bool, ids: &mut Vec<String>) -> bool {
    let Some((step, rest)) = path.split_first() else {
        ids.extend(value.id());
        return value.id().is_some();
    };
    let next = match (step, value) {
        (Step::Items, Json::Array(items)) => return items.iter().all(|item| ids_at(item, rest, false, ids)),
        (Step::Member(_), Json::Object(_)) | (Step::Index(_), Json::Array(_)) => value.step(step),
        _ => return false,
    };
    match next.filter(|next| **next != Json::Leaf("null".to_owned())) {
        Some(next) => ids_at(next, rest, false, ids),
        None => at_root || !rest.is_empty(),
    }
}
