//! The conflict ledger, notices and answers about other times, as a client sees them.

use jiff::SignedDuration;

use super::*;

const SYSTEMS: [&str; 2] = ["=cmd|' /C calc'!A1", "erp,\"north\""];

/// A desk where one system says that the customer consented and another that they did not.
fn contested() -> Desk {
    let desk = Desk::open().with_customer();
    let ago = |hours| json!((desk.state.clock.now() - SignedDuration::from_hours(hours)).to_string());
    for (mut body, hours, system) in [(grant(), 3, SYSTEMS[0]), (withdrawal(), 2, SYSTEMS[1])] {
        (body["event_time"], body["source_system"], body["author"]) = (ago(hours), json!(system), json!("staff"));
        assert_eq!(desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &body).0, StatusCode::CREATED);
    }
    desk
}

fn listed(desk: &Desk, query: &str) -> Vec<Value> {
    let (status, answer) = desk.get(&role(AdminRole::Auditor), &format!("/v1/conflicts{query}"));
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["next"], Value::Null);
    answer["conflicts"].as_array().unwrap().clone()
}

#[test]
fn a_conflict_says_who_says_what_and_what_holds_without_any_identifier() {
    let desk = contested();
    let [found] = listed(&desk, "").try_into().unwrap();
    let (_, party) = desk.get(&role(AdminRole::ConsentDesk), "/v1/parties/crm:0044");
    assert_eq!((&found["party"], &found["purpose"]), (&party["party"], &json!("sales.outreach")));
    let says: Vec<_> = found["says"].as_array().unwrap().iter().map(|v| (v["system"].as_str().unwrap(), v["says"].as_str().unwrap())).collect();
    assert_eq!(says, [(SYSTEMS[0], "given"), (SYSTEMS[1], "withdrawn")]);
    assert!(found["says"][0]["event_time"].is_string() && found["rule"] == json!("customer-last-word/v1"), "{found}");
    assert_eq!((&found["holds"], &found["settled"], &found["asked"]), (&json!("withdrawn"), &json!(false), &Value::Null));
    assert_eq!(found["event"], found["says"][1]["event"]);
    assert!(!found.to_string().contains("0044") && !found.to_string().contains("ada@"));
    for (query, n) in [
        ("?purpose=sales", 1),
        ("?purpose=marketing.email", 0),
        ("?unsettled=true", 1),
        ("?merged=true", 0),
        ("?system=nobody", 0),
        ("?system=erp%2C%22north%22", 1),
        ("?since=100000", 0),
    ] {
        assert_eq!(listed(&desk, query).len(), n, "{query}");
    }
    for query in ["?purpose=nothing", "?unsettled=yes", "?limit=0", "?limit=1001", "?cursor=x", "?format=xml", "?since=-1", "?party=crm:0044"] {
        let (status, _) = desk.get(&role(AdminRole::Auditor), &format!("/v1/conflicts{query}"));
        assert!(status.is_client_error(), "{query}");
    }
    assert!(desk.entries().iter().any(|entry| entry.to_string().contains("conflicts.list")), "each search is an entry");
}

#[test]
fn an_export_is_text_to_a_spreadsheet_and_never_a_formula() {
    let desk = contested();
    let (status, headers, bytes) = desk.fetch(&role(AdminRole::Auditor), "/v1/conflicts?format=csv");
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (StatusCode::OK, "text/csv; charset=utf-8"));
    assert!(headers.get("consentry-next").is_none());
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines.len(), 4, "a head, a line for each system, an end: {text}");
    assert!(lines[1].contains(",'=cmd|' /C calc'!A1,given,ev_"), "{}", lines[1]);
    assert!(lines[2].contains(",\"erp,\"\"north\"\"\",withdrawn,ev_"), "{}", lines[2]);
    let (_, _, bytes) = desk.fetch(&role(AdminRole::Auditor), "/v1/conflicts?format=ndjson");
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>(), listed(&desk, ""));
    for (name, cell) in [("+1", "'+1"), ("-1", "'-1"), ("@x", "'@x"), ("\tx", "'\tx"), ("a\"b", "\"a\"\"b\""), ("plain", "plain")] {
        let line = conflict_csv(&json!({"party": name, "says": [{}]}));
        assert!(line.starts_with(&format!("{cell},")), "{line}");
    }
}

#[test]
fn to_ask_is_told_to_whoever_follows_the_changes_and_shown_until_it_is_answered() {
    let desk = contested();
    let before = desk.state.ledger.revision().0;
    let ask = |who: AdminRole, party: &str, purpose: &str| {
        desk.post(&role(who), &format!("/v1/conflicts/{party}:ask"), &json!({"purpose": purpose, "channel": "email", "reason": "two systems"}))
    };
    for (who, party, purpose, expected) in [
        (AdminRole::Auditor, "crm:0044", "sales.outreach", StatusCode::FORBIDDEN),
        (AdminRole::ConsentDesk, "crm:0044", "marketing.email", StatusCode::CONFLICT),
        (AdminRole::ConsentDesk, "crm:0099", "sales.outreach", StatusCode::NOT_FOUND),
        (AdminRole::ConsentDesk, "crm:0044", "nothing", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        assert_eq!(ask(who, party, purpose).0, expected, "{party} {purpose}");
    }
    assert_eq!(desk.state.ledger.revision().0, before, "nothing was recorded");
    let (status, asked) = ask(AdminRole::ConsentDesk, "crm:0044", "sales.outreach");
    assert_eq!((status, &asked["author"]), (StatusCode::CREATED, &json!("staff")), "{asked}");
    assert_eq!(listed(&desk, "")[0]["asked"], asked["event"]);
    let (_, _, bytes) = desk.fetch(&role(AdminRole::Auditor), &format!("/v1/changes?after={before}"));
    let line: Value = serde_json::from_str(String::from_utf8(bytes.to_vec()).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!((&line["kind"], &line["state"], &line["purposes"]), (&json!("consent"), &json!("requested"), &json!(["sales.outreach"])));
    assert_eq!(line["event"], asked["event"]);

    let mut answer = grant();
    answer["event_time"] = json!((desk.state.clock.now() + SignedDuration::from_secs(1)).to_string());
    assert_eq!(desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &answer).0, StatusCode::CREATED);
    let [found] = listed(&desk, "").try_into().unwrap();
    assert_eq!((&found["asked"], &found["settled"], &found["holds"]), (&Value::Null, &json!(true), &json!("given")));
    assert_eq!(ask(AdminRole::ConsentDesk, "crm:0044", "sales.outreach").0, StatusCode::CONFLICT, "settled");
}

#[test]
fn a_notice_is_registered_once_shown_with_its_text_and_never_changed() {
    let desk = Desk::open().with_customer();
    let add = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({
            "id": "outreach", "version": "1", "language": "en", "text": "We call you.", "purposes": ["sales.outreach"], "categories": ["contact"],
            "recipients": ["sales"],
        });
        change(&mut body);
        desk.post(&role(AdminRole::ConsentDesk), "/v1/notices", &body)
    };
    let (status, added) = add(&|_| {});
    assert_eq!((status, &added["state"]), (StatusCode::CREATED, &json!("in-force")), "{added}");
    assert_eq!(add(&|_| {}).1["revision"], added["revision"], "the same again");
    for (what, change) in [
        ("another text", &(|body: &mut Value| body["text"] = json!("We mail you.")) as &dyn Fn(&mut Value)),
        ("an unknown purpose", &|body| body["purposes"] = json!(["nothing"])),
        ("an unknown category", &|body| body["categories"] = json!(["nothing"])),
        ("no purposes", &|body| (body["version"], body["purposes"]) = (json!("2"), json!([]))),
        ("another hash", &|body| (body["version"], body["hash"]) = (json!("2"), json!("0".repeat(64)))),
        ("neither text nor hash", &|body| (body["version"], body["text"]) = (json!("2"), Value::Null)),
        ("a time that is none", &|body| (body["version"], body["valid_from"]) = (json!("2"), json!("tomorrow"))),
        ("too long a text", &|body| (body["version"], body["text"]) = (json!("2"), json!("a".repeat(70_000)))),
    ] {
        let (status, problem) = add(change);
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{what}: {problem}");
    }
    let auditor = role(AdminRole::Auditor);
    let (_, all) = desk.get(&auditor, "/v1/notices");
    assert_eq!((all["notices"].as_array().unwrap().len(), all["notices"][0].get("text")), (1, None));
    assert_eq!(desk.get(&auditor, "/v1/notices?notice=outreach@1").1["notices"][0]["text"], json!("We call you."));
    assert_eq!(desk.get(&auditor, "/v1/notices?notice=outreach@2").0, StatusCode::NOT_FOUND);
    assert!(desk.get(&auditor, "/v1/notices?notice=outreach").0.is_client_error());

    // An event names it by id and version alone.
    let at = (desk.state.clock.now() - SignedDuration::from_hours(1)).to_string();
    let mut given = json!({"party": "crm:0044", "state": "given", "purposes": ["sales.outreach"], "event_time": at,
        "evidence": [{"kind": "letter", "reference": "scan-1"}], "notice": {"id": "outreach", "version": "1"}});
    assert_eq!(desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &given).0, StatusCode::CREATED);
    assert_eq!(status_of(&desk), json!("given"));
    given["notice"]["version"] = json!("9");
    assert_eq!(desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &given).0, StatusCode::UNPROCESSABLE_ENTITY, "it covers nothing");
    let (status, superseding) = add(&|body| (body["version"], body["supersedes"]) = (json!("2"), json!(true)));
    assert_eq!(status, StatusCode::CREATED, "{superseding}");
    assert_eq!(status_of(&desk), json!("expired"));
    desk.state.log.clone().close();
    assert_eq!(add(&|body| body["version"] = json!("3")).0, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn what_was_known_then_is_told_apart_from_what_is_known_now() {
    let desk = Desk::open();
    let nobody = desk.state.clock.now();
    std::thread::sleep(std::time::Duration::from_millis(10));
    let desk = desk.with_customer();
    let hours = |n: i64| desk.state.clock.now() - SignedDuration::from_hours(n);
    let record = |mut body: Value, event_time: Timestamp| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        body["event_time"] = json!(event_time.to_string());
        assert_eq!(desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &body).0, StatusCode::CREATED);
        desk.state.clock.now()
    };
    let (given, withdrawn) = (hours(10), hours(5));
    let first = record(grant(), given);
    record(withdrawal(), withdrawn);
    let ask = |at: Option<Timestamp>, known_at: Option<Timestamp>| {
        let times = [("at", at), ("known_at", known_at)].map(|(name, time)| time.map(|time| format!("&{name}={time}")).unwrap_or_default());
        let path = format!("/v1/parties/crm:0044/effective?purpose=sales.outreach&category=contact&recipient=sales{}", times.concat());
        let (status, answer) = desk.get(&role(AdminRole::Auditor), &path);
        (status.as_u16(), answer["uses"][0]["status"].as_str().unwrap_or_default().to_owned())
    };
    for (at, known_at, status) in [
        (None, None, "withdrawn"),
        (None, Some(first), "given"),
        (Some(hours(7)), None, "given"),
        (Some(hours(4)), None, "withdrawn"),
        (Some(hours(4)), Some(first), "given"),
        (Some(hours(11)), None, "unknown"),
        (Some(hours(-1000)), None, "withdrawn"),
    ] {
        assert_eq!(ask(at, known_at), (200, status.to_owned()), "{at:?} {known_at:?}");
    }
    assert_eq!(ask(None, Some(nobody)).0, 404, "nobody was known then");
    assert_eq!(ask(None, Some(hours(-1000))).0, 422, "nor is it known what will be known");
    let (status, _) = desk.get(&role(AdminRole::Auditor), "/v1/parties/crm:0044/effective?at=yesterday");
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}
