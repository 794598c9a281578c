//! From the text in a header to claims that can be believed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::cache::SignatureCache;
use super::dpop::{self, Sent};
use super::keyring::KeyRing;
use super::seen::SeenProofs;
use super::time::Guard;
use super::token::{self, Claims, Scheme, Token};
use super::{AuthError, IdentityError, IssuerSettings, KeyFetch, PeerCertificate, SenderConstraint, TokenFault, principal};
use crate::clock::Clock;
use crate::model::IssuerName;

/// Verifies tokens of the configured issuers. The data plane's [`super::Authenticator`] has one; the admin listener makes
/// its own, from its own issuers and audience, so that a token for the one is none for the other.
#[derive(Debug)]
pub struct Verifier {
    issuers: Vec<Issuer>,
    signatures: SignatureCache,
    proofs: Arc<SeenProofs>,
    guard: Guard,
}

#[derive(Debug)]
struct Issuer {
    settings: Arc<IssuerSettings>,
    keys: Arc<KeyRing>,
}

impl Verifier {
    /// Reads key files at once; keys behind a URL are fetched on first use or by [`Self::refresh_keys`].
    ///
    /// # Errors
    /// [`IdentityError`] for settings that cannot be used.
    pub fn new(settings: Vec<IssuerSettings>, fetch: Arc<dyn KeyFetch>, clock: Arc<dyn Clock>) -> Result<Self, IdentityError> {
        let (guard, proofs) = (Guard::new(Arc::clone(&clock)), Arc::new(SeenProofs::new(clock.now())));
        let with_keys = move |settings: IssuerSettings| -> Result<Issuer, IdentityError> {
            check(&settings)?;
            let settings = Arc::new(settings);
            let keys = KeyRing::new(Arc::clone(&settings), Arc::clone(&fetch), Arc::clone(&clock))?;
            Ok(Issuer { settings, keys })
        };
        let mut issuers: Vec<Issuer> = Vec::new();
        for settings in settings {
            if issuers.iter().any(|other| other.settings.name == settings.name || other.settings.issuer == settings.issuer) {
                return Err(IdentityError::DuplicateIssuer(settings.name));
            }
            issuers.push(with_keys(settings)?);
        }
        Ok(Self { issuers, signatures: SignatureCache::default(), proofs, guard })
    }

    /// Remembers the proofs that another one has seen used, and shares its memory from now on.
    pub(super) fn remembering(self, before: &Self) -> Self {
        Self { proofs: Arc::clone(&before.proofs), ..self }
    }

    /// The verified token of a request. `peer` is the certificate of its connection. A token that asks for a proof of possession is
    /// none here: nobody says what it must have been made for.
    ///
    /// # Errors
    /// [`AuthError::Unauthenticated`] when there is no `Authorization` header, else what is wrong with it.
    pub async fn verify_token(&self, headers: &HeaderMap, peer: Option<&PeerCertificate>) -> Result<VerifiedToken, AuthError> {
        self.token(headers, peer, None).await?.ok_or(AuthError::Unauthenticated)
    }

    /// As [`Self::verify_token`], but no header is no error.
    pub(super) async fn token(
        &self,
        headers: &HeaderMap,
        peer: Option<&PeerCertificate>,
        sent: Option<Sent<'_>>,
    ) -> Result<Option<VerifiedToken>, AuthError> {
        let Some((scheme, text)) = token::shown(headers)? else { return Ok(None) };
        let (token, key) = self.verify(scheme, text, peer).await?;
        if let Some(key) = key {
            dpop::check(headers, sent, &key, text, &self.proofs, self.guard.times())?;
        }
        Ok(Some(token))
    }

    /// The token, and the thumbprint of the key that its sender has to prove to have.
    async fn verify(&self, scheme: Scheme, text: &str, peer: Option<&PeerCertificate>) -> Result<(VerifiedToken, Option<String>), AuthError> {
        let token = Token::read(text)?;
        let named = token.claims.text("iss").ok_or(TokenFault::Issuer)?;
        let issuer = self.issuers.iter().find(|issuer| issuer.settings.issuer == named).ok_or(TokenFault::Issuer)?;
        if !issuer.settings.algorithms.contains(&token.algorithm) {
            return Err(TokenFault::Algorithm.into());
        }
        // Before the signature, so that a stale or misdirected token never makes anybody fetch keys.
        let bound_to = token.judge(&issuer.settings, self.guard.times(), scheme, peer)?.map(str::to_owned);

        let key = issuer.keys.key(token.kid.as_deref()).await?;
        if key.algorithm != token.algorithm {
            return Err(TokenFault::Algorithm.into());
        }
        let name = SignatureCache::name(&key, text);
        if !self.signatures.knows(&name) {
            if !key.verifies(&token) {
                return Err(TokenFault::Signature.into());
            }
            self.signatures.keep(name);
        }
        Ok((VerifiedToken { settings: Arc::clone(&issuer.settings), claims: Arc::new(token.claims) }, bound_to))
    }

    /// Reads the keys again that are missing or due (10 minutes old, or half their maximum age). To be called at start and
    /// then about once a minute: that is what keeps readiness true and makes a key that its issuer withdrew stop counting.
    pub async fn refresh_keys(&self) {
        for issuer in &self.issuers {
            issuer.keys.refresh().await;
        }
    }

    /// The state of each issuer's keys, for readiness.
    #[must_use]
    pub fn keys_status(&self) -> Vec<KeyStatus> {
        self.issuers.iter().map(|issuer| KeyStatus { issuer: issuer.settings.name, state: issuer.keys.state() }).collect()
    }

    pub(super) fn asks_for_proofs(&self) -> bool {
        self.issuers.iter().any(|issuer| issuer.settings.sender_constraint == SenderConstraint::Dpop)
    }

    /// The `iss` of an issuer by its name in the configuration.
    pub(super) fn issuer_url(&self, name: &str) -> Option<&str> {
        self.issuers.iter().find(|issuer| issuer.settings.name.as_str() == name).map(|issuer| issuer.settings.issuer.as_str())
    }

    /// How far the wall clock has been set back behind what it had shown before; readiness is degraded while it is.
    #[must_use]
    pub fn clock_behind(&self) -> Option<Duration> {
        self.guard.behind()
    }
}

fn check(settings: &IssuerSettings) -> Result<(), IdentityError> {
    let claims = &settings.claims;
    let texts = [
        ("issuer", &settings.issuer),
        ("audience", &settings.audience),
        ("claims.client", &claims.client),
        ("claims.employee", &claims.employee),
        ("claims.agent", &claims.agent),
        ("claims.roles", &claims.roles),
        ("claims.purpose", &claims.purpose),
        ("claims.task", &claims.task),
    ];
    if let Some((name, _)) = texts.iter().find(|(_, text)| text.is_empty()) {
        return Err(IdentityError::EmptyIssuerSetting(settings.name, name));
    }
    if settings.algorithms.is_empty() {
        return Err(IdentityError::NoAlgorithm(settings.name));
    }
    Ok(())
}

/// A token whose signature, issuer, audience, times and binding were judged good for this request.
#[derive(Clone)]
pub struct VerifiedToken {
    pub(super) settings: Arc<IssuerSettings>,
    pub(super) claims: Arc<Claims>,
}

impl VerifiedToken {
    #[must_use]
    pub fn issuer(&self) -> IssuerName {
        self.settings.name
    }

    /// The employee claim (usually `sub`): personal data.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.claims.text(&self.settings.claims.employee)
    }

    /// The keyed pseudonym of [`Self::subject`], for the record.
    #[must_use]
    pub fn pseudonym(&self, key: &[u8; 32]) -> Option<String> {
        self.subject().map(|subject| principal::pseudonym(key, &self.settings.issuer, subject))
    }

    /// The client claim.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.claims.text(&self.settings.claims.client)
    }

    /// The texts of the roles claim: roles on the data plane, groups of staff. Nobody has compared them with any
    /// vocabulary yet. Empty when the claim is anything but texts.
    #[must_use]
    pub fn groups(&self) -> Vec<&str> {
        self.claims.texts(&self.settings.claims.roles).unwrap_or_default()
    }

    /// A string claim; the exact name, else a dotted path.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.text(name)
    }
}

impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken").field("issuer", &self.settings.name).finish_non_exhaustive()
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
    /// Their source answered when it was last asked.
    Fresh,
    /// Still used, but their source failed when it was last asked; the age since it confirmed them: degraded.
    Stale(Duration),
    /// Never read, or older than their maximum age: tokens of this issuer are refused.
    Missing,
}
