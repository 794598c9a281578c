//! What the demo needs of a gateway. The tour drives it from outside, over its real ports, and reads its log; only what has
//! no listener (start, stop, bulk import) and `explain` are asked here.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;

/// Starts a gateway from a configuration file.
pub trait DemoGateway {
    type Running: RunningGateway;

    /// Reads the configuration, imports the parties (the file of `consentry party import`) and opens every listener.
    ///
    /// # Errors
    /// Whatever keeps the gateway from serving; the text is shown to the person who typed `demo`.
    fn start(&self, config: &Path, parties: &Path) -> impl Future<Output = anyhow::Result<Self::Running>> + Send;
}

/// A gateway that serves.
pub trait RunningGateway: Send + Sync {
    /// Where the listeners are; `/readyz` is true when this value exists.
    fn addresses(&self) -> Addresses;

    /// What `consentry explain --decision ID` prints.
    ///
    /// # Errors
    /// The decision is not in the log.
    fn explain(&self, decision: &str) -> impl Future<Output = anyhow::Result<Explanation>> + Send;

    /// Drains and stops.
    ///
    /// # Errors
    /// Something could not be finished in time.
    fn shutdown(self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The listeners of a running gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub apps: SocketAddr,
    pub admin: SocketAddr,
    pub capture: SocketAddr,
    pub health: SocketAddr,
}

/// The answer of `consentry explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// `deny`, `permit`, `redact`.
    pub outcome: String,
    /// The policy or stop that decided, e.g. `consent-basis-needs-consent`.
    pub because: String,
    /// The whole text, as printed.
    pub text: String,
}
