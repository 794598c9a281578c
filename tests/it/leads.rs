//! A CRM in the manner of Salesforce: ids of 15 and of 18 characters, values that stand at `fields.NAME.value`, results of queries
//! with links in them, contacts within contacts. The samples are made up; what each department sees of them was written by hand.

use crate::harness::{Answer, World, gateway};

const SUPPORT: &str = "service-provision.support";
const EMAIL: &str = "marketing.email";
const OUTREACH: &str = "sales.outreach";
const QUERY: &str = "/data/v62.0/query?q=SELECT%20Id,%20Name,%20Email%20FROM%20Contact";

/// Rosa is a customer, Omar a lead, Ina a customer; …Tx9 is nobody's.
const PARTIES: &str = "lead:003Dn00000QpTx1,person,customer,standard,adult
lead:003Dn00000QpTx2IAF,person,lead,standard,adult
lead:003Dn00000QpTx3IAF,person,customer,standard,adult
";

async fn crm() -> World {
    let world = gateway().apis(include_str!("leads.toml")).parties(PARTIES).start().await;
    for (id, purpose, said) in [
        ("lead:003Dn00000QpTx1IAF", OUTREACH, &["given"][..]),
        ("lead:003Dn00000QpTx2", OUTREACH, &["given"]),
        ("lead:003Dn00000QpTx3", OUTREACH, &["given", "withdrawn"]),
        ("lead:003Dn00000QpTx2", EMAIL, &["given"]),
    ] {
        for state in said {
            world.consent(id, purpose, state).await;
        }
    }
    world
}

/// Rosa's record in the UI API, with Omar's in it.
const ROSA: &str = r#"{
  "apiName": "Contact", "childRelationships": {}, "eTag": "0f3c", "fields": {
    "Account": {"displayValue": "Brewery", "value": {"apiName": "Account", "fields": {"Name": {"displayValue": null, "value": "Brewery"}}, "id": "001Dn00000AcMe1IAF"}},
    "Birthdate": {"displayValue": "4/12/1981", "value": "1981-04-12"},
    "Email": {"displayValue": null, "value": "rosa.lind@example.net"},
    "LeadScore__c": {"displayValue": "71.50", "value": 71.50},
    "MailingPostalCode": {"displayValue": null, "value": "89073"},
    "Name": {"displayValue": null, "value": "Rosa Lind"},
    "Owner": {"displayValue": "Sue Agent", "value": {"apiName": "User", "fields": {"Name": {"displayValue": null, "value": "Sue Agent"}}, "id": "005Dn00000UsEr1IAF"}},
    "Phone": {"displayValue": "(030) 1234-5678", "value": "03012345678"},
    "ReportsTo": {"displayValue": "Omar Reyes", "value": {"apiName": "Contact", "childRelationships": {}, "fields": {
        "Email": {"displayValue": null, "value": "omar.reyes@example.org"}, "Name": {"displayValue": null, "value": "Omar Reyes"},
        "Phone": {"displayValue": null, "value": "030999"}}, "id": "003Dn00000QpTx2IAF", "recordTypeInfo": null}},
    "TaxNumber__c": {"displayValue": null, "value": "DE811907980"}
  }, "id": "003Dn00000QpTx1IAF", "lastModifiedById": "005Dn00000UsEr1IAF", "lastModifiedDate": "2026-05-04T08:00:00.000Z", "recordTypeInfo": null,
  "systemModstamp": "2026-05-04T08:00:00.000Z", "weakEtag": 1777881600000
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_fields_with_values_is_cut_value_by_value_and_so_is_who_stands_in_it() {
    let world = crm().await;
    let record = |embedded: &str, score: &str| {
        format!(
            concat!(
                r#"{{"apiName":"Contact","fields":{{"Account":{{"value":{{"fields":{{"Name":{{"value":"Brewery"}}}}}}}},"#,
                r#""Birthdate":{{"displayValue":"4/12/1981","value":"1981-04-12"}},"Email":{{"value":"rosa.lind@example.net"}},"LeadScore__c":{{"value":{}}},"#,
                r#""MailingPostalCode":{{"value":"89073"}},"Name":{{"value":"Rosa Lind"}},"Phone":{{"displayValue":"(030) 1234-5678","value":"03012345678"}},"#,
                r#"{}"TaxNumber__c":{{"value":"DE811907980"}}}},"id":"003Dn00000QpTx1IAF","lastModifiedDate":"2026-05-04T08:00:00.000Z"}}"#
            ),
            score, embedded
        )
    };
    let omar = concat!(
        r#""ReportsTo":{"value":{"fields":{"Email":{"value":"omar.reyes@example.org"},"Name":{"value":"Omar Reyes"}},"#,
        r#""id":"003Dn00000QpTx2IAF"}},"#
    );
    let ask = async |id: &str, app: &str, purpose: &str| {
        world.upstream.json(&format!("GET /ui-api/records/{id}"), ROSA);
        world.client(app).get(&format!("/leads/ui-api/records/{id}")).purpose(purpose).await
    };
    for id in ["003Dn00000QpTx1", "003Dn00000QpTx1IAF", "003Dn00000QpTx1iaf"] {
        ask(id, "helpdesk", SUPPORT).await.released(200, &record("", "null"));
        ask(id, "crm", OUTREACH).await.released(200, &record(omar, "null"));
        let refused = ask(id, "campaign-manager", EMAIL).await;
        refused.refused(403, "denied");
    }
    world.upstream.take();
    // Letters in another case are somebody else, and check letters that do not fit are nobody.
    ask("003dn00000qptX1", "helpdesk", SUPPORT).await.refused(403, "denied");
    for id in ["003Dn00000QpTx1IAG", "003Dn00000QpTx1IA", "003Dn00000QpTx1IAFA", "003Dn00000QpTx1'"] {
        ask(id, "helpdesk", SUPPORT).await.refused(400, "ambiguous-request");
    }
    assert!(world.upstream.asked().is_empty());
    // Asked for one, the other is answered.
    world.upstream.json("GET /ui-api/records/003Dn00000QpTx3", ROSA);
    world.client("helpdesk").get("/leads/ui-api/records/003Dn00000QpTx3").purpose(SUPPORT).await.refused(502, "upstream-unreadable");

    // Omar withdraws: he goes from Rosa's record, too.
    world.consent("lead:003Dn00000QpTx2", OUTREACH, "withdrawn").await;
    ask("003Dn00000QpTx1", "crm", OUTREACH).await.released(200, &record("", "null"));

    // Fields by the names that the API has for them.
    let sent = "GET /ui-api/records/003Dn00000QpTx1?fields=Contact.Name,Contact.Id";
    world.upstream.json(sent, r#"{"apiName":"Contact","fields":{"Name":{"displayValue":null,"value":"Rosa Lind"}},"id":"003Dn00000QpTx1IAF"}"#);
    let named = world.client("crm").get("/leads/ui-api/records/003Dn00000QpTx1?fields=Contact.Name").purpose(OUTREACH).await;
    named.released(200, r#"{"apiName":"Contact","fields":{"Name":{"value":"Rosa Lind"}}}"#);
    for fields in ["Contact.Owner.Name", "Name", "Contact.name"] {
        let answer = world.client("crm").get(&format!("/leads/ui-api/records/003Dn00000QpTx1?fields={fields}")).purpose(OUTREACH).await;
        answer.refused(400, "parameter-not-declared");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_is_recognised_by_masked_forms_where_a_policy_says_so() {
    let world = crm().await;
    let of_omar = ROSA.replace("003Dn00000QpTx1IAF", "003Dn00000QpTx2IAF");
    world.upstream.json("GET /ui-api/records/003Dn00000QpTx2", &of_omar);
    let ask = async || world.client("crm").get("/leads/ui-api/records/003Dn00000QpTx2").purpose("service-provision").await;
    ask().await.refused(403, "denied");
    world
        .add_policy(
            "@id(\"test-reduced\")\n@description(\"Sales recognises a lead by masked forms.\")\n\
             permit (principal in Department::\"sales\", action == Action::\"read-reduced\", resource in CategoryGroup::\"contractual\")\n\
             when { context.purpose == Purpose::\"service-provision\" };",
        )
        .await;
    let masked = concat!(
        r#"{"apiName":"Contact","fields":{"Birthdate":{"value":"1981"},"LeadScore__c":{"value":null},"MailingPostalCode":{"value":"89***"},"#,
        r#""TaxNumber__c":{"value":"****7980"}},"id":"003Dn00000QpTx2IAF","lastModifiedDate":"2026-05-04T08:00:00.000Z"}"#
    );
    ask().await.released(200, masked);
    // What has no masked form is left out, and with it what it would have released.
    let bare = r#"{"apiName":"Contact","fields":{"Birthdate":{"value":"12 April"},"TaxNumber__c":{"value":"1-2-3"}},"id":"003Dn00000QpTx2IAF"}"#;
    world.upstream.json("GET /ui-api/records/003Dn00000QpTx2", bare);
    ask().await.refused(403, "denied");
    world.finish().await;
}

/// A contact as a query answers it, linked to the contact `linked`.
fn row(id: &str, linked: &str, name: &str, mail: &str, subject: &str) -> String {
    format!(
        concat!(
            r#"{{"attributes":{{"type":"Contact","url":"/v7/data/v62.0/sobjects/Contact/{}"}},"Id":"{}","Name":"{}","Email":"{}","Birthdate":null,"#,
            r#""Account":{{"attributes":{{"type":"Account","url":"/v7/data/v62.0/sobjects/Account/001Dn00000AcMe1IAF"}},"Name":"Brewery"}},"#,
            r#""Tasks":{{"totalSize":1,"done":true,"records":[{{"attributes":{{"type":"Task"}},"Subject":"{}","WhoId":"{}"}}]}}}}"#
        ),
        linked, id, name, mail, subject, id
    )
}

const ROSA_FOR_SALES: &str = concat!(
    r#"{"attributes":{"type":"Contact","url":"/leads/data/v62.0/sobjects/Contact/003Dn00000QpTx1IAF"},"Id":"003Dn00000QpTx1IAF","Name":"Rosa Lind","#,
    r#""Email":"rosa.lind@example.net","Birthdate":null,"Account":{"Name":"Brewery"},"Tasks":{"records":[{"Subject":"Send offer"}]}}"#
);
const OMAR_FOR_SALES: &str = concat!(
    r#"{"attributes":{"type":"Contact","url":"/leads/data/v62.0/sobjects/Contact/003Dn00000QpTx2"},"Id":"003Dn00000QpTx2IAF","Name":"Omar Reyes","#,
    r#""Email":"omar.reyes@example.org","Birthdate":null,"Account":{"Name":"Brewery"},"Tasks":{"records":[{"Subject":"Call"}]}}"#
);

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_query_is_counted_and_linked_anew() {
    let world = crm().await;
    let rosa = row("003Dn00000QpTx1IAF", "003Dn00000QpTx1IAF", "Rosa Lind", "rosa.lind@example.net", "Send offer");
    let omar = row("003Dn00000QpTx2IAF", "003Dn00000QpTx2", "Omar Reyes", "omar.reyes@example.org", "Call");
    let ina = row("003Dn00000QpTx3IAF", "003Dn00000QpTx3IAF", "Ina Berg", "ina.berg@example.com", "Win back");
    let stranger = row("003Dn00000QpTx9IAF", "003Dn00000QpTx9IAF", "S", "s@example.com", "?");
    let plan = |size: u32, rest: &str, rows: &[&str]| {
        let records = rows.join(",");
        world.upstream.json(&format!("GET {QUERY}"), &format!(r#"{{"totalSize":{size},{rest},"records":[{records}]}}"#));
    };
    let ask = async |app: &str, purpose: &str| -> Answer { world.client(app).get(&format!("/leads{QUERY}")).purpose(purpose).await };
    let ours = |size: u32, rows: &[&str]| format!(r#"{{"totalSize":{size},"done":true,"records":[{}]}}"#, rows.join(","));
    plan(4, r#""done":true"#, &[&rosa, &ina, &stranger, &omar]);
    ask("crm", OUTREACH).await.released(200, &ours(2, &[ROSA_FOR_SALES, OMAR_FOR_SALES]));
    // The help desk has a contract with Rosa and Ina, and no business with what sales plans.
    let tasks = r#","Tasks":{"records":[{"Subject":"Send offer"}]}"#;
    let rosa_for_support = ROSA_FOR_SALES.replace(tasks, "");
    let ina_for_support = concat!(
        r#"{"attributes":{"type":"Contact","url":"/leads/data/v62.0/sobjects/Contact/003Dn00000QpTx3IAF"},"Id":"003Dn00000QpTx3IAF","Name":"Ina Berg","#,
        r#""Email":"ina.berg@example.com","Birthdate":null,"Account":{"Name":"Brewery"}}"#
    );
    ask("helpdesk", SUPPORT).await.released(200, &ours(2, &[&rosa_for_support, ina_for_support]));
    let omar_for_marketing = OMAR_FOR_SALES.replace(r#","Tasks":{"records":[{"Subject":"Call"}]}"#, "");
    let marketing = ask("campaign-manager", EMAIL).await;
    marketing.released(200, &ours(1, &[&omar_for_marketing]));
    assert_eq!((1, 3), (world.found(&marketing).rows, world.found(&marketing).dropped));

    // A page: how many there are is not told, and the next one is asked for through the gateway.
    let next = r#""done":false,"nextRecordsUrl":"/v7/data/v62.0/query/01gDn0000001cde-2000""#;
    plan(5124, next, &[&rosa, &ina]);
    let page = format!(r#"{{"done":false,"nextRecordsUrl":"/leads/data/v62.0/query/01gDn0000001cde-2000","records":[{ROSA_FOR_SALES}]}}"#);
    ask("crm", OUTREACH).await.released(200, &page);
    world.upstream.json("GET /data/v62.0/query/01gDn0000001cde-2000", &format!(r#"{{"totalSize":5124,"done":true,"records":[{omar}]}}"#));
    let last = world.client("crm").get("/leads/data/v62.0/query/01gDn0000001cde-2000").purpose(OUTREACH).await;
    last.released(200, &format!(r#"{{"done":true,"records":[{OMAR_FOR_SALES}]}}"#));

    // A link that leads to somebody else, or elsewhere, is none; nor is anybody a row without an id that fits.
    let to_ina = rosa.replacen("Contact/003Dn00000QpTx1IAF", "Contact/003Dn00000QpTx3IAF", 1);
    let to_account = rosa.replacen("Contact/003Dn00000QpTx1IAF", "Account/001Dn00000AcMe1IAF", 1);
    let bare = ROSA_FOR_SALES.replace(r#","url":"/leads/data/v62.0/sobjects/Contact/003Dn00000QpTx1IAF""#, "");
    let miswritten = rosa.replace(r#""Id":"003Dn00000QpTx1IAF""#, r#""Id":"003Dn00000QpTx1IAG""#);
    let nameless = rosa.replace(r#""Id":"003Dn00000QpTx1IAF","#, "");
    plan(4, r#""done":true"#, &[&to_ina, &miswritten, &nameless, &to_account]);
    ask("crm", OUTREACH).await.released(200, &ours(2, &[&bare, &bare]));
    // Another query than the declared one is none.
    let other = world.client("crm").get("/leads/data/v62.0/query?q=SELECT%20Id%20FROM%20Contact").purpose(OUTREACH).await;
    other.refused(400, "parameter-not-declared");

    // One by itself.
    world.upstream.json("GET /data/v62.0/sobjects/Contact/003Dn00000QpTx1", &rosa);
    let single = async || world.client("crm").get("/leads/data/v62.0/sobjects/Contact/003Dn00000QpTx1").purpose(OUTREACH).await;
    single().await.released(200, ROSA_FOR_SALES);
    world.consent("lead:003Dn00000QpTx1IAF", OUTREACH, "withdrawn").await;
    single().await.refused(403, "denied");
    plan(4, r#""done":true"#, &[&rosa, &ina, &stranger, &omar]);
    ask("crm", OUTREACH).await.released(200, &ours(1, &[OMAR_FOR_SALES]));
    world.finish().await;
}
