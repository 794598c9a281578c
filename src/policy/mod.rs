//! The policy decision point: the governed policy folder, loaded and judged strictly, and decided by what Cedar said of each
//! condition beforehand ([`compiled`]), or by plain Cedar over the scope slice.
//!
//! A [`Policies`] is one immutable snapshot of a folder; whoever reloads builds another and swaps them. It never reads the
//! clock, the environment or a socket: the facts of a [`Question`] are all that a decision depends on.
//!
//! What Cedar itself leaves open is closed here (each is shown in `hazards.rs`):
//! - Cedar skips a policy that errors, so that an erring `forbid` would vanish: any error denies ([`Decided::errors`]).
//! - `in` is false for a purpose that the catalogue lacks, so that a `forbid` about it would not strike: every name of a
//!   question is looked up in the vocabulary before anything is evaluated.
//! - Strict validation accepts a misspelt entity of an open type: `load` looks up every entity that a policy names.
//!
//! A `permit` that never looks at the purpose is accepted only beside a `forbid` that stands above everybody and compares
//! `context.purpose` with `principal.registered_purposes` (shipped: `purpose-is-registered`); without it, it is a mistake.
//! [`check`] asks for a reason all the same (`lints.rs`).
//!
//! Language: <https://docs.cedarpolicy.com/>, Cedar 4.14.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cedar_policy::{AuthorizationError, Authorizer, Decision, Entities, PolicyId, PolicySet, Response, Schema};
use jiff::Timestamp;

use crate::model::{
    Action, Activity, Caller, Capture, Category, Channel, ConsentRules, Department, Environment, Finding, Findings, LawfulBasis, Particulars,
    PolicyName, Purpose, Question, Vocabulary,
};

use compiled::{Answer, Seen};
use governed::Activities;
use reading::Readings;
use request::Requests;
use rules::Rule;
use slices::{Slice, Slices};
use source::Folder;

mod allowed;
pub mod bundle;
pub mod cases;
mod catalogue;
#[cfg(test)]
mod category_tests;
mod compiled;
mod conditions;
mod coverage;
mod difference;
#[cfg(test)]
mod difference_tests;
mod entitle;
mod explain;
mod format;
mod governed;
#[cfg(test)]
mod hazards;
pub mod invariants;
mod lints;
#[cfg(test)]
mod mistakes;
mod models;
pub mod prove;
mod reading;
mod reads;
mod request;
mod rules;
mod scopes;
mod slices;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod tokens;

pub use allowed::Allowed;
pub use coverage::{ConditionCoverage, Coverage, PolicyCoverage};
pub use difference::{Beside, Changed, Difference, Place};
pub use explain::{Change, Explanation, ForbidTrace, PermitTrace};
pub use format::{Formatted, format};
pub use models::{Model, models, with_model};

/// One loaded, validated policy folder.
pub struct Policies {
    id: String,
    files: usize,
    vocabulary: Arc<Vocabulary>,
    activities: Activities,
    captures: Vec<Capture>,
    consent_rules: ConsentRules,
    readings: Readings,
    infos: Vec<PolicyInfo>,
    schema: Schema,
    entities: Entities,
    authorizer: Authorizer,
    rules: Vec<Rule>,
    requests: Requests,
    slices: Slices,
    is_compiled: bool,
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").field("id", &self.id).field("policies", &self.infos.len()).finish_non_exhaustive()
    }
}

/// A policy as people speak of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyInfo {
    pub name: PolicyName,
    pub effect: Effect,
    /// `@description`; empty when there is none.
    pub description: String,
    pub file: PathBuf,
    /// Line of the statement's first annotation, counted from 1.
    pub line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    Permit,
    Forbid,
}

/// What a folder holds, for `consentry policy check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub id: String,
    pub files: usize,
    pub permits: usize,
    pub forbids: usize,
    pub purposes: usize,
    pub categories: usize,
    pub departments: usize,
    pub clients: usize,
    pub activities: usize,
}

/// Stands among the errors when the question names something that this snapshot does not know.
const UNKNOWN_NAME: &str = "consentry-unknown-name";
/// The role of the neutral steward.
const STEWARD: &str = "neutral-steward";
/// Stands among the errors when Cedar does not take the facts.
const NO_REQUEST: &str = "consentry-no-request";

/// The answer to one question. Only [`Policies::decide`] makes one.
#[derive(Clone)]
pub struct Decided<'p>(How<'p>);

#[derive(Clone)]
enum How<'p> {
    Compiled(Answer<'p>),
    Plain { allow: bool, policies: Vec<PolicyName>, errors: Vec<PolicyName> },
}

impl fmt::Debug for Decided<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (policies, errors) = (self.policies(), self.errors());
        f.debug_struct("Decided").field("allow", &self.allow()).field("policies", &policies).field("errors", &errors).finish()
    }
}

impl PartialEq for Decided<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.allow() == other.allow() && self.policies() == other.policies() && self.errors() == other.errors()
    }
}

impl Eq for Decided<'_> {}

impl Decided<'_> {
    fn failed(reason: &str) -> Self {
        Self(How::Plain { allow: false, policies: Vec::new(), errors: vec![PolicyName::intern(reason)] })
    }

    /// INVARIANT: an error of any policy denies, whatever Cedar decided without that policy.
    fn of(response: &Response) -> Self {
        let name = |id: &PolicyId| PolicyName::intern(id.as_ref());
        let mut policies: Vec<_> = response.diagnostics().reason().map(name).collect();
        let guilty = |AuthorizationError::PolicyEvaluationError(error): &AuthorizationError| name(error.policy_id());
        let mut errors: Vec<_> = response.diagnostics().errors().map(guilty).collect();
        policies.sort();
        errors.sort();
        let allow = response.decision() == Decision::Allow && errors.is_empty();
        Self(How::Plain { allow, policies, errors })
    }

    #[must_use]
    pub fn allow(&self) -> bool {
        match &self.0 {
            How::Compiled(answer) => answer.allow,
            How::Plain { allow, .. } => *allow,
        }
    }

    /// Whether any policy permits or forbids it; else nothing permits.
    #[must_use]
    pub fn is_determined(&self) -> bool {
        match &self.0 {
            How::Compiled(answer) => answer.is_determined(),
            How::Plain { policies, .. } => !policies.is_empty(),
        }
    }

    /// Whether the tables answered; else plain Cedar did.
    #[must_use]
    pub fn is_compiled(&self) -> bool {
        matches!(self.0, How::Compiled(_))
    }

    /// The policies that determined the answer, sorted: those that permit, or those that forbid; empty when nothing permits.
    /// Only here are they written out.
    #[must_use]
    pub fn policies(&self) -> Vec<PolicyName> {
        match &self.0 {
            How::Compiled(answer) => answer.policies(),
            How::Plain { policies, .. } => policies.clone(),
        }
    }

    /// The policies that erred, sorted. Never empty when something went wrong: a question that could not be asked at all
    /// carries one of the reserved names `consentry-unknown-name` and `consentry-no-request`.
    #[must_use]
    pub fn errors(&self) -> &[PolicyName] {
        match &self.0 {
            How::Compiled(_) => &[],
            How::Plain { errors, .. } => errors,
        }
    }

    /// The same, for longer than the policies that gave it.
    fn kept(&self) -> Decided<'static> {
        Decided(How::Plain { allow: self.allow(), policies: self.policies(), errors: self.errors().to_vec() })
    }
}

/// The governed files of a folder, names with texts, to be sent elsewhere.
///
/// # Errors
/// What cannot be read.
pub fn files(dir: &Path) -> Result<BTreeMap<String, String>, Findings> {
    let mut findings = Findings::default();
    let folder = Folder::read(dir, &mut findings);
    let files = folder.iter().flat_map(Folder::files).map(|file| (file.name.clone(), file.text.clone())).collect();
    findings.or(files)
}

/// Reads and judges a policy folder without keeping it, more strictly than a gateway does: what is probably not meant is reported,
/// too.
///
/// # Errors
/// Every mistake of the folder.
pub fn check(dir: &Path) -> Result<Summary, Findings> {
    let policies = Policies::load(dir)?;
    lints::lint(&policies).or(policies.summary())
}

impl Policies {
    /// Reads a policy folder.
    ///
    /// # Errors
    /// Every mistake of every file, warnings included.
    pub fn load(dir: &Path) -> Result<Self, Findings> {
        Self::judged(dir, |findings| Folder::read(dir, findings))
    }

    /// Reads a policy folder as if the model of this name were in force.
    ///
    /// # Errors
    /// As [`Policies::load`].
    pub fn load_as(dir: &Path, model: &str) -> Result<Self, Findings> {
        let catalogue = with_model(dir, model)?;
        let read = |findings: &mut Findings| {
            let mut folder = Folder::read(dir, findings)?;
            folder.catalogue.text = catalogue;
            Some(folder)
        };
        Self::judged(dir, read)
    }

    /// Takes a folder as it was sent, names with texts; findings call it `folder`.
    ///
    /// # Errors
    /// As [`Policies::load`].
    pub fn of_files(files: &BTreeMap<String, String>) -> Result<Self, Findings> {
        let dir = Path::new("folder");
        Self::judged(dir, |findings| Folder::of(dir, files, findings))
    }

    fn judged(dir: &Path, read: impl FnOnce(&mut Findings) -> Option<Folder>) -> Result<Self, Findings> {
        let mut findings = Findings::default();
        let loaded = read(&mut findings).and_then(|folder| Self::build(&folder, &mut findings));
        if let Some(loaded) = loaded {
            return findings.or(loaded);
        }
        if findings.is_empty() {
            findings.push(Finding::of_file(dir, "the policy folder cannot be used"));
        }
        Err(findings.or(()).err().unwrap_or_default())
    }

    /// Every file is read as far as the others allow, so that one run reports as much as possible.
    fn build(folder: &Folder, findings: &mut Findings) -> Option<Self> {
        let schema = request::schema(&folder.schema, findings);
        let catalogue = catalogue::read(&folder.catalogue, schema.as_ref(), findings);
        let rules = rules::read(folder, schema.as_ref(), catalogue.as_ref(), findings);
        let catalogue::Catalogue { vocabulary, entities, .. } = catalogue?;
        let activities = governed::activities(&folder.activities, &vocabulary, findings);
        let captures = governed::captures(&folder.captures, &vocabulary, findings);
        let consent_rules = governed::consent_rules(&folder.consent, &vocabulary, findings);
        let (schema, entities) = (schema?, entities?);
        let requests = Requests::new(&vocabulary)?;
        requests.check(&schema, &vocabulary, &folder.schema, findings);
        let (rules, infos) = rules?;
        let slices = Slices::new(slices::Source { rules: &rules, requests: &requests, entities: &entities, vocabulary: &vocabulary });
        let consent_rules = consent_rules?;
        Some(Self {
            id: folder.id(),
            files: folder.files().len(),
            readings: Readings::new(&vocabulary, &consent_rules),
            vocabulary: Arc::new(vocabulary),
            activities,
            captures,
            consent_rules,
            infos,
            schema,
            entities,
            authorizer: Authorizer::new(),
            rules,
            requests,
            slices,
            is_compiled: true,
        })
    }

    /// Whether decisions are made by the compiled form, as they are unless it is switched off here, or all by plain Cedar.
    #[must_use]
    pub fn compiled(self, is_compiled: bool) -> Self {
        Self { is_compiled, ..self }
    }

    #[must_use]
    pub fn is_compiled(&self) -> bool {
        self.is_compiled
    }

    /// SHA-256, in hex, over the name and the bytes of every governed file.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    #[must_use]
    pub fn summary(&self) -> Summary {
        let permits = self.infos.iter().filter(|info| info.effect == Effect::Permit).count();
        Summary {
            id: self.id.clone(),
            files: self.files,
            permits,
            forbids: self.infos.len() - permits,
            purposes: self.vocabulary.purposes.len(),
            categories: self.vocabulary.categories.len(),
            departments: self.vocabulary.departments.len(),
            clients: self.vocabulary.clients.len(),
            activities: self.activities.all.len(),
        }
    }

    #[must_use]
    pub fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    /// The one active activity for this use. A purpose is meant exactly: an activity says nothing about what stands below it.
    #[must_use]
    pub fn activity(&self, department: Department, purpose: Purpose, category: Category) -> Option<&Activity> {
        self.activities.find(department, purpose, category)
    }

    /// The active activities.
    #[must_use]
    pub fn activities(&self) -> &[Activity] {
        &self.activities.all
    }

    #[must_use]
    pub fn captures(&self) -> &[Capture] {
        &self.captures
    }

    #[must_use]
    pub fn consent_rules(&self) -> &ConsentRules {
        &self.consent_rules
    }

    /// What purpose and category hang on when statements of customers are matched with them, as a hash.
    #[must_use]
    pub fn reading(&self, purpose: Purpose, category: Category) -> u64 {
        self.readings.of(purpose, category)
    }

    /// Whether any policy in the question's scope looks at the time.
    #[must_use]
    pub fn reads_time(&self, question: &Question<'_>) -> bool {
        self.slices.index.see(question).is_some_and(|seen| self.in_scope(&seen).any(|rule| rule.reads.reads("context.now")))
    }

    /// Every policy and template link, in the order of the files.
    #[must_use]
    pub fn policies(&self) -> &[PolicyInfo] {
        &self.infos
    }

    /// Whether the caller is the neutral steward, by the role of its own or of its department: who coordinates records may
    /// be judged about ids that the crosswalk does not know yet. Which department that is, is data.
    #[must_use]
    pub fn is_steward(&self, caller: &Caller) -> bool {
        let role = request::uid("Role", STEWARD);
        let principal = self.requests.principal(caller.client);
        principal.zip(role.as_ref()).is_some_and(|(principal, role)| self.entities.is_ancestor_of(role, principal))
    }

    /// File and line of a policy or template link.
    #[must_use]
    pub fn place(&self, name: PolicyName) -> Option<(&Path, usize)> {
        self.infos.iter().find(|info| info.name == name).map(|info| (info.file.as_path(), info.line))
    }

    /// Puts one question to the policies. Anything unknown or erring is a deny. Allocates nothing where the compiled form
    /// answers.
    #[must_use]
    pub fn decide(&self, question: &Question<'_>) -> Decided<'_> {
        let Some(seen) = self.slices.index.see(question) else { return Decided::failed(UNKNOWN_NAME) };
        let answer = self.code(&seen).and_then(|code| code.decide(&seen));
        answer.map_or_else(|| self.plain(question, &seen), |answer| Decided(How::Compiled(answer)))
    }

    /// The same by Cedar itself.
    #[must_use]
    pub fn evaluate(&self, question: &Question<'_>) -> Decided<'_> {
        self.slices.index.see(question).map_or_else(|| Decided::failed(UNKNOWN_NAME), |seen| self.plain(question, &seen))
    }

    fn plain(&self, question: &Question<'_>, seen: &Seen) -> Decided<'static> {
        let set = self.slice(seen).and_then(|slice| slice.members.set(&self.rules));
        let (Some(set), Some(request)) = (set, self.requests.build(question)) else { return Decided::failed(NO_REQUEST) };
        Decided::of(&self.authorizer.is_authorized(&request, set, &self.entities))
    }

    /// The compiled form of the question's slice; `None` when plain Cedar must say.
    fn code(&self, seen: &Seen) -> Option<&compiled::Code> {
        let slice = if self.is_compiled && seen.is_countable() { self.slice(seen) } else { None };
        self.slices.code(slice?, self.source())
    }

    fn slice(&self, seen: &Seen) -> Option<&Slice> {
        self.slices.find(seen.cell, self.source())
    }

    fn source(&self) -> slices::Source<'_> {
        slices::Source { rules: &self.rules, requests: &self.requests, entities: &self.entities, vocabulary: &self.vocabulary }
    }

    /// All policies in one set, as other Cedar tools would have it.
    fn whole_set(&self) -> PolicySet {
        PolicySet::from_policies(self.rules.iter().map(|rule| rule.policy.clone())).unwrap_or_default()
    }

    fn in_scope(&self, seen: &Seen) -> impl Iterator<Item = &Rule> {
        self.slice(seen).into_iter().flat_map(|slice| &slice.members.rules).filter_map(|at| self.rules.get(*at))
    }
}

/// A use of a category before any customer is known: what [`Policies::could_permit`] asks about.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    pub caller: &'a Caller,
    pub action: Action,
    pub category: Category,
    pub purpose: Purpose,
    /// Of the activity; [`LawfulBasis::None`] when there is none.
    pub basis: LawfulBasis,
    pub channel: Channel,
    pub environment: Environment,
    pub gpc: bool,
    /// Row ceiling; only for [`Action::Export`].
    pub records: Option<u32>,
    pub now: Timestamp,
    pub particulars: Particulars<'a>,
}

impl<'a> Use<'a> {
    /// The use that a question is about, without the customer.
    #[must_use]
    pub fn of(question: &Question<'a>) -> Self {
        let Question { caller, action, category, purpose, basis, channel, environment, gpc, records, now, particulars, .. } = *question;
        Self { caller, action, category, purpose, basis, channel, environment, gpc, records, now, particulars }
    }
}
