//! One SQLite file for each 2^20 entries.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::IndexError;
use super::gather::Gather;
use super::rows::{OtherRow, PieceKind, Rows, Sources};
use crate::audit::content;
use crate::audit::segment::{SegmentFile, SegmentName};
use crate::audit::tree::Hash;

/// Entries of a partition.
pub(super) const PARTITION_ENTRIES: u64 = 1 << 20;
/// Counts up with every change of the tables: another version's are built anew.
const VERSION: i64 = 3;
/// A search waits so long for what is being written.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Of the partition that is written, in KiB.
const CACHE_KIB: i64 = 65_536;
const STATEMENTS: usize = 64;

const TABLES: &str = "
CREATE TABLE extent (one INTEGER PRIMARY KEY CHECK (one = 1), first INTEGER NOT NULL, beyond INTEGER NOT NULL, place INTEGER NOT NULL, leaf BLOB NOT NULL,
  at_min INTEGER NOT NULL, at_max INTEGER NOT NULL) STRICT;
CREATE TABLE name (name INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE class (class INTEGER PRIMARY KEY, verdicts TEXT NOT NULL) STRICT;
CREATE TABLE category (category INTEGER NOT NULL, released INTEGER NOT NULL, class INTEGER NOT NULL, PRIMARY KEY (category, released, class)) STRICT, WITHOUT ROWID;
CREATE TABLE policy (policy INTEGER NOT NULL, class INTEGER NOT NULL, PRIMARY KEY (policy, class)) STRICT, WITHOUT ROWID;
CREATE TABLE head (head INTEGER PRIMARY KEY, at INTEGER NOT NULL, app INTEGER NOT NULL, department INTEGER NOT NULL, actor INTEGER, agent INTEGER,
  api INTEGER NOT NULL, route INTEGER NOT NULL, action INTEGER NOT NULL, purpose INTEGER, break_glass INTEGER, outcomes INTEGER NOT NULL,
  place INTEGER NOT NULL, late INTEGER NOT NULL, kind INTEGER NOT NULL) STRICT;
CREATE INDEX head_app ON head (app);
CREATE INDEX head_late ON head (head) WHERE late = 1;
CREATE INDEX head_break_glass ON head (break_glass) WHERE break_glass IS NOT NULL;
CREATE TABLE piece (head INTEGER NOT NULL, entry INTEGER NOT NULL, kind INTEGER NOT NULL, outcomes INTEGER NOT NULL, status INTEGER, code INTEGER,
  rows INTEGER NOT NULL, dropped INTEGER NOT NULL, bytes INTEGER NOT NULL, complete INTEGER, place INTEGER NOT NULL, PRIMARY KEY (head, entry)) STRICT, WITHOUT ROWID;
CREATE TABLE subject (party INTEGER NOT NULL, head INTEGER NOT NULL, class INTEGER NOT NULL, outcome INTEGER NOT NULL,
  PRIMARY KEY (party, head, class, outcome)) STRICT, WITHOUT ROWID;
CREATE TABLE reading (class INTEGER NOT NULL, head INTEGER NOT NULL, entry INTEGER NOT NULL, outcome INTEGER NOT NULL, parties INTEGER NOT NULL,
  unknown INTEGER NOT NULL, PRIMARY KEY (class, head, entry, outcome)) STRICT, WITHOUT ROWID;
CREATE TABLE event (event INTEGER NOT NULL, head INTEGER NOT NULL, decided INTEGER NOT NULL, PRIMARY KEY (event, head, decided)) STRICT, WITHOUT ROWID;
CREATE TABLE other (entry INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind INTEGER NOT NULL, actor INTEGER, operation INTEGER, party INTEGER,
  break_glass INTEGER, place INTEGER NOT NULL) STRICT;
CREATE INDEX other_kind ON other (kind);
CREATE INDEX other_party ON other (party) WHERE party IS NOT NULL;
CREATE TABLE reject (entry INTEGER PRIMARY KEY, at INTEGER NOT NULL, listener INTEGER NOT NULL, code INTEGER NOT NULL, network INTEGER,
  count INTEGER NOT NULL) STRICT;
CREATE TABLE dictionary (entry INTEGER PRIMARY KEY, place INTEGER NOT NULL) STRICT;
CREATE TABLE source (segment INTEGER NOT NULL, attempt INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (segment, attempt)) STRICT, WITHOUT ROWID;
";
const NAMES: &[&str] =
    &["extent", "name", "class", "category", "policy", "head", "piece", "subject", "reading", "event", "other", "reject", "dictionary", "source"];

/// Which entries a partition holds rows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) first: u64,
    /// The first entry that it holds nothing of.
    pub(super) beyond: u64,
    /// The last entry that it holds: where it stands, and its hash in the tree, by which another log's index is told apart.
    pub(super) place: u64,
    pub(super) leaf: Hash,
    /// Earliest and latest time of its decisions; the greatest and the least where there is none.
    pub(super) at: (i64, i64),
}

/// The entries of a decision in one partition.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Where its head stands; `None` when that is in an earlier partition, or nowhere.
    pub(super) head: Option<u64>,
    /// Index and place of what follows the head.
    pub(super) pieces: Vec<(u64, u64)>,
    pub(super) is_over: bool,
}

#[derive(Debug)]
pub(super) struct Partition {
    connection: Connection,
}

/// The first entry of the partition that holds `index`, when each holds `entries`.
pub(super) const fn first_of(index: u64, entries: u64) -> u64 {
    index / entries * entries
}

pub(super) fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("partition-{first:020}.db"))
}

/// The partitions in a folder by their first entries, in order.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, IndexError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(IndexError::io(dir, &e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| IndexError::io(dir, &e))?.file_name();
        let first = name.to_str().and_then(|name| name.strip_prefix("partition-")?.strip_suffix(".db")?.parse().ok());
        found.extend(first.filter(|&first| path_of(dir, first).file_name() == Some(&name)));
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes a partition with its journals.
pub(super) fn remove(dir: &Path, first: u64) -> Result<(), IndexError> {
    let path = path_of(dir, first);
    for suffix in ["-wal", "-shm", ""] {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        match fs::remove_file(&name) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(IndexError::io(Path::new(&name), &e)),
        }
    }
    Ok(())
}

impl Partition {
    /// For writing; made when it is not there.
    pub(super) fn create(dir: &Path, first: u64) -> Result<Self, IndexError> {
        let path = path_of(dir, first);
        // For the owner only, as the log itself.
        let made = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        made.map_err(|e| IndexError::io(&path, &e))?;
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // What is lost with the machine is read from the log again; what is there is whole.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "wal_autocheckpoint", 16_384)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let partition = Self { connection };
        match partition.version()? {
            0 => {
                let made = partition.connection.execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT"));
                made.map(|()| partition).map_err(IndexError::from)
            }
            VERSION => Ok(partition),
            other => Err(IndexError::Version { path, version: other }),
        }
    }

    /// For reading what is there.
    pub(super) fn open(dir: &Path, first: u64) -> Result<Self, IndexError> {
        let path = path_of(dir, first);
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let partition = Self { connection };
        match partition.version()? {
            VERSION => Ok(partition),
            version => Err(IndexError::Version { path, version }),
        }
    }

    fn version(&self) -> Result<i64, IndexError> {
        Ok(self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }

    /// `None` while nothing was written.
    pub(super) fn extent(&self) -> Result<Option<Extent>, IndexError> {
        let mut statement = self.connection.prepare_cached("SELECT first, beyond, place, leaf, at_min, at_max FROM extent")?;
        let extent = statement.query_row([], |row| {
            Ok(Extent { first: row.get(0)?, beyond: row.get(1)?, place: row.get(2)?, leaf: row.get(3)?, at: (row.get(4)?, row.get(5)?) })
        });
        Ok(extent.optional()?)
    }

    /// To go on writing.
    pub(super) fn gather(&self, first: u64) -> Result<Gather, IndexError> {
        let names = self.pairs("SELECT name, text FROM name")?;
        let classes = self.pairs("SELECT class, verdicts FROM class")?;
        let mut late = self.connection.prepare("SELECT head FROM head WHERE late = 1")?;
        let late = late.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(Gather::new(first, names, classes, late))
    }

    pub(super) fn pairs<K: rusqlite::types::FromSql, V: rusqlite::types::FromSql>(&self, sql: &str) -> Result<Vec<(K, V)>, IndexError> {
        let mut statement = self.connection.prepare(sql)?;
        let pairs = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(pairs.collect::<Result<_, _>>()?)
    }

    /// Writes all or nothing.
    pub(super) fn write(&mut self, rows: &Rows, extent: &Extent, sources: &Sources) -> Result<(), IndexError> {
        let transaction = self.connection.transaction()?;
        {
            let put = |sql: &str| transaction.prepare_cached(sql);
            let mut names = put("INSERT INTO name VALUES (?, ?)")?;
            for (name, text) in &rows.names {
                names.execute(params![name, text])?;
            }
            let mut classes = put("INSERT INTO class VALUES (?, ?)")?;
            for (class, text) in &rows.classes {
                classes.execute(params![class, text])?;
            }
            let mut categories = put("INSERT OR IGNORE INTO category VALUES (?, ?, ?)")?;
            for row in &rows.verdicts {
                categories.execute(params![row.category, row.is_released, row.class])?;
            }
            let mut policies = put("INSERT OR IGNORE INTO policy VALUES (?, ?)")?;
            for (class, policy) in &rows.policies {
                policies.execute(params![policy, class])?;
            }
            let mut heads = put("INSERT INTO head VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
            for r in &rows.heads {
                let kind = r.kind as u8;
                let who = params![
                    r.head,
                    r.at,
                    r.app,
                    r.department,
                    r.actor,
                    r.agent,
                    r.api,
                    r.route,
                    r.action,
                    r.purpose,
                    r.grant,
                    r.outcomes.0,
                    r.place,
                    r.is_late,
                    kind
                ];
                heads.execute(who)?;
            }
            let mut pieces = put("INSERT INTO piece VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
            for r in &rows.pieces {
                let kind = r.kind as u8;
                pieces.execute(params![r.head, r.index, kind, r.outcomes.0, r.status, r.code, r.rows, r.dropped, r.bytes, r.complete, r.place])?;
            }
            let mut subjects = put("INSERT OR IGNORE INTO subject VALUES (?, ?, ?, ?)")?;
            for r in &rows.subjects {
                subjects.execute(params![r.party, r.head, r.class, r.outcome.0])?;
            }
            let mut readings = put("INSERT INTO reading VALUES (?, ?, ?, ?, ?, ?)")?;
            for r in &rows.readings {
                readings.execute(params![r.class, r.head, r.index, r.outcome.0, r.parties, r.unknown])?;
            }
            let mut events = put("INSERT OR IGNORE INTO event VALUES (?, ?, ?)")?;
            for r in &rows.events {
                events.execute(params![r.event, r.head, r.decided])?;
            }
            let mut others = put("INSERT INTO other VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?;
            for r in &rows.others {
                let OtherRow { index, at, kind, actor, operation, party, grant, place } = r;
                others.execute(params![index, at, kind, actor, operation, party, grant, place])?;
            }
            let mut rejects = put("INSERT INTO reject VALUES (?, ?, ?, ?, ?, ?)")?;
            for r in &rows.rejects {
                rejects.execute(params![r.index, r.at, r.listener, r.code, r.network, r.count])?;
            }
            let mut dictionary = put("INSERT INTO dictionary VALUES (?, ?)")?;
            for (index, place) in &rows.dictionary {
                dictionary.execute(params![index, place])?;
            }
            let mut source = put("INSERT OR REPLACE INTO source VALUES (?, ?, ?)")?;
            for (name, bytes) in sources {
                source.execute(params![name.first, name.attempt, bytes])?;
            }
            let Extent { first, beyond, place, leaf, at } = extent;
            put("INSERT OR REPLACE INTO extent VALUES (1, ?, ?, ?, ?, ?, ?)")?.execute(params![first, beyond, place, leaf, at.0, at.1])?;
        }
        Ok(transaction.commit()?)
    }

    /// Whether something was pruned of what was read into it.
    pub(super) fn is_stale(&self, segments: &[SegmentFile]) -> Result<bool, IndexError> {
        let mut statement = self.connection.prepare_cached("SELECT segment, attempt, bytes FROM source")?;
        let rows = statement.query_map([], |row| Ok((SegmentName { first: row.get(0)?, attempt: row.get(1)? }, row.get::<_, u64>(2)?)))?;
        for source in rows {
            let (name, bytes) = source?;
            let file = segments.iter().find(|file| file.name == name);
            if file.is_none_or(|file| content::length(file).ok() != Some(bytes)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes over all rows of another one at once; nothing is left of what was here.
    pub(super) fn replace_with(self, other: &Path) -> Result<(), IndexError> {
        self.connection.execute("ATTACH ? AS anew", [other.to_string_lossy()])?;
        let copied: Vec<String> =
            NAMES.iter().map(|name| format!("DELETE FROM main.{name}; INSERT INTO main.{name} SELECT * FROM anew.{name};")).collect();
        let taken = self.connection.execute_batch(&format!("BEGIN IMMEDIATE; {} COMMIT", copied.concat()));
        if taken.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        taken?;
        self.connection.execute_batch("DETACH anew; VACUUM")?;
        self.finish()
    }

    /// Once nothing more is written to it: what is in its journal goes into the file. A reader that is at it only delays that.
    pub(super) fn finish(self) -> Result<(), IndexError> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.connection.close().map_err(|(_, error)| error.into())
    }

    /// The first column of every row that `sql` finds.
    pub(super) fn numbers(&self, sql: &str, with: Vec<Sql>) -> Result<Vec<u64>, IndexError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_map(rusqlite::params_from_iter(with), |row| row.get(0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// The number of a text; `None` when no row here has it.
    pub(super) fn name(&self, text: &str) -> Result<Option<i64>, IndexError> {
        let mut statement = self.connection.prepare_cached("SELECT name FROM name WHERE text = ?")?;
        Ok(statement.query_row([text], |row| row.get(0)).optional()?)
    }

    /// What it holds of a decision.
    pub(super) fn entries(&self, head: u64) -> Result<Entries, IndexError> {
        let mut statement = self.connection.prepare_cached("SELECT place FROM head WHERE head = ? AND late = 0")?;
        let mut found = Entries { head: statement.query_row([head], |row| row.get(0)).optional()?, ..Entries::default() };
        let mut statement = self.connection.prepare_cached("SELECT entry, place, kind FROM piece WHERE head = ?")?;
        for piece in statement.query_map([head], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, u8>(2)?)))? {
            let (index, place, kind) = piece?;
            found.is_over |= kind != PieceKind::Part as u8;
            // A head that is a denial is its own piece.
            if index != head {
                found.pieces.push((index, place));
            }
        }
        Ok(found)
    }

    pub(super) fn place(&self, dictionary: u64) -> Result<Option<u64>, IndexError> {
        let mut statement = self.connection.prepare_cached("SELECT place FROM dictionary WHERE entry = ?")?;
        Ok(statement.query_row([dictionary], |row| row.get(0)).optional()?)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}
