//! What the cases looked at: as a table, as JSON, and as lcov for editors and CI
//! (<https://github.com/linux-test-project/lcov>, `man geninfo`).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::super::table::{Table, cut};
use crate::policy::{ConditionCoverage, Coverage, Effect, PolicyCoverage};

/// The table, each condition that was not seen both ways with its place and text, and one line that sums up.
pub(super) fn table(coverage: &Coverage) -> String {
    let mut table = Table::new(&["policy", "effect", "in scope", "satisfied", "conditions"]);
    for policy in &coverage.policies {
        let covered = policy.conditions.iter().filter(|condition| condition.is_covered()).count();
        let conditions = match (policy.met, policy.conditions.len()) {
            (0, _) => "in scope of no case".to_owned(),
            (_, 0) => "–".to_owned(),
            (_, all) => format!("{covered} of {all}"),
        };
        table.row([policy.name.to_string(), effect(policy.effect).to_owned(), policy.met.to_string(), policy.satisfied.to_string(), conditions]);
    }
    let mut text = table.render();
    for (title, holds) in [
        ("never true", (|c| c.was_true == 0 && c.was_false > 0) as fn(&ConditionCoverage) -> bool),
        ("never false", |c| c.was_false == 0 && c.was_true > 0),
        ("never reached", |c| c.was_true == 0 && c.was_false == 0 && c.erred == 0),
        ("erred", |c| c.erred > 0),
    ] {
        let lines: Vec<String> = listed(coverage, holds);
        if !lines.is_empty() {
            text.extend(["\n\n", title, "\n", &lines.join("\n")]);
        }
    }
    let (covered, all) = coverage.conditions_covered();
    let met = coverage.policies_met();
    format!("{text}\n\npolicies {met} of {} in scope of a case · conditions {covered} of {all} seen both ways", coverage.policies.len())
}

fn listed(coverage: &Coverage, holds: fn(&ConditionCoverage) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    for policy in coverage.policies.iter().filter(|policy| policy.met > 0) {
        for condition in policy.conditions.iter().filter(|condition| holds(condition)) {
            let place = format!("{}:{}:{}", policy.file.display(), condition.line, condition.column);
            let room = LINE_CHARS_MAX.saturating_sub(place.chars().count() + policy.name.as_str().len() + 6).max(40);
            lines.push(format!("  {place}  {}  {}", policy.name, cut(&condition.text, room)));
        }
    }
    lines
}

const LINE_CHARS_MAX: usize = 120;

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Permit => "permit",
        Effect::Forbid => "forbid",
    }
}

pub(super) fn document(coverage: &Coverage) -> Value {
    let condition = |c: &ConditionCoverage| json!({ "line": c.line, "column": c.column, "text": c.text, "true": c.was_true, "false": c.was_false, "erred": c.erred });
    let policies: Vec<Value> = coverage
        .policies
        .iter()
        .map(|policy| {
            json!({
                "policy": policy.name.as_str(), "effect": effect(policy.effect), "file": policy.file.display().to_string(), "line": policy.line,
                "met": policy.met, "satisfied": policy.satisfied, "conditions": policy.conditions.iter().map(condition).collect::<Vec<_>>(),
            })
        })
        .collect();
    let (covered, all) = coverage.conditions_covered();
    json!({ "policies": policies, "policies_met": coverage.policies_met(), "conditions": all, "conditions_covered": covered })
}

/// One record a file. A policy is a function, called when a case meets it; a condition is a branch with two ways, true and false.
pub(super) fn lcov(coverage: &Coverage) -> String {
    let mut files: BTreeMap<&Path, Vec<&PolicyCoverage>> = BTreeMap::new();
    for policy in &coverage.policies {
        files.entry(&policy.file).or_default().push(policy);
    }
    files.into_iter().map(|(file, policies)| record(file, &policies)).collect()
}

#[derive(Default)]
struct Branch {
    was_true: usize,
    was_false: usize,
    reached: usize,
}

fn record(file: &Path, policies: &[&PolicyCoverage]) -> String {
    // Links of one template share its lines and conditions. A connective begins where its first operand does, but reads longer.
    let mut branches: BTreeMap<(usize, usize, &str), Branch> = BTreeMap::new();
    let mut lines: BTreeMap<usize, usize> = BTreeMap::new();
    for policy in policies {
        *lines.entry(policy.line).or_default() += policy.met;
        for condition in &policy.conditions {
            let branch = branches.entry((condition.line, condition.column, condition.text.as_str())).or_default();
            branch.was_true += condition.was_true;
            branch.was_false += condition.was_false;
            branch.reached += condition.was_true + condition.was_false + condition.erred;
        }
    }
    for ((at, ..), branch) in &branches {
        let hits = lines.entry(*at).or_default();
        *hits = (*hits).max(branch.reached);
    }
    let mut text = format!("TN:\nSF:{}\n", file.display());
    let mut line = |written: String| text.extend([written.as_str(), "\n"]);
    policies.iter().for_each(|policy| line(format!("FN:{},{}", policy.line, policy.name)));
    policies.iter().for_each(|policy| line(format!("FNDA:{},{}", policy.met, policy.name)));
    line(format!("FNF:{}", policies.len()));
    line(format!("FNH:{}", policies.iter().filter(|policy| policy.met > 0).count()));
    for (block, ((at, ..), branch)) in branches.iter().enumerate() {
        for (way, taken) in [branch.was_true, branch.was_false].into_iter().enumerate() {
            let taken = if branch.reached > 0 { taken.to_string() } else { "-".to_owned() };
            line(format!("BRDA:{at},{block},{way},{taken}"));
        }
    }
    line(format!("BRF:{}", branches.len() * 2));
    line(format!("BRH:{}", branches.values().map(|branch| usize::from(branch.was_true > 0) + usize::from(branch.was_false > 0)).sum::<usize>()));
    lines.iter().for_each(|(at, hits)| line(format!("DA:{at},{hits}")));
    line(format!("LF:{}", lines.len()));
    line(format!("LH:{}", lines.values().filter(|hits| **hits > 0).count()));
    line("end_of_record".to_owned());
    text
}
