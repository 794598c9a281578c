//! SQLite: write-ahead log, `synchronous = FULL`, one connection that writes and one that probes.
//!
//! ```text
//! meta(name, value)                     id, tombstone key                 party(no, id, kind, revision)
//! link(space, value, party, …)          resolving links: one per id       fact(party, name, value, source, time, revision)
//! event(revision, id, space, value, recorded, lapsed, body)   append-only; body is wire.rs      tombstone(hash)
//! change(revision, …, logged)           outbox of the decision log        answered(caller, key, …)   24 h
//! ```

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};

use crate::consent::event::{Assurance, Event, PartyKind};
use crate::model::{Author, EventId, Identifier, PartyId, PartyNo, Purpose, Revision, Space};

use super::{Answered, Batch, Change, ChangeKind, FactName, FactRow, Head, LinkRow, Loaded, PartyRow, Store, StoreError, wire};

/// The embedded store.
pub struct SqliteStore {
    path: PathBuf,
    file: FileMark,
    write: Mutex<Connection>,
    probe: Mutex<Connection>,
    /// Never closed before the connections: closing any handle of the file would drop SQLite's own locks on it.
    header: File,
    alone: Option<File>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).field("alone", &self.alone.is_some()).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens or creates the database.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut write = connect(path, BUSY_TIMEOUT)?;
        migrate(&mut write)?;
        let probe = connect(path, Duration::ZERO)?;
        let file = FileMark::of(path)?;
        let header = File::open(path).map_err(|_gone| StoreError::Replaced)?;
        Ok(Self { path: path.to_owned(), file, write: Mutex::new(write), probe: Mutex::new(probe), header, alone: None })
    }

    /// Takes the database for this process: a second one would not see what the first writes.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another has it.
    pub fn alone(mut self) -> Result<Self, StoreError> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let lock = File::create(path).map_err(|error| StoreError::Database(format!("its lock file: {}", error.kind())))?;
        lock.try_lock().map_err(|_held| StoreError::InUse)?;
        self.alone = Some(lock);
        Ok(self)
    }

    fn writer(&self) -> Result<MutexGuard<'_, Connection>, StoreError> {
        self.same_file()?;
        Ok(self.write.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn list_changes(&self, sql: &str, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
        let connection = self.writer()?;
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![signed(after.0)?, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(change(row)?);
        }
        Ok(found)
    }

    /// An unlinked file can still be written and keeps nothing.
    fn same_file(&self) -> Result<(), StoreError> {
        if FileMark::of(&self.path)? == self.file { Ok(()) } else { Err(StoreError::Replaced) }
    }
}

impl Store for SqliteStore {
    fn head(&self) -> Result<Head, StoreError> {
        head(&*self.writer()?)
    }

    fn load(&self, sink: &mut dyn FnMut(Loaded)) -> Result<Head, StoreError> {
        let mut connection = self.writer()?;
        let transaction = connection.transaction()?;
        let head = head(&transaction)?;
        each(&transaction, "SELECT no, id, kind, revision FROM party ORDER BY no", |row| Ok(Loaded::Party(party(row)?)), sink)?;
        each(
            &transaction,
            "SELECT space, value, party, assurance, valid_from, valid_to, source, revision FROM link",
            |r| Ok(Loaded::Link(link(r)?)),
            sink,
        )?;
        each(
            &transaction,
            "SELECT party, name, value, source, time, revision FROM fact ORDER BY revision, rowid",
            |r| Ok(Loaded::Fact(fact(r)?)),
            sink,
        )?;
        each(
            &transaction,
            "SELECT revision, id, space, value, recorded, body, lapsed FROM event ORDER BY revision",
            |row| Ok(Loaded::Event(Box::new(event(row)?), row.get::<_, i64>(6)? != 0)),
            sink,
        )?;
        each(&transaction, "SELECT hash FROM tombstone", |row| Ok(Loaded::Tombstone(row.get(0)?)), sink)?;
        Ok(head)
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut connection = self.writer()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        write(&transaction, batch)?;
        transaction.commit()?;
        drop(connection);
        // A file that was unlinked meanwhile took the write and will not keep it.
        self.same_file()
    }

    fn answered(&self, caller: &str, key: &str, not_before: Timestamp) -> Result<Option<Answered>, StoreError> {
        let sql = "SELECT body, event, party, revision, author, at FROM answered WHERE caller = ?1 AND key = ?2 AND at >= ?3";
        let connection = self.writer()?;
        let found = connection
            .query_row(sql, params![caller, key, micros(not_before)], |row| {
                Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, Option<i64>>(2)?, row.get(3)?, row.get::<_, String>(4)?, row.get(5)?))
            })
            .optional()?;
        let Some((body, event, party_no, at_revision, author, at)) = found else { return Ok(None) };
        Ok(Some(Answered {
            caller: caller.to_owned(),
            key: key.to_owned(),
            body,
            event: event_id(&event)?,
            party: party_no.map(unsigned).transpose()?.map(PartyNo),
            revision: Revision(unsigned(at_revision)?),
            author: Author::parse(&author).ok_or_else(|| unreadable("author"))?,
            at: time(at)?,
        }))
    }

    fn events(&self, identifiers: &[Identifier]) -> Result<Vec<Event>, StoreError> {
        let connection = self.writer()?;
        let mut found = Vec::new();
        let mut statement =
            connection.prepare_cached("SELECT revision, id, space, value, recorded, body FROM event WHERE space = ?1 AND value = ?2")?;
        for identifier in identifiers {
            let mut rows = statement.query(params![identifier.space.as_str(), identifier.value])?;
            while let Some(row) = rows.next()? {
                found.push(event(row)?);
            }
        }
        found.sort_by_key(|event| event.revision);
        Ok(found)
    }

    fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        let sql = "SELECT revision, id, space, value, recorded, body FROM event WHERE revision = ?1";
        let connection = self.writer()?;
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![signed(id.0)?])?;
        rows.next()?.map(event).transpose()
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
        let sql = "SELECT revision, at, kind, party, event, purposes, state, author FROM change WHERE revision > ?1 ORDER BY revision LIMIT ?2";
        self.list_changes(sql, after, limit)
    }

    fn documents(&self, kind: &str) -> Result<Vec<(String, String)>, StoreError> {
        let connection = self.writer()?;
        let mut statement = connection.prepare_cached("SELECT key, body FROM document WHERE kind = ?1 ORDER BY key")?;
        let rows = statement.query_map(params![kind], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn put_document(&self, kind: &str, key: &str, body: Option<&str>) -> Result<(), StoreError> {
        let connection = self.writer()?;
        match body {
            Some(body) => connection.execute("INSERT OR REPLACE INTO document(kind, key, body) VALUES (?1, ?2, ?3)", params![kind, key, body])?,
            None => connection.execute("DELETE FROM document WHERE kind = ?1 AND key = ?2", params![kind, key])?,
        };
        drop(connection);
        self.same_file()
    }

    fn holds(&self, revision: Revision) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM change WHERE revision = ?1";
        Ok(self.writer()?.query_row(sql, params![signed(revision.0)?], |_row| Ok(())).optional()?.is_some())
    }

    fn pending_changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
        let sql = "SELECT revision, at, kind, party, event, purposes, state, author FROM change \
                   WHERE logged = 0 AND revision > ?1 ORDER BY revision LIMIT ?2";
        self.list_changes(sql, after, limit)
    }

    fn mark_logged(&self, up_to: Revision) -> Result<(), StoreError> {
        self.writer()?.execute("UPDATE change SET logged = 1 WHERE logged = 0 AND revision <= ?1", params![signed(up_to.0)?])?;
        Ok(())
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.same_file()?;
        let connection = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        if check_header(&self.header).is_err() {
            // A checkpoint writes the header before the pages behind it; it runs under this lock.
            let _no_checkpoint = self.write.lock().unwrap_or_else(PoisonError::into_inner);
            check_header(&self.header)?;
        }
        // Reads a page through the log and takes the write lock; a writer that is at work proves as much.
        let probed = connection.execute_batch("BEGIN IMMEDIATE; SELECT count(*) FROM meta; ROLLBACK;");
        match probed {
            Ok(()) => Ok(()),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
            Err(error) => {
                if !connection.is_autocommit() {
                    connection.execute_batch("ROLLBACK")?;
                }
                Err(error.into())
            }
        }
    }
}

fn connect(path: &Path, busy: Duration) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(busy)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > SCHEMA_VERSION {
        return Err(StoreError::Newer(version));
    }
    if version == 0 {
        transaction.execute_batch(SCHEMA)?;
        let mut key = [0_u8; 32];
        rand::fill(&mut key).map_err(|_unspecified| StoreError::Database("no randomness for the tombstone key".to_owned()))?;
        transaction.execute(
            "INSERT INTO meta(name, value) VALUES ('id', ?1), ('tombstone-key', ?2)",
            params![ulid::Ulid::new().to_string().as_bytes(), key],
        )?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.commit()?;
    Ok(())
}

fn head(connection: &Connection) -> Result<Head, StoreError> {
    let meta = |name: &str| -> Result<Vec<u8>, StoreError> {
        Ok(connection.query_row("SELECT value FROM meta WHERE name = ?1", params![name], |row| row.get(0))?)
    };
    let key = meta("tombstone-key")?.try_into().map_err(|_wrong_length| unreadable("tombstone key"))?;
    let id = String::from_utf8(meta("id")?).map_err(|_not_text| unreadable("id"))?;
    let revision: i64 = connection.query_row("SELECT coalesce(max(revision), 0) FROM change", [], |row| row.get(0))?;
    Ok(Head { id, revision: Revision(unsigned(revision)?), key })
}

fn write(transaction: &Connection, batch: &Batch) -> Result<(), StoreError> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result<(), StoreError> {
        transaction.prepare_cached(sql)?.execute(values)?;
        Ok(())
    };
    for party in &batch.parties {
        run(
            "INSERT INTO party(no, id, kind, revision) VALUES (?1, ?2, ?3, ?4)",
            params![signed(party.no.0)?, party.id.0, party.kind.as_str(), signed(party.revision.0)?],
        )?;
    }
    for link in &batch.links {
        run(
            "INSERT INTO link(space, value, party, assurance, valid_from, valid_to, source, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
             ON CONFLICT(space, value, party) DO UPDATE SET \
             assurance = ?4, valid_from = ?5, valid_to = ?6, source = ?7, revision = ?8 WHERE assurance = 'matched'",
            params![
                link.identifier.space.as_str(),
                link.identifier.value,
                signed(link.party.0)?,
                link.assurance.as_str(),
                micros(link.valid_from),
                link.valid_to.map(micros),
                link.source,
                signed(link.revision.0)?
            ],
        )?;
    }
    for fact in &batch.facts {
        run(
            "INSERT INTO fact(party, name, value, source, time, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![signed(fact.party.0)?, fact.name.as_str(), fact.value, fact.source, micros(fact.time), signed(fact.revision.0)?],
        )?;
    }
    for event in &batch.events {
        run(
            "INSERT INTO event(revision, id, space, value, recorded, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                signed(event.revision.0)?,
                event.id.to_string(),
                event.identifier.space.as_str(),
                event.identifier.value,
                micros(event.record_time),
                wire::encode(event)?
            ],
        )?;
    }
    for id in &batch.lapsed {
        run("UPDATE event SET lapsed = 1 WHERE id = ?1", params![id.to_string()])?;
    }
    for hash in &batch.tombstones {
        run("INSERT OR IGNORE INTO tombstone(hash) VALUES (?1)", params![hash])?;
    }
    for (no, revision) in &batch.touched {
        run("UPDATE party SET revision = ?2 WHERE no = ?1", params![signed(no.0)?, signed(revision.0)?])?;
    }
    for change in &batch.changes {
        let purposes: Vec<&str> = change.purposes.iter().map(|p| p.as_str()).collect();
        run(
            "INSERT INTO change(revision, at, kind, party, event, purposes, state, author) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                signed(change.revision.0)?,
                micros(change.at),
                change.kind.as_str(),
                change.party.map(|p| signed(p.0)).transpose()?,
                change.event.map(|e| e.to_string()),
                purposes.join(" "),
                change.state,
                change.author.map(Author::as_str)
            ],
        )?;
    }
    if let Some(answered) = &batch.answered {
        let day_ago = answered.at.checked_sub(jiff::SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
        run("DELETE FROM answered WHERE at < ?1", params![micros(day_ago)])?;
        run(
            "INSERT INTO answered(caller, key, body, event, party, revision, author, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                answered.caller,
                answered.key,
                answered.body,
                answered.event.to_string(),
                answered.party.map(|p| signed(p.0)).transpose()?,
                signed(answered.revision.0)?,
                answered.author.as_str(),
                micros(answered.at)
            ],
        )?;
    }
    Ok(())
}

fn each(
    connection: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> Result<Loaded, StoreError>,
    sink: &mut dyn FnMut(Loaded),
) -> Result<(), StoreError> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        sink(read(row)?);
    }
    Ok(())
}

fn party(row: &Row<'_>) -> Result<PartyRow, StoreError> {
    Ok(PartyRow {
        no: PartyNo(unsigned(row.get(0)?)?),
        id: PartyId(row.get(1)?),
        kind: PartyKind::parse(&row.get::<_, String>(2)?).ok_or_else(|| unreadable("party kind"))?,
        revision: Revision(unsigned(row.get(3)?)?),
    })
}

fn link(row: &Row<'_>) -> Result<LinkRow, StoreError> {
    Ok(LinkRow {
        identifier: Identifier { space: Space::intern(&row.get::<_, String>(0)?), value: row.get(1)? },
        party: PartyNo(unsigned(row.get(2)?)?),
        assurance: Assurance::parse(&row.get::<_, String>(3)?).ok_or_else(|| unreadable("assurance"))?,
        valid_from: time(row.get(4)?)?,
        valid_to: row.get::<_, Option<i64>>(5)?.map(time).transpose()?,
        source: row.get(6)?,
        revision: Revision(unsigned(row.get(7)?)?),
    })
}

fn fact(row: &Row<'_>) -> Result<FactRow, StoreError> {
    Ok(FactRow {
        party: PartyNo(unsigned(row.get(0)?)?),
        name: FactName::parse(&row.get::<_, String>(1)?).ok_or_else(|| unreadable("fact"))?,
        value: row.get(2)?,
        source: row.get(3)?,
        time: time(row.get(4)?)?,
        revision: Revision(unsigned(row.get(5)?)?),
    })
}

fn event(row: &Row<'_>) -> Result<Event, StoreError> {
    let identifier = Identifier { space: Space::intern(&row.get::<_, String>(2)?), value: row.get(3)? };
    let body: String = row.get(5)?;
    wire::decode(event_id(&row.get::<_, String>(1)?)?, Revision(unsigned(row.get(0)?)?), identifier, time(row.get(4)?)?, &body)
}

fn change(row: &Row<'_>) -> Result<Change, StoreError> {
    let purposes: String = row.get(5)?;
    let author: Option<String> = row.get(7)?;
    Ok(Change {
        revision: Revision(unsigned(row.get(0)?)?),
        at: time(row.get(1)?)?,
        kind: ChangeKind::parse(&row.get::<_, String>(2)?).ok_or_else(|| unreadable("change"))?,
        party: row.get::<_, Option<i64>>(3)?.map(unsigned).transpose()?.map(PartyNo),
        event: row.get::<_, Option<String>>(4)?.map(|text| event_id(&text)).transpose()?,
        purposes: purposes.split_whitespace().map(Purpose::intern).collect(),
        state: row.get(6)?,
        author: author.map(|text| Author::parse(&text).ok_or_else(|| unreadable("author"))).transpose()?,
    })
}

fn event_id(text: &str) -> Result<EventId, StoreError> {
    EventId::parse(text).ok_or_else(|| unreadable("event"))
}

fn unreadable(what: &str) -> StoreError {
    StoreError::Damaged(format!("the stored {what} cannot be read"))
}

fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_too_large| StoreError::Damaged("a number is too large".to_owned()))
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_negative| StoreError::Damaged("a number is negative".to_owned()))
}

/// Record times are kept to the microsecond; the ledger cuts them to it before it uses them.
fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

fn time(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|_out_of_range| unreadable("time"))
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        // The full text of some errors repeats bound values; the code does not.
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged("it is not a readable database".to_owned()),
            Some(code) => Self::Database(format!("{code:?}")),
            None => Self::Database("a row has another form than expected".to_owned()),
        }
    }
}

/// Which file it is: a path can be unlinked or replaced under an open connection, and SQLite would not notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileMark {
    device: u64,
    inode: u64,
}

impl FileMark {
    #[cfg(unix)]
    fn of(path: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(path).map_err(|_gone| StoreError::Replaced)?;
        Ok(Self { device: meta.dev(), inode: meta.ino() })
    }

    #[cfg(not(unix))]
    fn of(path: &Path) -> Result<Self, StoreError> {
        fs::metadata(path).map_err(|_gone| StoreError::Replaced)?;
        Ok(Self { device: 0, inode: 0 })
    }
}

/// A file that was overwritten or cut off in place still answers from SQLite's page cache: its first bytes and its length do not.
fn check_header(mut file: &File) -> Result<(), StoreError> {
    let damaged = || StoreError::Damaged("its header is overwritten or its end is cut off".to_owned());
    let unread = |error: std::io::Error| StoreError::Database(format!("its header: {}", error.kind()));
    let mut header = [0_u8; 32];
    file.seek(SeekFrom::Start(0)).map_err(unread)?;
    file.read_exact(&mut header).map_err(|_short| damaged())?;
    let [.., b28, b29, b30, b31] = header;
    let pages = u64::from(u32::from_be_bytes([b28, b29, b30, b31]));
    let page = match (header.get(16), header.get(17)) {
        (Some(0), Some(1)) => 65_536,
        (Some(high), Some(low)) => u64::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    let length = file.metadata().map_err(unread)?.len();
    if header.starts_with(b"SQLite format 3\0") && page > 0 && length >= pages * page { Ok(()) } else { Err(damaged()) }
}

/// How long a write waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE party(no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE link(
  space TEXT NOT NULL, value TEXT NOT NULL, party INTEGER NOT NULL REFERENCES party(no), assurance TEXT NOT NULL,
  valid_from INTEGER NOT NULL, valid_to INTEGER, source TEXT NOT NULL, revision INTEGER NOT NULL,
  PRIMARY KEY(space, value, party)) WITHOUT ROWID;
CREATE UNIQUE INDEX link_resolves ON link(space, value) WHERE assurance <> 'matched';
CREATE TABLE fact(
  party INTEGER NOT NULL REFERENCES party(no), name TEXT NOT NULL, value TEXT NOT NULL, source TEXT NOT NULL,
  time INTEGER NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE event(
  revision INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, space TEXT NOT NULL, value TEXT NOT NULL, recorded INTEGER NOT NULL,
  lapsed INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL);
CREATE INDEX event_of ON event(space, value);
CREATE TABLE tombstone(hash BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE change(
  revision INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, party INTEGER, event TEXT, purposes TEXT NOT NULL,
  state TEXT NOT NULL, author TEXT, logged INTEGER NOT NULL DEFAULT 0);
CREATE INDEX change_pending ON change(revision) WHERE logged = 0;
CREATE TABLE answered(
  caller TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, event TEXT NOT NULL, party INTEGER, revision INTEGER NOT NULL,
  author TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(caller, key)) WITHOUT ROWID;
CREATE TABLE document(kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY(kind, key)) WITHOUT ROWID;
CREATE TRIGGER event_stays BEFORE DELETE ON event BEGIN SELECT raise(ABORT, 'events are never deleted'); END;
CREATE TRIGGER event_is_final BEFORE UPDATE OF revision, id, space, value, recorded, body ON event
  BEGIN SELECT raise(ABORT, 'events are never changed'); END;
";
