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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::super::mistakes::folder;
    use super::super::{Policies, cases};
    use super::*;

    fn shipped() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")
    }

    const NAMES: [&str; 4] = ["chief-commercial-officer", "chief-customer-officer", "it-steward", "marketing-led"];

    #[test]
    fn the_shipped_catalogue_is_one_of_the_four_models() {
        let models = models(&shipped()).unwrap();
        assert_eq!(models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>(), NAMES);
        let in_force: Vec<_> = models.iter().filter(|model| model.differs.is_empty()).map(|model| model.name.as_str()).collect();
        assert_eq!(in_force, ["it-steward"]);
    }

    #[test]
    fn switching_moves_entities_and_nothing_else_and_every_case_holds() {
        let before = Policies::load(&shipped()).unwrap();
        for name in NAMES {
            let after = Policies::load_as(&shipped(), name).map_err(|findings| findings.to_string()).unwrap();
            let policies = |p: &Policies| (p.whole_set(), p.policies().to_vec(), p.activities().to_vec());
            assert_eq!(policies(&before), policies(&after), "{name}");
            let words = |p: &Policies| {
                let v = p.vocabulary();
                let clients: Vec<_> = v.clients.iter().map(|(client, info)| (*client, info.department, info.registered.clone())).collect();
                (clients, v.purposes.keys().copied().collect::<Vec<_>>(), v.categories.keys().copied().collect::<Vec<_>>(), v.roles.clone())
            };
            assert_eq!(words(&before), words(&after), "{name}");
            let moved: BTreeSet<_> = models(&shipped()).unwrap().into_iter().find(|m| m.name == name).unwrap().differs.into_iter().collect();
            let otherwise = before.entities.iter().filter(|entity| after.entities.get(&entity.uid()).is_none_or(|other| !entity.deep_eq(other)));
            let direct = |uid: &cedar_policy::EntityUid| format!("{} `{}`", uid.type_name(), uid.id().unescaped());
            // Those below a department that moved have other ancestors; of themselves they are as before.
            let otherwise: BTreeSet<_> = otherwise.map(|entity| direct(&entity.uid())).filter(|uid| !uid.starts_with("Application")).collect();
            assert_eq!(otherwise, moved, "{name}");
            let report = cases::run_with(&after, &shipped()).map_err(|findings| findings.to_string()).unwrap();
            let failed: Vec<_> = report.cases.iter().filter_map(|case| Some((&case.name, case.failure.as_ref()?))).collect();
            assert!(failed.is_empty() && report.passed() > 90, "{name}: {failed:#?}");
        }
    }

    /// Who coordinates, and that it is always the office and never whoever sells.
    #[test]
    fn each_model_has_its_own_steward() {
        use super::super::tests::caller;
        let stewards = |name: &str| {
            let policies = Policies::load_as(&shipped(), name).unwrap();
            let clients = policies.vocabulary().clients.keys().filter(|client| policies.is_steward(&caller(&policies, client.as_str())));
            let owner = policies.vocabulary().categories.iter().find(|(category, _)| category.as_str() == "identity").unwrap().1.owner;
            (clients.map(|client| client.as_str()).collect::<Vec<_>>(), owner.as_str())
        };
        assert_eq!(stewards("it-steward"), (vec!["mdm-hub", "preference-centre"], "it"));
        assert_eq!(stewards("chief-customer-officer"), (vec!["mdm-hub", "preference-centre"], "cco"));
        assert_eq!(stewards("chief-commercial-officer"), (vec!["mdm-hub", "preference-centre"], "commercial"));
        assert_eq!(stewards("marketing-led"), (vec!["mdm-hub", "preference-centre"], "data-office"));
    }

    #[test]
    fn a_model_that_names_what_is_not_there_is_refused_with_its_place() {
        let dir = folder(&[]);
        fs::create_dir(dir.path().join("models")).unwrap();
        let write = |text: &str| fs::write(dir.path().join("models/own.cedarentities.json"), text).unwrap();
        write("[\n{\"uid\":{\"type\":\"Department\",\"id\":\"cdo\"},\"attrs\":{\"active\":true},\"parents\":[]}\n]");
        let found = with_model(dir.path(), "own").unwrap_err();
        assert_eq!((found.0[0].line, found.0[0].message.as_str()), (2, "Department `cdo` is not in the catalogue"));
        // A model may be of the right form and still make no catalogue.
        write("[{\"uid\":{\"type\":\"Department\",\"id\":\"it\"},\"attrs\":{\"active\":true},\"parents\":[{\"type\":\"Role\",\"id\":\"x\"}]}]");
        assert!(Policies::load_as(dir.path(), "own").unwrap_err().to_string().contains("Role `x`, which is not in the catalogue"));
        let unknown = with_model(dir.path(), "onw").unwrap_err();
        assert_eq!(unknown.0[0].help.as_deref(), Some("one of `own`"));
        fs::write(dir.path().join("models/notes.txt"), "").unwrap();
        assert!(models(dir.path()).unwrap_err().to_string().contains("nothing reads this file"));
    }
}
