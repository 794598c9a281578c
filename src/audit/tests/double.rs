//! A disk that fails on demand.

use std::io;
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
}

#[derive(Clone, Default)]
pub(in super::super) struct FaultyDisk(Arc<Plan>);

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

    pub(in super::super) fn count(&self, op: Op, path: &str) -> usize {
        self.0.done.lock().unwrap().iter().filter(|(o, p)| *o == op && p.contains(path)).count()
    }

    pub(in super::super) fn before_each(&self, before: impl Fn(Op, &str) + Send + 'static) {
        *self.0.before.lock().unwrap() = Some(Box::new(before));
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
        Ok(Box::new(FaultyFile { disk: self.clone(), file: RealDisk.open(path)?, path: path.display().to_string() }))
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
    /// As it was opened: a segment keeps the name that its zeroed file had.
    path: String,
}

impl DiskFile for FaultyFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    /// A write that fails leaves its first half behind.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
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
        self.disk.check(Op::Sync, Path::new(&self.path))?;
        self.file.sync()
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.file.is_at(path)
    }
}
