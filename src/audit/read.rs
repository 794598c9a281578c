//! Reading a log, closed or while it is being written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::content::{self, Content};
use super::error::AuditError;
use super::parties;
use super::segment::{self, Cursor, Frame, HEADER_BYTES, Held, SegmentFile, SegmentName, missing};

/// One entry as it stands in the log.
#[derive(Clone, Debug)]
pub struct Logged {
    pub index: u64,
    /// The bytes that are hashed.
    pub raw: Vec<u8>,
    /// `Null` when the bytes are not JSON (an entry of a version to come).
    pub value: Value,
    /// `value` with dictionary references replaced by what they stand for and parties as a list of numbers. The same as
    /// `value` for versions that are not known.
    pub resolved: Value,
}

impl Logged {
    /// `dictionary` says what its dictionary entries stand for, by their indexes.
    pub(super) fn read(index: u64, raw: Vec<u8>, mut dictionary: impl FnMut(u64) -> Option<Value>) -> Self {
        let value: Value = serde_json::from_slice(&raw).unwrap_or_default();
        let mut resolved = value.clone();
        if value.get("v") == Some(&Value::from(1)) && value.get("kind").is_none_or(|kind| kind != "dict") {
            replace(&mut resolved, &mut dictionary);
        }
        Self { index, raw, value, resolved }
    }

    #[must_use]
    pub fn kind(&self) -> &str {
        self.value.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    /// The decision to which the entry belongs: its own index for a head. `None` for entries that are no decision.
    #[must_use]
    pub fn decision(&self) -> Option<u64> {
        match (self.kind(), self.value.get("of").and_then(Value::as_u64)) {
            ("deny" | "part" | "end", Some(of)) => Some(of),
            ("deny" | "permit" | "intent", None) => Some(self.index),
            _ => None,
        }
    }
}

/// Entries in order from the first, without those that are pruned; ends at the last whole one. An `Err` is the last item. Holds one
/// segment in memory.
#[derive(Debug)]
pub struct Reader {
    segments: std::iter::Peekable<std::vec::IntoIter<SegmentFile>>,
    /// The segment that is read.
    data: Vec<u8>,
    cursor: Cursor,
    /// Dictionary entries of the segment by index.
    dictionary: HashMap<u64, Value>,
    ended: bool,
}

impl Reader {
    /// # Errors
    /// When there is no log in `dir`.
    pub fn open(dir: &Path) -> Result<Self, AuditError> {
        let segments = segment::of_log(dir)?;
        // Before its first segment there is nothing.
        let (data, cursor) = (Vec::new(), Cursor::default());
        let mut reader = Self { segments: segments.into_iter().peekable(), data, cursor, dictionary: HashMap::new(), ended: false };
        reader.begin()?;
        Ok(reader)
    }

    fn step(&mut self) -> Result<Option<Logged>, AuditError> {
        loop {
            if let Some((index, entry)) = self.cursor.next(&self.data)? {
                return Ok(Some(resolve(index, entry.to_vec(), &mut self.dictionary)));
            }
            if !self.begin()? {
                return Ok(None);
            }
        }
    }

    /// The next segment; false after the last one.
    fn begin(&mut self) -> Result<bool, AuditError> {
        let Some(file) = self.segments.next() else { return Ok(false) };
        self.data = content::read(&file)?;
        self.cursor = Cursor::open(&file, &self.data, self.segments.peek().map(|next| next.name.first))?;
        self.dictionary.clear();
        Ok(true)
    }
}

impl Iterator for Reader {
    type Item = Result<Logged, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.step().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

/// Entries by their index. Remembers where they stand in segments that are finished, so that only what is asked for is read again.
#[derive(Debug)]
pub(super) struct Spans {
    dirs: Vec<PathBuf>,
    segments: Vec<SegmentFile>,
    /// Where each 256th entry begins, and where the last one ends.
    ///
    // INVARIANT: what holds for a segment and its length holds for its file: a segment that is pruned becomes shorter.
    places: HashMap<(SegmentName, u64), Vec<usize>>,
    buffer: Vec<u8>,
}

/// Of every so many entries of a segment the place is remembered.
const PLACES_EVERY: u64 = 256;
const BUFFER_BYTES_KEPT: usize = 1 << 20;

impl Spans {
    pub(super) fn new(dirs: Vec<PathBuf>) -> Self {
        Self { dirs, segments: Vec::new(), places: HashMap::new(), buffer: Vec::new() }
    }

    /// The entries from `from` to before `to`, in their order, with tombstones.
    pub(super) fn each(&mut self, from: u64, to: u64, mut each: impl FnMut(Held<'_>)) -> Result<(), AuditError> {
        // Only the last segment grows, and only behind it others begin.
        if self.segments.last().is_none_or(|last| to > last.name.first) {
            self.segments = segment::list(&self.dirs)?;
        }
        let segments = std::mem::take(&mut self.segments);
        let read = self.each_of(&segments, from, to, &mut each);
        self.segments = segments;
        // A whole segment is not kept in memory.
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        read
    }

    /// One entry; `None` when it is pruned.
    pub(super) fn one(&mut self, index: u64) -> Result<Option<Vec<u8>>, AuditError> {
        let mut found = None;
        self.each(index, index + 1, |held| found = held.entry().map(<[u8]>::to_vec))?;
        Ok(found)
    }

    fn each_of(&mut self, segments: &[SegmentFile], from: u64, to: u64, each: &mut impl FnMut(Held<'_>)) -> Result<(), AuditError> {
        let mut next = from;
        while next < to {
            let after = segments.partition_point(|file| file.name.first <= next);
            let file = after.checked_sub(1).and_then(|at| segments.get(at)).ok_or_else(|| missing(next))?;
            let limit = segments.get(after).map(|after| after.name.first);
            next = self.each_in(file, limit, next, to.min(limit.unwrap_or(u64::MAX)), each)?;
        }
        Ok(())
    }

    /// Those of one segment; the index after them.
    fn each_in(&mut self, file: &SegmentFile, limit: Option<u64>, from: u64, to: u64, each: &mut impl FnMut(Held<'_>)) -> Result<u64, AuditError> {
        let failed = |e: std::io::Error| AuditError::io(&file.path, &e);
        // One file from here on, whatever takes its place.
        let mut opened = Content::open(file)?;
        let (mut index, mut at) = match (self.places.get(&(file.name, opened.length)), limit) {
            (Some(places), _) => (read_places(file, &mut opened, places, from, to, &mut self.buffer)?, 0),
            (None, limit) => {
                self.buffer.resize(usize::try_from(opened.length).unwrap_or(usize::MAX), 0);
                let filled = opened.fill(&mut self.buffer, 0).map_err(failed)?;
                self.buffer.truncate(filled);
                if let Some(limit) = limit {
                    self.places.retain(|(name, _), _| *name != file.name);
                    self.places.insert((file.name, opened.length), places_in(&self.buffer, file.name.first, limit)?);
                }
                (file.name.first, HEADER_BYTES)
            }
        };
        while index < to {
            let Frame::Held { held, end } = segment::frame_at(&self.buffer, at, index) else { return Err(missing(index)) };
            if index >= from {
                each(held);
            }
            (index, at) = (index + 1, end);
        }
        Ok(index)
    }
}

/// Reads from the last remembered place before `from` to the first one that is not before `to`; says which entry begins there.
fn read_places(file: &SegmentFile, opened: &mut Content, places: &[usize], from: u64, to: u64, buffer: &mut Vec<u8>) -> Result<u64, AuditError> {
    let place = |number: u64| usize::try_from(number).ok().and_then(|number| places.get(number)).copied();
    let first = (from - file.name.first) / PLACES_EVERY;
    let last = (to - file.name.first).div_ceil(PLACES_EVERY);
    let (start, end) = place(first).zip(place(last)).ok_or_else(|| missing(from))?;
    buffer.resize(end.saturating_sub(start), 0);
    let filled = opened.fill(buffer, u64::try_from(start).unwrap_or(u64::MAX)).map_err(|e| AuditError::io(&file.path, &e))?;
    buffer.truncate(filled);
    Ok(file.name.first + first * PLACES_EVERY)
}

fn places_in(data: &[u8], first: u64, limit: u64) -> Result<Vec<usize>, AuditError> {
    let (mut at, mut places) = (HEADER_BYTES, Vec::new());
    for index in first..limit {
        if (index - first).is_multiple_of(PLACES_EVERY) {
            places.push(at);
        }
        let Frame::Held { end, .. } = segment::frame_at(data, at, index) else { return Err(missing(index)) };
        at = end;
    }
    places.push(at);
    Ok(places)
}

/// The newest entry of a kind, with its dictionary references as they stand there. Reads from the end, a segment at a time, so that
/// it costs what was written since.
///
/// # Errors
/// When there is no log in `dir`, or what is read on the way is damaged.
pub fn newest(dir: &Path, kind: &str) -> Result<Option<Logged>, AuditError> {
    let segments = segment::of_log(dir)?;
    let mut limit = None;
    for file in segments.iter().rev() {
        if let Some(found) = newest_in(file, limit, kind)? {
            return Ok(Some(found));
        }
        limit = Some(file.name.first);
    }
    Ok(None)
}

/// `limit`: the first index of the segment after it.
fn newest_in(file: &SegmentFile, limit: Option<u64>, kind: &str) -> Result<Option<Logged>, AuditError> {
    let data = content::read(file)?;
    let mut cursor = Cursor::open(file, &data, limit)?;
    // Entries are canonical; only those that hold the word are taken apart.
    let word = format!("\"kind\":\"{kind}\"");
    let mut found = None;
    while let Some((index, entry)) = cursor.next(&data)? {
        if entry.windows(word.len()).any(|part| part == word.as_bytes()) {
            let logged = resolve(index, entry.to_vec(), &mut HashMap::new());
            found = (logged.kind() == kind).then_some(logged).or(found);
        }
    }
    Ok(found)
}

/// As the next entry of a segment whose dictionary entries so far are known.
pub(super) fn resolve(index: u64, raw: Vec<u8>, dictionary: &mut HashMap<u64, Value>) -> Logged {
    let logged = Logged::read(index, raw, |at| dictionary.get(&at).cloned());
    if logged.kind() == "dict" && logged.value.get("v") == Some(&Value::from(1)) {
        dictionary.insert(index, logged.value.get("value").cloned().unwrap_or_default());
    }
    logged
}

/// A reference that leads nowhere and a list that can not be read stay as they are.
fn replace(value: &mut Value, dictionary: &mut impl FnMut(u64) -> Option<Value>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, dictionary)),
        Value::Object(members) => {
            if members.len() == 1
                && let Some(found) = members.get("dict").and_then(Value::as_u64).and_then(&mut *dictionary)
            {
                *value = found;
                return;
            }
            for (key, member) in members.iter_mut() {
                match member.as_str().filter(|_| key == "parties").and_then(parties::decode) {
                    Some(list) => *member = list.into_iter().map(|p| p.0).collect(),
                    None => replace(member, dictionary),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
