//! Drafts of the governed configuration, for a person to finish: from an OpenAPI document, from answers that were seen. Pure: what was
//! read in, text out. The same input gives the same text.
//!
//! INVARIANT: a draft gives nobody a right. Whose data something is, and of which category, is either said by a person (a mark in
//! the document, a word on the command line) or stands there as `?`, which `consentry check` refuses. What names and
//! formats suggest stands in a comment.
//! INVARIANT: no value of an answer is in a draft, and no member name that could be one ([`seen`]).

mod import;
mod proposals;
mod routes;
pub mod seen;
#[cfg(test)]
mod tests;
mod text;

pub use import::{Drafted, ImportQuestion, import};
pub use text::key;
