//! `consentry audit index`: the search index of a log that nobody writes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::audit::unreadable;
use super::{Exit, Failure, Output};
use crate::audit::{INDEX_FOLDER, Index, IndexError};

#[derive(Debug, clap::Args)]
pub(super) struct IndexArgs {
    /// The log's folder.
    dir: PathBuf,
    /// Build it anew from the log.
    #[arg(long)]
    rebuild: bool,
    /// Compare it with one that is built anew: whether it leaves out anything.
    #[arg(long)]
    check: bool,
}

impl IndexArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let index = open(&self.dir)?;
        let failed = |error: IndexError| unreadable(&self.dir, &error);
        if self.rebuild {
            index.clear().map_err(failed)?;
        }
        let entries = catch_up(output, &index).map_err(failed)?;
        if !self.check {
            return output.answer(&json!({ "entries": entries }), || format!("{entries} entries are indexed"));
        }
        let progress = output.spinner("building it anew to compare");
        let differences =
            index.check(|done| progress.set_message(format!("building it anew to compare: {done} of {entries} entries"))).map_err(failed)?;
        progress.finish_and_clear();
        let rows: Vec<Value> = differences
            .iter()
            .map(|found| json!({ "table": found.table, "partition": found.partition, "surplus": found.surplus, "lacking": found.lacking }))
            .collect();
        output.answer(&json!({ "ok": rows.is_empty(), "entries": entries, "differences": rows }), || {
            if differences.is_empty() {
                return format!("ok · {entries} entries are indexed, nothing is left out");
            }
            let lines = differences.iter().map(|found| {
                format!("{}, entries from {}: lacks {} rows, has {} too many", found.table, found.partition, found.lacking, found.surplus)
            });
            let lines: Vec<String> = lines.collect();
            format!("the index differs from the log\n\n{}\n\nbuild it anew with `--rebuild`; the log is the truth", lines.join("\n"))
        })?;
        Ok(if differences.is_empty() { Exit::Done } else { Exit::CheckFailed })
    }
}

/// The index of a log that nobody writes, with all of the log in it.
pub(super) fn opened(output: &Output, dir: &Path) -> Result<Index, Failure> {
    let index = open(dir)?;
    catch_up(output, &index).map_err(|error| unreadable(dir, &error))?;
    Ok(index)
}

fn open(dir: &Path) -> Result<Index, Failure> {
    Index::open(dir, &dir.join(INDEX_FOLDER))
        .map_err(|error| if matches!(error, IndexError::InUse { .. }) { Failure::unavailable(error.to_string()) } else { unreadable(dir, &error) })
}

fn catch_up(output: &Output, index: &Index) -> Result<u64, IndexError> {
    let progress = output.spinner("indexing");
    let done = index.catch_up(u64::MAX, |entries| progress.set_message(format!("indexing: {entries} entries")));
    progress.finish_and_clear();
    let done = done?;
    // What was pruned while nobody kept it up.
    let progress = output.spinner("building anew what was pruned");
    let renewed = index.renew(|| false);
    progress.finish_and_clear();
    renewed.map(|_| done)
}
