//! Credentials -> principal. The catalogue says who a client is and what for; credentials only say which client it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::principal::{self, Credentials, Mandate, UnknownTask};
use super::{
    AuthError, ClientSettings, IdentityError, IssuerSettings, KeyFetch, KeyStatus, PeerCertificate, Principal, Sent, TokenFault, VerifiedToken,
    Verifier,
};
use crate::clock::Clock;
use crate::model::{Caller, Client, ClientInfo, ClientKind, Employee, IssuerName, Purpose, Role, Vocabulary};

/// Turns credentials into a [`Principal`]. One per configuration generation.
pub struct Authenticator {
    verifier: Verifier,
    vocabulary: Arc<Vocabulary>,
    registered: BTreeMap<Client, Registered>,
    by_certificate: BTreeMap<String, Client>,
    by_token: BTreeMap<(IssuerName, String), Client>,
    pseudonym_key: [u8; 32],
}

/// A client of the catalogue with what the configuration adds.
struct Registered {
    info: ClientInfo,
    has_certificate: bool,
    /// Registered with descendants ∩ narrowing, sorted.
    purposes: Vec<Purpose>,
}

/// What a token says, as names of the catalogue.
struct Named<'a> {
    client: Client,
    subject: Option<&'a str>,
    inner_actors: Vec<String>,
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
        let names: BTreeSet<IssuerName> = issuers.iter().map(|issuer| issuer.name).collect();
        let verifier = Verifier::new(issuers, fetch, clock)?;
        let mut made =
            Self { verifier, vocabulary, registered: BTreeMap::new(), by_certificate: BTreeMap::new(), by_token: BTreeMap::new(), pseudonym_key };
        for settings in clients {
            made.register(settings, &names)?;
        }
        Ok(made)
    }

    fn register(&mut self, settings: ClientSettings, issuers: &BTreeSet<IssuerName>) -> Result<(), IdentityError> {
        let ClientSettings { client, certificate, token, purposes: narrowing } = settings;
        let info = self.vocabulary.clients.get(&client).ok_or(IdentityError::UnknownClient(client))?.clone();
        if certificate.is_none() && token.is_none() {
            return Err(IdentityError::NoCredential(client));
        }
        let has_certificate = certificate.is_some();
        if let Some(name) = certificate {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*') {
                return Err(IdentityError::CertificateName { client, name });
            }
            if let Some(other) = self.by_certificate.insert(name, client) {
                return Err(IdentityError::SharedCertificate(other, client));
            }
        }
        if let Some((issuer, name)) = token {
            if !issuers.contains(&issuer) {
                return Err(IdentityError::UnknownIssuer { client, issuer });
            }
            if let Some(other) = self.by_token.insert((issuer, name), client) {
                return Err(IdentityError::SharedToken(other, client));
            }
        }
        let purposes = self.vocabulary.purposes.keys().copied();
        let purposes = purposes.filter(|purpose| info.registered.iter().any(|above| self.vocabulary.is_within(*purpose, *above)));
        let purposes = purposes.filter(|purpose| narrowing.as_ref().is_none_or(|only| only.contains(purpose))).collect();
        if self.registered.insert(client, Registered { info, has_certificate, purposes }).is_some() {
            return Err(IdentityError::DuplicateClient(client));
        }
        Ok(())
    }

    /// Takes over from the one of the configuration before: what was used once there does not count once more here.
    #[must_use]
    pub fn remembering(self, before: &Self) -> Self {
        Self { verifier: self.verifier.remembering(&before.verifier), ..self }
    }

    /// Who sent this request. `peer` is the certificate of the connection, its chain verified by TLS; `sent` is what a proof of
    /// possession must have been made for. To be asked once for a request: a proof counts once.
    ///
    /// # Errors
    /// [`AuthError`]: nobody was recognised and no further step is taken.
    pub async fn authenticate(&self, peer: Option<&PeerCertificate>, headers: &HeaderMap, sent: Sent<'_>) -> Result<Principal, AuthError> {
        let token = self.verifier.token(headers, peer, Some(sent)).await?;
        let certified = match peer {
            Some(peer) => self.certified(peer)?,
            None => None,
        };
        let named = match &token {
            Some(token) => Some(self.named(token)?),
            None => None,
        };
        let client = match (&certified, &named, &token) {
            (Some((client, _)), None, _) => *client,
            (Some((client, _)), Some(named), _) if *client == named.client => *client,
            (None, Some(named), Some(token)) if peer.is_none() || self.is_lent_by(named.client, token) => named.client,
            (Some(_) | None, Some(_), _) => return Err(AuthError::CredentialsDisagree),
            (None, None, _) => return Err(AuthError::Unauthenticated),
        };
        let registered = self.registered.get(&client).ok_or(AuthError::Unauthenticated)?;
        let mandate = match &token {
            Some(token) if registered.info.kind == ClientKind::Agent => self.mandate(client, token)?,
            Some(_) | None => Mandate::default(),
        };
        let mut purposes = match &token {
            Some(token) => narrowed(&registered.purposes, token)?,
            None => registered.purposes.clone(),
        };
        if let Some(Ok(task)) = mandate.task {
            purposes.retain(|purpose| self.vocabulary.serves(task, *purpose));
        }
        let employee = match (&token, &named) {
            // The subject may be the customer.
            _ if mandate.customer.is_some() => None,
            (Some(token), Some(Named { subject: Some(subject), .. })) => Some(self.employee(token, subject)?),
            _ => None,
        };
        Ok(Principal {
            caller: Caller { client, kind: registered.info.kind, department: registered.info.department, employee },
            purposes,
            credentials: Credentials { certificate: certified.map(|(_, name)| name), token: token.as_ref().map(VerifiedToken::issuer) },
            inner_actors: named.map(|named| named.inner_actors).unwrap_or_default(),
            claims: token.map(|token| token.claims),
            mandate,
        })
    }

    /// A client that another listener has recognised by its certificate, with the purposes that are left to it.
    #[must_use]
    pub fn registered(&self, client: Client) -> Option<(Caller, &[Purpose])> {
        let registered = self.registered.get(&client)?;
        let caller = Caller { client, kind: registered.info.kind, department: registered.info.department, employee: None };
        Some((caller, &registered.purposes))
    }

    /// Whether this configuration still says of a caller what another one said when it recognised them.
    #[must_use]
    pub fn still_knows(&self, principal: &Principal) -> bool {
        let (client, credentials) = (principal.caller.client, &principal.credentials);
        let by_certificate = |name: &String| self.by_certificate.get(name) == Some(&client);
        let by_token = |issuer| self.by_token.iter().any(|((of, _), named)| *of == issuer && *named == client);
        self.registered.get(&client).is_some_and(|now| {
            now.info.kind == principal.caller.kind
                && now.info.department == principal.caller.department
                && principal.purposes.iter().all(|purpose| now.purposes.contains(purpose))
        }) && credentials.certificate.as_ref().is_none_or(by_certificate)
            && credentials.token.is_none_or(by_token)
    }

    /// The client that a certificate is registered for, and under which of its names.
    fn certified(&self, peer: &PeerCertificate) -> Result<Option<(Client, String)>, AuthError> {
        // A URI has a `:` and a DNS name has none: one table cannot take the one for the other.
        let uris = peer.uris().iter().filter(|name| name.contains(':'));
        let dns = peer.dns_names().iter().filter(|name| !name.contains(':'));
        let mut found: Option<(Client, String)> = None;
        for name in uris.chain(dns) {
            let Some(client) = self.by_certificate.get(name) else { continue };
            match &found {
                Some((other, _)) if other != client => return Err(AuthError::CredentialsDisagree),
                Some(_) => {}
                None => found = Some((*client, name.clone())),
            }
        }
        Ok(found)
    }

    /// Whether a certificate that is no client's own may carry this token: the client has none registered here, and its
    /// issuer has bound the token to the certificate.
    fn is_lent_by(&self, client: Client, token: &VerifiedToken) -> bool {
        token.claims.is_bound() && self.registered.get(&client).is_some_and(|registered| !registered.has_certificate)
    }

    /// The client that a token is for: the outermost actor if that is a registered agent, else the client claim.
    fn named<'t>(&self, token: &'t VerifiedToken) -> Result<Named<'t>, TokenFault> {
        let names = &token.settings.claims;
        let issuer = token.issuer();
        let lookup = |name: &str| self.by_token.get(&(issuer, name.to_owned())).copied();
        let is_agent = |client: &Client| self.registered.get(client).is_some_and(|registered| registered.info.kind == ClientKind::Agent);

        let actors = actors(token)?;
        let agent = actors.first().and_then(|outermost| lookup(outermost)).filter(is_agent);
        let claimed = token.claims.optional_text(&names.client)?;
        let client = agent.or_else(|| claimed.and_then(lookup)).ok_or(TokenFault::UnknownClient)?;

        // A client that acts for itself is its own subject (RFC 9068, 2.2), and then there is no employee.
        let is_machine = |subject: &&str| {
            Some(*subject) == claimed
                || actors.first() == Some(subject)
                || lookup(subject).is_some()
                || claimed.is_some_and(|client| subject.strip_suffix("@clients") == Some(client))
        };
        let subject = token.claims.optional_text(&names.employee)?.filter(|subject| !is_machine(subject));
        let recorded = actors.iter().skip(usize::from(agent.is_some()));
        let inner_actors = recorded.map(|actor| principal::keyed("act", &self.pseudonym_key, &token.settings.issuer, actor)).collect();
        Ok(Named { client, subject, inner_actors })
    }

    fn mandate(&self, client: Client, token: &VerifiedToken) -> Result<Mandate, TokenFault> {
        let names = &token.settings.claims;
        let text = token.claims.optional_text(&names.task)?;
        let task = text.map(|text| self.vocabulary.task(text).filter(|task| self.vocabulary.may_do(client, *task)).ok_or(UnknownTask));
        let customer = match &names.customer {
            Some(name) => token.claims.optional_text(name)?.map(str::to_owned),
            None => None,
        };
        Ok(Mandate { task, customer })
    }

    /// The pseudonym under which decisions name an employee; none for an issuer that is not configured.
    #[must_use]
    pub fn employee_pseudonym(&self, issuer: &str, subject: &str) -> Option<String> {
        self.verifier.issuer_url(issuer).map(|url| principal::pseudonym(&self.pseudonym_key, url, subject))
    }

    fn employee(&self, token: &VerifiedToken, subject: &str) -> Result<Employee, TokenFault> {
        let texts = token.claims.texts(&token.settings.claims.roles)?;
        let roles: BTreeSet<Role> = texts.into_iter().filter_map(|text| self.vocabulary.role(text)).collect();
        let pseudonym = principal::pseudonym(&self.pseudonym_key, &token.settings.issuer, subject);
        Ok(Employee { pseudonym, roles: roles.into_iter().collect() })
    }

    /// Whether tokens of some issuer count only with a proof of possession.
    #[must_use]
    pub fn asks_for_proofs(&self) -> bool {
        self.verifier.asks_for_proofs()
    }

    /// Reads keys again that are missing or due; see [`Verifier::refresh_keys`].
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

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("verifier", &self.verifier)
            .field("clients", &self.registered.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// More actors in one another are nobody's delegation.
const ACTORS_MAX: usize = 8;

/// The actors of a token ([RFC 8693, 4.1](https://www.rfc-editor.org/rfc/rfc8693#section-4.1)), outermost first.
fn actors(token: &VerifiedToken) -> Result<Vec<&str>, TokenFault> {
    let path = &token.settings.claims.agent;
    let Some((holder, name)) = path.rsplit_once('.') else {
        return Ok(token.claims.optional_text(path)?.into_iter().collect());
    };
    let mut found = Vec::new();
    let mut next = token.claims.at(holder);
    while let Some(actor) = next {
        // An actor that cannot be read is not overlooked, and neither is one of another issuer.
        let actor = actor.as_object().ok_or(TokenFault::Claim)?;
        let text = actor.get(name).and_then(|value| value.as_str()).filter(|text| !text.is_empty()).ok_or(TokenFault::Claim)?;
        if found.len() == ACTORS_MAX || (found.is_empty() && actor.get("iss").is_some_and(|issuer| issuer != token.settings.issuer.as_str())) {
            return Err(TokenFault::Claim);
        }
        found.push(text);
        next = actor.get("act");
    }
    Ok(found)
}

/// What is left of the purposes when the token names some: a text with spaces between, a list of texts, or rich
/// authorization details ([RFC 9396](https://www.rfc-editor.org/rfc/rfc9396)) with a member `purpose` or `purposes`. Unknown names count for nothing.
fn narrowed(purposes: &[Purpose], token: &VerifiedToken) -> Result<Vec<Purpose>, TokenFault> {
    use serde_json::Value;

    fn collect<'a>(list: &'a [Value], found: &mut BTreeSet<&'a str>) -> Result<(), TokenFault> {
        for item in list {
            match item {
                Value::String(text) => drop(found.insert(text)),
                Value::Object(details) => match (details.get("purpose"), details.get("purposes")) {
                    (None, None) => {}
                    (Some(Value::String(text)), None) => drop(found.insert(text)),
                    (None, Some(Value::Array(list))) => {
                        for text in list {
                            found.insert(text.as_str().ok_or(TokenFault::Claim)?);
                        }
                    }
                    _ => return Err(TokenFault::Claim),
                },
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => return Err(TokenFault::Claim),
            }
        }
        Ok(())
    }

    let Some(value) = token.claims.at(&token.settings.claims.purpose) else { return Ok(purposes.to_vec()) };
    let mut named = BTreeSet::new();
    match value {
        Value::String(text) => named.extend(text.split(' ')),
        Value::Array(list) => collect(list, &mut named)?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Err(TokenFault::Claim),
    }
    Ok(purposes.iter().copied().filter(|purpose| named.contains(purpose.as_str())).collect())
}
