//! The capture listener: registered apps record what customers said, and nothing else. The author of each event is derived
//! by the ledger from the registration of the app whose certificate was used (`policies/captures.toml`).

use super::dispatch::{Access, Route, Takes};
use super::{again, consents, stops};

const STOP: Takes = Takes::Json(&stops::StopBody::SCHEMA);

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/consents", "consents.record", Access::Capture, "Record a consent event", consents::record)
        .takes(Takes::Json(&consents::EventBody::SCHEMA))
        .again(again::event),
    Route::post("/v1/objections", "objections.add", Access::Capture, "Record an objection", stops::object).takes(STOP).again(again::event),
    Route::post("/v1/restrictions", "restrictions.add", Access::Capture, "Record a restriction", stops::restrict).takes(STOP).again(again::event),
    Route::post("/v1/opt-outs", "opt-outs.add", Access::Capture, "Record an opt-out", stops::opt_out).takes(STOP).again(stops::opted_out_again),
    Route::post("/v1/suppressions", "suppressions.add", Access::Capture, "Record a suppression", stops::suppress).takes(STOP).again(again::event),
];
