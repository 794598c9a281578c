//! The listeners beside the data plane: admin (parties, consents, stops, decisions, policies), capture (registered apps
//! record consent and check lists), health, and public (withdrawal links, `public.rs`). Each of the first three is an [`axum::Router`] made from one table of routes, which also makes the OpenAPI
//! document. Pages follow later; this is the API.
//!
//! A request goes through the same list of steps on every route (`dispatch.rs`): route, identity, role, origin, body,
//! handler. Identity comes from the request's extensions, where the listener put what it verified (`role.rs`).

mod again;
mod break_glass;
mod bundles;
mod capture;
mod catalogue;
mod changes;
mod check;
mod confirm;
mod conflicts;
mod consents;
mod decisions;
mod dispatch;
mod drift;
mod evidence;
mod export;
mod health;
mod identity;
mod imports;
mod links;
mod notes;
mod notices;
mod openapi;
mod pack;
mod page;
mod parties;
mod problem;
mod prune;
mod public;
mod receipt;
mod recipients;
mod record;
mod reports;
mod role;
mod schema;
mod shadow;
mod stops;
mod target;
mod throttle;
mod webhooks;
mod withdrawals;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::audit::{LiveIndex, Log, Tiles};
use crate::clock::Clock;
use crate::config::{Controller, PublicPage};
use crate::consent::{IdempotencyKey, Ledger, Person};
use crate::model::{Activity, Capture, Findings, Identifier, PartyNo, Vocabulary};

use dispatch::{Listener, Route};
use schema::Schema;

pub use changes::ChangeSignal;
pub use check::{CHECK_IDS_MAX, CheckQuestion, Checked};
pub use conflicts::{CONFLICTS_CSV_HEAD, conflict_csv};
pub use decisions::{answered_json, found_json, kind_json};
pub use links::Links;
pub use pack::{Held, PackError, Trust, ZipError, check as check_pack, is_pack};
pub use problem::{Code, Problem};
pub use public::{PublicPeer, public_router};
pub use receipt::{BadJws, BadSeed, ReceiptKey};
pub use recipients::{Disclosed, Disclosure, disclosed};
pub use record::Outbox;
#[cfg(test)]
pub(crate) use reports::facts_for_tests;
pub use reports::{Asked, Report, offline, report_kinds};
pub use role::{AdminRole, CaptureIdentity, StaffIdentity};
pub use webhooks::{WebhookHealth, WebhookSettings, Webhooks};

/// What the listeners work on; a clone shares it.
#[derive(Clone, Debug)]
pub struct AdminState {
    pub ledger: Arc<Ledger>,
    pub log: Log,
    /// The log as it is searched.
    pub index: Arc<LiveIndex>,
    /// The log as tiles, and proofs of its entries.
    pub tiles: Arc<Tiles>,
    /// The log's own origin: decisions are `<origin>#<index>`.
    pub origin: Arc<str>,
    /// Brings the ledger's changes into the log; the gateway drains it each second as well.
    pub outbox: Arc<Outbox>,
    /// Wakes whoever waits for the next change.
    pub signal: Arc<ChangeSignal>,
    pub webhooks: Arc<Webhooks>,
    pub instance: Arc<dyn Instance>,
    pub clock: Arc<dyn Clock>,
    /// Signs receipts.
    pub receipts: Arc<ReceiptKey>,
    /// Makes and reads the tokens of withdrawal links and confirmations.
    pub links: Arc<Links>,
}

const ADMIN_TABLES: &[&[Route]] = &[
    health::ROUTES,
    health::ADMIN_OPENAPI,
    parties::ROUTES,
    identity::ROUTES,
    recipients::ROUTES,
    consents::ROUTES,
    notes::ROUTES,
    receipt::ROUTES,
    stops::ROUTES,
    imports::ROUTES,
    notices::ROUTES,
    conflicts::ROUTES,
    withdrawals::DESK_ROUTES,
    decisions::ROUTES,
    reports::ROUTES,
    prune::ROUTES,
    evidence::ROUTES,
    export::ROUTES,
    break_glass::ROUTES,
    changes::ROUTES,
    webhooks::ROUTES,
    catalogue::ROUTES,
    drift::ROUTES,
    shadow::ROUTES,
    bundles::ROUTES,
];
const CAPTURE_TABLES: &[&[Route]] = &[
    capture::ROUTES,
    notes::CAPTURE_ROUTES,
    confirm::ROUTES,
    receipt::CAPTURE_ROUTES,
    withdrawals::CAPTURE_ROUTES,
    check::ROUTES,
    evidence::CAPTURE_ROUTES,
    health::CAPTURE_OPENAPI,
];
const HEALTH_TABLES: &[&[Route]] = &[health::ROUTES];
/// Bodies that stand inside other bodies.
const NESTED_SCHEMAS: &[Schema] =
    &[consents::NoticeBody::SCHEMA, consents::EvidenceBody::SCHEMA, shadow::FileBody::SCHEMA, parties::PartyBody::SCHEMA];

/// The admin listener. Wants a [`StaffIdentity`] in the request's extensions.
pub fn admin_router(state: AdminState) -> axum::Router {
    Listener::new(state, ADMIN_TABLES).router()
}

/// The capture listener. Wants a [`CaptureIdentity`] in the request's extensions.
pub fn capture_router(state: AdminState) -> axum::Router {
    Listener::new(state, CAPTURE_TABLES).router()
}

/// The health listener: probes and metrics without identities.
pub fn health_router(state: AdminState) -> axum::Router {
    Listener::new(state, HEALTH_TABLES).router()
}

/// What the running gateway tells its console. The gateway implements it; tests have a double.
pub trait Instance: fmt::Debug + Send + Sync {
    /// The truth about readiness, with reasons.
    fn readiness(&self) -> Readiness;
    /// Prometheus text; counts only, no identities.
    fn metrics(&self) -> String;
    /// The configuration's generation; increases with every reload that was taken.
    fn generation(&self) -> u64;
    /// The APIs that are in report mode now, each with its end.
    fn unenforced(&self) -> Vec<(String, Timestamp)>;
    /// Members of an API's answers that no shape maps; `None` without such an API.
    fn drift(&self, api: &str) -> Option<Value>;
    /// Names of the policy set that decides now.
    fn vocabulary(&self) -> Arc<Vocabulary>;
    fn activities(&self) -> Arc<[Activity]>;
    /// Who answers for the processing, if the configuration says so.
    fn controller(&self) -> Option<Controller>;
    fn policies(&self) -> ActivePolicies;
    /// What the registered apps may claim.
    fn captures(&self) -> Arc<[Capture]>;
    /// Longest time from now that a break-glass grant may be asked for.
    fn break_glass_max(&self) -> std::time::Duration;
    /// Somebody by their issuer's name in the configuration and their subject; none without such an issuer.
    fn employee(&self, issuer: &str, subject: &str) -> Option<Person>;
    /// Whether an API declares a route, `METHOD /template`.
    fn declares(&self, api: &str, route: &str) -> bool;
    /// The settings of the public page; `None` without a public listener.
    fn public_page(&self) -> Option<Arc<PublicPage>>;
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
    /// Has a policy folder (names with texts) judge beside the active one, instead of another that did; says what it found.
    ///
    /// # Errors
    /// Every mistake of the folder, with its place; nothing changes then.
    fn start_shadow(&self, files: &BTreeMap<String, String>) -> Result<Value, Findings>;
    /// What the shadow counted; with `stop` it ends there. `None` without a shadow.
    fn shadow(&self, stop: bool) -> Option<Value>;
    /// Judges a list as the data plane would, and records it before it answers. Blocks on the disk.
    ///
    /// # Errors
    /// A refusal of the question itself, or of everything while log or store is away.
    fn check(&self, question: &CheckQuestion) -> Result<Checked, Problem>;
    /// What is past its time in the decision log; with `run` it goes, announced in the log when this returns. Blocks on the disk.
    ///
    /// # Errors
    /// Why nothing goes now.
    fn prune(&self, run: bool) -> Result<Value, Problem>;
    /// The signed bundle that decides; `None` when the policies come from an unsigned folder.
    fn bundle(&self) -> Option<Value>;
    /// Judges a bundle as if it were to be activated; changes nothing.
    ///
    /// # Errors
    /// Why it would not be taken.
    fn judge_bundle(&self, bundle: &[u8], signatures: &str) -> Result<Value, Problem>;
    /// Puts a bundle in the place of the active one, durable and recorded when it returns. Blocks on the disk.
    ///
    /// # Errors
    /// Why it is not taken; the active one stays.
    fn activate_bundle(&self, bundle: &[u8], signatures: &str, key: Option<&IdempotencyKey>) -> Result<Value, Problem>;
}

/// What is to be explained.
#[derive(Clone, Debug)]
pub enum ExplainQuestion {
    /// `explain METHOD URL --as APP --purpose P --body FILE`.
    Request { method: String, url: String, app: String, purpose: Option<String>, body: Option<String> },
    /// A logged decision by its index; without `consent_state` only categories and policies may be told.
    Decision { index: u64, consent_state: bool },
}

/// An explanation in both forms; the text is that of the terminal.
#[derive(Clone)]
pub struct Explanation {
    /// Whether anything would be released.
    pub permitted: bool,
    pub text: String,
    pub document: Value,
    /// The customer it is about, for the log.
    pub party: Option<PartyNo>,
}

impl fmt::Debug for Explanation {
    /// The text may carry an id that its user typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explanation").field("permitted", &self.permitted).finish_non_exhaustive()
    }
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
