//! skeleton
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::{AuthError, ClientSettings, IdentityError, IssuerSettings, KeyFetch, KeyStatus, PeerCertificate, Principal, Verifier};
use crate::clock::Clock;
use crate::model::Vocabulary;

/// Turns credentials into a [`Principal`]. One per configuration generation.
#[derive(Debug)]
pub struct Authenticator {
    verifier: Verifier,
}

impl Authenticator {
    /// `pseudonym_key` keys the pseudonyms of employees in the record; it must outlive restarts to keep them equal.
    ///
    /// # Errors
    /// [`IdentityError`] for settings that cannot be used.
    pub fn new(
        issuers: Vec<IssuerSettings>,
        clients: Vec<ClientSettings>,
        vocabulary: Arc<Vocabulary>,
        fetch: Arc<dyn KeyFetch>,
        clock: Arc<dyn Clock>,
        pseudonym_key: [u8; 32],
    ) -> Result<Self, IdentityError> {
        drop((clients, vocabulary));
        let _unused = pseudonym_key;
        Ok(Self { verifier: Verifier::new(issuers, fetch, clock)? })
    }

    /// Who sent this request. `peer` is the certificate of the connection, its chain verified by TLS.
    ///
    /// # Errors
    /// [`AuthError`]: nobody was recognised and no further step is taken.
    pub async fn authenticate(&self, peer: Option<&PeerCertificate>, headers: &HeaderMap) -> Result<Principal, AuthError> {
        self.verifier.verify_token(headers, peer).await?;
        Err(AuthError::Unauthenticated)
    }

    /// Asks every key source once, now; for start-up and `check --online`.
    pub async fn refresh_keys(&self) {
        self.verifier.refresh_keys().await;
    }

    /// The state of each issuer's keys, for readiness.
    #[must_use]
    pub fn keys_status(&self) -> Vec<KeyStatus> {
        self.verifier.keys_status()
    }

    /// How far the wall clock has been set back; see [`Verifier::clock_behind`].
    #[must_use]
    pub fn clock_behind(&self) -> Option<Duration> {
        self.verifier.clock_behind()
    }
}
