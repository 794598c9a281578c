//! Closed vocabularies (the same words as the Cedar schema's enum entities) and the open ones that the policy folder's
//! catalogue declares. GDPR articles are named where a word comes from one.

use std::collections::{BTreeMap, BTreeSet};

use super::name::{Category, Client, Department, Model, Name, Purpose, Role, Task};

/// Closed vocabularies: an enum of words, each with its exact spelling.
macro_rules! closed {
    ($($(#[$doc:meta])* $kind:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $kind { $($(#[$vdoc])* $variant,)* }

        impl $kind {
            /// Every value, in the order of the schema.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The value spelled exactly so; anything else is `None` (and is refused by whoever asks).
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    )*};
}

pub(crate) use closed;

closed! {
    /// What is done with the data; the Cedar action.
    Action {
        Read = "read",
        /// Release of a masked form only.
        ReadReduced = "read-reduced",
        Create = "create",
        Update = "update",
        Delete = "delete",
        /// Bulk read.
        Export = "export",
    }
    /// GDPR Art. 6(1), from the processing activity; `None` when no activity covers the use.
    LawfulBasis {
        Consent = "consent",
        Contract = "contract",
        LegalObligation = "legal-obligation",
        /// Of an activity, or by a break-glass grant.
        VitalInterest = "vital-interest",
        PublicTask = "public-task",
        LegitimateInterest = "legitimate-interest",
        None = "none",
    }
    /// GDPR Art. 9(2): what allows an activity to use special categories of data.
    Art9Basis {
        ExplicitConsent = "explicit-consent",
        Employment = "employment",
        VitalInterest = "vital-interest",
        NotForProfit = "not-for-profit",
        MadePublic = "made-public",
        LegalClaims = "legal-claims",
        SubstantialPublicInterest = "substantial-public-interest",
        HealthCare = "health-care",
        PublicHealth = "public-health",
        Archiving = "archiving",
    }
    /// The consent store's answer for (customer, purpose, category, recipient, channel), as policies see it.
    ConsentStatus {
        Given = "given",
        Refused = "refused",
        Withdrawn = "withdrawn",
        Expired = "expired",
        Unknown = "unknown",
        /// An organisation, which is no data subject, and nothing that closes was recorded of it for the use.
        NotNeeded = "not-needed",
    }
    /// How a person is reached; an attribute of the purpose.
    Channel {
        Email = "email",
        Sms = "sms",
        Post = "post",
        Phone = "phone",
        Push = "push",
        InPerson = "in-person",
        System = "system",
    }
    Environment {
        Production = "production",
        Staging = "staging",
        Test = "test",
    }
    Age {
        Adult = "adult",
        Minor = "minor",
        Unknown = "unknown",
    }
    /// Life-cycle stage of the customer.
    Stage {
        Anonymous = "anonymous",
        Lead = "lead",
        Opportunity = "opportunity",
        Customer = "customer",
        Churned = "churned",
    }
    Segment {
        Standard = "standard",
        KeyAccount = "key-account",
        Vip = "vip",
        Vulnerable = "vulnerable",
    }
    /// For whom an agent calls, as policies see it when they judge about one customer.
    Behalf {
        Nobody = "nobody",
        Employee = "employee",
        /// The customer who is judged about.
        Customer = "customer",
        /// A customer, and another one is judged about.
        OtherCustomer = "other-customer",
    }
    /// From the least to the most protected.
    Sensitivity {
        Ordinary = "ordinary",
        Confidential = "confidential",
        /// GDPR Art. 9.
        Special = "special",
        /// GDPR Art. 10: criminal convictions and offences.
        Criminal = "criminal",
    }
}

/// Names of the [Data Privacy Vocabulary](https://w3id.org/dpv) 2.3, as others know what we declare.
impl LawfulBasis {
    /// `None` when no activity covers the use.
    #[must_use]
    pub const fn iri(self) -> Option<&'static str> {
        match self {
            Self::Consent => Some("https://w3id.org/dpv#Consent"),
            Self::Contract => Some("https://w3id.org/dpv#Contract"),
            Self::LegalObligation => Some("https://w3id.org/dpv#LegalObligation"),
            Self::VitalInterest => Some("https://w3id.org/dpv#VitalInterest"),
            Self::PublicTask => Some("https://w3id.org/dpv#PublicInterest"),
            Self::LegitimateInterest => Some("https://w3id.org/dpv#LegitimateInterest"),
            Self::None => None,
        }
    }

    /// The letter of GDPR Art. 6(1).
    #[must_use]
    pub const fn gdpr_iri(self) -> Option<&'static str> {
        match self {
            Self::Consent => Some("https://w3id.org/dpv/legal/eu/gdpr#A6-1-a"),
            Self::Contract => Some("https://w3id.org/dpv/legal/eu/gdpr#A6-1-b"),
            Self::LegalObligation => Some("https://w3id.org/dpv/legal/eu/gdpr#A6-1-c"),
            Self::VitalInterest => Some("https://w3id.org/dpv/legal/eu/gdpr#A6-1-d"),
            Self::PublicTask => Some("https://w3id.org/dpv/legal/eu/gdpr#A6-1-e"),
            Self::LegitimateInterest => Some("https://w3id.org/dpv/legal/eu/gdpr#A6-1-f"),
            Self::None => None,
        }
    }
}

impl Art9Basis {
    /// The letter of GDPR Art. 9(2).
    #[must_use]
    pub const fn iri(self) -> &'static str {
        match self {
            Self::ExplicitConsent => "https://w3id.org/dpv/legal/eu/gdpr#A9-2-a",
            Self::Employment => "https://w3id.org/dpv/legal/eu/gdpr#A9-2-b",
            Self::VitalInterest => "https://w3id.org/dpv/legal/eu/gdpr#A9-2-c",
            Self::NotForProfit => "https://w3id.org/dpv/legal/eu/gdpr#A9-2-d",
            Self::MadePublic => "https://w3id.org/dpv/legal/eu/gdpr#A9-2-e",
            Self::LegalClaims => "https://w3id.org/dpv/legal/eu/gdpr#A9-2-f",
            Self::SubstantialPublicInterest => "https://w3id.org/dpv/legal/eu/gdpr#A9-2-g",
            Self::HealthCare => "https://w3id.org/dpv/legal/eu/gdpr#A9-2-h",
            Self::PublicHealth => "https://w3id.org/dpv/legal/eu/gdpr#A9-2-i",
            Self::Archiving => "https://w3id.org/dpv/legal/eu/gdpr#A9-2-j",
        }
    }
}

impl Sensitivity {
    /// Whether GDPR Art. 9 or 10 forbids the use but for grounds of its own.
    #[must_use]
    pub const fn is_restricted(self) -> bool {
        match self {
            Self::Ordinary | Self::Confidential => false,
            Self::Special | Self::Criminal => true,
        }
    }
}

/// The catalogue's names and how they hang together. Every name a request, a route or an event uses is checked against
/// this before anything is evaluated: an unknown name never reaches a policy.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    pub purposes: BTreeMap<Purpose, PurposeInfo>,
    pub categories: BTreeMap<Category, CategoryInfo>,
    pub departments: BTreeMap<Department, DepartmentInfo>,
    pub roles: BTreeSet<Role>,
    pub models: BTreeSet<Model>,
    pub tasks: BTreeMap<Task, TaskInfo>,
    pub clients: BTreeMap<Client, ClientInfo>,
}

/// The category that routes free of customer data are judged as, and the basis that is assumed for them: no activity has one.
pub const NO_CUSTOMER_DATA: &str = "no-customer-data";
pub const NO_CUSTOMER_BASIS: LawfulBasis = LawfulBasis::LegitimateInterest;

#[derive(Clone, Debug, Default)]
pub struct PurposeInfo {
    pub channel: Option<Channel>,
    pub parents: Vec<Purpose>,
    /// The purpose itself and everything above it in the DAG, without duplicates.
    pub ancestors: Vec<Purpose>,
    pub term: Term,
    /// No activity may serve both; as declared, on one side or on both.
    pub incompatible_with: Vec<Purpose>,
    /// Nothing may be done for it, nor for what stands below it.
    pub prohibited: bool,
}

/// How people and other systems call what the catalogue declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Term {
    pub label: Option<String>,
    /// An IRI of the Data Privacy Vocabulary.
    pub dpv: Option<String>,
}

#[derive(Clone, Debug)]
pub struct CategoryInfo {
    pub owner: Department,
    pub contributors: Vec<Department>,
    pub sensitivity: Sensitivity,
    pub parents: Vec<Category>,
    /// The category itself and everything that it is a part of, without duplicates.
    pub ancestors: Vec<Category>,
    pub term: Term,
}

#[derive(Clone, Copy, Debug)]
pub struct DepartmentInfo {
    pub active: bool,
}

#[derive(Clone, Debug)]
pub struct ClientInfo {
    pub kind: super::ClientKind,
    pub department: Department,
    /// Purposes as registered; descendants are allowed with them.
    pub registered: Vec<Purpose>,
    /// Of an agent, and of nobody else.
    pub agent: Option<AgentInfo>,
    /// Distinct customers whose data it may be given.
    pub customers_max: Option<u32>,
}

/// Who answers for an agent, what it runs on, what it may be sent to do.
#[derive(Clone, Debug)]
pub struct AgentInfo {
    pub operator: Department,
    pub model: Model,
    pub tasks: Vec<Task>,
}

#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// What it may be done for; descendants with them.
    pub purposes: Vec<Purpose>,
}

impl Vocabulary {
    #[must_use]
    pub fn purpose(&self, text: &str) -> Option<Purpose> {
        Name::known(text).map(Purpose).filter(|p| self.purposes.contains_key(p))
    }

    #[must_use]
    pub fn category(&self, text: &str) -> Option<Category> {
        Name::known(text).map(Category).filter(|c| self.categories.contains_key(c))
    }

    #[must_use]
    pub fn department(&self, text: &str) -> Option<Department> {
        Name::known(text).map(Department).filter(|d| self.departments.contains_key(d))
    }

    #[must_use]
    pub fn role(&self, text: &str) -> Option<Role> {
        Name::known(text).map(Role).filter(|r| self.roles.contains(r))
    }

    #[must_use]
    pub fn task(&self, text: &str) -> Option<Task> {
        Name::known(text).map(Task).filter(|t| self.tasks.contains_key(t))
    }

    /// Whether a client is an agent that may be sent to do this.
    #[must_use]
    pub fn may_do(&self, client: Client, task: Task) -> bool {
        let agent = self.clients.get(&client).and_then(|info| info.agent.as_ref());
        self.tasks.contains_key(&task) && agent.is_some_and(|agent| agent.tasks.contains(&task))
    }

    /// Whether a task may be done for a purpose.
    #[must_use]
    pub fn serves(&self, task: Task, purpose: Purpose) -> bool {
        self.tasks.get(&task).is_some_and(|info| info.purposes.iter().any(|above| self.is_within(purpose, *above)))
    }

    #[must_use]
    pub fn client(&self, text: &str) -> Option<Client> {
        Name::known(text).map(Client).filter(|c| self.clients.contains_key(c))
    }

    /// Whether `purpose` is `above` or stands below it in the DAG. False for names that are not in the catalogue.
    #[must_use]
    pub fn is_within(&self, purpose: Purpose, above: Purpose) -> bool {
        self.purposes.get(&purpose).is_some_and(|info| info.ancestors.contains(&above))
    }

    /// Whether `category` is `above` or a part of it, as statements of customers mean it. Policies do not: no category has
    /// another's verdict. False for names that are not in the catalogue.
    #[must_use]
    pub fn is_part_of(&self, category: Category, above: Category) -> bool {
        self.categories.get(&category).is_some_and(|info| info.ancestors.contains(&above))
    }

    /// The prohibited purpose that `purpose` is or stands below.
    #[must_use]
    pub fn prohibition(&self, purpose: Purpose) -> Option<Purpose> {
        let ancestors = &self.purposes.get(&purpose)?.ancestors;
        ancestors.iter().copied().find(|above| self.purposes.get(above).is_some_and(|info| info.prohibited))
    }

    /// Whether no activity may serve both purposes: one of them, or something above it, says so of the other.
    #[must_use]
    pub fn are_incompatible(&self, one: Purpose, other: Purpose) -> bool {
        let excludes = |one: Purpose, other: Purpose| {
            let ancestors = self.purposes.get(&one).into_iter().flat_map(|info| &info.ancestors);
            let excluded = ancestors.filter_map(|above| self.purposes.get(above)).flat_map(|info| &info.incompatible_with);
            excluded.copied().any(|excluded| self.is_within(other, excluded))
        };
        excludes(one, other) || excludes(other, one)
    }

    /// The channel policies see for a purpose: its own attribute, else `system`.
    #[must_use]
    pub fn channel(&self, purpose: Purpose) -> Channel {
        self.purposes.get(&purpose).and_then(|info| info.channel).unwrap_or(Channel::System)
    }
}
