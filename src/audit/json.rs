//! Canonical JSON: keys sorted, integers only, no white space, ASCII only. Whatever a text holds (line breaks, escape
//! sequences of terminals, U+2028), an entry stays one line and shows nothing that it does not say.
//!
//! What many entries share is a [`Class`]: the entry carries `{"dict":<index>}`, the index of a dictionary entry. The index
//! is known only to the writer, so an entry is prepared as a [`Draft`] with holes.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

/// A value that is written once as a dictionary entry and then referred to.
#[derive(Clone, Debug, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    /// What kind of value: `facts`, `verdicts`, `paths`.
    pub(super) name: &'static str,
    /// Canonical JSON.
    pub(super) value: Arc<str>,
    /// Over both, once: values are long, and looked up for each entry.
    hash: u64,
}

impl PartialEq for Class {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.name == other.name && (Arc::ptr_eq(&self.value, &other.value) || self.value == other.value)
    }
}

impl Hash for Class {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

#[derive(Clone, Debug)]
pub(super) enum Json {
    Uint(u64),
    Int(i64),
    Bool(bool),
    Text(Cow<'static, str>),
    List(Vec<Self>),
    Object(Object),
    Class(Class),
}

/// Members in any order, each once; written sorted by their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Object(Vec<(&'static str, Json)>);

impl Object {
    pub(super) fn with(mut self, key: &'static str, value: impl Into<Json>) -> Self {
        self.0.push((key, value.into()));
        self
    }

    pub(super) fn with_some(self, key: &'static str, value: Option<impl Into<Json>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    pub(super) fn draft(self) -> Draft {
        let mut draft = Draft::default();
        draft.write(Json::Object(self));
        draft
    }

    pub(super) fn class(self, name: &'static str) -> Class {
        Json::Object(self).class(name)
    }
}

impl Json {
    /// The value as a dictionary entry of its own; classes do not nest.
    pub(super) fn class(self, name: &'static str) -> Class {
        let mut draft = Draft::default();
        draft.write(self);
        debug_assert!(draft.holes.is_empty(), "a class refers to a class");
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let hash = KEYS.hash_one((name, &draft.text));
        Class { name, value: draft.text.into(), hash }
    }
}

/// An entry that lacks only the indexes of its dictionary entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    text: String,
    holes: Vec<(usize, Class)>,
}

impl Draft {
    /// Bytes of the entry at most.
    pub(super) fn bytes_max(&self) -> usize {
        self.text.len() + self.holes.len() * REFERENCE_BYTES_MAX
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = &Class> {
        self.holes.iter().map(|(_, class)| class)
    }

    /// The entry, with `index` giving the place of each class.
    pub(super) fn fill(&self, index: impl Fn(&Class) -> u64) -> String {
        let mut out = String::with_capacity(self.bytes_max());
        let mut from = 0;
        for (at, class) in &self.holes {
            out.push_str(self.text.get(from..*at).unwrap_or_default());
            // Writing to a `String` can not fail.
            write!(out, "{{\"dict\":{}}}", index(class)).unwrap_or_default();
            from = *at;
        }
        out.push_str(self.text.get(from..).unwrap_or_default());
        out
    }

    fn write(&mut self, value: Json) {
        match value {
            Json::Uint(n) => write!(self.text, "{n}").unwrap_or_default(),
            Json::Int(n) => write!(self.text, "{n}").unwrap_or_default(),
            Json::Bool(b) => write!(self.text, "{b}").unwrap_or_default(),
            Json::Text(text) => escape(&mut self.text, &text),
            Json::Class(class) => self.holes.push((self.text.len(), class)),
            Json::List(items) => {
                self.text.push('[');
                for (i, item) in items.into_iter().enumerate() {
                    if i > 0 {
                        self.text.push(',');
                    }
                    self.write(item);
                }
                self.text.push(']');
            }
            Json::Object(Object(mut members)) => {
                members.sort_unstable_by_key(|(key, _)| *key);
                debug_assert!(members.is_sorted_by(|(a, _), (b, _)| a < b), "a member stands twice");
                self.text.push('{');
                for (i, (key, member)) in members.into_iter().enumerate() {
                    if i > 0 {
                        self.text.push(',');
                    }
                    escape(&mut self.text, key);
                    self.text.push(':');
                    self.write(member);
                }
                self.text.push('}');
            }
        }
    }
}

/// `{"dict":` and a u64 and `}`.
const REFERENCE_BYTES_MAX: usize = 8 + 20 + 1;

fn escape(out: &mut String, text: &str) {
    out.push('"');
    if text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\') {
        out.push_str(text);
        out.push('"');
        return;
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").unwrap_or_default();
                }
            }
        }
    }
    out.push('"');
}

macro_rules! from {
    ($($from:ty => $variant:ident,)*) => {$(
        impl From<$from> for Json {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from! {
    u16 => Uint,
    u32 => Uint,
    u64 => Uint,
    i64 => Int,
    bool => Bool,
    &'static str => Text,
    String => Text,
    Vec<Self> => List,
    Object => Object,
    Class => Class,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_nothing_stands_between() {
        let object = Object::default().with("b", 2u64).with("a", -1i64).with("c", vec![Json::Bool(true), Object::default().into()]);
        assert_eq!(r#"{"a":-1,"b":2,"c":[true,{}]}"#, object.draft().fill(|_| 0));
    }

    #[test]
    fn an_entry_stays_one_line_of_visible_ascii() {
        let hostile = "a\nb\r\0\x1b[31m\u{2028}\u{202e}\"\\\u{7f}é😀";
        let text = Object::default().with("k", hostile).draft().fill(|_| 0);
        assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)), "{text}");
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(hostile, back["k"].as_str().unwrap());
    }

    #[test]
    fn holes_are_filled_in_place() {
        let class = Object::default().with("x", 1u64).class("facts");
        assert_eq!(r#"{"x":1}"#, &*class.value);
        let draft = Object::default().with("a", class.clone()).with("b", 7u64).with("c", class).draft();
        assert_eq!(r#"{"a":{"dict":5},"b":7,"c":{"dict":5}}"#, draft.fill(|_| 5));
        assert!(draft.bytes_max() >= draft.fill(|_| u64::MAX).len());
    }
}
