//! Profiles as text, for the snapshot from which a start reads them back. One line of JSON, names spelled out:
//!
//! ```text
//! {"v":2,"said":[{"at":0,"state":"given","terms":{"purposes":["marketing.email"],…},"origin":[0,0,0],…}],"stops":[…]}
//! ```
//! What is empty or false is left out. A text of another version, with an unknown key or word is no profile: the snapshot is then
//! of no use, and everything is read anew from the events.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Category, Channel, Department, Purpose};

use super::event::{Scope, State, StopKind};
use super::profile::{HardStop, Lapse, Mandate, Origin, Position, Profile, Said};
use super::record::Terms;

/// Also another one when the same records give another profile: a snapshot of before is then read anew.
const VERSION: u8 = 2;

impl Profile {
    pub(super) fn encode(&self) -> String {
        let text = Text {
            v: VERSION,
            said: self.said.iter().map(SaidText::of).collect(),
            stops: self.stops.iter().map(StopText::of).collect(),
            is_organisation: self.is_organisation,
        };
        // Texts, numbers and lists: nothing in it can fail to be written.
        serde_json::to_string(&text).unwrap_or_default()
    }

    pub(super) fn decode(text: &str) -> Option<Self> {
        let Text { v, said, stops, is_organisation } = serde_json::from_str(text).ok()?;
        let read = || {
            Some(Self {
                said: said.into_iter().map(SaidText::read).collect::<Option<_>>()?,
                stops: stops.into_iter().map(StopText::read).collect::<Option<_>>()?,
                is_organisation,
            })
        };
        if v == VERSION { read() } else { None }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    v: u8,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    said: Vec<SaidText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stops: Vec<StopText>,
    #[serde(default, skip_serializing_if = "is_false")]
    is_organisation: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidText {
    at: u32,
    state: String,
    terms: TermsText,
    #[serde(default, skip_serializing_if = "is_false")]
    explicit: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lapsed: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    limited: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    raises: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    confirmed: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    by_customer: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mandates: Option<Vec<MandateText>>,
    system: String,
    app: String,
    origin: [u32; 3],
    #[serde(default, skip_serializing_if = "is_zero")]
    group: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    over: Vec<u16>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StopText {
    at: u32,
    kind: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    purposes: Vec<String>,
    #[serde(default)]
    scope: ScopeText,
    #[serde(default, skip_serializing_if = "is_false")]
    by_customer: bool,
    system: String,
    origin: [u32; 3],
    #[serde(default, skip_serializing_if = "is_zero")]
    group: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MandateText {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    purposes: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    ended: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TermsText {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    purposes: Vec<String>,
    #[serde(default)]
    scope: ScopeText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notice: Option<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    named_purposes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    named_categories: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    named_recipients: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeText {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    categories: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    channels: Vec<String>,
}

impl SaidText {
    fn of(said: &Said) -> Self {
        let Said { at, state, terms, explicit, lapsed, limited, raises, confirmed, by_customer, mandates, system, app, origin, group, over } = said;
        Self {
            at: at.0,
            state: state.as_str().to_owned(),
            terms: TermsText::of(terms),
            explicit: *explicit,
            lapsed: lapsed.map(|lapse| lapse_text(lapse).to_owned()),
            limited: *limited,
            raises: *raises,
            confirmed: *confirmed,
            by_customer: *by_customer,
            mandates: mandates.as_ref().map(|mandates| mandates.iter().map(MandateText::of).collect()),
            system: system.to_string(),
            app: app.to_string(),
            origin: origin.numbers(),
            group: *group,
            over: over.to_vec(),
        }
    }

    fn read(self) -> Option<Said> {
        let lapse = |text: String| [Lapse::Expired, Lapse::Superseded, Lapse::Requested].into_iter().find(|lapse| lapse_text(*lapse) == text);
        Some(Said {
            at: Position(self.at),
            state: State::parse(&self.state)?,
            terms: Arc::new(self.terms.read()?),
            explicit: self.explicit,
            lapsed: match self.lapsed {
                Some(text) => Some(lapse(text)?),
                None => None,
            },
            limited: self.limited,
            raises: self.raises,
            confirmed: self.confirmed,
            by_customer: self.by_customer,
            mandates: self.mandates.map(|mandates| mandates.into_iter().map(MandateText::read).collect()),
            system: self.system.into(),
            app: self.app.into(),
            origin: Origin::from_numbers(self.origin),
            group: self.group,
            over: self.over.into(),
        })
    }
}

impl StopText {
    fn of(stop: &HardStop) -> Self {
        let HardStop { at, kind, purposes, scope, by_customer, system, origin, group } = stop;
        Self {
            at: at.0,
            kind: kind.as_str().to_owned(),
            purposes: texts(purposes),
            scope: ScopeText::of(scope),
            by_customer: *by_customer,
            system: system.to_string(),
            origin: origin.numbers(),
            group: *group,
        }
    }

    fn read(self) -> Option<HardStop> {
        Some(HardStop {
            at: Position(self.at),
            kind: StopKind::parse(&self.kind)?,
            purposes: purposes(&self.purposes),
            scope: self.scope.read()?,
            by_customer: self.by_customer,
            system: self.system.into(),
            origin: Origin::from_numbers(self.origin),
            group: self.group,
        })
    }
}

impl MandateText {
    fn of(mandate: &Mandate) -> Self {
        Self { purposes: texts(&mandate.purposes), ended: mandate.ended }
    }

    fn read(self) -> Mandate {
        Mandate { purposes: purposes(&self.purposes), ended: self.ended }
    }
}

impl TermsText {
    fn of(terms: &Terms) -> Self {
        let Terms { purposes, scope, notice, named_purposes, named_categories, named_recipients } = terms;
        Self {
            purposes: texts(purposes),
            scope: ScopeText::of(scope),
            notice: notice.clone(),
            named_purposes: texts(named_purposes),
            named_categories: texts(named_categories),
            named_recipients: texts(named_recipients),
        }
    }

    fn read(self) -> Option<Terms> {
        Some(Terms {
            purposes: purposes(&self.purposes),
            scope: self.scope.read()?,
            notice: self.notice,
            named_purposes: purposes(&self.named_purposes),
            named_categories: self.named_categories.iter().map(|name| Category::intern(name)).collect(),
            named_recipients: self.named_recipients.iter().map(|name| Department::intern(name)).collect(),
        })
    }
}

impl ScopeText {
    fn of(scope: &Scope) -> Self {
        let Scope { categories, recipients, channels } = scope;
        Self { categories: texts(categories), recipients: texts(recipients), channels: texts(channels) }
    }

    fn read(self) -> Option<Scope> {
        Some(Scope {
            categories: self.categories.iter().map(|name| Category::intern(name)).collect(),
            recipients: self.recipients.iter().map(|name| Department::intern(name)).collect(),
            channels: self.channels.iter().map(|name| Channel::parse(name)).collect::<Option<_>>()?,
        })
    }
}

const fn lapse_text(lapse: Lapse) -> &'static str {
    match lapse {
        Lapse::Expired => "expired",
        Lapse::Superseded => "superseded",
        Lapse::Requested => "requested",
    }
}

fn texts<T: ToString>(names: &[T]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn purposes(names: &[String]) -> Box<[Purpose]> {
    names.iter().map(|name| Purpose::intern(name)).collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
const fn is_zero(value: &u16) -> bool {
    *value == 0
}
