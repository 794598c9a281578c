//! Floods: much that is cheap to send, and little that is never taken. What is told to clients as a limit is held, what is not told is
//! bounded, and whoever is served beside it is answered rightly.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use consentry::clock::SystemClock;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, HEADERS, Outcome, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, integer, read,
};
use super::{Line, answers, told};
use crate::harness::client::tls;
use crate::harness::people::{card, card_whole};
use crate::harness::{Client, Gate, Plan, World, entries, gateway, soon};
use crate::process::{OUTREACH, QUOTE, Site};

const SUPPORT: &str = "service-provision.support";
const CARD: &str = "/crm/cards/0031";
const ASK: &str = "GET /crm/cards/0031 HTTP/1.1\r\nhost: localhost\r\ndata-purpose: service-provision.support\r\n\r\n";
const REFUSED_STREAM: u32 = 7;
const FRAME_SIZE_ERROR: u32 = 6;

async fn world_with(limits: &'static str) -> World {
    let world = gateway().with("request_body = \"16KiB\"", limits).start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    world
}

async fn world() -> World {
    world_with("request_body = \"16KiB\"").await
}

/// Somebody else is served as ever.
async fn serves(world: &World) {
    world.client("crm").get(CARD).purpose("service-provision").await.released(200, &card_whole("0031", "a@example.net"));
}

/// The counts of rejects by their code.
async fn rejected(world: &World, code: &str) -> u64 {
    let look = async {
        loop {
            let found: u64 = entries(&world.log_dir())
                .iter()
                .filter(|entry| entry.kind() == "rejects" && entry.resolved["code"] == code)
                .map(|entry| entry.resolved["count"].as_u64().unwrap())
                .sum();
            if found > 0 {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(code, look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_http2_are_told_and_held() {
    let world = world().await;
    let client = world.client("helpdesk");
    let mut frames = Frames::open(&client, &[]).await;
    let mut told = frames.settings.clone();
    told.sort_unstable();
    // HPACK's table, streams at once, a stream's window, a frame, a list of headers. No extended CONNECT, no push.
    assert_eq!([(1, 4_096), (3, 100), (4, 65_536), (5, 16_384), (6, 65_536)], told[..]);

    let gate = Gate::closed();
    world.upstream.on("GET /cards/0031", Plan::json(&card("0031", "a@example.net")).behind(&gate));
    for n in 0..100 {
        frames.ask(2 * n + 1, &read(CARD)).await;
    }
    frames.ask(201, &read(CARD)).await;
    assert_eq!(Outcome::Reset(REFUSED_STREAM), frames.outcome(201).await, "one more");
    for _ in 0..100 {
        gate.arrived().await;
        gate.release();
    }
    let mut answered = 0;
    while answered < 100 {
        let frame = frames.until(|frame| frame.kind == HEADERS).await.unwrap();
        assert_eq!(0x88, frame.payload[0], "200");
        answered += 1;
    }
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    frames.ask(203, &read(CARD)).await;
    assert_eq!(Outcome::Status(200), frames.outcome(203).await, "there is room again");
    frames.try_send(&frame(DATA, 0, 203, &vec![0; 16_385])).await;
    assert_eq!(Some(FRAME_SIZE_ERROR), frames.end().await, "a frame that is one byte too long");

    // A window that is not opened any further: what is sent beyond it ends the stream or the connection.
    let mut frames = Frames::open(&client, &[]).await;
    let mut post = read(CARD);
    (post[0].1, post[4].1) = (b"PATCH", b"service-provision.support");
    post.push((b"content-type", b"application/json"));
    frames.send(HEADERS, END_HEADERS, 1, &block(&post)).await;
    for _ in 0..20 {
        frames.try_send(&frame(DATA, 0, 1, &[b' '; 16_384])).await;
    }
    let outcome = frames.outcome(1).await;
    assert!(matches!(outcome, Outcome::Status(400..=499) | Outcome::Reset(_) | Outcome::GoAway(_)), "{outcome:?}");
    drop(frames);
    serves(&world).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_taken_back_at_once_end_the_connection_and_their_work() {
    let world = world().await;
    let client = world.client("helpdesk");
    // All in one go: CVE-2023-44487.
    let mut frames = Frames::open(&client, &[]).await;
    let mut flood = Vec::new();
    for n in 0..2_000 {
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block(&read(CARD))));
        flood.extend(frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    frames.try_send(&flood).await;
    assert_eq!(Some(ENHANCE_YOUR_CALM), frames.end().await);
    assert!(world.upstream.asked().len() < 200, "the rest was never begun");
    assert!(rejected(&world, "http-flood").await > 0);

    // One by one, each once it is at the upstream: no library counts that.
    let gate = Gate::closed();
    world.upstream.on("GET /cards/0031", Plan::json(&card("0031", "a@example.net")).behind(&gate));
    let mut frames = Frames::open(&client, &[]).await;
    let mut begun = 0;
    for n in 0..400 {
        let ask = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block(&read(CARD)));
        if !frames.try_send(&ask).await {
            break;
        }
        begun += 1;
        // A ping's answer says that the request has been looked at.
        let back = [frame(PING, 0, 0, &[0; 8]), frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes())].concat();
        if !frames.try_send(&back).await || frames.until(|frame| frame.kind == PING && frame.flags & ACK == ACK).await.is_none() {
            break;
        }
    }
    assert!((100..300).contains(&begun), "{begun}");
    // Its places at the upstream are free again.
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    serves(&world).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_the_gateway_is_made_to_reset_end_the_connection() {
    let world = world().await;
    let client = world.client("helpdesk");
    let mut post = read(CARD);
    (post[0].1, post[4].1) = (b"PATCH", b"service-provision.support");
    post.push((b"content-type", b"application/json"));
    let post = block(&post);
    // CVE-2025-8671: a frame that is wrong on its stream only.
    for wrong in [(WINDOW_UPDATE, vec![0, 0, 0, 0]), (WINDOW_UPDATE, vec![0x7f, 0xff, 0xff, 0xff]), (PRIORITY, Vec::new())] {
        let mut frames = Frames::open(&client, &[]).await;
        let mut flood = Vec::new();
        for n in 0..1_000_u32 {
            let stream = 2 * n + 1;
            flood.extend(frame(HEADERS, END_HEADERS, stream, &post));
            let payload = if wrong.0 == PRIORITY { [&stream.to_be_bytes()[..], &[0]].concat() } else { wrong.1.clone() };
            flood.extend(frame(wrong.0, 0, stream, &payload));
        }
        frames.try_send(&flood).await;
        let end = frames.end().await;
        assert!(end.is_some_and(|code| code != 0), "{}: {end:?}", wrong.0);
    }
    assert!(world.upstream.asked().is_empty());
    serves(&world).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_or_grows_ends_the_connection() {
    let world = world().await;
    let client = world.client("helpdesk");
    let head = block(&read(CARD));
    // Each of so many frames, behind a head that is not ended.
    for (what, piece, code) in [
        ("empty", Vec::new(), Some(ENHANCE_YOUR_CALM)),
        ("small", block(&[(b"x", b"y")]), Some(ENHANCE_YOUR_CALM)),
        ("large", block(&[(b"x", &[b'y'; 16_000])]), None),
    ] {
        let mut frames = Frames::open(&client, &[]).await;
        frames.try_send(&frame(HEADERS, END_STREAM, 1, &head)).await;
        let flood = frame(CONTINUATION, 0, 1, &piece).repeat(2_000);
        frames.try_send(&flood).await;
        let end = frames.end().await;
        assert!(end.is_some_and(|end| end != 0 && code.is_none_or(|code| end == code)), "{what}: {end:?}");
    }
    // A few bytes that become megabytes: a field of the table, named again and again.
    let mut bomb = head.clone();
    bomb.extend([0x40]);
    bomb.extend([integer(7, 0, 1), b"x".to_vec(), integer(7, 0, 3_900), vec![b'y'; 3_900]].concat());
    bomb.extend(vec![0xbe; 10_000]);
    let mut frames = Frames::open(&client, &[]).await;
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &bomb).await;
    let outcome = frames.outcome(1).await;
    assert!(matches!(outcome, Outcome::Status(431) | Outcome::GoAway(1..) | Outcome::Reset(_)), "{outcome:?}");
    // A table larger than was told.
    let mut frames = Frames::open(&client, &[]).await;
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &[integer(5, 0x20, 1 << 20), head.clone()].concat()).await;
    let outcome = frames.outcome(1).await;
    assert!(matches!(outcome, Outcome::GoAway(1 | 9)), "{outcome:?}");
    assert!(world.upstream.asked().is_empty());
    serves(&world).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_not_kept_for_long() {
    let world = world_with("send_timeout = \"600ms\", idle_timeout = \"1s\"").await;
    let client = world.client("helpdesk");
    // No window at all: heads come, no bytes; then the stream is reset, and another is served.
    let mut frames = Frames::open(&client, &[(4, 0)]).await;
    for n in 0..50 {
        frames.ask(2 * n + 1, &read(CARD)).await;
    }
    let (mut reset, mut bytes) = (0, 0);
    while reset < 50 {
        let came = frames.read().await.expect("the connection stays");
        reset += usize::from(came.kind == RST_STREAM);
        bytes += if came.kind == DATA { came.payload.len() } else { 0 };
    }
    assert_eq!(0, bytes);
    frames.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).await;
    frames.ask(101, &read(CARD)).await;
    let data = frames.until(|frame| frame.kind == DATA && frame.stream == 101).await.unwrap();
    assert_eq!(card_whole("0031", "a@example.net").as_bytes(), data.payload);
    // Nothing more is asked: the gateway says good-bye.
    assert_eq!(Some(0), frames.end().await);
    // A window of one byte: the answer waits in the connection, which ends when nobody asks for anything any more.
    let mut frames = Frames::open(&client, &[(4, 1)]).await;
    frames.ask(1, &read(CARD)).await;
    frames.end().await;
    // Each of these is in the log, once.
    let ends = soon("the ends", async {
        loop {
            let ends: Vec<_> = entries(&world.log_dir()).into_iter().filter(|entry| entry.kind() == "end").map(|entry| entry.resolved).collect();
            if ends.len() >= 52 {
                return ends;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(52, ends.await.len());
    serves(&world).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_silent_and_abandoned_connections_end() {
    let world = world_with("header_timeout = \"400ms\", idle_timeout = \"800ms\", send_timeout = \"400ms\"").await;
    let client = world.client("helpdesk");
    let clock = SystemClock::shared();
    // A head that drips.
    let mut line = Line::open(&client).await;
    let began = clock.monotonic();
    let drips = soon("the end of a head that drips", async {
        let mut drips = 0;
        for byte in ASK.bytes().cycle() {
            if line.0.write_all(&[byte]).await.is_err() || line.0.flush().await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
            drips += 1;
        }
        drips
    });
    assert!(drips.await < 100, "{:?}", clock.monotonic() - began);
    // Silence before the first request, and between two.
    let mut line = Line::open(&client).await;
    assert_eq!("", line.rest().await);
    let mut line = Line::open(&client).await;
    line.send(ASK).await;
    assert_eq!([(200, String::new())], told(&line.rest().await)[..]);
    // A request that is at work is not idle.
    let gate = Gate::closed();
    world.upstream.on("GET /cards/0031", Plan::json(&card("0031", "a@example.net")).behind(&gate));
    let (crm, crm2) = (world.client("crm"), world.client("crm").http2());
    let ask = async |client: &Client| client.get(CARD).purpose("service-provision").await;
    let late = async {
        for _ in 0..2 {
            gate.arrived().await;
        }
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        gate.release();
        gate.release();
    };
    let (first, second, ()) = tokio::join!(ask(&crm), ask(&crm2), late);
    for answer in [first, second] {
        answer.released(200, &card_whole("0031", "a@example.net"));
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_has_so_many_connections_and_no_more() {
    let world = world_with("connections_per_ip = 3").await;
    let client = world.client("helpdesk");
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.push(Line::open(&client).await);
    }
    let refused = async || {
        let stream = TcpStream::connect(client.address).await.unwrap();
        client.begin_tls(stream, &["http/1.1"]).await.is_err()
    };
    assert!(refused().await && refused().await);
    for line in &mut lines {
        line.send(ASK).await;
        assert!(line.until("\"id\":\"0031\"").await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(2, rejected(&world, "client-connection-limit").await);
    // Who goes makes room.
    drop(lines.pop());
    soon("room", async {
        while refused().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    drop(lines);
    world.finish().await;
    let world = world_with("connections = 2").await;
    let client = world.client("helpdesk");
    let held = [Line::open(&client).await, Line::open(&client).await];
    let stream = TcpStream::connect(client.address).await.unwrap();
    assert!(client.begin_tls(stream, &["http/1.1"]).await.is_err());
    assert_eq!(1, rejected(&world, "connection-limit").await);
    drop(held);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_ends_the_work_and_is_in_the_log() {
    let world = world().await;
    let gate = Gate::closed();
    world.upstream.on("GET /cards/0031", Plan::json(&card("0031", "a@example.net")).behind(&gate));
    let client = world.client("helpdesk");
    let mut line = Line::open(&client).await;
    line.send(ASK).await;
    gate.arrived().await;
    drop(line);
    let mut frames = Frames::open(&client, &[]).await;
    frames.ask(1, &read(CARD)).await;
    gate.arrived().await;
    frames.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes()).await;
    let decided = async {
        loop {
            let logged = entries(&world.log_dir());
            if logged.iter().filter(|entry| entry.kind() == "permit").count() >= 2 {
                return logged.iter().filter(|entry| entry.kind() == "part").count();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(0, soon("the decisions", decided).await, "they are recorded, and that nothing went out");
    drop(frames);
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    serves(&world).await;
    gate.release();
    gate.release();
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upstream_holds_up_its_own_callers_alone() {
    // Takes connections, and never answers.
    let slow = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = slow.local_addr().unwrap().port();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = slow.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            held.push(stream);
        }
    });
    let apis = format!("{}{}", include_str!("../harness/apis.toml"), SLOW.replace("{port}", &port.to_string()));
    let world = gateway().apis(&apis).start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    let client = world.client("helpdesk").http2();
    let ask = async || client.get("/slow/cards/0031").purpose(SUPPORT).await;
    let beside = async {
        soon("two at the slow one", async {
            while taken.load(Ordering::Relaxed) < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        // There is no place for more, and they are told so soon; whoever asks elsewhere notices nothing.
        for _ in 0..3 {
            ask().await.refused(502, "upstream-unavailable");
            serves(&world).await;
        }
        taken.load(Ordering::Relaxed)
    };
    let (first, second, taken) = tokio::join!(ask(), ask(), beside);
    assert_eq!(2, taken);
    for answer in [first, second] {
        answer.refused(504, "upstream-timeout");
    }
    world.finish().await;
}

const SLOW: &str = r#"
[upstream.slow]
targets = ["http://127.0.0.1:{port}"]
in_flight_max = 2
timeouts = { connect = "100ms", first_byte = "2s", total = "3s" }
[[api]]
name = "slow"
owner = "marketing"
at = "/slow"
upstream = "slow"
[[api.route]]
match = "GET /cards/{id}"
customer = "path:id"
response = { shape = "card" }
"#;

/// Whose connection it is, as a balancer says.
async fn through(client: &Client, header: &[u8], bytes: &str) -> Option<String> {
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    stream.write_all(header).await.unwrap();
    let mut stream = soon("a handshake", client.begin_tls(stream, &["http/1.1"])).await.ok()?;
    stream.write_all(bytes.as_bytes()).await.ok()?;
    let mut text = Vec::new();
    drop(soon("an answer", stream.read_to_end(&mut text)).await);
    Some(String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_says_for_whom_it_connects_and_nobody_else_does() {
    let behind = |from: &'static str| {
        gateway().with(
            "client_certificates = { mode = \"require\", ca = \"certs/apps-ca.pem\" }\n",
            Box::leak(
                format!("client_certificates = {{ mode = \"require\", ca = \"certs/apps-ca.pem\" }}\nproxy_protocol = {{ from = [\"{from}\"] }}\n")
                    .into_boxed_str(),
            ),
        )
    };
    let ask = ASK.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let world = behind("127.0.0.0/8").start().await;
    world.upstream.json("GET /cards/0031", &card("0031", "a@example.net"));
    let client = world.client("helpdesk");
    let v1 = b"PROXY TCP4 192.0.2.77 198.51.100.7 56324 443\r\n";
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xc6\x33\x64\x07\xdc\x04\x01\xbb";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for header in [&v1[..], v2, local] {
        let text = through(&client, header, &ask).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{}: {text}", header.escape_ascii());
    }
    // Whoever a balancer speaks for is counted, and is nobody by that.
    let stranger = through(&client, v1, &ask.replace("data-purpose", "authorization: Bearer x\r\ndata-purpose")).await.unwrap();
    assert!(stranger.starts_with("HTTP/1.1 401 "), "{stranger}");
    assert_eq!(1, rejected(&world, "token-invalid").await);
    let networks: Vec<_> = entries(&world.log_dir()).iter().filter(|e| e.kind() == "rejects").map(|e| e.resolved["network"].clone()).collect();
    assert!(networks.iter().any(|network| network == "192.0.2.0/24"), "{networks:?}");
    for header in [
        &b""[..],
        b"PROXY TCP4 192.0.2.77 198.51.100.7 56324\r\n",
        b"PROXY TCP4 192.0.2.77 198.51.100.7 56324 443\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        assert_eq!(None, through(&client, header, &ask).await, "{}", header.escape_ascii());
    }
    assert!(rejected(&world, "proxy-header").await >= 4);
    world.finish().await;
    // Somebody who is no balancer says what they like.
    let world = behind("192.0.2.0/24").start().await;
    let client = world.client("helpdesk");
    for header in [&v1[..], v2, b""] {
        assert_eq!(None, through(&client, header, &ask).await);
    }
    assert_eq!(3, rejected(&world, "proxy-header").await);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_ever_told_of_another_customer() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 12;
    let ids = ["0031", "0044", "0012", "0058", "0070"];
    let world = gateway().start().await;
    // Answers come at odd times.
    for (n, id) in ids.into_iter().enumerate() {
        let (plan, _) = Plan::streamed(move |out: crate::harness::streamed::Out| async move {
            let text = card(id, &format!("{id}@example.net"));
            let (first, second) = text.split_at(7 + n);
            tokio::time::sleep(Duration::from_millis(n as u64 * 3)).await;
            out.say(first.to_owned()).await;
            tokio::time::sleep(Duration::from_millis(5 - n as u64)).await;
            out.say(second.to_owned()).await;
        });
        world.upstream.on(&format!("GET /cards/{id}"), plan);
    }
    let (right, denied) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<Client> =
        (0..CLIENTS).map(|n| if n.is_multiple_of(2) { world.client("helpdesk") } else { world.client("helpdesk").http2() }).collect();
    let each = async |n: usize, client: &Client| {
        for round in 0..ROUNDS {
            let one = async |id: &'static str, is_taken_back: bool| {
                let target = format!("/crm/cards/{id}");
                let ask = client.get(&target).purpose(SUPPORT).attempt();
                if is_taken_back {
                    // The client goes away in the middle; what follows on the connection is somebody's own.
                    drop(tokio::time::timeout(Duration::from_millis(round as u64), ask).await);
                    return;
                }
                let answer = ask.await.unwrap();
                if ["0044", "0070"].contains(&id) {
                    denied.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(403, answer.status.as_u16(), "nobody whom this app may know");
                    assert!(!answer.text().contains("example.net"));
                } else {
                    right.fetch_add(1, Ordering::Relaxed);
                    answer.released(200, &card_whole(id, &format!("{id}@example.net")));
                }
            };
            let at = |k: usize| ids[(n + round * 3 + k) % ids.len()];
            if n.is_multiple_of(2) {
                // A connection of HTTP/1.1 whose request is taken back is over; the next is another.
                one(at(0), round % 3 == 2).await;
                one(at(1), false).await;
            } else {
                tokio::join!(one(at(0), false), one(at(1), true), one(at(2), false), one(at(3), round % 2 == 0), one(at(4), false));
            }
        }
    };
    let all: Vec<_> = clients.iter().enumerate().map(|(n, client)| each(n, client)).collect();
    soon("all answers", futures(all)).await;
    assert!(right.load(Ordering::Relaxed) > 100 && denied.load(Ordering::Relaxed) > 60, "{right:?} {denied:?}");
    world.finish().await;
}

/// All of them at once.
async fn futures<F: Future<Output = ()>>(all: Vec<F>) {
    let mut all: Vec<_> = all.into_iter().map(|one| Some(Box::pin(one))).collect();
    std::future::poll_fn(|cx| {
        for one in &mut all {
            if one.as_mut().is_some_and(|one| one.as_mut().poll(cx).is_ready()) {
                *one = None;
            }
        }
        if all.iter().all(Option::is_none) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// The built program under every flood after each other: what it ever held of memory, and that it serves as ever.
#[test]
fn floods_take_no_memory() {
    let site = Site::new();
    site.edit("consentry.toml", "client_certificates", "limits = { send_timeout = \"500ms\", idle_timeout = \"2s\" }\nclient_certificates");
    let gateway = site.start();
    site.prepare();
    let client = Client::new(site.addresses.apps, tls(&site.state.certs().internal_ca, &site.state.certs().clients["crm"]), None)
        .host(site.addresses.apps.to_string());
    for _ in 0..20 {
        assert_eq!(200, site.read(QUOTE).status);
    }
    let authority = site.addresses.apps.to_string();
    let fields: Vec<(&[u8], &[u8])> = vec![
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", authority.as_bytes()),
        (b":path", QUOTE.as_bytes()),
        (b"data-purpose", OUTREACH.as_bytes()),
    ];
    let head = block(&fields);
    let before = gateway.memory_kib();
    site.block(async {
        let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0x40, 0]);
        let pings = frame(PING, 0, 0, &[7; 8]);
        let priority = frame(PRIORITY, 0, 9, &[0, 0, 0, 7, 1]);
        let window = frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
        let unknown = frame(0x42, 0, 0, &[0; 64]);
        for (what, flood) in [("SETTINGS", settings), ("PING", pings), ("PRIORITY", priority), ("WINDOW_UPDATE", window), ("unknown frames", unknown)]
        {
            let mut frames = Frames::open(&client, &[]).await;
            // Nothing of what it answers is read.
            let flood = flood.repeat(20_000);
            frames.try_send(&flood).await;
            drop((what, frames));
        }
        // Empty DATA on a stream that waits for its body.
        let mut frames = Frames::open(&client, &[]).await;
        let mut post = fields.clone();
        (post[0].1, post[3].1) = (b"POST", b"/crm/customers");
        frames.try_send(&frame(HEADERS, END_HEADERS, 1, &block(&post))).await;
        frames.try_send(&frame(DATA, 0, 1, &[]).repeat(20_000)).await;
        let end = frames.end().await;
        assert!(end.is_some_and(|end| end != 0), "empty DATA: {end:?}");
        let after = gateway.memory_kib();
        assert!(after < before + (16 << 10), "frames: {before} KiB became {after} KiB");
        // Clients that ask all that they may, and take nothing.
        let mut greedy = Vec::new();
        for _ in 0..10 {
            let mut frames = Frames::open(&client, &[(4, 0)]).await;
            for n in 0..100 {
                frames.send(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head).await;
            }
            greedy.push(frames);
        }
        for frames in &mut greedy {
            frames.end().await;
        }
        // Heads that come to just under what they may.
        let mut heads = Vec::new();
        for _ in 0..50 {
            let mut line = Line::open(&client).await;
            line.send(format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(60 << 10))).await;
            heads.push(line);
        }
    });
    // A thousand requests at once, whose answers nobody takes, and fifty heads of 60 KiB.
    let after = gateway.memory_kib();
    assert!(after < before + (80 << 10), "{before} KiB became {after} KiB");
    assert_eq!(200, site.read(QUOTE).status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_waits_for_its_reader_so_long_and_no_longer() {
    let world = world_with("send_timeout = \"2s\"").await;
    let about = format!("{{\"text\":\"{}\"}}", "y".repeat(7 << 20));
    world.upstream.json("GET /about", &about);
    let client = world.client("crm");
    let open = async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let stream = socket.connect(client.address).await.unwrap();
        let mut line = Line(client.begin_tls(stream, &["http/1.1"]).await.unwrap());
        line.send("GET /crm/about HTTP/1.1\r\nhost: localhost\r\ndata-purpose: sales.outreach\r\nconnection: close\r\n\r\n").await;
        line
    };
    let mut slow = open().await;
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    let text = slow.rest().await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.len() < about.len(), "it was cut: {}", text.len());
    let mut steady = open().await;
    let mut taken = Vec::new();
    while taken.len() < about.len() {
        // The kernel asks for more once a third of its own buffer is free: of megabytes, which is not to take as long as the limit.
        if taken.len() < 256 << 10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(soon("bytes", steady.0.read_buf(&mut taken)).await.unwrap() > 0);
    }
    assert_eq!(
        200,
        answers(&client, "GET /crm/about HTTP/1.1\r\nhost: localhost\r\ndata-purpose: sales.outreach\r\nconnection: close\r\n\r\n").await[0].0
    );
    let whole = client.get("/crm/about").purpose("sales.outreach").begin().await.into_body().collect().await.unwrap();
    assert_eq!(about.len(), whole.to_bytes().len());
    world.finish().await;
}
