//! Which principals, and which categories, no policy can tell apart: they share slices and tables. Policies reach an entity
//! by its own name, by what it stands below, and by the attributes that they name; what is equal in all of these is
//! equal to every condition.

use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::pst::{BinaryOp, Expr, Literal};
use cedar_policy::{ActionConstraint, Entities, Entity, EntityUid, EvalResult, PrincipalConstraint, ResourceConstraint};

use super::super::rules::Rule;

/// What the policies and the catalogue name.
pub(in crate::policy) struct Named {
    /// Entities named by a policy, referred to by an attribute or standing above another.
    entities: HashSet<(String, String)>,
    /// Attributes that a policy reads of anything.
    attributes: BTreeSet<String>,
    /// A policy holds what is not understood, or reads tags: then nothing is left out.
    is_everything: bool,
}

impl Named {
    pub(in crate::policy) fn of(rules: &[Rule], entities: &Entities) -> Self {
        let mut named = Self { entities: HashSet::new(), attributes: BTreeSet::new(), is_everything: false };
        for rule in rules {
            named.scope(rule);
            named.is_everything |= rule.reads.is_everything();
            for clause in &rule.clauses {
                let (cedar_policy::pst::Clause::When(expr) | cedar_policy::pst::Clause::Unless(expr)) = clause;
                named.walk(expr);
            }
        }
        for entity in entities.iter() {
            entities.ancestors(&entity.uid()).into_iter().flatten().for_each(|above| named.add(above));
            for (_, value) in entity.attrs().chain(entity.tags()) {
                value.iter().for_each(|value| named.value(value));
            }
        }
        named
    }

    fn add(&mut self, uid: &EntityUid) {
        self.entities.insert((uid.type_name().to_string(), uid.id().unescaped().to_owned()));
    }

    fn scope(&mut self, rule: &Rule) {
        match rule.policy.principal_constraint() {
            PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => self.add(&uid),
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => {}
        }
        match rule.policy.resource_constraint() {
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => self.add(&uid),
            ResourceConstraint::Any | ResourceConstraint::Is(_) => {}
        }
        match rule.policy.action_constraint() {
            ActionConstraint::Eq(uid) => self.add(&uid),
            ActionConstraint::In(uids) => uids.iter().for_each(|uid| self.add(uid)),
            ActionConstraint::Any => {}
        }
    }

    fn value(&mut self, value: &EvalResult) {
        match value {
            EvalResult::EntityUid(uid) => self.add(uid),
            EvalResult::Set(items) => items.iter().for_each(|item| self.value(item)),
            EvalResult::Record(members) => members.iter().for_each(|(_, item)| self.value(item)),
            EvalResult::Bool(_) | EvalResult::Long(_) | EvalResult::String(_) | EvalResult::ExtensionValue(_) => {}
        }
    }

    fn walk(&mut self, expr: &Expr) {
        match expr {
            Expr::Literal(Literal::EntityUID(uid)) => drop(self.entities.insert((uid.ty.to_string(), uid.eid.to_string()))),
            Expr::Literal(_) | Expr::Slot(_) | Expr::Var(_) => {}
            Expr::GetAttr { expr, attr } => {
                self.attributes.insert(attr.to_string());
                self.walk(expr);
            }
            Expr::HasAttr { expr, attrs } => {
                self.attributes.extend(attrs.iter().map(ToString::to_string));
                self.walk(expr);
            }
            Expr::UnaryOp { expr, .. } | Expr::Like { expr, .. } => self.walk(expr),
            Expr::Is { expr, in_expr, .. } => {
                self.walk(expr);
                in_expr.iter().for_each(|expr| self.walk(expr));
            }
            Expr::BinaryOp { op, left, right } => {
                self.is_everything |= matches!(op, BinaryOp::GetTag | BinaryOp::HasTag);
                [left, right].into_iter().for_each(|expr| self.walk(expr));
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => [cond, then_expr, else_expr].into_iter().for_each(|expr| self.walk(expr)),
            Expr::Set(items) => items.iter().for_each(|expr| self.walk(expr)),
            Expr::Record(members) => members.values().for_each(|expr| self.walk(expr)),
            Expr::Unknown { .. } | _ => self.is_everything = true,
        }
    }

    /// Equal for two entities only when every policy takes them for the same.
    fn face(&self, entity: &Entity, entities: &Entities) -> Vec<String> {
        let uid = entity.uid();
        let kind = uid.type_name().to_string();
        let is_named = self.is_everything || self.entities.contains(&(kind.clone(), uid.id().unescaped().to_owned()));
        let mut face = vec![kind, if is_named { uid.to_string() } else { String::new() }];
        let mut above: Vec<String> = entities.ancestors(&uid).into_iter().flatten().map(ToString::to_string).collect();
        above.sort();
        face.extend(above);
        let mut read: Vec<String> = entity
            .attrs()
            .filter(|(name, _)| self.attributes.contains(*name))
            .map(|(name, value)| format!("{name}: {}", value.map_or_else(|_| uid.to_string(), |value| value.to_string())))
            .collect();
        read.sort();
        face.extend(read);
        face
    }

    /// The class of each entity, numbered from 0, and the first entity of each class.
    pub(in crate::policy) fn classes<K: Copy + Eq + std::hash::Hash>(
        &self,
        members: impl IntoIterator<Item = (K, EntityUid)>,
        entities: &Entities,
    ) -> (HashMap<K, usize>, Vec<K>) {
        let (mut class_of, mut firsts) = (HashMap::new(), Vec::new());
        let mut known: HashMap<Vec<String>, usize> = HashMap::new();
        for (key, uid) in members {
            let Some(entity) = entities.get(&uid) else { continue };
            let class = *known.entry(self.face(entity, entities)).or_insert_with(|| {
                firsts.push(key);
                firsts.len() - 1
            });
            class_of.insert(key, class);
        }
        (class_of, firsts)
    }
}
