//! The members of an entry that are read in great numbers: for judging again, and for the search index. It is canonical JSON of
//! ours, so that texts carry no escapes that matter.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Debug, Deserialize)]
pub(super) struct Line<'a> {
    v: u64,
    #[serde(default)]
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) t: i64,
    #[serde(default)]
    pub(super) lag_us: Option<i64>,
    #[serde(default)]
    pub(super) of: Option<u64>,
    #[serde(borrow, default)]
    pub(super) app: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) department: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) actor: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) agent: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) grant: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) action: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) api: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) route: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) facts: Option<Reference>,
    #[serde(borrow, default)]
    pub(super) groups: Vec<GroupLine<'a>>,
    #[serde(borrow, default)]
    pub(super) events: Vec<EventLine<'a>>,
    #[serde(default)]
    pub(super) status: Option<u64>,
    #[serde(borrow, default)]
    pub(super) code: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) rows: u64,
    #[serde(default)]
    pub(super) dropped: u64,
    #[serde(default)]
    pub(super) bytes: u64,
    #[serde(default)]
    pub(super) complete: Option<bool>,
    #[serde(borrow, default)]
    pub(super) class: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) value: Option<&'a RawValue>,
}

impl<'a> Line<'a> {
    /// `None`: of another version, which nothing is known of.
    pub(super) fn read(entry: &'a [u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(entry).ok().filter(|line| line.v == 1)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Dict,
    Deny,
    Permit,
    Intent,
    Part,
    End,
    #[default]
    #[serde(other)]
    Other,
}

/// Of a dictionary entry: its index.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Reference {
    pub(super) dict: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct GroupLine<'a> {
    #[serde(default)]
    pub(super) verdicts: Option<Reference>,
    #[serde(borrow, default)]
    pub(super) outcome: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) parties: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) n: u64,
    #[serde(default)]
    pub(super) unknown: u64,
}

/// Which consent events decided about a category, and which lost.
#[derive(Debug, Deserialize)]
pub(super) struct EventLine<'a> {
    #[serde(borrow, default)]
    pub(super) event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) overridden: Vec<Cow<'a, str>>,
}
