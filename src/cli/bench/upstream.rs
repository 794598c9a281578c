//! The API behind both stacks: answers from memory, without TLS, in the measuring process.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::gateway::listener::{self, Limits, Served};

/// Customers of the list; ids are `1000` and on.
pub(super) const CUSTOMERS: u32 = 100;
const FIRST: u32 = 1000;
/// Of the customer who is asked for alone: 2 KB in all.
const ORDERS: u32 = 17;

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// One customer, 2 KB.
    Object,
    /// All of them, 60 KB.
    List,
}

impl What {
    /// Targets as both stacks get them.
    pub(super) fn paths(self) -> Vec<String> {
        match self {
            Self::Object => ids().map(|id| format!("/crm/customers/{id}")).collect(),
            Self::List => vec!["/crm/customers".to_owned()],
        }
    }
}

pub(super) fn ids() -> impl Iterator<Item = u32> {
    FIRST..FIRST + CUSTOMERS
}

/// A server that ends with this value.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    _stop: watch::Sender<bool>,
}

impl Upstream {
    pub(super) async fn start() -> std::io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let objects: Vec<Bytes> = ids().map(|id| Bytes::from(customer(id, ORDERS).to_string())).collect();
        let list = Bytes::from(list().to_string());
        let bodies = Arc::new((objects, list));
        let make = move |_| {
            let bodies = Arc::clone(&bodies);
            service_fn(move |request: Request<Incoming>| {
                let (objects, list) = &*bodies;
                let last = request.uri().path().rsplit('/').next().unwrap_or_default();
                let object = last.parse::<u32>().ok().and_then(|id| id.checked_sub(FIRST)).and_then(|at| objects.get(usize::try_from(at).ok()?));
                let mut response = Response::new(Full::new(object.unwrap_or(list).clone()));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                async move { Ok::<_, Infallible>(response) }
            })
        };
        tokio::spawn(listener::serve(socket, Served::plain(Limits::for_one()), stopped, make));
        Ok(Self { address, _stop: stop })
    }
}

/// The answer about the first customer.
pub(super) fn sample() -> Bytes {
    Bytes::from(customer(FIRST, ORDERS).to_string())
}

/// Somebody made up. Three of the members stay with their owners: `dietaryNote`, `caseNote`, `iban`.
fn customer(id: u32, orders: u32) -> Value {
    let order =
        |n: u32| json!({ "sku": format!("SKU-{:05}", id + n), "quantity": n + 1, "price": "149.90", "placed": "2026-03-04", "state": "delivered" });
    json!({
        "id": id.to_string(),
        "updatedAt": "2026-03-04T10:11:12Z",
        "name": { "given": "Ada", "family": "Brandt" },
        "birthDate": "1988-07-21",
        "taxId": "DE811907980",
        "contact": {
            "email": format!("ada.brandt.{id}@example.net"),
            "phone": "+49 30 901820",
            "address": { "street": "Beispielweg 12", "zip": "10115", "city": "Berlin", "country": "DE" },
        },
        "leadScore": 71,
        "lastVisit": "2026-03-01",
        "dietaryNote": "vegetarian",
        "caseNote": "prefers calls in the afternoon",
        "iban": "DE02120300000000202051",
        "orders": (0..orders).map(order).collect::<Vec<_>>(),
    })
}

fn list() -> Value {
    json!({ "customers": ids().map(|id| customer(id, 2)).collect::<Vec<_>>(), "total": CUSTOMERS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bodies_are_as_large_as_their_names_say() {
        let (object, list) = (customer(1000, ORDERS).to_string().len(), list().to_string().len());
        assert!((1_900..2_300).contains(&object), "{object} bytes");
        assert!((57_000..65_000).contains(&list), "{list} bytes");
    }
}
