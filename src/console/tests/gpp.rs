//! Opt-outs by strings of the Global Privacy Platform.

use super::*;

/// `usca`: opted out of sale and sharing, of the use of sensitive data, and by GPC.
const CALIFORNIA: &str = "DBABBg~BVWSSSVY.YA";
/// `tcfeuv2` and `uspv1`, which opts out of sale.
const TWO: &str = "DBACNY~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YYN";
const CENTRE: As = As::App("preference-centre");

fn body(string: &str) -> Value {
    json!({"party": "crm:0044", "gpp": string, "purposes": ["third-party-sharing"], "categories": ["health"]})
}

fn once(desk: &Desk, who: &As, body: &Value) -> (StatusCode, Value) {
    desk.send(who, post("/v1/opt-outs", body).header("idempotency-key", "k".repeat(255)).body(Body::from(body.to_string())).unwrap())
}

fn opt_outs(desk: &Desk) -> Vec<Value> {
    desk.get(&role(AdminRole::ConsentDesk), "/v1/opt-outs?party=crm:0044").1["stops"].as_array().unwrap().clone()
}

#[test]
fn each_opt_out_of_a_string_is_a_stop_of_its_own_extent() {
    for who in [CENTRE, role(AdminRole::ConsentDesk)] {
        let desk = Desk::open().with_customer();
        let (status, answer) = once(&desk, &who, &body(CALIFORNIA));
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        assert_eq!((&answer["read"], answer.get("note")), (&json!(["usca"]), None));
        let unread: Vec<_> = answer["unread"].as_array().unwrap().iter().map(|part| part["part"].as_str().unwrap()).collect();
        assert_eq!(unread, ["usca.KnownChildSensitiveDataConsents", "usca.PersonalDataConsents"]);
        let said: Vec<_> = answer["stops"].as_array().unwrap().iter().map(|stop| (&stop["kind"], &stop["grounds"])).collect();
        assert_eq!(
            said,
            [
                (&json!("opt-out-sale"), &json!(["usca.SaleOptOut", "usca.SharingOptOut"])),
                (&json!("opt-out-sensitive"), &json!(["usca.SensitiveDataProcessing"])),
                (&json!("opt-out-gpc"), &json!(["usca.Gpc"])),
            ]
        );
        let scopes: Vec<_> =
            opt_outs(&desk).iter().map(|stop| (stop["what"]["purposes"].clone(), stop["what"]["scope"]["categories"].clone())).collect();
        let sale = (json!(["third-party-sharing"]), json!([]));
        assert_eq!(scopes, [sale.clone(), (json!([]), json!(["health"])), sale]);
        for stop in opt_outs(&desk) {
            assert_eq!(stop["evidence"]["gpp"], json!(CALIFORNIA), "{stop}");
        }
    }
}

#[test]
fn a_string_that_is_sent_again_adds_nothing_and_another_under_its_key_is_refused() {
    let desk = Desk::open().with_customer();
    let (_, first) = once(&desk, &CENTRE, &body(CALIFORNIA));
    let revision = desk.state.ledger.revision();
    let (status, second) = once(&desk, &CENTRE, &body(CALIFORNIA));
    assert_eq!(status, StatusCode::CREATED);
    for (first, second) in first["stops"].as_array().unwrap().iter().zip(second["stops"].as_array().unwrap()) {
        assert_eq!((&first["event"], &first["kind"]), (&second["event"], &second["kind"]));
    }
    assert_eq!(desk.state.ledger.revision(), revision);
    let (status, problem) = once(&desk, &CENTRE, &body(TWO));
    assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency-mismatch")));
    assert_eq!(opt_outs(&desk).len(), 3);
}

#[test]
fn a_string_closes_what_can_be_read_and_names_the_rest() {
    let desk = Desk::open().with_customer();
    let (status, answer) = desk.post(&CENTRE, "/v1/opt-outs", &body(TWO));
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert_eq!((answer["stops"].as_array().unwrap().len(), &answer["unread"][0]["part"]), (1, &json!("tcfeuv2")));
    assert!(answer["unread"][0]["why"].as_str().unwrap().contains("consent by vendors"), "{answer}");
    // Nobody opens anything by not opting out.
    let before = desk.state.ledger.revision();
    let (status, answer) = desk.post(&CENTRE, "/v1/opt-outs", &body("DBABBg~BAAAAACA"));
    assert_eq!((status, &answer["stops"]), (StatusCode::OK, &json!([])));
    assert!(answer["note"].as_str().unwrap().contains("no consent"), "{answer}");
    let long = format!("DBACNY~C{}~1YYN", "A".repeat(300));
    assert_eq!(desk.state.ledger.revision(), before);
    assert_eq!(desk.post(&CENTRE, "/v1/opt-outs", &body(&long)).0, StatusCode::CREATED);
    assert!(opt_outs(&desk).last().unwrap()["evidence"]["gpp"].as_str().unwrap().starts_with("sha256:"));
}

#[test]
fn what_cannot_be_read_is_refused_with_a_sentence_and_recorded_nowhere() {
    let desk = Desk::open().with_customer();
    let with = |member: &str, value: Value| {
        let mut body = body(CALIFORNIA);
        body[member] = value;
        body
    };
    let before = desk.state.ledger.revision();
    for (path, body, says) in [
        ("/v1/opt-outs", body("DBABM~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA"), "consent by vendors"),
        ("/v1/opt-outs", body("DBABQw~BAAAAABA.QA"), "usmt"),
        ("/v1/opt-outs", body("DBAA"), "empty"),
        ("/v1/opt-outs", body("CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA"), "header"),
        ("/v1/opt-outs", body("DBABBg~BVWSSS"), "cut"),
        ("/v1/opt-outs", with("kind", json!("opt-out-sale")), "kind"),
        ("/v1/opt-outs", with("evidence", json!([{"kind": "gpp", "reference": "x"}])), "gpp"),
        ("/v1/opt-outs", with("purposes", json!(["no-such-purpose"])), "purposes"),
        ("/v1/suppressions", body(CALIFORNIA), "gpp"),
        ("/v1/objections", body(CALIFORNIA), "gpp"),
    ] {
        let (status, problem) = desk.post(&CENTRE, path, &body);
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{says}: {problem}");
    }
    assert_eq!(desk.state.ledger.revision(), before);
}

#[test]
fn a_string_binds_while_the_log_is_away() {
    let desk = Desk::open().with_customer();
    desk.state.log.clone().close();
    assert_eq!(desk.post(&CENTRE, "/v1/opt-outs", &body(CALIFORNIA)).0, StatusCode::CREATED);
    let standing = desk.state.ledger.standing(&Identifier { space: Space::intern("crm"), value: "0044".to_owned() }).unwrap().unwrap();
    assert_eq!(standing.profile.stop_names(), ["opt-out"]);
}
