//! One decision: the question put to the policies and the verdict that the filter cuts by.

use std::sync::Arc;

use jiff::Timestamp;

use super::consent::ConflictRule;
use super::name::{ActivityKey, Category, Client, Department, PolicyName, Purpose, Role, Task};
use super::party::{EventId, PartyFacts, PartyNo};
use super::vocabulary::{Action, Art9Basis, Behalf, Channel, ConsentStatus, Environment, LawfulBasis, closed};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientKind {
    Application,
    Agent,
}

/// On whose behalf an app calls; only ever from a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Employee {
    /// Keyed pseudonym of the token's subject, for the log; never the subject itself.
    pub pseudonym: String,
    /// Roles of the token that the catalogue knows; others are dropped.
    pub roles: Vec<Role>,
}

/// Who calls, as policies see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub client: Client,
    pub kind: ClientKind,
    pub department: Department,
    pub employee: Option<Employee>,
}

/// An emergency as policies see it: of a break-glass grant that others have approved, and in force. Nothing of it comes with
/// the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Emergency {
    pub ticket: String,
    pub justification: String,
}

/// What only some requests have. The default is none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Particulars<'a> {
    /// What an agent was sent to do; only ever from a verified token.
    pub task: Option<Task>,
    /// When an agent calls on behalf of a customer: whether it is the one who is judged about.
    pub for_customer: Option<bool>,
    /// Distinct customers whose data the request can be given at most; `None` when nothing bounds it.
    pub customers: Option<u32>,
    pub emergency: Option<&'a Emergency>,
}

/// A processing activity (GDPR Art. 30): which department does what with which data on which basis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    pub id: ActivityKey,
    pub version: u32,
    pub department: Department,
    pub purposes: Vec<Purpose>,
    pub categories: Vec<Category>,
    pub basis: LawfulBasis,
    pub recipients: Vec<String>,
    pub retention: String,
    /// Needed for categories of special sensitivity.
    pub art9: Option<Art9Basis>,
    /// `EU` or an ISO 3166 code.
    pub jurisdiction: Option<String>,
    /// Where the data protection impact assessment is kept.
    pub dpia: Option<String>,
    /// The house's own word, e.g. `internal`.
    pub confidentiality: Option<String>,
}

/// Everything one Cedar evaluation may depend on. All names are of the loaded vocabulary.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub caller: &'a Caller,
    pub action: Action,
    pub category: Category,
    pub purpose: Purpose,
    pub basis: LawfulBasis,
    pub status: ConsentStatus,
    pub explicit: bool,
    pub party: PartyFacts,
    pub channel: Channel,
    pub environment: Environment,
    pub gpc: bool,
    /// Row ceiling; only for `export`.
    pub records: Option<u32>,
    pub now: Timestamp,
    pub particulars: Particulars<'a>,
}

impl Question<'_> {
    /// On whose behalf it is asked.
    #[must_use]
    pub fn behalf(&self) -> Behalf {
        match (self.particulars.for_customer, &self.caller.employee) {
            (Some(true), _) => Behalf::Customer,
            (Some(false), _) => Behalf::OtherCustomer,
            (None, Some(_)) => Behalf::Employee,
            (None, None) => Behalf::Nobody,
        }
    }
}

closed! {
    /// How much of a category goes out for one customer.
    Release {
        Withheld = "withheld",
        /// Masked forms only.
        Reduced = "reduced",
        Full = "full",
    }
}

/// Why a category is released or withheld, in the order in which the reasons are looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Policies permit; they stand in [`CategoryVerdict::policies`].
    Permitted,
    /// The id is not in the crosswalk.
    UnknownParty,
    /// The break-glass grant that is called upon is for another customer.
    NotGranted,
    /// A hard stop, by its name (`erasure`, `restriction`, `objection`, …).
    Stop(&'static str),
    /// Forbidding policies stand in [`CategoryVerdict::policies`].
    Forbidden,
    /// No policy permits.
    NoPermit,
    /// Cedar reported an error; the names of the policies that erred stand in [`CategoryVerdict::policies`].
    PolicyError,
}

/// The verdict for one (party, category), with what an auditor asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CategoryVerdict {
    pub category: Category,
    pub release: Release,
    pub why: Why,
    /// Determining policies, sorted.
    pub policies: Vec<PolicyName>,
    pub basis: LawfulBasis,
    pub activity: Option<(ActivityKey, u32)>,
    pub status: ConsentStatus,
    /// The consent event relied on, or the one that closed.
    pub event: Option<EventId>,
    /// Events that lost against it.
    pub overridden: Vec<EventId>,
    /// By which the events were weighed.
    pub rule: ConflictRule,
    /// Closed because formerly separate customers said differently, and the customer has not settled it since.
    pub conflict: bool,
    /// `None` for a verdict that was assumed instead of judged.
    pub grounds: Option<Grounds>,
}

closed! {
    /// Whom a verdict is about.
    Whom {
        Known = "known",
        /// An id that the crosswalk lacks.
        Unknown = "unknown",
        /// A customer who is just being created.
        New = "new",
        /// Nobody in particular: refused before any customer was looked at, since no customer's state could open it.
        Anybody = "anybody",
        /// A route without customer data.
        Nobody = "nobody",
    }
}

/// On what a verdict was judged beside what it and its entry say: with it the same question can be put to other policies,
/// later and without any payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grounds {
    pub whom: Whom,
    pub action: Action,
    pub explicit: bool,
    /// On the request or standing.
    pub gpc: bool,
    pub records: Option<u32>,
    /// Whether the shape has a masked form.
    pub masked: bool,
    /// The lawful bases for which a hard stop closes the use.
    pub closed_for: Vec<LawfulBasis>,
    /// What purpose and category hang on when statements of customers are matched with them, as a hash: where it is
    /// another, the consent status could be, too.
    pub reading: u64,
    pub task: Option<Task>,
    pub for_customer: Option<bool>,
    pub customers: Option<u32>,
    /// On a break-glass grant: its ticket is not written down, so that no other policy can be asked.
    pub emergency: bool,
}

/// The verdicts of one party for the categories of a shape, sorted by category. A category that is not here is withheld.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Verdicts(Vec<CategoryVerdict>);

impl Verdicts {
    #[must_use]
    pub fn new(mut verdicts: Vec<CategoryVerdict>) -> Self {
        verdicts.sort_by_key(|v| v.category);
        Self(verdicts)
    }

    #[must_use]
    pub fn release(&self, category: Category) -> Release {
        self.get(category).map_or(Release::Withheld, |v| v.release)
    }

    #[must_use]
    pub fn get(&self, category: Category) -> Option<&CategoryVerdict> {
        self.0.iter().find(|v| v.category == category)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, CategoryVerdict> {
        self.0.iter()
    }

    /// Whether nothing at all is refused: what nobody has given a category goes out in report mode only then, since it may be of
    /// any of them.
    #[must_use]
    pub fn permit_everything(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|verdict| verdict.release == Release::Full)
    }
}

impl<'a> IntoIterator for &'a Verdicts {
    type Item = &'a CategoryVerdict;
    type IntoIter = std::slice::Iter<'a, CategoryVerdict>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What the pipeline answers when the filter asks about a customer it found in a body.
#[derive(Clone, Debug)]
pub struct Judged {
    /// `None`: the id is not in the crosswalk (or does not match its grammar).
    pub party: Option<PartyNo>,
    /// Whether this is the customer that the request named; `None` when it named nobody.
    pub is_requested: Option<bool>,
    pub verdicts: Arc<Verdicts>,
}
