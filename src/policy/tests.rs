//! The shipped folder, the hazards of "fail closed", and folders with planted mistakes.

use std::path::{Path, PathBuf};

use super::*;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")
}

#[test]
fn the_shipped_folder_is_without_a_mistake_and_its_cases_pass() {
    let policies = Policies::load(&shipped()).map_err(|findings| findings.to_string()).unwrap();
    let report = cases::run_with(&policies, &shipped()).map_err(|findings| findings.to_string()).unwrap();
    let failed: Vec<String> =
        report.cases.iter().filter_map(|c| Some(format!("{}:{} {}: {}", c.file.display(), c.line, c.name, c.failure.as_ref()?))).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(report.passed() >= 10, "{}", report.passed());
}
