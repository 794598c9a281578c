//! Declared parameters: of the query, or members of a search body. Who may not see a field may not search or sort by it,
//! so a parameter names the categories it selects by, and what is not declared is refused.

use regex::Regex;

use super::ids::anchored;
use crate::model::Category;

/// Which values a parameter takes.
#[derive(Clone, Debug)]
pub enum Accepts {
    Any,
    OneOf(Vec<String>),
    /// The whole value must match.
    Grammar(Regex),
}

impl Accepts {
    /// # Errors
    /// A sentence that says what is wrong with the grammar.
    pub fn grammar(text: &str) -> Result<Self, String> {
        anchored(text).map(Self::Grammar)
    }

    pub(super) fn takes(&self, value: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(values) => values.iter().any(|v| v == value),
            Self::Grammar(grammar) => grammar.is_match(value),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Param {
    /// Compared exactly, after one percent-decoding.
    pub name: String,
    pub accepts: Accepts,
    /// What the answer is selected or ordered by; empty when the parameter tells nothing about a customer.
    pub categories: Vec<Category>,
}

/// A parameter of the request that selects or orders rows by customer data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub param: String,
    pub categories: Vec<Category>,
}

/// Why the parameters are refused; carries names, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    #[error("the parameter `{0}` is not declared for this route")]
    NotDeclared(String),
    #[error("the parameter `{0}` stands there more than once")]
    Repeated(String),
    #[error("the parameter `{0}` has a value that is not declared for it")]
    Value(String),
}

/// Judges names and values against what is declared.
///
/// # Errors
/// For the first parameter that is not declared, repeated, or has another value than declared.
pub fn judge(declared: &[Param], given: &[(String, String)]) -> Result<Vec<Selection>, ParamError> {
    let mut selections = Vec::new();
    for (n, (name, value)) in given.iter().enumerate() {
        let Some(param) = declared.iter().find(|p| p.name == *name) else {
            return Err(ParamError::NotDeclared(name.chars().take(64).collect()));
        };
        if given.iter().take(n).any(|(earlier, _)| earlier == name) {
            return Err(ParamError::Repeated(name.clone()));
        }
        if !param.accepts.takes(value) {
            return Err(ParamError::Value(name.clone()));
        }
        if !param.categories.is_empty() {
            selections.push(Selection { param: name.clone(), categories: param.categories.clone() });
        }
    }
    Ok(selections)
}
