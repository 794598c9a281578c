#![doc = include_str!("ARCHITECTURE.md")]

pub mod audit;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod consent;
pub mod console;
pub mod drafts;
pub mod filter;
pub mod gateway;
pub mod identity;
pub mod model;
pub mod openapi;
pub mod policy;
pub mod telemetry;
