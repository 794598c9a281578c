//! One TOML file and what it includes, checked as a whole: every mistake in one run, each with file, line and column.
//! Reads files and the environment, writes nothing, opens no socket.
//!
//! ```text
//! files -> trees with spans (toml) -> [read] typed tables, every unknown key noted -> runtime, callers, upstreams
//!                                                                                   -> shapes, apis, routes -> Catalog
//! ```
//!
//! Two parts: the *runtime* part (listeners, credentials, folders) stands in the main file only; the *governed* part
//! (`[ids]`, `[shape]`, `[budget]`, `[[api]]`) also in included ones, and is hashed. INVARIANT: a key that this version does not obey is a
//! mistake, never passed over.

mod apis;
mod budgets;
mod callers;
mod customer;
mod exports;
mod graphql;
mod hash;
mod openapi;
mod params;
mod read;
mod report;
mod response;
mod retention;
mod routes;
mod rpc;
mod runtime;
mod settings;
mod shapes;
mod telemetry;
mod trust;
mod upstreams;
mod values;

#[cfg(test)]
mod routed_tests;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust_tests;

pub use retention::{Period, Retention};
pub use settings::*;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeTable;

use crate::catalog::Catalog;
use crate::model::{Finding, Findings, Vocabulary};
use callers::Callers;
use read::{Cx, File, Notes, Table, Value};
use shapes::Names;

/// A configuration file is text written by people; a larger one is a mistake.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// Loads the catalogue of the policies.
pub type VocabularyOf<'f> = dyn Fn(&PolicySource) -> Result<Arc<Vocabulary>, Findings> + 'f;

/// Reads and checks a configuration. The mistakes that `vocabulary_of` finds join the others.
///
/// # Errors
/// Every mistake of every file, sorted.
pub fn load(path: &Path, vocabulary_of: &VocabularyOf<'_>) -> Result<Config, Findings> {
    let notes = Notes::default();
    let mut files: Vec<File> = read_file(path, &notes).into_iter().collect();
    if let Some(main) = files.first() {
        let included = includes(main, &notes);
        files.extend(included.iter().filter_map(|path| read_file(path, &notes)));
    }
    let documents: Vec<(&File, Spanned<DeTable<'_>>)> = files.iter().filter_map(|file| Some((file, parse(file, &notes)?))).collect();
    // After a syntax error the rest of a file means nothing certain: judging it would only add noise.
    let config = if documents.len() == files.len() { check(&documents, &notes, vocabulary_of) } else { None };
    finish(notes, config)
}

/// The JSON Schema (draft 2020-12) of the file, for editors: `consentry check --schema`.
#[must_use]
pub const fn schema() -> &'static str {
    include_str!("schema.json")
}

/// The hash of the governed part alone: what belongs to a policy bundle, also on a machine that has none of the gateway's keys.
///
/// # Errors
/// What cannot be read.
pub fn governed_hash(path: &Path) -> Result<String, Findings> {
    let notes = Notes::default();
    let mut files: Vec<File> = read_file(path, &notes).into_iter().collect();
    let included = files.first().map(|main| includes(main, &notes)).unwrap_or_default();
    files.extend(included.iter().filter_map(|path| read_file(path, &notes)));
    let documents: Vec<(&File, Spanned<DeTable<'_>>)> = files.iter().filter_map(|file| Some((file, parse(file, &notes)?))).collect();
    let hash = hash::governed(documents.iter().map(|(file, document)| (Cx { file, notes: &notes }, document.get_ref())));
    drop(documents);
    notes.findings.into_inner().or(hash)
}

/// The files of a configuration, as far as they can be told: the file itself and what it includes.
#[must_use]
pub fn files(path: &Path) -> Vec<PathBuf> {
    let notes = Notes::default();
    let included = read_file(path, &notes).map(|main| includes(&main, &notes)).unwrap_or_default();
    std::iter::once(path.to_owned()).chain(included).collect()
}

fn finish(notes: Notes, config: Option<Config>) -> Result<Config, Findings> {
    let mut findings = notes.findings.into_inner();
    for finding in &mut findings.0 {
        for secret in notes.secrets.borrow().iter().filter(|secret| !secret.is_empty()) {
            finding.excerpt = finding.excerpt.replace(secret.as_str(), &"*".repeat(secret.chars().count()));
        }
    }
    match config {
        Some(config) => findings.or(config),
        None if findings.is_empty() => Err(Findings(vec![Finding::of_file(Path::new("consentry.toml"), "the configuration could not be read")])),
        None => Err(findings.or(()).err().unwrap_or_default()),
    }
}

fn read_file(path: &Path, notes: &Notes) -> Option<File> {
    notes.files.borrow_mut().push(path.to_owned());
    let note = |message: String| notes.findings.borrow_mut().push(Finding::of_file(path, message));
    if std::fs::metadata(path).is_ok_and(|m| m.len() > CONFIG_BYTES_MAX) {
        note(format!("this file is larger than {CONFIG_BYTES_MAX} bytes"));
        return None;
    }
    match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => Some(File { path: path.to_owned(), text }),
        Ok(Err(_)) => {
            note("this file is not UTF-8".to_owned());
            None
        }
        Err(e) => {
            note(format!("this file cannot be read: {e}"));
            None
        }
    }
}

fn parse<'a>(file: &'a File, notes: &'a Notes) -> Option<Spanned<DeTable<'a>>> {
    let (document, errors) = DeTable::parse_recoverable(&file.text);
    let cx = Cx { file, notes };
    for error in &errors {
        cx.push(cx.finding(error.span().unwrap_or_default(), format!("this is not TOML: {}", error.message())));
    }
    errors.is_empty().then_some(document)
}

/// The files that `include` names, sorted. Mistakes of syntax are noted later, when all files are parsed.
fn includes(main: &File, notes: &Notes) -> Vec<PathBuf> {
    let (document, errors) = DeTable::parse_recoverable(&main.text);
    if !errors.is_empty() {
        return Vec::new();
    }
    let mut top = Table::of_document(Cx { file: main, notes }, &document);
    let mut found = BTreeSet::new();
    for pattern in top.opt("include").and_then(Value::list).unwrap_or_default() {
        let Some(text) = pattern.str() else { continue };
        let folder = main.path.parent().unwrap_or_else(|| Path::new(""));
        let escaped = PathBuf::from(glob::Pattern::escape(&folder.to_string_lossy())).join(text);
        match glob::glob(&escaped.to_string_lossy()) {
            Ok(paths) => {
                let before = found.len();
                let paths: Vec<PathBuf> = paths.filter_map(Result::ok).filter(|path| *path != main.path).collect();
                let none = paths.is_empty();
                found.extend(paths);
                if none && found.len() == before {
                    pattern.error(format!("no file matches `{text}`"));
                }
            }
            Err(e) => pattern.error(format!("this pattern cannot be read: {}", e.msg)),
        }
    }
    found.into_iter().collect()
}

fn check<'a>(documents: &'a [(&'a File, Spanned<DeTable<'a>>)], notes: &'a Notes, vocabulary_of: &VocabularyOf<'_>) -> Option<Config> {
    let mut tables: Vec<Table<'a>> = documents.iter().map(|(file, document)| Table::of_document(Cx { file, notes }, document)).collect();
    let (main, included) = tables.split_first_mut()?;

    if let Some(version) = main.need("version").and_then(|v| Some((v, v.count(u32::MAX)?)))
        && version.1 != 1
    {
        version.0.error_help(format!("version {} of this file is not known", version.1), "write `version = 1`");
    }
    if let Some(list) = main.opt("include") {
        list.list();
    }

    let policy = main.need("policy").and_then(runtime::policy);
    let vocabulary = policy.as_ref().and_then(|(source, _)| match vocabulary_of(source) {
        Ok(vocabulary) => Some(vocabulary),
        Err(found) => {
            notes.findings.borrow_mut().0.extend(found.0);
            None
        }
    });
    let issuer_place = main.opt("issuer");
    let callers = Callers { issuers: callers::issuer_names(issuer_place), vocabulary: vocabulary.as_deref() };
    let gateway = main.need("gateway").and_then(runtime::gateway);
    let listeners = runtime::listeners(main.opt("listener"), main);
    let admin = main.opt("admin").map(|v| runtime::admin(v, &callers));
    let health = main.opt("health").map(runtime::health);
    let capture = main.opt("capture").map(runtime::capture);
    let public = main.opt("public").map(|v| runtime::public(v, &callers));
    let issuers = issuer_place.map(callers::issuers).unwrap_or_default();
    let clients = main.opt("client").map(|v| callers::clients(v, &callers)).unwrap_or_default();
    let consent = main.need("consent").and_then(runtime::consent);
    let audit = main.need("audit").and_then(runtime::audit);
    let webhooks = main.opt("webhooks").map(upstreams::webhooks);
    let telemetry = main.opt("telemetry").map(telemetry::telemetry);
    let upstream_table = main.opt("upstream").and_then(|v| v.table("`[upstream]`"));
    let upstreams = upstream_table.as_ref().map(upstreams::upstreams).unwrap_or_default();
    for file in included {
        file.know("version");
    }

    let upstream_names = upstream_table.iter().flat_map(Table::named).map(|(name, _, _)| name.to_owned()).collect();
    let names = Names { upstreams: upstream_names, vocabulary: vocabulary.as_deref(), ..Names::default() };
    let (catalog, budgets) = catalog(&mut tables, names);
    tables.into_iter().for_each(Table::finish);

    let optional = |failed: bool| (!failed).then_some(());
    let section_lacks = [
        matches!(admin, Some(None)),
        matches!(health, Some(None)),
        matches!(capture, Some(None)),
        matches!(public, Some(None)),
        matches!(webhooks, Some(None)),
        matches!(telemetry, Some(None)),
    ];
    optional(section_lacks.contains(&true))?;
    let (policy, policy_compiled) = policy?;
    Some(Config {
        gateway: gateway?,
        listeners,
        admin: admin.flatten(),
        health: health.flatten(),
        capture: capture.flatten(),
        public: public.flatten(),
        issuers,
        clients,
        policy,
        policy_compiled: policy_compiled?,
        consent: consent?,
        audit: audit?,
        webhooks: webhooks.flatten(),
        telemetry: telemetry.flatten(),
        upstreams,
        catalog,
        budgets,
        governed_hash: hash::governed(documents.iter().map(|(file, document)| (Cx { file, notes }, document.get_ref()))),
        files: notes.files.borrow().clone(),
        warnings: notes.warnings.borrow().clone(),
    })
}

/// The governed part of all files. Id spaces before shapes before routes, so that each finds what it names.
fn catalog<'a>(tables: &mut [Table<'a>], mut names: Names<'_>) -> (Catalog, Vec<Budget>) {
    let mut found = Catalog::default();
    let mut section = |key: &'static str| -> Vec<Table<'a>> {
        let values: Vec<Value<'a>> = tables.iter_mut().filter_map(|table| table.opt(key)).collect();
        values.into_iter().filter_map(|v| v.table(format!("`[{key}]`"))).collect()
    };
    let (ids, shape_tables, budget_tables) = (section("ids"), section("shape"), section("budget"));
    names.spaces = declare_once(&ids, "id space");
    names.shapes = declare_once(&shape_tables, "shape");
    let mut spaces = BTreeMap::new();
    ids.iter().for_each(|table| shapes::spaces(table, &mut spaces));
    found.spaces = spaces;
    let mut seen = BTreeSet::new();
    let entries = shape_tables.iter().flat_map(Table::named).filter(|(name, _, _)| seen.insert(*name));
    let read: Vec<_> = entries.filter_map(|(name, _, value)| shapes::shape(name, value, &names)).collect();
    found.shapes = shapes::link(&read);
    let places: BTreeMap<_, _> = read.into_iter().map(|shape| (shape.shape.name, shape.places)).collect();
    let mut declared: Vec<(crate::model::ApiName, String)> = Vec::new();
    let lists: Vec<Value<'a>> = tables.iter_mut().filter_map(|table| table.opt("api")).collect();
    for item in lists.into_iter().flat_map(|v| v.list().unwrap_or_default()) {
        let (identity, api) = apis::api(item, &names, &found, &places, &declared);
        declared.extend(identity);
        found.apis.extend(api.map(Arc::new));
    }
    report::plan(&mut found);
    declare_once(&budget_tables, "budget");
    let budgets = budget_tables.iter().flat_map(|table| budgets::budgets(table, &names, &found)).collect();
    (found, budgets)
}

/// Names across all files; the second of two is a mistake.
fn declare_once(tables: &[Table<'_>], what: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for table in tables {
        for (name, span, _) in table.named() {
            if !names.insert(name.to_owned()) {
                table.cx.push(table.cx.finding(span, format!("{what} `{name}` is declared in another file too")));
            }
        }
    }
    names
}
