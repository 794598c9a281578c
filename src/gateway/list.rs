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
use tokio::sync::mpsc::error::SendTimeoutError;

use super::answer::{
    Recording, append_part, compressed, contact, cut_problem, error_groups, forward_problem, json, limits, note_drift, own, without_grounds,
};
use super::budgets::Charged;
use super::forward::{Came, ForwardError, Reading, Rest, Unfiltered};
use super::judge::{Basis, Judging, log_groups, still_hold};
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
use crate::consent::Moved;
use crate::filter::{Cut, Cutters, Flow};
use crate::model::{EventId, Identifier, ResponsePlan};

/// How long a part waits for further rows once the answer has begun.
const PART_WAIT: Duration = Duration::from_millis(50);
/// Parts that wait for the disk, and parts that wait for the client. With some 256 KiB each they stay below 4 MiB.
const AHEAD_OF_DISK: usize = 8;
const AHEAD_OF_CLIENT: usize = 2;
/// How long a list may take. Each part is judged as at the time of the request, which must not become a time long past.
const LIST_TIME_MAX: Duration = Duration::from_secs(60 * 60);

/// How the answer of a route is read.
pub(super) const fn reading(route: &Route) -> Reading {
    if route.graphql.is_some() {
        // Its errors are told beside all that was cut.
        return Reading::Whole;
    }
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
    let mut source = Source::new(BytesMut::from(body), rest, 2 * place.routed.snapshot.limits.answer_body_max);
    let (mut taken, mut charged) = (Taken::default(), Charged::default());
    for _ in 0..ATTEMPTS_MAX {
        let mut flow = place.flow();
        let piece = place.next(&mut flow, &mut source, None).await?;
        let Cutting { cut, mut basis, recording, is_last } = place.record(piece, &mut charged)?;
        let recorded = recording.durable().await?;
        let holds = place.reserve(&mut basis, &cut, &mut taken).await? && place.holds(&basis);
        if holds {
            let first = Released { cut, basis, recorded, is_last };
            return Ok(place.let_go(call, &unfiltered, first, flow, source, taken));
        }
        if !place.decides() {
            place.routed = route_anew(shared, call, &place.routed, &place.head)?;
            place.is_anew = true;
            if reading(&place.routed.found.route) != Reading::List {
                return Err(place.refuse(Code::RouteNotDeclared, Vec::new()));
            }
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

/// The uses that were taken for the answer, and how customers' revisions moved by that.
#[derive(Default)]
pub(super) struct Taken {
    uses: BTreeSet<EventId>,
    moved: Vec<Moved>,
}

/// A part that is cut.
pub(super) struct Piece {
    cut: Cut,
    pub(super) basis: Basis,
    is_last: bool,
}

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

    /// Cuts the next part. With `wait`, what has come until then is enough.
    pub(super) async fn next(&self, flow: &mut ListFlow, source: &mut Source, wait: Option<Duration>) -> Result<Piece, Halt> {
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
        let (mut began, mut is_late, mut fed) = (None, false, 0);
        let fed = loop {
            if source.has_ended() || is_late || source.waiting().len() >= flow.wants() {
                match flow.feed(source.waiting(), source.has_ended(), &mut judging) {
                    Err(error) => break Err(error),
                    Ok(used) => source.pass(used),
                }
                fed = source.waiting().len();
            }
            if flow.has_part() || (is_late && flow.can_part()) || (source.has_ended() && flow.has_ended()) {
                break Ok(());
            }
            if is_late {
                began = None;
            }
            let now = shared.clock.monotonic();
            let is_in_hand = flow.can_part() || source.waiting().len() > fed;
            let left = wait.filter(|_| is_in_hand).map(|wait| wait.saturating_sub(now.saturating_sub(*began.get_or_insert(now))));
            is_late = !source.more(&*shared.clock, left).await.map_err(|error| self.refuse(forward_problem(error), Vec::new()))?;
        };
        let basis = judging.finish().map_err(away)?;
        let is_last = source.has_ended() && flow.has_ended();
        let cut = fed.and_then(|()| if is_last { flow.finish() } else { Ok(flow.part()) });
        match cut {
            Ok(cut) => Ok(Piece { cut, basis, is_last }),
            Err(error) => Err(self.refuse(cut_problem(&error, contact(routed)), self.told(error_groups(&error, &basis.facts)))),
        }
    }

    /// Has the entry of a part written, once it is counted. `charged` is what was counted when the same part was cut before.
    pub(super) fn record(&self, piece: Piece, charged: &mut Charged) -> Result<Cutting, Halt> {
        let Piece { cut, basis, is_last } = piece;
        self.shared.budgets.release(&self.routed, &cut.report, charged).map_err(|problem| self.refuse(problem, Vec::new()))?;
        let mut groups = self.told(log_groups(&cut.report.groups, &basis.facts));
        if cut.report.unenforced {
            report::mark(&mut groups);
        }
        let recording = append_part(&self.shared, self.head.index(), &cut.report, groups)?;
        Ok(Cutting { cut, basis, recording, is_last })
    }

    fn told(&self, mut groups: Vec<Group>) -> Vec<Group> {
        if self.is_anew {
            groups.iter_mut().for_each(without_grounds);
        }
        groups
    }

    /// Whether what was decided may still go out.
    pub(super) fn holds(&self, basis: &Basis) -> bool {
        self.decides() && still_hold(&basis.decided_on, &self.shared.ledger)
    }

    /// Whether the request would still be decided by the same configuration, policies and premises.
    pub(super) fn decides(&self) -> bool {
        self.shared.still_decides(self.routed.snapshot.generation) && self.routed.asked.premises.still_hold(&self.shared.ledger)
    }

    /// Takes the uses on which a part relies, as far as none were taken for this answer before.
    pub(super) async fn reserve(&self, basis: &mut Basis, cut: &Cut, taken: &mut Taken) -> Result<bool, Halt> {
        // This part may have been decided before an earlier one took a customer's last use.
        basis.follow(&taken.moved);
        let uses = &basis.uses(&cut.report.groups) - &taken.uses;
        if uses.is_empty() {
            return Ok(true);
        }
        if !self.holds(basis) {
            return Ok(false);
        }
        let Some(moved) = reserve(&self.shared, &self.routed, &self.head, basis, &uses).await? else { return Ok(false) };
        taken.uses.extend(uses);
        taken.moved.extend(moved);
        Ok(true)
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
        taken: Taken,
    ) -> Response<Reply> {
        let Released { cut, basis, recorded, is_last } = first;
        let (shared, routed) = (&self.shared, &self.routed);
        let decision = self.head.decision_id().to_string();
        note_drift(routed, shared, &cut.report);
        tracing::debug!(decision, app = %routed.facts.app, route = %routed.facts.route, "releasing a list in parts");
        // What is known of the whole answer only is said of one part only.
        let own = if is_last { own(routed, call, unfiltered, &cut.filtered) } else { compressed(routed, call) };
        let ending = Ending {
            shared: Arc::clone(shared),
            of: self.head.index(),
            status: own.status(unfiltered.status).as_u16(),
            rows: AtomicU64::new(cut.report.rows.into()),
            started: call.started,
            outcome: "redact",
            trace: call.trace,
            facts: Arc::clone(&routed.facts),
        };
        shared.metrics.decided(ending.outcome);
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
        if !is_last {
            let (to_client, from_list) = mpsc::channel(AHEAD_OF_CLIENT);
            more = Some(from_list);
            // Of a HEAD no more is needed than that there would be more.
            if !head.bodiless {
                source.kept_max = None;
                source.let_go();
                tokio::spawn(self.go_on(flow, source, taken, to_client, call.started));
            }
        }
        answer_in_parts(head, part, more, Arc::new(ending))
    }

    /// Cuts and releases what comes after the first part.
    async fn go_on(self, flow: ListFlow, source: Source, taken: Taken, to_client: mpsc::Sender<Next>, started: Duration) {
        let (to_disk, from_disk) = mpsc::channel(AHEAD_OF_DISK);
        let cutting = async {
            self.cut_on(flow, source, to_disk, &to_client).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // Once this is over nothing more goes out, whatever may yet come.
            () = self.release_on(from_disk, taken, &to_client, started) => {}
            // Nobody is there any more.
            () = to_client.closed() => {}
            () = cutting => {}
        }
    }

    /// Owns the source, so that the upstream is let go as soon as all has come.
    async fn cut_on(&self, mut flow: ListFlow, mut source: Source, to_disk: mpsc::Sender<Cutting>, to_client: &mpsc::Sender<Next>) {
        loop {
            let next = self.next(&mut flow, &mut source, Some(PART_WAIT)).await;
            if to_client.is_closed() {
                // Whatever is recorded now would not go out.
                return;
            }
            match next.and_then(|piece| self.record(piece, &mut Charged::default())) {
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

    async fn release_on(&self, mut from_disk: mpsc::Receiver<Cutting>, mut taken: Taken, to_client: &mpsc::Sender<Next>, started: Duration) {
        // A client that takes nothing holds up no upstream for longer than it may take itself.
        let patience = self.routed.upstream.total_timeout();
        while let Some(Cutting { cut, mut basis, recording, is_last }) = from_disk.recv().await {
            let recorded = match recording.durable().await {
                Ok(recorded) => recorded,
                Err(halt) => return self.broken(&halt),
            };
            match self.reserve(&mut basis, &cut, &mut taken).await {
                Ok(true) if self.holds(&basis) => {}
                Ok(_) => return self.broken_off("what was decided has changed"),
                Err(halt) => return self.broken(&halt),
            }
            if self.shared.clock.monotonic().saturating_sub(started) > LIST_TIME_MAX {
                return self.broken_off("it took too long");
            }
            note_drift(&self.routed, &self.shared, &cut.report);
            let next = Next { rows: cut.report.rows.into(), part: Part::new(cut.filtered, recorded, self.footing(basis)), is_last };
            match to_client.send_timeout(next, patience).await {
                Ok(()) => {}
                Err(SendTimeoutError::Closed(_)) => return,
                Err(SendTimeoutError::Timeout(_)) => return self.broken_off("the client did not take it"),
            }
        }
    }

    fn broken_off(&self, why: &'static str) {
        tracing::info!(decision = %self.head.decision_id(), why, "a list was broken off");
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
    /// Those are kept, too, while the first part may have to be cut anew; how many bytes at most.
    kept_max: Option<usize>,
    /// `None` once the upstream has said all.
    rest: Option<Rest>,
}

impl Source {
    /// `kept_max`: bytes that are kept at most while a part may have to be cut anew.
    pub(super) const fn new(received: BytesMut, rest: Option<Rest>, kept_max: usize) -> Self {
        Self { received, done: 0, kept_max: Some(kept_max), rest }
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
        if self.kept_max.is_none() {
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
        match rest.next(clock, wait).await? {
            Came::Bytes(bytes) if self.kept_max.is_some_and(|max| self.received.len() + bytes.len() > max) => return Err(ForwardError::TooLarge),
            Came::Bytes(bytes) => self.received.extend_from_slice(&bytes),
            Came::End => self.rest = None,
            Came::Nothing => return Ok(false),
        }
        Ok(true)
    }
}
