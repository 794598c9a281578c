//! Governed: whose data a route is about, and the rules that keep an answer or a write from being about somebody else.

use http::Method;

use super::apis::is_owned;
use super::read::Value;
use super::routes::Request;
use super::rpc;
use super::shapes::Names;
use crate::catalog::{Customer, Dialect, Template};
use crate::model::{Action, PathPattern, ResponsePlan, RouteKey, Space, Step, Subject};

const SOURCES: &str = "`path:`, `query:`, `header:`, `claim:`, `request:`, `response:`, `new:response:` or `none`";

/// What has been read of a route, to judge how its parts go together.
pub(super) struct Rules<'r, 'a> {
    pub(super) route: Value<'a>,
    pub(super) key: RouteKey,
    pub(super) method: &'r Method,
    pub(super) template: &'r Template,
    pub(super) dialect: Dialect,
    pub(super) action: Action,
    pub(super) request_place: Option<Value<'a>>,
    /// `None` also after a mistake.
    pub(super) request: Option<&'r Request<'a>>,
    pub(super) response_place: Option<Value<'a>>,
    /// `None` also after a mistake.
    pub(super) response: Option<&'r ResponsePlan>,
    pub(super) has_departments: bool,
    pub(super) ids: Option<Option<Space>>,
    pub(super) names: &'r Names<'r>,
}

impl<'a> Rules<'_, 'a> {
    fn writes(&self) -> bool {
        matches!(self.action, Action::Create | Action::Update | Action::Delete)
    }

    /// What is sent names what is deleted, and is not written.
    fn deletes_by_post(&self) -> bool {
        self.action == Action::Delete && *self.method == Method::POST
    }

    /// The customer, with `lookup` still unresolved ([`Customer::Answer`] stands for it).
    pub(super) fn customer(&self, customer: Option<Value<'a>>, lookup: Option<Value<'a>>) -> Option<Customer> {
        match (customer, lookup) {
            (Some(_), Some(lookup)) => {
                lookup.error_help("`lookup` stands beside `customer`", "keep the one that names the customer of this write");
                None
            }
            (None, Some(lookup)) if !self.writes() => {
                lookup.error_help("`lookup` is for writes", "an answer is judged by the customer its shape names");
                None
            }
            (None, Some(_)) => self.subject().then_some(Customer::Answer),
            (Some(value), None) => {
                let read = self.source(value)?;
                self.judge(value, &read).then_some(read)
            }
            (None, None) => self.unnamed(),
        }
    }

    /// Neither `customer` nor `lookup`: the answer has to say.
    fn unnamed(&self) -> Option<Customer> {
        if self.writes() {
            self.route
                .error_help(format!("route `{}` does not say whose data it writes", self.key), "add `customer = \"path:…\"` or `lookup = \"GET …\"`");
            return None;
        }
        if self.response_place.is_some() && self.response.is_none() {
            return None;
        }
        if let (Some(place), Some(ResponsePlan::Object { subject: Subject::Request, .. })) = (self.response_place, self.response) {
            place.error_help("`subject = \"request\"`, but the request names nobody", "add `customer`, or remove `subject`");
            return None;
        }
        if self.response.and_then(ResponsePlan::shape).is_some_and(|shape| !shape.customer.is_empty()) {
            return Some(Customer::Answer);
        }
        let message = format!("route `{}` does not say whose data it returns", self.key);
        let help = match self.response.and_then(ResponsePlan::shape) {
            Some(shape) => format!("add `customer = \"path:…\"`, or `customer` to `[shape.{}]`", shape.name),
            None => "add `customer = \"path:…\"`, a `response` with a shape, or `customer = \"none\"`".to_owned(),
        };
        self.route.error_help(message, help);
        None
    }

    fn source(&self, value: Value<'a>) -> Option<Customer> {
        if value.is_table() {
            return self.new_customer(value);
        }
        let text = value.str()?;
        if value.is_open("the customer") {
            return None;
        }
        if text == "none" {
            return Some(Customer::None);
        }
        let Some((kind, rest)) = text.split_once(':').filter(|(_, rest)| !rest.is_empty()) else {
            value.error_help("this does not name a customer", format!("write {SOURCES}"));
            return None;
        };
        let pattern = |text: &str| {
            let one = PathPattern::parse(text).map_err(|problem| value.error(problem)).ok()?;
            let plain = one.0.iter().all(|step| matches!(step, Step::Member(_) | Step::Index(_)));
            if !plain {
                value.error("the customer's id stands at one place: no `[]` and no `**`");
            }
            plain.then_some(one)
        };
        match kind {
            "path" => {
                if !self.template.params().any(|name| name == rest) {
                    value.unknown("path parameter", rest, self.template.params());
                    return None;
                }
                Some(Customer::Path { param: rest.to_owned(), space: self.space(value)? })
            }
            "query" => Some(Customer::Query { param: rest.to_owned(), space: self.space(value)? }),
            "header" => {
                let name = http::HeaderName::from_bytes(rest.as_bytes()).ok().filter(|name| !is_owned(name));
                if name.is_none() {
                    value.error(format!("the header `{rest}` cannot name a customer"));
                }
                Some(Customer::Header { name: name?, space: self.space(value)? })
            }
            "claim" => Some(Customer::Claim { name: rest.to_owned(), space: self.space(value)? }),
            "request" => {
                let path = pattern(rest)?;
                let path = if self.dialect == Dialect::JsonRpc { rpc::in_params(value, &path)? } else { path };
                Some(Customer::Request { path, space: self.space(value)? })
            }
            "response" => Some(Customer::Response { path: pattern(rest)?, space: self.space(value)? }),
            "new" => match rest.strip_prefix("response:") {
                Some(id) => Some(Customer::New { id: pattern(id)?, space: self.space(value)?, matches: Vec::new() }),
                None => {
                    value.error_help("the id of a new customer stands in the answer", "write `new:response:id`");
                    None
                }
            },
            _ => {
                value.error_help(format!("unknown source `{kind}`"), format!("write {SOURCES}"));
                None
            }
        }
    }

    /// `{ new = "response:id", match = { Email = "email" } }`
    fn new_customer(&self, value: Value<'a>) -> Option<Customer> {
        let mut table = value.table("`customer`")?;
        let new = table.need("new");
        let matches = table.opt("match").and_then(|v| v.table("`match`"));
        table.finish();
        let new = new?;
        let Some(id) = new.str()?.strip_prefix("response:").and_then(|id| PathPattern::parse(id).ok()) else {
            new.error_help("the id of a new customer stands in the answer", "write `response:id`");
            return None;
        };
        let mut found = Vec::new();
        for (text, _, space) in matches.iter().flat_map(super::read::Table::named) {
            match PathPattern::parse(text) {
                Ok(member) => found.push((member, self.names.space(space)?)),
                Err(problem) => space.error(problem),
            }
        }
        Some(Customer::New { id, space: self.space(value)?, matches: found })
    }

    /// The id space: written at the route, else the written shape's, else the answer's.
    fn space(&self, place: Value<'a>) -> Option<Space> {
        if let Some(written) = self.ids {
            return written;
        }
        let request = self.request.and_then(|r| r.plan.as_ref()).and_then(|plan| plan.shape.ids);
        let found = request.or_else(|| self.response.and_then(ResponsePlan::shape).and_then(|shape| shape.ids));
        let unread = (self.request_place.is_some() && self.request.is_none()) || (self.response_place.is_some() && self.response.is_none());
        if found.is_none() && !unread {
            place.error_help("this id has no id space", "add `ids = \"…\"` to the route, or to the shape");
        }
        found
    }

    /// Whether this source may name the customer of this route.
    fn judge(&self, value: Value<'a>, customer: &Customer) -> bool {
        let refuse = |message: String, help: &str| {
            value.error_help(message, help);
            false
        };
        let create = self.action == Action::Create;
        match customer {
            Customer::None if *self.method != Method::GET => {
                refuse("`none` is for GET: whatever is written is somebody's data".to_owned(), "name the customer")
            }
            Customer::None if !self.has_departments => refuse("who may read this is not said".to_owned(), "add `departments = […]`"),
            Customer::None => match self.response {
                Some(ResponsePlan::Free { .. }) => true,
                Some(
                    ResponsePlan::Empty
                    | ResponsePlan::Open { .. }
                    | ResponsePlan::Object { .. }
                    | ResponsePlan::Rows { .. }
                    | ResponsePlan::Stream { .. },
                )
                | None => {
                    if self.response_place.is_none() || self.response.is_some() {
                        refuse(
                            "an answer without customer data says its content types".to_owned(),
                            "write `response = { content_types = [\"application/json\"] }`",
                        )
                    } else {
                        false
                    }
                }
            },
            Customer::New { .. } if !create => refuse("only a create makes a new customer".to_owned(), "name the customer by `path:` or `lookup`"),
            Customer::Request { .. } if self.writes() && !create => {
                refuse("an id in the written body proves nothing about the record written".to_owned(), "name the customer by `path:` or `lookup`")
            }
            Customer::Request { path: PathPattern(steps), .. } if !create => match (self.request.and_then(|r| r.params), steps.as_slice()) {
                (Some(_), [Step::Member(_)]) => true,
                (Some(_), [Step::Index(_)]) if self.dialect == Dialect::JsonRpc => true,
                _ if self.request_place.is_some() && self.request.is_none() => false,
                _ => refuse(
                    "this route has no such member in its request".to_owned(),
                    "add `request = { params = { … } }` and name one of its members",
                ),
            },
            Customer::Response { .. } if self.response.and_then(ResponsePlan::shape).is_some_and(|shape| !shape.customer.is_empty()) => {
                refuse("the shape already says where the answer names its customer".to_owned(), "remove one of the two")
            }
            Customer::Response { .. } if matches!(self.response, Some(ResponsePlan::Rows { .. } | ResponsePlan::Stream { .. })) => {
                refuse("each row names its own customer".to_owned(), "add `customer` to the shape of the rows")
            }
            Customer::Query { .. } | Customer::Header { .. } | Customer::Claim { .. } | Customer::Response { .. } if self.writes() => refuse(
                "a write names its customer by `path:` or `lookup`".to_owned(),
                "what stands elsewhere proves nothing about the record written",
            ),
            Customer::Path { .. } | Customer::Query { .. } | Customer::Header { .. } | Customer::Claim { .. } | Customer::Request { .. } => {
                self.subject()
            }
            Customer::Response { .. } | Customer::Answer | Customer::Lookup { .. } | Customer::New { .. } => true,
        }
    }

    /// The request names a customer: the answer must name the same, or be trusted explicitly.
    fn subject(&self) -> bool {
        let (Some(place), Some(plan)) = (self.response_place, self.response) else { return true };
        match plan {
            ResponsePlan::Object { shape, subject: Subject::Answer, .. } if shape.customer.is_empty() => place.error_help(
                format!("the shape `{}` does not say whose object comes back", shape.name),
                format!("add `customer` to `[shape.{}]`, or `subject = \"request\"` here", shape.name),
            ),
            ResponsePlan::Rows { shape, .. } | ResponsePlan::Stream { shape, .. } if shape.customer.is_empty() => {
                place.error_help(
                    format!("the shape `{}` does not say whose row it is", shape.name),
                    format!("add `customer` to `[shape.{}]`", shape.name),
                );
            }
            ResponsePlan::Object { .. }
            | ResponsePlan::Rows { .. }
            | ResponsePlan::Empty
            | ResponsePlan::Open { .. }
            | ResponsePlan::Free { .. }
            | ResponsePlan::Stream { .. } => {
                return true;
            }
        }
        false
    }

    /// How method, action, request and response go together.
    pub(super) fn bodies(&self, customer: Option<&Customer>) {
        let writes = self.writes();
        match (self.request_place, self.request) {
            (None, _) if writes => {
                self.route.error_help(
                    format!("route `{}` does not say what it writes", self.key),
                    "add `request = { shape = … }`; a delete names the shape of what is deleted",
                );
            }
            (Some(place), Some(request)) if writes && request.plan.is_none() => place.error_help("a write has a `shape`", "`params` only select"),
            (Some(place), Some(request)) if request.plan.is_some() && request.params.is_some() && !self.deletes_by_post() => {
                place.error_help("a request has either a `shape` or `params`", "only a deletion by POST has both: what goes, and what is sent");
            }
            (Some(place), Some(request)) if !writes && request.plan.is_some() => {
                place.error_help(format!("a `{}` does not write", self.action), "write `params`, or another `action`");
            }
            (Some(place), Some(_)) if *self.method == Method::GET => place.error("a GET has no body"),
            (Some(place), Some(request)) if request.plan.as_ref().is_some_and(|plan| plan.put_merge) && *self.method != Method::PUT => {
                place.error("`put` belongs to a PUT route");
            }
            _ => {}
        }
        match (self.response_place, self.response) {
            (None, _) if writes || customer.is_some_and(|c| !matches!(c, Customer::None)) => {
                self.route.error_help(
                    format!("route `{}` does not say what comes back", self.key),
                    "add `response = { shape = … }` or `response = \"empty\"`",
                );
            }
            (Some(place), Some(ResponsePlan::Free { .. })) if customer.is_some_and(|c| !matches!(c, Customer::None)) => {
                place.error_help("`content_types` belongs to `customer = \"none\"`", "write a `shape`: nothing of a customer passes uncut");
            }
            (Some(place), Some(ResponsePlan::Open { .. } | ResponsePlan::Empty))
                if !writes && customer.is_some_and(|c| !matches!(c, Customer::None)) =>
            {
                place.error_help("nothing of a customer comes back", "write a `shape`, or `customer = \"none\"`");
            }
            (Some(place), Some(ResponsePlan::Object { .. } | ResponsePlan::Rows { .. })) if matches!(customer, Some(Customer::New { .. })) => {
                place.error_help("nobody has consented yet to what a create answers", "write `response = { open = [\"id\"] }`");
            }
            (Some(place), Some(ResponsePlan::Empty)) if matches!(customer, Some(Customer::New { .. })) => {
                place.error_help("the id of the new customer stands in the answer", "write `response = { open = [\"id\"] }`");
            }
            (Some(place), Some(ResponsePlan::Rows { rows_max: None, .. })) if self.action == Action::Export => {
                place.error_help("an export says how many rows it may have", "add `rows_max`");
            }
            (Some(place), Some(ResponsePlan::Stream { .. })) if writes => {
                place.error_help("a write does not answer a stream", "leave `stream` out: what it answers is cut as one object");
            }
            (Some(place), Some(ResponsePlan::Object { .. } | ResponsePlan::Stream { .. })) if self.action == Action::Export => {
                place.error("an export answers `rows`");
            }
            _ => {}
        }
    }
}
