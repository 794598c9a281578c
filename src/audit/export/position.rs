//! How far a destination has acknowledged: a small file in the log's folder, replaced as a whole and durable before anything later is
//! sent.
//!
//! ```text
//! export-<name>     {"log":"gw-1.example.com","next":90211,"open":[90188,90204],"v":1}
//! ```
//!
//! `next` is the first entry that was not worked on; `open` are the heads before it of decisions that were not told yet.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ExportError;
use crate::audit::disk::{Disk as _, RealDisk};
use crate::audit::error::AuditError;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub next: u64,
    pub open: BTreeSet<u64>,
}

/// 20 digits for each of [`super::tail::OPEN_MAX`], and more than enough beside it.
const FILE_BYTES_MAX: u64 = 512 << 10;

impl Position {
    /// The first entry that has to be read to go on.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.open.first().map_or(self.next, |first| self.next.min(*first))
    }

    /// What was stored under `name` for the log in `dir`; the beginning when nothing was.
    ///
    /// # Errors
    /// When the file cannot be read or is another log's: nothing is guessed then.
    pub fn load(dir: &Path, name: &str, origin: &str) -> Result<Self, ExportError> {
        let path = file(dir, name);
        let mut text = String::new();
        match fs::File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
            Ok(_) => parse(&text, origin).map_err(|why| ExportError::Position { path, why }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(AuditError::io(&path, &error).into()),
        }
    }

    /// Stores it durably.
    ///
    /// # Errors
    /// When the disk takes it not; the old one stays.
    pub fn store(&self, dir: &Path, name: &str, origin: &str) -> Result<(), ExportError> {
        let path = file(dir, name);
        let text = json!({ "v": 1, "log": origin, "next": self.next, "open": self.open }).to_string() + "\n";
        RealDisk.replace(&path, &text).map_err(|error| AuditError::io(&path, &error).into())
    }
}

fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("export-{name}"))
}

fn parse(text: &str, origin: &str) -> Result<Position, &'static str> {
    let value: Value = serde_json::from_str(text).map_err(|_not_json| "it is damaged")?;
    if value.get("v") != Some(&Value::from(1)) {
        return Err("it is of another version");
    }
    if value.get("log").and_then(Value::as_str) != Some(origin) {
        return Err("it is another log's");
    }
    let next = value.get("next").and_then(Value::as_u64).ok_or("it is damaged")?;
    let open: Option<BTreeSet<u64>> = value.get("open").and_then(Value::as_array).and_then(|list| list.iter().map(Value::as_u64).collect());
    let open = open.filter(|open| open.last().is_none_or(|last| *last < next)).ok_or("it is damaged")?;
    Ok(Position { next, open })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_and_nothing_is_guessed() {
        let dir = tempfile::tempdir().unwrap();
        let load = || Position::load(dir.path(), "siem", "gw.example.com");
        assert_eq!(load().unwrap(), Position::default());
        let position = Position { next: 12, open: BTreeSet::from([3, 11]) };
        position.store(dir.path(), "siem", "gw.example.com").unwrap();
        assert_eq!(position.first(), 3);
        assert_eq!(load().unwrap(), position);
        assert!(Position::load(dir.path(), "siem", "other.example.com").is_err());
        assert_eq!(Position::load(dir.path(), "other", "gw.example.com").unwrap(), Position::default());
        for text in [
            "",
            "{",
            "{\"v\":2,\"log\":\"gw.example.com\",\"next\":1,\"open\":[]}",
            "{\"v\":1,\"log\":\"gw.example.com\",\"next\":-1,\"open\":[]}",
            "{\"v\":1,\"log\":\"gw.example.com\",\"next\":1,\"open\":[1]}",
            "{\"v\":1,\"log\":\"gw.example.com\",\"next\":1,\"open\":[\"0\"]}",
            "{\"v\":1,\"log\":\"gw.example.com\",\"next\":1}",
        ] {
            fs::write(file(dir.path(), "siem"), text).unwrap();
            assert!(load().is_err(), "{text}");
        }
    }
}
