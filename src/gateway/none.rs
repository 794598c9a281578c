//! Routes declared free of customer data: judged and recorded like all others, and limited to the declared departments,
//! methods and content types.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::header::CONTENT_TYPE;
use http::{Method, Response};

use super::answer::{contact, content_type, cut_problem, denied, own, success, upstream_method};
use super::forward::forward;
use super::judge::Asked;
use super::passed::response_headers;
use super::permit::Permitted;
use super::pipeline::{Ending, Footing, Halt, NO_BODY};
use super::premises::Premises;
use super::problem::{Code, Problem};
use super::respond::{Head, Part, Reply, answer};
use super::route::{Authenticated, Routed};
use super::state::Shared;
use crate::audit::{Entry, Group, Outcome};
use crate::filter::Filtered;
use crate::model::{
    Category, CategoryVerdict, ConsentStatus, Grounds, NO_CUSTOMER_BASIS, NO_CUSTOMER_DATA, Particulars, PartyFacts, Question, Release, Verdicts,
    Whom, Why,
};
use crate::policy::Policies;

pub(super) async fn serve(shared: &Arc<Shared>, call: &Authenticated, routed: Routed) -> Result<Response<Reply>, Halt> {
    let policies = &routed.snapshot.policies;
    let refuse = |problem: Problem| Halt::refuse(Arc::clone(&routed.facts), problem);
    let category = policies.vocabulary().category(NO_CUSTOMER_DATA).ok_or_else(|| refuse(denied(contact(&routed))))?;
    let asked = &routed.asked;
    let decided = policies.decide(&question(policies, asked, category));
    let permitted = Permitted::of_no_customer(asked, &decided);
    let verdict = CategoryVerdict {
        category,
        release: if permitted.is_some() { Release::Full } else { Release::Withheld },
        why: if permitted.is_some() { Why::Permitted } else { Why::NoPermit },
        policies: decided.policies(),
        basis: NO_CUSTOMER_BASIS,
        activity: None,
        status: ConsentStatus::Unknown,
        event: None,
        overridden: Vec::new(),
        rule: policies.consent_rules().rule,
        conflict: false,
        grounds: Some(Grounds {
            whom: Whom::Nobody,
            action: asked.action,
            explicit: false,
            gpc: asked.gpc,
            records: asked.records,
            masked: false,
            closed_for: Vec::new(),
            reading: policies.reading(asked.purpose, category),
            task: asked.premises.task,
            for_customer: None,
            customers: Some(0),
            emergency: false,
        }),
    };
    if let Some(watch) = &asked.shadow {
        watch.compare_nobody(policies, asked, &verdict);
    }
    let outcome = if permitted.is_some() { Outcome::Permit } else { Outcome::Deny };
    let group = Group { parties: Vec::new(), unknown: 0, outcome, verdicts: Arc::new(Verdicts::new(vec![verdict])), facts: None };
    let Some(permitted) = permitted else {
        // The same for every customer, since there is none: this may say why.
        return Err(Halt::refuse_groups(&routed.facts, Code::NotEntitled, vec![group]));
    };
    let pending = shared.log.append(Entry::Permit { facts: Arc::clone(&routed.facts), groups: vec![group] })?;
    let path = routed.found.upstream_target(routed.upstream.base_path());
    let outgoing = routed.outgoing(call, path, upstream_method(&call.method), NO_BODY);
    let (recorded, result) = tokio::join!(pending, forward(&permitted, shared, &routed.upstream, &outgoing));
    let head = recorded?;
    let of = |problem: Problem| Halt::refuse_of(&routed.facts, &head, problem, Vec::new());
    let unfiltered = success(result, false, None).map_err(of)?;
    if unfiltered.is_encoded() {
        return Err(of(Code::UpstreamUnreadable.into()));
    }
    let declared = unfiltered.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let plan = &routed.found.route.response;
    let filtered = Filtered::declared_free(plan, declared, unfiltered.body.clone()).map_err(|e| of(cut_problem(&e, contact(&routed))))?;
    if !shared.still_decides(routed.snapshot.generation) {
        // What is free of customer data is said by the configuration, which has just changed.
        let has_run_out = routed.snapshot.has_run_out(shared.clock.now());
        return Err(of(if has_run_out { Code::PolicyStale } else { Code::UpstreamUnavailable }.into()));
    }
    let own = own(&routed, call, &unfiltered, &filtered);
    let ending = Ending {
        shared: Arc::clone(shared),
        of: head.index(),
        status: own.status(unfiltered.status).as_u16(),
        rows: AtomicU64::new(0),
        started: call.started,
        outcome: "permit",
        trace: call.trace,
        facts: Arc::clone(&routed.facts),
    };
    let footing =
        Footing { shared: Arc::clone(shared), generation: routed.snapshot.generation, decided_on: Vec::new(), premises: Premises::default() };
    shared.metrics.decided(ending.outcome);
    let answer_head = Head {
        status: unfiltered.status,
        headers: response_headers(shared, &routed, &unfiltered, None),
        content_type: content_type(plan, &unfiltered),
        decision: head.decision_id().to_string(),
        withheld: None,
        revision: shared.ledger.revision().0,
        bodiless: call.method == Method::HEAD,
        own,
    };
    Ok(answer(answer_head, Part::new(filtered, head, Arc::new(footing)), Arc::new(ending)))
}

/// What policies are asked about such a route: nobody's facts.
pub(super) fn question<'a>(policies: &Policies, asked: &'a Asked, category: Category) -> Question<'a> {
    Question {
        caller: &asked.caller,
        action: asked.action,
        category,
        purpose: asked.purpose,
        basis: NO_CUSTOMER_BASIS,
        status: ConsentStatus::Unknown,
        explicit: false,
        party: PartyFacts::unknown(policies.consent_rules().default_segment),
        channel: asked.channel,
        environment: asked.environment,
        gpc: asked.gpc,
        records: asked.records,
        now: asked.now,
        particulars: Particulars { task: asked.premises.task, for_customer: None, customers: Some(0), emergency: None },
    }
}
