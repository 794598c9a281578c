//! The service desk: tickets with a requester and copied persons, known by their e-mail addresses.
//!
//! ```text
//! GET   /tickets?state=&requester=&limit=&cursor=     {"tickets": [...], "total": n, "next": "/tickets?..."}
//! GET   /tickets/{id}       PATCH /tickets/{id}       the ticket
//! GET   /tickets/T-13       a member twice: two parsers read two customers
//! GET   /tickets/T-14       breaks off in the middle
//! GET   /tickets/T-15       a page of HTML that says who asked
//! ```

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use serde_json::{Value, json};

use super::super::serve::{Answer, Answers, Seen};
use super::{bad_body, body, merge, method_not_allowed, not_found, page};

/// Duplicate names: the first reader sees one requester, the last reader another.
const TWICE: &str = r#"{"id":"T-13","state":"open","subject":"Refund","requester":{"email":"ada.brandt@example.net","name":"Ada Brandt"},
"requester":{"email":"pavel.horak@example.net","name":"Pavel Horák"},"cc":[],"messages":[]}"#;
const HALF: &str = r#"{"id":"T-14","state":"open","requester":{"email":"ada.brandt@example.net","name":"Ada Bra"#;
const PAGE: &str = "<html><body><h1>Ticket T-15</h1><p>Requested by Ada Brandt</p></body></html>";

pub(super) struct Desk {
    tickets: Mutex<BTreeMap<String, Value>>,
}

impl Desk {
    pub(super) fn new() -> serde_json::Result<Self> {
        let mut records: Vec<Value> = serde_json::from_str(include_str!("desk.json"))?;
        for record in &mut records {
            let own = record.get("id").and_then(Value::as_str).map(|id| json!({ "_links": { "self": format!("/tickets/{id}") } }));
            merge(record, &own.unwrap_or_else(|| json!({})));
        }
        let tickets = records.into_iter().filter_map(|record| Some((record.get("id")?.as_str()?.to_owned(), record))).collect();
        Ok(Self { tickets: Mutex::new(tickets) })
    }

    fn ticket(&self, request: &Seen, id: &str) -> Answer {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = tickets.get_mut(id) else { return not_found(&format!("ticket {id}")) };
        match request.method.as_str() {
            "GET" => Answer::ok(record),
            "PATCH" => {
                let Some(written) = body(request) else { return bad_body() };
                merge(record, &written);
                Answer::ok(record)
            }
            _ => method_not_allowed(),
        }
    }

    fn list(&self, request: &Seen) -> Answer {
        let tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let requester = request.query("requester").map(|text| percent_encoding::percent_decode_str(text).decode_utf8_lossy().to_lowercase());
        let is_wanted = |ticket: &&Value| {
            let state = request.query("state").is_none_or(|state| ticket.get("state").and_then(Value::as_str) == Some(state));
            let asked_by = ticket.pointer("/requester/email").and_then(Value::as_str).map(str::to_lowercase);
            state && (requester.is_none() || requester == asked_by)
        };
        let rows: Vec<Value> = tickets.values().filter(is_wanted).cloned().collect();
        page(request, "/tickets", "tickets", &rows)
    }
}

impl Answers for Desk {
    fn answer(&self, request: &Seen) -> Answer {
        match (request.method.as_str(), request.segments().as_slice()) {
            ("GET", ["tickets"]) => self.list(request),
            ("GET", ["tickets", "T-13"]) => Answer::new(StatusCode::OK, "application/json", TWICE),
            ("GET", ["tickets", "T-14"]) => Answer::new(StatusCode::OK, "application/json", HALF).cut(),
            ("GET", ["tickets", "T-15"]) => Answer::new(StatusCode::OK, "text/html; charset=utf-8", PAGE),
            (_, ["tickets", id]) => self.ticket(request, id),
            _ => not_found("this page"),
        }
    }
}
