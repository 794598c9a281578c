//! Questions of officers. The index proposes decisions; each is read from the log, joined with all its entries, and counts only if
//! the question holds of what stands there.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::types::Value as Sql;

use super::partition::{Partition, first_of};
use super::rows::Outcomes;
use super::{Index, IndexError};
use crate::audit::gathered::{Decision, Found, Shown};
use crate::audit::read::Logged;
use crate::audit::segment::{self, SegmentFile};
use crate::model::{EventId, PartyNo};

/// Proposed at once.
const CHUNK: usize = 128;

/// All conditions that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// One of these numbers; several when customers were merged. Empty: whoever it is about.
    pub customers: Vec<PartyNo>,
    pub app: Option<String>,
    pub department: Option<String>,
    /// Keyed pseudonym of an employee.
    pub actor: Option<String>,
    pub agent: Option<String>,
    pub api: Option<String>,
    pub action: Option<String>,
    pub purpose: Option<String>,
    /// `permit`, `redact`, `filter`, `deny`, `error`, `unenforced`.
    pub outcome: Option<String>,
    /// A category of which something went out, in full or masked.
    pub category: Option<String>,
    /// A policy that determined.
    pub policy: Option<String>,
    /// A consent event that decided or lost.
    pub event: Option<EventId>,
    pub decision: Option<u64>,
    /// A break-glass grant: what it was used for.
    pub grant: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Only decisions with a smaller index.
    pub before: Option<u64>,
    /// The newest so many.
    pub limit: Option<usize>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Newest first.
    pub decisions: Vec<Found>,
    /// `before` of the question for what is older; `None` when that was all.
    pub next: Option<u64>,
    /// Entries that were searched: the index of the first one that was not.
    pub entries: u64,
    /// Entries among them that this version cannot read; they may be of decisions.
    pub unread: u64,
}

impl Query {
    /// Whether a decision is one that was asked for.
    pub(crate) fn holds(&self, found: &Found) -> bool {
        fn same(asked: Option<&String>, is: &str) -> bool {
            asked.is_none_or(|asked| asked == is)
        }
        fn maybe(asked: Option<&String>, is: Option<&String>) -> bool {
            asked.is_none_or(|asked| is == Some(asked))
        }
        let weighed = |event: &EventId| {
            let id = event.to_string();
            found.relied.iter().any(|relied| relied.event.as_ref() == Some(&id) || relied.overridden.contains(&id))
        };
        same(self.app.as_ref(), &found.app)
            && same(self.department.as_ref(), &found.department)
            && same(self.api.as_ref(), &found.api)
            && same(self.action.as_ref(), &found.action)
            && same(self.outcome.as_ref(), &found.outcome)
            && maybe(self.actor.as_ref(), found.actor.as_ref())
            && maybe(self.agent.as_ref(), found.agent.as_ref())
            && maybe(self.purpose.as_ref(), found.purpose.as_ref())
            && maybe(self.grant.as_ref(), found.grant.as_ref())
            && self.decision.is_none_or(|index| found.index == index)
            && self.category.as_ref().is_none_or(|category| found.released.contains(category) || found.reduced.contains(category))
            && self.policy.as_ref().is_none_or(|policy| found.policies.contains(policy))
            && self.event.as_ref().is_none_or(weighed)
            && self.since.is_none_or(|since| found.at >= since)
            && self.until.is_none_or(|until| found.at < until)
            && self.before.is_none_or(|before| found.index < before)
            && (self.customers.is_empty() || found.parties > 0)
    }
}

impl Index {
    /// Decisions that match, newest first, among what is indexed.
    ///
    /// # Errors
    /// When index or log cannot be read, or do not fit each other.
    pub fn search(&self, query: &Query) -> Result<Answer, IndexError> {
        let limit = query.limit.unwrap_or(usize::MAX);
        let entries = self.entries();
        let mut decisions: Vec<Found> = Vec::new();
        self.each(query, |found, _| {
            // One more than asked for: that there are more is part of the answer.
            decisions.push(found);
            decisions.len() <= limit
        })?;
        let more = decisions.len() > limit;
        decisions.truncate(limit);
        let next = decisions.last().filter(|_| more).map(|last| last.index);
        Ok(Answer { decisions, next, entries, unread: self.unread()? })
    }

    /// The decision to which entry `index` belongs, or that entry alone; `None` when it is not indexed, or pruned.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn show(&self, index: u64) -> Result<Option<Shown>, IndexError> {
        let (segments, partitions) = (segment::of_log(&self.log)?, self.partitions()?);
        if segments.first().is_some_and(|file| index < file.name.first) || index >= self.entries() {
            return Ok(None);
        }
        let Some(entry) = self.single(&segments, index)? else { return Ok(None) };
        let Some(head) = entry.decision() else { return Ok(Some(Shown { decision: None, entries: vec![entry] })) };
        let Some(entries) = self.entries_of(&segments, &partitions, head)? else {
            // Its head is pruned.
            return Ok(Some(Shown { decision: None, entries: vec![entry] }));
        };
        Ok(Some(Shown { decision: Decision::join(&entries, &self.origin, &[]), entries }))
    }

    /// All that matches, newest first, each with its entries, until `each` says false.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn each(&self, query: &Query, mut each: impl FnMut(Found, &[Logged]) -> bool) -> Result<(), IndexError> {
        let (segments, partitions) = (segment::of_log(&self.log)?, self.partitions()?);
        // Heads of earlier partitions, of which something later ones hold matches.
        let mut carried: BTreeSet<u64> = BTreeSet::new();
        for &first in partitions.iter().rev() {
            if query.before.is_some_and(|before| before <= first) {
                // What is in it may still follow an earlier head.
                carried.extend(self.with(first, |partition| propose(partition, query, None, true))?.unwrap_or_default());
                continue;
            }
            let mut before = query.before;
            carried.extend(self.with(first, |partition| propose(partition, query, None, true))?.unwrap_or_default());
            loop {
                let own = self.with(first, |partition| propose(partition, query, before, false))?.unwrap_or_default();
                let is_last = own.len() < CHUNK;
                let lowest = if is_last { first } else { own.last().copied().unwrap_or(first) };
                let mut heads = carried.split_off(&lowest);
                heads.retain(|&head| before.is_none_or(|before| head < before));
                heads.extend(own);
                for &head in heads.iter().rev() {
                    let Some(entries) = self.entries_of(&segments, &partitions, head)? else { continue };
                    let joined = Decision::join(&entries, &self.origin, &query.customers);
                    if let Some(found) = joined.filter(|found| query.holds(found))
                        && !each(found, &entries)
                    {
                        return Ok(());
                    }
                }
                if is_last {
                    break;
                }
                before = Some(lowest);
            }
        }
        Ok(())
    }

    fn single(&self, segments: &[SegmentFile], index: u64) -> Result<Option<Logged>, IndexError> {
        let places = |partition: &Partition| {
            let sql = "SELECT place FROM head WHERE head = ?1 AND late = 0 UNION ALL SELECT place FROM other WHERE entry = ?1 \
                       UNION ALL SELECT place FROM dictionary WHERE entry = ?1 UNION ALL SELECT place FROM piece WHERE entry = ?1";
            partition.numbers(sql, vec![integer(index)])
        };
        let place = self.with(first_of(index, self.size), places)?.unwrap_or_default().first().copied();
        self.logged(segments, index, place)
    }

    fn unread(&self) -> Result<u64, IndexError> {
        let mut unread = 0;
        for first in self.partitions()? {
            let sql = "SELECT COUNT(*) FROM other WHERE kind = (SELECT name FROM name WHERE text = 'unread')";
            let counted = self.with(first, |partition| partition.numbers(sql, Vec::new()))?;
            unread += counted.unwrap_or_default().first().copied().unwrap_or_default();
        }
        Ok(unread)
    }
}

/// Heads of this partition (or of earlier ones, when `late`) that may match, newest first; at most [`CHUNK`], unless late.
fn propose(partition: &Partition, query: &Query, before: Option<u64>, late: bool) -> Result<Vec<u64>, IndexError> {
    let Some(extent) = partition.extent()? else { return Ok(Vec::new()) };
    let (since, until) = (query.since.map(Timestamp::as_microsecond), query.until.map(Timestamp::as_microsecond));
    // Times of heads of this partition only.
    if !late && (since.is_some_and(|since| extent.at.1 < since) || until.is_some_and(|until| extent.at.0 >= until)) {
        return Ok(Vec::new());
    }
    if let Some(decision) = query.decision {
        let sql = "SELECT head FROM head WHERE head = ? AND late = 0";
        return if late { Ok(Vec::new()) } else { partition.numbers(sql, vec![integer(decision)]) };
    }
    let Some(statement) = Statement::of(partition, query, before, late)? else { return Ok(Vec::new()) };
    partition.numbers(&statement.sql, statement.with)
}

#[derive(Default)]
struct Statement {
    sql: String,
    with: Vec<Sql>,
}

impl Statement {
    /// `None` when a name that is asked for stands nowhere in the partition.
    fn of(partition: &Partition, query: &Query, before: Option<u64>, late: bool) -> Result<Option<Self>, IndexError> {
        let name = |text: &Option<String>| match text {
            Some(text) => Ok(partition.name(text)?.map_or(Asked::Nowhere, Asked::For)),
            None => Ok::<_, IndexError>(Asked::Not),
        };
        let (category, policy) = (name(&query.category)?, name(&query.policy)?);
        let mut statement = Self::default();
        let Some(classes) = statement.classes(&category, &policy) else { return Ok(None) };
        // What leads to the fewest rows goes first.
        match (query.customers.as_slice(), query.event) {
            ([_, ..], _) => {
                let class = classes.map(|classes| format!(" AND class IN ({classes})")).unwrap_or_default();
                let parties = vec!["?"; query.customers.len()].join(", ");
                statement.sql = format!(
                    "SELECT h.head FROM (SELECT DISTINCT head FROM subject WHERE party IN ({parties}){class}) s CROSS JOIN head h ON h.head = s.head WHERE 1"
                );
                statement.with.splice(0..0, query.customers.iter().map(|party| integer(party.0)));
            }
            ([], Some(EventId(event))) => {
                statement.sql =
                    "SELECT h.head FROM (SELECT DISTINCT head FROM event WHERE event = ?) e CROSS JOIN head h ON h.head = e.head WHERE 1".to_owned();
                statement.with.insert(0, integer(event));
                statement.read(classes);
            }
            ([], None) => {
                statement.sql = "SELECT h.head FROM head h WHERE 1".to_owned();
                statement.read(classes);
            }
        }
        if let ([_, ..], Some(EventId(event))) = (query.customers.as_slice(), query.event) {
            statement.and("h.head IN (SELECT head FROM event WHERE event = ?)", integer(event));
        }
        let columns = [
            ("h.app", &query.app),
            ("h.department", &query.department),
            ("h.actor", &query.actor),
            ("h.agent", &query.agent),
            ("h.api", &query.api),
            ("h.action", &query.action),
            ("h.purpose", &query.purpose),
            ("h.break_glass", &query.grant),
        ];
        for (column, text) in columns {
            match name(text)? {
                Asked::Not => {}
                Asked::Nowhere => return Ok(None),
                Asked::For(name) => statement.and(&format!("{column} = ?"), Sql::Integer(name)),
            }
        }
        if let Some(mask) = query.outcome.as_deref().and_then(signs) {
            let mask = mask.0;
            // What is not over here may be denied in a later partition, without naming its customers again.
            let sign = " AND (h.outcomes & {mask} <> 0 OR EXISTS (SELECT 1 FROM piece p WHERE p.head = h.head AND p.outcomes & {mask} <> 0) \
                        OR NOT EXISTS (SELECT 1 FROM piece p WHERE p.head = h.head AND p.kind <> 1))";
            statement.sql.push_str(&sign.replace("{mask}", &mask.to_string()));
        }
        for (time, condition) in [(query.since, "h.at >= ?"), (query.until, "h.at < ?")] {
            if let Some(time) = time {
                statement.and(condition, Sql::Integer(time.as_microsecond()));
            }
        }
        if let Some(before) = before.or(query.before) {
            statement.and("h.head < ?", integer(before));
        }
        statement.sql.push_str(if late { " AND h.late = 1 ORDER BY h.head DESC" } else { " AND h.late = 0 ORDER BY h.head DESC LIMIT " });
        if !late {
            statement.sql.push_str(&CHUNK.to_string());
        }
        Ok(Some(statement))
    }

    fn and(&mut self, condition: &str, with: Sql) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.with.push(with);
    }

    /// The classes of verdicts that are asked for, as a question of its own; `None` when there are none here.
    #[expect(clippy::option_option, reason = "there are none, or all will do")]
    fn classes(&mut self, category: &Asked, policy: &Asked) -> Option<Option<String>> {
        let mut parts = Vec::new();
        for (asked, sql) in
            [(category, "SELECT class FROM category WHERE category = ? AND released = 1"), (policy, "SELECT class FROM policy WHERE policy = ?")]
        {
            match asked {
                Asked::Not => {}
                Asked::Nowhere => return None,
                Asked::For(name) => {
                    parts.push(sql);
                    self.with.push(Sql::Integer(*name));
                }
            }
        }
        // In different verdicts of one decision, perhaps: which of them is told by the log.
        Some((!parts.is_empty()).then(|| parts.join(" UNION ")))
    }

    fn read(&mut self, classes: Option<String>) {
        if let Some(classes) = classes {
            self.sql.extend([" AND h.head IN (SELECT head FROM reading WHERE class IN (", &classes, "))"]);
        }
    }
}

/// A name that a question may be about.
enum Asked {
    Not,
    Nowhere,
    For(i64),
}

/// What a decision that ended so bears; `None` when it may bear anything.
fn signs(outcome: &str) -> Option<Outcomes> {
    match outcome {
        "deny" => Some(Outcomes::DENY.or(Outcomes::DENIED)),
        "filter" => Some(Outcomes::FILTER.or(Outcomes::DENY)),
        "permit" => None,
        other => Outcomes::read(other),
    }
}

fn integer(number: u64) -> Sql {
    Sql::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
