//! Routes, and what a request found: the judged target is written anew for the upstream from here.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use super::graphql::Graphql;
use super::param::{JudgedParams, Param, ParamError, judge};
use super::reading::Reading;
use super::target::{Target, canonical_path, canonical_query};
use super::template::Template;
use super::{Api, Place};
use crate::model::{Action, ApiName, Department, PathPattern, RequestPlan, ResponsePlan, RouteKey, Shape, Space};

/// Where the id of the customer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Customer {
    /// `path:id`
    Path { param: String, space: Space },
    /// `query:customer`
    Query { param: String, space: Space },
    /// `header:x-customer`
    Header { name: HeaderName, space: Space },
    /// `claim:customer_id`, of the verified token
    Claim { name: String, space: Space },
    /// `request:customer.id`; only for creates and reads
    Request { path: PathPattern, space: Space },
    /// `response:owner.id`: one place in the answer, outside what the shape says
    Response { path: PathPattern, space: Space },
    /// Not in the request: the shape finds it in the answer, object or rows.
    Answer,
    /// `lookup = "GET /tickets/{id}"`: before a write the gateway reads this route of the same API, unreleased; its shape names the customer.
    /// `call`: it is a JSON-RPC call, too.
    Lookup { route: RouteKey, template: Template, at: PathPattern, shape: Arc<Shape>, call: Option<LookupCall> },
    /// `new:response:id`: the id answered becomes a party. `matches` are written members, each with its id space, that look up
    /// tombstones and stops first.
    New { id: PathPattern, space: Space, matches: Vec<(PathPattern, Space)> },
    /// `none`: no customer data.
    None,
}

/// How the record of a JSON-RPC write is looked up: by another method, with these members of what is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupCall {
    pub method: String,
    pub params: Vec<String>,
}

/// The protocol that a route speaks on top of HTTP and JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    #[default]
    Plain,
    /// <https://www.jsonrpc.org/specification>, version 2.0.
    JsonRpc,
    /// <https://docs.oasis-open.org/odata/odata/v4.01/odata-v4.01-part2-url-conventions.html>
    OData,
    /// <https://jsonapi.org/format/1.1/>
    JsonApi,
}

impl Dialect {
    pub const ALL: [(&'static str, Self); 4] =
        [("plain", Self::Plain), ("json-rpc", Self::JsonRpc), ("odata", Self::OData), ("json-api", Self::JsonApi)];
}

/// `when = { method = "getCustomer" }`: one of several routes with one method and path, told apart by a member of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    pub member: String,
    pub value: String,
}

/// What has to be read of a body before its route is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByBody {
    pub api: ApiName,
    pub dialect: Dialect,
    pub member: String,
}

/// An `[[api.route]]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// `GET /sobjects/Contact/{id}`, `POST /rpc#getCustomer`
    pub key: RouteKey,
    pub method: Method,
    pub template: Template,
    pub dialect: Dialect,
    pub when: Option<When>,
    pub action: Action,
    pub customer: Customer,
    /// Parameters of the query; the one that names the customer is among them.
    pub params: Vec<Param>,
    /// Query options that the dialect reads by itself.
    pub reading: Option<Reading>,
    /// A written body.
    pub request: Option<RequestPlan>,
    /// A body that only selects (`POST /tickets/search`): its top-level members are parameters. Neither this nor `request`: no body.
    /// Beside `request`, of a deletion by POST: `request` says what is deleted, this is what is sent.
    pub search: Option<Vec<Param>>,
    pub response: ResponsePlan,
    /// The same, without the customer's id; of routes whose request can leave it out.
    pub bare: Option<ResponsePlan>,
    /// How the body of a 4xx is cut: `Open` or `Object`; without one it is replaced.
    pub error: Option<ResponsePlan>,
    /// How long callers may keep an answer; only where `customer = "none"`.
    pub cache: Option<Duration>,
    /// What a query comes to is said by the query; then `response` stands for whatever could be asked.
    pub graphql: Option<Arc<Graphql>>,
    /// Departments that may call; empty = all (policies decide).
    pub departments: Vec<Department>,
    /// Row ceiling; always there for `export`.
    pub records_max: Option<u32>,
    pub place: Place,
}

/// A route that matched, and the judged parts of the target. `Debug` hides the values.
#[derive(Clone)]
pub struct Found {
    pub api: Arc<Api>,
    pub route: Arc<Route>,
    params: Vec<(String, String)>,
    /// Decoded segments below the prefix.
    rest: Vec<String>,
    query: Vec<(String, String)>,
    /// What of the query was judged, as it is sent.
    sent: Vec<(String, String)>,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").field("api", &self.api.name).field("route", &self.route.key).finish_non_exhaustive()
    }
}

impl Found {
    pub(super) fn new(api: Arc<Api>, route: Arc<Route>, params: Vec<(String, String)>, rest: &[String], target: &Target) -> Self {
        Self { api, route, params, rest: rest.to_vec(), query: target.query().to_vec(), sent: Vec::new() }
    }

    /// A parameter of the path, decoded once; give it to [`super::IdSpace::identify`].
    #[must_use]
    pub fn path_param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of the query, decoded once. Only after [`Found::judge_query`], which refuses repeated ones.
    #[must_use]
    pub fn query_param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All parameters of the path.
    #[must_use]
    pub fn params(&self) -> &[(String, String)] {
        &self.params
    }

    /// The query against the route's declared parameters. Nothing of it is sent that was not judged here.
    ///
    /// # Errors
    /// [`ParamError`]
    pub fn judge_query(&mut self) -> Result<JudgedParams, ParamError> {
        let judged = judge(&self.route.params, self.route.reading.as_ref(), &self.query)?;
        self.sent.clone_from(&judged.sent);
        Ok(judged)
    }

    /// Path and query for the upstream: `base_path`, the path without the API's prefix, and the judged parameters, all in
    /// canonical form.
    #[must_use]
    pub fn upstream_target(&self, base_path: &str) -> String {
        self.target(base_path, &self.sent)
    }

    /// The target as it was asked, in canonical form, below `prefix`. Only after [`Found::judge_query`], which knows each parameter.
    #[must_use]
    pub fn own_target(&self, prefix: &str) -> String {
        self.target(prefix, &self.query)
    }

    fn target(&self, base_path: &str, query: &[(String, String)]) -> String {
        let query = canonical_query(query.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let path = join(base_path, &self.rest);
        if query.is_empty() { path } else { format!("{path}?{query}") }
    }

    /// The path without the API's prefix, in canonical form, below `base_path`.
    #[must_use]
    pub fn own_path(&self, base_path: &str) -> String {
        join(base_path, &self.rest)
    }

    /// Path of the read that finds the customer of a write; `None` unless the route's customer is [`Customer::Lookup`].
    #[must_use]
    pub fn lookup_target(&self, base_path: &str) -> Option<String> {
        let Customer::Lookup { template, .. } = &self.route.customer else { return None };
        let segments = template.fill(&self.params)?;
        // `Quotes(..)` is a fine segment, but its parameter alone would climb.
        let climbs = segments.iter().any(|s| s == "." || s == "..");
        (!climbs).then(|| join(base_path, &segments))
    }
}

/// `base_path` is checked by the configuration: empty, or canonical and without a slash at its end.
fn join(base_path: &str, segments: &[String]) -> String {
    if segments.is_empty() && !base_path.is_empty() {
        return base_path.to_owned();
    }
    format!("{base_path}{}", canonical_path(segments))
}
