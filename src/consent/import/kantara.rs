//! Consent receipts of the Kantara Initiative, version 1.1
//! (<https://kantarainitiative.org/download/consent-receipt-specification-v1-1-0/>): a receipt says what a person agreed to, service by
//! service and purpose by purpose. Each purpose is a grant of its own; a receipt is taken whole or not at all. What it calls by its own
//! words is mapped by the importer's options. Whoever gave the consent is not said by a receipt but by who imports it, and a grant
//! opens only then; its evidence is the receipt's id with the hash of the record.
//!
//! ```text
//! receipt    version, jurisdiction, consentTimestamp (seconds), collectionMethod, consentReceiptID, publicKey, language,
//!            piiPrincipalId, piiControllers[], policyUrl, services[], sensitive, spiCat[]
//! service    service, purposes[]
//! purpose    purpose, purposeCategory[], consentType, piiCategory[], primaryPurpose, termination, thirdPartyDisclosure, thirdPartyName
//! ```

use std::borrow::Cow;

use aws_lc_rs::digest;
use jiff::civil::Date;
use jiff::{Span, Timestamp};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::csv;
use super::events::{Raw, RawEvidence};
use super::options::ImportOptions;

/// By what a receipt is recognised.
pub(super) const MARK: &str = "\"consentReceiptID\"";
const VERSION: &str = "KI-CR-v1.1.0";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "members that say nothing of the consent itself are only checked")]
struct Receipt {
    version: String,
    jurisdiction: String,
    consent_timestamp: i64,
    collection_method: String,
    #[serde(rename = "consentReceiptID")]
    consent_receipt_id: String,
    public_key: Option<String>,
    language: Option<String>,
    pii_principal_id: String,
    pii_controllers: Vec<Controller>,
    policy_url: String,
    services: Vec<Service>,
    sensitive: bool,
    #[serde(default)]
    spi_cat: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "who answers for it is only checked")]
struct Controller {
    pii_controller: String,
    on_behalf: Option<bool>,
    contact: String,
    /// A postal address of schema.org, in whatever form.
    address: IgnoredAny,
    email: String,
    phone: String,
    pii_controller_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    service: String,
    purposes: Vec<Purpose>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "which purpose is the primary one changes nothing of a grant")]
struct Purpose {
    purpose: Option<String>,
    purpose_category: Vec<String>,
    consent_type: String,
    pii_category: Vec<String>,
    primary_purpose: Option<bool>,
    termination: String,
    third_party_disclosure: bool,
    third_party_name: Option<String>,
}

/// The grants of one receipt.
pub(super) fn raws<'a>(text: &str, options: &'a ImportOptions) -> Result<Vec<Raw<'a>>, String> {
    let receipt: Receipt = serde_json::from_str(text).map_err(|error| super::reader::json_error(&error))?;
    check(&receipt)?;
    let evidence = evidence(&receipt, text);
    let mut found = Vec::new();
    for service in &receipt.services {
        let mut named: Vec<Vec<Cow<'a, str>>> = Vec::new();
        for purpose in &service.purposes {
            let raw = grant(&receipt, purpose, &evidence, options)?;
            let purposes = raw.purposes.clone().unwrap_or_default();
            if named.contains(&purposes) {
                return Err("a service names the same purpose twice; each is one grant".to_owned());
            }
            named.push(purposes);
            found.push(raw);
        }
    }
    Ok(found)
}

fn check(receipt: &Receipt) -> Result<(), String> {
    let Receipt { version, consent_receipt_id, pii_principal_id, pii_controllers, services, sensitive, spi_cat, .. } = receipt;
    if version != VERSION {
        return Err(format!("`version` is another one than `{VERSION}`"));
    }
    let texts = [("consentReceiptID", consent_receipt_id), ("piiPrincipalId", pii_principal_id), ("jurisdiction", &receipt.jurisdiction)];
    for (member, text) in texts.into_iter().chain([("collectionMethod", &receipt.collection_method), ("policyUrl", &receipt.policy_url)]) {
        if text.trim().is_empty() {
            return Err(format!("`{member}` is empty"));
        }
    }
    let purposes = services.iter().flat_map(|service| &service.purposes);
    for (member, is_empty) in [
        ("piiControllers", pii_controllers.is_empty()),
        ("services", services.is_empty()),
        ("service", services.iter().any(|service| service.service.trim().is_empty())),
        ("purposes", services.iter().any(|service| service.purposes.is_empty())),
        ("purposeCategory", purposes.clone().any(|purpose| purpose.purpose_category.is_empty())),
        ("piiCategory", purposes.clone().any(|purpose| purpose.pii_category.is_empty())),
    ] {
        if is_empty {
            return Err(format!("`{member}` is empty"));
        }
    }
    match (sensitive, spi_cat.is_empty()) {
        (true, true) => return Err("`sensitive` is true, but `spiCat` names no category".to_owned()),
        (false, false) => return Err("`sensitive` is false, but `spiCat` names a category".to_owned()),
        (true, false) | (false, true) => {}
    }
    // A sensitive category that no purpose collects would be consent to nothing in particular.
    if !spi_cat.iter().all(|sensitive| purposes.clone().any(|purpose| purpose.pii_category.contains(sensitive))) {
        return Err("`spiCat` names a category that no purpose has in its `piiCategory`".to_owned());
    }
    Ok(())
}

fn evidence(receipt: &Receipt, text: &str) -> Vec<(&'static str, String)> {
    let hash = digest::digest(&digest::SHA256, text.trim().as_bytes());
    let hash = hash.as_ref().iter().fold("sha256:".to_owned(), |hex, byte| format!("{hex}{byte:02x}"));
    vec![
        ("receipt", receipt.consent_receipt_id.clone()),
        ("receipt-hash", hash),
        ("collection-method", receipt.collection_method.clone()),
        ("policy", receipt.policy_url.clone()),
        ("jurisdiction", receipt.jurisdiction.clone()),
    ]
}

fn grant<'a>(receipt: &Receipt, purpose: &Purpose, evidence: &[(&'static str, String)], options: &'a ImportOptions) -> Result<Raw<'a>, String> {
    let time =
        Timestamp::from_second(receipt.consent_timestamp).map_err(|_beyond| "`consentTimestamp` lies beyond the calendar; it counts seconds")?;
    let method = match purpose.consent_type.to_ascii_uppercase().as_str() {
        "EXPLICIT" => "explicit",
        "IMPLICIT" => "implied",
        _ => return Err("`consentType` is EXPLICIT or IMPLICIT".to_owned()),
    };
    let mut raw = Raw {
        party: Some(principal(&receipt.pii_principal_id, options)?.into()),
        state: Some("given".into()),
        purposes: Some(purposes(purpose, options)?),
        categories: Some(purpose.pii_category.iter().map(|category| named("category", category, options)).collect()),
        recipients: recipients(purpose, options)?,
        event_time: Some(time.to_string().into()),
        channel: options.mapped("channel", &receipt.collection_method),
        method: Some(method.into()),
        evidence: Some(evidence.iter().map(|(kind, reference)| RawEvidence { kind: (*kind).into(), reference: reference.clone().into() }).collect()),
        ..Raw::default()
    };
    if let Some(notice) = options.mapped("notice", &receipt.policy_url) {
        raw.notice = Some(csv::notice(&notice)?);
    }
    ends(&mut raw, &purpose.termination, options)?;
    Ok(raw)
}

fn principal(id: &str, options: &ImportOptions) -> Result<String, String> {
    match &options.space {
        Some(space) => Ok(format!("{space}:{id}")),
        None if id.contains(':') => Ok(id.to_owned()),
        None => Err("name the id space of `piiPrincipalId` with `--space`".to_owned()),
    }
}

/// The purpose as it is worded, else its categories. Words that are mapped to different purposes contradict each other.
fn purposes<'a>(purpose: &Purpose, options: &'a ImportOptions) -> Result<Vec<Cow<'a, str>>, String> {
    let worded = purpose.purpose.as_ref().and_then(|text| options.mapped("purpose", text));
    let mapped: Vec<Cow<'a, str>> = purpose.purpose_category.iter().filter_map(|text| options.mapped("purpose", text)).collect();
    match worded {
        Some(worded) if mapped.iter().any(|other| *other != worded) => {
            Err("`purpose` and `purposeCategory` are mapped to different purposes".to_owned())
        }
        Some(worded) => Ok(vec![worded]),
        // A part of the categories alone would be a guess.
        None if mapped.len() == purpose.purpose_category.len() => Ok(distinct(mapped)),
        None if mapped.is_empty() => Ok(purpose
            .purpose
            .clone()
            .map_or_else(|| purpose.purpose_category.iter().map(|text| Cow::Owned(text.clone())).collect(), |text| vec![Cow::Owned(text)])),
        None => Err("only some of `purposeCategory` are mapped; map `purpose` or all of them".to_owned()),
    }
}

fn distinct(mut names: Vec<Cow<'_, str>>) -> Vec<Cow<'_, str>> {
    names.sort();
    names.dedup();
    names
}

/// Whom the receipt names beside those whom the importer names; none: the importer's alone.
fn recipients<'a>(purpose: &Purpose, options: &'a ImportOptions) -> Result<Option<Vec<Cow<'a, str>>>, String> {
    match (purpose.third_party_disclosure, &purpose.third_party_name) {
        (false, None) => Ok(None),
        (true, Some(name)) => {
            let unmapped = "`thirdPartyName` is not mapped; add `--map recipient:<name>=<department>`";
            let third = options.mapped("recipient", name).ok_or(unmapped)?;
            let own = options.covers.get("recipients").into_iter().flat_map(|cell| cell.split_whitespace()).map(Cow::Borrowed);
            Ok(Some(own.chain([third]).collect()))
        }
        (true, None) => Err("`thirdPartyDisclosure` is true, but `thirdPartyName` is missing".to_owned()),
        (false, Some(_)) => Err("`thirdPartyDisclosure` is false, but `thirdPartyName` names one".to_owned()),
    }
}

/// When a grant ends: a period, a time, or what has to come to pass. Words of the receipt's own are mapped to one of these: a grant
/// that ends is never taken as one that does not.
fn ends<'a>(raw: &mut Raw<'a>, termination: &str, options: &'a ImportOptions) -> Result<(), String> {
    let unread = "`termination` is neither a period nor a time; add `--map termination:<text>=<P24M, a time, or the name of an occurrence>`";
    let (text, is_mapped) = match options.mapped("termination", termination) {
        Some(text) => (text, true),
        None => (Cow::Owned(termination.to_owned()), false),
    };
    let is_word = text.starts_with(|first: char| first.is_ascii_lowercase()) && !text.contains(char::is_whitespace);
    if text.starts_with('P') && text.parse::<Span>().is_ok() {
        raw.lasts = Some(text);
    } else if text.parse::<Timestamp>().is_ok() || text.parse::<Date>().is_ok() {
        raw.expires = Some(text);
    } else if is_mapped && is_word {
        raw.until = Some(text);
    } else {
        return Err(unread.to_owned());
    }
    Ok(())
}

fn named<'a>(field: &str, value: &str, options: &'a ImportOptions) -> Cow<'a, str> {
    options.mapped(field, value).unwrap_or_else(|| Cow::Owned(value.to_owned()))
}
