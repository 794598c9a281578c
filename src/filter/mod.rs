//! The cutter: what of an answer goes out, and whether a written body may go in. Pure: no clock, no environment, no socket.
//! Rules: the design's filter.md, "When is something released?". What that text leaves open is decided so, always to the closed side:
//!
//! - **Parser.** An own strict reader of spans (`reader.rs`), serde_json only for strings with escapes. serde_json alone
//!   either loses the spelling of members and numbers or, with `RawValue` level by level, scans a body once per depth and lets lone
//!   surrogates pass. That both agree on what is JSON is held by the `JSONTestSuite` corpus and by a property test.
//! - **Present.** A category is present when a member mapped to it is there, whatever its value. A masked form that went
//!   out counts as released; `needs` and predicates want the category in full.
//! - **Containers.** A path names a value without members; `a.**` covers `a` itself and everything below. An object or array in which
//!   nothing is left is withheld. With `on_deny = "null"` it is `a` that becomes `null`: names below `**` may be data, and none stays.
//!   `null`, `{}` and `[]` where only longer paths are mapped go out iff all those are
//!   permitted. In an array of which single positions are mapped, a withheld element becomes `null`, so that positions keep their meaning.
//! - **Several customers.** `all`: a category counts as permitted only if every customer named in the row permits it. `each`: the
//!   customers at the first path judge the row and its shared members (all of them together); a customer at `p.id` alone judges what
//!   stands under `p`, one at `list[].….id` the whole element; it is cut whole, open members too, when nothing personal of it may go out. Other customers' members
//!   never release a row. Somebody who stands in a row without an id drops it (`all`) or is cut (`each`). With `subject = "request"` whoever
//!   was asked for judges beside those whom the object names, and it may name nobody.
//! - **Foreign rows.** A row of another customer than the one requested is dropped; an object of another is `SubjectMismatch`.
//! - **Embedded objects** never release the object around them and go with it; the embedding path says nothing when it is empty.
//! - `on_deny = "error"` refuses the answer when the member stands in an object that would go out.

mod call;
mod compiled;
mod cut;
mod envelope;
mod flow;
mod graphql;
mod habit;
mod held;
mod json;
mod mask;
mod object;
mod out;
mod path;
mod reader;
mod records;
mod report;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

use crate::model::{Judged, PartyNo, ResponsePlan, Space};

pub use call::{Call, NoCall, Reply, pick, read_call, read_member, read_reply, write_call};
pub use compiled::Cutters;
pub use cut::{Cut, CutError, cut, cut_open};
pub use flow::Flow;
pub use graphql::{GraphqlAnswer, GraphqlCall, GraphqlCallError, read_graphql_answer, read_graphql_call};
pub use json::{Sender, Unreadable};
pub use mask::PSEUDONYM_PREFIX;
pub use report::{Group, Report};
pub use write::{
    BodyError, Effect, FieldError, FormError, MediaType, PartError, PatchError, Reference, Writable, WriteRefused, Written, find_id, judge_delete,
    read_write,
};

/// What a body may cost at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub body_bytes_max: usize,
    /// Nesting of objects and arrays; never more than 128, whatever stands here.
    pub depth_max: u16,
}

/// Whom the filter asks about the customers it finds in a body.
pub trait Judge {
    /// The verdicts for a customer; `raw_id` is the id as it stands in the body: a string unescaped, or the digits of an integer.
    fn judge(&mut self, space: Space, raw_id: &str) -> Judged;
    /// The customer that the request named.
    fn requested(&mut self) -> Option<Judged>;
    /// A pseudonym for a value, keyed by (recipient, purpose); [`PSEUDONYM_PREFIX`] is put before it. `None`: the member is removed.
    fn pseudonym(&mut self, text: &str) -> Option<String>;
    /// The gateway's URL for an upstream's that stands beside or in data of `party`. `None`: it is removed.
    fn link(&mut self, url: &str, party: Option<PartyNo>) -> Option<String> {
        let _without_an_address_nothing_leads_here = (url, party);
        None
    }
}

/// Bytes that were cut to what was decided. Only this room can make them.
#[derive(Clone)]
pub struct Filtered(Bytes);

impl Filtered {
    /// An answer without a body.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Bytes::new())
    }

    /// A body that the route declares free of customer data, when its content type is one of those listed.
    ///
    /// # Errors
    /// `Unreadable(ContentType)` when the plan is another or the type is not listed.
    pub fn declared_free(plan: &ResponsePlan, content_type: &str, body: Bytes) -> Result<Self, CutError> {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match plan {
            ResponsePlan::Free { content_types } if content_types.contains(&essence) => Ok(Self(body)),
            ResponsePlan::Free { .. }
            | ResponsePlan::Empty
            | ResponsePlan::Open { .. }
            | ResponsePlan::Object { .. }
            | ResponsePlan::Rows { .. }
            | ResponsePlan::Stream { .. } => Err(CutError::Unreadable(Unreadable::ContentType)),
        }
    }

    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Filtered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filtered({} bytes)", self.0.len())
    }
}
