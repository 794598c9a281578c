//! One process writes one log: a lock on a file in each of its directories, which must stay the file that it was.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::error::AuditError;

/// Held while it lives; the system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct DirLock {
    path: PathBuf,
    file: File,
}

impl DirLock {
    /// Makes the directory, for its owner only, and takes it for this process.
    pub(super) fn take(dir: &Path) -> Result<Self, AuditError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| AuditError::io(dir, &e))?;
        let path = dir.join("lock");
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(|e| AuditError::io(&path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, file }),
            Err(TryLockError::WouldBlock) => Err(AuditError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(e)) => Err(AuditError::io(&path, &e)),
        }
    }

    /// Whether another process that takes the directory would meet this lock.
    ///
    /// # Errors
    /// With the reason when it would not, or nobody can tell.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_same = || {
            let (ours, there) = (self.file.metadata()?, fs::metadata(&self.path)?);
            Ok::<_, std::io::Error>((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        };
        match is_same() {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("moved: `{}` was replaced", self.path.display())),
            Err(e) => Err(format!("moved: `{}`: {e}", self.path.display())),
        }
    }
}
