//! Tables of targets and routes. Rows of the attack catalogue are named by their numbers.

use proptest::prelude::*;

use super::*;
use crate::model::{Action, Category, PathPattern, ResponsePlan, RouteKey};

fn route(text: &str, params: &[&str]) -> Arc<Route> {
    let (method, path) = text.split_once(' ').unwrap();
    let declared = |name: &&str| Param { name: (*name).to_owned(), accepts: Accepts::Any, categories: Vec::new() };
    Arc::new(Route {
        key: RouteKey::intern(text),
        method: method.parse().unwrap(),
        template: Template::parse(path).unwrap(),
        dialect: Dialect::Plain,
        when: None,
        action: Action::Read,
        customer: Customer::None,
        params: params.iter().map(declared).collect(),
        request: None,
        search: None,
        reading: None,
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

fn catalog_of(prefix: &str, routes: Vec<Arc<Route>>) -> Catalog {
    let api = Api {
        name: ApiName::intern("crm"),
        owner: Department::intern("marketing"),
        prefix: prefix.to_owned(),
        host: None,
        upstream: UpstreamName::intern("crm"),
        contact: None,
        purpose: ApiPurpose::Any,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        compress: false,
        sealed_etag: false,
        routes,
        report: None,
        place: Place::default(),
    };
    Catalog { apis: vec![Arc::new(api)], ..Catalog::default() }
}

fn customers() -> Catalog {
    catalog_of(
        "/crm",
        vec![
            route("GET /customers", &["page", "sort", "id"]),
            route("GET /customers/{id}", &[]),
            route("PATCH /customers/{id}", &[]),
            route("GET /customers/stats", &[]),
            route("GET /customers/{id}/orders/{order}", &[]),
            route("GET /{kind}/42/notes", &[]),
            route("GET /customers/{id}/notes", &[]),
            route("GET /Quotes({id})", &[]),
            route("GET /Quotes", &[]),
            route("GET /files/{name}.json", &[]),
            route("GET /files/{name}", &[]),
            route("DELETE /slash/", &[]),
        ],
    )
}

#[test]
fn ambiguous_targets_are_refused() {
    use TargetError::*;
    let long = format!("/{}", "a".repeat(TARGET_BYTES_MAX));
    let table: &[(u8, &str, TargetError)] = &[
        (1, "/crm/customers%2f42", EncodedSeparator),
        (1, "/crm/customers%2F42", EncodedSeparator),
        (1, "/crm/customers%5c42", EncodedSeparator),
        (1, "/crm/customers/..%5C42", EncodedSeparator),
        (2, "/crm/../admin", DotSegment),
        (2, "/crm/./customers", DotSegment),
        (2, "/..", DotSegment),
        (2, "/crm/customers/.", DotSegment),
        (3, "/crm/%2e%2e/admin", DotSegment),
        (3, "/crm/.%2e/admin", DotSegment),
        (3, "/crm/%2E./admin", DotSegment),
        (3, "/crm/%2e/customers", DotSegment),
        (4, "/crm/customers/%252e%252e", DoubleEncoding),
        (4, "/crm/customers%252f42", DoubleEncoding),
        (4, "/crm/customers%25252f42", DoubleEncoding),
        (4, "/crm/customers/100%25", DoubleEncoding),
        (5, "//crm/customers", EmptySegment),
        (5, "/crm//customers", EmptySegment),
        (5, "/crm/customers//", EmptySegment),
        (5, "//", EmptySegment),
        (6, "/crm/customers;v=1/42", Semicolon),
        (6, "/crm/..;/admin", Semicolon),
        (6, "/crm/customers%3b42", Semicolon),
        (6, "/crm/customers/42;", Semicolon),
        (7, "/crm\\customers", Character),
        (7, "/crm/customers?q=a\\b", Character),
        (11, "/crm/customers/%c0%ae%c0%ae", NotAscii),
        (11, "/crm/customers/%e0%80%af", NotAscii),
        (11, "/crm/customers/%ef%bc%8f", NotAscii),
        (11, "/crm/customers/４２", NotAscii),
        (11, "/crm/customers/%u002f", Percent),
        (11, "/crm/customers?q=%c0%ae", NotUtf8),
        (11, "/crm/customers?q=%u0041", Percent),
        (11, "/crm/customers?q=é", NotAscii),
        (12, "/crm/customers/42%00", Control),
        (12, "/crm/customers/42%0d%0a", Control),
        (12, "/crm/customers/42%09", Control),
        (12, "/crm/customers/42\t", Control),
        (12, "/crm/customers/42\r\nX: y", Control),
        (12, "/crm/customers/4\u{7f}2", Control),
        (12, "/crm/customers?q=%00", Control),
        (12, "/crm/customers?q=%C2%85", Control),
        (12, "/crm/customers?q=a b", Character),
        (12, "/crm/customers/4 2", Character),
        (13, "/crm/customers/42#top", Character),
        (13, "/crm/customers?id=42#top", Character),
        (14, "http://other.example.com/crm/customers", NotAPath),
        (14, "gw.example.com:443", NotAPath),
        (14, "*", NotAPath),
        (14, "", NotAPath),
        (14, "?id=42", NotAPath),
        (15, "/crm/customers/42|43", Character),
        (17, &long, TooLong),
        (26, "/crm/customers?id=42;id=43", Semicolon),
        (26, "/crm/customers?id=%4", Percent),
        (26, "/crm/customers?id=%", Percent),
        (0, "/crm/customers/%zz", Percent),
        (0, "/crm/customers/%4", Percent),
        (0, "/crm/customers/<id>", Character),
        (0, "/crm/customers/[id]", Character),
    ];
    for (row, raw, error) in table {
        assert_eq!(Target::parse(raw).unwrap_err(), *error, "row {row}: {raw:?}");
    }
}

#[test]
fn what_has_one_reading_gets_its_canonical_form() {
    let table = [
        // row 10: ordinary letters in disguise
        ("/%63rm/customers/%34%32", "/crm/customers/42"),
        ("/crm/Quotes(7)", "/crm/Quotes(7)"),
        ("/crm/Quotes%287%29", "/crm/Quotes(7)"),
        // row 13: encoded delimiters stay in their segment
        ("/crm/customers/4%3f2%23", "/crm/customers/4%3F2%23"),
        ("/crm/customers/ada%40example.com", "/crm/customers/ada@example.com"),
        ("/crm/customers/a%20b", "/crm/customers/a%20b"),
        ("/crm/customers/a+b", "/crm/customers/a+b"),
        ("/crm/customers/...", "/crm/customers/..."),
        ("/crm/customers/42.", "/crm/customers/42."),
        ("/", "/"),
        ("/crm/", "/crm/"),
    ];
    for (raw, path) in table {
        assert_eq!(Target::parse(raw).unwrap().path(), path, "{raw}");
    }
    let query = |raw: &str| Target::parse(raw).unwrap().query().to_vec();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(query("/a?x=1&%79=b%26c&z"), [pair("x", "1"), pair("y", "b&c"), pair("z", "")]);
    assert_eq!(query("/a?q=M%C3%BCller+%2B"), [pair("q", "Müller +")]);
    assert_eq!(query("/a?q=%2527"), [pair("q", "%27")], "decoded once");
    assert_eq!(query("/a?x=a=b?c"), [pair("x", "a=b?c")]);
    assert!(query("/a?").is_empty() && query("/a?&&").is_empty());
}

#[test]
fn the_most_specific_route_wins() {
    let catalog = customers();
    let table = [
        ("GET /crm/customers/42", "GET /customers/{id}"),
        ("GET /crm/customers/stats", "GET /customers/stats"),
        ("GET /crm/customers/st%61ts", "GET /customers/stats"),
        ("PATCH /crm/customers/stats", "PATCH /customers/{id}"),
        ("HEAD /crm/customers/42", "GET /customers/{id}"),
        ("GET /crm/customers/42/orders/7", "GET /customers/{id}/orders/{order}"),
        ("GET /crm/customers/42/notes", "GET /customers/{id}/notes"),
        ("GET /crm/people/42/notes", "GET /{kind}/42/notes"),
        ("GET /crm/Quotes(7)", "GET /Quotes({id})"),
        ("GET /crm/Quotes", "GET /Quotes"),
        ("GET /crm/files/a.json", "GET /files/{name}.json"),
        ("GET /crm/files/a.xml", "GET /files/{name}"),
        ("DELETE /crm/slash/", "DELETE /slash/"),
    ];
    for (request, key) in table {
        let (method, target) = request.split_once(' ').unwrap();
        let found = catalog.find(&method.parse().unwrap(), &Target::parse(target).unwrap());
        assert_eq!(found.map(|f| f.route.key.as_str()), Ok(key), "{request}");
    }
}

#[test]
fn what_is_not_declared_is_not_found() {
    let catalog = customers();
    let missing = [
        // row 8: letter case; row 9: what stands behind an id; row 16: outside all routes
        "GET /CRM/customers/42",
        "GET /crm/Customers/42",
        "GET /crm/customers/42/",
        "GET /crm/customers/",
        "GET /crm",
        "GET /crm/",
        "GET /",
        "GET /crmx/customers/42",
        "GET /customers/42",
        "GET /crm/customers/42/orders",
        "GET /crm/Quotes()",
        "GET /crm/quotes(7)",
        "GET /crm/Quotes(7)/lines",
        "GET /crm/files/",
        "GET /admin",
    ];
    for request in missing {
        let (method, target) = request.split_once(' ').unwrap();
        let found = catalog.find(&method.parse().unwrap(), &Target::parse(target).unwrap()).map(|f| f.route.key);
        assert_eq!(found, Err(RouteError::NotDeclared), "{request}");
    }
}

#[test]
fn another_method_is_not_allowed() {
    // rows 19, 20, 23, 24
    let catalog = customers();
    let allowed = vec![Method::GET, Method::HEAD, Method::PATCH];
    for method in ["PUT", "DELETE", "POST", "get", "TRACE", "TRACK", "CONNECT", "PROPFIND", "OPTIONS"] {
        let found = catalog.find(&method.parse().unwrap(), &Target::parse("/crm/customers/42").unwrap()).map(|f| f.route.key);
        assert_eq!(found, Err(RouteError::MethodNotAllowed { allowed: allowed.clone() }), "{method}");
    }
    let head = catalog.find(&Method::HEAD, &Target::parse("/crm/slash/").unwrap()).map(|f| f.route.key);
    assert_eq!(head, Err(RouteError::MethodNotAllowed { allowed: vec![Method::DELETE] }), "only GET answers HEAD");
}

#[test]
fn parameters_are_declared_single_and_spelled_exactly() {
    // rows 26, 27, 30
    let catalog = customers();
    let judge = |query: &str| {
        let target = Target::parse(&format!("/crm/customers?{query}")).unwrap();
        catalog.find(&Method::GET, &target).unwrap().judge_query().map(|judged| judged.selections)
    };
    assert_eq!(judge("id=42&page=2"), Ok(Vec::new()));
    let table = [
        ("id=42&id=43", ParamError::Repeated("id".to_owned())),
        ("id=42&%69d=43", ParamError::Repeated("id".to_owned())),
        ("id[]=42", ParamError::NotDeclared("id[]".to_owned())),
        ("id%5B%5D=42", ParamError::NotDeclared("id[]".to_owned())),
        ("ID=42", ParamError::NotDeclared("ID".to_owned())),
        ("id%20=42", ParamError::NotDeclared("id ".to_owned())),
        ("customer_id=42", ParamError::NotDeclared("customer_id".to_owned())),
        ("$expand=orders", ParamError::NotDeclared("$expand".to_owned())),
        ("fields=*", ParamError::NotDeclared("fields".to_owned())),
        ("_method=DELETE", ParamError::NotDeclared("_method".to_owned())),
        ("=42", ParamError::NotDeclared(String::new())),
    ];
    for (query, error) in table {
        assert_eq!(judge(query), Err(error), "{query}");
    }
}

#[test]
fn values_are_judged_and_selections_named() {
    let contact = Category::intern("contact");
    let declared = [
        Param { name: "sort".to_owned(), accepts: Accepts::OneOf(vec!["email".to_owned(), "-email".to_owned()]), categories: vec![contact] },
        Param { name: "page".to_owned(), accepts: Accepts::grammar("[0-9]{1,3}").unwrap(), categories: Vec::new() },
    ];
    let given = |pairs: &[(&str, &str)]| -> Vec<(String, String)> { pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect() };
    let selection = Selection { param: "sort".to_owned(), categories: vec![contact] };
    let judged = judge(&declared, None, &given(&[("page", "12"), ("sort", "-email")])).unwrap();
    assert_eq!(judged.selections, [selection]);
    for (name, value) in [("page", "1234"), ("page", "1\n"), ("page", ""), ("sort", "Email"), ("sort", "email "), ("sort", "email,name")] {
        assert_eq!(judge(&declared, None, &given(&[(name, value)])), Err(ParamError::Value(name.to_owned())), "{value:?}");
    }
}

#[test]
fn the_upstream_gets_what_was_judged() {
    let catalog = customers();
    let sent = |target: &str, base: &str| {
        let mut found = catalog.find(&Method::GET, &Target::parse(target).unwrap()).unwrap();
        // What was refused is not sent, whoever forgets to ask.
        drop(found.judge_query());
        found.upstream_target(base)
    };
    assert_eq!(sent("/crm/c%75stomers/%34%32", "/v1"), "/v1/customers/42");
    assert_eq!(sent("/crm/customers/4%3F2", ""), "/customers/4%3F2");
    assert_eq!(sent("/crm/customers?page=2&s%6frt=a+b", ""), "/customers?page=2&sort=a%20b");
    assert_eq!(sent("/crm/customers?page=2&fields=*&x=1", ""), "/customers", "nothing is sent of a query that is refused");
    assert_eq!(sent("/crm/customers?sort=%26id%3D43", ""), "/customers?sort=%26id%3D43", "a value cannot become a parameter");
    let whole = catalog_of("/crm", vec![route("GET /", &[])]);
    assert_eq!(whole.find(&Method::GET, &Target::parse("/crm").unwrap()).unwrap().upstream_target("/v1"), "/v1");
    assert_eq!(whole.find(&Method::GET, &Target::parse("/crm").unwrap()).unwrap().upstream_target(""), "/");
}

#[test]
fn a_lookup_cannot_climb() {
    let shape = crate::model::Shape {
        name: crate::model::ShapeName::intern("quote"),
        ids: None,
        customer: vec![PathPattern::parse("party").unwrap()],
        several: crate::model::Several::All,
        open: Vec::new(),
        links: Vec::new(),
        hidden: Vec::new(),
        needs: Vec::new(),
        also: Vec::new(),
        fields: Vec::new(),
        bare: false,
        lets_unmapped_pass: false,
    };
    let mut patch = Route::clone(&route("PATCH /Quotes({id})", &[]));
    let (key, template) = (RouteKey::intern("GET /quotes/{id}"), Template::parse("/quotes/{id}").unwrap());
    patch.customer = Customer::Lookup { route: key, template, at: PathPattern::default(), shape: Arc::new(shape), call: None };
    let catalog = catalog_of("/sales", vec![Arc::new(patch)]);
    let lookup = |target: &str| catalog.find(&Method::PATCH, &Target::parse(target).unwrap()).unwrap().lookup_target("/v1");
    assert_eq!(lookup("/sales/Quotes(7)").as_deref(), Some("/v1/quotes/7"));
    assert_eq!(lookup("/sales/Quotes(..)"), None);
    assert_eq!(lookup("/sales/Quotes(.)"), None);
}

#[test]
fn routes_that_no_path_tells_apart_shadow_each_other() {
    let shadows = |a: &str, b: &str| {
        let (a, b) = (Template::parse(a).unwrap(), Template::parse(b).unwrap());
        assert_eq!(a.shadows(&b), b.shadows(&a));
        a.shadows(&b)
    };
    for (a, b) in [("/a", "/a"), ("/a/{id}", "/a/{key}"), ("/{a}/x", "/{b}/x"), ("/a/{x}b", "/a/b{y}"), ("/Q({a})", "/Q({b})"), ("/", "/")] {
        assert!(shadows(a, b), "{a} {b}");
    }
    for (a, b) in
        [("/a", "/b"), ("/a", "/a/"), ("/a/{id}", "/a/b"), ("/a/{x}.json", "/a/{x}"), ("/a/b{x}", "/a/c{x}"), ("/{a}/x", "/x/{b}"), ("/a", "/A")]
    {
        assert!(!shadows(a, b), "{a} {b}");
    }
}

#[test]
fn templates_that_could_never_match_are_refused() {
    for text in ["", "a", "/a//b", "/../a", "/a/.", "/{a}{b}", "/{}", "/{a", "/a}", "/{a b}", "/a?x=1", "/a%20b", "/a;b", "/{id}/{id}", "/ü", "//"] {
        assert!(Template::parse(text).is_err(), "{text:?}");
    }
}

proptest! {
    /// Reading the canonical form again changes nothing: what is judged is what the upstream reads.
    #[test]
    fn canonical_targets_are_fixed_points(raw in "/[a-zA-Z0-9%/.;~()'@+ü?&=#-]{0,40}") {
        if let Ok(target) = Target::parse(&raw) {
            let again = Target::parse(target.path()).unwrap();
            prop_assert_eq!(again.path(), target.path());
            let query = target::canonical_query(target.query().iter().map(|(n, v)| (n.as_str(), v.as_str())));
            let reread = Target::parse(&format!("{}?{query}", target.path())).unwrap();
            prop_assert_eq!(reread.query(), target.query());
        }
    }

    /// A single segment survives encoding and decoding, whatever decodes to it.
    #[test]
    fn fully_encoded_segments_are_the_same_segment(text in "[a-zA-Z0-9._~@()' -]{1,20}") {
        prop_assume!(text != "." && text != "..");
        let encoded: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
        let plain = Target::parse(&format!("/{}", text.replace(' ', "%20"))).unwrap();
        let disguised = Target::parse(&format!("/{encoded}")).unwrap();
        prop_assert_eq!(disguised.path(), plain.path());
    }
}
