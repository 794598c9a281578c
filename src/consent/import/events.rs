//! A record as written, whatever its format, to the statement that is recorded. Everything is looked up in the loaded
//! catalogue; messages name columns and catalogue words, never what a cell holds, since a cell in the wrong column may hold
//! anything.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, SpanFieldwise, Timestamp};
use serde::Deserialize;

use crate::consent::draft::{EventDraft, Statement, StopDraft};
use crate::consent::event::{Method, Normalise, Notice, PartyRef, Scope, State, StopKind};
use crate::model::{ActivityKey, Author, Category, Channel, Department, EventId, Identifier, Name, Purpose, Vocabulary};

/// What a record is read with.
pub(super) struct Context<'a> {
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) activities: &'a [ActivityKey],
    pub(super) normalise: &'a Normalise<'a>,
    /// Whose midnight a date without a time of day means.
    pub(super) zone: Option<&'a TimeZone>,
    pub(super) now: Timestamp,
}

type Text<'a> = Option<Cow<'a, str>>;
type Texts<'a> = Vec<Cow<'a, str>>;

/// A record as written: the members of `POST /v1/consents` and of the stop routes.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw<'a> {
    pub(super) party: Text<'a>,
    pub(super) state: Text<'a>,
    pub(super) kind: Text<'a>,
    #[serde(default)]
    pub(super) purposes: Option<Texts<'a>>,
    pub(super) activity: Text<'a>,
    pub(super) event_time: Text<'a>,
    pub(super) channel: Text<'a>,
    pub(super) method: Text<'a>,
    pub(super) author: Text<'a>,
    pub(super) notice: Option<RawNotice<'a>>,
    #[serde(default)]
    pub(super) evidence: Option<Vec<RawEvidence<'a>>>,
    pub(super) source_system: Text<'a>,
    #[serde(default)]
    pub(super) categories: Option<Texts<'a>>,
    #[serde(default)]
    pub(super) recipients: Option<Texts<'a>>,
    #[serde(default)]
    pub(super) channels: Option<Texts<'a>>,
    pub(super) expires: Text<'a>,
    pub(super) lasts: Text<'a>,
    pub(super) until: Text<'a>,
    pub(super) uses: Option<u32>,
    pub(super) about: Text<'a>,
    pub(super) reason: Text<'a>,
    pub(super) gpp: Text<'a>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNotice<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) version: Cow<'a, str>,
    #[serde(default)]
    pub(super) purposes: Option<Texts<'a>>,
    #[serde(default)]
    pub(super) categories: Option<Texts<'a>>,
    #[serde(default)]
    pub(super) recipients: Option<Texts<'a>>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEvidence<'a> {
    pub(super) kind: Cow<'a, str>,
    pub(super) reference: Cow<'a, str>,
}

/// The statement that a record makes.
pub(super) fn statement(raw: Raw<'_>, context: &Context<'_>) -> Result<Statement, String> {
    match (&raw.state, &raw.kind) {
        (Some(state), None) => {
            let state = word("state", state, State::parse, State::ALL, State::as_str)?;
            consent(raw, state, context).map(|draft| Statement::Consent(Box::new(draft)))
        }
        (None, Some(kind)) => {
            let kind = word("stop", kind, StopKind::parse, StopKind::ALL, StopKind::as_str)?;
            stop(raw, kind, context).map(|draft| Statement::Stop(Box::new(draft)))
        }
        (Some(_), Some(_)) => Err("a state and a stop are two statements: write two records".to_owned()),
        (None, None) => Err("neither a state nor a stop is given".to_owned()),
    }
}

fn consent(raw: Raw<'_>, state: State, context: &Context<'_>) -> Result<EventDraft, String> {
    if raw.reason.is_some() {
        return Err("`reason` belongs to a stop".to_owned());
    }
    let method = raw.method.map(|text| word("method", &text, Method::parse, Method::ALL, Method::as_str)).transpose()?;
    let about = raw.about.map(|text| EventId::parse(&text).ok_or("`about` is not an event id; it is written `ev_42`")).transpose()?;
    Ok(EventDraft {
        subject: subject(raw.party, context)?,
        purposes: names("purpose", raw.purposes, |text| context.vocabulary.purpose(text), || purposes(context.vocabulary))?,
        activity: raw.activity.map(|text| activity(&text, context)).transpose()?,
        state,
        event_time: said_at(raw.event_time, state.closes(), context)?,
        channel: channel(raw.channel)?,
        method: method.unwrap_or(Method::Expressed),
        claims: author(raw.author, state.closes())?,
        notice: raw.notice.map(|notice| read_notice(notice, context.vocabulary)).transpose()?,
        evidence: evidence(raw.evidence)?,
        source_system: raw.source_system.map(Cow::into_owned),
        scope: Scope {
            categories: names("category", raw.categories, |text| context.vocabulary.category(text), || categories(context.vocabulary))?,
            recipients: names("recipient", raw.recipients, |text| context.vocabulary.department(text), || departments(context.vocabulary))?,
            channels: names("channel", raw.channels, Channel::parse, || words(Channel::ALL, Channel::as_str))?,
        },
        expires: raw.expires.map(|text| moment("expires", &text, context.zone)).transpose()?,
        lasts: raw.lasts.map(|text| period(&text)).transpose()?,
        until: raw.until.map(Cow::into_owned),
        uses: raw.uses,
        about,
        idempotency_key: None,
    })
}

fn stop(raw: Raw<'_>, kind: StopKind, context: &Context<'_>) -> Result<StopDraft, String> {
    let foreign = [
        ("activity", raw.activity.is_some()),
        ("method", raw.method.is_some()),
        ("notice", raw.notice.is_some()),
        ("recipients", raw.recipients.is_some()),
        ("expires", raw.expires.is_some()),
        ("lasts", raw.lasts.is_some()),
        ("until", raw.until.is_some()),
        ("uses", raw.uses.is_some()),
        ("about", raw.about.is_some()),
    ];
    if let Some((member, _)) = foreign.iter().find(|(_, given)| *given) {
        return Err(format!("`{member}` belongs to a consent, not to a stop"));
    }
    if kind == StopKind::Erasure && raw.reason.is_none() {
        return Err("an erasure is never lifted: say why in `reason`".to_owned());
    }
    Ok(StopDraft {
        subject: subject(raw.party, context)?,
        kind,
        purposes: names("purpose", raw.purposes, |text| context.vocabulary.purpose(text), || purposes(context.vocabulary))?,
        scope: Scope {
            categories: names("category", raw.categories, |text| context.vocabulary.category(text), || categories(context.vocabulary))?,
            recipients: Vec::new(),
            channels: names("channel", raw.channels, Channel::parse, || words(Channel::ALL, Channel::as_str))?,
        },
        event_time: said_at(raw.event_time, true, context)?,
        channel: channel(raw.channel)?,
        claims: author(raw.author, true)?,
        evidence: evidence(raw.evidence)?,
        source_system: raw.source_system.map(Cow::into_owned),
        reason: raw.reason.map(Cow::into_owned),
        idempotency_key: None,
    })
}

fn subject(party: Text<'_>, context: &Context<'_>) -> Result<PartyRef, String> {
    PartyRef::parse(&party.ok_or("the record has no id")?, &|space: &str, value: &str| identify(context.normalise, space, value))
}

/// An id in its one spelling. What stands before the colon is repeated by nobody, unless some file declares it.
pub(super) fn identify(normalise: &Normalise<'_>, space: &str, value: &str) -> Result<Identifier, String> {
    normalise(space, value).map_err(|what| {
        let is_declared = Name::known(space).is_some();
        if is_declared { what } else { "unknown id space; `[ids]` of the configuration declares them".to_owned() }
    })
}

fn activity(text: &str, context: &Context<'_>) -> Result<ActivityKey, String> {
    let known = Name::known(text).map(ActivityKey).filter(|key| context.activities.contains(key));
    known.ok_or_else(|| "unknown activity; `/v1/activities` lists them".to_owned())
}

fn read_notice(notice: RawNotice<'_>, vocabulary: &Vocabulary) -> Result<Notice, String> {
    Ok(Notice {
        id: notice.id.into_owned(),
        version: notice.version.into_owned(),
        purposes: names("purpose", notice.purposes, |text| vocabulary.purpose(text), || purposes(vocabulary))?,
        categories: names("category", notice.categories, |text| vocabulary.category(text), || categories(vocabulary))?,
        recipients: names("recipient", notice.recipients, |text| vocabulary.department(text), || departments(vocabulary))?,
    })
}

fn channel(text: Text<'_>) -> Result<Channel, String> {
    text.map_or(Ok(Channel::System), |text| word("channel", &text, Channel::parse, Channel::ALL, Channel::as_str))
}

/// Without an author what closes is taken as the person's own; anything else claims nothing.
fn author(text: Text<'_>, closes: bool) -> Result<Author, String> {
    const ALL: [Author; 4] = [Author::Customer, Author::Guardian, Author::Staff, Author::System];
    let unsaid = if closes { Author::Customer } else { Author::System };
    text.map_or(Ok(unsaid), |text| word("author", &text, Author::parse, &ALL, Author::as_str))
}

fn evidence(list: Option<Vec<RawEvidence<'_>>>) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for RawEvidence { kind, reference } in list.unwrap_or_default() {
        if kind.trim().is_empty() || reference.trim().is_empty() || found.insert(kind.into_owned(), reference.into_owned()).is_some() {
            return Err("each piece of evidence is `<kind>=<reference>`, and each kind stands once".to_owned());
        }
    }
    Ok(found)
}

/// When something was said. What closes and has only a date counts to the end of that day, so that no grant of the same day
/// outlives it; while that day lasts it has no event time and counts as it is recorded.
fn said_at(text: Text<'_>, closes: bool, context: &Context<'_>) -> Result<Option<Timestamp>, String> {
    let Some(text) = text else { return Ok(None) };
    let start = moment("event_time", &text, context.zone)?;
    let (true, Some(zone), Some(_)) = (closes, context.zone, date_alone(&text)) else { return Ok(Some(start)) };
    let end = start.to_zoned(zone.clone()).end_of_day().map_err(|_out_of_range| "`event_time` lies beyond the calendar")?.timestamp();
    // A day that has not begun is refused like any other time to come.
    let is_today = start <= context.now && end > context.now;
    Ok(if is_today { None } else { Some(end) })
}

/// A date without a time of day.
fn date_alone(text: &str) -> Option<Date> {
    // `Date` would also read a date with a time of day.
    text.parse().ok().filter(|_| text.len() <= DATE_CHARS)
}

/// A point in time; a date counts from its beginning in the zone that was named.
pub(super) fn moment(field: &str, text: &str, zone: Option<&TimeZone>) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let Some(date) = date_alone(text) else {
        return Err(if text.parse::<DateTime>().is_ok() {
            format!("`{field}` has no offset; write `2026-07-24T10:00:00+02:00`")
        } else {
            format!("`{field}` is not a time; write `2026-07-24T10:00:00+02:00`")
        });
    };
    let zone = zone.ok_or_else(|| format!("`{field}` is a date without a time; name its zone with `--time-zone`, e.g. `Europe/Berlin`"))?;
    let start = date.to_zoned(zone.clone()).and_then(|day| day.start_of_day());
    start.map(|start| start.timestamp()).map_err(|_out_of_range| format!("`{field}` lies beyond the calendar"))
}

fn period(text: &str) -> Result<SpanFieldwise, String> {
    // `Span` would also read `2 years`.
    let span = text.parse::<Span>().ok().filter(|span| span.is_positive() && text.starts_with('P'));
    span.map(Span::fieldwise).ok_or_else(|| "`lasts` is not a period; write an ISO 8601 duration, e.g. `P24M`".to_owned())
}

/// A word of a closed vocabulary.
fn word<T: Copy>(what: &str, text: &str, parse: fn(&str) -> Option<T>, all: &[T], spelled: fn(T) -> &'static str) -> Result<T, String> {
    parse(text).ok_or_else(|| unknown(what, text, &words(all, spelled)))
}

fn names<T>(
    what: &str,
    list: Option<Texts<'_>>,
    known: impl Fn(&str) -> Option<T>,
    all: impl FnOnce() -> Vec<&'static str>,
) -> Result<Vec<T>, String> {
    let list = list.unwrap_or_default();
    let mut found = Vec::with_capacity(list.len());
    for text in &list {
        match known(text) {
            Some(name) => found.push(name),
            None => return Err(unknown(what, text, &all())),
        }
    }
    Ok(found)
}

/// What is near is told, what was written is not.
fn unknown(what: &str, text: &str, words: &[&'static str]) -> String {
    match crate::model::suggest(text, words.iter().copied()) {
        Some(near) => format!("unknown {what}; did you mean `{near}`?"),
        None if words.len() <= LISTED => format!("unknown {what}; use {}", words.join(", ")),
        None => format!("unknown {what}; the catalogue lists them"),
    }
}

fn words<T: Copy>(all: &[T], spelled: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|word| spelled(*word)).collect()
}

fn purposes(vocabulary: &Vocabulary) -> Vec<&'static str> {
    vocabulary.purposes.keys().copied().map(Purpose::as_str).collect()
}

fn categories(vocabulary: &Vocabulary) -> Vec<&'static str> {
    vocabulary.categories.keys().copied().map(Category::as_str).collect()
}

fn departments(vocabulary: &Vocabulary) -> Vec<&'static str> {
    vocabulary.departments.keys().copied().map(Department::as_str).collect()
}

/// `2026-07-24`, `20260724`.
const DATE_CHARS: usize = 10;
/// More words than these are not listed in a message.
const LISTED: usize = 12;
