//! What the demo needs of a gateway. The tour drives it from outside, over its real ports; only what has no listener
//! (start, stop, bulk import) and what an operator would type (`explain`, `audit verify`) is asked here.

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

    /// Why a decision came out as it did, in a few words for one table cell, read from the log: `owner-access`,
    /// `consent withdrawn`, `1 dropped: marketing-refused`, `not-entitled: billing`. Names of policies and codes only.
    ///
    /// # Errors
    /// The decision is not in the log.
    fn why(&self, decision: &str) -> impl Future<Output = anyhow::Result<String>> + Send;

    /// What `consentry explain --decision ID` prints.
    ///
    /// # Errors
    /// The decision is not in the log.
    fn explain(&self, decision: &str) -> impl Future<Output = anyhow::Result<Explanation>> + Send;

    /// What `consentry audit verify` finds, over everything that was answered before this call.
    ///
    /// # Errors
    /// The log does not verify; the text says which entry.
    fn verify(&self) -> impl Future<Output = anyhow::Result<Verified>> + Send;

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

/// The answer of `consentry audit verify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub entries: u64,
    /// Lower-case hexadecimal root of the tree.
    pub root: String,
}
