//! To whom data of a customer was disclosed, asked of a log that real requests have written.

use serde_json::{Value, json};

use crate::harness::people::{ada, ada_for_outreach, card, card_whole, mina};
use crate::harness::{Plan, gateway};

const OUTREACH: &str = "sales.outreach";
const SUPPORT: &str = "service-provision.support";

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_listed_by_department_and_app_and_denials_are_not() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    let recipients = async |query: &str| world.staff("auditor").get(&format!("/v1/parties/crm:0031/recipients{query}")).await.json();
    assert_eq!(recipients("").await["recipients"], json!([]), "nothing was asked yet");
    let crm = world.client("crm");
    crm.get("/crm/customers/0031").purpose(OUTREACH).await.refused(403, "denied");
    assert_eq!(recipients("").await["recipients"], json!([]), "a denial discloses nothing");
    world.consent("crm:0031", OUTREACH, "given").await;
    for _ in 0..2 {
        crm.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    }
    let before_support = consentry::clock::SystemClock::shared().now();
    let supported = world.client("helpdesk").get("/crm/customers/0031").purpose(SUPPORT).await;
    assert_eq!(supported.status, 200);
    world.consent("crm:0031", OUTREACH, "withdrawn").await;
    crm.get("/crm/customers/0031").purpose(OUTREACH).await.refused(403, "denied");

    let found = recipients("").await;
    let rows = found["recipients"].as_array().unwrap().clone();
    let apps: Vec<(&Value, &Value, &Value)> = rows.iter().map(|row| (&row["department"], &row["app"], &row["decisions"])).collect();
    assert_eq!(apps, [(&json!("sales"), &json!("crm"), &json!(2)), (&json!("service"), &json!("helpdesk"), &json!(1))]);
    for row in &rows {
        for category in row["categories"].as_array().unwrap() {
            assert_eq!(category["decisions"], row["decisions"], "{row}");
            assert!(category["first"].as_str().unwrap() <= category["last"].as_str().unwrap());
        }
    }
    let categories =
        |row: &Value| row["categories"].as_array().unwrap().iter().map(|c| c["category"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let decision = world.found(&supported);
    let mut went_out = [decision.released.clone(), decision.reduced.clone()].concat();
    went_out.sort();
    assert_eq!(categories(&rows[1]), went_out);
    assert_eq!(decision.outcome, "redact");
    assert_eq!(categories(&rows[0]), ["contact", "identity"], "what was withheld was not disclosed");
    assert_eq!(rows[0]["activities"][0]["id"], json!("sales-outreach"));

    let late = recipients(&format!("?since={before_support}")).await;
    assert_eq!((late["recipients"].as_array().unwrap().len(), &late["recipients"][0]["app"]), (1, &json!("helpdesk")));
    let other = world.staff("auditor").get("/v1/parties/crm:0044/recipients").await.json();
    assert_eq!(other["recipients"], json!([]), "somebody else's data is somebody else's list");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_rows_and_what_an_app_wrote_itself_are_no_disclosure_but_an_answer_to_a_write_is() {
    let world = gateway().start().await;
    let apps = async |customer: &str| {
        let found = world.staff("auditor").get(&format!("/v1/parties/crm:{customer}/recipients")).await.json();
        found["recipients"].as_array().unwrap().iter().map(|row| row["app"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    world.consent("crm:0031", OUTREACH, "given").await;
    world.upstream.json("GET /customers", &format!("{{\"customers\":[{},{}],\"total\":2}}", ada(), mina()));
    let listed = world.client("crm").get("/crm/customers").purpose(OUTREACH).await;
    assert_eq!(listed.json()["customers"].as_array().unwrap().len(), 1);
    assert_eq!((apps("0031").await, apps("0044").await), (vec!["crm".to_owned()], vec![]));

    let helpdesk = world.client("helpdesk");
    world.upstream.on("PATCH /cards/0058", Plan::empty(204));
    helpdesk.patch("/crm/cards/0058", r#"{"phone":"+49 1"}"#).purpose(SUPPORT).await.released(204, "");
    assert!(apps("0058").await.is_empty(), "the help desk brought data in and got none");
    world.upstream.json("PUT /cards/0058", &card("0058", "pavel.new@example.net"));
    let answer = helpdesk.put("/crm/cards/0058", &card("0058", "pavel.new@example.net")).purpose(SUPPORT).await;
    answer.released(200, &card_whole("0058", "pavel.new@example.net"));
    assert_eq!(apps("0058").await, ["helpdesk"]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_search_is_recorded_and_what_cannot_be_found_is_refused() {
    let world = gateway().start().await;
    let auditor = world.staff("auditor");
    let found = auditor.get("/v1/parties/crm:0031/recipients").await.json();
    let index: usize = found["entry"].as_str().unwrap().rsplit_once('#').unwrap().1.parse().unwrap();
    let entry = &crate::harness::entries(&world.log_dir())[index].resolved;
    assert_eq!((&entry["kind"], &entry["operation"]), (&json!("query"), &json!("recipients.list")));
    for (path, status) in [
        ("/v1/parties/crm:9998/recipients", 404),
        ("/v1/parties/nowhere:1/recipients", 422),
        ("/v1/parties/crm:0031/recipients?since=yesterday", 400),
        ("/v1/parties/crm:0031/recipients?until=2026-03-01T12:00:00Z", 400),
    ] {
        assert_eq!(auditor.get(path).await.status, status, "{path}");
    }
    world.finish().await;
}
