//! Which facts a policy looks at, from its syntax tree: dotted paths from the variable, e.g. `context.consent.status`.
//! Errs on the safe side: what is not understood counts as looking at everything.

use std::collections::BTreeSet;

use cedar_policy::pst::{Clause, Expr, Var};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    paths: BTreeSet<String>,
    everything: bool,
}

impl Reads {
    pub(super) fn of(clauses: &[Clause]) -> Self {
        let mut reads = Self::default();
        for clause in clauses {
            let (Clause::When(expr) | Clause::Unless(expr)) = clause;
            reads.walk(expr);
        }
        reads
    }

    pub(super) fn of_expr(expr: &Expr) -> Self {
        let mut reads = Self::default();
        reads.walk(expr);
        reads
    }

    /// `None`: it may look at anything.
    pub(super) fn paths(&self) -> Option<impl Iterator<Item = &str>> {
        (!self.everything).then(|| self.paths.iter().map(String::as_str))
    }

    pub(super) fn is_everything(&self) -> bool {
        self.everything
    }

    /// Whether the value at `path` can make a difference: it is read itself, or as a part of what is read.
    pub(super) fn reads(&self, path: &str) -> bool {
        let below = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.everything || self.paths.iter().any(|read| below(path, read) || below(read, path))
    }

    fn walk(&mut self, expr: &Expr) {
        if let Some(path) = path(expr) {
            self.paths.insert(path);
            return;
        }
        match expr {
            Expr::Literal(_) | Expr::Slot(_) | Expr::Var(_) => {}
            Expr::UnaryOp { expr, .. } | Expr::GetAttr { expr, .. } | Expr::Like { expr, .. } => self.walk(expr),
            Expr::HasAttr { expr, attrs } => match path(expr) {
                Some(base) => drop(self.paths.insert(format!("{base}.{}", attrs.first()))),
                None => self.walk(expr),
            },
            Expr::Is { expr, in_expr, .. } => {
                self.walk(expr);
                in_expr.iter().for_each(|expr| self.walk(expr));
            }
            Expr::BinaryOp { left, right, .. } => [left, right].into_iter().for_each(|expr| self.walk(expr)),
            Expr::IfThenElse { cond, then_expr, else_expr } => [cond, then_expr, else_expr].into_iter().for_each(|expr| self.walk(expr)),
            Expr::Set(items) => items.iter().for_each(|expr| self.walk(expr)),
            Expr::Record(members) => members.values().for_each(|expr| self.walk(expr)),
            Expr::Unknown { .. } | _ => self.everything = true,
        }
    }
}

/// `context.consent.status` for a chain of attributes that starts at a variable.
pub(super) fn path(expr: &Expr) -> Option<String> {
    if let Expr::GetAttr { expr, attr } = expr {
        return path(expr).map(|base| format!("{base}.{attr}"));
    }
    let Expr::Var(var) = expr else { return None };
    let name = match var {
        Var::Principal => "principal",
        Var::Action => "action",
        Var::Resource => "resource",
        Var::Context => "context",
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    fn reads(condition: &str) -> Reads {
        let policy = Policy::parse(None, format!("forbid (principal, action, resource) when {{ {condition} }};")).unwrap();
        Reads::of(policy.to_pst().unwrap().body().clauses())
    }

    #[test]
    fn a_path_is_read_by_itself_its_parts_and_its_whole() {
        let one = reads("context.consent.status == ConsentStatus::\"given\"");
        assert!(one.reads("context.consent.status") && one.reads("context.consent") && one.reads("context"));
        assert!(!one.reads("context.consent.explicit") && !one.reads("context.customer.stage") && !one.reads("context.consent.stat"));
        let whole = reads("context.customer == {\"stage\": Stage::\"lead\"}");
        assert!(whole.reads("context.customer.age") && !whole.reads("context.consent.status"));
        let everything = reads("[context].contains(context)");
        assert!(everything.reads("context.now") && everything.reads("context.consent.status"));
    }

    #[test]
    fn reads_are_found_wherever_they_stand() {
        for condition in [
            "!(context.gpc && context.now < datetime(\"2026-01-01\"))",
            "if context.gpc then true else context.now.toDate() == datetime(\"2026-01-01\")",
            "[context.now].contains(datetime(\"2026-01-01\"))",
            "{\"at\": context.now}.at == datetime(\"2026-01-01\")",
            "context has now",
            "resource in [resource] && principal == principal && context[\"now\"] == datetime(\"2026-01-01\")",
        ] {
            assert!(reads(condition).reads("context.now"), "{condition}");
            assert!(!reads(condition).reads("context.customer.stage"), "{condition}");
        }
    }
}
