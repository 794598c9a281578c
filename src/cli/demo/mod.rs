//! `consentry demo`: three sample departmental APIs, a token issuer and the gateway in front of them on free loopback
//! ports, and a tour of requests through it. Everything is real but the customers: TLS, tokens, SQLite, the decision log.

mod client;
mod files;
mod gateway;
mod issuer;
pub mod sample_apis;
mod serve;
mod show;

pub use client::{AppClient, Reply};
pub use files::{Places, StateDir, free_addresses};
pub use gateway::{Addresses, DemoGateway, Explanation, RunningGateway};
pub use issuer::{Issuer, TokenFor};
pub use serve::Seen;
