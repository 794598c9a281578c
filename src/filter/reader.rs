//! A strict reader of JSON (RFC 8259, <https://www.rfc-editor.org/rfc/rfc8259>): one pass over the bytes. Stricter than the RFC where
//! parsers differ: member names must be unique after unescaping (in written bodies also in other letter case, and without NUL), no
//! byte order mark, no lone surrogates, bounded depth.
//!
//! It reads along the ways of the shapes ([`Guide`]): what no path reaches is checked and left out of the tape. Objects of one
//! place mostly have the same members in the same order, so the reader remembers the last one's ([`Habit`]): a name that is
//! expected is compared, not read, and names that come in an order in which they are known to differ need no look for duplicates.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use wide::u8x16;

use super::habit::{HABIT_LESSONS, Habit, Habits, name_hash};
use super::json::{Content, Kind, Node, Sender, Tape, Unreadable, unescape};
use super::path::{At, Enter};

/// A nesting that no configuration can exceed: the reader recurses, and must fit the stack.
const DEPTH_CEILING: u16 = 128;

/// Objects with more members than this have their names sorted to find equal ones.
const FEW_NAMES: usize = 16;

/// Where the paths of the shapes lead.
pub(super) trait Guide {
    fn member(&self, at: At, hash: u32, name: &str) -> At;
    fn item(&self, at: At, index: usize) -> At;
    fn enter(&self, at: At, kind: Kind) -> Enter;
    /// The habit of objects whose members lead on from this place, learnt from other bodies.
    fn habit(&self, at: At) -> Option<&Habit>;
}

/// Of a body that is read for all that stands in it.
#[derive(Debug)]
pub(super) struct Everything;

impl Guide for Everything {
    fn member(&self, at: At, _hash: u32, _name: &str) -> At {
        at
    }

    fn item(&self, at: At, _index: usize) -> At {
        at
    }

    fn enter(&self, at: At, _kind: Kind) -> Enter {
        Enter::Inside(at)
    }

    fn habit(&self, _at: At) -> Option<&Habit> {
        None
    }
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes end in the middle of the value.
    Incomplete,
    Unreadable(Unreadable),
}

/// Nothing was read; why stands in [`Run::stop`]. Of no size, since every value's reading returns it.
#[derive(Clone, Copy, Debug)]
struct Stopped;

type Read<T> = Result<T, Stopped>;

/// Reads values; keeps its memory and what it learnt from one to the next.
#[derive(Debug)]
pub(super) struct Reader {
    from: Sender,
    depth_max: u16,
    nodes: Vec<Node>,
    unescaped: Vec<(usize, String)>,
    /// Names of open objects that have to be compared: the hash, and where the first quotation mark stands and the last one ends.
    names: Vec<(u32, u32, u32)>,
    /// Habits that the guide did not know.
    learnt: Habits,
}

impl Reader {
    pub(super) fn new(from: Sender, depth_max: u16) -> Self {
        let depth_max = depth_max.min(DEPTH_CEILING);
        Self { from, depth_max, nodes: Vec::new(), unescaped: Vec::new(), names: Vec::new(), learnt: Vec::new() }
    }

    /// Habits that were learnt on the way.
    pub(super) fn learnt(&self) -> &Habits {
        &self.learnt
    }

    pub(super) const fn depth_max(&self) -> u16 {
        self.depth_max
    }

    /// What was read last, from these bytes.
    pub(super) fn tape<'t>(&'t self, bytes: &'t [u8]) -> Tape<'t> {
        Tape { bytes, nodes: &self.nodes, unescaped: &self.unescaped }
    }

    /// Reads all of a body.
    pub(super) fn whole(&mut self, body: &[u8], guide: &impl Guide) -> Result<(), Unreadable> {
        no_byte_order_mark(body)?;
        // Values are some eight bytes long in the middle.
        self.nodes.reserve(body.len() / 16 + 8);
        let start = space(body, 0);
        let end = self.value(body, start, true, 0, At::default(), guide).map_err(|stop| match stop {
            Stop::Unreadable(reason) => reason,
            Stop::Incomplete => Unreadable::Syntax { at: body.len() },
        })?;
        let end = space(body, end);
        if end == body.len() { Ok(()) } else { Err(Unreadable::Trailing { at: end }) }
    }

    /// Reads one value that begins at `start`, `depth` containers deep, at a place of the guide; says where it ends. Without
    /// `is_last` more bytes may come behind these.
    pub(super) fn value(&mut self, bytes: &[u8], start: usize, is_last: bool, depth: u16, at: At, guide: &impl Guide) -> Result<usize, Stop> {
        self.nodes.clear();
        self.unescaped.clear();
        self.names.clear();
        // Positions are of 32 bits.
        if u32::try_from(bytes.len()).is_err() {
            return Err(Stop::Unreadable(Unreadable::TooLarge { max: u32::MAX as usize }));
        }
        let mut run = Run { bytes, is_last, depth, mute: false, stop: Stop::Incomplete, guide, own: self };
        run.value(start, start, at).map_err(|Stopped| run.stop)
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(super) fn no_byte_order_mark(body: &[u8]) -> Result<(), Unreadable> {
    if body.starts_with(BYTE_ORDER_MARK) { Err(Unreadable::ByteOrderMark) } else { Ok(()) }
}

/// Whether these first bytes could become one.
pub(super) fn begins_byte_order_mark(bytes: &[u8]) -> bool {
    BYTE_ORDER_MARK.starts_with(bytes)
}

/// Where white space that begins at `at` ends.
#[inline]
pub(super) fn space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// One value being read. Each step takes where it begins and says where it ends.
struct Run<'r, 'b, G> {
    bytes: &'b [u8],
    is_last: bool,
    depth: u16,
    /// What is read has no place on the tape.
    mute: bool,
    stop: Stop,
    guide: &'r G,
    own: &'r mut Reader,
}

impl<G: Guide> Run<'_, '_, G> {
    /// Reads the value at `at`; in an object its `name` begins before it, in an array it has none and begins itself.
    #[inline(always)]
    fn value(&mut self, name: usize, at: usize, way: At) -> Read<usize> {
        if self.bytes.get(at) == Some(&b'"') {
            let end = self.string(at)?;
            return Ok(self.leaf(name, at, end, way, Kind::String));
        }
        let (kind, end) = match self.bytes.get(at) {
            Some(b'{') => return self.object(name, at, way),
            Some(b'[') => return self.array(name, at, way),
            Some(b'-' | b'0'..=b'9') => (Kind::Number, self.number(at)?),
            Some(b'n') => (Kind::Null, self.word(at, b"null")?),
            Some(b't') => (Kind::Bool, self.word(at, b"true")?),
            Some(b'f') => (Kind::Bool, self.word(at, b"false")?),
            _ => return Err(self.syntax(at)),
        };
        Ok(self.leaf(name, at, end, way, kind))
    }

    #[inline(always)]
    fn leaf(&mut self, name: usize, at: usize, end: usize, way: At, kind: Kind) -> usize {
        if !self.mute {
            let content = if kind == Kind::Null { Content::Nothing } else { Content::Leaf };
            let next = position(self.own.nodes.len() + 1);
            self.own.nodes.push(Node { name: position(name), start: position(at), end: position(end), next, at: way, kind, content });
        }
        end
    }

    #[inline(never)]
    fn object(&mut self, name: usize, at: usize, way: At) -> Read<usize> {
        let container = self.begin(name, at, way, Kind::Object)?;
        let first = self.own.names.len();
        let mut end = space(self.bytes, at + 1);
        let filled = self.bytes.get(end) != Some(&b'}');
        if filled {
            end = self.members(end, &container, first)?;
            self.own.names.truncate(first);
        } else {
            end += 1;
        }
        self.end(&container, end, filled);
        Ok(end)
    }

    /// The members of an object that has some, and its end.
    fn members(&mut self, mut at: usize, container: &Container, first: usize) -> Read<usize> {
        // Written names are compared in another way, and what no path tells apart has no places.
        let learns = self.own.from == Sender::Upstream && container.inside != At::default();
        let place = container.inside.0 as usize;
        let own = if learns { self.own.learnt.get_mut(place).and_then(Option::take) } else { None };
        let guide = self.guide;
        let habit = if learns { own.as_deref().or_else(|| guide.habit(container.inside)) } else { None };
        let mut expected = 0;
        let mut strict = !learns;
        loop {
            let start = at;
            let comes = habit.and_then(|habit| habit.next(expected, self.bytes, at));
            if let Some((number, step)) = comes {
                expected = number + 1;
                if strict || self.mute {
                    self.note_name(start, start + step.name_bytes, step.hash);
                }
                at = self.value(start, space(self.bytes, at + step.bytes), step.leads_to)?;
            } else {
                if !strict && !self.mute {
                    self.note_names_before(container);
                }
                strict = true;
                let (value, leads_to) = self.name(at, container)?;
                at = self.value(start, value, leads_to)?;
            }
            let (next, ends) = self.goes_on(at, b'}')?;
            at = next;
            if ends {
                break;
            }
        }
        if strict {
            self.unique_names(first, at)?;
        }
        if learns {
            let lessons = habit.map_or(0, |habit| habit.lessons());
            let better = if strict && lessons < HABIT_LESSONS { self.seen(container, first, lessons + 1).map(Arc::new) } else { None };
            self.keep(place, better.or(own));
        }
        Ok(at)
    }

    /// Reads a member's name up to its value; where that begins, and where its path leads.
    #[inline(never)]
    fn name(&mut self, start: usize, container: &Container) -> Read<(usize, At)> {
        if self.bytes.get(start) != Some(&b'"') {
            return Err(self.syntax(start));
        }
        let end = self.string(start)?;
        let colon = space(self.bytes, end);
        if self.bytes.get(colon) != Some(&b':') {
            return Err(self.syntax(colon));
        }
        let raw = std::str::from_utf8(self.bytes.get(start..end).unwrap_or_default());
        let raw = raw.map_err(|_cut| self.refuse(Unreadable::NotUtf8 { at: start }))?;
        let name = unescape(raw).ok_or_else(|| self.refuse(Unreadable::Escape { at: end }))?;
        let hash = name_hash(&name);
        let leads_to = if self.mute { At::default() } else { self.guide.member(container.inside, hash, &name) };
        if let (Cow::Owned(name), false) = (name, self.mute) {
            self.own.unescaped.push((self.own.nodes.len(), name));
        }
        self.note_name(start, end, hash);
        Ok((space(self.bytes, colon + 1), leads_to))
    }

    fn note_name(&mut self, start: usize, end: usize, hash: u32) {
        self.own.names.push((hash, position(start), position(end)));
    }

    /// Members that came as expected were not looked at for duplicates; now they have to be.
    #[inline(never)]
    fn note_names_before(&mut self, container: &Container) {
        let mut at = container.node + 1;
        while let Some(node) = self.own.nodes.get(at).copied() {
            at = node.next as usize;
            let name = self.bytes.get(node.name as usize + 1..node.start as usize).unwrap_or_default();
            // A name that is expected has no escapes.
            let length = name.iter().position(|byte| *byte == b'"').unwrap_or(name.len());
            let text = std::str::from_utf8(name.get(..length).unwrap_or_default()).unwrap_or_default();
            self.note_name(node.name as usize, node.name as usize + length + 2, name_hash(text));
        }
    }

    /// Refuses names that this reader or another could take for one.
    #[inline(never)]
    fn unique_names(&mut self, from: usize, at: usize) -> Read<()> {
        let bytes = self.bytes;
        let text = |start: u32, end: u32| {
            let raw = std::str::from_utf8(bytes.get(start as usize..end as usize).unwrap_or_default()).unwrap_or_default();
            unescape(raw).unwrap_or_default()
        };
        let names = self.own.names.get(from..).unwrap_or_default();
        let is_duplicate = match self.own.from {
            Sender::Caller => {
                if names.iter().any(|(_, start, end)| text(*start, *end).contains('\0')) {
                    return Err(self.refuse(Unreadable::NulInName { at }));
                }
                let mut seen = HashSet::with_capacity(names.len());
                !names.iter().all(|(_, start, end)| seen.insert(text(*start, *end).to_lowercase()))
            }
            Sender::Upstream if names.len() <= FEW_NAMES => names.iter().enumerate().any(|(n, (hash, start, end))| {
                names.iter().take(n).any(|(other, begin, finish)| hash == other && text(*start, *end) == text(*begin, *finish))
            }),
            Sender::Upstream => {
                let mut sorted = names.to_vec();
                sorted.sort_unstable();
                // Names made to have equal hashes must not cost more than others.
                sorted.chunk_by(|(one, ..), (other, ..)| one == other).filter(|equal| equal.len() > 1).any(|equal| {
                    let mut seen = HashSet::with_capacity(equal.len());
                    !equal.iter().all(|(_, start, end)| seen.insert(text(*start, *end)))
                })
            }
        };
        if is_duplicate { Err(self.refuse(Unreadable::DuplicateName { at })) } else { Ok(()) }
    }

    /// Remembers what was learnt for a place.
    #[inline]
    fn keep(&mut self, place: usize, habit: Option<Arc<Habit>>) {
        if habit.is_none() {
            return;
        }
        if self.own.learnt.len() <= place {
            self.own.learnt.resize_with(place + 1, || None);
        }
        if let Some(slot) = self.own.learnt.get_mut(place) {
            *slot = habit;
        }
    }

    /// The members that were just read; none when a name has escapes, for those are read each time.
    #[inline(never)]
    fn seen(&self, container: &Container, first: usize, lessons: u8) -> Option<Habit> {
        let mut habit = Habit::begun(lessons);
        if self.mute {
            for (_, start, end) in self.own.names.get(first..)? {
                let colon = space(self.bytes, *end as usize);
                habit.push(self.bytes.get(*start as usize..=colon)?, At::default())?;
            }
            return Some(habit);
        }
        let mut at = container.node + 1;
        while let Some(node) = self.own.nodes.get(at) {
            at = node.next as usize;
            let before = self.bytes.get(node.name as usize..node.start as usize)?;
            let colon = before.iter().rposition(|byte| *byte == b':')?;
            habit.push(before.get(..=colon)?, node.at)?;
        }
        Some(habit)
    }

    #[inline(never)]
    fn array(&mut self, name: usize, at: usize, way: At) -> Read<usize> {
        let container = self.begin(name, at, way, Kind::Array)?;
        let mut end = space(self.bytes, at + 1);
        let filled = self.bytes.get(end) != Some(&b']');
        if filled {
            let mut index = 0;
            loop {
                let leads_to = if self.mute { At::default() } else { self.guide.item(container.inside, index) };
                let after = self.value(end, end, leads_to)?;
                let (next, ends) = self.goes_on(after, b']')?;
                (end, index) = (next, index + 1);
                if ends {
                    break;
                }
            }
        } else {
            end += 1;
        }
        self.end(&container, end, filled);
        Ok(end)
    }

    /// After something in a container: where the next thing begins, or where the container ends.
    #[inline(always)]
    fn goes_on(&mut self, at: usize, end: u8) -> Read<(usize, bool)> {
        let mut next = at;
        let mut found = self.bytes.get(next).copied();
        if found != Some(b',') && found != Some(end) {
            next = space(self.bytes, next);
            found = self.bytes.get(next).copied();
        }
        if found == Some(b',') {
            Ok((space(self.bytes, next + 1), false))
        } else if found == Some(end) {
            Ok((next + 1, true))
        } else {
            Err(self.syntax(next))
        }
    }

    fn begin(&mut self, name: usize, at: usize, way: At, kind: Kind) -> Read<Container> {
        if self.depth >= self.own.depth_max {
            return Err(self.refuse(Unreadable::TooDeep { max: self.own.depth_max }));
        }
        self.depth += 1;
        let was_mute = self.mute;
        let node = self.own.nodes.len();
        // In what is mute already no place is known.
        let mut inside = if was_mute { At::default() } else { way };
        if !was_mute {
            match self.guide.enter(way, kind) {
                Enter::Inside(leads_to) => inside = leads_to,
                Enter::Whole => self.mute = true,
            }
            let (name, start) = (position(name), position(at));
            self.own.nodes.push(Node { name, start, end: start, next: 0, at: way, kind, content: Content::Nothing });
        }
        Ok(Container { node, was_mute, inside })
    }

    /// A container has been read to its end.
    fn end(&mut self, container: &Container, end: usize, filled: bool) {
        self.depth -= 1;
        let is_whole = self.mute;
        self.mute = container.was_mute;
        if self.mute {
            return;
        }
        let next = position(self.own.nodes.len());
        if let Some(node) = self.own.nodes.get_mut(container.node) {
            (node.next, node.end) = (next, position(end));
            node.content = match (filled, is_whole) {
                (false, _) => Content::Nothing,
                (true, true) => Content::Whole,
                (true, false) => Content::Inside,
            };
        }
    }

    /// Reads the string at `at`, sixteen bytes at a time.
    #[inline]
    fn string(&mut self, at: usize) -> Read<usize> {
        let mut next = at + 1;
        while let Some(block) = self.bytes.get(next..).and_then(<[u8]>::first_chunk::<16>) {
            let block = u8x16::new(*block);
            // A byte that is not ASCII has the bit by which the mask is made.
            let ends = (ends_in(block) | block).to_bitmask();
            if ends == 0 {
                next += 16;
                continue;
            }
            next += ends.trailing_zeros() as usize;
            if self.bytes.get(next) == Some(&b'"') {
                return Ok(next + 1);
            }
            break;
        }
        self.rest_of_string(at, next)
    }

    /// The same near the end of the bytes, and for strings that are not plain ASCII.
    #[inline(never)]
    fn rest_of_string(&mut self, at: usize, mut next: usize) -> Read<usize> {
        loop {
            while let Some(block) = self.bytes.get(next..).and_then(<[u8]>::first_chunk::<16>) {
                let ends = ends_in(u8x16::new(*block)).to_bitmask();
                next += if ends == 0 { 16 } else { ends.trailing_zeros() as usize };
                if ends != 0 {
                    break;
                }
            }
            match self.bytes.get(next) {
                Some(b'"') => break,
                Some(b'\\') => next = self.escape(next)?,
                None | Some(0..=0x1f) => return Err(self.syntax(next)),
                Some(_) => next += 1,
            }
        }
        let text = self.bytes.get(at + 1..next).unwrap_or_default();
        std::str::from_utf8(text).map_err(|error| self.refuse(Unreadable::NotUtf8 { at: at + 1 + error.valid_up_to() }))?;
        Ok(next + 1)
    }

    /// Where the escape ends that begins at `at`; one of two surrogates does not stand alone.
    fn escape(&mut self, at: usize) -> Read<usize> {
        match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => match self.unit(at)? {
                0xd800..=0xdbff => match (self.bytes.get(at + 6), self.bytes.get(at + 7)) {
                    (Some(b'\\'), Some(b'u')) if matches!(self.unit(at + 6)?, 0xdc00..=0xdfff) => Ok(at + 12),
                    (None, _) | (Some(b'\\'), None) => Err(self.broken(at)),
                    _ => Err(self.refuse(Unreadable::Escape { at })),
                },
                0xdc00..=0xdfff => Err(self.refuse(Unreadable::Escape { at })),
                _ => Ok(at + 6),
            },
            None => Err(self.broken(at)),
            Some(_) => Err(self.refuse(Unreadable::Escape { at })),
        }
    }

    /// The four hexadecimal digits of the `\u` at `at`.
    fn unit(&mut self, at: usize) -> Read<u32> {
        let digits = self.bytes.get(at + 2..).unwrap_or_default();
        let Some(digits) = digits.first_chunk::<4>() else { return Err(self.broken(at)) };
        let digit = |value: u32, byte: &u8| Some(value << 4 | char::from(*byte).to_digit(16)?);
        digits.iter().try_fold(0, digit).ok_or_else(|| self.refuse(Unreadable::Escape { at }))
    }

    /// An escape is cut off where the bytes end.
    fn broken(&mut self, at: usize) -> Stopped {
        self.stop = if self.is_last { Stop::Unreadable(Unreadable::Escape { at }) } else { Stop::Incomplete };
        Stopped
    }

    #[inline(never)]
    fn number(&mut self, at: usize) -> Read<usize> {
        let is = |at: usize, one: u8, other: u8| self.bytes.get(at).is_some_and(|byte| *byte == one || *byte == other);
        let mut next = at + usize::from(is(at, b'-', b'-'));
        next = if is(next, b'0', b'0') { next + 1 } else { self.digits(next)? };
        let is = |at: usize, one: u8, other: u8| self.bytes.get(at).is_some_and(|byte| *byte == one || *byte == other);
        if is(next, b'.', b'.') {
            next = self.digits(next + 1)?;
        }
        let is = |at: usize, one: u8, other: u8| self.bytes.get(at).is_some_and(|byte| *byte == one || *byte == other);
        if is(next, b'e', b'E') {
            next += 1 + usize::from(is(next + 1, b'+', b'-'));
            next = self.digits(next)?;
        }
        // Digits may follow.
        if next == self.bytes.len() && !self.is_last { Err(self.syntax(next)) } else { Ok(next) }
    }

    /// At least one digit.
    #[inline]
    fn digits(&mut self, at: usize) -> Read<usize> {
        let mut next = at;
        while self.bytes.get(next).is_some_and(u8::is_ascii_digit) {
            next += 1;
        }
        if next > at { Ok(next) } else { Err(self.syntax(next)) }
    }

    #[inline(never)]
    fn word(&mut self, at: usize, word: &[u8]) -> Read<usize> {
        let rest = self.bytes.get(at..).unwrap_or_default();
        if rest.starts_with(word) {
            Ok(at + word.len())
        } else if word.starts_with(rest) && !self.is_last {
            Err(Stopped)
        } else {
            Err(self.refuse(Unreadable::Syntax { at }))
        }
    }

    #[cold]
    fn syntax(&mut self, at: usize) -> Stopped {
        if at < self.bytes.len() || self.is_last { self.refuse(Unreadable::Syntax { at }) } else { Stopped }
    }

    #[cold]
    const fn refuse(&mut self, reason: Unreadable) -> Stopped {
        self.stop = Stop::Unreadable(reason);
        Stopped
    }
}

/// A container that has not ended.
struct Container {
    node: usize,
    was_mute: bool,
    /// The place from which its members lead on.
    inside: At,
}

/// The size of what is read at once is below 2³² (checked when the reader begins).
#[inline]
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// All bits of a byte that ends what is plain of a string: a quotation mark, a backslash, a control.
#[inline(always)]
fn ends_in(block: u8x16) -> u8x16 {
    block.simd_eq(QUOTES) | block.simd_eq(SLASHES) | block.simd_eq(block.min(CONTROLS))
}

const QUOTES: u8x16 = u8x16::new([b'"'; 16]);
const SLASHES: u8x16 = u8x16::new([b'\\'; 16]);
const CONTROLS: u8x16 = u8x16::new([0x1f; 16]);
