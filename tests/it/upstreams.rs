//! Upstreams of several targets: who gets which request, what one that fails costs, and that nothing is ever sent twice.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::harness::people::{ada, ada_for_outreach, card, card_whole};
use crate::harness::raw::{RawUpstream, json, response};
use crate::harness::{Answer, Gate, Plan, World, gateway, replace, soon};

const OUTREACH: &str = "sales.outreach";
const READ: &str = "GET /cards/0031";
const WRITE: &str = "PATCH /cards/0031";

/// A gateway with an API whose upstream has these targets.
async fn before(targets: &[SocketAddr], settings: &'static str) -> World {
    let targets: Vec<String> = targets.iter().map(|address| format!("\"http://{address}\"")).collect();
    let text = format!(
        r#"[upstream.several]
targets = [{}]
credentials = {{ header = {{ name = "x-api-key", value = {{ file = "upstream.key" }} }} }}
{settings}
[[api]]
name = "several"
owner = "marketing"
at = "/several"
upstream = "several"
[[api.route]]
match = "GET /cards/{{id}}"
customer = "path:id"
response = {{ shape = "card" }}
[[api.route]]
match = "PATCH /cards/{{id}}"
customer = "path:id"
request = {{ shape = "card" }}
response = "empty"
[ids]
"#,
        targets.join(", ")
    );
    let world = gateway().prepared(move |root| replace(root, "[ids]\n", &text)).start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world
}

async fn well() -> RawUpstream {
    let target = RawUpstream::start().await;
    target.on(READ, json(&[], card("0031", "a@example.net")));
    target.on(WRITE, response("204 No Content", &[], ""));
    target
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn read(world: &World) -> Answer {
    world.client("crm").get("/several/cards/0031").purpose(OUTREACH).await
}

async fn write(world: &World) -> Answer {
    world.client("crm").patch("/several/cards/0031", r#"{"email":"b@example.net"}"#).purpose(OUTREACH).await
}

#[track_caller]
fn whole(answer: &Answer) {
    answer.released(200, &card_whole("0031", "a@example.net"));
}

/// What readiness says of upstreams.
fn troubles(world: &World) -> Vec<String> {
    let checks = world.running().instance().readiness().checks;
    checks.into_iter().filter(|check| check.name == "upstream").filter_map(|check| check.why).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_spread_over_the_targets() {
    let targets = [well().await, well().await, well().await];
    let world = before(&targets.each_ref().map(|target| target.address), "").await;
    for _ in 0..60 {
        whole(&read(&world).await);
    }
    let counts = targets.each_ref().map(|target| target.take().len());
    assert_eq!(60, counts.iter().sum::<usize>());
    assert!(counts.iter().all(|count| *count >= 5), "{counts:?}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_listens_another_target_is_asked_and_the_dead_one_left_out() {
    let (good, dead) = (well().await, nobody().await);
    let world = before(&[dead, good.address], "ejection = { failures = 3, first = \"10m\", longest = \"1h\" }").await;
    for n in 0..40 {
        // A write, too: of it no byte was sent.
        let answer = if n % 4 == 0 { write(&world).await } else { read(&world).await };
        assert!(matches!(answer.status.as_u16(), 200 | 204), "{answer:?}");
    }
    let asked = good.take();
    assert_eq!((40, 10), (asked.len(), asked.iter().filter(|asked| asked.what == WRITE).count()), "each once");
    assert!(troubles(&world)[0].starts_with("1 of 2 targets of upstream `several` are out"), "{:?}", troubles(&world));
    let seen = soon("the metrics", async {
        loop {
            let metrics = world.running().instance().metrics();
            if metrics.contains("consentry_upstream_target_ejected{") {
                return metrics;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let (seen, up) = (seen.await, format!("consentry_upstream_target_up{{upstream=\"several\",target=\"http://{}\"}} 1", good.address));
    let out = format!("consentry_upstream_target_ejected{{upstream=\"several\",target=\"http://{dead}\"}} 1");
    assert!(seen.contains(&up) && seen.contains(&out), "{seen}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_target_away_there_is_one_constant_refusal() {
    let world = before(&[nobody().await, nobody().await], "ejection = { failures = 1, first = \"10m\", longest = \"1h\" }").await;
    for _ in 0..4 {
        let answer = read(&world).await;
        answer.refused(502, "upstream-unavailable");
        assert_eq!(Some("5"), answer.header("retry-after"));
    }
    assert!(troubles(&world)[0].starts_with("2 of 2"), "{:?}", troubles(&world));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_answers_errors_is_left_out_after_a_few() {
    let (good, bad) = (well().await, RawUpstream::start().await);
    bad.on(READ, response("500 Internal Server Error", &[], ""));
    let world = before(&[good.address, bad.address], "ejection = { failures = 3, first = \"10m\", longest = \"1h\" }").await;
    let mut failed = 0;
    for _ in 0..200 {
        let answer = read(&world).await;
        if answer.status != 200 {
            answer.refused(502, "upstream-unavailable");
            failed += 1;
        }
    }
    // Each error was answered as one: it had the request, and is not asked for it again.
    assert_eq!((3, 3, 197), (failed, bad.take().len(), good.take().len()));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_costs_a_few_requests_and_is_asked_again_later() {
    let (good, bad) = (well().await, RawUpstream::start().await);
    bad.on(READ, "");
    bad.on(WRITE, "");
    let settings =
        "timeouts = { connect = \"1s\", first_byte = \"100ms\", total = \"1s\" }\nejection = { failures = 2, first = \"300ms\", longest = \"1s\" }";
    let world = before(&[good.address, bad.address], settings).await;
    // Writes only: one that hangs may have been done.
    let mut late = 0;
    for _ in 0..30 {
        let answer = write(&world).await;
        if answer.status != 204 {
            answer.refused(504, "upstream-timeout");
            late += 1;
        }
        if late == 2 {
            break;
        }
    }
    let (asked, done) = (bad.take().len(), good.take().len());
    assert_eq!((2, 2), (late, asked), "none was sent anywhere else");
    assert!(done < 29);
    whole(&read(&world).await);
    good.take();
    // It is well again, and finds that out by a request.
    bad.on(READ, json(&[], card("0031", "a@example.net")));
    soon("the target that is back", async {
        while bad.take().is_empty() {
            whole(&read(&world).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_sent_is_not_sent_again() {
    let targets = [RawUpstream::start().await, RawUpstream::start().await];
    for target in &targets {
        // Reads the request, and closes the connection without a word.
        target.once(READ, "");
        target.once(WRITE, "");
    }
    let world = before(&targets.each_ref().map(|target| target.address), "ejection = { failures = 1000 }").await;
    for round in 1..=6 {
        read(&world).await.refused(502, "upstream-unreadable");
        write(&world).await.refused(502, "upstream-unreadable");
        let counts = targets.each_ref().map(|target| target.take().len());
        assert_eq!(2, counts.iter().sum::<usize>(), "round {round}: each request once, at one of them: {counts:?}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_accepts_and_closes_loses_requests_and_repeats_none() {
    let (good, listener) = (well().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let bad = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let world = before(&[good.address, bad], "ejection = { failures = 3, first = \"10m\", longest = \"1h\" }").await;
    let (mut done, mut lost) = (0, 0);
    for _ in 0..60 {
        let answer = write(&world).await;
        if answer.status == 204 {
            done += 1;
        } else {
            // Whether it was closed before or after the request went out is a matter of luck.
            assert_eq!(502, answer.status.as_u16(), "{answer:?}");
            lost += 1;
        }
    }
    assert_eq!((60, done), (done + lost, good.take().len()));
    assert!(lost <= 3, "{lost}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_is_closed_loses_nothing_and_repeats_nothing() {
    let target = RawUpstream::start().await;
    // Says that it stays open, and closes.
    target.once(READ, json(&[], card("0031", "a@example.net")));
    let world = before(&[target.address], "").await;
    let mut answered = 0;
    for _ in 0..20 {
        let answer = read(&world).await;
        if answer.status == 200 {
            answered += 1;
        }
        // Time to notice it; whatever is sent into the closing connection never reaches the other end.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let asked = target.take();
    assert_eq!(answered, asked.len(), "each that was received was answered");
    assert!(answered >= 10, "{answered}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_take_a_target_out_and_back_and_carry_nothing() {
    let (one, two) = (well().await, well().await);
    let health = "GET /healthz";
    one.on(health, response("200 OK", &[], "fine"));
    two.on(health, response("200 OK", &[], "fine"));
    let settings = "health = { path = \"/healthz\", every = \"100ms\", timeout = \"500ms\", failures = 2, successes = 2 }";
    let world = before(&[one.address, two.address], settings).await;
    let until = async |is_out: bool| {
        soon("the health checks", async {
            while troubles(&world).is_empty() == is_out {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    for bad in
        [response("503 Service Unavailable", &[], "no"), response("302 Found", &["location: /login"], ""), b"nonsense\r\n\r\n".to_vec(), Vec::new()]
    {
        one.once(health, bad);
        until(true).await;
        assert!(troubles(&world)[0].contains(&format!("http://{} does not pass its health checks", one.address)), "{:?}", troubles(&world));
        one.take();
        for _ in 0..10 {
            whole(&read(&world).await);
        }
        let asked = one.take();
        assert!(asked.iter().all(|asked| asked.what == health), "{asked:?}");
        one.on(health, response("204 No Content", &[], ""));
        until(false).await;
        soon("a request to the target that is back", async {
            while !one.take().iter().any(|asked| asked.what == READ) {
                whole(&read(&world).await);
            }
        })
        .await;
    }
    let checks: Vec<_> = two.take().into_iter().filter(|asked| asked.what == health).collect();
    assert!(checks.len() > 4, "{}", checks.len());
    for check in checks {
        // Neither of a caller nor the gateway's own key.
        let names: Vec<&str> = check.head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0)).collect();
        assert_eq!(["host", "accept"], names[..], "{check:?}");
    }
    // A reload with other checks: they are obeyed, and what was known begins anew.
    replace(world.root(), "path = \"/healthz\"", "path = \"/elsewhere\"");
    world.running().reload().await.unwrap();
    until(true).await;
    assert!(troubles(&world)[0].starts_with("2 of 2 targets"), "{:?}", troubles(&world));
    whole(&read(&world).await);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upstream_holds_up_its_own_requests_only_and_not_for_long() {
    let settings = "timeouts = { connect = \"1s\", first_byte = \"15s\", total = \"15s\" }\nin_flight_max = 2";
    let world =
        before(&[well().await.address], "").await.reconfigured(r#"timeouts = { connect = "2s", first_byte = "5s", total = "8s" }"#, settings).await;
    let (gate, crm) = (Gate::closed(), world.client("crm").http2());
    world.upstream.on("GET /customers/0031", Plan::json(&ada()).behind(&gate));
    let slow = || async { crm.get("/crm/customers/0031").purpose(OUTREACH).await };
    let meanwhile = async {
        gate.arrived().await;
        gate.arrived().await;
        // No place: after a while, which is bounded, a constant refusal that says when to come back.
        let refused = slow().await;
        refused.refused(502, "upstream-unavailable");
        assert_eq!(Some("5"), refused.header("retry-after"));
        // The other upstream does not notice.
        for _ in 0..20 {
            whole(&read(&world).await);
        }
        gate.release();
        gate.release();
    };
    let (one, two, ()) = tokio::join!(slow(), slow(), meanwhile);
    one.released(200, &ada_for_outreach());
    two.released(200, &ada_for_outreach());
    gate.release();
    slow().await.released(200, &ada_for_outreach());
    world.finish().await;
}

impl World {
    /// With another text in the configuration, taken at once.
    async fn reconfigured(self, from: &str, to: &str) -> Self {
        replace(self.root(), from, to);
        self.running().reload().await.unwrap();
        self
    }
}
