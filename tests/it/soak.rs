//! A gateway for a long time under all at once: reads, withdrawals and consents, reloads good and broken, an API that fails in every
//! way. No wrong answer, flat memory, nothing stuck, and a log that verifies.
//!
//! Ten seconds with the other tests; for an hour, with a line each minute:
//!
//! ```text
//! SOAK_SECONDS=3600 cargo test --locked --test it soak -- --nocapture
//! ```

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use consentry::cli::demo::{AppClient, Reply};
use consentry::clock::SystemClock;
use serde_json::Value;

use crate::process::{Gateway, OUTREACH, Site, code, import_many, patiently, read, text};

/// Customers who are asked about; each has somebody who changes their mind.
const CUSTOMERS: usize = 8;
const FIRST: usize = 1_000;
const READERS: usize = 6;
/// Between two requests of one reader: the load is bounded, whatever the machine.
const PAUSE: Duration = Duration::from_millis(4);
/// Stands in each record, in a member that goes to nobody.
const SECRET: &str = "never-to-be-told";

/// An API in the clear that keeps connections, and fails now and then.
fn failing_api() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            // The gateway may have given up.
            thread::spawn(move || drop(serve(&stream, &count)));
        }
    });
    (address, asked)
}

fn serve(stream: &TcpStream, asked: &AtomicUsize) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream);
    let mut out = stream;
    loop {
        let mut first = String::new();
        if lines.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut line = String::new();
        while lines.read_line(&mut line)? > 2 {
            line.clear();
        }
        let path = first.split(' ').nth(1).unwrap_or_default();
        let id: usize = path.rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or(0);
        let nth = asked.fetch_add(1, Ordering::Relaxed);
        if nth.is_multiple_of(17) {
            thread::sleep(Duration::from_millis(30));
        }
        let body = record(if nth.is_multiple_of(43) { id + 1 } else { id });
        let head = |status: &str, length: usize| format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        match nth {
            _ if nth.is_multiple_of(29) => out.write_all((head("500 Broken", SECRET.len()) + SECRET).as_bytes())?,
            // Breaks off, goes without a word, or sends what nobody asked for.
            _ if nth.is_multiple_of(31) => return out.write_all((head("200 OK", body.len() + 9) + &body).as_bytes()),
            _ if nth.is_multiple_of(37) => return Ok(()),
            _ if nth.is_multiple_of(41) => out.write_all((head("200 OK", body.len()) + &body + &head("200 OK", 2) + "{}").as_bytes())?,
            _ => out.write_all((head("200 OK", body.len()) + &body).as_bytes())?,
        }
    }
}

fn record(id: usize) -> String {
    format!(
        r#"{{"id":"{id}","updatedAt":"2026-07-01","name":{{"given":"Nobody","family":"Number-{id}"}},"contact":{{"email":"nobody.{id}@example.net"}},"dietaryNote":"{SECRET}"}}"#
    )
}

/// What a customer has said, as far as it is acknowledged: even while it is being said, then 1 + 4n for a yes, 3 + 4n for a no.
struct Mind(AtomicU64);

impl Default for Mind {
    fn default() -> Self {
        Self(AtomicU64::new(3))
    }
}

impl Mind {
    fn now(&self) -> Option<(u64, bool)> {
        let said = self.0.load(Ordering::SeqCst);
        (said % 2 == 1).then_some((said, said % 4 == 1))
    }

    async fn change(&self, site: &Site, customer: usize) {
        let before = self.0.fetch_add(1, Ordering::SeqCst);
        let says = if (before + 2) % 4 == 1 { "given" } else { "withdrawn" };
        let reply = site.try_say(&customer.to_string(), says).await;
        assert_eq!(201, reply.status.as_u16(), "{}", text(&reply));
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Tally {
    released: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    changed: AtomicU64,
    reloads: AtomicU64,
}

/// Judges one answer by what the customer had said before it was asked for, if that is what they say still.
fn judge(customer: usize, reply: &Reply, said: Option<bool>, tally: &Tally) {
    let body = text(reply);
    assert!(!body.contains(SECRET), "what nobody may see: {body}");
    match reply.status.as_u16() {
        200 => {
            assert_ne!(Some(false), said, "released after a withdrawal: {body}");
            assert!(body.contains(&format!("\"id\":\"{customer}\"")) && body.contains(&format!("Number-{customer}\"")), "of somebody else: {body}");
            tally.released.fetch_add(1, Ordering::Relaxed);
        }
        403 => {
            assert_ne!(Some(true), said, "refused though they agree: {body}");
            assert_eq!("denied", code(reply));
            tally.refused.fetch_add(1, Ordering::Relaxed);
        }
        502 => {
            assert!(["upstream-unavailable", "upstream-unreadable"].contains(&code(reply).as_str()), "{body}");
            tally.failed.fetch_add(1, Ordering::Relaxed);
        }
        other => panic!("{other}: {body}"),
    }
}

async fn ask(app: AppClient, at: SocketAddr, first: usize, minds: Arc<Vec<Mind>>, tally: Arc<Tally>, is_over: Arc<AtomicBool>) {
    let mut turn = first;
    while !is_over.load(Ordering::Relaxed) {
        let (customer, mind) = (FIRST + turn % CUSTOMERS, &minds[turn % CUSTOMERS]);
        turn += 1;
        let before = mind.now();
        // An answer that is overtaken while it is sent is cut.
        if let Ok(reply) = read(&app, at, &format!("/crm/customers/{customer}"), OUTREACH).await {
            judge(customer, &reply, before.filter(|_| mind.now() == before).map(|(_, agrees)| agrees), &tally);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a test takes is nobody's configuration")]
fn seconds() -> u64 {
    std::env::var("SOAK_SECONDS").ok().map_or(10, |text| text.parse().unwrap())
}

/// Memory and descriptors of the gateway now.
fn used(gateway: &Gateway) -> (u64, usize) {
    (gateway.memory_now_kib(), gateway.descriptors())
}

fn gauge(site: &Site, name: &str) -> f64 {
    let (_, metrics) = site.health("/metrics");
    let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
#[expect(clippy::print_stdout, reason = "an hour without a word looks like a test that hangs")]
fn nothing_goes_wrong_for_as_long_as_it_is_tried() {
    let seconds = seconds();
    let site = Arc::new(Site::new());
    let (api, asked) = failing_api();
    let real = format!("[upstream.crm]\ntargets = [\"https://{}\"]\ntls = {{ ca = \"certs/internal-ca.pem\" }}\n", site.apis.crm);
    site.edit("consentry.toml", &real, &format!("[upstream.crm]\ntargets = [\"http://{api}\"]\n"));
    let gateway = site.start();
    site.prepare();
    import_many(&site);

    let (minds, tally): (Arc<Vec<Mind>>, Arc<Tally>) = (Arc::new((0..CUSTOMERS).map(|_| Mind::default()).collect()), Arc::default());
    let is_over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for reader in 0..READERS {
        let (app, at) = (site.app("crm"), site.addresses.apps);
        tasks.push(site.spawn(ask(app, at, reader * 3, Arc::clone(&minds), Arc::clone(&tally), Arc::clone(&is_over))));
    }
    let (changing, minds_of, changed, over) = (Arc::clone(&site), Arc::clone(&minds), Arc::clone(&tally), Arc::clone(&is_over));
    tasks.push(site.spawn(async move {
        let mut turn = 0;
        while !over.load(Ordering::Relaxed) {
            minds_of[turn % CUSTOMERS].change(&changing, FIRST + turn % CUSTOMERS).await;
            changed.changed.fetch_add(1, Ordering::Relaxed);
            turn += 1;
            tokio::time::sleep(PAUSE * 5).await;
        }
    }));

    let clock = SystemClock::shared();
    let begin = clock.monotonic();
    let whole = Duration::from_secs(seconds);
    let good = fs::read_to_string(site.path().join("consentry.toml")).unwrap();
    let (mut seen, mut said) = (Vec::new(), 0);
    while clock.monotonic() - begin < whole {
        assert!(tasks.iter().all(|task| !task.is_finished()), "a reader has ended: its panic stands above");
        let turn = tally.reloads.fetch_add(1, Ordering::Relaxed);
        let is_broken = turn % 5 == 4;
        if is_broken {
            fs::write(site.path().join("consentry.toml"), format!("{good}\n[nonsense]\n")).unwrap();
        }
        gateway.signal("HUP");
        thread::sleep(Duration::from_millis(400));
        if is_broken {
            site.ready_until(|status, document| status == 200 && check(document, "config") == "degraded");
            fs::write(site.path().join("consentry.toml"), &good).unwrap();
            gateway.signal("HUP");
            site.ready_until(|_, document| check(document, "config") == "ok");
        }
        let past = clock.monotonic() - begin;
        seen.push(used(&gateway));
        if past.as_secs() / 60 > said {
            said = past.as_secs() / 60;
            println!("{}", report(said * 60, &tally, &asked, &[used(&gateway)]));
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        site.block(task).unwrap();
    }
    let (early, late) = (&seen[..seen.len() * 2 / 5], &seen[seen.len() * 4 / 5..]);
    println!("{}\nat first {}\nat last {}", report(seconds, &tally, &asked, &[used(&gateway)]), shown(early), shown(late));

    // Memory is flat but for what caches hold once they are full; connections and requests are gone.
    let worst = |seen: &[(u64, usize)]| seen.iter().map(|(kib, _)| *kib).max().unwrap();
    assert!(worst(late) <= worst(early) * 11 / 10 + 24 * 1024, "memory grows: {} KiB, then {}", worst(early), worst(late));
    let descriptors = |seen: &[(u64, usize)]| seen.iter().map(|(_, open)| *open).max().unwrap();
    assert!(descriptors(late) <= descriptors(early) + 16, "descriptors leak: {}, then {}", descriptors(early), descriptors(late));
    patiently(|| if gauge(&site, "consentry_requests_in_flight") == 0.0 { Ok(()) } else { Err("a request is stuck") });
    for count in [&tally.released, &tally.refused, &tally.failed, &tally.changed] {
        assert!(count.load(Ordering::Relaxed) > 20, "hardly anything was tried");
    }
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let verified = site.run(&["audit", "verify", site.log().to_str().unwrap()]);
    assert_eq!(0, verified.exit, "{verified:?}");
}

fn check(document: &Value, name: &str) -> String {
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).and_then(|check| check["state"].as_str()).unwrap_or_default().to_owned()
}

fn report(seconds: u64, tally: &Tally, asked: &AtomicUsize, seen: &[(u64, usize)]) -> String {
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    format!(
        "soak {seconds} s: {} released, {} refused, {} failures of the API in {} requests to it; {} changes of mind, {} reloads; {}",
        count(&tally.released),
        count(&tally.refused),
        count(&tally.failed),
        asked.load(Ordering::Relaxed),
        count(&tally.changed),
        count(&tally.reloads),
        shown(seen)
    )
}

fn shown(seen: &[(u64, usize)]) -> String {
    let (least, most) = (seen.iter().map(|(kib, _)| kib / 1024).min(), seen.iter().map(|(kib, _)| kib / 1024).max());
    let open = seen.iter().map(|(_, open)| *open).max();
    format!("{}-{} MiB, {} descriptors", least.unwrap_or(0), most.unwrap_or(0), open.unwrap_or(0))
}
