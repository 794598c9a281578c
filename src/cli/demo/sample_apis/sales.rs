//! Quotes, orders and invoices. Nothing in a path says whose they are: the customer is known from the answer only, and an
//! order may go to another customer than the one who pays.
//!
//! ```text
//! GET  /quotes/{id}  /orders/{id}  /invoices/{id}     one object
//! GET  /quotes  /orders  /invoices ?limit=&cursor=    {"orders": [...], "total": n, "next": "/orders?..."}
//! ```

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::serve::{Answer, Answers, Seen};
use super::{method_not_allowed, not_found, page};

pub(super) struct Sales {
    lists: BTreeMap<String, Vec<Value>>,
}

impl Sales {
    pub(super) fn new() -> serde_json::Result<Self> {
        Ok(Self { lists: serde_json::from_str(include_str!("sales.json"))? })
    }
}

impl Answers for Sales {
    fn answer(&self, request: &Seen) -> Answer {
        if request.method != http::Method::GET {
            return method_not_allowed();
        }
        let (kind, id) = match request.segments().as_slice() {
            [kind] => (*kind, None),
            [kind, id] => (*kind, Some(*id)),
            _ => return not_found("this page"),
        };
        let Some(rows) = self.lists.get(kind) else { return not_found("this page") };
        let Some(id) = id else { return page(request, &format!("/{kind}"), kind, rows) };
        let named = |row: &&Value| ["id", "number"].iter().any(|member| row.get(member).and_then(Value::as_str) == Some(id));
        rows.iter().find(named).map_or_else(|| not_found(&format!("{kind} {id}")), Answer::ok)
    }
}
