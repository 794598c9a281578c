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

/// The conditions that are so, below the policies that they are of.
fn listed(coverage: &Coverage, holds: fn(&ConditionCoverage) -> bool) -> Vec<String> {
    let place = |policy: &PolicyCoverage, condition: &ConditionCoverage| format!("{}:{}:{}", policy.file.display(), condition.line, condition.column);
    let found =
        || coverage.policies.iter().filter(|policy| policy.met > 0).map(|p| (p, p.conditions.iter().filter(|c| holds(c)).collect::<Vec<_>>()));
    let width = found().flat_map(|(policy, conditions)| conditions.into_iter().map(move |c| place(policy, c).chars().count())).max().unwrap_or(0);
    let room = LINE_CHARS_MAX.saturating_sub(width + 6).max(40);
    let mut lines = Vec::new();
    for (policy, conditions) in found().filter(|(_, conditions)| !conditions.is_empty()) {
        lines.push(format!("  {}", policy.name));
        lines.extend(conditions.into_iter().map(|c| format!("    {:<width$}  {}", place(policy, c), cut(&c.text, room))));
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::PolicyName;

    fn condition(line: usize, column: usize, text: &str, (was_true, was_false, erred): (usize, usize, usize)) -> ConditionCoverage {
        ConditionCoverage { line, column, text: text.to_owned(), was_true, was_false, erred }
    }

    fn policy(name: &str, effect: Effect, line: usize, (met, satisfied): (usize, usize), conditions: Vec<ConditionCoverage>) -> PolicyCoverage {
        let file = PathBuf::from(if name.starts_with("agreement") { "policies/70-agreements.cedar" } else { "policies/10-ownership.cedar" });
        PolicyCoverage { name: PolicyName::intern(name), effect, file, line, met, satisfied, conditions }
    }

    fn sample() -> Coverage {
        let long = "context has employee && context.employee.roles.contains(Role::\"key-account-care\") && context.gpc";
        let agreement =
            |was: (usize, usize, usize)| vec![condition(4, 8, "context.gpc && context.records < 1", was), condition(4, 8, "context.gpc", was)];
        let policies = vec![
            policy("owner-access", Effect::Permit, 1, (9, 4), vec![condition(3, 8, "principal in resource.owner", (4, 5, 0))]),
            policy(
                "vip-needs-named-employee",
                Effect::Forbid,
                11,
                (3, 0),
                vec![
                    condition(12, 10, "context.customer.segment == Segment::\"vip\"", (3, 0, 0)),
                    condition(13, 3, long, (0, 2, 1)),
                    condition(13, 3, "context has employee", (0, 0, 0)),
                ],
            ),
            policy("agent-no-export", Effect::Forbid, 20, (2, 2), Vec::new()),
            policy("legal-hold", Effect::Forbid, 30, (0, 0), vec![condition(31, 8, "context.customer.legal_hold", (0, 0, 0))]),
            policy("agreement-a", Effect::Permit, 2, (2, 2), agreement((2, 0, 0))),
            policy("agreement-b", Effect::Permit, 2, (1, 0), agreement((0, 1, 0))),
        ];
        Coverage { policies }
    }

    #[test]
    fn the_table_lists_what_no_case_shows() {
        insta::assert_snapshot!(table(&sample()), @r#"
        policy                    effect  in scope  satisfied  conditions
        owner-access              permit  9         4          1 of 1
        vip-needs-named-employee  forbid  3         0          0 of 3
        agent-no-export           forbid  2         2          –
        legal-hold                forbid  0         0          in scope of no case
        agreement-a               permit  2         2          0 of 2
        agreement-b               permit  1         0          0 of 2

        never true
          vip-needs-named-employee
            policies/10-ownership.cedar:13:3  context has employee && context.employee.roles.contains(Role::"key-account-care")…
          agreement-b
            policies/70-agreements.cedar:4:8  context.gpc && context.records < 1
            policies/70-agreements.cedar:4:8  context.gpc

        never false
          vip-needs-named-employee
            policies/10-ownership.cedar:12:10  context.customer.segment == Segment::"vip"
          agreement-a
            policies/70-agreements.cedar:4:8   context.gpc && context.records < 1
            policies/70-agreements.cedar:4:8   context.gpc

        never reached
          vip-needs-named-employee
            policies/10-ownership.cedar:13:3  context has employee

        erred
          vip-needs-named-employee
            policies/10-ownership.cedar:13:3  context has employee && context.employee.roles.contains(Role::"key-account-care")…

        policies 5 of 6 in scope of a case · conditions 1 of 9 seen both ways
        "#);
        assert!(table(&sample()).lines().all(|line| line.chars().count() <= LINE_CHARS_MAX));
    }

    #[test]
    fn lcov_has_a_record_a_file_in_which_links_share_their_template() {
        insta::assert_snapshot!(lcov(&sample()), @r#"
        TN:
        SF:policies/10-ownership.cedar
        FN:1,owner-access
        FN:11,vip-needs-named-employee
        FN:20,agent-no-export
        FN:30,legal-hold
        FNDA:9,owner-access
        FNDA:3,vip-needs-named-employee
        FNDA:2,agent-no-export
        FNDA:0,legal-hold
        FNF:4
        FNH:3
        BRDA:3,0,0,4
        BRDA:3,0,1,5
        BRDA:12,1,0,3
        BRDA:12,1,1,0
        BRDA:13,2,0,-
        BRDA:13,2,1,-
        BRDA:13,3,0,0
        BRDA:13,3,1,2
        BRDA:31,4,0,-
        BRDA:31,4,1,-
        BRF:10
        BRH:4
        DA:1,9
        DA:3,9
        DA:11,3
        DA:12,3
        DA:13,3
        DA:20,2
        DA:30,0
        DA:31,0
        LF:8
        LH:6
        end_of_record
        TN:
        SF:policies/70-agreements.cedar
        FN:2,agreement-a
        FN:2,agreement-b
        FNDA:2,agreement-a
        FNDA:1,agreement-b
        FNF:2
        FNH:2
        BRDA:4,0,0,2
        BRDA:4,0,1,1
        BRDA:4,1,0,2
        BRDA:4,1,1,1
        BRF:4
        BRH:4
        DA:2,3
        DA:4,3
        LF:2
        LH:2
        end_of_record
        "#);
    }
}
