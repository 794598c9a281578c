//! `consentry demo`: three sample departmental APIs, a token issuer and the gateway in front of them on free loopback
//! ports, and a tour of requests through it. Everything is real but the customers: TLS, tokens, SQLite, the decision log.

mod gateway;
pub mod sample_apis;
mod serve;
mod show;

pub use gateway::{Addresses, DemoGateway, Explanation, RunningGateway, Verified};
pub use serve::Seen;
