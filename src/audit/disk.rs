//! The few things the log asks of a disk, so that tests can let each of them fail.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::error::AuditError;

pub(super) trait Disk: Debug + Send + Sync {
    /// A new file of `bytes` zeros, on the disk. An old one of that name is replaced.
    fn create(&self, path: &Path, bytes: u64) -> io::Result<()>;
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Durable: the directory is synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Durable: the directory is synced.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Replaces a small file as a whole, durably.
    fn replace(&self, path: &Path, text: &str) -> io::Result<()>;
}

pub(super) trait DiskFile: Debug + Send + Sync {
    fn bytes(&self) -> io::Result<u64>;
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// Whether `path` still names this file.
    fn is_at(&self, path: &Path) -> io::Result<bool>;
}

/// Writes a file beside an old one, syncs it and renames it over that: a crash leaves the one or the other.
pub(super) fn exchange(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), AuditError> {
    // What is left of it after a crash is removed when the log is opened.
    let new = path.with_extension("new");
    let written = || {
        disk.create(&new, 0)?;
        let opened = disk.open(&new)?;
        opened.write_at(bytes, 0)?;
        opened.sync()?;
        disk.rename(&new, path)
    };
    written().map_err(|e| {
        fs::remove_file(&new).unwrap_or_default();
        AuditError::io(path, &e)
    })
}

/// The machine's disk. Files are readable by their owner only.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let zeros = vec![0; 1 << 20];
        let mut left = bytes;
        while left > 0 {
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
            file.write_all(zeros.get(..n).unwrap_or_default())?;
            left = left.saturating_sub(u64::try_from(n).unwrap_or(u64::MAX));
        }
        file.sync_all()?;
        sync_directory_of(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        sync_directory_of(to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = fs::remove_file(path);
        // Also where it was gone already: that may not be on the disk yet.
        sync_directory_of(path)?;
        removed
    }

    fn replace(&self, path: &Path, text: &str) -> io::Result<()> {
        let next = temporary(path);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        self.rename(&next, path)
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let ours = self.0.metadata()?;
        match fs::metadata(path) {
            Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
