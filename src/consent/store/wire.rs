//! The stored forms of an event, version 1, as JSON. What very many events share (who says what, through whom) is the
//! *form*, stored once; what proves one event is its *detail*. Names are text here and become names of the vocabulary when read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::consent::event::{Consent, Delegation, Event, Holder, Method, Notice, Scope, State, Stop, StopKind, What};
use crate::consent::record::Form;
use crate::model::{ActivityKey, Author, Category, Channel, Department, EventId, Identifier, Purpose, Revision};

use super::StoreError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FormV1<'a> {
    v: u8,
    channel: Text<'a>,
    captured_by: Text<'a>,
    method: Text<'a>,
    author: Text<'a>,
    source_system: Text<'a>,
    evidenced: bool,
    what: WhatV1<'a>,
}

type Text<'a> = Cow<'a, str>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum WhatV1<'a> {
    Consent {
        purposes: Vec<Text<'a>>,
        activity: Option<Text<'a>>,
        notice: Option<NoticeV1<'a>>,
        state: Text<'a>,
        scope: ScopeV1<'a>,
        until: Option<Text<'a>>,
    },
    Stop {
        kind: Text<'a>,
        purposes: Vec<Text<'a>>,
        scope: ScopeV1<'a>,
    },
    Lift,
    Delegation {
        holder: Text<'a>,
        purposes: Vec<Text<'a>>,
    },
    Occurrence {
        name: Text<'a>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoticeV1<'a> {
    id: Text<'a>,
    version: Text<'a>,
    purposes: Vec<Text<'a>>,
    categories: Vec<Text<'a>>,
    recipients: Vec<Text<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeV1<'a> {
    categories: Vec<Text<'a>>,
    recipients: Vec<Text<'a>>,
    channels: Vec<Text<'a>>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DetailV1<'a> {
    #[serde(default, skip_serializing_if = "is_empty")]
    evidence: Cow<'a, BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Text<'a>>,
}

fn is_empty(evidence: &BTreeMap<String, String>) -> bool {
    evidence.is_empty()
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

/// An event with the texts that it is stored as.
#[derive(Clone, PartialEq, Eq)]
pub struct Written {
    pub event: Event,
    pub(super) form: String,
    /// `None`: nothing but the form.
    pub(super) detail: Option<String>,
}

/// What an event says, without what the ledger adds to it: id, form, detail, event time, due, uses, about.
pub type Saying<'a> = (&'a Identifier, &'a str, Option<&'a str>, Option<Timestamp>, Option<Timestamp>, Option<u32>, Option<EventId>);

impl Written {
    /// # Errors
    /// When it cannot be written as text.
    pub fn of(event: Event) -> Result<Self, StoreError> {
        Ok(Self { form: encode_form(&event)?, detail: encode_detail(&event)?, event })
    }

    #[must_use]
    pub fn says(&self) -> Saying<'_> {
        let Own { id: _, record_time: _, event_time, due, uses, about } = own(&self.event);
        (&self.event.identifier, &self.form, self.detail.as_deref(), event_time, due, uses, about)
    }
}

impl std::fmt::Debug for Written {
    /// The detail may name a person.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Written").field("event", &self.event.id).field("identifier", &self.event.identifier).finish_non_exhaustive()
    }
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

fn encode_form(event: &Event) -> Result<String, StoreError> {
    let what = match &event.what {
        What::Consent(Consent { purposes, activity, notice, state, scope, expires: _, until, uses: _, about: _ }) => WhatV1::Consent {
            purposes: texts(purposes, |p| p.as_str()),
            activity: activity.map(|activity| Cow::Borrowed(activity.as_str())),
            notice: notice.as_ref().map(notice_out),
            state: Cow::Borrowed(state.as_str()),
            scope: scope_out(scope),
            until: until.as_deref().map(Cow::Borrowed),
        },
        What::Stop(Stop { kind, purposes, scope, reason: _ }) => {
            WhatV1::Stop { kind: Cow::Borrowed(kind.as_str()), purposes: texts(purposes, |p| p.as_str()), scope: scope_out(scope) }
        }
        What::Lift { .. } => WhatV1::Lift,
        What::Delegation(Delegation { holder, purposes, until: _ }) => {
            WhatV1::Delegation { holder: Cow::Borrowed(holder.as_str()), purposes: texts(purposes, |p| p.as_str()) }
        }
        What::Occurrence(name) => WhatV1::Occurrence { name: Cow::Borrowed(name) },
    };
    let form = FormV1 {
        v: 1,
        channel: Cow::Borrowed(event.channel.as_str()),
        captured_by: Cow::Borrowed(&event.captured_by),
        method: Cow::Borrowed(event.method.as_str()),
        author: Cow::Borrowed(event.author.as_str()),
        source_system: Cow::Borrowed(&event.source_system),
        evidenced: event.is_evidenced(),
        what,
    };
    serde_json::to_string(&form).map_err(|error| unwritable(&error))
}

fn encode_detail(event: &Event) -> Result<Option<String>, StoreError> {
    let reason = match &event.what {
        What::Stop(stop) => stop.reason.as_deref().map(Cow::Borrowed),
        What::Lift { reason, .. } => Some(Cow::Borrowed(reason.as_str())),
        What::Consent(_) | What::Delegation(_) | What::Occurrence(_) => None,
    };
    if event.evidence.is_empty() && reason.is_none() {
        return Ok(None);
    }
    serde_json::to_string(&DetailV1 { evidence: Cow::Borrowed(&event.evidence), reason }).map(Some).map_err(|error| unwritable(&error))
}

fn unwritable(error: &serde_json::Error) -> StoreError {
    StoreError::Damaged(format!("an event cannot be written: {error}"))
}

pub(super) fn decode_form(body: &str) -> Result<ReadForm, StoreError> {
    let damaged = || StoreError::Damaged("a form of events cannot be read".to_owned());
    let stored: FormV1<'_> = serde_json::from_str(body).map_err(|_its_text_may_name_a_person| damaged())?;
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
                until: until.map(Cow::into_owned),
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
            WhatV1::Occurrence { name } => What::Occurrence(name.into_owned()),
        };
        Some(Event {
            id: EventId(0),
            revision: Revision(0),
            identifier: Identifier { space: crate::consent::party_space(), value: String::new() },
            event_time: None,
            record_time: Timestamp::UNIX_EPOCH,
            channel: Channel::parse(&stored.channel)?,
            captured_by: stored.captured_by.into_owned(),
            method: Method::parse(&stored.method)?,
            author: Author::parse(&stored.author)?,
            evidence: BTreeMap::new(),
            source_system: stored.source_system.into_owned(),
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
        let detail: DetailV1<'_> = match detail {
            Some(text) => serde_json::from_str(text).map_err(|_its_text_may_name_a_person| damaged())?,
            None => DetailV1::default(),
        };
        let mut what = self.template.what.clone();
        match &mut what {
            What::Consent(consent) => (consent.expires, consent.uses, consent.about) = (own.due, own.uses, own.about),
            What::Stop(stop) => stop.reason = detail.reason.map(Cow::into_owned),
            What::Lift { stop, reason } => {
                (*stop, *reason) = (own.about.ok_or_else(damaged)?, detail.reason.unwrap_or_default().into_owned());
            }
            What::Delegation(delegation) => delegation.until = own.due,
            What::Occurrence(_) => {}
        }
        Ok(Event {
            id: own.id,
            revision: Revision(own.id.0),
            identifier,
            event_time: own.event_time,
            record_time: own.record_time,
            evidence: detail.evidence.into_owned(),
            what,
            ..self.template.clone()
        })
    }
}

fn notice_out(notice: &Notice) -> NoticeV1<'_> {
    NoticeV1 {
        id: Cow::Borrowed(&notice.id),
        version: Cow::Borrowed(&notice.version),
        purposes: texts(&notice.purposes, |p| p.as_str()),
        categories: texts(&notice.categories, |c| c.as_str()),
        recipients: texts(&notice.recipients, |d| d.as_str()),
    }
}

fn notice_in(stored: NoticeV1<'_>) -> Notice {
    Notice {
        purposes: names(&stored.purposes, Purpose::intern),
        categories: names(&stored.categories, Category::intern),
        recipients: names(&stored.recipients, Department::intern),
        id: stored.id.into_owned(),
        version: stored.version.into_owned(),
    }
}

fn scope_out(scope: &Scope) -> ScopeV1<'static> {
    ScopeV1 {
        categories: texts(&scope.categories, |c| c.as_str()),
        recipients: texts(&scope.recipients, |d| d.as_str()),
        channels: texts(&scope.channels, |c| c.as_str()),
    }
}

fn scope_in(stored: &ScopeV1<'_>) -> Option<Scope> {
    Some(Scope {
        categories: names(&stored.categories, Category::intern),
        recipients: names(&stored.recipients, Department::intern),
        channels: stored.channels.iter().map(|c| Channel::parse(c)).collect::<Option<_>>()?,
    })
}

fn texts<T: Copy>(names: &[T], text: impl Fn(T) -> &'static str) -> Vec<Text<'static>> {
    names.iter().map(|name| Cow::Borrowed(text(*name))).collect()
}

fn names<T>(texts: &[Text<'_>], intern: impl Fn(&str) -> T) -> Vec<T> {
    texts.iter().map(|text| intern(text)).collect()
}
