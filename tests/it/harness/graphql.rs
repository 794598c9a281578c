//! A small executor of GraphQL queries over made-up objects, for tests: it resolves what it is sent, with aliases, fragments,
//! directives and variables, and knows nothing of how the gateway reads a query. Objects are JSON with their type in `__typename`;
//! a field is a member of its object. With marks, `#` of an object goes into the answer: whose it is.

use std::collections::HashMap;

use apollo_parser::Parser;
use apollo_parser::cst::{self, CstNode as _};
use serde_json::{Map, Value, json};

/// What the root fields return, by name and arguments.
pub(crate) type Root<'r> = dyn Fn(&str, &Map<String, Value>) -> Value + 'r;

/// Types that stand for others, in fragments.
pub(crate) type Possible = &'static [(&'static str, &'static [&'static str])];

pub(crate) fn execute(query: &str, variables: &Map<String, Value>, possible: Possible, root: &Root<'_>, marks: bool) -> Result<Value, String> {
    let tree = Parser::new(query).parse();
    if let Some(error) = tree.errors().next() {
        return Err(format!("{}: {query}", error.message()));
    }
    let document = tree.document();
    let mut fragments = HashMap::new();
    let mut operations = Vec::new();
    for definition in document.definitions() {
        if let cst::Definition::OperationDefinition(it) = definition {
            operations.push(it);
        } else if let cst::Definition::FragmentDefinition(it) = definition {
            fragments.insert(it.fragment_name().unwrap().name().unwrap().text().to_string(), it);
        } else {
            return Err(format!("{} in a query", definition.kind()));
        }
    }
    let [operation] = operations.as_slice() else { return Err("not one operation".to_owned()) };
    let mut known = variables.clone();
    for definition in operation.variable_definitions().into_iter().flat_map(|it| it.variable_definitions()) {
        let name = definition.variable().unwrap().text().to_string();
        let is_given = known.contains_key(&name);
        if let (false, Some(default)) = (is_given, definition.default_value()) {
            known.insert(name, value(&default.value().unwrap(), &Map::new()).unwrap());
        } else if !is_given && matches!(definition.ty(), Some(cst::Type::NonNullType(_))) {
            return Err(format!("${name} is not given"));
        }
    }
    let run = Run { variables: known, fragments, possible, root, marks };
    let mut out = Map::new();
    run.set(&operation.selection_set().unwrap(), None, &mut out);
    Ok(json!({ "data": out }))
}

struct Run<'r> {
    variables: Map<String, Value>,
    fragments: HashMap<String, cst::FragmentDefinition>,
    possible: Possible,
    root: &'r Root<'r>,
    marks: bool,
}

impl Run<'_> {
    fn set(&self, set: &cst::SelectionSet, object: Option<&Map<String, Value>>, out: &mut Map<String, Value>) {
        for selection in set.selections() {
            match selection {
                cst::Selection::Field(field) if self.applies(field.directives()) => self.field(&field, object, out),
                cst::Selection::InlineFragment(it) if self.applies(it.directives()) && self.is_of(it.type_condition(), object) => {
                    self.set(&it.selection_set().unwrap(), object, out);
                }
                cst::Selection::FragmentSpread(it) if self.applies(it.directives()) => {
                    let name = it.fragment_name().unwrap().name().unwrap().text().to_string();
                    let fragment = &self.fragments[&name];
                    if self.is_of(fragment.type_condition(), object) {
                        self.set(&fragment.selection_set().unwrap(), object, out);
                    }
                }
                cst::Selection::Field(_) | cst::Selection::InlineFragment(_) | cst::Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn field(&self, field: &cst::Field, object: Option<&Map<String, Value>>, out: &mut Map<String, Value>) {
        let name = field.name().unwrap().text().to_string();
        let key = field.alias().map_or_else(|| name.clone(), |alias| alias.name().unwrap().text().to_string());
        let mut args = Map::new();
        for argument in field.arguments().into_iter().flat_map(|it| it.arguments()) {
            if let Some(given) = value(&argument.value().unwrap(), &self.variables) {
                args.insert(argument.name().unwrap().text().to_string(), given);
            }
        }
        let found = match object {
            None => (self.root)(&name, &args),
            Some(object) => object.get(&name).cloned().unwrap_or(Value::Null),
        };
        let found = match (found, args.get("first").and_then(Value::as_u64)) {
            (Value::Array(items), Some(first)) => items.into_iter().take(usize::try_from(first).unwrap()).collect(),
            (found, _) => found,
        };
        let completed = self.complete(&found, field.selection_set().as_ref());
        match out.get_mut(&key) {
            Some(known) => merge(known, completed),
            None => {
                out.insert(key, completed);
            }
        }
    }

    fn complete(&self, found: &Value, set: Option<&cst::SelectionSet>) -> Value {
        match (found, set) {
            (Value::Array(items), _) => items.iter().map(|item| self.complete(item, set)).collect(),
            (Value::Object(object), Some(set)) => {
                let mut out = Map::new();
                if let (true, Some(mark)) = (self.marks, object.get("#")) {
                    out.insert("#".to_owned(), mark.clone());
                }
                self.set(set, Some(object), &mut out);
                Value::Object(out)
            }
            (found, _) => found.clone(),
        }
    }

    fn is_of(&self, condition: Option<cst::TypeCondition>, object: Option<&Map<String, Value>>) -> bool {
        let Some(wanted) = condition.map(|it| it.named_type().unwrap().name().unwrap().text().to_string()) else { return true };
        let Some(own) = object.and_then(|object| object["__typename"].as_str()) else { return true };
        wanted == own || self.possible.iter().any(|(name, of)| *name == wanted && of.contains(&own))
    }

    fn applies(&self, directives: Option<cst::Directives>) -> bool {
        directives.into_iter().flat_map(|it| it.directives()).all(|directive| {
            let given = directive.arguments().unwrap().arguments().next().unwrap().value().unwrap();
            let truth = value(&given, &self.variables) == Some(Value::Bool(true));
            truth == (directive.name().unwrap().text().as_str() == "include")
        })
    }
}

fn merge(known: &mut Value, other: Value) {
    match (known, other) {
        (Value::Object(known), Value::Object(other)) => {
            for (key, value) in other {
                match known.get_mut(&key) {
                    Some(known) => merge(known, value),
                    None => {
                        known.insert(key, value);
                    }
                }
            }
        }
        (Value::Array(known), Value::Array(other)) => known.iter_mut().zip(other).for_each(|(known, other)| merge(known, other)),
        (known, other) => *known = other,
    }
}

/// `None`: a variable that is not given.
fn value(it: &cst::Value, variables: &Map<String, Value>) -> Option<Value> {
    Some(match it {
        cst::Value::Variable(it) => return variables.get(it.text().as_str()).cloned(),
        cst::Value::StringValue(it) => Value::String(it.into()),
        cst::Value::EnumValue(it) => Value::String(it.text().to_string()),
        cst::Value::IntValue(_) | cst::Value::FloatValue(_) | cst::Value::BooleanValue(_) | cst::Value::NullValue(_) => {
            serde_json::from_str(it.syntax().text().to_string().trim()).unwrap()
        }
        cst::Value::ListValue(it) => it.values().filter_map(|item| value(&item, variables)).collect(),
        cst::Value::ObjectValue(it) => {
            let fields = it.object_fields();
            Value::Object(
                fields.filter_map(|field| Some((field.name().unwrap().text().to_string(), value(&field.value().unwrap(), variables)?))).collect(),
            )
        }
    })
}
