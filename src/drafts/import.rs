//! `consentry import openapi`: the file `apis/NAME.toml` for an API that has a document. Shapes come from the schemas of answers and
//! written bodies, routes from operations (`routes.rs`).
//!
//! What a mark in the document says is taken (`x-consentry-category`, `-on-deny`, `-customer-id`, `-purpose`): whoever owns the API wrote
//! it, and the file is reviewed and signed like any other. `x-data-classification` speaks of other classes than the house's
//! catalogue: it becomes a category only where the caller says which.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::routes::{self, Written};
use super::text::{about, key, line, list, path, quoted, shown};
use crate::catalog::Accepts;
use crate::model::{PathPattern, Step};
use crate::openapi::{BadDocument, Document, Identity, Member, Members, Node, What};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct ImportQuestion<'q> {
    /// Name of the API.
    pub api: &'q str,
    pub owner: &'q str,
    pub upstream: &'q str,
    /// Path under which apps will find it.
    pub at: &'q str,
    /// The document's name, for the first line.
    pub source: &'q str,
    /// `x-data-classification` to category, as the caller says.
    pub classes: &'q BTreeMap<String, String>,
}

/// The draft.
#[derive(Clone, Debug)]
pub struct Drafted {
    pub text: String,
    /// What of the document is not in it, with its place.
    pub left_out: Vec<(String, String)>,
    pub shapes: usize,
    pub routes: usize,
    /// Places that are `?`.
    pub open: usize,
}

/// Drafts the file of an API.
///
/// # Errors
/// Everything for which the document cannot be used.
pub fn import(document: Document, question: &ImportQuestion<'_>) -> Result<Drafted, Vec<BadDocument>> {
    let title = document.said("/info/title").unwrap_or_default();
    let version = document.said("/info/version").unwrap_or_default();
    let servers: Vec<String> = document.root().get("servers").map_or(&[][..], |s| s.items()).iter().filter_map(|s| s.get("url")?.scalar()).collect();
    let mut import = Import {
        document: &document,
        question,
        shapes: Vec::new(),
        by_place: BTreeMap::new(),
        building: Vec::new(),
        spaces: BTreeMap::new(),
        taken: BTreeSet::new(),
    };
    let operations = document.operations();
    if operations.is_empty() {
        document.leave_out("#/paths", "there is no operation: the draft has no route");
    }
    let written = routes::write(&mut import, &operations);
    import.leave_out_unused();
    let purpose = import.purpose();
    let body = import.body(&written, purpose.as_deref());
    let (shapes, routes) = (import.shapes.len(), written.routes.len());
    let mut left_out = written.left_out.clone();
    left_out.extend(document.finish()?);
    let text = format!("{}{body}", head(question, &title, &version, &servers, &left_out));
    let parsed: toml::Table =
        toml::from_str(&text).map_err(|error| vec![BadDocument::Syntax(format!("the draft cannot be written: {}", error.message()))])?;
    let open = parsed.values().map(open_places).sum();
    Ok(Drafted { text, left_out, shapes, routes, open })
}

fn open_places(value: &toml::Value) -> usize {
    match value {
        toml::Value::String(text) => usize::from(text == "?"),
        toml::Value::Array(items) => items.iter().map(open_places).sum(),
        toml::Value::Table(table) => table.values().map(open_places).sum(),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) | toml::Value::Datetime(_) => 0,
    }
}

fn head(question: &ImportQuestion<'_>, title: &str, version: &str, servers: &[String], left_out: &[(String, String)]) -> String {
    let named = if title.is_empty() { String::new() } else { format!(" ({title} {version})").replace(" )", ")") };
    let mut text = line(&format!("# `{}`, drafted from `{}`{}.", shown(question.api), shown(question.source), shown(&named)), "");
    text.push_str(
        "# Nothing in it gives anybody a right: policies do, by category. Where `?` stands a person has to decide, and `consentry check`\n\
         # refuses the file until somebody has. A member that carries no customer data moves from the fields to `open = […]` of its\n\
         # shape; what is not listed is withheld. An object that does not say whose it is loses `customer`, and its routes get\n\
         # `subject = \"request\"`. Routes without customer data get `customer = \"none\"`.\n\
         #\n\
         # `consentry.toml` also needs the upstream, and `include = [\"apis/*.toml\"]`:\n",
    );
    text.push_str(&line(&format!("#   [upstream.{}]", shown(question.upstream)), ""));
    let server = servers.first().map_or("https://…", String::as_str);
    let (origin, base_path) = split_server(server);
    text.push_str(&line(&format!("#   targets = [\"{}\"]", shown(origin)), ""));
    if !base_path.is_empty() {
        text.push_str(&line(&format!("#   base_path = \"{}\"", shown(base_path)), ""));
    }
    for other in servers.iter().skip(1) {
        text.push_str(&line(&format!("#   another server of the document: {}", shown(other)), ""));
    }
    if !left_out.is_empty() {
        text.push_str("#\n# Not taken over from the document:\n");
        for (at, what) in left_out {
            text.push_str(&line(&format!("# - {}: {}", shown(at), shown(what)), ""));
        }
    }
    text.push('\n');
    text
}

fn split_server(url: &str) -> (&str, &str) {
    let after = url.find("://").map_or(0, |n| n + 3);
    match url.get(after..).and_then(|rest| rest.find('/')) {
        Some(slash) => {
            let (origin, path) = url.split_at_checked(after + slash).unwrap_or((url, ""));
            (origin, path.trim_end_matches('/'))
        }
        None => (url, ""),
    }
}

pub(super) struct Import<'d> {
    pub(super) document: &'d Document,
    pub(super) question: &'d ImportQuestion<'d>,
    shapes: Vec<DraftShape>,
    by_place: BTreeMap<String, usize>,
    /// Shapes that are being made: one that embeds one of these would embed itself.
    building: Vec<String>,
    spaces: BTreeMap<String, DraftSpace>,
    taken: BTreeSet<String>,
}

struct DraftShape {
    name: String,
    place: String,
    fields: Vec<(Member, Option<String>)>,
    pub(super) customer: Vec<PathPattern>,
    /// Why `customer` is what it is.
    customer_note: String,
    space: Option<String>,
    /// An answer is cut by it, so that it has to say whose it is.
    is_answered: bool,
}

struct DraftSpace {
    grammar: Option<String>,
    note: String,
}

impl Import<'_> {
    /// The shape of a body, made if need be; `None` when the body has no members. `is_answered`: answers are cut by it.
    pub(super) fn shape(&mut self, schema: &Arc<Node>, pointer: &str, fallback: &str, is_answered: bool) -> Option<String> {
        let (place, component) = self.document.schema_name(schema, pointer);
        if let Some(shape) = self.by_place.get(&place).and_then(|n| self.shapes.get_mut(*n)) {
            shape.is_answered |= is_answered;
            return Some(shape.name.clone());
        }
        if self.building.contains(&place) {
            return None;
        }
        let Members(members) = self.document.members(schema, pointer);
        // A shape maps the members of an object, not the items of a list.
        if members.is_empty() || members.iter().any(|m| matches!(m.path.0.first(), Some(Step::Items | Step::Index(_)))) {
            return None;
        }
        let name = self.name(component.as_deref().unwrap_or(fallback));
        self.building.push(place.clone());
        let (customer, customer_note, space) = self.customer_of(&members);
        let fields = members.into_iter().filter(|m| !customer.contains(&m.path)).map(|m| self.field(m)).collect();
        self.building.pop();
        self.by_place.insert(place.clone(), self.shapes.len());
        self.shapes.push(DraftShape { name: name.clone(), place, fields, customer, customer_note, space, is_answered });
        Some(name)
    }

    /// An embedded customer's shape; a shape around it cannot be embedded once more.
    fn field(&mut self, mut member: Member) -> (Member, Option<String>) {
        let What::Other(body) = &member.what else { return (member, None) };
        let name = super::text::names(&member.path).last().copied().unwrap_or("embedded").to_owned();
        let embedded = self.shape(&body.schema.clone(), &body.pointer.clone(), &name, true);
        if embedded.is_none() {
            member.path.0.push(Step::Rest);
            member.what = What::Rest("another customer, whose shape leads back to this one");
        }
        (member, embedded)
    }

    /// Whose an object is, by the marks: its own members before those of the one object in it that has some.
    fn customer_of(&mut self, members: &[Member]) -> (Vec<PathPattern>, String, Option<String>) {
        let marked: Vec<(&Member, &Identity)> = members.iter().filter_map(|m| Some((m, m.identity.as_ref()?))).collect();
        for (member, identity) in &marked {
            self.space(identity.space.as_deref(), &identity.schema, &member.pointer);
        }
        let own: Vec<&(&Member, &Identity)> = marked.iter().filter(|(m, _)| m.path.0.len() == 1).collect();
        let (chosen, note) = match (own.as_slice(), marked.as_slice()) {
            ([], []) => return (Vec::new(), "where the id of the customer stands; no member is marked `x-consentry-customer-id`".to_owned(), None),
            ([], [one]) => (vec![one], "marked in the document: the only customer that it names"),
            ([], several) => {
                let names: Vec<String> = several.iter().map(|(m, _)| m.path.to_string()).collect();
                return (Vec::new(), format!("whose it is; it names several customers: {}", names.join(", ")), None);
            }
            (own, _) => (own.to_vec(), "marked in the document"),
        };
        let spaces: BTreeSet<String> = chosen.iter().map(|(_, id)| self.space_name(id.space.as_deref())).collect();
        if spaces.len() > 1 {
            return (
                Vec::new(),
                format!("its customers are marked with several id spaces: {}", spaces.into_iter().collect::<Vec<_>>().join(", ")),
                None,
            );
        }
        (chosen.iter().map(|(m, _)| m.path.clone()).collect(), note.to_owned(), spaces.into_iter().next())
    }

    fn space_name(&self, marked: Option<&str>) -> String {
        marked.map_or_else(|| key(self.question.api), key)
    }

    /// The id space of a mark, with the grammar that the schema of the id has.
    pub(super) fn space(&mut self, marked: Option<&str>, schema: &Node, at: &str) -> String {
        let name = self.space_name(marked);
        let grammar = grammar(schema);
        match self.spaces.get_mut(&name) {
            None => {
                let note = if grammar.is_some() { format!("from {at}") } else { format!("the document does not say what these ids look like: {at}") };
                self.spaces.insert(name.clone(), DraftSpace { grammar, note });
            }
            // What two places say differently is open; what only one says holds.
            Some(known) => match (&known.grammar, grammar) {
                (Some(own), Some(other)) if *own != other => {
                    known.grammar = None;
                    known.note = format!("{at} says something else than another place of the document");
                }
                (None, Some(other)) if !known.note.contains("something else") => {
                    known.grammar = Some(other);
                    known.note = format!("from {at}");
                }
                (Some(_) | None, _) => {}
            },
        }
        name
    }

    fn name(&mut self, wanted: &str) -> String {
        let base = key(wanted);
        let mut name = base.clone();
        let mut n = 1;
        while !self.taken.insert(name.clone()) {
            n += 1;
            name = format!("{base}-{n}");
        }
        name
    }

    /// Paths of a shape's own customers.
    pub(super) fn customers_of(&self, shape: &str) -> (&[PathPattern], Option<&str>) {
        self.shapes.iter().find(|s| s.name == shape).map_or((&[], None), |s| (&s.customer, s.space.as_deref()))
    }

    /// What stands in the document for nothing that was read, and what the gateway does itself.
    fn leave_out_unused(&self) {
        let unused = self.document.unused_schemas();
        if !unused.is_empty() {
            self.document.leave_out("#/components/schemas", format!("no route answers or takes {}", unused.join(", ")));
        }
        if self.document.root().at("/components/securitySchemes").is_some() {
            let why = "who may call is said by clients and policies; what the upstream wants to see stands in its `credentials`";
            self.document.leave_out("#/components/securitySchemes", why);
        }
        let errors = self.document.error_answers();
        if errors > 0 {
            self.document
                .leave_out("#/paths", format!("errors that operations may answer, {errors} in all: the gateway puts its own in their place"));
        }
    }

    fn purpose(&self) -> Option<String> {
        let said = self.document.root().get("x-consentry-purpose")?;
        let words: Vec<&str> = match &**said {
            Node::Text(one) => vec![one.as_str()],
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::List(_) | Node::Object(_) => said.items().iter().filter_map(|w| w.text()).collect(),
        };
        if words.is_empty() {
            self.document.leave_out("#/x-consentry-purpose", "this is neither a purpose nor a list of them");
            return None;
        }
        Some(list(words))
    }

    fn body(&mut self, written: &Written, purpose: Option<&str>) -> String {
        let open_ids = self.shapes.iter().any(|s| s.is_answered && s.customer.is_empty());
        let own = key(self.question.api);
        if open_ids && !self.spaces.contains_key(&own) {
            self.spaces.insert(
                own,
                DraftSpace { grammar: None, note: "what the ids of customers look like in this system; the whole id must match".to_owned() },
            );
        }
        let mut text = String::new();
        if !self.spaces.is_empty() {
            text.push_str("[ids]\n");
            for (name, space) in &self.spaces {
                let grammar = space.grammar.as_deref().unwrap_or("?");
                text.push_str(&line(&format!("{name} = {{ grammar = {} }}", quoted(grammar)), &space.note));
            }
            text.push('\n');
        }
        let mut shapes: Vec<&DraftShape> = self.shapes.iter().collect();
        shapes.sort_by(|a, b| a.name.cmp(&b.name));
        for shape in shapes {
            self.shape_text(shape, &mut text);
        }
        let question = self.question;
        text.push_str("[[api]]\n");
        for (name, value) in [("name", question.api), ("owner", question.owner), ("at", question.at), ("upstream", question.upstream)] {
            text.push_str(&line(&format!("{name} = {}", quoted(value)), ""));
        }
        if let Some(purpose) = purpose {
            text.push_str(&line(&format!("purpose = {{ allow = {purpose} }}"), "x-consentry-purpose of the document; the call names one"));
        }
        for (name, headers) in [("request_headers", &written.request_headers), ("response_headers", &written.response_headers)] {
            if !headers.is_empty() {
                let headers = list(headers.iter().map(String::as_str));
                text.push_str(&line(&format!("# {name} = {headers}"), "declared in the document; none passes until it is listed"));
            }
        }
        text.push_str(&line(
            &format!("# openapi = {{ file = {}, use = \"drift\" }}", quoted(question.source)),
            "`check` then compares with the document",
        ));
        for route in &written.routes {
            text.push('\n');
            text.push_str(route);
        }
        text
    }

    fn shape_text(&self, shape: &DraftShape, text: &mut String) {
        text.push_str(&line(&format!("[shape.{}]", shape.name), &shape.place));
        match shape.customer.as_slice() {
            [] if !shape.is_answered => {}
            [] => {
                text.push_str(&line(&format!("ids = {}", quoted(&key(self.question.api))), ""));
                text.push_str(&line("customer = \"?\"", &shape.customer_note));
            }
            customers => {
                let ids = shape.space.clone().unwrap_or_else(|| key(self.question.api));
                text.push_str(&line(&format!("ids = {}", quoted(&ids)), ""));
                let paths: Vec<String> = customers.iter().map(path).collect();
                let value = if let [one] = paths.as_slice() { one.clone() } else { format!("[{}]", paths.join(", ")) };
                text.push_str(&line(&format!("customer = {value}"), &shape.customer_note));
            }
        }
        text.push_str(&line(&format!("[shape.{}.fields]", shape.name), ""));
        for (member, embedded) in &shape.fields {
            text.push_str(&self.field_text(member, embedded.as_deref()));
        }
        text.push('\n');
    }

    fn field_text(&self, member: &Member, embedded: Option<&str>) -> String {
        let name = path(&member.path);
        if let Some(shape) = embedded {
            return line(&format!("{name} = {{ embed = {} }}", quoted(shape)), &about(member, false));
        }
        let mapped = member.class.as_ref().and_then(|class| self.question.classes.get(&class.category));
        let category = member.category.as_deref().or_else(|| mapped.map(String::as_str).filter(|_| !member.contradicted));
        let shown = quoted(category.unwrap_or("?"));
        let value = match &member.on_deny {
            Some(on_deny) if ON_DENY.contains(&on_deny.as_str()) => format!("{{ category = {shown}, on_deny = {} }}", quoted(on_deny)),
            Some(_) | None => shown,
        };
        let unknown = member.on_deny.as_deref().filter(|form| !ON_DENY.contains(form));
        let unknown = unknown.map(|form| format!("; x-consentry-on-deny `{form}` is not known, so it is removed")).unwrap_or_default();
        line(&format!("{name} = {value}"), &format!("{}{unknown}", about(member, category.is_none())))
    }
}

/// What `on_deny` knows.
const ON_DENY: [&str; 7] = ["remove", "null", "error", "mask:last4", "year", "pseudonym", "generalise"];

/// Which texts a schema lets stand, when that can be said of the whole text.
pub(super) fn grammar(schema: &Node) -> Option<String> {
    let text = |name: &str| schema.get(name).and_then(|v| v.text());
    if let Some(values) = one_of(schema) {
        return Some(values.iter().map(|v| regex::escape(v)).collect::<Vec<_>>().join("|"));
    }
    if let Some(pattern) = text("pattern") {
        // A pattern of JSON Schema may match anywhere, ours is the whole.
        let whole = pattern.strip_prefix('^').and_then(|p| p.strip_suffix('$')).filter(|p| !p.ends_with('\\'));
        return whole.filter(|p| Accepts::grammar(p).is_ok()).map(str::to_owned);
    }
    let kind = schema.get("type").map(|kind| match &**kind {
        Node::List(types) => types.iter().filter_map(|t| t.text()).find(|t| *t != "null").unwrap_or_default().to_owned(),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Object(_) => kind.scalar().unwrap_or_default(),
    });
    let found = match (kind.as_deref(), text("format")) {
        (_, Some("uuid")) => "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}",
        (_, Some("date")) => "[0-9]{4}-[0-9]{2}-[0-9]{2}",
        (_, Some("date-time")) => "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})",
        (_, Some("email")) => "[^@ ]{1,64}@[^@ ]{1,190}",
        (Some("integer"), _) if schema.get("minimum").and_then(|m| m.scalar()).is_some_and(|m| !m.starts_with('-')) => "[0-9]{1,19}",
        (Some("integer"), _) => "-?[0-9]{1,19}",
        (Some("number"), _) => "-?[0-9]{1,19}(\\.[0-9]{1,19})?",
        (Some("boolean"), _) => "true|false",
        _ => return None,
    };
    Some(found.to_owned())
}

pub(super) fn one_of(schema: &Node) -> Option<Vec<String>> {
    if let Some(one) = schema.get("const").and_then(|v| v.scalar()) {
        return Some(vec![one]);
    }
    let values = schema.get("enum")?.items();
    let texts: Vec<String> = values.iter().filter(|v| !matches!(&***v, Node::Null)).map(|v| v.scalar()).collect::<Option<_>>()?;
    (!texts.is_empty()).then_some(texts)
}
