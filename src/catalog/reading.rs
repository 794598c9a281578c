//! Query options that a dialect reads by itself: they need no declaration, since the shape says what each of them touches.

use std::sync::Arc;

use super::fields::Fields;
use super::param::{ParamError, Said};
use super::route::Dialect;
use super::{json_api, odata};

/// How the query of a route is read.
#[derive(Clone, Debug)]
pub struct Reading {
    pub dialect: Dialect,
    pub fields: Arc<Fields>,
    /// `type` of the resources, in JSON:API.
    pub resource: Option<String>,
}

impl Reading {
    pub(super) fn reads(&self, name: &str) -> bool {
        match self.dialect {
            Dialect::Plain | Dialect::JsonRpc => false,
            Dialect::OData => odata::reads(name),
            Dialect::JsonApi => json_api::reads(name),
        }
    }

    /// What each option says, in the order in which they were given.
    pub(super) fn read(&self, given: &[(String, String)]) -> Result<Vec<Said>, ParamError> {
        match self.dialect {
            Dialect::Plain | Dialect::JsonRpc => Ok(Vec::new()),
            Dialect::OData => odata::read(&self.fields, given),
            Dialect::JsonApi => given.iter().map(|(name, value)| json_api::read(&self.fields, self.resource.as_deref(), name, value)).collect(),
        }
    }
}
