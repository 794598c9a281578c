//! Arguments: what stands in the query and in the variables becomes one JSON value for each, which is judged by its type and by the
//! declared rules, leaf by leaf, and sent as a variable of our own. So what is judged is what is sent, and nothing of what the caller
//! wrote as a literal has to be written again.

use serde_json::{Map, Number, Value as Json};

use super::document::Value;
use super::error::{QueryError, short};
use super::schema::{Kind, Schema, TypeRef};
use crate::catalog::Param;
use crate::model::Category;

/// An argument of the query that goes on, as a variable.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// `v1`, without the dollar sign.
    pub(super) variable: String,
    pub(super) arg: String,
    /// `Customer.orders`, for refusals.
    pub(super) of_field: String,
    pub(super) of: TypeRef,
    pub(super) must_be_given: bool,
    pub(super) value: Value,
    /// The rules of the field, named `arg`, `arg.member`, `arg[]` and so on.
    pub(super) rules: Vec<Param>,
    /// Stands in an object of another customer than the answer's own.
    pub(super) embedded: bool,
}

/// The value, if the request gives one, and the categories that it selects by.
pub(super) fn judged(
    slot: &Slot,
    schema: &Schema,
    given: &Map<String, Json>,
    defaults: &std::collections::BTreeMap<String, Option<Value>>,
) -> Result<Option<(Json, Vec<Category>)>, QueryError> {
    let Some(value) = resolved(&slot.value, given, defaults)? else {
        if slot.must_be_given {
            return Err(QueryError::argument(format!("{}({})", slot.of_field, slot.arg), "must be given"));
        }
        return Ok(None);
    };
    let mut judge = Judge { slot, schema, categories: Vec::new() };
    judge.value(&value, &slot.of, &slot.arg)?;
    Ok(Some((value, judge.categories)))
}

/// `None`: a variable that is not given. <https://spec.graphql.org/October2021/#CoerceArgumentValues()>
fn resolved(
    value: &Value,
    given: &Map<String, Json>,
    defaults: &std::collections::BTreeMap<String, Option<Value>>,
) -> Result<Option<Json>, QueryError> {
    Ok(Some(match value {
        Value::Variable(name) => match (given.get(name), defaults.get(name)) {
            (Some(found), _) => found.clone(),
            (None, Some(Some(default))) => return resolved(default, &Map::new(), &std::collections::BTreeMap::new()),
            (None, Some(None)) => return Ok(None),
            (None, None) => return Err(QueryError::Variable { name: short(name.clone()), why: "is not defined by the operation" }),
        },
        Value::Number(text) => {
            let number: Number = serde_json::from_str(text).map_err(|_unreadable| number_error(text))?;
            Json::Number(number)
        }
        Value::Text(text) | Value::Enum(text) => Json::String(text.clone()),
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Null => Json::Null,
        Value::List(items) => {
            Json::Array(items.iter().map(|item| Ok(resolved(item, given, defaults)?.unwrap_or(Json::Null))).collect::<Result<_, QueryError>>()?)
        }
        Value::Object(fields) => {
            let mut object = Map::new();
            for (name, field) in fields {
                if let Some(found) = resolved(field, given, defaults)? {
                    object.insert(name.clone(), found);
                }
            }
            Json::Object(object)
        }
    }))
}

fn number_error(text: &str) -> QueryError {
    QueryError::argument(text, "is a number that cannot be passed on unchanged")
}

struct Judge<'s> {
    slot: &'s Slot,
    schema: &'s Schema,
    categories: Vec<Category>,
}

impl Judge<'_> {
    fn told(&self, path: &str, why: &str) -> QueryError {
        QueryError::argument(format!("{}({path})", self.slot.of_field), why)
    }

    fn value(&mut self, value: &Json, of: &TypeRef, path: &str) -> Result<(), QueryError> {
        match (of, value) {
            (TypeRef::NonNull(_), Json::Null) => Err(self.told(path, "must not be `null`")),
            (TypeRef::NonNull(of), _) => self.value(value, of, path),
            (TypeRef::Named(_) | TypeRef::List(_), Json::Null) => self.nothing(path),
            (TypeRef::List(_), Json::Array(items)) if items.is_empty() => self.nothing(path),
            (TypeRef::List(of), Json::Array(items)) => {
                let path = format!("{path}[]");
                items.iter().try_for_each(|item| self.value(item, of, &path))
            }
            // A single value stands for a list of one: <https://spec.graphql.org/October2021/#sec-List.Input-Coercion>
            (TypeRef::List(of), _) => self.value(value, of, &format!("{path}[]")),
            (TypeRef::Named(name), _) => self.named(value, name, path),
        }
    }

    fn named(&mut self, value: &Json, name: &str, path: &str) -> Result<(), QueryError> {
        let Some(found) = self.schema.get(name) else { return Err(self.told(path, "has a type that is not in the schema")) };
        match found.kind {
            Kind::Enum => match value.as_str().filter(|text| found.values.contains(*text)) {
                Some(text) => self.leaf(text, path),
                None => Err(self.told(path, "is none of the values of its type")),
            },
            Kind::Input => {
                let Json::Object(fields) = value else { return Err(self.told(path, "is not an object")) };
                let missing = found.inputs.iter().find(|(name, def)| def.must_be_given() && !fields.contains_key(*name));
                if let Some((name, _)) = missing {
                    return Err(self.told(&format!("{path}.{name}"), "must be given"));
                }
                if fields.is_empty() {
                    return self.nothing(path);
                }
                fields.iter().try_for_each(|(name, field)| {
                    let def = found.inputs.get(name).ok_or_else(|| self.told(&format!("{path}.{name}"), "is not in the schema"))?;
                    self.value(field, &def.of, &format!("{path}.{name}"))
                })
            }
            Kind::Scalar => {
                let fits = match name {
                    "Int" => value.is_i64() || value.is_u64(),
                    "Float" => value.is_number(),
                    "String" => value.is_string(),
                    "Boolean" => value.is_boolean(),
                    "ID" => value.is_string() || value.is_i64() || value.is_u64(),
                    _ => true,
                };
                if fits { self.any(value, path) } else { Err(self.told(path, "has a value of another type than its own")) }
            }
            Kind::Object | Kind::Interface | Kind::Union => Err(self.told(path, "has a type that nothing can be given for")),
        }
    }

    /// A scalar, or what stands in a custom one.
    fn any(&mut self, value: &Json, path: &str) -> Result<(), QueryError> {
        match value {
            Json::Array(items) if !items.is_empty() => items.iter().try_for_each(|item| self.any(item, &format!("{path}[]"))),
            Json::Object(fields) if !fields.is_empty() => fields.iter().try_for_each(|(name, field)| {
                // A name with a dot in it could pass for a member of a member.
                let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if is_name { self.any(field, &format!("{path}.{name}")) } else { Err(self.told(path, "has a member whose name cannot be judged")) }
            }),
            Json::String(text) => self.leaf(text, path),
            // Numbers that JSON readers round are not what the caller wrote.
            Json::Number(number) if number.as_f64().is_some_and(|n| number.is_f64() && n.fract() == 0.0 && n.abs() > 9e15) => {
                Err(self.told(path, "is a number that cannot be passed on unchanged"))
            }
            Json::Bool(_) | Json::Number(_) => self.leaf(&value.to_string(), path),
            Json::Null | Json::Array(_) | Json::Object(_) => self.nothing(path),
        }
    }

    /// `null`, `[]` or `{}`. In the place of something with rules for what is in it this is as if it were not given.
    fn nothing(&mut self, path: &str) -> Result<(), QueryError> {
        let inside = |rule: &Param| rule.name.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '[']));
        if self.slot.rules.iter().any(inside) { Ok(()) } else { self.leaf("null", path) }
    }

    fn leaf(&mut self, text: &str, path: &str) -> Result<(), QueryError> {
        let Some(rule) = self.slot.rules.iter().find(|rule| rule.name == path) else {
            return Err(QueryError::NotDeclared { name: short(format!("{}({path})", self.slot.of_field)) });
        };
        if !rule.accepts.takes(text) {
            return Err(self.told(path, "has a value that is not declared for it"));
        }
        if self.slot.embedded && !rule.categories.is_empty() {
            return Err(self.told(path, "selects by what is known of another customer than the answer's own"));
        }
        self.categories.extend(rule.categories.iter().copied());
        Ok(())
    }
}
