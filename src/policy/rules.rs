//! The Cedar files: policies, templates and their links, judged more strictly than Cedar does by itself.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{
    ActionConstraint, Effect as CedarEffect, Entities, Policy, PolicyId, PolicySet, PrincipalConstraint, ResourceConstraint, Schema, SlotId,
    Template, ValidationMode, Validator, pst,
};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::{Action, Findings, PolicyName};

use super::catalogue::{Catalogue, TYPES, is_name, references};
use super::reads::Reads;
use super::source::{Folder, Source, did_you_mean};
use super::{Effect, PolicyInfo};

/// Names that [`super::Decided::errors`] uses for what is no policy's fault.
pub(super) const RESERVED: &str = "consentry-";

/// A policy that takes part in decisions: a static one, or a link with its slots filled in.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: PolicyName,
    pub(super) effect: Effect,
    pub(super) policy: Policy,
    pub(super) clauses: Vec<pst::Clause>,
    pub(super) reads: Reads,
    /// This policy only.
    pub(super) alone: PolicySet,
}

/// Where a policy, template or link stands.
struct Place<'s> {
    source: &'s Source,
    span: Range<usize>,
}

impl Place<'_> {
    fn mark(&self, text: &str) -> Range<usize> {
        self.source.span_of(&self.span, text)
    }

    /// The first line of the statement only.
    fn head(&self) -> Range<usize> {
        let text = self.source.text.get(self.span.clone()).unwrap_or_default();
        self.span.start..self.span.start + text.lines().next().unwrap_or_default().len()
    }
}

#[derive(Default)]
struct Reader<'s> {
    set: PolicySet,
    places: BTreeMap<String, Place<'s>>,
    order: Vec<String>,
    /// A file that could not be parsed hides policies and templates: what follows from their absence is not reported.
    is_partial: bool,
}

/// Reads all policies. What they say is checked against the schema and the catalogue when those could be read.
pub(super) fn read(
    folder: &Folder,
    schema: Option<&Schema>,
    catalogue: Option<&Catalogue>,
    findings: &mut Findings,
) -> Option<(Vec<Rule>, Vec<PolicyInfo>)> {
    let before = findings.0.len();
    let mut reader = Reader::default();
    for source in &folder.cedar {
        reader.cedar_file(source, findings);
    }
    for source in &folder.links {
        reader.links_file(source, findings);
    }
    if reader.set.is_empty() && !reader.is_partial {
        let finding = crate::model::Finding::of_file(&folder.schema.path, "there is no policy beside this schema");
        findings.push(finding.help("write `NN-topic.cedar` files; without any permit nothing could be released"));
        return None;
    }
    if let Some(schema) = schema {
        reader.validate(schema, findings);
    }
    if let Some(catalogue) = catalogue {
        reader.follow_literals(&catalogue.known, findings);
    }
    let rules = reader.rules(findings);
    reader.lint(&rules, catalogue.and_then(|c| c.entities.as_ref()), &folder.schema, findings);
    let infos = reader.infos(&rules);
    (findings.0.len() == before).then_some((rules, infos))
}

impl<'s> Reader<'s> {
    fn cedar_file(&mut self, source: &'s Source, findings: &mut Findings) {
        let parsed: PolicySet = match source.text.parse() {
            Ok(parsed) => parsed,
            Err(error) => {
                self.is_partial = true;
                source.cedar(&DetailedError::from(&error), &(0..1), findings);
                return;
            }
        };
        // Cedar names the statements of a text `policy0`, `policy1`, … in their order.
        let spans = statements(&source.text);
        // INVARIANT: no statement that Cedar parsed is left out, for it may be a prohibition.
        if spans.len() != parsed.num_of_policies() + parsed.num_of_templates() {
            self.is_partial = true;
            findings
                .push(source.finding(0..1, "the statements of this file cannot be told apart").help("end each policy with `;`, one after the other"));
            return;
        }
        for (at, span) in spans.into_iter().enumerate() {
            let id = PolicyId::new(format!("policy{at}"));
            let place = Place { source, span };
            let head = place.head();
            let (policy, template) = (parsed.policy(&id), parsed.template(&id));
            let annotation = policy.map(|p| p.annotation("id")).or_else(|| template.map(|t| t.annotation("id"))).flatten();
            let Some(name) = self.name(annotation, place, findings) else { continue };
            let added = match (policy, template) {
                (Some(policy), _) => self.set.add(policy.new_id(PolicyId::new(name))),
                (None, Some(template)) => self.set.add_template(template.new_id(PolicyId::new(name))),
                (None, None) => continue,
            };
            if let Err(error) = added {
                self.is_partial = true;
                source.cedar(&DetailedError::from(&error), &head, findings);
            }
        }
    }

    /// Takes a name into use, unless it is missing, malformed or taken.
    fn name(&mut self, annotation: Option<&str>, place: Place<'s>, findings: &mut Findings) -> Option<String> {
        let Some(name) = annotation.filter(|name| !name.is_empty()) else {
            let finding = place.source.finding(place.head(), "a policy without `@id`");
            findings.push(finding.help("add `@id(\"…\")`: the decision log names policies by it"));
            self.is_partial = true;
            return None;
        };
        if !is_name(name) || name.starts_with(RESERVED) {
            let finding = place.source.finding(place.mark(&format!("\"{name}\"")), format!("`{name}` cannot be the name of a policy"));
            findings.push(finding.help(format!("use lower-case letters, digits, `.`, `-` and `_`, not starting with `{RESERVED}`")));
            self.is_partial = true;
            return None;
        }
        if let Some(first) = self.places.get(name) {
            let line = first.source.line_of(first.span.start);
            let finding = place.source.finding(place.mark(&format!("\"{name}\"")), format!("the name `{name}` is taken"));
            findings.push(finding.help(format!("the first stands in {}:{line}; rename one", first.source.path.display())));
            return None;
        }
        self.places.insert(name.to_owned(), place);
        self.order.push(name.to_owned());
        Some(name.to_owned())
    }

    fn links_file(&mut self, source: &'s Source, findings: &mut Findings) {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Link {
            template_id: String,
            link_id: String,
            args: HashMap<String, String>,
        }
        let items: Vec<&RawValue> = match serde_json::from_str(&source.text) {
            Ok(items) => items,
            Err(error) => {
                findings.push(source.json(&error, 0));
                return;
            }
        };
        for item in items {
            let span = source.range_of(item.get());
            let link: Link = match source.item(item) {
                Ok(link) => link,
                Err(finding) => {
                    findings.push(finding);
                    continue;
                }
            };
            let place = Place { source, span: span.clone() };
            let mark = place.mark(&format!("\"{}\"", link.template_id));
            let Some(name) = self.name(Some(&link.link_id), place, findings) else { continue };
            if self.set.template(&PolicyId::new(&link.template_id)).is_none() {
                if !self.is_partial {
                    let templates: Vec<String> = self.set.templates().map(|t| t.id().to_string()).collect();
                    let finding = source.finding(mark, format!("there is no template `{}`", link.template_id));
                    findings.push(finding.help(did_you_mean(&link.template_id, templates.iter().map(String::as_str))));
                }
                continue;
            }
            let mut slots = HashMap::new();
            for (slot, entity) in &link.args {
                let slot_id = match slot.as_str() {
                    "?principal" => Some(SlotId::principal()),
                    "?resource" => Some(SlotId::resource()),
                    _ => None,
                };
                match (slot_id, entity.parse()) {
                    (Some(slot_id), Ok(entity)) => drop(slots.insert(slot_id, entity)),
                    (None, _) => findings.push(
                        source
                            .finding(source.span_of(&span, slot), format!("a template has no slot `{slot}`"))
                            .help("one of `?principal`, `?resource`"),
                    ),
                    (Some(_), Err(_)) => findings.push(
                        source.finding(source.span_of(&span, slot), format!("`{entity}` is not an entity")).help("write `Department::\\\"sales\\\"`"),
                    ),
                }
            }
            if slots.len() == link.args.len()
                && let Err(error) = self.set.link(PolicyId::new(&link.template_id), PolicyId::new(name), slots)
            {
                source.cedar(&DetailedError::from(&error), &span, findings);
            }
        }
    }

    /// Strict validation; a warning (a policy that can never apply, a confusable letter) is a mistake too.
    fn validate(&self, schema: &Schema, findings: &mut Findings) {
        let result = Validator::new(schema.clone()).validate(&self.set, ValidationMode::Strict);
        let errors: Vec<_> = result.validation_errors().map(|error| (error.policy_id().to_string(), DetailedError::from(error))).collect();
        let warnings = result.validation_warnings().map(|warning| (warning.policy_id().to_string(), DetailedError::from(warning)));
        // A policy with an error is also "impossible"; that says nothing more.
        let warnings: Vec<_> = warnings.filter(|(name, _)| !errors.iter().any(|(other, _)| other == name)).collect();
        // Cedar repeats a mistake for every action that the policy is about, in any order.
        let mut once: BTreeMap<(String, Option<usize>), DetailedError> = BTreeMap::new();
        for (name, error) in errors.into_iter().chain(warnings) {
            let key = (name, error.source_locations.first().map(|label| label.loc.start));
            match once.entry(key) {
                Entry::Vacant(free) => drop(free.insert(error)),
                Entry::Occupied(mut taken) if error.message < taken.get().message => drop(taken.insert(error)),
                Entry::Occupied(_) => {}
            }
        }
        for ((name, _), mut error) in once {
            let Some(place) = self.places.get(&name) else { continue };
            // A link is judged at its template's text, but the mistake is the link's.
            if place.source.name.ends_with(".json") {
                error.source_locations.clear();
            }
            place.source.cedar(&error, &place.head(), findings);
        }
    }

    /// Cedar accepts `Purpose::"marketting"`: every entity that a policy names must be in the catalogue.
    fn follow_literals(&self, known: &BTreeSet<(String, String)>, findings: &mut Findings) {
        let policies = self.set.policies().map(|p| (p.id(), if p.is_static() { p.to_json().ok() } else { link_arguments(p) }));
        let templates = self.set.templates().map(|t: &Template| (t.id(), t.to_json().ok()));
        for (id, json) in policies.chain(templates) {
            let Some(place) = self.places.get(AsRef::<str>::as_ref(id)) else { continue };
            let mut named = Vec::new();
            references(&json.unwrap_or_default(), &mut named);
            named.sort();
            named.dedup();
            for (kind, name) in named {
                // Words of closed vocabularies are no entities of the catalogue; validation knows them.
                if !TYPES.contains(&kind.as_str()) || known.contains(&(kind.clone(), name.clone())) {
                    continue;
                }
                let candidates: Vec<&str> = known.iter().filter(|(other, _)| *other == kind).map(|(_, name)| name.as_str()).collect();
                let quoted = format!("{kind}::\"{name}\"");
                let mut mark = place.mark(&quoted);
                if mark == place.span {
                    mark = place.mark(&quoted.replace('"', "\\\""));
                }
                let finding = place.source.finding(mark, format!("{kind} `{name}` is not in the catalogue"));
                findings.push(finding.help(did_you_mean(&name, candidates)));
            }
        }
    }

    fn rules(&mut self, findings: &mut Findings) -> Vec<Rule> {
        let mut rules = Vec::new();
        for name in &self.order {
            let Some(policy) = self.set.policy(&PolicyId::new(name)) else { continue };
            match Rule::new(name, policy) {
                Ok(rule) => rules.push(rule),
                Err(error) => {
                    if let Some(place) = self.places.get(name) {
                        findings.push(place.source.finding(place.head(), format!("policy `{name}` cannot be taken apart: {error}")));
                    }
                }
            }
        }
        rules
    }

    /// What no type system says: an action that nothing permits, and permits that hold whatever the purpose is.
    fn lint(&self, rules: &[Rule], entities: Option<&Entities>, schema: &Source, findings: &mut Findings) {
        if self.is_partial {
            return;
        }
        let is_bound = |reads: &Reads| reads.reads("context.purpose");
        let floor = |rule: &Rule| {
            let p = &rule.policy;
            let everybody = p.principal_constraint() == PrincipalConstraint::Any && p.resource_constraint() == ResourceConstraint::Any;
            let is_total = everybody && p.action_constraint() == ActionConstraint::Any;
            rule.effect == Effect::Forbid && is_total && is_bound(&rule.reads) && rule.reads.reads("principal.registered_purposes")
        };
        if !rules.iter().any(floor) {
            for rule in rules.iter().filter(|rule| rule.effect == Effect::Permit && !is_bound(&rule.reads)) {
                let Some(place) = self.places.get(rule.name.as_str()) else { continue };
                let finding = place.source.finding(place.head(), format!("permit `{}` holds for every purpose", rule.name));
                findings
                    .push(finding.help("read `context.purpose`, or forbid purposes that are not in `principal.registered_purposes` for everybody"));
            }
        }
        let Some(entities) = entities else { return };
        for action in Action::ALL {
            let Some(uid) = super::request::uid("Action", action.as_str()) else { continue };
            let is_ruled = rules.iter().any(|rule| rule.effect == Effect::Permit && super::slices::action_matches(&rule.policy, &uid, entities));
            if !is_ruled {
                let mark = schema.span_of(&(0..schema.text.len()), &format!("action {action}"));
                let mark = if mark.len() == schema.text.len() { schema.span_of(&mark, &format!("action \"{action}\"")) } else { mark };
                let mark = if mark.len() == schema.text.len() { 0..1 } else { mark };
                findings.push(schema.finding(mark, format!("no policy permits the action `{action}`")).help("write a permit for it"));
            }
        }
    }

    fn infos(&self, rules: &[Rule]) -> Vec<PolicyInfo> {
        let info = |rule: &Rule| {
            let place = self.places.get(rule.name.as_str())?;
            Some(PolicyInfo {
                name: rule.name,
                effect: rule.effect,
                description: rule.policy.annotation("description").unwrap_or_default().to_owned(),
                file: place.source.path.clone(),
                line: place.source.line_of(place.span.start),
            })
        };
        rules.iter().filter_map(info).collect()
    }
}

impl Rule {
    pub(super) fn new(name: &str, policy: &Policy) -> Result<Self, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let pst = policy.to_pst().map_err(|e| text(&e))?;
        let clauses = pst.body().clauses().clone();
        // A slice holds static policies only, so a link is written out.
        let written = match &pst {
            _ if policy.is_static() => None,
            pst::Policy::Static(written) => Some(written.clone()),
            pst::Policy::Linked(link) => Some(link.into_static_policy().map_err(|e| text(&e))?),
        };
        let policy = match written {
            None => policy.clone(),
            Some(written) => Policy::parse(Some(PolicyId::new(name)), written.to_string()).map_err(|e| text(&e))?,
        };
        let effect = match policy.effect() {
            CedarEffect::Permit => Effect::Permit,
            CedarEffect::Forbid => Effect::Forbid,
        };
        let alone = PolicySet::from_policies([policy.clone()]).map_err(|e| text(&e))?;
        let reads = Reads::of(&clauses);
        Ok(Self { name: PolicyName::intern(name), effect, policy, clauses, reads, alone })
    }
}

fn link_arguments(policy: &Policy) -> Option<Value> {
    let links = policy.template_links()?;
    let entities = links.values().map(|uid| serde_json::json!({ "type": uid.type_name().to_string(), "id": unescaped(uid) }));
    Some(Value::Array(entities.collect()))
}

fn unescaped(uid: &cedar_policy::EntityUid) -> String {
    uid.id().unescaped().to_owned()
}

/// Byte ranges of the statements of a Cedar text, from the first annotation to the semicolon.
fn statements(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '/' && chars.peek().is_some_and(|(_, next)| *next == '/') {
            while chars.next_if(|(_, c)| *c != '\n').is_some() {}
            continue;
        }
        if c.is_whitespace() {
            continue;
        }
        let from = *start.get_or_insert(at);
        if c == '"' {
            while let Some((_, c)) = chars.next() {
                match c {
                    '\\' => drop(chars.next()),
                    '"' => break,
                    _ => {}
                }
            }
        }
        if c == ';' {
            found.push(from..at + 1);
            start = None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_of_texts_and_comments() {
        let text = "// a; b\n@id(\"x;\\\";\")\npermit (principal, action, resource); // c;\nforbid (\n principal, action, resource\n);";
        let found: Vec<&str> = statements(text).into_iter().filter_map(|span| text.get(span)).collect();
        assert_eq!(found, ["@id(\"x;\\\";\")\npermit (principal, action, resource);", "forbid (\n principal, action, resource\n);"]);
    }

    #[test]
    fn cedar_numbers_policies_and_templates_in_the_order_of_the_text() {
        let text =
            "permit (principal, action, resource);\npermit (principal in ?principal, action, resource);\nforbid (principal, action, resource);";
        let set: PolicySet = text.parse().unwrap();
        assert!(set.policy(&PolicyId::new("policy0")).is_some());
        assert!(set.template(&PolicyId::new("policy1")).is_some());
        assert_eq!(set.policy(&PolicyId::new("policy2")).unwrap().effect(), CedarEffect::Forbid);
    }
}
