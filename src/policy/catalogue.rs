//! `catalogue.cedarentities.json`: departments, roles, categories, purposes and apps, as Cedar entities and as the
//! [`Vocabulary`] of the other rooms. Cedar stops at the first mistake and accepts references into nothing; here every
//! reference is followed and every mistake reported.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Entities, Schema};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::model::{
    AgentInfo, Category, CategoryInfo, Channel, Client, ClientInfo, ClientKind, Department, DepartmentInfo, Findings, Model, Purpose, PurposeInfo,
    Role, Sensitivity, Task, TaskInfo, Term, Vocabulary,
};

use super::source::{Source, did_you_mean};

/// The entity types of the catalogue; every other type of the schema is a closed vocabulary.
pub(super) const TYPES: [&str; 9] = ["Role", "Department", "CategoryGroup", "Category", "Purpose", "Model", "Task", "Application", "Agent"];

#[derive(Debug)]
pub(super) struct Catalogue {
    /// Complete only beside `entities`; before that, good enough to look names up in.
    pub(super) vocabulary: Vocabulary,
    /// Every declared (type, id).
    pub(super) known: BTreeSet<(String, String)>,
    /// `None` when the catalogue holds a mistake.
    pub(super) entities: Option<Entities>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    uid: Value,
    attrs: Map<String, Value>,
    parents: Vec<Value>,
}

struct Entity {
    kind: String,
    id: String,
    attrs: Map<String, Value>,
    parents: Vec<(String, String)>,
    span: Range<usize>,
}

/// Reads the catalogue; `None` with findings when it cannot be read at all.
pub(super) fn read(source: &Source, schema: Option<&Schema>, findings: &mut Findings) -> Option<Catalogue> {
    let declared = entities(source, findings)?;
    let before = findings.0.len();
    let mut reader = Reader { source, index: BTreeMap::new(), findings };
    for entity in &declared {
        reader.declare(entity);
    }
    for entity in &declared {
        reader.follow(entity);
    }
    let vocabulary = reader.vocabulary(&declared);
    let entities = schema.filter(|_| findings.0.len() == before).and_then(|schema| by_cedar(source, &declared, schema, findings));
    let known = declared.into_iter().map(|entity| (entity.kind, entity.id)).collect();
    Some(Catalogue { vocabulary, known, entities })
}

fn by_cedar(source: &Source, declared: &[Entity], schema: &Schema, findings: &mut Findings) -> Option<Entities> {
    match Entities::from_json_str(&source.text, Some(schema)) {
        Ok(entities) => Some(entities),
        Err(error) => {
            let error = DetailedError::from(&error);
            // Cedar names the entity but not its place.
            let guilty = declared.iter().find(|e| error.message.contains(&format!("{}::\"{}\"", e.kind, e.id)));
            let span = guilty.map_or(0..1, |entity| entity.span.start..entity.span.start + 1);
            source.cedar(&error, &span, findings);
            None
        }
    }
}

fn entities(source: &Source, findings: &mut Findings) -> Option<Vec<Entity>> {
    let items: Vec<&RawValue> = match serde_json::from_str(&source.text) {
        Ok(items) => items,
        Err(error) => {
            findings.push(source.json(&error, 0));
            return None;
        }
    };
    let mut entities = Some(Vec::new());
    for item in items {
        let span = source.range_of(item.get());
        let raw: Raw = match source.item(item) {
            Ok(raw) => raw,
            Err(finding) => {
                findings.push(finding);
                entities = None;
                continue;
            }
        };
        let parents: Option<Vec<_>> = raw.parents.iter().map(reference).collect();
        let (Some((kind, id)), Some(parents)) = (reference(&raw.uid), parents) else {
            findings.push(source.finding(span, "an entity's `uid` and `parents` are `{\"type\": …, \"id\": …}`"));
            entities = None;
            continue;
        };
        if let Some(entities) = &mut entities {
            entities.push(Entity { kind, id, attrs: raw.attrs, parents, span });
        }
    }
    entities
}

/// `{"type", "id"}`, also inside Cedar's `__entity` escape.
pub(super) fn reference(value: &Value) -> Option<(String, String)> {
    let object = value.as_object()?;
    let object = object.get("__entity").and_then(Value::as_object).unwrap_or(object);
    match (object.get("type"), object.get("id")) {
        (Some(Value::String(kind)), Some(Value::String(id))) if object.len() == 2 => Some((kind.clone(), id.clone())),
        _ => None,
    }
}

/// Every entity reference in a value, at any depth.
pub(super) fn references(value: &Value, found: &mut Vec<(String, String)>) {
    if let Some(reference) = reference(value) {
        found.push(reference);
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(members) => members.values().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Names travel in headers, logs and file names: lower case, digits, dots, dashes.
pub(super) fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    starts && text.len() <= 64 && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c))
}

struct Reader<'a> {
    source: &'a Source,
    index: BTreeMap<String, BTreeMap<String, Range<usize>>>,
    findings: &'a mut Findings,
}

impl Reader<'_> {
    fn declare(&mut self, entity: &Entity) {
        let Entity { kind, id, span, .. } = entity;
        let quoted = format!("\"{id}\"");
        if !TYPES.contains(&kind.as_str()) {
            let at = self.source.span_of(span, &format!("\"{kind}\""));
            let finding = self.source.finding(at, format!("a catalogue has no `{kind}`"));
            self.findings.push(finding.help(did_you_mean(kind, TYPES)));
            return;
        }
        if !is_name(id) {
            let finding = self.source.finding(self.source.span_of(span, &quoted), format!("`{id}` is not a name"));
            self.findings.push(finding.help("use lower-case letters, digits, `.`, `-` and `_`, at most 64"));
        }
        if let Some(first) = self.index.entry(kind.clone()).or_default().insert(id.clone(), span.clone()) {
            let line = self.source.line_of(first.start);
            let finding = self.source.finding(self.source.span_of(span, &quoted), format!("{kind} `{id}` is declared twice"));
            self.findings.push(finding.help(format!("the first stands in line {line}; remove one")));
        }
    }

    /// Every parent and every reference in an attribute leads somewhere.
    fn follow(&mut self, entity: &Entity) {
        let mut found = entity.parents.clone();
        entity.attrs.values().for_each(|value| references(value, &mut found));
        for (kind, id) in found {
            if !TYPES.contains(&kind.as_str()) {
                self.closed_word(entity, &kind, &id);
                continue;
            }
            let known = self.index.get(&kind);
            if known.is_some_and(|ids| ids.contains_key(&id)) {
                continue;
            }
            let candidates: Vec<&str> = known.into_iter().flatten().map(|(id, _)| id.as_str()).collect();
            let at = self.source.span_of(&entity.span, &format!("\"{id}\""));
            let message = format!("{} `{}` refers to {kind} `{id}`, which is not in the catalogue", entity.kind, entity.id);
            self.findings.push(self.source.finding(at, message).help(did_you_mean(&id, candidates)));
        }
    }

    /// Cedar knows these words, too, but not where they stand.
    fn closed_word(&mut self, entity: &Entity, kind: &str, id: &str) {
        let words: Vec<&str> = match kind {
            "Sensitivity" => Sensitivity::ALL.iter().map(|word| word.as_str()).collect(),
            "Channel" => Channel::ALL.iter().map(|word| word.as_str()).collect(),
            _ => return,
        };
        if !words.contains(&id) {
            let at = self.source.span_of(&entity.span, &format!("\"{id}\""));
            let finding = self.source.finding(at, format!("there is no {kind} `{id}`"));
            self.findings.push(finding.help(did_you_mean(id, words)));
        }
    }

    fn vocabulary(&mut self, entities: &[Entity]) -> Vocabulary {
        let mut vocabulary = Vocabulary::default();
        for entity in entities {
            let id = entity.id.as_str();
            match entity.kind.as_str() {
                "Role" => {
                    vocabulary.roles.insert(Role::intern(id));
                }
                "Department" => {
                    let active = self.attribute(entity, "active").and_then(|value| value.as_bool());
                    vocabulary.departments.insert(Department::intern(id), DepartmentInfo { active: active.unwrap_or(false) });
                }
                "Category" => vocabulary.categories.extend(self.category(entity).map(|info| (Category::intern(id), info))),
                "Purpose" => vocabulary.purposes.extend([(Purpose::intern(id), self.purpose(entity))]),
                "Model" => {
                    vocabulary.models.insert(Model::intern(id));
                }
                "Task" => {
                    let purposes = self.list(entity, "purposes").iter().map(|id| Purpose::intern(id)).collect();
                    vocabulary.tasks.insert(Task::intern(id), TaskInfo { purposes });
                }
                "Application" | "Agent" => self.client(entity, entities, &mut vocabulary),
                _ => {}
            }
        }
        let parents: BTreeMap<Purpose, Vec<Purpose>> = vocabulary.purposes.iter().map(|(p, info)| (*p, info.parents.clone())).collect();
        for (purpose, info) in &mut vocabulary.purposes {
            info.ancestors = with_all_above(*purpose, &parents);
        }
        let parents: BTreeMap<Category, Vec<Category>> = vocabulary.categories.iter().map(|(c, info)| (*c, info.parents.clone())).collect();
        for (category, info) in &mut vocabulary.categories {
            info.ancestors = with_all_above(*category, &parents);
        }
        self.registrations(entities, &vocabulary);
        self.parts(entities, &vocabulary);
        vocabulary
    }

    /// Nobody is registered for what is prohibited.
    fn registrations(&mut self, entities: &[Entity], vocabulary: &Vocabulary) {
        for entity in entities {
            for (_, id) in references_of(entity.attrs.get("registered_purposes")) {
                let Some(prohibited) = vocabulary.purpose(&id).and_then(|purpose| vocabulary.prohibition(purpose)) else { continue };
                let at = self.source.span_of(&entity.span, &format!("\"{id}\""));
                let message = format!("{} `{}` is registered for purpose `{id}`, and `{prohibited}` is prohibited", entity.kind, entity.id);
                self.findings.push(self.source.finding(at, message).help("take the purpose out of its `registered_purposes`"));
            }
        }
    }

    /// Nothing is a part of itself, and a part is no less sensitive than the whole.
    fn parts(&mut self, entities: &[Entity], vocabulary: &Vocabulary) {
        for entity in entities.iter().filter(|entity| entity.kind == "Category") {
            let Some((own, info)) = vocabulary.category(&entity.id).and_then(|own| Some((own, vocabulary.categories.get(&own)?))) else { continue };
            for parent in &info.parents {
                let Some(whole) = vocabulary.categories.get(parent) else { continue };
                let (message, help) = if whole.ancestors.contains(&own) {
                    (format!("Category `{own}` is a part of itself by way of `{parent}`"), "take one of them out of its `part_of`".to_owned())
                } else if whole.sensitivity.is_restricted() && info.sensitivity < whole.sensitivity {
                    let message = format!("Category `{own}` is a part of `{parent}`, whose sensitivity is `{}`", whole.sensitivity);
                    (message, format!("give it the sensitivity `{}`, too", whole.sensitivity))
                } else {
                    continue;
                };
                let at = self.source.span_of(&entity.span, &format!("\"{parent}\""));
                self.findings.push(self.source.finding(at, message).help(help));
            }
        }
    }

    fn attribute<'e>(&mut self, entity: &'e Entity, name: &str) -> Option<&'e Value> {
        let value = entity.attrs.get(name);
        if value.is_none() {
            let message = format!("{} `{}` lacks the attribute `{name}`", entity.kind, entity.id);
            self.findings.push(self.source.finding(self.source.span_of(&entity.span, &format!("\"{}\"", entity.id)), message));
        }
        value
    }

    fn category(&mut self, entity: &Entity) -> Option<CategoryInfo> {
        let owner = self.attribute(entity, "owner").and_then(reference);
        let contributors = self.list(entity, "contributors");
        let sensitivity = self.attribute(entity, "sensitivity").and_then(reference);
        // A wrong type or word is reported by Cedar, which knows the schema.
        Some(CategoryInfo {
            owner: Department::intern(&owner?.1),
            contributors: contributors.iter().map(|id| Department::intern(id)).collect(),
            sensitivity: Sensitivity::parse(&sensitivity?.1)?,
            parents: references_of(entity.attrs.get("part_of")).map(|(_, id)| Category::intern(&id)).collect(),
            ancestors: Vec::new(),
            term: self.term(entity),
        })
    }

    fn purpose(&mut self, entity: &Entity) -> PurposeInfo {
        let channel = entity.attrs.get("channel").and_then(reference).and_then(|(_, id)| Channel::parse(&id));
        let parents = entity.parents.iter().filter(|(kind, _)| kind == "Purpose").map(|(_, id)| Purpose::intern(id)).collect();
        let incompatible_with = references_of(entity.attrs.get("incompatible_with")).map(|(_, id)| Purpose::intern(&id)).collect();
        let prohibited = entity.attrs.get("prohibited").and_then(Value::as_bool).unwrap_or(false);
        PurposeInfo { channel, parents, ancestors: Vec::new(), term: self.term(entity), incompatible_with, prohibited }
    }

    fn term(&mut self, entity: &Entity) -> Term {
        let text = |name: &str| entity.attrs.get(name).and_then(Value::as_str).map(str::to_owned);
        let dpv = text("dpv");
        if let Some(iri) = dpv.as_ref().filter(|iri| !is_dpv(iri)) {
            let at = self.source.span_of(&entity.span, &format!("\"{iri}\""));
            let message = format!("`{iri}` is not a term of the Data Privacy Vocabulary");
            self.findings.push(self.source.finding(at, message).help("write its whole IRI, such as `https://w3id.org/dpv#Marketing`"));
        }
        Term { label: text("label"), dpv }
    }

    fn client(&mut self, entity: &Entity, entities: &[Entity], vocabulary: &mut Vocabulary) {
        let at = self.source.span_of(&entity.span, &format!("\"{}\"", entity.id));
        let departments: Vec<&str> = entity.parents.iter().filter(|(kind, _)| kind == "Department").map(|(_, id)| id.as_str()).collect();
        let [department] = departments.as_slice() else {
            let message = format!("{} `{}` belongs to {} departments", entity.kind, entity.id, departments.len());
            self.findings.push(self.source.finding(at, message).help("name exactly one Department among its `parents`"));
            return;
        };
        let sleeps = |e: &Entity| e.kind == "Department" && e.id == *department && e.attrs.get("active") == Some(&Value::Bool(false));
        if entities.iter().any(sleeps) {
            let message = format!("{} `{}` belongs to department `{department}`, which is not active", entity.kind, entity.id);
            self.findings.push(self.source.finding(at.clone(), message).help("remove the app, or give it to another department"));
        }
        let kind = if entity.kind == "Agent" { ClientKind::Agent } else { ClientKind::Application };
        let registered = self.list(entity, "registered_purposes").iter().map(|id| Purpose::intern(id)).collect();
        let agent = if kind == ClientKind::Agent { self.agent(entity) } else { None };
        let customers_max = entity.attrs.get("budget").and_then(|budget| self.customers_max(entity, budget));
        let info = ClientInfo { kind, department: Department::intern(department), registered, agent, customers_max };
        if vocabulary.clients.insert(Client::intern(&entity.id), info).is_some_and(|other| other.kind != kind) {
            let message = format!("`{}` is the name of an Application and of an Agent", entity.id);
            self.findings.push(self.source.finding(at, message).help("credentials name one principal: rename one"));
        }
    }

    /// Cedar reports what is missing or of a wrong type.
    fn agent(&mut self, entity: &Entity) -> Option<AgentInfo> {
        let operator = self.attribute(entity, "operator").and_then(reference);
        let model = self.attribute(entity, "model").and_then(reference);
        let tasks = self.list(entity, "tasks").iter().map(|id| Task::intern(id)).collect();
        Some(AgentInfo { operator: Department::intern(&operator?.1), model: Model::intern(&model?.1), tasks })
    }

    fn customers_max(&mut self, entity: &Entity, budget: &Value) -> Option<u32> {
        let customers = budget.get("customers").and_then(Value::as_i64).and_then(|number| u32::try_from(number).ok());
        if customers.is_none() {
            let at = self.source.span_of(&entity.span, "\"budget\"");
            let message = format!("the budget of {} `{}` is no number of customers", entity.kind, entity.id);
            self.findings.push(self.source.finding(at, message).help("write `{ \"customers\": 50 }`, from 0 to 4294967295"));
        }
        customers
    }

    fn list(&mut self, entity: &Entity, name: &str) -> Vec<String> {
        references_of(self.attribute(entity, name)).map(|(_, id)| id).collect()
    }
}

/// A name and everything above it, without duplicates.
fn with_all_above<T: Copy + Ord>(name: T, parents: &BTreeMap<T, Vec<T>>) -> Vec<T> {
    let (mut seen, mut found, mut open) = (BTreeSet::new(), Vec::new(), vec![name]);
    while let Some(next) = open.pop() {
        if seen.insert(next) {
            found.push(next);
            open.extend(parents.get(&next).into_iter().flatten());
        }
    }
    found
}

/// The references of a list.
fn references_of(list: Option<&Value>) -> impl Iterator<Item = (String, String)> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(reference)
}

/// A whole IRI of the Data Privacy Vocabulary or of one of its extensions.
fn is_dpv(iri: &str) -> bool {
    let Some((vocabulary, term)) = iri.strip_prefix("https://w3id.org/dpv").and_then(|rest| rest.split_once('#')) else { return false };
    let path = |c: char| c.is_ascii_alphanumeric() || "/-".contains(c);
    let name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    (vocabulary.is_empty() || vocabulary.starts_with('/')) && vocabulary.chars().all(path) && !term.is_empty() && term.chars().all(name)
}
