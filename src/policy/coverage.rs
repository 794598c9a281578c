//! What the cases of a folder have looked at: for each policy how often a case met and satisfied it, and for each of its
//! conditions how often it was true and false. A condition that Cedar did not come to, since another one had settled it, was
//! neither.

use std::ops::Range;
use std::path::PathBuf;

use cedar_policy::Request;

use crate::model::{Findings, PolicyName};

use super::conditions::{Conditions, Truth};
use super::rules::Rule;
use super::scopes::Scopes;
use super::tokens::{Kind, Token, tokens};
use super::{Effect, Policies};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// In the order of the files.
    pub policies: Vec<PolicyCoverage>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyCoverage {
    pub name: PolicyName,
    pub effect: Effect,
    /// Where the statement stands; for a link, its template.
    pub file: PathBuf,
    pub line: usize,
    /// Cases whose principal, action and category are in the policy's scope.
    pub met: usize,
    /// Of these, those in which all conditions held.
    pub satisfied: usize,
    pub conditions: Vec<ConditionCoverage>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionCoverage {
    pub line: usize,
    pub column: usize,
    /// As written, on one line.
    pub text: String,
    pub was_true: usize,
    pub was_false: usize,
    /// It erred, so that everything is denied.
    pub erred: usize,
}

impl ConditionCoverage {
    #[must_use]
    pub fn is_covered(&self) -> bool {
        self.was_true > 0 && self.was_false > 0
    }
}

impl Coverage {
    #[must_use]
    pub fn policies_met(&self) -> usize {
        self.policies.iter().filter(|policy| policy.met > 0).count()
    }

    /// Of how many conditions how many were seen both ways.
    #[must_use]
    pub fn conditions_covered(&self) -> (usize, usize) {
        let all = || self.policies.iter().flat_map(|policy| &policy.conditions);
        (all().filter(|condition| condition.is_covered()).count(), all().count())
    }
}

pub(super) struct Recorder<'p> {
    policies: &'p Policies,
    scopes: Scopes,
    conditions: Vec<Conditions>,
    coverage: Coverage,
    /// Cases in which the conditions taken apart said something else than the policy.
    wrong: Vec<usize>,
}

impl<'p> Recorder<'p> {
    /// # Errors
    /// A policy that cannot be taken apart.
    pub(super) fn new(policies: &'p Policies) -> Result<Self, Findings> {
        let mut findings = Findings::default();
        let (mut all, mut covered) = (Vec::new(), Vec::new());
        for rule in &policies.rules {
            let Some(conditions) = Conditions::of(&rule.written) else {
                let finding = rule.written.finding(rule.written.head(), format!("the conditions of `{}` cannot be told apart", rule.name));
                findings.push(finding.help(REPORT));
                continue;
            };
            covered.push(not_seen(rule, &conditions));
            all.push(conditions);
        }
        findings.or(())?;
        let Some(scopes) = Scopes::new(&policies.rules) else {
            let message = "the policies of this folder cannot be looked at one by one";
            let findings = policies.rules.iter().take(1).map(|rule| rule.written.finding(rule.written.head(), message).help(REPORT));
            return Err(Findings(findings.collect()));
        };
        Ok(Self { policies, scopes, conditions: all, coverage: Coverage { policies: covered }, wrong: Vec::new() })
    }

    pub(super) fn see(&mut self, request: &Request) {
        let entities = &self.policies.entities;
        let met = self.scopes.met(request, entities);
        let satisfied = self.scopes.satisfied(request, entities);
        for (at, (policy, conditions)) in self.coverage.policies.iter_mut().zip(&self.conditions).enumerate() {
            if !met.contains(&policy.name) {
                continue;
            }
            policy.met += 1;
            let holds = satisfied.contains(&policy.name);
            policy.satisfied += usize::from(holds);
            let found = &mut policy.conditions;
            let truth = conditions.walk(request, entities, &mut |at, truth| {
                for condition in found.iter_mut().skip(at).take(1) {
                    match truth {
                        Truth::True => condition.was_true += 1,
                        Truth::False => condition.was_false += 1,
                        Truth::Error => condition.erred += 1,
                    }
                }
            });
            if (truth == Truth::True) != holds {
                self.wrong.push(at);
            }
        }
    }

    /// # Errors
    /// INVARIANT: what the conditions add up to is what Cedar says of the policy; where it was not, nothing is reported as covered.
    pub(super) fn finish(self) -> Result<Coverage, Findings> {
        let mut findings = Findings::default();
        for rule in self.policies.rules.iter().enumerate().filter(|(at, _)| self.wrong.contains(at)).map(|(_, rule)| rule) {
            let message = format!("the conditions of `{}` do not add up to what Cedar says of it", rule.name);
            findings.push(rule.written.finding(rule.written.head(), message).help(REPORT));
        }
        findings.or(self.coverage)
    }
}

/// A policy of which no case has been looked at.
fn not_seen(rule: &Rule, conditions: &Conditions) -> PolicyCoverage {
    let written = &rule.written;
    let condition = |span: &Range<usize>| {
        let place = written.finding(span.clone(), "");
        let text = one_line(written.text.get(span.clone()).unwrap_or_default());
        ConditionCoverage { line: place.line, column: place.column, text, was_true: 0, was_false: 0, erred: 0 }
    };
    PolicyCoverage {
        name: rule.name,
        effect: rule.effect,
        file: written.file.clone(),
        line: written.finding(written.head(), "").line,
        met: 0,
        satisfied: 0,
        conditions: conditions.spans.iter().map(condition).collect(),
    }
}

/// A condition without its comments and line breaks.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    let mut before: Option<Token<'_>> = None;
    for token in tokens(text).into_iter().filter(|token| token.kind != Kind::Comment) {
        if let Some(before) = &before {
            let gap = text.get(before.end()..token.at).unwrap_or_default();
            let is_tight = ["(", "["].iter().any(|sign| before.is(sign)) || [")", "]", "."].iter().any(|sign| token.is(sign));
            let is_dropped = gap.is_empty() || (is_tight && gap.contains('\n'));
            if !is_dropped {
                line.push(' ');
            }
        }
        line.push_str(token.text);
        before = Some(token);
    }
    line
}

const REPORT: &str = "please report this policy; run the cases without `--coverage` meanwhile";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::cases;
    use super::super::mistakes::folder;
    use super::one_line;

    #[test]
    fn the_shipped_cases_look_at_every_condition_both_ways() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let (report, coverage) = cases::run_covering(&shipped).map_err(|findings| findings.to_string()).unwrap();
        assert_eq!(report.failed(), 0);
        let mut missed = Vec::new();
        for policy in &coverage.policies {
            assert!(policy.met > 0, "no case is in the scope of `{}`", policy.name);
            // It is dormant: no category of the catalogue is criminal.
            if policy.name.as_str() != "criminal-needs-law" {
                assert!(policy.satisfied > 0, "no case satisfies `{}`", policy.name);
                // The catalogue's one agent has a budget.
                let is_settled = |text: &str| text == "principal has budget";
                let open = policy.conditions.iter().filter(|condition| !condition.is_covered() && !is_settled(&condition.text));
                missed.extend(open.map(|c| format!("{}:{}:{}: {}", policy.file.display(), c.line, c.column, c.text)));
            }
        }
        assert!(missed.is_empty(), "write a case for each of these into policies/tests:\n{}", missed.join("\n"));
    }

    #[test]
    fn a_condition_is_shown_on_one_line_without_comments() {
        let text = "[A::\"http://x\",\n A::\"b\"].contains(\n    context\n      .c // why\n  ) &&\n( d )";
        assert_eq!(one_line(text), "[A::\"http://x\", A::\"b\"].contains(context.c) && ( d )");
    }

    #[test]
    fn what_was_settled_before_is_not_seen() {
        let policy = "// a comment\n@id(\"x\")\nforbid (principal, action == Action::\"read\", resource)\nwhen { context.gpc && // why\n  context.customer.legal_hold }\nunless { context has employee };\n";
        let dir = folder(&[("99-more.cedar", "", policy)]);
        fs::create_dir(dir.path().join("tests")).unwrap();
        let case = |name: &str, action: &str, facts: &str| {
            format!(
                "[[case]]\nname = \"{name}\"\napp = \"crm\"\naction = \"{action}\"\ncategory = \"order\"\npurpose = \"sales.outreach\"\nexpect = \"deny\"\n{facts}\n"
            )
        };
        let cases = [case("a", "read", ""), case("b", "read", "gpc = true\nlegal_hold = true"), case("c", "delete", "gpc = true")].concat();
        fs::write(dir.path().join("tests/x.toml"), cases).unwrap();
        let (report, coverage) = cases::run_covering(dir.path()).unwrap();
        assert_eq!((report.cases.len(), report.failed()), (3, 0));
        let policy = coverage.policies.iter().find(|policy| policy.name.as_str() == "x").unwrap();
        assert_eq!((policy.line, policy.met, policy.satisfied), (2, 2, 1));
        let seen: Vec<_> = policy.conditions.iter().map(|c| (c.text.as_str(), c.line, c.column, c.was_true, c.was_false)).collect();
        assert_eq!(
            seen,
            [
                ("context.gpc && context.customer.legal_hold", 4, 8, 1, 1),
                ("context.gpc", 4, 8, 1, 1),
                ("context.customer.legal_hold", 5, 3, 1, 0),
                ("context has employee", 6, 10, 0, 1),
            ]
        );
    }

    #[test]
    fn links_are_counted_by_themselves_at_their_templates_place() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let (_, coverage) = cases::run_covering(&shipped).map_err(|findings| findings.to_string()).unwrap();
        let link = coverage.policies.iter().find(|policy| policy.name.as_str() == "agreement-service-reads-orders").unwrap();
        assert!(link.file.ends_with("70-agreements.cedar") && link.line == 1 && link.conditions.len() == 3, "{link:?}");
    }
}
