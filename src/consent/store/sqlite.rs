//! SQLite: write-ahead log, `synchronous = FULL`, one connection that works and one that probes.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};

use crate::consent::event::Event;
use crate::model::{EventId, Identifier, PartyNo, Revision, Space};

use super::read::{self, Forms};
use super::{Answered, Batch, Change, Dossier, Head, LinkRow, Registers, Store, StoreError, Written, schema, write};

/// The embedded store.
pub struct SqliteStore {
    path: PathBuf,
    file: FileMark,
    work: Mutex<Work>,
    probe: Mutex<Connection>,
    /// How many probes in a row have found that another process holds the write lock.
    locked: AtomicU32,
    /// Never closed before the connections: closing any handle of the file would drop SQLite's own locks on it.
    header: File,
    alone: Option<File>,
}

/// The connection that reads and writes, with what it has read once and for all.
struct Work {
    connection: Connection,
    forms: Forms,
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
    /// When the file cannot be opened, is damaged, or was written by another version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = connect(path, BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        create(&mut connection)?;
        let probe = connect(path, Duration::ZERO)?;
        let file = FileMark::of(path)?;
        let header = File::open(path).map_err(|_gone| StoreError::Replaced)?;
        let work = Mutex::new(Work { connection, forms: Forms::default() });
        Ok(Self { path: path.to_owned(), file, work, probe: Mutex::new(probe), locked: AtomicU32::new(0), header, alone: None })
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

    fn work(&self) -> Result<MutexGuard<'_, Work>, StoreError> {
        self.same_file()?;
        Ok(self.work.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An unlinked file can still be written and keeps nothing.
    fn same_file(&self) -> Result<(), StoreError> {
        if FileMark::of(&self.path)? == self.file { Ok(()) } else { Err(StoreError::Replaced) }
    }
}

impl Store for SqliteStore {
    fn head(&self) -> Result<Head, StoreError> {
        read::head(&self.work()?.connection)
    }

    fn dossiers(&self, after: Revision, sink: &mut dyn FnMut(Dossier) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut work = self.work()?;
        let Work { connection, forms } = &mut *work;
        let transaction = connection.transaction()?;
        for no in read::changed_parties(&transaction, after)? {
            if let Some(dossier) = read::dossier(&transaction, forms, no)? {
                sink(dossier)?;
            }
        }
        Ok(())
    }

    fn registers(&self, erased_after: Revision) -> Result<Registers, StoreError> {
        read::registers(&self.work()?.connection, erased_after)
    }

    fn dossiers_of(&self, parties: &[PartyNo], sink: &mut dyn FnMut(Dossier) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut work = self.work()?;
        let Work { connection, forms } = &mut *work;
        let transaction = connection.transaction()?;
        parties.iter().try_for_each(|no| read::dossier(&transaction, forms, *no)?.map_or(Ok(()), &mut *sink))
    }

    fn links_of(&self, identifier: &Identifier) -> Result<Vec<(u64, LinkRow)>, StoreError> {
        read::links_of(&self.work()?.connection, identifier)
    }

    fn merged_into(&self, party: PartyNo, known: Revision) -> Result<Option<PartyNo>, StoreError> {
        read::merged_into(&self.work()?.connection, party, known)
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut work = self.work()?;
        let Work { connection, forms } = &mut *work;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = write::batch(&transaction, forms, batch).and_then(|()| Ok(transaction.commit()?));
        if done.is_err() {
            // A form that was numbered in it is not stored.
            *forms = Forms::default();
        }
        done?;
        self.locked.store(0, Ordering::Relaxed);
        drop(work);
        // A file that was unlinked meanwhile took the write and will not keep it.
        self.same_file()
    }

    fn answered(&self, caller: &str, key: &str, not_before: Timestamp) -> Result<Option<Answered>, StoreError> {
        read::answered(&self.work()?.connection, caller, key, not_before)
    }

    fn events(&self, identifiers: &[Identifier]) -> Result<Vec<Event>, StoreError> {
        let mut work = self.work()?;
        let Work { connection, forms } = &mut *work;
        read::events(connection, forms, identifiers)
    }

    fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        let mut work = self.work()?;
        let Work { connection, forms } = &mut *work;
        read::event(connection, forms, id)
    }

    fn known(&self, events: &[&Written]) -> Result<Vec<Option<EventId>>, StoreError> {
        let mut work = self.work()?;
        let Work { connection, forms } = &mut *work;
        let transaction = connection.transaction()?;
        read::known(&transaction, forms, events)
    }

    fn due(&self, by: Timestamp, limit: usize) -> Result<Vec<(EventId, Identifier)>, StoreError> {
        read::due(&self.work()?.connection, by, limit)
    }

    fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        read::next_due(&self.work()?.connection)
    }

    fn of_age(&self, by: Timestamp, limit: usize) -> Result<Vec<PartyNo>, StoreError> {
        read::of_age(&self.work()?.connection, by, limit)
    }

    fn revision_at(&self, time: Timestamp) -> Result<Revision, StoreError> {
        read::revision_at(&self.work()?.connection, time)
    }

    fn unlinked(&self) -> Result<Vec<(Space, u64)>, StoreError> {
        // It reads every id: beside the writer, whom it must not hold up.
        self.same_file()?;
        read::unlinked(&connect(&self.path, BUSY_TIMEOUT)?)
    }

    fn holds(&self, revision: Revision) -> Result<bool, StoreError> {
        read::holds(&self.work()?.connection, revision)
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
        read::changes(&self.work()?.connection, after, limit)
    }

    fn pending_changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
        let work = self.work()?;
        let logged = read::logged(&work.connection)?;
        read::changes(&work.connection, after.max(logged), limit)
    }

    fn logged(&self) -> Result<Revision, StoreError> {
        read::logged(&self.work()?.connection)
    }

    fn mark_logged(&self, up_to: Revision) -> Result<(), StoreError> {
        write::mark_logged(&self.work()?.connection, up_to)
    }

    fn documents(&self, kind: &str) -> Result<Vec<(String, String)>, StoreError> {
        read::documents(&self.work()?.connection, kind)
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.same_file()?;
        let connection = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        if check_header(&self.header).is_err() {
            // A checkpoint writes the header before the pages behind it; it runs under this lock.
            let _no_checkpoint = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            check_header(&self.header)?;
        }
        // Reads a page through the log and takes the write lock.
        let look = || connection.execute_batch("BEGIN IMMEDIATE; SELECT count(*) FROM meta; ROLLBACK;");
        let is_busy = |probed: &rusqlite::Result<()>| {
            probed.as_ref().is_err_and(|error| matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)))
        };
        let mut probed = look();
        // Our own writer that is at work, for a while: a disk that hangs holds it for ever.
        let is_own = is_busy(&probed) && self.work.try_lock().is_err();
        if is_busy(&probed) && !is_own {
            probed = look();
        }
        if is_busy(&probed) {
            let looked = self.locked.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            return if looked < if is_own { OWN_PROBES } else { LOCKED_PROBES } { Ok(()) } else { Err(StoreError::Locked) };
        }
        self.locked.store(0, Ordering::Relaxed);
        match probed {
            Ok(()) => Ok(()),
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
    // A prepared statement keeps its plan. Without it each binding of another value has the statement parsed and planned anew.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

fn create(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version == 0 {
        transaction.execute_batch(schema::TABLES)?;
        let mut key = [0_u8; 32];
        rand::fill(&mut key).map_err(|_unspecified| StoreError::Database("no randomness for its key".to_owned()))?;
        transaction.execute(
            "INSERT INTO meta(name, value) VALUES ('id', ?1), ('key', ?2), ('logged', 0)",
            params![ulid::Ulid::new().to_string().as_bytes(), key],
        )?;
        transaction.pragma_update(None, "user_version", schema::VERSION)?;
    } else if version != schema::VERSION {
        return Err(StoreError::OtherVersion(version));
    }
    transaction.execute_batch(schema::INDEXES)?;
    transaction.commit()?;
    Ok(())
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
/// So many probes, one a second, may find another process at its lock: then it has had it for longer than a write waits.
const LOCKED_PROBES: u32 = 3;
/// And so many may find our own writer at work.
const OWN_PROBES: u32 = 10;
/// Prepared statements that are kept.
const STATEMENTS: usize = 64;
