//! What is asked: APIs, routes, id spaces and shapes, all from the governed configuration, and the strict reading of a
//! request target. Pure: no I/O, no clock. The pipeline asks in this order:
//!
//! ```text
//! Target::parse -> Catalog::find -> Found::judge_query -> (id of the customer) IdSpace::identify -> Found::upstream_target
//! ```
//!
//! INVARIANT: the upstream gets the canonical form of exactly what was matched and judged, never the bytes of the caller.

mod fields;
pub mod graphql;
mod headers;
mod ids;
mod json_api;
mod links;
mod odata;
mod param;
mod reading;
mod route;
mod target;
mod template;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderName, Method};
use jiff::Timestamp;

use crate::model::{ApiName, Department, Purpose, ResponsePlan, RouteKey, Shapes, Space, UpstreamName};

pub use fields::{Fields, Names};
pub use headers::owned_in_answers;
pub use ids::{IdError, IdSpace, Normalise};
pub use json_api::roots as json_api_roots;
pub use links::{Behind, Link};
pub use param::{Accepts, FIELD, JudgedParams, NameStyle, OPERATOR, Param, ParamError, Selection, judge};
pub use reading::Reading;
pub use route::{ByBody, Customer, Dialect, Found, LookupCall, Route, When};
pub use target::{TARGET_BYTES_MAX, Target, TargetError};
pub use template::Template;

/// Where something is declared, for explanations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    pub line: usize,
}

/// Which purposes calls to an API may have, besides what the caller is registered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiPurpose {
    Any,
    /// The call names one of these, exactly: what stands below one has to be listed, too.
    Allow(Vec<Purpose>),
    /// For apps that cannot send a purpose; the caller must still be registered for it.
    Fixed(Purpose),
}

/// An `[[api]]`: one department's API behind the gateway.
#[derive(Clone, Debug)]
pub struct Api {
    pub name: ApiName,
    pub owner: Department,
    /// Path of `at`: empty, or `/crm`, without a slash at its end.
    pub prefix: String,
    /// Host (with port if one is written) of `at`, lower case; `None` when `at` is only a path.
    pub host: Option<String>,
    pub upstream: UpstreamName,
    /// Named in the remedy of a 403.
    pub contact: Option<String>,
    pub purpose: ApiPurpose,
    /// Passed to the upstream; all others are dropped.
    pub request_headers: Vec<HeaderName>,
    /// Passed to the caller; all others are dropped.
    pub response_headers: Vec<HeaderName>,
    /// Filtered answers are compressed for who asks for that.
    pub compress: bool,
    /// Answers carry an `ETag` of the gateway's own; `If-Match` and `If-None-Match` are understood.
    pub sealed_etag: bool,
    pub routes: Vec<Arc<Route>>,
    /// Report mode; `None`: what is decided is enforced.
    pub report: Option<ReportMode>,
    pub place: Place,
}

impl Api {
    /// The one route of this API for a method and target, unless only a body tells it.
    #[must_use]
    pub fn find(self: &Arc<Self>, method: &Method, target: &Target) -> Option<Found> {
        self.find_said(method, target, None)
    }

    fn find_said(self: &Arc<Self>, method: &Method, target: &Target, said: Option<&str>) -> Option<Found> {
        let rest = target.rest(&self.prefix)?;
        let is_said = |route: &&&Arc<Route>| route.when.as_ref().is_none_or(|when| said == Some(when.value.as_str()));
        let best = best(&self.matching(rest), method);
        let route = *best.iter().find(is_said)?;
        let params = route.template.captures(rest)?;
        Some(Found::new(Arc::clone(self), Arc::clone(route), params, rest, target))
    }

    fn matching(&self, rest: &[String]) -> Vec<&Arc<Route>> {
        self.routes.iter().filter(|route| route.template.captures(rest).is_some()).collect()
    }
}

/// `mode = "report"`: for a time, members that no shape maps go out with an object of which everything is permitted.
#[derive(Clone, Debug)]
pub struct ReportMode {
    /// From then on everything is enforced.
    pub until: Timestamp,
    pub reason: String,
    /// Where it was approved, e.g. a ticket.
    pub approved: String,
    /// How routes answer meanwhile, by key, and without the customer's id; what is not here is enforced.
    pub plans: BTreeMap<(RouteKey, bool), ResponsePlan>,
}

/// All that is declared. What is not here is not released.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    pub apis: Vec<Arc<Api>>,
    pub spaces: BTreeMap<Space, Arc<IdSpace>>,
    pub shapes: Shapes,
}

/// No route for this request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("no api or route is declared for this path")]
    NotDeclared,
    #[error("the path is declared, but not for this method")]
    MethodNotAllowed { allowed: Vec<Method> },
}

impl Catalog {
    /// The one route for a method and target. HEAD is judged as GET unless a HEAD route is declared.
    ///
    /// # Errors
    /// [`RouteError`]; unknown methods are never matched, nor are routes that only a body tells apart.
    pub fn find(&self, method: &Method, target: &Target) -> Result<Found, RouteError> {
        self.find_said(method, target, None)
    }

    /// As [`Self::find`]. `said`: the member of the body that [`Self::by_body`] asked for.
    ///
    /// # Errors
    /// [`RouteError`]
    pub fn find_said(&self, method: &Method, target: &Target, said: Option<&str>) -> Result<Found, RouteError> {
        let (api, rest) = self.below(target).ok_or(RouteError::NotDeclared)?;
        if let Some(found) = api.find_said(method, target, said) {
            return Ok(found);
        }
        let matching = api.matching(rest);
        if matching.is_empty() || !best(&matching, method).is_empty() {
            return Err(RouteError::NotDeclared);
        }
        let mut allowed: Vec<Method> = matching.iter().map(|route| route.method.clone()).collect();
        if allowed.contains(&Method::GET) {
            allowed.push(Method::HEAD);
        }
        allowed.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        allowed.dedup();
        Err(RouteError::MethodNotAllowed { allowed })
    }

    /// What has to be read of the body first; `None` when method and target suffice.
    #[must_use]
    pub fn by_body(&self, method: &Method, target: &Target) -> Option<ByBody> {
        let (api, rest) = self.below(target)?;
        // The configuration sees to it that all of them agree.
        let first = *best(&api.matching(rest), method).first()?;
        first.when.as_ref().map(|when| ByBody { api: api.name, dialect: first.dialect, member: when.member.clone() })
    }

    /// The API of a target, and what stands below its prefix.
    fn below<'t>(&self, target: &'t Target) -> Option<(&Arc<Api>, &'t [String])> {
        let api = self.apis.iter().filter(|api| target.rest(&api.prefix).is_some()).max_by_key(|api| api.prefix.len())?;
        Some((api, target.rest(&api.prefix)?))
    }

    #[must_use]
    pub fn space(&self, space: Space) -> Option<&Arc<IdSpace>> {
        self.spaces.get(&space)
    }

    #[must_use]
    pub fn api(&self, name: ApiName) -> Option<&Arc<Api>> {
        self.apis.iter().find(|api| api.name == name)
    }
}

/// The routes of the most specific template: one, or those that a member of the body tells apart.
fn best<'r>(matching: &[&'r Arc<Route>], method: &Method) -> Vec<&'r Arc<Route>> {
    let of = |wanted: &Method| -> Vec<&'r Arc<Route>> { matching.iter().copied().filter(|route| route.method == *wanted).collect() };
    let mut routes = of(method);
    if routes.is_empty() && *method == Method::HEAD {
        routes = of(&Method::GET);
    }
    let most = routes.iter().map(|route| route.template.specificity()).max();
    routes.retain(|route| Some(route.template.specificity()) == most);
    routes
}

#[cfg(test)]
mod tests;
