//! Salesforce's `ContactPointTypeConsent` as its data export writes it: one row says whether an individual may be reached by a
//! kind of contact point for a data use purpose. What an export names by its own ids is mapped by the importer's options;
//! what is not mapped is reported, never guessed. An opt-out is taken as widely as the row can be read, an opt-in as narrowly.

use std::borrow::Cow;

use jiff::Timestamp;

use super::csv;
use super::events::{Raw, moment};
use super::options::ImportOptions;

pub(super) const COLUMNS: &[&str] = &[
    "PartyId",
    "PrivacyConsentStatus",
    "ContactPointType",
    "EngagementChannelTypeId",
    "DataUsePurposeId",
    "DataUsePurpose.Name",
    "BusinessBrandId",
    "CaptureDate",
    "CaptureContactPointType",
    "CaptureSource",
    "EffectiveFrom",
    "EffectiveTo",
    "IsDeleted",
    // What Salesforce lacks may be added to its export in our own columns.
    "evidence",
    "notice",
    "author",
    "categories",
    "recipients",
    // About the row, not about what was said.
    "Id",
    "Name",
    "OwnerId",
    "PartyRoleId",
    "DoubleConsentCaptureDate",
    "CreatedDate",
    "CreatedById",
    "LastModifiedDate",
    "LastModifiedById",
    "LastViewedDate",
    "LastReferencedDate",
    "SystemModstamp",
];
/// The column by which the format is recognised.
pub(super) const MARK: &str = "PrivacyConsentStatus";

struct Row<'r, 'a> {
    columns: &'r [&'static str],
    cells: &'r [Cow<'a, str>],
}

impl<'a> Row<'_, 'a> {
    fn get(&self, column: &str) -> Option<Cow<'a, str>> {
        let at = self.columns.iter().position(|known| *known == column)?;
        self.cells.get(at).filter(|cell| !cell.is_empty()).cloned()
    }

    fn wanted(&self, column: &str) -> Result<Cow<'a, str>, String> {
        self.get(column).ok_or_else(|| format!("`{column}` is empty"))
    }
}

/// One row; `columns` and `cells` are of one length.
pub(super) fn raw<'a>(columns: &[&'static str], cells: &[Cow<'a, str>], options: &'a ImportOptions, now: Timestamp) -> Result<Raw<'a>, String> {
    let row = Row { columns, cells };
    if row.get("IsDeleted").is_some_and(|deleted| deleted.eq_ignore_ascii_case("true") || deleted == "1") {
        return Err("the row is deleted in Salesforce; it is not taken".to_owned());
    }
    let state = match &*row.wanted(MARK)? {
        "OptIn" => "given",
        "OptOut" => "withdrawn",
        // Asked, and not answered.
        "Seen" => "requested",
        "NotSeen" => "unknown",
        _ => return Err(format!("`{MARK}` is OptIn, OptOut, Seen or NotSeen")),
    };
    let is_grant = state == "given";
    let space = options.space.as_deref().ok_or("name the id space of `PartyId` with `--space`")?;
    let mut raw = Raw {
        party: Some(format!("{space}:{}", row.wanted("PartyId")?).into()),
        state: Some(state.into()),
        purposes: purposes(&row, options)?.map(|purpose| vec![purpose]),
        event_time: row.get("CaptureDate").or_else(|| row.get("EffectiveFrom")),
        channel: row.get("CaptureContactPointType").map(|kind| captured_by(&kind)).transpose()?.map(Cow::Borrowed),
        channels: channels(&row, options, is_grant)?,
        source_system: Some(space.into()),
        ..Raw::default()
    };
    if is_grant {
        let starts = row.get("EffectiveFrom").map(|text| moment("EffectiveFrom", &text, options.time_zone.as_ref())).transpose()?;
        if starts.is_some_and(|starts| starts > now) {
            return Err("`EffectiveFrom` lies in the future; import the row once it takes effect".to_owned());
        }
        raw.expires = row.get("EffectiveTo");
    }
    for column in ["evidence", "notice", "author", "categories", "recipients"] {
        if let Some(cell) = row.get(column) {
            csv::put(&mut raw, column, cell)?;
        }
    }
    match row.get("BusinessBrandId") {
        Some(brand) if is_grant => {
            raw.recipients = Some(vec![options.mapped("recipient", &brand).ok_or_else(|| unmapped("BusinessBrandId", "recipient"))?])
        }
        Some(_) | None => {}
    }
    Ok(raw)
}

fn purposes<'a>(row: &Row<'_, 'a>, options: &'a ImportOptions) -> Result<Option<Cow<'a, str>>, String> {
    let found = ["DataUsePurpose.Name", "DataUsePurposeId"].map(|column| row.get(column).map(|value| options.mapped("purpose", &value)));
    match found {
        [Some(Some(name)), Some(Some(id))] if name != id => Err("name and id of the data use purpose are mapped to different purposes".to_owned()),
        [Some(Some(purpose)), _] | [_, Some(Some(purpose))] => Ok(Some(purpose)),
        // An opt-out without a purpose covers every purpose; an opt-in without one is refused with the other checks.
        [None, None] => Ok(None),
        [_, _] => Err(unmapped("DataUsePurpose", "purpose")),
    }
}

/// By what the person may be reached.
fn channels<'a>(row: &Row<'_, 'a>, options: &'a ImportOptions, is_grant: bool) -> Result<Option<Vec<Cow<'a, str>>>, String> {
    if let Some(engagement) = row.get("EngagementChannelTypeId") {
        match options.mapped("channel", &engagement) {
            Some(channel) => return Ok(Some(vec![channel])),
            None if is_grant => return Err(unmapped("EngagementChannelTypeId", "channel")),
            // Wider than what was said, since it closes.
            None => {}
        }
    }
    let kind = row.wanted("ContactPointType")?;
    if let Some(channel) = options.mapped("channel", &kind) {
        return Ok(Some(vec![channel]));
    }
    let channels: &[&'static str] = match (&*kind, is_grant) {
        ("Email", _) => &["email"],
        ("MailingAddress", _) => &["post"],
        ("Phone", true) => &["phone"],
        ("Phone", false) => &["phone", "sms"],
        _ => return Err(unmapped("ContactPointType", "channel")),
    };
    Ok(Some(channels.iter().copied().map(Cow::Borrowed).collect()))
}

/// Through what it was said.
fn captured_by(kind: &str) -> Result<&'static str, String> {
    match kind {
        "Email" => Ok("email"),
        "MailingAddress" => Ok("post"),
        "Phone" => Ok("phone"),
        "Web" | "Social" => Ok("system"),
        _ => Err("`CaptureContactPointType` is Email, MailingAddress, Phone, Social or Web".to_owned()),
    }
}

fn unmapped(column: &str, field: &str) -> String {
    format!("`{column}` is not mapped; add `--map {field}:<value>=<name in the catalogue>`")
}
