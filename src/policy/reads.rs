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
            _ => self.everything = true,
        }
    }
}

/// `context.consent.status` for a chain of attributes that starts at a variable.
pub(super) fn path(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Var(var) => Some(
            match var {
                Var::Principal => "principal",
                Var::Action => "action",
                Var::Resource => "resource",
                Var::Context => "context",
            }
            .to_owned(),
        ),
        Expr::GetAttr { expr, attr } => path(expr).map(|base| format!("{base}.{attr}")),
        _ => None,
    }
}
