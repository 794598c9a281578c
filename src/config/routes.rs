//! Governed: one route. Its method and path, what is done, whose data it is, which parameters it takes, what comes back.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::apis::{department, place};
use super::customer::Rules;
use super::graphql;
use super::params::{self, Spoken};
use super::read::Value;
use super::shapes::Names;
use super::{response, rpc};
use crate::catalog::{Accepts, Catalog, Customer, Dialect, NameStyle, Param, Reading, Route, Template, When};
use crate::model::{Action, BodyKind, BodyType, CountRule, PathPattern, RequestPlan, ResponsePlan, RouteKey, Step, Subject};

const METHODS: [(&str, Method); 5] =
    [("GET", Method::GET), ("POST", Method::POST), ("PUT", Method::PUT), ("PATCH", Method::PATCH), ("DELETE", Method::DELETE)];
const ACTIONS: [(&str, Action); 5] =
    [("read", Action::Read), ("create", Action::Create), ("update", Action::Update), ("delete", Action::Delete), ("export", Action::Export)];

/// The value becomes part of the route's name.
const WHEN_BYTES_MAX: usize = 128;
/// Longest time that callers may keep an answer without customer data.
const CACHE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A route whose `lookup`, if it has one, is not resolved yet. `route` is `None` after a mistake.
pub(super) struct Draft<'a> {
    /// The value of `match`.
    pub(super) head: Value<'a>,
    pub(super) method: Method,
    pub(super) template: Template,
    pub(super) dialect: Dialect,
    pub(super) when: Option<When>,
    pub(super) key: RouteKey,
    pub(super) lookup: Option<Value<'a>>,
    pub(super) route: Option<Route>,
}

/// `request = { shape = … }` or `{ params = … }`; of a deletion by POST both.
pub(super) struct Request<'a> {
    pub(super) plan: Option<RequestPlan>,
    pub(super) params: Option<Value<'a>>,
}

/// `dialect`: of the API.
pub(super) fn draft<'a>(value: Value<'a>, dialect: Dialect, names: &Names<'_>, catalog: &Catalog) -> Option<Draft<'a>> {
    let mut table = value.table("`[[api.route]]`")?;
    if let Some(declared) = table.opt("graphql") {
        return graphql::draft(table, declared, names, catalog);
    }
    let head = table.need("match");
    let parsed = head.and_then(parse_head);
    let dialect = table.opt("dialect").map_or(Some(dialect), self::dialect);
    let when_place = table.opt("when");
    let when = when_place.map(when);
    let action = table.opt("action");
    let request_place = table.opt("request");
    let request = request_place.map(|v| request(v, parsed.as_ref().map(|(method, _)| method), dialect.unwrap_or_default(), names, catalog));
    let response_place = table.opt("response");
    let (mut response, error) = response_place.and_then(|v| response::read(v, names, catalog)).unzip();
    // Without a response that can be read, field names of parameters cannot be judged.
    let spoken = Spoken { shape: response.as_ref().map(ResponsePlan::shape), shapes: &catalog.shapes, dialect: dialect.unwrap_or_default() };
    let query = table.opt("query").map_or_else(|| Some(Vec::new()), |v| params::read(v, spoken));
    let resource = table.opt("type").map(|v| (v, v.str().map(str::to_owned)));
    let reading = reading(spoken, resource.as_ref());
    let searched = request.as_ref().and_then(Option::as_ref).and_then(|r| r.params);
    let search = searched.map(|v| params::read(v, spoken));
    let ids = table.opt("ids").map(|v| names.space(v));
    let customer_place = table.opt("customer");
    let lookup = table.opt("lookup");
    let departments_place = table.opt("departments");
    let cache_place = table.opt("cache");
    let cache = cache_place.map(cache);
    let departments = departments_place.map_or_else(|| Some(Vec::new()), |v| v.each(|item| department(item, names)));
    table.later(&["stream", "mode", "report"]);
    let place = place(table.cx, table.span.clone());
    table.finish();
    if let Some(empty) = departments_place.filter(|v| v.list_is_empty()) {
        empty.error_help("`departments` is empty: nobody could call", "leave it out, or name the departments");
    }

    let head = head?;
    let (method, template) = parsed?;
    let (dialect, when) = (dialect?, when.map_or(Some(None), |read| read.map(Some))?);
    if let (Some(place), true) = (when_place, method != Method::POST) {
        place.error_help(format!("a {method} has no body that could tell routes apart"), "`when` belongs to a POST");
        return None;
    }
    if let (Dialect::OData, true) = (dialect, template.as_str().ends_with("/$batch")) {
        head.error_help("a batch holds requests that nobody judged", "declare the routes that it would call");
        return None;
    }
    if let (Dialect::OData, Some(plan)) = (dialect, response.as_mut()) {
        odata_counts(plan);
    }
    if dialect == Dialect::JsonRpc {
        rpc::judge(head, &method, when.as_ref(), when_place)?;
        rpc::complete(response_place, response.as_mut());
    }
    if let Some(place) = response_place {
        [response.as_ref(), error.as_ref().and_then(Option::as_ref)].into_iter().flatten().for_each(|plan| response::names_differ(place, plan));
    }
    let key = RouteKey::intern(&match &when {
        Some(When { value, .. }) => format!("{method} {template}#{value}"),
        None => format!("{method} {template}"),
    });
    let action = match action {
        Some(written) => written.word("action", &ACTIONS).filter(|action| fits(written, &method, *action)),
        None => Some(default_action(&method)),
    };
    let rules = Rules {
        route: value,
        key,
        method: &method,
        template: &template,
        dialect,
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
    if dialect == Dialect::JsonRpc {
        let plans = [response.as_ref(), error.as_ref().and_then(Option::as_ref)];
        rpc::errors(response_place, plans, customer.as_ref().filter(|_| lookup.is_none()));
    }
    if let (Some(When { member, .. }), Some(place), Some(plan)) = (when.as_ref().filter(|_| dialect == Dialect::Plain), when_place, written(&request))
    {
        let path = PathPattern(vec![Step::Member(member.clone())]);
        if !plan.shape.open.contains(&path) && !plan.shape.fields.iter().any(|field| field.path == path) {
            place.error_help(format!("`{member}` is no member of shape `{}`: every write would be refused", plan.shape.name), "add it to `open`");
        }
    }
    let is_other = |plan: &RequestPlan| plan.types.iter().any(|known| known.kind != BodyKind::Json);
    if let Some(place) = when_place.filter(|_| written(&request).is_some_and(is_other)) {
        place.error_help("the member that tells routes apart is looked for in JSON", "leave forms out of `types`, or remove `when`");
    }
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
        if let (Customer::Request { path, .. }, Some(search)) = (&customer, &mut search) {
            declare(search, &path.to_string());
        }
        // Outside JSON-RPC, where it belongs to the envelope, the member that tells routes apart is one of the body's.
        if let (Some(When { member, value }), Some(search), Dialect::Plain) = (&when, &mut search, dialect) {
            let accepts = Accepts::OneOf(vec![value.clone()]);
            search.retain(|param| param.name != *member);
            search.push(Param { name: member.clone(), accepts, categories: Vec::new() });
        }
        if let (Customer::Response { .. }, ResponsePlan::Object { subject, .. }) = (&customer, &mut plan) {
            *subject = Subject::Request;
        }
        let selects = |params: &[Param]| params.iter().any(|p| matches!(p.accepts, Accepts::Names { style: NameStyle::Select, .. }));
        let may_be_bare = reading.is_some() || selects(&params) || search.as_deref().is_some_and(selects);
        if let (true, Customer::Response { .. }, Some(place)) = (may_be_bare, &customer, customer_place) {
            place.error_help("a request could leave this id out", "name it as `customer` of the shape: the gateway then asks for it");
            return None;
        }
        let records_max = if let ResponsePlan::Rows { rows_max, .. } = &plan { *rows_max } else { None };
        let request = request.map_or(Some(None), |read| read.map(|r| r.plan))?;
        Some(Route {
            key,
            method: method.clone(),
            template: template.clone(),
            dialect,
            when: when.clone(),
            action: action?,
            customer,
            params,
            request,
            search,
            bare: may_be_bare.then(|| plan.bare()),
            reading,
            response: plan,
            error: error?,
            cache: cache.map_or(Some(None), |read| read.map(Some))?,
            graphql: None,
            departments: departments?,
            records_max,
            place,
        })
    })();
    Some(Draft { head, method, template, dialect, when, key, lookup, route })
}

/// Totals and links of a page, unless the route says something of them.
fn odata_counts(plan: &mut ResponsePlan) {
    let ResponsePlan::Rows { counts, open, .. } = plan else { return };
    for (name, rule) in [("@odata.count", CountRule::Rows), ("@odata.nextLink", CountRule::Remove)] {
        let path = PathPattern(vec![Step::Member(name.to_owned())]);
        if !open.contains(&path) && !counts.iter().any(|(counted, _)| *counted == path) {
            counts.push((path, rule));
        }
    }
}

fn written<'r>(request: &'r Option<Option<Request<'_>>>) -> Option<&'r RequestPlan> {
    request.as_ref()?.as_ref()?.plan.as_ref()
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

/// What the dialect reads of the query by itself; nothing when the answer has no fields.
fn reading(spoken: Spoken<'_>, resource: Option<&(Value<'_>, Option<String>)>) -> Option<Reading> {
    if let (Some((place, _)), true) = (resource, spoken.dialect != Dialect::JsonApi) {
        place.error_help("resources have a `type` in JSON:API", "remove it, or write `dialect = \"json-api\"`");
    }
    if !matches!(spoken.dialect, Dialect::OData | Dialect::JsonApi) {
        return None;
    }
    Some(Reading { dialect: spoken.dialect, fields: spoken.fields(&[])?, resource: resource.and_then(|(_, name)| name.clone()) })
}

/// The protocol that an API or a route speaks.
pub(super) fn dialect(value: Value<'_>) -> Option<Dialect> {
    value.word("dialect", &Dialect::ALL)
}

/// `{ method = "getCustomer" }`
fn when(value: Value<'_>) -> Option<When> {
    let table = value.table("`when`")?;
    let entries = table.named();
    let [(member, _, wanted)] = entries.as_slice() else {
        value.error_help("routes are told apart by one member of the body", "write `{ method = \"getCustomer\" }`");
        return None;
    };
    let text = wanted.str()?;
    if text.len() > WHEN_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        wanted.error(format!("expected at most {WHEN_BYTES_MAX} characters of ASCII without blanks"));
        return None;
    }
    Some(When { member: (*member).to_owned(), value: text.to_owned() })
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
fn request<'a>(value: Value<'a>, method: Option<&Method>, dialect: Dialect, names: &Names<'_>, catalog: &Catalog) -> Option<Request<'a>> {
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
        (Some(shape), params) => {
            let types = types(types_place, method, dialect);
            let name = names.shape(shape)?;
            let shape = Arc::clone(catalog.shapes.get(&name)?);
            Some(Request { plan: Some(RequestPlan { shape, types: types?, masked_drop: masked_drop?, put_merge: put_merge? }), params })
        }
        (None, Some(params)) => {
            for place in [types_place, masked, put].into_iter().flatten() {
                place.error("this belongs to a written `shape`, not to `params`");
            }
            Some(Request { plan: None, params: Some(params) })
        }
        (None, None) => {
            value.error("a request has either a `shape`, which is written, or `params`, which only select");
            None
        }
    }
}

/// The content types that a written body may have.
fn types(place: Option<Value<'_>>, method: Option<&Method>, dialect: Dialect) -> Option<Vec<BodyType>> {
    let is_deletion = method == Some(&Method::DELETE);
    let Some(place) = place else {
        // Its clients must say so, <https://jsonapi.org/format/1.1/#content-negotiation-clients>.
        let own = BodyType::parse("application/vnd.api+json").filter(|_| dialect == Dialect::JsonApi);
        return Some(if is_deletion { Vec::new() } else { own.into_iter().chain([BodyType::json()]).collect() });
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
