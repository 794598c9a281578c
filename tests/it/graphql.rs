//! GraphQL through the real gateway, in front of an API that really resolves what it is sent. What each department sees was
//! written by hand.

use http::Method;
use serde_json::{Map, Value, json};

use crate::harness::graphql::execute;
use crate::harness::upstream::Plan;
use crate::harness::{World, gateway};

const ROUTE: &str = "POST /graphql";

fn person(id: &str, given: &str, family: &str, score: u32) -> Value {
    json!({
        "__typename": "Customer", "id": id, "givenName": given, "familyName": family, "email": format!("{given}@example.net"),
        "phone": "+45 20 10 30 44", "leadScore": score, "address": { "__typename": "Address", "street": "Nygade 1", "city": "Odense" },
        "dietaryNote": "no nuts", "note": "secret note", "updatedAt": "2026-11-01",
        "tickets": [{ "__typename": "Ticket", "id": "T-1", "subject": "printer" }, { "__typename": "Ticket", "id": "T-2", "subject": "invoice" }],
    })
}

/// The API: three customers, a ticket of Ada's that two others watch.
fn resolve(name: &str, args: &Map<String, Value>) -> Value {
    let people = [person("0031", "Ada", "Brandt", 17), person("0044", "Mina", "Okafor", 91), person("0058", "Pavel", "Horak", 40)];
    let ticket = json!({
        "__typename": "Ticket", "id": "T-1", "subject": "printer", "requester": people[0], "watchers": [people[1], people[2]],
    });
    match name {
        "customer" | "node" if args["id"] != "T-1" => people.iter().find(|p| p["id"] == args["id"]).cloned().unwrap_or(Value::Null),
        "ticket" | "node" if args["id"] == "T-1" => ticket,
        "customers" => {
            let edges: Vec<Value> = people.iter().map(|p| json!({ "__typename": "CustomerEdge", "cursor": "c", "node": p })).collect();
            let page = json!({ "__typename": "PageInfo", "hasNextPage": false, "endCursor": "secret cursor" });
            json!({ "__typename": "CustomerConnection", "edges": edges, "pageInfo": page, "totalCount": 3 })
        }
        _ => Value::Null,
    }
}

fn answered(body: &[u8]) -> String {
    let call: Value = serde_json::from_slice(body).unwrap();
    let members: Vec<&String> = call.as_object().unwrap().keys().collect();
    assert_eq!(members, ["query", "variables"], "only what was judged is sent");
    let possible: &[(&str, &[&str])] = &[("Node", &["Customer", "Ticket"])];
    let text = call["query"].as_str().unwrap();
    let mut answer = execute(text, call["variables"].as_object().unwrap(), possible, &resolve, false).unwrap();
    answer["extensions"] = json!({ "trace": "secret trace" });
    answer.to_string()
}

async fn crm() -> World {
    let world = gateway()
        .apis(include_str!("graphql.toml"))
        .prepared(|root| std::fs::write(root.join("crm.graphql"), include_str!("graphql.graphql")).unwrap())
        .start()
        .await;
    world.upstream.on(ROUTE, Plan::computed(|body| answered(body)));
    world
}

fn call(query: &str, variables: &Value) -> String {
    json!({ "query": query, "variables": variables }).to_string()
}

/// The document that went upstream, and its variables.
fn sent(world: &World) -> Value {
    let received = world.upstream.take();
    let [one] = received.as_slice() else { panic!("{received:?}") };
    serde_json::from_slice(&one.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_department_sees_its_part_under_names_of_the_callers_choice() {
    let world = crm().await;
    let query = "query Card($id: ID!, $brief: Boolean = false) {
        who: customer(id: $id) {
          __typename
          ...Name
          mail: email
          home: address { place: city __typename }
          score: leadScore @skip(if: $brief)
          note
          tickets(first: 1) { about: subject }
        }
      }
      fragment Name on Customer { first: givenName ... @include(if: true) { familyName } }";
    let body = call(query, &json!({ "id": "0031" }));
    let ask = async |app: &str, purpose: &str| world.client(app).post("/crm/graphql", &body).purpose(purpose).await;

    let support = ask("helpdesk", "service-provision.support").await;
    support.released(
        200,
        concat!(
            r#"{"data":{"who":{"__typename":"Customer","first":"Ada","familyName":"Brandt","mail":"Ada@example.net","#,
            r#""home":{"__typename":"Address","place":"Odense"},"score":null,"tickets":[{"about":"printer"}]}}}"#
        ),
    );
    assert_eq!(support.withheld(), Some(1));
    assert_eq!(
        sent(&world),
        json!({
            "query": "query Card($v1:ID!,$v2:Int){who:customer(id:$v1){__typename first:givenName familyName mail:email home:address{__typename place:city} \
                      score:leadScore tickets(first:$v2){about:subject} consentry_0:id}}",
            "variables": { "v1": "0031", "v2": 1 },
        })
    );

    ask("campaign-manager", "marketing.email").await.refused(403, "denied");
    assert!(world.upstream.take().is_empty(), "nobody is asked about a customer who did not consent");
    world.consent("crm:0031", "marketing.email", "given").await;
    let marketing = ask("campaign-manager", "marketing.email").await;
    marketing.released(
        200,
        concat!(
            r#"{"data":{"who":{"__typename":"Customer","first":"Ada","familyName":"Brandt","mail":"Ada@example.net","#,
            r#""home":{"__typename":"Address","place":"Odense"},"score":17}}}"#
        ),
    );
    assert_eq!(marketing.withheld(), Some(1));
    // Only what is needed is judged, so that a query of other fields is another decision.
    let brief = call(query, &json!({ "id": "0031", "brief": true }));
    let brief = world.client("helpdesk").post("/crm/graphql", &brief).purpose("service-provision.support").await;
    assert_eq!((200, Some(0)), (brief.status.as_u16(), brief.withheld()), "{brief:?}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_connection_are_released_one_by_one() {
    let world = crm().await;
    world.consent("crm:0031", "marketing.email", "given").await;
    world.consent("crm:0058", "marketing.email", "given").await;
    let query = "query ($f: CustomerFilter) { list: customers(first: 3, filter: $f, orderBy: NAME) {
        all: totalCount pageInfo { hasNextPage endCursor } edges { at: cursor one: node { id givenName phone } } } }";
    let ask = async |app: &str, purpose: &str, filter: Value| {
        world.client(app).post("/crm/graphql", &call(query, &json!({ "f": filter }))).purpose(purpose).await
    };
    let rows = |rows: &str, count: usize| format!(r#"{{"data":{{"list":{{"edges":[{rows}],"pageInfo":{{"hasNextPage":false}},"all":{count}}}}}}}"#);
    let ordered = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let row = |id: &str, name: &str| format!(r#"{{"at":"c","one":{{"id":"{id}","givenName":"{name}","phone":"+45 20 10 30 44"}}}}"#);
    let two = rows(&[row("0031", "Ada"), row("0058", "Pavel")].join(","), 2);

    let marketing = ask("campaign-manager", "marketing.email", json!(null)).await;
    assert_eq!((200, ordered(&two)), (marketing.status.as_u16(), marketing.json()), "{marketing:?}");
    let found = world.found(&marketing);
    assert_eq!((2, 1, 3), (found.rows, found.dropped, found.parties));
    assert_eq!(sent(&world)["variables"], json!({ "v1": null, "v2": 3, "v3": "NAME" }));
    // Marketing owns the score and may look for it; service may not see it, so it may not look for it either.
    ask("campaign-manager", "marketing.email", json!({ "minScore": 15 })).await.released(200, marketing.text());
    ask("helpdesk", "service-provision.support", json!({ "minScore": 15 })).await.refused(403, "field-not-permitted");
    ask("helpdesk", "service-provision.support", json!({ "city": "Odense" })).await;
    for (filter, code) in [(json!({ "minscore": 15 }), "query-refused"), (json!({ "minScore": "15" }), "query-refused")] {
        ask("campaign-manager", "marketing.email", filter).await.refused(400, code);
    }
    let undeclared = call("{ customers(first: 3, orderBy: SCORE) { edges { node { givenName } } } }", &json!({}));
    world.client("campaign-manager").post("/crm/graphql", &undeclared).purpose("marketing.email").await.refused(400, "query-refused");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_in_an_object_are_each_judged_by_their_own_consent() {
    let world = crm().await;
    let query = r#"{ node(id: "T-1") { ... on Ticket { topic: subject by: requester { givenName } seen: watchers { n: familyName __typename } } } }"#;
    let ask = async || world.client("helpdesk").post("/crm/graphql", &call(query, &json!({}))).purpose("service-provision.support").await;
    // Mina is a lead, without a contract.
    let answer = ask().await;
    let expected = json!({ "data": { "node": {
        "topic": "printer", "by": { "givenName": "Ada" }, "seen": [{ "n": "Horak", "__typename": "Customer" }],
    } } });
    assert_eq!((200, expected), (answer.status.as_u16(), answer.json()), "{answer:?}");
    assert_eq!(
        sent(&world)["query"],
        "query($v1:ID!){node(id:$v1){... on Ticket{topic:subject by:requester{givenName consentry_0:id} \
         seen:watchers{__typename n:familyName consentry_0:id} consentry_0:requester{consentry_0:id}}}}"
    );
    assert_eq!(world.found(&answer).parties, 3);
    world.desk(Method::POST, "/v1/restrictions", json!({ "party": "crm:0058", "evidence": [{ "kind": "letter", "reference": "l" }] })).await;
    let answer = ask().await;
    assert_eq!(answer.json(), json!({ "data": { "node": { "topic": "printer", "by": { "givenName": "Ada" } } } }), "{answer:?}");
    world.desk(Method::POST, "/v1/restrictions", json!({ "party": "crm:0031", "evidence": [{ "kind": "letter", "reference": "l" }] })).await;
    ask().await.refused(403, "denied");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_cannot_be_judged_reaches_the_api() {
    let world = crm().await;
    let helpdesk = world.client("helpdesk");
    let one = r#"customer(id: "0031")"#;
    let deep = format!("{{ {one} {{ {} givenName {} }} }}", "tickets { requester { ".repeat(5), "} } ".repeat(5));
    let bomb = format!(
        "{{ {one} {{ ...F9 }} }} fragment F0 on Customer {{ email }} {}",
        (1..10).map(|n| format!("fragment F{n} on Customer {{ ...F{m} ...F{m} ...F{m} }} ", m = n - 1)).collect::<String>()
    );
    let queries = [
        "{ __schema { types { name } } }".to_owned(),
        format!("{{ x: __type(name: \"Customer\") {{ name }} {one} {{ email }} }}"),
        "mutation { updateCustomer(id: \"0031\", email: \"x\") { email } }".to_owned(),
        "subscription { customer(id: \"0031\") { email } }".to_owned(),
        "{ viewer { name } }".to_owned(),
        format!("{{ {one} {{ ssn }} }}"),
        format!("{{ {one} {{ note }} }}"),
        format!("{{ {one} {{ x: givenName x: email }} }}"),
        format!("{{ {one} {{ email @defer }} }}"),
        format!("{{ {one} {{ consentry_0: email }} }}"),
        format!("{{ a: {one} {{ email }} b: {one} {{ phone }} }}"),
        format!("{{ {one} {{ email "),
        deep,
        bomb,
        format!("{{ {one} {{ {} }} }}", (0..21).map(|n| format!("a{n}: email ")).collect::<String>()),
        "{ node(id: \"0031\") { id } }".to_owned(),
    ];
    for query in &queries {
        let answer = helpdesk.post("/crm/graphql", &call(query, &json!({}))).purpose("service-provision.support").await;
        answer.refused(400, "query-refused");
    }
    for body in [
        format!("[{}]", call("{ customer(id: \"0031\") { email } }", &json!({}))),
        r#"{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"00"}}}"#.to_owned(),
        r#"{"id":"saved"}"#.to_owned(),
        r#"{"query":"{ customer(id: \"0031\") { email } }","debug":true}"#.to_owned(),
    ] {
        helpdesk.post("/crm/graphql", &body).purpose("service-provision.support").await.refused(400, "query-refused");
    }
    let twice = r#"{"query":"{ customer(id: \"0031\") { email } }","query":"{ customer(id: \"0044\") { email } }"}"#;
    helpdesk.post("/crm/graphql", twice).purpose("service-provision.support").await.refused(400, "ambiguous-request");
    let undeclared = call("{ customer(id: \"0031\") { email tickets(first: 1) { subject } } customers: __typename }", &json!({}));
    helpdesk.post("/crm/graphql", &undeclared).purpose("service-provision.support").await.refused(400, "query-refused");
    let get = "/crm/graphql?query=%7Bcustomer(id%3A%220031%22)%7Bemail%7D%7D";
    helpdesk.get(get).purpose("service-provision.support").await.refused(405, "method-not-allowed");
    let text = helpdesk.ask(Method::POST, "/crm/graphql").header("content-type", "application/graphql").body(b"{ customer(id: \"0031\") { email } }");
    text.purpose("service-provision.support").await.refused(415, "media-type");
    let id = call("query ($id: ID!) { customer(id: $id) { email } }", &json!({ "id": "not an id" }));
    helpdesk.post("/crm/graphql", &id).purpose("service-provision.support").await.refused(400, "ambiguous-request");
    helpdesk
        .post("/crm/graphql?debug=1", &call("{ customer(id: \"0031\") { email } }", &json!({})))
        .purpose("service-provision.support")
        .await
        .refused(400, "parameter-not-declared");
    assert!(world.upstream.take().is_empty(), "the API was asked");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_api_become_a_constant() {
    let world = crm().await;
    let helpdesk = world.client("helpdesk");
    let ask = async |query: &str| helpdesk.post("/crm/graphql", &call(query, &json!({}))).purpose("service-provision.support").await;
    let customer = r#"{ customer(id: "0031") { givenName email } }"#;
    let errors = json!([{ "message": "no e-mail of secret.person@example.net", "path": ["customer", "email"], "extensions": { "sql": "secret" } }]);
    let data = json!({ "customer": { "consentry_0": "0031", "givenName": "Ada", "email": null } });
    world.upstream.json(ROUTE, &json!({ "data": data, "errors": errors }).to_string());
    let partial = r#"{"data":{"customer":{"givenName":"Ada","email":null}},"errors":[{"message":"the API did not resolve every field"}]}"#;
    ask(customer).await.released(200, partial);

    // Whoever the request does not name must not be told from somebody who is not there.
    let ticket = r#"{ ticket(id: "T-9") { subject } }"#;
    let foreign = json!({ "data": { "ticket": { "subject": "printer", "consentry_0": { "consentry_0": "9999" } } } });
    world.upstream.json(ROUTE, &foreign.to_string());
    let denied = ask(ticket).await;
    denied.refused(403, "denied");
    for nothing in [json!({ "data": { "ticket": null } }), json!({ "data": { "ticket": null }, "errors": errors }), json!({ "errors": errors })] {
        world.upstream.json(ROUTE, &nothing.to_string());
        let absent = ask(ticket).await;
        assert_eq!(denied.anonymous(), absent.anonymous(), "{nothing}");
        let named = ask(customer).await;
        assert_eq!(
            if nothing.get("errors").is_some() { (400, "upstream-refused") } else { (404, "route-not-declared") },
            (named.status.as_u16(), named.code().as_str())
        );
    }
    // Answers that are not of the query.
    for wrong in [
        json!({ "data": { "customer": { "givenName": "Mina", "email": "secret@example.net", "consentry_0": "0044" } } }),
        json!({ "data": { "customer": { "givenName": "Ada", "email": "secret@example.net" } } }),
        json!({ "data": { "customer": [{ "givenName": "Ada", "consentry_0": "0031" }] } }),
        json!([{ "data": data }]),
        json!({ "data": [data] }),
    ] {
        world.upstream.json(ROUTE, &wrong.to_string());
        let answer = ask(customer).await;
        assert!(
            [("upstream-unreadable", 502), ("route-not-declared", 404)].contains(&(answer.code().as_str(), answer.status.as_u16())),
            "{wrong}: {answer:?}"
        );
    }
    let more =
        json!({ "data": { "customer": { "givenName": "Ada", "consentry_0": "0031", "leadScore": 17, "ssn": "secret" }, "customers": "secret" } });
    world.upstream.json(ROUTE, &more.to_string());
    ask(customer).await.released(200, r#"{"data":{"customer":{"givenName":"Ada"}}}"#);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_calls_a_field_is_no_evidence() {
    let world = crm().await;
    // The log must never hold such a word: `finish` looks for it.
    let query = r#"query Brandt { Okafor: customer(id: "0031") { Brandt: leadScore Norman: givenName ambulance: note } }"#;
    let answer = world.client("helpdesk").post("/crm/graphql", &call(query, &json!({}))).purpose("service-provision.support").await;
    answer.released(200, r#"{"data":{"Okafor":{"Brandt":null,"Norman":"Ada"}}}"#);
    let list = r"{ Brandt: customers(first: 9) { edges { Okafor: node { Norman: leadScore givenName } } } }";
    let answer = world.client("helpdesk").post("/crm/graphql", &call(list, &json!({}))).purpose("service-provision.support").await;
    assert_eq!((200, Some(1)), (answer.status.as_u16(), answer.withheld()), "{answer:?}");
    assert_eq!(world.found(&answer).withheld, ["leadScore"], "what the shape declares");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_binds_a_query_that_is_on_its_way() {
    let world = crm().await;
    world.consent("crm:0044", "sales.outreach", "given").await;
    let gate = crate::harness::upstream::Gate::closed();
    world.upstream.on(ROUTE, Plan::computed(|body| answered(body)).behind(&gate));
    let query = call(r#"{ customer(id: "0044") { givenName } }"#, &json!({}));
    let client = world.client("crm");
    let ask = async { client.post("/crm/graphql", &query).purpose("sales.outreach").await };
    let withdraw = async {
        gate.arrived().await;
        world.consent("crm:0044", "sales.outreach", "withdrawn").await;
        gate.release();
    };
    let (answer, ()) = tokio::join!(ask, withdraw);
    answer.refused(403, "denied");
    // A reload while the query is under way: it is planned anew, and what was sent is still what would be sent.
    world.consent("crm:0044", "sales.outreach", "given").await;
    let ask = async { client.post("/crm/graphql", &query).purpose("sales.outreach").await };
    let reload = async {
        gate.arrived().await;
        world.running().reload().await.unwrap();
        gate.release();
    };
    let (answer, ()) = tokio::join!(ask, reload);
    answer.released(200, r#"{"data":{"customer":{"givenName":"Mina"}}}"#);
    // The same with a declaration that no longer takes it.
    let config = world.root().join("consentry.toml");
    let narrowed = std::fs::read_to_string(&config).unwrap().replace("\"givenName\" = \"identity\"\n", "").replace("\"givenName\", ", "");
    let ask = async { client.post("/crm/graphql", &query).purpose("sales.outreach").await };
    let reload = async {
        gate.arrived().await;
        std::fs::write(&config, narrowed).unwrap();
        world.running().reload().await.unwrap();
        gate.release();
    };
    let (answer, ()) = tokio::join!(ask, reload);
    answer.refused(400, "query-refused");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_would_be_sent_otherwise_now_is_not_answered() {
    let world = crm().await;
    world.consent("crm:0044", "sales.outreach", "given").await;
    let gate = crate::harness::upstream::Gate::closed();
    world.upstream.on(ROUTE, Plan::computed(|body| answered(body)).behind(&gate));
    let query = call(r#"{ customer(id: "0044") { givenName note phone } }"#, &json!({}));
    let client = world.client("crm");
    // `note` is not declared, so it was not asked for; now it is.
    let config = world.root().join("consentry.toml");
    let widened =
        std::fs::read_to_string(&config).unwrap().replace("\"dietaryNote\" = \"health\"\n", "\"dietaryNote\" = \"health\"\n\"note\" = \"case\"\n");
    let ask = async { client.post("/crm/graphql", &query).purpose("sales.outreach").await };
    let reload = async {
        gate.arrived().await;
        std::fs::write(&config, widened).unwrap();
        world.running().reload().await.unwrap();
        gate.release();
    };
    let (answer, ()) = tokio::join!(ask, reload);
    answer.refused(404, "route-not-declared");
    // An API that answers a list with nothing and says nothing of an error.
    world.upstream.json(ROUTE, r#"{"data":{"customers":null}}"#);
    let list = call("{ customers(first: 9) { edges { node { givenName } } } }", &json!({}));
    client.post("/crm/graphql", &list).purpose("sales.outreach").await.refused(502, "upstream-unreadable");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_explained_by_what_it_asks_for() {
    let world = crm().await;
    world.consent("crm:0031", "sales.outreach", "given").await;
    let explained = |query: &str, variables: Value| {
        let body = world.root().join("query.json");
        std::fs::write(&body, json!({ "query": query, "variables": variables }).to_string()).unwrap();
        let purpose = ["--as", "crm", "--purpose", "sales.outreach"];
        world.consentry(&[&["explain", "POST", "/crm/graphql", "--body", body.to_str().unwrap()], &purpose[..]].concat())
    };
    let of = "query($id: ID!) { customer(id: $id) { mail: email dietaryNote } }";
    let (exit, told) = explained(of, json!({ "id": "0031" }));
    assert!(exit == 0 && told.contains("crm:0031; stage customer") && told.contains("\ncontact ") && told.contains("\nhealth "), "{exit}: {told}");
    assert!(!told.contains("\nidentity") && !told.contains("\ncase"), "only what was asked for: {told}");
    let (exit, told) = explained(of, json!({ "id": "0058" }));
    assert!(exit == 2 && told.contains("crm:0058; stage customer") && told.contains("smallest change: consent is `given`"), "{exit}: {told}");
    // Whose it is stands in the answer; those embedded there are told, too.
    let (_, told) = explained("{ ticket(id: \"T-1\") { subject requester { givenName } } }", json!({}));
    assert!(told.contains("known from the answer only") && told.contains("\ncase ") && told.contains("\nidentity "), "{told}");
    for (query, said) in [
        ("{ secrets { id } }", "give the body as the app sends it"),
        ("{ customer(id: \"00\") { email } }", "the id does not match the grammar of `crm`"),
        ("{", "give the body as the app sends it"),
    ] {
        let (exit, told) = explained(query, json!({}));
        assert!(exit != 0 && told.contains(said), "{query}: {exit}: {told}");
    }
    let (exit, told) = world.consentry(&["explain", "POST", "/crm/graphql", "--as", "crm", "--purpose", "sales.outreach"]);
    assert!(exit != 0 && told.contains("give the request's body with `--body`"), "{exit}: {told}");
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}
