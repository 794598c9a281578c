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
use super::facts::{CUSTOMER, Fact, Field, Index, Seen};
use super::lower::Lowered;

/// Fields that one slice can look at: all facts and numbers, and 14 roles. A slice that looks at more is left to plain Cedar.
const FIELDS_MAX: usize = 32;

const BITS: usize = 64;

/// Words that are added up together.
const BLOCK: usize = 8;

/// The rows of a field: one for each value, or for each stretch between two cuts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Column {
    pub(super) field: Field,
    /// Where the second and further stretches begin; none when each value has its row.
    cuts: Vec<i64>,
    /// The number of its first row, and how many there are.
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
    /// Whose each term is, by its bit in a row, as a position in the names; the last of all for bits that are nobody's.
    whose: Vec<u16>,
    names: Vec<PolicyName>,
    /// Policies of which something is left to plain Cedar.
    left: Vec<PolicyName>,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code").field("columns", &self.columns.len()).field("words", &self.rows.len()).finish_non_exhaustive()
    }
}

/// The rows that a question picks, by their number; the first row of all belongs to every question.
#[derive(Clone, Copy)]
pub(in crate::policy) struct Rows {
    numbers: [u16; FIELDS_MAX],
    count: u16,
}

/// Whether any term of a kind holds; what is unsure may say more than that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::policy) struct Found {
    pub(in crate::policy) permits: bool,
    pub(in crate::policy) forbids: bool,
    pub(in crate::policy) unsure: bool,
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
        let left_to_cedar = || {
            let left = rules.iter().map(|(name, ..)| *name).collect();
            Self { columns: Vec::new(), rows: vec![1], width: 1, forbids: 0, unsure: 0, whose: Vec::new(), names: Vec::new(), left }
        };
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

        let left = rules.iter().filter(|(.., lowered)| !lowered.unsure.is_never()).map(|(name, ..)| *name).collect();
        // Permits and prohibitions by name, so that equal names stand together.
        let mut names: Vec<PolicyName> = bits.iter().filter_map(|(name, _)| *name).collect();
        names.dedup();
        let position = |name: &Option<PolicyName>| name.and_then(|name| names.iter().position(|known| *known == name)).unwrap_or(names.len());
        let whose = bits.iter().map(|(name, _)| u16::try_from(position(name)).ok()).collect::<Option<_>>()?;
        let mut made = Self { columns: Vec::new(), rows: Vec::new(), width, forbids, unsure: first_unsure, whose, names, left };
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
        let count = made.rows.len() / made.width.max(1);
        (made.columns.len() <= FIELDS_MAX && u16::try_from(count).is_ok()).then_some(made)
    }

    fn column(&mut self, index: &Index, field: Field, cuts: Vec<i64>, bits: &[(Option<PolicyName>, Option<&Term>)]) {
        let first = self.rows.len() / self.width.max(1);
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

    /// Policies of which something is left to plain Cedar.
    pub(in crate::policy) fn left(&self) -> &[PolicyName] {
        &self.left
    }

    /// What the policies say that plain Cedar need not be asked about.
    pub(in crate::policy) fn says(&self, seen: &Seen) -> Found {
        self.pick(self.columns.iter(), seen).and_then(|rows| self.found(&rows)).unwrap_or(Found { unsure: true, ..Found::default() })
    }

    /// What it tells apart of purpose, basis and channel.
    pub(in crate::policy) fn face(&self, seen: &Seen) -> Vec<u64> {
        let fields = [Fact::Purpose, Fact::Basis, Fact::Channel].map(Field::Fact);
        fields.into_iter().filter_map(|field| Some(self.row_of(field, seen.value(field)?))).flatten().copied().collect()
    }

    /// What it looks at.
    pub(super) fn fields(&self) -> impl Iterator<Item = Field> {
        self.columns.iter().map(|column| column.field)
    }

    /// The row that a value picks: equal for values that nothing tells apart. Empty when the field is not looked at.
    pub(super) fn row_of(&self, field: Field, value: i64) -> &[u64] {
        let number = self.columns.iter().find(|column| column.field == field).and_then(|column| column.row(value));
        let start = number.map(|number| usize::from(number) * self.width);
        start.and_then(|start| self.rows.get(start..start + self.width)).unwrap_or_default()
    }

    pub(super) fn cuts_of(&self, field: Field) -> impl Iterator<Item = i64> {
        self.columns.iter().filter(move |column| column.field == field).flat_map(|column| column.cuts.iter().copied())
    }

    /// `None`: plain Cedar must say.
    #[inline]
    pub(in crate::policy) fn decide(&self, seen: &Seen) -> Option<Answer<'_>> {
        let rows = self.pick(self.columns.iter(), seen)?;
        let found = self.found(&rows)?;
        if found.unsure {
            return None;
        }
        let allow = found.permits && !found.forbids;
        let (from, to) = if found.forbids { (self.forbids, self.unsure) } else { (0, if allow { self.forbids } else { 0 }) };
        Some(Answer { code: self, rows, allow, from, to })
    }

    /// Whether any customer could open it, all else being as seen. `None`: plain Cedar must say.
    pub(in crate::policy) fn any_customer(&self, seen: &Seen) -> Option<bool> {
        let is_customers = |column: &&Column| CUSTOMER.contains(&column.field);
        let rest = self.pick(self.columns.iter().filter(|column| !is_customers(column)), seen)?;
        if self.found(&rest)?.unsure {
            return None;
        }
        let columns: Vec<&Column> = self.columns.iter().filter(is_customers).collect();
        self.opens(rest, &columns)
    }

    fn opens(&self, rows: Rows, columns: &[&Column]) -> Option<bool> {
        let found = self.found(&rows)?;
        let Some((column, rest)) = columns.split_first().filter(|_| found.permits) else { return Some(found.permits && !found.forbids) };
        for sample in &column.samples {
            let mut rows = rows;
            rows.push(column.row(*sample)?)?;
            if self.opens(rows, rest)? {
                return Some(true);
            }
        }
        Some(false)
    }

    #[inline]
    fn pick<'c>(&self, columns: impl Iterator<Item = &'c Column>, seen: &Seen) -> Option<Rows> {
        let mut rows = Rows { numbers: [0; FIELDS_MAX], count: 0 };
        for column in columns {
            rows.push(column.row(seen.value(column.field)?)?)?;
        }
        Some(rows)
    }

    #[inline]
    fn found(&self, rows: &Rows) -> Option<Found> {
        let mut found = Found::default();
        for from in (0..self.width).step_by(BLOCK) {
            for (at, word) in (from..self.width).zip(self.block(rows, from)?) {
                let kind = if at < self.forbids {
                    &mut found.permits
                } else if at < self.unsure {
                    &mut found.forbids
                } else {
                    &mut found.unsure
                };
                *kind |= word != 0;
            }
        }
        Some(found)
    }

    /// The words from this one on, at most so many as are added up together.
    #[inline]
    fn block(&self, rows: &Rows, from: usize) -> Option<[u64; BLOCK]> {
        let length = BLOCK.min(self.width - from);
        let mut words = [u64::MAX; BLOCK];
        for number in std::iter::once(&0).chain(rows.numbers.get(..usize::from(rows.count))?) {
            let start = usize::from(*number) * self.width + from;
            let row = self.rows.get(start..start + length)?;
            words.iter_mut().zip(row).for_each(|(word, of_row)| *word &= of_row);
        }
        Some(words)
    }
}

impl Column {
    /// The number of the row for a value.
    #[inline]
    fn row(&self, value: i64) -> Option<u16> {
        let at = if Index::is_counted_out(self.field) { usize::try_from(value).ok()? } else { self.cuts.partition_point(|cut| *cut <= value) };
        if at < self.count { u16::try_from(self.first + at).ok() } else { None }
    }
}

impl Rows {
    #[inline]
    fn push(&mut self, number: u16) -> Option<()> {
        *self.numbers.get_mut(usize::from(self.count))? = number;
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
        for from in (self.from..self.to).step_by(BLOCK) {
            for (at, mut left) in (from..self.to).zip(self.code.block(&self.rows, from).unwrap_or_default()) {
                while left != 0 {
                    let bit = left.trailing_zeros() as usize;
                    found.extend(self.code.whose.get(at * BITS + bit).and_then(|whose| self.code.names.get(usize::from(*whose))));
                    left &= left - 1;
                }
            }
        }
        // The terms of a policy stand one after the other, and policies by name.
        found.dedup();
        found
    }
}
