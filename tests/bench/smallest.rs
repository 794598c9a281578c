//! The smallest proxy that cuts the bench's answers with a tree of `sonic-rs`: no token, no consent, no policy, no log. For
//!
//! ```text
//! cargo build --release --example smallest
//! consentry bench --beside target/release/examples/smallest
//! ```

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up must stop")]

use std::convert::Infallible;
use std::io::Write as _;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sonic_rs::JsonValueMutTrait as _;
use tokio::net::TcpListener;

const WITHHELD: [&str; 3] = ["dietaryNote", "caseNote", "iban"];

type Upstream = Client<HttpConnector, Incoming>;

fn main() {
    let upstream: Authority = std::env::args().nth(1).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        let client: Upstream = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(http);
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = format!("{{\"plain\":\"{}\"}}\n", socket.local_addr().unwrap());
        std::io::stdout().write_all(address.as_bytes()).unwrap();
        tokio::spawn(serve(socket, client, upstream));
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())).await.unwrap().unwrap();
    });
}

async fn serve(socket: TcpListener, client: Upstream, upstream: Authority) {
    loop {
        let (stream, _) = socket.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (client, upstream) = (client.clone(), upstream.clone());
        let service = service_fn(move |request| forward(client.clone(), upstream.clone(), request));
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn forward(client: Upstream, upstream: Authority, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    (uri.scheme, uri.authority) = (Some(Scheme::HTTP), Some(upstream));
    *request.uri_mut() = Uri::from_parts(uri).unwrap();
    request.headers_mut().remove(HOST);
    let (mut head, body) = client.request(request).await.unwrap().into_parts();
    let body = cut(&body.collect().await.unwrap().to_bytes());
    head.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(head, Full::new(body.into())))
}

fn cut(body: &[u8]) -> String {
    let mut value: sonic_rs::Value = sonic_rs::from_slice(body).unwrap();
    let strip = |object: &mut sonic_rs::Value| {
        let members = object.as_object_mut().unwrap();
        WITHHELD.iter().for_each(|name| drop(members.remove(name)));
    };
    match value.get_mut("customers").and_then(sonic_rs::Value::as_array_mut) {
        Some(rows) => rows.iter_mut().for_each(strip),
        None => strip(&mut value),
    }
    sonic_rs::to_string(&value).unwrap()
}
