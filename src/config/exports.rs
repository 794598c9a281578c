//! `[audit] export`: where events of the decision log go.

use std::net::IpAddr;
use std::path::Path;

use http::HeaderValue;

use super::read::Value;
use super::settings::{ExportSettings, ExportTo, Origin, Roots, UpstreamTls};
use super::{upstreams, values};
use crate::model::{EventFormat, ExportFormat};

/// RFC 5425.
const SYSLOG_PORT: u16 = 6514;
/// It is part of a file's name and of a metric.
const NAME_BYTES_MAX: usize = 64;

/// All of them; `dir` is the log's folder.
pub(super) fn exports(value: Value<'_>, dir: Option<&Path>) -> Option<Vec<ExportSettings>> {
    let mut names: Vec<&str> = Vec::new();
    for item in value.list()? {
        let table = if item.is_table() { item.table("an export") } else { None };
        let Some(place) = table.and_then(|mut table| table.opt("name")) else { continue };
        let Some(name) = place.as_str() else { continue };
        if names.contains(&name) {
            place.error_help(format!("two exports have the name `{name}`"), "the name tells how far each of them has got");
        }
        names.push(name);
    }
    value.each(|item| export(item, dir))
}

fn export(value: Value<'_>, dir: Option<&Path>) -> Option<ExportSettings> {
    let mut table = value.table("an export")?;
    let name = table.need("name").and_then(name);
    let format_place = table.need("format");
    let format = format_place.and_then(format);
    let to = table.need("to").and_then(|place| destination(place, dir));
    let (token_place, tls_place) = (table.opt("token"), table.opt("tls"));
    let token = token_place.map(bearer);
    let tls = tls_place.map_or(Some(UpstreamTls { roots: Roots::System, client: None }), upstreams::tls);
    table.finish();
    let mut fits = true;
    let mut refuse = |place: Option<Value<'_>>, message: &str, help: &str| {
        if let Some(place) = place {
            place.error_help(message, help);
            fits = false;
        }
    };
    match &to {
        Some(ExportTo::File(_)) => {
            refuse(token_place, "a file takes no `token`", "remove it");
            refuse(tls_place, "a file takes no `tls`", "remove it");
        }
        Some(ExportTo::Syslog { .. }) => {
            refuse(token_place, "syslog takes no `token`", "the receiver knows the gateway by `tls = { client = … }`");
            let otlp = format_place.filter(|_| format == Some(EventFormat::Otlp));
            refuse(otlp, "OTLP is not for syslog", "write `https://…/v1/logs`, or choose `ocsf`, `cef`, `leef` or `ndjson`");
        }
        Some(ExportTo::Https { is_tls: false, .. }) => {
            refuse(tls_place, "`tls` stands beside an `http://` address", "write `https://`, or remove `tls`")
        }
        Some(ExportTo::Https { is_tls: true, .. }) | None => {}
    }
    let token = match token {
        Some(read) => Some(read?),
        None => None,
    };
    Some(ExportSettings { name: name?, format: format?, to: to?, token, tls: tls? }).filter(|_| fits)
}

/// What can be sent event by event.
fn format(place: Value<'_>) -> Option<EventFormat> {
    if place.as_str() == Some(ExportFormat::Parquet.as_str()) {
        place.error_help(
            "a Parquet file is only good as a whole, and this export never ends",
            "write `ndjson` here, and make Parquet files with `consentry audit export --format parquet`",
        );
        return None;
    }
    let words: Vec<_> = EventFormat::ALL.iter().map(|format| (format.as_str(), *format)).collect();
    place.word("format", &words)
}

fn name(place: Value<'_>) -> Option<String> {
    let text = place.str()?;
    let plain = text.len() <= NAME_BYTES_MAX && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !plain {
        place.error_help("this is not a name for an export", "write lower-case letters, digits and `-`, at most 64");
    }
    plain.then(|| text.to_owned())
}

/// `https://…`, `http://` to a loopback address, `syslog+tls://host[:port]`, `file:///…`.
fn destination(place: Value<'_>, dir: Option<&Path>) -> Option<ExportTo> {
    let text = place.str()?;
    if let Some(path) = text.strip_prefix("file://") {
        return file(place, Path::new(path), dir).then(|| ExportTo::File(path.into()));
    }
    if let Some(authority) = text.strip_prefix("syslog+tls://") {
        let Some((host, port)) = values::host_and_port(authority, SYSLOG_PORT) else {
            place.error_help("this is not a syslog receiver", "write `syslog+tls://host` or `syslog+tls://host:6514`");
            return None;
        };
        return Some(ExportTo::Syslog { host, port });
    }
    if !text.starts_with("https://") && !text.starts_with("http://") {
        place.error_help("an export goes nowhere like that", "write `https://…`, `syslog+tls://host:6514` or `file:///…`");
        return None;
    }
    let (origin, path) = secure_url(place, "the log")?;
    Some(ExportTo::Https { url: format!("{origin}{path}"), is_tls: origin.tls })
}

/// `https://…`, or `http://` to a loopback address.
pub(super) fn secure_url(place: Value<'_>, what: &str) -> Option<(Origin, String)> {
    let (origin, path) = place.url()?;
    let is_loopback = || origin.host == "localhost" || origin.host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if !origin.tls && !is_loopback() {
        place.error_help(format!("{what} would be sent in the clear"), "write `https://`, or send to a loopback address");
        return None;
    }
    Some((origin, path))
}

/// Whether events can be appended there.
fn file(place: Value<'_>, path: &Path, dir: Option<&Path>) -> bool {
    let help = "write `file:///var/log/consentry/decisions.jsonl`";
    if !path.is_absolute() || path.file_name().is_none() || path.is_dir() {
        place.error_help("this is not a file", help);
        return false;
    }
    let Some(parent) = path.parent().and_then(|parent| parent.canonicalize().ok()) else {
        place.error(format!("the folder of `{}` does not exist", path.display()));
        return false;
    };
    if dir.and_then(|dir| dir.canonicalize().ok()).is_some_and(|dir| parent.starts_with(dir)) {
        place.error_help("the log's folder is the log's alone", help);
        return false;
    }
    true
}

/// What goes into `Authorization`, marked sensitive.
pub(super) fn bearer(place: Value<'_>) -> Option<HeaderValue> {
    let secret = place.secret()?;
    let Ok(mut value) = HeaderValue::from_bytes(&[b"Bearer ", secret.expose()].concat()) else {
        place.error("the secret holds bytes that cannot stand in a header");
        return None;
    };
    value.set_sensitive(true);
    Some(value)
}
