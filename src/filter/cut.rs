//! Cutting an answer that is there as a whole.

use std::sync::Arc;

use bytes::Bytes;

use super::compiled::Cutters;
use super::flow::Flow;
use super::{Filtered, Judge, Limits, Report, Unreadable};
use crate::model::{Category, Judged, PathPattern, ResponsePlan, Space, Verdicts};

/// What goes out, and what was decided.
#[derive(Clone, Debug)]
pub struct Cut {
    pub filtered: Filtered,
    pub report: Report,
}

/// Why nothing goes out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CutError {
    #[error("the upstream's answer cannot be read: {0}")]
    Unreadable(#[from] Unreadable),
    #[error("the answer does not say whose it is; map `customer` in its shape")]
    SubjectAbsent,
    #[error("the answer is about another customer than the request")]
    SubjectMismatch,
    /// A single object: nothing personal in it is permitted, or a needed category is refused.
    #[error("nothing in the answer may be released")]
    Denied(Report),
    /// A member with `on_deny = "error"` is refused.
    #[error("a member is refused without which the answer must not go out")]
    OnDenyError(Report),
}

/// Cuts a whole answer to what was decided. `selected_by`: the categories by which the request selected or ordered rows.
///
/// # Errors
/// [`CutError`]; then no byte of the body may go out.
pub fn cut(
    body: &Bytes,
    plan: &ResponsePlan,
    shapes: &Cutters,
    limits: &Limits,
    selected_by: &[Category],
    judge: &mut dyn Judge,
) -> Result<Cut, CutError> {
    match plan {
        ResponsePlan::Empty => return Ok(Cut { filtered: Filtered::empty(), report: Report::default() }),
        ResponsePlan::Free { .. } => return Err(Unreadable::ContentType.into()),
        ResponsePlan::Open { .. } | ResponsePlan::Object { .. } | ResponsePlan::Rows { .. } | ResponsePlan::Stream { .. } => {}
    }
    if body.len() > limits.body_bytes_max {
        return Err(Unreadable::TooLarge { max: limits.body_bytes_max }.into());
    }
    let mut flow = Flow::new(plan, shapes, limits, selected_by);
    flow.whole(body, judge)?;
    flow.finish()
}

/// Cuts a body to members that carry no customer data.
///
/// # Errors
/// [`CutError::Unreadable`]
pub fn cut_open(body: &Bytes, open: &[PathPattern], limits: &Limits) -> Result<Filtered, CutError> {
    let plan = ResponsePlan::Open { open: open.to_vec() };
    cut(body, &plan, &Cutters::default(), limits, &[], &mut Nobody).map(|cut| cut.filtered)
}

/// Where no customer is looked for.
struct Nobody;

impl Judge for Nobody {
    fn judge(&mut self, _space: Space, _raw_id: &str) -> Judged {
        Judged { party: None, verdicts: Arc::new(Verdicts::default()), is_requested: None }
    }

    fn requested(&mut self) -> Option<Judged> {
        None
    }

    fn pseudonym(&mut self, _text: &str) -> Option<String> {
        None
    }
}
