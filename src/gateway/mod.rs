//! The policy enforcement point: listeners, the life of a request (`pipeline.rs`), forwarding, answering, reload and drain.
//! The only room (with the command line) that knows all others.

mod accept;
mod answer;
pub mod build;
mod call;
mod check;
mod decode;
mod drift;
mod encode;
mod explain;
pub mod forward;
mod governance;
mod graphql;
mod instance;
mod judge;
mod keep;
mod list;
pub mod listener;
mod media;
mod none;
mod passed;
pub mod permit;
mod pipeline;
mod premises;
pub mod probe;
mod problem;
mod read;
mod reload;
pub mod replay;
mod report;
pub mod respond;
mod route;
mod running;
mod search;
mod shadow;
mod staff;
mod state;
mod stream;
mod tls;
mod validator;
mod witnesses;
mod write;

pub use problem::{Code, Details, Problem};
pub use running::{Addresses, Running, StartError, start};
pub use state::{RequestLimits, Shared, Snapshot};
pub use tls::TlsError;
