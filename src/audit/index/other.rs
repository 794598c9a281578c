//! Entries that belong to no decision: by kind, and what was rejected, added up.

use jiff::Timestamp;
use rusqlite::types::Value as Sql;

use super::scan::Window;
use super::{Index, IndexError};
use crate::audit::read::Logged;
use crate::audit::segment;

/// Which entries are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindQuery {
    /// As it stands in the entry: `rejects`, `clock`, `gap`, …
    pub kind: String,
    pub window: Window,
    /// Only entries with a smaller index.
    pub before: Option<u64>,
    /// The newest so many.
    pub limit: usize,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct KindAnswer {
    /// Newest first.
    pub entries: Vec<Logged>,
    /// `before` of the question for what is older; `None` when that was all.
    pub next: Option<u64>,
    /// Entries that were searched: the index of the first one that was not.
    pub searched: u64,
}

/// An entry `rejects`.
#[derive(Clone, Copy, Debug)]
pub struct Rejected<'a> {
    /// Microseconds since 1970.
    pub at: i64,
    /// Empty in entries of earlier versions.
    pub listener: &'a str,
    pub code: &'a str,
    pub network: Option<&'a str>,
    pub count: u64,
}

impl Index {
    /// Entries of one kind, newest first, among what is indexed.
    ///
    /// # Errors
    /// When index or log cannot be read, or do not fit each other.
    pub fn of_kind(&self, query: &KindQuery) -> Result<KindAnswer, IndexError> {
        let (segments, searched) = (segment::of_log(&self.log)?, self.entries());
        let mut entries: Vec<Logged> = Vec::new();
        'partitions: for &first in self.partitions()?.iter().rev() {
            let mut before = query.before;
            loop {
                let proposed = self.with(first, |partition| partition.numbers(SQL, with(query, before)))?.unwrap_or_default();
                let is_last = proposed.len() < CHUNK;
                before = proposed.last().copied().or(before);
                for index in proposed {
                    // What is pruned meanwhile is not there any more.
                    let logged = self.logged(&segments, index, None)?;
                    entries.extend(logged.filter(|logged| logged.kind() == query.kind));
                    // One more than asked for: that there are more is part of the answer.
                    if entries.len() > query.limit {
                        break 'partitions;
                    }
                }
                if is_last {
                    break;
                }
            }
        }
        let more = entries.len() > query.limit;
        entries.truncate(query.limit);
        let next = entries.last().filter(|_| more).map(|last| last.index);
        Ok(KindAnswer { entries, next, searched })
    }

    /// All that was rejected in the window, newest partitions first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn rejected(&self, window: Window, mut each: impl FnMut(Rejected<'_>)) -> Result<(), IndexError> {
        let (since, until) = (window.since.map_or(i64::MIN, Timestamp::as_microsecond), window.until.map_or(i64::MAX, Timestamp::as_microsecond));
        for &first in self.partitions()?.iter().rev() {
            self.with(first, |partition| {
                let sql = "SELECT r.at, l.text, c.text, n.text, r.count FROM reject r JOIN name l ON l.name = r.listener JOIN name c ON c.name = r.code \
                           LEFT JOIN name n ON n.name = r.network WHERE r.at >= ? AND r.at < ? ORDER BY r.entry";
                let mut statement = partition.connection().prepare_cached(sql)?;
                let mut rows = statement.query([since, until])?;
                while let Some(row) = rows.next()? {
                    let (listener, code, network): (String, String, Option<String>) = (row.get(1)?, row.get(2)?, row.get(3)?);
                    each(Rejected { at: row.get(0)?, listener: &listener, code: &code, network: network.as_deref(), count: row.get(4)? });
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Proposed at once.
const CHUNK: usize = 128;
const SQL: &str = "SELECT entry FROM other WHERE kind = (SELECT name FROM name WHERE text = ?1) AND at >= ?2 AND at < ?3 AND entry < ?4 \
                   ORDER BY entry DESC LIMIT 128";

fn with(query: &KindQuery, before: Option<u64>) -> Vec<Sql> {
    let (since, until) =
        (query.window.since.map_or(i64::MIN, Timestamp::as_microsecond), query.window.until.map_or(i64::MAX, Timestamp::as_microsecond));
    let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    vec![Sql::Text(query.kind.clone()), Sql::Integer(since), Sql::Integer(until), Sql::Integer(before)]
}
