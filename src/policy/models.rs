//! `models/*.cedarentities.json`: who owns and who coordinates, for one way of organising the company. A model holds the
//! entities of the catalogue that are otherwise than in another model, whole, and nothing else: to switch is to put them into
//! the places of those with the same name. The gateway reads none of this; it reads the catalogue.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::{Finding, Findings};

use super::catalogue::reference;
use super::source::{CATALOGUE, Source, did_you_mean, list};

/// What file names of models end with.
const MODEL_END: &str = ".cedarentities.json";
const FOLDER: &str = "models";

/// One model of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub name: String,
    /// Entities that the catalogue has otherwise; none: it is in force.
    pub differs: Vec<String>,
}

/// The models of a folder, by name.
///
/// # Errors
/// What is wrong with a model or with the catalogue's form.
pub fn models(dir: &Path) -> Result<Vec<Model>, Findings> {
    let names = names(dir)?;
    names.into_iter().map(|name| apply(dir, &name).map(|(_, differs)| Model { name, differs })).collect()
}

/// The text of the catalogue with a model in force.
///
/// # Errors
/// An unknown name, and what is wrong with the model or the catalogue's form.
pub fn with_model(dir: &Path, name: &str) -> Result<String, Findings> {
    let names = names(dir)?;
    if !names.iter().any(|known| known == name) {
        let finding = Finding::of_file(&dir.join(FOLDER), format!("there is no model `{name}`"));
        return Err(Findings(vec![finding.help(did_you_mean(name, names.iter().map(String::as_str)))]));
    }
    apply(dir, name).map(|(text, _)| text)
}

fn names(dir: &Path) -> Result<Vec<String>, Findings> {
    let folder = dir.join(FOLDER);
    let (mut names, mut findings) = (Vec::new(), Findings::default());
    let listed = if folder.is_dir() { list(&folder).map_err(|finding| Findings(vec![finding]))? } else { Vec::new() };
    for file in listed.into_iter().filter(|file| !file.starts_with('.')) {
        match file.strip_suffix(MODEL_END) {
            Some(name) => names.push(name.to_owned()),
            None => findings.push(Finding::of_file(&folder.join(&file), "nothing reads this file").help(format!("models are `NAME{MODEL_END}`"))),
        }
    }
    findings.or(names)
}

/// The catalogue with the model's entities, and those that were otherwise.
fn apply(dir: &Path, name: &str) -> Result<(String, Vec<String>), Findings> {
    let mut findings = Findings::default();
    let file = format!("{name}{MODEL_END}");
    let (catalogue, model) = match (Source::read(dir.join(CATALOGUE), CATALOGUE.to_owned()), Source::read(dir.join(FOLDER).join(&file), file)) {
        (Ok(catalogue), Ok(model)) => (catalogue, model),
        (catalogue, model) => {
            findings.0.extend([catalogue.err(), model.err()].into_iter().flatten());
            return Err(findings);
        }
    };
    let (there, moved) = (items(&catalogue, &mut findings), items(&model, &mut findings));
    let mut places: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    let mut differs = Vec::new();
    for (uid, item) in &moved {
        let Some(place) = there.get(uid) else {
            let finding = model.finding(item.start..item.start + 1, format!("{uid} is not in the catalogue"));
            findings.push(finding.help("a model moves what is there: declare it in the catalogue first"));
            continue;
        };
        let value = |source: &Source, span: &Range<usize>| source.text.get(span.clone()).and_then(|text| serde_json::from_str::<Value>(text).ok());
        if value(&catalogue, place) != value(&model, item) {
            differs.push(uid.clone());
            places.push((place.clone(), item.clone()));
        }
    }
    places.sort_by_key(|(place, _)| place.start);
    let (mut text, mut at) = (String::new(), 0);
    for (place, item) in places {
        text.extend([catalogue.text.get(at..place.start), model.text.get(item)].into_iter().flatten());
        at = place.end;
    }
    text.push_str(catalogue.text.get(at..).unwrap_or_default());
    findings.or((text, differs))
}

/// The entities of a file by their names, with their places.
fn items(source: &Source, findings: &mut Findings) -> BTreeMap<String, Range<usize>> {
    #[derive(Deserialize)]
    struct Named {
        uid: Value,
    }
    let items: Vec<&RawValue> = match serde_json::from_str(&source.text) {
        Ok(items) => items,
        Err(error) => {
            findings.push(source.json(&error, 0));
            return BTreeMap::new();
        }
    };
    let mut found = BTreeMap::new();
    for item in items {
        let span = source.range_of(item.get());
        match source.item::<Named>(item).map(|named| reference(&named.uid)) {
            Ok(Some((kind, id))) => {
                let uid = format!("{kind} `{id}`");
                if found.insert(uid.clone(), span.clone()).is_some() {
                    findings.push(source.finding(span.start..span.start + 1, format!("{uid} stands here twice")).help("remove one"));
                }
            }
            Ok(None) => findings.push(source.finding(span.start..span.start + 1, "an entity's `uid` is `{\"type\": …, \"id\": …}`")),
            Err(finding) => findings.push(finding),
        }
    }
    found
}
