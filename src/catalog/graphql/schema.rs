//! The schema of a GraphQL API, read from its SDL: which types there are, what their fields return and take.
//! <https://spec.graphql.org/October2021/#sec-Type-System>. Directives and descriptions mean nothing here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use apollo_parser::cst::{self, CstNode as _};
use apollo_parser::{Parser, SyntaxTree};

/// Nesting of a schema's types and default values.
const SCHEMA_RECURSION_MAX: usize = 64;
/// Types that every schema has: <https://spec.graphql.org/October2021/#sec-Scalars.Built-in-Scalars>.
const BUILT_IN: [&str; 5] = ["Boolean", "Float", "ID", "Int", "String"];

#[derive(Clone, Debug, Default)]
pub struct Schema {
    types: BTreeMap<String, TypeDef>,
    query: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar,
    Enum,
    Object,
    Interface,
    Union,
    Input,
}

#[derive(Clone, Debug)]
pub(super) struct TypeDef {
    pub(super) kind: Kind,
    /// Of objects and interfaces.
    pub(super) fields: BTreeMap<String, FieldDef>,
    /// Of input objects.
    pub(super) inputs: BTreeMap<String, InputDef>,
    /// Of enumerations.
    pub(super) values: BTreeSet<String>,
    /// Object types that a value of this type can be of.
    pub(super) possible: BTreeSet<String>,
    implements: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub(super) struct FieldDef {
    pub(super) of: TypeRef,
    pub(super) args: BTreeMap<String, InputDef>,
}

#[derive(Clone, Debug)]
pub(super) struct InputDef {
    pub(super) of: TypeRef,
    pub(super) has_default: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TypeRef {
    Named(String),
    List(Box<TypeRef>),
    NonNull(Box<TypeRef>),
}

impl TypeRef {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::List(of) | Self::NonNull(of) => of.name(),
        }
    }

    /// How many lists stand around the named type.
    pub(super) fn lists(&self) -> usize {
        match self {
            Self::Named(_) => 0,
            Self::List(of) => 1 + of.lists(),
            Self::NonNull(of) => of.lists(),
        }
    }

    pub(super) const fn is_required(&self) -> bool {
        matches!(self, Self::NonNull(_))
    }

    /// The same where `null` is allowed.
    pub(super) fn nullable(&self) -> &Self {
        match self {
            Self::NonNull(of) => of,
            Self::Named(_) | Self::List(_) => self,
        }
    }
}

impl fmt::Display for TypeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::List(of) => write!(f, "[{of}]"),
            Self::NonNull(of) => write!(f, "{of}!"),
        }
    }
}

impl InputDef {
    pub(super) const fn must_be_given(&self) -> bool {
        self.of.is_required() && !self.has_default
    }
}

impl Schema {
    /// Reads an SDL document.
    ///
    /// # Errors
    /// What is wrong with it, with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tree = Parser::new(text).recursion_limit(SCHEMA_RECURSION_MAX).parse();
        if let Some(problem) = first_error(text, &tree) {
            return Err(problem);
        }
        let mut schema = Self { query: "Query".to_owned(), ..Self::default() };
        schema.types.extend(BUILT_IN.map(|name| (name.to_owned(), TypeDef::new(Kind::Scalar))));
        for definition in tree.document().definitions() {
            schema
                .define(&definition)
                .map_err(|problem| format!("line {}: {problem}", line(text, definition.syntax().text_range().start().into())))?;
        }
        schema.link()?;
        Ok(schema)
    }

    /// Name of the query type.
    #[must_use]
    pub fn query(&self) -> &str {
        &self.query
    }

    pub(super) fn get(&self, name: &str) -> Option<&TypeDef> {
        self.types.get(name)
    }

    /// The schema's own spelling of a type's name.
    pub(super) fn known(&self, name: &str) -> Option<&str> {
        self.types.get_key_value(name).map(|(name, _)| name.as_str())
    }

    pub(super) fn field(&self, of: &str, name: &str) -> Option<&FieldDef> {
        self.get(of)?.fields.get(name)
    }

    /// Whether values of the type have no fields to select.
    pub(super) fn is_leaf(&self, name: &str) -> bool {
        self.get(name).is_some_and(|found| matches!(found.kind, Kind::Scalar | Kind::Enum))
    }

    /// Of object types, for suggestions.
    pub fn objects(&self) -> impl Iterator<Item = &str> {
        self.types.iter().filter(|(_, found)| found.kind == Kind::Object).map(|(name, _)| name.as_str())
    }

    fn define(&mut self, definition: &cst::Definition) -> Result<(), String> {
        use cst::Definition as D;
        match definition {
            D::ObjectTypeDefinition(it) => self.add(it.name(), false, Kind::Object, |t| t.object(it.fields_definition(), it.implements_interfaces())),
            D::ObjectTypeExtension(it) => self.add(it.name(), true, Kind::Object, |t| t.object(it.fields_definition(), it.implements_interfaces())),
            D::InterfaceTypeDefinition(it) => {
                self.add(it.name(), false, Kind::Interface, |t| t.object(it.fields_definition(), it.implements_interfaces()))
            }
            D::InterfaceTypeExtension(it) => {
                self.add(it.name(), true, Kind::Interface, |t| t.object(it.fields_definition(), it.implements_interfaces()))
            }
            D::UnionTypeDefinition(it) => self.add(it.name(), false, Kind::Union, |t| t.union(it.union_member_types())),
            D::UnionTypeExtension(it) => self.add(it.name(), true, Kind::Union, |t| t.union(it.union_member_types())),
            D::EnumTypeDefinition(it) => self.add(it.name(), false, Kind::Enum, |t| t.enumeration(it.enum_values_definition())),
            D::EnumTypeExtension(it) => self.add(it.name(), true, Kind::Enum, |t| t.enumeration(it.enum_values_definition())),
            D::InputObjectTypeDefinition(it) => self.add(it.name(), false, Kind::Input, |t| t.input(it.input_fields_definition())),
            D::InputObjectTypeExtension(it) => self.add(it.name(), true, Kind::Input, |t| t.input(it.input_fields_definition())),
            D::ScalarTypeDefinition(it) => self.add(it.name(), false, Kind::Scalar, |_| Ok(())),
            D::ScalarTypeExtension(it) => self.add(it.name(), true, Kind::Scalar, |_| Ok(())),
            D::SchemaDefinition(it) => self.roots(it.root_operation_type_definitions()),
            D::SchemaExtension(it) => self.roots(it.root_operation_type_definitions()),
            D::DirectiveDefinition(_) => Ok(()),
            D::OperationDefinition(_) | D::FragmentDefinition(_) => Err("this is a query, not a schema".to_owned()),
        }
    }

    fn add(
        &mut self,
        name: Option<cst::Name>,
        extends: bool,
        kind: Kind,
        fill: impl FnOnce(&mut TypeDef) -> Result<(), String>,
    ) -> Result<(), String> {
        let name = text(name)?;
        // A schema printed from an introspection may repeat these.
        if kind == Kind::Scalar && BUILT_IN.contains(&name.as_str()) {
            return Ok(());
        }
        match self.types.get_mut(&name) {
            Some(_) if !extends => Err(format!("the type `{name}` is defined twice")),
            Some(known) if known.kind != kind => Err(format!("the type `{name}` is extended as another kind of type")),
            Some(known) => fill(known),
            None => {
                let mut found = TypeDef::new(kind);
                fill(&mut found)?;
                self.types.insert(name, found);
                Ok(())
            }
        }
    }

    fn roots(&mut self, roots: cst::CstChildren<cst::RootOperationTypeDefinition>) -> Result<(), String> {
        for root in roots {
            let is_query = root.operation_type().is_some_and(|kind| kind.query_token().is_some());
            if is_query {
                self.query = text(root.named_type().and_then(|named| named.name()))?;
            }
        }
        Ok(())
    }

    /// Checks that every name is of a type of the right kind, and works out what interfaces and unions can be.
    fn link(&mut self) -> Result<(), String> {
        for (name, found) in &self.types {
            let outputs = found.fields.iter().map(|(field, def)| (field, &def.of, false));
            let args = found.fields.iter().flat_map(|(field, def)| def.args.values().map(move |arg| (field, &arg.of, true)));
            let inputs = found.inputs.iter().map(|(field, def)| (field, &def.of, true));
            for (field, of, takes) in outputs.chain(args).chain(inputs) {
                let known = self.get(of.name()).ok_or_else(|| format!("`{name}.{field}` names the type `{}`, which is not defined", of.name()))?;
                let fits = match known.kind {
                    Kind::Scalar | Kind::Enum => true,
                    Kind::Object | Kind::Interface | Kind::Union => !takes,
                    Kind::Input => takes,
                };
                if !fits {
                    return Err(format!("`{name}.{field}` cannot have the type `{}`", of.name()));
                }
            }
        }
        let mut possible: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, found) in self.types.iter().filter(|(_, found)| found.kind == Kind::Object) {
            possible.entry(name.clone()).or_default().insert(name.clone());
            for interface in &found.implements {
                possible.entry(interface.clone()).or_default().insert(name.clone());
            }
        }
        for (name, found) in &mut self.types {
            if found.kind != Kind::Union {
                found.possible = possible.remove(name).unwrap_or_default();
            }
        }
        let wrong = self.types.iter().find_map(|(name, found)| Some((name, found.possible.iter().find(|of| !self.is_object(of))?)));
        if let Some((name, of)) = wrong {
            return Err(format!("`{name}` can be of the type `{of}`, which is no object type of this schema"));
        }
        if !self.is_object(&self.query) {
            return Err(format!("the schema has no type `{}` with the fields of a query", self.query));
        }
        Ok(())
    }

    fn is_object(&self, name: &str) -> bool {
        self.get(name).is_some_and(|found| found.kind == Kind::Object)
    }
}

impl TypeDef {
    const fn new(kind: Kind) -> Self {
        Self {
            kind,
            fields: BTreeMap::new(),
            inputs: BTreeMap::new(),
            values: BTreeSet::new(),
            possible: BTreeSet::new(),
            implements: BTreeSet::new(),
        }
    }

    fn object(&mut self, fields: Option<cst::FieldsDefinition>, interfaces: Option<cst::ImplementsInterfaces>) -> Result<(), String> {
        for field in fields.into_iter().flat_map(|it| it.field_definitions()) {
            let name = text(field.name())?;
            let args = field.arguments_definition().map(|args| args.input_value_definitions());
            let def = FieldDef { of: type_ref(field.ty())?, args: input_values(args.into_iter().flatten())? };
            if self.fields.insert(name.clone(), def).is_some() {
                return Err(format!("the field `{name}` is defined twice"));
            }
        }
        for interface in interfaces.into_iter().flat_map(|it| it.named_types()) {
            self.implements.insert(text(interface.name())?);
        }
        Ok(())
    }

    fn union(&mut self, members: Option<cst::UnionMemberTypes>) -> Result<(), String> {
        for member in members.into_iter().flat_map(|it| it.named_types()) {
            self.possible.insert(text(member.name())?);
        }
        Ok(())
    }

    fn enumeration(&mut self, values: Option<cst::EnumValuesDefinition>) -> Result<(), String> {
        for value in values.into_iter().flat_map(|it| it.enum_value_definitions()) {
            self.values.insert(text(value.enum_value().and_then(|value| value.name()))?);
        }
        Ok(())
    }

    fn input(&mut self, fields: Option<cst::InputFieldsDefinition>) -> Result<(), String> {
        let fields = input_values(fields.into_iter().flat_map(|it| it.input_value_definitions()))?;
        for (name, def) in fields {
            if self.inputs.insert(name.clone(), def).is_some() {
                return Err(format!("the field `{name}` is defined twice"));
            }
        }
        Ok(())
    }
}

fn input_values(values: impl Iterator<Item = cst::InputValueDefinition>) -> Result<BTreeMap<String, InputDef>, String> {
    let mut found = BTreeMap::new();
    for value in values {
        let name = text(value.name())?;
        let def = InputDef { of: type_ref(value.ty())?, has_default: value.default_value().is_some() };
        if found.insert(name.clone(), def).is_some() {
            return Err(format!("`{name}` is defined twice"));
        }
    }
    Ok(found)
}

/// # Errors
/// When a name is missing; a tree without errors has them all.
pub(super) fn text(name: Option<cst::Name>) -> Result<String, String> {
    name.map(|name| name.text().as_str().to_owned()).ok_or_else(|| "a name is missing".to_owned())
}

fn type_ref(found: Option<cst::Type>) -> Result<TypeRef, String> {
    let named = |named: cst::NamedType| text(named.name()).map(TypeRef::Named);
    let list = |list: cst::ListType| type_ref(list.ty()).map(|of| TypeRef::List(Box::new(of)));
    match found.ok_or_else(|| "a type is missing".to_owned())? {
        cst::Type::NamedType(it) => named(it),
        cst::Type::ListType(it) => list(it),
        cst::Type::NonNullType(it) => {
            let of = match (it.named_type(), it.list_type()) {
                (Some(it), None) => named(it),
                (None, Some(it)) => list(it),
                (None, None) | (Some(_), Some(_)) => Err("a type is missing".to_owned()),
            };
            of.map(|of| TypeRef::NonNull(Box::new(of)))
        }
    }
}

/// The first thing that the parser could not read.
pub(super) fn first_error(text: &str, tree: &SyntaxTree) -> Option<String> {
    tree.errors().next().map(|error| {
        let said: String = error.message().chars().take(120).collect();
        format!("line {}: {said}", line(text, error.index()))
    })
}

/// The line of a position, from 1.
pub(super) fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
