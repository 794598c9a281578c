//! Governed: what holds for routes that speak JSON-RPC 2.0. Their methods are told apart by `when`, their parameters are what
//! `customer`, `request` and shapes speak of, and the envelope is the gateway's.

use http::Method;

use super::read::Value;
use crate::catalog::{Customer, When};
use crate::model::{PathPattern, ResponsePlan, Step};

/// A call is a POST, and its method tells which.
pub(super) fn judge(head: Value<'_>, method: &Method, when: Option<&When>, when_place: Option<Value<'_>>) -> Option<()> {
    match (when, when_place) {
        _ if *method != Method::POST => head.error("JSON-RPC is spoken by POST"),
        (None, None) => head.error_help("this does not say which method is called", "add `when = { method = \"…\" }`"),
        (Some(when), Some(place)) if when.member != "method" => {
            place.error_help("calls are told apart by their method", "write `{ method = \"…\" }`")
        }
        (Some(_) | None, Some(_) | None) => return Some(()),
    }
    None
}

/// What comes back stands in `result`, and the envelope around it goes along.
pub(super) fn complete(place: Option<Value<'_>>, plan: Option<&mut ResponsePlan>) {
    let (Some(place), Some(plan)) = (place, plan) else { return };
    let member = |name: &str| PathPattern(vec![Step::Member(name.to_owned())]);
    let in_result = |path: &PathPattern| path.0.first() == Some(&Step::Member("result".to_owned()));
    let open = match plan {
        ResponsePlan::Object { at, open, .. } | ResponsePlan::Rows { rows: at, open, .. } => {
            if !in_result(at) {
                place.error_help("what comes back of a call stands in `result`", "write `at = \"result\"` or `rows = \"result[]\"`");
            }
            open
        }
        ResponsePlan::Open { open } => open,
        ResponsePlan::Empty => return place.error_help("a call is always answered", "write `{ open = [\"result\"] }`"),
        ResponsePlan::Stream { .. } => return place.error_help("a call is answered once", "leave `stream` out"),
        ResponsePlan::Free { .. } => return,
    };
    open.extend([member("jsonrpc"), member("id")]);
}

/// Where only the answer names the customer, an upstream's error must look like a denial. `plans`: of a success, and of a 4xx.
pub(super) fn errors(place: Option<Value<'_>>, plans: [Option<&ResponsePlan>; 2], customer: Option<&Customer>) {
    let (Some(place), Some(Customer::Answer | Customer::Response { .. })) = (place, customer) else { return };
    let [success, error] = plans;
    let open = match success {
        Some(ResponsePlan::Object { open, .. } | ResponsePlan::Rows { open, .. } | ResponsePlan::Open { open }) => open.as_slice(),
        Some(ResponsePlan::Empty | ResponsePlan::Free { .. } | ResponsePlan::Stream { .. }) | None => &[],
    };
    if error.is_some() || open.iter().any(|path| path.0.first() == Some(&Step::Member("error".to_owned()))) {
        place.error_help("the request does not name the customer: an error would tell which records exist", "leave `error` out");
    }
}

/// `request:params.id` or `request:params[0]`, without the envelope.
pub(super) fn in_params(value: Value<'_>, path: &PathPattern) -> Option<PathPattern> {
    match path.0.split_first() {
        Some((Step::Member(params), rest)) if params == "params" && !rest.is_empty() => Some(PathPattern(rest.to_vec())),
        _ => {
            value.error_help("what a call says of its customer stands in `params`", "write `request:params.id` or `request:params[0]`");
            None
        }
    }
}
