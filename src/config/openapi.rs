//! `openapi = { file = "…", use = "drift" }`: an API beside its document. What one has and the other has not is told as warnings: nothing
//! that is missing here goes out, and nothing that stands in a document opens anything. So the document is neither part of the
//! governed configuration's hash nor watched; that it can be read is a rule like for any file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::read::Value;
use super::shapes::FieldPlace;
use crate::catalog::Route;
use crate::model::{Field, FieldRule, Finding, PathPattern, ResponsePlan, RouteKey, Shape, ShapeName, Shapes, Step};
use crate::openapi::{Body, DOCUMENT_BYTES_MAX, Document, Member, Operation, Responds, What};

/// Differences that are told one by one.
const TOLD_MAX: usize = 100;
/// Operations without a route that are named.
const NAMED_MAX: usize = 6;

/// Notes what differs. `heads`: where each route stands.
pub(super) fn compare(
    value: Value<'_>,
    heads: &[(RouteKey, Value<'_>)],
    routes: &[Arc<Route>],
    shapes: &Shapes,
    places: &BTreeMap<ShapeName, Vec<FieldPlace<'_>>>,
) {
    let Some(mut table) = value.table("`openapi`") else { return };
    let file = table.need("file");
    let purpose = table.need("use").and_then(|v| v.word("use", &[("drift", ())]));
    table.finish();
    let (Some(file), Some(())) = (file, purpose) else { return };
    let Some((document, name)) = read(file) else { return };
    let operations = document.operations();
    let mut comparison = Comparison { value, name: &name, document: &document, shapes, told: Vec::new(), documented: BTreeMap::new() };
    comparison.routes(&operations, heads, routes);
    comparison.fields_without_member(places);
    let told = comparison.told;
    if let Err(bad) = document.finish() {
        bad.into_iter().take(TOLD_MAX).for_each(|bad| file.error(format!("`{name}`: {bad}")));
        return;
    }
    let more = told.len().saturating_sub(TOLD_MAX);
    let mut warnings = value.cx.notes.warnings.borrow_mut();
    warnings.extend(told.into_iter().take(TOLD_MAX));
    if more > 0 {
        warnings.push(value.cx.finding(value.span(), format!("`{name}` and this API differ in {more} more places")));
    }
}

fn read(file: Value<'_>) -> Option<(Document, String)> {
    let text = file.str()?;
    let path: PathBuf = file.cx.resolve(text);
    let name = Path::new(text).file_name().map_or_else(|| text.to_owned(), |name| name.to_string_lossy().into_owned());
    match std::fs::metadata(&path) {
        Ok(found) if !found.is_file() => file.error(format!("`{}` is not a file", path.display())),
        Ok(found) if found.len() > DOCUMENT_BYTES_MAX => file.error(format!("the document is larger than {DOCUMENT_BYTES_MAX} bytes")),
        Ok(_) => {
            match std::fs::read(&path).map_err(|error| error.to_string()).and_then(|bytes| Document::read(&bytes).map_err(|bad| bad.to_string())) {
                Ok(document) => return Some((document, name)),
                Err(why) => file.error(format!("the document `{}` cannot be used: {why}", path.display())),
            }
        }
        Err(_) => file.error(format!("the file `{}` does not exist", path.display())),
    }
    None
}

struct Comparison<'c, 'a> {
    value: Value<'a>,
    /// The document's file name.
    name: &'c str,
    document: &'c Document,
    shapes: &'c Shapes,
    told: Vec<Finding>,
    /// What documented bodies have, by the shape that maps them, relative to its objects.
    documented: BTreeMap<ShapeName, Vec<Member>>,
}

impl Comparison<'_, '_> {
    fn routes(&mut self, operations: &[Operation], heads: &[(RouteKey, Value<'_>)], routes: &[Arc<Route>]) {
        let mut without = Vec::new();
        for operation in operations {
            let found =
                routes.iter().find(|route| route.method == *operation.method && anonymous(route.template.as_str()) == anonymous(&operation.path));
            match found {
                Some(route) => self.route(operation, route),
                None => without.push(format!("{} {}", operation.method, operation.path)),
            }
        }
        if !without.is_empty() {
            let named = without.iter().take(NAMED_MAX).map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            let more = without.len().saturating_sub(NAMED_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!("`{}` has operations without a route here: {named}{more}", self.name);
            self.told.push(self.value.cx.finding(self.value.span(), message).help("they are answered with 404"));
        }
        for (key, head) in heads {
            let known = operations.iter().any(|operation| {
                key.as_str().split_once(' ').is_some_and(|(method, path)| method == operation.method && anonymous(path) == anonymous(&operation.path))
            });
            if !known {
                let message = format!("the route `{key}` is not in `{}`", self.name);
                self.told.push(head.cx.finding(head.span(), message).help("the upstream may not have it any more"));
            }
        }
    }

    fn route(&mut self, operation: &Operation, route: &Route) {
        if let (Responds::Json(body), Some(shape)) = (&operation.responds, route.response.shape()) {
            let base: &[Step] = match &route.response {
                ResponsePlan::Object { at, .. } => &at.0,
                ResponsePlan::Rows { rows, .. } => &rows.0,
                ResponsePlan::Empty | ResponsePlan::Free { .. } | ResponsePlan::Open { .. } | ResponsePlan::Stream { .. } => &[],
            };
            self.body(route, body, base, shape);
        }
        if let (Some(body), Some(plan)) = (&operation.request, &route.request) {
            self.body(route, body, &[], &plan.shape);
        }
    }

    fn body(&mut self, route: &Route, body: &Body, base: &[Step], shape: &Arc<Shape>) {
        for member in self.document.members(&body.schema, &body.pointer).0 {
            let Some(rest) = member.path.0.strip_prefix(base).filter(|rest| !rest.is_empty()) else { continue };
            let relative = PathPattern(rest.to_vec());
            let known = self.documented.entry(shape.name).or_default();
            if known.iter().any(|other| other.path == relative) {
                continue;
            }
            let is_mapped = covered(shape, &relative, &member.what, self.shapes, 0);
            known.push(Member { path: relative.clone(), ..member.clone() });
            if !is_mapped {
                let message =
                    format!("`{relative}` of `{}` is in `{}` and has no category in shape `{}`: it is withheld", route.key, self.name, shape.name);
                let help = format!("{}; it belongs into the fields of the shape, or into `open`", member.pointer);
                self.told.push(self.value.cx.finding(self.value.span(), message).help(help));
            }
        }
    }

    /// Fields of shapes whose bodies are documented, and have no such member.
    fn fields_without_member(&mut self, places: &BTreeMap<ShapeName, Vec<FieldPlace<'_>>>) {
        for (name, members) in &self.documented {
            let mut told = BTreeSet::new();
            for field in self.shapes.get(name).map(|shape| shape.fields.iter()).into_iter().flatten() {
                if members.iter().any(|member| meets(&field.path, member)) || !told.insert(field.path.to_string()) {
                    continue;
                }
                let Some(place) = places.get(name).and_then(|all| all.iter().find(|place| place.path == field.path)) else { continue };
                let message = format!("`{}` of shape `{name}` is not in `{}`", field.path, self.name);
                self.told.push(place.cx.finding(place.span.clone(), message).help("was it renamed, then its new name is withheld"));
            }
        }
    }
}

/// A path with its parameters' names left out: documents and routes may name them differently.
fn anonymous(path: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '{' => {
                inside = true;
                out.push('{');
            }
            '}' => {
                inside = false;
                out.push('}');
            }
            _ if inside => {}
            other => out.push(other),
        }
    }
    out
}

/// Whether a shape says what the member is.
fn covered(shape: &Shape, path: &PathPattern, what: &What, shapes: &Shapes, depth: usize) -> bool {
    let leads_below =
        |rule: &PathPattern| rule.0.len() > path.0.len() && matches!(what, What::Rest(_) | What::Other(_)) && rule.0.starts_with(above(path));
    let says = |rule: &PathPattern| fits(rule, path) || leads_below(rule);
    if shape.customer.iter().chain(&shape.open).any(says) {
        return true;
    }
    shape.fields.iter().any(|field: &Field| match field.rule {
        FieldRule::Category { .. } => says(&field.path),
        FieldRule::Embed(name) => {
            let Some(rest) = path.0.strip_prefix(field.path.0.as_slice()) else { return false };
            let rest = rest.strip_prefix(&[Step::Items]).unwrap_or(rest);
            let inside = || shapes.get(&name).is_some_and(|shape| depth < 8 && covered(shape, &PathPattern(rest.to_vec()), what, shapes, depth + 1));
            rest.is_empty() || inside()
        }
    })
}

/// A path without the `**` at its end.
fn above(path: &PathPattern) -> &[Step] {
    path.0.strip_suffix(&[Step::Rest]).unwrap_or(&path.0)
}

fn fits(rule: &PathPattern, path: &PathPattern) -> bool {
    let same = |(a, b): (&Step, &Step)| a == b || matches!((a, b), (Step::Items, Step::Index(_)) | (Step::Index(_), Step::Items));
    let (own, theirs) = (above(rule), above(path));
    match (own.len() < rule.0.len(), own.len() == theirs.len()) {
        (true, _) => theirs.len() >= own.len() && own.iter().zip(theirs).all(same),
        (false, true) => own.iter().zip(theirs).all(same),
        (false, false) => false,
    }
}

/// Whether a documented member is at the field's path, above or below it.
fn meets(field: &PathPattern, member: &Member) -> bool {
    let (own, theirs) = (above(field), above(&member.path));
    let same = |(a, b): (&Step, &Step)| a == b || matches!((a, b), (Step::Items, Step::Index(_)) | (Step::Index(_), Step::Items));
    let is_open = matches!(member.what, What::Rest(_) | What::Other(_));
    own.iter().zip(theirs).all(same) && (theirs.len() >= own.len() || is_open)
}
