//! An emergency: two others lend somebody on call sight of a customer's data, for a while, and somebody else looks at it after.

use std::sync::Arc;
use std::time::Duration;

use consentry::clock::{Clock, ManualClock, SystemClock};
use http::Method;
use http_body_util::BodyExt as _;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::harness::people::{ada, mina, pavel};
use crate::harness::{Answer, Client, Gate, Plan, World, entries, gateway, soon};
use crate::parts::{LIST, MANY, pieces, read, rows, told};

const ADA: &str = "/crm/customers/0031";
const MINA: &str = "/crm/customers/0044";
const SUPPORT: &str = "service-provision.support";
const ROUTE: &str = "GET /customers/{id}";

impl World {
    /// Somebody who calls by `crm`.
    pub(crate) fn by_crm(&self, name: &str, roles: &[&str]) -> Client {
        self.client("crm").token(self.token("crm", &json!({ "sub": name, "roles": roles })))
    }

    async fn emergency(&self, client: &Client, target: &str, why: &str) -> Answer {
        client.get(target).purpose(SUPPORT).header("data-justification", why).await
    }

    /// Asked for by the desk's `emp-asks`, for `emp-uses`.
    async fn ask_grant(&self, more: Value) -> String {
        let until = (self.clock_now() + SignedDuration::from_hours(2)).to_string();
        let mut body = json!({
            "app": "crm", "employee": "corp:emp-uses", "party": "crm:0031", "purpose": SUPPORT, "ticket": "INC-4471",
            "justification": "the ambulance asks for allergies", "until": until,
        });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = self.person("emp-asks", "desk").post("/v1/break-glass", &body.to_string()).await;
        assert_eq!(201, answer.status.as_u16(), "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    async fn approve(&self, id: &str, name: &str) -> Answer {
        self.person(name, "approvers").ask(Method::POST, &format!("/v1/break-glass/{id}:approve")).await
    }

    pub(crate) async fn granted(&self, more: Value) -> String {
        let id = self.ask_grant(more).await;
        for name in ["emp-one", "emp-two"] {
            assert_eq!(200, self.approve(&id, name).await.status.as_u16());
        }
        id
    }

    pub(crate) async fn revoke(&self, id: &str) {
        let answer = self.staff("operator").post(&format!("/v1/break-glass/{id}:revoke"), r#"{"reason":"over"}"#).await;
        assert_eq!(200, answer.status.as_u16(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_justification_opens_nothing_before_two_others_have_approved() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    let on_call = world.by_crm("emp-uses", &["on-call"]);
    world.emergency(&on_call, ADA, "an accident").await.refused(403, "emergency-not-granted");
    let id = world.ask_grant(json!({})).await;
    world.emergency(&on_call, ADA, "an accident").await.refused(403, "emergency-not-granted");
    for (name, status) in [("emp-asks", 409), ("emp-uses", 409), ("emp-one", 200), ("emp-one", 409)] {
        assert_eq!(status, world.approve(&id, name).await.status.as_u16(), "{name}");
        let refused = world.emergency(&on_call, ADA, "an accident").await;
        refused.refused(403, "emergency-not-granted");
        assert_eq!(None, world.found(&refused).grant);
    }
    assert!(world.upstream.asked().is_empty());
    assert_eq!(200, world.approve(&id, "emp-two").await.status.as_u16());
    let answer = world.emergency(&on_call, ADA, "an accident").await;
    assert_eq!(200, answer.status.as_u16(), "{answer:?}");
    assert!(answer.text().contains("Brandt") && answer.text().contains("vegan"), "{answer:?}");
    let found = world.found(&answer);
    assert_eq!(Some(&id), found.grant.as_ref());
    assert!(
        found.relied.iter().all(|r| r.basis == "vital-interest" && r.activity.is_none() && r.policies.contains(&"break-glass".to_owned())),
        "{found:?}"
    );
    // Without the header nothing is an emergency, and what others may not read by day they may not read by night.
    on_call.get(ADA).purpose(SUPPORT).await.refused(403, "not-entitled");
    world.emergency(&world.by_crm("emp-uses", &["key-account-care"]), ADA, "x").await.refused(403, "not-entitled");
    world.emergency(&world.by_crm("emp-else", &["on-call"]), ADA, "x").await.refused(403, "emergency-not-granted");
    world.emergency(&world.client("crm"), ADA, "x").await.refused(403, "emergency-not-granted");
    let other_purpose = on_call.get(ADA).purpose("sales.outreach").header("data-justification", "x").await;
    other_purpose.refused(403, "emergency-not-granted");
    let write = on_call.patch(ADA, r#"{"email":"a@example.net"}"#).purpose(SUPPORT).header("data-justification", "x").await;
    write.refused(403, "emergency-not-granted");
    let twice = on_call.get(ADA).purpose(SUPPORT).header("data-justification", "x").header("data-justification", "y").await;
    twice.refused(400, "ambiguous-request");
    world.emergency(&on_call, ADA, " ").await.refused(400, "ambiguous-request");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_for_one_customer_shows_nobody_else_and_the_floor_holds() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    world.upstream.json("GET /customers/0044", &mina());
    // Of Pavel the house knows the same as of Ada.
    world.upstream.json("GET /customers", &format!(r#"{{"customers":[{},{},{}],"total":3}}"#, ada(), pavel(), mina()));
    let id = world.granted(json!({})).await;
    let on_call = world.by_crm("emp-uses", &["on-call"]);
    // The same for a customer who is known and one who is not.
    world.emergency(&on_call, MINA, "x").await.refused(403, "denied");
    world.emergency(&on_call, "/crm/customers/9999", "x").await.refused(403, "denied");
    let list = world.emergency(&on_call, "/crm/customers", "x").await;
    assert_eq!(200, list.status.as_u16(), "{list:?}");
    assert!(list.text().contains("Brandt") && !list.text().contains("Okafor") && !list.text().contains("Hor"), "{list:?}");
    let restriction = json!({ "party": "crm:0031", "evidence": [{ "kind": "letter", "reference": "l" }] });
    world.desk(Method::POST, "/v1/restrictions", restriction).await;
    assert_eq!(200, world.emergency(&on_call, ADA, "x").await.status.as_u16(), "a vital interest stands above a restriction");
    world.desk(Method::POST, "/v1/restrictions", json!({ "party": "crm:0031", "kind": "legal" })).await;
    world.emergency(&on_call, ADA, "x").await.refused(403, "denied");
    world.revoke(&id).await;
    // A route: each of its customers, and no other route.
    let by_route = world.granted(json!({ "party": null, "api": "crm", "route": ROUTE })).await;
    let answer = world.emergency(&on_call, MINA, "x").await;
    assert_eq!((200, Some(by_route.as_str())), (answer.status.as_u16(), world.found(&answer).grant.as_deref()));
    world.emergency(&on_call, "/crm/customers", "x").await.refused(403, "emergency-not-granted");
    // Of several the header names one.
    let second = world.granted(json!({ "party": "crm:0044" })).await;
    world.emergency(&on_call, MINA, "which one").await.refused(403, "emergency-not-granted");
    let named = world.emergency(&on_call, MINA, &format!("{second} an accident")).await;
    assert_eq!((200, Some(second.as_str())), (named.status.as_u16(), world.found(&named).grant.as_deref()));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_while_the_api_is_slow_is_not_released() {
    let noon = SystemClock::shared().now();
    for end in ["revoked", "its time is up", "another in its place"] {
        let clock = ManualClock::at(noon);
        let world = Arc::new(gateway().clock(Arc::clone(&clock) as Arc<dyn Clock>).start().await);
        let id = world.granted(json!({ "until": (noon + SignedDuration::from_secs(100)).to_string() })).await;
        let gate = Gate::closed();
        world.upstream.on("GET /customers/0031", Plan::json(&ada()).behind(&gate));
        let asking = {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.emergency(&world.by_crm("emp-uses", &["on-call"]), ADA, "x").await })
        };
        gate.arrived().await;
        if end == "its time is up" {
            world.pass(&clock, Duration::from_secs(100)).await;
        } else {
            world.revoke(&id).await;
        }
        if end == "another in its place" {
            assert_ne!(id, world.granted(json!({})).await);
        }
        gate.release();
        let answer = asking.await.unwrap();
        answer.refused(403, "emergency-not-granted");
        assert!(!answer.text().contains("Brandt"));
        assert_eq!(Some(id), world.found(&answer).grant, "the head names it");
        Arc::into_inner(world).unwrap().finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_while_the_answer_is_being_sent_is_cut() {
    const BIG: usize = 1_000_000;
    let world = gateway().start().await;
    let id = world.granted(json!({})).await;
    world.upstream.json("GET /customers/0031", &ada().replace("Ada", &"A".repeat(BIG)));
    let on_call = world.by_crm("emp-uses", &["on-call"]).http2();
    let mut answer = on_call.get(ADA).purpose(SUPPORT).header("data-justification", "x").begin().await;
    assert_eq!(200, answer.status().as_u16());
    let mut came = soon("the first piece", answer.frame()).await.unwrap().unwrap().into_data().unwrap().len();
    world.revoke(&id).await;
    let is_cut = loop {
        match soon("the next piece", answer.frame()).await {
            Some(Ok(frame)) => came += frame.into_data().map_or(0, |data| data.len()),
            Some(Err(_cut)) => break true,
            None => break false,
        }
    };
    assert!(is_cut && came <= 3 * 65_536, "{came} bytes came");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_in_the_middle_of_a_list_ends_the_list() {
    let noon = SystemClock::shared().now();
    let half = format!("{{\"customers\":[{}", rows(0..MANY));
    for end in ["revoked", "its time is up", "nothing"] {
        let clock = ManualClock::at(noon);
        let world = gateway().clock(Arc::clone(&clock) as Arc<dyn Clock>).start().await;
        let until = (noon + SignedDuration::from_secs(100)).to_string();
        let id = world.granted(json!({ "party": null, "api": "crm", "route": "GET /customers", "until": until })).await;
        let gate = Gate::closed();
        let (waits, first) = (gate.clone(), half.clone());
        let (plan, _) = Plan::streamed(move |out| {
            let (gate, first) = (waits.clone(), first.clone());
            async move {
                pieces(&out, first.as_bytes()).await;
                gate.pass().await;
                pieces(&out, format!(",{}]}}", rows(MANY..2 * MANY)).as_bytes()).await;
            }
        });
        world.upstream.on("GET /customers", plan);
        let on_call = world.by_crm("emp-uses", &["on-call"]);
        let mut answer = on_call.get(LIST).purpose(SUPPORT).header("data-justification", "x").begin().await;
        assert_eq!(200, answer.status().as_u16());
        let mut text = Vec::new();
        read(&mut answer, &mut text, half.len()).await.unwrap();
        assert!(text == half.as_bytes(), "{end}: {} bytes", text.len());
        gate.arrived().await;
        if end == "its time is up" {
            world.pass(&clock, Duration::from_secs(100)).await;
        } else if end == "revoked" {
            world.revoke(&id).await;
        }
        gate.release();
        let ended = read(&mut answer, &mut text, usize::MAX).await;
        let (_, told) = told(&world).await;
        assert_eq!((end == "nothing", json!(end == "nothing")), (ended.is_ok(), told["complete"].clone()), "{end}");
        assert_eq!(end != "nothing", text.len() == half.len(), "{end}: {} bytes", text.len());
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_survives_a_restart_and_its_end_does_too() {
    let world = gateway().start().await;
    let id = world.granted(json!({})).await;
    let world = world.restarted().await;
    world.upstream.json("GET /customers/0031", &ada());
    let on_call = world.by_crm("emp-uses", &["on-call"]);
    assert_eq!(200, world.emergency(&on_call, ADA, "x").await.status.as_u16());
    world.revoke(&id).await;
    let world = world.restarted().await;
    let on_call = world.by_crm("emp-uses", &["on-call"]);
    world.emergency(&on_call, ADA, "x").await.refused(403, "emergency-not-granted");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_reviews_what_the_log_shows_and_an_overdue_review_is_seen() {
    let noon = SystemClock::shared().now();
    let clock = ManualClock::at(noon);
    let world = gateway().clock(Arc::clone(&clock) as Arc<dyn Clock>).start().await;
    world.upstream.json("GET /customers/0031", &ada());
    let id = world.granted(json!({})).await;
    let on_call = world.by_crm("emp-uses", &["on-call"]);
    let decision = world.emergency(&on_call, ADA, "x").await.decision().unwrap().to_owned();
    world.revoke(&id).await;
    let auditor = world.person("emp-audits", "auditors");
    let uses = auditor.get(&format!("/v1/decisions?grant={id}")).await.json();
    assert_eq!(json!([decision]), json!(uses["decisions"].as_array().unwrap().iter().map(|d| d["decision"].clone()).collect::<Vec<_>>()));
    let overdue = |state: &'static str| {
        let auditor = &auditor;
        async move { auditor.get(&format!("/v1/break-glass?state={state}")).await.json() }
    };
    assert_eq!((json!(0), 1), (overdue("review-due").await["overdue"].clone(), overdue("review-due").await["grants"].as_array().unwrap().len()));
    world.pass(&clock, Duration::from_secs(24 * 3_600)).await;
    let world = world.restarted().await;
    let auditor = world.person("emp-audits", "auditors");
    let found = auditor.get("/v1/break-glass?state=review-overdue").await.json();
    assert_eq!((&json!(1), &json!(id)), (&found["overdue"], &found["grants"][0]["id"]));
    let health = world.running().instance();
    assert!(health.readiness().is_ready());
    soon("the metric", async {
        while !health.metrics().contains("break_glass_reviews_overdue 1") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let review = |name: &str| {
        let person = world.person(name, "auditors");
        let path = format!("/v1/break-glass/{id}:review");
        async move { person.post(&path, r#"{"finding":"justified","note":"one read, of the ticket's customer"}"#).await }
    };
    for name in ["emp-one", "emp-uses", "emp-asks"] {
        assert_eq!(409, review(name).await.status.as_u16(), "{name}");
    }
    assert_eq!(200, review("emp-audits").await.status.as_u16());
    assert_eq!(json!(0), auditor.get("/v1/break-glass").await.json()["overdue"]);
    let operations: Vec<String> = entries(&world.log_dir()).iter().filter_map(|e| e.resolved["operation"].as_str().map(str::to_owned)).collect();
    for step in ["request", "approve", "revoke", "review"] {
        assert!(operations.contains(&format!("break-glass.{step}")), "{step}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_somebody_looked_is_in_the_log_for_auditors_alone() {
    const WHY: &str = "a second ambulance asks";
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    let on_call = world.by_crm("emp-uses", &["on-call"]);
    world.emergency(&on_call, ADA, WHY).await.refused(403, "emergency-not-granted");
    let id = world.granted(json!({})).await;
    let used = world.emergency(&on_call, ADA, WHY).await;
    assert_eq!(200, used.status.as_u16(), "{used:?}");
    let refused = world.emergency(&on_call, MINA, WHY).await;
    refused.refused(403, "denied");
    world.revoke(&id).await;
    // Each use, also one that was refused, and why it was asked for and ended.
    let auditor = world.person("emp-audits", "auditors");
    let found = auditor.get(&format!("/v1/decisions?grant={id}")).await.json();
    let said: Vec<&Value> = found["decisions"].as_array().unwrap().iter().map(|found| &found["justification"]["text"]).collect();
    assert_eq!(vec![&json!(WHY); 2], said, "{found}");
    let steps: Vec<_> = entries(&world.log_dir()).into_iter().filter(|entry| entry.kind() == "break_glass").collect();
    let mut told = Vec::new();
    for step in &steps {
        let shown = auditor.get(&format!("/v1/decisions/-/{}", step.index)).await.json();
        told.push((step.value["step"].as_str().unwrap().to_owned(), shown["entries"][0]["text"]["text"].as_str().map(str::to_owned)));
    }
    let told: Vec<_> = told.iter().map(|(step, text)| (step.as_str(), text.as_deref())).collect();
    let asked = Some("the ambulance asks for allergies");
    assert_eq!(vec![("requested", asked), ("approved", None), ("approved", None), ("revoked", Some("over"))], told);
    let report = auditor.get("/v1/reports/break-glass?format=html").await;
    assert!(report.text().contains(WHY), "{report:?}");
    // Without a grant nothing is kept.
    let without: Vec<_> = entries(&world.log_dir()).into_iter().filter(|entry| entry.value["code"] == "emergency-not-granted").collect();
    assert!(without.len() == 1 && without[0].value.get("justification").is_none(), "{without:?}");
    // Nobody else, in no form.
    let data = steps[0].value["justification"]["data"].as_str().unwrap().get(..40).unwrap().to_owned();
    let decision = used.decision().unwrap().rsplit_once('#').unwrap().1.to_owned();
    let developer = world.staff("app-developer");
    for (client, path) in [
        (&developer, format!("/v1/decisions/-/{decision}")),
        (&developer, format!("/v1/decisions/-/{}", steps[0].index)),
        (&auditor, "/v1/decisions/export?format=ndjson".to_owned()),
        (&auditor, "/v1/decisions/export?format=ocsf".to_owned()),
        (&world.staff("consent-desk"), "/v1/subjects/crm:0031/access-report".to_owned()),
        (&auditor, "/v1/changes".to_owned()),
    ] {
        let answer = client.get(&path).await;
        assert!(!answer.text().contains("ambulance") && !answer.text().contains(&data), "{path}: {answer:?}");
    }
    assert!(!world.running().instance().metrics().contains("ambulance"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_for_what_is_written_an_emergency_is_refused_and_nothing_else() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    let on_call = world.by_crm("emp-uses", &["on-call"]);
    let id = world.granted(json!({})).await;
    let folder = world.log_dir().join("text-keys");
    let away = world.log_dir().join("elsewhere");
    std::fs::rename(&folder, &away).unwrap();
    let before = entries(&world.log_dir()).iter().filter(|entry| entry.decision().is_some()).count();
    for target in [ADA, MINA] {
        let answer = world.emergency(&on_call, target, "x").await;
        assert_eq!((503, json!("audit-unavailable")), (answer.status.as_u16(), answer.json()["code"].clone()), "{answer:?}");
        assert!(!answer.text().contains("Brandt"));
    }
    assert_eq!(before, entries(&world.log_dir()).iter().filter(|entry| entry.decision().is_some()).count());
    let until = (world.clock_now() + SignedDuration::from_hours(2)).to_string();
    let body = json!({
        "app": "crm", "employee": "corp:emp-uses", "party": "crm:0031", "purpose": SUPPORT, "ticket": "INC-1", "justification": "x", "until": until,
    });
    let asked = world.person("emp-asks", "desk").post("/v1/break-glass", &body.to_string()).await;
    assert_eq!((503, json!("audit-unavailable")), (asked.status.as_u16(), asked.json()["code"].clone()), "{asked:?}");
    let ready = world.running().instance().readiness();
    assert!(ready.is_ready() && format!("{ready:?}").contains("is lost: put its copy back"), "{ready:?}");
    // All else goes on: other decisions, consent, and the end of the grant, of which the log says that its text is not in it.
    on_call.get(ADA).purpose(SUPPORT).await.refused(403, "not-entitled");
    world.consent("crm:0031", "sales.outreach", "given").await;
    world.revoke(&id).await;
    let ended = entries(&world.log_dir()).into_iter().find(|entry| entry.value["step"] == "revoked").unwrap();
    assert_eq!((&json!(true), None), (&ended.value["text_not_kept"], ended.value.get("reason")));
    assert!(!folder.exists(), "no other key is made in its place");
    std::fs::rename(&away, &folder).unwrap();
    world.granted(json!({})).await;
    assert_eq!(200, world.emergency(&on_call, ADA, "x").await.status.as_u16());
    assert!(!format!("{:?}", world.running().instance().readiness()).contains("is lost"));
    world.finish().await;
}
