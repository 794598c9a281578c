//! Closed vocabularies (the same words as the Cedar schema's enum entities) and the open ones that the policy folder's
//! catalogue declares. GDPR articles are named where a word comes from one.

use std::collections::{BTreeMap, BTreeSet};

use super::name::{Category, Client, Department, Name, Purpose, Role};

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
        VitalInterest = "vital-interest",
        PublicTask = "public-task",
        LegitimateInterest = "legitimate-interest",
        None = "none",
    }
    /// The consent store's answer for (customer, purpose, category, recipient, channel), as policies see it.
    ConsentStatus {
        Given = "given",
        Refused = "refused",
        Withdrawn = "withdrawn",
        Expired = "expired",
        Unknown = "unknown",
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
    Sensitivity {
        Ordinary = "ordinary",
        Confidential = "confidential",
        /// GDPR Art. 9 and 10.
        Special = "special",
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
    pub clients: BTreeMap<Client, ClientInfo>,
}

#[derive(Clone, Debug, Default)]
pub struct PurposeInfo {
    pub channel: Option<Channel>,
    pub parents: Vec<Purpose>,
    /// The purpose itself and everything above it in the DAG, without duplicates.
    pub ancestors: Vec<Purpose>,
}

#[derive(Clone, Debug)]
pub struct CategoryInfo {
    pub owner: Department,
    pub contributors: Vec<Department>,
    pub sensitivity: Sensitivity,
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
    pub fn client(&self, text: &str) -> Option<Client> {
        Name::known(text).map(Client).filter(|c| self.clients.contains_key(c))
    }

    /// Whether `purpose` is `above` or stands below it in the DAG. False for names that are not in the catalogue.
    #[must_use]
    pub fn is_within(&self, purpose: Purpose, above: Purpose) -> bool {
        self.purposes.get(&purpose).is_some_and(|info| info.ancestors.contains(&above))
    }

    /// The channel policies see for a purpose: its own attribute, else `system`.
    #[must_use]
    pub fn channel(&self, purpose: Purpose) -> Channel {
        self.purposes.get(&purpose).and_then(|info| info.channel).unwrap_or(Channel::System)
    }
}
