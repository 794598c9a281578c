//! `/v1/drift`: members of answers that no shape maps. Names and numbers, no customers and no values.

use super::dispatch::{Access, Call, Param, Reply, Route};
use super::problem::{Code, Problem};
use super::role::AdminRole;

const TECHNICAL: Access = Access::Roles(&[AdminRole::PolicyAuthor, AdminRole::PolicyApprover, AdminRole::Operator]);
const QUERY: &[Param] = &[Param { name: "api", about: "The API" }];

pub(super) const ROUTES: &[Route] =
    &[Route::get("/v1/drift", "drift.show", TECHNICAL, "Members of an API's answers that no shape maps, since the last reload", show).query(QUERY)];

fn show(call: &Call) -> Result<Reply, Problem> {
    let api = call.query.get("api").ok_or_else(|| Problem::value("`api` is missing", "name the API: `?api=crm`"))?;
    let none = || Problem::new(Code::NotFound, "name an API of the configuration").detail("there is no such API");
    call.state.instance.drift(api).map(|seen| Reply::ok(&seen)).ok_or_else(none)
}
