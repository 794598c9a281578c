//! The life of a request, one way. Each step takes the value before and gives its own; read it from top to bottom:
//!
//! ```text
//! accept -> authenticate -> route -> (entitle -> customer -> verdicts = permit) -> record -> forward -> cut -> record -> compare -> answer
//! ```
//!
//! INVARIANT: the head entry is durable before anything is answered; a write's intent before it is forwarded; a part's
//! entry before its first byte. Customer, consent and generation are compared once more between the last entry and release.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::accept::{TraceContext, accept};
use super::answer::portions;
use super::in_flight::Admitted;
use super::judge::{DecidedOn, still_hold};
use super::listener::Connection;
use super::problem::{Code, Problem};
use super::rejects::ListenerRejects;
use super::respond::{self, Reply};
use super::route::{Authenticated, Routed, authenticate, route};
use super::state::Shared;
use super::tracer::Done;
use super::unwind::{BrokeDown, unbroken};
use super::{call, none, read, write};
use crate::audit::{AuditError, DecisionFacts, Entry, Group, Outcome, Recorded};
use crate::catalog::Customer;
use crate::model::Action;

/// The end of a request before its answer.
#[derive(Debug)]
pub(super) enum Halt {
    /// Nobody is known yet: counted, not recorded one by one.
    Rejected(Problem),
    /// To be recorded, then answered.
    Refused(Box<Refusal>),
    /// Nothing can be recorded, so nothing is decided.
    AuditUnavailable(AuditError),
}

/// A denial on its way to the log.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) facts: Arc<DecisionFacts>,
    pub(super) problem: Problem,
    /// The head that is already written: (index, decision id).
    pub(super) head: Option<(u64, String)>,
    pub(super) groups: Vec<Group>,
    /// Paths of the shape; never names that came with the request.
    pub(super) paths: Vec<String>,
}

impl Halt {
    pub(super) fn refuse(facts: impl Into<Arc<DecisionFacts>>, problem: impl Into<Problem>) -> Self {
        Self::Refused(Box::new(Refusal { facts: facts.into(), problem: problem.into(), head: None, groups: Vec::new(), paths: Vec::new() }))
    }

    pub(super) fn refuse_groups(facts: &Arc<DecisionFacts>, problem: impl Into<Problem>, groups: Vec<Group>) -> Self {
        Self::Refused(Box::new(Refusal { facts: Arc::clone(facts), problem: problem.into(), head: None, groups, paths: Vec::new() }))
    }

    pub(super) fn refuse_of(facts: &Arc<DecisionFacts>, head: &Recorded, problem: impl Into<Problem>, groups: Vec<Group>) -> Self {
        let head = Some((head.index(), head.decision_id().to_string()));
        Self::Refused(Box::new(Refusal { facts: Arc::clone(facts), problem: problem.into(), head, groups, paths: Vec::new() }))
    }
}

impl From<AuditError> for Halt {
    fn from(error: AuditError) -> Self {
        Self::AuditUnavailable(error)
    }
}

/// A connection of an app and what its listener says of it.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) connection: Connection,
    /// The listener's limit for request bodies, bytes.
    pub(super) body_max: usize,
    pub(super) rejects: ListenerRejects,
}

/// When a request came, and the trace it is a part of.
#[derive(Clone, Copy, Debug)]
struct Begun {
    started: Duration,
    trace: TraceContext,
}

/// Answers one request of the data plane.
pub(super) async fn handle(shared: &Arc<Shared>, caller: &Arc<Caller>, request: Request<Incoming>) -> Response<Reply> {
    let chooses = |id| shared.tracer.get().is_none_or(|tracer| tracer.chooses(id));
    let begun = Begun { started: shared.clock.monotonic(), trace: TraceContext::from_headers(request.headers(), chooses) };
    let _under_way = shared.metrics.request();
    let is_head = request.method() == Method::HEAD;
    let about = OnceLock::new();
    let ended = match unbroken(run(shared, caller, request, begun, &about)).await {
        Ok(ended) => ended,
        Err(BrokeDown) => Err(broken_down(&about)),
    };
    match ended {
        Ok(response) => response,
        Err(halt) if is_head => respond::without_body(halted(shared, caller, halt, begun).await),
        Err(halt) => halted(shared, caller, halt, begun).await,
    }
}

/// What a request is about, once that is known.
type About = OnceLock<Arc<DecisionFacts>>;

/// A denial of its own: what was recorded of the request before has no end, and search shows it as unresolved.
fn broken_down(about: &About) -> Halt {
    tracing::error!("a request broke down");
    match about.get() {
        Some(facts) => Halt::refuse(Arc::clone(facts), Code::Internal),
        None => Halt::Rejected(Code::Internal.into()),
    }
}

async fn run(shared: &Arc<Shared>, caller: &Arc<Caller>, request: Request<Incoming>, begun: Begun, about: &About) -> Result<Response<Reply>, Halt> {
    let snapshot = shared.snapshot();
    let accepted = accept(request, &caller.connection, &snapshot.hosts, begun.trace).map_err(Halt::Rejected)?;
    let (mut call, body) = authenticate(shared, &snapshot, accepted, caller.body_max).await.map_err(Halt::Rejected)?;
    let body = call::listen(&snapshot, &mut call, body).await;
    let routed = route(shared, &snapshot, &call)?;
    about.get_or_init(|| Arc::clone(&routed.facts));
    let refused = |problem: Problem| Halt::refuse(Arc::clone(&routed.facts), problem);
    let client = routed.facts.app;
    // Whoever is authenticated is configured.
    let most = snapshot.in_flight_max.get(&client).copied().unwrap_or_default();
    let admitted = shared.in_flight.admit(client, most).map_err(refused)?;
    shared.budgets.admit(&routed).map_err(refused)?;
    match (&routed.found.route.customer, routed.found.route.action) {
        (Customer::None, _) => none::serve(shared, &call, routed).await.map(|response| under_way(response, admitted)),
        (_, Action::Read | Action::Export | Action::ReadReduced) => {
            read::serve(shared, &call, routed, body).await.map(|response| under_way(response, admitted))
        }
        (_, Action::Create | Action::Update | Action::Delete) => {
            let (shared, caller) = (Arc::clone(shared), Arc::clone(caller));
            // A task of its own: a client that hangs up does not stop a write between its intent and its end, and does not
            // keep a customer whom it created from being linked.
            let written = tokio::spawn(async move {
                match write::serve(&shared, &call, routed, body).await {
                    Ok(response) => under_way(response, admitted),
                    Err(halt) => halted(&shared, &caller, halt, begun).await,
                }
            });
            match written.await.map_err(tokio::task::JoinError::try_into_panic) {
                Ok(response) => Ok(response),
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                // Only at the very end, when the runtime lets all tasks go: nobody is answered any more.
                Err(Err(_cancelled)) => std::future::pending().await,
            }
        }
    }
}

/// A request is under way until its answer is out.
fn under_way(mut response: Response<Reply>, admitted: Admitted) -> Response<Reply> {
    response.body_mut().hold(admitted);
    response
}

/// Records a refusal and makes its answer; without a record there is only a 503.
async fn halted(shared: &Shared, caller: &Caller, halt: Halt, begun: Begun) -> Response<Reply> {
    let refusal = match halt {
        Halt::Rejected(problem) => {
            caller.rejects.stranger(problem.code.as_str(), caller.connection.peer.ip());
            return respond::reject(&problem);
        }
        Halt::AuditUnavailable(error) => return audit_unavailable(caller, &error),
        Halt::Refused(refusal) => *refusal,
    };
    let Refusal { facts, problem, head, mut groups, paths } = refusal;
    let of = head.as_ref().map(|(index, _)| *index);
    if let Some(of) = of {
        // Only an answer is about more customers than one entry holds. Entries are durable in their order.
        let mut entries = portions(groups);
        groups = entries.pop().unwrap_or_default();
        for groups in entries {
            let more = Entry::Part { of, rows: 0, dropped: 0, groups, withheld: Vec::new() };
            if let Err(error) = shared.log.append_unwaited(more) {
                return audit_unavailable(caller, &error);
            }
        }
    }
    let entry = Entry::Deny { facts: Arc::clone(&facts), of, status: problem.code.status().as_u16(), code: problem.code.as_str(), groups, paths };
    match record(shared, entry).await {
        Ok(recorded) => {
            let decision = head.map_or_else(|| recorded.decision_id().to_string(), |(_, id)| id);
            shared.metrics.decided(Outcome::Deny.as_str());
            let took = shared.clock.monotonic().saturating_sub(begun.started);
            shared.metrics.answered(Outcome::Deny.as_str(), took);
            if let Some(tracer) = shared.tracer.get() {
                let of = of.unwrap_or_else(|| recorded.index());
                let status = problem.code.status().as_u16();
                tracer.answered(begun.trace, &Done { facts: &facts, outcome: Outcome::Deny.as_str(), status, of, took });
            }
            tracing::debug!(decision, code = problem.code.as_str(), app = %facts.app, route = %facts.route, "denied");
            respond::refuse(&problem, &recorded, &decision)
        }
        Err(error) => audit_unavailable(caller, &error),
    }
}

fn audit_unavailable(caller: &Caller, error: &AuditError) -> Response<Reply> {
    tracing::error!(%error, "no decision can be recorded");
    caller.rejects.unrecorded(Code::AuditUnavailable.as_str());
    respond::reject(&Code::AuditUnavailable.into())
}

pub(super) async fn record(shared: &Shared, entry: Entry) -> Result<Recorded, AuditError> {
    shared.log.append(entry)?.await
}

/// The consent store must be there for whatever is about a customer, and as new as the request asks.
pub(super) fn consent_available(shared: &Shared, call: &Authenticated, routed: &Routed) -> Result<(), Halt> {
    if let Err(error) = shared.ledger.healthy() {
        tracing::error!(%error, "the consent store is away");
        return Err(Halt::refuse(Arc::clone(&routed.facts), Code::ConsentUnavailable));
    }
    let mut wanted = call.headers.get_all("consentry-min-revision").iter();
    match (wanted.next(), wanted.next()) {
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err(Halt::refuse(Arc::clone(&routed.facts), Code::AmbiguousRequest)),
        (Some(value), None) => match value.to_str().ok().and_then(|v| v.parse::<u64>().ok()) {
            None => Err(Halt::refuse(Arc::clone(&routed.facts), Code::AmbiguousRequest)),
            Some(revision) if revision > shared.ledger.revision().0 => Err(Halt::refuse(Arc::clone(&routed.facts), Code::ConsentUnavailable)),
            Some(_) => Ok(()),
        },
    }
}

/// What an answer, or a part of one, was decided on.
#[derive(Debug)]
pub(super) struct Footing {
    pub(super) shared: Arc<Shared>,
    pub(super) generation: u64,
    pub(super) decided_on: Vec<DecidedOn>,
    pub(super) premises: super::premises::Premises,
}

impl respond::Holds for Footing {
    fn still_holds(&self) -> bool {
        let ledger = &self.shared.ledger;
        self.shared.still_decides(self.generation) && self.premises.still_hold(ledger) && still_hold(&self.decided_on, ledger)
    }
}

/// How an answer that went out is told to the log: once, whatever becomes of the connection.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) shared: Arc<Shared>,
    pub(super) of: u64,
    pub(super) status: u16,
    pub(super) rows: AtomicU64,
    pub(super) started: Duration,
    /// As it is counted.
    pub(super) outcome: &'static str,
    pub(super) trace: TraceContext,
    pub(super) facts: Arc<DecisionFacts>,
}

impl respond::Watch for Ending {
    fn began(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    fn ended(&self, bytes: u64, complete: bool) {
        let latency = self.shared.clock.monotonic().saturating_sub(self.started);
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.shared.metrics.answered(self.outcome, latency);
        if let Some(tracer) = self.shared.tracer.get() {
            let (facts, outcome) = (&*self.facts, self.outcome);
            tracer.answered(self.trace, &Done { facts, outcome, status: self.status, of: self.of, took: latency });
        }
        let rows = self.rows.load(Ordering::Relaxed);
        let entry = Entry::End { of: self.of, status: self.status, bytes, rows, complete, latency_us };
        // The answer's own entry is durable; without this one, search shows the decision as unresolved.
        if let Err(error) = self.shared.log.append_unwaited(entry) {
            tracing::warn!(%error, "the end of an answer could not be noted");
        }
    }
}

/// Whether requests of this method carry a body.
pub(super) fn has_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// What a request without a body forwards.
pub(super) const NO_BODY: Bytes = Bytes::new();
