//! URLs of an upstream, as they stand in `Location` and `Link` headers and inside bodies, as URLs of the gateway. Followed as they
//! are they would go around it, and they may carry what nobody decided. A URL becomes the gateway's own when it leads to a declared
//! `GET` route of the same API with declared parameters, read as strictly as a request's target; every other one is `None`, and
//! whoever asked cuts it.
//!
//! Two things are left to who asks, since they hang on a decision: whether the customer that the URL names
//! ([`Link::customer`]) is one who was judged, and what else its path says.

use std::sync::Arc;

use http::{Method, Uri};

use super::target::{TARGET_BYTES_MAX, Target};
use super::{Api, Customer, Found};
use crate::model::Space;

/// Where an API stands behind the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Behind<'a> {
    /// `scheme://host[:port]`
    pub targets: &'a [Uri],
    /// Empty, or a canonical path without a slash at its end.
    pub base_path: &'a str,
}

/// A URL of the gateway in place of an upstream's. `Debug` hides it.
#[derive(Clone)]
pub struct Link {
    /// With a host where the upstream's had one, else only path and query.
    pub url: String,
    found: Found,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("found", &self.found).finish_non_exhaustive()
    }
}

impl Link {
    /// The route that it leads to, and what its path says.
    #[must_use]
    pub const fn found(&self) -> &Found {
        &self.found
    }

    /// The id of the customer whom the URL names, and its space: the link may go only to who may know of that customer.
    #[must_use]
    pub fn customer(&self) -> Option<(Space, &str)> {
        match &self.found.route.customer {
            Customer::Path { param, space } => Some((*space, self.found.path_param(param)?)),
            Customer::Query { param, space } => Some((*space, self.found.query_param(param)?)),
            Customer::Header { .. }
            | Customer::Claim { .. }
            | Customer::Request { .. }
            | Customer::Response { .. }
            | Customer::Answer
            | Customer::Lookup { .. }
            | Customer::New { .. }
            | Customer::None => None,
        }
    }
}

/// A URL taken apart. Nothing is decoded yet.
struct Parts<'u> {
    /// The scheme, if one is written, and the authority.
    host: Option<(Option<&'u str>, &'u str)>,
    /// Begins with `/`, or is empty.
    path: &'u str,
    /// Without `?`.
    query: Option<&'u str>,
}

impl Api {
    /// The gateway's URL for an upstream's `url`. `origin` is what the gateway's absolute URLs begin with (`https://host`), unless
    /// this API has a host of its own. `asked` is the request in whose answer the URL stood: a parameter that selects by customer
    /// data passes only with the value that the caller sent, and `?page=2` is understood as the same path with that query.
    #[must_use]
    pub fn own_url(self: &Arc<Self>, behind: Behind<'_>, origin: &str, asked: Option<&Found>, url: &str) -> Option<Link> {
        let parts = parts(url)?;
        if let Some((scheme, authority)) = parts.host {
            behind.targets.iter().find(|target| is_of(target, scheme, authority))?;
        }
        let own_path = asked.filter(|_| parts.host.is_none() && parts.path.is_empty() && parts.query.is_some()).map(|found| found.own_path(""));
        let below = match &own_path {
            Some(path) => path.as_str(),
            None if parts.host.is_none() && parts.path.is_empty() => return None,
            None => below(if parts.path.is_empty() { "/" } else { parts.path }, behind.base_path)?,
        };
        let query = parts.query.map(|query| format!("?{query}")).unwrap_or_default();
        let path = if below == "/" && !self.prefix.is_empty() { "" } else { below };
        let target = Target::parse(&format!("{}{path}{query}", self.prefix)).ok()?;
        let mut found = self.find(&Method::GET, &target)?;
        let selections = found.judge_query().ok()?.selections;
        let was_asked =
            |param: &str| asked.is_some_and(|asked| asked.query_param(param).is_some() && asked.query_param(param) == found.query_param(param));
        if !selections.iter().all(|selection| was_asked(&selection.param)) {
            return None;
        }
        let own = found.own_target(&self.prefix);
        let url = match (parts.host, &self.host) {
            (None, _) => own,
            (Some(_), Some(host)) => format!("https://{host}{own}"),
            (Some(_), None) => format!("{origin}{own}"),
        };
        Some(Link { url, found })
    }
}

/// `None` for what no URL of ours has: fragments, spaces, characters outside ASCII, relative paths.
fn parts(url: &str) -> Option<Parts<'_>> {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'#' | b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}');
    if url.is_empty() || url.len() > TARGET_BYTES_MAX || !url.bytes().all(plain) {
        return None;
    }
    let (host, rest) = match url.split_once("//") {
        Some(("", rest)) => (Some(None), rest),
        Some((scheme, rest)) if scheme.strip_suffix(':').is_some_and(|s| s.eq_ignore_ascii_case("http") || s.eq_ignore_ascii_case("https")) => {
            (Some(scheme.strip_suffix(':')), rest)
        }
        _ => (None, url),
    };
    let (host, rest) = match host {
        None => (None, rest),
        Some(scheme) => {
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some((scheme, authority)), rest)
        }
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    (path.is_empty() || path.starts_with('/')).then_some(Parts { host, path, query })
}

/// Whether a scheme and an authority are those of a target: the same host and port, written in any case, and nobody's name before it.
fn is_of(target: &Uri, scheme: Option<&str>, authority: &str) -> bool {
    let (Some(own_scheme), Some(own)) = (target.scheme_str(), target.authority()) else { return false };
    let usual = if own_scheme == "https" { "443" } else { "80" };
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an IPv6 address stand within brackets.
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, usual),
    };
    scheme.is_none_or(|scheme| scheme.eq_ignore_ascii_case(own_scheme))
        && host.eq_ignore_ascii_case(own.host())
        && port == own.port().as_ref().map_or(usual, http::uri::Port::as_str)
}

/// What stands below the base path, with its slash.
fn below<'p>(path: &'p str, base_path: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(base_path)?;
    match rest {
        "" => Some("/"),
        _ => rest.starts_with('/').then_some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Accepts, Param, Route, Template};
    use super::*;
    use crate::catalog::{ApiPurpose, Dialect, Place};
    use crate::model::{Action, ApiName, Category, Department, ResponsePlan, RouteKey, UpstreamName};

    fn param(name: &str, accepts: Accepts, categories: &[&str]) -> Param {
        Param { name: name.to_owned(), accepts, categories: categories.iter().map(|c| Category::intern(c)).collect() }
    }

    fn route(head: &str, customer: Customer, params: Vec<Param>) -> Arc<Route> {
        let (method, path) = head.split_once(' ').unwrap();
        Arc::new(Route {
            key: RouteKey::intern(head),
            method: method.parse().unwrap(),
            template: Template::parse(path).unwrap(),
            dialect: Dialect::Plain,
            when: None,
            action: Action::Read,
            customer,
            params,
            reading: None,
            request: None,
            search: None,
            response: ResponsePlan::Empty,
            bare: None,
            error: None,
            cache: None,
            graphql: None,
            departments: Vec::new(),
            records_max: None,
            place: Place::default(),
        })
    }

    fn api(prefix: &str, host: Option<&str>) -> Arc<Api> {
        let by_path = || Customer::Path { param: "id".to_owned(), space: Space::intern("crm") };
        let lists = vec![
            param("page", Accepts::grammar("[0-9]{1,4}").unwrap(), &[]),
            param("order", Accepts::OneOf(vec!["name".to_owned()]), &[]),
            param("email", Accepts::Any, &["contact"]),
        ];
        Arc::new(Api {
            name: ApiName::intern("crm"),
            owner: Department::intern("marketing"),
            prefix: prefix.to_owned(),
            host: host.map(str::to_owned),
            upstream: UpstreamName::intern("house"),
            contact: None,
            purpose: ApiPurpose::Any,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            compress: false,
            sealed_etag: false,
            routes: vec![
                route("GET /customers", Customer::Answer, lists),
                route("GET /customers/{id}", by_path(), Vec::new()),
                route("DELETE /customers/{id}/notes", by_path(), Vec::new()),
                route("GET /", Customer::None, Vec::new()),
                route("GET /search", Customer::Query { param: "id".to_owned(), space: Space::intern("crm") }, vec![param("id", Accepts::Any, &[])]),
            ],
            report: None,
            place: Place::default(),
        })
    }

    const ORIGIN: &str = "https://gw.example.com";

    fn own(targets: &[&str], base_path: &str, api: &Arc<Api>, asked: Option<&Found>, url: &str) -> Option<String> {
        let targets: Vec<Uri> = targets.iter().map(|t| t.parse().unwrap()).collect();
        api.own_url(Behind { targets: &targets, base_path }, ORIGIN, asked, url).map(|link| link.url)
    }

    #[test]
    fn what_leads_to_a_declared_route_becomes_ours() {
        let crm = api("/crm", None);
        for (url, expected) in [
            ("https://crm.internal:8443/v7/customers/0031", "https://gw.example.com/crm/customers/0031"),
            ("HTTPS://CRM.internal:8443/v7/customers/0031", "https://gw.example.com/crm/customers/0031"),
            ("//crm.internal:8443/v7/customers/0031", "https://gw.example.com/crm/customers/0031"),
            ("https://crm.internal:8443/v7/customers?page=2&order=name", "https://gw.example.com/crm/customers?page=2&order=name"),
            ("https://crm.internal:8443/v7/customers?", "https://gw.example.com/crm/customers"),
            ("https://crm.internal:8443/v7/customers/%30031", "https://gw.example.com/crm/customers/0031"),
            ("https://crm.internal:8443/v7", "https://gw.example.com/crm"),
            ("https://crm.internal:8443/v7/", "https://gw.example.com/crm"),
            ("/v7/customers/0031", "/crm/customers/0031"),
            ("/v7/customers?page=2", "/crm/customers?page=2"),
        ] {
            assert_eq!(own(&["https://crm.internal:8443"], "/v7", &crm, None, url).as_deref(), Some(expected), "{url}");
        }
        let hosted = api("/crm", Some("crm.example.com"));
        let url = "https://crm.internal/customers/0031";
        assert_eq!(own(&["https://crm.internal"], "", &hosted, None, url).as_deref(), Some("https://crm.example.com/crm/customers/0031"));
        assert_eq!(own(&["https://crm.internal"], "", &hosted, None, "https://crm.internal:443/").as_deref(), Some("https://crm.example.com/crm"));
        let root = api("", None);
        assert_eq!(own(&["http://[::1]:81"], "", &root, None, "http://[::1]:81/customers/1").as_deref(), Some("https://gw.example.com/customers/1"));
        assert_eq!(own(&["http://[::1]"], "", &root, None, "http://[::1]/").as_deref(), Some("https://gw.example.com/"));
    }

    #[test]
    fn every_other_url_is_nobodys() {
        let crm = api("/crm", None);
        let long = format!("/v7/customers?page={}", "1".repeat(9_000));
        for url in [
            "",
            "0031",
            "customers/0031",
            "../customers/0031",
            "?page=2",
            "#top",
            "mailto:ada@example.net",
            "javascript:alert(1)",
            "data:text/html,x",
            "urn:x:y",
            // other hosts, and those that only look like ours
            "https://other.internal:8443/v7/customers/0031",
            "https://crm.internal/v7/customers/0031",
            "https://crm.internal:443/v7/customers/0031",
            "https://crm.internal:08443/v7/customers/0031",
            "https://crm.internal:8443:8443/v7/customers/0031",
            "https://crm.internal:/v7/customers/0031",
            "https://crm.internal.:8443/v7/customers/0031",
            "https://crm.internal:8443.example.net/v7/customers/0031",
            "https://crm.internal:8443@example.net/v7/customers/0031",
            "https://ada@crm.internal:8443/v7/customers/0031",
            "https://a:b@crm.internal:8443/v7/customers/0031",
            "https://crm%2einternal:8443/v7/customers/0031",
            "https:///v7/customers/0031",
            "///v7/customers/0031",
            "//evil.example/v7/customers/0031",
            "http://crm.internal:8443/v7/customers/0031",
            "ftp://crm.internal:8443/v7/customers/0031",
            "https:/v7/customers/0031",
            "https:\\\\crm.internal:8443\\v7\\customers\\0031",
            // beside the base path
            "https://crm.internal:8443/customers/0031",
            "https://crm.internal:8443/v70/customers/0031",
            "https://crm.internal:8443/v7customers/0031",
            "/v7/../admin",
            "/v7/../v7/customers/0031",
            "/v7%2Fcustomers/0031",
            // what two parsers may read differently
            "/v7/customers/..%2f0031",
            "/v7/customers/%2e%2e",
            "/v7/customers//0031",
            "/v7/customers/0031/",
            "/v7/customers/00%2531",
            "/v7/customers/0031;v=1",
            "/v7/customers/0031#ada@example.net",
            "/v7/customers/00 31",
            "/v7/customers/0031\n",
            "/v7/customers/\u{ef}",
            // not declared, or not so
            "/v7/orders/1",
            "/v7/customers/0031/notes",
            "/v7/customers/0031?fields=all",
            "/v7/customers?q=ada%40example.net",
            "/v7/customers?email=ada%40example.net",
            "/v7/customers?page=2&page=3",
            "/v7/customers?page=two",
            "/v7/customers?page=2&order=score",
            "/v7/customers?page=2#3",
            &long,
        ] {
            assert_eq!(own(&["https://crm.internal:8443"], "/v7", &crm, None, url), None, "{url:?}");
        }
        assert_eq!(own(&[], "", &crm, None, "https://crm.internal/customers/1"), None);
    }

    #[test]
    fn what_the_caller_sent_may_come_back() {
        let crm = api("/crm", None);
        let targets = ["https://crm.internal"];
        let asked = crm.find(&Method::GET, &Target::parse("/crm/customers?email=ada%40example.net&page=1").unwrap()).unwrap();
        let ours = |url: &str| own(&targets, "", &crm, Some(&asked), url);
        assert_eq!(ours("/customers?page=2&email=ada@example.net").as_deref(), Some("/crm/customers?page=2&email=ada@example.net"));
        assert_eq!(ours("?page=2&email=ada%40example.net").as_deref(), Some("/crm/customers?page=2&email=ada@example.net"));
        assert_eq!(ours("?page=3").as_deref(), Some("/crm/customers?page=3"));
        assert_eq!(ours("/customers?page=2&email=mina@example.net"), None, "another's");
        assert_eq!(ours("?email=Ada@example.net"), None, "nor the same in another spelling");
        assert_eq!(ours("customers?page=2"), None);
    }

    #[test]
    fn a_link_says_which_customer_it_names() {
        let crm = api("/crm", None);
        let targets: Vec<Uri> = vec!["https://crm.internal".parse().unwrap()];
        let behind = Behind { targets: &targets, base_path: "" };
        let named = |url: &str| {
            let link = crm.own_url(behind, ORIGIN, None, url).unwrap();
            link.customer().map(|(space, id)| format!("{space}:{id}"))
        };
        assert_eq!(named("/customers/0031").as_deref(), Some("crm:0031"));
        assert_eq!(named("/search?id=0031").as_deref(), Some("crm:0031"));
        assert_eq!(named("/customers?page=2"), None);
        let link = crm.own_url(behind, ORIGIN, None, "/customers/0031").unwrap();
        assert!(!format!("{link:?}").contains("0031"));
        assert_eq!(link.found().route.key.as_str(), "GET /customers/{id}");
    }
}
