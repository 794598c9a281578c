//! `/v1/consents/{id}/receipt`: what was recorded of one event, signed, to be kept by the person or whoever must prove it.
//! Three forms of the same: JSON-LD, the JSON-LD inside a compact JWS, and a page to read and print that holds the JWS.

mod html;
mod jsonld;
mod jws;

#[cfg(test)]
mod tests;

use serde_json::Value;

use super::consents::shown;
use super::dispatch::{Access, Call, Caller, Param, Reply, Route};
use super::parties::{DESK_AND_AUDITOR, word};
use super::problem::{Code, Problem};
use super::record::consent_problem;
use crate::consent::{ConsentError, Event, PartyRef};
use crate::model::EventId;
use jsonld::Matter;

pub use jws::{BadJws, BadSeed, ReceiptKey};
pub(super) use jws::{RECEIPT_TYPE, verified};

const ABOUT: &str = "The receipt of an event: ISO/IEC TS 27560 fields with terms of the Data Privacy Vocabulary, signed";
const FORMAT: &[Param] =
    &[Param { name: "format", about: "`json` (default, JSON-LD), `jws` (signed, compact) or `html` (a page that holds the JWS)" }];
const PATH: &str = "/v1/consents/{id}/receipt";
const SCHEMA: Route = Route::get("/v1/schemas/consent-receipt", "schemas.consent-receipt", Access::Open, "JSON Schema of receipts", |_call| {
    Ok(Reply::text("application/schema+json", include_str!("27560-receipt.schema.json").to_owned()))
});
const KEYS: Route = Route::get("/.well-known/jwks.json", "receipts.keys", Access::Open, "Public keys that verify receipts (RFC 7517)", |call| {
    Ok(Reply::text("application/jwk-set+json", call.state.receipts.jwks().to_string()))
});

pub(super) const ROUTES: &[Route] = &[Route::get(PATH, "receipts.show", DESK_AND_AUDITOR, ABOUT, receipt).query(FORMAT), SCHEMA, KEYS];

/// An app gets receipts of what it captured itself.
pub(super) const CAPTURE_ROUTES: &[Route] = &[Route::get(PATH, "receipts.show", Access::Capture, ABOUT, receipt).query(FORMAT), SCHEMA, KEYS];

#[derive(Clone, Copy)]
enum Format {
    Json,
    Jws,
    Html,
}

impl Format {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "json" => Some(Self::Json),
            "jws" => Some(Self::Jws),
            "html" => Some(Self::Html),
            _ => None,
        }
    }
}

fn receipt(call: &Call) -> Result<Reply, Problem> {
    let format = word("format", call.query.get("format"), Format::parse, &["json", "jws", "html"])?.unwrap_or(Format::Json);
    let no_such = || Problem::new(Code::NotFound, "check the event's id: it is written `ev_42`").detail("no such event");
    let id = EventId::parse(call.param(0)?).ok_or_else(no_such)?;
    let (event, party) = match call.state.ledger.event(id) {
        Ok(found) => found,
        Err(ConsentError::NotFound) => return Err(no_such()),
        Err(error) => return Err(consent_problem(&error)),
    };
    // Another's event is as if it were not there.
    if !may_see(call, &event) {
        return Err(no_such());
    }
    let (document, state) = (document(call, &event), &call.state);
    call.record_query(party, 1)?;
    let json = document.to_string();
    Ok(match format {
        Format::Json => Reply::text("application/ld+json", json),
        Format::Jws => Reply::text("application/jose", state.receipts.sign(json.as_bytes())),
        Format::Html => Reply::text("text/html; charset=utf-8", html::page(&document, &state.receipts.sign(json.as_bytes()))).policy(html::policy()),
    })
}

/// The receipt of an event, signed, as the caller may see it.
pub(super) fn signed(call: &Call, event: &Event) -> String {
    call.state.receipts.sign(document(call, event).to_string().as_bytes())
}

fn document(call: &Call, event: &Event) -> Value {
    let (instance, state) = (&call.state.instance, &call.state);
    let (vocabulary, activities, controller) = (instance.vocabulary(), instance.activities(), instance.controller());
    let (principal, notices) = (principal(call, event), state.ledger.notices());
    jsonld::document(&Matter {
        event,
        principal: &principal,
        vocabulary: &vocabulary,
        activities: &activities,
        notices: &notices,
        controller: controller.as_ref(),
        origin: &state.origin,
        issued_at: state.clock.now(),
    })
}

fn may_see(call: &Call, event: &Event) -> bool {
    match &call.caller {
        Caller::Staff(_) => true,
        Caller::App(app) => event.captured_by == format!("client:{}", app.client),
        Caller::Anybody => false,
    }
}

/// The identifier as it was given for the desk; for other staff the customer's opaque id. An app knows about whom it captured the
/// event; what this gateway still holds of the id would tell it who was erased.
fn principal(call: &Call, event: &Event) -> String {
    if matches!(call.caller, Caller::App(_)) {
        return format!("urn:consentry:principal:{}:{}", call.state.origin, event.id);
    }
    if call.sees_identifiers() {
        return event.identifier.to_string();
    }
    let view = call.state.ledger.show_party(&PartyRef::Identifier(event.identifier.clone()));
    view.map_or_else(|_unlinked| shown(&event.identifier, false), |view| format!("party:{}", view.id))
}
