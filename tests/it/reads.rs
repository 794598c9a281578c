//! What comes back from a read: whole, cut, masked or refused, for one object and for lists.

use http::Method;
use serde_json::json;

use crate::harness::people::{ada, ada_for_outreach, card, card_whole, mina, mina_for_outreach, pavel, pavel_for_outreach};
use crate::harness::{Plan, UPSTREAM_KEY, gateway};

const OUTREACH: &str = "sales.outreach";
const SUPPORT: &str = "service-provision.support";
const EMAIL: &str = "marketing.email";

#[tokio::test(flavor = "multi_thread")]
async fn an_object_comes_back_as_far_as_consent_and_ownership_go() {
    let world = gateway().start().await;
    for (id, body) in [("0031", ada()), ("0044", mina())] {
        world.upstream.json(&format!("GET /customers/{id}"), &body);
        world.upstream.json(&format!("GET /cards/{id}"), &card(id, "a@example.net"));
        world.consent(&format!("crm:{id}"), OUTREACH, "given").await;
    }
    world.consent("crm:0031", EMAIL, "given").await;
    let marketing = ada().replace(", \"updatedAt\"", ",\"updatedAt\"").replace(",\"dietaryNote\":\"vegan\",\"internalFlag\":true", "");
    // (app, target, purpose, body, paths of the shape withheld, outcome in the log)
    let cases = [
        ("helpdesk", "/crm/cards/0031", SUPPORT, card_whole("0031", "a@example.net"), 0, "permit"),
        ("crm", "/crm/customers/0031", OUTREACH, ada_for_outreach(), 3, "redact"),
        ("crm", "/crm/customers/0044", OUTREACH, mina_for_outreach(), 1, "redact"),
        ("campaign-manager", "/crm/customers/0031", EMAIL, marketing, 1, "redact"),
    ];
    for (app, target, purpose, body, withheld, outcome) in cases {
        let answer = world.client(app).get(target).purpose(purpose).await;
        answer.released(200, &body);
        assert_eq!((Some(withheld), Some("application/json")), (answer.withheld(), answer.header("content-type")), "{app} {target}");
        let found = world.found(&answer);
        assert_eq!((outcome, app, purpose), (found.outcome.as_str(), found.app.as_str(), found.purpose.as_deref().unwrap()));
        assert_eq!(1, found.parties);
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_agreed_looks_like_nobody() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0058", &pavel());
    world.upstream.json("GET /customers/9999", &pavel());
    world.consent("crm:0058", OUTREACH, "refused").await;
    world.consent("crm:0012", EMAIL, "given").await;
    let crm = world.client("crm");
    let refused = crm.get("/crm/customers/0058").purpose(OUTREACH).await;
    refused.refused(403, "denied");
    assert!(refused.json()["remedy"].as_str().unwrap().contains("crm-owners@example.com"));
    assert!(refused.json().get("categories").is_none());
    // Unknown to the crosswalk, agreed to something else only, never asked.
    for id in ["9999", "0012", "0031"] {
        let other = crm.get(&format!("/crm/customers/{id}")).purpose(OUTREACH).await;
        assert_eq!(refused.anonymous(), other.anonymous(), "{id}");
        let found = world.found(&other);
        assert_eq!(if id == "9999" { (0, 1) } else { (1, 0) }, (found.parties, found.unknown), "{id}");
    }
    assert!(world.upstream.asked().is_empty(), "a customer who is refused is not asked for");
    // In the log the reasons differ.
    let found = world.found(&refused);
    assert!(found.policies.iter().any(|p| p == "consent-basis-needs-consent"), "{found:?}");
    crm.get("/crm/customers/00x1").purpose(OUTREACH).await.refused(400, "ambiguous-request");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_lose_the_rows_of_those_who_refused() {
    let world = gateway().start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0044", OUTREACH, "given").await;
    world.consent("crm:0058", OUTREACH, "withdrawn").await;
    let (ada_cut, mina_cut) = (ada_for_outreach(), mina_for_outreach());
    let unknown = ada().replace("0031", "9999");
    let nameless = ada().replace("\"id\":\"0031\", ", "");
    // (what the test is about, the upstream's answer, ours)
    let cases = [
        (
            "a dropped row, the total corrected",
            format!(r#"{{"customers":[{},{},{}],"total":3}}"#, ada(), pavel(), mina()),
            format!(r#"{{"customers":[{ada_cut},{mina_cut}],"total":2}}"#),
        ),
        (
            "a page: total and next link go",
            format!(r#"{{"total":41,"customers":[{},{}],"next":"/customers?cursor=x"}}"#, ada(), pavel()),
            format!(r#"{{"customers":[{ada_cut}]}}"#),
        ),
        (
            "the last page by a total that does not fit",
            format!(r#"{{"customers":[{}],"next":null,"total":7}}"#, ada()),
            format!(r#"{{"customers":[{ada_cut}]}}"#),
        ),
        ("an empty list", r#"{"customers":[],"total":0}"#.to_owned(), r#"{"customers":[],"total":0}"#.to_owned()),
        ("no row remains", format!(r#"{{"customers":[{},{unknown},{nameless}],"total":3}}"#, pavel()), r#"{"customers":[],"total":0}"#.to_owned()),
        (
            "members beside the rows are not passed on",
            format!(r#"{{"debug":"ada.brandt@example.net","customers":[{}],"total":1}}"#, mina()),
            format!(r#"{{"customers":[{mina_cut}],"total":1}}"#),
        ),
    ];
    let crm = world.client("crm");
    for (what, theirs, ours) in cases {
        world.upstream.json("GET /customers", &theirs);
        let answer = crm.get("/crm/customers").purpose(OUTREACH).await;
        assert_eq!((200, ours.as_str()), (answer.status.as_u16(), answer.text()), "{what}");
    }
    world.upstream.json("GET /customers", &format!(r#"{{"customers":[{},{}],"total":2}}"#, ada(), pavel()));
    let found = world.found(&crm.get("/crm/customers").purpose(OUTREACH).await);
    assert_eq!(("filter", 1, 1, 2), (found.outcome.as_str(), found.rows, found.dropped, found.parties));
    world.upstream.json("GET /customers", r#"{"items":[]}"#);
    crm.get("/crm/customers").purpose(OUTREACH).await.refused(502, "upstream-unreadable");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_see_a_field_may_not_select_by_it() {
    let world = gateway().start().await;
    for id in ["0031", "0044"] {
        world.consent(&format!("crm:{id}"), OUTREACH, "given").await;
    }
    let list = format!(r#"{{"customers":[{},{}],"total":2}}"#, ada(), mina());
    for query in ["?min_score=50", "?email=mina.okafor@example.net", "?limit=5&order=name", "?order=score"] {
        world.upstream.json(&format!("GET /customers{query}"), &list);
    }
    let (ada_cut, mina_cut) = (ada_for_outreach(), mina_for_outreach());
    let both = format!(r#"{{"customers":[{ada_cut},{mina_cut}],"total":2}}"#);
    let crm = world.client("crm");
    // Ada is no lead, so that sales may not see her behaviour: that her score is high must not show either.
    let of_lead = format!(r#"{{"customers":[{mina_cut}],"total":1}}"#);
    crm.get("/crm/customers?min_score=50").purpose(OUTREACH).await.released(200, &of_lead);
    crm.get("/crm/customers?email=mina.okafor%40example.net").purpose(OUTREACH).await.released(200, &both);
    crm.get("/crm/customers?limit=5&order=name").purpose(OUTREACH).await.released(200, &both);
    assert_eq!(3, world.upstream.take().len());
    let cases = [
        ("?debug=1", "parameter-not-declared"),
        ("?Limit=1", "parameter-not-declared"),
        ("?order=email", "parameter-not-declared"),
        ("?limit=1&limit=2", "ambiguous-request"),
        ("?limit=1&lim%69t=2", "ambiguous-request"),
    ];
    for (query, code) in cases {
        crm.get(&format!("/crm/customers{query}")).purpose(OUTREACH).await.refused(400, code);
    }
    let answer = crm.get("/crm/customers?debug=1").purpose(OUTREACH).await;
    assert_eq!(json!(["debug"]), answer.json()["fields"]);
    // No customer's state opens behaviour to the help desk, so the parameter itself is refused.
    world.client("helpdesk").get("/crm/customers?min_score=50").purpose("service-provision.support").await.refused(403, "field-not-permitted");
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_known_only_from_the_answer_is_judged_before_anything_goes_out() {
    let world = gateway().start().await;
    let order = |number: &str, ship_to: &str| {
        format!(
            r#"{{"id":"o-1","customer":{{"number":"{number}","name":"N N","email":"n@example.net"}},"total":"12.50","lines":[{{"sku":"S","price":12.50}}],"notes":"asks for a discount","shipTo":{ship_to}}}"#
        )
    };
    let of = |number: &str, name: &str| format!(r#"{{"number":"{number}","name":"{name}","email":"r@example.net"}}"#);
    let cut = |ship_to: &str| {
        format!(
            r#"{{"id":"o-1","customer":{{"number":"7731","name":"N N","email":"n@example.net"}},"total":"12.50","lines":[{{"price":12.50}}],"notes":null{ship_to}}}"#
        )
    };
    let helpdesk = world.client("helpdesk");
    let shown = [
        ("the same customer", of("7731", "Ada"), format!(",\"shipTo\":{}", of("7731", "Ada"))),
        ("another whose contract allows it", of("0007758", "Pavel"), format!(",\"shipTo\":{}", of("0007758", "Pavel"))),
        ("a lead, who has no contract", of("7744", "Mina"), String::new()),
        ("somebody unknown", of("9999", "X"), String::new()),
        ("somebody without a number", r#"{"name":"X","email":"r@example.net"}"#.to_owned(), String::new()),
        ("a list of two", format!("[{},{}]", of("7744", "Mina"), of("7758", "Pavel")), format!(",\"shipTo\":[{}]", of("7758", "Pavel"))),
    ];
    for (what, ship_to, ours) in shown {
        world.upstream.json("GET /orders/o-1", &order("7731", &ship_to));
        let answer = helpdesk.get("/sales/orders/o-1").purpose(SUPPORT).await;
        assert_eq!((200, cut(&ours)), (answer.status.as_u16(), answer.text().to_owned()), "{what}");
    }
    let ours = of("7731", "Ada");
    world.upstream.json("GET /orders/o-1", &order("7744", &ours));
    let denied = helpdesk.get("/sales/orders/o-1").purpose(SUPPORT).await;
    denied.refused(403, "denied");
    // A missing order must not be told from one that is not to be seen.
    for (what, plan) in [
        ("missing", Plan::json(r#"{"error":"no such order"}"#).status(404)),
        ("of somebody unknown", Plan::json(&order("9999", &ours))),
        ("missing, as text", Plan::text("text/plain", "gone").status(404)),
    ] {
        world.upstream.on("GET /orders/o-1", plan);
        let other = helpdesk.get("/sales/orders/o-1").purpose(SUPPORT).await;
        assert_eq!(denied.anonymous(), other.anonymous(), "{what}");
    }
    // An answer that does not say whose it is, or says it twice, goes to nobody.
    for body in [
        order("", &ours),
        order("x", &ours),
        order("7731\",\"number\":\"7758", &ours),
        order("7731", &ours).replace("\"number\":\"7731\",\"name\":\"N N\"", "\"name\":\"N N\""),
    ] {
        world.upstream.json("GET /orders/o-1", &body);
        let answer = helpdesk.get("/sales/orders/o-1").purpose(SUPPORT).await;
        assert!([403, 502].contains(&answer.status.as_u16()), "{body} {answer:?}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_persons_in_one_object_are_judged_each() {
    let world = gateway().start().await;
    let ticket = |requester: &str| {
        format!(
            r#"{{"id":"t1","state":"open","subject":"Broken","messages":[{{"body":"It is broken","ip":"192.0.2.1"}}],"requester":{{"email":"{requester}","name":"R"}},"cc":[{{"email":"mina.okafor@example.net","name":"M"}},{{"email":"Pavel.Horak@example.net","name":"P"}},{{"email":"nobody@example.net","name":"X"}}]}}"#
        )
    };
    world.upstream.json("GET /tickets/t1", &ticket("ada.brandt@example.net"));
    let ours = r#"{"id":"t1","state":"open","subject":"Broken","messages":[{"body":"It is broken"}],"requester":{"email":"ada.brandt@example.net","name":"R"},"cc":[{"email":"Pavel.Horak@example.net","name":"P"}]}"#;
    let helpdesk = world.client("helpdesk");
    helpdesk.get("/desk/tickets/t1").await.released(200, ours);
    // The requester's refusal is the ticket's: nobody unknown owns one.
    world.upstream.json("GET /tickets/t1", &ticket("nobody@example.net"));
    helpdesk.get("/desk/tickets/t1").await.refused(403, "denied");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_another_customer_than_asked_for_goes_to_nobody() {
    let world = gateway().start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0044", OUTREACH, "given").await;
    let crm = world.client("crm");
    for body in [mina(), ada().replace("0031", "9999"), ada().replace("\"id\":\"0031\", ", ""), ada().replace("\"0031\"", "null")] {
        world.upstream.json("GET /customers/0031", &body);
        crm.get("/crm/customers/0031").purpose(OUTREACH).await.refused(502, "upstream-unreadable");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_strictly_is_never_passed_on() {
    let world = gateway().start().await;
    let crm = world.client("helpdesk");
    let good = card("0031", "ada.brandt@example.net");
    let deep = format!("{{\"id\":\"0031\",\"email\":{}1{}}}", "[".repeat(400), "]".repeat(400));
    let unreadable = |plan: Plan| (plan, 502, "upstream-unreadable");
    let cases = [
        ("cut in the middle", unreadable(Plan::json(&good).cut_in_the_middle())),
        ("two members of one name", unreadable(Plan::json(&good.replace("\"name\"", "\"id\"")))),
        ("one name by an escape", unreadable(Plan::json(&good.replace("\"name\"", "\"\\u0069d\"")))),
        ("trailing garbage", unreadable(Plan::json(&format!("{good} {{}}")))),
        ("a byte order mark", unreadable(Plan::json(&format!("\u{feff}{good}")))),
        ("NaN", unreadable(Plan::json(&good.replace("\"+49 170 1234567\"", "NaN")))),
        ("a comment", unreadable(Plan::json(&format!("{good} // ok")))),
        ("a list", unreadable(Plan::json(&format!("[{good}]")))),
        ("nothing", unreadable(Plan::json(""))),
        ("too deep", unreadable(Plan::json(&deep))),
        ("HTML", unreadable(Plan::text("text/html", &good))),
        ("another charset", unreadable(Plan::text("application/json; charset=utf-16", &good))),
        ("encoded", unreadable(Plan::json(&good).header("content-encoding", "gzip"))),
        ("a part", unreadable(Plan::json(&good).status(206))),
        ("a redirect", unreadable(Plan::json(&good).status(302).header("location", "https://example.net/ada"))),
        ("not found", (Plan::json(&good).status(404), 404, "route-not-declared")),
        ("refused", (Plan::json(&good).status(409), 409, "upstream-refused")),
        ("the gateway is not let in", (Plan::json(&good).status(401), 502, "upstream-unavailable")),
        ("failed", (Plan::json(&good).status(500), 502, "upstream-unavailable")),
    ];
    for (what, (plan, status, code)) in cases {
        world.upstream.on("GET /cards/0031", plan);
        let answer = crm.get("/crm/cards/0031").purpose(SUPPORT).await;
        assert_eq!((status, code), (answer.status.as_u16(), answer.code().as_str()), "{what}");
        assert!(!answer.text().contains("example.net"), "{what}: {answer:?}");
    }
    world.upstream.json("GET /cards/0031", &good);
    crm.get("/crm/cards/0031").purpose(SUPPORT).await.released(200, &card_whole("0031", "ada.brandt@example.net"));
    crm.get("/away/cards/0031").purpose(SUPPORT).await.refused(502, "upstream-unavailable");
    let gate = crate::harness::Gate::closed();
    world.upstream.on("GET /cards/0031", Plan::json(&good).behind(&gate));
    crm.get("/hasty/cards/0031").purpose(SUPPORT).await.refused(504, "upstream-timeout");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_declared_headers_pass_in_either_direction() {
    let world = gateway().start().await;
    let theirs = Plan::json(&card("0031", "a@example.net"))
        .header("content-language", "de")
        .header("set-cookie", "session=1")
        .header("etag", "\"1\"")
        .header("last-modified", "Wed, 01 Jul 2026 00:00:00 GMT")
        .header("link", "</cards/0032>; rel=next")
        .header("x-internal", "ada.brandt@example.net")
        .header("consentry-withheld", "7")
        .header("cache-control", "public");
    world.upstream.on("GET /cards/0031", theirs);
    let dropped = [
        ("cookie", "session=1"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-original-url", "/admin"),
        ("x-http-method-override", "DELETE"),
        ("accept-encoding", "gzip"),
        ("if-none-match", "\"1\""),
        ("range", "bytes=0-3"),
        ("x-api-key", "mine"),
        ("consentry-decision", "forged"),
    ];
    let helpdesk = world.client("helpdesk");
    let mut ask = helpdesk.get("/crm/cards/0031").purpose(SUPPORT).header("accept-language", "de");
    for (name, value) in dropped {
        ask = ask.header(name, value);
    }
    let answer = ask.await;
    answer.released(200, &card_whole("0031", "a@example.net"));
    assert_eq!((Some("de"), Some(0)), (answer.header("content-language"), answer.withheld()));
    let received = world.upstream.take().remove(0);
    let mut names: Vec<&str> = received.headers.keys().map(|n| n.as_str()).collect();
    names.sort_unstable();
    assert_eq!(["accept", "accept-encoding", "accept-language", "forwarded", "host", "traceparent", "x-api-key"], names[..]);
    assert_eq!((UPSTREAM_KEY, "identity"), (received.headers["x-api-key"].to_str().unwrap(), received.headers["accept-encoding"].to_str().unwrap()));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_the_headers_of_the_filtered_answer() {
    let world = gateway().start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.upstream.json("GET /customers/0031", &ada());
    let crm = world.client("crm");
    let get = crm.get("/crm/customers/0031").purpose(OUTREACH).await;
    let head = crm.ask(Method::HEAD, "/crm/customers/0031").purpose(OUTREACH).await;
    assert_eq!(["GET /customers/0031", "GET /customers/0031"], world.upstream.asked()[..]);
    assert_eq!((200, ""), (head.status.as_u16(), head.text()));
    for name in ["content-length", "content-type", "consentry-withheld", "consentry-revision"] {
        assert_eq!(get.header(name), head.header(name), "{name}");
    }
    assert_eq!(get.body.len().to_string(), head.header("content-length").unwrap());
    assert_eq!(403, crm.ask(Method::HEAD, "/crm/customers/0058").purpose(OUTREACH).await.status.as_u16());
    crm.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_without_customer_data_is_for_its_departments_and_types() {
    let world = gateway().start().await;
    let about = r#"{"version":"7"}"#;
    world.upstream.on("GET /about", Plan::text("application/json; charset=utf-8", about));
    let crm = world.client("crm");
    let answer = crm.get("/crm/about").purpose(OUTREACH).await;
    answer.released(200, about);
    assert_eq!(None, answer.withheld());
    assert_eq!(["no-customer-data"], world.found(&answer).policies[..]);
    world.upstream.take();
    world.client("helpdesk").get("/crm/about").purpose(SUPPORT).await.refused(403, "not-entitled");
    assert!(world.upstream.asked().is_empty());
    let other = [
        Plan::text("text/html", about),
        Plan::text("text/csv", about),
        Plan::json(about).header("content-encoding", "gzip"),
        Plan::json(about).status(206),
    ];
    for plan in other {
        world.upstream.on("GET /about", plan);
        crm.get("/crm/about").purpose(OUTREACH).await.refused(502, "upstream-unreadable");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_stops_at_its_ceiling_and_is_not_for_agents() {
    let world = gateway().start().await;
    for id in ["0031", "0044", "0058"] {
        world.consent(&format!("crm:{id}"), OUTREACH, "given").await;
    }
    let rows = |n: usize| vec![ada(), mina(), pavel(), ada()].into_iter().take(n).collect::<Vec<_>>().join(",");
    // An export has no sales-lead-behaviour, so leads look like everybody.
    let mina = crate::harness::people::for_outreach("0044", "Mina", "Okafor", "mina.okafor@example.net", false);
    let three = format!("{},{mina},{}", ada_for_outreach(), pavel_for_outreach());
    let crm = world.client("crm");
    world.upstream.json("GET /export", &format!(r#"{{"customers":[{}],"total":3}}"#, rows(3)));
    crm.get("/crm/export").purpose(OUTREACH).await.released(200, &format!(r#"{{"customers":[{three}],"total":3}}"#));
    world.upstream.json("GET /export", &format!(r#"{{"customers":[{}],"total":4}}"#, rows(4)));
    crm.get("/crm/export").purpose(OUTREACH).await.released(200, &format!(r#"{{"customers":[{three}]}}"#));
    world.upstream.take();
    let agent = world.client("sales-copilot").get("/crm/export").purpose(OUTREACH).await;
    agent.refused(403, "not-entitled");
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn purposes_and_rights_are_judged_before_anybody_is_looked_at() {
    let world = gateway().start().await;
    // (app, target, purposes sent, status, code)
    let cases: &[(&str, &str, &[&str], u16, &str)] = &[
        ("crm", "/crm/customers/0031", &[], 403, "purpose-missing"),
        ("crm", "/crm/customers/0031", &["sales.outreach", "service-provision"], 400, "ambiguous-request"),
        ("crm", "/crm/customers/0031", &["marketing.email"], 403, "purpose-not-registered"),
        ("crm", "/crm/customers/0031", &["sales"], 403, "purpose-not-registered"),
        ("crm", "/crm/customers/0031", &["no-such-purpose"], 403, "purpose-not-registered"),
        ("ledger", "/crm/customers/0031", &["legal-compliance"], 403, "purpose-not-registered"),
        ("campaign-manager", "/desk/tickets/t1", &[], 403, "purpose-not-registered"),
        ("campaign-manager", "/sales/invoices/i-1", &["marketing.email"], 403, "not-entitled"),
        ("sales-copilot", "/sales/invoices/i-1", &["sales.outreach"], 403, "not-entitled"),
        ("crm", "/crm/nothing", &["sales.outreach"], 404, "route-not-declared"),
        ("crm", "/nowhere", &["sales.outreach"], 404, "route-not-declared"),
    ];
    for (app, target, purposes, status, code) in cases {
        let client = world.client(app);
        let mut ask = client.get(target);
        for purpose in *purposes {
            ask = ask.purpose(purpose);
        }
        let answer = ask.await;
        assert_eq!((*status, *code), (answer.status.as_u16(), answer.code().as_str()), "{app} {target} {purposes:?}");
    }
    let answer = world.client("campaign-manager").get("/sales/invoices/i-1").purpose(EMAIL).await;
    let problem = answer.json();
    assert_eq!((&json!(["billing"]), &json!("marketing.email")), (&problem["categories"], &problem["purpose"]));
    assert!(problem["remedy"].as_str().unwrap().contains("finance"), "{problem}");
    let answer = world.client("crm").ask(Method::DELETE, "/crm/customers/0031").purpose(OUTREACH).await;
    answer.refused(405, "method-not-allowed");
    assert_eq!(Some("GET, HEAD, PATCH, PUT"), answer.header("allow"));
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_signals_and_roles_decide_beside_consent() {
    let world = gateway().start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    world.upstream.json("GET /cards/0070", &card("0070", "l@example.net"));
    let campaign = world.client("campaign-manager");
    let ask = || campaign.get("/crm/cards/0031").purpose(EMAIL);
    world.consent("crm:0031", EMAIL, "given").await;
    ask().await.released(200, &card_whole("0031", "a@example.net"));
    // Global Privacy Control ends marketing unless the consent is explicit.
    ask().header("sec-gpc", "1").await.refused(403, "denied");
    let notice = json!({ "id": "n", "version": "1", "purposes": [EMAIL], "categories": ["identity", "contact"], "recipients": ["marketing"] });
    world.say("crm:0031", EMAIL, "given", json!({ "method": "explicit", "notice": notice })).await;
    ask().header("sec-gpc", "1").await.released(200, &card_whole("0031", "a@example.net"));
    // An objection to marketing ends it whatever was said before; support goes on.
    let objection = json!({ "party": "crm:0031", "kind": "objection-marketing", "evidence": [{ "kind": "letter", "reference": "l-1" }] });
    world.desk(Method::POST, "/v1/objections", objection).await;
    let stopped = ask().await;
    stopped.refused(403, "denied");
    assert!(world.found(&stopped).relied.iter().all(|r| r.why == "stop:objection"), "{:?}", world.found(&stopped).relied);
    world.client("helpdesk").get("/crm/cards/0031").purpose(SUPPORT).await.released(200, &card_whole("0031", "a@example.net"));
    // A VIP's record is opened for a named employee of key account care alone.
    let vip = "/crm/cards/0070";
    world.client("crm").get(vip).purpose("service-provision").await.refused(403, "denied");
    for (roles, status) in [(json!([]), 403), (json!(["on-call"]), 403), (json!(["key-account-care"]), 200)] {
        let client = world.client("crm").token(world.token("crm", &json!({ "roles": roles })));
        assert_eq!(status, client.get(vip).purpose("service-provision").await.status.as_u16(), "{roles}");
    }
    let stolen = world.client("helpdesk").token(world.token("crm", &json!({ "roles": ["key-account-care"] })));
    let answer = stolen.get(vip).purpose(SUPPORT).await;
    answer.refused(401, "token-invalid");
    assert_eq!(Some("Bearer error=\"invalid_token\""), answer.header("www-authenticate"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn masked_forms_need_a_permit_of_their_own() {
    let reduced = r#"
@id("test-reduced")
@description("Sales may see masked forms in a contract.")
permit (principal in Department::"sales", action == Action::"read-reduced", resource)
when { context.purpose in Purpose::"service-provision" && context.basis == LawfulBasis::"contract" };
"#;
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0044", &mina());
    world.upstream.json("GET /cards/0044", &card("0044", "m@example.net"));
    let crm = world.client("crm");
    // A lead has no contract yet.
    crm.get("/crm/customers/0044").purpose("service-provision").await.refused(403, "denied");
    world.add_policy(reduced).await;
    let answer = crm.get("/crm/customers/0044").purpose("service-provision").await;
    answer.released(200, r#"{"id":"0044","updatedAt":"2026-07-01","birthDate":"1981","taxId":"****6789","leadScore":null}"#);
    assert_eq!(Some(8), answer.withheld());
    crm.get("/crm/cards/0044").purpose("service-provision").await.released(200, r#"{"id":"0044","phone":"****4567"}"#);
    // After a hard stop not even those.
    world.desk(Method::POST, "/v1/restrictions", json!({ "party": "crm:0044", "evidence": [{ "kind": "letter", "reference": "l-2" }] })).await;
    crm.get("/crm/customers/0044").purpose("service-provision").await.refused(403, "denied");
    world.finish().await;
}
