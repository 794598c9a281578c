//! From a checked configuration to a [`Snapshot`]: the same at start and at every reload, so that what `check` accepts is
//! what runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use http::HeaderValue;
use jiff::Timestamp;

use super::accept::host_without_port;
use super::forward::{Credentials, Upstream, UpstreamSettings};
use super::governance::Candidate;
use super::graphql::Plans;
use super::report;
use super::state::{RequestLimits, Snapshot};
use super::targets::{Targets, health};
use super::tls::{self, TlsError};
use super::validator::Validators;
use crate::audit;
use crate::clock::Clock;
use crate::config::{self, ClientCertificates, Config, PolicySource};
use crate::console::{BadSeed, WebhookSettings};
use crate::filter::Cutters;
use crate::identity::{self, Authenticator, ClaimNames, HttpsKeyFetch, IdentityError, KeyFetch};
use crate::model::{ApiName, Environment, Finding, Findings};
use crate::policy::Policies;
use crate::policy::bundle::{Bundle, BundleError};

/// Largest upstream answer that is read, bytes; one part holds it whole.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// How long a request body may take to arrive.
const REQUEST_BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Nesting of JSON, everywhere.
const JSON_DEPTH_MAX: u16 = 128;

/// A configuration that is well formed, but cannot be put to work.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Receipts(#[from] BadSeed),
    #[error("the key for links cannot be used; check the log's signing key")]
    Links,
    #[error("the key for validators cannot be used; check the log's signing key")]
    Validators,
    #[error("`{0}` is not an address; write `scheme://host:port`")]
    Target(String),
    #[error("the key of the witness at {0} is none; write the line that `consentry audit witness` shows at its start into a file of its own")]
    WitnessKey(String),
    #[error("{file}:{line}: report mode of api `{api}` lasts until {until}; it may end 30 days from now at the latest")]
    ReportTooLong { file: String, line: usize, api: ApiName, until: Timestamp },
}

/// Reads and checks configuration and policies together.
///
/// # Errors
/// Every mistake of every file.
pub fn load(path: &Path) -> Result<(Config, Arc<Policies>), Findings> {
    load_signed(path, None).map(|(config, policies, _)| (config, policies))
}

/// A configuration, its policies, and the bundle that they came from.
pub type Loaded = (Config, Arc<Policies>, Option<Candidate>);

/// The same, with the bundle to be judged: `next`, with its signatures, or the gateway's own copy.
///
/// # Errors
/// Every mistake of every file.
pub fn load_signed(path: &Path, next: Option<(Bundle, String)>) -> Result<Loaded, Findings> {
    let loaded: RefCell<Option<Policies>> = RefCell::new(None);
    let (candidate, next) = (RefCell::new(None), RefCell::new(next));
    let config = config::load(path, &|source| {
        let policies = match source {
            PolicySource::Folder(folder) => Policies::load(folder)?,
            PolicySource::Bundle(settings) => {
                let found = match next.borrow_mut().take() {
                    Some((bundle, signatures)) => Candidate::new(settings, bundle, signatures)?,
                    None => Candidate::kept(settings)?,
                };
                let policies = found.bundle.tested().map_err(|error| {
                    if let BundleError::Policies(findings) = error {
                        return findings;
                    }
                    Findings(vec![Finding::of_file(&settings.file, error.to_string())])
                })?;
                *candidate.borrow_mut() = Some(found);
                policies
            }
        };
        let vocabulary = Arc::clone(policies.vocabulary());
        *loaded.borrow_mut() = Some(policies);
        Ok(vocabulary)
    })?;
    match loaded.into_inner() {
        Some(policies) => {
            let policies = Arc::new(policies.compiled(config.policy_compiled));
            Ok((config, policies, candidate.into_inner()))
        }
        None => Err(Findings(vec![Finding::of_file(path, "the policy folder was not read")])),
    }
}

/// Puts a configuration to work; opens no connection yet.
///
/// # Errors
/// [`BuildError`]
pub fn snapshot(config: &Config, policies: &Arc<Policies>, generation: u64, clock: &Arc<dyn Clock>) -> Result<Snapshot, BuildError> {
    report::bounded(&config.catalog, clock.now())?;
    if let Some(witness) = config.audit.witnesses.iter().find(|witness| !audit::is_witness_key(&witness.key)) {
        return Err(BuildError::WitnessKey(witness.url.clone()));
    }
    let fetch: Arc<dyn KeyFetch> = Arc::new(HttpsKeyFetch::new(tls::system_roots())?);
    let authenticator = Authenticator::new(
        config.issuers.iter().map(issuer).collect(),
        config.clients.iter().map(client).collect(),
        Arc::clone(policies.vocabulary()),
        fetch,
        Arc::clone(clock),
        derived_key(config, EMPLOYEES),
    )?;
    let upstreams = config.upstreams.values().map(|u| Ok((u.name, upstream(u, clock)?))).collect::<Result<BTreeMap<_, _>, BuildError>>()?;
    Ok(Snapshot {
        generation,
        set_id: set_id(config, policies).into(),
        folder_id: policies.id().into(),
        policies: Arc::clone(policies),
        catalog: config.catalog.clone(),
        cutters: Cutters::new(&config.catalog.shapes),
        plans: Plans::default(),
        authenticator,
        upstreams,
        environment: config.gateway.environment,
        hosts: hosts(config),
        origin: origin(config),
        validators: Validators::new(&derived_key(config, VALIDATORS)).map_err(|_unusable| BuildError::Validators)?,
        budgets: config.budgets.clone(),
        in_flight_max: config.clients.iter().map(|client| (client.client, client.in_flight_max)).collect(),
        limits: RequestLimits { request_body_timeout: REQUEST_BODY_TIMEOUT, answer_body_max: ANSWER_BYTES_MAX, json_depth_max: JSON_DEPTH_MAX },
        controller: config.consent.controller.clone(),
        break_glass_max: config.admin.as_ref().map_or(Duration::ZERO, |admin| admin.break_glass_max),
        retention: config.audit.retention,
        revocation: revocation(config),
        bundle: None,
        public: config.public.as_ref().map(|public| Arc::new(public.page.clone())),
    })
}

/// What the configuration says about webhooks.
///
/// # Errors
/// When trust anchors or the gateway's own certificate cannot be used.
pub(super) fn webhooks(config: &Config, policies: &Policies) -> Result<WebhookSettings, TlsError> {
    let mut tls = tls::client(config.webhooks.as_ref().map(|webhooks| &webhooks.tls))?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(WebhookSettings {
        hosts: config.webhooks.as_ref().map(|webhooks| webhooks.hosts.clone()).unwrap_or_default(),
        clear_loopback: config.gateway.environment == Environment::Test,
        tls: Arc::new(tls),
        vocabulary: Arc::clone(policies.vocabulary()),
    })
}

/// The policy set as decisions name it: policies and governed configuration decide together.
#[must_use]
pub fn set_id(config: &Config, policies: &Policies) -> String {
    let both = format!("{}\n{}\n", policies.id(), config.governed_hash);
    digest(&SHA256, both.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// The use of the key for pseudonyms of employees.
pub(super) const EMPLOYEES: &str = "employee pseudonyms";

/// The use of the key for the gateway's own ETags.
const VALIDATORS: &str = "validators";

/// A key of this installation for one use, from the log's signing key: it needs no secret of its own and outlives restarts. Where that key
/// was replaced, from the one that `secrets_key` names.
#[must_use]
pub fn derived_key(config: &Config, usage: &str) -> [u8; 32] {
    let secret = config.audit.secrets_key.as_ref().unwrap_or(&config.audit.signing_key);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
    let tag = hmac::sign(&key, format!("consentry/v1 {usage}").as_bytes());
    let mut out = [0; 32];
    out.copy_from_slice(tag.as_ref());
    out
}

/// Scheme and authority of the gateway's public URL.
fn origin(config: &Config) -> String {
    let url = &config.gateway.public_url;
    let end = url.find("://").and_then(|at| url.get(at + 3..)?.find('/').map(|slash| at + 3 + slash));
    end.and_then(|end| url.get(..end)).unwrap_or(url).to_owned()
}

fn revocation(config: &Config) -> Vec<(String, Timestamp)> {
    let trust = |clients| match clients {
        &ClientCertificates::Require(ref trust) | &ClientCertificates::Accept(ref trust) => Some(trust),
        &ClientCertificates::Off => None,
    };
    let apps = config.listeners.iter().map(|listener| (listener.name.as_str(), trust(&listener.client_certificates)));
    let admin = config.admin.iter().map(|admin| ("[admin]", Some(&admin.clients)));
    let capture = config.capture.iter().map(|capture| ("[capture]", Some(&capture.clients)));
    apps.chain(admin).chain(capture).filter_map(|(name, trust)| Some((name.to_owned(), trust?.revoked_until?))).collect()
}

fn hosts(config: &Config) -> Vec<String> {
    let public = config.gateway.public_url.split_once("://").map_or(config.gateway.public_url.as_str(), |(_, rest)| rest);
    let public = public.split('/').next().unwrap_or_default();
    let mut hosts: Vec<String> = config.catalog.apis.iter().filter_map(|api| api.host.as_deref()).map(host_without_port).map(str::to_owned).collect();
    hosts.push(host_without_port(public).to_owned());
    hosts.sort();
    hosts.dedup();
    hosts
}

fn upstream(settings: &config::Upstream, clock: &Arc<dyn Clock>) -> Result<Arc<Upstream>, BuildError> {
    let tls = tls::client(settings.tls.as_ref())?;
    let check = settings.health.clone().map(|check| health::Check::new(check, tls.clone()));
    let target = |origin: &config::Origin| origin.to_string().parse().map_err(|_invalid| BuildError::Target(origin.to_string()));
    let targets = settings.targets.iter().map(target).collect::<Result<_, _>>()?;
    Ok(Upstream::new(UpstreamSettings {
        name: settings.name,
        targets: Targets::new(settings.name, targets, settings.ejection, check, Arc::clone(clock)),
        base_path: settings.base_path.clone(),
        tls,
        credentials: match &settings.credentials {
            config::Credentials::None => Credentials::None,
            config::Credentials::Forward => Credentials::Forward,
            config::Credentials::Header { name, value } => Credentials::Header(name.clone(), value.clone()),
        },
        connect_timeout: settings.timeouts.connect,
        first_byte_timeout: settings.timeouts.first_byte,
        total_timeout: settings.timeouts.total,
        in_flight_max: settings.in_flight_max,
        answer_bytes_max: ANSWER_BYTES_MAX,
        accept_encoding: HeaderValue::from_static(if settings.accept_gzip { "gzip" } else { "identity" }),
        decode_ratio_max: settings.decode_ratio_max,
        list_bytes_max: settings.list_bytes_max,
    }))
}

/// An issuer as the identity room takes it.
pub(super) fn issuer(issuer: &config::Issuer) -> identity::IssuerSettings {
    let algorithm = |a: &config::Algorithm| match a {
        config::Algorithm::Rs256 => identity::Algorithm::Rs256,
        config::Algorithm::Es256 => identity::Algorithm::Es256,
        config::Algorithm::EdDsa => identity::Algorithm::EdDsa,
    };
    let config::Claims { client, employee, agent, roles, purpose, task, customer } = issuer.claims.clone();
    identity::IssuerSettings {
        name: issuer.name,
        issuer: issuer.issuer.clone(),
        audience: issuer.audience.clone(),
        keys: match &issuer.keys {
            config::KeySource::File(path) => identity::KeySource::File(path.clone()),
            config::KeySource::Url(url) => identity::KeySource::Url(url.clone()),
            config::KeySource::Discovery(url) => identity::KeySource::Discovery(url.clone()),
        },
        keys_max_age: issuer.keys_max_age,
        algorithms: issuer.algorithms.iter().map(algorithm).collect(),
        sender_constraint: match issuer.sender_constraint {
            config::SenderConstraint::Mtls => identity::SenderConstraint::Mtls,
            config::SenderConstraint::Dpop => identity::SenderConstraint::Dpop,
            config::SenderConstraint::None => identity::SenderConstraint::None,
        },
        claims: ClaimNames { client, employee, agent, roles, purpose, task, customer },
    }
}

fn client(settings: &config::ClientSettings) -> identity::ClientSettings {
    identity::ClientSettings {
        client: settings.client,
        certificate: settings.certificate.clone(),
        token: settings.token.as_ref().map(|t| (t.issuer, t.client.clone())),
        purposes: settings.purposes.clone(),
    }
}
