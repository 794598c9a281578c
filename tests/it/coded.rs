//! Long lists and streams that come encoded: decoded as they come, part by part and record by record; and never taken for whole
//! when they are not. And what the gateway itself encodes of them.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::write::GzDecoder;
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::harness::coding::{brotli, deflate, flushed, gzip, zstd};
use crate::harness::{Builder, Gate, Plan, World, entries, gateway, soon};
use crate::parts::{LIST, MANY, OUTREACH, read, ready, said, sum, told, upstream_with};

const APIS: &str = concat!(
    include_str!("harness/apis.toml"),
    r#"
[[api]]
name = "packed"
owner = "marketing"
at = "/packed"
upstream = "house"
purpose = { allow = ["sales.outreach"] }
compress = true
[[api.route]]
match = "GET /customers"
response = { rows = "customers[]", shape = "customer" }
[[api.route]]
match = "GET /changes"
response = { stream = "ndjson", shape = "card" }
[[api.route]]
match = "GET /feed"
response = { stream = "sse", shape = "card", events = ["changed"] }
"#
);

/// A row by its number, which does not pack well. Ada and Pavel have agreed, Mina between them has not.
fn row(n: usize) -> String {
    let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    format!(r#"{{"id":"{}","email":"{mixed:016x}@example.net"}}"#, ["0031", "0044", "0058"][n % 3])
}

fn rows(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(row).collect::<Vec<_>>().join(",")
}

fn released(numbers: impl Iterator<Item = usize>) -> String {
    rows(numbers.filter(|n| n % 3 != 1))
}

fn packing() -> Builder {
    gateway().apis(APIS)
}

fn list() -> String {
    format!("{{\"customers\":[{}]}}", rows(0..MANY))
}

type Encode = fn(&str) -> Vec<u8>;

/// Every coding, with what writes it.
const CODINGS: [(&str, Encode); 5] = [
    ("gzip", |text| gzip(text)),
    ("deflate", |text| deflate(text, true)),
    ("deflate", |text| deflate(text, false)),
    ("br", |text| brotli(text)),
    ("zstd", |text| zstd(text)),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_goes_out_in_parts_however_it_came_encoded() {
    let world = ready(gateway()).await;
    let expected = format!("{{\"customers\":[{}]}}", released(0..MANY));
    for (coding, encode) in CODINGS {
        world.upstream.on("GET /customers", said(encode(&list()), false).coded(coding));
        for client in [world.client("crm"), world.client("crm").http2()] {
            let answer = client.get(LIST).purpose(OUTREACH).await;
            assert!(answer.text() == expected, "{coding}: {} bytes in place of {}", answer.body.len(), expected.len());
            assert_eq!((None, None), (answer.header("content-encoding"), answer.header("content-length")), "{coding}");
            let (parts, end) = told(&world).await;
            assert!(parts.len() >= 3, "{coding}: {} parts", parts.len());
            assert_eq!((13_333, json!(true)), (sum(&parts, "rows"), end["complete"].clone()), "{coding}");
        }
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_an_encoded_list_do_not_wait_for_its_end() {
    let world = ready(gateway()).await;
    for coding in ["gzip", "deflate", "br"] {
        let halves = [format!("{{\"customers\":[{}", rows(0..MANY)), format!(",{}]}}", rows(MANY..2 * MANY))];
        let said = flushed(coding, &halves);
        let gate = Gate::closed();
        let waits = gate.clone();
        let (plan, _) = Plan::streamed(move |out| {
            let (said, gate) = (said.clone(), waits.clone());
            async move {
                out.say(said[0].clone()).await;
                gate.pass().await;
                out.say(said[1].clone()).await;
                out.say(said[2].clone()).await;
            }
        });
        world.upstream.on("GET /customers", plan.coded(coding));
        let mut answer = world.client("crm").get(LIST).purpose(OUTREACH).begin().await;
        let (half, mut text) = (format!("{{\"customers\":[{}", released(0..MANY)), Vec::new());
        read(&mut answer, &mut text, half.len()).await.unwrap();
        assert!(text == half.as_bytes(), "{coding}: {} of {} bytes", text.len(), half.len());
        gate.arrived().await;
        gate.release();
        read(&mut answer, &mut text, usize::MAX).await.unwrap();
        assert!(text == format!("{{\"customers\":[{}]}}", released(0..2 * MANY)).as_bytes(), "{coding}");
        told(&world).await;
    }
    world.finish().await;
}

/// Asks by both protocols for a list that breaks off: what came of it is the beginning of `whole`, and is what the log says.
async fn breaks_off(world: &World, what: &str, whole: &str) {
    for http2 in [false, true] {
        let crm = world.client("crm");
        let asked = crm.get(LIST).purpose(OUTREACH);
        let mut answer = if http2 { asked.begin().await } else { asked.begin_http1().await };
        assert_eq!(200, answer.status().as_u16(), "{what}");
        let mut text = Vec::new();
        assert!(read(&mut answer, &mut text, usize::MAX).await.is_err(), "{what}: taken for a whole answer of {} bytes", text.len());
        assert!(!text.is_empty() && text.len() < whole.len() && whole.as_bytes().starts_with(&text), "{what}: {} bytes", text.len());
        let (parts, end) = told(world).await;
        assert_eq!(("end", json!(false)), (end["kind"].as_str().unwrap(), end["complete"].clone()), "{what}: {end}");
        // What was on its way when it broke off had left the gateway.
        let (rows, bytes) = (end["rows"].as_u64().unwrap(), end["bytes"].as_u64().unwrap());
        assert!(0 < rows && rows <= sum(&parts, "rows") && bytes >= text.len() as u64, "{what}: {end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_list_that_is_damaged_breaks_off_without_its_end() {
    let world = ready(gateway()).await;
    let whole = format!("{{\"customers\":[{}]}}", released(0..MANY));
    for (coding, encode) in CODINGS {
        let good = encode(&list());
        let mut damaged = vec![
            ("half of it", good[..good.len() * 3 / 4].to_vec(), false),
            ("half of it, and the connection dies", good[..good.len() * 3 / 4].to_vec(), true),
            ("all but its last byte", good[..good.len() - 1].to_vec(), false),
            ("something behind it", [&good[..], b"{\"customers\":[]}"].concat(), false),
        ];
        // Brotli and bare deflate have none. Of gzip and zlib the sum stands at the end, as of the last frame of Zstandard.
        if coding == "gzip" || coding == "zstd" || good.starts_with(&[0x78, 0x9c]) {
            let mut wrong = good.clone();
            let at = wrong.len() - if coding == "gzip" { 8 } else { 1 };
            wrong[at] ^= 1;
            damaged.push(("a wrong sum", wrong, false));
        }
        for (what, bytes, dies) in damaged {
            world.upstream.on("GET /customers", said(bytes, dies).coded(coding));
            breaks_off(&world, &format!("{coding}, {what}"), &whole).await;
        }
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_turns_out_to_be_a_bomb_breaks_off_where_the_limit_is() {
    let spaces = " ".repeat(8 << 20);
    let list = format!("{{\"customers\":[{},{spaces}{}]}}", rows(0..MANY), row(0));
    let whole = format!("{{\"customers\":[{},{}]}}", released(0..MANY), row(0));
    let bombs = CODINGS.map(|(coding, encode)| (coding, encode(&list)));
    for (what, settings) in [
        ("over the ratio", "decode_ratio_max = 20\ntimeouts = { connect = \"2s\", first_byte = \"5s\", total = \"8s\" }"),
        ("over the size", "list_max = \"2MiB\"\ndecode_ratio_max = 10000\ntimeouts = { connect = \"2s\", first_byte = \"5s\", total = \"8s\" }"),
    ] {
        let world = ready(upstream_with(settings)).await;
        for (coding, bomb) in &bombs {
            world.upstream.on("GET /customers", said(bomb.clone(), false).coded(coding));
            breaks_off(&world, &format!("{coding} {what}"), &whole).await;
        }
        world.finish().await;
    }
    let world = ready(gateway()).await;
    for (coding, bomb) in bombs {
        world.upstream.on("GET /customers", said(bomb, false).coded(coding));
        let answer = world.client("crm").get(LIST).purpose(OUTREACH).await;
        assert!(answer.text() == whole, "{coding}: within the limits it is a list");
    }
    world.finish().await;
}

fn record(id: &str, n: usize) -> String {
    format!(r#"{{"id":"{id}","email":"a{n}@example.net"}}"#)
}

/// Says pieces one after the other; behind each the test has to let it go on.
fn by_turns(said: Vec<Bytes>, gate: &Gate) -> Plan {
    let gate = gate.clone();
    let (plan, _) = Plan::streamed(move |out| {
        let (said, gate) = (said.clone(), gate.clone());
        async move {
            for piece in said {
                out.say(piece).await;
                gate.pass().await;
            }
        }
    });
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_an_encoded_stream_does_not_wait_for_the_next_one() {
    let world = ready(packing()).await;
    let lines = [record("0031", 1), record("0044", 2), record("0058", 3)].map(|record| format!("{record}\n"));
    let events = [record("0031", 1), record("0044", 2), record("0058", 3)].map(|record| format!("event: changed\ndata: {record}\n\n"));
    for coding in ["gzip", "deflate", "br"] {
        for (path, content_type, pieces) in [("/changes", "application/x-ndjson", &lines), ("/feed", "text/event-stream", &events)] {
            let gate = Gate::closed();
            let plan = by_turns(flushed(coding, pieces), &gate);
            world.upstream.on(&format!("GET {path}"), plan.typed(content_type).coded(coding));
            let mut answer = world.client("crm").get(&format!("/packed{path}")).purpose(OUTREACH).begin().await;
            let mut text = Vec::new();
            read(&mut answer, &mut text, pieces[0].len()).await.unwrap();
            assert_eq!(pieces[0].as_bytes(), text, "{coding} {path}");
            (0..2).for_each(|_| gate.release());
            read(&mut answer, &mut text, pieces[0].len() + pieces[2].len()).await.unwrap();
            assert_eq!(format!("{}{}", pieces[0], pieces[2]).as_bytes(), text, "{coding} {path}");
            (0..2).for_each(|_| gate.release());
            read(&mut answer, &mut text, usize::MAX).await.unwrap();
            assert_eq!(pieces[0].len() + pieces[2].len(), text.len(), "{coding} {path}");
        }
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_stream_that_is_damaged_breaks_off_and_one_that_cannot_be_prompt_is_refused() {
    let world = ready(packing()).await;
    let lines = [record("0031", 1), record("0058", 2)].map(|record| format!("{record}\n"));
    let whole = flushed("gzip", &lines);
    let mut sum = whole.clone();
    let mut end = sum[2].to_vec();
    *end.last_mut().unwrap() ^= 1;
    sum[2] = end.into();
    for (what, said, expected) in [
        ("without an end", whole[..2].to_vec(), lines.concat()),
        ("with a wrong end", sum, lines.concat()),
        ("with something behind it", [&whole[..], &[Bytes::from_static(b"{\"id\":\"0031\"}\n")]].concat(), lines.concat()),
        ("in mid-record", vec![whole[0].clone(), whole[1].slice(..whole[1].len() / 2)], lines[0].clone()),
        ("plain behind its first record", vec![whole[0].clone(), Bytes::from(lines[1].clone())], lines[0].clone()),
    ] {
        let gate = Gate::closed();
        world.upstream.on("GET /changes", by_turns(said, &gate).typed("application/x-ndjson").coded("gzip"));
        let mut answer = world.client("crm").get("/packed/changes").purpose(OUTREACH).begin().await;
        let mut text = Vec::new();
        read(&mut answer, &mut text, lines[0].len()).await.unwrap();
        gate.release();
        read(&mut answer, &mut text, expected.len()).await.unwrap();
        (0..3).for_each(|_| gate.release());
        assert!(read(&mut answer, &mut text, usize::MAX).await.is_err(), "{what}");
        assert_eq!(expected.as_bytes(), text, "{what}");
        assert_eq!(json!(false), told(&world).await.1["complete"], "{what}");
    }
    for coding in ["zstd", "gzip, gzip", "compress"] {
        world.upstream.on("GET /changes", said(zstd(lines.concat()), false).typed("application/x-ndjson").coded(coding));
        world.client("crm").get("/packed/changes").purpose(OUTREACH).await.refused(502, "upstream-unreadable");
    }
    world.finish().await;
}

/// What can be read of gzip that is not over.
fn so_far(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = GzDecoder::new(Vec::new());
    decoder.write_all(bytes).unwrap();
    decoder.flush().unwrap();
    decoder.get_ref().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_of_a_list_that_is_sent_encoded_can_be_read_when_it_comes() {
    let world = ready(packing()).await;
    let gate = Gate::closed();
    let halves = [format!("{{\"customers\":[{}", rows(0..MANY)), format!(",{}]}}", rows(MANY..2 * MANY))];
    let plan = by_turns(halves.map(Bytes::from).to_vec(), &gate);
    world.upstream.on("GET /customers", plan);
    for is_broken in [false, true] {
        let asked = world.client("crm");
        let mut answer = asked.get("/packed/customers").purpose(OUTREACH).header("accept-encoding", "gzip").begin().await;
        assert_eq!(("gzip", "accept-encoding"), (answer.headers()["content-encoding"].to_str().unwrap(), answer.headers()["vary"].to_str().unwrap()));
        let half = format!("{{\"customers\":[{}", released(0..MANY));
        let mut bytes = Vec::new();
        while so_far(&bytes).len() < half.len() {
            let more = bytes.len() + 1;
            read(&mut answer, &mut bytes, more).await.unwrap();
        }
        assert!(so_far(&bytes) == half.as_bytes());
        gate.arrived().await;
        if is_broken {
            world.consent("crm:0058", OUTREACH, "withdrawn").await;
            world
                .add_policy(
                    "@id(\"test-none\")\n@description(\"x\")\nforbid (principal, action, resource) when { context.purpose in Purpose::\"sales\" };",
                )
                .await;
        }
        (0..2).for_each(|_| gate.release());
        let ended = read(&mut answer, &mut bytes, usize::MAX).await;
        let mut decoder = GzDecoder::new(Vec::new());
        decoder.write_all(&bytes).unwrap();
        assert_eq!((is_broken, is_broken), (ended.is_err(), decoder.try_finish().is_err()), "neither HTTP nor gzip is at its end");
        let (_, end) = told(&world).await;
        assert_eq!((json!(!is_broken), json!(bytes.len())), (end["complete"].clone(), end["bytes"].clone()));
        if !is_broken {
            assert!(*decoder.get_ref() == format!("{{\"customers\":[{}]}}", released(0..2 * MANY)).as_bytes());
        }
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_withheld_leaves_no_trace_in_a_stream_that_is_sent_encoded() {
    let world = ready(packing()).await;
    let lines = [record("0031", 1), record("0044", 2), record("0058", 3)].map(|record| Bytes::from(format!("{record}\n")));
    let gate = Gate::closed();
    world.upstream.on("GET /changes", by_turns(lines.to_vec(), &gate).typed("application/x-ndjson"));
    let asked = world.client("crm");
    let mut answer = asked.get("/packed/changes").purpose(OUTREACH).header("accept-encoding", "gzip").begin().await;
    assert_eq!("gzip", answer.headers()["content-encoding"]);
    let mut bytes = Vec::new();
    while so_far(&bytes).len() < lines[0].len() {
        let more = bytes.len() + 1;
        read(&mut answer, &mut bytes, more).await.unwrap();
    }
    assert_eq!(lines[0], so_far(&bytes));
    gate.release();
    // Mina's is recorded as dropped.
    let dropped = async {
        while !entries(&world.log_dir()).iter().any(|entry| entry.resolved["dropped"] == 1) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the entry of the record that was dropped", dropped).await;
    let frame = tokio::time::timeout(Duration::from_millis(300), answer.body_mut().frame()).await;
    assert!(frame.is_err(), "{frame:?} tells that there was a record");
    (0..2).for_each(|_| gate.release());
    read(&mut answer, &mut bytes, usize::MAX).await.unwrap();
    assert_eq!([&lines[0][..], &lines[2]].concat(), so_far(&bytes));
    world.finish().await;
}
