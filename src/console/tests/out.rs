//! The change feed.

use std::time::Duration;

use super::*;

/// Status, the lines but the last, and the last.
fn feed(desk: &Desk, who: &As, path: &str) -> (StatusCode, Vec<Value>, Value) {
    let (status, _, bytes) = Desk::exchange(admin_router(desk.state.clone()), who, Request::get(path).body(Body::empty()).unwrap());
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.pop().unwrap();
    (status, lines, last)
}

fn busy_desk() -> Desk {
    let desk = Desk::open().with_customer();
    for body in [grant(), withdrawal()] {
        assert_eq!(desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &body).0, StatusCode::CREATED);
    }
    let stop = json!({"party": "crm:9999", "kind": "objection-marketing"});
    assert_eq!(desk.post(&role(AdminRole::ConsentDesk), "/v1/objections", &stop).0, StatusCode::CREATED);
    desk
}

#[test]
fn the_feed_is_the_same_in_one_piece_and_line_by_line() {
    let desk = busy_desk();
    let auditor = role(AdminRole::Auditor);
    let (status, whole, end) = feed(&desk, &auditor, "/v1/changes");
    assert_eq!((status, &end), (StatusCode::OK, &json!({"next": desk.state.ledger.revision().0, "more": false})));
    assert!(whole.len() >= 4, "{whole:#?}");
    let (mut after, mut pieces) = (json!(0), Vec::new());
    loop {
        let (_, lines, last) = feed(&desk, &auditor, &format!("/v1/changes?after={after}&limit=1"));
        assert_eq!(lines.len(), 1);
        pieces.extend(lines);
        after = last["next"].clone();
        if last["more"] == json!(false) {
            break;
        }
    }
    assert_eq!(pieces, whole);
    let (_, none, last) = feed(&desk, &auditor, &format!("/v1/changes?after={after}"));
    assert_eq!((none.len(), &last), (0, &json!({"next": after, "more": false})));
    assert!(desk.entries().iter().any(|entry| entry["kind"] == json!("query") && entry["operation"] == json!("changes.list")));
}

#[test]
fn a_line_says_what_happened_and_names_nobody() {
    let desk = busy_desk();
    let (_, lines, _) = feed(&desk, &role(AdminRole::ConsentDesk), "/v1/changes");
    let party = desk.get(&role(AdminRole::ConsentDesk), "/v1/parties/crm:0044").1["party"].clone();
    let withdrawn = lines.iter().find(|line| line["state"] == json!("withdrawn")).unwrap();
    assert_eq!((&withdrawn["kind"], &withdrawn["party"], &withdrawn["purposes"]), (&json!("consent"), &party, &json!(["sales.outreach"])));
    assert_eq!(withdrawn["event"], json!(format!("ev_{}", withdrawn["revision"])));
    assert!(withdrawn["author"].is_string() && withdrawn["time"].as_str().unwrap().ends_with('Z'));
    let stop = lines.iter().find(|line| line["kind"] == json!("stop")).unwrap();
    assert_eq!((&stop["party"], &stop["state"]), (&Value::Null, &json!("objection-marketing")), "nobody is known by that id yet");
    let text = json!(lines).to_string();
    for identifier in ["0044", "9999", "ada@"] {
        assert!(!text.contains(identifier), "{text}");
    }
}

#[test]
fn cursors_and_bounds_that_make_no_sense_are_refused() {
    let desk = busy_desk();
    let ahead = desk.state.ledger.revision().0 + 1;
    for (query, status) in [
        (format!("after={ahead}"), StatusCode::CONFLICT),
        ("after=-1".to_owned(), StatusCode::BAD_REQUEST),
        ("after=ev_1".to_owned(), StatusCode::BAD_REQUEST),
        ("limit=0".to_owned(), StatusCode::BAD_REQUEST),
        ("limit=1001".to_owned(), StatusCode::BAD_REQUEST),
        ("wait=31".to_owned(), StatusCode::BAD_REQUEST),
        ("since=1".to_owned(), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(desk.get(&role(AdminRole::Auditor), &format!("/v1/changes?{query}")).0, status, "{query}");
    }
    desk.state.log.clone().close();
    assert_eq!(desk.get(&role(AdminRole::Auditor), "/v1/changes").0, StatusCode::SERVICE_UNAVAILABLE, "what cannot be recorded is not told");
}

#[test]
fn who_waits_is_told_of_the_next_change_at_once_and_of_none_at_a_stop() {
    let desk = busy_desk();
    let now = desk.state.ledger.revision().0;
    let path = format!("/v1/changes?after={now}&wait=30");
    let clock = SystemClock::shared();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| feed(&desk, &role(AdminRole::Auditor), &path));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished());
        desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &withdrawal());
        let (_, lines, _) = waiting.join().unwrap();
        assert_eq!(lines[0]["state"], json!("withdrawn"));
    });
    let path = format!("/v1/changes?after={}&wait=30", desk.state.ledger.revision().0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| feed(&desk, &role(AdminRole::Auditor), &path));
        std::thread::sleep(Duration::from_millis(200));
        desk.state.signal.close();
        assert!(waiting.join().unwrap().1.is_empty());
    });
    assert!(clock.monotonic() < Duration::from_secs(20), "nobody waited to the end");
}
