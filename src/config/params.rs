//! Governed: declared parameters, `name = "free"`, a list of the shape's fields they select by, or a table with `one_of` or
//! `grammar` and optionally such `fields`. Or the request itself names the fields: in the value (`sort = { names = "sort" }`), or in the
//! parameter's own name (`"filter[{field}][{op}]" = { operators = ["gte"] }`).

use std::sync::Arc;

use super::read::Value;
use super::shapes::path;
use crate::catalog::{Accepts, Dialect, FIELD, Fields, NameStyle, OPERATOR, Param, json_api_roots};
use crate::model::{Category, FieldRule, PathPattern, Shape, Shapes, Step};

/// What parameters may speak of.
#[derive(Clone, Copy)]
pub(super) struct Spoken<'s> {
    /// `None` when it is not known because of another mistake; `Some(None)` when the answer has none.
    pub(super) shape: Option<Option<&'s Arc<Shape>>>,
    pub(super) shapes: &'s Shapes,
    pub(super) dialect: Dialect,
}

impl Spoken<'_> {
    /// The fields of the answer by their names.
    pub(super) fn fields(&self, aliases: &[(String, PathPattern)]) -> Option<Arc<Fields>> {
        let roots = if self.dialect == Dialect::JsonApi { json_api_roots() } else { Vec::new() };
        Some(Arc::new(Fields::new(self.shape??, self.shapes, aliases, roots)))
    }
}

pub(super) fn read(value: Value<'_>, spoken: Spoken<'_>) -> Option<Vec<Param>> {
    let table = value.table("the parameters")?;
    let entries = table.named();
    let found: Vec<Param> = entries.iter().filter_map(|(name, _, v)| param(name, *v, spoken)).collect();
    (found.len() == entries.len()).then_some(found)
}

fn param(name: &str, value: Value<'_>, spoken: Spoken<'_>) -> Option<Param> {
    if spoken.dialect == Dialect::OData && ODATA_READ.contains(&name) && !matches!(spoken.shape, Some(None)) {
        value.error_help(format!("OData's own `{name}` is read by the shape"), "remove it");
        return None;
    }
    let (accepts, categories) = if name.contains(FIELD) {
        (by_name(name, value, spoken)?, Vec::new())
    } else if value.is_list() {
        (Accepts::Any, fields(value, spoken.shape)?)
    } else if value.is_table() {
        table(value, spoken)?
    } else if value.as_str() == Some("free") {
        (Accepts::Any, Vec::new())
    } else if value.is_open("how this parameter is judged") {
        return None;
    } else {
        value.error_help(
            "this is not a rule for a parameter",
            "write `\"free\"`, a list of fields of the shape, `{ one_of = […] }`, `{ grammar = \"…\" }` or `{ names = \"sort\" }`",
        );
        return None;
    };
    Some(Param { name: name.to_owned(), accepts, categories })
}

/// Options of which the catalogue's parser says what they touch.
const ODATA_READ: [&str; 8] = ["$filter", "$orderby", "$select", "$expand", "$count", "$top", "$skip", "$format"];

fn table(value: Value<'_>, spoken: Spoken<'_>) -> Option<(Accepts, Vec<Category>)> {
    let mut table = value.table("a parameter")?;
    let (one_of, grammar, names, also) = (table.opt("one_of"), table.opt("grammar"), table.opt("names"), table.opt("as"));
    let selected = table.opt("fields").map(|v| fields(v, spoken.shape));
    table.finish();
    if let (Some(also), None) = (also, names) {
        also.error_help("these names stand in no value", "`as` belongs to `names`, or to a parameter with `{field}` in its name");
        return None;
    }
    let accepts = match (one_of, grammar, names) {
        (Some(values), None, None) => Accepts::OneOf(values.each(|v| v.str().map(str::to_owned))?),
        (None, Some(text), None) => {
            Accepts::grammar(text.str()?).map_err(|problem| text.error(format!("this grammar cannot be read: {problem}"))).ok()?
        }
        (None, None, Some(style)) => Accepts::Names { style: style.word("use of names", &NameStyle::ALL)?, of: named(value, also, spoken)? },
        _ => {
            value.error("a parameter has either `one_of`, `grammar` or `names`");
            return None;
        }
    };
    Some((accepts, selected.unwrap_or_else(|| Some(Vec::new()))?))
}

/// `"filter[{field}]" = {}`, `"{field}__{op}" = { operators = ["contains"], grammar = "…" }`
fn by_name(name: &str, value: Value<'_>, spoken: Spoken<'_>) -> Option<Accepts> {
    let mut table = value.table("a parameter with `{field}` in its name")?;
    let (operators_place, grammar, also) = (table.opt("operators"), table.opt("grammar"), table.opt("as"));
    table.finish();
    let operators = operators_place.map_or_else(|| Some(Vec::new()), |v| v.each(|item| item.str().map(str::to_owned)))?;
    let after = name.split_once(FIELD).map_or("", |(_, after)| after);
    let wrong = match (after.contains(OPERATOR), operators_place) {
        _ if after.contains(FIELD) || name.split(FIELD).next().is_some_and(|before| before.contains(OPERATOR)) => {
            "`{field}` stands there once, before `{op}`"
        }
        (true, None) => "which operators may stand at `{op}` is not said: add `operators = […]`",
        (false, Some(_)) => "no `{op}` stands in the name where these operators could be",
        (true, Some(place)) if place.list_is_empty() => "no operator stands there",
        (true | false, Some(_) | None) => "",
    };
    if !wrong.is_empty() {
        value.error(wrong);
        return None;
    }
    let of = named(value, also, spoken)?;
    Accepts::field(of, operators, grammar.map_or(Some(None), |v| v.str().map(Some))?)
        .map_err(|problem| grammar.unwrap_or(value).error(format!("this grammar cannot be read: {problem}")))
        .ok()
}

/// The fields that may be named; `as = { birth_date = "birthDate" }`: by which other names.
fn named(value: Value<'_>, also: Option<Value<'_>>, spoken: Spoken<'_>) -> Option<Arc<Fields>> {
    if spoken.shape?.is_none() {
        no_shape(value);
        return None;
    }
    let mut aliases = Vec::new();
    for (alias, _, place) in also.map_or_else(|| Some(Vec::new()), |v| v.table("`as`").map(|table| table.named()))? {
        fields_at(place, spoken.shape??)?;
        aliases.push((alias.to_owned(), path(place)?));
    }
    spoken.fields(&aliases)
}

fn no_shape(value: Value<'_>) {
    value.error_help("the answer of this route has no shape with fields", "write `\"free\"`, `{ one_of = […] }` or `{ grammar = \"…\" }`");
}

/// The categories that a list of fields selects by.
fn fields(value: Value<'_>, shape: Option<Option<&Arc<Shape>>>) -> Option<Vec<Category>> {
    if value.list_is_empty() {
        value.error_help("no field stands there", "write `\"free\"` when the parameter tells nothing about a customer");
        return None;
    }
    let Some(shape) = shape? else {
        no_shape(value);
        return None;
    };
    let mut found = Vec::new();
    for item in value.list()? {
        found.extend(fields_at(item, shape)?);
    }
    found.sort();
    found.dedup();
    Some(found)
}

fn fields_at(item: Value<'_>, shape: &Shape) -> Option<Vec<Category>> {
    let wanted = path(item)?;
    match selects(shape, &wanted) {
        Selects::Categories(categories) => Some(categories),
        Selects::Embedded => {
            item.not_available("selecting by a field of an embedded customer");
            None
        }
        Selects::Nothing => {
            let known: Vec<String> = shape.fields.iter().map(|f| f.path.to_string()).chain(shape.open.iter().map(ToString::to_string)).collect();
            item.unknown(&format!("field of shape `{}`", shape.name), &wanted.to_string(), known.iter().map(String::as_str));
            None
        }
    }
}

enum Selects {
    Categories(Vec<Category>),
    Embedded,
    Nothing,
}

fn selects(shape: &Shape, wanted: &PathPattern) -> Selects {
    let (mut categories, mut embedded) = (Vec::new(), false);
    let mut add = |rule: &FieldRule| match rule {
        FieldRule::Category { category, .. } => categories.push(*category),
        FieldRule::Embed(_) => embedded = true,
    };
    // The longest path that covers the wanted one, and every field that lies within it.
    let covering = shape.fields.iter().filter(|field| covers(&field.path, wanted)).max_by_key(|field| field.path.0.len());
    let open = shape.open.iter().filter(|open| covers(open, wanted)).max_by_key(|open| open.0.len());
    match (covering, open) {
        (Some(field), Some(open)) if open.0.len() > field.path.0.len() => {}
        (Some(field), _) => add(&field.rule),
        (None, _) => {}
    }
    shape.fields.iter().filter(|field| field.path.0.len() > wanted.0.len() && field.path.0.starts_with(&wanted.0)).for_each(|field| add(&field.rule));
    if embedded {
        return Selects::Embedded;
    }
    let known = !categories.is_empty() || open.is_some() || shape.customer.contains(wanted);
    if known { Selects::Categories(categories) } else { Selects::Nothing }
}

/// Whether `rule` is the path itself, an embedded object around it, or `a.**` above it.
fn covers(rule: &PathPattern, wanted: &PathPattern) -> bool {
    match rule.0.split_last() {
        Some((Step::Rest, above)) => wanted.0.starts_with(above),
        _ => wanted.0.starts_with(&rule.0),
    }
}
