//! A policy's conditions as covers. Cedar evaluates every part that reads one fact, once for each value of that fact; only
//! `&&`, `||`, `!` and `if` around those parts are worked out here.
//!
//! What would err, is not true or false, or is not understood is `unsure`: a question that meets it is left to plain
//! Cedar, which alone says what an error is.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, UnaryOp, Var};
use cedar_policy::{Entities, EvalResult, Expression, eval_expression};

use crate::model::Action;

use super::super::reads::{Reads, path};
use super::super::request::Requests;
use super::super::rules::Rule;
use super::cover::{Cover, TooMany, Values};
use super::facts::{BEHALF, CUSTOMERS, DAY_MS, EMERGENCY, Example, FACTS, Fact, Field, Index, NOW, RECORDS, ROLES};

/// Where a policy holds, and where plain Cedar must say.
#[derive(Debug)]
pub(in crate::policy) struct Lowered {
    pub(super) holds: Cover,
    pub(super) unsure: Cover,
}

/// Values that the facts of one part may have together. A part with more is left to plain Cedar.
const COMBINATIONS_MAX: usize = 1024;

/// The same of a part of a condition; nowhere two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    holds: Cover,
    fails: Cover,
    unsure: Cover,
}

impl Part {
    fn never() -> Self {
        Self { holds: Cover::never(), fails: Cover::never(), unsure: Cover::never() }
    }

    fn everywhere(truth: Option<bool>) -> Self {
        let always = Cover::always;
        match truth {
            Some(true) => Self { holds: always(), ..Self::never() },
            Some(false) => Self { fails: always(), ..Self::never() },
            None => Self { unsure: always(), ..Self::never() },
        }
    }

    fn unsure() -> Self {
        Self::everywhere(None)
    }

    /// This one, and there the other one.
    fn or_at(&self, place: &Cover, other: &Self) -> Result<Self, TooMany> {
        Ok(Self {
            holds: self.holds.or(&place.and(&other.holds)?)?,
            fails: self.fails.or(&place.and(&other.fails)?)?,
            unsure: self.unsure.or(&place.and(&other.unsure)?)?,
        })
    }

    /// Any or all of two parts, both of which are unsure at the same places.
    fn with(&self, other: &Self, any: bool) -> Result<Self, TooMany> {
        let unsure = self.unsure.or(&other.unsure)?;
        Ok(if any {
            Self { holds: self.holds.or(&other.holds)?, fails: self.fails.and(&other.fails)?, unsure }
        } else {
            Self { holds: self.holds.and(&other.holds)?, fails: self.fails.or(&other.fails)?, unsure }
        })
    }
}

/// What the answer for a part may depend on besides the facts: classes of principal and category, and the action.
pub(in crate::policy) type Place = (Option<usize>, Option<Action>, Option<usize>);

/// What was made of something, by the place for which it was made. What depends on both principal and category is of use to one slice
/// only, and would in time be as many as there are slices.
#[derive(Debug)]
pub(super) struct ByPlace<K, V> {
    kept: HashMap<(K, Place), Arc<V>>,
    own: HashMap<(K, Place), Arc<V>>,
}

impl<K, V> Default for ByPlace<K, V> {
    fn default() -> Self {
        Self { kept: HashMap::new(), own: HashMap::new() }
    }
}

impl<K, V> ByPlace<K, V> {
    pub(super) fn at(&mut self, place: Place) -> &mut HashMap<(K, Place), Arc<V>> {
        if place.0.is_some() && place.2.is_some() { &mut self.own } else { &mut self.kept }
    }

    /// Once a slice is done.
    pub(super) fn forget_own(&mut self) {
        self.own = HashMap::new();
    }
}

/// Parts by their text, for all slices.
pub(super) type Parts = ByPlace<String, Part>;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Ask {
    Holds,
    Fails,
    Unsure,
}

/// One slice: the classes of principal and category, the action, and a question of it.
pub(in crate::policy) struct Setting<'a> {
    pub(in crate::policy) index: &'a Index,
    pub(in crate::policy) requests: &'a Requests,
    pub(in crate::policy) entities: &'a Entities,
    pub(in crate::policy) example: Example,
    pub(in crate::policy) client_class: usize,
    pub(in crate::policy) action: Action,
    pub(in crate::policy) category_class: usize,
}

impl Setting<'_> {
    /// Of all that a slice is, what something that reads this can depend on.
    pub(super) fn place(&self, reads: &Reads) -> Place {
        let by_action = reads.reads("action") || reads.reads(RECORDS);
        (
            (reads.reads("principal") || reads.reads(BEHALF)).then_some(self.client_class),
            by_action.then_some(self.action),
            reads.reads("resource").then_some(self.category_class),
        )
    }

    pub(super) fn lower(&self, rule: &Rule, parts: &mut Parts) -> Lowered {
        let mut lowering = Lowering { setting: self, parts, known: HashMap::new() };
        lowering.clauses(&rule.clauses).unwrap_or_else(|TooMany| Lowered { holds: Cover::never(), unsure: Cover::always() })
    }

    /// `None`: an error, or neither true nor false.
    fn truth(&self, expression: &Expression, facts: &[(Field, i64)]) -> Option<bool> {
        match self.value(expression, facts)? {
            EvalResult::Bool(truth) => Some(truth),
            EvalResult::Long(_)
            | EvalResult::String(_)
            | EvalResult::EntityUid(_)
            | EvalResult::Set(_)
            | EvalResult::Record(_)
            | EvalResult::ExtensionValue(_) => None,
        }
    }

    fn value(&self, expression: &Expression, facts: &[(Field, i64)]) -> Option<EvalResult> {
        let mut example = self.example.clone();
        for (field, value) in facts {
            example.set(self.index, *field, *value)?;
        }
        let request = self.requests.build(&example.question())?;
        eval_expression(&request, self.entities, expression).ok()
    }
}

struct Lowering<'a> {
    setting: &'a Setting<'a>,
    parts: &'a mut Parts,
    /// By address: the policy's tree stands still meanwhile.
    known: HashMap<(*const Expr, Ask), Result<Cover, TooMany>>,
}

impl Lowering<'_> {
    fn clauses(&mut self, clauses: &[Clause]) -> Result<Lowered, TooMany> {
        let (mut holds, mut unsure) = (Cover::always(), Cover::never());
        for clause in clauses {
            let (expr, wanted) = match clause {
                Clause::When(expr) => (expr, Ask::Holds),
                Clause::Unless(expr) => (expr, Ask::Fails),
            };
            unsure = unsure.or(&holds.and(&self.cover(expr, Ask::Unsure)?)?)?;
            holds = holds.and(&self.cover(expr, wanted)?)?;
        }
        Ok(Lowered { holds, unsure })
    }

    fn cover(&mut self, expr: &Expr, ask: Ask) -> Result<Cover, TooMany> {
        let key = (std::ptr::from_ref(expr), ask);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let found = self.make(expr, ask);
        self.known.insert(key, found.clone());
        found
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever is no connective is a part, which Cedar itself evaluates")]
    fn make(&mut self, expr: &Expr, ask: Ask) -> Result<Cover, TooMany> {
        match expr {
            Expr::UnaryOp { op: UnaryOp::Not, expr } => match ask {
                Ask::Holds => self.cover(expr, Ask::Fails),
                Ask::Fails => self.cover(expr, Ask::Holds),
                Ask::Unsure => self.cover(expr, Ask::Unsure),
            },
            Expr::BinaryOp { op: BinaryOp::And, left, right } => match ask {
                Ask::Holds => self.both(left, Ask::Holds, right, Ask::Holds),
                Ask::Fails => self.one_after_the_other(left, Ask::Fails, Ask::Holds, right, Ask::Fails),
                Ask::Unsure => self.one_after_the_other(left, Ask::Unsure, Ask::Holds, right, Ask::Unsure),
            },
            Expr::BinaryOp { op: BinaryOp::Or, left, right } => match ask {
                Ask::Holds => self.one_after_the_other(left, Ask::Holds, Ask::Fails, right, Ask::Holds),
                Ask::Fails => self.both(left, Ask::Fails, right, Ask::Fails),
                Ask::Unsure => self.one_after_the_other(left, Ask::Unsure, Ask::Fails, right, Ask::Unsure),
            },
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                let branches = self.both(cond, Ask::Holds, then_expr, ask)?.or(&self.both(cond, Ask::Fails, else_expr, ask)?)?;
                if ask == Ask::Unsure { branches.or(&self.cover(cond, Ask::Unsure)?) } else { Ok(branches) }
            }
            part => {
                let part = self.part(part);
                Ok(match ask {
                    Ask::Holds => &part.holds,
                    Ask::Fails => &part.fails,
                    Ask::Unsure => &part.unsure,
                }
                .clone())
            }
        }
    }

    fn both(&mut self, left: &Expr, of_left: Ask, right: &Expr, of_right: Ask) -> Result<Cover, TooMany> {
        let left = self.cover(left, of_left)?;
        // What stands to the right of it is never reached.
        if left.is_never() { Ok(left) } else { left.and(&self.cover(right, of_right)?) }
    }

    /// Where the left side settles it, or goes on to the right side and that one does.
    fn one_after_the_other(&mut self, left: &Expr, settled: Ask, onwards: Ask, right: &Expr, of_right: Ask) -> Result<Cover, TooMany> {
        let first = self.cover(left, settled)?;
        let second = self.cover(right, of_right)?;
        if second.is_never() {
            return Ok(first);
        }
        // Where the left side is always settled or goes on, the right side may be looked at by itself.
        let is_sure = settled != Ask::Unsure && self.cover(left, Ask::Unsure)?.is_never();
        let second = if is_sure { second } else { self.cover(left, onwards)?.and(&second)? };
        first.or(&second)
    }

    /// A part that is no connective, from memory or as Cedar evaluates it.
    fn part(&mut self, expr: &Expr) -> Arc<Part> {
        let reads = Reads::of_expr(expr);
        let text = expr.to_string();
        let key = (text, self.setting.place(&reads));
        if let Some(known) = self.parts.at(key.1).get(&key) {
            return Arc::clone(known);
        }
        let made = key.0.parse().ok().map_or_else(Part::unsure, |expression| self.setting.part(expr, &expression, &reads));
        let made = Arc::new(made);
        self.parts.at(key.1).insert(key, Arc::clone(&made));
        made
    }
}

impl Setting<'_> {
    fn part(&self, expr: &Expr, expression: &Expression, reads: &Reads) -> Part {
        if let Some((field, starts)) = self.comparison(expr) {
            return self.by_values(expression, &[(field, starts)]);
        }
        if let Some(roles) = self.role_test(expr) {
            return roles;
        }
        if is_presence_of(expr, CUSTOMERS) {
            return self.by_values(expression, &[(Field::Customers, vec![0, 1])]);
        }
        let Some(fields) = (if is_number_presence(expr) { Some(Vec::new()) } else { self.fields(reads) }) else { return Part::unsure() };
        let every_value = |field: &Field| (*field, (0..self.index.end(*field)).collect::<Vec<i64>>());
        let fields: Vec<_> = fields.iter().map(every_value).collect();
        let combinations = fields.iter().map(|(_, values)| values.len()).try_fold(1_usize, usize::checked_mul);
        if combinations.is_none_or(|count| count > COMBINATIONS_MAX) {
            return Part::unsure();
        }
        let part = self.by_values(expression, &fields);
        let employee = Field::Fact(Fact::Employee);
        if is_presence(expr) || fields.iter().all(|(field, _)| *field != employee) {
            return part;
        }
        // Of an employee there is more to know than whether there is one.
        let is = |wanted| Cover::of(employee, Values::told_by(&[0, 1], 2, |value| value == wanted));
        let absent = Part::never().or_at(&is(0), &part);
        absent.and_then(|absent| absent.or_at(&is(1), &Part::unsure())).unwrap_or_else(|TooMany| Part::unsure())
    }

    /// Evaluated for the first value of each stretch, of each field with each of the others.
    fn by_values(&self, expression: &Expression, fields: &[(Field, Vec<i64>)]) -> Part {
        self.by_further_values(expression, fields, &mut Vec::new()).unwrap_or_else(|TooMany| Part::unsure())
    }

    fn by_further_values(&self, expression: &Expression, fields: &[(Field, Vec<i64>)], facts: &mut Vec<(Field, i64)>) -> Result<Part, TooMany> {
        let Some(((field, starts), rest)) = fields.split_first() else { return Ok(Part::everywhere(self.truth(expression, facts))) };
        let mut alike: Vec<(Part, Vec<i64>)> = Vec::new();
        for start in starts {
            facts.push((*field, *start));
            let part = self.by_further_values(expression, rest, facts)?;
            facts.pop();
            match alike.iter_mut().find(|(known, _)| *known == part) {
                Some((_, starts)) => starts.push(*start),
                None => alike.push((part, vec![*start])),
            }
        }
        let mut all = Part::never();
        for (part, alike) in alike {
            let place = Cover::of(*field, Values::told_by(starts, self.index.end(*field), |start| alike.contains(&start)));
            all = all.or_at(&place, &part)?;
        }
        Ok(all)
    }

    /// The facts that a part looks at; `None` when it may look at what is not among them.
    fn fields(&self, reads: &Reads) -> Option<Vec<Field>> {
        let mut fields = Vec::new();
        for read in reads.paths()? {
            let is_at = |path: &str| read.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            if !is_at("context") || is_at(EMERGENCY) || (is_at(RECORDS) && self.action != Action::Export) {
                continue;
            }
            // A whole record is all of its members, the whole context more than the facts.
            let is_above = |path: &str| read != "context" && path.strip_prefix(read).is_some_and(|rest| rest.starts_with('.'));
            let found: Vec<Field> = FACTS.iter().filter(|(_, path)| is_at(path) || is_above(path)).map(|(fact, _)| Field::Fact(*fact)).collect();
            if found.is_empty() {
                return None;
            }
            fields.extend(found);
        }
        fields.sort_unstable();
        fields.dedup();
        Some(fields)
    }

    /// A number or a time compared with something that stays the same within the slice: the field, and where the stretches
    /// begin within which the answer cannot change.
    fn comparison(&self, expr: &Expr) -> Option<(Field, Vec<i64>)> {
        let Expr::BinaryOp { op, left, right } = expr else { return None };
        let compares = matches!(op, BinaryOp::Eq | BinaryOp::NotEq | BinaryOp::Less | BinaryOp::LessEq | BinaryOp::Greater | BinaryOp::GreaterEq);
        let (measure, constant) = [(left, right), (right, left)].into_iter().filter(|_| compares).find_map(|(measured, constant)| {
            let measure = self.measure(measured)?;
            (!Reads::of_expr(constant).reads("context")).then_some((measure, constant))
        })?;
        let number = self.number(&measure, constant)?;
        let (field, cuts) = match measure {
            Measure::Records => (Field::Records, [number, number.checked_add(1)?]),
            Measure::Customers => (Field::Customers, [number.checked_add(1)?, number.checked_add(2)?]),
            Measure::Now => (Field::Now, [number, number.checked_add(1)?]),
            Measure::Day => {
                let day = number.checked_sub(number.rem_euclid(DAY_MS))?;
                (Field::Now, [day, day.checked_add(DAY_MS)?])
            }
            Measure::TimeOfDay => (Field::TimeOfDay, [number, number.checked_add(1)?]),
        };
        let end = self.index.end(field);
        // That there is none is no number.
        let absent = (field == Field::Customers).then_some(1);
        let mut starts: Vec<i64> = cuts.into_iter().filter(|cut| (1..end).contains(cut)).chain(absent).chain([0]).collect();
        starts.sort_unstable();
        starts.dedup();
        Some((field, starts))
    }

    fn measure(&self, expr: &Expr) -> Option<Measure> {
        if let Expr::UnaryOp { op, expr } = expr {
            let measures = [(UnaryOp::ToTime, Measure::TimeOfDay), (UnaryOp::ToDate, Measure::Day)];
            let is_now = path(expr).as_deref() == Some(NOW);
            return measures.into_iter().find(|(of, _)| is_now && of == op).map(|(_, measure)| measure);
        }
        match path(expr)?.as_str() {
            RECORDS if self.action == Action::Export => Some(Measure::Records),
            CUSTOMERS => Some(Measure::Customers),
            NOW => Some(Measure::Now),
            _ => None,
        }
    }

    /// The constant side, by Cedar, in the unit of the field.
    fn number(&self, measure: &Measure, constant: &Expr) -> Option<i64> {
        let text = match measure {
            Measure::Records | Measure::Customers => constant.to_string(),
            Measure::Now | Measure::Day => format!("({constant}).durationSince(datetime(\"1970-01-01\")).toMilliseconds()"),
            Measure::TimeOfDay => format!("({constant}).toMilliseconds()"),
        };
        match self.value(&text.parse().ok()?, &[])? {
            EvalResult::Long(number) => Some(number),
            EvalResult::Bool(_)
            | EvalResult::String(_)
            | EvalResult::EntityUid(_)
            | EvalResult::Set(_)
            | EvalResult::Record(_)
            | EvalResult::ExtensionValue(_) => None,
        }
    }

    /// `context.employee.roles.contains(Role::"x")`, or `containsAny` and `containsAll` of such: each role by itself.
    fn role_test(&self, expr: &Expr) -> Option<Part> {
        let Expr::BinaryOp { op, left, right } = expr else { return None };
        if path(left).as_deref() != Some(ROLES) {
            return None;
        }
        let roles: Vec<&Expr> = match (op, &**right) {
            (BinaryOp::Contains, role) => vec![role],
            (BinaryOp::ContainsAny | BinaryOp::ContainsAll, Expr::Set(roles)) => roles.iter().map(|role| &**role).collect(),
            _ => return None,
        };
        let mut all: Option<Part> = None;
        for role in roles {
            let Expr::Literal(Literal::EntityUID(uid)) = role else { return None };
            let field = self.index.role(uid.eid.as_str()).filter(|_| uid.ty.to_string() == "Role")?;
            let one: Expression = format!("{ROLES}.contains({role})").parse().ok()?;
            let one = self.by_values(&one, &[(field, vec![0, 1, 2])]);
            all = Some(match all {
                None => one,
                Some(all) => all.with(&one, *op == BinaryOp::ContainsAny).ok()?,
            });
        }
        all
    }
}

/// What is compared with a constant.
enum Measure {
    Records,
    Customers,
    Now,
    /// The time, cut down to its day.
    Day,
    TimeOfDay,
}

/// `context has records` and `context has now`: the action says it.
fn is_number_presence(expr: &Expr) -> bool {
    [RECORDS, NOW].into_iter().any(|asked| is_presence_of(expr, asked))
}

fn is_presence_of(expr: &Expr, asked: &str) -> bool {
    let Expr::HasAttr { expr, attrs } = expr else { return false };
    matches!(**expr, Expr::Var(Var::Context)) && attrs.len() == 1 && asked.strip_prefix("context.") == Some(attrs.first().as_str())
}

/// `context has employee` and `context has employee.roles`: no more than whether there is one.
fn is_presence(expr: &Expr) -> bool {
    let Expr::HasAttr { expr, attrs } = expr else { return false };
    let mut attrs = attrs.iter().map(|attr| attr.as_str());
    matches!(**expr, Expr::Var(Var::Context)) && attrs.next() == Some("employee") && attrs.all(|attr| attr == "roles")
}
