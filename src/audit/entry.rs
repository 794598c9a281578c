//! What may be written into the log. An allow-list: every field is a number, a name that a file declared, a word of a closed
//! vocabulary or a pseudonym. There is no field that could take a body, a URL, a header, a name or a token. What people wrote about an
//! emergency is the one free text; it stands in the log encrypted.

use std::sync::Arc;

use jiff::Timestamp;

use super::free_text::FreeText;
use super::log::Bounds;
use super::prune::RetentionClass;
use super::text_keys::TextKeyId;
use crate::model::{
    Action, ApiName, Behalf, Category, Channel, Client, Department, Environment, EventId, Model, PartyFacts, PartyNo, PolicyName, Purpose, Revision,
    Role, RouteKey, Task, Verdicts,
};

/// Customers in one entry at most; a part of an answer closes there.
pub const GROUP_PARTIES_MAX: usize = 8_192;

/// The facts of a decision that stand in its head entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionFacts {
    /// The gateway's own request number.
    pub rid: u64,
    /// The trace id of `traceparent`.
    pub traceparent: Option<[u8; 16]>,
    pub app: Client,
    pub department: Department,
    /// Keyed pseudonym of the employee.
    pub actor: Option<String>,
    pub agent: Option<Client>,
    pub action: Action,
    pub api: ApiName,
    /// The route's template, never the target that was asked for.
    pub route: RouteKey,
    pub purpose: Option<Purpose>,
    /// Hash of the policy set.
    pub policy_set: Arc<str>,
    /// Hash of the policy folder alone, so that a replay can tell whether it has the folder that decided.
    pub policies: Arc<str>,
    /// What policies took for the time.
    pub now: Timestamp,
    /// Generation of the configuration.
    pub generation: u64,
    pub consent_revision: Revision,
    pub environment: Environment,
    pub channel: Channel,
    pub gpc: bool,
    pub roles: Vec<Role>,
    /// Of an agent.
    pub mandate: Option<Mandate>,
    /// The break-glass grant that is called upon.
    pub grant: Option<Arc<str>>,
    /// What the caller wrote about that.
    pub justification: Option<FreeText>,
}

/// Who answers for an agent, what it runs on, what it was sent to do, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mandate {
    pub operator: Department,
    pub model: Model,
    pub task: Option<Task>,
    pub behalf: Behalf,
}

/// How a decision ended for a group of customers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    Permit,
    /// Released without the members whose categories were refused.
    Redact,
    /// Rows were dropped.
    Filter,
    Deny,
    Error,
    /// Report mode: decided, but not enforced.
    Unenforced,
}

impl Outcome {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Redact => "redact",
            Self::Filter => "filter",
            Self::Deny => "deny",
            Self::Error => "error",
            Self::Unenforced => "unenforced",
        }
    }

    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Permit, Self::Redact, Self::Filter, Self::Deny, Self::Error, Self::Unenforced].into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// Customers with the same outcome and verdicts. Groups of one entry that differ only in their consent events are written
/// as one; the events themselves are written when the entry is about a single customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// In any order; written sorted and without duplicates.
    pub parties: Vec<PartyNo>,
    /// Ids that are not in the crosswalk: counted, never written.
    pub unknown: u32,
    pub outcome: Outcome,
    pub verdicts: Arc<Verdicts>,
    /// What the policies saw of these customers.
    pub facts: Option<PartyFacts>,
}

/// One kind of difference between what was enforced and what a shadow's policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowRow {
    /// `gains` or `loses`.
    pub direction: &'static str,
    pub app: Client,
    pub department: Department,
    pub action: Action,
    pub purpose: Purpose,
    pub category: Category,
    pub policies: Vec<PolicyName>,
    pub answers: u64,
}

/// How much goes of what is kept equally long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrunedClass {
    pub class: RetentionClass,
    /// What is older goes.
    pub before: Timestamp,
    pub entries: u64,
}

/// Kinds of entries that belong to no decision.
pub const OTHER_KINDS: &[&str] = &[
    "admin",
    "break_glass",
    "clock",
    "config_loaded",
    "config_rejected",
    "consent_changed",
    "gap",
    "key_rotated",
    "policy_activated",
    "policy_loaded",
    "policy_rejected",
    "prune",
    "query",
    "rejects",
    "shadow",
    "start",
    "stop",
];

/// What somebody wrote about a step of a break-glass grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StepText {
    #[default]
    None,
    Said(FreeText),
    /// The log could not keep it; the consent store has it.
    NotKept,
}

/// One entry. The first of `Deny` (without `of`), `Permit` and `Intent` of a request is the decision's head: its index is
/// the decision's number, and every other entry of the request carries it as `of`.
#[derive(Clone, Debug)]
pub enum Entry {
    Deny {
        facts: Arc<DecisionFacts>,
        /// A denial known only from the answer belongs to a head that is already written; the facts stand there.
        of: Option<u64>,
        status: u16,
        code: &'static str,
        groups: Vec<Group>,
        /// Paths of the shape or declared parameters that were refused.
        paths: Vec<String>,
    },
    /// One known party; written while the upstream works.
    Permit {
        facts: Arc<DecisionFacts>,
        groups: Vec<Group>,
    },
    /// Durable before a write is forwarded; also the head of an answer that names its parties itself.
    Intent {
        facts: Arc<DecisionFacts>,
        groups: Vec<Group>,
    },
    /// Durable before the first byte of that part of the answer.
    Part {
        of: u64,
        /// Rows released.
        rows: u64,
        /// Rows dropped.
        dropped: u64,
        groups: Vec<Group>,
        /// Paths of the shape, never what was found in the data.
        withheld: Vec<String>,
    },
    End {
        of: u64,
        status: u16,
        bytes: u64,
        rows: u64,
        /// False when the answer was cut.
        complete: bool,
        latency_us: u64,
    },
    Admin {
        /// Keyed pseudonym.
        actor: String,
        role: &'static str,
        operation: &'static str,
        party: Option<PartyNo>,
        revision: Option<Revision>,
        status: u16,
    },
    /// An officer's search of this log.
    Query {
        actor: String,
        role: &'static str,
        operation: &'static str,
        party: Option<PartyNo>,
        found: u64,
    },
    ConsentChanged {
        /// `None` for a change of the crosswalk or of facts.
        event: Option<EventId>,
        party: Option<PartyNo>,
        revision: Revision,
        state: &'static str,
        purpose: Option<Purpose>,
    },
    /// A step about a break-glass grant.
    BreakGlass {
        grant: String,
        /// `requested`, `approved`, `revoked`, `expired`, `reviewed`.
        step: &'static str,
        /// Keyed pseudonym; `None` where time was up.
        actor: Option<String>,
        /// `None` when it is for a route.
        party: Option<PartyNo>,
        revision: Revision,
        /// Why it was asked for, or ended.
        text: StepText,
    },
    PolicyLoaded {
        /// Hash of the policy set.
        id: Arc<str>,
        generation: u64,
    },
    PolicyRejected {
        findings: u32,
        /// Why, in a word of the gateway's.
        reason: &'static str,
        /// Of a bundle.
        version: Option<u64>,
    },
    /// A signed bundle, durable before it decides anything. Departments stand for those who signed.
    PolicyActivated {
        version: u64,
        /// Hash of the file.
        bundle: String,
        /// Hash of its policies.
        set: String,
        needed: Vec<Department>,
        only_narrows: bool,
        approved: Vec<Department>,
    },
    /// A shadow's start, end, and differences so far.
    Shadow {
        step: &'static str,
        /// Hash of the candidate folder.
        candidate: Arc<str>,
        /// Questions put to it, and those it could not answer.
        judged: u64,
        failed: u64,
        gains: u64,
        loses: u64,
        /// Differences of very long answers that were not told apart: neither gains nor losses, and at most twice each.
        more: u64,
        rows: Vec<ShadowRow>,
        /// Kinds of differences that are not among `rows`.
        left_out: u64,
    },
    ConfigLoaded {
        hash: String,
        generation: u64,
    },
    ConfigRejected {
        findings: u32,
    },
    /// What was refused before anybody was known, or because nothing could be recorded; the counts of about a second.
    Rejects {
        count: u64,
        /// As the configuration names it.
        listener: Arc<str>,
        code: &'static str,
        /// A network, never a single address: `192.0.2.0/24`; `other` for a sum over many. `None` where the caller is known.
        network: Option<String>,
    },
    /// What goes from the log, since it is past its time. Written by the log itself before it removes anything.
    Prune {
        /// The first entry that is not touched.
        before_index: u64,
        classes: Vec<PrunedClass>,
        /// Dictionary entries to which nothing refers any more.
        dictionary: u64,
        /// Entries of decisions whose heads went before.
        remains: u64,
        /// Keys of free text.
        keys: Vec<TextKeyId>,
    },
    /// Another key signs the log from here on. Written by the log itself.
    KeyRotated {
        /// Verifier keys.
        old_key: String,
        new_key: String,
        /// `replaced`, or `lost`: nobody had the old key any more.
        reason: &'static str,
        /// By the old key, over a statement that names all of this and the entry's index; base64.
        signature: Option<String>,
    },
    /// A step of the wall clock.
    Clock {
        step_ms: i64,
    },
    /// Written by the log itself when it opens.
    Start {
        /// Bytes of an unfinished write that were removed from the end.
        torn_bytes: u64,
        /// Whether the run before ended with a `stop`.
        clean: bool,
        origin: Arc<str>,
        /// What this run may lose at a power cut; `None`: nothing.
        bounded: Option<Bounds>,
    },
    /// Written by the log itself when it opens after a run that acknowledged before the disk had confirmed, and had no `stop`:
    /// after a power cut entries from `from` on may be missing, within the bounds of that run.
    Gap {
        from: u64,
        bounds: Bounds,
    },
    /// Written by the log itself when it closes or can no longer write.
    Stop {
        reason: &'static str,
    },
}

impl Entry {
    /// Whether it is part of a decision. What is not decides about decisions to come, or is told to stores that must not know
    /// more than the log: it is on the disk before it counts, whatever the mode.
    pub(super) const fn is_of_decision(&self) -> bool {
        match self {
            Self::Deny { .. } | Self::Permit { .. } | Self::Intent { .. } | Self::Part { .. } | Self::End { .. } => true,
            Self::Admin { .. }
            | Self::Query { .. }
            | Self::ConsentChanged { .. }
            | Self::BreakGlass { .. }
            | Self::PolicyLoaded { .. }
            | Self::PolicyRejected { .. }
            | Self::PolicyActivated { .. }
            | Self::Shadow { .. }
            | Self::ConfigLoaded { .. }
            | Self::ConfigRejected { .. }
            | Self::Rejects { .. }
            | Self::Prune { .. }
            | Self::Clock { .. }
            | Self::Start { .. }
            | Self::Gap { .. }
            | Self::KeyRotated { .. }
            | Self::Stop { .. } => false,
        }
    }
}
