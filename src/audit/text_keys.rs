//! The keys of free text: one for each retention class and month. Who destroys a key destroys what was written in that month.
//!
//! ```text
//! text-keys/break-glass-2026-11     32 random bytes, for their owner only
//! text-keys.list                    break-glass/2026-11 made <SHA-256 by which the key is known again>
//!                                   break-glass/2022-10 destroyed <index of the `prune` entry that announced it>
//! ```
//!
//! A key is on the disk, and then in the list, before the first entry that needs it. What the list names is never made anew: a key that
//! is lost or changed refuses new text until its copy is back, or the next month begins. Only an open log makes or destroys keys, and
//! it holds the lock of its folder.
//!
//! Keys are read anew for each text: they are few, and what is not kept in memory need not be forgotten there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::disk::{Disk, exchange, sync_directory_of};
use super::error::AuditError;
use super::free_text::{LockedText, Written};
use super::json::Object;
use super::prune::{Retention, RetentionClass};
use super::queue::lock;
use super::recover::read_if_there;
use super::tree::{hex, sha256};

pub(super) const KEY_BYTES: usize = 32;
pub(super) const KEYS_FOLDER: &str = "text-keys";
const LIST_FILE: &str = "text-keys.list";

/// `break-glass/2026-11`: what is kept equally long, and the month (UTC) of the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextKeyId {
    class: RetentionClass,
    /// The first of the month.
    month: Date,
}

impl TextKeyId {
    pub(super) fn at(class: RetentionClass, now: Timestamp) -> Self {
        Self { class, month: now.to_zoned(TimeZone::UTC).date().first_of_month() }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::parts(text.split_once('/')?)
    }

    fn parts((class, month): (&str, &str)) -> Option<Self> {
        let class = RetentionClass::ALL.into_iter().find(|known| known.as_str() == class)?;
        let first: Date = format!("{month}-01").parse().ok()?;
        (first.strftime("%Y-%m").to_string() == month).then_some(Self { class, month: first })
    }

    /// Whether the whole month is past its time.
    fn is_past(self, retention: &Retention) -> bool {
        let next = self.month.last_of_month().tomorrow().and_then(|next| next.to_zoned(TimeZone::UTC));
        retention.before(self.class).is_some_and(|before| next.is_ok_and(|next| next.timestamp() <= before))
    }

    fn file(self) -> String {
        self.to_string().replace('/', "-")
    }

    fn of_file(name: &str) -> Option<Self> {
        // The class may hold a dash, the month has seven letters.
        let (class, month) = name.split_at_checked(name.len().checked_sub("-2026-11".len())?)?;
        Self::parts((class, month.strip_prefix('-')?))
    }
}

impl fmt::Display for TextKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.class.as_str(), self.month.strftime("%Y-%m"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Made {
        /// Hex; tells nothing of the key.
        check: String,
    },
    Destroyed {
        announced: u64,
    },
}

type List = BTreeMap<TextKeyId, Standing>;

/// Of an open log.
#[derive(Debug)]
pub(super) struct TextKeys {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// Or why it cannot be read: then no text is taken and no key destroyed.
    list: Mutex<Result<List, String>>,
    /// Why the last text was refused.
    trouble: Mutex<Option<String>>,
}

impl TextKeys {
    pub(super) fn open(disk: &Arc<dyn Disk>, dir: &Path) -> Self {
        let list = read_list(dir);
        if let Err(why) = &list {
            tracing::error!(why, "no free text can be written into the decision log");
        }
        Self { dir: dir.to_owned(), disk: Arc::clone(disk), list: Mutex::new(list), trouble: Mutex::default() }
    }

    /// The text as it stands in an entry of that time. The first of a month makes its key, which waits for the disk.
    pub(super) fn encrypt(&self, text: &Written<'_>, now: Timestamp) -> Result<Object, AuditError> {
        let id = TextKeyId::at(text.class, now);
        text.encrypt(id, &self.key(id)?, now)
    }

    /// Whether text of now could be written.
    pub(super) fn ready(&self, class: RetentionClass, now: Timestamp) -> Result<(), AuditError> {
        self.key(TextKeyId::at(class, now)).map(|_key| ())
    }

    /// For readiness.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    fn key(&self, id: TextKeyId) -> Result<[u8; KEY_BYTES], AuditError> {
        let key = self.find(id);
        *lock(&self.trouble) = key.as_ref().err().map(ToString::to_string);
        key
    }

    fn find(&self, id: TextKeyId) -> Result<[u8; KEY_BYTES], AuditError> {
        let mut list = lock(&self.list);
        let list = list.as_mut().map_err(|why| refused(id, why.clone()))?;
        let path = self.path(id);
        let here = read_key(&path).map_err(|e| refused(id, e))?;
        match (list.get(&id), here) {
            (Some(Standing::Destroyed { .. }), _) => Err(refused(id, "is destroyed; the clock may be set back")),
            (Some(Standing::Made { .. }), None) => Err(refused(id, format!("is lost: put its copy back to `{}`", path.display()))),
            (Some(Standing::Made { check }), Some(key)) if *check == check_of(id, &key) => Ok(key),
            (Some(Standing::Made { .. }), Some(_)) => Err(refused(id, format!("was changed: put its copy back to `{}`", path.display()))),
            (None, here) => {
                // One that is here was about to be listed when the process was killed, and nothing was written with it.
                let key = here.map_or_else(|| self.make(id), Ok)?;
                let mut with = list.clone();
                with.insert(id, Standing::Made { check: check_of(id, &key) });
                self.write(&with)?;
                *list = with;
                Ok(key)
            }
        }
    }

    fn make(&self, id: TextKeyId) -> Result<[u8; KEY_BYTES], AuditError> {
        let folder = self.dir.join(KEYS_FOLDER);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|e| AuditError::io(&folder, &e))?;
        sync_directory_of(&folder).map_err(|e| AuditError::io(&folder, &e))?;
        let mut key = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut key).map_err(|_unspecified| refused(id, "cannot be made"))?;
        exchange(&*self.disk, &self.path(id), &key)?;
        Ok(key)
    }

    /// Keys whose whole month is past its time; also one that came back after it was destroyed.
    pub(super) fn past(&self, retention: &Retention) -> Result<Vec<TextKeyId>, AuditError> {
        let list = lock(&self.list);
        let list = list.as_ref().map_err(|why| AuditError::TextKey { id: LIST_FILE.to_owned(), why: why.clone() })?;
        let mut all: BTreeSet<TextKeyId> = list.iter().filter(|(_, standing)| matches!(standing, Standing::Made { .. })).map(|(id, _)| *id).collect();
        let folder = self.dir.join(KEYS_FOLDER);
        match fs::read_dir(&folder) {
            Ok(files) => {
                for file in files {
                    let name = file.map_err(|e| AuditError::io(&folder, &e))?.file_name();
                    all.extend(name.to_str().and_then(TextKeyId::of_file));
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(AuditError::io(&folder, &e)),
        }
        Ok(all.into_iter().filter(|id| id.is_past(retention)).collect())
    }

    /// Removes the key, durably, as the `prune` entry `announced` says. After a crash in between it is done again.
    pub(super) fn destroy(&self, id: TextKeyId, announced: u64) -> Result<(), AuditError> {
        let mut list = lock(&self.list);
        let list = list.as_mut().map_err(|why| refused(id, why.clone()))?;
        let path = self.path(id);
        match self.disk.remove(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(AuditError::io(path, &e)),
        }
        let mut without = list.clone();
        without.insert(id, Standing::Destroyed { announced });
        self.write(&without)?;
        *list = without;
        Ok(())
    }

    fn write(&self, list: &List) -> Result<(), AuditError> {
        let line = |(id, standing): (&TextKeyId, &Standing)| match standing {
            Standing::Made { check } => format!("{id} made {check}\n"),
            Standing::Destroyed { announced } => format!("{id} destroyed {announced}\n"),
        };
        let path = self.dir.join(LIST_FILE);
        self.disk.replace(&path, &list.iter().map(line).collect::<String>()).map_err(|e| AuditError::io(path, &e))
    }

    fn path(&self, id: TextKeyId) -> PathBuf {
        self.dir.join(KEYS_FOLDER).join(id.file())
    }
}

fn refused(id: TextKeyId, why: impl Into<String>) -> AuditError {
    AuditError::TextKey { id: id.to_string(), why: why.into() }
}

fn check_of(id: TextKeyId, key: &[u8; KEY_BYTES]) -> String {
    hex(&sha256(&[format!("consentry text key 1\n{id}\n").as_bytes(), key]))
}

/// `None` when it is not there.
fn read_key(path: &Path) -> Result<Option<[u8; KEY_BYTES]>, String> {
    match fs::read(path) {
        Ok(bytes) => bytes.try_into().map(Some).map_err(|_other| format!("is damaged: put its copy back to `{}`", path.display())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("cannot be read: `{}`: {e}", path.display())),
    }
}

fn read_list(dir: &Path) -> Result<List, String> {
    let path = dir.join(LIST_FILE);
    let text = read_if_there(&path).map_err(|e| format!("is not known: {e}"))?.unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (id, word, more, rest) = (words.next()?, words.next()?, words.next()?, words.next());
        let standing = match (word, rest) {
            ("made", None) => Standing::Made { check: more.to_owned() },
            ("destroyed", None) => Standing::Destroyed { announced: more.parse().ok()? },
            _ => return None,
        };
        Some((TextKeyId::parse(id)?, standing))
    };
    text.lines().map(line).collect::<Option<List>>().ok_or_else(|| format!("is not known: `{}` is damaged, put its copy back", path.display()))
}

/// The keys beside a log, for whoever may read its free text.
#[derive(Clone, Debug)]
pub struct Texts {
    dir: PathBuf,
}

/// What became of a text.
#[derive(Clone, PartialEq, Eq)]
pub enum Said {
    Text(String),
    /// As the log's entry `announced` says.
    Destroyed {
        announced: u64,
    },
    /// The key is not beside this log.
    NoKey,
    /// The key that is here does not open it.
    Unopened,
}

impl fmt::Debug for Said {
    /// Without what was said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Said {
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Text(_) => "here",
            Self::Destroyed { .. } => "destroyed",
            Self::NoKey => "no-key",
            Self::Unopened => "unopened",
        }
    }
}

impl Said {
    /// For people: the text, or why it is not there.
    #[must_use]
    pub fn sentence(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Destroyed { announced } => format!("destroyed with its key (retention, entry {announced})"),
            Self::NoKey => "the key is not here".to_owned(),
            Self::Unopened => "the key that is here does not open it".to_owned(),
        }
    }
}

impl Texts {
    /// `dir`: the log's folder.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    #[must_use]
    pub fn open(&self, text: &LockedText) -> Said {
        let Some(id) = TextKeyId::parse(text.key()) else { return Said::NoKey };
        // What is destroyed stays so, whoever brings the key back.
        if let Some(Standing::Destroyed { announced }) = read_list(&self.dir).ok().and_then(|mut list| list.remove(&id)) {
            return Said::Destroyed { announced };
        }
        match read_key(&self.dir.join(KEYS_FOLDER).join(id.file())) {
            Ok(None) => Said::NoKey,
            Ok(Some(key)) => text.decrypt(&key).map_or(Said::Unopened, Said::Text),
            Err(why) => {
                tracing::warn!(key = text.key(), why, "free text of the decision log cannot be read");
                Said::NoKey
            }
        }
    }
}
