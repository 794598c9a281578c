//! Every receipt is one that its schema takes, says what was recorded, and is verified by its key alone.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::StatusCode;
use serde_json::{Value, json};

use super::jsonld::{Matter, document};
use super::*;
use crate::config::Controller;
use crate::consent::{Consent, Delegation, Holder, Method, Notice, Scope, State, Stop, StopKind, What};
use crate::console::role::AdminRole;
use crate::console::tests::{As, Desk, role};
use crate::model::{ActivityKey, Author, Category, Channel, Department, Identifier, Purpose, Revision, Space};

fn schema() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(include_str!("27560-receipt.schema.json")).unwrap();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

#[track_caller]
fn check(receipt: &Value) {
    let wrong: Vec<String> = schema().iter_errors(receipt).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{}\n{receipt:#}", wrong.join("\n"));
}

fn event(what: What) -> Event {
    Event {
        id: EventId(42),
        revision: Revision(42),
        identifier: Identifier { space: Space::intern("crm"), value: "0044".to_owned() },
        event_time: Some("2026-07-24T10:00:11.5Z".parse().unwrap()),
        record_time: "2026-07-24T10:00:12Z".parse().unwrap(),
        channel: Channel::Email,
        captured_by: "client:preference-centre".to_owned(),
        method: Method::Explicit,
        author: Author::Customer,
        evidence: BTreeMap::from([("form-hash".to_owned(), "sha256:00".to_owned())]),
        source_system: "preference-centre".to_owned(),
        what,
    }
}

fn consent(state: State) -> Consent {
    Consent {
        purposes: vec![Purpose::intern("sales.outreach")],
        activity: None,
        notice: Some(Notice {
            id: "n-1".to_owned(),
            version: "3".to_owned(),
            purposes: Vec::new(),
            categories: vec![Category::intern("contact"), Category::intern("health")],
            recipients: vec![Department::intern("sales")],
        }),
        state,
        scope: Scope::default(),
        expires: None,
        until: None,
        uses: None,
        about: None,
    }
}

/// The receipt of an event under the shipped catalogue.
fn issued(desk: &Desk, event: &Event, controller: Option<&Controller>) -> Value {
    let (vocabulary, activities) = (desk.state.instance.vocabulary(), desk.state.instance.activities());
    document(&Matter {
        event,
        principal: "crm:0044",
        vocabulary: &vocabulary,
        activities: &activities,
        notices: &desk.state.ledger.notices(),
        controller,
        origin: "gw-test.example.com",
        issued_at: "2026-07-25T08:00:00Z".parse().unwrap(),
    })
}

#[test]
fn every_kind_of_event_has_a_receipt_that_its_schema_takes() {
    let desk = Desk::open();
    let controller = desk.state.instance.controller();
    let mut kinds: Vec<What> = State::ALL.iter().map(|state| What::Consent(consent(*state))).collect();
    let bare = Consent { purposes: Vec::new(), notice: None, ..consent(State::Withdrawn) };
    let full = Consent {
        activity: Some(ActivityKey::intern("books")),
        scope: Scope { categories: vec![Category::intern("order")], recipients: vec![Department::intern("finance")], channels: vec![Channel::Post] },
        expires: Some("2028-01-01T00:00:00Z".parse().unwrap()),
        until: Some("contract-ended".to_owned()),
        uses: Some(3),
        about: Some(EventId(7)),
        ..consent(State::Renewed)
    };
    let gone = Consent { purposes: vec![Purpose::intern("no-longer-declared")], ..consent(State::Given) };
    kinds.extend([bare, full, gone].map(What::Consent));
    kinds.extend(StopKind::ALL.iter().map(|kind| {
        What::Stop(Stop {
            kind: *kind,
            purposes: vec![Purpose::intern("marketing")],
            scope: Scope::default(),
            reason: Some("asked for it".to_owned()),
        })
    }));
    kinds.push(What::Lift { stop: EventId(9), reason: "settled".to_owned() });
    for holder in Holder::ALL {
        kinds.push(What::Delegation(Delegation { holder: *holder, purposes: Vec::new(), until: None }));
    }
    kinds.push(What::Occurrence("contract-ended".to_owned()));
    for what in kinds {
        let said = event(what);
        let unsaid = Event { event_time: None, evidence: BTreeMap::new(), source_system: String::new(), method: Method::Implied, ..said.clone() };
        for (event, controller) in [(&said, controller.as_ref()), (&unsaid, None)] {
            let receipt = issued(&desk, event, controller);
            check(&receipt);
            let page = html::page(&receipt, "header.payload.signature");
            assert!(page.contains("ev_42") && page.contains("header.payload.signature") && !page.contains("null"), "{page}");
            // Each term stands in the context, or is a name of the context's own vocabulary.
            assert!(receipt["@context"].as_object().unwrap().values().all(|iri| !iri.is_null()));
        }
    }
}

#[test]
fn the_schema_refuses_what_is_no_receipt() {
    let desk = Desk::open();
    let good = issued(&desk, &event(What::Consent(consent(State::Given))), desk.state.instance.controller().as_ref());
    check(&good);
    let stop = Stop { kind: StopKind::Objection, purposes: Vec::new(), scope: Scope::default(), reason: None };
    let objection = issued(&desk, &event(What::Stop(stop)), None);
    type Spoil = (&'static str, fn(&mut Value));
    let spoils: [Spoil; 14] = [
        ("no schema version", |r| drop(r.as_object_mut().unwrap().remove("schema_version"))),
        ("another profile", |r| r["schema_version"] = json!("https://w3id.org/dpv/schema/dpv-27560#record")),
        ("another member", |r| r["record"]["event"]["mood"] = json!("good")),
        ("no principal", |r| drop(r["record"].as_object_mut().unwrap().remove("pii_principal_id"))),
        ("a local time", |r| r["record"]["event"]["event_time"] = json!("2026-07-24T10:00:00")),
        ("no day of the calendar", |r| r["record"]["event"]["event_time"] = json!("2026-13-24T10:00:00Z")),
        ("a state without its term", |r| drop(r["record"]["event"]["event_state"].as_object_mut().unwrap().remove("iri"))),
        ("a foreign term", |r| r["record"]["event"]["purposes"][0]["iri"] = json!("https://example.com/dpv#Marketing")),
        ("a grant without withdrawal", |r| drop(r["record"].as_object_mut().unwrap().remove("withdrawal_method"))),
        ("a reason for consent", |r| r["record"]["event"]["reason"] = json!("because")),
        ("an event of two kinds", |r| r["record"]["event"]["kind"] = json!("stop")),
        ("a hash of another kind", |r| r["record"]["privacy_notice"]["hash"] = json!("md5:00")),
        ("an address of no text", |r| r["record"]["privacy_notice"]["url"] = json!("https://example.com/n-1")),
        ("an id of another kind", |r| r["record"]["record_id"] = json!("42")),
    ];
    for (what, spoil) in spoils {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert!(!schema().is_valid(&bad), "{what}: {bad:#}");
    }
    let mut bad = objection;
    bad["record"]["lawful_basis"] = good["record"]["lawful_basis"].clone();
    assert!(!schema().is_valid(&bad), "a stop rests on no basis");
}

#[test]
fn a_receipt_says_what_was_recorded_and_what_is_done_with_it() {
    let desk = Desk::open();
    let grant = Consent { expires: Some("2028-01-01T00:00:00Z".parse().unwrap()), ..consent(State::Given) };
    let receipt = issued(&desk, &event(What::Consent(grant.clone())), desk.state.instance.controller().as_ref());
    let (record, said) = (&receipt["record"], &receipt["record"]["event"]);
    assert_eq!(receipt["receipt_id"], "urn:consentry:receipt:gw-test.example.com:ev_42");
    assert_eq!(said["event_state"], json!({"key": "given", "iri": "https://w3id.org/dpv#ConsentGiven"}));
    assert_eq!(said["event_type"]["iri"], "https://w3id.org/dpv#ExplicitlyExpressedConsent");
    assert_eq!(
        said["purposes"],
        json!([{"key": "sales.outreach", "iri": "https://w3id.org/dpv#CustomerRelationshipManagement", "label": "Contact by sales"}])
    );
    // Without a scope the notice's categories are covered.
    assert_eq!(
        said["pii_information"][1],
        json!({"key": "health", "iri": "https://w3id.org/dpv/pd#Health", "label": "Health", "special_pii_category": true})
    );
    assert_eq!((&said["event_time"], &said["expires"]), (&json!("2026-07-24T10:00:11.5Z"), &json!("2028-01-01T00:00:00Z")));
    let [activity] = record["pii_processing"].as_array().unwrap().as_slice() else { panic!("{record:#}") };
    assert_eq!(
        (&activity["activity"], &activity["version"], &activity["retention_period"]),
        (&json!("sales-outreach"), &json!(1), &json!("24 months"))
    );
    assert_eq!(activity["jurisdiction"], "EU");
    assert_eq!(record["lawful_basis"]["iri"], json!(["https://w3id.org/dpv#Consent", "https://w3id.org/dpv/legal/eu/gdpr#A6-1-a"]));
    assert_eq!(record["pii_controllers"][0]["party_name"], "Sample & Sons");
    assert!(record["withdrawal_method"]["description"].as_str().unwrap().contains("tell privacy@example.com and name ev_42"));
    // The activity that the person saw is named, on whatever basis it rests.
    let books = Consent { activity: Some(ActivityKey::intern("books")), ..grant };
    let record = &issued(&desk, &event(What::Consent(books)), None)["record"];
    assert_eq!((&record["pii_processing"][0]["activity"], &record["lawful_basis"]["key"]), (&json!("books"), &json!("legal-obligation")));
    assert_eq!(record["pii_processing"].as_array().unwrap().len(), 1);
}

fn statement(state: &str) -> Value {
    json!({
        "party": "crm:0044", "state": state, "purposes": ["sales.outreach"], "categories": ["contact"], "recipients": ["sales"],
        "evidence": [{"kind": "form-hash", "reference": "<script>alert('x')</script>"}, {"kind": "notice", "reference": "n&1"}],
        "author": "customer", "notice": {"id": "n-1", "version": "3"},
    })
}

const CENTRE: As = As::App("preference-centre");

fn recorded(desk: &Desk, by: &As, state: &str) -> String {
    let (status, answer) = desk.post(by, "/v1/consents", &statement(state));
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    format!("/v1/consents/{}/receipt", answer["event"].as_str().unwrap())
}

#[test]
fn the_desk_sees_the_id_and_others_a_party_or_nothing() {
    let desk = Desk::open().with_customer();
    let path = recorded(&desk, &CENTRE, "given");
    let seen = |who: &As, path: &str| desk.get(who, path);
    let event = path.split('/').nth(3).unwrap();
    let named = format!("urn:consentry:principal:{}:{event}", desk.state.origin);
    for (who, principal) in [(&CENTRE, named.as_str()), (&role(AdminRole::ConsentDesk), "crm:0044")] {
        let (status, receipt) = seen(who, &path);
        assert_eq!((status, &receipt["record"]["pii_principal_id"]), (StatusCode::OK, &json!(principal)));
        check(&receipt);
    }
    let (status, receipt) = seen(&role(AdminRole::Auditor), &path);
    assert_eq!(status, StatusCode::OK);
    assert!(receipt["record"]["pii_principal_id"].as_str().unwrap().starts_with("party:p_") && !receipt.to_string().contains("0044"), "{receipt}");
    // A foreign event, one that is not there and what is no id are one answer.
    let by_desk = recorded(&desk, &role(AdminRole::ConsentDesk), "withdrawn");
    let nowhere = seen(&CENTRE, "/v1/consents/ev_999/receipt");
    assert_eq!((nowhere.0, &nowhere.1["detail"]), (StatusCode::NOT_FOUND, &json!("no such event")));
    for (who, path) in
        [(As::App("helpdesk"), path.as_str()), (CENTRE, &by_desk), (CENTRE, "/v1/consents/crm:0044/receipt"), (CENTRE, "/v1/consents/ev_01/receipt")]
    {
        assert_eq!(seen(&who, path), nowhere, "{path}");
    }
    // Under an id that nobody has yet, an auditor sees the system alone.
    let stop = json!({"party": "crm:0099", "kind": "objection-marketing"});
    let (_, answer) = desk.post(&role(AdminRole::ConsentDesk), "/v1/objections", &stop);
    let (_, receipt) = seen(&role(AdminRole::Auditor), &format!("/v1/consents/{}/receipt", answer["event"].as_str().unwrap()));
    assert_eq!(receipt["record"]["pii_principal_id"], "crm:…");
    assert_eq!(receipt["record"]["event"]["stop"], json!({"key": "objection-marketing", "iri": "https://w3id.org/dpv/legal/eu/gdpr#A21"}));
    check(&receipt);
}

#[test]
fn a_receipt_names_the_text_that_was_shown() {
    let desk = Desk::open().with_customer();
    let notice_of = |path: &str| {
        let receipt = desk.get(&role(AdminRole::ConsentDesk), path).1;
        check(&receipt);
        receipt["record"]["privacy_notice"].clone()
    };
    let unregistered = json!({"@type": "ConsentNotice", "id": "n-1", "version": "3"});
    let before = recorded(&desk, &CENTRE, "given");
    assert_eq!(notice_of(&before), unregistered);
    let text = "We write to you about offers.";
    let version = json!({
        "id": "n-1", "version": "3", "language": "en-GB", "text": text, "url": "https://example.com/n-1?v=3&lang=en", "purposes": ["sales.outreach"],
    });
    assert_eq!(desk.post(&role(AdminRole::ConsentDesk), "/v1/notices", &version).0, StatusCode::CREATED);
    // What was registered later may be another text.
    assert_eq!(notice_of(&before), unregistered);
    let path = recorded(&desk, &CENTRE, "given");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let hash = hash.as_ref().iter().fold("sha256:".to_owned(), |hex, byte| format!("{hex}{byte:02x}"));
    let registered = json!({
        "@type": "ConsentNotice", "id": "n-1", "version": "3", "language": "en-GB", "hash": hash, "url": "https://example.com/n-1?v=3&lang=en",
    });
    assert_eq!(notice_of(&path), registered);
    let (_, jwks) = desk.get(&CENTRE, "/.well-known/jwks.json");
    let (_, _, jws) = desk.fetch(&CENTRE, &format!("{path}?format=jws"));
    assert_eq!(verified(&jwks, std::str::from_utf8(&jws).unwrap()).unwrap()["record"]["privacy_notice"], registered);
    let (_, _, page) = desk.fetch(&CENTRE, &format!("{path}?format=html"));
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains(&hash) && page.contains("<dd>https://example.com/n-1?v=3&amp;lang=en</dd>") && page.contains("<dd>en-GB</dd>"), "{page}");
}

#[test]
fn a_receipt_that_cannot_be_recorded_is_not_given() {
    let desk = Desk::open().with_customer();
    let path = recorded(&desk, &CENTRE, "withdrawn");
    desk.state.log.clone().close();
    for who in [CENTRE, role(AdminRole::Auditor)] {
        let (status, problem) = desk.get(&who, &path);
        assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("audit-unavailable")));
    }
}

/// The payload of a JWS whose signature the published key verifies.
fn verified(jwks: &Value, jws: &str) -> Option<Value> {
    let [header, payload, signature]: [&str; 3] = jws.split('.').collect::<Vec<_>>().try_into().ok()?;
    let said: Value = serde_json::from_slice(&BASE64.decode(header).ok()?).ok()?;
    let key = jwks["keys"].as_array()?.iter().find(|key| key["kid"] == said["kid"])?;
    let x = BASE64.decode(key["x"].as_str()?).ok()?;
    let signed = format!("{header}.{payload}");
    UnparsedPublicKey::new(&ED25519, x).verify(signed.as_bytes(), &BASE64.decode(signature).ok()?).ok()?;
    assert_eq!((&said["alg"], &said["typ"]), (&json!("EdDSA"), &json!("consent-receipt+jwt")));
    serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()
}

#[test]
fn the_three_forms_say_the_same_and_the_published_key_verifies_them() {
    let desk = Desk::open().with_customer();
    let path = recorded(&desk, &CENTRE, "given");
    for who in [CENTRE, role(AdminRole::ConsentDesk)] {
        let fetch = |query: &str| {
            let (status, headers, body) = desk.fetch(&who, &format!("{path}{query}"));
            assert_eq!(status, StatusCode::OK);
            (headers["content-type"].to_str().unwrap().to_owned(), headers, String::from_utf8(body.to_vec()).unwrap())
        };
        let without_time = |mut receipt: Value| {
            receipt.as_object_mut().unwrap().remove("issued_at");
            receipt
        };
        let (_, jwks) = desk.get(&who, "/.well-known/jwks.json");
        let (kind, _, json) = fetch("");
        assert_eq!(kind, "application/ld+json");
        let (kind, _, jws) = fetch("?format=jws");
        assert_eq!(kind, "application/jose");
        let receipt = verified(&jwks, &jws).unwrap();
        check(&receipt);
        assert_eq!(without_time(receipt), without_time(serde_json::from_str(&json).unwrap()));
        // Each changed byte is found.
        for at in (0..jws.len()).step_by(jws.len() / 40) {
            let mut changed = jws.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(verified(&jwks, &String::from_utf8(changed).unwrap()), None, "byte {at}");
        }
        let (kind, headers, page) = fetch("?format=html");
        assert_eq!(kind, "text/html; charset=utf-8");
        let held = page.split("<pre id=\"jws\">").nth(1).and_then(|rest| rest.split("</pre>").next()).unwrap();
        assert!(verified(&jwks, held).is_some());
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;") && page.contains("n&amp;1"), "{page}");
        assert!(
            page.contains("<h1>Consent given</h1>") && page.contains("<dd>Contact by sales</dd>") && page.contains("Sample &amp; Sons"),
            "{page}"
        );
        let (status, problem) = desk.get(&who, &format!("{path}?format=pdf"));
        assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid-value")));
    }
}

#[test]
fn the_schema_that_is_served_is_the_one_that_is_tested() {
    let desk = Desk::open();
    for who in [CENTRE, As::Nobody] {
        let (status, served) = desk.get(&who, "/v1/schemas/consent-receipt");
        assert_eq!(status, StatusCode::OK);
        jsonschema::meta::validate(&served).unwrap();
        assert_eq!(served["$id"], "urn:consentry:schema:consent-receipt:1");
        let (_, served) = desk.get(&who, "/.well-known/jwks.json");
        assert!(served["keys"][0].get("d").is_none());
    }
    assert_eq!(desk.get(&As::Nobody, "/v1/consents/ev_1/receipt").0, StatusCode::UNAUTHORIZED);
}

#[test]
fn names_are_shown_with_the_terms_that_others_know() {
    let desk = Desk::open();
    let list = |path: &str, name: &str| desk.get(&role(AdminRole::Operator), path).1[name].as_array().unwrap().clone();
    let purposes = list("/v1/purposes", "purposes");
    for item in purposes.iter().chain(&list("/v1/categories", "categories")) {
        assert!(item["dpv"].as_str().unwrap().starts_with("https://w3id.org/dpv") && item["label"].is_string(), "{item}");
        assert!(item["prohibited"] != json!(true));
    }
    assert_eq!(purposes.iter().find(|p| p["purpose"] == "marketing.email").unwrap()["dpv"], "https://w3id.org/dpv#DirectMarketing");
    let activities = list("/v1/activities", "activities");
    assert_eq!(activities.len(), desk.state.instance.activities().len());
    let terms = |activity: &Value| (activity["basis_dpv"].clone(), activity["basis_gdpr"].clone());
    let books = activities.iter().find(|activity| activity["activity"] == "books").unwrap();
    assert_eq!(terms(books), (json!("https://w3id.org/dpv#LegalObligation"), json!("https://w3id.org/dpv/legal/eu/gdpr#A6-1-c")));
    assert_eq!((&books["jurisdiction"], &books["art9"], &books["confidentiality"]), (&json!("EU"), &Value::Null, &json!("internal")));
}
