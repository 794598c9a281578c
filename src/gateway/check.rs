//! A list of customers, judged for an app and one purpose without asking any API: the same verdicts as on the request path,
//! recorded like a list, compared once more before they are told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::answer::{portions, without_grounds};
use super::judge::{Asked, Basis, Judging, log_groups, still_hold};
use super::permit::nobody;
use super::premises::Premises;
use super::route::mandate;
use super::state::{Shared, Snapshot};
use crate::audit::{AuditError, DecisionFacts, Entry, Pending, Recorded};
use crate::catalog::Catalog;
use crate::consent::{PartyRef, Unavailable};
use crate::console::{CheckQuestion, Checked, Code, Problem};
use crate::filter::Group;
use crate::model::{Action, ApiName, Caller, Category, ClientKind, Identifier, Name, Release, RouteKey, Space};

/// How often a list is decided anew when the ledger or the policies change meanwhile.
const ATTEMPTS_MAX: usize = 8;
/// The place of these decisions in the log: no API of the configuration can have this name.
const API: &str = "-";
const ROUTE: &str = "POST /v1/check";
/// Categories named in a refusal that no consent changes, so that its entry stays within what the log takes.
const CLOSED_MAX: usize = 128;

/// Answers in the order of the question; recorded when this returns. Blocks on the disk.
pub(super) fn check(shared: &Shared, question: &CheckQuestion) -> Result<Checked, Problem> {
    let mut head: Option<Recorded> = None;
    let mut is_anew = false;
    for _ in 0..ATTEMPTS_MAX {
        let snapshot = shared.snapshot();
        let (asked, facts) = asked(shared, &snapshot, question)?;
        let refuse = |code, remedy: &str, head: Option<&Recorded>| Err(denied(shared, &facts, head, Vec::new(), Problem::new(code, remedy)));
        if snapshot.has_run_out(asked.now) {
            return refuse(Code::PolicyStale, "repeat once `/readyz` says ready", head.as_ref());
        }
        let registered = snapshot.authenticator.registered(question.client);
        if !registered.is_some_and(|(_, purposes)| purposes.contains(&question.purpose)) {
            return refuse(Code::PurposeNotRegistered, "use a purpose that this app is registered for", head.as_ref());
        }
        let [categories, closed] = categories(&snapshot, &asked, question.category);
        if categories.is_empty() {
            let problem = Problem::new(Code::NotEntitled, "no consent changes this: ask the owner of the data for a policy");
            return Err(denied(shared, &facts, head.as_ref(), nobody(&snapshot.policies, &asked, &closed), problem));
        }
        let head = match &head {
            Some(known) => known,
            None => head.insert(written(shared, Entry::Intent { facts: Arc::clone(&facts), groups: Vec::new() })?),
        };
        let Ok(mut list) = List::judge(shared, &snapshot, &asked, &categories, &question.ids) else {
            return refuse(Code::ConsentUnavailable, "repeat in a few seconds", Some(head));
        };
        if is_anew {
            list.groups.iter_mut().for_each(without_grounds);
        }
        list.record(shared, head).map_err(|error| log_away(&error))?;
        if list.still_holds(shared, &snapshot) {
            let outcome = if list.allowed() == 0 { "deny" } else { "permit" };
            shared.metrics.decided(outcome);
            let decision = head.decision_id().to_string();
            tracing::debug!(decision, app = %question.client, ids = question.ids.len(), "checked");
            return Ok(Checked { decision, index: head.index(), allowed: list.answers, revision: shared.ledger.revision().0 });
        }
        is_anew = true;
    }
    tracing::warn!("a list was decided anew too often");
    let (_, facts) = asked(shared, &shared.snapshot(), question)?;
    Err(denied(shared, &facts, head.as_ref(), Vec::new(), Problem::new(Code::ConsentUnavailable, "repeat in a few seconds")))
}

/// The question as policies see it, and what its head entry says.
fn asked(shared: &Shared, snapshot: &Snapshot, question: &CheckQuestion) -> Result<(Asked, Arc<DecisionFacts>), Problem> {
    let vocabulary = snapshot.policies.vocabulary();
    let own = vocabulary.purposes.get(&question.purpose).and_then(|info| info.channel);
    if let (Some(own), Some(other)) = (own, question.channel)
        && own != other
    {
        return Err(Problem::value(format!("`{}` is done by {own}", question.purpose), "leave out `channel`, or ask about another purpose"));
    }
    let caller = snapshot.authenticator.registered(question.client).map(|(caller, _)| caller).ok_or_else(Problem::unauthenticated)?;
    let channel = question.channel.unwrap_or_else(|| vocabulary.channel(question.purpose));
    let premises = Premises { customers: u32::try_from(question.ids.len()).ok(), ..Premises::default() };
    let facts = DecisionFacts {
        rid: shared.next_request(),
        traceparent: None,
        app: caller.client,
        department: caller.department,
        actor: None,
        agent: (caller.kind == ClientKind::Agent).then_some(caller.client),
        action: Action::Read,
        api: ApiName::intern(API),
        route: RouteKey::intern(ROUTE),
        purpose: Some(question.purpose),
        policy_set: Arc::clone(&snapshot.set_id),
        policies: Arc::clone(&snapshot.folder_id),
        now: shared.clock.now(),
        generation: snapshot.generation,
        consent_revision: shared.ledger.revision(),
        environment: snapshot.environment,
        channel,
        gpc: question.gpc,
        roles: Vec::new(),
        mandate: mandate(vocabulary, &caller, &premises),
        grant: None,
        justification: None,
    };
    let asked = Asked {
        caller: Caller { employee: None, ..caller },
        action: Action::Read,
        purpose: question.purpose,
        channel,
        environment: snapshot.environment,
        gpc: question.gpc,
        records: None,
        now: facts.now,
        premises,
        shadow: shared.watch(),
    };
    Ok((asked, Arc::new(facts)))
}

/// The category asked about, or every one that could be permitted at all; beside it what could not.
fn categories(snapshot: &Snapshot, asked: &Asked, wanted: Option<Category>) -> [Vec<(Category, bool)>; 2] {
    let all = snapshot.policies.vocabulary().categories.keys().copied();
    let named = all.filter(|category| wanted.is_none_or(|wanted| wanted == *category));
    let (open, mut closed): (Vec<_>, Vec<_>) =
        named.map(|category| (category, false)).partition(|(category, _)| asked.could_permit(&snapshot.policies, *category, false));
    closed.truncate(CLOSED_MAX);
    [open, closed]
}

/// A judged list.
struct List {
    /// In the order asked; `None`: not an id.
    answers: Vec<Option<bool>>,
    groups: Vec<crate::audit::Group>,
    decided_on: Vec<super::judge::DecidedOn>,
}

impl List {
    fn judge(shared: &Shared, snapshot: &Snapshot, asked: &Asked, categories: &[(Category, bool)], ids: &[String]) -> Result<Self, Unavailable> {
        shared.ledger.healthy()?;
        let mut judging = Judging::new(&snapshot.policies, &snapshot.catalog, &shared.ledger, asked, categories, None, &shared.pseudonym_key);
        let mut groups: HashMap<(usize, bool), Group> = HashMap::new();
        let mut told: HashSet<Identifier> = HashSet::new();
        let mut answers = Vec::with_capacity(ids.len());
        for text in ids {
            let Some(id) = identify(&snapshot.catalog, text) else {
                answers.push(None);
                continue;
            };
            let judged = judging.judge_id(&id);
            let allowed = categories.iter().all(|(category, _)| judged.verdicts.release(*category) == Release::Full);
            answers.push(Some(allowed));
            let key = (Arc::as_ptr(&judged.verdicts).addr(), allowed);
            let fresh = || Group { parties: Vec::new(), unknown: 0, released: allowed, verdicts: Arc::clone(&judged.verdicts) };
            let group = groups.entry(key).or_insert_with(fresh);
            match judged.party {
                Some(party) => group.parties.push(party),
                None => group.unknown += u32::from(told.insert(id)),
            }
        }
        let Basis { decided_on, facts, .. } = judging.finish()?;
        let groups: Vec<Group> = groups.into_values().collect();
        Ok(Self { answers, groups: log_groups(&groups, &facts), decided_on })
    }

    fn allowed(&self) -> usize {
        self.answers.iter().filter(|answer| **answer == Some(true)).count()
    }

    /// Durable when this returns.
    fn record(&self, shared: &Shared, head: &Recorded) -> Result<(), AuditError> {
        let rows = self.allowed();
        let refused = self.answers.iter().filter(|answer| **answer == Some(false)).count();
        let count = |n| u64::try_from(n).unwrap_or(u64::MAX);
        let mut portions = portions(self.groups.clone());
        let last = portions.pop().unwrap_or_default();
        let part = |groups, rows, dropped| Entry::Part { of: head.index(), rows, dropped, groups, withheld: Vec::new() };
        let mut waiting: Vec<Pending> = portions.into_iter().map(|groups| shared.log.append(part(groups, 0, 0))).collect::<Result<_, _>>()?;
        waiting.push(shared.log.append(part(last, count(rows), count(refused)))?);
        waiting.into_iter().try_for_each(|pending| pending.wait().map(|_recorded| ()))
    }

    fn still_holds(&self, shared: &Shared, snapshot: &Snapshot) -> bool {
        shared.still_decides(snapshot.generation) && still_hold(&self.decided_on, &shared.ledger)
    }
}

pub(super) fn identify(catalog: &Catalog, text: &str) -> Option<Identifier> {
    let normalise = |space: &str, value: &str| {
        let space = Name::known(space).and_then(|name| catalog.space(Space(name))).ok_or_else(String::new)?;
        space.identify(value).map_err(|error| error.to_string())
    };
    match PartyRef::parse(text, &normalise).ok()? {
        PartyRef::Identifier(identifier) => Some(identifier),
        PartyRef::Party(id) => Some(Identifier { space: Space::intern("party"), value: id.0 }),
    }
}

fn written(shared: &Shared, entry: Entry) -> Result<Recorded, Problem> {
    shared.log.append(entry).and_then(Pending::wait).map_err(|error| log_away(&error))
}

/// A refusal of the whole list, with its entry.
fn denied(shared: &Shared, facts: &Arc<DecisionFacts>, head: Option<&Recorded>, groups: Vec<crate::audit::Group>, mut problem: Problem) -> Problem {
    let (status, code) = (problem.code.status().as_u16(), problem.code.as_str());
    let of = head.map(Recorded::index);
    match written(shared, Entry::Deny { facts: Arc::clone(facts), of, status, code, groups, paths: Vec::new() }) {
        Ok(recorded) => {
            shared.metrics.decided("deny");
            problem.decision = Some(head.unwrap_or(&recorded).decision_id().to_string());
            problem
        }
        Err(away) => away,
    }
}

fn log_away(error: &AuditError) -> Problem {
    tracing::error!(%error, "no decision can be recorded");
    Problem::new(Code::AuditUnavailable, "repeat once `/readyz` says ready")
}
