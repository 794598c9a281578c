//! Who may do what on the listeners beside the data plane. The listener verifies client certificate and token and puts a
//! [`StaffIdentity`] or [`CaptureIdentity`] into the request's extensions; here it is only compared with the route's roles.
//! A request without it is refused: the routers are safe even when a listener forgets its part.

pub use crate::config::AdminRole;
use crate::consent::Person;
use crate::model::Client;

/// A member of staff whose certificate and token the admin listener has verified.
#[derive(Clone, Debug)]
pub struct StaffIdentity {
    pub roles: Vec<AdminRole>,
    /// Keyed pseudonym of the token's subject: what the log says, and what idempotency keys belong to.
    pub pseudonym: String,
    /// Who they are by their token, as decisions name an employee; `None` by a certificate alone, which may be a machine's.
    pub person: Option<Person>,
    /// The one app whose decisions an `app-developer` may explain.
    pub app: Option<Client>,
}

impl StaffIdentity {
    /// Whether one of the wanted roles is held. Somebody who is author *and* approver holds neither: four eyes are two people.
    #[must_use]
    pub fn holds_one_of(&self, wanted: &[AdminRole]) -> bool {
        self.roles.iter().any(|role| self.is_effective(*role) && wanted.contains(role))
    }

    /// Identifiers are shown in full to the consent desk only.
    #[must_use]
    pub fn sees_identifiers(&self) -> bool {
        self.holds_one_of(&[AdminRole::ConsentDesk])
    }

    /// What the log calls a refused caller.
    #[must_use]
    pub fn first_role(&self) -> &'static str {
        self.roles.first().map_or("none", |role| role.as_str())
    }

    fn is_effective(&self, role: AdminRole) -> bool {
        let both = self.roles.contains(&AdminRole::PolicyAuthor) && self.roles.contains(&AdminRole::PolicyApprover);
        !(both && matches!(role, AdminRole::PolicyAuthor | AdminRole::PolicyApprover))
    }
}

/// The registered app whose client certificate the capture listener has verified.
#[derive(Clone, Copy, Debug)]
pub struct CaptureIdentity {
    pub client: Client,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staff(roles: &[AdminRole]) -> StaffIdentity {
        StaffIdentity { roles: roles.to_vec(), pseudonym: "e_1".into(), person: None, app: None }
    }

    #[test]
    fn author_and_approver_in_one_person_are_neither() {
        let both = staff(&[AdminRole::PolicyAuthor, AdminRole::PolicyApprover, AdminRole::Operator]);
        assert!(!both.holds_one_of(&[AdminRole::PolicyAuthor]));
        assert!(!both.holds_one_of(&[AdminRole::PolicyApprover]));
        assert!(both.holds_one_of(&[AdminRole::Operator]));
        assert!(staff(&[AdminRole::PolicyAuthor]).holds_one_of(&[AdminRole::PolicyAuthor]));
    }

    #[test]
    fn no_role_holds_nothing() {
        assert!(!staff(&[]).holds_one_of(&AdminRole::ALL));
        assert!(!staff(&[AdminRole::Auditor]).sees_identifiers());
    }
}
