//! What is asked: APIs, routes, id spaces and shapes, all from the governed configuration, and the strict reading of a
//! request target. Pure: no I/O, no clock. The pipeline asks in this order:
//!
//! ```text
//! Target::parse -> Catalog::find -> Found::judge_query -> (id of the customer) IdSpace::identify -> Found::upstream_target
//! ```
//!
//! INVARIANT: the upstream gets the canonical form of exactly what was matched and judged, never the bytes of the caller.

mod fields;
mod ids;
mod json_api;
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

use crate::model::{ApiName, Department, Purpose, Shapes, Space, UpstreamName};

pub use fields::{Fields, Names};
pub use ids::{IdError, IdSpace, Normalise};
pub use json_api::roots as json_api_roots;
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
    pub routes: Vec<Arc<Route>>,
    pub place: Place,
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
        let matching: Vec<&Arc<Route>> = api.routes.iter().filter(|route| route.template.captures(rest).is_some()).collect();
        let best = best(&matching, method);
        let is_said = |route: &&&Arc<Route>| route.when.as_ref().is_none_or(|when| said == Some(when.value.as_str()));
        if let Some((route, params)) = best.iter().find(is_said).and_then(|route| Some((*route, route.template.captures(rest)?))) {
            return Ok(Found::new(Arc::clone(api), Arc::clone(route), params, rest, target));
        }
        if matching.is_empty() || !best.is_empty() {
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
        let matching: Vec<&Arc<Route>> = api.routes.iter().filter(|route| route.template.captures(rest).is_some()).collect();
        // The configuration sees to it that all of them agree.
        let first = *best(&matching, method).first()?;
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
