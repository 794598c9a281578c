//! Real round trips over TLS, as the gateway makes them.

use http::{HeaderMap, HeaderValue, Method};

use super::*;
use crate::cli::certs::{DevNames, dev};
use crate::cli::demo::{AppClient, Reply};

struct World {
    _dir: tempfile::TempDir,
    apis: SampleApis,
    gateway: AppClient,
}

const KEY: &str = "0123456789abcdef";

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let names = DevNames { upstreams: ["crm", "sales", "desk"].map(str::to_owned).to_vec(), ..DevNames::default() };
    let certs = dev(dir.path(), &names).unwrap();
    let apis = SampleApis::start(&certs, KEY).await.unwrap();
    let gateway = AppClient::new(&certs.internal_ca, &certs.gateway_client.chain, &certs.gateway_client.key).unwrap();
    World { _dir: dir, apis, gateway }
}

impl World {
    async fn send(&self, method: Method, api: SocketAddr, target: &str, body: &str) -> Reply {
        let headers = HeaderMap::from_iter([(API_KEY_HEADER.parse().unwrap(), HeaderValue::from_static(KEY))]);
        self.gateway.send(method, &format!("https://{api}{target}"), headers, body.to_owned()).await.unwrap()
    }

    async fn get(&self, api: SocketAddr, target: &str) -> Value {
        self.send(Method::GET, api, target, "").await.json().unwrap()
    }
}

#[tokio::test]
async fn who_is_not_the_gateway_gets_nothing() {
    let world = world().await;
    let url = format!("https://{}/customers/0031", world.apis.crm);
    let without_key = world.gateway.send(Method::GET, &url, HeaderMap::new(), "").await.unwrap();
    assert_eq!(without_key.status, StatusCode::UNAUTHORIZED);
    let wrong = HeaderMap::from_iter([(API_KEY_HEADER.parse().unwrap(), HeaderValue::from_static("0123456789abcdee"))]);
    assert_eq!(world.gateway.send(Method::GET, &url, wrong, "").await.unwrap().status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.apis.seen(SampleApi::Crm).len(), 2, "refused requests are remembered, too");
}

#[tokio::test]
async fn sales_wants_the_gateways_certificate_and_no_key() {
    let world = world().await;
    let url = format!("https://{}/quotes/Q-77", world.apis.sales);
    let reply = world.gateway.send(Method::GET, &url, HeaderMap::new(), "").await.unwrap();
    assert_eq!(reply.json().unwrap()["customer"]["number"], "7712");
}

#[tokio::test]
async fn a_customer_has_what_the_tour_counts() {
    let world = world().await;
    let customer = world.get(world.apis.crm, "/customers/0031").await;
    assert_eq!(customer["contact"]["address"]["city"], "Köln");
    assert_eq!(customer["dietaryNote"], "coeliac, no gluten at events");
    assert_eq!(world.send(Method::GET, world.apis.crm, "/customers/9999", "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn lists_are_whole_or_paged_and_always_say_the_total() {
    let world = world().await;
    let whole = world.get(world.apis.crm, "/customers?limit=5").await;
    assert_eq!((whole["customers"].as_array().unwrap().len(), &whole["total"], whole.get("next")), (5, &json!(5), None));
    let first = world.get(world.apis.sales, "/orders?limit=3").await;
    assert_eq!((first["orders"].as_array().unwrap().len(), &first["total"]), (3, &json!(4)));
    let second = world.get(world.apis.sales, first["next"].as_str().unwrap()).await;
    assert_eq!((second["orders"].as_array().unwrap().len(), second.get("next")), (1, None));
    let mine = world.get(world.apis.desk, "/tickets?requester=ada.brandt%40example.net").await;
    assert_eq!(mine["total"], 1);
}

#[tokio::test]
async fn writes_are_kept_and_answered_with_the_whole_record() {
    let world = world().await;
    let reply = world.send(Method::PATCH, world.apis.crm, "/customers/0031", r#"{"contact":{"phone":"+49 151 1"},"dietaryNote":null}"#).await;
    let record = reply.json().unwrap();
    assert_eq!((&record["contact"]["phone"], &record["leadScore"], record.get("dietaryNote")), (&json!("+49 151 1"), &json!(64), None));
    assert_eq!(world.get(world.apis.crm, "/customers/0031").await, record);
    let created = world.send(Method::POST, world.apis.crm, "/customers", r#"{"name":{"given":"New"}}"#).await;
    assert_eq!((created.status, created.json().unwrap()["id"].clone()), (StatusCode::CREATED, json!("0071")));
    assert_eq!(world.send(Method::PATCH, world.apis.crm, "/customers/0031", "[]").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.send(Method::DELETE, world.apis.desk, "/tickets/T-11", "").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_broken_tickets_are_broken_each_in_its_own_way() {
    let world = world().await;
    let twice = world.send(Method::GET, world.apis.desk, "/tickets/T-13", "").await;
    assert_eq!(twice.body.windows(11).filter(|w| w == b"\"requester\"").count(), 2);
    let page = world.send(Method::GET, world.apis.desk, "/tickets/T-15", "").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let headers = HeaderMap::from_iter([(API_KEY_HEADER.parse().unwrap(), HeaderValue::from_static(KEY))]);
    let url = format!("https://{}/tickets/T-14", world.apis.desk);
    assert!(world.gateway.send(Method::GET, &url, headers, "").await.is_err(), "the answer must not end as a whole one");
}

#[tokio::test]
async fn the_slow_customer_takes_as_long_as_said() {
    let world = world().await;
    world.apis.set_slow(Duration::from_millis(120));
    let clock = crate::clock::SystemClock::shared();
    let start = clock.monotonic();
    assert_eq!(world.get(world.apis.crm, "/slow/customers/0044").await["id"], "0044");
    assert!(clock.monotonic() - start >= Duration::from_millis(120));
    assert_eq!(world.apis.requests(), 1);
}

#[test]
fn a_merge_patch_removes_what_is_null_and_keeps_what_is_not_named() {
    let mut record = json!({ "a": 1, "b": { "c": 2, "d": 3 } });
    merge(&mut record, &json!({ "a": null, "b": { "c": 4 }, "e": { "f": null, "g": 5 } }));
    assert_eq!(record, json!({ "b": { "c": 4, "d": 3 }, "e": { "g": 5 } }));
}
