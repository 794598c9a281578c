//! `[telemetry]`: where traces go.

use super::read::Value;
use super::settings::{Roots, TelemetrySettings, UpstreamTls};
use super::{exports, upstreams};

/// Where a caller says nothing of it.
const ONE_IN_DEFAULT: u32 = 100;
/// Of the signal, behind the address of a receiver without a path.
const TRACES: &str = "/v1/traces";

pub(super) fn telemetry(value: Value<'_>) -> Option<TelemetrySettings> {
    let mut table = value.table("`[telemetry]`")?;
    let otlp = table.need("otlp").and_then(otlp);
    table.finish();
    otlp
}

fn otlp(value: Value<'_>) -> Option<TelemetrySettings> {
    let mut table = value.table("`otlp`")?;
    let url = table.need("url").and_then(|place| exports::secure_url(place, "spans"));
    let one_in = table.opt("one_in").map_or(Some(ONE_IN_DEFAULT), |v| v.count(1_000_000));
    let token = table.opt("token").map(exports::bearer);
    let tls_place = table.opt("tls");
    let tls = tls_place.map_or(Some(UpstreamTls { roots: Roots::System, client: None }), upstreams::tls);
    table.finish();
    let (origin, path) = url?;
    if let Some(place) = tls_place.filter(|_| !origin.tls) {
        place.error_help("`tls` stands beside an `http://` address", "write `https://`, or remove `tls`");
        return None;
    }
    let token = match token {
        Some(read) => Some(read?),
        None => None,
    };
    let path = if path == "/" { TRACES } else { &path };
    Some(TelemetrySettings { url: format!("{origin}{path}"), one_in: one_in?, token, tls: tls? })
}
