//! The load driver: kept-alive connections, each of which asks, waits for the whole answer and asks again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::response::Parts;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::children::Usage;
use crate::clock::{Clock, SystemClock};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// What is asked of whom.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) protocol: Protocol,
    /// Asked in turn.
    pub(super) paths: Vec<String>,
    pub(super) authorization: HeaderValue,
    /// Each answer must carry a decision and withhold three paths.
    pub(super) decided: bool,
}

#[derive(Debug)]
pub(super) struct Measured {
    pub(super) time: Duration,
    /// Of every request.
    pub(super) latencies_us: Vec<u32>,
}

/// HTTP/2 carries this many workers over one connection.
const STREAMS: u16 = 8;
/// An answer takes less, or the stack under test is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts load on `target`. `usage` is read when all connections stand, and again at the end.
pub(super) async fn run(
    target: &Target,
    connections: u16,
    time: Duration,
    usage: impl Fn() -> anyhow::Result<Usage>,
) -> anyhow::Result<(Measured, Usage)> {
    let mut workers = Vec::new();
    match target.protocol {
        Protocol::Http1 => {
            for _ in 0..connections {
                workers.push(connect(target).await?);
            }
        }
        Protocol::Http2 => {
            for _ in 0..connections.div_ceil(STREAMS) {
                let sender = connect(target).await?;
                workers.extend((0..STREAMS).filter_map(|_| sender.shared()));
            }
        }
    }
    let requests: Arc<[Request<Empty<Bytes>>]> = target.requests()?.into();
    let clock = SystemClock::shared();
    let before = usage()?;
    let begin = clock.monotonic();
    let end = begin + time;
    let tasks: Vec<_> = workers
        .into_iter()
        .enumerate()
        .map(|(at, sender)| tokio::spawn(work(sender, Arc::clone(&requests), at, Arc::clone(&clock), end, target.decided)))
        .collect();
    let mut latencies_us = Vec::new();
    for task in tasks {
        latencies_us.extend(task.await??);
    }
    let time = clock.monotonic().saturating_sub(begin);
    Ok((Measured { time, latencies_us }, usage()?.since(before)))
}

impl Target {
    fn requests(&self) -> anyhow::Result<Vec<Request<Empty<Bytes>>>> {
        let authority = self.address.to_string();
        let request = |path: &String| {
            let uri = match self.protocol {
                Protocol::Http1 => path.parse::<Uri>()?,
                Protocol::Http2 => Uri::builder().scheme("https").authority(authority.as_str()).path_and_query(path.as_str()).build()?,
            };
            let mut request = Request::builder().uri(uri).header(AUTHORIZATION, &self.authorization).header("data-purpose", super::world::PURPOSE);
            if self.protocol == Protocol::Http1 {
                request = request.header(HOST, authority.as_str());
            }
            Ok(request.body(Empty::new())?)
        };
        self.paths.iter().map(request).collect()
    }
}

async fn work(
    mut sender: Sender,
    requests: Arc<[Request<Empty<Bytes>>]>,
    first: usize,
    clock: Arc<dyn Clock>,
    end: Duration,
    decided: bool,
) -> anyhow::Result<Vec<u32>> {
    let mut latencies = Vec::new();
    let mut at = first;
    loop {
        let before = clock.monotonic();
        if before >= end {
            return Ok(latencies);
        }
        let Some(request) = requests.get(at % requests.len().max(1)) else { bail!("nothing to ask") };
        at += 1;
        let response = tokio::time::timeout(PATIENCE, sender.send(request.clone())).await.context("no answer came in time")??;
        let (head, body) = response.into_parts();
        let body = body.collect().await.context("an answer broke off")?.to_bytes();
        check(&head, &body, decided)?;
        latencies.push(u32::try_from(clock.monotonic().saturating_sub(before).as_micros()).unwrap_or(u32::MAX));
    }
}

/// A figure of anything but good answers would be worth nothing.
fn check(head: &Parts, body: &Bytes, decided: bool) -> anyhow::Result<()> {
    if head.status != StatusCode::OK {
        bail!("the stack under test answered {}: {}", head.status, String::from_utf8_lossy(body));
    }
    let withheld = head.headers.get("consentry-withheld").and_then(|v| v.to_str().ok());
    if decided && (withheld != Some("3") || !head.headers.contains_key("consentry-decision")) {
        bail!("the gateway did not cut the answer as configured: {withheld:?} paths withheld");
    }
    Ok(())
}

pub(super) enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Sender {
    pub(super) async fn send(&mut self, request: Request<Empty<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
        }
    }

    /// The same connection for another worker.
    fn shared(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }
}

pub(super) async fn connect(target: &Target) -> anyhow::Result<Sender> {
    let stream = TcpStream::connect(target.address).await?;
    stream.set_nodelay(true)?;
    match &target.tls {
        None => handshake(TokioIo::new(stream), target.protocol).await,
        Some(tls) => {
            let name = ServerName::from(target.address.ip());
            let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
            handshake(TokioIo::new(stream), target.protocol).await
        }
    }
}

async fn handshake<I: Read + Write + Unpin + Send + 'static>(io: I, protocol: Protocol) -> anyhow::Result<Sender> {
    let ended = |result: hyper::Result<()>| {
        if let Err(error) = result {
            tracing::debug!(%error, "a connection ended");
        }
    };
    match protocol {
        Protocol::Http1 => {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(async move { ended(connection.await) });
            Ok(Sender::Http1(sender))
        }
        Protocol::Http2 => {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(async move { ended(connection.await) });
            Ok(Sender::Http2(sender))
        }
    }
}
