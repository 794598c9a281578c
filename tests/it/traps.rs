//! What went wrong in real systems, one test each, followed from what somebody said to the refusal at the gateway.
//! `consent/tests/traps.rs` has the same traps inside the ledger, with more cases.

use consentry::consent::{Notice, NoticeVersion};
use consentry::model::{Purpose, Revision};
use http::Method;
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::people::{ada, ada_for_outreach, card, card_whole, customer};
use crate::harness::{Answer, Client, Plan, World, gateway, soon};

const MAIL: &str = "marketing.email";
const OUTREACH: &str = "sales.outreach";
const SUPPORT: &str = "service-provision.support";
const ADA: &str = "crm:0031";
const MAILBOX: &str = "email:ada.brandt@example.net";

fn ago(minutes: i64) -> Value {
    json!((Timestamp::now() - SignedDuration::from_mins(minutes)).to_string())
}

async fn world() -> World {
    let world = gateway().start().await;
    shows(&world, "0031");
    world
}

/// The CRM has a card of this customer.
fn shows(world: &World, id: &str) {
    world.upstream.json(&format!("GET /cards/{id}"), &card(id, "a@example.net"));
}

async fn read(client: &Client, id: &str, purpose: &str) -> Answer {
    client.get(&format!("/crm/cards/{id}")).purpose(purpose).await
}

#[track_caller]
fn released(answer: &Answer, id: &str) {
    answer.released(200, &card_whole(id, "a@example.net"));
}

/// Denied, and for this in every category: the consent's status and why, as the log has it.
#[track_caller]
fn closed(world: &World, answer: &Answer, status: &str, why: &str) {
    answer.refused(403, "denied");
    let relied = world.found(answer).relied;
    assert!(!relied.is_empty() && relied.iter().all(|r| (r.status.as_str(), r.why.as_str()) == (status, why)), "{relied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unsubscribe_answers_success_and_stops_nothing() {
    let world = world().await;
    let campaign = world.client("campaign-manager");
    world.consent(ADA, MAIL, "given").await;
    let link = world.link(MAILBOX, MAIL).await;
    released(&read(&campaign, "0031", MAIL).await, "0031");
    let pressed = world.visitor().post(&link, "").header("content-type", "application/x-www-form-urlencoded").await;
    assert_eq!(200, pressed.status.as_u16(), "{pressed:?}");
    closed(&world, &read(&campaign, "0031", MAIL).await, "withdrawn", "forbidden");
    assert_eq!(1, campaign.opened(), "on the connection that was open");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lead_conversion_or_merge_drops_a_refusal() {
    let world = gateway().parties("crm:0090,person,customer,standard,adult\ncrm:0091,person,lead,standard,adult\n").start().await;
    let crm = world.client("crm");
    // A lead refuses, and the sales app makes a contact of the lead.
    world.say("email:lead@example.net", OUTREACH, "refused", json!({ "event_time": ago(60) })).await;
    world.upstream.on("POST /customers", Plan::json(r#"{"id":"0101","success":true}"#).status(201));
    let created = crm.post("/crm/customers", r#"{"name":"L","email":"Lead@example.net"}"#).purpose("service-provision").await;
    assert_eq!(201, created.status.as_u16(), "{created:?}");
    // A form of before the refusal is found and entered: it is not the customer's last word.
    world.say("crm:0101", OUTREACH, "given", json!({ "event_time": ago(90) })).await;
    shows(&world, "0101");
    closed(&world, &read(&crm, "0101", OUTREACH).await, "withdrawn", "forbidden");

    // Two records of one customer: neither side's refusal is lost, whichever record stays.
    for (into, from) in [("0090", "0091"), ("0091", "0090")] {
        world.say("crm:0090", OUTREACH, "given", json!({ "event_time": ago(30) })).await;
        world.say("crm:0091", OUTREACH, "refused", json!({ "event_time": ago(40) })).await;
        for id in ["0090", "0091"] {
            shows(&world, id);
        }
        released(&read(&crm, "0090", OUTREACH).await, "0090");
        world.desk(Method::POST, &format!("/v1/parties/crm:{into}:merge"), json!({ "from": format!("crm:{from}"), "reason": "same" })).await;
        for id in ["0090", "0091"] {
            closed(&world, &read(&crm, id, OUTREACH).await, "refused", "forbidden");
        }
        world.desk(Method::POST, &format!("/v1/parties/crm:{into}:split"), json!({ "merged": format!("crm:{from}"), "reason": "not" })).await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn re_import_from_a_spreadsheet_resurrects_an_erased_person() {
    let world = world().await;
    let helpdesk = world.client("helpdesk");
    released(&read(&helpdesk, "0031", SUPPORT).await, "0031");
    world.desk(Method::POST, "/v1/parties/crm:0031:erase", json!({ "reason": "asked for it" })).await;
    closed(&world, &read(&helpdesk, "0031", SUPPORT).await, "unknown", "stop:erasure");
    for (row, id) in [("crm:0031", "0031"), ("email:Ada.Brandt@example.net", "0031"), ("crm:0102 email:ada.brandt@example.net", "0102")] {
        let sheet = format!("identifiers,kind,stage,segment,age\n{row},person,customer,standard,adult\n");
        let desk = world.staff("consent-desk");
        let imported = desk.ask(Method::POST, "/v1/parties").header("content-type", "text/csv").body(sheet.as_bytes()).await;
        let report = imported.json();
        assert_eq!((json!(0), 1), (report["created"].clone(), report["errors"].as_array().unwrap().len()), "{report}");
        shows(&world, id);
        read(&helpdesk, id, SUPPORT).await.refused(403, "denied");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_record_means_allow() {
    let world = world().await;
    let crm = world.client("crm");
    // Somebody who said nothing, and somebody of whom there is no record.
    let silent = read(&crm, "0031", OUTREACH).await;
    closed(&world, &silent, "unknown", "forbidden");
    let nobody = read(&crm, "0555", OUTREACH).await;
    closed(&world, &nobody, "unknown", "unknown-party");
    assert_eq!(silent.anonymous(), nobody.anonymous());
    // Not even a contract lets anybody see a record that the crosswalk lacks.
    shows(&world, "0555");
    read(&world.client("helpdesk"), "0555", SUPPORT).await.refused(403, "denied");
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn default_purpose() {
    let world = world().await;
    let (crm, centre) = (world.client("crm"), world.capture("preference-centre"));
    world.consent(ADA, OUTREACH, "given").await;
    // A request that does not say what for, and says it in a word of its own, even by somebody who may.
    crm.get("/crm/cards/0031").await.refused(403, "purpose-missing");
    for wrong in ["", "default", "sales.outreahc"] {
        let answer = read(&crm, "0031", wrong).await;
        assert_eq!(403, answer.status.as_u16(), "{wrong}: {answer:?}");
    }
    assert!(world.upstream.asked().is_empty());
    released(&read(&crm, "0031", OUTREACH).await, "0031");
    // A grant that does not say what for.
    for purposes in [json!([]), json!(["default"]), Value::Null] {
        let mut event = json!({ "party": "crm:0044", "state": "given", "event_time": ago(0), "categories": ["identity"], "recipients": ["sales"] });
        event["purposes"] = purposes;
        let answer = centre.post("/v1/consents", &event.to_string()).await;
        assert_eq!(422, answer.status.as_u16(), "{answer:?}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deny_always_wins_so_a_customer_who_re_consents_stays_refused() {
    let world = world().await;
    let campaign = world.client("campaign-manager");
    let centre = world.capture("preference-centre");
    for closing in
        [json!({ "state": "withdrawn" }), json!({ "kind": "objection-marketing" }), json!({ "kind": "suppression", "channels": ["email"] })]
    {
        world.consent(ADA, MAIL, "given").await;
        released(&read(&campaign, "0031", MAIL).await, "0031");
        let path = match closing["kind"].as_str() {
            None => "/v1/consents",
            Some("suppression") => "/v1/suppressions",
            Some(_) => "/v1/objections",
        };
        let mut body = closing.clone();
        (body["party"], body["event_time"]) = (json!(ADA), json!(Timestamp::now().to_string()));
        body["evidence"] = json!([{ "kind": "form-hash", "reference": "sha256:00" }, { "kind": "notice", "reference": "n-1" }]);
        assert_eq!(201, centre.post(path, &body.to_string()).await.status.as_u16(), "{closing}");
        read(&campaign, "0031", MAIL).await.refused(403, "denied");
        // Another purpose is not this one, and what an app says that is registered for nothing is not the customer's word.
        world.consent(ADA, OUTREACH, "given").await;
        let claim = json!({
            "party": ADA, "state": "given", "purposes": [MAIL], "event_time": Timestamp::now().to_string(), "evidence": body["evidence"],
            "categories": ["identity", "contact"], "recipients": ["marketing"],
        });
        let claimed = world.capture("helpdesk").post("/v1/consents", &claim.to_string()).await;
        assert_eq!(json!("system"), claimed.json()["author"], "{claimed:?}");
        read(&campaign, "0031", MAIL).await.refused(403, "denied");
        world.consent(ADA, MAIL, "given").await;
        released(&read(&campaign, "0031", MAIL).await, "0031");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_modifier_makes_a_permit_immune() {
    let world = world().await;
    let (campaign, helpdesk) = (world.client("campaign-manager"), world.client("helpdesk"));
    // Everything that could make a permit strong: explicit, on a notice that names all, and a policy that allows all.
    let notice = json!({ "id": "n", "version": "1", "purposes": [MAIL], "categories": ["identity", "contact"], "recipients": ["marketing"] });
    world.say(ADA, MAIL, "given", json!({ "method": "explicit", "notice": notice, "uses": 100, "lasts": "P24M" })).await;
    world.add_policy("@id(\"test-all\")\n@description(\"Everything is allowed.\")\npermit (principal, action, resource);").await;
    released(&campaign.get("/crm/cards/0031").purpose(MAIL).header("sec-gpc", "1").await, "0031");
    // No permit outweighs a forbid, a withdrawal or a stop.
    world.consent(ADA, MAIL, "withdrawn").await;
    closed(&world, &read(&campaign, "0031", MAIL).await, "withdrawn", "forbidden");
    released(&read(&helpdesk, "0031", SUPPORT).await, "0031");
    world.desk(Method::POST, "/v1/restrictions", json!({ "party": ADA })).await;
    closed(&world, &read(&helpdesk, "0031", SUPPORT).await, "unknown", "stop:restriction");
    closed(&world, &read(&campaign, "0031", MAIL).await, "withdrawn", "stop:restriction");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ties_decided_by_list_order() {
    let world = gateway().parties("crm:0090,person,customer,standard,adult\ncrm:0091,person,customer,standard,adult\n").start().await;
    let crm = world.client("crm");
    let at = json!({ "event_time": ago(10) });
    for (id, order) in [("0090", ["given", "refused"]), ("0091", ["refused", "given"])] {
        shows(&world, id);
        for state in order {
            world.say(&format!("crm:{id}"), OUTREACH, state, at.clone()).await;
        }
        let answer = read(&crm, id, OUTREACH).await;
        answer.refused(403, "denied");
        assert!(world.found(&answer).relied.iter().all(|r| r.why == "forbidden" && r.status != "given"), "{order:?}");
    }
    // Of the rows of a list, too.
    let rows = |ids: &[&str]| {
        let rows: Vec<String> = ids.iter().map(|id| customer(id, "A", "B", "a@example.net")).collect();
        format!(r#"{{"customers":[{}],"total":{}}}"#, rows.join(","), rows.len())
    };
    for order in [["0090", "0091"], ["0091", "0090"]] {
        world.upstream.json("GET /customers", &rows(&order));
        crm.get("/crm/customers").purpose(OUTREACH).await.released(200, r#"{"customers":[],"total":0}"#);
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_survives_a_new_notice() {
    let world = world().await;
    let crm = world.client("crm");
    let (begin, ledger) = (Timestamp::now(), &world.running().shared().ledger);
    let named = |version: &str| {
        let vocabulary = world.running().instance().vocabulary();
        Notice {
            id: "terms".to_owned(),
            version: version.to_owned(),
            purposes: vec![Purpose::intern(OUTREACH)],
            categories: ["identity", "contact"].map(|name| vocabulary.category(name).unwrap()).to_vec(),
            recipients: vec![vocabulary.department("sales").unwrap()],
        }
    };
    let publish = |version: &str, supersedes| {
        let hash = "0".repeat(64);
        let (valid_from, language) = (begin, "en".to_owned());
        ledger.add_notice(
            NoticeVersion {
                notice: named(version),
                language,
                hash,
                text: None,
                url: None,
                valid_from,
                valid_to: None,
                supersedes,
                revision: Revision(0),
            },
            None,
        )
    };
    let on = |version: &str| json!({ "notice": { "id": "terms", "version": version } });
    publish("1", false).unwrap();
    world.say(ADA, OUTREACH, "given", on("1")).await;
    released(&read(&crm, "0031", OUTREACH).await, "0031");
    // A corrected spelling ends nothing; new terms do, also on the connection that is open.
    publish("1a", false).unwrap();
    released(&read(&crm, "0031", OUTREACH).await, "0031");
    publish("2", true).unwrap();
    closed(&world, &read(&crm, "0031", OUTREACH).await, "expired", "forbidden");
    world.say(ADA, OUTREACH, "given", on("1")).await;
    closed(&world, &read(&crm, "0031", OUTREACH).await, "expired", "forbidden");
    world.say(ADA, OUTREACH, "given", on("2")).await;
    released(&read(&crm, "0031", OUTREACH).await, "0031");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawal_stops_new_requests_but_not_the_open_stream() {
    const BIG: usize = 1_000_000;
    let world = world().await;
    let crm = world.client("crm").http2();
    world.consent(ADA, OUTREACH, "given").await;
    let body = ada().replace("Ada", &"A".repeat(BIG));
    world.upstream.json("GET /customers/0031", &body);
    let read = |withdraws: bool| {
        let (world, crm) = (&world, &crm);
        async move {
            let mut answer = crm.get("/crm/customers/0031").purpose(OUTREACH).begin().await;
            assert_eq!(200, answer.status().as_u16());
            let mut came = 0;
            // The first piece is here and the next waits for the reader.
            let first = soon("the first piece", answer.frame()).await.unwrap().unwrap();
            came += first.into_data().unwrap().len();
            if withdraws {
                world.consent(ADA, OUTREACH, "withdrawn").await;
            }
            loop {
                match soon("the next piece", answer.frame()).await {
                    Some(Ok(frame)) => came += frame.into_data().map_or(0, |data| data.len()),
                    Some(Err(_cut)) => return (came, true),
                    None => return (came, false),
                }
            }
        }
    };
    let whole = ada_for_outreach().len() - "Ada".len() + BIG;
    assert_eq!((whole, false), read(false).await);
    let (came, is_cut) = read(true).await;
    assert!(is_cut && came <= 3 * 65_536, "{came} of {whole} bytes came, cut: {is_cut}");
    world.finish().await;
}
