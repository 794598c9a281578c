//! Walks a TOML tree with its spans. Nothing here stops at a mistake: it is noted where it stands, the value is `None`, and
//! reading goes on. Every key that is asked for is known; all others are mistakes, so no list of keys can go stale.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::model::{Finding, Findings, suggest};

/// A file of the configuration.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// What reading gathers besides the values.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) findings: RefCell<Findings>,
    pub(super) warnings: RefCell<Vec<Finding>>,
    /// Certificates, keys and the like, for the watcher.
    pub(super) files: RefCell<Vec<PathBuf>>,
    /// Where the listeners so far are.
    pub(super) addresses: RefCell<Vec<SocketAddr>>,
    /// Secrets that stand in the file: a mistake, and they must not be shown with it.
    pub(super) secrets: RefCell<Vec<String>>,
}

/// Where a value comes from and where mistakes go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cx<'a> {
    pub(super) file: &'a File,
    pub(super) notes: &'a Notes,
}

impl Cx<'_> {
    pub(super) fn finding(&self, span: Range<usize>, message: impl Into<String>) -> Finding {
        Finding::at(&self.file.path, &self.file.text, span, message)
    }

    pub(super) fn push(&self, finding: Finding) {
        self.notes.findings.borrow_mut().push(finding);
    }

    /// A path relative to the file that names it.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.file.path.parent().unwrap_or_else(|| Path::new("")).join(path)
    }
}

/// A value and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    pub(super) cx: Cx<'a>,
    inner: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(super) fn span(self) -> Range<usize> {
        self.inner.span()
    }

    pub(super) fn error(self, message: impl Into<String>) {
        self.cx.push(self.cx.finding(self.span(), message));
    }

    pub(super) fn error_help(self, message: impl Into<String>, help: impl Into<String>) {
        self.cx.push(self.cx.finding(self.span(), message).help(help));
    }

    /// Not a mistake, but worth a line.
    pub(super) fn warn(self, message: &str) {
        self.cx.notes.warnings.borrow_mut().push(self.cx.finding(self.span(), message));
    }

    /// Whether a draft's `?` stands there, which a person has to replace; noted if so.
    pub(super) fn is_open(self, what: &str) -> bool {
        let is_open = self.as_str() == Some("?");
        if is_open {
            self.error_help(format!("{what} is still open"), "a person has to say it: `?` is what a draft does not know");
        }
        is_open
    }

    /// A value that the design foresees and this version does not obey.
    pub(super) fn not_available(self, what: &str) {
        self.error_help(format!("{what} is not available in this version"), "remove it: what stands here is always obeyed");
    }

    fn wrong_type<T>(self, expected: &str) -> Option<T> {
        self.error(format!("expected {expected}, found {}", type_name(self.inner.get_ref())));
        None
    }

    pub(super) fn as_str(self) -> Option<&'a str> {
        self.inner.get_ref().as_str()
    }

    pub(super) fn is_table(self) -> bool {
        self.inner.get_ref().is_table()
    }

    pub(super) fn is_list(self) -> bool {
        self.inner.get_ref().is_array()
    }

    /// A string that is not empty.
    pub(super) fn str(self) -> Option<&'a str> {
        match self.inner.get_ref().as_str() {
            Some("") => {
                self.error("this must not be empty");
                None
            }
            Some(text) => Some(text),
            None => self.wrong_type("a string"),
        }
    }

    /// A date or time, as it is written.
    pub(super) fn datetime(self) -> Option<String> {
        self.inner.get_ref().as_datetime().map(ToString::to_string)
    }

    pub(super) fn bool(self) -> Option<bool> {
        self.inner.get_ref().as_bool().or_else(|| self.wrong_type("true or false"))
    }

    /// A number from 1 to `max`.
    pub(super) fn count(self, max: u32) -> Option<u32> {
        let DeValue::Integer(number) = self.inner.get_ref() else { return self.wrong_type("a number") };
        let found = u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| (1..=max).contains(n));
        if found.is_none() {
            self.error(format!("expected a number from 1 to {max}"));
        }
        found
    }

    pub(super) fn list(self) -> Option<Vec<Self>> {
        let Some(items) = self.inner.get_ref().as_array() else { return self.wrong_type("a list") };
        Some(items.iter().map(|inner| Self { cx: self.cx, inner }).collect())
    }

    pub(super) fn list_is_empty(self) -> bool {
        self.inner.get_ref().as_array().is_some_and(|items| items.is_empty())
    }

    /// Every element of a list; `None` when one could not be read, but only after all have been looked at.
    pub(super) fn each<T>(self, read: impl Fn(Self) -> Option<T>) -> Option<Vec<T>> {
        let items = self.list()?;
        let count = items.len();
        let found: Vec<T> = items.into_iter().filter_map(read).collect();
        (found.len() == count).then_some(found)
    }

    /// One of these words.
    pub(super) fn word<T: Copy>(self, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.str()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            self.unknown(what, text, words.iter().map(|(word, _)| *word));
        }
        found
    }

    /// A name that is not among the declared ones.
    pub(super) fn unknown<'w>(self, what: &str, text: &str, known: impl Iterator<Item = &'w str>) {
        self.cx.push(self.cx.finding(self.span(), format!("unknown {what} `{text}`")).help(suggestion(text, known)));
    }

    pub(super) fn table(self, what: impl Into<String>) -> Option<Table<'a>> {
        let Some(entries) = self.inner.get_ref().as_table() else { return self.wrong_type("a table") };
        Some(Table { cx: self.cx, span: self.span(), entries, asked: Vec::new(), what: what.into() })
    }
}

/// A table that remembers which keys it was asked for.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) cx: Cx<'a>,
    pub(super) span: Range<usize>,
    entries: &'a DeTable<'a>,
    asked: Vec<&'static str>,
    what: String,
}

impl<'a> Table<'a> {
    pub(super) fn of_document(cx: Cx<'a>, document: &'a Spanned<DeTable<'a>>) -> Self {
        Self { cx, span: 0..0, entries: document.get_ref(), asked: Vec::new(), what: "the file".to_owned() }
    }

    pub(super) fn error(&self, message: impl Into<String>) {
        self.cx.push(self.cx.finding(self.span.clone(), message));
    }

    pub(super) fn error_help(&self, message: impl Into<String>, help: impl Into<String>) {
        self.cx.push(self.cx.finding(self.span.clone(), message).help(help));
    }

    pub(super) fn opt(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.asked.push(key);
        self.entries.get(key).map(|inner| Value { cx: self.cx, inner })
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A key that is read elsewhere or says nothing here.
    pub(super) fn know(&mut self, key: &'static str) {
        self.asked.push(key);
    }

    pub(super) fn need(&mut self, key: &'static str) -> Option<Value<'a>> {
        let found = self.opt(key);
        if found.is_none() {
            self.error(format!("`{key}` is missing in {}", self.what));
        }
        found
    }

    /// Keys of the design that this version does not obey yet.
    pub(super) fn later(&mut self, keys: &[&'static str]) {
        for key in keys {
            if let Some((name, _)) = self.entries.get_key_value(*key) {
                self.asked.push(key);
                let finding = self.cx.finding(name.span(), format!("`{key}` is not available in this version"));
                self.cx.push(finding.help("remove it: what stands here is always obeyed"));
            }
        }
    }

    /// The entries of a table whose keys are names, each with the place of its name.
    pub(super) fn named(&self) -> Vec<(&'a str, Range<usize>, Value<'a>)> {
        let cx = self.cx;
        let mut entries: Vec<_> = self.entries.iter().map(|(key, inner)| (key.get_ref().as_ref(), key.span(), Value { cx, inner })).collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        entries
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, span, _) in self.named() {
            if !self.asked.contains(&key) {
                let finding = self.cx.finding(span, format!("unknown key `{key}` in {}", self.what));
                self.cx.push(finding.help(suggestion(key, self.asked.iter().copied())));
            }
        }
    }
}

fn suggestion<'w>(text: &str, known: impl Iterator<Item = &'w str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    match suggest(text, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "none is declared".to_owned(),
        None => format!("known here: {}", known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")),
    }
}

const fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
