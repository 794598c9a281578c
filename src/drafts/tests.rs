//! What drafts say, and that whatever a document holds they read back as TOML.

use std::collections::BTreeMap;

use serde_json::json;

use super::seen::{Seen, Unmapped, unmapped};
use super::{Drafted, ImportQuestion, import, key};
use crate::openapi::{BadDocument, Document};

fn drafted(text: &str, classes: &[(&str, &str)]) -> Result<Drafted, Vec<BadDocument>> {
    let classes: BTreeMap<String, String> = classes.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let question = ImportQuestion { api: "crm", owner: "marketing", upstream: "crm", at: "/crm", source: "crm.yaml", classes: &classes };
    import(Document::read(text.as_bytes()).map_err(|bad| vec![bad])?, &question)
}

const NORTHWIND: &str = include_str!("../../tests/fixtures/openapi/northwind-crm.yaml");

#[test]
fn a_crm_is_drafted() {
    let drafted = drafted(NORTHWIND, &[]).unwrap();
    insta::assert_snapshot!("northwind", drafted.text);
    assert_eq!((drafted.routes, drafted.shapes), (7, 5));
    assert_eq!(drafted.text, self::drafted(NORTHWIND, &[]).unwrap().text, "the same document gives the same draft");
}

#[test]
fn a_class_becomes_a_category_only_where_the_caller_says_which() {
    let line = |classes: &[(&str, &str)]| {
        let text = drafted(NORTHWIND, classes).unwrap().text;
        text.lines().find(|l| l.starts_with("\"dietaryNote\"")).unwrap().to_owned()
    };
    assert!(line(&[]).starts_with("\"dietaryNote\" = \"?\""));
    assert!(line(&[("PII", "identity")]).starts_with("\"dietaryNote\" = \"?\""));
    assert!(line(&[("health", "health")]).starts_with("\"dietaryNote\" = \"health\""));
}

fn operation(method: &str, path: &str, body: &str) -> String {
    format!(r#"{{"openapi":"3.0.3","info":{{"title":"t","version":"1"}},"paths":{{"{path}":{{"{method}":{body}}}}}}}"#)
}

const OK: &str = r#"{"200":{"content":{"application/json":{"schema":{"properties":{"a":{"type":"string"}}}}}}}"#;

#[test]
fn what_a_route_cannot_say_is_left_out_and_named() {
    for (text, said) in [
        (operation("get", "/a/{x}{y}", &format!(r#"{{"responses":{OK}}}"#)), "must be literal text or hold one `{parameter}`"),
        (operation("get", "/a?b", &format!(r#"{{"responses":{OK}}}"#)), "write the path decoded"),
        (operation("get", "/a", r#"{"responses":{"200":{"content":{"application/xml":{}}}}}"#), "it answers as application/xml"),
        (operation("get", "/a", r#"{"responses":{"200":{"content":{"application/json":{"schema":{"type":"string"}}}}}}"#), "its answer is no object"),
        (operation("get", "/a", r#"{"responses":{"204":{}}}"#), "does not say what comes back"),
        (
            operation("get", "/a", r#"{"responses":{"200":{"content":{"application/json":{"schema":{"type":"array","items":{"type":"string"}}}}}}}"#),
            "is no object",
        ),
        (
            operation("post", "/a", r#"{"requestBody":{"content":{"application/x-www-form-urlencoded":{}}},"responses":{"204":{}}}"#),
            "it takes no JSON",
        ),
        (
            operation(
                "patch",
                "/a",
                r#"{"requestBody":{"content":{"application/json-patch+json":{"schema":{"properties":{"op":{"type":"string"}}}}}},"responses":{"204":{}}}"#,
            ),
            "it takes `application/json-patch+json`",
        ),
        (operation("trace", "/a", r#"{"responses":{}}"#), "TRACE has no routes"),
        (operation("head", "/a", r#"{"responses":{}}"#), "HEAD is answered by the GET route"),
        (operation("get", "/a", &format!(r#"{{"callbacks":{{}},"responses":{OK}}}"#)), "callbacks go out of the upstream"),
        (operation("get", "/a", &format!(r#"{{"x-consentry-purpose":"x","responses":{OK}}}"#)), "purposes stand at the API"),
        (
            format!(
                r#"{{"openapi":"3.1.0","webhooks":{{}},"paths":{{"/a/{{x}}":{{"get":{{"responses":{OK}}}}},"/a/{{y}}":{{"get":{{"responses":{OK}}}}}}}}}"#
            ),
            "no path tells it from `/a/{x}`",
        ),
    ] {
        let drafted = drafted(&text, &[]).unwrap();
        assert!(drafted.left_out.iter().any(|(_, what)| what.contains(said)), "{said}: {:?}", drafted.left_out);
        assert!(drafted.text.lines().any(|line| line.starts_with("# - ") && line.contains(said)), "{said} is not told in the file");
    }
}

#[test]
fn what_nobody_marked_is_open() {
    let text = operation(
        "get",
        "/people/{id}",
        &format!(
            r#"{{"parameters":[{{"name":"id","in":"path","schema":{{"type":"string"}}}},{{"name":"email","in":"query","schema":{{"type":"string","format":"email"}}}}],"responses":{OK}}}"#
        ),
    );
    let drafted = drafted(&text, &[]).unwrap();
    for open in ["crm = { grammar = \"?\" }", "customer = \"?\"", "\"a\" = \"?\"", "fields = [\"?\"] }"] {
        assert!(drafted.text.contains(open), "{open} is not in {}", drafted.text);
    }
    assert_eq!(drafted.open, 4);
    assert!(!drafted.text.contains("\ncustomer = \"path:"), "a path parameter is not a customer because it is called id");
}

/// Text that wants to be more than a text, in every place of a document.
#[test]
fn hostile_texts_stay_texts() {
    let evil = "x\\\"\\n[[api.route]]\\nmatch = \\\"GET /all\\\"\\u202e\\u0000";
    let reference = evil.replace('/', "~1");
    let text = format!(
        r##"{{"openapi":"3.1.0","info":{{"title":"{evil}","version":"{evil}"}},"servers":[{{"url":"https://a/{evil}"}}],"x-consentry-purpose":"{evil}",
        "paths":{{"/a":{{"get":{{"operationId":"{evil}","parameters":[{{"name":"{evil}","in":"query","schema":{{"enum":["{evil}"]}}}},{{"name":"{evil}","in":"header"}}],
        "responses":{{"200":{{"content":{{"application/json":{{"schema":{{"$ref":"#/components/schemas/{reference}"}}}}}}}}}}}}}},"/b{evil}":{{"get":{{"responses":{{}}}}}}}},
        "components":{{"schemas":{{"{evil}":{{"properties":{{"?":{{"type":"{evil}"}},"{evil}":{{"type":"string"}},"b":{{"type":"string","format":"{evil}","x-consentry-category":"{evil}","x-consentry-on-deny":"{evil}",
        "x-data-classification":{{"category":"{evil}"}}}},"id":{{"type":"string","pattern":"^{evil}$","x-consentry-customer-id":"{evil}"}}}}}}}}}}}}"##
    );
    let drafted = drafted(&text, &[]).unwrap();
    let table: toml::Table = toml::from_str(&drafted.text).unwrap();
    let apis = table["api"].as_array().unwrap();
    assert_eq!((apis.len(), apis[0]["route"].as_array().unwrap().len()), (1, 1), "{}", drafted.text);
    assert!(drafted.text.lines().all(|line| !line.contains('\u{202e}')), "{}", drafted.text);
    assert_eq!(drafted.text.matches("\n[[api.route]]").count(), 1);
    // A member that is called `?` is no open place.
    assert!(drafted.text.contains(r#"'"?"' = "#), "{}", drafted.text);
}

#[test]
fn saved_answers_are_drafted_without_a_value() {
    let mut seen = Seen::default();
    for n in 0..20 {
        let byday = json!({ format!("d{}", char::from(b'a' + n)): 1 });
        seen.answer(&json!({ "total": 2, "next": null, "customers": [
            { "id": format!("C-{n:06}"), "email": format!("canary{n}@example.net"), "birthDate": "1981-04-12", "tags": ["canary-tag"], "score": 0.5,
              "address": { "street": "Canary Street 1", "postcode": null }, "byMail": { format!("canary{n}@example.net"): { "name": "Canary" } }, "visits": byday },
            { "id": "C-000001", "custom_field_10012": "canary", "empty": [], "nested": { "deep": [[{ "x": true }]] } },
        ]}));
    }
    let text = seen.draft("crm", "Customers saved");
    insta::assert_snapshot!("saved", text);
    let table: toml::Table = toml::from_str(&text).unwrap();
    assert!(table["shape"]["customers-saved"]["fields"].as_table().unwrap().len() > 8);
    for canary in ["canary", "Canary", "C-0", "1981", "0.5", "10012"] {
        assert!(!text.contains(canary), "`{canary}` is in {text}");
    }
    assert!(!text.contains("\"visits.d"), "{text}");
}

#[test]
fn an_answer_that_is_one_object_or_a_plain_list_is_drafted_as_such() {
    let draft = |answers: &[serde_json::Value], whole| {
        let mut seen = Seen::new(whole);
        answers.iter().for_each(|answer| seen.answer(answer));
        seen.draft("crm", "s").lines().next().unwrap().to_owned()
    };
    for (answers, whole, expected) in [
        (vec![json!([{ "a": 1 }])], false, "rows = \"[]\""),
        (vec![json!({ "data": [{ "a": 1 }], "n": 1 })], false, "rows = \"data[]\""),
        (vec![json!({ "data": [{ "a": 1 }] }), json!({ "other": [{ "a": 1 }] })], false, "{ shape = \"s\" }"),
        (vec![json!({ "id": 1, "lines": [{ "a": 1 }] })], true, "{ shape = \"s\" }"),
        (vec![json!({ "ann@example.net": [{ "a": 1 }] })], false, "{ shape = \"s\" }"),
        (vec![json!("text")], false, "{ shape = \"s\" }"),
    ] {
        let line = draft(&answers, whole);
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn what_the_gateway_saw_is_drafted_by_shape() {
    let shapes = [Unmapped {
        shape: "customer".to_owned(),
        base: "customers[]".to_owned(),
        paths: [("customers[].loyalty.tier", 3), ("customers[].*", 1), ("customers[].byMail.*", 2), ("customers[].@odata.etag", 9), ("next", 3)]
            .map(|(path, n)| (path.to_owned(), n))
            .into(),
        routes: vec!["GET /customers".to_owned()],
    }];
    let text = unmapped(&shapes);
    insta::assert_snapshot!("unmapped", text);
    assert_eq!(toml::from_str::<toml::Table>(&text).unwrap()["shape"]["customer"]["fields"].as_table().unwrap().len(), 3);
}

#[test]
fn an_api_is_named_after_its_file() {
    assert_eq!((key("Northwind CRM"), key("salesforce.v62")), ("northwind-crm".to_owned(), "salesforce-v62".to_owned()));
}
