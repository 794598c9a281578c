//! Where requests go, and whom webhooks may tell.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderValue;

use super::read::{Table, Value};
use super::settings::{Credentials, Ejection, HealthCheck, Origin, Roots, Timeouts, Upstream, UpstreamTls, Webhooks};
use crate::model::UpstreamName;

const IN_FLIGHT_DEFAULT: usize = 200;
/// A request is tried at each of them at most once.
const TARGETS_MAX: usize = 16;
/// Health checks: more often they would be load, and longer nobody waits for one.
const HEALTH_EVERY_MIN: Duration = Duration::from_millis(100);
const HEALTH_TIMEOUT_MAX: Duration = Duration::from_secs(60);
const IN_A_ROW_MAX: u32 = 1_000;
const EJECTED_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Lists of like rows pack some thirty times; a thousand times is a bomb.
const DECODE_RATIO_DEFAULT: u32 = 100;
/// Bytes of a list that is cut while it comes; memory holds a few parts of it.
const LIST_BYTES_DEFAULT: usize = 16 << 30;

/// All upstreams that could be read. The names of all that are declared are the table's keys.
pub(super) fn upstreams(table: &Table<'_>) -> BTreeMap<UpstreamName, Upstream> {
    let read = |(name, _, value): (&str, _, Value<'_>)| upstream(name, value).map(|upstream| (upstream.name, upstream));
    table.named().into_iter().filter_map(read).collect()
}

fn upstream(name: &str, value: Value<'_>) -> Option<Upstream> {
    let mut table = value.table(format!("`[upstream.{name}]`"))?;
    let targets = table.need("targets").and_then(targets);
    let base_path = table.opt("base_path").map_or_else(|| Some(String::new()), |v| v.plain_path(v.str()?));
    let secure = targets.as_ref().is_none_or(|targets| targets.iter().all(|t| t.tls));
    let tls = match table.opt("tls") {
        Some(written) if !secure => {
            written.error_help("`tls` stands beside an `http://` target", "write `https://`, or remove `tls`");
            None
        }
        Some(written) => tls(written).map(Some),
        None => Some(secure.then_some(UpstreamTls { roots: Roots::System, client: None })),
    };
    let credentials = table.opt("credentials").map_or(Some(Credentials::None), credentials);
    let timeouts = table.opt("timeouts").map_or(Some(Timeouts::default()), timeouts);
    let in_flight_max = table.opt("in_flight_max").map_or(Some(IN_FLIGHT_DEFAULT), |v| v.count(100_000).and_then(|n| usize::try_from(n).ok()));
    let accept_encoding = table.opt("accept_encoding");
    let accept_gzip = accept_encoding.map_or(Some(false), |v| v.word("coding", &[("identity", false), ("gzip", true)]));
    let decode_ratio_max = table.opt("decode_ratio_max").map_or(Some(DECODE_RATIO_DEFAULT), |v| v.count(10_000));
    let list_bytes_max = table.opt("list_max").map_or(Some(LIST_BYTES_DEFAULT), Value::bytes);
    let ejection = table.opt("ejection").map_or(Some(Ejection::default()), ejection);
    let health = table.opt("health").map_or(Some(None), |v| health(v).map(Some));
    table.later(&["via", "protocol"]);
    table.finish();
    Some(Upstream {
        name: UpstreamName::intern(name),
        targets: targets?,
        ejection: ejection?,
        health: health?,
        base_path: base_path?,
        tls: tls?,
        credentials: credentials?,
        timeouts: timeouts?,
        in_flight_max: in_flight_max?,
        accept_gzip: accept_gzip?,
        decode_ratio_max: decode_ratio_max?,
        list_bytes_max: list_bytes_max?,
    })
}

fn targets(value: Value<'_>) -> Option<Vec<Origin>> {
    let items = value.list()?;
    if items.is_empty() {
        value.error("one target is needed");
        return None;
    }
    if items.len() > TARGETS_MAX {
        value.error(format!("an upstream has {TARGETS_MAX} targets at most"));
        return None;
    }
    let targets = value.each(Value::origin)?;
    for (at, (item, target)) in items.into_iter().zip(&targets).enumerate() {
        if targets.iter().take(at).any(|other| other == target) {
            item.error("this target stands there twice");
            return None;
        }
        if targets.first().is_some_and(|first| first.tls != target.tls) {
            item.error_help(
                "`http://` and `https://` stand beside each other",
                "whoever may read one may read all: write one of them for all targets",
            );
            return None;
        }
    }
    Some(targets)
}

/// When a target is left out by itself.
fn ejection(value: Value<'_>) -> Option<Ejection> {
    let mut table = value.table("`ejection`")?;
    let defaults = Ejection::default();
    let failures = table.opt("failures").map_or(Some(defaults.failures), |v| v.count(IN_A_ROW_MAX));
    let first = table.opt("first").map_or(Some(defaults.first), |v| at_most(v, EJECTED_MAX));
    let longest_place = table.opt("longest");
    let longest = longest_place.map_or(Some(defaults.longest), |v| at_most(v, EJECTED_MAX));
    table.finish();
    let (failures, first, longest) = (failures?, first?, longest?);
    if first > longest {
        value.error("`first` is longer than `longest`");
        return None;
    }
    Some(Ejection { failures, first, longest })
}

/// `health = { path = "/healthz" }`
fn health(value: Value<'_>) -> Option<HealthCheck> {
    let mut table = value.table("`health`")?;
    let path = table.need("path").and_then(|v| {
        let path = v.plain_path(v.str()?)?;
        Some(if path.is_empty() { "/".to_owned() } else { path })
    });
    let every = table.opt("every").map_or(Some(Duration::from_secs(5)), |v| {
        let every = at_most(v, EJECTED_MAX)?;
        if every < HEALTH_EVERY_MIN {
            v.error("targets are checked every 100ms at most");
            return None;
        }
        Some(every)
    });
    let timeout = table.opt("timeout").map_or(Some(Duration::from_secs(1)), |v| at_most(v, HEALTH_TIMEOUT_MAX));
    let failures = table.opt("failures").map_or(Some(3), |v| v.count(IN_A_ROW_MAX));
    let successes = table.opt("successes").map_or(Some(2), |v| v.count(IN_A_ROW_MAX));
    table.finish();
    Some(HealthCheck { path: path?, every: every?, timeout: timeout?, failures: failures?, successes: successes? })
}

fn at_most(value: Value<'_>, most: Duration) -> Option<Duration> {
    let duration = value.duration()?;
    if duration > most {
        value.error(format!("expected at most {} s", most.as_secs()));
        return None;
    }
    Some(duration)
}

pub(super) fn webhooks(value: Value<'_>) -> Option<Webhooks> {
    let mut table = value.table("`[webhooks]`")?;
    let place = table.need("hosts");
    if let Some(place) = place.filter(|place| place.list_is_empty()) {
        place.error_help("no host stands there", "name the hosts that may be told of changes, or remove `[webhooks]`");
    }
    let hosts = place.and_then(|place| place.each(Value::host_and_port));
    let tls = table.opt("tls").map_or(Some(UpstreamTls { roots: Roots::System, client: None }), tls);
    table.finish();
    Some(Webhooks { hosts: hosts?, tls: tls? })
}

pub(super) fn tls(value: Value<'_>) -> Option<UpstreamTls> {
    let mut table = value.table("`tls`")?;
    let system = table.opt("roots").map(|v| v.word("roots", &[("system", ())]));
    let ca = table.opt("ca");
    let client = table.opt("client").map(Value::certified);
    table.finish();
    let roots = match (system, ca) {
        (Some(_), Some(ca)) => {
            ca.error_help("`ca` and `roots` stand beside each other", "keep the one that is to be trusted");
            None
        }
        (None, Some(ca)) => ca.certificates().map(Roots::Ca),
        (Some(read), None) => read.map(|()| Roots::System),
        (None, None) => Some(Roots::System),
    };
    let client = match client {
        Some(read) => Some(read?),
        None => None,
    };
    Some(UpstreamTls { roots: roots?, client })
}

fn credentials(value: Value<'_>) -> Option<Credentials> {
    match value.as_str() {
        Some("none") => return Some(Credentials::None),
        Some("forward") => return Some(Credentials::Forward),
        // Whatever else stands there may be a token.
        Some(text) => {
            value.secret_in_file(text);
            return None;
        }
        None => {}
    }
    let mut table = value.table("`credentials`")?;
    table.later(&["oauth2"]);
    let header = table.opt("header");
    let empty = header.is_none() && table.named().is_empty();
    table.finish();
    if empty {
        value.error_help("no credential stands there", "write `\"none\"`, `\"forward\"` or `{ header = { name = …, value = { file = … } } }`");
    }
    let mut header = header?.table("`header`")?;
    let name = header.need("name").and_then(Value::header_name);
    let secret_place = header.need("value");
    let secret = secret_place.and_then(Value::secret);
    header.finish();
    let Ok(mut header_value) = HeaderValue::from_bytes(secret?.expose()) else {
        secret_place?.error("the secret holds bytes that cannot stand in a header");
        return None;
    };
    header_value.set_sensitive(true);
    Some(Credentials::Header { name: name?, value: header_value })
}

fn timeouts(value: Value<'_>) -> Option<Timeouts> {
    let mut table = value.table("`timeouts`")?;
    let defaults = Timeouts::default();
    let connect = table.opt("connect").map_or(Some(defaults.connect), Value::duration);
    let first_byte = table.opt("first_byte").map_or(Some(defaults.first_byte), Value::duration);
    let total = table.opt("total").map_or(Some(defaults.total), Value::duration);
    table.finish();
    Some(Timeouts { connect: connect?, first_byte: first_byte?, total: total? })
}
