//! Rows in the columns of this gateway.

use std::borrow::Cow;

use super::events::{Raw, RawEvidence, RawNotice};

pub(super) const COLUMNS: &[&str] = &[
    "id",
    "state",
    "stop",
    "purposes",
    "event_time",
    "channel",
    "method",
    "author",
    "notice",
    "evidence",
    "expires",
    "lasts",
    "until",
    "uses",
    "categories",
    "recipients",
    "channels",
    "source_system",
    "reason",
    "activity",
];

/// One row; `columns` and `cells` are of one length.
pub(super) fn raw<'a>(columns: &[&'static str], cells: &[Cow<'a, str>]) -> Result<Raw<'a>, String> {
    let mut raw = Raw::default();
    for (column, cell) in columns.iter().zip(cells) {
        put(&mut raw, column, cell)?;
    }
    Ok(raw)
}

/// Puts what a cell holds; an empty one says nothing.
pub(super) fn put<'a>(raw: &mut Raw<'a>, column: &str, cell: &Cow<'a, str>) -> Result<(), String> {
    if cell.is_empty() {
        return Ok(());
    }
    let text = Some(cell.clone());
    match column {
        "id" => raw.party = text,
        "state" => raw.state = text,
        "stop" => raw.kind = text,
        "purposes" => raw.purposes = Some(listed(cell)),
        "event_time" => raw.event_time = text,
        "channel" => raw.channel = text,
        "method" => raw.method = text,
        "author" => raw.author = text,
        "notice" => raw.notice = Some(notice(cell)?),
        "evidence" => raw.evidence = Some(evidence(cell)?),
        "expires" => raw.expires = text,
        "lasts" => raw.lasts = text,
        "until" => raw.until = text,
        "uses" => raw.uses = Some(cell.parse().map_err(|_not_a_number| "`uses` is not a whole number".to_owned())?),
        "categories" => raw.categories = Some(listed(cell)),
        "recipients" => raw.recipients = Some(listed(cell)),
        "channels" => raw.channels = Some(listed(cell)),
        "source_system" => raw.source_system = text,
        "reason" => raw.reason = text,
        "activity" => raw.activity = text,
        _ => return Err(format!("`{column}` is no column")),
    }
    Ok(())
}

/// Several values of one cell, separated by white space.
fn listed<'a>(cell: &Cow<'a, str>) -> Vec<Cow<'a, str>> {
    match cell {
        Cow::Borrowed(text) => text.split_whitespace().map(Cow::Borrowed).collect(),
        Cow::Owned(text) => text.split_whitespace().map(|word| Cow::Owned(word.to_owned())).collect(),
    }
}

pub(super) fn notice<'a>(cell: &str) -> Result<RawNotice<'a>, String> {
    let (id, version) = cell.rsplit_once('@').filter(|(id, version)| !id.is_empty() && !version.is_empty()).ok_or("`notice` is `<id>@<version>`")?;
    Ok(RawNotice { id: id.to_owned().into(), version: version.to_owned().into(), ..RawNotice::default() })
}

fn evidence<'a>(cell: &Cow<'a, str>) -> Result<Vec<RawEvidence<'a>>, String> {
    let piece = |text: Cow<'a, str>| {
        let (kind, reference) = text.split_once('=').ok_or("`evidence` is `<kind>=<reference>`, several separated by spaces")?;
        Ok(RawEvidence { kind: kind.to_owned().into(), reference: reference.to_owned().into() })
    };
    listed(cell).into_iter().map(piece).collect()
}
