//! Records with a string of the Global Privacy Platform (`gpp`): each opt-out in it is a stop. A record is taken whole or not at all,
//! so a string of which something is not read is reported, and so is one that opts out of nothing.

use super::events::{Raw, RawEvidence};
use crate::consent::event::StopKind;
use crate::consent::gpp::GppOptOuts;

/// The stops of a record with a string; every other record as it is.
pub(super) fn each(mut raw: Raw<'_>) -> Result<Vec<Raw<'_>>, String> {
    let Some(text) = raw.gpp.take() else { return Ok(vec![raw]) };
    if raw.state.is_some() || raw.kind.is_some() {
        return Err("`gpp` says itself what it is: leave out state and stop".to_owned());
    }
    let found = GppOptOuts::read(&text)?;
    if let Some(part) = found.unread.first() {
        return Err(format!("`gpp` is not read whole; {}: {}", part.part, part.why));
    }
    if found.stops.is_empty() {
        return Err("`gpp` opts out of nothing; that is no consent, and nothing is recorded".to_owned());
    }
    let proof = RawEvidence { kind: "gpp".into(), reference: GppOptOuts::proof(&text).into() };
    let stop = |(kind, grounds): (&StopKind, &Vec<String>)| {
        let mut stop = Raw { kind: Some(kind.as_str().into()), ..raw.clone() };
        stop.evidence.get_or_insert_default().push(proof.clone());
        stop.reason.get_or_insert_with(|| grounds.join(" ").into());
        if *kind == StopKind::OptOutSensitive {
            stop.purposes = None;
        } else {
            stop.categories = None;
        }
        stop
    };
    Ok(found.stops.iter().map(stop).collect())
}
