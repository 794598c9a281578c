//! GraphQL: one URL, and what an answer holds is said by the query. A query is read with the field's parser, resolved against the
//! API's schema, and becomes a plan of the cutter's like that of any other route. <https://spec.graphql.org/October2021/>
//!
//! ```text
//! text -> document (as written) -> select (fragments, directives, merging) -> derive (shapes, plan) -> print (what goes upstream)
//!                                                     variables -> values (judged by declared rules) -> its variables
//! ```
//!
//! INVARIANT: the upstream gets what was understood and judged here, written anew, never the caller's text. So another reading of a
//! query by the upstream's own parser cannot matter, and what is not declared is not even asked for.
//! INVARIANT: a path of the answer has the category of the path of the schema that stands there, whatever the caller calls it.

mod check;
mod derive;
mod document;
mod error;
mod print;
mod schema;
mod select;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::param::Param;
use super::route::Customer;
use crate::model::{Category, CountRule, PathPattern, ResponsePlan, Shape, ShapeName, Shapes, Space, Step, Subject};
use derive::Derived;
use document::{Document, Value};
use values::Slot;

pub use error::QueryError;
pub use schema::Schema;

/// Names in the answer that are the gateway's own.
const RESERVED: &str = "consentry_";
/// Shapes derived for one query: its own, and those of other customers' objects in it.
const SHAPES_MAX: usize = 17;

/// How the queries of a route are read.
#[derive(Clone, Debug)]
pub struct Graphql {
    schema: Schema,
    /// What the fields of an object type are.
    types: BTreeMap<String, Arc<Shape>>,
    /// By the fields of the query type.
    fields: BTreeMap<String, RootField>,
    /// By `Type.field`; a rule is named by the path into the argument.
    args: BTreeMap<String, Vec<Param>>,
    limits: Limits,
    /// For embedded objects.
    shapes: Shapes,
    /// Names for derived shapes: what comes with a request makes no new ones.
    names: Vec<ShapeName>,
}

/// What a field of the query type returns.
#[derive(Clone, Debug)]
pub struct RootField {
    pub answers: Answers,
    pub customer: Option<CustomerArg>,
}

/// `customer = "arg:filter.id"`
#[derive(Clone, Debug)]
pub struct CustomerArg {
    pub name: String,
    /// Into an input object.
    pub path: Vec<String>,
    pub space: Space,
}

/// Paths are those of the schema, from the field on.
#[derive(Clone, Debug)]
pub enum Answers {
    Object { at: PathPattern, subject: Subject },
    Rows { rows: PathPattern, counts: Vec<(PathPattern, CountRule)>, open: Vec<PathPattern>, rows_max: Option<u32> },
}

/// What a query may cost at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub document_bytes: usize,
    pub depth: usize,
    /// After fragments are resolved.
    pub selections: usize,
    pub aliases: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { document_bytes: 64 << 10, depth: 12, selections: 500, aliases: 50 }
    }
}

/// A query as it was asked. `Debug` hides it: it holds ids.
#[derive(Clone, Default)]
pub struct Query {
    pub text: String,
    pub operation: Option<String>,
    pub variables: Map<String, Json>,
}

/// A query that can be answered, whatever its variables. `Debug` hides it: literals hold ids, too.
pub struct Planned {
    text: String,
    slots: Vec<Slot>,
    defaults: BTreeMap<String, Option<Value>>,
    pub response: ResponsePlan,
    pub customer: Customer,
    /// The answer's shape and those embedded in it.
    pub shapes: Shapes,
    /// Fields that were selected and that nothing declares: `Customer.note`. They are not asked for.
    pub unmapped: Vec<String>,
    names: BTreeMap<String, String>,
}

/// What is sent, and by which categories it selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    pub body: String,
    pub selected_by: Vec<Category>,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Query({} bytes)", self.text.len())
    }
}

impl std::fmt::Debug for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Planned({} arguments, {} shapes)", self.slots.len(), self.shapes.len())
    }
}

impl Graphql {
    /// `check` has held all of this against the schema.
    #[must_use]
    pub fn new(
        schema: Schema,
        types: BTreeMap<String, Arc<Shape>>,
        fields: BTreeMap<String, RootField>,
        args: BTreeMap<String, Vec<Param>>,
        limits: Limits,
        shapes: Shapes,
    ) -> Self {
        let names = (0..SHAPES_MAX).map(|n| ShapeName::intern(&format!("graphql#{n}"))).collect();
        Self { schema, types, fields, args, limits, shapes, names }
    }

    /// # Errors
    /// [`QueryError`]; nothing of it depends on a customer.
    pub fn plan(&self, query: &Query) -> Result<Planned, QueryError> {
        if query.text.len() > self.limits.document_bytes {
            return Err(QueryError::TooMuch { what: "bytes", max: self.limits.document_bytes });
        }
        let document = Document::parse(&query.text)?;
        let operation = document.operation(query.operation.as_deref())?;
        let selected = select::resolve(&self.schema, &document, operation, &query.variables, &self.limits)?;
        let Derived { printed, slots, response, shapes, names, unmapped, customer } = derive::derive(self, &selected)?;
        let customer = match (customer, self.customer_arg(&selected)) {
            (Some(variable), Some(arg)) => {
                let steps = ["variables", &variable].into_iter().map(str::to_owned).chain(arg.path.iter().cloned());
                Customer::Request { path: PathPattern(steps.map(Step::Member).collect()), space: arg.space }
            }
            (Some(_) | None, _) => Customer::Answer,
        };
        Ok(Planned {
            text: print::document(operation.name.as_deref(), &slots, &printed),
            slots,
            defaults: operation.variables.clone(),
            response,
            customer,
            shapes,
            unmapped: unmapped.into_iter().collect(),
            names,
        })
    }

    fn customer_arg(&self, selected: &select::Children) -> Option<&CustomerArg> {
        let node = selected.groups.first()?.nodes.first()?;
        self.fields.get(&node.name)?.customer.as_ref()
    }
}

impl Planned {
    /// Judges the arguments, and writes what goes upstream.
    ///
    /// # Errors
    /// An argument that is not declared or has a value that is not.
    pub fn bind(&self, graphql: &Graphql, variables: &Map<String, Json>) -> Result<Bound, QueryError> {
        let (mut given, mut selected_by) = (Map::new(), Vec::new());
        for slot in &self.slots {
            if let Some((value, categories)) = values::judged(slot, &graphql.schema, variables, &self.defaults)? {
                given.insert(slot.variable.clone(), value);
                selected_by.extend(categories);
            }
        }
        selected_by.sort();
        selected_by.dedup();
        Ok(Bound { body: json!({ "query": self.text, "variables": given }).to_string(), selected_by })
    }

    /// The declared path for one of the answer, for evidence: aliases are the caller's words.
    #[must_use]
    pub fn declared<'p>(&'p self, path: &str) -> &'p str {
        self.names.get(path).map_or("*", String::as_str)
    }
}

#[cfg(test)]
mod tests;
