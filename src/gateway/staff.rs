//! Who speaks on the admin and capture listeners: verified here, put into the request, judged by the console.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::build::{EMPLOYEES, derived_key, issuer};
use super::listener::Connection;
use super::problem::Code;
use super::rejects::ListenerRejects;
use super::tls;
use crate::clock::Clock;
use crate::config::{Config, RoleHolder, RoleSource};
use crate::consent::Person;
use crate::console::{AdminRole, CaptureIdentity, PublicPeer, StaffIdentity};
use crate::identity::{HttpsKeyFetch, IdentityError, IssuerSettings, KeyFetch, PeerCertificate, SenderConstraint, Verifier, pseudonym};
use crate::model::Client;

/// Who holds which role, and how tokens of staff are verified.
pub(super) struct Staff {
    roles: Vec<(AdminRole, RoleSource)>,
    /// Apps of the capture listener by the name in their certificate.
    apps: Vec<(String, Client)>,
    verifier: Verifier,
    pseudonym_key: [u8; 32],
    /// The data plane's: who approves an emergency must not be whom it is for.
    employee_key: [u8; 32],
}

impl std::fmt::Debug for Staff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the key for pseudonyms.
        f.debug_struct("Staff").field("roles", &self.roles).finish_non_exhaustive()
    }
}

impl Staff {
    /// # Errors
    /// When the issuers' settings cannot be used.
    pub(super) fn new(config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, IdentityError> {
        let fetch: Arc<dyn KeyFetch> = Arc::new(HttpsKeyFetch::new(tls::system_roots())?);
        let roles = config.admin.iter().flat_map(|a| &a.roles).flat_map(|(role, sources)| sources.iter().map(|s| (*role, s.clone()))).collect();
        Ok(Self {
            roles,
            apps: config.clients.iter().filter_map(|c| Some((c.certificate.clone()?, c.client))).collect(),
            verifier: Verifier::new(config.issuers.iter().map(bound).collect(), fetch, Arc::clone(clock))?,
            pseudonym_key: derived_key(config, "staff pseudonyms"),
            employee_key: derived_key(config, EMPLOYEES),
        })
    }

    /// Confirms the key sets in the background.
    pub(super) async fn refresh_keys(&self) {
        self.verifier.refresh_keys().await;
    }

    /// The staff member behind a connection and request; somebody without a role is nobody.
    async fn staff(&self, certificate: Option<&PeerCertificate>, headers: &http::HeaderMap) -> Option<StaffIdentity> {
        let certificate = certificate?;
        let named = |name: &String| certificate.uris().contains(name) || certificate.dns_names().contains(name);
        let token = if headers.contains_key(http::header::AUTHORIZATION) {
            match self.verifier.verify_token(headers, Some(certificate)).await {
                Ok(token) => Some(token),
                Err(error) => {
                    tracing::info!(%error, "a staff token was refused");
                    return None;
                }
            }
        } else {
            None
        };
        let groups: Vec<&str> = token.as_ref().map(|t| t.groups()).unwrap_or_default();
        let holds = |source: &RoleSource| match &source.who {
            RoleHolder::Certificate(name) => named(name),
            RoleHolder::Group { issuer, group } => token.as_ref().is_some_and(|t| t.issuer() == *issuer) && groups.contains(&group.as_str()),
        };
        let held: Vec<&(AdminRole, RoleSource)> = self.roles.iter().filter(|(_, source)| holds(source)).collect();
        let by_token = token.as_ref().and_then(|t| t.pseudonym(&self.pseudonym_key));
        let by_certificate =
            || certificate.uris().first().or_else(|| certificate.dns_names().first()).map(|name| pseudonym(&self.pseudonym_key, "certificate", name));
        Some(StaffIdentity {
            roles: held.iter().map(|(role, _)| *role).collect(),
            person: token.as_ref().and_then(|t| Some(Person { issuer: t.issuer().to_string(), pseudonym: t.pseudonym(&self.employee_key)? })),
            pseudonym: by_token.or_else(by_certificate)?,
            app: held.iter().find_map(|(_, source)| source.app),
        })
    }

    fn app(&self, certificate: Option<&PeerCertificate>) -> Option<CaptureIdentity> {
        let certificate = certificate?;
        let named = |name: &String| certificate.uris().contains(name) || certificate.dns_names().contains(name);
        let mut found = self.apps.iter().filter(|(name, _)| named(name)).map(|(_, client)| *client);
        match (found.next(), found.next()) {
            (Some(client), None) => Some(CaptureIdentity { client }),
            // Nobody, or a certificate that names two apps.
            (None, _) | (Some(_), Some(_)) => None,
        }
    }
}

/// An issuer whose tokens count here only when they are bound to the certificate that shows them, whatever apps may do:
/// a token that an employee gave to an app must not open the consent desk.
fn bound(settings: &crate::config::Issuer) -> IssuerSettings {
    IssuerSettings { sender_constraint: SenderConstraint::Mtls, ..issuer(settings) }
}

/// Whose identity a listener establishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Admin,
    Capture,
    Public,
    Health,
}

/// One connection to a console router.
#[derive(Clone, Debug)]
pub(super) struct ConsoleService {
    pub(super) door: Door,
    pub(super) router: axum::Router,
    pub(super) staff: Arc<ArcSwap<Staff>>,
    pub(super) connection: Connection,
    pub(super) rejects: ListenerRejects,
}

impl Service<Request<Incoming>> for ConsoleService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let staff = service.staff.load_full();
            // One that counts no longer is none: nobody comes in here without.
            let certificate = service.connection.certificate().unwrap_or_default();
            let certificate = certificate.as_deref();
            match service.door {
                Door::Admin => {
                    if let Some(identity) = staff.staff(certificate, request.headers()).await {
                        request.extensions_mut().insert(identity);
                    }
                }
                Door::Capture => {
                    if let Some(identity) = staff.app(certificate) {
                        request.extensions_mut().insert(identity);
                    }
                }
                Door::Public => {
                    request.extensions_mut().insert(PublicPeer(service.connection.peer.ip()));
                }
                Door::Health => {}
            }
            let response = TowerToHyperService::new(service.router).call(request).await?;
            if response.status() == StatusCode::UNAUTHORIZED {
                service.rejects.stranger(Code::Unauthenticated.as_str(), service.connection.peer.ip());
            }
            Ok(response)
        })
    }
}
