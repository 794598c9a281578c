//! Retention: entries that are past their time give way to their hashes, so that the log still proves its order and that nothing else
//! was removed.
//!
//! ```text
//! plan      read the log: what is past its time by its class, in whole decisions, and names nobody under legal hold
//!  -> Pruning
//! announce  a `prune` entry: classes and times, how many go, the first index that is not touched. Durable and signed
//!  -> Announced
//! step      one key of free text after another, then one segment after another, from the oldest, so that heads go before what follows them; a crash leaves whole files, and
//!           the next plan begins anew with what is left
//! ```

mod judge;
mod keys;
mod plan;
mod rewrite;

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;

pub use judge::{Retention, RetentionClass};
use keys::{Going, KeyPlan};
use plan::Plan;

use super::entry::{Entry, PrunedClass};
use super::error::AuditError;
use super::log::Log;
use super::queue::lock;
use super::segment;
use super::text_keys::TextKeyId;
use super::tiles::Tiles;
use crate::model::PartyNo;

/// What is durable is signed within a second.
const SIGNED_LOOKS_MAX: u32 = 3_000;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What would go from a log, and has not yet.
#[derive(Debug)]
#[must_use = "nothing goes before it is announced"]
pub struct Pruning {
    log: Log,
    retention: Retention,
    plan: Plan,
    keys: KeyPlan,
}

/// Of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prunable {
    pub class: RetentionClass,
    /// What is older goes; `None`: nothing ever does.
    pub before: Option<Timestamp>,
    pub entries: u64,
    /// Time of the oldest decision or entry among them.
    pub since: Option<Timestamp>,
}

impl Log {
    /// Finds what is past its time. Reads the log up to there, and further for decisions without an end: not on a thread that serves.
    /// `is_held`: whether records of a customer are needed for a legal claim. `stop` is asked from time to time.
    ///
    /// # Errors
    /// When the log cannot be read, is damaged, or `stop` says so ([`AuditError::Closed`]).
    pub fn plan_pruning(&self, retention: &Retention, is_held: &dyn Fn(PartyNo) -> bool, stop: &dyn Fn() -> bool) -> Result<Pruning, AuditError> {
        let segments = segment::list(&self.shared().dirs)?;
        let plan = plan::plan(&segments, retention, is_held, stop)?;
        let keys = keys::plan(&segments, &self.shared().texts.past(retention)?, is_held, stop)?;
        Ok(Pruning { log: self.clone(), retention: *retention, plan, keys })
    }
}

impl Pruning {
    /// Whether nothing is past its time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plan.segments.is_empty() && self.keys.going.is_empty()
    }

    /// Keys of free text whose whole month is past its time.
    #[must_use]
    pub fn keys(&self) -> Vec<TextKeyId> {
        self.keys.going.iter().map(|going| going.id).collect()
    }

    /// Those that stay: a decision of their month names a customer under legal hold, or nobody can say.
    #[must_use]
    pub fn keys_held(&self) -> &[TextKeyId] {
        &self.keys.held
    }

    #[must_use]
    pub fn classes(&self) -> [Prunable; 4] {
        RetentionClass::ALL.map(|class| {
            let count = self.plan.count(class);
            Prunable { class, before: self.retention.before(class), entries: count.entries, since: count.since() }
        })
    }

    /// Dictionary entries to which nothing refers any more.
    #[must_use]
    pub fn dictionary(&self) -> u64 {
        self.plan.dictionary
    }

    /// Entries of decisions that an earlier run left unfinished.
    #[must_use]
    pub fn remains(&self) -> u64 {
        self.plan.remains
    }

    /// Decisions and other entries past their time that stay for a legal hold.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.plan.held
    }

    /// Says in the log what will go, and waits until that is durable and signed. Blocks.
    ///
    /// # Errors
    /// When it cannot be written or signed; then nothing goes.
    pub fn announce(self) -> Result<Announced, AuditError> {
        let entry = Entry::Prune {
            before_index: self.plan.before_index,
            classes: self
                .classes()
                .into_iter()
                .filter_map(|Prunable { class, before, entries, .. }| Some(PrunedClass { class, before: before?, entries }))
                .collect(),
            dictionary: self.plan.dictionary,
            remains: self.plan.remains,
            keys: self.keys(),
        };
        let index = self.log.append(entry)?.wait()?.index();
        wait_until_signed(&self.log, index)?;
        let dir = self.log.shared().dirs.first().cloned().unwrap_or_default();
        Ok(Announced { log: self.log, index, keys: self.keys.going, plan: self.plan, next: 0, spared: BTreeSet::new(), tiles: Tiles::new(&dir) })
    }
}

/// What a signed entry of the log says to go.
#[derive(Debug)]
pub struct Announced {
    log: Log,
    index: u64,
    /// Keys that are not destroyed yet.
    keys: Vec<Going>,
    plan: Plan,
    next: usize,
    /// Decisions that have come under hold since.
    spared: BTreeSet<u64>,
    tiles: Tiles,
}

impl Announced {
    /// The `prune` entry's index.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Segments that are not rewritten yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.plan.segments.len().saturating_sub(self.next)
    }

    /// Destroys one key or rewrites one segment; false when none is left. Blocks on the disk. What has failed is tried again by the next call.
    ///
    /// # Errors
    /// When the log has ended, the segment cannot be written, or holds something else than what is signed.
    pub fn step(&mut self, is_held: &dyn Fn(PartyNo) -> bool) -> Result<bool, AuditError> {
        let goes = self.plan.segments.get(self.next);
        if self.keys.is_empty() && goes.is_none() {
            return Ok(false);
        }
        // After its end the files may be another process's.
        self.log.healthy()?;
        let Some(goes) = goes.filter(|_| self.keys.is_empty()) else { return self.destroy_key(is_held) };
        // The sealer writes segments anew, too.
        let _alone = lock(&self.log.shared().rewriting);
        rewrite::rewrite(&*self.log.shared().disk, &self.tiles, goes, &mut self.spared, is_held)?;
        self.next += 1;
        Ok(true)
    }
}

impl Announced {
    /// Unless it has come under hold since.
    fn destroy_key(&mut self, is_held: &dyn Fn(PartyNo) -> bool) -> Result<bool, AuditError> {
        if let Some(going) = self.keys.last()
            && !going.parties.iter().any(|party| is_held(*party))
        {
            self.log.shared().holds_locks()?;
            self.log.shared().texts.destroy(going.id, self.index)?;
        }
        self.keys.pop();
        Ok(true)
    }
}

fn wait_until_signed(log: &Log, index: u64) -> Result<(), AuditError> {
    let shared = log.shared();
    for _ in 0..SIGNED_LOOKS_MAX {
        lock(&shared.progress).wanted = true;
        shared.progressed.notify_all();
        if lock(&shared.signed).size > index {
            return Ok(());
        }
        log.healthy()?;
        sleep(LOOK_EVERY);
    }
    Err(AuditError::Unsigned)
}
