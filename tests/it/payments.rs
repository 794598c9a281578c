//! A payment provider in the manner of Stripe: lists in lists, maps that callers fill as they like, and customers who stand in a
//! record by their id or whole. The samples are made up; what each department sees of them was written by hand.

use http::Method;
use serde_json::json;

use crate::harness::{Plan, World, gateway};

const SUPPORT: &str = "service-provision.support";
const PROVISION: &str = "service-provision";
const EMAIL: &str = "marketing.email";
const OUTREACH: &str = "sales.outreach";
const BOOKS: &str = "legal-compliance";

/// Hana and Ivan are customers, Jola is a lead; cus_Nobody9 is nobody's.
const PARTIES: &str = "pay:cus_Hana1,person,customer,standard,adult
pay:cus_Ivan2,person,customer,standard,adult
pay:cus_Jola3,person,lead,standard,adult
";

async fn shop() -> World {
    let world = gateway().apis(include_str!("payments.toml")).parties(PARTIES).start().await;
    for (id, purpose, said) in [
        ("pay:cus_Hana1", EMAIL, &["given"][..]),
        ("pay:cus_Hana1", OUTREACH, &["given"]),
        ("pay:cus_Ivan2", EMAIL, &["given", "withdrawn"]),
        ("pay:cus_Ivan2", OUTREACH, &["refused"]),
        ("pay:cus_Jola3", OUTREACH, &["given"]),
    ] {
        for state in said {
            world.consent(id, purpose, state).await;
        }
    }
    world
}

const CHARGE: &str = r#"{
  "id": "ch_1", "object": "charge", "amount": 10990, "amount_refunded": 2500, "application": null, "balance_transaction": "txn_1",
  "billing_details": {"address": {"city": "Aarhus", "country": "DK", "line1": "Nygade 4", "line2": null, "postal_code": "8000 C", "state": null},
    "email": "hana.dahl@example.net", "name": "Hana Dahl", "phone": "+45 20 10 30 44", "tax_id": "DK12345678"},
  "captured": true, "created": 1767225600, "currency": "dkk", "customer": "cus_Hana1", "description": "Two chairs, call before", "fraud_details": {},
  "metadata": {"order_id": "6735", "delivery_note": "behind the shed", "nested": {"vip": true}}, "outcome": {"risk_score": 32, "seller_message": "ok"},
  "payment_method_details": {"card": {"brand": "visa", "country": "DK", "exp_month": 4, "fingerprint": "mToisGZ01V71BCos", "last4": "4242"}, "type": "card"},
  "receipt_email": "hana.dahl@example.net", "receipt_url": "https://pay.example.net/receipts/abc",
  "refunds": {"object": "list", "data": [
      {"id": "re_1", "object": "refund", "amount": 2000, "charge": "ch_1", "metadata": {"agent": "ole"}, "reason": "requested_by_customer"},
      {"id": "re_2", "object": "refund", "amount": 500, "charge": "ch_1", "metadata": {}, "reason": null}],
    "has_more": false, "url": "/v7/v1/charges/ch_1/refunds"},
  "shipping": {"name": "Hana Dahl", "address": {"line1": "Nygade 4"}}, "source": null, "status": "succeeded"
}"#;

const FOR_SALES: &str = concat!(
    r#"{"id":"ch_1","object":"charge","amount":10990,"amount_refunded":2500,"billing_details":{"address":{"city":"Aarhus","country":"DK","#,
    r#""line1":"Nygade 4","line2":null,"postal_code":"8000 C","state":null},"email":"hana.dahl@example.net","name":"Hana Dahl","#,
    r#""phone":"+45 20 10 30 44"},"created":1767225600,"currency":"dkk","customer":"cus_Hana1","metadata":{"delivery_note":"behind the shed"},"#,
    r#""payment_method_details":{"card":{"last4":null}},"refunds":{"object":"list","data":["#,
    r#"{"id":"re_1","amount":2000},{"id":"re_2","amount":500}],"has_more":false},"status":"succeeded"}"#
);

/// (app, purpose, what it sees of Hana's charge).
const SEEN: [(&str, &str, &str); 5] = [
    (
        "helpdesk",
        SUPPORT,
        concat!(
            r#"{"id":"ch_1","object":"charge","amount":10990,"amount_refunded":2500,"billing_details":{"address":{"city":"Aarhus","country":"DK","#,
            r#""line1":"Nygade 4","line2":null,"postal_code":"8000 C","state":null},"email":"hana.dahl@example.net","name":"Hana Dahl","#,
            r#""phone":"+45 20 10 30 44"},"created":1767225600,"currency":"dkk","customer":"cus_Hana1","description":"Two chairs, call before","#,
            r#""metadata":{"order_id":"6735","delivery_note":"behind the shed","nested":{"vip":true}},"#,
            r#""payment_method_details":{"card":{"brand":"visa","last4":"4242"}},"refunds":{"object":"list","data":["#,
            r#"{"id":"re_1","amount":2000,"reason":"requested_by_customer"},{"id":"re_2","amount":500,"reason":null}],"has_more":false},"status":"succeeded"}"#
        ),
    ),
    (
        "ledger",
        BOOKS,
        concat!(
            r#"{"id":"ch_1","object":"charge","amount":10990,"amount_refunded":2500,"billing_details":{"address":{"city":"Aarhus","country":"DK","#,
            r#""line1":"Nygade 4","line2":null,"postal_code":"8000 C","state":null},"email":"hana.dahl@example.net","name":"Hana Dahl","#,
            r#""phone":"+45 20 10 30 44"},"created":1767225600,"currency":"dkk","customer":"cus_Hana1","metadata":{"delivery_note":"behind the shed"},"#,
            r#""payment_method_details":{"card":{"brand":"visa","last4":"4242"}},"refunds":{"object":"list","data":["#,
            r#"{"id":"re_1","amount":2000},{"id":"re_2","amount":500}],"has_more":false},"status":"succeeded"}"#
        ),
    ),
    ("crm", PROVISION, FOR_SALES),
    ("crm", OUTREACH, FOR_SALES),
    (
        "campaign-manager",
        EMAIL,
        concat!(
            r#"{"id":"ch_1","object":"charge","billing_details":{"address":{"city":"Aarhus","country":"DK","#,
            r#""line1":"Nygade 4","line2":null,"postal_code":"8000 C","state":null},"email":"hana.dahl@example.net","name":"Hana Dahl","#,
            r#""phone":"+45 20 10 30 44"},"created":1767225600,"currency":"dkk","customer":"cus_Hana1","metadata":{"delivery_note":"behind the shed"},"#,
            r#""payment_method_details":{"card":{"last4":null}},"refunds":{"object":"list","data":["#,
            r#"{"id":"re_1"},{"id":"re_2"}],"has_more":false},"status":"succeeded"}"#
        ),
    ),
];

fn of(charge: &str, id: &str, customer: &str) -> String {
    charge.replace("ch_1", id).replace("cus_Hana1", customer).replace("hana.dahl", "somebody.else").replace("Hana Dahl", "Somebody Else")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_is_cut_down_to_what_each_department_needs_it_for() {
    let world = shop().await;
    world.upstream.json("GET /v1/charges/ch_1", CHARGE);
    let ask = async |app: &str, purpose: &str, id: &str| world.client(app).get(&format!("/pay/v1/charges/{id}")).purpose(purpose).await;
    for (app, purpose, seen) in SEEN {
        ask(app, purpose, "ch_1").await.released(200, seen);
    }
    // Of Ivan, who refused and withdrew, what needs no consent; of the lead Jola, who agreed to be called, what she agreed to.
    for (id, customer, open) in [("ch_2", "cus_Ivan2", &["helpdesk", "ledger", "crm service-provision"][..]), ("ch_3", "cus_Nobody9", &[])] {
        world.upstream.json(&format!("GET /v1/charges/{id}"), &of(CHARGE, id, customer));
        for (app, purpose, seen) in SEEN {
            let answer = ask(app, purpose, id).await;
            if open.contains(&app) || open.contains(&&*format!("{app} {purpose}")) {
                answer.released(200, &of(seen, id, customer));
            } else {
                answer.refused(403, "denied");
            }
        }
    }
    world.upstream.json("GET /v1/charges/ch_4", &of(CHARGE, "ch_4", "cus_Jola3"));
    // Her orders are sales' own; how to reach her is not, for the contract that she does not have.
    let bare = concat!(
        r#"{"id":"ch_4","object":"charge","amount":10990,"amount_refunded":2500,"created":1767225600,"currency":"dkk","customer":"cus_Jola3","#,
        r#""payment_method_details":{"card":{"last4":null}},"refunds":{"object":"list","data":["#,
        r#"{"id":"re_1","amount":2000},{"id":"re_2","amount":500}],"has_more":false},"status":"succeeded"}"#
    );
    ask("crm", PROVISION, "ch_4").await.released(200, bare);
    ask("crm", OUTREACH, "ch_4").await.released(200, &of(SEEN[3].2, "ch_4", "cus_Jola3"));
    // A guest's charge is nobody's; one that names its customer in full is not what was declared.
    for customer in ["null", r#"{"id":"cus_Hana1","object":"customer"}"#, "\"\""] {
        world.upstream.json("GET /v1/charges/ch_5", &CHARGE.replace("\"cus_Hana1\"", customer));
        ask("ledger", BOOKS, "ch_5").await.refused(502, "upstream-unreadable");
    }
    // What the provider says of a mistake: its code, and none of its sentences.
    let error = r#"{"error":{"code":"parameter_invalid","doc_url":"https://pay.example.net/d","message":"did you mean hana.dahl@example.net?","param":"id","type":"invalid_request_error"}}"#;
    world.upstream.on("GET /v1/charges/ch_6", Plan::json(error).status(400));
    ask("ledger", BOOKS, "ch_6").await.released(400, r#"{"error":{"code":"parameter_invalid","type":"invalid_request_error"}}"#);
    world.upstream.on("GET /v1/charges/ch_6", Plan::json(error).status(404));
    ask("ledger", BOOKS, "ch_6").await.refused(403, "denied");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_list_of_charges_the_rows_of_others_and_their_number_stay_behind() {
    let world = shop().await;
    let guest = CHARGE.replace("\"cus_Hana1\"", "null");
    let rows = [CHARGE.to_owned(), of(CHARGE, "ch_2", "cus_Ivan2"), guest, of(CHARGE, "ch_3", "cus_Nobody9")].join(",");
    let url = "/v7/v1/charges";
    world.upstream.json("GET /v1/charges?limit=4", &format!(r#"{{"object":"list","data":[{rows}],"has_more":true,"url":"{url}"}}"#));
    world.upstream.json(
        "GET /v1/charges/search?query=amount%3E1",
        &format!(r#"{{"object":"search_result","data":[{rows}],"has_more":false,"next_page":null,"total_count":4,"url":"/v7/v1/charges/search"}}"#),
    );
    for (app, purpose, seen) in SEEN {
        let ivan = of(seen, "ch_2", "cus_Ivan2");
        let is_open = app == "helpdesk" || app == "ledger" || purpose == PROVISION;
        let (released, count) = if is_open { (format!("{seen},{ivan}"), 2) } else { (seen.to_owned(), 1) };
        let list = world.client(app).get("/pay/v1/charges?limit=4").purpose(purpose).await;
        list.released(200, &format!(r#"{{"object":"list","data":[{released}],"has_more":true,"url":"/pay/v1/charges"}}"#));
        assert_eq!((count, 4 - count), (world.found(&list).rows, world.found(&list).dropped), "{app} {purpose}");
        let search = world.client(app).get("/pay/v1/charges/search?query=amount%3E1").purpose(purpose).await;
        if purpose == EMAIL {
            // By what was paid marketing must not find anybody.
            search.refused(403, "field-not-permitted");
        } else {
            search.released(200, &format!(r#"{{"object":"search_result","data":[{released}],"has_more":false,"total_count":{count}}}"#));
        }
    }
    // A page of more: neither how to get there, which is the provider's, nor how many there are.
    let more = format!(r#"{{"object":"search_result","data":[{CHARGE}],"has_more":true,"next_page":"WzE3N","total_count":99}}"#);
    world.upstream.json("GET /v1/charges/search?query=amount%3E1", &more);
    let search = world.client("ledger").get("/pay/v1/charges/search?query=amount%3E1").purpose(BOOKS).await;
    search.released(200, &format!(r#"{{"object":"search_result","data":[{}],"has_more":true}}"#, SEEN[1].2));
    world.finish().await;
}

/// A payment by Hana with a card that is somebody else's.
fn intent(holder: &str) -> String {
    format!(
        concat!(
            r#"{{"id":"pi_1","object":"payment_intent","amount":2000,"client_secret":"pi_1_secret_x","currency":"eur","customer":{{"id":"cus_Hana1","#,
            r#""object":"customer","address":{{"city":"Aarhus","line1":"Nygade 4"}},"balance":-50,"email":"hana.dahl@example.net","#,
            r#""invoice_prefix":"H1","metadata":{{}},"name":"Hana Dahl","#,
            r#""sources":{{"object":"list","data":[],"has_more":false,"url":"/v7/v1/customers/cus_Hana1/sources"}}}},"#,
            r#""payment_method":{{"id":"pm_1","object":"payment_method","billing_details":{{"address":{{"city":"Skive","line1":"Havnen 1"}},"name":"Ivan Dahl"}},"#,
            r#""card":{{"brand":"visa","last4":"1881"}},"customer":{},"type":"card"}},"receipt_email":"hana.dahl@example.net","status":"succeeded"}}"#
        ),
        holder
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_shows_the_holder_of_its_card_only_as_far_as_that_one_permits() {
    let world = shop().await;
    let path = "/v1/payment_intents/pi_1?expand%5B%5D=customer";
    world.upstream.json(&format!("GET {path}"), &intent("\"cus_Ivan2\""));
    let ask = async |app: &str, purpose: &str| world.client(app).get(&format!("/pay{path}")).purpose(purpose).await;
    let payment = |amount: &str, balance: &str, method: &str| {
        format!(
            concat!(
                r#"{{"id":"pi_1","object":"payment_intent",{}"currency":"eur","customer":{{"id":"cus_Hana1","object":"customer","#,
                r#""address":{{"city":"Aarhus","line1":"Nygade 4"}},{}"email":"hana.dahl@example.net","name":"Hana Dahl","#,
                r#""sources":{{"url":"/pay/v1/customers/cus_Hana1/sources"}}}},{}"receipt_email":"hana.dahl@example.net","status":"succeeded"}}"#
            ),
            amount, balance, method
        )
    };
    let (amount, balance) = (r#""amount":2000,"#, r#""balance":-50,"#);
    let method = |card: &str, customer: &str| {
        format!(
            r#""payment_method":{{"id":"pm_1","object":"payment_method","billing_details":{{"address":{{"city":"Skive"}},"name":"Ivan Dahl"}},{card}"customer":"{customer}","type":"card"}},"#
        )
    };
    let card = r#""card":{"last4":"1881"},"#;
    for (app, purpose) in [("helpdesk", SUPPORT), ("ledger", BOOKS)] {
        ask(app, purpose).await.released(200, &payment(amount, balance, &method(card, "cus_Ivan2")));
    }
    ask("crm", PROVISION).await.released(200, &payment(amount, "", &method("", "cus_Ivan2")));
    ask("crm", OUTREACH).await.released(200, &payment(amount, "", ""));
    let marketing = ask("campaign-manager", EMAIL).await;
    marketing.released(200, &payment("", "", ""));
    assert_eq!(2, world.found(&marketing).parties, "both were judged");
    // Ivan changes his mind, and is then restricted.
    world.consent("pay:cus_Ivan2", EMAIL, "given").await;
    ask("campaign-manager", EMAIL).await.released(200, &payment("", "", &method("", "cus_Ivan2")));
    let body = json!({ "party": "pay:cus_Ivan2", "evidence": [{ "kind": "letter", "reference": "l" }] });
    world.desk(Method::POST, "/v1/restrictions", body).await;
    for (app, purpose, seen) in [
        ("campaign-manager", EMAIL, payment("", "", "")),
        ("crm", PROVISION, payment(amount, "", "")),
        ("helpdesk", SUPPORT, payment(amount, balance, "")),
    ] {
        ask(app, purpose).await.released(200, &seen);
    }
    // A card of nobody, and of somebody unknown; her own.
    for holder in ["null", "\"cus_Nobody9\""] {
        world.upstream.json(&format!("GET {path}"), &intent(holder));
        ask("helpdesk", SUPPORT).await.released(200, &payment(amount, balance, ""));
    }
    world.upstream.json(&format!("GET {path}"), &intent("\"cus_Hana1\""));
    ask("helpdesk", SUPPORT).await.released(200, &payment(amount, balance, &method(card, "cus_Hana1")));
    // The payer herself is not to be had, or only by her id.
    world.upstream.json(&format!("GET {path}"), &intent("\"cus_Hana1\"").replacen("\"id\":\"cus_Hana1\"", "\"id\":\"cus_Nobody9\"", 1));
    ask("helpdesk", SUPPORT).await.refused(403, "denied");
    world.upstream.json(&format!("GET {path}"), r#"{"id":"pi_1","object":"payment_intent","amount":2000,"customer":"cus_Hana1"}"#);
    ask("helpdesk", SUPPORT).await.refused(502, "upstream-unreadable");
    world.consent("pay:cus_Hana1", EMAIL, "withdrawn").await;
    world.upstream.json(&format!("GET {path}"), &intent("\"cus_Hana1\""));
    ask("campaign-manager", EMAIL).await.refused(403, "denied");
    world.finish().await;
}
