//! `/v1/policies/shadow`: a candidate policy folder beside the active one. Nothing of it is enforced.

use std::collections::BTreeMap;

use http::StatusCode;

use super::dispatch::{Access, Call, Reply, Route, Takes};
use super::problem::{Code, Problem};
use super::record::Weight;
use super::role::AdminRole;
use super::schema::body;

const POLICY: Access = Access::Roles(&[AdminRole::PolicyAuthor, AdminRole::PolicyApprover]);

/// A folder that is sent once more goes on as it was: no idempotency key is needed.
pub(super) const ROUTES: &[Route] = &[
    Route::get("/v1/policies/shadow", "policies.shadow", POLICY, "What the candidate would have answered otherwise", show),
    Route::put(
        "/v1/policies/shadow",
        "policies.shadow.start",
        POLICY,
        "Has a candidate folder judge beside the active one; nothing of it is enforced",
        start,
    )
    .takes(Takes::Json(&ShadowBody::SCHEMA)),
    Route::delete("/v1/policies/shadow", "policies.shadow.stop", POLICY, "Ends the shadow and says what it counted", stop),
];

body! {
    /// A policy folder.
    ShadowBody {
        /// Its governed files.
        files: Vec<FileBody> = "FileBody[]" required,
    }
}

body! {
    /// One file of a policy folder.
    FileBody {
        /// Its name in the folder.
        name: String = "string" required,
        /// What it holds.
        text: String = "string" required,
    }
}

fn start(call: &Call) -> Result<Reply, Problem> {
    let body: ShadowBody = call.json()?;
    let count = body.files.len();
    let files: BTreeMap<String, String> = body.files.into_iter().map(|file| (file.name, file.text)).collect();
    if files.len() != count {
        return Err(Problem::value("two files have the same name", "send each file once"));
    }
    call.may_write(Weight::Opens)?;
    let report = call.state.instance.start_shadow(&files).map_err(|findings| {
        Problem::value(findings.to_string().trim_end().to_owned(), "mend it, as `consentry policy check` shows it; nothing has changed")
    })?;
    // What is not in the log does not run.
    call.record_write(Weight::Opens, None, None, StatusCode::OK).inspect_err(|_away| drop(call.state.instance.shadow(true)))?;
    Ok(Reply::ok(&report))
}

fn show(call: &Call) -> Result<Reply, Problem> {
    call.state.instance.shadow(false).map(|report| Reply::ok(&report)).ok_or_else(none)
}

fn stop(call: &Call) -> Result<Reply, Problem> {
    let report = call.state.instance.shadow(true).ok_or_else(none)?;
    call.record_write(Weight::Stops, None, None, StatusCode::OK)?;
    Ok(Reply::ok(&report))
}

fn none() -> Problem {
    Problem::new(Code::NotFound, "start one: `consentry policy shadow start DIR`; a restart of the gateway ends it").detail("there is no shadow")
}
