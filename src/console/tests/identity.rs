//! Merge, split, hold, gaps, delegations and occurrences.

use super::*;

const MERGE: &str = "/v1/parties/crm:0044:merge";
const SPLIT: &str = "/v1/parties/crm:0044:split";

fn staff() -> As {
    role(AdminRole::ConsentDesk)
}

impl Desk {
    fn with_parties(self, parties: &[(&str, &str)]) -> Self {
        for (id, kind) in parties {
            let (status, answer) = self.post(&staff(), "/v1/parties", &json!({"identifiers": [id], "kind": kind}));
            assert_eq!(status, StatusCode::CREATED, "{answer}");
        }
        self
    }

    /// `crm:0044`, who agreed, and `crm:0031`, who objected.
    fn with_two() -> Self {
        let desk = Self::open().with_customer().with_parties(&[("crm:0031", "person")]);
        desk.done("/v1/consents", &given(&desk));
        desk.done("/v1/consents", &json!({"party": "crm:0031", "state": "refused", "purposes": ["sales.outreach"], "evidence": evidence()}));
        desk.done("/v1/objections", &json!({"party": "crm:0031", "kind": "objection-marketing"}));
        desk
    }

    #[track_caller]
    fn done(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.post(&staff(), path, body);
        assert!(status.is_success(), "{path}: {answer}");
        answer
    }

    /// Refused each, and nothing is changed by any.
    #[track_caller]
    fn all_refused(&self, cases: &[(&str, &str, Value, u16, &str)]) {
        let before = self.state.ledger.revision();
        for (what, path, body, status, code) in cases {
            let (found, problem) = self.post(&staff(), path, body);
            assert_eq!((found.as_u16(), &problem["code"]), (*status, &json!(code)), "{what}: {problem}");
            assert!(problem["remedy"].is_string(), "{what}: {problem}");
        }
        assert_eq!(self.state.ledger.revision(), before, "nothing was changed");
    }

    fn show(&self, id: &str) -> Value {
        self.get(&staff(), &format!("/v1/parties/{id}")).1
    }

    fn outreach(&self, id: &str) -> Value {
        let path = format!("/v1/parties/{id}/effective?purpose=sales.outreach&category=contact&recipient=sales");
        let answer = self.get(&role(AdminRole::Auditor), &path).1;
        answer["uses"][0]["status"].clone()
    }

    fn erase(&self, id: &str) -> (StatusCode, Value) {
        self.post(&staff(), &format!("/v1/parties/{id}:erase"), &json!({"reason": "letter 31"}))
    }
}

fn evidence() -> Value {
    json!([{"kind": "letter", "reference": "scan-1"}])
}

fn hour_ago(desk: &Desk) -> Value {
    json!((desk.state.clock.now() - jiff::SignedDuration::from_hours(1)).to_string())
}

fn given(desk: &Desk) -> Value {
    let mut given = grant();
    given["event_time"] = hour_ago(desk);
    given
}

fn because(more: &Value) -> Value {
    let mut body = json!({"reason": "same person, ticket 4471"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn what_cannot_be_merged_is_refused_and_changes_nothing() {
    let desk = Desk::with_two().with_parties(&[("crm:7", "device"), ("crm:8", "person")]);
    let gone = format!("party:{}", desk.show("crm:8")["party"].as_str().unwrap());
    assert_eq!(desk.erase("crm:8").0, StatusCode::CREATED);
    let from = |id: &str| because(&json!({"from": id}));
    let ahead = desk.state.clock.now() + jiff::SignedDuration::from_hours(1);
    desk.all_refused(&[
        ("nobody is known by it", MERGE, from("crm:9999"), 404, "not-found"),
        ("into nobody", "/v1/parties/crm:9999:merge", from("crm:0044"), 404, "not-found"),
        ("no such space", MERGE, from("fax:1"), 422, "invalid-value"),
        ("no id", MERGE, from("0031"), 422, "invalid-value"),
        ("itself", MERGE, from("crm:0044"), 422, "invalid-value"),
        ("no reason", MERGE, json!({"from": "crm:0031"}), 400, "invalid-request"),
        ("a blank reason", MERGE, json!({"from": "crm:0031", "reason": " "}), 422, "invalid-value"),
        ("in the future", MERGE, because(&json!({"from": "crm:0031", "time": ahead.to_string()})), 422, "invalid-value"),
        ("no time", MERGE, because(&json!({"from": "crm:0031", "time": "yesterday"})), 422, "invalid-value"),
        ("an unknown member", MERGE, because(&json!({"from": "crm:0031", "into": "crm:1"})), 400, "invalid-request"),
        ("a person into a device", "/v1/parties/crm:7:merge", from("crm:0044"), 422, "invalid-value"),
        ("the erased", MERGE, from(&gone), 409, "conflict"),
        ("into the erased", &format!("/v1/parties/{gone}:merge"), from("crm:0044"), 409, "conflict"),
    ]);
    assert_eq!(desk.outreach("crm:0044"), json!("given"));
}

#[test]
fn a_merge_binds_both_says_what_they_differ_about_and_is_done_once() {
    let desk = Desk::with_two();
    let other = desk.show("crm:0031")["party"].clone();
    let merged = desk.done(MERGE, &because(&json!({"from": "crm:0031"})));
    assert_eq!((&merged["stops"], &merged["conflicts"], &merged["known_before"]), (&json!(["objection"]), &json!(["sales.outreach"]), &json!(false)));
    assert_ne!(desk.outreach("crm:0044"), json!("given"), "the other side's refusal binds");
    let view = desk.show("crm:0031");
    assert_eq!((&view["party"], &view["stops"]), (&merged["party"], &json!(["objection"])));
    let came: Vec<&Value> = view["identifiers"].as_array().unwrap().iter().filter(|link| link["merged_from"] == other).collect();
    assert_eq!((came.len(), &came[0]["identifier"]), (1, &json!("crm:0031")), "{view}");
    let [merge] = view["merges"].as_array().unwrap().as_slice() else { panic!("{view}") };
    assert_eq!((&merge["from"], &merge["into"], &merge["undone"]), (&other, &merged["party"], &Value::Null));
    assert_eq!((&merge["reason"], &merge["source"]), (&json!("same person, ticket 4471"), &json!("staff:e_1")));
    let written = desk.entries();
    let entry = written.iter().find(|entry| entry["operation"] == json!("parties.merge")).unwrap();
    assert_eq!((&entry["kind"], &entry["role"]), (&json!("admin"), &json!("consent-desk")));

    let before = desk.state.ledger.revision();
    for from in ["crm:0031", "email:ada@example.com"] {
        let again = desk.done(MERGE, &because(&json!({"from": from})));
        assert_eq!((&again["known_before"], &again["revision"]), (&json!(true), &merged["revision"]), "{from}");
    }
    assert_eq!(desk.state.ledger.revision(), before);
    let masked = desk.get(&role(AdminRole::Auditor), "/v1/parties/crm:0044").1;
    assert_eq!(masked["merges"], view["merges"], "an auditor sees what was merged");
    assert!(!masked.to_string().contains("ada@") && !masked.to_string().contains("crm:0031"), "but no ids: {masked}");
}

#[test]
fn what_cannot_be_split_is_refused_and_changes_nothing() {
    let desk = Desk::with_two().with_parties(&[("crm:8", "person")]);
    desk.done(MERGE, &because(&json!({"from": "crm:0031"})));
    let gone = format!("/v1/parties/party:{}:split", desk.show("crm:8")["party"].as_str().unwrap());
    let other = desk.show("crm:8")["party"].as_str().unwrap().to_owned();
    assert_eq!(desk.erase("crm:8").0, StatusCode::CREATED);
    let merged = |id: &str| because(&json!({"merged": id}));
    let ids = |ids: &[&str]| because(&json!({"identifiers": ids}));
    desk.all_refused(&[
        ("never merged", SPLIT, merged(&format!("party:{other}")), 422, "invalid-value"),
        ("its own id", SPLIT, merged("crm:0044"), 422, "invalid-value"),
        ("an unknown id", SPLIT, merged("crm:9999"), 422, "invalid-value"),
        ("nobody's record", "/v1/parties/crm:9999:split", merged("crm:0031"), 404, "not-found"),
        ("somebody else's id", SPLIT, ids(&["crm:9999"]), 422, "invalid-value"),
        ("one that is and one that is not", SPLIT, ids(&["crm:0031", "crm:9999"]), 422, "invalid-value"),
        ("every id", SPLIT, ids(&["crm:0044", "email:ada@example.com", "crm:0031"]), 422, "invalid-value"),
        ("no id", SPLIT, ids(&[]), 422, "invalid-value"),
        ("a party among ids", SPLIT, ids(&["party:1"]), 422, "invalid-value"),
        ("both", SPLIT, because(&json!({"merged": "crm:0031", "identifiers": ["crm:0031"]})), 422, "invalid-value"),
        ("neither", SPLIT, because(&json!({})), 422, "invalid-value"),
        ("no reason", SPLIT, json!({"merged": "crm:0031"}), 400, "invalid-request"),
        ("a blank reason", SPLIT, json!({"merged": "crm:0031", "reason": ""}), 422, "invalid-value"),
        ("the erased", &gone, ids(&["crm:8"]), 409, "conflict"),
    ]);
}

#[test]
fn a_split_gives_each_side_its_own_again_and_is_searched_in_the_log() {
    let desk = Desk::with_two();
    let other = desk.show("crm:0031")["party"].clone();
    let merged = desk.done(MERGE, &because(&json!({"from": "crm:0031"})));
    let split = desk.done(SPLIT, &because(&json!({"merged": "crm:0031"})));
    assert_eq!((&split["stays"], &split["leaves"], &split["disclosed"]), (&merged["party"], &other, &json!([])));
    assert!(split["entry"].as_str().unwrap().starts_with("gw-test.example.com#"), "{split}");
    assert_eq!((desk.outreach("crm:0044"), desk.outreach("crm:0031")), (json!("given"), json!("refused")));
    assert_eq!(desk.show("crm:0044")["merges"][0]["undone"], split["revision"]);
    assert_eq!(desk.show("crm:0044")["stops"], json!([]), "the objection was the other's");
    let operations: Vec<Value> =
        desk.entries().iter().filter(|entry| entry["operation"] == json!("parties.split")).map(|e| e["kind"].clone()).collect();
    assert_eq!(operations, [json!("admin"), json!("query")]);
    desk.all_refused(&[("the same again", SPLIT, because(&json!({"merged": "crm:0031"})), 422, "invalid-value")]);

    let apart = desk.done(SPLIT, &because(&json!({"identifiers": ["email:ada@example.com"]})));
    assert_eq!(desk.show("email:ada@example.com")["party"], apart["leaves"]);
    assert_eq!(desk.outreach("crm:0044"), json!("given"), "what was said under the id that stays");
}

#[test]
fn a_split_stands_although_the_log_cannot_be_searched_and_says_so() {
    let mut desk = Desk::with_two();
    desk.done(MERGE, &because(&json!({"from": "crm:0031"})));
    desk.state.index = LiveIndex::new(desk.state.log.clone(), &desk.dir.path().join("nowhere"));
    let split = desk.done(SPLIT, &because(&json!({"merged": "crm:0031"})));
    assert!(split["disclosed"].is_null() && split["note"].as_str().unwrap().contains("/recipients"), "{split}");
    assert_eq!(desk.outreach("crm:0044"), json!("given"));
}

#[test]
fn a_hold_stands_against_erasure_until_its_release() {
    let desk = Desk::open().with_customer();
    let act = |verb: &str, body: &Value| desk.post(&staff(), &format!("/v1/parties/crm:0044:{verb}"), body);
    desk.all_refused(&[
        ("of nobody", "/v1/parties/crm:9999:hold", because(&json!({})), 404, "not-found"),
        ("no reason", "/v1/parties/crm:0044:hold", json!({}), 400, "invalid-request"),
        ("a blank reason", "/v1/parties/crm:0044:hold", json!({"reason": " "}), 422, "invalid-value"),
        ("a release without reason", "/v1/parties/crm:0044:release", json!({"reason": ""}), 422, "invalid-value"),
    ]);
    let (status, held) = act("hold", &json!({"reason": "claim 2026-118"}));
    assert_eq!((status, &held["is_held"]), (StatusCode::OK, &json!(true)));
    let (status, problem) = desk.erase("crm:0044");
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("conflict")));
    assert!(problem["remedy"].as_str().unwrap().contains("consentry party release"), "{problem}");
    let view = desk.show("crm:0044");
    assert_eq!((&view["is_erased"], &view["facts"][0]["source"]), (&json!(false), &json!("staff:e_1: claim 2026-118")));
    let (_, released) = act("release", &json!({"reason": "settled"}));
    assert_eq!(released["is_held"], json!(false));
    assert_eq!(desk.erase("crm:0044").0, StatusCode::CREATED);
    assert_eq!(desk.show(&format!("party:{}", view["party"].as_str().unwrap()))["is_erased"], json!(true));
}

#[test]
fn an_erasure_takes_all_who_were_merged_and_leaves_alone_who_was_split_off() {
    let desk = Desk::with_two().with_parties(&[("crm:8", "person")]);
    for from in ["crm:0031", "crm:8"] {
        desk.done(MERGE, &because(&json!({"from": from})));
    }
    desk.done(SPLIT, &because(&json!({"merged": "crm:0031"})));
    desk.done(SPLIT, &because(&json!({"identifiers": ["email:ada@example.com"]})));
    assert_eq!(desk.erase("crm:0044").0, StatusCode::CREATED);
    for id in ["crm:0044", "crm:8"] {
        let (status, problem) = desk.post(&staff(), "/v1/parties", &json!({"identifiers": [id]}));
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{id}: {problem}");
    }
    for id in ["crm:0031", "email:ada@example.com"] {
        assert_eq!(desk.post(&staff(), "/v1/parties", &json!({"identifiers": [id]})).0, StatusCode::OK, "{id}");
        assert_eq!(desk.show(id)["is_erased"], json!(false), "{id}");
    }
    assert_eq!(desk.outreach("crm:0031"), json!("refused"));
}

#[test]
fn gaps_are_counts_that_name_nobody() {
    let desk = Desk::open().with_customer();
    let operator = role(AdminRole::Operator);
    assert_eq!(desk.get(&operator, "/v1/gaps"), (StatusCode::OK, json!({"gaps": []})));
    for value in ["9998", "9999", "9999", "0044"] {
        drop(desk.state.ledger.standing(&Identifier { space: Space::intern("crm"), value: value.to_owned() }));
    }
    desk.done("/v1/objections", &json!({"party": "email:bo@example.com", "kind": "objection-marketing"}));
    let (_, answer) = desk.get(&operator, "/v1/gaps");
    let crm = json!({"space": "crm", "requests": 3, "ids": 2, "waiting": 0});
    assert_eq!(answer, json!({"gaps": [crm, {"space": "email", "requests": 0, "ids": 0, "waiting": 1}]}));
    assert!(desk.entries().iter().any(|entry| entry["kind"] == json!("query") && entry["operation"] == json!("gaps.list")));
}

#[test]
fn what_is_no_delegation_or_occurrence_is_refused() {
    let desk = Desk::open().with_customer();
    let (who, what) = ("/v1/delegations", "/v1/occurrences");
    let delegation = |more: Value| {
        let mut body = json!({"party": "crm:0044", "holder": "guardian", "evidence": evidence()});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let ahead = json!((desk.state.clock.now() + jiff::SignedDuration::from_hours(1)).to_string());
    desk.all_refused(&[
        ("no such holder", who, delegation(json!({"holder": "neighbour"})), 422, "invalid-value"),
        ("no evidence", who, delegation(json!({"evidence": []})), 422, "invalid-value"),
        ("no evidence at all", who, json!({"party": "crm:0044", "holder": "guardian"}), 400, "invalid-request"),
        ("no such purpose", who, delegation(json!({"purposes": ["sales.outreahc"]})), 422, "invalid-value"),
        ("no such space", who, delegation(json!({"party": "fax:1"})), 422, "invalid-value"),
        ("nobody's public id", who, delegation(json!({"party": "party:p_none"})), 404, "not-found"),
        ("in the future", who, delegation(json!({"event_time": ahead})), 422, "invalid-value"),
        ("no time", who, delegation(json!({"until": "soon"})), 422, "invalid-value"),
        ("no name", what, json!({"party": "crm:0044"}), 400, "invalid-request"),
        ("a blank name", what, json!({"party": "crm:0044", "name": " "}), 422, "invalid-value"),
        ("in the future", what, json!({"party": "crm:0044", "name": "contract-ended", "event_time": ahead}), 422, "invalid-value"),
        ("no such author", what, json!({"party": "crm:0044", "name": "contract-ended", "author": "me"}), 422, "invalid-value"),
    ]);
}

#[test]
fn a_guardian_speaks_for_a_minor_only_with_a_delegation() {
    let desk = Desk::open().with_customer();
    let facts = Request::put("/v1/parties/crm:0044/facts").header("content-type", "application/json");
    let body = json!({"age": "minor", "source": "crm"}).to_string();
    assert_eq!(desk.send(&staff(), facts.body(Body::from(body)).unwrap()).0, StatusCode::OK);
    let mut by_guardian = given(&desk);
    by_guardian["author"] = json!("guardian");
    desk.done("/v1/consents", &by_guardian);
    assert_ne!(desk.outreach("crm:0044"), json!("given"));
    let delegation = |who: &As| {
        let two_hours_ago = desk.state.clock.now() - jiff::SignedDuration::from_hours(2);
        let body = json!({"party": "crm:0044", "holder": "guardian", "event_time": two_hours_ago.to_string(), "evidence": evidence()});
        desk.post(who, "/v1/delegations", &body)
    };
    let (status, answer) = delegation(&As::App("helpdesk"));
    assert_eq!((status, &answer["author"]), (StatusCode::CREATED, &json!("system")), "not in its capture registration");
    assert_ne!(desk.outreach("crm:0044"), json!("given"));
    assert_eq!(delegation(&staff()).1["author"], json!("staff"));
    assert_eq!(desk.outreach("crm:0044"), json!("given"));
}

#[test]
fn an_occurrence_ends_the_grants_that_last_until_then_and_is_recorded_once() {
    let desk = Desk::open().with_customer();
    let mut until = given(&desk);
    until["until"] = json!("contract-ended");
    desk.done("/v1/consents", &until);
    desk.done("/v1/occurrences", &json!({"party": "crm:0044", "name": "contract-renewed"}));
    assert_eq!(desk.outreach("crm:0044"), json!("given"), "something else came to pass");
    let occur = |name: &str| {
        let body = json!({"party": "crm:0044", "name": name, "event_time": hour_ago(&desk)}).to_string();
        let request = post("/v1/occurrences", &Value::Null).header("idempotency-key", "k-1").body(Body::from(body)).unwrap();
        desk.send(&As::App("helpdesk"), request)
    };
    let body = json!({"party": "crm:0044", "name": "contract-ended"});
    let request = || post("/v1/occurrences", &body).header("idempotency-key", "k-2").body(Body::from(body.to_string())).unwrap();
    let (status, first) = desk.send(&As::App("helpdesk"), request());
    assert_eq!(status, StatusCode::CREATED, "{first}");
    assert_eq!(desk.outreach("crm:0044"), json!("expired"), "any app may end a grant");
    assert_eq!(desk.send(&As::App("helpdesk"), request()).1["event"], first["event"]);
    assert_eq!(occur("contract-ended").0, StatusCode::CREATED);
    assert_eq!(occur("contract-renewed").1["code"], json!("idempotency-mismatch"));
}
