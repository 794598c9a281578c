//! The CRM. Writes answer with the whole record, as many do: what the caller may not read must be cut from it, too.
//!
//! ```text
//! GET    /customers?limit=&cursor=   {"customers": [...], "total": n, "next": "/customers?..."}
//! POST   /customers                  201 {"id", "success"}
//! GET    /customers/{id}             the record              PATCH (merge), PUT (replace), DELETE
//! GET    /slow/customers/{id}        the record, late
//! GET    /export                     {"customers": [...], "total": n}
//! GET    /about                      {"name", "version"}: no customer data
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::super::serve::{Answer, Answers, Seen};
use super::{bad_body, body, merge, method_not_allowed, not_found, page};

pub(super) struct Crm {
    customers: Mutex<BTreeMap<String, Value>>,
    slow_ms: Arc<AtomicU64>,
}

impl Crm {
    pub(super) fn new(slow_ms: Arc<AtomicU64>) -> serde_json::Result<Self> {
        let records: Vec<Value> = serde_json::from_str(include_str!("crm.json"))?;
        let customers = records.into_iter().filter_map(|record| Some((record.get("id")?.as_str()?.to_owned(), record))).collect();
        Ok(Self { customers: Mutex::new(customers), slow_ms })
    }

    fn customer(&self, request: &Seen, id: &str) -> Answer {
        let mut customers = self.customers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = customers.get_mut(id) else { return not_found(&format!("customer {id}")) };
        match request.method {
            Method::GET => Answer::ok(record),
            Method::PATCH | Method::PUT => {
                let Some(written) = body(request) else { return bad_body() };
                if request.method == Method::PATCH {
                    merge(record, &written);
                } else {
                    *record = written;
                }
                merge(record, &json!({ "id": id }));
                Answer::ok(record)
            }
            Method::DELETE => {
                customers.remove(id);
                Answer::empty(StatusCode::NO_CONTENT)
            }
            _ => method_not_allowed(),
        }
    }

    fn create(&self, request: &Seen) -> Answer {
        let Some(mut record) = body(request) else { return bad_body() };
        let mut customers = self.customers.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = customers.keys().filter_map(|id| id.parse::<u32>().ok()).max().unwrap_or(0);
        let id = format!("{:04}", highest.saturating_add(1));
        merge(&mut record, &json!({ "id": id }));
        customers.insert(id.clone(), record);
        Answer::json(StatusCode::CREATED, &json!({ "id": id, "success": true })).header(header::LOCATION, &format!("/customers/{id}"))
    }

    fn all(&self) -> Vec<Value> {
        self.customers.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Answers for Crm {
    fn answer(&self, request: &Seen) -> Answer {
        match (request.method.as_str(), request.segments().as_slice()) {
            ("GET", ["customers"]) => page(request, "/customers", "customers", &self.all()),
            ("POST", ["customers"]) => self.create(request),
            (_, ["customers", id]) => self.customer(request, id),
            ("GET", ["slow", "customers", id]) => self.customer(request, id).after(Duration::from_millis(self.slow_ms.load(Ordering::Relaxed))),
            ("GET", ["export"]) => {
                let customers = self.all();
                Answer::ok(&json!({ "total": customers.len(), "customers": customers }))
            }
            ("GET", ["about"]) => Answer::ok(&json!({ "name": "sample CRM", "version": "4.2" })),
            _ => not_found("this page"),
        }
    }
}
