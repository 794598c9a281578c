//! The catalogue of attacks in ARCHITECTURE.md, a file for each of its parts: what is tried, and what must become of it.

mod admin;
mod bodies;
mod consent;
mod customer;
mod heard;
mod log;
mod methods;
mod paths;
mod supply;
