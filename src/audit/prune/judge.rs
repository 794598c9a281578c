//! What an entry is to pruning: whose decision it belongs to, how long it is kept, which customers it names.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::audit::parties;
use crate::model::PartyNo;

/// What is kept equally long. Everything that belongs to a decision follows its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetentionClass {
    /// Decisions that began with a permit or with the intent to give or write something.
    Permit,
    /// Decisions that began with a denial.
    Deny,
    /// Everything that is no decision.
    Admin,
    /// Decisions for which a break-glass grant was called upon, and the steps about grants.
    BreakGlass,
}

impl RetentionClass {
    pub const ALL: [Self; 4] = [Self::Permit, Self::Deny, Self::Admin, Self::BreakGlass];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
            Self::Admin => "admin",
            Self::BreakGlass => "break-glass",
        }
    }
}

/// By class: what is older goes. `None`: nothing ever does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    pub permit: Option<Timestamp>,
    pub deny: Option<Timestamp>,
    pub admin: Option<Timestamp>,
    pub break_glass: Option<Timestamp>,
}

impl Retention {
    #[must_use]
    pub const fn before(&self, class: RetentionClass) -> Option<Timestamp> {
        match class {
            RetentionClass::Permit => self.permit,
            RetentionClass::Deny => self.deny,
            RetentionClass::Admin => self.admin,
            RetentionClass::BreakGlass => self.break_glass,
        }
    }

    /// Whether an entry of that time (microseconds) is past its own.
    pub(super) fn is_past(&self, class: RetentionClass, t: i64) -> bool {
        self.before(class).is_some_and(|before| t < before.as_microsecond())
    }

    /// Nothing that is not older is past its time.
    pub(super) fn latest(&self) -> Option<Timestamp> {
        RetentionClass::ALL.into_iter().filter_map(|class| self.before(class)).max()
    }
}

/// An entry as far as pruning goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) role: Role,
    /// Customers whom it names.
    pub(super) parties: Vec<PartyNo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// What it says, others refer to.
    Dictionary,
    Head {
        class: RetentionClass,
        t: i64,
        /// Nothing follows it.
        is_over: bool,
    },
    Piece {
        of: u64,
        is_over: bool,
    },
    /// No decision.
    Other {
        class: RetentionClass,
        t: i64,
        /// What tells the gateway which bundle decides: the newest one stays.
        is_activation: bool,
    },
    /// Never goes: what says that the log began, ended or was pruned, and whatever this version cannot read.
    Stays {
        of: Option<u64>,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line<'a> {
    v: u64,
    kind: &'a str,
    t: Option<i64>,
    of: Option<u64>,
    grant: Option<IgnoredAny>,
    party: Option<u64>,
    #[serde(borrow)]
    groups: Vec<Customers<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Customers<'a> {
    parties: Option<&'a str>,
}

/// A tombstone would not be shorter. No entry of ours is.
const SHORTEST_BYTES: usize = 33;

pub(super) fn judge(entry: &[u8]) -> Judged {
    let line = serde_json::from_slice::<Line<'_>>(entry).ok().filter(|line| line.v == 1 && entry.len() >= SHORTEST_BYTES);
    let known = line.as_ref().and_then(|line| Some(Judged { role: role(line)?, parties: named(line)? }));
    known.unwrap_or_else(|| {
        let of = serde_json::from_slice(entry).ok().and_then(|value: serde_json::Value| value.get("of")?.as_u64());
        Judged { role: Role::Stays { of }, parties: Vec::new() }
    })
}

/// `None`: not of the form that this version writes.
fn role(line: &Line<'_>) -> Option<Role> {
    let t = line.t?;
    let other = |class| Some(Role::Other { class, t, is_activation: line.kind == "policy_activated" });
    match (line.kind, line.of) {
        ("dict", None) => Some(Role::Dictionary),
        ("permit" | "intent" | "deny", None) => {
            let is_denial = line.kind == "deny";
            let class = match (&line.grant, is_denial) {
                (Some(IgnoredAny), _) => RetentionClass::BreakGlass,
                (None, true) => RetentionClass::Deny,
                (None, false) => RetentionClass::Permit,
            };
            Some(Role::Head { class, t, is_over: is_denial })
        }
        ("deny" | "end", Some(of)) => Some(Role::Piece { of, is_over: true }),
        ("part", Some(of)) => Some(Role::Piece { of, is_over: false }),
        ("break_glass", None) => other(RetentionClass::BreakGlass),
        (
            "admin" | "query" | "consent_changed" | "policy_loaded" | "policy_rejected" | "policy_activated" | "shadow" | "config_loaded"
            | "config_rejected" | "rejects" | "clock" | "export" | "gap",
            None,
        ) => other(RetentionClass::Admin),
        _ => None,
    }
}

/// `None`: nobody can say whom it names.
fn named(line: &Line<'_>) -> Option<Vec<PartyNo>> {
    let mut found: Vec<PartyNo> = line.party.map(PartyNo).into_iter().collect();
    for parties in line.groups.iter().filter_map(|group| group.parties) {
        found.extend(parties::decode(parties)?);
    }
    Some(found)
}

/// The dictionary entries to which an entry refers.
pub(super) fn references(entry: &[u8]) -> impl Iterator<Item = u64> {
    numbers_after(entry, b"{\"dict\":")
}

/// The decision to which an entry belongs, without reading all of it.
pub(super) fn decision(entry: &[u8]) -> Option<u64> {
    numbers_after(entry, b",\"of\":").next()
}

/// The break-glass grant that an entry names.
pub(super) fn grant(entry: &[u8]) -> Option<&str> {
    texts_after(entry, b"\"grant\":\"").next()
}

/// Ids of the keys of its free text; perhaps other texts beside them.
pub(super) fn keys(entry: &[u8]) -> impl Iterator<Item = &str> {
    texts_after(entry, b"\"key\":\"")
}

fn texts_after<'e>(entry: &'e [u8], key: &'static [u8]) -> impl Iterator<Item = &'e str> {
    after(entry, key).filter_map(|rest| std::str::from_utf8(rest.split(|byte| *byte == b'"').next()?).ok())
}

fn numbers_after<'e>(entry: &'e [u8], key: &'static [u8]) -> impl Iterator<Item = u64> + 'e {
    after(entry, key).filter_map(|rest| std::str::from_utf8(rest.split(|byte| !byte.is_ascii_digit()).next()?).ok()?.parse().ok())
}

/// Entries are canonical: within a text quotes are escaped, so that what stands there in full is a member.
fn after<'e>(entry: &'e [u8], key: &'static [u8]) -> impl Iterator<Item = &'e [u8]> {
    let places = entry.windows(key.len()).enumerate().filter(move |(_, part)| *part == key);
    places.filter_map(move |(at, _)| entry.get(at + key.len()..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role_of(entry: &str) -> Role {
        judge(entry.as_bytes()).role
    }

    #[test]
    fn what_an_entry_is_follows_from_its_kind_and_whatever_else_stays() {
        use RetentionClass::{Admin, BreakGlass, Deny, Permit};
        let head = |class, is_over| Role::Head { class, t: 5, is_over };
        let other = |class| Role::Other { class, t: 5, is_activation: false };
        let cases = [
            (r#"{"app":"crm-of-all-apps","kind":"permit","t":5,"v":1}"#, head(Permit, false)),
            (r#"{"app":"crm-of-all-apps","kind":"intent","t":5,"v":1}"#, head(Permit, false)),
            (r#"{"app":"crm-of-all-apps","kind":"deny","t":5,"v":1}"#, head(Deny, true)),
            (r#"{"grant":"bg_5","kind":"permit","t":5,"v":1,"x":1}"#, head(BreakGlass, false)),
            (r#"{"grant":"bg_5","kind":"deny","t":5,"v":1,"xx":12}"#, head(BreakGlass, true)),
            (r#"{"complete":true,"kind":"end","of":3,"t":5,"v":1}"#, Role::Piece { of: 3, is_over: true }),
            (r#"{"code":"denied","kind":"deny","of":3,"t":5,"v":1}"#, Role::Piece { of: 3, is_over: true }),
            (r#"{"dropped":123456,"kind":"part","of":3,"t":5,"v":1}"#, Role::Piece { of: 3, is_over: false }),
            (r#"{"class":"facts","kind":"dict","t":5,"v":1,"value":{}}"#, Role::Dictionary),
            (r#"{"grant":"bg_5","kind":"break_glass","step":"x","t":5,"v":1}"#, other(BreakGlass)),
            (r#"{"kind":"consent_changed","revision":7,"t":5,"v":1}"#, other(Admin)),
            (r#"{"kind":"policy_activated","t":5,"v":1,"version":7}"#, Role::Other { class: Admin, t: 5, is_activation: true }),
            (r#"{"clean":true,"kind":"start","origin":"gw","t":5,"v":1}"#, Role::Stays { of: None }),
            (r#"{"kind":"stop","reason":"shutdown","t":5,"v":1}"#, Role::Stays { of: None }),
            (r#"{"before_index":5,"classes":[],"kind":"prune","t":5,"v":1}"#, Role::Stays { of: None }),
            (r#"{"kind":"key_rotated","new_key":"gw+c1d09f31+AQj0","reason":"lost","t":5,"v":1}"#, Role::Stays { of: None }),
            // Of a version or kind to come, of another form, or not to be told from something longer.
            (r#"{"app":"crm-of-all-apps","kind":"permit","t":5,"v":2}"#, Role::Stays { of: None }),
            (r#"{"kind":"annotated","of":3,"t":5,"v":1,"what":"x"}"#, Role::Stays { of: Some(3) }),
            (r#"{"app":"crm-of-all-apps","kind":"permit","v":1}"#, Role::Stays { of: None }),
            (r#"{"kind":"part","t":5,"v":1,"without":"a decision"}"#, Role::Stays { of: None }),
            (r#"{"groups":[{"parties":"?"}],"kind":"permit","t":5,"v":1}"#, Role::Stays { of: None }),
            (r#"{"kind":"clock","t":5,"v":1}"#, Role::Stays { of: None }),
            ("no json of whatever length it may be", Role::Stays { of: None }),
        ];
        for (entry, wanted) in cases {
            assert_eq!(wanted, role_of(entry), "{entry}");
        }
    }

    #[test]
    fn references_are_found_wherever_they_stand_and_never_within_a_text() {
        let entry = br#"{"code":"{\"dict\":9}","facts":{"dict":12},"groups":[{"verdicts":{"dict":7}}],"kind":"deny","of":3,"v":1}"#;
        assert_eq!(vec![12, 7], references(entry).collect::<Vec<_>>());
        assert_eq!(Some(3), decision(entry));
        assert_eq!(None, decision(br#"{"code":",\"of\":5","kind":"deny","v":1}"#));
    }
}
