//! JSON as it stands in a body, with its spelling: every value, member name and number is a span of it.
//!
//! What was read lies on a *tape*: 24 bytes for each value, in the order of the body; a container says where what follows it begins.
//! What a shape cannot reach is checked, but has no place on the tape.

use std::borrow::Cow;

use super::Limits;
use super::path::{At, Place};
use super::reader::{Everything, Reader};

/// Why a body cannot be read. Says where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the body is larger than {max} bytes; ask for less or raise the limit")]
    TooLarge { max: usize },
    #[error("the body is nested deeper than {max} levels")]
    TooDeep { max: u16 },
    #[error("the body is not UTF-8 at byte {at}")]
    NotUtf8 { at: usize },
    #[error("the body starts with a byte order mark; send plain UTF-8")]
    ByteOrderMark,
    #[error("the body is not JSON at byte {at}")]
    Syntax { at: usize },
    #[error("a string with a broken escape ends before byte {at}")]
    Escape { at: usize },
    #[error("an object has the same member name twice before byte {at}")]
    DuplicateName { at: usize },
    #[error("a member name contains NUL before byte {at}")]
    NulInName { at: usize },
    #[error("more stands after the JSON value at byte {at}")]
    Trailing { at: usize },
    #[error("the body is not what the shape of this route declares")]
    TopLevel,
    #[error("the list of rows that this route declares is not there")]
    NoRows,
    #[error("the place of the customer's id holds no single string or integer")]
    Id,
    #[error("the content type is not one that this route declares")]
    ContentType,
}

/// Who wrote the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// An upstream's answer.
    Upstream,
    /// A caller's write: upstreams may fold letter case or cut at NUL, so neither may tell two names apart.
    Caller,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// A value, and the name under which it stands in an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// Where its name begins; an item of an array has none, and says where it begins itself.
    pub(super) name: u32,
    /// Where it stands in the body.
    pub(super) start: u32,
    pub(super) end: u32,
    /// What follows it on the tape.
    pub(super) next: u32,
    /// Its place among the ways of the shapes.
    pub(super) at: At,
    pub(super) kind: Kind,
    pub(super) content: Content,
}

/// What there is to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A text, a number, a word.
    Leaf,
    /// `null`, `{}` or `[]`: says nothing but that there is nothing.
    Nothing,
    /// What is not on the tape.
    Whole,
    /// What follows it on the tape.
    Inside,
}

impl Node {
    pub(super) const fn is_container(&self) -> bool {
        matches!(self.kind, Kind::Array | Kind::Object)
    }

    pub(super) const fn is_void(&self) -> bool {
        matches!(self.content, Content::Nothing)
    }
}

/// What was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tape<'t> {
    pub(super) bytes: &'t [u8],
    pub(super) nodes: &'t [Node],
    /// Member names that are written with escapes, by their value's place on the tape, ascending.
    pub(super) unescaped: &'t [(usize, String)],
}

/// A value on a tape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'t> {
    tape: Tape<'t>,
    at: usize,
    node: &'t Node,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'t> {
    /// As it stands in the body, with its quotation marks.
    pub(super) raw_name: &'t str,
    /// Unescaped.
    pub(super) name: &'t str,
    pub(super) value: Value<'t>,
}

impl<'t> Tape<'t> {
    /// The value that was read; there always is one.
    pub(super) fn root(self) -> Result<Value<'t>, Unreadable> {
        self.value(0).ok_or(Unreadable::TopLevel)
    }

    pub(super) fn value(self, at: usize) -> Option<Value<'t>> {
        Some(Value { tape: self, at, node: self.nodes.get(at)? })
    }

    fn text(self, start: usize, end: usize) -> &'t str {
        // It was checked when it was read.
        std::str::from_utf8(self.bytes.get(start..end).unwrap_or_default()).unwrap_or_default()
    }

    /// From the first quotation mark to the last.
    fn raw_name(self, node: &Node) -> &'t str {
        let before = self.text(node.name as usize, node.start as usize);
        before.rfind('"').and_then(|last| before.get(..=last)).unwrap_or_default()
    }

    /// The unescaped name of a member's value.
    pub(super) fn name(self, at: usize, node: &Node) -> &'t str {
        let raw = self.raw_name(node);
        if raw.contains('\\') {
            let known = self.unescaped.binary_search_by_key(&at, |(at, _)| *at).ok();
            known.and_then(|found| self.unescaped.get(found)).map(|(_, name)| name.as_str()).unwrap_or_default()
        } else {
            raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
        }
    }

    fn is_named(self, at: usize, node: &Node, name: &str) -> bool {
        if !self.unescaped.is_empty() {
            return self.name(at, node) == name;
        }
        let spelt = self.bytes.get(node.name as usize + 1..node.start as usize).unwrap_or_default();
        spelt.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'"'))
    }

    /// How the value is reached from what it stands in, for reports.
    pub(super) fn place(self, at: usize) -> Option<Place<'t>> {
        let node = self.nodes.get(at)?;
        Some(if node.name == node.start { Place::Item(0) } else { Place::Member(self.name(at, node)) })
    }

    /// What stands in a container, by place on the tape.
    pub(super) fn inside(self, at: usize, node: &Node) -> impl Iterator<Item = (usize, &'t Node)> + use<'t> {
        let (nodes, end) = (self.nodes, if node.is_container() { node.next as usize } else { 0 });
        let mut at = at + 1;
        std::iter::from_fn(move || {
            let node = nodes.get(at).filter(|_| at < end)?;
            Some((std::mem::replace(&mut at, node.next as usize), node))
        })
    }
}

impl<'t> Value<'t> {
    pub(super) const fn kind(&self) -> Kind {
        self.node.kind
    }

    pub(super) const fn place(&self) -> (usize, &'t Node) {
        (self.at, self.node)
    }

    pub(super) fn raw(&self) -> &'t str {
        self.tape.text(self.node.start as usize, self.node.end as usize)
    }

    pub(super) const fn is_container(&self) -> bool {
        self.node.is_container()
    }

    /// The unescaped text of a string.
    pub(super) fn text(&self) -> Option<Cow<'t, str>> {
        // Validity was checked when it was read.
        if self.node.kind == Kind::String { unescape(self.raw()) } else { None }
    }

    /// The value as a customer id: a string that is not empty, or an integer written plainly.
    pub(super) fn id(&self) -> Option<Cow<'t, str>> {
        match self.node.kind {
            Kind::String => self.text().filter(|text| !text.is_empty()),
            Kind::Number => Some(self.raw()).filter(|raw| raw.bytes().all(|b| b.is_ascii_digit() || b == b'-')).map(Cow::Borrowed),
            Kind::Null | Kind::Bool | Kind::Array | Kind::Object => None,
        }
    }

    pub(super) fn member(&self, name: &str) -> Option<Self> {
        let tape = self.tape;
        let mut members = tape.inside(self.at, self.node).filter(|_| self.node.kind == Kind::Object);
        members.find(|(at, node)| tape.is_named(*at, node, name)).map(|(at, node)| Self { tape, at, node })
    }

    /// Of an object; of anything else none.
    pub(super) fn members(&self) -> impl Iterator<Item = Member<'t>> + use<'t> {
        let (tape, is_object) = (self.tape, self.node.kind == Kind::Object);
        tape.inside(self.at, self.node).filter(move |_| is_object).map(move |(at, node)| Member {
            raw_name: tape.raw_name(node),
            name: tape.name(at, node),
            value: Self { tape, at, node },
        })
    }

    /// Of an array; of anything else none.
    pub(super) fn items(&self) -> impl Iterator<Item = Self> + use<'t> {
        let (tape, is_array) = (self.tape, self.node.kind == Kind::Array);
        tape.inside(self.at, self.node).filter(move |_| is_array).map(move |(at, node)| Self { tape, at, node })
    }

    pub(super) fn is_null(&self) -> bool {
        self.node.kind == Kind::Null
    }

    pub(super) const fn is_void(&self) -> bool {
        self.node.is_void()
    }

    /// Whether what stands in it is not on the tape.
    pub(super) const fn is_whole(&self) -> bool {
        matches!(self.node.content, Content::Whole)
    }
}

pub(super) fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.get(1..raw.len().checked_sub(1)?)?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// A whole body, read.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    bytes: &'a [u8],
    reader: Reader,
}

impl Whole<'_> {
    pub(super) fn root(&self) -> Result<Value<'_>, Unreadable> {
        self.reader.tape(self.bytes).root()
    }
}

/// Reads a whole body, with all that stands in it.
pub(super) fn parse<'a>(body: &'a [u8], limits: &Limits, from: Sender) -> Result<Whole<'a>, Unreadable> {
    let max = limits.body_bytes_max;
    if body.len() > max {
        return Err(Unreadable::TooLarge { max });
    }
    let mut reader = Reader::new(from, limits.depth_max);
    reader.whole(body, &Everything)?;
    Ok(Whole { bytes: body, reader })
}
