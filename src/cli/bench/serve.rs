//! A stack under test, in its own process: the gateway as it is shipped, or the pass-through that shows what moving the
//! bytes costs. Serves until standard input is closed.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::children::Addresses;
use crate::clock::SystemClock;
use crate::gateway::listener::{self, Limits};

/// How the measuring process starts this one.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    #[arg(long, hide = true, requires = "world", requires = "upstream")]
    serve: Option<Stack>,
    #[arg(long, hide = true)]
    world: Option<PathBuf>,
    #[arg(long, hide = true)]
    upstream: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Stack {
    Passthrough,
    Gateway,
}

impl Stack {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::Gateway => "gateway",
        }
    }
}

/// What a process serves, with what it needs.
#[derive(Debug)]
pub(super) struct Served<'a> {
    stack: Stack,
    world: &'a Path,
    upstream: SocketAddr,
}

impl Serve {
    pub(super) fn stack(&self) -> Option<Served<'_>> {
        Some(Served { stack: self.serve?, world: self.world.as_deref()?, upstream: self.upstream? })
    }
}

pub(super) async fn serve(served: Served<'_>) -> anyhow::Result<()> {
    match served.stack {
        Stack::Passthrough => passthrough(served.world, served.upstream).await,
        Stack::Gateway => gateway(served.world).await,
    }
}

async fn gateway(world: &Path) -> anyhow::Result<()> {
    crate::telemetry::start_tracing("info", true);
    let mut running = crate::gateway::start(&world.join("consentry.toml"), SystemClock::shared()).await?;
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let plain = running.serve_plain(socket)?;
    let tls = running.addresses.apps.first().map(|(_, address)| *address);
    serve_until_told(Addresses { plain, tls }).await?;
    running.shutdown().await;
    Ok(())
}

async fn passthrough(world: &Path, upstream: SocketAddr) -> anyhow::Result<()> {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(http);
    let authority: Authority = upstream.to_string().parse()?;
    let make = move |_| {
        let (client, authority) = (client.clone(), authority.clone());
        service_fn(move |request| forward(client.clone(), authority.clone(), request))
    };
    let (_stop, stopped) = watch::channel(false);
    let mut bound = Vec::new();
    for tls in [None, Some(Arc::new(ArcSwap::from_pointee(server_tls(world)?.into())))] {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        bound.push(socket.local_addr()?);
        tokio::spawn(listener::serve(socket, listener::Served { tls, ..listener::Served::plain(Limits::for_one()) }, stopped.clone(), make.clone()));
    }
    let [plain, tls] = bound.as_slice() else { return Ok(()) };
    serve_until_told(Addresses { plain: *plain, tls: Some(*tls) }).await
}

type Passed = Response<Either<Incoming, Empty<Bytes>>>;

async fn forward(client: Client<HttpConnector, Incoming>, authority: Authority, mut request: Request<Incoming>) -> Result<Passed, Infallible> {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority);
    if let Ok(uri) = Uri::from_parts(uri) {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = http::Version::HTTP_11;
    request.headers_mut().remove(HOST);
    match client.request(request).await {
        Ok(response) => Ok(response.map(Either::Left)),
        Err(error) => {
            tracing::warn!(%error, "the upstream did not answer");
            let mut response = Response::new(Either::Right(Empty::new()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            Ok(response)
        }
    }
}

/// The same certificate and settings as the gateway's listener.
fn server_tls(world: &Path) -> anyhow::Result<rustls::ServerConfig> {
    let chain = CertificateDer::pem_file_iter(world.join("certs/gw.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(world.join("certs/gw.key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Says where, and returns when the measuring process closes the pipe or is gone.
async fn serve_until_told(addresses: Addresses) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{}", serde_json::to_string(&addresses)?)?;
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())).await??;
    Ok(())
}
