//! A disk that fails on demand.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use super::super::disk::{Disk, DiskFile, RealDisk};

/// What is asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Op {
    Create,
    Write,
    Sync,
    Rename,
    Remove,
    Replace,
}

/// From now on `op` fails for paths that contain `path`, after it went well `after` times.
#[derive(Clone, Debug)]
struct Rule {
    op: Op,
    path: String,
    after: usize,
    kind: io::ErrorKind,
}

const PAGE: u64 = 4_096;

/// Told of each operation before it is done.
type Before = Box<dyn Fn(Op, &str) + Send>;

#[derive(Default)]
struct Plan {
    before: Mutex<Option<Before>>,
    rules: Mutex<Vec<Rule>>,
    /// Every operation, with its path.
    done: Mutex<Vec<(Op, String)>>,
    /// While true, syncs hang.
    hangs: Mutex<bool>,
    freed: Condvar,
    /// What stood where something was written that is not synced, by inode.
    unsynced: Mutex<HashMap<u64, Vec<Unsynced>>>,
}

#[derive(Clone)]
struct Unsynced {
    offset: u64,
    before: Vec<u8>,
}

#[derive(Clone, Default)]
pub(in super::super) struct FaultyDisk(Arc<Plan>);

pub(in super::super) struct Hung(FaultyDisk);

impl Drop for Hung {
    fn drop(&mut self) {
        self.0.hang(false);
    }
}

impl std::fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyDisk").finish_non_exhaustive()
    }
}

impl FaultyDisk {
    pub(in super::super) fn fail(&self, op: Op, path: &str, after: usize, kind: io::ErrorKind) {
        self.0.rules.lock().unwrap().push(Rule { op, path: path.to_owned(), after, kind });
    }

    pub(in super::super) fn mend(&self) {
        self.0.rules.lock().unwrap().clear();
    }

    pub(in super::super) fn hang(&self, hangs: bool) {
        *self.0.hangs.lock().unwrap() = hangs;
        self.0.freed.notify_all();
    }

    /// Syncs hang until what is returned goes: also when a test fails, before its log is closed.
    pub(in super::super) fn hung(&self) -> Hung {
        self.hang(true);
        Hung(self.clone())
    }

    pub(in super::super) fn count(&self, op: Op, path: &str) -> usize {
        self.0.done.lock().unwrap().iter().filter(|(o, p)| *o == op && p.contains(path)).count()
    }

    pub(in super::super) fn before_each(&self, before: impl Fn(Op, &str) + Send + 'static) {
        *self.0.before.lock().unwrap() = Some(Box::new(before));
    }

    /// Takes from `copy`, made of the folder `of`, what a power cut may take: of what is not synced, the pages of which `is_lost` says
    /// so.
    pub(in super::super) fn cut_power(&self, of: &Path, copy: &Path, mut is_lost: impl FnMut() -> bool) {
        let unsynced = self.0.unsynced.lock().unwrap().clone();
        for entry in std::fs::read_dir(of).unwrap().flatten() {
            let Some(writes) = entry.metadata().ok().and_then(|meta| unsynced.get(&meta.ino())) else { continue };
            let file = std::fs::OpenOptions::new().write(true).open(copy.join(entry.file_name())).unwrap();
            for write in writes.iter().rev() {
                let (mut at, mut rest) = (write.offset, write.before.as_slice());
                while !rest.is_empty() {
                    let in_page = usize::try_from(PAGE - at % PAGE).unwrap().min(rest.len());
                    if is_lost() {
                        file.write_all_at(&rest[..in_page], at).unwrap();
                    }
                    (at, rest) = (at + in_page as u64, &rest[in_page..]);
                }
            }
        }
    }

    fn check(&self, op: Op, path: &Path) -> io::Result<()> {
        let path = path.display().to_string();
        if let Some(before) = &*self.0.before.lock().unwrap() {
            before(op, &path);
        }
        self.0.done.lock().unwrap().push((op, path.clone()));
        for rule in self.0.rules.lock().unwrap().iter_mut().filter(|r| r.op == op && path.contains(&r.path)) {
            if rule.after == 0 {
                return Err(rule.kind.into());
            }
            rule.after -= 1;
        }
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.check(Op::Create, path)?;
        RealDisk.create(path, bytes)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let (file, inode) = (RealDisk.open(path)?, std::fs::metadata(path)?.ino());
        Ok(Box::new(FaultyFile { disk: self.clone(), file, raw: std::fs::File::open(path)?, inode, path: path.display().to_string() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Op::Rename, to)?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Op::Remove, path)?;
        RealDisk.remove(path)
    }

    fn replace(&self, path: &Path, text: &str) -> io::Result<()> {
        self.check(Op::Replace, path)?;
        RealDisk.replace(path, text)
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    file: Box<dyn DiskFile>,
    raw: std::fs::File,
    inode: u64,
    /// As it was opened: a segment keeps the name that its zeroed file had.
    path: String,
}

impl DiskFile for FaultyFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    /// A write that fails leaves its first half behind.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut before = vec![0; bytes.len()];
        self.raw.read_at(&mut before, offset)?;
        self.disk.0.unsynced.lock().unwrap().entry(self.inode).or_default().push(Unsynced { offset, before });
        if let Err(e) = self.disk.check(Op::Write, Path::new(&self.path)) {
            self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(e);
        }
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let mut hangs = self.disk.0.hangs.lock().unwrap();
        while *hangs {
            hangs = self.disk.0.freed.wait(hangs).unwrap();
        }
        drop(hangs);
        let begun = self.disk.0.unsynced.lock().unwrap().get(&self.inode).map_or(0, Vec::len);
        self.disk.check(Op::Sync, Path::new(&self.path))?;
        self.file.sync()?;
        // What was written meanwhile need not be part of it.
        if let Some(writes) = self.disk.0.unsynced.lock().unwrap().get_mut(&self.inode) {
            writes.drain(..begun.min(writes.len()));
        }
        Ok(())
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.file.is_at(path)
    }
}
