//! Routes of a draft: one for each operation that can be judged. What a route cannot say is left out and named, since whatever is not
//! declared is answered with 404.

use std::collections::BTreeSet;

use http::HeaderName;

use super::import::{Import, grammar, one_of};
use super::text::{line, list, quoted, shown, words};
use crate::catalog::Template;
use crate::model::{PathPattern, Step};
use crate::openapi::{Body, Node, Operation, Parameter, Responds};

/// All routes as text, and what hangs between them.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) routes: Vec<String>,
    pub(super) left_out: Vec<(String, String)>,
    pub(super) request_headers: BTreeSet<String>,
    pub(super) response_headers: BTreeSet<String>,
}

/// Lines of one route.
#[derive(Default)]
struct Lines {
    text: String,
    /// `[api.route.query]`, which comes last.
    query: String,
}

impl Lines {
    fn push(&mut self, text: &str, comment: &str) {
        self.text.push_str(&line(text, comment));
    }
}

/// What a route answers, as far as the rest of it depends on that.
struct Answer {
    text: String,
    comment: String,
    /// The shape by which it is cut.
    shape: Option<String>,
    is_list: bool,
}

pub(super) fn write(import: &mut Import<'_>, operations: &[Operation]) -> Written {
    let mut written = Written::default();
    let mut before: Vec<(&str, Template, &str)> = Vec::new();
    for operation in operations {
        let named = |why: String| (format!("{} {} ({})", operation.method, operation.path, operation.pointer), why);
        let template = match Template::parse(&operation.path) {
            Ok(template) => template,
            Err(why) => {
                written.left_out.push(named(why));
                continue;
            }
        };
        if let Some((_, _, other)) = before.iter().find(|(method, known, _)| *method == operation.method && known.shadows(&template)) {
            written.left_out.push(named(format!("no path tells it from `{other}`")));
            continue;
        }
        match route(import, operations, operation, &template, &mut written) {
            Ok(text) => {
                before.push((operation.method, template, &operation.path));
                written.routes.push(text);
            }
            Err(why) => written.left_out.push(named(why)),
        }
    }
    written
}

fn route(import: &mut Import<'_>, all: &[Operation], operation: &Operation, template: &Template, written: &mut Written) -> Result<String, String> {
    let writes = operation.method != "GET";
    let customer = marked_parameter(operation, template)?;
    let answer = answer(import, operation, customer.is_some())?;
    let mut lines = Lines::default();
    let about = operation.id.clone().unwrap_or_default();
    let deprecated = operation.node.get("deprecated").is_some_and(|d| matches!(&**d, Node::Bool(true)));
    lines.push("[[api.route]]", &format!("{about}{}", if deprecated { "; deprecated" } else { "" }));
    lines.push(&format!("match = {}", quoted(&format!("{} {template}", operation.method))), "");
    let request = if writes { Some(request(import, all, operation)?) } else { None };
    let shape = answer.shape.clone().or_else(|| request.as_ref().and_then(|(shape, _)| shape.clone()));
    let created = whose(import, operation, customer, shape.as_deref(), &answer, &mut lines);
    if let Some((shape, comment)) = request {
        lines.push(&format!("request = {{ shape = {} }}", quoted(shape.as_deref().unwrap_or("?"))), &comment);
    }
    match created {
        Some(open) => lines.push(&format!("response = {{ open = {open} }}"), "of what a create answers only its id: nobody has consented yet"),
        None => lines.push(&format!("response = {}", answer.text), &answer.comment),
    }
    parameters(import, operation, customer, answer.shape.is_some(), &mut lines, written);
    for key in ["x-consentry-purpose", "x-consentry-category", "x-consentry-on-deny"] {
        if operation.node.get(key).is_some() {
            import.document.leave_out(&crate::openapi::below(&operation.pointer, key), "purposes stand at the API, categories at members");
        }
    }
    let query = if lines.query.is_empty() { String::new() } else { format!("[api.route.query]\n{}", lines.query) };
    Ok(format!("{}{query}", lines.text))
}

/// The parameter that is marked as the id of the customer.
fn marked_parameter<'o>(operation: &'o Operation, template: &Template) -> Result<Option<&'o Parameter>, String> {
    let marked: Vec<&Parameter> = operation.parameters.iter().filter(|p| mark(p).is_some()).collect();
    match marked.as_slice() {
        [] => Ok(None),
        [one] if one.place == "path" && !template.params().any(|name| name == one.name) => {
            Err(format!("its path has no parameter `{}`", shown(&one.name)))
        }
        [one] => Ok(Some(one)),
        _ => Err("two of its parameters are marked as the id of the customer".to_owned()),
    }
}

/// The id space of a mark, if it names one.
fn mark(parameter: &Parameter) -> Option<Option<String>> {
    let said = |node: &Node| match node.get("x-consentry-customer-id").map(|mark| &**mark) {
        Some(Node::Bool(true)) => Some(None),
        Some(Node::Text(space)) if !space.is_empty() => Some(Some(space.clone())),
        Some(Node::Null | Node::Bool(false) | Node::Number(_) | Node::Text(_) | Node::List(_) | Node::Object(_)) | None => None,
    };
    said(&parameter.node).or_else(|| parameter.schema.as_ref().and_then(|schema| said(schema)))
}

fn answer(import: &mut Import<'_>, operation: &Operation, names_customer: bool) -> Result<Answer, String> {
    let writes = operation.method != "GET";
    let fallback = operation.id.clone().unwrap_or_else(|| operation.path.replace(['{', '}'], ""));
    let empty = |comment: &str| Answer { text: "\"empty\"".to_owned(), comment: comment.to_owned(), shape: None, is_list: false };
    match &operation.responds {
        Responds::Json(body) => {
            let is_one = operation.path.rsplit('/').next().is_some_and(|last| last.contains('{')) || writes;
            let rows = if is_one { None } else { import.document.rows(&body.schema, &body.pointer) };
            let rows = rows.or_else(|| import.document.rows(&body.schema, &body.pointer).filter(|(path, _, _)| path.0.len() == 1));
            if let Some((rows, items, at)) = rows {
                return list_answer(import, body, &rows, &items, &at, &fallback);
            }
            let Some(shape) = import.shape(&body.schema, &body.pointer, &fallback, true) else {
                return Err("its answer is no object: a shape cannot map it".to_owned());
            };
            let trusts = names_customer && import.customers_of(&shape).0.is_empty();
            let comment = if trusts { "does the answer not say whose it is: add `subject = \"request\"`" } else { "" };
            Ok(Answer { text: format!("{{ shape = {} }}", quoted(&shape)), comment: comment.to_owned(), shape: Some(shape), is_list: false })
        }
        Responds::Empty if writes => Ok(empty("")),
        Responds::Unsaid if writes => Ok(empty("the document does not say what comes back; a body would be withheld")),
        Responds::Empty | Responds::Unsaid => Err("the document does not say what comes back".to_owned()),
        Responds::Other(types) => Err(format!(
            "it answers as {}: only JSON can be cut; what holds no customer data passes a route with `customer = \"none\"`",
            types.join(", ")
        )),
    }
}

fn list_answer(
    import: &mut Import<'_>,
    body: &Body,
    rows: &PathPattern,
    items: &std::sync::Arc<Node>,
    at: &str,
    fallback: &str,
) -> Result<Answer, String> {
    let Some(shape) = import.shape(items, at, &format!("{fallback} row"), true) else {
        return Err("the rows of its list are no objects".to_owned());
    };
    // Beside the rows: what counts or leads on is removed, since it tells of rows that are dropped.
    let within = |path: &PathPattern| path.0.starts_with(rows.0.split_last().map_or(&[][..], |(_, list)| list));
    let members = if rows.0.len() > 1 { import.document.members(&body.schema, &body.pointer).0 } else { Vec::new() };
    let (mut counts, mut withheld) = (Vec::new(), Vec::new());
    for member in members.iter().filter(|m| !within(&m.path)) {
        let last = if let Some(Step::Member(name)) = member.path.0.last() { words(name) } else { Vec::new() };
        if last.iter().any(|word| PAGING.contains(&word.as_str())) {
            counts.push(format!("{} = \"remove\"", super::text::path(&member.path)));
        } else {
            withheld.push(member.path.to_string());
        }
    }
    let counts_text = if counts.is_empty() { String::new() } else { format!(", counts = {{ {} }}", counts.join(", ")) };
    let text = format!("{{ rows = {}, shape = {}{counts_text} }}", super::text::path(rows), quoted(&shape));
    let mut comment = Vec::new();
    if !counts.is_empty() {
        comment.push("a total may be \"rows\"".to_owned());
    }
    if !withheld.is_empty() {
        comment.push(format!("withheld beside the rows: {}", withheld.join(", ")));
    }
    Ok(Answer { text, comment: comment.join("; "), shape: Some(shape), is_list: true })
}

const PAGING: [&str; 13] = ["total", "count", "size", "next", "prev", "previous", "first", "last", "cursor", "page", "pages", "offset", "more"];

/// The shape that is written, and a word about it.
fn request(import: &mut Import<'_>, all: &[Operation], operation: &Operation) -> Result<(Option<String>, String), String> {
    if let Some(body) = &operation.request {
        let fallback = operation.id.clone().unwrap_or_else(|| operation.path.replace(['{', '}'], ""));
        return match import.shape(&body.schema, &body.pointer, &format!("{fallback} request"), false) {
            Some(shape) if body.content_type == "application/json" || body.content_type.contains("merge-patch") => Ok((Some(shape), String::new())),
            Some(_) => Err(format!("it takes `{}`", shown(&body.content_type))),
            None => Err("what it takes is no object".to_owned()),
        };
    }
    if operation.takes_body {
        return Err("it takes no JSON".to_owned());
    }
    // What is deleted, or changed without a body, is what a read of the same path answers.
    let read = all.iter().find(|other| other.method == "GET" && other.path == operation.path);
    let shape = read
        .and_then(|read| if let Responds::Json(body) = &read.responds { import.shape(&body.schema, &body.pointer, "unnamed", false) } else { None });
    let comment = if shape.is_some() { "what the GET of this path answers" } else { "the shape of what this changes" };
    Ok((shape, comment.to_owned()))
}

/// Writes `customer`; a create whose answer names the new customer gives what of it is open.
fn whose(
    import: &mut Import<'_>,
    operation: &Operation,
    customer: Option<&Parameter>,
    shape: Option<&str>,
    answer: &Answer,
    lines: &mut Lines,
) -> Option<String> {
    let writes = operation.method != "GET";
    let space_of_shape = shape.and_then(|shape| import.customers_of(shape).1).map(str::to_owned);
    if let Some(parameter) = customer {
        let nothing = Node::Null;
        let marked = mark(parameter).flatten();
        let space = import.space(marked.as_deref(), parameter.schema.as_deref().unwrap_or(&nothing), &parameter.pointer);
        if writes && parameter.place != "path" {
            lines.push("customer = \"?\"", "`path:…`, or `lookup = \"GET …\"`: what stands elsewhere proves nothing about the record written");
            return None;
        }
        lines.push(&format!("customer = {}", quoted(&format!("{}:{}", parameter.place, parameter.name))), "marked in the document");
        if space_of_shape.as_deref() != Some(space.as_str()) {
            lines.push(&format!("ids = {}", quoted(&space)), "");
        }
        return None;
    }
    if !writes {
        return None;
    }
    let is_create = operation.method == "POST" && !operation.path.contains('{');
    if !is_create {
        lines.push("customer = \"?\"", "`path:…` when the path names the customer, else `lookup = \"GET …\"`");
        return None;
    }
    let (marked, space) = answer.shape.as_deref().map_or((&[][..], None), |shape| import.customers_of(shape));
    if let ([one], Some(space), false) = (marked, space, answer.is_list)
        && one.0.len() == 1
    {
        let (id, open, space) = (format!("new:response:{one}"), list([one.to_string().as_str()]), space.to_owned());
        lines.push(&format!("customer = {}", quoted(&id)), "its answer names the new customer; a POST that only asks is `action = \"read\"`");
        lines.push(&format!("ids = {}", quoted(&space)), "");
        return Some(open);
    }
    lines.push(
        "customer = \"?\"",
        "`new:response:…` for a new customer; a POST that only asks is `action = \"read\"` with `request = { params = … }`",
    );
    (answer.shape.is_some() && !answer.is_list).then(|| list(["?"]))
}

fn parameters(import: &Import<'_>, operation: &Operation, customer: Option<&Parameter>, has_shape: bool, lines: &mut Lines, written: &mut Written) {
    for parameter in &operation.parameters {
        match parameter.place.as_str() {
            _ if customer.is_some_and(|c| c.name == parameter.name && c.place == parameter.place) => {}
            "path" => {}
            "query" => {
                let (rule, comment) = query(parameter, has_shape);
                lines.query.push_str(&line(&format!("{} = {rule}", quoted(&parameter.name)), &comment));
            }
            "header" => {
                let plain = HeaderName::from_bytes(parameter.name.as_bytes()).map(|name| name.to_string());
                match plain {
                    Ok(name) => drop(written.request_headers.insert(name)),
                    Err(_not_one) => import.document.leave_out(&parameter.pointer, "this is not a header name"),
                }
            }
            "cookie" => import.document.leave_out(&parameter.pointer, "cookies are never passed on"),
            _ => import.document.leave_out(&parameter.pointer, "this place of a parameter is not known"),
        }
    }
    let responses = operation.node.get("responses").map_or(&[][..], |r| r.members());
    let headers = responses.iter().filter(|(status, _)| status.starts_with('2')).filter_map(|(_, r)| r.get("headers")).flat_map(|h| h.members());
    written.response_headers.extend(headers.filter_map(|(name, _)| HeaderName::from_bytes(name.as_bytes()).ok()).map(|name| name.to_string()));
}

/// How a parameter is judged. Which values it takes is in the document, what it selects by is not: a filter on a birth date tells
/// birth dates, whatever its grammar.
fn query(parameter: &Parameter, has_shape: bool) -> (String, String) {
    let nothing = Node::Null;
    let schema = parameter.schema.as_deref().unwrap_or(&nothing);
    let fields = if has_shape { ", fields = [\"?\"]" } else { "" };
    let kind = schema.get("type").and_then(|t| t.text()).unwrap_or_default();
    let selects = "the fields that it selects or sorts by; none: remove `fields`";
    let proposed = super::proposals::proposal(&[&parameter.name], "").map(|p| format!("; {p}")).unwrap_or_default();
    if !has_shape || kind == "array" || kind == "object" || parameter.node.get("content").is_some() {
        let what = if kind.is_empty() { String::new() } else { format!("{kind}; ") };
        return ("\"?\"".to_owned(), format!("{what}\"free\", the fields it selects by, `{{ one_of = […] }}` or `{{ grammar = \"…\" }}`{proposed}"));
    }
    match (one_of(schema), grammar(schema)) {
        (Some(values), _) => (format!("{{ one_of = {}{fields} }}", list(values.iter().map(String::as_str))), format!("{selects}{proposed}")),
        (None, Some(grammar)) => (format!("{{ grammar = {}{fields} }}", quoted(&grammar)), format!("{selects}{proposed}")),
        (None, None) => {
            ("\"?\"".to_owned(), format!("\"free\", the fields it selects by, `{{ one_of = […] }}` or `{{ grammar = \"…\" }}`{proposed}"))
        }
    }
}
