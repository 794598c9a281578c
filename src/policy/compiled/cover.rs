//! Conditions as unions of boxes: a [`Term`] says for some fields which of their values it takes, a [`Cover`] is true where one
//! of its terms is.

use std::cmp::{max, min};

use super::facts::Field;

/// Terms of one cover. A condition that needs more is left to plain Cedar.
pub(super) const TERMS_MAX: usize = 128;

/// Values of one field: half-open ranges, sorted, apart from each other, within `0..end`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::policy) struct Values {
    end: i64,
    ranges: Vec<(i64, i64)>,
}

impl Values {
    /// The values for which `holds`, told by the first of each stretch of equal ones; the stretches begin at `starts`,
    /// sorted, the first of which is 0.
    pub(super) fn told_by(starts: &[i64], end: i64, holds: impl Fn(i64) -> bool) -> Self {
        let mut found = Self { end, ranges: Vec::new() };
        let ends = starts.iter().skip(1).copied().chain([end]);
        for (&from, to) in starts.iter().zip(ends).filter(|(from, _)| holds(**from)) {
            match found.ranges.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                _ => found.ranges.push((from, to)),
            }
        }
        found
    }

    pub(super) fn contains(&self, value: i64) -> bool {
        self.ranges.iter().any(|(from, to)| (*from..*to).contains(&value))
    }

    /// Where it begins and ends to hold.
    pub(super) fn cuts(&self) -> impl Iterator<Item = i64> {
        self.ranges.iter().flat_map(|(from, to)| [*from, *to]).filter(|cut| (1..self.end).contains(cut))
    }

    fn is_full(&self) -> bool {
        self.ranges == [(0, self.end)]
    }

    fn and(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        for (a, b) in &self.ranges {
            ranges.extend(other.ranges.iter().map(|(c, d)| (max(*a, *c), min(*b, *d))).filter(|(from, to)| from < to));
        }
        Self { end: self.end, ranges }
    }

    fn or(&self, other: &Self) -> Self {
        let mut all: Vec<(i64, i64)> = self.ranges.iter().chain(&other.ranges).copied().collect();
        all.sort_unstable();
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for (from, to) in all {
            match ranges.last_mut() {
                Some(last) if from <= last.1 => last.1 = max(last.1, to),
                _ => ranges.push((from, to)),
            }
        }
        Self { end: self.end, ranges }
    }

    fn is_within(&self, other: &Self) -> bool {
        self.ranges.iter().all(|(from, to)| other.ranges.iter().any(|(c, d)| c <= from && to <= d))
    }
}

/// True where each field that it names has one of the values; sorted by field, no field with all or none of its values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::policy) struct Term(Vec<(Field, Values)>);

impl Term {
    pub(super) fn fields(&self) -> impl Iterator<Item = &(Field, Values)> {
        self.0.iter()
    }

    pub(super) fn takes(&self, field: Field, value: i64) -> bool {
        self.values(field).is_none_or(|values| values.contains(value))
    }

    fn values(&self, field: Field) -> Option<&Values> {
        self.0.iter().find(|(other, _)| *other == field).map(|(_, values)| values)
    }

    fn and(&self, other: &Self) -> Option<Self> {
        let mut fields = self.0.clone();
        for (field, values) in &other.0 {
            match fields.iter_mut().find(|(known, _)| known == field) {
                Some((_, known)) => *known = known.and(values),
                None => fields.push((*field, values.clone())),
            }
        }
        fields.sort_by_key(|(field, _)| *field);
        let is_empty = fields.iter().any(|(_, values)| values.ranges.is_empty());
        (!is_empty).then_some(Self(fields))
    }

    fn is_within(&self, other: &Self) -> bool {
        other.0.iter().all(|(field, values)| self.values(*field).is_some_and(|own| own.is_within(values)))
    }

    /// One term for both, when they differ in one field.
    fn joined(&self, other: &Self) -> Option<Self> {
        if self.0.len() != other.0.len() || self.0.iter().zip(&other.0).any(|((a, _), (b, _))| a != b) {
            return None;
        }
        let mut differing = self.0.iter().zip(&other.0).filter(|((_, a), (_, b))| a != b);
        let ((field, a), (_, b)) = differing.next()?;
        if differing.next().is_some() {
            return None;
        }
        let both = a.or(b);
        let mut fields: Vec<_> = self.0.iter().filter(|(known, _)| known != field).cloned().collect();
        if !both.is_full() {
            fields.push((*field, both));
            fields.sort_by_key(|(field, _)| *field);
        }
        Some(Self(fields))
    }
}

/// The condition has no cover of at most [`TERMS_MAX`] terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// True where one of its terms is; none of them lies within another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::policy) struct Cover(Vec<Term>);

impl Cover {
    pub(super) fn never() -> Self {
        Self::default()
    }

    pub(super) fn always() -> Self {
        Self(vec![Term(Vec::new())])
    }

    pub(super) fn of(field: Field, values: Values) -> Self {
        if values.is_full() {
            return Self::always();
        }
        let is_empty = values.ranges.is_empty();
        Self(if is_empty { Vec::new() } else { vec![Term(vec![(field, values)])] })
    }

    pub(super) fn terms(&self) -> &[Term] {
        &self.0
    }

    pub(super) fn is_never(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn and(&self, other: &Self) -> Result<Self, TooMany> {
        let mut found = Self::never();
        for a in &self.0 {
            for both in other.0.iter().filter_map(|b| a.and(b)) {
                found.add(both)?;
            }
        }
        Ok(found)
    }

    pub(super) fn or(&self, other: &Self) -> Result<Self, TooMany> {
        let mut found = self.clone();
        for term in &other.0 {
            found.add(term.clone())?;
        }
        Ok(found)
    }

    fn add(&mut self, mut term: Term) -> Result<(), TooMany> {
        loop {
            if self.0.iter().any(|known| term.is_within(known)) {
                return Ok(());
            }
            self.0.retain(|known| !known.is_within(&term));
            let joined = self.0.iter().enumerate().find_map(|(at, known)| Some((at, known.joined(&term)?)));
            let Some((at, both)) = joined else { break };
            self.0.remove(at);
            term = both;
        }
        self.0.push(term);
        if self.0.len() > TERMS_MAX { Err(TooMany) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::Fact;
    use super::*;

    fn some(field: Fact, end: i64, values: &[i64]) -> Cover {
        let starts: Vec<i64> = (0..end).collect();
        Cover::of(Field::Fact(field), Values::told_by(&starts, end, |value| values.contains(&value)))
    }

    #[test]
    fn covers_follow_the_laws_of_and_and_or() {
        let (a, b) = (some(Fact::Basis, 7, &[0, 1, 4]), some(Fact::Stage, 5, &[2]));
        assert_eq!(a.and(&Cover::always()).unwrap(), a);
        assert_eq!(a.or(&Cover::never()).unwrap(), a);
        assert!(a.and(&Cover::never()).unwrap().is_never());
        assert_eq!(a.or(&Cover::always()).unwrap(), Cover::always());
        assert_eq!(a.or(&a.and(&b).unwrap()).unwrap(), a, "what lies within another is no term");
        assert_eq!(a.or(&some(Fact::Basis, 7, &[2, 3, 5, 6])).unwrap(), Cover::always(), "all values are none to tell");
        assert!(a.and(&some(Fact::Basis, 7, &[2, 3])).unwrap().is_never());
        let both = a.and(&b).unwrap();
        let term = both.terms().first().unwrap();
        let takes = |basis, stage| term.takes(Field::Fact(Fact::Basis), basis) && term.takes(Field::Fact(Fact::Stage), stage);
        assert_eq!((takes(1, 2), takes(2, 2), takes(4, 3), takes(4, 2)), (true, false, false, true));
    }

    #[test]
    fn terms_that_differ_in_one_field_are_joined() {
        let one = some(Fact::Basis, 7, &[0]).and(&some(Fact::Stage, 5, &[2])).unwrap();
        let two = some(Fact::Basis, 7, &[1]).and(&some(Fact::Stage, 5, &[2])).unwrap();
        let three = some(Fact::Basis, 7, &[1]).and(&some(Fact::Stage, 5, &[3])).unwrap();
        assert_eq!(one.or(&two).unwrap(), some(Fact::Basis, 7, &[0, 1]).and(&some(Fact::Stage, 5, &[2])).unwrap());
        assert_eq!(one.or(&three).unwrap().terms().len(), 2);
    }

    #[test]
    fn a_condition_with_too_many_terms_is_given_up() {
        let mut all = Cover::always();
        for role in 0..8 {
            let field = |n: u8| Cover::of(Field::Role(n), Values::told_by(&[0, 1, 2], 3, |value| value == 2));
            let either = field(role).or(&field(role + 100)).unwrap();
            match all.and(&either) {
                Ok(more) => all = more,
                Err(TooMany) => return,
            }
        }
        panic!("{} terms", all.terms().len());
    }
}
