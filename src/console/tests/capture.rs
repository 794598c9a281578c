//! What an app reads from the capture listener is the same, whoever the id is or was.

use super::*;
use crate::consent::{Capturer, PartyRef, StopDraft, StopKind};

const CENTRE: As = As::App("preference-centre");
/// A customer, somebody unknown, an erased customer, and an id that was erased before it was anybody's.
const IDS: [&str; 4] = ["crm:0044", "crm:0900", "crm:0031", "crm:0901"];

fn desk() -> Desk {
    let desk = Desk::open().with_customer();
    let (status, _) = desk.post(&role(AdminRole::ConsentDesk), "/v1/parties", &json!({"identifiers": ["crm:0031"]}));
    assert_eq!(status, StatusCode::CREATED);
    for id in [IDS[2], IDS[3]] {
        erase(&desk, id);
    }
    desk
}

fn erase(desk: &Desk, id: &str) {
    let (space, value) = id.split_once(':').unwrap();
    let subject = PartyRef::Identifier(Identifier { space: Space::intern(space), value: value.to_owned() });
    desk.state.ledger.add_stop(StopDraft::new(subject, StopKind::Erasure), &Capturer::Staff { pseudonym: "e_1".to_owned() }).unwrap();
}

/// Status, headers and body, without what counts up with every event or is sealed anew.
fn asked(desk: &Desk, path: &str, body: Option<&Value>, key: Option<&str>) -> (Value, Value) {
    let request = body.map_or_else(|| Request::get(path), |body| post(path, body));
    let request = if let Some(key) = key { request.header("idempotency-key", key) } else { request };
    let request = request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap();
    let (status, headers, bytes) = Desk::exchange(desk.router(&CENTRE), &CENTRE, request);
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    let mut names: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    // What counts up has more digits in the end.
    let counts = |line: &&mut String| ["consentry-revision", "content-length"].iter().any(|name| line.starts_with(name));
    names.iter_mut().filter(counts).for_each(|line| *line = line.chars().filter(|c| !c.is_ascii_digit()).collect());
    names.sort();
    let seen = json!({"status": status.as_u16(), "headers": names, "body": plain(&answer)});
    (answer, seen)
}

/// The same with every number and sealed text left out.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let vary = ["confirm", "issued_at", "record_time", "url", "headers"];
            members.iter().map(|(name, value)| (name.clone(), if vary.contains(&name.as_str()) { json!("…") } else { plain(value) })).collect()
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::String(text) => json!(text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>()),
        Value::Number(_) => json!(0),
        other @ (Value::Null | Value::Bool(_)) => other.clone(),
    }
}

fn grant(desk: &Desk, id: &str, state: &str) -> Value {
    json!({
        "party": id, "state": state, "purposes": ["sales.outreach"], "categories": ["contact"], "recipients": ["sales"],
        "event_time": (desk.state.clock.now() - jiff::SignedDuration::from_hours(1)).to_string(),
        "evidence": [{"kind": "form-hash", "reference": "sha256:1"}, {"kind": "notice", "reference": "n-1"}],
    })
}

type Write = (&'static str, fn(&Desk, &str) -> Value);

const WRITES: [Write; 11] = [
    ("/v1/consents", |desk, id| grant(desk, id, "given")),
    ("/v1/consents", |desk, id| grant(desk, id, "renewed")),
    ("/v1/consents", |desk, id| grant(desk, id, "pending_confirmation")),
    ("/v1/consents", |_, id| json!({"party": id, "state": "requested", "purposes": ["sales.outreach"]})),
    ("/v1/consents", |_, id| json!({"party": id, "state": "withdrawn", "purposes": ["sales.outreach"]})),
    ("/v1/objections", |_, id| json!({"party": id, "kind": "objection-marketing"})),
    ("/v1/restrictions", |_, id| json!({"party": id})),
    ("/v1/opt-outs", |_, id| json!({"party": id, "kind": "opt-out-gpc"})),
    ("/v1/suppressions", |_, id| json!({"party": id, "channels": ["email"]})),
    ("/v1/occurrences", |_, id| json!({"party": id, "name": "contract-ended"})),
    ("/v1/delegations", |_, id| json!({"party": id, "holder": "guardian", "evidence": [{"kind": "court", "reference": "o-1"}]})),
];

#[test]
fn an_app_cannot_tell_from_its_writes_who_is_a_customer_or_was_erased() {
    for (at, (path, body)) in WRITES.iter().enumerate() {
        let desk = desk();
        let seen = IDS.map(|id| {
            let key = format!("{at}-{id}");
            let body = body(&desk, id);
            let (answer, seen) = asked(&desk, path, Some(&body), Some(&key));
            assert_eq!(seen["status"], json!(201), "{path} {id}: {answer}");
            let members: Vec<&String> = answer.as_object().unwrap().keys().collect();
            assert!(
                members.iter().all(|name| ["author", "confirm", "confirm_until", "event", "note", "revision"].contains(&name.as_str())),
                "{members:?}"
            );
            let (_, again) = asked(&desk, path, Some(&body), Some(&key));
            let event = answer["event"].as_str().unwrap().to_owned();
            let (receipt, told) = asked(&desk, &format!("/v1/consents/{event}/receipt"), None, None);
            assert_eq!(told["status"], json!(200), "its own event has a receipt: {receipt}");
            assert!(![id, "erased", "p_"].iter().any(|word| receipt.to_string().contains(word)), "{receipt}");
            let confirmed = answer.get("confirm").map(|token| {
                let (answer, seen) = asked(&desk, &format!("/v1/consents/{event}:confirm"), Some(&json!({"token": token})), None);
                assert_eq!(seen["status"], json!(201), "{id}: {answer}");
                seen
            });
            (seen, again, told, confirmed)
        });
        for (id, one) in IDS.iter().zip(&seen) {
            assert_eq!(one.0, seen[0].0, "{path} {id}: the answer");
            assert_eq!(one.1, seen[0].1, "{path} {id}: the answer to a repetition");
            assert_eq!(one.2, seen[0].2, "{path} {id}: the receipt");
            assert_eq!(one.3, seen[0].3, "{path} {id}: the confirmation");
        }
        for id in IDS {
            let (_, links) = asked(&desk, "/v1/withdrawal-links", Some(&json!({"party": id, "purpose": "marketing.email"})), None);
            let (_, first) = asked(&desk, "/v1/withdrawal-links", Some(&json!({"party": IDS[0], "purpose": "marketing.email"})), None);
            assert_eq!(links, first);
        }
    }
}

#[test]
fn an_erasure_does_not_show_in_receipts_of_before() {
    let desk = desk();
    let receipt = |id: &str| {
        let (answer, _) = asked(&desk, "/v1/consents", Some(&grant(&desk, id, "given")), None);
        format!("/v1/consents/{}/receipt", answer["event"].as_str().unwrap())
    };
    for id in ["crm:0044", "crm:0900"] {
        let path = receipt(id);
        let before = asked(&desk, &path, None, None).1;
        erase(&desk, id);
        assert_eq!(asked(&desk, &path, None, None).1, before, "{id}");
    }
}

#[test]
fn what_an_app_hands_in_about_an_erased_person_opens_nothing_and_the_desk_sees_it() {
    let staff = role(AdminRole::ConsentDesk);
    for id in [IDS[2], IDS[3]] {
        let desk = desk();
        let (answer, _) = asked(&desk, "/v1/consents", Some(&grant(&desk, id, "given")), None);
        let (_, history) = desk.get(&staff, &format!("/v1/consents/{id}/history"));
        let event = history["events"].as_array().unwrap().iter().find(|event| event["event"] == answer["event"]).unwrap();
        assert!(event["identifier"].as_str().unwrap().starts_with("party:"), "the id is not written down again: {event}");
        // Neither feed and webhooks nor the log say that it opens anything.
        let (_, _, bytes) = desk.fetch(&role(AdminRole::Auditor), "/v1/changes?limit=1000");
        let lines: Vec<Value> = std::str::from_utf8(&bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told = lines.iter().find(|line| line["event"] == answer["event"]).unwrap();
        let logged = desk.entries().into_iter().find(|entry| entry["kind"] == "consent_changed" && entry["event"] == answer["event"]).unwrap();
        assert_eq!((&told["state"], &logged["state"]), (&json!("unknown"), &json!("unknown")), "{told} {logged}");
        // The desk is told, and is refused.
        let (status, problem) = desk.post(&staff, "/v1/consents", &grant(&desk, id, "given"));
        assert_eq!(status, StatusCode::CONFLICT);
        assert!(problem["detail"].as_str().unwrap().contains("erased"), "{problem}");
        assert_eq!(desk.get(&role(AdminRole::Operator), "/v1/gaps").1["gaps"], json!([]));
        let (space, value) = id.split_once(':').unwrap();
        let subject = Identifier { space: Space::intern(space), value: value.to_owned() };
        let standing = desk.state.ledger.standing(&subject).unwrap();
        assert_eq!(standing.is_some(), id == IDS[2]);
        if standing.is_some() {
            let path = format!("/v1/parties/{id}/effective?purpose=sales.outreach&category=contact&recipient=sales");
            let (_, answer) = desk.get(&role(AdminRole::Auditor), &path);
            assert_eq!((&answer["uses"][0]["status"], &answer["uses"][0]["stop"]), (&json!("unknown"), &json!("erasure")), "{answer}");
        }
        let database = std::fs::read(desk.dir.path().join("consent.db")).unwrap();
        let text = format!("crm{value}");
        assert!(!database.windows(text.len()).any(|window| window == text.as_bytes()), "neither is it in the file");
    }
}
