//! A strict reader of JSON (RFC 8259, <https://www.rfc-editor.org/rfc/rfc8259>) that keeps the spelling: every value, member
//! name and number is a span of the body. Stricter than the RFC where parsers differ: member names must be unique after unescaping
//! (in written bodies also in other letter case, and without NUL), no byte order mark, no lone surrogates, bounded depth and size.
//!
//! One pass writes a *tape*: 16 bytes for each value and each member name, in the order of the body; a container says where what
//! follows it begins. So at worst, `[0,0,0,…]`, some eight times the body, and twice that while it grows; the size limit bounds it.

use std::borrow::Cow;
use std::collections::HashSet;

use super::Limits;

/// A nesting that no configuration can exceed: what walks a body recurses, and must fit the stack.
const DEPTH_CEILING: u16 = 128;

/// Objects with more members than this have their names sorted to find equal ones.
const FEW_NAMES: usize = 16;

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

/// A value or a member name.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Where it stands in the body.
    start: u32,
    end: u32,
    /// What follows it on the tape; of a member name, which its value follows, its hash.
    next: u32,
    kind: Kind,
    /// A string with escapes.
    escaped: bool,
}

/// A whole body, read.
#[derive(Debug)]
pub(super) struct Tape<'a> {
    text: &'a str,
    nodes: Vec<Node>,
    /// Member names that are written with escapes, by their place on the tape, ascending.
    unescaped: Vec<(usize, String)>,
}

/// A value on a tape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'t> {
    tape: &'t Tape<'t>,
    at: usize,
    node: Node,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'t> {
    /// As it stands in the body, with its quotation marks.
    pub(super) raw_name: &'t str,
    pub(super) name: Name<'t>,
    pub(super) value: Value<'t>,
}

/// An unescaped member name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'t> {
    pub(super) text: &'t str,
    pub(super) hash: u32,
}

impl<'a> Tape<'a> {
    /// The body's value; there always is one.
    pub(super) fn root(&self) -> Result<Value<'_>, Unreadable> {
        self.value(0).ok_or(Unreadable::TopLevel)
    }

    fn value(&self, at: usize) -> Option<Value<'_>> {
        Some(Value { tape: self, at, node: *self.nodes.get(at)? })
    }

    fn raw(&self, node: &Node) -> &'a str {
        self.text.get(node.start as usize..node.end as usize).unwrap_or_default()
    }

    /// The unescaped name.
    fn name(&self, at: usize, node: &Node) -> &str {
        if node.escaped {
            let known = self.unescaped.binary_search_by_key(&at, |(at, _)| *at).ok();
            known.and_then(|found| self.unescaped.get(found)).map(|(_, name)| name.as_str()).unwrap_or_default()
        } else {
            self.text.get(node.start as usize + 1..node.end as usize - 1).unwrap_or_default()
        }
    }
}

impl<'t> Value<'t> {
    pub(super) const fn kind(&self) -> Kind {
        self.node.kind
    }

    pub(super) fn raw(&self) -> &'t str {
        self.tape.raw(&self.node)
    }

    pub(super) const fn is_container(&self) -> bool {
        matches!(self.node.kind, Kind::Array | Kind::Object)
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
            Kind::Number => self.raw().bytes().all(|b| b.is_ascii_digit() || b == b'-').then_some(Cow::Borrowed(self.raw())),
            Kind::Null | Kind::Bool | Kind::Array | Kind::Object => None,
        }
    }

    pub(super) fn member(&self, name: &str) -> Option<Self> {
        self.members().find(|member| member.name.text == name).map(|member| member.value)
    }

    /// Of an object; of anything else none.
    pub(super) fn members(&self) -> impl Iterator<Item = Member<'t>> + use<'t> {
        let (tape, mut at, end) = (self.tape, self.at + 1, if self.node.kind == Kind::Object { self.node.next as usize } else { 0 });
        std::iter::from_fn(move || {
            let name = tape.nodes.get(at).filter(|_| at < end)?;
            let value = tape.value(at + 1)?;
            let member = Member { raw_name: tape.raw(name), name: Name { text: tape.name(at, name), hash: name.next }, value };
            at = value.node.next as usize;
            Some(member)
        })
    }

    /// Of an array; of anything else none.
    pub(super) fn items(&self) -> impl Iterator<Item = Self> + use<'t> {
        let (tape, mut at, end) = (self.tape, self.at + 1, if self.node.kind == Kind::Array { self.node.next as usize } else { 0 });
        std::iter::from_fn(move || {
            let value = tape.value(at).filter(|_| at < end)?;
            at = value.node.next as usize;
            Some(value)
        })
    }

    pub(super) fn is_null(&self) -> bool {
        self.node.kind == Kind::Null
    }

    /// `null`, `{}` or `[]`: says nothing but that there is nothing.
    pub(super) const fn is_void(&self) -> bool {
        match self.node.kind {
            Kind::Null => true,
            Kind::Array | Kind::Object => self.node.next as usize == self.at + 1,
            Kind::Bool | Kind::Number | Kind::String => false,
        }
    }
}

fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.get(1..raw.len().checked_sub(1)?)?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// Reads a whole body.
pub(super) fn parse<'a>(body: &'a [u8], limits: &Limits, from: Sender) -> Result<Tape<'a>, Unreadable> {
    // Positions are of 32 bits.
    let max = limits.body_bytes_max.min(u32::MAX as usize);
    if body.len() > max {
        return Err(Unreadable::TooLarge { max });
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err(Unreadable::ByteOrderMark);
    }
    let text = std::str::from_utf8(body).map_err(|error| Unreadable::NotUtf8 { at: error.valid_up_to() })?;
    let tape = Tape { text, nodes: Vec::with_capacity(body.len() / 8 + 8), unescaped: Vec::new() };
    let mut reader =
        Reader { tape, bytes: body, at: 0, open: Vec::new(), names: Vec::new(), depth_max: usize::from(limits.depth_max.min(DEPTH_CEILING)), from };
    reader.whole()?;
    Ok(reader.tape)
}

/// A container that has not ended.
#[derive(Clone, Copy)]
struct Open {
    node: usize,
    is_object: bool,
    /// The first of its names.
    names: usize,
}

struct Reader<'a> {
    tape: Tape<'a>,
    bytes: &'a [u8],
    at: usize,
    open: Vec<Open>,
    /// Names of all open objects: the hash, and the place on the tape.
    names: Vec<(u32, usize)>,
    depth_max: usize,
    from: Sender,
}

impl Reader<'_> {
    fn whole(&mut self) -> Result<(), Unreadable> {
        self.space();
        loop {
            // At the beginning of a value.
            let start = self.at;
            let first = self.peek().ok_or_else(|| self.syntax())?;
            match first {
                b'"' => {
                    self.string(false)?;
                }
                b'{' | b'[' => {
                    if self.begin(first == b'{')? {
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => {
                    self.number()?;
                    self.push(start, Kind::Number, false);
                }
                b'n' => self.word(b"null", Kind::Null)?,
                b't' => self.word(b"true", Kind::Bool)?,
                b'f' => self.word(b"false", Kind::Bool)?,
                _ => return Err(self.syntax()),
            }
            if self.ends()? {
                self.space();
                return if self.at == self.bytes.len() { Ok(()) } else { Err(Unreadable::Trailing { at: self.at }) };
            }
        }
    }

    /// Enters a container; whether a value follows in it.
    fn begin(&mut self, is_object: bool) -> Result<bool, Unreadable> {
        if self.open.len() >= self.depth_max {
            return Err(Unreadable::TooDeep { max: u16::try_from(self.depth_max).unwrap_or(DEPTH_CEILING) });
        }
        self.open.push(Open { node: self.tape.nodes.len(), is_object, names: self.names.len() });
        self.push(self.at, if is_object { Kind::Object } else { Kind::Array }, false);
        self.at += 1;
        self.space();
        if self.eat(if is_object { b'}' } else { b']' }) {
            self.end()?;
            return Ok(false);
        }
        if is_object {
            self.member()?;
        }
        Ok(true)
    }

    /// After a value: goes on to the next one, or ends what ends here. Whether the body's value has ended.
    fn ends(&mut self) -> Result<bool, Unreadable> {
        loop {
            let Some(Open { is_object, .. }) = self.open.last().copied() else { return Ok(true) };
            self.space();
            match (self.peek(), is_object) {
                (Some(b','), _) => {
                    self.at += 1;
                    self.space();
                    if is_object {
                        self.member()?;
                    }
                    return Ok(false);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    self.end()?;
                }
                _ => return Err(self.syntax()),
            }
        }
    }

    /// The innermost container is whole.
    fn end(&mut self) -> Result<(), Unreadable> {
        let Some(ended) = self.open.pop() else { return Err(self.syntax()) };
        if ended.is_object {
            self.unique_names(ended.names)?;
            self.names.truncate(ended.names);
        }
        let (next, end) = (self.position(self.tape.nodes.len()), self.position(self.at));
        if let Some(node) = self.tape.nodes.get_mut(ended.node) {
            (node.next, node.end) = (next, end);
        }
        Ok(())
    }

    /// A member up to its value.
    fn member(&mut self) -> Result<(), Unreadable> {
        let (start, place) = (self.at, self.tape.nodes.len());
        let escaped = self.string(true)?;
        let name = self.tape.text.get(start + 1..self.at - 1).unwrap_or_default();
        let hash = if escaped {
            let raw = self.tape.text.get(start..self.at).unwrap_or_default();
            let name = unescape(raw).ok_or(Unreadable::Escape { at: self.at })?.into_owned();
            let hash = name_hash(&name);
            self.tape.unescaped.push((place, name));
            hash
        } else {
            name_hash(name)
        };
        self.names.push((hash, place));
        if let Some(node) = self.tape.nodes.get_mut(place) {
            node.next = hash;
        }
        self.space();
        if !self.eat(b':') {
            return Err(self.syntax());
        }
        self.space();
        Ok(())
    }

    /// Refuses names that this reader or another could take for one.
    fn unique_names(&mut self, from: usize) -> Result<(), Unreadable> {
        let Self { tape, names, at, from: sender, .. } = self;
        let names = names.get_mut(from..).unwrap_or_default();
        let name = |place: usize| tape.nodes.get(place).map_or("", |node| tape.name(place, node));
        let is_duplicate = match *sender {
            Sender::Caller => {
                if names.iter().any(|(_, place)| name(*place).contains('\0')) {
                    return Err(Unreadable::NulInName { at: *at });
                }
                let mut seen = HashSet::with_capacity(names.len());
                !names.iter().all(|(_, place)| seen.insert(name(*place).to_lowercase()))
            }
            Sender::Upstream if names.len() <= FEW_NAMES => names
                .iter()
                .enumerate()
                .any(|(n, (hash, place))| names.iter().take(n).any(|(other, before)| hash == other && name(*place) == name(*before))),
            Sender::Upstream => {
                names.sort_unstable();
                // Names made to have equal hashes must not cost more than others.
                names.chunk_by(|(one, _), (other, _)| one == other).filter(|equal| equal.len() > 1).any(|equal| {
                    let mut seen = HashSet::with_capacity(equal.len());
                    !equal.iter().all(|(_, place)| seen.insert(name(*place)))
                })
            }
        };
        if is_duplicate { Err(Unreadable::DuplicateName { at: *at }) } else { Ok(()) }
    }

    /// Reads a string; whether it has escapes.
    fn string(&mut self, is_name: bool) -> Result<bool, Unreadable> {
        let start = self.at;
        if !self.eat(b'"') {
            return Err(self.syntax());
        }
        let mut escaped = false;
        loop {
            self.at += plain(self.bytes.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                _ => return Err(self.syntax()),
            }
        }
        self.at += 1;
        // serde_json knows the escapes: their letters, four hexadecimal digits, no lone surrogates.
        if escaped && !is_name && self.tape.text.get(start..self.at).and_then(unescape).is_none() {
            return Err(Unreadable::Escape { at: self.at });
        }
        self.push(start, Kind::String, escaped);
        Ok(escaped)
    }

    fn number(&mut self) -> Result<(), Unreadable> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), Unreadable> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += count;
        if count > 0 { Ok(()) } else { Err(self.syntax()) }
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<(), Unreadable> {
        if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(self.syntax());
        }
        let start = self.at;
        self.at += word.len();
        self.push(start, kind, false);
        Ok(())
    }

    /// What ends here; a container's end is set when it is known.
    fn push(&mut self, start: usize, kind: Kind, escaped: bool) {
        let next = self.position(self.tape.nodes.len() + 1);
        self.tape.nodes.push(Node { start: self.position(start), end: self.position(self.at), next, kind, escaped });
    }

    /// The size limit is below 2³², and no value is shorter than a byte.
    #[expect(clippy::unused_self, reason = "it is a number of this reader's body")]
    fn position(&self, at: usize) -> u32 {
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    #[inline]
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    const fn syntax(&self) -> Unreadable {
        Unreadable::Syntax { at: self.at }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// How many bytes stand before a quotation mark, a backslash or a control character; eight at a time. A byte is found by
/// the borrow of a subtraction (<https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>): the lowest that is told is
/// right, those above it need not be.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*eight);
        let (quote, slash) = (word ^ (ONES * b'"' as u64), word ^ (ONES * b'\\' as u64));
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let found = (zero(quote) | zero(slash) | (word.wrapping_sub(ONES * 0x20) & !word)) & HIGHS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len())
}

/// Names that differ mostly have another one.
#[inline]
pub(super) fn name_hash(name: &str) -> u32 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0xf135_7aea_2e62_a9c5).rotate_left(26);
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    let hash = words.iter().fold(name.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let last = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    u32::try_from(mix(hash, last) >> 32).unwrap_or_default()
}
