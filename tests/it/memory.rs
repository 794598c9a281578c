//! How much memory a long list takes: the built binary before an API of generated rows, and the kernel's word for what it used.

use std::io::{BufRead as _, BufReader, BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use consentry::clock::SystemClock;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::harness::Client;
use crate::harness::client::tls;
use crate::process::{Gateway, OUTREACH, QUOTE, Site, code};

/// Jonas has agreed to outreach.
const ROW: &str = r#"{"id":"0012","updatedAt":"2026-07-01","name":{"given":"Jonas","family":"Lindqvist"},"birthDate":"1981-04-12","contact":{"email":"jonas.lindqvist@example.net","phone":"+49 170 1234567"},"dietaryNote":"vegan","internal":[1,2,{"a":null}]}"#;
const RELEASED: &str = r#"{"id":"0012","updatedAt":"2026-07-01","name":{"given":"Jonas","family":"Lindqvist"},"birthDate":"1981-04-12","contact":{"email":"jonas.lindqvist@example.net","phone":"+49 170 1234567"}}"#;
/// Mina has not.
const DROPPED: &str =
    r#"{"id":"0044","updatedAt":"2026-07-01","name":{"given":"Mina","family":"Okafor"},"contact":{"email":"mina.okafor@example.net"}}"#;
/// As many rows are said before somebody is looked for who holds the rest back.
const HELD_AT: usize = 10_000;

/// An API in the clear: `?limit=n` is so many rows, two of Jonas and one of Mina in turn.
struct Rows {
    address: SocketAddr,
    is_held: Arc<AtomicBool>,
}

impl Rows {
    /// `is_packed`: as gzip.
    fn start(is_packed: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let this = Self { address: listener.local_addr().unwrap(), is_held: Arc::default() };
        let is_held = Arc::clone(&this.is_held);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let is_held = Arc::clone(&is_held);
                // The gateway may have given up: that is what some tests are about.
                thread::spawn(move || drop(answer(&stream, &is_held, is_packed)));
            }
        });
        this
    }
}

fn answer(stream: &TcpStream, is_held: &AtomicBool, is_packed: bool) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let wanted: usize = first.split_once("limit=").and_then(|(_, rest)| rest.split([' ', '&']).next()?.parse().ok()).unwrap_or(0);
    let mut out = BufWriter::with_capacity(64 * 1024, stream);
    let coding = if is_packed { "content-encoding: gzip\r\n" } else { "" };
    write!(out, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{coding}connection: close\r\n\r\n")?;
    if !is_packed {
        say(&mut out, wanted, is_held)?;
        return out.flush();
    }
    let mut packed = GzEncoder::new(out, Compression::fast());
    say(&mut packed, wanted, is_held)?;
    packed.finish()?.flush()
}

fn say(out: &mut impl Write, wanted: usize, is_held: &AtomicBool) -> std::io::Result<()> {
    write!(out, "{{\"total\":{wanted},\"customers\":[")?;
    for n in 0..wanted {
        if n == HELD_AT {
            out.flush()?;
            while is_held.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(10));
            }
        }
        let row = if n % 3 == 2 { DROPPED } else { ROW };
        write!(out, "{}{row}", if n == 0 { "" } else { "," })?;
    }
    write!(out, "]}}")
}

fn rows_of(bytes: usize) -> usize {
    3 * bytes / (2 * ROW.len() + DROPPED.len())
}

fn site(rows: &Rows) -> Site {
    let site = Site::new();
    let real = format!("[upstream.crm]\ntargets = [\"https://{}\"]\ntls = {{ ca = \"certs/internal-ca.pem\" }}\n", site.apis.crm);
    site.edit("consentry.toml", &real, &format!("[upstream.crm]\ntargets = [\"http://{}\"]\ndecode_ratio_max = 1000\n", rows.address));
    site
}

fn client(site: &Site) -> Client {
    Client::new(site.addresses.apps, tls(&site.state.certs().internal_ca, &site.state.certs().clients["crm"]), None)
        .host(site.addresses.apps.to_string())
}

async fn begin(client: &Client, rows: usize, http2: bool) -> Response<Incoming> {
    let asked = client.get(&format!("/crm/customers?limit={rows}")).purpose(OUTREACH);
    let answer = if http2 { asked.begin().await } else { asked.begin_http1().await };
    assert_eq!(200, answer.status().as_u16());
    answer
}

/// What is to come, compared as it comes. The last two bytes are kept back: they may be the end.
struct Expected {
    bytes: usize,
    turn: Vec<u8>,
    kept: Vec<u8>,
}

const BEGINNING: &[u8] = b"{\"customers\":[";

impl Expected {
    fn new() -> Self {
        Self { bytes: 0, turn: format!("{RELEASED},").into_bytes(), kept: Vec::new() }
    }

    fn take(&mut self, came: &[u8]) {
        self.kept.extend_from_slice(came);
        let mut passed = 0;
        while passed + 2 < self.kept.len() {
            let expected = match self.bytes.checked_sub(BEGINNING.len()) {
                None => &BEGINNING[self.bytes..],
                Some(at) => &self.turn[at % self.turn.len()..],
            };
            let here = &self.kept[passed..self.kept.len() - 2];
            let length = here.len().min(expected.len());
            assert!(here[..length] == expected[..length], "at byte {} came {:?}", self.bytes, String::from_utf8_lossy(&here[..length]));
            (self.bytes, passed) = (self.bytes + length, passed + length);
        }
        self.kept.drain(..passed);
    }
}

/// Reads all of a list; with `pauses`, a slow reader.
async fn whole(answer: &mut Response<Incoming>, rows: usize, pauses: usize) {
    let mut expected = Expected::new();
    let mut pauses_left = pauses;
    while let Some(frame) = answer.body_mut().frame().await {
        expected.take(&frame.unwrap().into_data().unwrap());
        if pauses_left > 0 {
            pauses_left -= 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let kept = rows - rows / 3;
    assert_eq!((BEGINNING.len() + kept * (RELEASED.len() + 1) - 1, &b"]}"[..]), (expected.bytes, &*expected.kept));
}

/// Passes a list of so many bytes, to two clients after each other, and a third that reads nothing of another; the most memory that
/// the gateway ever had, in KiB, before and after.
fn passed(bytes: usize, pauses: usize, is_packed: bool) -> (u64, u64, Duration) {
    let rows = Rows::start(is_packed);
    let site = site(&rows);
    let gateway = site.start();
    site.prepare();
    let client = client(&site);
    let count = rows_of(bytes);
    let few = site.block(async { begin(&client, 3, false).await.into_body().collect().await.unwrap().to_bytes() });
    assert_eq!(format!("{{\"total\":2,\"customers\":[{RELEASED},{RELEASED}]}}"), few);
    let before = gateway.memory_kib();
    let clock = SystemClock::shared();
    let started = clock.monotonic();
    site.block(async { whole(&mut begin(&client, count, false).await, count, pauses).await });
    let took = clock.monotonic() - started;
    site.block(async {
        let lazy = begin(&client, count, true).await;
        let mut slow = begin(&client, count.min(300_000), true).await;
        whole(&mut slow, count.min(300_000), pauses).await;
        drop(lazy);
    });
    let after = gateway.memory_kib();
    let entries = site.entries();
    let ends: Vec<_> = entries.iter().filter(|entry| entry["kind"] == "end" && entry["rows"].as_u64() > Some(2)).collect();
    assert!(ends.iter().any(|end| end["complete"] == true && end["rows"] == count - count / 3), "{ends:?}");
    drop(gateway);
    (before, after, took)
}

#[test]
fn a_list_takes_no_memory_by_its_length() {
    let (before, after, _) = passed(48 << 20, 5, false);
    assert!(after < before + (24 << 10), "{before} KiB became {after} KiB for a list of 48 MiB");
}

#[test]
fn a_list_that_comes_as_a_few_bytes_takes_no_memory_by_what_they_become() {
    let (before, after, _) = passed(48 << 20, 5, true);
    assert!(after < before + (24 << 10), "{before} KiB became {after} KiB for a list of 48 MiB");
}

/// `cargo test --release --test it -- --ignored --nocapture a_list_of_a_gigabyte`; or without `--release` and with the path of a
/// release build in `GATEWAY_UNDER_TEST`. The debug build has some 55 MiB of program text in memory, which is not what this is about.
#[test]
#[ignore = "a gigabyte; for the release build"]
fn a_list_of_a_gigabyte_passes_in_64_mib() {
    let (before, after, took) = passed(1 << 30, 20, false);
    #[expect(clippy::print_stdout, reason = "a figure for whoever looks")]
    let () = println!("1 GiB: {before} KiB before, {after} KiB at most, {took:?} with a reader who paused for 4 s");
    assert!(after <= 64 << 10, "{after} KiB");
}

#[test]
fn a_log_that_fails_in_mid_list_ends_it_and_all_that_comes_after() {
    for how in ["moved", "full"] {
        let rows = Rows::start(false);
        let site = site(&rows);
        let gateway = if how == "full" { site.start_with_failing_writes() } else { site.start() };
        site.prepare();
        let client = client(&site);
        rows.is_held.store(true, Ordering::Relaxed);
        let received = site.block(async {
            let mut answer = begin(&client, 3 * HELD_AT, how == "full").await;
            let (mut expected, mut failed) = (Expected::new(), false);
            // All that can go out before.
            let before = HELD_AT * 2 / 3 * RELEASED.len();
            while expected.bytes < before {
                expected.take(&answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap());
            }
            break_log(&site, &gateway, how);
            rows.is_held.store(false, Ordering::Relaxed);
            let after = expected.bytes;
            while let Some(frame) = answer.body_mut().frame().await {
                match frame {
                    Ok(frame) => expected.take(&frame.into_data().unwrap()),
                    Err(_broken) => {
                        failed = true;
                        break;
                    }
                }
            }
            (failed, expected.bytes - after)
        });
        assert!(received.0 && received.1 < 16 * 1024, "{how}: {received:?}");
        let refused = site.read_until(QUOTE, |reply| reply.status == 503);
        assert_eq!("audit-unavailable", code(&refused), "{how}");
    }
}

fn break_log(site: &Site, gateway: &Gateway, how: &str) {
    if how == "full" {
        let segments = std::fs::read_dir(site.log()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        assert!(segments.max().unwrap() > 0);
        gateway.limit_files(4_096);
        return;
    }
    std::fs::rename(site.log(), site.path().join("elsewhere")).unwrap();
    // It is missed within a second or two.
    for _ in 0..500 {
        if site.health("/readyz").0 == 503 {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("the log is not missed");
}
