//! Streams: records go out as they come, each judged by what holds at that moment.

use std::time::Duration;

use consentry::clock::SystemClock;
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::harness::{Gate, Plan, World, entries, gateway, soon};

const OUTREACH: &str = "sales.outreach";
const APIS: &str = concat!(
    include_str!("harness/apis.toml"),
    r#"
[[api]]
name = "events"
owner = "marketing"
at = "/events"
upstream = "house"
purpose = { allow = ["sales.outreach"] }
[[api.route]]
match = "GET /changes"
response = { stream = "ndjson", shape = "card" }
[[api.route]]
match = "GET /feed"
response = { stream = "sse", shape = "card", events = ["changed"], event_ids = "free" }
"#
);

/// Ada and Pavel have agreed, Mina has not.
async fn ready() -> World {
    let world = gateway().apis(APIS).start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0058", OUTREACH, "given").await;
    world
}

fn record(id: &str, n: usize) -> String {
    format!(r#"{{"id":"{id}","email":"a{n}@example.net"}}"#)
}

/// Reads until so many bytes are there, or the answer ends; false when it broke off.
async fn read(answer: &mut Response<Incoming>, text: &mut String, wanted: usize) -> bool {
    while text.len() < wanted {
        match soon("a frame", answer.body_mut().frame()).await {
            None => return true,
            Some(Err(_broken)) => return false,
            Some(Ok(frame)) => text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap()),
        }
    }
    true
}

/// The entries of a kind, once there is one.
async fn logged(world: &World, kind: &str) -> Vec<Value> {
    let look = async {
        loop {
            let found: Vec<Value> = entries(&world.log_dir()).into_iter().filter(|e| e.kind() == kind).map(|e| e.resolved).collect();
            if !found.is_empty() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("an entry", look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_is_judged_when_it_comes() {
    let world = ready().await;
    let gate = Gate::closed();
    let waits = gate.clone();
    let (plan, _) = Plan::streamed(move |out| {
        let gate = waits.clone();
        async move {
            out.say(format!("{}\n\n{}\n{}", record("0031", 1), record("0044", 2), record("0058", 3))).await;
            gate.pass().await;
            out.say(format!("\n{}\n{}\n", record("0031", 4), record("0058", 5))).await;
        }
    });
    world.upstream.on("GET /changes", plan.typed("application/x-ndjson; charset=utf-8"));
    let mut answer = world.client("crm").http2().get("/events/changes").purpose(OUTREACH).begin().await;
    assert_eq!((200, "application/x-ndjson"), (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()));
    assert!(!answer.headers().contains_key("content-length") && !answer.headers().contains_key("consentry-withheld"));
    let (first, mut text) = (format!("{}\n", record("0031", 1)), String::new());
    assert!(read(&mut answer, &mut text, first.len()).await);
    assert_eq!(first, text, "while the upstream holds back the end of a record");
    world.consent("crm:0031", OUTREACH, "withdrawn").await;
    // What decides is another configuration from now on.
    world.running().reload().await.unwrap();
    gate.arrived().await;
    gate.release();
    assert!(read(&mut answer, &mut text, usize::MAX).await);
    assert_eq!(format!("{first}{}\n{}\n", record("0058", 3), record("0058", 5)), text);
    let end = logged(&world, "end").await.pop().unwrap();
    assert_eq!((json!(true), json!(text.len()), json!(3)), (end["complete"].clone(), end["bytes"].clone(), end["rows"].clone()));
    let parts = logged(&world, "part").await;
    let sum = |member: &str| parts.iter().map(|part| part[member].as_u64().unwrap()).sum::<u64>();
    assert_eq!((3, 2), (sum("rows"), sum("dropped")));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_events_goes_out_what_is_declared() {
    let world = ready().await;
    let (plan, _) = Plan::streamed(|out| async move {
        out.say(": hello\r\nretry: 3000\r\nid: 41\r\nevent: changed\r\ndata: {\"id\":\"0031\",\r\ndata: \"email\":\"a1@example.net\"}\r\n\r\n").await;
        out.say(format!("event: secret\ndata: {}\n\n", record("0031", 2))).await;
        out.say(format!("data: {}\n\nid: ada@example.net is away\ndata: {}\n\n", record("0044", 3), record("0058", 4))).await;
        out.say("event: changed\ndata: cut off").await;
    });
    world.upstream.on("GET /feed", plan.typed("text/event-stream"));
    let mut answer = world.client("crm").get("/events/feed").purpose(OUTREACH).begin().await;
    let mut text = String::new();
    assert!(read(&mut answer, &mut text, usize::MAX).await);
    let expected = "event: changed\nid: 41\nretry: 3000\ndata: {\"id\":\"0031\",\ndata: \"email\":\"a1@example.net\"}\n\n";
    assert_eq!(format!("{expected}data: {}\n\n", record("0058", 4)), text);
    assert_eq!("text/event-stream", world.upstream.take().pop().unwrap().headers["accept"].to_str().unwrap());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_read_breaks_off() {
    let world = ready().await;
    for (broken, what) in [
        ("{\"id\":\"0031\",\"id\":\"0058\"}\n", "two ids"),
        ("{\"id\":\"0031\"}{}\n", "two values"),
        ("{\"id\":\"00\n", "half a value"),
        ("[DONE]\n", "no JSON"),
    ] {
        let (plan, _) = Plan::streamed(move |out| async move {
            out.say(format!("{}\n", record("0031", 1))).await;
            tokio::time::sleep(Duration::from_millis(120)).await;
            out.say(broken).await;
            out.say(format!("{}\n", record("0058", 2))).await;
        });
        world.upstream.on("GET /changes", plan.typed("application/x-ndjson"));
        let mut answer = world.client("crm").get("/events/changes").purpose(OUTREACH).begin().await;
        let mut text = String::new();
        assert!(!read(&mut answer, &mut text, usize::MAX).await, "{what}: {text}");
        assert_eq!(format!("{}\n", record("0031", 1)), text, "{what}");
    }
    let list = format!("[{}]", record("0031", 1));
    for plan in [
        Plan::json(&list),
        Plan::text("text/event-stream", "data: {}\n\n"),
        Plan::text("application/x-ndjson", "{}\n").header("content-encoding", "lz4"),
    ] {
        world.upstream.on("GET /changes", plan);
        world.client("crm").get("/events/changes").purpose(OUTREACH).await.refused(502, "upstream-unreadable");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_runs_out_ends_the_stream_even_in_the_middle_of_a_record() {
    /// How far the issuer's clock may be off.
    const LEEWAY: i64 = 30;
    let world = ready().await;
    let gate = Gate::closed();
    let waits = gate.clone();
    let (plan, _) = Plan::streamed(move |out| {
        let gate = waits.clone();
        async move {
            out.say(format!("{}\n{{\"id\":", record("0031", 1))).await;
            gate.pass().await;
            out.say("\"0058\",\"email\":\"a2@example.net\"}\n").await;
        }
    });
    world.upstream.on("GET /changes", plan.typed("application/x-ndjson"));
    let clock = SystemClock::shared();
    let runs_out = clock.now() + Duration::from_secs(3);
    let token = world.token("crm", &json!({ "exp": runs_out.as_second() - LEEWAY }));
    let mut answer = world.client("crm").token(token).get("/events/changes").purpose(OUTREACH).begin().await;
    assert_eq!(200, answer.status().as_u16());
    let (first, mut text) = (format!("{}\n", record("0031", 1)), String::new());
    assert!(read(&mut answer, &mut text, first.len()).await);
    gate.arrived().await;
    while clock.now() < runs_out {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gate.release();
    assert!(!read(&mut answer, &mut text, usize::MAX).await, "{text}");
    assert_eq!(first, text);
    world.finish().await;
}
