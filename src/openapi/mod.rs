//! OpenAPI documents (3.0 and 3.1, JSON or YAML), read for what this gateway asks of them: which operations there are, and which
//! members their bodies have. Pure: bytes in, lists out. Nothing that stands in a document gives anybody a right.
//! <https://spec.openapis.org/oas/v3.1.1>, <https://spec.openapis.org/registry/extension/x-data-classification>
//!
//! ```text
//! bytes -> json | yaml -> Node (a tree, places as JSON pointers) -> Document -> operations
//!                                                                            -> members of a schema (schema.rs)
//! ```
//!
//! INVARIANT: the work is bounded whatever the document says: bytes, depth, values with all aliases written out, schemas looked
//! into, members of one body. What is over a bound is refused, never cut off.

mod document;
mod json;
mod schema;
#[cfg(test)]
mod tests;
mod tree;
mod yaml;

pub use document::{Body, Document, Operation, Parameter, Responds};
pub use schema::{Classification, Elsewhere, Identity, Member, Members, What};
pub use tree::{Node, below};

/// The largest document that is read: the largest published ones have some 12 MB.
pub const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

/// Why a document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDocument {
    #[error("the document is not UTF-8")]
    NotUtf8,
    #[error("{0}")]
    Syntax(String),
    #[error("this is not an OpenAPI document: `openapi` is missing; JSON and YAML are read")]
    NotOpenapi,
    #[error("this is a Swagger 2.0 document; convert it to OpenAPI 3 first")]
    Swagger,
    #[error("version {0} of OpenAPI is not known here; 3.0 and 3.1 are")]
    Version(String),
    #[error("{at}: `{target}` lies outside this document, and nothing is fetched; bundle it into one file first")]
    External { at: String, target: String },
    #[error("{at}: `{target}` does not exist")]
    Missing { at: String, target: String },
    #[error("{at}: this reference leads back to itself")]
    Circle { at: String },
    #[error("{at}: {what}")]
    TooMuch { at: String, what: &'static str },
}

/// Text of a document in a message: one line, without control characters, not endless.
pub(crate) fn shown(text: &str) -> String {
    cut(text, 120)
}

/// The same for a whole comment.
pub(crate) fn shown_long(text: &str) -> String {
    cut(text, 400)
}

fn cut(text: &str, chars_max: usize) -> String {
    let mut out: String = text.chars().take(chars_max).map(|c| if is_invisible(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(chars_max).is_some() {
        out.push('…');
    }
    out
}

/// Characters that end a line, or make a reader see another text than stands there.
pub(crate) fn is_invisible(c: char) -> bool {
    c.is_control() || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
