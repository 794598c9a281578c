//! From an [`Entry`] to its canonical JSON. What is written is decided here and nowhere else.
//!
//! Every entry has `v` (1), `kind` and `t` (microseconds since 1970, UTC). Members that are empty are left out. The class of
//! facts (purpose, channel, environment, gpc, roles, policy set), the verdicts of a group and lists of paths stand in
//! dictionary entries: `{"class":"facts","kind":"dict","t":…,"v":1,"value":…}`.
//!
//! A verdict says by which `rule` consent events were weighed (e.g. `customer-last-word/v1`) and, with `"conflict":true`, that
//! formerly separate customers disagree. Which event decided and which lost stands in `events`, beside the groups.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::entry::{DecisionFacts, Entry, GROUP_PARTIES_MAX, Group};
use super::error::AuditError;
use super::json::{Class, Draft, Json, Object};
use super::segment::ENTRY_BYTES_MAX;
use super::{parties, tree};
use crate::model::{CategoryVerdict, Department, PartyFacts, PartyNo, Release, Why};

/// The entry with holes for its dictionary entries, and the decision it must belong to.
pub(super) fn draft(entry: Entry, now: Timestamp) -> Result<(Draft, Option<u64>), AuditError> {
    let mut of_decision = None;
    let mut part_of = |object: Object, of: u64| {
        of_decision = Some(of);
        object.with("of", of)
    };
    let object = match entry {
        Entry::Deny { facts, of, status, code, groups, paths } => {
            let object = head("deny", now).with("status", status).with("code", code).with_some("paths", path_list(paths));
            let object = match of {
                Some(of) => part_of(object, of),
                None => decision(object, &facts)?,
            };
            with_groups(object, groups)?
        }
        Entry::Permit { facts, groups } => with_groups(decision(head("permit", now), &facts)?, groups)?,
        Entry::Intent { facts, groups } => with_groups(decision(head("intent", now), &facts)?, groups)?,
        Entry::Part { of, rows, dropped, groups, withheld } => {
            let object = part_of(head("part", now), of).with("rows", rows).with("dropped", dropped);
            with_groups(object.with_some("withheld", path_list(withheld)), groups)?
        }
        Entry::End { of, status, bytes, rows, complete, latency_us } => part_of(head("end", now), of)
            .with("status", status)
            .with("bytes", bytes)
            .with("rows", rows)
            .with("complete", complete)
            .with("latency_us", latency_us),
        Entry::Admin { actor, role, operation, party, revision, status } => head("admin", now)
            .with("actor", token("actor", actor)?)
            .with("role", role)
            .with("operation", operation)
            .with_some("party", party.map(|p| p.0))
            .with_some("revision", revision.map(|r| r.0))
            .with("status", status),
        Entry::Query { actor, role, operation, party, found } => head("query", now)
            .with("actor", token("actor", actor)?)
            .with("role", role)
            .with("operation", operation)
            .with_some("party", party.map(|p| p.0))
            .with("found", found),
        Entry::ConsentChanged { event, party, revision, state, purpose } => head("consent_changed", now)
            .with_some("event", event.map(|e| e.to_string()))
            .with_some("party", party.map(|p| p.0))
            .with("revision", revision.0)
            .with("state", state)
            .with_some("purpose", purpose.map(|p| p.as_str())),
        Entry::PolicyLoaded { id, generation } => {
            head("policy_loaded", now).with("policy_set", token("policy_set", id.as_ref().to_owned())?).with("generation", generation)
        }
        Entry::PolicyRejected { findings, reason, version } => {
            head("policy_rejected", now).with("findings", findings).with("reason", reason).with_some("version", version)
        }
        Entry::PolicyActivated { version, bundle, set, needed, only_narrows, approved } => head("policy_activated", now)
            .with("version", version)
            .with("bundle", token("bundle", bundle)?)
            .with("set", token("set", set)?)
            .with_some("needed", names(&needed))
            .with("only_narrows", only_narrows)
            .with_some("approved", names(&approved)),
        Entry::ConfigLoaded { hash, generation } => head("config_loaded", now).with("hash", token("hash", hash)?).with("generation", generation),
        Entry::ConfigRejected { findings } => head("config_rejected", now).with("findings", findings),
        Entry::Rejects { count, code, network } => {
            let network = network.map(|n| token("network", n)).transpose()?;
            head("rejects", now).with("count", count).with("code", code).with_some("network", network)
        }
        Entry::Clock { step_ms } => head("clock", now).with("step_ms", step_ms),
        Entry::Start { torn_bytes, clean, origin } => head("start", now)
            .with("torn_bytes", torn_bytes)
            .with("clean", clean)
            .with("origin", &*origin)
            .with("software", concat!("consentry/", env!("CARGO_PKG_VERSION"))),
        Entry::Stop { reason } => head("stop", now).with("reason", reason),
    };
    let draft = object.draft();
    let lengths: Vec<usize> = draft.classes().map(|c| c.value.len() + DICT_FRAME_BYTES_MAX).chain([draft.bytes_max()]).collect();
    let together: usize = lengths.iter().sum();
    match lengths.into_iter().find(|&bytes| bytes > ENTRY_BYTES_MAX) {
        Some(bytes) => Err(AuditError::EntryTooLarge { bytes }),
        None if together > TOGETHER_BYTES_MAX => Err(AuditError::EntryTooLarge { bytes: together }),
        None => Ok((draft, of_decision)),
    }
}

/// The dictionary entry for a class.
pub(super) fn dictionary(class: &Class, now: Timestamp) -> String {
    // `value` sorts last, and is canonical already.
    let mut text = head("dict", now).with("class", class.name).draft().fill(|_| 0);
    text.truncate(text.len().saturating_sub(1));
    text + ",\"value\":" + &class.value + "}"
}

/// An entry and its dictionary entries: they fit into the smallest segment (262,144) beside its header (4,096) and the
/// frames' headers.
const TOGETHER_BYTES_MAX: usize = 200_000;
/// Everything in a dictionary entry but its value, with the frame's header: some 70 bytes.
const DICT_FRAME_BYTES_MAX: usize = 128;

fn head(kind: &'static str, now: Timestamp) -> Object {
    Object::default().with("v", 1u64).with("kind", kind).with("t", now.as_microsecond())
}

fn decision(object: Object, facts: &DecisionFacts) -> Result<Object, AuditError> {
    let actor = facts.actor.clone().map(|a| token("actor", a)).transpose()?;
    let mut roles = facts.roles.clone();
    roles.sort();
    roles.dedup();
    let roles: Vec<Json> = roles.iter().map(|r| r.as_str().into()).collect();
    let class = Object::default()
        .with_some("purpose", facts.purpose.map(|p| p.as_str()))
        .with("channel", facts.channel.as_str())
        .with("environment", facts.environment.as_str())
        .with("gpc", facts.gpc)
        .with_some("roles", Some(roles).filter(|r| !r.is_empty()))
        .with("policy_set", token("policy_set", facts.policy_set.as_ref().to_owned())?)
        .class("facts");
    Ok(object
        .with("rid", facts.rid)
        .with_some("traceparent", facts.traceparent.map(|id| tree::hex(&id)))
        .with("app", facts.app.as_str())
        .with("department", facts.department.as_str())
        .with_some("actor", actor)
        .with_some("agent", facts.agent.map(|a| a.as_str()))
        .with("action", facts.action.as_str())
        .with("api", facts.api.as_str())
        .with("route", facts.route.as_str())
        .with("generation", facts.generation)
        .with("revision", facts.consent_revision.0)
        .with("facts", class))
}

fn names(departments: &[Department]) -> Option<Vec<Json>> {
    (!departments.is_empty()).then(|| departments.iter().map(|department| department.as_str().into()).collect())
}

fn path_list(mut paths: Vec<String>) -> Option<Class> {
    paths.sort();
    paths.dedup();
    let list: Vec<Json> = paths.into_iter().map(Json::from).collect();
    (!list.is_empty()).then(|| Json::List(list).class("paths"))
}

fn with_groups(object: Object, groups: Vec<Group>) -> Result<Object, AuditError> {
    let single = single_event_verdicts(&groups);
    let mut merged: BTreeMap<(&'static str, Class), (Vec<PartyNo>, u64)> = BTreeMap::new();
    for group in groups {
        let key = (group.outcome.as_str(), verdict_class(&group));
        let (parties, unknown) = merged.entry(key).or_default();
        parties.extend(group.parties);
        *unknown += u64::from(group.unknown);
    }
    let mut named = 0;
    let mut list = Vec::with_capacity(merged.len());
    for ((outcome, class), (mut parties, unknown)) in merged {
        parties.sort();
        parties.dedup();
        named += parties.len();
        let members = Object::default()
            .with("outcome", outcome)
            .with("verdicts", class)
            .with_some("parties", (!parties.is_empty()).then(|| parties::encode(&parties)))
            .with_some("n", Some(u64::try_from(parties.len()).unwrap_or(u64::MAX)).filter(|&n| n > 0))
            .with_some("unknown", Some(unknown).filter(|&n| n > 0));
        list.push(Json::from(members));
    }
    if named > GROUP_PARTIES_MAX {
        return Err(AuditError::TooManyParties { parties: named });
    }
    let events = single.map(|verdicts| events(&verdicts));
    Ok(object.with_some("groups", Some(list).filter(|l| !l.is_empty())).with_some("events", events.filter(|e| !e.is_empty())))
}

/// The verdicts, when the entry is about one customer only.
fn single_event_verdicts(groups: &[Group]) -> Option<std::sync::Arc<crate::model::Verdicts>> {
    let mut named = groups.iter().filter(|g| !g.parties.is_empty());
    let group = named.next().filter(|g| g.parties.len() == 1)?;
    named.next().is_none().then(|| group.verdicts.clone())
}

/// `[{"category":…,"event":…,"overridden":[…]}]`
fn events(verdicts: &crate::model::Verdicts) -> Vec<Json> {
    let relevant = verdicts.iter().filter(|v| v.event.is_some() || !v.overridden.is_empty());
    relevant
        .map(|v| {
            let overridden: Vec<Json> = v.overridden.iter().map(|e| e.to_string().into()).collect();
            let object = Object::default().with("category", v.category.as_str()).with_some("event", v.event.map(|e| e.to_string()));
            object.with_some("overridden", Some(overridden).filter(|o| !o.is_empty())).into()
        })
        .collect()
}

/// What a group shares: the verdicts without events, and the facts of its customers.
fn verdict_class(group: &Group) -> Class {
    let verdicts: Vec<Json> = group.verdicts.iter().map(|v| verdict(v).into()).collect();
    Object::default().with("verdicts", verdicts).with_some("facts", group.facts.as_ref().map(party_facts)).class("verdicts")
}

fn verdict(v: &CategoryVerdict) -> Object {
    let release = match v.release {
        Release::Withheld => "withheld",
        Release::Reduced => "reduced",
        Release::Full => "full",
    };
    let (why, stop) = match v.why {
        Why::Permitted => ("permitted", None),
        Why::UnknownParty => ("unknown-party", None),
        Why::Stop(name) => ("stop", Some(name)),
        Why::Forbidden => ("forbidden", None),
        Why::NoPermit => ("no-permit", None),
        Why::PolicyError => ("policy-error", None),
    };
    let policies: Vec<Json> = v.policies.iter().map(|p| p.as_str().into()).collect();
    Object::default()
        .with("category", v.category.as_str())
        .with("release", release)
        .with("why", why)
        .with_some("stop", stop)
        .with_some("policies", Some(policies).filter(|p| !p.is_empty()))
        .with("basis", v.basis.as_str())
        .with_some("activity", v.activity.map(|(key, _)| key.as_str()))
        .with_some("activity_version", v.activity.map(|(_, version)| version))
        .with("status", v.status.as_str())
        .with("rule", v.rule.as_str())
        .with_some("conflict", v.conflict.then_some(true))
}

fn party_facts(facts: &PartyFacts) -> Object {
    Object::default()
        .with("stage", facts.stage.as_str())
        .with("segment", facts.segment.as_str())
        .with("age", facts.age.as_str())
        .with("hold", facts.legal_hold)
}

/// Pseudonyms, hashes and networks: nothing that could be a sentence.
fn token(field: &'static str, text: String) -> Result<String, AuditError> {
    let plain = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:/+=".contains(&b));
    if plain { Ok(text) } else { Err(AuditError::NotAToken { field }) }
}
