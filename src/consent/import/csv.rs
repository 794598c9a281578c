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
    "gpp",
];

/// One row; `columns` and `cells` are of one length.
pub(super) fn raw<'a>(columns: &[&'static str], cells: &[Cow<'a, str>]) -> Result<Raw<'a>, String> {
    let mut raw = Raw::default();
    for (column, cell) in columns.iter().zip(cells) {
        put(&mut raw, column, cell.clone())?;
    }
    Ok(raw)
}

/// Puts what a cell holds; an empty one says nothing.
pub(super) fn put<'a>(raw: &mut Raw<'a>, column: &str, cell: Cow<'a, str>) -> Result<(), String> {
    if cell.is_empty() {
        return Ok(());
    }
    match column {
        "id" => raw.party = Some(cell),
        "state" => raw.state = Some(cell),
        "stop" => raw.kind = Some(cell),
        "purposes" => raw.purposes = Some(listed(&cell)),
        "event_time" => raw.event_time = Some(cell),
        "channel" => raw.channel = Some(cell),
        "method" => raw.method = Some(cell),
        "author" => raw.author = Some(cell),
        "notice" => raw.notice = Some(notice(&cell)?),
        "evidence" => raw.evidence = Some(evidence(&cell)?),
        "expires" => raw.expires = Some(cell),
        "lasts" => raw.lasts = Some(cell),
        "until" => raw.until = Some(cell),
        "uses" => raw.uses = Some(cell.parse().map_err(|_not_a_number| "`uses` is not a whole number".to_owned())?),
        "categories" => raw.categories = Some(listed(&cell)),
        "recipients" => raw.recipients = Some(listed(&cell)),
        "channels" => raw.channels = Some(listed(&cell)),
        "source_system" => raw.source_system = Some(cell),
        "reason" => raw.reason = Some(cell),
        "activity" => raw.activity = Some(cell),
        "gpp" => raw.gpp = Some(cell),
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
