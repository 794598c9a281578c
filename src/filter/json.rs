//! A strict reader of JSON (RFC 8259, <https://www.rfc-editor.org/rfc/rfc8259>) that keeps the spelling: every value, member
//! name and number is a span of the body. Stricter than the RFC where parsers differ: member names must be unique after unescaping
//! (in written bodies also in other letter case, and without NUL), no byte order mark, no lone surrogates, bounded depth and size.
//!
//! Memory: about 50 bytes a value, so at worst some 25 times the body (`[0,0,0,…]`); the size limit bounds it.

use std::borrow::Cow;
use std::collections::HashSet;

use super::Limits;

/// A nesting that no configuration can exceed: the recursion below must fit the stack.
const DEPTH_CEILING: u16 = 128;

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

#[derive(Debug)]
pub(super) struct Value<'a> {
    pub(super) raw: &'a str,
    pub(super) kind: Kind<'a>,
}

#[derive(Debug)]
pub(super) enum Kind<'a> {
    Null,
    Bool,
    Number,
    String,
    Array(Vec<Value<'a>>),
    Object(Vec<Member<'a>>),
}

#[derive(Debug)]
pub(super) struct Member<'a> {
    /// As it stands in the body, with its quotation marks.
    pub(super) raw_name: &'a str,
    pub(super) name: Cow<'a, str>,
    pub(super) value: Value<'a>,
}

/// Who wrote the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// An upstream's answer.
    Upstream,
    /// A caller's write: upstreams may fold letter case or cut at NUL, so neither may tell two names apart.
    Caller,
}

impl<'a> Value<'a> {
    /// The unescaped text of a string.
    pub(super) fn text(&self) -> Option<Cow<'a, str>> {
        match self.kind {
            // Validity was checked when it was read.
            Kind::String => unescape(self.raw),
            Kind::Null | Kind::Bool | Kind::Number | Kind::Array(_) | Kind::Object(_) => None,
        }
    }

    /// The value as a customer id: a string that is not empty, or an integer written plainly.
    pub(super) fn id(&self) -> Option<Cow<'a, str>> {
        match self.kind {
            Kind::String => self.text().filter(|text| !text.is_empty()),
            Kind::Number => self.raw.bytes().all(|b| b.is_ascii_digit() || b == b'-').then_some(Cow::Borrowed(self.raw)),
            Kind::Null | Kind::Bool | Kind::Array(_) | Kind::Object(_) => None,
        }
    }

    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Object(members) => members.iter().find(|m| m.name == name).map(|m| &m.value),
            Kind::Null | Kind::Bool | Kind::Number | Kind::String | Kind::Array(_) => None,
        }
    }

    pub(super) const fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// `null`, `{}` or `[]`: says nothing but that there is nothing.
    pub(super) fn is_void(&self) -> bool {
        match &self.kind {
            Kind::Null => true,
            Kind::Array(items) => items.is_empty(),
            Kind::Object(members) => members.is_empty(),
            Kind::Bool | Kind::Number | Kind::String => false,
        }
    }
}

fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.get(1..raw.len().checked_sub(1)?)?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// Reads a whole body.
pub(super) fn parse<'a>(body: &'a [u8], limits: &Limits, from: Sender) -> Result<Value<'a>, Unreadable> {
    if body.len() > limits.body_bytes_max {
        return Err(Unreadable::TooLarge { max: limits.body_bytes_max });
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err(Unreadable::ByteOrderMark);
    }
    let text = std::str::from_utf8(body).map_err(|error| Unreadable::NotUtf8 { at: error.valid_up_to() })?;
    let mut reader = Reader { text, bytes: body, at: 0, depth: 0, depth_max: limits.depth_max.min(DEPTH_CEILING), from };
    let value = reader.value()?;
    reader.space();
    if reader.at == body.len() { Ok(value) } else { Err(Unreadable::Trailing { at: reader.at }) }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: u16,
    depth_max: u16,
    from: Sender,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Value<'a>, Unreadable> {
        self.space();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{') => self.object()?,
            Some(b'[') => self.array()?,
            Some(b'"') => {
                self.string()?;
                Kind::String
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                Kind::Number
            }
            Some(b'n') => self.word(b"null", Kind::Null)?,
            Some(b't') => self.word(b"true", Kind::Bool)?,
            Some(b'f') => self.word(b"false", Kind::Bool)?,
            Some(_) | None => return Err(self.syntax()),
        };
        Ok(Value { raw: self.since(start)?, kind })
    }

    fn object(&mut self) -> Result<Kind<'a>, Unreadable> {
        self.enter()?;
        let mut members = Vec::new();
        self.space();
        if !self.eat(b'}') {
            loop {
                self.space();
                let raw_name = self.string()?;
                let name = unescape(raw_name).ok_or(Unreadable::Escape { at: self.at })?;
                self.space();
                if !self.eat(b':') {
                    return Err(self.syntax());
                }
                members.push(Member { raw_name, name, value: self.value()? });
                self.space();
                if self.eat(b',') {
                    continue;
                }
                if self.eat(b'}') {
                    break;
                }
                return Err(self.syntax());
            }
        }
        self.depth -= 1;
        self.names(&members)?;
        Ok(Kind::Object(members))
    }

    /// Refuses names that this reader or another could take for one.
    fn names(&self, members: &[Member<'a>]) -> Result<(), Unreadable> {
        let duplicate = match self.from {
            Sender::Upstream => {
                let mut seen = HashSet::with_capacity(members.len());
                !members.iter().all(|m| seen.insert(m.name.as_ref()))
            }
            Sender::Caller => {
                if members.iter().any(|m| m.name.contains('\0')) {
                    return Err(Unreadable::NulInName { at: self.at });
                }
                let mut seen = HashSet::with_capacity(members.len());
                !members.iter().all(|m| seen.insert(m.name.to_lowercase()))
            }
        };
        if duplicate { Err(Unreadable::DuplicateName { at: self.at }) } else { Ok(()) }
    }

    fn array(&mut self) -> Result<Kind<'a>, Unreadable> {
        self.enter()?;
        let mut items = Vec::new();
        self.space();
        if !self.eat(b']') {
            loop {
                items.push(self.value()?);
                self.space();
                if self.eat(b',') {
                    continue;
                }
                if self.eat(b']') {
                    break;
                }
                return Err(self.syntax());
            }
        }
        self.depth -= 1;
        Ok(Kind::Array(items))
    }

    /// Reads a string and gives it with its quotation marks.
    fn string(&mut self) -> Result<&'a str, Unreadable> {
        let start = self.at;
        if !self.eat(b'"') {
            return Err(self.syntax());
        }
        let mut escaped = false;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(0..=0x1f) | None => return Err(self.syntax()),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        let raw = self.since(start)?;
        // serde_json knows the escapes: their letters, four hexadecimal digits, no lone surrogates.
        if escaped && unescape(raw).is_none() {
            return Err(Unreadable::Escape { at: self.at });
        }
        Ok(raw)
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
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.syntax()) }
    }

    fn word(&mut self, word: &[u8], kind: Kind<'a>) -> Result<Kind<'a>, Unreadable> {
        if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(self.syntax());
        }
        self.at += word.len();
        Ok(kind)
    }

    fn enter(&mut self) -> Result<(), Unreadable> {
        self.at += 1;
        self.depth += 1;
        if self.depth > self.depth_max { Err(Unreadable::TooDeep { max: self.depth_max }) } else { Ok(()) }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn since(&self, start: usize) -> Result<&'a str, Unreadable> {
        self.text.get(start..self.at).ok_or_else(|| self.syntax())
    }

    const fn syntax(&self) -> Unreadable {
        Unreadable::Syntax { at: self.at }
    }
}
