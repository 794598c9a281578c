//! Lists that go out in parts: the same answer as from one piece, each part recorded before its bytes, and nothing that looks like
//! a whole answer when it is none.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use consentry::clock::{Clock, ManualClock, SystemClock};
use http::{Method, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::harness::people::{ada, ada_for_outreach, card, card_whole, mina, pavel, pavel_for_outreach};
use crate::harness::streamed::Out;
use crate::harness::upstream::compact;
use crate::harness::{Builder, Gate, Plan, World, entries, gateway, soon};

pub(super) const OUTREACH: &str = "sales.outreach";
pub(super) const LIST: &str = "/crm/customers";
/// Ada and Pavel have agreed, Mina between them has not.
const IDS: [&str; 3] = ["0031", "0044", "0058"];
/// More than one part: some 840 KB, of which two thirds go out.
pub(super) const MANY: usize = 20_000;

pub(super) async fn ready(builder: Builder) -> World {
    let world = builder.start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0058", OUTREACH, "given").await;
    world
}

/// The house's API with other settings than the harness's.
pub(super) fn upstream_with(settings: &'static str) -> Builder {
    gateway().with(r#"timeouts = { connect = "2s", first_byte = "5s", total = "8s" }"#, settings)
}

/// A row by its number, of which everything may go out or nothing.
fn row(n: usize) -> String {
    format!(r#"{{"id":"{}","email":"a{n}@example.net"}}"#, IDS[n % 3])
}

pub(super) fn rows(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(row).collect::<Vec<_>>().join(",")
}

fn released(numbers: impl Iterator<Item = usize>) -> String {
    rows(numbers.filter(|n| n % 3 != 1))
}

/// Says all of it in pieces that have nothing to do with the rows.
pub(super) async fn pieces(out: &Out, text: &[u8]) -> bool {
    for piece in text.chunks(7_919) {
        if !out.say(Bytes::copy_from_slice(piece)).await {
            return false;
        }
    }
    true
}

/// An answer of these bytes, broken off behind them or ended in order.
pub(super) fn said(text: impl Into<Bytes>, dies: bool) -> Plan {
    let text: Bytes = text.into();
    let plan = Plan::streamed(move |out| {
        let text = text.clone();
        async move {
            pieces(&out, &text).await;
            if dies {
                out.die().await;
            }
        }
    });
    plan.0
}

/// Rows without end.
async fn endless(out: &Out) {
    let mut n = 0;
    let mut text = "{\"customers\":[".to_owned();
    loop {
        text.push_str(&rows(n..n + 1_000));
        text.push(',');
        if !out.say(std::mem::take(&mut text)).await {
            return;
        }
        n += 1_000;
    }
}

/// What the log says of the last list that was asked for, once it has ended: its parts, and how it ended.
pub(super) async fn told(world: &World) -> (Vec<Value>, Value) {
    let look = async {
        loop {
            let all = entries(&world.log_dir());
            let head = all.iter().rev().find(|entry| entry.kind() == "intent").unwrap().index;
            let of =
                |kind: &str| all.iter().filter(|e| e.kind() == kind && e.decision() == Some(head)).map(|e| e.resolved.clone()).collect::<Vec<_>>();
            let end = of("end").pop().or_else(|| of("deny").pop());
            match end {
                Some(end) => return (of("part"), end),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    soon("the end of the list in the log", look).await
}

pub(super) fn sum(parts: &[Value], member: &str) -> u64 {
    parts.iter().map(|part| part[member].as_u64().unwrap()).sum()
}

/// Reads on until that many bytes, or the end. `Err`: broken off.
pub(super) async fn read(answer: &mut Response<Incoming>, text: &mut Vec<u8>, bytes: usize) -> Result<(), hyper::Error> {
    while text.len() < bytes {
        match soon("a piece of the list", answer.body_mut().frame()).await {
            Some(frame) => text.extend_from_slice(&frame?.into_data().unwrap()),
            None => break,
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_is_the_same_in_parts_but_for_the_counts_before_its_rows() {
    let world = ready(gateway()).await;
    let (ada, mina, pavel) = (compact(&ada()), compact(&mina()), compact(&pavel()));
    let listed: Vec<&str> = (0..12_000).map(|n| [&*ada, &*mina, &*pavel][n % 3]).collect();
    let [ada, pavel] = [ada_for_outreach(), pavel_for_outreach()];
    let kept: Vec<&str> = (0..8_000).map(|n| [&*ada, &*pavel][n % 2]).collect();
    let (listed, kept) = (listed.join(","), kept.join(","));
    for (name, body, expected) in [
        ("counted before", format!(r#"{{"total":12000,"customers":[{listed}]}}"#), format!(r#"{{"customers":[{kept}]}}"#)),
        ("counted after", format!(r#"{{"customers":[{listed}],"total":12000}}"#), format!(r#"{{"customers":[{kept}],"total":8000}}"#)),
        ("with another page", format!(r#"{{"next":"/2","customers":[{listed}],"total":12000}}"#), format!(r#"{{"customers":[{kept}]}}"#)),
        ("of another total", format!(r#"{{"customers":[{listed}],"total":12001,"next":null}}"#), format!(r#"{{"customers":[{kept}]}}"#)),
    ] {
        world.upstream.on("GET /customers", said(body, false));
        for client in [world.client("crm"), world.client("crm").http2()] {
            let answer = client.get(LIST).purpose(OUTREACH).await;
            assert!(answer.text() == expected, "{name}: {} bytes in place of {}", answer.body.len(), expected.len());
            assert_eq!((200, None, None), (answer.status.as_u16(), answer.withheld(), answer.header("content-length")), "{name}");
            let (parts, end) = told(&world).await;
            assert!(parts.len() >= 7, "{name}: {} parts of {} bytes", parts.len(), expected.len());
            assert_eq!((8_000, 4_000), (sum(&parts, "rows"), sum(&parts, "dropped")), "{name}");
            assert_eq!((json!(8_000), json!(expected.len()), json!(true)), (end["rows"].clone(), end["bytes"].clone(), end["complete"].clone()));
        }
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_withheld_from_any_part_is_listed_at_the_end_if_a_route_says_so() {
    let apis = include_str!("harness/apis.toml");
    let counts = r#"counts = { total = "rows", next = "remove" }"#;
    assert!(apis.contains(counts));
    let world = ready(gateway().apis(&apis.replacen(counts, &format!("{counts}, withheld_as = \"_withheld\""), 1))).await;
    let short = format!(r#"{{"customers":[{},{}]}}"#, ada(), mina());
    world.upstream.json("GET /customers", &short);
    let answer = world.client("crm").get(LIST).purpose(OUTREACH).await;
    let withheld = r#""_withheld":["dietaryNote","lastVisit","leadScore"]"#;
    answer.released(200, &format!(r#"{{"customers":[{}],{withheld}}}"#, ada_for_outreach()));
    assert_eq!(Some(3), answer.withheld(), "the header counts the same");
    // Only the first part has a row that hides something.
    let whole = r#"{"id":"0031","name":{"given":"A"}}"#;
    let listed = format!("{},{}", compact(&ada()), vec![whole; 20_000].join(","));
    let kept = format!("{},{}", ada_for_outreach(), vec![whole; 20_000].join(","));
    world.upstream.on("GET /customers", said(format!(r#"{{"customers":[{listed}],"total":20001}}"#), false));
    let answer = world.client("crm").get(LIST).purpose(OUTREACH).await;
    let expected = format!(r#"{{"customers":[{kept}],"total":20001,{withheld}}}"#);
    assert!(answer.text() == expected, "{} bytes in place of {}", answer.body.len(), expected.len());
    assert!(told(&world).await.0.len() > 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_arrived_was_in_the_log_before() {
    let world = ready(gateway()).await;
    let body = format!("{{\"customers\":[{}]}}", rows(0..MANY));
    let expected = format!("{{\"customers\":[{}]}}", released(0..MANY));
    world.upstream.on("GET /customers", said(body, false));
    let mut answer = world.client("crm").get(LIST).purpose(OUTREACH).begin().await;
    let mut text = Vec::new();
    while text.len() < expected.len() {
        let wanted = (text.len() + 40_000).min(expected.len());
        read(&mut answer, &mut text, wanted).await.unwrap();
        let arrived = text.iter().filter(|byte| **byte == b'}').count() as u64;
        let parts: Vec<Value> = entries(&world.log_dir()).into_iter().filter(|e| e.kind() == "part").map(|e| e.resolved).collect();
        assert!(sum(&parts, "rows") + 1 >= arrived, "{arrived} rows have arrived, {} are recorded", sum(&parts, "rows"));
    }
    assert!(text == expected.as_bytes());
    told(&world).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_into_one_part_is_one_however_long_the_upstream_made_it() {
    let world = ready(gateway()).await;
    let crm = world.client("crm");
    // The beginning that is waited for, to the byte: the rest is in a member that is withheld.
    for bytes in [256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 700 * 1024] {
        let (before, after) =
            (format!(r#"{{"total":3,"customers":[{},{{"id":"0031","dietaryNote":""#, rows(0..2)), r#"","email":"x@example.net"}]}"#);
        let body = format!("{before}{}{after}", "x".repeat(bytes - before.len() - after.len()));
        world.upstream.on("GET /customers", said(body, false));
        let answer = crm.get(LIST).purpose(OUTREACH).await;
        answer.released(200, &format!(r#"{{"total":2,"customers":[{},{{"id":"0031","email":"x@example.net"}}]}}"#, row(0)));
        let length = answer.body.len().to_string();
        assert_eq!((true, Some(length.as_str())), (answer.withheld().is_some(), answer.header("content-length")), "{bytes}");
        assert_eq!(1, told(&world).await.0.len(), "{bytes}");
        let head = crm.ask(Method::HEAD, LIST).purpose(OUTREACH).await;
        assert_eq!((200, Some(length.as_str())), (head.status.as_u16(), head.header("content-length")), "{bytes}");
        told(&world).await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_all_dropped_make_parts_without_bytes() {
    let world = ready(gateway()).await;
    // Short rows: the limit that ends a part is that of rows.
    let refused = vec![r#"{"id":"0044","email":"m"}"#; 20_000].join(",");
    world.upstream.on("GET /customers", said(format!("{{\"customers\":[{refused},{}]}}", row(0)), false));
    for client in [world.client("crm"), world.client("crm").http2()] {
        let answer = client.get(LIST).purpose(OUTREACH).await;
        answer.released(200, &format!("{{\"customers\":[{}]}}", row(0)));
        let (parts, end) = told(&world).await;
        // The later ones may also be closed by time.
        assert!(parts.iter().all(|part| part["dropped"].as_u64() <= Some(8_192)) && parts[0]["dropped"] == 8_192, "{parts:?}");
        assert_eq!((1, 20_000), (sum(&parts, "rows"), sum(&parts, "dropped")));
        assert_eq!((json!(1), json!(true)), (end["rows"].clone(), end["complete"].clone()));
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_long_list_tells_no_length_and_lets_the_upstream_go() {
    let world = ready(gateway()).await;
    for http2 in [false, true] {
        let gate = Gate::closed();
        world.upstream.on("GET /customers", without_end(&gate).0);
        let client = if http2 { world.client("crm").http2() } else { world.client("crm") };
        let head = client.ask(Method::HEAD, LIST).purpose(OUTREACH).await;
        assert_eq!((200, None, None), (head.status.as_u16(), head.header("content-length"), head.withheld()), "{head:?}");
        gate.arrived().await;
        assert_eq!(json!(0), told(&world).await.1["bytes"]);
    }
    world.finish().await;
}

/// Asks by both protocols for a list that breaks off, and returns what the log says of it.
async fn broken_off(world: &World, name: &str) -> Vec<(Vec<Value>, Value)> {
    let mut found = Vec::new();
    for client in [world.client("crm"), world.client("crm").http2()] {
        let answer = client.get(LIST).purpose(OUTREACH).attempt().await;
        assert!(answer.is_err(), "{name}: taken for a whole answer, {:?}", answer.map(|a| (a.status, a.body.len())));
        let (parts, end) = told(world).await;
        assert_eq!(("end", json!(false)), (end["kind"].as_str().unwrap(), end["complete"].clone()), "{name}: {end}");
        let rows = end["rows"].as_u64().unwrap();
        assert!(rows > 0 && rows <= sum(&parts, "rows") && !parts.is_empty(), "{name}: {rows} rows, {} recorded", sum(&parts, "rows"));
        found.push((parts, end));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_turns_out_to_be_unreadable_breaks_off() {
    let world = ready(gateway()).await;
    let crm = world.client("crm");
    let deep = format!(",{{\"id\":\"0031\",\"address\":{}", "[".repeat(200));
    let huge = format!(",{{\"id\":\"0031\",\"email\":\"{}", "x".repeat(9 << 20));
    let cases: [(&str, &[u8], bool); 12] = [
        ("dies in mid-row", br#",{"id":"0031","em"#, true),
        ("dies between rows", b",", true),
        ("dies behind all of it", b"]}", true),
        ("ends in mid-row", br#",{"id":"0031","em"#, false),
        ("ends behind a row", b"", false),
        ("no JSON", b",nonsense]}", false),
        ("two members of one name", br#",{"id":"0031","email":"x","email":"y"}]}"#, false),
        ("a second value", b"]}{}", false),
        ("no UTF-8", b",{\"id\":\"0031\",\"email\":\"\xff\"}]}", false),
        ("half a surrogate", br#",{"id":"0031","email":"\ud800"}]}"#, false),
        ("too deep", deep.as_bytes(), false),
        ("a row without end", huge.as_bytes(), false),
    ];
    for (name, tail, dies) in cases {
        let text = [format!("{{\"customers\":[{}", rows(0..MANY)).as_bytes(), tail].concat();
        world.upstream.on("GET /customers", said(text, dies));
        for (parts, _) in broken_off(&world, name).await {
            // With the row in which it shows there would be one more.
            assert!(sum(&parts, "rows") <= 13_333, "{name}: the part in which it shows was recorded");
        }
        // The same before anything went out is a refusal.
        let text = [b"{\"customers\":[", row(0).as_bytes(), tail].concat();
        world.upstream.on("GET /customers", said(text, dies));
        crm.get(LIST).purpose(OUTREACH).await.refused(502, "upstream-unreadable");
    }
    let late = format!("{{\"customers\":[{},{{\"id\":\"0031\",\"id\":\"0031\"}},{}]}}", rows(0..10), rows(0..MANY));
    world.upstream.on("GET /customers", said(late, false));
    crm.get(LIST).purpose(OUTREACH).await.refused(502, "upstream-unreadable");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_bytes_tells_a_whole_list_from_a_broken_one() {
    let world = ready(gateway()).await;
    let request = format!("GET {LIST} HTTP/1.1\r\nhost: localhost\r\ndata-purpose: {OUTREACH}\r\nconnection: close\r\n\r\n");
    for (tail, dies) in [("]}", false), (",", true)] {
        world.upstream.on("GET /customers", said(format!("{{\"customers\":[{}{tail}", rows(0..MANY)), dies));
        let raw = world.client("crm").raw(request.as_bytes()).await;
        let (head, body) = raw.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length") && !head.contains("consentry-withheld"), "{head}");
        assert_eq!(!dies, body.ends_with("\r\n0\r\n\r\n"), "{:?}", body.get(body.len() - 40..));
        told(&world).await;
    }
    world.finish().await;
}

/// What is said or done while a list is under way, behind its first so many rows.
async fn interrupted(world: &World, rows_before: usize, protocol: &str, meanwhile: impl AsyncFnOnce()) -> Result<Vec<u8>, usize> {
    let gate = Gate::closed();
    let (plan, _sent) = {
        let gate = gate.clone();
        Plan::streamed(move |out| {
            let gate = gate.clone();
            async move {
                pieces(&out, format!("{{\"customers\":[{}", rows(0..rows_before)).as_bytes()).await;
                gate.pass().await;
                pieces(&out, format!(",{}]}}", rows(rows_before..2 * rows_before)).as_bytes()).await;
            }
        })
    };
    world.upstream.on("GET /customers", plan);
    let crm = world.client("crm");
    let asked = crm.get(LIST).purpose(OUTREACH);
    let mut answer = if protocol == "h2" { asked.begin().await } else { asked.begin_http1().await };
    let mut text = Vec::new();
    gate.arrived().await;
    // All that was said before has gone out.
    let out = format!("{{\"customers\":[{}", released(0..rows_before)).len();
    read(&mut answer, &mut text, out).await.unwrap();
    meanwhile().await;
    gate.release();
    match read(&mut answer, &mut text, usize::MAX).await {
        Ok(()) => Ok(text),
        Err(_broken) => Err(text.len()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_withdraws_in_mid_list_is_left_out_from_then_on() {
    let world = ready(gateway()).await;
    for protocol in ["http/1.1", "h2"] {
        world.consent("crm:0058", OUTREACH, "given").await;
        let text = interrupted(&world, MANY, protocol, async || world.consent("crm:0058", OUTREACH, "withdrawn").await).await;
        let later = rows((MANY..2 * MANY).filter(|n| n % 3 == 0));
        let expected = format!("{{\"customers\":[{},{later}]}}", released(0..MANY));
        assert!(text.as_deref() == Ok(expected.as_bytes()), "{protocol}: {:?}", text.map(|t| t.len()));
        let (parts, end) = told(&world).await;
        assert_eq!((json!(sum(&parts, "rows")), json!(true)), (end["rows"].clone(), end["complete"].clone()));
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_policies_in_mid_list_break_it_off() {
    for protocol in ["http/1.1", "h2"] {
        let world = ready(gateway()).await;
        let forbid = "@id(\"test-none\")\n@description(\"x\")\nforbid (principal, action, resource) when { context.purpose in Purpose::\"sales\" };";
        let received = interrupted(&world, MANY, protocol, async || world.add_policy(forbid).await).await;
        assert_eq!(Err(format!("{{\"customers\":[{}", released(0..MANY)).len()), received.map(|text| text.len()), "{protocol}");
        let (_, end) = told(&world).await;
        assert_eq!((json!(false), json!(13_333)), (end["complete"].clone(), end["rows"].clone()), "{protocol}: {end}");
        world.client("crm").get(LIST).purpose(OUTREACH).await.refused(403, "not-entitled");
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_takes_too_long_is_broken_off() {
    let clock = ManualClock::at(SystemClock::shared().now());
    // The upstream may take longer.
    let settings = upstream_with("timeouts = { connect = \"2s\", first_byte = \"20s\", total = \"2h\" }");
    let world = ready(settings.clock(Arc::clone(&clock) as Arc<dyn Clock>)).await;
    let received = interrupted(&world, MANY, "h2", async || world.pass(&clock, Duration::from_secs(3_601)).await).await;
    assert_eq!(Err(format!("{{\"customers\":[{}", released(0..MANY)).len()), received.map(|text| text.len()));
    assert_eq!(json!(false), told(&world).await.1["complete"]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_wait_for_the_client_do_not_go_out_once_somebody_in_them_withdraws() {
    let world = ready(gateway()).await;
    world.upstream.on("GET /customers", said(format!("{{\"customers\":[{}]}}", rows(0..3 * MANY)), false));
    let mut answer = world.client("crm").get(LIST).purpose(OUTREACH).begin().await;
    let mut text = Vec::new();
    read(&mut answer, &mut text, 1).await.unwrap();
    // Further parts are cut and wait.
    let waiting = async {
        while entries(&world.log_dir()).iter().filter(|entry| entry.kind() == "part").count() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("parts that wait", waiting).await;
    world.consent("crm:0058", OUTREACH, "withdrawn").await;
    read(&mut answer, &mut text, usize::MAX).await.unwrap_err();
    // What was in the windows of HTTP/2 and TLS had left.
    assert!(text.len() < 256 * 1024, "{} bytes", text.len());
    let (parts, end) = told(&world).await;
    assert_eq!(json!(false), end["complete"]);
    assert!(end["rows"].as_u64().unwrap() < sum(&parts, "rows"), "{end}");
    // The search tells what went out, not what was recorded to go.
    let head = end["of"].as_u64().unwrap();
    let found = consentry::audit::show(&world.log_dir(), head).unwrap().unwrap().decision.unwrap();
    assert_eq!((end["rows"].as_u64().unwrap(), Some(false), false), (found.rows, found.complete, found.unresolved));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_use_counts_for_all_parts_that_were_cut_with_it() {
    let world = gateway().start().await;
    world.consent("crm:0058", OUTREACH, "given").await;
    world.say("crm:0031", OUTREACH, "given", json!({ "uses": 1 })).await;
    // Ada comes only where parts are cut ahead of each other.
    let others = rows((0..MANY).filter(|n| n % 3 == 2).chain((0..MANY).filter(|n| n % 3 == 2)));
    world.upstream.on("GET /customers", said(format!("{{\"customers\":[{others},{}]}}", rows(0..2 * MANY)), false));
    let answer = world.client("crm").get(LIST).purpose(OUTREACH).await;
    let of = |id: &str| answer.text().matches(&format!("\"id\":\"{id}\"")).count();
    assert_eq!(2 * (MANY / 3) + 2 * MANY / 3, of("0058"), "the others are whole");
    assert!(of("0031") > 0, "the use was taken and nothing of her went out");
    // It was the only one.
    world.upstream.json("GET /customers", &format!("{{\"customers\":[{}]}}", rows(0..3)));
    world.client("crm").get(LIST).purpose(OUTREACH).await.released(200, &format!("{{\"customers\":[{}]}}", row(2)));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_long_lists_that_race_for_a_last_use_one_gets_it() {
    let world = Arc::new(gateway().start().await);
    world.consent("crm:0058", OUTREACH, "given").await;
    world.say("crm:0031", OUTREACH, "given", json!({ "uses": 1 })).await;
    let gate = Gate::closed();
    let others = rows((0..3 * MANY).filter(|n| n % 3 == 2));
    world.upstream.on("GET /customers", said(format!("{{\"customers\":[{},{others}]}}", rows(0..3)), false).behind(&gate));
    let racers: Vec<_> = (0..4)
        .map(|n| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let crm = if n % 2 == 0 { world.client("crm") } else { world.client("crm").http2() };
                crm.get(LIST).purpose(OUTREACH).await
            })
        })
        .collect();
    for _ in &racers {
        gate.arrived().await;
    }
    racers.iter().for_each(|_| gate.release());
    let mut with_her = 0;
    for racer in racers {
        let answer = soon("an answer", racer).await.unwrap();
        with_her += answer.text().matches("\"0031\"").count();
        assert_eq!(MANY + 1, answer.text().matches("\"0058\"").count());
    }
    assert_eq!(1, with_her);
    Arc::into_inner(world).unwrap().finish().await;
}

/// A plan of rows without end; the gate is passed when the gateway lets go.
fn without_end(gate: &Gate) -> (Plan, Arc<AtomicUsize>) {
    let gate = gate.clone();
    Plan::streamed(move |out| {
        let gate = gate.clone();
        async move {
            endless(&out).await;
            gate.pass().await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_lets_the_upstream_go() {
    let world = ready(gateway()).await;
    for http2 in [false, true] {
        let gate = Gate::closed();
        world.upstream.on("GET /customers", without_end(&gate).0);
        let crm = world.client("crm");
        let asked = crm.get(LIST).purpose(OUTREACH);
        let mut answer = if http2 { asked.begin().await } else { asked.begin_http1().await };
        read(&mut answer, &mut Vec::new(), 300_000).await.unwrap();
        drop(answer);
        gate.arrived().await;
        let (parts, end) = told(&world).await;
        assert_eq!(json!(false), end["complete"]);
        let (rows, recorded) = (end["rows"].as_u64().unwrap(), sum(&parts, "rows"));
        assert!(rows > 0 && rows <= recorded, "{rows} of {recorded}");
        // Nothing is recorded of somebody who has left.
        let recorded = parts.len();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(recorded, told(&world).await.0.len());
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_holds_up_neither_memory_nor_others() {
    let world = ready(upstream_with("in_flight_max = 2\ntimeouts = { connect = \"8s\", first_byte = \"5s\", total = \"2s\" }")).await;
    world.upstream.json("GET /customers/0031", &ada());
    for http2 in [true, false] {
        let gate = Gate::closed();
        let (plan, sent) = without_end(&gate);
        world.upstream.on("GET /customers", plan);
        let crm = world.client("crm");
        let mut slow = Vec::new();
        for _ in 0..2 {
            let asked = crm.get(LIST).purpose(OUTREACH);
            slow.push(if http2 { asked.begin().await } else { asked.begin_http1().await });
        }
        // Both places are taken, and given back when the clients' time is over.
        let other = world.client("crm").get("/crm/customers/0031").purpose(OUTREACH).await;
        other.released(200, &ada_for_outreach());
        gate.arrived().await;
        gate.arrived().await;
        let taken = sent.load(Ordering::Relaxed);
        // Ten parts and what sockets hold, of each.
        assert!(taken < 2 * (24 << 20), "{taken} bytes were taken from the upstream");
        for mut answer in slow {
            read(&mut answer, &mut Vec::new(), usize::MAX).await.unwrap_err();
        }
        assert_eq!(json!(false), told(&world).await.1["complete"]);
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_drips_has_no_more_time_than_another() {
    let world = ready(upstream_with(r#"timeouts = { connect = "2s", first_byte = "5s", total = "1s" }"#)).await;
    let (plan, sent) = Plan::streamed(|out| async move {
        pieces(&out, format!("{{\"customers\":[{}", rows(0..MANY)).as_bytes()).await;
        // Longer than a part waits for rows.
        while out.say(format!(",{}", row(0))).await {
            tokio::time::sleep(Duration::from_millis(70)).await;
        }
    });
    world.upstream.on("GET /customers", plan);
    world.client("crm").get(LIST).purpose(OUTREACH).attempt().await.unwrap_err();
    let dripped = (sent.load(Ordering::Relaxed) - format!("{{\"customers\":[{}", rows(0..MANY)).len()) / (row(0).len() + 1);
    assert!((1..30).contains(&dripped), "{dripped} rows of 70 ms each");
    let (parts, end) = told(&world).await;
    assert!(parts.len() > 2 && end["complete"] == json!(false), "{} parts: what had come was passed on meanwhile; {end}", parts.len());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn once_nothing_more_can_go_out_nobody_waits_for_the_upstream() {
    let world = ready(upstream_with("timeouts = { connect = \"2s\", first_byte = \"60s\", total = \"60s\" }")).await;
    let (gate, gone) = (Gate::closed(), Gate::closed());
    let (plan, _) = {
        let gates = (gate.clone(), gone.clone());
        Plan::streamed(move |out| {
            let (gate, gone) = gates.clone();
            async move {
                pieces(&out, format!("{{\"customers\":[{}", rows(0..MANY)).as_bytes()).await;
                gate.pass().await;
                pieces(&out, format!(",{}", rows(0..MANY)).as_bytes()).await;
                out.gone().await;
                gone.pass().await;
            }
        })
    };
    world.upstream.on("GET /customers", plan);
    let mut answer = world.client("crm").get(LIST).purpose(OUTREACH).begin().await;
    gate.arrived().await;
    world
        .add_policy("@id(\"test-none\")\n@description(\"x\")\nforbid (principal, action, resource) when { context.purpose in Purpose::\"sales\" };")
        .await;
    gate.release();
    read(&mut answer, &mut Vec::new(), usize::MAX).await.unwrap_err();
    gone.arrived().await;
    told(&world).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_falls_silent_is_given_up() {
    let world = ready(upstream_with(r#"timeouts = { connect = "2s", first_byte = "2s", total = "60s" }"#)).await;
    let (plan, _) = Plan::streamed(|out| async move {
        pieces(&out, format!("{{\"customers\":[{}", rows(0..MANY)).as_bytes()).await;
        out.gone().await;
    });
    world.upstream.on("GET /customers", plan);
    for (parts, end) in broken_off(&world, "silent").await {
        // What did not fill a part went out, too.
        assert_eq!((13_333, json!(13_333)), (sum(&parts, "rows"), end["rows"].clone()));
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_end_stops_at_the_limit() {
    let world = ready(upstream_with("list_max = \"2MiB\"\ntimeouts = { connect = \"2s\", first_byte = \"5s\", total = \"8s\" }")).await;
    let gate = Gate::closed();
    world.upstream.on("GET /customers", without_end(&gate).0);
    for (parts, _) in broken_off(&world, "endless").await {
        assert!(sum(&parts, "rows") + sum(&parts, "dropped") < (2 << 20) / 40, "more rows than fit into the limit");
        gate.arrived().await;
    }
    // Nor is what comes before the rows held without end.
    let (plan, sent) = Plan::streamed(|out| async move {
        let filler = "x".repeat(1 << 20);
        for n in 0..64 {
            let opening = if n == 0 { "{" } else { "," };
            if !out.say(format!("{opening}\"a{n}\":\"{filler}\"")).await {
                return;
            }
        }
        out.say(",\"customers\":[]}").await;
    });
    let world = {
        world.finish().await;
        ready(gateway()).await
    };
    world.upstream.on("GET /customers", plan);
    world.client("crm").get(LIST).purpose(OUTREACH).await.refused(502, "upstream-unreadable");
    assert!(sent.load(Ordering::Relaxed) < 32 << 20, "{} bytes were held", sent.load(Ordering::Relaxed));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_changes_its_customer_meanwhile_refuses_what_was_asked_of_the_old_one() {
    let world = Arc::new(ready(upstream_with("timeouts = { connect = \"2s\", first_byte = \"20s\", total = \"20s\" }")).await);
    let gate = Gate::closed();
    let body = format!("{{\"customers\":[{}]}}", rows(0..MANY));
    world.upstream.on("GET /customers", said(body, false).behind(&gate));
    let asking = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.client("crm").get(LIST).purpose(OUTREACH).await })
    };
    gate.arrived().await;
    let path = world.root().join("consentry.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (before, after) = ("query = { limit = \"free\", order", "customer = \"header:x-customer\"\nids = \"crm\"\nquery = { limit = \"free\", order");
    assert!(text.contains(before));
    fs::write(&path, text.replacen(before, after, 1)).unwrap();
    world.running().reload().await.unwrap();
    gate.release();
    asking.await.unwrap().refused(404, "route-not-declared");
    Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_comes_in_small_pieces_is_not_read_anew_with_each() {
    let world = ready(gateway()).await;
    let note = "x".repeat(4 << 20);
    let body = format!("{{\"customers\":[{},{{\"id\":\"0031\",\"dietaryNote\":\"{note}\",\"email\":\"x\"}},{}]}}", rows(0..MANY), row(0));
    let expected = format!("{{\"customers\":[{},{{\"id\":\"0031\",\"email\":\"x\"}},{}]}}", released(0..MANY), row(0));
    let body = Bytes::from(body);
    let (plan, _) = Plan::streamed(move |out| {
        let body = body.clone();
        async move {
            for start in (0..body.len()).step_by(1_024) {
                out.say(body.slice(start..body.len().min(start + 1_024))).await;
            }
        }
    });
    world.upstream.on("GET /customers", plan);
    let answer = world.client("crm").get(LIST).purpose(OUTREACH).await;
    assert!(answer.text() == expected, "{} bytes", answer.body.len());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_out_in_parts_is_found_explained_and_judged_again() {
    let world = ready(gateway()).await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    world.upstream.on("GET /customers", said(format!("{{\"customers\":[{}]}}", rows(0..2 * MANY)), false));
    let answer = world.client("crm").get(LIST).purpose(OUTREACH).await;
    let (parts, _) = told(&world).await;
    assert!(parts.len() > 2);
    let found = world.found(&answer);
    assert_eq!((26_667, 13_333, "filter"), (found.rows, found.dropped, found.outcome.as_str()), "{found:?}");
    let auditor = world.staff("auditor");
    for (id, apps) in [("0031", json!(["crm"])), ("0044", json!([])), ("0058", json!(["crm"]))] {
        let recipients = auditor.get(&format!("/v1/parties/crm:{id}/recipients")).await.json();
        let named: Vec<Value> = recipients["recipients"].as_array().unwrap().iter().map(|row| row["app"].clone()).collect();
        assert_eq!(apps, Value::from(named), "{id}");
    }
    let index = answer.decision().unwrap().rsplit_once('#').unwrap().1.to_owned();
    let told = auditor.get(&format!("/v1/decisions/gw-test/{index}/explanation")).await;
    assert_eq!(200, told.status.as_u16(), "{told:?}");
    let policies = world.root().join("policies");
    let log = world.log_dir();
    let replay = ["policy", "replay", "--candidate", policies.to_str().unwrap(), "--log", log.to_str().unwrap()];
    let (exit, text) = world.consentry(&[&replay[..], &["--active", policies.to_str().unwrap(), "--format", "json"]].concat());
    assert_eq!(0, exit, "{text}");
    let found: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((&json!([]), &json!([]), &found["answers"]), (&found["differences"], &found["skipped"], &found["unchanged"]), "{text}");
    let size = |list: &Value| list.as_array().unwrap().len();
    let groups = parts.iter().flat_map(|part| part["groups"].as_array().unwrap());
    let told: usize = groups.map(|group| size(&group["parties"]) * size(&group["verdicts"]["verdicts"])).sum();
    assert_eq!(json!(told), found["answers"], "each verdict of each part is judged again: {text}");
    world.client("helpdesk").get("/crm/cards/0031").purpose("service-provision.support").await.released(200, &card_whole("0031", "a@example.net"));
    world.finish().await;
}
