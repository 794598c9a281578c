//! Lists that are longer than one part. Each part is cut, recorded and compared by itself, and goes out in its order; meanwhile the
//! next ones are read and cut, a few of them ahead of the disk. So memory does not grow with the list.
//!
//! The first part is as any other answer: while nothing has gone out it is decided anew when something changes, and what is
//! wrong with it is refused. Later there is no way back: the answer breaks off, the client sees that, and the log has what went out.
//!
//! ```text
//! upstream -> part n+2 is cut, its entry written -> parts on their way to the disk -> durable, reserved, compared -> part n goes out
//! ```

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::{Method, Response};
use tokio::sync::mpsc;

use super::answer::{
    Recording, append_part, compressed, contact, cut_problem, error_groups, forward_problem, json, limits, note_drift, own, without_grounds,
};
use super::forward::{ForwardError, Reading, Rest, Unfiltered};
use super::judge::{Basis, Judging, log_groups};
use super::passed::response_headers;
use super::permit::categories_with_embedded;
use super::pipeline::{Ending, Footing, Halt};
use super::problem::{Code, Problem};
use super::read::{ATTEMPTS_MAX, reserve, route_anew};
use super::report;
use super::respond::{Head, Next, Part, Reply, answer_in_parts};
use super::route::{Authenticated, Routed};
use super::state::{Shared, Snapshot};
use crate::audit::{Group, Recorded};
use crate::catalog::{Customer, Dialect, Route};
use crate::clock::Clock;
use crate::filter::{Cut, Cutters, Flow};
use crate::model::{EventId, Identifier, ResponsePlan};

/// How long a part waits for further rows once the answer has begun.
const PART_WAIT: Duration = Duration::from_millis(50);
/// Parts that wait for the disk, and parts that wait for the client. With some 256 KiB each they stay below 4 MiB.
const AHEAD_OF_DISK: usize = 8;
const AHEAD_OF_CLIENT: usize = 2;

/// How the answer of a route is read.
pub(super) const fn reading(route: &Route) -> Reading {
    match (&route.response, &route.customer) {
        // Whether it is a result or an error stands somewhere in it.
        _ if matches!(route.dialect, Dialect::JsonRpc) => Reading::Whole,
        (ResponsePlan::Stream { .. }, _) => Reading::Stream,
        // Whose it is stands somewhere in it.
        (ResponsePlan::Rows { .. }, Customer::Response { .. }) => Reading::Whole,
        (ResponsePlan::Rows { .. }, _) => Reading::List,
        (ResponsePlan::Empty | ResponsePlan::Free { .. } | ResponsePlan::Open { .. } | ResponsePlan::Object { .. }, _) => Reading::Whole,
    }
}

/// Releases a list of which only the beginning is here.
pub(super) async fn release(
    shared: &Arc<Shared>,
    call: &Authenticated,
    routed: Routed,
    head: Recorded,
    unfiltered: Unfiltered,
    customer: Option<Identifier>,
) -> Result<Response<Reply>, Halt> {
    let mut unfiltered = unfiltered;
    let is_json = unfiltered.is_plain_json();
    let (body, rest) = (std::mem::take(&mut unfiltered.body), unfiltered.rest.take());
    let mut place = Place::new(shared, routed, head, customer);
    if !is_json {
        return Err(place.refuse(Code::UpstreamUnreadable, Vec::new()));
    }
    let mut source = Source::new(BytesMut::from(body), rest);
    let mut reserved = BTreeSet::new();
    for _ in 0..ATTEMPTS_MAX {
        let mut flow = place.flow();
        let Cutting { cut, mut basis, recording, is_last } = place.next(&mut flow, &mut source, None).await?;
        let recorded = recording.durable().await?;
        let holds = place.reserve(&mut basis, &cut, &mut reserved).await? && place.holds(&basis);
        if holds {
            let first = Released { cut, basis, recorded, is_last };
            return Ok(place.let_go(call, &unfiltered, first, flow, source, reserved));
        }
        if !place.decides() {
            place.routed = route_anew(shared, call, &place.routed, &place.head)?;
            place.is_anew = true;
        }
        source.again();
    }
    tracing::warn!("an answer was decided anew too often");
    Err(place.refuse(Code::ConsentUnavailable, Vec::new()))
}

/// Where the list is cut, and for whom.
pub(super) struct Place {
    pub(super) shared: Arc<Shared>,
    pub(super) routed: Routed,
    pub(super) head: Recorded,
    customer: Option<Identifier>,
    /// Not by the question that the head tells.
    pub(super) is_anew: bool,
}

/// The plan of a request, and the shapes of a snapshot, held while the list comes.
pub(super) enum Planned {
    OfRoute(Arc<Route>),
    /// In report mode, or without the customer's id, another one than the route's may hold.
    Other(Arc<ResponsePlan>),
}

impl Deref for Planned {
    type Target = ResponsePlan;

    fn deref(&self) -> &ResponsePlan {
        match self {
            Self::OfRoute(route) => &route.response,
            Self::Other(plan) => plan,
        }
    }
}

pub(super) struct Shaped(Arc<Snapshot>);

impl Deref for Shaped {
    type Target = Cutters;

    fn deref(&self) -> &Cutters {
        &self.0.cutters
    }
}

pub(super) type ListFlow = Flow<Planned, Shaped>;

/// A part whose entry is on its way to the disk.
pub(super) struct Cutting {
    pub(super) cut: Cut,
    pub(super) basis: Basis,
    pub(super) recording: Recording,
    pub(super) is_last: bool,
}

/// A part that may go out.
struct Released {
    cut: Cut,
    basis: Basis,
    recorded: Recorded,
    is_last: bool,
}

impl Place {
    pub(super) fn new(shared: &Arc<Shared>, routed: Routed, head: Recorded, customer: Option<Identifier>) -> Self {
        Self { shared: Arc::clone(shared), routed, head, customer, is_anew: false }
    }

    pub(super) fn refuse(&self, problem: impl Into<Problem>, groups: Vec<Group>) -> Halt {
        Halt::refuse_of(&self.routed.facts, &self.head, problem, groups)
    }

    pub(super) fn flow(&self) -> ListFlow {
        let routed = &self.routed;
        let (plan, route) = (routed.plan(&self.shared), &routed.found.route);
        let is_of_route = std::ptr::eq(plan, &raw const route.response);
        let plan = if is_of_route { Planned::OfRoute(Arc::clone(route)) } else { Planned::Other(Arc::new(plan.clone())) };
        Flow::new(plan, Shaped(Arc::clone(&routed.snapshot)), &limits(routed), &routed.selected_by)
    }

    /// Cuts the next part and has its entry written. With `wait`, what has come until then is enough.
    pub(super) async fn next(&self, flow: &mut ListFlow, source: &mut Source, wait: Option<Duration>) -> Result<Cutting, Halt> {
        let Self { shared, routed, .. } = self;
        let away = |_away| self.refuse(Code::ConsentUnavailable, Vec::new());
        let requested = match &self.customer {
            None => None,
            Some(id) => Some((id.clone(), shared.ledger.standing(id).map_err(away)?)),
        };
        let snapshot = &routed.snapshot;
        let Some(shape) = routed.found.route.response.shape() else { return Err(self.refuse(Code::UpstreamUnreadable, Vec::new())) };
        let categories = categories_with_embedded(shape, &snapshot.catalog.shapes);
        let mut judging =
            Judging::new(&snapshot.policies, &snapshot.catalog, &shared.ledger, &routed.asked, &categories, requested, &shared.pseudonym_key);
        judging.links = Some((shared, routed));
        let mut began = None;
        let fed = loop {
            if source.has_ended() || source.waiting().len() >= flow.wants() {
                match flow.feed(source.waiting(), source.has_ended(), &mut judging) {
                    Err(error) => break Err(error),
                    Ok(used) => source.pass(used),
                }
            }
            if flow.has_part() || (source.has_ended() && flow.has_ended()) {
                break Ok(());
            }
            let now = shared.clock.monotonic();
            let left = wait.filter(|_| flow.can_part()).map(|wait| wait.saturating_sub(now.saturating_sub(*began.get_or_insert(now))));
            match source.more(&*shared.clock, left).await {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => return Err(self.refuse(forward_problem(error), Vec::new())),
            }
        };
        let basis = judging.finish().map_err(away)?;
        let is_last = source.has_ended() && flow.has_ended();
        let cut = fed.and_then(|()| if is_last { flow.finish() } else { Ok(flow.part()) });
        let unenforced = cut.as_ref().is_ok_and(|cut| cut.report.unenforced);
        let told = |mut groups: Vec<Group>| {
            if unenforced {
                report::mark(&mut groups);
            }
            if self.is_anew {
                groups.iter_mut().for_each(without_grounds);
            }
            groups
        };
        match cut {
            Ok(cut) => {
                let recording = append_part(shared, self.head.index(), &cut.report, told(log_groups(&cut.report.groups, &basis.facts)))?;
                Ok(Cutting { cut, basis, recording, is_last })
            }
            Err(error) => Err(self.refuse(cut_problem(&error, contact(routed)), told(error_groups(&error, &basis.facts)))),
        }
    }

    /// Whether the request would still be decided by the same configuration, policies and premises.
    pub(super) fn decides(&self) -> bool {
        self.shared.still_decides(self.routed.snapshot.generation) && self.routed.asked.premises.still_hold(&self.shared.ledger)
    }

    /// Whether what was decided may still go out.
    pub(super) fn holds(&self, basis: &Basis) -> bool {
        self.decides() && basis.decided_on.iter().all(|decided| decided.still_holds(&self.shared.ledger))
    }

    /// Takes the uses on which a part relies, as far as none were taken for this answer before.
    pub(super) async fn reserve(&self, basis: &mut Basis, cut: &Cut, reserved: &mut BTreeSet<EventId>) -> Result<bool, Halt> {
        let uses = &basis.uses(&cut.report.groups) - reserved;
        let taken = uses.is_empty() || (self.holds(basis) && reserve(&self.shared, &self.routed, &self.head, basis, &uses).await?);
        if taken {
            reserved.extend(uses);
        }
        Ok(taken)
    }

    pub(super) fn footing(&self, basis: Basis) -> Arc<Footing> {
        Arc::new(Footing {
            shared: Arc::clone(&self.shared),
            generation: self.routed.snapshot.generation,
            decided_on: basis.decided_on,
            premises: self.routed.asked.premises.clone(),
        })
    }

    /// Answers with the first part; the others follow by themselves.
    fn let_go(
        self,
        call: &Authenticated,
        unfiltered: &Unfiltered,
        first: Released,
        flow: ListFlow,
        mut source: Source,
        reserved: BTreeSet<EventId>,
    ) -> Response<Reply> {
        let Released { cut, basis, recorded, is_last } = first;
        let (shared, routed) = (&self.shared, &self.routed);
        let decision = self.head.decision_id().to_string();
        shared.metrics.decided("redact");
        note_drift(routed, shared, &cut.report);
        tracing::info!(decision, app = %routed.facts.app, route = %routed.facts.route, "releasing a list in parts");
        // What is known of the whole answer only is said of one part only.
        let own = if is_last { own(routed, call, unfiltered, &cut.filtered) } else { compressed(routed, call) };
        let ending = Ending {
            shared: Arc::clone(shared),
            of: self.head.index(),
            status: own.status(unfiltered.status).as_u16(),
            rows: AtomicU64::new(cut.report.rows.into()),
            started: call.started,
        };
        let head = Head {
            status: unfiltered.status,
            headers: response_headers(shared, routed, unfiltered, None),
            content_type: routed.typed(Some(json())),
            decision,
            withheld: is_last.then_some(cut.report.withheld.len()),
            revision: shared.ledger.revision().0,
            bodiless: call.method == Method::HEAD,
            own,
        };
        let part = Part::new(cut.filtered, recorded, self.footing(basis));
        let mut more = None;
        if !is_last && !head.bodiless {
            let (to_client, from_list) = mpsc::channel(AHEAD_OF_CLIENT);
            more = Some(from_list);
            source.keeps = false;
            source.let_go();
            tokio::spawn(self.go_on(flow, source, reserved, to_client));
        }
        answer_in_parts(head, part, more, Arc::new(ending))
    }

    /// Cuts and releases what comes after the first part.
    async fn go_on(self, mut flow: ListFlow, mut source: Source, reserved: BTreeSet<EventId>, to_client: mpsc::Sender<Next>) {
        let (to_disk, from_disk) = mpsc::channel(AHEAD_OF_DISK);
        let both = async { tokio::join!(self.cut_on(&mut flow, &mut source, to_disk), self.release_on(from_disk, reserved, &to_client)) };
        tokio::select! {
            _ended = both => {}
            // Nobody is there any more.
            () = to_client.closed() => {}
        }
    }

    async fn cut_on(&self, flow: &mut ListFlow, source: &mut Source, to_disk: mpsc::Sender<Cutting>) {
        loop {
            match self.next(flow, source, Some(PART_WAIT)).await {
                Ok(cutting) => {
                    let is_last = cutting.is_last;
                    if to_disk.send(cutting).await.is_err() || is_last {
                        return;
                    }
                }
                Err(halt) => return self.broken(&halt),
            }
        }
    }

    async fn release_on(&self, mut from_disk: mpsc::Receiver<Cutting>, mut reserved: BTreeSet<EventId>, to_client: &mpsc::Sender<Next>) {
        while let Some(Cutting { cut, mut basis, recording, is_last }) = from_disk.recv().await {
            let recorded = match recording.durable().await {
                Ok(recorded) => recorded,
                Err(halt) => return self.broken(&halt),
            };
            match self.reserve(&mut basis, &cut, &mut reserved).await {
                Ok(true) if self.holds(&basis) => {}
                Ok(_) => return tracing::info!(decision = %self.head.decision_id(), "a list was broken off: what was decided has changed"),
                Err(halt) => return self.broken(&halt),
            }
            note_drift(&self.routed, &self.shared, &cut.report);
            let next = Next { rows: cut.report.rows.into(), part: Part::new(cut.filtered, recorded, self.footing(basis)), is_last };
            if to_client.send(next).await.is_err() {
                return;
            }
        }
    }

    pub(super) fn broken(&self, halt: &Halt) {
        let code = match halt {
            Halt::Rejected(problem) => problem.code.as_str(),
            Halt::Refused(refusal) => refusal.problem.code.as_str(),
            Halt::AuditUnavailable(_) => Code::AuditUnavailable.as_str(),
        };
        tracing::warn!(decision = %self.head.decision_id(), code, "a list was broken off");
    }
}

/// The bytes of the list as they come.
pub(super) struct Source {
    received: BytesMut,
    /// How many of them are cut.
    done: usize,
    /// Those are kept, too: the first part may have to be cut anew.
    keeps: bool,
    /// `None` once the upstream has said all.
    rest: Option<Rest>,
}

impl Source {
    pub(super) fn new(received: BytesMut, rest: Option<Rest>) -> Self {
        Self { received, done: 0, keeps: true, rest }
    }

    /// Waits until there is something to cut.
    pub(super) async fn wait(&mut self, place: &Place) -> Result<(), Halt> {
        while self.waiting().is_empty() && !self.has_ended() {
            self.more(&*place.shared.clock, None).await.map_err(|error| place.refuse(forward_problem(error), Vec::new()))?;
        }
        Ok(())
    }

    /// What was kept is cut once more.
    pub(super) const fn again(&mut self) {
        self.done = 0;
    }

    fn waiting(&self) -> &[u8] {
        self.received.get(self.done..).unwrap_or_default()
    }

    const fn has_ended(&self) -> bool {
        self.rest.is_none()
    }

    fn pass(&mut self, bytes: usize) {
        self.done += bytes;
        if !self.keeps {
            self.let_go();
        }
    }

    /// What is cut is out, and need not be kept any more.
    pub(super) fn let_go(&mut self) {
        self.received.advance(self.done);
        self.done = 0;
    }

    /// Waits for more bytes, or the end; `false` when none came in time.
    async fn more(&mut self, clock: &dyn Clock, wait: Option<Duration>) -> Result<bool, ForwardError> {
        let Some(rest) = self.rest.as_mut() else { return Ok(true) };
        let next = match wait {
            None => rest.next(clock).await,
            Some(wait) => match tokio::time::timeout(wait, rest.next(clock)).await {
                Ok(next) => next,
                Err(_nothing) => return Ok(false),
            },
        };
        match next? {
            Some(bytes) => self.received.extend_from_slice(&bytes),
            None => self.rest = None,
        }
        Ok(true)
    }
}
