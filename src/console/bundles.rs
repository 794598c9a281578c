//! `/v1/policy-bundle`: which signed bundle decides, what another one would take, and its activation. The gateway verifies
//! everything itself; what stands in a bundle or a request is never believed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};

use super::dispatch::{Access, Call, Reply, Route, Takes};
use super::problem::{Code, Problem};
use super::record::Weight;
use super::role::AdminRole;
use super::schema::body;
use crate::consent::Done;

const POLICY: Access = Access::Roles(&[AdminRole::PolicyAuthor, AdminRole::PolicyApprover, AdminRole::Auditor]);
const AUTHORS: Access = Access::Roles(&[AdminRole::PolicyAuthor, AdminRole::PolicyApprover]);
const APPROVERS: Access = Access::Roles(&[AdminRole::PolicyApprover]);

pub(super) const ROUTES: &[Route] = &[
    Route::get("/v1/policy-bundle", "policies.bundle", POLICY, "The signed bundle that decides, and who approved it", active),
    Route::post("/v1/policy-bundle:check", "policies.judge", AUTHORS, "Whether a bundle would be taken now, and why not", judge)
        .takes(Takes::Bundle(&BundleBody::SCHEMA)),
    Route::post("/v1/policy-bundle:activate", "policies.activate", APPROVERS, "Put a signed bundle in the place of the active one", activate)
        .takes(Takes::Bundle(&BundleBody::SCHEMA))
        .again(activated_again),
];

body! {
    /// A bundle with its signatures.
    BundleBody {
        /// The bundle's bytes, base64.
        bundle: String = "string" required,
        /// The signatures, one after the other, as `ssh-keygen -Y sign` writes them.
        signatures: String = "string" required,
    }
}

fn active(call: &Call) -> Result<Reply, Problem> {
    let document = call.state.instance.bundle();
    document.map(|document| Reply::ok(&document)).ok_or_else(|| {
        let remedy = "name a `bundle` in `[policy]`, and restart the gateway";
        Problem::new(Code::NotFound, remedy).detail("this gateway takes its policies from an unsigned folder")
    })
}

fn judge(call: &Call) -> Result<Reply, Problem> {
    let (bundle, signatures) = sent(call)?;
    call.state.instance.judge_bundle(&bundle, &signatures).map(|document| Reply::ok(&document))
}

fn activate(call: &Call) -> Result<Reply, Problem> {
    let (bundle, signatures) = sent(call)?;
    call.may_write(Weight::Opens)?;
    let document = call.state.instance.activate_bundle(&bundle, &signatures, call.idempotency_key.as_ref())?;
    activated(call, &document)
}

fn activated_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    activated(call, &json!({ "version": done.detail.as_deref().and_then(|version| version.parse::<u64>().ok()) }))
}

fn activated(call: &Call, document: &Value) -> Result<Reply, Problem> {
    call.record_write(Weight::Opens, None, None, StatusCode::OK)?;
    Ok(Reply::ok(document))
}

fn sent(call: &Call) -> Result<(Vec<u8>, String), Problem> {
    let body: BundleBody = call.json()?;
    let bundle = STANDARD.decode(&body.bundle).map_err(|_not_base64| Problem::invalid("`bundle` is not base64"))?;
    Ok((bundle, body.signatures))
}
