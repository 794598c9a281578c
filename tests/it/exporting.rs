//! Events of the decision log at receivers that fail, hang, go away and come back: nothing is lost, and nobody else notices.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use consentry::audit::export::{Position, Step, Tail, record};
use consentry::cli::certs::PemPair;
use consentry::clock::SystemClock;
use consentry::model::EventFormat as Format;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::process::{MINA, MINAS, QUOTE, Site, UNKNOWN, binary, import_many, index, patiently};

/// What a receiver does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Takes,
    /// Reads it all and answers that it failed.
    Fails(u16),
    /// Reads and never answers.
    Hangs,
}

/// Id -> every form in which it came.
type Events = BTreeMap<String, Vec<String>>;

type Asked = (Option<String>, Option<String>, usize);

/// A receiver over TLS on loopback.
struct Receiver {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    taken: Arc<Mutex<Events>>,
    /// `Authorization`, `Content-Type` and how many lines.
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Receiver {
    fn mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn taken(&self) -> Events {
        self.taken.lock().unwrap().clone()
    }

    async fn start(pair: &PemPair, serve: impl Fn(TlsStream<TcpStream>, Arc<Self>) -> tokio::task::JoinHandle<()> + Send + 'static) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            mood: Arc::new(Mutex::new(Mood::Takes)),
            taken: Arc::default(),
            asked: Arc::default(),
        });
        let (acceptor, shared) = (acceptor(pair), Arc::clone(&receiver));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, Arc::clone(&shared));
                }
            }
        });
        receiver
    }

    /// POSTs of lines of JSON, each with its id at `place`; no batch of over `lines_max` lines.
    async fn https(pair: &PemPair, place: &'static str, lines_max: usize) -> Arc<Self> {
        Self::start(pair, move |stream, shared| {
            tokio::spawn(async move {
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let shared = Arc::clone(&shared);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = String::from_utf8(body.collect().await?.to_bytes().to_vec()).unwrap();
                        let text = |name| head.headers.get(name).map(|value: &http::HeaderValue| value.to_str().unwrap().to_owned());
                        shared.asked.lock().unwrap().push((text("authorization"), text("content-type"), body.lines().count()));
                        let mood = *shared.mood.lock().unwrap();
                        let status = match mood {
                            Mood::Hangs => std::future::pending().await,
                            Mood::Fails(status) => status,
                            Mood::Takes if body.lines().count() > lines_max => 413,
                            Mood::Takes => {
                                for line in body.lines() {
                                    let id = serde_json::from_str::<Value>(line).unwrap().pointer(place).unwrap().as_str().unwrap().to_owned();
                                    shared.taken.lock().unwrap().entry(id).or_default().push(line.to_owned());
                                }
                                202
                            }
                        };
                        Ok::<_, hyper::Error>(
                            Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Full::<Bytes>::default()).unwrap(),
                        )
                    }
                });
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            })
        })
        .await
    }

    /// RFC 5425 frames of CEF.
    async fn syslog(pair: &PemPair) -> Arc<Self> {
        Self::start(pair, |stream, shared| {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while *shared.mood.lock().unwrap() == Mood::Takes {
                    let Some(message) = frame(&mut stream).await else { return };
                    let (head, cef) = message.split_once(" - ").and_then(|(head, rest)| Some((head, rest.split_once(" - ")?.1))).unwrap();
                    let valid =
                        head.starts_with('<') && head.contains(">1 20") && head.ends_with(" consentry") && cef.starts_with("CEF:0|consentry|");
                    assert!(valid, "{message}");
                    let id = cef.split("externalId=").nth(1).unwrap().split(' ').next().unwrap();
                    shared.taken.lock().unwrap().entry(id.to_owned()).or_default().push(cef.to_owned());
                }
            })
        })
        .await
    }
}

fn acceptor(pair: &PemPair) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = vec![CertificateDer::from_pem_file(&pair.chain).unwrap()];
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(&pair.key).unwrap()).unwrap()))
}

/// One octet-counted message; `None` at the end of the connection.
async fn frame(stream: &mut BufReader<TlsStream<TcpStream>>) -> Option<String> {
    let mut length = 0;
    loop {
        match stream.read_u8().await.ok()? {
            b' ' => break,
            digit => length = length * 10 + usize::from(digit.checked_sub(b'0').filter(|digit| *digit < 10).unwrap()),
        }
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await.ok()?;
    Some(String::from_utf8(message).unwrap())
}

/// What stands in the log: id -> the event in a format.
fn expected(log: &Path, format: Format) -> BTreeMap<String, String> {
    let mut tail = Tail::open(log, &consentry::audit::export::origin(log).unwrap(), Position::default()).unwrap();
    let mut all = BTreeMap::new();
    loop {
        match tail.step(None, None).unwrap() {
            Step::Event(event) => all.insert(event.id(), record(format, &event)),
            Step::Read => None,
            Step::Idle => return all,
        };
    }
}

/// Waits until everything that the log holds has come; whatever came more than once was the same.
fn complete(site: &Site, what: &str, format: Format, taken: impl Fn() -> Events) {
    patiently(|| {
        let (log, taken) = (expected(&site.log(), format), taken());
        let missing: Vec<&String> = log.keys().filter(|id| !taken.contains_key(*id)).collect();
        for (id, forms) in &taken {
            if let Some(event) = log.get(id) {
                assert!(forms.iter().all(|form| form == event), "{what} {id}: {forms:?} for {event}");
            }
        }
        if missing.is_empty() && taken.len() > 20 {
            Ok(())
        } else {
            Err(format!("{what}: {} of {} are missing, {missing:?}", missing.len(), log.len()))
        }
    });
}

fn of_file(path: &Path) -> Events {
    let mut events = Events::new();
    for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
        let id = serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))["id"].as_str().unwrap().to_owned();
        events.entry(id).or_default().push(line.to_owned());
    }
    events
}

fn troubles(ready: &Value) -> Vec<String> {
    let checks = ready["checks"].as_array().unwrap().iter();
    let degraded = checks.filter(|check| check["name"] == "export").inspect(|check| assert_eq!(check["state"], "degraded", "{check}"));
    degraded.map(|check| check["why"].as_str().unwrap().to_owned()).collect()
}

/// The median time of a read.
fn latency(site: &Site) -> Duration {
    let clock = SystemClock::shared();
    let mut times: Vec<Duration> = (0..40)
        .map(|_| {
            let before = clock.monotonic();
            assert_eq!(site.read(QUOTE).status, 200);
            clock.monotonic() - before
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// Waits until a metric of an export is as wanted; gauges are set each second.
fn metric_until(site: &Site, name: &str, export: &str, wanted: impl Fn(f64) -> bool) {
    let start = format!("consentry_{name}{{export=\"{export}\"}} ");
    patiently(|| {
        let text = site.health("/metrics").1;
        let found = text.lines().find_map(|line| line.strip_prefix(&start)).and_then(|value| value.parse().ok());
        if found.is_some_and(&wanted) { Ok(()) } else { Err(format!("{start} is {found:?}")) }
    });
}

#[test]
fn receivers_that_fail_hang_and_come_back_have_every_decision_and_nobody_waits_for_them() {
    let site = Site::new();
    let pair = site.state.certs().gateway.clone();
    let siem = site.block(Receiver::https(&pair, "/metadata/uid", 100));
    let soc = site.block(Receiver::syslog(&pair));
    let file = site.path().join("events.ndjson");
    std::fs::write(site.path().join("token"), "t0ken-of-the-siem\n").unwrap();
    let exports = format!(
        "[audit]\nexport = [\n\
         {{ name = \"siem\", format = \"ocsf\", to = \"https://localhost:{}/in\", token = {{ file = \"token\" }}, tls = {{ ca = \"certs/internal-ca.pem\" }} }},\n\
         {{ name = \"soc\", format = \"cef\", to = \"syslog+tls://localhost:{}\", tls = {{ ca = \"certs/internal-ca.pem\" }} }},\n\
         {{ name = \"disk\", format = \"ndjson\", to = \"file://{}\" }},\n]\n",
        siem.address.port(),
        soc.address.port(),
        file.display()
    );
    site.edit("consentry.toml", "[audit]\n", &exports);

    siem.mood(Mood::Fails(503));
    let mut gateway = site.start();
    site.prepare();
    let usual = latency(&site);
    let ready = site.ready_until(|status, ready| status == 200 && !troubles(ready).is_empty());
    let [why] = &troubles(&ready)[..] else { panic!("{ready}") };
    assert!(why.starts_with("`siem` takes no events") && why.contains("it answered 503"), "{why}");
    assert!(siem.taken().is_empty());
    complete(&site, "file", Format::Ndjson, || of_file(&file));
    complete(&site, "syslog", Format::Cef, || soc.taken());

    // It hangs: requests do not notice, readiness does, the log goes on.
    siem.mood(Mood::Hangs);
    let stuck = latency(&site);
    assert!(stuck < usual * 3 + Duration::from_millis(20), "{stuck:?} while an export hangs, {usual:?} else");
    site.ready_until(|status, ready| status == 200 && troubles(ready).concat().contains("acknowledged nothing within 10 s"));
    metric_until(&site, "export_behind", "siem", |behind| behind > 80.0);
    metric_until(&site, "export_failures_total", "siem", |failures| failures > 1.0);
    metric_until(&site, "export_failing", "siem", |failing| failing > 0.0);
    metric_until(&site, "export_failing", "disk", |failing| failing < 1.0);

    // Killed in the middle of everything, several times.
    for round in 0..3 {
        for state in ["given", "withdrawn"] {
            site.say(MINA, state);
            site.read(MINAS);
            site.read(UNKNOWN);
        }
        siem.mood(if round == 1 { Mood::Takes } else { Mood::Fails(500) });
        soc.mood(if round == 1 { Mood::Fails(0) } else { Mood::Takes });
        std::thread::sleep(Duration::from_millis(300));
        gateway.kill();
        gateway = site.start();
    }
    siem.mood(Mood::Takes);
    soc.mood(Mood::Takes);
    let last = site.read(QUOTE);
    complete(&site, "https", Format::Ocsf, || siem.taken());
    complete(&site, "file", Format::Ndjson, || of_file(&file));
    // What was under way to a syslog receiver that dies may be lost: nobody acknowledges it.
    patiently(|| {
        let id = last.header("consentry-decision").unwrap();
        if soc.taken().contains_key(id) { Ok(()) } else { Err("syslog") }
    });
    let ready = site.ready_until(|_, ready| troubles(ready).is_empty());
    assert!(ready.to_string().contains("\"audit\""), "{ready}");
    metric_until(&site, "export_events_total", "siem", |events| events > 0.0);
    metric_until(&site, "export_failing", "siem", |failing| failing < 1.0);
    metric_until(&site, "export_behind", "siem", |behind| behind < 1.0);
    {
        let asked = siem.asked.lock().unwrap();
        assert!(
            asked
                .iter()
                .all(|(token, kind, _)| token.as_deref() == Some("Bearer t0ken-of-the-siem") && kind.as_deref() == Some("application/x-ndjson"))
        );
        assert!(asked.iter().any(|(_, _, lines)| *lines > 100), "batches were made smaller until they were taken");
    }
    // Customers are numbers everywhere.
    let everything = format!("{:?}{:?}{}", siem.taken(), soc.taken(), std::fs::read_to_string(&file).unwrap());
    for id in ["crm:0044", "crm:0012", "\"0044\"", "customers/0044", "t0ken"] {
        assert!(!everything.contains(id), "{id} was exported");
    }

    // A restart in order goes on where it stood: only what was under way may come again.
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let before: usize = siem.taken().values().map(Vec::len).sum();
    let gateway = site.start();
    let decision = site.read(QUOTE);
    complete(&site, "https", Format::Ocsf, || siem.taken());
    let after: usize = siem.taken().values().map(Vec::len).sum();
    let entries = site.entries().len();
    assert!(after - before < 40, "{before} and {after} events, {entries} entries");
    assert!(index(&decision).unwrap() < entries);
    assert!(!gateway.trace().contains("t0ken"));
    gateway.kill();
}

#[test]
fn an_export_that_cannot_go_on_says_why_and_the_gateway_serves() {
    let site = Site::new();
    let pair = site.state.certs().gateway.clone();
    let siem = site.block(Receiver::https(&pair, "/id", 1_000));
    // Nothing was signed by the apps' authority there.
    let exports = format!(
        "[audit]\nexport = [\n\
         {{ name = \"stranger\", format = \"ndjson\", to = \"https://localhost:{0}/in\", tls = {{ ca = \"certs/apps-ca.pem\" }} }},\n\
         {{ name = \"nobody\", format = \"leef\", to = \"syslog+tls://localhost:1\" }},\n\
         {{ name = \"foreign\", format = \"ndjson\", to = \"file://{1}\" }},\n\
         {{ name = \"ahead\", format = \"ndjson\", to = \"https://localhost:{0}/in\", tls = {{ ca = \"certs/internal-ca.pem\" }} }},\n\
         {{ name = \"other\", format = \"ndjson\", to = \"https://localhost:{0}/in\", tls = {{ ca = \"certs/internal-ca.pem\" }} }},\n]\n",
        siem.address.port(),
        site.path().join("hostname").display()
    );
    site.edit("consentry.toml", "[audit]\n", &exports);
    std::fs::create_dir_all(site.log()).unwrap();
    std::fs::write(site.path().join("hostname"), "a-host").unwrap();
    let gateway = site.start();
    let origin = consentry::audit::export::origin(&site.log()).unwrap();
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    Position { next: 9_999, ..Position::default() }.store(&site.log(), "ahead", &origin).unwrap();
    Position { next: 1, ..Position::default() }.store(&site.log(), "other", "other.example.com").unwrap();
    let gateway = site.start();
    site.prepare();
    assert_eq!(site.read(QUOTE).status, 200);
    let ready = site.ready_until(|status, ready| status == 200 && troubles(ready).len() == 5);
    for why in [
        "`stranger` takes no events",
        "invalid peer certificate",
        "`nobody` takes no events",
        "its last line is not whole and not of this export",
        "has got to entry 9999",
        "it is another log's",
    ] {
        assert!(troubles(&ready).iter().any(|said| said.contains(why)), "{why}: {ready}");
    }
    assert_eq!(std::fs::read_to_string(site.path().join("hostname")).unwrap(), "a-host");
    assert!(siem.taken().len() < 20, "what was taken before the positions were changed");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

#[test]
fn a_log_is_followed_from_its_files() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    let mut command = Command::new(binary());
    command.args(["audit", "export", "--format", "leef", "--follow", "--offline"]).arg(site.log()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut following = command.spawn().unwrap();
    let mut lines = std::io::BufReader::new(following.stdout.take().unwrap()).lines().map(Result::unwrap);
    for _ in 0..3 {
        let decision = site.read(QUOTE);
        let id = format!("\teventId={}\t", decision.header("consentry-decision").unwrap());
        // It ends with the process, which a time-out of the tests would end.
        assert!(lines.any(|line| line.contains(&id)), "{id}");
    }
    following.kill().unwrap();
    following.wait().unwrap();
    gateway.kill();
}

#[test]
fn an_auditor_exports_what_the_log_says_and_that_is_logged() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    import_many(&site);
    for target in [QUOTE, UNKNOWN, MINAS] {
        site.read(target);
    }
    let lines = |text: &str| {
        text.lines()
            .map(|line| (serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned(), line.to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    let ran = site.run_as("auditor", &["audit", "export", "--format", "ndjson"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let (by_gateway, of_log) = (lines(&ran.stdout), expected(&site.log(), Format::Ndjson));
    assert!(by_gateway.len() > 3_000 && by_gateway.iter().all(|(id, line)| of_log[id] == *line), "{} events", by_gateway.len());
    assert!(ran.stderr.contains(&format!("{} events", by_gateway.len())), "{}", ran.stderr);
    let told = site.log_until(|entries| entries.iter().any(|entry| entry["operation"] == "decisions.export"));
    let pages: Vec<u64> =
        told.iter().filter(|entry| entry["operation"] == "decisions.export").map(|entry| entry["found"].as_u64().unwrap()).collect();
    assert!(pages.len() > 3 && pages.iter().sum::<u64>() == by_gateway.len() as u64, "{pages:?}");
    for (role, args, why) in [
        ("consent-desk", &["audit", "export", "--format", "cef"][..], "role-missing"),
        ("auditor", &["audit", "export", "--format", "json"], "say in which format"),
        ("auditor", &["audit", "show", "1", "--format", "cef"], "is for `consentry audit export`"),
    ] {
        let refused = site.run_as(role, args);
        assert!(refused.exit == 64 && refused.stderr.contains(why), "{refused:?}");
    }
    for path in ["?format=xml", "?format=ocsf&cursor=1.2", "?format=ocsf&cursor=1.1.x", "?format=ocsf&from=-1", "?format=ocsf&since=now", ""] {
        let url = format!("https://{}/v1/decisions/export{path}", site.addresses.admin);
        let refused = site.block(site.staff("auditor").send(http::Method::GET, &url, http::HeaderMap::new(), Vec::new())).unwrap();
        assert_eq!(refused.status, 400, "{path}");
    }
    // Somebody's later request has no place in a page that was fixed before.
    let since = SystemClock::shared().now();
    let decision = site.read(QUOTE);
    let id = decision.header("consentry-decision").unwrap();
    let narrow = site.run_as("auditor", &["audit", "export", "--format", "ocsf", "--since", &since.to_string()]);
    assert!(narrow.stdout.contains(id) && narrow.stdout.lines().count() < 10, "{narrow:?}");
    gateway.signal("TERM");
    assert!(gateway.wait().success());

    let log = site.log();
    let offline = |more: &[&str]| site.run(&[&["audit", "export", "--offline", log.to_str().unwrap()], more].concat());
    for format in Format::ALL {
        let ran = offline(&["--format", format.as_str(), "--out", &format!("all.{}", format.as_str())]);
        let text = std::fs::read_to_string(site.path().join(format!("all.{}", format.as_str()))).unwrap();
        let all = expected(&log, format);
        assert_eq!((ran.exit, text.lines().count()), (0, all.len()), "{ran:?}");
        let records: BTreeSet<&str> = text.lines().map(|line| line.split("\"logRecords\":[").last().unwrap().trim_end_matches("]}]}]}")).collect();
        assert!(all.values().all(|event| records.contains(event.trim_end_matches("]}]}]}"))), "{format:?}");
        assert!(ran.stdout.is_empty() && ran.stderr.contains(&format!("{} events", all.len())), "{ran:?}");
    }
    assert_eq!(offline(&["--format", "cef", "--out", "all.cef"]).exit, 64, "a file that is there is not written over");
    let head = index(&decision).unwrap();
    let rest = offline(&["--format", "cef", "--from", &head.to_string()]);
    assert!(rest.stdout.starts_with("CEF:0|consentry|") && rest.stdout.contains(id) && rest.stdout.lines().count() < 10, "{rest:?}");
    let none = offline(&["--format", "cef", "--until", "2020-01-01T00:00:00Z", "--out", "-"]);
    assert!(none.exit == 0 && none.stdout.is_empty(), "{none:?}");
    let nothing = site.run(&["audit", "export", "--format", "cef", "--offline", "certs", "--out", "never"]);
    assert!(nothing.exit != 0 && !site.path().join("never").exists(), "{nothing:?}");
}

/// Holds each row of a Parquet file against the line of NDJSON with the same id, member by member and in number.
const COMPARE: &str = r#"
import duckdb, json, sys
table = duckdb.read_parquet(sys.argv[1])
types = {name: str(type) for name, type in zip(table.columns, table.types)}
assert types["at"] == "TIMESTAMP WITH TIME ZONE" and types["index"] == "UBIGINT" and types["unresolved"] == "BOOLEAN", types
assert types["customers"] == "UBIGINT[]" and types["released"] == "VARCHAR[]" and types["relied"] == "JSON", types
lines = {}
for line in open(sys.argv[2]):
    event = json.loads(line)
    assert event["id"] not in lines
    lines[event["id"]] = event
rows = duckdb.execute('SELECT * REPLACE (epoch_us("at") AS "at") FROM read_parquet(?)', [sys.argv[1]]).fetchall()
for row in rows:
    row = dict(zip(table.columns, row))
    event = lines.pop(row["id"])
    at = duckdb.execute("SELECT epoch_us(?::TIMESTAMPTZ)", [event["at"]]).fetchone()[0]
    assert row["at"] == at, (row["at"], event["at"])
    for name, value in row.items():
        if types[name] == "JSON" and value is not None:
            value = json.loads(value)
        assert name == "at" or value == event.pop(name, None), (row["id"], name, value)
    event.pop("at")
    assert not event, ("only in NDJSON", event)
assert not lines, ("only in NDJSON", list(lines)[:3])
by_event = duckdb.execute("SELECT count(*) FROM read_parquet(?) WHERE len(list_filter(relied->>'$[*].event', e -> e IS NOT NULL)) > 0", [sys.argv[1]])
print(len(rows), by_event.fetchone()[0])
"#;

#[test]
fn another_reader_finds_in_parquet_what_ndjson_says() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    import_many(&site);
    site.say(MINA, "given");
    for target in [QUOTE, UNKNOWN, MINAS, MINAS] {
        site.read(target);
    }
    // Of a gateway, page by page; both are what was durable then.
    let by_gateway = site.run_as("auditor", &["audit", "export", "--format", "parquet", "--out", "asked.parquet"]);
    assert_eq!(by_gateway.exit, 0, "{by_gateway:?}");
    let url = format!("https://{}/v1/decisions/export?format=parquet", site.addresses.admin);
    let page = site.block(site.staff("auditor").send(http::Method::GET, &url, http::HeaderMap::new(), Vec::new())).unwrap();
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some("application/vnd.apache.parquet")));
    assert!(page.header("consentry-next").is_some());
    std::fs::write(site.path().join("page.parquet"), &page.body).unwrap();
    gateway.signal("TERM");
    assert!(gateway.wait().success());

    let offline = |args: &[&str]| site.run(&[&["audit", "export", "--offline", "log"], args].concat());
    assert_eq!(offline(&["--format", "ndjson", "--out", "all.ndjson"]).exit, 0);
    let made = offline(&["--format", "parquet", "--out", "all.parquet"]);
    assert!(made.exit == 0 && made.stdout.is_empty(), "{made:?}");
    let again = offline(&["--format", "parquet", "--out", "all.parquet"]);
    assert!(again.exit == 64 && again.stderr.contains("is there already"), "{again:?}");
    assert_eq!(offline(&["--format", "parquet", "--out", "none.parquet", "--until", "2020-01-01T00:00:00Z"]).exit, 0);
    let left: Vec<_> = std::fs::read_dir(site.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".parquet-")), "{left:?}");
    let nothing = site.run(&["audit", "export", "--format", "parquet", "--offline", "certs", "--out", "never.parquet"]);
    assert!(nothing.exit != 0 && !site.path().join("never.parquet").exists(), "{nothing:?}");

    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/duckdb/bin/python");
    if !Command::new(&python).args(["-c", "import duckdb"]).output().is_ok_and(|ran| ran.status.success()) {
        writeln!(std::io::stderr(), "skipped: Parquet before another reader; `tests/run` installs duckdb in target/tools/duckdb").unwrap();
        return;
    }
    let all = std::fs::read_to_string(site.path().join("all.ndjson")).unwrap();
    let compared = |table: &str, lines: &str| {
        std::fs::write(site.path().join("lines"), lines).unwrap();
        let ran = Command::new(&python).args(["-c", COMPARE, table, "lines"]).current_dir(site.path()).output().unwrap();
        if ran.status.success() { Ok(String::from_utf8(ran.stdout).unwrap()) } else { Err(String::from_utf8_lossy(&ran.stderr).into_owned()) }
    };
    let said = compared("all.parquet", &all).unwrap();
    let [rows, relying] = said.split_whitespace().map(|word| word.parse().unwrap()).collect::<Vec<usize>>()[..] else { panic!("{said}") };
    assert!(rows > 3_000 && rows == all.lines().count() && relying > 0, "{said}");
    // What the gateway was asked for came before the end; unresolved at the time may be resolved by now.
    let asked = by_gateway.stderr.split_whitespace().next().unwrap().parse::<usize>().unwrap();
    assert!(asked > 3_000 && asked < rows, "{asked}");
    let asked: String = all.lines().take(asked).map(|line| format!("{line}\n")).collect();
    compared("asked.parquet", &asked).unwrap();
    let first: String = all.lines().take(1_000).map(|line| format!("{line}\n")).collect();
    compared("page.parquet", &first).unwrap();
    assert!(compared("none.parquet", "").unwrap().starts_with("0 "), "a table without rows");
    // The comparison would notice.
    for (from, to) in [("\"redact\"", "\"permit\""), ("\"latency_us\":", "\"latency_ms\":"), ("\"status\":\"given\"", "\"status\":\"denied\"")] {
        assert!(all.contains(from), "{from}");
        compared("all.parquet", &all.replacen(from, to, 1)).unwrap_err();
    }
    compared("all.parquet", &first).unwrap_err();
}
