//! Who calls: token issuers, and the credentials of the catalogue's clients. Rights come from the policy folder; what stands
//! here can only narrow them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::read::Value;
use super::settings::{Algorithm, Claims, ClientSettings, Issuer, KeySource, Origin, SenderConstraint, TokenClient};
use super::values::parse_url;
use crate::model::{Client, ClientKind, IssuerName, Purpose, Vocabulary};

/// Requests of one client under way at once, where nothing else is written, and at most.
const CLIENT_IN_FLIGHT_DEFAULT: u32 = 1_000;
const CLIENT_IN_FLIGHT_MAX: u32 = 100_000;

/// Names that are declared, whether or not the rest of their declaration could be read.
#[derive(Debug, Default)]
pub(super) struct Callers<'v> {
    pub(super) issuers: Vec<IssuerName>,
    /// `None` when the policy folder could not be read: its mistakes are enough then.
    pub(super) vocabulary: Option<&'v Vocabulary>,
}

impl Callers<'_> {
    pub(super) fn issuer(&self, value: Value<'_>) -> Option<IssuerName> {
        let text = value.str()?;
        let found = self.issuers.iter().copied().find(|name| name.as_str() == text);
        if found.is_none() {
            value.unknown("issuer", text, self.issuers.iter().map(|name| name.as_str()));
        }
        found
    }

    pub(super) fn client(&self, value: Value<'_>) -> Option<Client> {
        let (text, vocabulary) = (value.str()?, self.vocabulary?);
        let found = vocabulary.client(text);
        if found.is_none() {
            value.unknown("client", text, vocabulary.clients.keys().map(|name| name.as_str()));
        }
        found
    }
}

pub(super) fn issuer_names(value: Option<Value<'_>>) -> Vec<IssuerName> {
    let tables = value.filter(|v| v.is_list()).and_then(Value::list).unwrap_or_default();
    let name = |item: Value<'_>| item.is_table().then(|| item.table("")).flatten()?.opt("name")?.as_str().map(IssuerName::intern);
    tables.into_iter().filter_map(name).collect()
}

pub(super) fn issuers(value: Value<'_>) -> Vec<Issuer> {
    let mut found: Vec<Issuer> = Vec::new();
    for item in value.list().unwrap_or_default() {
        let Some(issuer) = issuer(item) else { continue };
        if found.iter().any(|other| other.name == issuer.name || other.issuer == issuer.issuer) {
            item.error(format!("the issuer `{}` is declared twice", issuer.name));
        }
        found.push(issuer);
    }
    found
}

fn issuer(value: Value<'_>) -> Option<Issuer> {
    let mut table = value.table("`[[issuer]]`")?;
    let name = table.need("name").and_then(Value::str);
    let issuer = table.need("issuer").and_then(Value::str);
    let audience = table.need("audience").and_then(Value::str);
    let keys = table.need("keys").and_then(|v| keys(v, issuer));
    let keys_max_age = table.opt("keys_max_age").map_or(Some(Duration::from_secs(86_400)), Value::duration);
    let algorithms = table.need("algorithms").and_then(|v| {
        if v.list_is_empty() {
            v.error("at least one algorithm is needed");
        }
        v.each(|item| item.word("algorithm", &Algorithm::ALL))
    });
    let sender_constraint = table.need("sender_constraint").and_then(|v| {
        let words = [("mtls", SenderConstraint::Mtls), ("dpop", SenderConstraint::Dpop), ("none", SenderConstraint::None)];
        let found = v.word("sender constraint", &words);
        if found == Some(SenderConstraint::None) {
            v.warn("whoever finds a token of this issuer can use it");
        }
        found
    });
    let claims = table.opt("claims").map_or_else(|| Some(Claims::default()), claims);
    table.finish();
    Some(Issuer {
        name: IssuerName::intern(name?),
        issuer: issuer?.to_owned(),
        audience: audience?.to_owned(),
        keys: keys?,
        keys_max_age: keys_max_age?,
        algorithms: algorithms?,
        sender_constraint: sender_constraint?,
        claims: claims?,
    })
}

fn keys(value: Value<'_>, issuer: Option<&str>) -> Option<KeySource> {
    if value.as_str().is_some() {
        value.word("source of keys", &[("discovery", ())])?;
        return at_issuer(value, issuer?).map(KeySource::Discovery);
    }
    let mut table = value.table("`keys`")?;
    let (file, url, discovery) = (table.opt("file"), table.opt("url"), table.opt("discovery"));
    table.finish();
    match (file, url, discovery) {
        (Some(file), None, None) => file.file().map(KeySource::File),
        (None, Some(url), None) => fetched(url).map(KeySource::Url),
        (None, None, Some(url)) => fetched(url).map(KeySource::Discovery),
        _ => {
            value.error("keys come from one of `{ file = … }`, `{ url = … }`, `{ discovery = … }`, or are found with `\"discovery\"`");
            None
        }
    }
}

/// Where OpenID Connect Discovery puts the metadata of an issuer.
fn at_issuer(value: Value<'_>, issuer: &str) -> Option<String> {
    let url = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
    let Some((origin, _)) = parse_url(&url) else {
        value.error_help("`issuer` is not a URL, so nothing can be found there", "write `{ discovery = \"https://…\" }`, or another source of keys");
        return None;
    };
    in_confidence(value, &origin).then_some(url)
}

fn fetched(url: Value<'_>) -> Option<String> {
    let (origin, _) = url.url()?;
    in_confidence(url, &origin).then(|| url.str().map(str::to_owned)).flatten()
}

fn in_confidence(value: Value<'_>, origin: &Origin) -> bool {
    let host = origin.host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !origin.tls && !loopback {
        value.error_help("keys would come over a line without TLS", "write `https://…`");
    }
    origin.tls || loopback
}

fn claims(value: Value<'_>) -> Option<Claims> {
    let mut table = value.table("`claims`")?;
    let defaults = Claims::default();
    let mut claim = |key: &'static str, default: String| table.opt(key).map_or(Some(default), |v| v.str().map(str::to_owned));
    let client = claim("client", defaults.client);
    let employee = claim("employee", defaults.employee);
    let agent = claim("agent", defaults.agent);
    let roles = claim("roles", defaults.roles);
    let purpose = claim("purpose", defaults.purpose);
    let task = claim("task", defaults.task);
    let customer = table.opt("customer").map_or(Some(None), |v| v.str().map(|name| Some(name.to_owned())));
    table.finish();
    Some(Claims { client: client?, employee: employee?, agent: agent?, roles: roles?, purpose: purpose?, task: task?, customer: customer? })
}

/// `[client]`
pub(super) fn clients(value: Value<'_>, callers: &Callers<'_>) -> Vec<ClientSettings> {
    let Some(table) = value.table("`[client]`") else { return Vec::new() };
    let mut found = Vec::new();
    let (mut certificates, mut tokens) = (BTreeMap::new(), BTreeMap::new());
    for (name, span, item) in table.named() {
        let Some(mut entry) = item.table(format!("client `{name}`")) else { continue };
        let known = callers.vocabulary.and_then(|v| v.client(name));
        if let (Some(vocabulary), None) = (callers.vocabulary, known) {
            let near = crate::model::suggest(name, vocabulary.clients.keys().map(|c| c.as_str()));
            let help =
                near.map_or_else(|| "applications and agents are declared in the policy folder".to_owned(), |near| format!("did you mean `{near}`?"));
            table.cx.push(table.cx.finding(span, format!("unknown client `{name}`")).help(help));
        }
        let kind = entry.opt("kind").map(|v| (v, v.word("kind", &[("application", ClientKind::Application), ("agent", ClientKind::Agent)])));
        let certificate = entry.opt("certificate");
        if let Some(text) = certificate.and_then(Value::str)
            && let Some(other) = certificates.insert(text, name)
            && let Some(value) = certificate
        {
            value.error(format!("client `{other}` has the same certificate"));
        }
        let token = entry.opt("token").map(|v| (v, token(v, callers)));
        if let Some((value, Some(token))) = &token
            && let Some(other) = tokens.insert((token.issuer, token.client.clone()), name)
        {
            value.error(format!("client `{other}` has the same token"));
        }
        let purposes = entry.opt("purposes").map(|v| purposes(v, known, callers));
        let in_flight_max = entry.opt("limits").map_or(Some(CLIENT_IN_FLIGHT_DEFAULT), limits);
        if certificate.is_none() && token.is_none() {
            entry.error_help(format!("client `{name}` has no credential"), "add `certificate`, `token` or both");
        }
        entry.finish();
        let Some((client, info)) = known.and_then(|client| Some((client, callers.vocabulary?.clients.get(&client)?))) else { continue };
        if let Some((value, Some(written))) = kind
            && written != info.kind
        {
            value.error(format!("the catalogue declares `{name}` as {}", if info.kind == ClientKind::Agent { "an agent" } else { "an application" }));
        }
        found.push(ClientSettings {
            client,
            kind: info.kind,
            certificate: certificate.and_then(Value::as_str).map(str::to_owned),
            token: token.and_then(|(_, token)| token),
            purposes: purposes.flatten(),
            in_flight_max: in_flight_max.unwrap_or(CLIENT_IN_FLIGHT_DEFAULT),
        });
    }
    found
}

/// `limits = { requests_in_flight = 50 }`
fn limits(value: Value<'_>) -> Option<u32> {
    let mut table = value.table("`limits`")?;
    let in_flight_max = table.need("requests_in_flight").and_then(|v| v.count(CLIENT_IN_FLIGHT_MAX));
    table.finish();
    in_flight_max
}

fn token(value: Value<'_>, callers: &Callers<'_>) -> Option<TokenClient> {
    let mut table = value.table("`token`")?;
    let issuer = table.need("issuer").and_then(|v| callers.issuer(v));
    let client = table.need("client").and_then(Value::str);
    table.finish();
    Some(TokenClient { issuer: issuer?, client: client?.to_owned() })
}

fn purposes(value: Value<'_>, client: Option<Client>, callers: &Callers<'_>) -> Option<Vec<Purpose>> {
    let vocabulary = callers.vocabulary?;
    value.each(|item| {
        let purpose = purpose(item, vocabulary)?;
        let (client, info) = client.and_then(|client| Some((client, vocabulary.clients.get(&client)?)))?;
        let registered = info.registered.iter().any(|above| vocabulary.is_within(purpose, *above));
        if !registered {
            let names: Vec<String> = info.registered.iter().map(|p| format!("`{p}`")).collect();
            let names = if names.is_empty() { "no purpose".to_owned() } else { names.join(", ") };
            item.error_help(
                format!("client `{client}` is not registered for purpose `{purpose}`"),
                format!("the catalogue registers it for {names}; this file can narrow that, not widen it"),
            );
        }
        registered.then_some(purpose)
    })
}

pub(super) fn purpose(value: Value<'_>, vocabulary: &Vocabulary) -> Option<Purpose> {
    let text = value.str()?;
    let found = vocabulary.purpose(text);
    if found.is_none() {
        value.unknown("purpose", text, vocabulary.purposes.keys().map(|p| p.as_str()));
    }
    found
}
