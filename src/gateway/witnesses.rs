//! Offers the log's checkpoints to witnesses on other machines. A witness that has signed more of this log than there is, or another
//! tree, shows that the log was set back or rewritten: the gateway does not start then, and ends its log when it learns of it later.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use tokio::sync::watch;

use super::tls::{self, TlsError};
use crate::audit::{self, AuditError, Log, Tiles, accepted};
use crate::config::WitnessSettings;

/// How often what is new is offered.
const OFFER_EVERY: Duration = Duration::from_secs(10);
/// From the first packet to the last byte of one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Once to learn what it has signed, once to offer that; a third time when another instance was faster.
const ATTEMPTS: usize = 3;
/// A witness that has signed nothing for longer is told of.
const SILENT_MAX: Duration = Duration::from_secs(300);

/// What became of an offer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwitnessed {
    /// It shows that this is not the log that the witness has seen.
    #[error("{0}")]
    Contradicted(String),
    /// Not now: it cannot be reached, or does not know this log.
    #[error("{0}")]
    Away(String),
}

/// Those of the configuration.
#[derive(Debug)]
pub(super) struct Witnesses {
    all: Vec<OneWitness>,
    tiles: Arc<Tiles>,
    dir: PathBuf,
}

struct OneWitness {
    settings: WitnessSettings,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    state: Mutex<State>,
}

impl std::fmt::Debug for OneWitness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OneWitness").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

/// How it stands with one.
#[derive(Clone, Debug, Default)]
struct State {
    /// Entries that it has signed, as far as is known.
    size: u64,
    /// When it signed last.
    at: Option<Timestamp>,
    trouble: Option<String>,
}

impl Witnesses {
    pub(super) fn new(settings: &[WitnessSettings], tiles: &Arc<Tiles>, dir: PathBuf) -> Result<Arc<Self>, TlsError> {
        let all = settings.iter().map(OneWitness::new).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { all, tiles: Arc::clone(tiles), dir }))
    }

    /// Asks all of them once.
    ///
    /// # Errors
    /// What one of them has seen that contradicts this log. One that is away is told of in the trace only.
    pub(super) async fn ask(&self) -> Result<(), String> {
        for witness in &self.all {
            let asked = witness.offer(&self.tiles, &self.dir).await;
            let mut state = witness.state();
            match asked {
                Ok(None) => {}
                Ok(Some((size, at))) => *state = State { size, at: Some(at), trouble: None },
                Err(Unwitnessed::Away(why)) => {
                    // Said once, not every ten seconds.
                    if state.trouble.as_ref() != Some(&why) {
                        tracing::warn!(witness = witness.settings.url, why, "the witness has not signed the log's checkpoint");
                    }
                    state.trouble = Some(why);
                }
                Err(Unwitnessed::Contradicted(why)) => return Err(why),
            }
        }
        Ok(())
    }

    /// Offers what is new from now on.
    pub(super) async fn keep_offering(self: Arc<Self>, log: Log, mut stopped: watch::Receiver<bool>) {
        if self.all.is_empty() {
            return;
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(OFFER_EVERY) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
            if let Err(why) = self.ask().await {
                tracing::error!(why, "the decision log is not the one that a witness has seen; nothing is answered any more");
                return log.end(why);
            }
        }
    }

    /// For readiness: a sentence for each that has been silent for too long.
    pub(super) fn silent(&self, now: Timestamp) -> Vec<String> {
        let sentence = |witness: &OneWitness| {
            let state = witness.state();
            let recent = state.at.is_some_and(|at| now.duration_since(at).unsigned_abs() < SILENT_MAX);
            let why = state.trouble.clone().filter(|_| !recent)?;
            let since =
                state.at.map_or_else(|| "has signed nothing since the start".to_owned(), |at| format!("signed {} entries at {at}", state.size));
            Some(format!("the witness at {} {since}: {why}", witness.settings.url))
        };
        self.all.iter().filter_map(sentence).collect()
    }
}

impl OneWitness {
    fn new(settings: &WitnessSettings) -> Result<Self, TlsError> {
        let tls = tls::client(Some(&settings.tls))?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        Ok(Self { settings: settings.clone(), client, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the newest checkpoint signed; `None` when it is already.
    async fn offer(&self, tiles: &Arc<Tiles>, dir: &std::path::Path) -> Result<Option<(u64, Timestamp)>, Unwitnessed> {
        let mut old = self.state().size;
        for _ in 0..ATTEMPTS {
            let read = Arc::clone(tiles);
            let found = tokio::task::spawn_blocking(move || read.offer(old)).await;
            let found = found.map_err(|error| away(&error))?.map_err(|error| {
                // No witness is needed to see damage; and nobody keeps a log from its witness by breaking it.
                if matches!(error, AuditError::Damaged { .. }) { Unwitnessed::Contradicted(error.to_string()) } else { away(&error) }
            })?;
            let Some(offer) = found else { return Err(self.contradicted(&format!("{old} entries, this log has fewer: it was set back"))) };
            let size = offer.size();
            if old == size && self.state().at.is_some() {
                return Ok(None);
            }
            let (status, is_size, answer) = tokio::time::timeout(ANSWER_MAX, self.post(offer.to_body())).await.map_err(|error| away(&error))??;
            match status {
                StatusCode::OK => {
                    let (note, at) = accepted(&offer, &answer, &self.settings.key).map_err(|why| Unwitnessed::Away(why.to_owned()))?;
                    let (dir, key) = (dir.to_owned(), self.settings.key.clone());
                    let kept = tokio::task::spawn_blocking(move || audit::keep_witnessed(&dir, &key, &note)).await;
                    kept.map_err(|error| away(&error))?.map_err(|error| away(&error))?;
                    return Ok(Some((size, at)));
                }
                StatusCode::CONFLICT if is_size => match answer.trim_end().parse() {
                    Ok(known) if known != old => old = known,
                    Ok(_) | Err(_) => return Err(Unwitnessed::Away("it contradicts itself".to_owned())),
                },
                StatusCode::CONFLICT => return Err(self.contradicted(&format!("another tree of {size} entries: this log was rewritten"))),
                StatusCode::UNPROCESSABLE_ENTITY => {
                    return Err(self.contradicted(&format!("{old} entries with which this log does not begin: it was rewritten")));
                }
                StatusCode::NOT_FOUND => return Err(Unwitnessed::Away("it does not know this log; give it `log.vkey`".to_owned())),
                StatusCode::FORBIDDEN => {
                    let why = "it does not know the key that signs this log; give it what `consentry audit verify --rotations-out` writes";
                    return Err(Unwitnessed::Away(why.to_owned()));
                }
                other => return Err(Unwitnessed::Away(format!("it answered {}", other.as_u16()))),
            }
        }
        Err(Unwitnessed::Away("others offer checkpoints of this log at the same time".to_owned()))
    }

    fn contradicted(&self, what: &str) -> Unwitnessed {
        Unwitnessed::Contradicted(format!("the witness at {} has signed {what}; keep the log's folder, it is evidence", self.settings.url))
    }

    /// Status, whether the body is a size, and the body.
    async fn post(&self, body: String) -> Result<(StatusCode, bool, String), Unwitnessed> {
        let request = Request::builder().method(Method::POST).uri(format!("{}/add-checkpoint", self.settings.url)).body(Full::from(body));
        let response = self.client.request(request.map_err(|error| away(&error))?).await.map_err(|error| away(&error))?;
        let (head, body) = response.into_parts();
        let is_size = head.headers.get(header::CONTENT_TYPE).is_some_and(|value| value == audit::SIZE_TYPE);
        let bytes = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| Unwitnessed::Away(error.to_string()))?.to_bytes();
        Ok((head.status, is_size, String::from_utf8_lossy(&bytes).into_owned()))
    }
}

fn away(error: &dyn std::error::Error) -> Unwitnessed {
    Unwitnessed::Away(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Entry, LogSettings, Mode, SigningKeySource};
    use crate::clock::SystemClock;
    use crate::config::{Roots, UpstreamTls};

    /// Nobody is at that address.
    fn witnesses(dir: &std::path::Path) -> Arc<Witnesses> {
        let tls = UpstreamTls { roots: Roots::Ca(Vec::new()), client: None };
        let settings = WitnessSettings { url: "http://127.0.0.1:1".to_owned(), key: String::new(), tls };
        Witnesses::new(&[settings], &Arc::new(Tiles::new(dir)), dir.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn a_witness_that_is_away_stops_nothing_and_a_broken_log_is_not_taken_for_that() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("log");
        let settings = LogSettings {
            dir: dir.clone(),
            spare_dir: None,
            origin: "gw.example.com".to_owned(),
            signing_key: SigningKeySource::Bytes(vec![7; 32]),
            previous_key: None,
            queue_max: 100,
            segment_bytes: 1 << 20,
            mode: Mode::Strict,
            seal: true,
        };
        let (log, _) = Log::open(settings, SystemClock::shared()).unwrap();
        log.append(Entry::Clock { step_ms: 4_242 }).unwrap().wait().unwrap();
        log.clone().close();
        let all = witnesses(&dir);
        assert_eq!(Ok(()), all.ask().await);
        assert!(all.silent(SystemClock::shared().now()).concat().contains("has signed nothing since the start"));
        let segment = dir.join("segment-00000000000000000000-0000");
        let mut bytes = std::fs::read(&segment).unwrap();
        let at = bytes.windows(4).position(|part| part == b"4242").unwrap();
        bytes[at] = b'5';
        std::fs::write(&segment, bytes).unwrap();
        assert!(witnesses(&dir).ask().await.is_err_and(|why| why.contains("damaged")));
    }
}
