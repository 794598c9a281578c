//! A document: where its references lead, and which operations it has.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::schema::is_schema_of_json;
use super::tree::{Node, below};
use super::{BadDocument, json, shown, yaml};

/// References that lead to references.
const HOPS_MAX: usize = 32;
/// Schemas looked into for one document.
const VISITS_MAX: usize = 2_000_000;
/// Of these, operations are read; the others are named among what was left out.
const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];
const OTHER_METHODS: [&str; 4] = ["head", "options", "trace", "query"];

/// A document that can be asked. What is wrong with it gathers while it is asked: [`Document::finish`].
#[derive(Debug)]
pub struct Document {
    root: Arc<Node>,
    bad: RefCell<Vec<BadDocument>>,
    left_out: RefCell<Vec<(String, String)>>,
    visits: Cell<usize>,
    /// Places that references led to.
    used: RefCell<BTreeSet<String>>,
    error_answers: Cell<usize>,
}

/// A body with a JSON form.
#[derive(Clone, Debug)]
pub struct Body {
    pub schema: Arc<Node>,
    pub pointer: String,
    pub content_type: String,
}

/// What a success answers.
#[derive(Clone, Debug)]
pub enum Responds {
    Json(Body),
    Empty,
    /// Only content types that cannot be cut.
    Other(Vec<String>),
    /// The document declares no success.
    Unsaid,
}

#[derive(Clone, Debug)]
pub struct Parameter {
    pub name: String,
    /// `path`, `query`, `header` or `cookie`.
    pub place: String,
    pub node: Arc<Node>,
    pub schema: Option<Arc<Node>>,
    pub pointer: String,
}

/// A method on a path.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Upper case.
    pub method: &'static str,
    pub path: String,
    pub pointer: String,
    pub node: Arc<Node>,
    pub id: Option<String>,
    pub parameters: Vec<Parameter>,
    /// A body is declared, whatever its type.
    pub takes_body: bool,
    pub request: Option<Body>,
    pub responds: Responds,
}

impl Document {
    /// # Errors
    /// When it is no OpenAPI document of a version that is known here.
    pub fn read(bytes: &[u8]) -> Result<Self, BadDocument> {
        let text = std::str::from_utf8(bytes).map_err(|_not_utf8| BadDocument::NotUtf8)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // What begins like JSON is JSON: YAML knows other escapes.
        let is_json = text.trim_start().starts_with('{');
        let root = if is_json { json::read(text) } else { yaml::read(text) }.map_err(BadDocument::Syntax)?;
        if root.get("swagger").is_some() {
            return Err(BadDocument::Swagger);
        }
        let version = root.get("openapi").and_then(|v| v.scalar()).ok_or(BadDocument::NotOpenapi)?;
        if !["3.0", "3.1"].iter().any(|known| version.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))) {
            return Err(BadDocument::Version(shown(&version)));
        }
        Ok(Self {
            root,
            bad: RefCell::default(),
            left_out: RefCell::default(),
            visits: Cell::new(0),
            used: RefCell::default(),
            error_answers: Cell::new(0),
        })
    }

    #[must_use]
    pub const fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// A text of `info`, or a member at the top.
    #[must_use]
    pub fn said(&self, pointer: &str) -> Option<String> {
        self.root.at(pointer).and_then(|node| node.scalar())
    }

    /// Ends the asking: what was left out, each with its place.
    ///
    /// # Errors
    /// All references that lead nowhere, and bounds that were reached.
    pub fn finish(self) -> Result<Vec<(String, String)>, Vec<BadDocument>> {
        let (mut bad, mut left_out) = (self.bad.into_inner(), self.left_out.into_inner());
        if bad.is_empty() {
            left_out.dedup();
            return Ok(left_out);
        }
        bad.dedup();
        Err(bad)
    }

    /// Notes what this version does not read.
    pub fn leave_out(&self, at: &str, what: impl Into<String>) {
        let note = (at.to_owned(), what.into());
        let mut left_out = self.left_out.borrow_mut();
        if !left_out.contains(&note) {
            left_out.push(note);
        }
    }

    /// Schemas that nothing which was read refers to.
    #[must_use]
    pub fn unused_schemas(&self) -> Vec<String> {
        let schemas = self.root.at("/components/schemas").map_or(&[][..], |s| s.members());
        let used = self.used.borrow();
        let is_used = |name: &str| {
            let place = below("#/components/schemas", name);
            used.iter().any(|at| *at == place || at.strip_prefix(&place).is_some_and(|rest| rest.starts_with('/')))
        };
        schemas.iter().map(|(name, _)| name.as_str()).filter(|name| !is_used(name)).map(shown).collect()
    }

    /// How many answers of the operations that were read are errors with a body.
    #[must_use]
    pub fn error_answers(&self) -> usize {
        self.error_answers.get()
    }

    pub(super) fn is_bad(&self, bad: BadDocument) {
        let mut all = self.bad.borrow_mut();
        if !all.contains(&bad) {
            all.push(bad);
        }
    }

    /// Counts a look; false when there were too many.
    pub(super) fn may_visit(&self, pointer: &str) -> bool {
        self.visits.set(self.visits.get().saturating_add(1));
        let may = self.visits.get() <= VISITS_MAX;
        if !may && self.visits.get() == VISITS_MAX + 1 {
            self.is_bad(BadDocument::TooMuch { at: pointer.to_owned(), what: "the schemas of this document are too much to look into" });
        }
        may
    }

    /// Where a `$ref` leads, one step.
    pub(super) fn target<'d>(&'d self, node: &Node, pointer: &str) -> Option<(&'d Arc<Node>, String)> {
        let reference = node.get("$ref")?;
        let at = below(pointer, "$ref");
        let Some(text) = reference.text() else {
            self.is_bad(BadDocument::Missing { at, target: "a reference that is no text".to_owned() });
            return None;
        };
        let Some(target) = text.strip_prefix('#') else {
            self.is_bad(BadDocument::External { at, target: shown(text) });
            return None;
        };
        // A fragment may be percent-encoded (RFC 6901, section 6).
        let decoded = percent_encoding::percent_decode_str(target).decode_utf8_lossy().into_owned();
        let found = self.root.at(&decoded);
        if found.is_none() {
            self.is_bad(BadDocument::Missing { at, target: shown(text) });
        }
        let found = found.map(|node| (node, format!("#{decoded}")))?;
        if !self.used.borrow().contains(&found.1) {
            self.used.borrow_mut().insert(found.1.clone());
        }
        Some(found)
    }

    /// The end of a chain of references; only for what is no schema.
    fn resolve<'d>(&'d self, node: &'d Arc<Node>, pointer: &str) -> Option<(&'d Arc<Node>, String)> {
        let mut here = (node, pointer.to_owned());
        for _ in 0..HOPS_MAX {
            if here.0.get("$ref").is_none() {
                return Some(here);
            }
            here = self.target(here.0, &here.1)?;
        }
        self.is_bad(BadDocument::Circle { at: pointer.to_owned() });
        None
    }

    /// All operations, in the order of the document.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        for (name, why) in
            [("webhooks", "webhooks go out of the upstream, not through the gateway"), ("x-webhooks", "webhooks go out of the upstream")]
        {
            if self.root.get(name).is_some() {
                self.leave_out(&format!("#/{name}"), why);
            }
        }
        let mut found = Vec::new();
        for (path, item) in self.root.get("paths").map_or(&[][..], |paths| paths.members()) {
            if path.starts_with("x-") {
                continue;
            }
            let pointer = below("#/paths", path);
            let Some((item, pointer)) = self.resolve(item, &pointer) else { continue };
            self.path_item(path, item, &pointer, &mut found);
        }
        found
    }

    fn path_item(&self, path: &str, item: &Arc<Node>, pointer: &str, found: &mut Vec<Operation>) {
        let shared = self.parameters(item, pointer);
        for (key, node) in item.members() {
            let at = below(pointer, key);
            match key.as_str() {
                "summary" | "description" | "parameters" => {}
                "servers" => self.leave_out(&at, "servers of one path: a route goes where its API goes"),
                method if METHODS.contains(&method) => found.extend(self.operation(method, path, node, &at, &shared)),
                "head" => self.leave_out(&at, "HEAD is answered by the GET route"),
                method if OTHER_METHODS.contains(&method) => self.leave_out(&at, format!("{} has no routes", method.to_uppercase())),
                extension if extension.starts_with("x-") => {}
                _ => self.leave_out(&at, "not known here"),
            }
        }
    }

    fn operation(&self, method: &str, path: &str, node: &Arc<Node>, pointer: &str, shared: &[Parameter]) -> Option<Operation> {
        let method = match method {
            "get" => "GET",
            "put" => "PUT",
            "post" => "POST",
            "patch" => "PATCH",
            _ => "DELETE",
        };
        if !node.is_object() {
            self.leave_out(pointer, "this is no operation");
            return None;
        }
        for (key, why) in [
            ("callbacks", "callbacks go out of the upstream, not through the gateway"),
            ("servers", "servers of one operation: a route goes where its API goes"),
        ] {
            if node.get(key).is_some() {
                self.leave_out(&below(pointer, key), why);
            }
        }
        // An operation's own parameter takes the place of the path's.
        let mut parameters = self.parameters(node, pointer);
        let others = shared.iter().filter(|s| !parameters.iter().any(|own| own.name == s.name && own.place == s.place));
        parameters = others.cloned().collect::<Vec<_>>().into_iter().chain(parameters).collect();
        let at = below(pointer, "requestBody");
        let body = node.get("requestBody").and_then(|body| self.resolve(body, &at));
        let request = body.as_ref().and_then(|(body, at)| self.content(body, at, "the body of this request").0);
        Some(Operation {
            method,
            path: path.to_owned(),
            pointer: pointer.to_owned(),
            node: Arc::clone(node),
            id: node.get("operationId").and_then(|id| id.text()).map(str::to_owned),
            parameters,
            takes_body: body.is_some(),
            request,
            responds: self.responds(node, pointer),
        })
    }

    fn parameters(&self, node: &Node, pointer: &str) -> Vec<Parameter> {
        let list = below(pointer, "parameters");
        let mut found = Vec::new();
        for (n, item) in node.get("parameters").map_or(&[][..], |list| list.items()).iter().enumerate() {
            let Some((item, pointer)) = self.resolve(item, &format!("{list}/{n}")) else { continue };
            let text = |name: &str| item.get(name).and_then(|v| v.text()).map(str::to_owned);
            let (Some(name), Some(place)) = (text("name"), text("in")) else {
                self.leave_out(&pointer, "a parameter without `name` or `in`");
                continue;
            };
            let schema = item.get("schema").and_then(|schema| self.resolve(schema, &below(&pointer, "schema"))).map(|(node, _)| Arc::clone(node));
            found.push(Parameter { name, place, node: Arc::clone(item), schema, pointer });
        }
        found
    }

    /// The JSON form of a `content` map, and its other types.
    fn content(&self, node: &Node, pointer: &str, what: &str) -> (Option<Body>, Vec<String>) {
        let at = below(pointer, "content");
        let types = node.get("content").map_or(&[][..], |content| content.members());
        let essence = |name: &str| name.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let chosen = types
            .iter()
            .find(|(name, _)| essence(name) == "application/json")
            .or_else(|| types.iter().find(|(name, _)| is_schema_of_json(&essence(name))));
        let others: Vec<String> = types.iter().filter(|(name, _)| Some(name) != chosen.map(|(c, _)| c)).map(|(name, _)| shown(name)).collect();
        if !others.is_empty() && chosen.is_some() {
            self.leave_out(&at, format!("{what} also as {}: only JSON is read", others.join(", ")));
        }
        let body = chosen.and_then(|(name, media)| {
            let pointer = below(&below(&at, name), "schema");
            let schema = media.get("schema");
            if schema.is_none() {
                self.leave_out(&below(&at, name), format!("{what} has no schema"));
            }
            Some(Body { schema: Arc::clone(schema?), pointer, content_type: essence(name) })
        });
        (body, others)
    }

    /// The first success of 200, 201, another 2xx, `2XX`, `default`.
    fn responds(&self, node: &Node, pointer: &str) -> Responds {
        let at = below(pointer, "responses");
        let all = node.get("responses").map_or(&[][..], |responses| responses.members());
        let errors = all.iter().filter(|(status, _)| status.starts_with(['4', '5'])).count();
        self.error_answers.set(self.error_answers.get() + errors);
        let is_success = |status: &str| status.len() == 3 && status.starts_with('2');
        let ranks: [&dyn Fn(&str) -> bool; 4] = [&|s| s == "200", &|s| s == "201", &is_success, &|s| s == "default"];
        let Some((status, response)) = ranks.iter().find_map(|fits| all.iter().find(|(status, _)| fits(status))) else { return Responds::Unsaid };
        let others: Vec<&str> = all.iter().map(|(s, _)| s.as_str()).filter(|other| is_success(other) && other != status && *other != "204").collect();
        if !others.is_empty() {
            self.leave_out(&at, format!("answers with status {}: the route is made from {status}", others.join(", ")));
        }
        let Some((response, pointer)) = self.resolve(response, &below(&at, status)) else { return Responds::Unsaid };
        for name in ["links", "headers"] {
            if response.get(name).is_some() {
                let why = if name == "links" { "links are not followed" } else { "headers of an answer pass only if `response_headers` lists them" };
                self.leave_out(&below(&pointer, name), why);
            }
        }
        match self.content(response, &pointer, "the answer") {
            (Some(body), _) => Responds::Json(body),
            (None, others) if !others.is_empty() => Responds::Other(others),
            (None, _) if response.get("content").is_some_and(|content| !content.members().is_empty()) => Responds::Unsaid,
            (None, _) => Responds::Empty,
        }
    }
}
