//! Why a query is not forwarded. The sentences name what stands in the query and in the schema; never a value.

/// The same for every customer, so it may be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("the document cannot be read: {0}")]
    Syntax(String),
    #[error("the query has more than {max} {what}; send a smaller one, or have `limits` raised")]
    TooMuch { what: &'static str, max: usize },
    #[error("{0}")]
    Operation(&'static str),
    #[error("introspection is not answered; take the schema from the API's owner")]
    Introspection,
    #[error("the directive `@{0}` cannot be judged; leave it out")]
    Directive(String),
    #[error("the fragment `{name}` {why}")]
    Fragment { name: String, why: &'static str },
    #[error("the field `{name}` {why}")]
    Field { name: String, why: String },
    #[error("the variable `${name}` {why}")]
    Variable { name: String, why: &'static str },
    /// `Type.field(path)`
    #[error("the argument `{name}` is not declared for this route")]
    NotDeclared { name: String },
    #[error("the argument `{name}` {why}")]
    Argument { name: String, why: String },
    #[error("nothing that the query selects is declared for this route")]
    Nothing,
}

impl QueryError {
    pub(super) fn field(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Field { name: short(name.into()), why: why.into() }
    }

    pub(super) fn argument(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Argument { name: short(name.into()), why: why.into() }
    }
}

/// What is told of a name that came with the request.
pub(super) fn short(name: String) -> String {
    const SHOWN_MAX: usize = 96;
    if name.len() <= SHOWN_MAX { name } else { name.chars().take(SHOWN_MAX).collect() }
}
