//! The one who calls, after every check was passed.

use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;

use super::token::Claims;
use crate::model::{Caller, IssuerName, Purpose, Task};

/// A recognised caller. Only [`super::Authenticator`] makes one.
#[derive(Clone)]
pub struct Principal {
    pub(super) caller: Caller,
    pub(super) purposes: Vec<Purpose>,
    pub(super) credentials: Credentials,
    pub(super) inner_actors: Vec<String>,
    pub(super) claims: Option<Arc<Claims>>,
    pub(super) mandate: Mandate,
}

/// What the token of an agent says that it was sent to do.
#[derive(Clone, Default)]
pub(super) struct Mandate {
    pub(super) task: Option<Result<Task, UnknownTask>>,
    pub(super) customer: Option<String>,
}

/// The token names a task that is not one of the agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task is not one of this agent's")]
pub struct UnknownTask;

/// By what a principal was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The SAN of the certificate under which the client is registered.
    pub certificate: Option<String>,
    /// The issuer of the token.
    pub token: Option<IssuerName>,
}

impl Principal {
    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Registered purposes with their descendants ∩ the client's narrowing ∩ the token's purposes if it names any;
    /// sorted. The route's purposes are not in it: see [`super::choose_purpose`].
    #[must_use]
    pub fn purposes(&self) -> &[Purpose] {
        &self.purposes
    }

    /// By what the caller was recognised.
    #[must_use]
    pub const fn registered_as(&self) -> &Credentials {
        &self.credentials
    }

    /// Whether the token by which the caller was recognised, if there was one, has run out since.
    #[must_use]
    pub fn has_run_out(&self, now: Timestamp) -> bool {
        self.claims.as_ref().is_some_and(|claims| claims.has_run_out(now).unwrap_or(true))
    }

    /// What an agent was sent to do, if its token says so.
    ///
    /// # Errors
    /// [`UnknownTask`]: it must not do anything then.
    pub const fn task(&self) -> Result<Option<Task>, UnknownTask> {
        match self.mandate.task {
            None => Ok(None),
            Some(Ok(task)) => Ok(Some(task)),
            Some(Err(unknown)) => Err(unknown),
        }
    }

    /// The id of the customer for whom an agent calls, `<space>:<value>` as its token has it: personal data.
    #[must_use]
    pub fn for_customer(&self) -> Option<&str> {
        self.mandate.customer.as_deref()
    }

    /// A string claim of the verified token, for route sources `claim:NAME`; the exact name, else a dotted path.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.as_deref()?.text(name)
    }

    /// Keyed pseudonyms of the actors (RFC 8693 `act`) that did not decide who the principal is, outermost first. For the
    /// record only.
    #[must_use]
    pub fn inner_actors(&self) -> &[String] {
        &self.inner_actors
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The claims are personal data and stay out.
        f.debug_struct("Principal")
            .field("caller", &self.caller)
            .field("purposes", &self.purposes)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// The keyed pseudonym of an employee: `emp_` and 128 bits of HMAC-SHA256 in hex. Without the key neither the person nor
/// the equality with another deployment's pseudonym can be found out.
#[must_use]
pub fn pseudonym(key: &[u8; 32], issuer: &str, subject: &str) -> String {
    keyed("emp", key, issuer, subject)
}

pub(super) fn keyed(kind: &str, key: &[u8; 32], issuer: &str, subject: &str) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    // The length keeps (`ab`, `c`) and (`a`, `bc`) apart.
    context.update(format!("{kind}:{}:{issuer}:", issuer.len()).as_bytes());
    context.update(subject.as_bytes());
    let tag = context.sign();
    let hex: String = tag.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{kind}_{hex}")
}
