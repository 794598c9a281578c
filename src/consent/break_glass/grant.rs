//! One break-glass grant: what it opens and for whom, who has asked, approved, ended and reviewed it, and what state that makes.
//! Nothing here acts.

use jiff::{SignedDuration, Timestamp};

use crate::model::{Emergency, PartyNo, Revision, closed};

/// Approvals without which a grant opens nothing.
pub const APPROVERS: usize = 2;
/// After the end of a grant, until its review is overdue.
pub const REVIEW_WITHIN: SignedDuration = SignedDuration::from_hours(24);

closed! {
    /// What a review came to.
    Finding {
        Justified = "justified",
        Unjustified = "unjustified",
    }
    GrantState {
        /// Waits for approvals.
        Requested = "requested",
        /// Opens what it is for.
        Active = "active",
        /// Was not approved in time, or was withdrawn before it was.
        Lapsed = "lapsed",
        /// Was in force and has ended: by its time or by somebody.
        ReviewDue = "review-due",
        Overdue = "review-overdue",
        Reviewed = "reviewed",
    }
    /// What is done about a grant.
    GrantStep {
        Requested = "requested",
        Approved = "approved",
        Revoked = "revoked",
        /// Its time was up.
        Expired = "expired",
        Reviewed = "reviewed",
    }
}

/// Somebody whom an issuer has named. People are told apart within one issuer only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Person {
    /// The name of the `[[issuer]]`.
    pub issuer: String,
    /// Keyed pseudonym of the subject: the actor of the decisions that they make as an employee.
    pub pseudonym: String,
}

/// Whose data, or which answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Party(PartyNo),
    /// An API and `METHOD /template` of one of its routes.
    Route {
        api: String,
        route: String,
    },
}

/// Who did something, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub by: Person,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Pseudonym of the member of staff.
    pub by: String,
    pub at: Timestamp,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    pub signed: Signed,
    pub finding: Finding,
    pub note: String,
}

/// A grant with all that was done about it.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// `bg_` and 20 digits.
    pub id: String,
    /// Counts its changes; what was decided on one version does not hold on the next.
    pub version: u64,
    /// Of the ledger, when it was last changed: it opens nothing before the decision log is as far.
    pub revision: Revision,
    pub app: String,
    pub employee: Person,
    pub target: Target,
    pub purpose: String,
    pub emergency: Emergency,
    pub until: Timestamp,
    pub requested: Signed,
    pub approvals: Vec<Signed>,
    pub revoked: Option<Ended>,
    /// Its time was up; kept, so that a clock that is set back does not bring it back.
    pub expired: bool,
    pub review: Option<Review>,
}

impl std::fmt::Debug for Grant {
    /// Without what people wrote.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("id", &self.id).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Grant {
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.approvals.len() >= APPROVERS
    }

    /// Whether it opens anything, as soon as the log has it.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.is_approved() && !self.is_over(now)
    }

    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.revoked.is_some() || self.expired || now >= self.until
    }

    /// Whether nothing can be done about it any more.
    pub(super) fn is_done_with(&self) -> bool {
        self.review.is_some() || (!self.is_approved() && (self.revoked.is_some() || self.expired))
    }

    /// Until when somebody must have looked at what was done with it; `None` when nothing could be, or is not yet over.
    #[must_use]
    pub fn review_due(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.is_approved() || !self.is_over(now) {
            return None;
        }
        let ended = self.revoked.as_ref().map_or(self.until, |ended| ended.at.min(self.until));
        Some(ended.checked_add(REVIEW_WITHIN).unwrap_or(Timestamp::MAX))
    }

    #[must_use]
    pub fn state(&self, now: Timestamp) -> GrantState {
        match (&self.review, self.review_due(now)) {
            (Some(_), _) => GrantState::Reviewed,
            (None, Some(due)) if now >= due => GrantState::Overdue,
            (None, Some(_)) => GrantState::ReviewDue,
            (None, None) if self.is_approved() => GrantState::Active,
            (None, None) if self.is_over(now) => GrantState::Lapsed,
            (None, None) => GrantState::Requested,
        }
    }

    /// Whether it is about this customer; one for a route is about each of its customers.
    #[must_use]
    pub fn covers(&self, party: Option<PartyNo>) -> bool {
        match self.target {
            Target::Party(granted) => party == Some(granted),
            Target::Route { .. } => true,
        }
    }

    /// Whether somebody has a part in it who may not approve or review it.
    pub(super) fn concerns(&self, person: &Person) -> bool {
        *person == self.employee || *person == self.requested.by || self.approvals.iter().any(|signed| signed.by == *person)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::break_glass::tests::{at, grant, person};

    #[test]
    fn a_state_follows_from_what_was_done_and_the_time() {
        let approved = |n: usize| {
            let mut grant = grant();
            grant.approvals = ["a", "b"].into_iter().take(n).map(|name| Signed { by: person(name), at: at(1) }).collect();
            grant
        };
        let revoked = |n: usize| {
            let mut grant = approved(n);
            grant.revoked = Some(Ended { by: "e_1".to_owned(), at: at(10), reason: "done".to_owned() });
            grant
        };
        let expired = Grant { expired: true, ..approved(2) };
        let reviewed = Grant {
            review: Some(Review { signed: Signed { by: person("r"), at: at(90) }, finding: Finding::Justified, note: "seen".to_owned() }),
            ..approved(2)
        };
        let day = 24 * 60;
        use GrantState::{Active, Lapsed, Overdue, Requested, ReviewDue, Reviewed};
        for (grant, minute, state) in [
            (approved(0), 0, Requested),
            (approved(1), 59, Requested),
            (approved(1), 60, Lapsed),
            (approved(2), 59, Active),
            (approved(2), 60, ReviewDue),
            (approved(2), 60 + day - 1, ReviewDue),
            (approved(2), 60 + day, Overdue),
            (revoked(1), 11, Lapsed),
            (revoked(2), 11, ReviewDue),
            (revoked(2), 10 + day, Overdue),
            (expired, 5, ReviewDue),
            (reviewed, 100, Reviewed),
        ] {
            assert_eq!((grant.state(at(minute)), grant.is_active(at(minute))), (state, state == Active), "{minute} {grant:?}");
        }
    }

    #[test]
    fn a_grant_for_a_customer_covers_nobody_else() {
        let one = grant();
        assert!(one.covers(Some(PartyNo(7))) && !one.covers(Some(PartyNo(8))) && !one.covers(None));
        let route = Grant { target: Target::Route { api: "crm".to_owned(), route: "GET /customers".to_owned() }, ..grant() };
        assert!(route.covers(Some(PartyNo(8))) && route.covers(None));
    }
}
