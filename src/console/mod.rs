//! The listeners beside the data plane: admin (parties, consents, stops, decisions, policies), capture (registered apps
//! record consent) and health. Each is an [`axum::Router`] made from one table of routes, which also makes the OpenAPI
//! document. Pages follow later; this is the API.
//!
//! A request goes through the same list of steps on every route ([`dispatch`]): route, identity, role, origin, body,
//! handler. Identity comes from the request's extensions, where the listener put what it verified ([`role`]).

mod dispatch;
mod health;
mod problem;
mod role;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::model::{Activity, Client, Identifier, Vocabulary};

pub use problem::{Code, Problem};
pub use role::{AdminRole, CaptureIdentity, StaffIdentity};

/// What the running gateway tells its console. The gateway implements it; tests have a double.
pub trait Instance: fmt::Debug + Send + Sync {
    /// The truth about readiness, with reasons.
    fn readiness(&self) -> Readiness;
    /// Prometheus text; counts only, no identities.
    fn metrics(&self) -> String;
    /// The configuration's generation; increases with every reload that was taken.
    fn generation(&self) -> u64;
    /// Names of the policy set that decides now.
    fn vocabulary(&self) -> Arc<Vocabulary>;
    fn activities(&self) -> Arc<[Activity]>;
    fn policies(&self) -> ActivePolicies;
    /// An id as its user typed it, matched against the space's grammar and normalised.
    ///
    /// # Errors
    /// A sentence without the value: unknown space, or the id does not match the grammar.
    fn identifier(&self, space: &str, value: &str) -> Result<Identifier, String>;
    /// Decides a request without sending it and says why.
    ///
    /// # Errors
    /// A refusal of the question itself (unknown route, app, purpose).
    fn explain(&self, question: &ExplainQuestion) -> Result<Explanation, Problem>;
}

/// `explain METHOD URL --as APP --purpose P`.
#[derive(Clone, Debug)]
pub struct ExplainQuestion {
    pub method: String,
    pub url: String,
    pub app: String,
    pub purpose: Option<String>,
}

/// An explanation in both forms; the text is that of the terminal.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Whether anything would be released.
    pub permitted: bool,
    pub text: String,
    pub document: Value,
}

/// Why (not) ready: every part that can fail, each with its state.
#[derive(Clone, Debug)]
pub struct Readiness {
    pub checks: Vec<ReadinessCheck>,
}

impl Readiness {
    /// Not ready as soon as one part has failed; degraded parts still serve.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks.iter().all(|check| check.state != Health::Failed)
    }
}

#[derive(Clone, Debug)]
pub struct ReadinessCheck {
    /// E.g. `audit`, `consent`, `policies`, `config`.
    pub name: &'static str,
    pub state: Health,
    /// One sentence without identities; what an operator looks at next.
    pub why: Option<String>,
    pub since: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Ok,
    Degraded,
    Failed,
}

/// The policies that decide now.
#[derive(Clone, Debug)]
pub struct ActivePolicies {
    /// The policy set's id (hash over policies, catalogue and governed configuration).
    pub id: String,
    pub loaded_at: Timestamp,
    pub policies: Vec<ActivePolicy>,
}

#[derive(Clone, Debug)]
pub struct ActivePolicy {
    pub name: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// File and line, e.g. `10-ownership.cedar:1`.
    pub at: String,
}

/// The app that a logged decision was made for; `app-developer` sees only those of the own app.
#[must_use]
pub fn is_own_app(staff: &StaffIdentity, app: &str) -> bool {
    staff.app.map(Client::as_str) == Some(app)
}
