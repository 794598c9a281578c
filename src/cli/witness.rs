//! `consentry audit witness`: remembers the checkpoints of gateways' logs on a machine of compliance's own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::proof::read;
use super::run::{runtime, stop_signals};
use super::{Exit, Failure, Output};
use crate::audit::{self, SIZE_TYPE, SigningKeySource, Unsigned, Witness};
use crate::clock::SystemClock;
use crate::gateway::listener::{self, Limits, Served};
use crate::telemetry;

/// Serves a witness (C2SP tlog-witness): signs a log's checkpoint only if it goes on from the one before. Runs until SIGTERM or Ctrl-C.
///
/// What is sent either way is signed and tells sizes only; put a TLS proxy before it where networks are crossed.
#[derive(Debug, clap::Args)]
pub(super) struct WitnessArgs {
    /// Where it remembers what it signed.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Its name, as in `witness.example.com/compliance`.
    #[arg(long)]
    name: String,
    /// Its Ed25519 key; made when the file is not there.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The verifier key of a log that it knows (`log.vkey`), with what `audit verify --rotations-out` wrote behind it once the key was
    /// replaced; once for each.
    #[arg(long = "log", value_name = "FILE", required = true)]
    logs: Vec<PathBuf>,
    /// Where it listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7444")]
    listen: SocketAddr,
}

/// A checkpoint with its proof has some 4 KiB.
const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

impl WitnessArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        telemetry::start_tracing("info", false);
        let unusable = |error: &audit::AuditError| Failure::new(Exit::Unavailable, error.to_string());
        if !self.key.exists() {
            audit::generate_signing_key(&self.key).map_err(|error| unusable(&error))?;
        }
        let logs = self.logs.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
        let witness = Witness::open(&self.dir, &self.name, &SigningKeySource::File(self.key.clone()), &logs).map_err(|error| unusable(&error))?;
        let witness = Arc::new(witness);
        runtime()?.block_on(async {
            let told_to_stop = stop_signals()?;
            let busy = |error: std::io::Error| Failure::unavailable(format!("`{}` cannot be listened on: {error}", self.listen));
            let socket = TcpListener::bind(self.listen).await.map_err(busy)?;
            let address = socket.local_addr().map_err(busy)?;
            output.answer(&json!({ "address": address.to_string(), "key": witness.vkey() }), || {
                format!("witness at http://{address} · its verifier key, for `[[audit.witnesses]]` of each gateway:\n\n{}", witness.vkey())
            })?;
            let (stop, stopped) = watch::channel(false);
            let make = move |_connection| {
                let witness = Arc::clone(&witness);
                service_fn(move |request| answer(Arc::clone(&witness), request))
            };
            let serving = tokio::spawn(listener::serve(socket, Served::plain(Limits::for_strangers()), stopped, make));
            told_to_stop.await;
            stop.send_replace(true);
            serving.await.map_err(|error| Failure::new(Exit::Internal, format!("the witness ended badly: {error}")))?;
            Ok(Exit::Done)
        })
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(witness: Arc<Witness>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    if request.uri().path() != "/add-checkpoint" {
        return Ok(text(StatusCode::NOT_FOUND, "a witness takes `POST /add-checkpoint`"));
    }
    if request.method() != Method::POST {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "a witness takes `POST /add-checkpoint`"));
    }
    let body = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(request.into_body(), BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_cut)) => return Ok(text(StatusCode::BAD_REQUEST, "the body was cut, or is too long")),
        Err(_elapsed) => return Ok(text(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    };
    let Ok(body) = String::from_utf8(body.to_vec()) else { return Ok(text(StatusCode::BAD_REQUEST, "the body is not text")) };
    // It waits for the disk.
    let signed = tokio::task::spawn_blocking(move || witness.add_checkpoint(&body, SystemClock::shared().now())).await;
    Ok(match signed {
        Ok(Ok(line)) => text(StatusCode::OK, line),
        Ok(Err(why)) => refused(&why),
        Err(_panicked) => text(StatusCode::INTERNAL_SERVER_ERROR, "the witness failed"),
    })
}

/// The statuses of the specification.
fn refused(why: &Unsigned) -> Answer {
    let status = match why {
        Unsigned::Malformed | Unsigned::Backwards => StatusCode::BAD_REQUEST,
        Unsigned::UnknownLog => StatusCode::NOT_FOUND,
        Unsigned::NotSigned | Unsigned::KeyIsOut => StatusCode::FORBIDDEN,
        Unsigned::OtherSize { size } => {
            let mut answer = text(StatusCode::CONFLICT, format!("{size}\n"));
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(SIZE_TYPE));
            return answer;
        }
        Unsigned::OtherRoot { .. } => StatusCode::CONFLICT,
        Unsigned::NotConsistent { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Unsigned::Memory { .. } | Unsigned::Disk(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    tracing::warn!(status = status.as_u16(), %why, "a checkpoint was not signed");
    text(status, format!("{why}\n"))
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By these a gateway tells a log that was rewritten from a witness that is away.
    #[test]
    fn refusals_have_the_statuses_of_the_specification() {
        let disk = Unsigned::Disk(audit::AuditError::Closed);
        for (why, status) in [
            (Unsigned::Malformed, 400),
            (Unsigned::Backwards, 400),
            (Unsigned::UnknownLog, 404),
            (Unsigned::NotSigned, 403),
            (Unsigned::KeyIsOut, 403),
            (Unsigned::OtherSize { size: 7 }, 409),
            (Unsigned::OtherRoot { size: 7 }, 409),
            (Unsigned::NotConsistent { old: 7 }, 422),
            (Unsigned::Memory { path: PathBuf::new() }, 503),
            (disk, 503),
        ] {
            let answer = refused(&why);
            assert_eq!(answer.status(), status, "{why}");
            let is_size = answer.headers()[header::CONTENT_TYPE] == SIZE_TYPE;
            assert_eq!(is_size, matches!(why, Unsigned::OtherSize { .. }), "{why}: only a size has its type");
        }
    }
}
