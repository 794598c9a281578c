//! The stored forms of an event, version 1, as JSON. What very many events share (who says what, through whom) is the
//! *form*, stored once; what proves one event is its *detail*. Names are text here and become names of the vocabulary when read.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::consent::event::{Consent, Delegation, Event, Holder, Method, Notice, Scope, State, Stop, StopKind, What};
use crate::consent::record::Form;
use crate::model::{ActivityKey, Author, Category, Channel, Department, EventId, Identifier, Purpose, Revision};

use super::StoreError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FormV1 {
    v: u8,
    channel: String,
    captured_by: String,
    method: String,
    author: String,
    source_system: String,
    evidenced: bool,
    what: WhatV1,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum WhatV1 {
    Consent { purposes: Vec<String>, activity: Option<String>, notice: Option<NoticeV1>, state: String, scope: ScopeV1, until: Option<String> },
    Stop { kind: String, purposes: Vec<String>, scope: ScopeV1 },
    Lift,
    Delegation { holder: String, purposes: Vec<String> },
    Occurrence { name: String },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoticeV1 {
    id: String,
    version: String,
    purposes: Vec<String>,
    categories: Vec<String>,
    recipients: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeV1 {
    categories: Vec<String>,
    recipients: Vec<String>,
    channels: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DetailV1 {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    evidence: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A form that was read: an event without what is its own, and what profiles are built from.
#[derive(Debug)]
pub(super) struct ReadForm {
    template: Event,
    pub(super) form: Arc<Form>,
}

/// An event's own columns.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) id: EventId,
    pub(super) record_time: Timestamp,
    pub(super) event_time: Option<Timestamp>,
    pub(super) due: Option<Timestamp>,
    pub(super) uses: Option<u32>,
    pub(super) about: Option<EventId>,
}

/// SHA-256 of what a caller asked, to recognise another body under the same key: the event without what the ledger adds.
pub(in crate::consent) fn fingerprint(event: &Event) -> Result<[u8; 32], StoreError> {
    let Own { event_time, due, uses, about, .. } = own(event);
    let form = encode_form(event)?;
    let asked = format!("{}\n{form}\n{:?}\n{event_time:?} {due:?} {uses:?} {about:?}", event.identifier, encode_detail(event)?);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, asked.as_bytes()).as_ref());
    Ok(hash)
}

pub(super) fn own(event: &Event) -> Own {
    let (due, uses, about) = match &event.what {
        What::Consent(consent) => (consent.expires, consent.uses, consent.about),
        What::Delegation(delegation) => (delegation.until, None, None),
        What::Lift { stop, reason: _ } => (None, None, Some(*stop)),
        What::Stop(_) | What::Occurrence(_) => (None, None, None),
    };
    Own { id: event.id, record_time: event.record_time, event_time: event.event_time, due, uses, about }
}

pub(super) fn encode_form(event: &Event) -> Result<String, StoreError> {
    let what = match &event.what {
        What::Consent(Consent { purposes, activity, notice, state, scope, expires: _, until, uses: _, about: _ }) => WhatV1::Consent {
            purposes: texts(purposes),
            activity: activity.map(|a| a.to_string()),
            notice: notice.as_ref().map(notice_out),
            state: state.to_string(),
            scope: scope_out(scope),
            until: until.clone(),
        },
        What::Stop(Stop { kind, purposes, scope, reason: _ }) => {
            WhatV1::Stop { kind: kind.to_string(), purposes: texts(purposes), scope: scope_out(scope) }
        }
        What::Lift { .. } => WhatV1::Lift,
        What::Delegation(Delegation { holder, purposes, until: _ }) => WhatV1::Delegation { holder: holder.to_string(), purposes: texts(purposes) },
        What::Occurrence(name) => WhatV1::Occurrence { name: name.clone() },
    };
    let form = FormV1 {
        v: 1,
        channel: event.channel.to_string(),
        captured_by: event.captured_by.clone(),
        method: event.method.to_string(),
        author: event.author.as_str().to_owned(),
        source_system: event.source_system.clone(),
        evidenced: event.evidence.values().any(|reference| !reference.trim().is_empty()),
        what,
    };
    serde_json::to_string(&form).map_err(|error| unwritable(&error))
}

/// `None`: nothing but the form.
pub(super) fn encode_detail(event: &Event) -> Result<Option<String>, StoreError> {
    let reason = match &event.what {
        What::Stop(stop) => stop.reason.clone(),
        What::Lift { reason, .. } => Some(reason.clone()),
        What::Consent(_) | What::Delegation(_) | What::Occurrence(_) => None,
    };
    if event.evidence.is_empty() && reason.is_none() {
        return Ok(None);
    }
    serde_json::to_string(&DetailV1 { evidence: event.evidence.clone(), reason }).map(Some).map_err(|error| unwritable(&error))
}

fn unwritable(error: &serde_json::Error) -> StoreError {
    StoreError::Damaged(format!("an event cannot be written: {error}"))
}

pub(super) fn decode_form(body: &str) -> Result<ReadForm, StoreError> {
    let damaged = || StoreError::Damaged("a form of events cannot be read".to_owned());
    let stored: FormV1 = serde_json::from_str(body).map_err(|_its_text_may_name_a_person| damaged())?;
    if stored.v != 1 {
        return Err(StoreError::OtherVersion(i64::from(stored.v)));
    }
    let decoded = || -> Option<Event> {
        let what = match stored.what {
            WhatV1::Consent { purposes, activity, notice, state, scope, until } => What::Consent(Consent {
                purposes: names(&purposes, Purpose::intern),
                activity: activity.as_deref().map(ActivityKey::intern),
                notice: notice.map(notice_in),
                state: State::parse(&state)?,
                scope: scope_in(&scope)?,
                expires: None,
                until,
                uses: None,
                about: None,
            }),
            WhatV1::Stop { kind, purposes, scope } => What::Stop(Stop {
                kind: StopKind::parse(&kind)?,
                purposes: names(&purposes, Purpose::intern),
                scope: scope_in(&scope)?,
                reason: None,
            }),
            WhatV1::Lift => What::Lift { stop: EventId(0), reason: String::new() },
            WhatV1::Delegation { holder, purposes } => {
                What::Delegation(Delegation { holder: Holder::parse(&holder)?, purposes: names(&purposes, Purpose::intern), until: None })
            }
            WhatV1::Occurrence { name } => What::Occurrence(name),
        };
        Some(Event {
            id: EventId(0),
            revision: Revision(0),
            identifier: Identifier { space: crate::consent::party_space(), value: String::new() },
            event_time: None,
            record_time: Timestamp::UNIX_EPOCH,
            channel: Channel::parse(&stored.channel)?,
            captured_by: stored.captured_by,
            method: Method::parse(&stored.method)?,
            author: Author::parse(&stored.author)?,
            evidence: BTreeMap::new(),
            source_system: stored.source_system,
            what,
        })
    };
    let is_evidenced = stored.evidenced;
    let template = decoded().ok_or_else(damaged)?;
    let form = Arc::new(Form { is_evidenced, ..Form::of(&template) });
    Ok(ReadForm { template, form })
}

impl ReadForm {
    /// The whole event.
    pub(super) fn event(&self, own: &Own, identifier: Identifier, detail: Option<&str>) -> Result<Event, StoreError> {
        let damaged = || StoreError::Damaged(format!("event `{}` cannot be read", own.id));
        let detail: DetailV1 = match detail {
            Some(text) => serde_json::from_str(text).map_err(|_its_text_may_name_a_person| damaged())?,
            None => DetailV1::default(),
        };
        let mut what = self.template.what.clone();
        match &mut what {
            What::Consent(consent) => (consent.expires, consent.uses, consent.about) = (own.due, own.uses, own.about),
            What::Stop(stop) => stop.reason = detail.reason,
            What::Lift { stop, reason } => (*stop, *reason) = (own.about.ok_or_else(damaged)?, detail.reason.unwrap_or_default()),
            What::Delegation(delegation) => delegation.until = own.due,
            What::Occurrence(_) => {}
        }
        Ok(Event {
            id: own.id,
            revision: Revision(own.id.0),
            identifier,
            event_time: own.event_time,
            record_time: own.record_time,
            evidence: detail.evidence,
            what,
            ..self.template.clone()
        })
    }
}

fn notice_out(notice: &Notice) -> NoticeV1 {
    NoticeV1 {
        id: notice.id.clone(),
        version: notice.version.clone(),
        purposes: texts(&notice.purposes),
        categories: texts(&notice.categories),
        recipients: texts(&notice.recipients),
    }
}

fn notice_in(stored: NoticeV1) -> Notice {
    Notice {
        purposes: names(&stored.purposes, Purpose::intern),
        categories: names(&stored.categories, Category::intern),
        recipients: names(&stored.recipients, Department::intern),
        id: stored.id,
        version: stored.version,
    }
}

fn scope_out(scope: &Scope) -> ScopeV1 {
    ScopeV1 { categories: texts(&scope.categories), recipients: texts(&scope.recipients), channels: texts(&scope.channels) }
}

fn scope_in(stored: &ScopeV1) -> Option<Scope> {
    Some(Scope {
        categories: names(&stored.categories, Category::intern),
        recipients: names(&stored.recipients, Department::intern),
        channels: stored.channels.iter().map(|c| Channel::parse(c)).collect::<Option<_>>()?,
    })
}

fn texts<T: ToString>(names: &[T]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn names<T>(texts: &[String], intern: impl Fn(&str) -> T) -> Vec<T> {
    texts.iter().map(|text| intern(text)).collect()
}
