//! skeleton
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::token::Claims;
use super::{AuthError, IdentityError, IssuerSettings, KeyFetch, PeerCertificate};
use crate::clock::Clock;
use crate::model::IssuerName;

/// Verifies tokens of the configured issuers. The data plane's [`super::Authenticator`] has one; the admin listener makes
/// its own, from its own issuers.
#[derive(Debug)]
pub struct Verifier {}

impl Verifier {
    /// Reads key files at once; keys behind a URL are fetched on first use or by [`Self::refresh_keys`].
    ///
    /// # Errors
    /// [`IdentityError`] for settings that cannot be used.
    pub fn new(issuers: Vec<IssuerSettings>, fetch: Arc<dyn KeyFetch>, clock: Arc<dyn Clock>) -> Result<Self, IdentityError> {
        drop((issuers, fetch, clock));
        Ok(Self {})
    }

    /// The verified token of a request.
    ///
    /// # Errors
    /// [`AuthError::Unauthenticated`] when there is no `Authorization` header, else what is wrong with it.
    pub async fn verify_token(&self, headers: &HeaderMap, peer: Option<&PeerCertificate>) -> Result<VerifiedToken, AuthError> {
        let _unused = (headers, peer);
        Err(AuthError::Unauthenticated)
    }

    /// Asks every key source once, now; for start-up and `check --online`.
    pub async fn refresh_keys(&self) {}

    /// The state of each issuer's keys, for readiness.
    #[must_use]
    pub fn keys_status(&self) -> Vec<KeyStatus> {
        Vec::new()
    }

    /// How far the wall clock has been set back behind what it had shown before; readiness is degraded while it is.
    #[must_use]
    pub fn clock_behind(&self) -> Option<Duration> {
        None
    }
}

/// A token whose signature, issuer, audience, times and binding were judged good for this request.
#[derive(Clone)]
pub struct VerifiedToken {
    issuer: IssuerName,
    claims: Arc<Claims>,
}

impl VerifiedToken {
    #[must_use]
    pub const fn issuer(&self) -> IssuerName {
        self.issuer
    }

    /// The employee claim (usually `sub`): personal data.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        None
    }

    /// The client claim.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        None
    }

    /// The strings of the roles claim: roles for the data plane, groups for staff. Not compared with any vocabulary yet.
    #[must_use]
    pub fn groups(&self) -> Vec<&str> {
        Vec::new()
    }

    /// A string claim; the exact name, else a dotted path.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.text(name)
    }
}

impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// One issuer's keys, for `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    pub issuer: IssuerName,
    pub state: KeyState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Confirmed by their source recently.
    Fresh,
    /// Still used, but the source has not confirmed them for so long: degraded.
    Stale(Duration),
    /// Never read, or older than their maximum age: every token of this issuer is refused.
    Missing,
}
