//! Governed: declared parameters, `name = "free"`, a list of the shape's fields they select by, or a table with `one_of` or
//! `grammar` and optionally such `fields`.

use std::sync::Arc;

use super::read::Value;
use super::shapes::path;
use crate::catalog::{Accepts, Param};
use crate::model::{Category, FieldRule, PathPattern, Shape, Step};

/// `shape`: `None` when it is not known because of another mistake; `Some(None)` when the answer has none.
pub(super) fn read(value: Value<'_>, shape: Option<Option<&Arc<Shape>>>) -> Option<Vec<Param>> {
    let table = value.table("the parameters")?;
    let entries = table.named();
    let found: Vec<Param> = entries.iter().filter_map(|(name, _, v)| param(name, *v, shape)).collect();
    (found.len() == entries.len()).then_some(found)
}

fn param(name: &str, value: Value<'_>, shape: Option<Option<&Arc<Shape>>>) -> Option<Param> {
    let (accepts, categories) = if value.is_list() {
        (Accepts::Any, fields(value, shape)?)
    } else if value.is_table() {
        let mut table = value.table("a parameter")?;
        let (one_of, grammar) = (table.opt("one_of"), table.opt("grammar"));
        let selected = table.opt("fields").map(|v| fields(v, shape));
        table.finish();
        let accepts = match (one_of, grammar) {
            (Some(values), None) => Accepts::OneOf(values.each(|v| v.str().map(str::to_owned))?),
            (None, Some(text)) => {
                Accepts::grammar(text.str()?).map_err(|problem| text.error(format!("this grammar cannot be read: {problem}"))).ok()?
            }
            _ => {
                value.error("a parameter has either `one_of` or `grammar`");
                return None;
            }
        };
        (accepts, selected.unwrap_or_else(|| Some(Vec::new()))?)
    } else if value.as_str() == Some("free") {
        (Accepts::Any, Vec::new())
    } else if value.is_open("how this parameter is judged") {
        return None;
    } else {
        value.error_help(
            "this is not a rule for a parameter",
            "write `\"free\"`, a list of fields of the shape, `{ one_of = […] }` or `{ grammar = \"…\" }`",
        );
        return None;
    };
    Some(Param { name: name.to_owned(), accepts, categories })
}

/// The categories that a list of fields selects by.
fn fields(value: Value<'_>, shape: Option<Option<&Arc<Shape>>>) -> Option<Vec<Category>> {
    if value.list_is_empty() {
        value.error_help("no field stands there", "write `\"free\"` when the parameter tells nothing about a customer");
        return None;
    }
    let shape = shape?;
    let Some(shape) = shape else {
        value.error_help("the answer of this route has no shape with fields", "write `\"free\"`, `{ one_of = […] }` or `{ grammar = \"…\" }`");
        return None;
    };
    let mut found = Vec::new();
    for item in value.list()? {
        let wanted = path(item)?;
        match selects(shape, &wanted) {
            Selects::Categories(categories) => found.extend(categories),
            Selects::Embedded => {
                item.not_available("selecting by a field of an embedded customer");
                return None;
            }
            Selects::Nothing => {
                let known: Vec<String> = shape.fields.iter().map(|f| f.path.to_string()).chain(shape.open.iter().map(ToString::to_string)).collect();
                item.unknown(&format!("field of shape `{}`", shape.name), &wanted.to_string(), known.iter().map(String::as_str));
                return None;
            }
        }
    }
    found.sort();
    found.dedup();
    Some(found)
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
