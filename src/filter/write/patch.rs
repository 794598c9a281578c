//! JSON patches (RFC 6902, <https://www.rfc-editor.org/rfc/rfc6902>), judged operation by operation by the shape: what the record
//! holds is not known here, only what may stand where.
//!
//! - **add, replace** need what the value says, member by member, and all that it takes the place of: an object or list replaces
//!   the one that is there, as a PUT does. An element that is put into a list replaces nothing.
//! - **remove** needs every category at the place and below.
//! - **test** is a question, answered by whether the patch is taken: it needs to be readable in full, whatever is compared.
//! - **copy, move** carry what this room never sees. Both ends must be wholly of one category with one masked form, the same one, and
//!   the source must be readable in full: nothing comes to stand where others may see it.
//! - A customer's id may be given, and is compared like one in any body; it cannot be removed, carried, or asked for beside the
//!   record's own. What stands inside another person's part of the record is about somebody whom this write does not name: 403.
//! - In a list of which each position means something else, no element is put in or taken out: all behind it would change meaning.
//! - A masked value that comes back may be left out only with its whole operation, and only if no other operation says anything of
//!   its place.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::pointer::{Pointer, Spot, Towards};
use super::walk::{Effect, Here, Walk, below, shown};
use super::{BodyError, WriteRefused, moves};
use crate::filter::Limits;
use crate::filter::compiled::Rule;
use crate::filter::json::{Kind, Unreadable, Value, Whole as Tape};
use crate::filter::object::collect_ids;
use crate::filter::path::{Pattern, Place, speaking};
use crate::model::{Category, OnDeny, Release, Shape, Step};

/// Why a body is no JSON patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    #[error("a JSON patch is a list of operations, each an object with `op`, `path` and what the operation needs, and nothing else")]
    Operation,
    #[error("a pointer is not `/` with names and positions, in which `~` is `~0` and `/` is `~1`")]
    Pointer,
    #[error("a pointer to the whole record: a PUT replaces it and a DELETE removes it")]
    Whole,
    #[error("a position in a list is not a number without zeros before it, or `-` does not stand at the end of what is added")]
    Position,
    #[error("a value cannot be moved into itself")]
    IntoItself,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kinds {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}

#[derive(Debug)]
pub(super) struct Operation<'t> {
    kind: Kinds,
    path: Pointer,
    from: Option<Pointer>,
    value: Option<Value<'t>>,
}

pub(super) fn read<'t>(tape: &'t Tape<'_>, limits: &Limits) -> Result<Vec<Operation<'t>>, BodyError> {
    let root = tape.root()?;
    if root.kind() != Kind::Array {
        return Err(Unreadable::TopLevel.into());
    }
    root.items().map(|item| operation(item, limits)).collect()
}

fn operation<'t>(item: Value<'t>, limits: &Limits) -> Result<Operation<'t>, BodyError> {
    let (mut op, mut path, mut from, mut value) = (None, None, None, None);
    for member in item.members() {
        let slot = match member.name {
            "op" => &mut op,
            "path" => &mut path,
            "from" => &mut from,
            "value" => &mut value,
            _ => return Err(PatchError::Operation.into()),
        };
        *slot = Some(member.value);
    }
    let text = |value: Option<Value<'t>>| value.and_then(|value| value.text());
    let kind = match text(op).as_deref() {
        Some("add") => Kinds::Add,
        Some("remove") => Kinds::Remove,
        Some("replace") => Kinds::Replace,
        Some("move") => Kinds::Move,
        Some("copy") => Kinds::Copy,
        Some("test") => Kinds::Test,
        Some(_) | None => return Err(PatchError::Operation.into()),
    };
    let wants_value = matches!(kind, Kinds::Add | Kinds::Replace | Kinds::Test);
    let wants_from = matches!(kind, Kinds::Move | Kinds::Copy);
    if value.is_some() != wants_value || from.is_some() != wants_from {
        return Err(PatchError::Operation.into());
    }
    let pointer = |value: Value<'t>| Pointer::parse(&value.text().ok_or(PatchError::Operation)?, limits.depth_max);
    let operation = Operation { kind, path: pointer(path.ok_or(PatchError::Operation)?)?, from: from.map(pointer).transpose()?, value };
    let Operation { path, from, .. } = &operation;
    let is_end = |pointer: &Pointer| pointer.0.iter().any(|token| token == "-");
    let ends_rightly = !is_end(path) || (path.is_end_of_list() && path.0.iter().filter(|t| *t == "-").count() == 1);
    let adds = matches!(kind, Kinds::Add | Kinds::Move | Kinds::Copy);
    if from.as_ref().is_some_and(is_end) || !ends_rightly || (is_end(path) && !adds) {
        return Err(PatchError::Position.into());
    }
    let is_into_itself = from.as_ref().is_some_and(|from| path.0.len() > from.0.len() && path.0.starts_with(&from.0));
    if kind == Kinds::Move && is_into_itself {
        return Err(PatchError::IntoItself.into());
    }
    Ok(operation)
}

/// The customers whom the values name, each with whether that says whose the record is.
pub(super) fn references<'t>(tape: &'t Tape<'_>, shape: &Shape, limits: &Limits) -> Result<Vec<(Cow<'t, str>, bool)>, BodyError> {
    let mut found = Vec::new();
    for operation in read(tape, limits)? {
        let Some(value) = operation.value.filter(|_| operation.kind != Kinds::Test) else { continue };
        for (number, path) in shape.customer.iter().enumerate() {
            let mut ids = Vec::new();
            match operation.path.towards(path) {
                Towards::At => ids.push(value.id().ok_or(Unreadable::Id)?),
                Towards::Above(rest) => collect_ids(value, rest, false, &mut ids).map_err(|_unidentified| Unreadable::Id)?,
                Towards::Apart | Towards::Within => {}
            }
            found.extend(ids.into_iter().map(|id| (id, moves(shape, number))));
        }
    }
    Ok(found)
}

/// Judges the operations and writes those that are to be sent. `all`: where every path of the shape begins.
///
/// # Errors
/// [`WriteRefused`] with everything that refuses the patch.
pub(super) fn judge<'t>(
    operations: &'t [Operation<'t>],
    shape: &Shape,
    all: &Here<'_, '_>,
    walk: Walk<'_, 't>,
    masked_drop: bool,
) -> Result<Bytes, WriteRefused> {
    let mut judging = Judging { shape, all, walk, named: masked_drop.then(|| Named::of(operations)) };
    let mut out = String::from("[");
    let (mut kept, mut left_out) = (false, Vec::new());
    for operation in operations {
        match judging.operation(operation) {
            Outcome::Kept => {
                if out.len() > 1 {
                    out.push(',');
                }
                operation.write(&mut out);
                kept |= operation.kind != Kinds::Test;
            }
            Outcome::LeftOut(path) => left_out.push(path),
        }
    }
    if !kept {
        judging.walk.masked.extend(left_out);
    }
    judging.walk.finish()?;
    out.push(']');
    Ok(Bytes::from(out))
}

enum Outcome {
    /// Sent, if nothing refuses the patch.
    Kept,
    /// Its masked value must not be stored; the path of the shape.
    LeftOut(String),
}

struct Judging<'j, 'w, 't> {
    shape: &'j Shape,
    all: &'j Here<'j, 'j>,
    walk: Walk<'w, 't>,
    named: Option<Named>,
}

impl<'t> Judging<'_, '_, 't> {
    fn operation(&mut self, operation: &'t Operation<'t>) -> Outcome {
        let (all, references) = (self.all.alive, self.all.references);
        let Some(spot) = Spot::find(&operation.path, all, references) else {
            return self.refuse(&operation.path, None);
        };
        if spot.alive.is_empty() || self.is_about_others(operation) {
            return self.refuse(&operation.path, Some(&spot));
        }
        match (operation.kind, operation.value, &operation.from) {
            (Kinds::Add | Kinds::Replace, Some(value), _) => return self.value(operation, value, &spot),
            (Kinds::Test, Some(value), _) => self.test(value, &spot),
            (Kinds::Move | Kinds::Copy, _, Some(from)) => match Spot::find(from, all, references) {
                Some(source) => self.carry(operation.kind, &source, &spot),
                None => return self.refuse(from, None),
            },
            (Kinds::Remove, ..) => self.remove(&spot),
            (Kinds::Add | Kinds::Replace | Kinds::Test | Kinds::Move | Kinds::Copy, ..) => return self.refuse(&operation.path, Some(&spot)),
        }
        Outcome::Kept
    }

    fn refuse(&mut self, pointer: &'t Pointer, spot: Option<&Spot<'_, '_, 't>>) -> Outcome {
        match spot {
            Some(spot) => self.forbid(spot),
            None => {
                let places = pointer.0.iter().map(|token| Place::Member(super::pointer::name(token)));
                self.walk.trail.places = places.collect();
                self.walk.forbidden.insert(self.walk.trail.render());
                self.walk.trail.places.clear();
            }
        }
        Outcome::Kept
    }

    /// Names what speaks for the place, else the place.
    fn forbid(&mut self, spot: &Spot<'_, '_, 't>) {
        let path = match speaking(&spot.alive, spot.depth) {
            Some(pattern) => shown(pattern),
            None => self.render(spot),
        };
        self.walk.forbidden.insert(path);
    }

    fn render(&mut self, spot: &Spot<'_, '_, 't>) -> String {
        self.walk.trail.places.clone_from(&spot.places);
        let path = self.walk.trail.render();
        self.walk.trail.places.clear();
        path
    }

    /// Whether an operation touches a person beside whom the record is about, whom this write does not name; or the id of one
    /// in another way than by saying who stands there.
    fn is_about_others(&self, operation: &Operation<'_>) -> bool {
        let gives = matches!(operation.kind, Kinds::Add | Kinds::Replace);
        self.shape.customer.iter().enumerate().any(|(number, path)| {
            let is_main = number == 0 && !path.0.contains(&Step::Items);
            let carried = operation.from.as_ref().map(|from| from.towards(path));
            let is_carried = match carried {
                Some(Towards::At | Towards::Above(_)) => true,
                Some(Towards::Within) => !is_main,
                Some(Towards::Apart) | None => false,
            };
            is_carried
                || match operation.path.towards(path) {
                    Towards::Apart => false,
                    Towards::Within => !is_main,
                    Towards::At => !(is_main && (gives || operation.kind == Kinds::Test)),
                    Towards::Above(_) if is_main => !gives && operation.kind != Kinds::Test,
                    // A person is put in whole, or taken out; which one is there is not asked.
                    Towards::Above(_) => !gives && operation.kind != Kinds::Remove,
                }
        })
    }

    fn value(&mut self, operation: &'t Operation<'t>, value: Value<'t>, spot: &Spot<'_, '_, 't>) -> Outcome {
        let puts_in = operation.kind == Kinds::Add && spot.is_in_list();
        if puts_in && spot.is_positional {
            self.forbid(spot);
            return Outcome::Kept;
        }
        if let Some(path) = self.may_be_left_out(operation, value, spot) {
            return Outcome::LeftOut(path);
        }
        let here = Here { alive: &spot.alive, references: &spot.references, depth: spot.depth };
        if value.is_container() && !value.is_void() && !puts_in {
            self.walk.replaces(&here);
        }
        self.walk.trail.places.clone_from(&spot.places);
        self.walk.value(value, &here, &mut String::new());
        self.walk.trail.places.clear();
        Outcome::Kept
    }

    /// A masked value that comes back, of which no other operation says anything, in no list.
    fn may_be_left_out(&self, operation: &Operation<'_>, value: Value<'_>, spot: &Spot<'_, '_, 't>) -> Option<String> {
        let named = self.named.as_ref()?;
        let pattern = speaking(&spot.alive, spot.depth)?;
        let Rule::Category { category, on_deny } = pattern.rule else { return None };
        let may_be = !value.is_container()
            && self.walk.comes_back_masked(value, category, on_deny)
            && !spot.leads_through_list()
            && named.only_once(&operation.path);
        may_be.then(|| shown(pattern))
    }

    fn remove(&mut self, spot: &Spot<'_, '_, 't>) {
        if spot.is_positional {
            self.forbid(spot);
            return;
        }
        let here = Here { alive: &spot.alive, references: &spot.references, depth: spot.depth };
        let speaking = speaking(&spot.alive, spot.depth);
        if let Some(pattern) = speaking {
            match pattern.rule {
                Rule::Category { category, .. } if self.walk.verdicts.release(category) == Release::Full => self.walk.permitted = true,
                Rule::Category { .. } | Rule::Embed(_) | Rule::Link | Rule::Unasked | Rule::Unmapped | Rule::Hidden | Rule::Read => self.forbid(spot),
                Rule::Open => {
                    self.walk.open.insert(shown(pattern));
                }
            }
        }
        self.walk.wipes(&here, speaking);
    }

    fn test(&mut self, value: Value<'t>, spot: &Spot<'_, '_, 't>) {
        let mut asked = below(&spot.alive, spot.depth);
        asked.extend(speaking(&spot.alive, spot.depth));
        for pattern in asked {
            let is_readable = match pattern.rule {
                Rule::Category { category, .. } => self.walk.readable.release(category) == Release::Full,
                Rule::Embed(_) | Rule::Link | Rule::Unasked | Rule::Unmapped | Rule::Hidden | Rule::Read => false,
                Rule::Open => self.reads_something(),
            };
            if !is_readable {
                self.walk.forbidden.insert(shown(pattern));
            }
        }
        // What the shape does not map is nobody's to ask for.
        let mut probe = Walk::new(self.walk.readable, self.walk.readable, Effect::New);
        probe.trail.places.clone_from(&spot.places);
        let here = Here { alive: &spot.alive, references: &spot.references, depth: spot.depth };
        probe.value(value, &here, &mut String::new());
        self.walk.forbidden.append(&mut probe.forbidden);
    }

    /// As a row goes out: members without customer data go along with something that is read in full.
    fn reads_something(&self) -> bool {
        let is_full = |category: &Category| self.walk.readable.release(*category) == Release::Full;
        self.shape.categories().iter().any(is_full) && self.shape.needs.iter().all(is_full)
    }

    fn carry(&mut self, kind: Kinds, source: &Spot<'_, '_, 't>, target: &Spot<'_, '_, 't>) {
        let shifts = (kind == Kinds::Move && source.is_positional) || target.is_positional;
        match (Whole::of(source), Whole::of(target)) {
            (Some(from), Some(to)) if !shifts && from.rule == to.rule && (from.with_members || !to.with_members) => match from.rule {
                Some((category, _)) => {
                    let is_full = self.walk.readable.release(category) == Release::Full && self.walk.verdicts.release(category) == Release::Full;
                    if is_full {
                        self.walk.permitted = true;
                    } else {
                        self.forbid(source);
                        self.forbid(target);
                    }
                }
                None if self.reads_something() => {
                    let path = speaking(&target.alive, target.depth).map(shown);
                    self.walk.open.extend(path);
                }
                None => self.forbid(source),
            },
            _ => {
                self.forbid(source);
                self.forbid(target);
            }
        }
    }
}

/// What stands at a place if all of it is one thing, whatever it holds.
struct Whole {
    /// `None`: without customer data.
    rule: Option<(Category, OnDeny)>,
    /// Whether an object there is mapped with all its members.
    with_members: bool,
}

impl Whole {
    fn of(spot: &Spot<'_, '_, '_>) -> Option<Self> {
        let rule = |pattern: &Pattern<'_, Rule>| match pattern.rule {
            Rule::Category { category, on_deny } => Some(Some((category, on_deny))),
            Rule::Open => Some(None),
            Rule::Embed(_) | Rule::Link | Rule::Unasked | Rule::Unmapped | Rule::Hidden | Rule::Read => None,
        };
        let first = rule(speaking(&spot.alive, spot.depth)?)?;
        let inner = below(&spot.alive, spot.depth);
        let is_one = inner.iter().all(|pattern| rule(pattern) == Some(first) && pattern.names(spot.depth));
        is_one.then_some(Self { rule: first, with_members: !inner.is_empty() })
    }
}

impl Operation<'_> {
    fn write(&self, out: &mut String) {
        let name = match self.kind {
            Kinds::Add => "add",
            Kinds::Remove => "remove",
            Kinds::Replace => "replace",
            Kinds::Move => "move",
            Kinds::Copy => "copy",
            Kinds::Test => "test",
        };
        let text = |pointer: &Pointer| serde_json::Value::from(pointer.to_string()).to_string();
        out.push_str("{\"op\":\"");
        out.push_str(name);
        if let Some(from) = &self.from {
            out.push_str("\",\"from\":");
            out.push_str(&text(from));
            out.push_str(",\"path\":");
        } else {
            out.push_str("\",\"path\":");
        }
        out.push_str(&text(&self.path));
        if let Some(value) = self.value {
            out.push_str(",\"value\":");
            out.push_str(value.raw());
        }
        out.push('}');
    }
}

/// How often the operations of a patch say something of a place, by its hash: one too many refuses, so that equal ones do no harm.
struct Named {
    /// Of the place itself.
    at: HashSet<u64>,
    /// Of it or of something below.
    within: HashMap<u64, usize>,
}

impl Named {
    fn of(operations: &[Operation<'_>]) -> Self {
        let mut named = Self { at: HashSet::new(), within: HashMap::new() };
        for pointer in operations.iter().flat_map(|o| std::iter::once(&o.path).chain(&o.from)) {
            let places = pointer.hashes();
            named.at.extend(places.last());
            for place in places {
                *named.within.entry(place).or_default() += 1;
            }
        }
        named
    }

    /// Once of the place and what is below it, and never of what is above.
    fn only_once(&self, pointer: &Pointer) -> bool {
        let places = pointer.hashes();
        let above = places.iter().rev().skip(1);
        places.last().and_then(|place| self.within.get(place)) == Some(&1) && !above.into_iter().any(|place| self.at.contains(place))
    }
}
