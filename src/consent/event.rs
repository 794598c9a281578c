//! What is written down, once and for ever: consent events, hard stops and their lifts. Everything else in this room is
//! derived from them. Fields follow ISO/IEC TS 27560 (consent record), states and stops the GDPR articles named below.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::{ActivityKey, Author, Category, Channel, ConsentStatus, Department, EventId, Identifier, PartyId, Purpose, Revision};

crate::model::closed! {
    /// The states of a consent. Only `given` and `renewed` open the gate.
    State {
        Unknown = "unknown",
        Requested = "requested",
        Deferred = "deferred",
        /// Double opt-in, before the link was followed.
        PendingConfirmation = "pending_confirmation",
        Given = "given",
        Renewed = "renewed",
        Refused = "refused",
        /// Taken back by the person.
        Withdrawn = "withdrawn",
        /// Taken back by someone else.
        Revoked = "revoked",
        Expired = "expired",
        /// A new notice took its place.
        Superseded = "superseded",
        /// Never was valid.
        Invalidated = "invalidated",
    }
    /// How the will was expressed (DPV). Implied consent can lower permission, never raise it.
    Method {
        Explicit = "explicit",
        Expressed = "expressed",
        Implied = "implied",
    }
    /// Hard stops: no consent states, own life cycle, and no policy can loosen them.
    StopKind {
        /// Art. 17.
        Erasure = "erasure",
        /// Art. 18.
        Restriction = "restriction",
        Deceased = "deceased",
        /// A court's or authority's order.
        Legal = "legal",
        /// Art. 21(2).
        ObjectionMarketing = "objection-marketing",
        /// Art. 21(1), within its scope.
        Objection = "objection",
        OptOutSale = "opt-out-sale",
        OptOutSensitive = "opt-out-sensitive",
        /// Global Privacy Control.
        OptOutGpc = "opt-out-gpc",
        Suppression = "suppression",
    }
    /// How sure the crosswalk is that an id is this customer's.
    Assurance {
        Asserted = "asserted",
        /// By a rule: carries stops, never grants, and does not resolve.
        Matched = "matched",
        Verified = "verified",
    }
    /// Who may speak for a person who cannot.
    Holder {
        Guardian = "guardian",
        Representative = "representative",
    }
    PartyKind {
        Person = "person",
        BusinessContact = "business-contact",
        Prospect = "prospect",
        Device = "device",
        Organisation = "organisation",
    }
}

impl State {
    #[must_use]
    pub const fn opens(self) -> bool {
        matches!(self, Self::Given | Self::Renewed)
    }

    /// Whether an event with this state lowers permission.
    #[must_use]
    pub const fn closes(self) -> bool {
        matches!(self, Self::Refused | Self::Withdrawn | Self::Revoked | Self::Expired | Self::Superseded | Self::Invalidated)
    }

    /// The state in the [Data Privacy Vocabulary](https://w3id.org/dpv) 2.3, the nearest broader one where it has none of its own.
    #[must_use]
    pub const fn iri(self) -> &'static str {
        match self {
            Self::Unknown => "https://w3id.org/dpv#ConsentUnknown",
            Self::Requested | Self::PendingConfirmation => "https://w3id.org/dpv#ConsentRequested",
            Self::Deferred => "https://w3id.org/dpv#ConsentRequestDeferred",
            Self::Given => "https://w3id.org/dpv#ConsentGiven",
            Self::Renewed => "https://w3id.org/dpv#RenewedConsentGiven",
            Self::Refused => "https://w3id.org/dpv#ConsentRefused",
            Self::Withdrawn => "https://w3id.org/dpv#ConsentWithdrawn",
            Self::Revoked => "https://w3id.org/dpv#ConsentRevoked",
            Self::Expired => "https://w3id.org/dpv#ConsentExpired",
            Self::Superseded => "https://w3id.org/dpv#ConsentStatusInvalidForProcessing",
            Self::Invalidated => "https://w3id.org/dpv#ConsentInvalidated",
        }
    }

    /// What policies see.
    #[must_use]
    pub const fn status(self) -> ConsentStatus {
        match self {
            Self::Given | Self::Renewed => ConsentStatus::Given,
            Self::Withdrawn | Self::Revoked => ConsentStatus::Withdrawn,
            Self::Refused | Self::Invalidated => ConsentStatus::Refused,
            Self::Expired | Self::Superseded => ConsentStatus::Expired,
            Self::Unknown | Self::Requested | Self::Deferred | Self::PendingConfirmation => ConsentStatus::Unknown,
        }
    }
}

impl Method {
    /// The kind of consent in the Data Privacy Vocabulary.
    #[must_use]
    pub const fn iri(self) -> &'static str {
        match self {
            Self::Explicit => "https://w3id.org/dpv#ExplicitlyExpressedConsent",
            Self::Expressed => "https://w3id.org/dpv#ExpressedConsent",
            Self::Implied => "https://w3id.org/dpv#ImpliedConsent",
        }
    }
}

impl StopKind {
    /// The right that is exercised, in the Data Privacy Vocabulary; `None` for what no right of the person is.
    #[must_use]
    pub const fn iri(self) -> Option<&'static str> {
        match self {
            Self::Erasure => Some("https://w3id.org/dpv/legal/eu/gdpr#A17"),
            Self::Restriction => Some("https://w3id.org/dpv/legal/eu/gdpr#A18"),
            Self::ObjectionMarketing | Self::Objection => Some("https://w3id.org/dpv/legal/eu/gdpr#A21"),
            Self::OptOutSale | Self::OptOutSensitive | Self::OptOutGpc | Self::Suppression => Some("https://w3id.org/dpv#OptingOutFromProcess"),
            Self::Deceased | Self::Legal => None,
        }
    }

    /// The name of the stop in decisions (`Why::Stop`).
    #[must_use]
    pub const fn stop_name(self) -> &'static str {
        match self {
            Self::Erasure => "erasure",
            Self::Restriction => "restriction",
            Self::Deceased => "deceased",
            Self::Legal => "legal",
            Self::ObjectionMarketing | Self::Objection => "objection",
            Self::OptOutSale | Self::OptOutSensitive | Self::OptOutGpc => "opt-out",
            Self::Suppression => "suppression",
        }
    }
}

/// A customer as an administrator names one: `party:<id>` or `<space>:<value>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PartyRef {
    Party(PartyId),
    Identifier(Identifier),
}

impl PartyRef {
    /// Reads `party:<id>` or `<space>:<value>`; `normalise` knows the spaces' grammars.
    ///
    /// # Errors
    /// What is wrong with the text, without the value.
    pub fn parse(text: &str, normalise: &Normalise<'_>) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("party", id)) if !id.is_empty() => Ok(Self::Party(PartyId(id.to_owned()))),
            Some((space, value)) if !space.is_empty() && !value.is_empty() => Ok(Self::Identifier(normalise(space, value)?)),
            Some(_) | None => Err("an id is written `party:<id>` or `<space>:<value>`".to_owned()),
        }
    }

    /// The identifier under which an event is kept; `party:<id>` is kept in the reserved space `party`.
    pub(super) fn identifier(&self) -> Identifier {
        match self {
            Self::Identifier(identifier) => identifier.clone(),
            Self::Party(id) => Identifier { space: super::party_space(), value: id.0.clone() },
        }
    }
}

impl From<Identifier> for PartyRef {
    fn from(identifier: Identifier) -> Self {
        Self::Identifier(identifier)
    }
}

/// Checks a value against its space's grammar and brings it into its one spelling: `(space, value)`.
pub type Normalise<'a> = dyn Fn(&str, &str) -> Result<Identifier, String> + Send + Sync + 'a;

/// What an event or stop is limited to. An empty list does not limit a stop; it leaves a grant to what its notice names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    pub categories: Vec<Category>,
    pub recipients: Vec<Department>,
    pub channels: Vec<Channel>,
}

/// The notice version on which a statement was made, with what it named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Notice {
    pub id: String,
    pub version: String,
    /// Consent to a parent purpose covers its children only if the parent stands here.
    pub purposes: Vec<Purpose>,
    pub categories: Vec<Category>,
    pub recipients: Vec<Department>,
}

/// A statement about a purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// Empty only for what closes: it then covers every purpose.
    pub purposes: Vec<Purpose>,
    /// The processing activity that the person saw, if the statement was about one.
    pub activity: Option<ActivityKey>,
    pub notice: Option<Notice>,
    pub state: State,
    pub scope: Scope,
    /// When a grant runs out: the earlier of a date and a duration.
    pub expires: Option<Timestamp>,
    /// A grant ends when this occurs, e.g. `contract-ended`.
    pub until: Option<String>,
    /// A grant ends after this many answered requests that released data on it.
    pub uses: Option<u32>,
    /// The grant that never was valid (`invalidated`), or the request that was confirmed (`given`).
    pub about: Option<EventId>,
}

/// Somebody may speak for the customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    pub holder: Holder,
    /// With all that stands below them; empty covers everything.
    pub purposes: Vec<Purpose>,
    pub until: Option<Timestamp>,
}

/// A hard stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub kind: StopKind,
    /// With all that stands below them; empty covers everything.
    pub purposes: Vec<Purpose>,
    pub scope: Scope,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Consent(Consent),
    Stop(Stop),
    /// The end of a restriction, or the correction of a deceased or legal flag.
    Lift {
        stop: EventId,
        reason: String,
    },
    Delegation(Delegation),
    /// Something on which grants may depend has come to pass, e.g. `contract-ended`.
    Occurrence(String),
}

/// One entry of the ledger as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    pub revision: Revision,
    /// As given; whose it is, is the crosswalk's business.
    pub identifier: Identifier,
    /// When the person acted.
    pub event_time: Option<Timestamp>,
    /// When we learned of it.
    pub record_time: Timestamp,
    pub channel: Channel,
    /// `client:<name>` or `staff:<pseudonym>`.
    pub captured_by: String,
    pub method: Method,
    /// Derived from the capture registration.
    pub author: Author,
    /// Kind to reference or hash.
    pub evidence: BTreeMap<String, String>,
    pub source_system: String,
    pub what: What,
}

impl Event {
    /// Whether anything shows that it was said.
    #[must_use]
    pub fn is_evidenced(&self) -> bool {
        self.evidence.values().any(|reference| !reference.trim().is_empty())
    }
}
