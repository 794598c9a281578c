//! A withdrawal that was acknowledged binds every later release: on connections that are open, and in requests that are
//! under way at that moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use consentry::clock::{Clock, SystemClock};
use jiff::Timestamp;
use serde_json::json;

use crate::harness::people::{ada, ada_for_outreach, card, card_whole, pavel, pavel_for_outreach};
use crate::harness::{Gate, Plan, World, entries, gateway, soon};
use crate::parts::{LIST, MANY, OUTREACH, rows, said};

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_is_obeyed_on_connections_that_are_open() {
    let world = gateway().start().await;
    world.upstream.json("GET /customers/0031", &ada());
    let one = world.client("crm");
    let two = world.client("crm").http2();
    for round in 0..3 {
        world.consent("crm:0031", OUTREACH, "given").await;
        for client in [&one, &two] {
            let permitted = client.get("/crm/customers/0031").purpose(OUTREACH).await;
            permitted.released(200, &ada_for_outreach());
        }
        world.consent("crm:0031", OUTREACH, "withdrawn").await;
        world.upstream.take();
        for client in [&one, &two] {
            client.get("/crm/customers/0031").purpose(OUTREACH).await.refused(403, "denied");
            assert_eq!(1, client.opened(), "round {round}: the connection stayed open");
        }
        assert!(world.upstream.asked().is_empty());
    }
    world.finish().await;
}

/// What happens while a permitted request waits for a slow API.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Nothing,
    Withdrawn,
    OtherCustomerWithdrawn,
    Objection,
    WithdrawnAndGivenAgain,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_obeys_what_is_said_meanwhile() {
    let cases = [
        (Meanwhile::Nothing, 200),
        (Meanwhile::Withdrawn, 403),
        (Meanwhile::OtherCustomerWithdrawn, 200),
        (Meanwhile::Objection, 403),
        (Meanwhile::WithdrawnAndGivenAgain, 200),
    ];
    let world = Arc::new(gateway().start().await);
    for http2 in [false, true] {
        for (n, (meanwhile, status)) in cases.into_iter().enumerate() {
            // Each case has a customer of its own: an objection is not taken back so easily.
            let id = format!("{}", 1000 + n + if http2 { 10 } else { 0 });
            world
                .desk(
                    http::Method::POST,
                    "/v1/parties",
                    json!({ "identifiers": [format!("crm:{id}")], "kind": "person", "stage": "customer", "segment": "standard", "age": "adult" }),
                )
                .await;
            let party = format!("crm:{id}");
            world.consent(&party, OUTREACH, "given").await;
            world.consent("crm:0044", OUTREACH, "given").await;
            let gate = Gate::closed();
            let body = ada().replace("0031", &id);
            world.upstream.on(&format!("GET /customers/{id}"), Plan::json(&body).behind(&gate));
            let asking = {
                let (world, id) = (Arc::clone(&world), id.clone());
                tokio::spawn(async move {
                    let client = world.client("crm");
                    let client = if http2 { client.http2() } else { client };
                    client.get(&format!("/crm/customers/{id}")).purpose(OUTREACH).await
                })
            };
            gate.arrived().await;
            match meanwhile {
                Meanwhile::Nothing => {}
                Meanwhile::Withdrawn => world.consent(&party, OUTREACH, "withdrawn").await,
                Meanwhile::OtherCustomerWithdrawn => world.consent("crm:0044", OUTREACH, "withdrawn").await,
                Meanwhile::Objection => {
                    let restriction = json!({ "party": party, "evidence": [{ "kind": "letter", "reference": "l" }] });
                    world.desk(http::Method::POST, "/v1/restrictions", restriction).await;
                }
                Meanwhile::WithdrawnAndGivenAgain => {
                    world.consent(&party, OUTREACH, "withdrawn").await;
                    world.consent(&party, OUTREACH, "given").await;
                }
            }
            gate.release();
            let answer = asking.await.unwrap();
            assert_eq!(status, answer.status.as_u16(), "{meanwhile:?} http2={http2} {answer:?}");
            if status == 200 {
                answer.released(200, &ada_for_outreach().replace("0031", &id));
            } else {
                answer.refused(403, "denied");
                assert!(!answer.text().contains("Brandt"));
            }
        }
    }
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_dropped_when_its_customer_withdraws_while_the_list_is_fetched() {
    let world = Arc::new(gateway().start().await);
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0058", OUTREACH, "given").await;
    let gate = Gate::closed();
    let list = format!(r#"{{"customers":[{},{}],"total":2}}"#, ada(), pavel());
    world.upstream.on("GET /customers", Plan::json(&list).behind(&gate));
    let asking = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.client("crm").get("/crm/customers").purpose(OUTREACH).await })
    };
    gate.arrived().await;
    world.consent("crm:0031", OUTREACH, "withdrawn").await;
    gate.release();
    asking.await.unwrap().released(200, &format!(r#"{{"customers":[{}],"total":1}}"#, pavel_for_outreach()));
    Arc::into_inner(world).unwrap().finish().await;
}

/// A clock under which the log's writer stands still while the test holds it: the disk does not answer.
#[derive(Debug)]
struct Disk {
    clock: Arc<dyn Clock>,
    is_held: AtomicBool,
    waits: AtomicBool,
}

impl Clock for Disk {
    fn now(&self) -> Timestamp {
        while thread::current().name() == Some("audit-writer") && self.is_held.load(Ordering::SeqCst) {
            self.waits.store(true, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(5));
        }
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

impl Disk {
    fn hold(&self) {
        self.waits.store(false, Ordering::SeqCst);
        self.is_held.store(true, Ordering::SeqCst);
    }

    /// Once something waits to be recorded, Ada withdraws, and the disk answers again.
    async fn goes_on_when_ada_has_withdrawn(&self, world: &Arc<World>) {
        until("an entry at the disk", || self.waits.load(Ordering::SeqCst)).await;
        let ledger = &world.running().shared().ledger;
        let before = ledger.revision();
        let withdrawing = {
            let world = Arc::clone(world);
            tokio::spawn(async move { world.consent("crm:0031", OUTREACH, "withdrawn").await })
        };
        until("the withdrawal", || ledger.revision() > before).await;
        self.is_held.store(false, Ordering::SeqCst);
        withdrawing.await.unwrap();
    }
}

/// Ada and Pavel have agreed.
async fn on_a_disk() -> (Arc<Disk>, Arc<World>) {
    let disk = Arc::new(Disk { clock: SystemClock::shared(), is_held: AtomicBool::new(false), waits: AtomicBool::new(false) });
    let world = Arc::new(gateway().clock(Arc::clone(&disk) as Arc<dyn Clock>).start().await);
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0058", OUTREACH, "given").await;
    (disk, world)
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(what, look).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_waits_for_its_record_does_not_go_out_once_somebody_in_it_withdraws() {
    let short = format!("{{\"customers\":[{}]}}", rows(0..6));
    let long = format!("{{\"customers\":[{}]}}", rows(0..MANY));
    for (what, list, count) in [("in one part", short, 6), ("in several", long, MANY)] {
        let (disk, world) = on_a_disk().await;
        let gate = Gate::closed();
        world.upstream.on("GET /customers", said(list, false).behind(&gate));
        let asking = {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.client("crm").get(LIST).purpose(OUTREACH).await })
        };
        gate.arrived().await;
        until("the head in the log", || entries(&world.log_dir()).iter().any(|entry| entry.kind() == "intent")).await;
        disk.hold();
        gate.release();
        disk.goes_on_when_ada_has_withdrawn(&world).await;
        let answer = asking.await.unwrap();
        let expected = format!("{{\"customers\":[{}]}}", rows((0..count).filter(|n| n % 3 == 2)));
        assert!(answer.text() == expected, "{what}: {} of {} bytes", answer.body.len(), expected.len());
        Arc::into_inner(world).unwrap().finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_waits_for_its_record_is_not_sent_once_its_customer_withdraws() {
    let (disk, world) = on_a_disk().await;
    world.upstream.json("PATCH /customers/0031", &ada());
    disk.hold();
    let writing = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.client("crm").patch("/crm/customers/0031", r#"{"email":"x@example.net"}"#).purpose(OUTREACH).await })
    };
    disk.goes_on_when_ada_has_withdrawn(&world).await;
    writing.await.unwrap().refused(403, "denied");
    assert!(world.upstream.asked().is_empty());
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_write_answers_stays_back_when_its_customer_withdraws_before_it_is_recorded() {
    let (disk, world) = on_a_disk().await;
    let gate = Gate::closed();
    world.upstream.on("PATCH /customers/0031", Plan::json(&ada()).behind(&gate));
    let writing = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.client("crm").patch("/crm/customers/0031", r#"{"email":"x@example.net"}"#).purpose(OUTREACH).await })
    };
    gate.arrived().await;
    disk.hold();
    gate.release();
    disk.goes_on_when_ada_has_withdrawn(&world).await;
    writing.await.unwrap().released(200, "");
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_loaded_while_a_request_waits_decides_it() {
    let forbid = r#"
@id("test-no-outreach")
@description("Outreach has ended.")
forbid (principal, action, resource)
when { context.purpose in Purpose::"sales" };
"#;
    let world = Arc::new(gateway().start().await);
    world.consent("crm:0031", OUTREACH, "given").await;
    let ask = |app: &'static str, target: &'static str, purpose: &'static str| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.client(app).get(target).purpose(purpose).await })
    };
    let (first, second) = (Gate::closed(), Gate::closed());
    world.upstream.on("GET /customers/0031", Plan::json(&ada()).behind(&first));
    world.upstream.on("GET /cards/0031", Plan::json(&card("0031", "a@example.net")).behind(&second));
    let ended = ask("crm", "/crm/customers/0031", OUTREACH);
    let untouched = ask("helpdesk", "/crm/cards/0031", "service-provision.support");
    first.arrived().await;
    second.arrived().await;
    world.add_policy(forbid).await;
    assert_eq!(2, world.running().shared().generation());
    first.release();
    second.release();
    ended.await.unwrap().refused(403, "denied");
    untouched.await.unwrap().released(200, &card_whole("0031", "a@example.net"));
    // From now on no consent helps, so that the refusal may say why.
    world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await.refused(403, "not-entitled");
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_write_is_held_back_when_the_right_to_read_it_has_gone() {
    let world = Arc::new(gateway().start().await);
    world.consent("crm:0031", OUTREACH, "given").await;
    let gate = Gate::closed();
    world.upstream.on("PATCH /customers/0031", Plan::json(&ada()).behind(&gate));
    let asking = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.client("crm").patch("/crm/customers/0031", r#"{"email":"x@example.net"}"#).purpose(OUTREACH).await })
    };
    gate.arrived().await;
    world.consent("crm:0031", OUTREACH, "withdrawn").await;
    gate.release();
    // The write is done; nothing of the record is shown.
    asking.await.unwrap().released(200, "");
    Arc::into_inner(world).unwrap().finish().await;
}
