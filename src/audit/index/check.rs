//! Whether the index leaves something out: it is built once more, elsewhere, and both are compared row by row.

use rusqlite::types::Value as Sql;

use super::partition::{self, Partition};
use super::{Index, IndexError};

/// What one index says and another one does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub table: &'static str,
    /// First entry of the partition.
    pub partition: u64,
    /// Rows that are only in the index, and rows that it lacks.
    pub surplus: u64,
    pub lacking: u64,
}

/// Every table with names and classes as texts, since numbers follow the order in which things were met.
const TABLES: &[(&str, &str)] = &[
    ("extent", "SELECT first, beyond, place, hex(leaf), at_min, at_max FROM extent"),
    (
        "category",
        "SELECT n.text, c.released, v.verdicts FROM category c JOIN name n ON n.name = c.category JOIN class v USING (class) ORDER BY 1, 2, 3",
    ),
    ("policy", "SELECT n.text, v.verdicts FROM policy p JOIN name n ON n.name = p.policy JOIN class v USING (class) ORDER BY 1, 2"),
    (
        "head",
        "SELECT h.head, h.at, a.text, d.text, e.text, g.text, i.text, r.text, c.text, p.text, b.text, h.outcomes, h.place, h.late, h.kind FROM head h \
         JOIN name a ON a.name = h.app JOIN name d ON d.name = h.department LEFT JOIN name e ON e.name = h.actor LEFT JOIN name g ON g.name = h.agent \
         JOIN name i ON i.name = h.api JOIN name r ON r.name = h.route JOIN name c ON c.name = h.action LEFT JOIN name p ON p.name = h.purpose \
         LEFT JOIN name b ON b.name = h.break_glass ORDER BY h.head",
    ),
    (
        "piece",
        "SELECT p.head, p.entry, p.kind, p.outcomes, p.status, c.text, p.rows, p.dropped, p.bytes, p.complete, p.place FROM piece p \
         LEFT JOIN name c ON c.name = p.code ORDER BY p.head, p.entry",
    ),
    ("subject", "SELECT s.party, s.head, v.verdicts, s.outcome FROM subject s LEFT JOIN class v USING (class) ORDER BY 1, 2, 3, 4"),
    (
        "reading",
        "SELECT r.head, r.entry, v.verdicts, r.outcome, r.parties, r.unknown FROM reading r LEFT JOIN class v USING (class) ORDER BY 1, 2, 3, 4",
    ),
    ("event", "SELECT event, head, decided FROM event ORDER BY 1, 2, 3"),
    (
        "other",
        "SELECT o.entry, o.at, k.text, a.text, p.text, o.party, b.text, o.place FROM other o JOIN name k ON k.name = o.kind \
         LEFT JOIN name a ON a.name = o.actor LEFT JOIN name p ON p.name = o.operation LEFT JOIN name b ON b.name = o.break_glass ORDER BY o.entry",
    ),
    (
        "reject",
        "SELECT r.entry, r.at, l.text, c.text, n.text, r.count FROM reject r JOIN name l ON l.name = r.listener JOIN name c ON c.name = r.code \
         LEFT JOIN name n ON n.name = r.network ORDER BY r.entry",
    ),
    ("dictionary", "SELECT entry, place FROM dictionary ORDER BY entry"),
    ("source", "SELECT segment, attempt, bytes FROM source ORDER BY 1, 2"),
];

impl Index {
    /// Compares with an index that is built anew in a folder beside it; `progress` is told how many entries that has. Empty when
    /// nothing is left out and nothing is too much.
    ///
    /// # Errors
    /// When log or index cannot be read.
    pub fn check(&self, progress: impl FnMut(u64)) -> Result<Vec<Difference>, IndexError> {
        let elsewhere = tempfile::Builder::new().prefix("index-check-").tempdir_in(&self.dir).map_err(|e| IndexError::io(&self.dir, &e))?;
        let anew = Self::open_with(&self.log, elsewhere.path(), self.size)?;
        anew.catch_up(self.entries(), progress)?;
        let mut partitions = self.partitions()?;
        partitions.extend(anew.partitions()?);
        partitions.sort_unstable();
        partitions.dedup();
        let mut found = Vec::new();
        for first in partitions {
            let open = |dir| if partition::path_of(dir, first).exists() { Partition::open(dir, first).map(Some) } else { Ok(None) };
            let (is, should) = (open(&self.dir)?, open(elsewhere.path())?);
            for (table, sql) in TABLES {
                let (surplus, lacking) = compare(is.as_ref(), should.as_ref(), sql)?;
                if surplus > 0 || lacking > 0 {
                    found.push(Difference { table, partition: first, surplus, lacking });
                }
            }
        }
        Ok(found)
    }
}

/// How many rows only the first has, and how many only the second. Both come in the same order.
fn compare(is: Option<&Partition>, should: Option<&Partition>, sql: &str) -> Result<(u64, u64), IndexError> {
    let mut statements = Vec::new();
    for partition in [is, should] {
        statements.push(partition.map(|partition| partition.connection().prepare(sql)).transpose()?);
    }
    let [is, should] = statements.as_mut_slice() else { return Ok((0, 0)) };
    let (mut is, mut should) = (Rows::of(is.as_mut())?, Rows::of(should.as_mut())?);
    let (mut one, mut other) = (is.next()?, should.next()?);
    let (mut surplus, mut lacking) = (0, 0);
    loop {
        match (&one, &other) {
            (None, None) => return Ok((surplus, lacking)),
            (Some(mine), Some(theirs)) if mine == theirs => (one, other) = (is.next()?, should.next()?),
            (Some(mine), Some(theirs)) if mine < theirs => (surplus, one) = (surplus + 1, is.next()?),
            (Some(_), None) => (surplus, one) = (surplus + 1, is.next()?),
            (_, Some(_)) => (lacking, other) = (lacking + 1, should.next()?),
        }
    }
}

/// Rows that can be compared in the order in which SQLite sorts them: nothing, numbers, texts.
struct Rows<'s> {
    rows: Option<rusqlite::Rows<'s>>,
    columns: usize,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Nothing,
    Number(i64),
    Text(String),
}

impl<'s> Rows<'s> {
    fn of(statement: Option<&'s mut rusqlite::Statement<'_>>) -> Result<Self, IndexError> {
        let columns = statement.as_ref().map_or(0, |statement| statement.column_count());
        Ok(Self { rows: statement.map(|statement| statement.query([])).transpose()?, columns })
    }

    fn next(&mut self) -> Result<Option<Vec<Cell>>, IndexError> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        let Some(row) = rows.next()? else { return Ok(None) };
        let cell = |column| {
            Ok::<_, rusqlite::Error>(match row.get::<_, Sql>(column)? {
                Sql::Integer(number) => Cell::Number(number),
                Sql::Text(text) => Cell::Text(text),
                Sql::Null | Sql::Real(_) | Sql::Blob(_) => Cell::Nothing,
            })
        };
        Ok(Some((0..self.columns).map(cell).collect::<Result<_, _>>()?))
    }
}
