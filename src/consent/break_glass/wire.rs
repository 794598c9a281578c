//! A grant as it is stored: one document beside the ledger's events.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::grant::{Ended, Finding, Grant, Person, Review, Signed, Target};
use crate::consent::store::Document;
use crate::model::{Emergency, PartyNo, Revision};

/// Documents of this kind, by the grant's id.
pub(super) const KIND: &str = "break-glass";
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    version: u64,
    /// Of earlier versions none; their steps are in the log.
    #[serde(default)]
    revision: u64,
    app: String,
    employee: StoredPerson,
    party: Option<u64>,
    route: Option<StoredRoute>,
    purpose: String,
    ticket: String,
    justification: String,
    #[serde(with = "micros")]
    until: Timestamp,
    requested: StoredSigned,
    approvals: Vec<StoredSigned>,
    revoked: Option<StoredEnd>,
    expired: bool,
    review: Option<StoredReview>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPerson {
    issuer: String,
    pseudonym: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRoute {
    api: String,
    route: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSigned {
    by: StoredPerson,
    #[serde(with = "micros")]
    at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredEnd {
    by: String,
    #[serde(with = "micros")]
    at: Timestamp,
    reason: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredReview {
    signed: StoredSigned,
    finding: String,
    note: String,
}

/// Microseconds since 1970, UTC.
mod micros {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.as_microsecond())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::from_microsecond(i64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl From<&Person> for StoredPerson {
    fn from(person: &Person) -> Self {
        Self { issuer: person.issuer.clone(), pseudonym: person.pseudonym.clone() }
    }
}

impl From<StoredPerson> for Person {
    fn from(StoredPerson { issuer, pseudonym }: StoredPerson) -> Self {
        Self { issuer, pseudonym }
    }
}

impl From<&Signed> for StoredSigned {
    fn from(signed: &Signed) -> Self {
        Self { by: (&signed.by).into(), at: signed.at }
    }
}

impl From<StoredSigned> for Signed {
    fn from(StoredSigned { by, at }: StoredSigned) -> Self {
        Self { by: by.into(), at }
    }
}

pub(super) fn stored(grant: &Grant) -> Document {
    let (party, route) = match &grant.target {
        Target::Party(PartyNo(number)) => (Some(*number), None),
        Target::Route { api, route } => (None, Some(StoredRoute { api: api.clone(), route: route.clone() })),
    };
    let body = Stored {
        format: FORMAT,
        version: grant.version,
        revision: grant.revision.0,
        app: grant.app.clone(),
        employee: (&grant.employee).into(),
        party,
        route,
        purpose: grant.purpose.clone(),
        ticket: grant.emergency.ticket.clone(),
        justification: grant.emergency.justification.clone(),
        until: grant.until,
        requested: (&grant.requested).into(),
        approvals: grant.approvals.iter().map(StoredSigned::from).collect(),
        revoked: grant.revoked.as_ref().map(|Ended { by, at, reason }| StoredEnd { by: by.clone(), at: *at, reason: reason.clone() }),
        expired: grant.expired,
        review: grant.review.as_ref().map(|Review { signed, finding, note }| StoredReview {
            signed: signed.into(),
            finding: finding.as_str().to_owned(),
            note: note.clone(),
        }),
    };
    // Texts and numbers only: this cannot fail.
    Document { kind: KIND, key: grant.id.clone(), body: Some(serde_json::to_string(&body).unwrap_or_default()) }
}

/// `None` when another version wrote it.
pub(super) fn read(id: &str, body: &str) -> Option<Grant> {
    let stored: Stored = serde_json::from_str(body).ok().filter(|stored: &Stored| stored.format == FORMAT)?;
    let target = match (stored.party, stored.route) {
        (Some(number), None) => Target::Party(PartyNo(number)),
        (None, Some(StoredRoute { api, route })) => Target::Route { api, route },
        (Some(_), Some(_)) | (None, None) => return None,
    };
    let review = match stored.review {
        Some(StoredReview { signed, finding, note }) => Some(Review { signed: signed.into(), finding: Finding::parse(&finding)?, note }),
        None => None,
    };
    Some(Grant {
        id: id.to_owned(),
        version: stored.version,
        revision: Revision(stored.revision),
        app: stored.app,
        employee: stored.employee.into(),
        target,
        purpose: stored.purpose,
        emergency: Emergency { ticket: stored.ticket, justification: stored.justification },
        until: stored.until,
        requested: stored.requested.into(),
        approvals: stored.approvals.into_iter().map(Signed::from).collect(),
        revoked: stored.revoked.map(|StoredEnd { by, at, reason }| Ended { by, at, reason }),
        expired: stored.expired,
        review,
    })
}
