//! From what is selected to a plan of the cutter's: each path of the answer gets the category that the type's shape has for the path
//! of the schema, whatever the caller names it. What no shape maps is not asked for upstream. The id of whose object it is, is
//! asked for under a name of the gateway's own, and not released.
//!
//! In an answer that a typed client reads, a withheld member of the customer's own object is `null` where the schema allows it, unless
//! the shape says otherwise. Elsewhere, and in what stands within that object, it is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::QueryError;
use super::print::Printed;
use super::schema::{Kind, TypeRef};
use super::select::{Children, Group, Node, TYPENAME};
use super::values::Slot;
use super::{Answers, Graphql, RESERVED, RootField};
use crate::catalog::Param;
use crate::model::{Category, CountRule, Field, FieldRule, OnDeny, PathPattern, ResponsePlan, Several, Shape, ShapeName, Shapes, Step};

/// What a query comes to.
#[derive(Debug)]
pub(super) struct Derived {
    pub(super) printed: Vec<Printed>,
    pub(super) slots: Vec<Slot>,
    pub(super) response: ResponsePlan,
    pub(super) shapes: Shapes,
    /// From the paths of the answer to those of the declared shapes.
    pub(super) names: BTreeMap<String, String>,
    /// Fields of the schema that were selected and that nothing declares: `Customer.note`.
    pub(super) unmapped: BTreeSet<String>,
    /// The variable whose value names the customer.
    pub(super) customer: Option<String>,
}

pub(super) fn derive(graphql: &Graphql, root: &Children) -> Result<Derived, QueryError> {
    if !root.typenames.is_empty() {
        return Err(QueryError::Operation("select `__typename` within the objects, not beside them"));
    }
    let nodes: Vec<&Node> = root.groups.iter().flat_map(|group| &group.nodes).collect();
    let [node] = nodes.as_slice() else {
        return Err(QueryError::Operation("select exactly one field of the query type; send several queries for several"));
    };
    let query = graphql.schema.query();
    let field =
        graphql.fields.get(&node.name).ok_or_else(|| QueryError::field(format!("{query}.{}", node.name), "is not declared for this route"))?;
    let mut deriver = Deriver { graphql, embedded: 0, shapes: Shapes::new(), slots: Vec::new(), names: BTreeMap::new(), unmapped: BTreeSet::new() };
    let args = deriver.arguments(query, node)?;
    let customer = match &field.customer {
        None => None,
        Some(arg) => {
            let slot = deriver.slots.iter().find(|slot| slot.arg == arg.name);
            let slot = slot.ok_or_else(|| QueryError::argument(format!("{query}.{}({})", node.name, arg.name), "names the customer; give it"))?;
            Some(slot.variable.clone())
        }
    };
    let mut outer =
        Outer { field, target: target(field), list: list(field), found: None, counts: Vec::new(), open: Vec::new(), open_in_row: Vec::new() };
    let place = Place { schema: items(&node.of), answer: joined(&[member("data"), member(&node.key)], &items(&node.of)) };
    let children = deriver.outer(&mut outer, &place, node.of.name(), &node.children)?;
    let Outer { found, counts, open, open_in_row, .. } = outer;
    let Some((mut shape, at)) = found else { return Err(QueryError::Nothing) };
    shape.open.extend(open_in_row);
    let shape = Arc::new(shape);
    deriver.shapes.insert(shape.name, Arc::clone(&shape));
    let response = match &field.answers {
        Answers::Object { subject, .. } => {
            ResponsePlan::Object { at: PathPattern(at), shape, subject: *subject, open: Vec::new(), withheld_as: None }
        }
        Answers::Rows { rows_max, .. } => ResponsePlan::Rows { rows: PathPattern(at), shape, counts, open, rows_max: *rows_max, withheld_as: None },
    };
    let Deriver { shapes, slots, names, unmapped, .. } = deriver;
    let printed = vec![Printed::Field { key: node.key.clone(), name: node.name.clone(), args, children }];
    Ok(Derived { printed, slots, response, shapes, names, unmapped, customer })
}

/// Where a walk stands: in the schema, from the root field or from the object that a shape is for; and in the answer.
#[derive(Clone, Debug)]
struct Place {
    schema: Vec<Step>,
    answer: Vec<Step>,
}

impl Place {
    fn through(&self, node: &Node) -> Self {
        let lists = items(&node.of);
        Self {
            schema: joined(&joined(&self.schema, &[member(&node.name)]), &lists),
            answer: joined(&joined(&self.answer, &[member(&node.key)]), &lists),
        }
    }
}

/// What stands around the object or the rows.
struct Outer<'g> {
    field: &'g RootField,
    /// Where they stand, from the root field.
    target: Vec<Step>,
    /// How many of these steps lead to the elements of the list; `None` for one object.
    list: Option<usize>,
    /// The derived shape, and where it is in the answer.
    found: Option<(Shape, Vec<Step>)>,
    counts: Vec<(PathPattern, CountRule)>,
    open: Vec<PathPattern>,
    /// The same within the elements of the list.
    open_in_row: Vec<PathPattern>,
}

/// `data` and the name of the root field.
const ABOVE: usize = 2;

impl Outer<'_> {
    /// What carries no customer data and stands beside the rows, or in a row beside the object. Beside a single object nothing passes.
    fn opens(&mut self, place: &Place, key: Option<&str>) -> bool {
        let Some(list) = self.list else { return false };
        let answer: Vec<Step> = place.answer.iter().cloned().chain(key.map(member)).collect();
        let in_row = place.schema.len() >= list && self.target.get(..list) == place.schema.get(..list);
        match answer.split_at_checked(list + ABOVE) {
            Some((_, within)) if in_row => self.open_in_row.push(PathPattern(within.to_vec())),
            Some(_) | None => self.open.push(PathPattern(answer)),
        }
        true
    }
}

fn target(field: &RootField) -> Vec<Step> {
    match &field.answers {
        Answers::Object { at, .. } => at.0.clone(),
        Answers::Rows { rows, .. } => rows.0.clone(),
    }
}

fn list(field: &RootField) -> Option<usize> {
    match &field.answers {
        Answers::Object { .. } => None,
        Answers::Rows { rows, .. } => rows.0.iter().rposition(|step| *step == Step::Items).map(|last| last + 1),
    }
}

struct Deriver<'g> {
    graphql: &'g Graphql,
    /// How many embedded shapes stand around.
    embedded: usize,
    shapes: Shapes,
    slots: Vec<Slot>,
    names: BTreeMap<String, String>,
    unmapped: BTreeSet<String>,
}

/// A shape in the making.
struct Part<'g> {
    source: &'g Shape,
    /// How paths in it are told in reports: by the answer, and by the declaration.
    told: (String, String),
    derived: Shape,
    /// Where values end: scalars, and the objects of others.
    ends: Vec<Vec<Step>>,
}

impl<'g> Deriver<'g> {
    /// Between the root field and the object or rows.
    fn outer(&mut self, outer: &mut Outer<'g>, place: &Place, of: &str, children: &Children) -> Result<Vec<Printed>, QueryError> {
        if place.schema == outer.target {
            return self.found(outer, place, of, children);
        }
        let mut printed = Vec::new();
        for group in &children.groups {
            if group.on != of {
                return Err(QueryError::field(of, "is an interface or union around the rows, which cannot be read"));
            }
            for node in &group.nodes {
                let next = place.through(node);
                let inner = if outer.target.starts_with(&next.schema) {
                    let inner = self.outer(outer, &next, node.of.name(), &node.children)?;
                    (!inner.is_empty()).then_some(inner)
                } else {
                    self.beside(outer, &next, group, node)
                };
                if let Some(children) = inner {
                    let args = self.arguments(&group.on, node)?;
                    printed.push(Printed::Field { key: node.key.clone(), name: node.name.clone(), args, children });
                }
            }
        }
        for key in &children.typenames {
            if !printed.is_empty() && outer.opens(place, Some(key)) {
                printed.insert(0, Printed::typename(key));
            } else {
                self.unmapped.insert(format!("{of}.{TYPENAME}"));
            }
        }
        Ok(printed)
    }

    fn found(&mut self, outer: &mut Outer<'g>, place: &Place, of: &str, children: &Children) -> Result<Vec<Printed>, QueryError> {
        if outer.found.is_some() {
            return Err(QueryError::Operation("what is selected stands in more than one list; select one, and send several queries for several"));
        }
        let depth = outer.list.map_or(place.answer.len(), |list| list + ABOVE);
        let (at, prefix) = place.answer.split_at_checked(depth).ok_or(QueryError::Nothing)?;
        let told = (String::new(), String::new());
        let Some((shape, printed)) = self.shape(self.name(0)?, of, None, prefix, &told, children)? else { return Ok(Vec::new()) };
        outer.found = Some((shape, at.to_vec()));
        Ok(printed)
    }

    /// Counts, cursors and the like. `None`: nothing that is declared.
    fn beside(&mut self, outer: &mut Outer<'g>, place: &Place, group: &Group, node: &Node) -> Option<Vec<Printed>> {
        let told = format!("{}.{}", group.on, node.name);
        let Answers::Rows { counts, open, .. } = &outer.field.answers else {
            self.unmapped.insert(told);
            return None;
        };
        if !self.graphql.schema.is_leaf(node.of.name()) {
            return self.around(outer, place, node);
        }
        let is_declared = match counts.iter().find(|(path, _)| path.0 == place.schema) {
            Some((_, rule)) => {
                outer.counts.push((PathPattern(place.answer.clone()), *rule));
                true
            }
            None => open.iter().any(|path| path.0 == place.schema) && outer.opens(place, None),
        };
        if !is_declared {
            self.unmapped.insert(told);
        }
        is_declared.then(Vec::new)
    }

    /// An object beside the rows: `pageInfo`.
    fn around(&mut self, outer: &mut Outer<'g>, place: &Place, node: &Node) -> Option<Vec<Printed>> {
        let mut printed = Vec::new();
        for group in &node.children.groups {
            for inner in &group.nodes {
                // What takes arguments stands in the answer by what they say.
                let children = if inner.args.is_empty() { self.beside(outer, &place.through(inner), group, inner) } else { None };
                printed.extend(children.map(|children| Printed::of(inner, children)));
            }
        }
        for key in &node.children.typenames {
            if !printed.is_empty() && outer.opens(place, Some(key)) {
                printed.insert(0, Printed::typename(key));
            }
        }
        (!printed.is_empty()).then_some(printed)
    }

    fn name(&self, number: usize) -> Result<ShapeName, QueryError> {
        self.graphql.names.get(number).copied().ok_or(QueryError::TooMuch { what: "embedded objects", max: self.graphql.names.len() - 1 })
    }

    /// The shape of one object. `only`: the one that an embedding path names; else each type has its own. `None`: nothing is left.
    fn shape(
        &mut self,
        name: ShapeName,
        of: &str,
        only: Option<&'g Arc<Shape>>,
        prefix: &[Step],
        told: &(String, String),
        children: &Children,
    ) -> Result<Option<(Shape, Vec<Printed>)>, QueryError> {
        let is_abstract = !children.groups.iter().all(|group| group.on == of);
        let mut merged: Option<Shape> = None;
        let (mut printed, mut ends) = (Vec::new(), Vec::new());
        for group in &children.groups {
            let Some(source) = only.or_else(|| self.graphql.types.get(&group.on)) else {
                self.unmapped.insert(group.on.clone());
                continue;
            };
            let mut part = Part { source, told: told.clone(), derived: empty(name, source), ends: Vec::new() };
            let place = Place { schema: Vec::new(), answer: prefix.to_vec() };
            let mut members = self.members(&mut part, &place, group)?;
            if members.is_empty() {
                continue;
            }
            self.subjects(&mut part, prefix, &mut members);
            ends.append(&mut part.ends);
            merged = Some(match merged {
                None => part.derived,
                Some(known) => both(known, part.derived)?,
            });
            if is_abstract {
                printed.push(Printed::On { of: group.on.clone(), children: members });
            } else {
                printed.append(&mut members);
            }
        }
        let Some(mut shape) = merged else { return Ok(None) };
        for key in &children.typenames {
            shape.open.push(PathPattern(joined(prefix, &[member(key)])));
            printed.insert(0, Printed::typename(key));
        }
        unambiguous(&mut shape, ends)?;
        Ok(Some((shape, printed)))
    }

    fn members(&mut self, part: &mut Part<'g>, place: &Place, group: &Group) -> Result<Vec<Printed>, QueryError> {
        let mut printed = Vec::new();
        for node in &group.nodes {
            let next = place.through(node);
            let told = format!("{}.{}", group.on, node.name);
            let mark = self.slots.len();
            let args = self.arguments(&group.on, node)?;
            let children = if self.graphql.schema.is_leaf(node.of.name()) {
                self.leaf(part, &next, &node.of).then(Vec::new)
            } else {
                let inner = self.inner(part, place, &next, node)?;
                (!inner.is_empty()).then_some(inner)
            };
            match children {
                Some(children) => printed.push(Printed::Field { key: node.key.clone(), name: node.name.clone(), args, children }),
                None => {
                    self.slots.truncate(mark);
                    self.unmapped.insert(told);
                }
            }
        }
        Ok(printed)
    }

    /// A scalar or enumeration; whether the shape says what it is.
    fn leaf(&mut self, part: &mut Part<'g>, place: &Place, of: &TypeRef) -> bool {
        // Deeper, a `null` would tell that there is something in which it stands, and in a list how often.
        let null = !of.is_required() && of.lists() == 0 && place.schema.len() == 1;
        let may_hold_more = self.graphql.schema.get(of.name()).is_some_and(|found| found.kind == Kind::Scalar) && !is_built_in(of.name());
        let speaks = speaking(part.source, &place.schema);
        let deeper = entries(part.source).filter(|(path, _)| may_hold_more && path.0.len() > place.schema.len() && path.0.starts_with(&place.schema));
        let found: Vec<(&PathPattern, Rule)> = speaks.into_iter().chain(deeper).collect();
        let mut is_mapped = false;
        for (path, rule) in found {
            let rest = path.0.get(place.schema.len()..).unwrap_or_default();
            let rest: &[Step] = if rest.is_empty() && may_hold_more && path.0.last() == Some(&Step::Rest) { &[Step::Rest] } else { rest };
            let answer = PathPattern(joined(&place.answer, rest));
            match rule {
                Rule::Category { category, on_deny } => {
                    self.names.insert(format!("{}{answer}", part.told.0), format!("{}{path}", part.told.1));
                    let on_deny = if on_deny == OnDeny::Remove && null && rest.is_empty() { OnDeny::Null } else { on_deny };
                    part.derived.fields.push(Field { path: answer, rule: FieldRule::Category { category, on_deny } });
                }
                Rule::Open => part.derived.open.push(answer),
                Rule::Embed(_) => continue,
            }
            is_mapped = true;
        }
        if is_mapped {
            part.ends.push(place.answer.clone());
        }
        is_mapped
    }

    /// An object, or a list of them, within another.
    fn inner(&mut self, part: &mut Part<'g>, place: &Place, next: &Place, node: &Node) -> Result<Vec<Printed>, QueryError> {
        let own = place.schema.len() + 1;
        let embed = entries(part.source).find_map(|(path, rule)| match rule {
            Rule::Embed(name) if path.0.len() >= own && next.schema.starts_with(&path.0) => Some((path, name)),
            Rule::Embed(_) | Rule::Category { .. } | Rule::Open => None,
        });
        if let Some((path, name)) = embed {
            return self.embed(part, path, name, place, node);
        }
        let is_abstract = node.children.groups.iter().any(|group| group.on != node.of.name());
        let (fields, open) = (part.derived.fields.len(), part.derived.open.len());
        let mut printed = Vec::new();
        for group in &node.children.groups {
            let mut members = self.members(part, next, group)?;
            if is_abstract && !members.is_empty() {
                printed.push(Printed::On { of: group.on.clone(), children: members });
            } else {
                printed.append(&mut members);
            }
        }
        if !printed.is_empty() {
            self.typenames(part, next, node, (fields, open), &mut printed);
        }
        Ok(printed)
    }

    /// That an address or an order is there is as much as their members tell, so that its type goes with the first of these.
    fn typenames(&mut self, part: &mut Part<'g>, next: &Place, node: &Node, (fields, open): (usize, usize), printed: &mut Vec<Printed>) {
        let first = part.derived.fields.iter().skip(fields).find_map(|field| match field.rule {
            FieldRule::Category { category, .. } => Some((category, format!("{}{}", part.told.0, field.path))),
            FieldRule::Embed(_) => None,
        });
        let has_open = part.derived.open.len() > open;
        for key in &node.children.typenames {
            let answer = PathPattern(joined(&next.answer, &[member(key)]));
            match &first {
                Some((category, leaf)) => {
                    let declared = self.names.get(leaf).cloned().unwrap_or_default();
                    self.names.insert(format!("{}{answer}", part.told.0), declared);
                    let rule = FieldRule::Category { category: *category, on_deny: OnDeny::Remove };
                    part.ends.push(answer.0.clone());
                    part.derived.fields.push(Field { path: answer, rule });
                }
                None if has_open => part.derived.open.push(answer),
                None => {
                    self.unmapped.insert(format!("{}.{TYPENAME}", node.of.name()));
                    continue;
                }
            }
            printed.insert(0, Printed::typename(key));
        }
    }

    fn embed(&mut self, part: &mut Part<'g>, path: &PathPattern, name: ShapeName, place: &Place, node: &Node) -> Result<Vec<Printed>, QueryError> {
        let Some(source) = self.graphql.shapes.get(&name) else { return Ok(Vec::new()) };
        let lists = path.0.iter().rev().take_while(|step| **step == Step::Items).count();
        let answer = PathPattern(joined(&joined(&place.answer, &[member(&node.key)]), &vec![Step::Items; lists]));
        let told = (format!("{}{answer}.", part.told.0), format!("{}{path}.", part.told.1));
        let derived_name = self.name(self.shapes.len() + 1)?;
        // Its place is taken before its own embedded objects take theirs.
        self.shapes.insert(derived_name, Arc::new(empty(derived_name, source)));
        self.embedded += 1;
        let derived = self.shape(derived_name, node.of.name(), Some(source), &[], &told, &node.children);
        self.embedded -= 1;
        let Some((shape, printed)) = derived? else { return Ok(Vec::new()) };
        self.shapes.insert(derived_name, Arc::new(shape));
        part.ends.push(answer.0.clone());
        part.derived.fields.push(Field { path: answer, rule: FieldRule::Embed(derived_name) });
        Ok(printed)
    }

    /// Asks for whose object it is, under names that no caller can use.
    fn subjects(&mut self, part: &mut Part<'g>, prefix: &[Step], printed: &mut Vec<Printed>) {
        for (number, path) in part.source.customer.iter().enumerate() {
            let alias = format!("{RESERVED}{number}");
            let renamed = path.0.iter().map(|step| match step {
                Step::Member(_) => member(&alias),
                Step::Items | Step::Index(_) | Step::Rest => step.clone(),
            });
            let answer = PathPattern(joined(prefix, &renamed.collect::<Vec<_>>()));
            part.derived.customer.push(answer.clone());
            part.derived.hidden.push(answer);
            let names = path.0.iter().rev().filter_map(|step| if let Step::Member(name) = step { Some(name) } else { None });
            let chain =
                names.fold(Vec::new(), |children, name| vec![Printed::Field { key: alias.clone(), name: name.clone(), args: Vec::new(), children }]);
            printed.extend(chain);
        }
        // What is needed, or selected by, is judged whether or not it is asked for.
        part.derived.also.extend(part.source.needs.iter().copied());
        if self.embedded == 0 {
            let rules = self.slots.iter().flat_map(|slot| &slot.rules);
            part.derived.also.extend(rules.flat_map(|rule| rule.categories.iter().copied()));
        }
    }

    /// The field's arguments as variables.
    fn arguments(&mut self, on: &str, node: &Node) -> Result<Vec<(String, String)>, QueryError> {
        let of_field = format!("{on}.{}", node.name);
        let def = self.graphql.schema.field(on, &node.name).ok_or_else(|| QueryError::field(&of_field, "is not in the schema"))?;
        let rules: &[Param] = self.graphql.args.get(&of_field).map(Vec::as_slice).unwrap_or_default();
        let mut args = Vec::new();
        for (arg, value) in &node.args {
            let about = |rule: &&Param| rule.name.strip_prefix(arg.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
            let rules: Vec<Param> = rules.iter().filter(about).cloned().collect();
            let told = format!("{of_field}({arg})");
            if rules.is_empty() {
                return Err(QueryError::NotDeclared { name: told });
            }
            let input = def.args.get(arg).ok_or_else(|| QueryError::argument(&told, "is not in the schema"))?;
            let variable = format!("v{}", self.slots.len() + 1);
            args.push((arg.clone(), variable.clone()));
            self.slots.push(Slot {
                variable,
                arg: arg.clone(),
                of_field: of_field.clone(),
                of: if input.has_default { input.of.nullable().clone() } else { input.of.clone() },
                must_be_given: input.must_be_given(),
                value: value.clone(),
                rules,
                embedded: self.embedded > 0,
            });
        }
        Ok(args)
    }
}

/// Nothing of a shape but whose it is and what it needs.
fn empty(name: ShapeName, source: &Shape) -> Shape {
    Shape {
        name,
        ids: source.ids,
        customer: Vec::new(),
        several: Several::All,
        open: Vec::new(),
        links: Vec::new(),
        hidden: Vec::new(),
        needs: source.needs.clone(),
        also: Vec::new(),
        fields: Vec::new(),
        bare: false,
        lets_unmapped_pass: false,
    }
}

/// Two object types in one place: whoever reads the answer cannot tell which one it is, so that each path means the same in both.
fn both(mut known: Shape, other: Shape) -> Result<Shape, QueryError> {
    if known.ids != other.ids || known.customer != other.customer || known.needs != other.needs {
        return Err(QueryError::Operation(
            "two types are asked for at one place whose shapes name their customer differently; ask for one at a time",
        ));
    }
    known.fields.extend(other.fields);
    known.open.extend(other.open);
    known.also.extend(other.also);
    Ok(known)
}

/// Each path of the answer means one thing, whichever object type stands there.
fn unambiguous(shape: &mut Shape, mut ends: Vec<Vec<Step>>) -> Result<(), QueryError> {
    let mut fields: Vec<Field> = Vec::new();
    for field in std::mem::take(&mut shape.fields) {
        match fields.iter().find(|known| known.path == field.path) {
            Some(known) if known.rule == field.rule => {}
            Some(known) => return Err(conflict(&known.path)),
            None => fields.push(field),
        }
    }
    shape.fields = fields;
    if let Some(both) = shape.fields.iter().find(|field| shape.open.contains(&field.path)) {
        return Err(conflict(&both.path));
    }
    // A value that ends at one place cannot go on there.
    ends.extend(shape.open.iter().map(|path| path.0.clone()));
    ends.sort_by_key(Vec::len);
    let goes_on = |(n, end): (usize, &Vec<Step>)| ends.iter().skip(n + 1).any(|other| other.len() > end.len() && other.starts_with(end));
    match ends.iter().enumerate().find(|(n, end)| goes_on((*n, *end))) {
        Some((_, end)) => Err(conflict(&PathPattern(end.clone()))),
        None => Ok(()),
    }
}

fn conflict(path: &PathPattern) -> QueryError {
    QueryError::field(path.to_string(), "means different things in two types; give the fields different aliases")
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Category { category: Category, on_deny: OnDeny },
    Embed(ShapeName),
    Open,
}

/// What a shape says of its paths: closed before open, the customer's own id last, as in the cutter.
fn entries(shape: &Shape) -> impl Iterator<Item = (&PathPattern, Rule)> {
    let fields = shape.fields.iter().map(|field| {
        let rule = match field.rule {
            FieldRule::Category { category, on_deny } => Rule::Category { category, on_deny },
            FieldRule::Embed(name) => Rule::Embed(name),
        };
        (&field.path, rule)
    });
    fields.chain(shape.open.iter().chain(&shape.customer).map(|path| (path, Rule::Open)))
}

/// The longest path that speaks for a place; of two the one that ends there before `**`, then the one listed first.
fn speaking<'s>(shape: &'s Shape, at: &[Step]) -> Option<(&'s PathPattern, Rule)> {
    let rank = |path: &PathPattern| match path.0.split_last() {
        Some((Step::Rest, fixed)) => at.starts_with(fixed).then_some((fixed.len(), false)),
        _ => (path.0 == at).then_some((at.len(), true)),
    };
    let named = entries(shape).filter_map(|(path, rule)| Some((rank(path)?, path, rule)));
    named.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, path, rule)| (path, rule))
}

pub(super) fn is_built_in(name: &str) -> bool {
    matches!(name, "Boolean" | "Float" | "ID" | "Int" | "String")
}

fn member(name: &str) -> Step {
    Step::Member(name.to_owned())
}

fn items(of: &TypeRef) -> Vec<Step> {
    vec![Step::Items; of.lists()]
}

fn joined(a: &[Step], b: &[Step]) -> Vec<Step> {
    a.iter().chain(b).cloned().collect()
}
