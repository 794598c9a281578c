//! Governed: APIs, and what hangs between their routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, Method};

use super::callers::purpose;
use super::read::{Cx, Value};
use super::routes::{Draft, dialect, draft};
use super::shapes::{FieldPlace, Names, declared};
use super::{openapi, report};
use crate::catalog::{Api, ApiPurpose, Catalog, Customer, Dialect, LookupCall, Place, Route, owned_in_answers};
use crate::model::{Action, ApiName, Department, PathPattern, Purpose, ResponsePlan, RouteKey, Several, ShapeName, Step, UpstreamName};

/// Headers that the gateway sets or drops itself, whatever is declared.
const OWNED_HEADERS: [&str; 33] = [
    "accept-encoding",
    "accept-ranges",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "cookie",
    "data-case",
    "data-justification",
    "data-purpose",
    "digest",
    "dpop",
    "etag",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "last-modified",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-method-override",
];
const OWNED_PREFIXES: [&str; 4] = ["consentry-", "if-", "x-forwarded-", "x-http-method"];

pub(super) fn is_owned(name: &HeaderName) -> bool {
    OWNED_HEADERS.contains(&name.as_str()) || OWNED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

pub(super) fn place(cx: Cx<'_>, span: std::ops::Range<usize>) -> Place {
    let finding = cx.finding(span, "");
    Place { file: finding.file, line: finding.line }
}

/// One element of `[[api]]`. `others` are those before it.
pub(super) fn api(
    value: Value<'_>,
    names: &Names<'_>,
    shapes: &Catalog,
    places: &BTreeMap<ShapeName, Vec<FieldPlace<'_>>>,
    others: &[(ApiName, String)],
) -> (Option<(ApiName, String)>, Option<Api>) {
    let Some(mut table) = value.table("`[[api]]`") else { return (None, None) };
    let name_place = table.need("name");
    let name = name_place.and_then(Value::str).map(ApiName::intern);
    if let (Some(place), Some(name)) = (name_place, name)
        && others.iter().any(|(other, _)| *other == name)
    {
        place.error(format!("two apis have the name `{name}`"));
    }
    let owner = table.need("owner").and_then(|v| department(v, names));
    let at_place = table.need("at");
    let at = at_place.and_then(at);
    if let (Some(place), Some((_, prefix))) = (at_place, &at) {
        let within = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if let Some((other, _)) = others.iter().find(|(_, other)| within(prefix, other) || within(other, prefix)) {
            place.error_help(format!("this path and that of api `{other}` lie within each other"), "a path belongs to one api, whatever the host");
        }
    }
    let upstream = table.need("upstream").and_then(|v| declared(v, "upstream", &names.upstreams)).map(UpstreamName::intern);
    let contact = table.opt("contact").map(Value::str);
    let purpose = table.opt("purpose").map_or(Some(ApiPurpose::Any), |v| api_purpose(v, names));
    let request_headers = table.opt("request_headers").map_or_else(|| Some(Vec::new()), headers);
    let response_headers = table.opt("response_headers").map_or_else(|| Some(Vec::new()), response_headers);
    let compress = table.opt("compress").map_or(Some(false), Value::bool);
    let sealed_etag = table.opt("etag").map_or(Some(false), |v| v.word("etag", &[("none", false), ("sealed", true)]));
    let dialect = table.opt("dialect").map_or_else(Dialect::default, |v| dialect(v).unwrap_or_default());
    let drafts: Vec<Draft<'_>> = match table.opt("route") {
        Some(v) => v.list().unwrap_or_default().into_iter().filter_map(|item| draft(item, dialect, names, shapes)).collect(),
        None => {
            table.error_help("this api has no `[[api.route]]`", "what is not declared is answered with 404");
            Vec::new()
        }
    };
    let report = report::read(&mut table);
    let openapi = table.opt("openapi");
    let place = place(table.cx, table.span.clone());
    table.finish();
    let identity = name.zip(at.as_ref().map(|(_, prefix)| prefix.clone()));
    let heads: Vec<(RouteKey, Value<'_>)> = drafts.iter().map(|draft| (draft.key, draft.head)).collect();
    let routes = routes(drafts);
    if let Some(openapi) = openapi {
        openapi::compare(openapi, &heads, &routes, &shapes.shapes, places);
    }
    let read = (|| {
        let (host, prefix) = at?;
        Some(Api {
            name: name?,
            owner: owner?,
            prefix,
            host,
            upstream: upstream?,
            contact: contact.flatten().map(str::to_owned),
            purpose: purpose?,
            request_headers: request_headers?,
            response_headers: response_headers?,
            compress: compress?,
            sealed_etag: sealed_etag?,
            routes,
            report: report?,
            place,
        })
    })();
    (identity, read)
}

/// `https://host/prefix`, or only `/prefix`.
fn at(value: Value<'_>) -> Option<(Option<String>, String)> {
    let text = value.str()?;
    if text.starts_with('/') {
        return Some((None, value.plain_path(text)?));
    }
    let (origin, path) = value.url()?;
    Some((Some(origin.authority()), value.plain_path(&path)?))
}

pub(super) fn department(value: Value<'_>, names: &Names<'_>) -> Option<Department> {
    let (text, vocabulary) = (value.str()?, names.vocabulary?);
    let found = vocabulary.department(text);
    if found.is_none() {
        value.unknown("department", text, vocabulary.departments.keys().map(|d| d.as_str()));
    }
    found
}

fn api_purpose(value: Value<'_>, names: &Names<'_>) -> Option<ApiPurpose> {
    let mut table = value.table("`purpose`")?;
    let (allow, fixed) = (table.opt("allow"), table.opt("fixed"));
    if let Some(default) = table.opt("default") {
        default.error_help("there is no `default` purpose", "write `fixed` when the apps of this api cannot send one");
    }
    table.later(&["case"]);
    table.finish();
    let known = |v: Value<'_>| -> Option<Purpose> { purpose(v, names.vocabulary?) };
    match (allow, fixed) {
        (Some(allow), None) => allow.each(known).map(ApiPurpose::Allow),
        (None, Some(fixed)) => known(fixed).map(ApiPurpose::Fixed),
        _ => {
            value.error("a purpose is either `{ allow = […] }` or `{ fixed = … }`");
            None
        }
    }
}

fn headers(value: Value<'_>) -> Option<Vec<HeaderName>> {
    value.each(|item| {
        let name = item.header_name()?;
        if is_owned(&name) {
            item.error_help(format!("the header `{name}` cannot be passed on"), "the gateway sets or drops it itself");
            return None;
        }
        Some(name)
    })
}

fn response_headers(value: Value<'_>) -> Option<Vec<HeaderName>> {
    value.each(|item| {
        let name = item.header_name()?;
        if let Some(why) = owned_in_answers(&name) {
            item.error_help(format!("the header `{name}` cannot be passed on"), why);
            return None;
        }
        Some(name)
    })
}

/// Refuses routes that neither path nor body tells apart, and finds the routes that `lookup` names.
fn routes(drafts: Vec<Draft<'_>>) -> Vec<Arc<Route>> {
    for (n, draft) in drafts.iter().enumerate() {
        let shadow =
            drafts.iter().take(n).find(|other| other.method == draft.method && other.template.shadows(&draft.template) && !told_apart(other, draft));
        if let Some(other) = shadow {
            let there = place(other.head.cx, other.head.span());
            let place = format!("{}:{}", there.file.display(), there.line);
            if other.key == draft.key {
                draft.head.error_help(format!("route `{}` is declared twice", draft.key), format!("the first stands at {place}"));
            } else if other.template == draft.template {
                let message = format!("route `{}` cannot be told from `{}`", draft.key, other.key);
                let help = format!("give both the same `dialect` and `when` with the same member; the other one stands at {place}");
                draft.head.error_help(message, help);
            } else {
                let message = format!("route `{}` is shadowed by `{}`", draft.key, other.key);
                draft.head.error_help(message, format!("no path tells it from the one at {place}"));
            }
        }
    }
    let looked_up: Vec<Option<Customer>> = drafts.iter().map(|draft| lookup(draft, &drafts)).collect();
    let finished = drafts.into_iter().zip(looked_up).filter_map(|(draft, found)| {
        let mut route = draft.route?;
        if draft.lookup.is_some() {
            route.customer = found?;
        }
        Some(Arc::new(route))
    });
    finished.collect()
}

/// Whether a member of the body says which of two routes is meant.
fn told_apart(one: &Draft<'_>, other: &Draft<'_>) -> bool {
    let by_body = one.when.as_ref().zip(other.when.as_ref()).is_some_and(|(a, b)| a.member == b.member && a.value != b.value);
    by_body && one.template == other.template && one.dialect == other.dialect
}

fn lookup(draft: &Draft<'_>, drafts: &[Draft<'_>]) -> Option<Customer> {
    let place = draft.lookup?;
    let text = place.str()?;
    let Some(target) = drafts.iter().find(|other| other.key.as_str() == text) else {
        place.unknown("route", text, drafts.iter().filter(|d| d.method == Method::GET || d.dialect == Dialect::JsonRpc).map(|d| d.key.as_str()));
        return None;
    };
    let called = draft.dialect == Dialect::JsonRpc && target.dialect == Dialect::JsonRpc;
    if target.method != Method::GET && !called {
        place.error("only a `GET` route can be looked up");
        return None;
    }
    if let Some(missing) = target.template.params().find(|name| !draft.template.params().any(|own| own == *name)) {
        place.error(format!("the parameter `{missing}` of that route does not stand in the path of this one"));
        return None;
    }
    let route = target.route.as_ref()?;
    let call = if called { Some(lookup_call(place, draft, route)?) } else { None };
    match &route.response {
        ResponsePlan::Object { shape, .. } if shape.customer.len() > 1 && shape.several == Several::All => {
            place.error_help("that route answers an object of several customers", "add `several = \"each\"`: then the first of them is whose it is");
            None
        }
        ResponsePlan::Object { at, shape, .. } if !shape.customer.is_empty() => {
            Some(Customer::Lookup { route: route.key, template: target.template.clone(), at: at.clone(), shape: Arc::clone(shape), call })
        }
        ResponsePlan::Empty
        | ResponsePlan::Free { .. }
        | ResponsePlan::Open { .. }
        | ResponsePlan::Object { .. }
        | ResponsePlan::Rows { .. }
        | ResponsePlan::Stream { .. } => {
            place.error_help("that route does not say whose object it answers", "look up a route with one object whose shape has `customer`");
            None
        }
    }
}

/// The call by which a JSON-RPC write is looked up: all parameters of that route, taken from what this one writes.
fn lookup_call(place: Value<'_>, draft: &Draft<'_>, target: &Route) -> Option<LookupCall> {
    let params: Vec<String> = target.search.iter().flatten().map(|param| param.name.clone()).collect();
    let written = draft.route.as_ref()?;
    if target.action != Action::Read || params.is_empty() {
        place.error_help(
            "that route does not read one record by its parameters",
            "look up a call that reads, with the members that name the record as `params`",
        );
        return None;
    }
    let member = |name: &str| PathPattern(vec![Step::Member(name.to_owned())]);
    let sends = |name: &String| match (&written.search, &written.request) {
        (Some(params), _) => params.iter().any(|param| param.name == *name),
        (None, Some(plan)) => plan.shape.open.contains(&member(name)) || plan.shape.fields.iter().any(|field| field.path == member(name)),
        (None, None) => false,
    };
    if let Some(missing) = params.iter().find(|name| !sends(name)) {
        place.error_help(
            format!("the parameter `{missing}` of that route is no member of what this one sends"),
            "both must name the record by the same members; add it to the shape as `open`",
        );
        return None;
    }
    let method = target.when.as_ref()?.value.clone();
    Some(LookupCall { method, params })
}
