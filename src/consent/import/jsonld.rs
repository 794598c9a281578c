//! Consent records of ISO/IEC TS 27560 as JSON-LD in the Data Privacy Vocabulary (<https://w3id.org/dpv>), as its guide for
//! 27560 writes them. Terms are compared by their last part, so that `dpv:hasPurpose` and its full IRI are one. A record with
//! several states is a history: each is an event. What the importer does not know is an error, unless JSON-LD itself defines it:
//! an unread member might narrow what was said. Who is not the data subject speaks as a guardian only if the record calls them
//! that; the word of anybody else closes and never opens.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::csv;
use super::events::{Raw, RawEvidence, RawNotice};
use super::options::ImportOptions;
use crate::model::unique_json;

/// The events of one record.
pub(super) fn raws<'a>(text: &str, options: &'a ImportOptions) -> Result<Vec<Raw<'a>>, String> {
    let document = unique_json(text.as_bytes()).map_err(|error| super::reader::json_error(&error))?;
    let mut found = Found::default();
    found.read(members(&document, "the record")?)?;
    if found.states.is_empty() {
        return Err("the record has no consent status".to_owned());
    }
    let states = std::mem::take(&mut found.states);
    states.into_iter().map(|state| found.raw(state, options)).collect()
}

#[derive(Default)]
struct Found {
    subject: Option<String>,
    purposes: Vec<String>,
    categories: Vec<String>,
    recipients: Vec<String>,
    notice: Option<(String, Option<String>)>,
    time: Option<String>,
    states: Vec<Status>,
    /// Members in our own namespace, by the names of our columns.
    own: Vec<(String, String)>,
    evidence: Vec<(String, String)>,
    /// What each member was given as, by its term.
    seen: BTreeMap<String, Value>,
}

#[derive(Default)]
struct Status {
    state: &'static str,
    time: Option<String>,
    lasts: Option<String>,
    indicated_by: Vec<Value>,
}

/// Whose word a status is: the farther from the person, the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Speaker {
    /// The data subject's, or nobody said whose.
    Person,
    Guardian,
    Other,
}

impl Found {
    fn read(&mut self, document: &Map<String, Value>) -> Result<(), String> {
        for (name, value) in document {
            let sets = match last(name) {
                "date" => "isIndicatedAtTime",
                "categories" if is_own(name) => "hasPersonalData",
                term => term,
            };
            if (SET_ONCE.contains(&sets) || is_own(name)) && self.seen.insert(sets.to_owned(), value.clone()).is_some_and(|before| before != *value) {
                return Err(format!("`{}` stands twice and differs", sets.chars().take(NAME_CHARS_SHOWN).collect::<String>()));
            }
            match last(name) {
                keyword if keyword.starts_with('@') && KEYWORDS.contains(&keyword) => {}
                "@graph" => return Err("`@graph` is not read; write the records as an array or one a line".to_owned()),
                // A receipt holds the record; a record may hold its process.
                "hasRecordOfActivity" | "hasProcess" | "hasConsentRecord" => self.read(members(value, name)?)?,
                "hasDataSubject" => self.subject = Some(identity(value).ok_or("the data subject has no identifier")?),
                "hasPurpose" => self.purposes = identities(value, "hasPurpose")?,
                "hasPersonalData" => self.categories = identities(value, "hasPersonalData")?,
                "hasRecipient" => self.recipients = identities(value, "hasRecipient")?,
                "hasNotice" => self.notice = Some(notice(value)?),
                "hasConsentStatus" => {
                    self.states.clear();
                    for status in each(value) {
                        self.states.push(read_status(status)?);
                    }
                }
                "isIndicatedAtTime" | "date" => self.time = Some(plain(value).ok_or("the time of the record is not a text")?),
                "hasLegalBasis" => {
                    let bases = identities(value, "hasLegalBasis")?;
                    if !bases.iter().all(|basis| BASES.contains(&last(basis))) {
                        return Err("the record rests on another legal basis than consent".to_owned());
                    }
                }
                "evidence" if is_own(name) => self.evidence = each(value).map(evidence).collect::<Result<_, _>>()?,
                own if is_own(name) && OWN.contains(&own) => {
                    let text = each(value).map(plain).collect::<Option<Vec<_>>>().ok_or_else(|| format!("`{own}` is not a text"))?;
                    self.own.push((own.to_owned(), text.join(" ")));
                }
                known if ABOUT_THE_RECORD.contains(&known) => {}
                _ => return Err(format!("unknown member `{}`", name.chars().take(NAME_CHARS_SHOWN).collect::<String>())),
            }
        }
        Ok(())
    }

    fn raw<'a>(&self, status: Status, options: &'a ImportOptions) -> Result<Raw<'a>, String> {
        let subject = self.subject.as_deref().ok_or("the record has no data subject")?;
        let list = |field, values: &[String]| {
            let names = values.iter().map(|value| name(field, value, options)).collect::<Vec<Cow<'a, str>>>();
            if names.is_empty() { None } else { Some(names) }
        };
        let mut raw = Raw {
            party: Some(spaced(subject, options).into_owned().into()),
            state: Some(status.state.into()),
            purposes: list("purpose", &self.purposes),
            categories: list("category", &self.categories),
            recipients: list("recipient", &self.recipients),
            event_time: status.time.or_else(|| self.time.clone()).map(Cow::Owned),
            ..Raw::default()
        };
        if !self.evidence.is_empty() {
            let piece = |(kind, reference): &(String, String)| RawEvidence { kind: kind.clone().into(), reference: reference.clone().into() };
            raw.evidence = Some(self.evidence.iter().map(piece).collect());
        }
        if let Some((id, version)) = &self.notice {
            raw.notice = Some(match version {
                Some(version) => RawNotice { id: id.clone().into(), version: version.clone().into(), ..RawNotice::default() },
                None => csv::notice(id).map_err(|_no_version| "the notice has no version".to_owned())?,
            });
        }
        for (column, text) in &self.own {
            csv::put(&mut raw, column, Cow::Owned(text.clone()))?;
        }
        match (self.speaker(&status.indicated_by, options), raw.author.as_deref()) {
            (Speaker::Person, _) | (_, Some("staff" | "system")) | (Speaker::Other, Some("guardian")) => {}
            (Speaker::Guardian, _) => raw.author = Some("guardian".into()),
            (Speaker::Other, _) => raw.author = Some("system".into()),
        }
        if matches!(status.state, "given" | "renewed") {
            raw.lasts = raw.lasts.or(status.lasts.map(Cow::Owned));
        }
        Ok(raw)
    }

    /// The one farthest from the person, where several are named.
    fn speaker(&self, indicated_by: &[Value], options: &ImportOptions) -> Speaker {
        let speaker = |who: &Value| {
            let name = identity(who).unwrap_or_default();
            let types = who.as_object().and_then(|members| members.get("@type")).into_iter().flat_map(each).filter_map(Value::as_str);
            let is_subject = self.subject.as_deref().is_some_and(|subject| spaced(subject, options) == spaced(&name, options));
            if is_subject || last(&name) == SUBJECT {
                Speaker::Person
            } else if types.chain([name.as_str()]).any(|kind| GUARDIANS.contains(&last(kind))) {
                Speaker::Guardian
            } else {
                Speaker::Other
            }
        };
        indicated_by.iter().map(speaker).max().unwrap_or(Speaker::Person)
    }
}

/// An id with its space, where it is written without.
fn spaced<'a>(id: &'a str, options: &ImportOptions) -> Cow<'a, str> {
    match &options.space {
        Some(space) if !id.contains(':') => format!("{space}:{id}").into(),
        Some(_) | None => id.into(),
    }
}

/// The state, with the time at which it came about.
fn read_status(value: &Value) -> Result<Status, String> {
    let mut status = Status::default();
    let mut names: Vec<&str> = value.as_str().into_iter().collect();
    if let Value::Object(members) = value {
        for (name, value) in members.iter().filter(|(name, _)| !name.starts_with('@')) {
            match last(name) {
                "date" | "isIndicatedAtTime" => once(&mut status.time, "time", value)?,
                "hasDuration" => once(&mut status.lasts, "duration", value)?,
                "isIndicatedBy" => status.indicated_by.extend(each(value).cloned()),
                "hasIndicationMethod" => {}
                _ => return Err(format!("unknown member `{}` of the status", name.chars().take(NAME_CHARS_SHOWN).collect::<String>())),
            }
        }
        names = members.get("@type").into_iter().flat_map(each).filter_map(Value::as_str).filter(|kind| last(kind) != STATUS).collect();
        // An `@id` may be anything; one that is a status says the same, or contradicts.
        names.extend(members.get("@id").and_then(Value::as_str).filter(|id| names.is_empty() || state_of(id).is_some()));
    }
    let states: Option<Vec<&'static str>> = names.into_iter().map(state_of).collect();
    let unknown = "unknown consent status; use a status of the Data Privacy Vocabulary, e.g. `dpv:ConsentGiven`";
    let states = states.filter(|states| !states.is_empty()).ok_or(unknown)?;
    status.state = states.first().copied().filter(|state| states.iter().all(|other| other == state)).ok_or("one status is two")?;
    Ok(status)
}

fn state_of(term: &str) -> Option<&'static str> {
    STATES.iter().find(|(known, _)| *known == last(term)).map(|(_, state)| *state)
}

/// A text that may stand under two spellings, but not differ.
fn once(text: &mut Option<String>, what: &str, value: &Value) -> Result<(), String> {
    let found = plain(value).ok_or_else(|| format!("the {what} of the status is not a text"))?;
    if text.as_ref().is_some_and(|before| *before != found) {
        return Err(format!("the {what} of the status stands twice and differs"));
    }
    *text = Some(found);
    Ok(())
}

fn notice(value: &Value) -> Result<(String, Option<String>), String> {
    let id = identity(value).ok_or("the notice has no identifier")?;
    let versions = value.as_object().into_iter().flatten().filter(|(name, _)| matches!(last(name), "hasVersion" | "version"));
    let mut versions: Vec<Option<String>> = versions.map(|(_, version)| plain(version)).collect();
    versions.dedup();
    if versions.len() > 1 {
        return Err("the version of the notice stands twice and differs".to_owned());
    }
    Ok((id, versions.pop().flatten()))
}

fn evidence(value: &Value) -> Result<(String, String), String> {
    let part = |wanted: &str| value.as_object()?.iter().find(|(name, _)| last(name) == wanted).and_then(|(_, value)| plain(value));
    let pair = part("kind").zip(part("reference")).or_else(|| {
        let text = plain(value)?;
        text.split_once('=').map(|(kind, reference)| (kind.to_owned(), reference.to_owned()))
    });
    pair.ok_or_else(|| "`evidence` is `<kind>=<reference>`, or has `kind` and `reference`".to_owned())
}

/// A name of the catalogue: as it was mapped, as written, or the last part of an IRI.
fn name<'a>(field: &str, value: &str, options: &'a ImportOptions) -> Cow<'a, str> {
    options.mapped(field, value).unwrap_or_else(|| if value.contains(':') { last(value) } else { value }.to_owned().into())
}

/// What an object is called: itself a text, or by `@id`, an identifier, a value or its type.
fn identity(value: &Value) -> Option<String> {
    let Value::Object(members) = value else { return plain(value) };
    let mut named: Vec<Option<String>> =
        members.iter().filter(|(name, _)| ["hasIdentifier", "identifier"].contains(&last(name))).map(|(_, value)| plain(value)).collect();
    named.dedup();
    if named.len() > 1 {
        return None;
    }
    named.pop().flatten().or_else(|| members.get("@id").and_then(plain)).or_else(|| plain(value)).or_else(|| members.get("@type").and_then(plain))
}

fn identities(value: &Value, member: &str) -> Result<Vec<String>, String> {
    each(value).map(identity).collect::<Option<_>>().ok_or_else(|| format!("`{member}` holds something without a name"))
}

/// A text, also as `{"@value": …}`.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(members) => members.get("@value").and_then(plain),
        Value::Null | Value::Bool(_) | Value::Array(_) => None,
    }
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter()
}

fn members<'v>(value: &'v Value, what: &str) -> Result<&'v Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("`{}` is not an object", last(what)))
}

/// The last part of a term: behind `#`, `/` or the prefix.
fn last(term: &str) -> &str {
    term.rsplit(['#', '/', ':']).next().unwrap_or(term)
}

fn is_own(term: &str) -> bool {
    term.starts_with("consentry:") || term.contains("consentry#")
}

/// The data subject, as whoever indicated a status.
const SUBJECT: &str = "DataSubject";
/// Who speaks for a person, by the Data Privacy Vocabulary. Whether they may is for a delegation to say.
const GUARDIANS: [&str; 2] = ["GuardianOfDataSubject", "ParentOfDataSubject"];
/// The class of all statuses.
const STATUS: &str = "ConsentStatus";
const KEYWORDS: [&str; 4] = ["@context", "@id", "@language", "@type"];
const STATES: [(&str, &str); 12] = [
    ("ConsentGiven", "given"),
    ("RenewedConsentGiven", "renewed"),
    ("ConsentRefused", "refused"),
    ("ConsentWithdrawn", "withdrawn"),
    ("ConsentRevoked", "revoked"),
    // The guide's word for what ended without the person.
    ("ConsentTerminated", "revoked"),
    ("ConsentExpired", "expired"),
    ("ConsentInvalidated", "invalidated"),
    ("ConsentRequested", "requested"),
    ("ConsentRequestDeferred", "deferred"),
    ("ConsentUnknown", "unknown"),
    ("ConsentSuperseded", "superseded"),
];
const BASES: [&str; 6] = ["Consent", "InformedConsent", "ExpressedConsent", "ExplicitlyExpressedConsent", "A6-1-a", "A9-2-a"];
const OWN: [&str; 11] = ["activity", "author", "categories", "channel", "channels", "expires", "lasts", "method", "source_system", "until", "uses"];
/// Who keeps the record, and where: nothing of it changes what was said.
const ABOUT_THE_RECORD: [&str; 14] = [
    "conformsTo",
    "created",
    "description",
    "hasApplicableLaw",
    "hasAuthority",
    "hasDataController",
    "hasDataProcessor",
    "hasIdentifier",
    "hasJurisdiction",
    "hasVersion",
    "identifier",
    "modified",
    "publisher",
    "title",
];
/// Members of a record, and of what it holds, of which a second one must say the same.
const SET_ONCE: [&str; 7] = ["hasConsentStatus", "hasDataSubject", "hasNotice", "hasPersonalData", "hasPurpose", "hasRecipient", "isIndicatedAtTime"];
const NAME_CHARS_SHOWN: usize = 60;
