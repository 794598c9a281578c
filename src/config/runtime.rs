//! The runtime part: listeners, admin, health, capture, policy folder, consent store, audit log.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::callers::Callers;
use super::read::{Table, Value};
use super::retention::Retention;
use super::settings::{
    Admin, AdminRole, AuditMode, AuditSettings, BundleSettings, CaptureListener, ConsentStore, Controller, GatewaySettings, Health, Limits, Listener,
    PolicySource, PublicListener, PublicPage, RoleHolder, RoleSource, Roots, Secret, UpstreamTls, WitnessSettings, Words,
};
use super::trust::{client_certificates, trust};
use super::{exports, upstreams};
use crate::model::{Environment, Purpose, Vocabulary};

/// No withdrawal link lives longer, days: a mail that is older than a year can still be stopped.
const LINK_DAYS_MAX: u32 = 400;
/// No break-glass grant may be asked for longer, and without the key for so long.
const BREAK_GLASS_MAX: Duration = Duration::from_secs(24 * 3_600);
const BREAK_GLASS_DEFAULT: Duration = Duration::from_secs(4 * 3_600);
/// Connections that a listener can be made to take.
const CONNECTIONS_MAX: u32 = 1_000_000;
/// What a power cut may take of the decision log at most, in `bounded` mode.
const BOUNDED_MS_MAX: u32 = 1_000;
const BOUNDED_RECORDS_MAX: u32 = 100_000;
/// Departments that a change can be made to need.
const DEPARTMENTS_MAX: u32 = 64;

pub(super) fn gateway(value: Value<'_>) -> Option<GatewaySettings> {
    let mut table = value.table("`[gateway]`")?;
    let name = table.need("name").and_then(Value::str);
    let public_url = table.need("public_url").and_then(|v| Some(v).zip(v.url())).and_then(|(v, (origin, path))| {
        let path = v.plain_path(&path)?;
        Some(format!("{origin}{path}"))
    });
    let environments: Vec<_> = Environment::ALL.iter().map(|e| (e.as_str(), *e)).collect();
    let environment = table.need("environment").and_then(|v| v.word("environment", &environments));
    table.finish();
    Some(GatewaySettings { name: name?.to_owned(), public_url: public_url?, environment: environment? })
}

pub(super) fn listeners(value: Option<Value<'_>>, document: &Table<'_>) -> Vec<Listener> {
    let Some(value) = value else {
        document.error_help("no `[[listener]]`: nothing could be asked", "add one with `name`, `address` and `certificates`");
        return Vec::new();
    };
    let mut seen: BTreeMap<&str, ()> = BTreeMap::new();
    let mut found = Vec::new();
    for item in value.list().unwrap_or_default() {
        let Some(mut table) = item.table("`[[listener]]`") else { continue };
        let name_value = table.need("name");
        let name = name_value.and_then(Value::str);
        if let (Some(value), Some(name)) = (name_value, name)
            && seen.insert(name, ()).is_some()
        {
            value.error(format!("two listeners have the name `{name}`"));
        }
        let address = table.need("address").and_then(Value::address);
        let certificates = server_certificates(&mut table);
        let client_certificates = table.need("client_certificates").and_then(client_certificates);
        let limits = table.opt("limits").map_or(Some(Limits::default()), limits);
        let balancers = table.opt("proxy_protocol").map(balancers);
        table.later(&["protocol", "upstream"]);
        table.finish();
        let listener = (|| {
            Some(Listener {
                name: name?.to_owned(),
                address: address?,
                certificates: certificates?,
                client_certificates: client_certificates?,
                limits: limits?,
                proxy_protocol: match balancers {
                    Some(read) => Some(read?),
                    None => None,
                },
            })
        })();
        found.extend(listener);
    }
    found
}

fn server_certificates(table: &mut Table<'_>) -> Option<Vec<super::settings::Certified>> {
    let value = table.need("certificates")?;
    if value.list_is_empty() {
        value.error("at least one certificate is needed");
    }
    value.each(Value::certified)
}

fn limits(value: Value<'_>) -> Option<Limits> {
    let mut table = value.table("`limits`")?;
    let defaults = Limits::default();
    let headers = table.opt("headers").map_or(Some(defaults.headers_bytes_max), Value::bytes);
    let mut timeout = |key, default| table.opt(key).map_or(Some(default), Value::duration);
    let header = timeout("header_timeout", defaults.header_timeout);
    let (idle, send) = (timeout("idle_timeout", defaults.idle_timeout), timeout("send_timeout", defaults.send_timeout));
    let body = table.opt("request_body").map_or(Some(defaults.request_body_bytes_max), Value::bytes);
    let streams = table.opt("streams").map_or(Some(defaults.streams_max), |v| v.count(10_000));
    let mut connections = |key, default| table.opt(key).map_or(Some(default), |v| v.count(CONNECTIONS_MAX).and_then(|n| usize::try_from(n).ok()));
    let all = connections("connections", defaults.connections_max);
    let per_ip = connections("connections_per_ip", defaults.connections_per_ip_max);
    table.finish();
    Some(Limits {
        headers_bytes_max: headers?,
        header_timeout: header?,
        idle_timeout: idle?,
        send_timeout: send?,
        request_body_bytes_max: body?,
        streams_max: streams?,
        connections_max: all?,
        connections_per_ip_max: per_ip?,
    })
}

/// `{ from = ["10.0.0.0/8", "2001:db8::7"] }`
fn balancers(value: Value<'_>) -> Option<Vec<(IpAddr, u8)>> {
    let mut table = value.table("`proxy_protocol`")?;
    let from = table.need("from").and_then(|v| {
        if v.list_is_empty() {
            v.error("nobody could connect: name the balancers");
        }
        v.each(network).filter(|list| !list.is_empty())
    });
    table.finish();
    from
}

/// An address, or a network whose bits behind its length are zero: else it is a slip, and one never sees of which part.
fn network(value: Value<'_>) -> Option<(IpAddr, u8)> {
    let text = value.str()?;
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let parsed = address.parse::<IpAddr>().ok().and_then(|address| {
        let bits = if address.is_ipv4() { 32_u8 } else { 128 };
        let digits = |text: &str| text.parse::<u8>().ok().filter(|n| *n <= bits && text.bytes().all(|b| b.is_ascii_digit()));
        let length = length.map_or(Some(bits), digits)?;
        let behind = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()).checked_shl(u32::from(length).saturating_add(96)),
            IpAddr::V6(v6) => v6.to_bits().checked_shl(u32::from(length)),
        };
        (behind.unwrap_or(0) == 0).then_some((address, length))
    });
    if parsed.is_none() {
        value.error_help(format!("`{text}` is no network"), "write an address or a network, such as `192.0.2.7`, `10.0.0.0/8` or `2001:db8::/32`");
    }
    parsed
}

pub(super) fn admin(value: Value<'_>, callers: &Callers<'_>) -> Option<Admin> {
    let mut table = value.table("`[admin]`")?;
    let place = table.need("address");
    let address = place.and_then(Value::address);
    if let Some(place) = place.filter(|_| address.is_some_and(|a| !a.ip().is_loopback())) {
        place.warn("the admin listener can be reached from other machines");
    }
    let certificates = server_certificates(&mut table);
    let clients = trust(&mut table, "client_ca", "client_crl");
    let roles = table.need("roles").and_then(|v| roles(v, callers));
    let break_glass_max = table.opt("break_glass_max").map_or(Some(BREAK_GLASS_DEFAULT), |v| {
        let found = v.duration()?;
        if found > BREAK_GLASS_MAX {
            v.error_help("an emergency is over within a day", "write `24h` or less");
        }
        Some(found)
    });
    table.finish();
    Some(Admin { address: address?, certificates: certificates?, clients: clients?, roles: roles?, break_glass_max: break_glass_max? })
}

fn roles(value: Value<'_>, callers: &Callers<'_>) -> Option<BTreeMap<AdminRole, Vec<RoleSource>>> {
    let table = value.table("`[admin.roles]`")?;
    let words: Vec<_> = AdminRole::ALL.iter().map(|role| (role.as_str(), *role)).collect();
    let mut found: BTreeMap<AdminRole, Vec<RoleSource>> = BTreeMap::new();
    let mut places = Vec::new();
    for (name, span, sources) in table.named() {
        let Some((_, role)) = words.iter().find(|(word, _)| *word == name) else {
            let near = crate::model::suggest(name, words.iter().map(|(word, _)| *word));
            let help = near.map_or_else(|| "the roles are fixed".to_owned(), |near| format!("did you mean `{near}`?"));
            table.cx.push(table.cx.finding(span, format!("unknown role `{name}`")).help(help));
            continue;
        };
        for source in sources.list().unwrap_or_default() {
            if let Some(read) = role_source(source, *role, callers) {
                places.push((*role, read.who.clone(), source));
                found.entry(*role).or_default().push(read);
            }
        }
    }
    for (role, who, source) in &places {
        let is_author = |(role, other, _): &&(AdminRole, RoleHolder, Value<'_>)| *role == AdminRole::PolicyAuthor && other == who;
        if *role == AdminRole::PolicyApprover && places.iter().any(|place| is_author(&place)) {
            source.error_help("this holder is `policy-author` and `policy-approver`", "nobody may be both: a change needs a second pair of eyes");
        }
    }
    Some(found)
}

fn role_source(value: Value<'_>, role: AdminRole, callers: &Callers<'_>) -> Option<RoleSource> {
    let mut table = value.table("a role")?;
    let certificate = table.opt("certificate");
    let (issuer, group) = (table.opt("issuer"), table.opt("group"));
    let who = match (certificate, issuer, group) {
        (Some(name), None, None) => name.str().map(|name| RoleHolder::Certificate(name.to_owned())),
        (None, Some(issuer), Some(group)) => {
            callers.issuer(issuer).zip(group.str()).map(|(issuer, group)| RoleHolder::Group { issuer, group: group.to_owned() })
        }
        _ => {
            value.error("a role is held by `{ certificate = … }` or by `{ issuer = …, group = … }`");
            None
        }
    };
    let app = if role == AdminRole::AppDeveloper { table.need("app").map(|v| callers.client(v)) } else { None };
    table.finish();
    let app = match app {
        Some(read) => Some(read?),
        None if role == AdminRole::AppDeveloper => return None,
        None => None,
    };
    Some(RoleSource { who: who?, app })
}

pub(super) fn health(value: Value<'_>) -> Option<Health> {
    let mut table = value.table("`[health]`")?;
    let address = table.need("address").and_then(Value::address);
    table.finish();
    Some(Health { address: address? })
}

pub(super) fn capture(value: Value<'_>) -> Option<CaptureListener> {
    let mut table = value.table("`[capture]`")?;
    let address = table.need("address").and_then(Value::address);
    let certificates = server_certificates(&mut table);
    let clients = trust(&mut table, "client_ca", "client_crl");
    table.finish();
    Some(CaptureListener { address: address?, certificates: certificates?, clients: clients? })
}

pub(super) fn public(value: Value<'_>, callers: &Callers<'_>) -> Option<PublicListener> {
    let mut table = value.table("`[public]`")?;
    let address = table.need("address").and_then(Value::address);
    let certificates = server_certificates(&mut table);
    let base_url = table.need("base_url").and_then(|v| {
        let (origin, path) = v.url()?;
        if !origin.tls {
            v.error_help("links would lead to a page without TLS", "write `https://…`: mail programs follow nothing else by themselves");
            return None;
        }
        let path = v.plain_path(&path)?;
        Some(format!("{origin}{path}"))
    });
    let contact = table.need("contact").and_then(Value::str);
    let link_days_max = table.opt("link_days_max").map_or(Some(LINK_DAYS_MAX), |v| v.count(LINK_DAYS_MAX));
    let words = table.opt("purposes").map_or_else(|| Some(BTreeMap::new()), |v| words(v, callers.vocabulary));
    table.finish();
    let page = PublicPage { base_url: base_url?, contact: contact?.to_owned(), link_days_max: link_days_max?, words: words? };
    Some(PublicListener { address: address?, certificates: certificates?, page })
}

/// `"marketing.email" = { en = "…", da = "…" }`
fn words(value: Value<'_>, vocabulary: Option<&Vocabulary>) -> Option<BTreeMap<Purpose, Words>> {
    let table = value.table("`purposes`")?;
    let vocabulary = vocabulary?;
    let mut found = BTreeMap::new();
    for (name, span, item) in table.named() {
        let purpose = vocabulary.purpose(name);
        if purpose.is_none() {
            let near = crate::model::suggest(name, vocabulary.purposes.keys().map(|p| p.as_str()));
            let help = near.map_or_else(|| "purposes are declared in the policy folder".to_owned(), |near| format!("did you mean `{near}`?"));
            table.cx.push(table.cx.finding(span, format!("unknown purpose `{name}`")).help(help));
        }
        let mut entry = item.table(format!("purpose `{name}`"))?;
        let (en, da) = (entry.need("en").and_then(Value::str), entry.need("da").and_then(Value::str));
        entry.finish();
        found.insert(purpose?, Words { en: en?.to_owned(), da: da?.to_owned() });
    }
    Some(found)
}

/// Where the policies come from, and whether their compiled form decides (`None`: a mistake). A folder is whoever's who can
/// write it, so that it must be written out that it is unsigned.
pub(super) fn policy(value: Value<'_>) -> Option<(PolicySource, Option<bool>)> {
    let mut table = value.table("`[policy]`")?;
    let (bundle, trust) = (table.opt("bundle"), table.opt("allowed_signers"));
    let departments_min = table.opt("departments_min");
    table.later(&["max_age"]);
    let compiled = table.opt("compiled").map_or(Some(true), Value::bool);
    let source = if let Some(bundle) = bundle {
        let mut is_both = false;
        for (key, value) in [("folder", table.opt("folder")), ("unsigned", table.opt("unsigned"))] {
            if let Some(value) = value {
                value.error_help(format!("`bundle` and `{key}` exclude each other"), "keep the bundle outside development");
                is_both = true;
            }
        }
        let trust = trust.or_else(|| table.need("allowed_signers"));
        let departments_min = departments_min.map_or(Some(1), |value| value.count(DEPARTMENTS_MAX));
        bundled(bundle, trust, departments_min).filter(|_| !is_both).map(PolicySource::Bundle)
    } else {
        for (key, value) in [("allowed_signers", trust), ("departments_min", departments_min)] {
            if let Some(value) = value {
                value.error_help(format!("`{key}` is for a signed bundle, and none is named"), "write `bundle`, or leave it out");
            }
        }
        unsigned(&mut table)
    };
    table.finish();
    Some((source?, compiled))
}

fn bundled(bundle: Value<'_>, trust: Option<Value<'_>>, departments_min: Option<u32>) -> Option<BundleSettings> {
    let file = |value: Value<'_>, help: &str| {
        let path = value.cx.resolve(value.str()?);
        if !path.is_file() {
            value.error_help(format!("the file `{}` does not exist", path.display()), help);
        }
        path.is_file().then_some(path)
    };
    let found = file(bundle, "put the first bundle there by hand, with its signatures beside it");
    let allowed_signers = file(trust?, "one line for each key: `name@department ssh-ed25519 AAAA…`");
    Some(BundleSettings { file: found?, allowed_signers: allowed_signers?, departments_min: departments_min? })
}

fn unsigned(table: &mut Table<'_>) -> Option<PolicySource> {
    let (folder, unsigned) = (table.need("folder"), table.need("unsigned"));
    if let Some(unsigned) = unsigned
        && unsigned.bool() == Some(false)
    {
        unsigned.error_help("a folder is never signed", "write `unsigned = true` and guard the folder, or name a `bundle` with `allowed_signers`");
    }
    let folder = folder?;
    let path = folder.cx.resolve(folder.str()?);
    if !path.is_dir() {
        folder.error(format!("the folder `{}` does not exist", path.display()));
        return None;
    }
    Some(PolicySource::Folder(path))
}

pub(super) fn consent(value: Value<'_>) -> Option<ConsentStore> {
    let mut table = value.table("`[consent]`")?;
    let store = table.need("store").and_then(|v| v.table("`store`"));
    let controller = table.opt("controller").map(controller);
    table.finish();
    let mut store = store?;
    store.later(&["postgres"]);
    let sqlite = store.need("sqlite").and_then(Value::new_path);
    store.finish();
    let controller = match controller {
        Some(read) => Some(read?),
        None => None,
    };
    Some(ConsentStore { sqlite: sqlite?, controller })
}

/// A name, or a table with more.
fn controller(value: Value<'_>) -> Option<Controller> {
    if value.as_str().is_some() {
        return value.str().map(|name| Controller { name: name.to_owned(), address: None, contact: None });
    }
    let mut table = value.table("`controller`")?;
    let name = table.need("name").and_then(Value::str);
    let text = |value: Option<Value<'_>>| value.and_then(Value::str).map(str::to_owned);
    let (address, contact) = (text(table.opt("address")), text(table.opt("contact")));
    table.finish();
    Some(Controller { name: name?.to_owned(), address, contact })
}

pub(super) fn audit(value: Value<'_>) -> Option<AuditSettings> {
    let mut table = value.table("`[audit]`")?;
    let origin = table.need("origin").and_then(|v| {
        let text = v.str()?;
        let plain = text.len() <= 255 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/'));
        if !plain {
            v.error_help("this is not a name for a log", "write a name without spaces, `#` and `+`, such as `gw-1.example.com`");
        }
        plain.then(|| text.to_owned())
    });
    let dir = table.need("dir").and_then(Value::new_path);
    let spare_dir = table.opt("spare_dir").map(Value::new_path);
    let mode = table.opt("mode").map_or(Some(AuditMode::Strict), audit_mode);
    let signing_key = table.need("signing_key").and_then(Value::ed25519_key);
    let (previous, secrets) = (table.opt("previous_key"), table.opt("secrets_key"));
    if let Some(previous) = previous
        && secrets.is_none()
    {
        let help = "add it: the file of the key before keeps pseudonyms, links and the receipts' key, that of the new one changes them";
        previous.error_help("`previous_key` needs `secrets_key`", help);
    }
    let secrets_key = secrets.map(Value::ed25519_key);
    let previous_key = previous.map(|value| {
        let found = value.ed25519_key()?;
        let is_same = signing_key.as_ref().is_some_and(|key| key.expose() == found.expose());
        if is_same {
            value.error_help("this is `signing_key` itself", "name the key that it takes the place of, or leave it out");
        }
        Some(found).filter(|_| !is_same)
    });
    let witnesses = table.opt("witnesses").map_or(Some(Vec::new()), |list| list.each(witness));
    let exports = table.opt("export").map_or(Some(Vec::new()), |list| exports::exports(list, dir.as_deref()));
    let kept = table.opt("retention").map_or(Some(Retention::default()), retention);
    table.finish();
    let spare_dir = match spare_dir {
        Some(read) => Some(read?),
        None => None,
    };
    let optional = |read: Option<Option<Secret>>| match read {
        Some(read) => read.map(Some),
        None => Some(None),
    };
    Some(AuditSettings {
        origin: origin?,
        dir: dir?,
        spare_dir,
        mode: mode?,
        signing_key: signing_key?,
        previous_key: optional(previous_key)?,
        secrets_key: optional(secrets_key)?,
        witnesses: witnesses?,
        exports: exports?,
        retention: kept?,
    })
}

fn audit_mode(value: Value<'_>) -> Option<AuditMode> {
    if !value.is_table() {
        if value.as_str() == Some("strict") {
            return Some(AuditMode::Strict);
        }
        value.error_help("unknown mode", "write `\"strict\"`, nothing, or `{ bounded = { max_ms = …, max_records = … } }`");
        return None;
    }
    let mut table = value.table("`mode`")?;
    let bounded = table.need("bounded").and_then(|bounded| {
        let mut bounds = bounded.table("`bounded`")?;
        let (max_ms, max_records) =
            (bounds.need("max_ms").and_then(|v| v.count(BOUNDED_MS_MAX)), bounds.need("max_records").and_then(|v| v.count(BOUNDED_RECORDS_MAX)));
        bounds.finish();
        Some(AuditMode::Bounded { max_ms: max_ms?, max_records: max_records? })
    });
    table.finish();
    let mode = bounded?;
    value.warn("a power cut may take the newest decisions from the log; for personal data the controller has to accept that");
    Some(mode)
}

/// By class; what is not named is kept as long as without the table.
fn retention(value: Value<'_>) -> Option<Retention> {
    let mut table = value.table("`retention`")?;
    let defaults = Retention::default();
    let mut of = |class, default| table.opt(class).map_or(Some(default), Value::period);
    let (permit, deny) = (of("permit", defaults.permit), of("deny", defaults.deny));
    let (admin, break_glass) = (of("admin", defaults.admin), of("break-glass", defaults.break_glass));
    table.finish();
    Some(Retention { permit: permit?, deny: deny?, admin: admin?, break_glass: break_glass? })
}

fn witness(value: Value<'_>) -> Option<WitnessSettings> {
    let mut table = value.table("a witness")?;
    let url = table.need("url").and_then(|place| {
        let (origin, path) = place.url()?;
        // What a witness answers is signed, but not that it knows more of the log than there is.
        let is_loopback = || origin.host == "localhost" || origin.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if !origin.tls && !is_loopback() {
            place.error_help("a witness is asked in the clear", "write `https://`, or ask one on a loopback address");
            return None;
        }
        Some(format!("{origin}{}", path.trim_end_matches('/')))
    });
    let key = table.need("key").and_then(|place| Some(String::from_utf8_lossy(&place.contents()?).trim().to_owned()));
    let tls = table.opt("tls").map_or(Some(UpstreamTls { roots: Roots::System, client: None }), upstreams::tls);
    table.finish();
    Some(WitnessSettings { url: url?, key: key?, tls: tls? })
}
