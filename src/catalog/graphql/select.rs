//! What a query selects once fragments, `@include` and `@skip` are resolved: for each place of the answer the fields that can stand
//! there, each with the object type that has it. <https://spec.graphql.org/October2021/#sec-Field-Collection>, and as closed as
//! <https://spec.graphql.org/October2021/#sec-Field-Selection-Merging>: one name in the answer is one field with one set of arguments.
//!
//! INVARIANT: the work is bounded by `selections` whatever fragments repeat, since every selection that is looked at counts.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::document::{Condition, Document, Field, Operation, Selection, Value};
use super::error::{QueryError, short};
use super::schema::{Kind, Schema, TypeRef};
use super::{Limits, RESERVED};

/// The one name that introspection has in every object.
pub(super) const TYPENAME: &str = "__typename";

/// Fragments in fragments at one place of the answer.
const FRAGMENTS_NESTED_MAX: usize = 32;

/// A field of the answer.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) key: String,
    pub(super) name: String,
    pub(super) of: TypeRef,
    pub(super) args: Vec<(String, Value)>,
    pub(super) children: Children,
}

/// What is selected in an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Children {
    /// Names under which the type stands in the answer.
    pub(super) typenames: Vec<String>,
    /// One for an object type; for an interface or union one for each object type that is asked for.
    pub(super) groups: Vec<Group>,
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) on: String,
    pub(super) nodes: Vec<Node>,
}

/// Resolves the operation's selection; `given` are the request's variables.
pub(super) fn resolve(
    schema: &Schema,
    document: &Document,
    operation: &Operation,
    given: &Map<String, Json>,
    limits: &Limits,
) -> Result<Children, QueryError> {
    let mut resolver = Resolver { schema, document, operation, given, limits, selections: 0, aliases: 0 };
    let root = vec![Visit { selections: &operation.selections, within: Vec::new(), nested: 0 }];
    resolver.children(schema.query(), &root, 1)
}

struct Resolver<'d> {
    schema: &'d Schema,
    document: &'d Document,
    operation: &'d Operation,
    given: &'d Map<String, Json>,
    limits: &'d Limits,
    selections: usize,
    aliases: usize,
}

/// A selection set to be looked at, and the fragments in which it stands.
#[derive(Clone)]
struct Visit<'d> {
    selections: &'d [Selection],
    within: Vec<&'d str>,
    /// Fragments around it at this place, inline ones, too.
    nested: usize,
}

/// The fields of one name in the answer, in one object type.
struct Merged<'d> {
    on: String,
    key: &'d str,
    fields: Vec<(&'d Field, Vec<&'d str>)>,
}

#[derive(Default)]
struct Collected<'d> {
    typenames: Vec<String>,
    merged: Vec<Merged<'d>>,
}

impl<'d> Resolver<'d> {
    fn children(&mut self, of: &str, visits: &[Visit<'d>], depth: usize) -> Result<Children, QueryError> {
        if depth > self.limits.depth {
            return Err(QueryError::TooMuch { what: "levels", max: self.limits.depth });
        }
        let possible = self.possible(of)?;
        let is_object = self.schema.get(of).is_some_and(|found| found.kind == Kind::Object);
        let mut collected = Collected::default();
        for visit in visits {
            self.collect(visit, &possible, is_object.then_some(of), &mut collected)?;
        }
        let mut children = Children { typenames: collected.typenames, groups: Vec::new() };
        for merged in collected.merged {
            if children.typenames.iter().any(|key| key == merged.key) {
                return Err(QueryError::field(merged.key, "is the name of two different fields; give them different aliases"));
            }
            let Some(node) = self.node(&merged, depth)? else { continue };
            match children.groups.iter_mut().find(|group| group.on == merged.on) {
                Some(group) => group.nodes.push(node),
                None => children.groups.push(Group { on: merged.on, nodes: vec![node] }),
            }
        }
        Ok(children)
    }

    fn possible(&self, of: &str) -> Result<BTreeSet<String>, QueryError> {
        let found = self.schema.get(of).filter(|found| matches!(found.kind, Kind::Object | Kind::Interface | Kind::Union));
        found.map(|found| found.possible.clone()).ok_or_else(|| QueryError::field(of, "is no type with fields"))
    }

    /// `possible`: the object types that the place can be of; `on`: when it is one only, because the type or a fragment says so.
    fn collect(&mut self, visit: &Visit<'d>, possible: &BTreeSet<String>, on: Option<&str>, out: &mut Collected<'d>) -> Result<(), QueryError> {
        if visit.nested > FRAGMENTS_NESTED_MAX {
            return Err(QueryError::TooMuch { what: "fragments in each other", max: FRAGMENTS_NESTED_MAX });
        }
        for selection in visit.selections {
            self.selections += 1;
            if self.selections > self.limits.selections {
                return Err(QueryError::TooMuch { what: "selections", max: self.limits.selections });
            }
            match selection {
                Selection::Field(field) if self.applies(&field.when)? => self.field(field, &visit.within, on, out)?,
                Selection::Spread { fragment: name, when } if self.applies(when)? => {
                    let told = |why| QueryError::Fragment { name: short(name.clone()), why };
                    let fragment = self.document.fragments.get(name).ok_or_else(|| told("is not defined"))?;
                    if visit.within.iter().any(|around| around == name) {
                        return Err(told("holds itself"));
                    }
                    let mut within = visit.within.clone();
                    within.push(name);
                    let inner = Visit { selections: &fragment.selections, within, nested: visit.nested + 1 };
                    self.within(&inner, Some(&fragment.on), possible, on, out)?;
                }
                Selection::Inline { on: condition, when, selections } if self.applies(when)? => {
                    let inner = Visit { selections, within: visit.within.clone(), nested: visit.nested + 1 };
                    self.within(&inner, condition.as_deref(), possible, on, out)?;
                }
                Selection::Field(_) | Selection::Spread { .. } | Selection::Inline { .. } => {}
            }
        }
        Ok(())
    }

    /// A fragment's selection, for those of the possible types that it is for.
    fn within(
        &mut self,
        visit: &Visit<'d>,
        condition: Option<&str>,
        possible: &BTreeSet<String>,
        on: Option<&str>,
        out: &mut Collected<'d>,
    ) -> Result<(), QueryError> {
        let Some(condition) = condition else { return self.collect(visit, possible, on, out) };
        let wanted = self.possible(condition)?;
        let both: BTreeSet<String> = wanted.intersection(possible).cloned().collect();
        if both.is_empty() {
            return Err(QueryError::field(condition, "is a type that can never stand where the fragment asks for it"));
        }
        let is_object = wanted.contains(condition);
        self.collect(visit, &both, on.or_else(|| is_object.then_some(condition)), out)
    }

    fn field(&mut self, field: &'d Field, within: &[&'d str], on: Option<&str>, out: &mut Collected<'d>) -> Result<(), QueryError> {
        if field.key != field.name {
            self.aliases += 1;
            if self.aliases > self.limits.aliases {
                return Err(QueryError::TooMuch { what: "aliases", max: self.limits.aliases });
            }
            if field.key.starts_with("__") {
                return Err(QueryError::field(&field.key, "is no alias: names that begin with `__` are the language's own"));
            }
        }
        if field.name == TYPENAME && !field.key.starts_with(RESERVED) {
            if !field.args.is_empty() || !field.selections.is_empty() {
                return Err(QueryError::field(TYPENAME, "takes no arguments and has no fields"));
            }
            if !out.typenames.contains(&field.key) {
                out.typenames.push(field.key.clone());
            }
            return Ok(());
        }
        if field.name.starts_with("__") && field.name != TYPENAME {
            return Err(QueryError::Introspection);
        }
        if field.key.starts_with(RESERVED) {
            return Err(QueryError::field(&field.key, "is a name that the gateway has for itself; take another"));
        }
        let on =
            on.ok_or_else(|| QueryError::field(&field.name, "is asked of an interface or union; ask for it in a fragment on each object type"))?;
        match out.merged.iter_mut().find(|known| known.on == on && known.key == field.key) {
            Some(known) => known.fields.push((field, within.to_vec())),
            None => out.merged.push(Merged { on: on.to_owned(), key: &field.key, fields: vec![(field, within.to_vec())] }),
        }
        Ok(())
    }

    /// `None`: nothing is left of what it selects.
    fn node(&mut self, merged: &Merged<'d>, depth: usize) -> Result<Option<Node>, QueryError> {
        let Some(((first, _), others)) = merged.fields.split_first() else { return Ok(None) };
        let told = format!("{}.{}", merged.on, first.name);
        if others.iter().any(|(other, _)| other.name != first.name || other.args != first.args) {
            return Err(QueryError::field(merged.key, "is the name of two different fields; give them different aliases"));
        }
        let def = self.schema.field(&merged.on, &first.name).ok_or_else(|| QueryError::field(&told, "is not in the schema"))?;
        self.arguments(&told, &def.args, &first.args)?;
        let is_leaf = self.schema.is_leaf(def.of.name());
        if let Some((wrong, _)) = merged.fields.iter().find(|(field, _)| field.selections.is_empty() != is_leaf) {
            let why = if wrong.selections.is_empty() { "has fields; select some" } else { "has no fields to select" };
            return Err(QueryError::field(&told, why));
        }
        let mut children = Children::default();
        if !is_leaf {
            let visits: Vec<Visit<'d>> =
                merged.fields.iter().map(|(field, within)| Visit { selections: &field.selections, within: within.clone(), nested: 0 }).collect();
            children = self.children(def.of.name(), &visits, depth + 1)?;
            if children.groups.is_empty() && children.typenames.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(Node { key: first.key.clone(), name: first.name.clone(), of: def.of.clone(), args: first.args.clone(), children }))
    }

    fn arguments(
        &self,
        told: &str,
        defined: &std::collections::BTreeMap<String, super::schema::InputDef>,
        given: &[(String, Value)],
    ) -> Result<(), QueryError> {
        for (name, value) in given {
            if !defined.contains_key(name) {
                return Err(QueryError::argument(format!("{told}({name})"), "is not in the schema"));
            }
            self.variables(value)?;
        }
        let missing = defined.iter().find(|(name, def)| def.must_be_given() && !given.iter().any(|(known, _)| known == *name));
        missing.map_or(Ok(()), |(name, _)| Err(QueryError::argument(format!("{told}({name})"), "must be given")))
    }

    fn variables(&self, value: &Value) -> Result<(), QueryError> {
        match value {
            Value::Variable(name) if !self.operation.variables.contains_key(name) => {
                Err(QueryError::Variable { name: short(name.clone()), why: "is not defined by the operation" })
            }
            Value::List(items) => items.iter().try_for_each(|item| self.variables(item)),
            Value::Object(fields) => fields.iter().try_for_each(|(_, item)| self.variables(item)),
            Value::Variable(_) | Value::Number(_) | Value::Text(_) | Value::Bool(_) | Value::Null | Value::Enum(_) => Ok(()),
        }
    }

    fn applies(&self, when: &[Condition]) -> Result<bool, QueryError> {
        for condition in when {
            if self.truth(&condition.given)? != condition.include {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn truth(&self, value: &Value) -> Result<bool, QueryError> {
        let name = match value {
            Value::Bool(truth) => return Ok(*truth),
            Value::Variable(name) => name,
            Value::Number(_) | Value::Text(_) | Value::Null | Value::Enum(_) | Value::List(_) | Value::Object(_) => "",
        };
        let told = |why| QueryError::Variable { name: short(name.to_owned()), why };
        let default = self.operation.variables.get(name).ok_or_else(|| told("is not defined by the operation"))?;
        match (self.given.get(name), default) {
            (Some(Json::Bool(truth)), _) | (None, Some(Value::Bool(truth))) => Ok(*truth),
            _ => Err(told("decides about `@include` or `@skip`; give it `true` or `false`")),
        }
    }
}
