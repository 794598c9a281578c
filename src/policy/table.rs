//! A TOML table read key by key, with places: every missing, mistyped and unknown key of a file is reported in one run.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::model::Findings;

use super::source::{Source, did_you_mean};

/// A word of a file and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Word<'s> {
    pub(super) text: &'s str,
    pub(super) span: Range<usize>,
}

pub(super) struct Section<'s> {
    pub(super) source: &'s Source,
    table: &'s DeTable<'s>,
    pub(super) span: Range<usize>,
    known: Vec<&'static str>,
}

/// Parses a file; what can be read is returned beside the findings.
pub(super) fn parse<'s>(source: &'s Source, findings: &mut Findings) -> Spanned<DeTable<'s>> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in errors {
        findings.push(source.finding(error.span().unwrap_or(0..1), error.message()));
    }
    table
}

impl<'s> Section<'s> {
    pub(super) fn new(source: &'s Source, table: &'s DeTable<'s>, span: Range<usize>) -> Self {
        Self { source, table, span, known: Vec::new() }
    }

    pub(super) fn optional(&mut self, key: &'static str) -> Option<&'s Spanned<DeValue<'s>>> {
        self.known.push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    pub(super) fn required(&mut self, key: &'static str, findings: &mut Findings) -> Option<&'s Spanned<DeValue<'s>>> {
        let value = self.optional(key);
        if value.is_none() {
            findings.push(self.source.finding(self.span.clone(), format!("`{key}` is missing")));
        }
        value
    }

    fn wrong(&self, value: &Spanned<DeValue<'_>>, key: &str, wanted: &str, findings: &mut Findings) {
        let message = format!("`{key}` is {wanted}, not {}", value.get_ref().type_str());
        findings.push(self.source.finding(value.span(), message));
    }

    pub(super) fn text(&mut self, key: &'static str, findings: &mut Findings) -> Option<Word<'s>> {
        self.required(key, findings)?;
        self.optional_text(key, findings)
    }

    pub(super) fn optional_text(&mut self, key: &'static str, findings: &mut Findings) -> Option<Word<'s>> {
        let value = self.optional(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong(value, key, "a text", findings);
        }
        text.map(|text| Word { text, span: value.span() })
    }

    pub(super) fn words(&mut self, key: &'static str, findings: &mut Findings) -> Vec<Word<'s>> {
        self.required(key, findings);
        self.optional_words(key, findings).unwrap_or_default()
    }

    /// A list with something in it.
    pub(super) fn some_words(&mut self, key: &'static str, findings: &mut Findings) -> Vec<Word<'s>> {
        let Some(value) = self.required(key, findings) else { return Vec::new() };
        if value.get_ref().as_array().is_some_and(|items| items.is_empty()) {
            findings.push(self.source.finding(value.span(), format!("`{key}` is empty")));
        }
        self.optional_words(key, findings).unwrap_or_default()
    }

    pub(super) fn optional_words(&mut self, key: &'static str, findings: &mut Findings) -> Option<Vec<Word<'s>>> {
        let value = self.optional(key)?;
        let items = value.get_ref().as_array().into_iter().flatten();
        let words: Vec<_> = items.filter_map(|item| item.get_ref().as_str().map(|text| Word { text, span: item.span() })).collect();
        if value.get_ref().as_array().is_none_or(|items| items.len() != words.len()) {
            self.wrong(value, key, "a list of texts", findings);
            return None;
        }
        Some(words)
    }

    pub(super) fn optional_bool(&mut self, key: &'static str, findings: &mut Findings) -> Option<bool> {
        let value = self.optional(key)?;
        let truth = value.get_ref().as_bool();
        if truth.is_none() {
            self.wrong(value, key, "true or false", findings);
        }
        truth
    }

    pub(super) fn optional_number(&mut self, key: &'static str, findings: &mut Findings) -> Option<u32> {
        let value = self.optional(key)?;
        let number = value.get_ref().as_integer().and_then(|n| n.as_str().parse().ok());
        if number.is_none() {
            self.wrong(value, key, "a whole number from 0 to 4294967295", findings);
        }
        number
    }

    pub(super) fn number(&mut self, key: &'static str, findings: &mut Findings) -> Option<u32> {
        self.required(key, findings)?;
        self.optional_number(key, findings)
    }

    pub(super) fn optional_table(&mut self, key: &'static str, findings: &mut Findings) -> Option<Section<'s>> {
        let value = self.optional(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong(value, key, "a table", findings);
        }
        table.map(|table| Section::new(self.source, table, value.span()))
    }

    /// The tables of `[[key]]`.
    pub(super) fn tables(&mut self, key: &'static str, findings: &mut Findings) -> Vec<Section<'s>> {
        let Some(value) = self.optional(key) else { return Vec::new() };
        let items = value.get_ref().as_array().into_iter().flatten();
        let tables: Vec<_> = items.filter_map(|item| item.get_ref().as_table().map(|table| Section::new(self.source, table, item.span()))).collect();
        if value.get_ref().as_array().is_none_or(|items| items.len() != tables.len()) {
            self.wrong(value, key, "a list of tables", findings);
        }
        tables
    }

    /// Keys and texts of a table whose keys are free.
    pub(super) fn entries(&self, findings: &mut Findings) -> Vec<(Word<'s>, Word<'s>)> {
        let mut entries = Vec::new();
        for (key, value) in self.table {
            match value.get_ref().as_str() {
                Some(text) => entries.push((Word { text: key.get_ref().as_ref(), span: key.span() }, Word { text, span: value.span() })),
                None => self.wrong(value, key.get_ref(), "a text", findings),
            }
        }
        entries
    }

    /// Reports every key that nobody asked for. Call it last.
    pub(super) fn finish(self, findings: &mut Findings) {
        for (key, _) in self.table {
            if !self.known.iter().any(|known| known == key.get_ref()) {
                let finding = self.source.finding(key.span(), format!("unknown key `{}`", key.get_ref()));
                findings.push(finding.help(did_you_mean(key.get_ref(), self.known.iter().copied())));
            }
        }
    }
}
