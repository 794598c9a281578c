//! `/livez`, `/readyz`, `/metrics`: for probes. Counts and states only, no identities. `/openapi.json`: what this listener takes.

use http::StatusCode;
use serde_json::json;

use super::dispatch::{Access, Call, Reply, Route};
use super::problem::Problem;
use super::{Health, openapi};

pub(super) const ROUTES: &[Route] = &[
    Route::get("/livez", "livez", Access::Open, "The process runs", livez),
    Route::get("/readyz", "readyz", Access::Open, "Whether requests are served now, and why not: 200 or 503", readyz),
    Route::get("/metrics", "metrics", Access::Open, "Prometheus text", metrics),
];

pub(super) const ADMIN_OPENAPI: &[Route] = &[Route::get("/openapi.json", "openapi", Access::Open, "This document", admin_openapi)];
pub(super) const CAPTURE_OPENAPI: &[Route] = &[Route::get("/openapi.json", "openapi", Access::Open, "This document", capture_openapi)];

fn livez(_call: &Call) -> Result<Reply, Problem> {
    Ok(Reply::ok(&json!({ "live": true })))
}

fn readyz(call: &Call) -> Result<Reply, Problem> {
    let readiness = call.state.instance.readiness();
    let checks: Vec<_> = readiness
        .checks
        .iter()
        .map(|check| {
            let mut line = json!({ "name": check.name, "state": health_word(check.state) });
            if let Some(members) = line.as_object_mut() {
                members.extend(check.why.iter().map(|why| ("why".to_owned(), json!(why))));
                members.extend(check.since.iter().map(|since| ("since".to_owned(), json!(since.to_string()))));
            }
            line
        })
        .collect();
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let document = json!({ "ready": readiness.is_ready(), "generation": call.state.instance.generation(), "checks": checks });
    Ok(Reply::json(status, &document))
}

fn metrics(call: &Call) -> Result<Reply, Problem> {
    Ok(Reply::text("application/openmetrics-text; version=1.0.0; charset=utf-8", call.state.instance.metrics()))
}

const fn health_word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Degraded => "degraded",
        Health::Failed => "failed",
    }
}

/// The table of one listener as OpenAPI; each listener has its own handler since it describes itself only.
fn admin_openapi(_call: &Call) -> Result<Reply, Problem> {
    Ok(Reply::ok(&openapi::document("consentry admin", super::ADMIN_TABLES)))
}

fn capture_openapi(_call: &Call) -> Result<Reply, Problem> {
    Ok(Reply::ok(&openapi::document("consentry capture", super::CAPTURE_TABLES)))
}
