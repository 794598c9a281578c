//! The index of a log that is being written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::{INDEX_FOLDER, Index, IndexError};
use crate::audit::log::Log;
use crate::audit::queue::lock;

/// Entries that a question reads in before it is answered; with more it is told to come again.
const BEHIND_MAX: u64 = 65_536;

/// Follows a log; what it answers is complete up to the moment of the question. Nothing of it is waited for by the log.
#[derive(Debug)]
pub struct LiveIndex {
    log: Log,
    dir: PathBuf,
    index: OnceLock<Index>,
    opening: std::sync::Mutex<()>,
}

impl LiveIndex {
    /// Of the log in `dir`, which `log` writes. Opened with the first use, so that a gateway serves without it.
    #[must_use]
    pub fn new(log: Log, dir: &Path) -> Arc<Self> {
        Arc::new(Self { log, dir: dir.to_owned(), index: OnceLock::new(), opening: std::sync::Mutex::default() })
    }

    /// Everything durable until now is in it. Reads files: not on a thread that serves.
    ///
    /// # Errors
    /// [`IndexError::Behind`] while much is still being read in; else what hinders it.
    pub fn fresh(&self) -> Result<&Index, IndexError> {
        let index = self.index()?;
        self.log.settle();
        let (entries, of) = (index.entries(), self.log.metrics().entries);
        if of.saturating_sub(entries) > BEHIND_MAX {
            return Err(IndexError::Behind { entries, of });
        }
        index.catch_up(of, |_| ())?;
        Ok(index)
    }

    /// Reads in some of what is durable; whether that is all.
    ///
    /// # Errors
    /// What hinders it. The next call tries again.
    pub fn follow(&self) -> Result<bool, IndexError> {
        Ok(self.index()?.step(self.log.metrics().entries)?.1)
    }

    /// As [`Index::renew`].
    ///
    /// # Errors
    /// What hinders it. The next call goes on.
    pub fn renew(&self, stop: impl Fn() -> bool) -> Result<bool, IndexError> {
        self.index()?.renew(stop)
    }

    /// Durable entries that are not indexed yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let entries = self.index.get().map_or(0, Index::entries);
        self.log.metrics().entries.saturating_sub(entries)
    }

    /// The log's folder.
    #[must_use]
    pub fn log_dir(&self) -> &Path {
        &self.dir
    }

    fn index(&self) -> Result<&Index, IndexError> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let _one = lock(&self.opening);
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let opened = Index::open(&self.dir, &self.dir.join(INDEX_FOLDER))?;
        Ok(self.index.get_or_init(|| opened))
    }
}
