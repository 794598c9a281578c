//! Who may ask, approve, end, review and see break-glass grants.

use super::*;

pub(super) fn asked(desk: &Desk) -> Value {
    let until = (desk.state.clock.now() + jiff::SignedDuration::from_hours(2)).to_string();
    json!({
        "app": "helpdesk", "employee": "corp:uses", "party": "crm:0044", "purpose": "service-provision.support", "ticket": "INC-1",
        "justification": "the ambulance asks", "until": until,
    })
}

/// Asked for by `asks` for `uses`.
pub(super) fn made(desk: &Desk) -> String {
    let grant = desk.made(&As::Person(AdminRole::ConsentDesk, "asks"), "/v1/break-glass", &asked(desk));
    grant["id"].as_str().unwrap().to_owned()
}

pub(super) fn approved(desk: &Desk) -> String {
    let id = made(desk);
    for name in ["one", "two"] {
        assert_eq!(approve(desk, &As::Person(AdminRole::PolicyApprover, name), &id).0, StatusCode::OK);
    }
    id
}

fn approve(desk: &Desk, who: &As, id: &str) -> (StatusCode, Value) {
    desk.send(who, Request::post(format!("/v1/break-glass/{id}:approve")).body(Body::empty()).unwrap())
}

#[test]
fn only_people_who_can_be_told_apart_take_part() {
    let desk = Desk::open().with_customer();
    let certificate = role(AdminRole::ConsentDesk);
    let (status, problem) = desk.post(&certificate, "/v1/break-glass", &asked(&desk));
    assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthenticated")));
    let id = made(&desk);
    assert_eq!(approve(&desk, &role(AdminRole::PolicyApprover), &id).0, StatusCode::UNAUTHORIZED);
    for (name, wanted) in [("asks", 409), ("uses", 409), ("one", 200), ("one", 409), ("two", 200), ("three", 409)] {
        let (status, answer) = approve(&desk, &As::Person(AdminRole::PolicyApprover, name), &id);
        assert_eq!(status.as_u16(), wanted, "{name}: {answer}");
    }
    let (_, found) = desk.get(&role(AdminRole::Auditor), "/v1/break-glass?state=active");
    let grant = &found["grants"][0];
    assert_eq!((&grant["id"], &grant["state"], &grant["employee"]), (&json!(id), &json!("active"), &json!("emp_uses")));
    assert_eq!(grant["approvals"].as_array().unwrap().len(), 2);
    // Ending it needs no person, and stops at once.
    let (status, ended) = desk.post(&role(AdminRole::Operator), &format!("/v1/break-glass/{id}:revoke"), &json!({"reason": "over"}));
    assert_eq!((status, &ended["state"]), (StatusCode::OK, &json!("review-due")));
    let body = json!({"finding": "unjustified", "note": "no such incident"});
    for (name, wanted) in [("one", 409), ("uses", 409), ("auditor", 200), ("auditor", 409)] {
        let (status, answer) = desk.post(&As::Person(AdminRole::Auditor, name), &format!("/v1/break-glass/{id}:review"), &body);
        assert_eq!(status.as_u16(), wanted, "{name}: {answer}");
    }
    // Each step is in the log, without a word of what people wrote.
    let entries: Vec<Value> =
        desk.entries().into_iter().filter(|entry| entry["operation"].as_str().unwrap_or_default().starts_with("break-glass")).collect();
    let done = |operation: &str| entries.iter().filter(|entry| entry["operation"] == operation && entry["status"].as_u64() < Some(300)).count();
    assert_eq!((done("break-glass.request"), done("break-glass.approve"), done("break-glass.revoke"), done("break-glass.review")), (1, 2, 1, 1));
    // And of which grant it was, by whom and about whom.
    let steps: Vec<Value> = desk.entries().into_iter().filter(|entry| entry["kind"] == "break_glass").collect();
    let told: Vec<_> = steps.iter().map(|entry| (entry["step"].as_str().unwrap(), entry["actor"].as_str().unwrap())).collect();
    let revoker = entries.iter().find(|entry| entry["operation"] == "break-glass.revoke").unwrap()["actor"].as_str().unwrap();
    let by = |name: &'static str| format!("emp_{name}");
    let wanted =
        [("requested", by("asks")), ("approved", by("one")), ("approved", by("two")), ("revoked", revoker.to_owned()), ("reviewed", by("auditor"))];
    assert_eq!(told, wanted.iter().map(|(step, by)| (*step, by.as_str())).collect::<Vec<_>>());
    for step in &steps {
        assert!(step["grant"] == json!(id) && step["party"].is_u64(), "{step}");
        // The administrator's entry of the same step.
        let same = |entry: &&Value| entry["revision"] == step["revision"] && entry["party"] == step["party"];
        assert_eq!(entries.iter().filter(same).count(), 1, "{step}");
    }
    assert!(!json!([entries, steps]).to_string().contains("ambulance"));
}

#[test]
fn what_is_asked_for_must_exist_and_end_soon() {
    let desk = Desk::open().with_customer();
    let later = (desk.state.clock.now() + jiff::SignedDuration::from_hours(5)).to_string();
    let none = Value::Null;
    for (member, value, wanted) in [
        ("app", json!("crmm"), 422),
        ("purpose", json!("support"), 422),
        ("employee", json!("nobody:1"), 422),
        ("employee", json!("corp"), 422),
        ("party", json!("crm:9999"), 404),
        ("party", none.clone(), 422),
        ("api", json!("crm"), 422),
        ("until", json!(later), 422),
        ("until", json!("2020-01-01T00:00:00Z"), 422),
        ("ticket", json!(""), 422),
        ("justification", json!(""), 422),
    ] {
        let mut body = asked(&desk);
        body[member] = value;
        let (status, answer) = desk.post(&As::Person(AdminRole::ConsentDesk, "asks"), "/v1/break-glass", &body);
        assert_eq!(status.as_u16(), wanted, "{member}: {answer}");
    }
    let by_route = |api: &str, route: &str| {
        let mut body = asked(&desk);
        (body["party"], body["api"], body["route"]) = (none.clone(), json!(api), json!(route));
        desk.post(&As::Person(AdminRole::Operator, "asks"), "/v1/break-glass", &body).0.as_u16()
    };
    assert_eq!((by_route("crm", "GET /customers/{id}"), by_route("crm", "GET /nothing"), by_route("erp", "GET /customers/{id}")), (201, 422, 422));
    let (status, problem) = desk.post(&As::Person(AdminRole::Operator, "asks"), "/v1/break-glass", &asked(&desk));
    assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("role-missing")), "operators know no customers");
}

#[test]
fn operators_see_grants_and_no_parties() {
    let desk = Desk::open().with_customer();
    made(&desk);
    let party = |who: AdminRole| desk.get(&role(who), "/v1/break-glass").1["grants"][0]["party"].clone();
    assert_eq!(party(AdminRole::Operator), Value::Null);
    assert!(party(AdminRole::PolicyApprover).as_str().unwrap().starts_with("party:p_"));
}
