//! A query as it was written, taken from the parser's tree: <https://spec.graphql.org/October2021/#sec-Language>. The parser goes
//! on after a mistake, so a tree with any error is refused; and it need not be as strict as the specification, since the upstream
//! gets what was understood here (`print`), never this text.

use std::collections::{BTreeMap, BTreeSet};

use apollo_parser::cst;
use apollo_parser::{Parser, SyntaxTree};

use super::error::{QueryError, short};
use super::schema::{first_error, text};

/// Nesting in the text: selections, lists and input objects. Far from what the stack of a thread holds.
const RECURSION_MAX: usize = 64;
/// Tokens of a document; some eight bytes each.
const TOKENS_MAX: usize = 20_000;

#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) operations: Vec<Operation>,
    pub(super) fragments: BTreeMap<String, Fragment>,
}

#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) name: Option<String>,
    pub(super) is_query: bool,
    /// Each with its default.
    pub(super) variables: BTreeMap<String, Option<Value>>,
    pub(super) selections: Vec<Selection>,
}

#[derive(Clone, Debug)]
pub(super) struct Fragment {
    pub(super) on: String,
    pub(super) selections: Vec<Selection>,
}

#[derive(Clone, Debug)]
pub(super) enum Selection {
    Field(Field),
    Spread { fragment: String, when: Vec<Condition> },
    Inline { on: Option<String>, when: Vec<Condition>, selections: Vec<Selection> },
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    /// Under which name it stands in the answer.
    pub(super) key: String,
    pub(super) name: String,
    pub(super) args: Vec<(String, Value)>,
    pub(super) when: Vec<Condition>,
    pub(super) selections: Vec<Selection>,
}

/// `@include(if: …)`, or `@skip(if: …)`.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) include: bool,
    pub(super) given: Value,
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Variable(String),
    /// As JSON would have it: numbers keep their spelling.
    Number(String),
    Text(String),
    Bool(bool),
    Null,
    Enum(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Document {
    pub(super) fn parse(source: &str) -> Result<Self, QueryError> {
        let tree: SyntaxTree = Parser::new(source).recursion_limit(RECURSION_MAX).token_limit(TOKENS_MAX).parse();
        if let Some(problem) = first_error(source, &tree) {
            return Err(QueryError::Syntax(problem));
        }
        let mut found = Self { operations: Vec::new(), fragments: BTreeMap::new() };
        for definition in tree.document().definitions() {
            found.define(&definition)?;
        }
        Ok(found)
    }

    /// The one operation to carry out: <https://spec.graphql.org/October2021/#GetOperation()>.
    pub(super) fn operation(&self, wanted: Option<&str>) -> Result<&Operation, QueryError> {
        let found = match (wanted, self.operations.as_slice()) {
            (None, [one]) => one,
            (None, _) => return Err(QueryError::Operation("the document does not hold exactly one operation; name one in `operationName`")),
            (Some(wanted), all) => all
                .iter()
                .find(|operation| operation.name.as_deref() == Some(wanted))
                .ok_or(QueryError::Operation("the document has no operation of the name in `operationName`"))?,
        };
        if found.is_query {
            Ok(found)
        } else {
            Err(QueryError::Operation("only queries are served here; mutations and subscriptions cannot be judged"))
        }
    }

    fn define(&mut self, definition: &cst::Definition) -> Result<(), QueryError> {
        match definition {
            cst::Definition::OperationDefinition(it) => {
                let operation = operation(it)?;
                let other = |known: &Operation| known.name == operation.name || known.name.is_none() || operation.name.is_none();
                if self.operations.iter().any(other) {
                    return Err(QueryError::Operation("two operations have one name, or one of several has none; name each differently"));
                }
                self.operations.push(operation);
                Ok(())
            }
            cst::Definition::FragmentDefinition(it) => {
                let name = name(it.fragment_name().and_then(|it| it.name()))?;
                no_directives(it.directives())?;
                let fragment = Fragment { on: condition(it.type_condition())?.ok_or_else(missing)?, selections: selections(it.selection_set())? };
                if self.fragments.insert(name.clone(), fragment).is_some() {
                    return Err(QueryError::Fragment { name: short(name), why: "is defined twice" });
                }
                Ok(())
            }
            cst::Definition::DirectiveDefinition(_)
            | cst::Definition::SchemaDefinition(_)
            | cst::Definition::ScalarTypeDefinition(_)
            | cst::Definition::ObjectTypeDefinition(_)
            | cst::Definition::InterfaceTypeDefinition(_)
            | cst::Definition::UnionTypeDefinition(_)
            | cst::Definition::EnumTypeDefinition(_)
            | cst::Definition::InputObjectTypeDefinition(_)
            | cst::Definition::SchemaExtension(_)
            | cst::Definition::ScalarTypeExtension(_)
            | cst::Definition::ObjectTypeExtension(_)
            | cst::Definition::InterfaceTypeExtension(_)
            | cst::Definition::UnionTypeExtension(_)
            | cst::Definition::EnumTypeExtension(_)
            | cst::Definition::InputObjectTypeExtension(_) => Err(QueryError::Syntax("a type is defined where a query is expected".to_owned())),
        }
    }
}

fn operation(it: &cst::OperationDefinition) -> Result<Operation, QueryError> {
    no_directives(it.directives())?;
    let mut variables = BTreeMap::new();
    for definition in it.variable_definitions().into_iter().flat_map(|it| it.variable_definitions()) {
        no_directives(definition.directives())?;
        let name = name(definition.variable().and_then(|variable| variable.name()))?;
        let default = definition.default_value().map(|default| value(default.value())).transpose()?;
        if variables.insert(name.clone(), default).is_some() {
            return Err(QueryError::Variable { name: short(name), why: "is defined twice" });
        }
    }
    Ok(Operation {
        name: it.name().map(|it| name(Some(it))).transpose()?,
        is_query: it.operation_type().is_none_or(|kind| kind.query_token().is_some()),
        variables,
        selections: selections(it.selection_set())?,
    })
}

fn selections(set: Option<cst::SelectionSet>) -> Result<Vec<Selection>, QueryError> {
    set.into_iter().flat_map(|it| it.selections()).map(|it| selection(&it)).collect()
}

fn selection(it: &cst::Selection) -> Result<Selection, QueryError> {
    match it {
        cst::Selection::Field(it) => {
            let name_of_field = name(it.name())?;
            let key = it.alias().map(|alias| name(alias.name())).transpose()?;
            Ok(Selection::Field(Field {
                key: key.unwrap_or_else(|| name_of_field.clone()),
                args: arguments(it.arguments(), &name_of_field)?,
                name: name_of_field,
                when: conditions(it.directives())?,
                selections: selections(it.selection_set())?,
            }))
        }
        cst::Selection::FragmentSpread(it) => {
            Ok(Selection::Spread { fragment: name(it.fragment_name().and_then(|it| it.name()))?, when: conditions(it.directives())? })
        }
        cst::Selection::InlineFragment(it) => Ok(Selection::Inline {
            on: condition(it.type_condition())?,
            when: conditions(it.directives())?,
            selections: selections(it.selection_set())?,
        }),
    }
}

fn condition(it: Option<cst::TypeCondition>) -> Result<Option<String>, QueryError> {
    it.map(|it| name(it.named_type().and_then(|named| named.name()))).transpose()
}

fn arguments(it: Option<cst::Arguments>, of: &str) -> Result<Vec<(String, Value)>, QueryError> {
    let mut found: Vec<(String, Value)> = Vec::new();
    for argument in it.into_iter().flat_map(|it| it.arguments()) {
        let name = name(argument.name())?;
        if found.iter().any(|(known, _)| *known == name) {
            return Err(QueryError::argument(format!("{of}({name})"), "stands there twice"));
        }
        found.push((name, value(argument.value())?));
    }
    // Their order means nothing, so that two spellings of one call are one.
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

/// `@include` and `@skip` are resolved here; what another directive does to the answer nobody can tell.
fn conditions(it: Option<cst::Directives>) -> Result<Vec<Condition>, QueryError> {
    let mut found: Vec<Condition> = Vec::new();
    for directive in it.into_iter().flat_map(|it| it.directives()) {
        let name = name(directive.name())?;
        let include = match name.as_str() {
            "include" => true,
            "skip" => false,
            _ => return Err(QueryError::Directive(short(name))),
        };
        if found.iter().any(|known| known.include == include) {
            return Err(QueryError::Directive(name));
        }
        match arguments(directive.arguments(), &name)?.as_slice() {
            [(key, given @ (Value::Bool(_) | Value::Variable(_)))] if key == "if" => found.push(Condition { include, given: given.clone() }),
            _ => return Err(QueryError::Directive(name)),
        }
    }
    Ok(found)
}

fn no_directives(it: Option<cst::Directives>) -> Result<(), QueryError> {
    match it.and_then(|it| it.directives().next()) {
        None => Ok(()),
        Some(directive) => Err(QueryError::Directive(short(name(directive.name())?))),
    }
}

fn value(it: Option<cst::Value>) -> Result<Value, QueryError> {
    Ok(match it.ok_or_else(missing)? {
        cst::Value::Variable(it) => Value::Variable(name(it.name())?),
        cst::Value::StringValue(it) => Value::Text(String::from(it)),
        cst::Value::IntValue(it) => Value::Number(it.int_token().ok_or_else(missing)?.text().to_owned()),
        cst::Value::FloatValue(it) => Value::Number(it.float_token().ok_or_else(missing)?.text().to_owned()),
        cst::Value::BooleanValue(it) => Value::Bool(it.true_token().is_some()),
        cst::Value::NullValue(_) => Value::Null,
        cst::Value::EnumValue(it) => Value::Enum(name(it.name())?),
        cst::Value::ListValue(it) => Value::List(it.values().map(|it| value(Some(it))).collect::<Result<_, _>>()?),
        cst::Value::ObjectValue(it) => {
            let mut seen = BTreeSet::new();
            let mut fields = Vec::new();
            for field in it.object_fields() {
                let name = name(field.name())?;
                if !seen.insert(name.clone()) {
                    return Err(QueryError::argument(name, "stands there twice"));
                }
                fields.push((name, value(field.value())?));
            }
            fields.sort_by(|(a, _): &(String, Value), (b, _)| a.cmp(b));
            Value::Object(fields)
        }
    })
}

/// Some are written again, so that nothing but a name may stand there: <https://spec.graphql.org/October2021/#Name>
fn name(it: Option<cst::Name>) -> Result<String, QueryError> {
    let found = text(it).map_err(QueryError::Syntax)?;
    let is_name = found.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !found.starts_with(|c: char| c.is_ascii_digit());
    if is_name && !found.is_empty() { Ok(found) } else { Err(QueryError::Syntax("a name is not one".to_owned())) }
}

fn missing() -> QueryError {
    QueryError::Syntax("something is missing".to_owned())
}
