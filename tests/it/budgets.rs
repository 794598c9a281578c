//! Budgets: so many requests, rows and different customers in a time, whatever they are asked by; and no client may have everything
//! under way at once.

use std::sync::Arc;
use std::time::Duration;

use consentry::clock::{ManualClock, SystemClock};
use http::Method;

use crate::harness::people::{ada, ada_for_outreach, card, card_whole, mina, mina_for_outreach, pavel, pavel_for_outreach};
use crate::harness::{Answer, Builder, Gate, Plan, World, gateway};
use crate::parts::{LIST, MANY, OUTREACH, ready, rows, said, sum, told};

const SUPPORT: &str = "service-provision.support";

fn with(budgets: &'static str) -> Builder {
    gateway().prepared(move |root| crate::harness::replace(root, "[ids]\n", &format!("{budgets}\n[ids]\n")))
}

/// Of Ada, Mina and Pavel, who have all agreed.
async fn three(builder: Builder) -> World {
    let world = builder.start().await;
    for (id, body) in [("0031", ada()), ("0044", mina()), ("0058", pavel())] {
        world.upstream.json(&format!("GET /customers/{id}"), &body);
        world.upstream.json(&format!("GET /cards/{id}"), &card(id, "a@example.net"));
        world.consent(&format!("crm:{id}"), OUTREACH, "given").await;
    }
    world
}

#[track_caller]
fn over(answer: &Answer, budget: &str, longest: u64) {
    answer.refused(429, "over-budget");
    assert_eq!(Some(budget), answer.json()["budget"].as_str(), "{answer:?}");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=longest).contains(&wait), "{answer:?}");
    // Which budget, and nothing of how much of it went where.
    assert!(!answer.text().contains("crm:") && answer.json().get("customers").is_none(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_whatever_they_ask_for() {
    let world = three(with("[budget.hourly]\nfor = { client = \"crm\" }\nrequests = \"6/1h\"\n")).await;
    world.upstream.json("PATCH /customers/0031", &ada());
    world.upstream.json("GET /customers", &format!("{{\"customers\":[{}]}}", ada()));
    let (crm, h2) = (world.client("crm"), world.client("crm").http2());
    crm.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    h2.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    // Also what is then refused, and what tells nothing but a length.
    crm.get("/crm/customers/9999").purpose(OUTREACH).await.refused(403, "denied");
    assert_eq!(200, crm.ask(Method::HEAD, "/crm/customers/0031").purpose(OUTREACH).await.status.as_u16());
    crm.patch("/crm/customers/0031", r#"{"email":"b@example.net"}"#).purpose(OUTREACH).await.released(200, &ada_for_outreach());
    assert_eq!(200, crm.get(LIST).purpose(OUTREACH).await.status.as_u16());
    world.upstream.take();
    for client in [&crm, &h2] {
        over(&client.get("/crm/customers/0031").purpose(OUTREACH).await, "hourly", 3_660);
        over(&client.patch("/crm/customers/0031", r#"{"email":"b@example.net"}"#).purpose(OUTREACH).await, "hourly", 3_660);
        over(&client.get(LIST).purpose(OUTREACH).await, "hourly", 3_660);
    }
    assert!(world.upstream.asked().is_empty(), "nothing is sent of what is over budget");
    // A reload keeps what was counted; the others have what they had.
    world.running().reload().await.unwrap();
    let refused = crm.get("/crm/customers/0031").purpose(OUTREACH).await;
    over(&refused, "hourly", 3_660);
    assert_eq!(("deny", Some("over-budget")), (world.found(&refused).outcome.as_str(), world.found(&refused).code.as_deref()));
    world.client("helpdesk").get("/crm/cards/0031").purpose(SUPPORT).await.released(200, &card_whole("0031", "a@example.net"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn different_customers_are_counted_over_reads_writes_and_restarts() {
    let clock = ManualClock::at(SystemClock::shared().now());
    let builder = with("[budget.people]\nfor = { client = \"crm\" }\ncustomers = \"2/24h\"\n").clock(Arc::clone(&clock) as Arc<_>);
    let mut world = three(builder).await;
    let both = format!("{{\"customers\":[{},{}]}}", ada(), mina());
    world.upstream.json("GET /customers", &both);
    world.upstream.json("PATCH /customers/0058", &pavel());
    let ask = async |world: &World, id: &str| world.client("crm").get(&format!("/crm/customers/{id}")).purpose(OUTREACH).await;
    ask(&world, "0031").await.released(200, &ada_for_outreach());
    world.client("crm").patch("/crm/customers/0058", r#"{"email":"b@example.net"}"#).purpose(OUTREACH).await.released(200, &pavel_for_outreach());
    // Who counts already costs nothing; who does not is one too many, also in a list of both, also when nothing is read.
    ask(&world, "0031").await.released(200, &ada_for_outreach());
    over(&ask(&world, "0044").await, "people", 24 * 3_660);
    over(&world.client("crm").get(LIST).purpose(OUTREACH).await, "people", 24 * 3_660);
    world.upstream.take();
    over(&world.client("crm").patch("/crm/customers/0044", r#"{"email":"b@example.net"}"#).purpose(OUTREACH).await, "people", 24 * 3_660);
    assert!(world.upstream.asked().is_empty(), "a write over budget is not sent");
    world.client("crm").get("/crm/customers/9999").purpose(OUTREACH).await.refused(403, "denied");
    for _ in 0..2 {
        // What was released before the start stands in the log.
        world = world.restarted().await;
        over(&ask(&world, "0044").await, "people", 24 * 3_660);
        ask(&world, "0031").await.released(200, &ada_for_outreach());
        ask(&world, "0058").await.released(200, &pavel_for_outreach());
    }
    world.pass(&clock, Duration::from_secs(25 * 3_600)).await;
    ask(&world, "0044").await.released(200, &mina_for_outreach());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_lists_and_objects_are_counted_before_they_go_out() {
    let world = three(with("[budget.rows]\nfor = { api = \"crm\", department = \"sales\" }\nrows = \"5/1h\"\n")).await;
    world.upstream.json("GET /customers", &format!("{{\"customers\":[{},{}]}}", ada(), pavel()));
    let crm = world.client("crm");
    for _ in 0..2 {
        assert_eq!(200, crm.get(LIST).purpose(OUTREACH).await.status.as_u16());
    }
    // Two more would be one too many; one is not.
    let refused = crm.get(LIST).purpose(OUTREACH).await;
    over(&refused, "rows", 3_660);
    assert_eq!(0, world.found(&refused).rows);
    crm.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    over(&crm.get("/crm/customers/0031").purpose(OUTREACH).await, "rows", 3_660);
    // A write is done; what it would be answered with is kept back.
    world.upstream.json("PATCH /customers/0031", &ada());
    world.upstream.take();
    let written = crm.patch("/crm/customers/0031", r#"{"email":"b@example.net"}"#).purpose(OUTREACH).await;
    assert_eq!((200, ""), (written.status.as_u16(), written.text()));
    assert_eq!(["PATCH /customers/0031"], world.upstream.asked()[..]);
    let world = world.restarted().await;
    over(&world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await, "rows", 3_660);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_breaks_off_where_the_budget_ends() {
    let world = ready(with("[budget.rows]\nfor = { client = \"crm\" }\nrows = \"8000/1h\"\n")).await;
    world.upstream.on("GET /customers", said(format!("{{\"customers\":[{}]}}", rows(0..MANY)), false));
    for h2 in [false, true] {
        let crm = world.client("crm");
        let crm = if h2 { crm.http2() } else { crm };
        let answer = crm.get(LIST).purpose(OUTREACH).attempt().await;
        if h2 {
            // Of what is left not even the first part fits.
            over(&answer.unwrap(), "rows", 3_660);
            continue;
        }
        assert!(answer.is_err(), "{answer:?}");
        let (parts, end) = told(&world).await;
        assert_eq!(Some(false), end["complete"].as_bool(), "{end}");
        assert!((1..=8_000).contains(&sum(&parts, "rows")), "{}", sum(&parts, "rows"));
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_budget_that_is_meant_has_to_have_room() {
    let budgets = "[budget.everybody]\nfor = { each = \"client\" }\nrequests = \"6/1h\"\n[budget.selling]\nfor = { purpose = \"sales\" }\nrequests = \"4/1h\"\n";
    let world = three(with(budgets)).await;
    let (crm, helpdesk) = (world.client("crm"), world.client("helpdesk"));
    for _ in 0..4 {
        crm.get("/crm/customers/0031").purpose(OUTREACH).await.released(200, &ada_for_outreach());
    }
    for _ in 0..4 {
        over(&crm.get("/crm/customers/0031").purpose(OUTREACH).await, "selling", 3_660);
    }
    for _ in 0..6 {
        helpdesk.get("/crm/cards/0031").purpose(SUPPORT).await.released(200, &card_whole("0031", "a@example.net"));
    }
    over(&helpdesk.get("/crm/cards/0031").purpose(SUPPORT).await, "everybody", 3_660);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_at_the_same_time_is_counted_one_by_one() {
    let world = three(with("[budget.few]\nfor = { client = \"crm\" }\nrequests = \"30/1h\"\ncustomers = \"2/1h\"\n")).await;
    let world = Arc::new(world);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..45 {
        let world = Arc::clone(&world);
        let id = ["0031", "0044", "0058"][n % 3];
        tasks.spawn(async move { (id, world.client("crm").http2().get(&format!("/crm/customers/{id}")).purpose(OUTREACH).await) });
    }
    let (mut answered, mut refused, mut people) = (0, 0, std::collections::BTreeSet::new());
    while let Some(done) = tasks.join_next().await {
        let (id, answer) = done.unwrap();
        if answer.status == 200 {
            answered += 1;
            people.insert(id);
        } else {
            over(&answer, "few", 3_660);
            refused += 1;
        }
    }
    assert_eq!((45, 2), (answered + refused, people.len()));
    assert!((2..=30).contains(&answered), "{answered}");
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_requests_under_way_and_leaves_room_for_others() {
    let certificate = "certificate = \"spiffe://example.com/app/crm\", ";
    let limited = "certificate = \"spiffe://example.com/app/crm\", limits = { requests_in_flight = 2 }, ";
    let world = three(gateway().with(certificate, limited)).await;
    let (gate, crm) = (Gate::closed(), world.client("crm").http2());
    world.upstream.on("GET /customers/0031", Plan::json(&ada()).behind(&gate));
    let ask = || async { crm.get("/crm/customers/0031").purpose(OUTREACH).await };
    let third = async {
        gate.arrived().await;
        gate.arrived().await;
        let answer = crm.get("/crm/customers/0058").purpose(OUTREACH).await;
        answer.refused(429, "over-budget");
        assert_eq!(Some("1"), answer.header("retry-after"));
        assert!(answer.json()["remedy"].as_str().unwrap().contains("2 requests under way"), "{answer:?}");
        world.client("helpdesk").get("/crm/cards/0031").purpose(SUPPORT).await.released(200, &card_whole("0031", "a@example.net"));
        gate.release();
        gate.release();
    };
    let (one, two, ()) = tokio::join!(ask(), ask(), third);
    one.released(200, &ada_for_outreach());
    two.released(200, &ada_for_outreach());
    // Until the answers are out, and no longer; also of what was refused.
    for id in ["9999", "9999", "9999", "0058", "0058", "0058"] {
        let answer = crm.get(&format!("/crm/customers/{id}")).purpose(OUTREACH).await;
        assert_eq!(if id == "9999" { 403 } else { 200 }, answer.status.as_u16());
    }
    world.finish().await;
}
