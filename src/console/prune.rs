//! `/v1/decisions:prune`: what is past its time in the decision log. Counts by class, no decision and no customer, so that it is the
//! operator's; the times stand in the configuration.

use http::StatusCode;
use serde_json::Value;

use super::dispatch::{Access, Call, Reply, Route, Takes};
use super::problem::Problem;
use super::record::Weight;
use super::role::AdminRole;
use super::schema::body;

const OPERATORS: Access = Access::Roles(&[AdminRole::Operator]);

/// Repeated, it finds nothing more to do: no idempotency key is needed.
pub(super) const ROUTES: &[Route] =
    &[Route::post("/v1/decisions:prune", "decisions.prune", OPERATORS, "Says what is past its time in the decision log, or has it go", prune)
        .takes(Takes::Json(&PruneBody::SCHEMA))];

body! {
    /// What to do with entries that are past their time.
    PruneBody {
        /// Only say how many there are.
        dry_run: bool = "boolean" required,
    }
}

fn prune(call: &Call) -> Result<Reply, Problem> {
    let PruneBody { dry_run } = call.json()?;
    if dry_run {
        return call.state.instance.prune(false).map(|document| Reply::ok(&document));
    }
    // Who asked for it stands before it.
    call.may_write(Weight::Opens)?;
    call.record_write(Weight::Opens, None, None, StatusCode::ACCEPTED)?;
    let document = call.state.instance.prune(true)?;
    let status = if document.get("announced").is_some_and(Value::is_u64) { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(Reply::json(status, &document))
}
