//! A slice as rows of bits: one bit for each term of each policy. A fact's value picks a row; a term holds where all rows
//! that were picked have its bit.
//!
//! ```text
//!            permits        forbids        unsure      <- words of 64 terms; a kind begins with a word of its own
//! all        1111110000..   1110000000..   1000000000..
//! purpose=0  1011110000..   0110000000..   1000000000..
//! purpose=1  1111000000..   1110000000..   0000000000..
//! status=0   ...
//! ```

use std::collections::BTreeMap;
use std::fmt;

use crate::model::PolicyName;

use super::super::Effect;
use super::cover::{Cover, Term};
use super::facts::{CUSTOMER, Field, Index, Seen};
use super::lower::Lowered;

/// Fields that one slice can look at: all facts and numbers, and 17 roles. A slice that looks at more is left to plain Cedar.
const FIELDS_MAX: usize = 32;

const BITS: usize = 64;

/// The rows of a field: one for each value, or for each stretch between two cuts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Column {
    pub(super) field: Field,
    /// Where the second and further stretches begin; none when each value has its row.
    cuts: Vec<i64>,
    /// Its first row in the words, and how many there are.
    first: usize,
    count: usize,
    /// One value for each row that is different from the others.
    pub(super) samples: Vec<i64>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(in crate::policy) struct Code {
    pub(super) columns: Vec<Column>,
    rows: Vec<u64>,
    /// Words of a row, and the first of the prohibitions and of what is left to plain Cedar.
    width: usize,
    forbids: usize,
    unsure: usize,
    /// Whose each term is, by its bit in a row.
    names: Vec<Option<PolicyName>>,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code").field("columns", &self.columns.len()).field("words", &self.rows.len()).finish_non_exhaustive()
    }
}

/// The rows that a question picks.
#[derive(Clone, Copy)]
pub(in crate::policy) struct Rows {
    starts: [u32; FIELDS_MAX],
    count: usize,
}

/// A decision without an error.
#[derive(Clone, Copy)]
pub(in crate::policy) struct Answer<'p> {
    code: &'p Code,
    rows: Rows,
    pub(in crate::policy) allow: bool,
    /// Words of the terms that determined it.
    from: usize,
    to: usize,
}

impl Code {
    pub(super) fn new(index: &Index, rules: &[(PolicyName, Effect, &Lowered)]) -> Self {
        let left_to_cedar = || Self { columns: Vec::new(), rows: vec![1], width: 1, forbids: 0, unsure: 0, names: Vec::new() };
        Self::try_new(index, rules).unwrap_or_else(left_to_cedar)
    }

    fn try_new(index: &Index, rules: &[(PolicyName, Effect, &Lowered)]) -> Option<Self> {
        let of = |wanted: Effect| {
            let mut rules: Vec<_> = rules.iter().filter(|(_, effect, _)| *effect == wanted).collect();
            rules.sort_by_key(|(name, _, _)| *name);
            rules.into_iter().flat_map(|(name, _, lowered)| lowered.holds.terms().iter().map(|term| (Some(*name), term)))
        };
        let mut unsure = Cover::never();
        for (_, _, lowered) in rules {
            unsure = unsure.or(&lowered.unsure).unwrap_or_else(|_| Cover::always());
        }
        let mut bits: Vec<(Option<PolicyName>, Option<&Term>)> = Vec::new();
        let pad = |bits: &mut Vec<(Option<PolicyName>, Option<&Term>)>| {
            bits.resize(bits.len().next_multiple_of(BITS), (None, None));
            bits.len() / BITS
        };
        bits.extend(of(Effect::Permit).map(|(name, term)| (name, Some(term))));
        let forbids = pad(&mut bits);
        bits.extend(of(Effect::Forbid).map(|(name, term)| (name, Some(term))));
        let first_unsure = pad(&mut bits);
        bits.extend(unsure.terms().iter().map(|term| (None, Some(term))));
        let width = pad(&mut bits);

        let mut made =
            Self { columns: Vec::new(), rows: Vec::new(), width, forbids, unsure: first_unsure, names: bits.iter().map(|(name, _)| *name).collect() };
        made.row(bits.iter().map(|(_, term)| term.is_some()));
        let mut cuts: BTreeMap<Field, Vec<i64>> = BTreeMap::new();
        for (field, values) in bits.iter().filter_map(|(_, term)| *term).flat_map(Term::fields) {
            let known = cuts.entry(*field).or_default();
            if !Index::is_counted_out(*field) {
                known.extend(values.cuts());
            }
        }
        for (field, mut cuts) in cuts {
            cuts.sort_unstable();
            cuts.dedup();
            made.column(index, field, cuts, &bits);
        }
        (made.columns.len() <= FIELDS_MAX && u32::try_from(made.rows.len()).is_ok()).then_some(made)
    }

    fn column(&mut self, index: &Index, field: Field, cuts: Vec<i64>, bits: &[(Option<PolicyName>, Option<&Term>)]) {
        let first = self.rows.len();
        let values: Vec<i64> =
            if Index::is_counted_out(field) { (0..index.end(field)).collect() } else { std::iter::once(0).chain(cuts.iter().copied()).collect() };
        let count = values.len();
        let mut samples: BTreeMap<Vec<u64>, i64> = BTreeMap::new();
        for value in values {
            let start = self.rows.len();
            self.row(bits.iter().map(|(_, term)| term.is_some_and(|term| term.takes(field, value))));
            let row = self.rows.get(start..).unwrap_or_default().to_vec();
            samples.entry(row).or_insert(value);
        }
        let mut samples: Vec<i64> = samples.into_values().collect();
        samples.sort_unstable();
        self.columns.push(Column { field, cuts, first, count, samples });
    }

    fn row(&mut self, bits: impl Iterator<Item = bool>) {
        let start = self.rows.len();
        self.rows.resize(start + self.width, 0);
        for (at, _) in bits.enumerate().filter(|(_, is_set)| *is_set) {
            if let Some(word) = self.rows.get_mut(start + at / BITS) {
                *word |= 1 << (at % BITS);
            }
        }
    }

    /// `None`: plain Cedar must say.
    #[inline]
    pub(in crate::policy) fn decide(&self, seen: &Seen) -> Option<Answer<'_>> {
        let rows = self.pick(&self.columns, |column| seen.value(column.field))?;
        if self.any(&rows, self.unsure, self.width)? {
            return None;
        }
        let answer = |allow, from, to| Answer { code: self, rows, allow, from, to };
        if self.any(&rows, self.forbids, self.unsure)? {
            return Some(answer(false, self.forbids, self.unsure));
        }
        let allow = self.any(&rows, 0, self.forbids)?;
        Some(answer(allow, 0, if allow { self.forbids } else { 0 }))
    }

    /// Whether any customer could open it, all else being as seen. `None`: plain Cedar must say.
    pub(in crate::policy) fn any_customer(&self, seen: &Seen) -> Option<bool> {
        let is_customers = |column: &&Column| CUSTOMER.contains(&column.field);
        let rest = self.pick(self.columns.iter().filter(|column| !is_customers(column)), |column| seen.value(column.field))?;
        if self.any(&rest, self.unsure, self.width)? {
            return None;
        }
        if !self.any(&rest, 0, self.forbids)? {
            return Some(false);
        }
        let columns: Vec<&Column> = self.columns.iter().filter(is_customers).collect();
        self.opens(rest, &columns)
    }

    fn opens(&self, rows: Rows, columns: &[&Column]) -> Option<bool> {
        let Some((column, rest)) = columns.split_first() else {
            return Some(self.any(&rows, 0, self.forbids)? && !self.any(&rows, self.forbids, self.unsure)?);
        };
        for sample in &column.samples {
            let mut rows = rows;
            rows.push(self.start(column, *sample)?)?;
            if self.any(&rows, 0, self.forbids)? && self.opens(rows, rest)? {
                return Some(true);
            }
        }
        Some(false)
    }

    #[inline]
    fn pick<'c>(&self, columns: impl IntoIterator<Item = &'c Column>, value: impl Fn(&Column) -> Option<i64>) -> Option<Rows> {
        let mut rows = Rows { starts: [0; FIELDS_MAX], count: 0 };
        for column in columns {
            rows.push(self.start(column, value(column)?)?)?;
        }
        Some(rows)
    }

    #[inline]
    fn start(&self, column: &Column, value: i64) -> Option<u32> {
        let at = if Index::is_counted_out(column.field) { usize::try_from(value).ok()? } else { column.cuts.partition_point(|cut| *cut <= value) };
        if at < column.count { u32::try_from(column.first + at * self.width).ok() } else { None }
    }

    #[inline]
    fn any(&self, rows: &Rows, from: usize, to: usize) -> Option<bool> {
        for word in from..to {
            if self.word(rows, word)? != 0 {
                return Some(true);
            }
        }
        Some(false)
    }

    #[inline]
    fn word(&self, rows: &Rows, word: usize) -> Option<u64> {
        let mut all = *self.rows.get(word)?;
        for start in rows.starts.get(..rows.count)? {
            all &= *self.rows.get(*start as usize + word)?;
        }
        Some(all)
    }
}

impl Rows {
    #[inline]
    fn push(&mut self, start: u32) -> Option<()> {
        *self.starts.get_mut(self.count)? = start;
        self.count += 1;
        Some(())
    }
}

impl Answer<'_> {
    pub(in crate::policy) fn is_determined(&self) -> bool {
        self.from < self.to
    }

    /// The policies that determined it, sorted.
    pub(in crate::policy) fn policies(&self) -> Vec<PolicyName> {
        let mut found = Vec::new();
        for word in self.from..self.to {
            let mut left = self.code.word(&self.rows, word).unwrap_or(0);
            while left != 0 {
                let at = word * BITS + left.trailing_zeros() as usize;
                found.extend(self.code.names.get(at).copied().flatten());
                left &= left - 1;
            }
        }
        // The terms of a policy stand one after the other, and policies by name.
        found.dedup();
        found
    }
}
