//! Whether what is declared of a GraphQL API is in its schema: `check` says so before a query meets a path that nothing can have.

use std::collections::BTreeSet;

use super::schema::{FieldDef, InputDef, Kind, Schema, TypeRef};
use super::{Answers, RESERVED, RootField};
use crate::model::{FieldRule, PathPattern, Several, Shape, Shapes, Step};

/// Where a path of the configuration leads.
struct Reached<'s> {
    of: &'s str,
    /// Lists that the path does not enter.
    lists: usize,
    /// Below a scalar of the API's own, which may hold anything.
    opaque: bool,
    /// Fields on the way that cannot be asked for without arguments.
    demanding: bool,
}

impl Schema {
    /// The fields of the query type.
    pub fn root_fields(&self) -> impl Iterator<Item = &str> {
        self.get(self.query()).into_iter().flat_map(|found| found.fields.keys().map(String::as_str))
    }

    /// Whether an object type has a field.
    #[must_use]
    pub fn has_field(&self, of: &str, name: &str) -> bool {
        self.get(of).is_some_and(|found| found.kind == Kind::Object && found.fields.contains_key(name))
    }

    /// Object types that a field of the query type can return at a path.
    ///
    /// # Errors
    /// What is wrong with the path.
    pub fn answered(&self, name: &str, field: &RootField) -> Result<BTreeSet<String>, String> {
        let (path, wants_list) = match &field.answers {
            Answers::Object { at, .. } => (at, false),
            Answers::Rows { rows, .. } => (rows, true),
        };
        let reached = self.at_root(name, path)?;
        let enters_list = path.0.contains(&Step::Items);
        if enters_list != wants_list || reached.lists > 0 || reached.opaque || self.is_leaf(reached.of) {
            let help = if wants_list { "write a path like `edges[].node` or `[]`" } else { "write `rows = \"…\"` for a list" };
            return Err(format!("`{}.{name}` does not return objects there: {help}", self.query()));
        }
        Ok(self.get(reached.of).map(|found| found.possible.clone()).unwrap_or_default())
    }

    /// # Errors
    /// A count or open path that is no value beside the rows.
    pub fn beside(&self, name: &str, path: &PathPattern) -> Result<(), String> {
        let reached = self.at_root(name, path)?;
        if reached.lists == 0 && !reached.opaque && self.is_leaf(reached.of) {
            return Ok(());
        }
        Err(format!("`{path}` is not one value"))
    }

    /// # Errors
    /// What of a shape an object type does not have.
    pub fn fits(&self, of: &str, shape: &Shape, shapes: &Shapes) -> Result<(), String> {
        if shape.several == Several::Each {
            return Err(format!(
                "the shape `{}` has `several = \"each\"`, which is not available for GraphQL; embed the shape of the others",
                shape.name
            ));
        }
        for field in &shape.fields {
            let reached = self.at(of, &field.path)?;
            match field.rule {
                FieldRule::Category { .. } => self.is_value(&field.path, &reached)?,
                FieldRule::Embed(name) => {
                    let kind = self.get(reached.of).map(|found| found.kind);
                    if kind != Some(Kind::Object) || reached.opaque {
                        return Err(format!("`{}` of shape `{}` is no object type; what is embedded must be one", field.path, shape.name));
                    }
                    if let Some(inner) = shapes.get(&name) {
                        self.fits(reached.of, inner, shapes)?;
                    }
                }
            }
        }
        for path in &shape.open {
            self.is_value(path, &self.at(of, path)?)?;
        }
        for path in &shape.customer {
            let reached = self.at(of, path)?;
            self.is_value(path, &reached)?;
            if reached.demanding || reached.opaque {
                return Err(format!("the gateway cannot ask for `{path}` of `{of}`, which names the customer: it takes arguments, or is no field"));
            }
        }
        Ok(())
    }

    /// A value that ends there, or all that is below.
    fn is_value(&self, path: &PathPattern, reached: &Reached<'_>) -> Result<(), String> {
        if path.0.iter().any(|step| matches!(step, Step::Index(_))) {
            return Err(format!("`{path}` names a position, which a GraphQL list does not have"));
        }
        if reached.opaque || path.0.last() == Some(&Step::Rest) {
            return Ok(());
        }
        if reached.lists > 0 {
            return Err(format!("`{path}` is a list in the schema; write `{path}{}`", "[]".repeat(reached.lists)));
        }
        if self.is_leaf(reached.of) { Ok(()) } else { Err(format!("`{path}` is an object in the schema; write `{path}.**`, or its members")) }
    }

    fn at_root(&self, name: &str, path: &PathPattern) -> Result<Reached<'_>, String> {
        let of = &self.field(self.query(), name).ok_or_else(|| format!("`{}` has no field `{name}`", self.query()))?.of;
        let entered = path.0.iter().take_while(|step| **step == Step::Items).count();
        if entered != of.lists() && (entered > of.lists() || path.0.len() > entered) {
            return Err(format!("`{}.{name}` has the type `{of}`, and `{path}` enters it differently", self.query()));
        }
        let rest = PathPattern(path.0.iter().skip(entered).cloned().collect());
        let mut reached = self.at(of.name(), &rest)?;
        if rest.0.is_empty() {
            reached.lists = of.lists() - entered;
        }
        Ok(reached)
    }

    fn at(&self, of: &str, path: &PathPattern) -> Result<Reached<'_>, String> {
        let mut of = self.known(of).ok_or_else(|| format!("the schema has no type `{of}`"))?;
        let mut demanding = false;
        let mut steps = path.0.iter().peekable();
        while let Some(step) = steps.next() {
            let name = match step {
                Step::Member(name) => name,
                Step::Rest => break,
                Step::Items | Step::Index(_) => return Err(format!("`{path}` enters `{of}` as a list, which it is not")),
            };
            let def = self.member(of, name).ok_or_else(|| format!("`{of}` of the schema has no field `{name}` (`{path}`)"))?;
            if name.starts_with(RESERVED) {
                return Err(format!("the gateway has names beginning with `{RESERVED}` for itself (`{path}`)"));
            }
            demanding |= def.args.values().any(InputDef::must_be_given);
            of = def.of.name();
            let mut lists = def.of.lists();
            while lists > 0 && steps.next_if(|step| matches!(step, Step::Items)).is_some() {
                lists -= 1;
            }
            let more = steps.peek().is_some();
            let opaque = more && self.get(of).is_some_and(|found| found.kind == Kind::Scalar) && !super::derive::is_built_in(of);
            if opaque || !more || (lists > 0 && steps.peek() == Some(&&Step::Rest)) {
                return Ok(Reached { of, lists, opaque, demanding });
            }
            if lists > 0 {
                return Err(format!("`{name}` in `{path}` is a list in the schema; write `{name}{}`", "[]".repeat(def.of.lists())));
            }
        }
        Ok(Reached { of, lists: 0, opaque: false, demanding })
    }

    /// A field of a type, or of one of the types that it can be.
    fn member(&self, of: &str, name: &str) -> Option<&FieldDef> {
        let own = self.field(of, name);
        own.or_else(|| self.get(of)?.possible.iter().find_map(|possible| self.field(possible, name)))
    }

    /// Checks the name of a rule for an argument, `filter.email`, against `Type.field`.
    ///
    /// # Errors
    /// What is wrong with the name; `true`: one value stands there, which may name a customer.
    pub fn argument(&self, of: &str, field: &str, path: &str) -> Result<bool, String> {
        let def = self.field(of, field).ok_or_else(|| format!("`{of}` of the schema has no field `{field}`"))?;
        let path = PathPattern::parse(path)?;
        let mut steps = path.0.iter();
        let Some(Step::Member(name)) = steps.next() else { return Err(format!("`{path}` does not begin with the name of an argument")) };
        let mut input = def.args.get(name).ok_or_else(|| format!("`{of}.{field}` has no argument `{name}`"))?;
        let mut entered = 0;
        for step in steps {
            let scalar = self.get(input.of.name()).is_some_and(|found| found.kind == Kind::Scalar);
            match step {
                Step::Items => entered += 1,
                Step::Member(_) if scalar && !super::derive::is_built_in(input.of.name()) => return Ok(false),
                Step::Member(name) => {
                    is_entered(&path, &input.of, entered)?;
                    let inputs = self.get(input.of.name()).map(|found| &found.inputs);
                    let next = inputs.and_then(|inputs| inputs.get(name));
                    input = next.ok_or_else(|| format!("`{}` of the schema has no `{name}` (`{path}`)", input.of.name()))?;
                    entered = 0;
                }
                Step::Index(_) | Step::Rest => {
                    return Err(format!("`{path}` names an argument with `[2]` or `**`; name each value that may be given"));
                }
            }
        }
        is_entered(&path, &input.of, entered)?;
        if self.is_leaf(input.of.name()) {
            return Ok(!path.0.contains(&Step::Items));
        }
        Err(format!("`{path}` is an input object in the schema; name each value in it that may be given"))
    }
}

fn is_entered(path: &PathPattern, of: &TypeRef, entered: usize) -> Result<(), String> {
    if of.lists() == entered { Ok(()) } else { Err(format!("`{path}` does not enter the lists of `{of}` as the schema has them: each is one `[]`")) }
}
