//! All decisions of a time, for reports that count them: from the rows alone, so that millions take seconds.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use super::gather::Verdict;
use super::partition::Partition;
use super::rows::{HeadKind, Outcomes, PieceKind};
use super::{Index, IndexError};

/// From `since` until before `until`; everything without them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// A decision. Texts and classes of verdicts are numbers of [`Names`].
#[derive(Clone, Debug)]
pub struct Row<'a> {
    pub index: u64,
    /// Microseconds since 1970.
    pub at: i64,
    pub app: u32,
    pub department: u32,
    pub actor: Option<u32>,
    pub agent: Option<u32>,
    pub api: u32,
    pub route: u32,
    pub action: u32,
    pub purpose: Option<u32>,
    pub grant: Option<u32>,
    /// A denial of the whole request.
    pub is_denied: bool,
    pub code: Option<u32>,
    /// Its `end` or its denial was written.
    pub is_over: bool,
    /// Rows that went out, or may have.
    pub rows: u64,
    /// What was judged, whether or not it went out.
    pub judged: &'a [Reading],
    /// What may have reached the app; of groups with data that was withheld, too.
    pub disclosed: &'a [Reading],
}

/// Verdicts that a group of customers got.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub class: u32,
    goes_out: bool,
    pub parties: u64,
    /// Ids that were not in the crosswalk.
    pub unknown: u64,
}

/// What numbers stand for.
#[derive(Debug, Default)]
pub struct Names {
    texts: Vec<Box<str>>,
    by_text: HashMap<Box<str>, u32>,
    classes: Vec<Vec<Verdict>>,
    by_verdicts: HashMap<Box<str>, u32>,
}

impl Names {
    #[must_use]
    pub fn text(&self, name: u32) -> &str {
        usize::try_from(name).ok().and_then(|at| self.texts.get(at)).map_or("", |text| text)
    }

    /// The verdicts of a class, one for each category.
    #[must_use]
    pub fn verdicts(&self, class: u32) -> &[Verdict] {
        usize::try_from(class).ok().and_then(|at| self.classes.get(at)).map_or(&[], Vec::as_slice)
    }

    fn intern(&mut self, text: &str) -> u32 {
        if let Some(&known) = self.by_text.get(text) {
            return known;
        }
        let name = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(text.into());
        self.by_text.insert(text.into(), name);
        name
    }

    fn class(&mut self, verdicts: &str) -> Result<u32, IndexError> {
        if let Some(&known) = self.by_verdicts.get(verdicts) {
            return Ok(known);
        }
        let read = serde_json::from_str(verdicts).map_err(|error| IndexError::Database(format!("a class of verdicts: {error}")))?;
        let class = u32::try_from(self.classes.len()).unwrap_or(u32::MAX);
        self.classes.push(read);
        self.by_verdicts.insert(verdicts.into(), class);
        Ok(class)
    }
}

/// Of a partition: its numbers in those of all.
struct Translation {
    names: HashMap<u32, u32>,
    classes: HashMap<u32, u32>,
}

#[derive(Clone, Copy)]
struct Piece {
    head: u64,
    entry: u64,
    kind: u8,
    code: Option<u32>,
    rows: u64,
}

#[derive(Clone, Copy)]
struct Judged {
    head: u64,
    entry: u64,
    reading: Reading,
}

/// What later partitions hold of the heads of earlier ones.
#[derive(Default)]
struct Late {
    pieces: HashMap<u64, Vec<Piece>>,
    judged: HashMap<u64, Vec<Judged>>,
}

impl Index {
    /// Every decision of the window; newest partitions first, in the order of the log within each.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn scan(&self, window: Window, mut each: impl FnMut(&Names, &Row<'_>)) -> Result<Names, IndexError> {
        let (mut names, mut late) = (Names::default(), Late::default());
        for &first in self.partitions()?.iter().rev() {
            self.with(first, |partition| scan_one(partition, first, window, &mut names, &mut late, &mut each))?;
        }
        Ok(names)
    }
}

impl Index {
    /// The earliest time of a decision that is indexed, microseconds since 1970.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn scan_begin(&self) -> Result<Option<i64>, IndexError> {
        let mut begin = None;
        for &first in &self.partitions()? {
            let extent = self.with(first, Partition::extent)?.flatten();
            begin = begin.into_iter().chain(extent.map(|extent| extent.at.0)).min();
        }
        Ok(begin)
    }

    /// The customers of whom something may have gone out in one of these decisions, by their numbers.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn disclosed_parties(&self, heads: &HashSet<u64>) -> Result<BTreeSet<u64>, IndexError> {
        let (Some(&least), Some(&greatest)) = (heads.iter().min(), heads.iter().max()) else { return Ok(BTreeSet::new()) };
        let mut parties = BTreeSet::new();
        for &first in self.partitions()?.iter() {
            self.with(first, |partition| {
                let sql = "SELECT party, head, outcome FROM subject WHERE head BETWEEN ? AND ? AND class IN (SELECT class FROM category WHERE released = 1)";
                let mut statement = partition.connection().prepare_cached(sql)?;
                let mut rows = statement.query([least, greatest])?;
                while let Some(row) = rows.next()? {
                    if heads.contains(&row.get(1)?) && Outcomes(row.get(2)?).goes_out() {
                        parties.insert(row.get(0)?);
                    }
                }
                Ok(())
            })?;
        }
        Ok(parties)
    }
}

fn scan_one(
    partition: &Partition,
    first: u64,
    window: Window,
    names: &mut Names,
    late: &mut Late,
    each: &mut impl FnMut(&Names, &Row<'_>),
) -> Result<(), IndexError> {
    let Some(extent) = partition.extent()? else { return Ok(()) };
    let (since, until) = (window.since.map_or(i64::MIN, Timestamp::as_microsecond), window.until.map_or(i64::MAX, Timestamp::as_microsecond));
    let translation = translate(partition, names)?;
    let mut pieces = pieces(partition, &translation)?;
    let mut judged = judged(partition, &translation)?;
    // Sorted by head: those of earlier partitions come first.
    for piece in pieces.drain(..pieces.partition_point(|piece| piece.head < first)) {
        late.pieces.entry(piece.head).or_default().push(piece);
    }
    for reading in judged.drain(..judged.partition_point(|reading| reading.head < first)) {
        late.judged.entry(reading.head).or_default().push(reading);
    }
    if extent.at.1 < since || extent.at.0 >= until {
        return Ok(());
    }
    let (mut pieces, mut judged) = (pieces.as_slice(), judged.as_slice());
    let sql = "SELECT head, at, app, department, actor, agent, api, route, action, purpose, break_glass, kind FROM head WHERE late = 0 ORDER BY head";
    let mut statement = partition.connection().prepare_cached(sql)?;
    let mut heads = statement.query([])?;
    let mut gathered = Gathered::default();
    while let Some(head) = heads.next()? {
        let (index, at): (u64, i64) = (head.get(0)?, head.get(1)?);
        gathered.clear();
        gathered.pieces.extend(of_head(&mut pieces, |piece| piece.head, index));
        gathered.judged.extend(of_head(&mut judged, |reading| reading.head, index));
        gathered.pieces.extend(late.pieces.remove(&index).unwrap_or_default());
        gathered.judged.extend(late.judged.remove(&index).unwrap_or_default());
        if at < since || at >= until {
            continue;
        }
        let name = |column| Ok::<_, IndexError>(translation.name(head.get(column)?));
        let maybe = |column| Ok::<_, IndexError>(head.get::<_, Option<u32>>(column)?.map(|name| translation.name(name)));
        let row = Row {
            index,
            at,
            app: name(2)?,
            department: name(3)?,
            actor: maybe(4)?,
            agent: maybe(5)?,
            api: name(6)?,
            route: name(7)?,
            action: name(8)?,
            purpose: maybe(9)?,
            grant: maybe(10)?,
            is_denied: false,
            code: None,
            is_over: false,
            rows: 0,
            judged: &[],
            disclosed: &[],
        };
        gathered.tell(row, HeadKind::of(head.get(11)?), names, each);
    }
    Ok(())
}

/// What belongs to one head.
#[derive(Default)]
struct Gathered {
    pieces: Vec<Piece>,
    judged: Vec<Judged>,
    all: Vec<Reading>,
    disclosed: Vec<Reading>,
}

impl Gathered {
    fn clear(&mut self) {
        self.pieces.clear();
        self.judged.clear();
        self.all.clear();
        self.disclosed.clear();
    }

    fn tell(&mut self, mut row: Row<'_>, kind: HeadKind, names: &Names, each: &mut impl FnMut(&Names, &Row<'_>)) {
        let is = |piece: &Piece, kind: PieceKind| piece.kind == kind as u8;
        let has_parts = self.pieces.iter().any(|piece| is(piece, PieceKind::Part));
        row.is_denied = self.pieces.iter().any(|piece| is(piece, PieceKind::Deny));
        row.is_over = self.pieces.iter().any(|piece| !is(piece, PieceKind::Part));
        row.code = self.pieces.iter().find_map(|piece| piece.code);
        let end = self.pieces.iter().find(|piece| is(piece, PieceKind::End)).map(|end| end.rows);
        let in_parts = self.pieces.iter().filter(|piece| is(piece, PieceKind::Part)).map(|part| part.rows).sum();
        row.rows = end.filter(|_| has_parts).unwrap_or(in_parts);
        self.all.extend(self.judged.iter().map(|judged| judged.reading));
        // As in `gathered.rs`: a part says more exactly than its head what the answer holds, and what a write brought in is not disclosed.
        let pieces = &self.pieces;
        let is_part = |entry: u64| pieces.iter().any(|piece| piece.entry == entry && is(piece, PieceKind::Part));
        let by_head = kind == HeadKind::Permit && !has_parts && !row.is_denied;
        let discloses =
            |judged: &&Judged| judged.reading.goes_out && if judged.entry == row.index { by_head } else { has_parts && is_part(judged.entry) };
        self.disclosed.extend(self.judged.iter().filter(discloses).map(|judged| judged.reading));
        let row = Row { judged: &self.all, disclosed: &self.disclosed, ..row };
        each(names, &row);
    }
}

/// Takes those of `head` from the front.
fn of_head<'r, T>(rows: &mut &'r [T], key: fn(&T) -> u64, head: u64) -> &'r [T] {
    let before = rows.iter().take_while(|row| key(row) < head).count();
    let rest = rows.get(before..).unwrap_or_default();
    let (own, after) = rest.split_at(rest.iter().take_while(|row| key(row) == head).count());
    *rows = after;
    own
}

impl Translation {
    fn name(&self, name: u32) -> u32 {
        self.names.get(&name).copied().unwrap_or(u32::MAX)
    }
}

fn translate(partition: &Partition, all: &mut Names) -> Result<Translation, IndexError> {
    let names = partition.pairs::<u32, String>("SELECT name, text FROM name")?;
    let names = names.into_iter().map(|(name, text)| (name, all.intern(&text))).collect();
    let classes = partition.pairs::<u32, String>("SELECT class, verdicts FROM class")?;
    let classes = classes.into_iter().map(|(class, verdicts)| Ok((class, all.class(&verdicts)?))).collect::<Result<_, IndexError>>()?;
    Ok(Translation { names, classes })
}

fn pieces(partition: &Partition, translation: &Translation) -> Result<Vec<Piece>, IndexError> {
    let mut statement = partition.connection().prepare_cached("SELECT head, entry, kind, code, rows FROM piece ORDER BY head, entry")?;
    let rows = statement.query_map([], |row| {
        let code = row.get::<_, Option<u32>>(3)?.map(|code| translation.name(code));
        Ok(Piece { head: row.get(0)?, entry: row.get(1)?, kind: row.get(2)?, code, rows: row.get(4)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn judged(partition: &Partition, translation: &Translation) -> Result<Vec<Judged>, IndexError> {
    let mut statement = partition.connection().prepare_cached("SELECT head, entry, class, outcome, parties, unknown FROM reading")?;
    let rows = statement.query_map([], |row| {
        let class = translation.classes.get(&row.get(2)?).copied().unwrap_or(u32::MAX);
        let goes_out = Outcomes(row.get(3)?).goes_out();
        let reading = Reading { class, goes_out, parties: row.get(4)?, unknown: row.get(5)? };
        Ok(Judged { head: row.get(0)?, entry: row.get(1)?, reading })
    })?;
    let mut judged: Vec<Judged> = rows.collect::<Result<_, _>>()?;
    judged.sort_unstable_by_key(|judged| (judged.head, judged.entry));
    Ok(judged)
}
