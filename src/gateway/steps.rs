//! The steps of one read, each taken by itself over and over, so that `consentry bench` can tell what each costs. They are the
//! pipeline's own, and take its values; nothing is forwarded, and nothing is answered.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::accept::TraceContext;
use super::forward::Unfiltered;
use super::permit::entitle;
use super::pipeline::{Halt, NO_BODY, record};
use super::read;
use super::route::{Authenticated, Routed, route};
use super::state::{Shared, Snapshot};
use crate::audit::Entry;
use crate::catalog::Target;
use crate::identity::Sent;

/// A step, in the order in which a request takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Token,
    Route,
    Consent,
    Cedar,
    Filter,
    Log,
}

impl Step {
    pub(crate) const ALL: [Self; 6] = [Self::Token, Self::Route, Self::Consent, Self::Cedar, Self::Filter, Self::Log];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "+token",
            Self::Route => "+route",
            Self::Consent => "+consent",
            Self::Cedar => "+cedar",
            Self::Filter => "+filter",
            Self::Log => "+log",
        }
    }
}

/// What is asked: a read of one customer, whom the path names.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) path: String,
    pub(crate) authorization: HeaderValue,
    pub(crate) purpose: HeaderValue,
    /// The upstream's answer.
    pub(crate) body: Bytes,
}

/// Entries that wait for the disk together, as under load.
const TOGETHER: u32 = 64;

/// One request, taken apart.
#[derive(Debug)]
pub(crate) struct Steps {
    shared: Arc<Shared>,
    snapshot: Arc<Snapshot>,
    path: String,
    call: Authenticated,
    unfiltered: Unfiltered,
}

impl Steps {
    /// `Err`: the request is not the one that [`Sample`] describes.
    pub(crate) async fn of(shared: &Arc<Shared>, sample: Sample) -> Result<Self, String> {
        let snapshot = shared.snapshot();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, sample.authorization);
        headers.insert("data-purpose", sample.purpose);
        let target = Target::parse(&sample.path).map_err(|error| error.to_string())?;
        let host = snapshot.hosts.first().cloned().unwrap_or_default();
        let principal = {
            let origin = snapshot.origin_of(&host);
            let sent = Sent { method: &Method::GET, origin: &origin, path: target.path() };
            snapshot.authenticator.authenticate(None, &headers, sent).await.map_err(|error| error.to_string())?
        };
        let call = Authenticated {
            method: Method::GET,
            target,
            host,
            headers,
            trace: TraceContext { trace_id: [7; 16], span_id: [7; 8], parent: None, is_sampled: false },
            principal,
            request_no: shared.next_request(),
            started: shared.clock.monotonic(),
            body_max: 0,
            said: None,
        };
        let mut told = HeaderMap::new();
        told.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let unfiltered = Unfiltered { status: StatusCode::OK, headers: told, body: sample.body, rest: None };
        Ok(Self { shared: Arc::clone(shared), snapshot, path: sample.path, call, unfiltered })
    }

    /// Takes a step so many times.
    pub(crate) async fn take(&self, step: Step, times: u32) -> Result<(), String> {
        self.try_take(step, times).await.map_err(|halt| format!("{halt:?}"))
    }

    async fn try_take(&self, step: Step, times: u32) -> Result<(), Halt> {
        let Self { shared, snapshot, path, call, unfiltered } = self;
        if step == Step::Token {
            for _ in 0..times {
                let origin = snapshot.origin_of(&call.host);
                let sent = Sent { method: &call.method, origin: &origin, path: call.target.path() };
                black_box(snapshot.authenticator.authenticate(None, &call.headers, sent).await.ok());
            }
            return Ok(());
        }
        if step == Step::Route {
            for _ in 0..times {
                black_box(Target::parse(path).ok());
                black_box(self.routed()?);
            }
            return Ok(());
        }
        let routed = self.routed()?;
        let look_up = || {
            let customer = routed.customer(call, &NO_BODY).map_err(Halt::Rejected)?;
            read::look_up(shared, &routed, customer)
        };
        if step == Step::Consent {
            for _ in 0..times {
                black_box(look_up()?);
            }
            return Ok(());
        }
        let requested = look_up()?;
        let shape = routed.found.route.response.shape().cloned().ok_or_else(|| Halt::Rejected(super::Code::RouteNotDeclared.into()))?;
        let judge = || {
            let entitled = entitle(&routed, &shape)?;
            read::head(&routed, &entitled, &shape, requested.as_ref())
        };
        if step == Step::Cedar {
            for _ in 0..times {
                black_box(judge()?);
            }
            return Ok(());
        }
        let (_, entry, covered) = judge()?;
        if step == Step::Log {
            return log(shared, &entry, times).await;
        }
        let head = record(shared, entry).await?;
        let customer = requested.map(|(id, _)| id);
        for _ in 0..times {
            black_box(read::cut(shared, &routed, &head, unfiltered, customer.clone(), covered.as_ref(), false)?);
        }
        Ok(())
    }

    fn routed(&self) -> Result<Routed, Halt> {
        route(&self.shared, &self.snapshot, &self.call)
    }
}

/// Heads that are waited for, each with its end.
async fn log(shared: &Shared, entry: &Entry, times: u32) -> Result<(), Halt> {
    for _ in 0..times / TOGETHER {
        let mut pending = Vec::new();
        for _ in 0..TOGETHER {
            pending.push(shared.log.append(entry.clone())?);
        }
        for pending in pending {
            let of = pending.await?.index();
            shared.log.append_unwaited(Entry::End { of, status: 200, bytes: 2_000, rows: 1, complete: true, latency_us: 300 })?;
        }
    }
    Ok(())
}
