//! Traces, as an OTLP receiver gets them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::{fs, io};

use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

use crate::process::{OUTREACH, QUOTE, Site, UNKNOWN, index, patiently};

/// Takes spans over HTTP/1.1 until the test process ends; refuses them when it is told to.
struct Receiver {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<(String, Value)>>>,
    refuses: Arc<AtomicBool>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (taken, refuses) = (Arc::<Mutex<Vec<(String, Value)>>>::default(), Arc::new(AtomicBool::new(false)));
        let receiver = Self { address, taken: Arc::clone(&taken), refuses: Arc::clone(&refuses) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (taken, refuses) = (Arc::clone(&taken), Arc::clone(&refuses));
                // Ends with the connection.
                thread::spawn(move || drop(serve(&stream, &taken, &refuses)));
            }
        });
        receiver
    }

    fn spans(&self) -> Vec<Value> {
        let taken = self.taken.lock().unwrap();
        let documents = taken.iter().map(|(_, document)| document);
        documents.flat_map(|document| document["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()).collect()
    }
}

fn serve(stream: &TcpStream, taken: &Mutex<Vec<(String, Value)>>, refuses: &AtomicBool) -> io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let status = if refuses.load(Ordering::Relaxed) {
            "503 Service Unavailable"
        } else {
            taken.lock().unwrap().push((head, serde_json::from_slice(&body).unwrap()));
            "200 OK"
        };
        writer.write_all(format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes())?;
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER: &str = "5bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn ask(site: &Site, target: &str, traceparent: &str) -> (u16, Option<usize>) {
    let headers = HeaderMap::from_iter([
        ("data-purpose".parse().unwrap(), HeaderValue::from_static(OUTREACH)),
        ("traceparent".parse().unwrap(), HeaderValue::from_str(traceparent).unwrap()),
    ]);
    let url = format!("https://{}{target}", site.addresses.apps);
    let reply = site.block(site.app("crm").send(Method::GET, &url, headers, "")).unwrap();
    (reply.status.as_u16(), index(&reply))
}

fn attribute(span: &Value, key: &str) -> String {
    let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key);
    let value = found.unwrap_or_else(|| panic!("no {key} in {span}"))["value"].as_object().unwrap();
    value.values().next().unwrap().as_str().unwrap().to_owned()
}

#[test]
fn sampled_requests_become_spans_and_a_receiver_that_is_away_holds_nobody_up() {
    let site = Site::new();
    let receiver = Receiver::start();
    let config = site.path().join("consentry.toml");
    let telemetry = format!("\n[telemetry]\notlp = {{ url = \"http://{}\", one_in = 1_000_000 }}\n", receiver.address);
    fs::write(&config, fs::read_to_string(&config).unwrap() + &telemetry).unwrap();
    let gateway = site.start();
    site.prepare();

    assert_eq!(ask(&site, QUOTE, &format!("00-{OTHER}-{CALLER}-00")).0, 200);
    let (status, quote) = ask(&site, QUOTE, &format!("00-{TRACE}-{CALLER}-01"));
    assert_eq!(status, 200);
    let (status, denial) = ask(&site, UNKNOWN, &format!("00-{TRACE}-{CALLER}-01"));
    assert_eq!(status, 403);
    let spans = patiently(|| {
        let spans = receiver.spans();
        if spans.len() >= 3 { Ok(spans) } else { Err(format!("{spans:#?}")) }
    });
    assert_eq!(spans.len(), 3, "{spans:#?}");
    assert!(spans.iter().all(|span| span["traceId"] == TRACE), "what the caller does not record is not recorded: {spans:#?}");
    let of = |kind: u64, outcome: Option<&str>| {
        let found = spans.iter().find(|span| span["kind"] == kind && outcome.is_none_or(|outcome| attribute(span, "consentry.outcome") == outcome));
        found.unwrap_or_else(|| panic!("{spans:#?}"))
    };
    let (client, denied) = (of(3, None), of(2, Some("deny")));
    let server = spans.iter().find(|span| span["spanId"] == client["parentSpanId"]).expect("the upstream's span is within the request's");
    assert_eq!((&server["kind"], &server["parentSpanId"], &denied["parentSpanId"]), (&2.into(), &CALLER.into(), &CALLER.into()));
    assert_eq!(attribute(client, "http.response.status_code"), "200");
    for (span, status, decision) in [(server, "200", quote), (denied, "403", denial)] {
        assert_eq!(attribute(span, "http.response.status_code"), status);
        assert!(attribute(span, "consentry.decision").ends_with(&format!("#{}", decision.unwrap())), "{span}");
        assert_eq!((attribute(span, "consentry.app"), attribute(span, "consentry.purpose")), ("crm".to_owned(), OUTREACH.to_owned()));
        assert!(attribute(span, "http.route").contains('{'), "the template of the route: {span}");
        let times = ["startTimeUnixNano", "endTimeUnixNano"].map(|key| span[key].as_str().unwrap().parse::<u64>().unwrap());
        assert!(times[0] < times[1], "{span}");
    }
    {
        let taken = receiver.taken.lock().unwrap();
        let said = format!("{taken:?}");
        assert!(said.contains("POST /v1/traces HTTP/1.1") && said.contains("service.name"), "{said}");
        for secret in ["Q-77", "9999", "0012", "okafor", "Bearer", "spiffe"] {
            assert!(!said.contains(secret), "`{secret}` is in {said}");
        }
    }

    receiver.refuses.store(true, Ordering::Relaxed);
    assert_eq!(ask(&site, QUOTE, &format!("00-{TRACE}-{CALLER}-01")).0, 200);
    patiently(|| {
        let (_, metrics) = site.health("/metrics");
        let told = ["consentry_spans_sent_total 3\n", "consentry_spans_dropped_total 2\n"].iter().all(|line| metrics.contains(line));
        if told { Ok(()) } else { Err(metrics) }
    });
    assert!(gateway.trace().contains("spans are not taken"), "{}", gateway.trace());
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0));
}
