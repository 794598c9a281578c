//! The files of a policy folder as text with places, and Cedar's own diagnostics turned into findings.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use cedar_policy::ffi::{DetailedError, JsonValueWithNoDuplicateKeys};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::model::{Finding, Findings, suggest};

pub(super) const SCHEMA: &str = "consentry.cedarschema";
pub(super) const CATALOGUE: &str = "catalogue.cedarentities.json";
pub(super) const ACTIVITIES: &str = "activities.toml";
pub(super) const CAPTURES: &str = "captures.toml";
pub(super) const CONSENT: &str = "consent.toml";
const REQUIRED: [&str; 5] = [SCHEMA, CATALOGUE, ACTIVITIES, CAPTURES, CONSENT];
const LINKS_END: &str = ".cedartemplatelinks.json";
/// Words listed when none is near.
const SHOWN_MAX: usize = 8;
/// Beside the governed files: they decide nothing and are not part of the id.
const UNGOVERNED: [&str; 4] = ["README.md", "tests", "invariants", "models"];

/// One file.
pub(super) struct Source {
    /// As the user will find it: the folder as given, and the name.
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) text: String,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.path.display())
    }
}

impl Source {
    pub(super) fn read(path: PathBuf, name: String) -> Result<Self, Finding> {
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self { path, name, text }),
            Err(error) => Err(Finding::of_file(&path, format!("cannot be read: {error}"))),
        }
    }

    pub(super) fn finding(&self, span: Range<usize>, message: impl Into<String>) -> Finding {
        Finding::at(&self.path, &self.text, span, message)
    }

    /// The place of `text` inside `within`, else `within` itself: for parsers that do not keep places.
    pub(super) fn span_of(&self, within: &Range<usize>, text: &str) -> Range<usize> {
        let found = self.text.get(within.clone()).and_then(|part| part.find(text));
        found.map_or_else(|| within.clone(), |at| within.start + at..within.start + at + text.len())
    }

    /// The byte range of a part that was borrowed from this file's text.
    pub(super) fn range_of(&self, part: &str) -> Range<usize> {
        let start = (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        start..start + part.len()
    }

    pub(super) fn line_of(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or_default().matches('\n').count() + 1
    }

    /// A mistake that Cedar found, and those related to it.
    pub(super) fn cedar(&self, error: &DetailedError, fallback: &Range<usize>, findings: &mut Findings) {
        let span = error.source_locations.first().map_or_else(|| fallback.clone(), |label| label.loc.start..label.loc.end);
        let mut finding = self.finding(span, lower_first(&error.message));
        finding.help.clone_from(&error.help);
        findings.push(finding);
        for related in &error.related {
            self.cedar(related, fallback, findings);
        }
    }

    /// One element of a JSON list that was borrowed from this file. A key that stands there twice is a mistake: two
    /// readers would take different ones.
    pub(super) fn item<T: DeserializeOwned>(&self, item: &RawValue) -> Result<T, Finding> {
        let unique: Result<JsonValueWithNoDuplicateKeys, _> = serde_json::from_str(item.get());
        unique.and_then(|_| serde_json::from_str(item.get())).map_err(|error| self.json(&error, self.range_of(item.get()).start))
    }

    /// A mistake of a JSON file.
    pub(super) fn json(&self, error: &serde_json::Error, base: usize) -> Finding {
        let part = self.text.get(base..).unwrap_or_default();
        let line_start: usize = part.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let at = base + line_start + error.column().saturating_sub(1);
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        self.finding(at..at + 1, format!("not the JSON expected here: {message}"))
    }
}

/// All governed files.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) schema: Source,
    pub(super) cedar: Vec<Source>,
    pub(super) catalogue: Source,
    pub(super) links: Vec<Source>,
    pub(super) activities: Source,
    pub(super) captures: Source,
    pub(super) consent: Source,
}

impl Folder {
    /// Reads all files.
    pub(super) fn read(dir: &Path, findings: &mut Findings) -> Option<Self> {
        match list(dir) {
            Ok(names) => Self::gather(dir, names, Source::read, findings),
            Err(finding) => {
                findings.push(finding);
                None
            }
        }
    }

    /// Takes files as they were sent, names with texts; `dir` is what findings call the folder.
    pub(super) fn of(dir: &Path, files: &BTreeMap<String, String>, findings: &mut Findings) -> Option<Self> {
        let source = |path: PathBuf, name: String| {
            let text = files.get(&name).cloned().unwrap_or_default();
            Ok(Source { path, name, text })
        };
        Self::gather(dir, files.keys().cloned().collect(), source, findings)
    }

    /// A file that nobody would read is a mistake: a misspelt name must not switch a prohibition off.
    fn gather(dir: &Path, names: Vec<String>, read: impl Fn(PathBuf, String) -> Result<Source, Finding>, findings: &mut Findings) -> Option<Self> {
        let mut required: Vec<(&str, Source)> = Vec::new();
        let (mut cedar, mut links) = (Vec::new(), Vec::new());
        for name in names {
            let path = dir.join(&name);
            let known = REQUIRED.into_iter().find(|known| *known == name);
            let (is_cedar, is_links) = (name.ends_with(".cedar"), name.ends_with(LINKS_END));
            if known.is_none() && !is_cedar && !is_links {
                if !UNGOVERNED.contains(&name.as_str()) && !name.starts_with('.') {
                    let near = suggest(&name, REQUIRED).map(|near| format!("; did you mean `{near}`?"));
                    let help = format!("policies stand in `NN-topic.cedar`{}", near.unwrap_or_default());
                    findings.push(Finding::of_file(&path, "nothing reads this file").help(help));
                }
                continue;
            }
            match read(path, name) {
                Ok(source) if is_cedar => cedar.push(source),
                Ok(source) if is_links => links.push(source),
                Ok(source) => required.extend(known.map(|known| (known, source))),
                Err(finding) => findings.push(finding),
            }
        }
        let mut take = |name: &'static str| {
            let found = required.iter().position(|(known, _)| *known == name).map(|at| required.swap_remove(at).1);
            if found.is_none() && !findings.0.iter().any(|finding| finding.file == dir.join(name)) {
                findings.push(Finding::of_file(&dir.join(name), "is missing").help("every policy folder has this file"));
            }
            found
        };
        let (schema, catalogue) = (take(SCHEMA), take(CATALOGUE));
        let (activities, captures, consent) = (take(ACTIVITIES), take(CAPTURES), take(CONSENT));
        Some(Self { schema: schema?, cedar, catalogue: catalogue?, links, activities: activities?, captures: captures?, consent: consent? })
    }

    pub(super) fn files(&self) -> Vec<&Source> {
        let mut files = vec![&self.schema, &self.catalogue, &self.activities, &self.captures, &self.consent];
        files.extend(&self.cedar);
        files.extend(&self.links);
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    }

    /// SHA-256 over every file in the order of names: length and bytes of the name, length and bytes of the content;
    /// lengths as 8 bytes, big-endian, so that no two folders read the same.
    pub(super) fn id(&self) -> String {
        let mut hash = digest::Context::new(&digest::SHA256);
        for file in self.files() {
            for part in [&file.name, &file.text] {
                hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
                hash.update(part.as_bytes());
            }
        }
        hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Names in a folder, sorted.
pub(super) fn list(dir: &Path) -> Result<Vec<String>, Finding> {
    let unreadable = |error: std::io::Error| Finding::of_file(dir, format!("the folder cannot be read: {error}"));
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        names.push(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// "did you mean …?" for a word, or the first of the words there are.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = suggest(word, candidates.clone()) {
        return format!("did you mean `{near}`?");
    }
    let mut all: Vec<&str> = candidates.into_iter().collect();
    let more = if all.len() > SHOWN_MAX { ", …" } else { "" };
    all.truncate(SHOWN_MAX);
    if all.is_empty() { "there is none yet".to_owned() } else { format!("one of {}{more}", ticked(&all)) }
}

pub(super) fn ticked(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // An abbreviation keeps its capitals.
        (Some(first), Some(second)) if !second.is_uppercase() => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}
