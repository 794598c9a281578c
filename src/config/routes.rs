//! Governed: one route. Its method and path, what is done, whose data it is, which parameters it takes, what comes back.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::apis::{department, place};
use super::customer::Rules;
use super::graphql;
use super::params;
use super::read::Value;
use super::response;
use super::shapes::Names;
use crate::catalog::{Accepts, Catalog, Customer, Param, Route, Template};
use crate::model::{Action, BodyKind, BodyType, PathPattern, RequestPlan, ResponsePlan, RouteKey, Step, Subject};

const METHODS: [(&str, Method); 5] =
    [("GET", Method::GET), ("POST", Method::POST), ("PUT", Method::PUT), ("PATCH", Method::PATCH), ("DELETE", Method::DELETE)];
const ACTIONS: [(&str, Action); 5] =
    [("read", Action::Read), ("create", Action::Create), ("update", Action::Update), ("delete", Action::Delete), ("export", Action::Export)];

/// Longest time that callers may keep an answer without customer data.
const CACHE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A route whose `lookup`, if it has one, is not resolved yet. `route` is `None` after a mistake.
pub(super) struct Draft<'a> {
    /// The value of `match`.
    pub(super) head: Value<'a>,
    pub(super) method: Method,
    pub(super) template: Template,
    pub(super) key: RouteKey,
    pub(super) lookup: Option<Value<'a>>,
    pub(super) route: Option<Route>,
}

/// `request = { shape = … }` or `{ params = … }`.
pub(super) struct Request<'a> {
    pub(super) plan: Option<RequestPlan>,
    pub(super) params: Option<Value<'a>>,
}

pub(super) fn draft<'a>(value: Value<'a>, names: &Names<'_>, catalog: &Catalog) -> Option<Draft<'a>> {
    let mut table = value.table("`[[api.route]]`")?;
    if let Some(declared) = table.opt("graphql") {
        return graphql::draft(table, declared, names, catalog);
    }
    let head = table.need("match");
    let parsed = head.and_then(parse_head);
    let action = table.opt("action");
    let request_place = table.opt("request");
    let request = request_place.map(|v| request(v, parsed.as_ref().map(|(method, _)| method), names, catalog));
    let response_place = table.opt("response");
    let (response, error) = response_place.and_then(|v| response::read(v, names, catalog)).unzip();
    // Without a response that can be read, field names of parameters cannot be judged.
    let known = response.as_ref().map(ResponsePlan::shape);
    let query = table.opt("query").map_or_else(|| Some(Vec::new()), |v| params::read(v, known));
    let searched = request.as_ref().and_then(Option::as_ref).and_then(|r| r.params);
    let search = searched.map(|v| params::read(v, known));
    let ids = table.opt("ids").map(|v| names.space(v));
    let customer_place = table.opt("customer");
    let lookup = table.opt("lookup");
    let departments_place = table.opt("departments");
    let cache_place = table.opt("cache");
    let cache = cache_place.map(cache);
    let departments = departments_place.map_or_else(|| Some(Vec::new()), |v| v.each(|item| department(item, names)));
    table.later(&["when", "dialect", "stream", "budget", "mode", "report"]);
    let place = place(table.cx, table.span.clone());
    table.finish();
    if let Some(empty) = departments_place.filter(|v| v.list_is_empty()) {
        empty.error_help("`departments` is empty: nobody could call", "leave it out, or name the departments");
    }

    let head = head?;
    let (method, template) = parsed?;
    let key = RouteKey::intern(&format!("{method} {template}"));
    let action = match action {
        Some(written) => written.word("action", &ACTIONS).filter(|action| fits(written, &method, *action)),
        None => Some(default_action(&method)),
    };
    let rules = Rules {
        route: value,
        key,
        method: &method,
        template: &template,
        action: action.unwrap_or_else(|| default_action(&method)),
        request_place,
        request: request.as_ref().and_then(Option::as_ref),
        response_place,
        response: response.as_ref(),
        has_departments: departments_place.is_some(),
        ids,
        names,
    };
    let customer = rules.customer(customer_place, lookup);
    rules.bodies(customer.as_ref());
    if let (Some(place), Some(Some(error)), Some(customer)) = (response_place, &error, &customer) {
        error_subject(place, error, customer, lookup.is_some());
    }
    if let Some(place) = cache_place.filter(|_| customer.as_ref().is_some_and(|customer| !matches!(customer, Customer::None))) {
        place.error_help("`cache` stands on a route about customers", "a kept answer asks nobody; only routes with `customer = \"none\"` have it");
    }

    let route = (|| {
        let (mut params, mut search) = (query?, search.map_or(Some(None), |read| read.map(Some))?);
        let (customer, mut plan) = (customer?, response?);
        // The parameter that names the customer is declared by doing so; its value is judged by the id space.
        if let Customer::Query { param, .. } = &customer {
            declare(&mut params, param);
        }
        if let (Customer::Request { path: PathPattern(steps), .. }, Some(search)) = (&customer, &mut search)
            && let [Step::Member(name)] = steps.as_slice()
        {
            declare(search, name);
        }
        if let (Customer::Response { .. }, ResponsePlan::Object { subject, .. }) = (&customer, &mut plan) {
            *subject = Subject::Request;
        }
        let records_max = if let ResponsePlan::Rows { rows_max, .. } = &plan { *rows_max } else { None };
        let request = request.map_or(Some(None), |read| read.map(|r| r.plan))?;
        Some(Route {
            key,
            method: method.clone(),
            template: template.clone(),
            action: action?,
            customer,
            params,
            request,
            search,
            response: plan,
            error: error?,
            cache: cache.map_or(Some(None), |read| read.map(Some))?,
            graphql: None,
            departments: departments?,
            records_max,
            place,
        })
    })();
    Some(Draft { head, method, template, key, lookup, route })
}

/// What callers may keep goes on when policies have changed, so not for long.
fn cache(value: Value<'_>) -> Option<Duration> {
    let found = value.duration()?;
    let is_right = (Duration::from_secs(1)..=CACHE_MAX).contains(&found);
    if !is_right {
        value.error_help("this cannot be kept so long", "from `1s` to `24h`");
    }
    is_right.then_some(found)
}

/// An error body with a shape says whose it is, or the request does: else it would always be replaced.
fn error_subject(place: Value<'_>, error: &ResponsePlan, customer: &Customer, is_looked_up: bool) {
    let ResponsePlan::Object { shape, subject, .. } = error else { return };
    let is_named = is_looked_up || !matches!(customer, Customer::Answer | Customer::New { .. } | Customer::Response { .. } | Customer::None);
    match subject {
        Subject::Answer if shape.customer.is_empty() => place.error_help(
            format!("the shape `{}` does not say whose error this is", shape.name),
            format!("add `customer` to `[shape.{}]`, or `subject = \"request\"` to `error`", shape.name),
        ),
        Subject::Request if !is_named => {
            place.error_help("`subject = \"request\"` in `error`, but the request names nobody", "remove it, or declare `open` members");
        }
        Subject::Answer | Subject::Request => {}
    }
}

fn declare(params: &mut Vec<Param>, name: &str) {
    if !params.iter().any(|param| param.name == name) {
        params.push(Param { name: name.to_owned(), accepts: Accepts::Any, categories: Vec::new() });
    }
}

pub(super) fn parse_head(value: Value<'_>) -> Option<(Method, Template)> {
    let text = value.str()?;
    let Some((method, path)) = text.split_once(' ') else {
        value.error_help("this is not a method and a path", "write `GET /customers/{id}`");
        return None;
    };
    let Some((_, method)) = METHODS.iter().find(|(name, _)| *name == method) else {
        let help = if method == "HEAD" { "HEAD is answered by the GET route" } else { "known here: GET, POST, PUT, PATCH, DELETE" };
        value.error_help(format!("unknown method `{method}`"), help);
        return None;
    };
    let template = Template::parse(path).map_err(|problem| value.error(problem)).ok()?;
    Some((method.clone(), template))
}

fn default_action(method: &Method) -> Action {
    match method.as_str() {
        "POST" => Action::Create,
        "PUT" | "PATCH" => Action::Update,
        "DELETE" => Action::Delete,
        _ => Action::Read,
    }
}

/// A method that changes something cannot be judged as a read, but a POST may ask.
fn fits(place: Value<'_>, method: &Method, action: Action) -> bool {
    let allowed: &[Action] = match method.as_str() {
        "GET" => &[Action::Read, Action::Export],
        "PUT" => &[Action::Update, Action::Create],
        "PATCH" => &[Action::Update],
        "DELETE" => &[Action::Delete],
        _ => &[Action::Create, Action::Read, Action::Export, Action::Update, Action::Delete],
    };
    let fits = allowed.contains(&action);
    if !fits {
        let names: Vec<String> = allowed.iter().map(|a| format!("`{a}`")).collect();
        place.error_help(format!("`{method}` cannot be judged as `{action}`"), format!("possible: {}", names.join(", ")));
    }
    fits
}

/// `method`: `None` after a mistake.
fn request<'a>(value: Value<'a>, method: Option<&Method>, names: &Names<'_>, catalog: &Catalog) -> Option<Request<'a>> {
    let mut table = value.table("`request`")?;
    let shape = table.opt("shape");
    let params = table.opt("params");
    let types_place = table.opt("types");
    let masked = table.opt("masked");
    let put = table.opt("put");
    table.finish();
    let masked_drop = masked.map_or(Some(false), |v| v.word("rule", &[("refuse", false), ("drop", true)]));
    let put_merge = put.map_or(Some(false), |v| v.word("rule", &[("replace", false), ("merge", true)]));
    match (shape, params) {
        (Some(shape), None) => {
            let types = types(types_place, method);
            let name = names.shape(shape)?;
            let shape = Arc::clone(catalog.shapes.get(&name)?);
            Some(Request { plan: Some(RequestPlan { shape, types: types?, masked_drop: masked_drop?, put_merge: put_merge? }), params: None })
        }
        (None, Some(params)) => {
            for place in [types_place, masked, put].into_iter().flatten() {
                place.error("this belongs to a written `shape`, not to `params`");
            }
            Some(Request { plan: None, params: Some(params) })
        }
        _ => {
            value.error("a request has either a `shape`, which is written, or `params`, which only select");
            None
        }
    }
}

/// The content types that a written body may have.
fn types(place: Option<Value<'_>>, method: Option<&Method>) -> Option<Vec<BodyType>> {
    let is_deletion = method == Some(&Method::DELETE);
    let Some(place) = place else {
        return Some(if is_deletion { Vec::new() } else { vec![BodyType::json()] });
    };
    if is_deletion {
        place.error_help("a DELETE has no body", "remove `types`: the shape says what is deleted");
        return None;
    }
    let items = place.list()?;
    if items.is_empty() {
        place.error_help("`types` is empty: nothing could be written", "leave it out for `application/json` alone, or name the types");
        return None;
    }
    let mut found: Vec<BodyType> = Vec::new();
    for item in items {
        let text = item.str()?;
        let Some(read) = BodyType::parse(text) else {
            item.unknown("content type", text, TYPES.into_iter());
            return None;
        };
        let is_patch = matches!(read.kind, BodyKind::MergePatch | BodyKind::JsonPatch);
        if is_patch && method.is_some_and(|method| method != Method::PATCH) {
            item.error_help(format!("`{text}` belongs to a PATCH route"), "it says what changes, not what is to stand there");
            return None;
        }
        if found.contains(&read) {
            item.error(format!("`{text}` is declared twice"));
            return None;
        }
        found.push(read);
    }
    Some(found)
}

/// Those that are read as what they say; other names `application/…+json` are read as JSON.
const TYPES: [&str; 5] =
    ["application/json", "application/merge-patch+json", "application/json-patch+json", "application/x-www-form-urlencoded", "multipart/form-data"];
