//! Webhooks against receivers that answer as they are told, on loopback, in the clear.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::super::tests::{Desk, role, withdrawal};
use super::*;
use crate::config::AdminRole;

/// What a receiver does with the next request.
#[derive(Clone, Copy, Debug)]
enum Then {
    Answer(u16),
    /// Closes the connection without an answer.
    Close,
    /// Never answers.
    Hang,
    /// Answers 200 with more than anybody reads.
    Flood,
}

/// Plays its script, then answers 204.
#[derive(Clone)]
struct Receiver {
    port: u16,
    script: Arc<Mutex<VecDeque<Then>>>,
    received: Arc<Mutex<Vec<(http::HeaderMap, Bytes)>>>,
    connections: Arc<Mutex<usize>>,
}

impl Receiver {
    async fn start(script: &[Then]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            port: listener.local_addr().unwrap().port(),
            script: Arc::new(Mutex::new(script.iter().copied().collect())),
            received: Arc::default(),
            connections: Arc::default(),
        };
        let serving = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *serving.connections.lock().unwrap() += 1;
                let this = serving.clone();
                let service = service_fn(move |request| {
                    let this = this.clone();
                    async move { this.answer(request).await }
                });
                tokio::spawn(async move { drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) });
            }
        });
        this
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<http::Response<Full<Bytes>>, std::io::Error> {
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/hook"));
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        self.received.lock().unwrap().push((head.headers, body));
        let then = self.script.lock().unwrap().pop_front().unwrap_or(Then::Answer(204));
        let answer = |status: u16, body: &'static [u8]| {
            http::Response::builder().status(status).header("location", "http://127.0.0.1:1/").body(Full::from(body)).unwrap()
        };
        match then {
            Then::Answer(status) => Ok(answer(status, b"")),
            Then::Close => Err(std::io::Error::other("planned")),
            Then::Hang => std::future::pending().await,
            Then::Flood => Ok(answer(200, &[b'x'; 100_000])),
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// Revisions in the order in which they came.
    fn revisions(&self) -> Vec<u64> {
        let received = self.received.lock().unwrap();
        received.iter().map(|(_, body)| serde_json::from_slice::<Value>(body).unwrap()["data"]["revision"].as_u64().unwrap()).collect()
    }

    async fn until(&self, what: &str, wanted: impl Fn(&[u64]) -> bool) -> Vec<u64> {
        for _ in 0..1500 {
            let revisions = self.revisions();
            if wanted(&revisions) {
                return revisions;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited too long for {what}: {:?}", self.revisions());
    }
}

/// A desk whose webhooks are delivered.
struct House {
    desk: Desk,
    stop: watch::Sender<bool>,
    runtime: Runtime,
}

impl House {
    fn open() -> Self {
        let desk = Desk::open().with_customer();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(Arc::clone(&desk.state.webhooks).deliver(stopped));
        Self { desk, stop, runtime }
    }

    /// A receiver whose port is listed.
    fn receiver(&self, script: &[Then]) -> Receiver {
        let receiver = self.runtime.block_on(Receiver::start(script));
        let mut settings = WebhookSettings::clone(&self.desk.state.webhooks.settings.load());
        settings.hosts.push(("127.0.0.1".to_owned(), receiver.port));
        self.desk.state.webhooks.adopt(settings);
        receiver
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !body.is_null() {
            request = request.header("content-type", "application/json");
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.desk.send(&role(AdminRole::ConsentDesk), request.body(axum::body::Body::from(body)).unwrap())
    }

    /// Adds a webhook that begins at 0.
    fn add(&self, receiver: &Receiver, more: &Value) -> Value {
        let mut body = json!({ "url": receiver.url(), "from": 0 });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let (status, answer) = self.call("POST", "/v1/webhooks", &body);
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer
    }

    fn list(&self) -> Vec<Value> {
        self.call("GET", "/v1/webhooks", &Value::Null).1["webhooks"].as_array().unwrap().clone()
    }

    fn withdraw(&self, times: usize) {
        for _ in 0..times {
            assert_eq!(self.desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &withdrawal()).0, StatusCode::CREATED);
        }
    }

    fn until(&self, receiver: &Receiver, what: &str, wanted: impl Fn(&[u64]) -> bool) -> Vec<u64> {
        self.runtime.block_on(receiver.until(what, wanted))
    }

    /// Waits until everything was taken by this webhook.
    fn until_even(&self, index: usize) -> Value {
        for _ in 0..1500 {
            let hook = self.list()[index].clone();
            if hook["behind"] == json!(0) {
                return hook;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the webhook stays behind: {:#?}", self.list());
    }

    fn revision(&self) -> u64 {
        self.desk.state.ledger.revision().0
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

#[test]
fn every_change_arrives_in_order_signed_and_on_one_connection() {
    let house = House::open();
    let receiver = house.receiver(&[]);
    let added = house.add(&receiver, &json!({}));
    house.withdraw(5);
    let end = house.revision();
    let came = house.until(&receiver, "all changes", |came| came.last() == Some(&end));
    assert_eq!(came, (1..=end).collect::<Vec<_>>());
    let key = STANDARD.decode(added["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap()).unwrap();
    for ((headers, body), revision) in receiver.received.lock().unwrap().iter().zip(&came) {
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(text("webhook-id"), format!("{}-{revision}", house.desk.state.ledger.id()));
        assert_eq!(text("content-type"), "application/json");
        let sent: i64 = text("webhook-timestamp").parse().unwrap();
        assert!((house.desk.state.clock.now().as_second() - sent).abs() < 60);
        let signature = STANDARD.decode(text("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        let mut signed = format!("{}.{sent}.", text("webhook-id")).into_bytes();
        signed.extend_from_slice(body);
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &signature).unwrap();
        let message: Value = serde_json::from_slice(body).unwrap();
        assert_eq!((&message["type"], &message["timestamp"]), (&json!("consent.changed"), &message["data"]["time"]));
        assert!(!String::from_utf8_lossy(body).contains("0044"), "no identifier goes out");
    }
    assert_eq!(*receiver.connections.lock().unwrap(), 1, "the connection is kept");
    let hook = house.until_even(0);
    assert!(hook["last_success"].is_string() && hook["failing_since"].is_null(), "{hook}");
}

#[test]
fn what_is_not_received_comes_again_with_the_same_id_before_anything_else() {
    let house = House::open();
    let receiver = house.receiver(&[Then::Answer(500), Then::Close, Then::Answer(302), Then::Flood]);
    house.add(&receiver, &json!({}));
    house.until(&receiver, "a failure", |came| !came.is_empty());
    house.withdraw(2);
    let hook = house.list()[0].clone();
    assert!(hook["failing_since"].is_string() && hook["last_error"].is_string(), "{hook}");
    assert_eq!(house.desk.state.webhooks.health().failing, 1);
    let end = house.revision();
    let came = house.until(&receiver, "all changes", |came| came.last() == Some(&end));
    assert_eq!(came[..4], [1, 1, 1, 1], "{came:?}");
    assert_eq!(came[3..], (1..=end).collect::<Vec<_>>());
    let ids: Vec<_> = receiver.received.lock().unwrap().iter().take(4).map(|(headers, _)| headers["webhook-id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let hook = house.until_even(0);
    assert!(hook["failing_since"].is_null() && hook["last_error"].is_null(), "{hook}");
}

#[test]
fn a_receiver_that_hangs_or_is_gone_holds_up_nobody_else() {
    let house = House::open();
    let hanging = house.receiver(&[Then::Hang; 100]);
    let gone = house.receiver(&[Then::Answer(410)]);
    let good = house.receiver(&[]);
    for receiver in [&hanging, &gone, &good] {
        house.add(receiver, &json!({}));
    }
    house.withdraw(3);
    let end = house.revision();
    assert_eq!(house.until(&good, "all changes", |came| came.last() == Some(&end)).len() as u64, end);
    house.until(&gone, "the one answer", |came| !came.is_empty());
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(gone.revisions(), [1], "410 ends it");
    assert_eq!(hanging.revisions(), [1], "one message is under way at a time");
    let hooks = house.list();
    let hook = hooks.iter().find(|hook| hook["url"] == json!(gone.url())).unwrap();
    assert_eq!(hook["gone"], json!(true));
    let path = format!("/v1/webhooks/{}:replay", hook["id"].as_str().unwrap());
    assert_eq!(house.call("POST", &path, &json!({"from": 1})).0, StatusCode::OK);
    let came = house.until(&gone, "the replay", |came| came.last() == Some(&end));
    assert_eq!(came, [&[1][..], &(2..=end).collect::<Vec<_>>()].concat());
}

#[test]
fn a_replay_sends_again_from_its_cursor_and_a_removed_one_nothing() {
    let house = House::open();
    let receiver = house.receiver(&[]);
    let id = house.add(&receiver, &json!({}))["id"].as_str().unwrap().to_owned();
    house.withdraw(3);
    let end = house.revision();
    house.until(&receiver, "all changes", |came| came.last() == Some(&end));
    let replay = |from: &Value| house.call("POST", &format!("/v1/webhooks/{id}:replay"), &json!({ "from": from })).0;
    for (from, status) in
        [(json!(end + 1), StatusCode::CONFLICT), (json!("yesterday"), StatusCode::UNPROCESSABLE_ENTITY), (json!(-1), StatusCode::BAD_REQUEST)]
    {
        assert_eq!(replay(&from), status, "{from}");
    }
    assert_eq!(replay(&json!(end - 2)), StatusCode::OK);
    let came = house.until(&receiver, "the replay", |came| came.len() as u64 >= end + 2);
    assert_eq!(came[usize::try_from(end).unwrap()..], [end - 1, end]);
    assert_eq!(house.call("DELETE", &format!("/v1/webhooks/{id}"), &Value::Null).0, StatusCode::OK);
    assert_eq!(house.call("DELETE", &format!("/v1/webhooks/{id}"), &Value::Null).0, StatusCode::NOT_FOUND);
    assert_eq!(replay(&json!(0)), StatusCode::NOT_FOUND);
    house.withdraw(1);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(receiver.revisions().len() as u64, end + 2);
    assert!(house.list().is_empty());
    assert!(hook::load(&house.desk.state.ledger).unwrap().is_empty(), "nothing is left in the database");
}

#[test]
fn only_kinds_and_purposes_that_were_asked_for_arrive_and_the_cursor_moves_on() {
    let house = House::open();
    let (kinds, below, other) = (house.receiver(&[]), house.receiver(&[]), house.receiver(&[]));
    house.add(&kinds, &json!({"kinds": ["stop", "lift"]}));
    house.add(&below, &json!({"kinds": ["consent"], "purposes": ["sales"]}));
    house.add(&other, &json!({"kinds": ["consent"], "purposes": ["marketing"]}));
    house.withdraw(2);
    let everything = json!({"party": "crm:0044", "state": "withdrawn", "evidence": [{"kind": "letter", "reference": "scan-3"}]});
    assert_eq!(house.desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &everything).0, StatusCode::CREATED);
    let all = house.revision();
    let objection = json!({"party": "crm:0044", "kind": "objection-marketing"});
    assert_eq!(house.desk.post(&role(AdminRole::ConsentDesk), "/v1/objections", &objection).0, StatusCode::CREATED);
    for index in 0..3 {
        house.until_even(index);
    }
    assert_eq!(kinds.revisions(), [all + 1]);
    assert_eq!(below.revisions(), [all - 2, all - 1, all]);
    assert_eq!(other.revisions(), [all], "what covers every purpose is about this one, too");
}

#[test]
fn a_secret_is_shown_once_and_stands_nowhere_else() {
    let house = House::open();
    let receiver = house.receiver(&[Then::Answer(500)]);
    let added = house.add(&receiver, &json!({}));
    let secret = added["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap().to_owned();
    house.until(&receiver, "a failure", |came| !came.is_empty());
    let slot = house.desk.state.webhooks.all().pop().unwrap();
    let shown = [
        json!(house.list()).to_string(),
        json!(house.desk.entries()).to_string(),
        format!("{slot:?} {:?}", house.desk.state.webhooks),
        house.call("POST", &format!("/v1/webhooks/{}:replay", slot.hook.id), &json!({"from": 0})).1.to_string(),
    ];
    for text in shown {
        assert!(!text.contains(&secret), "{text}");
    }
}

#[test]
fn the_same_key_makes_one_webhook_and_shows_the_same_secret() {
    let house = House::open();
    let receiver = house.receiver(&[]);
    let send = |body: &Value| {
        let request = Request::post("/v1/webhooks").header("content-type", "application/json").header("idempotency-key", "k-1");
        house.desk.send(&role(AdminRole::ConsentDesk), request.body(axum::body::Body::from(body.to_string())).unwrap())
    };
    let body = json!({ "url": receiver.url() });
    let (first, second) = (send(&body), send(&body));
    assert_eq!((first.0, &first.1["id"], &first.1["secret"]), (StatusCode::CREATED, &second.1["id"], &second.1["secret"]));
    assert_eq!(send(&json!({ "url": receiver.url(), "kinds": ["stop"] })).1["code"], json!("idempotency-mismatch"));
    assert_eq!(house.list().len(), 1);
}

#[test]
fn receivers_that_are_not_listed_are_neither_added_nor_served() {
    let house = House::open();
    let receiver = house.receiver(&[]);
    let port = receiver.port;
    for url in [
        "https://evil.example/".to_owned(),
        format!("http://localhost:{port}/hook"),
        format!("http://127.0.0.1:{}/hook", port ^ 1),
        format!("http://127.0.0.1.evil.example:{port}/hook"),
        format!("http://127.0.0.1:{port}@evil.example/hook"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let (status, problem) = house.call("POST", "/v1/webhooks", &json!({ "url": url }));
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{url} {problem}");
    }
    for (member, value) in [("kinds", json!(["grant"])), ("purposes", json!(["no.such.purpose"])), ("from", json!("then"))] {
        let (status, problem) = house.call("POST", "/v1/webhooks", &json!({ "url": receiver.url(), member: value }));
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{member} {problem}");
    }
    house.add(&receiver, &json!({}));
    let end = house.revision();
    house.until(&receiver, "all changes", |came| came.last() == Some(&end));
    let listed = WebhookSettings::clone(&house.desk.state.webhooks.settings.load());
    house.desk.state.webhooks.adopt(WebhookSettings { clear_loopback: false, ..listed.clone() });
    house.withdraw(1);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(receiver.revisions().last(), Some(&end), "in the clear outside of tests");
    house.desk.state.webhooks.adopt(WebhookSettings { hosts: Vec::new(), ..listed.clone() });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(receiver.revisions().last(), Some(&end), "not listed any more");
    assert!(house.list()[0]["last_error"].as_str().unwrap().contains("[webhooks] hosts"));
    let (status, problem) = house.call("POST", "/v1/webhooks", &json!({ "url": receiver.url() }));
    assert_eq!((status, &problem["detail"]), (StatusCode::CONFLICT, &json!("webhooks are not configured")));
    house.desk.state.webhooks.adopt(listed);
    house.until(&receiver, "the change that waited", |came| came.last() == Some(&(end + 1)));
}

#[test]
fn a_cursor_is_found_again_after_a_restart() {
    let house = House::open();
    let receiver = house.receiver(&[]);
    house.add(&receiver, &json!({"purposes": ["sales"]}));
    house.withdraw(2);
    house.until_even(0);
    let found = hook::load(&house.desk.state.ledger).unwrap();
    for _ in 0..500 {
        if hook::load(&house.desk.state.ledger).unwrap()[0].1.after.0 == house.revision() {
            let (hook, progress) = hook::load(&house.desk.state.ledger).unwrap().pop().unwrap();
            assert_eq!((hook.id, hook.secret, hook.purposes), (found[0].0.id.clone(), found[0].0.secret.clone(), vec!["sales".to_owned()]));
            assert!(progress.last_success.is_some());
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the cursor was not stored: {found:?}");
}
