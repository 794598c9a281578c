//! Governed: a route that is a GraphQL API. What its types are, what the fields of its query type return and whose that is, which
//! arguments may be given; all held against the API's schema, which is a file beside the declaration and hashed with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::Method;

use super::apis::{department, place};
use super::params::{self, Spoken};
use super::read::{Table, Value};
use super::response;
use super::routes::{Draft, parse_head};
use super::shapes::{Names, path};
use crate::catalog::graphql::{Answers, CustomerArg, Graphql, Limits, RootField, Schema};
use crate::catalog::{Accepts, Catalog, Customer, Dialect, Param, Route};
use crate::model::{Action, Field, PathPattern, ResponsePlan, RouteKey, Several, Shape, ShapeName, Shapes, Step, Subject};

/// Most that `limits` can be raised to: what is read is walked on the stack, level by level.
const DEPTH_MAX: u32 = 64;
const SELECTIONS_MAX: u32 = 10_000;

/// A route with `graphql`.
pub(super) fn draft<'a>(mut table: Table<'a>, declared: Value<'a>, names: &Names<'_>, catalog: &Catalog) -> Option<Draft<'a>> {
    let head = table.need("match");
    let parsed = head.and_then(parse_head);
    let action = table.opt("action");
    let departments = table.opt("departments").map_or_else(|| Some(Vec::new()), |v| v.each(|item| department(item, names)));
    table.later(&["mode", "report"]);
    let place = place(table.cx, table.span.clone());
    table.finish();
    if let Some(action) = action.filter(|action| action.as_str() != Some("read")) {
        action.error_help("GraphQL is served for reading only", "leave `action` out: mutations and subscriptions are refused");
    }
    let graphql = graphql(declared, names, catalog);
    let head = head?;
    let (method, template) = parsed?;
    if method != Method::POST {
        head.error_help("GraphQL is asked by POST", "write `match = \"POST /graphql\"`: a query in the URL ends up in logs");
        return None;
    }
    let key = RouteKey::intern(&format!("{method} {template}"));
    let route = graphql.zip(departments).map(|((graphql, shape), departments)| Route {
        key,
        method: method.clone(),
        template: template.clone(),
        dialect: Dialect::Plain,
        when: None,
        action: Action::Read,
        customer: Customer::Answer,
        params: Vec::new(),
        reading: None,
        request: None,
        search: None,
        response: whatever(shape),
        bare: None,
        error: None,
        cache: None,
        graphql: Some(Arc::new(graphql)),
        departments,
        records_max: None,
        place,
    });
    Some(Draft { head, method, template, dialect: Dialect::Plain, when: None, key, lookup: None, route })
}

/// For explanations: all that could be asked for. Nothing can be cut by it, since no answer has its rows there.
fn whatever(shape: Shape) -> ResponsePlan {
    let rows = PathPattern(vec![Step::Member("data".to_owned()), Step::Items]);
    ResponsePlan::Rows { rows, shape: Arc::new(shape), counts: Vec::new(), open: Vec::new(), rows_max: None, withheld_as: None }
}

fn graphql(value: Value<'_>, names: &Names<'_>, catalog: &Catalog) -> Option<(Graphql, Shape)> {
    let mut table = value.table("`graphql`")?;
    let schema = table.need("schema").and_then(schema);
    let types = table.need("types");
    let fields = table.need("fields");
    let args = table.opt("args");
    let limits = table.opt("limits").map_or_else(|| Some(Limits::default()), limits);
    table.later(&["errors", "mutations"]);
    table.finish();
    let schema = schema?;
    let types = self::types(types?, &schema, names, catalog);
    let types = types?;
    let mut read = Vec::new();
    let mut is_whole = true;
    for (name, span, field) in fields?.table("`fields`")?.named() {
        if !schema.root_fields().any(|known| known == name) {
            let known = schema.root_fields().collect::<Vec<_>>();
            let message = format!("the type `{}` of the schema has no field `{name}`", schema.query());
            field.cx.push(field.cx.finding(span, message).help(super::read::suggestion(name, known.into_iter())));
            is_whole = false;
        } else if let Some(found) = root_field(name, field, &schema, &types, names) {
            read.push((name.to_owned(), found));
        } else {
            is_whole = false;
        }
    }
    let mut rules = args.map_or_else(|| Some(BTreeMap::new()), |args| arguments(args, &schema, &types, &catalog.shapes, &read, is_whole))?;
    for (name, field) in &read {
        if let Some(arg) = &field.customer {
            declare(rules.entry(format!("{}.{name}", schema.query())).or_default(), arg);
        }
    }
    let all = all_of(&types);
    let fields = read.into_iter().collect();
    is_whole.then(|| Some((Graphql::new(schema, types, fields, rules, limits?, catalog.shapes.clone()), all)))?
}

fn schema(value: Value<'_>) -> Option<Schema> {
    let bytes = value.governed()?;
    let Ok(text) = String::from_utf8(bytes) else {
        value.error("the schema is not UTF-8");
        return None;
    };
    Schema::parse(&text)
        .map_err(|problem| value.error_help(format!("this is not a GraphQL schema: {problem}"), "it must be SDL: `type Query { … }`"))
        .ok()
}

type Types = BTreeMap<String, Arc<Shape>>;

fn types(value: Value<'_>, schema: &Schema, names: &Names<'_>, catalog: &Catalog) -> Option<Types> {
    let table = value.table("`types`")?;
    let entries = table.named();
    let mut found = Types::new();
    for (name, span, value) in &entries {
        let Some(shape) = names.shape(*value).and_then(|shape| catalog.shapes.get(&shape)) else { continue };
        if !schema.objects().any(|known| known == *name) {
            let help = super::read::suggestion(name, schema.objects());
            table.cx.push(table.cx.finding(span.clone(), format!("the schema has no object type `{name}`")).help(help));
        } else if let Err(problem) = schema.fits(name, shape, &catalog.shapes) {
            value.error_help(
                format!("the shape `{}` is not one of `{name}`: {problem}", shape.name),
                "paths are those of the schema, without aliases",
            );
        } else {
            found.insert((*name).to_owned(), Arc::clone(shape));
        }
    }
    if entries.is_empty() {
        value.error_help("no type has a shape", "write `types = { Customer = \"customer\" }`: without one nothing is released");
    }
    (found.len() == entries.len() && !entries.is_empty()).then_some(found)
}

fn root_field(name: &str, value: Value<'_>, schema: &Schema, types: &Types, names: &Names<'_>) -> Option<RootField> {
    let mut table = value.table("a field")?;
    let rows = table.opt("rows");
    let at = table.opt("at");
    let counts = table.opt("counts");
    let open = table.opt("open");
    let rows_max = table.opt("rows_max");
    let customer = table.opt("customer");
    let ids = table.opt("ids").map(|v| names.space(v));
    let subject_place = table.opt("subject");
    table.finish();
    let subject =
        subject_place.map_or(Some(Subject::default()), |v| v.word("subject", &[("answer", Subject::Answer), ("request", Subject::Request)]));
    let answers = match rows {
        Some(rows) => {
            for place in [at, subject_place].into_iter().flatten() {
                place.error("this belongs to one object, not to `rows`");
            }
            let counts = counts.map_or_else(|| Some(Vec::new()), response::counts);
            let open = open.map_or_else(|| Some(Vec::new()), |v| v.each(path));
            let rows_max = rows_max.map_or(Some(None), |v| v.count(10_000_000).map(Some));
            Answers::Rows { rows: path(rows)?, counts: counts?, open: open?, rows_max: rows_max? }
        }
        None => {
            for place in [counts, open, rows_max].into_iter().flatten() {
                place.error("this belongs to `rows`");
            }
            Answers::Object { at: at.map_or_else(|| Some(PathPattern::default()), path)?, subject: subject? }
        }
    };
    let mut field = RootField { answers, customer: None };
    let shapes = answered(name, &field, value, schema, types)?;
    let space = ids.map_or_else(|| Some(shapes.iter().find_map(|shape| shape.ids)), |read| read.map(Some))?;
    if let Some(place) = customer {
        field.customer = Some(customer_arg(name, place, schema, space)?);
    }
    beside(name, &field, value, schema)?;
    says_whose(name, &field, value, &shapes).then_some(field)
}

/// The shapes of what a field returns.
fn answered<'t>(name: &str, field: &RootField, value: Value<'_>, schema: &Schema, types: &'t Types) -> Option<Vec<&'t Arc<Shape>>> {
    let possible = schema.answered(name, field).map_err(|problem| value.error(problem)).ok()?;
    let shapes: Vec<&Arc<Shape>> = possible.iter().filter_map(|of| types.get(of)).collect();
    if shapes.is_empty() {
        let of = possible.into_iter().collect::<Vec<_>>().join("`, `");
        value.error_help(format!("`{name}` returns `{of}`, which has no shape"), "add it to `types`: without one nothing is released");
        return None;
    }
    Some(shapes)
}

fn customer_arg(name: &str, place: Value<'_>, schema: &Schema, space: Option<crate::model::Space>) -> Option<CustomerArg> {
    let Some(arg) = place.str()?.strip_prefix("arg:") else {
        place.error_help(
            "a query names its customer in an argument",
            "write `customer = \"arg:id\"`, or leave it out: the shape then says whose it is",
        );
        return None;
    };
    match schema.argument(schema.query(), name, arg) {
        Ok(true) => {}
        Ok(false) => {
            place.error("the customer's id is one value, not in a list");
            return None;
        }
        Err(problem) => {
            place.error(problem);
            return None;
        }
    }
    let Some(space) = space else {
        place.error_help("this id has no id space", "add `ids = \"…\"` to the field, or to the shape");
        return None;
    };
    let mut steps = arg.split('.').map(str::to_owned);
    Some(CustomerArg { name: steps.next()?, path: steps.collect(), space })
}

fn beside(name: &str, field: &RootField, value: Value<'_>, schema: &Schema) -> Option<()> {
    let Answers::Rows { counts, open, .. } = &field.answers else { return Some(()) };
    let wrong = counts.iter().map(|(path, _)| path).chain(open).find_map(|path| schema.beside(name, path).err());
    wrong.map_or(Some(()), |problem| {
        value.error(problem);
        None
    })
}

/// Whose the answer is: the objects say, or the request does and is trusted.
fn says_whose(name: &str, field: &RootField, value: Value<'_>, shapes: &[&Arc<Shape>]) -> bool {
    let silent = shapes.iter().find(|shape| shape.customer.is_empty());
    match (&field.answers, silent) {
        (Answers::Object { subject: Subject::Request, .. }, _) if field.customer.is_none() => {
            value.error_help("`subject = \"request\"`, but the query names nobody", "add `customer = \"arg:…\"`, or remove `subject`");
        }
        (Answers::Object { subject: Subject::Answer, .. } | Answers::Rows { .. }, Some(shape)) => {
            value.error_help(
                format!("the shape `{}` does not say whose `{name}` is", shape.name),
                format!("add `customer` to `[shape.{}]`", shape.name),
            );
        }
        (Answers::Object { .. } | Answers::Rows { .. }, _) => return true,
    }
    false
}

/// `args = { "Query.customers" = { first = "free" } }`
fn arguments(
    value: Value<'_>,
    schema: &Schema,
    types: &Types,
    shapes: &Shapes,
    fields: &[(String, RootField)],
    is_whole: bool,
) -> Option<BTreeMap<String, Vec<Param>>> {
    let table = value.table("`args`")?;
    let entries = table.named();
    let mut found = BTreeMap::new();
    for (name, span, value) in &entries {
        let refuse = |problem: String| table.cx.push(table.cx.finding(span.clone(), problem).help("write `\"Type.field\" = { … }`"));
        let Some((of, field)) = name.split_once('.') else {
            refuse(format!("`{name}` does not name a field of a type"));
            continue;
        };
        if !schema.has_field(of, field) {
            refuse(format!("the schema has no object type `{of}` with a field `{field}`"));
            continue;
        }
        let shape = match (of == schema.query(), fields.iter().find(|(known, _)| known == field)) {
            (true, Some((_, root))) => Some(root_shape(field, root, schema, types)),
            // Its declaration has a mistake of its own.
            (true, None) if !is_whole => None,
            (true, None) => {
                refuse(format!("`{field}` is not among `fields`: nobody can ask for it"));
                continue;
            }
            (false, _) => Some(types.get(of)),
        };
        let Some(rules) = params::read(*value, Spoken { shape, shapes, dialect: Dialect::Plain }) else { continue };
        match rules.iter().find_map(|rule| schema.argument(of, field, &rule.name).err()) {
            Some(problem) => refuse(problem),
            None => {
                found.insert((*name).to_owned(), rules);
            }
        }
    }
    (found.len() == entries.len()).then_some(found)
}

/// The shape whose fields an argument of the query type can select by: of several nobody could tell.
fn root_shape<'t>(name: &str, field: &RootField, schema: &Schema, types: &'t Types) -> Option<&'t Arc<Shape>> {
    let possible = schema.answered(name, field).ok()?;
    let shapes: BTreeSet<ShapeName> = possible.iter().filter_map(|of| types.get(of)).map(|shape| shape.name).collect();
    let one = shapes.len() == 1;
    possible.iter().find_map(|of| types.get(of)).filter(|_| one)
}

/// The argument that names the customer is declared by doing so; its value is judged by the id space.
fn declare(rules: &mut Vec<Param>, arg: &CustomerArg) {
    let name = std::iter::once(&arg.name).chain(&arg.path).map(String::as_str).collect::<Vec<_>>().join(".");
    if !rules.iter().any(|rule| rule.name == name) {
        rules.push(Param { name, accepts: Accepts::Any, categories: Vec::new() });
    }
}

fn limits(value: Value<'_>) -> Option<Limits> {
    let mut table = value.table("`limits`")?;
    let defaults = Limits::default();
    let document = table.opt("document").map_or(Some(defaults.document_bytes), Value::bytes);
    let mut count = |key, default, max| table.opt(key).map_or(Some(default), |v| v.count(max).and_then(|n| usize::try_from(n).ok()));
    let depth = count("depth", defaults.depth, DEPTH_MAX);
    let selections = count("selections", defaults.selections, SELECTIONS_MAX);
    let aliases = count("aliases", defaults.aliases, SELECTIONS_MAX);
    table.finish();
    Some(Limits { document_bytes: document?, depth: depth?, selections: selections?, aliases: aliases? })
}

/// What any query of the route could read, named `Type.path`.
fn all_of(types: &Types) -> Shape {
    let within = |of: &str, path: &PathPattern| PathPattern(std::iter::once(Step::Member(of.to_owned())).chain(path.0.iter().cloned()).collect());
    let fields =
        types.iter().flat_map(|(of, shape)| shape.fields.iter().map(move |field| Field { path: within(of, &field.path), rule: field.rule.clone() }));
    Shape {
        name: ShapeName::intern("graphql"),
        ids: None,
        customer: vec![PathPattern(vec![Step::Member("id".to_owned())])],
        several: Several::All,
        open: Vec::new(),
        links: Vec::new(),
        hidden: Vec::new(),
        needs: Vec::new(),
        also: Vec::new(),
        fields: fields.collect(),
        bare: false,
        lets_unmapped_pass: false,
    }
}

#[cfg(test)]
mod tests;
