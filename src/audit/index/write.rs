//! Reading on from the log into the partition that grows.

use std::path::{Path, PathBuf};

use super::IndexError;
use super::gather::Gather;
use super::partition::{self, Extent, Partition, first_of};
use super::rows::Sources;
use crate::audit::AuditError;
use crate::audit::line::Line;
use crate::audit::read::Spans;
use crate::audit::segment::{self, SegmentFile};
use crate::audit::tail::{Tail, leaf_at};
use crate::audit::tree::Hash;

/// Written together at most, some 50 B each in memory.
const ROWS_TOGETHER_MAX: usize = 500_000;

#[derive(Debug)]
pub(super) struct Writer {
    log: PathBuf,
    dir: PathBuf,
    tail: Tail,
    /// Heads of earlier partitions are read by their index.
    spans: Spans,
    gather: Gather,
    partition: Partition,
    /// Entries of a partition.
    size: u64,
    /// First entry of the partition.
    first: u64,
    /// Where the partition begins in a log whose beginning is pruned.
    begins: u64,
    beyond: u64,
    /// From which files.
    sources: Sources,
    /// Of the last entry that was read.
    place: u64,
    at: (i64, i64),
}

impl Writer {
    /// Goes on behind what the partitions hold, as far as that is in the log.
    pub(super) fn open(log: &Path, dir: &Path, size: u64) -> Result<Self, IndexError> {
        let segments = segment::of_log(log)?;
        let log_begins = segments.first().map_or(0, |file| file.name.first);
        let mut last: Option<Extent> = None;
        for first in partition::list(dir)? {
            let extent = extent_in(log, dir, first)?.filter(|(extent, _)| extent.first >= first && extent.beyond <= first + size);
            // What goes on must be whole; what is full is renewed in its time.
            let extent = extent.and_then(|(extent, is_stale)| (!is_stale || extent.beyond == first + size).then_some(extent));
            let follows = match (&last, &extent) {
                (_, None) => false,
                (None, Some(extent)) => extent.first == log_begins.max(first),
                (Some(before), Some(extent)) => before.beyond == extent.first && extent.first == first,
            };
            match extent.filter(|_| follows) {
                Some(extent) => last = Some(extent),
                None => partition::remove(dir, first)?,
            }
        }
        let begins = last.as_ref().map_or(log_begins, |last| last.first);
        let beyond = last.as_ref().map_or(log_begins, |last| last.beyond);
        let full = last.is_some() && first_of(beyond, size) != first_of(begins, size);
        let first = if full { beyond } else { first_of(begins, size) };
        let partition = Partition::create(dir, first)?;
        let gather = partition.gather(first)?;
        let tail = Tail::open(log, beyond)?;
        let spans = Spans::new(segment::directories(log));
        let at = last.filter(|_| !full).map_or((i64::MAX, i64::MIN), |last| last.at);
        let begins = if full { beyond } else { begins };
        let sources = Sources::new();
        Ok(Self { log: log.to_owned(), dir: dir.to_owned(), tail, spans, gather, partition, size, first, begins, beyond, sources, place: 0, at })
    }

    /// Builds one partition in another folder, up to before entry `to`.
    pub(super) fn build(log: &Path, dir: &Path, size: u64, first: u64, to: u64) -> Result<(), IndexError> {
        let begins = segment::of_log(log)?.first().map_or(first, |file| file.name.first.max(first));
        let partition = Partition::create(dir, first)?;
        let (tail, spans, gather) = (Tail::open(log, begins)?, Spans::new(segment::directories(log)), partition.gather(first)?);
        let (log, dir, at, beyond) = (log.to_owned(), dir.to_owned(), (i64::MAX, i64::MIN), begins);
        let mut writer = Self { log, dir, tail, spans, gather, partition, size, first, begins, beyond, sources: Sources::new(), place: 0, at };
        while writer.beyond < to {
            writer.try_advance(to)?;
        }
        writer.partition.finish()
    }

    /// First entry of the partition that grows.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn beyond(&self) -> u64 {
        self.beyond
    }

    /// Reads and writes some of what is before `to`; the number of entries that are indexed, and whether that is all.
    pub(super) fn advance(&mut self, to: u64) -> Result<(u64, bool), IndexError> {
        let result = self.try_advance(to);
        if result.is_err() {
            // What was gathered is not what is written: from what is written on, once more.
            *self = Self::open(&self.log, &self.dir, self.size)?;
        }
        result
    }

    fn try_advance(&mut self, to: u64) -> Result<(u64, bool), IndexError> {
        let end = self.first + self.size;
        let mut is_dry = false;
        while self.gather.rows.len() < ROWS_TOGETHER_MAX && self.tail.index() < to.min(end) {
            let (gather, beyond, place) = (&mut self.gather, self.beyond, &mut self.place);
            let read = self.tail.read(to.min(end), to != u64::MAX, |entry| {
                if entry.index < beyond {
                    gather.learn(&entry);
                } else {
                    gather.add(&entry);
                    *place = entry.place;
                }
            })?;
            self.sources.extend(self.tail.source());
            if read == 0 {
                is_dry = true;
                break;
            }
        }
        self.commit()?;
        let is_done = is_dry || self.beyond >= to;
        if self.beyond == end {
            self.turn()?;
        }
        Ok((self.beyond, is_done))
    }

    fn commit(&mut self) -> Result<(), IndexError> {
        let beyond = self.tail.index();
        if beyond <= self.beyond {
            return Ok(());
        }
        for head in std::mem::take(&mut self.gather.wanted) {
            self.fetch_late(head)?;
        }
        let mut rows = std::mem::take(&mut self.gather.rows);
        for head in rows.heads.iter().filter(|head| !head.is_late) {
            self.at = (self.at.0.min(head.at), self.at.1.max(head.at));
        }
        rows.sort();
        let segments = segment::of_log(&self.log)?;
        let leaf = leaf_of(&segments, &mut self.spans, beyond - 1, self.place)?;
        let next = segments.iter().skip(1).map(|next| next.name.first).chain([u64::MAX]);
        let read = segments.iter().zip(next).filter(|(file, next)| file.name.first.max(self.begins) < beyond.min(*next));
        let sources: Sources = read.filter_map(|(file, _)| Some((file.name, *self.sources.get(&file.name)?))).collect();
        self.partition.write(&rows, &Extent { first: self.begins, beyond, place: self.place, leaf, at: self.at }, &sources)?;
        self.beyond = beyond;
        Ok(())
    }

    /// A head of an earlier partition; one that is pruned stays away.
    fn fetch_late(&mut self, head: u64) -> Result<(), IndexError> {
        let segments = segment::of_log(&self.log)?;
        if segments.first().is_none_or(|file| head < file.name.first) {
            return Ok(());
        }
        let Some(entry) = self.spans.one(head)? else { return Ok(()) };
        let facts = Line::read(&entry).and_then(|line| line.facts).map(|facts| self.spans.one(facts.dict)).transpose()?.flatten();
        self.gather.add_late(head, &entry, facts.as_deref());
        Ok(())
    }

    /// To the next partition.
    fn turn(&mut self) -> Result<(), IndexError> {
        let next = Partition::create(&self.dir, self.beyond)?;
        std::mem::replace(&mut self.partition, next).finish()?;
        self.gather = std::mem::take(&mut self.gather).next(self.beyond);
        self.sources = self.tail.source().into_iter().collect();
        (self.first, self.begins, self.at) = (self.beyond, self.beyond, (i64::MAX, i64::MIN));
        Ok(())
    }
}

/// What a partition holds, if that is in the log. A file that cannot be read as one is as good as none: it is built anew.
/// Also whether something of it was pruned since.
fn extent_in(log: &Path, dir: &Path, first: u64) -> Result<Option<(Extent, bool)>, IndexError> {
    let segments = segment::of_log(log)?;
    let read = |partition: Partition| Ok(partition.extent()?.zip(Some(partition.is_stale(&segments)?)));
    let extent = match Partition::open(dir, first).and_then(read) {
        Ok(extent) => extent,
        Err(IndexError::Database(reason)) => {
            tracing::warn!(partition = first, reason, "a part of the search index is damaged and is built anew");
            None
        }
        Err(IndexError::Version { .. }) => None,
        Err(other) => return Err(other),
    };
    let mut spans = Spans::new(segment::directories(log));
    let mut is_ours = |extent: &Extent| {
        let last = extent.beyond.checked_sub(1).map(|last| leaf_of(&segments, &mut spans, last, extent.place));
        last.is_some_and(|leaf| leaf.is_ok_and(|leaf| leaf == extent.leaf))
    };
    Ok(extent.filter(|(extent, _)| is_ours(extent)))
}

/// The hash of an entry that stands at `place`, or has moved since something before it was pruned.
fn leaf_of(segments: &[SegmentFile], spans: &mut Spans, index: u64, place: u64) -> Result<Hash, AuditError> {
    leaf_at(segments, index, place).or_else(|_moved| {
        let mut leaf = Hash::default();
        spans.each(index, index + 1, |held| leaf = held.leaf()).map(|()| leaf)
    })
}
