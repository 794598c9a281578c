//! The stored form of an event, version 1: JSON in one column, so that an event is kept as it came and both databases hold
//! the same bytes. Names are text here and become names of the vocabulary when read.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::consent::event::{Consent, Delegation, Event, Holder, Method, Notice, Scope, State, Stop, StopKind, What};
use crate::model::{ActivityKey, Author, Category, Channel, Department, EventId, Identifier, Purpose, Revision};

use super::StoreError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventV1 {
    v: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_time: Option<String>,
    channel: String,
    captured_by: String,
    method: String,
    author: String,
    evidence: BTreeMap<String, String>,
    source_system: String,
    what: WhatV1,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum WhatV1 {
    Consent {
        purposes: Vec<String>,
        activity: Option<String>,
        notice: Option<NoticeV1>,
        state: String,
        scope: ScopeV1,
        expires: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uses: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<String>,
    },
    Stop {
        kind: String,
        purposes: Vec<String>,
        scope: ScopeV1,
        reason: Option<String>,
    },
    Lift {
        stop: String,
        reason: String,
    },
    Delegation {
        holder: String,
        purposes: Vec<String>,
        until: Option<String>,
    },
    Occurrence {
        name: String,
    },
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

/// SHA-256 of what a caller asked, to recognise another body under the same key: the stored form without what the ledger adds.
pub(in crate::consent) fn fingerprint(event: &Event) -> Result<[u8; 32], StoreError> {
    let asked = format!("{}\n{}", event.identifier, encode(event)?);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, asked.as_bytes()).as_ref());
    Ok(hash)
}

pub(super) fn encode(event: &Event) -> Result<String, StoreError> {
    let stored = EventV1 {
        v: 1,
        event_time: event.event_time.map(|t| t.to_string()),
        channel: event.channel.to_string(),
        captured_by: event.captured_by.clone(),
        method: event.method.to_string(),
        author: event.author.as_str().to_owned(),
        evidence: event.evidence.clone(),
        source_system: event.source_system.clone(),
        what: match &event.what {
            What::Consent(Consent { purposes, activity, notice, state, scope, expires, until, uses, about }) => WhatV1::Consent {
                purposes: texts(purposes),
                activity: activity.map(|a| a.to_string()),
                notice: notice.as_ref().map(notice_out),
                state: state.to_string(),
                scope: scope_out(scope),
                expires: expires.map(|t| t.to_string()),
                until: until.clone(),
                uses: *uses,
                about: about.map(|e| e.to_string()),
            },
            What::Stop(Stop { kind, purposes, scope, reason }) => {
                WhatV1::Stop { kind: kind.to_string(), purposes: texts(purposes), scope: scope_out(scope), reason: reason.clone() }
            }
            What::Lift { stop, reason } => WhatV1::Lift { stop: stop.to_string(), reason: reason.clone() },
            What::Delegation(Delegation { holder, purposes, until }) => {
                WhatV1::Delegation { holder: holder.to_string(), purposes: texts(purposes), until: until.map(|t| t.to_string()) }
            }
            What::Occurrence(name) => WhatV1::Occurrence { name: name.clone() },
        },
    };
    serde_json::to_string(&stored).map_err(|error| StoreError::Damaged(format!("an event cannot be written: {error}")))
}

pub(super) fn decode(id: EventId, revision: Revision, identifier: Identifier, record_time: Timestamp, body: &str) -> Result<Event, StoreError> {
    let damaged = || StoreError::Damaged(format!("event `{id}` cannot be read"));
    let stored: EventV1 = serde_json::from_str(body).map_err(|_its_text_may_name_a_person| damaged())?;
    if stored.v != 1 {
        return Err(StoreError::Newer(i64::from(stored.v)));
    }
    let decoded = || -> Option<Event> {
        let what = match stored.what {
            WhatV1::Consent { purposes, activity, notice, state, scope, expires, until, uses, about } => What::Consent(Consent {
                purposes: names(&purposes, Purpose::intern),
                activity: activity.as_deref().map(ActivityKey::intern),
                notice: notice.map(notice_in),
                state: State::parse(&state)?,
                scope: scope_in(&scope)?,
                expires: time(expires.as_deref())?,
                until,
                uses,
                about: about.as_deref().map_or(Some(None), |text| EventId::parse(text).map(Some))?,
            }),
            WhatV1::Stop { kind, purposes, scope, reason } => {
                What::Stop(Stop { kind: StopKind::parse(&kind)?, purposes: names(&purposes, Purpose::intern), scope: scope_in(&scope)?, reason })
            }
            WhatV1::Lift { stop, reason } => What::Lift { stop: EventId::parse(&stop)?, reason },
            WhatV1::Delegation { holder, purposes, until } => What::Delegation(Delegation {
                holder: Holder::parse(&holder)?,
                purposes: names(&purposes, Purpose::intern),
                until: time(until.as_deref())?,
            }),
            WhatV1::Occurrence { name } => What::Occurrence(name),
        };
        Some(Event {
            id,
            revision,
            identifier,
            event_time: time(stored.event_time.as_deref())?,
            record_time,
            channel: Channel::parse(&stored.channel)?,
            captured_by: stored.captured_by,
            method: Method::parse(&stored.method)?,
            author: Author::parse(&stored.author)?,
            evidence: stored.evidence,
            source_system: stored.source_system,
            what,
        })
    };
    decoded().ok_or_else(damaged)
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

/// `None`: not a time; `Some(None)`: absent.
#[expect(clippy::option_option, reason = "absent and unreadable are two things")]
fn time(text: Option<&str>) -> Option<Option<Timestamp>> {
    text.map_or(Some(None), |t| t.parse().ok().map(Some))
}
