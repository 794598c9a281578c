//! Why a question was answered as it was, condition by condition, and what would change the answer.

use std::fmt;

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal};
use cedar_policy::{EvalResult, Expression, Request, eval_expression};

use crate::model::{Age, Caller, ConsentStatus, Employee, Particulars, PartyFacts, PolicyName, Question, Role, Segment, Stage, Task};

use super::reads::path;
use super::rules::Rule;
use super::{Decided, Effect, Policies};

/// Every policy whose scope holds the question, with the condition that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub decided: Decided<'static>,
    pub permits: Vec<PermitTrace>,
    /// The forbids that struck.
    pub forbids: Vec<ForbidTrace>,
    /// Single changes that would open it, the likeliest first; empty when it is open, or no single change would.
    pub changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermitTrace {
    pub name: PolicyName,
    /// The first condition that failed, with what was found: ``consent status is `withdrawn`, needs `given` ``. `None`: it permits.
    pub failed: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForbidTrace {
    pub name: PolicyName,
    /// What it would have needed, when it names an exception.
    pub missing: Option<String>,
}

/// One fact that, were it so, would open the category. The lawful basis is none: it belongs to the activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Consent { status: ConsentStatus, explicit: bool },
    EmployeeRole(Role),
    Stage(Stage),
    Segment(Segment),
    Age(Age),
    NoLegalHold,
    NoPrivacySignal,
    Task(Task),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consent { status, explicit: true } => write!(f, "consent is `{status}`, explicitly"),
            Self::Consent { status, explicit: false } => write!(f, "consent is `{status}`"),
            Self::EmployeeRole(role) => write!(f, "the call is made for an employee with role `{role}`"),
            Self::Stage(stage) => write!(f, "the customer's stage is `{stage}`"),
            Self::Segment(segment) => write!(f, "the customer's segment is `{segment}`"),
            Self::Age(age) => write!(f, "the customer's age is `{age}`"),
            Self::NoLegalHold => f.write_str("the legal hold is lifted"),
            Self::Task(task) => write!(f, "the agent's token names the task `{task}`"),
            Self::NoPrivacySignal => f.write_str("the request carries no Global Privacy Control signal"),
        }
    }
}

impl Policies {
    /// Why a question is answered as it is, and which single changes would open it.
    #[must_use]
    pub fn explain(&self, question: &Question<'_>) -> Explanation {
        let decided = self.decide(question).kept();
        let mut explanation = Explanation { decided, permits: Vec::new(), forbids: Vec::new(), changes: Vec::new() };
        let (Some(seen), Some(request)) = (self.slices.index.see(question), self.requests.build(question)) else { return explanation };
        let trace = Trace { policies: self, question, request: &request };
        for rule in self.in_scope(&seen) {
            match rule.effect {
                Effect::Permit => explanation.permits.push(PermitTrace { name: rule.name, failed: trace.first_failure(rule) }),
                Effect::Forbid if trace.first_failure(rule).is_none() => {
                    explanation.forbids.push(ForbidTrace { name: rule.name, missing: trace.missing_exception(rule) });
                }
                Effect::Forbid => {}
            }
        }
        if !explanation.decided.allow() {
            explanation.changes = self.changes(question);
        }
        explanation
    }

    /// Why a policy does not apply; `None` when it does.
    pub(super) fn why_not(&self, question: &Question<'_>, name: PolicyName) -> Option<String> {
        let seen = self.slices.index.see(question)?;
        let Some(rule) = self.in_scope(&seen).find(|rule| rule.name == name) else {
            return Some("is not about this app, action and category".to_owned());
        };
        let request = self.requests.build(question)?;
        Trace { policies: self, question, request: &request }.first_failure(rule)
    }

    fn changes(&self, question: &Question<'_>) -> Vec<Change> {
        let mut candidates =
            vec![Change::Consent { status: ConsentStatus::Given, explicit: false }, Change::Consent { status: ConsentStatus::Given, explicit: true }];
        candidates.extend(self.vocabulary.roles.iter().map(|role| Change::EmployeeRole(*role)));
        candidates.extend(Stage::ALL.iter().map(|stage| Change::Stage(*stage)));
        candidates.extend(Segment::ALL.iter().map(|segment| Change::Segment(*segment)));
        candidates.extend(Age::ALL.iter().map(|age| Change::Age(*age)));
        candidates.extend([Change::NoLegalHold, Change::NoPrivacySignal]);
        let agent = self.vocabulary.clients.get(&question.caller.client).and_then(|info| info.agent.as_ref());
        candidates.extend(agent.into_iter().flat_map(|agent| &agent.tasks).map(|task| Change::Task(*task)));
        let mut found: Vec<Change> = Vec::new();
        for change in candidates {
            // Plain consent that opens makes explicit consent no news.
            let is_known = matches!(change, Change::Consent { .. }) && !found.is_empty();
            if !is_known && self.opens(question, change) {
                found.push(change);
            }
        }
        found
    }

    fn opens(&self, question: &Question<'_>, change: Change) -> bool {
        let mut changed = question.clone();
        let party = question.party;
        let mut employee = question.caller.employee.clone();
        match change {
            Change::Consent { status, explicit } => (changed.status, changed.explicit) = (status, explicit),
            Change::EmployeeRole(role) => {
                changed.particulars.for_customer = None;
                employee.get_or_insert_with(|| Employee { pseudonym: String::new(), roles: Vec::new() }).roles.push(role);
            }
            Change::Stage(stage) => changed.party = PartyFacts { stage, ..party },
            Change::Segment(segment) => changed.party = PartyFacts { segment, ..party },
            Change::Age(age) => changed.party = PartyFacts { age, ..party },
            Change::NoLegalHold => changed.party = PartyFacts { legal_hold: false, ..party },
            Change::NoPrivacySignal => changed.gpc = false,
            Change::Task(task) => changed.particulars = Particulars { task: Some(task), ..question.particulars },
        }
        let caller = Caller { employee, ..question.caller.clone() };
        self.decide(&Question { caller: &caller, ..changed }).allow()
    }
}

/// One question being taken apart.
struct Trace<'a> {
    policies: &'a Policies,
    question: &'a Question<'a>,
    request: &'a Request,
}

impl Trace<'_> {
    /// The first condition that keeps a policy from applying; `None` when it applies.
    fn first_failure(&self, rule: &Rule) -> Option<String> {
        for clause in &rule.clauses {
            match clause {
                Clause::When(expr) => {
                    let failed = conjuncts(expr).into_iter().find(|part| !self.holds(part));
                    if let Some(part) = failed {
                        return Some(self.sentence(part));
                    }
                }
                // An exception that errs keeps the policy from applying, too.
                Clause::Unless(expr) if self.evaluate(expr) != Some(EvalResult::Bool(false)) => return Some(format!("excepted: {expr}")),
                Clause::Unless(_) => {}
            }
        }
        None
    }

    /// What the first `unless` of a forbid that struck would have needed.
    fn missing_exception(&self, rule: &Rule) -> Option<String> {
        rule.clauses.iter().find_map(|clause| match clause {
            Clause::Unless(expr) => Some(self.sentence(expr)),
            Clause::When(_) => None,
        })
    }

    /// A condition that does not hold, in words.
    #[expect(clippy::wildcard_enum_match_arm, reason = "Cedar's tree is open; what has no words of its own is shown as Cedar text")]
    fn sentence(&self, expr: &Expr) -> String {
        let Expr::BinaryOp { op, left, right } = expr else {
            return match expr {
                Expr::HasAttr { expr, attrs } if path(expr).as_deref() == Some("context") => format!("no {}", attrs.first()),
                _ => format!("{expr} does not hold"),
            };
        };
        match op {
            BinaryOp::And => {
                let failed = conjuncts(expr).into_iter().find(|part| !self.holds(part));
                failed.map_or_else(|| format!("{expr} does not hold"), |part| self.sentence(part))
            }
            BinaryOp::Or => format!("{}, and {}", self.sentence(left), self.sentence(right)),
            BinaryOp::In => self.membership(left, right),
            BinaryOp::Eq => format!("{} is {}, needs {}", label(left), self.value(left), self.value(right)),
            BinaryOp::NotEq => format!("{} is {}", label(left), self.value(left)),
            BinaryOp::Contains if matches!(**left, Expr::Set(_)) => {
                format!("{} is {}, needs one of {}", label(right), self.value(right), self.value(left))
            }
            BinaryOp::Contains => format!("{} lacks {}", label(left), self.value(right)),
            BinaryOp::Less | BinaryOp::LessEq => format!("{} is {}, which is above {}", label(left), self.value(left), self.value(right)),
            BinaryOp::Greater | BinaryOp::GreaterEq => format!("{} is {}, which is below {}", label(left), self.value(left), self.value(right)),
            _ => format!("{expr} does not hold"),
        }
    }

    fn membership(&self, left: &Expr, right: &Expr) -> String {
        let caller = self.question.caller;
        match (path(left).as_deref(), path(right).as_deref()) {
            (Some("principal"), Some("resource.owner")) => format!("{} does not own it", caller.department),
            (Some("principal"), Some("resource.contributors")) => format!("{} does not contribute to it", caller.department),
            (Some("context.purpose"), Some("principal.registered_purposes")) => {
                format!("purpose `{}` is not registered for {}", self.question.purpose, caller.client)
            }
            (Some("principal"), _) => format!("{} is not in {}", caller.client, self.value(right)),
            _ => format!("{} is {}, needs to be within {}", label(left), self.value(left), self.value(right)),
        }
    }

    fn holds(&self, expr: &Expr) -> bool {
        self.evaluate(expr) == Some(EvalResult::Bool(true))
    }

    fn evaluate(&self, expr: &Expr) -> Option<EvalResult> {
        let expression: Expression = expr.to_string().parse().ok()?;
        eval_expression(self.request, &self.policies.entities, &expression).ok()
    }

    fn value(&self, expr: &Expr) -> String {
        if let Expr::Literal(Literal::String(text)) = expr {
            return format!("\"{text}\"");
        }
        self.evaluate(expr).map_or_else(|| "an error".to_owned(), |value| shown(&value))
    }
}

/// The parts of `a && b && c`, from left to right.
fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    let Expr::BinaryOp { op: BinaryOp::And, left, right } = expr else { return vec![expr] };
    let mut parts = conjuncts(left);
    parts.extend(conjuncts(right));
    parts
}

/// `context.consent.status` -> `consent status`.
fn label(expr: &Expr) -> String {
    let Some(path) = path(expr) else { return expr.to_string() };
    path.strip_prefix("context.").unwrap_or(&path).replace(['.', '_'], " ")
}

fn shown(value: &EvalResult) -> String {
    match value {
        EvalResult::EntityUid(uid) => format!("`{}`", uid.id().unescaped()),
        EvalResult::Set(items) => {
            let mut items: Vec<String> = items.iter().map(shown).collect();
            items.sort();
            items.join(", ")
        }
        EvalResult::Bool(_) | EvalResult::Long(_) | EvalResult::String(_) | EvalResult::Record(_) | EvalResult::ExtensionValue(_) => {
            value.to_string()
        }
    }
}
