//! Traces: one span for each recorded request that is sampled and one for each request to an upstream for it, sent to an OTLP receiver
//! in the background. They are diagnostics: what the queue or the receiver does not take is dropped and counted.
//!
//! INVARIANT: no request waits for anything here, and nothing is allocated for one that is not sampled.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{mpsc, watch};

use super::accept::TraceContext;
use super::running::stopping;
use super::tls::{self, TlsError};
use crate::audit::DecisionFacts;
use crate::clock::Clock;
use crate::config::TelemetrySettings;
use crate::telemetry::{Attribute, Metrics, Span, SpanKind, document};

/// Spans that wait to be sent.
const QUEUE_MAX: usize = 4_096;
/// Spans sent at a time, and how long the first of them waits for others.
const BATCH_MAX: usize = 512;
const GATHER: Duration = Duration::from_millis(500);
/// From the first packet to the answer to one batch.
const DELIVERY_MAX: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Takes spans; held by whatever handles requests.
#[derive(Debug)]
pub(super) struct Tracer {
    queue: mpsc::Sender<Span>,
    /// Of the requests whose caller says nothing about it.
    one_in: u32,
    /// Of the decision log.
    origin: String,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// What is left to do with a request once it is over.
#[derive(Debug)]
pub(super) struct Done<'a> {
    pub(super) facts: &'a DecisionFacts,
    pub(super) outcome: &'static str,
    pub(super) status: u16,
    /// Index of the decision.
    pub(super) of: u64,
    pub(super) took: Duration,
}

impl Tracer {
    pub(super) fn new(
        settings: &TelemetrySettings,
        gateway: &str,
        origin: &str,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<(Self, Sending), TlsError> {
        let (queue, spans) = mpsc::channel(QUEUE_MAX);
        let tls = tls::client(Some(&settings.tls))?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        let tracer = Self { queue, one_in: settings.one_in, origin: origin.to_owned(), clock: Arc::clone(clock), metrics: metrics.clone() };
        let sending = Sending {
            spans,
            client,
            url: settings.url.clone(),
            token: settings.token.clone(),
            gateway: gateway.to_owned(),
            metrics: metrics.clone(),
        };
        Ok((tracer, sending))
    }

    /// Whether a trace that begins here is recorded: by its id, so that all gateways choose the same.
    pub(super) fn chooses(&self, trace_id: [u8; 16]) -> bool {
        let [.., a, b, c, d] = trace_id;
        u32::from_be_bytes([a, b, c, d]).is_multiple_of(self.one_in)
    }

    /// A request that is answered and recorded.
    pub(super) fn answered(&self, trace: TraceContext, done: &Done<'_>) {
        if !trace.is_sampled {
            return;
        }
        let Done { facts, outcome, status, of, took } = *done;
        let mut attributes = vec![
            ("http.route", Attribute::Text(facts.route.to_string())),
            ("http.response.status_code", Attribute::Number(status.into())),
            ("consentry.api", Attribute::Text(facts.api.to_string())),
            ("consentry.app", Attribute::Text(facts.app.to_string())),
            ("consentry.outcome", outcome.into()),
            ("consentry.decision", Attribute::Text(format!("{}#{of}", self.origin))),
        ];
        attributes.extend(facts.purpose.map(|purpose| ("consentry.purpose", Attribute::Text(purpose.to_string()))));
        self.take(Span {
            trace_id: trace.trace_id,
            id: trace.span_id,
            parent: trace.parent,
            kind: SpanKind::Server,
            name: facts.route.to_string(),
            ended: self.clock.now(),
            took,
            is_error: status >= 500,
            attributes,
        });
    }

    /// A request to an upstream: `result` is how it is counted, `span` the trace that the upstream was told.
    pub(super) fn asked(
        &self,
        span: TraceContext,
        method: &Method,
        upstream: &'static str,
        result: &'static str,
        status: Option<u16>,
        took: Duration,
    ) {
        if !span.is_sampled {
            return;
        }
        let mut attributes = vec![("http.request.method", method.as_str().into()), ("consentry.upstream", upstream.into())];
        let is_error = status.is_none_or(|status| status >= 400);
        attributes.extend(status.map(|status| ("http.response.status_code", Attribute::Number(status.into()))));
        if is_error {
            attributes.push(("error.type", result.into()));
        }
        self.take(Span {
            trace_id: span.trace_id,
            id: span.span_id,
            parent: span.parent,
            kind: SpanKind::Client,
            name: format!("{method} {upstream}"),
            ended: self.clock.now(),
            took,
            is_error,
            attributes,
        });
    }

    fn take(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.metrics.spans_dropped(1);
        }
    }
}

/// Sends what the queue holds.
pub(super) struct Sending {
    spans: mpsc::Receiver<Span>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    token: Option<HeaderValue>,
    gateway: String,
    metrics: Metrics,
}

impl Sending {
    /// Until the gateway stops; what is queued then is sent once more, so that the last requests are not lost.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let (mut is_failing, mut is_over) = (false, false);
        while !is_over {
            let mut batch = Vec::new();
            tokio::select! {
                _ = self.spans.recv_many(&mut batch, 1) => {}
                () = stopping(&mut stopped) => is_over = true,
            }
            if !is_over {
                tokio::select! {
                    () = tokio::time::sleep(GATHER) => {}
                    () = stopping(&mut stopped) => {}
                }
            }
            while batch.len() < BATCH_MAX
                && let Ok(span) = self.spans.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                continue;
            }
            let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            let payload = Bytes::from(document(&self.gateway, &batch).to_string());
            let sent = tokio::time::timeout(DELIVERY_MAX, self.post(payload)).await;
            match sent.unwrap_or_else(|_elapsed| Err(format!("it did not answer within {} s", DELIVERY_MAX.as_secs()))) {
                Ok(()) => {
                    self.metrics.spans_sent(spans);
                    is_failing = false;
                }
                Err(why) => {
                    self.metrics.spans_dropped(spans);
                    // Said once, not for every batch.
                    if !is_failing {
                        tracing::warn!(why, "spans are not taken; they are dropped");
                    }
                    is_failing = true;
                }
            }
        }
    }

    async fn post(&self, payload: Bytes) -> Result<(), String> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("consentry/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Full::new(payload)).map_err(|error| error.to_string())?;
        let (head, body) = self.client.request(request).await.map_err(|error| format!("{error:?}"))?.into_parts();
        // Read, so that the connection can be used again.
        drop(Limited::new(body, ANSWER_BYTES_MAX).collect().await);
        if head.status.is_success() { Ok(()) } else { Err(format!("it answered {}", head.status.as_u16())) }
    }
}
