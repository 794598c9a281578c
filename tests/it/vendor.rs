//! A vendor's own samples through real routes: Shopify's orders, in which the customer is embedded. What each department
//! sees of them was written by hand.

use std::path::Path;

use http::Method;
use serde_json::json;

use crate::harness::{World, gateway};

/// The vendor's sample, or `None` where the shared fixtures are not there.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn sample(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/shopify").join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        eprintln!("skipped: there is no `{}`", path.display());
    }
    text
}

/// Bob agreed to mailings and to outreach; the other customer of the shop refused both, and has a contract like him.
async fn shop() -> World {
    let world = gateway()
        .apis(include_str!("vendor.toml"))
        .parties("shop:207119551,person,customer,standard,adult\nshop:207119552,person,customer,standard,adult\n")
        .start()
        .await;
    for purpose in ["marketing.email", "sales.outreach"] {
        world.consent("shop:207119551", purpose, "given").await;
        world.consent("shop:207119552", purpose, "refused").await;
    }
    world
}

/// (app, purpose, what it sees of Bob's order in the list, paths of the shape withheld).
const LISTED: [(&str, &str, &str, u64); 3] = [
    (
        "campaign-manager",
        "marketing.email",
        concat!(
            r##"{"id":450789469,"email":"bob.norman@hostmail.com","created_at":"2008-01-10T11:00:00-05:00","note":null,"currency":"USD","##,
            r##""name":"#1001","referring_site":"http://www.otherexample.com","landing_site":"http://www.example.com?source=abc","##,
            r##""phone":"+557734881234","contact_email":"bob.norman@hostmail.com","##,
            r##""shipping_address":{"city":"Louisville","zip":"40202","country":"United States","name":"Bob Norman"},"##,
            r##""customer":{"id":207119551,"email":"bob.norman@hostmail.com","first_name":"Bob","last_name":"Norman","phone":"+16136120707","##,
            r##""default_address":{"city":"Louisville"}}}"##
        ),
        9,
    ),
    (
        "crm",
        "sales.outreach",
        concat!(
            r##"{"id":450789469,"email":"bob.norman@hostmail.com","created_at":"2008-01-10T11:00:00-05:00","note":null,"total_price":"598.94","##,
            r##""total_tax":"11.94","currency":"USD","financial_status":"partially_refunded","name":"#1001","##,
            r##""phone":"+557734881234","contact_email":"bob.norman@hostmail.com","##,
            r##""shipping_address":{"city":"Louisville","zip":"40202","country":"United States","name":"Bob Norman"},"##,
            r##""customer":{"id":207119551,"email":"bob.norman@hostmail.com","first_name":"Bob","last_name":"Norman","orders_count":1,"##,
            r##""total_spent":"199.65","phone":"+16136120707","default_address":{"city":"Louisville"}}}"##
        ),
        4,
    ),
    (
        "helpdesk",
        "service-provision.support",
        concat!(
            r##"{"id":450789469,"email":"bob.norman@hostmail.com","created_at":"2008-01-10T11:00:00-05:00","note":null,"total_price":"598.94","##,
            r##""total_tax":"11.94","currency":"USD","financial_status":"partially_refunded","name":"#1001","##,
            r##""phone":"+557734881234","payment_details":{"credit_card_number":"•••• •••• •••• 4242","credit_card_company":"Visa"},"##,
            r##""contact_email":"bob.norman@hostmail.com","##,
            r##""shipping_address":{"city":"Louisville","zip":"40202","country":"United States","name":"Bob Norman"},"##,
            r##""customer":{"id":207119551,"email":"bob.norman@hostmail.com","first_name":"Bob","last_name":"Norman","orders_count":1,"##,
            r##""total_spent":"199.65","phone":"+16136120707","default_address":{"city":"Louisville"}}}"##
        ),
        2,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_department_sees_its_part_of_a_shops_orders() {
    let Some(orders) = sample("orders.json") else { return };
    let world = shop().await;
    world.upstream.json("GET /orders.json", &orders);
    for (app, purpose, order, withheld) in LISTED {
        let answer = world.client(app).get("/shop/orders.json").purpose(purpose).await;
        answer.released(200, &format!(r#"{{"orders":[{order}]}}"#));
        assert_eq!(Some(withheld), answer.withheld(), "{app}");
    }
    // The same order of the customer who refused stands beside it: only those who need no consent see it.
    let theirs = orders.replace("207119551", "207119552").replace("450789469", "450789470").replace("bob.norman", "eve.norman");
    let inner = |text: &str| text.split_once('[').unwrap().1.rsplit_once(']').unwrap().0.to_owned();
    world.upstream.json("GET /orders.json", &format!(r#"{{"orders":[{},{}]}}"#, inner(&theirs), inner(&orders)));
    for (app, purpose, order, _) in LISTED {
        let eve = order.replace("207119551", "207119552").replace("450789469", "450789470").replace("bob.norman", "eve.norman");
        let rows = if app == "helpdesk" { format!("{eve},{order}") } else { order.to_owned() };
        let answer = world.client(app).get("/shop/orders.json").purpose(purpose).await;
        answer.released(200, &format!(r#"{{"orders":[{rows}]}}"#));
        let found = world.found(&answer);
        assert_eq!(if app == "helpdesk" { (2, 0) } else { (1, 1) }, (found.rows, found.dropped), "{app}");
        assert_eq!(2, found.parties, "{app}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_order_of_a_shop_follows_the_customer_it_embeds() {
    let Some(order) = sample("order.json") else { return };
    let world = shop().await;
    world.upstream.json("GET /orders/450789469", &order);
    let ask = async |app: &str, purpose: &str| world.client(app).get("/shop/orders/450789469").purpose(purpose).await;
    let address = r#""shipping_address":{"city":"Louisville","country":"United States","zip":"40202","name":"Bob Norman"}"#;
    let lines =
        r#""line_items":[{"price":"199.00","sku":"IPOD2008GREEN"},{"price":"199.00","sku":"IPOD2008RED"},{"price":"199.00","sku":"IPOD2008BLACK"}]"#;
    let sales = format!(
        r##"{{"order":{{"created_at":"2008-01-10T11:00:00-05:00","currency":"USD","email":"bob.norman@hostmail.com","financial_status":"authorized","id":450789469,"name":"#1001","note":null,"total_price":"409.94","total_tax":"11.94",{lines},{address},"customer":{{"email":"bob.norman@hostmail.com","first_name":"Bob","id":207119551,"last_name":"Norman","orders_count":0,"total_spent":"0.00","default_address":{{"city":"Louisville"}}}}}}}}"##
    );
    let marketing = format!(
        r##"{{"order":{{"created_at":"2008-01-10T11:00:00-05:00","currency":"USD","email":"bob.norman@hostmail.com","id":450789469,"landing_site":"http://www.example.com?source=abc","name":"#1001","note":null,"referring_site":"http://www.otherexample.com",{address},"customer":{{"email":"bob.norman@hostmail.com","first_name":"Bob","id":207119551,"last_name":"Norman","default_address":{{"city":"Louisville"}}}}}}}}"##
    );
    ask("crm", "sales.outreach").await.released(200, &sales);
    ask("campaign-manager", "marketing.email").await.released(200, &marketing);
    // Sales reads its own orders for the contract, too; addresses and names come by the contract, not by consent.
    ask("crm", "service-provision").await.released(200, &sales);
    world.consent("shop:207119551", "marketing.email", "withdrawn").await;
    ask("campaign-manager", "marketing.email").await.refused(403, "denied");
    ask("crm", "sales.outreach").await.released(200, &sales);
    // A stop reaches everybody.
    world.desk(Method::POST, "/v1/restrictions", json!({ "party": "shop:207119551", "evidence": [{ "kind": "letter", "reference": "l" }] })).await;
    for (app, purpose) in [("crm", "sales.outreach"), ("helpdesk", "service-provision.support"), ("campaign-manager", "marketing.email")] {
        ask(app, purpose).await.refused(403, "denied");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shops_customer_search_finds_only_those_who_may_be_found() {
    let Some(found) = sample("customers_search.json") else { return };
    let world = shop().await;
    let query = "GET /customers/search.json?query=Norman";
    world.upstream.json(query, &found);
    let ask = async |app: &str, purpose: &str| world.client(app).get("/shop/customers/search.json?query=Norman").purpose(purpose).await;
    let bob = r#"{"email":"bob.norman@hostmail.com","first_name":"Bob","id":207119551,"last_name":"Norman","default_address":{"city":"Louisville"}}"#;
    ask("campaign-manager", "marketing.email").await.released(200, &format!(r#"{{"customers":[{bob}]}}"#));
    world.upstream.json(query, &found.replace("207119551", "207119552"));
    ask("campaign-manager", "marketing.email").await.released(200, r#"{"customers":[]}"#);
    world.finish().await;
}
